/* mm_flags: the flags of a mapping that are kept, under smaps' two letters, our names and madvise's numbers. */
#ifndef XOS_MM_FLAGS_H
#define XOS_MM_FLAGS_H

#include "res/mm.h"

struct mm_flag { const char *smaps, *name; int advice; /* -1: not by madvise */ };
extern const struct mm_flag mm_flags[];
/* CRC-32C of the vDSO of p, its unused tail left out. */
int mm_vdso_crc(struct dproc *p, uint64_t text, uint64_t end, uint32_t *crc, struct err *e);
size_t mm_vdso_len(const void *elf, size_t n);
int mfile_exe(struct dump *d, struct dproc *p, uint32_t *id, struct err *e);

#endif
