/* thread: what a thread has registered with the kernel about its own memory: its robust futex list, the address that
 * is cleared when it exits, its signal stack, its rseq area.
 *
 * All that a thread must be asked itself at a checkpoint is asked here in one batch, for creds.c and prctl.c too: a
 * batch costs more than all the calls in it, and there may be thousands of threads. */
#include "res/creds.h"
#include "res/prctl_table.h"

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef PR_GET_TID_ADDRESS
#define PR_GET_TID_ADDRESS 40
#endif
#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif
enum { ROBUST_LEN = 24 /* the only length that the kernel takes */, RSEQ_LEN_MIN = 32, RSEQ_LEN_MAX = 4096 };

struct altstack { uint64_t sp; int32_t flags, pad; uint64_t size; };

static void altstack_put(struct buf *out, const struct altstack *s)
{
	if (s->flags & SS_DISABLE)
		return;
	rec_begin(out, "altstack");
	rec_put_hex(out, "START", s->sp);
	rec_put_hex(out, "SIZE", s->size);
	/* SS_ONSTACK only says where the stack pointer is now. */
	rec_put_i64(out, "AUTODISARM", (s->flags & (int32_t)SS_AUTODISARM) != 0);
	rec_end(out);
}

static void thread_put(struct buf *out, const struct tthread *t, uint64_t tid_address, uint64_t robust)
{
	rec_begin(out, "tid_address");
	rec_put_hex(out, "ADDRESS", tid_address);
	rec_end(out);
	if (robust) {
		rec_begin(out, "robust_list");
		rec_put_hex(out, "HEAD", robust);
		rec_end(out);
	}
	if (t->rseq_ptr) {
		rec_begin(out, "rseq");
		rec_put_hex(out, "ADDRESS", t->rseq_ptr);
		rec_put_u64(out, "LENGTH", t->rseq_len);
		rec_put_hex(out, "SIGNATURE", t->rseq_sig);
		rec_end(out);
	}
}

static int thread_dump_thread(struct dump *d, struct dproc *p, struct dthread *th, struct err *e)
{
	struct remote *rem = thread_rem(p, th);
	uint64_t stack, address, tid_address, head = 0;
	size_t len = 0, call, securebits;
	struct mempolicy_read policy;
	struct prctl_read values;
	struct altstack s;

	if (remote_room(rem, PRCTL_MAX, PRCTL_MAX * 16 + 256, e) < 0)
		return -1;
	stack = remote_put(rem, NULL, sizeof s);
	address = remote_put(rem, NULL, sizeof tid_address);
	remote_call(rem, "sigaltstack", REMOTE_MUST, SYS_sigaltstack, 0, stack, 0, 0, 0, 0);
	call = remote_call(rem, "prctl", REMOTE_ANY, SYS_prctl, PR_GET_TID_ADDRESS, address, 0, 0, 0, 0);
	securebits = remote_call(rem, "prctl", REMOTE_ANY, SYS_prctl, PR_GET_SECUREBITS, 0, 0, 0, 0, 0);
	mempolicy_ask(rem, &policy);
	prctl_ask_thread(rem, &values);
	if (remote_run(rem, e) < 0)
		return -1;
	if (remote_ret(rem, call) < 0) /* a kernel without CONFIG_CHECKPOINT_RESTORE */
		return err_set(e, EX_CANNOT_CKPT, "this kernel does not tell clear_child_tid (CONFIG_CHECKPOINT_RESTORE)");
	memcpy(&s, remote_data(rem, stack), sizeof s);
	memcpy(&tid_address, remote_data(rem, address), sizeof tid_address);
	if (syscall(SYS_get_robust_list, th->tid, &head, &len) < 0)
		return err_sys(e, "get_robust_list");
	thread_put(&p->out, th->t, tid_address, head);
	altstack_put(&p->out, &s);
	mempolicy_put(rem, &policy, &p->out);
	prctl_put_thread(rem, &values, &p->out);
	return creds_put_thread(p, th, remote_ret(rem, securebits), e);
}

