/* Fuzzes what a restart does before it makes a process: the records of all members, the checks of every resource, and the
 * opening of files, below a directory of its own.
 *
 * The input is the text members of an image, each behind a line `@NAME`; `@NAME SIZE` is a raw member of zeros, `@NAME raw` one with the bytes
 * that follow, but for the last newline. FORMAT and the
 * profile of this machine are added, and the pages that a task_PID names. CRC="VDSO" becomes that of this machine's vDSO.
 *
 * An input without `@global` is about a kind of file or object only: it gets a process (PID 5), which has one descriptor for each record of
 * its member `files`, and besides what a process must have the records of its `@task`. So inputs stay short, and all of it is
 * worth changing.
 *
 * Of an input with `@namespaces` the records are read, no more: a check makes the namespaces, with their mounts and links to this machine's. */
#include "cr/internal.h"
#include "res/member_group.h"
#include "res/mm.h"
#include "res/ns_obj.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_PAGES = 256, MAX_RAW = 1 << 20, MAX_MEMBERS = 64, NOBODY = 65534 };
static char root[] = "/tmp/xos-fuzz.XXXXXX";

/* What a process must have. */
static const char plain_own[] =
	"TYPE=\"mm\" START_CODE=\"0x55c808fb7000\" END_CODE=\"0x55c808fb819d\" START_DATA=\"0x55c808fbadd0\" "
	"END_DATA=\"0x55c808fbb120\" START_BRK=\"0x55c81d9fe000\" BRK=\"0x55c81d9fe000\" START_STACK=\"0x7ffc6ce41300\" "
	"ARG_START=\"0x7ffc6ce4290b\" ARG_END=\"0x7ffc6ce4294d\" ENV_START=\"0x7ffc6ce4294d\" ENV_END=\"0x7ffc6ce42fd1\" "
	"AUXV=\"00000000000000000000000000000000\" EXE=\"1\"\n"
	"TYPE=\"vdso\" START=\"0x7fb4edd6a000\" TEXT=\"0x7fb4edd70000\" END=\"0x7fb4edd72000\" CRC=\"VDSO\"\n"
	"TYPE=\"umask\" MASK=\"0x12\"\n"
	"TYPE=\"fs\" CWD=\"/d\"\n"
	"TYPE=\"oom_score_adj\" VALUE=\"0\"\n"
	"TYPE=\"coredump_filter\" VALUE=\"51\"\n"
	"TYPE=\"prctl\" CHILD_SUBREAPER=\"0\" XCOMP_PERM=\"231\" THP_DISABLE=\"0\" MEMORY_MERGE=\"0\" DUMPABLE=\"1\" MDWE=\"0\"\n";
static const char plain_thread[] =
	"TYPE=\"thread\" TID=\"5\" SIGMASK=\"0x0\" RAX=\"0xfffffffffffffdfc\" RBX=\"0x5\" RCX=\"0x7fb4edc47503\" "
	"RDX=\"0x7ffc6ce41150\" RSI=\"0x0\" RDI=\"0x0\" RBP=\"0x3\" RSP=\"0x7ffc6ce41098\" R8=\"0x0\" R9=\"0x73\" R10=\"0x0\" "
	"R11=\"0x202\" R12=\"0x7\" R13=\"0x6\" R14=\"0x7ffc6ce410c0\" R15=\"0xa956e0b3\" RIP=\"0x7fb4edc47503\" EFLAGS=\"0x202\" "
	"ORIG_RAX=\"0xe6\" CS=\"0x33\" SS=\"0x2b\" DS=\"0x0\" ES=\"0x0\" FS=\"0x0\" GS=\"0x0\" FS_BASE=\"0x7fb4edb75740\" "
	"GS_BASE=\"0x0\"";
