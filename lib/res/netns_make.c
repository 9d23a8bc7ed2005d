/* netns_make: links of network namespaces are made from their records; rtnetlink(7).
 *
 * Order: a link after the one that it lies on, whatever namespace that is in; then ports are given to their bridges; then options, as far as they
 * differ from what the kernel chose (a bridge whose address follows its ports shall go on following them); then, when sysctls are set, up. A link that
 * goes up gets no address of IPv6 from the kernel: the records have it, and it would not be usable for a second. */
#include "res/netns_int.h"
#include "common/cleanup.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/veth.h>
#include <net/if.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { WAIT_MS = 2000, STEP_MS = 5, ADDRESS_SELF = 1 /* IN6_ADDR_GEN_MODE_NONE */ };

static int failed(struct netns *s, int rc, const struct rec *rec, const char *what, struct err *e)
{
	const char *name = rec_find(rec, "NAME");

	errno = -rc;
	return err_sys(e, "link %s: %s%s%s", name ? name : "", s->nl.why, *s->nl.why ? ": " : "", what);
}

static uint32_t number(const struct rec *rec, const char *key, uint32_t dflt)
{
	uint32_t v;

	return netns_u32(rec, key, dflt, &v, NULL) ? dflt : v;
}

static struct netns *space(struct nworld *w, uint32_t id)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->v[i].id == id)
			return &w->v[i];
	return NULL;
}

/* ---- making ---- */

static const struct nfield birth[] = {
	{ IFLA_ADDRESS, NF_BIN, 32, "MAC" }, { IFLA_MTU, NF_U32, 0, "MTU" }, { IFLA_NUM_TX_QUEUES, NF_U32, 0, "TX_QUEUES" }, { IFLA_NUM_RX_QUEUES, NF_U32, 0, "RX_QUEUES" },
	{ IFLA_GSO_MAX_SIZE, NF_U32, 0, "GSO_SIZE" }, { IFLA_GSO_MAX_SEGS, NF_U32, 0, "GSO_SEGS" }, { IFLA_IFNAME, NF_STR, IFNAMSIZ, "NAME" }, { 0 },
};

/* A bridge takes its address from its ports unless it is given one. */
static int put_birth(const struct rec *rec, bool mac, struct nlmsg *m, struct err *e)
{
	return nrec_build(rec, birth + (mac ? 0 : 1), m, e);
}

static bool exists(struct netns *s, uint32_t index)
{
	struct ifinfomsg head = { .ifi_index = (int)index };
	AUTO_FREE struct nlmsg *m = malloc(sizeof *m);

	if (!m)
		return false;
	nl_begin(m, RTM_GETLINK, 0, &head, sizeof head);
	return !nl_do(&s->nl, m);
}

uint32_t nlink_named(struct netns *s, const char *name)
{
	struct ifinfomsg head = { 0 }, got;
	AUTO_FREE struct nlmsg *m = malloc(sizeof *m);

	if (!m)
		return 0;
	nl_begin(m, RTM_GETLINK, 0, &head, sizeof head);
	nl_put(m, IFLA_IFNAME, name, strlen(name) + 1);
	if (nl_get(&s->nl, m) || m->h.nlmsg_type != RTM_NEWLINK)
		return 0;
	memcpy(&got, NLMSG_DATA(&m->h), sizeof got);
	return (uint32_t)got.ifi_index;
}

