/* sysv_undo: what a process gives back to semaphores when it ends: SEM_UNDO of semop(2).
 *
 * Record in task_PID: TYPE="semundo" SET=(id) SEM=(number in the set) ADJ=(added at exit)
 *
 * No call tells these values. But semop(2) checks them: an operation that would carry one past -32768..32767 is ERANGE. So the
 * process itself makes lists of operations that all end in one that cannot be done now (EAGAIN) and are
 * therefore never done; which of the two errors comes says on which side of a bound the value lies.
 * They change nothing, wake nobody, and count for nobody as the last operation. First everybody is asked whether
 * there is any value, then it is found by halving. On restart the process does an operation with SEM_UNDO and takes it
 * back without. */
#include "res/sysv.h"
#include "common/cleanup.h"

#include <string.h>
#include <sys/sem.h>
#include <sys/syscall.h>

enum { KCMP_SYSVSEM_ = 6, UNDO_MIN = -32768, MAX_OPS = 5, CHUNK = 64, STEP = 16383 };

/* Queues the question whether the value is at least t (t > 0), at most t (t < 0). v: what the semaphore stands at. ERANGE: yes. */
static size_t ask(struct remote *rem, int set, int sem, int v, int t)
{
	const unsigned short s = (unsigned short)sem;
	struct sembuf op[MAX_OPS];
	size_t n = 0;
	uint64_t at;

	if (t > 0) {
		if (v < SYSV_VALUE_MAX)
			op[n++] = (struct sembuf){ s, (short)(SYSV_VALUE_MAX - v), 0 };
		op[n++] = (struct sembuf){ s, (short)-(SYSV_VALUE_MAX + 1 - t), SEM_UNDO };
		op[n++] = (struct sembuf){ s, -SYSV_VALUE_MAX, IPC_NOWAIT };
	} else {
		int k = t - UNDO_MIN + 1, first = k > SYSV_VALUE_MAX ? SYSV_VALUE_MAX : k;

		if (v)
			op[n++] = (struct sembuf){ s, (short)-v, 0 };
		op[n++] = (struct sembuf){ s, (short)first, SEM_UNDO };
		if (k > first) {
			op[n++] = (struct sembuf){ s, (short)-first, 0 };
			op[n++] = (struct sembuf){ s, (short)(k - first), SEM_UNDO };
		}
		op[n++] = (struct sembuf){ s, 0, IPC_NOWAIT };
	}
	at = remote_put(rem, op, n * sizeof *op);
	return remote_call(rem, "semop", REMOTE_ANY, SYS_semop, (uint64_t)set, at, n, 0, 0, 0);
}

static int holds(struct remote *rem, int set, int sem, int v, int t, bool *yes, struct err *e)
{
	if (remote_room(rem, 1, MAX_OPS * sizeof(struct sembuf), e))
		return -1;
	ask(rem, set, sem, v, t);
	if (remote_run(rem, e))
		return -1;
	*yes = remote_ret(rem, 0) == -ERANGE;
	return 0;
}

/* The value itself, known to be positive (up) or negative. */
static int find(struct remote *rem, int set, int sem, int v, bool up, int *out, struct err *e)
{
	int lo = up ? 1 : UNDO_MIN, hi = up ? SYSV_VALUE_MAX : -1;
	bool yes;

	while (lo < hi) {
		int mid = up ? (lo + hi + 1) / 2 : lo + (hi - lo) / 2;

		if (holds(rem, set, sem, v, mid, &yes, e))
			return -1;
		if (up)
			*(yes ? &lo : &hi) = yes ? mid : mid - 1;
		else
			*(yes ? &hi : &lo) = yes ? mid : mid + 1;
	}
	*out = lo;
	return 0;
}

static int found(struct dump *d, struct dproc *p, const struct sysv_obj *o, int sem, bool up, struct err *e)
{
	char what[96];
	int adj;

	if (!o->user)
		return err_set(e, EX_CANNOT_CKPT, "%s, which is not the job's alone: operations to be undone (SEM_UNDO)",
			       sysv_describe(o, what));
	if (find(p->rem, o->id, sem, o->val[sem], up, &adj, e))
		return -1;
	rec_begin(&p->out, "semundo");
	rec_put_i64(&p->out, "SET", o->id);
	rec_put_i64(&p->out, "SEM", sem);
	rec_put_i64(&p->out, "ADJ", adj);
	rec_end(&p->out);
	return 0;
}

static int look_at_set(struct dump *d, struct dproc *p, const struct sysv_obj *o, struct err *e)
{
	for (size_t at = 0; at < o->size; at += CHUNK) {
		size_t n = o->size - at < CHUNK ? o->size - at : CHUNK;
		long ret[2 * CHUNK];

		if (remote_room(p->rem, 2 * CHUNK, 2 * CHUNK * (MAX_OPS * sizeof(struct sembuf) + 16), e) || remote_run(p->rem, e))
			return -1;
		for (size_t i = 0; i < n; i++) {
			ask(p->rem, o->id, (int)(at + i), o->val[at + i], 1);
			ask(p->rem, o->id, (int)(at + i), o->val[at + i], -1);
		}
		if (remote_run(p->rem, e))
			return -1;
		for (size_t i = 0; i < 2 * n; i++)
			ret[i] = remote_ret(p->rem, i);
		for (size_t i = 0; i < 2 * n; i++)
			if (ret[i] == -ERANGE && found(d, p, o, (int)(at + i / 2), i % 2 == 0, e))
				return -1;
	}
	return 0;
}

