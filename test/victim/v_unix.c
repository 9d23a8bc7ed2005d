/* Unix sockets: pairs of all types with data, message boundaries and shut down halves; named ones, by absolute and relative path and
 * abstract, listening, accepted and not yet accepted; ends whose other end is closed; datagrams of several senders; options. */
#include "victim.h"

#include <poll.h>
#include <stdbool.h>
#include <signal.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>

static int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET };
static char dir[64];

static socklen_t name(struct sockaddr_un *a, const char *s)
{
	memset(a, 0, sizeof *a);
	a->sun_family = AF_UNIX;
	if (*s == '@') {
		snprintf(a->sun_path + 1, sizeof a->sun_path - 1, "%s.%d", s + 1, (int)getpid());
		return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(a->sun_path + 1));
	}
	snprintf(a->sun_path, sizeof a->sun_path, "%s", s);
	return sizeof *a;
}

static int named(int type, const char *s)
{
	struct sockaddr_un a;
	socklen_t n = name(&a, s);
	int fd;

	VICTIM_TRY(fd = socket(AF_UNIX, type, 0));
	VICTIM_TRY(bind(fd, (struct sockaddr *)&a, n));
	return fd;
}

static int to(int fd, const char *s)
{
	struct sockaddr_un a;
	socklen_t n = name(&a, s);

	return connect(fd, (struct sockaddr *)&a, n);
}

static int client(int type, const char *s)
{
	int fd;

	VICTIM_TRY(fd = socket(AF_UNIX, type, 0));
	VICTIM_TRY(to(fd, s));
	return fd;
}

static bool has_name(int fd, bool peer, const char *s)
{
	struct sockaddr_un a, b;
	socklen_t n = sizeof a, m = name(&b, s);

	memset(&a, 0, sizeof a);
	if (peer ? getpeername(fd, (struct sockaddr *)&a, &n) : getsockname(fd, (struct sockaddr *)&a, &n))
		return false;
	if (!*s)
		return n == sizeof(sa_family_t);
	return *s == '@' ? n == m && !memcmp(&a, &b, n) : !strcmp(a.sun_path, b.sun_path);
}

static void get(int fd, const char *want)
{
	char b[65536];
	ssize_t n = recv(fd, b, sizeof b, MSG_DONTWAIT);

	if (n != (ssize_t)strlen(want) || memcmp(b, want, (size_t)n))
		victim_fail("fd %d: got %zd bytes \"%.*s\" (errno %d) instead of \"%s\"", fd, n, (int)(n > 0 ? n : 0), b, errno, want);
}