/* keep: the other end gets its number again; one in NETNS_HOME may find it taken. */
static int put_peer(struct nworld *w, struct netns *s, const struct rec *rec, bool keep, struct nlmsg *m, struct err *e)
{
	struct netns other = { .id = number(rec, "PEER_NS", s->id), .list = s->list, .recs = s->recs };
	struct ifinfomsg head = { .ifi_index = keep ? (int)number(rec, "PEER", 0) : 0 };
	struct rec peer;
	int fd = -1;
	size_t at;

	if (!nlink_find(&other, "link", number(rec, "PEER", 0), &peer))
		return err_set(e, EX_BAD_IMAGE, "line %zu: the other end is missing", rec->line);
	if (other.id != s->id) {
		fd = w->nsfd ? w->nsfd(w->ctx, other.id) : -1;
		if (fd < 0)
			return err_set(e, EX_FAILED, "network namespace %u is not there", other.id);
	}
	at = nl_nest(m, VETH_INFO_PEER);
	if (NLMSG_ALIGN(m->h.nlmsg_len) + sizeof head > NL_ROOM)
		return err_set(e, EX_BAD_IMAGE, "line %zu: too long", rec->line);
	memcpy(m->b + NLMSG_ALIGN(m->h.nlmsg_len), &head, sizeof head);
	m->h.nlmsg_len = NLMSG_ALIGN(m->h.nlmsg_len) + (uint32_t)sizeof head;
	if (put_birth(&peer, true, m, e))
		return -1;
	if (fd >= 0)
		nl_put_u32(m, IFLA_NET_NS_FD, (uint32_t)fd);
	nl_nest_end(m, at);
	return 0;
}

/* The namespace and the number of what it lies on. 1: it is not there yet. */
static int lower(struct nworld *w, struct netns *s, const struct rec *rec, struct netns **in, uint32_t *index, struct err *e)
{
	uint32_t id = number(rec, "LINK_NS", s->id);
	struct rec r;

	*index = number(rec, "LINK", 0);
	*in = space(w, id);
	if (!*in)
		return err_set(e, EX_FAILED, "network namespace %u is not there", id);
	if (id == NETNS_HOME) {
		if (!nlink_find(*in, "lower", *index, &r))
			return err_set(e, EX_BAD_IMAGE, "line %zu: the link that it lies on is missing", rec->line);
		*index = nlink_named(*in, rec_find(&r, "NAME"));
		return *index ? 0 : err_set(e, EX_MISFIT, "there is no interface %s, which link %s lies on", rec_find(&r, "NAME"), rec_find(rec, "NAME"));
	}
	return exists(*in, *index) ? 0 : 1;
}

/* 1: it needs another first. */
static int make_one(struct nworld *w, struct netns *s, const struct rec *rec, bool keep, struct nlmsg *m, struct err *e)
{
	const char *kind = rec_find(rec, "KIND");
	const struct nkind *k = nlink_kind(kind);
	struct ifinfomsg head = { .ifi_index = (int)number(rec, "INDEX", 0) };
	struct netns *from = s;
	uint32_t on = 0;
	struct rec data;
	size_t at, in;
	int rc = k->lower ? lower(w, s, rec, &from, &on, e) : 0;

	if (rc)
		return rc;
	nl_begin(m, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &head, sizeof head);
	if (put_birth(rec, strcmp(kind, "bridge"), m, e))
		return -1;
	if (on)
		nl_put_u32(m, IFLA_LINK, on);
	if (from != s)
		nl_put_u32(m, IFLA_NET_NS_FD, (uint32_t)w->nsfd(w->ctx, s->id));
	at = nl_nest(m, IFLA_LINKINFO);
	nl_put(m, IFLA_INFO_KIND, kind, strlen(kind));
	in = nl_nest(m, IFLA_INFO_DATA);
	if (!strcmp(kind, "veth") && put_peer(w, s, rec, keep, m, e))
		return -1;
	if (k->birth && (!nlink_find(s, "linkdata", number(rec, "INDEX", 0), &data) || nrec_build(&data, k->data, m, e)))
		return err_is_set(e) ? -1 : err_set(e, EX_BAD_IMAGE, "line %zu: its options are missing", rec->line);
	nl_nest_end(m, in);
	nl_nest_end(m, at);
	rc = nl_do(&from->nl, m);
	if ((rc == -EEXIST || rc == -EBUSY) && keep && number(rec, "PEER_NS", s->id) == NETNS_HOME)
		return make_one(w, s, rec, false, m, e);
	/* The kernel says that without a text where it has no such driver. */
	if (rc == -EOPNOTSUPP && !*from->nl.why)
		return err_set(e, EX_MISFIT, "link %s: this kernel has no interfaces of the kind %s", rec_find(rec, "NAME"), kind);
	return rc ? failed(from, rc, rec, "cannot be made", e) : 0;
}

