/* image: what the writer makes, the reader gives back; what is not exactly that, it refuses. */
#include "common/buf.h"
#include "common/cleanup.h"
#include "image/crc32c.h"
#include "image/image.h"
#include "image/imgidx.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>

static int failures;
static char why[2048];

static bool fails(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static bool fails(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	return false;
}

static void run(const char *name, bool (*test)(void))
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

static int mem_file(void)
{
	return memfd_create("image", MFD_CLOEXEC);
}

/* Puts a text member whose content is `text`. */
static int put_text(struct image_writer *w, const char *name, const char *text, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;

	buf_adds(&b, text);
	return image_put_text(w, name, &b, e);
}

static int put_raw(struct image_writer *w, const char *name, const void *p, size_t n, struct err *e)
{
	if (image_raw_begin(w, name, n, e) < 0 || image_raw_write(w, p, n, e) < 0)
		return -1;
	return image_raw_end(w, e);
}

/* The file must be refused as a bad image with these words. */
static bool refused(int fd, const char *words)
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

/* ---- checksums ---- */

static bool test_crc(void)
{
	static unsigned char b[40000];

	for (size_t i = 0; i < sizeof(b); i++)
		b[i] = (unsigned char)(i * 2654435761u >> 13);
	CHECK(crc32c(0, "123456789", 9) == 0xe3069283);
	CHECK(crc32c(0, "", 0) == 0);
	CHECK(crc32c(crc32c(0, "1234", 4), "56789", 5) == 0xe3069283);
	for (size_t n = 0; n < sizeof(b) - 8; n = n < 100 ? n + 1 : n + 509)
		CHECK(crc32c((uint32_t)n, b + n % 8, n) == crc32c_portable((uint32_t)n, b + n % 8, n));
	for (size_t n = 0; n <= sizeof(b); n += 1250)
		CHECK(crc32c_combine(crc32c(0, b, n), crc32c(0, b + n, sizeof(b) - n), sizeof(b) - n) ==
		      crc32c(0, b, sizeof(b)));
	return true;
}

/* ---- there and back ---- */

enum { RAW1 = 3 * 4096, RAW2 = 100, BIG = (9 << 20) + 777 };
static unsigned char content[BIG];

static int small_image(int fd, struct err *e)
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

static bool same_data(const struct image *im, const char *name, const void *p, size_t n)
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

static bool small_is_right(int fd)
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

static bool test_small(void)
{
	AUTO_FD int fd = mem_file();
	struct err e = ERR_INIT;
	struct stat st;

	DOES(small_image(fd, &e));
	CHECK(fstat(fd, &st) == 0 && st.st_size % 512 == 0);
	return small_is_right(fd);
}

/* Every way in, sizes around the buffers, names that need a pax header. */
static bool fill(struct image_writer *w, struct err *ep)
{
	struct err e = ERR_INIT;
	char name[IMAGE_MAX_NAME + 1];
	size_t done = 0, n;

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	DOES(put_text(w, "description.txt", "FORMAT=\"1\"\n", &e));
	DOES(image_raw_begin(w, "reserved", BIG, &e));
	while (done < BIG) {
		unsigned char *p = image_raw_reserve(w, &n, &e);

		CHECK(p && n && n <= BIG - done);
		CHECK((uintptr_t)p % 4096 == done % 4096);
		if (n > 300000)
			n = 300000;
		memcpy(p, content + done, n);
		DOES(image_raw_commit(w, n, &e));
		done += n;
	}
	DOES(image_raw_end(w, &e));
	DOES(put_raw(w, "empty_raw", "", 0, &e));
	DOES(put_text(w, "empty_text", "", &e));
	DOES(put_raw(w, name, content, 4097, &e));
	for (size_t i = 0; i < 40; i++) { /* every distance to the next boundary */
		snprintf(name, sizeof(name), "t%zu", i);
		DOES(put_text(w, name, "X=\"1\"\n", &e));
		snprintf(name, sizeof(name), "r%zu", i);
		DOES(put_raw(w, name, content, i * 512 + 1, &e));
		for (size_t k = 0; k < i % 9; k++) {
			snprintf(name, sizeof(name), "t%zu_%zu", i, k);
			DOES(put_text(w, name, "", &e));
		}
	}
	DOES(put_raw(w, "whole", content, BIG, &e));
	DOES(image_finish(w, ep));
	return true;
}

static bool filled_is_right(int fd)
{
	struct err e = ERR_INIT;
	struct image *im;
	char name[IMAGE_MAX_NAME + 1];

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	DOES(image_open(&im, fd, spool_dir, &e));
	if (!same_data(im, "reserved", content, BIG) || !same_data(im, "whole", content, BIG) ||
	    !same_data(im, "empty_raw", "", 0) || !same_data(im, name, content, 4097))
		return false;
	CHECK(image_find(im, "empty_text")->text && !*image_find(im, "empty_text")->text);
	for (size_t i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "r%zu", i);
		if (!same_data(im, name, content, i * 512 + 1))
			return false;
	}
	image_free(im);
	return true;
}

