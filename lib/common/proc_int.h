/* proc_int: shared by proc_stat.c and proc_maps.c only. */
#ifndef XOS_PROC_INT_H
#define XOS_PROC_INT_H

#include "common/proc.h"

/* Fills e from errno after /proc/PID/NAME could not be read; gone is EX_NOSUCH. -1. */
int proc_fail(struct err *e, pid_t pid, const char *name);

#endif
