/* ns_time: clocks that differ between members, time_namespaces(7). Fields: MONOTONIC= BOOTTIME= in nanoseconds, as its members saw them when they
 * stood; they go on from there. What all members have is in clocks.c. */
#include "res/clocks.h"
#include "res/ns_obj.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static int time_dump(struct dump *d, struct dns *n, struct buf *out, struct err *e)
{
	int64_t monotonic, boottime;

	(void)d;
	(void)e;
	clocks_of(n->p->pid, &monotonic, &boottime);
	rec_put_i64(out, "MONOTONIC", monotonic);
	rec_put_i64(out, "BOOTTIME", boottime);
	return 0;
}

/* One that is some process' for its children was made by that process, and must be again. */
static int time_check(struct dump *d, struct dns *n, struct err *e)
{
	struct dproc *maker = NULL;

	(void)e;
	if (!n->p)
		return refuse(d, NULL, "a time namespace in which no member lives");
	for (size_t i = 0; i < d->nprocs; i++) {
		struct dproc *p = d->procs[i];

		if (p->time_children != n)
			continue;
		if (maker || n->user || p->ns[NSK_PID])
			refuse(d, p, "another time namespace for its children (%s)", maker ? "as another process" : "in a user or PID namespace of its own");
		maker = p;
	}
	return 0;
}

static int time_verify(struct restore *r, struct rns *n, struct err *e)
{
	uint64_t v;

	(void)r;
	return rec_u64(&n->rec, "MONOTONIC", CLOCKS_MAX, &v, e) || rec_u64(&n->rec, "BOOTTIME", CLOCKS_MAX, &v, e) ? -1 : 0;
}

static int time_build(struct restore *r, struct rns *n, struct err *e)
{
	uint64_t monotonic, boottime;

	(void)r;
	if (rec_u64(&n->rec, "MONOTONIC", CLOCKS_MAX, &monotonic, e) || rec_u64(&n->rec, "BOOTTIME", CLOCKS_MAX, &boottime, e))
		return -1;
	return clocks_set(getpid(), (int64_t)monotonic, (int64_t)boottime) ? err_sys(e, "cannot set the clocks of a time namespace") : 0;
}

int ns_time_by(struct restore *r, struct rproc *p, struct rns *n, struct err *e)
{
	uint64_t monotonic, boottime;
	char path[64];

	if (rec_u64(&n->rec, "MONOTONIC", CLOCKS_MAX, &monotonic, e) || rec_u64(&n->rec, "BOOTTIME", CLOCKS_MAX, &boottime, e))
		return -1;
	remote_call(p->rem, "unshare", REMOTE_MUST, SYS_unshare, (uint64_t)ns_kind_flag(NSK_TIME), 0, 0, 0, 0, 0);
	if (remote_run(p->rem, e))
		return -1;
	if (clocks_set(p->made, (int64_t)monotonic, (int64_t)boottime))
		return err_sys(e, "cannot set the clocks of a time namespace");
	snprintf(path, sizeof path, "/proc/%d/ns/time_for_children", p->made);
	n->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (n->fd >= 0)
		n->fd = restore_high_fd(r, n->fd);
	return n->fd < 0 ? err_sys(e, "cannot keep a time namespace") : 0;
}

const struct ns_ops ns_time_ops = { .kind = NSK_TIME, .what = "time", .check = time_check, .dump = time_dump, .verify = time_verify, .build = time_build };
