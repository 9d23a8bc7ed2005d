/* session: one thread inside the stub. The order of the steps is what makes the death of the tracer
 * harmless at every instant:
 *
 *   1. stub and journal are written to the tail                    (dead here: nothing happened)
 *   2. SETREGS, rip at the stub, is the commit point               (dead: the stub runs to its end by itself:
 *                                                                   mmap, a signal nobody sees, munmap, mask, registers)
 *   3. only then is the mask blocked                               (dead: the exit path puts it back)
 *   4. the stub sends itself the rendezvous signal: a stop with a tracer, nothing without one.
 *      rip then stands at the exit path, so that the default is always to leave
 *   5. a batch: write the array while rip is at the exit path, SETREGS to the walker, CONT
 *   6. the end: stop at the entry of the exit path's munmap, interrupt, and at the event stop behind it
 *      mask first, then all registers with orig_rax: the kernel applies its own restart rules later
 *   7. the tail is wiped at the detach, when nobody is inside
 *
 * Without the tracer the exit path puts the mask back before the registers, so a handler may run on top of
 * it: heal.c looks for such frames. Signals are handled in pt.h's way: stops are not consumed. */
#include "tracee/internal.h"
#include <string.h>
#include <time.h>

static uint64_t bit(int sig) { return 1ull << (sig - 1); }

static int died(struct remote *r, int st, struct err *e)
{
	struct tthread *th = &r->t->thr[r->i];

	th->state = THREAD_GONE;
	if (st < 0)
		return err_set(e, EX_NOSUCH, "thread %d is gone", (int)th->tid);
	if (WIFSIGNALED(st))
		return err_set(e, EX_NOSUCH, "thread %d was killed by signal %d meanwhile", (int)th->tid, WTERMSIG(st));
	return err_set(e, EX_NOSUCH, "thread %d has exited meanwhile", (int)th->tid);
}

static int resume(struct remote *r, long how, int sig, struct err *e)
{
	if (pt_resume(how, r->t->thr[r->i].tid, sig) == 0)
		return 0;
	if (errno == ESRCH)
		return died(r, -1, e);
	return err_sys(e, "thread %d: cannot resume it", (int)r->t->thr[r->i].tid);
}

static int watched_birth(struct remote *r, pid_t child)
{
	const unsigned long opt = XPT_OPTIONS | XPT_O_EXITKILL;

	if (pt(XPT_SETOPTIONS, child, 0, (void *)(opt | XPT_O_SUSPEND_SECCOMP)) < 0 && pt(XPT_SETOPTIONS, child, 0, (void *)opt) < 0)
		return -1;
	return r->watch->born(r->watch->ctx, child);
}

/* A child made with CLONE_VFORK: its parent goes on only when it has come to its end. */
static int drive_vfork(struct remote *r, pid_t child, struct err *e)
{
	bool first = r->watch != NULL;
	int st;

	for (;;) {
		int sig = 0;

		if (pt_wait(child, &st, 0) < 0 || st_dead(st)) {
			if (r->watch)
				r->watch->dead(r->watch->ctx);
			return 0;
		}
		if (first && watched_birth(r, child))
			kill(child, SIGKILL);
		first = false;
		if (st_is_birth(st)) {
			unsigned long born = 0;

			if (pt(XPT_GETEVENTMSG, child, 0, &born) == 0 && pid_list_add(&r->born, (pid_t)born) < 0)
				return err_set(e, EX_FAILED, "out of memory");
		} else if (st_is_signal(st) && WSTOPSIG(st) != r->sig) {
			sig = WSTOPSIG(st);
		}
		pt_resume(XPT_CONT, child, sig);
	}
}

static int birth(struct remote *r, int st, long how, struct err *e)
{
	unsigned long child = 0;
	pid_t tid = r->t->thr[r->i].tid;

	if (pt(XPT_GETEVENTMSG, tid, 0, &child) < 0)
		return err_sys(e, "thread %d: cannot ask for its child", (int)tid);
	if (resume(r, how, 0, e) < 0)
		return -1;
	if (st_event(st) == XPT_EV_VFORK && !r->boot)
		return drive_vfork(r, (pid_t)child, e);
	if (pid_list_add(&r->born, (pid_t)child) < 0)
		return err_set(e, EX_FAILED, "out of memory");
	return 0;
}

