/* prctl: what prctl(2), arch_prctl(2) and personality(2) set, by the table in prctl_table.c. A record holds the values
 * that the kernel told; restoring reads what is there, sets what differs, and reads again: a value that
 * does not come back is an error. Threads are asked by thread.c. */
#include "res/proc_ops.h"
#include "res/prctl_table.h"

#include <string.h>

struct prctl_state {
	int64_t v[PRCTL_MAX];
	bool have[PRCTL_MAX];
};

static bool prctl_in(unsigned i, bool thread, int scope)
{
	return scope >= 0 ? (int)prctl_table[i].scope == scope : (prctl_table[i].scope == PRCTL_THREAD) == thread;
}

/* Queues the reading of all values of a scope (-1: those of threads, or all of the process). */
static void prctl_queue_get(struct remote *rem, bool thread, int scope, struct prctl_read *q)
{
	for (unsigned i = 0; i < prctl_count; i++) {
		uint64_t a[5];

		if (!prctl_in(i, thread, scope))
			continue;
		memcpy(a, prctl_table[i].get, sizeof a);
		q->ptr[i] = 0;
		for (int k = 0; k < 5; k++)
			if (a[k] == ARG_PTR)
				a[k] = q->ptr[i] = remote_put(rem, NULL, 8);
		q->call[i] = remote_call(rem, prctl_table[i].key, REMOTE_ANY, prctl_table[i].nr_get,
					 a[0], a[1], a[2], a[3], a[4], 0);
	}
}

/* A value that cannot be read, the kernel does not know, or (IO_FLUSHER) keeps from the unprivileged, who cannot set it either. */
static void prctl_take(struct remote *rem, bool thread, int scope, const struct prctl_read *q, struct prctl_state *s)
{
	memset(s, 0, sizeof *s);
	for (unsigned i = 0; i < prctl_count; i++) {
		long ret;

		if (!prctl_in(i, thread, scope))
			continue;
		ret = remote_ret(rem, q->call[i]);
		s->have[i] = ret >= 0;
		s->v[i] = ret;
		/* Those that write only an int leave the upper half of the word zero. */
		if (q->ptr[i] && s->have[i])
			memcpy(&s->v[i], remote_data(rem, q->ptr[i]), sizeof s->v[i]);
	}
}

static int prctl_read(struct remote *rem, bool thread, int scope, struct prctl_state *s, struct err *e)
{
	struct prctl_read q;

	if (remote_room(rem, PRCTL_MAX, PRCTL_MAX * 16, e) < 0)
		return -1;
	prctl_queue_get(rem, thread, scope, &q);
	if (remote_run(rem, e) < 0)
		return -1;
	prctl_take(rem, thread, scope, &q, s);
	return 0;
}

static void prctl_put(struct buf *out, const struct prctl_state *s)
{
	rec_begin(out, "prctl");
	for (unsigned i = 0; i < prctl_count; i++)
		if (s->have[i])
			rec_put_i64(out, prctl_table[i].key, s->v[i]);
	rec_end(out);
}

static int prctl_dump(struct dump *d, struct dproc *p, struct err *e)
{
	struct prctl_state s;

	if (prctl_read(p->rem, false, -1, &s, e) < 0)
		return -1;
	prctl_put(&p->out, &s);
	return 0;
}

void prctl_ask_thread(struct remote *rem, struct prctl_read *q)
{
	prctl_queue_get(rem, true, -1, q);
}

void prctl_put_thread(struct remote *rem, const struct prctl_read *q, struct buf *out)
{
	struct prctl_state s;

	prctl_take(rem, true, -1, q, &s);
	prctl_put(out, &s);
}

static int prctl_get(struct rproc *p, const struct rthread *th, struct prctl_state *s, struct err *e)
{
	struct rec rec;
	long at = th ? rthread_rec(p, th, "prctl", 0, &rec) : rproc_rec(p, "prctl", 0, &rec);

	memset(s, 0, sizeof *s);
	if (at < 0)
		return err_set(e, EX_BAD_IMAGE, "there is no prctl record");
	for (unsigned i = 0; i < prctl_count; i++) {
		uint64_t v;

		if (!prctl_in(i, th != NULL, -1) || !rec_find(&rec, prctl_table[i].key))
			continue;
		if (rec_u64(&rec, prctl_table[i].key, prctl_table[i].max, &v, e) < 0)
			return -1;
		s->v[i] = (int64_t)v;
		s->have[i] = true;
	}
	return 0;
}

