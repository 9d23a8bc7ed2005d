/* What is attached to what waits in unix sockets: descriptors (of the job, in flight only, sockets in sockets) and credentials. */
#include "victim.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

static int stream[2], dgram[2], creds[2], pipe_in, nested[2], shared = -1, from_child[2], loop[2];
static pid_t child;

static void give(int fd, const char *text, const int *fds, size_t n)
{
	union { struct cmsghdr align; char room[CMSG_SPACE(8 * sizeof(int))]; } c;
	struct iovec v = { (void *)(uintptr_t)text, strlen(text) };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

	if (n) {
		m.msg_control = c.room;
		m.msg_controllen = CMSG_SPACE(n * sizeof(int));
		c.align = (struct cmsghdr){ .cmsg_len = CMSG_LEN(n * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
		memcpy(CMSG_DATA(&c.align), fds, n * sizeof(int));
	}
	VICTIM_CHECK(sendmsg(fd, &m, MSG_DONTWAIT) == (ssize_t)strlen(text));
}

/* Receives up to size bytes; what came must be text, with n descriptors, and credentials where cred is given. */
static void take(int fd, size_t size, const char *text, int *fds, size_t n, struct ucred *cred)
{
	char b[4096], c[1024];
	struct iovec v = { b, size };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof c };
	ssize_t got = recvmsg(fd, &m, MSG_DONTWAIT);
	size_t nfds = 0;

	if (got != (ssize_t)strlen(text) || memcmp(b, text, (size_t)got))
		victim_fail("fd %d: %zd bytes \"%.*s\" instead of \"%s\"", fd, got, (int)(got > 0 ? got : 0), b, text);
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
		if (h->cmsg_type == SCM_CREDENTIALS && cred)
			memcpy(cred, CMSG_DATA(h), sizeof *cred);
		if (h->cmsg_type != SCM_RIGHTS)
			continue;
		nfds = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < nfds && i < n; i++)
			memcpy(&fds[i], CMSG_DATA(h) + i * sizeof(int), sizeof(int));
	}
	if (nfds != n)
		victim_fail("\"%s\" came with %zu descriptors instead of %zu", text, nfds, n);
}

static bool same_offset(int a, int b)
{
	off_t at = lseek(a, 0, SEEK_CUR);

	return lseek(a, 3, SEEK_CUR) == at + 3 && lseek(b, 0, SEEK_CUR) == at + 3;
}

