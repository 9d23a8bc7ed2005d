/* save: the next version of a job, from its id to the file; xcheckpoint and checkpoint are fronts to it. */
#ifndef XOS_CR_SAVE_H
#define XOS_CR_SAVE_H

#include "cr/cr.h"

struct save_opts {
	const char *state_dir;
	const char *id;               /* a job; or NULL with pid */
	pid_t pid;                    /* a process tree that no job holds; versions go under its number */
	const char *versions_dir;     /* with pid: versions go to this directory; NULL: STATE/checkpoints/PID */
	const char *description;
	enum ckpt_after after;
	int kill_signal;              /* 0: SIGKILL */
	bool check_only, nowait;
	bool tcp_close;               /* TCP connections to outside are saved as ones that were reset */
	bool unix_connect, unix_close; /* see struct ckpt_opts */
	int out;                      /* the image goes to this descriptor; -1: the next version of the job */
	size_t keep;                  /* prune to that many versions, 0: keep all; not with versions_dir */
	struct progress *progress;
};
struct save_result {
	char identifier[80];
	uint64_t version;
	struct ckpt_result ckpt;
};
/* EX_BUSY when another command holds the job and nowait; EX_CANNOT_CKPT with the reasons in r->ckpt.refusals. The job goes on
 * as asked, or, whatever failed, unharmed. r is freed by ckpt_result_free(&r->ckpt). */
int save_job(const struct save_opts *o, struct save_result *r, struct err *e);

#endif
