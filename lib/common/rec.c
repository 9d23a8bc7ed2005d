#include "common/rec.h"
#include "common/num.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* ---- writing ---- */

enum { CLEAN = 0, QUOTE, OCTAL };

/* How a byte stands inside the quotes. The reader asks the same table. */
static const unsigned char kind[256] = {
	[0 ... 0x1f] = OCTAL, [0x7f] = OCTAL,
	['"'] = QUOTE, ['$'] = QUOTE, ['`'] = QUOTE, ['\\'] = QUOTE,
};
static const char hexdigits[] = "0123456789abcdef";

/* ` KEY="` or, at the beginning of a line, `KEY="` */
static void put_key(struct buf *b, const char *key)
{
	size_t n = strlen(key);
	char *p = buf_reserve(b, n + 3), *q = p;

	if (!p)
		return;
	if (b->len && p[-1] != '\n')
		*q++ = ' ';
	memcpy(q, key, n);
	q += n;
	*q++ = '=';
	*q++ = '"';
	buf_commit(b, (size_t)(q - p));
}

static void put_escaped(struct buf *b, const unsigned char *s, size_t n)
{
	const unsigned char *end = s + n, *run;
	char esc[5];

	while (s < end) {
		for (run = s; s < end && kind[*s] == CLEAN; s++)
			;
		if (s > run)
			buf_add(b, run, (size_t)(s - run));
		if (s == end)
			break;
		esc[0] = '\\';
		if (kind[*s] == QUOTE) {
			esc[1] = (char)*s;
			buf_add(b, esc, 2);
		} else {
			esc[1] = '0';
			esc[2] = (char)('0' + (*s >> 6));
			esc[3] = (char)('0' + (*s >> 3 & 7));
			esc[4] = (char)('0' + (*s & 7));
			buf_add(b, esc, 5);
		}
		s++;
	}
}

void rec_begin(struct buf *b, const char *type)
{
	rec_put_str(b, "TYPE", type);
}

void rec_put_str(struct buf *b, const char *key, const char *val)
{
	rec_put_strn(b, key, val, strlen(val));
}

void rec_put_strn(struct buf *b, const char *key, const void *val, size_t n)
{
	put_key(b, key);
	put_escaped(b, val, n);
	buf_addc(b, '"');
}

static void put_number(struct buf *b, const char *key, const char *digits, size_t n)
{
	put_key(b, key);
	buf_add(b, digits, n);
	buf_addc(b, '"');
}

