/* fd_tty: pseudo terminals whose master is in the job, pty(7), ioctl_tty(2).
 *
 * Records: TYPE="pty_master" ... INDEX= TERMIOS= ROWS= COLS= XPIXEL= YPIXEL= [PACKET LOCKED EXCLUSIVE HANGUP="1"] UID= GID=
 *          MODE= [FIXED=settings that are locked] [SESSION=pid FOREGROUND=pgid] [what is on its way: tty_queue.c]
 *          TYPE="pty_slave" ... MASTER=id [EXCLUSIVE="1"], or HUNG_UP="1" and no MASTER: nothing but end of file comes from it
 *
 * The same number N of /dev/pts/N is taken when it is free; else the terminal gets another one. */
#include "res/fd_ops.h"
#include "res/ns_obj.h"
#include "res/tty.h"
#include "common/cleanup.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#define PTMX "/dev/ptmx"
enum { PTY_MAX_INDEX = 1 << 20, PTY_MAX_TRIES = 1024 };
enum { ALWAYS_FITS = 3072, LOCKS_LEN = 36 };  /* bytes of complete lines; struct termios */

int tty_dev_index(unsigned ma, unsigned mi)
{
	return ma >= 136 && ma <= 143 ? (int)((ma - 136) * 256 + mi) : -1;
}

int tty_master_index(const struct dfile *f)
{
	unsigned n;

	if (!S_ISCHR(f->st.st_mode) || f->st.st_rdev != makedev(5, 2) || f->lfd < 0 || ioctl(f->lfd, TIOCGPTN, &n))
		return -1;
	return (int)n;
}

/* /dev/tty is whatever terminal it meant when it was opened: TIOCGDEV tells. */
int tty_slave_index(const struct dfile *f)
{
	unsigned dev;

	if (!S_ISCHR(f->st.st_mode) || (f->flags & O_PATH))
		return -1;
	if (f->st.st_rdev == makedev(5, 0))
		return f->lfd >= 0 && !ioctl(f->lfd, TIOCGDEV, &dev) ? tty_dev_index(major(dev), minor(dev)) : -1;
	return tty_dev_index(major(f->st.st_rdev), minor(f->st.st_rdev));
}

bool tty_hung_up(const struct dfile *f)
{
	unsigned ma = major(f->st.st_rdev);
	struct termios2 t;

	return S_ISCHR(f->st.st_mode) && !(f->flags & O_PATH) && f->lfd >= 0 && (ma == 5 || (ma >= 136 && ma <= 143)) &&
	       ioctl(f->lfd, TCGETS2, &t) < 0 && errno == EIO;
}

/* The devpts that master f is of: a descriptor of the slave as a path only (O_PATH) opens nothing. 0: its place is hidden by now. */
static dev_t devpts_of(const struct dfile *f)
{
	AUTO_FD int at = ioctl(f->lfd, TIOCGPTPEER, O_PATH | O_CLOEXEC);
	struct stat st;

	return at >= 0 && !fstat(at, &st) ? st.st_dev : 0;
}

struct dfile *tty_session_master(struct dump *d, int index, pid_t sid)
{
	pid_t its;

	for (size_t i = 0; i < d->nfiles; i++)
		if (tty_master_index(d->files[i]) == index && !ioctl(d->files[i]->lfd, TIOCGSID, &its) && its == sid)
			return d->files[i];
	return NULL;
}

/* Which devpts /dev/tty led to is told by the session only of who opened it. */
static bool is_pair(const struct dfile *m, const struct dfile *s)
{
	dev_t fs;

	if (s->st.st_rdev == makedev(5, 0))
		return true;
	fs = devpts_of(m);
	return !fs || fs == s->st.st_dev;
}

struct dfile *tty_find_master(struct dump *d, const struct dfile *f)
{
	int index = tty_slave_index(f);
	struct dfile *m = index >= 0 && f->st.st_rdev == makedev(5, 0) ? tty_session_master(d, index, f->p->stat.session) : NULL;

	for (size_t i = 0; index >= 0 && i < d->nfiles && !m; i++)
		if (tty_master_index(d->files[i]) == index && is_pair(d->files[i], f))
			m = d->files[i];
	return m;
}

struct dfile *tty_on_devpts(struct dump *d, const char *number, uint64_t dev)
{
	char text[16];

