/* Timers that fire once, all the time: one that fires while the process is being looked at is told as a signal that waits, or as what remains of it, and
 * never as neither. Two processes: one is woken by setitimer(2), the other by timers of timer_create(2) that signal it and a thread of it. Whoever waits
 * for the next one for five seconds has lost it. */
#include "victim.h"
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

enum { NSEC = 1000000, LOST_S = 5, KINDS = 3, FEW = 10 };
static const char *const kinds[KINDS] = { "setitimer(2)", "a timer that signals its process", "a timer that signals its thread" };

static bool next(int sig)
{
	static const struct timespec limit = { .tv_sec = LOST_S };
	sigset_t set;
	int got;

	sigemptyset(&set);
	sigaddset(&set, sig);
	while ((got = sigtimedwait(&set, NULL, &limit)) < 0 && errno == EINTR)
		;
	return got == sig;
}

/* Fires until there is P.go; how often, or a negative number: lost after so many. */
static long fire(int kind, int sig)
{
	struct sigevent ev = { .sigev_notify = kind == 2 ? SIGEV_THREAD_ID : SIGEV_SIGNAL, .sigev_signo = sig };
	struct itimerspec when = { .it_value = { .tv_nsec = NSEC } };
	struct itimerval real = { .it_value = { .tv_usec = NSEC / 1000 } };
	timer_t id = 0;
	long n = 0;

	ev._sigev_un._tid = (pid_t)syscall(SYS_gettid);
	if (kind && timer_create(CLOCK_MONOTONIC, &ev, &id))
		return -1;
	for (; !victim_go(); n++) {
		if (kind ? timer_settime(id, 0, &when, NULL) : setitimer(ITIMER_REAL, &real, NULL))
			return -1;
		if (!next(sig))
			return -1 - n;
	}
	return n;
}

static void *thread(void *arg)
{
	(void)arg;
	return (void *)(intptr_t)fire(2, SIGRTMIN + 2);
}

static void verdict(int kind, long n)
{
	if (n < 0)
		victim_fail("%s: the %ldth signal did not come", kinds[kind], -n);
	if (n < FEW)
		victim_fail("%s: fired only %ld times", kinds[kind], n);
}

int main(int argc, char **argv)
{
	pthread_t t;
	void *of_thread;
	sigset_t set;
	pid_t child;
	long n;
	int st;

	victim_init(argc, argv);
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	sigaddset(&set, SIGRTMIN + 1);
	sigaddset(&set, SIGRTMIN + 2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	child = fork();
	if (!child) {
		n = fire(0, SIGALRM);
		_exit(n < 0 ? 2 : n < FEW ? 3 : 0);
	}
	if (child < 0 || pthread_create(&t, NULL, thread, NULL))
		victim_fail("fork, pthread_create: %s", strerror(errno));
	victim_ready();
	n = fire(1, SIGRTMIN + 1);
	pthread_join(t, &of_thread);
	verdict(1, n);
	verdict(2, (long)(intptr_t)of_thread);
	if (waitpid(child, &st, 0) != child || st)
		victim_fail("%s: the child ended with %#x (%#x: a signal did not come, %#x: it fired too seldom)", kinds[0], st, 2 << 8, 3 << 8);
	return victim_ok();
}
