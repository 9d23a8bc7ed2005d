/* ctty: controlling terminals that are in the job, see credentials(7) and ioctl_tty(2).
 *
 * Record in task_PID: TYPE="ctty" FILE=id of the pty_master. The session and its foreground group stand with the
 * master. Only the leader of a session can get a terminal (TIOCSCTTY), others have it from their parents by
 * fork. So the leader takes it as soon as it has made its session, before its children are made
 * (tty_session_start); who had given it up (TIOCNOTTY) gives it up again when all processes exist. That, and which group is in the foreground, is done
 * before they go into their namespaces and get their descriptors. */
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
	struct dfile *m = index < 0 ? NULL : tty_session_master(d, index, p->stat.session);

	if (!m)
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

/* One ioctl on the slave of m, by p, which has inherited our descriptor of the master: no path leads everywhere to it. */
static int remote_tty(struct rproc *p, const struct rfile *m, const char *what, unsigned long req, const int *value, struct err *e)
{
	long fd, ret, closed;

	if (remote_one(p->rem, "TIOCGPTPEER", &fd, e, SYS_ioctl, (uint64_t)m->fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK, 0, 0, 0))
		return -1;
	if (fd < 0) {
		errno = (int)-fd;
		return err_sys(e, "cannot open the slave of terminal %u", m->id);
	}
	if (remote_one(p->rem, what, &ret, e, SYS_ioctl, (uint64_t)fd, req, value ? remote_put(p->rem, value, sizeof *value) : 0, 0, 0, 0) ||
	    remote_one(p->rem, "close", &closed, e, SYS_close, (uint64_t)fd, 0, 0, 0, 0, 0))
		return -1;
	if (ret >= 0)
		return 0;
	errno = (int)-ret;
	return err_sys(e, "%s on terminal %u", what, m->id);
}

int tty_session_start(struct restore *r, struct rproc *p, struct err *e)
{
	struct rfile *m = p->sid == p->pid && !p->helper && !p->zombie ? master_of_session(r, p->sid) : NULL;

	return m ? remote_tty(p, m, "TIOCSCTTY", TIOCSCTTY, NULL, e) : 0;
}

/* As p calls it: in a PID namespace below ours it has another number. */
static int group_for(struct restore *r, const struct rproc *p, int pgid)
{
	const struct rproc *leader = p->nnspid ? restore_find(r, pgid) : NULL;

	return !p->nnspid ? pgid : leader && leader->nnspid >= p->nnspid ? leader->nspid[p->nnspid - 1] : 0;
}

int tty_session_finish(struct restore *r, struct rproc *p, struct err *e)
{
	struct rfile *m = master_of_session(r, p->sid);
	struct rec rec;
	uint64_t fg;
	int pgid;

	if (!m)
		return 0;
	if (rproc_rec(p, "ctty", 0, &rec) < 0)
		return remote_tty(p, m, "TIOCNOTTY", TIOCNOTTY, NULL, e);
	if (p->sid != p->pid)
		return 0;
	if (rec_u64_or(&m->rec, "FOREGROUND", INT32_MAX, 0, &fg, e))
		return -1;
	pgid = group_for(r, p, (int)fg);
	/* The caller is in the background from here on; its signals are blocked, so this is no SIGTTOU. */
	return pgid ? remote_tty(p, m, "TIOCSPGRP", TIOCSPGRP, &pgid, e) : 0;
}

const struct res_ops res_ctty = { .name = "ctty", .dump = ctty_dump, .verify = ctty_verify };
