#include "tracee/internal.h"
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

/* linux/rseq.h and the answer of PTRACE_GET_RSEQ_CONFIGURATION, linux/ptrace.h. */
struct rseq_config { uint64_t ptr; uint32_t size, sig, flags, pad; };
struct rseq_section { uint32_t version, flags; uint64_t start, post_commit, abort; };
enum { RSEQ_CS_OFF = 8 };

static int thread_err(const struct tthread *th, const char *what, struct err *e)
{
	if (errno == ESRCH)
		return err_set(e, EX_NOSUCH, "thread %d is gone", (int)th->tid);
	return err_sys(e, "thread %d: cannot %s", (int)th->tid, what);
}

/* A stop inside a restartable sequence makes the kernel go on at its abort handler; remote calls would
 * make it forget that, because it looks at the stub's address then. */
static bool leave_rseq(struct tracee *t, struct tthread *th)
{
	uint64_t cs = 0, ip = arch_ip(&th->regs);
	struct rseq_section s;
	uint32_t sig;

	if (!th->rseq_ptr || tracee_read(t, th->rseq_ptr + RSEQ_CS_OFF, &cs, sizeof(cs), NULL) < 0 || !cs)
		return false;
	if (tracee_read(t, cs, &s, sizeof(s), NULL) < 0 || ip - s.start >= s.post_commit ||
	    tracee_read(t, s.abort - 4, &sig, sizeof(sig), NULL) < 0 || sig != th->rseq_sig)
		return false;
	arch_set_ip(&th->regs, s.abort);
	return true;
}

int thread_save(struct tracee *t, struct tthread *th, struct err *e)
{
	struct rseq_config c = { 0 };
	bool changed;

	if (pt(XPT_GETREGS, th->tid, 0, &th->regs) < 0)
		return thread_err(th, "read its registers", e);
	if (pt(XPT_GETSIGMASK, th->tid, 8, &th->sigmask) < 0)
		return thread_err(th, "read its signal mask", e);
	if (pt(XPT_GET_RSEQ, th->tid, sizeof(c), &c) == (long)sizeof(c)) {
		th->rseq_ptr = c.ptr;
		th->rseq_len = c.size;
		th->rseq_sig = c.sig;
	}
	changed = arch_hide_eintr(&th->regs);
	if (!t->created_here && leave_rseq(t, th))
		changed = true;
	if (changed && pt(XPT_SETREGS, th->tid, 0, &th->regs) < 0)
		return thread_err(th, "set its registers", e);
	th->restart_regs = th->regs;
	arch_restart(&th->restart_regs, false);
	return 0;
}

int thread_get_xstate(struct tthread *th, struct buf *out, struct err *e)
{
	enum { LIMIT = 1 << 20 };

	for (size_t n = 16384; n <= LIMIT; n *= 2) {
		char *p = malloc(n);
		struct iovec v = { p, n };

		if (!p)
			return err_set(e, EX_FAILED, "out of memory");
		if (pt(XPT_GETREGSET, th->tid, ARCH_NT_XSTATE, &v) < 0 &&
		    (errno != ENODEV || pt(XPT_GETREGSET, th->tid, ARCH_NT_FPREGS, &v) < 0)) {
			free(p);
			return thread_err(th, "read its extended state", e);
		}
		if (v.iov_len < n) {
			buf_add(out, p, v.iov_len);
			free(p);
			return buf_failed(out) ? err_set(e, EX_FAILED, "out of memory") : 0;
		}
		free(p);
	}
	return err_set(e, EX_FAILED, "thread %d: its extended state is too large", (int)th->tid);
}

int thread_set_xstate(struct tthread *th, const void *p, size_t n, struct err *e)
{
	struct iovec v = { (void *)p, n };

	if (pt(XPT_SETREGSET, th->tid, n == ARCH_FPREGS_SIZE ? ARCH_NT_FPREGS : ARCH_NT_XSTATE, &v) < 0)
		return thread_err(th, "set its extended state", e);
	return 0;
}

int thread_set_regs(struct tthread *th, const struct user_regs_struct *r, struct err *e)
{
	if (pt(XPT_SETREGS, th->tid, 0, r) < 0)
		return thread_err(th, "set its registers", e);
	th->regs = *r;
	return 0;
}

int thread_set_sigmask(struct tthread *th, uint64_t mask, struct err *e)
{
	if (pt(XPT_SETSIGMASK, th->tid, 8, &mask) < 0)
		return thread_err(th, "set its signal mask", e);
	th->sigmask = mask;
	return 0;
}

int thread_peek_signals(struct tthread *th, bool shared, struct buf *out, struct err *e)
{
	enum { AT_ONCE = 32, LIMIT = 1 << 20 };
	struct { uint64_t off; uint32_t flags; int32_t nr; } a = { 0, shared, AT_ONCE };
	siginfo_t si[AT_ONCE];

	_Static_assert(sizeof(siginfo_t) == 128, "kernel's siginfo");
	for (;;) {
		long n = pt(XPT_PEEKSIGINFO, th->tid, (uint64_t)(uintptr_t)&a, si);

		if (n < 0)
			return thread_err(th, "read its queued signals", e);
		if (n == 0)
			return 0;
		buf_add(out, si, (size_t)n * sizeof(*si));
		if (buf_failed(out))
			return err_set(e, EX_FAILED, "out of memory");
		a.off += (uint64_t)n;
		if (a.off > LIMIT)
			return err_set(e, EX_CANNOT_CKPT, "thread %d has more than %d queued signals", (int)th->tid, LIMIT);
	}
}
