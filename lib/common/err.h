/* err: what went wrong, for the user, with the exit status that CLI.md gives it.
 *
 * A fallible function takes `struct err *` last and returns -1 (or NULL) after
 * filling it. Each layer may add one prefix, so that the user reads
 * "job 12: pid 345: fd 7: socket AF_NETLINK is not supported".
 * Nobody prints and also returns an error. */
#ifndef XOS_ERR_H
#define XOS_ERR_H

#include <stdarg.h>
#include <stdbool.h>

/* Exit statuses of all tools; see CLI.md and every man page. */
enum exit_status {
	EX_OK_ = 0,
	EX_FAILED = 1,      /* failed; nothing was changed */
	EX_USAGE_ = 2,
	EX_NOSUCH = 3,      /* no such job, version, VE, node, mapping */
	EX_BUSY = 4,        /* locked, already running, a PID in use */
	EX_CANNOT_CKPT = 5, /* cannot be checkpointed; every reason was listed */
	EX_BAD_IMAGE = 6,
	EX_MISFIT = 7,      /* this node does not fit the image's profile */
	EX_PERM = 8,
	EX_NOSPACE = 9,
	EX_CKPT_STOPPED = 75, /* the job was checkpointed and stopped */
	EX_TOOL = 125,      /* tools that run a program: failure of the tool itself */
	EX_NOEXEC_ = 126,
	EX_NOTFOUND = 127,
};

struct err {
	int code;       /* enum exit_status; 0 while nothing went wrong */
	int sys;        /* errno behind it, 0 when there is none */
	char msg[1024]; /* one line without newline */
	char hint[512]; /* what the user can do, or "" */
};

#define ERR_INIT { .code = 0 }

/* Sets code and message. Always returns -1. `e` may be NULL (message dropped). */
int err_set(struct err *e, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The same from errno: ENOSPC/EDQUOT -> EX_NOSPACE, EPERM/EACCES -> EX_PERM, else
 * EX_FAILED; appends ": " and strerror(errno). Keeps errno. Returns -1. */
int err_sys(struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Puts "prefix: " before the message. Returns -1. */
int err_prefix(struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Sets the hint (second line for the user); an existing hint is kept. */
void err_hint(struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
bool err_is_set(const struct err *e);
void err_clear(struct err *e);

#endif
