/* member_group_restore: control groups below the restarted job's group (member_group.h). cgroups(7), cgroup-v2.rst ("No Internal Process
 * Constraint", "Threads"). What is made here goes with the job's group, whoever removes that. */
#include "res/member_group.h"
#include "res/proc_ops.h"
#include "cgroup/cgroup.h"
#include "cgroup/settings.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/num.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

enum { LEAVING_MS = 500 };               /* how long a process that has ended may still count as one of a group */

struct rgroup {
	uint32_t id, parent;           /* parent: 0: the job's own */
	size_t hier;
	const char *path, *files, *control; /* NULL: none */
	uint32_t uid, gid, mode;
	bool threaded, frozen;         /* frozen: it, or one above */
	size_t first, last;            /* its settings among the records */
};
struct hierarchy { char name[128]; bool v2; const struct cgroup_hier *h; /* NULL: not known (check_only) */ };
struct restore_groups {
	struct rec_list recs;
	struct rgroup *v; size_t n;
	struct hierarchy hier[CGROUP_MAX_HIER]; size_t nhier;
	uint32_t birth;                /* a v2 group that holds processes, for those that tell of none; 0: the job's own */
};

static const char *name_of(const struct rgroup *g) { return *g->path ? g->path : "/"; }

static int dir_of(const struct restore_groups *w, size_t hier, const char *path, char *out, struct err *e)
{
	const struct cgroup_hier *h = w->hier[hier].h;
	int n = snprintf(out, CGROUP_DIR_MAX, "%s%s%s%s", h->mount, h->path, *path ? "/" : "", path);

	return n < 0 || n >= CGROUP_DIR_MAX ? err_set(e, EX_FAILED, "the path of control group %s is too long", path) : 0;
}

/* ---- the records ---- */