/* Those with an end in NETNS_HOME come into being with the other end. */
static bool to_be_made(struct netns *s, const struct rec *rec)
{
	const char *kind = rec_find(rec, "KIND");

	return s->id != NETNS_HOME && nlink_kind(kind) && strcmp(kind, "loopback") && !exists(s, number(rec, "INDEX", 0));
}

static int make_all(struct nworld *w, struct nlmsg *m, struct err *e)
{
	for (bool more = true, progress = true; more;) {
		if (!progress)
			return err_set(e, EX_BAD_IMAGE, "links that lie on each other");
		more = progress = false;
		for (size_t k = 0; k < w->n; k++)
			for (size_t i = 0; i < w->v[k].list->n && !w->v[k].built; i++) {
				struct rec rec;
				int rc;

				if (!netns_rec(&w->v[k], i, "link", &rec) || !to_be_made(&w->v[k], &rec))
					continue;
				rc = make_one(w, &w->v[k], &rec, true, m, e);
				if (rc < 0)
					return -1;
				more |= rc == 1;
				progress |= rc == 0;
			}
	}
	return 0;
}

/* ---- options ---- */

/* What is there now, as records. */
static int look(struct netns *s, struct rec_list *l, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;

	return nlink_dump(s, &b, e) || rec_list_parse(l, buf_str(&b), b.len, NETNS_MAX_RECORDS, e) ? -1 : 0;
}

/* Adds to m what rec has otherwise than now. True: something. */
static int put_changes(const struct rec *rec, const struct rec *now, const struct nfield *fields, struct nlmsg *m, struct err *e)
{
	bool any = false;

	for (const struct nfield *f = fields; f->key; f++) {
		const char *want = rec_find(rec, f->key), *have = rec_find(now, f->key);

		if (!want || f->form == NF_DROP || f->form == NF_OWN || (have && !strcmp(have, want)))
			continue;
		if (nrec_field(rec, f, m, e))
			return -1;
		any = true;
	}
	return any;
}

static void begin_set(struct nlmsg *m, const struct rec *rec, unsigned flags, unsigned change)
{
	struct ifinfomsg head = { .ifi_index = (int)number(rec, "INDEX", 0), .ifi_flags = flags, .ifi_change = change };

	nl_begin(m, RTM_NEWLINK, 0, &head, sizeof head);
}

/* Those that the kernel has a queue of take their time; one each, so that one that is refused is named. */
static int set_options(struct netns *s, const struct rec *rec, const struct rec_list *there, struct nlmsg *m, struct err *e)
{
	struct netns now = { .id = s->id, .list = there };
	uint32_t index = number(rec, "INDEX", 0);
	struct rec old;

	if (!nlink_find(&now, "link", index, &old))
		return err_set(e, EX_FAILED, "link %s has gone", rec_find(rec, "NAME"));
	for (const struct nfield *f = nlink_fields; f->form != NF_DROP; f++) {
		const struct nfield one[2] = { *f, { 0 } };
		int rc;

		begin_set(m, rec, 0, 0);
		rc = put_changes(rec, &old, one, m, e);
		if (rc > 0) {
			rc = nl_do(&s->nl, m);
			if (rc)
				return failed(s, rc, rec, f->key, e);
		}
		if (rc < 0)
			return -1;
	}
	return 0;
}

static int set_data(struct netns *s, const struct rec *link, const char *type, const char *kind, uint16_t outer, uint16_t inner, const struct nfield *fields,
		    const struct rec_list *there, struct nlmsg *m, struct err *e)
{
	struct netns now = { .id = s->id, .list = there };
	uint32_t index = number(link, "INDEX", 0);
	struct rec rec, old;
	size_t info, data;
	int rc;

	if (!nlink_find(s, type, index, &rec))
		return 0;
	if (!nlink_find(&now, type, index, &old))
		old.n = 0;
	begin_set(m, link, 0, 0);
	info = nl_nest(m, IFLA_LINKINFO);
	nl_put(m, outer, kind, strlen(kind) + 1);
	data = nl_nest(m, inner);
	rc = put_changes(&rec, &old, fields, m, e);
	nl_nest_end(m, data);
	nl_nest_end(m, info);
	if (rc <= 0)
		return rc;
	rc = nl_do(&s->nl, m);
	return rc ? failed(s, rc, link, type, e) : 0;
}

