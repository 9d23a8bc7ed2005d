/* image_test: what the two tests of lib/image share: a small image, and whether it comes back. */
#ifndef XOS_IMAGE_TEST_H
#define XOS_IMAGE_TEST_H

#include "common/buf.h"
#include "common/cleanup.h"
#include "image/image.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

static int failures;
static char why[2048];

static inline bool fails(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static inline bool fails(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	return false;
}

static inline void run(const char *name, bool (*test)(void))
{
	why[0] = 0;
	if (test()) {
		printf("ok - %s%s%s\n", name, why[0] ? " # SKIP " : "", why);
	} else {
		printf("not ok - %s: %s\n", name, why);
		failures++;
	}
	fflush(stdout);
}

#define CHECK(x)                                                                      \
	do {                                                                          \
		if (!(x))                                                             \
			return fails("line %d: %s", __LINE__, #x);                    \
	} while (0)
#define DOES(x)                                                                       \
	do {                                                                          \
		if ((x) < 0)                                                          \
			return fails("line %d: %s: %d %s", __LINE__, #x, e.code, e.msg); \
	} while (0)

static int spool_dir;

static inline int mem_file(void)
{
	return memfd_create("image", MFD_CLOEXEC);
}

/* Puts a text member whose content is `text`. */
static inline int put_text(struct image_writer *w, const char *name, const char *text, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;

	buf_adds(&b, text);
	return image_put_text(w, name, &b, e);
}

static inline int put_raw(struct image_writer *w, const char *name, const void *p, size_t n, struct err *e)
{
	if (image_raw_begin(w, name, n, e) < 0 || image_raw_write(w, p, n, e) < 0)
		return -1;
	return image_raw_end(w, e);
}

/* The file must be refused as a bad image with these words. */
static inline bool refused(int fd, const char *words)
{
	struct err e = ERR_INIT;
	struct image *im = NULL;

	if (image_open(&im, fd, spool_dir, &e) == 0) {
		image_free(im);
		return fails("was taken for good (expected: %s)", words);
	}
	if (e.code != EX_BAD_IMAGE || !strstr(e.msg, words) || strchr(e.msg, '\n'))
		return fails("exit status %d, message '%s' (expected: %s)", e.code, e.msg, words);
	return true;
}

enum { RAW1 = 3 * 4096, RAW2 = 100, BIG = (9 << 20) + 777 };
static unsigned char content[BIG];

static inline int small_image(int fd, struct err *e)
{
	struct image_writer *w = NULL;
	int r = -1;

	if (image_writer_new(&w, fd, e) == 0 && put_text(w, "description.txt", "FORMAT=\"1\"\nDESCRIPTION=\"a test\"\n", e) == 0 &&
	    put_text(w, "profile", "TYPE=\"profile\" ARCH=\"x86_64\"\n", e) == 0 && put_raw(w, "task_mm_1", content, RAW1, e) == 0 &&
	    put_raw(w, "ghost_1", content, RAW2, e) == 0 && put_text(w, "task_1", "TYPE=\"task\" PID=\"1\"\n", e) == 0 &&
	    image_finish(w, e) == 0)
		r = 0;
	image_writer_free(w);
	return r;
}

static inline bool same_data(const struct image *im, const char *name, const void *p, size_t n)
{
	const struct image_member *m = image_find(im, name);
	char *b = malloc(n + 1);
	bool same;

	if (!m || m->text || m->size != n || m->offset % IMAGE_ALIGN) {
		free(b);
		return fails("member %s is not right", name);
	}
	same = pread(image_fd(im), b, n, (off_t)m->offset) == (ssize_t)n && !memcmp(b, p, n);
	free(b);
	return same ? true : fails("content of %s differs", name);
}

static inline bool small_is_right(int fd)
{
	struct err e = ERR_INIT;
	struct image *im;

	DOES(image_open(&im, fd, spool_dir, &e));
	CHECK(image_count(im) == 5 && !strcmp(image_at(im, 4)->name, "task_1") && !image_at(im, 5));
	CHECK(!strcmp(image_find(im, "task_1")->text, "TYPE=\"task\" PID=\"1\"\n"));
	CHECK(!image_find(im, "end") && !image_find(im, "task_2"));
	if (!same_data(im, "task_mm_1", content, RAW1) || !same_data(im, "ghost_1", content, RAW2))
		return false;
	image_free(im);
	return true;
}

static inline void image_test_init(void)
{
	spool_dir = open("/var/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i < sizeof(content); i++)
		content[i] = (unsigned char)(i * 2654435761u >> 11);
}

#endif
