/* inet: addresses of IPv4 and IPv6 sockets, and what sock_diag(7) tells of them.
 *   inet_addr.c   addresses as text and as keys
 *   inet_send.c   datagrams that come from others
 *   inet_diag.c   all TCP sockets of a network namespace, with their ends */
#ifndef XOS_INET_H
#define XOS_INET_H

#include "common/err.h"
#include "common/rec.h"
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { INET_TEXT = 80 };                        /* bytes that an address as text needs, its NUL too */

union inet_addr {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};
socklen_t inet_size(const union inet_addr *a);
/* The socket's own, or its peer's. false: it has none (a port of 0 is one). */
bool inet_own(int fd, union inet_addr *a);
bool inet_peer(int fd, union inet_addr *a);
/* "127.0.0.1:80", "[::1]:80", "[fe80::1%eth0]:80" (the number of the interface if it has no name). Returns out. */
const char *inet_text(const union inet_addr *a, char out[INET_TEXT]);
/* The same back. -1: it is no such address; 1: of an interface that is not here, its scope is 0. */
int inet_parse(const char *text, union inet_addr *a);
/* Of key in rec, of that family. family 0: it may be absent, then a->sa.sa_family is AF_UNSPEC. EX_MISFIT: of an interface that is not here. */
int inet_record(const struct rec *rec, const char *key, int family, union inet_addr *a, struct err *e);
/* 0.0.0.0 or :: */
bool inet_any(const union inet_addr *a);
uint16_t inet_port(const union inet_addr *a);
void inet_set_port(union inet_addr *a, uint16_t port);
bool inet_same(const union inet_addr *a, const union inet_addr *b);   /* address and port, also mapped ones */
/* The address belongs to this host and network namespace. */
bool inet_local(const union inet_addr *a);

/* ---- inet_send.c: false: it could not be sent ---- */

/* Belongs to this host, and to nobody else: no group's, no broadcast address. What is sent there leaves no machine. */
bool inet_here(const union inet_addr *a);
/* By fd, from that one of its addresses: many may be its (IP_PKTINFO, IPV6_PKTINFO). */
bool inet_send_from(int fd, const union inet_addr *from, const union inet_addr *to, const char *p, size_t n);
/* As if from there, by a socket of the moment that has the address; UDP also where we cannot have it, with CAP_NET_RAW. inet_here(to). */
bool inet_imitate(int protocol, const union inet_addr *from, const union inet_addr *to, const char *p, size_t n);

/* ---- inet_diag.c ---- */

struct inet_end { unsigned char a[16]; uint16_t port; };    /* IPv4 as ::ffff:a.b.c.d; port in host order */
struct inet_entry {
	struct inet_end src, dst;
	uint32_t ino;                            /* 0: no descriptor leads to it */
	unsigned char state, shutdown;
	uint32_t rqueue, wqueue;                 /* of a listening one: waiting to be accepted, backlog */
};
struct inet_diag {
	struct inet_entry *v; size_t n;          /* by inode */
	uint32_t *by_ends;                       /* indices into v, by src and dst */
};
/* All TCP sockets of our network namespace. 1: this kernel does not tell (no tcp_diag). */
int inet_diag_tcp(struct inet_diag *t, struct err *e);
const struct inet_entry *inet_diag_find(const struct inet_diag *t, uint64_t ino);
/* The one from src to dst; NULL: none. */
const struct inet_entry *inet_diag_between(const struct inet_diag *t, const struct inet_end *src, const struct inet_end *dst);
void inet_diag_free(struct inet_diag *t);
/* Ends the TIME-WAIT of a connection both ends of which are on this host, where nothing can be on its way any more. Needs CAP_NET_ADMIN
 * and CONFIG_INET_DIAG_DESTROY; nothing happens without. */
void inet_diag_end_wait(const struct inet_entry *x);
void inet_end_of(const union inet_addr *a, struct inet_end *end);

#endif
