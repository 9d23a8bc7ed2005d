/* Fuzzes what a restart does before it makes a process: the records of all members, the checks of every resource, and the
 * opening of files, below a directory of its own.
 *
 * The input is the text members of an image, each behind a line `@NAME`; `@NAME SIZE` is a raw member of zeros. FORMAT and the
 * profile of this machine are added, and the pages that a task_PID names. CRC="VDSO" becomes that of this machine's vDSO. */
#include "cr/cr.h"
#include "res/mm.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_PAGES = 256, MAX_RAW = 1 << 20, MAX_MEMBERS = 64 };
static char root[] = "/tmp/xos-fuzz.XXXXXX";

static void remove_root(void)
{
	char cmd[64];

	snprintf(cmd, sizeof cmd, "rm -rf %s", root);
	if (system(cmd))
		fprintf(stderr, "%s is left\n", root);
}

/* What the corpus names: a file, a directory, a fifo. */
static void make_root(void)
{
	char path[64];
	int fd;

	if (!mkdtemp(root))
		abort();
	atexit(remove_root);
	snprintf(path, sizeof path, "%s/f", root);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	if (fd < 0 || ftruncate(fd, 10000))
		abort();
	close(fd);
	snprintf(path, sizeof path, "%s/d", root);
	if (mkdir(path, 0700))
		abort();
	snprintf(path, sizeof path, "%s/fifo", root);
	if (mkfifo(path, 0600))
		abort();
}

static bool put_raw(struct image_writer *w, const char *name, uint64_t n)
{
	static const char zeros[65536];

	if (n > MAX_RAW || image_raw_begin(w, name, n, NULL))
		return false;
	for (; n; n -= n < sizeof zeros ? n : sizeof zeros)
		if (image_raw_write(w, zeros, n < sizeof zeros ? n : sizeof zeros, NULL))
			return false;
	return !image_raw_end(w, NULL);
}

/* task_mm_PID for a task_PID whose lists of pages are well-formed. */
static bool put_pages(struct image_writer *w, const char *name, const struct buf *text)
{
	struct mm_runs runs = { 0 };
	struct err e = ERR_INIT;
	char *copy = strdup(buf_str(text)), raw[600];
	bool ok = true;

	for (char *s = copy; (s = strstr(s, "TYPE=\"pages\" RUNS=\""));) {
		char *end = strchr(s += strlen("TYPE=\"pages\" RUNS=\""), '"');
		if (!end)
			break;
		*end = 0;
		if (mm_runs_parse(&runs, s, &e))
			break;
		s = end + 1;
	}
	snprintf(raw, sizeof raw, "task_mm_%s", name + strlen("task_"));
	if (runs.pages <= MAX_PAGES)
		ok = put_raw(w, raw, runs.pages * MM_PAGE);
	mm_runs_free(&runs);
	free(copy);
	return ok;
}

static void add_text(struct buf *b, const char *s, size_t n)
{
	static const char mark[] = "CRC=\"VDSO\"";
	const char *own = (const char *)getauxval(AT_SYSINFO_EHDR); // NOLINT(performance-no-int-to-ptr)
	static uint32_t crc;

	/* mm_vdso_len of what is mapped: its end is the page after the last section, as checkpoints take it. */
	if (!crc && own) {
		struct buf p = BUF_INIT;
		const char *at;

		profile_node(&p);
		at = strstr(buf_str(&p), "VDSO_CRC=\"");
		crc = at ? (uint32_t)strtoul(at + strlen("VDSO_CRC=\""), NULL, 16) : 1;
		buf_free(&p);
	}
	while (n) {
		const char *m = memmem(s, n, mark, sizeof mark - 1);
		size_t k = m ? (size_t)(m - s) : n;

		buf_add(b, s, k);
		if (m)
			buf_printf(b, "CRC=\"0x%x\"", crc);
		s += k + (m ? sizeof mark - 1 : 0);
		n -= k + (m ? sizeof mark - 1 : 0);
	}
}

/* One member from its line on. Returns false when the writer does not take it. */
static bool put_member(struct image_writer *w, const char *s, size_t n)
{
	const char *nl = memchr(s, '\n', n);
	size_t k = nl ? (size_t)(nl - s) : n;
	unsigned long long size;
	struct buf b = BUF_INIT;
	char name[256], line[300];
	bool ok;

	if (k >= 256)
		return false;
	memcpy(line, s, k);
	line[k] = 0;
	if (sscanf(line, "%255s %llu", name, &size) == 2)
		return put_raw(w, name, size);
	add_text(&b, nl ? nl + 1 : "", nl ? n - k - 1 : 0);
	ok = !buf_failed(&b) && !image_put_text(w, line, &b, NULL) && (strncmp(line, "task_", 5) || put_pages(w, line, &b));
	buf_free(&b);
	return ok;
}

static bool write_image(int fd, const char *s, size_t n)
{
	struct image_writer *w;
	struct buf b = BUF_INIT;
	bool ok;

	if (image_writer_new(&w, fd, NULL))
		abort();
	buf_adds(&b, "FORMAT=\"1\"\nIDENTIFIER=\"fuzz\"\nUID=\"0\"\n");
	ok = !image_put_text(w, "description.txt", &b, NULL);
	buf_reset(&b);
	profile_node(&b);
	ok = ok && !image_put_text(w, "profile", &b, NULL);
	buf_free(&b);
	for (int i = 0; ok && n && i < MAX_MEMBERS; i++) {
		const char *next = memmem(s, n, "\n@", 2);
		size_t k = next ? (size_t)(next - s) + 1 : n;

		if (*s == '@')
			ok = put_member(w, s + 1, k - 1);
		s += k;
		n -= k;
	}
	ok = ok && !image_finish(w, NULL);
	image_writer_free(w);
	return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool made;
	static char slash[] = "/", null[] = "/dev/null";
	static struct subst reloc[] = { { slash, root }, { null, null } };
	struct restart_run run = { .o = { .reloc = reloc, .nreloc = 2, .std = { -1, -1, -1 } }, .own_ns = true };
	int fd = memfd_create("image", MFD_CLOEXEC);
	struct err e = ERR_INIT;
	struct image *im;

	if (!made)
		make_root();
	made = true;
	if (fd < 0)
		abort();
	/* One half with files that must be as they were. */
	run.o.accept_changed = !size || !(data[size - 1] & 1);
	if (write_image(fd, (const char *)data, size)) {
		if (image_open(&im, fd, -1, &e)) {
			fprintf(stderr, "%s\n", e.msg);
			abort();
		}
		/* Whatever is refused is refused with a message and an exit status. */
		if (cr_restart_check(im, &run, &e) && (!e.code || !e.msg[0]))
			abort();
		if (getenv("FUZZ_VERBOSE"))
			fprintf(stderr, "%d %s\n", e.code, e.msg);
		image_free(im);
	}
	close(fd);
	return 0;
}
