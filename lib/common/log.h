/* log: messages of the tools, debug traces, fault points.
 *
 * log_init() is called once by main; libraries may trace with log_debug() and mark
 * fault points, but never print otherwise. */
#ifndef XOS_LOG_H
#define XOS_LOG_H

#include "common/err.h"

enum log_level { LOG_QUIET = -1, LOG_NORMAL = 0, LOG_VERBOSE = 1 };

/* tool: name for messages. Reads XOS_DEBUG and XOS_FAULT. */
void log_init(const char *tool);
void log_set_level(enum log_level l);
enum log_level log_level(void);
/* "tool: message\n" on stderr in one write. */
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));   /* not with -q */
void log_verbose(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* only with -v */
/* Prints e as "tool: msg" and, when there is one, "tool: hint: ..."; returns e->code. */
int log_err(const struct err *e);
/* Trace of one part, e.g. log_debug("mem", "..."): printed when XOS_DEBUG names the part or "all". */
void log_debug(const char *part, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* True when XOS_FAULT (a comma-separated list) names this step. `name:kill` makes the
 * process kill itself there with SIGKILL instead, `name:N` fails from the N-th pass on. */
bool fault(const char *name);

#endif
