/* cleanup: descriptors and memory that are released when they leave scope. */
#ifndef XOS_CLEANUP_H
#define XOS_CLEANUP_H

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_fd(int *fd)
{
	if (*fd >= 0) {
		int saved = errno;
		close(*fd);
		errno = saved;
	}
}
static inline void cleanup_free(void *p) { free(*(void **)p); }
static inline void cleanup_dir(DIR **d) { if (*d) closedir(*d); }
static inline void cleanup_file(FILE **f) { if (*f) fclose(*f); }

#define AUTO_FD __attribute__((cleanup(cleanup_fd)))     /* int fd = -1 */
#define AUTO_FREE __attribute__((cleanup(cleanup_free))) /* any malloc'ed pointer = NULL */
#define AUTO_DIR __attribute__((cleanup(cleanup_dir)))
#define AUTO_FILE __attribute__((cleanup(cleanup_file)))

/* Takes a descriptor or pointer out of the reach of its cleanup. */
static inline int take_fd(int *fd) { int r = *fd; *fd = -1; return r; }
static inline void *take_ptr_(void *pp) { void *r = *(void **)pp; *(void **)pp = NULL; return r; }
#define take_ptr(pp) ((__typeof__(*(pp)))take_ptr_(pp))

#endif
