/* cgroup: control groups v1, v2 and hybrid behind one small interface. cgroups(7),
 * Documentation/admin-guide/cgroup-v1, cgroup-v2.rst. */
#ifndef XOS_CGROUP_H
#define XOS_CGROUP_H

#include "common/err.h"
#include "common/proc.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CGROUP_MAX_HIER = 20 };

/* One hierarchy in which the job has a group. v2: controllers "" or a list; v1: "cpu,cpuacct". */
struct cgroup_hier { char controllers[128]; bool v2; char mount[256]; char path[512]; /* below mount, starts with / */ };
struct cgroup_set { struct cgroup_hier h[CGROUP_MAX_HIER]; size_t n; };

struct cgroup_usage {
	uint64_t wall_ms, cpu_user_us, cpu_sys_us, mem_peak, io_read, io_write;
	uint64_t procs_peak;
	bool has_mem, has_io, has_procs;
};
/* Finds the hierarchies of this machine and the groups of the caller; makes JOBID's group in those that
 * `subsystems` (pam_xos.conf names: cpuacct, memory, cpu, cpuset, pids, blkio, io, freezer, devices, net; disk is
 * not a controller) need, and in v2 always (freeze, kill). An ordinary user: in his delegated v2 group.
 * EX_PERM when no group can be made (the caller then takes a tree job), EX_FAILED naming a subsystem that
 * this kernel has not. On failure nothing is left. */
int cgroup_create(struct cgroup_set *s, const char *jobid, const char *subsystems, struct err *e);
/* "memory", "1G" ... (CLI.md's names), or a raw control file "memory.high". EX_FAILED naming what is missing. */
int cgroup_limit(struct cgroup_set *s, const char *name, const char *value, struct err *e);
int cgroup_enter(const struct cgroup_set *s, pid_t pid, struct err *e); /* pid 0: the caller */
int cgroup_pids(const struct cgroup_set *s, struct pid_list *out, struct err *e); /* groups below included */
int cgroup_read_usage(const struct cgroup_set *s, struct cgroup_usage *u, struct err *e);
int cgroup_freeze(const struct cgroup_set *s, bool freeze, struct err *e); /* waits until frozen */
int cgroup_kill(const struct cgroup_set *s, int sig, struct err *e);
bool cgroup_empty(const struct cgroup_set *s);
int cgroup_remove(struct cgroup_set *s, struct err *e);  /* groups below first; waits briefly for dying members */

#endif