static bool written_to(int fd)
{
	struct image_writer *w;
	struct err e = ERR_INIT;
	int before = fcntl(fd, F_GETFL);
	struct stat st;
	bool good;

	DOES(image_writer_new(&w, fd, &e));
	good = fill(w, &e);
	CHECK(good && fstat(fd, &st) == 0);
	CHECK(!S_ISREG(st.st_mode) || (uint64_t)st.st_size == image_written(w));
	image_writer_free(w);
	CHECK(fcntl(fd, F_GETFL) == before);
	return true;
}

static bool test_memory_file(void)
{
	AUTO_FD int fd = mem_file();

	return written_to(fd) && filled_is_right(fd);
}

static bool test_disk_file(void)
{
	AUTO_FD int fd = openat(spool_dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	CHECK(fd >= 0);
	return written_to(fd) && filled_is_right(fd);
}

static void *into_pipe(void *arg)
{
	int fd = *(int *)arg;
	bool good = written_to(fd);

	close(fd);
	return good ? arg : NULL;
}

static bool test_pipe(void)
{
	int p[2];
	pthread_t t;
	void *wrote;
	bool read;

	CHECK(pipe2(p, O_CLOEXEC) == 0);
	CHECK(pthread_create(&t, NULL, into_pipe, &p[1]) == 0);
	read = filled_is_right(p[0]);
	close(p[0]);
	pthread_join(t, &wrote);
	return read && wrote;
}

/* Not at an aligned place, so without O_DIRECT. With O_APPEND only the first write finds that out. */
static bool behind_other_bytes(int flags)
{
	AUTO_FD int fd = openat(spool_dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC | flags, 0600), copy = mem_file();
	struct err e = ERR_INIT;
	struct image_writer *w;
	off_t at = 6;
	char b[6];
	bool good;

	CHECK(fd >= 0 && write(fd, "before", 6) == 6 && lseek(fd, flags ? 0 : 6, SEEK_SET) >= 0);
	DOES(image_writer_new(&w, fd, &e));
	good = fill(w, &e);
	image_writer_free(w);
	CHECK(good && pread(fd, b, 6, 0) == 6 && !memcmp(b, "before", 6));
	while (sendfile(copy, fd, &at, 1 << 20) > 0)
		continue;
	return filled_is_right(copy);
}

static bool test_append(void)
{
	return behind_other_bytes(0) && behind_other_bytes(O_APPEND);
}

/* A header for 8 GiB and more is longer: the data must begin aligned all the same. */
static bool test_huge_sizes(void)
{
	static const uint64_t sizes[] = { (UINT64_C(1) << 33) - 1, UINT64_C(1) << 33, UINT64_C(9) << 30, IMAGE_MAX_RAW };
	AUTO_FD int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		struct err e = ERR_INIT;
		struct image_writer *w;

		DOES(image_writer_new(&w, fd, &e));
		DOES(put_text(w, "description.txt", "FORMAT=\"1\"\n", &e));
		DOES(image_raw_begin(w, "task_mm_1", sizes[i], &e));
		CHECK(image_written(w) % IMAGE_ALIGN == 0);
		image_writer_free(w);
	}
	return true;
}

