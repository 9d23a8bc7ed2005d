/* attach: seizing a process, and the small parts of struct tracee. */
#include "common/cleanup.h"
#include "tracee/internal.h"
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int64_t mono_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void wait_a_little(unsigned round)
{
	struct timespec ts = { 0, round < 100 ? 20 * 1000 : 1000 * 1000 };

	if (round < 20)
		sched_yield();
	else
		nanosleep(&ts, NULL);
}

struct tracee *tracee_new(pid_t pid)
{
	struct tracee *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->pid = pid;
	t->pidfd = t->memfd = -1;
	if (!tracee_add(t, pid)) {
		free(t);
		return NULL;
	}
	return t;
}

void tracee_free(struct tracee *t)
{
	if (!t)
		return;
	if (t->pidfd >= 0)
		close(t->pidfd);
	if (t->memfd >= 0)
		close(t->memfd);
	if (t->spare)
		remote_free(t->spare);
	if (t->active)
		remote_free(t->active);
	proc_maps_free(&t->maps);
	free(t->thr);
	free(t);
}

struct tthread *tracee_add(struct tracee *t, pid_t tid)
{
	if (t->nthr == t->capthr) {
		size_t cap = t->capthr ? t->capthr * 2 : 4;
		struct tthread *p = realloc(t->thr, cap * sizeof(*p));

		if (!p)
			return NULL;
		t->thr = p;
		t->capthr = cap;
	}
	t->thr[t->nthr] = (struct tthread){ .tid = tid, .state = THREAD_RUNNING };
	return &t->thr[t->nthr++];
}

struct tthread *tracee_find(struct tracee *t, pid_t tid)
{
	for (size_t i = 0; i < t->nthr; i++)
		if (t->thr[i].tid == tid)
			return &t->thr[i];
	return NULL;
}

pid_t tracee_alive(const struct tracee *t)
{
	for (size_t i = 0; i < t->nthr; i++)
		if (t->thr[i].state != THREAD_GONE)
			return t->thr[i].tid;
	return t->pid;
}

int tracee_open_mem(struct tracee *t, struct err *e)
{
	char name[64];

	if (t->memfd >= 0)
		close(t->memfd);
	snprintf(name, sizeof(name), "/proc/%d/mem", (int)tracee_alive(t));
	t->memfd = open(name, O_RDWR | O_CLOEXEC);
	if (t->memfd < 0)
		return err_sys(e, "cannot open %s", name);
	return 0;
}

int tracee_seize(struct tracee *t, pid_t tid, unsigned long options)
{
	if (!t->seccomp_unsuspended) {
		if (pt(XPT_SEIZE, tid, 0, (void *)(options | XPT_O_SUSPEND_SECCOMP)) == 0)
			return 0;
		if (errno != EPERM && errno != EINVAL)
			return -1;
	}
	if (pt(XPT_SEIZE, tid, 0, (void *)options) < 0)
		return -1;
	t->seccomp_unsuspended = true; /* tracee_collect takes it back when there is no filter */
	return 0;
}

bool traced_by_us(pid_t tid)
{
	struct proc_status s = { 0 };
	bool ours;

	if (proc_status_read(&s, tid, 0, NULL) < 0)
		return false;
	ours = s.tracer == (pid_t)syscall(SYS_gettid);
	proc_status_free(&s);
	return ours;
}

/* Why a thread could not be seized. */
static int seize_failed(pid_t pid, pid_t tid, int error, struct err *e)
{
	struct proc_status s = { 0 };
	struct proc_stat st, by;
	int r;

	errno = error;
	if (error == ESRCH || proc_stat_read(&st, pid, tid, NULL) < 0 || st.state == 'Z' || st.state == 'X')
		return err_set(e, EX_NOSUCH, "there is no such process any more");
	if (st.flags & 0x200000 /* PF_KTHREAD */)
		return err_set(e, EX_CANNOT_CKPT, "is a kernel thread");
	if (proc_status_read(&s, pid, tid, NULL) < 0)
		return err_set(e, EX_NOSUCH, "there is no such process any more");
	if (s.tracer > 0) {
		bool named = proc_stat_read(&by, s.tracer, 0, NULL) == 0;

		r = err_set(e, EX_BUSY, "is already traced by pid %d (%s)", (int)s.tracer, named ? by.comm : "?");
	} else {
		errno = error;
		r = err_sys(e, "cannot be traced");
	}
	proc_status_free(&s);
	return r;
}

