/* procstate: what the unit tests of the state of processes share: a process that builds a state, and its records. */
#ifndef XOS_UNIT_PROCSTATE_H
#define XOS_UNIT_PROCSTATE_H

#include "common/log.h"
#include "res/ns_obj.h"
#include "res/proc_ops.h"
#include <errno.h>
#include <asm/ldt.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <grp.h>
#include <sys/capability.h>
#include <sys/io.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BOOT = 0x10000000 };

static int bad;
static struct err e;

static const struct res_ops *const ops[] = {
	&res_unsupported, &res_ns, &res_umask, &res_sigaction, &res_procfs, &res_comm, &res_sched, &res_seccomp, &res_creds,
	&res_thread, &res_sigpending, &res_posix_timer, &res_itimer, &res_prctl, &res_rlimit, NULL
};

static void report(const char *name, const char *why)
{
	if (why)
		printf("not ok - %s: %s%s%s\n", name, why, err_is_set(&e) ? ": " : "", e.msg);
	else
		printf("ok - %s\n", name);
	fflush(stdout);
	bad += why != NULL;
	err_clear(&e);
}
#define TRY(c) do { if ((c) < 0) return #c; } while (0)
#define CHECK(c) do { if (!(c)) return #c; } while (0)

/* ---- the states ---- */

static void handler(int s) { (void)s; }

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	_exit(1);
}
#define MUST(c) do { if ((c) < 0) die(#c); } while (0)

static void build_plain(void)
{
	struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_RESTART | SA_ONSTACK };
	struct itimerval it = { { 5000, 0 }, { 7000, 0 } };
	struct itimerspec its = { { 11, 12 }, { 9000, 0 } };
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 3, .sigev_value.sival_int = 42 };
	struct rlimit rl = { 20, 30 };
	union sigval v = { .sival_int = 4711 };
	stack_t ss = { .ss_size = 65536 };
	sigset_t all;
	cpu_set_t cpus;
	timer_t t[4];

	umask(0137);
	sigaddset(&sa.sa_mask, SIGHUP);
	MUST(sigaction(SIGUSR1, &sa, NULL));
	MUST(sigaction(SIGRTMAX, &sa, NULL));
	signal(SIGPIPE, SIG_IGN);
	ss.ss_sp = mmap(NULL, ss.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(sigaltstack(&ss, NULL));
	sigfillset(&all);
	MUST(sigprocmask(SIG_BLOCK, &all, NULL));
	MUST(sigqueue(getpid(), SIGRTMIN + 5, v));
	v.sival_int++;
	MUST(sigqueue(getpid(), SIGRTMIN + 5, v));
	MUST(kill(getpid(), SIGTERM));
	MUST(raise(SIGUSR2)); /* of the thread */
	MUST(setitimer(ITIMER_REAL, &it, NULL));
	MUST(setitimer(ITIMER_PROF, &it, NULL));
	for (int i = 0; i < 4; i++)
		MUST(timer_create(i == 3 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &ev, &t[i]));
	MUST(timer_delete(t[0]));
	MUST(timer_delete(t[2]));
	MUST(timer_settime(t[1], 0, &its, NULL));
	MUST(timer_settime(t[3], 0, &its, NULL));
	MUST(setrlimit(RLIMIT_CORE, &rl));
	MUST(setrlimit(RLIMIT_NOFILE, &rl));
	MUST(setpriority(PRIO_PROCESS, 0, 7));
	CPU_ZERO(&cpus);
	CPU_SET(1, &cpus);
	if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
		MUST(sched_setaffinity(0, sizeof cpus, &cpus));
	MUST(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 6));
	MUST(prctl(PR_SET_NAME, "a \"b\" $c\n)"));
	MUST(prctl(PR_SET_TIMERSLACK, 123456));
	MUST(prctl(PR_SET_PDEATHSIG, SIGUSR1));
	MUST(prctl(PR_SET_CHILD_SUBREAPER, 1));
	MUST(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
	MUST(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0));
	MUST(prctl(PR_SET_TSC, PR_TSC_SIGSEGV));
	MUST(prctl(PR_SET_DUMPABLE, 0));
	if (prctl(66 /* PR_GET_MDWE, from Linux 6.3 on */, 0, 0, 0, 0) >= 0)
		MUST(prctl(65 /* PR_SET_MDWE */, 1, 0, 0, 0));
	if (syscall(SYS_get_mempolicy, NULL, NULL, 0, 0, 0) == 0)
		MUST(syscall(SYS_set_mempolicy, 3 /* interleave */, &(unsigned long){ 1 }, 64));
	MUST(personality(ADDR_NO_RANDOMIZE));
	(void)prctl(PR_SET_SPECULATION_CTRL, 0, 4, 0, 0);
}

