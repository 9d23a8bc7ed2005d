/* Versions of a job's checkpoints: STATE/checkpoints/JOBID/N.tar. A version appears whole, by linkat of an unnamed
 * file or by rename of a dot-name, after its content is on the disk; so what is listed is complete. */
#include "common/cleanup.h"
#include "common/num.h"
#include "common/state.h"
#include "job/internal.h"
#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/stat.h>

enum { VERSIONS_MAX = 1 << 20 };

static int dir_path(const char *state_dir, const char *id, char *out, size_t n, struct err *e)
{
	if (!job_id_valid(id))
		return err_set(e, EX_USAGE_, "not a job id: %s", id);
	if ((size_t)snprintf(out, n, "%s/checkpoints/%s", state_dir, id) >= n)
		return err_set(e, EX_FAILED, "%s: path too long", state_dir);
	return 0;
}

/* N.tar, N without leading zeros, so that each number has one name. */
static bool version_name(const char *name, uint64_t *v)
{
	size_t k = strspn(name, "0123456789");
	char num[24];
	if (k == 0 || k >= sizeof num || name[0] == '0' || strcmp(name + k, ".tar") != 0)
		return false;
	memcpy(num, name, k);
	num[k] = '\0';
	return num_u64(num, INT64_MAX, v) == 0;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

/* dirfd is taken over. */
static int list_dir(int dirfd, uint64_t **v, size_t *n, struct err *e)
{
	AUTO_DIR DIR *d = fdopendir(dirfd);
	size_t cap = 0;
	*v = NULL;
	*n = 0;
	if (!d) {
		cleanup_fd(&dirfd);
		return err_sys(e, "checkpoints");
	}
	for (struct dirent *de; (de = readdir(d));) {
		uint64_t one;
		if (!version_name(de->d_name, &one))
			continue;
		if (*n == cap) {
			cap = cap ? cap * 2 : 16;
			uint64_t *more = cap > VERSIONS_MAX ? NULL : realloc(*v, cap * sizeof **v);
			if (!more) {
				free(*v);
				*v = NULL;
				return err_set(e, EX_FAILED, "too many versions");
			}
			*v = more;
		}
		(*v)[(*n)++] = one;
	}
	if (*n)
		qsort(*v, *n, sizeof **v, compare);
	return 0;
}

int job_versions(const char *state_dir, const char *id, uint64_t **v, size_t *n, struct err *e)
{
	char path[PATH_MAX];
	*v = NULL;
	*n = 0;
	if (dir_path(state_dir, id, path, sizeof path, e) < 0)
		return -1;
	return job_versions_in(path, v, n, e);
}

int job_versions_in(const char *path, uint64_t **v, size_t *n, struct err *e)
{
	*v = NULL;
	*n = 0;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : err_sys(e, "%s", path);
	return list_dir(fd, v, n, e);
}

int job_version_path(const char *state_dir, const char *id, uint64_t version, char *out, size_t n)
{
	int k = snprintf(out, n, "%s/checkpoints/%s/%llu.tar", state_dir, id, (unsigned long long)version);
	return k < 0 || (size_t)k >= n ? -1 : 0;
}

/* Dot-names of writers that were killed. The lock is held, so nobody is writing now. */
static void drop_stale(int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_DIR DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	if (!d) {
		cleanup_fd(&fd);
		return;
	}
	for (struct dirent *de; (de = readdir(d));)
		if (strncmp(de->d_name, ".new.", 5) == 0)
			unlinkat(dirfd, de->d_name, 0);
}

static int open_new(struct job_newversion *nv, const char *path, struct err *e)
{
	nv->tmp[0] = '\0';
	nv->fd = openat(nv->dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (nv->fd >= 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT && errno != EINVAL)
		return err_sys(e, "%s", path);
	snprintf(nv->tmp, sizeof nv->tmp, ".new.%llu.%ld", (unsigned long long)nv->version, (long)getpid());
	nv->fd = openat(nv->dir, nv->tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	return nv->fd < 0 ? err_sys(e, "%s/%s", path, nv->tmp) : 0;
}

int job_version_begin(struct job_newversion *nv, const char *state_dir, const char *id, struct err *e)
{
	char path[PATH_MAX];
	nv->fd = nv->dir = -1;
	nv->tmp[0] = '\0';
	if (dir_path(state_dir, id, path, sizeof path, e) < 0)
		return -1;
	return job_version_begin_in(nv, path, e);
}

int job_version_begin_in(struct job_newversion *nv, const char *path, struct err *e)
{
	uint64_t *v;
	size_t n;
	nv->fd = nv->dir = -1;
	nv->tmp[0] = '\0';
	if (state_mkdirs(path, 0700, e) < 0)
		return -1;
	nv->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (nv->dir < 0)
		return err_sys(e, "%s", path);
	int copy = openat(nv->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (copy < 0) {
		err_sys(e, "%s", path);
	} else if (list_dir(copy, &v, &n, e) == 0) {
		nv->version = n ? v[n - 1] + 1 : 1;
		free(v);
		drop_stale(nv->dir);
		if (open_new(nv, path, e) == 0)
			return 0;
	}
	job_version_abort(nv);
	return -1;
}

/* An unnamed file gets its name through /proc, because AT_EMPTY_PATH needs CAP_DAC_READ_SEARCH. */
static int give_name(struct job_newversion *nv, const char *name)
{
	char self[64];
	if (nv->tmp[0]) {
		if (job_rename(nv->dir, nv->tmp, name, RENAME_NOREPLACE) == 0)
			return 0;
		return errno == EINVAL ? renameat(nv->dir, nv->tmp, nv->dir, name) : -1;
	}
	snprintf(self, sizeof self, "/proc/self/fd/%d", nv->fd);
	return linkat(AT_FDCWD, self, nv->dir, name, AT_SYMLINK_FOLLOW);
}

int job_version_commit(struct job_newversion *nv, struct err *e)
{
	char name[40];
	snprintf(name, sizeof name, "%llu.tar", (unsigned long long)nv->version);
	if (fsync(nv->fd) < 0 || give_name(nv, name) < 0) {
		err_sys(e, "version %llu", (unsigned long long)nv->version);
		job_version_abort(nv);
		return -1;
	}
	nv->tmp[0] = '\0';
	int r = fsync(nv->dir) < 0 ? err_sys(e, "version %llu", (unsigned long long)nv->version) : 0;
	job_version_abort(nv); /* closes; there is nothing to remove any more */
	return r;
}

void job_version_abort(struct job_newversion *nv)
{
	if (nv->tmp[0] && nv->dir >= 0)
		unlinkat(nv->dir, nv->tmp, 0);
	nv->tmp[0] = '\0';
	cleanup_fd(&nv->fd);
	cleanup_fd(&nv->dir);
	nv->fd = nv->dir = -1;
}

int job_version_prune(const char *state_dir, const char *id, size_t keep, struct err *e)
{
	char path[PATH_MAX];
	AUTO_FREE uint64_t *v = NULL;
	size_t n;
	int r = 0;
	if (dir_path(state_dir, id, path, sizeof path, e) < 0 || job_versions_in(path, &v, &n, e) < 0)
		return -1;
	if (n <= keep)
		return 0;
	AUTO_FD int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dir < 0)
		return err_sys(e, "%s", path);
	for (size_t i = 0; i < n - keep && r == 0; i++) {
		char name[40];
		snprintf(name, sizeof name, "%llu.tar", (unsigned long long)v[i]);
		if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
			r = err_sys(e, "%s/%s", path, name);
		snprintf(name, sizeof name, "%llu.stat", (unsigned long long)v[i]); /* what xcheckpoint noted beside it */
		unlinkat(dir, name, 0);
	}
	return r;
}
