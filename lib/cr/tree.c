/* tree: the processes of a job, each made by its own parent, in the session where it belongs.
 *
 * A session is inherited at birth and can only be left by starting one's own. So: children that are in the session
 * their parent had before it started its own are made before that, the others after. A member without parent
 * inside the job that belongs to a session of the job is made by a passing child of that session's leader, which
 * ends at once, so that the restorer (a child subreaper) becomes its parent. A session whose leader has
 * gone gets one for a moment (plan.c, helper). setsid(2), prctl(2) PR_SET_CHILD_SUBREAPER.
 *
 * Children that share pages copy-on-write with their parent are made when the parent's memory is in place. */
#include "cr/clone3.h"
#include "cr/tree_ns.h"
#include "common/log.h"
#include "res/fd_ops.h"
#include "res/member_group.h"
#include "res/mm.h"
#include "res/ns_obj.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ull
#endif
/* CLONE3_SIZE_5_5: without `cgroup` */
enum { EXIT_ENTER = 97, EXIT_BOOT = 98 };

/* The kernel takes a process out of /proc a moment before its number, which is that of its group and session too, is free:
 * worth a few more tries. */
static bool leaves(pid_t pid, int *tries)
{
	static const struct timespec ms = { .tv_nsec = 1000000 };
	char path[32];

	snprintf(path, sizeof path, "/proc/%d", pid);
	if (++*tries > 100 || !access(path, F_OK))
		return false;
	nanosleep(&ms, NULL);
	return true;
}

static int clone_error(pid_t pid, struct err *e)
{
	struct proc_stat st;

	if (errno == EEXIST && !proc_stat_read(&st, pid, 0, NULL))
		return err_set(e, EX_BUSY, "PID %d is in use by \"%s\"", pid, st.comm);
	if (errno == EEXIST)
		return err_set(e, EX_BUSY, "PID %d is in use as the number of somebody's process group or session", pid);
	err_sys(e, "cannot make process %d", pid);
	if (errno == EPERM)
		err_hint(e, "choosing a PID needs CAP_CHECKPOINT_RESTORE; an ordinary user restarts with -N");
	return -1;
}

static int under_control(struct restore *r, struct rproc *p, pid_t pid, struct err *e)
{
	if (tracee_adopt(&p->t, pid, e) || remote_begin_at(&p->rem, p->t, 0, r->boot, e))
		return err_prefix(e, "process %d", p->pid);
	return 0;
}

/* In the new process, a copy of the restorer: nothing but system calls. */
static void root_child(struct restore *r, struct restart_run *run, pid_t parent, bool born_inside)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(EXIT_BOOT);
	sigaction(SIGCHLD, &dfl, NULL);
	if (run->enter && run->enter(run->ctx, born_inside))
		_exit(EXIT_ENTER);
	tracee_boot_self(r->boot);
	_exit(EXIT_BOOT);
}

/* A PID that neither somebody else nor the job has or will have. */
static pid_t passing_pid(struct restore *r)
{
	char path[32];

	for (pid_t pid = r->next_passing ? r->next_passing : 32700; pid > 300; pid--) {
		bool used = restore_find(r, pid) != NULL;

		for (size_t i = 0; i < r->nprocs && !used; i++) {
			used = r->procs[i]->pgid == pid || r->procs[i]->sid == pid;
			for (size_t k = 0; k < r->procs[i]->nthr && !used; k++)
				used = r->procs[i]->thr[k].tid == pid;
		}
		snprintf(path, sizeof path, "/proc/%d", pid);
		if (!used && access(path, F_OK)) {
			r->next_passing = pid - 1;
			return pid;
		}
	}
	return 0;
}

/* The first process of a PID namespace is there: others may be born in it from now on. */
static int pid_namespace_made(struct restore *r, const struct rproc *p, struct err *e)
{
	char path[64];

	if (!p->pidns || p->pidns->fd >= 0)
		return 0;
	snprintf(path, sizeof path, "/proc/%d/ns/pid", p->made);
	p->pidns->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (p->pidns->fd >= 0)
		p->pidns->fd = restore_high_fd(r, p->pidns->fd);
	return p->pidns->fd < 0 ? err_sys(e, "cannot keep the PID namespace of process %d", p->pid) : 0;
}

