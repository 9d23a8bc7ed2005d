/* threads: the threads of a process, and the last steps before it runs.
 *
 * Threads are made by their leader; a newborn thread stands before its first instruction and needs no stack. The boot area
 * is removed last, by the vDSO's own syscall instruction; then every thread stands at an event stop, where
 * registers with an interrupted system call follow the kernel's own restart rules. */
#include "cr/clone3.h"
#include "cr/internal.h"
#include "common/cleanup.h"
#include "res/mm.h"
#include "res/proc_ops.h"

#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { RESTART_NOHAND = 514, RESTART_BLOCK = 516 };

/* The thread that is not known yet; 0: none. */
static pid_t newborn(const struct rproc *p)
{
	char path[32];
	AUTO_DIR DIR *dir = NULL;

	snprintf(path, sizeof path, "/proc/%d/task", p->made);
	dir = opendir(path);
	for (const struct dirent *x; dir && (x = readdir(dir));) {
		pid_t tid = (pid_t)atoi(x->d_name);
		bool known = !tid;

		for (size_t i = 0; i < p->t->nthr && !known; i++)
			known = p->t->thr[i].tid == tid;
		if (!known)
			return tid;
	}
	return 0;
}

/* One that got another number ends again. */
static int discard(struct restore *r, struct rproc *p, pid_t tid, struct err *e)
{
	struct remote *rem;

	if (tracee_adopt_thread(p->t, tid, e) || remote_begin_at(&rem, p->t, p->t->nthr - 1, r->boot, e))
		return -1;
	return tracee_end_thread(p->t, rem, e);
}

static int make_thread(struct restore *r, struct rproc *p, struct rthread *th, struct err *e)
{
	struct numbers nums;
	long ret = 0;

	clone3_numbers(r, p, th->tid, th->nspid, th->nnspid, &nums);
	for (int tries = 0; tries < CLONE3_TRIES; tries++) {
		struct clone3_args a = { .flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM };
		pid_t tid;

		ret = -EEXIST;
		if (!clone3_wait_free(&nums))
			continue;
		if (remote_room(p->rem, 1, sizeof a + sizeof nums.v, e) || clone3_remote(p, &a, &nums, &ret, e))
			return -1;
		if (ret < 0)
			break;
		tid = nums.may == nums.n ? th->tid : newborn(p);
		if (tid == th->tid && !clone3_right_below(tid, &nums))
			return err_set(e, EX_BUSY, "thread %d: its number in a PID namespace of the job is in use", tid);
		if (tid == th->tid) {
			th->index = p->t->nthr;
			return tracee_adopt_thread(p->t, tid, e);
		}
		if (!tid || discard(r, p, tid, e))
			return err_is_set(e) ? -1 : err_set(e, EX_FAILED, "thread %d was lost when it was made", th->tid);
		ret = -EEXIST;
	}
	errno = (int)-ret;
	return errno == EEXIST ? err_set(e, EX_BUSY, "PID %d is in use", th->tid) : err_sys(e, "cannot make thread %d", th->tid);
}

/* It has the credentials and so on that it had, and nothing of it comes after: no cleared address, no futex, no signal when a
 * parent dies. From here on the first of the others is the leader. */
static int end_leader(struct restore *r, struct rproc *p, struct err *e)
{
	static const struct res_ops *const stays[] = { &res_comm, &res_sched, &res_creds };
	struct rthread *gone = &p->thr[p->nthr];
	uint64_t insn = tracee_find_syscall(p->t, r->boot, r->boot + TRACEE_BOOT_SIZE);

	gone->index = 0;
	for (size_t k = 0; k < sizeof stays / sizeof *stays; k++)
		if (stays[k]->restore_thread(r, p, gone, e))
			return err_prefix(e, "thread %d: %s", gone->tid, stays[k]->name);
	if (remote_room(p->rem, 3, 0, e))
		return -1;
	remote_call(p->rem, "prctl(PR_SET_PDEATHSIG)", REMOTE_MUST, SYS_prctl, PR_SET_PDEATHSIG, 0, 0, 0, 0, 0);
	remote_call(p->rem, "set_tid_address", REMOTE_MUST, SYS_set_tid_address, 0, 0, 0, 0, 0, 0);
	remote_call(p->rem, "set_robust_list", REMOTE_MUST, SYS_set_robust_list, 0, 24, 0, 0, 0, 0);
	if (remote_run(p->rem, e))
		return -1;
	remote_leave(p->rem);
	p->rem = NULL;
	return tracee_exit_thread(p->t, 0, insn, p->leader_status, e) || remote_begin_at(&p->rem, p->t, p->thr[0].index, r->boot, e) ? -1 : 0;
}

