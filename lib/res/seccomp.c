/* seccomp: strict mode, and filters (classic BPF programs) of each thread, oldest first.
 *
 * The kernel shows filters to a tracer with CAP_SYS_ADMIN only, and only with it can a tracer suspend them
 * (PTRACE_O_SUSPEND_SECCOMP), without which the system calls of a checkpoint or restart would meet the filter: so both need it.
 * Filters with user notification are refused: the supervisor's descriptor cannot be made again.
 *
 * Threads that all have the leader's filters get them at once, by SECCOMP_FILTER_FLAG_TSYNC: they share them then
 * as they did, which a later TSYNC of the program depends on. SPEC_ALLOW is always given: what the
 * speculation controls were is restored by prctl.c. */
#include "res/proc_ops.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	GET_FILTER = 0x420c, GET_METADATA = 0x420d, /* ptrace(2) */
	FILTERS_MAX = 1024,
	INSNS_MAX = 4096,              /* BPF_MAXINSNS */
	MODE_STRICT = 1, MODE_FILTER = 2,
	FLAG_TSYNC = 1, FLAG_LOG = 2, FLAG_SPEC_ALLOW = 4,
};
#define RET_USER_NOTIF 0x7fc00000u
#define RET_ACTION 0xffff0000u

struct metadata { uint64_t off, flags; };

/* Instructions of filter i, -1 with errno (ENOENT: there are fewer). */
static long filter_len(pid_t tid, unsigned long i)
{
	return syscall(SYS_ptrace, GET_FILTER, tid, i, NULL);
}

static long filter_read(pid_t tid, unsigned long i, struct sock_filter *f)
{
	return syscall(SYS_ptrace, GET_FILTER, tid, i, f);
}

/* A constant that may be what the program returns. */
static bool filter_notifies(const struct sock_filter *f, long n)
{
	for (long i = 0; i < n; i++) {
		unsigned class = BPF_CLASS(f[i].code);

		if ((class == BPF_RET || class == BPF_LD || class == BPF_LDX) &&
		    (f[i].k & RET_ACTION) == RET_USER_NOTIF &&
		    (class == BPF_RET ? BPF_RVAL(f[i].code) == BPF_K : BPF_MODE(f[i].code) == BPF_IMM))
			return true;
	}
	return false;
}

static int filters_check(struct dump *d, struct dproc *p, struct dthread *th)
{
	struct sock_filter f[INSNS_MAX];

	for (unsigned long i = 0;; i++) {
		long n = filter_len(th->tid, i);

		if (n < 0 && errno == ENOENT && i > 0)
			return 0;
		if (n < 0 && (errno == EACCES || errno == EPERM))
			return refuse(d, p, "thread %d: seccomp filter (to be read and suspended only with CAP_SYS_ADMIN)", th->vtid);
		if (n <= 0 || n > INSNS_MAX || i >= FILTERS_MAX || filter_read(th->tid, i, f) != n)
			return refuse(d, p, "thread %d: seccomp filter that the kernel does not show", th->vtid);
		if (filter_notifies(f, n))
			return refuse(d, p, "thread %d: seccomp filter with user notification", th->vtid);
	}
}

static int seccomp_check(struct dump *d, struct dproc *p, struct err *e)
{
	if (p->zombie)
		return 0;
	for (size_t i = 0; i < p->nthr; i++)
		if (p->thr[i].status.seccomp == MODE_FILTER)
			filters_check(d, p, &p->thr[i]);
	return 0;
}

static int filters_put(pid_t tid, struct buf *out, struct err *e)
{
	struct sock_filter f[INSNS_MAX];

	for (unsigned long i = 0; i < FILTERS_MAX; i++) {
		struct metadata md = { .off = i };
		long n = filter_read(tid, i, f);

		if (n < 0 && errno == ENOENT)
			return 0;
		if (n < 0)
			return err_sys(e, "seccomp filter of thread %d", tid);
		if (syscall(SYS_ptrace, GET_METADATA, tid, sizeof md, &md) < 0)
			md.flags = 0; /* before Linux 4.16 there is no log flag either */
		rec_begin(out, "seccomp_filter");
		rec_put_hex(out, "FLAGS", md.flags & FLAG_LOG);
		rec_put_bin(out, "PROGRAM", f, (size_t)n * sizeof f[0]);
		rec_end(out);
	}
	return 0;
}

/* The leader's filters are recognised by comparing text: threads mostly have the same. */
static int seccomp_dump_thread(struct dump *d, struct dproc *p, struct dthread *th, struct err *e)
{
	AUTO_BUF struct buf own = BUF_INIT, leader = BUF_INIT;
	bool same = false;

	if (th->status.seccomp <= 0)
		return 0;
	if (th->status.seccomp == MODE_FILTER) {
		if (filters_put(th->tid, &own, e) < 0)
			return -1;
		if (th != &p->thr[0] && p->thr[0].status.seccomp == MODE_FILTER) {
			if (filters_put(p->thr[0].tid, &leader, e) < 0)
				return -1;
			same = own.len == leader.len && memcmp(own.p, leader.p, own.len) == 0;
		}
	}
	if (buf_failed(&own) || buf_failed(&leader))
		return err_set(e, EX_FAILED, "out of memory");
	rec_begin(&p->out, "seccomp");
	rec_put_i64(&p->out, "MODE", th->status.seccomp);
	rec_put_i64(&p->out, "LIKE_LEADER", same);
	rec_end(&p->out);
	if (!same)
		buf_add(&p->out, own.p, own.len);
	return 0;
}

/* ---- restart ---- */

