/* members: stopping every process of a job, and who is whose parent, group, session.
 *
 * No freezer: a tool killed while a group is frozen would leave it frozen. SEIZE attaches, children of attached
 * processes attach by themselves, and the list of members is asked again until it names nobody new. When the tool dies, the
 * kernel detaches and everything goes on. */
#include "cr/internal.h"
#include "common/cleanup.h"
#include "common/log.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

enum { MAX_ROUNDS = 1000 };

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static struct dproc *add(struct dump *d, pid_t pid, struct err *e)
{
	struct dproc **v, *p;

	if ((d->nprocs & (d->nprocs - 1)) == 0) {
		v = realloc(d->procs, (d->nprocs ? 2 * d->nprocs : 1) * sizeof *v);
		if (!v) {
			err_set(e, EX_FAILED, "out of memory");
			return NULL;
		}
		d->procs = v;
	}
	p = calloc(1, sizeof *p);
	if (!p) {
		err_set(e, EX_FAILED, "out of memory");
		return NULL;
	}
	p->pid = p->tgid = pid;
	d->procs[d->nprocs++] = p;
	return p;
}

static int attach_new(struct dump *d, const struct ckpt_opts *o, size_t *from, struct err *e)
{
	struct pid_list l = { 0 };
	struct err why = ERR_INIT;
	int rc = 0;

	*from = d->nprocs;
	if (o->members(o->ctx, &l, e))
		return -1;
	for (size_t i = 0; i < l.n && !rc; i++) {
		struct tracee *t;
		struct dproc *p;

		if (dump_has_pid(d, l.v[i]))
			continue;
		err_clear(&why);
		if (tracee_attach(&t, l.v[i], &why)) {
			/* Gone, or a zombie: those are found as children of members. */
			if (why.code == EX_NOSUCH)
				continue;
			*e = why;
			rc = err_prefix(e, "pid %d", l.v[i]);
			break;
		}
		p = add(d, l.v[i], e);
		if (!p) {
			tracee_detach(t, NULL);
			rc = -1;
			break;
		}
		p->t = t;
	}
	pid_list_free(&l);
	return rc;
}

/* A process that exits while it is being stopped leaves the list again. */
static void drop(struct dump *d, size_t i)
{
	tracee_detach(d->procs[i]->t, NULL);
	free(d->procs[i]);
	memmove(&d->procs[i], &d->procs[i + 1], (d->nprocs - i - 1) * sizeof *d->procs);
	d->nprocs--;
}

/* A parent in vfork(2) cannot stop before its child executes or exits, which the child cannot do while we hold it. */
static void let_all_go(struct dump *d)
{
	static const struct timespec ms = { .tv_nsec = 1000000 };

	while (d->nprocs) {
		struct dproc *p = d->procs[--d->nprocs];
		tracee_detach(p->t, NULL);
		free(p);
	}
	nanosleep(&ms, NULL);
}

static int collect(struct dump *d, size_t from, int64_t deadline, struct err *e)
{
	struct pid_list born = { 0 };
	int rc = 0;

	for (size_t i = from; i < d->nprocs && !rc; i++) {
		struct err why = ERR_INIT;

		if (tracee_collect(d->procs[i]->t, deadline, &born, &why)) {
			if (why.code == EX_NOSUCH) {
				drop(d, i--);
				continue;
			}
			*e = why;
			rc = err_prefix(e, "pid %d", d->procs[i]->tgid);
		}
		for (; born.n && !rc; born.n--) {
			pid_t pid = born.v[born.n - 1];
			struct dproc *p;

			if (dump_has_pid(d, pid))
				continue;
			p = add(d, pid, e);
			rc = p ? tracee_attached(&p->t, pid, e) : -1;
			if (rc && p)
				d->nprocs--, free(p);
		}
	}
	pid_list_free(&born);
	return rc;
}

int members_stop(struct dump *d, const struct ckpt_opts *o, struct err *e)
{
	int64_t deadline = now_ms() + (o->stop_ms ? o->stop_ms : 10000);
	size_t from;

	for (int round = 0; round < MAX_ROUNDS; round++) {
		if (attach_new(d, o, &from, e))
			return -1;
		if (from == d->nprocs)
			return d->nprocs ? 0 : err_set(e, EX_NOSUCH, "the job has no process");
		struct err why = ERR_INIT;
		if (!collect(d, from, deadline, &why))
			continue;
		*e = why;
		if (why.code != EX_BUSY || now_ms() >= deadline)
			return -1;
		err_clear(e);
		let_all_go(d);
	}
	return err_set(e, EX_FAILED, "the job makes processes faster than they can be stopped");
}