/* ---- asking ---- */

static void dproc_free(struct dproc *p)
{
	proc_status_free(&p->status);
	if (p->thr)
		proc_status_free(&p->thr[0].status);
	free(p->thr);
	buf_free(&p->out);
}

/* From outside, before the process is disturbed. p->t is there. */
static const char *look(struct dproc *p)
{
	p->pid = p->vpid = p->t->pid;
	p->vsid = p->vpid;
	p->thr = calloc(1, sizeof *p->thr);
	p->nthr = 1;
	p->thr[0] = (struct dthread){ .t = &p->t->thr[0], .tid = p->pid, .vtid = p->pid };
	TRY(proc_status_read(&p->status, p->pid, 0, &e));
	TRY(proc_status_read(&p->thr[0].status, p->pid, p->pid, &e));
	TRY(proc_stat_read(&p->thr[0].stat, p->pid, p->pid, &e));
	return NULL;
}

/* p->rem is there too. */
static const char *ask_all(struct dump *d, struct dproc *p)
{
	for (size_t i = 0; ops[i]; i++)
		if (ops[i]->check)
			TRY(ops[i]->check(d, p, &e));
	for (size_t i = 0; ops[i]; i++)
		if (ops[i]->ask)
			TRY(ops[i]->ask(d, p, &e));
	if (d->nrefusals) {
		err_set(&e, 1, "%s", buf_str(&d->refusals));
		return "refused";
	}
	for (size_t i = 0; ops[i]; i++)
		if (ops[i]->dump)
			TRY(ops[i]->dump(d, p, &e));
	rec_begin(&p->out, "thread");
	rec_end(&p->out);
	for (size_t i = 0; ops[i]; i++)
		if (ops[i]->dump_thread)
			TRY(ops[i]->dump_thread(d, p, &p->thr[0], &e));
	return NULL;
}

static const char *ask(struct dproc *p)
{
	struct dump d = { .procs = &p, .nprocs = 1 };
	const char *why = ns_collect(&d, &e) ? "ns_collect" : ask_all(&d, p);

	ns_dump_free(&d);
	return why;
}

/* The records of a process and of its only thread, as the plan of a restart divides them. */
static void one_thread(struct rproc *p, struct rthread *th)
{
	struct rec rec;

	for (th->last = p->recs.n; th->first < p->recs.n; th->first++) {
		rec_list_get(&p->recs, th->first, &rec);
		if (strcmp(rec_type(&rec), "thread") == 0)
			break;
	}
	p->nown = th->first;
	p->thr = th;
	p->nthr = 1;
}

static const char *ask_child(struct dproc *p, void (*build)(void))
{
	pid_t pid = fork();
	const char *why;
	int st;

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		build();
		for (;;)
			pause();
	}
	usleep(10000);
	TRY(tracee_attach(&p->t, pid, &e));
	TRY(tracee_collect(p->t, INT64_MAX, NULL, &e));
	why = look(p);
	if (why)
		return why;
	TRY(remote_begin(&p->rem, p->t, 0, &e));
	why = ask(p);
	TRY(remote_end(p->rem, why ? NULL : &e));
	p->rem = NULL;
	tracee_kill(p->t);
	p->t = NULL;
	waitpid(pid, &st, 0);
	return why;
}

#endif
