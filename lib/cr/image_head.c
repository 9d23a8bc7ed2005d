#include "cr/image_head.h"
#include "common/cleanup.h"
#include "common/num.h"
#include "common/rec.h"

#include <string.h>

static int keep(char *out, size_t n, const char *val, const char *key, struct err *e)
{
	if (strlen(val) >= n)
		return err_set(e, EX_BAD_IMAGE, "description.txt: %s is too long", key);
	strcpy(out, val);
	return 0;
}

static int field(struct image_head *h, const char *key, const char *val, struct err *e)
{
	struct { const char *key; char *to; size_t n; } s[] = {
		{ "IDENTIFIER", h->identifier, sizeof h->identifier }, { "DATE", h->date, sizeof h->date },
		{ "KIND", h->kind, sizeof h->kind }, { "HOST", h->host, sizeof h->host },
	};
	uint64_t v;

	for (size_t i = 0; i < sizeof s / sizeof *s; i++)
		if (!strcmp(key, s[i].key))
			return keep(s[i].to, s[i].n, val, key, e);
	if (strcmp(key, "VERSION") && strcmp(key, "UID") && strcmp(key, "GID") && strcmp(key, "PROCS"))
		return 0;
	if (num_u64(val, strcmp(key, "VERSION") ? UINT32_MAX : INT64_MAX, &v))
		return err_set(e, EX_BAD_IMAGE, "description.txt: %s is malformed", key);
	if (!strcmp(key, "VERSION"))
		h->version = v;
	else if (!strcmp(key, "UID"))
		h->uid = (uid_t)v;
	else if (!strcmp(key, "GID"))
		h->gid = (gid_t)v;
	else
		h->procs = v;
	return 0;
}

int image_head_read(const struct image *im, struct image_head *h, struct err *e)
{
	const struct image_member *m = image_find(im, "description.txt");
	AUTO_FREE char *text = NULL;
	struct rec_reader r;
	struct rec rec;
	int rc;

	memset(h, 0, sizeof *h);
	h->uid = (uid_t)-1;
	if (!m || !m->text || !(text = malloc(m->size + 1)))
		return err_set(e, EX_BAD_IMAGE, "the image has no description.txt");
	memcpy(text, m->text, m->size + 1);
	rec_reader_init(&r, text, m->size);
	while ((rc = rec_next(&r, &rec, e)) > 0)
		for (size_t i = 0; i < rec.n; i++)
			if (field(h, rec.f[i].key, rec.f[i].val, e))
				return -1;
	if (rc < 0)
		return -1;
	if (!h->identifier[0] || h->uid == (uid_t)-1)
		return err_set(e, EX_BAD_IMAGE, "description.txt lacks IDENTIFIER or UID");
	return 0;
}
