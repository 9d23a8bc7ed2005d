/* xcgfreeze: stops every process of jobs, or lets them go on. */
#include "common/log.h"
#include "common/opt.h"
#include "common/state.h"
#include "job/job.h"
#include <limits.h>

enum { OPT_STATE_DIR = 256, OPT_NOWAIT };

static const struct opt_def defs[] = {
	{ 'u', "unfreeze", NULL, "let the processes go on" },
	{ OPT_NOWAIT, "nowait", NULL, "fail with status 4 when another command works on the job" },
	{ OPT_STATE_DIR, "state-dir", "DIR", "state directory" },
	{ 0, NULL, NULL, NULL },
};
static const struct opt_tool tool = {
	.name = "xcgfreeze",
	.usage = "[-u] JOBID...",
	.summary = "Stops every process of each job, or lets them go on.",
	.defs = defs,
	.footer = "Exit status: 0 done, 1 failed or not running, 2 usage, 3 no such job, 4 locked, 8 not permitted.",
	.usage_status = EX_USAGE_,
};

struct options { const char *state_dir; bool thaw, nowait; };

static int handle(int ch, const char *arg, void *data, struct err *e)
{
	struct options *o = data;
	switch (ch) {
	case 'u': o->thaw = true; return 0;
	case OPT_NOWAIT: o->nowait = true; return 0;
	case OPT_STATE_DIR: o->state_dir = arg; return 0;
	}
	return 0;
}

static int freeze_one(const struct options *o, const char *state, const char *id, struct err *e)
{
	struct job *j;
	if (job_open(&j, state, id, e) < 0)
		return -1;
	/* a checkpoint freezes and thaws the job itself, so it must not be going on */
	int r = job_lock(j, !o->nowait, e);
	if (r == 0 && j->state != JOB_RUNNING)
		r = err_set(e, EX_FAILED, "job %s is not running", id);
	if (r == 0)
		r = job_freeze(j, !o->thaw, e);
	job_free(j);
	return r;
}

int main(int argc, char **argv)
{
	struct options o = { .thaw = false };
	char state[PATH_MAX];
	struct err e = ERR_INIT;
	int status = 0;
	log_init(tool.name);
	int first = opt_parse(&tool, argc, argv, handle, &o, &status);
	if (first < 0)
		return status;
	if (first >= argc)
		return opt_usage(&tool, "no job id");
	if (state_default_dir(o.state_dir, state, sizeof state, &e) < 0)
		return log_err(&e);
	for (int i = first; i < argc; i++) {
		err_clear(&e);
		if (freeze_one(&o, state, argv[i], &e) < 0) {
			int code = log_err(&e);
			status = status ? status : code;
		}
	}
	return status;
}
