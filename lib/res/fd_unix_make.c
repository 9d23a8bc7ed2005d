/* fd_unix_make: sockets and connections made anew.
 *
 * A name that only shows (of an accepted socket, of one whose file was removed) is bound in a tmpfs that is
 * mounted nowhere: whatever lies at that path is not touched. What SO_PEERCRED shows is fixed by who calls socketpair, listen or
 * connect: a child that has that PID and those ids for a moment does it, where we may; it shares our descriptors. The kernel
 * keeps the number of a PID, so this is also true of who has gone. Without the right (a user's image restarted by root,
 * other ids than one's own) it shows the restart instead, as supplementary groups (SO_PEERGROUPS) always do. */
#include "res/fd_unix.h"
#include "res/mntns.h"
#include "res/ns_obj.h"
#include "res/borrow.h"
#include "res/sock_diag.h"
#include "common/cleanup.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

enum { FSCONFIG_CREATE = 6, FSFLAG_CLOEXEC = 1 };

/* What the child does, in this order. */
struct act {
	const struct usock *bind;              /* with fd: gives it that name; NULL: none */
	bool private;                          /* in the tmpfs, and the file removed */
	const char *base, *root;               /* relocated; NULL: none */
	int mnt;                               /* mount namespace of its file, -1: ours */
	int fd, path_fd;                       /* path_fd: a number that is ours; gets the file, O_PATH */
	int listen;                            /* backlog, -1: no */
	const struct usock *connect;           /* with fd: to this one */
	int (*pair)[2]; size_t npairs;         /* numbers that are ours, for socketpairs */
	const int *types;
	struct unix_creds as;
};

/* The mount that private names are in, kept for one restart. A child makes it, which is root again where we act as a user. */
static int scratch = -1;
static bool mounted;

static int mount_scratch(void)
{
	int fs = (int)syscall(SYS_fsopen, "tmpfs", FSFLAG_CLOEXEC), m = -1;

	if (fs >= 0 && !syscall(SYS_fsconfig, fs, FSCONFIG_CREATE, NULL, NULL, 0))
		m = (int)syscall(SYS_fsmount, fs, FSFLAG_CLOEXEC, 0);
	if (m < 0 || dup3(m, scratch, O_CLOEXEC) < 0)
		return errno;
	close(m);
	close(fs);
	return 0;
}

void unix_make_end(void)
{
	if (scratch >= 0)
		close(scratch);
	scratch = -1;
	mounted = false;
}

static socklen_t address_of(const struct unix_name *n, struct sockaddr_un *a)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(a->sun_path, n->v, n->n);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n->n + (n->v[0] && n->n < UNIX_NAME_MAX));
}

unsigned unix_address(const struct usock *u, struct sockaddr_un *a)
{
	if (u->name.n && !u->name.v[0])
		return address_of(&u->name, a);
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(a->sun_path, sizeof a->sun_path, "/proc/self/fd/%d", u->path_fd);
	return sizeof *a;
}

static void text_of(const struct unix_name *n, char out[UNIX_NAME_MAX + 1])
{
	memcpy(out, n->v, n->n);
	out[n->n] = 0;
}

/* ---- in the child: errno, or 0 ---- */

static int enter_scratch(const char *path)
{
	char dir[UNIX_NAME_MAX + 1];
	int rc;

	if (!getuid() && geteuid() && seteuid(0))
		return errno;
	if (!mounted && (rc = mount_scratch()))
		return rc;
	if (fchdir(scratch) || chroot("."))
		return errno;
	for (const char *c = strchr(path + 1, '/'); c; c = strchr(c + 1, '/')) {
		memcpy(dir, path, (size_t)(c - path));
		dir[c - path] = 0;
		if (mkdir(dir, 0777) && errno != EEXIST)
			return errno;
	}
	return 0;
}

/* What lies at the place of the socket's file is removed when it is a dead socket of the same user. A datagram socket that
 * connects tells whether somebody is there, of whatever type, and is not noticed. */
static int make_way(const struct usock *u, const char *path)
{
	struct sockaddr_un a;
	struct stat st;
	socklen_t n = address_of(&u->name, &a);
	AUTO_FD int probe = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (lstat(path, &st))
		return errno == ENOENT ? 0 : errno;
	if (!S_ISSOCK(st.st_mode) || st.st_uid != u->file_uid || probe < 0)
		return EADDRINUSE;
	if (!connect(probe, (struct sockaddr *)&a, n) || errno != ECONNREFUSED)
		return EADDRINUSE;
	return unlink(path) ? errno : 0;
}

