/* netns_link: network interfaces as records; rtnetlink(7), the kernel's networking documentation of each kind.
 *
 * Records: link (what every interface has), linkdata (options of its kind), portdata (its options as port of a bridge). An option that is in no
 * table here is refused unless it is zero. */
#include "res/netns_int.h"
#include "common/cleanup.h"

#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
	MAC_MAX = 32, ALIAS_MAX = 256, ALTNAME_MAX = 128, ALTNAMES_MAX = 64,
	GSO_IPV4_MAX = 63, GRO_IPV4_MAX = 64,  /* Linux 6.3 */
	BR_FDB_MAX_LEARNED = 49,               /* 6.7 */
	PORT_MAB = 40, PORT_GROUPS = 41, PORT_MAX_GROUPS = 42, PORT_NEIGH_VLAN = 43, PORT_BACKUP_NHID = 44,
	MACVLAN_CUTOFF = 9,                    /* 6.4 */
	FLAGS = IFF_UP | IFF_DEBUG | IFF_NOARP | IFF_PROMISC | IFF_ALLMULTI | IFF_MULTICAST | IFF_DYNAMIC,
};

static const struct nfield bridge_data[] = {
	{ IFLA_BR_FORWARD_DELAY, NF_U32, 0, "FORWARD_DELAY" }, { IFLA_BR_HELLO_TIME, NF_U32, 0, "HELLO_TIME" }, { IFLA_BR_MAX_AGE, NF_U32, 0, "MAX_AGE" },
	{ IFLA_BR_AGEING_TIME, NF_U32, 0, "AGEING_TIME" }, { IFLA_BR_STP_STATE, NF_U32, 0, "STP" }, { IFLA_BR_PRIORITY, NF_U16, 0, "PRIORITY" },
	{ IFLA_BR_VLAN_PROTOCOL, NF_BE16, 0, "VLAN_PROTOCOL" }, { IFLA_BR_VLAN_DEFAULT_PVID, NF_U16, 0, "VLAN_DEFAULT" },
	{ IFLA_BR_VLAN_FILTERING, NF_U8, 0, "VLAN_FILTERING" }, { IFLA_BR_VLAN_STATS_ENABLED, NF_U8, 0, "VLAN_STATS" },
	{ IFLA_BR_VLAN_STATS_PER_PORT, NF_U8, 0, "VLAN_STATS_PORT" }, { IFLA_BR_GROUP_FWD_MASK, NF_U16, 0, "GROUP_FWD_MASK" },
	{ IFLA_BR_GROUP_ADDR, NF_BIN, 6, "GROUP_ADDR" }, { IFLA_BR_MCAST_ROUTER, NF_U8, 0, "MCAST_ROUTER" }, { IFLA_BR_MCAST_SNOOPING, NF_U8, 0, "MCAST_SNOOPING" },
	{ IFLA_BR_MCAST_QUERY_USE_IFADDR, NF_U8, 0, "MCAST_IFADDR" }, { IFLA_BR_MCAST_QUERIER, NF_U8, 0, "MCAST_QUERIER" },
	{ IFLA_BR_MCAST_HASH_MAX, NF_U32, 0, "MCAST_HASH_MAX" }, { IFLA_BR_MCAST_LAST_MEMBER_CNT, NF_U32, 0, "MCAST_LAST_COUNT" },
	{ IFLA_BR_MCAST_STARTUP_QUERY_CNT, NF_U32, 0, "MCAST_STARTUP_COUNT" }, { IFLA_BR_MCAST_LAST_MEMBER_INTVL, NF_U64, 0, "MCAST_LAST" },
	{ IFLA_BR_MCAST_MEMBERSHIP_INTVL, NF_U64, 0, "MCAST_MEMBERSHIP" }, { IFLA_BR_MCAST_QUERIER_INTVL, NF_U64, 0, "MCAST_QUERIER_TIME" },
	{ IFLA_BR_MCAST_QUERY_INTVL, NF_U64, 0, "MCAST_QUERY" }, { IFLA_BR_MCAST_QUERY_RESPONSE_INTVL, NF_U64, 0, "MCAST_RESPONSE" },
	{ IFLA_BR_MCAST_STARTUP_QUERY_INTVL, NF_U64, 0, "MCAST_STARTUP" }, { IFLA_BR_MCAST_STATS_ENABLED, NF_U8, 0, "MCAST_STATS" },
	{ IFLA_BR_MCAST_IGMP_VERSION, NF_U8, 0, "IGMP" }, { IFLA_BR_MCAST_MLD_VERSION, NF_U8, 0, "MLD" },
	{ IFLA_BR_NF_CALL_IPTABLES, NF_U8, 0, "CALL_IPTABLES" }, { IFLA_BR_NF_CALL_IP6TABLES, NF_U8, 0, "CALL_IP6TABLES" },
	{ IFLA_BR_NF_CALL_ARPTABLES, NF_U8, 0, "CALL_ARPTABLES" }, { IFLA_BR_MULTI_BOOLOPT, NF_BIN, 8, "BOOLEANS" }, { BR_FDB_MAX_LEARNED, NF_U32, 0, "MAX_LEARNED" },
	{ IFLA_BR_ROOT_ID, NF_DROP, 0, "-" }, { IFLA_BR_BRIDGE_ID, NF_DROP, 0, "-" }, { IFLA_BR_ROOT_PORT, NF_DROP, 0, "-" },
	{ IFLA_BR_ROOT_PATH_COST, NF_DROP, 0, "-" }, { IFLA_BR_TOPOLOGY_CHANGE, NF_DROP, 0, "-" }, { IFLA_BR_TOPOLOGY_CHANGE_DETECTED, NF_DROP, 0, "-" },
	{ IFLA_BR_HELLO_TIMER, NF_DROP, 0, "-" }, { IFLA_BR_TCN_TIMER, NF_DROP, 0, "-" }, { IFLA_BR_TOPOLOGY_CHANGE_TIMER, NF_DROP, 0, "-" },
	{ IFLA_BR_GC_TIMER, NF_DROP, 0, "-" }, { IFLA_BR_MCAST_HASH_ELASTICITY, NF_DROP, 0, "-" }, { IFLA_BR_MCAST_QUERIER_STATE, NF_DROP, 0, "-" },
	{ 48 /* FDB_N_LEARNED */, NF_DROP, 0, "-" }, { 0 },
};

