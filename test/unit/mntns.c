/* Mount namespaces: each that a script makes is saved and built again, and what is built must be saved as the very same records and content. As root,
 * and as an ordinary user in user namespaces of his own. Then what a hostile image may say. */
#include "common/cleanup.h"
#include "res/mntns.h"
#include "res/mntns_int.h"
#include "res/dump_raw.h"
#include "res/ns_obj.h"
#include "unit.h"

#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* OVERLAY: the kernel changes times in the work directory itself. */
enum { ROOT = 1, USER = 2, BOTH = 3, OVERLAY = 4, NOBODY = 65534 };

#define FILES "cd $T && mkdir -p d/e d/0 && echo one >d/a && ln d/a d/e/b && ln -s ../a d/e/l && mkfifo -m 640 d/f && chmod 750 d/e && " \
	"truncate -s 3000000 d/hole && printf x | dd of=d/hole bs=1 seek=1500000 conv=notrunc status=none && touch -d 2001-02-03T04:05:06.789 d/a && " \
	"printf x >\"d/$(printf \"n\\\\nl\") \\\"q\\\" \\$x ä\" && chmod 000 d/0 && cd /; "

static const struct scenario { const char *name; int who; const char *how; } scenarios[] = {
	{ "a plain copy", ROOT, "unshare -m sh -c 'echo ready; exec sleep 1000'" },
	{ "tmpfs with files", ROOT, "unshare -m sh -c 'T=/mnt; mount -t tmpfs -o size=8m,nr_inodes=500,mode=700 stuff /mnt; " FILES "chown 12:34 /mnt/d/a; echo ready; exec sleep 1000'" },
	{ "tmpfs on tmpfs, hidden content", ROOT, "unshare -m sh -c 'mount -t tmpfs one /mnt; echo 1 >/mnt/one; mkdir -p /mnt/x/y; echo below >/mnt/x/below; mount -t tmpfs two /mnt/x; echo 2 >/mnt/x/two; "
	  "mount -t tmpfs three /mnt; echo 3 >/mnt/three; echo ready; exec sleep 1000'" },
	{ "binds of files, options", ROOT, "unshare -m sh -c 'mount -t tmpfs -o nosuid,nodev,noexec,noatime t /mnt; touch /mnt/p /mnt/n; mkdir /mnt/u /mnt/s; mount --bind /etc/passwd /mnt/p; "
	  "mount --bind /dev/null /mnt/n; mount --bind /usr /mnt/u; mount -o remount,bind,ro,nosuid /mnt/u; mount --bind /mnt/u /mnt/s; echo x >/mnt/x; mount -o remount,ro,size=1m /mnt; echo ready; exec sleep 1000'" },
	{ "parts of one tmpfs, the rest unseen", ROOT, "unshare -m sh -c 'mount -t tmpfs t /mnt; mkdir -p /mnt/a/b /mnt/c; echo 1 >/mnt/a/b/f; echo 2 >/mnt/c/f; mount --bind /mnt/a/b /srv; mount --bind /mnt/c /opt; "
	  "umount /mnt; echo ready; exec sleep 1000'" },
	{ "shared, slaves, unbindable", ROOT, "unshare -m sh -c 'mount -t tmpfs t /mnt; mkdir /mnt/a /mnt/b /mnt/c /mnt/d; mount -t tmpfs a /mnt/a; mount --make-shared /mnt/a; mount --bind /mnt/a /mnt/b; "
	  "mount --bind /mnt/a /mnt/c; mount --make-slave /mnt/c; mount --make-shared /mnt/c; mount --bind /mnt/c /mnt/d; mkdir /mnt/a/x; mount -t tmpfs x /mnt/a/x; echo x >/mnt/a/x/f; mkdir /mnt/e; mount -t tmpfs e /mnt/e; "
	  "mount --make-unbindable /mnt/e; echo ready; exec sleep 1000'" },
	{ "a root of its own", ROOT, "unshare -m sh -c 'mount -t tmpfs r /mnt; cd /mnt; mkdir usr proc old tmp; ln -s usr/bin bin; ln -s usr/lib lib; ln -s usr/lib64 lib64; mount --bind /usr usr; mount -t proc p proc; "
	  "pivot_root . old; umount -l old; rmdir old; echo ready; exec sleep 1000'" },
	{ "unmounted things of the machine", ROOT, "unshare -m sh -c 'umount -l /sys; umount -l /dev/pts; echo ready; exec sleep 1000'" },
	{ "proc, sysfs, mqueue, devpts, cgroup2", ROOT, "unshare -mpfin --mount-proc sh -c 'mount -t proc -o hidepid=1 p /mnt; mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys; mount -t sysfs s /sys; "
	  "mount -t mqueue q /srv; mount -t devpts -o newinstance,mode=620,gid=5,ptmxmode=666 d /opt; echo ready; exec sleep 1000'" },
	{ "overlay inside", ROOT | OVERLAY, "unshare -m sh -c 'mount -t tmpfs t /mnt; mkdir /mnt/l /mnt/u /mnt/w /mnt/o; echo l >/mnt/l/f; echo k >/mnt/l/k; mount -t overlay o -o lowerdir=/mnt/l,upperdir=/mnt/u,workdir=/mnt/w /mnt/o; "
	  "echo u >/mnt/o/f; rm /mnt/o/k; find /mnt/w/work -type c -delete; echo ready; exec sleep 1000'" },
	{ "user namespace", BOTH, "unshare -Urm sh -c 'T=/mnt; mount -t tmpfs -o size=8m stuff /mnt; " FILES "mount --bind /mnt/d /srv; mount -t tmpfs t /dev/shm; echo ready; exec sleep 1000'" },
	{ "user, PID, network namespace with proc and sysfs", BOTH, "unshare -Urmpnf --mount-proc sh -c 'mount -t sysfs s /sys; echo ready; exec sleep 1000'" },
	{ "bwrap with all of the machine", BOTH, "bwrap --dev-bind / / --tmpfs /tmp sh -c 'T=/tmp; " FILES "echo ready; exec sleep 1000'" },
	{ "bwrap, read-only, own dev and proc", BOTH, "bwrap --ro-bind / / --tmpfs /tmp --proc /proc --dev /dev --unshare-pid sh -c 'T=/tmp; " FILES "echo ready; exec sleep 1000'" },
	{ "bwrap from nothing", BOTH, "bwrap --ro-bind /usr /usr --symlink usr/lib /lib --symlink usr/lib64 /lib64 --symlink usr/bin /bin --tmpfs /tmp --proc /proc --dev /dev --dir /var/x --unshare-all --die-with-parent "
	  "sh -c 'T=/tmp; " FILES "echo ready; exec sleep 1000'" },
};
enum { NSCENARIOS = sizeof scenarios / sizeof scenarios[0] };

