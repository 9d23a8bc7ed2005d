/* start: the first process of a new job. */
#ifndef XOS_JOB_START_H
#define XOS_JOB_START_H

#include "common/err.h"
#include "job/job.h"
#include "job/supervise.h"

struct job_identity { uid_t uid; gid_t gid; gid_t *groups; size_t ngroups; char *name, *home, *shell; };
/* A user by name or number, with his groups (getgrouplist(3)). EX_NOSUCH when there is none. */
int job_identity_find(struct job_identity *id, const char *user, struct err *e);
void job_identity_free(struct job_identity *id);

struct job_start_opts {
	char *const *argv;
	char *const *envp;                     /* whole environment; see job_environ() */
	const char *path;                      /* where a command without a slash is looked for; NULL: /usr/bin:/bin */
	const struct job_identity *identity;   /* NULL: as the caller */
	bool new_session;                      /* setsid(2): a detached job */
	int in, out, err;                      /* descriptors for 0, 1 and 2; -1: the caller's */
	const struct supervise_signals *signals;
};
/* The caller's environment with XOS_JOBID, XOS_JOB_MARK and XOS_JOB_TMP set for j, and HOME, USER, LOGNAME and SHELL for
 * the identity. One allocation for the array and the new strings; free() it. NULL: no memory. */
char **job_environ(const struct job *j, char *const *envp, const struct job_identity *identity);

/* Forks the command into j's groups before it executes anything (clone3(2) CLONE_INTO_CGROUP for v2, writing to `tasks`
 * for v1), records MAIN before it may go on, and returns when it has executed. The command could not be
 * executed: EX_NOTFOUND (ENOENT, ENOTDIR) or EX_NOEXEC_; something before that failed: EX_TOOL or EX_PERM. The child is
 * reaped then. When the caller dies before the record is written, the command does not run. */
int job_start(struct job *j, const struct job_start_opts *o, struct err *e);

#endif