static bool path_ok(const char *path)
{
	if (strlen(path) >= GROUP_PATH_MAX || strchr(path, '\n'))
		return false;
	for (const char *p = path; *p; p += *p == '/') {
		size_t n = strcspn(p, "/");

		if (!n || n > CGROUP_NAME_MAX || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.') || (p[n] == '/' && !p[n + 1]))
			return false;
		p += n;
	}
	return true;
}

static bool words_ok(const char *s)
{
	return strlen(s) < 256 && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_ ") == strlen(s);
}

struct file_mode { char name[CGROUP_NAME_MAX + 1]; uint32_t uid, gid; mode_t mode; };

/* The next of FILES; *at moves on. 1: there is one, 0: the end, -1: malformed. */
static int next_file(const char **at, struct file_mode *f)
{
	size_t n = strcspn(*at, " ");
	char word[CGROUP_NAME_MAX + 64], *p, *end;
	unsigned long v[3];

	if (!**at)
		return 0;
	if (n >= sizeof word)
		return -1;
	memcpy(word, *at, n);
	word[n] = '\0';
	*at += n + ((*at)[n] == ' ');
	p = strchr(word, ':');
	if (!p || p == word || (size_t)(p - word) > CGROUP_NAME_MAX || memchr(word, '/', (size_t)(p - word)))
		return -1;
	*p = '\0';
	strcpy(f->name, word);
	for (int i = 0; i < 3; i++) {
		if (*p && i)
			return -1;
		p++;
		if (*p < '0' || *p > '9')
			return -1;
		v[i] = strtoul(p, &end, i == 2 ? 8 : 10);
		if ((i < 2 ? *end != ':' : *end != '\0') || v[i] > (i < 2 ? UINT32_MAX - 1ul : 07777ul))
			return -1;
		p = end;
		*p = '\0';
	}
	f->uid = (uint32_t)v[0];
	f->gid = (uint32_t)v[1];
	f->mode = (mode_t)v[2];
	return strcmp(f->name, ".") && strcmp(f->name, "..") ? 1 : -1;
}

static int hierarchy_of(struct restore *r, const char *name, size_t *out, struct err *e)
{
	struct restore_groups *w = r->groups;
	struct hierarchy *h;

	for (*out = 0; *out < w->nhier; ++*out)
		if (!strcmp(w->hier[*out].name, name))
			return 0;
	h = &w->hier[w->nhier];
	if (w->nhier == CGROUP_MAX_HIER || !*name || strlen(name) >= sizeof h->name)
		return err_set(e, EX_BAD_IMAGE, "HIERARCHY \"%.100s\"", name);
	strcpy(h->name, name);
	h->v2 = !strcmp(name, "v2");
	for (size_t i = 0; r->job_groups && i < r->job_groups->n; i++) {
		const struct cgroup_hier *c = &r->job_groups->h[i];
		if (h->v2 ? c->v2 : !c->v2 && !strcmp(c->controllers, name))
			h->h = c;
	}
	if (!h->h && !r->check_only) {
		err_set(e, EX_MISFIT, "the job had control groups of its own in the hierarchy \"%s\", where it gets none here", name);
		err_hint(e, r->job_groups ? "the hierarchy must be mounted, and among the job's subsystems (xcgexec -g, Subsystems in pam_xos.conf)"
					  : "it needs a control group: root's, or a delegated one");
		return -1;
	}
	w->nhier++;
	return 0;
}

static int parse_group(struct restore *r, const struct rec *rec, uint32_t *open, struct err *e)
{
	struct restore_groups *w = r->groups;
	struct rgroup *g = &w->v[w->n], *up;
	const char *name;
	struct file_mode f;
	uint64_t id, v;
	int more = 0;

	if (w->n == GROUPS_MAX)
		return err_set(e, EX_BAD_IMAGE, "more than %d groups", GROUPS_MAX);
	if (rec_u64(rec, "ID", GROUPS_MAX, &id, e) || rec_str(rec, "HIERARCHY", &name, e) || rec_str(rec, "PATH", &g->path, e) ||
	    hierarchy_of(r, name, &g->hier, e))
		return -1;
	g->id = (uint32_t)w->n + 1;
	if (id != g->id || !path_ok(g->path))
		return err_set(e, EX_BAD_IMAGE, "line %zu: ID or PATH", rec->line);
	/* Depth first: the group above is the last one, or one above that. */
	for (; *open; *open = up->parent) {
		up = &w->v[*open - 1];
		size_t n = strlen(up->path);
		if (up->hier == g->hier && *up->path && !strncmp(up->path, g->path, n) && g->path[n] == '/')
			break;
	}
	g->parent = *open;
	if (strchr(g->path + (g->parent ? strlen(w->v[g->parent - 1].path) + 1 : 0), '/'))
		return err_set(e, EX_BAD_IMAGE, "line %zu: the group above \"%s\" is not there", rec->line, g->path);
	g->files = rec_find(rec, "FILES");
	g->control = rec_find(rec, "CONTROL");
	for (const char *at = g->files ? g->files : ""; (more = next_file(&at, &f)) > 0;)
		;
	if (more < 0 || (g->control && !words_ok(g->control)))
		return err_set(e, EX_BAD_IMAGE, "line %zu: FILES or CONTROL", rec->line);
	if (rec_u64_or(rec, "THREADED", 1, 0, &v, e))
		return -1;
	g->threaded = v;
	if (*g->path) {
		uint64_t uid, gid, mode;
		if (rec_u64(rec, "UID", UINT32_MAX - 1, &uid, e) || rec_u64(rec, "GID", UINT32_MAX - 1, &gid, e) || rec_u64(rec, "MODE", 07777, &mode, e))
			return -1;
		g->uid = (uint32_t)uid;
		g->gid = (uint32_t)gid;
		g->mode = (uint32_t)mode;
	}
	if (!w->hier[g->hier].v2 && (g->threaded || g->control))
		return err_set(e, EX_BAD_IMAGE, "line %zu: THREADED or CONTROL in a hierarchy of version 1", rec->line);
	g->frozen = g->parent && w->v[g->parent - 1].frozen;
	*open = *g->path ? g->id : 0;
	w->n++;
	return 0;
}

static int parse_setting(struct restore_groups *w, const struct rec *rec, size_t i, struct err *e)
{
	struct rgroup *g = w->n ? &w->v[w->n - 1] : NULL;
	const char *file, *value;

	if (rec_str(rec, "FILE", &file, e) || rec_str(rec, "VALUE", &value, e))
		return -1;
	if (!g || !*g->path || strlen(value) >= CGROUP_VALUE_MAX || cgroup_setting_when(w->hier[g->hier].v2, file) < 0)
		return err_set(e, EX_BAD_IMAGE, "line %zu: setting \"%.100s\" is not known to this version", rec->line, file);
	if (!g->last)
		g->first = i;
	g->last = i + 1;
	g->frozen |= cgroup_setting_freezes(file, value);
	return 0;
}

int member_groups_parse(struct restore *r, struct err *e)
{
	const struct image_member *m = image_find(r->img, "groups");
	struct restore_groups *w;
	uint32_t open = 0;

	if (!m)
		return 0;
	w = r->groups = calloc(1, sizeof *w);
	if (!w)
		return err_set(e, EX_FAILED, "out of memory");
	if (!m->text || rec_list_parse(&w->recs, m->text, m->size, GROUPS_RECORDS_MAX, e))
		return m->text ? err_prefix(e, "groups") : err_set(e, EX_BAD_IMAGE, "groups: not a text");
	w->v = calloc(w->recs.n < GROUPS_MAX ? w->recs.n + 1 : GROUPS_MAX + 1, sizeof *w->v);
	if (!w->v)
		return err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; i < w->recs.n; i++) {
		struct rec rec;
		int rc;

		rec_list_get(&w->recs, i, &rec);
		if (!strcmp(rec_type(&rec), "group"))
			rc = parse_group(r, &rec, &open, e);
		else if (!strcmp(rec_type(&rec), "group_setting"))
			rc = parse_setting(w, &rec, i, e);
		else
			rc = err_set(e, EX_BAD_IMAGE, "line %zu: record \"%s\" is not known to this version", rec.line, rec_type(&rec));
		if (rc)
			return err_prefix(e, "groups");
	}
	return 0;
}

