/* netns_rec: attributes of netlink messages as fields of records, by tables: netns_int.h. */
#include "res/netns_int.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

bool nkey_in(const char *key, const char *const *list)
{
	for (; list && *list; list++)
		if (!strcmp(*list, key))
			return true;
	return false;
}

const char *naddr_text(const void *p, size_t n, char out[64])
{
	if ((n != 4 && n != 16) || !inet_ntop(n == 4 ? AF_INET : AF_INET6, p, out, 64))
		out[0] = '\0';
	return out;
}

bool naddr_parse(const char *text, void *out, size_t *n)
{
	*n = strchr(text, ':') ? 16 : 4;
	return inet_pton(*n == 4 ? AF_INET : AF_INET6, text, out) == 1;
}

/* ---- to records ---- */

static bool zeros(const struct rtattr *a)
{
	const unsigned char *p = RTA_DATA(a);

	for (size_t i = 0; i < RTA_PAYLOAD(a); i++)
		if (p[i])
			return false;
	return true;
}

static const struct nfield *field_of(const struct nfield *f, uint16_t type)
{
	for (; f->key; f++)
		if (f->type == type)
			return f;
	return NULL;
}

static uint64_t number(const struct rtattr *a, size_t n)
{
	uint64_t v = 0;

	memcpy(&v, RTA_DATA(a), n); /* little-endian, as all that we run on */
	return v;
}

/* false: its length is not what it should be. */
static bool put_field(struct buf *out, const struct nfield *f, const struct rtattr *a)
{
	static const size_t sizes[] = { [NF_U8] = 1, [NF_U16] = 2, [NF_U32] = 4, [NF_U64] = 8, [NF_S32] = 4, [NF_BE16] = 2, [NF_HEX] = 4, [NF_FLAG] = 0 };
	size_t n = RTA_PAYLOAD(a);
	const char *p = RTA_DATA(a);
	char text[64];

	switch (f->form) {
	case NF_IP:
		if (!*naddr_text(p, n, text))
			return false;
		rec_put_str(out, f->key, text);
		return true;
	case NF_STR:
		n = strnlen(p, n);
		if (n >= f->max)
			return false;
		rec_put_strn(out, f->key, p, n);
		return true;
	case NF_BIN:
		if (n > f->max)
			return false;
		rec_put_bin(out, f->key, p, n);
		return true;
	case NF_FLAG:
		rec_put_u64(out, f->key, 1);
		return true;
	default:
		break;
	}
	if (n != sizes[f->form])
		return false;
	if (f->form == NF_S32)
		rec_put_i64(out, f->key, (int32_t)number(a, n));
	else if (f->form == NF_HEX)
		rec_put_hex(out, f->key, number(a, n));
	else
		rec_put_u64(out, f->key, f->form == NF_BE16 ? ntohs((uint16_t)number(a, n)) : number(a, n));
	return true;
}

bool nrec_put(struct buf *out, const struct nfield *fields, const struct rtattr *const tb[], const struct nlmsghdr *h, nown_put *own, char why[NREC_WHY])
{
	bool good = true;

	for (int i = 0; i < NL_ATTRS; i++)
		if (tb[i] && !field_of(fields, (uint16_t)i) && !zeros(tb[i])) {
			snprintf(why, NREC_WHY, "option %d of the kernel", i);
			good = false;
		}
	for (const struct nfield *f = fields; f->key; f++) {
		const struct rtattr *a = tb[f->type];
		const char *bad = NULL;

		if (!a || f->form == NF_DROP)
			continue;
		if (f->form == NF_OWN)
			bad = own(out, h, a);
		else if (!put_field(out, f, a))
			bad = f->key;
		if (bad) {
			snprintf(why, NREC_WHY, "%s", bad);
			good = false;
		}
	}
	return good;
}

/* ---- from records ---- */

static int put_number(const struct rec *rec, const struct nfield *f, struct nlmsg *m, struct err *e)
{
	static const uint64_t most[] = { [NF_U8] = UINT8_MAX, [NF_U16] = UINT16_MAX, [NF_U32] = UINT32_MAX, [NF_U64] = UINT64_MAX,
		[NF_BE16] = UINT16_MAX, [NF_HEX] = UINT32_MAX, [NF_FLAG] = 1 };
	static const size_t sizes[] = { [NF_U8] = 1, [NF_U16] = 2, [NF_U32] = 4, [NF_U64] = 8, [NF_BE16] = 2, [NF_HEX] = 4, [NF_FLAG] = 0 };
	uint64_t v;

	if (rec_u64(rec, f->key, most[f->form], &v, e))
		return -1;
	if (f->form == NF_BE16)
		v = htons((uint16_t)v);
	nl_put(m, f->type, &v, sizes[f->form]);
	return 0;
}

