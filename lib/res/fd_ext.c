/* fd_ext: see fd_ext.h. Record: TYPE="ext" ... EXTERNAL="1" [STD=n] [TERMIOS= ROWS= COLS=: a terminal in whose foreground the
 * job was; in the background the settings are somebody else's] */
#include "res/fd_ext.h"
#include "res/fd_ops.h"
#include "common/cleanup.h"
#include "common/num.h"
#include "job/terminal.h"

#include <fcntl.h>
#include <linux/kcmp.h>
#include <linux/major.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

static bool proc_holds(pid_t pid, const char *link)
{
	char path[64], to[PATH_MAX];
	AUTO_DIR DIR *dir = NULL;
	struct dirent *de;

	snprintf(path, sizeof path, "/proc/%d/fd", pid);
	dir = opendir(path);
	if (!dir)
		return false;
	while ((de = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), de->d_name, to, sizeof to - 1);
		if (n <= 0)
			continue;
		to[n] = 0;
		if (!strcmp(to, link))
			return true;
	}
	return false;
}

bool ext_held_outside(struct dump *d, const struct dfile *f)
{
	AUTO_DIR DIR *dir = opendir("/proc");
	struct dirent *de;
	pid_t pid;

	while (dir && (de = readdir(dir))) {
		if (de->d_name[0] < '0' || de->d_name[0] > '9')
			continue;
		pid = (pid_t)atoi(de->d_name);
		if (pid != getpid() && !dump_has_pid(d, pid) && proc_holds(pid, f->link))
			return true;
	}
	return false;
}

/* Somebody above the job's supervisor, its starter's shell say, has this very description as stdin, stdout or stderr: offset
 * and content are not the job's alone. The supervisor only passes on what it got. */
bool ext_shared_above(struct dump *d, const struct dfile *f)
{
	struct proc_stat st;
	pid_t pid = d->above;

	if (!f->std)
		return false;
	for (int depth = 0; depth < 64 && pid > 0; depth++) {
		for (int fd = 0; fd < 3; fd++)
			if (!syscall(SYS_kcmp, f->p->pid, pid, KCMP_FILE, f->fd, fd))
				return true;
		pid = proc_stat_read(&st, pid, 0, NULL) ? 0 : st.ppid;
	}
	return false;
}

static bool proc_has_inode(pid_t pid, const struct stat *want)
{
	char path[64];
	AUTO_DIR DIR *dir = NULL;
	struct dirent *de;
	struct stat st;

	snprintf(path, sizeof path, "/proc/%d/fd", pid);
	dir = opendir(path);
	while (dir && (de = readdir(dir)))
		if (de->d_name[0] != '.' && !fstatat(dirfd(dir), de->d_name, &st, 0) && st.st_ino == want->st_ino &&
		    st.st_dev == want->st_dev)
			return true;
	return false;
}

bool ext_inode_in_use(const struct stat *want)
{
	AUTO_DIR DIR *dir = opendir("/proc");
	struct dirent *de;

	while (dir && (de = readdir(dir)))
		if (de->d_name[0] >= '0' && de->d_name[0] <= '9' && atoi(de->d_name) != getpid() &&
		    proc_has_inode((pid_t)atoi(de->d_name), want))
			return true;
	return false;
}

/* A terminal: pts slaves and consoles whose master is not in the job (fd_tty comes first in the table and takes
 * the others), /dev/tty itself, and sockets that are only somebody's stdio (fd_unix takes its own before). */
static bool ext_match(const struct dfile *f)
{
	unsigned ma = major(f->st.st_rdev);

	if (f->flags & O_PATH)
		return false;
	if (S_ISSOCK(f->st.st_mode))
		return f->std != 0;
	return S_ISCHR(f->st.st_mode) && (ma == 4 || ma == 5 || (ma >= 136 && ma <= 143));
}

