/* mntns_untar: a tar of mntns_tar.c into an empty file system. The tar is not trusted: every name is looked up from the root, below it, on the same mount,
 * through no symbolic link (openat2(2)), and nothing that is there already is opened or replaced. */
#include "res/mntns_int.h"
#include "common/cleanup.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

enum { ENTRIES_MAX = 4 << 20, XATTRS_MAX = 1024, UNPACK_PIECE = 256 << 10 };

struct source { int fd; uint64_t at, end; char piece[UNPACK_PIECE]; };
struct dirattr { char *path; struct stat st; };
struct untar {
	int root;
	struct archive *a;
	int parent; char parent_path[PATH_MAX];   /* the last one, -1 */
	struct dirattr *dirs; size_t ndirs, cap;
};

static la_ssize_t from_image(struct archive *a, void *ctx, const void **p)
{
	struct source *s = ctx;
	size_t want = s->end - s->at < sizeof s->piece ? (size_t)(s->end - s->at) : sizeof s->piece;
	ssize_t n = pread(s->fd, s->piece, want, (off_t)s->at);

	if (n < 0)
		archive_set_error(a, errno, "%s", strerror(errno));
	if (n > 0)
		s->at += (uint64_t)n;
	*p = s->piece;
	return n;
}

static bool path_ok(const char *p)
{
	if (!*p || *p == '/' || strlen(p) >= PATH_MAX)
		return false;
	for (const char *w = p; *w;) {
		size_t n = strcspn(w, "/");

		if (!n || n > NAME_MAX || (n <= 2 && !strncmp(w, "..", n)))
			return false;
		w += n + (w[n] == '/' && w[n + 1]);
		if (*w == '/')
			return !w[1];
	}
	return true;
}

enum { INSIDE = RESOLVE_BENEATH_ | RESOLVE_NO_SYMLINKS_ | RESOLVE_NO_XDEV_ };

/* Makes the directories of path, up to its last slash. */
static void make_parents(int root, char *path)
{
	for (char *s = strchr(path, '/'); s; s = strchr(s + 1, '/')) {
		const char *base = path;
		AUTO_FD int dir = -1;
		char *up;

		*s = '\0';
		up = strrchr(path, '/');
		if (up) {
			*up = '\0';
			dir = sys_open_in(root, path, O_PATH | O_DIRECTORY, INSIDE);
			*up = '/';
			base = up + 1;
		}
		if (!up || dir >= 0)
			mkdirat(up ? dir : root, base, 0755);
		*s = '/';
	}
}

int mtar_parent(int root, const char *path, bool make, const char **base)
{
	char up[PATH_MAX];
	const char *slash = strrchr(path, '/');
	int fd;

	*base = slash ? slash + 1 : path;
	if (!slash)
		return fcntl(root, F_DUPFD_CLOEXEC, 3);
	if ((size_t)(slash - path) + 2 > sizeof up) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(up, path, (size_t)(slash - path));
	up[slash - path] = '\0';
	fd = sys_open_in(root, up, O_PATH | O_DIRECTORY, INSIDE);
	if (fd < 0 && errno == ENOENT && make) {
		strcat(up, "/");
		make_parents(root, up);
		up[slash - path] = '\0';
		fd = sys_open_in(root, up, O_PATH | O_DIRECTORY, INSIDE);
	}
	return fd;
}

/* The parent of path; it stays u's. */
static int parent(struct untar *u, const char *path, const char **base)
{
	const char *slash = strrchr(path, '/');
	size_t n = slash ? (size_t)(slash - path) : 0;

	*base = slash ? slash + 1 : path;
	if (!slash)
		return u->root;
	if (u->parent >= 0 && strlen(u->parent_path) == n && !memcmp(u->parent_path, path, n))
		return u->parent;
	cleanup_fd(&u->parent);
	u->parent = mtar_parent(u->root, path, true, base);
	memcpy(u->parent_path, path, n);
	u->parent_path[n] = '\0';
	return u->parent;
}