/* p, or a helper without number yet, as our child. */
static int make_child(struct restore *r, struct restart_run *run, struct rproc *p, struct err *e)
{
	pid_t parent = getpid();
	struct clone3_args a = { .exit_signal = SIGCHLD, .set_tid = (uint64_t)(uintptr_t)&p->pid, .set_tid_size = 1 };
	int group = member_groups_birth(r, p, run->group);
	bool inside = group >= 0;
	bool passing = !p->pid;
	int tries = 0;
	long pid;

	if (inside) {
		a.flags = CLONE_INTO_CGROUP;
		a.cgroup = (uint64_t)group;
	}
	do {
		if (passing)
			p->pid = passing_pid(r);
		pid = syscall(SYS_clone3, &a, sizeof a);
	} while (pid < 0 && errno == EEXIST && (passing ? ++tries < 100 : leaves(p->pid, &tries)));
	if (pid < 0 && inside && errno != EEXIST) {
		/* an older kernel, or a group that may not be entered this way */
		inside = false;
		memset(p->groups, 0, sizeof p->groups);
		a.flags = 0;
		pid = syscall(SYS_clone3, &a, CLONE3_SIZE_5_5);
	}
	if (pid && group != run->group) {
		int saved = errno;

		close(group);
		errno = saved;
	}
	if (pid < 0)
		return clone_error(p->pid, e);
	if (!pid)
		root_child(r, run, parent, inside);
	p->made = (pid_t)pid;
	p->cur_sid = 0;
	return under_control(r, p, p->made, e);
}

/* The first process of a PID namespace is another's child from birth, who must not be us. */
static int make_root_ns(struct restore *r, struct restart_run *run, struct rproc *p, struct err *e)
{
	struct rproc pass = { .helper = true, .exit_signal = SIGCHLD };
	int rc;

	if (make_child(r, run, &pass, e))
		return -1;
	rc = tree_clone_ns(r, NULL, &pass, p, e);
	if (rc && !err_is_set(e))
		clone_error(p->pid, e);
	if (!rc) {
		p->made = p->pid;
		memcpy(p->groups, pass.groups, sizeof p->groups);
		rc = under_control(r, p, p->made, e) || pid_namespace_made(r, p, e) ? -1 : 0;
	}
	if (tree_end(r, &pass, 0, NULL, rc ? NULL : e))
		rc = -1;
	if (pass.t) {
		remote_leave(pass.rem);
		tracee_kill(pass.t);
	}
	return rc;
}

static int make_root(struct restore *r, struct restart_run *run, struct rproc *p, struct err *e)
{
	if (p->pidns ? make_root_ns(r, run, p, e) : make_child(r, run, p, e))
		return -1;
	return mm_strip(r, p, e) ? err_prefix(e, "process %d", p->pid) : 0;
}

int tree_fork(struct restore *r, struct rproc *p, struct rproc *child, struct err *e)
{
	bool passing = !child->pid;
	int rc, tries = 0;

	/* Somebody else may take a passing PID between our look and the clone. */
	do {
		if (passing) {
			child->pid = passing_pid(r);
			child->pidns = p->pidns;
			child->nnspid = p->nnspid;
			for (size_t i = 0; i < p->nnspid; i++)
				child->nspid[i] = child->pid;
		}
		child->born = p->born;
		errno = 0;
		rc = child->pidns == p->pidns ? tree_clone(r, p, p, 0, child, e) : tree_clone_ns(r, p, p, child, e);
	} while (rc && errno == EEXIST && !err_is_set(e) && passing && ++tries < 100);
	if (rc)
		return err_is_set(e) ? err_prefix(e, "process %d", p->pid) : clone_error(child->pid, e);
	child->made = child->pid;
	child->cur_sid = p->cur_sid;
	memcpy(child->groups, p->groups, sizeof child->groups);
	if (under_control(r, child, child->pid, e))
		return -1;
	return pid_namespace_made(r, child, e);
}

static int call(struct rproc *p, const char *what, long nr, uint64_t a, uint64_t b, uint64_t c, struct err *e)
{
	remote_call(p->rem, what, REMOTE_MUST, nr, a, b, c, 0, 0, 0);
	return remote_run(p->rem, e) ? err_prefix(e, "process %d", p->pid) : 0;
}

int tree_end(struct restore *r, struct rproc *p, int status, struct rproc *reaper, struct err *e)
{
	static const struct rlimit none;
	uint64_t act[4] = { 0 };
	int sig = status & 0x7f;

	if (sig) {
		/* No core dump of what is only a shell of the process that died. */
		remote_call(p->rem, "setrlimit", REMOTE_MUST, SYS_setrlimit, RLIMIT_CORE, remote_put(p->rem, &none, sizeof none), 0, 0, 0, 0);
		if (sig != SIGKILL && sig != SIGSTOP)
			remote_call(p->rem, "rt_sigaction", REMOTE_MUST, SYS_rt_sigaction, (uint64_t)sig,
				    remote_put(p->rem, act, sizeof act), 0, 8, 0, 0);
		if (remote_run(p->rem, e))
			return -1;
	}
	if (tracee_end(p->t, p->rem, status, e))
		return err_prefix(e, "process %d", p->pid);
	p->rem = NULL;
	p->t = NULL;
	if (!reaper)
		return 0;
	/* In a namespace below it may have got any number; it is the only one that is dead. */
	return call(reaper, "wait4", SYS_wait4, reaper->nnspid ? (uint64_t)-1 : (uint64_t)p->pid, 0, __WALL, e);
}

