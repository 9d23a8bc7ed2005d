/* ns: which namespaces a process is in (ns_obj.h), and what tasks may share in unusual ways: what is not as after a plain fork or
 * pthread_create is refused by name.
 *
 * Record: TYPE="namespaces" [USER= PID= NET= IPC= UTS= CGROUP= TIME= MNT= PID_CHILDREN= TIME_CHILDREN=id], of a process that is not in the job's reference for all of them.
 *
 * Sharing of memory, descriptor table, fs state or signal handlers between processes (clone(2) without CLONE_THREAD) is
 * found by sorting the processes with kcmp(2), which orders as well as it compares. */
#include "res/ns_obj.h"
#include "res/proc_ops.h"
#include "common/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { KCMP_VM_ = 1, KCMP_FILES_ = 2, KCMP_FS_ = 3, KCMP_SIGHAND_ = 4, LINK_MAX_ = 64 };

static const struct { int type; const char *what; } shares[] = {
	{ KCMP_VM_, "memory (CLONE_VM)" },
	{ KCMP_FILES_, "the descriptor table (CLONE_FILES)" },
	{ KCMP_FS_, "umask, root and working directory (CLONE_FS)" },
	{ KCMP_SIGHAND_, "signal handlers (CLONE_SIGHAND)" },
};
enum { NSHARES = sizeof shares / sizeof shares[0] };

/* "" when this kernel has no such namespace. dir is "/proc/PID" or "/proc/PID/task/TID". */
static int space_read(const char *dir, const char *name, char out[LINK_MAX_])
{
	char path[96];
	ssize_t n;

	snprintf(path, sizeof path, "%s/ns/%s", dir, name);
	n = readlink(path, out, LINK_MAX_ - 1);
	if (n < 0 && errno != ENOENT)
		return -1;
	out[n < 0 ? 0 : n] = '\0';
	return 0;
}

static int spaces_check(struct dump *d, struct dproc *p, struct err *e)
{
	static const char *const children[][2] = { { "pid", "pid_for_children" }, { "time", "time_for_children" } };
	char dir[64], own[LINK_MAX_], theirs[LINK_MAX_];

	for (int k = 0; k < NSK_COUNT; k++)
		if (p->ns[k] && p->pid != p->tgid && (k == NSK_PID || k == NSK_USER))
			refuse(d, p, "its first thread has exited, and it is in a %s namespace of its own", ns_kind_name((enum ns_kind)k));
	for (int k = 0; k < NSK_COUNT; k++)
		if (p->ns[k] && !ns_table[k])
			refuse(d, p, "%s namespace of its own ([%llu])", ns_kind_name((enum ns_kind)k), (unsigned long long)p->ns[k]->ino);
	snprintf(dir, sizeof dir, "/proc/%d", p->pid);
	for (size_t i = 0; i < sizeof children / sizeof children[0]; i++) {
		if (space_read(dir, children[i][0], own) < 0 || space_read(dir, children[i][1], theirs) < 0)
			return err_sys(e, "%s/ns", dir);
		if (strcmp(own, theirs) && !(i == 0 ? p->pid_children && !(p->ns[NSK_PID] && p->ns[NSK_PID]->user) : p->time_children != NULL))
			refuse(d, p, "another %s namespace for its children (%s)", children[i][0], theirs[0] ? theirs : "made, still empty");
	}
	return 0;
}

/* A thread has namespaces of its own only after unshare(2) or setns(2): of these kinds. */
static const char *const per_thread[] = { "ipc", "mnt", "net", "uts", "cgroup" };
enum { NPER_THREAD = sizeof per_thread / sizeof per_thread[0] };

static int threads_check(struct dump *d, struct dproc *p, struct err *e)
{
	char dir[64], ref[NPER_THREAD][LINK_MAX_], own[LINK_MAX_];

	for (size_t t = 0; t < p->nthr; t++) {
		snprintf(dir, sizeof dir, "/proc/%d/task/%d", p->pid, p->thr[t].tid);
		for (size_t i = 0; i < NPER_THREAD; i++) {
			if (space_read(dir, per_thread[i], t ? own : ref[i]) < 0)
				return err_sys(e, "%s/ns", dir);
			if (t && strcmp(own, ref[i]) != 0)
				refuse(d, p, "thread %d: %s namespace of its own (%s)", p->thr[t].vtid, per_thread[i], own);
		}
		/* Ids are taken before a process enters its user namespace, for all of its threads. */
		if (t && p->ns[NSK_USER] && (memcmp(p->thr[t].status.uid, p->thr[0].status.uid, sizeof p->thr[0].status.uid) ||
					    memcmp(p->thr[t].status.gid, p->thr[0].status.gid, sizeof p->thr[0].status.gid)))
			refuse(d, p, "thread %d: user or group ids of its own in a user namespace", p->thr[t].vtid);
	}
	return 0;
}

