/* tree_ns: a process with another PID namespace than its parent's, pid_namespaces(7), and numbers that must be tried for. For tree.c. */
#ifndef XOS_TREE_NS_H
#define XOS_TREE_NS_H

#include "cr/internal.h"

/* Makes child by maker, as a child of parent (maker itself; or CLONE_PARENT is in flags: maker's parent, NULL: we). Only the number is
 * made sure of: the caller takes control of it. Retries while its number is just given free, or somebody else forks in between. */
int tree_clone(struct restore *r, struct rproc *maker, struct rproc *parent, uint64_t flags, struct rproc *child, struct err *e);
/* The same for a child that is in another PID namespace than parent, whose first process it may be. parent NULL: maker is a passing child of ours
 * that does it and ends. */
int tree_clone_ns(struct restore *r, struct rproc *parent, struct rproc *maker, struct rproc *child, struct err *e);
/* The number of process `pid` of the job as p sees it, 0: it does not. */
pid_t tree_number_in(struct restore *r, const struct rproc *p, pid_t pid);

/* p joins its process group, if that is there, before a child is born that cannot. */
int tree_join_now(struct restore *r, struct rproc *p, struct err *e);

#endif