/* The times of what lay there and of its directory: in a file system that the restart made they are to be as they were. */
struct times { char dir[UNIX_NAME_MAX + 1]; struct stat file, parent; bool known; };

static void times_read(struct times *t, const char *path)
{
	const char *slash = strrchr(path, '/');

	snprintf(t->dir, sizeof t->dir, "%.*s", slash ? (int)(slash - path + 1) : 1, slash ? path : ".");
	t->known = !lstat(path, &t->file) && !stat(t->dir, &t->parent);
}

static void times_put_back(const struct times *t, const char *path)
{
	struct timespec file[2] = { t->file.st_atim, t->file.st_mtim }, parent[2] = { t->parent.st_atim, t->parent.st_mtim };

	if (t->known && !utimensat(AT_FDCWD, path, file, AT_SYMLINK_NOFOLLOW))
		utimensat(AT_FDCWD, t->dir, parent, 0);
}

/* The tree is not at its place yet: mntns.h. */
static int enter_mounts(int fd)
{
	return setns(fd, CLONE_NEWNS) || chroot(MNTNS_NEW) || chdir("/") ? errno : 0;
}

static int bind_file(const struct act *a, const struct usock *u)
{
	char path[UNIX_NAME_MAX + 1];
	struct sockaddr_un un;
	socklen_t n = address_of(&u->name, &un);
	struct times t = { .known = false };
	uid_t euid = geteuid();
	int rc, fd;

	text_of(&u->name, path);
	umask(0);
	if (a->mnt >= 0 && (rc = enter_mounts(a->mnt)))
		return rc;
	if (a->private ? (rc = enter_scratch(path)) : (a->root && chroot(a->root)) || (a->base && chdir(a->base)) ? (rc = errno) : 0)
		return rc;
	if (a->mnt >= 0)
		times_read(&t, path);
	if (!a->private && (rc = make_way(u, path)))
		return rc;
	/* The file gets the mode that the socket itself has. */
	if (fchmod(a->fd, a->private ? 0777 : u->file_mode) || bind(a->fd, (struct sockaddr *)&un, n))
		return errno;
	if (!a->private && (geteuid() != u->file_uid || getegid() != u->file_gid) && lchown(path, u->file_uid, u->file_gid) &&
	    geteuid() != u->file_uid)
		return errno;
	fd = open(path, O_PATH | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || dup3(fd, a->path_fd, O_CLOEXEC) < 0)
		return errno;
	close(fd);
	times_put_back(&t, path);
	if (a->private && unlink(path))
		return errno;
	return geteuid() != euid && seteuid(euid) ? errno : 0;
}

/* Best effort: see the head. */
static void take_ids(const struct unix_creds *c)
{
	if (!c->known || geteuid() != getuid())
		return;
	if (getegid() != c->gid && (setgroups(0, NULL) || setresgid(c->gid, c->gid, c->gid)))
		return;
	if (geteuid() != c->uid)
		(void)!setresuid(c->uid, c->uid, c->uid);
}

static int make_pairs(const struct act *a)
{
	int p[2];

	for (size_t i = 0; i < a->npairs; i++) {
		if (socketpair(AF_UNIX, a->types[i] | SOCK_CLOEXEC, 0, p))
			return errno;
		for (int k = 0; k < 2; k++)
			if (dup3(p[k], a->pair[i][k], O_CLOEXEC) < 0 || close(p[k]))
				return errno;
	}
	return 0;
}

static int act_run(const struct act *a)
{
	struct sockaddr_un un;
	int rc;

	/* A pair is where it is made. */
	if (a->npairs && sock_enter())
		return errno;
	if (a->bind && a->bind->name.v[0]) {
		rc = bind_file(a, a->bind);
		if (rc)
			return rc;
	} else if (a->bind) {
		socklen_t n = address_of(&a->bind->name, &un);
		if (bind(a->fd, (struct sockaddr *)&un, n))
			return errno;
	}
	take_ids(&a->as);
	if (a->listen >= 0 && listen(a->fd, a->listen))
		return errno;
	if (a->connect) {
		unsigned n = unix_address(a->connect, &un);
		if (connect(a->fd, (struct sockaddr *)&un, n))
			return errno;
	}
	return make_pairs(a);
}

/* ---- in the restorer ---- */

