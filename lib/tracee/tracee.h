/* tracee: remote control of processes with ptrace(2). Knows nothing of images.
 *
 * A tracee is one process (thread group). Life of one under a checkpoint:
 *
 *     tracee_attach   SEIZE + INTERRUPT every thread           (does not wait)
 *     tracee_collect  wait until every thread stands            -> THREAD_STOPPED
 *     remote_begin    prepare one thread to run system calls    -> THREAD_REMOTE
 *       remote_call, remote_put, remote_run ...
 *     remote_end      put everything back                       -> THREAD_STOPPED
 *     tracee_detach   let every thread go on as if nothing had been
 *
 * Promise: at whatever instant the tracer dies, the tracee goes on by itself with its own
 * registers, mask and memory (self-healing stub, see stub.S and HACKING.md).
 *
 * Under a restart the tracer made the process itself and kills it when it fails: there
 * tracee_adopt and remote_begin_at are used, with no journal.
 *
 * A remote system call has two results: whether it could be run (return value of
 * remote_run) and what it returned (remote_ret). They are never mixed. */
#ifndef XOS_TRACEE_H
#define XOS_TRACEE_H

#include "common/buf.h"
#include "common/err.h"
#include "common/proc.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

enum thread_state {
	THREAD_GONE,      /* exited */
	THREAD_RUNNING,   /* seized, not yet stopped */
	THREAD_STOPPED,   /* in a ptrace stop; regs and sigmask are saved below */
	THREAD_REMOTE,    /* in the stub, ready for remote_run */
};
struct tthread {
	pid_t tid;
	enum thread_state state;
	bool group_stopped;              /* was stopped by job control (state T) before we came */
	/* At the stop, with orig_rax and the kernel's -ERESTART* in rax: what the thread goes on with, and
	 * what an image stores. Set at a PTRACE_EVENT_STOP of any thread, the kernel applies its own
	 * restart rules (a restorer puts -514 for -516, whose restart block is not in an image). Two
	 * things differ from what the kernel showed: a spurious EINTR (epoll_wait, ...) is -514, and
	 * rip inside a restartable sequence is its abort_ip, as the kernel would have made it. */
	struct user_regs_struct regs;
	/* The same for a restorer that cannot use an event stop: orig_rax is -1, an interrupted call
	 * is simply made again (rip back on the syscall instruction). Filled by tracee_collect. */
	struct user_regs_struct restart_regs;
	uint64_t sigmask;                /* blocked signals, bit n-1 = signal n */
	uint64_t rseq_ptr; uint32_t rseq_len, rseq_sig; /* 0 when not registered (PTRACE_GET_RSEQ_CONFIGURATION) */
};
struct tracee {
	pid_t pid;                 /* as this process sees it */
	struct tthread *thr;       /* [0] is the leader; after tracee_collect with zombie_leader the living threads only; owned */
	size_t nthr, capthr;
	bool zombie_leader;        /* the main thread has exited, others live */
	bool files_hidden;         /* and pidfd_getfd cannot be asked for their descriptors (before Linux 6.9) */
	int pidfd;                 /* pidfd_open(2), owned, -1 until attach; with zombie_leader that of a living thread, if it can be */
	int memfd;                 /* /proc/PID/mem O_RDWR, owned */
	uint64_t stub_addr;        /* where the stub lives in it, 0: not written yet */
	bool created_here;         /* tracee_adopt: no healing, killed on tracer's exit */
	bool seccomp_unsuspended;  /* it has a seccomp filter, and we may not suspend it: remote calls would meet the filter */
	bool healed;               /* tracee_collect found a thread that a dead tracer had left in its stub */
	uint64_t caught;           /* signals with a handler, bit n-1 = signal n; filled by tracee_collect */
	bool stub_written;         /* private: to be wiped at the end */
	struct remote *active;     /* private: between remote_begin and remote_end */
	struct remote *spare;      /* private: kept for the next remote_begin */
	struct proc_maps maps;     /* as read at collect (maps, not smaps), before anything of ours is in it */
};

/* Seizes all threads that exist and interrupts them; new threads and children of seized ones
 * attach by themselves (TRACECLONE|TRACEFORK|TRACEVFORK|TRACESYSGOOD, SUSPEND_SECCOMP when permitted).
 * EX_NOSUCH when the process is gone (also a zombie: nothing to do there), EX_PERM, EX_BUSY
 * "is already traced by pid N (NAME)". On failure nothing stays attached. */
int tracee_attach(struct tracee **t, pid_t pid, struct err *e);
/* Waits until all threads stand, attaching those that appeared meanwhile; saves regs, masks, rseq,
 * heals what a dead tracer left (thread inside an old stub, leaked scratch page). deadline_ms:
 * CLOCK_MONOTONIC time; past it -1 EX_FAILED naming the thread and its state. A thread that waits in
 * vfork(2) for a child that is stopped under our own trace cannot stop at all: -1 EX_BUSY at once ("waits in
 * vfork for pid N"); detach everything, the child first, wait a millisecond and begin anew.
 * After a failure the tracee is still there and is to be detached.
 * New children that attached by themselves are appended to `children` (stopping; wrap them with
 * tracee_attached and collect them); with NULL they are let go. */
