/* owner: who gets SIGIO and SIGURG of a description: fcntl(2) F_SETOWN_EX, F_SETSIG, O_ASYNC.
 *
 * Fields of the description's record: OWNER_TYPE=tid|pid|pgrp OWNER= OWNER_UID= OWNER_EUID= SIGNAL=
 * The kernel checks at delivery whether the one who called F_SETOWN might have sent the signal: his ids are
 * part of the state. With O_ASYNC it also keeps the number that the descriptor had (si_fd). */
#include "res/fd_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef F_GETOWNER_UIDS
#define F_GETOWNER_UIDS 17
#endif

static const char *const type_names[] = { [F_OWNER_TID] = "tid", [F_OWNER_PID] = "pid", [F_OWNER_PGRP] = "pgrp" };
enum { OWNER_TYPES = 3 };

/* The owner as the job sees it; 0: not in the job. */
static pid_t owner_in_job(struct dump *d, const struct f_owner_ex *o)
{
	for (size_t i = 0; i < d->nprocs; i++) {
		struct dproc *p = d->procs[i];

		if (o->type == F_OWNER_PID && p->tgid == o->pid)
			return p->vpid;
		if (o->type == F_OWNER_PGRP && p->stat.pgrp == o->pid)
			return p->vpgid;
		for (size_t k = 0; o->type == F_OWNER_TID && k < p->nthr; k++)
			if (p->thr[k].tid == o->pid)
				return p->thr[k].vtid;
	}
	return 0;
}

/* False when it has none (or is gone), or cannot be asked (O_PATH). */
static bool owner_get(const struct dfile *f, struct f_owner_ex *o)
{
	return f->lfd >= 0 && !fcntl(f->lfd, F_GETOWN_EX, o) && o->pid > 0 && o->type >= 0 &&
	       (int)o->type < OWNER_TYPES;
}

int owner_check(struct dump *d, struct dfile *f, struct err *e)
{
	struct f_owner_ex o;

	if (owner_get(f, &o) && !owner_in_job(d, &o))
		refuse(d, f->p, "fd %d: its signals go to %s %d, which is not in the job (F_SETOWN)", f->fd,
		       type_names[o.type], o.pid);
	return 0;
}

void owner_dump(struct dump *d, struct dfile *f)
{
	struct buf *b = &d->files_out;
	struct f_owner_ex o;
	uid_t ids[2] = { f->p->status.uid[0], f->p->status.uid[1] };
	int sig = f->lfd < 0 ? 0 : fcntl(f->lfd, F_GETSIG);
	pid_t who;

	if (sig > 0)
		rec_put_u64(b, "SIGNAL", (uint64_t)sig);
	if (!owner_get(f, &o) || !(who = owner_in_job(d, &o)))
		return;
	/* Without CONFIG_CHECKPOINT_RESTORE the kernel does not tell: the holder's ids are the best guess. */
	(void)fcntl(f->lfd, F_GETOWNER_UIDS, ids);
	rec_put_str(b, "OWNER_TYPE", type_names[o.type]);
	rec_put_u64(b, "OWNER", (uint64_t)who);
	rec_put_u64(b, "OWNER_UID", ids[0]);
	rec_put_u64(b, "OWNER_EUID", ids[1]);
}

/* ---- restart ---- */

struct owner {
	struct f_owner_ex o;   /* pid 0: none */
	uid_t uid, euid;
	int sig;
	bool async;
};

static bool is_member(struct restore *r, const struct f_owner_ex *o)
{
	for (size_t i = 0; i < r->nprocs; i++) {
		const struct rproc *p = r->procs[i];

		if (p->helper)
			continue;
		if (o->type == F_OWNER_PID && p->pid == o->pid)
			return true;
		if (o->type == F_OWNER_PGRP && p->pgid == o->pid)
			return true;
		for (size_t k = 0; o->type == F_OWNER_TID && k < p->nthr; k++)
			if (p->thr[k].tid == o->pid)
				return true;
	}
	return false;
}

