#include "cr/revive.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/num.h"
#include "common/state.h"
#include "cr/image_head.h"
#include "cr/nsinit.h"
#include "job/end.h"
#include "job/internal.h"
#include "job/limits.h"
#include "job/netlock.h"
#include "job/supervise.h"
#include "job/terminal.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct revive {
	const struct revive_opts *o;
	struct revive_result *r;
	struct image *im;
	struct image_head head;
	uid_t owner;
	struct job *j;
	struct cgroup_entry entry, entry_v1;   /* all of the job's groups; without the one that processes are born in */
	int group_v2;                          /* that one, or -1 */
	bool in_group;
	struct restart_run run;
	struct terminal tty;                   /* ours; fd -1: none, or detached */
};

/* ---- the image ---- */

/* Root runs what an image says with root's power: only one that nobody but root and the job's own user can have written. */
static int trusted(struct revive *v, int fd, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st))
		return err_sys(e, "cannot stat the image");
	v->owner = S_ISREG(st.st_mode) ? st.st_uid : geteuid();
	if (v->o->trust || geteuid() != 0 || !S_ISREG(st.st_mode))
		return 0;
	if (st.st_mode & 022) {
		err_set(e, EX_PERM, "the image can be written by others (mode %04o)", st.st_mode & 07777u);
		err_hint(e, "if you know that it is unchanged: chmod 600, or --trust");
		return -1;
	}
	return 0;
}

static int owner_fits(struct revive *v, struct err *e)
{
	if (v->o->trust || geteuid() != 0 || v->owner == 0 || v->owner == v->head.uid)
		return 0;
	err_set(e, EX_PERM, "the image belongs to uid %u, its job to uid %u", v->owner, v->head.uid);
	err_hint(e, "only an image that root or the job's own user wrote is restarted by root; --trust overrides");
	return -1;
}

static int open_version(struct revive *v, int *fd, struct err *e)
{
	char path[PATH_MAX];
	uint64_t *list, version = v->o->version;
	size_t n;

	if (job_versions(v->o->state_dir, v->o->id, &list, &n, e))
		return -1;
	if (!version && n)
		version = list[n - 1];
	free(list);
	if (!version)
		return err_set(e, EX_NOSUCH, "job %s has no checkpoint", v->o->id);
	if (job_version_path(v->o->state_dir, v->o->id, version, path, sizeof path))
		return err_set(e, EX_FAILED, "path is too long");
	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (*fd < 0)
		return errno == ENOENT ? err_set(e, EX_NOSUCH, "job %s has no version %llu", v->o->id, (unsigned long long)version)
				       : err_sys(e, "cannot open %s", path);
	v->r->version = version;
	return 0;
}

