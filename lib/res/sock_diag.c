#include "res/sock_diag.h"
#include "common/cleanup.h"
#include "common/log.h"

#include <fcntl.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum { ANSWER = 64 << 10, REQUEST_MAX = 64, LAST = 2, NONE = 1 };

static int place = -1;

int sock_diag_place(int fd)
{
	int before = place;

	place = fd;
	return before;
}

int sock_diag_open(void)
{
	char rest[4096];
	int fd = place < 0 ? socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG) : fcntl(place, F_DUPFD_CLOEXEC, 3);

	while (fd >= 0 && place >= 0 && recv(fd, rest, sizeof rest, MSG_DONTWAIT) > 0)
		;
	return fd;
}

static struct { sock_maker *fn; void *ctx; int net; } maker = { .net = -1 };

void sock_make_in(sock_maker *fn, void *ctx, int net)
{
	maker.fn = fn;
	maker.ctx = ctx;
	maker.net = net;
}

int sock_make(int family, int type, int protocol) { return maker.fn ? maker.fn(maker.ctx, family, type, protocol) : socket(family, type, protocol); }
int sock_make_net(void) { return maker.net; }

bool sock_diag_name(unsigned index, char name[IF_NAMESIZE])
{
	struct ifreq i = { .ifr_ifindex = (int)index };

	if (place < 0)
		return if_indextoname(index, name);
	if (ioctl(place, SIOCGIFNAME, &i))
		return false;
	memcpy(name, i.ifr_name, IF_NAMESIZE);
	return true;
}

unsigned sock_diag_index(const char *name)
{
	struct ifreq i = { .ifr_ifindex = 0 };

	if (place < 0)
		return if_nametoindex(name);
	snprintf(i.ifr_name, sizeof i.ifr_name, "%s", name);
	return ioctl(place, SIOCGIFINDEX, &i) ? 0 : (unsigned)i.ifr_ifindex;
}

/* One datagram of the answer. LAST: there is no more. */
static int datagram(const struct nlmsghdr *h, size_t n, sock_diag_take *take, void *arg, struct err *e)
{
	int rc;

	for (; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
		if (h->nlmsg_type == NLMSG_DONE)
			return LAST;
		if (h->nlmsg_type == NLMSG_ERROR) {
			const struct nlmsgerr *r = NLMSG_DATA(h);

			if (r->error == -ENOENT || r->error == -EINVAL || r->error == -EOPNOTSUPP)
				return NONE;
			errno = -r->error;
			return err_sys(e, "sock_diag");
		}
		rc = h->nlmsg_type == SOCK_DIAG_BY_FAMILY ? take(arg, h, e) : 0;
		if (rc)
			return rc;
	}
	return 0;
}

int sock_diag_ask(const void *req, size_t n, sock_diag_take *take, void *arg, struct err *e)
{
	AUTO_FD int fd = fault("sock-diag") ? -1 : sock_diag_open();
	struct { struct nlmsghdr h; char req[REQUEST_MAX]; } ask = {
		.h = { .nlmsg_len = (__u32)NLMSG_LENGTH(n), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
	};
	AUTO_FREE char *mem = malloc(ANSWER);
	int rc = 0;

	if (!mem || n > sizeof ask.req)
		return err_set(e, EX_FAILED, "out of memory");
	memcpy(ask.req, req, n);
	if (fd < 0 || send(fd, &ask, ask.h.nlmsg_len, 0) < 0)
		return NONE;
	while (!rc) {
		ssize_t got = recv(fd, mem, ANSWER, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return err_sys(e, "sock_diag");
		rc = datagram((const struct nlmsghdr *)(void *)mem, (size_t)got, take, arg, e);
	}
	return rc == LAST ? 0 : rc;
}
