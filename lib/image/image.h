/* image: the checkpoint archive, one pax tar per version, over libarchive. FORMAT.md
 * describes it. Knows no processes.
 *
 * Text members (records, rec.h) come whole; raw members (pages, content of deleted files)
 * are written in pieces. Raw data begins at a multiple of 4096 bytes in the file. The last member,
 * `end`, lists every member with its data offset, size and CRC-32C, and the CRC-32C of everything
 * before it: without it the image is truncated. Written in one pass and read in one
 * pass, so that images go through pipes. */
#ifndef XOS_IMAGE_H
#define XOS_IMAGE_H

#include "common/buf.h"
#include "common/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	IMAGE_FORMAT = 1,               /* FORMAT of description.txt; other numbers are refused by number */
	IMAGE_ALIGN = 4096,
	IMAGE_MAX_NAME = 255,
	IMAGE_MAX_MEMBERS = 4 << 20,
};
#define IMAGE_MAX_TEXT ((uint64_t)256 << 20)       /* one text member */
#define IMAGE_MAX_TEXT_ALL ((uint64_t)2 << 30)     /* all text members together */
#define IMAGE_MAX_RAW ((uint64_t)1 << 46)          /* one raw member: 64 TiB */

struct image_writer;
/* fd: a regular file (written with O_DIRECT where the file system allows, through a few MiB of
 * aligned buffers, so that the page cache is not flooded) or a pipe/socket (plain writes).
 * The caller keeps fd. */
int image_writer_new(struct image_writer **w, int fd, struct err *e);
/* A text member, mode 0600 (raw members: 0400, which is how a reader tells them). Names:
 * [A-Za-z0-9._-]+, unique. The first is description.txt with FORMAT, the second profile. No NUL bytes.
 * The first failure of any call stays: all later calls fail with it. */
int image_put_text(struct image_writer *w, const char *name, const struct buf *text, struct err *e);
/* A raw member of exactly `size` bytes, given in pieces. */
int image_raw_begin(struct image_writer *w, const char *name, uint64_t size, struct err *e);
int image_raw_write(struct image_writer *w, const void *p, size_t n, struct err *e);
/* Zero-copy variant: where the next bytes of the raw member go. Returns at least 1 writable byte (*n tells
 * how many); the caller fills up to *n and says how many with image_raw_commit. */
void *image_raw_reserve(struct image_writer *w, size_t *n, struct err *e);
int image_raw_commit(struct image_writer *w, size_t n, struct err *e);
int image_raw_end(struct image_writer *w, struct err *e); /* fails when fewer than `size` bytes came */
/* Writes `end` and the tar's end, waits until all is written (no fsync). */
int image_finish(struct image_writer *w, struct err *e);
uint64_t image_written(const struct image_writer *w);     /* bytes so far */
void image_writer_free(struct image_writer *w);

struct image_member {
	char *name;
	uint64_t offset;   /* of its data in the file */
	uint64_t size;
	char *text;        /* text members: NUL-terminated content, else NULL */
};
struct image;
/* Opens and verifies all of it (every byte is read once and checked) before anything is returned:
 * truncation, flipped bits, lying lengths, absolute and `..` names, duplicate names, unknown format
 * are EX_BAD_IMAGE. A pipe (or a compressed image: gzip, zstd, xz, lz4 by libarchive) is first
 * copied, unpacked, to an unlinked file in spool_dir (an open directory descriptor).
 * Memory is bounded by the text limits. The caller keeps fd; the image holds a copy. */
int image_open(struct image **im, int fd, int spool_dir, struct err *e);
/* Only description.txt and profile, without reading or checking the rest (lists): their bytes are not
 * verified, and image_fd is -1. */
int image_open_head(struct image **im, int fd, struct err *e);
void image_free(struct image *im);
int image_fd(const struct image *im);        /* for pread of raw members at .offset */
size_t image_count(const struct image *im);
const struct image_member *image_at(const struct image *im, size_t i);
const struct image_member *image_find(const struct image *im, const char *name); /* NULL when absent */

/* CRC-32C (Castagnoli), SSE4.2 where the CPU has it. crc of nothing is 0; chain by passing the last result. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);

#endif