/* ---- a process in such a namespace ---- */

static pid_t last_child(pid_t of)
{
	struct pid_list l = { 0 };
	pid_t got = 0;

	if (!proc_descendants(&l, of, NULL) && l.n)
		got = l.v[l.n - 1];
	pid_list_free(&l);
	return got;
}

static pid_t start(const char *how, pid_t *top)
{
	char c[6] = "";
	size_t n = 0;
	ssize_t k;
	int p[2];

	if (pipe2(p, O_CLOEXEC))
		return 0;
	*top = fork();
	if (!*top) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(p[1], 1);
		execlp("sh", "sh", "-c", how, NULL);
		_exit(127);
	}
	close(p[1]);
	while (n < 6 && (k = read(p[0], c + n, 6 - n)) > 0)
		n += (size_t)k;
	close(p[0]);
	if (memcmp(c, "ready\n", 6))
		return 0;
	n = 0;
	for (pid_t deep = *top; deep; deep = last_child(deep))
		n = (size_t)deep;
	return (pid_t)n;
}

static void stop(pid_t top, pid_t in)
{
	if (in > 0)
		kill(in, SIGKILL);
	if (top > 0) {
		kill(top, SIGKILL);
		waitpid(top, NULL, 0);
	}
}

/* ---- saving ---- */

struct saved { struct buf text; int fd; struct image *im; };

static int write_image(struct dump *d, struct saved *s, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	int rc;

	s->fd = memfd_create("image", MFD_CLOEXEC);
	if (image_writer_new(&d->img, s->fd, e))
		return -1;
	buf_adds(&b, "FORMAT=\"1\"\n");
	rc = image_put_text(d->img, "description.txt", &b, e);
	buf_reset(&b);
	buf_adds(&b, "TYPE=\"x\"\n");
	rc = rc || image_put_text(d->img, "profile", &b, e) || image_put_text(d->img, "namespaces", &s->text, e);
	for (size_t i = 0; i < d->nraws && !rc; i++) {
		struct raw_pending *r = &d->raws[i];
		char *p = malloc(r->size + 1);

		rc = pread(r->fd, p, r->size, (off_t)r->off) != (ssize_t)r->size || image_raw_begin(d->img, r->name, r->size, e) ||
		     image_raw_write(d->img, p, r->size, e) || image_raw_end(d->img, e);
		free(p);
		close(r->fd);
		free(r->name);
	}
	free(d->raws);
	rc = rc || image_finish(d->img, e);
	image_writer_free(d->img);
	return rc || image_open(&s->im, s->fd, -1, e) ? -1 : 0;
}

