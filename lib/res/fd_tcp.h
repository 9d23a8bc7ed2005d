/* fd_tcp: TCP sockets, tcp(7), over IPv4 and IPv6. What its files share:
 *   inet_diag.c       what the kernel tells of all sockets
 *   tcp_tables.c      of each network namespace
 *   tcp_far.c         connections between two of them
 *   fd_tcp.c          check and dump
 *   tcp_map.c         mappings of sockets
 *   tcp_flow.c        what is on its way
 *   tcp_repair.c      what only TCP_REPAIR shows: unsent data, sequence numbers
 *   tcp_lock.c        packets held while a connection to outside has no socket
 *   fd_tcp_open.c     restart: the order in which sockets are made; those inside the job by real connections
 *   tcp_bind.c        restart: their addresses
 *   fd_tcp_fill.c     restart: what waited, shut down ends, options
 *   fd_tcp_outside.c  restart: connections to outside, by TCP_REPAIR
 *   tcp_unlock.c      restart: their packets flow again */
#ifndef XOS_FD_TCP_H
#define XOS_FD_TCP_H

#include "job/netlock.h"
#include "res/inet.h"
#include "res/res.h"
#include "res/sockopt.h"

enum {
	TCP_MAX_QUEUE = 1 << 30,         /* bytes in one queue */
	TCP_MAX_BACKLOG = INT_MAX,
	/* states, net/tcp_states.h */
	TCPS_ESTABLISHED = 1, TCPS_SYN_SENT, TCPS_SYN_RECV, TCPS_FIN_WAIT1, TCPS_FIN_WAIT2, TCPS_TIME_WAIT, TCPS_CLOSE,
	TCPS_CLOSE_WAIT, TCPS_LAST_ACK, TCPS_LISTEN, TCPS_CLOSING,
	TCP_SHUT_RCV = 1, TCP_SHUT_SEND = 2,
};
/* The state of a TCP socket by TCP_INFO, -1: none of that kind. */
int tcp_state(int fd);

/* ---- checkpoint ---- */

struct tcp_table { struct dns *net; struct inet_diag diag; bool blind, lo; /* this kernel does not tell; the loopback interface is up */ };
struct tcp_world {                       /* of one checkpoint */
	struct tcp_table *tables; size_t ntables; /* one a network namespace, ours first */
	uint64_t netns;                  /* cookie of our network namespace, 0: not known */
	bool capable;                    /* tcp_repair_capable */
	struct tcp_repair *unsent; size_t nunsent; /* by id of description - 1: of connections with data on the way; fd -1: others */
	int *received;                   /* parallel: what waited at the other end then */
	struct dfile **listeners; size_t nlisteners, seen; /* among the first `seen` descriptions */
	struct dfile **outside; size_t noutside; /* connections to outside, to be restored by TCP_REPAIR */
	bool locked;                     /* their packets are held */
	char lock[NETLOCK_NAME];         /* by that table */
	pid_t guard; int guard_pipe;     /* tcp_lock.c; 0: none */
};
void tcp_world_free(struct dump *d);
/* tcp_tables.c: all sockets of ours and of members' namespaces. */
int tcp_tables_read(struct dump *d, struct err *e);
const struct tcp_table *tcp_table_of(const struct dump *d, const struct dfile *f);
void tcp_tables_free(struct tcp_world *w);
/* The job is about to be killed for good: its connections among its own processes leave nothing that stands in the way of a restart. */
void tcp_before_kill(struct dump *d);

/* ---- tcp_flow.c ---- */

/* The receiver fd acknowledges at once what has arrived: then SIOCOUTQ of the sender tells what has not. */
void tcp_acknowledge(int fd);
/* Bytes of its program that f's other end has not acknowledged; -1: not known. */
int tcp_unsent(const struct dfile *f, int state);
int tcp_waiting(const struct dfile *f);          /* bytes that can be received */
/* Room for so many more at a receiver that has set no size itself. */
void tcp_widen(const struct dfile *f, int more);

/* ---- tcp_map.c ---- */

/* A mapping of a socket: its description's id, and whether it can be made again (else the reason is on the list). */
bool tcp_vma(struct dump *d, struct dproc *p, const struct proc_map *m, uint32_t *id);

/* ---- tcp_lock.c ---- */

/* Holds the packets of d->tcp->outside. */
int tcp_lock_begin(struct dump *d, struct err *e);
/* keep: the job was killed for good; they are held until its restart, and nobody is told that the connections end. Else they
 * flow again. Nothing happens when none were held. */
void tcp_lock_end(struct dump *d, bool keep);

/* ---- tcp_outside.c ---- */

/* Refuses a connection to outside (far: to another network namespace of the job) that cannot be saved. Returns 0. */
int tcp_outside_check(struct dump *d, struct dfile *f, const char *what, int state, bool far);
int tcp_outside_add(struct dump *d, struct dfile *f, struct err *e);
/* Its keys into the record that is open. */
void tcp_outside_put(struct dump *d, const struct tcp_repair *g);

/* ---- tcp_far.c ---- */

