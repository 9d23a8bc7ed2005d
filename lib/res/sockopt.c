/* sockopt: see sockopt.h.
 *
 * OPTIONS="NAME:VALUE NAME:VALUE ...", the value as bytes in hexadecimal, of those that a new socket of that kind does not
 * have by itself. An image may name only what stands in the table here, of that size.
 * FILTER=bytes of the struct sock_filter that SO_ATTACH_FILTER was given.
 *
 * Not there, because the kernel changes them by itself: SO_INCOMING_CPU, TCP_QUICKACK, TCP_WINDOW_CLAMP, and buffer sizes of TCP that
 * nobody has set. */
#include "res/sockopt.h"
#include "common/cleanup.h"
#include "res/ns_obj.h"
#include "res/sock_diag.h"

#include <linux/filter.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#endif
#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif
#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif
#ifndef SO_GET_FILTER
#define SO_GET_FILTER SO_ATTACH_FILTER
#endif

enum { OPTION_SIZE = 16, SOL_UDP_ = 17, SOL_UDPLITE_ = 136, SOL_PACKET_ = 263, SOL_NETLINK_ = 270, LOCK_SNDBUF = 1, LOCK_RCVBUF = 2, FILTER_MAX = BPF_MAXINSNS };
/* TEXT: a name, of any length up to size. DEVICE: a number of an interface (BIG: as big-endian), here by its name. */
enum { EARLY = 1, TEXT = 2, DEVICE = 4, BIG = 8 };

/* Buffers first: SO_BUF_LOCK follows what setting them would lock. SO_PEEK_OFF last: it moves. Numbers as in linux/in.h, linux/in6.h,
 * linux/tcp.h, linux/udp.h, asm-generic/socket.h: headers of older systems lack the newer ones. */
