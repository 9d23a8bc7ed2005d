/* netns_sysctl: /proc/sys/net of a network namespace; sysctl documentation of the kernel (networking/ip-sysctl, admin-guide/sysctl/net).
 *
 * Record: TYPE="netconf" NS= PATH="ipv4/conf/lo/forwarding" VALUE= [ASNEW=1]
 *
 * All values that can be read and written are kept, since a new namespace takes many of its own from where it is made. ASNEW: it was as in a new
 * namespace, so a kernel without that file loses nothing. Some files write others (forwarding of `all`, times in two units): first those of no
 * interface are written, then all, default, each interface, and again until every file reads as it should. */
#include "res/netns_int.h"
#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { VALUE_LEN = 16 << 10, PATH_LEN = NSYSCTL_NAME, DEPTH = 8, PASSES = 5, CLASSES = 4, FILES_MAX = 1 << 19 };

/* ---- reading ---- */

static ssize_t value(int fd, char *out)
{
	ssize_t n = pread(fd, out, VALUE_LEN, 0);

	while (n > 0 && out[n - 1] == '\n')
		n--;
	return n;
}

/* Component i of a path, "" when there is none. */
static void component(const char *path, int i, char out[PATH_LEN])
{
	size_t n;

	for (; i && path; i--) {
		path = strchr(path, '/');
		path = path ? path + 1 : NULL;
	}
	n = path ? strcspn(path, "/") : 0;
	snprintf(out, PATH_LEN, "%.*s", (int)n, path ? path : "");
}

/* The interface that a path is about: PROTOCOL/conf/NAME/..., PROTOCOL/neigh/NAME/...; else false. */
static bool interface(const char *path, char out[PATH_LEN])
{
	component(path, 1, out);
	if (strcmp(out, "conf") && strcmp(out, "neigh"))
		return false;
	component(path, 2, out);
	return *out;
}

/* The record of the link tells it, and writing it makes addresses. */
static bool elsewhere(const char *path)
{
	char name[PATH_LEN];
	const char *last = strrchr(path, '/');

	return last && !strcmp(last, "/addr_gen_mode") && interface(path, name) && strcmp(name, "all") && strcmp(name, "default");
}

typedef int each_file(void *arg, const char *path, const char *val, size_t n);

struct walk { each_file *fn; void *arg; const char *const *names; size_t count; char *mem; };

static bool wanted(const struct walk *w, const char *path)
{
	char name[PATH_LEN];

	if (elsewhere(path))
		return false;
	if (!w->names)
		return true;
	if (!interface(path, name))
		return false;
	for (const char *const *n = w->names; *n; n++)
		if (!strcmp(*n, name))
			return true;
	return false;
}

static int walk_file(struct walk *w, int dir, const char *name, const char *path)
{
	AUTO_FD int fd = wanted(w, path) ? openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
	ssize_t n = fd < 0 ? -1 : value(fd, w->mem);

	/* What cannot be read has not been set (stable_secret). */
	if (n < 0)
		return 0;
	if (++w->count > FILES_MAX)
		return -EFBIG;
	return w->fn(w->arg, path, w->mem, (size_t)n);
}