static pid_t child(pid_t pid)
{
	struct clone_args a = { .flags = CLONE_FILES, .set_tid = (uintptr_t)&pid, .set_tid_size = pid > 1 ? 1 : 0 };

	if (pid <= 1)
		a.set_tid = 0;
	return (pid_t)syscall(SYS_clone3, &a, sizeof a);
}

static int wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, __WALL) < 0)
		if (errno != EINTR)
			return errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
}

/* In a child while we act as a user: only root may choose a PID. */
static int act_as_root(const struct act *a)
{
	uid_t euid = geteuid();
	pid_t pid = seteuid(0) ? -1 : child(a->as.pid);

	if (seteuid(euid))
		return errno;
	return pid > 0 ? wait_for(pid) : act_run(a);
}

/* errno of the step that failed, or 0. */
static int act(const struct act *a)
{
	bool borrowed = !getuid() && geteuid();
	pid_t pid = child(a->as.known && !borrowed ? a->as.pid : 0);

	if (pid < 0) /* not allowed, or the number is in use */
		pid = child(0);
	if (pid < 0)
		return errno;
	if (!pid)
		_exit(borrowed && a->as.known && a->as.pid > 1 ? act_as_root(a) : act_run(a));
	return wait_for(pid);
}

static int name_error(const struct usock *u, int rc, struct err *e)
{
	char text[UNIX_NAME_MAX + 2];

	errno = rc;
	err_sys(e, "unix socket %s", unix_text(&u->name, text, sizeof text));
	if (e && rc == EADDRINUSE) {
		e->code = EX_BUSY;
		err_hint(e, "somebody else uses this name");
	} else if (e && (rc == ENOENT || rc == ENOTDIR)) {
		e->code = EX_MISFIT;
		err_hint(e, "if its directory lies elsewhere on this node, say so with -L OLD=NEW");
	}
	return -1;
}

/* A descriptor whose number a child may use for something else. */
static int slot(void) { return open("/", O_PATH | O_CLOEXEC); }

/* An absolute name after -L; others are found from their directory, or in their root, which -L may move. */
static int relocate(struct restore *r, struct usock *u, char *base, char *root, struct err *e)
{
	char path[UNIX_NAME_MAX + 1], to[PATH_MAX];

	if (u->root && restore_path(r, u->root, root, e))
		return -1;
	if (u->base && restore_path(r, u->base, base, e))
		return -1;
	if (u->root || u->base || u->name.v[0] != '/')
		return 0;
	text_of(&u->name, path);
	if (strstr(path, "/..") || restore_path(r, path, to, e))
		return err_is_set(e) ? -1 : 0;
	if (strlen(to) >= UNIX_NAME_MAX)
		return err_set(e, EX_MISFIT, "%s is too long for the name of a socket", to);
	u->name.n = (unsigned)strlen(to);
	memcpy(u->name.v, to, u->name.n);
	return 0;
}

/* Remembers a file that was not there before, for a restart that fails. */
static void note_fresh(struct usock *u, const char *base, const char *root, bool before)
{
	char name[UNIX_NAME_MAX + 1], path[2 * PATH_MAX + UNIX_NAME_MAX];
	struct stat st;

	text_of(&u->name, name);
	snprintf(path, sizeof path, "%s%s%s", base ? base : root ? root : "", base ? "/" : "", name);
	if (before)
		u->fresh = lstat(path, &st) && errno == ENOENT ? strdup(path) : NULL;
	else if (u->fresh)
		u->fresh_ino = lstat(path, &st) ? 0 : st.st_ino;
}

void unix_forget(struct restore *r)
{
	for (size_t i = 0; i < r->nfiles; i++) {
		struct usock *u = unix_of(r, (uint32_t)i + 1);
		struct borrow b;
		struct stat st;

		if (!u || !u->fresh)
			continue;
		if (!r->done && u->fresh_ino && !borrow_begin(&b, r, NULL)) {
			if (!lstat(u->fresh, &st) && st.st_ino == u->fresh_ino && S_ISSOCK(st.st_mode))
				unlink(u->fresh);
			borrow_end(&b, NULL);
		}
		free(u->fresh);
		u->fresh = NULL;
	}
}