static const struct option { const char *name; int level, nr; unsigned size; int force; unsigned flags; } options[] = {
	{ "SNDBUF", SOL_SOCKET, SO_SNDBUF, 4, SO_SNDBUFFORCE, 0 },
	{ "RCVBUF", SOL_SOCKET, SO_RCVBUF, 4, SO_RCVBUFFORCE, EARLY },
	{ "BUF_LOCK", SOL_SOCKET, SO_BUF_LOCK, 4, 0, 0 },
	{ "DEBUG", SOL_SOCKET, SO_DEBUG, 4, 0, 0 },
	{ "PASSCRED", SOL_SOCKET, SO_PASSCRED, 4, 0, 0 },
	{ "PASSSEC", SOL_SOCKET, SO_PASSSEC, 4, 0, 0 },
	{ "PASSPIDFD", SOL_SOCKET, SO_PASSPIDFD, 4, 0, 0 },
	{ "PASSRIGHTS", SOL_SOCKET, SO_PASSRIGHTS, 4, 0, 0 },
	{ "RCVTIMEO", SOL_SOCKET, SO_RCVTIMEO, 16, 0, 0 },
	{ "SNDTIMEO", SOL_SOCKET, SO_SNDTIMEO, 16, 0, 0 },
	{ "LINGER", SOL_SOCKET, SO_LINGER, 8, 0, 0 },
	{ "RCVLOWAT", SOL_SOCKET, SO_RCVLOWAT, 4, 0, 0 },
	{ "KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE, 4, 0, 0 },
	{ "OOBINLINE", SOL_SOCKET, SO_OOBINLINE, 4, 0, 0 },
	{ "REUSEADDR", SOL_SOCKET, SO_REUSEADDR, 4, 0, EARLY },
	{ "REUSEPORT", SOL_SOCKET, SO_REUSEPORT, 4, 0, EARLY },
	{ "BINDTODEVICE", SOL_SOCKET, SO_BINDTODEVICE, 16, 0, EARLY | TEXT },
	{ "BROADCAST", SOL_SOCKET, SO_BROADCAST, 4, 0, EARLY },
	{ "DONTROUTE", SOL_SOCKET, SO_DONTROUTE, 4, 0, 0 },
	{ "NO_CHECK", SOL_SOCKET, SO_NO_CHECK, 4, 0, 0 },
	{ "TIMESTAMP", SOL_SOCKET, SO_TIMESTAMP, 4, 0, 0 },
	{ "TIMESTAMPNS", SOL_SOCKET, SO_TIMESTAMPNS, 4, 0, 0 },
	{ "TIMESTAMP_NEW", SOL_SOCKET, 63, 4, 0, 0 },
	{ "TIMESTAMPNS_NEW", SOL_SOCKET, 64, 4, 0, 0 },
	{ "TIMESTAMPING", SOL_SOCKET, 37, 4, 0, 0 },
	{ "RXQ_OVFL", SOL_SOCKET, SO_RXQ_OVFL, 4, 0, 0 },
	{ "WIFI_STATUS", SOL_SOCKET, 41, 4, 0, 0 },
	{ "SELECT_ERR_QUEUE", SOL_SOCKET, 45, 4, 0, 0 },
	{ "BUSY_POLL", SOL_SOCKET, 46, 4, 0, 0 },
	{ "MAX_PACING_RATE", SOL_SOCKET, 47, 8, 0, 0 },
	{ "ZEROCOPY", SOL_SOCKET, 60, 4, 0, 0 },
	{ "TXTIME", SOL_SOCKET, 61, 8, 0, 0 },
	{ "PREFER_BUSY_POLL", SOL_SOCKET, 69, 4, 0, 0 },
	{ "BUSY_POLL_BUDGET", SOL_SOCKET, 70, 4, 0, 0 },
	{ "PRIORITY", SOL_SOCKET, SO_PRIORITY, 4, 0, 0 },
	{ "MARK", SOL_SOCKET, SO_MARK, 4, 0, EARLY },

	{ "IP.TOS", SOL_IP, 1, 4, 0, 0 },
	{ "IP.TTL", SOL_IP, 2, 4, 0, 0 },
	{ "IP.HDRINCL", SOL_IP, 3, 4, 0, 0 },
	{ "IP.ROUTER_ALERT", SOL_IP, 5, 4, 0, 0 },
	{ "IP.PKTINFO", SOL_IP, 8, 4, 0, 0 },
	{ "IP.MTU_DISCOVER", SOL_IP, 10, 4, 0, 0 },
	{ "IP.RECVERR", SOL_IP, 11, 4, 0, 0 },
	{ "IP.RECVTTL", SOL_IP, 12, 4, 0, 0 },
	{ "IP.RECVTOS", SOL_IP, 13, 4, 0, 0 },
	{ "IP.FREEBIND", SOL_IP, 15, 4, 0, EARLY },
	{ "IP.PASSSEC", SOL_IP, 18, 4, 0, 0 },
	{ "IP.TRANSPARENT", SOL_IP, 19, 4, 0, EARLY },
	{ "IP.RECVORIGDSTADDR", SOL_IP, 20, 4, 0, 0 },
	{ "IP.MINTTL", SOL_IP, 21, 4, 0, 0 },
	{ "IP.NODEFRAG", SOL_IP, 22, 4, 0, 0 },
	{ "IP.CHECKSUM", SOL_IP, 23, 4, 0, 0 },
	{ "IP.BIND_ADDRESS_NO_PORT", SOL_IP, 24, 4, 0, 0 },
	{ "IP.RECVFRAGSIZE", SOL_IP, 25, 4, 0, 0 },
	{ "IP.RECVERR_RFC4884", SOL_IP, 26, 4, 0, 0 },
	{ "IP.MULTICAST_IF", SOL_IP, 32, 4, 0, 0 },
	{ "IP.MULTICAST_TTL", SOL_IP, 33, 4, 0, 0 },
	{ "IP.MULTICAST_LOOP", SOL_IP, 34, 4, 0, 0 },
	{ "IP.MULTICAST_ALL", SOL_IP, 49, 4, 0, 0 },
	{ "IP.UNICAST_IF", SOL_IP, 50, 16, 0, DEVICE | BIG },
	{ "IP.LOCAL_PORT_RANGE", SOL_IP, 51, 4, 0, 0 },

	{ "IPV6.CHECKSUM", SOL_IPV6, 7, 4, 0, 0 },
	{ "IPV6.FLOWINFO", SOL_IPV6, 11, 4, 0, 0 },
	{ "IPV6.UNICAST_HOPS", SOL_IPV6, 16, 4, 0, 0 },
	{ "IPV6.MULTICAST_IF", SOL_IPV6, 17, 16, 0, DEVICE },
	{ "IPV6.MULTICAST_HOPS", SOL_IPV6, 18, 4, 0, 0 },
	{ "IPV6.MULTICAST_LOOP", SOL_IPV6, 19, 4, 0, 0 },
	{ "IPV6.MTU_DISCOVER", SOL_IPV6, 23, 4, 0, 0 },
	{ "IPV6.RECVERR", SOL_IPV6, 25, 4, 0, 0 },
	{ "IPV6.V6ONLY", SOL_IPV6, 26, 4, 0, EARLY },
	{ "IPV6.MULTICAST_ALL", SOL_IPV6, 29, 4, 0, 0 },
	{ "IPV6.RECVERR_RFC4884", SOL_IPV6, 31, 4, 0, 0 },
	{ "IPV6.FLOWINFO_SEND", SOL_IPV6, 33, 4, 0, 0 },
	{ "IPV6.RECVPKTINFO", SOL_IPV6, 49, 4, 0, 0 },
	{ "IPV6.RECVHOPLIMIT", SOL_IPV6, 51, 4, 0, 0 },
	{ "IPV6.RECVHOPOPTS", SOL_IPV6, 53, 4, 0, 0 },
	{ "IPV6.RECVRTHDR", SOL_IPV6, 56, 4, 0, 0 },
	{ "IPV6.RECVDSTOPTS", SOL_IPV6, 58, 4, 0, 0 },
	{ "IPV6.RECVPATHMTU", SOL_IPV6, 60, 4, 0, 0 },
	{ "IPV6.DONTFRAG", SOL_IPV6, 62, 4, 0, 0 },
	{ "IPV6.RECVTCLASS", SOL_IPV6, 66, 4, 0, 0 },
	{ "IPV6.TCLASS", SOL_IPV6, 67, 4, 0, 0 },
	{ "IPV6.AUTOFLOWLABEL", SOL_IPV6, 70, 4, 0, 0 },
	{ "IPV6.ADDR_PREFERENCES", SOL_IPV6, 72, 4, 0, 0 },
	{ "IPV6.MINHOPCOUNT", SOL_IPV6, 73, 4, 0, 0 },
	{ "IPV6.RECVORIGDSTADDR", SOL_IPV6, 74, 4, 0, 0 },
	{ "IPV6.TRANSPARENT", SOL_IPV6, 75, 4, 0, EARLY },
	{ "IPV6.UNICAST_IF", SOL_IPV6, 76, 16, 0, DEVICE | BIG },
	{ "IPV6.RECVFRAGSIZE", SOL_IPV6, 77, 4, 0, 0 },
	{ "IPV6.FREEBIND", SOL_IPV6, 78, 4, 0, EARLY },

	{ "TCP.NODELAY", SOL_TCP, 1, 4, 0, 0 },
	{ "TCP.KEEPIDLE", SOL_TCP, 4, 4, 0, 0 },
	{ "TCP.KEEPINTVL", SOL_TCP, 5, 4, 0, 0 },
	{ "TCP.KEEPCNT", SOL_TCP, 6, 4, 0, 0 },
	{ "TCP.SYNCNT", SOL_TCP, 7, 4, 0, 0 },
	{ "TCP.LINGER2", SOL_TCP, 8, 4, 0, 0 },
	{ "TCP.DEFER_ACCEPT", SOL_TCP, 9, 4, 0, 0 },
	{ "TCP.CONGESTION", SOL_TCP, 13, 16, 0, TEXT },
	{ "TCP.THIN_LINEAR", SOL_TCP, 16, 4, 0, 0 },
	{ "TCP.USER_TIMEOUT", SOL_TCP, 18, 4, 0, 0 },
	{ "TCP.FASTOPEN", SOL_TCP, 23, 4, 0, 0 },
	{ "TCP.NOTSENT_LOWAT", SOL_TCP, 25, 4, 0, 0 },
	{ "TCP.SAVE_SYN", SOL_TCP, 27, 4, 0, 0 },
	{ "TCP.FASTOPEN_CONNECT", SOL_TCP, 30, 4, 0, 0 },
	{ "TCP.FASTOPEN_NO_COOKIE", SOL_TCP, 34, 4, 0, 0 },
	{ "TCP.INQ", SOL_TCP, 36, 4, 0, 0 },
	{ "TCP.TX_DELAY", SOL_TCP, 37, 4, 0, 0 },
	{ "TCP.CORK", SOL_TCP, 3, 4, 0, 0 },

	{ "UDP.CORK", SOL_UDP_, 1, 4, 0, 0 },
	{ "UDP.NO_CHECK6_TX", SOL_UDP_, 101, 4, 0, 0 },
	{ "UDP.NO_CHECK6_RX", SOL_UDP_, 102, 4, 0, 0 },
	{ "UDP.SEGMENT", SOL_UDP_, 103, 4, 0, 0 },
	{ "UDP.GRO", SOL_UDP_, 104, 4, 0, 0 },
	{ "UDPLITE.SEND_CSCOV", SOL_UDPLITE_, 10, 4, 0, 0 },
	{ "UDPLITE.RECV_CSCOV", SOL_UDPLITE_, 11, 4, 0, 0 },

	{ "NETLINK.PKTINFO", SOL_NETLINK_, 3, 4, 0, 0 },
	{ "NETLINK.BROADCAST_ERROR", SOL_NETLINK_, 4, 4, 0, 0 },
	{ "NETLINK.NO_ENOBUFS", SOL_NETLINK_, 5, 4, 0, 0 },
	{ "NETLINK.LISTEN_ALL_NSID", SOL_NETLINK_, 8, 4, 0, 0 },
	{ "NETLINK.CAP_ACK", SOL_NETLINK_, 10, 4, 0, 0 },
	{ "NETLINK.EXT_ACK", SOL_NETLINK_, 11, 4, 0, 0 },
	{ "NETLINK.GET_STRICT_CHK", SOL_NETLINK_, 12, 4, 0, 0 },

	{ "PACKET.AUXDATA", SOL_PACKET_, 8, 4, 0, 0 },
	{ "PACKET.ORIGDEV", SOL_PACKET_, 9, 4, 0, 0 },
	{ "PACKET.VERSION", SOL_PACKET_, 10, 4, 0, 0 },
	{ "PACKET.RESERVE", SOL_PACKET_, 12, 4, 0, 0 },
	{ "PACKET.LOSS", SOL_PACKET_, 14, 4, 0, 0 },
	{ "PACKET.VNET_HDR", SOL_PACKET_, 15, 4, 0, 0 },
	{ "PACKET.VNET_HDR_SZ", SOL_PACKET_, 24, 4, 0, 0 },
	{ "PACKET.TIMESTAMP", SOL_PACKET_, 17, 4, 0, 0 },
	{ "PACKET.TX_HAS_OFF", SOL_PACKET_, 19, 4, 0, 0 },
	{ "PACKET.QDISC_BYPASS", SOL_PACKET_, 20, 4, 0, 0 },
	{ "PACKET.IGNORE_OUTGOING", SOL_PACKET_, 23, 4, 0, 0 },

	{ "LOCK_FILTER", SOL_SOCKET, 44, 4, 0, 0 },
	{ "PEEK_OFF", SOL_SOCKET, SO_PEEK_OFF, 4, 0, 0 },
	{ NULL, 0, 0, 0, 0, 0 },
};

static bool get_device(int fd, const struct option *o, unsigned char v[OPTION_SIZE])
{
	uint32_t index = 0;
	socklen_t n = sizeof index;

	if (getsockopt(fd, o->level, o->nr, &index, &n))
		return false;
	index = o->flags & BIG ? ntohl(index) : index;
	return !index || sock_diag_name(index, (char *)v);
}

static bool get(int fd, const struct option *o, unsigned char v[OPTION_SIZE])
{
	socklen_t n = o->size;

	memset(v, 0, OPTION_SIZE);
	if (o->flags & DEVICE)
		return get_device(fd, o, v);
	if (getsockopt(fd, o->level, o->nr, v, &n))
		return false;
	if (!(o->flags & TEXT))
		return n == o->size;
	/* Behind the name may stand anything. */
	v[OPTION_SIZE - 1] = 0;
	n = (socklen_t)strlen((char *)v);
	memset(v + n, 0, OPTION_SIZE - n);
	return true;
}

int sockopt_int(int fd, int nr)
{
	int v = -1;
	socklen_t n = sizeof v;

	return getsockopt(fd, SOL_SOCKET, nr, &v, &n) ? -1 : v;
}

static uint64_t cookie(int fd)
{
	uint64_t v = 0;
	socklen_t n = sizeof v;

	return getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &v, &n) ? 0 : v;
}

