/* image: what the writer makes, the reader gives back. What it refuses: image_bad.c. */
#include "image_test.h"

#include "image/crc32c.h"

#include <archive.h>
#include <archive_entry.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/wait.h>

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
	image_test_init();
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
	run("image: full disk", test_full_disk);
	return failures ? 1 : 0;
}
