/* remote: batches of system calls through the stub. */
#include "tracee/internal.h"
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

enum { USER_DISPATCH_OFF = 0 };

struct remote *remote_new(struct tracee *t, size_t i, struct err *e)
{
	struct remote *r = t->spare;

	if (!r) {
		r = calloc(1, sizeof(*r));
		if (r)
			r->img = malloc(TRACEE_BOOT_SIZE);
		if (!r || !r->img) {
			free(r);
			err_set(e, EX_FAILED, "out of memory");
			return NULL;
		}
	}
	t->spare = NULL;
	r->t = t;
	r->i = i;
	r->boot = r->astray = r->done = r->running = r->overflow = false;
	r->strays = 0;
	r->child_left = 0;
	r->born.n = 0;
	r->watch = NULL;
	r->ncalls = 0;
	memset(r->img, 0, SCRATCH_HEAD);
	t->active = r;
	return r;
}

void remote_free(struct remote *r)
{
	pid_list_free(&r->born);
	free(r->img);
	free(r);
}

/* Gives r back for the next remote_begin of the same tracee. */
void remote_drop(struct remote *r)
{
	r->t->active = NULL;
	if (r->t->spare)
		remote_free(r);
	else
		r->t->spare = r;
}

static void lay_out(struct remote *r)
{
	r->maxcalls = r->len >= 2 * SCRATCH_SIZE ? REMOTE_MAX_CALLS : r->len == SCRATCH_SIZE ? 512 : 32;
	r->data0 = SCRATCH_HEAD + (r->maxcalls + 1) * SE_SIZE;
	r->data = r->data0;
}

/* Syscall user dispatch would turn our calls into SIGSYS. */
static int check_thread(struct tracee *t, size_t i, struct err *e)
{
	struct { uint64_t mode, selector, offset, len; } d = { 0 };
	struct tthread *th;

	if (i >= t->nthr || t->thr[i].state != THREAD_STOPPED)
		return err_set(e, EX_FAILED, "thread %d is not stopped", i < t->nthr ? (int)t->thr[i].tid : -1);
	th = &t->thr[i];
	if (!arch_is_native(&th->regs))
		return err_set(e, EX_CANNOT_CKPT, "thread %d runs 32-bit code", (int)th->tid);
	if (pt(XPT_GET_USER_DISPATCH, th->tid, sizeof(d), &d) == 0 && d.mode != USER_DISPATCH_OFF)
		return err_set(e, EX_CANNOT_CKPT, "thread %d uses syscall user dispatch", (int)th->tid);
	return 0;
}

int remote_begin(struct remote **out, struct tracee *t, size_t i, struct err *e)
{
	struct stub_journal j;
	struct remote *r;
	bool found;

	*out = NULL;
	if (check_thread(t, i, e) < 0)
		return -1;
	if (!t->stub_addr && place_find(t, &t->stub_addr, &found, &j, e) < 0)
		return -1;
	r = remote_new(t, i, e);
	if (!r)
		return -1;
	if (session_enter(r, e) < 0) {
		remote_drop(r);
		return -1;
	}
	lay_out(r);
	*out = r;
	return 0;
}

int remote_begin_at(struct remote **out, struct tracee *t, size_t i, uint64_t boot, struct err *e)
{
	uint64_t mask = ~(1ull << (SIGURG - 1));
	struct remote *r;

	*out = NULL;
	if (i >= t->nthr || t->thr[i].state != THREAD_STOPPED)
		return err_set(e, EX_FAILED, "thread %d is not stopped", i < t->nthr ? (int)t->thr[i].tid : -1);
	if (pt(XPT_SETSIGMASK, t->thr[i].tid, 8, &mask) < 0)
		return err_sys(e, "thread %d: cannot set its signal mask", (int)t->thr[i].tid);
	r = remote_new(t, i, e);
	if (!r)
		return -1;
	r->boot = true;
	r->sig = SIGURG;
	r->stub = boot;
	r->scratch = boot + 4096;
	r->len = TRACEE_BOOT_SIZE - 4096;
	lay_out(r);
	t->thr[i].state = THREAD_REMOTE;
	*out = r;
	return 0;
}