bool sockopt_elsewhere(int fd)
{
	AUTO_FD int ours = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return ours >= 0 && cookie(ours) != cookie(fd);
}

/* ---- checkpoint ---- */

/* An interface may go, and the socket keeps its number. */
static void check_devices(struct dump *d, const struct dfile *f, const char *what)
{
	unsigned char v[OPTION_SIZE];
	uint32_t index;
	socklen_t n = OPTION_SIZE;

	if (getsockopt(f->lfd, SOL_SOCKET, SO_BINDTODEVICE, v, &n) && errno == ENODEV)
		refuse(d, f->p, "fd %d: %s: it is bound to an interface that is gone (SO_BINDTODEVICE)", f->fd, what);
	for (const struct option *o = options; o->name; o++) {
		n = sizeof index;
		if ((o->flags & DEVICE) && !getsockopt(f->lfd, o->level, o->nr, &index, &n) && index && !get_device(f->lfd, o, v))
			refuse(d, f->p, "fd %d: %s: its option %s names an interface that is gone", f->fd, what, o->name);
	}
}

int sockopt_check(struct dump *d, const struct dfile *f, const char *what)
{
	unsigned char v[64];
	char ulp[16] = "";
	socklen_t n = 0;

	check_devices(d, f, what);
	if (getsockopt(f->lfd, SOL_SOCKET, SO_GET_FILTER, NULL, &n) && errno == EACCES)
		refuse(d, f->p, "fd %d: %s: an eBPF program filters it", f->fd, what);
	n = sizeof v;
	if (!getsockopt(f->lfd, SOL_IP, IP_OPTIONS, v, &n) && n)
		refuse(d, f->p, "fd %d: %s: IP options are set", f->fd, what);
	n = sizeof ulp;
	if (!getsockopt(f->lfd, SOL_TCP, 31 /* TCP_ULP */, ulp, &n) && n && *ulp)
		refuse(d, f->p, "fd %d: %s: the upper layer protocol %.*s is on", f->fd, what, (int)sizeof ulp, ulp);
	n = sizeof(int);
	if (!getsockopt(f->lfd, SOL_UDP_, 100 /* UDP_ENCAP */, v, &n) && sockopt_int(f->lfd, SO_PROTOCOL) == IPPROTO_UDP && *(int *)(void *)v)
		refuse(d, f->p, "fd %d: %s: it unpacks another protocol (UDP_ENCAP)", f->fd, what);
	return 0;
}