static int walk_dir(struct walk *w, int fd, const char *path, int depth)
{
	AUTO_DIR DIR *d = fdopendir(fd);
	const struct dirent *i;

	if (!d) {
		close(fd);
		return -errno;
	}
	while ((i = readdir(d))) {
		char next[PATH_LEN];
		struct stat st;
		int rc = 0, sub;

		if (!strcmp(i->d_name, ".") || !strcmp(i->d_name, "..") || fstatat(dirfd(d), i->d_name, &st, AT_SYMLINK_NOFOLLOW))
			continue;
		if (snprintf(next, sizeof next, "%s%s%s", path, *path ? "/" : "", i->d_name) >= (int)sizeof next)
			return -ENAMETOOLONG;
		if (S_ISDIR(st.st_mode) && depth < DEPTH) {
			sub = openat(dirfd(d), i->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
			rc = sub < 0 ? 0 : walk_dir(w, sub, next, depth + 1);
		} else if (S_ISREG(st.st_mode) && st.st_mode & 0200 && st.st_mode & 0400) {
			rc = walk_file(w, dirfd(d), i->d_name, next);
		}
		if (rc)
			return rc;
	}
	return 0;
}

static int walk(each_file *fn, void *arg, const char *const *names)
{
	int fd = open("/proc/sys/net", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_FREE char *mem = malloc(VALUE_LEN + 1);
	struct walk w = { .fn = fn, .arg = arg, .names = names, .mem = mem };

	if (fd < 0 || !mem)
		return fd < 0 ? -errno : -ENOMEM;
	return walk_dir(&w, fd, "", 0);
}

/* ---- checkpoint ---- */

static int put_plain(void *arg, const char *path, const char *val, size_t n)
{
	struct buf *b = arg;

	rec_begin(b, "netconf");
	rec_put_str(b, "PATH", path);
	rec_put_strn(b, "VALUE", val, n);
	rec_end(b);
	return 0;
}

/* The same files of a new namespace, made for that in a child. Empty where none can be made. */
static void fresh(struct rec_list *list)
{
	AUTO_FD int fd = memfd_create("sysctl", MFD_CLOEXEC);
	AUTO_BUF struct buf b = BUF_INIT;
	int status;
	pid_t pid = fd < 0 ? -1 : fork();

	if (pid == 0) {
		AUTO_BUF struct buf out = BUF_INIT;

		if (unshare(CLONE_NEWNET) || walk(put_plain, &out, NULL) || buf_failed(&out))
			_exit(1);
		_exit(write(fd, out.p, out.len) != (ssize_t)out.len);
	}
	if (pid < 0)
		return;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return;
	if (!status && !lseek(fd, 0, SEEK_SET) && !buf_read_fd(&b, fd, 64 << 20))
		rec_list_parse(list, buf_str(&b), b.len, FILES_MAX, NULL);
}

static const char *get(const struct rec_list *l, size_t i, const char *key)
{
	for (size_t k = 0; k < l->v[i].n; k++)
		if (!strcmp(l->v[i].f[k].key, key))
			return l->v[i].f[k].val;
	return "";
}

struct dumping { struct netns *s; struct buf *out; const struct rec_list *fresh; size_t *order; };

static int by_path(const void *a, const void *b, void *list)
{
	return strcmp(get(list, *(const size_t *)a, "PATH"), get(list, *(const size_t *)b, "PATH"));
}

/* Its value in a new namespace; an interface that is not lo would have that of `default`. NULL: not known. */
static const char *as_new(const struct dumping *d, const char *path)
{
	char name[PATH_LEN], ref[PATH_LEN * 2];
	size_t lo = 0, hi = d->fresh->n;

	snprintf(ref, sizeof ref, "%s", path);
	if (interface(path, name) && strcmp(name, "all") && strcmp(name, "default") && strcmp(name, "lo")) {
		const char *at = strchr(strchr(path, '/') + 1, '/') + 1;

		snprintf(ref, sizeof ref, "%.*sdefault%s", (int)(at - path), path, at + strcspn(at, "/"));
	}
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = strcmp(ref, get(d->fresh, d->order[mid], "PATH"));

		if (!c)
			return get(d->fresh, d->order[mid], "VALUE");
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

static int put(void *arg, const char *path, const char *val, size_t n)
{
	struct dumping *d = arg;
	const char *ref = as_new(d, path);

	rec_begin(d->out, "netconf");
	rec_put_u64(d->out, "NS", d->s->id);
	rec_put_str(d->out, "PATH", path);
	rec_put_strn(d->out, "VALUE", val, n);
	if (ref && strlen(ref) == n && !memcmp(ref, val, n))
		rec_put_u64(d->out, "ASNEW", 1);
	rec_end(d->out);
	return buf_failed(d->out) ? -ENOMEM : 0;
}

int nsysctl_dump(struct netns *s, const char *const *names, struct buf *out, struct err *e)
{
	struct rec_list list = { 0 };
	AUTO_FREE size_t *order = NULL;
	struct dumping d = { s, out, &list, NULL };
	int rc;

	if (!names)
		fresh(&list);
	d.order = order = calloc(list.n + 1, sizeof *order);
	if (!order)
		return err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; i < list.n; i++)
		order[i] = i;
	qsort_r(order, list.n, sizeof *order, by_path, &list);
	rc = walk(put, &d, names);
	rec_list_free(&list);
	errno = -rc;
	return rc ? err_sys(e, "/proc/sys/net") : 0;
}

/* ---- restart ---- */

int nsysctl_verify(const struct rec *rec, struct err *e)
{
	static const char *const keys[] = { "PATH", "VALUE", "ASNEW", NULL };
	const char *path, *val, *c;
	uint64_t v;

	if (rec_str(rec, "PATH", &path, e) || rec_str(rec, "VALUE", &val, e) || rec_u64_or(rec, "ASNEW", 1, 0, &v, e) || nrec_known(rec, NULL, NULL, keys, e))
		return -1;
	if (strlen(path) >= PATH_LEN || strlen(val) > VALUE_LEN)
		return err_set(e, EX_BAD_IMAGE, "line %zu: PATH or VALUE is too long", rec->line);
	for (c = path;; c++) {
		size_t n = strcspn(c, "/");

		if (!n || !strncmp(c, "..", n) || elsewhere(path))
			return err_set(e, EX_BAD_IMAGE, "line %zu: malformed PATH", rec->line);
		c += n;
		if (!*c)
			return 0;
	}
}

bool nsysctl_link(const char *path, char name[NSYSCTL_NAME])
{
	return path && interface(path, name) && strcmp(name, "all") && strcmp(name, "default");
}

static int class_of(const char *path)
{
	char name[PATH_LEN];

	if (!interface(path, name))
		return 0;
	return !strcmp(name, "all") ? 1 : !strcmp(name, "default") ? 2 : 3;
}

/* 0: it is as it should be, 1: it was written, -errno. */
static int set(int dir, const struct rec *rec, char *mem)
{
	const char *path = rec_find(rec, "PATH"), *want = rec_find(rec, "VALUE");
	AUTO_FD int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t n = fd < 0 ? -1 : value(fd, mem);
	int out;

	if (fd < 0)
		return errno == ENOENT && rec_find(rec, "ASNEW") ? 0 : -errno;
	if (n >= 0 && (size_t)n == strlen(want) && !memcmp(mem, want, (size_t)n))
		return 0;
	out = openat(dir, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	n = out < 0 ? -1 : write(out, *want ? want : "\n", *want ? strlen(want) : 1);
	n = n < 0 ? -errno : 1;
	if (out >= 0)
		close(out);
	return (int)n;
}

static int pass(struct netns *s, int dir, char *mem, struct err *e)
{
	struct rec rec;
	int changed = 0;

	err_clear(e);
	for (int class = 0; class < CLASSES; class++)
		for (size_t i = 0; i < s->list->n; i++) {
			int rc;

			if (!netns_rec(s, i, "netconf", &rec) || class_of(rec_find(&rec, "PATH")) != class)
				continue;
			rc = set(dir, &rec, mem);
			changed |= rc;
			if (!rc || err_is_set(e))
				continue;
			errno = rc < 0 ? -rc : EINVAL;
			if (errno == ENOENT)
				err_set(e, EX_MISFIT, "this kernel has no /proc/sys/net/%s", rec_find(&rec, "PATH"));
			else
				err_sys(e, "/proc/sys/net/%s cannot be made \"%s\"", rec_find(&rec, "PATH"), rec_find(&rec, "VALUE"));
		}
	return changed;
}

int nsysctl_apply(struct netns *s, struct err *e)
{
	AUTO_FD int dir = open("/proc/sys/net", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_FREE char *mem = malloc(VALUE_LEN + 1);

	if (dir < 0)
		return err_sys(e, "/proc/sys/net");
	if (!mem)
		return err_set(e, EX_FAILED, "out of memory");
	for (int i = 0; i < PASSES; i++)
		if (!pass(s, dir, mem, e))
			return 0;
	return -1;
}
