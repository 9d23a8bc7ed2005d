/* Internals that the files of lib/job share. */
#ifndef XOS_JOB_INTERNAL_H
#define XOS_JOB_INTERNAL_H

#include "job/job.h"

/* Replaces *field by a copy of s (NULL: none). 0 or -1 (EX_FAILED, no memory). */
int job_set_str(char **field, const char *s, struct err *e);
/* Reads STATE/jobs/ID/job over j's fields; EX_NOSUCH when there is none. */
int job_record_load(struct job *j, struct err *e);
/* renameat2(2) within one directory, which musl has no wrapper for. */
int job_rename(int dir, const char *from, const char *to, unsigned flags);
void job_record_clear(struct job *j);     /* fields of the record back to those of a new job */
int64_t job_now(void);                     /* seconds since the epoch */
/* CLOCK_MONOTONIC */
int64_t job_now_ms(void);
/* pid lives (is no zombie) and is the one started at `start`. */
bool job_alive(pid_t pid, uint64_t start);

#endif
