/* xcgexec: runs a command as a job. Everything is done by lib/job/run. */
#include "common/cleanup.h"
#include "common/log.h"
#include "common/num.h"
#include "common/opt.h"
#include "common/state.h"
#include "job/run.h"
#include <fcntl.h>
#include <limits.h>
#include <string.h>

enum { OPT_STATE_DIR = 256 };

static const struct opt_def defs[] = {
	{ 'j', "job", "JOBID", "id of the job; default: the next free number" },
	{ 'g', "subsystems", "SUBSYS[,...]", "control group subsystems; default: those of pam_xos.conf" },
	{ 'l', "limit", "LIMIT=VALUE", "memory, swap, cpus, cpuweight, cpuset, pids, iobps, disk, inodes, time or a control file" },
	{ 'd', "detach", NULL, "print the job's id once the command runs, and leave it alone" },
	{ 'o', "output", "FILE", "stdout of the command" },
	{ 'e', "error", "FILE", "stderr of the command" },
	{ 'u', "user", "USER", "run it as this user (root only)" },
	{ 'D', "dn", "DN", "run it under the account of this distinguished name" },
	{ 'C', "cert", "CERT", "run it under the account of this certificate" },
	{ 'w', "wait", NULL, "wait for all processes of the job, not only for the command" },
	{ OPT_STATE_DIR, "state-dir", "DIR", "state directory" },
	{ 0, NULL, NULL, NULL },
};
static const struct opt_tool tool = {
	.name = "xcgexec",
	.usage = "[-j JOBID] [-g SUBSYS[,SUBSYS...]] [-l LIMIT=VALUE]... [-d] [-o FILE] [-e FILE]\n"
		 "[-u USER | -D DN | -C CERT] [-w] [--] COMMAND [ARG...]",
	.summary = "Runs COMMAND as a job in its own control group.",
	.defs = defs,
	.footer = "Exit status: COMMAND's own, 128+N when signal N ended it, 75 when the job was checkpointed and\n"
		  "stopped, 125 for a failure of xcgexec, 126 and 127 when COMMAND cannot be executed or found,\n"
		  "2 usage, 4 a job of that id runs.",
	.stop_at_operand = true,
	.usage_status = EX_USAGE_,
};

struct options {
	const char *state_dir, *user;
	struct job_run_opts run;
	struct job_limits limits;
};

static int handle(int ch, const char *arg, void *data, struct err *e)
{
	struct options *o = data;
	switch (ch) {
	case 'j':
		if (!job_id_valid(arg))
			return err_set(e, EX_USAGE_, "not a job id: %s", arg);
		o->run.id = arg;
		return 0;
	case 'g': o->run.subsystems = arg; return 0;
	case 'l': return job_limits_add(&o->limits, arg, e);
	case 'd': o->run.detach = true; return 0;
	case 'o': o->run.out = arg; return 0;
	case 'e': o->run.err = arg; return 0;
	case 'u': o->user = arg; return 0;
	case 'D':
		return err_set(e, EX_USAGE_, "accounts by distinguished name are not supported by this version");
	case 'C':
		return err_set(e, EX_USAGE_, "accounts by certificate are not supported by this version");
	case 'w': o->run.wait_all = true; return 0;
	case OPT_STATE_DIR: o->state_dir = arg; return 0;
	}
	return 0;
}

/* With 0, 1 or 2 closed, a file opened later would become the command's stdin, stdout or stderr. */
static int fill_stdio(void)
{
	int fd;
	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= 2);
	if (fd < 0)
		return -1;
	close(fd);
	return 0;
}

static void warn(const struct job_conf *c)
{
	const char *p = buf_str(&c->warnings);
	for (size_t n; *p; p += n + 1) {
		n = strcspn(p, "\n");
		log_info("%.*s", (int)n, p);
	}
}

static void report(const struct job_run_result *r)
{
	char wall[32], mem[32] = "unknown", rd[32] = "unknown", wr[32] = "unknown", procs[32] = "";
	const struct cgroup_usage *u = &r->usage;
	num_duration_human(u->wall_ms, wall, sizeof wall);
	if (u->has_mem)
		num_size_human(u->mem_peak, mem, sizeof mem);
	if (u->has_io) {
		num_size_human(u->io_read, rd, sizeof rd);
		num_size_human(u->io_write, wr, sizeof wr);
	}
	if (u->has_procs)
		snprintf(procs, sizeof procs, ", processes %llu", (unsigned long long)u->procs_peak);
	log_verbose("job %s (%s): wall %s, CPU %.2fs user %.2fs system, memory peak %s, read %s, written %s%s", r->id,
		    r->kind == JOB_CGROUP ? "control group" : "process tree", wall, (double)u->cpu_user_us / 1e6,
		    (double)u->cpu_sys_us / 1e6, mem, rd, wr, procs);
}

static int user(struct options *o, struct job_identity *id, struct err *e)
{
	if (!o->user)
		return 0;
	if (geteuid() != 0)
		return err_set(e, EX_PERM, "-u %s: only root can run a job as another user", o->user);
	if (job_identity_find(id, o->user, e) < 0)
		return -1;
	o->run.identity = id;
	return 0;
}

static int run(struct options *o)
{
	char state[PATH_MAX];
	const char *conf_path = secure_getenv("XOS_PAM_CONF");
	struct err e = ERR_INIT;
	struct job_conf conf;
	struct job_identity id = { 0 };
	struct job_run_result r;
	int status = EX_TOOL;
	if (state_default_dir(o->state_dir, state, sizeof state, &e) < 0 ||
	    job_conf_read(&conf, conf_path && *conf_path ? conf_path : JOB_CONF_PATH, &e) < 0) {
		log_err(&e);
		return EX_TOOL;
	}
	warn(&conf);
	o->run.state_dir = state;
	o->run.conf = &conf;
	o->run.limits = &o->limits;
	int k = user(o, &id, &e);
	if (k == 0)
		k = job_run(&o->run, &r, &status, &e);
	else
		memset(&r, 0, sizeof r);
	if (k < 0 && !r.reported)
		log_err(&e);
	if (r.timed_out)
		log_info("job %s: its time limit ended it", r.id);
	if (r.started) {
		printf("%s\n", r.id);
		if (fflush(stdout) != 0) {
			log_error("stdout: %s", strerror(errno));
			status = EX_TOOL;
		}
	} else if (r.id[0]) {
		report(&r);
	}
	job_identity_free(&id);
	job_conf_free(&conf);
	return status;
}

int main(int argc, char **argv)
{
	struct options o = { .state_dir = NULL };
	int status;
	if (fill_stdio() < 0)
		return EX_TOOL;
	log_init(tool.name);
	int first = opt_parse(&tool, argc, argv, handle, &o, &status);
	if (first < 0) {
		job_limits_free(&o.limits);
		return status;
	}
	if (first >= argc)
		return opt_usage(&tool, "no command");
	o.run.argv = argv + first;
	o.run.envp = environ;
	o.run.path = getenv("PATH");
	status = run(&o);
	job_limits_free(&o.limits);
	return status;
}
