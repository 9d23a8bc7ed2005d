/* The processes of a job: which they are, and signals to all of them.
 *
 * A job with a group asks the kernel. A tree job is what descends from its supervisor; when that was killed,
 * from its namespace init; when there is none either, what bears the job's mark (job.h). */
#include "common/cleanup.h"
#include "common/buf.h"
#include "job/internal.h"
#include <ctype.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { KILL_MS = 10000, STOP_MS = 10000, ENVIRON_MAX = 4 << 20, STOP_AFTER_ROUNDS = 5 };

/* ---- who ---- */

/* The first process of a PID namespace below ours. */
static bool is_nsinit(pid_t pid)
{
	struct proc_status st;
	if (pid <= 0 || proc_status_read(&st, pid, 0, NULL) < 0)
		return false;
	bool yes = st.nnspid >= 2 && st.nspid[st.nnspid - 1] == 1 && st.state != 'Z' && st.state != 'X';
	proc_status_free(&st);
	return yes;
}

/* Everything visible in /proc, read once. */
struct snap { struct proc_stat *v; bool *in; size_t n, cap; };

static int snap_read(struct snap *s, struct err *e)
{
	AUTO_DIR DIR *d = opendir("/proc");
	if (!d)
		return err_sys(e, "/proc");
	for (struct dirent *de; (de = readdir(d));) {
		if (!isdigit((unsigned char)de->d_name[0]))
			continue;
		if (s->n == s->cap) {
			size_t cap = s->cap ? s->cap * 2 : 256;
			void *v = realloc(s->v, cap * sizeof *s->v);
			if (v)
				s->v = v;
			void *in = v ? realloc(s->in, cap * sizeof *s->in) : NULL;
			if (!in)
				return err_set(e, EX_FAILED, "out of memory");
			s->in = in;
			s->cap = cap;
		}
		struct proc_stat *st = &s->v[s->n];
		if (proc_stat_read(st, (pid_t)atol(de->d_name), 0, NULL) < 0 || proc_stat_ended(st))
			continue;
		s->in[s->n++] = false;
	}
	return 0;
}

/* A first thread that has exited has no environment to show, the others have. */
static int environ_read(struct buf *b, pid_t pid)
{
	struct pid_list l = { 0 };
	char name[48];
	int rc = proc_read(b, pid, "environ", ENVIRON_MAX);
	if (rc < 0 || b->len || proc_tasks(&l, pid, NULL) < 0)
		return rc;
	for (size_t i = 0; i < l.n && !b->len; i++) {
		snprintf(name, sizeof name, "task/%d/environ", (int)l.v[i]);
		proc_read(b, pid, name, ENVIRON_MAX);
	}
	pid_list_free(&l);
	return 0;
}

static bool has_mark(pid_t pid, const char *mark)
{
	AUTO_BUF struct buf b = BUF_INIT;
	char want[sizeof "XOS_JOB_MARK=" + JOB_MARK_LEN];
	size_t k = (size_t)snprintf(want, sizeof want, "XOS_JOB_MARK=%s", mark) + 1;
	if (!mark[0] || environ_read(&b, pid) < 0)
		return false; /* another user's, or gone */
	for (const char *p = b.p, *end = b.p + b.len; p && p < end; p += strlen(p) + 1)
		if ((size_t)(end - p) >= k - 1 && memcmp(p, want, k) == 0)
			return true;
	return false;
}

/* Descendants, and sessions that began inside the job, until nothing is added. */
static void snap_close(struct snap *s, pid_t outer_session)
{
	for (bool more = true; more;) {
		more = false;
		for (size_t i = 0; i < s->n; i++) {
			for (size_t k = 0; k < s->n && !s->in[i]; k++)
				if (s->in[k] && (s->v[i].ppid == s->v[k].pid ||
						 (s->v[i].session == s->v[k].session && s->v[k].session > 0 &&
						  s->v[k].session != outer_session)))
					s->in[i] = more = true;
		}
	}
}

static int marked_pids(struct job *j, struct pid_list *out, struct err *e)
{
	struct snap s = { 0 };
	int r = snap_read(&s, e);
	for (size_t i = 0; i < s.n && r == 0; i++)
		/* ids are handed out in order of time, so what is older than the job is not looked at */
		s.in[i] = s.v[i].starttime >= j->supervisor_start && has_mark(s.v[i].pid, j->mark);
	if (r == 0)
		snap_close(&s, j->session);
	for (size_t i = 0; i < s.n && r == 0; i++)
		if (s.in[i] && pid_list_add(out, s.v[i].pid) < 0)
			r = err_set(e, EX_FAILED, "out of memory");
	free(s.v);
	free(s.in);
	return r;
}

