/* posix_timer: timers of timer_create(2), with their ids. /proc/PID/timers tells id, clock and notification, timer_gettime
 * what remains (asked for by sigpending.c). Made and armed again late (by sigpending.c too), when all threads exist that they may notify.
 *
 * Ids: kernels from 6.15 on let timer_create choose the id (PR_TIMER_CREATE_RESTORE_IDS). Older ones count
 * up from 0: timers are made and deleted until the id fits. The overrun count of the last delivered
 * signal is not restored: no call can set it. */
#include "res/proc_ops.h"
#include "common/cleanup.h"
#include "common/log.h"

#include <signal.h>
#include <string.h>
#include <sys/syscall.h>

#ifndef PR_TIMER_CREATE_RESTORE_IDS
#define PR_TIMER_CREATE_RESTORE_IDS 77
#endif
enum {
	RESTORE_IDS_OFF = 0, RESTORE_IDS_ON = 1,
	TIMERS_MAX = 65536,            /* of one process */
	TIMER_ID_MAX = 1 << 20,        /* how far an id is counted up to on older kernels */
	COUNT_BATCH = 256,
	NSEC = 1000000000,
	CLOCK_MIN = -(1 << 26), CLOCK_MAX = 63,
	NOTIFY_SIGNAL = 0, NOTIFY_NONE = 1, NOTIFY_THREAD = 2, NOTIFY_THREAD_ID = 4,
};
#define TIMER_SEC_MAX ((uint64_t)1 << 40)

struct ptimer {
	int id, clock, signal;
	uint64_t value;                /* sigev_value */
	int notify;
	pid_t tid;                     /* NOTIFY_THREAD_ID: as the job sees it */
	int64_t interval[2], left[2];
};
struct ptimers { struct ptimer *v; size_t n, cap; };
struct sigevent_ { uint64_t value; int32_t signo, notify, tid, pad[11]; };

static void ptimers_free(struct ptimers *l) { free(l->v); }
#define AUTO_TIMERS __attribute__((cleanup(ptimers_free)))

static struct ptimer *ptimers_add(struct ptimers *l, struct err *e)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 16;
		struct ptimer *v = realloc(l->v, cap * sizeof *v);

		if (!v) {
			err_set(e, EX_FAILED, "out of memory");
			return NULL;
		}
		l->v = v;
		l->cap = cap;
	}
	memset(&l->v[l->n], 0, sizeof *l->v);
	return &l->v[l->n++];
}

/* ---- checkpoint ---- */

static int notify_parse(struct dproc *p, const char *s, struct ptimer *t)
{
	static const struct { const char *name; int kind; } kinds[] = {
		{ "signal", NOTIFY_SIGNAL }, { "none", NOTIFY_NONE }, { "thread", NOTIFY_THREAD },
	};
	char kind[16], who[8];
	int id;

	if (sscanf(s, "notify: %15[a-z]/%7[a-z].%d", kind, who, &id) != 3)
		return -1;
	t->notify = -1;
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
		if (strcmp(kind, kinds[i].name) == 0)
			t->notify = kinds[i].kind;
	if (strcmp(who, "tid") != 0)
		return t->notify < 0 ? -1 : 0;
	t->notify |= NOTIFY_THREAD_ID;
	for (size_t i = 0; i < p->nthr; i++)
		if (p->thr[i].tid == id)
			t->tid = p->thr[i].vtid;
	return t->tid ? 0 : -1;
}

static int timers_parse(struct dproc *p, char *text, struct ptimers *l, struct err *e)
{
	struct ptimer *t = NULL;
	char *save = NULL;

	for (char *s = strtok_r(text, "\n", &save); s; s = strtok_r(NULL, "\n", &save)) {
		int id, bad = 0;

		if (sscanf(s, "ID: %d", &id) == 1) {
			t = ptimers_add(l, e);
			if (!t)
				return -1;
			t->id = id;
		} else if (!t) {
			bad = 1;
		} else if (strncmp(s, "signal: ", 8) == 0) {
			unsigned long long value;

			bad = sscanf(s, "signal: %d/%llx", &t->signal, &value) != 2;
			t->value = bad ? 0 : value;
		} else if (strncmp(s, "notify: ", 8) == 0) {
			bad = notify_parse(p, s, t) < 0;
		} else if (strncmp(s, "ClockID: ", 9) == 0) {
			bad = sscanf(s, "ClockID: %d", &t->clock) != 1;
		}
		if (bad)
			return err_set(e, EX_FAILED, "/proc/%d/timers: cannot understand \"%s\"", p->pid, s);
	}
	return 0;
}

