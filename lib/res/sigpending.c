/* sigpending: signals that are queued for a process or for one of its threads, with their siginfo, in order.
 *
 * A record before the thread records is queued for the process, one behind a thread record for that thread. They
 * are queued again by the target itself: only to itself may a task send a siginfo that says it comes from
 * the kernel or from a timer. All signals are blocked meanwhile, so none is delivered or dropped.
 *
 * Timers go on while the job stands. One that fires between the look at the queue and the look at the timer would be in neither, and whoever waits for
 * it would wait for ever. So the timers are looked at between two looks at the queues, until those are the same. */
#include "res/proc_ops.h"

#include "common/cleanup.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>

enum {
	INFO_MIN = 12, INFO_MAX = 128,
	LOOKS = 50,                    /* how often timers are asked until none has fired meanwhile */
	TIMER_PRIVATE_OFF = 32, /* of _sys_private, the kernel's own note in the siginfo of a POSIX timer */
};

static void pending_put(struct buf *out, const unsigned char *info)
{
	siginfo_t si;
	size_t n = INFO_MAX;
	unsigned char copy[INFO_MAX];

	memcpy(copy, info, INFO_MAX);
	memcpy(&si, info, sizeof si);
	if (si.si_code == SI_TIMER)
		memset(copy + TIMER_PRIVATE_OFF, 0, 4);
	while (n > INFO_MIN && copy[n - 1] == 0)
		n--;
	rec_begin(out, "sigpending");
	rec_put_i64(out, "SIGNAL", si.si_signo);
	rec_put_i64(out, "CODE", si.si_code);
	rec_put_bin(out, "INFO", copy, n);
	rec_end(out);
}

/* `set` are the pending ones as /proc tells; one that is not in the queue came when the kernel had no memory for its
 * siginfo, and is delivered as if user 0 and process 0 had sent it: we write it so. */
static int pending_dump(struct tthread *t, bool shared, uint64_t set, struct buf *out, struct err *e)
{
	AUTO_BUF struct buf q = BUF_INIT;

	if (set == 0)
		return 0;
	if (set & (1ull << (SIGKILL - 1)))
		return err_set(e, EX_NOSUCH, "is being killed");
	if (set & (1ull << (SIGSTOP - 1))) {
		err_hint(e, "try again when it is stopped, or goes on");
		return err_set(e, EX_FAILED, "a SIGSTOP is just arriving");
	}
	if (set & (1ull << (SIGURG - 1))) /* the signal by which a restart meets its processes */
		return err_set(e, EX_CANNOT_CKPT, "a queued SIGURG");
	if (thread_peek_signals(t, shared, &q, e) < 0)
		return -1;
	if (q.len / INFO_MAX > RES_SIGINFO_MAX)
		return err_set(e, EX_CANNOT_CKPT, "more than %d queued signals", RES_SIGINFO_MAX);
	for (size_t off = 0; off + INFO_MAX <= q.len; off += INFO_MAX) {
		int sig;

		memcpy(&sig, q.p + off, sizeof sig);
		if (!signal_ok(sig))
			continue;
		set &= ~(1ull << (sig - 1));
		pending_put(out, (unsigned char *)q.p + off);
	}
	for (int s = 1; s <= 64; s++) {
		unsigned char info[INFO_MAX] = { 0 };

		if (!(set & (1ull << (s - 1))))
			continue;
		memcpy(info, &s, sizeof s);
		pending_put(out, info);
	}
	return 0;
}

/* th NULL: what is queued for the process. Replaces *text by the records; *changed: they are others. fresh: what /proc told when all were stopped
 * is too old. */
static int look(struct dproc *p, struct dthread *th, bool fresh, struct buf *text, bool *changed, struct err *e)
{
	AUTO_BUF struct buf old = *text;
	uint64_t set = th ? th->status.sigpnd : p->thr[0].status.shdpnd;

	*text = (struct buf)BUF_INIT;
	if (fresh) {
		struct proc_status s;

		if (proc_status_read(&s, p->pid, th ? th->tid : 0, e) < 0)
			return -1;
		set = th ? s.sigpnd : s.shdpnd;
		proc_status_free(&s);
	}
	if (pending_dump(th ? th->t : &p->t->thr[0], !th, set, text, e) < 0)
		return -1;
	*changed |= strcmp(buf_str(&old), buf_str(text)) != 0;
	return buf_failed(text) ? err_set(e, EX_FAILED, "out of memory") : 0;
}

static int look_all(struct dproc *p, bool fresh, bool threads, struct buf *shared, bool *changed, struct err *e)
{
	*changed = false;
	if (look(p, NULL, fresh, shared, changed, e) < 0)
		return -1;
	for (size_t i = 0; threads && i < p->nthr; i++)
		if (look(p, &p->thr[i], fresh, &p->thr[i].queued, changed, e) < 0)
			return -1;
	return 0;
}

static int sigpending_dump(struct dump *d, struct dproc *p, struct err *e)
{
	AUTO_BUF struct buf shared = BUF_INIT;
	size_t start = p->out.len;
	bool changed = true;

	(void)d;
	if (look_all(p, false, true, &shared, &changed, e) < 0)
		return -1;
	changed = true;
	/* In the end rather a signal too many than none: some timer may fire at each look. */
	for (int i = 0; i < LOOKS && changed; i++) {
		bool threads = false;

		p->out.len = start;
		if (posix_timer_ask(p, &threads, e) < 0 || itimer_ask(p, e) < 0 || look_all(p, true, threads, &shared, &changed, e) < 0)
			return -1;
	}
	buf_add(&p->out, buf_str(&shared), shared.len);
	return 0;
}

