/* mm_restore: records of the memory back into plans, and room for what the restart itself needs. */
#include "res/mm.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "res/mm_flags.h"
#include "res/sysv.h"

#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>

static int parse_kind(const struct rec *rec, enum vma_kind *k, struct err *e)
{
	static const struct { const char *s; enum vma_kind k; } t[] = {
		{ "anon", VMA_ANON }, { "file", VMA_FILE }, { "shm", VMA_SHM }, { "vdso", VMA_VDSO }, { "vvar", VMA_VVAR },
		{ "sysv", VMA_SYSV }, { "uring", VMA_URING }, { "aio", VMA_AIO }, { "socket", VMA_SOCKET },
	};
	const char *s;

	if (rec_str(rec, "KIND", &s, e))
		return -1;
	for (size_t i = 0; i < sizeof t / sizeof *t; i++)
		if (!strcmp(s, t[i].s)) {
			*k = t[i].k;
			return 0;
		}
	return err_set(e, EX_BAD_IMAGE, "line %zu: memory of kind \"%s\" is not known", rec->line, s);
}

static int parse_flags(const char *flags, size_t line, struct err *e)
{
	while (*flags) {
		size_t n = strcspn(flags, " "), ok = 0;
		for (const struct mm_flag *f = mm_flags; f->smaps; f++)
			ok |= strlen(f->name) == n && !strncmp(f->name, flags, n);
		if (!ok)
			return err_set(e, EX_BAD_IMAGE, "line %zu: memory flag \"%.*s\" is not known", line, (int)n, flags);
		flags += n;
		flags += *flags == ' ';
	}
	return 0;
}