enum tcp_far { TCP_NOT_FAR, TCP_FAR, TCP_FAR_CLOSED, TCP_FAR_GONE, TCP_FAR_WAITS /* to be accepted */, TCP_FAR_MANY };
/* The other end of f, of which x tells, in another network namespace: of the job (*other), closed, closed without a trace, or one of several. */
enum tcp_far tcp_far_find(struct dump *d, const struct dfile *f, const struct inet_entry *x, struct dfile **other);
/* A route leads from f's address to its other end, in the namespace that sock_go says: TCP_REPAIR needs one. */
bool tcp_far_reaches(const struct dfile *f);
/* What `from` keeps to send begins behind what `to` had received when they were read. ended: its program has sent the end. */
bool tcp_far_moved(const struct tcp_repair *from, bool ended, const struct tcp_repair *to);

/* ---- tcp_repair.c ---- */

struct tcp_repair {
	int fd;                          /* not owned; -1: leave it */
	int user;                        /* the user namespace that owns its network namespace, where that is not ours; -1 */
	bool whole;                      /* all below, else only the two numbers and the two queues */
	int error;                       /* errno, 0: read */
	uint32_t snd_seq, rcv_seq;       /* of the next byte that the program writes, and of the next that the peer sends */
	uint32_t mss, timestamp;
	unsigned char snd_wscale, rcv_wscale, sack, stamps, wscale;
	uint32_t snd_wl1, snd_wnd, max_window, rcv_wnd, rcv_wup;
	uint32_t unsent;                 /* of out, its last bytes */
	struct buf out, in;              /* sent but not acknowledged, and unsent; received */
};
bool tcp_repair_capable(void);           /* we have CAP_NET_ADMIN */
/* We may do so with f, and the job can be held while it is done. */
bool tcp_repair_allowed(const struct dump *d, const struct dfile *f);
/* What to read of f; whole: see below. */
struct tcp_repair tcp_repair_of(const struct dump *d, const struct dfile *f, bool whole);
/* Reads all of v. A process of its own does it, which our death does not touch: no socket stays in repair mode. */
int tcp_repair_read(struct dump *d, struct tcp_repair *v, size_t n, struct err *e);
void tcp_repair_free(struct tcp_repair *v, size_t n);

/* ---- restart ---- */

struct tsock {
	struct rfile *f;
	int family;
	union inet_addr own, peer;
	bool listening, orphan, connecting, closed, reset, outside, far, ended, server, bound;
	int backlog, shutdown;
	uint32_t with, pending, order;
	uint64_t content, sent;          /* bytes that wait in it; that it has not delivered yet */
	struct tcp_repair *repair;       /* of one to outside that comes back; owned */
	int tmp;                         /* the other end of an orphan until it is filled, -1 */
	bool opened;
	bool late;                       /* its address is in other hands: it takes it when it connects */
};
struct tsock *tcp_of(struct restore *r, uint32_t id);   /* NULL: no TCP socket */
int tcp_open(struct restore *r, struct rfile *f, struct err *e);
/* While they are made: fd_tcp_open.c. */
struct tcp_maker {
	struct restore *r;
	int *want;                              /* the numbers that the job's descriptions have, by id; -1: above 2 none */
	struct tcp_temp { union inet_addr a; int fd; bool repaired; } *temps; size_t ntemps; /* listening for the moment */
};
/* ---- tcp_bind.c: fd is one of ours, with SO_REUSEADDR set and no address. EX_BUSY: it is in use; EX_MISFIT: this node has no such one. ---- */
int tcp_bind(const struct tcp_maker *m, int fd, const union inet_addr *a, struct err *e);
/* For the moment only. repaired: fd is in repair mode, and so is what it accepts, which must leave it. */
int tcp_listen(const struct tcp_maker *m, int fd, const union inet_addr *a, int backlog, bool *repaired, struct err *e);
/* From own to `to`. wait: until it is connected, some seconds; else (fd has O_NONBLOCK) it is as good when it is under way or refused. */
int tcp_connect(const struct tcp_maker *m, int fd, const union inet_addr *own, const union inet_addr *to, bool wait, struct err *e);
/* The same for one that has its own address. */
int tcp_connect_bound(int fd, const union inet_addr *own, const union inet_addr *to, bool wait, struct err *e);
void tcp_repair_leave(int fd);           /* SO_REUSEADDR stays set */
/* What errno says of that address. Returns -1. */
int tcp_address_error(const union inet_addr *a, struct err *e);
/* fd_tcp_outside.c: its keys; the socket (in repair mode, at any number) with all that waited; and, when the job is complete, out of
 * repair mode, with what was never sent, and shut down as it was. */
int tcp_outside_parse(struct restore *r, struct tsock *u, struct err *e);
int tcp_outside_open(struct restore *r, struct tsock *u, int *fd, struct err *e);
int tcp_finish(struct restore *r, struct err *e);
/* tcp_unlock.c: the packets that the table drops flow when all are disarmed (tcp_unlock). From tcp_unlock_prepare on our death leaves
 * either no job and silent connections, or a job whose packets flow. tcp_unlock_end: it failed, and no process of the job is left. */
int tcp_unlock_prepare(struct restore *r, const char *lock, struct err *e);
int tcp_unlock(struct restore *r, struct err *e);
void tcp_unlock_end(struct restore *r);
/* The bytes of its member tcp_ID. */
int tcp_content(struct restore *r, const struct tsock *u, struct buf *b, struct err *e);
/* What every socket gets last: options, flags, owner. */
int tcp_options(const struct tsock *u, struct err *e);
/* Puts content, ends and options into all; all are open. */
int tcp_fill_all(struct restore *r, struct err *e);
/* Before the records are freed: connections of a restart that failed (!r->done) leave no TIME-WAIT in the way of the next. */
void tcp_forget(struct restore *r);

#endif
