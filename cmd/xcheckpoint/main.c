/* xcheckpoint: writes the next version of jobs. Everything is done by lib/cr/save. */
#include "common/cleanup.h"
#include "common/log.h"
#include "common/num.h"
#include "common/opt.h"
#include "common/state.h"
#include "cr/save.h"
#include "job/job.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <time.h>

enum { OPT_STATE_DIR = 256, OPT_NOWAIT, OPT_TCP_CLOSE, OPT_UNIX_CONNECT, OPT_UNIX_CLOSE };

static const struct opt_def defs[] = {
	{ 'k', "kill", "[SIGNAL]", "end the job when its version is on the disk; default: KILL" },
	{ 's', "stop", NULL, "leave the job stopped" },
	{ 'f', "full", NULL, "a full version (the only kind at present)" },
	{ 'b', "no-callbacks", NULL, "do not run the job's callbacks" },
	{ 'n', "check", NULL, "only say what would be saved and what prevents it" },
	{ 'd', "description", "TEXT", "kept with the version" },
	{ 'K', "keep", "KEEP", "afterwards remove all but the newest KEEP versions" },
	{ 'o', "output", "FILE", "write the image there, - for stdout, instead of a version" },
	{ 'a', "all", NULL, "all running jobs of the caller" },
	{ 'p', "pid", "PID", "this process and all below it, which no job holds" },
	{ OPT_TCP_CLOSE, "tcp-close", NULL, "save TCP connections to outside as ones that were reset" },
	{ OPT_UNIX_CONNECT, "unix-connect", NULL, "have unix connections to outside made anew, where they have a name" },
	{ OPT_UNIX_CLOSE, "unix-close", NULL, "save (other) unix connections to outside as closed ones" },
	{ OPT_NOWAIT, "nowait", NULL, "fail with 4 when another command holds the job" },
	{ OPT_STATE_DIR, "state-dir", "DIR", "state directory" },
	{ 0, NULL, NULL, NULL },
};
static const struct opt_tool tool = {
	.name = "xcheckpoint",
	.usage = "[-k [SIGNAL] | -s] [-f] [-b] [-n] [-d TEXT] [-K KEEP] [-o FILE|-] [-a | -p PID | JOBID...]",
	.summary = "Saves running jobs, each as the next version of its checkpoints.",
	.defs = defs,
	.footer = "Exit status: 0 done, 1 failed, 2 usage, 3 no such job, 4 busy, 5 cannot be checkpointed,\n"
		  "8 not permitted, 9 no space. The job goes on unharmed whatever fails.",
	.usage_status = EX_USAGE_,
};

struct options { const char *state_dir, *output; struct save_opts save; bool all, kill, stop; };

static int handle(int ch, const char *arg, void *data, struct err *e)
{
	struct options *o = data;
	uint64_t n;

	switch (ch) {
	case 'k':
		o->save.after = CKPT_KILL;
		o->kill = true;
		if (arg && num_signal(arg, &o->save.kill_signal))
			return err_set(e, EX_USAGE_, "no such signal: %s", arg);
		return 0;
	case 's':
		o->save.after = CKPT_STOP;
		o->stop = true;
		return 0;
	case 'n': o->save.check_only = true; return 0;
	case 'd': o->save.description = arg; return 0;
	case 'K':
		if (num_u64(arg, 1 << 20, &n) || !n)
			return err_set(e, EX_USAGE_, "not a number of versions: %s", arg);
		o->save.keep = (size_t)n;
		return 0;
	case 'o': o->output = arg; return 0;
	case 'a': o->all = true; return 0;
	case 'p':
		if (num_u64(arg, INT_MAX, &n) || n < 2)
			return err_set(e, EX_USAGE_, "not a PID: %s", arg);
		o->save.pid = (pid_t)n;
		return 0;
	case OPT_TCP_CLOSE: o->save.tcp_close = true; return 0;
	case OPT_UNIX_CONNECT: o->save.unix_connect = true; return 0;
	case OPT_UNIX_CLOSE: o->save.unix_close = true; return 0;
	case OPT_NOWAIT: o->save.nowait = true; return 0;
	case OPT_STATE_DIR: o->state_dir = arg; return 0;
	}
	return 0;
}

