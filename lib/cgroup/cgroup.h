/* cgroup: control groups v1, v2 and hybrid behind one small interface. cgroups(7),
 * Documentation/admin-guide/cgroup-v1, cgroup-v2.rst.
 *
 * A job's group is BASE/xos/JOBID in every hierarchy it needs. BASE is the root of the hierarchy for root,
 * and for an ordinary user the topmost group above his own that he may write to (delegation). For a caller
 * that is in a job's group itself BASE is that group, so that a job started by a job stays in it. A v2
 * hierarchy is used always (freeze, kill, CPU times), v1 ones as the wanted subsystems need them; on a
 * machine without v2 the v1 freezer takes its place. When BASE/xos/JOBID is taken (another state directory
 * has a job of the same id) the name is JOBID~2, JOBID~3, ...; `~` is no character of a JOBID. */
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
struct cgroup_set {
	struct cgroup_hier h[CGROUP_MAX_HIER]; size_t n;
	/* Inode of the group by which members are listed, set when it is made; 0: planned. A path alone may be another
	 * job's by the time a record is read: of a group with another number nothing is listed, killed or removed. */
	uint64_t id;
};

struct cgroup_usage {
	uint64_t wall_ms, cpu_user_us, cpu_sys_us, mem_peak, io_read, io_write;
	uint64_t procs_peak;
	bool has_mem, has_io, has_procs;
	uint64_t mem_now; bool has_mem_now;   /* only while the job runs; not in the record */
};

/* Where the caller's processes and the kernel's hierarchies are looked up; tests point it at files of their own. */
struct cgroup_env { const char *mountinfo, *self_cgroup; bool root; };

/* Decides in which hierarchies JOBID gets a group and under which name, and makes nothing yet, so that the caller
 * can record the paths before they exist. `subsystems`: pam_xos.conf names, comma-separated (cpuacct, memory,
 * cpu, cpuset, pids, blkio, io, freezer, devices, net; disk is ignored, it is no controller); a `?` behind a name
 * makes it optional. EX_PERM when no group can be made (the caller then takes a tree job), EX_FAILED naming a
 * subsystem that this kernel has not. */
int cgroup_plan(struct cgroup_set *s, const char *jobid, const char *subsystems, struct err *e);
int cgroup_plan_env(struct cgroup_set *s, const struct cgroup_env *env, const char *jobid,
		    const char *subsystems, struct err *e);
/* Makes the planned groups; enables the controllers along the way on v2, fills cpuset's cpus and mems on v1.
 * EX_BUSY when one of the names was taken meanwhile (plan again). On failure nothing is left. */
int cgroup_make(struct cgroup_set *s, struct err *e);
/* Both, with as many retries as the name needs. */
int cgroup_create(struct cgroup_set *s, const char *jobid, const char *subsystems, struct err *e);

/* The subsystem that a limit of CLI.md or a raw control file needs ("memory", "memory.high" -> "memory");
 * "" when the v2 group itself has it (cgroup.max.depth), NULL when it is no limit of a group. */
const char *cgroup_limit_subsystem(const char *name);
/* "memory", "1G" ... (CLI.md's names), or a raw control file "memory.high". EX_FAILED naming what is missing,
 * EX_USAGE_ for a value that makes no sense. memory comes before swap on v1. */
int cgroup_limit(struct cgroup_set *s, const char *name, const char *value, struct err *e);

/* Moves a process with all its threads; pid 0: the caller, which must be single-threaded: on v1 it then writes
 * to `tasks`, which spares the RCU grace period (about 10 ms) that every other move waits for. */
int cgroup_enter(const struct cgroup_set *s, pid_t pid, struct err *e);
/* The v2 group's directory for clone3(CLONE_INTO_CGROUP), close-on-exec; -1 when the set has none. */
int cgroup_v2_fd(const struct cgroup_set *s);
/* cgroup_enter for pid 0 with descriptors opened beforehand, for use between fork and exec. */
struct cgroup_entry { int fd[CGROUP_MAX_HIER]; size_t n; };
int cgroup_entry_open(struct cgroup_entry *en, const struct cgroup_set *s, bool without_v2, struct err *e);
int cgroup_entry_enter(const struct cgroup_entry *en); /* 0 or errno; async-signal-safe */
void cgroup_entry_close(struct cgroup_entry *en);

/* The hierarchy by which members are listed, frozen and killed; NULL: none. */
const struct cgroup_hier *cgroup_list_hier(const struct cgroup_set *s);
/* A group below the set's that is frozen by itself and holds processes: its path there, in out; false: none. Nothing in it can be stopped by a tracer. */
bool cgroup_frozen_below(const struct cgroup_set *s, char *out, size_t n);
int cgroup_pids(const struct cgroup_set *s, struct pid_list *out, struct err *e); /* groups below included */
/* Fills the fields for which the set has a group; wall_ms is the caller's. */
int cgroup_read_usage(const struct cgroup_set *s, struct cgroup_usage *u, struct err *e);
int cgroup_freeze(const struct cgroup_set *s, bool freeze, struct err *e); /* waits until frozen */
/* The same without waiting: what a tracer holds now would not go on if it let go. -1 with errno. */
int cgroup_freeze_mark(const struct cgroup_set *s, bool freeze);
/* Moves a process to the root of the hierarchy by which the set is frozen: it is not frozen with the set then. -1 with errno. */
int cgroup_freeze_leave(const struct cgroup_set *s, pid_t pid);
bool cgroup_frozen(const struct cgroup_set *s);
/* SIGKILL: cgroup.kill, else freeze and kill in rounds until it is empty. Others: to each member while they are
 * frozen; a group that was frozen before stays so. */
int cgroup_kill(const struct cgroup_set *s, int sig, struct err *e);
bool cgroup_empty(const struct cgroup_set *s);  /* no living member, or no group any more */
bool cgroup_exists(const struct cgroup_set *s);
uid_t cgroup_owner(const struct cgroup_set *s); /* of the group's directory; (uid_t)-1: there is none */
int cgroup_remove(struct cgroup_set *s, struct err *e);  /* groups below first; waits briefly for dying members */

#endif