/* 0: the same, 1 or 2: an order; negative: cannot be told. */
static long compare(pid_t a, pid_t b, int type)
{
	return syscall(SYS_kcmp, a, b, type, 0, 0);
}

static int order(const void *a, const void *b, void *type)
{
	const struct dproc *const *x = a, *const *y = b;
	long r = compare((*x)->pid, (*y)->pid, *(int *)type);

	return r == 1 ? -1 : r == 2;
}

static void sharing_check(struct dump *d, struct dproc **v, size_t n)
{
	for (size_t k = 0; k < NSHARES; k++) {
		int type = shares[k].type;

		qsort_r(v, n, sizeof(struct dproc *), order, &type);
		for (size_t i = 1; i < n; i++)
			if (compare(v[i - 1]->pid, v[i]->pid, type) == 0)
				refuse(d, v[i], "shares %s with process %d", shares[k].what, v[i - 1]->vpid);
	}
}

static int all_sharing_check(struct dump *d, struct err *e)
{
	AUTO_FREE struct dproc **v = calloc(d->nprocs, sizeof(struct dproc *));
	size_t n = 0;

	if (!v)
		return err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; i < d->nprocs; i++)
		if (!d->procs[i]->zombie)
			v[n++] = d->procs[i];
	sharing_check(d, v, n);
	return 0;
}

static struct dproc *first_living(struct dump *d)
{
	for (size_t i = 0; i < d->nprocs; i++)
		if (!d->procs[i]->zombie)
			return d->procs[i];
	return NULL;
}

static int objects_check(struct dump *d, struct err *e)
{
	for (size_t i = 0; i < d->ns->n; i++) {
		struct dns *n = d->ns->v[i];
		const struct ns_ops *o = ns_table[n->kind];

		if (o && o->check && o->check(d, n, e))
			return err_prefix(e, "%s namespace", o->what);
	}
	return ns_net_ends(d, e);
}

static int ns_dump_proc(struct dump *d, struct dproc *p, struct err *e)
{
	bool any = false;

	(void)d;
	(void)e;
	for (int k = 0; k < NSK_COUNT; k++)
		any |= p->ns[k] != NULL;
	if (!any && !p->pid_children && !p->time_children)
		return 0;
	rec_begin(&p->out, "namespaces");
	for (int k = 0; k < NSK_COUNT; k++)
		if (p->ns[k])
			rec_put_u64(&p->out, ns_key(k), p->ns[k]->id);
	if (p->pid_children)
		rec_put_u64(&p->out, "PID_CHILDREN", p->pid_children->id);
	if (p->time_children)
		rec_put_u64(&p->out, "TIME_CHILDREN", p->time_children->id);
	rec_end(&p->out);
	return 0;
}

/* Process 1 of a PID namespace that has ended is but a zombie of its parent. Of others it cannot be told whether theirs has. */
static int zombie_check(struct dump *d, const struct dproc *p)
{
	const struct dproc *parent = dump_find(d, p->vppid);
	const struct proc_status *s = &p->status;

	if (!parent || s->nnspid <= parent->status.nnspid || s->nspid[s->nnspid - 1] == 1)
		return 0;
	return refuse(d, p, "a zombie in another PID namespace than its parent's");
}

static int ns_check(struct dump *d, struct dproc *p, struct err *e)
{
	if (p->zombie)
		return zombie_check(d, p);
	if (p == first_living(d) && (objects_check(d, e) < 0 || all_sharing_check(d, e) < 0))
		return -1;
	if (spaces_check(d, p, e) < 0 || (p->nthr > 1 && threads_check(d, p, e) < 0))
		return -1;
	for (size_t i = 1; i < p->nthr; i++) {
		struct dthread *th = &p->thr[i];

		if (compare(p->pid, th->tid, KCMP_FILES_) > 0)
			refuse(d, p, "thread %d: a descriptor table of its own", th->vtid);
		if (compare(p->pid, th->tid, KCMP_FS_) > 0)
			refuse(d, p, "thread %d: umask, root and working directory of its own", th->vtid);
	}
	return 0;
}

const struct res_ops res_ns = {
	.name = "ns",
	.check = ns_check,
	.dump = ns_dump_proc,
};
