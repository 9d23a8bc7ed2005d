/* epoll: level, edge, spent one-shot; nested; shared with a child; a number that was closed while its description
 * lives on through a dup, and is used for something else in the same set. */
#include "victim.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

static void add(int ep, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event ev = { .events = events, .data.u64 = data };

	VICTIM_TRY(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
}

/* Sum of the data of what is ready now; every entry has its own bit. */
static uint64_t ready(int ep)
{
	struct epoll_event ev[16];
	int n = epoll_wait(ep, ev, 16, 0);
	uint64_t sum = 0;

	for (int i = 0; i < n; i++)
		sum |= ev[i].data.u64;
	return n < 0 ? ~0ull : sum;
}

static void child(int ep)
{
	uint64_t got;

	while (!victim_go())
		victim_pause();
	got = ready(ep);
	_exit((got & 1) ? 0 : 1);
}

int main(int argc, char **argv)
{
	int p[2], q[2], ep, outer, count, quiet, timer, twin, once, status, again;
	uint64_t v = 1, got;
	pid_t pid;

	victim_init(argc, argv);
	VICTIM_TRY(pipe(p));
	VICTIM_TRY(pipe(q));
	VICTIM_TRY(count = eventfd(1, EFD_NONBLOCK));
	VICTIM_TRY(quiet = eventfd(0, EFD_NONBLOCK));
	VICTIM_TRY(once = eventfd(1, EFD_NONBLOCK));
	VICTIM_TRY(timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
	VICTIM_TRY(outer = epoll_create1(0));
	VICTIM_TRY(ep = epoll_create1(EPOLL_CLOEXEC));
	add(ep, count, EPOLLIN, 1);
	add(ep, quiet, EPOLLIN | EPOLLET, 2);
	add(ep, timer, EPOLLIN, 4);
	add(ep, once, EPOLLIN | EPOLLONESHOT, 8);
	VICTIM_CHECK(ready(ep) == 9); /* 8 is spent now */
	add(ep, p[0], EPOLLIN, 16);
	VICTIM_TRY(twin = dup(p[0]));
	close(p[0]);
	VICTIM_CHECK(dup2(q[0], p[0]) == p[0]); /* the number means another pipe from here on */
	add(ep, p[0], EPOLLIN, 0x123456789abc0020ull);
	add(outer, ep, EPOLLIN, 1);
	VICTIM_TRY(pid = fork());
	if (!pid)
		child(ep);
	victim_wait();

	VICTIM_CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	VICTIM_CHECK(ready(outer) == 1);
	got = ready(ep);
	if (got != 1)
		victim_fail("ready: 0x%llx, not 1", (unsigned long long)got);
	VICTIM_TRY(write(quiet, &v, sizeof v));
	VICTIM_TRY(timerfd_settime(timer, 0, &(struct itimerspec){ .it_value = { 0, 1 } }, NULL));
	VICTIM_TRY(write(p[1], "x", 1));
	victim_pause();
	got = ready(ep);
	if (got != (1 | 2 | 4 | 16))
		victim_fail("ready after events: 0x%llx, not 0x17", (unsigned long long)got);
	VICTIM_TRY(write(q[1], "x", 1));
	got = ready(ep);
	if (got != (1 | 4 | 16 | 0x123456789abc0020ull)) /* 2 is edge-triggered */
		victim_fail("ready in the end: 0x%llx", (unsigned long long)got);
	/* The spent one comes back with EPOLL_CTL_MOD and is no new entry. */
	struct epoll_event ev = { .events = EPOLLIN | EPOLLONESHOT, .data.u64 = 8 };
	VICTIM_TRY(epoll_ctl(ep, EPOLL_CTL_MOD, once, &ev));
	VICTIM_CHECK(ready(ep) & 8);
	again = epoll_ctl(ep, EPOLL_CTL_ADD, count, &ev);
	VICTIM_CHECK(again < 0 && errno == EEXIST);
	VICTIM_CHECK(read(twin, &v, 1) == 1);
	return victim_ok();
}
