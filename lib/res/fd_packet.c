/* fd_packet: packet sockets, packet(7): protocol, interface, memberships, fanout, options. Packets that wait are not saved: they are copies of
 * what came by. Rings (PACKET_RX_RING, PACKET_TX_RING) are refused.
 *
 * Record: TYPE="packet" ... KIND="raw"|"dgram" PROTOCOL=0x... [INTERFACE=name] [MEMBERS="INTERFACE:TYPE:ADDRESS ..."] [FANOUT=0x...] [OPTIONS=] [FILTER=] */
#include "res/fd_ops.h"
#include "res/sockopt.h"
#include "common/cleanup.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/packet_diag.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

enum { ANSWER = 64 << 10, ADDRESS_MAX = 32, SHOW = PACKET_SHOW_INFO | PACKET_SHOW_MCLIST | PACKET_SHOW_RING_CFG };

static bool packet_match(const struct dfile *f)
{
	return S_ISSOCK(f->st.st_mode) && !(f->flags & O_PATH) && f->lfd >= 0 && sockopt_int(f->lfd, SO_DOMAIN) == AF_PACKET;
}

struct told { bool found, ring; struct buf members; };

static void members_put(struct told *t, const struct packet_diag_mclist *m, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char device[IF_NAMESIZE];

		if (!if_indextoname((unsigned)m[i].pdmc_index, device))
			continue;
		buf_printf(&t->members, "%s%s:%u:", t->members.len ? " " : "", device, m[i].pdmc_type);
		for (unsigned k = 0; k < m[i].pdmc_alen && k < sizeof m[i].pdmc_addr; k++)
			buf_printf(&t->members, "%02x", m[i].pdmc_addr[k]);
	}
}

static void entry(struct told *t, const struct nlmsghdr *h, uint32_t ino)
{
	const struct packet_diag_msg *m = NLMSG_DATA(h);
	struct rtattr *a = (struct rtattr *)(m + 1);
	long left = (long)h->nlmsg_len - (long)NLMSG_LENGTH(sizeof *m);

	if (h->nlmsg_len < NLMSG_LENGTH(sizeof *m) || m->pdiag_ino != ino)
		return;
	t->found = true;
	for (; RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (a->rta_type == PACKET_DIAG_RX_RING || a->rta_type == PACKET_DIAG_TX_RING)
			t->ring = true;
		if (a->rta_type == PACKET_DIAG_MCLIST)
			members_put(t, RTA_DATA(a), RTA_PAYLOAD(a) / sizeof(struct packet_diag_mclist));
	}
}

/* What sock_diag(7) tells of that socket. */
static void ask(struct told *t, uint32_t ino)
{
	struct {
		struct nlmsghdr h;
		struct packet_diag_req r;
	} q = {
		.h = { .nlmsg_len = sizeof q, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.r = { .sdiag_family = AF_PACKET, .pdiag_show = SHOW },
	};
	AUTO_FD int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	AUTO_FREE char *mem = malloc(ANSWER);
	ssize_t got;

	if (fd < 0 || !mem || send(fd, &q, sizeof q, 0) < 0)
		return;
	while ((got = recv(fd, mem, ANSWER, 0)) > 0) {
		struct nlmsghdr *h = (struct nlmsghdr *)mem;

		for (size_t n = (size_t)got; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
			if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR)
				return;
			entry(t, h, ino);
		}
	}
}

static int packet_check(struct dump *d, struct dfile *f, struct err *e)
{
	struct told t = { .members = BUF_INIT };

	(void)e;
	ask(&t, (uint32_t)f->st.st_ino);
	sockopt_check(d, f, "packet socket");
	if (!t.found)
		refuse(d, f->p, "fd %d: packet socket: this kernel does not tell of it (no packet_diag), or it belongs to another network namespace", f->fd);
	if (t.ring)
		refuse(d, f->p, "fd %d: packet socket with a ring (PACKET_RX_RING) is not supported", f->fd);
	buf_free(&t.members);
	return 0;
}

static int packet_dump(struct dump *d, struct dfile *f, struct err *e)
{
	struct told t = { .members = BUF_INIT };
	struct sockaddr_ll own = { 0 };
	int type = sockopt_int(f->lfd, SO_TYPE), fanout = 0;
	socklen_t n = sizeof own, k = sizeof fanout;
	struct buf *b = &d->files_out;
	char device[IF_NAMESIZE];

	if (getsockname(f->lfd, (struct sockaddr *)&own, &n))
		return err_sys(e, "cannot read a packet socket's address");
	rec_put_str(b, "KIND", type == SOCK_RAW ? "raw" : "dgram");
	rec_put_hex(b, "PROTOCOL", ntohs(own.sll_protocol));
	if (own.sll_ifindex) {
		if (!if_indextoname((unsigned)own.sll_ifindex, device))
			return err_set(e, EX_CANNOT_CKPT, "fd %d: the interface of a packet socket has gone", f->fd);
		rec_put_str(b, "INTERFACE", device);
	}
	ask(&t, (uint32_t)f->st.st_ino);
	if (t.members.len)
		rec_put_str(b, "MEMBERS", buf_str(&t.members));
	b->failed |= buf_failed(&t.members);
	buf_free(&t.members);
	if (!getsockopt(f->lfd, SOL_PACKET, PACKET_FANOUT, &fanout, &k) && fanout)
		rec_put_hex(b, "FANOUT", (uint32_t)fanout);
	/* The protocol in network order: as for a new one that hears nothing yet. */
	return sockopt_dump(d, f, AF_PACKET, type, 0, e);
}

