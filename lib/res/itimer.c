/* itimer: the three interval timers of setitimer(2), with what remains of them. Asked for and armed late by sigpending.c. */
#include "res/proc_ops.h"

#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>

static const char *const names[] = { "real", "virtual", "prof" }; /* by ITIMER_ number */
enum { NTIMERS = 3, USEC = 1000000 };
#define TIMER_SEC_MAX ((uint64_t)1 << 40)

struct itimer { int64_t interval[2], value[2]; };

int itimer_ask(struct dproc *p, struct err *e)
{
	uint64_t a[NTIMERS];

	if (remote_room(p->rem, NTIMERS, NTIMERS * sizeof(struct itimer), e) < 0)
		return -1;
	for (int i = 0; i < NTIMERS; i++) {
		a[i] = remote_put(p->rem, NULL, sizeof(struct itimer));
		remote_call(p->rem, "getitimer", REMOTE_MUST, SYS_getitimer, i, a[i], 0, 0, 0, 0);
	}
	if (remote_run(p->rem, e) < 0)
		return -1;
	for (int i = 0; i < NTIMERS; i++) {
		struct itimer t;

		memcpy(&t, remote_data(p->rem, a[i]), sizeof t);
		if (t.value[0] == 0 && t.value[1] == 0)
			continue;
		rec_begin(&p->out, "itimer");
		rec_put_str(&p->out, "WHICH", names[i]);
		rec_put_i64(&p->out, "INTERVAL_SEC", t.interval[0]);
		rec_put_i64(&p->out, "INTERVAL_USEC", t.interval[1]);
		rec_put_i64(&p->out, "VALUE_SEC", t.value[0]);
		rec_put_i64(&p->out, "VALUE_USEC", t.value[1]);
		rec_end(&p->out);
	}
	return 0;
}

static int itimer_get(const struct rec *rec, int *which, struct itimer *t, struct err *e)
{
	const char *name;
	uint64_t v[4];

	if (rec_str(rec, "WHICH", &name, e) < 0 ||
	    rec_u64(rec, "INTERVAL_SEC", TIMER_SEC_MAX, &v[0], e) < 0 ||
	    rec_u64(rec, "INTERVAL_USEC", USEC - 1, &v[1], e) < 0 ||
	    rec_u64(rec, "VALUE_SEC", TIMER_SEC_MAX, &v[2], e) < 0 ||
	    rec_u64(rec, "VALUE_USEC", USEC - 1, &v[3], e) < 0)
		return -1;
	*t = (struct itimer){ { (int64_t)v[0], (int64_t)v[1] }, { (int64_t)v[2], (int64_t)v[3] } };
	for (*which = 0; *which < NTIMERS; ++*which)
		if (strcmp(name, names[*which]) == 0)
			return 0;
	return err_set(e, EX_BAD_IMAGE, "line %zu: there is no interval timer of that name", rec->line);
}

static int itimer_verify(struct restore *r, struct rproc *p, struct err *e)
{
	bool seen[NTIMERS] = { false };
	struct rec rec;

	for (long i = rproc_rec(p, "itimer", 0, &rec); i >= 0; i = rproc_rec(p, "itimer", i + 1, &rec)) {
		struct itimer t;
		int which;

		if (itimer_get(&rec, &which, &t, e) < 0)
			return -1;
		if (seen[which])
			return err_set(e, EX_BAD_IMAGE, "line %zu: the interval timer is there twice", rec.line);
		seen[which] = true;
	}
	return 0;
}

int itimer_arm(struct rproc *p, struct err *e)
{
	struct rec rec;
	bool any = false;

	if (remote_room(p->rem, NTIMERS, NTIMERS * sizeof(struct itimer), e) < 0)
		return -1;
	for (long i = rproc_rec(p, "itimer", 0, &rec); i >= 0; i = rproc_rec(p, "itimer", i + 1, &rec)) {
		struct itimer t;
		int which;

		if (itimer_get(&rec, &which, &t, e) < 0)
			return -1;
		remote_call(p->rem, "setitimer", REMOTE_MUST, SYS_setitimer, which,
			    remote_put(p->rem, &t, sizeof t), 0, 0, 0, 0);
		any = true;
	}
	return any ? remote_run(p->rem, e) : 0;
}

const struct res_ops res_itimer = {
	.name = "itimer",
	.verify = itimer_verify,
};
