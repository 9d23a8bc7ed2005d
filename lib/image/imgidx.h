/* imgidx: the list of an image's members, as the writer gathers it and the reader checks
 * it, and the text of the `end` member, which both make by the same functions. */
#ifndef XOS_IMAGE_IMGIDX_H
#define XOS_IMAGE_IMGIDX_H

#include "image/image.h"

enum {
	IMGIDX_SELF_LEN = 19,  /* ` SELF="0x01234567"` and newline */
	IMGIDX_MAX_LINE = 512, /* one line of `end` */
	/* A file mode tells text from raw, so that a reader knows it before the data comes. */
	IMGIDX_MODE_TEXT = 0600,
	IMGIDX_MODE_RAW = 0400,
};
#define IMGIDX_FIRST "description.txt"
#define IMGIDX_SECOND "profile"
#define IMGIDX_LAST "end"

struct imgidx_member {
	struct image_member m;
	uint32_t crc;
	bool raw;
};
struct imgidx {
	struct imgidx_member *v;
	size_t n, cap;
	struct imgidx_member **sorted; /* by name; filled by imgidx_sort */
	uint64_t text_all;             /* bytes of all text members */
};
/* [A-Za-z0-9._-]+, at most IMAGE_MAX_NAME, and neither "." nor "..". */
bool imgidx_name_ok(const char *name);
/* Appends a member (name is copied) after checking name, size and counts against the limits of image.h; `code` is
 * the exit status of a refusal: EX_BAD_IMAGE for a reader, EX_FAILED for a writer. NULL with e filled. The
 * pointer is good until the next call. */
struct imgidx_member *imgidx_add(struct imgidx *x, const char *name, uint64_t size, bool raw, int code, struct err *e);
/* Sorts by name; a name that is there twice is refused. */
int imgidx_sort(struct imgidx *x, int code, struct err *e);
const struct imgidx_member *imgidx_find(const struct imgidx *x, const char *name);
void imgidx_free(struct imgidx *x); /* of the content; x itself is the caller's */

/* The lines of `end`: one a member; the last without its SELF field and newline; that field. */
void imgidx_put_member(struct buf *b, const struct imgidx_member *m);
void imgidx_put_end(struct buf *b, size_t members, uint64_t bytes, uint32_t crc);
void imgidx_put_self(struct buf *b, uint32_t self);

#endif
