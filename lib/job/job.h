/* job: the job record STATE/jobs/JOBID/job, and what a job's processes are.
 *
 * KEY="value" lines:
 *   JOBID STATE ("running", "stopped", "done") KIND ("cgroup" or "tree") USER UID GID
 *   SUPERVISOR (pid) SUPERVISOR_START (its start time, clock ticks: PIDs are reused)
 *   MAIN (pid of COMMAND) MAIN_START
 *   CGROUP_<controller>=path ...  (only KIND=cgroup; the mount-relative path per hierarchy)
 *   NSINIT (pid of the job's namespace init, only jobs restarted in their own namespaces; 0)
 *   STARTED, ENDED (seconds since the epoch), EXIT (code) or SIGNAL (number), CHECKPOINTER ("engine")
 *   STDIN STDOUT STDERR (files of a detached job) CWD COMMAND (as one shell-quoted line)
 *   WALL_MS CPU_USER_US CPU_SYS_US MEM_PEAK IO_READ IO_WRITE PROCS_PEAK (usage)
 * Versions of its checkpoints are STATE/checkpoints/JOBID/N.tar. */
#ifndef XOS_JOB_H
#define XOS_JOB_H

#include "cgroup/cgroup.h"
#include "common/err.h"
#include "common/proc.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { JOBID_MAX = 64 };
enum job_state { JOB_RUNNING, JOB_STOPPED /* checkpointed with -k */, JOB_DONE };
enum job_kind { JOB_CGROUP, JOB_TREE };

struct job {
	char id[JOBID_MAX + 1];
	enum job_state state;
	enum job_kind kind;
	uid_t uid; gid_t gid;
	pid_t supervisor; uint64_t supervisor_start;
	pid_t main; uint64_t main_start;
	pid_t nsinit;
	int64_t started, ended;          /* seconds since the epoch, 0: not yet */
	int exit_code, exit_signal;      /* -1: none */
	char *cwd, *command, *in, *out, *err;  /* owned, may be NULL */
	struct cgroup_set cg;            /* only kind JOB_CGROUP */
	struct cgroup_usage usage;
	int statedir;                    /* fd of STATE, owned */
	int dir;                         /* fd of STATE/jobs/JOBID, owned */
	int lock;                        /* fd that holds the job's lock, -1 */
};

bool job_id_valid(const char *id);
/* Makes STATE/jobs/JOBID (id NULL: the next free number) and its first record. EX_BUSY when a job of that id still runs;
 * the record of a job that is done is replaced, its checkpoints are kept. */
int job_create(struct job **j, const char *state_dir, const char *id, struct err *e);
/* Reads the record, and repairs it first when the supervisor is gone but the record says running: kills
 * nothing that still runs on its own; records the end, removes the empty groups. EX_NOSUCH when there is none. */
int job_open(struct job **j, const char *state_dir, const char *id, struct err *e);
int job_lock(struct job *j, bool wait, struct err *e);  /* EX_BUSY when !wait */
void job_unlock(struct job *j);
int job_save(struct job *j, struct err *e);             /* atomic replacement of the record */
void job_free(struct job *j);
/* All ids in STATE/jobs (and those that only have checkpoints), sorted numbers first. */
int job_list(char ***ids, size_t *n, const char *state_dir, struct err *e);
void job_list_free(char **ids, size_t n);
/* Living members: cgroup.procs, or all descendants of the supervisor (the supervisor and NSINIT themselves left out). */
int job_pids(struct job *j, struct pid_list *out, struct err *e);
int job_kill(struct job *j, int sig, struct err *e);        /* every process, none escapes (cgroup.kill or rounds) */
int job_freeze(struct job *j, bool freeze, struct err *e);  /* group freezer, or SIGSTOP/SIGCONT rounds for trees */

/* Versions: STATE/checkpoints/JOBID/N.tar */
int job_versions(const char *state_dir, const char *id, uint64_t **v, size_t *n, struct err *e); /* ascending; owned by caller */
int job_version_path(const char *state_dir, const char *id, uint64_t version, char *out, size_t n);
/* A file for the next version, not yet visible: its descriptor (O_TMPFILE, or a dot-name), and the number it will have.
 * The caller holds the job's lock. */
struct job_newversion { int fd; int dir; uint64_t version; char tmp[64]; };
int job_version_begin(struct job_newversion *nv, const char *state_dir, const char *id, struct err *e);
int job_version_commit(struct job_newversion *nv, struct err *e); /* fsync, linkat/rename to N.tar, fsync of the directory */
void job_version_abort(struct job_newversion *nv);
int job_version_prune(const char *state_dir, const char *id, size_t keep, struct err *e);

#endif
