/* xcgkill: ends every process of jobs. */
#include "common/log.h"
#include "common/num.h"
#include "common/opt.h"
#include "common/state.h"
#include "job/end.h"
#include <limits.h>
#include <signal.h>

enum { OPT_STATE_DIR = 256 };

static const struct opt_def defs[] = {
	{ 's', "signal", "SIGNAL", "send this signal; default: KILL, with -t TERM" },
	{ 't', "grace", "GRACE", "send KILL to what is left after this time" },
	{ OPT_STATE_DIR, "state-dir", "DIR", "state directory" },
	{ 0, NULL, NULL, NULL },
};
static const struct opt_tool tool = {
	.name = "xcgkill",
	.usage = "[-s SIGNAL] [-t GRACE] JOBID...",
	.summary = "Ends every process of each job; none escapes.",
	.defs = defs,
	.footer = "Exit status: 0 done, 1 failed, 2 usage, 3 no such job, 8 not permitted.",
	.usage_status = EX_USAGE_,
};

struct options { const char *state_dir; int sig; uint64_t grace; bool has_grace; };

static int handle(int ch, const char *arg, void *data, struct err *e)
{
	struct options *o = data;
	switch (ch) {
	case 's':
		if (num_signal(arg, &o->sig) < 0)
			return err_set(e, EX_USAGE_, "no such signal: %s", arg);
		return 0;
	case 't':
		if (num_duration(arg, &o->grace) < 0 || o->grace > INT32_MAX)
			return err_set(e, EX_USAGE_, "not a duration: %s", arg);
		o->has_grace = true;
		return 0;
	case OPT_STATE_DIR: o->state_dir = arg; return 0;
	}
	return 0;
}

static int kill_one(const struct options *o, const char *state, const char *id, struct err *e)
{
	struct job *j;
	if (job_open(&j, state, id, e) < 0)
		return -1;
	if (j->state == JOB_DONE)
		log_verbose("job %s is done already", id);
	int r = job_end(j, o->sig, o->has_grace ? (int64_t)o->grace : -1, e);
	job_free(j);
	return r;
}

int main(int argc, char **argv)
{
	struct options o = { .sig = 0 };
	char state[PATH_MAX];
	struct err e = ERR_INIT;
	int status = 0;
	log_init(tool.name);
	int first = opt_parse(&tool, argc, argv, handle, &o, &status);
	if (first < 0)
		return status;
	if (first >= argc)
		return opt_usage(&tool, "no job id");
	if (!o.sig)
		o.sig = o.has_grace ? SIGTERM : SIGKILL;
	if (state_default_dir(o.state_dir, state, sizeof state, &e) < 0)
		return log_err(&e);
	for (int i = first; i < argc; i++) {
		err_clear(&e);
		if (kill_one(&o, state, argv[i], &e) < 0) {
			int code = log_err(&e);
			status = status ? status : code;
		}
	}
	return status;
}
