/* internal: what the files of cr share. */
#ifndef XOS_CR_INTERNAL_H
#define XOS_CR_INTERNAL_H

#include "cr/cr.h"

/* members.c: stops all processes of the job and finds out who is who. */
int members_stop(struct dump *d, const struct ckpt_opts *o, struct err *e);
int members_look(struct dump *d, const struct ckpt_opts *o, struct err *e);
void members_release(struct dump *d, enum ckpt_after after, int sig);
void members_free(struct dump *d);

/* texts.c */
int texts_write(struct dump *d, const struct ckpt_opts *o, int64_t date, struct err *e);
int thread_record(struct dump *d, struct dproc *p, struct dthread *th, struct err *e);
int thread_registers(struct rproc *p, struct rthread *th, struct user_regs_struct *regs, uint64_t *mask, struct buf *xstate,
		     struct err *e);

/* plan.c: the image's records into processes and threads. */
int plan_make(struct restore *r, struct restart_run *run, struct err *e);
int plan_check_pids(struct restore *r, struct err *e);
void plan_free(struct restore *r);

/* tree.c: the processes, their sessions and groups. */
int tree_make(struct restore *r, struct restart_run *run, struct err *e);
int tree_groups(struct restore *r, struct err *e);
int tree_zombies(struct restore *r, struct err *e);
void tree_kill(struct restore *r);
/* fork of a process without parent inside the job, in the restorer. */
int tree_root(struct restore *r, struct restart_run *run, struct rproc *p, struct err *e);

/* threads.c */
int threads_make(struct restore *r, struct rproc *p, struct err *e);
int threads_restore(struct restore *r, struct rproc *p, struct err *e);
int threads_finish(struct restore *r, struct rproc *p, struct err *e);

#endif
