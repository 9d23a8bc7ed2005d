/* member_group: control groups below the job's own. All members, with all their threads, must be in the job's group in every hierarchy that it has
 * (cgroups(7)), and there may be none below it: a restart puts all into the job's new group. What is otherwise is refused by name. No record. */
#include "res/proc_ops.h"
#include "cgroup/cgroup.h"
#include "common/cleanup.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_MAX = 64 << 20 };

/* The first line in which two /proc/PID/cgroup texts differ, as in a; copied to out. */
static void differing_line(const char *a, const char *b, char *out, size_t n)
{
	while (*a) {
		size_t la = strcspn(a, "\n"), lb = strcspn(b, "\n");

		if (la != lb || strncmp(a, b, la)) {
			snprintf(out, n, "%.*s", (int)la, a);
			return;
		}
		a += la + (a[la] == '\n');
		b += lb + (b[lb] == '\n');
	}
	snprintf(out, n, "?");
}

static int cmp_pid(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return x < y ? -1 : x > y;
}

/* The threads that are directly in a group, sorted. */
static int listed(const char *dir, bool v2, pid_t **out, size_t *n)
{
	AUTO_BUF struct buf b = BUF_INIT;
	char path[1024], *s, *end;
	size_t lines = 1;

	snprintf(path, sizeof path, "%s/%s", dir, v2 ? "cgroup.threads" : "tasks");
	if (buf_read_file(&b, -1, path, LIST_MAX) || buf_failed(&b))
		return -1;
	s = b.p ? b.p : (char[]){ "" };
	for (const char *c = s; *c; c++)
		lines += *c == '\n';
	*out = calloc(lines, sizeof **out);
	if (!*out)
		return -1;
	for (*n = 0; *n < lines; s = end) {
		long pid = strtol(s, &end, 10);
		if (end == s)
			break;
		(*out)[(*n)++] = (pid_t)pid;
	}
	if (*n)
		qsort(*out, *n, sizeof **out, cmp_pid);
	return 0;
}

static void refuse_below(struct dump *d, const char *dir, const char *what)
{
	DIR *o = opendir(dir);

	for (const struct dirent *x; o && (x = readdir(o));)
		if (x->d_type == DT_DIR && x->d_name[0] != '.')
			refuse(d, NULL, "control group %s below the job's (%s) is not supported", x->d_name, what);
	if (o)
		closedir(o);
}

static int hierarchy_check(struct dump *d, const struct cgroup_hier *h, struct err *e)
{
	const char *what = h->v2 ? "v2" : h->controllers;
	AUTO_FREE pid_t *in = NULL;
	char dir[800];
	size_t n;

	snprintf(dir, sizeof dir, "%s%s", h->mount, h->path);
	if (listed(dir, h->v2, &in, &n))
		return err_sys(e, "cannot read the members of control group %s", dir);
	refuse_below(d, dir, what);
	for (size_t i = 0; i < d->nprocs; i++) {
		struct dproc *p = d->procs[i];

		for (size_t k = 0; !p->zombie && k < p->nthr; k++)
			if (!n || !bsearch(&p->thr[k].tid, in, n, sizeof *in, cmp_pid))
				refuse(d, p, "thread %d is not in the job's control group (%s)", p->thr[k].vtid, what);
	}
	return 0;
}

static int group_check(struct dump *d, struct dproc *p, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	char line[512];

	if (proc_read(&b, p->pid, "cgroup", 1 << 20) || buf_failed(&b))
		return err_sys(e, "cannot read its control groups");
	if (d->groups) {
		if (!strcmp(buf_str(&b), d->groups))
			return 0;
		differing_line(buf_str(&b), d->groups, line, sizeof line);
		return refuse(d, p, "it is in a control group of its own (%s)", line);
	}
	d->groups = strdup(buf_str(&b));
	if (!d->groups)
		return err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; d->job_groups && i < d->job_groups->n; i++)
		if (hierarchy_check(d, &d->job_groups->h[i], e))
			return -1;
	return 0;
}

const struct res_ops res_member_group = { .name = "control group", .check = group_check };
