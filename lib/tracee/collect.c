/* collect: waiting until every thread of a seized process stands. */
#include "tracee/internal.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a collection has to look after besides the threads of t. */
struct collect {
	struct tracee *t;
	struct pid_list *children; /* the caller's, or NULL */
	struct pid_list vforked;   /* children whose parent waits in vfork: they must run on */
};

static bool is_thread_of(pid_t pid, pid_t tid)
{
	char name[64];

	snprintf(name, sizeof(name), "/proc/%d/task/%d", (int)pid, (int)tid);
	return access(name, F_OK) == 0;
}

/* An auto-attached child nobody wants: wait for its first stop and let it go. */
static void let_go(pid_t child)
{
	int st;

	if (pt_wait(child, &st, 0) > 0 && !st_dead(st))
		pt_resume(XPT_DETACH, child, st_is_signal(st) ? WSTOPSIG(st) : 0);
}

static int hand_over(struct collect *c, pid_t child, struct err *e)
{
	if (!c->children) {
		let_go(child);
		return 0;
	}
	if (pid_list_add(c->children, child) < 0)
		return err_set(e, EX_FAILED, "out of memory");
	return 0;
}

/* Thread tid stands at a birth event; the child is traced already. */
static int newborn(struct collect *c, pid_t tid, int event, struct err *e)
{
	unsigned long child = 0;

	if (pt(XPT_GETEVENTMSG, tid, 0, &child) < 0)
		return 0; /* killed meanwhile: its wait will tell */
	if (is_thread_of(c->t->pid, (pid_t)child)) {
		if (!tracee_find(c->t, (pid_t)child) && !tracee_add(c->t, (pid_t)child))
			return err_set(e, EX_FAILED, "out of memory");
		return 0;
	}
	if (event != XPT_EV_VFORK)
		return hand_over(c, (pid_t)child, e);
	if (pid_list_add(&c->vforked, (pid_t)child) < 0)
		return err_set(e, EX_FAILED, "out of memory");
	return 0;
}

/* One stop of a thread that is on its way to its event stop. */
static int thread_event(struct collect *c, size_t i, int st, struct err *e)
{
	pid_t tid = c->t->thr[i].tid;
	int sig = 0;

	if (st_dead(st)) {
		c->t->thr[i].state = THREAD_GONE;
		return 0;
	}
	if (st_is_stop_event(st)) {
		c->t->thr[i].state = THREAD_STOPPED;
		c->t->thr[i].group_stopped = WSTOPSIG(st) != SIGTRAP;
		/* Now, not when all stand: were we killed before, a spurious EINTR would be seen. */
		return thread_save(c->t, &c->t->thr[i], e);
	}
	if (st_is_birth(st)) {
		if (newborn(c, tid, st_event(st), e) < 0)
			return -1;
	} else if (st_is_signal(st)) {
		sig = WSTOPSIG(st); /* delivered: a handler's first instruction is where it will stop */
	}
	if (pt_interrupt_and_resume(XPT_CONT, tid, sig) < 0 && errno != ESRCH)
		return err_sys(e, "thread %d: cannot resume it", (int)tid);
	return 0;
}

/* Keeps the children of vforking parents going. */
static int drive_vforked(struct collect *c, struct err *e)
{
	for (size_t i = 0; i < c->vforked.n; i++) {
		pid_t child = c->vforked.v[i];
		unsigned long born = 0;
		int st, w = child ? pt_wait(child, &st, WNOHANG) : 0;

		if (w == 0)
			continue;
		if (w < 0 || st_dead(st)) {
			c->vforked.v[i] = 0;
			continue;
		}
		if (st_is_birth(st) && pt(XPT_GETEVENTMSG, child, 0, &born) == 0 &&
		    hand_over(c, (pid_t)born, e) < 0)
			return -1;
		pt_resume(XPT_CONT, child, st_is_signal(st) ? WSTOPSIG(st) : 0);
	}
	return 0;
}

/* Is tid in a fork call, and is there a child of pid that we hold stopped? Then it cannot stop. */
static pid_t vfork_child(pid_t pid, pid_t tid)
{
	struct pid_list kids = { 0 };
	AUTO_BUF struct buf b = BUF_INIT;
	char name[64];
	pid_t found = 0;

	snprintf(name, sizeof(name), "task/%d/syscall", (int)tid);
	if (proc_read(&b, pid, name, 4096) < 0 || !arch_is_fork_call(atol(buf_str(&b))))
		return 0;
	if (proc_descendants(&kids, pid, NULL) < 0)
		return 0;
	for (size_t i = 0; i < kids.n && !found; i++) {
		struct proc_stat s;

		if (proc_stat_read(&s, kids.v[i], 0, NULL) == 0 && s.ppid == pid && s.state == 't' &&
		    traced_by_us(kids.v[i]))
			found = kids.v[i];
	}
	pid_list_free(&kids);
	return found;
}

