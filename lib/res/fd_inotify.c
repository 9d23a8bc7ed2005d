/* fd_inotify: inotify(7) instances and their watches.
 *
 * Record: TYPE="inotify" ... WATCHES="<wd>:<mask>:<path or @file id> ..."; in paths %XX for bytes up to 0x20, % and 0x7f.
 *
 * fdinfo shows the watched inode and its file handle, no path. Paths are found, in this order: an open
 * file of the job that is the same inode; the handle; a search (fd_inotify_path.c). Watch numbers come back the same. Events that are queued but
 * not read yet cannot be looked at without taking them from the job: then the checkpoint is refused. */
#include "res/fd_inotify.h"
#include "res/member_group.h"
#include "res/fd_ops.h"
#include "common/cleanup.h"
#include "common/log.h"

#include <fcntl.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>

#ifndef INOTIFY_IOC_SETNEXTWD
#define INOTIFY_IOC_SETNEXTWD _IOW('I', 0, int32_t)
#endif

enum { INOTIFY_MAX_STEPS = 1 << 16 };  /* watch numbers that are passed over one by one */
#define INOTIFY_MASK (IN_ALL_EVENTS | IN_EXCL_UNLINK | IN_ONESHOT | IN_ONLYDIR | IN_UNMOUNT)

struct watch { int wd; uint32_t mask; uint32_t file; char *path; };

static bool inotify_match(const struct dfile *f)
{
	return fd_is_anon(f, "inotify");
}

static int inotify_check(struct dump *d, struct dfile *f, struct err *e)
{
	struct inotify_target t;
	const char *info = f->info;
	char path[PATH_MAX];
	int rc, queued = 0;

	/* First of all: the search below makes events itself. */
	if (f->lfd < 0 || ioctl(f->lfd, FIONREAD, &queued))
		return refuse(d, f->p, "fd %d: inotify: cannot tell whether events are queued", f->fd);
	if (queued)
		return refuse_for_now(d, f->p, "fd %d: inotify has %d bytes of events that the job has not read yet", f->fd, queued);
	while ((rc = inotify_next(&info, &t)) > 0)
		if (!inotify_open_file(d, &t) && inotify_path(d, f->p, &t, path))
			refuse(d, f->p, "fd %d: inotify watch %d: no path leads to inode %llu of device %u:%u any more",
			       f->fd, t.wd, (unsigned long long)t.ino, t.dev_major, t.dev_minor);
	return rc < 0 ? err_set(e, EX_FAILED, "inotify: this kernel's fdinfo is not understood") : 0;
}

void inotify_put_path(struct buf *b, const char *path)
{
	for (const unsigned char *c = (const unsigned char *)path; *c; c++) {
		if (*c <= 0x20 || *c == '%' || *c == 0x7f)
			buf_printf(b, "%%%02X", *c);
		else
			buf_addc(b, (char)*c);
	}
}

static int inotify_dump(struct dump *d, struct dfile *f, struct err *e)
{
	AUTO_BUF struct buf s = BUF_INIT;
	const char *info = f->info;
	struct inotify_target t;
	char path[PATH_MAX];
	int rc;

	while ((rc = inotify_next(&info, &t)) > 0) {
		struct dfile *open_file = inotify_open_file(d, &t);

		buf_printf(&s, "%s%d:0x%x:", s.len ? " " : "", t.wd, t.mask);
		if (open_file) {
			buf_printf(&s, "@%u", open_file->id);
		} else {
			if (inotify_path(d, f->p, &t, path))
				return err_set(e, EX_CANNOT_CKPT, "inotify watch %d: its path has gone", t.wd);
			inotify_put_path(&s, path);
		}
	}
	if (rc < 0)
		return err_set(e, EX_FAILED, "inotify: this kernel's fdinfo is not understood");
	if (buf_failed(&s))
		return err_set(e, EX_FAILED, "out of memory");
	rec_put_str(&d->files_out, "WATCHES", buf_str(&s));
	return 0;
}

/* ---- restart ---- */

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Decodes n bytes at s in place; false when malformed or not an absolute path. */
bool inotify_get_path(char *s, size_t n)
{
	char *out = s;

	for (size_t i = 0; i < n; i++) {
		if (s[i] != '%') {
			*out++ = s[i];
			continue;
		}
		if (n - i < 3 || hex_digit(s[i + 1]) < 0 || hex_digit(s[i + 2]) < 0)
			return false;
		*out = (char)(hex_digit(s[i + 1]) << 4 | hex_digit(s[i + 2]));
		if (!*out++)
			return false;
		i += 2;
	}
	*out = 0;
	return s[0] == '/';
}

static int one_watch(struct restore *r, char *s, size_t n, struct watch *w)
{
	unsigned long long file = 0;
	long wd;
	int at = 0, end = 0;

	s[n] = 0;
	if (sscanf(s, "%11ld:0x%8x:%n", &wd, &w->mask, &at) != 2 || !at || wd < 1 || wd > INT_MAX ||
	    !(w->mask & IN_ALL_EVENTS) || (w->mask & ~(uint32_t)INOTIFY_MASK))
		return -1;
	w->wd = (int)wd;
	if (s[at] != '@') {
		w->path = s + at;
		return inotify_get_path(w->path, n - (size_t)at) ? 0 : -1;
	}
	if (sscanf(s + at, "@%9llu%n", &file, &end) != 1 || s[at + end] || !file || file > r->nfiles)
		return -1;
	w->file = (uint32_t)file;
	return 0;
}