static bool test_compressed(void)
{
	static int (*const filters[])(struct archive *) = { archive_write_add_filter_gzip, archive_write_add_filter_zstd,
							    archive_write_add_filter_xz, archive_write_add_filter_lz4 };
	AUTO_FD int plain = mem_file();
	AUTO_BUF struct buf b = BUF_INIT;
	struct err e = ERR_INIT;

	DOES(small_image(plain, &e));
	CHECK(lseek(plain, 0, SEEK_SET) == 0 && buf_read_fd(&b, plain, 1 << 20) == 0);
	for (size_t i = 0; i < sizeof(filters) / sizeof(*filters); i++) {
		AUTO_FD int fd = mem_file();
		struct archive *a = archive_write_new();
		struct archive_entry *en = archive_entry_new();
		struct stat st;

		archive_write_set_format_raw(a);
		CHECK(filters[i](a) == ARCHIVE_OK && archive_write_open_fd(a, fd) == ARCHIVE_OK);
		archive_entry_set_filetype(en, AE_IFREG);
		CHECK(archive_write_header(a, en) == ARCHIVE_OK && archive_write_data(a, b.p, b.len) == (la_ssize_t)b.len);
		CHECK(archive_write_free(a) == ARCHIVE_OK);
		archive_entry_free(en);
		if (!small_is_right(fd))
			return false;
		CHECK(fstat(fd, &st) == 0 && ftruncate(fd, st.st_size / 2) == 0);
		if (!refused(fd, ""))
			return false;
	}
	return true;
}

static bool test_head(void)
{
	AUTO_FD int fd = mem_file();
	struct err e = ERR_INIT;
	struct image *im;

	DOES(small_image(fd, &e));
	CHECK(pwrite(fd, "damage", 6, 10000) == 6); /* beyond the head: nobody looks */
	DOES(image_open_head(&im, fd, &e));
	CHECK(image_count(im) == 2 && strstr(image_find(im, "description.txt")->text, "a test") &&
	      strstr(image_find(im, "profile")->text, "x86_64"));
	image_free(im);
	CHECK(ftruncate(fd, 700) == 0);
	CHECK(image_open_head(&im, fd, &e) < 0 && e.code == EX_BAD_IMAGE && strstr(e.msg, "truncated"));
	return true;
}

/* ---- what a writer refuses ---- */

static bool test_writer_refuses(void)
{
	static const char *const names[] = { "", "a/b", "/a", "..", ".", "a b", "end", "description.txt", "a\n", "\xc3\xa4" };
	AUTO_FD int fd = mem_file();
	struct err e = ERR_INIT;
	struct image_writer *w;
	size_t n;

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		DOES(image_writer_new(&w, fd, &e));
		DOES(put_text(w, "description.txt", "FORMAT=\"1\"\n", &e));
		CHECK(put_text(w, names[i], "", &e) < 0 && e.code == EX_FAILED);
		image_writer_free(w);
	}
	DOES(image_writer_new(&w, fd, &e));
	CHECK(put_text(w, "profile", "", &e) < 0); /* not the first member */
	CHECK(put_text(w, "description.txt", "", &e) < 0); /* the first failure stays */
	image_writer_free(w);

	DOES(image_writer_new(&w, fd, &e));
	DOES(put_text(w, "description.txt", "FORMAT=\"1\"\n", &e));
	DOES(put_text(w, "twice", "", &e));
	DOES(put_text(w, "twice", "", &e));
	CHECK(image_finish(w, &e) < 0 && strstr(e.msg, "twice"));
	image_writer_free(w);

	DOES(image_writer_new(&w, fd, &e));
	DOES(put_text(w, "description.txt", "FORMAT=\"1\"\n", &e));
	DOES(image_raw_begin(w, "r", 10, &e));
	DOES(image_raw_write(w, "12345", 5, &e));
	CHECK(image_raw_end(w, &e) < 0 && strstr(e.msg, "5 of 10 bytes are missing"));
	image_writer_free(w);

	DOES(image_writer_new(&w, fd, &e));
	DOES(put_text(w, "description.txt", "FORMAT=\"1\"\n", &e));
	DOES(image_raw_begin(w, "r", 4, &e));
	CHECK(put_text(w, "t", "", &e) < 0);
	image_writer_free(w);

	DOES(image_writer_new(&w, fd, &e));
	DOES(put_text(w, "description.txt", "FORMAT=\"1\"\n", &e));
	DOES(image_raw_begin(w, "r", 4, &e));
	CHECK(image_raw_write(w, "12345", 5, &e) < 0 && !image_raw_reserve(w, &n, &e));
	image_writer_free(w);
	return true;
}

