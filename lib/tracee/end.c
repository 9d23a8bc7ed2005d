/* end: lets a process of a restart end with a given status: zombies, helpers that have done their work, and first threads
 * that had exited before the others. */
#include "tracee/internal.h"

enum { EXIT_WAIT_MS = 5000 };

static int await_death(pid_t pid, struct err *e)
{
	int st;

	for (;;) {
		if (pt_wait(pid, &st, 0) < 0)
			return err_sys(e, "cannot wait for its end");
		if (st_dead(st))
			return 0;
		/* Event and signal stops on the way; a fatal signal passes through once more. */
		if (pt_resume(XPT_CONT, pid, st_is_signal(st) ? WSTOPSIG(st) : 0) < 0 && errno != ESRCH)
			return err_sys(e, "cannot resume it");
	}
}

int tracee_end(struct tracee *t, struct remote *r, int status, struct err *e)
{
	struct tthread *th = &t->thr[r->i];
	int sig = WTERMSIG(status), n;
	uint64_t none = 0;

	if (sig == 0) {
		remote_call(r, "exit_group", REMOTE_ANY, SYS_exit_group, (uint64_t)WEXITSTATUS(status), 0, 0, 0, 0, 0);
		if (remote_start(r, e) < 0)
			return -1;
	} else if (pt(XPT_SETSIGMASK, th->tid, 8, &none) < 0 ||
		   (sig == SIGKILL ? kill(t->pid, SIGKILL) : (int)pt_resume(XPT_CONT, th->tid, sig)) < 0) {
		return err_sys(e, "cannot end it by signal %d", sig);
	}
	n = await_death(t->pid, e);
	th->state = THREAD_GONE;
	remote_drop(r);
	tracee_free(t);
	return n;
}

int tracee_exit_thread(struct tracee *t, size_t i, uint64_t insn, int status, struct err *e)
{
	int64_t deadline = mono_ms() + EXIT_WAIT_MS;
	struct tthread *th = &t->thr[i];
	struct user_regs_struct regs = th->regs;
	uint64_t all = ~0ull;
	struct proc_stat s;

	arch_to_call(&regs, insn, SYS_exit, (uint64_t)WEXITSTATUS(status), 0);
	if (pt(XPT_SETSIGMASK, th->tid, 8, &all) < 0 || pt(XPT_SETREGS, th->tid, 0, &regs) < 0 || pt_resume(XPT_DETACH, th->tid, 0) < 0)
		return err_sys(e, "thread %d: cannot let it end", (int)th->tid);
	th->state = THREAD_GONE;
	for (unsigned round = 0; mono_ms() <= deadline; round++) {
		if (proc_stat_read(&s, t->pid, th->tid, NULL) < 0 || s.state == 'Z' || s.state == 'X')
			return 0;
		wait_a_little(round);
	}
	return err_set(e, EX_FAILED, "thread %d does not end", (int)th->tid);
}

int tracee_end_thread(struct tracee *t, struct remote *r, struct err *e)
{
	struct tthread *th = &t->thr[r->i];
	int rc;

	remote_call(r, "exit", REMOTE_ANY, SYS_exit, 0, 0, 0, 0, 0, 0);
	rc = remote_start(r, e) < 0 ? -1 : await_death(th->tid, e);
	remote_drop(r);
	t->nthr--;
	return rc;
}
