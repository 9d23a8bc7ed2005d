/* fd_epoll: epoll(7) sets.
 *
 * Record: TYPE="epoll" ... TARGETS="<fd>:<events>:<data>:<file id> ..."
 *
 * The key of an entry is the open file description together with the number that it had when it was added; the
 * number may have been closed or given to something else since, while the description lives on elsewhere in the
 * job. KCMP_EPOLL_TFD (kcmp(2)) tells which description an entry means. Nothing in an entry
 * depends on the process that added it, so on restart the restorer adds them all by itself, at the very end,
 * when every description exists: it puts each at its number for the moment of the EPOLL_CTL_ADD. */
#include "res/fd_ops.h"
#include "common/cleanup.h"

#include <fcntl.h>
#include <linux/kcmp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

struct target {
	int fd;
	uint32_t events;
	uint64_t data;
	uint64_t ino;          /* as fdinfo shows it */
	unsigned nth;          /* among the entries with this number, in the kernel's order */
	uint32_t file;         /* id of the description */
};
struct targets { struct target *v; size_t n; };

/* An entry with EPOLLONESHOT that has fired keeps these bits only. */
#define EPOLL_PRIVATE (EPOLLONESHOT | EPOLLET | EPOLLWAKEUP | EPOLLEXCLUSIVE)

static bool epoll_match(const struct dfile *f)
{
	return fd_is_anon(f, "[eventpoll]");
}

static struct target *target_add(struct targets *t)
{
	/* Doubling at powers of two spares a capacity. */
	if (!(t->n & (t->n - 1))) {
		struct target *v = realloc(t->v, (t->n ? 2 * t->n : 1) * sizeof *v);
		if (!v)
			return NULL;
		t->v = v;
	}
	t->v[t->n] = (struct target){ 0 };
	return &t->v[t->n++];
}

static int info_parse(const char *info, struct targets *t, struct err *e)
{
	for (const char *l = info; l; l = (l = strchr(l, '\n')) ? l + 1 : NULL) {
		unsigned long long data, ino, dev;
		unsigned events;
		long long pos;
		int fd;

		if (strncmp(l, "tfd:", 4))
			continue;
		if (sscanf(l, "tfd: %d events: %x data: %llx pos:%lld ino:%llx sdev:%llx", &fd, &events, &data, &pos,
			   &ino, &dev) != 6)
			return err_set(e, EX_FAILED, "epoll: this kernel's fdinfo is not understood");
		struct target *x = target_add(t);
		if (!x)
			return err_set(e, EX_FAILED, "out of memory");
		x->fd = fd;
		x->events = events;
		x->data = data;
		x->ino = ino;
	}
	return 0;
}

static int cmp_fd(const void *a, const void *b)
{
	const struct target *x = *(struct target *const *)a, *y = *(struct target *const *)b;

	return x->fd != y->fd ? (x->fd < y->fd ? -1 : 1) : x < y ? -1 : x > y;
}

/* Numbers the entries with equal fd, in the order of fdinfo, which is the kernel's. */
static int number(struct targets *t, struct err *e)
{
	AUTO_FREE struct target **by = malloc((t->n + 1) * sizeof *by);

	if (!by)
		return err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; i < t->n; i++)
		by[i] = &t->v[i];
	qsort(by, t->n, sizeof *by, cmp_fd);
	for (size_t i = 1; i < t->n; i++)
		if (by[i]->fd == by[i - 1]->fd)
			by[i]->nth = by[i - 1]->nth + 1;
	return 0;
}

/* Does entry x of set f mean description c? 1, 0, or -1 (the kernel does not tell). */
static int means(const struct dfile *f, const struct target *x, const struct dfile *c)
{
	struct kcmp_epoll_slot slot = { (uint32_t)f->fd, (uint32_t)x->fd, x->nth };
	long v = syscall(SYS_kcmp, c->p->pid, f->p->pid, KCMP_EPOLL_TFD, c->fd, &slot);

	return v < 0 ? -1 : v == 0;
}

static bool alike(const struct target *x, const struct dfile *c)
{
	return c->st.st_ino == x->ino;
}

/* The description that entry x of f means; NULL: none of the job's. The number itself is the best guess,
 * first in the process where the set was found. */
static struct dfile *resolve(struct dump *d, struct dfile *f, const struct target *x)
{
	struct dfile *c = files_find_fd(d, f->p, x->fd);
	int v = c ? means(f, x, c) : 0;