/* Where a thread belongs, by hierarchy; 0: the job's own group. */
static int groups_of(struct restore *r, const struct rproc *p, const struct rthread *th, uint32_t want[CGROUP_MAX_HIER], struct err *e)
{
	struct restore_groups *w = r->groups;
	struct rec rec;

	memset(want, 0, CGROUP_MAX_HIER * sizeof *want);
	for (long i = rthread_rec(p, th, "in_group", 0, &rec); i >= 0; i = rthread_rec(p, th, "in_group", (size_t)i + 1, &rec)) {
		uint64_t id;

		if (rec_u64(&rec, "GROUP", GROUPS_MAX, &id, e))
			return -1;
		if (!id || !w || id > w->n || !*w->v[id - 1].path || want[w->v[id - 1].hier])
			return err_set(e, EX_BAD_IMAGE, "thread %d: there is no control group %llu for it", th->tid, (unsigned long long)id);
		if (w->v[id - 1].frozen)
			return err_set(e, EX_BAD_IMAGE, "thread %d: control group %s is frozen", th->tid, w->v[id - 1].path);
		want[w->v[id - 1].hier] = (uint32_t)id;
	}
	return 0;
}

int member_group_verify(struct restore *r, struct rproc *p, struct err *e)
{
	uint32_t want[CGROUP_MAX_HIER];

	for (size_t i = 0; i < p->nthr; i++) {
		if (groups_of(r, p, &p->thr[i], want, e))
			return -1;
		for (size_t k = 0; r->groups && k < r->groups->nhier && !r->groups->birth; k++)
			if (r->groups->hier[k].v2)
				r->groups->birth = want[k];
	}
	return 0;
}

void member_groups_restore_free(struct restore *r)
{
	if (r->groups) {
		rec_list_free(&r->groups->recs);
		free(r->groups->v);
	}
	free(r->groups);
	r->groups = NULL;
}

/* ---- groups ---- */

static int settings_write(struct restore_groups *w, const struct rgroup *g, const char *dir, enum cgroup_when when, struct err *e)
{
	for (size_t i = g->first; i < g->last; i++) {
		const char *file, *value;
		struct rec rec;

		rec_list_get(&w->recs, i, &rec);
		if (rec_str(&rec, "FILE", &file, e) || rec_str(&rec, "VALUE", &value, e))
			return -1;
		if (cgroup_setting_when(w->hier[g->hier].v2, file) == (int)when &&
		    cgroup_setting_write(dir, w->hier[g->hier].v2, file, value, e))
			return -1;
	}
	return 0;
}