static const char plain_rest[] =
	"TYPE=\"comm\" NAME=\"fuzz\"\n"
	"TYPE=\"sched\" POLICY=\"0\" FLAGS=\"0x0\" NICE=\"0\" PRIORITY=\"0\" RUNTIME=\"0\" DEADLINE=\"0\" PERIOD=\"0\" "
	"UTIL_MIN=\"0\" UTIL_MAX=\"0\" IOPRIO=\"0\" CPUS=\"0\" ALL_CPUS=\"1\"\n"
	"TYPE=\"tid_address\" ADDRESS=\"0x7fb4edb75a10\"\n"
	"TYPE=\"robust_list\" HEAD=\"0x7fb4edb75a20\"\n"
	"TYPE=\"rseq\" ADDRESS=\"0x7fb4edb76060\" LENGTH=\"32\" SIGNATURE=\"0x53053053\"\n"
	"TYPE=\"prctl\" PERSONALITY=\"0\" PDEATHSIG=\"0\" TIMERSLACK=\"50000\" TSC=\"1\" CPUID=\"1\" MCE_KILL=\"2\" "
	"SPEC_STORE_BYPASS=\"2\" SPEC_INDIRECT_BRANCH=\"2\" SPEC_L1D_FLUSH=\"8\"\n"
	"TYPE=\"creds\" UID=\"0\" EUID=\"0\" SUID=\"0\" FSUID=\"0\" GID=\"0\" EGID=\"0\" SGID=\"0\" FSGID=\"0\" GROUPS=\"\" "
	"CAPINH=\"0x0\" CAPPRM=\"0x0\" CAPEFF=\"0x0\" CAPBND=\"0x0\" CAPAMB=\"0x0\" "
	"SECUREBITS=\"0x0\" NO_NEW_PRIVS=\"0\"\n";
static const char *const limits[] = { "CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS", "SIGPENDING",
	"MSGQUEUE", "NICE", "RTPRIO", "RTTIME" };

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

/* p NULL: zeros. */
static bool put_raw(struct image_writer *w, const char *name, const char *p, uint64_t n)
{
	static const char zeros[65536];

	if (n > MAX_RAW || image_raw_begin(w, name, n, NULL))
		return false;
	if (p && n && image_raw_write(w, p, n, NULL))
		return false;
	for (; !p && n; n -= n < sizeof zeros ? n : sizeof zeros)
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
		ok = put_raw(w, raw, NULL, runs.pages * MM_PAGE);
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
		return put_raw(w, name, NULL, size);
	if (k > 4 && nl && !strcmp(line + k - 4, " raw")) {
		line[k - 4] = 0;
		return put_raw(w, line, nl + 1, n - k > 1 ? n - k - 2 : 0);
	}
	add_text(&b, nl ? nl + 1 : "", nl ? n - k - 1 : 0);
	ok = !buf_failed(&b) && !image_put_text(w, line, &b, NULL) && (strncmp(line, "task_", 5) || put_pages(w, line, &b));
	buf_free(&b);
	return ok;
}

/* The member of that name; NULL. */
static const char *member(const char *s, size_t n, const char *name, size_t *len)
{
	const char *end = s + n, *at = s;

	for (; at && at < end; at = memmem(at + 1, (size_t)(end - at - 1), "\n@", 2)) {
		const char *head = at + (*at == '\n'), *next;

		if (*head != '@' || (size_t)(end - head) < strlen(name) + 2 || memcmp(head + 1, name, strlen(name)) || head[strlen(name) + 1] != '\n')
			continue;
		head += strlen(name) + 2;
		next = memmem(head - 1, (size_t)(end - head + 1), "\n@", 2);
		*len = next ? (size_t)(next + 1 - head) : (size_t)(end - head);
		return head;
	}
	return NULL;
}

