/* sched: how a thread is scheduled: policy with its parameters, nice value, CPU affinity, I/O priority. All of it from
 * outside, by thread id; what is so already is not set.
 *
 * Affinity: a thread that was allowed all CPUs of its node is allowed all CPUs of this one. A set is
 * restored as far as its CPUs exist here, which is what the kernel itself does when a CPU is
 * taken out; when none exists the node does not fit (EX_MISFIT).
 *
 * A policy or nice value that the restorer may not give is EX_PERM, in verify() as far as the rules can be foreseen. */
#include "res/proc_ops.h"
#include "common/cleanup.h"

#include <string.h>
#include <sys/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>

enum {
	CPUS_MAX = 8192, CPU_WORDS = CPUS_MAX / 64,
	POLICY_OTHER = 0, POLICY_FIFO = 1, POLICY_RR = 2, POLICY_BATCH = 3, POLICY_DEADLINE = 6, POLICY_MAX = 7,
	ATTR_FLAGS = 7, ATTR_UTIL_CLAMP = 0x60, IOPRIO_PROCESS = 1, IOPRIO_MAX = 0xffff, UTIL_MAX = 1024,
};
struct attr { /* struct sched_attr, sched_setattr(2) */
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
	uint32_t util_min, util_max;
};
struct cpus { uint64_t w[CPU_WORDS]; };
struct sched { struct attr attr; struct cpus cpus; bool all_cpus; int ioprio; };

static bool policy_fair(uint32_t policy) { return policy == POLICY_OTHER || policy == POLICY_BATCH; }
static bool policy_rt(uint32_t policy) { return policy == POLICY_FIFO || policy == POLICY_RR; }

static int attr_read(pid_t tid, struct attr *a, struct err *e)
{
	struct attr own = { 0 };

	memset(a, 0, sizeof *a);
	if (syscall(SYS_sched_getattr, tid, a, sizeof *a, 0) < 0)
		return err_sys(e, "sched_getattr");
	/* Newer kernels tell the time slice of ordinary threads, which is the machine's unless it was
	 * set: then it differs from ours, and 0 means the machine's. */
	if (policy_fair(a->policy) && a->runtime != 0 &&
	    syscall(SYS_sched_getattr, 0, &own, sizeof own, 0) == 0 && own.runtime == a->runtime)
		a->runtime = 0;
	if (policy_fair(a->policy))
		a->deadline = a->period = 0;
	/* Of real-time threads it is not told there, but is kept for later. */
	errno = 0;
	a->nice = getpriority(PRIO_PROCESS, (id_t)tid);
	if (a->nice == -1 && errno)
		return err_sys(e, "getpriority");
	a->size = sizeof *a;
	return 0;
}

/* ---- CPU sets as lists: "0-3,8" ---- */

static bool cpu_has(const struct cpus *c, int n) { return c->w[n / 64] >> (n % 64) & 1; }

static int cpus_count(const struct cpus *c)
{
	int n = 0;

	for (int i = 0; i < CPU_WORDS; i++)
		n += __builtin_popcountll(c->w[i]);
	return n;
}

static void cpus_format(const struct cpus *c, struct buf *out)
{
	const char *comma = "";

	for (int i = 0; i < CPUS_MAX; i++) {
		int last = i;

		if (!c->w[i / 64]) {
			i |= 63;
			continue;
		}
		if (!cpu_has(c, i))
			continue;
		while (last + 1 < CPUS_MAX && cpu_has(c, last + 1))
			last++;
		buf_printf(out, last > i ? "%s%d-%d" : "%s%d", comma, i, last);
		comma = ",";
		i = last;
	}
}

static int cpus_parse(const char *s, struct cpus *c)
{
	memset(c, 0, sizeof *c);
	while (*s && *s != '\n') {
		unsigned first, last;
		int n = 0;

		if (sscanf(s, "%u-%u%n", &first, &last, &n) != 2 || n == 0) {
			if (sscanf(s, "%u%n", &first, &n) != 1)
				return -1;
			last = first;
		}
		if (last >= CPUS_MAX || first > last)
			return -1;
		for (unsigned i = first; i <= last; i++)
			c->w[i / 64] |= 1ull << (i % 64);
		s += n;
		if (*s == ',')
			s++;
		else if (*s && *s != '\n')
			return -1;
	}
	return cpus_count(c) ? 0 : -1;
}

