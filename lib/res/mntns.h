/* mntns: what is in a mount namespace of members, mount_namespaces(7). Which namespaces there are, who owns them and who lives in
 * them is ns.c's; here is the tree of mounts itself, as records TYPE="mount" and "mount_sb" with NS=id of the namespace.
 *
 * A mount whose file system is also mounted where the job was started (the machine's own mount namespace, or the one that xrestart
 * made for a restarted job) is a bind of that path. What only the namespace has is made anew: tmpfs with its
 * content, proc, sysfs, devpts, mqueue, overlay, cgroup. Anything else is refused by name.
 *
 * The restart never undoes a mount in place: it has a copy of the restorer's mounts, puts a tmpfs as its root, the copy at /old,
 * builds the tree under /new out of binds from /old, and takes /old away at the end. That is what an ordinary user
 * in his own user namespace may do, too: mounts that he got from outside are locked, and a proc may only be mounted while
 * another one is wholly visible. */
#ifndef XOS_MNTNS_H
#define XOS_MNTNS_H

#include "res/res.h"

enum { MNTNS_MAX_MOUNTS = 8192 };   /* in one namespace */
#define MNTNS_NEW "/new"            /* where the tree is until mntns_complete(), below the root of the namespace */

/* Checkpoint, all members stand. p: a member inside. Adds what cannot be restored with refuse(). Touches nothing. owner_user_fd: the user
 * namespace that owns this mount namespace, -1: the one that we are in. -1: e (something failed that has nothing to do with the job). */
int mntns_check(struct dump *d, const struct dproc *p, int owner_user_fd, struct err *e);
/* Appends the records of namespace id to out; content of file systems goes to raw members mount_ID.N. */
int mntns_dump(struct dump *d, uint32_t id, const struct dproc *p, int owner_user_fd, struct buf *out, struct err *e);

/* Restart. Are the records of namespace id in list sound, and is here what they bind? Before anything is made. */
int mntns_verify(struct restore *r, const struct rec_list *list, uint32_t id, struct err *e);
/* In a forked child of the restorer that has entered the owning user namespace and done unshare(CLONE_NEWNS): builds the tree.
 * What needs no namespace of a member is complete after it: files can be opened below MNTNS_NEW. The child's root and working directory change. */
int mntns_build(struct restore *r, const struct rec_list *list, uint32_t id, struct err *e);
/* Calls make for each proc that shows a PID namespace of the job: that namespace's number, and which file system it is (from 0). */
int mntns_procs(struct restore *r, const struct rec_list *list, uint32_t id, int (*make)(void *ctx, uint32_t pidns, size_t sb, struct err *e), void *ctx,
		struct err *e);
/* In a child that is in this mount namespace and in that PID namespace, and the user namespace that owns the latter: makes that proc, which
 * mntns_complete() then puts where it belongs. */
int mntns_proc(struct restore *r, const struct rec_list *list, uint32_t id, size_t sb, struct err *e);
/* In a child that is in the owning user namespace, in this mount namespace (setns(2): its root is the namespace's), and in
 * the PID, IPC, network and cgroup namespaces of the member that mntns_dump was told: mounts what belongs to those, then makes
 * MNTNS_NEW the root and takes the copy of the restorer's mounts away. Processes that are in the namespace already and whose root and working
 * directory are the namespace's root get the new one, as pivot_root(2) does; others keep theirs. */
int mntns_complete(struct restore *r, const struct rec_list *list, uint32_t id, struct err *e);
/* The name of a path of the namespace until mntns_complete(), as seen from the root of the namespace; -1: too long. */
int mntns_path(const char *path, char *out, size_t n);

#endif