static void filter_dump(struct dump *d, const struct dfile *f)
{
	struct sock_filter *v;
	socklen_t n = 0;

	/* Counted in instructions. */
	if (getsockopt(f->lfd, SOL_SOCKET, SO_GET_FILTER, NULL, &n) || !n || n > FILTER_MAX)
		return;
	v = calloc(n, sizeof *v);
	if (v && !getsockopt(f->lfd, SOL_SOCKET, SO_GET_FILTER, v, &n))
		rec_put_bin(&d->files_out, "FILTER", v, n * sizeof *v);
	else
		d->files_out.failed = true;
	free(v);
}

/* A size that TCP has chosen by itself; what an accepted socket has otherwise, without use. */
static bool tuned(int fd, const struct option *o, int protocol)
{
	int locks = sockopt_int(fd, SO_BUF_LOCK);

	if (protocol != IPPROTO_TCP)
		return false;
	if (strstr(o->name, ".MULTICAST_"))
		return true;
	if (o->level != SOL_SOCKET || locks < 0)
		return false;
	return (o->nr == SO_SNDBUF && !(locks & LOCK_SNDBUF)) || (o->nr == SO_RCVBUF && !(locks & LOCK_RCVBUF));
}

int sockopt_dump(struct dump *d, const struct dfile *f, int family, int type, int protocol, struct err *e)
{
	AUTO_FD int own = f->net ? -1 : socket(family, type | SOCK_CLOEXEC, protocol);
	int fresh = f->net ? ns_net_model(d, f->net, family, type, protocol, e) : own;
	AUTO_BUF struct buf text = BUF_INIT;
	unsigned char is[OPTION_SIZE], was[OPTION_SIZE];

	if (fresh < 0)
		return f->net ? -1 : err_sys(e, "cannot make a socket");
	for (const struct option *o = options; o->name; o++) {
		if (!get(f->lfd, o, is) || !get(fresh, o, was) || !memcmp(is, was, o->size) || tuned(f->lfd, o, protocol))
			continue;
		buf_printf(&text, "%s%s:", text.len ? " " : "", o->name);
		for (unsigned i = 0; i < o->size; i++)
			buf_printf(&text, "%02x", is[i]);
	}
	d->files_out.failed |= buf_failed(&text);
	if (text.len)
		rec_put_str(&d->files_out, "OPTIONS", buf_str(&text));
	filter_dump(d, f);
	return 0;
}

