/* inet_diag: see inet.h. sock_diag(7), linux/inet_diag.h. Needs no privilege. */
#include "res/inet.h"
#include "res/sock_diag.h"
#include "common/cleanup.h"
#include "common/log.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SOCKETS = 1 << 22, ANSWER = 64 << 10, ATTR_SHUTDOWN = 8, WAITING = 6 /* TCP_TIME_WAIT */ };

static void end_fill(struct inet_end *end, int family, const __be32 addr[4], __be16 port)
{
	memset(end, 0, sizeof *end);
	if (family == AF_INET) {
		end->a[10] = end->a[11] = 0xff;
		memcpy(end->a + 12, addr, 4);
	} else {
		memcpy(end->a, addr, 16);
	}
	end->port = ntohs(port);
}

static int add(struct inet_diag *t, const struct nlmsghdr *h)
{
	const struct inet_diag_msg *m = NLMSG_DATA(h);
	struct rtattr *a = (struct rtattr *)(m + 1);
	long left = (long)h->nlmsg_len - (long)NLMSG_LENGTH(sizeof *m);
	struct inet_entry *x;

	/* Doubling at powers of two spares a capacity. */
	if (!(t->n & (t->n - 1))) {
		x = t->n < MAX_SOCKETS ? realloc(t->v, (t->n ? 2 * t->n : 1) * sizeof *x) : NULL;
		if (!x)
			return -1;
		t->v = x;
	}
	x = &t->v[t->n++];
	*x = (struct inet_entry){ .ino = m->idiag_inode, .state = m->idiag_state, .rqueue = m->idiag_rqueue, .wqueue = m->idiag_wqueue };
	end_fill(&x->src, m->idiag_family, m->id.idiag_src, m->id.idiag_sport);
	end_fill(&x->dst, m->idiag_family, m->id.idiag_dst, m->id.idiag_dport);
	for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == ATTR_SHUTDOWN && RTA_PAYLOAD(a) >= 1)
			memcpy(&x->shutdown, RTA_DATA(a), 1);
	return 0;
}

/* One datagram of the answer. 1: the last one. */
static int take(struct inet_diag *t, struct nlmsghdr *h, size_t n, bool *none, struct err *e)
{
	for (; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
		if (h->nlmsg_type == NLMSG_DONE)
			return 1;
		if (h->nlmsg_type == NLMSG_ERROR) {
			const struct nlmsgerr *r = NLMSG_DATA(h);
			/* ENOENT: no handler for the protocol */
			*none = r->error == -ENOENT || r->error == -EINVAL || r->error == -EOPNOTSUPP;
			errno = -r->error;
			return *none ? 1 : err_sys(e, "sock_diag");
		}
		if (h->nlmsg_type == SOCK_DIAG_BY_FAMILY && h->nlmsg_len >= NLMSG_LENGTH(sizeof(struct inet_diag_msg)) && add(t, h))
			return err_set(e, EX_FAILED, "out of memory");
	}
	return 0;
}

