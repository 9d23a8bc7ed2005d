/* Makes, enters and removes a job's groups. */
#include "cgroup/internal.h"
#include "common/cleanup.h"
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

enum { MAKE_RETRIES = 50, REMOVE_MS = 5000, PLANNED_MS = 500 };

/* The group above h. */
static void parent_of(struct cgroup_hier *p, const struct cgroup_hier *h)
{
	*p = *h;
	char *slash = strrchr(p->path, '/');
	if (slash == p->path)
		slash[1] = '\0';
	else
		*slash = '\0';
}

/* v1: a cpuset takes no member before its cpus and mems are filled. */
static int fill_cpuset(const struct cgroup_hier *h, struct err *e)
{
	static const char *const files[] = { "cpuset.cpus", "cpuset.mems" };
	struct cgroup_hier up;
	parent_of(&up, h);
	for (size_t i = 0; i < 2; i++) {
		char text[4096];
		if (cg_read(h, files[i], text, sizeof text) == 0 && text[0] && text[0] != '\n')
			continue;
		if (cg_read(&up, files[i], text, sizeof text) < 0 || cg_write(h, files[i], text) < 0)
			return err_sys(e, "%s%s/%s", h->mount, h->path, files[i]);
	}
	return 0;
}

/* v2: makes h's controllers available below `up`. */
static int enable(const struct cgroup_hier *up, const struct cgroup_hier *h, struct err *e)
{
	char have[512];
	if (cg_read(up, "cgroup.subtree_control", have, sizeof have) < 0)
		have[0] = '\0';
	for (const char *p = h->controllers; *p; p += strspn(p, ",")) {
		char one[64];
		size_t w = strcspn(p, ",");
		snprintf(one, sizeof one, "%.*s", (int)w, p);
		p += w;
		if (cg_word(have, one))
			continue;
		char plus[72];
		snprintf(plus, sizeof plus, "+%s", one);
		if (cg_write(up, "cgroup.subtree_control", plus) == 0)
			continue;
		err_sys(e, "%s%s: cannot enable the controller %s for the groups below", up->mount, up->path, one);
		if (errno == EBUSY)
			err_hint(e, "the group has processes of its own; move them into a group below it first");
		return -1;
	}
	return 0;
}

static int make_dir(const struct cgroup_hier *h, bool may_exist, struct err *e)
{
	char p[CG_PATH];
	if (cg_path(h, NULL, p, sizeof p) < 0 || (mkdir(p, 0755) < 0 && !(may_exist && errno == EEXIST))) {
		int saved = errno;
		err_sys(e, "cannot make the control group %s%s", h->mount, h->path);
		errno = saved;
		return -1;
	}
	return 0;
}

static void drop_dir(const struct cgroup_hier *h)
{
	char p[CG_PATH];
	if (cg_path(h, NULL, p, sizeof p) == 0)
		rmdir(p);
}

/* BASE/xos and then the group itself. Another job that ends may remove an empty BASE/xos in between: again. */
static int make_one(const struct cgroup_hier *h, struct err *e)
{
	struct cgroup_hier xos, base;
	parent_of(&xos, h);
	parent_of(&base, &xos);
	bool cpuset = !h->v2 && cg_word(h->controllers, "cpuset");
	for (int i = 0; i < MAKE_RETRIES; i++) {
		err_clear(e);
		if (make_dir(&xos, true, e) < 0)
			return -1;
		if (h->v2 && h->controllers[0] && (enable(&base, h, e) < 0 || enable(&xos, h, e) < 0)) {
			drop_dir(&xos);
			if (errno == ENOENT)
				continue;
			return -1;
		}
		if (cpuset && fill_cpuset(&xos, e) < 0) {
			if (errno == ENOENT)
				continue;
			drop_dir(&xos);
			return -1;
		}
		if (make_dir(h, false, e) == 0)
			break;
		if (errno == EEXIST)
			return err_set(e, EX_BUSY, "the control group %s%s is there already", h->mount, h->path);
		if (errno != ENOENT) {
			drop_dir(&xos);
			return -1;
		}
	}
	if (err_is_set(e))
		return -1;
	if (cpuset && fill_cpuset(h, e) < 0) {
		drop_dir(h);
		drop_dir(&xos);
		return -1;
	}
	return 0;
}

int cgroup_make(struct cgroup_set *s, struct err *e)
{
	s->id = 0;
	for (size_t i = 0; i < s->n; i++) {
		if (make_one(&s->h[i], e) == 0)
			continue;
		while (i-- > 0) {
			struct cgroup_hier xos;
			parent_of(&xos, &s->h[i]);
			drop_dir(&s->h[i]);
			drop_dir(&xos);
		}
		return -1;
	}
	s->id = s->n ? cg_inode(cg_main(s)) : 0;
	return 0;
}

int cgroup_create(struct cgroup_set *s, const char *jobid, const char *subsystems, struct err *e)
{
	for (int i = 0; i < MAKE_RETRIES; i++) {
		err_clear(e);
		if (cgroup_plan(s, jobid, subsystems, e) < 0)
			return -1;
		if (cgroup_make(s, e) == 0)
			return 0;
		if (!e || e->code != EX_BUSY)
			return -1;
	}
	return -1;
}

