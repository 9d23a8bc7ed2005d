/* fd_pidfd: pidfds of members, pidfd_open(2): of processes, zombies, threads, and of what has gone.
 *
 * Record: TYPE="pidfd" ... PID= | DEAD= [STATUS=]      FLAGS has PIDFD_NONBLOCK (O_NONBLOCK) and PIDFD_THREAD (O_EXCL)
 *
 * The process that a pidfd means exists only when every process has inherited its descriptors. So each process gets one end of
 * a socket pair at that number, and at the late stage takes the pidfd itself out of it (SCM_RIGHTS): all
 * holders share one description, as before, and no privilege is needed. The restorer has the pidfd as soon as the
 * processes exist (epoll and the queues of sockets take it from there), that of a thread when the threads do.
 * For one that was dead and reaped a child ends the same way before anything else is made. */
#include "res/fd_pidfd.h"
#include "common/cleanup.h"
#include "res/fd_ops.h"
#include "res/proc_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>

enum { PIDFD_FLAGS = O_NONBLOCK | O_EXCL, PIDFS = 0x50494446, STATUS_MAX = 0xffff };

/* struct pidfd_info of linux/pidfd.h, as far as 6.15 has it. */
struct pidfd_exit { uint64_t mask, cgroup; uint32_t ids[11]; int32_t status; };
#define GET_INFO _IOWR(0xff, 11, struct pidfd_exit)
enum { INFO_EXIT = 8 };

/* In the restorer: what is still to be given to the processes. */
struct promise { int send; pid_t pid; bool thread, made; };

static bool pidfd_match(const struct dfile *f)
{
	return fd_is_anon(f, "[pidfd]") || !strncmp(f->link, "pidfd:", 6);
}

bool pidfd_of_thread(const struct dfile *f)
{
	return pidfd_match(f) && f->flags & O_EXCL;
}

/* fdinfo's Pid: as this procfs numbers it, 0: it has no number here, -1: it has been reaped. */
static int target(const struct dfile *f, int *pid)
{
	const char *s = strstr(f->info, "\nPid:");

	return s && sscanf(s, "\nPid: %d", pid) == 1 ? 0 : -1;
}

/* The number of the member or member's thread as the job sees it; 0: no member. */
static pid_t member(struct dump *d, const struct dfile *f, int pid)
{
	for (size_t i = 0; i < d->nprocs; i++) {
		const struct dproc *p = d->procs[i];

		if (p->tgid == pid)
			return p->vpid;
		for (size_t k = 0; (f->flags & O_EXCL) && k < p->nthr; k++)
			if (p->thr[k].tid == pid)
				return p->thr[k].vtid;
	}
	return 0;
}

static int pidfd_check(struct dump *d, struct dfile *f, struct err *e)
{
	int pid;

	if (target(f, &pid))
		return refuse(d, f->p, "fd %d: pidfd: this kernel does not tell which process it means", f->fd);
	if (!pid)
		return refuse(d, f->p, "fd %d: pidfd of a process in another PID namespace is not supported", f->fd);
	if (pid > 0 && !member(d, f, pid))
		return refuse(d, f->p, "fd %d: pidfd of process %d, which is not in the job", f->fd, pid);
	return 0;
}

/* The first description of the same dead process; where pidfds have no inodes of their own that is not to be seen by anybody. */
static uint32_t first_of(struct dump *d, const struct dfile *f)
{
	struct statfs fs;
	uint32_t id = f->id;

	if (f->lfd < 0 || fstatfs(f->lfd, &fs) || fs.f_type != PIDFS)
		return id;
	for (struct dfile *c = NULL; (c = files_same_inode(d, f, c));)
		if (c->id < id && pidfd_match(c))
			id = c->id;
	return id;
}

static int pidfd_dump(struct dump *d, struct dfile *f, struct err *e)
{
	struct pidfd_exit x = { .mask = INFO_EXIT };
	int pid;

	if (target(f, &pid))
		return err_set(e, EX_FAILED, "pidfd without Pid in fdinfo");
	if (pid > 0) {
		rec_put_u64(&d->files_out, "PID", (uint64_t)member(d, f, pid));
		return 0;
	}
	rec_put_u64(&d->files_out, "DEAD", first_of(d, f));
	if (f->lfd >= 0 && !ioctl(f->lfd, GET_INFO, &x) && x.mask & INFO_EXIT)
		rec_put_u64(&d->files_out, "STATUS", (uint64_t)x.status & STATUS_MAX);
	return 0;
}

/* ---- restart ---- */

static int pidfd_open_(pid_t pid, uint64_t flags)
{
	return (int)syscall(SYS_pidfd_open, pid, flags & PIDFD_FLAGS);
}

