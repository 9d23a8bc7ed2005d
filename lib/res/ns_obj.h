/* ns_obj: the namespaces that members have of their own, namespaces(7). Each kind is one file, ns_KIND.c, with its check, dump,
 * verify and build side by side, and one line in ns_table.
 *
 * The job's reference is the set of namespaces that a restart will find: ours, or those that xrestart made for the job (d->own_ns). What a member has
 * otherwise is an object here. Objects that only a descriptor or a child namespace keeps are found through them: parents and owners.
 *
 * Member `namespaces` (absent: there are none), in this order: TYPE="ns" ID= KIND= [USER=id of the user namespace that owns it] ...: user namespaces
 * first, parents before children; after each, the records of its content, each with NS=id. In task_PID: TYPE="namespaces" [USER= MNT= ...=id].
 *
 * Restart: user namespaces and what they own are made by children of the restorer that leave a descriptor of it and end; processes enter when all
 * that needs the restorer's own rights is done to them (ns_enter.c). */
#ifndef XOS_NS_OBJ_H
#define XOS_NS_OBJ_H

#include "res/ns_run.h"
#include "res/sock_diag.h"
#include "res/res.h"

enum { NS_MAX = 4096, NS_RECORDS_MAX = 1 << 20 };

struct dns {
	uint32_t id;                   /* from 1, in the order of the records */
	enum ns_kind kind;
	dev_t dev; ino_t ino;
	int fd;                        /* ours */
	struct dns *user;              /* owner, for user and PID namespaces: the parent too; NULL: the reference */
	struct dns *parent;            /* of PID and user namespaces */
	struct dproc *p;               /* a member that lives in it, NULL: none */
	uid_t owner;                   /* of a user namespace: who made it */
	struct buf content;            /* records found in its check, of kinds that keep them */
	int root;                      /* a mount namespace: its root directory (O_PATH), -1: not asked for yet */
	int diag;                      /* a network namespace: a socket of sock_diag(7) in it, -1: not asked for yet */
	uint64_t cookie;               /* with it: SO_NETNS_COOKIE; 0: this kernel has none */
	struct ns_place place;         /* with it */
	struct ns_model { int family, type, protocol, fd; } *models; size_t nmodels; /* of a network namespace: new sockets, to compare with */
};
struct dns_world {
	struct dns **v; size_t n;
	int reference[NSK_COUNT];      /* descriptors; -1: this kernel has no such kind */
	dev_t ref_dev[NSK_COUNT]; ino_t ref_ino[NSK_COUNT];
	bool user_is_ours;             /* we are in the reference user namespace */
	struct dns *ipc;               /* the IPC namespace that all members are in, NULL: the reference, or not all in one */
	struct buf mounts;             /* of mntns_plan.c: what mount namespaces have that the machine has not */
};

struct rns {
	uint32_t id;
	enum ns_kind kind;
	struct rec rec;                /* TYPE="ns" */
	struct rec_list content;       /* the records behind it, a part of the list */
	struct rns *user;
	struct rns *parent;            /* of a PID namespace, NULL: ours */
	size_t depth;                  /* of a PID or user namespace below ours */
	int fd;                        /* -1: not made */
	struct rproc *member;          /* of a mount namespace: who lives in it */
	bool complete;                 /* a mount namespace: nothing of its making is left in it */
	int diag;                      /* a network namespace: a socket of sock_diag(7) in it, 0: not made yet */
	struct ns_place place;         /* with it */
};
struct restore_ns {
	struct rec_list list;          /* member `namespaces` */
	struct rns *v; size_t n;
	struct netns_recs *net;        /* netns.h; NULL: no network namespace */
	int home_ipc;                  /* the restorer's own IPC namespace, while it is in the one of all members; -1 */
};

struct ns_ops {
	enum ns_kind kind;
	const char *what;              /* "UTS": for messages */
	/* Adds refusals. All members stand. May be NULL. */
	int (*check)(struct dump *d, struct dns *n, struct err *e);
	/* Adds fields to the record that is open in out; content records come after it in dump_content. */
	int (*dump)(struct dump *d, struct dns *n, struct buf *out, struct err *e);
	int (*dump_content)(struct dump *d, struct dns *n, struct buf *out, struct err *e);
	int (*verify)(struct restore *r, struct rns *n, struct err *e);
	/* In a child of the restorer that is in n->user and has just made the namespace. Not for user namespaces. */
	int (*build)(struct restore *r, struct rns *n, struct err *e);
};
extern const struct ns_ops *const ns_table[NSK_COUNT]; /* by kind; NULL: not supported */

/* ---- checkpoint ---- */
/* Finds all objects; before descriptors and mappings are looked at. */
int ns_collect(struct dump *d, struct err *e);
void ns_dump_free(struct dump *d);
bool ns_needed(const struct dump *d);                      /* is there any? */
int ns_dump(struct dump *d, struct buf *out, struct err *e); /* text of member `namespaces` */
/* Where ns_run finds n, with its owner's user namespace. */
void ns_place_of(const struct dump *d, const struct dns *n, struct ns_place *at);

