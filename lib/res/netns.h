/* netns: the content of network namespaces: what a checkpoint finds in one that a member of the job lives in, and how a restart builds it
 * anew: links, addresses, routes, rules, permanent neighbours, sysctls, rule sets of nftables; rtnetlink(7), network_namespaces(7).
 * Finding, entering, making and joining namespaces is ns.h's work.
 *
 * A namespace of the job has the id (from 1) that the framework gave it, and each record carries it as NS=. NETNS_HOME, 0, is the one that
 * the job's other members and xcheckpoint (later xrestart) live in; its content is not the job's, but ends of links of the job may be in it.
 *
 * Interface numbers are kept exactly: records name links by them, and programs do. Everything that these functions do not know is a refusal
 * by name. They are to be called in a child of its own each, because they use the process's network namespace. */
#ifndef XOS_NETNS_H
#define XOS_NETNS_H

#include "res/res.h"

enum {
	NETNS_HOME = 0,
	NETNS_MAX = 4096,              /* ids */
	NETNS_MAX_LINKS = 1 << 16,     /* of one namespace */
	NETNS_MAX_RECORDS = 1 << 20,   /* of all namespaces of a job */
};

/* A network namespace that the checkpoint knows: a descriptor of it, also in the child. */
struct netns_known { uint32_t id; int fd; };

/* Checkpoint. Runs in a forked child of xcheckpoint that has entered the network namespace `id` and the user namespace that owns it, with all
 * capabilities there; the mount and PID namespaces are still xcheckpoint's. Appends records, each with NS=id, to out, and to refusals a line
 * (with its newline) for each thing that cannot be restored, by name. known: all namespaces of the job, and NETNS_HOME: it tells
 * where the other end of a link is. Changes nothing. 0, or -1: e is filled (the kernel does not answer). */
int netns_dump(uint32_t id, const struct netns_known *known, size_t nknown, struct buf *out, struct buf *refusals, struct err *e);

/* Checkpoint, in xcheckpoint itself, in NETNS_HOME, when netns_dump has been done for all namespaces; records: all that they appended. Appends to out records
 * of those ends of their links that are in NETNS_HOME (names, bridges, addresses), and refusals as above. */
int netns_dump_ends(const struct buf *records, struct buf *out, struct buf *refusals, struct err *e);

/* Restart: the records of all namespaces in `all`, which stays there; those of other types are passed over. *out is the caller's, also when it fails. */
struct netns_recs;
int netns_recs_new(struct netns_recs **out, const struct rec_list *all, struct err *e);
void netns_recs_free(struct netns_recs *t);
/* Are those of namespace id sound, and is there room for what must be made in NETNS_HOME? Before anything is made. */
int netns_verify(struct restore *r, const struct netns_recs *t, uint32_t id, struct err *e);
/* Is it one of ours? For a reader that refuses unknown types. */
bool netns_record(const char *type);

/* Runs in a forked child of the restorer that has just entered the owning user namespace and done unshare(CLONE_NEWNET): builds namespace id,
 * unless it has links to other namespaces: then nothing is done here, and all of it in netns_connect. */
int netns_build(struct restore *r, const struct netns_recs *t, uint32_t id, struct err *e);

/* Runs once in a forked child of the restorer that has capabilities in NETNS_HOME's place (CAP_NET_ADMIN in the user namespaces that own the namespaces, CAP_SYS_ADMIN in
 * its own, for setns(2)), when all namespaces exist and netns_build was done for each: makes links with ends in two namespaces (veth, moved macvlan, vlan), then
 * builds the namespaces that have such. nsfd(ctx, id) gives a descriptor of namespace id, which stays the framework's; NETNS_HOME: of the restorer's own. -1: there
 * is none. Does nothing when there is no such link. The process is in another network namespace afterwards: it is to exit. What is made in NETNS_HOME vanishes with the
 * job's namespaces. */
int netns_connect(struct restore *r, const struct netns_recs *t, int (*nsfd)(void *ctx, uint32_t id), void *ctx, struct err *e);
/* Would that change anything in NETNS_HOME? */
bool netns_reaches_home(const struct netns_recs *t);

#endif