static int cpus_read(pid_t tid, struct cpus *c, struct err *e)
{
	memset(c, 0, sizeof *c);
	if (syscall(SYS_sched_getaffinity, tid, sizeof *c, c) < 0)
		return err_sys(e, "sched_getaffinity");
	return 0;
}

/* Does the set cover every CPU of this node? The list is read once: it changes only when CPUs come and go. */
static bool cpus_all(const struct cpus *c)
{
	static struct cpus online;
	static bool known;

	if (!known) {
		AUTO_BUF struct buf b = BUF_INIT;

		if (buf_read_file(&b, -1, "/sys/devices/system/cpu/online", 65536) < 0 || cpus_parse(buf_str(&b), &online) < 0)
			return false;
		known = true;
	}
	for (int i = 0; i < CPU_WORDS; i++)
		if (online.w[i] & ~c->w[i])
			return false;
	return true;
}

/* ---- checkpoint ---- */

static int sched_dump_thread(struct dump *d, struct dproc *p, struct dthread *th, struct err *e)
{
	AUTO_BUF struct buf list = BUF_INIT;
	struct cpus cpus;
	struct attr a;
	long ioprio;

	if (attr_read(th->tid, &a, e) < 0 || cpus_read(th->tid, &cpus, e) < 0)
		return -1;
	ioprio = syscall(SYS_ioprio_get, IOPRIO_PROCESS, th->tid);
	if (ioprio < 0)
		return err_sys(e, "ioprio_get");
	cpus_format(&cpus, &list);
	if (buf_failed(&list))
		return err_set(e, EX_FAILED, "out of memory");
	rec_begin(&p->out, "sched");
	rec_put_u64(&p->out, "POLICY", a.policy);
	rec_put_hex(&p->out, "FLAGS", a.flags & ATTR_FLAGS);
	rec_put_i64(&p->out, "NICE", a.nice);
	rec_put_u64(&p->out, "PRIORITY", a.priority);
	rec_put_u64(&p->out, "RUNTIME", a.runtime);
	rec_put_u64(&p->out, "DEADLINE", a.deadline);
	rec_put_u64(&p->out, "PERIOD", a.period);
	rec_put_u64(&p->out, "UTIL_MIN", a.util_min);
	rec_put_u64(&p->out, "UTIL_MAX", a.util_max);
	rec_put_i64(&p->out, "IOPRIO", ioprio);
	rec_put_str(&p->out, "CPUS", buf_str(&list));
	rec_put_i64(&p->out, "ALL_CPUS", cpus_all(&cpus));
	rec_end(&p->out);
	return 0;
}

/* ---- restart ---- */

static int sched_get(struct rproc *p, const struct rthread *th, struct sched *s, struct err *e)
{
	uint64_t policy, priority, util_min, util_max, all;
	struct attr *a = &s->attr;
	const char *list;
	struct rec rec;
	int nice;

	if (rthread_rec(p, th, "sched", 0, &rec) < 0)
		return err_set(e, EX_BAD_IMAGE, "thread %d: there is no sched record", th->tid);
	memset(s, 0, sizeof *s);
	if (rec_u64(&rec, "POLICY", POLICY_MAX, &policy, e) < 0 || rec_u64(&rec, "FLAGS", ATTR_FLAGS, &a->flags, e) < 0 ||
	    rec_int(&rec, "NICE", -20, 19, &nice, e) < 0 || rec_u64(&rec, "PRIORITY", 99, &priority, e) < 0 ||
	    rec_u64(&rec, "RUNTIME", INT64_MAX, &a->runtime, e) < 0 ||
	    rec_u64(&rec, "DEADLINE", INT64_MAX, &a->deadline, e) < 0 ||
	    rec_u64(&rec, "PERIOD", INT64_MAX, &a->period, e) < 0 ||
	    rec_u64(&rec, "UTIL_MIN", UTIL_MAX, &util_min, e) < 0 || rec_u64(&rec, "UTIL_MAX", UTIL_MAX, &util_max, e) < 0 ||
	    rec_int(&rec, "IOPRIO", 0, IOPRIO_MAX, &s->ioprio, e) < 0 ||
	    rec_str(&rec, "CPUS", &list, e) < 0 || rec_u64(&rec, "ALL_CPUS", 1, &all, e) < 0)
		return -1;
	if (cpus_parse(list, &s->cpus) < 0)
		return err_set(e, EX_BAD_IMAGE, "line %zu: CPUS", rec.line);
	a->size = sizeof *a;
	a->policy = (uint32_t)policy;
	a->nice = nice;
	a->priority = (uint32_t)priority;
	a->util_min = (uint32_t)util_min;
	a->util_max = (uint32_t)util_max;
	s->all_cpus = all;
	return 0;
}

