/* netns: the order in which a network namespace is looked at and built; netns.h. */
#include "res/netns_int.h"
#include "res/proc_ops.h"
#include "common/cleanup.h"
#include "common/num.h"

#include <errno.h>
#include <linux/net_namespace.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { GONE_MS = 5000, STEP_MS = 10 };

void netns_close(struct netns *s)
{
	nl_close(&s->nl);
	free(s->nsids);
	s->nsids = NULL;
}

void netns_refuse(struct netns *s, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	if (!s->refusals)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	for (char *c = line; *c; c++)
		if ((unsigned char)*c < 0x20)
			*c = '?';
	if (s->id == NETNS_HOME)
		buf_printf(s->refusals, "network namespace: %s\n", line);
	else
		buf_printf(s->refusals, "network namespace %u: %s\n", s->id, line);
}

bool netns_counts(const struct netns *s, uint32_t index)
{
	if (!s->only)
		return true;
	for (size_t i = 0; i < s->nonly; i++)
		if (s->only[i] == index)
			return true;
	return false;
}

static const char *value(const struct rec_list *l, size_t i, const char *key)
{
	for (size_t k = 0; k < l->v[i].n; k++)
		if (!strcmp(l->v[i].f[k].key, key))
			return l->v[i].f[k].val;
	return NULL;
}

bool netns_rec(const struct netns *s, size_t i, const char *type, struct rec *rec)
{
	const char *t = value(s->list, i, "TYPE");
	uint64_t id;

	if (!t || strcmp(t, type))
		return false;
	rec_list_get(s->list, i, rec);
	return !rec_u64(rec, "NS", UINT32_MAX, &id, NULL) && id == s->id;
}

bool netns_record(const char *type)
{
	for (size_t i = 0; netns_objs[i]; i++)
		if (!strcmp(type, netns_objs[i]->type))
			return true;
	return netns_link_record(type) || !strcmp(type, "netconf") || !strcmp(type, "nftables");
}

/* ---- checkpoint ---- */

int netns_find_nsids(struct netns *s)
{
	AUTO_FREE struct nlmsg *m = malloc(sizeof *m);

	if (s->nsids)
		return 0;
	s->nsids = calloc(s->nknown + 1, sizeof *s->nsids);
	if (!s->nsids || !m)
		return -1;
	for (size_t i = 0; i < s->nknown; i++) {
		struct rtgenmsg head = { 0 };
		const struct rtattr *tb[NL_ATTRS];

		s->nsids[i] = -1;
		nl_begin(m, RTM_GETNSID, 0, &head, sizeof head);
		nl_put_u32(m, NETNSA_FD, (uint32_t)s->known[i].fd);
		if (!nl_get(&s->nl, m) && m->h.nlmsg_type == RTM_NEWNSID && !nl_attrs(&m->h, sizeof head, tb) && tb[NETNSA_NSID])
			s->nsids[i] = (int32_t)nl_u32(tb[NETNSA_NSID]);
	}
	return 0;
}

int netns_dump(uint32_t id, const struct netns_known *known, size_t nknown, struct buf *out, struct buf *refusals, struct err *e)
{
	AUTO_NETNS struct netns s = NETNS_INIT(id);

	s.refusals = refusals;
	s.known = known;
	s.nknown = nknown;
	if (nl_open(&s.nl, NETLINK_ROUTE, e) || nlink_dump(&s, out, e))
		return -1;
	for (size_t i = 0; netns_objs[i]; i++)
		if (nobj_dump(&s, netns_objs[i], out, e))
			return -1;
	if (nsysctl_dump(&s, NULL, out, e) || nnft_dump(&s, out, e) || nrefuse_dump(&s, e))
		return -1;
	return buf_failed(out) || buf_failed(refusals) ? err_set(e, EX_FAILED, "out of memory") : 0;
}

/* ---- are the records sound? ---- */

