/* fd_uring: io_uring rings without requests in flight; io_uring(7), io_uring_setup(2), io_uring_register(2).
 *
 * Record: TYPE="io_uring" ... SQ= CQ= COUNT= SQ_TAIL= CQ_HEAD= [DROPPED=] [CQ_FLAGS=] [FILES=] [BUFFERS=], raw member uring_ID
 *
 * fdinfo tells the counters and what is registered; the rings themselves are mapped and read. The kernel shows the set-up flags
 * nowhere, so calls that fail in one way or the other, and change nothing, tell them: see probe(). Those that only say how
 * eagerly completions are delivered cannot be told, and need not be: a ring made without them delivers
 * them at once. IORING_SETUP_SUBMIT_ALL cannot be told either: the new ring has it, so that nothing that is submitted is left.
 *
 * Each request that was taken gave one completion when nothing is in flight. A ring whose counters differ has requests
 * in flight, or had some that give none or many: there is no telling, so it is refused. */
#include "res/fd_uring.h"
#include "common/cleanup.h"
#include "res/fd_ops.h"
#include "res/proc_ops.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

enum {
	SYS_uring_enter = 426, SYS_uring_register,
	REGISTER_EVENTFD = 4, REGISTER_PROBE = 8, REGISTER_RESTRICTIONS = 11, REGISTER_PBUF_STATUS = 26, REGISTER_NAPI = 27,
	OFF_CQ = 0x8000000, OFF_SQES = 0x10000000, OFF_REGION = 0x20000000, OFF_ZCRX = 0x30000000, GROUPS = 1 << 16,
	HEADER = 64, /* of the rings, then the completions */
	PATIENCE_MS = 1000,
};
struct shape { uint64_t sq, cq, sq_head, sq_tail, taken, cq_head, cq_tail, done; };

static bool uring_match(const struct dfile *f)
{
	return fd_is_anon(f, "[io_uring]");
}

static int refuse_it(struct dump *d, const struct dfile *f, const char *what)
{
	return refuse(d, f->p, "fd %d: io_uring: %s", f->fd, what);
}

/* false: this kernel's fdinfo does not tell. */
static bool shape_of(const char *info, struct shape *s)
{
	uint64_t sqm, cqm;

	if (fdinfo_num(info, "SqMask", 16, &sqm) || fdinfo_num(info, "CqMask", 16, &cqm) || fdinfo_num(info, "SqHead", 10, &s->sq_head) ||
	    fdinfo_num(info, "SqTail", 10, &s->sq_tail) || fdinfo_num(info, "CachedSqHead", 10, &s->taken) ||
	    fdinfo_num(info, "CqHead", 10, &s->cq_head) || fdinfo_num(info, "CqTail", 10, &s->cq_tail) ||
	    fdinfo_num(info, "CachedCqTail", 10, &s->done) || !strstr(info, "\nPollList:") || !strstr(info, "\nUserFiles:") ||
	    sqm >= URING_ENTRIES_MAX || cqm >= URING_CQ_MAX)
		return false;
	s->sq = sqm + 1;
	s->cq = cqm + 1;
	return true;
}

/* Is there a line below "name:" that belongs to it (begins with blanks)? */
static bool listed(const char *info, const char *name)
{
	const char *s = strstr(info, name);

	s = s ? strchr(s + 1, '\n') : NULL;
	return s && s[1] == ' ';
}

/* How many pages there are at that offset, up to max; -1: cannot be told. */
static long pages_at(int fd, uint64_t off, size_t max)
{
	char *m = mmap(NULL, max * MM_PAGE, PROT_READ, MAP_SHARED, fd, (off_t)off), b;
	long n = 0;

	if (m == MAP_FAILED)
		return -1;
	for (; n < (long)max; n++) {
		struct iovec to = { &b, 1 }, from = { m + n * MM_PAGE, 1 };

		if (process_vm_readv(getpid(), &to, 1, &from, 1, 0) != 1)
			break;
	}
	munmap(m, max * MM_PAGE);
	return n;
}

