/* mm_map: memory into a process that the restart has made, by remote system calls alone.
 *
 * Order, and why:
 *   mm_strip   everything inherited from the restorer goes, but boot and temp area; rseq first, or the kernel would
 *              write into what is gone.
 *   mm_map     all mappings, private ones writable for the time of filling; THP advice first, so that filling makes huge
 *              pages; then the pages, read from the image by the process itself.
 *   (children that share pages copy-on-write are forked here, by cr)
 *   mm_finish  protections, guards, advice that concerns fork, names, exe and brk.
 *   mm_late    locks and seals. */
#include "res/mm.h"
#include "common/cleanup.h"
#include "res/mm_flags.h"
#include "res/sysv.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
enum { MAP_DROPPABLE_ = 0x08, MADV_GUARD_INSTALL_ = 102, ARCH_MAP_VDSO_64_ = 0x2003, SYS_mseal_ = 462 };
#define PR_SET_VMA_ 0x53564d41

bool mm_has_flag(const struct rvma *v, const char *name)
{
	size_t n = strlen(name);

	for (const char *s = v->flags; (s = strstr(s, name)); s += n)
		if ((s == v->flags || s[-1] == ' ') && (!s[n] || s[n] == ' '))
			return true;
	return false;
}

static size_t call(struct rproc *p, const char *what, long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
		   uint64_t f, uint64_t g)
{
	return remote_call(p->rem, what, REMOTE_MUST, nr, a, b, c, d, f, g);
}

int mm_strip(struct restore *r, struct rproc *p, struct err *e)
{
	struct tthread *t = &p->t->thr[0];
	uint64_t end = r->temp_len ? r->temp : r->boot + TRACEE_BOOT_SIZE;

	if (t->rseq_ptr)
		call(p, "rseq", SYS_rseq, t->rseq_ptr, t->rseq_len, 1, t->rseq_sig, 0, 0);
	call(p, "munmap", SYS_munmap, 0, r->boot, 0, 0, 0, 0);
	if (r->temp_len) {
		call(p, "munmap", SYS_munmap, r->boot + TRACEE_BOOT_SIZE, r->temp - r->boot - TRACEE_BOOT_SIZE, 0, 0, 0, 0);
		end = r->temp + (r->temp_len + MM_PAGE - 1) / MM_PAGE * MM_PAGE;
	}
	/* The end of user space is 47 or 56 bits; nothing of ours lies above the smaller. */
	call(p, "munmap", SYS_munmap, end, ((uint64_t)1 << 47) - MM_PAGE - end, 0, 0, 0, 0);
	return remote_run(p->rem, e);
}

static bool private_fill(const struct rvma *v)
{
	return !v->shared && (v->kind == VMA_ANON || v->kind == VMA_FILE);
}

static bool wants_pages(const struct rmm *mm, const struct rvma *v)
{
	const struct mm_runs *lists[] = { &mm->data, &mm->cow };

	for (int l = 0; l < 2; l++) {
		size_t lo = 0, hi = lists[l]->n;
		while (lo < hi) {
			size_t mid = (lo + hi) / 2;
			if (lists[l]->v[mid].start + lists[l]->v[mid].n * MM_PAGE <= v->start)
				lo = mid + 1;
			else
				hi = mid;
		}
		if (lo < lists[l]->n && lists[l]->v[lo].start < v->end)
			return true;
	}
	return false;
}

/* Protection while the pages are filled in. */
static int fill_prot(const struct rmm *mm, const struct rvma *v)
{
	return private_fill(v) && wants_pages(mm, v) ? v->prot | PROT_READ | PROT_WRITE : v->prot;
}

static void map_private(struct restore *r, struct rproc *p, const struct rvma *v)
{
	int flags = MAP_FIXED_NOREPLACE | (v->shared ? MAP_SHARED : MAP_PRIVATE), fd = -1;
	int huge = v->huge_kb ? __builtin_ctzll(v->huge_kb * 1024) : 0;

	if (v->kind == VMA_FILE)
		fd = r->mfiles[v->obj - 1].fd;
	else if (mm_has_flag(v, "droppable"))
		flags = MAP_FIXED_NOREPLACE | MAP_DROPPABLE_ | MAP_ANONYMOUS;
	else
		flags |= MAP_ANONYMOUS | (huge ? MAP_HUGETLB | huge << MAP_HUGE_SHIFT : 0) |
			 (mm_has_flag(v, "growsdown") ? MAP_GROWSDOWN : 0);
	if (mm_has_flag(v, "noreserve"))
		flags |= MAP_NORESERVE;
	call(p, "mmap", SYS_mmap, v->start, v->end - v->start, (uint64_t)fill_prot(p->mm, v), (uint64_t)flags, (uint64_t)fd,
	     v->kind == VMA_FILE ? v->offset : 0);
	if (mm_has_flag(v, "hugepage") || mm_has_flag(v, "nohugepage"))
		remote_call(p->rem, "madvise", REMOTE_ANY, SYS_madvise, v->start, v->end - v->start,
			    mm_has_flag(v, "hugepage") ? MADV_HUGEPAGE : MADV_NOHUGEPAGE, 0, 0, 0);
}

