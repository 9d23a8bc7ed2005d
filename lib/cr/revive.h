/* revive: a job from an image to its end: record, groups, restart, supervision; xrestart and restart are fronts to it. */
#ifndef XOS_CR_REVIVE_H
#define XOS_CR_REVIVE_H

#include "cr/cr.h"
#include "job/conf.h"
#include "job/job.h"

struct revive_opts {
	const char *state_dir;
	const char *id;               /* NULL: the image's own identifier */
	uint64_t version;             /* 0: the newest */
	int in;                       /* the image comes from this descriptor; -1: from STATE/checkpoints */
	const char *in_name;          /* for messages */
	bool detach, new_ns, replace, tty, tcp_close, unix_close, check_only, trust, accept_changed, nowait;
	struct subst *subst; size_t nsubst;
	struct subst *reloc; size_t nreloc;
	const struct job_conf *conf;
};
struct revive_result {
	char id[JOBID_MAX + 1];
	uint64_t version;
	bool started;                 /* detached, in the caller: the job runs */
	bool reported;                /* detached, in the supervisor: whatever failed was told to the caller */
	struct buf profile_misfits;   /* check_only: every mismatch a line */
};
/* Brings the job back and stays with it until it ends; *status is what the tool exits with: the job's own status, 128+N, 75
 * when it was checkpointed and stopped again; with -1, when the job did not come back, 0: the error's code counts. */
int revive_job(const struct revive_opts *o, struct revive_result *r, int *status, struct err *e);

#endif
