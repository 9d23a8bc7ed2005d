/* job: the job record STATE/jobs/JOBID/job, and what a job's processes are.
 *
 * KEY="value" lines:
 *   JOBID STATE ("running", "stopped", "done") KIND ("cgroup" or "tree") USER OWNER_UID OWNER_GID (bash cannot
 *   source a file that sets UID)
 *   SUPERVISOR (pid, 0: it was killed and the members live on) SUPERVISOR_START (its start time, clock ticks: PIDs are reused)
 *   MAIN (pid of COMMAND) MAIN_START SESSION (the session in which COMMAND began, when it is not the job's own; 0)
 *   CGROUP_<controller> ...  (only KIND=cgroup; MOUNT:PATH:CONTROLLERS per
 *   hierarchy, named by its first controller; CGROUP_V2 the unified one) CGROUP_ID (see cgroup_set.id)
 *   NSINIT (pid of the job's namespace init, only jobs restarted in their own namespaces; 0)
 *   STARTED, ENDED (seconds since the epoch), EXIT (code) or SIGNAL (number), CHECKPOINTER ("engine")
 *   STDIN STDOUT STDERR (files of a detached job) CWD COMMAND (as one shell-quoted line)
 *   SUBSYSTEMS LIMITS (as given to xcgexec, so that a restart can give the same ones) TMP TMP_KIND (scratch.h)
 *   MARK (see below)
 *   WALL_MS CPU_USER_US CPU_SYS_US MEM_PEAK IO_READ IO_WRITE PROCS_PEAK (usage)
 * Versions of its checkpoints are STATE/checkpoints/JOBID/N.tar.
 *
 * Members of a tree job whose supervisor was killed have been reparented and nothing in the kernel ties
 * them together. They are found again by MARK: each job has a random word that COMMAND gets as XOS_JOB_MARK in
 * its environment, so that /proc/PID/environ of its descendants shows it; added are the descendants of those
 * found, and every process of a session that one of them is in and that began inside the job. The mark needs
 * no privilege, survives reparenting, exec, checkpoint and restart (it is part of the memory), and unlike
 * XOS_JOBID cannot match another run. What a process escapes by: overwriting its environment *and* starting
 * a session of its own *and* losing its parent. Only for jobs without a group and without supervisor. */
#ifndef XOS_JOB_H
#define XOS_JOB_H

#include "cgroup/cgroup.h"
#include "common/err.h"
#include "common/proc.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { JOBID_MAX = 64, JOB_MARK_LEN = 16 };
enum job_state { JOB_RUNNING, JOB_STOPPED /* checkpointed with -k */, JOB_DONE };
enum job_kind { JOB_CGROUP, JOB_TREE };

struct job {
	char id[JOBID_MAX + 1];
	enum job_state state;
	enum job_kind kind;
	uid_t uid; gid_t gid;
	pid_t supervisor; uint64_t supervisor_start;
	pid_t main; uint64_t main_start;
	pid_t session;
	pid_t nsinit;
	int64_t started, ended;          /* seconds since the epoch, 0: not yet */
	int exit_code, exit_signal;      /* -1: none */
	char *cwd, *command, *in, *out, *err;  /* owned, may be NULL */
	char *checkpointer;              /* owned, NULL: "engine" */
	char *subsystems, *limits;       /* owned, may be NULL; limits: NAME=VALUE words with a space between */
	char *netlock;                   /* owned, NULL: none; the table that holds packets of a stopped job: netlock.h */
	char *tmp, *tmp_kind;            /* owned, may be NULL; see scratch.h */
	char mark[JOB_MARK_LEN + 1];
	struct cgroup_set cg;            /* only kind JOB_CGROUP */
	struct cgroup_usage usage;
	uid_t owner;                     /* of the record's file; root trusts another user's record only as far as his own processes */
	char *state_path;                /* STATE, owned */
	int statedir;                    /* fd of STATE, owned */
	int dir;                         /* fd of STATE/jobs/JOBID, owned */
	int lock;                        /* fd that holds the job's lock, -1 */
};