static void say(const struct options *o, const struct save_result *r)
{
	char when[64];
	time_t t = (time_t)r->ckpt.date;
	struct tm tm;

	if (o->save.check_only) {
		printf("%s", buf_str(&r->ckpt.report));
		return;
	}
	log_verbose("%zu processes, %zu threads, %llu bytes; the job stood %llu.%03llu ms", r->ckpt.nprocs, r->ckpt.nthreads,
		    (unsigned long long)r->ckpt.bytes, (unsigned long long)r->ckpt.pause_us / 1000,
		    (unsigned long long)r->ckpt.pause_us % 1000);
	if (log_level() == LOG_QUIET || o->save.out == 1)
		return;
	localtime_r(&t, &tm);
	strftime(when, sizeof when, "%a %b %e %H:%M:%S %Y", &tm);
	printf("Identifier: %s\nVersion: %llu\nDescription: ", r->identifier, (unsigned long long)r->version);
	/* One line, whatever it holds; the image has it as it was given. */
	for (const char *s = o->save.description; s && *s; s++)
		putchar((unsigned char)*s < ' ' || *s == 0x7f ? ' ' : *s);
	printf("\nDate: %s\n", when);
}

static int one(struct options *o, const char *id)
{
	struct save_result r;
	struct err e = ERR_INIT;
	struct progress progress;
	int code = 0;

	o->save.id = id;
	o->save.progress = &progress;
	if (save_job(&o->save, &r, &e)) {
		const char *l = buf_str(&r.ckpt.refusals);
		code = log_err(&e);
		for (const char *nl; (nl = strchr(l, '\n')); l = nl + 1)
			log_error("%.*s", (int)(nl - l), l);
	}
	if (!code || (code == EX_CANNOT_CKPT && o->save.check_only))
		say(o, &r);
	ckpt_result_free(&r.ckpt);
	return code;
}

/* -a: the cron form. A job that ends meanwhile or is busy does not stop the others. */
static int all(struct options *o)
{
	struct err e = ERR_INIT;
	char **ids;
	size_t n;
	int status = 0;

	if (job_list(&ids, &n, o->save.state_dir, &e))
		return log_err(&e);
	for (size_t i = 0; i < n; i++) {
		struct job *j;

		err_clear(&e);
		if (job_open(&j, o->save.state_dir, ids[i], &e)) {
			if (e.code != EX_NOSUCH)
				status = log_err(&e);
			continue;
		}
		bool mine = j->state == JOB_RUNNING && (geteuid() == 0 || j->uid == geteuid());
		job_free(j);
		if (!mine)
			continue;
		int code = one(o, ids[i]);
		if (code && !status)
			status = code;
	}
	job_list_free(ids, n);
	return status;
}

static int open_output(struct options *o, struct err *e)
{
	o->save.out = -1;
	if (!o->output)
		return 0;
	if (!strcmp(o->output, "-")) {
		if (isatty(1))
			return err_set(e, EX_USAGE_, "stdout is a terminal");
		o->save.out = 1;
		return 0;
	}
	o->save.out = open(o->output, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0600);
	return o->save.out < 0 ? err_sys(e, "%s", o->output) : 0;
}

int main(int argc, char **argv)
{
	struct options o = { 0 };
	char state[PATH_MAX];
	struct err e = ERR_INIT;
	int status = 0;

	log_init(tool.name);
	int first = opt_parse(&tool, argc, argv, handle, &o, &status);
	if (first < 0)
		return status;
	if (o.all + (o.save.pid != 0) + (first < argc) != 1)
		return opt_usage(&tool, first < argc ? "-a, -p PID and JOBID exclude each other" : "no job id");
	if (o.kill && o.stop)
		return opt_usage(&tool, "-k and -s exclude each other");
	if (o.output && (o.all || first + 1 < argc))
		return opt_usage(&tool, "-o takes one job");
	if (state_default_dir(o.state_dir, state, sizeof state, &e) || open_output(&o, &e))
		return log_err(&e);
	signal(SIGPIPE, SIG_IGN);
	o.save.state_dir = state;
	if (o.all)
		return all(&o);
	if (o.save.pid)
		return one(&o, NULL);
	for (int i = first; i < argc; i++) {
		int code = one(&o, argv[i]);
		if (code && !status)
			status = code;
	}
	return status;
}
