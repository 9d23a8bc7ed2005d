#include "image/imgidx.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

bool imgidx_name_ok(const char *name)
{
	size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");

	return n && n <= IMAGE_MAX_NAME && !name[n] && strcmp(name, ".") && strcmp(name, "..");
}

/* A name as it may stand in a message: no control characters, not too long. */
static void printable(const char *name, char *out, size_t n)
{
	size_t i;

	for (i = 0; name[i] && i + 1 < n; i++)
		out[i] = name[i] > ' ' && name[i] <= '~' ? name[i] : '?';
	out[i] = 0;
}

static int check_limits(const struct imgidx *x, const char *name, uint64_t size, bool raw, int code, struct err *e)
{
	char shown[64];

	printable(name, shown, sizeof(shown));
	if (!imgidx_name_ok(name))
		return err_set(e, code, "member name '%s' is not allowed", shown);
	if (x->n >= IMAGE_MAX_MEMBERS)
		return err_set(e, code, "more than %d members", IMAGE_MAX_MEMBERS);
	if (raw) {
		if (size > IMAGE_MAX_RAW)
			return err_set(e, code, "member %s: %" PRIu64 " bytes are over the limit of %" PRIu64, shown,
				       size, IMAGE_MAX_RAW);
		return 0;
	}
	if (size > IMAGE_MAX_TEXT)
		return err_set(e, code, "member %s: %" PRIu64 " bytes are over the limit of %" PRIu64 " for text",
			       shown, size, IMAGE_MAX_TEXT);
	if (x->text_all + size > IMAGE_MAX_TEXT_ALL)
		return err_set(e, code, "member %s: all text members together are over the limit of %" PRIu64 " bytes",
			       shown, IMAGE_MAX_TEXT_ALL);
	return 0;
}

struct imgidx_member *imgidx_add(struct imgidx *x, const char *name, uint64_t size, bool raw, int code, struct err *e)
{
	struct imgidx_member *m;

	if (check_limits(x, name, size, raw, code, e) < 0)
		return NULL;
	if (x->n == x->cap) {
		size_t cap = x->cap ? x->cap * 2 : 64;
		struct imgidx_member *v = reallocarray(x->v, cap, sizeof(*v));

		if (!v) {
			err_sys(e, "list of members");
			return NULL;
		}
		x->v = v;
		x->cap = cap;
	}
	m = &x->v[x->n];
	memset(m, 0, sizeof(*m));
	m->m.name = strdup(name);
	if (!m->m.name) {
		err_sys(e, "list of members");
		return NULL;
	}
	m->m.size = size;
	m->raw = raw;
	if (!raw)
		x->text_all += size;
	x->n++;
	return m;
}

static int by_name(const void *a, const void *b)
{
	return strcmp((*(struct imgidx_member *const *)a)->m.name, (*(struct imgidx_member *const *)b)->m.name);
}

int imgidx_sort(struct imgidx *x, int code, struct err *e)
{
	free(x->sorted);
	x->sorted = malloc((x->n + 1) * sizeof(*x->sorted));
	if (!x->sorted)
		return err_sys(e, "list of members");
	for (size_t i = 0; i < x->n; i++)
		x->sorted[i] = &x->v[i];
	qsort(x->sorted, x->n, sizeof(*x->sorted), by_name);
	for (size_t i = 1; i < x->n; i++)
		if (!by_name(&x->sorted[i - 1], &x->sorted[i]))
			return err_set(e, code, "member %s is there twice", x->sorted[i]->m.name);
	return 0;
}

const struct imgidx_member *imgidx_find(const struct imgidx *x, const char *name)
{
	struct imgidx_member key = { .m.name = (char *)name }, *k = &key, **found;

	if (!x->sorted || !x->n)
		return NULL;
	found = bsearch(&k, x->sorted, x->n, sizeof(*x->sorted), by_name);
	return found ? *found : NULL;
}

void imgidx_free(struct imgidx *x)
{
	for (size_t i = 0; i < x->n; i++) {
		free(x->v[i].m.name);
		free(x->v[i].m.text);
	}
	free(x->v);
	free(x->sorted);
	memset(x, 0, sizeof(*x));
}

void imgidx_put_member(struct buf *b, const struct imgidx_member *m)
{
	buf_printf(b, "TYPE=\"member\" NAME=\"%s\" KIND=\"%s\" OFFSET=\"%" PRIu64 "\" SIZE=\"%" PRIu64 "\" CRC=\"0x%08" PRIx32 "\"\n",
		   m->m.name, m->raw ? "raw" : "text", m->m.offset, m->m.size, m->crc);
}

void imgidx_put_end(struct buf *b, size_t members, uint64_t bytes, uint32_t crc)
{
	buf_printf(b, "TYPE=\"end\" MEMBERS=\"%zu\" BYTES=\"%" PRIu64 "\" CRC=\"0x%08" PRIx32 "\"", members, bytes, crc);
}

void imgidx_put_self(struct buf *b, uint32_t self)
{
	buf_printf(b, " SELF=\"0x%08" PRIx32 "\"\n", self);
}