/* A process that made something for us and has ended may count as one of the group for a moment. */
static int control(const struct rgroup *g, const char *dir, struct err *e)
{
	static const struct timespec ms = { .tv_nsec = 1000000 };
	char text[512] = "";
	size_t n = 0;
	int tries = 0, rc;

	for (const char *p = g->control; *p; p += strspn(p, " ")) {
		size_t k = strcspn(p, " ");
		int len = snprintf(text + n, sizeof text - n, "%s+%.*s", n ? " " : "", (int)k, p);
		if (len < 0 || (size_t)len >= sizeof text - n)
			return err_set(e, EX_BAD_IMAGE, "CONTROL is too long");
		n += (size_t)len;
		p += k;
	}
	while ((rc = cgroup_file_write(dir, "cgroup.subtree_control", text)) < 0 && errno == EBUSY && ++tries < LEAVING_MS)
		nanosleep(&ms, NULL);
	if (!rc)
		return 0;
	if (errno == ENOENT)
		return err_set(e, EX_MISFIT, "the controllers %s are not all to be had here", g->control);
	return err_sys(e, "cannot give the controllers %s to the groups below", g->control);
}

static int make_one(struct restore_groups *w, const struct rgroup *g, struct err *e)
{
	char dir[CGROUP_DIR_MAX];

	if (dir_of(w, g->hier, g->path, dir, e))
		return -1;
	if (fault("restart.groups"))
		return err_set(e, EX_FAILED, "fault point restart.groups");
	if (*g->path && mkdir(dir, 0755))
		return err_sys(e, "cannot make it");
	if (g->threaded && cgroup_file_write(dir, "cgroup.type", "threaded"))
		return err_sys(e, "cannot make it threaded");
	/* On v2 its control files come with the controllers. */
	return w->hier[g->hier].v2 ? 0 : settings_write(w, g, dir, CGROUP_EARLY, e);
}

static int control_one(struct restore_groups *w, const struct rgroup *g, struct err *e)
{
	char dir[CGROUP_DIR_MAX];

	if (!w->hier[g->hier].v2)
		return 0;
	return dir_of(w, g->hier, g->path, dir, e) || settings_write(w, g, dir, CGROUP_EARLY, e) || (g->control && control(g, dir, e)) ? -1 : 0;
}

static int in_group(const struct restore_groups *w, const struct rgroup *g, struct err *e)
{
	return err_prefix(e, "control group %s below the job's (%s)", name_of(g), w->hier[g->hier].name);
}

int member_groups_make(struct restore *r, struct err *e)
{
	struct restore_groups *w = r->groups;

	for (size_t i = 0; w && i < w->n; i++)
		if (make_one(w, &w->v[i], e))
			return in_group(w, &w->v[i], e);
	return 0;
}

int member_groups_control(struct restore *r, struct err *e)
{
	struct restore_groups *w = r->groups;

	for (size_t i = 0; w && i < w->n; i++)
		if (control_one(w, &w->v[i], e))
			return in_group(w, &w->v[i], e);
	return 0;
}

static int own(int dir, const char *file, uint32_t uid, uint32_t gid, mode_t mode, bool set_mode, struct err *e)
{
	struct stat st;

	if (fstatat(dir, file, &st, AT_SYMLINK_NOFOLLOW))
		return err_sys(e, "%s", file);
	if ((st.st_uid != uid || st.st_gid != gid) && fchownat(dir, file, uid, gid, AT_SYMLINK_NOFOLLOW)) {
		if (errno == EINVAL) /* no such user in our user namespace */
			errno = EPERM;
		err_sys(e, "cannot give %s to uid %u, gid %u", file, uid, gid);
		err_hint(e, "only root can give a group to another user: restart it as root");
		return -1;
	}
	if (set_mode && (st.st_mode & 07777) != mode && fchmodat(dir, file, mode, 0))
		return err_sys(e, "cannot set the mode of %s", file);
	return 0;
}

static int owners(const struct rgroup *g, const char *path, struct err *e)
{
	AUTO_DIR DIR *d = opendir(path);
	struct file_mode f;

	if (!d)
		return err_sys(e, "cannot read it");
	for (const struct dirent *x; (x = readdir(d));)
		if (x->d_type == DT_REG && own(dirfd(d), x->d_name, g->uid, g->gid, 0, false, e))
			return -1;
	for (const char *at = g->files ? g->files : ""; next_file(&at, &f) > 0;)
		if (own(dirfd(d), f.name, f.uid, f.gid, f.mode, true, e))
			return -1;
	return own(dirfd(d), ".", g->uid, g->gid, (mode_t)g->mode, true, e);
}