	for (size_t i = 0; i < d->nfiles; i++) {
		int index = tty_master_index(d->files[i]);

		snprintf(text, sizeof text, "%d", index);
		if (index >= 0 && !d->files[i]->mnt && !strcmp(text, number) && devpts_of(d->files[i]) == makedev(dev >> 32, dev & UINT32_MAX))
			return d->files[i];
	}
	return NULL;
}

struct dfile *tty_find_slave(struct dump *d, const struct dfile *master)
{
	int index = tty_master_index(master);

	for (size_t i = 0; i < d->nfiles; i++)
		if (d->files[i]->lfd >= 0 && tty_slave_index(d->files[i]) == index && !tty_hung_up(d->files[i]) && tty_find_master(d, d->files[i]) == master)
			return d->files[i];
	return NULL;
}

/* ---- master ---- */

static bool ptm_match(const struct dfile *f)
{
	return tty_master_index(f) >= 0;
}

static bool polls(int fd, short what)
{
	struct pollfd pf = { .fd = fd, .events = what };

	return poll(&pf, 1, 0) == 1 && (pf.revents & what);
}

/* Settings that are locked, and that we cannot unlock to look into its queue. */
static bool fixed_for_us(int fd)
{
	static const struct termios2 none;
	struct termios2 t = { 0 };

	return !ioctl(fd, TIOCGLCKTRMIOS, &t) && memcmp(&t, &none, sizeof t) && ioctl(fd, TIOCSLCKTRMIOS, &t);
}

static void queues_check(struct dump *d, struct dfile *f, struct dfile *slave, int n)
{
	struct termios2 t;
	int pending = 0, packet = 0;

	if (ioctl(f->lfd, TCGETS2, &t) || ioctl(f->lfd, TIOCGPKT, &packet))
		return;
	if (packet && polls(f->lfd, POLLPRI))
		refuse_for_now(d, f->p, "fd %d: terminal /dev/pts/%d has a status of packet mode that was not read yet", f->fd, n);
	if (!slave && !polls(f->lfd, POLLHUP))
		refuse_for_now(d, f->p, "fd %d: nobody has opened terminal /dev/pts/%d yet: what was written to it cannot be seen",
			       f->fd, n);
	if (slave && slave->lfd >= 0 && !ioctl(slave->lfd, FIONREAD, &pending) && pending >= ALWAYS_FITS)
		refuse_for_now(d, f->p, "fd %d: terminal /dev/pts/%d has %d bytes of input that were not read yet: %d can be saved",
			       f->fd, n, pending, ALWAYS_FITS - 1);
	if ((t.c_lflag & (ICANON | ECHO | ECHOPRT)) == (ICANON | ECHO | ECHOPRT))
		refuse(d, f->p, "fd %d: terminal /dev/pts/%d with the setting echoprt is not supported", f->fd, n);
	if (fixed_for_us(f->lfd))
		refuse(d, f->p, "fd %d: terminal /dev/pts/%d has locked settings (to be unlocked only with CAP_SYS_ADMIN)", f->fd, n);
}

/* In a mount namespace of its own it is opened again by its path, which must lead to its devpts: one that is opened as /dev/ptmx is of the
 * devpts at pts beside it. */
static void place_check(struct dump *d, struct dfile *f, int n)
{
	char path[PATH_MAX + 64];
	dev_t fs = devpts_of(f);
	struct stat st, pts;
	char *slash;

	if (!f->mnt)
		return;
	if ((size_t)snprintf(path, sizeof path - 4, "/proc/%d/root%s", f->p->pid, f->link) < sizeof path - 4 && !stat(path, &st) && st.st_rdev == makedev(5, 2)) {
		slash = strrchr(path, '/');
		strcpy(slash + 1, "pts");
		if (fs && (st.st_dev == fs || (!stat(path, &pts) && pts.st_dev == fs)))
			return;
	}
	refuse(d, f->p, "fd %d: terminal /dev/pts/%d in a mount namespace of its own, where %s does not lead to it any more", f->fd, n, f->link);
}

