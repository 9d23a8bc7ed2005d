/* fd_netlink: netlink sockets, netlink(7), that wait for nothing: port, multicast groups, options.
 *
 * Record: TYPE="netlink" ... KIND="raw"|"dgram" PROTOCOL=n [PORT=n] [GROUPS="n n ..."] [PEER_PORT=n] [PEER_GROUPS=bits] [OPTIONS=] [FILTER=]
 *
 * Messages that wait come from the kernel, and nobody can send them again: refused, after giving the program a moment to read them. Protocols
 * whose kernel part keeps something for a socket that it does not show (NETLINK_NETFILTER, NETLINK_AUDIT, ...) are refused. */
#include "res/fd_ops.h"
#include "res/sockopt.h"
#include "common/cleanup.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#ifndef SOL_NETLINK
#define SOL_NETLINK 270
#endif
enum { GROUPS_MAX = 1024, LIST_MEMBERSHIPS = 9, TEXT_GROUPS_MAX = 8192 };

static const struct { int nr; const char *name; } protocols[] = {
	{ NETLINK_ROUTE, "NETLINK_ROUTE" }, { NETLINK_USERSOCK, "NETLINK_USERSOCK" }, { NETLINK_SOCK_DIAG, "NETLINK_SOCK_DIAG" },
	{ NETLINK_FIB_LOOKUP, "NETLINK_FIB_LOOKUP" }, { NETLINK_KOBJECT_UEVENT, "NETLINK_KOBJECT_UEVENT" },
	{ NETLINK_GENERIC, "NETLINK_GENERIC" }, { NETLINK_CRYPTO, "NETLINK_CRYPTO" },
};

static const char *protocol_name(int nr)
{
	for (size_t i = 0; i < sizeof protocols / sizeof protocols[0]; i++)
		if (protocols[i].nr == nr)
			return protocols[i].name;
	return NULL;
}

static bool netlink_match(const struct dfile *f)
{
	return S_ISSOCK(f->st.st_mode) && !(f->flags & O_PATH) && f->lfd >= 0 && sockopt_int(f->lfd, SO_DOMAIN) == AF_NETLINK &&
	       protocol_name(sockopt_int(f->lfd, SO_PROTOCOL));
}

static int netlink_check(struct dump *d, struct dfile *f, struct err *e)
{
	struct pollfd one = { .fd = f->lfd, .events = POLLIN };
	const char *name = protocol_name(sockopt_int(f->lfd, SO_PROTOCOL));
	char what[64];

	(void)e;
	snprintf(what, sizeof what, "socket %s", name);
	sockopt_check(d, f, what);
	if (poll(&one, 1, 0) == 1 && (one.revents & (POLLIN | POLLERR)))
		refuse_for_now(d, f->p, "fd %d: %s: messages wait in it", f->fd, what);
	return 0;
}

static int netlink_dump(struct dump *d, struct dfile *f, struct err *e)
{
	int type = sockopt_int(f->lfd, SO_TYPE), protocol = sockopt_int(f->lfd, SO_PROTOCOL);
	struct sockaddr_nl own = { 0 }, peer = { 0 };
	uint32_t bits[GROUPS_MAX / 32] = { 0 };
	AUTO_BUF struct buf groups = BUF_INIT;
	struct buf *b = &d->files_out;
	socklen_t n = sizeof own, m = sizeof peer, k = sizeof bits;

	if (getsockname(f->lfd, (struct sockaddr *)&own, &n))
		return err_sys(e, "cannot read a netlink socket's address");
	rec_put_str(b, "KIND", type == SOCK_RAW ? "raw" : "dgram");
	rec_put_u64(b, "PROTOCOL", (uint64_t)protocol);
	if (own.nl_pid)
		rec_put_u64(b, "PORT", own.nl_pid);
	/* Older kernels tell only the first 32. */
	if (getsockopt(f->lfd, SOL_NETLINK, LIST_MEMBERSHIPS, bits, &k))
		bits[0] = own.nl_groups;
	for (unsigned g = 0; g < GROUPS_MAX; g++)
		if (bits[g / 32] & 1u << g % 32)
			buf_printf(&groups, "%s%u", groups.len ? " " : "", g + 1);
	if (groups.len)
		rec_put_str(b, "GROUPS", buf_str(&groups));
	b->failed |= buf_failed(&groups);
	if (!getpeername(f->lfd, (struct sockaddr *)&peer, &m) && (peer.nl_pid || peer.nl_groups)) {
		rec_put_u64(b, "PEER_PORT", peer.nl_pid);
		rec_put_hex(b, "PEER_GROUPS", peer.nl_groups);
	}
	return sockopt_dump(d, f, AF_NETLINK, type, protocol, e);
}

