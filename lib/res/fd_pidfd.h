/* fd_pidfd: pidfds, see fd_pidfd.c. */
#ifndef XOS_FD_PIDFD_H
#define XOS_FD_PIDFD_H

#include "res/res.h"

/* The description is a pidfd of a thread, PIDFD_THREAD of pidfd_open(2): it comes too late for a socket's queue. */
bool pidfd_of_thread(const struct dfile *f);
/* When all processes exist, zombies too, but no threads: opens the pidfds of processes in the restorer. */
int pidfd_make(struct restore *r, struct err *e);

#endif
