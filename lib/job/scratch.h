/* scratch: the job's private directory $XOS_JOB_TMP = STATE/jobs/JOBID/tmp, with a limit on its size and
 * number of files where one was asked for.
 *
 * Limited by a project quota of the file system that holds STATE (quotactl_fd(2), FS_IOC_FSSETXATTR) where
 * it has one: writes end with EDQUOT; else by a tmpfs of that size mounted there: ENOSPC, and its
 * content counts as memory of the job. Both need CAP_SYS_ADMIN. TMP_KIND in the record: "dir" (no limit),
 * "quota:ID" or "tmpfs". It lives as long as the job, and over a stop until the restarted job ends. */
#ifndef XOS_JOB_SCRATCH_H
#define XOS_JOB_SCRATCH_H

#include "common/err.h"
#include "job/job.h"
#include <stdint.h>

/* bytes, inodes: 0 = no limit. The directory belongs to uid:gid, 0700. Sets and saves j->tmp and tmp_kind before anything
 * is mounted, so that a later command can clean up. A directory that is there already (restart) is kept.
 * EX_PERM naming what is missing when a limit cannot be enforced. */
int job_scratch_make(struct job *j, uint64_t bytes, uint64_t inodes, uid_t uid, gid_t gid, struct err *e);
/* Unmounts and empties it; nothing to do is no error. */
int job_scratch_remove(struct job *j, struct err *e);

#endif
