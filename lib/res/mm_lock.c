/* mm_lock: memory that mlock(2) and the like hold in place, and mlockall(MCL_FUTURE), by which new mappings are locked.
 *
 * Record: TYPE="mlockall" FLAGS=2|6 (MCL_FUTURE, MCL_ONFAULT)
 *
 * No call and no file tells MCL_FUTURE, but the scratch area of remote control is a new mapping: when the process has more
 * locked memory with it than without, it was locked, and its VMA says how.
 *
 * mlock(2) reports pages that it cannot bring in (of PROT_NONE, behind the end of a file) as ENOMEM, though they are locked then:
 * what counts is how much is locked at the end. */
#include "res/mm.h"
#include "res/proc_ops.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

/* ---- what is mapped ---- */

/* The limit that the process has in the end comes later (rlimit). */
static int raise_limit(struct rproc *p, uint64_t bytes, struct err *e)
{
	pid_t pid = tracee_alive(p->t);
	struct rlimit l, all;

	if (prlimit(pid, RLIMIT_MEMLOCK, NULL, &l) < 0 || l.rlim_cur >= bytes)
		return 0;
	all = (struct rlimit){ bytes, l.rlim_max < bytes ? bytes : l.rlim_max };
	if (prlimit(pid, RLIMIT_MEMLOCK, &all, NULL) == 0)
		return 0;
	all = (struct rlimit){ l.rlim_max, l.rlim_max };
	if (remote_room(p->rem, 1, sizeof all, e))
		return -1;
	remote_call(p->rem, "prlimit", REMOTE_ANY, SYS_prlimit64, 0, RLIMIT_MEMLOCK, remote_put(p->rem, &all, sizeof all), 0, 0, 0);
	return remote_run(p->rem, e);
}

int mm_lock(struct rproc *p, struct err *e)
{
	struct proc_status s = { 0 };
	uint64_t bytes = 0;

	for (size_t i = 0; i < p->mm->n; i++)
		if (mm_has_flag(&p->mm->v[i], "locked"))
			bytes += p->mm->v[i].end - p->mm->v[i].start;
	if (!bytes)
		return 0;
	if (raise_limit(p, bytes, e))
		return -1;
	for (size_t i = 0; i < p->mm->n; i++) {
		const struct rvma *v = &p->mm->v[i];

		if (!mm_has_flag(v, "locked"))
			continue;
		if (remote_room(p->rem, 1, 0, e))
			return -1;
		if (mm_has_flag(v, "lockonfault"))
			remote_call(p->rem, "mlock2", REMOTE_ANY, SYS_mlock2, v->start, v->end - v->start, MLOCK_ONFAULT, 0, 0, 0);
		else
			remote_call(p->rem, "mlock", REMOTE_ANY, SYS_mlock, v->start, v->end - v->start, 0, 0, 0, 0);
	}
	if (remote_run(p->rem, e) || proc_status_read(&s, tracee_alive(p->t), 0, e))
		return -1;
	proc_status_free(&s);
	if (s.vm_lck_kb * 1024 >= bytes)
		return 0;
	err_set(e, EX_MISFIT, "only %llu of %llu KiB of its memory can be locked here", (unsigned long long)s.vm_lck_kb,
		(unsigned long long)bytes / 1024);
	err_hint(e, "RLIMIT_MEMLOCK (ulimit -l) must allow it");
	return -1;
}

/* ---- what will be mapped ---- */

static int mlockall_dump(struct dump *d, struct dproc *p, struct err *e)
{
	struct proc_maps m = { 0 };
	struct proc_status s = { 0 };
	bool on_fault = false;
	uint64_t scratch;

	if (proc_status_read(&s, p->pid, 0, e))
		return -1;
	proc_status_free(&s);
	if (s.vm_lck_kb <= p->status.vm_lck_kb)
		return 0;
	if (remote_room(p->rem, 1, 16, e) || proc_maps_read(&m, p->pid, true, e))
		return -1;
	scratch = remote_put(p->rem, NULL, 16);
	for (size_t i = 0; i < m.n; i++)
		if (scratch >= m.v[i].start && scratch < m.v[i].end)
			on_fault = proc_map_flag(&m.v[i], "lf");
	proc_maps_free(&m);
	rec_begin(&p->out, "mlockall");
	rec_put_u64(&p->out, "FLAGS", MCL_FUTURE | (on_fault ? MCL_ONFAULT : 0));
	rec_end(&p->out);
	return 0;
}

/* 0: there is no record. */
static int flags_get(struct rproc *p, uint64_t *flags, struct err *e)
{
	struct rec rec;

	*flags = 0;
	if (rproc_rec(p, "mlockall", 0, &rec) < 0)
		return 0;
	if (rec_u64(&rec, "FLAGS", MCL_FUTURE | MCL_ONFAULT, flags, e))
		return -1;
	return *flags == MCL_FUTURE || *flags == (MCL_FUTURE | MCL_ONFAULT) ? 0 :
	       err_set(e, EX_BAD_IMAGE, "line %zu: FLAGS of mlockall", rec.line);
}

static int mlockall_verify(struct restore *r, struct rproc *p, struct err *e)
{
	uint64_t flags;

	return flags_get(p, &flags, e);
}

static int mlockall_late(struct restore *r, struct rproc *p, struct err *e)
{
	uint64_t flags;
	long ret;

	if (flags_get(p, &flags, e))
		return -1;
	if (!flags)
		return 0;
	if (remote_one(p->rem, "mlockall", &ret, e, SYS_mlockall, flags, 0, 0, 0, 0, 0))
		return -1;
	if (!ret)
		return 0;
	errno = (int)-ret;
	err_sys(e, "mlockall");
	err_hint(e, "RLIMIT_MEMLOCK (ulimit -l) must not be 0, or CAP_IPC_LOCK is needed");
	return -1;
}

const struct res_ops res_mlockall = {
	.name = "mlockall",
	.dump = mlockall_dump,
	.verify = mlockall_verify,
	.late = mlockall_late,
};