static int ptm_check(struct dump *d, struct dfile *f, struct err *e)
{
	int n = tty_master_index(f), ldisc = 0;
	struct dfile *slave = tty_find_slave(d, f);
	pid_t sid;

	if ((!ioctl(f->lfd, TIOCGETD, &ldisc) && ldisc) || (slave && !ioctl(slave->lfd, TIOCGETD, &ldisc) && ldisc))
		return refuse(d, f->p, "fd %d: line discipline %d of terminal /dev/pts/%d is not supported", f->fd, ldisc, n);
	if (!ioctl(f->lfd, TIOCGSID, &sid) && sid > 0 && !dump_has_pid(d, sid))
		refuse(d, f->p, "fd %d: terminal /dev/pts/%d controls session %d, which is not in the job", f->fd, n, sid);
	queues_check(d, f, slave, n);
	place_check(d, f, n);
	return 0;
}

static void session_dump(struct dump *d, struct dfile *f)
{
	struct buf *b = &d->files_out;
	pid_t sid = 0, fg = 0;

	if (ioctl(f->lfd, TIOCGSID, &sid))
		return;
	for (size_t i = 0; i < d->nprocs; i++)
		if (d->procs[i]->tgid == sid)
			rec_put_u64(b, "SESSION", (uint64_t)d->procs[i]->vpid);
	if (ioctl(f->lfd, TIOCGPGRP, &fg) || fg <= 0)
		return;
	for (size_t i = 0; i < d->nprocs; i++)
		if (d->procs[i]->stat.pgrp == fg && d->procs[i]->vpgid > 0) {
			rec_put_u64(b, "FOREGROUND", (uint64_t)d->procs[i]->vpgid);
			return;
		}
}

static void flag_dump(struct dump *d, int fd, unsigned long req, const char *key)
{
	int v = 0;

	if (!ioctl(fd, req, &v) && v)
		rec_put_u64(&d->files_out, key, 1);
}

static void fixed_dump(struct dump *d, int fd)
{
	static const struct termios2 none;
	struct termios2 t = { 0 };

	if (!ioctl(fd, TIOCGLCKTRMIOS, &t) && memcmp(&t, &none, sizeof t))
		rec_put_bin(&d->files_out, "FIXED", &t, LOCKS_LEN);
}

static int ptm_dump(struct dump *d, struct dfile *f, struct err *e)
{
	struct buf *b = &d->files_out;
	const struct tty_queue *q = tty_queue_of(d, f, e);
	int n = tty_master_index(f);
	struct dfile *slave = tty_find_slave(d, f);
	struct termios2 t = { 0 };
	struct winsize w = { 0 };
	struct stat st = f->st;
	char path[96];

	if (!q)
		return -1;
	if (ioctl(f->lfd, TCGETS2, &t) || ioctl(f->lfd, TIOCGWINSZ, &w))
		return err_sys(e, "cannot read the settings of the terminal");
	rec_put_u64(b, "INDEX", (uint64_t)n);
	rec_put_bin(b, "TERMIOS", &t, sizeof t);
	rec_put_u64(b, "ROWS", w.ws_row);
	rec_put_u64(b, "COLS", w.ws_col);
	rec_put_u64(b, "XPIXEL", w.ws_xpixel);
	rec_put_u64(b, "YPIXEL", w.ws_ypixel);
	flag_dump(d, f->lfd, TIOCGPKT, "PACKET");
	flag_dump(d, f->lfd, TIOCGPTLCK, "LOCKED");
	flag_dump(d, f->lfd, TIOCGEXCL, "EXCLUSIVE");
	fixed_dump(d, f->lfd);
	if (polls(f->lfd, POLLHUP))
		rec_put_u64(b, "HANGUP", 1);
	/* Owner and mode are those of the node of the slave. */
	snprintf(path, sizeof path, "/proc/%d/root/dev/pts/%d", f->p->pid, n);
	if (slave && S_ISCHR(slave->st.st_mode) && major(slave->st.st_rdev) != 5)
		st = slave->st;
	else if (stat(path, &st) || tty_dev_index(major(st.st_rdev), minor(st.st_rdev)) != n)
		st = (struct stat){ .st_mode = 0620, .st_uid = f->p->status.uid[1], .st_gid = (gid_t)-1 };
	rec_put_u64(b, "UID", st.st_uid);
	rec_put_i64(b, "GID", (int)st.st_gid);
	rec_put_hex(b, "MODE", st.st_mode & 0777);
	session_dump(d, f);
	tty_queue_encode(b, q);
	return 0;
}

