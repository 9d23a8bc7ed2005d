/* mm_pages: which pages of a process are saved, and writing them.
 *
 * Saved are the private pages that are there: present or swapped, neither of a file nor the zero page. PAGEMAP_SCAN
 * (Linux 6.7, Documentation/admin-guide/mm/pagemap.rst) tells ranges; older kernels are asked page by page in
 * /proc/PID/pagemap. A forked child's pages that still are its parent's are not saved but named (`cow`): they are told
 * by their frame number where we may see it (CAP_SYS_ADMIN), else by comparing content. */
#include "res/mm.h"
#include "common/cleanup.h"
#include "common/log.h"

#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

struct scan_region { uint64_t start, end, categories; };
struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define SCAN_IOCTL _IOWR('f', 16, struct scan_arg)
enum { IS_FILE = 1 << 2, IS_PRESENT = 1 << 3, IS_SWAPPED = 1 << 4, IS_PFNZERO = 1 << 5, IS_GUARD = 1 << 8 };
#define PM_PRESENT (1ULL << 63)
#define PM_SWAP (1ULL << 62)
#define PM_FILE (1ULL << 61)
#define PM_GUARD (1ULL << 58)
#define PM_PFN ((1ULL << 55) - 1)

int mm_runs_add(struct mm_runs *r, uint64_t start, uint64_t pages)
{
	if (!pages)
		return 0;
	r->pages += pages;
	if (r->n && r->v[r->n - 1].start + r->v[r->n - 1].n * MM_PAGE == start) {
		r->v[r->n - 1].n += pages;
		return 0;
	}
	if (r->n == r->cap) {
		size_t cap = r->cap ? 2 * r->cap : 64;
		struct mm_run *v = realloc(r->v, cap * sizeof *v);
		if (!v)
			return -1;
		r->v = v;
		r->cap = cap;
	}
	r->v[r->n++] = (struct mm_run){ start, pages };
	return 0;
}

void mm_runs_free(struct mm_runs *r)
{
	free(r->v);
	memset(r, 0, sizeof *r);
}

void mm_runs_dump(struct buf *b, const char *type, const struct mm_runs *r)
{
	enum { PER_RECORD = 256 };
	char s[PER_RECORD * 40];

	for (size_t i = 0; i < r->n;) {
		size_t len = 0;
		for (size_t k = 0; k < PER_RECORD && i < r->n; k++, i++)
			len += (size_t)snprintf(s + len, sizeof s - len, "%s%llx+%llx", k ? "," : "",
						(unsigned long long)r->v[i].start, (unsigned long long)r->v[i].n);
		rec_begin(b, type);
		rec_put_strn(b, "RUNS", s, len);
		rec_end(b);
	}
}

int mm_runs_parse(struct mm_runs *r, const char *s, struct err *e)
{
	while (*s) {
		char *end;
		uint64_t start = strtoull(s, &end, 16), n = 0;

		if (end != s && *end == '+') {
			s = end + 1;
			n = strtoull(s, &end, 16);
		}
		if (end == s || !n || (*end && *end != ',') || start % MM_PAGE || n > RES_TASK_SIZE / MM_PAGE ||
		    start > RES_TASK_SIZE - n * MM_PAGE ||
		    (r->n && start < r->v[r->n - 1].start + r->v[r->n - 1].n * MM_PAGE) || r->n >= MM_MAX_RUNS)
			return err_set(e, EX_BAD_IMAGE, "a list of pages is malformed");
		if (mm_runs_add(r, start, n))
			return err_set(e, EX_FAILED, "out of memory");
		s = *end ? end + 1 : end;
	}
	return 0;
}

static int scan_fast(int fd, uint64_t start, uint64_t end, bool guards, struct mm_runs *out, bool *unsupported)
{
	struct scan_region v[512];
	static bool no_guard;

	while (start < end) {
		struct scan_arg a = {
			.size = sizeof a, .start = start, .end = end, .vec = (uint64_t)(uintptr_t)v, .vec_len = 512,
			.category_inverted = IS_FILE | IS_PFNZERO | (no_guard ? 0 : IS_GUARD),
			.category_mask = IS_FILE | IS_PFNZERO | (no_guard ? 0 : IS_GUARD),
			.category_anyof_mask = IS_PRESENT | IS_SWAPPED,
			.return_mask = IS_PRESENT | IS_SWAPPED,
		};
		if (guards) {
			a.category_inverted = a.category_anyof_mask = 0;
			a.category_mask = a.return_mask = IS_GUARD;
		}
		int n = ioctl(fd, SCAN_IOCTL, &a);
		if (n < 0 && errno == EINVAL && !no_guard) {
			no_guard = true;
			if (guards)
				return 0;
			continue;
		}
		if (n < 0) {
			*unsupported = errno == ENOTTY || errno == EINVAL;
			return -1;
		}
		for (int i = 0; i < n; i++)
			if (mm_runs_add(out, v[i].start, (v[i].end - v[i].start) / MM_PAGE))
				return -1;
		if (a.walk_end <= start)
			break;
		start = a.walk_end;
	}
	return 0;
}

