/* fs: what fs.c has for processes that go into another mount namespace (ns_enter.c). */
#ifndef XOS_FS_H
#define XOS_FS_H

#include "res/res.h"

/* Descriptors (O_PATH, the caller's) of p's working directory and of its root directory (-1: that of its mount namespace), opened in its mount
 * namespace. */
int fs_open(struct restore *r, struct rproc *p, int *cwd, int *root, struct err *e);

/* Restart, before any process is made: descriptors that processes born in a user namespace of the job inherit, to go there by fs_enter(). */
int fs_prepare(struct restore *r, struct err *e);
void fs_forget(struct restore *r); /* closes them here */
/* Under remote control of such a process, in its mount namespace. */
int fs_enter(struct restore *r, struct rproc *p, struct err *e);

#endif
