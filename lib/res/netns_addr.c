/* netns_addr: addresses of interfaces, and permanent neighbours (ARP, NDP, proxies, entries of bridges); rtnetlink(7).
 *
 * A restored address of IPv6 is there at once: the kernel is told not to look for another holder (IFA_F_NODAD), and afterwards
 * that it had not been told so. One that was being looked for still (tentative) is looked for again. Lifetimes are what remains. */
#include "res/netns_int.h"
#include "common/cleanup.h"

#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

static const uint8_t inet[] = { AF_INET, AF_INET6, 0 };

enum {
	STABLE_PRIVACY = 0x800,
	GIVEN = IFA_F_HOMEADDRESS | IFA_F_MANAGETEMPADDR | IFA_F_NOPREFIXROUTE | 0x400 /* MCAUTOJOIN */ | IFA_F_NODAD | IFA_F_OPTIMISTIC,
	KEPT = GIVEN | IFA_F_SECONDARY,
};
#define FOREVER UINT32_MAX

static const struct nhead addr_heads[] = {
	{ "FAMILY", offsetof(struct ifaddrmsg, ifa_family), 1, 0 }, { "PREFIX", offsetof(struct ifaddrmsg, ifa_prefixlen), 1, 0 },
	{ "SCOPE", offsetof(struct ifaddrmsg, ifa_scope), 1, 0 }, { "INDEX", offsetof(struct ifaddrmsg, ifa_index), 4, 0 }, { 0 },
};
static const struct nfield addr_fields[] = {
	{ IFA_LOCAL, NF_IP, 0, "LOCAL" }, { IFA_ADDRESS, NF_IP, 0, "ADDRESS" }, { IFA_BROADCAST, NF_IP, 0, "BROADCAST" },
	{ IFA_LABEL, NF_STR, 16, "LABEL" }, { IFA_RT_PRIORITY, NF_U32, 0, "METRIC" }, { IFA_PROTO, NF_U8, 0, "PROTOCOL" },
	{ IFA_FLAGS, NF_OWN, 0, "FLAGS" }, { IFA_CACHEINFO, NF_OWN, 0, "VALID" }, { IFA_ANYCAST, NF_DROP, 0, "-" }, { IFA_MULTICAST, NF_DROP, 0, "-" }, { 0 },
};
static const char *const addr_own[] = { "FLAGS", "TENTATIVE", "VALID", "PREFERRED", NULL };
static const char *const addr_loose[] = { "TENTATIVE", "VALID", "PREFERRED", NULL };

static const char *addr_put(struct buf *out, const struct nlmsghdr *h, const struct rtattr *a)
{
	const struct ifaddrmsg *i = NLMSG_DATA(h);
	struct ifa_cacheinfo c;
	uint32_t flags = nl_u32(a);

	if (a->rta_type == IFA_FLAGS) {
		rec_put_hex(out, "FLAGS", flags & KEPT);
		if (flags & IFA_F_TENTATIVE)
			rec_put_u64(out, "TENTATIVE", 1);
		if (flags & IFA_F_DADFAILED)
			return "an address that another machine has (dadfailed)";
		if (i->ifa_family == AF_INET6 && flags & (IFA_F_TEMPORARY | STABLE_PRIVACY))
			return "an address that the kernel makes and changes (temporary, stable-privacy)";
		return NULL;
	}
	if (RTA_PAYLOAD(a) < sizeof c)
		return "its lifetime";
	memcpy(&c, RTA_DATA(a), sizeof c);
	if (c.ifa_valid != FOREVER)
		rec_put_u64(out, "VALID", c.ifa_valid);
	if (c.ifa_prefered != FOREVER)
		rec_put_u64(out, "PREFERRED", c.ifa_prefered);
	return NULL;
}