static int tree_pids(struct job *j, struct pid_list *out, struct err *e)
{
	pid_t root = job_supervised(j) ? j->supervisor : is_nsinit(j->nsinit) ? j->nsinit : 0;
	if (!root)
		return marked_pids(j, out, e);
	struct err gone = ERR_INIT;
	if (proc_descendants(out, root, &gone) == 0 || gone.code == EX_NOSUCH)
		return 0;
	if (e)
		*e = gone;
	return -1;
}

/* A user can write what he likes into his record; when root acts on it, the group must be one that is delegated to him
 * and a process one of his. */
static bool foreign(const struct job *j)
{
	return geteuid() == 0 && j->owner != 0;
}

static bool owned(const struct job *j, pid_t pid)
{
	char path[32];
	struct stat st;
	snprintf(path, sizeof path, "/proc/%ld", (long)pid);
	return stat(path, &st) == 0 && st.st_uid == j->owner;
}

static bool trusted_group(const struct job *j)
{
	return !foreign(j) || cgroup_owner(&j->cg) == j->owner;
}

int job_pids(struct job *j, struct pid_list *out, struct err *e)
{
	struct pid_list all = { 0 };
	if (j->state == JOB_DONE || (j->kind == JOB_CGROUP && !trusted_group(j)))
		return 0;
	int r = j->kind == JOB_CGROUP ? cgroup_pids(&j->cg, &all, e) : tree_pids(j, &all, e);
	for (size_t i = 0; i < all.n && r == 0; i++) {
		struct proc_stat st;
		pid_t p = all.v[i];
		if (p == j->supervisor || p == j->nsinit || p == getpid())
			continue;
		if (foreign(j) && !owned(j, p))
			continue;
		if (j->kind == JOB_TREE && (proc_stat_read(&st, p, 0, NULL) < 0 || proc_stat_ended(&st)))
			continue;
		if (pid_list_add(out, p) < 0)
			r = err_set(e, EX_FAILED, "out of memory");
	}
	pid_list_free(&all);
	return r < 0 ? err_prefix(e, "job %s", j->id) : 0;
}

/* ---- signals ---- */

/* Through a pidfd, and only to the process that was seen: its id may be somebody else's by now. */
static int send_signal(pid_t pid, uint64_t start, int sig, struct err *e)
{
#ifdef SYS_pidfd_open
	AUTO_FD int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0)
		return errno == ESRCH ? 0 : err_sys(e, "pid %ld", (long)pid);
	if (!proc_is_same(pid, start))
		return 0;
	if (syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0) < 0 && errno != ESRCH)
		return err_sys(e, "pid %ld", (long)pid);
	return 0;
#else
	if (proc_is_same(pid, start) && kill(pid, sig) < 0 && errno != ESRCH)
		return err_sys(e, "pid %ld", (long)pid);
	return 0;
#endif
}

static void nap(unsigned ms)
{
	usleep(ms * 1000);
}

/* One pass of sig over the members that are not in `seen`; counts those met anew. */
static int pass(struct job *j, int sig, struct pid_list *seen, size_t *fresh, struct err *e)
{
	struct pid_list l = { 0 };
	int r = job_pids(j, &l, e);
	*fresh = 0;
	for (size_t i = 0; i < l.n && r == 0; i++) {
		struct proc_stat st;
		if (pid_list_has(seen, l.v[i]) || proc_stat_read(&st, l.v[i], 0, NULL) < 0)
			continue;
		if (pid_list_add(seen, l.v[i]) < 0)
			r = err_set(e, EX_FAILED, "out of memory");
		else
			r = send_signal(l.v[i], st.starttime, sig, e);
		++*fresh;
	}
	pid_list_free(&l);
	return r;
}

/* Signals every member once, and those that they fork meanwhile, until a pass meets nobody new. */
static int signal_tree(struct job *j, int sig, struct err *e)
{
	struct pid_list seen = { 0 };
	size_t fresh = 1;
	int r = 0;
	int64_t end = job_now_ms() + STOP_MS;
	while (r == 0 && fresh && job_now_ms() < end)
		r = pass(j, sig, &seen, &fresh, e);
	pid_list_free(&seen);
	return r;
}

