/* fd_inet: sockets of IPv4 and IPv6 without connections: UDP, UDP-lite, ICMP (ping) and raw ones. udp(7), udplite(7), icmp(7), raw(7).
 *
 * Record: TYPE="inet" ... FAMILY="inet"|"inet6" KIND="dgram"|"raw" PROTOCOL=n UID= GID= MODE= [ADDRESS=] [PEER=] [OPTIONS=] [FILTER=] [GROUPS=]
 *   [ICMP_FILTER=] [CONTENT=bytes MESSAGES="LENGTH@SOURCE[>OWN] ..."], or EXTERNAL="1" [STD=n]: somebody's stdio, as fd_ext.
 *
 * Datagrams that wait are sent again by the socket of the job that sent them, by one that has the sender's address for a moment, or with CAP_NET_RAW
 * as packets that bear it. Where that cannot be they are lost, as the protocol allows at any time; what the error queue holds, what came to
 * a socket that is bound to the address of a group, and what waits in raw and ping sockets, too. */
#include "res/fd_ext.h"
#include "res/fd_ops.h"
#include "res/ns_obj.h"
#include "res/inet.h"
#include "res/mcast.h"
#include "res/sockopt.h"
#include "res/sock_diag.h"
#include "common/cleanup.h"
#include "common/log.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#ifndef IPPROTO_UDPLITE
#define IPPROTO_UDPLITE 136
#endif
enum { MESSAGE_MAX = 1 << 16, MESSAGES_MAX = 1 << 20, QUEUE_MAX = 1 << 30, SETTLE_TRIES = 500, ICMP_FILTER_SIZE = 32, SPARE = 64 << 10 };

struct isock {
	struct rfile *f;
	int family, type, protocol;
	union inet_addr own, peer;
	uint64_t content;
	struct message { uint32_t len; union inet_addr from, to; } *v; size_t n;
	bool shares;
};

static bool inet_match(const struct dfile *f)
{
	int family, type, protocol;

	if (!S_ISSOCK(f->st.st_mode) || (f->flags & O_PATH) || f->lfd < 0)
		return false;
	family = sockopt_int(f->lfd, SO_DOMAIN);
	type = sockopt_int(f->lfd, SO_TYPE);
	protocol = sockopt_int(f->lfd, SO_PROTOCOL);
	if (family != AF_INET && family != AF_INET6)
		return false;
	return type == SOCK_RAW || (type == SOCK_DGRAM && (protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE ||
							   protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6));
}

/* What getsockname(2) shows as the port of a raw socket is its protocol. */
static const char *address_text(const union inet_addr *a, int type, char out[INET_TEXT])
{
	char *colon;

	inet_text(a, out);
	colon = type == SOCK_RAW ? strrchr(out, ':') : NULL;
	if (colon)
		*colon = 0;
	return out;
}

static bool peeks(int type, int protocol)
{
	return type == SOCK_DGRAM && (protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE);
}

/* ---- check and dump ---- */

static const char *text(const struct dfile *f, char out[2 * INET_TEXT + 32])
{
	int type = sockopt_int(f->lfd, SO_TYPE), protocol = sockopt_int(f->lfd, SO_PROTOCOL);
	char own[INET_TEXT] = "", peer[INET_TEXT] = "";
	union inet_addr a;

	if (inet_own(f->lfd, &a))
		address_text(&a, type, own);
	if (inet_peer(f->lfd, &a))
		address_text(&a, type, peer);
	snprintf(out, 2 * INET_TEXT + 32, "%s socket %s%s%s",
		 type == SOCK_RAW ? "raw" : protocol == IPPROTO_UDP ? "UDP" : protocol == IPPROTO_UDPLITE ? "UDP-lite" : "ping", own,
		 *peer ? " -> " : "", peer);
	return out;
}

