/* fd_netlink: netlink(7) sockets.
 *
 * Record: TYPE="netlink" ... KIND="raw"|"dgram" PROTOCOL=n UID= GID= MODE= [PORT=n] [PEER=n [PEER_GROUPS=mask]] [GROUPS="n n ..."]
 *   [OPTIONS=] [FILTER=]
 *
 * Messages that wait cannot be put back: only the kernel can have sent them. The same message can be asked for again, so such a
 * socket is refused for the moment. What is announced to a group while the job does not exist is not heard. */
#include "res/fd_ops.h"
#include "res/sock_diag.h"
#include "res/sockopt.h"
#include "common/cleanup.h"

#include <fcntl.h>
#include <linux/netlink_diag.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#ifndef SOL_NETLINK
#define SOL_NETLINK 270
#endif
#ifndef NDIAG_SHOW_FLAGS
#define NDIAG_SHOW_FLAGS 8
#endif
/* GROUP_WORDS: more groups than any protocol has. GENERIC_CONTROL: the one group of NETLINK_GENERIC that has the same number everywhere. */
enum { PROTOCOL_MAX = 31, GROUP_WORDS = 2048, GROUP_MAX = GROUP_WORDS * 32, CONNECTED = 1, GENERIC_CONTROL = 16 };

struct state { uint32_t ino; bool found, connected; uint32_t flags; };

/* The others keep something for a socket that they do not show (NETLINK_NETFILTER, NETLINK_AUDIT, ...): refused as unsupported. */
static const char *const names[PROTOCOL_MAX + 1] = {
	[0] = "NETLINK_ROUTE", [2] = "NETLINK_USERSOCK", [4] = "NETLINK_SOCK_DIAG", [10] = "NETLINK_FIB_LOOKUP",
	[15] = "NETLINK_KOBJECT_UEVENT", [16] = "NETLINK_GENERIC", [21] = "NETLINK_CRYPTO",
};

static const char *name(int protocol)
{
	return protocol >= 0 && protocol <= PROTOCOL_MAX ? names[protocol] : NULL;
}

static bool netlink_match(const struct dfile *f)
{
	return S_ISSOCK(f->st.st_mode) && !(f->flags & O_PATH) && f->lfd >= 0 && sockopt_int(f->lfd, SO_DOMAIN) == AF_NETLINK &&
	       name(sockopt_int(f->lfd, SO_PROTOCOL));
}

/* ---- check and dump ---- */

/* The groups as bits, counted from group 1; n: words. -1: the kernel does not tell. */
static int groups(int fd, uint32_t v[GROUP_WORDS], size_t *n)
{
	socklen_t len = GROUP_WORDS * sizeof *v;

	memset(v, 0, GROUP_WORDS * sizeof *v);
	if (getsockopt(fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, v, &len) || len > GROUP_WORDS * sizeof *v)
		return -1;
	*n = (len + sizeof *v - 1) / sizeof *v;
	return 0;
}

static int take(void *arg, const struct nlmsghdr *h, struct err *e)
{
	const struct netlink_diag_msg *m = NLMSG_DATA(h);
	const struct nlattr *a = (const struct nlattr *)(m + 1);
	long left = (long)h->nlmsg_len - (long)NLMSG_LENGTH(sizeof *m);
	struct state *s = arg;

	(void)e;
	if (left < 0 || m->ndiag_ino != s->ino)
		return 0;
	s->found = true;
	s->connected = m->ndiag_state == CONNECTED;
	while (left >= (long)sizeof *a && a->nla_len >= sizeof *a && a->nla_len <= left) {
		if (a->nla_type == NETLINK_DIAG_FLAGS && a->nla_len >= sizeof *a + sizeof s->flags)
			memcpy(&s->flags, a + 1, sizeof s->flags);
		left -= NLA_ALIGN(a->nla_len);
		a = (const struct nlattr *)(const void *)((const char *)a + NLA_ALIGN(a->nla_len));
	}
	return 0;
}

static int look(const struct dfile *f, struct state *s, struct err *e)
{
	struct netlink_diag_req req = {
		.sdiag_family = AF_NETLINK, .sdiag_protocol = NDIAG_PROTO_ALL, .ndiag_show = NDIAG_SHOW_FLAGS,
	};

	*s = (struct state){ .ino = (uint32_t)f->st.st_ino };
	return sock_diag_ask(&req, sizeof req, take, s, e) < 0 ? -1 : 0;
}

