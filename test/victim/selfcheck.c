/* selfcheck: three processes of three threads each, which check themselves all the time: memory that they rewrite again and
 * again, what the others of the process wrote, vector registers across calls, the signal mask, and that they are who they were.
 *
 *     selfcheck P COUNTERS      the protocol of victim.h; rounds of thread i of process k in number 3k + i of the file
 *                               COUNTERS (9 * 8 bytes, shared)
 *
 * Whatever differs is a failure at once: P.fail. When one process is missing the others say so. */
#include "victim.h"
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { PROCS = 3, THREADS = 3, WORDS = 64 * 1024 };
static volatile uint64_t *count;
static uint64_t *area[THREADS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t both[2];              /* always equal, under the lock */
static int self;                      /* 0: the parent */
static pid_t pids[PROCS];

static uint64_t pattern(uint64_t seed, uint64_t i)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15ull + i;

	x ^= x >> 29;
	return x * 0xbf58476d1ce4e5b9ull;
}

static void check_mask(int i)
{
	sigset_t m;

	if (pthread_sigmask(SIG_BLOCK, NULL, &m) || !sigismember(&m, SIGUSR1) || sigismember(&m, SIGUSR2) || sigismember(&m, SIGTERM))
		victim_fail("process %d thread %d: signal mask changed", self, i);
}

static void *work(void *arg)
{
	int i = (int)(intptr_t)arg;
	pid_t tid = (pid_t)syscall(SYS_gettid);
	double d = 1.0 + i;

	for (uint64_t round = 1;; round++) {
		double before = d;
		for (uint64_t k = 0; k < WORDS; k++) {
			if (area[i][k] != pattern(round - 1, k))
				victim_fail("process %d thread %d: word %llu changed in round %llu", self, i,
					    (unsigned long long)k, (unsigned long long)round);
			area[i][k] = pattern(round, k);
		}
		for (int n = 0; n < 1000; n++)
			d = d * 1.5 / 1.5;
		if (d != before)
			victim_fail("process %d thread %d: a sum changed", self, i);
		pthread_mutex_lock(&lock);
		if (both[0] != both[1])
			victim_fail("process %d thread %d: the lock let two in", self, i);
		both[0]++;
		if (round % 8 == 0)
			victim_pause();
		both[1]++;
		pthread_mutex_unlock(&lock);
		check_mask(i);
		if ((pid_t)syscall(SYS_gettid) != tid || getpid() != pids[self])
			victim_fail("process %d thread %d: a new PID", self, i);
		count[THREADS * self + i]++;
	}
	return NULL;
}

static void begin(void)
{
	pthread_t t;

	pids[self] = getpid();
	for (int i = 0; i < THREADS; i++) {
		area[i] = mmap(NULL, WORDS * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (area[i] == MAP_FAILED)
			_exit(98);
		for (uint64_t k = 0; k < WORDS; k++)
			area[i][k] = pattern(0, k);
	}
	for (int i = 0; i < THREADS; i++)
		VICTIM_CHECK(pthread_create(&t, NULL, work, (void *)(intptr_t)i) == 0);
}

int main(int argc, char **argv)
{
	sigset_t m;
	int fd = argc == 3 ? open(argv[2], O_RDWR | O_CREAT, 0600) : -1;

	if (fd < 0 || ftruncate(fd, 4096) < 0)
		return 2;
	victim_init(2, argv);
	count = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	VICTIM_CHECK(count != MAP_FAILED);
	sigemptyset(&m);
	sigaddset(&m, SIGUSR1);
	VICTIM_TRY(sigprocmask(SIG_BLOCK, &m, NULL));
	for (int k = 1; k < PROCS; k++) {
		pid_t pid = fork();
		VICTIM_TRY(pid);
		if (!pid) {
			self = k;
			begin();
			while (getppid() != 1)
				victim_pause();
			_exit(0);
		}
		pids[k] = pid;
	}
	begin();
	victim_ready();
	while (!victim_go()) {
		int st;
		if (waitpid(-1, &st, WNOHANG) != 0)
			victim_fail("a child ended, status 0x%x", st);
		victim_pause();
	}
	for (int k = 1; k < PROCS; k++)
		kill(pids[k], SIGKILL);
	return victim_ok();
}
