/* supervise: what stays with a job while it runs. xcgexec and xrestart use the same loop.
 *
 * The order in a supervisor: supervise_begin() before the first process of the job is made, so that no signal
 * and no SIGCHLD is lost; job_start() (start.h) or a restart makes the members; supervise() until the end. */
#ifndef XOS_JOB_SUPERVISE_H
#define XOS_JOB_SUPERVISE_H

#include "common/err.h"
#include "job/job.h"
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

struct supervise_signals { sigset_t old_mask; struct sigaction old_chld; };
/* Makes the caller a child subreaper (prctl(2)), so that orphaned members become its children, and blocks the
 * signals that supervise() waits for. */
int supervise_begin(struct supervise_signals *s, struct err *e);
/* In a child, before it executes a program: mask and SIGCHLD as they were. Async-signal-safe. */
void supervise_child(const struct supervise_signals *s);

struct supervise_opts {
	bool wait_all;          /* -w: the job ends with its last member, not with its main process */
	bool job_control;       /* stop together with the main process on SIGTSTP, SIGTTIN, SIGTTOU, as a shell expects */
	int stops;              /* -1, or where j->main tells of stops of the process that it stands for, a signal's number each, and SIGCHLD
	                         * comes with it; not blocking */
	uint64_t time_ms;       /* limit of the run time, 0: none: SIGTERM to all, then SIGKILL */
	uint64_t grace_ms;      /* between the two; 0: 5 s */
	bool *timed_out;        /* set when the limit ended it; may be NULL */
};
/* Waits for j->main, a child of the caller, and the other members (orphans are reparented to the caller), and forwards
 * SIGTERM, INT, HUP, QUIT, USR1, USR2, TSTP and CONT. What the terminal sent is not forwarded to a main process of the
 * same process group, which got it from the terminal too. After the main process: the signals
 * go to all that are left.
 *
 * When the main process ended: takes the job's lock (an xcheckpoint may hold it) and reads the record again.
 * STATE stopped, written by xcheckpoint -k before it killed: leftovers are killed, groups removed, *status is
 * EX_CKPT_STOPPED. Otherwise leftovers are killed or with wait_all waited for, status and usage are
 * recorded, groups and scratch directory removed, and *status is the main process's: its exit code or 128+N.
 * -1: the record could not be written or a group not removed; *status is right all the same. */
int supervise(struct job *j, const struct supervise_opts *o, int *status, struct err *e);

#endif
