/* sock_diag: what the kernel tells of the sockets of our network namespace and getsockopt(2) does not: sock_diag(7). Needs no privilege. */
#ifndef XOS_SOCK_DIAG_H
#define XOS_SOCK_DIAG_H

#include "common/err.h"
#include <linux/netlink.h>
#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>

/* From here on the questions below are asked in the network namespace of this socket of sock_diag(7); -1: in ours again. It stays the caller's. */
int sock_diag_place(int fd); /* the one before */
/* A socket of sock_diag(7) there, with nothing left in it. -1: this kernel has none. */
int sock_diag_open(void);
/* Interfaces there. False, 0: there is none. */
bool sock_diag_name(unsigned index, char name[IF_NAMESIZE]);
unsigned sock_diag_index(const char *name);
/* Who makes sockets, as socket(2) does, from here on, and a descriptor of the network namespace that they are in; NULL, -1: we, in ours. */
typedef int sock_maker(void *ctx, int family, int type, int protocol);
void sock_make_in(sock_maker *fn, void *ctx, int net);
int sock_make(int family, int type, int protocol);
int sock_make_net(void); /* that descriptor, for a child that enters it */
/* Takes one answer; not 0 ends the reading and is returned. */
typedef int sock_diag_take(void *arg, const struct nlmsghdr *h, struct err *e);
/* Asks for a dump: req, n bytes, is the request of the family (struct packet_diag_req, ...). Each SOCK_DIAG_BY_FAMILY of the answer is given
 * to take. 0; 1: this kernel does not tell (no such module); -1: e is filled. What take returned, when it is not 0. */
int sock_diag_ask(const void *req, size_t n, sock_diag_take *take, void *arg, struct err *e);

#endif