int tracee_collect(struct tracee *t, int64_t deadline_ms, struct pid_list *children, struct err *e);
/* Wraps a process that is already our ptracee (an auto-attached child); then tracee_collect. */
int tracee_attached(struct tracee **t, pid_t pid, struct err *e);
/* Lets all threads go on; heals first where needed. Group-stopped ones stay stopped. Frees t.
 * Never fails halfway: what can be let go is let go; the first error is reported. */
int tracee_detach(struct tracee *t, struct err *e);
/* Detaches so that the process stays stopped (SIGSTOP pending first) - for `xcheckpoint -s`. */
int tracee_detach_stopped(struct tracee *t, struct err *e);
/* Kills the process (SIGKILL) and reaps its ptrace zombies; frees t. */
void tracee_kill(struct tracee *t);

/* Memory of a stopped tracee. All or nothing: a short transfer is an error naming the address. */
int tracee_read(struct tracee *t, uint64_t addr, void *p, size_t n, struct err *e);   /* process_vm_readv */
int tracee_write(struct tracee *t, uint64_t addr, const void *p, size_t n, struct err *e); /* /proc/PID/mem: also read-only pages */

/* Thread state from outside (the thread must be THREAD_STOPPED). */
int thread_get_xstate(struct tthread *th, struct buf *out, struct err *e);   /* NT_X86_XSTATE, or NT_PRFPREG without XSAVE */
int thread_set_xstate(struct tthread *th, const void *p, size_t n, struct err *e);
int thread_set_regs(struct tthread *th, const struct user_regs_struct *r, struct err *e);
int thread_set_sigmask(struct tthread *th, uint64_t mask, struct err *e);
/* Queued signals (siginfo_t array) of the thread, or with shared of the process; PTRACE_PEEKSIGINFO. */
int thread_peek_signals(struct tthread *th, bool shared, struct buf *out, struct err *e);

/* ---- remote system calls ---- */
struct remote;
enum remote_flags {
	REMOTE_ANY = 0,      /* any result is accepted; look at remote_ret */
	REMOTE_MUST = 1,     /* a result of -4095..-1 makes remote_run fail: "what: strerror" */
};
/* Prepares thread i. Writes stub and journal, maps a scratch area, blocks signals.
 * Cost about 15 microseconds, remote_end the same. One thread of a tracee at a time. */
int remote_begin(struct remote **r, struct tracee *t, size_t i, struct err *e);
/* Queues nr(a0..a5); `what` (static or long-lived string) names it in errors. Returns its index for
 * remote_ret; indices start at 0 again after a run that was followed by new calls. All queued calls are
 * made, also behind one that failed.
 * Fails never: an overflow shows as an error of remote_run. Use remote_room in loops. */
size_t remote_call(struct remote *r, const char *what, int flags, long nr,
		   uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5);
/* A clone call whose child runs a list of its own instead of the calls behind it: `child` calls queued
 * right behind this one with remote_child. The list must end in exit_group, for the child must never
 * leave the stub; with CLONE_VFORK remote_run lets the child run to its end. */
size_t remote_clone(struct remote *r, const char *what, int flags, size_t child, long nr,
		    uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5);
void remote_child(struct remote *r, long nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3,
		  uint64_t a4, uint64_t a5);
/* A child that shares memory with the tracee and that it waits for (CLONE_VM|CLONE_VFORK). With a watch it stands before its first
 * call at `born` (not 0: it is killed), dies with this process from then on, and has ended at `dead`, when the tracee itself may not
 * have gone on yet. Neither may use the remote. */
struct remote_watch { int (*born)(void *ctx, pid_t child); void (*dead)(void *ctx); void *ctx; };
void remote_watch(struct remote *r, const struct remote_watch *w); /* for the rest of r's life; NULL: none */
/* The place of the next remote_child in the tracee: its number, 32 bits, comes first. */
uint64_t remote_child_addr(const struct remote *r);
/* How many calls are queued: the index of the next. */
size_t remote_queued(const struct remote *r);
/* Address in the tracee of argument `arg` of call `index`, for calls that fill in a later one's argument
 * (PARENT_SETTID into the pid of a wait4). */
uint64_t remote_arg_addr(const struct remote *r, size_t index, int arg);
/* Threads and processes born of remote calls of r and still there, as this process numbers them. They
 * stand (or will in a moment) before their first instruction: tracee_adopt, tracee_adopt_thread. */
const struct pid_list *remote_born(const struct remote *r);
/* Copies n bytes (p NULL: zeros) to the scratch area; returns their address in the tracee, 16-aligned.
 * Valid until the next remote_put or remote_call after a remote_run. */
