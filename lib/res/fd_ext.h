/* fd_ext: what leads outside the job: a terminal, a pipe or a socket whose other end is somebody else's.
 * As stdin, stdout or stderr it is connected to the restart's own on restart; anywhere else -S must say to what. */
#ifndef XOS_FD_EXT_H
#define XOS_FD_EXT_H

#include "res/res.h"

/* Somebody outside the job has this file open (looked up in /proc; what we may not see is nobody). */
bool ext_held_outside(struct dump *d, const struct dfile *f);
/* An ancestor of the job, the supervisor left out, shares this description as its own stdio. */
bool ext_shared_above(struct dump *d, const struct dfile *f);
/* Any other process has this file open now. */
bool ext_inode_in_use(const struct stat *want);
/* Puts EXTERNAL="1" [STD=n] into the record that is open. */
void ext_dump(struct dump *d, const struct dfile *f);
/* Opens such a record on restart. */
int ext_open(struct restore *r, struct rfile *f, struct err *e);

#endif