/* Not its state: the bridge leads its ports there. */
const struct nfield nlink_port[] = {
	{ IFLA_BRPORT_PRIORITY, NF_U16, 0, "PRIORITY" }, { IFLA_BRPORT_COST, NF_U32, 0, "COST" }, { IFLA_BRPORT_MODE, NF_U8, 0, "HAIRPIN" },
	{ IFLA_BRPORT_GUARD, NF_U8, 0, "GUARD" }, { IFLA_BRPORT_PROTECT, NF_U8, 0, "PROTECT" }, { IFLA_BRPORT_FAST_LEAVE, NF_U8, 0, "FAST_LEAVE" },
	{ IFLA_BRPORT_LEARNING, NF_U8, 0, "LEARNING" }, { IFLA_BRPORT_UNICAST_FLOOD, NF_U8, 0, "UNICAST_FLOOD" }, { IFLA_BRPORT_PROXYARP, NF_U8, 0, "PROXYARP" },
	{ IFLA_BRPORT_PROXYARP_WIFI, NF_U8, 0, "PROXYARP_WIFI" }, { IFLA_BRPORT_MULTICAST_ROUTER, NF_U8, 0, "MCAST_ROUTER" },
	{ IFLA_BRPORT_MCAST_FLOOD, NF_U8, 0, "MCAST_FLOOD" }, { IFLA_BRPORT_MCAST_TO_UCAST, NF_U8, 0, "MCAST_TO_UCAST" },
	{ IFLA_BRPORT_VLAN_TUNNEL, NF_U8, 0, "VLAN_TUNNEL" }, { IFLA_BRPORT_BCAST_FLOOD, NF_U8, 0, "BCAST_FLOOD" },
	{ IFLA_BRPORT_GROUP_FWD_MASK, NF_U16, 0, "GROUP_FWD_MASK" }, { IFLA_BRPORT_NEIGH_SUPPRESS, NF_U8, 0, "NEIGH_SUPPRESS" },
	{ IFLA_BRPORT_ISOLATED, NF_U8, 0, "ISOLATED" }, { IFLA_BRPORT_BACKUP_PORT, NF_U32, 0, "BACKUP_PORT" },
	{ IFLA_BRPORT_MCAST_EHT_HOSTS_LIMIT, NF_U32, 0, "EHT_LIMIT" }, { IFLA_BRPORT_LOCKED, NF_U8, 0, "LOCKED" }, { PORT_MAB, NF_U8, 0, "MAB" },
	{ PORT_MAX_GROUPS, NF_U32, 0, "MAX_GROUPS" }, { PORT_NEIGH_VLAN, NF_U8, 0, "NEIGH_VLAN" },
	{ IFLA_BRPORT_STATE, NF_DROP, 0, "-" }, { IFLA_BRPORT_ROOT_ID, NF_DROP, 0, "-" }, { IFLA_BRPORT_BRIDGE_ID, NF_DROP, 0, "-" },
	{ IFLA_BRPORT_DESIGNATED_PORT, NF_DROP, 0, "-" }, { IFLA_BRPORT_DESIGNATED_COST, NF_DROP, 0, "-" }, { IFLA_BRPORT_ID, NF_DROP, 0, "-" },
	{ IFLA_BRPORT_NO, NF_DROP, 0, "-" }, { IFLA_BRPORT_TOPOLOGY_CHANGE_ACK, NF_DROP, 0, "-" }, { IFLA_BRPORT_CONFIG_PENDING, NF_DROP, 0, "-" },
	{ IFLA_BRPORT_MESSAGE_AGE_TIMER, NF_DROP, 0, "-" }, { IFLA_BRPORT_FORWARD_DELAY_TIMER, NF_DROP, 0, "-" }, { IFLA_BRPORT_HOLD_TIMER, NF_DROP, 0, "-" },
	{ IFLA_BRPORT_MCAST_EHT_HOSTS_CNT, NF_DROP, 0, "-" }, { PORT_GROUPS, NF_DROP, 0, "-" }, { 0 },
};