/* After a run the next call or datum starts a new queue. */
static void renew(struct remote *r)
{
	if (!r->done)
		return;
	r->done = false;
	r->ncalls = 0;
	r->data = r->data0;
	r->child_left = 0;
	r->overflow = false;
}

static void set_entry(char *at, long nr, const uint64_t *a)
{
	struct stub_entry en = { .nr = (int32_t)nr };

	memcpy(en.arg, a, sizeof(en.arg));
	memcpy(at, &en, sizeof(en));
}

size_t remote_call(struct remote *r, const char *what, int flags, long nr, uint64_t a0, uint64_t a1,
		   uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5)
{
	const uint64_t a[6] = { a0, a1, a2, a3, a4, a5 };

	renew(r);
	if (r->ncalls == r->maxcalls) {
		r->overflow = true;
		return 0;
	}
	set_entry(r->img + SCRATCH_HEAD + r->ncalls * SE_SIZE, nr, a);
	r->meta[r->ncalls].what = what;
	r->meta[r->ncalls].flags = flags;
	return r->ncalls++;
}

static struct stub_entry *entry(const struct remote *r, size_t i)
{
	return (struct stub_entry *)(r->img + SCRATCH_HEAD + i * SE_SIZE);
}

size_t remote_clone(struct remote *r, const char *what, int flags, size_t child, long nr, uint64_t a0,
		    uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5)
{
	size_t i = remote_call(r, what, flags, nr, a0, a1, a2, a3, a4, a5);
	uint64_t list = remote_put(r, NULL, (child + 1) * SE_SIZE);

	if (r->overflow)
		return 0;
	r->child_off = (size_t)(list - r->scratch);
	r->child_left = child;
	entry(r, i)->child = (uint32_t)(r->child_off - SCRATCH_HEAD - i * SE_SIZE);
	/* A list that forgot its exit_group must not run into the data: nr -1 ends in the exit path
	 * of a duplicate of the job. */
	set_entry(r->img + r->child_off + child * SE_SIZE, SYS_exit_group, (uint64_t[6]){ 0 });
	return i;
}

void remote_child(struct remote *r, long nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3,
		  uint64_t a4, uint64_t a5)
{
	const uint64_t a[6] = { a0, a1, a2, a3, a4, a5 };

	if (r->overflow || r->child_left == 0) {
		r->overflow = true;
		return;
	}
	set_entry(r->img + r->child_off, nr, a);
	r->child_off += SE_SIZE;
	r->child_left--;
}

void remote_watch(struct remote *r, const struct remote_watch *w) { r->watch = w; }
size_t remote_queued(const struct remote *r) { return r->done ? 0 : r->ncalls; }
uint64_t remote_child_addr(const struct remote *r) { return r->scratch + r->child_off; }

uint64_t remote_arg_addr(const struct remote *r, size_t index, int arg)
{
	return r->scratch + SCRATCH_HEAD + index * SE_SIZE + SE_ARG0 + (uint64_t)arg * 8;
}

const struct pid_list *remote_born(const struct remote *r) { return &r->born; }

uint64_t remote_put(struct remote *r, const void *p, size_t n)
{
	uint64_t at;

	renew(r);
	if (n > r->len - r->data) {
		r->overflow = true;
		return 0;
	}
	at = r->scratch + r->data;
	if (p)
		memcpy(r->img + r->data, p, n);
	else
		memset(r->img + r->data, 0, n);
	r->data += (n + 15) & ~(size_t)15;
	if (r->data > r->len)
		r->data = r->len;
	return at;
}

size_t remote_capacity(const struct remote *r) { return r->len - r->data0; }

int remote_room(struct remote *r, size_t calls, size_t bytes, struct err *e)
{
	renew(r);
	if (r->ncalls + calls <= r->maxcalls && bytes + 16 * calls + 16 <= r->len - r->data)
		return 0;
	if (calls > r->maxcalls || bytes + 16 * calls + 16 > remote_capacity(r))
		return err_set(e, EX_FAILED, "%zu calls with %zu bytes are too much for a remote batch", calls, bytes);
	return remote_run(r, e);
}