static bool numbers_vary(int fd, int protocol)
{
	uint32_t v[GROUP_WORDS];
	size_t n;

	if (protocol != NETLINK_GENERIC || groups(fd, v, &n))
		return false;
	v[(GENERIC_CONTROL - 1) / 32] &= ~(1u << (GENERIC_CONTROL - 1) % 32);
	for (size_t i = 0; i < n; i++)
		if (v[i])
			return true;
	return false;
}

static int netlink_check(struct dump *d, struct dfile *f, struct err *e)
{
	struct pollfd one = { .fd = f->lfd, .events = POLLIN };
	int protocol = sockopt_int(f->lfd, SO_PROTOCOL);
	uint32_t v[GROUP_WORDS];
	char what[64];
	struct state s;
	size_t n;

	snprintf(what, sizeof what, "%s socket", name(protocol));
	if (!f->net && sockopt_elsewhere(f->lfd))
		return refuse(d, f->p, "fd %d: %s: it belongs to another network namespace", f->fd, what);
	sockopt_check(d, f, what);
	if (groups(f->lfd, v, &n))
		refuse(d, f->p, "fd %d: %s: this kernel does not tell its groups", f->fd, what);
	if (numbers_vary(f->lfd, protocol))
		refuse(d, f->p, "fd %d: %s: it is in a group whose number changes from boot to boot", f->fd, what);
	if (look(f, &s, e))
		return -1;
	if (s.flags & NDIAG_FLAG_CB_RUNNING)
		return refuse_for_now(d, f->p, "fd %d: %s: an answer of the kernel is on its way", f->fd, what);
	if (poll(&one, 1, 0) != 1)
		return 0;
	if (one.revents & POLLERR)
		return refuse_for_now(d, f->p, "fd %d: %s: an error waits to be read", f->fd, what);
	return one.revents & POLLIN ? refuse_for_now(d, f->p, "fd %d: %s: messages wait to be read", f->fd, what) : 0;
}

static int groups_dump(struct dump *d, const struct dfile *f, struct err *e)
{
	AUTO_BUF struct buf text = BUF_INIT;
	uint32_t v[GROUP_WORDS];
	size_t n;

	if (groups(f->lfd, v, &n))
		return err_sys(e, "NETLINK_LIST_MEMBERSHIPS");
	for (size_t i = 0; i < n * 32; i++)
		if (v[i / 32] >> i % 32 & 1)
			buf_printf(&text, "%s%zu", text.len ? " " : "", i + 1);
	if (text.len)
		rec_put_str(&d->files_out, "GROUPS", buf_str(&text));
	d->files_out.failed |= buf_failed(&text);
	return 0;
}

static int netlink_dump(struct dump *d, struct dfile *f, struct err *e)
{
	int type = sockopt_int(f->lfd, SO_TYPE), protocol = sockopt_int(f->lfd, SO_PROTOCOL);
	struct sockaddr_nl own = { 0 }, peer = { 0 };
	struct buf *b = &d->files_out;
	socklen_t n = sizeof own;
	struct state s;

	if (getsockname(f->lfd, (struct sockaddr *)&own, &n))
		return err_sys(e, "getsockname");
	n = sizeof peer;
	if (getpeername(f->lfd, (struct sockaddr *)&peer, &n))
		return err_sys(e, "getpeername");
	if (look(f, &s, e))
		return -1;
	rec_put_str(b, "KIND", type == SOCK_RAW ? "raw" : "dgram");
	rec_put_u64(b, "PROTOCOL", (uint64_t)protocol);
	rec_put_u64(b, "UID", f->st.st_uid);
	rec_put_u64(b, "GID", f->st.st_gid);
	rec_put_hex(b, "MODE", f->st.st_mode & 07777);
	if (own.nl_pid)
		rec_put_u64(b, "PORT", own.nl_pid);
	/* One that is connected to the kernel (0) takes nothing from others. */
	if (s.connected || peer.nl_pid || peer.nl_groups) {
		rec_put_u64(b, "PEER", peer.nl_pid);
		if (peer.nl_groups)
			rec_put_hex(b, "PEER_GROUPS", peer.nl_groups);
	}
	return groups_dump(d, f, e) || sockopt_dump(d, f, AF_NETLINK, type, protocol, e) ? -1 : 0;
}

