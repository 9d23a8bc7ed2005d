/* Internals that the files of lib/cgroup share. */
#ifndef XOS_CGROUP_INTERNAL_H
#define XOS_CGROUP_INTERNAL_H

#include "cgroup/cgroup.h"

enum { CG_PATH = 1024 };

/* MOUNT/PATH[/FILE]; -1 with ENAMETOOLONG. */
int cg_path(const struct cgroup_hier *h, const char *file, char *out, size_t n);
/* Whole text of a control file, NUL-terminated, cut at n-1. -1 with errno. */
int cg_read(const struct cgroup_hier *h, const char *file, char *out, size_t n);
/* One write of the text; -1 with errno. */
int cg_write(const struct cgroup_hier *h, const char *file, const char *text);
int cg_has_file(const struct cgroup_hier *h, const char *file);
/* The value behind `key ` in a flat keyed file; dflt when it is not there. */
uint64_t cg_keyed(const char *text, const char *key, uint64_t dflt);
/* `name` is one of the comma- or space-separated words of list. */
bool cg_word(const char *list, const char *name);
/* The hierarchy of the set with that controller (v2's only when enabled for the group), NULL: none. */
const struct cgroup_hier *cg_find(const struct cgroup_set *s, const char *controller);
const struct cgroup_hier *cg_v2(const struct cgroup_set *s);
/* The hierarchy by which members are listed, frozen and killed: v2, else the freezer, else the first. */
const struct cgroup_hier *cg_main(const struct cgroup_set *s);
/* Inode of the group's directory; 0: there is none. */
uint64_t cg_inode(const struct cgroup_hier *h);
/* Calls f for the group and each group below it, parents first; absolute path. Stops at the first non-zero, and with -1 and errno where groups cannot
 * be looked at (ENAMETOOLONG: nested too deep). */
int cg_walk(const char *dir, int (*f)(const char *dir, void *data), void *data);
/* The same, parents last. */
int cg_walk_up(const char *dir, int (*f)(const char *dir, void *data), void *data);
void cg_sleep_ms(unsigned ms);

#endif