static int timers_read(struct dproc *p, struct ptimers *l, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;

	if (proc_read(&b, p->pid, "timers", 64 << 20) < 0)
		return err_sys(e, "/proc/%d/timers", p->pid);
	return b.len ? timers_parse(p, b.p, l, e) : 0;
}

static int posix_timer_check(struct dump *d, struct dproc *p, struct err *e)
{
	if (p->zombie)
		return 0;
	if (access("/proc/self/timers", F_OK) < 0)
		refuse(d, p, "POSIX timers cannot be seen: this kernel has no /proc/PID/timers (CONFIG_CHECKPOINT_RESTORE)");
	return 0;
}

static void timer_put(struct buf *out, const struct ptimer *t)
{
	rec_begin(out, "posix_timer");
	rec_put_i64(out, "ID", t->id);
	rec_put_i64(out, "CLOCK", t->clock);
	rec_put_i64(out, "NOTIFY", t->notify);
	rec_put_i64(out, "SIGNAL", t->signal);
	rec_put_hex(out, "DATA", t->value);
	if (t->notify & NOTIFY_THREAD_ID)
		rec_put_i64(out, "NOTIFY_TID", t->tid);
	rec_put_i64(out, "INTERVAL_SEC", t->interval[0]);
	rec_put_i64(out, "INTERVAL_NSEC", t->interval[1]);
	rec_put_i64(out, "VALUE_SEC", t->left[0]);
	rec_put_i64(out, "VALUE_NSEC", t->left[1]);
	rec_end(out);
}

int posix_timer_ask(struct dproc *p, bool *threads, struct err *e)
{
	AUTO_TIMERS struct ptimers l = { 0 };

	if (timers_read(p, &l, e) < 0)
		return -1;
	if (l.n > TIMERS_MAX)
		return err_set(e, EX_CANNOT_CKPT, "more than %d POSIX timers", TIMERS_MAX);
	for (size_t i = 0; i < l.n; i++) {
		struct ptimer *t = &l.v[i];
		uint64_t a;
		long ret;

		if (remote_room(p->rem, 1, 32, e) < 0)
			return -1;
		a = remote_put(p->rem, NULL, 32);
		if (remote_one(p->rem, "timer_gettime", &ret, e, SYS_timer_gettime, t->id, a, 0, 0, 0, 0) < 0)
			return -1;
		if (ret < 0)
			return err_set(e, EX_FAILED, "timer_gettime of timer %d: %s", t->id, strerror((int)-ret));
		memcpy(t->interval, remote_data(p->rem, a), sizeof t->interval);
		memcpy(t->left, (const char *)remote_data(p->rem, a) + sizeof t->interval, sizeof t->left);
		timer_put(&p->out, t);
		*threads |= (t->notify & NOTIFY_THREAD_ID) != 0;
	}
	return 0;
}

/* ---- restart ---- */

static pid_t own_number(const struct rproc *p, pid_t tid)
{
	for (size_t i = 0; i < p->nthr; i++)
		if (p->thr[i].tid == tid)
			return thread_own_number(&p->thr[i]);
	return tid;
}

static bool thread_there(const struct rproc *p, pid_t tid)
{
	for (size_t i = 0; i < p->nthr; i++)
		if (p->thr[i].tid == tid)
			return true;
	return false;
}

