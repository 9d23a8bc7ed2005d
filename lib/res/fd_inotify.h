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
/* " fhandle-bytes:.. fhandle-type:.. f_handle:.." of fdinfo into t; -1: not understood. */
int inotify_parse_handle(const char *s, struct inotify_target *t);
/* The mount point of t's device as pid sees it, in out[PATH_MAX]; -1: there is none. */
int inotify_mount_point(pid_t pid, const struct inotify_target *t, char *out);
/* A path in a list: %XX for bytes up to 0x20, % and 0x7f. */
void inotify_put_path(struct buf *b, const char *path);
/* Decodes n bytes at s in place, and ends them with a NUL; false when malformed or not an absolute path. */
bool inotify_get_path(char *s, size_t n);

#endif