int nrec_field(const struct rec *rec, const struct nfield *f, struct nlmsg *m, struct err *e)
{
	const char *text = rec_find(rec, f->key);
	unsigned char bytes[NF_BYTES_MAX];
	int v;
	size_t n;

	if (!text || f->form == NF_DROP || f->form == NF_OWN)
		return 0;
	switch (f->form) {
	case NF_IP:
		if (!naddr_parse(text, bytes, &n))
			return err_set(e, EX_BAD_IMAGE, "line %zu: %s is no address", rec->line, f->key);
		break;
	case NF_STR:
		n = strlen(text) + 1;
		if (n > f->max)
			return err_set(e, EX_BAD_IMAGE, "line %zu: %s is too long", rec->line, f->key);
		nl_put(m, f->type, text, n);
		return 0;
	case NF_BIN:
		if (rec_bin(rec, f->key, bytes, 0, f->max, &n, e))
			return -1;
		break;
	case NF_S32:
		if (rec_int(rec, f->key, INT32_MIN, INT32_MAX, &v, e))
			return -1;
		memcpy(bytes, &v, n = sizeof v);
		break;
	default:
		return put_number(rec, f, m, e);
	}
	nl_put(m, f->type, bytes, n);
	return 0;
}

int nrec_build(const struct rec *rec, const struct nfield *fields, struct nlmsg *m, struct err *e)
{
	for (const struct nfield *f = fields; f->key; f++)
		if (nrec_field(rec, f, m, e))
			return -1;
	return 0;
}

int nobj_build(const struct nobj *o, const struct rec *rec, uint16_t type, uint16_t flags, struct nlmsg *m, struct err *e)
{
	unsigned char head[64] = { 0 };

	for (const struct nhead *k = o->heads; k->key; k++) {
		uint64_t v;

		if (rec_u64(rec, k->key, k->size == 4 ? UINT32_MAX : k->size == 2 ? UINT16_MAX : UINT8_MAX, &v, e))
			return -1;
		if (k->mask && v & ~(uint64_t)k->mask)
			return err_set(e, EX_BAD_IMAGE, "line %zu: %s is out of range", rec->line, k->key);
		memcpy(head + k->off, &v, k->size);
	}
	nl_begin(m, type, flags, head, o->head);
	if (nrec_build(rec, o->fields, m, e) || (o->build && o->build(rec, m, e)))
		return -1;
	return m->full ? err_set(e, EX_BAD_IMAGE, "line %zu: too long", rec->line) : 0;
}

int nrec_known(const struct rec *rec, const struct nhead *heads, const struct nfield *fields, const char *const *extra, struct err *e)
{
	for (size_t i = 0; i < rec->n; i++) {
		const char *key = rec->f[i].key;
		const struct nhead *k = heads;
		const struct nfield *f = fields;

		while (k && k->key && strcmp(k->key, key))
			k++;
		while (f && f->key && (f->form == NF_DROP || strcmp(f->key, key)))
			f++;
		if (!(k && k->key) && !(f && f->key) && !nkey_in(key, extra) && strcmp(key, "TYPE") && strcmp(key, "NS"))
			return err_set(e, EX_BAD_IMAGE, "line %zu: %s of a record %s is not known", rec->line, key, rec_type(rec));
	}
	return 0;
}

void nrec_text(const struct rec *rec, const char *const *without, struct buf *out)
{
	for (size_t i = 0; i < rec->n; i++) {
		const struct rec_field *f = &rec->f[i];

		if (strcmp(f->key, "TYPE") && strcmp(f->key, "NS") && !nkey_in(f->key, without))
			rec_put_strn(out, f->key, f->val, f->len);
	}
}

int netns_u32(const struct rec *rec, const char *key, uint32_t dflt, uint32_t *out, struct err *e)
{
	uint64_t v;

	if (rec_u64_or(rec, key, UINT32_MAX, dflt, &v, e))
		return -1;
	*out = (uint32_t)v;
	return 0;
}
