/* sock_diag: what the kernel tells of the sockets of a network namespace and getsockopt(2) does not: sock_diag(7), which needs no privilege; and new
 * sockets in it. */
#ifndef XOS_SOCK_DIAG_H
#define XOS_SOCK_DIAG_H

#include "res/ns_run.h"
#include <linux/netlink.h>
#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>

/* A network namespace: a socket of sock_diag(7) in it, and where a child of ours finds it. Both stay the caller's. */
struct sock_where { int diag; const struct ns_place *at; };
#define SOCK_HERE (struct sock_where){ -1, NULL }
/* From here on all below is done there; SOCK_HERE: in ours again. We stay where we are: an ordinary user could not come back. Returns where it was. */
struct sock_where sock_go(struct sock_where to);
/* A socket of sock_diag(7) there, with nothing left in it. -1: this kernel has none. */
int sock_diag_open(void);
/* Interfaces there. False, 0: there is none. */
bool sock_diag_name(unsigned index, char name[IF_NAMESIZE]);
unsigned sock_diag_index(const char *name);
bool sock_lo_up(void); /* the loopback interface: without it a host cannot even talk to itself */
/* socket(2) */
int sock_make(int family, int type, int protocol);
bool sock_elsewhere(void); /* it is not ours */
/* A child of ours goes there itself; also one of root that acts as a user (borrow.h). -1: errno tells. */
int sock_enter(void);
/* Adds a file of /proc, as a process there sees it. -1: errno tells. */
int sock_proc(const char *path, struct buf *b, size_t max);
/* Takes one answer; not 0 ends the reading and is returned. */
typedef int sock_diag_take(void *arg, const struct nlmsghdr *h, struct err *e);
/* Asks for a dump: req, n bytes, is the request of the family (struct packet_diag_req, ...). Each SOCK_DIAG_BY_FAMILY of the answer is given
 * to take. 0; 1: this kernel does not tell (no such module); -1: e is filled. What take returned, when it is not 0. */
int sock_diag_ask(const void *req, size_t n, sock_diag_take *take, void *arg, struct err *e);

#endif
