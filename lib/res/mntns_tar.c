/* mntns_tar: the content of a tmpfs as a tar, which tar(1) can read: names, types, modes, owners, times to the nanosecond, extended attributes (ACLs and
 * capabilities are some), hard links, holes. Sockets, which a tar cannot hold, become records. */
#include "res/mntns_int.h"
#include "common/cleanup.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <fcntl.h>
#include <search.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

enum { DEPTH_MAX = 400, XATTR_MAX = 64 << 10, PIECE = 1 << 20, OVERFLOW_ID = 65534 };

struct link { dev_t dev; ino_t ino; char *path; };
struct mtar {
	struct archive *a;             /* NULL: only looks */
	int spool;
	uint32_t ns; size_t sb;
	struct buf *sockets, *refusals;
	void *links;                   /* a tree of struct link */
	bool overflow_is_mapped[2];    /* 65534 is an id of this user namespace: users, groups */
	uid_t overflow[2];
	char path[PATH_MAX];           /* of what is at hand, in the file system, without the first slash */
	const char *point;
	char *piece, *zeros;
};

static la_ssize_t to_spool(struct archive *a, void *ctx, const void *p, size_t n)
{
	struct mtar *t = ctx;
	ssize_t w = write(t->spool, p, n);

	if (w <= 0)
		archive_set_error(a, errno, "%s", strerror(errno));
	return w <= 0 ? -1 : w;
}

/* Ids that the namespace does not know are all shown as one number. */
static void overflow_ids(struct mtar *t, int self)
{
	static const char *const name[2] = { "uid_map", "gid_map" };

	for (int i = 0; i < 2; i++) {
		AUTO_BUF struct buf map = BUF_INIT;
		unsigned long long in, out, n;

		t->overflow[i] = OVERFLOW_ID;
		/* Not told: then it may be an id as any other. */
		t->overflow_is_mapped[i] = buf_read_file(&map, self, name[i], 1 << 20) || !map.len;
		for (const char *l = buf_str(&map); *l; l = strchr(l, '\n') ? strchr(l, '\n') + 1 : "")
			if (sscanf(l, "%llu %llu %llu", &in, &out, &n) == 3 && t->overflow[i] >= in && t->overflow[i] - in < n)
				t->overflow_is_mapped[i] = true;
	}
}

int mtar_new(struct mtar **out, int spool, int self, uint32_t ns, size_t sb, struct buf *sockets, struct buf *refusals, struct err *e)
{
	struct mtar *t = calloc(1, sizeof *t);

	*out = t;
	if (!t)
		return err_set(e, EX_FAILED, "out of memory");
	*t = (struct mtar){ .spool = spool, .ns = ns, .sb = sb, .sockets = sockets, .refusals = refusals };
	overflow_ids(t, self);
	if (spool < 0)
		return 0;
	t->piece = malloc(PIECE);
	t->zeros = calloc(1, PIECE);
	t->a = archive_write_new();
	if (!t->piece || !t->zeros || !t->a)
		return err_set(e, EX_FAILED, "out of memory");
	if (archive_write_set_format_pax(t->a) != ARCHIVE_OK || archive_write_set_options(t->a, "hdrcharset=BINARY") != ARCHIVE_OK ||
	    archive_write_set_bytes_per_block(t->a, 64 << 10) != ARCHIVE_OK || archive_write_set_bytes_in_last_block(t->a, 1) != ARCHIVE_OK ||
	    archive_write_open(t->a, t, NULL, to_spool, NULL) != ARCHIVE_OK)
		return err_set(e, EX_FAILED, "cannot write a tar: %s", archive_error_string(t->a));
	return 0;
}

static void refuse_here(struct mtar *t, const char *what)
{
	buf_printf(t->refusals, "mount %s: ", t->point);
	for (const char *c = t->path; *c; c++)
		buf_addc(t->refusals, (unsigned char)*c < 0x20 ? '?' : *c);
	buf_printf(t->refusals, ": %s\n", what);
}