static int data(struct untar *u, int fd, uint64_t size, struct err *e)
{
	const void *p;
	size_t n;
	la_int64_t off;
	int rc;

	while ((rc = archive_read_data_block(u->a, &p, &n, &off)) == ARCHIVE_OK) {
		if (off < 0 || (uint64_t)off > size || n > size - (uint64_t)off)
			return err_set(e, EX_BAD_IMAGE, "data beyond the end of a file");
		for (size_t k = 0; k < n;) {
			ssize_t w = pwrite(fd, (const char *)p + k, n - k, off + (off_t)k);
			if (w <= 0)
				return err_sys(e, "cannot write");
			k += (size_t)w;
		}
	}
	if (rc != ARCHIVE_EOF)
		return err_set(e, EX_BAD_IMAGE, "%s", archive_error_string(u->a));
	return ftruncate(fd, (off_t)size) ? err_sys(e, "cannot give a file its size") : 0;
}

/* Mode last: a change of owner clears bits of it; times after everything. */
static int attributes(int dir, const char *base, const struct stat *st, struct err *e)
{
	struct timespec t[2] = { st->st_atim, st->st_mtim };
	struct stat is;

	if (fstatat(dir, base, &is, AT_SYMLINK_NOFOLLOW))
		return err_sys(e, "cannot look at it");
	if ((is.st_uid != st->st_uid || is.st_gid != st->st_gid) && fchownat(dir, base, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW))
		return err_sys(e, "cannot give it its owner %u:%u", st->st_uid, st->st_gid);
	if (!S_ISLNK(is.st_mode) && fchmodat(dir, base, st->st_mode & 07777, 0))
		return err_sys(e, "cannot give it its mode");
	return utimensat(dir, base, t, AT_SYMLINK_NOFOLLOW) ? err_sys(e, "cannot give it its times") : 0;
}

static int xattrs(int dir, const char *base, struct archive_entry *en, struct err *e)
{
	const char *name;
	const void *val;
	size_t n;
	char at[NAME_MAX + 3];

	if (archive_entry_xattr_reset(en) > XATTRS_MAX)
		return err_set(e, EX_BAD_IMAGE, "too many extended attributes");
	if (!archive_entry_xattr_count(en))
		return 0;
	if (fchdir(dir))
		return err_sys(e, "cannot enter its directory");
	snprintf(at, sizeof at, "./%s", base);
	while (archive_entry_xattr_next(en, &name, &val, &n) == ARCHIVE_OK)
		if (lsetxattr(at, name, val, n, 0))
			return err_sys(e, "cannot set extended attribute %s", name);
	return 0;
}

/* Directories get their attributes when all is in them. */
static int later(struct untar *u, const char *path, const struct stat *st, struct err *e)
{
	if (u->ndirs == u->cap) {
		struct dirattr *v = realloc(u->dirs, (u->cap = u->cap * 2 + 64) * sizeof *v);
		if (!v)
			return err_set(e, EX_FAILED, "out of memory");
		u->dirs = v;
	}
	u->dirs[u->ndirs] = (struct dirattr){ strdup(path), *st };
	return u->dirs[u->ndirs].path ? (int)(u->ndirs++, 0) : err_set(e, EX_FAILED, "out of memory");
}

static int hard_link(struct untar *u, int dir, const char *base, const char *to, struct err *e)
{
	const char *name;
	AUTO_FD int from = -1;

	if (!path_ok(to))
		return err_set(e, EX_BAD_IMAGE, "a link to \"%s\"", to);
	from = mtar_parent(u->root, to, false, &name);
	return from < 0 || linkat(from, name, dir, base, 0) ? err_sys(e, "cannot link it to %s", to) : 0;
}