int threads_make(struct restore *r, struct rproc *p, struct err *e)
{
	for (size_t i = !p->headless; i < p->nthr; i++)
		if (make_thread(r, p, &p->thr[i], e))
			return -1;
	return p->headless ? end_leader(r, p, e) : 0;
}

static int restore_one(struct restore *r, struct rproc *p, struct rthread *th, struct err *e)
{
	for (size_t k = 0; res_table[k]; k++)
		if (res_table[k]->restore_thread && res_table[k]->restore_thread(r, p, th, e))
			return err_prefix(e, "thread %d: %s", th->tid, res_table[k]->name);
	return 0;
}

int threads_restore(struct restore *r, struct rproc *p, struct err *e)
{
	struct remote *leader = p->rem;

	for (size_t i = 1; i < p->nthr; i++) {
		int rc;

		p->rem = NULL;
		if (remote_begin_at(&p->rem, p->t, p->thr[i].index, r->boot, e)) {
			p->rem = leader;
			return -1;
		}
		rc = restore_one(r, p, &p->thr[i], e);
		remote_leave(p->rem);
		p->rem = leader;
		if (rc)
			return -1;
	}
	return restore_one(r, p, &p->thr[0], e);
}

static uint64_t syscall_insn(struct rproc *p)
{
	uint64_t at = p->mm->vdso ? tracee_find_syscall(p->t, p->mm->vdso_text, p->mm->vdso_end) : 0;

	for (size_t i = 0; i < p->mm->n && !at; i++)
		if (p->mm->v[i].prot & PROT_EXEC)
			at = tracee_find_syscall(p->t, p->mm->v[i].start, p->mm->v[i].end);
	return at;
}

static int load_registers(struct rproc *p, struct rthread *th, uint64_t insn, struct err *e)
{
	struct tthread *t = &p->t->thr[th->index];
	struct user_regs_struct regs;
	AUTO_BUF struct buf x = BUF_INIT;
	uint64_t mask;

	if (thread_registers(p, th, &regs, &mask, &x, e))
		return -1;
	/* The restart block of the old thread is not here: where it is not known what remains, the call is made again from its start. */
	if ((long)regs.orig_rax >= 0 && (long)regs.rax == -RESTART_BLOCK && !tracee_rest(p->t, th->index, insn, &regs))
		regs.rax = (unsigned long long)-RESTART_NOHAND;
	return thread_set_xstate(t, x.p, x.len, e) || thread_set_regs(t, &regs, e) || thread_set_sigmask(t, mask, e) ? -1 : 0;
}

int threads_finish(struct restore *r, struct rproc *p, struct err *e)
{
	uint64_t insn = syscall_insn(p);

	if (!insn)
		return err_set(e, EX_MISFIT, "no system call instruction is left in its memory");
	remote_leave(p->rem);
	p->rem = NULL;
	for (size_t i = 1; i < p->nthr; i++)
		if (tracee_event_stop(p->t, p->thr[i].index, e))
			return -1;
	if (tracee_munmap_by(p->t, p->thr[0].index, insn, r->boot, TRACEE_BOOT_SIZE, e))
		return -1;
	for (size_t i = 0; i < p->nthr; i++)
		if (load_registers(p, &p->thr[i], insn, e))
			return err_prefix(e, "thread %d", p->thr[i].tid);
	return 0;
}