static _Noreturn void end_with(int status)
{
	struct rlimit none = { 0, 0 };
	int sig = status & 0x7f;
	sigset_t s;

	if (!sig)
		_exit(status >> 8 & 0xff);
	setrlimit(RLIMIT_CORE, &none);
	signal(sig, SIG_DFL);
	sigemptyset(&s);
	sigaddset(&s, sig);
	sigprocmask(SIG_UNBLOCK, &s, NULL);
	kill(getpid(), sig);
	_exit(1);
}

/* All descriptions of the dead process whose first one is f, while there is a process to be opened. */
static int open_all_of(struct restore *r, struct rfile *f, pid_t pid, struct err *e)
{
	uint64_t flags, dead;

	for (size_t i = f->id - 1; i < r->nfiles; i++) {
		struct rfile *c = &r->files[i];

		if (c->ops != f->ops || !rec_find(&c->rec, "DEAD"))
			continue;
		if (rec_u64(&c->rec, "DEAD", c->id, &dead, e) || rec_u64(&c->rec, "FLAGS", UINT32_MAX, &flags, e))
			return -1;
		if (dead != f->id || c->fd >= 0)
			continue;
		c->fd = pidfd_open_(pid, flags);
		if (c->fd < 0)
			return err_sys(e, "cannot open a pidfd");
		/* The job's numbers are for those that are placed there. */
		if (c != f && (c->fd = restore_high_fd(r, c->fd)) < 0)
			return err_sys(e, "cannot place a pidfd");
	}
	return 0;
}

static int open_dead(struct restore *r, struct rfile *f, struct err *e)
{
	int go[2], status, rc;
	uint64_t how;
	pid_t pid;
	char c;

	if (rec_u64_or(&f->rec, "STATUS", STATUS_MAX, 0, &how, e))
		return -1;
	if ((how & 0x7f) > 64 || (how & 0x7f) == SIGSTOP || (how & 0x7f) == SIGCONT)
		return err_set(e, EX_BAD_IMAGE, "line %zu: no process ends with status %llu", f->rec.line, (unsigned long long)how);
	if (pipe2(go, O_CLOEXEC))
		return err_sys(e, "cannot make a pipe");
	pid = fork();
	if (!pid) {
		close(go[1]);
		end_with(read(go[0], &c, 1) == 0 ? (int)how : 0);
	}
	close(go[0]);
	rc = pid < 0 ? err_sys(e, "cannot fork") : open_all_of(r, f, pid, e);
	close(go[1]);
	if (pid > 0)
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	return rc;
}

static bool is_thread(struct restore *r, pid_t tid)
{
	for (size_t i = 0; i < r->nprocs; i++)
		for (size_t k = !r->procs[i]->headless; k < r->procs[i]->nthr; k++)
			if (r->procs[i]->thr[k].tid == tid)
				return true;
	return false;
}

static int open_promise(struct restore *r, struct rfile *f, uint64_t pid, uint64_t flags, struct err *e)
{
	struct promise *x;
	bool thread;
	int sv[2];

	thread = !restore_find(r, (pid_t)pid) && flags & O_EXCL && is_thread(r, (pid_t)pid);
	if (!thread && !restore_find(r, (pid_t)pid))
		return err_set(e, EX_BAD_IMAGE, "line %zu: pidfd of %llu, which is not in the job", f->rec.line, (unsigned long long)pid);
	x = malloc(sizeof *x);
	if (!x || socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, sv)) {
		free(x);
		return err_sys(e, "cannot make a socket pair");
	}
	*x = (struct promise){ restore_high_fd(r, sv[0]), (pid_t)pid, thread, false };
	f->priv = x;
	f->fd = sv[1];
	return x->send < 0 ? err_sys(e, "cannot place a descriptor") : 0;
}

static int pidfd_open_file(struct restore *r, struct rfile *f, struct err *e)
{
	uint64_t flags, pid, dead;

	if (rec_u64(&f->rec, "FLAGS", UINT32_MAX, &flags, e))
		return -1;
	if (rec_find(&f->rec, "PID"))
		return rec_u64(&f->rec, "PID", INT_MAX, &pid, e) ? -1 : open_promise(r, f, pid, flags, e);
	if (rec_u64(&f->rec, "DEAD", f->id, &dead, e))
		return -1;
	/* Those of an earlier one's process were opened with it. */
	if (dead != f->id)
		return err_set(e, EX_BAD_IMAGE, "line %zu: DEAD names no pidfd of a dead process", f->rec.line);
	return open_dead(r, f, e);
}

