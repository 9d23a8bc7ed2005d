/* netns_route: routes of all tables, also those that the kernel makes itself (they are compared, and made only where it did not), and
 * rules of ip rule; rtnetlink(7). */
#include "res/netns_int.h"
#include "common/cleanup.h"
#include "common/num.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static const uint8_t inet[] = { AF_INET, AF_INET6, 0 };

static const struct nhead route_heads[] = {
	{ "FAMILY", offsetof(struct rtmsg, rtm_family), 1, 0 }, { "KIND", offsetof(struct rtmsg, rtm_type), 1, 0 }, { "SCOPE", offsetof(struct rtmsg, rtm_scope), 1, 0 },
	{ "PROTOCOL", offsetof(struct rtmsg, rtm_protocol), 1, 0 }, { "TOS", offsetof(struct rtmsg, rtm_tos), 1, 0 },
	{ "DST_LEN", offsetof(struct rtmsg, rtm_dst_len), 1, 0 }, { "SRC_LEN", offsetof(struct rtmsg, rtm_src_len), 1, 0 },
	{ "FLAGS", offsetof(struct rtmsg, rtm_flags), 4, RTNH_F_ONLINK }, { 0 },
};
static const struct nfield route_fields[] = {
	{ RTA_TABLE, NF_U32, 0, "TABLE" }, { RTA_DST, NF_IP, 0, "DST" }, { RTA_SRC, NF_IP, 0, "SRC" }, { RTA_PRIORITY, NF_U32, 0, "PRIORITY" },
	{ RTA_OIF, NF_U32, 0, "OIF" }, { RTA_GATEWAY, NF_IP, 0, "GATEWAY" }, { RTA_VIA, NF_OWN, 0, "VIA" }, { RTA_PREFSRC, NF_IP, 0, "PREFSRC" },
	{ RTA_FLOW, NF_U32, 0, "FLOW" }, { RTA_PREF, NF_U8, 0, "PREF" }, { RTA_METRICS, NF_OWN, 0, "METRICS" }, { RTA_MULTIPATH, NF_OWN, 0, "HOPS" },
	{ RTA_CACHEINFO, NF_OWN, 0, "EXPIRES" }, { 0 },
};
static const char *const route_own[] = { "VIA", "METRICS", "HOPS", "EXPIRES", NULL };
static const char *const route_loose[] = { "EXPIRES", NULL };

static const char *const metrics[] = {
	[RTAX_LOCK] = "lock", [RTAX_MTU] = "mtu", [RTAX_WINDOW] = "window", [RTAX_RTT] = "rtt", [RTAX_RTTVAR] = "rttvar", [RTAX_SSTHRESH] = "ssthresh",
	[RTAX_CWND] = "cwnd", [RTAX_ADVMSS] = "advmss", [RTAX_REORDERING] = "reordering", [RTAX_HOPLIMIT] = "hoplimit", [RTAX_INITCWND] = "initcwnd",
	[RTAX_FEATURES] = "features", [RTAX_RTO_MIN] = "rto_min", [RTAX_INITRWND] = "initrwnd", [RTAX_QUICKACK] = "quickack", [RTAX_CC_ALGO] = "congctl",
	[RTAX_FASTOPEN_NO_COOKIE] = "fastopen_no_cookie",
};
enum { NMETRICS = sizeof metrics / sizeof metrics[0], HOPS_MAX = 1024, TICKS = 100 /* USER_HZ */, CONGCTL = 16 };

/* ---- to records ---- */

static const char *put_metrics(struct buf *out, const struct rtattr *a)
{
	const struct rtattr *tb[NL_ATTRS];
	AUTO_BUF struct buf b = BUF_INIT;

	if (nl_nested(a, tb))
		return "METRICS";
	for (size_t i = 1; i < NL_ATTRS; i++) {
		if (!tb[i])
			continue;
		if (i >= NMETRICS)
			return "a metric that is not known";
		if (b.len)
			buf_addc(&b, ' ');
		if (i == RTAX_CC_ALGO)
			buf_printf(&b, "congctl=%.*s", (int)RTA_PAYLOAD(tb[i]), (const char *)RTA_DATA(tb[i]));
		else
			buf_printf(&b, "%s=%u", metrics[i], nl_u32(tb[i]));
	}
	rec_put_str(out, "METRICS", buf_str(&b));
	return NULL;
}

