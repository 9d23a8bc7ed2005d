/* victim: the protocol between a test and the program it checkpoints.
 *
 *     int main(int argc, char **argv)
 *     {
 *             victim_init(argc, argv);
 *             ... build the state ...
 *             victim_wait();          says ready; returns after the restart, when the test says go
 *             ... compare ...         victim_fail("what is wrong: %d", n);
 *             return victim_ok();
 *     }
 *
 * argv[1] is a path P. "Ready" is the file P.ready and a line `ready` on stdout; "go" is the file P.go;
 * the verdict is the file P.ok or P.fail (with the reason). A victim that cannot build its state here calls
 * victim_skip(): P.skip with the reason instead of P.ready. The wait polls every 20 ms with nanosleep(2) and
 * access(2), in the thread that calls it: no signals, no descriptors, no memory allocated. */
#ifndef XOS_VICTIM_H
#define XOS_VICTIM_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *victim_path_;

static inline void victim_name_(char *out, size_t n, const char *suffix)
{
	snprintf(out, n, "%s.%s", victim_path_, suffix);
}

/* Writes P.suffix in one go: by rename, so that the test never sees half of it. Works from any thread. */
static inline void victim_put_(const char *suffix, const char *text)
{
	char tmp[4200], name[4200];
	int fd;

	victim_name_(name, sizeof(name), suffix);
	victim_name_(tmp, sizeof(tmp), "tmp");
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0 || write(fd, text, strlen(text)) < 0 || close(fd) < 0 || rename(tmp, name) < 0) {
		fprintf(stderr, "victim: %s: %s\n", name, strerror(errno));
		_exit(99);
	}
}

static inline void victim_init(int argc, char **argv)
{
	if (argc != 2 || strlen(argv[1]) > 4000) {
		fprintf(stderr, "usage: %s PATH\n", argv[0]);
		exit(2);
	}
	victim_path_ = argv[1];
}

__attribute__((format(printf, 1, 2), noreturn)) static inline void victim_fail(const char *fmt, ...)
{
	char why[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	victim_put_("fail", why);
	_exit(1);
}

__attribute__((format(printf, 1, 2), noreturn)) static inline void victim_skip(const char *fmt, ...)
{
	char why[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	victim_put_("skip", why);
	_exit(77);
}

static inline int victim_ok(void)
{
	victim_put_("ok", "");
	return 0;
}

/* Has the test said go? For victims that do something else than sleep meanwhile. */
static inline int victim_go(void)
{
	char name[4200];

	victim_name_(name, sizeof(name), "go");
	return access(name, F_OK) == 0;
}

static inline void victim_ready(void)
{
	victim_put_("ready", "");
	if (write(1, "ready\n", 6) < 0) {
		/* nobody reads it: the file counts */
	}
}

static inline void victim_pause(void)
{
	struct timespec ts = { 0, 20 * 1000 * 1000 };

	nanosleep(&ts, NULL);
}

static inline void victim_wait(void)
{
	victim_ready();
	while (!victim_go())
		victim_pause();
}

/* Fails unless the condition holds, with its text and line. */
#define VICTIM_CHECK(c) \
	do { \
		if (!(c)) \
			victim_fail("%s:%d: %s (errno %d %s)", __FILE__, __LINE__, #c, errno, strerror(errno)); \
	} while (0)
/* For building the state: fails with the call's errno. */
#define VICTIM_TRY(c) VICTIM_CHECK((c) >= 0)

#endif
