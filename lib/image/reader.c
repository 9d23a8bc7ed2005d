/* reader: one pass over an image, in which every byte is counted into a checksum, every
 * name, size and count meets its limit, and nothing is believed that `end` does not confirm. */
#include "common/cleanup.h"
#include "common/rec.h"
#include "image/crc32c.h"
#include "image/image.h"
#include "image/imgidx.h"
#include "image/imgsrc.h"

#include <archive.h>
#include <archive_entry.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
	BLOCK = 512,
	TAR_END = 2 * BLOCK, /* zero bytes */
	HEAD_MEMBERS = 2,    /* description.txt and profile */
};
#define HEAD_MAX_TEXT ((uint64_t)1 << 20) /* each of them, for image_open_head */

struct image {
	int fd;
	struct imgidx idx;
};

struct pass { /* one pass over an image */
	struct imgsrc *src;
	struct archive *a;
	struct image *im;
	/* the member that was just read */
	struct imgidx_member cur;
	char name[IMAGE_MAX_NAME + 1];
	uint64_t start;     /* of its header */
	uint32_t before;    /* CRC of all before that */
	uint32_t header;    /* CRC of its header */
};

/* ---- errors ---- */

static int truncated(struct pass *p, const char *missing, struct err *e)
{
	return err_set(e, EX_BAD_IMAGE, "truncated: it ends at byte %" PRIu64 ", its %s is missing",
		       imgsrc_pos(p->src), missing);
}

/* libarchive did not go on: because the bytes failed, or ran out, or are wrong. */
static int bad(struct pass *p, struct err *e)
{
	const struct err *io = imgsrc_err(p->src);
	const char *why = archive_error_string(p->a);

	if (io) {
		if (e)
			*e = *io;
		return -1;
	}
	if (archive_errno(p->a) == ENOMEM)
		return err_set(e, EX_FAILED, "out of memory");
	if (imgsrc_at_eof(p->src))
		return truncated(p, "`end` member", e);
	if (!p->im->idx.n)
		return err_set(e, EX_BAD_IMAGE, "is not a checkpoint image, or damaged in its first bytes");
	return err_set(e, EX_BAD_IMAGE, "damaged near byte %" PRIu64 ": %s", imgsrc_pos(p->src), why ? why : "not a tar header");
}

/* ---- one member ---- */

static int check_entry(struct archive_entry *en, struct err *e)
{
	const char *name = archive_entry_pathname(en);

	if (!name || !imgidx_name_ok(name))
		return err_set(e, EX_BAD_IMAGE, "member name '%.64s' is not allowed", name ? name : "");
	if (archive_entry_filetype(en) != AE_IFREG || archive_entry_hardlink(en) || archive_entry_symlink(en))
		return err_set(e, EX_BAD_IMAGE, "member %s is not a plain file", name);
	if (archive_entry_sparse_count(en) > 0)
		return err_set(e, EX_BAD_IMAGE, "member %s is a sparse file", name);
	if (!archive_entry_size_is_set(en) || archive_entry_size(en) < 0)
		return err_set(e, EX_BAD_IMAGE, "member %s has no size", name);
	if (archive_entry_perm(en) != IMGIDX_MODE_TEXT && archive_entry_perm(en) != IMGIDX_MODE_RAW)
		return err_set(e, EX_BAD_IMAGE, "member %s has mode %04o, neither %04o (text) nor %04o (raw)", name,
			       (unsigned)archive_entry_perm(en), IMGIDX_MODE_TEXT, IMGIDX_MODE_RAW);
	return 0;
}