void ext_dump(struct dump *d, const struct dfile *f)
{
	rec_put_u64(&d->files_out, "EXTERNAL", 1);
	for (int i = 0; i < 3; i++)
		if (f->std & (1u << i)) {
			rec_put_u64(&d->files_out, "STD", (uint64_t)i);
			break;
		}
}

static void terminal_dump(struct dump *d, const struct dfile *f)
{
	struct buf *b = &d->files_out;
	unsigned number = S_ISCHR(f->st.st_mode) ? terminal_number(f->lfd) : 0;
	struct terminal_look l;

	for (size_t i = 0; number && i < d->nprocs; i++) {
		const struct proc_stat *st = &d->procs[i]->stat;

		if ((unsigned)st->tty_nr != number || st->tpgid <= 0 || st->tpgid != st->pgrp || !terminal_look(f->lfd, &l))
			continue;
		rec_put_bin(b, "TERMIOS", l.settings, sizeof l.settings);
		rec_put_u64(b, "ROWS", l.rows);
		rec_put_u64(b, "COLS", l.cols);
		return;
	}
}

static int ext_dump_op(struct dump *d, struct dfile *f, struct err *e)
{
	ext_dump(d, f);
	terminal_dump(d, f);
	return 0;
}

static bool is_terminal(const char *path)
{
	return path && (!strncmp(path, "/dev/pts/", 9) || !strncmp(path, "/dev/tty", 8) || !strcmp(path, "/dev/console"));
}

/* Who has it, for a message: "pid 12: fd 5". */
static const char *holder(const struct restore *r, const struct rfile *f, char *out, size_t n)
{
	snprintf(out, n, "file %u", f->id);
	for (size_t i = 0; i < r->nprocs; i++)
		for (size_t k = 0; k < r->procs[i]->nfds; k++)
			if (r->procs[i]->fds[k].file == f->id) {
				snprintf(out, n, "pid %d: fd %d", r->procs[i]->pid, r->procs[i]->fds[k].fd);
				return out;
			}
	return out;
}

/* How the job had its terminal, when it has come to be a terminal again. */
static int terminal_note(struct restore *r, const struct rfile *f, struct err *e)
{
	struct terminal_look l = { .have = true };
	uint64_t rows, cols;
	size_t n;

	if (!rec_find(&f->rec, "TERMIOS"))
		return 0;
	if (rec_bin(&f->rec, "TERMIOS", l.settings, sizeof l.settings, sizeof l.settings, &n, e) ||
	    rec_u64(&f->rec, "ROWS", UINT16_MAX, &rows, e) || rec_u64(&f->rec, "COLS", UINT16_MAX, &cols, e))
		return -1;
	l.rows = (unsigned short)rows;
	l.cols = (unsigned short)cols;
	if (!r->terminal_number && (r->terminal_number = terminal_number(f->fd)))
		r->terminal = l;
	return 0;
}

/* The name of a terminal in /dev; pseudo terminals have none in sysfs. */
static bool terminal_name(unsigned number, char *out, size_t n)
{
	unsigned ma = number >> 8 & 0xfff, mi = (number & 0xff) | (number >> 12 & 0xfff00);
	char path[64], to[PATH_MAX], *base;
	ssize_t len;

	if (ma == UNIX98_PTY_SLAVE_MAJOR)
		return snprintf(out, n, "/dev/pts/%u", mi) > 0;
	snprintf(path, sizeof path, "/sys/dev/char/%u:%u", ma, mi);
	len = readlink(path, to, sizeof to - 1);
	to[len < 0 ? 0 : len] = 0;
	base = strrchr(to, '/');
	return base && (size_t)snprintf(out, n, "/dev%s", base) < n;
}

/* Programs ask for the name (ttyname(3)), and change the owner of what has that name: it must be /dev/tty only where it was. Who
 * may not open the terminal by its name (after su(1)) has it as stdio. */