/* ---- zombies: children of members that nobody has waited for ---- */

static int add_zombies_of(struct dump *d, pid_t pid, pid_t tid, struct err *e)
{
	char name[64];
	struct buf b = BUF_INIT;

	snprintf(name, sizeof name, "task/%d/children", tid);
	if (proc_read(&b, pid, name, 16 << 20)) {
		buf_free(&b);
		return 0;
	}
	for (char *s = b.p, *end; s && *s; s = end) {
		long c = strtol(s, &end, 10);
		struct proc_stat st;
		struct dproc *z;

		if (end == s)
			break;
		if (dump_has_pid(d, (pid_t)c) || proc_stat_read(&st, (pid_t)c, 0, NULL) || !proc_stat_ended(&st))
			continue;
		z = add(d, (pid_t)c, e);
		if (!z) {
			buf_free(&b);
			return -1;
		}
		z->zombie = true;
	}
	buf_free(&b);
	return 0;
}

static int add_zombies(struct dump *d, struct err *e)
{
	size_t n = d->nprocs;

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < d->procs[i]->t->nthr; k++)
			if (add_zombies_of(d, d->procs[i]->tgid, d->procs[i]->t->thr[k].tid, e))
				return -1;
	return 0;
}

/* ---- who is who ---- */

/* In the job's reference PID namespace. */
static pid_t number(const struct dump *d, const struct proc_status *s) { return d->level < s->nnspid ? s->nspid[d->level] : s->pid; }

/* Threads that exited while their process was being stopped. */
static void drop_threads(struct tracee *t)
{
	size_t n = 0;

	for (size_t i = 0; i < t->nthr; i++)
		if (t->thr[i].state != THREAD_GONE)
			t->thr[n++] = t->thr[i];
	t->nthr = n;
}

static int look_threads(const struct dump *d, struct dproc *p, struct err *e)
{
	drop_threads(p->t);
	p->nthr = p->t->nthr;
	p->headless = p->t->zombie_leader;
	p->thr = calloc(p->nthr + p->headless, sizeof *p->thr);
	if (!p->thr)
		return err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; i < p->nthr + p->headless; i++) {
		struct dthread *th = &p->thr[i];

		th->t = i < p->nthr ? &p->t->thr[i] : NULL;
		th->tid = th->t ? th->t->tid : p->tgid;
		if (proc_status_read(&th->status, p->pid, th->tid, e) || proc_stat_read(&th->stat, p->pid, th->tid, e))
			return -1;
		th->vtid = number(d, &th->status);
	}
	return 0;
}

/* What counts as the process's own, whoever is asked. */
static int look_leader(const struct dump *d, struct dproc *p, struct err *e)
{
	struct proc_status s;
	struct proc_stat st;

	if (p->pid == p->tgid)
		return 0;
	if (proc_stat_read(&st, p->tgid, p->tgid, e) || proc_status_read(&s, p->tgid, 0, e))
		return -1;
	p->vpid = number(d, &s);
	proc_status_free(&s);
	p->stat.pid = st.pid;
	p->stat.exit_signal = st.exit_signal;
	p->stat.starttime = st.starttime;
	p->stat.flags = st.flags;
	memcpy(p->stat.comm, st.comm, sizeof p->stat.comm);
	return 0;
}

static int look(const struct dump *d, struct dproc *p, struct err *e)
{
	p->pid = p->zombie ? p->tgid : tracee_alive(p->t);
	if (proc_stat_read(&p->stat, p->pid, 0, e) || proc_status_read(&p->status, p->pid, 0, e))
		return -1;
	p->vpid = number(d, &p->status);
	if (look_leader(d, p, e))
		return -1;
	if (p->zombie)
		return 0;
	if (proc_maps_read(&p->maps, p->pid, true, e))
		return -1;
	return look_threads(d, p, e);
}

struct outside { pid_t pgrp, session; };

