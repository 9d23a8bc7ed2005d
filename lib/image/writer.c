/* writer: libarchive makes headers and padding; the data of raw members passes through it
 * in place, in the output buffer. No blocking, so that what it is given comes out at once. */
#include "image/crc32c.h"
#include "image/image.h"
#include "image/imgidx.h"
#include "image/imgout.h"

#include <archive.h>
#include <archive_entry.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	BLOCK = 512,
};

struct image_writer {
	struct archive *a;
	struct imgout *out;
	struct imgidx idx;     /* members so far */
	struct crc32c_run crc;
	struct err err;        /* the first failure: later calls repeat it */
	time_t now;
	uint64_t left;         /* of the raw member that is open */
	bool in_raw, finished;
	bool closing;          /* libarchive is to write no more */
};

/* ---- failures ---- */

/* w->err to the caller */
static int broken(struct image_writer *w, struct err *e)
{
	if (e)
		*e = w->err;
	return -1;
}

static int ready(struct image_writer *w, bool in_raw, const char *what, struct err *e)
{
	if (err_is_set(&w->err))
		return broken(w, e);
	if (w->in_raw != in_raw || w->finished) {
		err_set(&w->err, EX_FAILED, "image: %s: %s", what,
			w->finished ? "after its end" : in_raw ? "no raw member is open" : "a raw member is open");
		return broken(w, e);
	}
	return 0;
}

/* ---- bytes ---- */

static int put(struct image_writer *w, const void *p, size_t n)
{
	crc32c_run_add(&w->crc, p, n);
	return imgout_put(w->out, p, n, &w->err);
}

/* A failure is not told to libarchive, which would not free all of its memory then: it is in
 * w->err, and looked for behind every call. */
static la_ssize_t on_write(struct archive *a, void *data, const void *p, size_t n)
{
	struct image_writer *w = data;

	if (w->closing)
		return -1;
	if (!err_is_set(&w->err))
		put(w, p, n);
	return (la_ssize_t)n;
}

/* libarchive's result together with ours: 0 or -1 with w->err. */
static int result(struct image_writer *w, struct archive *a, int r)
{
	if (err_is_set(&w->err))
		return -1;
	return r == ARCHIVE_OK ? 0 : err_set(&w->err, EX_FAILED, "image: %s", archive_error_string(a));
}

static int data(struct image_writer *w, const void *p, size_t n)
{
	const char *from = p;

	while (n) {
		la_ssize_t r = archive_write_data(w->a, from, n);

		if (result(w, w->a, r > 0 ? ARCHIVE_OK : ARCHIVE_FATAL) < 0)
			return -1;
		from += r;
		n -= (size_t)r;
	}
	return 0;
}

/* ---- headers ---- */

static struct archive *new_archive(struct image_writer *w, archive_write_callback *cb, void *cb_data)
{
	struct archive *a = archive_write_new();

	if (a && archive_write_set_format_pax_restricted(a) == ARCHIVE_OK &&
	    archive_write_set_bytes_per_block(a, 0) == ARCHIVE_OK &&
	    archive_write_set_bytes_in_last_block(a, 1) == ARCHIVE_OK &&
	    archive_write_open(a, cb_data, NULL, cb, NULL) == ARCHIVE_OK)
		return a;
	if (a) {
		err_set(&w->err, EX_FAILED, "libarchive: %s", archive_error_string(a));
		archive_write_free(a);
	} else {
		err_set(&w->err, EX_FAILED, "libarchive: out of memory");
	}
	return NULL;
}

static int header(struct image_writer *w, struct archive *a, const char *name, uint64_t size, bool raw)
{
	struct archive_entry *en = archive_entry_new();
	int r;

	if (!en)
		return err_set(&w->err, EX_FAILED, "libarchive: out of memory");
	archive_entry_set_pathname(en, name);
	archive_entry_set_filetype(en, AE_IFREG);
	archive_entry_set_perm(en, raw ? IMGIDX_MODE_RAW : IMGIDX_MODE_TEXT);
	archive_entry_set_size(en, (la_int64_t)size);
	archive_entry_set_mtime(en, w->now, 0);
	r = archive_write_header(a, en);
	archive_entry_free(en);
	return result(w, a, r);
}

struct measure {
	uint64_t bytes;
	bool closing;
};

static la_ssize_t on_measure(struct archive *a, void *data_, const void *p, size_t n)
{
	struct measure *m = data_;

	m->bytes += n;
	return m->closing ? -1 : (la_ssize_t)n;
}

