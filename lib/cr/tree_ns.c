#include "cr/tree_ns.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "cr/clone3.h"
#include "res/creds.h"
#include "res/ns_obj.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

pid_t tree_number_in(struct restore *r, const struct rproc *p, pid_t pid)
{
	const struct rproc *q = restore_find(r, pid);
	size_t level = p->nnspid;

	if (!level || !q)
		return pid;
	if (q->nnspid < level)
		return 0;
	return q->nspid[level - 1];
}

/* The kernel takes a process out of /proc a moment before its number, which is that of its group and session too, is free:
 * worth a few more tries. */
static bool leaves(pid_t pid, int tries)
{
	static const struct timespec ms = { .tv_nsec = 1000000 };
	char path[32];

	snprintf(path, sizeof path, "/proc/%d", pid);
	if (tries > 100 || !access(path, F_OK))
		return false;
	nanosleep(&ms, NULL);
	return true;
}

static bool known(struct restore *r, pid_t pid, pid_t maker)
{
	if (pid == maker)
		return true;
	for (size_t i = 0; i < r->nprocs; i++)
		if (r->procs[i]->made == pid)
			return true;
	return false;
}

/* The child of parent that is none of those made so far; 0: none. */
static pid_t newborn(struct restore *r, const struct rproc *parent, pid_t maker)
{
	pid_t of = parent ? parent->made : getpid();
	AUTO_BUF struct buf b = BUF_INIT;
	char name[64];
	long pid;

	snprintf(name, sizeof name, "task/%d/children", of);
	if (proc_read(&b, of, name, 16 << 20))
		return 0;
	for (char *s = b.p, *end; s && *s; s = end) {
		pid = strtol(s, &end, 10);
		if (end == s)
			return 0;
		if (!known(r, (pid_t)pid, maker))
			return (pid_t)pid;
	}
	return 0;
}

/* One that got another number goes again, and its parent waits for it. */
static int discard(struct restore *r, struct rproc *parent, pid_t pid, struct err *e)
{
	struct rproc wrong = { .pid = pid };
	long ret;

	if (tracee_adopt(&wrong.t, pid, e))
		return -1;
	tracee_kill(wrong.t);
	if (!parent) {
		waitpid(pid, NULL, __WALL);
		return 0;
	}
	return remote_one(parent->rem, "wait4", &ret, e, SYS_wait4, (uint64_t)-1, 0, __WALL, 0, 0, 0);
}

int tree_clone(struct restore *r, struct rproc *maker, struct rproc *parent, uint64_t flags, struct rproc *child, struct err *e)
{
	struct numbers nums;
	long ret;

	clone3_numbers(r, maker, child->pid, child->nspid, child->nnspid, &nums);
	for (int tries = 0; tries < CLONE3_TRIES; tries++) {
		struct clone3_args a = { .flags = flags, .exit_signal = flags & CLONE_PARENT ? 0 : (uint64_t)child->exit_signal };
		pid_t pid;

		if (!clone3_wait_free(&nums))
			continue;
		if (remote_room(maker->rem, 1, sizeof a + sizeof nums.v, e) || clone3_remote(maker, &a, &nums, &ret, e))
			return -1;
		if (ret == -EEXIST && (nums.may < nums.n || leaves(child->pid, tries)))
			continue;
		if (ret < 0) {
			errno = (int)-ret;
			return -1;
		}
		if (nums.may == nums.n)
			return 0;
		pid = newborn(r, parent, maker->made);
		if (pid == child->pid)
			return clone3_right_below(pid, &nums) ? 0 : err_set(e, EX_BUSY, "process %d: its number in a PID namespace of the job is in use", pid);
		log_debug("tree", "PID %d, not %d: once more", pid, child->pid);
		if (!pid || discard(r, parent, pid, e))
			return err_is_set(e) ? -1 : err_set(e, EX_FAILED, "process %d was lost when it was made", child->pid);
	}
	errno = EEXIST;
	return -1;
}

