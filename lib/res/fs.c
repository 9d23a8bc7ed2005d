/* fs: working directory and root directory of a process (its threads share them unless they unshared them, which ns.c
 * refuses). chdir(2), chroot(2).
 *
 * Record: TYPE="fs" CWD="path" [ROOT="path"], paths as seen from the root of who makes the checkpoint.
 *
 * On restart the restorer opens the directory, with the rights of the image's owner where those are less than its own, and the
 * process goes there through /proc/RESTORER/fd: a name is never looked up with rights that its writer has not. */
#include "res/borrow.h"
#include "res/fs.h"
#include "res/ns_obj.h"
#include "res/proc_ops.h"
#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int link_of(const struct dproc *p, const char *what, char *out, struct err *e)
{
	char path[64];
	ssize_t n;

	snprintf(path, sizeof path, "/proc/%d/%s", p->pid, what);
	n = readlink(path, out, PATH_MAX - 1);
	if (n < 0)
		return err_sys(e, "cannot read %s", path);
	out[n] = 0;
	return 0;
}

int dump_path(const struct dump *d, const struct dproc *p, bool outside, const char *link, char *out, size_t n)
{
	char root[PATH_MAX];
	int top;

	if (outside && d->own_ns && d->nsinit)
		return (size_t)snprintf(out, n, "/proc/%d/root%s", d->nsinit, link) < n ? 0 : -1;
	if (outside)
		return (size_t)snprintf(out, n, "%s", link) < n ? 0 : -1;
	if (link_of(p, "root", root, NULL) || !root[1])
		return (size_t)snprintf(out, n, "/proc/%d/root%s", p->pid, link) < n ? 0 : -1;
	/* Paths are told from the root of its mount namespace, where that is not its own. */
	if (p->ns[NSK_MNT] && (top = ns_mnt_root(d, p->ns[NSK_MNT])) >= 0)
		return (size_t)snprintf(out, n, "/proc/self/fd/%d%s", top, link) < n ? 0 : -1;
	return (size_t)snprintf(out, n, "%s", link) < n ? 0 : -1;
}

/* Does `link` still lead to what the process has as `what`? */
static bool leads_there(const struct dump *d, const struct dproc *p, const char *what, const char *link)
{
	char path[64], seen[PATH_MAX + 64];
	struct stat have, named;

	snprintf(path, sizeof path, "/proc/%d/%s", p->pid, what);
	return link[0] == '/' && !stat(path, &have) && !dump_path(d, p, false, link, seen, sizeof seen) && !stat(seen, &named) &&
	       named.st_dev == have.st_dev && named.st_ino == have.st_ino;
}

static int fs_check(struct dump *d, struct dproc *p, struct err *e)
{
	char cwd[PATH_MAX], root[PATH_MAX];

	if (p->zombie)
		return 0;
	if (link_of(p, "cwd", cwd, e) || link_of(p, "root", root, e))
		return -1;
	if (root[1] && !leads_there(d, p, "root", root))
		return refuse(d, p, "its root directory %s has lost its name", root);
	if (!leads_there(d, p, "cwd", cwd))
		refuse(d, p, "its working directory %s has lost its name (removed, renamed or mounted over)", cwd);
	return 0;
}

static int fs_dump(struct dump *d, struct dproc *p, struct err *e)
{
	char cwd[PATH_MAX], root[PATH_MAX];

	if (link_of(p, "cwd", cwd, e) || link_of(p, "root", root, e))
		return -1;
	rec_begin(&p->out, "fs");
	rec_put_str(&p->out, "CWD", cwd);
	if (root[1])
		rec_put_str(&p->out, "ROOT", root);
	rec_end(&p->out);
	return 0;
}

/* ---- restart ---- */

static int open_dir(struct restore *r, const char *what, const char *path, struct err *e)
{
	struct borrow b;
	char to[PATH_MAX];
	int fd, denied;

	if (restore_path(r, path, to, e) || borrow_begin(&b, r, e))
		return -1;
	fd = open(to, O_PATH | O_DIRECTORY | O_CLOEXEC);
	/* Being there is more than reaching it. */
	denied = fd >= 0 ? faccessat(fd, "", X_OK, AT_EACCESS | AT_EMPTY_PATH) && errno == EACCES : 0;
	if (borrow_end(&b, e)) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	if (fd >= 0 && !(denied && proc_untrusted(r)))
		return fd;
	if (fd >= 0) {
		close(fd);
		errno = EACCES;
	}
	err_sys(e, "cannot go to its %s directory %s", what, to);
	if (e && (e->sys == ENOENT || e->sys == ENOTDIR)) {
		e->code = EX_MISFIT;
		err_hint(e, "make it, or if it lies elsewhere on this node, say so with -L OLD=NEW");
	}
	return -1;
}

