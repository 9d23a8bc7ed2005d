/* netns_refuse: what a network namespace may hold that is not restored: each is looked for and refused by name. */
#include "res/netns_int.h"
#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_bridge.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/nexthop.h>
#include <linux/xfrm.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { IPMR = 128, IP6MR = 129, PROC_MAX = 4 << 20, IPSET_LIST = 7, IPSET_PROTOCOL = 1, IPSET_VERSION = 6, MPLS = 28 };

struct look { struct netns *s; uint16_t type; int family; const char *what; size_t found; };

static bool mine(const struct look *l, const struct nlmsghdr *h)
{
	/* Asked for a family that it does not know, the kernel answers for all that it knows. */
	return h->nlmsg_type == l->type && (l->family < 0 || *(const unsigned char *)NLMSG_DATA(h) == l->family);
}

static int any(void *arg, const struct nlmsghdr *h, struct err *e)
{
	struct look *l = arg;

	if (mine(l, h) && !l->found++)
		netns_refuse(l->s, "%s: not supported", l->what);
	return 0;
}

/* Refuses `what` when a dump has any answer. A kernel that cannot answer has nothing of it. */
static void ask(struct netns *s, int protocol, uint16_t get, uint16_t answer, const void *head, size_t n, int family, nl_take *take, const char *what, struct err *e)
{
	struct look l = { s, answer, family, what, 0 };
	AUTO_NL struct nl sock = NL_CLOSED;
	AUTO_FREE struct nlmsg *m = malloc(sizeof *m);

	if (!m || nl_open(&sock, protocol, NULL))
		return;
	nl_begin(m, get, 0, head, n);
	if (get == RTM_GETLINK)
		nl_put_u32(m, IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN);
	nl_dump(&sock, m, take, &l, e);
}

static const char *link_name(uint32_t index, char out[IF_NAMESIZE])
{
	return if_indextoname(index, out) ? out : "?";
}

/* One that nobody asked for has no handle. */
static int qdisc(void *arg, const struct nlmsghdr *h, struct err *e)
{
	struct look *l = arg;
	const struct tcmsg *t = NLMSG_DATA(h);
	const struct rtattr *tb[NL_ATTRS];
	char name[IF_NAMESIZE];

	if (h->nlmsg_type == RTM_NEWQDISC && t->tcm_handle && !nl_attrs(h, sizeof *t, tb))
		netns_refuse(l->s, "link %s: its queueing discipline %.*s (tc) is not supported", link_name((uint32_t)t->tcm_ifindex, name),
			     tb[TCA_KIND] ? (int)RTA_PAYLOAD(tb[TCA_KIND]) : 1, tb[TCA_KIND] ? (const char *)RTA_DATA(tb[TCA_KIND]) : "?");
	return 0;
}

/* What every port has: the default VLAN, untagged. */
static bool default_vlan(const struct bridge_vlan_info *v)
{
	return v->flags == (BRIDGE_VLAN_INFO_PVID | BRIDGE_VLAN_INFO_UNTAGGED);
}

static int vlans(void *arg, const struct nlmsghdr *h, struct err *e)
{
	struct look *l = arg;
	const struct ifinfomsg *i = NLMSG_DATA(h);
	const struct rtattr *tb[NL_ATTRS], *a;
	char name[IF_NAMESIZE];
	bool other = false;
	int left, n = 0;

	if (h->nlmsg_type != RTM_NEWLINK || i->ifi_family != AF_BRIDGE || nl_attrs(h, sizeof *i, tb) || !tb[IFLA_AF_SPEC])
		return 0;
	left = (int)RTA_PAYLOAD(tb[IFLA_AF_SPEC]);
	for (a = RTA_DATA(tb[IFLA_AF_SPEC]); left > 0 && RTA_OK(a, left); a = RTA_NEXT(a, left))
		if ((a->rta_type & NLA_TYPE_MASK) == IFLA_BRIDGE_VLAN_INFO && RTA_PAYLOAD(a) >= sizeof(struct bridge_vlan_info)) {
			n++;
			other |= !default_vlan(RTA_DATA(a));
		}
	if (other || n > 1)
		netns_refuse(l->s, "link %s: VLANs of a bridge (bridge vlan) are not supported", link_name((uint32_t)i->ifi_index, name));
	return 0;
}

static bool permanent(const struct rtattr *mdb)
{
	const struct rtattr *e = RTA_DATA(mdb), *i;

	for (int left = (int)RTA_PAYLOAD(mdb); left > 0 && RTA_OK(e, left); e = RTA_NEXT(e, left)) {
		i = RTA_DATA(e);
		for (int n = (int)RTA_PAYLOAD(e); n > 0 && RTA_OK(i, n); i = RTA_NEXT(i, n))
			if (RTA_PAYLOAD(i) >= sizeof(struct br_mdb_entry) && ((const struct br_mdb_entry *)RTA_DATA(i))->state == MDB_PERMANENT)
				return true;
	}
	return false;
}