/* q has no parent inside, but a session in it: see the head of this file. */
static int make_orphan(struct restore *r, struct rproc *host, struct rproc *q, struct err *e)
{
	struct rproc pass = { .helper = true };
	int rc;

	if (tree_fork(r, host, &pass, e))
		return -1;
	rc = tree_fork(r, &pass, q, e);
	if (tree_end(r, &pass, 0, host, rc ? NULL : e))
		rc = -1;
	if (pass.t) {
		remote_leave(pass.rem);
		tracee_kill(pass.t);
	}
	return rc || mm_strip(r, q, e) ? -1 : 0;
}

static bool wants_memory(const struct rproc *p)
{
	for (size_t i = 0; i < p->nchildren; i++)
		if (mm_has_cow(p->children[i]))
			return true;
	return false;
}

static int fork_child(struct restore *r, struct rproc *p, struct rproc *c, struct err *e)
{
	if (c->birth >= 0 && c->birth != p->cur_sid)
		return err_set(e, EX_FAILED, "process %d: session %d cannot be rebuilt", c->pid, c->birth);
	if (c->pidns != p->pidns && c->pgid == p->pgid && tree_join_now(r, p, e))
		return -1;
	c->base = p->mm_mapped ? p : p->base;
	return tree_fork(r, p, c, e);
}

static int grow(struct restore *r, struct rproc *p, struct err *e);

static int grow_orphans(struct restore *r, struct rproc *p, struct err *e)
{
	for (size_t i = 0; i < r->nprocs; i++) {
		struct rproc *q = r->procs[i];
		if (q == p || q->parent || q->helper || q->birth != p->pid)
			continue;
		if (make_orphan(r, p, q, e))
			return -1;
	}
	for (size_t i = 0; i < r->nprocs; i++) {
		struct rproc *q = r->procs[i];
		if (q != p && !q->parent && !q->helper && q->birth == p->pid && grow(r, q, e))
			return -1;
	}
	return 0;
}

/* The first process of a PID namespace before others that p has in it. */
static void firsts_first(struct rproc *p)
{
	for (size_t i = 0, n = 0; i < p->nchildren; i++) {
		struct rproc *c = p->children[i];

		if (c->pidns == p->pidns || c->nspid[c->nnspid - 1] != 1)
			continue;
		memmove(&p->children[n + 1], &p->children[n], (i - n) * sizeof *p->children);
		p->children[n++] = c;
	}
}

/* Makes all that is below p. */
static int grow(struct restore *r, struct rproc *p, struct err *e)
{
	bool leads = p->sid == p->pid;

	if (member_groups_put(r, p, e))
		return -1;
	if (wants_memory(p) && mm_map(r, p, e))
		return err_prefix(e, "process %d", p->pid);
	firsts_first(p);
	for (size_t i = 0; leads && i < p->nchildren; i++)
		if (p->children[i]->birth >= 0 && p->children[i]->birth != p->pid && fork_child(r, p, p->children[i], e))
			return -1;
	if (leads) {
		if (call(p, "setsid", SYS_setsid, 0, 0, 0, e) || (!p->helper && !p->zombie && tty_session_start(r, p, e)))
			return -1;
		p->cur_sid = p->pid;
	}
	for (size_t i = 0; i < p->nchildren; i++)
		if (!p->children[i]->made && fork_child(r, p, p->children[i], e))
			return -1;
	for (size_t i = 0; i < p->nchildren; i++)
		if (grow(r, p->children[i], e))
			return -1;
	return leads ? grow_orphans(r, p, e) : 0;
}

int tree_make(struct restore *r, struct restart_run *run, struct err *e)
{
	for (size_t i = 0; i < r->nprocs; i++) {
		struct rproc *p = r->procs[i];
		if (!p->parent && p->birth <= 0 && (make_root(r, run, p, e) || grow(r, p, e)))
			return -1;
	}
	for (size_t i = 0; i < r->nprocs; i++)
		if (!r->procs[i]->made)
			return err_set(e, EX_FAILED, "process %d: session %d cannot be rebuilt", r->procs[i]->pid, r->procs[i]->sid);
	return 0;
}

static void see_dead(struct rproc *p)
{
	if (p->rem)
		remote_leave(p->rem);
	if (p->t)
		tracee_kill(p->t);
	p->rem = NULL;
	p->t = NULL;
}

void tree_kill(struct restore *r)
{
	/* All are ours: EXITKILL and PDEATHSIG would end them too, but we want to see the end. */
	for (size_t i = 0; i < r->nprocs; i++)
		if (r->procs[i]->made)
			kill(r->procs[i]->made, SIGKILL);
	/* The first process of a PID namespace is not dead before all in it are. */
	for (size_t depth = PROC_MAX_NSDEPTH; depth-- > 0;)
		for (int first = 0; first < 2; first++)
			for (size_t i = 0; i < r->nprocs; i++) {
				struct rproc *p = r->procs[i];

				if (p->nnspid == depth && (depth && p->nspid[depth - 1] == 1) == first)
					see_dead(p);
			}
	for (size_t i = 0; i < r->nprocs; i++)
		if (r->procs[i]->made && !r->procs[i]->parent)
			waitpid(r->procs[i]->made, NULL, __WALL);
}
