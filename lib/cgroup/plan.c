/* Finds the hierarchies of this machine and decides where a job's groups go.
 *
 * /proc/self/cgroup names every hierarchy with the caller's group, /proc/self/mountinfo where it is
 * mounted; when the mount shows only a part of the hierarchy (a container), its root field is taken off the
 * caller's path. A mount that another mount hides is not used: cgroup.procs must be there. */
#include "cgroup/internal.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

enum { PLAN_MAX_TEXT = 4 << 20, PLAN_MAX_SUFFIX = 10000 };

struct found {
	struct cgroup_hier h;        /* h.path: the caller's group, then the base */
	bool usable;                 /* there is a base the caller may make groups in */
	char available[256];         /* v2: cgroup.controllers of the base */
	bool internal;               /* v2: the base has processes of its own, so it can enable nothing below it */
};
struct machine { struct found f[CGROUP_MAX_HIER]; size_t n; bool root; };

/* Undoes the kernel's \040 escapes in place. */
static void unescape(char *s)
{
	char *o = s;
	while (*s) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] && s[3]) {
			*o++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 4;
		} else
			*o++ = *s++;
	}
	*o = '\0';
}

/* One line of mountinfo: does it mount hierarchy f? Then its mount point and root are filled in. */
static bool mount_line(char *line, struct found *f, char *root, size_t nroot)
{
	char *sep = strstr(line, " - ");
	if (!sep)
		return false;
	*sep = '\0';
	char type[32], super[512];
	if (sscanf(sep + 3, "%31s %*s %511s", type, super) != 2)
		return false;
	if (strcmp(type, f->h.v2 ? "cgroup2" : "cgroup") != 0)
		return false;
	char first[128];
	snprintf(first, sizeof first, "%.*s", (int)strcspn(f->h.controllers, ","), f->h.controllers);
	if (!f->h.v2 && !cg_word(super, first))
		return false;
	char r[PATH_MAX], m[PATH_MAX];
	if (sscanf(line, "%*s %*s %*s %4095s %4095s", r, m) != 2)
		return false;
	unescape(r);
	unescape(m);
	if (strlen(m) >= sizeof f->h.mount || strlen(r) >= nroot)
		return false;
	char probe[PATH_MAX + 16];
	snprintf(probe, sizeof probe, "%s/cgroup.procs", m);
	if (access(probe, F_OK) < 0)
		return false;
	strcpy(f->h.mount, m);
	strcpy(root, r);
	return true;
}

static bool find_mount(struct found *f, const char *mountinfo)
{
	AUTO_FREE char *text = strdup(mountinfo);
	char root[512], *save = NULL;
	if (!text)
		return false;
	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		if (!mount_line(l, f, root, sizeof root))
			continue;
		size_t k = strlen(root);
		if (strcmp(root, "/") != 0 && strncmp(f->h.path, root, k) == 0 &&
		    (f->h.path[k] == '/' || f->h.path[k] == '\0')) {
			memmove(f->h.path, f->h.path + k, strlen(f->h.path + k) + 1);
			if (!f->h.path[0])
				strcpy(f->h.path, "/");
		}
		if (strncmp(f->h.path, "/..", 3) == 0)
			strcpy(f->h.path, "/"); /* outside our cgroup namespace */
		return true;
	}
	return false;
}

static bool writable_group(const struct cgroup_hier *h)
{
	char dir[CG_PATH], procs[CG_PATH];
	return cg_path(h, NULL, dir, sizeof dir) == 0 && cg_path(h, "cgroup.procs", procs, sizeof procs) == 0 &&
	       faccessat(AT_FDCWD, dir, W_OK | X_OK, AT_EACCESS) == 0 &&
	       faccessat(AT_FDCWD, procs, W_OK, AT_EACCESS) == 0;
}

/* Replaces the caller's group in f by the base: his own when it is a job's, else the root of the hierarchy, or for an
 * ordinary user the topmost group on the way down to his own that he may write to. */
static void find_base(struct found *f, bool root)
{
	char self[sizeof f->h.path];
	strcpy(self, f->h.path);
	if (!strstr(self, "/xos/"))
		strcpy(f->h.path, "/");
	f->usable = writable_group(&f->h);
	for (size_t i = 1; !root && !f->usable && self[1]; i++) {
		i += strcspn(self + i, "/");
		snprintf(f->h.path, sizeof f->h.path, "%.*s", (int)i, self);
		f->usable = writable_group(&f->h);
		if (!self[i])
			break;
	}
	if (!f->usable || !f->h.v2)
		return;
	if (cg_read(&f->h, "cgroup.controllers", f->available, sizeof f->available) < 0)
		f->available[0] = '\0';
	char procs[64];
	/* cgroup.type is missing in the real root alone, which may have processes and children. */
	f->internal = cg_has_file(&f->h, "cgroup.type") && cg_read(&f->h, "cgroup.procs", procs, sizeof procs) == 0 &&
		      procs[0];
}