	if (v == 1 || (v < 0 && !x->nth && alike(x, c)))
		return c;
	for (size_t i = 0; i < d->nprocs; i++) {
		c = files_find_fd(d, d->procs[i], x->fd);
		if (c && means(f, x, c) == 1)
			return c;
	}
	for (size_t i = 0; i < d->nfiles; i++)
		if (alike(x, d->files[i]) && means(f, x, d->files[i]) == 1)
			return d->files[i];
	return NULL;
}

static int epoll_check(struct dump *d, struct dfile *f, struct err *e)
{
	struct targets t = { 0 };
	int rc = info_parse(f->info, &t, e) || number(&t, e) ? -1 : 0;

	for (size_t i = 0; !rc && i < t.n; i++)
		if (!resolve(d, f, &t.v[i]))
			refuse(d, f->p, "fd %d: epoll watches something added as fd %d that no process of the job "
			       "has open any more", f->fd, t.v[i].fd);
	free(t.v);
	return rc;
}

static int cmp_target(const void *a, const void *b)
{
	const struct target *x = a, *y = b;

	return x->fd != y->fd ? (x->fd < y->fd ? -1 : 1) : x->file < y->file ? -1 : x->file > y->file;
}

/* fdinfo's order is that of addresses in the kernel: sorted, so that equal sets have equal records. */
static int epoll_dump(struct dump *d, struct dfile *f, struct err *e)
{
	struct targets t = { 0 };
	AUTO_BUF struct buf s = BUF_INIT;
	int rc = info_parse(f->info, &t, e) || number(&t, e) ? -1 : 0;

	for (size_t i = 0; !rc && i < t.n; i++) {
		struct dfile *c = resolve(d, f, &t.v[i]);

		if (c)
			t.v[i].file = c->id;
		else
			rc = err_set(e, EX_FAILED, "epoll: what was added as fd %d is gone", t.v[i].fd);
	}
	if (!rc && t.n)
		qsort(t.v, t.n, sizeof *t.v, cmp_target);
	for (size_t i = 0; !rc && i < t.n; i++)
		buf_printf(&s, "%s%d:0x%x:0x%llx:%u", i ? " " : "", t.v[i].fd, t.v[i].events,
			   (unsigned long long)t.v[i].data, t.v[i].file);
	if (!rc && buf_failed(&s))
		rc = err_set(e, EX_FAILED, "out of memory");
	if (!rc)
		rec_put_str(&d->files_out, "TARGETS", buf_str(&s));
	free(t.v);
	return rc;
}

/* ---- restart ---- */

/* One number of TARGETS, ended by `end` (or the end of the text when it is ' '). */
static bool number_of(const char **s, char end, int base, uint64_t max, uint64_t *out)
{
	char *stop;

	if (**s < '0' || **s > '9')
		return false;
	errno = 0;
	*out = strtoull(*s, &stop, base);
	if (errno || *out > max || (*stop != end && !(end == ' ' && !*stop)))
		return false;
	*s = *stop ? stop + 1 : stop;
	return true;
}

static int rec_parse(struct restore *r, const struct rfile *f, struct targets *t, struct err *e)
{
	const char *s;

	if (rec_str(&f->rec, "TARGETS", &s, e))
		return -1;
	while (*s) {
		uint64_t fd, events, data, file;
		struct target *x;

		if (!number_of(&s, ':', 10, RES_MAX_FD, &fd) || !number_of(&s, ':', 16, UINT32_MAX, &events) ||
		    !number_of(&s, ':', 16, UINT64_MAX, &data) || !number_of(&s, ' ', 10, r->nfiles, &file) ||
		    !file || file == f->id)
			return err_set(e, EX_BAD_IMAGE, "line %zu: TARGETS is malformed", f->rec.line);
		x = target_add(t);
		if (!x)
			return err_set(e, EX_FAILED, "out of memory");
		x->fd = (int)fd;
		x->events = (uint32_t)events;
		x->data = data;
		x->file = (uint32_t)file;
	}
	return 0;
}

static int epoll_open(struct restore *r, struct rfile *f, struct err *e)
{
	struct targets t = { 0 };
	int rc = rec_parse(r, f, &t, e);

	free(t.v);
	if (rc)
		return -1;
	f->fd = epoll_create1(EPOLL_CLOEXEC);
	if (f->fd < 0)
		return err_sys(e, "epoll_create1");
	return fd_set_flags(f->fd, &f->rec, e);
}

