/* rlimit: the 16 resource limits of a process.
 *
 * Read with prlimit(2), or from /proc/PID/limits when the process has another user's credentials and
 * we lack CAP_SYS_RESOURCE. A hard limit above the restorer's can only be raised with that capability: in restore(),
 * before the process loses it. The final values come last of all (late()), so that
 * a small RLIMIT_NOFILE, RLIMIT_AS or RLIMIT_FSIZE does not hinder the restart itself. */
#include "res/proc_ops.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

struct limit64 { uint64_t soft, hard; };
/* By RLIMIT_ number; `label` is how /proc/PID/limits calls it. */
static const struct { const char *name, *label; } limits[] = {
	{ "CPU", "Max cpu time" },
	{ "FSIZE", "Max file size" },
	{ "DATA", "Max data size" },
	{ "STACK", "Max stack size" },
	{ "CORE", "Max core file size" },
	{ "RSS", "Max resident set" },
	{ "NPROC", "Max processes" },
	{ "NOFILE", "Max open files" },
	{ "MEMLOCK", "Max locked memory" },
	{ "AS", "Max address space" },
	{ "LOCKS", "Max file locks" },
	{ "SIGPENDING", "Max pending signals" },
	{ "MSGQUEUE", "Max msgqueue size" },
	{ "NICE", "Max nice priority" },
	{ "RTPRIO", "Max realtime priority" },
	{ "RTTIME", "Max realtime timeout" },
};
enum { NLIMITS = sizeof limits / sizeof limits[0] };

static int limit_word(const char **s, uint64_t *v)
{
	char *end;

	while (**s == ' ')
		++*s;
	if (strncmp(*s, "unlimited", 9) == 0) {
		*v = RLIM64_INFINITY;
		*s += 9;
		return 0;
	}
	if (!isdigit((unsigned char)**s))
		return -1;
	*v = strtoull(*s, &end, 10);
	*s = end;
	return 0;
}

static int limits_from_proc(pid_t pid, struct limit64 *v, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;

	if (proc_read(&b, pid, "limits", 65536) < 0)
		return err_sys(e, "/proc/%d/limits", pid);
	for (int i = 0; i < NLIMITS; i++) {
		const char *at = strstr(buf_str(&b), limits[i].label);

		if (at)
			at += strlen(limits[i].label);
		if (!at || limit_word(&at, &v[i].soft) < 0 || limit_word(&at, &v[i].hard) < 0)
			return err_set(e, EX_FAILED, "/proc/%d/limits: no limit \"%s\"", pid, limits[i].label);
	}
	return 0;
}

static int limits_read(pid_t pid, struct limit64 *v, struct err *e)
{
	for (int i = 0; i < NLIMITS; i++)
		if (syscall(SYS_prlimit64, pid, i, NULL, &v[i]) < 0)
			return errno == EPERM ? limits_from_proc(pid, v, e) : err_sys(e, "prlimit");
	return 0;
}

static int rlimit_dump(struct dump *d, struct dproc *p, struct err *e)
{
	struct limit64 v[NLIMITS];

	if (limits_read(p->pid, v, e) < 0)
		return -1;
	for (int i = 0; i < NLIMITS; i++) {
		rec_begin(&p->out, "rlimit");
		rec_put_str(&p->out, "NAME", limits[i].name);
		rec_put_u64(&p->out, "SOFT", v[i].soft);
		rec_put_u64(&p->out, "HARD", v[i].hard);
		rec_end(&p->out);
	}
	return 0;
}