static int record_ok(const struct netns *s, const struct rec *rec, struct err *e)
{
	const char *type = rec_type(rec);

	if (netns_link_record(type))
		return nlink_verify(s, rec, e);
	for (size_t i = 0; netns_objs[i]; i++)
		if (!strcmp(type, netns_objs[i]->type))
			return nobj_verify(netns_objs[i], rec, e);
	return !strcmp(type, "netconf") ? nsysctl_verify(rec, e) : !strcmp(type, "nftables") ? nnft_verify(rec, e) : 0;
}

/* In our own namespace nothing but what belongs to ends of the job's links. */
static int only_ends(const struct netns *s, const struct rec *rec, struct err *e)
{
	const char *type = rec_type(rec), *path = rec_find(rec, "PATH"), *index = rec_find(rec, strcmp(type, "route") ? "INDEX" : "OIF");
	char name[NSYSCTL_NAME];
	uint64_t v;
	struct rec r;

	if (s->id != NETNS_HOME || !strcmp(type, "lower"))
		return 0;
	if (!strcmp(type, "netconf")) {
		if (nsysctl_link(path, name) && netns_recs_named(s->recs, NETNS_HOME, name))
			return 0;
	} else if (index && !num_u64(index, UINT32_MAX, &v) && !rec_find(rec, "HOPS") && nlink_find(s, "link", (uint32_t)v, &r)) {
		return 0;
	}
	return err_set(e, EX_BAD_IMAGE, "line %zu: a record %s that belongs to no link of the job", rec->line, type);
}

static int records_ok(struct netns *s, struct err *e)
{
	struct rec rec;

	for (size_t i = 0; i < s->list->n; i++) {
		const char *type = value(s->list, i, "TYPE");

		if (type && netns_record(type) && netns_rec(s, i, type, &rec) && (record_ok(s, &rec, e) || only_ends(s, &rec, e)))
			return -1;
	}
	return 0;
}

static uint32_t number(const struct rec *rec, const char *key)
{
	uint32_t v;

	return netns_u32(rec, key, 0, &v, NULL) ? 0 : v;
}

/* An interface of our own namespace. */
static bool there(struct nl *n, const char *name)
{
	AUTO_FREE struct nlmsg *m = malloc(sizeof *m);
	struct ifinfomsg head = { 0 };

	if (!m)
		return true;
	nl_begin(m, RTM_GETLINK, 0, &head, sizeof head);
	nl_put(m, IFLA_IFNAME, name, strlen(name) + 1);
	return !nl_do(n, m);
}

/* What it needs in our own namespace: a free name, a link to lie on. The ends of a job that was just ended vanish with
 * its namespaces, which the kernel takes down some time later. */
static int home_ok(struct restore *r, const struct netns *s, const struct rec *rec, struct nl *n, struct err *e)
{
	bool pair = rec_find(rec, "PEER_NS");
	struct netns home = { .id = NETNS_HOME, .list = s->list, .recs = s->recs };
	const char *name;
	struct rec other;

	if (!rec_find(rec, pair ? "PEER_NS" : "LINK_NS") || number(rec, pair ? "PEER_NS" : "LINK_NS") != NETNS_HOME)
		return 0;
	if (proc_untrusted(r))
		return err_set(e, EX_PERM, "link %s is connected to this machine's network, and the image is another user's (--trust)", rec_find(rec, "NAME"));
	if (!nlink_find(&home, pair ? "link" : "lower", number(rec, pair ? "PEER" : "LINK"), &other))
		return 0; /* refused already */
	name = rec_find(&other, "NAME");
	if (!pair)
		return there(n, name) ? 0 : err_set(e, EX_MISFIT, "there is no interface %s, which link %s lies on", name, rec_find(rec, "NAME"));
	if (rec_find(&other, "MASTER_NAME") && !there(n, rec_find(&other, "MASTER_NAME")))
		return err_set(e, EX_MISFIT, "there is no bridge %s, which interface %s is a port of", rec_find(&other, "MASTER_NAME"), name);
	for (int ms = 0; !r->check_only && there(n, name); ms += STEP_MS) {
		if (ms >= GONE_MS)
			return err_set(e, EX_BUSY, "there is an interface %s already", name);
		poll(NULL, 0, STEP_MS);
	}
	return 0;
}