static const struct nfield vlan_data[] = {
	{ IFLA_VLAN_ID, NF_U16, 0, "ID" }, { IFLA_VLAN_FLAGS, NF_BIN, 8, "OPTIONS" }, { IFLA_VLAN_PROTOCOL, NF_BE16, 0, "PROTOCOL" }, { 0 },
};
static const struct nfield macvlan_data[] = {
	{ IFLA_MACVLAN_MODE, NF_U32, 0, "MODE" }, { IFLA_MACVLAN_FLAGS, NF_U16, 0, "OPTIONS" }, { IFLA_MACVLAN_BC_QUEUE_LEN, NF_U32, 0, "BC_QUEUE" },
	{ MACVLAN_CUTOFF, NF_S32, 0, "BC_CUTOFF" }, { IFLA_MACVLAN_BC_QUEUE_LEN_USED, NF_DROP, 0, "-" }, { 0 },
};
static const struct nfield ipvlan_data[] = { { IFLA_IPVLAN_MODE, NF_U16, 0, "MODE" }, { IFLA_IPVLAN_FLAGS, NF_U16, 0, "OPTIONS" }, { 0 } };

const struct nkind nlink_kinds[] = {
	{ "loopback", NULL, false, false }, { "dummy", NULL, false, false }, { "ifb", NULL, false, false }, { "veth", NULL, false, false },
	{ "bridge", bridge_data, false, false }, { "vlan", vlan_data, true, true }, { "macvlan", macvlan_data, true, true },
	{ "ipvlan", ipvlan_data, true, true }, { 0 },
};

/* Fallback devices of tunnels: they come with each namespace. */
static const struct { const char *kind, *name; } born[] = {
	{ "ipip", "tunl0" }, { "gre", "gre0" }, { "gretap", "gretap0" }, { "erspan", "erspan0" }, { "vti", "ip_vti0" }, { "vti6", "ip6_vti0" },
	{ "sit", "sit0" }, { "ip6tnl", "ip6tnl0" }, { "ip6gre", "ip6gre0" },
};

const struct nkind *nlink_kind(const char *name)
{
	for (const struct nkind *k = nlink_kinds; k->name; k++)
		if (!strcmp(k->name, name))
			return k;
	return NULL;
}

