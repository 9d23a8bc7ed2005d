#include "image/imgsrc.h"

#include "common/cleanup.h"
#include "image/image.h"

#include <archive_entry.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

enum {
	BLOCK = 512,
	BUF_SIZE = 256 << 10,       /* stays in the second-level cache between pread and CRC */
	TWO_THREADS = 8 << 20,      /* from here on a second thread pays */
	WINDOW = 64 << 20,          /* the two go through a large member side by side, half a window each */
};

struct imgsrc {
	int fd;                  /* plain image, read in place; -1 when unpacking. Not owned */
	struct archive *unpack;  /* else: the raw format over the filters */
	int spool;               /* copy of what was unpacked, or -1 */
	char *buf;               /* of a plain image */
	const char *p;           /* bytes that were read and not yet handed out */
	size_t have;
	uint64_t size, pos;
	struct crc32c_run crc;
	uint64_t left;           /* data of the current member that is still to come */
	uint32_t data_crc;
	bool eof;
	struct err err;
};

/* ---- opening ---- */

static int spool_file(int dir, struct err *e)
{
	int fd = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	uint64_t r;
	char name[40];

	if (fd >= 0)
		return fd;
	if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT)
		return err_sys(e, "temporary file for the image");
	/* a file system without O_TMPFILE */
	if (getrandom(&r, sizeof(r), 0) != sizeof(r))
		return err_sys(e, "temporary file for the image");
	snprintf(name, sizeof(name), ".image-%016llx", (unsigned long long)r);
	fd = openat(dir, name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(e, "temporary file for the image");
	unlinkat(dir, name, 0);
	return fd;
}

/* A regular file that begins as a tar does, or is too short to tell. */
static bool is_plain(int fd, struct stat *st)
{
	char head[BLOCK];
	ssize_t n;

	if (fstat(fd, st) < 0 || !S_ISREG(st->st_mode))
		return false;
	n = pread(fd, head, sizeof(head), 0);
	return n >= 0 && (n < 6 || (n >= 262 && !memcmp(head + 257, "ustar", 5)));
}

static int unpack_failed(struct imgsrc *s)
{
	int sys = archive_errno(s->unpack);

	if (sys == ENOMEM || sys == EIO) {
		errno = sys;
		return err_sys(&s->err, "cannot read the image");
	}
	return err_set(&s->err, EX_BAD_IMAGE, "cannot be unpacked at byte %llu: %s", (unsigned long long)s->pos,
		       archive_error_string(s->unpack));
}

static int open_unpack(struct imgsrc *s, int fd, bool regular)
{
	struct archive_entry *en;
	struct archive *a = s->unpack = archive_read_new();
	int r;

	if (!a)
		return err_set(&s->err, EX_FAILED, "libarchive: out of memory");
	if (regular)
		lseek(fd, 0, SEEK_SET);
	archive_read_support_filter_gzip(a);
	archive_read_support_filter_zstd(a);
	archive_read_support_filter_xz(a);
	archive_read_support_filter_lz4(a);
	archive_read_support_format_raw(a);
	archive_read_support_format_empty(a);
	if (archive_read_open_fd(a, fd, BUF_SIZE) < ARCHIVE_WARN)
		return unpack_failed(s);
	r = archive_read_next_header(a, &en);
	if (r == ARCHIVE_EOF) {
		s->eof = true;
		return 0;
	}
	return r < ARCHIVE_WARN ? unpack_failed(s) : 0;
}