static int finish_one(struct restore_groups *w, const struct rgroup *g, enum cgroup_when when, struct err *e)
{
	char dir[CGROUP_DIR_MAX];

	if (!*g->path)
		return 0;
	if (dir_of(w, g->hier, g->path, dir, e) || settings_write(w, g, dir, when, e))
		return -1;
	return when == CGROUP_LAST ? owners(g, dir, e) : 0;
}

int member_groups_finish(struct restore *r, struct err *e)
{
	static const enum cgroup_when steps[] = { CGROUP_LATE, CGROUP_LAST };
	struct restore_groups *w = r->groups;

	if (w && fault("restart.group_limits"))
		return err_set(e, EX_FAILED, "fault point restart.group_limits");
	for (size_t s = 0; w && s < sizeof steps / sizeof *steps; s++)
		for (size_t i = 0; i < w->n; i++)
			if (finish_one(w, &w->v[i], steps[s], e))
				return in_group(w, &w->v[i], e);
	return 0;
}

bool member_group_to_be(const char *path)
{
	char dir[PATH_MAX];
	struct statfs fs;
	char *slash;

	if (snprintf(dir, sizeof dir, "%s", path) >= (int)sizeof dir)
		return false;
	while ((slash = strrchr(dir, '/')) && slash != dir) {
		*slash = '\0';
		if (!statfs(dir, &fs))
			return fs.f_type == CGROUP_SUPER_MAGIC || fs.f_type == CGROUP2_SUPER_MAGIC;
	}
	return false;
}

/* ---- members ---- */

static int move(struct restore_groups *w, size_t hier, uint32_t to, const char *file, pid_t pid, struct err *e)
{
	const char *path = to ? w->v[to - 1].path : "";
	char dir[CGROUP_DIR_MAX], text[24];

	if (dir_of(w, hier, path, dir, e))
		return -1;
	snprintf(text, sizeof text, "%d", pid);
	if (cgroup_file_write(dir, file, text))
		return err_sys(e, "cannot move it to control group %s below the job's (%s)", *path ? path : "/", w->hier[hier].name);
	return 0;
}

bool member_group_there(const struct restore *r, uint32_t id)
{
	return r->groups && id && id <= r->groups->n && *r->groups->v[id - 1].path;
}

int member_group_enter(struct restore *r, uint32_t id, struct err *e)
{
	return move(r->groups, r->groups->v[id - 1].hier, id, "cgroup.procs", 0, e);
}

int member_groups_birth(struct restore *r, struct rproc *p, int job)
{
	struct restore_groups *w = r->groups;
	uint32_t want[CGROUP_MAX_HIER] = { 0 };
	char dir[CGROUP_DIR_MAX];
	size_t k = 0;

	while (w && k < w->nhier && !w->hier[k].v2)
		k++;
	if (!w || k == w->nhier || job < 0)
		return job;
	if (p->nthr ? groups_of(r, p, &p->thr[0], want, NULL) : (want[k] = w->birth, 0))
		return job;
	if (!want[k] || dir_of(w, k, w->v[want[k] - 1].path, dir, NULL))
		return job;
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || (fd = restore_high_fd(r, fd)) < 0)
		return job;
	p->groups[k] = want[k];
	return fd;
}

int member_groups_put(struct restore *r, struct rproc *p, struct err *e)
{
	struct restore_groups *w = r->groups;
	uint32_t want[CGROUP_MAX_HIER];

	if (!w || !p->nthr)
		return 0;
	if (groups_of(r, p, &p->thr[0], want, e))
		return -1;
	for (size_t k = 0; k < w->nhier; k++) {
		if (want[k] != p->groups[k] && move(w, k, want[k], "cgroup.procs", p->made, e))
			return err_prefix(e, "process %d", p->pid);
		p->groups[k] = want[k];
	}
	return 0;
}

int member_group_restore_thread(struct restore *r, struct rproc *p, struct rthread *th, struct err *e)
{
	struct restore_groups *w = r->groups;
	uint32_t want[CGROUP_MAX_HIER];

	if (!w || th == &p->thr[0])
		return 0;
	if (groups_of(r, p, th, want, e))
		return -1;
	for (size_t k = 0; k < w->nhier; k++)
		if (want[k] != p->groups[k] && move(w, k, want[k], w->hier[k].v2 ? "cgroup.threads" : "tasks", p->t->thr[th->index].tid, e))
			return -1;
	return 0;
}
