/* ns_pid: PID namespaces below the job's, pid_namespaces(7). Fields: [PARENT=id] LAST=. A task's numbers in them: NSPID= in its records.
 *
 * Its first process makes it (cr/tree_ns.c), so that one must be in the job. What a restart could not rebuild is refused by name.
 *
 * LAST is the number that was given last in it: the next child gets the one after it, as if nothing had been, and none that the job may still
 * remember. /proc/sys/kernel/ns_last_pid tells it to who lives there, and only to him. So a task of ours does for a moment; the kernel's counter
 * does not move for one whose numbers are chosen (clone3(2), set_tid). */
#include "res/ns_obj.h"
#include "common/cleanup.h"
#include "common/log.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { LAST_MAX = 4194304, ASIDE = 32767 /* below the usual pid_max */, ASIDE_MIN = 300 /* below the smallest one */, ASIDE_TRIES = 64, MIN_TRIES = 8 };

static struct dproc *first_of(struct dump *d, const struct dns *n)
{
	for (size_t i = 0; i < d->nprocs; i++) {
		struct dproc *p = d->procs[i];

		if (!p->zombie && p->ns[NSK_PID] == n && p->status.nspid[p->status.nnspid - 1] == 1)
			return p;
	}
	return NULL;
}

static bool is_below(const struct dns *user, const struct dns *owner)
{
	while (user && user != owner)
		user = user->user;
	return user == owner;
}

/* A process that is born in the user namespace of its PID namespace cannot enter what others own. */
static void owners_check(struct dump *d, struct dproc *p, const struct dns *owner, const struct dproc *first)
{
	if (!is_below(p->ns[NSK_USER], owner))
		refuse(d, p, "a PID namespace that belongs to a user namespace in which it is not");
	for (int k = 0; k < NSK_COUNT; k++) {
		const struct dns *n = p->ns[k];

		if (k == NSK_USER || k == NSK_PID || !n || is_below(n->user, owner) || (k != NSK_MNT && n == first->ns[k]))
			continue;
		refuse(d, p, "a %s namespace that does not belong to the user namespace of its PID namespace", ns_kind_name((enum ns_kind)k));
	}
}

static void member_check(struct dump *d, struct dproc *p, const struct dns *n, const struct dproc *first)
{
	struct dproc *parent = p->vppid ? dump_find(d, p->vppid) : NULL;

	if (n->user)
		owners_check(d, p, n->user, first);
	if (p != first && (!parent || (parent->ns[NSK_PID] != n && p->vppid != first->vppid)))
		refuse(d, p, "it has entered a PID namespace (%llu) from outside", (unsigned long long)n->ino);
	if (p->vpgid && !dump_find(d, p->vpgid))
		refuse(d, p, "in a PID namespace of its own: the leader of its process group %d has gone", p->vpgid);
	if (p->vsid && !dump_find(d, p->vsid))
		refuse(d, p, "in a PID namespace of its own: the leader of its session %d has gone", p->vsid);
}

static int pid_check(struct dump *d, struct dns *n, struct err *e)
{
	struct dproc *first = first_of(d, n);

	(void)e;
	if (n->parent && n->parent->user != n->user)
		refuse(d, n->p, "a PID namespace (%llu) of another user namespace than the one it is in", (unsigned long long)n->ino);
	if (!first)
		return refuse(d, n->p, "a PID namespace (%llu) whose first process is not in the job", (unsigned long long)n->ino);
	for (size_t i = 0; i < d->nprocs; i++) {
		struct dproc *p = d->procs[i];

		if (!p->zombie && p->ns[NSK_PID] == n)
			member_check(d, p, n, first);
	}
	return 0;
}

/* ---- the number that was given last ---- */

struct last { int ns, file; size_t depth; bool set; pid_t n; };

pid_t ns_pid_fork(size_t depth)
{
	pid_t v[PROC_MAX_NSDEPTH];
	struct clone_args a = { .exit_signal = SIGCHLD, .set_tid = (uintptr_t)v, .set_tid_size = depth };
	pid_t from = ASIDE;
	long pid = -1;

	for (int i = 0; i < ASIDE_TRIES && pid < 0 && !(from == ASIDE_MIN && i == MIN_TRIES); i++) {
		for (size_t k = 0; k < depth; k++)
			v[k] = from - i * PROC_MAX_NSDEPTH - (pid_t)k;
		pid = syscall(SYS_clone3, &a, sizeof a);
		if (pid >= 0 || errno == EEXIST)
			continue;
		if (errno != EINVAL || from == ASIDE_MIN)
			return -1;
		from = ASIDE_MIN; /* its pid_max is lower */
		i = -1;
	}
	return (pid_t)pid;
}

static int open_last(void *ctx, struct err *e)
{
	struct last *l = ctx;

	l->file = open("/proc/sys/kernel/ns_last_pid", (l->set ? O_WRONLY : O_RDONLY) | O_CLOEXEC);
	return l->file < 0 ? err_sys(e, "cannot open /proc/sys/kernel/ns_last_pid") : 0;
}

