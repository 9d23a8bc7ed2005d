/* Sleeps that tell what remains of them: nanosleep(2) and clock_nanosleep(2) with another place for it, with the same, by a signal
 * that ends them after the restart; the registers and the time that was asked for stay as they were. */
#include "victim.h"
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>

enum { LONG = 100000, BEFORE_MS = 1500, N = 3 };

static struct sleeper {
	struct timespec want, rest;
	pthread_t t;
	volatile int tid, done;
	long ret, args_changed;
} s[N];

static void on_usr1(int sig) { }

/* With a look at the registers: system calls keep all of them but rax, rcx and r11. */
static long call4(long nr, long a, long b, long c, long d, long *changed)
{
	long ret, x = a, y = b, z = c;
	register long r10 __asm__("r10") = d;

	__asm__ volatile("syscall" : "=a"(ret), "+D"(x), "+S"(y), "+d"(z), "+r"(r10) : "a"(nr) : "rcx", "r11", "memory");
	*changed = x != a || y != b || z != c || r10 != d;
	return ret;
}

static void *run(void *arg)
{
	struct sleeper *me = arg;

	me->want = (struct timespec){ LONG, 12345 };
	me->tid = (int)syscall(SYS_gettid);
	if (me == &s[0])
		me->ret = call4(SYS_nanosleep, (long)&me->want, (long)&me->rest, 3, 4, &me->args_changed);
	else if (me == &s[1])
		me->ret = call4(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, (long)&me->want, (long)&me->rest, &me->args_changed);
	else
		me->ret = call4(SYS_nanosleep, (long)&me->want, (long)&me->want, 3, 4, &me->args_changed);
	me->done = 1;
	return NULL;
}

static double at(const struct timespec *t) { return (double)t->tv_sec + (double)t->tv_nsec / 1e9; }

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return at(&t);
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_usr1 };
	double start;

	victim_init(argc, argv);
	VICTIM_TRY(sigaction(SIGUSR1, &sa, NULL));
	for (int i = 0; i < N; i++)
		VICTIM_CHECK(pthread_create(&s[i].t, NULL, run, &s[i]) == 0);
	start = now();
	while (now() - start < BEFORE_MS / 1000.0)
		victim_pause();
	victim_wait();
	for (int i = 0; i < N; i++) {
		struct sleeper *me = &s[i];
		double rest;

		VICTIM_CHECK(!me->done);
		VICTIM_TRY(syscall(SYS_tgkill, getpid(), me->tid, SIGUSR1));
		VICTIM_CHECK(pthread_join(me->t, NULL) == 0);
		rest = at(i == 2 ? &me->want : &me->rest);
		if (me->ret != -EINTR || me->args_changed)
			victim_fail("sleep %d returned %ld, registers changed: %ld", i, me->ret, me->args_changed);
		VICTIM_CHECK(i == 2 || (me->want.tv_sec == LONG && me->want.tv_nsec == 12345));
		/* What it slept before the checkpoint is gone from it. */
		if (rest > LONG - BEFORE_MS / 1000.0 + 0.1 || rest < LONG - (now() - start) - 1)
			victim_fail("sleep %d: %.3f s remain of %d after %.3f s", i, rest, LONG, now() - start);
	}
	return victim_ok();
}
