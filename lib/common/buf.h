/* buf: a growing byte buffer. Out of memory is sticky: later additions are
 * ignored and buf_failed() tells; so callers check once, at the end. */
#ifndef XOS_BUF_H
#define XOS_BUF_H

#include <stdbool.h>
#include <stddef.h>

struct buf {
	char *p;     /* NUL-terminated after every successful addition; may be NULL when empty */
	size_t len;  /* bytes, without the NUL */
	size_t cap;
	bool failed;
};
#define BUF_INIT { 0 }

void buf_add(struct buf *b, const void *p, size_t n);
void buf_adds(struct buf *b, const char *s);
void buf_addc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Room for n more bytes: where to write them, or NULL (out of memory). buf_commit()
 * then adds what was written. For encoders that would pay for one call a byte. */
char *buf_reserve(struct buf *b, size_t n);
void buf_commit(struct buf *b, size_t n);
void buf_reset(struct buf *b);  /* len = 0, memory kept */
void buf_free(struct buf *b);
bool buf_failed(const struct buf *b);
const char *buf_str(const struct buf *b); /* never NULL */
/* Reads all of fd (up to limit bytes) behind what is there. 0, or -1 with errno
 * (EFBIG over the limit, ENOMEM). */
int buf_read_fd(struct buf *b, int fd, size_t limit);
/* The same for a file below a directory descriptor (AT_FDCWD: any path). */
int buf_read_file(struct buf *b, int dirfd, const char *path, size_t limit);
static inline void cleanup_buf(struct buf *b) { buf_free(b); }
#define AUTO_BUF __attribute__((cleanup(cleanup_buf)))

#endif