/* One of them. s->nl is not open. */
static struct netns netns_of(const struct netns_recs *t, uint32_t id)
{
	struct netns s = NETNS_INIT(id);

	s.list = netns_recs_of(t, id);
	s.recs = t;
	return s;
}

int netns_verify(struct restore *r, const struct netns_recs *t, uint32_t id, struct err *e)
{
	struct netns s = netns_of(t, id);
	AUTO_NL struct nl n = NL_CLOSED;
	struct rec rec;

	if (records_ok(&s, e) || nl_open(&n, NETLINK_ROUTE, e))
		return -1;
	for (size_t i = 0; i < s.list->n; i++)
		if (netns_rec(&s, i, "link", &rec) && home_ok(r, &s, &rec, &n, e))
			return -1;
	return 0;
}

/* ---- restart ---- */

/* Has it links to other namespaces; to ours? */
static bool connected(const struct netns_recs *t, uint32_t id, bool home)
{
	struct netns s = netns_of(t, id);
	struct rec rec;

	for (size_t i = 0; i < s.list->n; i++)
		if (netns_rec(&s, i, "link", &rec) && (rec_find(&rec, "PEER_NS") || rec_find(&rec, "LINK_NS")) &&
		    (!home || number(&rec, rec_find(&rec, "PEER_NS") ? "PEER_NS" : "LINK_NS") == NETNS_HOME))
			return true;
	return false;
}

bool netns_reaches_home(const struct netns_recs *t)
{
	for (uint32_t id = 1; id <= NETNS_MAX; id++)
		if (connected(t, id, true))
			return true;
	return false;
}

static int named(int rc, const struct netns *s, struct err *e)
{
	return rc && s->id != NETNS_HOME ? err_prefix(e, "network namespace %u", s->id) : rc;
}

static int objects(struct netns *s, struct err *e)
{
	for (size_t i = 0; netns_objs[i]; i++)
		if (nobj_sync(s, netns_objs[i], e))
			return -1;
	return 0;
}

int netns_build(struct restore *r, const struct netns_recs *t, uint32_t id, struct err *e)
{
	AUTO_NETNS struct netns s = netns_of(t, id);
	struct nworld w = { &s, 1, NULL, NULL };
	int rc;

	if (connected(t, id, false))
		return 0;
	rc = nl_open(&s.nl, NETLINK_ROUTE, e) || nlink_make(&w, e) || nlink_options(&s, e) || nsysctl_apply(&s, e) || nlink_up(&s, e) || nlink_wait(&s, e) || objects(&s, e) ||
	     nlink_settle(&s, e) || nnft_apply(&s, e) ? -1 : 0;
	return named(rc, &s, e);
}

struct connecting {
	struct nworld w;
	uint32_t *home;                   /* links of ours that belong to it, by their numbers now */
	struct rec_list translated;       /* their records, with these */
};

static void connecting_free(struct connecting *c)
{
	for (size_t i = 0; i < c->w.n; i++)
		netns_close(&c->w.v[i]);
	free(c->w.v);
	free(c->home);
	rec_list_free(&c->translated);
}
#define AUTO_CONNECTING __attribute__((cleanup(connecting_free)))

static int enter(const struct connecting *c, uint32_t id, struct err *e)
{
	int fd = c->w.nsfd(c->w.ctx, id);

	if (fd < 0)
		return err_set(e, EX_FAILED, "network namespace %u is not there", id);
	return setns(fd, CLONE_NEWNET) ? err_sys(e, "cannot enter network namespace %u", id) : 0;
}