bool job_id_valid(const char *id);
/* Makes STATE/jobs/JOBID (id NULL: the next free number) and its first record, with the caller as supervisor.
 * EX_BUSY when a job of that id still runs; the record of a job that is done or stopped is replaced (MARK, TMP, LIMITS
 * and SUBSYSTEMS of a stopped one are kept, for the restart), its checkpoints are kept. */
int job_create(struct job **j, const char *state_dir, const char *id, struct err *e);
/* The same for a new command: a stopped job of that id is EX_BUSY too, because it waits for its restart. Returns with the
 * lock held and nothing written yet; job_groups_make() and job_start() write the record, then job_unlock(). */
int job_create_new(struct job **j, const char *state_dir, const char *id, struct err *e);
/* Reads the record, and repairs it first when the supervisor is gone but the record says running: kills
 * nothing that still runs on its own; records the end, removes the empty groups. EX_NOSUCH when there is none. */
int job_open(struct job **j, const char *state_dir, const char *id, struct err *e);
/* The same without repairing: for state that belongs to another user. */
int job_peek(struct job **j, const char *state_dir, const char *id, struct err *e);
/* Takes the job's lock and then reads the record anew, since it may have changed meanwhile: fields set before
 * and not saved are lost. EX_BUSY when !wait and it is held. Nothing happens when j holds it already. */
int job_lock(struct job *j, bool wait, struct err *e);
void job_unlock(struct job *j);
int job_set_netlock(struct job *j, const char *name, struct err *e); /* name: NULL: none */
int job_save(struct job *j, struct err *e);             /* atomic replacement of the record, synced */
/* Atomic but not synced: after a crash of the machine a running job is over anyway. */
int job_save_quick(struct job *j, struct err *e);
void job_free(struct job *j);
/* All ids in STATE/jobs (and those that only have checkpoints), sorted numbers first. */
int job_list(char ***ids, size_t *n, const char *state_dir, struct err *e);
void job_list_free(char **ids, size_t n);
bool job_supervised(const struct job *j);                /* the supervisor lives */
/* For a job whose record says stopped: waits, 10 s at most, until its supervisor has removed its groups and gone. */
void job_wait_unsupervised(const char *state_dir, const char *id);
/* Living members: cgroup.procs, or all descendants of the supervisor (the supervisor and NSINIT themselves left out). */
int job_pids(struct job *j, struct pid_list *out, struct err *e);
int job_kill(struct job *j, int sig, struct err *e);        /* every process, none escapes (cgroup.kill or rounds) */
int job_freeze(struct job *j, bool freeze, struct err *e);  /* group freezer, or SIGSTOP/SIGCONT rounds for trees */
bool job_frozen(struct job *j);                          /* all of its members are stopped */
/* Current usage: of the group, or the sums over a tree's members. */
int job_usage(struct job *j, struct cgroup_usage *u, struct err *e);
/* What is done once a job has no members any more: usage of the group into the record, groups and (unless the state
 * is stopped) the scratch directory removed, ENDED set, record saved. The caller holds the lock. */
int job_finish(struct job *j, enum job_state state, struct err *e);

/* argv as one line that a shell takes apart again; malloc'ed, NULL: no memory. */
char *job_quote(char *const *argv);

/* Versions: STATE/checkpoints/JOBID/N.tar */
int job_versions(const char *state_dir, const char *id, uint64_t **v, size_t *n, struct err *e); /* ascending; owned by caller */
int job_version_path(const char *state_dir, const char *id, uint64_t version, char *out, size_t n);
/* A file for the next version, not yet visible: its descriptor (O_TMPFILE, or a dot-name), and the number it will have.
 * The caller holds the job's lock. */
struct job_newversion { int fd; int dir; uint64_t version; char tmp[64]; };
int job_version_begin(struct job_newversion *nv, const char *state_dir, const char *id, struct err *e);
/* The same two for versions in any directory. */
int job_versions_in(const char *path, uint64_t **v, size_t *n, struct err *e);
int job_version_begin_in(struct job_newversion *nv, const char *path, struct err *e);
int job_version_commit(struct job_newversion *nv, struct err *e); /* fsync, linkat/rename to N.tar, fsync of the directory */
void job_version_abort(struct job_newversion *nv);
int job_version_prune(const char *state_dir, const char *id, size_t keep, struct err *e);

#endif
