#include "common/log.h"
#include "common/num.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_FAULTS = 32, MAX_LINE = 4096 };

struct fault_point {
	const char *name;
	size_t len;
	bool kill;
	uint64_t from;   /* fails from this pass on, counted from 1 */
	uint64_t passes;
};

static const char *tool_name = "xos";
static enum log_level level = LOG_NORMAL;
static const char *debug_parts; /* XOS_DEBUG, NULL when unset */
static bool debug_all;
static struct fault_point faults[MAX_FAULTS];
static size_t nfaults;

/* One entry of XOS_FAULT: name, name:kill, name:N. */
static void fault_add(const char *s, size_t len)
{
	struct fault_point *f = &faults[nfaults];
	const char *colon = memchr(s, ':', len);
	char arg[24] = "";

	*f = (struct fault_point){ .name = s, .len = len, .from = 1 };
	if (colon) {
		size_t n = len - (size_t)(colon - s) - 1;

		f->len = (size_t)(colon - s);
		if (n < sizeof(arg))
			memcpy(arg, colon + 1, n);
		f->kill = strcmp(arg, "kill") == 0;
		if (!f->kill && num_u64(arg, UINT64_MAX, &f->from) < 0)
			log_error("XOS_FAULT: '%.*s' is not NAME, NAME:kill or NAME:N",
				  (int)len, s);
	}
	if (f->len)
		nfaults++;
}

static void faults_parse(const char *s)
{
	nfaults = 0;
	while (s && *s && nfaults < MAX_FAULTS) {
		size_t len = strcspn(s, ",");

		fault_add(s, len);
		s += len;
		if (*s == ',')
			s++;
	}
}

void log_init(const char *tool)
{
	const char *s = getenv("XOS_DEBUG");

	tool_name = tool;
	debug_parts = s && *s ? s : NULL;
	debug_all = false;
	while (s && *s) {
		size_t len = strcspn(s, ",");

		if (len == 3 && memcmp(s, "all", 3) == 0)
			debug_all = true;
		s += len;
		if (*s == ',')
			s++;
	}
	faults_parse(getenv("XOS_FAULT"));
}

void log_set_level(enum log_level l)
{
	level = l;
}

enum log_level log_level(void)
{
	return level;
}

/* The whole line in one write, so that lines of several processes do not mix. */
static void emit(const char *head, const char *fmt, va_list ap)
{
	int saved = errno;
	char line[MAX_LINE];
	size_t len;

	snprintf(line, sizeof(line) - 1, "%s: ", head);
	len = strlen(line);
	vsnprintf(line + len, sizeof(line) - 1 - len, fmt, ap);
	len = strlen(line);
	line[len++] = '\n';
	while (write(STDERR_FILENO, line, len) < 0 && errno == EINTR)
		;
	errno = saved;
}

void log_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	emit(tool_name, fmt, ap);
	va_end(ap);
}

void log_info(const char *fmt, ...)
{
	va_list ap;

	if (level < LOG_NORMAL)
		return;
	va_start(ap, fmt);
	emit(tool_name, fmt, ap);
	va_end(ap);
}

void log_verbose(const char *fmt, ...)
{
	va_list ap;

	if (level < LOG_VERBOSE)
		return;
	va_start(ap, fmt);
	emit(tool_name, fmt, ap);
	va_end(ap);
}

int log_err(const struct err *e)
{
	log_error("%s", e->msg[0] ? e->msg : "failed");
	if (e->hint[0])
		log_error("hint: %s", e->hint);
	return e->code ? e->code : EX_FAILED;
}

static bool debug_wants(const char *part)
{
	size_t n = strlen(part);
	const char *s = debug_parts;

	if (debug_all)
		return true;
	while (*s) {
		size_t len = strcspn(s, ",");

		if (len == n && memcmp(s, part, n) == 0)
			return true;
		s += len;
		if (*s == ',')
			s++;
	}
	return false;
}

void log_debug(const char *part, const char *fmt, ...)
{
	char head[64];
	va_list ap;

	if (!debug_parts || !debug_wants(part))
		return;
	snprintf(head, sizeof(head), "%.32s[%d] %.16s", tool_name, (int)getpid(), part);
	va_start(ap, fmt);
	emit(head, fmt, ap);
	va_end(ap);
}

bool fault(const char *name)
{
	size_t i, n;

	if (!nfaults)
		return false;
	n = strlen(name);
	for (i = 0; i < nfaults; i++) {
		struct fault_point *f = &faults[i];

		if (f->len != n || memcmp(f->name, name, n) != 0)
			continue;
		if (__atomic_add_fetch(&f->passes, 1, __ATOMIC_RELAXED) < f->from)
			return false;
		if (f->kill)
			kill(getpid(), SIGKILL);
		log_debug("fault", "%s", name);
		return true;
	}
	return false;
}