static int limits_get(struct rproc *p, struct limit64 *v, struct err *e)
{
	bool seen[NLIMITS] = { false };
	struct rec rec;

	for (long at = rproc_rec(p, "rlimit", 0, &rec); at >= 0; at = rproc_rec(p, "rlimit", at + 1, &rec)) {
		const char *name;
		int i;

		if (rec_str(&rec, "NAME", &name, e) < 0)
			return -1;
		for (i = 0; i < NLIMITS && strcmp(name, limits[i].name) != 0; i++)
			;
		if (i == NLIMITS || seen[i])
			return err_set(e, EX_BAD_IMAGE, "line %zu: limit %s is unknown or there twice", rec.line, name);
		seen[i] = true;
		if (rec_u64(&rec, "SOFT", UINT64_MAX, &v[i].soft, e) < 0 ||
		    rec_u64(&rec, "HARD", UINT64_MAX, &v[i].hard, e) < 0)
			return -1;
		if (v[i].soft > v[i].hard)
			return err_set(e, EX_BAD_IMAGE, "line %zu: soft limit above the hard limit", rec.line);
	}
	for (int i = 0; i < NLIMITS; i++)
		if (!seen[i])
			return err_set(e, EX_BAD_IMAGE, "there is no record of RLIMIT_%s", limits[i].name);
	return 0;
}

static int cannot_raise(int i, uint64_t from, struct err *e)
{
	if (from == RLIM64_INFINITY)
		err_set(e, EX_MISFIT, "cannot set RLIMIT_%s", limits[i].name);
	else
		err_set(e, EX_MISFIT, "the hard limit RLIMIT_%s cannot be raised above %llu here", limits[i].name,
			(unsigned long long)from);
	err_hint(e, "raise it before xrestart (ulimit -H), or have CAP_SYS_RESOURCE");
	return -1;
}

static int rlimit_verify(struct restore *r, struct rproc *p, struct err *e)
{
	struct limit64 v[NLIMITS], own;

	if (limits_get(p, v, e) < 0)
		return -1;
	if (proc_capable(r, CAP_SYS_RESOURCE) && !proc_untrusted(r))
		return 0;
	for (int i = 0; i < NLIMITS; i++) {
		if (syscall(SYS_prlimit64, 0, i, NULL, &own) < 0)
			return err_sys(e, "prlimit");
		if (v[i].hard > own.hard)
			return cannot_raise(i, own.hard, e);
	}
	return 0;
}

/* Raises what must be raised while the process still may. */
static int rlimit_restore(struct restore *r, struct rproc *p, struct err *e)
{
	struct limit64 v[NLIMITS], own;

	if (limits_get(p, v, e) < 0)
		return -1;
	for (int i = 0; i < NLIMITS; i++) {
		long ret;

		if (syscall(SYS_prlimit64, 0, i, NULL, &own) < 0)
			return err_sys(e, "prlimit");
		if (v[i].hard <= own.hard)
			continue;
		own.hard = v[i].hard;
		if (remote_room(p->rem, 1, sizeof own, e) < 0 ||
		    remote_one(p->rem, "prlimit", &ret, e, SYS_prlimit64, 0, i,
			       remote_put(p->rem, &own, sizeof own), 0, 0, 0) < 0)
			return -1;
		if (ret < 0)
			return cannot_raise(i, own.soft, e);
	}
	return 0;
}

static int rlimit_late(struct restore *r, struct rproc *p, struct err *e)
{
	struct limit64 v[NLIMITS];
	size_t call[NLIMITS];

	if (limits_get(p, v, e) < 0 || remote_room(p->rem, NLIMITS, NLIMITS * sizeof v[0], e) < 0)
		return -1;
	for (int i = 0; i < NLIMITS; i++)
		call[i] = remote_call(p->rem, "prlimit", REMOTE_ANY, SYS_prlimit64, 0, i,
				      remote_put(p->rem, &v[i], sizeof v[i]), 0, 0, 0);
	if (remote_run(p->rem, e) < 0)
		return -1;
	for (int i = 0; i < NLIMITS; i++)
		if (remote_ret(p->rem, call[i]) < 0)
			return cannot_raise(i, RLIM64_INFINITY, e);
	return 0;
}

const struct res_ops res_rlimit = {
	.name = "rlimit",
	.dump = rlimit_dump,
	.verify = rlimit_verify,
	.restore = rlimit_restore,
	.late = rlimit_late,
};
