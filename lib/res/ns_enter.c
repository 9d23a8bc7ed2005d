/* ns_enter: processes go into their namespaces, by setns(2), at the end of what is done to them with the restorer's own rights.
 *
 * All but the user namespace first: from outside there is every right over what a namespace below owns. Then the ids, which no map of the user
 * namespace may stand in the way of, and the user namespace, which gives all capabilities in it; creds.c takes away what was not there. What needs a
 * path in the old mount namespace (/proc/PID/fd of the restorer) is opened before.
 *
 * One that was born in a user namespace of the job (the first process of a PID namespace that belongs to it, and all below) enters what is left
 * before anything else is done to it, by descriptors that it has inherited. */
#include "res/creds.h"
#include "res/fs.h"
#include "res/ns_obj.h"
#include "res/proc_ops.h"
#include "common/cleanup.h"

#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>

/* Our descriptor, opened by p itself. */
static int theirs(struct rproc *p, int fd, int flags, long *out, struct err *e)
{
	char at[64];

	snprintf(at, sizeof at, "/proc/%d/fd/%d", getpid(), fd);
	if (remote_one(p->rem, "openat", out, e, SYS_openat, (uint64_t)AT_FDCWD, remote_put(p->rem, at, strlen(at) + 1), (uint64_t)flags, 0, 0, 0))
		return -1;
	if (*out >= 0)
		return 0;
	errno = (int)-*out;
	return err_sys(e, "cannot open %s", at);
}

static int must(struct rproc *p, const char *what, long nr, uint64_t a, uint64_t b, struct err *e)
{
	remote_call(p->rem, what, REMOTE_MUST, nr, a, b, 0, 0, 0, 0);
	return remote_run(p->rem, e);
}

int ns_enter_one(struct rproc *who, const struct rns *n, int fd, struct err *e)
{
	return must(who, "setns", SYS_setns, (uint64_t)fd, (uint64_t)ns_kind_flag(n->kind), e) ? err_prefix(e, "%s namespace %u", ns_kind_name(n->kind), n->id) : 0;
}

static int enter(struct restore *r, struct rproc *p, enum ns_kind k, long fd, struct err *e)
{
	return ns_enter_one(p, k == NSK_PID ? ns_for_children(r, p, NSK_PID) : ns_of(r, p, k), (int)fd, e) || must(p, "close", SYS_close, (uint64_t)fd, 0, e) ? -1 : 0;
}

/* Root directory and working directory in the new mount namespace. */
static int settle(struct rproc *p, long cwd, long root, struct err *e)
{
	uint64_t here = remote_put(p->rem, ".", 2);

	if (root >= 0 && (must(p, "fchdir", SYS_fchdir, (uint64_t)root, 0, e) || must(p, "chroot", SYS_chroot, here, 0, e) ||
			  must(p, "close", SYS_close, (uint64_t)root, 0, e)))
		return -1;
	return must(p, "fchdir", SYS_fchdir, (uint64_t)cwd, 0, e) || must(p, "close", SYS_close, (uint64_t)cwd, 0, e) ? -1 : 0;
}

/* p got it from who made it. */
static bool is_there(const struct rproc *p, const struct rns *n)
{
	char path[64];
	struct stat a, b;

	snprintf(path, sizeof path, "/proc/%d/ns/%s", p->made, ns_kind_name(n->kind));
	return !stat(path, &a) && !fstat(n->fd, &b) && a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

static int ns_restore(struct restore *r, struct rproc *p, struct err *e)
{
	long fd[NSK_COUNT], cwd = -1, root = -1;
	bool any = false, moves = ns_of(r, p, NSK_MNT) != NULL;

	if (p->born)
		return 0;
	for (int k = 0; k < NSK_COUNT; k++) {
		/* Its own PID namespace it was born in. */
		struct rns *n = k == NSK_PID ? ns_for_children(r, p, NSK_PID) : ns_of(r, p, k);

		fd[k] = -1;
		if (!n || (k != NSK_PID && is_there(p, n)))
			continue;
		any = true;
		if (theirs(p, n->fd, O_RDONLY | O_CLOEXEC, &fd[k], e))
			return -1;
	}
	if (!any)
		return 0;
	if (moves) {
		AUTO_FD int c = -1, o = -1;

		if (fs_open(r, p, &c, &o, e) || theirs(p, c, O_PATH | O_DIRECTORY | O_CLOEXEC, &cwd, e) ||
		    (o >= 0 && theirs(p, o, O_PATH | O_DIRECTORY | O_CLOEXEC, &root, e)))
			return -1;
	}
	for (int k = 0; k < NSK_COUNT; k++)
		if (k != NSK_USER && fd[k] >= 0 && enter(r, p, (enum ns_kind)k, fd[k], e))
			return -1;
	if (moves && settle(p, cwd, root, e))
		return -1;
	if (fd[NSK_USER] < 0)
		return 0;
	p->entered = true;
	return creds_take_ids(r, p, p, e) || enter(r, p, NSK_USER, fd[NSK_USER], e) ? -1 : 0;
}

int ns_enter_born(struct restore *r, struct rproc *p, struct err *e)
{
	struct rns *n;

	if (!p->born)
		return 0;
	p->entered = true;
	for (int k = NSK_COUNT; k-- > 0;) {
		n = ns_of(r, p, (enum ns_kind)k);
		if (n && k != NSK_PID && !is_there(p, n) && ns_enter_one(p, n, n->fd, e))
			return -1;
	}
	return fs_enter(r, p, e);
}

static int ns_verify(struct restore *r, struct rproc *p, struct err *e) { return ns_verify_proc(r, p, e); }

const struct res_ops res_ns_enter = { .name = "namespaces", .verify = ns_verify, .restore = ns_restore };