/* Bytes that libarchive is going to write before the data of this member. */
static int header_size(struct image_writer *w, const char *name, uint64_t size, uint64_t *out)
{
	struct measure m = { 0 };
	struct archive *a;
	int r;

	*out = BLOCK;
	if (strlen(name) < 100 && size < UINT64_C(1) << 33)
		return 0; /* fits a plain ustar header */
	a = new_archive(w, on_measure, &m);
	if (!a)
		return -1;
	r = header(w, a, name, size, true);
	*out = m.bytes;
	m.closing = true;
	archive_write_free(a);
	return r;
}

/* A pax global header of `size` bytes with nothing but a comment: what git-archive puts in
 * front of its tars, and every reader skips. libarchive has no call for it. */
static int put_filler(struct image_writer *w, size_t size)
{
	char h[BLOCK] = "pax_global_header", text[IMAGE_ALIGN + BLOCK];
	size_t body = size - BLOCK;
	unsigned sum = 0;

	snprintf(h + 100, 8, "%07o", 0600);
	snprintf(h + 108, 8, "%07o", 0);
	snprintf(h + 116, 8, "%07o", 0);
	snprintf(h + 124, 12, "%011zo", body);
	snprintf(h + 136, 12, "%011" PRIo64, (uint64_t)w->now & 077777777777);
	memset(h + 148, ' ', 8);
	h[156] = 'g';
	memcpy(h + 257, "ustar\00000", 8);
	for (size_t i = 0; i < BLOCK; i++)
		sum += (unsigned char)h[i];
	snprintf(h + 148, 7, "%06o", sum);
	memset(text, ' ', body);
	text[snprintf(text, sizeof(text), "%zu comment=", body)] = ' ';
	text[body - 1] = '\n';
	if (put(w, h, sizeof(h)) < 0)
		return -1;
	return put(w, text, body);
}

/* Moves on so that the data of the next member begins aligned. */
static int align(struct image_writer *w, const char *name, uint64_t size)
{
	uint64_t head, gap;

	if (header_size(w, name, size, &head) < 0)
		return -1;
	gap = -(imgout_pos(w->out) + head) % IMAGE_ALIGN;
	if (gap == BLOCK)
		gap += IMAGE_ALIGN; /* a global header has two blocks or more */
	return gap ? put_filler(w, gap) : 0;
}

/* Everything up to the data of a member. */
static struct imgidx_member *begin(struct image_writer *w, const char *name, uint64_t size, bool raw)
{
	struct imgidx_member *m;

	if ((w->idx.n == 0) != !strcmp(name, IMGIDX_FIRST) || !strcmp(name, IMGIDX_LAST)) {
		err_set(&w->err, EX_FAILED, "image: member %s stands in the wrong place", name);
		return NULL;
	}
	m = imgidx_add(&w->idx, name, size, raw, EX_FAILED, &w->err);
	if (!m)
		return NULL;
	if ((raw && align(w, name, size) < 0) || header(w, w->a, name, size, raw) < 0)
		return NULL;
	m->m.offset = imgout_pos(w->out);
	if (raw && m->m.offset % IMAGE_ALIGN) {
		err_set(&w->err, EX_FAILED, "image: data of %s at %" PRIu64 ", which is not aligned", name, m->m.offset);
		return NULL;
	}
	crc32c_run_cut(&w->crc);
	return m;
}

/* Behind the data of the last member. */
static int end(struct image_writer *w)
{
	w->idx.v[w->idx.n - 1].crc = crc32c_run_cut(&w->crc);
	return result(w, w->a, archive_write_finish_entry(w->a));
}

/* ---- public ---- */

int image_writer_new(struct image_writer **out, int fd, struct err *e)
{
	struct image_writer *w = calloc(1, sizeof(*w));

	*out = NULL;
	if (!w)
		return err_sys(e, "image");
	w->now = time(NULL);
	if (imgout_new(&w->out, fd, e) < 0) {
		image_writer_free(w);
		return -1;
	}
	w->a = new_archive(w, on_write, w);
	if (!w->a) {
		broken(w, e);
		image_writer_free(w);
		return -1;
	}
	*out = w;
	return 0;
}

int image_put_text(struct image_writer *w, const char *name, const struct buf *text, struct err *e)
{
	if (ready(w, false, name, e) < 0)
		return -1;
	if (text->failed) {
		err_set(&w->err, EX_FAILED, "member %s: out of memory", name);
		return broken(w, e);
	}
	if (text->len && memchr(text->p, 0, text->len)) {
		err_set(&w->err, EX_FAILED, "member %s: a NUL byte in text", name);
		return broken(w, e);
	}
	if (!begin(w, name, text->len, false) || data(w, text->p, text->len) < 0 || end(w) < 0)
		return broken(w, e);
	return 0;
}