static int kill_tree(struct job *j, struct err *e)
{
	int64_t end = job_now_ms() + KILL_MS;
	for (unsigned round = 0;; round++) {
		struct pid_list l = { 0 };
		size_t fresh;
		/* What forks faster than it is killed is stopped first. */
		if (round >= STOP_AFTER_ROUNDS && signal_tree(j, SIGSTOP, e) < 0)
			return -1;
		int r = pass(j, SIGKILL, &l, &fresh, e);
		pid_list_free(&l);
		if (r < 0 || fresh == 0)
			return r;
		if (job_now_ms() >= end)
			return err_set(e, EX_FAILED, "job %s: its processes do not die", j->id);
		nap(round < 10 ? 1 : 10);
	}
}

int job_kill(struct job *j, int sig, struct err *e)
{
	if (j->state == JOB_DONE)
		return 0;
	if (j->kind == JOB_CGROUP && !trusted_group(j))
		return err_set(e, EX_PERM, "job %s: its group is not one of the user who wrote its record", j->id);
	int r = j->kind == JOB_CGROUP ? cgroup_kill(&j->cg, sig, e)
	      : sig == SIGKILL ? kill_tree(j, e) : signal_tree(j, sig, e);
	return r < 0 ? err_prefix(e, "job %s", j->id) : 0;
}

/* ---- freeze ---- */

/* How many members run (are not stopped); SIZE_MAX: cannot tell. */
static size_t count_running(struct job *j, size_t *members)
{
	struct pid_list l = { 0 };
	size_t n = 0;
	if (job_pids(j, &l, NULL) < 0) {
		pid_list_free(&l);
		return SIZE_MAX;
	}
	for (size_t i = 0; i < l.n; i++) {
		struct proc_stat st;
		if (proc_stat_read(&st, l.v[i], 0, NULL) < 0 || st.state == 'T' || st.state == 't')
			continue;
		/* a zombie with threads: only its first one has ended */
		if (st.state != 'Z' || st.num_threads > 1)
			n++;
	}
	if (members)
		*members = l.n;
	pid_list_free(&l);
	return n;
}

int job_freeze(struct job *j, bool freeze, struct err *e)
{
	if (j->kind == JOB_CGROUP) {
		size_t n = 0;
		if (cgroup_freeze(&j->cg, freeze, e) < 0)
			return err_prefix(e, "job %s", j->id);
		/* xcheckpoint -s leaves members stopped by SIGSTOP */
		return !freeze && count_running(j, &n) == 0 && n ? job_kill(j, SIGCONT, e) : 0;
	}
	if (!freeze)
		return signal_tree(j, SIGCONT, e);
	int64_t end = job_now_ms() + STOP_MS;
	do {
		if (signal_tree(j, SIGSTOP, e) < 0)
			return -1;
		if (count_running(j, NULL) == 0)
			return 0;
		nap(1);
	} while (job_now_ms() < end);
	signal_tree(j, SIGCONT, NULL);
	return err_set(e, EX_FAILED, "job %s: its processes do not stop", j->id);
}

bool job_frozen(struct job *j)
{
	size_t n = 0;
	if (j->state != JOB_RUNNING)
		return false;
	if (j->kind == JOB_CGROUP && cgroup_frozen(&j->cg))
		return !cgroup_empty(&j->cg);
	return count_running(j, &n) == 0 && n;
}

int job_usage(struct job *j, struct cgroup_usage *u, struct err *e)
{
	*u = j->usage;
	if (j->state != JOB_RUNNING)
		return 0;
	if (j->kind == JOB_CGROUP)
		return cgroup_read_usage(&j->cg, u, e);
	struct pid_list l = { 0 };
	if (job_pids(j, &l, e) < 0)
		return -1;
	uint64_t hz = (uint64_t)sysconf(_SC_CLK_TCK), page = (uint64_t)sysconf(_SC_PAGESIZE);
	for (size_t i = 0; i < l.n; i++) {
		struct proc_stat st;
		if (proc_stat_read(&st, l.v[i], 0, NULL) < 0)
			continue;
		u->cpu_user_us += st.utime * 1000000 / hz;
		u->cpu_sys_us += st.stime * 1000000 / hz;
		u->mem_now += (uint64_t)(st.rss > 0 ? st.rss : 0) * page;
		u->has_mem_now = true;
	}
	pid_list_free(&l);
	return 0;
}