static int save(pid_t pid, struct saved *s, struct buf *no, struct err *e)
{
	struct dproc p = { .pid = pid, .tgid = pid, .vpid = pid }, *procs = &p;
	struct dump d = { .procs = &procs, .nprocs = 1 };
	int user, rc;

	if (ns_collect(&d, e))
		return -1;
	if (!p.ns[NSK_MNT])
		return err_set(e, EX_FAILED, "no mount namespace of its own");
	user = p.ns[NSK_MNT]->user ? p.ns[NSK_MNT]->user->fd : -1;
	rc = mntns_check(&d, &p, user, e);
	if (!rc && !d.nrefusals)
		rc = mntns_dump(&d, 1, &p, user, &s->text, e);
	buf_adds(no, buf_str(&d.refusals));
	if (!rc && !d.nrefusals)
		rc = write_image(&d, s, e);
	buf_free(&d.refusals);
	ns_dump_free(&d);
	return rc;
}

static void saved_free(struct saved *s)
{
	buf_free(&s->text);
	image_free(s->im);
	if (s->fd >= 0)
		close(s->fd);
}

/* ---- building ---- */

static int own_fd(pid_t pid, const char *kind)
{
	char path[64];
	struct stat a, b;
	int fd;

	snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, kind);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof path, "/proc/self/ns/%s", kind);
	if (fd < 0 || fstat(fd, &a) || stat(path, &b) || a.st_ino != b.st_ino)
		return fd;
	close(fd);
	return -1;
}

static int owner_fd(pid_t pid)
{
	struct dproc p = { .pid = pid, .tgid = pid, .vpid = pid }, *procs = &p;
	struct dump d = { .procs = &procs, .nprocs = 1 };
	int fd = ns_collect(&d, NULL) || !p.ns[NSK_MNT] || !p.ns[NSK_MNT]->user ? -1 : fcntl(p.ns[NSK_MNT]->user->fd, F_DUPFD_CLOEXEC, 3);

	ns_dump_free(&d);
	return fd;
}

struct procs { struct restore *r; const struct rec_list *l; };

static int proc_make(void *ctx, uint32_t pidns, size_t sb, struct err *e)
{
	const struct procs *p = ctx;

	(void)pidns; /* we are in it: there is one */
	return mntns_proc(p->r, p->l, 1, sb, e);
}

/* Of the PID namespace that is named nothing more is asked here than that it is one. */
static void name_pidns(struct restore_ns *w, const struct rec_list *l)
{
	struct rec rec;
	uint64_t id;

	*w = (struct restore_ns){ .v = calloc(NS_MAX, sizeof *w->v), .home_ipc = -1 };
	for (size_t i = 0; i < l->n; i++) {
		rec_list_get(l, i, &rec);
		if (w->v && !rec_u64_or(&rec, "PIDNS", NS_MAX, 0, &id, NULL) && id) {
			w->n = NS_MAX;
			w->v[id - 1].kind = NSK_PID;
		}
	}
}

static void builder(const struct saved *s, int user, const int fd[4], int out)
{
	static const int flag[4] = { CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWCGROUP, CLONE_NEWPID };
	struct restart_opts o = { 0 };
	struct restore_ns w = { 0 };
	struct restore r = { .img = s->im, .o = &o, .ns = &w };
	struct rec_list l;
	struct procs p = { &r, &l };
	struct err e = ERR_INIT;
	pid_t in;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (rec_list_parse(&l, buf_str(&s->text), s->text.len, 1 << 20, &e))
		goto bad;
	name_pidns(&w, &l);
	if (mntns_verify(&r, &l, 1, &e))
		goto bad;
	if (user >= 0 && setns(user, CLONE_NEWUSER))
		err_sys(&e, "setns");
	if (!err_is_set(&e) && unshare(CLONE_NEWNS))
		err_sys(&e, "unshare");
	if (err_is_set(&e) || mntns_build(&r, &l, 1, &e))
		goto bad;
	for (int i = 0; i < 4; i++)
		if (fd[i] >= 0 && setns(fd[i], flag[i])) {
			err_sys(&e, "setns %d", i);
			goto bad;
		}
	in = fork();
	if (!in) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (mntns_procs(&r, &l, 1, proc_make, &p, &e) || mntns_complete(&r, &l, 1, &e)) {
			if (write(out, &e, sizeof e) != sizeof e)
				_exit(1);
			_exit(1);
		}
		if (write(out, &e, sizeof e) == sizeof e)
			pause();
		_exit(1);
	}
	while (waitpid(in, NULL, 0) < 0 && errno == EINTR)
		;
	_exit(0);
