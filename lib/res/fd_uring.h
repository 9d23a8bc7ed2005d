/* fd_uring: io_uring rings, see fd_uring.c (checkpoint) and fd_uring_restore.c. */
#ifndef XOS_FD_URING_H
#define XOS_FD_URING_H

#include "res/mm.h"
#include "res/res.h"

enum {
	URING_MAX = 1 << 30,          /* requests that a restart makes up for */
	URING_ENTRIES_MAX = 32768, URING_CQ_MAX = 65536,
	URING_TABLE_MAX = 1 << 14,    /* registered files, buffers */
	URING_CQE = 16, URING_SQE = 64,
};
/* The bytes of the rings that are saved: completions, array, requests. */
static inline size_t uring_bytes(size_t sq, size_t cq) { return cq * URING_CQE + sq * (4 + URING_SQE); }

/* A mapping of a ring: its description's id, and whether it can be made again (else the reason is on the list). */
bool uring_vma(struct dump *d, struct dproc *p, const struct proc_map *m, uint32_t *id);
int uring_check(struct dump *d, struct dfile *f, struct err *e);
int uring_dump(struct dump *d, struct dfile *f, struct err *e);
int uring_open(struct restore *r, struct rfile *f, struct err *e);
int uring_late(struct restore *r, struct rfile *f, struct err *e);

/* The mappings and registered buffers of p; its descriptors are there. */
int uring_restore(struct restore *r, struct rproc *p, struct err *e);

#endif
