/* sysv_check: which System V objects are the job's, and what prevents their checkpoint.
 *
 * The kernel does not say whose an object is. The job's are
 *   - segments that a member has attached, or that a member has created and nobody has attached,
 *   - semaphore sets and message queues that a member was the last to use, or waits at,
 *   - in an IPC namespace that xrestart made for the job, or that all members share: all.
 * Other objects stay on the node as files do; a job that finds them again by key or id goes on with them as they are then.
 * What a process outside uses too cannot be taken back to what it was, and is refused by name. */
#include "res/sysv.h"
#include "common/cleanup.h"
#include "res/fd_ops.h"
#include "res/ns_obj.h"
#include "res/proc_ops.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* ---- the namespace ---- */

static int enter(pid_t pid, struct err *e)
{
	AUTO_FD int ipc = -1, user = -1;
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/ns/ipc", pid);
	ipc = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof path, "/proc/%d/ns/user", pid);
	user = open(path, O_RDONLY | O_CLOEXEC);
	if (ipc < 0 || user < 0)
		return err_sys(e, "cannot look into the job's IPC namespace");
	if (!setns(ipc, CLONE_NEWIPC) || (!setns(user, CLONE_NEWUSER) && !setns(ipc, CLONE_NEWIPC)))
		return 0;
	return err_sys(e, "cannot enter the job's IPC namespace");
}

static void child(pid_t pid, int fd, int (*fn)(void *arg, struct buf *out, struct err *e), void *arg)
{
	struct buf out = BUF_INIT;
	struct err why = ERR_INIT;
	const char *p;
	size_t n;

	if (enter(pid, &why) || fn(arg, &out, &why)) {
		p = (const char *)&why;
		n = sizeof why;
	} else {
		p = buf_str(&out);
		n = out.len;
	}
	while (n) {
		ssize_t k = write(fd, p, n);

		if (k <= 0)
			_exit(2);
		p += k;
		n -= (size_t)k;
	}
	_exit(why.code ? 1 : 0);
}

int sysv_run(struct dump *d, int (*fn)(void *arg, struct buf *out, struct err *e), void *arg, struct buf *out, struct err *e)
{
	struct err why = ERR_INIT;
	int p[2], st = -1, rc;
	pid_t pid;

	if (!d->sysv->other_ns)
		return fn(arg, out, e);
	if (pipe2(p, O_CLOEXEC))
		return err_sys(e, "cannot make a pipe");
	pid = fork();
	if (!pid)
		child(d->sysv->first->pid, p[1], fn, arg);
	close(p[1]);
	rc = pid < 0 ? -1 : buf_read_fd(out, p[0], IMAGE_MAX_TEXT);
	close(p[0]);
	while (pid > 0 && waitpid(pid, &st, 0) < 0 && errno == EINTR)
		;
	if (rc || buf_failed(out) || !WIFEXITED(st) || WEXITSTATUS(st) > 1)
		return err_set(e, EX_FAILED, "cannot read from the job's IPC namespace");
	if (!WEXITSTATUS(st))
		return 0;
	if (out->len >= sizeof why)
		memcpy(&why, out->p + out->len - sizeof why, sizeof why);
	buf_reset(out);
	if (e)
		*e = why;
	return -1;
}

static int scan(void *arg, struct buf *out, struct err *e) { return sysv_scan(out, e); }

static bool same_namespace(pid_t a, const char *b, const char *ns)
{
	char pa[64], pb[64];
	struct stat sa, sb;

	snprintf(pa, sizeof pa, "/proc/%d/ns/%s", a, ns);
	snprintf(pb, sizeof pb, "/proc/%s/ns/%s", b, ns);
	return stat(pa, &sa) || stat(pb, &sb) || (sa.st_ino == sb.st_ino && sa.st_dev == sb.st_dev);
}

/* ---- whose it is ---- */

/* A living process that is no member, nor one of ours: the job's supervisor or namespaces' init has
 * made the objects of a restarted job. */
static bool is_outside(struct dump *d, const struct sysv_obj *o, int pid)
{
	if (pid == getpid() || dump_has_pid(d, pid) || !sysv_alive(o, pid))
		return false;
	for (size_t i = 0; i < d->nprocs; i++)
		if (!d->procs[i]->vppid && d->procs[i]->stat.ppid == pid)
			return false;
	return true;
}

static struct dproc *member(struct dump *d, int pid)
{
	for (size_t i = 0; i < d->nprocs; i++)
		if (d->procs[i]->tgid == pid && !d->procs[i]->zombie)
			return d->procs[i];
	return NULL;
}

/* A member stands in a call that works on this set or queue. */
static struct dproc *at_work(struct dump *d, const struct sysv_obj *o)
{
	for (size_t i = 0; i < d->nprocs; i++)
		for (size_t k = 0; k < d->procs[i]->nthr; k++) {
			const struct tthread *t = d->procs[i]->thr[k].t;
			long nr = t ? (long)t->regs.orig_rax : -1;

			if ((int)(t ? t->regs.rdi : 0) == o->id &&
			    (o->kind == SYSV_SEM ? nr == SYS_semop || nr == SYS_semtimedop : nr == SYS_msgrcv || nr == SYS_msgsnd))
				return d->procs[i];
		}
	return NULL;
}

