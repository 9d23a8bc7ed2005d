/* netns_recs: the records of all network namespaces of a job, found without going through all of them: the part that belongs to one namespace, links by
 * number and by name, pairs by their end in NETNS_HOME. A job may have a thousand namespaces with hundreds of records each. */
#include "res/netns_int.h"

#include <stdlib.h>
#include <string.h>

static const char *const link_types[] = { "link", "linkdata", "portdata", "lower" };
enum { LINK_TYPES = sizeof link_types / sizeof link_types[0], LINK = 0 };

struct key { uint32_t ns, type, index; size_t at; };
struct name { uint32_t ns; const char *name; };
struct netns_recs {
	const struct rec_list *all;
	struct rec_list own[NETNS_MAX + 1];    /* parts of all */
	struct key *keys; size_t nkeys;
	struct name *names; size_t nnames;
	uint32_t *ends; size_t nends;          /* PEER of those whose PEER_NS is NETNS_HOME */
};

static int type_of(const char *type)
{
	for (int i = 0; i < LINK_TYPES; i++)
		if (!strcmp(type, link_types[i]))
			return i;
	return -1;
}

bool netns_link_record(const char *type) { return type_of(type) >= 0; }

/* Those of one key in the order of their records. */
static int by_key(const void *a, const void *b)
{
	const struct key *x = a, *y = b;

	if (x->ns != y->ns)
		return x->ns < y->ns ? -1 : 1;
	if (x->type != y->type)
		return x->type < y->type ? -1 : 1;
	if (x->index != y->index)
		return x->index < y->index ? -1 : 1;
	return x->at < y->at ? -1 : x->at > y->at;
}

static int by_name(const void *a, const void *b)
{
	const struct name *x = a, *y = b;

	return x->ns != y->ns ? (x->ns < y->ns ? -1 : 1) : strcmp(x->name, y->name);
}

static int by_number(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void add_own(struct netns_recs *t, uint32_t ns, size_t i)
{
	struct rec_list *own = &t->own[ns];

	if (!own->n)
		own->v = t->all->v + i;
	own->n = (size_t)(t->all->v + i + 1 - own->v);
}

/* What is malformed is found when the record itself is looked at. */
static void add_link(struct netns_recs *t, const struct rec *rec, uint32_t ns, int type, size_t i)
{
	const char *name = rec_find(rec, "NAME");
	uint32_t index, there;

	if (netns_u32(rec, "INDEX", 0, &index, NULL))
		return;
	t->keys[t->nkeys++] = (struct key){ ns, (uint32_t)type, index, i };
	if (type != LINK)
		return;
	if (name)
		t->names[t->nnames++] = (struct name){ ns, name };
	if (rec_find(rec, "PEER_NS") && !netns_u32(rec, "PEER_NS", 0, &there, NULL) && there == NETNS_HOME && !netns_u32(rec, "PEER", 0, &index, NULL))
		t->ends[t->nends++] = index;
}

static int limits(const struct netns_recs *t, struct err *e)
{
	for (size_t i = 0, first = 0; i < t->nkeys; i++) {
		if (t->keys[i].ns != t->keys[first].ns)
			first = i;
		if (i - first >= NETNS_MAX_LINKS)
			return err_set(e, EX_BAD_IMAGE, "network namespace %u: more than %d links", t->keys[i].ns, NETNS_MAX_LINKS);
	}
	return 0;
}

int netns_recs_new(struct netns_recs **out, const struct rec_list *all, struct err *e)
{
	struct netns_recs *t = *out = calloc(1, sizeof *t);
	struct rec rec;
	uint32_t ns;

	if (!t)
		return err_set(e, EX_FAILED, "out of memory");
	t->all = all;
	t->keys = calloc(all->n + 1, sizeof *t->keys);
	t->names = calloc(all->n + 1, sizeof *t->names);
	t->ends = calloc(all->n + 1, sizeof *t->ends);
	if (!t->keys || !t->names || !t->ends)
		return err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; i < all->n; i++) {
		rec_list_get(all, i, &rec);
		if (!netns_record(rec_type(&rec)))
			continue;
		if (netns_u32(&rec, "NS", NETNS_MAX + 1, &ns, e))
			return -1;
		if (ns > NETNS_MAX)
			return err_set(e, EX_BAD_IMAGE, "line %zu: NS is missing or out of range", rec.line);
		add_own(t, ns, i);
		if (type_of(rec_type(&rec)) >= 0)
			add_link(t, &rec, ns, type_of(rec_type(&rec)), i);
	}
	qsort(t->keys, t->nkeys, sizeof *t->keys, by_key);
	qsort(t->names, t->nnames, sizeof *t->names, by_name);
	qsort(t->ends, t->nends, sizeof *t->ends, by_number);
	return limits(t, e);
}

void netns_recs_free(struct netns_recs *t)
{
	if (!t)
		return;
	free(t->keys);
	free(t->names);
	free(t->ends);
	free(t);
}

const struct rec_list *netns_recs_of(const struct netns_recs *t, uint32_t ns)
{
	static const struct rec_list none;

	return ns <= NETNS_MAX ? &t->own[ns] : &none;
}

bool netns_recs_link(const struct netns_recs *t, uint32_t ns, const char *type, uint32_t index, struct rec *rec)
{
	struct key want = { ns, (uint32_t)type_of(type), index, 0 };
	size_t lo = 0, hi = t->nkeys;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (by_key(&t->keys[mid], &want) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == t->nkeys || t->keys[lo].ns != ns || t->keys[lo].type != want.type || t->keys[lo].index != index)
		return false;
	rec_list_get(t->all, t->keys[lo].at, rec);
	return true;
}

/* How many of the n elements are like want: none, one, or 2 for more; v is sorted. */
static int like(const void *v, size_t n, size_t size, const void *want, int (*order)(const void *a, const void *b))
{
	const char *p = v, *hit = n ? bsearch(want, v, n, size, order) : NULL;

	if (!hit)
		return 0;
	return (hit > p && !order(hit - size, want)) || (hit + size < p + n * size && !order(hit + size, want)) ? 2 : 1;
}

int netns_recs_named(const struct netns_recs *t, uint32_t ns, const char *name)
{
	return like(t->names, t->nnames, sizeof *t->names, &(struct name){ ns, name }, by_name);
}

int netns_recs_ends(const struct netns_recs *t, uint32_t index) { return like(t->ends, t->nends, sizeof *t->ends, &index, by_number); }