int image_raw_begin(struct image_writer *w, const char *name, uint64_t size, struct err *e)
{
	if (ready(w, false, name, e) < 0)
		return -1;
	if (!begin(w, name, size, true))
		return broken(w, e);
	w->in_raw = true;
	w->left = size;
	return 0;
}

static int too_much(struct image_writer *w, struct err *e)
{
	err_set(&w->err, EX_FAILED, "member %s: more than the %" PRIu64 " bytes that were announced",
		w->idx.v[w->idx.n - 1].m.name, w->idx.v[w->idx.n - 1].m.size);
	return broken(w, e);
}

void *image_raw_reserve(struct image_writer *w, size_t *n, struct err *e)
{
	void *p;

	if (ready(w, true, "reserve", e) < 0)
		return NULL;
	if (!w->left) {
		too_much(w, e);
		return NULL;
	}
	p = imgout_room(w->out, n, &w->err);
	if (!p) {
		broken(w, e);
		return NULL;
	}
	if (*n > w->left)
		*n = (size_t)w->left;
	return p;
}

int image_raw_commit(struct image_writer *w, size_t n, struct err *e)
{
	size_t room;
	void *p = image_raw_reserve(w, &room, e); /* the same place again: it is not full */

	if (!p)
		return -1;
	if (n > room)
		return too_much(w, e);
	w->left -= n;
	return data(w, p, n) < 0 ? broken(w, e) : 0;
}

int image_raw_write(struct image_writer *w, const void *p, size_t n, struct err *e)
{
	const char *from = p;

	while (n) {
		size_t room;
		char *to = image_raw_reserve(w, &room, e);

		if (!to)
			return -1;
		if (room > n)
			room = n;
		memcpy(to, from, room);
		if (image_raw_commit(w, room, e) < 0)
			return -1;
		from += room;
		n -= room;
	}
	return 0;
}

int image_raw_end(struct image_writer *w, struct err *e)
{
	if (ready(w, true, "end of a raw member", e) < 0)
		return -1;
	if (w->left) {
		const struct image_member *m = &w->idx.v[w->idx.n - 1].m;

		err_set(&w->err, EX_FAILED, "member %s: %" PRIu64 " of %" PRIu64 " bytes are missing", m->name, w->left, m->size);
		return broken(w, e);
	}
	w->in_raw = false;
	return end(w) < 0 ? broken(w, e) : 0;
}

/* The `end` member. Its own header and text are covered by SELF. */
static int put_end(struct image_writer *w)
{
	AUTO_BUF struct buf text = BUF_INIT;
	uint32_t before;

	for (size_t i = 0; i < w->idx.n; i++)
		imgidx_put_member(&text, &w->idx.v[i]);
	crc32c_run_cut(&w->crc);
	before = w->crc.all;
	imgidx_put_end(&text, w->idx.n, imgout_pos(w->out), before);
	if (buf_failed(&text))
		return err_set(&w->err, EX_FAILED, "image: out of memory");
	if (text.len + IMGIDX_SELF_LEN > IMAGE_MAX_TEXT)
		return err_set(&w->err, EX_FAILED, "image: %zu members are too many", w->idx.n);
	if (header(w, w->a, IMGIDX_LAST, text.len + IMGIDX_SELF_LEN, false) < 0)
		return -1;
	imgidx_put_self(&text, crc32c(w->crc.part, text.p, text.len));
	if (buf_failed(&text))
		return err_set(&w->err, EX_FAILED, "image: out of memory");
	if (data(w, text.p, text.len) < 0)
		return -1;
	return result(w, w->a, archive_write_close(w->a));
}

int image_finish(struct image_writer *w, struct err *e)
{
	if (ready(w, false, "end", e) < 0)
		return -1;
	if (!w->idx.n) {
		err_set(&w->err, EX_FAILED, "image: it has no members");
		return broken(w, e);
	}
	if (imgidx_sort(&w->idx, EX_FAILED, &w->err) < 0 || put_end(w) < 0)
		return broken(w, e);
	w->finished = true;
	return imgout_finish(w->out, &w->err) < 0 ? broken(w, e) : 0;
}

uint64_t image_written(const struct image_writer *w)
{
	return imgout_pos(w->out);
}

void image_writer_free(struct image_writer *w)
{
	if (!w)
		return;
	/* freeing an archive in the middle of a member would write all the zeros that it lacks */
	w->closing = true;
	archive_write_free(w->a);
	imgout_free(w->out);
	imgidx_free(&w->idx);
	free(w);
}
