/* netlock: packets of a job's TCP connections to outside are dropped, in both directions, while the connections have no socket: the
 * other ends see neither an end nor a reset, and send again what was lost. A table of nftables, nft(8), for each job: it outlives
 * the tools, until a restart or the job's end takes it away. */
#ifndef XOS_NETLOCK_H
#define XOS_NETLOCK_H

#include "common/err.h"
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

enum { NETLOCK_NAME = 80 };
struct netlock_conn { bool v6; unsigned char own[16], peer[16]; unsigned short own_port, peer_port; }; /* IPv4: the first 4 bytes; host order */

/* nft is installed. */
bool netlock_possible(void);
/* Where nft(8) is, NULL: nowhere. */
const char *netlock_nft(void);
/* A name for the job's table that no other one has: xos_ID_RANDOM. Returns out. */
const char *netlock_name(const char *id, char out[NETLOCK_NAME]);
/* It may be such a name: what a record or an image says is not given to nft otherwise. */
bool netlock_name_valid(const char *name);
/* Puts it up at once for all of v. EX_FAILED with what nft says. Nothing is there after a failure. */
int netlock_up(const char *name, const struct netlock_conn *v, size_t n, struct err *e);
bool netlock_there(const char *name);
/* Takes it away. One that is not there is no error. */
int netlock_down(const char *name, struct err *e);

#endif
