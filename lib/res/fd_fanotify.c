/* fd_fanotify: fanotify(7) groups and their marks.
 *
 * Record: TYPE="fanotify" ... INIT= EVENT= MARKS="<kind>:<flags>:<mask>:<ignored>:<path or @file id> ..."
 *
 * fdinfo shows all of it; marked inodes and file systems by inode and device, mounts by their id: paths are found as for inotify.
 * Events that are queued cannot be looked at without taking them, and whether somebody waits for a permission that was asked for
 * and not given yet is shown nowhere: the first are refused, the second wherever permissions are asked for. */
#include "res/fd_inotify.h"
#include "res/fd_ops.h"
#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

enum {
	UNPRIVILEGED = 1u << 31, ON_CHILD = 0x08000000, PERMISSIONS = 0x170000,
	IGNORED_MASK = 0x20, SURVIVES = 0x40, EVICTABLE = 0x200, IGNORE = 0x400, FILESYSTEM = 0x100, MOUNT = 0x10,
	MARKS_MAX = 1 << 20,
};
struct mark { char kind; unsigned flags, mask, ignored, mount; struct inotify_target t; };
struct rmark { char kind; unsigned flags, mask, ignored; uint32_t file; char *path; };

static bool fanotify_match(const struct dfile *f)
{
	return fd_is_anon(f, "[fanotify]");
}

static void set_dev(struct mark *m, unsigned dev)
{
	m->t.dev_major = dev >> 20;
	m->t.dev_minor = dev & 0xfffff;
}

/* The next mark in fdinfo text from *info on. 1, 0 at the end, -1 when it is not understood. */
static int next(const char **info, struct mark *m)
{
	const char *l = *info, *eol;
	unsigned long long ino;
	unsigned dev, init, ev;
	int n = 0;

	while (l && (strncmp(l, "fanotify ", 9) || sscanf(l, "fanotify flags:%x event-flags:%x", &init, &ev) == 2))
		l = (l = strchr(l, '\n')) ? l + 1 : NULL;
	if (!l)
		return 0;
	memset(m, 0, sizeof *m);
	eol = strchr(l, '\n');
	*info = eol ? eol + 1 : l + strlen(l);
	if (sscanf(l, "fanotify ino:%llx sdev:%x mflags:%x mask:%x ignored_mask:%x%n", &ino, &dev, &m->flags, &m->mask, &m->ignored,
		   &n) == 5) {
		m->kind = 'i';
		m->t.ino = ino;
		set_dev(m, dev);
		return !strncmp(l + n, " fhandle-bytes", 14) && inotify_parse_handle(l + n, &m->t) ? -1 : 1;
	}
	if (sscanf(l, "fanotify sdev:%x mflags:%x mask:%x ignored_mask:%x", &dev, &m->flags, &m->mask, &m->ignored) == 4) {
		m->kind = 's';
		set_dev(m, dev);
		return 1;
	}
	m->kind = 'm';
	return sscanf(l, "fanotify mnt_id:%x mflags:%x mask:%x ignored_mask:%x", &m->mount, &m->flags, &m->mask, &m->ignored) == 4 ? 1 : -1;
}

