/* locks: flock(2), POSIX and OFD record locks, leases (fcntl(2)), as fdinfo shows them (proc(5)).
 *
 * Record in task_PID: TYPE="lock" FD= KIND=flock|posix|ofd|lease MODE=read|write START= LEN= (0: to the end)
 *
 * POSIX locks belong to a process, the others to the open file description: fdinfo shows them in every process that
 * has it, they are written once, with the holder that was found first. On restart each is taken again, without
 * waiting, by the process that has the record. Waiters need nothing: their system call is run again. */
#include "res/fd_ops.h"
#include "common/cleanup.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>

enum kind { LOCK_FLOCK, LOCK_POSIX, LOCK_OFD, LOCK_LEASE, LOCK_KINDS };
static const char *const kind_names[] = { "flock", "posix", "ofd", "lease" };
static const char *const mode_names[] = { "read", "write" };

struct lock {
	enum kind kind;
	bool write, odd;       /* odd: a lease that is being broken, or a kind that is not known */
	uint64_t start, len;
	char text[64];         /* "LEASE BREAKING" for messages */
};

/* The next "lock:" line of fdinfo from *info on. 1, 0 at the end, -1 when it is not understood. */
static int next_lock(const char **info, struct lock *l)
{
	char type[16], sub[16], mode[16], end[24];
	unsigned long long first;

	while (*info && strncmp(*info, "lock:", 5)) {
		*info = strchr(*info, '\n');
		if (*info)
			++*info;
	}
	if (!*info)
		return 0;
	if (sscanf(*info, "lock: %*d: %15s %15s %15s %*d %*[^ ] %llu %23s", type, sub, mode, &first, end) != 5)
		return -1;
	*info += 5;
	*l = (struct lock){ .kind = LOCK_KINDS, .start = first };
	snprintf(l->text, sizeof l->text, "%s %s %s", type, sub, mode);
	if (!strcmp(type, "FLOCK"))
		l->kind = LOCK_FLOCK;
	else if (!strcmp(type, "POSIX"))
		l->kind = LOCK_POSIX;
	else if (!strcmp(type, "OFDLCK"))
		l->kind = LOCK_OFD;
	else if (!strcmp(type, "LEASE"))
		l->kind = LOCK_LEASE;
	l->odd = l->kind == LOCK_KINDS || (l->kind == LOCK_LEASE && strcmp(sub, "ACTIVE")) ||
		 (strcmp(mode, "READ") && strcmp(mode, "WRITE"));
	l->write = !strcmp(mode, "WRITE");
	if (strcmp(end, "EOF"))
		l->len = strtoull(end, NULL, 10) - first + 1;
	return 1;
}

static int locks_check(struct dump *d, struct dfile *f, struct err *e)
{
	const char *info = f->info;
	struct lock l;
	int rc;

	while ((rc = next_lock(&info, &l)) > 0)
		if (l.odd)
			refuse(d, f->p, "fd %d: lock \"%s\" on %s is not supported", f->fd, l.text, f->link);
	return rc < 0 ? err_set(e, EX_FAILED, "fdinfo shows a lock that is not understood") : 0;
}

int locks_dump(struct dump *d, struct dproc *p, int fd, struct dfile *f, struct err *e)
{
	AUTO_BUF struct buf own = BUF_INIT;
	const char *info = f->info;
	char name[32];
	struct lock l;
	int rc;

	if (p == f->p && fd != f->fd)
		return 0; /* a dup: all of it stands with the first number */
	if (p != f->p) {
		if (f->link[0] != '/' || (f->flags & O_PATH))
			return 0;
		snprintf(name, sizeof name, "fdinfo/%d", fd);
		if (proc_read(&own, p->pid, name, 64 << 20))
			return err_sys(e, "cannot read fdinfo");
		info = buf_str(&own);
	}
	while ((rc = next_lock(&info, &l)) > 0) {
		if (l.odd)
			return err_set(e, EX_CANNOT_CKPT, "lock \"%s\" on %s is not supported", l.text, f->link);
		if (p != f->p && l.kind != LOCK_POSIX)
			continue;
		rec_begin(&p->out, "lock");
		rec_put_u64(&p->out, "FD", (uint64_t)fd);
		rec_put_str(&p->out, "KIND", kind_names[l.kind]);
		rec_put_str(&p->out, "MODE", mode_names[l.write]);
		rec_put_u64(&p->out, "START", l.start);
		rec_put_u64(&p->out, "LEN", l.len);
		rec_end(&p->out);
	}
	return rc < 0 ? err_set(e, EX_FAILED, "fdinfo shows a lock that is not understood") : 0;
}