static int prctl_verify(struct restore *r, struct rproc *p, struct err *e)
{
	struct prctl_state s;

	if (prctl_get(p, NULL, &s, e) < 0)
		return -1;
	for (size_t i = 0; i < p->nthr; i++)
		if (prctl_get(p, &p->thr[i], &s, e) < 0)
			return -1;
	return 0;
}

static int64_t prctl_arg(unsigned i, int64_t v)
{
	return prctl_table[i].to_set ? prctl_table[i].to_set(v) : v;
}

/* The same, or as near as the value can be asked for. */
static bool prctl_same(unsigned i, int64_t want, int64_t now)
{
	return now == want || (prctl_arg(i, want) >= 0 && prctl_arg(i, want) == prctl_arg(i, now));
}

static int prctl_misfit(unsigned i, int64_t want, int64_t now, struct err *e)
{
	return err_set(e, EX_MISFIT, "prctl value %s is %lld here and cannot become %lld", prctl_table[i].key,
		       (long long)now, (long long)want);
}

static void prctl_queue_set(struct remote *rem, unsigned i, int64_t v)
{
	uint64_t a[5];

	memcpy(a, prctl_table[i].set, sizeof a);
	for (int k = 0; k < 5; k++) {
		if (a[k] == ARG_VALUE)
			a[k] = (uint64_t)v;
		else if (a[k] == ARG_BIT0)
			a[k] = (uint64_t)v & 1;
		else if (a[k] == ARG_FLAGS)
			a[k] = (uint64_t)v & ~1ull;
	}
	remote_call(rem, prctl_table[i].key, REMOTE_ANY, prctl_table[i].nr_set, a[0], a[1], a[2], a[3], a[4], 0);
}

static int prctl_apply(struct rproc *p, const struct rthread *th, int scope, struct err *e)
{
	struct prctl_state want, now;
	struct prctl_read q;
	bool any = false;

	if (prctl_get(p, th, &want, e) < 0 || prctl_read(p->rem, th != NULL, scope, &now, e) < 0 ||
	    remote_room(p->rem, 2 * PRCTL_MAX, PRCTL_MAX * 16, e) < 0)
		return -1;
	for (unsigned i = 0; i < prctl_count; i++) {
		if (!prctl_in(i, th != NULL, scope) || !want.have[i])
			continue;
		if (!now.have[i] && want.v[i] != prctl_table[i].dflt && prctl_arg(i, want.v[i]) >= 0)
			return prctl_misfit(i, want.v[i], prctl_table[i].dflt, e);
		if (!now.have[i] || prctl_same(i, want.v[i], now.v[i]) || prctl_arg(i, want.v[i]) < 0)
			continue;
		prctl_queue_set(p->rem, i, prctl_arg(i, want.v[i]));
		any = true;
	}
	if (!any)
		return 0;
	prctl_queue_get(p->rem, th != NULL, scope, &q);
	if (remote_run(p->rem, e) < 0)
		return -1;
	prctl_take(p->rem, th != NULL, scope, &q, &now);
	for (unsigned i = 0; i < prctl_count; i++)
		if (prctl_in(i, th != NULL, scope) && want.have[i] && now.have[i] &&
		    !prctl_same(i, want.v[i], now.v[i]) && prctl_arg(i, want.v[i]) >= 0)
			return prctl_misfit(i, want.v[i], now.v[i], e);
	return 0;
}

static int prctl_restore(struct restore *r, struct rproc *p, struct err *e)
{
	return prctl_apply(p, NULL, PRCTL_PROCESS, e);
}

static int prctl_restore_thread(struct restore *r, struct rproc *p, struct rthread *th, struct err *e)
{
	return prctl_apply(p, th, PRCTL_THREAD, e);
}

static int prctl_late(struct restore *r, struct rproc *p, struct err *e)
{
	return prctl_apply(p, NULL, PRCTL_LATE, e);
}

const struct res_ops res_prctl = {
	.name = "prctl",
	.dump = prctl_dump,
	.verify = prctl_verify,
	.restore = prctl_restore,
	.restore_thread = prctl_restore_thread,
	.late = prctl_late,
};