/* ---- restart ---- */

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The next one of the list; 0 at its end, -1: malformed. */
static int next(const char **s, const struct option **out, unsigned char v[OPTION_SIZE])
{
	const char *c = strchr(*s, ':');
	size_t n = c ? (size_t)(c - *s) : 0;

	if (!**s)
		return 0;
	for (*out = options; (*out)->name; (*out)++)
		if (strlen((*out)->name) == n && !strncmp((*out)->name, *s, n))
			break;
	if (!c || !(*out)->name)
		return -1;
	c++;
	for (unsigned i = 0; i < (*out)->size; i++, c += 2) {
		if (hex(c[0]) < 0 || hex(c[1]) < 0)
			return -1;
		v[i] = (unsigned char)(hex(c[0]) << 4 | hex(c[1]));
	}
	if (*c && (*c != ' ' || !c[1]))
		return -1;
	*s = *c ? c + 1 : c;
	return 1;
}

static int cannot(const struct option *o, struct err *e)
{
	err_sys(e, "cannot set the socket option %s", o->name);
	if (errno == EPERM)
		err_hint(e, "it needs CAP_NET_ADMIN or CAP_NET_RAW");
	return -1;
}

static int no_device(const unsigned char *name, struct err *e)
{
	return err_set(e, EX_MISFIT, "this node has no network interface %.*s, which a socket was bound to", OPTION_SIZE, (const char *)name);
}