static int timer_get(const struct rproc *p, const struct rec *rec, struct ptimer *t, struct err *e)
{
	uint64_t v[4];

	memset(t, 0, sizeof *t);
	if (rec_int(rec, "ID", 0, INT32_MAX, &t->id, e) < 0 || rec_int(rec, "CLOCK", CLOCK_MIN, CLOCK_MAX, &t->clock, e) < 0 ||
	    rec_int(rec, "NOTIFY", 0, NOTIFY_THREAD_ID, &t->notify, e) < 0 || rec_int(rec, "SIGNAL", 0, 64, &t->signal, e) < 0 ||
	    rec_u64(rec, "DATA", UINT64_MAX, &t->value, e) < 0 ||
	    rec_u64(rec, "INTERVAL_SEC", TIMER_SEC_MAX, &v[0], e) < 0 || rec_u64(rec, "INTERVAL_NSEC", NSEC - 1, &v[1], e) < 0 ||
	    rec_u64(rec, "VALUE_SEC", TIMER_SEC_MAX, &v[2], e) < 0 || rec_u64(rec, "VALUE_NSEC", NSEC - 1, &v[3], e) < 0)
		return -1;
	for (int i = 0; i < 2; i++) {
		t->interval[i] = (int64_t)v[i];
		t->left[i] = (int64_t)v[i + 2];
	}
	if (t->notify == (NOTIFY_NONE | NOTIFY_THREAD))
		return err_set(e, EX_BAD_IMAGE, "line %zu: NOTIFY", rec->line);
	if (t->notify != NOTIFY_THREAD_ID)
		return 0;
	if (rec_int(rec, "NOTIFY_TID", 1, INT32_MAX, &t->tid, e) < 0)
		return -1;
	if (!thread_there(p, t->tid))
		return err_set(e, EX_BAD_IMAGE, "line %zu: thread %d is not of this process", rec->line, t->tid);
	return 0;
}