static int open_image(struct revive *v, struct err *e)
{
	AUTO_FD int fd = -1, spool = -1;

	if (v->o->in >= 0)
		fd = fcntl(v->o->in, F_DUPFD_CLOEXEC, 3);
	else if (open_version(v, &fd, e))
		return -1;
	if (fd < 0)
		return err_sys(e, "cannot read the image");
	if (state_mkdirs(v->o->state_dir, 0700, e))
		return -1;
	spool = open(v->o->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (spool < 0)
		return err_sys(e, "cannot open %s", v->o->state_dir);
	if (trusted(v, fd, e) || image_open(&v->im, fd, spool, e) || image_head_read(v->im, &v->head, e) || owner_fits(v, e))
		return -1;
	const char *id = v->o->id ? v->o->id : v->head.identifier;
	if (!job_id_valid(id))
		return err_set(e, EX_BAD_IMAGE, "the image names no valid job id");
	strcpy(v->r->id, id);
	if (!v->r->version)
		v->r->version = v->head.version;
	return 0;
}

/* ---- the job ---- */

static int end_running(struct revive *v, struct err *e)
{
	struct job *old;
	struct err why = ERR_INIT;

	if (job_open(&old, v->o->state_dir, v->r->id, &why))
		return why.code == EX_NOSUCH ? 0 : (*e = why, -1);
	int rc = 0;
	if (old->state == JOB_RUNNING) {
		if (!v->o->replace) {
			rc = err_set(e, EX_BUSY, "job %s is running", v->r->id);
			err_hint(e, "-r replaces the running job by its checkpoint");
		} else {
			rc = job_end(old, SIGKILL, -1, e);
		}
	}
	job_free(old);
	job_wait_unsupervised(v->o->state_dir, v->r->id);
	return rc;
}

/* What a restarted job takes over from its own record, where there still is one. */
static int take_over(struct revive *v, const struct job *old, struct err *e)
{
	struct job *j = v->j;

	j->uid = v->head.uid;
	j->gid = v->head.gid;
	if (!old)
		return 0;
	memcpy(j->mark, old->mark, sizeof j->mark);
	if (job_set_str(&j->cwd, old->cwd, e) || job_set_str(&j->command, old->command, e) || job_set_str(&j->in, old->in, e) ||
	    job_set_str(&j->out, old->out, e) || job_set_str(&j->err, old->err, e) ||
	    job_set_str(&j->limits, old->limits, e) || job_set_netlock(j, old->netlock, e) || job_set_str(&j->subsystems, old->subsystems, e))
		return -1;
	return 0;
}

static int make_job(struct revive *v, struct job **old, struct err *e)
{
	struct job_limits limits = { 0 };
	struct err ignore = ERR_INIT;
	AUTO_FREE char *subsystems = NULL;
	int rc;

	if (job_peek(old, v->o->state_dir, v->r->id, &ignore))
		*old = NULL;
	if (job_create(&v->j, v->o->state_dir, v->r->id, e) || take_over(v, *old, e) || job_save_quick(v->j, e))
		return -1;
	if (v->j->limits && job_limits_parse(&limits, v->j->limits, e))
		return -1;
	if (v->j->subsystems && !(subsystems = strdup(v->j->subsystems)))
		return err_set(e, EX_FAILED, "out of memory");
	rc = job_groups_make(v->j, *old && (*old)->kind == JOB_CGROUP ? subsystems : NULL, &limits, v->o->conf, e);
	job_limits_free(&limits);
	if (rc || v->j->kind != JOB_CGROUP)
		return rc;
	/* With the group's identity: if we are killed just when the job runs, the next command must see that it does. */
	if (job_save_quick(v->j, e))
		return -1;
	v->in_group = true;
	v->group_v2 = cgroup_v2_fd(&v->j->cg);
	return cgroup_entry_open(&v->entry, &v->j->cg, false, e) || cgroup_entry_open(&v->entry_v1, &v->j->cg, true, e) ? -1 : 0;
}

/* The restart failed: the record says again what it said before. */
static void undo(struct revive *v, struct job *old)
{
	if (!v->j || job_lock(v->j, true, NULL))
		return;
	enum job_state was = old ? old->state : JOB_DONE;
	v->j->exit_code = old ? old->exit_code : EX_FAILED;
	v->j->exit_signal = old ? old->exit_signal : -1;
	job_finish(v->j, was == JOB_STOPPED ? JOB_STOPPED : JOB_DONE, NULL);
	job_unlock(v->j);
}

static int enter(void *ctx, bool born_inside)
{
	struct revive *v = ctx;

	return v->in_group ? cgroup_entry_enter(born_inside ? &v->entry_v1 : &v->entry) : 0;
}

/* The terminal becomes as the job had it, and a group of the job's own on it (a shell's) gets the foreground; at the job's end
 * all that is taken back. The change comes before the job runs: it would be stopped for reading in the background otherwise, and
 * SIGWINCH comes before what is typed. Perhaps this is not the supervisor but a child of it in new namespaces. */
static void before_run(void *ctx)
{
	struct revive *v = ctx;
	bool changed = v->run.terminal_number == terminal_number(v->tty.fd) && terminal_apply(&v->tty, &v->run.terminal);

	if (v->run.foreground)
		terminal_give(&v->tty, v->run.foreground);
	if (changed)
		terminal_changed(&v->tty);
}

static void fill_run(struct revive *v, struct restart_run *run)
{
	*run = (struct restart_run){
		.o = { .subst = v->o->subst, .nsubst = v->o->nsubst, .reloc = v->o->reloc, .nreloc = v->o->nreloc,
		       .trust = v->o->trust, .accept_changed = v->o->accept_changed, .tty = v->o->tty, .tcp_close = v->o->tcp_close, .unix_close = v->o->unix_close,
		       .std = { 0, 1, 2 }, .image_owner = v->owner },
		.enter = enter, .before_run = before_run, .ctx = v, .group = -1, .stops = -1, .force_ns = v->o->new_ns || revive_needs_ns(),
	};
}

/* A detached job has no terminal: what was connected to one leads to its files. */
static int detached_stdio(struct revive *v, struct restart_run *run, struct err *e)
{
	const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY;

	run->o.std[0] = open("/dev/null", O_RDWR | O_CLOEXEC);
	run->o.std[1] = v->j->out ? open(v->j->out, flags, 0600) : openat(v->j->dir, "out", flags | O_NOFOLLOW, 0600);
	run->o.std[2] = v->j->err ? open(v->j->err, flags, 0600) : openat(v->j->dir, "err", flags | O_NOFOLLOW, 0600);
	if (run->o.std[0] < 0 || run->o.std[1] < 0 || run->o.std[2] < 0)
		return err_sys(e, "cannot open stdin, stdout or stderr of the job");
	return 0;
}

static int bring_back(struct revive *v, struct restart_run *run, struct err *e)
{
	struct proc_stat st;

	run->group = v->group_v2;
	run->groups = v->in_group ? &v->j->cg : NULL;
	if (run->force_ns ? nsinit_restart(v->im, run, v->j, e) : cr_restart(v->im, run, e))
		return -1;
	v->j->main = run->main ? run->main : (run->roots.n ? run->roots.v[0] : 0);
	if (!proc_stat_read(&st, v->j->main, 0, NULL))
		v->j->main_start = st.starttime;
	v->j->state = JOB_RUNNING;
	/* That of the version, but it may be another one's. */
	if (v->j->netlock && netlock_name_valid(v->j->netlock) && geteuid() == v->j->owner)
		netlock_down(v->j->netlock, NULL);
	return job_set_netlock(v->j, NULL, e);
}

struct message { bool ok; int code; struct err e; char id[JOBID_MAX + 1]; uint64_t version; };

static int tell(int fd, struct revive *v, const struct err *e)
{
	struct message m = { .ok = !e, .version = v->r->version };

	if (e)
		m.e = *e;
	memcpy(m.id, v->r->id, sizeof m.id);
	return write(fd, &m, sizeof m) == (ssize_t)sizeof m ? 0 : -1;
}

static void close_std(struct restart_run *run)
{
	for (int i = 0; i < 3; i++)
		if (run->o.std[i] > 2)
			close(run->o.std[i]);
}

/* A shell of the job's had its terminal: it would read end-of-file in the background, and exit. */
static void await_foreground(const struct revive *v)
{
	const struct image_member *m = image_find(v->im, "global");

	if (!v->o->detach && m && m->text && strstr(m->text, " FOREGROUND=\""))
		terminal_await();
}

/* It runs already, and nobody would know. Its end is awaited: as long as a group has zombies, it has the terminal. */
static void end_unrecorded(struct revive *v)
{
	enum { WAIT_MS = 2000 };
	pid_t pid;

	job_kill(v->j, SIGKILL, NULL);
	for (int ms = 0; ms < WAIT_MS && (pid = waitpid(-1, NULL, WNOHANG | __WALL)) >= 0; ms += !pid)
		if (!pid)
			usleep(1000);
}

static int run_job(struct revive *v, int ready, int *status, struct err *e)
{
	struct supervise_signals sig;
	struct supervise_opts so = { .job_control = !v->o->detach };
	struct restart_run *run = &v->run;
	struct job *old = NULL;
	int rc;

	await_foreground(v);
	fill_run(v, run);
	v->tty.fd = -1;
	if (end_running(v, e) || supervise_begin(&sig, e))
		return -1;
	if (!v->o->detach)
		terminal_keep(&v->tty);
	rc = make_job(v, &old, e);
	if (!rc && v->o->detach)
		rc = detached_stdio(v, run, e);
	if (!rc)
		rc = bring_back(v, run, e);
	if (!rc && (rc = fault("restart.record") ? err_set(e, EX_FAILED, "fault point restart.record") : job_save(v->j, e)))
		end_unrecorded(v);
	image_free(v->im);
	v->im = NULL;
	if (rc)
		undo(v, old);
	job_free(old);
	if (v->in_group) {
		cgroup_entry_close(&v->entry);
		cgroup_entry_close(&v->entry_v1);
		cleanup_fd(&v->group_v2);
	}
	if (v->o->detach)
		close_std(run);
	if (rc) {
		terminal_back(&v->tty, true);
		return -1;
	}
	if (ready >= 0) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);

		tell(ready, v, NULL);
		close(ready);
		v->r->reported = true;
		for (int i = 0; i < 3 && null >= 0; i++)
			dup2(null, i);
		cleanup_fd(&null);
	}
	pid_list_free(&run->roots);
	so.stops = run->stops;
	rc = supervise(v->j, &so, status, e);
	cleanup_fd(&run->stops);
	terminal_back(&v->tty, true);
	return rc;
}

