/* clone3: the arguments of clone3(2), which libc does not declare, and the numbers of what it makes.
 *
 * A task has a number in each PID namespace from its own up to ours. Who makes it may choose those in namespaces over whose owner it has
 * CAP_CHECKPOINT_RESTORE, from the innermost up: all, unless it is in a user namespace of the job. The others are then got by /proc/sys/kernel/ns_last_pid: the next
 * task gets the number after that, if nobody else forks in between; in namespaces of the job nobody does. */
#ifndef XOS_CLONE3_H
#define XOS_CLONE3_H

#include "cr/cr.h"

struct clone3_args {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};
enum { CLONE3_SIZE_5_5 = 80 /* without `cgroup` */, CLONE3_TRIES = 2000 };

struct numbers {
	pid_t v[PROC_MAX_NSDEPTH + 1]; size_t n; /* innermost first, ours last */
	size_t may;                    /* how many of them maker may choose */
	const struct rns *pidns;       /* innermost, NULL: ours */
};
/* Of a task with that number here, and nspid below (outermost first), made by maker (NULL: by us). */
void clone3_numbers(struct restore *r, const struct rproc *maker, pid_t pid, const pid_t *nspid, size_t nnspid, struct numbers *out);
/* Is ours free, where we do not choose it but try? Somebody who has got it meanwhile may soon be gone: then false after a millisecond. */
bool clone3_wait_free(const struct numbers *nums);
/* Under remote control of maker: *ret is what clone3 returns. With may < n the caller looks whether our number is the right one. */
int clone3_remote(struct rproc *maker, struct clone3_args *a, const struct numbers *nums, long *ret, struct err *e);
/* Has the new task pid the numbers in the job's namespaces that it was to have? Asked when our number is right. */
bool clone3_right_below(pid_t pid, const struct numbers *nums);

#endif
