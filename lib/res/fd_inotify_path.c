/* fd_inotify_path: see fd_inotify.h. */
#include "res/fd_inotify.h"
#include "common/cleanup.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

enum { SEARCH_MAX_ENTRIES = 200000, SEARCH_MAX_DIRS = 20000 };

/* Directories that are still to be looked into. */
struct search {
	const struct inotify_target *t;
	char root[64];                 /* "/proc/PID/root" */
	char **dirs; size_t n, cap;
	size_t entries;
	char *out;
};

int inotify_parse_handle(const char *s, struct inotify_target *t)
{
	unsigned n;

	if (sscanf(s, " fhandle-bytes:%x fhandle-type:%x", &n, (unsigned *)&t->handle_type) != 2 || n > INOTIFY_MAX_HANDLE)
		return -1;
	s = strstr(s, "f_handle:");
	if (!s)
		return -1;
	s += strlen("f_handle:");
	for (unsigned i = 0; i < n; i++) {
		unsigned v;
		if (sscanf(s + 2 * i, "%2x", &v) != 1)
			return -1;
		t->handle[i] = (unsigned char)v;
	}
	t->handle_len = n;
	return 0;
}

int inotify_next(const char **info, struct inotify_target *t)
{
	const char *l = *info, *eol;
	unsigned long long ino, dev, ignored;
	int n = 0;

	while (l && strncmp(l, "inotify wd:", 11))
		l = (l = strchr(l, '\n')) ? l + 1 : NULL;
	if (!l)
		return 0;
	*t = (struct inotify_target){ 0 };
	if (sscanf(l, "inotify wd:%x ino:%llx sdev:%llx mask:%x ignored_mask:%llx%n", (unsigned *)&t->wd, &ino, &dev,
		   &t->mask, &ignored, &n) != 5)
		return -1;
	t->ino = ino;
	/* The kernel's own encoding, not that of stat(2). */
	t->dev_major = (unsigned)(dev >> 20);
	t->dev_minor = (unsigned)(dev & 0xfffff);
	eol = strchr(l, '\n');
	*info = eol ? eol + 1 : l + strlen(l);
	if (!strncmp(l + n, " fhandle-bytes", 14) && inotify_parse_handle(l + n, t))
		return -1;
	return 1;
}

struct dfile *inotify_open_file(struct dump *d, const struct inotify_target *t)
{
	struct stat st = { .st_ino = t->ino, .st_dev = makedev(t->dev_major, t->dev_minor) };
	struct dfile *f = files_find_inode(d, &st);

	return f && (S_ISREG(f->st.st_mode) || S_ISDIR(f->st.st_mode)) ? f : NULL;
}

/* Leads path (as p sees it) to the inode? btrfs shows stat(2) another device number than fdinfo: there the inode
 * number must do. */
static bool leads(const char *root, const char *path, const struct inotify_target *t)
{
	char full[PATH_MAX + 64];
	struct stat st;
	struct statfs fs;

	if ((size_t)snprintf(full, sizeof full, "%s%s", root, path) >= sizeof full || lstat(full, &st) ||
	    st.st_ino != t->ino)
		return false;
	return st.st_dev == makedev(t->dev_major, t->dev_minor) ||
	       (!statfs(full, &fs) && fs.f_type == BTRFS_SUPER_MAGIC);
}

