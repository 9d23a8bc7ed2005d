/* mntns_make: the mounts, one after the other, below MNTNS_NEW; see mntns.h. */
#include "res/mntns_int.h"
#include "res/tty.h"
#include "common/cleanup.h"
#include "common/log.h"

#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif
#define IDS "/ids"
enum { IDS_MAX = 1 << 20, THERE = RESOLVE_IN_ROOT_ | RESOLVE_NO_SYMLINKS_ | RESOLVE_NO_MAGICLINKS_ };
#define ALL_FLAGS ((unsigned long)(MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME | MS_RELATIME | MS_NOSYMFOLLOW))

/* What a path of the namespace shows at this moment. */
static int open_point(const struct rmount *m)
{
	AUTO_FD int root = open(m->parent == MNTNS_NONE ? "/" : MNTNS_NEW, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return root < 0 ? -1 : sys_open_in(root, m->parent == MNTNS_NONE ? MNTNS_NEW : m->point, O_PATH | O_NOFOLLOW, THERE);
}

static int by_fd(int fd, unsigned long flags)
{
	char path[64];

	snprintf(path, sizeof path, MNTNS_PROC "/fd/%d", fd);
	return mount(NULL, path, NULL, flags, NULL);
}

static int set_flags(const struct rmount *m, int fd, struct err *e)
{
	unsigned long f = m->flags & ALL_FLAGS;

	/* No word for it in mountinfo: every access counts. */
	if (!(f & (MS_RELATIME | MS_NOATIME)))
		f |= MS_STRICTATIME;
	return by_fd(fd, f | MS_REMOUNT | MS_BIND) ? err_sys(e, "mount %s: cannot set its options", m->point) : 0;
}

/* Without a terminal that it may use (xrestart -t) the job has none, as its standard input and output then have none. */
static void own_terminal(const struct rmtab *t, char path[PATH_MAX])
{
	AUTO_FD int fd = t->r->o->tty ? open(MNTNS_OLD "/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC) : -1;
	unsigned dev;
	int n = fd >= 0 && !ioctl(fd, TIOCGDEV, &dev) ? tty_dev_index(major(dev), minor(dev)) : -1;

	if (n >= 0)
		snprintf(path, PATH_MAX, "/dev/pts/%d", n);
	else
		strcpy(path, "/dev/null");
}

static int source_path(const struct rmtab *t, const struct rmount *m, char path[PATH_MAX], struct err *e)
{
	int n;

	if (m->terminal) {
		own_terminal(t, path);
		return 0;
	}
	if (restore_path(t->r, m->source, path, e))
		return -1;
	if (!m->pty)
		return 0;
	n = tty_number(t->r, m->pty);
	if (n < 0 || strrchr(path, '/') - path > PATH_MAX - 16)
		return err_set(e, EX_FAILED, "mount %s: its terminal is not there", m->point);
	snprintf(strrchr(path, '/'), 16, "/%d", n);
	return 0;
}

/* A copy of what is bound, not mounted anywhere yet. *whole: with what is mounted below it. */
static int source_copy(struct rmtab *t, const struct rmount *m, bool *whole, struct err *e)
{
	char path[PATH_MAX], sb[64];
	AUTO_FD int root = -1, from = -1;
	int fd;

	snprintf(sb, sizeof sb, MNTNS_SB "/%zu", m->sb + 1);
	if (m->sb == MNTNS_NONE && source_path(t, m, path, e))
		return -1;
	root = open(m->sb == MNTNS_NONE ? MNTNS_OLD : sb, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root >= 0)
		from = m->sb == MNTNS_NONE ? sys_open_in(root, path, O_PATH, RESOLVE_IN_ROOT_) : sys_open_in(root, m->root, O_PATH, THERE);
	if (from < 0)
		return err_sys(e, "mount %s: cannot open %s", m->point, m->sb == MNTNS_NONE ? path : m->root);
	*whole = m->recursive && m->sb == MNTNS_NONE;
	fd = sys_open_tree(from, "", OPEN_TREE_CLONE_ | (*whole ? AT_RECURSIVE_ : 0));
	/* In a user namespace, what is mounted below something cannot be left away. */
	if (fd < 0 && errno == EINVAL && !*whole && m->sb == MNTNS_NONE) {
		*whole = true;
		fd = sys_open_tree(from, "", OPEN_TREE_CLONE_ | AT_RECURSIVE_);
	}
	return fd < 0 ? err_sys(e, "mount %s: cannot bind %s", m->point, m->sb == MNTNS_NONE ? path : m->root) : fd;
}

/* ---- what came with a recursive copy ---- */

static const char *new_point(const struct minfo *x)
{
	const char *p = mnt_below(x->point, MNTNS_NEW);

	return p && !*p ? "/" : p;
}

/* What the root of a cgroup file system is called depends on the cgroup namespace of who asks. */
static bool same_root(const struct rmount *m, const struct minfo *x)
{
	return !strcmp(x->root, m->root) || !strncmp(x->type, "cgroup", 6);
}

static bool same_mount(const struct rmount *m, const struct minfo *x)
{
	const char *point = new_point(x);

	return point && !strcmp(point, m->point) && !strcmp(x->type, m->type) && same_root(m, x) && !x->deleted;
}

static bool wanted(const struct rmtab *t, const struct minfo *x, int parent, size_t from, size_t *which)
{
	for (size_t i = from; i < t->n; i++) {
		const struct rmount *m = &t->v[i];

		if (!m->id && m->sb == MNTNS_NONE && m->parent != MNTNS_NONE && t->v[m->parent].id == parent && same_mount(m, x)) {
			*which = i;
			return true;
		}
	}
	return false;
}

/* What is mounted on x itself, by index; MNTNS_NONE. */
static size_t on_top(const struct mtab *have, size_t k)
{
	for (size_t i = k + 1; i < have->n; i++)
		if (have->v[i].up == k && !strcmp(have->v[i].point, have->v[k].point))
			return i;
	return MNTNS_NONE;
}

static bool wants_on_top(const struct rmtab *t, size_t m)
{
	for (size_t i = m + 1; i < t->n; i++)
		if (t->v[i].parent == m && t->v[i].sb == MNTNS_NONE && !strcmp(t->v[i].point, t->v[m].point))
			return true;
	return false;
}

/* Is x what record m wants? When more is on top of it than there was, the topmost is, which SOURCE shows today: xrestart puts a /proc over the
 * machine's for an ordinary user. */
static size_t topmost(const struct rmtab *t, size_t m, const struct mtab *have, size_t k, bool *mine)
{
	size_t y;

	while (!t->v[m].hidden && !wants_on_top(t, m) && (y = on_top(have, k)) != MNTNS_NONE && same_mount(&t->v[m], &have->v[y])) {
		mine[k] = true;
		k = y;
	}
	return k;
}

/* Those that the namespace did not have are taken away; what is locked is the machine's of today, and stays. */
static int adopt(struct rmtab *t, size_t top, struct err *e)
{
	struct mtab have;
	AUTO_FREE bool *mine = NULL, *ours = NULL;
	int rc = mtab_read(&have, AT_FDCWD, MNTNS_PROC "/mountinfo", e);

	mine = calloc(have.n + 1, sizeof *mine);
	ours = calloc(have.n + 1, sizeof *ours);
	if (!rc && (!mine || !ours))
		rc = err_set(e, EX_FAILED, "out of memory");
	for (size_t k = 0; k < have.n && !rc; k++) {
		const struct minfo *x = &have.v[k];
		size_t which, at;

		ours[k] = x->id == t->v[top].id || (x->up != MNTNS_NONE && ours[x->up]);
		mine[k] |= x->id == t->v[top].id;
		if (!ours[k] || mine[k] || !mine[x->up] || !wanted(t, x, have.v[x->up].id, top + 1, &which))
			continue;
		at = topmost(t, which, &have, k, mine);
		mine[at] = true;
		t->v[which].id = have.v[at].id;
		t->v[which].on = have.v[have.v[at].up].id;
	}
	for (size_t k = have.n; k-- > 0 && !rc;)
		if (ours[k] && !mine[k] && umount2(have.v[k].point, MNT_DETACH | UMOUNT_NOFOLLOW))
			log_verbose("mount %s: locked, stays although the job did not have it", new_point(&have.v[k]));
	mtab_free(&have);
	return rc;
}

/* ---- propagation of copies ---- */

static const struct minfo *find_id(const struct mtab *have, int id)
{
	for (size_t k = 0; k < have->n; k++)
		if (have->v[k].id == id)
			return &have->v[k];
	return NULL;
}

/* It was made private with what is hidden below something: follows the machine's again, if that is shared. */
static int follow_again(const struct rmtab *t, const struct rmount *m, int fd, struct err *e)
{
	AUTO_FD int old = open(MNTNS_OLD, O_PATH | O_DIRECTORY | O_CLOEXEC), from = -1;
	const struct minfo *x;
	struct mtab have;
	char path[PATH_MAX];
	bool follows;
	int id;

	if (restore_path(t->r, m->source, path, e))
		return -1;
	from = old < 0 ? -1 : sys_open_in(old, path, O_PATH, RESOLVE_IN_ROOT_);
	if (from < 0 || sys_mount_id(from, &id, NULL, NULL))
		return err_sys(e, "mount %s: cannot open %s", m->point, path);
	if (mtab_read(&have, AT_FDCWD, MNTNS_PROC "/mountinfo", e))
		return -1;
	x = find_id(&have, id);
	follows = x && x->master;
	mtab_free(&have);
	return follows && sys_move_mount(from, fd, MOVE_SET_GROUP_) ? err_sys(e, "mount %s: cannot make it follow the machine's (needs Linux 5.15)", m->point) : 0;
}

static bool was_made_private(const struct rmtab *t, const struct rmount *m)
{
	for (size_t up = (size_t)(m - t->v); up != MNTNS_NONE; up = t->v[up].parent)
		if (t->v[up].all_private)
			return true;
	return false;
}

/* fd: of the mount, which came as a copy of the machine's or with one (adopted). What is hidden no path leads to. */
static int own_propagation(const struct rmtab *t, const struct rmount *m, int fd, bool adopted, struct err *e)
{
	if ((!m->master_host || m->all_private) && by_fd(fd, MS_PRIVATE | (m->all_private ? MS_REC : 0)))
		return err_sys(e, "mount %s: cannot make it private", m->point);
	return m->master_host && (adopted ? was_made_private(t, m) : m->all_private) ? follow_again(t, m, fd, e) : 0;
}

/* ---- making ---- */

/* One that is there already gets its options, when they are not as they were. */
static int settle_adopted(const struct rmtab *t, const struct rmount *m, struct err *e)
{
	AUTO_FD int fd = open_point(m);
	int id;

	/* Hidden by another one: its options are compared in the end. */
	if (fd < 0 || sys_mount_id(fd, &id, NULL, NULL) || id != m->id)
		return 0;
	if (set_flags(m, fd, e))
		return -1;
	return own_propagation(t, m, fd, true, e);
}

/* A copy of what this machine no longer has mounted. */
static bool has_gone(struct rmtab *t, struct rmount *m)
{
	AUTO_FD int old = -1, fd = -1;
	char path[PATH_MAX];
	bool root;
	int id;

	if (!rmount_may_go(t, m) || restore_path(t->r, m->source, path, NULL))
		return false;
	old = open(MNTNS_OLD, O_PATH | O_DIRECTORY | O_CLOEXEC);
	fd = sys_open_in(old, path, O_PATH | O_NOFOLLOW, RESOLVE_IN_ROOT_);
	if (!m->hidden && !t->v[m->parent].gone && fd >= 0 && !sys_mount_id(fd, &id, &root, NULL) && root)
		return false;
	log_verbose("mount %s: not mounted on this machine, left away", m->point);
	return m->gone = true;
}

static int make_one(struct rmtab *t, size_t i, struct err *e)
{
	struct rmount *m = &t->v[i];
	AUTO_FD int fd = -1, at = -1;
	bool whole = false, root;
	int id;

	if (has_gone(t, m))
		return 0;
	if (m->parent != MNTNS_NONE && t->v[m->parent].gone)
		return err_set(e, EX_MISFIT, "mount %s: %s, which it is on, is not mounted on this machine", m->point, t->v[m->parent].point);
	if (m->sb != MNTNS_NONE && !t->sb[m->sb].made && mnt_sb_make(t, m->sb, e))
		return -1;
	if (m->hidden)
		return err_set(e, EX_MISFIT, "mount %s: what was hidden there by another mount is not on this machine", m->point);
	fd = source_copy(t, m, &whole, e);
	if (fd < 0)
		return -1;
	at = open_point(m);
	if (at < 0)
		return err_sys(e, "mount %s: cannot open where it is to be", m->point);
	if (m->parent != MNTNS_NONE && (sys_mount_id(at, &id, &root, NULL) || id != t->v[m->parent].id))
		return err_set(e, EX_MISFIT, "mount %s: something else is mounted there on this machine", m->point);
	if (sys_move_mount(fd, at, 0) || sys_mount_id(fd, &m->id, NULL, NULL))
		return err_sys(e, "mount %s: cannot mount it", m->point);
	m->on = m->parent == MNTNS_NONE ? 0 : id;
	if (set_flags(m, fd, e) || (whole && adopt(t, i, e)))
		return -1;
	return own_propagation(t, m, fd, false, e);
}

int rmtab_make(struct rmtab *t, bool late, struct err *e)
{
	for (size_t i = 0; i < t->n; i++) {
		if (t->v[i].gone || (t->v[i].late != late && !(t->v[i].late && t->v[i].id)))
			continue;
		if (t->v[i].id ? settle_adopted(t, &t->v[i], e) : make_one(t, i, e))
			return -1;
	}
	return 0;
}

/* ---- the second half, by another process ---- */

/* Which mount is which stands in a file of our own root. */
int rmtab_note(const struct rmtab *t, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	AUTO_FD int fd = open(IDS, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	for (size_t i = 0; i < t->n; i++)
		buf_printf(&b, "%d %d %d\n", t->v[i].id, t->v[i].on, t->v[i].gone);
	return fd < 0 || buf_failed(&b) || write(fd, b.p, b.len) != (ssize_t)b.len ? err_sys(e, "cannot note what was mounted") : 0;
}

int rmtab_find(struct rmtab *t, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	const char *l;

	if (buf_read_file(&b, AT_FDCWD, IDS, IDS_MAX))
		return err_sys(e, "cannot read what was mounted");
	l = buf_str(&b);
	for (size_t i = 0; i < t->n; i++) {
		int gone;

		if (sscanf(l, "%d %d %d", &t->v[i].id, &t->v[i].on, &gone) != 3 || !(l = strchr(l, '\n')))
			return err_set(e, EX_FAILED, "cannot read what was mounted");
		t->v[i].gone = gone;
		l++;
	}
	for (size_t k = 0; k < t->nsb; k++) {
		char path[64];

		snprintf(path, sizeof path, MNTNS_SB "/%zu", k + 1);
		t->sb[k].made = !access(path, F_OK);
	}
	return 0;
}

static int open_id(const struct rmtab *t, size_t i)
{
	int fd = open_point(&t->v[i]), id;

	if (t->v[i].parent == MNTNS_NONE) {
		if (fd >= 0)
			close(fd);
		fd = open(MNTNS_NEW, O_PATH | O_DIRECTORY | O_CLOEXEC);
	}
	if (fd >= 0 && (sys_mount_id(fd, &id, NULL, NULL) || id != t->v[i].id)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* The first of a peer group that is shared already; the one with the widest view of its file system came first. */
static int join(struct rmtab *t, size_t i, uint64_t group, int fd, struct err *e)
{
	for (size_t k = 0; k < t->n; k++) {
		AUTO_FD int from = t->v[k].group == group && k != i ? open_id(t, k) : -1;

		if (from >= 0 && !sys_move_mount(from, fd, MOVE_SET_GROUP_))
			return 0;
	}
	err_sys(e, "mount %s: cannot join the mounts that it shares with", t->v[i].point);
	err_hint(e, "needs Linux 5.15 or newer");
	return -1;
}

static bool leads(const struct rmtab *t, size_t i)
{
	for (size_t k = 0; k < t->n; k++)
		if (t->v[k].group == t->v[i].group && (strlen(t->v[k].root) < strlen(t->v[i].root) || (k < i && strlen(t->v[k].root) == strlen(t->v[i].root))))
			return false;
	return true;
}

static int propagate_one(struct rmtab *t, size_t i, bool leaders, struct err *e)
{
	const struct rmount *m = &t->v[i];
	AUTO_FD int fd = -1;

	if (!m->group && !m->master && !m->unbindable)
		return 0;
	if (m->group && leads(t, i) != leaders)
		return 0;
	if (!m->group && leaders)
		return 0;
	fd = open_id(t, i);
	if (fd < 0)
		return err_set(e, EX_FAILED, "mount %s: hidden, and shared with others", m->point);
	if (m->unbindable)
		return by_fd(fd, MS_UNBINDABLE) ? err_sys(e, "mount %s: cannot make it unbindable", m->point) : 0;
	if (m->group && !leaders)
		return join(t, i, m->group, fd, e);
	if (m->master && (join(t, i, m->master, fd, e) || by_fd(fd, MS_SLAVE)))
		return err_is_set(e) ? -1 : err_sys(e, "mount %s: cannot make it a slave", m->point);
	return m->group && by_fd(fd, MS_SHARED) ? err_sys(e, "mount %s: cannot share it", m->point) : 0;
}

/* A group that follows another one needs that first: as often as there are such. Then the other peers, then those that only follow. */
int rmtab_propagation(struct rmtab *t, struct err *e)
{
	AUTO_FREE bool *done = calloc(t->n + 1, sizeof *done);
	bool more = true;

	if (!done)
		return err_set(e, EX_FAILED, "out of memory");
	while (more) {
		more = false;
		for (size_t i = 0; i < t->n; i++) {
			bool ready = !t->v[i].master;

			if (done[i] || !t->v[i].group || !leads(t, i))
				continue;
			for (size_t k = 0; k < t->n && !ready; k++)
				ready = done[k] && t->v[k].group == t->v[i].master;
			if (!ready)
				continue;
			if (propagate_one(t, i, true, e))
				return -1;
			done[i] = more = true;
		}
	}
	for (size_t i = 0; i < t->n; i++)
		if (!done[i] && propagate_one(t, i, false, e))
			return -1;
	return 0;
}

/* ---- is it as it was? ---- */

/* A proc under another mount: what its options would forbid no proc has, and under the one that xrestart mounted they cannot be set. */
static bool covered_proc(const struct rmtab *t, size_t i)
{
	for (size_t k = 0; k < t->n; k++)
		if (t->v[k].parent == i && !strcmp(t->v[k].point, t->v[i].point))
			return !strcmp(t->v[i].type, "proc");
	return false;
}

int rmtab_compare(struct rmtab *t, bool all, struct err *e)
{
	struct mtab have;
	int rc = mtab_read(&have, AT_FDCWD, MNTNS_PROC "/mountinfo", e);

	for (size_t i = 0; i < t->n && !rc; i++) {
		const struct rmount *m = &t->v[i];
		const struct minfo *x = m->id ? find_id(&have, m->id) : NULL;
		const char *word;
		unsigned long flags;

		if ((m->late && !all) || m->gone || m->terminal)
			continue;
		if (!x || !new_point(x) || strcmp(new_point(x), m->point) || (m->parent != MNTNS_NONE && x->parent != m->on))
			rc = err_set(e, EX_MISFIT, "mount %s: is not where it was", m->point);
		else if (strcmp(x->type, m->type) && !t->r->o->accept_changed)
			rc = err_set(e, EX_MISFIT, "mount %s: is of type %s, was %s", m->point, x->type, m->type);
		else if (mnt_flags(x->opts, &flags, &word) || (flags != m->flags && !covered_proc(t, i)))
			rc = err_set(e, EX_MISFIT, "mount %s: its options are %s, as this machine allows no others", m->point, x->opts);
	}
	mtab_free(&have);
	return rc;
}
