#include "job/supervise.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "job/internal.h"
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

enum { DEFAULT_GRACE_MS = 5000, POLL_MS = 100, LOCK_POLL_MS = 10 };

static const int forwarded[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGTSTP, SIGCONT };

/* Also the terminal's stops: the supervisor must not stop before the main process did. */
static void wait_set(sigset_t *s)
{
	sigemptyset(s);
	for (size_t i = 0; i < sizeof forwarded / sizeof *forwarded; i++)
		sigaddset(s, forwarded[i]);
	sigaddset(s, SIGTTIN);
	sigaddset(s, SIGTTOU);
	sigaddset(s, SIGCHLD);
}

int supervise_begin(struct supervise_signals *s, struct err *e)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigset_t set;
	wait_set(&set);
	/* An inherited SIG_IGN for SIGCHLD would reap the children behind our back. */
	if (sigaction(SIGCHLD, &dfl, &s->old_chld) < 0 || sigprocmask(SIG_BLOCK, &set, &s->old_mask) < 0)
		return err_sys(e, "signals");
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		return err_sys(e, "child subreaper");
	return 0;
}

void supervise_child(const struct supervise_signals *s)
{
	sigaction(SIGCHLD, &s->old_chld, NULL);
	sigprocmask(SIG_SETMASK, &s->old_mask, NULL);
}

struct loop {
	struct job *j;
	const struct supervise_opts *o;
	pid_t main;
	bool main_done;
	int main_status;        /* of wait(2) */
	bool children;          /* there is a child yet */
	int64_t started_ms;
	int64_t deadline_ms;    /* next step of the time limit; 0: none */
	bool termed;
};

/* The shell that started us sees the stop, and its fg or bg (SIGCONT to the group) lets both go on. In an orphaned
 * process group the kernel discards the stop, so nobody hangs. */
static void stop_with_main(int sig)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL }, old;
	sigset_t one;
	sigemptyset(&one);
	sigaddset(&one, sig);
	sigaction(sig, &dfl, &old);
	kill(getpid(), sig);
	sigprocmask(SIG_UNBLOCK, &one, NULL); /* stopped here */
	sigprocmask(SIG_BLOCK, &one, NULL);
	sigaction(sig, &old, NULL);
}

static void main_stopped(struct loop *l, int sig)
{
	if (sig != SIGTSTP && sig != SIGTTIN && sig != SIGTTOU)
		return;
	stop_with_main(sig);
	kill(l->main, SIGCONT);
}

static void reap(struct loop *l)
{
	unsigned char how;

	while (l->o->stops >= 0 && read(l->o->stops, &how, 1) == 1)
		if (l->o->job_control)
			main_stopped(l, how);
	for (;;) {
		int st;
		pid_t p = waitpid(-1, &st, WNOHANG | (l->o->job_control ? WUNTRACED : 0));
		if (p < 0 && errno == EINTR)
			continue;
		if (p <= 0) {
			l->children = p == 0;
			return;
		}
		if (p != l->main)
			continue;
		if (WIFSTOPPED(st)) {
			main_stopped(l, WSTOPSIG(st));
			continue;
		}
		l->main_done = true;
		l->main_status = st;
	}
}

static void forward(struct loop *l, const siginfo_t *si)
{
	int sig = si->si_signo;
	if (sig == SIGTTIN || sig == SIGTTOU)
		return; /* the main process stops by its own copy */
	if (l->main_done) {
		if (sig != SIGTSTP)
			job_kill(l->j, sig, NULL);
		return;
	}
	/* The terminal's Ctrl-C reaches the whole foreground group. */
	if (si->si_code == SI_KERNEL && getpgid(l->main) == getpgrp())
		return;
	kill(l->main, sig);
}

static void time_limit(struct loop *l)
{
	if (!l->deadline_ms || job_now_ms() < l->deadline_ms)
		return;
	if (l->o->timed_out)
		*l->o->timed_out = true;
	if (!l->termed) {
		l->termed = true;
		l->deadline_ms = job_now_ms() + (int64_t)(l->o->grace_ms ? l->o->grace_ms : DEFAULT_GRACE_MS);
		job_kill(l->j, SIGTERM, NULL);
		job_kill(l->j, SIGCONT, NULL); /* a stopped one would not see it */
	} else {
		l->deadline_ms = 0;
		job_kill(l->j, SIGKILL, NULL);
	}
}