static int scan_slow(int fd, uint64_t start, uint64_t end, struct mm_runs *out, struct mm_runs *guard)
{
	uint64_t pm[8192];

	while (start < end) {
		size_t want = (end - start) / MM_PAGE < 8192 ? (size_t)((end - start) / MM_PAGE) : 8192;
		ssize_t n = pread(fd, pm, want * 8, (off_t)(start / MM_PAGE * 8));
		if (n <= 0)
			return -1;
		for (size_t i = 0; i < (size_t)n / 8; i++) {
			uint64_t a = start + i * MM_PAGE;
			if (pm[i] & PM_GUARD) {
				if (mm_runs_add(guard, a, 1))
					return -1;
			} else if ((pm[i] & (PM_PRESENT | PM_SWAP)) && !(pm[i] & PM_FILE)) {
				if (mm_runs_add(out, a, 1))
					return -1;
			}
		}
		start += (uint64_t)n / 8 * MM_PAGE;
	}
	return 0;
}

int mm_scan(struct dump *d, struct dproc *p, struct err *e)
{
	static bool no_scan;
	char path[64];
	AUTO_FD int fd = -1;
	struct dmm *mm = p->mm;

	snprintf(path, sizeof path, "/proc/%d/pagemap", p->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "cannot open %s", path);
	for (size_t i = 0; i < mm->n; i++) {
		struct proc_map *m = mm->v[i].m;
		bool unsupported = false;

		if (mm->v[i].kind == VMA_VDSO || mm->v[i].kind == VMA_VVAR || vma_is_late(mm->v[i].kind) || m->shared || proc_map_flag(m, "dp"))
			continue;
		if (!no_scan) {
			if (!scan_fast(fd, m->start, m->end, false, &mm->present, &unsupported) &&
			    !scan_fast(fd, m->start, m->end, true, &mm->guard, &unsupported))
				continue;
			if (!unsupported)
				return err_sys(e, "PAGEMAP_SCAN of %llx", (unsigned long long)m->start);
			no_scan = true;
		}
		if (scan_slow(fd, m->start, m->end, &mm->present, &mm->guard))
			return err_sys(e, "cannot read pagemap at %llx", (unsigned long long)m->start);
	}
	return 0;
}

int mm_read(struct dproc *p, uint64_t addr, void *buf, size_t n, struct err *e)
{
	struct iovec l = { buf, n }, r = { (void *)(uintptr_t)addr, n };
	ssize_t k = !p->mm || p->mm->shares ? 0 : process_vm_readv(p->pid, &l, 1, &r, 1, 0);
	size_t done = k > 0 ? (size_t)k : 0;

	while (done < n) {
		k = pread(p->t->memfd, (char *)buf + done, n - done, (off_t)(addr + done));
		if (k <= 0)
			return err_sys(e, "cannot read memory at %llx", (unsigned long long)(addr + done));
		done += (size_t)k;
	}
	return 0;
}

/* ---- copy on write ---- */

static bool pfns(int fd, uint64_t addr, size_t n, uint64_t *out)
{
	return pread(fd, out, n * 8, (off_t)(addr / MM_PAGE * 8)) == (ssize_t)(n * 8);
}

struct cow_ctx {
	struct dproc *p, *parent;
	int pm, ppm;          /* pagemaps, -1: compare content */
	char *a, *b;
	struct err *e;
};
enum { COW_CHUNK = 64 };  /* pages */

