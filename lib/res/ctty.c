/* ctty: controlling terminals that are in the job, see credentials(7) and ioctl_tty(2).
 *
 * Record in task_PID: TYPE="ctty" FILE=id of the pty_master. The session and its foreground group stand with the
 * master. Only the leader of a session can get a terminal (TIOCSCTTY), others have it from their parents by
 * fork. So the leader takes it as soon as it has made its session, before its children are made
 * (tty_session_start); who had given it up (TIOCNOTTY) gives it up again at the end. */
#include "res/fd_ops.h"
#include "res/tty.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

static int ctty_dump(struct dump *d, struct dproc *p, struct err *e)
{
	unsigned dev = (unsigned)p->stat.tty_nr;
	int index = tty_dev_index(major(dev), minor(dev));
	struct dfile *m = index < 0 ? NULL : tty_find_master(d, index);
	pid_t sid;

	if (!m || ioctl(m->lfd, TIOCGSID, &sid) || sid != p->stat.session)
		return 0;
	rec_begin(&p->out, "ctty");
	rec_put_u64(&p->out, "FILE", m->id);
	rec_end(&p->out);
	return 0;
}

/* The master of the terminal that session sid has; NULL. */
static struct rfile *master_of_session(struct restore *r, pid_t sid)
{
	uint64_t v;

	for (size_t i = 0; sid > 0 && i < r->nfiles; i++)
		if (r->files[i].ops == &fd_ptm_ops &&
		    !rec_u64_or(&r->files[i].rec, "SESSION", INT32_MAX, 0, &v, NULL) && v == (uint64_t)sid)
			return &r->files[i];
	return NULL;
}

static int ctty_verify(struct restore *r, struct rproc *p, struct err *e)
{
	struct rec rec;
	uint64_t id;
	struct rfile *m;

	if (rproc_rec(p, "ctty", 0, &rec) < 0)
		return 0;
	m = master_of_session(r, p->sid);
	if (rec_u64(&rec, "FILE", r->nfiles, &id, e))
		return -1;
	if (!m || m->id != id)
		return err_set(e, EX_BAD_IMAGE, "line %zu: file %llu is not the terminal of session %d", rec.line,
			       (unsigned long long)id, p->sid);
	return 0;
}

static int remote_open(struct rproc *p, const char *path, int *fd, struct err *e)
{
	long ret;

	if (remote_one(p->rem, "open", &ret, e, SYS_openat, (uint64_t)(int64_t)AT_FDCWD,
		       remote_put(p->rem, path, strlen(path) + 1), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC, 0, 0, 0))
		return -1;
	if (ret < 0) {
		errno = (int)-ret;
		return err_sys(e, "cannot open %s", path);
	}
	*fd = (int)ret;
	return 0;
}

/* One ioctl on the terminal that path names. */
static int remote_tty(struct rproc *p, const char *path, const char *what, unsigned long req, const int *value, struct err *e)
{
	long ret, closed;
	int fd = -1;

	if (remote_open(p, path, &fd, e) ||
	    remote_one(p->rem, what, &ret, e, SYS_ioctl, (uint64_t)fd, req,
		       value ? remote_put(p->rem, value, sizeof *value) : 0, 0, 0, 0) ||
	    remote_one(p->rem, "close", &closed, e, SYS_close, (uint64_t)fd, 0, 0, 0, 0, 0))
		return -1;
	if (ret >= 0)
		return 0;
	errno = (int)-ret;
	return err_sys(e, "%s on %s", what, path);
}

int tty_session_start(struct restore *r, struct rproc *p, struct err *e)
{
	struct rfile *m = p->sid == p->pid && !p->helper && !p->zombie ? master_of_session(r, p->sid) : NULL;
	char path[32];
	unsigned n;

	if (!m)
		return 0;
	if (ioctl(m->fd, TIOCGPTN, &n))
		return err_sys(e, "terminal of session %d", p->sid);
	snprintf(path, sizeof path, "/dev/pts/%u", n);
	return remote_tty(p, path, "TIOCSCTTY", TIOCSCTTY, NULL, e);
}

static int ctty_late(struct restore *r, struct rproc *p, struct err *e)
{
	struct rfile *m = p->zombie || p->helper ? NULL : master_of_session(r, p->sid);
	struct rec rec;
	uint64_t fg;
	int pgid;

	if (!m)
		return 0;
	if (rproc_rec(p, "ctty", 0, &rec) < 0)
		return remote_tty(p, "/dev/tty", "TIOCNOTTY", TIOCNOTTY, NULL, e);
	if (p->sid != p->pid)
		return 0;
	if (rec_u64_or(&m->rec, "FOREGROUND", INT32_MAX, 0, &fg, e))
		return -1;
	pgid = (int)fg;
	/* The caller is in the background from here on; its signals are blocked, so this is no SIGTTOU. */
	return pgid ? remote_tty(p, "/dev/tty", "TIOCSPGRP", TIOCSPGRP, &pgid, e) : 0;
}

const struct res_ops res_ctty = { .name = "ctty", .dump = ctty_dump, .verify = ctty_verify, .late = ctty_late };
