#include "cr/save.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/rec.h"
#include "common/state.h"
#include "job/job.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>

struct ctx {
	const struct save_opts *o;
	struct save_result *r;
	struct job *j;                /* NULL: a bare process tree */
	struct job_newversion nv;     /* fd -1: the image goes elsewhere */
};

static int members(void *v, struct pid_list *out, struct err *e)
{
	struct ctx *c = v;

	if (c->j)
		return job_pids(c->j, out, e);
	if (proc_descendants(out, c->o->pid, e))
		return -1;
	return pid_list_add(out, c->o->pid) ? err_set(e, EX_FAILED, "out of memory") : 0;
}

/* Durable and visible first; only then the record says that the job is stopped, and only then it is ended. */
static int commit(void *v, struct err *e)
{
	struct ctx *c = v;

	if (c->nv.fd >= 0 && job_version_commit(&c->nv, e))
		return -1;
	if (c->nv.fd < 0 && c->o->out >= 0 && fsync(c->o->out) && errno != EINVAL && errno != EROFS)
		return err_sys(e, "cannot write the image");
	if (c->j && c->o->after == CKPT_KILL) {
		c->j->state = JOB_STOPPED;
		if (c->r->ckpt.netlock[0] && job_set_netlock(c->j, c->r->ckpt.netlock, e))
			return -1;
		if (job_save(c->j, e))
			return -1;
		return fault("ckpt-stopped") ? err_set(e, EX_FAILED, "fault point ckpt-stopped") : 0;
	}
	return 0;
}

static bool ended(void *v)
{
	struct ctx *c = v;
	struct job *j;
	bool yes = false;

	if (c->o->state_dir && c->o->id && !job_peek(&j, c->o->state_dir, c->o->id, NULL)) {
		yes = j->state == JOB_STOPPED;
		job_free(j);
	}
	return yes;
}

static int hold(void *v, bool on)
{
	struct ctx *c = v;

	return cgroup_freeze_mark(&c->j->cg, on);
}

static void versions_dir(struct ctx *c, char *out, size_t n)
{
	if (c->o->versions_dir)
		snprintf(out, n, "%s", c->o->versions_dir);
	else
		snprintf(out, n, "%s/checkpoints/%s", c->o->state_dir, c->r->identifier);
}

/* What is known only when the image is written: beside it, for lists. A version without it is whole all the same. */
static void note(struct ctx *c)
{
	AUTO_BUF struct buf b = BUF_INIT;
	AUTO_FD int dir = -1;
	char path[PATH_MAX], s[32];

	versions_dir(c, path, sizeof path);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return;
	snprintf(s, sizeof s, "%llu", (unsigned long long)c->r->ckpt.pause_us);
	rec_line(&b, "PAUSE_US", s);
	snprintf(s, sizeof s, "%llu", (unsigned long long)c->r->ckpt.total_us);
	rec_line(&b, "TOTAL_US", s);
	snprintf(path, sizeof path, "%llu.stat", (unsigned long long)c->r->version);
	if (!buf_failed(&b))
		state_replace_quick(dir, path, b.p, b.len, 0600, NULL);
}

static int find_job(struct ctx *c, struct err *e)
{
	char below[256];

	if (job_open(&c->j, c->o->state_dir, c->o->id, e) || job_lock(c->j, !c->o->nowait, e))
		return -1;
	if (c->j->state == JOB_RUNNING && c->j->kind == JOB_CGROUP && cgroup_frozen(&c->j->cg)) {
		err_set(e, EX_BUSY, "job %s is frozen", c->o->id);
		err_hint(e, "nothing in a frozen group can be asked for its state: xcgfreeze -u %s first", c->o->id);
		return -1;
	}
	if (c->j->state == JOB_RUNNING && c->j->kind == JOB_CGROUP && cgroup_frozen_below(&c->j->cg, below, sizeof below)) {
		err_set(e, EX_BUSY, "control group %s below that of job %s is frozen", below, c->o->id);
		err_hint(e, "nothing in a frozen group can be asked for its state");
		return -1;
	}
	if (c->j->state == JOB_RUNNING)
		return 0;
	err_set(e, EX_NOSUCH, "job %s does not run", c->o->id);
	if (c->j->state == JOB_STOPPED)
		err_hint(e, "it was checkpointed and stopped: xrestart %s brings it back", c->o->id);
	return -1;
}