/* ---- what a reader refuses ---- */

static bool test_flips(void)
{
	static const unsigned char masks[] = { 0, 0x20, 0xff }; /* 0: one bit, another one at each byte */
	AUTO_FD int fd = mem_file();
	struct err e = ERR_INIT;
	struct stat st;

	DOES(small_image(fd, &e));
	CHECK(fstat(fd, &st) == 0 && st.st_size < 50000);
	for (off_t i = 0; i < st.st_size; i++)
		for (size_t k = 0; k < sizeof(masks); k++) {
			unsigned char was, now;

			CHECK(pread(fd, &was, 1, i) == 1);
			now = was ^ (masks[k] ? masks[k] : (unsigned char)(1 << i % 8));
			CHECK(pwrite(fd, &now, 1, i) == 1);
			if (!refused(fd, "")) {
				size_t len = strlen(why);

				snprintf(why + len, sizeof(why) - len, " at byte %lld, %02x for %02x", (long long)i, now, was);
				return false;
			}
			CHECK(pwrite(fd, &was, 1, i) == 1);
		}
	return small_is_right(fd);
}

static bool test_truncation(void)
{
	AUTO_FD int fd = mem_file();
	struct err e = ERR_INIT;
	struct stat st;
	char words[100];

	DOES(small_image(fd, &e));
	CHECK(fstat(fd, &st) == 0);
	for (off_t i = st.st_size - 1; i >= 0; i--) {
		CHECK(ftruncate(fd, i) == 0);
		snprintf(words, sizeof(words), "truncated: it ends at byte %lld, its ", (long long)i);
		if (!refused(fd, words))
			return false;
	}
	return true;
}

static bool test_truncated_pipe(void)
{
	AUTO_FD int fd = mem_file();
	AUTO_BUF struct buf b = BUF_INIT;
	struct err e = ERR_INIT;

	DOES(small_image(fd, &e));
	CHECK(lseek(fd, 0, SEEK_SET) == 0 && buf_read_fd(&b, fd, 1 << 20) == 0);
	for (size_t n = 0; n < b.len; n += n < 2000 ? 100 : 1111) {
		int p[2];
		bool good;

		CHECK(pipe2(p, O_CLOEXEC) == 0 && write(p[1], b.p, n) == (ssize_t)n);
		close(p[1]);
		good = refused(p[0], "truncated: it ends at byte ");
		close(p[0]);
		if (!good)
			return false;
	}
	return true;
}

/* A tar made by hand, with an `end` that agrees with it, so that only what is wrong on purpose is wrong. */
struct forged {
	struct buf b;
	struct imgidx idx;
};

static void forge_sum(char *h)
{
	unsigned sum = 0;

	memset(h + 148, ' ', 8);
	for (int i = 0; i < 512; i++)
		sum += (unsigned char)h[i];
	snprintf(h + 148, 8, "%06o", sum);
}

