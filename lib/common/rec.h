/* rec: records of KEY="value" fields, one record a line, readable by sh, awk, grep.
 *
 *     TYPE="vma" START="0x7f0000001000" END="0x7f0000002000" PATH="/bin/a \"b\""
 *
 * Inside the quotes " $ ` \ are escaped by \ as in a shell, and bytes below 0x20 and
 * 0x7f are written \0ooo (three octal digits; `printf %b` undoes them). Bytes of
 * 0x80 and above stand as they are. Keys are [A-Z][A-Z0-9_]*. A blank line and a
 * line that begins with # are ignored.
 * A job record (one KEY="value" a line) is the same grammar with one field a line. */
#ifndef XOS_REC_H
#define XOS_REC_H

#include "common/buf.h"
#include "common/err.h"
#include <stdbool.h>
#include <stdint.h>

/* ---- writing ---- */
void rec_begin(struct buf *b, const char *type);            /* TYPE="type" */
void rec_put_str(struct buf *b, const char *key, const char *val);
void rec_put_strn(struct buf *b, const char *key, const void *val, size_t n); /* any bytes but NUL end nothing */
void rec_put_i64(struct buf *b, const char *key, int64_t v);   /* decimal */
void rec_put_u64(struct buf *b, const char *key, uint64_t v);  /* decimal */
void rec_put_hex(struct buf *b, const char *key, uint64_t v);  /* 0x... */
void rec_put_bin(struct buf *b, const char *key, const void *p, size_t n); /* hex digits, two a byte */
void rec_end(struct buf *b);                                 /* newline */
/* KEY="value"\n on a line of its own (job records, configuration). */
void rec_line(struct buf *b, const char *key, const char *val);

/* ---- reading ---- */
enum { REC_MAX_FIELDS = 64, REC_MAX_LINE = 16 << 20 };

struct rec_field { const char *key; char *val; size_t len; /* val NUL-terminated, unescaped */ };
struct rec {
	size_t line;    /* line number in its text, for messages */
	size_t n;
	struct rec_field f[REC_MAX_FIELDS];
};

/* A text that is read record by record; `text` is modified in place (unescaped). */
struct rec_reader { char *p, *end; size_t line; };
void rec_reader_init(struct rec_reader *r, char *text, size_t len);
/* 1: *out filled (pointers into the text), 0: end, -1: malformed (EX_BAD_IMAGE, names the line). */
int rec_next(struct rec_reader *r, struct rec *out, struct err *e);

const char *rec_type(const struct rec *r);                    /* "" when there is no TYPE */
const char *rec_find(const struct rec *r, const char *key);   /* NULL when absent */
/* Required fields: -1 with EX_BAD_IMAGE naming the key when absent, malformed or out of range. */
int rec_str(const struct rec *r, const char *key, const char **out, struct err *e);
int rec_u64(const struct rec *r, const char *key, uint64_t max, uint64_t *out, struct err *e); /* decimal or 0x */
int rec_i64(const struct rec *r, const char *key, int64_t min, int64_t max, int64_t *out, struct err *e);
int rec_int(const struct rec *r, const char *key, int min, int max, int *out, struct err *e);
/* Decodes hex digits into p; the field must hold between min and max bytes; *n gets the count. */
int rec_bin(const struct rec *r, const char *key, void *p, size_t min, size_t max, size_t *n, struct err *e);
/* Optional number: dflt when absent. */
int rec_u64_or(const struct rec *r, const char *key, uint64_t max, uint64_t dflt, uint64_t *out, struct err *e);

/* A whole text parsed once and kept: an array of records (owned copies). */
struct rec_list { struct rec_item { size_t line, n; struct rec_field *f; } *v; size_t n; char *text; struct rec_field *fields; };
/* Parses a copy of the text. 0 or -1 (EX_BAD_IMAGE). max_records is the named limit of the caller. */
int rec_list_parse(struct rec_list *l, const char *text, size_t len, size_t max_records, struct err *e);
void rec_list_free(struct rec_list *l);
/* Copies item i into *out for use with the functions above. */
void rec_list_get(const struct rec_list *l, size_t i, struct rec *out);

#endif
