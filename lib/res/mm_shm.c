/* mm_shm: shared memory objects: MAP_SHARED|MAP_ANONYMOUS memory, and memfds that are mapped. mmap(2), memfd_create(2).
 *
 * Member `shm`: TYPE="shm" ID= SIZE= [NAME= (memfd)] [FILE=id (a memfd that is open: see member `files`)] [HUGE=kB]
 *               TYPE="shmruns" RUNS="offset+pages,..."      behind its shm record; content: raw member shm_ID, runs one after the other
 *
 * Which pages are there is asked of the process itself by mincore(2), which sees the object and not only what this
 * process has touched; reading a page that is not there would allocate it. With swap in use everything is read.
 *
 * On restart the restorer maps and fills the objects once, at r->temp; all processes inherit that and duplicate the parts they
 * need to where they need them by mremap(2) with an old size of 0, which needs no privilege and leaves the object what it was. */
#include "res/mm.h"
#include "common/cleanup.h"
#include "res/fd_ops.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/sysmacros.h>

int shm_get(struct dump *d, struct dproc *p, struct proc_map *m, uint32_t *id, struct err *e)
{
	uint64_t dev = makedev(m->dev_major, m->dev_minor), end = m->offset + (m->end - m->start);
	struct stat key = { .st_dev = dev, .st_ino = m->inode };
	struct dshm *s;

	for (size_t i = 0; i < d->nshm; i++)
		if (d->shm[i].ino == m->inode && d->shm[i].dev == dev) {
			if (d->shm[i].size < end)
				d->shm[i].size = end;
			*id = (uint32_t)i + 1;
			return 0;
		}
	s = realloc(d->shm, (d->nshm + 1) * sizeof *s);
	if (!s)
		return err_set(e, EX_FAILED, "out of memory");
	d->shm = s;
	s += d->nshm++;
	*s = (struct dshm){ .dev = dev, .ino = m->inode, .size = end };
	if (proc_map_flag(m, "ht"))
		s->huge_kb = m->page_kb;
	if (!strncmp(m->path, "/memfd:", 7)) {
		s->name = strdup(m->path + 7);
		if (!s->name)
			return err_set(e, EX_FAILED, "out of memory");
		s->file = files_find_inode(d, &key);
	}
	*id = (uint32_t)d->nshm;
	return 0;
}

/* Puts a part before number `at`; mostly it is the last. */
static int src_put(struct dshm *s, size_t at, struct shm_src x, struct err *e)
{
	if ((s->nsrc & (s->nsrc - 1)) == 0) {
		struct shm_src *v = realloc(s->src, (s->nsrc ? 2 * s->nsrc : 1) * sizeof *v);
		if (!v)
			return err_set(e, EX_FAILED, "out of memory");
		s->src = v;
	}
	memmove(&s->src[at + 1], &s->src[at], (s->nsrc - at) * sizeof *s->src);
	s->src[at] = x;
	s->nsrc++;
	return 0;
}

