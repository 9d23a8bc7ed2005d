/* ns_sysctl: settings below /proc/sys that belong to a namespace; sysctl(8). In the namespace at both ends. */
#ifndef XOS_NS_SYSCTL_H
#define XOS_NS_SYSCTL_H

#include "common/buf.h"
#include "common/err.h"
#include "common/rec.h"

/* A line "NAME VALUE" for each of the names (below /proc/sys; the list ends with NULL) that this kernel has. */
int ns_sysctl_read(const char *const *names, struct buf *out, struct err *e);
/* The lines as the field KEY of an open record. */
void ns_sysctl_put(struct buf *rec, const char *key, const char *lines);
/* Are the field's lines (absent: none) of these names, and values that a kernel writes? */
int ns_sysctl_verify(const struct rec *rec, const char *key, const char *const *names, struct err *e);
/* Sets those that differ from what they are here. */
int ns_sysctl_write(const struct rec *rec, const char *key, struct err *e);

#endif