/* Slow path: a thread does not come. */
static int look_at(struct collect *c, size_t i, bool late, struct err *e)
{
	struct tthread *th = &c->t->thr[i];
	struct proc_stat s;
	pid_t child;

	if (proc_stat_read(&s, c->t->pid, th->tid, NULL) < 0 || s.state == 'Z' || s.state == 'X') {
		/* An exited leader is not reported while its other threads live. */
		th->state = THREAD_GONE;
		return 0;
	}
	if (s.state != 'D' && !late)
		return 0;
	child = vfork_child(c->t->pid, th->tid);
	if (child)
		return err_set(e, EX_BUSY, "thread %d waits in vfork for pid %d", (int)th->tid, (int)child);
	if (late)
		return err_set(e, EX_FAILED, "thread %d does not stop (state %c)", (int)th->tid, s.state);
	return 0;
}

static int wait_all(struct collect *c, int64_t deadline_ms, struct err *e)
{
	size_t first = 0; /* all before stand */

	for (unsigned round = 0;; round++) {
		bool progress = false;
		int st, w;

		while (first < c->t->nthr && c->t->thr[first].state != THREAD_RUNNING)
			first++;
		if (first == c->t->nthr)
			return 0;
		for (size_t i = first; i < c->t->nthr; i++) {
			if (c->t->thr[i].state != THREAD_RUNNING)
				continue;
			w = pt_wait(c->t->thr[i].tid, &st, WNOHANG);
			if (w == 0 && i > first + 8)
				break; /* the others will not be far behind; do not poll thousands */
			if (w == 0)
				continue;
			progress = true;
			if (w < 0)
				c->t->thr[i].state = THREAD_GONE; /* also an exec by another thread */
			else if (thread_event(c, i, st, e) < 0)
				return -1;
		}
		if (drive_vforked(c, e) < 0)
			return -1;
		if (progress)
			continue;
		if (round % 64 == 63 || mono_ms() > deadline_ms)
			for (size_t i = first; i < c->t->nthr; i++)
				if (c->t->thr[i].state == THREAD_RUNNING &&
				    look_at(c, i, mono_ms() > deadline_ms, e) < 0)
					return -1;
		wait_a_little(round);
	}
}

/* Children whose vforking parents stand now: they become ordinary new children. */
static int stop_vforked(struct collect *c, struct err *e)
{
	for (size_t i = 0; i < c->vforked.n; i++) {
		pid_t child = c->vforked.v[i];

		if (!child)
			continue;
		pt(XPT_INTERRUPT, child, 0, NULL);
		if (hand_over(c, child, e) < 0)
			return -1;
	}
	return 0;
}

static int all_threads(struct collect *c, int64_t deadline_ms, struct err *e)
{
	size_t added;

	do {
		if (wait_all(c, deadline_ms, e) < 0 || tracee_scan(c->t, &added, e) < 0)
			return -1;
	} while (added > 0);
	return stop_vforked(c, e);
}

/* For an auto-attached child: it has the options of its parent, which are not known here. */
static bool suspend_seccomp(struct tracee *t)
{
	for (size_t i = 0; i < t->nthr; i++)
		if (t->thr[i].state == THREAD_STOPPED &&
		    pt(XPT_SETOPTIONS, t->thr[i].tid, 0, (void *)(long)(XPT_OPTIONS | XPT_O_SUSPEND_SECCOMP)) < 0)
			return false;
	return true;
}

static int read_status(struct tracee *t, struct err *e)
{
	struct proc_status s = { 0 };

	if (proc_status_read(&s, tracee_alive(t), 0, e) < 0)
		return -1;
	t->caught = s.sigcgt;
	if (s.seccomp == 0 || (t->seccomp_unsuspended && suspend_seccomp(t)))
		t->seccomp_unsuspended = false;
	proc_status_free(&s);
	return 0;
}

/* Its own number leads nowhere any more; that of a thread does. */
static void leave_leader(struct tracee *t)
{
	size_t n = 0;
	int fd;

	while (t->thr[n].state == THREAD_GONE)
		n++;
	t->nthr -= n;
	memmove(t->thr, t->thr + n, t->nthr * sizeof *t->thr);
	fd = (int)syscall(SYS_pidfd_open, (long)t->thr[0].tid, (long)O_EXCL /* PIDFD_THREAD */);
	t->files_hidden = fd < 0;
	if (fd < 0)
		return;
	if (t->pidfd >= 0)
		close(t->pidfd);
	t->pidfd = fd;
}

int tracee_collect(struct tracee *t, int64_t deadline_ms, struct pid_list *children, struct err *e)
{
	struct collect c = { .t = t, .children = children };
	size_t alive = 0;
	int n = all_threads(&c, deadline_ms, e);

	pid_list_free(&c.vforked);
	if (n < 0)
		return -1;
	for (size_t i = 0; i < t->nthr; i++)
		alive += t->thr[i].state == THREAD_STOPPED;
	if (alive == 0)
		return err_set(e, EX_NOSUCH, "has exited");
	t->zombie_leader = t->thr[0].state == THREAD_GONE || t->thr[0].tid != t->pid;
	if (t->zombie_leader)
		leave_leader(t);
	proc_maps_free(&t->maps);
	if (tracee_open_mem(t, e) < 0 || read_status(t, e) < 0 ||
	    proc_maps_read(&t->maps, tracee_alive(t), false, e) < 0)
		return -1;
	return tracee_heal(t, e);
}