static int next_version(struct ctx *c, struct err *e)
{
	char path[PATH_MAX];
	uint64_t *v;
	size_t n;

	versions_dir(c, path, sizeof path);
	if (c->o->out < 0 && !c->o->check_only) {
		if (job_version_begin_in(&c->nv, path, e))
			return -1;
		c->r->version = c->nv.version;
		return 0;
	}
	if (job_versions_in(path, &v, &n, e))
		return -1;
	c->r->version = n ? v[n - 1] + 1 : 1;
	free(v);
	return 0;
}

static int run(struct ctx *c, struct err *e)
{
	const struct save_opts *o = c->o;
	struct ckpt_opts k = {
		.members = members, .commit = commit, .ended = ended, .ctx = c, .tcp_close = o->tcp_close, .unix_connect = o->unix_connect,
		.unix_close = o->unix_close, .uid = geteuid(), .gid = getegid(),
		.identifier = c->r->identifier, .description = o->description, .check_only = o->check_only,
		.after = o->after, .kill_signal = o->kill_signal == SIGKILL ? 0 : o->kill_signal, .progress = o->progress,
	};
	struct proc_stat st;

	if (o->id) {
		if (find_job(c, e))
			return -1;
		snprintf(c->r->identifier, sizeof c->r->identifier, "%s", c->j->id);
		k.hold = c->j->kind == JOB_CGROUP ? hold : NULL;
		k.groups = c->j->kind == JOB_CGROUP ? &c->j->cg : NULL;
		k.supervisor = c->j->supervisor;
		k.above = k.supervisor && !proc_stat_read(&st, k.supervisor, 0, NULL) ? st.ppid : 0;
		k.nsinit = c->j->nsinit;
		k.main = c->j->main;
		k.uid = c->j->uid;
		k.gid = c->j->gid;
	} else {
		if (proc_stat_read(&st, o->pid, 0, e))
			return err_set(e, EX_NOSUCH, "no process %d", o->pid);
		snprintf(c->r->identifier, sizeof c->r->identifier, "%d", o->pid);
		k.supervisor = k.above = st.ppid;
		k.main = o->pid;
	}
	if (next_version(c, e))
		return -1;
	k.version = c->r->version;
	k.fd = c->nv.fd >= 0 ? c->nv.fd : o->out;
	return cr_checkpoint(&k, &c->r->ckpt, e);
}

int save_job(const struct save_opts *o, struct save_result *r, struct err *e)
{
	struct ctx c = { .o = o, .r = r, .nv = { .fd = -1, .dir = -1 } };
	int rc, pruned = 0;

	memset(r, 0, sizeof *r);
	rc = run(&c, e);
	if (rc && c.nv.fd >= 0)
		job_version_abort(&c.nv);
	if (!rc && !o->check_only && o->out < 0)
		note(&c);
	/* Nobody else will: a job whose supervisor was killed. */
	if (!rc && c.j && o->after == CKPT_KILL && !o->check_only && !job_supervised(c.j))
		rc = job_finish(c.j, JOB_STOPPED, e);
	/* What was saved and ended is so, whether old versions can be removed or not. */
	if (!rc && !o->check_only && o->out < 0 && o->keep && !o->versions_dir)
		pruned = job_version_prune(o->state_dir, r->identifier, o->keep, e);
	if (c.j) {
		job_unlock(c.j);
		/* So that a restart may follow at once. */
		if (!rc && o->after == CKPT_KILL && !o->check_only)
			job_wait_unsupervised(o->state_dir, r->identifier);
		job_free(c.j);
	}
	if (!rc)
		rc = pruned;
	return rc ? err_prefix(e, o->id ? "job %s" : "%s", o->id ? o->id : r->identifier) : 0;
}