static bool any_set(const struct dump *d)
{
	for (size_t i = 0; i < d->sysv->all.n; i++)
		if (d->sysv->all.v[i].kind == SYSV_SEM)
			return true;
	return false;
}

int sysv_undo_dump(struct dump *d, struct dproc *p, struct err *e)
{
	/* We have no list: who is equal to us has none either. */
	if (!any_set(d) || !syscall(SYS_kcmp, getpid(), p->pid, KCMP_SYSVSEM_, 0, 0))
		return 0;
	for (size_t i = 0; i < d->sysv->all.n; i++) {
		const struct sysv_obj *o = &d->sysv->all.v[i];

		if (o->kind == SYSV_SEM && o->val && look_at_set(d, p, o, e))
			return -1;
	}
	return 0;
}

/* pthread_create gives all threads of a process one list. */
void sysv_undo_check(struct dump *d, struct dproc *p)
{
	if (!any_set(d))
		return;
	for (size_t i = 1; i < p->nthr; i++)
		if (syscall(SYS_kcmp, p->pid, p->thr[i].tid, KCMP_SYSVSEM_, 0, 0) > 0) {
			refuse(d, p, "thread %d: a list of semaphore operations to be undone (SEM_UNDO) of its own", p->thr[i].vtid);
			return;
		}
	if (!syscall(SYS_kcmp, getpid(), p->pid, KCMP_SYSVSEM_, 0, 0))
		return;
	for (size_t i = 0; i < d->nprocs && d->procs[i] != p; i++)
		if (!d->procs[i]->zombie && !syscall(SYS_kcmp, d->procs[i]->pid, p->pid, KCMP_SYSVSEM_, 0, 0))
			refuse(d, p, "shares semaphore operations to be undone (CLONE_SYSVSEM) with process %d", d->procs[i]->vpid);
}

/* ---- restart ---- */

static int get(struct restore *r, const struct rec *rec, int *set, int *sem, int *adj, int *v, struct err *e)
{
	const struct sysv_list *l = r->sysv ? &r->sysv->objs : NULL;

	if (rec_int(rec, "SET", 0, INT_MAX, set, e) || rec_int(rec, "SEM", 0, SYSV_MAX_SEMS, sem, e) ||
	    rec_int(rec, "ADJ", UNDO_MIN, SYSV_VALUE_MAX, adj, e))
		return -1;
	for (size_t i = 0; l && i < l->n; i++)
		if (l->v[i].kind == SYSV_SEM && l->v[i].id == *set && (uint64_t)*sem < l->v[i].size) {
			*v = l->v[i].val[*sem];
			return 0;
		}
	return err_set(e, EX_BAD_IMAGE, "line %zu: semaphore %d of a set %d that is not in the image", rec->line, *sem, *set);
}

int sysv_undo_verify(struct restore *r, struct rproc *p, struct err *e)
{
	int set, sem, adj, v;
	struct rec rec;

	for (long i = rproc_rec(p, "semundo", 0, &rec); i >= 0; i = rproc_rec(p, "semundo", (size_t)i + 1, &rec))
		if (get(r, &rec, &set, &sem, &adj, &v, e))
			return -1;
	return 0;
}

/* Forth with SEM_UNDO and back without, or the other way round where the semaphore has no room for it; both at once. */
static int give(struct rproc *p, int set, int sem, int adj, int v, struct err *e)
{
	const unsigned short s = (unsigned short)sem;

	while (adj) {
		short step = (short)(adj > STEP ? STEP : adj < -STEP ? -STEP : adj);
		struct sembuf undo = { s, (short)-step, SEM_UNDO }, back = { s, step, 0 }, op[2] = { undo, back };

		if (v - step < 0 || v - step > SYSV_VALUE_MAX) {
			op[0] = back;
			op[1] = undo;
		}
		if (remote_room(p->rem, 1, sizeof op + 16, e))
			return -1;
		remote_call(p->rem, "semop", REMOTE_MUST, SYS_semop, (uint64_t)set, remote_put(p->rem, op, sizeof op), 2, 0, 0, 0);
		adj -= step;
	}
	return 0;
}

int sysv_undo_restore(struct restore *r, struct rproc *p, struct err *e)
{
	int set, sem, adj, v;
	struct rec rec;

	for (long i = rproc_rec(p, "semundo", 0, &rec); i >= 0; i = rproc_rec(p, "semundo", (size_t)i + 1, &rec))
		if (get(r, &rec, &set, &sem, &adj, &v, e) || give(p, set, sem, adj, v, e))
			return -1;
	return remote_run(p->rem, e);
}