/* ---- slave ---- */

static bool pts_match(const struct dfile *f)
{
	return tty_slave_index(f) >= 0 || tty_hung_up(f);
}

static int pts_check(struct dump *d, struct dfile *f, struct err *e)
{
	bool dead = tty_hung_up(f);

	/* As stdin, stdout or stderr a dead one is replaced like one that lives. */
	if (dead ? !f->std : tty_find_master(d, f) != NULL)
		return f->lfd < 0 ? refuse(d, f->p, "fd %d: terminal %s cannot be looked at", f->fd, f->link) : 0;
	f->ops = &fd_ext_ops;
	return f->ops->check ? f->ops->check(d, f, e) : 0;
}

static int pts_dump(struct dump *d, struct dfile *f, struct err *e)
{
	struct dfile *m = tty_find_master(d, f);

	if (tty_hung_up(f)) {
		rec_put_u64(&d->files_out, "HUNG_UP", 1);
		return 0;
	}
	if (!m)
		return err_set(e, EX_FAILED, "terminal %s has lost its master", f->link);
	rec_put_u64(&d->files_out, "MASTER", m->id);
	flag_dump(d, f->lfd, TIOCGEXCL, "EXCLUSIVE");
	return 0;
}

/* ---- restart ---- */

/* A path from an image is opened only when it is what it must be. */
static int open_ptmx(const char *path)
{
	AUTO_FD int at = open(path, O_PATH | O_CLOEXEC);
	struct stat st;

	if (at < 0 || fstat(at, &st))
		return -1;
	errno = ENODEV;
	return S_ISCHR(st.st_mode) && st.st_rdev == makedev(5, 2) ? open(path, O_RDWR | O_NOCTTY | O_CLOEXEC) : -1;
}

struct opening { const char *path; int want; };

/* A new master, with the wanted number when it is free: the kernel gives the lowest free one. */
static int open_index(void *ctx, int *fd_, struct err *e)
{
	const struct opening *o = ctx;
	int want = o->want;
	AUTO_FREE int *extra = malloc(PTY_MAX_TRIES * sizeof *extra);
	size_t n = 0;
	int got = -1;

	if (!extra)
		return err_set(e, EX_FAILED, "out of memory");
	while (got < 0 && n < PTY_MAX_TRIES) {
		int fd = open_ptmx(o->path);
		unsigned index;

		if (fd < 0 || ioctl(fd, TIOCGPTN, &index)) {
			if (fd >= 0)
				close(fd);
			break;
		}
		extra[n++] = fd;
		if ((int)index == want)
			got = fd;
		else if ((int)index > want)
			break;
	}
	if (got < 0 && n)
		got = extra[0];
	for (size_t i = 0; i < n; i++)
		if (extra[i] != got)
			close(extra[i]);
	*fd_ = got;
	return got < 0 ? err_sys(e, "cannot make a pseudo terminal (%s)", o->path) : 0;
}

static int settings_restore(struct rfile *f, struct err *e)
{
	static const char *const size_keys[] = { "ROWS", "COLS", "XPIXEL", "YPIXEL" };
	struct termios2 t;
	uint64_t v[4];
	size_t n;

	if (rec_bin(&f->rec, "TERMIOS", &t, sizeof t, sizeof t, &n, e))
		return -1;
	for (int i = 0; i < 4; i++)
		if (rec_u64(&f->rec, size_keys[i], UINT16_MAX, &v[i], e))
			return -1;
	struct winsize w = { (unsigned short)v[0], (unsigned short)v[1], (unsigned short)v[2], (unsigned short)v[3] };
	if (ioctl(f->fd, TCSETS2, &t) || ioctl(f->fd, TIOCSWINSZ, &w))
		return err_sys(e, "cannot give a terminal its settings");
	return 0;
}

/* O_CLOEXEC afterwards: TIOCGPTPEER would keep it as a flag of the description, for everybody who has it. */
int tty_peer(int master, int flags)
{
	int fd = ioctl(master, TIOCGPTPEER, flags | O_NOCTTY);

	if (fd >= 0)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	return fd;
}