/* ---- restart ---- */

static int join(const struct rec *rec, int fd, struct err *e)
{
	const char *s = rec_find(rec, "GROUPS");
	char *end;

	for (; s && *s; s = end + (*end == ' ')) {
		unsigned long g = strtoul(s, &end, 10);
		int group = (int)g;

		if (end == s || *s < '0' || *s > '9' || !g || g > GROUPS_MAX || (*end && *end != ' '))
			return err_set(e, EX_BAD_IMAGE, "line %zu: malformed GROUPS", rec->line);
		if (fd >= 0 && setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group))
			return err_sys(e, "cannot join group %d of a netlink socket", group);
	}
	return 0;
}

static int netlink_open(struct restore *r, struct rfile *f, struct err *e)
{
	struct sockaddr_nl own = { .nl_family = AF_NETLINK }, peer = { .nl_family = AF_NETLINK };
	const struct rec *rec = &f->rec;
	uint64_t protocol, port, peer_port, peer_groups;
	const char *kind;

	if (rec_str(rec, "KIND", &kind, e) || rec_u64(rec, "PROTOCOL", 255, &protocol, e) ||
	    rec_u64_or(rec, "PORT", UINT32_MAX, 0, &port, e) || rec_u64_or(rec, "PEER_PORT", UINT32_MAX, 0, &peer_port, e) ||
	    rec_u64_or(rec, "PEER_GROUPS", UINT32_MAX, 0, &peer_groups, e) || join(rec, -1, e) || sockopt_set(rec, -1, 0, e))
		return -1;
	if ((strcmp(kind, "raw") && strcmp(kind, "dgram")) || !protocol_name((int)protocol))
		return err_set(e, EX_BAD_IMAGE, "line %zu: no such kind of netlink socket", rec->line);
	f->fd = socket(AF_NETLINK, (strcmp(kind, "raw") ? SOCK_DGRAM : SOCK_RAW) | SOCK_CLOEXEC, (int)protocol);
	if (f->fd < 0)
		return err_sys(e, "cannot make a netlink socket");
	if (r->check_only)
		return 0;
	own.nl_pid = (uint32_t)port;
	if (port && bind(f->fd, (struct sockaddr *)&own, sizeof own)) {
		if (errno == EADDRINUSE)
			return err_set(e, EX_BUSY, "port %u of %s is in use", own.nl_pid, protocol_name((int)protocol));
		return err_sys(e, "cannot bind a netlink socket");
	}
	peer.nl_pid = (uint32_t)peer_port;
	peer.nl_groups = (uint32_t)peer_groups;
	if ((peer_port || peer_groups) && connect(f->fd, (struct sockaddr *)&peer, sizeof peer))
		return err_sys(e, "cannot connect a netlink socket");
	return join(rec, f->fd, e) || sockopt_set(rec, f->fd, 0, e) || fd_set_flags(f->fd, rec, e) ? -1 : 0;
}

const struct fd_ops fd_netlink_ops = {
	.type = "netlink", .match = netlink_match, .check = netlink_check, .dump = netlink_dump, .open = netlink_open,
};
