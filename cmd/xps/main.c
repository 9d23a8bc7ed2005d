/* xps: lists jobs and checkpoints. */
#include "common/log.h"
#include "common/opt.h"
#include "common/state.h"
#include "job/job.h"
#include "xps.h"
#include <limits.h>

enum { OPT_STATE_DIR = 256 };

static const struct opt_def defs[] = {
	{ 'a', "all", NULL, "also jobs that are done; for root also those of other users" },
	{ 'j', "job", "JOBID", "only this job" },
	{ 'c', "checkpoints", NULL, "list checkpoints, of JOBID or of all jobs" },
	{ 'n', "noheadings", NULL, "no header line" },
	{ 'o', "output", "COLS", "columns, comma-separated; +COLS adds to the default" },
	{ 'P', "pairs", NULL, "KEY=\"value\" lines" },
	{ 'J', "json", NULL, "JSON" },
	{ OPT_STATE_DIR, "state-dir", "DIR", "state directory" },
	{ 0, NULL, NULL, NULL },
};
static const struct opt_tool tool = {
	.name = "xps",
	.usage = "[-a] [-j JOBID] [-n] [-o COLS] [-P | -J]\n-c [JOBID] [-n] [-o COLS] [-P | -J]",
	.summary = "Lists jobs, or with -c checkpoints.",
	.defs = defs,
	.footer = "Columns of jobs: ID STATE CHECKPOINTER PROCS CPU MEM VERSION AGE, and by -o USER KIND PID STARTED\n"
		  "ENDED EXIT LIMITS COMMAND. Of checkpoints: JOB VERSION KIND TIME SIZE PAUSE DESCRIPTION.\n"
		  "With -P and -J, CPU, AGE and PAUSE are seconds, MEM and SIZE bytes, times seconds since the epoch.\n"
		  "Exit status: 0 done, 1 failed, 2 usage, 3 no such job, 6 an image that cannot be read.",
	.usage_status = EX_USAGE_,
};

struct options { struct xps_opts o; const char *state_dir; bool checkpoints, pairs, json; };

static int handle(int ch, const char *arg, void *data, struct err *e)
{
	struct options *o = data;
	switch (ch) {
	case 'a': o->o.all = true; return 0;
	case 'j': o->o.id = arg; return 0;
	case 'c': o->checkpoints = true; return 0;
	case 'n': o->o.noheadings = true; return 0;
	case 'o': o->o.columns = arg; return 0;
	case 'P': o->pairs = true; return 0;
	case 'J': o->json = true; return 0;
	case OPT_STATE_DIR: o->state_dir = arg; return 0;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct options o = { .state_dir = NULL };
	char state[PATH_MAX];
	struct err e = ERR_INIT;
	int status = 0;
	log_init(tool.name);
	int first = opt_parse(&tool, argc, argv, handle, &o, &status);
	if (first < 0)
		return status;
	if (o.checkpoints && first < argc && !o.o.id)
		o.o.id = argv[first++];
	if (first < argc)
		return opt_usage(&tool, "unexpected operand %s", argv[first]);
	if (o.pairs && o.json)
		return opt_usage(&tool, "-P and -J exclude each other");
	if (o.o.id && !job_id_valid(o.o.id))
		return opt_usage(&tool, "not a job id: %s", o.o.id);
	if (state_default_dir(o.state_dir, state, sizeof state, &e) < 0)
		return log_err(&e);
	o.o.state_dir = state;
	o.o.mode = o.pairs ? TABLE_PAIRS : o.json ? TABLE_JSON : TABLE_COLUMNS;
	if ((o.checkpoints ? xps_checkpoints(&o.o, &e) : xps_jobs(&o.o, &e)) < 0)
		return log_err(&e);
	return 0;
}
