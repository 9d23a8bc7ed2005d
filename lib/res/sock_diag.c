#include "res/sock_diag.h"
#include "common/cleanup.h"
#include "common/log.h"

#include <fcntl.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
enum { ANSWER = 64 << 10, REQUEST_MAX = 64, LAST = 2, NONE = 1 };

static struct sock_where where = { -1, NULL };
/* Makes one socket after the other in another network namespace: a fork for each would take milliseconds in a restart with thousands. */
static struct { const struct ns_place *at; pid_t pid; int sock; } maker = { NULL, 0, -1 };

static void maker_end(void)
{
	if (!maker.at)
		return;
	close(maker.sock);
	while (waitpid(maker.pid, NULL, 0) < 0 && errno == EINTR)
		;
	maker.at = NULL;
}

struct sock_where sock_go(struct sock_where to)
{
	struct sock_where before = where;

	where = to;
	if (to.at != maker.at)
		maker_end();
	return before;
}

bool sock_elsewhere(void) { return where.at; }

int sock_enter(void)
{
	uid_t euid = geteuid();
	const int *fd = where.at ? where.at->fd : NULL;
	bool borrowed = !getuid() && euid;

	if (!fd)
		return 0;
	if (borrowed && seteuid(0))
		return -1;
	/* Who has no rights over it from here has them in the user namespace that owns it. */
	if (setns(fd[NSK_NET], CLONE_NEWNET) && (fd[NSK_USER] < 0 || setns(fd[NSK_USER], CLONE_NEWUSER) || setns(fd[NSK_NET], CLONE_NEWNET)))
		return -1;
	return borrowed && seteuid(euid) ? -1 : 0;
}

int sock_diag_open(void)
{
	char rest[4096];
	int fd = where.diag < 0 ? socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG) : fcntl(where.diag, F_DUPFD_CLOEXEC, 3);

	while (fd >= 0 && where.diag >= 0 && recv(fd, rest, sizeof rest, MSG_DONTWAIT) > 0)
		;
	return fd;
}

/* What a child does there. */
struct wish { int family, type, protocol; const char *path; size_t max; };

static int grant(void *ctx, struct buf *answer, int *give, struct err *e)
{
	const struct wish *w = ctx;

	if (w->path)
		return buf_read_file(answer, AT_FDCWD, w->path, w->max) ? err_sys(e, "%s", w->path) : 0;
	*give = socket(w->family, w->type, w->protocol);
	return *give < 0 ? err_sys(e, "socket") : 0;
}

union control { struct cmsghdr c; char room[CMSG_SPACE(sizeof(int))]; };

/* It holds nothing of the job's but what it is making. */
static void serve(const struct ns_place *at, int sock)
{
	struct err e = ERR_INIT;
	struct wish w;
	int bad;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	bad = ns_go(at, &e) ? (e.sys ? e.sys : EPERM) : 0;
	if (sock != 3 && dup2(sock, 3) != 3)
		_exit(1);
	syscall(SYS_close_range, 4, ~0u, 0);
	while (recv(3, &w, sizeof w, 0) == (ssize_t)sizeof w) {
		union control u = { .c = { .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS } };
		int fd = bad ? -1 : socket(w.family, w.type, w.protocol), answer = fd >= 0 ? 0 : bad ? bad : errno;
		struct iovec v = { &answer, sizeof answer };
		struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = fd < 0 ? NULL : &u, .msg_controllen = fd < 0 ? 0 : sizeof u.room };

		memcpy(CMSG_DATA(&u.c), &fd, sizeof fd);
		if (sendmsg(3, &m, MSG_NOSIGNAL) < 0)
			break;
		if (fd >= 0)
			close(fd);
	}
	_exit(0);
}

static int maker_start(void)
{
	int p[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p))
		return -1;
	maker.pid = fork();
	if (!maker.pid)
		serve(where.at, p[1]);
	close(p[1]);
	if (maker.pid < 0) {
		close(p[0]);
		return -1;
	}
	maker.sock = p[0];
	maker.at = where.at;
	return 0;
}