static int inet_check(struct dump *d, struct dfile *f, struct err *e)
{
	char what[2 * INET_TEXT + 32];
	int n = 0;

	(void)e;
	text(f, what);
	if (!f->net && sockopt_elsewhere(f->lfd))
		return refuse(d, f->p, "fd %d: %s: it belongs to another network namespace", f->fd, what);
	if (f->std)
		return 0;
	sockopt_check(d, f, what);
	if (peeks(sockopt_int(f->lfd, SO_TYPE), sockopt_int(f->lfd, SO_PROTOCOL)) && !ioctl(f->lfd, SIOCOUTQ, &n) && n)
		refuse_for_now(d, f->p, "fd %d: %s: data waits to be sent (UDP_CORK, MSG_MORE)", f->fd, what);
	return 0;
}

static int peek_from(int fd, int off)
{
	return setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof off);
}

/* The address of ours that it was sent to, where the program asks for it (IP_PKTINFO, IPV6_RECVPKTINFO) and it is no group's. */
static bool sent_to(struct msghdr *m, uint16_t port, union inet_addr *to)
{
	memset(to, 0, sizeof *to);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		struct in_pktinfo four;
		struct in6_pktinfo six;

		if (c->cmsg_level == SOL_IP && c->cmsg_type == IP_PKTINFO && c->cmsg_len >= CMSG_LEN(sizeof four)) {
			memcpy(&four, CMSG_DATA(c), sizeof four);
			to->in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = four.ipi_addr, .sin_port = htons(port) };
			return four.ipi_addr.s_addr == four.ipi_spec_dst.s_addr;
		}
		if (c->cmsg_level == SOL_IPV6 && c->cmsg_type == IPV6_PKTINFO && c->cmsg_len >= CMSG_LEN(sizeof six)) {
			memcpy(&six, CMSG_DATA(c), sizeof six);
			to->in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_addr = six.ipi6_addr, .sin6_port = htons(port),
				.sin6_scope_id = IN6_IS_ADDR_LINKLOCAL(&six.ipi6_addr) ? six.ipi6_ifindex : 0 };
			return !IN6_IS_ADDR_MULTICAST(&six.ipi6_addr);
		}
	}
	return false;
}