static int sigpending_dump_thread(struct dump *d, struct dproc *p, struct dthread *th, struct err *e)
{
	(void)d;
	(void)e;
	buf_add(&p->out, buf_str(&th->queued), th->queued.len);
	return 0;
}

static int pending_get(const struct rec *rec, int *sig, unsigned char info[INFO_MAX], struct err *e)
{
	size_t n;
	int in;

	memset(info, 0, INFO_MAX);
	if (rec_int(rec, "SIGNAL", 1, 64, sig, e) < 0 ||
	    rec_bin(rec, "INFO", info, INFO_MIN, INFO_MAX, &n, e) < 0)
		return -1;
	memcpy(&in, info, sizeof in);
	if (in != *sig || !signal_ok((uint64_t)*sig) || *sig == SIGURG)
		return err_set(e, EX_BAD_IMAGE, "line %zu: a queued signal %d", rec->line, *sig);
	return 0;
}

/* th NULL: those of the process. */
static long pending_next(const struct rproc *p, const struct rthread *th, long from, struct rec *rec)
{
	return th ? rthread_rec(p, th, "sigpending", from, rec) : rproc_rec(p, "sigpending", from, rec);
}

static int pending_verify(struct rproc *p, const struct rthread *th, struct err *e)
{
	size_t n = 0;
	struct rec rec;

	for (long i = pending_next(p, th, 0, &rec); i >= 0; i = pending_next(p, th, i + 1, &rec)) {
		unsigned char info[INFO_MAX];
		int sig;

		if (pending_get(&rec, &sig, info, e) < 0)
			return -1;
		if (++n > RES_SIGINFO_MAX)
			return err_set(e, EX_BAD_IMAGE, "more than %d queued signals", RES_SIGINFO_MAX);
	}
	return 0;
}

static int sigpending_verify(struct restore *r, struct rproc *p, struct err *e)
{
	if (pending_verify(p, NULL, e) < 0)
		return -1;
	for (size_t i = 0; i < p->nthr; i++)
		if (pending_verify(p, &p->thr[i], e) < 0)
			return -1;
	return 0;
}

/* Takes everything out of the queues of the thread at work and of its process. */
static int pending_drain(struct rproc *p, struct err *e)
{
	static const uint64_t all = ~0ull;
	static const int64_t zero[2];
	uint64_t set, ts;
	long ret = 0;

	for (int i = 0; i < RES_SIGINFO_MAX && ret != -EAGAIN; i++) {
		if (remote_room(p->rem, 1, 64, e) < 0)
			return -1;
		set = remote_put(p->rem, &all, sizeof all);
		ts = remote_put(p->rem, zero, sizeof zero);
		if (remote_one(p->rem, "rt_sigtimedwait", &ret, e, SYS_rt_sigtimedwait, set, 0, ts, 8, 0, 0) < 0)
			return -1;
		if (ret < 0 && ret != -EAGAIN && ret != -EINTR)
			return err_set(e, EX_FAILED, "rt_sigtimedwait: %s", strerror((int)-ret));
	}
	return 0;
}

static int pending_queue(struct rproc *p, const struct rthread *th, struct err *e)
{
	struct rec rec;
	bool any = false;

	for (long i = pending_next(p, th, 0, &rec); i >= 0; i = pending_next(p, th, i + 1, &rec)) {
		unsigned char info[INFO_MAX];
		uint64_t a;
		int sig;

		if (pending_get(&rec, &sig, info, e) < 0 || remote_room(p->rem, 1, INFO_MAX, e) < 0)
			return -1;
		a = remote_put(p->rem, info, INFO_MAX);
		if (th)
			remote_call(p->rem, "rt_tgsigqueueinfo", REMOTE_MUST, SYS_rt_tgsigqueueinfo, p->nnspid ? p->nspid[p->nnspid - 1] : p->pid, thread_own_number(th),
				    sig, a, 0, 0);
		else
			remote_call(p->rem, "rt_sigqueueinfo", REMOTE_MUST, SYS_rt_sigqueueinfo, thread_own_number(&p->thr[0]), sig, a, 0, 0, 0);
		any = true;
	}
	return any ? remote_run(p->rem, e) : 0;
}

/* The leader's own come in late(): only it can empty the queue of the process, and would empty its own with it. */
static int sigpending_restore_thread(struct restore *r, struct rproc *p, struct rthread *th, struct err *e)
{
	return th->index == 0 ? 0 : pending_queue(p, th, e);
}

static int sigpending_late(struct restore *r, struct rproc *p, struct err *e)
{
	if (pending_drain(p, e) < 0)
		return -1;
	for (size_t i = 0; i < p->nthr; i++)
		if (p->thr[i].index == 0 && pending_queue(p, &p->thr[i], e) < 0)
			return -1;
	/* Only now: what a timer adds must not be taken out again. */
	return pending_queue(p, NULL, e) < 0 || posix_timer_arm(p, e) < 0 ? -1 : itimer_arm(p, e);
}

const struct res_ops res_sigpending = {
	.name = "sigpending",
	.dump = sigpending_dump,
	.dump_thread = sigpending_dump_thread,
	.verify = sigpending_verify,
	.restore_thread = sigpending_restore_thread,
	.late = sigpending_late,
};