static int owner_parse(struct restore *r, const struct rec *rec, struct owner *w, struct err *e)
{
	const char *type = rec_find(rec, "OWNER_TYPE");
	uint64_t flags, sig, pid, uid, euid;

	if (rec_u64(rec, "FLAGS", UINT32_MAX, &flags, e) || rec_u64_or(rec, "SIGNAL", 64, 0, &sig, e))
		return -1;
	*w = (struct owner){ .sig = (int)sig, .async = (flags & O_ASYNC) && !(flags & O_PATH) };
	if (!type)
		return 0;
	while ((int)w->o.type < OWNER_TYPES && strcmp(type, type_names[w->o.type]))
		w->o.type++;
	if ((int)w->o.type == OWNER_TYPES)
		return err_set(e, EX_BAD_IMAGE, "line %zu: OWNER_TYPE=\"%s\"", rec->line, type);
	if (rec_u64(rec, "OWNER", INT32_MAX, &pid, e) || rec_u64(rec, "OWNER_UID", UINT32_MAX, &uid, e) ||
	    rec_u64(rec, "OWNER_EUID", UINT32_MAX, &euid, e))
		return -1;
	w->o.pid = (pid_t)pid;
	w->uid = (uid_t)uid;
	w->euid = (uid_t)euid;
	/* Else an image could make root's restart send signals to anybody. */
	if (!is_member(r, &w->o))
		return err_set(e, EX_BAD_IMAGE, "line %zu: owner %s %d is not in the job", rec->line, type, w->o.pid);
	if (!r->o->trust && r->o->image_owner && (w->uid != r->o->image_owner || w->euid != r->o->image_owner)) {
		err_set(e, EX_PERM, "line %zu: the owner of a descriptor was set by uid %d, euid %d", rec->line, (int)w->uid,
			(int)w->euid);
		err_hint(e, "--trust takes it");
		return -1;
	}
	return 0;
}

/* The number by which the job knows the description, -1 when nobody has it. */
static int number_in_job(const struct restore *r, uint32_t id)
{
	for (size_t i = 0; i < r->nprocs; i++)
		for (size_t k = 0; k < r->procs[i]->nfds; k++)
			if (r->procs[i]->fds[k].file == id)
				return r->procs[i]->fds[k].fd;
	return -1;
}

/* 0 or errno. */
static int apply(int fd, const struct owner *w)
{
	int flags;

	if (w->o.pid && fcntl(fd, F_SETOWN_EX, &w->o))
		return errno;
	if (w->sig && fcntl(fd, F_SETSIG, w->sig))
		return errno;
	if (!w->async)
		return 0;
	flags = fcntl(fd, F_GETFL);
	return flags < 0 || fcntl(fd, F_SETFL, flags | O_ASYNC) ? errno : 0;
}

/* With other ids, or under another number: in a child, which is gone afterwards. */
static int apply_in_child(int fd, int number, const struct owner *w)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return errno;
	if (pid == 0) {
		if (w->o.pid && setresuid(w->uid, w->euid, w->euid))
			_exit(errno);
		if (fd != number && dup2(fd, number) < 0)
			_exit(errno);
		_exit(apply(number, w));
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
}

int owner_restore(struct restore *r, struct rfile *f, struct err *e)
{
	struct owner w;
	int number, rc;

	if (owner_parse(r, &f->rec, &w, e))
		return -1;
	if (!w.o.pid && !w.sig && !w.async)
		return 0;
	number = w.async ? number_in_job(r, f->id) : f->fd;
	if (number < 0)
		number = f->fd;
	if (number == f->fd && (!w.o.pid || (getuid() == w.uid && geteuid() == w.euid)))
		rc = apply(f->fd, &w);
	else
		rc = apply_in_child(f->fd, number, &w);
	if (!rc)
		return 0;
	errno = rc;
	return err_sys(e, "cannot set who gets its signals");
}
