/* mm: the mappings of a process.
 *
 * Records in task_PID:
 *   TYPE="mm" START_CODE= END_CODE= START_DATA= END_DATA= START_BRK= BRK= START_STACK= ARG_START= ARG_END= ENV_START=
 *             ENV_END= AUXV=hex EXE=id (of member `maps`) DUMPABLE is prctl's
 *   TYPE="vma" START= END= PROT="rwx" KIND="anon|file|shm|sysv|uring|aio|socket|vdso|vvar" [SHARED="1"] [OBJ=id OFFSET=] [RDONLY="1"] [FLAGS=" a b "] [NAME=]
 *             [HUGE=kB]
 *   TYPE="pages|cow|guard" RUNS="address+pages,..." */
#include "res/mm.h"
#include "common/cleanup.h"
#include "image/image.h"
#include "res/fd_tcp.h"
#include "res/fd_uring.h"
#include "res/mm_flags.h"
#include "res/sysv.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

const struct mm_flag mm_flags[] = {
	{ "dc", "dontfork", MADV_DONTFORK }, { "wf", "wipeonfork", MADV_WIPEONFORK },
	{ "dd", "dontdump", MADV_DONTDUMP }, { "hg", "hugepage", MADV_HUGEPAGE },
	{ "nh", "nohugepage", MADV_NOHUGEPAGE }, { "mg", "mergeable", MADV_MERGEABLE },
	{ "sr", "sequential", MADV_SEQUENTIAL }, { "rr", "random", MADV_RANDOM },
	{ "gd", "growsdown", -1 }, { "nr", "noreserve", -1 }, { "lo", "locked", -1 }, { "lf", "lockonfault", -1 }, { "sl", "sealed", -1 },
	{ "dp", "droppable", -1 },
	{ 0 },
};

static bool starts(const char *s, const char *with) { return !strncmp(s, with, strlen(with)); }

/* What the kernel's names mean: see show_map_vma() via proc_pid_maps(5). */
static enum vma_kind kind_of(const struct proc_map *m)
{
	if (!strcmp(m->path, "[vdso]"))
		return VMA_VDSO;
	if (starts(m->path, "[vvar"))
		return VMA_VVAR;
	if (!strcmp(m->path, "[vsyscall]"))
		return VMA_SKIP;
	if (sysv_is_shm(m))
		return VMA_SYSV; /* the inode is its id, which may be 0 */
	if (!strcmp(m->path, "anon_inode:[io_uring]"))
		return VMA_URING;
	if (m->shared && starts(m->path, "/[aio]"))
		return VMA_AIO;
	if (starts(m->path, "socket:"))
		return VMA_SOCKET;
	if (!m->inode)
		return VMA_ANON;
	if (m->deleted && !m->shared && starts(m->path, "/anon_hugepage"))
		return VMA_ANON;
	if (m->deleted && m->shared && (starts(m->path, "/dev/zero") || starts(m->path, "/anon_hugepage")))
		return VMA_SHM;
	if (starts(m->path, "[anon_shmem:"))
		return VMA_SHM;
	if (starts(m->path, "/memfd:") && m->shared)
		return VMA_SHM;
	return VMA_FILE;
}

static int vma_refuse(struct dump *d, struct dproc *p, const struct proc_map *m, const char *what)
{
	return refuse(d, p, "memory %llx-%llx: %s", (unsigned long long)m->start, (unsigned long long)m->end, what);
}

/* Returns true when the mapping cannot be saved; the reason is on the list. */
static bool vma_unsupported(struct dump *d, struct dproc *p, const struct proc_map *m, enum vma_kind k)
{
	char what[PATH_MAX + 64];

	if (k == VMA_VDSO || k == VMA_VVAR || vma_is_late(k) || k == VMA_SKIP)
		return false;
	if (starts(m->path, "/secretmem")) {
		vma_refuse(d, p, m, "secret memory (memfd_secret) is not supported");
	} else if (starts(m->path, "anon_inode:")) {
		snprintf(what, sizeof what, "mapping of %s is not supported", m->path);
		vma_refuse(d, p, m, what);
	} else if (proc_map_flag(m, "um") || proc_map_flag(m, "uw") || proc_map_flag(m, "ui")) {
		vma_refuse(d, p, m, "registered with a userfaultfd, which is not supported");
	} else if (proc_map_flag(m, "io") || proc_map_flag(m, "pf")) {
		snprintf(what, sizeof what, "device memory (%s) is not supported", m->path);
		vma_refuse(d, p, m, what);
	} else if (proc_map_flag(m, "ss")) {
		vma_refuse(d, p, m, "a shadow stack is not supported");
	} else if (k == VMA_ANON && m->shared) {
		vma_refuse(d, p, m, "shared memory of an unknown kind");
	} else {
		return false;
	}
	return true;
}

