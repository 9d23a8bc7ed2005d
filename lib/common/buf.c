#include "common/buf.h"
#include "common/cleanup.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

char *buf_reserve(struct buf *b, size_t n)
{
	size_t cap;
	char *p;

	if (b->failed)
		return NULL;
	if (n < b->cap - b->len && b->p)
		return b->p + b->len;
	if (n >= SIZE_MAX / 4 || b->len >= SIZE_MAX / 4) {
		b->failed = true;
		return NULL;
	}
	cap = b->cap ? b->cap : 256;
	while (cap <= b->len + n)
		cap *= 2;
	p = realloc(b->p, cap);
	if (!p) {
		b->failed = true;
		return NULL;
	}
	b->p = p;
	b->cap = cap;
	return p + b->len;
}

void buf_commit(struct buf *b, size_t n)
{
	b->len += n;
	b->p[b->len] = '\0';
}

void buf_add(struct buf *b, const void *p, size_t n)
{
	char *to = buf_reserve(b, n);

	if (!to)
		return;
	if (n)
		memcpy(to, p, n);
	buf_commit(b, n);
}

void buf_adds(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_addc(struct buf *b, char c)
{
	char *to = buf_reserve(b, 1);

	if (!to)
		return;
	*to = c;
	buf_commit(b, 1);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	char *to = buf_reserve(b, 64);
	va_list ap;
	size_t room;
	int n;

	if (!to)
		return;
	room = b->cap - b->len;
	va_start(ap, fmt);
	n = vsnprintf(to, room, fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n >= room) {
		*to = '\0';
		to = buf_reserve(b, (size_t)n);
		if (!to)
			return;
		va_start(ap, fmt);
		n = vsnprintf(to, (size_t)n + 1, fmt, ap);
		va_end(ap);
	}
	if (n < 0) {
		b->failed = true;
		return;
	}
	b->len += (size_t)n;
}

void buf_reset(struct buf *b)
{
	b->len = 0;
	b->failed = false;
	if (b->p)
		b->p[0] = '\0';
}

void buf_free(struct buf *b)
{
	free(b->p);
	*b = (struct buf)BUF_INIT;
}

bool buf_failed(const struct buf *b)
{
	return b->failed;
}

const char *buf_str(const struct buf *b)
{
	return b->p ? b->p : "";
}

int buf_read_fd(struct buf *b, int fd, size_t limit)
{
	size_t got = 0;

	for (;;) {
		/* Files of /proc have no size: start with what the buffer has, grow
		 * by doubling. One byte over the limit tells "too big" from "fits". */
		size_t room = b->p && b->cap - b->len > 4096 ? b->cap - b->len - 1 : 16384;
		char *to;
		ssize_t n;

		if (room > limit - got)
			room = limit - got < SIZE_MAX ? limit - got + 1 : limit - got;
		to = buf_reserve(b, room);
		if (!to) {
			errno = ENOMEM;
			return -1;
		}
		n = read(fd, to, room);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			*to = '\0';
			return -1;
		}
		buf_commit(b, (size_t)n);
		got += (size_t)n;
		if (n == 0)
			return 0;
		if (got > limit) {
			errno = EFBIG;
			return -1;
		}
	}
}

int buf_read_file(struct buf *b, int dirfd, const char *path, size_t limit)
{
	AUTO_FD int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
		if ((uint64_t)st.st_size > limit) {
			errno = EFBIG;
			return -1;
		}
		if (!buf_reserve(b, (size_t)st.st_size + 1)) {
			errno = ENOMEM;
			return -1;
		}
	}
	return buf_read_fd(b, fd, limit);
}