static void forge_header(struct buf *b, const char *name, unsigned mode, uint64_t size, char type, const char *link)
{
	char h[513] = { 0 };

	snprintf(h, 100, "%s", name);
	snprintf(h + 100, 24, "%07o%c%07o%c%07o", mode, 0, 0, 0, 0);
	snprintf(h + 124, 12, "%011llo", (unsigned long long)size);
	snprintf(h + 136, 12, "%011o", 0);
	h[156] = type;
	snprintf(h + 157, 100, "%s", link);
	memcpy(h + 257, "ustar\00000", 8);
	forge_sum(h);
	buf_add(b, h, 512);
}

static void forge_pad(struct buf *b)
{
	while (b->len % 512)
		buf_addc(b, 0);
}

static void forge(struct forged *f, const char *name, unsigned mode, char type, const char *text)
{
	struct imgidx_member *m;

	forge_header(&f->b, name, mode, strlen(text), type, type == '1' || type == '2' ? "description.txt" : "");
	m = imgidx_add(&f->idx, imgidx_name_ok(name) ? name : "x", strlen(text), mode == 0400, EX_FAILED, NULL);
	m->m.offset = f->b.len;
	m->crc = crc32c(0, text, strlen(text));
	buf_adds(&f->b, text);
	forge_pad(&f->b);
}

static int forge_end(struct forged *f)
{
	struct buf t = BUF_INIT;
	size_t at = f->b.len;
	int fd = mem_file();

	for (size_t i = 0; i < f->idx.n; i++)
		imgidx_put_member(&t, &f->idx.v[i]);
	imgidx_put_end(&t, f->idx.n, at, crc32c(0, f->b.p, at));
	forge_header(&f->b, "end", 0600, t.len + IMGIDX_SELF_LEN, '0', "");
	imgidx_put_self(&t, crc32c(crc32c(0, f->b.p + at, 512), t.p, t.len));
	buf_add(&f->b, t.p, t.len);
	forge_pad(&f->b);
	for (int i = 0; i < 1024; i++)
		buf_addc(&f->b, 0);
	if (write(fd, f->b.p, f->b.len) != (ssize_t)f->b.len)
		abort();
	buf_free(&t);
	buf_free(&f->b);
	imgidx_free(&f->idx);
	return fd;
}

static bool forgery(const char *description, const char *name, unsigned mode, char type, const char *text, const char *words)
{
	struct forged f = { 0 };
	AUTO_FD int fd = -1;
	struct err e = ERR_INIT;
	struct image *im;

	forge(&f, "description.txt", 0600, '0', description);
	if (name)
		forge(&f, name, mode, type, text);
	fd = forge_end(&f);
	if (words)
		return refused(fd, words);
	DOES(image_open(&im, fd, spool_dir, &e));
	image_free(im);
	return true;
}

static bool test_forged(void)
{
	static const char good[] = "FORMAT=\"1\"\n";

	return forgery(good, NULL, 0, 0, NULL, NULL) && forgery(good, "a", 0600, '0', "X=\"1\"\n", NULL) &&
	       forgery("FORMAT=\"7\"\n", NULL, 0, 0, NULL, "image format 7 is not known to this version (it reads 1)") &&
	       forgery("FORMAT=\"\"\n", NULL, 0, 0, NULL, "FORMAT is not a number") &&
	       forgery("FORMAT=\"99999999999999999999\"\n", NULL, 0, 0, NULL, "FORMAT is not a number") &&
	       forgery("NAME=\"1\"\n", NULL, 0, 0, NULL, "names no FORMAT") &&
	       forgery("FORMAT\n", NULL, 0, 0, NULL, "description.txt: line 1") &&
	       forgery(good, "/etc/passwd", 0600, '0', "", "name '/etc/passwd' is not allowed") &&
	       forgery(good, "../x", 0600, '0', "", "is not allowed") && forgery(good, "..", 0600, '0', "", "is not allowed") &&
	       forgery(good, "a\x1b[31m", 0600, '0', "", "is not allowed") &&
	       forgery(good, "a\xff", 0600, '0', "", "") &&
	       forgery(good, "a", 0644, '0', "", "has mode 0644") &&
	       forgery(good, "a", 0400, '0', "x", "is not aligned") &&
	       forgery(good, "l", 0600, '2', "", "l is not a plain file") &&
	       forgery(good, "l", 0600, '1', "", "l is not a plain file") &&
	       forgery(good, "d", 0600, '5', "", "is not a") && forgery(good, "c", 0600, '3', "", "c is not a plain file") &&
	       forgery(good, "b", 0600, '4', "", "b is not a plain file") && forgery(good, "p", 0600, '6', "", "p is not a plain file") &&
	       forgery(good, "description.txt", 0600, '0', good, "member description.txt is there twice");
}