static size_t in_pages(size_t bytes) { return (bytes + MM_PAGE - 1) / MM_PAGE; }

/* Entries of double size show where they need more pages; fdinfo prints what is more of those that wait. */
static bool odd_sizes(const struct dfile *f, const struct shape *s)
{
	size_t rings = in_pages(HEADER + s->cq * URING_CQE + s->sq * 4), sqes = in_pages(s->sq * URING_SQE);

	return pages_at(f->lfd, 0, 2 * rings + 1) > (long)rings || pages_at(f->lfd, OFF_SQES, 2 * sqes + 1) > (long)sqes ||
	       strstr(f->info, ", extra1:") || strstr(f->info, ", e0:");
}

static long reg(int fd, unsigned op, const void *p, unsigned n)
{
	return syscall(SYS_uring_register, fd, op, p, n) < 0 ? -errno : 0;
}

static bool has_region(int fd, uint64_t off)
{
	void *m = mmap(NULL, MM_PAGE, PROT_READ, MAP_SHARED, fd, (off_t)off);

	if (m != MAP_FAILED)
		munmap(m, MM_PAGE);
	return m != MAP_FAILED;
}

static bool has_buffer_group(int fd)
{
	for (uint32_t i = 0; i < GROUPS; i++) {
		uint32_t status[10] = { i };
		long rc = reg(fd, REGISTER_PBUF_STATUS, status, 1);

		if (rc == -ENOENT)
			continue;
		/* EINVAL: a group of the old kind; for group 0 also a kernel that does not know the question. */
		return rc == 0 || (rc == -EINVAL && i) || rc != -EINVAL;
	}
	return false;
}

/* All calls here fail, or tell and change nothing. The address 8 is nobody's. */
static void probe(struct dump *d, const struct dfile *f)
{
	const void *nowhere = (const void *)(uintptr_t)8;
	const unsigned harmless[] = { REGISTER_PROBE, REGISTER_RESTRICTIONS };
	long rc = reg(f->lfd, REGISTER_PROBE, NULL, 0);

	if (rc == -EEXIST) {
		refuse_it(d, f, "made for one thread only (IORING_SETUP_SINGLE_ISSUER) is not supported");
		return;
	}
	if (syscall(SYS_uring_enter, f->lfd, 0, 0, 0, NULL, 0) < 0) {
		refuse_it(d, f, "not enabled yet (IORING_SETUP_R_DISABLED) is not supported");
		return;
	}
	for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
		if (reg(f->lfd, harmless[i], NULL, 0) == -EACCES) {
			refuse_it(d, f, "restrictions (IORING_REGISTER_RESTRICTIONS) are not supported");
			return;
		}
	rc = reg(f->lfd, REGISTER_NAPI, nowhere, 1);
	if (rc != -EFAULT)
		refuse_it(d, f, "polled for completions (IORING_SETUP_IOPOLL), or this kernel does not tell");
	if (reg(f->lfd, REGISTER_EVENTFD, nowhere, 1) != -EFAULT)
		refuse_it(d, f, "an eventfd is registered with it, the kernel does not tell which");
	if (has_region(f->lfd, OFF_REGION) || has_region(f->lfd, OFF_ZCRX))
		refuse_it(d, f, "a memory region is registered with it");
	if (has_buffer_group(f->lfd))
		refuse_it(d, f, "provided buffers are not supported");
}

/* ---- what is registered ---- */

/* Line of a table below "name:": "  INDEX: REST". *s goes on to the next. */
static bool entry(const char **s, unsigned *index, const char **rest, size_t *n)
{
	int at = 0;

	if (!*s || **s != ' ' || sscanf(*s, " %u: %n", index, &at) != 1 || !at)
		return false;
	*rest = *s + at;
	*n = strcspn(*rest, "\n");
	*s = *rest + *n + ((*rest)[*n] == '\n');
	return true;
}

static const char *table(const char *info, const char *name, uint64_t *n)
{
	const char *s = strstr(info, name);

	*n = 0;
	if (!s || fdinfo_num(info, name + 1, 10, n))
		return NULL;
	s = strchr(s + 1, '\n');
	return s ? s + 1 : NULL;
}

