/* fd_mqueue: POSIX message queues. mq_overview(7).
 *
 * Record: TYPE="mqueue" ... QUEUE=(id of its first description) and with that one MAXMSG= MSGSIZE= MODE= UID= GID= BYTES= [GHOST="1"] [NOTIFY=PID];
 * content: raw member mqueue_ID, of each message its priority and length (32 bits each, of this machine) and its bytes, in the
 * order in which they would be received.
 *
 * No call looks at a message without taking it. So a child of ours, which no signal but SIGKILL of itself ends, takes all and puts
 * them back in the same order, while all processes stand. When the checkpointer dies meanwhile, the child goes on: the job may find
 * the queue short for some microseconds, and what it sends in between may come before what was there; nothing is lost. A
 * queue that processes outside have open is refused.
 *
 * A process that is to be notified (mq_notify(3)) without a signal is registered again. A registration with a signal or a thread is
 * refused: what those carry (sigev_value, the socket and cookie of libc) is shown nowhere, and a message that would tell uses it up. So
 * does taking the messages that wait: a queue with both is refused, too.
 *
 * Queues outlive processes: on restart one of that name is taken again when nobody has it open and its limits and owner are the same,
 * and gets the messages of the image. */
#include "res/fd_mqueue.h"
#include "common/cleanup.h"
#include "image/image.h"
#include "res/fd_ops.h"

#include <dirent.h>
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>

enum { MQUEUE_FS = 0x19800202, PRIO_MAX_ = 32768, MSGS_MAX = 1 << 20, MSGSIZE_MAX = 1 << 28 };

static bool mqueue_match(const struct dfile *f)
{
	struct statfs fs;

	return S_ISREG(f->st.st_mode) && !(f->flags & O_PATH) && f->lfd >= 0 && !fstatfs(f->lfd, &fs) && fs.f_type == MQUEUE_FS;
}