/* A rendezvous signal that is not ours: held back for the end when the job would have seen it. */
static void stray_signal(struct remote *r)
{
	struct tthread *th = &r->t->thr[r->i];

	if ((r->t->caught | th->sigmask) & bit(r->sig))
		r->strays++;
}

/* Deals with any stop but the one waited for. */
static int other_stop(struct remote *r, int st, long how, struct err *e)
{
	int sig = 0;

	if (st_is_birth(st))
		return birth(r, st, how, e);
	if (st_is_signal(st)) {
		sig = WSTOPSIG(st);
		if (sig == r->sig) {
			stray_signal(r);
			sig = 0;
		} else if (sig == SIGSEGV || sig == SIGBUS || sig == SIGILL || sig == SIGFPE || sig == SIGSYS || sig == SIGTRAP) {
			r->astray = true;
			return err_set(e, EX_FAILED, "thread %d: remote control was hit by signal %d",
				       (int)r->t->thr[r->i].tid, sig);
		}
	}
	return resume(r, how, sig, e); /* event stops (group-stop, interrupt): simply on */
}

static int wait_until(pid_t tid, int *st, int64_t deadline_ms)
{
	if (deadline_ms == NEVER)
		return pt_wait(tid, st, 0);
	for (unsigned round = 0;; round++) {
		int r = pt_wait(tid, st, WNOHANG);

		if (r != 0 || mono_ms() > deadline_ms)
			return r;
		wait_a_little(round);
	}
}

int session_wait(struct remote *r, int64_t deadline_ms, struct err *e)
{
	struct tthread *th = &r->t->thr[r->i];
	int st;

	for (;;) {
		unsigned long ip = 0;
		int w = wait_until(th->tid, &st, deadline_ms);

		if (w < 0 || (w > 0 && st_dead(st)))
			return died(r, w < 0 ? -1 : st, e);
		if (w == 0)
			return 1;
		if (st_is_signal(st) && WSTOPSIG(st) == r->sig) {
			if (pt(XPT_PEEKUSER, th->tid, ARCH_OFF_IP, &ip) < 0)
				return died(r, -1, e);
			if (ip == r->stub + arch_rendezvous_off()) {
				if (r->t->caught & bit(r->sig))
					pt_consume(th->tid); /* no handler for it when we die */
				return 0;
			}
		}
		if (other_stop(r, st, XPT_CONT, e) < 0)
			return -1;
	}
}

/* The first of three signals that are ignored by default, without handler and not blocked. Go programs
 * catch them all: SIGURG then, which they send to themselves all the time. */
static int pick_signal(uint64_t caught, uint64_t mask)
{
	static const int sigs[] = { SIGURG, SIGWINCH, SIGCHLD };

	for (int i = 0; i < 3; i++)
		if (!((caught | mask) & bit(sigs[i])))
			return sigs[i];
	for (int i = 0; i < 3; i++)
		if (!(caught & bit(sigs[i])))
			return sigs[i];
	return SIGURG;
}

static int write_stub(struct remote *r, uint64_t nonce, struct err *e)
{
	struct tracee *t = r->t;
	struct { char code[STUB_CODE]; struct stub_journal j; } s;

	memset(&s.j, 0, sizeof(s.j));
	s.j.scratch = r->scratch;
	s.j.len = r->len;
	s.j.mask = t->thr[r->i].sigmask;
	s.j.sig = (uint64_t)r->sig;
	s.j.nonce = nonce;
	arch_journal(&s.j, &t->thr[r->i].regs);
	s.j.magic = STUB_MAGIC;
	s.j.version = STUB_VERSION;
	s.j.size = STUB_SIZE;
	memcpy(s.code, xos_stub, STUB_CODE);
	t->stub_written = true;
	return tracee_write(t, t->stub_addr, &s, sizeof(s), e);
}