static int mdb(void *arg, const struct nlmsghdr *h, struct err *e)
{
	struct look *l = arg;
	const struct br_port_msg *p = NLMSG_DATA(h);
	const struct rtattr *tb[NL_ATTRS];
	char name[IF_NAMESIZE];

	if (h->nlmsg_type == RTM_NEWMDB && !nl_attrs(h, sizeof *p, tb) && tb[MDBA_MDB] && permanent(tb[MDBA_MDB]))
		netns_refuse(l->s, "link %s: multicast groups given to a bridge (bridge mdb) are not supported", link_name(p->ifindex, name));
	return 0;
}

/* A line of a file in /proc/net, its first `skip` left out. */
static void proc_lines(struct netns *s, const char *path, int skip, const char *what)
{
	AUTO_BUF struct buf b = BUF_INIT;
	const char *c;

	if (buf_read_file(&b, AT_FDCWD, path, PROC_MAX))
		return; /* not in this kernel */
	for (c = buf_str(&b); skip-- && c;)
		c = strchr(c, '\n') ? strchr(c, '\n') + 1 : NULL;
	if (c && *c)
		netns_refuse(s, "%s: not supported", what);
}

/* INDEX NAME USERS GLOBAL ADDRESS: global ones somebody asked for by hand. */
static void multicast(struct netns *s)
{
	AUTO_BUF struct buf b = BUF_INIT;
	char name[64], address[80];
	unsigned long index, users, global;

	if (buf_read_file(&b, AT_FDCWD, "/proc/self/net/dev_mcast", PROC_MAX))
		return;
	for (const char *c = buf_str(&b); c && *c; c = strchr(c, '\n') ? strchr(c, '\n') + 1 : NULL)
		if (sscanf(c, "%lu %63s %lu %lu %79s", &index, name, &users, &global, address) == 5 && global)
			netns_refuse(s, "link %s: multicast address %s (ip maddress) is not supported", name, address);
}

int nrefuse_dump(struct netns *s, struct err *e)
{
	struct rtmsg route = { 0 };
	struct tcmsg tc = { 0 };
	struct ifinfomsg link = { .ifi_family = AF_BRIDGE };
	struct br_port_msg port = { .family = AF_BRIDGE };
	struct nhmsg hop = { 0 };
	struct xfrm_usersa_id sa = { 0 };
	struct xfrm_userpolicy_id policy = { 0 };
	struct { struct nfgenmsg head; struct rtattr a; unsigned char version[4]; } set = {
		{ .version = NFNETLINK_V0 }, { RTA_LENGTH(1), IPSET_PROTOCOL }, { IPSET_VERSION },
	};

	ask(s, NETLINK_ROUTE, RTM_GETQDISC, RTM_NEWQDISC, &tc, sizeof tc, -1, qdisc, NULL, e);
	ask(s, NETLINK_ROUTE, RTM_GETLINK, RTM_NEWLINK, &link, sizeof link, -1, vlans, NULL, e);
	ask(s, NETLINK_ROUTE, RTM_GETMDB, RTM_NEWMDB, &port, sizeof port, -1, mdb, NULL, e);
	ask(s, NETLINK_ROUTE, RTM_GETNEXTHOP, RTM_NEWNEXTHOP, &hop, sizeof hop, -1, any, "next hops of their own (ip nexthop)", e);
	for (int f = 0; f < 3; f++) {
		static const struct { int family; const char *what; } tables[] = { { IPMR, "multicast routes" }, { IP6MR, "multicast routes of IPv6" }, { MPLS, "routes of MPLS" } };

		route.rtm_family = (unsigned char)tables[f].family;
		ask(s, NETLINK_ROUTE, RTM_GETROUTE, RTM_NEWROUTE, &route, sizeof route, tables[f].family, any, tables[f].what, e);
	}
	ask(s, NETLINK_XFRM, XFRM_MSG_GETSA, XFRM_MSG_NEWSA, &sa, 0, -1, any, "security associations (ip xfrm state)", e);
	ask(s, NETLINK_XFRM, XFRM_MSG_GETPOLICY, XFRM_MSG_NEWPOLICY, &policy, 0, -1, any, "security policies (ip xfrm policy)", e);
	ask(s, NETLINK_NETFILTER, NFNL_SUBSYS_IPSET << 8 | IPSET_LIST, NFNL_SUBSYS_IPSET << 8 | IPSET_LIST, &set, sizeof set, -1, any, "sets of addresses (ipset)", e);
	proc_lines(s, "/proc/self/net/ip_tables_names", 0, "tables of iptables (legacy)");
	proc_lines(s, "/proc/self/net/ip6_tables_names", 0, "tables of ip6tables (legacy)");
	proc_lines(s, "/proc/self/net/arp_tables_names", 0, "tables of arptables (legacy)");
	proc_lines(s, "/proc/self/net/ip_vs", 3, "virtual servers (ipvs)");
	multicast(s);
	return err_is_set(e) ? -1 : 0;
}