/* Tells for n (<= COW_CHUNK) pages at addr, present in both, which are the same. */
static int cow_same(struct cow_ctx *c, uint64_t addr, size_t n, bool *same)
{
	uint64_t x[COW_CHUNK], y[COW_CHUNK];

	if (c->pm >= 0 && pfns(c->pm, addr, n, x) && pfns(c->ppm, addr, n, y) && (x[0] & PM_PFN)) {
		for (size_t i = 0; i < n; i++)
			same[i] = (x[i] & PM_PRESENT) && (y[i] & PM_PRESENT) && (x[i] & PM_PFN) == (y[i] & PM_PFN);
		return 0;
	}
	if (mm_read(c->p, addr, c->a, n * MM_PAGE, c->e) || mm_read(c->parent, addr, c->b, n * MM_PAGE, c->e))
		return -1;
	for (size_t i = 0; i < n; i++)
		same[i] = !memcmp(c->a + i * MM_PAGE, c->b + i * MM_PAGE, MM_PAGE);
	return 0;
}

static int cow_split(struct cow_ctx *c, struct mm_runs *data, struct mm_runs *cow, uint64_t addr, uint64_t n)
{
	bool same[COW_CHUNK];

	while (n) {
		size_t k = n < COW_CHUNK ? (size_t)n : COW_CHUNK;
		if (cow_same(c, addr, k, same))
			return -1;
		for (size_t i = 0; i < k; i++)
			if (mm_runs_add(same[i] ? cow : data, addr + i * MM_PAGE, 1))
				return err_set(c->e, EX_FAILED, "out of memory");
		addr += k * MM_PAGE;
		n -= k;
	}
	return 0;
}

static bool forked_without_exec(const struct proc_stat *p, const struct proc_stat *q)
{
	return p->start_stack == q->start_stack && p->start_brk == q->start_brk &&
	       p->start_code == q->start_code && p->arg_start == q->arg_start;
}

void mm_note_sharing(struct dump *d, struct dproc *p)
{
	struct proc_stat parent;

	for (size_t i = 0; i < d->nprocs; i++) {
		struct dproc *q = d->procs[i];
		if (q != p && q->mm && forked_without_exec(&p->stat, &q->stat))
			p->mm->shares = q->mm->shares = true;
	}
	if (!p->vppid && !proc_stat_read(&parent, p->stat.ppid, 0, NULL) && forked_without_exec(&p->stat, &parent))
		p->mm->shares = true;
}

/* A page may come from the parent on restart only where both have a mapping of the same kind there. */
static bool same_mapping(const struct dproc *p, const struct dproc *q, uint64_t addr)
{
	const struct dvma *a = mm_vma_at(p->mm, addr), *b = mm_vma_at(q->mm, addr);

	if (!a || !b || a->kind != b->kind || a->obj != b->obj || a->m->shared || b->m->shared)
		return false;
	if (a->kind == VMA_FILE && a->m->start - a->m->offset != b->m->start - b->m->offset)
		return false;
	return !proc_map_flag(b->m, "dc") && !proc_map_flag(b->m, "wf") && !proc_map_flag(b->m, "ht");
}

const struct dvma *mm_vma_at(const struct dmm *mm, uint64_t addr)
{
	size_t lo = 0, hi = mm->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (mm->v[mid].m->end <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < mm->n && mm->v[lo].m->start <= addr ? &mm->v[lo] : NULL;
}

/* Walks both lists of present pages; within one step neither mapping changes. */
static int cow_walk(struct cow_ctx *c, struct dmm *mm, const struct dmm *pm)
{
	size_t k = 0;

	for (size_t i = 0; i < mm->present.n; i++) {
		uint64_t at = mm->present.v[i].start, end = at + mm->present.v[i].n * MM_PAGE;

		while (at < end) {
			while (k < pm->present.n && pm->present.v[k].start + pm->present.v[k].n * MM_PAGE <= at)
				k++;
			uint64_t ps = k < pm->present.n ? pm->present.v[k].start : end;
			uint64_t pe = k < pm->present.n ? ps + pm->present.v[k].n * MM_PAGE : end;
			uint64_t stop = at < ps ? (ps < end ? ps : end) : (pe < end ? pe : end);
			const struct dvma *a = mm_vma_at(mm, at), *b = mm_vma_at(pm, at);
			bool both = at >= ps && same_mapping(c->p, c->parent, at);

			if (a && a->m->end < stop)
				stop = a->m->end;
			if (b && both && b->m->end < stop)
				stop = b->m->end;
			if (both && cow_split(c, &mm->data, &mm->cow, at, (stop - at) / MM_PAGE))
				return -1;
			if (!both && mm_runs_add(&mm->data, at, (stop - at) / MM_PAGE))
				return err_set(c->e, EX_FAILED, "out of memory");
			at = stop;
		}
	}
	return 0;
}

int mm_find_cow(struct dump *d, struct dproc *p, struct err *e)
{
	struct dproc *q = p->vppid ? dump_find(d, p->vppid) : NULL;
	struct dmm *mm = p->mm;
	char path[64];
	AUTO_FD int pm = -1, ppm = -1;
	AUTO_FREE char *a = NULL, *b = NULL;

	if (!q || q->zombie || !forked_without_exec(&p->stat, &q->stat)) {
		for (size_t i = 0; i < mm->present.n; i++)
			if (mm_runs_add(&mm->data, mm->present.v[i].start, mm->present.v[i].n))
				return err_set(e, EX_FAILED, "out of memory");
		return 0;
	}
	snprintf(path, sizeof path, "/proc/%d/pagemap", p->pid);
	pm = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof path, "/proc/%d/pagemap", q->pid);
	ppm = open(path, O_RDONLY | O_CLOEXEC);
	a = malloc(COW_CHUNK * MM_PAGE);
	b = malloc(COW_CHUNK * MM_PAGE);
	if (!a || !b)
		return err_set(e, EX_FAILED, "out of memory");
	struct cow_ctx c = { p, q, ppm >= 0 ? pm : -1, ppm, a, b, e };
	return cow_walk(&c, mm, q->mm);
}

