/* imgout: the bytes of an image on their way to a descriptor, in order, through a few
 * large aligned buffers that a thread of its own writes while the next one is filled.
 *
 * A regular file is written with O_DIRECT where its file system takes that, else buffered, with
 * the pages pushed out and dropped behind (sync_file_range(2), posix_fadvise(2)). The unaligned tail
 * goes without O_DIRECT. Pipes and sockets get plain writes. The caller keeps fd. */
#ifndef XOS_IMAGE_IMGOUT_H
#define XOS_IMAGE_IMGOUT_H

#include "common/err.h"
#include <stddef.h>
#include <stdint.h>

struct imgout;
int imgout_new(struct imgout **o, int fd, struct err *e);
/* Where the next bytes go: *n writable bytes, at least one. Its address and imgout_pos() are the same modulo 4096. */
void *imgout_room(struct imgout *o, size_t *n, struct err *e);
/* The first n bytes of p follow. When p is the room, nothing is copied. */
int imgout_put(struct imgout *o, const void *p, size_t n, struct err *e);
/* Waits until all is written, and puts the flags of fd back. */
int imgout_finish(struct imgout *o, struct err *e);
uint64_t imgout_pos(const struct imgout *o);
/* Drops what is not yet written. */
void imgout_free(struct imgout *o);

#endif
