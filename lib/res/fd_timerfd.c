/* fd_timerfd: timerfd_create(2).
 *
 * Record: TYPE="timerfd" ... CLOCK= SETTIME_FLAGS= TICKS= VALUE="sec.nsec" INTERVAL="sec.nsec" [EXPIRES="sec.nsec"]
 *
 * TICKS are expirations that nobody has read yet. VALUE is what remained when the job stood; a timer goes on
 * with it after a restart, however long the job was away. Only a timer set to an absolute time on the
 * wall clock (CLOCK_REALTIME with TFD_TIMER_ABSTIME) means that time and no other: EXPIRES has it, and when it has
 * passed meanwhile the timer expires at once. CLOCK_MONOTONIC and CLOCK_BOOTTIME count anew at every boot:
 * their absolute times say nothing after a restart. */
#include "res/fd_ops.h"
#include "common/cleanup.h"
#include "common/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <time.h>

#ifndef TFD_IOC_SET_TICKS
#define TFD_IOC_SET_TICKS _IOW('T', 0, uint64_t)
#endif
#ifndef TFD_TIMER_CANCEL_ON_SET
#define TFD_TIMER_CANCEL_ON_SET 2
#endif

enum { NSEC = 1000000000 };
#define TIMERFD_MAX_SEC ((int64_t)1 << 40)

struct tstate {
	int clock, flags;
	uint64_t ticks;
	struct itimerspec it;
	struct timespec expires;
	bool wall;             /* expires is valid */
};

static bool timerfd_match(const struct dfile *f)
{
	return fd_is_anon(f, "[timerfd]");
}

static bool is_wall(int clock)
{
	return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_ALARM;
}

static struct timespec ts_add(struct timespec a, struct timespec b)
{
	struct timespec s = { a.tv_sec + b.tv_sec, a.tv_nsec + b.tv_nsec };

	if (s.tv_nsec >= NSEC) {
		s.tv_sec++;
		s.tv_nsec -= NSEC;
	}
	return s;
}

static void put_ts(struct buf *b, const char *key, struct timespec t)
{
	char s[48];

	snprintf(s, sizeof s, "%lld.%09ld", (long long)t.tv_sec, t.tv_nsec);
	rec_put_str(b, key, s);
}

/* A timer that is due this very moment shows nothing left, as one that is not armed does: it is given time to expire. An expired periodic timer
 * is restarted by the look, invisibly, and its ticks are counted up to now; so fdinfo is read only after it. */
static int look(int fd, struct itimerspec *it, struct buf *info)
{
	static const struct timespec moment = { .tv_nsec = 100000 };
	char path[64];
	uint64_t ticks;

	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	for (int tries = 0; tries < 4; tries++) {
		if (tries)
			nanosleep(&moment, NULL);
		buf_free(info);
		if (timerfd_gettime(fd, it) || buf_read_file(info, -1, path, 1 << 16) || fdinfo_num(buf_str(info), "ticks", 10, &ticks))
			return -1;
		if (it->it_value.tv_sec || it->it_value.tv_nsec || (ticks && !it->it_interval.tv_sec && !it->it_interval.tv_nsec))
			break;
	}
	return 0;
}

static int timerfd_dump(struct dump *d, struct dfile *f, struct err *e)
{
	struct itimerspec it = { 0 };
	struct timespec now;
	uint64_t clock, ticks, flags;
	AUTO_BUF struct buf info = BUF_INIT;

	if (f->lfd < 0 || look(f->lfd, &it, &info) || clock_gettime(CLOCK_REALTIME, &now))
		return err_sys(e, "timerfd: cannot read the time that remains");
	if (fdinfo_num(buf_str(&info), "clockid", 10, &clock) ||
	    fdinfo_num(buf_str(&info), "ticks", 10, &ticks) ||
	    fdinfo_num(buf_str(&info), "settime flags", 8, &flags))
		return err_set(e, EX_FAILED, "timerfd: cannot read fdinfo");
	rec_put_u64(&d->files_out, "CLOCK", clock);
	rec_put_u64(&d->files_out, "SETTIME_FLAGS", flags);
	rec_put_u64(&d->files_out, "TICKS", ticks);
	put_ts(&d->files_out, "VALUE", it.it_value);
	put_ts(&d->files_out, "INTERVAL", it.it_interval);
	if (is_wall((int)clock) && (flags & TFD_TIMER_ABSTIME) && (it.it_value.tv_sec || it.it_value.tv_nsec))
		put_ts(&d->files_out, "EXPIRES", ts_add(now, it.it_value));
	return 0;
}