int mm_classify(struct dump *d, struct dproc *p, struct err *e)
{
	struct dmm *mm = calloc(1, sizeof *mm);

	if (!mm)
		return err_set(e, EX_FAILED, "out of memory");
	p->mm = mm;
	mm_note_sharing(d, p);
	mm->v = calloc(p->maps.n ? p->maps.n : 1, sizeof *mm->v);
	if (!mm->v)
		return err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; i < p->maps.n; i++) {
		struct proc_map *m = &p->maps.v[i];
		struct dvma *v = &mm->v[mm->n];

		v->m = m;
		v->kind = kind_of(m);
		if (v->kind == VMA_SKIP || vma_unsupported(d, p, m, v->kind))
			continue;
		if (v->kind == VMA_URING && !uring_vma(d, p, m, &v->obj))
			continue;
		if (v->kind == VMA_SOCKET && !tcp_vma(d, p, m, &v->obj))
			continue;
		if ((v->kind == VMA_FILE && mfile_get(d, p, m, &v->obj, e)) ||
		    (v->kind == VMA_SHM && shm_get(d, p, m, &v->obj, e)))
			return err_prefix(e, "memory %llx-%llx", (unsigned long long)m->start, (unsigned long long)m->end);
		mm->n++;
	}
	return 0;
}

static void vma_record(struct buf *b, const struct dvma *v)
{
	static const char *const kinds[] = { "", "anon", "file", "shm", "vdso", "vvar", "sysv", "uring", "aio", "socket" };
	const struct proc_map *m = v->m;
	char prot[4] = { m->r ? 'r' : '-', m->w ? 'w' : '-', m->x ? 'x' : '-', 0 }, flags[256] = "";

	rec_begin(b, "vma");
	rec_put_hex(b, "START", m->start);
	rec_put_hex(b, "END", m->end);
	rec_put_str(b, "PROT", prot);
	rec_put_str(b, "KIND", kinds[v->kind]);
	if (m->shared)
		rec_put_u64(b, "SHARED", 1);
	if (v->obj) {
		rec_put_u64(b, "OBJ", v->obj);
		rec_put_hex(b, "OFFSET", m->offset);
	}
	if (v->kind == VMA_SYSV && !proc_map_flag(m, "mw"))
		rec_put_u64(b, "RDONLY", 1);
	for (const struct mm_flag *f = mm_flags; f->smaps; f++)
		if (proc_map_flag(m, f->smaps)) {
			strcat(flags, flags[0] ? " " : "");
			strcat(flags, f->name);
		}
	if (flags[0])
		rec_put_str(b, "FLAGS", flags);
	if (starts(m->path, "[anon:") || starts(m->path, "[anon_shmem:")) {
		const char *n = strchr(m->path, ':') + 1;
		rec_put_strn(b, "NAME", n, strlen(n) - 1);
	}
	if (proc_map_flag(m, "ht"))
		rec_put_u64(b, "HUGE", m->page_kb);
	rec_end(b);
}

/* vvar and vdso are given back by arch_prctl(ARCH_MAP_VDSO_64) as one piece. The checksum (our own stub in the
 * tail left out) tells on restart whether this kernel's vDSO is the same. */
static int vdso_record(struct dump *d, struct dproc *p, struct err *e)
{
	uint64_t start = 0, text = 0, end = 0;
	uint32_t crc = 0;

	for (size_t i = 0; i < p->mm->n; i++) {
		struct dvma *v = &p->mm->v[i];
		if (v->kind != VMA_VDSO && v->kind != VMA_VVAR)
			continue;
		if (end && v->m->start != end)
			return err_set(e, EX_CANNOT_CKPT, "vvar and vdso do not lie together");
		if (!start)
			start = v->m->start;
		if (v->kind == VMA_VDSO)
			text = v->m->start;
		end = v->m->end;
	}
	if (!text)
		return 0;
	if (mm_vdso_crc(p, text, end, &crc, e))
		return -1;
	rec_begin(&p->out, "vdso");
	rec_put_hex(&p->out, "START", start);
	rec_put_hex(&p->out, "TEXT", text);
	rec_put_hex(&p->out, "END", end);
	rec_put_hex(&p->out, "CRC", crc);
	rec_end(&p->out);
	return 0;
}

