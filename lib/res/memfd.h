/* memfd: memfd_create(2) objects, as descriptors (fd_memfd.c) and as memory that is only mapped (mm_shm.c). */
#ifndef XOS_MEMFD_H
#define XOS_MEMFD_H

#include "common/err.h"
#include <stdbool.h>
#include <stdint.h>

enum { MEMFD_MAX_NAME = 249 };        /* the kernel's limit */

/* link (of /proc/PID/fd/N or of a mapping) names a memfd: its name is copied to out[MEMFD_MAX_NAME + 1]. */
bool memfd_name(const char *link, char *out);
/* A new empty memfd that can be sealed, read-write, close-on-exec. huge: page size in bytes, 0: ordinary pages.
 * Returns the descriptor or -1. */
int memfd_make(const char *name, uint64_t huge, struct err *e);
/* Seals forbid what a restart itself does, so they come in two goes: early (late == false), when content and mode are
 * there and nothing is mapped; and late, when all mappings are there: F_SEAL_FUTURE_WRITE, with which
 * writable mappings may exist, and then F_SEAL_SEAL. Both are called with all seals of the object. */
int memfd_seal(int fd, uint32_t seals, bool late, struct err *e);
/* Seals with which no shared writable mapping can exist: map such an object read-only. */
bool memfd_write_sealed(uint32_t seals);

#endif
