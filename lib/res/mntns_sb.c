/* mntns_sb: makes a file system that only the namespace has, at MNTNS_SB/n, with its content. All its mounts are binds from there. */
#include "res/mntns_int.h"
#include "common/cleanup.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

/* MOUNT_ATTR_ of fsmount(2) that matter before the mount is bound: the kernel compares them with the proc that is visible. */
static unsigned attrs(unsigned long flags)
{
	return (flags & MS_RDONLY ? 1u : 0) | (flags & MS_NOSUID ? 2u : 0) | (flags & MS_NODEV ? 4u : 0) | (flags & MS_NOEXEC ? 8u : 0) |
	       (flags & MS_NOATIME ? 0x10u : flags & MS_RELATIME ? 0 : 0x20u) | (flags & MS_NODIRATIME ? 0x80u : 0);
}

/* What the kernel says of a failed mount is in its messages, fsopen(2). */
static int fs_failed(struct err *e, int fs, const char *what, const char *word)
{
	char text[256];
	int code = errno;
	ssize_t n = read(fs, text, sizeof text - 1);

	text[n > 0 ? n : 0] = '\0';
	errno = code;
	return n > 2 ? err_sys(e, "cannot %s %s (%s)", what, word, text + 2) : err_sys(e, "cannot %s %s", what, word);
}

/* Read-only is set when all is in it. */
static int set_options(int fs, const struct rmsb *s, bool *ro, struct err *e)
{
	AUTO_FREE char *super = strdup(s->super);
	char *save = NULL;

	if (!super)
		return err_set(e, EX_FAILED, "out of memory");
	if (sys_fsconfig(fs, FSCONFIG_STRING_, "source", s->devname))
		return fs_failed(e, fs, "set", "source");
	for (char *w = strtok_r(super, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
		char *val = strchr(w, '=');

		if (!strcmp(w, "ro") || !strcmp(w, "rw")) {
			*ro = !strcmp(w, "ro");
			continue;
		}
		/* A security module's: given by its policy. */
		if (!strcmp(w, "seclabel"))
			continue;
		if (val)
			*val++ = '\0';
		if (sys_fsconfig(fs, val ? FSCONFIG_STRING_ : FSCONFIG_FLAG_, w, val))
			return fs_failed(e, fs, "set option", w);
	}
	return 0;
}

/* Names in the options (layers of an overlay) mean what they meant when it was mounted. */
static int in_view(const char *view, struct err *e)
{
	return chroot(view) || chdir("/") ? err_sys(e, "cannot enter %s", view) : 0;
}

static int out_of_view(int root, struct err *e)
{
	return fchdir(root) || chroot(".") ? err_sys(e, "cannot come back to the root") : 0;
}

static int create(const struct rmsb *s, int fs, bool *ro, struct err *e)
{
	AUTO_FD int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int rc;

	if (root < 0)
		return err_sys(e, "cannot open the root");
	if (s->layers && in_view(!strcmp(s->layers, "host") ? MNTNS_OLD : MNTNS_NEW, e))
		return -1;
	rc = set_options(fs, s, ro, e);
	/* A file system that is read-only by nature wants to be told. */
	if (!rc && *ro && strcmp(s->type, "tmpfs") && sys_fsconfig(fs, FSCONFIG_FLAG_, "ro", NULL))
		rc = fs_failed(e, fs, "set option", "ro");
	if (!rc && sys_fsconfig(fs, FSCONFIG_CREATE_, NULL, NULL))
		rc = fs_failed(e, fs, "mount", s->type);
	return s->layers && out_of_view(root, rc ? NULL : e) ? -1 : rc;
}

static int sockets(struct rmtab *t, size_t sb, int root, struct err *e)
{
	struct rec rec;
	uint64_t ns, in, mode, uid, gid;
	const char *path, *base, *tm;

	for (size_t i = 0; i < t->list->n; i++) {
		struct timespec at[2] = { { .tv_nsec = UTIME_OMIT } };
		AUTO_FD int dir = -1;

		rec_list_get(t->list, i, &rec);
		if (strcmp(rec_type(&rec), "mount_socket") || rec_u64(&rec, "NS", UINT32_MAX, &ns, e) || ns != t->ns)
			continue;
		if (rec_u64(&rec, "SB", MNTNS_MAX_MOUNTS, &in, e) || rec_str(&rec, "PATH", &path, e) || rec_u64(&rec, "MODE", 07777, &mode, e) ||
		    rec_u64(&rec, "UID", UINT32_MAX, &uid, e) || rec_u64(&rec, "GID", UINT32_MAX, &gid, e) || rec_str(&rec, "MTIME", &tm, e))
			return -1;
		if (in != sb + 1)
			continue;
		if (mnt_time(tm, &at[1]))
			return err_set(e, EX_BAD_IMAGE, "line %zu: MTIME", rec.line);
		dir = mtar_parent(root, path, true, &base);
		if (dir < 0 || !*base || !strcmp(base, "..") || mknodat(dir, base, S_IFSOCK | 0600, 0) ||
		    fchownat(dir, base, (uid_t)uid, (gid_t)gid, AT_SYMLINK_NOFOLLOW) || fchmodat(dir, base, (mode_t)mode, 0) ||
		    utimensat(dir, base, at, AT_SYMLINK_NOFOLLOW))
			return err_sys(e, "cannot make socket %s", path);
	}
	return 0;
}

/* Sockets first: the tar's directories get their times afterwards. */
static int fill(struct rmtab *t, size_t sb, int root, struct err *e)
{
	const struct rmsb *s = &t->sb[sb];
	const struct image_member *m = s->content ? image_find(t->r->img, s->content) : NULL;

	if (!m)
		return 0;
	return sockets(t, sb, root, e) || mtar_unpack(t->r, m, root, e) ? -1 : 0;
}

int mnt_sb_make(struct rmtab *t, size_t sb, struct err *e)
{
	struct rmsb *s = &t->sb[sb];
	const char *point = s->first == MNTNS_NONE ? "/" : t->v[s->first].point;
	unsigned long flags = s->first == MNTNS_NONE ? MS_RELATIME : t->v[s->first].flags;
	AUTO_FD int fs = sys_fsopen(s->type), mnt = -1, at = -1;
	char dir[64];
	bool ro = false, fills = s->content != NULL;

	if (fs < 0)
		return err_sys(e, "mount %s: this kernel has no file system %s", point, s->type);
	if (create(s, fs, &ro, e))
		return err_prefix(e, "mount %s", point);
	mnt = sys_fsmount(fs, fills ? attrs(flags) & ~1u : attrs(flags));
	if (mnt < 0) {
		fs_failed(e, fs, "mount", s->type);
		return err_prefix(e, "mount %s", point);
	}
	snprintf(dir, sizeof dir, MNTNS_SB "/%zu", sb + 1);
	if (mkdir(dir, 0700) && errno != EEXIST)
		return err_sys(e, "cannot make %s", dir);
	at = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (at < 0 || sys_move_mount(mnt, at, 0))
		return err_sys(e, "mount %s: cannot place its file system", point);
	if (fill(t, sb, mnt, e))
		return err_prefix(e, "mount %s", point);
	if (fills && ro && (sys_fsconfig(fs, FSCONFIG_FLAG_, "ro", NULL) || sys_fsconfig(fs, FSCONFIG_RECONFIGURE_, NULL, NULL))) {
		fs_failed(e, fs, "make read-only", s->type);
		return err_prefix(e, "mount %s", point);
	}
	s->made = true;
	return 0;
}