static bool via_text(const struct rtattr *a, char out[64])
{
	return RTA_PAYLOAD(a) > 2 && *naddr_text((const char *)RTA_DATA(a) + 2, RTA_PAYLOAD(a) - 2, out);
}

/* INDEX WEIGHT FLAGS GATEWAY|- FLOW; a gateway of the other family is one too. */
static const char *put_hop(struct buf *b, const struct rtnexthop *h)
{
	const struct rtattr *a = RTNH_DATA(h);
	int left = h->rtnh_len - (int)sizeof *h;
	char gateway[64] = "-";
	uint32_t flow = 0;

	for (; left > 0 && RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (a->rta_type == RTA_GATEWAY)
			naddr_text(RTA_DATA(a), RTA_PAYLOAD(a), gateway);
		else if (a->rta_type == RTA_FLOW)
			flow = nl_u32(a);
		else if (a->rta_type != RTA_VIA || !via_text(a, gateway))
			return "an option of a hop";
	}
	buf_printf(b, "%s%d %d %u %s %u", b->len ? "," : "", h->rtnh_ifindex, h->rtnh_hops + 1, (unsigned)h->rtnh_flags & RTNH_F_ONLINK, gateway, flow);
	return NULL;
}

static const char *put_hops(struct buf *out, const struct rtattr *a)
{
	AUTO_BUF struct buf b = BUF_INIT;
	const struct rtnexthop *h = RTA_DATA(a);
	int left = (int)RTA_PAYLOAD(a), n = 0;
	const char *bad = NULL;

	for (; left >= (int)sizeof *h && h->rtnh_len >= sizeof *h && h->rtnh_len <= left && !bad; n++) {
		bad = put_hop(&b, h);
		left -= (int)NLMSG_ALIGN(h->rtnh_len);
		h = RTNH_NEXT(h);
	}
	rec_put_str(out, "HOPS", buf_str(&b));
	return n > HOPS_MAX ? "its number of hops" : bad;
}

static const char *route_put(struct buf *out, const struct nlmsghdr *h, const struct rtattr *a)
{
	struct rta_cacheinfo c;
	char text[64];

	switch (a->rta_type & NLA_TYPE_MASK) {
	case RTA_METRICS:
		return put_metrics(out, a);
	case RTA_MULTIPATH:
		return put_hops(out, a);
	case RTA_VIA:
		if (!via_text(a, text))
			return "VIA";
		rec_put_str(out, "VIA", text);
		return NULL;
	}
	if (RTA_PAYLOAD(a) < sizeof c)
		return NULL;
	memcpy(&c, RTA_DATA(a), sizeof c);
	if (c.rta_expires > 0)
		rec_put_u64(out, "EXPIRES", (uint64_t)c.rta_expires / TICKS);
	return NULL;
}

/* ---- from records ---- */

static int bad(const struct rec *rec, const char *key, struct err *e)
{
	return err_set(e, EX_BAD_IMAGE, "line %zu: malformed %s", rec->line, key);
}

static int build_metrics(const struct rec *rec, struct nlmsg *m, struct err *e)
{
	AUTO_FREE char *copy = rec_find(rec, "METRICS") ? strdup(rec_find(rec, "METRICS")) : NULL;
	char *save = NULL;
	size_t at;

	if (!copy)
		return 0;
	at = nl_nest(m, RTA_METRICS);
	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		char *value = strchr(word, '=');
		uint64_t v = 0;
		uint16_t i = 1;

		if (!value)
			return bad(rec, "METRICS", e);
		*value++ = '\0';
		while (i < NMETRICS && strcmp(metrics[i], word))
			i++;
		if (i == NMETRICS || (i == RTAX_CC_ALGO ? strlen(value) >= CONGCTL : num_u64(value, UINT32_MAX, &v)))
			return bad(rec, "METRICS", e);
		if (i == RTAX_CC_ALGO)
			nl_put(m, i, value, strlen(value) + 1);
		else
			nl_put_u32(m, i, (uint32_t)v);
	}
	nl_nest_end(m, at);
	return 0;
}

static bool put_gateway(struct nlmsg *m, uint8_t family, const char *text)
{
	struct { uint16_t family; unsigned char a[16]; } via;
	size_t n;

	if (!naddr_parse(text, via.a, &n))
		return false;
	via.family = n == 4 ? AF_INET : AF_INET6;
	if (via.family == family)
		nl_put(m, RTA_GATEWAY, via.a, n);
	else
		nl_put(m, RTA_VIA, &via, 2 + n);
	return true;
}