bad:
	if (write(out, &e, sizeof e) != sizeof e)
		_exit(1);
	_exit(1);
}

static pid_t build(const struct saved *s, pid_t like, pid_t *top, struct err *e)
{
	int fd[4] = { own_fd(like, "ipc"), own_fd(like, "net"), own_fd(like, "cgroup"), own_fd(like, "pid") }, user = owner_fd(like), p[2];
	pid_t in = 0;

	if (pipe2(p, O_CLOEXEC))
		return 0;
	*top = fork();
	if (!*top)
		builder(s, user, fd, p[1]);
	close(p[1]);
	for (int i = 0; i < 4; i++)
		cleanup_fd(&fd[i]);
	cleanup_fd(&user);
	if (read(p[0], e, sizeof *e) != sizeof *e)
		err_set(e, EX_FAILED, "the builder died");
	close(p[0]);
	if (!err_is_set(e))
		in = last_child(*top);
	return in;
}

/* ---- comparing ---- */

static void show_difference(const char *a, const char *b)
{
	int lines = 0;

	while (*a && *b && lines < 12) {
		size_t n = strcspn(a, "\n"), k = strcspn(b, "\n");

		if (n != k || memcmp(a, b, n))
			lines++, printf("# -%.*s\n# +%.*s\n", (int)n, a, (int)k, b);
		a += n + (a[n] == '\n');
		b += k + (b[k] == '\n');
	}
	if (*a || *b)
		printf("# %c%.400s\n", *a ? '-' : '+', *a ? a : b);
}

/* For whoever looks into it. */
static void keep(const char *which, const char *name, const void *p, size_t n)
{
	const char *dir = getenv("KEEP");
	AUTO_FD int fd = -1;
	char path[PATH_MAX];

	if (!dir)
		return;
	snprintf(path, sizeof path, "%s/%s.%s", dir, name, which);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0 || write(fd, p, n) != (ssize_t)n)
		printf("# cannot keep %s\n", path);
}

/* A new namespace is numbered among others: bwrap makes two user namespaces, of which one is left. */
static char *without_ids(const struct saved *s)
{
	char *text = strdup(buf_str(&s->text));

	for (char *at = text; (at = strstr(at, "PIDNS=\"")); at++)
		memset(at + 7, 'n', strspn(at + 7, "0123456789"));
	return text;
}

static bool same(const struct saved *a, const struct saved *b, bool content)
{
	AUTO_FREE char *one = without_ids(a), *two = without_ids(b);
	bool ok = !strcmp(one, two);

	if (!ok)
		show_difference(one, two);
	for (size_t i = 0; i < image_count(a->im); i++) {
		const struct image_member *x = image_at(a->im, i), *y = image_find(b->im, x->name);
		char *p, *q;

		if (x->text || !content)
			continue;
		p = malloc(x->size + 1);
		q = malloc((y ? y->size : 0) + 1);
		if (pread(a->fd, p, x->size, (off_t)x->offset) != (ssize_t)x->size ||
		    (y && pread(b->fd, q, y->size, (off_t)y->offset) != (ssize_t)y->size) || !y || x->size != y->size || memcmp(p, q, x->size)) {
			printf("# content %s differs: %llu and %llu bytes\n", x->name, (unsigned long long)x->size, y ? (unsigned long long)y->size : 0);
			ok = false;
			keep("a", x->name, p, x->size);
			keep("b", x->name, q, y ? y->size : 0);
		}
		free(p);
		free(q);
	}
	return ok;
}

/* What a process in the namespace sees of it, without the code that saves it: a line for each file of every tmpfs. */
static struct buf *seen;

