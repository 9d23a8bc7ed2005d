/* CLOCK_MONOTONIC and CLOCK_BOOTTIME never go backwards, and a timer keeps what remained. */
#include "victim.h"

#include <stdint.h>
#include <sys/timerfd.h>

static int64_t now(clockid_t clock)
{
	struct timespec t;

	VICTIM_TRY(clock_gettime(clock, &t));
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int main(int argc, char **argv)
{
	struct itimerspec far = { .it_value.tv_sec = 5000 }, left;
	int64_t mono, boot;
	int fd;

	victim_init(argc, argv);
	VICTIM_TRY(fd = timerfd_create(CLOCK_MONOTONIC, 0));
	far.it_value.tv_sec += (time_t)(now(CLOCK_MONOTONIC) / 1000000000);
	VICTIM_TRY(timerfd_settime(fd, TFD_TIMER_ABSTIME, &far, NULL));
	mono = now(CLOCK_MONOTONIC);
	boot = now(CLOCK_BOOTTIME);
	victim_ready();
	while (!victim_go()) {
		int64_t m = now(CLOCK_MONOTONIC), b = now(CLOCK_BOOTTIME);

		if (m < mono || b < boot)
			victim_fail("the clocks went back by %lld and %lld ns", (long long)(mono - m), (long long)(boot - b));
		mono = m;
		boot = b;
		victim_pause();
	}
	VICTIM_TRY(timerfd_gettime(fd, &left));
	if (left.it_value.tv_sec < 4000 || left.it_value.tv_sec > 5000)
		victim_fail("of 5000 s %lld remain", (long long)left.it_value.tv_sec);
	return victim_ok();
}
