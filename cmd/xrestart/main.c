/* xrestart: brings a version of a job back. Everything is done by lib/cr/revive. */
#include "common/cleanup.h"
#include "common/log.h"
#include "common/num.h"
#include "common/opt.h"
#include "common/state.h"
#include "cr/revive.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>

enum { OPT_STATE_DIR = 256, OPT_TRUST, OPT_ACCEPT, OPT_TCP_CLOSE, OPT_UNIX_CLOSE, OPT_MAX = 64 };

static const struct opt_def defs[] = {
	{ 'd', "detach", NULL, "print the job's id once it runs, and leave it alone" },
	{ 'N', "new-namespace", NULL, "inside a new PID namespace (an ordinary user always is)" },
	{ 'r', "replace", NULL, "a job that still runs is ended first" },
	{ 't', "tty", NULL, "put the job on this terminal" },
	{ 'S', "substitute", "ID=TARGET", "connect what led outside to a path, or fd:N" },
	{ 'L', "relocate", "OLD=NEW", "look for files below OLD below NEW" },
	{ 'c', "check", NULL, "only check whether this node fits the image" },
	{ 'i', "input", "FILE", "read the image there, - for stdin" },
	{ OPT_TCP_CLOSE, "tcp-close", NULL, "restore TCP connections to outside as ones that were reset" },
	{ OPT_UNIX_CLOSE, "unix-close", NULL, "restore unix connections to outside as closed ones" },
	{ OPT_ACCEPT, "accept-changed", NULL, "take files as they are, though changed since the checkpoint" },
	{ OPT_TRUST, "trust", NULL, "believe an image whoever wrote it" },
	{ OPT_STATE_DIR, "state-dir", "DIR", "state directory" },
	{ 0, NULL, NULL, NULL },
};
static const struct opt_tool tool = {
	.name = "xrestart",
	.usage = "[-d] [-N | -r] [-t] [-S ID=TARGET]... [-L OLD=NEW]... [-c] JOBID [VERSION]\n"
		 "[-d] [-N | -r] [-t] [-S ID=TARGET]... [-L OLD=NEW]... [-c] -i FILE|- [JOBID]",
	.summary = "Brings a job back from a version (default: the newest) and stays as its supervisor.",
	.defs = defs,
	.footer = "Exit status: the job's own, 128+N when signal N ended it, 75 when it was checkpointed and stopped;\n"
		  "when it did not come back: 1 failed, 2 usage, 3 no such job or version, 4 busy (a PID is in use),\n"
		  "6 bad image, 7 this node does not fit, 8 not permitted, 9 no space.",
	.usage_status = EX_USAGE_,
};

struct options {
	const char *state_dir, *input;
	struct revive_opts r;
	struct subst subst[OPT_MAX], reloc[OPT_MAX];
};

static int pair(struct subst *v, size_t *n, const char *arg, struct err *e)
{
	char *copy = strdup(arg), *eq = copy ? strchr(copy, '=') : NULL;

	if (!eq || eq == copy || !eq[1]) {
		free(copy);
		return err_set(e, EX_USAGE_, "not of the form A=B: %s", arg);
	}
	if (*n == OPT_MAX) {
		free(copy);
		return err_set(e, EX_USAGE_, "more than %d of them", OPT_MAX);
	}
	*eq = 0;
	v[(*n)++] = (struct subst){ copy, eq + 1 };
	return 0;
}

static int handle(int ch, const char *arg, void *data, struct err *e)
{
	struct options *o = data;

	switch (ch) {
	case 'd': o->r.detach = true; return 0;
	case 'N': o->r.new_ns = true; return 0;
	case 'r': o->r.replace = true; return 0;
	case 't': o->r.tty = true; return 0;
	case 'S': return pair(o->subst, &o->r.nsubst, arg, e);
	case 'L': return pair(o->reloc, &o->r.nreloc, arg, e);
	case 'c': o->r.check_only = true; return 0;
	case 'i': o->input = arg; return 0;
	case OPT_TRUST: o->r.trust = true; return 0;
	case OPT_TCP_CLOSE: o->r.tcp_close = true; return 0;
	case OPT_UNIX_CLOSE: o->r.unix_close = true; return 0;
	case OPT_ACCEPT: o->r.accept_changed = true; return 0;
	case OPT_STATE_DIR: o->state_dir = arg; return 0;
	}
	return 0;
}

static int operands(struct options *o, int n, char **v, struct err *e)
{
	o->r.id = n ? v[0] : NULL;
	if (n > 1 && (o->input || num_u64(v[1], INT64_MAX, &o->r.version) || !o->r.version))
		return err_set(e, EX_USAGE_, "not a version: %s", v[1]);
	if (n > 2)
		return err_set(e, EX_USAGE_, "too many operands");
	if (!n && !o->input)
		return err_set(e, EX_USAGE_, "no job id");
	if (o->r.id && !job_id_valid(o->r.id))
		return err_set(e, EX_USAGE_, "not a job id: %s", o->r.id);
	o->r.in = -1;
	if (o->input && strcmp(o->input, "-")) {
		o->r.in = open(o->input, O_RDONLY | O_CLOEXEC | O_NOCTTY);
		o->r.in_name = o->input;
		return o->r.in < 0 ? err_sys(e, "%s", o->input) : 0;
	}
	if (o->input) {
		o->r.in = 0;
		o->r.in_name = "stdin";
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
		const char *l = buf_str(&res.profile_misfits);
		int code = log_err(&e);
		for (const char *nl; (nl = strchr(l, '\n')); l = nl + 1)
			log_error("%.*s", (int)(nl - l), l);
		buf_free(&res.profile_misfits);
		return status ? status : code;
	}
	buf_free(&res.profile_misfits);
	if (res.started && log_level() != LOG_QUIET)
		printf("%s\n", res.id);
	return status;
}

int main(int argc, char **argv)
{
	struct options *o = calloc(1, sizeof *o);
	const char *conf_path = secure_getenv("XOS_PAM_CONF");
	char state[PATH_MAX];
	struct err e = ERR_INIT;
	struct job_conf conf;
	int status = 0;

	log_init(tool.name);
	if (!o)
		return EX_FAILED;
	int first = opt_parse(&tool, argc, argv, handle, o, &status);
	if (first < 0)
		return status;
	o->r.subst = o->subst;
	o->r.reloc = o->reloc;
	if (operands(o, argc - first, argv + first, &e))
		return e.code == EX_USAGE_ ? opt_usage(&tool, "%s", e.msg) : log_err(&e);
	if (state_default_dir(o->state_dir, state, sizeof state, &e) ||
	    job_conf_read(&conf, conf_path && *conf_path ? conf_path : JOB_CONF_PATH, &e))
		return log_err(&e);
	o->r.state_dir = state;
	o->r.conf = &conf;
	status = run(o);
	job_conf_free(&conf);
	for (size_t i = 0; i < o->r.nsubst; i++)
		free(o->subst[i].id);
	for (size_t i = 0; i < o->r.nreloc; i++)
		free(o->reloc[i].id);
	free(o);
	return status;
}
