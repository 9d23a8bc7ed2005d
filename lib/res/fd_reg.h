/* fd_reg: what mapped files share with open files. */
#ifndef XOS_FD_REG_H
#define XOS_FD_REG_H

#include "res/res.h"

/* Makes the nameless file that raw member `member` holds, near path `near` when that directory is there, else in
 * /tmp; with owner and mode. Returns a read-write descriptor or -1. */
int ghost_make(struct restore *r, const char *member, const char *near, uint64_t mode, uint64_t uid, uint64_t gid,
	       struct err *e);
/* The first description of the job of this nameless file. */
struct dfile *files_find_ghost(struct dump *d, const struct stat *st);
void reg_note_changed(struct restore *r, const struct stat *st);
bool reg_changed_by_restart(const struct restore *r, const struct stat *st);

#endif
