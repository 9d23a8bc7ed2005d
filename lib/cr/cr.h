/* cr: checkpoint and restart of a whole job: the order in which the resources (lib/res) are asked, and what is
 * written when. The callers (cmd/xcheckpoint, cmd/xrestart) bring the job, the file, and what happens after. */
#ifndef XOS_CR_H
#define XOS_CR_H

#include "common/buf.h"
#include "common/err.h"
#include "common/proc.h"
#include "common/progress.h"
#include "image/image.h"
#include "res/res.h"
#include <stdbool.h>
#include <stdint.h>

enum ckpt_after { CKPT_RUN, CKPT_KILL, CKPT_STOP };
struct cgroup_set;
struct ckpt_opts {
	/* Living members as seen from here; called until it names nobody new. */
	int (*members)(void *ctx, struct pid_list *out, struct err *e);
	/* AFTER=KILL, STOP: the image is complete, the job still stands: make it durable and visible, note it in the job's record.
	 * AFTER=RUN: called when the job runs again. -1: the job goes on as if there had been no checkpoint. */
	int (*commit)(void *ctx, struct err *e);
	/* The job's record says that it was saved and ended: asked by a process that outlives us. NULL: it has none. */
	bool (*ended)(void *ctx);
	/* Makes sure that the job stands also when its tracer dies; on: false: no more. NULL: it has no control group, which that needs. */
	int (*hold)(void *ctx, bool on);
	void *ctx;
	const struct cgroup_set *groups; /* the job's control groups, NULL: it has none */
	pid_t supervisor;             /* parent of the members that have none inside; 0: not known */
	pid_t above;                  /* parent of the supervisor, or of a bare process tree: shares its stdio perhaps; 0: not known */
	pid_t nsinit;                 /* init of the namespaces that xrestart made for this job, 0: none */
	pid_t main;                   /* the job's first process, 0: the one without parent inside */
	uid_t uid; gid_t gid;         /* owner of the job */
	const char *identifier, *description;
	uint64_t version;
	bool check_only;              /* -n: nothing is touched beyond a short stop, no image is written */
	int fd;                       /* of the image */
	bool tcp_close;               /* TCP connections to outside are saved as ones that were reset */
	bool unix_connect;            /* unix connections to outside are made anew by the restart, by their names */
	bool unix_close;              /* those that cannot be, or all, are saved as ones that were closed */
	enum ckpt_after after;
	int kill_signal;              /* for KILL: sent instead of SIGKILL when it is not 0 */
	struct progress *progress;    /* or NULL */
	int64_t stop_ms;              /* how long processes may take to stop; 0: the default, 10 s */
};
struct ckpt_result {
	size_t nprocs, nthreads;
	uint64_t bytes;               /* of the image */
	uint64_t pause_us, total_us;  /* how long the job stood; all of it without commit for RUN */
	int64_t date;                 /* seconds since the epoch */
	char netlock[80];             /* the table that holds packets until the restart (job/netlock.h), "": none; set before commit */
	struct buf refusals;          /* EX_CANNOT_CKPT: what prevents it, one a line */
	struct buf report;            /* check_only: what would be saved, one a line */
};
/* Saves the job. On failure the job goes on unharmed, whatever happened. */
int cr_checkpoint(const struct ckpt_opts *o, struct ckpt_result *res, struct err *e);
void ckpt_result_free(struct ckpt_result *res);

struct restart_run {
	struct restart_opts o;
	/* A cgroup v2 directory in which processes that have no parent inside the job are born where the kernel can do that
	 * (5.7), -1: none. Moving one there takes a lock that waits for an RCU grace period, 10 ms and more. */
	int group;
	const struct cgroup_set *groups; /* the job's control groups, NULL: it has none */
	/* Called in each such process, before it does anything: enters the job's groups, but the one that it was born in. */
	int (*enter)(void *ctx, bool born_inside);
	/* Called when every process is complete and none runs yet; may be NULL. */
	void (*before_run)(void *ctx);
	void *ctx;
	bool own_ns;
	bool force_ns;                /* reserved for the caller: new namespaces were asked for */
	/* results */
	pid_t foreground;             /* group of the job that was in the foreground of its terminal, 0: none */
	struct terminal_look terminal; /* how the job had its terminal, if it was in the foreground; */
	unsigned terminal_number;     /* and which one it is connected to now; both are there before before_run */
	int stops;                    /* in new namespaces: where their init tells of stops of that process, for supervise(); else -1 */
	pid_t main;                   /* pid of the job's first process as seen by the caller */
	struct pid_list roots;        /* children of the caller */
};
/* Checks everything that can be checked with nothing created: structure, profile, credentials, files, PIDs. */
int cr_restart_check(struct image *im, struct restart_run *run, struct err *e);
/* Brings the job back as children of the caller. On failure nothing is left. The caller is single-threaded and a child
 * subreaper. On success every process runs. */
int cr_restart(struct image *im, struct restart_run *run, struct err *e);

/* profile.c: what an image needs of a node. KEY="value" lines. */
void profile_node(struct buf *out);
/* Compares an image's profile with this node: -1 EX_MISFIT, every mismatch a line in `why`. */
int profile_check(const char *image_profile, struct buf *why, struct err *e);

#endif
