/* 200 threads, each with its own TLS, stack, signal mask and name; asleep, in a condition variable, on a mutex, or running. */
#include "victim.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { N = 200 };
static __thread uint64_t tls[64];
static __thread int tls_tid;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER, held = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int go, ready;
static volatile uint64_t spins[4];

static void check_self(long i, const uint64_t *stack, uint64_t *tls_at, pthread_t self)
{
	char name[16], want[16];
	sigset_t set;

	VICTIM_CHECK((int)syscall(SYS_gettid) == tls_tid);
	VICTIM_CHECK(tls == tls_at && pthread_equal(self, pthread_self()));
	for (int k = 0; k < 64; k++)
		VICTIM_CHECK(tls[k] == (uint64_t)(i * 1000 + k) && stack[k] == (uint64_t)(i * 7 + k));
	prctl(PR_GET_NAME, name);
	snprintf(want, sizeof want, "thread-%ld", i);
	VICTIM_CHECK(!strcmp(name, want));
	pthread_sigmask(SIG_BLOCK, NULL, &set);
	for (int s = 0; s < 8; s++)
		VICTIM_CHECK(sigismember(&set, SIGRTMIN + s) == (int)(i >> s & 1));
}

static void wait_go(long i)
{
	switch (i % 4) {
	case 0:
		pthread_mutex_lock(&lock);
		while (!go)
			pthread_cond_wait(&cond, &lock);
		pthread_mutex_unlock(&lock);
		break;
	case 1:
		pthread_mutex_lock(&held); /* the main thread has it until then */
		pthread_mutex_unlock(&held);
		break;
	default:
		while (!__atomic_load_n(&go, __ATOMIC_SEQ_CST))
			if (i < 8)
				spins[i & 3]++, sched_yield();
			else
				victim_pause();
	}
}

static void *run(void *arg)
{
	volatile uint64_t stack[64];
	long i = (long)(intptr_t)arg;
	char name[16];
	sigset_t set;

	sigemptyset(&set);
	for (int s = 0; s < 8; s++)
		if (i >> s & 1)
			sigaddset(&set, SIGRTMIN + s);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	snprintf(name, sizeof name, "thread-%ld", i);
	prctl(PR_SET_NAME, name);
	tls_tid = (int)syscall(SYS_gettid);
	for (int k = 0; k < 64; k++) {
		tls[k] = (uint64_t)(i * 1000 + k);
		stack[k] = (uint64_t)(i * 7 + k);
	}
	__atomic_add_fetch(&ready, 1, __ATOMIC_SEQ_CST);
	wait_go(i);
	check_self(i, (const uint64_t *)stack, tls, pthread_self());
	return (void *)(intptr_t)(i * i);
}

int main(int argc, char **argv)
{
	pthread_t t[N], extra;
	pthread_attr_t attr;
	void *ret;

	victim_init(argc, argv);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	pthread_mutex_lock(&held);
	for (long i = 0; i < N; i++)
		VICTIM_CHECK(pthread_create(&t[i], &attr, run, (void *)(intptr_t)i) == 0);
	while (__atomic_load_n(&ready, __ATOMIC_SEQ_CST) < N)
		victim_pause();
	victim_wait();

	pthread_mutex_lock(&lock);
	__atomic_store_n(&go, 1, __ATOMIC_SEQ_CST);
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&lock);
	pthread_mutex_unlock(&held);
	for (long i = 0; i < N; i++) {
		VICTIM_CHECK(pthread_join(t[i], &ret) == 0);
		VICTIM_CHECK((long)(intptr_t)ret == i * i);
	}
	/* And new ones can be made. */
	VICTIM_CHECK(pthread_create(&extra, &attr, run, (void *)(intptr_t)2) == 0);
	VICTIM_CHECK(pthread_join(extra, &ret) == 0 && (long)(intptr_t)ret == 4);
	return victim_ok();
}
