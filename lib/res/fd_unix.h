/* fd_unix: unix sockets, unix(7). What its files share:
 *   unix_diag.c       what the kernel tells of all sockets (NETLINK_SOCK_DIAG)
 *   unix_peers.c      SO_PEERCRED of a job in a PID namespace of its own
 *   fd_unix.c         check and dump
 *   fd_unix_queue.c   what waits in a queue: data, message boundaries, descriptors, credentials
 *   fd_unix_make.c    sockets and connections made anew, with names and the credentials that SO_PEERCRED shows
 *   unix_outside.c    connections to outside the job, on restart
 *   fd_unix_open.c    the order in which they are made on restart
 *   fd_unix_fill.c    queues filled, shut down, options set: when all processes and files are there */
#ifndef XOS_FD_UNIX_H
#define XOS_FD_UNIX_H

#include "res/res.h"
#include "res/sockopt.h"

enum {
	UNIX_NAME_MAX = 108,
	UNIX_MAX_QUEUE = 1 << 30,        /* bytes that wait in one socket */
	UNIX_MAX_MESSAGES = 1 << 20,     /* in one socket */
	UNIX_MAX_RIGHTS = 253,           /* descriptors in one message: SCM_MAX_FD */
	UNIX_LISTENING = 10,             /* TCP_LISTEN: state of a listening socket */
};

/* sun_path as bytes: n 0: no name; v[0] == 0: abstract. */
struct unix_name { unsigned n; unsigned char v[UNIX_NAME_MAX]; };

/* ---- unix_diag.c ---- */

struct unix_entry {
	uint32_t ino;
	bool has_peer; uint32_t peer;           /* peer 0: it has closed, or was not accepted yet */
	bool has_file; uint32_t file_ino, file_dev; /* of the socket file */
	unsigned char type, state, shutdown;
	uint32_t backlog;                       /* of a listening one */
	uint32_t *pending; size_t npending;     /* clients that wait to be accepted; 0: has closed */
	struct unix_name name;
	const struct dns *net;                  /* network namespace, as of unix_diag */
};
struct unix_diag { struct unix_entry *v; size_t n; const struct dns *net; };
/* Adds all unix sockets of the network namespace that sock_go says, t->net's; all are sorted by inode. 1: this kernel does not tell
 * (no unix_diag). */
int unix_diag_read(struct unix_diag *t, struct err *e);
const struct unix_entry *unix_diag_find(const struct unix_diag *t, uint64_t ino);
void unix_diag_free(struct unix_diag *t);

/* ---- fd_unix_queue.c ---- */

struct unix_creds { bool known; pid_t pid; uid_t uid; gid_t gid; };
struct unix_message {
	size_t len;
	uint32_t *files; size_t nfiles;         /* ids of the descriptors in it */
	struct unix_creds creds;                /* pid as seen here (dump), as the job sees it (restart) */
	uint32_t sender;                        /* id of a socket that has a name; 0: it had none */
};
struct unix_queue {
	struct buf data;
	struct unix_message *v; size_t n;
	char *why;                              /* it cannot be saved; NULL: it can */
};
/* Peeks at all that waits in f. Descriptors in it that no process holds are added to d->files. */
int unix_queue_read(struct dump *d, struct dfile *f, const struct unix_entry *x, struct unix_queue *q, struct err *e);
/* Compares q with what the one that sent it has outstanding. An empty message can be looked at once only, so a second checkpoint
 * would not see it: then q->why is set. */
void unix_queue_complete(struct unix_queue *q, int type, int peer);
/* A message more, all zero; NULL: out of memory. */
struct unix_message *unix_queue_add(struct unix_queue *q);
void unix_queue_free(struct unix_queue *q);

/* ---- fd_unix.c ---- */

struct unix_world {                             /* of one checkpoint */
	struct unix_diag diag;
	bool blind;                             /* the kernel does not tell who is connected to whom */
	struct unix_queue **queues; size_t nqueues; /* by id of description */
	pid_t *peers; size_t peers_size;        /* SO_PEERCRED's PIDs, by id, as the job sees them; NULL: as we do */
};
void unix_world_free(struct dump *d);

/* ---- unix_peers.c ---- */

/* Fills w->peers (mmapped) for a job with PIDs of its own; 0: not known. */
void unix_peers_read(struct dump *d, struct unix_world *w);

/* ---- restart ---- */

struct usock {
	struct rfile *f;                        /* NULL: made for a moment */
	int type;
	struct unix_name name, peer_name, to_name;
	const char *base, *root;                /* where a relative name begins; the root that it is seen from */
	bool has_file; mode_t file_mode; uid_t file_uid; gid_t file_gid;
	uint64_t file_mnt;                      /* the member's mount namespace where it is, 0: none */
	bool server, orphan, listening, reset;
	bool outside;                           /* connected to peer_name, or target, outside the job */
	const char *target;                     /* of -S; NULL: none */
	int backlog, shutdown;
	uint32_t with, pending, order, to;      /* ids: peer, listener, place there, target of datagrams */
	struct unix_creds peer, by;             /* what it shows as SO_PEERCRED; who connected it */
	uint64_t content;
	int path_fd;                            /* O_PATH of its socket file, -1 */
	int tmp;                                /* the other end of an orphan until it is filled, -1 */
	bool opened, settled;
	char *fresh; ino_t fresh_ino;           /* its file was not there before: the path */
};
/* Fills u (all but f->priv) from the record. */
int unix_parse(struct restore *r, struct rfile *f, struct usock *u, struct err *e);
/* MESSAGES of the record, against CONTENT. */
int unix_messages_parse(struct restore *r, const struct usock *u, struct unix_queue *q, struct err *e);
/* A new socket with its name, listening where it was. *fd gets it. */
int unix_make(struct restore *r, struct usock *u, int *fd, struct err *e);
/* Two connected ones. Either may be temporary. */
int unix_make_pair(struct restore *r, struct usock *a, struct usock *b, int fd[2], struct err *e);
/* n pairs without names, in the network namespace that sock_go says. A child makes them: many at once cost little more than one. */
int unix_make_unnamed(int (*fd)[2], const int *types, size_t n, const struct unix_creds *as, struct err *e);
/* Connects fd to u, as somebody else where `as` is known. */
int unix_connect(int fd, const struct usock *u, const struct unix_creds *as, struct err *e);
/* sockaddr_un that leads to u in text. Returns its length. */
struct sockaddr_un;
unsigned unix_address(const struct usock *u, struct sockaddr_un *a);
/* Before the records are freed: files of sockets that were not there before go again when the restart failed (!r->done). */
void unix_forget(struct restore *r);
/* Forgets the directory that private names were made in. */
void unix_make_end(void);
/* A name for messages. */
const char *unix_text(const struct unix_name *n, char *out, size_t size);
/* ---- unix_outside.c ---- */

/* What becomes of a connection to outside, when all of u is parsed: -S, --unix-close, or made anew. */
int unix_outside_parse(struct restore *r, struct usock *u, struct err *e);
/* Connects it, as the process that held it; *fd gets the socket. */
int unix_outside_open(struct restore *r, struct usock *u, int *fd, struct err *e);

struct usock *unix_of(struct restore *r, uint32_t id);  /* NULL: no unix socket */
int unix_open(struct restore *r, struct rfile *f, struct err *e);
int unix_install(struct restore *r, struct rproc *p, int fd, struct rfile *f, struct err *e);

#endif
