#include "common/state.h"
#include "common/cleanup.h"
#include "common/log.h"

#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

/* ---- where ---- */

/* secure_getenv: a set-id or file-capability tool must not be led elsewhere. */
static const char *env(const char *name)
{
	const char *s = secure_getenv(name);

	return s && *s ? s : NULL;
}

/* Absolute, because supervisors leave the directory they were started in. */
static int put_path(char *out, size_t n, const char *dir, const char *sub, struct err *e)
{
	char cwd[PATH_MAX] = "";
	int len;

	if (dir[0] != '/') {
		if (!getcwd(cwd, sizeof(cwd)))
			return err_sys(e, "current directory");
		len = snprintf(out, n, "%s/%s%s", strcmp(cwd, "/") ? cwd : "", dir, sub);
	} else {
		len = snprintf(out, n, "%s%s", dir, sub);
	}
	if (len < 0 || (size_t)len >= n || len >= PATH_MAX)
		return err_set(e, EX_USAGE_, "state directory %.60s...: name too long", dir);
	while (len > 1 && out[len - 1] == '/')
		out[--len] = '\0';
	return 0;
}

int state_default_dir(const char *opt, char *out, size_t n, struct err *e)
{
	const char *dir = opt && *opt ? opt : env("XOS_STATE_DIR");
	struct passwd *pw;

	if (dir)
		return put_path(out, n, dir, "", e);
	if (geteuid() == 0)
		return put_path(out, n, "/var/lib/xos", "", e);
	dir = env("XDG_STATE_HOME");
	if (dir && dir[0] == '/') /* the XDG specification has others ignored */
		return put_path(out, n, dir, "/xos", e);
	dir = env("HOME");
	if (!dir) {
		pw = getpwuid(geteuid());
		dir = pw ? pw->pw_dir : NULL;
	}
	if (!dir || dir[0] != '/') {
		err_set(e, EX_FAILED, "no home directory for the state directory");
		err_hint(e, "set XOS_STATE_DIR or use --state-dir");
		return -1;
	}
	return put_path(out, n, dir, "/.local/state/xos", e);
}

int state_default_run_dir(const char *opt_state, char *out, size_t n, struct err *e)
{
	const char *dir = opt_state && *opt_state ? opt_state : env("XOS_STATE_DIR");
	char state[PATH_MAX];

	/* Another state directory is another world: its locks must not meet the default's. */
	if (dir)
		return put_path(out, n, dir, "/run", e);
	if (geteuid() == 0)
		return put_path(out, n, "/run/xos", "", e);
	dir = env("XDG_RUNTIME_DIR");
	if (dir && dir[0] == '/')
		return put_path(out, n, dir, "/xos", e);
	if (state_default_dir(NULL, state, sizeof(state), e) < 0)
		return -1;
	return put_path(out, n, state, "/run", e);
}

/* ---- directories ---- */

/* Opens the directory `name` below fd, makes it when it is missing. */
static int step_into(int fd, const char *name, unsigned mode)
{
	int sub = openat(fd, name, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (sub >= 0 || errno != ENOENT)
		return sub;
	if (mkdirat(fd, name, mode) < 0)
		/* somebody else was faster: what he made is as good */
		return errno == EEXIST ? openat(fd, name, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	sub = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (sub >= 0 && fchmod(sub, mode) < 0) { /* whatever the umask */
		cleanup_fd(&sub);
		return -1;
	}
	return sub;
}

int state_mkdirs(const char *path, unsigned mode, struct err *e)
{
	AUTO_FD int fd = -1;
	char part[NAME_MAX + 1];
	const char *p = path;

	fd = open(*p == '/' ? "/" : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "%s", path);
	for (;;) {
		size_t len;
		int sub;

		p += strspn(p, "/");
		len = strcspn(p, "/");
		if (len == 0)
			return 0;
		if (len > NAME_MAX) {
			errno = ENAMETOOLONG;
			return err_sys(e, "%s", path);
		}
		memcpy(part, p, len);
		part[len] = '\0';
		p += len;
		sub = step_into(fd, part, mode);
		if (sub < 0)
			return err_sys(e, "%.*s", (int)(p - path), path);
		cleanup_fd(&fd);
		fd = sub;
	}
}

/* ---- atomic files ---- */

static int write_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t w = write(fd, p, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return -1;
		p += w;
		n -= (size_t)w;
	}
	return 0;
}

static int temp_name(char *out, size_t n, const char *base)
{
	uint64_t r;

	if (getrandom(&r, sizeof(r), 0) != (ssize_t)sizeof(r))
		return -1;
	/* the dot hides it from listings; the base may be as long as NAME_MAX */
	snprintf(out, n, ".%.200s.%016llx~", base, (unsigned long long)r);
	return 0;
}

/* A new file in dir with the content, synced. It has no name yet (*tmp is ""), or the
 * name tmp where the file system cannot make files without one. -1 with errno. */
static int temp_file(int dir, const char *base, char *tmp, size_t ntmp, unsigned mode)
{
	int fd = openat(dir, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600), tries;

	tmp[0] = '\0';
	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT ||
		       errno == EINVAL)) {
		for (tries = 0; tries < 100 && fd < 0; tries++) {
			if (temp_name(tmp, ntmp, base) < 0)
				return -1;
			fd = openat(dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
				    0600);
			if (fd < 0 && errno != EEXIST)
				break;
		}
		if (fd < 0)
			tmp[0] = '\0';
	}
	if (fd >= 0 && mode != 0600 && fchmod(fd, mode) < 0) {
		cleanup_fd(&fd);
		if (tmp[0])
			unlinkat(dir, tmp, 0);
		return -1;
	}
	return fd;
}

