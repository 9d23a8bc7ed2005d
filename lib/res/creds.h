/* creds: one thread's credentials as creds.c and creds_apply.c see them. */
#ifndef XOS_CREDS_H
#define XOS_CREDS_H

#include "res/proc_ops.h"

struct creds {
	uid_t uid[4];                  /* real, effective, saved, fs */
	gid_t gid[4];
	gid_t *groups; size_t ngroups; /* ascending; owned */
	uint64_t inh, prm, eff, bnd, amb;
	unsigned securebits;
	bool nnp;
};
enum { SECBIT_NO_SETUID_FIXUP_ = 4, SECBIT_KEEP_CAPS_ = 16, CAP_BITS = 64 };

/* Writes a thread's record; securebits as prctl(2) told the thread, -errno. Called by thread.c. */
int creds_put_thread(struct dproc *p, const struct dthread *th, long securebits, struct err *e);
/* who, under remote control, takes user, group and supplementary ids of p's leader as they were, and keeps all capabilities. */
int creds_take_ids(struct restore *r, struct rproc *p, struct rproc *who, struct err *e);
/* The name of the first difference, NULL when there is none. */
const char *creds_diff(const struct creds *a, const struct creds *b);
/* Queues what turns `now` into `want`, and runs it in the thread at work. */
int creds_apply(struct rproc *p, const struct creds *now, const struct creds *want, struct err *e);

#endif
