/* proc_ops: the state of processes and threads, one resource a file. table.c holds their order; what the
 * files need among themselves stands at the end (proc_util.c).
 *
 * The order of the table (late() goes through it backwards, see cr/restart.c):
 *
 *     unsupported, ns, clocks, ctty, umask, fs, sigaction, procfs, rlimit, mlockall, comm, sched, seccomp, creds, keyring, prctl, thread,
 *     locks, sysv, sigpending, posix_timer, itimer, pidfd, mqueue, uring, aio, ns_enter
 *
 * restore_thread(): scheduling needs the restorer's credentials, so it comes before creds (as oom_score_adj and raised
 * hard limits do: those are set in restore(), before any restore_thread()). A seccomp filter may need CAP_SYS_ADMIN of the
 * thread, so it comes before creds too; nothing is filtered while the tracer suspends it. A change of credentials
 * clears pdeathsig and dumpable, so prctl comes after. rseq is the last call of thread.
 * restore() of ns_enter comes last: in a user namespace of its own a process has no right over anything outside.
 * Keys belong to who makes them, so keyring comes after creds.
 * late(): sigpending empties the queues, fills them, and has the timers armed, which may add their own at once (in one
 * function: no other order would do); dumpable and MDWE (prctl) and then the limits come last, so that they hinder nobody;
 * mlockall between them, when nothing is mapped any more. */
#ifndef XOS_PROC_OPS_H
#define XOS_PROC_OPS_H

#include "res/res.h"

extern const struct res_ops res_unsupported;  /* unsupported.c: what cannot be restored, refused by name */
extern const struct res_ops res_ns;           /* ns.c: namespaces, and what processes or threads share unusually */
extern const struct res_ops res_ns_enter;     /* ns_enter.c: into namespaces of their own */
extern const struct res_ops res_member_group; /* member_group.c: control groups below the job's */
extern const struct res_ops res_umask;
extern const struct res_ops res_fs;           /* fs.c: working and root directory */
extern const struct res_ops res_sigaction;
extern const struct res_ops res_sigpending;
extern const struct res_ops res_procfs;       /* procfs.c: oom_score_adj, coredump_filter, autogroup nice */
extern const struct res_ops res_rlimit;
extern const struct res_ops res_mlockall;     /* mm_lock.c: new mappings are locked */
extern const struct res_ops res_prctl;        /* prctl.c, prctl_table.c: what prctl(2) and its like set, personality too */
extern const struct res_ops res_comm;
extern const struct res_ops res_sched;
extern const struct res_ops res_seccomp;
extern const struct res_ops res_creds;
extern const struct res_ops res_thread;       /* thread.c: robust list, tid address, altstack, memory policy, rseq */
extern const struct res_ops res_sysv;         /* sysv_dump.c: System V IPC */
extern const struct res_ops res_clocks;       /* clocks.c: of the whole job */
extern const struct res_ops res_posix_timer;
extern const struct res_ops res_itimer;
extern const struct res_ops res_keyring;      /* keyring.c: session, process and thread keyrings */
extern const struct res_ops res_uring;        /* fd_uring.c: mapped rings, registered buffers */
extern const struct res_ops res_tcp_map;      /* tcp_map.c: mapped TCP sockets */
extern const struct res_ops res_aio;          /* aio.c: contexts of io_setup */
extern const struct res_ops res_mqueue;       /* fd_mqueue.c: who is to be notified */
extern const struct res_ops res_pidfd;        /* fd_pidfd.c: processes take their pidfds, when all threads exist */

/* TYPE names of all records that these write, NULL-terminated. */
extern const char *const res_proc_types[];

/* The checkpoint of timers: sigpending calls them. *threads: some notify a single thread. */
int posix_timer_ask(struct dproc *p, bool *threads, struct err *e);
int itimer_ask(struct dproc *p, struct err *e);
/* The late part of timers: sigpending calls them. */
int posix_timer_arm(struct rproc *p, struct err *e);
int itimer_arm(struct rproc *p, struct err *e);

/* mempolicy.c, part of thread.c: queue the question, write the record after the run. */
struct mempolicy_read { size_t call; uint64_t mode, mask; };
void mempolicy_ask(struct remote *rem, struct mempolicy_read *q);
void mempolicy_put(struct remote *rem, const struct mempolicy_read *q, struct buf *out);
int mempolicy_verify(struct rproc *p, const struct rthread *th, struct err *e);
int mempolicy_restore(struct rproc *p, const struct rthread *th, struct err *e);

/* ---- proc_util.c: for these files only ---- */
struct remote *thread_rem(const struct dproc *p, const struct dthread *th); /* the leader has p->rem */
/* Writes text to /proc/PID/NAME in one write. -1 with errno. */
int proc_write(pid_t pid, const char *name, const char *text);
/* One number from /proc/PID/NAME in that base. 0, or -1 with errno (ENOENT: this kernel has no such file). */
int proc_read_num(pid_t pid, const char *name, int base, int64_t *out);
/* Does the restorer itself have this capability, and does it count against the whole machine? */
bool proc_capable(const struct restore *r, int cap);
/* The image was written by a user who is neither root nor the restorer, and --trust was not given: what this user could
 * not do himself must not be done for him. */
bool proc_untrusted(const struct restore *r);
/* A signal number that a handler or a queue can have. */
static inline bool signal_ok(uint64_t sig) { return sig >= 1 && sig <= 64 && sig != 9 && sig != 19; }

#endif
