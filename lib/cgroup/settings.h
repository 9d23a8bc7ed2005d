/* settings: the control files of one group that can be saved and written again. cgroups(7), Documentation/admin-guide/cgroup-v1, cgroup-v2.rst.
 *
 * A group is its absolute directory, as cg_walk gives it. A setting is a control file and its value as text: what the kernel shows, without
 * the newline at the end; of lists only the lines that say something. */
#ifndef XOS_CGROUP_SETTINGS_H
#define XOS_CGROUP_SETTINGS_H

#include "common/buf.h"
#include "common/err.h"
#include <stdbool.h>

enum {
	CGROUP_DIR_MAX = 4096,         /* bytes of a group's directory */
	CGROUP_NAME_MAX = 255,         /* of one name in it */
	CGROUP_VALUE_MAX = 1 << 20,    /* of a setting */
	CGROUP_LINE_MAX = 4096,        /* of a line in it: what one write(2) may carry */
};
struct cgroup_settings_found {
	/* A setting that a new group below the same one need not have. Non-zero ends it with that. */
	int (*setting)(void *ctx, const char *file, const char *value);
	/* Something that cannot be carried to another group: "the setting memory.x", "..., which is frozen". */
	void (*cannot)(void *ctx, const char *what);
	void *ctx;
};
/* Settings of a group, in the order in which they must be written. ref: a group of the same hierarchy with ordinary settings, for control files
 * that this version does not know: one whose value differs from there cannot be carried. populated: processes are in it or below. Makes
 * and removes a group below, for a moment, where only that tells what devices are denied. */
int cgroup_settings_read(const char *dir, const char *ref, bool v2, bool populated, const struct cgroup_settings_found *f, struct err *e);
/* EARLY: before the group has members or groups below; LATE: when they are complete. */
enum cgroup_when { CGROUP_EARLY, CGROUP_LATE, CGROUP_LAST };
/* When that file is written; -1: none that cgroup_settings_read gives. */
int cgroup_setting_when(bool v2, const char *file);
/* Does it stop the members of the group? */
bool cgroup_setting_freezes(const char *file, const char *value);
/* Writes it, unless it has that value, and looks whether it took. EX_MISFIT when this kernel has no such file. */
int cgroup_setting_write(const char *dir, bool v2, const char *file, const char *value, struct err *e);
/* Whole text of a control file without the last newline; -1 with errno. */
int cgroup_file_read(const char *dir, const char *file, struct buf *out);
/* One write(2) of the text; -1 with errno. */
int cgroup_file_write(const char *dir, const char *file, const char *text);
/* Programs (BPF) that are attached to a v2 group; 0 too where we may not ask. */
unsigned cgroup_bpf_programs(const char *dir);

#endif
