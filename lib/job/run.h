/* run: a whole job from its command line to its end; xcgexec is a front to it. */
#ifndef XOS_JOB_RUN_H
#define XOS_JOB_RUN_H

#include "common/err.h"
#include "job/conf.h"
#include "job/job.h"
#include "job/limits.h"
#include "job/start.h"

struct job_run_opts {
	const char *state_dir, *id;            /* id NULL: the next free number */
	const char *subsystems;                /* NULL: the configuration's */
	const struct job_limits *limits;
	const struct job_conf *conf;
	const struct job_identity *identity;   /* NULL: as the caller */
	bool detach, wait_all;
	const char *out, *err;                 /* files for stdout and stderr; NULL: inherited, or the job's own with detach */
	char *const *argv, *const *envp;
	const char *path;
};
struct job_run_result {
	char id[JOBID_MAX + 1];
	enum job_kind kind;
	int exit_code, exit_signal;
	bool stopped, timed_out;
	struct cgroup_usage usage;
	bool started;     /* detached, in the caller: the job runs, its id is `id` */
	bool detached;    /* in the supervisor that a detached job has: an error goes to the job's stderr file */
	bool reported;    /* in that supervisor: the error was told to the caller, who prints it */
};
/* Runs the job. *status: what the tool exits with (see supervise()); with -1 and no status of a command yet it is
 * the error's: EX_BUSY, EX_USAGE_, EX_NOEXEC_ and EX_NOTFOUND as they are, EX_TOOL for all others. A job that could not be
 * started leaves nothing, or where the id was given, a record that says so. detach: returns twice, as fork does. */
int job_run(const struct job_run_opts *o, struct job_run_result *r, int *status, struct err *e);

#endif
