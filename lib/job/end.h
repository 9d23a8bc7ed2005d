/* end: ending a job from outside. */
#ifndef XOS_JOB_END_H
#define XOS_JOB_END_H

#include "common/err.h"
#include "job/job.h"
#include <stdint.h>

/* Sends sig to every process of the job and lets a frozen one go on to see it. grace_ms >= 0: SIGKILL to what is left
 * after that time. With SIGKILL, at once or in the end, it returns when no process is left and the record says done:
 * by the supervisor, or when that is gone, by this call. A job that was checkpointed and stopped is given up: done, its
 * scratch directory removed. A job that is done already is no error. Takes no lock for the signals, so that a
 * checkpoint in progress does not delay them. EX_PERM for another user's processes. */
int job_end(struct job *j, int sig, int64_t grace_ms, struct err *e);

#endif
