#include "common/progress.h"
#include "common/log.h"
#include "common/num.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 256, MIB_SHIFT = 20 };
static const int64_t silent_ns = 500000000, every_ns = 200000000;

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* One column less than the terminal has: the last one makes some of them wrap. */
static size_t columns(void)
{
	struct winsize ws;
	size_t n = 79;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 1)
		n = (size_t)ws.ws_col - 1;
	return n < LINE - 2 ? n : LINE - 2;
}

/* Writes text over the line; what it does not reach is blanked. */
static void draw(const char *text)
{
	char line[LINE + 2];
	size_t cols = columns(), len = strlen(text);

	if (len > cols)
		len = cols;
	line[0] = '\r';
	memcpy(line + 1, text, len);
	memset(line + 1 + len, ' ', cols - len);
	line[1 + cols] = '\r';
	while (write(STDERR_FILENO, line, cols + 2) < 0 && errno == EINTR)
		;
}

static void show(struct progress *p, int64_t now)
{
	char done[16], total[16], rate[16], left[24], text[LINE];
	double secs = (double)(now - p->start_ns) / 1e9;
	uint64_t bps = secs > 0 ? (uint64_t)((double)p->done / secs) : 0;

	num_size_human(p->done, done, sizeof(done));
	num_size_human(bps, rate, sizeof(rate));
	if (p->total && p->done <= p->total && bps) {
		num_size_human(p->total, total, sizeof(total));
		num_duration_human((p->total - p->done) / bps * 1000, left, sizeof(left));
		snprintf(text, sizeof(text), "%.60s: %s of %s (%u%%), %s/s, %s left", p->what, done,
			 total, (unsigned)((double)p->done * 100 / (double)p->total), rate, left);
	} else {
		snprintf(text, sizeof(text), "%.60s: %s, %s/s", p->what, done, rate);
	}
	draw(text);
	p->shown = true;
	p->shown_ns = now;
}

void progress_start(struct progress *p, const char *what, uint64_t total_bytes)
{
	*p = (struct progress){ .what = what, .total = total_bytes };
	p->on = log_level() >= LOG_NORMAL && isatty(STDERR_FILENO);
	if (p->on)
		p->start_ns = now_ns();
}

void progress_add(struct progress *p, uint64_t bytes)
{
	uint64_t before = p->done;
	int64_t now;

	p->done += bytes;
	if (!p->on || before >> MIB_SHIFT == p->done >> MIB_SHIFT)
		return;
	now = now_ns();
	if (now - p->start_ns >= silent_ns && now - p->shown_ns >= every_ns)
		show(p, now);
}

void progress_end(struct progress *p)
{
	if (p->shown)
		draw("");
	p->on = p->shown = false;
}