static int own_fd(const struct rproc *p, const char *ns)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/ns/%s", p->made, ns);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* p's next children are born there. */
static int children_in(struct rproc *p, int fd, struct err *e)
{
	char at[64];
	long mine;

	snprintf(at, sizeof at, "/proc/%d/fd/%d", getpid(), fd);
	if (remote_one(p->rem, "openat", &mine, e, SYS_openat, (uint64_t)AT_FDCWD, remote_put(p->rem, at, strlen(at) + 1), O_RDONLY | O_CLOEXEC, 0, 0, 0))
		return -1;
	if (mine < 0) {
		errno = (int)-mine;
		return err_sys(e, "cannot open %s", at);
	}
	remote_call(p->rem, "setns", REMOTE_MUST, SYS_setns, (uint64_t)mine, CLONE_NEWPID, 0, 0, 0, 0);
	remote_call(p->rem, "close", REMOTE_MUST, SYS_close, (uint64_t)mine, 0, 0, 0, 0, 0);
	return remote_run(p->rem, e);
}

/* Into an existing one: its first process is there already. */
static int clone_into(struct restore *r, struct rproc *p, struct rproc *child, struct err *e)
{
	AUTO_FD int home = own_fd(p, "pid");
	int rc;

	if (home < 0)
		return err_sys(e, "cannot look at the PID namespace of process %d", p->pid);
	if (children_in(p, child->pidns->fd, e))
		return -1;
	p->pidns_child = child->pidns;
	rc = tree_clone(r, p, p, 0, child, e);
	p->pidns_child = NULL;
	return children_in(p, home, rc ? NULL : e) ? -1 : rc;
}

/* q, which only passes, goes where the first process of a PID namespace must be born: into its ids, the namespaces that it could not enter itself, and
 * the user namespace that owns it. */
static int pass_into(struct restore *r, struct rproc *q, struct rproc *child, struct err *e)
{
	struct rns *user = child->pidns->user;

	if (creds_take_ids(r, child, q, e))
		return -1;
	for (int k = 0; k < NSK_COUNT; k++) {
		struct rns *n = ns_of(r, child, k);

		if (n && k != NSK_USER && k != NSK_PID && k != NSK_MNT && ns_enter_one(q, n, n->fd, e))
			return -1;
	}
	if (ns_enter_one(q, user, user->fd, e))
		return -1;
	q->born = user;
	return 0;
}

int tree_clone_ns(struct restore *r, struct rproc *parent, struct rproc *maker, struct rproc *child, struct err *e)
{
	struct rns *user = child->pidns->user, *now = maker->born;
	struct rproc pass = { .helper = true, .exit_signal = child->exit_signal };
	struct rproc *q = maker;
	uint64_t flags = CLONE_NEWPID | (parent ? 0 : CLONE_PARENT);
	int rc = 0;

	if (child->pidns->fd >= 0)
		return parent ? clone_into(r, maker, child, e) : err_set(e, EX_BAD_IMAGE, "process %d is in a PID namespace without its parent", child->pid);
	if (!child->nnspid || child->nspid[child->nnspid - 1] != 1)
		return err_set(e, EX_BAD_IMAGE, "process %d is in a PID namespace before its first process", child->pid);
	if (user != now && parent) {
		if (tree_fork(r, maker, &pass, e))
			return -1;
		q = &pass;
		flags |= CLONE_PARENT;
	}
	if (user != now)
		rc = pass_into(r, q, child, e);
	if (!rc) {
		q->pidns_child = child->pidns;
		rc = tree_clone(r, q, parent, flags, child, e);
		q->pidns_child = NULL;
	}
	child->born = q->born;
	if (q == &pass) {
		int saved = errno;

		if (tree_end(r, &pass, 0, maker, rc ? NULL : e))
			rc = -1;
		if (pass.t) {
			remote_leave(pass.rem);
			tracee_kill(pass.t);
		}
		errno = saved;
	}
	return rc;
}