bool nlink_born(const char *kind, const char *name)
{
	for (size_t i = 0; i < sizeof born / sizeof born[0]; i++)
		if (!strcmp(born[i].kind, kind) && !strcmp(born[i].name, name))
			return true;
	return false;
}

bool nlink_name_ok(const char *name)
{
	size_t n = strlen(name);

	if (!n || n >= IFNAMSIZ || !strcmp(name, ".") || !strcmp(name, ".."))
		return false;
	for (const char *c = name; *c; c++)
		if ((unsigned char)*c <= ' ' || *c == '/' || *c == ':' || *c == '%' || *c == 0x7f)
			return false;
	return true;
}

const struct nfield nlink_fields[] = {
	{ IFLA_ADDRESS, NF_BIN, MAC_MAX, "MAC" }, { IFLA_BROADCAST, NF_BIN, MAC_MAX, "BROADCAST" }, { IFLA_MTU, NF_U32, 0, "MTU" }, { IFLA_TXQLEN, NF_U32, 0, "QUEUE" },
	{ IFLA_LINKMODE, NF_U8, 0, "LINKMODE" }, { IFLA_IFALIAS, NF_STR, ALIAS_MAX, "ALIAS" }, { IFLA_GROUP, NF_U32, 0, "GROUP" },
	{ IFLA_NUM_TX_QUEUES, NF_U32, 0, "TX_QUEUES" }, { IFLA_NUM_RX_QUEUES, NF_U32, 0, "RX_QUEUES" }, { IFLA_GSO_MAX_SIZE, NF_U32, 0, "GSO_SIZE" },
	{ IFLA_GSO_MAX_SEGS, NF_U32, 0, "GSO_SEGS" }, { IFLA_GRO_MAX_SIZE, NF_U32, 0, "GRO_SIZE" }, { GSO_IPV4_MAX, NF_U32, 0, "GSO_IPV4_SIZE" },
	{ GRO_IPV4_MAX, NF_U32, 0, "GRO_IPV4_SIZE" }, { IFLA_PROTO_DOWN, NF_U8, 0, "PROTO_DOWN" }, { IFLA_MASTER, NF_U32, 0, "MASTER" },
	{ IFLA_PROP_LIST, NF_OWN, 0, "ALTNAMES" }, { IFLA_AF_SPEC, NF_OWN, 0, "ADDR_GEN_MODE" }, { IFLA_XDP, NF_OWN, 0, "-" },
	{ IFLA_IFNAME, NF_DROP, 0, "-" }, { IFLA_LINK, NF_DROP, 0, "-" }, { IFLA_LINK_NETNSID, NF_DROP, 0, "-" }, { IFLA_LINKINFO, NF_DROP, 0, "-" },
	{ IFLA_QDISC, NF_DROP, 0, "-" }, { IFLA_STATS, NF_DROP, 0, "-" }, { IFLA_STATS64, NF_DROP, 0, "-" }, { IFLA_MAP, NF_DROP, 0, "-" }, { IFLA_WEIGHT, NF_DROP, 0, "-" },
	{ IFLA_OPERSTATE, NF_DROP, 0, "-" }, { IFLA_CARRIER, NF_DROP, 0, "-" }, { IFLA_CARRIER_CHANGES, NF_DROP, 0, "-" }, { IFLA_CARRIER_UP_COUNT, NF_DROP, 0, "-" },
	{ IFLA_CARRIER_DOWN_COUNT, NF_DROP, 0, "-" }, { IFLA_PROMISCUITY, NF_DROP, 0, "-" }, { IFLA_ALLMULTI, NF_DROP, 0, "-" }, { IFLA_EVENT, NF_DROP, 0, "-" },
	{ IFLA_MIN_MTU, NF_DROP, 0, "-" }, { IFLA_MAX_MTU, NF_DROP, 0, "-" }, { IFLA_TSO_MAX_SIZE, NF_DROP, 0, "-" }, { IFLA_TSO_MAX_SEGS, NF_DROP, 0, "-" },
	{ IFLA_PERM_ADDRESS, NF_DROP, 0, "-" }, { IFLA_PARENT_DEV_NAME, NF_DROP, 0, "-" }, { IFLA_PARENT_DEV_BUS_NAME, NF_DROP, 0, "-" },
	{ IFLA_PHYS_PORT_NAME, NF_DROP, 0, "-" }, { IFLA_PHYS_PORT_ID, NF_DROP, 0, "-" }, { IFLA_PHYS_SWITCH_ID, NF_DROP, 0, "-" }, { IFLA_PROTINFO, NF_DROP, 0, "-" },
	{ 62 /* DEVLINK_PORT */, NF_DROP, 0, "-" }, { 65 /* DPLL_PIN */, NF_DROP, 0, "-" }, { 66 /* MAX_PACING_OFFLOAD_HORIZON */, NF_DROP, 0, "-" },
	{ 67 /* NETNS_IMMUTABLE */, NF_DROP, 0, "-" }, { 68 /* HEADROOM */, NF_DROP, 0, "-" }, { 69 /* TAILROOM */, NF_DROP, 0, "-" }, { 0 },
};
const char *const nlink_own[] = {
	"INDEX", "NAME", "KIND", "HWTYPE", "FLAGS", "RUNNING", "LINK", "LINK_NS", "PEER", "PEER_NS", "ALTNAMES", "ADDR_GEN_MODE", "MASTER_NAME", NULL,
};

