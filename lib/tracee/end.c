/* end: lets a process of a restart end with a given status: zombies, and helpers that have done their work. */
#include "tracee/internal.h"

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