/* Owner and mode of the node. An ordinary user gets his own anyway. */
static int node_restore(struct rfile *f, int slave, struct err *e)
{
	uint64_t uid, mode;
	int64_t gid;
	struct stat st;

	if (rec_u64(&f->rec, "UID", UINT32_MAX, &uid, e) || rec_i64(&f->rec, "GID", INT32_MIN, UINT32_MAX, &gid, e) ||
	    rec_u64(&f->rec, "MODE", 0777, &mode, e))
		return -1;
	if (fstat(slave, &st))
		return err_sys(e, "cannot stat a terminal");
	if ((st.st_uid != uid || (gid >= 0 && st.st_gid != (gid_t)gid)) && fchown(slave, (uid_t)uid, (gid_t)gid) &&
	    geteuid() == 0)
		return err_sys(e, "cannot give a terminal its owner");
	if ((st.st_mode & 0777) != mode && fchmod(slave, (mode_t)mode))
		return err_sys(e, "cannot give a terminal its mode");
	return 0;
}

static int ptm_open(struct restore *r, struct rfile *f, struct err *e)
{
	AUTO_FD int slave = -1;
	struct tty_queue *q;
	struct opening o = { .path = PTMX };
	uint64_t want, hangup, mnt;
	unsigned got;
	int off = 0;

	if (f->fd >= 0)
		return 0; /* a slave needed it earlier */
	if (rec_u64(&f->rec, "INDEX", PTY_MAX_INDEX, &want, e) || rec_u64_or(&f->rec, "HANGUP", 1, 0, &hangup, e) ||
	    rec_u64_or(&f->rec, "MNT", NS_MAX, 0, &mnt, e) || (mnt && rec_str(&f->rec, "PATH", &o.path, e)))
		return -1;
	q = f->priv = calloc(1, sizeof *q);
	if (!q)
		return err_set(e, EX_FAILED, "out of memory");
	if (tty_queue_decode(&f->rec, q, e))
		return -1;
	o.want = (int)want;
	if (ns_open(r, mnt, open_index, &o, &f->fd, e))
		return -1;
	if (!ioctl(f->fd, TIOCGPTN, &got) && got != want)
		log_verbose("terminal /dev/pts/%d is /dev/pts/%u now: that number is taken", (int)want, got);
	if (ioctl(f->fd, TIOCSPTLCK, &off))
		return err_sys(e, "cannot unlock a terminal");
	/* Opened and closed once, the slave counts as hung up for the reader of the master; never opened, as not
	 * there yet: then it must not be touched. */
	if (hangup) {
		slave = tty_peer(f->fd, O_RDWR);
		if (slave < 0 || node_restore(f, slave, e))
			return slave < 0 ? err_sys(e, "cannot open the slave of a terminal") : -1;
	}
	return settings_restore(f, e) || fd_set_flags(f->fd, &f->rec, e) ? -1 : 0;
}

int tty_open_early(struct restore *r, uint64_t id, struct err *e)
{
	struct rfile *f = id && id <= r->nfiles ? restore_file(r, (uint32_t)id) : NULL;

	if (!f || f->ops != &fd_ptm_ops || rec_find(&f->rec, "MNT"))
		return err_set(e, EX_BAD_IMAGE, "file %llu is no pty_master that others can be told of", (unsigned long long)id);
	if (f->fd >= 0)
		return 0;
	if (ptm_open(r, f, e))
		return err_prefix(e, "file %u", f->id);
	f->fd = restore_high_fd(r, f->fd);
	return f->fd < 0 ? err_sys(e, "cannot keep a terminal") : 0;
}

int tty_number(struct restore *r, uint64_t id)
{
	const struct rfile *f = restore_file(r, (uint32_t)id);
	unsigned n;

	return f && f->fd >= 0 && !ioctl(f->fd, TIOCGPTN, &n) ? (int)n : -1;
}

static struct rfile *master_of(struct restore *r, const struct rfile *f, struct err *e)
{
	struct rfile *m;
	uint64_t id;

	if (rec_u64(&f->rec, "MASTER", r->nfiles, &id, e))
		return NULL;
	m = restore_file(r, (uint32_t)id);
	if (m && m->ops == &fd_ptm_ops)
		return m;
	err_set(e, EX_BAD_IMAGE, "line %zu: MASTER is no pty_master", f->rec.line);
	return NULL;
}