bool sysv_is_shm(const struct proc_map *m)
{
	return m->deleted && m->shared && !strncmp(m->path, "/SYSV", 5);
}

static void count_attached(struct dump *d)
{
	for (size_t i = 0; i < d->nprocs; i++)
		for (size_t k = 0; k < d->procs[i]->maps.n; k++) {
			struct proc_map *m = &d->procs[i]->maps.v[k];
			struct sysv_obj *o = sysv_is_shm(m) ? sysv_find(&d->sysv->all, SYSV_SHM, (int)m->inode) : NULL;

			if (!o)
				continue;
			o->attached++;
			if (!o->user)
				o->user = d->procs[i];
		}
}

static void find_user(struct dump *d, struct sysv_obj *o)
{
	if (o->kind == SYSV_SEM) {
		for (size_t i = 0; i < o->size && o->val && !o->user; i++)
			o->user = member(d, o->last[i]);
	} else if (!o->user) {
		o->user = member(d, o->pid[0]);
		if (!o->user && (o->kind == SYSV_MSG || !is_outside(d, o, o->pid[0])))
			o->user = member(d, o->pid[1]);
	}
	if (!o->user && o->kind != SYSV_SHM)
		o->user = at_work(d, o);
	if (!o->user && d->sysv->own)
		o->user = d->sysv->first;
}

/* ---- refusals ---- */

static void check_obj(struct dump *d, struct sysv_obj *o)
{
	char what[96];
	int other = 0;

	sysv_describe(o, what);
	if (o->kind == SYSV_SEM)
		for (size_t i = 0; i < o->size && o->val && !other; i++)
			other = is_outside(d, o, o->last[i]) ? o->last[i] : 0;
	else
		for (int i = 0; i < 2 && !other; i++)
			other = is_outside(d, o, o->pid[i]) ? o->pid[i] : 0;
	if (o->kind == SYSV_SHM && o->count > o->attached)
		refuse(d, o->user, "%s is attached %llu time%s outside the job", what, (unsigned long long)(o->count - o->attached),
		       o->count - o->attached == 1 ? "" : "s");
	else if (other)
		refuse(d, o->user, "%s is used by process %d, which is outside the job", what, other);
	else if (o->kind == SYSV_SEM && o->count)
		refuse(d, o->user, "processes outside the job wait at %s", what);
	else if (o->kind == SYSV_SEM && !o->val)
		refuse(d, o->user, "%s may not be read (mode %04o)", what, o->mode & 0777);
}

static int look(struct dump *d, struct dproc *p, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	struct sysv_dump *s = d->sysv = calloc(1, sizeof *s);

	if (!s)
		return err_set(e, EX_FAILED, "out of memory");
	s->first = p;
	s->other_ns = !same_namespace(p->pid, "self", "ipc");
	s->own = s->other_ns && (d->ns->ipc || (d->nsinit && !same_namespace(d->nsinit, "self", "ipc")));
	if (sysv_run(d, scan, NULL, &b, e) || sysv_parse_list(&s->all, buf_str(&b), b.len, e))
		return err_prefix(e, "System V IPC");
	count_attached(d);
	for (size_t i = 0; i < s->all.n; i++) {
		find_user(d, &s->all.v[i]);
		if (!s->all.v[i].user)
			continue;
		if (s->all.v[i].kind == SYSV_SHM)
			s->all.v[i].number = ++s->nshm;
		s->nours++;
		check_obj(d, &s->all.v[i]);
	}
	/* We can only look at them from inside the user namespace, where ids have other names. */
	if (s->nours && d->ns->ipc && d->ns->ipc->user && geteuid())
		refuse(d, p, "System V IPC objects in an IPC namespace of a user namespace of the job need root");
	return 0;
}

int sysv_check(struct dump *d, struct dproc *p, struct err *e)
{
	if (p->zombie)
		return 0;
	if (!d->sysv && look(d, p, e))
		return -1;
	for (size_t i = 0; i < p->mm->n; i++) {
		struct dvma *v = &p->mm->v[i];
		struct sysv_obj *o;

		if (v->kind != VMA_SYSV)
			continue;
		o = sysv_find(&d->sysv->all, SYSV_SHM, (int)v->m->inode);
		v->obj = o ? o->number : 0;
		if (!v->obj)
			refuse(d, p, "memory %llx-%llx: %s, but there is no such segment", (unsigned long long)v->m->start,
			       (unsigned long long)v->m->end, v->m->path);
		else if (proc_map_flag(v->m, "ht"))
			refuse(d, p, "memory %llx-%llx: a System V segment of huge pages", (unsigned long long)v->m->start,
			       (unsigned long long)v->m->end);
	}
	sysv_undo_check(d, p);
	return 0;
}