static ssize_t peek(int fd, char *mem, union inet_addr *from, union inet_addr *to, uint16_t port, bool *has_to)
{
	char control[512];
	struct iovec v = { mem, MESSAGE_MAX };
	struct msghdr m = { .msg_name = from, .msg_namelen = sizeof *from, .msg_iov = &v, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = sizeof control };
	ssize_t n = recvmsg(fd, &m, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	*has_to = n >= 0 && sent_to(&m, port, to);
	return n;
}

/* All that waits, one after the other. */
static int queue_read(const struct dfile *f, struct buf *data, struct buf *messages, struct err *e)
{
	AUTO_FREE char *mem = malloc(MESSAGE_MAX);
	union inet_addr own;
	size_t n = 0;

	if (!mem)
		return err_set(e, EX_FAILED, "out of memory");
	if (!inet_own(f->lfd, &own))
		return 0;
	for (;; n++) {
		union inet_addr from = { 0 }, to;
		char addr[INET_TEXT];
		bool has_to;
		ssize_t got;

		if (peek_from(f->lfd, (int)data->len))
			return err_sys(e, "SO_PEEK_OFF");
		got = peek(f->lfd, mem, &from, &to, inet_port(&own), &has_to);
		/* An error that waits (ECONNREFUSED) comes first, and only once. */
		if (got < 0 && errno != EAGAIN && n == 0)
			got = peek(f->lfd, mem, &from, &to, inet_port(&own), &has_to);
		if (got < 0 || n == MESSAGES_MAX || data->len > QUEUE_MAX - MESSAGE_MAX)
			break;
		if (!inet_size(&from))
			continue;
		buf_add(data, mem, (size_t)got);
		buf_printf(messages, "%s%zd@%s", messages->len ? " " : "", got, inet_text(&from, addr));
		if (has_to && inet_any(&own))
			buf_printf(messages, ">%s", inet_text(&to, addr));
	}
	return buf_failed(data) || buf_failed(messages) ? err_set(e, EX_FAILED, "out of memory") : 0;
}

static int queue_dump(struct dump *d, const struct dfile *f, struct err *e)
{
	AUTO_BUF struct buf data = BUF_INIT;
	AUTO_BUF struct buf messages = BUF_INIT;
	int at = sockopt_int(f->lfd, SO_PEEK_OFF), rc;
	char name[32];

	rc = queue_read(f, &data, &messages, e);
	if (peek_from(f->lfd, at) && !rc)
		rc = err_sys(e, "SO_PEEK_OFF");
	if (rc || !messages.len)
		return rc;
	rec_put_u64(&d->files_out, "CONTENT", data.len);
	rec_put_str(&d->files_out, "MESSAGES", buf_str(&messages));
	snprintf(name, sizeof name, "inet_%u", f->id);
	return dump_raw_mem(d, name, buf_str(&data), data.len, e);
}

static void lost(const struct dfile *f)
{
	struct pollfd one = { .fd = f->lfd, .events = POLLIN };
	char what[2 * INET_TEXT + 32];

	if (poll(&one, 1, 0) == 1 && (one.revents & POLLIN))
		log_verbose("pid %d: fd %d: %s: packets that wait in it are not saved", f->p->vpid, f->fd, text(f, what));
}

static int inet_dump(struct dump *d, struct dfile *f, struct err *e)
{
	int family = sockopt_int(f->lfd, SO_DOMAIN), type = sockopt_int(f->lfd, SO_TYPE), protocol = sockopt_int(f->lfd, SO_PROTOCOL);
	struct buf *b = &d->files_out;
	unsigned char icmp[ICMP_FILTER_SIZE];
	socklen_t n = sizeof icmp;
	char addr[INET_TEXT];
	union inet_addr a;

	if (f->std) {
		ext_dump(d, f);
		return 0;
	}
	rec_put_str(b, "FAMILY", family == AF_INET ? "inet" : "inet6");
	rec_put_str(b, "KIND", type == SOCK_RAW ? "raw" : "dgram");
	rec_put_u64(b, "PROTOCOL", (uint64_t)protocol);
	rec_put_u64(b, "UID", f->st.st_uid);
	rec_put_u64(b, "GID", f->st.st_gid);
	rec_put_hex(b, "MODE", f->st.st_mode & 07777);
	if (inet_own(f->lfd, &a) && ((inet_port(&a) && type != SOCK_RAW) || !inet_any(&a)))
		rec_put_str(b, "ADDRESS", inet_text(&a, addr));
	if (inet_peer(f->lfd, &a))
		rec_put_str(b, "PEER", inet_text(&a, addr));
	if (type == SOCK_RAW && protocol == (family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6) &&
	    !getsockopt(f->lfd, family == AF_INET ? SOL_RAW : IPPROTO_ICMPV6, 1 /* ICMP_FILTER, ICMPV6_FILTER */, icmp, &n))
		rec_put_bin(b, "ICMP_FILTER", icmp, n);
	if (sockopt_dump(d, f, family, type, protocol, e) || mcast_dump(d, f, family, e))
		return -1;
	if (peeks(type, protocol))
		return queue_dump(d, f, e);
	lost(f);
	return 0;
}

/* ---- records ---- */

static int parse_messages(struct isock *u, const struct rec *rec, struct err *e)
{
	AUTO_FREE char *copy = rec_find(rec, "MESSAGES") ? strdup(rec_find(rec, "MESSAGES")) : NULL;
	uint64_t sum = 0;
	char *save = NULL;

	for (char *m = copy ? strtok_r(copy, " ", &save) : NULL; m; m = strtok_r(NULL, " ", &save)) {
		struct message *v = u->n & (u->n - 1) ? u->v : realloc(u->v, (u->n ? 2 * u->n : 1) * sizeof *v);
		char *at = strchr(m, '@'), *to = strchr(m, '>'), *end;
		unsigned long len = strtoul(m, &end, 10);

		if (!v)
			return err_set(e, EX_FAILED, "out of memory");
		u->v = v;
		if (to)
			*to++ = 0;
		v[u->n].to.sa.sa_family = AF_UNSPEC;
		if (u->n == MESSAGES_MAX || !at || end != at || m[0] < '0' || m[0] > '9' || len > MESSAGE_MAX ||
		    inet_parse(at + 1, &v[u->n].from) < 0 || v[u->n].from.sa.sa_family != u->family ||
		    (to && (inet_parse(to, &v[u->n].to) < 0 || v[u->n].to.sa.sa_family != u->family)))
			return err_set(e, EX_BAD_IMAGE, "line %zu: malformed MESSAGES", rec->line);
		v[u->n++].len = (uint32_t)len;
		sum += len;
	}
	if (sum != u->content)
		return err_set(e, EX_BAD_IMAGE, "line %zu: MESSAGES have not CONTENT bytes together", rec->line);
	return 0;
}

static int parse(struct isock *u, struct err *e)
{
	const struct rec *rec = &u->f->rec;
	unsigned char icmp[ICMP_FILTER_SIZE];
	const char *family, *kind;
	uint64_t protocol;
	size_t n;

	if (rec_str(rec, "FAMILY", &family, e) || rec_str(rec, "KIND", &kind, e) || rec_u64(rec, "PROTOCOL", 255, &protocol, e))
		return -1;
	u->family = !strcmp(family, "inet") ? AF_INET : !strcmp(family, "inet6") ? AF_INET6 : -1;
	u->type = !strcmp(kind, "dgram") ? SOCK_DGRAM : !strcmp(kind, "raw") ? SOCK_RAW : -1;
	u->protocol = (int)protocol;
	if (u->family < 0 || u->type < 0)
		return err_set(e, EX_BAD_IMAGE, "line %zu: no such kind of socket", rec->line);
	if (inet_record(rec, "ADDRESS", rec_find(rec, "ADDRESS") ? u->family : 0, &u->own, e) ||
	    inet_record(rec, "PEER", rec_find(rec, "PEER") ? u->family : 0, &u->peer, e) || sockopt_set(rec, -1, 0, e) ||
	    mcast_set(rec, -1, u->family, e) || rec_u64_or(rec, "CONTENT", QUEUE_MAX, 0, &u->content, e) || parse_messages(u, rec, e))
		return -1;
	return rec_find(rec, "ICMP_FILTER") ? rec_bin(rec, "ICMP_FILTER", icmp, 4, sizeof icmp, &n, e) : 0;
}

/* ---- restart ---- */

static struct isock *inet_of(struct restore *r, size_t i)
{
	return r->files[i].ops == &fd_inet_ops && ns_net_here(r, &r->files[i]) ? r->files[i].priv : NULL;
}

static int address_error(const struct isock *u, const union inet_addr *a, struct err *e)
{
	char t[INET_TEXT];

	address_text(a, u->type, t);
	if (errno == EADDRINUSE)
		return err_set(e, EX_BUSY, "the %s address %s is in use", u->protocol == IPPROTO_UDP ? "UDP" : "socket", t);
	if (errno == EADDRNOTAVAIL || errno == ENODEV)
		return err_set(e, EX_MISFIT, "this node has no address %s", t);
	return err_sys(e, "cannot bind or connect a socket to %s", t);
}

/* Sockets of the job may have one address, also when a program took SO_REUSEADDR back after bind(2). */
static bool shares(struct restore *r, const struct isock *u)
{
	for (size_t i = 0; i < r->nfiles; i++) {
		const struct isock *v = inet_of(r, i);

		if (v && v != u && v->type == SOCK_DGRAM && v->protocol == u->protocol && v->own.sa.sa_family && inet_port(&v->own) == inet_port(&u->own))
			return true;
	}
	return false;
}

static int place(struct restore *r, struct isock *u, struct err *e)
{
	if (!u->own.sa.sa_family)
		return 0;
	u->shares = u->type == SOCK_DGRAM && shares(r, u);
	if (u->shares && setsockopt(u->f->fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)))
		return err_sys(e, "cannot set a socket option");
	return bind(u->f->fd, &u->own.sa, inet_size(&u->own)) ? address_error(u, &u->own, e) : 0;
}

