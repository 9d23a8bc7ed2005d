#include "res/ns_run.h"
#include "common/cleanup.h"

#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif
enum { MAX_GROUPS = 1024, ANSWER_MAX = 64 << 20 };

static const struct { const char *name; int flag; } kinds[NSK_COUNT] = {
	[NSK_USER] = { "user", CLONE_NEWUSER }, [NSK_PID] = { "pid", CLONE_NEWPID }, [NSK_NET] = { "net", CLONE_NEWNET },
	[NSK_IPC] = { "ipc", CLONE_NEWIPC }, [NSK_UTS] = { "uts", CLONE_NEWUTS }, [NSK_CGROUP] = { "cgroup", CLONE_NEWCGROUP },
	[NSK_TIME] = { "time", CLONE_NEWTIME }, [NSK_MNT] = { "mnt", CLONE_NEWNS },
};

const char *ns_kind_name(enum ns_kind k) { return kinds[k].name; }
int ns_kind_flag(enum ns_kind k) { return kinds[k].flag; }

int ns_become(uid_t uid, struct err *e)
{
	char text[16384];
	struct passwd pw, *found = NULL;
	gid_t groups[MAX_GROUPS], gid = uid;
	int n = MAX_GROUPS;

	if (uid == (uid_t)-1 || uid == geteuid())
		return 0;
	if (getpwuid_r(uid, &pw, text, sizeof text, &found) || !found)
		n = 0;
	else if (gid = pw.pw_gid, getgrouplist(pw.pw_name, pw.pw_gid, groups, &n) < 0)
		n = MAX_GROUPS;
	if (setgroups((size_t)n, groups) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid))
		return err_sys(e, "cannot act as user %u", uid);
	/* /proc/self stays ours. */
	prctl(PR_SET_DUMPABLE, 1);
	return 0;
}

/* The first id that the user namespace we are in has, for one that it has not: that could make no file, EOVERFLOW. (uid_t)-1: ours is mapped, or
 * nobody is. */
static unsigned mapped(const char *map, const char *overflow, unsigned id)
{
	AUTO_FILE FILE *o = fopen(overflow, "re"), *m = fopen(map, "re");
	unsigned none = 65534, first;

	if (o && fscanf(o, "%u", &none) != 1)
		none = 65534;
	return id == none && m && fscanf(m, "%u", &first) == 1 ? first : (unsigned)-1;
}

/* Root of the machine, or the namespace's owner, may be nobody in it. */
static int become_somebody(struct err *e)
{
	gid_t gid = mapped("/proc/self/gid_map", "/proc/sys/kernel/overflowgid", getegid());
	uid_t uid = mapped("/proc/self/uid_map", "/proc/sys/kernel/overflowuid", geteuid());

	if ((gid != (gid_t)-1 && setresgid(gid, gid, gid)) || (uid != (uid_t)-1 && setresuid(uid, uid, uid)))
		return err_sys(e, "cannot act as a user of a user namespace of the job");
	if (gid != (gid_t)-1 || uid != (uid_t)-1)
		prctl(PR_SET_DUMPABLE, 1);
	return 0;
}

int ns_go(const struct ns_place *at, struct err *e)
{
	bool in[NSK_COUNT] = { false };

	/* What the user namespace has no right over is entered with the rights that we have here. */
	for (int k = 0; k < NSK_COUNT && at->fd[NSK_USER] >= 0; k++)
		in[k] = k != NSK_USER && k != NSK_MNT && at->fd[k] >= 0 && !setns(at->fd[k], kinds[k].flag);
	if (at->fd[NSK_USER] >= 0 && ns_become(at->as, e))
		return -1;
	for (int k = 0; k < NSK_COUNT; k++) {
		if (at->fd[k] >= 0 && !in[k] && setns(at->fd[k], kinds[k].flag))
			return err_sys(e, "cannot enter a %s namespace of the job", kinds[k].name);
		if (k == NSK_USER && at->makes && at->fd[k] >= 0 && become_somebody(e))
			return -1;
	}
	return 0;
}

struct head { int rc, has_fd; size_t n; struct err e; };

static int send_all(int sock, const void *p, size_t n)
{
	const char *c = p;

	while (n) {
		ssize_t k = send(sock, c, n, MSG_NOSIGNAL);
		if (k <= 0)
			return -1;
		c += k;
		n -= (size_t)k;
	}
	return 0;
}

static int send_head(int sock, const struct head *h, int fd)
{
	union { struct cmsghdr c; char room[CMSG_SPACE(sizeof(int))]; } u = { 0 };
	struct iovec v = { (void *)h, sizeof *h };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

	if (fd >= 0) {
		m.msg_control = &u;
		m.msg_controllen = sizeof u.room;
		u.c = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
		memcpy(CMSG_DATA(&u.c), &fd, sizeof fd);
	}
	return sendmsg(sock, &m, MSG_NOSIGNAL) == (ssize_t)sizeof *h ? 0 : -1;
}

static void child(const struct ns_place *at, const struct ns_job *job, int sock)
{
	struct head h = { 0 };
	struct buf answer = BUF_INIT;
	int give = -1;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if ((job->before && job->before(job->ctx, &h.e)) || ns_go(at, &h.e)) {
		h.rc = -1;
	} else if (at->fd[NSK_PID] >= 0) {
		int st = 0;
		pid_t pid = fork();

		if (pid > 0) {
			while (waitpid(pid, &st, 0) < 0 && errno == EINTR)
				;
			_exit(0);
		}
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		h.rc = pid < 0 ? err_sys(&h.e, "cannot fork") : 0;
	}
	if (!h.rc)
		h.rc = job->fn(job->ctx, &answer, &give, &h.e);
	if (!h.rc && buf_failed(&answer))
		h.rc = err_set(&h.e, EX_FAILED, "out of memory");
	h.n = h.rc ? 0 : answer.len;
	h.has_fd = give >= 0;
	_exit(send_head(sock, &h, give) || send_all(sock, buf_str(&answer), h.n));
}

static int receive(int sock, struct buf *answer, int *got, struct err *e)
{
	union { struct cmsghdr c; char room[CMSG_SPACE(sizeof(int))]; } u = { 0 };
	AUTO_BUF struct buf text = BUF_INIT;
	struct head h;
	struct iovec v = { &h, sizeof h };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof u.room };
	ssize_t n;
	int fd = -1;

	while ((n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC | MSG_WAITALL)) < 0 && errno == EINTR)
		;
	if (n != (ssize_t)sizeof h)
		return err_set(e, EX_FAILED, "a helper in a namespace of the job died");
	if (h.has_fd && m.msg_controllen >= CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(&u.c), sizeof fd);
	if (got)
		*got = fd;
	else if (fd >= 0)
		close(fd);
	if (h.rc) {
		if (e)
			*e = h.e;
		return -1;
	}
	if (buf_read_fd(answer ? answer : &text, sock, ANSWER_MAX) || (answer && buf_failed(answer)))
		return err_sys(e, "cannot read what a helper in a namespace of the job tells");
	return 0;
}

int ns_run(const struct ns_place *at, const struct ns_job *job, struct buf *answer, int *got, struct err *e)
{
	int p[2], rc;
	pid_t pid;

	if (got)
		*got = -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p))
		return err_sys(e, "cannot make a pair of sockets");
	pid = fork();
	if (!pid) {
		close(p[0]);
		child(at, job, p[1]);
	}
	close(p[1]);
	rc = pid < 0 ? err_sys(e, "cannot fork") : receive(p[0], answer, got, e);
	close(p[0]);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return rc;
}