int imgsrc_open(struct imgsrc **out, int fd, int spool_dir, struct err *e)
{
	struct imgsrc *s = calloc(1, sizeof(*s));
	struct stat st = { 0 };

	*out = NULL;
	if (!s)
		return err_sys(e, "image");
	s->fd = s->spool = -1;
	s->size = UINT64_MAX;
	if (is_plain(fd, &st)) {
		s->fd = fd;
		s->size = (uint64_t)st.st_size;
		s->buf = malloc(BUF_SIZE);
		if (!s->buf)
			err_sys(&s->err, "image");
		posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	} else if (S_ISDIR(st.st_mode)) {
		err_set(&s->err, EX_BAD_IMAGE, "is a directory, not an image");
	} else if (spool_dir == IMGSRC_NO_SPOOL || (s->spool = spool_file(spool_dir, &s->err)) >= 0) {
		open_unpack(s, fd, S_ISREG(st.st_mode));
	}
	if (err_is_set(&s->err)) {
		if (e)
			*e = s->err;
		imgsrc_free(s);
		return -1;
	}
	*out = s;
	return 0;
}

void imgsrc_free(struct imgsrc *s)
{
	if (!s)
		return;
	archive_read_free(s->unpack);
	if (s->spool >= 0)
		close(s->spool);
	free(s->buf);
	free(s);
}

int imgsrc_take_fd(struct imgsrc *s, struct err *e)
{
	int fd = fcntl(s->fd >= 0 ? s->fd : s->spool, F_DUPFD_CLOEXEC, 3);

	return fd >= 0 ? fd : err_sys(e, "image");
}

/* ---- reading ---- */