static int cmp_pid(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return (x > y) - (x < y);
}

static int seize_thread(struct tracee *t, struct tthread *th, struct err *e)
{
	if (tracee_seize(t, th->tid, XPT_OPTIONS) < 0) {
		int error = errno;
		struct proc_stat st;

		if (error == EPERM && traced_by_us(th->tid)) /* born of a thread that we had already */
			pt(XPT_INTERRUPT, th->tid, 0, NULL);
		else if (error == ESRCH || proc_stat_read(&st, t->pid, th->tid, NULL) < 0 ||
			 st.state == 'Z' || st.state == 'X')
			th->state = THREAD_GONE;
		else
			return seize_failed(t->pid, th->tid, error, e);
		return 0;
	}
	pt(XPT_INTERRUPT, th->tid, 0, NULL);
	return 0;
}

/* A worker of io_uring is listed as a thread, but runs in the kernel only: it never comes to a stop, and needs none. */
static bool is_worker(pid_t pid, pid_t tid)
{
	enum { IO_WORKER = 0x10, USER_WORKER = 0x4000 };
	struct proc_stat s;

	return tid != pid && proc_stat_read(&s, pid, tid, NULL) == 0 && s.flags & (IO_WORKER | USER_WORKER);
}

int tracee_scan(struct tracee *t, size_t *added, struct err *e)
{
	struct pid_list now = { 0 };
	AUTO_FREE pid_t *known = NULL;
	size_t n = t->nthr;
	int r = -1;

	*added = 0;
	if (proc_tasks(&now, t->pid, e) < 0)
		return -1;
	known = malloc((n + 1) * sizeof(*known));
	if (!known) {
		err_set(e, EX_FAILED, "out of memory");
		goto out;
	}
	for (size_t i = 0; i < n; i++)
		known[i] = t->thr[i].tid;
	qsort(known, n, sizeof(*known), cmp_pid);
	for (size_t i = 0; i < now.n; i++) {
		struct tthread *th;

		if (bsearch(&now.v[i], known, n, sizeof(*known), cmp_pid) || is_worker(t->pid, now.v[i]))
			continue;
		th = tracee_add(t, now.v[i]);
		if (!th) {
			err_set(e, EX_FAILED, "out of memory");
			goto out;
		}
		(*added)++;
		if (seize_thread(t, th, e) < 0) {
			th->state = THREAD_GONE; /* never was ours */
			goto out;
		}
	}
	r = 0;
out:
	pid_list_free(&now);
	return r;
}

int tracee_attach(struct tracee **out, pid_t pid, struct err *e)
{
	struct tracee *t = tracee_new(pid);
	size_t added;

	*out = NULL;
	if (!t)
		return err_set(e, EX_FAILED, "out of memory");
	t->pidfd = (int)syscall(SYS_pidfd_open, (long)pid, 0L);
	if (t->pidfd < 0) {
		int r = errno == ESRCH ? err_set(e, EX_NOSUCH, "there is no such process") :
				       err_sys(e, "cannot open a pidfd");

		if (errno == EINVAL || errno == ENOENT)
			r = err_set(e, EX_NOSUCH, "is a thread, not a process");
		tracee_free(t);
		return r;
	}
	if (seize_thread(t, &t->thr[0], e) < 0) {
		tracee_free(t);
		return -1;
	}
	do {
		if (tracee_scan(t, &added, e) < 0) {
			tracee_detach(t, NULL);
			return -1;
		}
	} while (added > 0);
	t->zombie_leader = t->thr[0].state == THREAD_GONE;
	if (t->zombie_leader && t->nthr == 1) {
		tracee_free(t);
		return err_set(e, EX_NOSUCH, "has exited");
	}
	*out = t;
	return 0;
}

int tracee_attached(struct tracee **out, pid_t pid, struct err *e)
{
	struct tracee *t = tracee_new(pid);

	*out = NULL;
	if (!t)
		return err_set(e, EX_FAILED, "out of memory");
	t->pidfd = (int)syscall(SYS_pidfd_open, (long)pid, 0L);
	if (t->pidfd < 0 || pt(XPT_INTERRUPT, pid, 0, NULL) < 0) {
		tracee_free(t);
		return err_set(e, EX_NOSUCH, "there is no such process any more");
	}
	t->seccomp_unsuspended = true; /* not known; matters only with a filter */
	*out = t;
	return 0;
}