static int set_altnames(struct netns *s, const struct rec *rec, struct nlmsg *m, struct err *e)
{
	AUTO_FREE char *copy = rec_find(rec, "ALTNAMES") ? strdup(rec_find(rec, "ALTNAMES")) : NULL;
	struct ifinfomsg head = { .ifi_index = (int)number(rec, "INDEX", 0) };
	char *save = NULL, *name = copy ? strtok_r(copy, " ", &save) : NULL;
	size_t at;
	int rc;

	if (!name)
		return 0;
	nl_begin(m, RTM_NEWLINKPROP, NLM_F_EXCL | NLM_F_CREATE | NLM_F_APPEND, &head, sizeof head);
	at = nl_nest(m, IFLA_PROP_LIST);
	for (; name; name = strtok_r(NULL, " ", &save))
		nl_put(m, IFLA_ALT_IFNAME, name, strlen(name) + 1);
	nl_nest_end(m, at);
	rc = nl_do(&s->nl, m);
	return rc ? failed(s, rc, rec, "alternative names", e) : 0;
}

static int set_master(struct netns *s, const struct rec *rec, struct nlmsg *m, struct err *e)
{
	const char *name = rec_find(rec, "MASTER_NAME");
	uint32_t master = name ? nlink_named(s, name) : number(rec, "MASTER", 0);
	int rc;

	if (name && !master)
		return err_set(e, EX_MISFIT, "there is no bridge %s, which link %s is a port of", name, rec_find(rec, "NAME"));
	if (!master)
		return 0;
	begin_set(m, rec, 0, 0);
	nl_put_u32(m, IFLA_MASTER, master);
	rc = nl_do(&s->nl, m);
	return rc ? failed(s, rc, rec, "cannot be made a port of its bridge", e) : 0;
}

typedef int each_link(struct netns *s, const struct rec *rec, struct nlmsg *m, struct err *e);

static int each(struct netns *s, each_link *fn, struct nlmsg *m, struct err *e)
{
	struct rec rec;

	for (size_t i = 0; i < s->list->n; i++)
		if (netns_rec(s, i, "link", &rec) && fn(s, &rec, m, e))
			return -1;
	return 0;
}

int nlink_options(struct netns *s, struct err *e)
{
	AUTO_FREE struct nlmsg *m = malloc(sizeof *m);
	struct rec_list there = { 0 };
	struct rec rec;
	int rc = m ? 0 : err_set(e, EX_FAILED, "out of memory");

	if (!rc)
		rc = each(s, set_master, m, e) || look(s, &there, e) ? -1 : 0;
	for (size_t i = 0; i < s->list->n && !rc; i++) {
		const struct nkind *k;

		if (!netns_rec(s, i, "link", &rec))
			continue;
		k = nlink_kind(rec_find(&rec, "KIND"));
		rc = set_options(s, &rec, &there, m, e) || set_altnames(s, &rec, m, e) ||
		     (k && k->data && set_data(s, &rec, "linkdata", k->name, IFLA_INFO_KIND, IFLA_INFO_DATA, k->data, &there, m, e)) ||
		     set_data(s, &rec, "portdata", "bridge", IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA, nlink_port, &there, m, e) ? -1 : 0;
	}
	rec_list_free(&there);
	return rc;
}

int nlink_make(struct nworld *w, struct err *e)
{
	AUTO_FREE struct nlmsg *m = malloc(sizeof *m);

	return m ? make_all(w, m, e) : err_set(e, EX_FAILED, "out of memory");
}

/* ---- up ---- */

static int address_mode(struct netns *s, const struct rec *rec, uint32_t mode, struct nlmsg *m, struct err *e)
{
	uint8_t v = (uint8_t)mode;
	size_t spec, in;
	int rc;

	if (!rec_find(rec, "ADDR_GEN_MODE"))
		return 0;
	begin_set(m, rec, 0, 0);
	spec = nl_nest(m, IFLA_AF_SPEC);
	in = nl_nest(m, AF_INET6);
	nl_put(m, IFLA_INET6_ADDR_GEN_MODE, &v, sizeof v);
	nl_nest_end(m, in);
	nl_nest_end(m, spec);
	rc = nl_do(&s->nl, m);
	return rc ? failed(s, rc, rec, "its way to make addresses of IPv6", e) : 0;
}

