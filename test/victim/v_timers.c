/* Interval timers and POSIX timers with gaps in their ids: what remains goes on from where it was, ids and
 * notifications are the same, a timer that notifies one thread does, and one that is not armed stays so. */
#include "victim.h"
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static volatile int ticks, tid_ticks, wrong, stop;
static volatile pid_t target;
static timer_t far_timer;
static int id[6];

static void on_tick(int s, siginfo_t *si, void *ctx)
{
	if (si->si_code != SI_TIMER || si->si_value.sival_int != 500)
		wrong = 1;
	ticks++;
}

static void on_tid(int s, siginfo_t *si, void *ctx)
{
	if (syscall(SYS_gettid) != target || si->si_value.sival_int != 600)
		wrong = 2;
	tid_ticks++;
}

static void *thread(void *arg)
{
	target = (pid_t)syscall(SYS_gettid);
	while (!stop)
		victim_pause();
	return NULL;
}

/* The kernel's own call: the id itself. */
static int create(clockid_t clock, int notify, int sig, int value)
{
	struct sigevent ev = { .sigev_notify = notify, .sigev_signo = sig, .sigev_value.sival_int = value };
	int t;

	if (notify == SIGEV_THREAD_ID)
		ev.sigev_notify_thread_id = target;
	VICTIM_TRY(syscall(SYS_timer_create, clock, &ev, &t));
	return t;
}

static void set(int t, long sec, long nsec, long isec, long insec)
{
	struct itimerspec its = { { isec, insec }, { sec, nsec } };

	VICTIM_TRY(syscall(SYS_timer_settime, t, 0, &its, NULL));
}

static void check_far(int t, long sec, long interval)
{
	struct itimerspec its;

	VICTIM_TRY(syscall(SYS_timer_gettime, t, &its));
	VICTIM_CHECK(its.it_value.tv_sec <= sec && its.it_value.tv_sec > sec - 100);
	VICTIM_CHECK(its.it_interval.tv_sec == interval);
}

static void check_itimer(int which, long sec, long interval)
{
	struct itimerval it;

	VICTIM_TRY(getitimer(which, &it));
	VICTIM_CHECK(it.it_value.tv_sec <= sec && it.it_value.tv_sec > sec - 100);
	VICTIM_CHECK(it.it_interval.tv_sec == interval);
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_RESTART };
	struct sigaction st = { .sa_sigaction = on_tid, .sa_flags = SA_SIGINFO | SA_RESTART };
	struct itimerval real = { { 111, 0 }, { 5000, 0 } }, virt = { { 0, 0 }, { 6000, 0 } };
	struct itimerspec its;
	int n, m;
	pthread_t t;

	victim_init(argc, argv);
	VICTIM_TRY(sigaction(SIGRTMIN, &sa, NULL));
	VICTIM_TRY(sigaction(SIGRTMIN + 1, &st, NULL));
	VICTIM_CHECK(pthread_create(&t, NULL, thread, NULL) == 0);
	while (!target)
		victim_pause();
	VICTIM_TRY(setitimer(ITIMER_REAL, &real, NULL));
	VICTIM_TRY(setitimer(ITIMER_VIRTUAL, &virt, NULL));
	for (int i = 0; i < 6; i++)
		id[i] = create(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0);
	VICTIM_TRY(syscall(SYS_timer_delete, id[0]));
	VICTIM_TRY(syscall(SYS_timer_delete, id[3]));
	VICTIM_TRY(syscall(SYS_timer_delete, id[5]));
	set(id[1], 7000, 0, 77, 0); /* id[2], id[4] stay unarmed */
	n = create(CLOCK_REALTIME, SIGEV_SIGNAL, SIGRTMIN, 500);
	m = create(CLOCK_MONOTONIC, SIGEV_THREAD_ID, SIGRTMIN + 1, 600);
	set(n, 0, 10000000, 0, 10000000);
	set(m, 0, 10000000, 0, 10000000);
	VICTIM_TRY(timer_create(CLOCK_PROCESS_CPUTIME_ID, NULL, &far_timer));
	VICTIM_TRY(timer_settime(far_timer, 0, &(struct itimerspec){ { 0, 0 }, { 8000, 0 } }, NULL));

	victim_wait();

	ticks = tid_ticks = 0;
	for (int i = 0; i < 500 && (ticks < 5 || tid_ticks < 5); i++)
		victim_pause();
	VICTIM_CHECK(ticks >= 5 && tid_ticks >= 5);
	if (wrong)
		victim_fail("wrong notification: %d", wrong);
	check_itimer(ITIMER_REAL, 5000, 111);
	check_itimer(ITIMER_VIRTUAL, 6000, 0);
	check_far(id[1], 7000, 77);
	VICTIM_TRY(syscall(SYS_timer_gettime, id[2], &its));
	VICTIM_CHECK(its.it_value.tv_sec == 0 && its.it_value.tv_nsec == 0);
	VICTIM_TRY(syscall(SYS_timer_gettime, id[4], &its));
	VICTIM_CHECK(syscall(SYS_timer_gettime, id[3], &its) < 0);
	VICTIM_TRY(timer_gettime(far_timer, &its));
	VICTIM_CHECK(its.it_value.tv_sec <= 8000 && its.it_value.tv_sec > 7900);
	VICTIM_TRY(timer_delete(far_timer));
	VICTIM_TRY(syscall(SYS_timer_delete, n));
	VICTIM_TRY(syscall(SYS_timer_delete, m));
	stop = 1;
	VICTIM_CHECK(pthread_join(t, NULL) == 0);
	return victim_ok();
}