/* fdinfo prints blanks, tabs and backslashes as octal numbers. */
static void unescape(const char *s, size_t n, char *out, size_t max)
{
	size_t k = 0;

	for (size_t i = 0; i < n && k + 1 < max; i++)
		if (s[i] == '\\' && i + 3 < n) {
			out[k++] = (char)((s[i + 1] - '0') * 64 + (s[i + 2] - '0') * 8 + (s[i + 3] - '0'));
			i += 3;
		} else {
			out[k++] = s[i];
		}
	out[k] = 0;
}

/* The only description of the job with that name; NULL: none, or more than one. */
static struct dfile *only(struct dump *d, const char *link)
{
	struct dfile *found = NULL;

	for (size_t i = 0; i < d->nfiles; i++)
		if (!strcmp(d->files[i]->link, link)) {
			if (found)
				return NULL;
			found = d->files[i];
		}
	return found;
}

/* With out NULL: refusals. */
static int files(struct dump *d, struct dfile *f, struct buf *out)
{
	const char *s, *rest;
	char link[PATH_MAX];
	uint64_t total;
	unsigned i;
	size_t n;
	bool any = false;

	s = table(f->info, "\nUserFiles", &total);
	if (total > URING_TABLE_MAX)
		return out ? -1 : refuse_it(d, f, "too many registered files");
	if (out)
		buf_printf(out, "%llu", (unsigned long long)total);
	while (total && entry(&s, &i, &rest, &n)) {
		struct dfile *c;

		unescape(rest, n, link, sizeof link);
		c = only(d, link);
		if (!c && !out && !any)
			refuse(d, f->p, "fd %d: io_uring: which open file its registered file %u (%s) is cannot be told", f->fd, i, link);
		any |= !c;
		if (c && out)
			buf_printf(out, " %u:%u", i, c->id);
	}
	return 0;
}

static int buffers(struct dump *d, struct dfile *f, struct buf *out)
{
	unsigned long long addr;
	const char *s, *rest;
	uint64_t total;
	unsigned i, len;
	size_t n, holders = 0;

	s = table(f->info, "\nUserBufs", &total);
	if (total > URING_TABLE_MAX)
		return out ? -1 : refuse_it(d, f, "too many registered buffers");
	for (size_t k = 0; k < d->nprocs; k++)
		holders += !d->procs[k]->zombie && files_holds(d, d->procs[k], f);
	if (total && holders != 1)
		return out ? -1 : refuse_it(d, f, "registered buffers of a ring that several processes share");
	if (out)
		buf_printf(out, "%llu", (unsigned long long)total);
	while (total && entry(&s, &i, &rest, &n)) {
		if (!strncmp(rest, "<none>", 6))
			continue;
		if (sscanf(rest, "%llx/%u", &addr, &len) != 2)
			return out ? -1 : refuse_it(d, f, "registered buffers that are not understood");
		if (len && out)
			buf_printf(out, " %u:0x%llx+%u", i, addr, len);
	}
	return 0;
}

/* ---- check ---- */

static bool idle(const struct dfile *f, const struct shape *s)
{
	return s->taken == s->done && s->taken == s->sq_head && s->cq_tail == s->done && !listed(f->info, "\nPollList:");
}

