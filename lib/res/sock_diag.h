/* sock_diag: what the kernel tells of the sockets of our network namespace and getsockopt(2) does not: sock_diag(7). Needs no privilege. */
#ifndef XOS_SOCK_DIAG_H
#define XOS_SOCK_DIAG_H

#include "common/err.h"
#include <linux/netlink.h>
#include <stddef.h>

/* Takes one answer; not 0 ends the reading and is returned. */
typedef int sock_diag_take(void *arg, const struct nlmsghdr *h, struct err *e);
/* Asks for a dump: req, n bytes, is the request of the family (struct packet_diag_req, ...). Each SOCK_DIAG_BY_FAMILY of the answer is given
 * to take. 0; 1: this kernel does not tell (no such module); -1: e is filled. What take returned, when it is not 0. */
int sock_diag_ask(const void *req, size_t n, sock_diag_take *take, void *arg, struct err *e);

#endif