static void map_shared(struct restore *r, struct rproc *p, const struct rvma *v)
{
	const struct rshm *s = &r->shm[v->obj - 1];

	if (s->memfd) {
		call(p, "mmap memfd", SYS_mmap, v->start, v->end - v->start, (uint64_t)v->prot, MAP_SHARED | MAP_FIXED_NOREPLACE,
		     (uint64_t)s->fd, v->offset);
		return;
	}
	call(p, "mremap", SYS_mremap, r->temp + s->off + v->offset, 0, v->end - v->start, MREMAP_MAYMOVE | MREMAP_FIXED, v->start, 0);
	call(p, "mprotect", SYS_mprotect, v->start, v->end - v->start, (uint64_t)v->prot, 0, 0, 0);
}

static bool same_attachment(const struct rvma *a, const struct rvma *b)
{
	return b->kind == VMA_SYSV && a->obj == b->obj && a->rdonly == b->rdonly && a->start - a->offset == b->start - b->offset;
}

/* Attaches a System V segment where there is room, and moves what the process has of it to its place: parts of one attachment
 * stay one for shmdt(2). Done with the first of them; the others are skipped. */
static int map_sysv(struct restore *r, struct rproc *p, size_t i, struct err *e)
{
	const struct rmm *mm = p->mm;
	const struct rvma *v = &mm->v[i];
	const struct sysv_obj *o = sysv_shm(r, v->obj);
	uint64_t at = r->temp + r->sysv->temp, base = v->start - v->offset, end = base + (o->size + MM_PAGE - 1) / MM_PAGE * MM_PAGE;

	for (size_t k = i; k-- > 0 && mm->v[k].end > base;)
		if (same_attachment(v, &mm->v[k]))
			return 0;
	if (remote_room(p->rem, 2, 0, e))
		return -1;
	call(p, "shmat", SYS_shmat, (uint64_t)o->id, at, v->rdonly ? SHM_RDONLY : v->prot & PROT_EXEC ? SHM_EXEC : 0, 0, 0, 0);
	for (size_t k = i; k < mm->n && mm->v[k].start < end; k++) {
		const struct rvma *w = &mm->v[k];

		if (!same_attachment(v, w))
			continue;
		if (remote_room(p->rem, 3, 0, e))
			return -1;
		call(p, "mremap", SYS_mremap, at + w->offset, w->end - w->start, w->end - w->start, MREMAP_MAYMOVE | MREMAP_FIXED,
		     w->start, 0);
		call(p, "mprotect", SYS_mprotect, w->start, w->end - w->start, (uint64_t)w->prot, 0, 0, 0);
	}
	call(p, "munmap", SYS_munmap, at, end - base, 0, 0, 0, 0);
	return 0;
}

/* ---- what a forked child keeps ---- */