int uring_check(struct dump *d, struct dfile *f, struct err *e)
{
	struct shape s;
	uint64_t v;

	if (f->lfd < 0 || f->fd < 0)
		return refuse_it(d, f, "cannot be looked at");
	if (!shape_of(f->info, &s))
		return refuse_it(d, f, "this kernel does not tell its state");
	if (strstr(f->info, "\nSqThread:") && !strstr(f->info, "\nSqThread:\t-1"))
		return refuse_it(d, f, "a thread of the kernel's that takes requests (IORING_SETUP_SQPOLL) is not supported");
	if (listed(f->info, "\nCqOverflowList:"))
		refuse_it(d, f, "completions that found no room wait in it");
	if (strstr(f->info, "\nPersonalities:"))
		refuse_it(d, f, "registered credentials (personality) are not supported");
	if (strstr(f->info, "\nNAPI:") && !strstr(f->info, "\nNAPI:\tdisabled"))
		refuse_it(d, f, "busy polling of network devices (NAPI) is not supported");
	if (odd_sizes(f, &s))
		refuse_it(d, f, "entries of double size (IORING_SETUP_SQE128, CQE32) are not supported");
	if (!fdinfo_num(f->info, "CachedSqHead", 10, &v) && v > URING_MAX)
		refuse_it(d, f, "more than 2^30 requests were made with it: a restart would take too long");
	probe(d, f);
	files(d, f, NULL);
	buffers(d, f, NULL);
	return 0;
}

/* ---- questions: requests that are about to complete ---- */

static int look_again(struct dfile *f, struct shape *s)
{
	struct buf b = BUF_INIT;
	char name[64];

	snprintf(name, sizeof name, "fdinfo/%d", f->fd);
	if (proc_read(&b, f->p->pid, name, 16 << 20) || buf_failed(&b)) {
		buf_free(&b);
		return -1;
	}
	free(f->info);
	f->info = b.p;
	return shape_of(f->info, s) ? 0 : -1;
}

/* Completions are delivered when the process runs, if only for a call. */
static int wait_idle(struct dproc *p, struct dfile *f, struct err *e)
{
	const struct timespec ms = { 0, 1000000 };
	struct shape s;
	long ret;

	for (int i = 0; i < PATIENCE_MS / 2; i++) {
		if (look_again(f, &s))
			return err_set(e, EX_FAILED, "fd %d: io_uring: its state cannot be read", f->fd);
		if (idle(f, &s))
			return 1;
		if (remote_one(p->rem, "getpid", &ret, e, SYS_getpid, 0, 0, 0, 0, 0, 0))
			return -1;
		nanosleep(&ms, NULL);
	}
	return 0;
}

static int uring_ask(struct dump *d, struct dproc *p, struct err *e)
{
	bool any = false;

	for (size_t i = 0; i < d->nfiles; i++) {
		struct dfile *f = d->files[i];
		struct shape s;
		int rc;

		any |= uring_match(f);
		if (!uring_match(f) || f->p != p || !shape_of(f->info, &s))
			continue;
		rc = idle(f, &s) ? 1 : wait_idle(p, f, e);
		if (rc < 0)
			return -1;
		if (!rc && !look_again(f, &s))
			refuse(d, p, "fd %d: io_uring: requests in flight (%llu taken, %llu completed%s), or some that gave no completion or many",
			       f->fd, (unsigned long long)s.taken, (unsigned long long)s.done,
			       listed(f->info, "\nPollList:") ? ", polls among them" : "");
	}
	/* Numbers of registered rings (IORING_REGISTER_RING_FDS), 16 a thread. */
	for (unsigned i = 0; any && i < 16; i++) {
		long rc;

		if (remote_one(p->rem, "io_uring_enter", &rc, e, SYS_uring_enter, i, 0, 0, 1 << 4, 0, 0))
			return -1;
		if (rc >= 0)
			return refuse(d, p, "a registered ring descriptor (IORING_REGISTER_RING_FDS) is not supported");
	}
	return 0;
}

/* ---- dump ---- */

