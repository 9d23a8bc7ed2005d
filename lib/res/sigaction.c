/* sigaction: what a process does on each of the 64 signals. Only dispositions that are not the default
 * (SIG_DFL, no flags, empty mask) have a record. */
#include "res/proc_ops.h"

#include <signal.h>
#include <string.h>
#include <sys/syscall.h>

enum { NSIG_ = 64, SCRATCH_PLENTY = 32768 };

struct kernel_sigaction { uint64_t handler, flags, restorer, mask; };

static void sigaction_put(struct buf *out, int s, const struct kernel_sigaction *a)
{
	static const struct kernel_sigaction dfl;

	if (memcmp(a, &dfl, sizeof dfl) == 0)
		return;
	rec_begin(out, "sigaction");
	rec_put_i64(out, "SIGNAL", s);
	rec_put_hex(out, "HANDLER", a->handler);
	rec_put_hex(out, "FLAGS", a->flags);
	rec_put_hex(out, "RESTORER", a->restorer);
	rec_put_hex(out, "MASK", a->mask);
	rec_end(out);
}

/* Signals first..last in one batch. */
static int sigaction_dump_some(struct dproc *p, int first, int last, struct err *e)
{
	uint64_t addr[NSIG_ + 1] = { 0 };

	if (remote_room(p->rem, (size_t)(last - first + 1), (size_t)(last - first + 1) * sizeof(struct kernel_sigaction), e) < 0)
		return -1;
	for (int s = first; s <= last; s++) {
		if (!signal_ok(s))
			continue;
		addr[s] = remote_put(p->rem, NULL, sizeof(struct kernel_sigaction));
		remote_call(p->rem, "rt_sigaction", REMOTE_MUST, SYS_rt_sigaction, s, 0, addr[s], 8, 0, 0);
	}
	if (remote_run(p->rem, e) < 0)
		return -1;
	for (int s = first; s <= last; s++) {
		struct kernel_sigaction a;

		if (!signal_ok(s))
			continue;
		memcpy(&a, remote_data(p->rem, addr[s]), sizeof a);
		sigaction_put(&p->out, s, &a);
	}
	return 0;
}

static int sigaction_dump(struct dump *d, struct dproc *p, struct err *e)
{
	/* Where memory is locked or short the scratch area is small. */
	int step = remote_capacity(p->rem) < SCRATCH_PLENTY ? 16 : NSIG_;

	for (int s = 1; s <= NSIG_; s += step)
		if (sigaction_dump_some(p, s, s + step - 1, e) < 0)
			return -1;
	return 0;
}

/* act[1..64], those without a record the default. */
static int sigaction_get(struct rproc *p, struct kernel_sigaction *act, struct err *e)
{
	bool seen[NSIG_ + 1] = { false };
	struct rec rec;

	memset(act, 0, (NSIG_ + 1) * sizeof *act);
	for (long i = rproc_rec(p, "sigaction", 0, &rec); i >= 0; i = rproc_rec(p, "sigaction", i + 1, &rec)) {
		struct kernel_sigaction a;
		uint64_t s;

		if (rec_u64(&rec, "SIGNAL", NSIG_, &s, e) < 0 ||
		    rec_u64(&rec, "HANDLER", RES_TASK_SIZE, &a.handler, e) < 0 ||
		    rec_u64(&rec, "FLAGS", UINT64_MAX, &a.flags, e) < 0 ||
		    rec_u64(&rec, "RESTORER", RES_TASK_SIZE, &a.restorer, e) < 0 ||
		    rec_u64(&rec, "MASK", UINT64_MAX, &a.mask, e) < 0)
			return -1;
		if (!signal_ok(s))
			return err_set(e, EX_BAD_IMAGE, "line %zu: signal %d has no handler", rec.line, (int)s);
		if (seen[s])
			return err_set(e, EX_BAD_IMAGE, "line %zu: two dispositions of signal %d", rec.line, (int)s);
		seen[s] = true;
		act[s] = a;
	}
	return 0;
}

static int sigaction_verify(struct restore *r, struct rproc *p, struct err *e)
{
	struct kernel_sigaction act[NSIG_ + 1];

	return sigaction_get(p, act, e);
}

static int sigaction_restore(struct restore *r, struct rproc *p, struct err *e)
{
	struct kernel_sigaction act[NSIG_ + 1];
	uint64_t a;

	if (sigaction_get(p, act, e) < 0 ||
	    remote_room(p->rem, NSIG_ + 1, (NSIG_ + 1) * sizeof *act, e) < 0)
		return -1;
	/* A disposition that ignores the signal empties its queue: children that the restart itself made
	 * and reaped must not be reported to the job. */
	a = remote_put(p->rem, NULL, sizeof *act);
	remote_call(p->rem, "rt_sigaction", REMOTE_MUST, SYS_rt_sigaction, SIGCHLD, a, 0, 8, 0, 0);
	for (int s = 1; s <= NSIG_; s++) {
		if (!signal_ok(s))
			continue;
		a = remote_put(p->rem, &act[s], sizeof act[s]);
		remote_call(p->rem, "rt_sigaction", REMOTE_MUST, SYS_rt_sigaction, s, a, 0, 8, 0, 0);
	}
	return remote_run(p->rem, e);
}

const struct res_ops res_sigaction = {
	.name = "sigaction",
	.dump = sigaction_dump,
	.verify = sigaction_verify,
	.restore = sigaction_restore,
};
