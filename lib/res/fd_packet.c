/* fd_packet: packet(7) sockets, SOCK_RAW and SOCK_DGRAM.
 *
 * Record: TYPE="packet" ... KIND="raw"|"dgram" PROTOCOL=n UID= GID= MODE= [DEVICE=name] [MEMBERS="DEVICE:TYPE:ADDRESS:COUNT ..."]
 *   [COPY_THRESH=n] [FANOUT=n] [OPTIONS=] [FILTER=]
 *
 * Packets that wait are lost, as they may be at any time; PACKET_STATISTICS begin anew. Rings are refused: packets come into them while
 * nobody stops the network. */
#include "res/fd_ops.h"
#include "res/ns_obj.h"
#include "res/sock_diag.h"
#include "res/sockopt.h"
#include "common/cleanup.h"
#include "common/log.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/packet_diag.h>
#include <net/if.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* FANOUT is PACKET_FANOUT's number: id, then 8 bits of mode, then flags. */
enum { ADDRESS_MAX = 32, MEMBERS_MAX = 4096, COUNT_MAX = 65536, FANOUT_SHIFT = 16, FANOUT_MODE = 0xff, UNIQUEID = PACKET_FANOUT_FLAG_UNIQUEID };

struct member { int ifindex; unsigned short type, alen; unsigned char address[ADDRESS_MAX]; };
struct state {
	uint32_t ino, copy_thresh, fanout;
	bool found, ring, fanned, gone;
	struct buf members;
};

static bool packet_match(const struct dfile *f)
{
	int type;

	if (!S_ISSOCK(f->st.st_mode) || (f->flags & O_PATH) || f->lfd < 0 || sockopt_int(f->lfd, SO_DOMAIN) != AF_PACKET)
		return false;
	type = sockopt_int(f->lfd, SO_TYPE);
	return type == SOCK_RAW || type == SOCK_DGRAM;
}

/* ---- check and dump ---- */

static void members(struct state *s, const struct packet_diag_mclist *m, size_t n)
{
	char device[IF_NAMESIZE];

	for (; n >= sizeof *m; n -= sizeof *m, m++) {
		if (!sock_diag_name((unsigned)m->pdmc_index, device) || m->pdmc_alen > ADDRESS_MAX) {
			s->gone = true;
			continue;
		}
		buf_printf(&s->members, "%s%s:%u:", s->members.len ? " " : "", device, m->pdmc_type);
		for (unsigned i = 0; i < m->pdmc_alen; i++)
			buf_printf(&s->members, "%02x", m->pdmc_addr[i]);
		buf_printf(&s->members, ":%u", m->pdmc_count);
	}
}

static void attribute(struct state *s, int type, const void *v, size_t n)
{
	if (type == PACKET_DIAG_INFO && n >= sizeof(struct packet_diag_info))
		s->copy_thresh = ((const struct packet_diag_info *)v)->pdi_copy_thresh;
	else if (type == PACKET_DIAG_RX_RING || type == PACKET_DIAG_TX_RING)
		s->ring = true;
	else if (type == PACKET_DIAG_FANOUT)
		s->fanned = true;
	else if (type == PACKET_DIAG_MCLIST)
		members(s, v, n);
}

static int take(void *arg, const struct nlmsghdr *h, struct err *e)
{
	const struct packet_diag_msg *m = NLMSG_DATA(h);
	const struct nlattr *a = (const struct nlattr *)(m + 1);
	long left = (long)h->nlmsg_len - (long)NLMSG_LENGTH(sizeof *m);
	struct state *s = arg;

	(void)e;
	if (left < 0 || m->pdiag_ino != s->ino)
		return 0;
	s->found = true;
	while (left >= (long)sizeof *a && a->nla_len >= sizeof *a && a->nla_len <= left) {
		attribute(s, a->nla_type, a + 1, a->nla_len - sizeof *a);
		left -= NLA_ALIGN(a->nla_len);
		a = (const struct nlattr *)(const void *)((const char *)a + NLA_ALIGN(a->nla_len));
	}
	return 0;
}

/* s->found is false where the kernel does not tell. */
static int look(const struct dfile *f, struct state *s, struct err *e)
{
	struct packet_diag_req req = {
		.sdiag_family = AF_PACKET,
		.pdiag_show = PACKET_SHOW_INFO | PACKET_SHOW_MCLIST | PACKET_SHOW_RING_CFG | PACKET_SHOW_FANOUT,
	};
	socklen_t n = sizeof s->fanout;

	*s = (struct state){ .ino = (uint32_t)f->st.st_ino, .members = BUF_INIT };
	if (sock_diag_ask(&req, sizeof req, take, s, e) < 0) {
		buf_free(&s->members);
		return -1;
	}
	if (s->fanned && getsockopt(f->lfd, SOL_PACKET, PACKET_FANOUT, &s->fanout, &n))
		s->fanout = 0;
	return 0;
}

