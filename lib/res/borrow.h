/* borrow: doing something with no more rights to files than the owner of the image has. */
#ifndef XOS_BORROW_H
#define XOS_BORROW_H

#include "res/res.h"

struct borrow { bool on; gid_t gid, *groups; int ngroups; };
/* When root restarts an image that another user wrote (proc_untrusted), files are from here to borrow_end opened as that
 * user: his effective ids, his groups, no capability (so no ptrace and no system settings either). Otherwise nothing
 * happens. borrow_end is needed after a failure of what is between, not after one of borrow_begin; it keeps errno. The
 * caller is single-threaded. */
int borrow_begin(struct borrow *b, const struct restore *r, struct err *e);
int borrow_end(struct borrow *b, struct err *e);

#endif