static int link_order(const void *a, const void *b)
{
	const struct link *x = a, *y = b;

	return x->dev != y->dev ? (x->dev < y->dev ? -1 : 1) : x->ino != y->ino ? (x->ino < y->ino ? -1 : 1) : 0;
}

/* The path that the same inode was saved under, NULL: this is the first. */
static const char *linked(struct mtar *t, const struct stat *st, struct err *e)
{
	struct link *l = calloc(1, sizeof *l), **found;

	if (l)
		*l = (struct link){ st->st_dev, st->st_ino, strdup(t->path) };
	found = l && l->path ? tsearch(l, &t->links, link_order) : NULL;
	if (!found || *found != l) {
		if (l)
			free(l->path);
		free(l);
	}
	if (!found)
		err_set(e, EX_FAILED, "out of memory");
	return found && *found != l ? (*found)->path : NULL;
}

/* By name, as it may be a symbolic link or a device: "/proc/self/fd/N" is not what is asked for, as the namespace may have no /proc. */
static int xattrs(struct archive_entry *en, int dir, const char *name, struct err *e)
{
	AUTO_FREE char *names = malloc(XATTR_MAX), *val = malloc(XATTR_MAX);
	char at[320];
	ssize_t n, k;

	if (!names || !val)
		return err_set(e, EX_FAILED, "out of memory");
	if (fchdir(dir))
		return err_sys(e, "cannot enter a directory");
	/* A name of its own, so that "-x" and the like are names, too. */
	snprintf(at, sizeof at, "./%s", name);
	n = llistxattr(at, names, XATTR_MAX);
	if (n < 0)
		return errno == ENOTSUP ? 0 : err_sys(e, "cannot read the extended attributes of %s", name);
	for (const char *x = names; x < names + n; x += strlen(x) + 1) {
		k = lgetxattr(at, x, val, XATTR_MAX);
		if (k < 0 && errno != ENODATA)
			return err_sys(e, "cannot read extended attribute %s of %s", x, name);
		if (k >= 0)
			archive_entry_xattr_add_entry(en, x, val, (size_t)k);
	}
	return 0;
}

static int sparse(struct archive_entry *en, int fd, off_t size)
{
	off_t data = 0, hole = 0;
	bool any = false;

	while (data < size) {
		data = lseek(fd, data, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			data = size;
		if (data < 0)
			return -1;
		if (data >= size)
			break;
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole < 0)
			return -1;
		/* libarchive takes one piece that is the whole for none. */
		if (data > 0 || hole < size)
			archive_entry_sparse_add_entry(en, data, (hole < size ? hole : size) - data);
		any = true;
		data = hole;
	}
	/* Nothing but a hole. */
	if (size && !any)
		archive_entry_sparse_add_entry(en, size, 0);
	return 0;
}

static int copy(struct mtar *t, int fd, off_t size, struct err *e)
{
	for (off_t at = 0; at < size;) {
		off_t data = lseek(fd, at, SEEK_DATA);
		const char *from = t->zeros;
		size_t n;

		if (data < 0 && errno != ENXIO)
			return err_sys(e, "cannot read %s", t->path);
		if (data < 0 || data > size)
			data = size;
		if (data > at) {
			n = data - at < PIECE ? (size_t)(data - at) : PIECE;
		} else {
			ssize_t r = pread(fd, t->piece, size - at < PIECE ? (size_t)(size - at) : PIECE, at);
			if (r <= 0)
				return r ? err_sys(e, "cannot read %s", t->path) : err_set(e, EX_FAILED, "%s has shrunk", t->path);
			from = t->piece;
			n = (size_t)r;
		}
		if (archive_write_data(t->a, from, n) < 0)
			return err_set(e, EX_FAILED, "cannot save %s: %s", t->path, archive_error_string(t->a));
		at += (off_t)n;
	}
	return 0;
}

