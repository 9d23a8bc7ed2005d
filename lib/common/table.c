#include "common/table.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include "common/rec.h"

#include <string.h>
#include <strings.h>

enum { GAP = 2 };

struct table {
	const char *json_name;
	const struct table_col *cols;
	size_t ncols;
	size_t *sel;       /* indexes of the columns shown, in their order */
	size_t nsel;
	enum table_mode mode;
	bool noheadings;
	char **cells;      /* nsel of each row; NULL: no value */
	size_t nrows, cap;
};

/* ---- selection ---- */

static int unknown_column(const struct table *t, const char *name, size_t len, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	size_t i;

	err_set(e, EX_USAGE_, "no column '%.*s'", (int)len, name);
	for (i = 0; i < t->ncols; i++)
		buf_printf(&b, "%s%s", i ? "," : "", t->cols[i].name);
	err_hint(e, "columns: %s", buf_str(&b));
	return -1;
}

static bool selected(const struct table *t, size_t col)
{
	size_t i;

	for (i = 0; i < t->nsel; i++)
		if (t->sel[i] == col)
			return true;
	return false;
}

/* Adds the named columns; a second mention of one says nothing new. */
static int select_cols(struct table *t, const char *names, struct err *e)
{
	const char *p = names;

	while (!names && t->nsel < t->ncols) {
		t->sel[t->nsel] = t->nsel;
		t->nsel++;
	}
	while (names) {
		size_t len = strcspn(p, ","), i;

		for (i = 0; i < t->ncols; i++)
			if (strlen(t->cols[i].name) == len &&
			    strncasecmp(t->cols[i].name, p, len) == 0)
				break;
		if (i == t->ncols)
			return unknown_column(t, p, len, e);
		if (!selected(t, i))
			t->sel[t->nsel++] = i;
		if (!p[len])
			break;
		p += len + 1;
	}
	return 0;
}

int table_new(struct table **out, const char *json_name, const struct table_col *cols, size_t ncols,
	      const char *dflt, const char *select, enum table_mode mode, bool noheadings,
	      struct err *e)
{
	struct table *t = calloc(1, sizeof(*t));
	int rc = 0;

	*out = NULL;
	if (!t || !(t->sel = calloc(ncols, sizeof(*t->sel)))) {
		free(t);
		return err_set(e, EX_FAILED, "out of memory");
	}
	t->json_name = json_name;
	t->cols = cols;
	t->ncols = ncols;
	t->mode = mode;
	t->noheadings = noheadings;
	if (!select || *select == '+')
		rc = select_cols(t, dflt, e);
	if (rc == 0 && select)
		rc = select_cols(t, *select == '+' ? select + 1 : select, e);
	if (rc < 0) {
		table_free(t);
		return -1;
	}
	*out = t;
	return 0;
}

int table_row(struct table *t, const char *const *vals)
{
	char **row;
	size_t i;

	if (t->nrows == t->cap) {
		size_t cap = t->cap ? 2 * t->cap : 32;
		char **cells = realloc(t->cells, cap * t->nsel * sizeof(*cells));

		if (!cells)
			return -1;
		t->cells = cells;
		t->cap = cap;
	}
	row = t->cells + t->nrows * t->nsel;
	for (i = 0; i < t->nsel; i++) {
		const char *v = vals[t->sel[i]];

		row[i] = v ? strdup(v) : NULL;
		if (v && !row[i]) {
			while (i-- > 0)
				free(row[i]);
			return -1;
		}
	}
	t->nrows++;
	return 0;
}

void table_free(struct table *t)
{
	size_t i;

	if (!t)
		return;
	for (i = 0; i < t->nrows * t->nsel; i++)
		free(t->cells[i]);
	free(t->cells);
	free(t->sel);
	free(t);
}

/* ---- UTF-8 ---- */