static bool build_hop(char *text, uint8_t family, struct nlmsg *m)
{
	static const uint64_t most[] = { INT32_MAX, 256, UINT8_MAX, 0, UINT32_MAX };
	char *save = NULL, *word = strtok_r(text, " ", &save), *gateway = NULL;
	uint64_t v[5] = { 0 };
	struct rtnexthop h;
	size_t at;

	for (size_t i = 0; i < 5; i++, word = strtok_r(NULL, " ", &save)) {
		if (!word || (i != 3 && num_u64(word, most[i], &v[i])))
			return false;
		if (i == 3)
			gateway = word;
	}
	if (word || !v[1] || v[2] & ~(uint64_t)RTNH_F_ONLINK || m->full)
		return false;
	at = NLMSG_ALIGN(m->h.nlmsg_len);
	if (at + sizeof h > NL_ROOM)
		return false;
	h = (struct rtnexthop){ .rtnh_flags = (unsigned char)v[2], .rtnh_hops = (unsigned char)(v[1] - 1), .rtnh_ifindex = (int)v[0] };
	m->h.nlmsg_len = (uint32_t)(at + sizeof h);
	if (strcmp(gateway, "-") && !put_gateway(m, family, gateway))
		return false;
	if (v[4])
		nl_put_u32(m, RTA_FLOW, (uint32_t)v[4]);
	h.rtnh_len = (unsigned short)(m->h.nlmsg_len - at);
	memcpy(m->b + at, &h, sizeof h);
	return true;
}

static int build_hops(const struct rec *rec, struct nlmsg *m, struct err *e)
{
	AUTO_FREE char *copy = rec_find(rec, "HOPS") ? strdup(rec_find(rec, "HOPS")) : NULL;
	uint8_t family = ((const struct rtmsg *)NLMSG_DATA(&m->h))->rtm_family;
	char *save = NULL;
	int n = 0;
	size_t at;

	if (!copy)
		return 0;
	at = nl_nest(m, RTA_MULTIPATH);
	for (char *hop = strtok_r(copy, ",", &save); hop; hop = strtok_r(NULL, ",", &save))
		if (n++ >= HOPS_MAX || !build_hop(hop, family, m))
			return bad(rec, "HOPS", e);
	nl_nest_end(m, at);
	return 0;
}

static int route_build(const struct rec *rec, struct nlmsg *m, struct err *e)
{
	struct rtmsg *r = NLMSG_DATA(&m->h);
	const char *via = rec_find(rec, "VIA");
	uint32_t expires;

	if ((r->rtm_family != AF_INET && r->rtm_family != AF_INET6) || r->rtm_dst_len > 128 || r->rtm_src_len > 128 || !rec_find(rec, "TABLE"))
		return bad(rec, "route", e);
	if (build_metrics(rec, m, e) || build_hops(rec, m, e) || netns_u32(rec, "EXPIRES", 0, &expires, e))
		return -1;
	if (via && !put_gateway(m, r->rtm_family, via))
		return bad(rec, "VIA", e);
	if (rec_find(rec, "EXPIRES"))
		nl_put_u32(m, RTA_EXPIRES, expires ? expires : 1);
	return 0;
}

static bool route_skip(const struct nlmsghdr *h, const struct rtattr *const tb[])
{
	const struct rtmsg *r = NLMSG_DATA(h);

	return (r->rtm_family != AF_INET && r->rtm_family != AF_INET6) || r->rtm_flags & RTM_F_CLONED;
}

static uint32_t route_index(const struct nlmsghdr *h, const struct rtattr *const tb[])
{
	return nl_u32(tb[RTA_OIF]);
}

/* The work queue of IPv6 makes them after the address is there. */
static bool route_comes(const struct rec *rec)
{
	uint64_t protocol, family;

	return !rec_u64(rec, "PROTOCOL", UINT8_MAX, &protocol, NULL) && protocol == RTPROT_KERNEL && !rec_u64(rec, "FAMILY", UINT8_MAX, &family, NULL) && family == AF_INET6;
}