/* Puts the pidfd in the place of the socket, in the restorer. The other end is kept for the processes. */
static int keep(struct restore *r, struct rfile *f, struct err *e)
{
	struct promise *x = f->priv;
	struct rproc *p = restore_find(r, x->pid);
	uint64_t flags;
	int fd;

	if (rec_u64(&f->rec, "FLAGS", UINT32_MAX, &flags, e))
		return -1;
	fd = pidfd_open_(p && !x->thread ? p->made : x->pid, flags);
	if (fd < 0)
		return err_sys(e, "file %u: cannot open a pidfd of %d", f->id, x->pid);
	if (dup3(fd, f->fd, O_CLOEXEC) < 0) {
		close(fd);
		return err_sys(e, "cannot place a pidfd");
	}
	close(fd);
	x->made = true;
	return 0;
}

int pidfd_make(struct restore *r, struct err *e)
{
	for (size_t i = 0; i < r->nfiles; i++) {
		const struct promise *x = r->files[i].ops == &fd_pidfd_ops ? r->files[i].priv : NULL;

		if (x && !x->thread && keep(r, &r->files[i], e))
			return -1;
	}
	return 0;
}

union rights { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int))]; };

static int send_it(const struct promise *x, int fd, struct err *e)
{
	char c = 0;
	struct iovec v = { &c, 1 };
	union rights u = { .h = { .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS } };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof u };

	memcpy(CMSG_DATA(&u.h), &fd, sizeof fd);
	return sendmsg(x->send, &m, MSG_NOSIGNAL) == 1 ? 0 : err_sys(e, "cannot send a descriptor");
}

/* p takes what was sent out of its descriptor x->fd, and puts it there. */
static int receive(struct rproc *p, const struct rfd *x, struct err *e)
{
	union rights u;
	struct msghdr m = { .msg_iovlen = 1, .msg_controllen = sizeof u };
	struct iovec v = { .iov_len = 1 };
	uint64_t control, at;
	long n, rc;
	int fd;

	if (remote_room(p->rem, 1, 256, e))
		return -1;
	v.iov_base = (void *)(uintptr_t)remote_put(p->rem, NULL, 1);
	control = remote_put(p->rem, NULL, sizeof u);
	m.msg_control = (void *)(uintptr_t)control;
	m.msg_iov = (void *)(uintptr_t)remote_put(p->rem, &v, sizeof v);
	at = remote_put(p->rem, &m, sizeof m);
	if (remote_one(p->rem, "recvmsg", &n, e, SYS_recvmsg, (uint64_t)x->fd, at, MSG_CMSG_CLOEXEC | MSG_DONTWAIT, 0, 0, 0))
		return -1;
	memcpy(&u, remote_data(p->rem, control), sizeof u);
	if (n != 1 || u.h.cmsg_len != CMSG_LEN(sizeof(int)) || u.h.cmsg_type != SCM_RIGHTS)
		return err_set(e, EX_FAILED, "fd %d: a pidfd did not arrive (%ld)", x->fd, n);
	memcpy(&fd, CMSG_DATA(&u.h), sizeof fd);
	if (remote_one(p->rem, "dup3", &rc, e, SYS_dup3, (uint64_t)fd, (uint64_t)x->fd, x->cloexec ? O_CLOEXEC : 0, 0, 0, 0))
		return -1;
	if (rc != x->fd)
		return err_set(e, EX_FAILED, "fd %d: a pidfd cannot be placed (%ld)", x->fd, rc);
	return remote_one(p->rem, "close", &rc, e, SYS_close, (uint64_t)fd, 0, 0, 0, 0, 0);
}

static int late(struct restore *r, struct rproc *p, struct err *e)
{
	for (size_t k = 0; k < p->nfds; k++) {
		struct rfile *f = &r->files[p->fds[k].file - 1];
		struct promise *x = f->ops == &fd_pidfd_ops ? f->priv : NULL;

		if (!x)
			continue;
		if ((!x->made && keep(r, f, e)) || send_it(x, f->fd, e) || receive(p, &p->fds[k], e))
			return -1;
	}
	return 0;
}

static int pidfd_late(struct restore *r, struct rfile *f, struct err *e)
{
	struct promise *x = f->priv;

	if (x && x->send >= 0)
		close(x->send);
	if (x)
		x->send = -1;
	return 0;
}

const struct fd_ops fd_pidfd_ops = {
	.type = "pidfd", .match = pidfd_match, .check = pidfd_check, .dump = pidfd_dump, .open = pidfd_open_file, .late = pidfd_late,
};
const struct res_ops res_pidfd = { .name = "pidfd", .late = late };