/* *mode 0: none. */
static int seccomp_get(struct rproc *p, const struct rthread *th, int *mode, bool *like_leader, struct err *e)
{
	struct rec rec;
	uint64_t like;

	*mode = 0;
	*like_leader = false;
	if (rthread_rec(p, th, "seccomp", 0, &rec) < 0)
		return 0;
	if (rec_int(&rec, "MODE", MODE_STRICT, MODE_FILTER, mode, e) < 0 || rec_u64(&rec, "LIKE_LEADER", 1, &like, e) < 0)
		return -1;
	*like_leader = like;
	return 0;
}

static int filter_get(const struct rec *rec, struct sock_filter *f, size_t *n, uint64_t *flags, struct err *e)
{
	size_t bytes;

	if (rec_u64(rec, "FLAGS", UINT64_MAX, flags, e) < 0 ||
	    rec_bin(rec, "PROGRAM", f, sizeof *f, INSNS_MAX * sizeof *f, &bytes, e) < 0)
		return -1;
	if (bytes % sizeof *f || (*flags & ~(uint64_t)FLAG_LOG))
		return err_set(e, EX_BAD_IMAGE, "line %zu: seccomp filter", rec->line);
	*n = bytes / sizeof *f;
	return 0;
}

static int thread_verify_(struct restore *r, struct rproc *p, const struct rthread *th, struct err *e)
{
	struct sock_filter f[INSNS_MAX];
	uint64_t flags;
	bool like;
	struct rec rec;
	int mode, n = 0;
	size_t len;

	if (seccomp_get(p, th, &mode, &like, e) < 0)
		return -1;
	for (long i = rthread_rec(p, th, "seccomp_filter", 0, &rec); i >= 0;
	     i = rthread_rec(p, th, "seccomp_filter", i + 1, &rec), n++)
		if (filter_get(&rec, f, &len, &flags, e) < 0)
			return -1;
	if (n > FILTERS_MAX || (n > 0) != (mode == MODE_FILTER && !like) || (like && th->index == 0))
		return err_set(e, EX_BAD_IMAGE, "thread %d: %d seccomp filters in mode %d", th->tid, n, mode);
	if (mode && !proc_capable(r, CAP_SYS_ADMIN)) {
		err_hint(e, "restart as root, in the machine's own user namespace");
		return err_set(e, EX_PERM, "thread %d: seccomp can be restored only with CAP_SYS_ADMIN", th->tid);
	}
	return 0;
}

static int seccomp_verify(struct restore *r, struct rproc *p, struct err *e)
{
	for (size_t i = 0; i < p->nthr; i++)
		if (thread_verify_(r, p, &p->thr[i], e) < 0)
			return -1;
	return 0;
}

/* 1: every thread has the leader's filters; 0: not so; -1. */
static int all_like_leader(struct rproc *p, struct err *e)
{
	for (size_t i = 0; i < p->nthr; i++) {
		bool like;
		int mode;

		if (seccomp_get(p, &p->thr[i], &mode, &like, e) < 0)
			return -1;
		if (mode != MODE_FILTER || (!like && i))
			return 0;
	}
	return 1;
}

static int filter_install(struct rproc *p, const struct rec *rec, uint64_t more, struct err *e)
{
	struct { uint16_t len; uint16_t pad[3]; uint64_t filter; } prog = { 0 };
	struct sock_filter f[INSNS_MAX];
	uint64_t flags, a;
	size_t n;
	long ret;

	if (filter_get(rec, f, &n, &flags, e) < 0 || remote_room(p->rem, 1, n * sizeof *f + 64, e) < 0)
		return -1;
	prog.filter = remote_put(p->rem, f, n * sizeof *f);
	prog.len = (uint16_t)n;
	a = remote_put(p->rem, &prog, sizeof prog);
	if (remote_one(p->rem, "seccomp", &ret, e, SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags | more | FLAG_SPEC_ALLOW, a, 0, 0, 0) < 0)
		return -1;
	if (ret != 0)
		return err_set(e, EX_FAILED, "seccomp filter: %s", ret < 0 ? strerror((int)-ret) : "threads cannot share it");
	return 0;
}

static int seccomp_restore_thread(struct restore *r, struct rproc *p, struct rthread *th, struct err *e)
{
	struct rthread *from;
	struct rec rec;
	int mode, all;
	bool like;
	long ret;

	if (seccomp_get(p, th, &mode, &like, e) < 0)
		return -1;
	if (mode == 0)
		return 0;
	if (mode == MODE_STRICT) {
		if (remote_one(p->rem, "prctl(PR_SET_SECCOMP)", &ret, e, SYS_prctl, PR_SET_SECCOMP, MODE_STRICT, 0, 0, 0, 0) < 0)
			return -1;
		return ret == 0 ? 0 : err_set(e, EX_FAILED, "seccomp strict mode: %s", strerror((int)-ret));
	}
	all = all_like_leader(p, e);
	if (all < 0 || (all && th != &p->thr[0])) /* done by the leader's TSYNC */
		return all < 0 ? -1 : 0;
	from = like ? &p->thr[0] : th;
	for (long i = rthread_rec(p, from, "seccomp_filter", 0, &rec); i >= 0;
	     i = rthread_rec(p, from, "seccomp_filter", i + 1, &rec))
		if (filter_install(p, &rec, all && p->nthr > 1 ? FLAG_TSYNC : 0, e) < 0)
			return err_prefix(e, "thread %d", th->tid);
	return 0;
}

const struct res_ops res_seccomp = {
	.name = "seccomp",
	.check = seccomp_check,
	.dump_thread = seccomp_dump_thread,
	.verify = seccomp_verify,
	.restore_thread = seccomp_restore_thread,
};
