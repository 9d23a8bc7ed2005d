/* ns_time: clocks that differ between members, time_namespaces(7). Fields: MONOTONIC= BOOTTIME= in nanoseconds, as its members saw them when they
 * stood; they go on from there. What all members have is in clocks.c. */
#include "res/clocks.h"
#include "res/ns_obj.h"

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

static int time_check(struct dump *d, struct dns *n, struct err *e)
{
	(void)e;
	return n->p ? 0 : refuse(d, NULL, "a time namespace in which no member lives");
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
	return clocks_set((int64_t)monotonic, (int64_t)boottime) ? err_sys(e, "cannot set the clocks of a time namespace") : 0;
}

const struct ns_ops ns_time_ops = { .kind = NSK_TIME, .what = "time", .check = time_check, .dump = time_dump, .verify = time_verify, .build = time_build };