static int up(struct netns *s, const struct rec *rec, struct nlmsg *m, struct err *e)
{
	unsigned flags = number(rec, "FLAGS", 0), settable = IFF_UP | IFF_DEBUG | IFF_NOARP | IFF_PROMISC | IFF_ALLMULTI | IFF_MULTICAST | IFF_DYNAMIC;
	int rc;

	if (address_mode(s, rec, ADDRESS_SELF, m, e))
		return -1;
	begin_set(m, rec, flags & settable, settable);
	rc = nl_do(&s->nl, m);
	return rc ? failed(s, rc, rec, "cannot be put up", e) : 0;
}

int nlink_up(struct netns *s, struct err *e)
{
	AUTO_FREE struct nlmsg *m = malloc(sizeof *m);

	return m ? each(s, up, m, e) : err_set(e, EX_FAILED, "out of memory");
}

static bool all_run(const struct netns *s, const struct rec_list *there)
{
	struct netns now = { .id = s->id, .list = there };
	struct rec rec, r;

	for (size_t i = 0; i < s->list->n; i++)
		if (netns_rec(s, i, "link", &rec) && rec_find(&rec, "RUNNING") &&
		    nlink_find(&now, "link", number(&rec, "INDEX", 0), &r) && !rec_find(&r, "RUNNING"))
			return false;
	return true;
}

/* The kernel says that a link has a carrier some time after it has it, and no route leads there until then. */
int nlink_wait(struct netns *s, struct err *e)
{
	for (int ms = 0; ms < WAIT_MS; ms += STEP_MS) {
		struct rec_list there = { 0 };
		bool all;

		if (look(s, &there, e))
			return -1;
		all = all_run(s, &there);
		rec_list_free(&there);
		if (all)
			return 0;
		poll(NULL, 0, STEP_MS);
	}
	return 0;
}

/* ---- the end ---- */

static int back(struct netns *s, const struct rec *rec, struct nlmsg *m, struct err *e)
{
	uint32_t mode = number(rec, "ADDR_GEN_MODE", ADDRESS_SELF);

	return mode == ADDRESS_SELF ? 0 : address_mode(s, rec, mode, m, e);
}

static int same(struct netns *s, const struct rec_list *there, const char *type, const struct rec *rec, struct err *e)
{
	static const char *const loose[] = { "RUNNING", "LINK", "LINK_NS", "PEER", "PEER_NS", "MASTER_NAME", NULL };
	struct netns now = { .id = s->id, .list = there };
	AUTO_BUF struct buf a = BUF_INIT, b = BUF_INIT;
	struct rec r;

	if (!nlink_find(&now, type, number(rec, "INDEX", 0), &r))
		return err_set(e, EX_FAILED, "%s %u has gone", type, number(rec, "INDEX", 0));
	if (s->id == NETNS_HOME) /* its bridge may have another number */
		for (size_t i = 0; i < r.n; i++)
			if (!strcmp(r.f[i].key, "MASTER"))
				r.f[i].key = "MASTER_NAME";
	nrec_text(rec, loose, &a);
	nrec_text(&r, loose, &b);
	return strcmp(buf_str(&a), buf_str(&b)) ? err_set(e, EX_FAILED, "%s does not come back as it was:%s; it is:%s", type, buf_str(&a), buf_str(&b)) : 0;
}

int nlink_settle(struct netns *s, struct err *e)
{
	static const char *const types[] = { "link", "linkdata", "portdata" };
	AUTO_FREE struct nlmsg *m = malloc(sizeof *m);
	struct rec_list there = { 0 };
	struct rec rec;
	int rc;

	if (!m)
		return err_set(e, EX_FAILED, "out of memory");
	rc = each(s, back, m, e) || look(s, &there, e) ? -1 : 0;
	for (size_t t = 0; t < 3; t++)
		for (size_t i = 0; i < s->list->n && !rc; i++)
			if (netns_rec(s, i, types[t], &rec))
				rc = same(s, &there, types[t], &rec, e);
	rec_list_free(&there);
	return rc;
}
