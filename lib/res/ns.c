/* ns: namespaces, and what tasks may share in unusual ways. Nothing of it is restored (yet): what is not as after a plain
 * fork or pthread_create is refused by name.
 *
 * A job normally lives in our own namespaces. One that xrestart put into namespaces of its own (d->own_ns) lives in
 * those of its first process.
 *
 * Sharing of memory, descriptor table, fs state or signal handlers between processes (clone(2) without CLONE_THREAD) is
 * found by sorting the processes with kcmp(2), which orders as well as it compares. */
#include "res/proc_ops.h"
#include "common/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { KCMP_VM_ = 1, KCMP_FILES_ = 2, KCMP_FS_ = 3, KCMP_SIGHAND_ = 4, LINK_MAX_ = 64 };

static const struct { const char *name, *what; } spaces[] = {
	{ "cgroup", "cgroup" }, { "ipc", "IPC" }, { "mnt", "mount" }, { "net", "network" }, { "pid", "PID" },
	{ "pid_for_children", "PID (for its children)" }, { "time", "time" },
	{ "time_for_children", "time (for its children)" }, { "user", "user" }, { "uts", "UTS" },
};
enum { NSPACES = sizeof spaces / sizeof spaces[0], TIME = 6, TIME_FOR_CHILDREN = 7 };

static const struct { int type; const char *what; } shares[] = {
	{ KCMP_VM_, "memory (CLONE_VM)" },
	{ KCMP_FILES_, "the descriptor table (CLONE_FILES)" },
	{ KCMP_FS_, "umask, root and working directory (CLONE_FS)" },
	{ KCMP_SIGHAND_, "signal handlers (CLONE_SIGHAND)" },
};
enum { NSHARES = sizeof shares / sizeof shares[0] };

/* "" when this kernel has no such namespace. dir is "/proc/PID" or "/proc/PID/task/TID". */
static int space_read(const char *dir, size_t i, char out[LINK_MAX_])
{
	char path[96];
	ssize_t n;

	snprintf(path, sizeof path, "%s/ns/%s", dir, spaces[i].name);
	n = readlink(path, out, LINK_MAX_ - 1);
	if (n < 0 && errno != ENOENT)
		return -1;
	out[n < 0 ? 0 : n] = '\0';
	return 0;
}

/* What the namespaces of every member must be. Read again for each checkpoint, at its first process. */
static char reference[NSPACES][LINK_MAX_];

static int reference_read(struct dump *d, const struct dproc *first, struct err *e)
{
	char dir[64];

	snprintf(dir, sizeof dir, "/proc/%d", d->own_ns ? (d->nsinit ? d->nsinit : d->procs[0]->pid) : getpid());
	for (size_t i = 0; i < NSPACES; i++)
		if (space_read(dir, i, reference[i]) < 0)
			return err_sys(e, "%s/ns/%s", dir, spaces[i].name);
	/* The clocks may be the job's own, as long as all have the same: clocks.c. */
	snprintf(dir, sizeof dir, "/proc/%d", first->pid);
	for (size_t i = TIME; i <= TIME_FOR_CHILDREN; i++)
		if (space_read(dir, TIME, reference[i]) < 0)
			return err_sys(e, "%s/ns/%s", dir, spaces[i].name);
	return 0;
}

static int spaces_check(struct dump *d, struct dproc *p, struct err *e)
{
	char dir[64], own[LINK_MAX_];

	snprintf(dir, sizeof dir, "/proc/%d", p->pid);
	for (size_t i = 0; i < NSPACES; i++) {
		if (space_read(dir, i, own) < 0)
			return err_sys(e, "%s/ns/%s", dir, spaces[i].name);
		if (strcmp(own, reference[i]) != 0)
			refuse(d, p, "%s namespace of its own (%s)", spaces[i].what, own);
	}
	return 0;
}

/* A thread has namespaces of its own only after unshare(2) or setns(2): of these kinds. */
static const size_t per_thread[] = { 1, 2, 3, 9 }; /* ipc, mnt, net, uts */
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
				refuse(d, p, "thread %d: %s namespace of its own (%s)", p->thr[t].vtid,
				       spaces[per_thread[i]].what, own);
		}
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

static int ns_check(struct dump *d, struct dproc *p, struct err *e)
{
	if (p->zombie)
		return 0;
	if (p == first_living(d) && (reference_read(d, p, e) < 0 || all_sharing_check(d, e) < 0))
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
};
