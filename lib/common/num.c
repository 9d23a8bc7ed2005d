#include "common/num.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { MAX_SIGNAL = 64, MAX_FRACTION = 15 };

/* By name only where the libc has it; the gaps are the numbers that libc keeps. */
static const struct { const char *name; int sig; } signames[] = {
	{ "HUP", SIGHUP }, { "INT", SIGINT }, { "QUIT", SIGQUIT }, { "ILL", SIGILL },
	{ "TRAP", SIGTRAP }, { "ABRT", SIGABRT }, { "BUS", SIGBUS }, { "FPE", SIGFPE },
	{ "KILL", SIGKILL }, { "USR1", SIGUSR1 }, { "SEGV", SIGSEGV }, { "USR2", SIGUSR2 },
	{ "PIPE", SIGPIPE }, { "ALRM", SIGALRM }, { "TERM", SIGTERM },
#ifdef SIGSTKFLT
	{ "STKFLT", SIGSTKFLT },
#endif
	{ "CHLD", SIGCHLD }, { "CONT", SIGCONT }, { "STOP", SIGSTOP }, { "TSTP", SIGTSTP },
	{ "TTIN", SIGTTIN }, { "TTOU", SIGTTOU }, { "URG", SIGURG }, { "XCPU", SIGXCPU },
	{ "XFSZ", SIGXFSZ }, { "VTALRM", SIGVTALRM }, { "PROF", SIGPROF }, { "WINCH", SIGWINCH },
	{ "IO", SIGIO }, { "PWR", SIGPWR }, { "SYS", SIGSYS },
	/* other names of the above: found by name, never printed */
	{ "IOT", SIGABRT }, { "CLD", SIGCHLD }, { "POLL", SIGIO },
};
enum { NSIGNAMES = sizeof(signames) / sizeof(signames[0]) };

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 99;
}

int num_u64(const char *s, uint64_t max, uint64_t *out)
{
	unsigned base = 10;
	uint64_t v = 0;

	if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X')) {
		base = 16;
		s += 2;
	}
	if (!*s)
		return -1;
	for (; *s; s++) {
		unsigned d = (unsigned)digit(*s);

		if (d >= base || v > (UINT64_MAX - d) / base)
			return -1;
		v = v * base + d;
	}
	if (v > max)
		return -1;
	*out = v;
	return 0;
}

int num_i64(const char *s, int64_t min, int64_t max, int64_t *out)
{
	uint64_t u;
	int64_t v;

	if (*s == '-') {
		if (num_u64(s + 1, (uint64_t)INT64_MAX + 1, &u) < 0)
			return -1;
		v = (int64_t)(0 - u);
	} else {
		if (num_u64(s, INT64_MAX, &u) < 0)
			return -1;
		v = (int64_t)u;
	}
	if (v < min || v > max)
		return -1;
	*out = v;
	return 0;
}

/* A decimal number with an optional fraction. *end: what follows it. */
struct decimal { uint64_t whole, frac, scale; };

static int decimal_parse(const char *s, struct decimal *d, const char **end)
{
	unsigned n;

	*d = (struct decimal){ .scale = 1 };
	if (digit(*s) > 9)
		return -1;
	for (; digit(*s) <= 9; s++) {
		unsigned v = (unsigned)digit(*s);

		if (d->whole > (UINT64_MAX - v) / 10)
			return -1;
		d->whole = d->whole * 10 + v;
	}
	if (*s == '.') {
		s++;
		for (n = 0; digit(*s) <= 9; s++, n++) {
			if (n >= MAX_FRACTION)
				return -1;
			d->frac = d->frac * 10 + (unsigned)digit(*s);
			d->scale *= 10;
		}
		if (n == 0)
			return -1;
	}
	*end = s;
	return 0;
}

static int decimal_times(const struct decimal *d, uint64_t factor, uint64_t *out)
{
	unsigned __int128 v = (unsigned __int128)d->whole * factor +
			      (unsigned __int128)d->frac * factor / d->scale;

	if (v > UINT64_MAX)
		return -1;
	*out = (uint64_t)v;
	return 0;
}