/* Every namespace that has a record, and home. Those without links to others are built already: they are only asked. */
static int gather(struct connecting *c, const struct netns_recs *t, struct err *e)
{
	c->w.v = calloc(NETNS_MAX + 1, sizeof *c->w.v);
	if (!c->w.v)
		return err_set(e, EX_FAILED, "out of memory");
	for (uint32_t id = 0; id <= NETNS_MAX; id++) {
		struct netns *s = &c->w.v[c->w.n];

		if (!netns_recs_of(t, id)->n)
			continue;
		*s = netns_of(t, id);
		s->built = id != NETNS_HOME && !connected(t, id, false);
		c->w.n++;
		if (enter(c, id, e) || nl_open(&s->nl, NETLINK_ROUTE, e))
			return -1;
	}
	return 0;
}

/* sysctls and nft belong to the namespace that one is in. */
static int inside(const struct connecting *c, struct netns *s, int (*fn)(struct netns *s, struct err *e), struct err *e)
{
	return enter(c, s->id, e) || fn(s, e) ? -1 : 0;
}

/* The ends of links in our own namespace got the numbers that were free. */
static const char *renumbered(struct netns *home, const char *key, const char *val, char out[16])
{
	struct rec rec;
	uint64_t old;

	if ((strcmp(key, "INDEX") && strcmp(key, "OIF")) || num_u64(val, UINT32_MAX, &old) || !nlink_find(home, "link", (uint32_t)old, &rec))
		return val;
	snprintf(out, 16, "%u", nlink_named(home, rec_find(&rec, "NAME")));
	return out;
}

static int translate(struct connecting *c, struct netns *home, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	struct rec rec;
	uint64_t ns;

	for (size_t i = 0; i < home->list->n; i++) {
		char number_[16];

		rec_list_get(home->list, i, &rec);
		if (!netns_record(rec_type(&rec)) || rec_u64(&rec, "NS", UINT32_MAX, &ns, NULL) || ns != NETNS_HOME)
			continue;
		for (size_t k = 0; k < rec.n; k++)
			rec_put_str(&b, rec.f[k].key, renumbered(home, rec.f[k].key, rec.f[k].val, number_));
		rec_end(&b);
	}
	if (rec_list_parse(&c->translated, buf_str(&b), b.len, NETNS_MAX_RECORDS, e))
		return -1;
	home->list = &c->translated;
	home->recs = NULL;
	c->home = calloc(c->translated.n + 1, sizeof *c->home);
	if (!c->home)
		return err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; i < c->translated.n; i++)
		if (netns_rec(home, i, "link", &rec))
			c->home[home->nonly++] = number(&rec, "INDEX");
	home->only = c->home;
	return 0;
}

static int translate_home(struct connecting *c, struct err *e)
{
	for (size_t i = 0; i < c->w.n; i++)
		if (c->w.v[i].id == NETNS_HOME)
			return translate(c, &c->w.v[i], e);
	return 0;
}

static int finish(struct connecting *c, struct err *e)
{
	static int (*const steps[])(struct netns *s, struct err *e) = { nlink_options, nsysctl_apply, nlink_up, nlink_wait, objects, nlink_settle, nnft_apply };

	for (size_t k = 0; k < sizeof steps / sizeof steps[0]; k++)
		for (size_t i = 0; i < c->w.n; i++)
			if (!c->w.v[i].built && named(inside(c, &c->w.v[i], steps[k], e), &c->w.v[i], e))
				return -1;
	return 0;
}

int netns_connect(struct restore *r, const struct netns_recs *t, int (*nsfd)(void *ctx, uint32_t id), void *ctx, struct err *e)
{
	AUTO_CONNECTING struct connecting c = { .w = { .nsfd = nsfd, .ctx = ctx } };
	bool any = false;

	for (uint32_t id = 1; id <= NETNS_MAX && !any; id++)
		any = connected(t, id, false);
	if (!any)
		return 0;
	return gather(&c, t, e) || nlink_make(&c.w, e) || translate_home(&c, e) || finish(&c, e) ? -1 : 0;
}