/* Who closes the master hangs up the slave, for ever. */
static int hung_up_open(struct rfile *f, uint64_t flags, struct err *e)
{
	AUTO_FD int m = open(PTMX, O_RDWR | O_NOCTTY | O_CLOEXEC);
	int off = 0;

	if (m < 0 || ioctl(m, TIOCSPTLCK, &off) || (f->fd = tty_peer(m, (int)flags & (O_ACCMODE | O_NONBLOCK))) < 0)
		return err_sys(e, "cannot make a pseudo terminal (/dev/ptmx)");
	return fd_set_flags(f->fd, &f->rec, e);
}

static int pts_open(struct restore *r, struct rfile *f, struct err *e)
{
	uint64_t flags, dead;
	struct rfile *m;

	if (rec_u64(&f->rec, "FLAGS", UINT32_MAX, &flags, e) || rec_u64_or(&f->rec, "HUNG_UP", 1, 0, &dead, e))
		return -1;
	if (dead)
		return hung_up_open(f, flags, e);
	m = master_of(r, f, e);
	if (!m || ptm_open(r, m, e))
		return -1;
	f->fd = tty_peer(m->fd, (int)flags & (O_ACCMODE | O_NONBLOCK));
	if (f->fd < 0)
		return err_sys(e, "cannot open the slave of a terminal");
	return node_restore(m, f->fd, e) || fd_set_flags(f->fd, &f->rec, e) ? -1 : 0;
}

/* What is on its way. Once, before the slave may become exclusive. */
static int fill(struct rfile *f, struct err *e)
{
	AUTO_FREE struct tty_queue *q = f->priv;
	AUTO_FD int slave = -1;
	struct tty_pair p = { .m = f->fd };
	size_t n;

	f->priv = NULL;
	if (!q || !tty_queue_any(q))
		return 0;
	if (rec_bin(&f->rec, "TERMIOS", &p.job, sizeof p.job, sizeof p.job, &n, e))
		return -1;
	p.s = slave = tty_peer(f->fd, O_RDWR | O_NONBLOCK);
	return slave < 0 || tty_put(&p, q) ? err_sys(e, "cannot put back what waited in a terminal") : 0;
}

static int ptm_late(struct restore *r, struct rfile *f, struct err *e)
{
	struct termios2 fixed = { 0 };
	uint64_t locked, packet, exclusive;
	size_t n;
	int on = 1;

	if (fill(f, e) || rec_u64_or(&f->rec, "LOCKED", 1, 0, &locked, e) || rec_u64_or(&f->rec, "PACKET", 1, 0, &packet, e) ||
	    rec_u64_or(&f->rec, "EXCLUSIVE", 1, 0, &exclusive, e))
		return -1;
	if (rec_find(&f->rec, "FIXED")) {
		if (rec_bin(&f->rec, "FIXED", &fixed, LOCKS_LEN, LOCKS_LEN, &n, e))
			return -1;
		if (ioctl(f->fd, TIOCSLCKTRMIOS, &fixed))
			return err_sys(e, "cannot lock the settings of a terminal");
	}
	if ((locked && ioctl(f->fd, TIOCSPTLCK, &on)) || (packet && ioctl(f->fd, TIOCPKT, &on)) || (exclusive && ioctl(f->fd, TIOCEXCL)))
		return err_sys(e, "cannot lock a terminal, or set packet mode");
	return 0;
}

/* When everybody has opened it: an exclusive terminal cannot be opened again. */
static int pts_late(struct restore *r, struct rfile *f, struct err *e)
{
	struct rfile *m;

	if (!rec_find(&f->rec, "EXCLUSIVE") || rec_find(&f->rec, "HUNG_UP"))
		return 0;
	m = master_of(r, f, e);
	if (!m || fill(m, e))
		return -1;
	return ioctl(f->fd, TIOCEXCL) ? err_sys(e, "cannot make a terminal exclusive") : 0;
}

const struct fd_ops fd_ptm_ops = {
	.type = "pty_master", .match = ptm_match, .check = ptm_check, .dump = ptm_dump, .open = ptm_open, .goes_itself = true, .late = ptm_late,
};
const struct fd_ops fd_pts_ops = {
	.type = "pty_slave", .match = pts_match, .check = pts_check, .dump = pts_dump, .open = pts_open, .goes_itself = true, .late = pts_late,
};