const struct nobj nroute_obj = {
	.type = "route", .get = RTM_GETROUTE, .add = RTM_NEWROUTE, .del = RTM_DELROUTE, .head = sizeof(struct rtmsg), .families = inet, .heads = route_heads,
	.fields = route_fields, .own = route_own, .loose = route_loose, .skip = route_skip, .put = route_put, .build = route_build, .comes = route_comes, .index = route_index,
};

/* ---- rules ---- */

enum { IPMR = 128, IP6MR = 129, NAME = 16 };
static const uint8_t rule_families[] = { AF_INET, AF_INET6, IPMR, IP6MR, 0 };

static const struct nhead rule_heads[] = {
	{ "FAMILY", offsetof(struct fib_rule_hdr, family), 1, 0 }, { "ACTION", offsetof(struct fib_rule_hdr, action), 1, 0 }, { "TOS", offsetof(struct fib_rule_hdr, tos), 1, 0 },
	{ "DST_LEN", offsetof(struct fib_rule_hdr, dst_len), 1, 0 }, { "SRC_LEN", offsetof(struct fib_rule_hdr, src_len), 1, 0 },
	{ "FLAGS", offsetof(struct fib_rule_hdr, flags), 4, FIB_RULE_PERMANENT | FIB_RULE_INVERT | FIB_RULE_FIND_SADDR }, { 0 },
};
static const struct nfield rule_fields[] = {
	{ FRA_PRIORITY, NF_U32, 0, "PRIORITY" }, { FRA_TABLE, NF_U32, 0, "TABLE" }, { FRA_DST, NF_IP, 0, "DST" }, { FRA_SRC, NF_IP, 0, "SRC" },
	{ FRA_IIFNAME, NF_STR, NAME, "IIF" }, { FRA_OIFNAME, NF_STR, NAME, "OIF" }, { FRA_GOTO, NF_U32, 0, "GOTO" }, { FRA_FWMARK, NF_HEX, 0, "MARK" },
	{ FRA_FWMASK, NF_HEX, 0, "MASK" }, { FRA_FLOW, NF_U32, 0, "FLOW" }, { FRA_TUN_ID, NF_BIN, 8, "TUNNEL" },
	{ FRA_SUPPRESS_IFGROUP, NF_U32, 0, "SUPPRESS_GROUP" }, { FRA_SUPPRESS_PREFIXLEN, NF_U32, 0, "SUPPRESS_PREFIX" }, { FRA_L3MDEV, NF_U8, 0, "L3MDEV" },
	{ FRA_UID_RANGE, NF_BIN, 8, "UIDS" }, { FRA_PROTOCOL, NF_U8, 0, "PROTOCOL" }, { FRA_IP_PROTO, NF_U8, 0, "IP_PROTO" },
	{ FRA_SPORT_RANGE, NF_BIN, 4, "SPORTS" }, { FRA_DPORT_RANGE, NF_BIN, 4, "DPORTS" },
	{ 25, NF_U8, 0, "DSCP" }, { 26, NF_BIN, 4, "FLOWLABEL" }, { 27, NF_BIN, 4, "FLOWLABEL_MASK" }, { 28, NF_U16, 0, "SPORT_MASK" }, { 29, NF_U16, 0, "DPORT_MASK" },
	{ 30, NF_U8, 0, "DSCP_MASK" }, { 0 },
};

static bool rule_skip(const struct nlmsghdr *h, const struct rtattr *const tb[])
{
	uint8_t f = ((const struct fib_rule_hdr *)NLMSG_DATA(h))->family;

	return f != AF_INET && f != AF_INET6 && f != IPMR && f != IP6MR;
}

/* Without a priority the kernel would choose one. */
static int rule_build(const struct rec *rec, struct nlmsg *m, struct err *e)
{
	if (!rec_find(rec, "PRIORITY"))
		nl_put_u32(m, FRA_PRIORITY, 0);
	return 0;
}

const struct nobj nrule_obj = {
	.type = "rule", .get = RTM_GETRULE, .add = RTM_NEWRULE, .del = RTM_DELRULE, .head = sizeof(struct fib_rule_hdr), .families = rule_families, .heads = rule_heads,
	.fields = rule_fields, .skip = rule_skip, .build = rule_build,
};

const struct nobj *const netns_objs[] = { &naddr_obj, &nneigh_obj, &nproxy_obj, &nfdb_obj, &nroute_obj, &nrule_obj, NULL };