static int set_device(int fd, const struct option *o, const unsigned char *v, struct err *e)
{
	char name[OPTION_SIZE + 1] = "";
	uint32_t index;

	memcpy(name, v, OPTION_SIZE);
	index = sock_diag_index(name);
	if (!index && *name)
		return no_device(v, e);
	index = o->flags & BIG ? htonl(index) : index;
	return setsockopt(fd, o->level, o->nr, &index, sizeof index) ? cannot(o, e) : 0;
}

static int set_text(int fd, const struct option *o, const unsigned char *v, struct err *e)
{
	if (!setsockopt(fd, o->level, o->nr, v, (socklen_t)strnlen((const char *)v, o->size)))
		return 0;
	if (errno == ENODEV)
		return no_device(v, e);
	if (errno == ENOENT)
		return err_set(e, EX_MISFIT, "this node has no %.*s, which a socket has as %s", (int)o->size, (const char *)v, o->name);
	return cannot(o, e);
}

static int set(int fd, const struct option *o, const unsigned char *v, struct err *e)
{
	unsigned char now[OPTION_SIZE];
	int n;

	if (get(fd, o, now) && !memcmp(now, v, o->size))
		return 0;
	if (o->flags & DEVICE)
		return set_device(fd, o, v, e);
	if (o->flags & TEXT)
		return set_text(fd, o, v, e);
	if (!o->force)
		return setsockopt(fd, o->level, o->nr, v, o->size) ? cannot(o, e) : 0;
	/* The kernel doubles what it is told. */
	memcpy(&n, v, sizeof n);
	n /= 2;
	if (setsockopt(fd, SOL_SOCKET, o->force, &n, sizeof n) && setsockopt(fd, SOL_SOCKET, o->nr, &n, sizeof n))
		return cannot(o, e);
	if (get(fd, o, now) && !memcmp(now, v, o->size))
		return 0;
	err_set(e, EX_MISFIT, "the socket option %s cannot be %d here", o->name, 2 * n);
	err_hint(e, "net.core.wmem_max and net.core.rmem_max limit it");
	return -1;
}

