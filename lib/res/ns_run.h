/* ns_run: work done inside other namespaces, by a child of ours, so that we stay where we are. setns(2), namespaces(7).
 *
 * An ordinary user cannot enter a namespace from outside, but can enter a user namespace of his, where he has every capability,
 * and from there what it owns. The tools are single-threaded, so a fork is a whole copy of them. */
#ifndef XOS_NS_RUN_H
#define XOS_NS_RUN_H

#include "common/buf.h"
#include "common/err.h"
#include <stdbool.h>
#include <sys/types.h>

/* In the order in which they are entered: the user namespace gives the capabilities for the others, the mount namespace
 * takes away the paths. */
enum ns_kind { NSK_USER, NSK_PID, NSK_NET, NSK_IPC, NSK_UTS, NSK_CGROUP, NSK_TIME, NSK_MNT, NSK_COUNT };

struct ns_place {
	int fd[NSK_COUNT];             /* -1: where we are */
	/* Who enters the user namespace: the kernel asks for its owner, or for CAP_SYS_ADMIN over it. (uid_t)-1: as we are. */
	uid_t as;
	bool makes;                    /* files, so as somebody whom the user namespace maps; what is there is opened best as who we are */
};
#define NS_HERE { .fd = { -1, -1, -1, -1, -1, -1, -1, -1 }, .as = (uid_t)-1 }

/* "user", "pid", ...: as in /proc/PID/ns; and the CLONE_NEW flag. */
const char *ns_kind_name(enum ns_kind k);
int ns_kind_flag(enum ns_kind k);

struct ns_job {
	/* Runs inside. What it adds to answer is the caller's; *give (-1) is a descriptor to hand out. */
	int (*fn)(void *ctx, struct buf *answer, int *give, struct err *e);
	int (*before)(void *ctx, struct err *e); /* in the child, still where we are; may be NULL */
	void *ctx;
};
/* Becomes that user, with his groups; for good. (uid_t)-1: nothing. */
int ns_become(uid_t uid, struct err *e);
/* Goes there, for good. EX_PERM and others: as ns_run. */
int ns_go(const struct ns_place *at, struct err *e);
/* Forks, enters, runs. answer, got: may be NULL. 0, or -1: e is what failed inside, or EX_PERM when a namespace cannot be entered. A PID namespace
 * is entered by one more fork. */
int ns_run(const struct ns_place *at, const struct ns_job *job, struct buf *answer, int *got, struct err *e);

#endif
