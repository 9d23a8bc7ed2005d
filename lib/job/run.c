#include "job/run.h"
#include "common/cleanup.h"
#include "job/internal.h"
#include "job/terminal.h"
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* What a detached supervisor tells the caller. */
struct message { bool ok; int status; char id[JOBID_MAX + 1]; struct err e; };

static int tool_status(const struct err *e)
{
	switch (e->code) {
	case EX_BUSY: case EX_USAGE_: case EX_NOEXEC_: case EX_NOTFOUND:
		return e->code;
	default:
		return EX_TOOL;
	}
}

/* ---- stdin, stdout, stderr ---- */

struct stdio { int in, out, err; };

static void cleanup_stdio(struct stdio *s)
{
	cleanup_fd(&s->in);
	cleanup_fd(&s->out);
	cleanup_fd(&s->err);
}

/* One output: the named file as a shell's `>` would open it, or NAME in the job's directory, which belongs to the job's
 * user then. The absolute path is recorded. */
static int open_output(struct job *j, const struct job_run_opts *o, const char *file, const char *name, int *fd,
		       char **record, struct err *e)
{
	const int flags = O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOCTTY;
	AUTO_FREE char *path = NULL;
	int k;
	if (file) {
		k = file[0] == '/' ? asprintf(&path, "%s", file)
				   : asprintf(&path, "%s/%s", j->cwd ? j->cwd : ".", file);
		*fd = open(file, flags, 0666);
	} else if (o->detach) {
		k = asprintf(&path, "%s/jobs/%s/%s", o->state_dir, j->id, name);
		*fd = openat(j->dir, name, flags | O_NOFOLLOW, 0600);
		if (*fd >= 0 && o->identity && fchown(*fd, o->identity->uid, o->identity->gid) < 0)
			return err_sys(e, "%s", name);
	} else {
		return 0;
	}
	if (k < 0) {
		path = NULL;
		return err_set(e, EX_FAILED, "out of memory");
	}
	if (*fd < 0)
		return err_sys(e, "%s", path);
	return job_set_str(record, path, e);
}

static int open_stdio(struct job *j, const struct job_run_opts *o, struct stdio *s, struct err *e)
{
	if (o->detach) {
		if ((s->in = open("/dev/null", O_RDONLY | O_CLOEXEC)) < 0)
			return err_sys(e, "/dev/null");
		if (job_set_str(&j->in, "/dev/null", e) < 0)
			return -1;
	}
	if (open_output(j, o, o->out, "out", &s->out, &j->out, e) < 0 ||
	    open_output(j, o, o->err, "err", &s->err, &j->err, e) < 0)
		return -1;
	return 0;
}

/* ---- starting ---- */

static int describe(struct job *j, const struct job_run_opts *o, struct err *e)
{
	AUTO_FREE char *cwd = getcwd(NULL, 0); /* NULL when it was removed: the job may still run */
	if (job_set_str(&j->cwd, cwd, e) < 0)
		return -1;
	free(j->command);
	if (!(j->command = job_quote(o->argv)))
		return err_set(e, EX_FAILED, "out of memory");
	if (o->identity) {
		j->uid = o->identity->uid;
		j->gid = o->identity->gid;
	}
	return 0;
}

/* The user of the job must be able to reach its scratch directory, not more. */
static void open_way(const struct job *j, const struct job_run_opts *o)
{
	if (!o->identity || !j->tmp)
		return;
	fchmod(j->statedir, 0711);
	fchmodat(j->statedir, "jobs", 0711, 0);
	fchmod(j->dir, 0711);
}

static int start(struct job *j, const struct job_run_opts *o, const struct supervise_signals *sig, struct stdio *s,
		 struct err *e)
{
	if (describe(j, o, e) < 0 || open_stdio(j, o, s, e) < 0 ||
	    job_groups_make(j, o->subsystems, o->limits, o->conf, e) < 0)
		return -1;
	open_way(j, o);
	AUTO_FREE char **env = job_environ(j, o->envp, o->identity);
	if (!env)
		return err_set(e, EX_FAILED, "out of memory");
	struct job_start_opts so = {
		.argv = o->argv, .envp = env, .path = o->path, .identity = o->identity, .new_session = o->detach,
		.in = s->in, .out = s->out, .err = s->err, .signals = sig,
	};
	return job_start(j, &so, e);
}