static int made(const struct wish *w)
{
	union control u = { .room = { 0 } };
	int answer = EPIPE, fd = -1;
	struct iovec v = { &answer, sizeof answer };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof u.room };

	if ((!maker.at && maker_start()) || send(maker.sock, w, sizeof *w, MSG_NOSIGNAL) < 0)
		return -1;
	if (recvmsg(maker.sock, &m, MSG_CMSG_CLOEXEC) != (ssize_t)sizeof answer)
		answer = EPIPE;
	else if (!answer && m.msg_controllen >= CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(&u.c), sizeof fd);
	errno = fd >= 0 ? 0 : answer ? answer : EMFILE;
	return fd;
}

static int run(struct wish *w, struct buf *answer, int *fd)
{
	struct ns_job job = { .fn = grant, .ctx = w };
	struct err e = ERR_INIT;
	int rc = ns_run(where.at, &job, answer, fd, &e);

	if (rc)
		errno = e.sys ? e.sys : EPERM;
	return rc;
}

int sock_make(int family, int type, int protocol)
{
	struct wish w = { family, type, protocol, NULL, 0 };
	int fd = -1;

	if (!where.at)
		return socket(family, type, protocol);
	/* Unix sockets show numbers of processes, which a child of ours must not have when they are made. */
	if (family == AF_UNIX)
		return run(&w, NULL, &fd) ? -1 : fd;
	return made(&w);
}

int sock_proc(const char *path, struct buf *b, size_t max)
{
	struct wish w = { .path = path, .max = max };

	return where.at ? run(&w, b, NULL) : buf_read_file(b, AT_FDCWD, path, max);
}

bool sock_diag_name(unsigned index, char name[IF_NAMESIZE])
{
	struct ifreq i = { .ifr_ifindex = (int)index };

	if (where.diag < 0)
		return if_indextoname(index, name);
	if (ioctl(where.diag, SIOCGIFNAME, &i))
		return false;
	memcpy(name, i.ifr_name, IF_NAMESIZE);
	return true;
}

unsigned sock_diag_index(const char *name)
{
	struct ifreq i = { .ifr_ifindex = 0 };

	if (where.diag < 0)
		return if_nametoindex(name);
	snprintf(i.ifr_name, sizeof i.ifr_name, "%s", name);
	return ioctl(where.diag, SIOCGIFINDEX, &i) ? 0 : (unsigned)i.ifr_ifindex;
}

bool sock_lo_up(void)
{
	struct ifreq i = { .ifr_name = "lo" };
	AUTO_FD int fd = sock_diag_open();

	return fd >= 0 && !ioctl(fd, SIOCGIFFLAGS, &i) && (i.ifr_flags & IFF_UP);
}

/* One datagram of the answer. LAST: there is no more. */
static int datagram(const struct nlmsghdr *h, size_t n, sock_diag_take *take, void *arg, struct err *e)
{
	int rc;

	for (; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
		if (h->nlmsg_type == NLMSG_DONE)
			return LAST;
		if (h->nlmsg_type == NLMSG_ERROR) {
			const struct nlmsgerr *r = NLMSG_DATA(h);

			if (r->error == -ENOENT || r->error == -EINVAL || r->error == -EOPNOTSUPP)
				return NONE;
			errno = -r->error;
			return err_sys(e, "sock_diag");
		}
		rc = h->nlmsg_type == SOCK_DIAG_BY_FAMILY ? take(arg, h, e) : 0;
		if (rc)
			return rc;
	}
	return 0;
}

int sock_diag_ask(const void *req, size_t n, sock_diag_take *take, void *arg, struct err *e)
{
	AUTO_FD int fd = fault("sock-diag") ? -1 : sock_diag_open();
	struct { struct nlmsghdr h; char req[REQUEST_MAX]; } ask = {
		.h = { .nlmsg_len = (__u32)NLMSG_LENGTH(n), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
	};
	AUTO_FREE char *mem = malloc(ANSWER);
	int rc = 0;

	if (!mem || n > sizeof ask.req)
		return err_set(e, EX_FAILED, "out of memory");
	memcpy(ask.req, req, n);
	if (fd < 0 || send(fd, &ask, ask.h.nlmsg_len, 0) < 0)
		return NONE;
	while (!rc) {
		ssize_t got = recv(fd, mem, ANSWER, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return err_sys(e, "sock_diag");
		rc = datagram((const struct nlmsghdr *)(void *)mem, (size_t)got, take, arg, e);
	}
	return rc == LAST ? 0 : rc;
}
