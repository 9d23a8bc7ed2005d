/* restart: Kerrighed's name and manners: brings back what `checkpoint` saved under /var/chkpt/PID. */
#include "common/log.h"
#include "common/num.h"
#include "common/opt.h"
#include "common/state.h"
#include "cr/revive.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPT_DIR = 256, OPT_STATE_DIR, MAX_SUBST = 64 };

static const struct opt_def defs[] = {
	{ 'f', "foreground", NULL, "stay until it ends, and end as it does" },
	{ 't', "tty", NULL, "put it on this terminal" },
	{ 's', "substitute", "FILE_ID,FD", "connect what led outside to this descriptor" },
	{ OPT_DIR, "dir", "DIR", "instead of /var/chkpt" },
	{ OPT_STATE_DIR, "state-dir", "DIR", "state directory of the job that it becomes" },
	{ 0, NULL, NULL, NULL },
};
static const struct opt_tool tool = {
	.name = "restart",
	.usage = "[-f] [-t] [-s FILE_ID,FD]... PID VERSION",
	.summary = "Brings back what checkpoint saved, with Kerrighed's names; see xrestart.",
	.defs = defs,
	.footer = "It becomes job PID (see xps). Exit status: as xrestart's.",
	.usage_status = EX_USAGE_,
};

struct options { const char *dir, *state_dir; struct revive_opts r; struct subst subst[MAX_SUBST]; char text[MAX_SUBST][40]; };

static int substitute(struct options *o, const char *arg, struct err *e)
{
	const char *comma = strchr(arg, ',');
	char *to = o->text[o->r.nsubst];
	uint64_t fd;

	if (!comma || comma == arg || comma - arg > 11 || num_u64(comma + 1, INT_MAX, &fd))
		return err_set(e, EX_USAGE_, "not FILE_ID,FD: %s", arg);
	if (o->r.nsubst == MAX_SUBST - 1)
		return err_set(e, EX_USAGE_, "too many of them");
	memcpy(to, arg, (size_t)(comma - arg));
	snprintf(to + 16, 24, "fd:%d", (int)fd);
	o->subst[o->r.nsubst++] = (struct subst){ to, to + 16 };
	return 0;
}

static int handle(int ch, const char *arg, void *data, struct err *e)
{
	struct options *o = data;

	switch (ch) {
	case 'f': o->r.detach = false; return 0;
	case 't': o->r.tty = true; return 0;
	case 's': return substitute(o, arg, e);
	case OPT_DIR: o->dir = arg; return 0;
	case OPT_STATE_DIR: o->state_dir = arg; return 0;
	}
	return 0;
}

static int run(struct options *o)
{
	struct revive_result res;
	struct err e = ERR_INIT;
	int status, rc = revive_job(&o->r, &res, &status, &e);

	if (rc && o->r.detach && res.reported)
		return e.code;
	if (rc) {
		int code = log_err(&e);
		return status ? status : code;
	}
	if (res.started && log_level() != LOG_QUIET)
		printf("%s\n", res.id);
	return status;
}

int main(int argc, char **argv)
{
	static struct options o = { .r = { .detach = true } };
	const char *conf_path = secure_getenv("XOS_PAM_CONF");
	char state[PATH_MAX], path[PATH_MAX];
	struct job_conf conf;
	struct err e = ERR_INIT;
	uint64_t pid, version;
	int status = 0, first;

	log_init(tool.name);
	first = opt_parse(&tool, argc, argv, handle, &o, &status);
	if (first < 0)
		return status;
	if (first + 2 != argc || num_u64(argv[first], INT_MAX, &pid) || num_u64(argv[first + 1], INT64_MAX, &version))
		return opt_usage(&tool, "PID and VERSION are needed");
	if (state_default_dir(o.state_dir, state, sizeof state, &e) ||
	    job_conf_read(&conf, conf_path && *conf_path ? conf_path : JOB_CONF_PATH, &e))
		return log_err(&e);
	snprintf(path, sizeof path, "%s/%llu/%llu.tar", o.dir ? o.dir : "/var/chkpt", (unsigned long long)pid,
		 (unsigned long long)version);
	o.r.in = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (o.r.in < 0) {
		err_sys(&e, "%s", path);
		e.code = e.sys == ENOENT ? EX_NOSUCH : e.code;
		return log_err(&e);
	}
	o.r.in_name = path;
	o.r.state_dir = state;
	o.r.conf = &conf;
	o.r.subst = o.subst;
	status = run(&o);
	job_conf_free(&conf);
	return status;
}
