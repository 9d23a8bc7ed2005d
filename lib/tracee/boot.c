/* boot: the restart side. The processes are our own; they die with us until tracee_disarm. */
#include "tracee/internal.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { CODE_PAGE = 4096 };

long tracee_boot_self(uint64_t boot)
{
	uint64_t all = ~0ull;
	struct stub_journal *j = (struct stub_journal *)(boot + STUB_CODE);
	const char *from = xos_stub;
	volatile char *to = (volatile char *)boot;
	long r = arch_syscall(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, 0, 8, 0, 0);

	if (r < 0)
		return r;
	r = arch_syscall(SYS_mmap, (long)boot, TRACEE_BOOT_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (r < 0)
		return r;
	if (r != (long)boot) {
		arch_syscall(SYS_munmap, r, TRACEE_BOOT_SIZE, 0, 0, 0, 0);
		return -EEXIST;
	}
	for (size_t i = 0; i < STUB_CODE; i++)
		to[i] = from[i];
	j->sig = SIGURG;
	r = arch_syscall(SYS_mprotect, (long)boot, CODE_PAGE, PROT_READ | PROT_EXEC, 0, 0, 0);
	if (r < 0)
		return r;
	all &= ~(1ull << (SIGURG - 1));
	arch_syscall(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, 0, 8, 0, 0);
	((void (*)(void))(boot + (uint64_t)(xos_stub_park - xos_stub)))();
	return -EINVAL; /* not reached: the loop there has no end */
}

/* Waits for the first stop of a task of ours. */
static int first_stop(struct tracee *t, size_t i, bool parked, struct err *e)
{
	struct tthread *th = &t->thr[i];
	int st;

	for (;;) {
		if (pt_wait(th->tid, &st, 0) < 0)
			return err_sys(e, "thread %d: cannot wait for it", (int)th->tid);
		if (st_dead(st)) {
			th->state = THREAD_GONE;
			if (WIFEXITED(st))
				return err_set(e, EX_FAILED, "new process %d exited with status %d", (int)th->tid, WEXITSTATUS(st));
			return err_set(e, EX_FAILED, "new process %d was killed by signal %d", (int)th->tid, WTERMSIG(st));
		}
		if (parked ? st_is_signal(st) && WSTOPSIG(st) == SIGURG : st_is_stop_event(st))
			break;
		if (pt_resume(XPT_CONT, th->tid, st_is_signal(st) && WSTOPSIG(st) != SIGURG ? WSTOPSIG(st) : 0) < 0)
			return err_sys(e, "thread %d: cannot resume it", (int)th->tid);
	}
	th->state = THREAD_STOPPED;
	return thread_save(t, th, e);
}

static int adopt(struct tracee *t, struct err *e)
{
	const unsigned long opt = XPT_OPTIONS | XPT_O_EXITKILL;
	bool born = false;

	t->created_here = true;
	t->pidfd = (int)syscall(SYS_pidfd_open, (long)t->pid, 0L);
	if (t->pidfd < 0)
		return errno == ESRCH ? err_set(e, EX_NOSUCH, "new process %d is gone", (int)t->pid) :
					err_sys(e, "cannot open a pidfd of new process %d", (int)t->pid);
	if (tracee_seize(t, t->pid, opt) < 0) {
		int error = errno;

		if (error != EPERM || !traced_by_us(t->pid)) {
			errno = error;
			return err_sys(e, "new process %d cannot be traced", (int)t->pid);
		}
		born = true;
	}
	if (first_stop(t, 0, !born, e) < 0)
		return -1;
	if (born && pt(XPT_SETOPTIONS, t->pid, 0, (void *)(opt | XPT_O_SUSPEND_SECCOMP)) < 0) {
		t->seccomp_unsuspended = true;
		if (pt(XPT_SETOPTIONS, t->pid, 0, (void *)opt) < 0)
			return err_sys(e, "new process %d: cannot set trace options", (int)t->pid);
	}
	return tracee_open_mem(t, e);
}

int tracee_adopt(struct tracee **out, pid_t pid, struct err *e)
{
	struct tracee *t = tracee_new(pid);

	*out = NULL;
	if (!t)
		return err_set(e, EX_FAILED, "out of memory");
	if (adopt(t, e) < 0) {
		tracee_free(t);
		return -1;
	}
	*out = t;
	return 0;
}

int tracee_adopt_thread(struct tracee *t, pid_t tid, struct err *e)
{
	if (!tracee_add(t, tid))
		return err_set(e, EX_FAILED, "out of memory");
	return first_stop(t, t->nthr - 1, false, e);
}

/* From any ptrace stop to an event stop. Nothing of the program runs, unless `resume_how` lets it. */
static int to_event_stop(struct tthread *th, struct err *e)
{
	int st;

	if (pt_interrupt_and_resume(XPT_CONT, th->tid, 0) < 0)
		return err_sys(e, "thread %d: cannot interrupt it", (int)th->tid);
	for (;;) {
		if (pt_wait(th->tid, &st, 0) < 0 || st_dead(st)) {
			th->state = THREAD_GONE;
			return err_set(e, EX_FAILED, "thread %d died", (int)th->tid);
		}
		if (st_is_stop_event(st)) {
			th->state = THREAD_STOPPED;
			return 0;
		}
		if (pt_interrupt_and_resume(XPT_CONT, th->tid, 0) < 0)
			return err_sys(e, "thread %d: cannot resume it", (int)th->tid);
	}
}

int tracee_event_stop(struct tracee *t, size_t i, struct err *e) { return to_event_stop(&t->thr[i], e); }

/* One call by the registers of `regs`, from its entry to an event stop, which interrupts it when it waits. regs: what came of it. */
static int call_through(struct tthread *th, struct user_regs_struct *regs, struct err *e)
{
	int st;

	if (pt(XPT_SETREGS, th->tid, 0, regs) < 0 || pt_resume(XPT_SYSCALL, th->tid, 0) < 0)
		return err_sys(e, "thread %d: cannot resume it", (int)th->tid);
	for (;;) {
		if (pt_wait(th->tid, &st, 0) < 0 || st_dead(st)) {
			th->state = THREAD_GONE;
			return err_set(e, EX_FAILED, "thread %d died", (int)th->tid);
		}
		if (st_is_syscall(st))
			break;
		if (st_is_signal(st) && WSTOPSIG(st) != SIGURG)
			return err_set(e, EX_FAILED, "thread %d: the last call was hit by signal %d", (int)th->tid, WSTOPSIG(st));
		if (pt_resume(XPT_SYSCALL, th->tid, 0) < 0)
			return err_sys(e, "thread %d: cannot resume it", (int)th->tid);
	}
	if (to_event_stop(th, e) < 0)
		return -1;
	if (pt(XPT_GETREGS, th->tid, 0, regs) < 0)
		return err_sys(e, "thread %d: cannot read its registers", (int)th->tid);
	return 0;
}

int tracee_munmap_by(struct tracee *t, size_t i, uint64_t insn, uint64_t addr, uint64_t len, struct err *e)
{
	struct tthread *th = &t->thr[i];
	struct user_regs_struct regs = th->regs;

	arch_to_call(&regs, insn, SYS_munmap, addr, len);
	if (call_through(th, &regs, e) < 0)
		return -1;
	if (arch_result(&regs) != 0) {
		errno = (int)-arch_result(&regs);
		return err_sys(e, "thread %d: cannot unmap the boot area", (int)th->tid);
	}
	return 0;
}

bool tracee_rest(struct tracee *t, size_t i, uint64_t insn, struct user_regs_struct *regs)
{
	struct user_regs_struct r = *regs;
	uint64_t at = arch_to_rest(&r, insn);
	struct timespec ts;

	if (!at || tracee_read(t, at, &ts, sizeof ts, NULL) < 0 || ts.tv_sec < 0 || ts.tv_nsec < 0 || ts.tv_nsec >= 1000000000 ||
	    call_through(&t->thr[i], &r, NULL) < 0)
		return false;
	if (arch_result(&r) == 0) { /* nothing remained */
		regs->rax = 0;
		regs->orig_rax = (unsigned long long)-1;
		return true;
	}
	return r.rax == regs->rax; /* the kernel knows what remains */
}

uint64_t tracee_find_syscall(struct tracee *t, uint64_t start, uint64_t end)
{
	char b[4096 + 1];

	for (uint64_t at = start; at + 2 <= end; at += sizeof(b) - 1) {
		size_t n = end - at < sizeof(b) ? (size_t)(end - at) : sizeof(b);
		const char *p;

		if (tracee_read(t, at, b, n, NULL) < 0)
			return 0;
		p = memmem(b, n, "\x0f\x05", 2);
		if (p)
			return at + (uint64_t)(p - b);
	}
	return 0;
}

int tracee_disarm(struct tracee *t, struct err *e)
{
	for (size_t i = 0; i < t->nthr; i++)
		if (t->thr[i].state != THREAD_GONE && pt(XPT_SETOPTIONS, t->thr[i].tid, 0, NULL) < 0)
			return err_sys(e, "thread %d: cannot change its trace options", (int)t->thr[i].tid);
	return 0;
}

int tracee_release(struct tracee *t, struct err *e)
{
	struct err now = ERR_INIT;
	int n = 0;

	for (size_t i = 0; i < t->nthr; i++)
		if (thread_let_go(t, &t->thr[i], n == 0 ? e : &now) < 0)
			n = -1;
	tracee_free(t);
	return n;
}