static int cmp_wd(const void *a, const void *b)
{
	const struct watch *x = a, *y = b;

	return x->wd < y->wd ? -1 : x->wd > y->wd;
}

/* text and *v become the caller's to free; paths point into text. Ascending by wd. */
static int watches_parse(struct restore *r, const struct rfile *f, char **text, struct watch **v, size_t *n, struct err *e)
{
	const char *field;
	size_t max = 1;
	char *s;

	if (rec_str(&f->rec, "WATCHES", &field, e))
		return -1;
	*text = strdup(field);
	for (const char *c = field; *c; c++)
		max += *c == ' ';
	*v = calloc(max, sizeof **v);
	if (!*text || !*v)
		return err_set(e, EX_FAILED, "out of memory");
	for (s = *text; *s;) {
		size_t len = strcspn(s, " ");
		bool last = !s[len];

		if (one_watch(r, s, len, &(*v)[*n]))
			return err_set(e, EX_BAD_IMAGE, "line %zu: WATCHES is malformed", f->rec.line);
		++*n;
		s += last ? len : len + 1;
	}
	qsort(*v, *n, sizeof **v, cmp_wd);
	for (size_t i = 1; i < *n; i++)
		if ((*v)[i].wd == (*v)[i - 1].wd)
			return err_set(e, EX_BAD_IMAGE, "line %zu: WATCHES has number %d twice", f->rec.line, (*v)[i].wd);
	return 0;
}

/* The path by which the watch can be set here. */
static int watch_path(struct restore *r, const struct watch *w, char *out, struct err *e)
{
	if (!w->file)
		return restore_path(r, w->path, out, e);
	snprintf(out, PATH_MAX, "/proc/self/fd/%d", r->files[w->file - 1].fd);
	return 0;
}

static int inotify_open(struct restore *r, struct rfile *f, struct err *e)
{
	AUTO_FREE char *text = NULL;
	AUTO_FREE struct watch *v = NULL;
	char path[PATH_MAX];
	struct stat st;
	size_t n = 0;

	if (watches_parse(r, f, &text, &v, &n, e))
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (v[i].file)
			continue;
		if (watch_path(r, &v[i], path, e))
			return -1;
		if (lstat(path, &st)) {
			if (errno == ENOENT && r->check_only && member_group_to_be(path))
				continue;
			err_sys(e, "inotify watch %d: %s", v[i].wd, path);
			err_hint(e, "if it lies elsewhere on this node, say so with -L OLD=NEW");
			return -1;
		}
	}
	f->fd = inotify_init1(IN_CLOEXEC);
	if (f->fd < 0)
		return err_sys(e, "inotify_init1");
	return fd_set_flags(f->fd, &f->rec, e);
}

/* Reads away what setting watches and taking them off has queued. */
static int drain(int fd)
{
	char buf[4096];
	int queued;

	while (!ioctl(fd, FIONREAD, &queued) && queued > 0)
		if (read(fd, buf, sizeof buf) <= 0)
			return -1;
	return 0;
}

/* Makes wd the next watch number. Numbers rise by one; *next is the one that would come now. */
static int advance(int fd, int wd, int *next, struct err *e)
{
	if (*next == wd)
		return 0;
	if (!fault("inotify-setnextwd")) { /* as without CONFIG_CHECKPOINT_RESTORE */
		if (!ioctl(fd, INOTIFY_IOC_SETNEXTWD, (long)wd)) {
			*next = wd;
			return 0;
		}
		if (errno != ENOTTY && errno != EINVAL)
			return err_sys(e, "inotify: cannot set the next watch number");
	}
	if (wd - *next > INOTIFY_MAX_STEPS)
		return err_set(e, EX_FAILED, "inotify: this kernel cannot give watch number %d", wd);
	while (*next < wd) {
		/* A watch that reports nothing of interest, on something that is not watched yet: "/proc". */
		int got = inotify_add_watch(fd, "/proc", IN_DELETE_SELF | IN_ONLYDIR);
		if (got < 0 || got != *next || inotify_rm_watch(fd, got) || drain(fd))
			return err_sys(e, "inotify: cannot step to watch number %d", wd);
		++*next;
	}
	return 0;
}

/* At the end, so that what the restart itself does to the watched files is not reported. */
static int inotify_late(struct restore *r, struct rfile *f, struct err *e)
{
	AUTO_FREE char *text = NULL;
	AUTO_FREE struct watch *v = NULL;
	char path[PATH_MAX];
	int next = 1;
	size_t n = 0;

	if (watches_parse(r, f, &text, &v, &n, e))
		return -1;
	for (size_t i = 0; i < n; i++) {
		struct watch *w = &v[i];
		int got;

		if (watch_path(r, w, path, e) || advance(f->fd, w->wd, &next, e))
			return -1;
		got = inotify_add_watch(f->fd, path, (w->mask & ~(uint32_t)IN_UNMOUNT) | (w->file ? 0 : IN_DONT_FOLLOW));
		if (got < 0)
			return err_sys(e, "inotify watch %d: cannot watch %s", w->wd, w->file ? "an open file" : path);
		if (got != w->wd)
			return err_set(e, EX_FAILED, "inotify watch %d: %s got number %d", w->wd, path, got);
		next = got + 1;
	}
	return 0;
}

const struct fd_ops fd_inotify_ops = {
	.type = "inotify", .match = inotify_match, .check = inotify_check, .dump = inotify_dump, .open = inotify_open,
	.late = inotify_late,
};