static int filter_set(const struct rec *rec, int fd, struct err *e)
{
	AUTO_FREE struct sock_filter *v = NULL;
	size_t n;

	if (!rec_find(rec, "FILTER"))
		return 0;
	v = calloc(FILTER_MAX, sizeof *v);
	if (!v)
		return err_set(e, EX_FAILED, "out of memory");
	if (rec_bin(rec, "FILTER", v, sizeof *v, FILTER_MAX * sizeof *v, &n, e))
		return -1;
	if (n % sizeof *v)
		return err_set(e, EX_BAD_IMAGE, "line %zu: FILTER is not whole instructions", rec->line);
	struct sock_fprog p = { (unsigned short)(n / sizeof *v), v };
	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &p, sizeof p))
		return err_sys(e, "cannot attach the socket's packet filter");
	return 0;
}

int sockopt_set(const struct rec *rec, int fd, int which, struct err *e)
{
	const char *s = rec_find(rec, "OPTIONS");
	const struct option *o;
	unsigned char v[OPTION_SIZE];
	int rc = 0;

	/* Before LOCK_FILTER. */
	if (!(which & SOCKOPT_EARLY) && filter_set(rec, fd, e))
		return -1;
	while (s && (rc = next(&s, &o, v)) > 0)
		if (fd >= 0 && (!(which & SOCKOPT_EARLY) || (o->flags & EARLY)) && set(fd, o, v, e))
			return -1;
	return rc < 0 ? err_set(e, EX_BAD_IMAGE, "line %zu: malformed OPTIONS", rec->line) : 0;
}

void sockopt_room(int fd, uint64_t n)
{
	int want = n < INT_MAX / 4 ? (int)n : INT_MAX / 4, now = sockopt_int(fd, SO_SNDBUF);

	if (now < 0 || now / 2 >= want)
		return;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &want, sizeof want))
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &want, sizeof want);
}