static void empty(int fd)
{
	char c;

	errno = 0;
	VICTIM_CHECK(recv(fd, &c, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
}

static void put(int fd, const char *s) { VICTIM_CHECK(send(fd, s, strlen(s), MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)strlen(s)); }

/* ---- pairs ---- */

static int pair[3][2], big[2], half[2], over_fork[2], large[2];
static pid_t child;
enum { BIG = 150000 };

static char *mem_of(int n)
{
	static char mem[BIG];

	for (int i = 0; i < n; i++)
		mem[i] = (char)(i * 7 + i / 256);
	return mem;
}

static void pairs_make(void)
{
	char *mem = mem_of(BIG);

	for (int i = 0; i < 3; i++) {
		VICTIM_TRY(socketpair(AF_UNIX, types[i] | (i ? SOCK_NONBLOCK : 0), 0, pair[i]));
		put(pair[i][0], "one");
		put(pair[i][0], "second");
		put(pair[i][1], "back");
	}
	VICTIM_TRY(socketpair(AF_UNIX, SOCK_STREAM, 0, big));
	VICTIM_CHECK(send(big[0], mem, BIG, MSG_DONTWAIT) == BIG);
	VICTIM_TRY(socketpair(AF_UNIX, SOCK_DGRAM, 0, large));
	VICTIM_CHECK(send(large[0], mem_of(BIG), BIG, MSG_DONTWAIT) == BIG);
	put(large[0], "small");
	VICTIM_TRY(socketpair(AF_UNIX, SOCK_STREAM, 0, half));
	put(half[0], "last");
	VICTIM_TRY(shutdown(half[0], SHUT_WR));
	VICTIM_TRY(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, over_fork));
	VICTIM_TRY(child = fork());
	if (!child) {
		char b[64];
		ssize_t n;

		close(over_fork[0]);
		while ((n = recv(over_fork[1], b, sizeof b, 0)) > 0)
			if (send(over_fork[1], b, (size_t)n, 0) != n)
				_exit(1);
		_exit(7);
	}
	close(over_fork[1]);
	put(over_fork[0], "before");
}

static void pairs_check(void)
{
	char *mem = malloc(BIG + 1);
	struct ucred u;
	socklen_t n = sizeof u;
	int status;

	get(pair[0][1], "onesecond");
	for (int i = 1; i < 3; i++) {
		get(pair[i][1], "one");
		get(pair[i][1], "second");
		empty(pair[i][1]);
		VICTIM_CHECK(fcntl(pair[i][0], F_GETFL) & O_NONBLOCK);
	}
	for (int i = 0; i < 3; i++) {
		get(pair[i][0], "back");
		empty(pair[i][0]);
		put(pair[i][0], "more");
		get(pair[i][1], "more");
		VICTIM_CHECK(has_name(pair[i][0], false, "") && has_name(pair[i][0], true, ""));
		VICTIM_TRY(getsockopt(pair[i][0], SOL_SOCKET, SO_PEERCRED, &u, &n));
		VICTIM_CHECK(u.uid == geteuid() && u.gid == getegid());
		VICTIM_CHECK(u.pid == getpid());
	}
	VICTIM_CHECK(recv(big[1], mem, BIG + 1, MSG_DONTWAIT) == BIG && !memcmp(mem, mem_of(BIG), BIG));
	VICTIM_CHECK(recv(large[1], mem, BIG + 1, MSG_DONTWAIT) == BIG && !memcmp(mem, mem_of(BIG), BIG));
	get(large[1], "small");
	free(mem);
	get(half[1], "last");
	get(half[1], "");
	VICTIM_CHECK(send(half[0], "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE);
	put(half[1], "other way");
	get(half[0], "other way");
	put(over_fork[0], "after");
	for (int i = 0; i < 2; i++) {
		struct pollfd p = { over_fork[0], POLLIN, 0 };
		VICTIM_CHECK(poll(&p, 1, 5000) == 1);
		get(over_fork[0], i ? "after" : "before");
	}
	close(over_fork[0]);
	VICTIM_CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 7);
}

/* ---- other end closed ---- */

static int orphan[3], reset_one, dead_name;

static void orphans_make(void)
{
	int sv[2], l;

	for (int i = 0; i < 3; i++) {
		VICTIM_TRY(socketpair(AF_UNIX, types[i], 0, sv));
		put(sv[1], "testament");
		put(sv[1], "of the dead");
		close(sv[1]);
		orphan[i] = sv[0];
	}
	VICTIM_TRY(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	put(sv[0], "unread");
	put(sv[1], "left");
	close(sv[1]);
	reset_one = sv[0];
	l = named(SOCK_STREAM, "@gone");
	VICTIM_TRY(listen(l, 1));
	dead_name = client(SOCK_STREAM, "@gone");
	VICTIM_TRY(sv[0] = accept(l, NULL, NULL));
	put(sv[0], "bye");
	close(sv[0]);
	close(l);
}

static void orphans_check(void)
{
	char c;

	get(orphan[0], "testamentof the dead");
	get(orphan[0], "");
	for (int i = 1; i < 3; i++) {
		get(orphan[i], "testament");
		get(orphan[i], "of the dead");
	}
	VICTIM_CHECK(send(orphan[0], "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE);
	VICTIM_CHECK(send(orphan[1], "x", 1, MSG_NOSIGNAL) < 0 && errno == ECONNREFUSED);
	VICTIM_CHECK(send(orphan[2], "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE);
	get(reset_one, "left");
	VICTIM_CHECK(recv(reset_one, &c, 1, 0) < 0 && errno == ECONNRESET);
	VICTIM_CHECK(recv(reset_one, &c, 1, 0) == 0);
	VICTIM_CHECK(has_name(dead_name, true, "@gone"));
	get(dead_name, "bye");
	get(dead_name, "");
}

/* ---- names ---- */

static char abs_path[96];
static int listener[3], accepted[3], caller[3], waiting[2], unlinked, plain_bound, named_caller, named_accepted;

static const char *listener_name(int i) { return i == 0 ? abs_path : i == 1 ? "rel.sock" : "@abstract"; }

static void names_make(void)
{
	snprintf(abs_path, sizeof abs_path, "%s/abs.sock", dir);
	for (int i = 0; i < 3; i++) {
		int type = i == 1 ? SOCK_SEQPACKET : SOCK_STREAM;

		listener[i] = named(type, listener_name(i));
		VICTIM_TRY(listen(listener[i], 5 + i));
		caller[i] = client(type, listener_name(i));
		VICTIM_TRY(accepted[i] = accept(listener[i], NULL, NULL));
		put(caller[i], "question");
	}
	VICTIM_TRY(chmod(abs_path, 0640));
	for (int i = 0; i < 2; i++)
		waiting[i] = client(SOCK_STREAM, abs_path);
	unlinked = named(SOCK_STREAM, "unlinked.sock");
	VICTIM_TRY(unlink("unlinked.sock"));
	plain_bound = named(SOCK_STREAM, "@plain");
	named_caller = named(SOCK_STREAM, "@caller");
	VICTIM_TRY(to(named_caller, "@abstract"));
	VICTIM_TRY(named_accepted = accept(listener[2], NULL, NULL));
}

static void listeners_check(void)
{
	struct stat st;
	int fd, c;

	for (int i = 0; i < 3; i++) {
		VICTIM_CHECK(has_name(listener[i], false, listener_name(i)));
		VICTIM_CHECK(has_name(accepted[i], false, listener_name(i)));
		VICTIM_CHECK(has_name(caller[i], true, listener_name(i)));
		get(accepted[i], "question");
		put(accepted[i], "answer");
		get(caller[i], "answer");
	}
	VICTIM_CHECK(!stat(abs_path, &st) && S_ISSOCK(st.st_mode) && (st.st_mode & 07777) == 0640 && st.st_uid == geteuid());
	for (int i = 0; i < 2; i++) {
		VICTIM_TRY(fcntl(listener[0], F_SETFL, O_NONBLOCK));
		VICTIM_TRY(fd = accept(listener[0], NULL, NULL));
		put(waiting[i], i ? "later" : "sooner");
		get(fd, i ? "later" : "sooner");
		close(fd);
	}
	VICTIM_CHECK(accept(listener[0], NULL, NULL) < 0 && errno == EAGAIN);
	for (int i = 0; i < 3; i++) {
		c = client(i == 1 ? SOCK_SEQPACKET : SOCK_STREAM, listener_name(i));
		VICTIM_TRY(fd = accept(listener[i], NULL, NULL));
		put(c, "new");
		get(fd, "new");
	}
}

static void names_check(void)
{
	listeners_check();
	VICTIM_CHECK(has_name(unlinked, false, "unlinked.sock") && access("unlinked.sock", F_OK) < 0);
	VICTIM_CHECK(has_name(plain_bound, false, "@plain"));
	VICTIM_TRY(listen(plain_bound, 1));
	client(SOCK_STREAM, "@plain");
	VICTIM_CHECK(has_name(named_caller, false, "@caller") && has_name(named_caller, true, "@abstract"));
	VICTIM_CHECK(has_name(named_accepted, false, "@abstract") && has_name(named_accepted, true, "@caller"));
	put(named_caller, "hello");
	get(named_accepted, "hello");
}

/* ---- datagrams ---- */

static int box, from_name, from_none, self;

static void datagrams_make(void)
{
	box = named(SOCK_DGRAM, "box.sock");
	from_name = named(SOCK_DGRAM, "@from");
	VICTIM_TRY(to(from_name, "box.sock"));
	from_none = client(SOCK_DGRAM, "box.sock");
	put(from_name, "with a name");
	put(from_none, "without");
	self = named(SOCK_DGRAM, "@self");
	VICTIM_TRY(to(self, "@self"));
	put(self, "me");
}

static void datagrams_check(void)
{
	struct sockaddr_un a, b;
	socklen_t n = sizeof a, m = name(&b, "@from");
	char c[32];

	VICTIM_CHECK(recvfrom(box, c, sizeof c, MSG_DONTWAIT, (struct sockaddr *)&a, &n) == 11 && n == m && !memcmp(&a, &b, n));
	n = sizeof a;
	VICTIM_CHECK(recvfrom(box, c, sizeof c, MSG_DONTWAIT, (struct sockaddr *)&a, &n) == 7 && n <= sizeof(sa_family_t));
	empty(box);
	put(from_none, "again");
	get(box, "again");
	VICTIM_CHECK(sendto(box, "reply", 5, 0, (struct sockaddr *)&b, m) == 5);
	get(from_name, "reply");
	get(self, "me");
	put(self, "still me");
	get(self, "still me");
}

/* ---- options ---- */

static int opt;

static void options_make(void)
{
	struct timeval t = { 3, 500000 };
	int v = 20000, one = 1;
	struct linger l = { 1, 9 };

	VICTIM_TRY(opt = socket(AF_UNIX, SOCK_STREAM, 0));
	VICTIM_TRY(setsockopt(opt, SOL_SOCKET, SO_SNDBUF, &v, sizeof v));
	VICTIM_TRY(setsockopt(opt, SOL_SOCKET, SO_PASSCRED, &one, sizeof one));
	VICTIM_TRY(setsockopt(opt, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
	VICTIM_TRY(setsockopt(opt, SOL_SOCKET, SO_LINGER, &l, sizeof l));
	v = 2;
	VICTIM_TRY(setsockopt(pair[0][1], SOL_SOCKET, SO_PEEK_OFF, &v, sizeof v));
	/* the buffer was made smaller with more than that in it */
	v = 3000;
	VICTIM_TRY(setsockopt(big[0], SOL_SOCKET, SO_SNDBUF, &v, sizeof v));
}

static int value(int fd, int o)
{
	int v = -77;
	socklen_t n = sizeof v;

	getsockopt(fd, SOL_SOCKET, o, &v, &n);
	return v;
}

static void options_check(void)
{
	struct timeval t;
	struct linger l;
	socklen_t n = sizeof t;
	int none = -1;

	VICTIM_CHECK(value(opt, SO_SNDBUF) == 40000 && value(opt, SO_PASSCRED) == 1);
	VICTIM_CHECK(!getsockopt(opt, SOL_SOCKET, SO_RCVTIMEO, &t, &n) && t.tv_sec == 3 && t.tv_usec == 500000);
	n = sizeof l;
	VICTIM_CHECK(!getsockopt(opt, SOL_SOCKET, SO_LINGER, &l, &n) && l.l_onoff && l.l_linger == 9);
	VICTIM_CHECK(value(pair[0][1], SO_PEEK_OFF) == 2 && value(pair[0][0], SO_PEEK_OFF) == -1);
	VICTIM_TRY(setsockopt(pair[0][1], SOL_SOCKET, SO_PEEK_OFF, &none, sizeof none));
	VICTIM_CHECK(value(big[0], SO_SNDBUF) == 6000 && value(pair[1][0], SO_SNDBUF) == value(box, SO_SNDBUF));
	VICTIM_CHECK(value(listener[0], SO_ACCEPTCONN) == 1 && value(plain_bound, SO_ACCEPTCONN) == 0);
}

int main(int argc, char **argv)
{
	victim_init(argc, argv);
	snprintf(dir, sizeof dir, "/tmp/xos-v_unix.%d", (int)getpid());
	VICTIM_TRY(mkdir(dir, 0700));
	VICTIM_TRY(chdir(dir));
	pairs_make();
	orphans_make();
	names_make();
	datagrams_make();
	options_make();
	VICTIM_TRY(chdir("/")); /* relative names are not found from here: the child's directory is still the old one */
	victim_wait();
	VICTIM_TRY(chdir(dir));
	options_check();
	pairs_check();
	orphans_check();
	names_check();
	datagrams_check();
	unlink(abs_path);
	unlink("rel.sock");
	unlink("box.sock");
	rmdir(dir);
	return victim_ok();
}