/* Length of the valid character at s, 0 when there is none. */
static size_t utf8_len(const unsigned char *s)
{
	size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 :
		   s[0] < 0xf5 ? 4 : 0, i;

	for (i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	/* overlong forms, surrogates, beyond U+10FFFF */
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

/* ---- columns ---- */

/* Adds what a terminal may see of a value, one column wide a character. Returns the width. */
static size_t put_plain(struct buf *b, const char *val)
{
	const unsigned char *s = (const unsigned char *)val;
	size_t width = 0;

	if (!*s)
		return 0;
	for (; *s; width++) {
		size_t n = utf8_len(s);
		bool c1 = n == 2 && s[0] == 0xc2 && s[1] < 0xa0; /* control characters too */

		if (n == 0 || *s < 0x20 || *s == 0x7f || c1) {
			buf_addc(b, '?');
			s += n ? n : 1;
		} else {
			buf_add(b, s, n);
			s += n;
		}
	}
	return width;
}

/* An empty cell would move the fields that awk sees. */
static const char *shown(const char *val)
{
	return val && *val ? val : "-";
}

static void put_blanks(struct buf *b, size_t n)
{
	while (n--)
		buf_addc(b, ' ');
}

static void put_cell(struct buf *b, const struct table *t, size_t i, const char *val, size_t width)
{
	AUTO_BUF struct buf cell = BUF_INIT;
	size_t w = put_plain(&cell, val);
	bool right = t->cols[t->sel[i]].right, last = i + 1 == t->nsel;

	if (i)
		put_blanks(b, GAP);
	if (right)
		put_blanks(b, width - w);
	buf_add(b, buf_str(&cell), cell.len);
	if (!right && !last)
		put_blanks(b, width - w);
	if (last)
		buf_addc(b, '\n');
	b->failed |= cell.failed;
}

static int put_columns(struct buf *b, const struct table *t)
{
	AUTO_FREE size_t *width = calloc(t->nsel, sizeof(*width));
	AUTO_BUF struct buf cell = BUF_INIT;
	size_t i, r, w;

	if (!width)
		return -1;
	for (i = 0; i < t->nsel; i++) {
		if (!t->noheadings)
			width[i] = put_plain(&cell, t->cols[t->sel[i]].name);
		for (r = 0; r < t->nrows; r++) {
			buf_reset(&cell);
			w = put_plain(&cell, shown(t->cells[r * t->nsel + i]));
			if (w > width[i])
				width[i] = w;
		}
	}
	for (i = 0; i < t->nsel && !t->noheadings; i++)
		put_cell(b, t, i, t->cols[t->sel[i]].name, width[i]);
	for (r = 0; r < t->nrows; r++)
		for (i = 0; i < t->nsel; i++)
			put_cell(b, t, i, shown(t->cells[r * t->nsel + i]), width[i]);
	return 0;
}

/* ---- pairs ---- */

static void put_pairs(struct buf *b, const struct table *t)
{
	char key[64];
	size_t r, i, k;

	for (r = 0; r < t->nrows; r++) {
		for (i = 0; i < t->nsel; i++) {
			const char *name = t->cols[t->sel[i]].name, *v = t->cells[r * t->nsel + i];

			/* "CPU%" is no name for a shell variable */
			for (k = 0; name[k] && k + 1 < sizeof(key); k++) {
				char c = name[k];

				key[k] = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') :
					 (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ? c : '_';
			}
			key[k] = '\0';
			rec_put_str(b, key, v ? v : "");
		}
		rec_end(b);
	}
}

/* ---- JSON ---- */

static void put_json_str(struct buf *b, const char *val, bool lower)
{
	const unsigned char *s = (const unsigned char *)val;

	buf_addc(b, '"');
	while (*s) {
		size_t n = utf8_len(s);

		if (n == 0) {
			buf_adds(b, "\xef\xbf\xbd"); /* U+FFFD: JSON has no other bytes */
			s++;
		} else if (*s == '"' || *s == '\\') {
			buf_addc(b, '\\');
			buf_addc(b, (char)*s++);
		} else if (*s < 0x20 || *s == 0x7f) {
			buf_printf(b, "\\u%04x", *s++);
		} else if (lower && *s >= 'A' && *s <= 'Z') {
			buf_addc(b, (char)(*s++ - 'A' + 'a'));
		} else {
			buf_add(b, s, n);
			s += n;
		}
	}
	buf_addc(b, '"');
}

static size_t digits(const char *s)
{
	return strspn(s, "0123456789");
}

static bool json_number(const char *s)
{
	size_t n;

	if (*s == '-')
		s++;
	n = digits(s);
	if (n == 0 || (n > 1 && *s == '0'))
		return false;
	s += n;
	if (*s == '.') {
		n = digits(++s);
		if (n == 0)
			return false;
		s += n;
	}
	return !*s;
}

static void put_json(struct buf *b, const struct table *t)
{
	size_t r, i;

	buf_adds(b, "{\n  ");
	put_json_str(b, t->json_name, false);
	buf_adds(b, ": [");
	for (r = 0; r < t->nrows; r++) {
		buf_adds(b, r ? ",\n    {" : "\n    {");
		for (i = 0; i < t->nsel; i++) {
			const struct table_col *c = &t->cols[t->sel[i]];
			const char *v = t->cells[r * t->nsel + i];

			if (i)
				buf_adds(b, ", ");
			put_json_str(b, c->name, true);
			buf_adds(b, ": ");
			if (!v)
				buf_adds(b, "null");
			else if (c->number && json_number(v))
				buf_adds(b, v);
			else
				put_json_str(b, v, false);
		}
		buf_addc(b, '}');
	}
	buf_adds(b, t->nrows ? "\n  ]\n}\n" : "]\n}\n");
}

int table_print(struct table *t, int fd, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	const char *p;
	size_t n;

	switch (t->mode) {
	case TABLE_COLUMNS:
		if (put_columns(&b, t) < 0)
			return err_set(e, EX_FAILED, "out of memory");
		break;
	case TABLE_PAIRS:
		put_pairs(&b, t);
		break;
	case TABLE_JSON:
		put_json(&b, t);
		break;
	}
	if (buf_failed(&b))
		return err_set(e, EX_FAILED, "out of memory");
	for (p = buf_str(&b), n = b.len; n;) {
		ssize_t w = write(fd, p, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return err_sys(e, "list");
		p += w;
		n -= (size_t)w;
	}
	return 0;
}