struct thread_state_ {
	uint64_t tid_address, robust;
	struct altstack stack;
	uint64_t rseq, rseq_len, rseq_sig;
};

static int altstack_get(const struct rec *rec, struct altstack *s, struct err *e)
{
	uint64_t disarm;

	if (rec_u64(rec, "START", RES_TASK_SIZE, &s->sp, e) < 0 ||
	    rec_u64(rec, "SIZE", RES_TASK_SIZE, &s->size, e) < 0 ||
	    rec_u64(rec, "AUTODISARM", 1, &disarm, e) < 0)
		return -1;
	s->flags = disarm ? (int32_t)SS_AUTODISARM : 0;
	return 0;
}

static int thread_get(struct rproc *p, const struct rthread *th, struct thread_state_ *s, struct err *e)
{
	struct rec rec;

	*s = (struct thread_state_){ .stack.flags = SS_DISABLE };
	if (rthread_rec(p, th, "tid_address", 0, &rec) < 0)
		return err_set(e, EX_BAD_IMAGE, "thread %d: there is no tid_address record", th->tid);
	if (rec_u64(&rec, "ADDRESS", RES_TASK_SIZE, &s->tid_address, e) < 0)
		return -1;
	if (rthread_rec(p, th, "robust_list", 0, &rec) >= 0 &&
	    rec_u64(&rec, "HEAD", RES_TASK_SIZE, &s->robust, e) < 0)
		return -1;
	if (rthread_rec(p, th, "altstack", 0, &rec) >= 0 && altstack_get(&rec, &s->stack, e) < 0)
		return -1;
	if (rthread_rec(p, th, "rseq", 0, &rec) < 0)
		return 0;
	if (rec_u64(&rec, "ADDRESS", RES_TASK_SIZE, &s->rseq, e) < 0 ||
	    rec_u64(&rec, "LENGTH", RSEQ_LEN_MAX, &s->rseq_len, e) < 0 ||
	    rec_u64(&rec, "SIGNATURE", UINT32_MAX, &s->rseq_sig, e) < 0)
		return -1;
	if (s->rseq_len < RSEQ_LEN_MIN || s->rseq == 0)
		return err_set(e, EX_BAD_IMAGE, "line %zu: rseq area", rec.line);
	return 0;
}

static int thread_verify(struct restore *r, struct rproc *p, struct err *e)
{
	struct thread_state_ s;

	for (size_t i = 0; i < p->nthr; i++)
		if (thread_get(p, &p->thr[i], &s, e) < 0 || mempolicy_verify(p, &p->thr[i], e) < 0)
			return -1;
	return 0;
}

static int thread_restore_thread(struct restore *r, struct rproc *p, struct rthread *th, struct err *e)
{
	struct thread_state_ s;

	if (thread_get(p, th, &s, e) < 0 || mempolicy_restore(p, th, e) < 0 || remote_room(p->rem, 4, sizeof s.stack, e) < 0)
		return -1;
	remote_call(p->rem, "set_tid_address", REMOTE_MUST, SYS_set_tid_address, s.tid_address, 0, 0, 0, 0, 0);
	remote_call(p->rem, "set_robust_list", REMOTE_MUST, SYS_set_robust_list, s.robust, ROBUST_LEN, 0, 0, 0, 0);
	/* Set even when there is none: a new process inherits its maker's. */
	remote_call(p->rem, "sigaltstack", REMOTE_MUST, SYS_sigaltstack,
		    remote_put(p->rem, &s.stack, sizeof s.stack), 0, 0, 0, 0, 0);
	/* Last: from here on the kernel writes into the area whenever the thread runs. */
	if (s.rseq)
		remote_call(p->rem, "rseq", REMOTE_MUST, SYS_rseq, s.rseq, s.rseq_len, 0, s.rseq_sig, 0, 0);
	return remote_run(p->rem, e);
}

const struct res_ops res_thread = {
	.name = "thread",
	.dump_thread = thread_dump_thread,
	.verify = thread_verify,
	.restore_thread = thread_restore_thread,
};
