/* mcast: multicast groups that a socket is in: ip(7) IP_ADD_MEMBERSHIP, ipv6(7) IPV6_ADD_MEMBERSHIP, with their source filters (RFC 3678). The
 * kernel tells of a socket only whether it is in a group that we name: those of /proc/net/igmp and igmp6 are asked for.
 *
 * Key GROUPS="INTERFACE:ADDRESS:MODE[:SOURCE,...] ...", MODE "include" or "exclude" (of these sources; IPv6 with ";" for ":"). */
#ifndef XOS_MCAST_H
#define XOS_MCAST_H

#include "res/res.h"

int mcast_dump(struct dump *d, const struct dfile *f, int family, struct err *e);
/* fd -1: only checks. EX_MISFIT: no such interface here. */
int mcast_set(const struct rec *rec, int fd, int family, struct err *e);

#endif