static int reopen(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

/* The PID of a process but us that has the queue open and, with d, is no member; 0: none. */
static int open_by_another(const struct stat *want, const struct dump *d)
{
	AUTO_DIR DIR *proc = opendir("/proc");
	struct dirent *de;

	while (proc && (de = readdir(proc))) {
		int pid = de->d_name[0] >= '1' && de->d_name[0] <= '9' ? atoi(de->d_name) : 0;
		char path[300];
		AUTO_DIR DIR *fds = NULL;
		struct dirent *fe;
		struct stat st;

		if (!pid || pid == getpid() || (d && dump_has_pid((struct dump *)(uintptr_t)d, pid)))
			continue;
		snprintf(path, sizeof path, "/proc/%d/fd", pid);
		fds = opendir(path);
		while (fds && (fe = readdir(fds)))
			if (fe->d_name[0] != '.' && !fstatat(dirfd(fds), fe->d_name, &st, 0) && st.st_ino == want->st_ino &&
			    st.st_dev == want->st_dev)
				return pid;
	}
	return 0;
}

/* ---- checkpoint ---- */

static struct dfile *first_of(struct dump *d, const struct dfile *f)
{
	for (size_t i = 0; i < d->nfiles; i++)
		if (d->files[i]->ops == f->ops && d->files[i]->st.st_ino == f->st.st_ino && d->files[i]->st.st_dev == f->st.st_dev)
			return d->files[i];
	return NULL;
}

/* What the queue's file says; pid 0: nobody is to be notified. */
struct notify { int how, signo, pid; size_t bytes; };

static int notify_read(int fd, struct notify *n)
{
	char text[256] = "";

	*n = (struct notify){ 0 };
	if (pread(fd, text, sizeof text - 1, 0) < 0)
		return -1;
	return sscanf(text, "QSIZE:%zu NOTIFY:%d SIGNO:%d NOTIFY_PID:%d", &n->bytes, &n->how, &n->signo, &n->pid) == 4 ? 0 : -1;
}

/* The member whose number here is pid, as the job sees it; 0: none. */
static pid_t member(const struct dump *d, int pid)
{
	for (size_t i = 0; i < d->nprocs; i++)
		if (d->procs[i]->tgid == pid)
			return d->procs[i]->vpid;
	return 0;
}

static int notify_check(struct dump *d, struct dfile *f, const struct notify *n)
{
	struct mq_attr a;

	if (!n->pid)
		return 0;
	if (n->how == SIGEV_SIGNAL)
		return refuse(d, f->p, "fd %d: POSIX message queue %s: process %d is to be notified by signal %d (mq_notify), and what that carries is shown nowhere",
			      f->fd, f->link, n->pid, n->signo);
	if (n->how != SIGEV_NONE)
		return refuse(d, f->p, "fd %d: POSIX message queue %s: process %d is to be notified by a thread (mq_notify, SIGEV_THREAD), which is not supported",
			      f->fd, f->link, n->pid);
	if (!member(d, n->pid))
		return refuse(d, f->p, "fd %d: POSIX message queue %s: process %d, which is outside the job, is to be notified (mq_notify)",
			      f->fd, f->link, n->pid);
	if (mq_getattr(f->lfd, &a) || a.mq_curmsgs)
		return refuse(d, f->p, "fd %d: POSIX message queue %s: messages wait in it, and process %d is to be notified (mq_notify) of the next after them",
			      f->fd, f->link, n->pid);
	return 0;
}

static int mqueue_check(struct dump *d, struct dfile *f, struct err *e)
{
	AUTO_FD int fd = reopen(f->lfd, O_RDWR);
	struct notify n;
	int pid;

	if (fd < 0)
		return refuse(d, f->p, "fd %d: POSIX message queue %s may not be read and written: %s", f->fd, f->link, strerror(errno));
	if (notify_read(fd, &n))
		return refuse(d, f->p, "fd %d: POSIX message queue %s: this kernel does not tell who is to be notified", f->fd, f->link);
	notify_check(d, f, &n);
	pid = open_by_another(&f->st, d);
	if (pid)
		return refuse(d, f->p, "fd %d: POSIX message queue %s is used by process %d, which is outside the job", f->fd, f->link, pid);
	return 0;
}

struct message { uint32_t prio, len; };
struct taken { size_t n, bytes; bool all_back; char data[]; };

static int turn_over(int fd, struct taken *t, size_t room, size_t msgsize)
{
	const struct timespec now = { 0, 0 };
	struct message m;
	size_t at = 0;

	while (t->bytes + sizeof m + msgsize <= room) {
		unsigned prio;
		ssize_t n = mq_timedreceive(fd, t->data + t->bytes + sizeof m, msgsize, &prio, &now);

		if (n < 0)
			break;
		m = (struct message){ prio, (uint32_t)n };
		memcpy(t->data + t->bytes, &m, sizeof m);
		t->bytes += sizeof m + (size_t)n;
		t->n++;
	}
	/* Waits rather than to lose one, should the job run again and have filled the queue. */
	for (size_t i = 0; i < t->n; i++) {
		memcpy(&m, t->data + at, sizeof m);
		while (mq_send(fd, t->data + at + sizeof m, m.len, m.prio))
			if (errno != EINTR)
				return 1;
		at += sizeof m + m.len;
	}
	t->all_back = true;
	return 0;
}

static int look_at_messages(struct dump *d, struct dfile *f, const struct mq_attr *a, struct err *e)
{
	AUTO_FD int fd = reopen(f->lfd, O_RDWR);
	size_t room = (size_t)a->mq_curmsgs * (sizeof(struct message) + (size_t)a->mq_msgsize), len = sizeof(struct taken) + room;
	struct taken *t;
	sigset_t all, was;
	char name[32];
	pid_t pid;
	int rc = -1;

	if (fd < 0)
		return err_sys(e, "cannot open message queue %s again", f->link);
	t = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (t == MAP_FAILED)
		return err_set(e, EX_FAILED, "out of memory");
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &was);
	pid = fork();
	if (!pid) {
		setsid(); /* what is sent to our group is not for it */
		_exit(turn_over(fd, t, room, (size_t)a->mq_msgsize));
	}
	sigprocmask(SIG_SETMASK, &was, NULL);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	snprintf(name, sizeof name, "mqueue_%u", f->id);
	rec_put_u64(&d->files_out, "BYTES", t->bytes);
	if (pid < 0 || !t->all_back || t->n != (size_t)a->mq_curmsgs)
		err_set(e, EX_FAILED, "cannot look at the messages of queue %s", f->link);
	else
		rc = dump_raw_mem(d, name, t->data, t->bytes, e);
	munmap(t, len);
	return rc;
}