static int spool(struct imgsrc *s)
{
	const char *p = s->p;
	size_t n = s->have;

	while (s->spool >= 0 && n) {
		ssize_t w = write(s->spool, p, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return err_sys(&s->err, "temporary copy of the image");
		p += w;
		n -= (size_t)w;
	}
	return 0;
}

static int fill_unpacked(struct imgsrc *s)
{
	const void *p;
	la_int64_t off;
	int r;

	do {
		r = archive_read_data_block(s->unpack, &p, &s->have, &off);
	} while (r == ARCHIVE_OK && !s->have);
	if (r == ARCHIVE_EOF) {
		s->eof = true;
		return 0;
	}
	if (r != ARCHIVE_OK) {
		s->have = 0;
		return unpack_failed(s);
	}
	s->p = p;
	return spool(s);
}

static ssize_t pread_some(int fd, void *p, size_t n, uint64_t off)
{
	ssize_t r;

	do {
		r = pread(fd, p, n, (off_t)off);
	} while (r < 0 && errno == EINTR);
	return r;
}

static int fill(struct imgsrc *s)
{
	ssize_t r;

	if (s->eof || err_is_set(&s->err))
		return 0;
	if (s->unpack)
		return fill_unpacked(s);
	r = pread_some(s->fd, s->buf, BUF_SIZE, s->pos);
	if (r < 0)
		return err_sys(&s->err, "cannot read the image");
	s->eof = r == 0;
	s->p = s->buf;
	s->have = (size_t)r;
	return 0;
}

/* n bytes were counted into the CRC: the data of a member may be complete. */
static void advance(struct imgsrc *s, uint64_t n)
{
	s->pos += n;
	if (!s->left)
		return;
	s->left -= n;
	if (!s->left)
		s->data_crc = crc32c_run_cut(&s->crc);
}

/* Takes up to `max` bytes of what is buffered, at most to the end of the member's data. */
static size_t take(struct imgsrc *s, uint64_t max, const void **p)
{
	size_t n = s->have;

	if (s->left && max > s->left)
		max = s->left;
	if (n > max)
		n = (size_t)max;
	*p = s->p;
	if (!n)
		return 0;
	crc32c_run_add(&s->crc, s->p, n);
	s->p += n;
	s->have -= n;
	advance(s, n);
	return n;
}

la_ssize_t imgsrc_next(struct imgsrc *s, const void **p)
{
	if (!s->have && fill(s) < 0)
		return -1;
	/* the blocks of headers lie at multiples of their size, the pieces that we read may not */
	return err_is_set(&s->err) ? -1 : (la_ssize_t)take(s, s->left ? s->left : BLOCK - s->pos % BLOCK, p);
}

la_ssize_t imgsrc_read(struct archive *a, void *src, const void **p)
{
	struct imgsrc *s = src;
	la_ssize_t n = imgsrc_next(s, p);

	if (n < 0)
		archive_set_error(a, s->err.sys, "%s", s->err.msg);
	return n;
}

/* ---- large members of a plain image: CRC without anybody looking at the bytes ---- */

struct range {
	int fd;
	uint64_t off, len; /* len: what was there, afterwards */
	uint32_t crc;
	int err;
};

static void *range_crc(void *arg)
{
	struct range *r = arg;
	uint64_t done = 0;
	char *buf = malloc(BUF_SIZE);

	if (!buf)
		r->err = ENOMEM;
	while (buf && done < r->len) {
		uint64_t rest = r->len - done;
		ssize_t n = pread_some(r->fd, buf, rest < BUF_SIZE ? (size_t)rest : BUF_SIZE, r->off + done);

		if (n < 0)
			r->err = errno;
		if (n <= 0)
			break;
		r->crc = crc32c(r->crc, buf, (size_t)n);
		done += (uint64_t)n;
	}
	free(buf);
	r->len = done;
	return NULL;
}

static int add_range(struct imgsrc *s, const struct range *r)
{
	if (r->err) {
		errno = r->err;
		return err_sys(&s->err, "cannot read the image");
	}
	crc32c_run_add_crc(&s->crc, r->crc, r->len);
	advance(s, r->len);
	return 0;
}

/* The next n bytes, n not beyond the member's data. Stops short at the end of the file. */
static int count_large(struct imgsrc *s, uint64_t n)
{
	struct range a = { .fd = s->fd, .off = s->pos, .len = n }, b = a;
	pthread_t t;
	bool two = n >= TWO_THREADS;

	if (two) {
		a.len = n / 2;
		b.off += a.len;
		b.len = n - a.len;
		two = pthread_create(&t, NULL, range_crc, &b) == 0;
		if (!two)
			a.len = n;
	}
	n = a.len;
	range_crc(&a);
	if (two)
		pthread_join(t, NULL);
	if (add_range(s, &a) < 0)
		return -1;
	return two && a.len == n ? add_range(s, &b) : 0;
}

la_int64_t imgsrc_skip(struct archive *a, void *src, la_int64_t n)
{
	struct imgsrc *s = src;
	la_int64_t done = 0;
	const void *p;

	while (done < n && !err_is_set(&s->err)) {
		uint64_t rest = (uint64_t)(n - done), at = s->pos;

		if (!s->have && s->fd >= 0 && s->left >= BUF_SIZE) {
			if (rest > s->left)
				rest = s->left;
			count_large(s, rest < WINDOW ? rest : WINDOW);
		} else {
			if (!s->have)
				fill(s);
			take(s, rest, &p);
		}
		if (s->pos == at)
			break;
		done += (la_int64_t)(s->pos - at);
	}
	if (!err_is_set(&s->err))
		return done;
	archive_set_error(a, s->err.sys, "%s", s->err.msg);
	return ARCHIVE_FATAL;
}

/* ---- state ---- */

uint64_t imgsrc_pos(const struct imgsrc *s)
{
	return s->pos;
}

bool imgsrc_at_eof(const struct imgsrc *s)
{
	return s->eof && !s->have;
}

uint64_t imgsrc_size(const struct imgsrc *s)
{
	return s->size;
}

const struct err *imgsrc_err(const struct imgsrc *s)
{
	return err_is_set(&s->err) ? &s->err : NULL;
}

uint32_t imgsrc_cut(struct imgsrc *s)
{
	return crc32c_run_cut(&s->crc);
}

uint32_t imgsrc_sum(const struct imgsrc *s)
{
	return s->crc.all;
}

void imgsrc_begin_data(struct imgsrc *s, uint64_t n)
{
	imgsrc_cut(s);
	s->left = n;
	s->data_crc = 0;
}

uint64_t imgsrc_data_left(const struct imgsrc *s)
{
	return s->left;
}

uint32_t imgsrc_data_crc(const struct imgsrc *s)
{
	return s->data_crc;
}