static bool test_more_forgeries(void)
{
	AUTO_FD int a = -1, b = -1, c = -1, d = -1, g = -1, h = -1;
	struct forged f = { 0 };
	struct err e = ERR_INIT;
	struct stat st;

	forge(&f, "profile", 0600, '0', "X=\"1\"\n");
	a = forge_end(&f);
	if (!refused(a, "its first member is not description.txt"))
		return false;

	/* a lying list: another name, another size, one too many, one too few */
	for (int i = 0; i < 4; i++) {
		AUTO_FD int fd = -1;

		forge(&f, "description.txt", 0600, '0', "FORMAT=\"1\"\n");
		forge(&f, "a", 0600, '0', "X=\"1\"\n");
		if (i == 0)
			f.idx.v[1].m.name[0] = 'b';
		else if (i == 1)
			f.idx.v[1].m.size++;
		else if (i == 2)
			imgidx_add(&f.idx, "c", 1, false, EX_FAILED, NULL);
		else
			free(f.idx.v[--f.idx.n].m.name);
		fd = forge_end(&f);
		if (!refused(fd, "`end`"))
			return false;
	}
	/* a wrong checksum in the list */
	forge(&f, "description.txt", 0600, '0', "FORMAT=\"1\"\n");
	forge(&f, "a", 0600, '0', "X=\"1\"\n");
	f.idx.v[1].crc++;
	b = forge_end(&f);
	if (!refused(b, "member a is damaged"))
		return false;

	/* two in one, something behind, and a longer end than a tar has */
	c = mem_file();
	DOES(small_image(c, &e));
	DOES(small_image(c, &e));
	d = mem_file();
	DOES(small_image(d, &e));
	CHECK(write(d, "x", 1) == 1);
	g = mem_file();
	DOES(small_image(g, &e));
	CHECK(fstat(g, &st) == 0 && ftruncate(g, st.st_size + 512) == 0);
	if (!refused(c, "something follows its end") || !refused(d, "something follows its end") ||
	    !refused(g, "something follows its end"))
		return false;

	h = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return refused(h, "is a directory");
}

/* Sizes that are not there, in a pipe, where nobody can know: 300 MiB of text and 1 PiB of pages. */
static bool test_lying_sizes(void)
{
	struct buf x = BUF_INIT;

	for (int raw = 0; raw < 2; raw++) {
		int p[2];
		bool good;

		buf_reset(&x);
		forge_header(&x, "description.txt", 0600, 11, '0', "");
		buf_adds(&x, "FORMAT=\"1\"\n");
		forge_pad(&x);
		if (raw) { /* to be aligned */
			forge_header(&x, "text", 0600, 2048, '0', "");
			for (int i = 0; i < 2048; i++)
				buf_addc(&x, '\n');
			forge_header(&x, "r", 0400, 0, '0', "");
			memcpy(x.p + x.len - 512 + 124, "\x80\0\0\0\0\x04\0\0\0\0\0\0", 12);
			forge_sum(x.p + x.len - 512);
		} else {
			forge_header(&x, "t", 0600, 300 << 20, '0', "");
		}
		CHECK(pipe2(p, O_CLOEXEC) == 0 && write(p[1], x.p, x.len) == (ssize_t)x.len);
		close(p[1]);
		good = refused(p[0], "over the limit");
		close(p[0]);
		if (!good)
			return false;
	}
	buf_free(&x);
	return true;
}

