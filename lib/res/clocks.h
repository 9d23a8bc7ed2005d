/* clocks: what clocks.c has for time namespaces of members (ns_time.c) and for cr. time_namespaces(7). */
#ifndef XOS_CLOCKS_H
#define XOS_CLOCKS_H

#include "res/res.h"

#define CLOCKS_MAX ((uint64_t)INT64_MAX / 2)
/* CLOCK_MONOTONIC and CLOCK_BOOTTIME as pid sees them, nanoseconds. */
void clocks_of(pid_t pid, int64_t *monotonic, int64_t *boottime);
/* In the time namespace that pid's children will get, just made and without a process: its clocks are those values now. -1 with errno. */
int clocks_set(pid_t pid, int64_t monotonic, int64_t boottime);
/* Before the job's first process is made, in the restorer: from here on its children may have clocks of their own. */
int clocks_make(struct restore *r, struct err *e);

#endif
