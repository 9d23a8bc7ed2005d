/* fd_mqueue: POSIX message queues, at the ends of a restart. */
#ifndef XOS_FD_MQUEUE_H
#define XOS_FD_MQUEUE_H

#include "res/res.h"

/* Messages, before any process is made: until then an existing queue is as it was. */
int mqueue_make(struct restore *r, struct err *e);
/* When everything else is done: modes. */
int mqueue_finish(struct restore *r, struct err *e);
/* A restart that failed: names that it made go. */
void mqueue_undo(struct restore *r);

#endif