static void put_socket(struct mtar *t, const struct stat *st)
{
	char tm[64];

	rec_begin(t->sockets, "mount_socket");
	rec_put_u64(t->sockets, "NS", t->ns);
	rec_put_u64(t->sockets, "SB", t->sb);
	rec_put_str(t->sockets, "PATH", t->path);
	rec_put_hex(t->sockets, "MODE", st->st_mode & 07777);
	rec_put_u64(t->sockets, "UID", st->st_uid);
	rec_put_u64(t->sockets, "GID", st->st_gid);
	snprintf(tm, sizeof tm, "%lld.%09ld", (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
	rec_put_str(t->sockets, "MTIME", tm);
	rec_end(t->sockets);
}

/* Without what no restart can give back. */
static void set_stat(struct archive_entry *en, const struct stat *st)
{
	archive_entry_copy_stat(en, st);
	archive_entry_unset_ctime(en);
	archive_entry_set_dev(en, 0);
	archive_entry_set_ino(en, 0);
}

/* fd: readable, of a regular file; -1: none. */
static int entry(struct mtar *t, struct archive_entry *en, int dir, const char *name, const struct stat *st, int fd, struct err *e)
{
	const char *first = st->st_nlink > 1 && !S_ISDIR(st->st_mode) ? linked(t, st, e) : NULL;
	char to[PATH_MAX];
	ssize_t n;

	if (err_is_set(e))
		return -1;
	archive_entry_set_pathname(en, t->path[0] ? t->path : ".");
	set_stat(en, st);
	if (first) {
		archive_entry_set_hardlink(en, first);
		archive_entry_unset_size(en);
	} else if (xattrs(en, dir, name, e)) {
		return -1;
	}
	if (S_ISLNK(st->st_mode)) {
		n = readlinkat(dir, name, to, sizeof to - 1);
		if (n < 0)
			return err_sys(e, "cannot read link %s", t->path);
		to[n] = '\0';
		archive_entry_set_symlink(en, to);
	}
	if (fd >= 0 && !first && sparse(en, fd, st->st_size))
		return err_sys(e, "cannot read %s", t->path);
	if (archive_write_header(t->a, en) != ARCHIVE_OK)
		return err_set(e, EX_FAILED, "cannot save %s: %s", t->path, archive_error_string(t->a));
	return fd >= 0 && !first ? copy(t, fd, st->st_size, e) : 0;
}

static int one(struct mtar *t, int dir, const char *name, const struct stat *st, struct err *e)
{
	struct archive_entry *en;
	AUTO_FD int fd = -1;
	int rc;

	if ((st->st_uid == t->overflow[0] && !t->overflow_is_mapped[0]) || (st->st_gid == t->overflow[1] && !t->overflow_is_mapped[1]))
		refuse_here(t, "its owner is none of the user namespace's");
	if (S_ISREG(st->st_mode)) {
		fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
		if (fd < 0)
			fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			refuse_here(t, "cannot be read");
	}
	if (S_ISSOCK(st->st_mode)) {
		if (st->st_nlink > 1)
			refuse_here(t, "a socket with more than one name");
		put_socket(t, st);
		return 0;
	}
	if (!t->a || (S_ISREG(st->st_mode) && fd < 0))
		return 0;
	en = archive_entry_new();
	if (!en)
		return err_set(e, EX_FAILED, "out of memory");
	rc = entry(t, en, dir, name, st, fd, e);
	archive_entry_free(en);
	return rc;
}

/* Something is still mounted here: locked, so nobody sees what is below. It only has to be there. */
static bool covered(int dir, const char *name, struct stat *st)
{
	AUTO_FD int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	bool root = false;
	int id;

	if (fd < 0 || sys_mount_id(fd, &id, &root, NULL) || !root)
		return false;
	*st = (struct stat){ .st_mode = S_ISDIR(st->st_mode) ? S_IFDIR | 0755 : S_IFREG | 0644, .st_nlink = 1, .st_mtim = st->st_mtim };
	return true;
}

static int walk(struct mtar *t, int dir, int depth, struct err *e);

static int child(struct mtar *t, int dir, const char *name, int depth, struct err *e)
{
	size_t was = strlen(t->path);
	AUTO_FD int sub = -1;
	struct stat st;
	int rc = 0;

	if (snprintf(t->path + was, sizeof t->path - was, "%s%s", was ? "/" : "", name) >= (int)(sizeof t->path - was) || depth >= DEPTH_MAX) {
		t->path[was] = '\0';
		refuse_here(t, "too deep below");
		return 0;
	}
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT)) {
		rc = err_sys(e, "cannot look at %s", t->path);
	} else if (covered(dir, name, &st)) {
		struct archive_entry *en = t->a ? archive_entry_new() : NULL;

		if (en) {
			archive_entry_set_pathname(en, t->path);
			set_stat(en, &st);
			rc = archive_write_header(t->a, en) == ARCHIVE_OK ? 0 : err_set(e, EX_FAILED, "cannot save %s", t->path);
			archive_entry_free(en);
		}
	} else {
		rc = one(t, dir, name, &st, e);
		if (!rc && S_ISDIR(st.st_mode)) {
			sub = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
			if (sub < 0)
				sub = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			if (sub < 0)
				refuse_here(t, "cannot be read");
			else
				rc = walk(t, sub, depth + 1, e);
		}
	}
	t->path[was] = '\0';
	return rc;
}