static int make(struct restore *r, struct isock *u, struct err *e)
{
	int fd = sock_make(u->family, u->type | SOCK_CLOEXEC, u->protocol);

	if (fd < 0) {
		err_sys(e, "cannot make a %s socket of protocol %d", u->type == SOCK_RAW ? "raw" : "datagram", u->protocol);
		if (errno == EPERM)
			err_hint(e, "raw sockets need CAP_NET_RAW");
		return -1;
	}
	u->f->fd = restore_high_fd(r, fd);
	if (u->f->fd < 0)
		return err_sys(e, "cannot place a socket above %d (RLIMIT_NOFILE)", r->fd_base);
	if (r->check_only)
		return 0;
	return sockopt_set(&u->f->rec, u->f->fd, SOCKOPT_EARLY, e) || place(r, u, e) ? -1 : 0;
}

static int content(struct restore *r, const struct isock *u, struct buf *b, struct err *e)
{
	const struct image_member *m;
	char name[32], *to;

	snprintf(name, sizeof name, "inet_%u", u->f->id);
	m = image_find(r->img, name);
	if (!m || m->text || m->size != u->content)
		return err_set(e, EX_BAD_IMAGE, "the image has no fitting member %s", name);
	to = buf_reserve(b, u->content + 1);
	if (!to)
		return err_set(e, EX_FAILED, "out of memory");
	for (uint64_t done = 0; done < u->content;) {
		ssize_t n = pread(image_fd(r->img), to + done, u->content - done, (off_t)(m->offset + done));
		if (n <= 0)
			return err_sys(e, "cannot read %s", name);
		done += (uint64_t)n;
	}
	buf_commit(b, u->content);
	return 0;
}

