#include "tracee/internal.h"
#include <stdlib.h>

enum { STOP_WAIT_MS = 300, KILL_WAIT_MS = 10000 };

/* Only a stopped thread can be let go. Waits a little for one that still runs. */
static void stop_thread(struct tthread *th)
{
	int64_t deadline = mono_ms() + STOP_WAIT_MS;

	pt(XPT_INTERRUPT, th->tid, 0, NULL);
	for (unsigned round = 0; mono_ms() <= deadline; round++) {
		int st, w = pt_wait(th->tid, &st, WNOHANG);

		if (w < 0 || (w > 0 && st_dead(st))) {
			th->state = THREAD_GONE;
			return;
		}
		if (w > 0 && st_is_stop_event(st)) {
			th->state = THREAD_STOPPED;
			return;
		}
		if (w > 0)
			pt_interrupt_and_resume(XPT_CONT, th->tid, st_is_signal(st) ? WSTOPSIG(st) : 0);
		else
			wait_a_little(round);
	}
}

static void keep_first(struct err *first, struct err *now)
{
	if (first && !err_is_set(first) && err_is_set(now))
		*first = *now;
}

/* A caller that failed in the middle of a remote batch: out of the stub first. */
static int leave_remote(struct tracee *t, size_t i, struct err *e)
{
	struct remote *r = t->active;
	int n;

	if (t->created_here || !r || r->i != i)
		return 0;
	n = session_leave(r, e);
	remote_drop(r);
	return n;
}

int thread_let_go(struct tracee *t, struct tthread *th, struct err *e)
{
	int64_t deadline;
	int st;

	if (th->state == THREAD_GONE || pt_resume(XPT_DETACH, th->tid, 0) == 0)
		return 0;
	if (errno != ESRCH)
		return err_sys(e, "thread %d: cannot detach", (int)th->tid);
	/* It dies: somebody killed the process, or its threads that already run have ended it. While the remains
	 * of a thread are ours the process's parent does not learn of the end. A leader's status may be of
	 * interest to others in this process, and is theirs to wait for. */
	deadline = mono_ms() + STOP_WAIT_MS;
	for (unsigned round = 0; th->tid != t->pid && mono_ms() <= deadline && pt_wait(th->tid, &st, WNOHANG) == 0; round++)
		wait_a_little(round);
	th->state = THREAD_GONE;
	return 0;
}

static void detach_thread(struct tracee *t, struct tthread *th, struct err *e)
{
	if (th->state == THREAD_RUNNING)
		stop_thread(th);
	if (th->state == THREAD_RUNNING) {
		err_set(e, EX_FAILED, "thread %d does not stop: it is let go when this process ends", (int)th->tid);
		return;
	}
	thread_let_go(t, th, e);
}

int tracee_detach(struct tracee *t, struct err *e)
{
	struct err first = ERR_INIT, now = ERR_INIT;
	bool inside = false;

	if (!t)
		return 0;
	for (size_t i = 0; i < t->nthr; i++)
		if (t->thr[i].state == THREAD_REMOTE && leave_remote(t, i, &now) < 0)
			inside |= t->thr[i].state != THREAD_GONE;
	keep_first(&first, &now);
	if (!inside && tracee_alive(t) && stub_wipe(t, &now) < 0 && now.sys == ESRCH)
		err_clear(&now); /* it died: nothing to put back */
	keep_first(&first, &now);
	for (size_t i = 0; i < t->nthr; i++) {
		err_clear(&now);
		detach_thread(t, &t->thr[i], &now);
		keep_first(&first, &now);
	}
	tracee_free(t);
	if (!err_is_set(&first))
		return 0;
	if (e)
		*e = first;
	return -1;
}

int tracee_detach_stopped(struct tracee *t, struct err *e)
{
	if (t && syscall(SYS_pidfd_send_signal, (long)t->pidfd, (long)SIGSTOP, 0L, 0L) < 0 && errno != ESRCH) {
		int n = err_sys(e, "cannot stop it");

		tracee_detach(t, NULL);
		return n;
	}
	return tracee_detach(t, e);
}

/* Reaps what the dead process left to us, threads we never got to know included. The leader is
 * reported only after all others. */
static void reap(struct tracee *t)
{
	int64_t deadline = mono_ms() + KILL_WAIT_MS;

	for (unsigned round = 0; mono_ms() <= deadline; round++) {
		struct pid_list l = { 0 };
		int st, w = pt_wait(t->pid, &st, WNOHANG);
		bool ours = false;

		if (w > 0 && st_dead(st))
			return;
		if (proc_tasks(&l, t->pid, NULL) == 0)
			for (size_t i = 0; i < l.n; i++)
				if (l.v[i] != t->pid)
					ours |= pt_wait(l.v[i], &st, WNOHANG) >= 0;
		pid_list_free(&l);
		if (w < 0 && !ours) /* a leader that had exited before may not be ours while its threads are */
			return;
		wait_a_little(round);
	}
}

void tracee_kill(struct tracee *t)
{
	if (!t)
		return;
	if (t->pidfd < 0 || syscall(SYS_pidfd_send_signal, (long)t->pidfd, (long)SIGKILL, 0L, 0L) < 0)
		kill(t->pid, SIGKILL);
	reap(t);
	tracee_free(t);
}