/* 1: p->cur is filled, up to its data; 0: the tar ends here. */
static int next_member(struct pass *p, struct err *e)
{
	struct archive_entry *en;
	uint64_t size = imgsrc_size(p->src);
	int r;

	imgsrc_cut(p->src);
	p->start = imgsrc_pos(p->src);
	p->before = imgsrc_sum(p->src);
	r = archive_read_next_header(p->a, &en);
	if (r == ARCHIVE_EOF && !imgsrc_err(p->src))
		return 0;
	if (r != ARCHIVE_OK)
		return bad(p, e);
	if (check_entry(en, e) < 0)
		return -1;
	memset(&p->cur, 0, sizeof(p->cur));
	strcpy(p->name, archive_entry_pathname(en));
	p->cur.raw = archive_entry_perm(en) == IMGIDX_MODE_RAW;
	p->cur.m.name = p->name;
	p->cur.m.size = (uint64_t)archive_entry_size(en);
	p->cur.m.offset = imgsrc_pos(p->src);
	/* offsets are only right while libarchive does not read ahead: see imgsrc.h */
	if ((uint64_t)archive_filter_bytes(p->a, 0) != p->cur.m.offset)
		return err_set(e, EX_FAILED, "this libarchive reads ahead of what it uses");
	if (p->cur.raw && p->cur.m.offset % IMAGE_ALIGN)
		return err_set(e, EX_BAD_IMAGE, "member %s: its data at byte %" PRIu64 " is not aligned", p->name, p->cur.m.offset);
	if (size != UINT64_MAX && p->cur.m.size <= IMAGE_MAX_RAW && p->cur.m.offset + p->cur.m.size > size)
		return err_set(e, EX_BAD_IMAGE, "truncated: it ends at byte %" PRIu64 ", its `end` member is missing", size);
	p->header = imgsrc_cut(p->src);
	return 1;
}

/* Text of the current member, NUL-terminated. NULL with e filled. */
static char *read_text(struct pass *p, struct err *e)
{
	size_t n = (size_t)p->cur.m.size, done = 0;
	char *text = malloc(n + 1);

	if (!text) {
		err_sys(e, "member %s", p->name);
		return NULL;
	}
	while (done < n) {
		la_ssize_t r = archive_read_data(p->a, text + done, n - done);

		if (r <= 0) {
			bad(p, e);
			free(text);
			return NULL;
		}
		done += (size_t)r;
	}
	text[n] = 0;
	if (memchr(text, 0, n)) {
		err_set(e, EX_BAD_IMAGE, "member %s is damaged: a NUL byte in text", p->name);
		free(text);
		return NULL;
	}
	return text;
}

/* The data of the current member, text or raw, into the list of members. */
static int read_member(struct pass *p, struct err *e)
{
	struct imgidx_member *m = imgidx_add(&p->im->idx, p->name, p->cur.m.size, p->cur.raw, EX_BAD_IMAGE, e);

	if (!m)
		return -1;
	m->m.offset = p->cur.m.offset;
	imgsrc_begin_data(p->src, m->m.size);
	if (!m->raw) {
		m->m.text = read_text(p, e);
		if (!m->m.text)
			return -1;
	}
	if (archive_read_data_skip(p->a) != ARCHIVE_OK || imgsrc_data_left(p->src))
		return bad(p, e);
	m->crc = imgsrc_data_crc(p->src);
	return 0;
}

/* ---- description.txt ---- */

static int check_format(const char *text, struct err *e)
{
	AUTO_FREE char *copy = strdup(text);
	struct rec_reader r;
	struct rec rec;
	int got;

	if (!copy)
		return err_sys(e, IMGIDX_FIRST);
	rec_reader_init(&r, copy, strlen(copy));
	while ((got = rec_next(&r, &rec, e)) > 0) {
		const char *format = rec_find(&rec, "FORMAT");

		if (!format)
			continue;
		if (strspn(format, "0123456789") != strlen(format) || !*format || strlen(format) > 9)
			return err_set(e, EX_BAD_IMAGE, IMGIDX_FIRST ": FORMAT is not a number");
		if (atoi(format) != IMAGE_FORMAT)
			return err_set(e, EX_BAD_IMAGE, "image format %d is not known to this version (it reads %d)",
				       atoi(format), IMAGE_FORMAT);
		return 0;
	}
	if (got < 0)
		return err_prefix(e, IMGIDX_FIRST);
	return err_set(e, EX_BAD_IMAGE, IMGIDX_FIRST " names no FORMAT");
}

