/* netns_nl: messages of netlink(7), as rtnetlink(7) wants them: requests with acknowledgement, dumps that are complete. */
#include "res/netns_int.h"
#include "common/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { DATAGRAM = 256 << 10, RETRIES = 20 };

int nl_open(struct nl *n, int protocol, struct err *e)
{
	int one = 1;

	*n = (struct nl){ .fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol) };
	if (n->fd < 0)
		return err_sys(e, "netlink socket");
	/* Both only help the one who reads an error. */
	setsockopt(n->fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof one);
	setsockopt(n->fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof one);
	return 0;
}

void nl_close(struct nl *n)
{
	if (n->fd >= 0)
		close(n->fd);
	n->fd = -1;
}

void nl_begin(struct nlmsg *m, uint16_t type, uint16_t flags, const void *head, size_t n)
{
	m->full = false;
	memset(&m->h, 0, NLMSG_HDRLEN + NLMSG_ALIGN(n));
	m->h = (struct nlmsghdr){ .nlmsg_len = (uint32_t)NLMSG_LENGTH(n), .nlmsg_type = type, .nlmsg_flags = (uint16_t)(flags | NLM_F_REQUEST) };
	memcpy(NLMSG_DATA(&m->h), head, n);
}

void nl_put(struct nlmsg *m, uint16_t type, const void *p, size_t n)
{
	size_t at = NLMSG_ALIGN(m->h.nlmsg_len);
	struct rtattr *a = (struct rtattr *)(void *)(m->b + at);

	if (m->full || n > NL_ROOM || at + RTA_SPACE(n) > NL_ROOM) {
		m->full = true;
		return;
	}
	memset(a, 0, RTA_SPACE(n));
	a->rta_type = type;
	a->rta_len = (unsigned short)RTA_LENGTH(n);
	if (n)
		memcpy(RTA_DATA(a), p, n);
	m->h.nlmsg_len = (uint32_t)(at + RTA_LENGTH(n));
}

size_t nl_nest(struct nlmsg *m, uint16_t type)
{
	size_t at = NLMSG_ALIGN(m->h.nlmsg_len);

	nl_put(m, type | NLA_F_NESTED, NULL, 0);
	return at;
}

void nl_nest_end(struct nlmsg *m, size_t at)
{
	if (!m->full)
		((struct rtattr *)(void *)(m->b + at))->rta_len = (unsigned short)(m->h.nlmsg_len - at);
}

/* The text that comes with an error. */
static void keep_why(struct nl *n, const struct nlmsghdr *h)
{
	const struct nlmsgerr *r = NLMSG_DATA(h);
	size_t skip = sizeof *r;
	const struct rtattr *a;
	int left;

	n->why[0] = '\0';
	if (!(h->nlmsg_flags & NLM_F_ACK_TLVS))
		return;
	if (!(h->nlmsg_flags & NLM_F_CAPPED))
		skip += NLMSG_ALIGN(r->msg.nlmsg_len - sizeof r->msg);
	a = (const struct rtattr *)(const void *)((const char *)r + skip);
	left = (int)h->nlmsg_len - NLMSG_HDRLEN - (int)skip;
	for (; left > 0 && RTA_OK(a, left); a = RTA_NEXT(a, left))
		if ((a->rta_type & NLA_TYPE_MASK) == NLMSGERR_ATTR_MSG)
			snprintf(n->why, sizeof n->why, "%.*s", (int)RTA_PAYLOAD(a), (const char *)RTA_DATA(a));
}

static int post(struct nl *n, struct nlmsg *m)
{
	ssize_t k;

	n->why[0] = '\0';
	if (m->full)
		return -EMSGSIZE;
	m->h.nlmsg_seq = ++n->seq;
	do
		k = send(n->fd, m, m->h.nlmsg_len, 0);
	while (k < 0 && errno == EINTR);
	return k < 0 ? -errno : 0;
}

static ssize_t receive(struct nl *n, void *p, size_t room)
{
	ssize_t k;

	do
		k = recv(n->fd, p, room, MSG_TRUNC);
	while (k < 0 && errno == EINTR);
	if (k < 0)
		return -errno;
	return (size_t)k > room ? -EMSGSIZE : k ? k : -EIO;
}

/* Reads until the acknowledgement; the first answer before it is copied to `answer`, NULL: not wanted. */
static int settle(struct nl *n, struct nlmsg *answer)
{
	AUTO_FREE char *mem = malloc(DATAGRAM);

	for (;;) {
		const struct nlmsghdr *h = (const void *)mem;
		ssize_t got = mem ? receive(n, mem, DATAGRAM) : -ENOMEM;

		if (got < 0)
			return (int)got;
		for (size_t left = (size_t)got; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
			if (h->nlmsg_seq != n->seq)
				continue;
			if (h->nlmsg_type == NLMSG_ERROR) {
				const struct nlmsgerr *r = NLMSG_DATA(h);

				keep_why(n, h);
				return r->error;
			}
			if (answer && h->nlmsg_len <= NL_ROOM)
				memcpy(answer, h, h->nlmsg_len);
		}
	}
}