/* ---- restart ---- */

/* "INTERFACE:TYPE:ADDRESS", taken apart. */
static int member(char *text, char **device, struct packet_mreq *m)
{
	char *save = NULL, *type, *hex, *end;
	unsigned long v;

	memset(m, 0, sizeof *m);
	*device = strtok_r(text, ":", &save);
	type = strtok_r(NULL, ":", &save);
	hex = strtok_r(NULL, ":", &save);
	if (!type || strlen(*device) >= IF_NAMESIZE)
		return -1;
	v = strtoul(type, &end, 10);
	if (*end || v > PACKET_MR_UNICAST || (hex && (strlen(hex) % 2 || strlen(hex) > 2 * sizeof m->mr_address)))
		return -1;
	m->mr_type = (unsigned short)v;
	for (; hex && hex[0]; hex += 2) {
		unsigned byte;

		if (sscanf(hex, "%2x", &byte) != 1)
			return -1;
		m->mr_address[m->mr_alen++] = (unsigned char)byte;
	}
	return 0;
}

static int join(const struct rec *rec, int fd, struct err *e)
{
	AUTO_FREE char *copy = rec_find(rec, "MEMBERS") ? strdup(rec_find(rec, "MEMBERS")) : NULL;
	char *save = NULL, *device;
	struct packet_mreq m;

	for (char *x = copy ? strtok_r(copy, " ", &save) : NULL; x; x = strtok_r(NULL, " ", &save)) {
		if (member(x, &device, &m))
			return err_set(e, EX_BAD_IMAGE, "line %zu: malformed MEMBERS", rec->line);
		if (fd < 0)
			continue;
		m.mr_ifindex = (int)if_nametoindex(device);
		if (!m.mr_ifindex)
			return err_set(e, EX_MISFIT, "this node has no network interface %s, which a packet socket listened to", device);
		if (setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof m))
			return err_sys(e, "cannot have a packet socket listen to %s", device);
	}
	return 0;
}

static int finish(const struct rec *rec, int fd, const struct sockaddr_ll *own, uint64_t fanout, struct err *e)
{
	uint32_t v = (uint32_t)fanout;

	/* The filter and the options before it hears anything. */
	if (sockopt_set(rec, fd, 0, e) || join(rec, fd, e))
		return -1;
	if ((own->sll_protocol || own->sll_ifindex) && bind(fd, (const struct sockaddr *)own, sizeof *own))
		return err_sys(e, "cannot bind a packet socket");
	if (fanout && setsockopt(fd, SOL_PACKET, PACKET_FANOUT, &v, sizeof v))
		return err_sys(e, "cannot join the fanout group of a packet socket");
	return fd_set_flags(fd, rec, e);
}

static int packet_open(struct restore *r, struct rfile *f, struct err *e)
{
	struct sockaddr_ll own = { .sll_family = AF_PACKET };
	const struct rec *rec = &f->rec;
	const char *kind, *device = rec_find(rec, "INTERFACE");
	uint64_t protocol, fanout;

	if (rec_str(rec, "KIND", &kind, e) || rec_u64(rec, "PROTOCOL", UINT16_MAX, &protocol, e) ||
	    rec_u64_or(rec, "FANOUT", UINT32_MAX, 0, &fanout, e) || join(rec, -1, e) || sockopt_set(rec, -1, 0, e))
		return -1;
	if (strcmp(kind, "raw") && strcmp(kind, "dgram"))
		return err_set(e, EX_BAD_IMAGE, "line %zu: no such kind of packet socket", rec->line);
	own.sll_protocol = htons((uint16_t)protocol);
	own.sll_ifindex = device ? (int)if_nametoindex(device) : 0;
	if (device && !own.sll_ifindex)
		return err_set(e, EX_MISFIT, "this node has no network interface %s, which a packet socket is bound to", device);
	f->fd = socket(AF_PACKET, (strcmp(kind, "raw") ? SOCK_DGRAM : SOCK_RAW) | SOCK_CLOEXEC, 0);
	if (f->fd < 0) {
		err_sys(e, "cannot make a packet socket");
		if (errno == EPERM)
			err_hint(e, "it needs CAP_NET_RAW");
		return -1;
	}
	return r->check_only ? 0 : finish(rec, f->fd, &own, fanout, e);
}

const struct fd_ops fd_packet_ops = {
	.type = "packet", .match = packet_match, .check = packet_check, .dump = packet_dump, .open = packet_open,
};