static int family_read(struct inet_diag *t, int fd, int family, bool *none, struct err *e)
{
	struct {
		struct nlmsghdr h;
		struct inet_diag_req_v2 r;
	} ask = {
		.h = { .nlmsg_len = sizeof ask, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.r = { .sdiag_family = (__u8)family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = UINT32_MAX },
	};
	AUTO_FREE char *mem = malloc(ANSWER);
	int rc = 0;

	if (!mem)
		return err_set(e, EX_FAILED, "out of memory");
	if (send(fd, &ask, sizeof ask, 0) < 0) {
		*none = true;
		return 0;
	}
	while (!rc) {
		ssize_t n = recv(fd, mem, ANSWER, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_sys(e, "sock_diag");
		rc = take(t, (struct nlmsghdr *)mem, (size_t)n, none, e);
	}
	return rc < 0 ? -1 : 0;
}

static int cmp_ino(const void *a, const void *b)
{
	uint32_t x = ((const struct inet_entry *)a)->ino, y = ((const struct inet_entry *)b)->ino;

	return x < y ? -1 : x > y;
}

static int cmp_ends(const struct inet_entry *x, const struct inet_end *src, const struct inet_end *dst)
{
	int c = memcmp(&x->src, src, sizeof *src);

	return c ? c : memcmp(&x->dst, dst, sizeof *dst);
}

static int by_ends(const void *a, const void *b, void *v)
{
	const struct inet_entry *all = v, *y = &all[*(const uint32_t *)b];

	return cmp_ends(&all[*(const uint32_t *)a], &y->src, &y->dst);
}

int inet_diag_tcp(struct inet_diag *t, struct err *e)
{
	AUTO_FD int fd = sock_diag_open();
	bool none = fd < 0 || fault("inet-diag"), none6 = false;

	if (!none && (family_read(t, fd, AF_INET, &none, e) || family_read(t, fd, AF_INET6, &none6, e)))
		return -1;
	if (none)
		return 1;
	t->by_ends = malloc((t->n + 1) * sizeof *t->by_ends);
	if (!t->by_ends)
		return err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; i < t->n; i++)
		t->by_ends[i] = (uint32_t)i;
	if (t->n) {
		qsort(t->v, t->n, sizeof *t->v, cmp_ino);
		qsort_r(t->by_ends, t->n, sizeof *t->by_ends, by_ends, t->v);
	}
	return 0;
}

const struct inet_entry *inet_diag_find(const struct inet_diag *t, uint64_t ino)
{
	struct inet_entry key = { .ino = (uint32_t)ino };

	return t->n && ino ? bsearch(&key, t->v, t->n, sizeof *t->v, cmp_ino) : NULL;
}

const struct inet_entry *inet_diag_between(const struct inet_diag *t, const struct inet_end *src, const struct inet_end *dst)
{
	size_t lo = 0, hi = t->by_ends ? t->n : 0;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		const struct inet_entry *x = &t->v[t->by_ends[mid]];
		int c = cmp_ends(x, src, dst);

		if (!c)
			return x;
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

void inet_diag_free(struct inet_diag *t)
{
	free(t->v);
	free(t->by_ends);
	*t = (struct inet_diag){ 0 };
}

static bool mapped(const struct inet_end *end)
{
	return IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)(const void *)end->a);
}

static void address_of(const struct inet_end *end, union inet_addr *a)
{
	memset(a, 0, sizeof *a);
	if (mapped(end)) {
		a->in.sin_family = AF_INET;
		memcpy(&a->in.sin_addr, end->a + 12, 4);
	} else {
		a->in6.sin6_family = AF_INET6;
		memcpy(&a->in6.sin6_addr, end->a, 16);
	}
}

void inet_diag_end_wait(const struct inet_entry *x)
{
	struct {
		struct nlmsghdr h;
		struct inet_diag_req_v2 r;
	} ask = {
		.h = { .nlmsg_len = sizeof ask, .nlmsg_type = SOCK_DESTROY, .nlmsg_flags = NLM_F_REQUEST },
		.r = { .sdiag_family = mapped(&x->src) ? AF_INET : AF_INET6, .sdiag_protocol = IPPROTO_TCP, .idiag_states = 1u << WAITING,
		       .id = { .idiag_sport = htons(x->src.port), .idiag_dport = htons(x->dst.port),
			       .idiag_cookie = { INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE } } },
	};
	AUTO_FD int fd = sock_diag_open();
	size_t skip = mapped(&x->src) ? 12 : 0;
	union inet_addr peer;

	address_of(&x->dst, &peer);
	if (fd < 0 || x->state != WAITING || x->ino || !inet_local(&peer))
		return;
	memcpy(ask.r.id.idiag_src, x->src.a + skip, 16 - skip);
	memcpy(ask.r.id.idiag_dst, x->dst.a + skip, 16 - skip);
	if (send(fd, &ask, sizeof ask, 0) < 0)
		log_debug("files", "SOCK_DESTROY: %s", strerror(errno));
}