static int check_first(struct pass *p, struct err *e)
{
	const struct imgidx_member *m = &p->im->idx.v[0];

	if (p->im->idx.n != 1)
		return 0;
	if (strcmp(m->m.name, IMGIDX_FIRST) || m->raw)
		return err_set(e, EX_BAD_IMAGE, "is not a checkpoint image: its first member is not " IMGIDX_FIRST);
	return check_format(m->m.text, e);
}

/* ---- end ---- */

/* One line of `end` that is not what this reader saw: says which member and how. */
static int differs(struct pass *p, const char *line, const char *end, const struct imgidx_member *m, struct err *e)
{
	AUTO_BUF struct buf copy = BUF_INIT;
	struct rec_reader r;
	struct rec rec;
	uint64_t crc, size;
	const char *name;

	buf_add(&copy, line, (size_t)(end - line));
	if (buf_failed(&copy))
		return err_set(e, EX_FAILED, "out of memory");
	rec_reader_init(&r, copy.p, copy.len);
	if (!m || rec_next(&r, &rec, NULL) != 1 || strcmp(rec_type(&rec), "member") || rec_str(&rec, "NAME", &name, NULL) < 0 ||
	    strcmp(name, m->m.name) || rec_u64(&rec, "SIZE", UINT64_MAX, &size, NULL) < 0 || size != m->m.size ||
	    rec_u64(&rec, "CRC", UINT32_MAX, &crc, NULL) < 0)
		return err_set(e, EX_BAD_IMAGE, "its `end` member does not list what is there (line of %s)",
			       m ? m->m.name : IMGIDX_LAST);
	if (crc != m->crc)
		return err_set(e, EX_BAD_IMAGE, "member %s is damaged: its checksum is 0x%08" PRIx32 ", not 0x%08" PRIx64,
			       m->m.name, m->crc, crc);
	return err_set(e, EX_BAD_IMAGE, "member %s is not where `end` says", m->m.name);
}

/* The text of `end` must be, byte for byte, what a writer of these members makes. */
static int check_end(struct pass *p, const char *text, size_t len, struct err *e)
{
	const struct imgidx *x = &p->im->idx;
	const char *at = text, *end = text + len - IMGIDX_SELF_LEN;
	AUTO_BUF struct buf b = BUF_INIT;

	if (len < IMGIDX_SELF_LEN)
		return err_set(e, EX_BAD_IMAGE, "its `end` member is damaged");
	imgidx_put_self(&b, crc32c(p->header, text, (size_t)(end - text)));
	if (buf_failed(&b))
		return err_set(e, EX_FAILED, "out of memory");
	if (memcmp(end, b.p, IMGIDX_SELF_LEN))
		return err_set(e, EX_BAD_IMAGE, "its `end` member is damaged");
	for (size_t i = 0; i <= x->n; i++) {
		const struct imgidx_member *m = i < x->n ? &x->v[i] : NULL;

		buf_reset(&b);
		if (m)
			imgidx_put_member(&b, m);
		else
			imgidx_put_end(&b, x->n, p->start, p->before);
		if (buf_failed(&b))
			return err_set(e, EX_FAILED, "out of memory");
		if ((size_t)(end - at) >= b.len && !memcmp(at, b.p, b.len)) {
			at += b.len;
			continue;
		}
		if (m)
			return differs(p, at, end, m, e);
		return err_set(e, EX_BAD_IMAGE, "damaged between its members, or `end` lists more of them than there are");
	}
	return at == end ? 0 : differs(p, at, end, NULL, e);
}

/* Behind the data of `end`: zero bytes up to the length that a tar has, and nothing more. */
static int check_tail(struct pass *p, struct err *e)
{
	uint64_t want = (BLOCK - imgsrc_pos(p->src) % BLOCK) % BLOCK + TAR_END, got = 0;
	const void *data;
	la_ssize_t n;

	while ((n = imgsrc_next(p->src, &data)) > 0) {
		const char *c = data;

		for (la_ssize_t i = 0; i < n; i++, got++)
			if (c[i] || got >= want)
				return err_set(e, EX_BAD_IMAGE, "damaged: something follows its end at byte %" PRIu64,
					       imgsrc_pos(p->src) - (uint64_t)(n - i));
	}
	if (n < 0) {
		if (e)
			*e = *imgsrc_err(p->src);
		return -1;
	}
	return got < want ? truncated(p, "last zero bytes", e) : 0;
}