/* All names in a directory; the caller frees them. Its time of access stays. */
static int names_read(int dir, char ***v, size_t *n)
{
	int copy_fd = fcntl(dir, F_DUPFD_CLOEXEC, 3);
	AUTO_DIR DIR *d = copy_fd < 0 ? NULL : fdopendir(copy_fd);
	struct dirent *de;
	size_t cap = 0;

	while (d && (errno = 0, de = readdir(d))) {
		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		if (*n == cap) {
			char **w = realloc(*v, (cap = cap * 2 + 16) * sizeof *w);
			if (!w)
				return -1;
			*v = w;
		}
		(*v)[*n] = strdup(de->d_name);
		if (!(*v)[*n])
			return -1;
		++*n;
	}
	return d && !errno ? 0 : -1;
}

/* A tmpfs lists the newest first: the other way round they are made again in the order in which they were. */
static int walk(struct mtar *t, int dir, int depth, struct err *e)
{
	char **v = NULL;
	size_t n = 0;
	int rc = names_read(dir, &v, &n) ? err_sys(e, "cannot read directory %s", t->path) : 0;

	for (size_t i = n; i-- > 0;) {
		if (!rc)
			rc = child(t, dir, v[i], depth, e);
		free(v[i]);
	}
	free(v);
	return rc;
}

int mtar_add(struct mtar *t, int fd, const char *root, const char *point, struct err *e)
{
	AUTO_FD int dir = -1;
	struct stat st;

	t->point = point;
	if (strlen(root) >= sizeof t->path)
		return err_set(e, EX_FAILED, "path too long: %s", root);
	strcpy(t->path, root + 1);
	if (fstat(fd, &st))
		return err_sys(e, "cannot look at %s", point);
	if (!S_ISDIR(st.st_mode)) {
		refuse_here(t, "a single file of a tmpfs whose other files are nowhere to be seen");
		return 0;
	}
	dir = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_NOATIME | O_CLOEXEC);
	if (dir < 0)
		dir = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0) {
		refuse_here(t, "cannot be read");
		return 0;
	}
	return one(t, dir, ".", &st, e) || walk(t, dir, 0, e) ? -1 : 0;
}

int mtar_end(struct mtar *t, struct err *e)
{
	if (t->a && archive_write_close(t->a) != ARCHIVE_OK)
		return err_set(e, EX_FAILED, "cannot write a tar: %s", archive_error_string(t->a));
	return 0;
}

static void link_free(void *p)
{
	free(((struct link *)p)->path);
	free(p);
}

void mtar_free(struct mtar *t)
{
	if (!t)
		return;
	if (t->a)
		archive_write_free(t->a);
	tdestroy(t->links, link_free);
	free(t->piece);
	free(t->zeros);
	free(t);
}