/* Gives the nameless file fd a temporary name. */
static int name_file(int fd, int dir, const char *base, char *tmp, size_t ntmp)
{
	char self[32];
	int tries;

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	for (tries = 0; tries < 100; tries++) {
		if (temp_name(tmp, ntmp, base) < 0)
			break;
		if (linkat(AT_FDCWD, self, dir, tmp, AT_SYMLINK_FOLLOW) == 0)
			return 0;
		if (errno != EEXIST)
			break;
	}
	tmp[0] = '\0';
	return -1;
}

static int fill_and_rename(int dir, const char *base, const void *p, size_t n, unsigned mode, bool sync)
{
	char tmp[NAME_MAX + 1] = "";
	AUTO_FD int fd = temp_file(dir, base, tmp, sizeof(tmp), mode);
	int rc;

	if (fd < 0)
		return -1;
	rc = write_all(fd, p, n);
	if (rc == 0 && fault("state-write")) {
		errno = ENOSPC;
		rc = -1;
	}
	if (rc == 0 && sync)
		rc = fsync(fd);
	if (rc == 0 && !tmp[0])
		rc = name_file(fd, dir, base, tmp, sizeof(tmp));
	if (rc == 0 && fault("state-rename")) {
		errno = EIO;
		rc = -1;
	}
	if (rc == 0)
		rc = renameat(dir, tmp, dir, base);
	if (rc < 0 && tmp[0]) {
		int saved = errno;

		unlinkat(dir, tmp, 0);
		errno = saved;
	}
	return rc < 0 ? -1 : sync ? fsync(dir) : 0;
}

static int replace(int dirfd, const char *name, const void *p, size_t n, unsigned mode, bool sync, struct err *e)
{
	const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name;
	char parent[PATH_MAX] = ".";
	AUTO_FD int dir = -1;

	if (slash) {
		size_t len = slash == name ? 1 : (size_t)(slash - name);

		if (len >= sizeof(parent)) {
			errno = ENAMETOOLONG;
			return err_sys(e, "%.80s...", name);
		}
		memcpy(parent, name, len);
		parent[len] = '\0';
	}
	dir = openat(dirfd, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || fill_and_rename(dir, base, p, n, mode ? mode : 0600, sync) < 0)
		return err_sys(e, "write %s", name);
	return 0;
}

int state_replace(int dirfd, const char *name, const void *p, size_t n, unsigned mode, struct err *e)
{
	return replace(dirfd, name, p, n, mode, true, e);
}

int state_replace_quick(int dirfd, const char *name, const void *p, size_t n, unsigned mode, struct err *e)
{
	return replace(dirfd, name, p, n, mode, false, e);
}

/* ---- locks ---- */

static int lock_open(int dirfd, const char *name, bool shared)
{
	int fd = openat(dirfd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);

	/* A reader of another user's state may look, and then needs no right to write. */
	if (fd < 0 && shared && (errno == EACCES || errno == EROFS))
		fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
	return fd;
}

/* The name may have been removed, with its job, while we waited for the lock. */
static bool lock_is_current(int fd, int dirfd, const char *name)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && fstatat(dirfd, name, &b, AT_SYMLINK_NOFOLLOW) == 0 &&
	       a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

int state_lock(int dirfd, const char *name, bool shared, bool wait, struct err *e)
{
	struct flock fl = { .l_type = shared ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET };
	int rc;

	for (;;) {
		AUTO_FD int fd = lock_open(dirfd, name, shared);

		if (fd < 0) {
			err_sys(e, "lock %s", name);
			if (e && errno == ENOENT)
				e->code = EX_NOSUCH; /* the directory is gone: no such job */
			return -1;
		}
		do
			rc = fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &fl);
		while (rc < 0 && errno == EINTR);
		if (rc < 0 && (errno == EAGAIN || errno == EACCES))
			return err_set(e, EX_BUSY, "lock %s: held by another command", name);
		if (rc < 0)
			return err_sys(e, "lock %s", name);
		if (lock_is_current(fd, dirfd, name))
			return take_fd(&fd);
	}
}