static int addr_build(const struct rec *rec, struct nlmsg *m, struct err *e)
{
	struct ifaddrmsg *i = NLMSG_DATA(&m->h);
	struct ifa_cacheinfo c = { 0 };
	uint64_t flags, tentative;

	if (netns_u32(rec, "VALID", FOREVER, &c.ifa_valid, e) || netns_u32(rec, "PREFERRED", FOREVER, &c.ifa_prefered, e) ||
	    rec_u64(rec, "FLAGS", UINT32_MAX, &flags, e) || rec_u64_or(rec, "TENTATIVE", 1, 0, &tentative, e))
		return -1;
	if (flags & ~(uint64_t)KEPT || i->ifa_prefixlen > 128 || (i->ifa_family != AF_INET && i->ifa_family != AF_INET6))
		return err_set(e, EX_BAD_IMAGE, "line %zu: malformed address", rec->line);
	if (c.ifa_prefered > c.ifa_valid)
		return err_set(e, EX_BAD_IMAGE, "line %zu: PREFERRED is more than VALID", rec->line);
	if (!c.ifa_valid) /* it was to go in this very second */
		c.ifa_valid = 1;
	nl_put(m, IFA_CACHEINFO, &c, sizeof c);
	nl_put_u32(m, IFA_FLAGS, ((uint32_t)flags & GIVEN) | (i->ifa_family == AF_INET6 && !tentative ? IFA_F_NODAD : 0));
	return 0;
}

static int addr_again(const struct nobj *o, const struct rec *rec, struct nlmsg *m, struct err *e)
{
	uint32_t flags, tentative;
	size_t at;

	if (netns_u32(rec, "FLAGS", 0, &flags, e) || netns_u32(rec, "TENTATIVE", 0, &tentative, e))
		return -1;
	if (((const struct ifaddrmsg *)NLMSG_DATA(&m->h))->ifa_family != AF_INET6 || tentative || flags & IFA_F_NODAD)
		return 0;
	if (nobj_build(o, rec, RTM_NEWADDR, NLM_F_REPLACE, m, e))
		return -1;
	/* The flags are the last attribute. */
	at = NLMSG_ALIGN(m->h.nlmsg_len) - RTA_SPACE(sizeof flags);
	flags &= GIVEN;
	memcpy(RTA_DATA((struct rtattr *)(void *)(m->b + at)), &flags, sizeof flags);
	return 1;
}

static uint32_t addr_index(const struct nlmsghdr *h, const struct rtattr *const tb[])
{
	return ((const struct ifaddrmsg *)NLMSG_DATA(h))->ifa_index;
}


/* Of IPv6 the newest of a scope is the first, and so the one that is taken when nothing speaks for another. */
static bool addr_first(const struct rec *rec)
{
	uint64_t family;

	return !rec_u64(rec, "FAMILY", UINT8_MAX, &family, NULL) && family == AF_INET6;
}

const struct nobj naddr_obj = {
	.type = "addr", .get = RTM_GETADDR, .add = RTM_NEWADDR, .del = RTM_DELADDR, .head = sizeof(struct ifaddrmsg), .families = inet, .heads = addr_heads,
	.fields = addr_fields, .own = addr_own, .loose = addr_loose, .put = addr_put, .build = addr_build, .again = addr_again, .first = addr_first, .index = addr_index,
};

/* ---- neighbours ---- */

enum { NTF_MANAGED_EXT = 1, LLADDR_MAX = 32,  };

static const uint8_t bridge[] = { AF_BRIDGE, 0 };
static const struct nhead neigh_heads[] = {
	{ "FAMILY", offsetof(struct ndmsg, ndm_family), 1, 0 }, { "INDEX", offsetof(struct ndmsg, ndm_ifindex), 4, 0 },
	{ "STATE", offsetof(struct ndmsg, ndm_state), 2, 0xffff }, { "FLAGS", offsetof(struct ndmsg, ndm_flags), 1, NTF_SELF | NTF_MASTER | NTF_PROXY | NTF_EXT_LEARNED | NTF_STICKY | NTF_ROUTER }, { 0 },
};
static const struct nfield neigh_fields[] = {
	{ NDA_DST, NF_IP, 0, "DST" }, { NDA_LLADDR, NF_BIN, LLADDR_MAX, "LLADDR" }, { NDA_VLAN, NF_U16, 0, "VLAN" }, { NDA_PROTOCOL, NF_U8, 0, "PROTOCOL" },
	{ NDA_FLAGS_EXT, NF_HEX, 0, "FLAGS_EXT" }, { NDA_CACHEINFO, NF_DROP, 0, "-" }, { NDA_PROBES, NF_DROP, 0, "-" }, { NDA_MASTER, NF_OWN, 0, "SELF" }, { 0 },
};
static const char *const neigh_own[] = { "SELF", NULL };