/* ---- to records ---- */

static const char *put_altnames(struct buf *out, const struct rtattr *list)
{
	const struct rtattr *a = RTA_DATA(list);
	int left = (int)RTA_PAYLOAD(list);
	AUTO_BUF struct buf b = BUF_INIT;

	/* Names have no blank. */
	for (; left > 0 && RTA_OK(a, left); a = RTA_NEXT(a, left))
		buf_printf(&b, "%s%.*s", b.len ? " " : "", (int)RTA_PAYLOAD(a), (const char *)RTA_DATA(a));
	rec_put_str(out, "ALTNAMES", buf_str(&b));
	return NULL;
}

static const char *put_inet6(struct buf *out, const struct rtattr *spec)
{
	const struct rtattr *tb[NL_ATTRS], *in[NL_ATTRS];
	static const unsigned char none[16];

	if (nl_nested(spec, tb) || !tb[AF_INET6] || nl_nested(tb[AF_INET6], in))
		return NULL;
	if (in[IFLA_INET6_ADDR_GEN_MODE] && RTA_PAYLOAD(in[IFLA_INET6_ADDR_GEN_MODE]) == 1)
		rec_put_u64(out, "ADDR_GEN_MODE", *(const unsigned char *)RTA_DATA(in[IFLA_INET6_ADDR_GEN_MODE]));
	if (in[IFLA_INET6_TOKEN] && RTA_PAYLOAD(in[IFLA_INET6_TOKEN]) == 16 && memcmp(RTA_DATA(in[IFLA_INET6_TOKEN]), none, 16))
		return "its token for addresses (ip token)";
	return NULL;
}

static const char *link_put(struct buf *out, const struct nlmsghdr *h, const struct rtattr *a)
{
	const struct rtattr *tb[NL_ATTRS];

	switch (a->rta_type & NLA_TYPE_MASK) {
	case IFLA_PROP_LIST:
		return put_altnames(out, a);
	case IFLA_AF_SPEC:
		return put_inet6(out, a);
	default: /* IFLA_XDP */
		return !nl_nested(a, tb) && tb[IFLA_XDP_ATTACHED] && *(const unsigned char *)RTA_DATA(tb[IFLA_XDP_ATTACHED]) ? "an XDP program" : NULL;
	}
}

struct links { struct netns *s; struct buf *out; };

/* Where the link is that it lies on, or the other end of a pair. False: nowhere that we know. */
static bool put_lower(struct netns *s, struct buf *out, const struct rtattr *const tb[], bool pair)
{
	int32_t nsid = tb[IFLA_LINK_NETNSID] ? (int32_t)nl_u32(tb[IFLA_LINK_NETNSID]) : -1;

	if (!tb[IFLA_LINK])
		return false;
	rec_put_u64(out, pair ? "PEER" : "LINK", nl_u32(tb[IFLA_LINK]));
	if (!tb[IFLA_LINK_NETNSID])
		return true;
	if (netns_find_nsids(s))
		return false;
	for (size_t i = 0; i < s->nknown && nsid >= 0; i++)
		if (s->nsids[i] == nsid) {
			rec_put_u64(out, pair ? "PEER_NS" : "LINK_NS", s->known[i].id);
			return true;
		}
	return false;
}