/* The socket of the job that has this address; -1: none. */
static int sender_of(struct restore *r, const struct isock *to, const union inet_addr *from)
{
	for (size_t i = 0; i < r->nfiles; i++) {
		const struct isock *u = inet_of(r, i);

		if (u && u->type == SOCK_DGRAM && u->protocol == to->protocol && u->own.sa.sa_family == from->sa.sa_family &&
		    inet_port(&u->own) == inet_port(from) && (inet_any(&u->own) || inet_same(&u->own, from)))
			return u->f->fd;
	}
	return -1;
}

/* Where it can be reached from here. */
static union inet_addr target(const struct isock *u, const struct message *m)
{
	union inet_addr a = u->own;

	if (!inet_any(&a))
		return a;
	if (m->to.sa.sa_family && inet_here(&m->to)) {
		a = m->to;
		inet_set_port(&a, inet_port(&u->own));
	} else if (u->family == AF_INET) {
		a.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	} else {
		a.in6.sin6_addr = (struct in6_addr)IN6ADDR_LOOPBACK_INIT;
	}
	return a;
}

/* Sent again by who sent it, or as if by him; to nobody else. */
static bool repeat(struct restore *r, const struct isock *u, const struct message *m, const char *p)
{
	union inet_addr to = target(u, m);
	int s;

	if (!inet_here(&to))
		return false;
	s = sender_of(r, u, &m->from);
	return s >= 0 ? inet_send_from(s, &m->from, &to, p, m->len) : inet_imitate(u->protocol, &m->from, &to, p, m->len);
}