static void check_state(struct dump *d, struct dfile *f, const struct state *s)
{
	unsigned mode = s->fanout >> FANOUT_SHIFT & FANOUT_MODE;

	if (!s->found) {
		refuse(d, f->p, "fd %d: packet socket: this kernel does not tell its state (CONFIG_PACKET_DIAG)", f->fd);
		return;
	}
	if (s->ring)
		refuse(d, f->p, "fd %d: packet socket: it has a ring (PACKET_RX_RING, PACKET_TX_RING)", f->fd);
	if (s->gone)
		refuse(d, f->p, "fd %d: packet socket: an interface that it listens on has gone", f->fd);
	if (s->fanned && (mode == PACKET_FANOUT_CBPF || mode == PACKET_FANOUT_EBPF))
		refuse(d, f->p, "fd %d: packet socket: a program chooses in its fanout group", f->fd);
}

static int packet_check(struct dump *d, struct dfile *f, struct err *e)
{
	AUTO_FD int own = f->net ? -1 : socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	int fresh = f->net ? ns_net_model(d, f->net, AF_PACKET, SOCK_RAW, 0, NULL) : own;
	struct sockaddr_ll a = { 0 };
	socklen_t n = sizeof a;
	struct state s;

	if (!f->net && sockopt_elsewhere(f->lfd))
		return refuse(d, f->p, "fd %d: packet socket: it belongs to another network namespace", f->fd);
	if (fresh < 0)
		return refuse(d, f->p, "fd %d: packet socket: needs CAP_NET_RAW, which you have not", f->fd);
	sockopt_check(d, f, "packet socket");
	if (getsockname(f->lfd, (struct sockaddr *)&a, &n))
		return err_sys(e, "getsockname");
	if (look(f, &s, e))
		return -1;
	/* A bound one keeps -1 when its interface is removed. */
	s.gone |= a.sll_ifindex < 0;
	check_state(d, f, &s);
	buf_free(&s.members);
	return 0;
}

static void lost(const struct dfile *f)
{
	struct pollfd one = { .fd = f->lfd, .events = POLLIN };

	if (poll(&one, 1, 0) == 1 && (one.revents & POLLIN))
		log_verbose("pid %d: fd %d: packet socket: packets that wait in it are not saved", f->p->vpid, f->fd);
}

static int packet_dump(struct dump *d, struct dfile *f, struct err *e)
{
	int type = sockopt_int(f->lfd, SO_TYPE);
	struct buf *b = &d->files_out;
	struct sockaddr_ll a = { 0 };
	char device[IF_NAMESIZE];
	socklen_t n = sizeof a;
	struct state s;

	if (getsockname(f->lfd, (struct sockaddr *)&a, &n))
		return err_sys(e, "getsockname");
	if (a.sll_ifindex && !sock_diag_name((unsigned)a.sll_ifindex, device))
		return err_set(e, EX_CANNOT_CKPT, "the interface of a packet socket has gone");
	rec_put_str(b, "KIND", type == SOCK_RAW ? "raw" : "dgram");
	rec_put_u64(b, "PROTOCOL", ntohs(a.sll_protocol));
	rec_put_u64(b, "UID", f->st.st_uid);
	rec_put_u64(b, "GID", f->st.st_gid);
	rec_put_hex(b, "MODE", f->st.st_mode & 07777);
	if (a.sll_ifindex)
		rec_put_str(b, "DEVICE", device);
	if (look(f, &s, e))
		return -1;
	if (s.members.len)
		rec_put_str(b, "MEMBERS", buf_str(&s.members));
	b->failed |= buf_failed(&s.members);
	buf_free(&s.members);
	if (s.copy_thresh)
		rec_put_u64(b, "COPY_THRESH", s.copy_thresh);
	if (s.fanned)
		rec_put_u64(b, "FANOUT", s.fanout);
	lost(f);
	return sockopt_dump(d, f, AF_PACKET, type, 0, e);
}

/* ---- restart ---- */

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "DEVICE:TYPE:ADDRESS:COUNT", taken apart. */
static int parse(char *text, struct member *m, char **device, unsigned long *count)
{
	char *part[4], *end;
	size_t len;

	for (int i = 0; i < 4; i++) {
		part[i] = strsep(&text, ":");
		if (!part[i])
			return -1;
	}
	*device = part[0];
	*m = (struct member){ .type = (unsigned short)strtoul(part[1], &end, 10) };
	len = strlen(part[2]);
	if (text || !*part[0] || strlen(part[0]) >= IF_NAMESIZE || !*part[1] || *end || m->type > PACKET_MR_UNICAST || len % 2 || len > 2 * ADDRESS_MAX)
		return -1;
	for (; m->alen < len / 2; m->alen++) {
		int hi = hex(part[2][2 * m->alen]), lo = hex(part[2][2 * m->alen + 1]);

		if (hi < 0 || lo < 0)
			return -1;
		m->address[m->alen] = (unsigned char)(hi << 4 | lo);
	}
	*count = strtoul(part[3], &end, 10);
	return *part[3] < '0' || *part[3] > '9' || *end || !*count || *count > COUNT_MAX ? -1 : 0;
}

