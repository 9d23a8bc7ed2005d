/* imgsrc: the bytes of an image in order, each read once and counted into a CRC.
 *
 * A regular file that is not compressed is read in place (pread(2)). Anything else comes through
 * libarchive's filters (gzip, zstd, xz, lz4, or none for a pipe) and is copied, unpacked,
 * to an unlinked file, which is then the image.
 *
 * libarchive's tar reader sits on top (imgsrc_read and imgsrc_skip are its callbacks) and is never
 * given a byte more than it asked for: 512 at a time while it reads headers, the data of
 * a member while it reads that. So imgsrc_pos() is exactly where it stands. */
#ifndef XOS_IMAGE_IMGSRC_H
#define XOS_IMAGE_IMGSRC_H

#include "common/err.h"
#include "image/crc32c.h"
#include <archive.h>
#include <stdbool.h>
#include <stdint.h>

enum { IMGSRC_NO_SPOOL = -1 };

struct imgsrc;
/* spool_dir: where the unlinked file is made when one is needed; IMGSRC_NO_SPOOL: unpacked bytes are not kept.
 * The caller keeps both descriptors. */
int imgsrc_open(struct imgsrc **s, int fd, int spool_dir, struct err *e);
void imgsrc_free(struct imgsrc *s);
/* A new descriptor of the plain image, to be closed by the caller; -1 with e. */
int imgsrc_take_fd(struct imgsrc *s, struct err *e);

la_ssize_t imgsrc_read(struct archive *a, void *src, const void **p);
la_int64_t imgsrc_skip(struct archive *a, void *src, la_int64_t n);
/* The next bytes (1..512, or more inside data), read and counted. 0 at the end, -1 with imgsrc_err. */
la_ssize_t imgsrc_next(struct imgsrc *s, const void **p);

uint64_t imgsrc_pos(const struct imgsrc *s);     /* of the next byte */
bool imgsrc_at_eof(const struct imgsrc *s);      /* more was asked for than there is */
uint64_t imgsrc_size(const struct imgsrc *s);    /* of a regular file, else UINT64_MAX */
const struct err *imgsrc_err(const struct imgsrc *s); /* reading or spooling failed; NULL: it did not */

/* Checksums: imgsrc_cut ends a part of the stream at the present position and returns its CRC,
 * imgsrc_sum is the CRC of all parts that have ended. */
uint32_t imgsrc_cut(struct imgsrc *s);
uint32_t imgsrc_sum(const struct imgsrc *s);
/* The next n bytes are a member's data: a part of their own. imgsrc_data_crc once they have been read or skipped. */
void imgsrc_begin_data(struct imgsrc *s, uint64_t n);
uint64_t imgsrc_data_left(const struct imgsrc *s);
uint32_t imgsrc_data_crc(const struct imgsrc *s);

#endif
