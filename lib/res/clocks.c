/* clocks: CLOCK_MONOTONIC and CLOCK_BOOTTIME never go backwards for a job: not after a reboot, not on a node that was started later.
 * time_namespaces(7).
 *
 * Record, of one process: TYPE="clocks" MONOTONIC= BOOTTIME= [OWN="1"], in nanoseconds, as the job saw them when it stood; OWN: it was in a time
 * namespace other than xcheckpoint's.
 *
 * On restart the clocks are left alone when they are ahead of that: time goes on while a job is saved. Where they are behind, or the job had clocks of
 * its own, it gets a time namespace in which they go on from there. Where that cannot be had (a kernel before 5.6, no CAP_SYS_ADMIN and no user
 * namespace), xrestart -v says so; timers go on with what remained of them in any case. */
#include "res/clocks.h"
#include "res/proc_ops.h"
#include "common/cleanup.h"
#include "common/log.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif
enum { SECOND = 1000000000, OFFSETS_MAX = 4096 };

struct offsets { int64_t monotonic, boottime; };

static int64_t ns_of(clockid_t clock)
{
	struct timespec t;

	return clock_gettime(clock, &t) ? 0 : (int64_t)t.tv_sec * SECOND + t.tv_nsec;
}

/* Those of the time namespace that its children get, which is its own unless it has just made another. All 0 on a kernel without. */
static void offsets_read(pid_t pid, struct offsets *o)
{
	AUTO_BUF struct buf b = BUF_INIT;
	char *save = NULL, name[16];
	long long sec, ns;

	*o = (struct offsets){ 0 };
	if (proc_read(&b, pid, "timens_offsets", OFFSETS_MAX) || !b.p)
		return;
	for (char *line = strtok_r(b.p, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (sscanf(line, "%15s %lld %lld", name, &sec, &ns) != 3)
			continue;
		if (!strcmp(name, "monotonic") || !strcmp(name, "1"))
			o->monotonic = sec * SECOND + ns;
		else if (!strcmp(name, "boottime") || !strcmp(name, "7"))
			o->boottime = sec * SECOND + ns;
	}
}

static struct dproc *first_living(const struct dump *d)
{
	for (size_t i = 0; i < d->nprocs; i++)
		if (!d->procs[i]->zombie)
			return d->procs[i];
	return NULL;
}

void clocks_of(pid_t pid, int64_t *monotonic, int64_t *boottime)
{
	struct offsets ours, theirs;

	offsets_read(getpid(), &ours);
	offsets_read(pid, &theirs);
	*monotonic = ns_of(CLOCK_MONOTONIC) - ours.monotonic + theirs.monotonic;
	*boottime = ns_of(CLOCK_BOOTTIME) - ours.boottime + theirs.boottime;
}

static int clocks_dump(struct dump *d, struct dproc *p, struct err *e)
{
	struct offsets ours, theirs;
	int64_t monotonic, boottime;

	(void)e;
	if (p != first_living(d))
		return 0;
	offsets_read(getpid(), &ours);
	offsets_read(p->pid, &theirs);
	clocks_of(p->pid, &monotonic, &boottime);
	rec_begin(&p->out, "clocks");
	rec_put_i64(&p->out, "MONOTONIC", monotonic);
	rec_put_i64(&p->out, "BOOTTIME", boottime);
	if (memcmp(&ours, &theirs, sizeof ours))
		rec_put_u64(&p->out, "OWN", 1);
	rec_end(&p->out);
	return 0;
}

struct saved { uint64_t monotonic, boottime, own; };

/* 1: p has no such record. */
static int record(const struct rproc *p, struct saved *s, struct err *e)
{
	struct rec rec;

	if (rproc_rec(p, "clocks", 0, &rec) < 0)
		return 1;
	return rec_u64(&rec, "MONOTONIC", CLOCKS_MAX, &s->monotonic, e) || rec_u64(&rec, "BOOTTIME", CLOCKS_MAX, &s->boottime, e) ||
	       rec_u64_or(&rec, "OWN", 1, 0, &s->own, e) ? -1 : 0;
}

static int clocks_verify(struct restore *r, struct rproc *p, struct err *e)
{
	struct saved s;

	(void)r;
	return record(p, &s, e) < 0 ? -1 : 0;
}

/* The kernel wants the nanoseconds from 0 up. */
static int offset_text(char *out, size_t n, const char *clock, int64_t v)
{
	int64_t sec = v / SECOND, ns = v % SECOND;

	if (ns < 0) {
		sec--;
		ns += SECOND;
	}
	return snprintf(out, n, "%s %lld %lld\n", clock, (long long)sec, (long long)ns);
}

static int offsets_write(pid_t pid, const struct offsets *o)
{
	char text[128], path[64];
	AUTO_FD int fd = -1;
	int n;

	snprintf(path, sizeof path, "/proc/%d/timens_offsets", pid);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	n = offset_text(text, sizeof text, "monotonic", o->monotonic);

	n += offset_text(text + n, sizeof text - (size_t)n, "boottime", o->boottime);
	return fd >= 0 && write(fd, text, (size_t)n) == n ? 0 : -1;
}

/* Those of the clocks that we read, asked before we make another time namespace for our children (which begins with the same). */
static const struct offsets *clocks_own(void)
{
	static struct offsets own;
	static bool known;

	if (!known)
		offsets_read(getpid(), &own);
	known = true;
	return &own;
}

/* Offsets add to the clocks of the machine. */
int clocks_set(pid_t pid, int64_t monotonic, int64_t boottime)
{
	struct offsets o = *clocks_own();

	o.monotonic += monotonic - ns_of(CLOCK_MONOTONIC);
	o.boottime += boottime - ns_of(CLOCK_BOOTTIME);
	return offsets_write(pid, &o);
}

int clocks_make(struct restore *r, struct err *e)
{
	struct saved s = { 0 };
	struct offsets now, want;
	bool found = false;

	for (size_t i = 0; i < r->nprocs && !found; i++) {
		int rc = r->procs[i]->zombie || r->procs[i]->helper ? 1 : record(r->procs[i], &s, e);

		if (rc < 0)
			return -1;
		found = !rc;
	}
	clocks_own();
	now.monotonic = ns_of(CLOCK_MONOTONIC);
	now.boottime = ns_of(CLOCK_BOOTTIME);
	want = (struct offsets){ (int64_t)s.monotonic, (int64_t)s.boottime };
	if (!found || (!s.own && want.monotonic <= now.monotonic && want.boottime <= now.boottime))
		return 0;
	if (!s.own && want.monotonic < now.monotonic)
		want.monotonic = now.monotonic;
	if (!s.own && want.boottime < now.boottime)
		want.boottime = now.boottime;
	if (!unshare(CLONE_NEWTIME) && !clocks_set(getpid(), want.monotonic, want.boottime))
		return 0;
	if (s.own)
		return err_sys(e, "the job has clocks of its own, and no time namespace can be made");
	log_verbose("CLOCK_MONOTONIC goes back by %lld s for the job: no time namespace can be made: %s",
		    (long long)((want.monotonic - now.monotonic) / SECOND), strerror(errno));
	return 0;
}

const struct res_ops res_clocks = { .name = "clocks", .dump = clocks_dump, .verify = clocks_verify };
