/* progress: one line on stderr for long work (bytes, rate, time left); silent when stderr is no
 * terminal, with -q, and during the first half second. */
#ifndef XOS_PROGRESS_H
#define XOS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress { const char *what; uint64_t total, done; int64_t start_ns, shown_ns; bool on, shown; };
void progress_start(struct progress *p, const char *what, uint64_t total_bytes);
void progress_add(struct progress *p, uint64_t bytes); /* cheap: looks at the clock every MiB */
void progress_end(struct progress *p);                 /* clears the line */

#endif