static int timer_order(const void *a, const void *b)
{
	const struct ptimer *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static int timers_get(const struct rproc *p, struct ptimers *l, struct err *e)
{
	struct rec rec;

	for (long i = rproc_rec(p, "posix_timer", 0, &rec); i >= 0; i = rproc_rec(p, "posix_timer", i + 1, &rec)) {
		struct ptimer *t = ptimers_add(l, e);

		if (!t || timer_get(p, &rec, t, e) < 0)
			return -1;
		if (l->n > TIMERS_MAX)
			return err_set(e, EX_BAD_IMAGE, "more than %d POSIX timers", TIMERS_MAX);
	}
	if (l->n)
		qsort(l->v, l->n, sizeof *l->v, timer_order);
	for (size_t i = 1; i < l->n; i++)
		if (l->v[i].id == l->v[i - 1].id)
			return err_set(e, EX_BAD_IMAGE, "two POSIX timers with id %d", l->v[i].id);
	return 0;
}

static int posix_timer_verify(struct restore *r, struct rproc *p, struct err *e)
{
	AUTO_TIMERS struct ptimers l = { 0 };

	return timers_get(p, &l, e);
}

/* timer_create; *got is the id that it has now. */
static int timer_make(struct rproc *p, const struct ptimer *t, int *got, struct err *e)
{
	struct sigevent_ ev = { .value = t->value, .signo = t->signal, .notify = t->notify, .tid = own_number(p, t->tid) };
	uint64_t a, id;
	long ret;

	if (remote_room(p->rem, 1, sizeof ev + 32, e) < 0)
		return -1;
	a = remote_put(p->rem, &ev, sizeof ev);
	id = remote_put(p->rem, &t->id, sizeof t->id);
	if (remote_one(p->rem, "timer_create", &ret, e, SYS_timer_create, (uint64_t)(int64_t)t->clock, a, id, 0, 0, 0) < 0)
		return -1;
	if (ret < 0)
		return err_set(e, ret == -EPERM ? EX_PERM : EX_FAILED, "timer_create with id %d, clock %d: %s", t->id, t->clock,
			       strerror((int)-ret));
	memcpy(got, remote_data(p->rem, id), sizeof *got);
	return 0;
}

/* Makes and deletes `n` timers that will get the ids from `first` on. */
static int timers_skip(struct rproc *p, int first, int n, struct err *e)
{
	static const struct sigevent_ none = { .notify = NOTIFY_NONE };

	while (n > 0) {
		int k = n < COUNT_BATCH ? n : COUNT_BATCH;
		uint64_t ev, id;

		if (remote_room(p->rem, (size_t)(2 * k), sizeof none + 32, e) < 0)
			return -1;
		ev = remote_put(p->rem, &none, sizeof none);
		id = remote_put(p->rem, NULL, sizeof first);
		for (int i = 0; i < k; i++) {
			remote_call(p->rem, "timer_create", REMOTE_MUST, SYS_timer_create, 1, ev, id, 0, 0, 0);
			remote_call(p->rem, "timer_delete", REMOTE_MUST, SYS_timer_delete, first + i, 0, 0, 0, 0, 0);
		}
		if (remote_run(p->rem, e) < 0)
			return -1;
		first += k;
		n -= k;
	}
	return 0;
}

/* On kernels where the id cannot be asked for. */
static int timer_count_up(struct rproc *p, const struct ptimer *t, struct err *e)
{
	for (int tries = 0; tries < 3; tries++) {
		long ret;
		int got;

		if (timer_make(p, t, &got, e) < 0)
			return -1;
		if (got == t->id)
			return 0;
		if (remote_one(p->rem, "timer_delete", &ret, e, SYS_timer_delete, got, 0, 0, 0, 0, 0) < 0)
			return -1;
		if (got > t->id || t->id > TIMER_ID_MAX)
			break;
		if (timers_skip(p, got + 1, t->id - got - 1, e) < 0)
			return -1;
	}
	return err_set(e, EX_MISFIT, "POSIX timer id %d cannot be had on this kernel", t->id);
}

static int restore_ids(struct rproc *p, int op, long *ret, struct err *e)
{
	if (fault("timer_restore_ids")) {
		*ret = -EINVAL;
		return 0;
	}
	return remote_one(p->rem, "prctl(PR_TIMER_CREATE_RESTORE_IDS)", ret, e, SYS_prctl, PR_TIMER_CREATE_RESTORE_IDS, op,
			  0, 0, 0, 0);
}

static int timers_make(struct rproc *p, const struct ptimers *l, struct err *e)
{
	long exact, ret;
	int got;

	if (restore_ids(p, RESTORE_IDS_ON, &exact, e) < 0)
		return -1;
	for (size_t i = 0; i < l->n; i++) {
		if (exact < 0) {
			if (timer_count_up(p, &l->v[i], e) < 0)
				return -1;
		} else if (timer_make(p, &l->v[i], &got, e) < 0) {
			return -1;
		} else if (got != l->v[i].id) {
			return err_set(e, EX_FAILED, "POSIX timer %d came as %d", l->v[i].id, got);
		}
	}
	return exact < 0 ? 0 : restore_ids(p, RESTORE_IDS_OFF, &ret, e);
}

int posix_timer_arm(struct rproc *p, struct err *e)
{
	AUTO_TIMERS struct ptimers l = { 0 };
	bool any = false;

	if (timers_get(p, &l, e) < 0)
		return -1;
	if (l.n == 0)
		return 0;
	if (timers_make(p, &l, e) < 0)
		return -1;
	for (size_t i = 0; i < l.n; i++) {
		int64_t spec[4] = { l.v[i].interval[0], l.v[i].interval[1], l.v[i].left[0], l.v[i].left[1] };

		if (!spec[2] && !spec[3]) /* not armed */
			continue;
		if (remote_room(p->rem, 1, sizeof spec, e) < 0)
			return -1;
		remote_call(p->rem, "timer_settime", REMOTE_MUST, SYS_timer_settime, l.v[i].id, 0,
			    remote_put(p->rem, spec, sizeof spec), 0, 0, 0);
		any = true;
	}
	return any ? remote_run(p->rem, e) : 0;
}

const struct res_ops res_posix_timer = {
	.name = "posix_timer",
	.check = posix_timer_check,
	.verify = posix_timer_verify,
};