/* May the restorer give it? */
static int sched_allowed(struct restore *r, const struct attr *a, struct err *e)
{
	bool capable = proc_capable(r, CAP_SYS_NICE) && !proc_untrusted(r);
	struct rlimit rt = { 0 }, nice = { 0 };

	if (capable || (getrlimit(RLIMIT_RTPRIO, &rt) < 0) || getrlimit(RLIMIT_NICE, &nice) < 0)
		return 0;
	if (a->policy == POLICY_DEADLINE || (policy_rt(a->policy) && rt.rlim_cur < a->priority))
		return err_set(e, EX_PERM, "real-time scheduling (policy %u) needs CAP_SYS_NICE", a->policy);
	if (a->nice < getpriority(PRIO_PROCESS, 0) && (rlim_t)(20 - a->nice) > nice.rlim_cur)
		return err_set(e, EX_PERM, "nice value %d needs CAP_SYS_NICE", a->nice);
	return 0;
}

static int sched_verify(struct restore *r, struct rproc *p, struct err *e)
{
	for (size_t i = 0; i < p->nthr + p->headless; i++) {
		struct sched s;

		if (sched_get(p, &p->thr[i], &s, e) < 0)
			return -1;
		if (sched_allowed(r, &s.attr, e) < 0)
			return err_prefix(e, "thread %d", p->thr[i].tid);
	}
	return 0;
}

static int affinity_restore(pid_t tid, const struct sched *s, struct err *e)
{
	struct cpus now, all;

	if (cpus_read(tid, &now, e) < 0)
		return -1;
	if (s->all_cpus ? cpus_all(&now) : memcmp(&now, &s->cpus, sizeof now) == 0)
		return 0;
	memset(&all, 0xff, sizeof all);
	if (syscall(SYS_sched_setaffinity, tid, sizeof all, s->all_cpus ? &all : &s->cpus) == 0)
		return 0;
	if (errno == EINVAL) {
		AUTO_BUF struct buf list = BUF_INIT;

		cpus_format(&s->cpus, &list);
		return err_set(e, EX_MISFIT, "none of its CPUs (%s) exists here", buf_str(&list));
	}
	return err_sys(e, "sched_setaffinity");
}

static int attr_restore(pid_t tid, struct attr *a, struct err *e)
{
	struct attr now;

	if (attr_read(tid, &now, e) < 0)
		return -1;
	now.flags &= ATTR_FLAGS;
	if (memcmp(a, &now, sizeof now) == 0)
		return 0;
	if (a->util_min != now.util_min || a->util_max != now.util_max)
		a->flags |= ATTR_UTIL_CLAMP;
	if (syscall(SYS_sched_setattr, tid, a, 0) == 0) {
		/* That sets the nice value of SCHED_OTHER and SCHED_BATCH only. */
		if (!policy_fair(a->policy) && now.nice != a->nice && setpriority(PRIO_PROCESS, (id_t)tid, a->nice) < 0)
			return err_sys(e, "nice %d", a->nice);
		return 0;
	}
	if (errno == EBUSY || errno == EOPNOTSUPP || errno == EINVAL)
		return err_set(e, EX_MISFIT, "scheduling policy %u cannot be given here: %s", a->policy, strerror(errno));
	return err_sys(e, "scheduling policy %u, nice %d", a->policy, a->nice);
}

static int sched_restore_thread(struct restore *r, struct rproc *p, struct rthread *th, struct err *e)
{
	pid_t tid = p->t->thr[th->index].tid;
	struct sched s;

	if (sched_get(p, th, &s, e) < 0)
		return -1;
	/* A deadline task cannot have its affinity changed, so that comes first. */
	if (affinity_restore(tid, &s, e) < 0 || attr_restore(tid, &s.attr, e) < 0)
		return err_prefix(e, "thread %d", th->tid);
	if (syscall(SYS_ioprio_get, IOPRIO_PROCESS, tid) != s.ioprio &&
	    syscall(SYS_ioprio_set, IOPRIO_PROCESS, tid, s.ioprio) < 0) {
		err_sys(e, "I/O priority %#x", s.ioprio);
		return err_prefix(e, "thread %d", th->tid);
	}
	return 0;
}

const struct res_ops res_sched = {
	.name = "sched",
	.dump_thread = sched_dump_thread,
	.verify = sched_verify,
	.restore_thread = sched_restore_thread,
};