/* The mount point of the device as p sees it. */
int inotify_mount_point(pid_t pid, const struct inotify_target *t, char *out)
{
	AUTO_BUF struct buf b = BUF_INIT;
	char *save = NULL;

	if (proc_read(&b, pid, "mountinfo", 64 << 20) || !b.p)
		return -1;
	for (char *l = strtok_r(b.p, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		unsigned ma, mi;
		char *o = out;

		if (sscanf(l, "%*d %*d %u:%u %*s %4095s", &ma, &mi, out) != 3 || ma != t->dev_major || mi != t->dev_minor)
			continue;
		for (const char *c = out; *c; c++) { /* \040 and the like */
			if (c[0] == '\\' && c[1] && c[2] && c[3]) {
				*o++ = (char)((c[1] - '0') << 6 | (c[2] - '0') << 3 | (c[3] - '0'));
				c += 3;
			} else {
				*o++ = *c;
			}
		}
		*o = 0;
		return 0;
	}
	return -1;
}

static int by_handle(struct dproc *p, const struct search *s)
{
	union {
		struct file_handle h;
		char room[sizeof(struct file_handle) + INOTIFY_MAX_HANDLE];
	} u = { .h = { .handle_bytes = s->t->handle_len, .handle_type = s->t->handle_type } };
	char mount[PATH_MAX], path[PATH_MAX + 64];
	AUTO_FD int at = -1, fd = -1;
	ssize_t n;

	if (!s->t->handle_len || inotify_mount_point(p->pid, s->t, mount) ||
	    (size_t)snprintf(path, sizeof path, "%s%s", s->root, mount) >= sizeof path)
		return -1;
	memcpy(u.h.f_handle, s->t->handle, s->t->handle_len);
	at = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (at < 0)
		return -1;
	fd = open_by_handle_at(at, &u.h, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return -1;
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	n = readlink(path, s->out, PATH_MAX - 1);
	if (n <= 0)
		return -1;
	s->out[n] = 0;
	return s->out[0] == '/' && leads(s->root, s->out, s->t) ? 0 : -1;
}

static void search_add(struct search *s, const char *dir)
{
	if (s->n >= SEARCH_MAX_DIRS)
		return;
	for (size_t i = 0; i < s->n && i < 64; i++) /* the starting points often are the same */
		if (!strcmp(s->dirs[i], dir))
			return;
	if (s->n == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 64;
		char **v = realloc(s->dirs, cap * sizeof *v);
		if (!v)
			return;
		s->dirs = v;
		s->cap = cap;
	}
	s->dirs[s->n] = strdup(dir);
	if (s->dirs[s->n])
		s->n++;
}

/* dir and all that are above it; true when one of them is the inode itself. */
static bool search_start(struct search *s, const char *dir)
{
	char path[PATH_MAX];
	char *slash;

	if (dir[0] != '/' || strlen(dir) >= sizeof path)
		return false;
	strcpy(path, dir);
	search_add(s, path);
	for (;;) {
		if (leads(s->root, path, s->t)) {
			strcpy(s->out, path);
			return true;
		}
		slash = strrchr(path, '/');
		if (!path[1])
			return false;
		slash[slash == path] = 0;
	}
}

/* Looks at all entries of one directory; subdirectories are queued. 1: found. */
static int search_dir(struct search *s, const char *dir)
{
	char path[PATH_MAX + 300];
	AUTO_DIR DIR *h = NULL;
	struct dirent *de;

	snprintf(path, sizeof path, "%s%s", s->root, dir);
	h = opendir(path);
	while (h && s->entries < SEARCH_MAX_ENTRIES && (de = readdir(h))) {
		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		s->entries++;
		if ((size_t)snprintf(path, sizeof path, "%s/%s", dir[1] ? dir : "", de->d_name) >= PATH_MAX)
			continue;
		/* A mount point shows the inode number of the directory below it: look at every directory. */
		if ((de->d_ino == s->t->ino || de->d_type == DT_DIR) && leads(s->root, path, s->t)) {
			strcpy(s->out, path);
			return 1;
		}
		if (de->d_type == DT_DIR && strcmp(path, "/proc") && strcmp(path, "/sys"))
			search_add(s, path);
	}
	return 0;
}

static int by_search(struct dump *d, struct search *s)
{
	static const char *const usual[] = { "/tmp", "/var/tmp", "/dev/shm", "/etc", "/run", "/home", "/" };
	bool found = false;
	char dir[PATH_MAX];

	for (size_t i = 0; !found && i < d->nprocs; i++)
		if (!d->procs[i]->zombie && proc_readlink(d->procs[i]->pid, "cwd", dir, sizeof dir) > 0)
			found = search_start(s, dir);
	for (size_t i = 0; !found && i < d->nfiles; i++) {
		char *slash = strrchr(d->files[i]->link, '/');

		if (d->files[i]->link[0] != '/' || strlen(d->files[i]->link) >= sizeof dir)
			continue;
		snprintf(dir, sizeof dir, "%.*s", slash == d->files[i]->link ? 1 : (int)(slash - d->files[i]->link),
			 d->files[i]->link);
		found = search_start(s, dir);
	}
	for (size_t i = 0; !found && i < sizeof usual / sizeof *usual; i++)
		found = search_start(s, usual[i]);
	for (size_t i = 0; !found && i < s->n && s->entries < SEARCH_MAX_ENTRIES; i++)
		found = search_dir(s, s->dirs[i]);
	for (size_t i = 0; i < s->n; i++)
		free(s->dirs[i]);
	free(s->dirs);
	return found ? 0 : -1;
}

int inotify_path(struct dump *d, struct dproc *p, const struct inotify_target *t, char *out)
{
	struct search s = { .t = t, .out = out };

	snprintf(s.root, sizeof s.root, "/proc/%d/root", p->pid);
	return by_handle(p, &s) ? by_search(d, &s) : 0;
}
