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

/* Looks for frames of handlers that interrupted the stub in [lo, hi): one at most is alive, but dead
 * ones look alike. 1: found and patched. */
static int patch_range(struct tracee *t, uint64_t lo, uint64_t hi, const struct stub_journal *j, struct err *e)
{
	enum { CHUNK = 8192 };
	uint64_t w[CHUNK];
	int found = 0;

	for (lo &= ~7ull; lo + ARCH_FRAME_WORDS * 8 <= hi; lo += (CHUNK - ARCH_FRAME_WORDS) * 8) {
		size_t n = hi - lo < sizeof(w) ? (size_t)(hi - lo) / 8 : CHUNK;

		if (tracee_read(t, lo, w, n * 8, NULL) < 0)
			return found;
		for (size_t i = 0; i + ARCH_FRAME_WORDS <= n; i++) {
			if (!arch_frame_is(w + i, t->stub_addr, j))
				continue;
			arch_frame_patch(w + i, j);
			if (tracee_write(t, lo + i * 8, w + i, ARCH_FRAME_WORDS * 8, e) < 0)
				return -1;
			found = 1;
		}
	}
	return found;
}

static const struct proc_map *map_of(const struct tracee *t, uint64_t addr)
{
	for (size_t i = 0; i < t->maps.n; i++)
		if (addr >= t->maps.v[i].start && addr < t->maps.v[i].end)
			return &t->maps.v[i];
	return NULL;
}

/* A thread may be in a signal handler that interrupted the stub (signals come as soon as the exit path
 * has put the mask back), and would return to what is about to be overwritten. The frame is on the
 * stack of the handler now running, or below the stack pointer that the journal tells. */
static int patch_frames(struct tracee *t, const struct stub_journal *j, struct err *e)
{
	const uint64_t reach = 1 << 20;
	uint64_t top = arch_sp(&j->regs), lo;
	const struct proc_map *m = map_of(t, top - 1);
	int r = 0, found = 0;

	if (m) {
		lo = top - m->start > reach ? top - reach : m->start;
		r = patch_range(t, lo, top, j, e);
		found |= r;
	}
	for (size_t i = 0; i < t->nthr && r >= 0; i++) {
		uint64_t sp = arch_sp(&t->thr[i].regs), hi;

		if (t->thr[i].state != THREAD_STOPPED || !(m = map_of(t, sp)))
			continue;
		hi = m->end - sp > reach ? sp + reach : m->end;
		r = patch_range(t, sp, hi, j, e);
		found |= r;
	}
	return r < 0 ? -1 : found;
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
	if (!inside) {
		int patched = patch_frames(t, &j, e);

		if (patched < 0)
			return -1;
		t->stub_written = true; /* wiped at the end */
		if (!patched && !scratch_tagged(t, &j))
			return 0;
		if (scratch_mapped(t, &j) && unmap_leaked(t, &j, e) < 0)
			return -1;
	}
	t->healed = true;
	proc_maps_free(&t->maps);
	return proc_maps_read(&t->maps, tracee_alive(t), false, e);
}