static int see(const char *path, const struct stat *st, int type, struct FTW *at)
{
	unsigned long sum = 5381;
	char c[65536];
	ssize_t n = 0;
	AUTO_FD int fd = type == FTW_F && S_ISREG(st->st_mode) ? open(path, O_RDONLY | O_NOATIME | O_CLOEXEC) : -1;

	(void)at;
	if (strstr(path, "/w/work") || !strcmp(path, "/mnt/w"))
		return 0;
	while (fd >= 0 && (n = read(fd, c, sizeof c)) > 0)
		for (ssize_t i = 0; i < n; i++)
			sum = sum * 33 + (unsigned char)c[i];
	if (type == FTW_SL && (n = readlink(path, c, sizeof c - 1)) > 0)
		for (ssize_t i = 0; i < n; i++)
			sum = sum * 33 + (unsigned char)c[i];
	buf_printf(seen, "%s %o %u:%u %lld %lu %lu %lld.%ld\n", path, st->st_mode, st->st_uid, st->st_gid, S_ISDIR(st->st_mode) ? 0 : (long long)st->st_size,
		   (unsigned long)st->st_nlink, sum, (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
	return 0;
}

static int see_all(void *ctx, struct buf *answer, int *give, struct err *e)
{
	AUTO_BUF struct buf text = BUF_INIT;
	struct rec_reader rd;
	struct rec rec;

	(void)give;
	seen = answer;
	buf_adds(&text, ctx);
	rec_reader_init(&rd, text.p, text.len);
	while (rec_next(&rd, &rec, e) > 0)
		if (!strcmp(rec_type(&rec), "mount") && !strcmp(rec_find(&rec, "FSTYPE"), "tmpfs") && rec_find(&rec, "SB"))
			nftw(rec_find(&rec, "POINT"), see, 100, FTW_PHYS | FTW_MOUNT);
	return 0;
}

static int look_into(pid_t pid, const struct saved *s, struct buf *out, struct err *e)
{
	struct ns_job job = { .fn = see_all, .ctx = (void *)buf_str(&s->text) };
	struct ns_place at = NS_HERE;
	int rc;

	at.fd[NSK_USER] = owner_fd(pid);
	at.fd[NSK_MNT] = own_fd(pid, "mnt");
	rc = ns_run(&at, &job, out, NULL, e);
	cleanup_fd(&at.fd[NSK_USER]);
	cleanup_fd(&at.fd[NSK_MNT]);
	return rc;
}

static const char *once(const struct scenario *sc)
{
	static char why[2048];
	struct saved a = { .fd = -1 }, b = { .fd = -1 };
	AUTO_BUF struct buf no = BUF_INIT, before = BUF_INIT, after = BUF_INIT;
	struct err e = ERR_INIT;
	pid_t top = 0, top2 = 0, in2 = 0, in = start(sc->how, &top);

	why[0] = '\0';
	if (!in)
		snprintf(why, sizeof why, "cannot be set up here");
	else if (save(in, &a, &no, &e))
		snprintf(why, sizeof why, "save: %s", e.msg);
	else if (no.len)
		snprintf(why, sizeof why, "refused: %s", buf_str(&no));
	else if (!(in2 = build(&a, in, &top2, &e)))
		snprintf(why, sizeof why, "build: %s", e.msg);
	else if (save(in2, &b, &no, &e))
		snprintf(why, sizeof why, "save again: %s", e.msg);
	else if (no.len)
		snprintf(why, sizeof why, "refused again: %s", buf_str(&no));
	else if (!same(&a, &b, !(sc->who & OVERLAY)))
		snprintf(why, sizeof why, "not the same");
	else if (look_into(in, &a, &before, &e) || look_into(in2, &a, &after, &e))
		snprintf(why, sizeof why, "look: %s", e.msg);
	else if (strcmp(buf_str(&before), buf_str(&after))) {
		show_difference(buf_str(&before), buf_str(&after));
		snprintf(why, sizeof why, "the files are not the same");
	}
	if (getenv("SHOW"))
		printf("%s", buf_str(&a.text));
	stop(top2, in2);
	stop(top, in);
	saved_free(&a);
	saved_free(&b);
	return why[0] ? why : NULL;
}

/* As an ordinary user: a child becomes one. */
static void as_user(const struct scenario *sc)
{
	int st;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		const char *why = NULL;

		if (geteuid() == 0 && (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) || setresuid(NOBODY, NOBODY, NOBODY)))
			why = "cannot become an ordinary user";
		prctl(PR_SET_DUMPABLE, 1);
		if (!why)
			why = once(sc);
		printf("%s - %s, as an ordinary user%s%s\n", why ? "not ok" : "ok", sc->name, why ? ": " : "", why ? why : "");
		fflush(stdout);
		_exit(why != NULL);
	}
	if (waitpid(pid, &st, 0) != pid || st)
		unit_failed_++;
}

int main(int argc, char **argv)
{
	for (size_t i = 0; i < NSCENARIOS; i++) {
		const struct scenario *sc = &scenarios[i];

		if (argc > 1 && !strstr(sc->name, argv[1]))
			continue;
		if ((sc->who & ROOT) && geteuid() == 0) {
			const char *why = once(sc);

			unit_failed_ += why != NULL;
			printf("%s - %s%s%s\n", why ? "not ok" : "ok", sc->name, why ? ": " : "", why ? why : "");
			fflush(stdout);
		}
		if (sc->who & USER)
			as_user(sc);
	}
	return unit_failed_ != 0;
}