/* ---- restart ---- */

/* Checks the text; joins them when fd is not -1. */
static int groups_set(const struct rec *rec, int fd, struct err *e)
{
	const char *s = rec_find(rec, "GROUPS");
	char *end;

	for (; s && *s; s = *end ? end + 1 : end) {
		unsigned long n = strtoul(s, &end, 10);
		int group = (int)n;

		if (*s < '0' || *s > '9' || (*end && (*end != ' ' || !end[1])) || !n || n > GROUP_MAX)
			return err_set(e, EX_BAD_IMAGE, "line %zu: malformed GROUPS", rec->line);
		if (fd < 0 || !setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group))
			continue;
		if (errno == EINVAL || errno == ENOENT)
			return err_set(e, EX_MISFIT, "this kernel has no group %d of that netlink protocol", group);
		return err_sys(e, "cannot join group %d of netlink", group);
	}
	return 0;
}

static int addresses(int fd, const struct rec *rec, int protocol, struct err *e)
{
	struct sockaddr_nl a = { .nl_family = AF_NETLINK };
	uint64_t port, peer, mask;

	if (rec_u64_or(rec, "PORT", UINT32_MAX, 0, &port, e) || rec_u64_or(rec, "PEER", UINT32_MAX, 0, &peer, e) ||
	    rec_u64_or(rec, "PEER_GROUPS", UINT32_MAX, 0, &mask, e))
		return -1;
	a.nl_pid = (__u32)port;
	if (port && bind(fd, (struct sockaddr *)&a, sizeof a))
		return errno == EADDRINUSE ? err_set(e, EX_BUSY, "port %u of %s is in use", a.nl_pid, name(protocol)) :
		       err_sys(e, "cannot bind a netlink socket to port %u", a.nl_pid);
	a.nl_pid = (__u32)peer;
	a.nl_groups = (__u32)mask;
	if (rec_find(rec, "PEER") && connect(fd, (struct sockaddr *)&a, sizeof a))
		return err_sys(e, "cannot connect a netlink socket to port %u", a.nl_pid);
	return 0;
}

static int netlink_open(struct restore *r, struct rfile *f, struct err *e)
{
	const struct rec *rec = &f->rec;
	uint64_t protocol, uid, gid, mode;
	const char *kind;
	int type;

	if (rec_str(rec, "KIND", &kind, e) || rec_u64(rec, "PROTOCOL", PROTOCOL_MAX, &protocol, e) || groups_set(rec, -1, e) ||
	    sockopt_set(rec, -1, 0, e) || rec_u64(rec, "UID", UINT32_MAX, &uid, e) || rec_u64(rec, "GID", UINT32_MAX, &gid, e) ||
	    rec_u64(rec, "MODE", 07777, &mode, e))
		return -1;
	type = !strcmp(kind, "raw") ? SOCK_RAW : !strcmp(kind, "dgram") ? SOCK_DGRAM : -1;
	if (type < 0 || !name((int)protocol))
		return err_set(e, EX_BAD_IMAGE, "line %zu: no such kind of socket", rec->line);
	f->fd = sock_make(AF_NETLINK, type | SOCK_CLOEXEC, (int)protocol);
	if (f->fd < 0)
		return errno == EPROTONOSUPPORT ? err_set(e, EX_MISFIT, "this kernel has no %s", name((int)protocol)) :
		       err_sys(e, "cannot make a socket of %s", name((int)protocol));
	if (r->check_only)
		return 0;
	/* Groups last: nothing comes before all is set. */
	if (sockopt_set(rec, f->fd, 0, e) || addresses(f->fd, rec, (int)protocol, e) || fd_set_flags(f->fd, rec, e) ||
	    groups_set(rec, f->fd, e))
		return -1;
	if (fchown(f->fd, (uid_t)uid, (gid_t)gid)) {
		/* only fstat(2) shows it */
	}
	return fchmod(f->fd, (mode_t)mode) ? err_sys(e, "cannot set the mode of a socket") : 0;
}

const struct fd_ops fd_netlink_ops = {
	.type = "netlink", .match = netlink_match, .check = netlink_check, .dump = netlink_dump, .open = netlink_open,
};