/* A group or session belongs to the job unless its leader lives and is no member, or the supervisor is in it. */
static bool is_outside(struct dump *d, pid_t id, pid_t vid, const struct outside *o)
{
	struct proc_stat st;

	if (!id || !vid || id == o->pgrp || id == o->session)
		return true;
	return !dump_has_pid(d, id) && !proc_stat_read(&st, id, 0, NULL);
}

static pid_t v_of(struct dump *d, pid_t pid)
{
	for (size_t i = 0; i < d->nprocs; i++)
		if (d->procs[i]->tgid == pid)
			return d->procs[i]->vpid;
	return 0;
}

static int find_level(struct dump *d, const struct ckpt_opts *o, struct err *e)
{
	struct proc_status s;

	d->level = 0;
	if (!o->nsinit)
		return 0;
	if (proc_status_read(&s, o->nsinit, 0, e))
		return -1;
	d->level = s.nnspid ? s.nnspid - 1 : 0;
	proc_status_free(&s);
	return 0;
}

int members_look(struct dump *d, const struct ckpt_opts *o, struct err *e)
{
	struct outside out = { 0 };
	struct proc_stat st;

	if (add_zombies(d, e) || find_level(d, o, e))
		return -1;
	for (size_t i = 0; i < d->nprocs; i++)
		if (look(d, d->procs[i], e))
			return err_prefix(e, "pid %d", d->procs[i]->tgid);
	d->job_groups = o->groups;
	d->nsinit = o->nsinit;
	d->above = o->above;
	d->supervisor = o->supervisor;
	d->own_ns = o->nsinit != 0;
	pid_t super = o->nsinit ? o->nsinit : o->supervisor;
	if (super && !proc_stat_read(&st, super, 0, NULL))
		out = (struct outside){ st.pgrp, st.session };
	for (size_t i = 0; i < d->nprocs; i++) {
		struct dproc *p = d->procs[i];
		pid_t vpg = p->status.nspgid[d->level] ? p->status.nspgid[d->level] : p->stat.pgrp;
		pid_t vsid = p->status.nssid[d->level] ? p->status.nssid[d->level] : p->stat.session;

		p->vppid = v_of(d, p->stat.ppid);
		p->vpgid = is_outside(d, p->stat.pgrp, vpg, &out) ? 0 : vpg;
		p->vsid = is_outside(d, p->stat.session, vsid, &out) ? 0 : vsid;
		if (p->zombie && !p->vppid)
			return err_set(e, EX_FAILED, "pid %d: a zombie without parent", p->tgid);
	}
	return 0;
}

void members_release(struct dump *d, enum ckpt_after after, int sig)
{
	struct err why = ERR_INIT;

	for (size_t i = 0; i < d->nprocs; i++) {
		struct dproc *p = d->procs[i];
		if (!p->t)
			continue;
		if (after == CKPT_KILL && !sig) {
			/* No process may see another die and act on it: all are killed while all stand. */
			kill(p->tgid, SIGKILL);
			continue;
		}
		if (after == CKPT_KILL)
			kill(p->tgid, sig);
		if (after == CKPT_STOP ? tracee_detach_stopped(p->t, &why) : tracee_detach(p->t, &why))
			log_debug("members", "pid %d: %s", p->tgid, why.msg);
		p->t = NULL;
	}
	/* The first process of a PID namespace is not dead before all in it are. */
	for (size_t depth = PROC_MAX_NSDEPTH; depth-- > 0;)
		for (int first = 0; first < 2; first++)
			for (size_t i = 0; i < d->nprocs; i++) {
				struct dproc *p = d->procs[i];

				if (!p->t || p->status.nnspid != depth + 1 || (p->status.nspid[depth] == 1) != first)
					continue;
				tracee_kill(p->t);
				p->t = NULL;
			}
}

void members_free(struct dump *d)
{
	for (size_t i = 0; i < d->nprocs; i++) {
		struct dproc *p = d->procs[i];
		for (size_t k = 0; k < p->nthr; k++) {
			proc_status_free(&p->thr[k].status);
			buf_free(&p->thr[k].queued);
		}
		free(p->thr);
		proc_status_free(&p->status);
		proc_maps_free(&p->maps);
		buf_free(&p->out);
		free(p);
	}
	free(d->procs);
	d->procs = NULL;
	d->nprocs = 0;
}
