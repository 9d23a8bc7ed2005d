/* fuzz_rec: any bytes as records. Nothing may crash; what is accepted must come out the
 * same after it is written and read again. */
#include "common/rec.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_RECORDS = 10000 };

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void ask(const struct rec *r, size_t i)
{
	const struct rec_field *f = &r->f[i];
	unsigned char bin[64];
	struct err e = ERR_INIT;
	const char *s;
	uint64_t u;
	int64_t v;
	size_t n = 0;
	int d;

	must(f->val[f->len] == '\0');
	must(rec_find(r, f->key) == f->val);
	if (rec_u64(r, f->key, 1000, &u, &e) == 0)
		must(u <= 1000);
	else
		must(e.code == EX_BAD_IMAGE && e.msg[0]);
	if (rec_i64(r, f->key, -5, 5, &v, &e) == 0)
		must(v >= -5 && v <= 5);
	if (rec_int(r, f->key, -5, 5, &d, &e) == 0)
		must(d >= -5 && d <= 5);
	if (rec_bin(r, f->key, bin, 1, sizeof(bin), &n, &e) == 0)
		must(n >= 1 && n <= sizeof(bin) && n * 2 == f->len);
	if (rec_str(r, f->key, &s, &e) == 0)
		must(strlen(s) == f->len);
}

static void put_back(const struct rec_list *l, struct buf *b)
{
	struct rec r;
	size_t i, k;

	for (i = 0; i < l->n; i++) {
		rec_list_get(l, i, &r);
		must(r.n >= 1 && r.n <= REC_MAX_FIELDS);
		for (k = 0; k < r.n; k++) {
			ask(&r, k);
			rec_put_strn(b, r.f[k].key, r.f[k].val, r.f[k].len);
		}
		rec_end(b);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rec_list l, again;
	struct buf a = BUF_INIT, b = BUF_INIT;
	struct err e = ERR_INIT;

	if (rec_list_parse(&l, (const char *)data, size, MAX_RECORDS, &e) < 0) {
		must(e.code == EX_BAD_IMAGE && e.msg[0] && !l.v);
		return 0;
	}
	must(l.n <= MAX_RECORDS);
	put_back(&l, &a);
	must(!buf_failed(&a));
	must(rec_list_parse(&again, buf_str(&a), a.len, MAX_RECORDS, &e) == 0);
	must(again.n == l.n);
	put_back(&again, &b);
	must(a.len == b.len && memcmp(buf_str(&a), buf_str(&b), a.len) == 0);
	rec_list_free(&l);
	rec_list_free(&again);
	buf_free(&a);
	buf_free(&b);
	return 0;
}