static const struct rvma *vma_at(const struct rmm *mm, uint64_t addr)
{
	size_t lo = 0, hi = mm->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (mm->v[mid].end <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < mm->n && mm->v[lo].start <= addr ? &mm->v[lo] : NULL;
}

/* A mapping is kept when it lies wholly in one of the parent's that is the same in kind, object and fork-time flags, and
 * some of its pages are the parent's. Otherwise it is made anew. */
static bool keeps(const struct rproc *p, const struct rvma *v)
{
	const struct rvma *q = vma_at(p->base->mm, v->start);

	return q && private_fill(v) && private_fill(q) && q->kind == v->kind && q->obj == v->obj && q->end >= v->end &&
	       (v->kind != VMA_FILE || q->start - q->offset == v->start - v->offset) && !strcmp(q->flags, v->flags) &&
	       !v->huge_kb && wants_pages(p->mm, v);
}

static int unmap_rest(struct restore *r, struct rproc *p, struct err *e)
{
	struct rmm *mm = p->mm, *pm = p->base->mm;
	size_t k = 0;

	for (size_t i = 0; i < mm->n; i++)
		mm->v[i].mapped = keeps(p, &mm->v[i]);
	/* Everything that the parent has mapped, less what is kept. */
	for (size_t i = 0; i < pm->n; i++) {
		uint64_t at = pm->v[i].start, end = pm->v[i].end;

		while (at < end) {
			uint64_t stop = end, next = end;

			while (k < mm->n && (mm->v[k].end <= at || !mm->v[k].mapped))
				k++;
			if (k < mm->n && mm->v[k].start < end) {
				stop = mm->v[k].start > at ? mm->v[k].start : at;
				next = mm->v[k].end;
			}
			if (stop > at) {
				if (remote_room(p->rem, 1, 0, e))
					return -1;
				call(p, "munmap", SYS_munmap, at, stop - at, 0, 0, 0, 0);
			}
			at = next;
		}
	}
	return remote_run(p->rem, e);
}

/* Pages of kept mappings that the parent has and the child has not: given back, so that the child sees zeros or the file. */
static int drop_extra(struct rproc *p, struct err *e)
{
	struct rmm *mm = p->mm;
	const struct mm_runs *own[2] = { &mm->data, &mm->cow };

	for (size_t i = 0; i < mm->n; i++) {
		struct rvma *v = &mm->v[i];
		uint64_t at = v->start;
		size_t k[2] = { 0, 0 };

		if (!v->mapped)
			continue;
		while (at < v->end) {
			/* Next page that is the child's own or shared, from `at` on. */
			uint64_t s = v->end, end = v->end;
			for (int l = 0; l < 2; l++) {
				while (k[l] < own[l]->n && own[l]->v[k[l]].start + own[l]->v[k[l]].n * MM_PAGE <= at)
					k[l]++;
				if (k[l] < own[l]->n && own[l]->v[k[l]].start < s) {
					s = own[l]->v[k[l]].start;
					end = s + own[l]->v[k[l]].n * MM_PAGE;
				}
			}
			if (s > at) {
				if (remote_room(p->rem, 1, 0, e))
					return -1;
				call(p, "madvise", SYS_madvise, at, s - at, MADV_DONTNEED, 0, 0, 0);
			}
			at = end > at ? end : v->end;
		}
	}
	return remote_run(p->rem, e);
}

/* ---- */

static int map_all(struct restore *r, struct rproc *p, struct err *e)
{
	struct rmm *mm = p->mm;

	for (size_t i = 0; i < mm->n; i++) {
		struct rvma *v = &mm->v[i];

		if (v->mapped || v->kind == VMA_VDSO || v->kind == VMA_VVAR)
			continue;
		if (remote_room(p->rem, 2, 0, e) || (v->kind == VMA_SYSV && map_sysv(r, p, i, e)))
			return -1;
		if (v->kind == VMA_SYSV)
			continue;
		if (v->kind == VMA_SHM)
			map_shared(r, p, v);
		else if (vma_is_late(v->kind)) /* the place is kept until it is made */
			call(p, "mmap", SYS_mmap, v->start, v->end - v->start, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
			     MAP_FIXED_NOREPLACE, UINT64_MAX, 0);
		else
			map_private(r, p, v);
	}
	if (mm->vdso)
		call(p, "arch_prctl ARCH_MAP_VDSO_64", SYS_arch_prctl, ARCH_MAP_VDSO_64_, mm->vdso, 0, 0, 0, 0);
	return remote_run(p->rem, e);
}

int mm_map(struct restore *r, struct rproc *p, struct err *e)
{
	if (p->base && (unmap_rest(r, p, e) || drop_extra(p, e)))
		return -1;
	if (map_all(r, p, e) || mm_fill(r, p, e))
		return -1;
	p->mm_mapped = true;
	return 0;
}

/* struct prctl_mm_map of linux/prctl.h, which cannot be included beside musl's sys/prctl.h; prctl(2), PR_SET_MM_MAP. */
struct mm_layout {
	uint64_t start_code, end_code, start_data, end_data, start_brk, brk, start_stack, arg_start, arg_end, env_start, env_end;
	uint64_t auxv;
	uint32_t auxv_size, exe_fd;
};

static int set_mm(struct restore *r, struct rproc *p, struct err *e)
{
	const struct rec *rec = &p->mm->rec;
	struct mm_layout m = { 0 };
	unsigned char auxv[4096];
	uint64_t exe, addr;
	size_t n;
	struct { const char *key; uint64_t *to; } f[] = {
		{ "START_CODE", &m.start_code }, { "END_CODE", &m.end_code }, { "START_DATA", &m.start_data },
		{ "END_DATA", &m.end_data }, { "START_BRK", &m.start_brk }, { "BRK", &m.brk }, { "START_STACK", &m.start_stack },
		{ "ARG_START", &m.arg_start }, { "ARG_END", &m.arg_end }, { "ENV_START", &m.env_start }, { "ENV_END", &m.env_end },
	};

	for (size_t i = 0; i < sizeof f / sizeof *f; i++) {
		uint64_t v;
		if (rec_u64(rec, f[i].key, RES_TASK_SIZE, &v, e))
			return -1;
		*f[i].to = v;
	}
	if (rec_bin(rec, "AUXV", auxv, 16, sizeof auxv, &n, e) || rec_u64(rec, "EXE", r->nmfiles, &exe, e))
		return -1;
	if (n % 16 || !exe)
		return err_set(e, EX_BAD_IMAGE, "line %zu: malformed auxv or no EXE", rec->line);
	m.auxv = remote_put(p->rem, auxv, n);
	m.auxv_size = (uint32_t)n;
	m.exe_fd = (uint32_t)r->mfiles[exe - 1].fd;
	addr = remote_put(p->rem, &m, sizeof m);
	call(p, "prctl PR_SET_MM_MAP", SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, addr, sizeof m, 0, 0);
	return remote_run(p->rem, e);
}

static int finish_vma(struct rproc *p, const struct rvma *v, struct err *e)
{
	uint64_t len = v->end - v->start;

	if (remote_room(p->rem, 12, v->name ? strlen(v->name) + 16 : 0, e))
		return -1;
	/* What the parent shares was writable in both while both were filled. */
	if (private_fill(v) && (v->mapped || fill_prot(p->mm, v) != v->prot))
		call(p, "mprotect", SYS_mprotect, v->start, len, (uint64_t)v->prot, 0, 0, 0);
	for (const struct mm_flag *f = mm_flags; f->smaps; f++)
		if (f->advice >= 0 && f->advice != MADV_HUGEPAGE && f->advice != MADV_NOHUGEPAGE && mm_has_flag(v, f->name))
			call(p, "madvise", SYS_madvise, v->start, len, (uint64_t)f->advice, 0, 0, 0);
	if (v->name) {
		uint64_t name = remote_put(p->rem, v->name, strlen(v->name) + 1);
		remote_call(p->rem, "prctl PR_SET_VMA", REMOTE_ANY, SYS_prctl, PR_SET_VMA_, 0, v->start, len, name, 0);
	}
	return 0;
}

int mm_finish(struct restore *r, struct rproc *p, struct err *e)
{
	struct rmm *mm = p->mm;

	for (size_t i = 0; i < mm->n; i++)
		if (mm->v[i].kind != VMA_VDSO && mm->v[i].kind != VMA_VVAR && !vma_is_late(mm->v[i].kind) &&
		    finish_vma(p, &mm->v[i], e))
			return -1;
	for (size_t i = 0; i < mm->guard.n; i++) {
		if (remote_room(p->rem, 1, 0, e))
			return -1;
		call(p, "madvise MADV_GUARD_INSTALL", SYS_madvise, mm->guard.v[i].start, mm->guard.v[i].n * MM_PAGE,
		     MADV_GUARD_INSTALL_, 0, 0, 0);
	}
	if (r->temp_len)
		call(p, "munmap", SYS_munmap, r->temp, (r->temp_len + MM_PAGE - 1) / MM_PAGE * MM_PAGE, 0, 0, 0, 0);
	if (remote_run(p->rem, e))
		return -1;
	return set_mm(r, p, e);
}

int mm_late(struct restore *r, struct rproc *p, struct err *e)
{
	if (mm_lock(p, e))
		return -1;
	for (size_t i = 0; i < p->mm->n; i++) {
		struct rvma *v = &p->mm->v[i];

		if (remote_room(p->rem, 1, 0, e))
			return -1;
		if (mm_has_flag(v, "sealed") && v->kind != VMA_VDSO && v->kind != VMA_VVAR)
			call(p, "mseal", SYS_mseal_, v->start, v->end - v->start, 0, 0, 0, 0);
	}
	return remote_run(p->rem, e);
}
