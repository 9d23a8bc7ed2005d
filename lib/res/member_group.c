/* member_group: control groups below the job's own, found and saved (member_group.h).
 *
 * In the hierarchies in which the job has a group, each thread of a member must be in that group or one below. Where the job has
 * none, all members must be in the same: where that is, is the affair of who starts the restart. What cannot be made again is refused by
 * name: groups in which others are too, jobs inside this one (they know their groups by inode), attached programs. */
#include "res/member_group.h"
#include "res/proc_ops.h"
#include "cgroup/cgroup.h"
#include "cgroup/settings.h"
#include "common/cleanup.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_MAX = 64 << 20, CONTROL_MAX = 256 };

struct dgroup {
	uint32_t id;                   /* from 1, 0: the job's own */
	uint32_t parent;               /* id; 0: none that is told of */
	const struct cgroup_hier *h;
	char *path;                    /* below the job's; "" */
	struct stat st;
	bool threaded, populated, invalid;
	char control[CONTROL_MAX];     /* v2: controllers for the groups below */
	struct buf files;              /* NAME:UID:GID:MODE of control files with other owners or modes */
	struct buf settings;           /* records */
};
struct place { pid_t tid; uint32_t group; };
struct dump_groups {
	struct dgroup *v; size_t n, cap;
	struct place *in[CGROUP_MAX_HIER]; size_t nin[CGROUP_MAX_HIER];   /* by TID */
	bool cut[CGROUP_MAX_HIER];         /* a group was too deep to be looked into: who is there is not known */
	pid_t *members; size_t nmembers;   /* all TIDs, sorted */
};

static const char *kind_of(const struct cgroup_hier *h) { return h->v2 ? "v2" : h->controllers; }

static int dir_of(const struct cgroup_hier *h, const char *path, char *out)
{
	int n = snprintf(out, CGROUP_DIR_MAX, "%s%s%s%s", h->mount, h->path, *path ? "/" : "", path);

	return n < 0 || n >= CGROUP_DIR_MAX ? -1 : 0;
}

static int cmp_place(const void *a, const void *b)
{
	pid_t x = ((const struct place *)a)->tid, y = ((const struct place *)b)->tid;

	return x < y ? -1 : x > y;
}

static int cmp_pid(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return x < y ? -1 : x > y;
}

/* ---- what a group is ---- */

struct reading { struct dump *d; struct dgroup *g; };

static int read_setting(void *ctx, const char *file, const char *value)
{
	struct dgroup *g = ((struct reading *)ctx)->g;

	rec_begin(&g->settings, "group_setting");
	rec_put_str(&g->settings, "FILE", file);
	rec_put_str(&g->settings, "VALUE", value);
	rec_end(&g->settings);
	return 0;
}

static void refuse_group(struct dump *d, const struct dgroup *g, const char *what)
{
	refuse(d, NULL, "control group %s below the job's (%s): %s", *g->path ? g->path : "/", kind_of(g->h), what);
}

static void read_cannot(void *ctx, const char *what) { refuse_group(((struct reading *)ctx)->d, ((struct reading *)ctx)->g, what); }

/* What a control file has that was just made: the group's owner, and one of these modes. */
static bool plain_mode(mode_t m) { return m == 0644 || m == 0444 || m == 0200 || m == 0222; }