static int fill(struct restore *r, struct isock *u, struct err *e)
{
	static const struct timespec moment = { .tv_nsec = 1000000 };
	AUTO_BUF struct buf data = BUF_INIT;
	struct pollfd one = { .fd = u->f->fd, .events = POLLIN };
	size_t at = 0, gone = 0;

	if (!u->n || !u->own.sa.sa_family)
		return 0;
	if (content(r, u, &data, e))
		return -1;
	/* Many small ones need far more room than they have bytes. */
	int room = (int)(u->content / 2 + u->n * 512 + SPARE), had = sockopt_int(u->f->fd, SO_RCVBUF) / 2;
	if (had < room && setsockopt(u->f->fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room))
		setsockopt(u->f->fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
	for (size_t i = 0; i < u->n; at += u->v[i++].len)
		gone += !repeat(r, u, &u->v[i], data.p + at);
	for (int i = 0; gone < u->n && poll(&one, 1, 0) == 0 && i < SETTLE_TRIES; i++)
		nanosleep(&moment, NULL);
	setsockopt(u->f->fd, SOL_SOCKET, SO_RCVBUF, &had, sizeof had);
	setsockopt(u->f->fd, SOL_SOCKET, 72 /* SO_BUF_LOCK */, &(int){ 0 }, sizeof(int));
	if (gone)
		log_info("file %u: %zu of %zu datagrams that waited in a socket are lost: their senders cannot be imitated", u->f->id, gone, u->n);
	return 0;
}

static int finish(struct restore *r, struct isock *u, struct err *e)
{
	const struct rec *rec = &u->f->rec;
	int fd = u->f->fd;
	unsigned char icmp[ICMP_FILTER_SIZE];
	uint64_t uid, gid, mode;
	size_t n;

	(void)r;
	if (u->peer.sa.sa_family && connect(fd, &u->peer.sa, inet_size(&u->peer)))
		return address_error(u, &u->peer, e);
	if (rec_find(rec, "ICMP_FILTER")) {
		if (rec_bin(rec, "ICMP_FILTER", icmp, 4, sizeof icmp, &n, e))
			return -1;
		if (setsockopt(fd, u->family == AF_INET ? SOL_RAW : IPPROTO_ICMPV6, 1, icmp, (socklen_t)n))
			return err_sys(e, "cannot set the ICMP filter of a socket");
	}
	if (u->shares)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 0 }, sizeof(int));
	if (mcast_set(rec, fd, u->family, e) || sockopt_set(rec, fd, 0, e) || fd_set_flags(fd, rec, e))
		return -1;
	if (rec_u64(rec, "UID", UINT32_MAX, &uid, e) || rec_u64(rec, "GID", UINT32_MAX, &gid, e) || rec_u64(rec, "MODE", 07777, &mode, e))
		return -1;
	if (fchown(fd, (uid_t)uid, (gid_t)gid)) {
		/* only fstat(2) shows it */
	}
	return fchmod(fd, (mode_t)mode) ? err_sys(e, "cannot set the mode of a socket") : 0;
}

static int parse_all(struct restore *r, struct err *e)
{
	for (size_t i = 0; i < r->nfiles; i++) {
		struct rfile *f = &r->files[i];
		struct isock *u;

		if (f->ops != &fd_inet_ops || rec_find(&f->rec, "EXTERNAL") || !ns_net_here(r, f))
			continue;
		f->priv = u = calloc(1, sizeof *u);
		if (!u)
			return err_set(e, EX_FAILED, "out of memory");
		u->f = f;
		if (parse(u, e))
			return err_prefix(e, "file %u", f->id);
	}
	return 0;
}

/* All with the first one: all are bound before one receives what another sent, and connected after it, when they take nothing from others
 * any more. */
static int open_all(struct restore *r, struct err *e)
{
	static int (*const steps[])(struct restore *r, struct isock *u, struct err *e) = { make, fill, finish };

	if (parse_all(r, e))
		return -1;
	for (size_t s = 0; s < (r->check_only ? 1 : 3); s++)
		for (size_t i = 0; i < r->nfiles; i++) {
			struct isock *u = inet_of(r, i);

			if (u && steps[s](r, u, e))
				return err_prefix(e, "file %u", u->f->id);
		}
	return 0;
}

void inet_forget(struct restore *r)
{
	for (size_t i = 0; i < r->nfiles; i++) {
		struct isock *u = inet_of(r, i);

		if (u)
			free(u->v);
	}
}

static int inet_open(struct restore *r, struct rfile *f, struct err *e)
{
	return rec_find(&f->rec, "EXTERNAL") ? ext_open(r, f, e) : ns_net_each(r, &fd_inet_ops, open_all, e);
}

const struct fd_ops fd_inet_ops = { .type = "inet", .match = inet_match, .check = inet_check, .dump = inet_dump, .open = inet_open };