int num_size(const char *s, uint64_t *out)
{
	static const char units[] = "KMGTPE";
	struct decimal d;
	uint64_t factor = 1;
	const char *u;

	if (decimal_parse(s, &d, &s) < 0)
		return -1;
	if (*s && *s != 'B' && *s != 'b') {
		u = strchr(units, *s >= 'a' ? *s - 'a' + 'A' : *s);
		if (!u)
			return -1;
		factor = 1ULL << (10 * (u - units + 1));
		s++;
		if (*s == 'i' && (s[1] == 'B' || s[1] == 'b'))
			s++;
	}
	if (*s == 'B' || *s == 'b')
		s++;
	if (*s || (factor == 1 && d.scale != 1))
		return -1;
	return decimal_times(&d, factor, out);
}

int num_duration(const char *s, uint64_t *ms)
{
	static const struct { const char *name; uint64_t ms; } units[] = {
		{ "", 1000 }, { "ms", 1 }, { "s", 1000 }, { "m", 60000 },
		{ "h", 3600000 }, { "d", 86400000 },
	};
	struct decimal d;
	size_t i;

	if (decimal_parse(s, &d, &s) < 0)
		return -1;
	for (i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (strcmp(s, units[i].name) == 0)
			return decimal_times(&d, units[i].ms, ms);
	return -1;
}

static int rt_signal(const char *s, int *sig)
{
	uint64_t n = 0;
	bool up = strncasecmp(s, "RTMIN", 5) == 0;

	if (!up && strncasecmp(s, "RTMAX", 5) != 0)
		return -1;
	s += 5;
	if (*s) {
		if (*s != (up ? '+' : '-') ||
		    num_u64(s + 1, (uint64_t)(SIGRTMAX - SIGRTMIN), &n) < 0)
			return -1;
	}
	*sig = up ? SIGRTMIN + (int)n : SIGRTMAX - (int)n;
	return 0;
}

int num_signal(const char *s, int *sig)
{
	uint64_t n;
	int i;

	if (num_u64(s, MAX_SIGNAL, &n) == 0) {
		if (n == 0)
			return -1;
		*sig = (int)n;
		return 0;
	}
	if (strncasecmp(s, "SIG", 3) == 0)
		s += 3;
	for (i = 0; i < NSIGNAMES; i++) {
		if (strcasecmp(s, signames[i].name) == 0) {
			*sig = signames[i].sig;
			return 0;
		}
	}
	return rt_signal(s, sig);
}

const char *num_signame(int sig, char *out, size_t n)
{
	int i;

	for (i = 0; i < NSIGNAMES; i++) {
		if (signames[i].sig == sig) {
			snprintf(out, n, "%s", signames[i].name);
			return out;
		}
	}
	if (sig >= SIGRTMIN && sig <= SIGRTMAX)
		snprintf(out, n, "RTMIN+%d", sig - SIGRTMIN);
	else
		snprintf(out, n, "%d", sig);
	return out;
}

void num_size_human(uint64_t bytes, char *out, size_t n)
{
	static const char units[] = "KMGTPE";
	unsigned __int128 unit = 1024, tenths, whole;
	int u = 0;

	if (bytes < 1024) {
		snprintf(out, n, "%u", (unsigned)bytes);
		return;
	}
	/* Rounded up, as ls and df do; a value that rounds up to 1024 takes the next unit. */
	while (u < 5 && (bytes + unit - 1) / unit >= 1024) {
		unit *= 1024;
		u++;
	}
	tenths = ((unsigned __int128)bytes * 10 + unit - 1) / unit;
	whole = (bytes + unit - 1) / unit;
	if (tenths < 100)
		snprintf(out, n, "%u.%u%c", (unsigned)(tenths / 10), (unsigned)(tenths % 10), units[u]);
	else
		snprintf(out, n, "%u%c", (unsigned)whole, units[u]);
}

void num_duration_human(uint64_t ms, char *out, size_t n)
{
	uint64_t s = ms / 1000;

	if (s < 60)
		snprintf(out, n, "%us", (unsigned)s);
	else if (s < 3600)
		snprintf(out, n, "%um%02us", (unsigned)(s / 60), (unsigned)(s % 60));
	else if (s < 86400)
		snprintf(out, n, "%uh%02um", (unsigned)(s / 3600), (unsigned)(s / 60 % 60));
	else
		snprintf(out, n, "%llud%02uh", (unsigned long long)(s / 86400),
			 (unsigned)(s / 3600 % 24));
}