static int fs_get(struct restore *r, struct rproc *p, const char **cwd, const char **root, struct err *e)
{
	struct rec rec;

	if (rproc_rec(p, "fs", 0, &rec) < 0)
		return err_set(e, EX_BAD_IMAGE, "there is no fs record");
	if (rec_str(&rec, "CWD", cwd, e))
		return -1;
	*root = rec_find(&rec, "ROOT");
	if (*root && proc_untrusted(r)) {
		err_set(e, EX_PERM, "a root directory of its own (%s) is more than the image's owner may have", *root);
		err_hint(e, "restart with --trust if you know where the image comes from");
		return -1;
	}
	return 0;
}

static int fs_verify(struct restore *r, struct rproc *p, struct err *e)
{
	const char *cwd, *root;
	AUTO_FD int c = -1, o = -1;

	if (ns_of(r, p, NSK_MNT))
		return fs_get(r, p, &cwd, &root, e);
	if (fs_get(r, p, &cwd, &root, e) || (c = open_dir(r, "working", cwd, e)) < 0)
		return -1;
	return root && (o = open_dir(r, "root", root, e)) < 0 ? -1 : 0;
}

static int go(struct rproc *p, const char *call, long nr, int fd, const char *path, struct err *e)
{
	char at[64];
	long ret;

	snprintf(at, sizeof at, "/proc/%d/fd/%d", getpid(), fd);
	if (remote_one(p->rem, call, &ret, e, nr, remote_put(p->rem, at, strlen(at) + 1), 0, 0, 0, 0, 0))
		return -1;
	if (!ret)
		return 0;
	errno = (int)-ret;
	return err_sys(e, "%s %s", call, path);
}

static int fs_restore(struct restore *r, struct rproc *p, struct err *e)
{
	const char *cwd, *root;
	AUTO_FD int c = -1, o = -1;

	if (p->born || ns_of(r, p, NSK_MNT))
		return 0; /* ns_enter.c */
	if (fs_get(r, p, &cwd, &root, e) || (c = open_dir(r, "working", cwd, e)) < 0 || go(p, "chdir", SYS_chdir, c, cwd, e))
		return -1;
	/* The root last: /proc may be out of reach behind it. */
	if (root && ((o = open_dir(r, "root", root, e)) < 0 || go(p, "chroot", SYS_chroot, o, root, e)))
		return -1;
	return 0;
}

struct dir_at { struct restore *r; const char *what, *path; };

static int open_at(void *ctx, int *fd, struct err *e)
{
	struct dir_at *a = ctx;

	*fd = open_dir(a->r, a->what, a->path, e);
	return *fd < 0 ? -1 : 0;
}

int fs_open(struct restore *r, struct rproc *p, int *c, int *o, struct err *e)
{
	const struct rns *n = ns_of(r, p, NSK_MNT);
	struct dir_at cwd = { r, "working", NULL }, root = { r, "root", NULL };

	if (fs_get(r, p, &cwd.path, &root.path, e) || ns_open(r, n ? n->id : 0, open_at, &cwd, c, e))
		return -1;
	return root.path ? ns_open(r, n ? n->id : 0, open_at, &root, o, e) : 0;
}

int fs_prepare(struct restore *r, struct err *e)
{
	for (size_t i = 0; i < r->nprocs; i++) {
		struct rproc *p = r->procs[i];
		int cwd = -1, root = -1;

		if (p->zombie || p->helper || !p->pidns || !p->pidns->user)
			continue;
		if (fs_open(r, p, &cwd, &root, e))
			return err_prefix(e, "process %d", p->pid);
		p->cwd_fd = restore_high_fd(r, cwd);
		p->root_fd = root < 0 ? 0 : restore_high_fd(r, root);
		if (p->cwd_fd < 0 || p->root_fd < 0)
			return err_sys(e, "cannot keep a descriptor of a directory");
	}
	return 0;
}

int fs_enter(struct restore *r, struct rproc *p, struct err *e)
{
	(void)r;
	if (p->root_fd) {
		remote_call(p->rem, "fchdir", REMOTE_MUST, SYS_fchdir, (uint64_t)p->root_fd, 0, 0, 0, 0, 0);
		remote_call(p->rem, "chroot", REMOTE_MUST, SYS_chroot, remote_put(p->rem, ".", 2), 0, 0, 0, 0, 0);
	}
	remote_call(p->rem, "fchdir", REMOTE_MUST, SYS_fchdir, (uint64_t)p->cwd_fd, 0, 0, 0, 0, 0);
	return remote_run(p->rem, e);
}

void fs_forget(struct restore *r)
{
	for (size_t i = 0; i < r->nprocs; i++) {
		if (r->procs[i]->cwd_fd > 0)
			close(r->procs[i]->cwd_fd);
		if (r->procs[i]->root_fd > 0)
			close(r->procs[i]->root_fd);
	}
}

const struct res_ops res_fs = {
	.name = "fs",
	.check = fs_check,
	.dump = fs_dump,
	.verify = fs_verify,
	.restore = fs_restore,
};