static int content(struct dump *d, struct dfile *f, const struct shape *s, uint32_t *dropped, uint32_t *cq_flags, struct err *e)
{
	size_t rings = HEADER + s->cq * URING_CQE + s->sq * 4, have = in_pages(HEADER + s->cq * URING_CQE) * MM_PAGE, n = s->sq * 4;
	char *m = mmap(NULL, in_pages(rings) * MM_PAGE, PROT_READ, MAP_SHARED, f->lfd, 0), name[32];
	char *q = mmap(NULL, in_pages(s->sq * URING_SQE) * MM_PAGE, PROT_READ, MAP_SHARED, f->lfd, OFF_SQES);
	AUTO_FREE char *b = calloc(1, uring_bytes(s->sq, s->cq));
	long there = pages_at(f->lfd, 0, in_pages(rings));
	int rc = -1;

	if (m == MAP_FAILED || q == MAP_FAILED || !b) {
		err_sys(e, "cannot map a ring");
	} else {
		/* Without an array (IORING_SETUP_NO_SQARRAY) its pages may not be there. */
		if (there > 0 && (size_t)there * MM_PAGE < rings)
			n = have > HEADER + s->cq * URING_CQE ? have - HEADER - s->cq * URING_CQE : 0;
		memcpy(b, m + HEADER, s->cq * URING_CQE);
		memcpy(b + s->cq * URING_CQE, m + HEADER + s->cq * URING_CQE, n);
		memcpy(b + s->cq * URING_CQE + s->sq * 4, q, s->sq * URING_SQE);
		/* struct io_rings: four counters, two masks, two sizes, sq_dropped, sq_flags, cq_flags, cq_overflow. */
		memcpy(dropped, m + 32, 4);
		memcpy(cq_flags, m + 40, 4);
		snprintf(name, sizeof name, "uring_%u", f->id);
		rc = dump_raw_mem(d, name, b, uring_bytes(s->sq, s->cq), e);
	}
	if (m != MAP_FAILED)
		munmap(m, in_pages(rings) * MM_PAGE);
	if (q != MAP_FAILED)
		munmap(q, in_pages(s->sq * URING_SQE) * MM_PAGE);
	return rc;
}

int uring_dump(struct dump *d, struct dfile *f, struct err *e)
{
	AUTO_BUF struct buf fs = BUF_INIT, bs = BUF_INIT;
	uint32_t dropped = 0, cq_flags = 0;
	struct shape s;

	if (look_again(f, &s) || !idle(f, &s))
		return err_set(e, EX_BUSY, "io_uring: its requests go on");
	if (files(d, f, &fs) || buffers(d, f, &bs) || buf_failed(&fs) || buf_failed(&bs))
		return err_set(e, EX_FAILED, "io_uring: what is registered cannot be told");
	if (content(d, f, &s, &dropped, &cq_flags, e))
		return -1;
	rec_put_u64(&d->files_out, "SQ", s.sq);
	rec_put_u64(&d->files_out, "CQ", s.cq);
	rec_put_u64(&d->files_out, "COUNT", s.taken);
	rec_put_u64(&d->files_out, "SQ_TAIL", s.sq_tail);
	rec_put_u64(&d->files_out, "CQ_HEAD", s.cq_head);
	if (dropped)
		rec_put_u64(&d->files_out, "DROPPED", dropped);
	if (cq_flags)
		rec_put_hex(&d->files_out, "CQ_FLAGS", cq_flags);
	if (strcmp(buf_str(&fs), "0"))
		rec_put_str(&d->files_out, "FILES", buf_str(&fs));
	if (strcmp(buf_str(&bs), "0"))
		rec_put_str(&d->files_out, "BUFFERS", buf_str(&bs));
	return 0;
}

bool uring_vma(struct dump *d, struct dproc *p, const struct proc_map *m, uint32_t *id)
{
	for (size_t i = 0; i < d->nfiles; i++) {
		struct dfile *f = d->files[i];

		if (!uring_match(f) || f->st.st_ino != m->inode)
			continue;
		if (!files_holds(d, p, f) || (m->offset && m->offset != OFF_CQ && m->offset != OFF_SQES))
			break;
		*id = f->id;
		return true;
	}
	refuse(d, p, "memory %llx-%llx: a mapped io_uring that it has no descriptor of, or a part of one", (unsigned long long)m->start,
	       (unsigned long long)m->end);
	return false;
}

const struct fd_ops fd_uring_ops = {
	.type = "io_uring", .match = uring_match, .check = uring_check, .dump = uring_dump, .open = uring_open, .late = uring_late,
};
const struct res_ops res_uring = { .name = "io_uring", .ask = uring_ask, .restore = uring_restore };