/* The first part that ends behind off. Parts are in order and do not overlap. */
static size_t src_find(const struct dshm *s, uint64_t off)
{
	size_t lo = 0, hi = s->nsrc;

	if (hi && s->src[hi - 1].off + s->src[hi - 1].n * MM_PAGE <= off)
		return hi;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (s->src[mid].off + s->src[mid].n * MM_PAGE <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Adds [off, off+n) less what is known already: another process has mapped the same part. */
static int src_add_new(struct dshm *s, struct dproc *p, uint64_t addr, uint64_t off, uint64_t n, struct err *e)
{
	uint64_t end = off + n * MM_PAGE;
	size_t i = src_find(s, off);

	while (off < end) {
		uint64_t stop = i < s->nsrc && s->src[i].off < end ? s->src[i].off : end, next = stop;

		if (off < stop && src_put(s, i++, (struct shm_src){ p, addr, off, (stop - off) / MM_PAGE }, e))
			return -1;
		if (stop < end) {
			next = s->src[i].off + s->src[i].n * MM_PAGE;
			i++;
		}
		addr += next - off;
		off = next;
	}
	return 0;
}

static bool swap_in_use(void)
{
	struct sysinfo si;

	return !sysinfo(&si) && si.totalswap != si.freeswap;
}

static int scan_vma(struct dproc *p, struct dshm *s, const struct proc_map *m, struct err *e)
{
	size_t chunk = remote_capacity(p->rem) / 2;

	if (swap_in_use() || s->huge_kb)
		return src_add_new(s, p, m->start, m->offset, (m->end - m->start) / MM_PAGE, e);
	for (uint64_t a = m->start; a < m->end;) {
		uint64_t n = (m->end - a) / MM_PAGE < chunk ? (m->end - a) / MM_PAGE : chunk;
		uint64_t vec = remote_put(p->rem, NULL, n);
		const unsigned char *res;

		remote_call(p->rem, "mincore", REMOTE_MUST, SYS_mincore, a, n * MM_PAGE, vec, 0, 0, 0);
		if (remote_run(p->rem, e))
			return -1;
		res = remote_data(p->rem, vec);
		for (uint64_t i = 0, k; i < n; i = k) {
			for (k = i; k < n && (res[k] & 1) == (res[i] & 1); k++)
				;
			if ((res[i] & 1) && src_add_new(s, p, a + i * MM_PAGE, m->offset + (a - m->start) + i * MM_PAGE, k - i, e))
				return -1;
		}
		a += n * MM_PAGE;
	}
	return 0;
}

int shm_scan(struct dump *d, struct dproc *p, struct err *e)
{
	for (size_t i = 0; i < p->mm->n; i++) {
		struct dvma *v = &p->mm->v[i];
		if (v->kind == VMA_SHM && !d->shm[v->obj - 1].file && scan_vma(p, &d->shm[v->obj - 1], v->m, e))
			return -1;
	}
	return 0;
}

int shm_dump(struct dump *d, struct buf *out, struct err *e)
{
	for (size_t i = 0; i < d->nshm; i++) {
		struct dshm *s = &d->shm[i];
		struct mm_runs runs = { 0 };

		rec_begin(out, "shm");
		rec_put_u64(out, "ID", i + 1);
		rec_put_u64(out, "SIZE", s->size);
		if (s->name)
			rec_put_str(out, "NAME", s->name);
		if (s->file)
			rec_put_u64(out, "FILE", s->file->id);
		if (s->huge_kb)
			rec_put_u64(out, "HUGE", s->huge_kb);
		rec_end(out);
		for (size_t k = 0; k < s->nsrc; k++)
			if (mm_runs_add(&runs, s->src[k].off, s->src[k].n)) {
				mm_runs_free(&runs);
				return err_set(e, EX_FAILED, "out of memory");
			}
		mm_runs_dump(out, "shmruns", &runs);
		mm_runs_free(&runs);
	}
	return 0;
}

static int write_one(struct dump *d, size_t i, struct err *e)
{
	struct dshm *s = &d->shm[i];
	uint64_t pages = 0;
	char name[32];

	for (size_t k = 0; k < s->nsrc; k++)
		pages += s->src[k].n;
	snprintf(name, sizeof name, "shm_%zu", i + 1);
	if (image_raw_begin(d->img, name, pages * MM_PAGE, e))
		return -1;
	for (size_t k = 0; k < s->nsrc; k++) {
		uint64_t at = s->src[k].addr, left = s->src[k].n * MM_PAGE;
		while (left) {
			size_t room;
			void *to = image_raw_reserve(d->img, &room, e);
			if (!to)
				return -1;
			if (room > left)
				room = (size_t)left;
			if (mm_read(s->src[k].p, at, to, room, e) || image_raw_commit(d->img, room, e))
				return -1;
			if (d->progress)
				progress_add(d->progress, room);
			at += room;
			left -= room;
		}
	}
	return image_raw_end(d->img, e);
}

int shm_write_pages(struct dump *d, struct err *e)
{
	for (size_t i = 0; i < d->nshm; i++)
		if (!d->shm[i].file && write_one(d, i, e))
			return err_prefix(e, "shared memory");
	return 0;
}

/* ---- restart ---- */

int shm_parse(struct restore *r, struct err *e)
{
	const struct image_member *m = image_find(r->img, "shm");
	struct rshm *s = NULL;
	size_t n = 0;

	if (!m || !m->text)
		return err_set(e, EX_BAD_IMAGE, "the image has no member `shm`");
	if (rec_list_parse(&r->shm_list, m->text, m->size, RES_MAX_RECORDS, e))
		return err_prefix(e, "shm");
	for (size_t i = 0; i < r->shm_list.n; i++) {
		struct rec rec;
		uint64_t id, huge, file;

		rec_list_get(&r->shm_list, i, &rec);
		if (strcmp(rec_type(&rec), "shm"))
			continue;
		s = realloc(r->shm, (n + 1) * sizeof *s);
		if (!s)
			return err_set(e, EX_FAILED, "out of memory");
		r->shm = s;
		s = &r->shm[n++];
		*s = (struct rshm){ .fd = -1, .first_rec = i };
		r->nshm = n;
		if (rec_u64(&rec, "ID", RES_MAX_VMAS, &id, e) || rec_u64(&rec, "SIZE", RES_TASK_SIZE, &s->size, e) ||
		    rec_u64_or(&rec, "HUGE", 1 << 21, 0, &huge, e) || rec_u64_or(&rec, "FILE", r->nfiles, 0, &file, e))
			return err_prefix(e, "shm");
		if (id != n || !s->size || s->size % MM_PAGE || (huge & (huge - 1)))
			return err_set(e, EX_BAD_IMAGE, "shm: line %zu: out of order or of a wrong size", rec.line);
		s->file = (uint32_t)file;
		s->huge_kb = huge;
		s->memfd = rec_find(&rec, "NAME") != NULL;
		if (s->memfd)
			continue;
		uint64_t align = huge ? huge * 1024 : MM_PAGE;
		r->temp_len = (r->temp_len + align - 1) / align * align;
		s->off = r->temp_len;
		r->temp_len += (s->size + align - 1) / align * align;
		if (r->temp_len > RES_TASK_SIZE)
			return err_set(e, EX_BAD_IMAGE, "shm: shared memory of more than the address space");
	}
	return 0;
}

static int load(struct restore *r, size_t i, char *base, int fd, struct err *e)
{
	struct mm_runs runs = { 0 };
	const struct image_member *m;
	char name[32];
	int rc = 0;

	for (size_t k = r->shm[i].first_rec + 1; k < r->shm_list.n && !rc; k++) {
		struct rec rec;
		const char *s;

		rec_list_get(&r->shm_list, k, &rec);
		if (!strcmp(rec_type(&rec), "shm"))
			break;
		if (!strcmp(rec_type(&rec), "shmruns"))
			rc = rec_str(&rec, "RUNS", &s, e) || mm_runs_parse(&runs, s, e) ? -1 : 0;
	}
	snprintf(name, sizeof name, "shm_%zu", i + 1);
	m = image_find(r->img, name);
	if (!rc && (!m || m->text || m->size != runs.pages * MM_PAGE))
		rc = err_set(e, EX_BAD_IMAGE, "the image has no fitting member %s", name);
	uint64_t at = rc ? 0 : m->offset;
	for (size_t k = 0; k < runs.n && !rc; k++) {
		uint64_t off = runs.v[k].start, left = runs.v[k].n * MM_PAGE;

		if (off + left > r->shm[i].size)
			rc = err_set(e, EX_BAD_IMAGE, "%s: pages behind its end", name);
		while (left && !rc) {
			char tmp[65536];
			size_t want = left < (base ? 64 << 20 : sizeof tmp) ? (size_t)left : (base ? 64 << 20 : sizeof tmp);
			ssize_t n = pread(image_fd(r->img), base ? base + off : tmp, want, (off_t)at);

			if (n <= 0 || (!base && pwrite(fd, tmp, (size_t)n, (off_t)off) != n)) {
				rc = err_sys(e, "cannot fill shared memory");
				break;
			}
			off += (uint64_t)n;
			at += (uint64_t)n;
			left -= (uint64_t)n;
		}
	}
	mm_runs_free(&runs);
	return rc;
}

/* Mapping a memfd that the job has open needs a descriptor that may write, whatever the job's own may; where a seal
 * forbids it, the mappings are read-only too. */
static int reopen(struct restore *r, struct rshm *s, struct err *e)
{
	char path[64];
	int fd;

	snprintf(path, sizeof path, "/proc/self/fd/%d", r->files[s->file - 1].fd);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "cannot open a memfd again");
	s->fd = restore_high_fd(r, fd);
	return s->fd < 0 ? err_sys(e, "cannot keep a memfd") : 0;
}

static int make_one(struct restore *r, size_t i, struct err *e)
{
	struct rshm *s = &r->shm[i];
	int huge = s->huge_kb ? __builtin_ctzll(s->huge_kb * 1024) : 0;
	struct rec rec;
	const char *name;
	char *p;

	if (s->file)
		return reopen(r, s, e);
	if (!s->memfd) {
		p = mmap((void *)(uintptr_t)(r->temp + s->off), s->size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | (huge ? MAP_HUGETLB | huge << MAP_HUGE_SHIFT : 0), -1, 0);
		if (p == MAP_FAILED)
			return err_sys(e, "cannot map %llu bytes of shared memory", (unsigned long long)s->size);
		return load(r, i, p, -1, e);
	}
	rec_list_get(&r->shm_list, s->first_rec, &rec);
	if (rec_str(&rec, "NAME", &name, e))
		return -1;
	s->fd = (int)syscall(SYS_memfd_create, name, MFD_CLOEXEC | (huge ? MFD_HUGETLB | (unsigned)huge << MAP_HUGE_SHIFT : 0));
	if (s->fd < 0 || ftruncate(s->fd, (off_t)s->size))
		return err_sys(e, "cannot make memfd %s", name);
	s->fd = restore_high_fd(r, s->fd);
	if (s->fd < 0)
		return err_sys(e, "cannot keep memfd %s", name);
	return load(r, i, NULL, s->fd, e);
}

int shm_make(struct restore *r, struct err *e)
{
	for (size_t i = 0; i < r->nshm; i++)
		if (make_one(r, i, e))
			return err_prefix(e, "shared memory");
	return 0;
}
