/* Paths, control files and small look-ups for the other files of this room. */
#include "cgroup/internal.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

int cg_path(const struct cgroup_hier *h, const char *file, char *out, size_t n)
{
	const char *path = strcmp(h->path, "/") == 0 ? "" : h->path;
	int k = snprintf(out, n, "%s%s%s%s", h->mount, path, file ? "/" : "", file ? file : "");
	if (k < 0 || (size_t)k >= n) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return 0;
}

int cg_read(const struct cgroup_hier *h, const char *file, char *out, size_t n)
{
	char p[CG_PATH];
	if (cg_path(h, file, p, sizeof p) < 0)
		return -1;
	AUTO_FD int fd = open(p, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -1;
	size_t len = 0;
	while (len < n - 1) {
		ssize_t r = read(fd, out + len, n - 1 - len);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -1;
		if (r == 0)
			break;
		len += (size_t)r;
	}
	out[len] = '\0';
	return 0;
}

int cg_write(const struct cgroup_hier *h, const char *file, const char *text)
{
	char p[CG_PATH];
	if (cg_path(h, file, p, sizeof p) < 0)
		return -1;
	AUTO_FD int fd = open(p, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -1;
	ssize_t r;
	do
		r = write(fd, text, strlen(text));
	while (r < 0 && errno == EINTR);
	return r < 0 ? -1 : 0;
}

int cg_has_file(const struct cgroup_hier *h, const char *file)
{
	char p[CG_PATH];
	return cg_path(h, file, p, sizeof p) == 0 && faccessat(AT_FDCWD, p, F_OK, AT_EACCESS) == 0;
}

uint64_t cg_keyed(const char *text, const char *key, uint64_t dflt)
{
	size_t k = strlen(key);
	for (const char *p = text; p; p = strchr(p, '\n')) {
		if (*p == '\n')
			p++;
		if (strncmp(p, key, k) == 0 && p[k] == ' ')
			return strtoull(p + k + 1, NULL, 10);
	}
	return dflt;
}

bool cg_word(const char *list, const char *name)
{
	size_t k = strlen(name);
	for (const char *p = list; *p;) {
		size_t w = strcspn(p, ", \n");
		if (w == k && memcmp(p, name, k) == 0)
			return true;
		p += w;
		p += strspn(p, ", \n");
	}
	return false;
}

const struct cgroup_hier *cg_find(const struct cgroup_set *s, const char *controller)
{
	for (size_t i = 0; i < s->n; i++)
		if (cg_word(s->h[i].controllers, controller))
			return &s->h[i];
	return NULL;
}

const struct cgroup_hier *cg_v2(const struct cgroup_set *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->h[i].v2)
			return &s->h[i];
	return NULL;
}

const struct cgroup_hier *cg_main(const struct cgroup_set *s)
{
	const struct cgroup_hier *h = cg_v2(s);
	if (!h)
		h = cg_find(s, "freezer");
	return h ? h : s->n ? &s->h[0] : NULL;
}

uint64_t cg_inode(const struct cgroup_hier *h)
{
	char p[CG_PATH];
	struct stat st;
	return cg_path(h, NULL, p, sizeof p) == 0 && lstat(p, &st) == 0 ? st.st_ino : 0;
}

/* Names of the groups right below, behind each other with a NUL each: the directory is not kept open, so that no depth needs more descriptors
 * than we may have. */
static int groups_below(const char *dir, struct buf *names)
{
	AUTO_DIR DIR *d = opendir(dir);
	if (!d)
		return errno == ENOENT ? 0 : -1; /* gone meanwhile: nothing below it */
	for (struct dirent *de; (de = readdir(d));)
		if (de->d_type == DT_DIR && strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
			buf_add(names, de->d_name, strlen(de->d_name) + 1);
	if (buf_failed(names))
		errno = ENOMEM;
	return buf_failed(names) ? -1 : 0;
}

static int walk(char dir[PATH_MAX], bool parents_first, int (*f)(const char *dir, void *data), void *data)
{
	AUTO_BUF struct buf names = BUF_INIT;
	size_t len = strlen(dir);
	int r = parents_first ? f(dir, data) : 0;
	if (r == 0 && groups_below(dir, &names) < 0)
		return -1;
	for (const char *n = names.p; r == 0 && n && n < names.p + names.len; n += strlen(n) + 1) {
		int k = snprintf(dir + len, PATH_MAX - len, "/%s", n);
		if (k < 0 || (size_t)k >= PATH_MAX - len) {
			errno = ENAMETOOLONG;
			r = -1;
		} else {
			r = walk(dir, parents_first, f, data);
		}
		dir[len] = '\0';
	}
	return r || parents_first ? r : f(dir, data);
}

static int walk_from(const char *top, bool parents_first, int (*f)(const char *dir, void *data), void *data)
{
	char dir[PATH_MAX];
	if (snprintf(dir, sizeof dir, "%s", top) >= (int)sizeof dir) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return walk(dir, parents_first, f, data);
}

int cg_walk(const char *dir, int (*f)(const char *dir, void *data), void *data) { return walk_from(dir, true, f, data); }

int cg_walk_up(const char *dir, int (*f)(const char *dir, void *data), void *data) { return walk_from(dir, false, f, data); }

void cg_sleep_ms(unsigned ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };
	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}