/* ---- writing ---- */

/* Reads the pages of one run as the writer's buffer has room. */
static int write_run(struct dump *d, struct dproc *p, uint64_t addr, uint64_t bytes, struct err *e)
{
	while (bytes) {
		size_t room;
		void *to = image_raw_reserve(d->img, &room, e);

		if (!to)
			return -1;
		if (room > bytes)
			room = (size_t)bytes;
		if (mm_read(p, addr, to, room, e) || image_raw_commit(d->img, room, e))
			return -1;
		if (d->progress)
			progress_add(d->progress, room);
		addr += room;
		bytes -= room;
	}
	return 0;
}

/* Many small runs: one process_vm_readv for as many as fit the writer's buffer. Returns how many runs were done,
 * 0 when this way is not open (one of them is not readable, or they may be shared: mm_read). */
static size_t write_gather(struct dump *d, struct dproc *p, const struct mm_run *v, size_t n, struct err *e)
{
	struct iovec r[512], l;
	size_t room, k = 0, bytes = 0;
	void *to = p->mm->shares ? NULL : image_raw_reserve(d->img, &room, e);

	if (!to)
		return 0;
	while (k < n && k < 512 && bytes + v[k].n * MM_PAGE <= room) {
		r[k] = (struct iovec){ (void *)(uintptr_t)v[k].start, v[k].n * MM_PAGE };
		bytes += v[k].n * MM_PAGE;
		k++;
	}
	l = (struct iovec){ to, bytes };
	if (k < 2 || process_vm_readv(p->pid, &l, 1, r, k, 0) != (ssize_t)bytes)
		return 0;
	if (image_raw_commit(d->img, bytes, e))
		return 0;
	if (d->progress)
		progress_add(d->progress, bytes);
	return k;
}

int mm_write_pages(struct dump *d, struct dproc *p, struct err *e)
{
	const struct mm_runs *r = &p->mm->data;
	char name[32];

	snprintf(name, sizeof name, "task_mm_%d", p->vpid);
	if (image_raw_begin(d->img, name, r->pages * MM_PAGE, e))
		return -1;
	for (size_t i = 0; i < r->n;) {
		size_t k = write_gather(d, p, r->v + i, r->n - i, e);

		if (!k) {
			if (err_is_set(e) || write_run(d, p, r->v[i].start, r->v[i].n * MM_PAGE, e))
				return err_prefix(e, "pid %d", p->vpid);
			k = 1;
		}
		i += k;
	}
	return image_raw_end(d->img, e);
}

uint64_t mm_bytes(const struct dump *d)
{
	uint64_t n = 0;

	for (size_t i = 0; i < d->nprocs; i++)
		if (d->procs[i]->mm)
			n += d->procs[i]->mm->data.pages * MM_PAGE;
	for (size_t i = 0; i < d->nshm; i++)
		for (size_t k = 0; k < d->shm[i].nsrc; k++)
			n += d->shm[i].src[k].n * MM_PAGE;
	return n;
}
