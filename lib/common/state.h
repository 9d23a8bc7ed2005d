/* state: where state lives, atomic files, locks.
 *
 * /var/lib/xos for root, ${XDG_STATE_HOME:-~/.local/state}/xos for others; --state-dir or
 * XOS_STATE_DIR override. Volatile state: /run/xos, $XDG_RUNTIME_DIR/xos, or STATE/run. */
#ifndef XOS_STATE_H
#define XOS_STATE_H

#include "common/buf.h"
#include "common/err.h"
#include <stdbool.h>

/* The tools call state_default_dir() (reads the environment) in main and pass the path on. */
int state_default_dir(const char *opt, char *out, size_t n, struct err *e);
/* A state directory that was given has its run directory inside: two of them never share locks. */
int state_default_run_dir(const char *opt_state, char *out, size_t n, struct err *e);
/* mkdir -p with mode 0700 for what is missing below the first existing directory. */
int state_mkdirs(const char *path, unsigned mode, struct err *e);

/* Replaces dirfd/name by the content: O_TMPFILE or temporary name, fsync, rename, fsync of
 * the directory. Readers see the old or the new whole content. mode 0: 0600. `name` may have
 * directories. Fault points: state-write (no space), state-rename (with :kill it leaves
 * a file ".NAME.<16 hex digits>~" behind, as a crash there would). */
int state_replace(int dirfd, const char *name, const void *p, size_t n, unsigned mode, struct err *e);
/* The same without fsync, for what may be lost when the machine crashes. */
int state_replace_quick(int dirfd, const char *name, const void *p, size_t n, unsigned mode, struct err *e);

/* Open file description lock (fcntl(2) F_OFD_SETLK) on dirfd/name, created 0600.
 * Returns the descriptor that holds it (close = unlock), or -1: EX_BUSY when !wait and it is held,
 * EX_NOSUCH when the directory is gone (also while waiting). Signals do not end the wait.
 * A forked child holds the lock too until it closes the descriptor or executes. */
int state_lock(int dirfd, const char *name, bool shared, bool wait, struct err *e);

#endif