int mm_vdso_crc(struct dproc *p, uint64_t text, uint64_t end, uint32_t *crc, struct err *e)
{
	AUTO_FREE char *copy = malloc(end - text);

	if (!copy)
		return err_set(e, EX_FAILED, "out of memory");
	if (mm_read(p, text, copy, end - text, e))
		return -1;
	/* The ELF image ends behind its section headers; what follows is the tail that the stub may use. */
	*crc = crc32c(0, copy, mm_vdso_len(copy, end - text));
	return 0;
}

size_t mm_vdso_len(const void *elf, size_t n)
{
	uint64_t shoff;
	uint16_t shentsize, shnum;

	memcpy(&shoff, (const char *)elf + 40, 8);
	memcpy(&shentsize, (const char *)elf + 58, 2);
	memcpy(&shnum, (const char *)elf + 60, 2);
	uint64_t end = shoff + (uint64_t)shentsize * shnum;
	return end && end < n ? (size_t)end : n;
}

static int mm_record(struct dump *d, struct dproc *p, struct err *e)
{
	struct buf *b = &p->out;
	struct proc_stat *s = &p->stat;
	struct buf auxv = BUF_INIT;
	uint32_t exe = 0;
	long brk;

	if (remote_one(p->rem, "brk", &brk, e, SYS_brk, 0, 0, 0, 0, 0, 0))
		return -1;
	if (proc_read(&auxv, p->pid, "auxv", 4096) || buf_failed(&auxv)) {
		buf_free(&auxv);
		return err_sys(e, "cannot read auxv");
	}
	if (mfile_exe(d, p, &exe, e)) {
		buf_free(&auxv);
		return -1;
	}
	rec_begin(b, "mm");
	rec_put_hex(b, "START_CODE", s->start_code);
	rec_put_hex(b, "END_CODE", s->end_code);
	rec_put_hex(b, "START_DATA", s->start_data);
	rec_put_hex(b, "END_DATA", s->end_data);
	rec_put_hex(b, "START_BRK", s->start_brk);
	rec_put_hex(b, "BRK", (uint64_t)brk);
	rec_put_hex(b, "START_STACK", s->start_stack);
	rec_put_hex(b, "ARG_START", s->arg_start);
	rec_put_hex(b, "ARG_END", s->arg_end);
	rec_put_hex(b, "ENV_START", s->env_start);
	rec_put_hex(b, "ENV_END", s->env_end);
	rec_put_bin(b, "AUXV", auxv.p, auxv.len);
	rec_put_u64(b, "EXE", exe);
	rec_end(b);
	buf_free(&auxv);
	return 0;
}

int mm_dump(struct dump *d, struct dproc *p, struct err *e)
{
	if (mm_record(d, p, e) || vdso_record(d, p, e))
		return -1;
	for (size_t i = 0; i < p->mm->n; i++)
		vma_record(&p->out, &p->mm->v[i]);
	mm_runs_dump(&p->out, "pages", &p->mm->data);
	mm_runs_dump(&p->out, "cow", &p->mm->cow);
	mm_runs_dump(&p->out, "guard", &p->mm->guard);
	return 0;
}

void mm_free(struct dump *d)
{
	for (size_t i = 0; i < d->nprocs; i++) {
		struct dmm *mm = d->procs[i]->mm;
		if (!mm)
			continue;
		mm_runs_free(&mm->data);
		mm_runs_free(&mm->cow);
		mm_runs_free(&mm->guard);
		mm_runs_free(&mm->present);
		free(mm->v);
		free(mm);
		d->procs[i]->mm = NULL;
	}
	for (size_t i = 0; i < d->nmfiles; i++) {
		free(d->mfiles[i].path);
		if (d->mfiles[i].fd >= 0)
			close(d->mfiles[i].fd);
	}
	free(d->mfiles);
	for (size_t i = 0; i < d->nshm; i++) {
		free(d->shm[i].name);
		free(d->shm[i].src);
	}
	free(d->shm);
	d->mfiles = NULL;
	d->shm = NULL;
	d->nmfiles = d->nshm = 0;
}