/* An entry of the bridge itself, not of a port. */
static const char *neigh_put(struct buf *out, const struct nlmsghdr *h, const struct rtattr *a)
{
	if (nl_u32(a) == (uint32_t)((const struct ndmsg *)NLMSG_DATA(h))->ndm_ifindex)
		rec_put_u64(out, "SELF", 1);
	return NULL;
}

static uint32_t neigh_index(const struct nlmsghdr *h, const struct rtattr *const tb[])
{
	return (uint32_t)((const struct ndmsg *)NLMSG_DATA(h))->ndm_ifindex;
}

/* What the kernel learned it learns again. */
static bool neigh_skip(const struct nlmsghdr *h, const struct rtattr *const tb[])
{
	const struct ndmsg *n = NLMSG_DATA(h);

	if (n->ndm_family != AF_INET && n->ndm_family != AF_INET6)
		return true;
	return !(n->ndm_state & NUD_PERMANENT) && !(n->ndm_flags & NTF_EXT_LEARNED) && !(nl_u32(tb[NDA_FLAGS_EXT]) & NTF_MANAGED_EXT);
}

static bool proxy_skip(const struct nlmsghdr *h, const struct rtattr *const tb[])
{
	return !(((const struct ndmsg *)NLMSG_DATA(h))->ndm_flags & NTF_PROXY);
}

/* Entries of a bridge that somebody gave it, and those of its own ports, which the kernel makes. What interfaces listen to (without a master) is their own. */
static bool fdb_skip(const struct nlmsghdr *h, const struct rtattr *const tb[])
{
	const struct ndmsg *n = NLMSG_DATA(h);

	return n->ndm_family != AF_BRIDGE || !tb[NDA_MASTER] || !(n->ndm_state & (NUD_PERMANENT | NUD_NOARP) || n->ndm_flags & (NTF_EXT_LEARNED | NTF_STICKY));
}

static int fdb_build(const struct rec *rec, struct nlmsg *m, struct err *e)
{
	struct ndmsg *n = NLMSG_DATA(&m->h);

	/* The kernel does not show it, and without it the port itself is meant. */
	n->ndm_flags |= rec_find(rec, "SELF") ? NTF_SELF : NTF_MASTER;
	return n->ndm_family == AF_BRIDGE ? 0 : err_set(e, EX_BAD_IMAGE, "line %zu: malformed entry of a bridge", rec->line);
}

static int neigh_build(const struct rec *rec, struct nlmsg *m, struct err *e)
{
	const struct ndmsg *n = NLMSG_DATA(&m->h);

	return n->ndm_family == AF_INET || n->ndm_family == AF_INET6 ? 0 : err_set(e, EX_BAD_IMAGE, "line %zu: malformed neighbour", rec->line);
}

const struct nobj nneigh_obj = {
	.type = "neigh", .get = RTM_GETNEIGH, .add = RTM_NEWNEIGH, .del = RTM_DELNEIGH, .head = sizeof(struct ndmsg), .families = inet, .heads = neigh_heads,
	.fields = neigh_fields, .own = neigh_own, .put = neigh_put, .skip = neigh_skip, .index = neigh_index, .build = neigh_build,
};
const struct nobj nproxy_obj = {
	.type = "proxy", .get = RTM_GETNEIGH, .add = RTM_NEWNEIGH, .del = RTM_DELNEIGH, .head = sizeof(struct ndmsg), .families = inet, .heads = neigh_heads,
	.fields = neigh_fields, .own = neigh_own, .put = neigh_put, .skip = proxy_skip, .index = neigh_index, .build = neigh_build,
};
const struct nobj nfdb_obj = {
	.type = "fdb", .get = RTM_GETNEIGH, .add = RTM_NEWNEIGH, .del = RTM_DELNEIGH, .head = sizeof(struct ndmsg), .families = bridge, .heads = neigh_heads,
	.fields = neigh_fields, .own = neigh_own, .put = neigh_put, .skip = fdb_skip, .index = neigh_index, .build = fdb_build,
};
