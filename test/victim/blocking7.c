/* blocking7: seven threads, each in its own kind of blocking call, again and again: nanosleep, read, poll,
 * epoll_wait, timed futex, clock_nanosleep, sigtimedwait. None may return too early or with EINTR.
 *
 *     blocking7 P               the protocol of victim.h
 *     blocking7 P COUNTERS      also counts in the file COUNTERS (8 * 8 bytes, shared), for kill tests:
 *                               a round of thread i in number i, number 7: EINTR of epoll_wait and sigtimedwait,
 *                               which the kernel makes itself (signal(7)) when a tracer dies right behind the stop.
 * Without COUNTERS such an EINTR is a failure too. */
#include "victim.h"
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum { MS = 1000 * 1000, EINTRS = 7 };
static volatile uint64_t own[8], *count = own;
static int feed[2];

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* The call of thread i came back. */
static void back(int i, int got, int want, int want_errno, int64_t t0, int64_t least)
{
	int error = errno;
	sigset_t m;

	if (got < 0 && error == EINTR && count != own && (i == 3 || i == 6)) {
		__atomic_add_fetch(&count[EINTRS], 1, __ATOMIC_RELAXED);
		return;
	}
	if (got != want || (want < 0 && error != want_errno))
		victim_fail("thread %d: result %d (%s)", i, got, strerror(error));
	if (now_ns() - t0 < least)
		victim_fail("thread %d: back after %lld ns", i, (long long)(now_ns() - t0));
	if (pthread_sigmask(SIG_BLOCK, NULL, &m) != 0 || sigismember(&m, SIGUSR2))
		victim_fail("thread %d: signal mask changed", i);
	count[i]++;
}

static void *sleeper(void *p)
{
	unsigned char n = 0;

	for (;; n++) {
		struct timespec ts = { 0, 2 * MS };
		int64_t t0 = now_ns();
		int got = nanosleep(&ts, NULL);

		back(0, got, 0, 0, t0, 2 * MS);
		if (write(feed[1], &n, 1) != 1)
			victim_fail("write: %s", strerror(errno));
	}
	return p;
}
static void *reader(void *p)
{
	unsigned char c, n = 0;

	for (;; n++) {
		int got = (int)read(feed[0], &c, 1);

		back(1, got, 1, 0, now_ns(), 0);
		if (c != n)
			victim_fail("read %d instead of %d", c, n);
	}
	return p;
}
static void *poller(void *p)
{
	int fds[2];

	VICTIM_TRY(pipe(fds));
	for (;;) {
		struct pollfd f = { fds[0], POLLIN, 0 };
		int64_t t0 = now_ns();

		back(2, poll(&f, 1, 3), 0, 0, t0, 3 * MS);
	}
	return p;
}
static void *epoller(void *p)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int fds[2], ep = epoll_create1(EPOLL_CLOEXEC);

	VICTIM_TRY(pipe(fds));
	VICTIM_TRY(epoll_ctl(ep, EPOLL_CTL_ADD, fds[0], &ev));
	for (;;) {
		int64_t t0 = now_ns();

		back(3, epoll_wait(ep, &ev, 1, 3), 0, 0, t0, 3 * MS);
	}
	return p;
}
static void *waiter(void *p)
{
	static int word;

	for (;;) {
		struct timespec ts = { 0, 3 * MS };
		int64_t t0 = now_ns();

		back(4, (int)syscall(SYS_futex, &word, FUTEX_WAIT, 0, &ts, NULL, 0), -1, ETIMEDOUT, t0, 3 * MS);
	}
	return p;
}
static void *abs_sleeper(void *p)
{
	for (;;) {
		struct timespec ts;
		int64_t t0 = now_ns(), until = t0 + 2 * MS;

		ts.tv_sec = until / 1000000000;
		ts.tv_nsec = until % 1000000000;
		back(5, -clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL), 0, 0, t0, 2 * MS);
	}
	return p;
}
static void *sig_waiter(void *p)
{
	sigset_t s;

	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	if (pthread_sigmask(SIG_BLOCK, &s, NULL) != 0)
		victim_fail("pthread_sigmask");
	for (;;) {
		struct timespec ts = { 0, 3 * MS };
		int64_t t0 = now_ns();

		back(6, sigtimedwait(&s, NULL, &ts), -1, EAGAIN, t0, 3 * MS);
	}
	return p;
}

int main(int argc, char **argv)
{
	void *(*const body[])(void *) = { sleeper, reader, poller, epoller, waiter, abs_sleeper, sig_waiter };
	pthread_t id;

	if (argc == 3) {
		int fd = open(argv[2], O_RDWR | O_CREAT | O_CLOEXEC, 0600);

		if (fd < 0 || ftruncate(fd, 4096) < 0)
			return 2;
		count = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (count == MAP_FAILED)
			return 2;
		argc = 2;
	}
	victim_init(argc, argv);
	VICTIM_TRY(pipe(feed));
	for (int i = 0; i < 7; i++)
		if (pthread_create(&id, NULL, body[i], NULL) != 0)
			victim_skip("no threads");
	victim_wait();
	return victim_ok();
}
