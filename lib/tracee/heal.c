/* heal: what a tracer that died left in a process: a thread inside the stub, a leaked scratch area. */
#include "tracee/internal.h"
#include <stdlib.h>
#include <string.h>

enum { FINISH_MS = 1000 };

static bool scratch_mapped(const struct tracee *t, const struct stub_journal *j)
{
	for (size_t i = 0; i < t->maps.n; i++) {
		const struct proc_map *m = &t->maps.v[i];

		if (m->start == j->scratch)
			return m->end == j->scratch + j->len && m->r && m->w && !m->x && !m->shared && m->inode == 0;
	}
	return false;
}

/* The area carries the nonce of the journal: it is not the job's own. */
static bool scratch_tagged(struct tracee *t, const struct stub_journal *j)
{
	struct scratch_head h;

	return scratch_mapped(t, j) && tracee_read(t, j->scratch, &h, sizeof(h), NULL) == 0 &&
	       h.magic == STUB_MAGIC && h.nonce == j->nonce;
}

/* Lets the batch that the dead tracer had started run to its end, so that nothing half done stays. */
static int run_to_rendezvous(struct remote *r, struct err *e)
{
	struct tthread *th = &r->t->thr[r->i];
	int n;

	if (pt_resume(XPT_CONT, th->tid, 0) < 0)
		return err_sys(e, "thread %d: cannot resume it", (int)th->tid);
	n = session_wait(r, mono_ms() + FINISH_MS, e);
	if (n <= 0)
		return n;
	/* A call of the batch blocks. Break it off. */
	pt(XPT_INTERRUPT, th->tid, 0, NULL);
	for (;;) {
		int st;

		if (pt_wait(th->tid, &st, 0) < 0 || st_dead(st)) {
			th->state = THREAD_GONE;
			return err_set(e, EX_NOSUCH, "thread %d is gone", (int)th->tid);
		}
		if (st_is_stop_event(st))
			break;
		pt_interrupt_and_resume(XPT_CONT, th->tid, 0);
	}
	r->astray = true;
	return 0;
}

static int heal_thread(struct tracee *t, size_t i, const struct stub_journal *j, struct err *e)
{
	struct tthread *th = &t->thr[i];
	uint64_t off = arch_ip(&th->regs) - t->stub_addr, mask = ~(1ull << (j->sig - 1));
	bool leaving = arch_in_exit(off);
	struct remote *r;
	int n = 0;

	th->regs = j->regs;
	th->restart_regs = j->regs;
	arch_restart(&th->restart_regs, false);
	th->sigmask = j->mask;
	if (leaving && !scratch_mapped(t, j)) {
		if (pt(XPT_SETSIGMASK, th->tid, 8, &th->sigmask) < 0 || pt(XPT_SETREGS, th->tid, 0, &th->regs) < 0)
			return err_sys(e, "thread %d: cannot put back its registers", (int)th->tid);
		return 0;
	}
	r = remote_new(t, i, e);
	if (!r)
		return -1;
	r->stub = t->stub_addr;
	r->scratch = j->scratch;
	r->len = j->len;
	r->sig = (int)j->sig;
	r->astray = leaving;
	th->state = THREAD_REMOTE;
	t->stub_written = true;
	if (pt(XPT_SETSIGMASK, th->tid, 8, &mask) < 0)
		n = err_sys(e, "thread %d: cannot set its signal mask", (int)th->tid);
	if (n == 0 && !leaving)
		n = run_to_rendezvous(r, e);
	if (n == 0)
		n = session_leave(r, e);
	remote_drop(r);
	return n;
}

static int unmap_leaked(struct tracee *t, const struct stub_journal *j, struct err *e)
{
	for (size_t i = 0; i < t->nthr; i++) {
		struct remote *r;
		long ret;
		int n;

		if (t->thr[i].state != THREAD_STOPPED)
			continue;
		if (remote_begin(&r, t, i, e) < 0)
			return -1;
		n = remote_one(r, "munmap", &ret, e, SYS_munmap, j->scratch, j->len, 0, 0, 0, 0);
		if (remote_end(r, n < 0 ? NULL : e) < 0 || n < 0)
			return -1;
		break;
	}
	return 0;
}

/* The journal of another version of xos: its registers cannot be read. */
static int other_version(struct tracee *t, const struct stub_journal *j, struct err *e)
{
	static const char zeros[4096];
	uint64_t end = t->stub_addr + STUB_SIZE, size = j->size;

	if (size < sizeof(*j) || size > sizeof(zeros))
		size = STUB_SIZE;
	for (size_t i = 0; i < t->nthr; i++)
		if (t->thr[i].state == THREAD_STOPPED && arch_ip(&t->thr[i].regs) - (end - size) < size)
			return err_set(e, EX_BUSY, "thread %d is still in remote control by another version of xos",
				       (int)t->thr[i].tid);
	return tracee_write(t, end - size, zeros, size, e);
}

int tracee_heal(struct tracee *t, struct err *e)
{
	struct stub_journal j;
	bool found, inside = false;

	if (place_find(t, &t->stub_addr, &found, &j, NULL) < 0) {
		t->stub_addr = 0; /* remote_begin will say so */
		return 0;
	}
	if (!found)
		return 0;
	if (j.version != STUB_VERSION || j.size != STUB_SIZE)
		return other_version(t, &j, e);
	if (j.sig < 1 || j.sig > 64)
		return 0;
	for (size_t i = 0; i < t->nthr; i++) {
		if (t->thr[i].state != THREAD_STOPPED || arch_ip(&t->thr[i].regs) - t->stub_addr >= STUB_CODE)
			continue;
		inside = true;
		if (heal_thread(t, i, &j, e) < 0)
			return err_prefix(e, "cannot heal what a dead tracer left");
	}
	if (!inside && !scratch_tagged(t, &j)) {
		t->stub_written = true; /* wiped at the end */
		return 0;
	}
	if (!inside && unmap_leaked(t, &j, e) < 0)
		return -1;
	t->healed = true;
	proc_maps_free(&t->maps);
	return proc_maps_read(&t->maps, tracee_alive(t), false, e);
}
