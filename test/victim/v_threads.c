/* Threads: each has its id, TLS, robust list, signal stack, blocked and queued signals; exit clears the tid
 * address (pthread_join returns), a robust mutex of a thread that dies after the restart is handed on, rseq tells the right CPU. */
#include "victim.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum { THREADS = 12, STACK = 32768 };

static pthread_barrier_t built, go;
static pthread_mutex_t robust[THREADS];
static __thread int mine;
static char *stacks;

static void *body(void *arg)
{
	int i = (int)(long)arg;
	pid_t tid = (pid_t)syscall(SYS_gettid);
	stack_t ss = { .ss_sp = stacks + i * STACK, .ss_size = STACK, .ss_flags = i % 2 ? (int)(1u << 31) : 0 };
	static const struct timespec zero;
	sigset_t set;
	siginfo_t si;

	mine = 100 + i;
	VICTIM_TRY(sigaltstack(&ss, NULL));
	VICTIM_CHECK(pthread_mutex_lock(&robust[i]) == 0);
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + i % 3);
	sigaddset(&set, SIGUSR1);
	VICTIM_CHECK(pthread_sigmask(SIG_SETMASK, &set, NULL) == 0);
	VICTIM_TRY(pthread_sigqueue(pthread_self(), SIGRTMIN + i % 3, (union sigval){ .sival_int = i }));
	VICTIM_TRY(pthread_kill(pthread_self(), SIGUSR1));
	pthread_barrier_wait(&built);
	pthread_barrier_wait(&go);
	VICTIM_CHECK(mine == 100 + i && syscall(SYS_gettid) == tid);
	VICTIM_TRY(sigaltstack(NULL, &ss));
	VICTIM_CHECK(ss.ss_sp == stacks + i * STACK && ss.ss_size == STACK);
	VICTIM_CHECK(ss.ss_flags == (i % 2 ? (int)(1u << 31) : 0));
	VICTIM_CHECK(sigtimedwait(&set, &si, &zero) == SIGUSR1 && si.si_code == SI_USER && si.si_pid == getpid());
	VICTIM_CHECK(sigtimedwait(&set, &si, &zero) == SIGRTMIN + i % 3 && si.si_value.sival_int == i);
	VICTIM_CHECK(sigtimedwait(&set, &si, &zero) < 0);
	for (int k = 0; k < 100; k++) {
		unsigned cpu;
		int a = sched_getcpu();

		VICTIM_TRY(syscall(SYS_getcpu, &cpu, NULL, NULL));
		if (a == (int)cpu)
			return NULL; /* without unlocking */
	}
	victim_fail("thread %d: sched_getcpu() is never right", i);
}

int main(int argc, char **argv)
{
	pthread_t t[THREADS];
	pthread_mutexattr_t ma;

	victim_init(argc, argv);
	stacks = mmap(NULL, THREADS * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	VICTIM_CHECK(stacks != MAP_FAILED);
	pthread_mutexattr_init(&ma);
	pthread_mutexattr_setrobust(&ma, PTHREAD_MUTEX_ROBUST);
	pthread_barrier_init(&built, NULL, THREADS + 1);
	pthread_barrier_init(&go, NULL, THREADS + 1);
	for (long i = 0; i < THREADS; i++) {
		pthread_mutex_init(&robust[i], &ma);
		VICTIM_CHECK(pthread_create(&t[i], NULL, body, (void *)i) == 0);
	}
	pthread_barrier_wait(&built);
	victim_wait();
	pthread_barrier_wait(&go);
	for (int i = 0; i < THREADS; i++) {
		VICTIM_CHECK(pthread_join(t[i], NULL) == 0);
		VICTIM_CHECK(pthread_mutex_lock(&robust[i]) == EOWNERDEAD);
	}
	return victim_ok();
}
