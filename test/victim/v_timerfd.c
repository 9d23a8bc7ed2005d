/* timerfd: remaining time, interval, unread ticks, absolute times on the wall clock and on the monotonic one. */
#include "victim.h"

#include <poll.h>
#include <stdint.h>
#include <sys/timerfd.h>

static int make(int clock, int flags, long sec, long nsec, long isec, long insec)
{
	struct itimerspec it = { { isec, insec }, { sec, nsec } };
	struct timespec now;
	int fd = timerfd_create(clock, TFD_NONBLOCK);

	VICTIM_TRY(fd);
	if (flags & TFD_TIMER_ABSTIME) {
		clock_gettime(clock, &now);
		it.it_value.tv_sec += now.tv_sec;
	}
	VICTIM_TRY(timerfd_settime(fd, flags, &it, NULL));
	return fd;
}

static void remains(const char *what, int fd, long min, long max, long interval)
{
	struct itimerspec it;

	VICTIM_TRY(timerfd_gettime(fd, &it));
	if (it.it_value.tv_sec < min || it.it_value.tv_sec > max || it.it_interval.tv_sec != interval)
		victim_fail("%s: %lds remain (%ld to %ld), interval %ld (%ld)", what, (long)it.it_value.tv_sec, min, max,
			    (long)it.it_interval.tv_sec, interval);
}

static int settime_flags(int fd)
{
	char path[64], text[1024], *at;
	int f;
	ssize_t n;

	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	VICTIM_TRY(f = open(path, O_RDONLY));
	VICTIM_TRY(n = read(f, text, sizeof text - 1));
	close(f);
	text[n] = 0;
	at = strstr(text, "settime flags:");
	return at ? (int)strtol(at + strlen("settime flags:"), NULL, 8) : -1;
}

int main(int argc, char **argv)
{
	int rel, ticks, wall, mono, off, shot, spent;
	struct timespec start, now;
	uint64_t v = 0;

	victim_init(argc, argv);
	clock_gettime(CLOCK_REALTIME, &start);
	rel = make(CLOCK_BOOTTIME, 0, 3600, 0, 5, 0);
	ticks = make(CLOCK_MONOTONIC, 0, 0, 10000000, 0, 10000000);
	wall = make(CLOCK_REALTIME, TFD_TIMER_ABSTIME, 1000, 0, 7, 0);
	mono = make(CLOCK_MONOTONIC, TFD_TIMER_ABSTIME, 2000, 0, 0, 0);
	off = make(CLOCK_MONOTONIC, 0, 0, 0, 0, 0);
	shot = make(CLOCK_MONOTONIC, 0, 0, 700000000, 0, 0);
	spent = make(CLOCK_MONOTONIC, 0, 0, 1, 0, 0);
	for (int i = 0; i < 5; i++)
		victim_pause();
	victim_wait();

	clock_gettime(CLOCK_REALTIME, &now);
	long away = now.tv_sec - start.tv_sec;
	remains("relative", rel, 3600 - away - 2, 3600, 5);
	remains("wall clock", wall, 1000 - away - 2, 1000 - away + 1, 7);
	remains("monotonic", mono, 2000 - away - 2, 2000, 0);
	remains("disarmed", off, 0, 0, 0);
	VICTIM_CHECK(settime_flags(wall) == TFD_TIMER_ABSTIME);
	VICTIM_CHECK(settime_flags(mono) == TFD_TIMER_ABSTIME);
	VICTIM_CHECK(settime_flags(rel) == 0);
	VICTIM_CHECK(read(ticks, &v, sizeof v) == sizeof v);
	if (v < 5 || v > (uint64_t)(away + 2) * 100)
		victim_fail("%llu ticks", (unsigned long long)v);
	VICTIM_CHECK(read(spent, &v, sizeof v) == sizeof v && v == 1);
	VICTIM_CHECK(read(spent, &v, sizeof v) < 0 && errno == EAGAIN);
	struct pollfd pf[2] = { { .fd = shot, .events = POLLIN }, { .fd = ticks, .events = POLLIN } };
	VICTIM_CHECK(poll(pf, 1, 10000) == 1);
	VICTIM_CHECK(poll(pf + 1, 1, 10000) == 1);
	VICTIM_CHECK(read(shot, &v, sizeof v) == sizeof v && v == 1);
	VICTIM_CHECK(read(off, &v, sizeof v) < 0 && errno == EAGAIN);
	return victim_ok();
}