static bool put_plain(struct image_writer *w, const char *s, size_t n)
{
	struct buf b = BUF_INIT;
	size_t len = 0, fds = 0;
	const char *m = member(s, n, "files", &len);
	bool ok;

	buf_adds(&b, "TYPE=\"proc\" PID=\"5\" PPID=\"0\" PGID=\"5\" SID=\"5\" EXIT_SIGNAL=\"17\" MAIN=\"1\" COMM=\"fuzz\"\n");
	ok = !image_put_text(w, "global", &b, NULL);
	buf_reset(&b);
	buf_adds(&b, "TYPE=\"map\" ID=\"1\" PATH=\"/f\" DEV=\"0xfe00\" INO=\"1\" SIZE=\"10000\" MTIME=\"1.000000000\" MODE=\"0x81ed\"\n");
	ok = ok && !image_put_text(w, "maps", &b, NULL);
	buf_reset(&b);
	if (!member(s, n, "shm", &(size_t){ 0 }))
		ok = ok && !image_put_text(w, "shm", &b, NULL);
	if (!m)
		ok = ok && !image_put_text(w, "files", &b, NULL);
	for (size_t i = 0; m && i < len; i++)
		if (m[i] == '\n') {
			fds++;
			buf_printf(&b, "TYPE=\"fd\" FD=\"%zu\" FILE=\"%zu\"\n", fds, fds);
		}
	add_text(&b, plain_own, sizeof plain_own - 1);
	for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
		buf_printf(&b, "TYPE=\"rlimit\" NAME=\"%s\" SOFT=\"%d\" HARD=\"%d\"\n", limits[i], i < 13 ? 1024 : 0, i < 13 ? 1024 : 0);
	m = member(s, n, "task", &len);
	if (m)
		add_text(&b, m, len);
	buf_printf(&b, "%s XSTATE=\"%0*d\"\n%s", plain_thread, 1024, 0, plain_rest);
	ok = ok && !buf_failed(&b) && !image_put_text(w, "task_5", &b, NULL) && put_pages(w, "task_5", &b);
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
	if (ok && !member(s, n, "global", &(size_t){ 0 }))
		ok = put_plain(w, s, n);
	for (int i = 0; ok && n && i < MAX_MEMBERS; i++) {
		const char *next = memmem(s, n, "\n@", 2);
		size_t k = next ? (size_t)(next - s) + 1 : n;

		if (*s == '@' && (n < 6 || memcmp(s, "@task\n", 6)))
			ok = put_member(w, s + 1, k - 1);
		s += k;
		n -= k;
	}
	ok = ok && !image_finish(w, NULL);
	image_writer_free(w);
	return ok;
}

/* Processes, groups, namespaces: nothing is made. */
static int read_namespaces(struct image *im, struct restart_run *run, struct err *e)
{
	struct restore r = { .img = im, .o = &run->o, .own_ns = true, .check_only = true, .img_fd = -1 };
	int rc = plan_make(&r, run, e) || member_groups_parse(&r, e) || ns_parse(&r, e) ? -1 : 0;

	for (size_t i = 0; i < r.nprocs && !rc; i++)
		if (!r.procs[i]->zombie && !r.procs[i]->helper)
			rc = ns_verify_proc(&r, r.procs[i], e);
	ns_restore_free(&r);
	member_groups_restore_free(&r);
	plan_free(&r);
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool made;
	static char slash[] = "/", null[] = "/dev/null", tun[] = "/dev/net/tun";
	static struct subst reloc[] = { { slash, root }, { null, null }, { tun, tun } };
	struct restart_run run = { .o = { .reloc = reloc, .nreloc = 3, .std = { -1, -1, -1 } }, .own_ns = true };
	int fd = memfd_create("image", MFD_CLOEXEC), rc;
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
		/* One half of these is an ordinary user's, which root restarts. */
		if (image_find(im, "namespaces"))
			run.o.image_owner = data[size - 1] & 4 ? NOBODY : 0;
		rc = image_find(im, "namespaces") ? read_namespaces(im, &run, &e) : cr_restart_check(im, &run, &e);
		if (rc && (!e.code || !e.msg[0]))
			abort();
		if (getenv("FUZZ_VERBOSE"))
			fprintf(stderr, "%d %s\n", e.code, e.msg);
		image_free(im);
	}
	close(fd);
	return 0;
}