static int read_end(struct pass *p, struct err *e)
{
	AUTO_FREE char *text = NULL;

	if (p->cur.raw || p->cur.m.size > IMAGE_MAX_TEXT)
		return err_set(e, EX_BAD_IMAGE, "its `end` member is damaged");
	imgsrc_begin_data(p->src, p->cur.m.size);
	text = read_text(p, e);
	if (!text || check_end(p, text, (size_t)p->cur.m.size, e) < 0)
		return -1;
	if (check_tail(p, e) < 0)
		return -1;
	return imgidx_sort(&p->im->idx, EX_BAD_IMAGE, e);
}

/* ---- passes ---- */

static int read_all(struct pass *p, struct err *e)
{
	int r;

	while ((r = next_member(p, e)) > 0) {
		if (!strcmp(p->name, IMGIDX_LAST) && p->im->idx.n)
			return read_end(p, e);
		if (read_member(p, e) < 0 || check_first(p, e) < 0)
			return -1;
	}
	return r < 0 ? -1 : truncated(p, "`end` member", e);
}

static int read_head(struct pass *p, struct err *e)
{
	int r;

	while (p->im->idx.n < HEAD_MEMBERS && (r = next_member(p, e)) != 0) {
		if (r < 0)
			return -1;
		if (p->im->idx.n && strcmp(p->name, IMGIDX_SECOND))
			break;
		if (p->cur.raw || p->cur.m.size > HEAD_MAX_TEXT)
			return err_set(e, EX_BAD_IMAGE, "member %s is too large", p->name);
		if (read_member(p, e) < 0 || check_first(p, e) < 0)
			return -1;
	}
	if (!p->im->idx.n)
		return truncated(p, "`end` member", e);
	return imgidx_sort(&p->im->idx, EX_BAD_IMAGE, e);
}

static int open_by(struct image **out, int fd, int spool_dir, int (*read)(struct pass *, struct err *), struct err *e)
{
	struct pass p = { .im = calloc(1, sizeof(*p.im)) };
	int r = -1;

	*out = NULL;
	if (!p.im)
		return err_sys(e, "image");
	p.im->fd = -1;
	if (imgsrc_open(&p.src, fd, spool_dir, e) < 0)
		goto out;
	p.a = archive_read_new();
	if (!p.a) {
		err_set(e, EX_FAILED, "libarchive: out of memory");
		goto out;
	}
	archive_read_support_format_tar(p.a);
	archive_read_set_read_callback(p.a, imgsrc_read);
	archive_read_set_skip_callback(p.a, imgsrc_skip);
	archive_read_set_callback_data(p.a, p.src);
	r = archive_read_open1(p.a) == ARCHIVE_OK ? read(&p, e) : bad(&p, e);
	/* a head without a spool has no descriptor: there is nothing in it to pread */
	if (r == 0 && read == read_all)
		r = p.im->fd = imgsrc_take_fd(p.src, e);
out:
	archive_read_free(p.a);
	imgsrc_free(p.src);
	if (r < 0) {
		image_free(p.im);
		return -1;
	}
	*out = p.im;
	return 0;
}

int image_open(struct image **im, int fd, int spool_dir, struct err *e)
{
	return open_by(im, fd, spool_dir, read_all, e);
}

int image_open_head(struct image **im, int fd, struct err *e)
{
	return open_by(im, fd, IMGSRC_NO_SPOOL, read_head, e);
}

void image_free(struct image *im)
{
	if (!im)
		return;
	if (im->fd >= 0)
		close(im->fd);
	imgidx_free(&im->idx);
	free(im);
}

int image_fd(const struct image *im)
{
	return im->fd;
}

size_t image_count(const struct image *im)
{
	return im->idx.n;
}

const struct image_member *image_at(const struct image *im, size_t i)
{
	return i < im->idx.n ? &im->idx.v[i].m : NULL;
}

const struct image_member *image_find(const struct image *im, const char *name)
{
	const struct imgidx_member *m = imgidx_find(&im->idx, name);

	return m ? &m->m : NULL;
}
