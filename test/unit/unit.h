/* unit: what the unit tests share. A test is a function of CHECKs; RUN prints its line;
 * main returns unit_status(). */
#ifndef XOS_UNIT_H
#define XOS_UNIT_H

#include <stdio.h>
#include <string.h>

static int unit_failed_, unit_bad_;
static char unit_why_[512];

#define CHECK(cond) unit_check_((cond), __LINE__, #cond)
#define CHECK_STR(got, want) unit_str_((got), (want), __LINE__, #got)
#define CHECK_INT(got, want) unit_int_((long long)(got), (long long)(want), __LINE__, #got)
#define RUN(fn) unit_run_(#fn, fn)

/* The first failure of a test is the one that is told. */
static inline void unit_note_(int line, const char *what)
{
	if (!unit_bad_++)
		snprintf(unit_why_, sizeof(unit_why_), "line %d: %s", line, what);
}
static inline int unit_check_(int ok, int line, const char *what)
{
	if (!ok)
		unit_note_(line, what);
	return ok;
}
static inline int unit_str_(const char *got, const char *want, int line, const char *what)
{
	char t[400];

	if (got && strcmp(got, want) == 0)
		return 1;
	snprintf(t, sizeof(t), "%.60s is '%.150s', not '%.150s'", what, got ? got : "(null)", want);
	unit_note_(line, t);
	return 0;
}
static inline int unit_int_(long long got, long long want, int line, const char *what)
{
	char t[400];

	if (got == want)
		return 1;
	snprintf(t, sizeof(t), "%.200s is %lld, not %lld", what, got, want);
	unit_note_(line, t);
	return 0;
}
static inline void unit_run_(const char *name, void (*fn)(void))
{
	unit_bad_ = 0;
	fn();
	if (unit_bad_) {
		unit_failed_++;
		printf("not ok - %s: %s\n", name, unit_why_);
	} else {
		printf("ok - %s\n", name);
	}
	fflush(stdout);
}
static inline int unit_status(void)
{
	return unit_failed_ ? 1 : 0;
}

#endif
