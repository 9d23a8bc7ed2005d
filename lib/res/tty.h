/* tty: pseudo terminals of a job, see pty(7): what descriptors (fd_tty.c) and sessions (ctty.c) share. */
#ifndef XOS_TTY_H
#define XOS_TTY_H

#include "res/res.h"

/* Not in every libc. */
#ifndef TCGETS2
#define TCGETS2 _IOR('T', 0x2A, struct termios2)
#define TCSETS2 _IOW('T', 0x2B, struct termios2)
#endif

/* Checkpoint. Number of the pty whose master f is, -1 when f is no master. */
int tty_master_index(const struct dfile *f);
/* The master of pty `index`, when a member of the job has it; NULL. */
struct dfile *tty_find_master(struct dump *d, int index);
/* Index of the pts behind a device number (as in stat, or as in tty_nr of /proc/PID/stat); -1: no pts. */
int tty_dev_index(unsigned major, unsigned minor);
/* The pending output of a pty: what was written to the slave and not yet read from the master. Read and put back
 * while everybody stands. 0, or -1 with the reason in *why (static text). */
int tty_peek_output(int master, int slave, struct buf *out, const char **why);

/* Restart. Writes such output again. -1 with errno. */
int tty_put_output(int slave, const void *p, size_t n);

#endif
