/* mm: the memory of a job. mm.c: mappings and their records; mm_pages.c: which pages are saved, and writing them;
 * mm_file.c: files that are mapped; mm_shm.c: shared memory objects; mm_restore.c, mm_fill.c: the way back. */
#ifndef XOS_MM_H
#define XOS_MM_H

#include "res/res.h"

enum { MM_PAGE = 4096, MM_MAX_RUNS = 1 << 26 };

enum vma_kind { VMA_ANON = 1, VMA_FILE, VMA_SHM, VMA_VDSO, VMA_VVAR, VMA_SYSV, VMA_URING, VMA_AIO, VMA_SOCKET, VMA_SKIP };

/* Their places are kept while memory is filled; who made them, lib/res/NAME.c, makes them again afterwards. */
static inline bool vma_is_late(enum vma_kind k) { return k == VMA_URING || k == VMA_AIO || k == VMA_SOCKET; }

struct mm_run { uint64_t start, n; };            /* address, pages */
struct mm_runs { struct mm_run *v; size_t n, cap; uint64_t pages; };
int mm_runs_add(struct mm_runs *r, uint64_t start, uint64_t pages); /* joins with the last one; 0 or -1 ENOMEM */
void mm_runs_free(struct mm_runs *r);
/* RUNS="start+pages,start+pages..." records of that type, some hundred runs a record. */
void mm_runs_dump(struct buf *b, const char *type, const struct mm_runs *r);
int mm_runs_parse(struct mm_runs *r, const char *s, struct err *e);  /* appends; ascending order is checked */

struct dvma {
	struct proc_map *m;            /* in dproc.maps */
	enum vma_kind kind;
	uint32_t obj;                  /* id of its mfile or dshm, number of its System V segment, 0: none */
};
struct dmm {
	struct dvma *v; size_t n;
	struct mm_runs data;           /* pages in member task_mm_PID, in this order */
	struct mm_runs cow;            /* pages that are the parent's, unchanged since the fork */
	struct mm_runs guard;          /* guard regions (MADV_GUARD_INSTALL) */
	struct mm_runs present;        /* all private pages: data + cow */
	bool shares;                   /* some of them may be another process' too, from a fork */
};
struct mfile {                         /* a file that is mapped */
	uint64_t dev, ino; char *path; bool deleted, write;
	const struct dns *mnt;                 /* the mount namespace of p's own where the path leads to it, NULL: the reference */
	struct dproc *p; struct proc_map *m;   /* one of its mappings */
	struct stat st; int fd;                /* fd: content of a deleted file, or -1 */
	bool exe;                              /* a process has it as /proc/PID/exe */
};
struct dshm {                          /* a shared memory object: MAP_SHARED|MAP_ANONYMOUS, or a memfd without descriptor */
	uint64_t dev, ino, size; char *name;   /* name: memfd's, NULL: anonymous */
	uint64_t huge_kb;
	struct dfile *file;                    /* memfd that somebody has open: its content is the file's business */
	struct shm_src { struct dproc *p; uint64_t addr, off, n; } *src; size_t nsrc; /* pages to save, by offset */
};