/* The exit status is the errno. */
static _Noreturn void aside(const struct last *l, int out)
{
	char text[16];
	ssize_t n;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (l->set) {
		n = snprintf(text, sizeof text, "%d", l->n);
		_exit(pwrite(l->file, text, (size_t)n, 0) == n ? 0 : errno);
	}
	n = pread(l->file, text, sizeof text, 0);
	_exit(n > 0 && write(out, text, (size_t)n) == n ? 0 : errno ? errno : EIO);
}

static int last_inside(void *ctx, struct buf *answer, int *give, struct err *e)
{
	const struct last *l = ctx;
	AUTO_FD int in = -1;
	AUTO_FD int out = -1;
	char text[16];
	int p[2], st = 0;
	ssize_t n;
	pid_t pid;

	(void)give;
	if (setns(l->ns, CLONE_NEWPID) || pipe2(p, O_CLOEXEC))
		return err_sys(e, "cannot enter it");
	in = p[0];
	out = p[1];
	pid = ns_pid_fork(l->depth);
	if (!pid)
		aside(l, out);
	if (pid < 0)
		return err_sys(e, "cannot make a process in it");
	while (waitpid(pid, &st, 0) < 0 && errno == EINTR)
		;
	errno = WIFEXITED(st) ? WEXITSTATUS(st) : EINTR;
	if (l->set && errno == EINVAL)
		log_verbose("PID %d, the last one that a PID namespace gave, is none on this node", l->n);
	else if (errno)
		return err_sys(e, "ns_last_pid");
	if (!l->set && (n = read(in, text, sizeof text)) > 0)
		buf_add(answer, text, (size_t)n);
	return 0;
}

static int last_of(struct ns_place *at, struct last *l, struct buf *answer, struct err *e)
{
	struct ns_job job = { .fn = last_inside, .before = open_last, .ctx = l };

	return ns_run(at, &job, answer, NULL, e);
}

size_t ns_pid_depth(const struct dns *n)
{
	size_t depth = 0;

	for (; n; n = n->parent)
		depth++;
	return depth;
}

static int pid_dump(struct dump *d, struct dns *n, struct buf *out, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	struct last l = { .ns = n->fd };
	struct ns_place at;

	l.depth = ns_pid_depth(n);
	ns_place_of(d, n, &at);
	at.fd[NSK_PID] = -1;
	if (last_of(&at, &l, &b, e))
		return -1;
	if (n->parent)
		rec_put_u64(out, "PARENT", n->parent->id);
	rec_put_u64(out, "LAST", strtoull(buf_str(&b), NULL, 10));
	return 0;
}

/* A PID namespace of xrestart's own: what comes next there comes after all that the job has or had, as it would have where it was. */
static void go_on_after_all(struct restore *r)
{
	AUTO_FD int fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
	pid_t last = 0;
	char text[16];
	int n;

	for (size_t i = 0; i < r->nprocs; i++) {
		const struct rproc *p = r->procs[i];

		if (!p->helper && p->pid > last)
			last = p->pid;
		for (size_t k = 0; k < p->nthr; k++)
			if (p->thr[k].tid > last)
				last = p->thr[k].tid;
	}
	n = snprintf(text, sizeof text, "%d", last);
	if (fd < 0 || write(fd, text, (size_t)n) != n)
		log_verbose("the next PIDs are low ones: %s", strerror(errno));
}

int ns_pid_finish(struct restore *r, struct err *e)
{
	if (r->own_ns)
		go_on_after_all(r);
	for (size_t i = 0; r->ns && i < r->ns->n; i++) {
		struct rns *n = &r->ns->v[i];
		struct last l = { .ns = n->fd, .depth = n->depth, .set = true };
		struct ns_place at;
		uint64_t v;

		if (n->kind != NSK_PID || n->fd < 0 || !rec_find(&n->rec, "LAST"))
			continue;
		if (rec_u64(&n->rec, "LAST", LAST_MAX, &v, e))
			return -1;
		l.n = (pid_t)v;
		ns_place_owner(n, &at);
		if (last_of(&at, &l, NULL, e))
			return err_prefix(e, "PID namespace %u", n->id);
	}
	return 0;
}

static int pid_verify(struct restore *r, struct rns *n, struct err *e)
{
	uint64_t parent, last;

	if (rec_u64_or(&n->rec, "PARENT", NS_MAX, 0, &parent, e) || rec_u64_or(&n->rec, "LAST", LAST_MAX, 0, &last, e))
		return -1;
	n->depth = 1;
	if (!parent)
		return 0;
	n->parent = parent < n->id ? ns_find(r, parent, NSK_PID) : NULL;
	if (!n->parent || n->parent->user != n->user)
		return err_set(e, EX_BAD_IMAGE, "line %zu: PARENT", n->rec.line);
	n->depth = n->parent->depth + 1;
	return n->depth < PROC_MAX_NSDEPTH - 1 ? 0 : err_set(e, EX_BAD_IMAGE, "line %zu: too deep", n->rec.line);
}

const struct ns_ops ns_pid_ops = { .kind = NSK_PID, .what = "PID", .check = pid_check, .dump = pid_dump, .verify = pid_verify };