static int mqueue_dump(struct dump *d, struct dfile *f, struct err *e)
{
	struct dfile *first = first_of(d, f);
	struct buf *b = &d->files_out;
	AUTO_FD int rw = -1;
	struct mq_attr a;
	struct notify n;

	rec_put_u64(b, "QUEUE", first->id);
	if (first != f)
		return 0;
	if (mq_getattr(f->lfd, &a))
		return err_sys(e, "cannot look at message queue %s", f->link);
	rec_put_i64(b, "MAXMSG", a.mq_maxmsg);
	rec_put_i64(b, "MSGSIZE", a.mq_msgsize);
	rec_put_hex(b, "MODE", f->st.st_mode & 07777);
	rec_put_u64(b, "UID", f->st.st_uid);
	rec_put_u64(b, "GID", f->st.st_gid);
	if (!f->st.st_nlink)
		rec_put_u64(b, "GHOST", 1);
	rw = reopen(f->lfd, O_RDWR);
	if (rw < 0 || notify_read(rw, &n))
		return err_sys(e, "cannot look at message queue %s", f->link);
	if (n.pid)
		rec_put_i64(b, "NOTIFY", member(d, n.pid));
	return look_at_messages(d, f, &a, e);
}

/* ---- restart ---- */

struct queue {
	uint64_t maxmsg, msgsize, mode, uid, gid, ghost, bytes;
	char name[NAME_MAX + 2];       /* "/NAME" */
	int notify;                    /* the process that is to be notified, 0 */
	int rw;                        /* our own description, kept to the end */
	bool made;
};

static int parse(struct restore *r, struct rfile *f, struct queue *q, struct err *e)
{
	const char *path, *base;
	size_t n;

	if (rec_u64(&f->rec, "MAXMSG", MSGS_MAX, &q->maxmsg, e) || rec_u64(&f->rec, "MSGSIZE", MSGSIZE_MAX, &q->msgsize, e) ||
	    rec_u64(&f->rec, "MODE", 07777, &q->mode, e) || rec_u64(&f->rec, "UID", UINT32_MAX, &q->uid, e) ||
	    rec_u64(&f->rec, "GID", UINT32_MAX, &q->gid, e) || rec_u64_or(&f->rec, "GHOST", 1, 0, &q->ghost, e) ||
	    rec_u64(&f->rec, "BYTES", INT64_MAX, &q->bytes, e) || rec_str(&f->rec, "PATH", &path, e) ||
	    (rec_find(&f->rec, "NOTIFY") && rec_int(&f->rec, "NOTIFY", 1, INT32_MAX, &q->notify, e)))
		return -1;
	if (q->notify && !restore_find(r, q->notify))
		return err_set(e, EX_BAD_IMAGE, "line %zu: NOTIFY is no process of the job", f->rec.line);
	base = strrchr(path, '/');
	n = base ? strlen(base) : 0;
	if (n < 2 || n >= sizeof q->name || !q->maxmsg || !q->msgsize)
		return err_set(e, EX_BAD_IMAGE, "line %zu: no name of a message queue, or one of nothing", f->rec.line);
	if (q->ghost)
		snprintf(q->name, sizeof q->name, "/xos-%d-%u", getpid(), f->id);
	else
		memcpy(q->name, base, n + 1);
	return 0;
}

static int busy(const struct queue *q, const char *why, struct err *e)
{
	err_set(e, EX_BUSY, "message queue %s is there already, and %s", q->name, why);
	err_hint(e, "xrestart -N restarts the job in an IPC namespace of its own");
	return -1;
}