/* Moves the head with the entries, and the data, between the local copy and the scratch area. */
static int transfer(struct remote *r, bool out, struct err *e)
{
	size_t head = SCRATCH_HEAD + (r->ncalls + 1) * SE_SIZE, data = r->data - r->data0;
	struct iovec l[2] = { { r->img, head }, { r->img + r->data0, data } };
	struct iovec f[2] = { { (void *)r->scratch, head }, { (void *)(r->scratch + r->data0), data } };
	pid_t tid = r->t->thr[r->i].tid;
	unsigned long n = data ? 2 : 1;
	ssize_t k = out ? process_vm_writev(tid, l, n, f, n, 0) : process_vm_readv(tid, l, n, f, n, 0);

	if (k == (ssize_t)(head + data))
		return 0;
	if (k >= 0)
		errno = EFAULT;
	return err_sys(e, "thread %d: cannot reach its scratch area", (int)tid);
}

int remote_start(struct remote *r, struct err *e)
{
	struct tthread *th = &r->t->thr[r->i];
	struct user_regs_struct regs = th->regs;

	if (r->overflow) {
		r->done = true;
		return err_set(e, EX_FAILED, "a remote batch overflowed");
	}
	if (r->done || r->ncalls == 0)
		return 0;
	if (th->state != THREAD_REMOTE)
		return err_set(e, EX_NOSUCH, "thread %d is gone", (int)th->tid);
	memset(entry(r, r->ncalls), 0xff, SE_SIZE);
	if (transfer(r, true, e) < 0)
		return -1;
	arch_to_walk(&regs, r->stub, r->scratch, r->scratch + SCRATCH_HEAD);
	if (pt(XPT_SETREGS, th->tid, 0, &regs) < 0 || pt_resume(XPT_CONT, th->tid, 0) < 0)
		return err_sys(e, "thread %d: cannot resume it", (int)th->tid);
	r->running = true;
	return 0;
}

int remote_finish(struct remote *r, struct err *e)
{
	if (!r->running)
		return 0;
	r->running = false;
	r->done = true;
	if (session_wait(r, NEVER, e) < 0 || transfer(r, false, e) < 0)
		return -1;
	for (size_t i = 0; i < r->ncalls; i++) {
		long ret = (long)entry(r, i)->ret;

		if ((r->meta[i].flags & REMOTE_MUST) && ret < 0 && ret >= -4095) {
			errno = (int)-ret;
			return err_sys(e, "%s", r->meta[i].what);
		}
	}
	return 0;
}

int remote_run(struct remote *r, struct err *e)
{
	if (remote_start(r, e) < 0)
		return -1;
	return remote_finish(r, e);
}

long remote_ret(const struct remote *r, size_t index) { return (long)entry(r, index)->ret; }
const void *remote_data(const struct remote *r, uint64_t addr) { return r->img + (addr - r->scratch); }

int remote_one(struct remote *r, const char *what, long *ret, struct err *e, long nr, uint64_t a0,
	       uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5)
{
	size_t i = remote_call(r, what, REMOTE_ANY, nr, a0, a1, a2, a3, a4, a5);

	if (remote_run(r, e) < 0)
		return -1;
	*ret = remote_ret(r, i);
	return 0;
}

int remote_end(struct remote *r, struct err *e)
{
	int n;

	if (!r)
		return 0;
	if (r->boot) {
		remote_leave(r);
		return 0;
	}
	if (r->t->thr[r->i].state != THREAD_REMOTE)
		n = err_set(e, EX_NOSUCH, "thread %d is gone", (int)r->t->thr[r->i].tid);
	else
		n = session_leave(r, e);
	remote_drop(r);
	return n;
}

void remote_leave(struct remote *r)
{
	struct tthread *th = &r->t->thr[r->i];

	if (th->state == THREAD_REMOTE)
		th->state = THREAD_STOPPED;
	remote_drop(r);
}