static int find_machine(struct machine *m, const struct cgroup_env *env, struct err *e)
{
	AUTO_BUF struct buf self = BUF_INIT, mi = BUF_INIT;
	memset(m, 0, sizeof *m);
	m->root = env->root;
	if (buf_read_file(&self, AT_FDCWD, env->self_cgroup, PLAN_MAX_TEXT) < 0)
		return err_sys(e, "%s", env->self_cgroup);
	if (buf_read_file(&mi, AT_FDCWD, env->mountinfo, PLAN_MAX_TEXT) < 0)
		return err_sys(e, "%s", env->mountinfo);
	char *save = NULL;
	for (char *l = self.p ? strtok_r(self.p, "\n", &save) : NULL; l; l = strtok_r(NULL, "\n", &save)) {
		char *c = strchr(l, ':'), *p = c ? strchr(c + 1, ':') : NULL;
		if (!p || m->n == CGROUP_MAX_HIER || strncmp(c + 1, "name=", 5) == 0)
			continue;
		*p++ = '\0';
		struct found *f = &m->f[m->n];
		memset(f, 0, sizeof *f);
		f->h.v2 = strncmp(l, "0:", 2) == 0;
		if (strlen(c + 1) >= sizeof f->h.controllers || strlen(p) >= sizeof f->h.path)
			continue;
		strcpy(f->h.controllers, c + 1);
		strcpy(f->h.path, p);
		if (!find_mount(f, buf_str(&mi)))
			continue;
		find_base(f, m->root);
		m->n++;
	}
	return 0;
}

static struct found *machine_v2(struct machine *m)
{
	for (size_t i = 0; i < m->n; i++)
		if (m->f[i].h.v2)
			return &m->f[i];
	return NULL;
}

static struct found *machine_v1(struct machine *m, const char *controller)
{
	for (size_t i = 0; i < m->n; i++)
		if (!m->f[i].h.v2 && cg_word(m->f[i].h.controllers, controller))
			return &m->f[i];
	return NULL;
}

/* Puts the hierarchy into the set (once) and returns its entry there. */
static struct cgroup_hier *use(struct cgroup_set *s, const struct found *f)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->h[i].mount, f->h.mount) == 0)
			return &s->h[i];
	struct cgroup_hier *h = &s->h[s->n++];
	*h = f->h;
	if (h->v2)
		h->controllers[0] = '\0';
	return h;
}

static int not_permitted(const struct found *f, const char *name, struct err *e)
{
	err_set(e, EX_PERM, "%s: no group of the hierarchy %s that this user may write to", name, f->h.mount);
	err_hint(e, "ask for a delegated group (systemd: Delegate=yes), or run it as root");
	return -1;
}

/* The v2 hierarchy serves the controller. */
static int use_v2(struct cgroup_set *s, const struct found *v2, const char *name, struct err *e)
{
	if (!v2->usable)
		return not_permitted(v2, name, e);
	if (v2->internal) {
		err_set(e, EX_PERM, "%s: the group %s%s has processes of its own, so it cannot give controllers to groups below it",
			name, v2->h.mount, v2->h.path);
		err_hint(e, "move the processes of that group into a group below it first (cgroups(7), no internal processes)");
		return -1;
	}
	struct cgroup_hier *h = use(s, v2);
	if (!cg_word(h->controllers, name)) {
		size_t k = strlen(h->controllers);
		snprintf(h->controllers + k, sizeof h->controllers - k, "%s%s", k ? "," : "", name);
	}
	return 0;
}

/* One subsystem, v1name and v2name its controller's names (NULL: none there). */
static int want(struct cgroup_set *s, struct machine *m, const char *name, const char *v1name,
		const char *v2name, bool optional, struct err *e)
{
	struct found *v2 = machine_v2(m), *v1 = v1name ? machine_v1(m, v1name) : NULL;
	/* CPU times and freezing are part of every v2 group. */
	bool builtin = v2 && v2->usable && (strcmp(name, "cpuacct") == 0 || strcmp(name, "freezer") == 0);
	if (builtin && (optional || !v1))
		return 0;
	if (v1) {
		if (!v1->usable)
			return not_permitted(v1, name, e);
		use(s, v1);
		return 0;
	}
	if (v2 && v2name && cg_word(v2->available, v2name))
		return use_v2(s, v2, v2name, e);
	if (v2 && !v2->usable)
		return not_permitted(v2, name, e);
	err_set(e, EX_FAILED, "this machine has no control group subsystem %s", name);
	if (v2name && v2 && strcmp(v2->h.path, "/") != 0)
		err_hint(e, "the delegated group %s has: %s", v2->h.path, v2->available[0] ? v2->available : "none");
	return -1;
}

