/* fd_inotify: from the inode that a watch is on to a path: fd_inotify_path.c. */
#ifndef XOS_FD_INOTIFY_H
#define XOS_FD_INOTIFY_H

#include "res/res.h"

enum { INOTIFY_MAX_HANDLE = 128 };     /* MAX_HANDLE_SZ */

struct inotify_target {
	int wd;
	uint32_t mask;
	uint64_t ino;
	unsigned dev_major, dev_minor;
	unsigned handle_len;           /* 0: the file system has no handles */
	int handle_type;
	unsigned char handle[INOTIFY_MAX_HANDLE];
};
/* The next watch in fdinfo text from *info on. 1, 0 at the end, -1 when it is not understood. */
int inotify_next(const char **info, struct inotify_target *t);
/* An open file of the job that is the watched inode; NULL. */
struct dfile *inotify_open_file(struct dump *d, const struct inotify_target *t);
/* A path to the inode as p sees it, in out[PATH_MAX]; -1 when none was found. By its file handle
 * (open_by_handle_at(2), needs CAP_DAC_READ_SEARCH), else by a bounded search from the directories that the job works in. */
int inotify_path(struct dump *d, struct dproc *p, const struct inotify_target *t, char *out);

#endif