static int hear(int fd, pid_t child, struct revive *v, struct err *e)
{
	struct message m;
	ssize_t n;

	while ((n = read(fd, &m, sizeof m)) < 0 && errno == EINTR)
		;
	if (n == (ssize_t)sizeof m && m.ok) {
		v->r->started = true;
		return 0;
	}
	waitpid(child, NULL, 0);
	if (n != (ssize_t)sizeof m)
		return err_set(e, EX_FAILED, "the restart was killed before the job ran");
	if (e)
		*e = m.e;
	return -1;
}

static int run_detached(struct revive *v, int *status, struct err *e)
{
	int p[2], rc;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC))
		return err_sys(e, "cannot make a pipe");
	pid = fork();
	if (pid < 0) {
		err_sys(e, "cannot fork");
		close(p[0]);
		close(p[1]);
		return -1;
	}
	if (pid > 0) {
		close(p[1]);
		rc = hear(p[0], pid, v, e);
		close(p[0]);
		return rc;
	}
	close(p[0]);
	setsid();
	rc = run_job(v, p[1], status, e);
	if (rc && !v->r->reported)
		v->r->reported = tell(p[1], v, e) == 0;
	return rc;
}

static int check(struct revive *v, struct err *e)
{
	const struct image_member *m = image_find(v->im, "profile");
	struct restart_run *run = &v->run;

	if (m && m->text && profile_check(m->text, &v->r->profile_misfits, e))
		return err_is_set(e) ? -1 : err_set(e, EX_MISFIT, "this node does not fit the image's profile");
	fill_run(v, run);
	return cr_restart_check(v->im, run, e);
}

int revive_job(const struct revive_opts *o, struct revive_result *r, int *status, struct err *e)
{
	struct revive v = { .o = o, .r = r, .group_v2 = -1 };
	struct err own = ERR_INIT;
	int rc;

	memset(r, 0, sizeof *r);
	*status = 0;
	rc = open_image(&v, &own);
	if (!rc)
		rc = o->check_only ? check(&v, &own) : o->detach ? run_detached(&v, status, &own) : run_job(&v, -1, status, &own);
	if (rc)
		err_prefix(&own, "%s", r->id[0] ? r->id : o->id ? o->id : o->in_name ? o->in_name : "image");
	image_free(v.im);
	job_free(v.j);
	if (rc && e)
		*e = own;
	return rc;
}