/* The job never ran: a number that nobody else knows goes away whole, a given id gets a record that says so. */
static void abandon(struct job *j, bool drop, int status)
{
	if (job_lock(j, true, NULL) < 0)
		return;
	j->exit_code = status;
	int r = job_finish(j, JOB_DONE, NULL);
	if (drop && r == 0) {
		static const char *const files[] = { "out", "err", "job", "lock" };
		char path[JOBID_MAX + 8];
		for (size_t i = 0; i < sizeof files / sizeof *files; i++)
			unlinkat(j->dir, files[i], 0);
		snprintf(path, sizeof path, "jobs/%s", j->id);
		unlinkat(j->statedir, path, AT_REMOVEDIR);
	}
	job_unlock(j);
}

static void fill_result(struct job_run_result *r, const struct job *j)
{
	strcpy(r->id, j->id);
	r->kind = j->kind;
	r->exit_code = j->exit_code;
	r->exit_signal = j->exit_signal;
	r->stopped = j->state == JOB_STOPPED;
	r->usage = j->usage;
}

/* From here on the supervisor has no terminal and no place to print but the job's stderr file. */
static void let_go(const struct stdio *s)
{
	dup2(s->in, 0);
	dup2(s->in, 1);
	dup2(s->err, 2);
}

/* ready: where to tell the caller of a detached job, else -1. */
static int run_here(const struct job_run_opts *o, struct job_run_result *r, int ready, int *status, struct err *e)
{
	struct supervise_signals sig;
	__attribute__((cleanup(cleanup_stdio))) struct stdio s = { -1, -1, -1 };
	struct message m = { .ok = true };
	struct terminal tty = { .fd = -1 };
	struct job *j = NULL;
	*status = EX_TOOL;
	if (supervise_begin(&sig, e) < 0 || job_create_new(&j, o->state_dir, o->id, e) < 0) {
		*status = tool_status(e);
		return -1;
	}
	if (!o->detach)
		terminal_keep(&tty);
	if (start(j, o, &sig, &s, e) < 0) {
		terminal_back(&tty, false);
		*status = tool_status(e);
		abandon(j, o->id == NULL, *status);
		job_free(j);
		return -1;
	}
	job_unlock(j);
	if (ready >= 0) {
		strcpy(m.id, j->id);
		if (write(ready, &m, sizeof m) < 0 && errno != EPIPE)
			m.ok = false; /* the caller is gone; the job goes on all the same */
		close(ready);
		let_go(&s);
		r->detached = true;
	}
	cleanup_stdio(&s);
	s.in = s.out = s.err = -1;
	struct supervise_opts so = {
		.wait_all = o->wait_all, .job_control = !o->detach, .stops = -1, .time_ms = o->limits->time_ms,
		.timed_out = &r->timed_out,
	};
	int k = supervise(j, &so, status, e);
	fill_result(r, j);
	/* Who was killed leaves the terminal as it was in the middle of his work. */
	terminal_back(&tty, r->stopped || r->timed_out || r->exit_signal > 0);
	job_free(j);
	return k;
}

/* ---- detached ---- */

static int tell_error(int fd, int status, const struct err *e)
{
	struct message m = { .ok = false, .status = status, .e = *e };
	return write(fd, &m, sizeof m) == (ssize_t)sizeof m ? 0 : -1;
}

static int hear(int fd, pid_t child, struct job_run_result *r, int *status, struct err *e)
{
	struct message m;
	ssize_t n;
	while ((n = read(fd, &m, sizeof m)) < 0 && errno == EINTR)
		;
	if (n == (ssize_t)sizeof m && m.ok) {
		strcpy(r->id, m.id);
		r->started = true;
		*status = 0;
		return 0;
	}
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	*status = EX_TOOL;
	if (n != (ssize_t)sizeof m)
		return err_set(e, EX_TOOL, "the job's supervisor was killed before the job ran");
	*status = m.status;
	if (e)
		*e = m.e;
	return -1;
}

static int run_detached(const struct job_run_opts *o, struct job_run_result *r, int *status, struct err *e)
{
	int p[2];
	*status = EX_TOOL;
	if (pipe2(p, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	pid_t pid = fork();
	if (pid < 0) {
		err_sys(e, "fork");
		close(p[0]);
		close(p[1]);
		return -1;
	}
	if (pid > 0) {
		close(p[1]);
		int k = hear(p[0], pid, r, status, e);
		close(p[0]);
		return k;
	}
	close(p[0]);
	setsid();
	int k = run_here(o, r, p[1], status, e);
	if (k < 0 && !r->detached) {
		r->reported = tell_error(p[1], *status, e) == 0;
		close(p[1]);
	}
	return k;
}

int job_run(const struct job_run_opts *o, struct job_run_result *r, int *status, struct err *e)
{
	struct err own = ERR_INIT;
	memset(r, 0, sizeof *r);
	int k = o->detach ? run_detached(o, r, status, &own) : run_here(o, r, -1, status, &own);
	if (k < 0 && e)
		*e = own;
	return k;
}
