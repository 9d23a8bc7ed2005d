/* internal: what the files of cr share. */
#ifndef XOS_CR_INTERNAL_H
#define XOS_CR_INTERNAL_H

#include "cr/cr.h"

enum { TREE_DEPTH = 4096 };            /* of parents and children */

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

/* tree.c: the processes, their sessions; tree_groups.c: process groups, zombies. */
int tree_make(struct restore *r, struct restart_run *run, struct err *e);
int tree_groups(struct restore *r, struct err *e);
int tree_zombies(struct restore *r, struct err *e);   /* zombies die, helpers go */
void tree_kill(struct restore *r);                    /* whatever was made, with nothing left */
/* p makes a child by clone3; tid 0: the kernel's choice among those the job does not need. */
int tree_fork(struct restore *r, struct rproc *p, struct rproc *child, struct err *e);
/* p, a child of maker, ends with that wait(2) status. reap: maker waits for it, so that nothing of it is left. */
int tree_end(struct restore *r, struct rproc *p, int status, struct rproc *reaper, struct err *e);

/* threads.c */
int threads_make(struct restore *r, struct rproc *p, struct err *e);
int threads_restore(struct restore *r, struct rproc *p, struct err *e);
int threads_finish(struct restore *r, struct rproc *p, struct err *e);

#endif