/* User space ends at 47 bits, or at 56 where kernel and CPU have five levels of page tables. */
static uint64_t user_end(void)
{
	static uint64_t end;
	void *high;

	if (!end) {
		high = mmap((void *)((uintptr_t)1 << 52), MM_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		end = ((uint64_t)1 << (high != MAP_FAILED && (uintptr_t)high >> 47 ? 56 : 47)) - MM_PAGE;
		if (high != MAP_FAILED)
			munmap(high, MM_PAGE);
	}
	return end;
}

static bool prot_ok(const char *s)
{
	return (s[0] == 'r' || s[0] == '-') && (s[1] == 'w' || s[1] == '-') && (s[2] == 'x' || s[2] == '-') && !s[3];
}

static int parse_vma(struct restore *r, const struct rec *rec, const struct rvma *prev, struct rvma *v, struct err *e)
{
	const char *prot;
	uint64_t obj, shared, rdonly;
	const struct sysv_obj *seg;
	size_t max;

	if (rec_u64(rec, "START", RES_TASK_SIZE, &v->start, e) || rec_u64(rec, "END", RES_TASK_SIZE, &v->end, e) ||
	    rec_str(rec, "PROT", &prot, e) || parse_kind(rec, &v->kind, e) ||
	    rec_u64_or(rec, "SHARED", 1, 0, &shared, e) || rec_u64_or(rec, "OBJ", RES_MAX_VMAS, 0, &obj, e) ||
	    rec_u64_or(rec, "OFFSET", INT64_MAX, 0, &v->offset, e) || rec_u64_or(rec, "HUGE", 1 << 21, 0, &v->huge_kb, e) ||
	    rec_u64_or(rec, "RDONLY", 1, 0, &rdonly, e))
		return -1;
	v->flags = rec_find(rec, "FLAGS") ? rec_find(rec, "FLAGS") : "";
	v->name = rec_find(rec, "NAME");
	v->shared = shared;
	v->rdonly = rdonly;
	v->obj = (uint32_t)obj;
	if (parse_flags(v->flags, rec->line, e))
		return -1;
	if (v->start >= v->end || v->start % MM_PAGE || v->end % MM_PAGE || v->offset % MM_PAGE ||
	    (prev && v->start < prev->end) || !prot_ok(prot) || (v->huge_kb & (v->huge_kb - 1)))
		return err_set(e, EX_BAD_IMAGE, "line %zu: malformed memory range", rec->line);
	if (v->end > user_end())
		return err_set(e, EX_MISFIT, "line %zu: memory at %llx, which this kernel does not have", rec->line,
			       (unsigned long long)v->start);
	v->prot = (prot[0] == 'r' ? PROT_READ : 0) | (prot[1] == 'w' ? PROT_WRITE : 0) | (prot[2] == 'x' ? PROT_EXEC : 0);
	if (v->kind == VMA_SYSV) {
		seg = sysv_shm(r, (uint32_t)obj);
		if (!seg || !shared || v->offset + (v->end - v->start) > (seg->size + MM_PAGE - 1) / MM_PAGE * MM_PAGE || v->offset > v->start)
			return err_set(e, EX_BAD_IMAGE, "line %zu: memory of an unknown segment", rec->line);
		return 0;
	}
	if (v->kind == VMA_URING)
		return obj && obj <= r->nfiles && shared ? 0 : err_set(e, EX_BAD_IMAGE, "line %zu: memory of an unknown ring", rec->line);
	if (v->kind == VMA_SOCKET)
		return obj && obj <= r->nfiles ? 0 : err_set(e, EX_BAD_IMAGE, "line %zu: memory of an unknown socket", rec->line);
	max = v->kind == VMA_FILE ? r->nmfiles : v->kind == VMA_SHM ? r->nshm : 0;
	if (obj > max || (max && !obj) || (v->kind == VMA_SHM && v->offset + (v->end - v->start) > r->shm[obj - 1].size))
		return err_set(e, EX_BAD_IMAGE, "line %zu: memory of an unknown file", rec->line);
	return 0;
}

static int parse_vmas(struct restore *r, struct rproc *p, struct err *e)
{
	struct rmm *mm = p->mm;
	struct rec rec;
	size_t n = 0;

	for (long i = rproc_rec(p, "vma", 0, &rec); i >= 0; i = rproc_rec(p, "vma", (size_t)i + 1, &rec))
		n++;
	if (n > RES_MAX_VMAS)
		return err_set(e, EX_BAD_IMAGE, "%zu mappings are too many", n);
	mm->v = calloc(n ? n : 1, sizeof *mm->v);
	if (!mm->v)
		return err_set(e, EX_FAILED, "out of memory");
	for (long i = rproc_rec(p, "vma", 0, &rec); i >= 0; i = rproc_rec(p, "vma", (size_t)i + 1, &rec)) {
		if (parse_vma(r, &rec, mm->n ? &mm->v[mm->n - 1] : NULL, &mm->v[mm->n], e))
			return -1;
		mm->n++;
	}
	return 0;
}

static int parse_runs(const struct rproc *p, const char *type, struct mm_runs *out, struct err *e)
{
	struct rec rec;
	const char *s;

	for (long i = rproc_rec(p, type, 0, &rec); i >= 0; i = rproc_rec(p, type, (size_t)i + 1, &rec))
		if (rec_str(&rec, "RUNS", &s, e) || mm_runs_parse(out, s, e))
			return err_prefix(e, "line %zu", rec.line);
	return 0;
}

/* Every page that is filled must lie in private memory of the job: an image must not make us write elsewhere. */
static int check_runs(const struct rmm *mm, const struct mm_runs *r, struct err *e)
{
	size_t k = 0;

	for (size_t i = 0; i < r->n; i++) {
		uint64_t at = r->v[i].start, end = at + r->v[i].n * MM_PAGE;

		while (at < end) {
			while (k < mm->n && mm->v[k].end <= at)
				k++;
			if (k == mm->n || mm->v[k].start > at || mm->v[k].shared ||
			    (mm->v[k].kind != VMA_ANON && mm->v[k].kind != VMA_FILE))
				return err_set(e, EX_BAD_IMAGE, "page %llx is in no private memory", (unsigned long long)at);
			at = mm->v[k].end < end ? mm->v[k].end : end;
		}
	}
	return 0;
}

/* The vDSO must be the one of this kernel: the job has addresses inside it. */
static int parse_vdso(struct rproc *p, struct err *e)
{
	const char *own = (const char *)getauxval(AT_SYSINFO_EHDR);
	struct rec rec;
	uint64_t crc;

	if (rproc_rec(p, "vdso", 0, &rec) < 0)
		return 0;
	if (rec_u64(&rec, "START", RES_TASK_SIZE, &p->mm->vdso, e) || rec_u64(&rec, "TEXT", RES_TASK_SIZE, &p->mm->vdso_text, e) ||
	    rec_u64(&rec, "END", RES_TASK_SIZE, &p->mm->vdso_end, e) || rec_u64(&rec, "CRC", UINT32_MAX, &crc, e))
		return -1;
	if (p->mm->vdso_text < p->mm->vdso || p->mm->vdso_end <= p->mm->vdso_text || p->mm->vdso_end - p->mm->vdso > 1 << 20)
		return err_set(e, EX_BAD_IMAGE, "line %zu: malformed vdso", rec.line);
	if (!own || crc32c(0, own, mm_vdso_len(own, SIZE_MAX)) != crc) {
		err_set(e, EX_MISFIT, "the vDSO of this kernel is not the one that the job was using");
		err_hint(e, "restart it under the kernel that it was checkpointed under (see xprofile)");
		return -1;
	}
	return 0;
}

int mm_parse(struct restore *r, struct rproc *p, struct err *e)
{
	const struct image_member *m;
	char name[32];

	p->mm = calloc(1, sizeof *p->mm);
	if (!p->mm)
		return err_set(e, EX_FAILED, "out of memory");
	if (rproc_rec(p, "mm", 0, &p->mm->rec) < 0)
		return err_set(e, EX_BAD_IMAGE, "task_%d has no record mm", p->pid);
	if (parse_vmas(r, p, e) || parse_runs(p, "pages", &p->mm->data, e) || parse_runs(p, "cow", &p->mm->cow, e) ||
	    parse_runs(p, "guard", &p->mm->guard, e) || parse_vdso(p, e) || check_runs(p->mm, &p->mm->data, e) ||
	    check_runs(p->mm, &p->mm->cow, e) || check_runs(p->mm, &p->mm->guard, e))
		return err_prefix(e, "task_%d", p->pid);
	snprintf(name, sizeof name, "task_mm_%d", p->pid);
	m = image_find(r->img, name);
	if (!m || m->text || m->size != p->mm->data.pages * MM_PAGE)
		return err_set(e, EX_BAD_IMAGE, "%s does not hold the pages that task_%d names", name, p->pid);
	p->mm->off = m->offset;
	if (p->mm->cow.n && !p->parent)
		return err_set(e, EX_BAD_IMAGE, "task_%d has pages of a parent that is not there", p->pid);
	return 0;
}

bool mm_has_cow(const struct rproc *p) { return p->mm && p->mm->cow.n; }

/* ---- room ---- */

struct range { uint64_t start, end; };
static int cmp_range(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

int mm_find_room(struct restore *r, struct err *e)
{
	struct proc_maps own = { 0 };
	AUTO_FREE struct range *v = NULL;
	size_t n = 0, cap = 0;
	/* Huge page alignment for the temp area; a page between the two. */
	uint64_t need = TRACEE_BOOT_SIZE + MM_PAGE + r->temp_len + ((uint64_t)2 << 30), at = (uint64_t)64 << 20;

	if (proc_maps_read(&own, getpid(), false, e))
		return -1;
	cap = own.n;
	for (size_t i = 0; i < r->nprocs; i++)
		cap += r->procs[i]->mm ? r->procs[i]->mm->n : 0;
	v = malloc((cap + 1) * sizeof *v);
	if (!v) {
		proc_maps_free(&own);
		return err_set(e, EX_FAILED, "out of memory");
	}
	for (size_t i = 0; i < own.n; i++)
		v[n++] = (struct range){ own.v[i].start, own.v[i].end };
	proc_maps_free(&own);
	for (size_t i = 0; i < r->nprocs; i++)
		for (size_t k = 0; r->procs[i]->mm && k < r->procs[i]->mm->n; k++)
			v[n++] = (struct range){ r->procs[i]->mm->v[k].start, r->procs[i]->mm->v[k].end };
	qsort(v, n, sizeof *v, cmp_range);
	/* Stay clear of the neighbours: stacks grow down, heaps up. */
	const uint64_t gap = 1 << 20;
	for (size_t i = 0; i < n && at + need + gap > v[i].start; i++)
		if (v[i].end + gap > at)
			at = v[i].end + gap;
	if (at + need > ((uint64_t)1 << 47) - gap)
		return err_set(e, EX_MISFIT, "no room of %llu bytes in the address space of the job", (unsigned long long)need);
	r->boot = at;
	const uint64_t align = (uint64_t)1 << 30;
	r->temp = (at + TRACEE_BOOT_SIZE + MM_PAGE + align - 1) / align * align;
	log_debug("mem", "boot area at %llx, temp at %llx (%llu bytes)", (unsigned long long)r->boot,
		  (unsigned long long)r->temp, (unsigned long long)r->temp_len);
	return 0;
}

void mm_restore_free(struct restore *r)
{
	for (size_t i = 0; i < r->nprocs; i++) {
		struct rmm *mm = r->procs[i]->mm;
		if (!mm)
			continue;
		mm_runs_free(&mm->data);
		mm_runs_free(&mm->cow);
		mm_runs_free(&mm->guard);
		free(mm->v);
		free(mm);
		r->procs[i]->mm = NULL;
	}
	for (size_t i = 0; i < r->nmfiles; i++)
		if (r->mfiles[i].fd >= 0)
			close(r->mfiles[i].fd);
	free(r->mfiles);
	for (size_t i = 0; i < r->nshm; i++)
		if (r->shm[i].fd >= 0)
			close(r->shm[i].fd);
	if (r->temp_len && r->temp)
		munmap((void *)(uintptr_t)r->temp, r->temp_len);
	free(r->shm);
	rec_list_free(&r->shm_list);
	r->mfiles = NULL;
	r->shm = NULL;
	r->nmfiles = r->nshm = 0;
}