/* Handles one signal or the time that passes; at most max_ms (0: until something happens). */
static void step(struct loop *l, int64_t max_ms)
{
	sigset_t set;
	siginfo_t si;
	struct timespec t;
	int64_t left = max_ms;
	wait_set(&set);
	if (l->deadline_ms) {
		int64_t d = l->deadline_ms - job_now_ms();
		d = d < 1 ? 1 : d;
		left = left && left < d ? left : d;
	}
	t.tv_sec = left / 1000;
	t.tv_nsec = left % 1000 * 1000000;
	int sig = left ? sigtimedwait(&set, &si, &t) : sigwaitinfo(&set, &si);
	if (sig == SIGCHLD)
		reap(l);
	else if (sig > 0)
		forward(l, &si);
	time_limit(l);
}

/* A group may hold processes that are nobody's children here; a tree is our children and below. */
static bool members_left(struct loop *l)
{
	reap(l);
	return l->j->kind == JOB_CGROUP ? l->children || !cgroup_empty(&l->j->cg) : l->children;
}

/* Waits for the lock without neglecting the children meanwhile: whoever holds it may wait for a member to vanish. */
static int take_lock(struct loop *l, struct err *e)
{
	for (;;) {
		struct err le = ERR_INIT;
		if (job_lock(l->j, false, &le) == 0)
			return 0;
		if (le.code != EX_BUSY) {
			if (e)
				*e = le;
			return -1;
		}
		step(l, LOCK_POLL_MS);
	}
}

static void kill_leftovers(struct loop *l)
{
	while (members_left(l)) {
		if (job_kill(l->j, SIGKILL, NULL) < 0)
			break; /* in D state for ever: the record still says running, a later command ends it */
		if (members_left(l))
			step(l, 1);
	}
}

/* What the group does not tell: times and peak of the largest process from getrusage(2). */
static void usage_of_children(struct loop *l)
{
	struct rusage ru;
	struct cgroup_usage *u = &l->j->usage;
	u->wall_ms = (uint64_t)(job_now_ms() - l->started_ms);
	if (l->j->kind == JOB_CGROUP || getrusage(RUSAGE_CHILDREN, &ru) < 0)
		return;
	u->cpu_user_us = (uint64_t)ru.ru_utime.tv_sec * 1000000 + (uint64_t)ru.ru_utime.tv_usec;
	u->cpu_sys_us = (uint64_t)ru.ru_stime.tv_sec * 1000000 + (uint64_t)ru.ru_stime.tv_usec;
	u->mem_peak = (uint64_t)ru.ru_maxrss * 1024;
	u->has_mem = true;
	u->io_read = (uint64_t)ru.ru_inblock * 512;
	u->io_write = (uint64_t)ru.ru_oublock * 512;
	u->has_io = true;
}

static int status_of(int st)
{
	return WIFSIGNALED(st) ? 128 + WTERMSIG(st) : WEXITSTATUS(st);
}

/* Under the lock. */
static int finish(struct loop *l, bool stopped, int *status, struct err *e)
{
	struct job *j = l->j;
	kill_leftovers(l);
	if (fault("job-ended")) /* only of use as job-ended:kill */
		log_debug("job", "fault job-ended");
	usage_of_children(l);
	if (!stopped) {
		j->exit_code = WIFEXITED(l->main_status) ? WEXITSTATUS(l->main_status) : -1;
		j->exit_signal = WIFSIGNALED(l->main_status) ? WTERMSIG(l->main_status) : -1;
	}
	*status = stopped ? EX_CKPT_STOPPED : status_of(l->main_status);
	return job_finish(j, stopped ? JOB_STOPPED : JOB_DONE, e);
}

int supervise(struct job *j, const struct supervise_opts *o, int *status, struct err *e)
{
	struct loop l = { .j = j, .o = o, .main = j->main, .started_ms = job_now_ms() };
	if (o->time_ms)
		l.deadline_ms = l.started_ms + (int64_t)o->time_ms;
	for (reap(&l); !l.main_done && l.children;)
		step(&l, 0);
	if (!l.main_done)
		l.main_status = 0; /* no child of ours: somebody else took its status */
	*status = status_of(l.main_status);
	l.main_done = true;
	log_debug("job", "main process ended, wait status 0x%x", (unsigned)l.main_status);
	for (;;) {
		if (take_lock(&l, e) < 0)
			return -1;
		if (j->supervisor && j->supervisor != getpid()) {
			/* stopped and brought back by somebody else already: the record and the groups in it are his */
			job_unlock(j);
			*status = EX_CKPT_STOPPED;
			return 0;
		}
		bool stopped = j->state == JOB_STOPPED;
		if (stopped || !o->wait_all || !members_left(&l)) {
			int r = finish(&l, stopped, status, e);
			job_unlock(j);
			return r;
		}
		/* xcheckpoint needs the lock while the others run on */
		job_unlock(j);
		step(&l, j->kind == JOB_CGROUP ? POLL_MS : 0);
	}
}
