/* mntns_table: /proc/PID/mountinfo, proc(5). */
#include "res/mntns_int.h"
#include "common/cleanup.h"

#include <string.h>
#include <sys/mount.h>

#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif
enum { TABLE_MAX = 64 << 20 };

/* Undoes \040 and the like in place. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' && s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* One line; false: not as proc(5) has it. */
static bool line_parse(struct minfo *m, char *line)
{
	char *save = NULL, *f, *after[3];
	unsigned maj, min;
	int skip = 0;
	char *sep = strstr(line, " - ");
	size_t n;

	if (!sep || sscanf(line, "%d %d %u:%u %n", &m->id, &m->parent, &maj, &min, &skip) != 4 || !skip)
		return false;
	*sep = '\0';
	m->dev = (uint64_t)maj << 32 | min;
	m->root = strtok_r(line + skip, " ", &save);
	m->point = strtok_r(NULL, " ", &save);
	m->opts = strtok_r(NULL, " ", &save);
	if (!m->root || !m->point || !m->opts || m->point[0] != '/')
		return false;
	while ((f = strtok_r(NULL, " ", &save))) {
		m->unbindable |= !strcmp(f, "unbindable");
		sscanf(f, "shared:%u", &m->shared);
		sscanf(f, "master:%u", &m->master);
	}
	/* The source may be an empty word. */
	after[0] = sep + 3;
	for (int i = 1; i < 3; i++) {
		after[i] = strchr(after[i - 1], ' ');
		if (!after[i])
			return false;
		*after[i]++ = '\0';
	}
	m->type = after[0];
	m->source = after[1];
	m->super = after[2];
	n = strlen(m->root);
	if (n > 9 && !strcmp(m->root + n - 9, "//deleted")) {
		m->deleted = true;
		m->root[n - 9] = '\0';
	}
	unescape(m->root);
	unescape(m->point);
	unescape(m->source);
	return true;
}

static size_t by_id(const struct mtab *t, int id)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->v[i].id == id)
			return i;
	return MNTNS_NONE;
}

static size_t depth(const char *point)
{
	size_t n = 0;

	for (const char *c = point; *c; c++)
		n += *c == '/' && c[1];
	return n;
}

struct ordering { const struct mtab *t; struct minfo *out; size_t n; size_t *by; bool *seen; };

/* By parent; the deepest first, then by name. */
static int sibling_order(const void *a, const void *b, void *ctx)
{
	const struct mtab *t = ctx;
	const struct minfo *x = &t->v[*(const size_t *)a], *y = &t->v[*(const size_t *)b];
	size_t dx = depth(x->point), dy = depth(y->point);

	if (x->parent != y->parent)
		return x->parent < y->parent ? -1 : 1;
	return dx != dy ? (dx > dy ? -1 : 1) : strcmp(x->point, y->point);
}

static size_t first_child(const struct ordering *o, int id)
{
	size_t low = 0, high = o->t->n;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (o->t->v[o->by[mid]].parent < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* i, then its children, the deepest first: one that is mounted at /a/b is under one that comes to /a later; and last what is
 * mounted on i itself. */
static void visit(struct ordering *o, size_t i, size_t up)
{
	size_t here = o->n;
	int id = o->t->v[i].id;

	o->seen[i] = true;
	o->out[o->n] = o->t->v[i];
	o->out[o->n++].up = up;
	for (size_t k = first_child(o, id); k < o->t->n && o->t->v[o->by[k]].parent == id; k++)
		if (!o->seen[o->by[k]])
			visit(o, o->by[k], here);
}

static int order(struct mtab *t, struct err *e)
{
	struct minfo *out = calloc(t->n + 1, sizeof *out);
	AUTO_FREE bool *seen = calloc(t->n + 1, sizeof *seen);
	AUTO_FREE size_t *by = calloc(t->n + 1, sizeof *by);
	struct ordering o = { t, out, 0, by, seen };

	if (!out || !seen || !by) {
		free(out);
		return err_set(e, EX_FAILED, "out of memory");
	}
	for (size_t i = 0; i < t->n; i++)
		by[i] = i;
	qsort_r(by, t->n, sizeof *by, sibling_order, t);
	for (size_t i = 0; i < t->n; i++)
		if (!seen[i] && (by_id(t, t->v[i].parent) == MNTNS_NONE || t->v[i].parent == t->v[i].id))
			visit(&o, i, MNTNS_NONE);
	free(t->v);
	t->v = out;
	t->n = o.n;
	return 0;
}

int mtab_parse(struct mtab *t, char *text, struct err *e)
{
	char *save = NULL;
	size_t cap = 0;

	*t = (struct mtab){ .text = text };
	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		if (t->n == cap) {
			struct minfo *v = realloc(t->v, (cap = cap * 2 + 64) * sizeof *v);
			if (!v)
				return err_set(e, EX_FAILED, "out of memory");
			t->v = v;
		}
		t->v[t->n] = (struct minfo){ .up = MNTNS_NONE };
		if (!line_parse(&t->v[t->n], l))
			return err_set(e, EX_FAILED, "cannot understand a line of mountinfo");
		if (++t->n > MNTNS_MAX_MOUNTS)
			return err_set(e, EX_CANNOT_CKPT, "a mount namespace has more than %d mounts", MNTNS_MAX_MOUNTS);
	}
	return order(t, e);
}

int mtab_read(struct mtab *t, int dirfd, const char *path, struct err *e)
{
	struct buf b = BUF_INIT;

	*t = (struct mtab){ 0 };
	if (buf_read_file(&b, dirfd, path, TABLE_MAX) || buf_failed(&b)) {
		err_sys(e, "cannot read %s", path);
		buf_free(&b);
		return -1;
	}
	if (!b.p)
		buf_adds(&b, "");
	return mtab_parse(t, b.p, e);
}

void mtab_free(struct mtab *t)
{
	free(t->v);
	free(t->text);
	*t = (struct mtab){ 0 };
}

const char *mnt_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	if (n == 1)
		return path[1] ? path : path + 1;
	return strncmp(path, dir, n) || (path[n] && path[n] != '/') ? NULL : path + n;
}

int mnt_join(const char *dir, const char *rest, char out[PATH_MAX])
{
	size_t n = strlen(dir), k = strlen(rest);

	if (n == 1 && k)
		n = 0;
	if (n + k >= PATH_MAX)
		return -1;
	memmove(out, dir, n);
	memcpy(out + n, rest, k + 1);
	return 0;
}

int mnt_flags(const char *opts, unsigned long *flags, const char **unknown)
{
	static const struct { const char *name; unsigned long flag; } known[] = {
		{ "rw", 0 }, { "ro", MS_RDONLY }, { "nosuid", MS_NOSUID }, { "nodev", MS_NODEV }, { "noexec", MS_NOEXEC },
		{ "noatime", MS_NOATIME }, { "nodiratime", MS_NODIRATIME }, { "relatime", MS_RELATIME }, { "nosymfollow", MS_NOSYMFOLLOW },
	};
	enum { NKNOWN = sizeof known / sizeof known[0] };

	*flags = 0;
	for (const char *w = opts; *w;) {
		size_t n = strcspn(w, ","), i;

		for (i = 0; i < NKNOWN; i++)
			if (strlen(known[i].name) == n && !strncmp(w, known[i].name, n))
				break;
		if (i == NKNOWN) {
			*unknown = w;
			return -1;
		}
		*flags |= known[i].flag;
		w += n + (w[n] == ',');
	}
	return 0;
}