/* Enters the stub and lets it map the scratch area. 0, -1, or the errno of the mmap. */
static int enter(struct remote *r, struct err *e)
{
	struct tthread *th = &r->t->thr[r->i];
	struct user_regs_struct regs = th->regs;
	uint64_t mask = ~bit(r->sig);
	unsigned long base = 0;

	arch_to_entry(&regs, r->stub);
	if (pt(XPT_SETREGS, th->tid, 0, &regs) < 0)
		return died(r, -1, e);
	th->state = THREAD_REMOTE; /* committed: from here the stub ends by itself */
	if (pt(XPT_SETSIGMASK, th->tid, 8, &mask) < 0)
		return died(r, -1, e);
	if (resume(r, XPT_CONT, 0, e) < 0 || session_wait(r, NEVER, e) < 0)
		return -1;
	if (pt(XPT_PEEKUSER, th->tid, ARCH_OFF_BASE, &base) < 0)
		return died(r, -1, e);
	return base == r->scratch ? 0 : (int)-(long)base;
}

int session_enter(struct remote *r, struct err *e)
{
	static const uint32_t size[] = { SCRATCH_SIZE, SCRATCH_SMALL };
	struct tracee *t = r->t;
	struct scratch_head head = { STUB_MAGIC, 0 };
	struct timespec ts;

	r->sig = pick_signal(t->caught, t->thr[r->i].sigmask);
	r->stub = t->stub_addr;
	for (unsigned k = 0; k < 2; k++) {
		int n;

		r->len = size[k];
		r->scratch = place_hole(&t->maps, r->len, k);
		clock_gettime(CLOCK_MONOTONIC, &ts);
		head.nonce = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
		if (write_stub(r, head.nonce, e) < 0)
			return -1;
		n = enter(r, e);
		if (n == 0) {
			memcpy(r->img, &head, sizeof(head));
			return 0;
		}
		if (t->thr[r->i].state == THREAD_GONE)
			return -1;
		if (session_leave(r, n < 0 ? NULL : e) < 0 || n < 0)
			return -1;
		errno = n;
	}
	return err_sys(e, "it cannot get %d KiB of memory for remote control", SCRATCH_SMALL / 1024);
}

/* From the exit path to a stop at an event: first to the entry of its munmap, then through it. */
static int through_exit(struct remote *r, struct err *e)
{
	struct tthread *th = &r->t->thr[r->i];
	int st;

	if (resume(r, XPT_SYSCALL, 0, e) < 0)
		return -1;
	for (;;) {
		if (pt_wait(th->tid, &st, 0) < 0)
			return died(r, -1, e);
		if (st_dead(st))
			return died(r, st, e);
		if (st_is_syscall(st))
			break;
		if (other_stop(r, st, XPT_SYSCALL, e) < 0)
			return -1;
	}
	if (pt_interrupt_and_resume(XPT_CONT, th->tid, 0) < 0)
		return died(r, -1, e);
	for (;;) {
		if (pt_wait(th->tid, &st, 0) < 0)
			return died(r, -1, e);
		if (st_dead(st))
			return died(r, st, e);
		if (st_is_stop_event(st))
			return 0;
		pt(XPT_INTERRUPT, th->tid, 0, NULL);
		if (other_stop(r, st, XPT_CONT, e) < 0)
			return -1;
	}
}

int session_leave(struct remote *r, struct err *e)
{
	struct tthread *th = &r->t->thr[r->i];

	if (r->astray) {
		struct user_regs_struct regs = th->regs;

		arch_to_exit(&regs, r->stub, r->scratch);
		if (pt(XPT_SETREGS, th->tid, 0, &regs) < 0)
			return died(r, -1, e);
		r->astray = false;
	}
	if (through_exit(r, e) < 0)
		return -1;
	/* Mask before registers: a tracer that dies between leaves the rest to the exit path. */
	if (pt(XPT_SETSIGMASK, th->tid, 8, &th->sigmask) < 0 || pt(XPT_SETREGS, th->tid, 0, &th->regs) < 0)
		return died(r, -1, e);
	th->state = THREAD_STOPPED;
	for (; r->strays > 0; r->strays--)
		syscall(SYS_tgkill, r->t->pid, th->tid, r->sig);
	return 0;
}