static int read_files(struct dgroup *g, const char *dir, const char *job, struct err *e)
{
	AUTO_DIR DIR *d = opendir(dir);
	AUTO_FD int job_fd = open(job, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	size_t n = 0;

	if (!d || job_fd < 0)
		return err_sys(e, "cannot read %s", dir);
	for (const struct dirent *x; (x = readdir(d));) {
		struct stat st, own;

		if (x->d_type == DT_DIR || fstatat(dirfd(d), x->d_name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
			continue;
		bool other = !fstatat(job_fd, x->d_name, &own, AT_SYMLINK_NOFOLLOW) && own.st_mode != st.st_mode;
		if (st.st_uid == g->st.st_uid && st.st_gid == g->st.st_gid && plain_mode(st.st_mode & 07777) && !other)
			continue;
		if (++n > GROUP_FILES_MAX)
			return err_set(e, EX_CANNOT_CKPT, "more than %d control files in %s", GROUP_FILES_MAX, dir);
		buf_printf(&g->files, "%s%s:%u:%u:%o", g->files.len ? " " : "", x->d_name, st.st_uid, st.st_gid, st.st_mode & 07777u);
	}
	return 0;
}

static int read_v2(struct dump *d, struct dgroup *g, const char *dir, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	unsigned programs = cgroup_bpf_programs(dir);
	char what[64];

	if (cgroup_file_read(dir, "cgroup.subtree_control", &b) || b.len >= CONTROL_MAX)
		return err_sys(e, "cannot read %s/cgroup.subtree_control", dir);
	strcpy(g->control, buf_str(&b));
	if (cgroup_file_read(dir, "cgroup.type", &b))
		return err_sys(e, "cannot read %s/cgroup.type", dir);
	g->threaded = !strcmp(buf_str(&b), "threaded");
	g->invalid = !strcmp(buf_str(&b), "domain invalid");
	if (g->invalid && g->control[0])
		refuse_group(d, g, "it gives controllers to groups below and is of the type \"domain invalid\"");
	if (programs && *g->path) {
		snprintf(what, sizeof what, "%u eBPF program%s attached to it", programs, programs == 1 ? " is" : "s are");
		refuse_group(d, g, what);
	}
	if (cgroup_file_read(dir, "cgroup.events", &b))
		return err_sys(e, "cannot read %s/cgroup.events", dir);
	g->populated = strstr(buf_str(&b), "populated 1") != NULL;
	return 0;
}

/* ---- who is in it ---- */

static bool is_member(const struct dump_groups *w, pid_t tid)
{
	return bsearch(&tid, w->members, w->nmembers, sizeof tid, cmp_pid) != NULL;
}

/* Threads that the kernel made for a member (io_uring's) are listed too. */
static bool is_helper_of_member(const struct dump_groups *w, pid_t tid)
{
	struct proc_status s;
	bool yes;

	if (proc_status_read(&s, tid, 0, NULL))
		return true; /* gone */
	yes = is_member(w, s.tgid);
	proc_status_free(&s);
	return yes;
}

static void foreign(struct dump *d, const struct dgroup *g, pid_t tid)
{
	/* In the hierarchy that tells who is a member it can only be one that came in between. */
	bool listed = g->h == cgroup_list_hier(d->job_groups);

	if (is_helper_of_member(d->mgroups, tid) || !*g->path)
		return;
	if (listed)
		refuse_for_now(d, NULL, "process %d in control group %s below the job's has not been stopped", tid, g->path);
	else
		refuse(d, NULL, "control group %s below the job's (%s): process %d in it is not one of the job's", g->path, kind_of(g->h), tid);
}

static int read_members(struct dump *d, struct dgroup *g, size_t hi, const char *dir, struct err *e)
{
	struct dump_groups *w = d->mgroups;
	AUTO_BUF struct buf b = BUF_INIT;
	char path[CGROUP_DIR_MAX + 32], *s, *end;

	snprintf(path, sizeof path, "%s/%s", dir, g->h->v2 ? "cgroup.threads" : "tasks");
	if (buf_read_file(&b, -1, path, LIST_MAX) || buf_failed(&b))
		return err_sys(e, "cannot read the members of control group %s", dir);
	for (s = b.p; s && *s; s = end) {
		long tid = strtol(s, &end, 10);
		size_t n = w->nin[hi];

		if (end == s)
			break;
		if (!is_member(w, (pid_t)tid)) {
			foreign(d, g, (pid_t)tid);
			continue;
		}
		if ((n & (n - 1)) == 0) {
			struct place *more = realloc(w->in[hi], (n ? 2 * n : 1) * sizeof *more);
			if (!more)
				return err_set(e, EX_FAILED, "out of memory");
			w->in[hi] = more;
		}
		w->in[hi][w->nin[hi]++] = (struct place){ (pid_t)tid, g->id };
		g->populated = true;
	}
	return 0;
}

/* ---- all of them ---- */

static struct dgroup *add(struct dump_groups *w, const struct cgroup_hier *h, const char *path, struct err *e)
{
	struct dgroup *g;

	if (w->n == GROUPS_MAX) {
		err_set(e, EX_CANNOT_CKPT, "more than %d control groups below the job's", GROUPS_MAX);
		return NULL;
	}
	if (w->n == w->cap) {
		size_t cap = w->cap ? 2 * w->cap : 8;
		struct dgroup *more = realloc(w->v, cap * sizeof *more);
		if (!more) {
			err_set(e, EX_FAILED, "out of memory");
			return NULL;
		}
		w->v = more;
		w->cap = cap;
	}
	g = &w->v[w->n];
	*g = (struct dgroup){ .h = h, .path = strdup(path), .id = (uint32_t)w->n + 1 };
	if (!g->path) {
		err_set(e, EX_FAILED, "out of memory");
		return NULL;
	}
	w->n++;
	return g;
}

static int walk(struct dump *d, size_t hi, const char *path, uint32_t parent, struct err *e);

static int too_deep(struct dump *d, size_t hi, const char *path)
{
	d->mgroups->cut[hi] = true;
	return refuse(d, NULL, "control group %.200s... below the job's (%s): its path is too long", path, kind_of(&d->job_groups->h[hi]));
}

static int walk_below(struct dump *d, size_t hi, const char *dir, const char *path, uint32_t parent, struct err *e)
{
	AUTO_DIR DIR *o = opendir(dir);

	if (!o)
		return err_sys(e, "cannot read control group %s", dir);
	for (const struct dirent *x; (x = readdir(o));) {
		char sub[GROUP_PATH_MAX];

		if (x->d_type != DT_DIR || !strcmp(x->d_name, ".") || !strcmp(x->d_name, ".."))
			continue;
		if (snprintf(sub, sizeof sub, "%s%s%s", path, *path ? "/" : "", x->d_name) >= (int)sizeof sub)
			too_deep(d, hi, path);
		else if (walk(d, hi, sub, parent, e))
			return -1;
	}
	return 0;
}

/* Another xos keeps the inodes of its jobs' groups, so that it would not know them again. */
static bool inner_job(const char *path) { return !strncmp(path, "xos/", 4) && !strchr(path + 4, '/'); }

/* All groups are known: their settings. */
static int look(struct dump *d, struct dgroup *g, struct err *e)
{
	struct reading rd = { d, g };
	struct cgroup_settings_found f = { .setting = read_setting, .cannot = read_cannot, .ctx = &rd };
	char dir[CGROUP_DIR_MAX], job[CGROUP_DIR_MAX];

	if (dir_of(g->h, g->path, dir) || dir_of(g->h, "", job))
		return err_set(e, EX_FAILED, "path is too long");
	if (stat(dir, &g->st))
		return err_sys(e, "cannot read control group %s", dir);
	if (inner_job(g->path))
		refuse_group(d, g, "a job of xos inside this one");
	return read_files(g, dir, job, e) || cgroup_settings_read(dir, job, g->h->v2, g->populated, &f, e) ? -1 : 0;
}

/* The group of that path, and those below it; parent: its number, 0: the job's own. */
static int walk(struct dump *d, size_t hi, const char *path, uint32_t parent, struct err *e)
{
	const struct cgroup_hier *h = &d->job_groups->h[hi];
	struct dgroup *g, own = { .h = h, .path = (char[]){ "" } };
	char dir[CGROUP_DIR_MAX];

	if (dir_of(h, path, dir))
		return too_deep(d, hi, path);
	g = *path ? add(d->mgroups, h, path, e) : &own;
	if (!g)
		return -1;
	g->parent = parent;
	if ((h->v2 && read_v2(d, g, dir, e)) || read_members(d, g, hi, dir, e))
		return -1;
	if (g == &own && own.threaded)
		refuse(d, NULL, "the job's own control group is threaded");
	/* Of the job's own group only this is told: groups below rest on it. */
	if (g == &own && own.control[0]) {
		g = add(d->mgroups, h, "", e);
		if (!g)
			return -1;
		strcpy(g->control, own.control);
	}
	return walk_below(d, hi, dir, path, g->id, e);
}

static int list_members(struct dump *d, struct err *e)
{
	struct dump_groups *w = d->mgroups;
	size_t n = 0;

	for (size_t i = 0; i < d->nprocs; i++)
		n += d->procs[i]->nthr + 1;
	w->members = calloc(n, sizeof *w->members);
	if (!w->members)
		return err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; i < d->nprocs; i++) {
		if (d->procs[i]->zombie)
			w->members[w->nmembers++] = d->procs[i]->pid;
		for (size_t k = 0; k < d->procs[i]->nthr; k++)
			w->members[w->nmembers++] = d->procs[i]->thr[k].tid;
	}
	qsort(w->members, w->nmembers, sizeof *w->members, cmp_pid);
	return 0;
}

static int look_all(struct dump *d, struct err *e)
{
	struct dump_groups *w = d->mgroups;

	for (size_t i = w->n; i-- > 0;)
		if (w->v[i].populated && w->v[i].parent)
			w->v[w->v[i].parent - 1].populated = true;
	for (size_t i = 0; i < w->n; i++)
		if (*w->v[i].path && look(d, &w->v[i], e))
			return -1;
	return 0;
}

static int collect(struct dump *d, struct err *e)
{
	d->mgroups = calloc(1, sizeof *d->mgroups);
	if (!d->mgroups)
		return err_set(e, EX_FAILED, "out of memory");
	if (!d->job_groups)
		return 0;
	if (list_members(d, e))
		return -1;
	for (size_t hi = 0; hi < d->job_groups->n; hi++) {
		if (walk(d, hi, "", 0, e))
			return -1;
		if (d->mgroups->nin[hi])
			qsort(d->mgroups->in[hi], d->mgroups->nin[hi], sizeof(struct place), cmp_place);
	}
	return look_all(d, e);
}

static const struct place *place_of(const struct dump_groups *w, size_t hi, pid_t tid)
{
	struct place key = { .tid = tid };

	return w->nin[hi] ? bsearch(&key, w->in[hi], w->nin[hi], sizeof key, cmp_place) : NULL;
}

/* ---- hierarchies in which the job has no group ---- */

/* The hierarchy of the job with these controllers; -1. */
static int hierarchy_of(const struct dump *d, const char *controllers, size_t n)
{
	for (size_t i = 0; d->job_groups && i < d->job_groups->n; i++) {
		const struct cgroup_hier *h = &d->job_groups->h[i];
		if (h->v2 ? !n : strlen(h->controllers) == n && !strncmp(h->controllers, controllers, n))
			return (int)i;
	}
	return -1;
}

int member_group_seen(struct dump *d, pid_t tid, const char *controllers, size_t n, const char **path, struct err *e)
{
	const struct place *at;
	int hi = hierarchy_of(d, controllers, n);

	*path = "";
	if (!d->mgroups && collect(d, e))
		return -1;
	at = hi >= 0 ? place_of(d->mgroups, (size_t)hi, tid) : NULL;
	if (at && at->group)
		*path = d->mgroups->v[at->group - 1].path;
	return 0;
}

uint32_t member_group_find(struct dump *d, const char *controllers, size_t n, const char *path)
{
	int hi = hierarchy_of(d, controllers, n);

	for (size_t i = 0; hi >= 0 && i < d->mgroups->n; i++)
		if (d->mgroups->v[i].h == &d->job_groups->h[hi] && !strcmp(d->mgroups->v[i].path, path))
			return d->mgroups->v[i].id;
	return 0;
}

/* The lines of /proc/PID/cgroup ("N:CONTROLLERS:PATH") that are of such hierarchies. */
static void outside_of(const struct dump *d, const char *text, struct buf *out)
{
	for (const char *l = text; *l;) {
		size_t n = strcspn(l, "\n");
		const char *c = memchr(l, ':', n), *p = c ? memchr(c + 1, ':', n - (size_t)(c + 1 - l)) : NULL;

		if (p && hierarchy_of(d, c + 1, (size_t)(p - c - 1)) < 0) {
			buf_add(out, l, n);
			buf_addc(out, '\n');
		}
		l += n + (l[n] == '\n');
	}
}

/* The first line in which a differs from b, as in a. */
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

static int outside_check(struct dump *d, struct dproc *p, size_t k, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT, out = BUF_INIT;
	char name[48], line[512];

	snprintf(name, sizeof name, "task/%d/cgroup", p->thr[k].tid);
	if (proc_read(&b, p->pid, name, 1 << 20) || buf_failed(&b))
		return err_sys(e, "cannot read its control groups");
	outside_of(d, buf_str(&b), &out);
	if (buf_failed(&out) || (!d->groups && !(d->groups = strdup(buf_str(&out)))))
		return err_set(e, EX_FAILED, "out of memory");
	if (!strcmp(buf_str(&out), d->groups))
		return 0;
	differing_line(buf_str(&out), d->groups, line, sizeof line);
	if (k)
		return refuse(d, p, "thread %d is in a control group of its own (%s)", p->thr[k].vtid, line);
	return refuse(d, p, "it is in a control group of its own (%s)", line);
}

static int group_check(struct dump *d, struct dproc *p, struct err *e)
{
	if (!d->mgroups && collect(d, e))
		return -1;
	for (size_t k = 0; k < p->nthr; k++) {
		if (outside_check(d, p, k, e))
			return -1;
		for (size_t hi = 0; d->job_groups && hi < d->job_groups->n; hi++)
			if (!place_of(d->mgroups, hi, p->thr[k].tid) && !d->mgroups->cut[hi])
				refuse(d, p, "thread %d is not in the job's control group (%s)", p->thr[k].vtid, kind_of(&d->job_groups->h[hi]));
	}
	return 0;
}

/* ---- records ---- */

static int group_dump_thread(struct dump *d, struct dproc *p, struct dthread *th, struct err *e)
{
	(void)e;
	for (size_t hi = 0; d->job_groups && hi < d->job_groups->n; hi++) {
		const struct place *at = place_of(d->mgroups, hi, th->tid);

		if (!at || !at->group)
			continue;
		rec_begin(&p->out, "in_group");
		rec_put_u64(&p->out, "GROUP", at->group);
		rec_end(&p->out);
	}
	return 0;
}

bool member_groups_needed(const struct dump *d) { return d->mgroups && d->mgroups->n; }

int member_groups_dump(struct dump *d, struct buf *out, struct err *e)
{
	for (size_t i = 0; i < d->mgroups->n; i++) {
		struct dgroup *g = &d->mgroups->v[i];

		rec_begin(out, "group");
		rec_put_u64(out, "ID", g->id);
		rec_put_str(out, "HIERARCHY", kind_of(g->h));
		rec_put_str(out, "PATH", g->path);
		if (*g->path) {
			rec_put_u64(out, "UID", g->st.st_uid);
			rec_put_u64(out, "GID", g->st.st_gid);
			rec_put_hex(out, "MODE", g->st.st_mode & 07777);
		}
		if (g->files.len)
			rec_put_str(out, "FILES", buf_str(&g->files));
		if (g->threaded)
			rec_put_u64(out, "THREADED", 1);
		if (g->control[0])
			rec_put_str(out, "CONTROL", g->control);
		rec_end(out);
		buf_add(out, buf_str(&g->settings), g->settings.len);
		if (buf_failed(&g->files) || buf_failed(&g->settings))
			return err_set(e, EX_FAILED, "out of memory");
	}
	return 0;
}

void member_groups_report(struct dump *d, struct buf *out)
{
	for (size_t i = 0; d->mgroups && i < d->mgroups->n; i++) {
		const struct dgroup *g = &d->mgroups->v[i];

		if (*g->path)
			buf_printf(out, "control group %s (%s)%s\n", g->path, kind_of(g->h), g->threaded ? ", threaded" : "");
	}
}

void member_groups_dump_free(struct dump *d)
{
	struct dump_groups *w = d->mgroups;

	for (size_t i = 0; w && i < w->n; i++) {
		free(w->v[i].path);
		buf_free(&w->v[i].files);
		buf_free(&w->v[i].settings);
	}
	for (size_t i = 0; w && i < CGROUP_MAX_HIER; i++)
		free(w->in[i]);
	if (w) {
		free(w->v);
		free(w->members);
	}
	free(w);
	d->mgroups = NULL;
}

const struct res_ops res_member_group = {
	.name = "control group",
	.check = group_check,
	.dump_thread = group_dump_thread,
	.verify = member_group_verify,
	.restore_thread = member_group_restore_thread,
};