/* checkpoint */
int mm_classify(struct dump *d, struct dproc *p, struct err *e);  /* fills p->mm->v, adds refusals; after files_check */
int mm_dump(struct dump *d, struct dproc *p, struct err *e);      /* brk and the mm record, vma records, runs; p->rem at work */
int mm_scan(struct dump *d, struct dproc *p, struct err *e);      /* fills p->mm->present, guard */
int mm_find_cow(struct dump *d, struct dproc *p, struct err *e);  /* splits present into data and cow */
int mm_write_pages(struct dump *d, struct dproc *p, struct err *e); /* member task_mm_PID */
int mfile_get(struct dump *d, struct dproc *p, struct proc_map *m, uint32_t *id, struct err *e);
int mfiles_dump(struct dump *d, struct buf *out, struct err *e);  /* records of member `maps` */
int shm_get(struct dump *d, struct dproc *p, struct proc_map *m, uint32_t *id, struct err *e);
int shm_scan(struct dump *d, struct dproc *p, struct err *e);     /* which pages of shared objects are there; p->rem at work */
int shm_dump(struct dump *d, struct buf *out, struct err *e);     /* records of member `shm` */
int shm_write_pages(struct dump *d, struct err *e);               /* members shm_ID */
uint64_t mm_bytes(const struct dump *d);                          /* raw bytes that will be written, for progress */
void mm_free(struct dump *d);
const struct dvma *mm_vma_at(const struct dmm *mm, uint64_t addr); /* the mapping that holds addr, or NULL */
/* Notes that p and a process that was classified before it, or its parent outside the job, may share pages. */
void mm_note_sharing(struct dump *d, struct dproc *p);
/* Reads memory of p whatever its protection: process_vm_readv, else /proc/PID/mem. Only the latter leaves pages shared that
 * are shared: process_vm_readv pins what it reads, and the kernel gives the process a copy of its own first. */
int mm_read(struct dproc *p, uint64_t addr, void *buf, size_t n, struct err *e);

/* restart */
struct rvma {
	uint64_t start, end, offset;
	int prot;
	enum vma_kind kind;
	bool shared, mapped;           /* mapped: inherited from the parent by fork, content included */
	bool rdonly;                   /* a System V segment attached with SHM_RDONLY */
	uint32_t obj;
	uint64_t huge_kb;
	const char *flags, *name;      /* " dontfork locked ..."; name of an anonymous mapping or NULL */
};
struct rmm {
	struct rvma *v; size_t n;
	struct mm_runs data, cow, guard;
	uint64_t off;                  /* of task_mm_PID's data in the image */
	struct rec rec;                /* the mm record */
	uint64_t vdso, vdso_text, vdso_end;  /* start of vvar+vdso, of the code, its end; 0: has none */
};
struct rmfile {
	int fd;                        /* -1: not there yet */
	bool ghost;                    /* made anew, without name */
	uint32_t memfd, shm;           /* or it is that memfd of `files`, of `shm`; 0: neither */
};
struct rshm {
	uint64_t size, huge_kb, off;   /* off: in the temp area */
	bool memfd; int fd;            /* a memfd of its own, -1 */
	uint32_t file;                 /* a memfd that the job has open, 0 */
	size_t first_rec;
};

int mm_parse(struct restore *r, struct rproc *p, struct err *e);
bool mm_has_cow(const struct rproc *p);
int mfiles_open(struct restore *r, struct err *e);
int mfiles_link(struct restore *r, struct err *e);    /* memfds, which are open by now, and made as shared memory */
int shm_parse(struct restore *r, struct err *e);      /* sizes; r->temp_len */
int shm_make(struct restore *r, struct err *e);       /* maps and fills the objects at r->temp in the restorer */
/* Finds room for boot and temp areas that is free in every process of the job and here. */
int mm_find_room(struct restore *r, struct err *e);
/* First thing in a process that the restorer made: gets rid of what it inherited but boot and temp. */
int mm_strip(struct restore *r, struct rproc *p, struct err *e);
/* Maps and fills everything of p (p under remote control); what it has from its parent by fork is kept. */
int mm_map(struct restore *r, struct rproc *p, struct err *e);
/* The pages of p from the image into its mappings, which are writable. */
int mm_fill(struct restore *r, struct rproc *p, struct err *e);
/* Protections, advice, exe, brk: when all children of p are made. Removes the temp area. */
int mm_finish(struct restore *r, struct rproc *p, struct err *e);
bool mm_has_flag(const struct rvma *v, const char *name);
int mm_lock(struct rproc *p, struct err *e); /* mm_lock.c, for mm_late */
int mm_late(struct restore *r, struct rproc *p, struct err *e);  /* mlock, seal */
void mm_restore_free(struct restore *r);

#endif
