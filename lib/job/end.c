#include "job/end.h"
#include "common/cleanup.h"
#include "job/internal.h"
#include <signal.h>

enum { RECORD_WAIT_MS = 10000, MAX_STEP_MS = 50 };

static bool any_member(struct job *j)
{
	struct pid_list l = { 0 };
	bool some = job_pids(j, &l, NULL) == 0 && l.n;
	pid_list_free(&l);
	return some;
}

/* True when nothing is left within ms. */
static bool wait_gone(struct job *j, int64_t ms)
{
	int64_t end = job_now_ms() + ms;
	for (unsigned step = 1; any_member(j); step = step < MAX_STEP_MS ? step * 2 : MAX_STEP_MS) {
		int64_t left = end - job_now_ms();
		if (left <= 0)
			return false;
		usleep((unsigned)(left < step ? left : step) * 1000);
	}
	return true;
}

/* Under the lock, with nobody else to do it. */
static int finish_here(struct job *j, struct err *e)
{
	if (j->state == JOB_DONE)
		return 0;
	if (j->state == JOB_RUNNING && any_member(j))
		return err_set(e, EX_FAILED, "job %s: its processes do not end", j->id);
	return job_finish(j, JOB_DONE, e);
}

/* The supervisor records the end, if it lives. */
static int wait_record(struct job *j, struct err *e)
{
	int64_t end = job_now_ms() + RECORD_WAIT_MS;
	for (;;) {
		bool supervised = job_supervised(j);
		struct err le = ERR_INIT;
		int r = job_lock(j, false, &le);
		if (r < 0 && le.code != EX_BUSY) {
			if (e)
				*e = le;
			return -1;
		}
		if (r == 0) {
			if (!supervised || j->state != JOB_RUNNING)
				r = finish_here(j, e);
			bool done = j->state == JOB_DONE;
			job_unlock(j);
			if (r < 0 || done)
				return r;
		}
		if (job_now_ms() >= end)
			return err_set(e, EX_FAILED, "job %s: its supervisor %ld does not record the end", j->id,
				       (long)j->supervisor);
		usleep(2000);
	}
}

int job_end(struct job *j, int sig, int64_t grace_ms, struct err *e)
{
	if (j->state == JOB_DONE)
		return 0;
	if (j->state == JOB_STOPPED)
		return wait_record(j, e);
	bool frozen = sig != SIGKILL && sig != SIGSTOP && job_frozen(j); /* asked before: a signal makes v2 flicker */
	if (job_kill(j, sig, e) < 0 || (frozen && job_freeze(j, false, e) < 0))
		return -1;
	if (sig != SIGKILL) {
		if (grace_ms < 0)
			return 0;
		if (!wait_gone(j, grace_ms) && job_kill(j, SIGKILL, e) < 0)
			return -1;
	}
	return wait_record(j, e);
}