static const struct { const char *name, *v1, *v2; } subsystems_known[] = {
	{ "cpuacct", "cpuacct", NULL }, { "memory", "memory", "memory" }, { "cpu", "cpu", "cpu" },
	{ "cpuset", "cpuset", "cpuset" }, { "pids", "pids", "pids" }, { "blkio", "blkio", "io" },
	{ "io", "blkio", "io" }, { "freezer", "freezer", NULL }, { "devices", "devices", NULL },
	{ "net", "net_cls", NULL }, { "hugetlb", "hugetlb", "hugetlb" },
};

static int want_list(struct cgroup_set *s, struct machine *m, const char *list, struct err *e)
{
	for (const char *p = list; *p; p += strspn(p, ", \t")) {
		char name[32];
		size_t w = strcspn(p, ", \t"), i;
		if (w >= sizeof name)
			return err_set(e, EX_USAGE_, "unknown subsystem %.*s", (int)w, p);
		memcpy(name, p, w);
		name[w] = '\0';
		p += w;
		bool optional = w && name[w - 1] == '?';
		if (optional)
			name[w - 1] = '\0';
		if (!name[0] || strcmp(name, "disk") == 0)
			continue;
		for (i = 0; i < sizeof subsystems_known / sizeof *subsystems_known; i++)
			if (strcmp(subsystems_known[i].name, name) == 0)
				break;
		if (i == sizeof subsystems_known / sizeof *subsystems_known)
			return err_set(e, EX_USAGE_, "unknown subsystem %s", name);
		struct err ignored = ERR_INIT;
		if (want(s, m, name, subsystems_known[i].v1, subsystems_known[i].v2, optional,
			 optional ? &ignored : e) < 0 && !optional)
			return -1;
	}
	return 0;
}

/* BASE/xos/JOBID[~N] in each hierarchy, the same name in all of them. */
static int name_groups(struct cgroup_set *s, const char *jobid, struct err *e)
{
	struct cgroup_set base = *s;
	for (int k = 1; k <= PLAN_MAX_SUFFIX; k++) {
		char suffix[16] = "";
		bool taken = false;
		if (k > 1)
			snprintf(suffix, sizeof suffix, "~%d", k);
		for (size_t i = 0; i < s->n && !taken; i++) {
			const char *b = base.h[i].path;
			int len = snprintf(s->h[i].path, sizeof s->h[i].path, "%s/xos/%s%s",
					   strcmp(b, "/") == 0 ? "" : b, jobid, suffix);
			if (len < 0 || (size_t)len >= sizeof s->h[i].path)
				return err_set(e, EX_FAILED, "the path of the caller's group is too long: %s", b);
			taken = cg_has_file(&s->h[i], NULL);
		}
		if (!taken)
			return 0;
	}
	return err_set(e, EX_FAILED, "no free group name for %s", jobid);
}

int cgroup_plan_env(struct cgroup_set *s, const struct cgroup_env *env, const char *jobid,
		    const char *subsystems, struct err *e)
{
	struct machine m;
	memset(s, 0, sizeof *s);
	if (find_machine(&m, env, e) < 0)
		return -1;
	struct found *v2 = machine_v2(&m), *fr = machine_v1(&m, "freezer");
	if (v2 && v2->usable)
		use(s, v2);
	else if (fr && fr->usable)
		use(s, fr);
	else if (!v2 && !fr)
		return err_set(e, EX_PERM, "no control groups: neither cgroup v2 nor the v1 freezer is mounted");
	else
		return not_permitted(v2 ? v2 : fr, "control group", e);
	if (want_list(s, &m, subsystems, e) < 0)
		return -1;
	return name_groups(s, jobid, e);
}

int cgroup_plan(struct cgroup_set *s, const char *jobid, const char *subsystems, struct err *e)
{
	struct cgroup_env env = { "/proc/self/mountinfo", "/proc/self/cgroup", geteuid() == 0 };
	return cgroup_plan_env(s, &env, jobid, subsystems, e);
}