/* ns_mnt.c: the root directory of a mount namespace, n's own descriptor; -1: we may not enter it. */
int ns_mnt_root(const struct dump *d, struct dns *n);

/* ---- restart ---- */
int ns_parse(struct restore *r, struct err *e);    /* records; before descriptors are parsed */
int ns_make(struct restore *r, struct err *e);     /* all but what needs members; before files are opened */
int ns_complete(struct restore *r, struct err *e); /* when all processes exist */
void ns_restore_free(struct restore *r);
struct rns *ns_find(struct restore *r, uint64_t id, enum ns_kind kind);
const char *ns_key(enum ns_kind k); /* "USER", "MNT", ...: field of records that name one */
/* Runs fn in a child of ours that is in that mount namespace, as who owns it, and takes the descriptor that it opens; mnt 0: runs it here. fn
 * changes nothing else of ours. */
int ns_open(struct restore *r, uint64_t mnt, int (*fn)(void *ctx, int *fd, struct err *e), void *ctx, int *fd, struct err *e);
/* Under remote control: who enters n through its own descriptor fd of it. */
int ns_enter_one(struct rproc *who, const struct rns *n, int fd, struct err *e);
/* Processes that were born in a user namespace of the job enter theirs, when all processes exist: nothing of what is done to them later takes
 * more than they have there. */
int ns_enter_born(struct restore *r, struct rproc *p, struct err *e);
/* ns_pid.c: like fork(2); the child is in the PID namespace of our next children. In the innermost `depth` of them it gets numbers that nobody has, all
 * different, and the next numbers stay what they are. EPERM: we may not choose numbers there. */
pid_t ns_pid_fork(size_t depth);
size_t ns_pid_depth(const struct dns *n); /* how many PID namespaces of the job there are, from n up; NULL: 0 */
/* ns_pid.c, when all tasks exist: the next numbers of PID namespaces are those that would have come. */
int ns_pid_finish(struct restore *r, struct err *e);
/* Is p's record sound? */
int ns_verify_proc(struct restore *r, struct rproc *p, struct err *e);
/* ns_time.c: n is made by p, under remote control, for its children. */
int ns_time_by(struct restore *r, struct rproc *p, struct rns *n, struct err *e);
/* ns_net.c: sockets are made in the network namespace that their record names (NET). fn makes all sockets of a kind; it is run once for each
 * such namespace, with sock_make and sock_diag's questions in it, for those that ns_net_here tells. */
int ns_net_each(struct restore *r, const struct fd_ops *ops, int (*fn)(struct restore *r, struct err *e), struct err *e);
bool ns_net_here(const struct restore *r, const struct rfile *f);
/* sock_make and sock_diag's questions go to f's namespace; ns_net_home: to our own again. We stay where we are: an ordinary user could not come back. */
int ns_net_enter(struct restore *r, const struct rfile *f, struct err *e);
void ns_net_home(struct restore *r);
/* ns_net.c: links with ends in two namespaces, when all are made. */
int ns_net_connect(struct restore *r, struct err *e);
/* ns_net.c: the network namespace that a socket, a descriptor of ours, is in; *out NULL: the reference. 1: neither that nor one of a member, or it cannot
 * be told. Needs no privilege since Linux 5.14. */
int ns_net_of(struct dump *d, int fd, struct dns **out, struct err *e);
/* Where sock_go goes for that network namespace (NULL: ours), which stays n's. -1: e. */
int ns_net_where(struct dump *d, struct dns *n, struct sock_where *w, struct err *e);
/* A new socket there that stays n's, to compare with: asked for again it is the same. n may not be NULL. */
int ns_net_model(struct dump *d, struct dns *n, int family, int type, int protocol, struct err *e);
/* Does the address belong to that network namespace? */
union inet_addr;
bool ns_net_local(struct dump *d, struct dns *n, const union inet_addr *a);
/* ns_net.c, when all are dumped: ends of links that are outside the job's namespaces. */
int ns_net_ends(struct dump *d, struct err *e);
/* ns_mnt.c: what needs its member. */
int ns_mnt_complete(struct restore *r, struct rns *n, struct err *e);
/* ns_cgroup.c: a child of ours goes to where the namespace has its root. */
int ns_cgroup_enter(struct restore *r, const struct rns *n, struct err *e);
/* ns_user.c: in its parent. */
int ns_user_make(struct rns *n, struct err *e);
/* The object of that kind that p lives in, NULL: the reference. */
struct rns *ns_of(struct restore *r, const struct rproc *p, enum ns_kind kind);
/* The PID or time namespace of p's next children, NULL: that of its own. */
struct rns *ns_for_children(struct restore *r, const struct rproc *p, enum ns_kind kind);
/* Where a child of the restorer finds n's owner: with as. */
void ns_place_owner(const struct rns *n, struct ns_place *at);

#endif