/* EPOLL_CTL_ADD or MOD of description fd under the number that the entry has. */
static int ctl_at(struct restore *r, int epfd, int op, int fd, const struct target *x, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.u64 = x->data };
	AUTO_FD int saved = -1;
	int rc, flags, sys;

	if (fd == x->fd)
		return epoll_ctl(epfd, op, fd, &ev);
	flags = fcntl(x->fd, F_GETFD);
	if (flags >= 0) {
		saved = fcntl(x->fd, F_DUPFD_CLOEXEC, r->fd_base);
		if (saved < 0)
			return -1;
	}
	if (x->fd == epfd) /* its own number was something else's before */
		epfd = saved;
	if (dup3(fd, x->fd, O_CLOEXEC) < 0)
		return -1;
	rc = epoll_ctl(epfd, op, x->fd, &ev);
	sys = errno;
	if (flags < 0)
		close(x->fd);
	else if (dup3(saved, x->fd, flags & FD_CLOEXEC ? O_CLOEXEC : 0) < 0)
		return -1;
	errno = sys;
	return rc;
}

static bool spent(const struct target *x)
{
	return (x->events & EPOLLONESHOT) && !(x->events & ~EPOLL_PRIVATE);
}

/* Of the one-shot entries that have just been added, those that did not fire are reduced to what a spent one may
 * have. One that fired must not be touched again: a change would arm it. */
static int quiet_unspent(struct restore *r, int epfd, const struct targets *t, struct err *e)
{
	char path[64];
	AUTO_BUF struct buf info = BUF_INIT;
	struct targets now = { 0 };
	int rc;

	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", epfd);
	if (buf_read_file(&info, -1, path, 64 << 20))
		return err_sys(e, "cannot read %s", path);
	rc = info_parse(buf_str(&info), &now, e);
	for (size_t k = 0; !rc && k < now.n; k++) {
		if (spent(&now.v[k]))
			continue;
		for (size_t i = 0; i < t->n; i++) {
			const struct target *x = &t->v[i];
			if (spent(x) && x->fd == now.v[k].fd && x->data == now.v[k].data &&
			    ctl_at(r, epfd, EPOLL_CTL_MOD, r->files[x->file - 1].fd, x, x->events))
				rc = err_sys(e, "epoll_ctl: cannot change fd %d", x->fd);
		}
	}
	free(now.v);
	return rc;
}

/* A spent one-shot entry cannot be added as such: the kernel always adds EPOLLERR and EPOLLHUP. It is
 * added so that it fires now, while it is alone, if there is anything to fire; else those two bits stay. */
static int add_spent(struct restore *r, int epfd, const struct targets *t, struct err *e)
{
	bool any = false;
	struct epoll_event ev[16];
	int n;

	for (size_t i = 0; i < t->n; i++) {
		const struct target *x = &t->v[i];
		if (!spent(x))
			continue;
		any = true;
		if (ctl_at(r, epfd, EPOLL_CTL_ADD, r->files[x->file - 1].fd, x, x->events | EPOLLIN | EPOLLOUT | EPOLLPRI))
			return err_sys(e, "epoll_ctl: cannot add fd %d", x->fd);
	}
	if (!any)
		return 0;
	while ((n = epoll_wait(epfd, ev, 16, 0)) > 0)
		;
	return quiet_unspent(r, epfd, t, e);
}

static int epoll_late(struct restore *r, struct rfile *f, struct err *e)
{
	struct targets t = { 0 };
	int rc = rec_parse(r, f, &t, e) || add_spent(r, f->fd, &t, e) ? -1 : 0;

	for (size_t i = 0; !rc && i < t.n; i++) {
		const struct target *x = &t.v[i];
		const struct rfile *to = &r->files[x->file - 1];

		if (spent(x) || !ctl_at(r, f->fd, EPOLL_CTL_ADD, to->fd, x, x->events))
			continue;
		/* What was a terminal or pipe outside may now be a file or /dev/null, which cannot be
		 * watched: it never reports anything then. */
		if (errno == EPERM && rec_find(&to->rec, "EXTERNAL"))
			continue;
		rc = err_sys(e, "epoll_ctl: cannot add fd %d", x->fd);
	}
	free(t.v);
	return rc;
}

const struct fd_ops fd_epoll_ops = {
	.type = "epoll", .match = epoll_match, .check = epoll_check, .dump = epoll_dump, .open = epoll_open,
	.late = epoll_late,
};