static void put_data(struct links *l, const char *type, uint32_t index, const char *name, const char *kind, const struct nfield *fields, const struct rtattr *data)
{
	const struct rtattr *tb[NL_ATTRS] = { 0 };
	char why[NREC_WHY];

	rec_begin(l->out, type);
	rec_put_u64(l->out, "NS", l->s->id);
	rec_put_u64(l->out, "INDEX", index);
	if ((data && nl_nested(data, tb)) || !nrec_put(l->out, fields, tb, NULL, NULL, why))
		netns_refuse(l->s, "link %s (%s): %s is not supported", name, kind, why);
	rec_end(l->out);
}

static void name_of(const struct rtattr *a, char *out, size_t n)
{
	snprintf(out, n, "%.*s", a ? (int)RTA_PAYLOAD(a) : 0, a ? (const char *)RTA_DATA(a) : "");
}

static void put_link(struct links *l, const struct nlmsghdr *h, const struct rtattr *const tb[], const char *name, const char *kind, const struct nkind *k)
{
	const struct ifinfomsg *i = NLMSG_DATA(h);
	char why[NREC_WHY];

	rec_begin(l->out, "link");
	rec_put_u64(l->out, "NS", l->s->id);
	rec_put_u64(l->out, "INDEX", (uint64_t)i->ifi_index);
	rec_put_str(l->out, "NAME", name);
	rec_put_str(l->out, "KIND", kind);
	rec_put_u64(l->out, "HWTYPE", i->ifi_type);
	rec_put_hex(l->out, "FLAGS", i->ifi_flags & FLAGS);
	if (i->ifi_flags & IFF_RUNNING && i->ifi_flags & IFF_UP)
		rec_put_u64(l->out, "RUNNING", 1);
	if (k && !l->s->only && (k->lower || !strcmp(kind, "veth")) && !put_lower(l->s, l->out, tb, !k->lower))
		netns_refuse(l->s, "link %s (%s): %s is in a network namespace that is neither the job's nor ours", name, kind,
			     k->lower ? "the link that it lies on" : "its other end");
	if (!nrec_put(l->out, nlink_fields, tb, h, link_put, why))
		netns_refuse(l->s, "link %s (%s): %s is not supported", name, kind, why);
	rec_end(l->out);
}

static int take(void *arg, const struct nlmsghdr *h, struct err *e)
{
	struct links *l = arg;
	const struct ifinfomsg *i = NLMSG_DATA(h);
	const struct rtattr *tb[NL_ATTRS], *info[NL_ATTRS] = { 0 };
	char name[IFNAMSIZ], kind[32], port[32];
	const struct nkind *k;

	if (h->nlmsg_type != RTM_NEWLINK)
		return 0;
	if (nl_attrs(h, sizeof *i, tb) || (tb[IFLA_LINKINFO] && nl_nested(tb[IFLA_LINKINFO], info)))
		return err_set(e, EX_FAILED, "malformed answer of the kernel about a link");
	if (i->ifi_family != AF_UNSPEC || !netns_counts(l->s, (uint32_t)i->ifi_index))
		return 0;
	name_of(tb[IFLA_IFNAME], name, sizeof name);
	name_of(info[IFLA_INFO_KIND], kind, sizeof kind);
	name_of(info[IFLA_INFO_SLAVE_KIND], port, sizeof port);
	if (!*kind)
		snprintf(kind, sizeof kind, "%s", i->ifi_type == ARPHRD_LOOPBACK ? "loopback" : "hardware");
	k = nlink_kind(kind);
	if (!k && (!nlink_born(kind, name) || i->ifi_flags & IFF_UP)) {
		netns_refuse(l->s, "link %s: interfaces of the kind %s are not supported", name, kind);
		return 0;
	}
	put_link(l, h, tb, name, kind, k);
	if (k && k->data)
		put_data(l, "linkdata", (uint32_t)i->ifi_index, name, kind, k->data, info[IFLA_INFO_DATA]);
	if (!strcmp(port, "bridge"))
		put_data(l, "portdata", (uint32_t)i->ifi_index, name, "port of a bridge", nlink_port, info[IFLA_INFO_SLAVE_DATA]);
	else if (tb[IFLA_MASTER])
		netns_refuse(l->s, "link %s: being a port of a %s is not supported", name, *port ? port : "master");
	return 0;
}