static int get_ts(const struct rec *rec, const char *key, struct timespec *t, struct err *e)
{
	const char *s;
	long long sec;
	long nsec;
	int n = 0;

	if (rec_str(rec, key, &s, e))
		return -1;
	if (sscanf(s, "%19lld.%9ld%n", &sec, &nsec, &n) != 2 || s[n] || sec < 0 || sec > TIMERFD_MAX_SEC || nsec < 0)
		return err_set(e, EX_BAD_IMAGE, "line %zu: %s=\"%s\" is not a time", rec->line, key, s);
	t->tv_sec = (time_t)sec;
	t->tv_nsec = nsec;
	return 0;
}

static int get_state(const struct rec *rec, struct tstate *s, struct err *e)
{
	if (rec_int(rec, "CLOCK", 0, 11, &s->clock, e) || rec_int(rec, "SETTIME_FLAGS", 0, 3, &s->flags, e) ||
	    rec_u64(rec, "TICKS", UINT64_MAX, &s->ticks, e) || get_ts(rec, "VALUE", &s->it.it_value, e) ||
	    get_ts(rec, "INTERVAL", &s->it.it_interval, e))
		return -1;
	s->wall = rec_find(rec, "EXPIRES") != NULL;
	return s->wall ? get_ts(rec, "EXPIRES", &s->expires, e) : 0;
}

static int timerfd_open(struct restore *r, struct rfile *f, struct err *e)
{
	struct tstate s;

	if (get_state(&f->rec, &s, e))
		return -1;
	f->fd = timerfd_create(s.clock, TFD_CLOEXEC);
	if (f->fd < 0)
		return err_sys(e, "timerfd_create(%d)", s.clock);
	return fd_set_flags(f->fd, &f->rec, e);
}

/* For kernels without TFD_IOC_SET_TICKS: n ticks are pending when a timer of that interval began n ticks ago. One
 * that fires once is given a time that is over; nobody can tell it from the old one. */
static int arm_in_the_past(int fd, const struct tstate *s)
{
	struct itimerspec it = s->it;
	struct timespec now;
	__int128 t, period = (__int128)it.it_interval.tv_sec * NSEC + it.it_interval.tv_nsec;

	if (!period) {
		it.it_value = (struct timespec){ 0, 1 };
		return timerfd_settime(fd, s->flags, &it, NULL);
	}
	if (clock_gettime(s->clock, &now))
		return -1;
	now = ts_add(now, it.it_value);
	t = ((__int128)now.tv_sec * NSEC + now.tv_nsec) - period * (__int128)s->ticks;
	if (t < 1)
		t = 1;
	it.it_value.tv_sec = (time_t)(t / NSEC);
	it.it_value.tv_nsec = (long)(t % NSEC);
	return timerfd_settime(fd, TFD_TIMER_ABSTIME, &it, NULL);
}

/* Armed at the very end, so that the time that a restart takes is not the job's. */
static int timerfd_late(struct restore *r, struct rfile *f, struct err *e)
{
	struct tstate s;
	struct itimerspec it;
	struct timespec now;

	if (get_state(&f->rec, &s, e))
		return -1;
	it = s.it;
	if (it.it_value.tv_sec || it.it_value.tv_nsec) {
		if (s.wall)
			it.it_value = s.expires;
		else if ((s.flags & TFD_TIMER_ABSTIME) && !clock_gettime(s.clock, &now))
			it.it_value = ts_add(now, it.it_value);
	}
	if (timerfd_settime(f->fd, s.flags, &it, NULL))
		return err_sys(e, "timerfd_settime");
	if (!s.ticks)
		return 0;
	if (!fault("timerfd-ticks")) { /* as without CONFIG_CHECKPOINT_RESTORE */
		if (!ioctl(f->fd, TFD_IOC_SET_TICKS, &s.ticks))
			return 0;
		if (errno != ENOTTY && errno != EINVAL)
			return err_sys(e, "timerfd: cannot set the ticks");
	}
	return arm_in_the_past(f->fd, &s) ? err_sys(e, "timerfd_settime") : 0;
}

const struct fd_ops fd_timerfd_ops = {
	.type = "timerfd", .match = timerfd_match, .dump = timerfd_dump, .open = timerfd_open, .late = timerfd_late,
};
