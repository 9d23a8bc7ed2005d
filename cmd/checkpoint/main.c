/* checkpoint: Kerrighed's name and manners: saves the process tree of PID under /var/chkpt/PID. */
#include "common/log.h"
#include "common/num.h"
#include "common/opt.h"
#include "common/state.h"
#include "cr/save.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

enum { OPT_DIR = 256 };

static const struct opt_def defs[] = {
	{ 'c', "ckpt-only", NULL, "save it and let it go on (this is the default)" },
	{ 'f', "freeze", NULL, "leave it stopped when it is saved" },
	{ 'u', "unfreeze", "[SIGNAL]", "let a stopped one go on, with this signal; nothing is saved" },
	{ 'k', "kill", "[SIGNAL]", "end it when it is saved; default: KILL" },
	{ 'b', "no-callbacks", NULL, "do not run callbacks" },
	{ 'd', "description", "TEXT", "kept with the checkpoint" },
	{ 'a', "from-appid", NULL, "PID may be any process of the application" },
	{ OPT_DIR, "dir", "DIR", "instead of /var/chkpt" },
	{ 0, NULL, NULL, NULL },
};
static const struct opt_tool tool = {
	.name = "checkpoint",
	.usage = "[-f | -u [SIGNAL] | -c | -k [SIGNAL]] [-b] [-d TEXT] [-a] PID",
	.summary = "Saves the process PID and all below it, with Kerrighed's names; see xcheckpoint.",
	.defs = defs,
	.footer = "The checkpoint is /var/chkpt/PID/N.tar; `restart PID N` brings it back.",
	.usage_status = EX_USAGE_,
};

struct options { const char *dir; struct save_opts save; bool unfreeze, appid; int signal; };

static int handle(int ch, const char *arg, void *data, struct err *e)
{
	struct options *o = data;

	switch (ch) {
	case 'c': o->save.after = CKPT_RUN; return 0;
	case 'f': o->save.after = CKPT_STOP; return 0;
	case 'u': o->unfreeze = true; break;
	case 'k': o->save.after = CKPT_KILL; break;
	case 'd': o->save.description = arg; return 0;
	case 'a': o->appid = true; return 0;
	case OPT_DIR: o->dir = arg; return 0;
	default: return 0;
	}
	if (arg && num_signal(arg, ch == 'k' ? &o->save.kill_signal : &o->signal))
		return err_set(e, EX_USAGE_, "no such signal: %s", arg);
	return 0;
}

/* The topmost ancestor in the same session stands for the application. */
static pid_t application(pid_t pid)
{
	struct proc_stat st, up;

	while (!proc_stat_read(&st, pid, 0, NULL) && st.ppid > 1 && !proc_stat_read(&up, st.ppid, 0, NULL) &&
	       up.session == st.session)
		pid = st.ppid;
	return pid;
}

static int unfreeze(pid_t pid, int sig)
{
	struct pid_list l = { 0 };
	struct err e = ERR_INIT;

	if (proc_descendants(&l, pid, &e) || pid_list_add(&l, pid))
		return log_err(&e);
	for (size_t i = 0; i < l.n; i++) {
		kill(l.v[i], SIGCONT);
		if (sig)
			kill(l.v[i], sig);
	}
	pid_list_free(&l);
	return 0;
}

static int save(struct options *o)
{
	struct save_result r;
	struct err e = ERR_INIT;
	char when[64];
	struct tm tm;
	int code = 0;

	if (save_job(&o->save, &r, &e)) {
		code = log_err(&e);
		if (r.ckpt.nprocs && buf_str(&r.ckpt.refusals)[0])
			log_error("%s", buf_str(&r.ckpt.refusals));
	} else if (log_level() != LOG_QUIET) {
		time_t t = (time_t)r.ckpt.date;
		localtime_r(&t, &tm);
		strftime(when, sizeof when, "%a %b %e %H:%M:%S %Y", &tm);
		printf("Identifier: %s\nVersion: %llu\nDescription: %s\nDate: %s\n", r.identifier,
		       (unsigned long long)r.version, o->save.description ? o->save.description : "", when);
	}
	ckpt_result_free(&r.ckpt);
	return code;
}

int main(int argc, char **argv)
{
	struct options o = { .save = { .out = -1 } };
	int status = 0, first;
	uint64_t pid;
	char dir[PATH_MAX];

	log_init(tool.name);
	first = opt_parse(&tool, argc, argv, handle, &o, &status);
	if (first < 0)
		return status;
	if (first + 1 != argc || num_u64(argv[first], INT_MAX, &pid) || pid < 2)
		return opt_usage(&tool, "one PID is needed");
	o.save.pid = o.appid ? application((pid_t)pid) : (pid_t)pid;
	if (o.unfreeze)
		return unfreeze(o.save.pid, o.signal);
	snprintf(dir, sizeof dir, "%s/%d", o.dir ? o.dir : "/var/chkpt", o.save.pid);
	o.save.versions_dir = dir;
	return save(&o);
}