static int make(struct untar *u, int dir, const char *base, struct archive_entry *en, const struct stat *st, struct err *e)
{
	const char *to = archive_entry_symlink(en);
	AUTO_FD int fd = -1;

	switch (st->st_mode & S_IFMT) {
	case S_IFREG:
		fd = openat(dir, base, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		return fd < 0 ? err_sys(e, "cannot make it") : data(u, fd, (uint64_t)st->st_size, e);
	case S_IFDIR:
		return mkdirat(dir, base, 0700) && errno != EEXIST ? err_sys(e, "cannot make it") : 0;
	case S_IFLNK:
		if (!to || !*to || strlen(to) >= PATH_MAX)
			return err_set(e, EX_BAD_IMAGE, "a symbolic link to nowhere");
		return symlinkat(to, dir, base) ? err_sys(e, "cannot make it") : 0;
	case S_IFIFO: case S_IFCHR: case S_IFBLK:
		return mknodat(dir, base, (st->st_mode & S_IFMT) | 0600, st->st_rdev) ? err_sys(e, "cannot make it") : 0;
	default:
		return err_set(e, EX_BAD_IMAGE, "of unknown type");
	}
}

static int unpack_one(struct untar *u, struct archive_entry *en, struct err *e)
{
	const char *name = archive_entry_pathname(en), *hard = archive_entry_hardlink(en), *base;
	char path[PATH_MAX];
	struct stat st;
	size_t n;
	int dir;

	if (!name || (strcmp(name, ".") && strcmp(name, "./") && !path_ok(name)))
		return err_set(e, EX_BAD_IMAGE, "a name that is none: \"%s\"", name ? name : "");
	strcpy(path, name);
	n = strlen(path);
	if (n > 1 && path[n - 1] == '/')
		path[n - 1] = '\0';
	st = *archive_entry_stat(en);
	if (st.st_size < 0)
		return err_set(e, EX_BAD_IMAGE, "%s: a negative size", path);
	dir = parent(u, path, &base);
	if (dir < 0)
		return err_sys(e, "%s: cannot enter its directory", path);
	if (hard)
		return hard_link(u, dir, base, hard, e) ? err_prefix(e, "%s", path) : 0;
	if (strcmp(path, ".") ? make(u, dir, base, en, &st, e) : !S_ISDIR(st.st_mode))
		return err_is_set(e) ? err_prefix(e, "%s", path) : err_set(e, EX_BAD_IMAGE, "the root is no directory");
	if (S_ISDIR(st.st_mode))
		return xattrs(dir, base, en, e) || later(u, path, &st, e) ? err_prefix(e, "%s", path) : 0;
	/* A new owner would take the capabilities of a program away. */
	if (fchownat(dir, base, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW))
		return err_sys(e, "%s: cannot give it its owner %u:%u", path, st.st_uid, st.st_gid);
	return xattrs(dir, base, en, e) || attributes(dir, base, &st, e) ? err_prefix(e, "%s", path) : 0;
}

static int unpack_all(struct untar *u, struct err *e)
{
	struct archive_entry *en;
	size_t n = 0;
	int rc;

	while ((rc = archive_read_next_header(u->a, &en)) == ARCHIVE_OK || rc == ARCHIVE_WARN) {
		if (++n > ENTRIES_MAX)
			return err_set(e, EX_BAD_IMAGE, "too many files");
		if (unpack_one(u, en, e))
			return -1;
	}
	if (rc != ARCHIVE_EOF)
		return err_set(e, EX_BAD_IMAGE, "%s", archive_error_string(u->a));
	/* Those inside first. */
	for (size_t i = u->ndirs; i-- > 0;) {
		const char *base;
		int dir = parent(u, u->dirs[i].path, &base);

		if (dir < 0 || attributes(dir, base, &u->dirs[i].st, e))
			return err_is_set(e) ? err_prefix(e, "%s", u->dirs[i].path) : err_sys(e, "cannot enter %s", u->dirs[i].path);
	}
	return 0;
}

int mtar_unpack(struct restore *r, const struct image_member *m, int root, struct err *e)
{
	struct untar u = { .root = root, .parent = -1, .a = archive_read_new() };
	struct source *s = malloc(sizeof *s);
	int rc = -1;

	if (!s || !u.a) {
		err_set(e, EX_FAILED, "out of memory");
		goto out;
	}
	s->fd = image_fd(r->img);
	s->at = m->offset;
	s->end = m->offset + m->size;
	if (archive_read_support_format_tar(u.a) < ARCHIVE_WARN || archive_read_open(u.a, s, NULL, from_image, NULL) != ARCHIVE_OK)
		err_set(e, EX_BAD_IMAGE, "%s", archive_error_string(u.a));
	else
		rc = unpack_all(&u, e);
out:
	for (size_t i = 0; i < u.ndirs; i++)
		free(u.dirs[i].path);
	free(u.dirs);
	cleanup_fd(&u.parent);
	if (u.a)
		archive_read_free(u.a);
	free(s);
	return rc ? err_prefix(e, "%s", m->name) : 0;
}