int nl_do(struct nl *n, struct nlmsg *m)
{
	int rc;

	m->h.nlmsg_flags |= NLM_F_ACK;
	rc = post(n, m);
	return rc ? rc : settle(n, NULL);
}

int nl_get(struct nl *n, struct nlmsg *m)
{
	int rc;

	m->h.nlmsg_flags |= NLM_F_ACK;
	rc = post(n, m);
	return rc ? rc : settle(n, m);
}

/* One datagram of a dump is appended to all. 1: the last one. *changed: something changed meanwhile. */
static int dump_part(struct nl *n, const char *mem, size_t got, struct buf *all, bool *changed)
{
	const struct nlmsghdr *h = (const void *)mem;

	for (size_t left = got; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
		const struct nlmsgerr *r = NLMSG_DATA(h);

		if (h->nlmsg_seq != n->seq)
			continue;
		if (h->nlmsg_type == NLMSG_ERROR) {
			keep_why(n, h);
			return r->error ? r->error : 1;
		}
		*changed |= h->nlmsg_flags & NLM_F_DUMP_INTR;
		if (h->nlmsg_type == NLMSG_DONE) {
			int code = 0;

			if (h->nlmsg_len >= NLMSG_LENGTH(sizeof code))
				memcpy(&code, NLMSG_DATA(h), sizeof code);
			return code < 0 ? code : 1;
		}
		if (all->len > NL_DUMP_MAX)
			return -EFBIG;
		buf_add(all, h, NLMSG_ALIGN(h->nlmsg_len));
	}
	return buf_failed(all) ? -ENOMEM : 0;
}

static int dump_all(struct nl *n, struct nlmsg *m, char *mem, struct buf *all)
{
	int rc = post(n, m);
	bool changed = false;

	buf_reset(all);
	while (!rc) {
		ssize_t got = receive(n, mem, DATAGRAM);

		rc = got < 0 ? (int)got : dump_part(n, mem, (size_t)got, all, &changed);
	}
	return rc == 1 ? (changed ? -EINTR : 0) : rc;
}

int nl_dump(struct nl *n, struct nlmsg *m, nl_take *take, void *arg, struct err *e)
{
	AUTO_BUF struct buf all = BUF_INIT;
	AUTO_FREE char *mem = malloc(DATAGRAM);
	int rc = -EINTR;

	if (!mem)
		return -ENOMEM;
	m->h.nlmsg_flags |= NLM_F_DUMP;
	for (int i = 0; i < RETRIES && rc == -EINTR; i++)
		rc = dump_all(n, m, mem, &all);
	if (rc)
		return rc;
	const struct nlmsghdr *h = (const void *)all.p;
	for (size_t left = all.len; left && NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
		rc = take(arg, h, e);
		if (rc)
			return rc;
	}
	return 0;
}

static int attrs_of(const struct rtattr *a, size_t n, const struct rtattr *tb[NL_ATTRS])
{
	memset(tb, 0, NL_ATTRS * sizeof *tb);
	while (n >= sizeof *a) {
		size_t step;

		if (a->rta_len < sizeof *a || a->rta_len > n)
			return -1;
		if ((a->rta_type & NLA_TYPE_MASK) < NL_ATTRS)
			tb[a->rta_type & NLA_TYPE_MASK] = a;
		step = RTA_ALIGN(a->rta_len);
		if (step >= n)
			break;
		n -= step;
		a = (const struct rtattr *)(const void *)((const char *)a + step);
	}
	return 0;
}

int nl_attrs(const struct nlmsghdr *h, size_t head, const struct rtattr *tb[NL_ATTRS])
{
	memset(tb, 0, NL_ATTRS * sizeof *tb);
	if (h->nlmsg_len < NLMSG_SPACE(head))
		return h->nlmsg_len < NLMSG_LENGTH(head) ? -1 : 0;
	return attrs_of((const struct rtattr *)(const void *)((const char *)h + NLMSG_SPACE(head)), h->nlmsg_len - NLMSG_SPACE(head), tb);
}

int nl_nested(const struct rtattr *a, const struct rtattr *tb[NL_ATTRS])
{
	return attrs_of(RTA_DATA(a), RTA_PAYLOAD(a), tb);
}

uint32_t nl_u32(const struct rtattr *a)
{
	uint32_t v = 0;

	if (a && RTA_PAYLOAD(a) >= sizeof v)
		memcpy(&v, RTA_DATA(a), sizeof v);
	return v;
}