static void build(void)
{
	int p[2], q[2], fd, one = 1;
	FILE *f = tmpfile();

	VICTIM_CHECK(f && (shared = fileno(f)) >= 0 && write(shared, "0123456789abcdef", 16) == 16 && lseek(shared, 2, SEEK_SET) == 2);
	VICTIM_TRY(socketpair(AF_UNIX, SOCK_STREAM, 0, stream));
	VICTIM_TRY(socketpair(AF_UNIX, SOCK_DGRAM, 0, dgram));
	VICTIM_TRY(pipe(p));
	VICTIM_CHECK(write(p[1], "in flight", 9) == 9);
	pipe_in = p[1];
	give(stream[0], "plain", NULL, 0);
	give(stream[0], "with", (int[]){ shared, p[0] }, 2); /* the reading end is nowhere else */
	close(p[0]);
	give(stream[0], "more", (int[]){ pipe_in }, 1);
	give(stream[0], "end", NULL, 0);
	VICTIM_TRY(fd = open("/dev/null", O_WRONLY));
	give(dgram[0], "first", NULL, 0);
	give(dgram[0], "second", (int[]){ fd, shared, dgram[1] }, 3);
	give(dgram[0], "third", NULL, 0);
	close(fd);
	/* a pair of which one end is only in the queue, and in that one's queue a file */
	VICTIM_TRY(socketpair(AF_UNIX, SOCK_STREAM, 0, nested));
	VICTIM_TRY(socketpair(AF_UNIX, SOCK_STREAM, 0, q));
	give(q[0], "inner", (int[]){ shared }, 1);
	give(nested[0], "outer", (int[]){ q[1] }, 1);
	close(q[1]);
	close(q[0]);
	VICTIM_TRY(socketpair(AF_UNIX, SOCK_STREAM, 0, loop));
	give(loop[0], "loop", (int[]){ loop[0], loop[1] }, 2);
	VICTIM_TRY(socketpair(AF_UNIX, SOCK_STREAM, 0, creds));
	give(creds[0], "before ", NULL, 0);
	VICTIM_TRY(setsockopt(creds[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof one));
	VICTIM_TRY(socketpair(AF_UNIX, SOCK_DGRAM, 0, from_child));
	VICTIM_TRY(setsockopt(from_child[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof one));
	give(creds[0], "mine ", NULL, 0);
	VICTIM_TRY(child = fork());
	if (!child) {
		give(creds[0], "child's", NULL, 0);
		give(from_child[0], "hello", (int[]){ shared }, 1);
		for (;;)
			victim_pause();
	}
	give(from_child[0], "parent", NULL, 0);
	while (recv(from_child[1], &(char[8]){ 0 }, 8, MSG_PEEK | MSG_DONTWAIT) < 0 ||
	       recv(creds[1], (char[64]){ 0 }, 64, MSG_PEEK | MSG_DONTWAIT) < 0)
		victim_pause();
	for (int i = 0; i < 10; i++) /* the child's came too */
		victim_pause();
}

static void check_rights(void)
{
	int fds[3], inner, off = -1;
	char b[16];
	socklen_t n = sizeof off;

	VICTIM_CHECK(!getsockopt(dgram[1], SOL_SOCKET, SO_PEEK_OFF, &off, &n) && off == -1);
	take(stream[1], 2, "pl", NULL, 0, NULL);
	take(stream[1], 3, "ain", NULL, 0, NULL);
	take(stream[1], 64, "with", fds, 2, NULL);
	VICTIM_CHECK(same_offset(shared, fds[0]));
	VICTIM_CHECK(read(fds[1], b, sizeof b) == 9 && !memcmp(b, "in flight", 9));
	VICTIM_CHECK(write(pipe_in, "again", 5) == 5 && read(fds[1], b, sizeof b) == 5);
	take(stream[1], 64, "more", &inner, 1, NULL);
	VICTIM_CHECK(write(inner, "!", 1) == 1 && read(fds[1], b, sizeof b) == 1);
	take(stream[1], 64, "end", NULL, 0, NULL);
	take(dgram[1], 64, "first", NULL, 0, NULL);
	take(dgram[1], 64, "second", fds, 3, NULL);
	VICTIM_CHECK(write(fds[0], "x", 1) == 1 && (fcntl(fds[0], F_GETFL) & O_ACCMODE) == O_WRONLY);
	VICTIM_CHECK(same_offset(fds[1], shared));
	take(fds[2], 64, "third", NULL, 0, NULL);
	take(nested[1], 64, "outer", &inner, 1, NULL);
	take(inner, 64, "inner", fds, 1, NULL);
	VICTIM_CHECK(same_offset(fds[0], shared));
	VICTIM_CHECK(recv(inner, b, 1, MSG_DONTWAIT) == 0);
	take(loop[1], 64, "loop", fds, 2, NULL);
	give(fds[0], "round", NULL, 0);
	take(loop[1], 64, "round", NULL, 0, NULL);
}

static void check_creds(void)
{
	struct ucred u = { 0 };
	int fd, status;

	take(creds[1], 7, "before ", NULL, 0, &u);
	take(creds[1], 64, "mine ", NULL, 0, &u);
	VICTIM_CHECK(u.pid == getpid() && u.uid == getuid() && u.gid == getgid());
	take(creds[1], 64, "child's", NULL, 0, &u);
	VICTIM_CHECK(u.pid == child && u.uid == getuid());
	for (int i = 0; i < 2; i++) {
		char first[8];
		bool parent;

		VICTIM_TRY(recv(from_child[1], first, 8, MSG_PEEK | MSG_DONTWAIT));
		parent = first[0] == 'p';
		take(from_child[1], 64, parent ? "parent" : "hello", &fd, parent ? 0 : 1, &u);
		VICTIM_CHECK(u.pid == (parent ? getpid() : child));
		if (!parent)
			VICTIM_CHECK(same_offset(fd, shared));
	}
	kill(child, SIGKILL);
	VICTIM_CHECK(waitpid(child, &status, 0) == child);
}

int main(int argc, char **argv)
{
	victim_init(argc, argv);
	build();
	victim_wait();
	check_rights();
	check_creds();
	return victim_ok();
}