uint64_t remote_put(struct remote *r, const void *p, size_t n);
/* Makes sure that `calls` calls and `bytes` bytes of data more fit: runs what is queued otherwise. */
int remote_room(struct remote *r, size_t calls, size_t bytes, struct err *e);
/* Runs all queued calls. Waits. -1: could not be run (tracee died, ...), or a REMOTE_MUST call failed. */
int remote_run(struct remote *r, struct err *e);
long remote_ret(const struct remote *r, size_t index);     /* -errno or result */
/* The scratch data as it stands after the run (local copy of what remote_put placed, kernel's writes included). */
const void *remote_data(const struct remote *r, uint64_t addr);
/* One call, run at once: the value in *ret. */
int remote_one(struct remote *r, const char *what, long *ret, struct err *e, long nr,
	       uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5);
int remote_end(struct remote *r, struct err *e);   /* frees r in any case */
size_t remote_capacity(const struct remote *r);    /* bytes of data one batch can hold */

/* ---- processes made by a restart ---- */
enum { TRACEE_BOOT_SIZE = 4096 + 256 * 1024 };  /* one code page, then the scratch area */
/* The child calls this (async-signal-safe, no libc state touched after it): maps the boot area at
 * `boot` (MAP_FIXED_NOREPLACE), writes the stub into it, and stops until its tracer has seized it.
 * Returns only on failure, with -errno. */
long tracee_boot_self(uint64_t boot);
/* Wraps a child of ours that is going to stop in tracee_boot_self, or a task born of a
 * remote clone3 (already traced): SEIZE with EXITKILL|TRACECLONE|TRACEFORK|TRACEVFORK|TRACESYSGOOD,
 * waits for its stop. Also for the snapshot that a remote clone made of a checkpointed process: it
 * must not be given to tracee_collect, which would take it for one left by a dead tracer. */
int tracee_adopt(struct tracee **t, pid_t pid, struct err *e);
/* Adds a thread that remote clone3(CLONE_THREAD) made (it has stopped before its first instruction). */
int tracee_adopt_thread(struct tracee *t, pid_t tid, struct err *e);
/* Remote calls through the boot area at `boot` (which must be mapped in this tracee). Several tracees
 * may be between remote_start and remote_finish at the same time. */
int remote_begin_at(struct remote **r, struct tracee *t, size_t i, uint64_t boot, struct err *e);
int remote_start(struct remote *r, struct err *e);   /* lets the queued calls run, does not wait */
int remote_finish(struct remote *r, struct err *e);  /* waits for them: remote_run = start + finish */
/* Ends remote control of a thread without running anything more in it (regs are set later by
 * thread_set_regs): frees r. */
void remote_leave(struct remote *r);
/* Runs ONE munmap(addr, len) by the `syscall` instruction at insn (in the restored vDSO), used to
 * remove the boot area itself; the thread then stands at a PTRACE_EVENT_STOP. */
int tracee_munmap_by(struct tracee *t, size_t i, uint64_t insn, uint64_t addr, uint64_t len, struct err *e);
/* regs: what thread i, which stands in a restart at an event stop, is to go on with. When that is a nanosleep or clock_nanosleep that was
 * interrupted and that told what remains, the thread is put into such a sleep for what remains, interrupted again: the kernel goes on
 * with it when it is let go with regs. regs may come back changed: when the sleep is over, it has returned. False: there is no such
 * sleep, nothing was done. */
bool tracee_rest(struct tracee *t, size_t i, uint64_t insn, struct user_regs_struct *regs);
/* Finds the address of a `syscall` instruction (0f 05) in [start,end) of the tracee. 0: none. */
uint64_t tracee_find_syscall(struct tracee *t, uint64_t start, uint64_t end);
/* Brings the thread to a PTRACE_EVENT_STOP (PTRACE_INTERRUPT, one resume) so that registers set there
 * with orig_rax >= 0 follow the kernel's own restart rules. */
int tracee_event_stop(struct tracee *t, size_t i, struct err *e);
/* Lets thread i of a process of a restart, whose other threads stand, end by exit(2) with wait(2) status `status`, by the
 * `syscall` instruction at insn, and waits until it has. It is no tracee any more then: a first thread stays as a zombie until
 * the others end, and its parent hears of it then. */
int tracee_exit_thread(struct tracee *t, size_t i, uint64_t insn, int status, struct err *e);
/* A thread whose /proc/TID can be read, and which kcmp(2) and the like can be asked of: not a leader that has exited. */
pid_t tracee_alive(const struct tracee *t);
/* Ends a one-threaded process of a restart, under remote control by r, with that wait(2) status, and takes the
 * tracer's share of its zombie. The signal's action must be the default. Frees r and t when it worked. */
int tracee_end(struct tracee *t, struct remote *r, int status, struct err *e);
/* The thread under remote control r, the last of t's and not the first, ends; r is gone then. */
int tracee_end_thread(struct tracee *t, struct remote *r, struct err *e);
/* First call for every thread of every process, then the second: after the first pass the death of the
 * tracer no longer kills them. Killing the restorer between passes never leaves half a job running. */
int tracee_disarm(struct tracee *t, struct err *e);     /* PTRACE_SETOPTIONS 0 */
int tracee_release(struct tracee *t, struct err *e);    /* PTRACE_DETACH all threads, frees t */

#endif