/* A sparse file of GNU tar: libarchive would hand out more bytes than the file holds. */
static bool test_sparse(void)
{
	AUTO_FD int fd = mem_file();
	struct buf b = BUF_INIT;
	char block[512];
	bool good;

	forge_header(&b, "description.txt", 0600, 11, '0', "");
	buf_adds(&b, "FORMAT=\"1\"\n");
	forge_pad(&b);
	forge_header(&b, "s", 0600, 512, 'S', "");
	memcpy(b.p + 1024 + 257, "ustar  ", 8);
	snprintf(b.p + 1024 + 386, 24, "%011o%c%011o", 1 << 20, 0, 512);
	snprintf(b.p + 1024 + 483, 12, "%011o", (1 << 20) + 512);
	forge_sum(b.p + 1024);
	memset(block, 'x', sizeof(block));
	buf_add(&b, block, sizeof(block));
	memset(block, 0, sizeof(block));
	buf_add(&b, block, sizeof(block));
	buf_add(&b, block, sizeof(block));
	CHECK(write(fd, b.p, b.len) == (ssize_t)b.len);
	good = refused(fd, "s is a sparse file");
	buf_free(&b);
	return good;
}

/* ---- disk full ---- */

static int full_disk_child(void)
{
	AUTO_FD int dir = -1, fd = -1, src = mem_file();
	struct err e = ERR_INIT;
	struct image_writer *w;
	struct image *im;
	int p[2];

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", "/tmp", "tmpfs", 0, "size=8k") < 0)
		return 77;
	dir = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd = openat(dir, "image", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	if (image_writer_new(&w, fd, &e) < 0 || put_text(w, "description.txt", "FORMAT=\"1\"\n", &e) < 0)
		return 1;
	if (put_raw(w, "r", content, BIG, &e) == 0 && image_finish(w, &e) == 0)
		return 2;
	if (e.code != EX_NOSPACE)
		return 3;
	image_writer_free(w);
	if (ftruncate(fd, 0) < 0 || small_image(src, &e) < 0 || lseek(src, 0, SEEK_SET) != 0 || pipe2(p, O_CLOEXEC) < 0)
		return 4;
	for (char c; read(src, &c, 1) == 1;) /* 20 KiB: fits the pipe */
		if (write(p[1], &c, 1) != 1)
			return 5;
	close(p[1]);
	e = (struct err)ERR_INIT;
	return image_open(&im, p[0], dir, &e) < 0 && e.code == EX_NOSPACE ? 0 : 6;
}

static bool test_full_disk(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(full_disk_child());
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77) {
		fails("needs to mount a tmpfs");
		return true;
	}
	return WEXITSTATUS(status) == 0 ? true : fails("step %d", WEXITSTATUS(status));
}

int main(void)
{
	spool_dir = open("/var/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i < sizeof(content); i++)
		content[i] = (unsigned char)(i * 2654435761u >> 11);
	run("crc32c", test_crc);
	run("image: small", test_small);
	run("image: every kind of member, in memory", test_memory_file);
	run("image: every kind of member, on disk", test_disk_file);
	run("image: every kind of member, through a pipe", test_pipe);
	run("image: behind other bytes", test_append);
	run("image: members of 8 GiB and more are aligned", test_huge_sizes);
	run("image: gzip, zstd, xz, lz4", test_compressed);
	run("image: head only", test_head);
	run("image: the writer refuses misuse", test_writer_refuses);
	run("image: each byte flipped", test_flips);
	run("image: truncated at each byte", test_truncation);
	run("image: truncated in a pipe", test_truncated_pipe);
	run("image: forged members", test_forged);
	run("image: forged lists and ends", test_more_forgeries);
	run("image: lying sizes", test_lying_sizes);
	run("image: sparse member", test_sparse);
	run("image: full disk", test_full_disk);
	return failures ? 1 : 0;
}
