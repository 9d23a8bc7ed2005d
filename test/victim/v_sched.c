/* Scheduling of four threads: nice value and affinity, idle policy, real-time policy where permitted, I/O priority, names of
 * odd bytes, timer slack. */
#include "victim.h"
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

enum { THREADS = 4 };

struct state {
	int policy, priority, nice, ioprio, slack;
	unsigned long cpus[16];
	char name[16];
};
static struct state st[THREADS];
static pthread_barrier_t built, go;

static void take(struct state *s)
{
	struct sched_param sp;

	memset(s, 0, sizeof(*s));
	s->policy = (int)syscall(SYS_sched_getscheduler, 0);
	VICTIM_TRY(syscall(SYS_sched_getparam, 0, &sp));
	s->priority = sp.sched_priority;
	s->nice = getpriority(PRIO_PROCESS, 0);
	s->ioprio = (int)syscall(SYS_ioprio_get, 1, 0);
	s->slack = prctl(PR_GET_TIMERSLACK);
	VICTIM_TRY(syscall(SYS_sched_getaffinity, 0, sizeof(s->cpus), s->cpus));
	VICTIM_TRY(prctl(PR_GET_NAME, s->name));
}

static void build(int i)
{
	static const char *const names[THREADS] = { "plain", "a) (b", "\1\n\"$`\\\x80\xff", "" };
	struct sched_param zero = { 0 }, rt = { .sched_priority = 11 };
	unsigned long one[16] = { 1 };

	VICTIM_TRY(prctl(PR_SET_NAME, names[i]));
	VICTIM_TRY(prctl(PR_SET_TIMERSLACK, 1000L * (i + 1)));
	VICTIM_TRY(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | i));
	VICTIM_TRY(setpriority(PRIO_PROCESS, 0, 3 + i));
	if (i == 1)
		VICTIM_TRY(syscall(SYS_sched_setaffinity, 0, sizeof(one), one));
	if (i == 2)
		VICTIM_TRY(syscall(SYS_sched_setscheduler, 0, SCHED_IDLE, &zero));
	if (i == 3) /* not everybody may */
		(void)!syscall(SYS_sched_setscheduler, 0, SCHED_RR | SCHED_RESET_ON_FORK, &rt);
	take(&st[i]);
}

static void check(int i)
{
	struct state now;

	take(&now);
	VICTIM_CHECK(now.policy == st[i].policy);
	VICTIM_CHECK(now.priority == st[i].priority);
	VICTIM_CHECK(now.nice == st[i].nice);
	VICTIM_CHECK(now.ioprio == st[i].ioprio);
	VICTIM_CHECK(now.slack == st[i].slack);
	VICTIM_CHECK(memcmp(now.name, st[i].name, sizeof(now.name)) == 0);
	VICTIM_CHECK(memcmp(now.cpus, st[i].cpus, sizeof(now.cpus)) == 0);
}

static void *body(void *arg)
{
	int i = (int)(long)arg;

	build(i);
	pthread_barrier_wait(&built);
	pthread_barrier_wait(&go);
	check(i);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t t[THREADS];

	victim_init(argc, argv);
	pthread_barrier_init(&built, NULL, THREADS);
	pthread_barrier_init(&go, NULL, THREADS);
	for (long i = 1; i < THREADS; i++)
		VICTIM_CHECK(pthread_create(&t[i], NULL, body, (void *)i) == 0);
	build(0);
	pthread_barrier_wait(&built);
	victim_wait();
	pthread_barrier_wait(&go);
	check(0);
	for (int i = 1; i < THREADS; i++)
		VICTIM_CHECK(pthread_join(t[i], NULL) == 0);
	return victim_ok();
}