/* ---- restart ---- */

struct rlock { struct lock l; int fd; struct rfile *f; };

static int word_of(const struct rec *rec, const char *key, const char *const *words, int n, int *out, struct err *e)
{
	const char *s;

	if (rec_str(rec, key, &s, e))
		return -1;
	for (*out = 0; *out < n; ++*out)
		if (!strcmp(s, words[*out]))
			return 0;
	return err_set(e, EX_BAD_IMAGE, "line %zu: %s=\"%s\"", rec->line, key, s);
}

static int lock_parse(struct restore *r, const struct rproc *p, const struct rec *rec, struct rlock *x, struct err *e)
{
	int kind, mode;

	*x = (struct rlock){ 0 };
	if (rec_int(rec, "FD", 0, RES_MAX_FD, &x->fd, e) || word_of(rec, "KIND", kind_names, LOCK_KINDS, &kind, e) ||
	    word_of(rec, "MODE", mode_names, 2, &mode, e) || rec_u64(rec, "START", INT64_MAX, &x->l.start, e) ||
	    rec_u64(rec, "LEN", INT64_MAX, &x->l.len, e))
		return -1;
	x->l.kind = (enum kind)kind;
	x->l.write = mode;
	for (size_t k = 0; k < p->nfds; k++)
		if (p->fds[k].fd == x->fd)
			x->f = restore_file(r, p->fds[k].file);
	return x->f ? 0 : err_set(e, EX_BAD_IMAGE, "line %zu: a lock on fd %d, which is not open", rec->line, x->fd);
}

static int locks_verify(struct restore *r, struct rproc *p, struct err *e)
{
	struct rlock x;
	struct rec rec;

	for (long i = rproc_rec(p, "lock", 0, &rec); i >= 0; i = rproc_rec(p, "lock", (size_t)i + 1, &rec))
		if (lock_parse(r, p, &rec, &x, e))
			return -1;
	return 0;
}

static int lock_take(struct rproc *p, const struct rlock *x, struct err *e)
{
	struct flock fl = { .l_type = x->l.write ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET,
			    .l_start = (off_t)x->l.start, .l_len = (off_t)x->l.len };
	const char *path = rec_find(&x->f->rec, "PATH");
	uint64_t fd = (uint64_t)x->fd;
	long ret;
	int rc;

	if (x->l.kind == LOCK_FLOCK)
		rc = remote_one(p->rem, "flock", &ret, e, SYS_flock, fd,
				(x->l.write ? LOCK_EX : LOCK_SH) | LOCK_NB, 0, 0, 0, 0);
	else if (x->l.kind == LOCK_LEASE)
		rc = remote_one(p->rem, "fcntl F_SETLEASE", &ret, e, SYS_fcntl, fd, F_SETLEASE,
				(uint64_t)fl.l_type, 0, 0, 0);
	else
		rc = remote_one(p->rem, "fcntl F_SETLK", &ret, e, SYS_fcntl, fd,
				x->l.kind == LOCK_OFD ? F_OFD_SETLK : F_SETLK, remote_put(p->rem, &fl, sizeof fl), 0, 0, 0);
	if (rc || ret >= 0)
		return rc;
	if (ret == -EAGAIN || ret == -EACCES)
		return err_set(e, EX_BUSY, "fd %d: the %s lock on %s is held by somebody else now", x->fd,
			       kind_names[x->l.kind], path ? path : "?");
	errno = (int)-ret;
	return err_sys(e, "fd %d: cannot take the %s lock on %s again", x->fd, kind_names[x->l.kind], path ? path : "?");
}

static int locks_late(struct restore *r, struct rproc *p, struct err *e)
{
	struct rlock x;
	struct rec rec;

	if (p->zombie)
		return 0;
	for (long i = rproc_rec(p, "lock", 0, &rec); i >= 0; i = rproc_rec(p, "lock", (size_t)i + 1, &rec))
		if (lock_parse(r, p, &rec, &x, e) || lock_take(p, &x, e))
			return -1;
	return 0;
}

/* For the descriptions that were found with p first; files_check has collected them. */
static int descriptions_check(struct dump *d, struct dproc *p, struct err *e)
{
	for (size_t i = 0; i < d->nfiles; i++)
		if (d->files[i]->p == p && (locks_check(d, d->files[i], e) || owner_check(d, d->files[i], e)))
			return err_prefix(e, "fd %d", d->files[i]->fd);
	return 0;
}

const struct res_ops res_locks = {
	.name = "locks", .check = descriptions_check, .verify = locks_verify, .late = locks_late,
};
