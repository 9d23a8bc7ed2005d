/* netns_ends: what xcheckpoint's own network namespace holds of links of the job's: the other end of a pair (veth), with its bridge,
 * addresses, routes, sysctls; the interface that a macvlan or vlan lies on, by its name. */
#include "res/netns_int.h"
#include "common/cleanup.h"

#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

struct ends { uint32_t *pair, *lower; char **names; size_t npair, nlower, n; };

static void ends_free(struct ends *x)
{
	for (size_t i = 0; x->names && i < x->n; i++)
		free(x->names[i]);
	free(x->pair);
	free(x->lower);
	free(x->names);
}
#define AUTO_ENDS __attribute__((cleanup(ends_free)))

static void add(uint32_t *v, size_t *n, uint32_t index)
{
	for (size_t i = 0; i < *n; i++)
		if (v[i] == index)
			return;
	v[(*n)++] = index;
}

static int find(const struct rec_list *l, struct ends *x, struct err *e)
{
	x->pair = calloc(l->n + 1, sizeof *x->pair);
	x->lower = calloc(l->n + 1, sizeof *x->lower);
	x->names = calloc(l->n + 1, sizeof *x->names);
	if (!x->pair || !x->lower || !x->names)
		return err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; i < l->n; i++) {
		struct rec rec;
		uint32_t ns, index;

		rec_list_get(l, i, &rec);
		if (strcmp(rec_type(&rec), "link"))
			continue;
		if (!netns_u32(&rec, "PEER_NS", 1, &ns, NULL) && ns == NETNS_HOME && !netns_u32(&rec, "PEER", 0, &index, NULL))
			add(x->pair, &x->npair, index);
		if (!netns_u32(&rec, "LINK_NS", 1, &ns, NULL) && ns == NETNS_HOME && !netns_u32(&rec, "LINK", 0, &index, NULL))
			add(x->lower, &x->nlower, index);
	}
	return 0;
}

/* Its number is another one after the restart, and a bridge is not the job's: names count. */
static int put_record(const struct rec *rec, struct buf *out, struct err *e)
{
	char name[IF_NAMESIZE];
	uint32_t master;

	for (size_t i = 0; i < rec->n; i++)
		if (strcmp(rec->f[i].key, "MASTER"))
			rec_put_strn(out, rec->f[i].key, rec->f[i].val, rec->f[i].len);
	if (rec_find(rec, "MASTER")) {
		if (netns_u32(rec, "MASTER", 0, &master, e) || !if_indextoname(master, name))
			return err_is_set(e) ? -1 : err_sys(e, "a bridge has gone");
		rec_put_str(out, "MASTER_NAME", name);
	}
	rec_end(out);
	return 0;
}

static int put_links(struct netns *s, struct ends *x, struct buf *out, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	struct rec_list l = { 0 };
	struct rec rec;
	int rc = nlink_dump(s, &b, e) || rec_list_parse(&l, buf_str(&b), b.len, NETNS_MAX_RECORDS, e) ? -1 : 0;

	for (size_t i = 0; i < l.n && !rc; i++) {
		rec_list_get(&l, i, &rec);
		rc = put_record(&rec, out, e);
		if (!rc && !strcmp(rec_type(&rec), "link")) {
			x->names[x->n] = strdup(rec_find(&rec, "NAME"));
			rc = x->names[x->n++] ? 0 : err_set(e, EX_FAILED, "out of memory");
		}
	}
	rec_list_free(&l);
	return rc;
}

static void put_lowers(struct netns *s, const struct ends *x, struct buf *out)
{
	char name[IF_NAMESIZE];

	for (size_t i = 0; i < x->nlower; i++) {
		if (!if_indextoname(x->lower[i], name)) {
			netns_refuse(s, "interface %u has gone", x->lower[i]);
			continue;
		}
		rec_begin(out, "lower");
		rec_put_u64(out, "NS", NETNS_HOME);
		rec_put_u64(out, "INDEX", x->lower[i]);
		rec_put_str(out, "NAME", name);
		rec_end(out);
	}
}

int netns_dump_ends(const struct buf *records, struct buf *out, struct buf *refusals, struct err *e)
{
	static const struct nobj *const objs[] = { &naddr_obj, &nneigh_obj, &nproxy_obj, &nfdb_obj, &nroute_obj };
	AUTO_NETNS struct netns s = NETNS_INIT(NETNS_HOME);
	AUTO_ENDS struct ends x = { 0 };
	struct rec_list l = { 0 };
	int rc = rec_list_parse(&l, buf_str(records), records->len, NETNS_MAX_RECORDS, e) || find(&l, &x, e) ? -1 : 0;

	rec_list_free(&l);
	if (rc || (!x.npair && !x.nlower))
		return rc;
	s.refusals = refusals;
	s.only = x.pair;
	s.nonly = x.npair;
	if (nl_open(&s.nl, NETLINK_ROUTE, e))
		return -1;
	put_lowers(&s, &x, out);
	if (!x.npair)
		return 0;
	if (put_links(&s, &x, out, e))
		return -1;
	for (size_t i = 0; i < sizeof objs / sizeof objs[0]; i++)
		if (nobj_dump(&s, objs[i], out, e))
			return -1;
	return nsysctl_dump(&s, (const char *const *)x.names, out, e);
}
