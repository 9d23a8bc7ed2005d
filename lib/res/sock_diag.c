#include "res/sock_diag.h"
#include "common/cleanup.h"
#include "common/log.h"

#include <linux/sock_diag.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { ANSWER = 64 << 10, REQUEST_MAX = 64, LAST = 2, NONE = 1 };

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
	AUTO_FD int fd = fault("sock-diag") ? -1 : socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
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
