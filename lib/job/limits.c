#include "job/limits.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/num.h"
#include "job/internal.h"
#include "job/scratch.h"
#include <string.h>

enum { PLAN_RETRIES = 50 };

static int bad(const char *arg, const char *what, struct err *e)
{
	return err_set(e, EX_USAGE_, "limit %s: %s", arg, what);
}

/* The limits that are no business of control groups. 1: taken. */
static int own_limit(struct job_limits *l, const char *name, const char *value, const char *arg, struct err *e)
{
	if (strcmp(name, "disk") == 0)
		return num_size(value, &l->disk) < 0 || !l->disk ? bad(arg, "not a size", e) : 1;
	if (strcmp(name, "inodes") == 0)
		return num_u64(value, UINT32_MAX, &l->inodes) < 0 || !l->inodes ? bad(arg, "not a number", e) : 1;
	if (strcmp(name, "time") == 0)
		return num_duration(value, &l->time_ms) < 0 || !l->time_ms ? bad(arg, "not a duration", e) : 1;
	return 0;
}

int job_limits_add(struct job_limits *l, const char *arg, struct err *e)
{
	const char *eq = strchr(arg, '=');
	if (!eq || eq == arg || !eq[1])
		return bad(arg, "it must be NAME=VALUE", e);
	if (strpbrk(arg, " \t\n"))
		return bad(arg, "a blank in it", e);
	AUTO_FREE char *name = strndup(arg, (size_t)(eq - arg)), *value = strdup(eq + 1), *text = NULL;
	if (!name || !value || asprintf(&text, "%s%s%s", l->text ? l->text : "", l->text ? " " : "", arg) < 0)
		return err_set(e, EX_FAILED, "out of memory");
	int r = own_limit(l, name, value, arg, e);
	if (r < 0)
		return -1;
	if (r == 0) {
		if (!cgroup_limit_subsystem(name)) {
			bad(arg, "unknown", e);
			err_hint(e, "memory, swap, cpus, cpuweight, cpuset, pids, iobps, disk, inodes, time, "
				    "or a control file such as memory.high");
			return -1;
		}
		if (l->n == JOB_MAX_LIMITS)
			return bad(arg, "too many limits", e);
		l->v[l->n].name = take_ptr(&name);
		l->v[l->n++].value = take_ptr(&value);
	}
	free(l->text);
	l->text = take_ptr(&text);
	return 0;
}

int job_limits_parse(struct job_limits *l, const char *text, struct err *e)
{
	AUTO_FREE char *copy = strdup(text ? text : "");
	char *save = NULL;
	if (!copy)
		return err_set(e, EX_FAILED, "out of memory");
	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
		if (job_limits_add(l, w, e) < 0)
			return -1;
	return 0;
}

void job_limits_free(struct job_limits *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->v[i].name);
		free(l->v[i].value);
	}
	free(l->text);
	memset(l, 0, sizeof *l);
}

/* The subsystems with those that the limits need behind them. */
static char *with_limits(const char *subsystems, const struct job_limits *l)
{
	struct buf b = BUF_INIT;
	buf_adds(&b, subsystems);
	for (size_t i = 0; i < l->n; i++) {
		const char *s = cgroup_limit_subsystem(l->v[i].name);
		if (s && *s)
			buf_printf(&b, ",%s", s);
	}
	if (buf_failed(&b)) {
		buf_free(&b);
		return NULL;
	}
	return b.p ? b.p : strdup("");
}

static bool has_word(const char *list, const char *word)
{
	size_t k = strlen(word);
	for (const char *p = list; *p; p += strspn(p, ", ")) {
		size_t w = strcspn(p, ", ");
		if (w == k && memcmp(p, word, k) == 0)
			return true;
		p += w;
	}
	return false;
}

/* Plans, records, makes: so that whoever finds the record later can remove what is there. */
static int make_recorded(struct job *j, const char *list, struct err *e)
{
	for (int i = 0;; i++) {
		err_clear(e);
		if (cgroup_plan(&j->cg, j->id, list, e) < 0)
			break;
		j->kind = JOB_CGROUP;
		if (job_save_quick(j, e) < 0)
			break;
		if (fault("job-planned")) {
			err_set(e, EX_FAILED, "fault job-planned");
			break;
		}
		if (cgroup_make(&j->cg, e) == 0)
			return 0;
		if (e->code != EX_BUSY || i == PLAN_RETRIES)
			break;
	}
	j->cg.n = 0;
	j->kind = JOB_TREE;
	return -1;
}

static int limits_apply(struct job *j, const struct job_limits *l, struct err *e)
{
	/* v1 counts swap together with memory: memory goes first */
	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < l->n; i++)
			if ((strcmp(l->v[i].name, "swap") == 0) == (pass == 1) &&
			    cgroup_limit(&j->cg, l->v[i].name, l->v[i].value, e) < 0)
				return -1;
	return 0;
}

static int groups(struct job *j, const char *subsystems, const struct job_limits *l, const struct job_conf *c,
		  struct err *e)
{
	AUTO_FREE char *list = with_limits(subsystems ? subsystems : c->subsystems, l);
	bool wanted = (subsystems && subsystems[0] && strcmp(subsystems, "disk") != 0) || l->n;
	char what[256];
	if (!list)
		return err_set(e, EX_FAILED, "out of memory");
	if (l->n)
		snprintf(what, sizeof what, "limit %s=%s", l->v[0].name, l->v[0].value);
	else
		snprintf(what, sizeof what, "subsystem %s", subsystems ? subsystems : "");
	if (!c->use_cgroups) {
		if (!wanted)
			return 0;
		return err_set(e, EX_FAILED, "%s needs a control group, and UseCgroups is no in pam_xos.conf", what);
	}
	if (make_recorded(j, list, e) < 0) {
		if (e->code == EX_PERM && !wanted) {
			err_clear(e);
			return 0;
		}
		return wanted && e->code == EX_PERM ? err_prefix(e, "%s needs a control group", what) : -1;
	}
	if (fault("job-made"))
		err_set(e, EX_FAILED, "fault job-made");
	else if (limits_apply(j, l, e) == 0)
		return 0;
	cgroup_remove(&j->cg, NULL);
	j->cg.n = 0;
	return -1;
}

int job_groups_make(struct job *j, const char *subsystems, const struct job_limits *l, const struct job_conf *c,
		    struct err *e)
{
	struct err own = ERR_INIT; /* decisions rest on its code, and the caller may want none */
	const char *subs = subsystems ? subsystems : c->subsystems;
	int r = job_set_str(&j->limits, l->text, &own) < 0 || job_set_str(&j->subsystems, subsystems, &own) < 0 ? -1 : 0;
	if (r == 0)
		r = groups(j, subsystems, l, c, &own);
	if (r == 0 && (l->disk || l->inodes || has_word(subs, "disk"))) {
		r = job_scratch_make(j, l->disk, l->inodes, j->uid, j->gid, &own);
		if (r < 0) {
			err_prefix(&own, "limit %s", l->text ? l->text : "disk");
			job_scratch_remove(j, NULL);
			if (j->kind == JOB_CGROUP)
				cgroup_remove(&j->cg, NULL);
		}
	}
	if (r < 0 && e)
		*e = own;
	return r;
}