static int index_of(const char *device, struct err *e)
{
	int i = (int)sock_diag_index(device);

	return i ? i : err_set(e, EX_MISFIT, "this node has no network interface %s, on which a packet socket was", device);
}

static int members_set(const struct rec *rec, int fd, struct err *e)
{
	const char *text = rec_find(rec, "MEMBERS");
	AUTO_FREE char *copy = text ? strdup(text) : NULL;
	char *save = NULL, *device;
	unsigned long count;
	struct member m;
	size_t n = 0;

	if (text && !copy)
		return err_set(e, EX_FAILED, "out of memory");
	for (char *t = copy ? strtok_r(copy, " ", &save) : NULL; t; t = strtok_r(NULL, " ", &save)) {
		if (n++ == MEMBERS_MAX || parse(t, &m, &device, &count))
			return err_set(e, EX_BAD_IMAGE, "line %zu: malformed MEMBERS", rec->line);
		if (fd < 0)
			continue;
		m.ifindex = index_of(device, e);
		if (m.ifindex < 0)
			return -1;
		for (; count; count--)
			if (setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof m))
				return err_sys(e, "cannot listen on %s as a packet socket did", device);
	}
	return 0;
}

static int bind_to(int fd, const struct rec *rec, uint64_t protocol, struct err *e)
{
	struct sockaddr_ll a = { .sll_family = AF_PACKET, .sll_protocol = htons((uint16_t)protocol) };
	const char *device = rec_find(rec, "DEVICE");

	if (device) {
		a.sll_ifindex = index_of(device, e);
		if (a.sll_ifindex < 0)
			return -1;
	}
	if ((device || protocol) && bind(fd, (struct sockaddr *)&a, sizeof a))
		return err_sys(e, "cannot bind a packet socket to %s", device ? device : "all interfaces");
	return 0;
}

/* Bound last: until then nothing comes in, and nothing passes the filter. A fanout group takes only who is bound. */
static int finish(int fd, const struct rec *rec, uint64_t protocol, struct err *e)
{
	uint64_t thresh, fanout, uid, gid, mode;
	int n;

	if (rec_u64_or(rec, "COPY_THRESH", INT_MAX, 0, &thresh, e) || rec_u64_or(rec, "FANOUT", UINT32_MAX, 0, &fanout, e) ||
	    rec_u64(rec, "UID", UINT32_MAX, &uid, e) || rec_u64(rec, "GID", UINT32_MAX, &gid, e) || rec_u64(rec, "MODE", 07777, &mode, e))
		return -1;
	n = (int)thresh;
	if (thresh && setsockopt(fd, SOL_PACKET, PACKET_COPY_THRESH, &n, sizeof n))
		return err_sys(e, "cannot set PACKET_COPY_THRESH");
	if (sockopt_set(rec, fd, 0, e) || members_set(rec, fd, e) || bind_to(fd, rec, protocol, e))
		return -1;
	/* The number is chosen already. */
	n = (int)((uint32_t)fanout & ~((uint32_t)UNIQUEID << FANOUT_SHIFT));
	if (rec_find(rec, "FANOUT") && setsockopt(fd, SOL_PACKET, PACKET_FANOUT, &n, sizeof n))
		return err_sys(e, "cannot join the fanout group %u", (unsigned)n & UINT16_MAX);
	if (fchown(fd, (uid_t)uid, (gid_t)gid)) {
		/* only fstat(2) shows it */
	}
	return fchmod(fd, (mode_t)mode) ? err_sys(e, "cannot set the mode of a socket") : fd_set_flags(fd, rec, e);
}

static int packet_open(struct restore *r, struct rfile *f, struct err *e)
{
	const struct rec *rec = &f->rec;
	uint64_t protocol;
	const char *kind;
	int type;

	if (rec_str(rec, "KIND", &kind, e) || rec_u64(rec, "PROTOCOL", UINT16_MAX, &protocol, e) || sockopt_set(rec, -1, 0, e) ||
	    members_set(rec, -1, e))
		return -1;
	type = !strcmp(kind, "raw") ? SOCK_RAW : !strcmp(kind, "dgram") ? SOCK_DGRAM : -1;
	if (type < 0)
		return err_set(e, EX_BAD_IMAGE, "line %zu: no such kind of socket", rec->line);
	f->fd = sock_make(AF_PACKET, type | SOCK_CLOEXEC, 0);
	if (f->fd < 0) {
		err_sys(e, "cannot make a packet socket");
		if (errno == EPERM)
			err_hint(e, "packet sockets need CAP_NET_RAW");
		return -1;
	}
	return r->check_only ? 0 : finish(f->fd, rec, protocol, e);
}

const struct fd_ops fd_packet_ops = {
	.type = "packet", .match = packet_match, .check = packet_check, .dump = packet_dump, .open = packet_open,
};