static int give_name(struct restore *r, struct usock *u, int fd, int backlog, const struct unix_creds *as, struct err *e)
{
	char base[PATH_MAX], root[PATH_MAX];
	struct act a = { .fd = fd, .path_fd = -1, .mnt = -1, .listen = backlog };
	struct rns *ns = ns_find(r, u->file_mnt, NSK_MNT);
	int rc;

	if (as)
		a.as = *as;
	if (u->name.n) {
		a.bind = u;
		a.private = !u->has_file || r->check_only;
		if (u->name.v[0]) {
			u->path_fd = slot();
			if (u->path_fd < 0)
				return err_sys(e, "too many descriptors");
			a.path_fd = u->path_fd;
			if (a.private && scratch < 0 && (scratch = slot()) < 0)
				return err_sys(e, "too many descriptors");
			if (!a.private && ns) {
				a.mnt = ns->fd;
				a.base = u->base;
				a.root = u->root;
			} else {
				if (!a.private && relocate(r, u, base, root, e))
					return -1;
				a.base = u->base ? base : NULL;
				a.root = u->root ? root : NULL;
			}
			if (!a.private && !ns)
				note_fresh(u, a.base, a.root, true);
		}
	} else if (backlog < 0) {
		return 0;
	}
	/* An abstract name alone needs nobody else. */
	rc = !u->name.v[0] && !a.as.known && backlog < 0 ? act_run(&a) : act(&a);
	if (!rc && u->fresh)
		note_fresh(u, a.base, a.root, false);
	mounted |= !rc && a.private && u->name.n && u->name.v[0];
	return rc ? name_error(u, rc, e) : 0;
}

int unix_make(struct restore *r, struct usock *u, int *fd, struct err *e)
{
	*fd = sock_make(AF_UNIX, u->type | SOCK_CLOEXEC, 0);
	if (*fd < 0)
		return err_sys(e, "cannot make a unix socket");
	return give_name(r, u, *fd, u->listening ? u->backlog : -1, &u->peer, e);
}

int unix_connect(int fd, const struct usock *u, const struct unix_creds *as, struct err *e)
{
	struct act a = { .fd = fd, .listen = -1, .connect = u };
	int rc;

	if (as)
		a.as = *as;
	rc = a.as.known ? act(&a) : act_run(&a);
	return rc ? name_error(u, rc, e) : 0;
}

int unix_make_unnamed(int (*fd)[2], const int *types, size_t n, const struct unix_creds *as, struct err *e)
{
	struct act x = { .fd = -1, .listen = -1, .pair = fd, .npairs = n, .types = types, .as = *as };
	int rc;

	for (size_t i = 0; i < n; i++) {
		fd[i][0] = slot();
		fd[i][1] = slot();
		if (fd[i][0] < 0 || fd[i][1] < 0)
			return err_sys(e, "too many descriptors");
	}
	rc = as->known || sock_elsewhere() ? act(&x) : act_run(&x);
	errno = rc;
	return rc ? err_sys(e, "cannot make a pair of unix sockets") : 0;
}

/* s was accepted: it has its name from one that listens only for this. */
static int make_accepted(struct restore *r, struct usock *s, struct usock *c, int *sfd, int *cfd, struct err *e)
{
	AUTO_FD int l = sock_make(AF_UNIX, s->type | SOCK_CLOEXEC, 0);
	int rc;

	*cfd = sock_make(AF_UNIX, c->type | SOCK_CLOEXEC, 0);
	if (l < 0 || *cfd < 0)
		return err_sys(e, "cannot make a unix socket");
	rc = give_name(r, s, l, 1, &c->peer, e) || give_name(r, c, *cfd, -1, NULL, e) || unix_connect(*cfd, s, &s->peer, e) ? -1 : 0;
	if (!rc) {
		*sfd = accept4(l, NULL, NULL, SOCK_CLOEXEC);
		rc = *sfd < 0 ? err_sys(e, "cannot accept a connection of our own") : 0;
	}
	for (int i = 0; i < 2; i++) {
		struct usock *u = i ? c : s;
		if (u->path_fd >= 0)
			close(u->path_fd);
		u->path_fd = -1;
	}
	return rc;
}

int unix_make_pair(struct restore *r, struct usock *a, struct usock *b, int fd[2], struct err *e)
{
	fd[0] = fd[1] = -1;
	if (a->type != SOCK_DGRAM && (a->name.n || b->name.n)) {
		bool first = a->server || (!b->server && a->name.n);
		return first ? make_accepted(r, a, b, &fd[0], &fd[1], e) : make_accepted(r, b, a, &fd[1], &fd[0], e);
	}
	if (unix_make_unnamed((int (*)[2])fd, &a->type, 1, &a->peer, e))
		return -1;
	return give_name(r, a, fd[0], -1, NULL, e) || give_name(r, b, fd[1], -1, NULL, e) ? -1 : 0;
}