int nlink_dump(struct netns *s, struct buf *out, struct err *e)
{
	struct links l = { s, out };
	struct ifinfomsg head = { 0 };
	AUTO_FREE struct nlmsg *m = malloc(sizeof *m);
	int rc;

	if (!m)
		return err_set(e, EX_FAILED, "out of memory");
	nl_begin(m, RTM_GETLINK, 0, &head, sizeof head);
	nl_put_u32(m, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	rc = nl_dump(&s->nl, m, take, &l, e);
	if (rc < 0 && !err_is_set(e)) {
		errno = -rc;
		return err_sys(e, "the kernel does not tell its links");
	}
	return rc ? -1 : buf_failed(out) ? err_set(e, EX_FAILED, "out of memory") : 0;
}

/* ---- are they sound? ---- */

bool nlink_find(const struct netns *s, const char *type, uint32_t index, struct rec *rec)
{
	uint64_t v;

	if (s->recs)
		return netns_recs_link(s->recs, s->id, type, index, rec);
	for (size_t i = 0; i < s->list->n; i++)
		if (!strcmp(s->list->v[i].n ? s->list->v[i].f[0].val : "", type) && netns_rec(s, i, type, rec) && !rec_u64(rec, "INDEX", UINT32_MAX, &v, NULL) && v == index)
			return true;
	return false;
}

static int malformed(const struct rec *rec, const char *what, struct err *e)
{
	return err_set(e, EX_BAD_IMAGE, "line %zu: %s of a link is malformed", rec->line, what);
}

static int altnames_ok(const struct rec *rec, struct err *e)
{
	const char *text = rec_find(rec, "ALTNAMES");
	size_t n = 0;

	for (; text && *text; n++) {
		size_t len = strcspn(text, " ");

		if (!len || len >= ALTNAME_MAX || n >= ALTNAMES_MAX || memchr(text, '/', len) || memchr(text, ':', len))
			return malformed(rec, "ALTNAMES", e);
		text += len + (text[len] == ' ');
	}
	return 0;
}

static bool is_kind(const struct rec *rec, const char *kind)
{
	return rec_find(rec, "KIND") && !strcmp(rec_find(rec, "KIND"), kind);
}

/* Its other end, or what it lies on. */
static int neighbour_ok(const struct netns *s, const struct rec *rec, const struct nkind *k, uint32_t index, struct err *e)
{
	bool pair = !strcmp(k->name, "veth");
	const char *key = pair ? "PEER" : "LINK", *ns = pair ? "PEER_NS" : "LINK_NS";
	struct netns other = { .list = s->list, .recs = s->recs };
	uint32_t at, back, back_ns;
	struct rec r;

	/* An end in our own namespace: of one pair, whose other end is the job's. */
	if (s->id == NETNS_HOME)
		return netns_recs_ends(s->recs, index) == 1 ? 0 : malformed(rec, "INDEX", e);
	if (!(pair || k->lower))
		return 0;
	if (!rec_find(rec, key) || netns_u32(rec, key, 0, &at, e) || netns_u32(rec, ns, s->id, &other.id, e))
		return err_is_set(e) ? -1 : malformed(rec, key, e);
	if (!nlink_find(&other, !pair && other.id == NETNS_HOME ? "lower" : "link", at, &r))
		return malformed(rec, key, e);
	if (!pair || other.id == NETNS_HOME)
		return !pair && other.id == s->id && at == index ? malformed(rec, key, e) : 0;
	if (!is_kind(&r, "veth") || netns_u32(&r, "PEER", 0, &back, e) || netns_u32(&r, "PEER_NS", other.id, &back_ns, e))
		return err_is_set(e) ? -1 : malformed(rec, key, e);
	return back == index && back_ns == s->id && (at != index || other.id != s->id) ? 0 : malformed(rec, key, e);
}

static int data_ok(const struct netns *s, const struct rec *rec, const struct nfield *fields, struct err *e)
{
	static const char *const index[] = { "INDEX", NULL };
	AUTO_FREE struct nlmsg *m = malloc(sizeof *m);
	struct ifinfomsg head = { 0 };

	if (!m)
		return err_set(e, EX_FAILED, "out of memory");
	nl_begin(m, RTM_NEWLINK, 0, &head, sizeof head);
	return nrec_known(rec, NULL, fields, fields == nlink_fields ? nlink_own : index, e) || nrec_build(rec, fields, m, e) ? -1 : 0;
}

/* Only what has an end or lies on something tells of it: others are taken for connected otherwise. */
static bool neighbour_told(const struct netns *s, const struct rec *rec, const struct nkind *k)
{
	bool pair = k && s->id != NETNS_HOME && !strcmp(k->name, "veth"), on = k && s->id != NETNS_HOME && k->lower;

	return (pair || (!rec_find(rec, "PEER") && !rec_find(rec, "PEER_NS"))) && (on || (!rec_find(rec, "LINK") && !rec_find(rec, "LINK_NS")));
}

static int link_ok(const struct netns *s, const struct rec *rec, uint32_t index, struct err *e)
{
	const char *name, *kind, *master = rec_find(rec, "MASTER_NAME");
	const struct nkind *k;
	uint64_t flags, hw;
	uint32_t v;
	struct rec r;

	if (rec_str(rec, "NAME", &name, e) || rec_str(rec, "KIND", &kind, e) || rec_u64(rec, "FLAGS", FLAGS, &flags, e) || rec_u64(rec, "HWTYPE", UINT16_MAX, &hw, e) ||
	    netns_u32(rec, "ADDR_GEN_MODE", 0, &v, e))
		return -1;
	if (v > IN6_ADDR_GEN_MODE_RANDOM)
		return malformed(rec, "ADDR_GEN_MODE", e);
	if (!nlink_name_ok(name) || netns_recs_named(s->recs, s->id, name) != 1)
		return malformed(rec, "NAME", e);
	k = nlink_kind(kind);
	if (!k && !nlink_born(kind, name))
		return malformed(rec, "KIND", e);
	if (s->id == NETNS_HOME ? strcmp(kind, "veth") : !strcmp(kind, "loopback") != (index == 1))
		return malformed(rec, "KIND", e);
	if (!neighbour_told(s, rec, k))
		return malformed(rec, "PEER or LINK", e);
	if (master && (s->id != NETNS_HOME || !nlink_name_ok(master)))
		return malformed(rec, "MASTER_NAME", e);
	if (rec_find(rec, "MASTER") && (netns_u32(rec, "MASTER", 0, &v, e) || s->id == NETNS_HOME || !nlink_find(s, "link", v, &r) || !is_kind(&r, "bridge")))
		return err_is_set(e) ? -1 : malformed(rec, "MASTER", e);
	if (data_ok(s, rec, nlink_fields, e) || altnames_ok(rec, e))
		return -1;
	if (k && k->data && !nlink_find(s, "linkdata", index, &r))
		return malformed(rec, "linkdata", e);
	return k ? neighbour_ok(s, rec, k, index, e) : 0;
}

int nlink_verify(const struct netns *s, const struct rec *rec, struct err *e)
{
	const char *type = rec_type(rec), *kind;
	uint64_t index;
	struct rec r;

	if (rec_u64(rec, "INDEX", INT32_MAX, &index, e))
		return -1;
	if (!index || !nlink_find(s, type, (uint32_t)index, &r) || r.line != rec->line)
		return malformed(rec, "INDEX", e);
	if (!strcmp(type, "link"))
		return link_ok(s, rec, (uint32_t)index, e);
	if (!strcmp(type, "lower"))
		return s->id != NETNS_HOME || !rec_find(rec, "NAME") || !nlink_name_ok(rec_find(rec, "NAME")) ? malformed(rec, "NAME", e) : 0;
	if (!nlink_find(s, "link", (uint32_t)index, &r))
		return malformed(rec, "INDEX", e);
	kind = rec_find(&r, "KIND");
	if (!strcmp(type, "portdata"))
		return data_ok(s, rec, nlink_port, e);
	if (!kind || !nlink_kind(kind) || !nlink_kind(kind)->data)
		return malformed(rec, "KIND", e);
	return data_ok(s, rec, nlink_kind(kind)->data, e);
}