static char *decimal(char *end, uint64_t v)
{
	do {
		*--end = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	return end;
}

void rec_put_u64(struct buf *b, const char *key, uint64_t v)
{
	char t[24], *end = t + sizeof(t), *p = decimal(end, v);

	put_number(b, key, p, (size_t)(end - p));
}

void rec_put_i64(struct buf *b, const char *key, int64_t v)
{
	char t[24], *end = t + sizeof(t);
	char *p = decimal(end, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);

	if (v < 0)
		*--p = '-';
	put_number(b, key, p, (size_t)(end - p));
}

void rec_put_hex(struct buf *b, const char *key, uint64_t v)
{
	char t[24], *end = t + sizeof(t), *p = end;

	do {
		*--p = hexdigits[v & 15];
		v >>= 4;
	} while (v);
	*--p = 'x';
	*--p = '0';
	put_number(b, key, p, (size_t)(end - p));
}

void rec_put_bin(struct buf *b, const char *key, const void *p, size_t n)
{
	const unsigned char *s = p;
	size_t i;
	char *q;

	put_key(b, key);
	if (n > SIZE_MAX / 8) {
		b->failed = true;
		return;
	}
	q = buf_reserve(b, 2 * n + 1);
	if (!q)
		return;
	for (i = 0; i < n; i++) {
		q[2 * i] = hexdigits[s[i] >> 4];
		q[2 * i + 1] = hexdigits[s[i] & 15];
	}
	q[2 * n] = '"';
	buf_commit(b, 2 * n + 1);
}

void rec_end(struct buf *b)
{
	buf_addc(b, '\n');
}

void rec_line(struct buf *b, const char *key, const char *val)
{
	rec_put_str(b, key, val);
	rec_end(b);
}

/* ---- reading ---- */

static bool key_first(char c)
{
	return c >= 'A' && c <= 'Z';
}

static bool key_char(char c)
{
	return key_first(c) || (c >= '0' && c <= '9') || c == '_';
}

static bool octal(char c, char last)
{
	return c >= '0' && c <= last;
}

/* Undoes the escapes of the value at p in place, up to its closing quote; the line ends
 * at `end`. Returns the character behind the quote, or NULL with *why. */
static char *unescape(char *p, char *end, size_t *len, const char **why)
{
	char *start = p, *to;

	while (p < end && kind[(unsigned char)*p] == CLEAN)
		p++;
	to = p;
	while (p < end) {
		unsigned char c = (unsigned char)*p;

		if (c == '"') {
			*to = '\0';
			*len = (size_t)(to - start);
			return p + 1;
		}
		if (kind[c] == CLEAN) {
			*to++ = *p++;
		} else if (c != '\\') {
			*why = kind[c] == OCTAL ? "a control character inside quotes" :
						  "an unescaped $ or ` inside quotes";
			return NULL;
		} else if (end - p >= 2 && kind[(unsigned char)p[1]] == QUOTE) {
			*to++ = p[1];
			p += 2;
		} else if (end - p >= 5 && p[1] == '0' && octal(p[2], '3') &&
			   octal(p[3], '7') && octal(p[4], '7')) {
			*to++ = (char)((p[2] - '0') << 6 | (p[3] - '0') << 3 | (p[4] - '0'));
			p += 5;
		} else {
			*why = "a bad escape";
			return NULL;
		}
	}
	*why = "a quote that is not closed";
	return NULL;
}

static bool key_taken(const struct rec *r, const char *key)
{
	size_t i;

	for (i = 0; i < r->n; i++)
		if (strcmp(r->f[i].key, key) == 0)
			return true;
	return false;
}

/* One field at p. Returns what is behind it, or NULL with *why. */
static char *parse_field(char *p, char *end, struct rec *out, const char **why)
{
	struct rec_field *f = &out->f[out->n];
	char *key = p;

	if (out->n == REC_MAX_FIELDS) {
		*why = "too many fields";
		return NULL;
	}
	if (!key_first(*p)) {
		*why = "something that is not KEY=\"value\"";
		return NULL;
	}
	while (p < end && key_char(*p))
		p++;
	if (end - p < 2 || p[0] != '=' || p[1] != '"') {
		*why = "something that is not KEY=\"value\"";
		return NULL;
	}
	*p = '\0';
	/* A shell would see the last one, rec_find() the first: such a record has no meaning. */
	if (key_taken(out, key)) {
		*why = "a key twice";
		return NULL;
	}
	f->key = key;
	f->val = p + 2;
	p = unescape(f->val, end, &f->len, why);
	if (p)
		out->n++;
	return p;
}

void rec_reader_init(struct rec_reader *r, char *text, size_t len)
{
	r->p = text;
	r->end = text + len;
	r->line = 0;
}

/* 1: a record, 0: a line without one, -1 */
static int parse_line(char *p, char *end, struct rec *out, const char **why)
{
	out->n = 0;
	for (;;) {
		char *gap = p;

		while (p < end && (*p == ' ' || *p == '\t'))
			p++;
		if (p == end || (*p == '#' && out->n == 0))
			return out->n > 0;
		if (out->n && p == gap) {
			*why = "fields without a space between them";
			return -1;
		}
		p = parse_field(p, end, out, why);
		if (!p)
			return -1;
	}
}

int rec_next(struct rec_reader *r, struct rec *out, struct err *e)
{
	const char *why = NULL;

	while (r->p < r->end) {
		char *line = r->p;
		char *nl = memchr(line, '\n', (size_t)(r->end - line));
		char *end = nl ? nl : r->end;
		int rc;

		r->p = nl ? nl + 1 : r->end;
		out->line = ++r->line;
		if (end - line > REC_MAX_LINE)
			return err_set(e, EX_BAD_IMAGE, "line %zu: longer than %d bytes",
				       r->line, REC_MAX_LINE);
		rc = parse_line(line, end, out, &why);
		if (rc < 0)
			return err_set(e, EX_BAD_IMAGE, "line %zu: %s", r->line, why);
		if (rc > 0)
			return 1;
	}
	return 0;
}

const char *rec_type(const struct rec *r)
{
	const char *t = rec_find(r, "TYPE");

	return t ? t : "";
}

static const struct rec_field *field(const struct rec *r, const char *key)
{
	size_t i;

	for (i = 0; i < r->n; i++)
		if (strcmp(r->f[i].key, key) == 0)
			return &r->f[i];
	return NULL;
}

const char *rec_find(const struct rec *r, const char *key)
{
	const struct rec_field *f = field(r, key);

	return f ? f->val : NULL;
}

static int bad(const struct rec *r, const char *key, struct err *e, const char *why)
{
	const char *type = rec_type(r);

	return err_set(e, EX_BAD_IMAGE, "line %zu: %s%s%s %s", r->line, type,
		       *type ? " " : "", key, why);
}

int rec_str(const struct rec *r, const char *key, const char **out, struct err *e)
{
	const struct rec_field *f = field(r, key);

	if (!f)
		return bad(r, key, e, "is missing");
	if (strlen(f->val) != f->len)
		return bad(r, key, e, "has a zero byte inside");
	*out = f->val;
	return 0;
}

int rec_u64(const struct rec *r, const char *key, uint64_t max, uint64_t *out, struct err *e)
{
	const char *s;

	if (rec_str(r, key, &s, e) < 0)
		return -1;
	if (num_u64(s, max, out) < 0)
		return bad(r, key, e, "is no number or out of range");
	return 0;
}

int rec_i64(const struct rec *r, const char *key, int64_t min, int64_t max, int64_t *out,
	    struct err *e)
{
	const char *s;

	if (rec_str(r, key, &s, e) < 0)
		return -1;
	if (num_i64(s, min, max, out) < 0)
		return bad(r, key, e, "is no number or out of range");
	return 0;
}

int rec_int(const struct rec *r, const char *key, int min, int max, int *out, struct err *e)
{
	int64_t v;

	if (rec_i64(r, key, min, max, &v, e) < 0)
		return -1;
	*out = (int)v;
	return 0;
}

int rec_u64_or(const struct rec *r, const char *key, uint64_t max, uint64_t dflt, uint64_t *out,
	       struct err *e)
{
	if (field(r, key))
		return rec_u64(r, key, max, out, e);
	*out = dflt;
	return 0;
}

/* Value of a hex digit plus one; 0 marks all other bytes. */
static const unsigned char unhex[256] = {
	['0'] = 1, ['1'] = 2, ['2'] = 3, ['3'] = 4, ['4'] = 5, ['5'] = 6, ['6'] = 7, ['7'] = 8,
	['8'] = 9, ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
	['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

int rec_bin(const struct rec *r, const char *key, void *p, size_t min, size_t max, size_t *n,
	    struct err *e)
{
	const struct rec_field *f = field(r, key);
	unsigned char *to = p;
	size_t i, count;

	if (!f)
		return bad(r, key, e, "is missing");
	count = f->len / 2;
	if (f->len % 2 || count < min || count > max)
		return bad(r, key, e, "has the wrong length");
	for (i = 0; i < count; i++) {
		unsigned hi = unhex[(unsigned char)f->val[2 * i]];
		unsigned lo = unhex[(unsigned char)f->val[2 * i + 1]];

		if (!hi || !lo)
			return bad(r, key, e, "has something else than hex digits");
		to[i] = (unsigned char)((hi - 1) << 4 | (lo - 1));
	}
	*n = count;
	return 0;
}

/* ---- a whole text ---- */

/* Makes room for `more` elements of `size`; capacities double. */
static int grow(void *pp, size_t n, size_t *cap, size_t more, size_t size)
{
	void **v = pp;
	size_t c = *cap ? *cap : 64;
	void *p;

	if (n + more <= *cap)
		return 0;
	while (c < n + more)
		c *= 2;
	p = realloc(*v, c * size);
	if (!p)
		return -1;
	*v = p;
	*cap = c;
	return 0;
}

static int list_fill(struct rec_list *l, size_t len, size_t max_records, struct err *e)
{
	size_t nf = 0, vcap = 0, fcap = 0, i;
	struct rec_field *f;
	struct rec_reader r;
	struct rec rec;
	int rc;

	rec_reader_init(&r, l->text, len);
	while ((rc = rec_next(&r, &rec, e)) > 0) {
		if (l->n == max_records)
			return err_set(e, EX_BAD_IMAGE, "line %zu: more than %zu records",
				       rec.line, max_records);
		if (grow(&l->v, l->n, &vcap, 1, sizeof(*l->v)) < 0 ||
		    grow(&l->fields, nf, &fcap, rec.n, sizeof(*l->fields)) < 0)
			return err_set(e, EX_FAILED, "out of memory");
		memcpy(l->fields + nf, rec.f, rec.n * sizeof(*rec.f));
		nf += rec.n;
		l->v[l->n].line = rec.line;
		l->v[l->n].n = rec.n;
		l->n++;
	}
	if (rc < 0)
		return -1;
	/* Only now does the array of fields stay where it is. */
	for (i = 0, f = l->fields; i < l->n; f += l->v[i].n, i++)
		l->v[i].f = f;
	return 0;
}

int rec_list_parse(struct rec_list *l, const char *text, size_t len, size_t max_records,
		   struct err *e)
{
	*l = (struct rec_list){ 0 };
	l->text = malloc(len + 1);
	if (!l->text)
		return err_set(e, EX_FAILED, "out of memory");
	if (len)
		memcpy(l->text, text, len);
	if (list_fill(l, len, max_records, e) < 0) {
		rec_list_free(l);
		return -1;
	}
	return 0;
}

void rec_list_free(struct rec_list *l)
{
	free(l->v);
	free(l->text);
	free(l->fields);
	*l = (struct rec_list){ 0 };
}

void rec_list_get(const struct rec_list *l, size_t i, struct rec *out)
{
	out->line = l->v[i].line;
	out->n = l->v[i].n;
	memcpy(out->f, l->v[i].f, out->n * sizeof(*out->f));
}