static int open_by_name(const struct restore *r, unsigned number, int flags)
{
	char path[64];
	pid_t sid;
	int fd = terminal_name(number, path, sizeof path) ? open(path, flags) : -1;

	if (fd >= 0 && terminal_number(fd) == number && !ioctl(fd, TIOCGSID, &sid))
		return fd;
	cleanup_fd(&fd);
	for (int i = 0; i < 3; i++) {
		int std = r->o->std[i], have = std < 0 ? -1 : fcntl(std, F_GETFL);

		if (have >= 0 && terminal_number(std) == number && ((have & O_ACCMODE) == O_RDWR || (have & O_ACCMODE) == (flags & O_ACCMODE)))
			return fcntl(std, F_DUPFD_CLOEXEC, 3);
	}
	return -1;
}

/* With -t every terminal, without it one that is no stdio, becomes the one that the restart runs on. */
static int open_terminal(const struct restore *r, struct rfile *f, const char *path, uint64_t flags, struct err *e)
{
	const int how = ((int)flags & (O_ACCMODE | O_NONBLOCK)) | O_CLOEXEC | O_NOCTTY;
	char who[48];
	AUTO_FD int tty = open("/dev/tty", how);

	if (tty >= 0) {
		f->fd = strcmp(path, "/dev/tty") ? open_by_name(r, terminal_number(tty), how) : -1;
		if (f->fd < 0)
			f->fd = take_fd(&tty);
		return 0;
	}
	if (errno != ENXIO)
		return err_sys(e, "%s: cannot open /dev/tty", holder(r, f, who, sizeof who));
	err_set(e, EX_MISFIT, "%s: %s was a terminal, and the restart has none", holder(r, f, who, sizeof who), path);
	err_hint(e, "run xrestart on a terminal and not with -d, or say what to connect it to with -S %u=PATH", f->id);
	return -1;
}

static int connect_outside(struct restore *r, struct rfile *f, struct err *e)
{
	char id[16], who[48];
	const char *to, *path = rec_find(&f->rec, "PATH");
	uint64_t std, flags, fd;

	if (rec_u64(&f->rec, "FLAGS", UINT32_MAX, &flags, e) || rec_u64_or(&f->rec, "STD", 2, 3, &std, e))
		return -1;
	snprintf(id, sizeof id, "%u", f->id);
	to = restore_subst(r, id);
	if (!to && path)
		to = restore_subst(r, path);
	if (to && !strncmp(to, "fd:", 3)) {
		if (num_u64(to + 3, INT_MAX, &fd))
			return err_set(e, EX_USAGE_, "-S %s=%s: not a descriptor number", id, to);
		f->fd = fcntl((int)fd, F_DUPFD_CLOEXEC, 3);
		return f->fd < 0 ? err_sys(e, "-S %s=%s", id, to) : 0;
	}
	if (to) {
		f->fd = open(to, ((int)flags & (O_ACCMODE | O_APPEND | O_NONBLOCK)) | O_CLOEXEC | O_NOCTTY);
		return f->fd < 0 ? err_sys(e, "-S %s=%s: cannot open it", id, to) : 0;
	}
	if (is_terminal(path) && (std == 3 || r->o->tty))
		return open_terminal(r, f, path, flags, e);
	if (std == 3) {
		err_set(e, EX_MISFIT, "%s: %s led outside the job and is no stdin, stdout or stderr",
			holder(r, f, who, sizeof who), path ? path : "a file");
		err_hint(e, "say what to connect it to with -S %s=PATH or -S %s=fd:N", id, id);
		return -1;
	}
	f->fd = r->o->std[std] >= 0 ? fcntl(r->o->std[std], F_DUPFD_CLOEXEC, 3) : open("/dev/null", O_RDWR | O_CLOEXEC);
	return f->fd < 0 ? err_sys(e, "cannot connect %s", path ? path : "stdio") : 0;
}

int ext_open(struct restore *r, struct rfile *f, struct err *e)
{
	return connect_outside(r, f, e) || terminal_note(r, f, e) ? -1 : 0;
}

const struct fd_ops fd_ext_ops = {
	.type = "ext", .match = ext_match, .dump = ext_dump_op, .open = ext_open,
};
