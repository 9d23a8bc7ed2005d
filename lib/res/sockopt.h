/* sockopt: what setsockopt(2) sets on a socket of any family: socket(7), ip(7), ipv6(7), tcp(7), udp(7), and its classic
 * packet filter. Keys OPTIONS and FILTER of a socket's record. */
#ifndef XOS_SOCKOPT_H
#define XOS_SOCKOPT_H

#include "res/res.h"

enum { SOCKOPT_EARLY = 1 };                     /* only those that count before bind(2), connect(2), listen(2) */

/* Refuses by name what is set and cannot be read. what: the socket as messages call it. Returns 0. */
int sockopt_check(struct dump *d, const struct dfile *f, const char *what);
/* OPTIONS (and FILTER) of the record that is open: those that differ from a new socket's. */
int sockopt_dump(struct dump *d, const struct dfile *f, int family, int type, int protocol, struct err *e);
/* Checks the text; fd -1: nothing else. Else sets them: all, or with SOCKOPT_EARLY some. EX_MISFIT or EX_PERM when one cannot be set here. */
int sockopt_set(const struct rec *rec, int fd, int which, struct err *e);
/* One option of int, of SOL_SOCKET: its value, -1: it cannot be read. */
int sockopt_int(int fd, int nr);
/* It belongs to another network namespace than ours (SO_NETNS_COOKIE, Linux 5.14; before: false). */
bool sockopt_elsewhere(int fd);
/* The send buffer holds at least n bytes, if we may. */
void sockopt_room(int fd, uint64_t n);

#endif
