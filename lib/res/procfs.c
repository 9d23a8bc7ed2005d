/* procfs: what a process has only as files in /proc/PID: oom_score_adj(5), coredump_filter, and the nice value of the
 * autogroup of a session (sched(7)). Read and written from outside.
 *
 * loginuid is left alone: it is the audit system's note of who logged in, and who restarts is who answers for it. */
#include "res/proc_ops.h"
#include "common/cleanup.h"

#include <string.h>
#include <time.h>

struct proc_file {
	const char *type;              /* of its record, and file name */
	int base;
	int64_t min, max;
};
static const struct proc_file files[] = {
	{ "oom_score_adj", 10, -1000, 1000 },
	{ "coredump_filter", 16, 0, 0x1ff },
};
enum { NFILES = sizeof files / sizeof files[0], NICE_MIN = -20, NICE_MAX = 19, AUTOGROUP_TRIES = 500 };

/* "/autogroup-123 nice 5" */
static int autogroup_read(pid_t pid, int *nice, bool *have, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	const char *at;

	*have = false;
	if (proc_read(&b, pid, "autogroup", 256) < 0)
		return errno == ENOENT ? 0 : err_sys(e, "/proc/%d/autogroup", pid);
	at = strstr(buf_str(&b), " nice ");
	if (at && sscanf(at, " nice %d", nice) == 1)
		*have = true;
	return 0;
}

static int procfs_dump(struct dump *d, struct dproc *p, struct err *e)
{
	int nice = 0;
	bool have;

	for (size_t i = 0; i < NFILES; i++) {
		int64_t v;

		if (proc_read_num(p->pid, files[i].type, files[i].base, &v) < 0) {
			if (errno == ENOENT) /* a kernel without core dumps */
				continue;
			return err_sys(e, "/proc/%d/%s", p->pid, files[i].type);
		}
		rec_begin(&p->out, files[i].type);
		rec_put_i64(&p->out, "VALUE", v);
		rec_end(&p->out);
	}
	if (p->vsid != p->vpid) /* one a session: its leader's record */
		return 0;
	if (autogroup_read(p->pid, &nice, &have, e) < 0)
		return -1;
	if (have && nice != 0) {
		rec_begin(&p->out, "autogroup");
		rec_put_i64(&p->out, "NICE", nice);
		rec_end(&p->out);
	}
	return 0;
}

static int procfs_verify(struct restore *r, struct rproc *p, struct err *e)
{
	struct rec rec;
	int64_t v;

	for (size_t i = 0; i < NFILES; i++)
		if (rproc_rec(p, files[i].type, 0, &rec) >= 0 &&
		    rec_i64(&rec, "VALUE", files[i].min, files[i].max, &v, e) < 0)
			return -1;
	if (proc_untrusted(r) && rproc_rec(p, "oom_score_adj", 0, &rec) >= 0) {
		int64_t own = 0;

		if (rec_i64(&rec, "VALUE", -1000, 1000, &v, e) < 0)
			return -1;
		if (proc_read_num(getpid(), "oom_score_adj", 10, &own) < 0 || v < own)
			return err_set(e, EX_PERM, "oom_score_adj %d is more than the image's owner may have", (int)v);
	}
	if (rproc_rec(p, "autogroup", 0, &rec) >= 0 && rec_i64(&rec, "NICE", NICE_MIN, NICE_MAX, &v, e) < 0)
		return -1;
	return 0;
}

static int file_restore(struct rproc *p, const struct proc_file *f, struct err *e)
{
	struct rec rec;
	int64_t v, now;
	char text[32];

	if (rproc_rec(p, f->type, 0, &rec) < 0)
		return 0;
	if (rec_i64(&rec, "VALUE", f->min, f->max, &v, e) < 0)
		return -1;
	if (proc_read_num(p->t->pid, f->type, f->base, &now) < 0)
		return err_sys(e, "/proc/%d/%s", p->t->pid, f->type);
	if (now == v)
		return 0;
	snprintf(text, sizeof text, f->base == 16 ? "0x%llx" : "%lld", (long long)v);
	if (proc_write(p->t->pid, f->type, text) < 0)
		return err_sys(e, "cannot set %s to %s", f->type, text);
	return 0;
}

/* The kernel lets the unprivileged set one every 100 ms only. */
static int autogroup_write(pid_t pid, const char *text)
{
	const struct timespec wait = { 0, 20 * 1000 * 1000 };

	for (int i = 0; i < AUTOGROUP_TRIES; i++) {
		if (proc_write(pid, "autogroup", text) == 0)
			return 0;
		if (errno != EAGAIN)
			return -1;
		nanosleep(&wait, NULL);
	}
	return -1;
}

static int procfs_restore(struct restore *r, struct rproc *p, struct err *e)
{
	struct rec rec;
	int nice, now = 0;
	char text[32];
	bool have;

	for (size_t i = 0; i < NFILES; i++)
		if (file_restore(p, &files[i], e) < 0)
			return -1;
	if (rproc_rec(p, "autogroup", 0, &rec) < 0)
		return 0;
	if (rec_int(&rec, "NICE", NICE_MIN, NICE_MAX, &nice, e) < 0 || autogroup_read(p->t->pid, &now, &have, e) < 0)
		return -1;
	if (!have || now == nice) /* without autogroups nobody has such a value */
		return 0;
	snprintf(text, sizeof text, "%d", nice);
	if (autogroup_write(p->t->pid, text) < 0)
		return err_sys(e, "cannot set the autogroup's nice value to %d", nice);
	return 0;
}

const struct res_ops res_procfs = {
	.name = "procfs",
	.dump = procfs_dump,
	.verify = procfs_verify,
	.restore = procfs_restore,
};