/* A queue of that name, most likely left by the killed job. */
static int take_left(struct restore *r, struct queue *q, struct err *e)
{
	struct mq_attr a;
	struct stat st;

	q->rw = mq_open(q->name, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (q->rw < 0)
		return err_sys(e, "cannot open message queue %s", q->name);
	if (mq_getattr(q->rw, &a) || fstat(q->rw, &st))
		return err_sys(e, "cannot look at message queue %s", q->name);
	if ((uint64_t)a.mq_maxmsg != q->maxmsg || (uint64_t)a.mq_msgsize != q->msgsize)
		return busy(q, "has other limits", e);
	if (st.st_uid != q->uid)
		return busy(q, "belongs to another user", e);
	if (open_by_another(&st, NULL))
		return busy(q, "another process has it open", e);
	return 0;
}

static int make(struct restore *r, struct queue *q, struct err *e)
{
	struct mq_attr a = { .mq_maxmsg = (long)q->maxmsg, .mq_msgsize = (long)q->msgsize };

	if (r->check_only && !q->ghost) {
		q->rw = mq_open(q->name, O_RDWR | O_CLOEXEC);
		if (q->rw < 0)
			return errno == ENOENT ? 0 : err_sys(e, "cannot open message queue %s", q->name);
		close(q->rw);
		return take_left(r, q, e);
	}
	if (r->check_only)
		return 0;
	q->rw = mq_open(q->name, O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK | O_CLOEXEC, 0600, &a);
	if (q->rw < 0 && errno == EEXIST)
		return take_left(r, q, e);
	if (q->rw < 0) {
		err_sys(e, "cannot make message queue %s of %llu messages of %llu bytes", q->name, (unsigned long long)q->maxmsg,
			(unsigned long long)q->msgsize);
		err_hint(e, "limits are RLIMIT_MSGQUEUE (ulimit -q) and /proc/sys/fs/mqueue");
		return -1;
	}
	if (q->ghost)
		mq_unlink(q->name);
	else
		q->made = true;
	return 0;
}

/* dry: only looks whether it could. Else what is in the queue goes first. */
static int fill(struct restore *r, struct rfile *f, struct queue *q, bool dry, struct err *e)
{
	char name[32];
	const struct image_member *m;
	struct message h;
	uint64_t at, end;
	int rc = 0;

	snprintf(name, sizeof name, "mqueue_%u", f->id);
	m = image_find(r->img, name);
	if (!m || m->text || m->size != q->bytes || m->size > q->maxmsg * (q->msgsize + sizeof h))
		return err_set(e, EX_BAD_IMAGE, "the image has no fitting member %s", name);
	AUTO_FREE char *text = malloc(q->msgsize);
	if (!text)
		return err_set(e, EX_FAILED, "out of memory");
	while (!dry && mq_receive(q->rw, text, q->msgsize, NULL) >= 0)
		;
	for (at = m->offset, end = at + m->size; at < end && !rc; at += sizeof h + h.len) {
		if (pread(image_fd(r->img), &h, sizeof h, (off_t)at) != sizeof h)
			return err_sys(e, "cannot read %s", name);
		if (h.prio >= PRIO_MAX_ || h.len > q->msgsize || at + sizeof h + h.len > end)
			return err_set(e, EX_BAD_IMAGE, "%s: malformed message", name);
		if (pread(image_fd(r->img), text, h.len, (off_t)(at + sizeof h)) != (ssize_t)h.len)
			return err_sys(e, "cannot read %s", name);
		if (!dry && mq_send(q->rw, text, h.len, h.prio))
			rc = err_sys(e, "cannot put a message into queue %s", q->name);
	}
	return rc;
}

static int open_first(struct restore *r, struct rfile *f, struct err *e)
{
	struct queue *q = calloc(1, sizeof *q);

	if (!q)
		return err_set(e, EX_FAILED, "out of memory");
	q->rw = -1;
	f->priv = q;
	if (parse(r, f, q, e) || make(r, q, e) || fill(r, f, q, true, e))
		return -1;
	if (q->rw < 0)
		return 0;
	q->rw = restore_high_fd(r, q->rw);
	if (q->rw < 0)
		return err_sys(e, "cannot keep message queue %s", q->name);
	if (r->check_only || fchown(q->rw, (uid_t)q->uid, (gid_t)q->gid) == 0)
		return 0;
	return err_sys(e, "cannot give message queue %s to user %llu", q->name, (unsigned long long)q->uid);
}

static int mqueue_open(struct restore *r, struct rfile *f, struct err *e)
{
	uint64_t queue, flags;
	struct rfile *first;
	struct queue *q;

	if (rec_u64(&f->rec, "QUEUE", r->nfiles, &queue, e) || rec_u64(&f->rec, "FLAGS", UINT32_MAX, &flags, e))
		return -1;
	first = queue && queue <= f->id ? &r->files[queue - 1] : NULL;
	if (!first || first->ops != f->ops || (first != f && !first->priv))
		return err_set(e, EX_BAD_IMAGE, "line %zu: QUEUE is no message queue before it", f->rec.line);
	if (first == f && open_first(r, f, e))
		return -1;
	q = first->priv;
	f->fd = q->rw < 0 ? open("/dev/null", O_RDWR | O_CLOEXEC) : reopen(q->rw, (int)flags & (O_ACCMODE | O_NONBLOCK));
	return f->fd < 0 ? err_sys(e, "cannot open message queue %s again", q->name) : 0;
}

static struct queue *queue_of(struct rfile *f);

int mqueue_make(struct restore *r, struct err *e)
{
	for (size_t i = 0; i < r->nfiles; i++) {
		struct queue *q = queue_of(&r->files[i]);

		if (q && fill(r, &r->files[i], q, false, e))
			return -1;
	}
	return 0;
}

int mqueue_finish(struct restore *r, struct err *e)
{
	for (size_t i = 0; i < r->nfiles; i++) {
		struct queue *q = queue_of(&r->files[i]);

		if (q && q->notify)
			return err_set(e, EX_BAD_IMAGE, "process %d is to be notified of message queue %s, but has it not open", q->notify, q->name);
		if (q && q->rw >= 0 && fchmod(q->rw, (mode_t)q->mode))
			return err_sys(e, "cannot set the mode of message queue %s", q->name);
		if (q && q->rw >= 0)
			close(q->rw);
		if (q)
			q->rw = -1;
	}
	return 0;
}

void mqueue_undo(struct restore *r)
{
	for (size_t i = 0; i < r->nfiles; i++) {
		struct queue *q = queue_of(&r->files[i]);

		if (q && q->made)
			mq_unlink(q->name);
	}
}

/* When the descriptors are where they stay: closing one of them would end it. */
static int notify_late(struct restore *r, struct rproc *p, struct err *e)
{
	static const struct sigevent none = { .sigev_notify = SIGEV_NONE };

	for (size_t k = 0; k < p->nfds; k++) {
		struct rfile *f = &r->files[p->fds[k].file - 1];
		uint64_t first;
		struct queue *q;
		long ret;

		if (f->ops != &fd_mqueue_ops || rec_u64(&f->rec, "QUEUE", r->nfiles, &first, NULL))
			continue;
		q = queue_of(&r->files[first - 1]);
		if (!q || q->notify != p->pid)
			continue;
		if (remote_room(p->rem, 1, sizeof none, e) ||
		    remote_one(p->rem, "mq_notify", &ret, e, SYS_mq_notify, (uint64_t)p->fds[k].fd, remote_put(p->rem, &none, sizeof none), 0, 0, 0, 0))
			return -1;
		q->notify = 0;
		if (ret < 0) {
			errno = (int)-ret;
			return err_sys(e, "fd %d: mq_notify", p->fds[k].fd);
		}
	}
	return 0;
}

const struct res_ops res_mqueue = { .name = "mqueue", .late = notify_late };
const struct fd_ops fd_mqueue_ops = {
	.type = "mqueue", .match = mqueue_match, .check = mqueue_check, .dump = mqueue_dump, .open = mqueue_open,
};

static struct queue *queue_of(struct rfile *f) { return f->ops == &fd_mqueue_ops ? f->priv : NULL; }