int cgroup_entry_open(struct cgroup_entry *en, const struct cgroup_set *s, bool without_v2, struct err *e)
{
	en->n = 0;
	for (size_t i = 0; i < s->n; i++) {
		if (s->h[i].v2 && without_v2)
			continue;
		char p[CG_PATH];
		/* v1: `tasks` with 0, because moving the one calling thread takes no threadgroup lock */
		if (cg_path(&s->h[i], s->h[i].v2 ? "cgroup.procs" : "tasks", p, sizeof p) < 0 ||
		    (en->fd[en->n] = open(p, O_WRONLY | O_CLOEXEC)) < 0) {
			err_sys(e, "%s%s", s->h[i].mount, s->h[i].path);
			cgroup_entry_close(en);
			return -1;
		}
		en->n++;
	}
	return 0;
}

int cgroup_entry_enter(const struct cgroup_entry *en)
{
	for (size_t i = 0; i < en->n; i++)
		if (write(en->fd[i], "0", 1) < 0)
			return errno;
	return 0;
}

void cgroup_entry_close(struct cgroup_entry *en)
{
	for (size_t i = 0; i < en->n; i++)
		close(en->fd[i]);
	en->n = 0;
}

int cgroup_enter(const struct cgroup_set *s, pid_t pid, struct err *e)
{
	if (pid == 0) {
		struct cgroup_entry en;
		if (cgroup_entry_open(&en, s, false, e) < 0)
			return -1;
		int r = cgroup_entry_enter(&en);
		cgroup_entry_close(&en);
		errno = r;
		return r ? err_sys(e, "cannot enter the control group") : 0;
	}
	char text[24];
	snprintf(text, sizeof text, "%ld", (long)pid);
	for (size_t i = 0; i < s->n; i++)
		if (cg_write(&s->h[i], "cgroup.procs", text) < 0)
			return err_sys(e, "cannot move pid %ld into %s%s", (long)pid, s->h[i].mount, s->h[i].path);
	return 0;
}

int cgroup_v2_fd(const struct cgroup_set *s)
{
	const struct cgroup_hier *h = cg_v2(s);
	char p[CG_PATH];
	if (!h || cg_path(h, NULL, p, sizeof p) < 0)
		return -1;
	return open(p, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int remove_one(const char *dir, void *data)
{
	int *why = data;
	if (rmdir(dir) == 0 || errno == ENOENT)
		return 0;
	*why = errno;
	return 0; /* the others may go all the same */
}

/* Removes dir and what is below it, the deepest first; 0 or -1 with errno. */
static int remove_tree(const char *dir)
{
	int why = 0;
	if (rmdir(dir) == 0 || errno == ENOENT)
		return 0;
	if (cg_walk_up(dir, remove_one, &why) < 0)
		return -1;
	errno = why; /* dir is the last one: what stayed below makes it stay */
	return why ? -1 : 0;
}

/* Whoever recorded the paths was killed before the groups were known to be his: what is empty goes, after the moment
 * that a child needs that was born into one and has nobody to tell it to go on. */
static void remove_planned(struct cgroup_set *s)
{
	unsigned slept = 0;
	for (size_t i = 0; i < s->n; i++) {
		char p[CG_PATH];
		struct cgroup_hier xos;
		if (cg_path(&s->h[i], NULL, p, sizeof p) < 0)
			continue;
		for (; rmdir(p) < 0 && errno == EBUSY && slept < PLANNED_MS; slept += 5)
			cg_sleep_ms(5);
		parent_of(&xos, &s->h[i]);
		drop_dir(&xos);
	}
	s->n = 0;
}

int cgroup_remove(struct cgroup_set *s, struct err *e)
{
	int result = 0;
	if (!s->id) {
		remove_planned(s);
		return 0;
	}
	uint64_t now = s->n ? cg_inode(cg_main(s)) : 0;
	if (now && now != s->id) { /* another job's by now */
		s->n = 0;
		return 0;
	}
	for (size_t i = 0; i < s->n; i++) {
		char p[CG_PATH];
		if (cg_path(&s->h[i], NULL, p, sizeof p) < 0)
			continue;
		unsigned slept = 0, step = 1;
		int r;
		/* A member that was killed leaves its group a little after it became a zombie. */
		while ((r = remove_tree(p)) < 0 && (errno == EBUSY || errno == ENOTEMPTY) && slept < REMOVE_MS) {
			cg_sleep_ms(step);
			slept += step;
			step = step < 32 ? step * 2 : 32;
		}
		if (r < 0) {
			result = err_sys(e, "cannot remove the control group %s%s", s->h[i].mount, s->h[i].path);
			continue;
		}
		struct cgroup_hier xos;
		parent_of(&xos, &s->h[i]);
		drop_dir(&xos); /* the last job takes it away; fails while others are there */
	}
	if (result == 0) {
		s->n = 0;
		s->id = 0;
	}
	return result;
}