/* Where the mount of that id is, as pid sees it. */
static int mount_path(pid_t pid, unsigned id, char *out)
{
	AUTO_BUF struct buf b = BUF_INIT;
	char *save = NULL;
	unsigned nr;

	if (proc_read(&b, pid, "mountinfo", 64 << 20) || !b.p)
		return -1;
	for (char *l = strtok_r(b.p, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
		if (sscanf(l, "%u %*u %*s %*s %4095s", &nr, out) == 2 && nr == id && !strchr(out, '\\'))
			return 0;
	return -1;
}

static int path_of(struct dump *d, struct dfile *f, const struct mark *m, struct dfile **open_file, char *path)
{
	*open_file = NULL;
	if (m->kind == 'm')
		return mount_path(f->p->pid, m->mount, path);
	if (m->kind == 's')
		return inotify_mount_point(f->p->pid, &m->t, path);
	*open_file = inotify_open_file(d, &m->t);
	return *open_file ? 0 : inotify_path(d, f->p, &m->t, path);
}

static int init_flags(const struct dfile *f, unsigned *init, unsigned *event)
{
	const char *s = strstr(f->info, "fanotify flags:");

	return s && sscanf(s, "fanotify flags:%x event-flags:%x", init, event) == 2 ? 0 : -1;
}

static int fanotify_check(struct dump *d, struct dfile *f, struct err *e)
{
	const char *info = f->info;
	unsigned init, event;
	struct dfile *open_file;
	char path[PATH_MAX];
	int rc, queued = 0;
	struct mark m;

	if (f->lfd < 0 || ioctl(f->lfd, FIONREAD, &queued))
		return refuse(d, f->p, "fd %d: fanotify: cannot tell whether events are queued", f->fd);
	if (queued)
		return refuse(d, f->p, "fd %d: fanotify has %d bytes of events that the job has not read yet", f->fd, queued);
	if (init_flags(f, &init, &event))
		return refuse(d, f->p, "fd %d: fanotify: this kernel does not tell its flags", f->fd);
	while ((rc = next(&info, &m)) > 0) {
		if (m.mask & PERMISSIONS)
			refuse(d, f->p, "fd %d: fanotify asks for permissions: whether somebody waits for one cannot be seen", f->fd);
		else if (path_of(d, f, &m, &open_file, path))
			refuse(d, f->p, "fd %d: fanotify: no path leads to what it marks (inode %llu, device %u:%u, mount %u)", f->fd,
			       (unsigned long long)m.t.ino, m.t.dev_major, m.t.dev_minor, m.mount);
	}
	return rc < 0 ? refuse(d, f->p, "fd %d: fanotify: a mark of a kind that is not supported", f->fd) : 0;
}

static int fanotify_dump(struct dump *d, struct dfile *f, struct err *e)
{
	AUTO_BUF struct buf s = BUF_INIT;
	const char *info = f->info;
	unsigned init, event;
	struct dfile *open_file;
	char path[PATH_MAX];
	struct mark m;

	if (init_flags(f, &init, &event))
		return err_set(e, EX_FAILED, "fanotify without flags in fdinfo");
	while (next(&info, &m) > 0) {
		if (path_of(d, f, &m, &open_file, path))
			return err_set(e, EX_CANNOT_CKPT, "fanotify: what it marks has gone");
		buf_printf(&s, "%s%c:0x%x:0x%x:0x%x:", s.len ? " " : "", m.kind, m.flags, m.mask, m.ignored);
		if (open_file)
			buf_printf(&s, "@%u", open_file->id);
		else
			inotify_put_path(&s, path);
	}
	if (buf_failed(&s))
		return err_set(e, EX_FAILED, "out of memory");
	rec_put_hex(&d->files_out, "INIT", init);
	rec_put_hex(&d->files_out, "EVENT", event);
	rec_put_str(&d->files_out, "MARKS", buf_str(&s));
	return 0;
}

/* ---- restart ---- */

static int one_mark(struct restore *r, char *s, size_t n, struct rmark *m)
{
	unsigned long long file;
	int at = 0, end = 0;

	s[n] = 0;
	if (sscanf(s, "%c:0x%8x:0x%8x:0x%8x:%n", &m->kind, &m->flags, &m->mask, &m->ignored, &at) != 4 || !at ||
	    !strchr("ims", m->kind) || !m->kind || m->flags & ~(unsigned)(SURVIVES | EVICTABLE | IGNORE) || m->mask & PERMISSIONS)
		return -1;
	if (s[at] != '@') {
		m->path = s + at;
		return inotify_get_path(m->path, n - (size_t)at) ? 0 : -1;
	}
	if (sscanf(s + at, "@%9llu%n", &file, &end) != 1 || s[at + end] || !file || file > r->nfiles)
		return -1;
	m->file = (uint32_t)file;
	return 0;
}

/* text and *v become the caller's to free; paths point into text. */
static int parse(struct restore *r, const struct rfile *f, char **text, struct rmark **v, size_t *n, struct err *e)
{
	const char *field;
	size_t max = 1;

	if (rec_str(&f->rec, "MARKS", &field, e))
		return -1;
	*text = strdup(field);
	for (const char *c = field; *c; c++)
		max += *c == ' ';
	*v = max <= MARKS_MAX ? calloc(max, sizeof **v) : NULL;
	if (!*text || !*v)
		return err_set(e, EX_FAILED, "out of memory");
	for (char *s = *text; *s;) {
		size_t len = strcspn(s, " ");
		bool last = !s[len];

		if (one_mark(r, s, len, &(*v)[*n]))
			return err_set(e, EX_BAD_IMAGE, "line %zu: MARKS is malformed", f->rec.line);
		++*n;
		s += last ? len : len + 1;
	}
	return 0;
}

static int mark_path(struct restore *r, const struct rmark *m, char *out, struct err *e)
{
	if (!m->file)
		return restore_path(r, m->path, out, e);
	snprintf(out, PATH_MAX, "/proc/self/fd/%d", r->files[m->file - 1].fd);
	return 0;
}

/* A group that was made without privilege tells less of others' processes: made so again. */
static int make(unsigned init, unsigned event)
{
	unsigned flags = init & ~UNPRIVILEGED; /* FAN_CLOEXEC too: fdinfo shows it */
	cap_value_t admin = CAP_SYS_ADMIN;
	cap_flag_value_t had = CAP_CLEAR;
	cap_t c;
	int fd, sys;

	if (!(init & UNPRIVILEGED) || !(c = cap_get_proc()))
		return fanotify_init(flags, event);
	cap_get_flag(c, admin, CAP_EFFECTIVE, &had);
	cap_set_flag(c, CAP_EFFECTIVE, 1, &admin, CAP_CLEAR);
	cap_set_proc(c);
	fd = fanotify_init(flags, event);
	sys = errno;
	cap_set_flag(c, CAP_EFFECTIVE, 1, &admin, had);
	cap_set_proc(c);
	cap_free(c);
	errno = sys;
	return fd;
}

static int fanotify_open(struct restore *r, struct rfile *f, struct err *e)
{
	AUTO_FREE char *text = NULL;
	AUTO_FREE struct rmark *v = NULL;
	uint64_t init, event;
	char path[PATH_MAX];
	struct stat st;
	size_t n = 0;

	if (rec_u64(&f->rec, "INIT", UINT32_MAX, &init, e) || rec_u64(&f->rec, "EVENT", UINT32_MAX, &event, e) ||
	    parse(r, f, &text, &v, &n, e))
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (v[i].file)
			continue;
		if (mark_path(r, &v[i], path, e))
			return -1;
		if (lstat(path, &st)) {
			err_sys(e, "fanotify: %s", path);
			err_hint(e, "if it lies elsewhere on this node, say so with -L OLD=NEW");
			return -1;
		}
	}
	f->fd = make((unsigned)init, (unsigned)event);
	if (f->fd < 0 || fcntl(f->fd, F_SETFD, FD_CLOEXEC))
		return err_sys(e, "fanotify_init");
	return fd_set_flags(f->fd, &f->rec, e);
}

/* At the end, so that what the restart itself does is not reported. */
static int fanotify_late(struct restore *r, struct rfile *f, struct err *e)
{
	AUTO_FREE char *text = NULL;
	AUTO_FREE struct rmark *v = NULL;
	char path[PATH_MAX];
	size_t n = 0;

	if (parse(r, f, &text, &v, &n, e))
		return -1;
	for (size_t i = 0; i < n; i++) {
		const struct rmark *m = &v[i];
		unsigned how = FAN_MARK_ADD | (m->kind == 's' ? FILESYSTEM : m->kind == 'm' ? MOUNT : 0) | (m->flags & EVICTABLE) |
			       (m->file ? 0 : FAN_MARK_DONT_FOLLOW);
		/* The kernel adds this to whole mounts and file systems by itself. */
		unsigned less = m->kind == 'i' ? 0 : ON_CHILD;

		if (mark_path(r, m, path, e))
			return -1;
		if ((m->mask && fanotify_mark(f->fd, how, m->mask & ~less, AT_FDCWD, path)) ||
		    (m->ignored && fanotify_mark(f->fd, how | (m->flags & IGNORE ? IGNORE : IGNORED_MASK) | (m->flags & SURVIVES),
						 m->ignored & ~less, AT_FDCWD, path)))
			return err_sys(e, "fanotify: cannot mark %s", m->file ? "an open file" : path);
	}
	return 0;
}

const struct fd_ops fd_fanotify_ops = {
	.type = "fanotify", .match = fanotify_match, .check = fanotify_check, .dump = fanotify_dump, .open = fanotify_open,
	.late = fanotify_late,
};
