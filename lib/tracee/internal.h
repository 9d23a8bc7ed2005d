/* internal: what the files of lib/tracee share. */
#ifndef XOS_TRACEE_INTERNAL_H
#define XOS_TRACEE_INTERNAL_H

#include "tracee/arch/x86_64/arch.h"
#include "tracee/pt.h"
#include "tracee/tracee.h"

enum {
	SCRATCH_SIZE = 128 * 1024, SCRATCH_SMALL = 8 * 1024, /* the small one where memory is locked or short */
	SCRATCH_HEAD = 64,      /* struct scratch_head */
	REMOTE_MAX_CALLS = 1024,
	NEVER = -1,             /* as a deadline */
};
struct scratch_head { uint64_t magic, nonce; };

struct remote {
	struct tracee *t;
	size_t i;               /* index of the thread */
	bool boot;              /* variant (b) */
	uint64_t stub, scratch, len;
	int sig;                /* rendezvous signal */
	unsigned strays;        /* foreign rendezvous signals, to be sent again */
	bool astray;            /* the thread is not at the rendezvous: its rip must be set */
	bool done;              /* the queue has been run: the next call starts a new one */
	bool running, overflow;
	size_t ncalls, maxcalls, data0, data; /* data: offset of the next byte in img */
	size_t child_left;      /* entries reserved for the list of the last remote_clone */
	size_t child_off;       /* where the next of them goes in img */
	struct pid_list born;
	const struct remote_watch *watch;
	char *img;              /* local copy of the scratch area */
	struct { const char *what; int flags; } meta[REMOTE_MAX_CALLS];
};

int64_t mono_ms(void);
/* Sleeps a little, longer with every round: for waits with a deadline. */
void wait_a_little(unsigned round);

/* detach.c: PTRACE_DETACH of a stopped thread. One that dies meanwhile is no failure; its remains are reaped. */
int thread_let_go(struct tracee *t, struct tthread *th, struct err *e);

/* attach.c */
struct tracee *tracee_new(pid_t pid);
void tracee_free(struct tracee *t);
struct tthread *tracee_add(struct tracee *t, pid_t tid);
struct tthread *tracee_find(struct tracee *t, pid_t tid);
/* SEIZE, without SUSPEND_SECCOMP where that is refused. -1 with errno. */
int tracee_seize(struct tracee *t, pid_t tid, unsigned long options);
bool traced_by_us(pid_t tid);
/* Adds and seizes the threads that are not known yet. */
int tracee_scan(struct tracee *t, size_t *added, struct err *e);
int tracee_open_mem(struct tracee *t, struct err *e);
/* Registers, mask and rseq of a thread that has just stopped. */
int thread_save(struct tracee *t, struct tthread *th, struct err *e);

/* journal.c */
/* Where the stub goes; *found: a journal is there already (copied to *j). -1: nowhere. */
int place_find(struct tracee *t, uint64_t *addr, bool *found, struct stub_journal *j, struct err *e);
uint64_t place_hole(const struct proc_maps *m, uint64_t len, unsigned attempt);
int stub_wipe(struct tracee *t, struct err *e);

/* session.c: a thread inside the stub */
int session_enter(struct remote *r, struct err *e);
/* Waits until the thread is at the rendezvous; deadline_ms may be NEVER. 1: not in time. */
int session_wait(struct remote *r, int64_t deadline_ms, struct err *e);
/* From the rendezvous out of the stub: scratch unmapped, mask and th->regs put back, event stop. */
int session_leave(struct remote *r, struct err *e);

/* heal.c */
int tracee_heal(struct tracee *t, struct err *e);
void remote_free(struct remote *r);
void remote_drop(struct remote *r); /* back to its tracee, for the next one */
struct remote *remote_new(struct tracee *t, size_t i, struct err *e);

#endif
