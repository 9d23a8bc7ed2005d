/* files: the descriptor tables of all processes and the open file descriptions behind them.
 *
 * Checkpoint: every descriptor of every process is looked at once. Descriptions are told apart by kcmp(2),
 * which is asked only among those that look alike (same inode, flags and offset), in a search tree. Records:
 *   member `files`:  TYPE="<kind>" ID= FLAGS= POS= PATH= ... one a description (fields by its fd_ops)
 *   member task_PID: TYPE="fd" FD= FILE= [CLOEXEC="1"]
 *
 * Restart: the restorer opens every description before any process is made, at the number that it has in the
 * job where that number is free, so that 10,000 open files fit below an RLIMIT_NOFILE of 20,000;
 * all processes inherit them and keep what is theirs, so sharing comes back by itself. */
#include "res/files.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "res/fd_ops.h"
#include "res/fd_reg.h"
#include "res/fd_tcp.h"
#include "res/tty.h"
#include "res/fd_unix.h"
#include "res/ns_obj.h"
#include "res/sock_diag.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <search.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>

struct fdent { int fd; bool cloexec; struct dfile *f; };
struct fdtab { struct fdent *v; size_t n, cap; };   /* dproc -> by index, parallel to d->procs */

static unsigned hash_of(const struct stat *st)
{
	return (unsigned)((st->st_ino * 2654435761u) ^ st->st_dev) % 4096;
}

/* We hold a duplicate of each description of the job. */
static int too_many(int fd, struct err *e)
{
	err_set(e, EX_CANNOT_CKPT, "fd %d: the job has more open files than xcheckpoint itself may have", fd);
	err_hint(e, "raise RLIMIT_NOFILE (ulimit -Hn) for xcheckpoint");
	return -1;
}

/* Reads what /proc tells of p's descriptor fd into f. */
static int look(struct dproc *p, int dfd_fd, int dfd_info, int fd, struct dfile *f, bool *cloexec, struct err *e)
{
	char name[16], link[PATH_MAX];
	struct buf info = BUF_INIT;
	uint64_t v;

	snprintf(name, sizeof name, "%d", fd);
	ssize_t n = readlinkat(dfd_fd, name, link, sizeof link - 1);
	if (n < 0)
		return err_sys(e, "fd %d: cannot read its link", fd);
	link[n] = 0;
	if (fstatat(dfd_fd, name, &f->st, 0))
		return err_sys(e, "fd %d: cannot stat it", fd);
	if (buf_read_file(&info, dfd_info, name, 64 << 20) || buf_failed(&info)) {
		buf_free(&info);
		return errno == EMFILE || errno == ENFILE ? too_many(fd, e) : err_sys(e, "fd %d: cannot read fdinfo", fd);
	}
	f->info = info.p;
	f->link = strdup(link);
	if (!f->info || !f->link)
		return err_set(e, EX_FAILED, "out of memory");
	if (fdinfo_num(f->info, "flags", 8, &v))
		return err_set(e, EX_FAILED, "fd %d: fdinfo has no flags", fd);
	*cloexec = v & O_CLOEXEC;
	f->flags = (unsigned)v & ~(unsigned)O_CLOEXEC;
	f->pos = fdinfo_num(f->info, "pos", 10, &v) ? 0 : (int64_t)v;
	f->p = p;
	f->fd = fd;
	f->lfd = -1;
	return 0;
}

static int cmp_u64(uint64_t a, uint64_t b) { return a < b ? -1 : a > b; }

/* An order of descriptions, 0 for the same one. What looks alike is asked of the kernel, whose kcmp orders as well as it
 * compares: thousands of eventfds, which are all one inode, need a dozen questions each and not thousands. */
static int cmp_description(const void *x, const void *y)
{
	const struct dfile *a = x, *b = y;
	int rc = cmp_u64(a->st.st_ino, b->st.st_ino);

	if (!rc)
		rc = cmp_u64(a->st.st_dev, b->st.st_dev);
	if (!rc)
		rc = cmp_u64(a->flags, b->flags);
	if (!rc)
		rc = cmp_u64((uint64_t)a->pos, (uint64_t)b->pos);
	if (rc)
		return rc;
	/* One that is in a queue only is ours by number. */
	switch (syscall(SYS_kcmp, a->fd < 0 ? getpid() : a->p->pid, b->fd < 0 ? getpid() : b->p->pid, KCMP_FILE,
			a->fd < 0 ? a->lfd : a->fd, b->fd < 0 ? b->lfd : b->fd)) {
	case 0: return 0;
	case 1: return -1;
	case 2: return 1;
	}
	/* Not told: they count as two. */
	rc = cmp_u64((uint64_t)a->p->pid, (uint64_t)b->p->pid);
	if (!rc)
		rc = cmp_u64((uint64_t)a->fd, (uint64_t)b->fd);
	return rc ? rc : cmp_u64((uint64_t)a->lfd, (uint64_t)b->lfd);
}

static int add_file(struct dump *d, struct dfile *f, struct err *e)
{
	if (d->nfiles == d->capfiles) {
		size_t cap = d->capfiles ? 2 * d->capfiles : 64;
		struct dfile **v = realloc(d->files, cap * sizeof *v);
		if (!v)
			return err_set(e, EX_FAILED, "out of memory");
		d->files = v;
		d->capfiles = cap;
	}
	f->id = (uint32_t)++d->nfiles;
	d->files[f->id - 1] = f;
	f->next_hash = d->hash[hash_of(&f->st)];
	d->hash[hash_of(&f->st)] = f;
	if (f->fd >= 0)
		f->lfd = (int)syscall(SYS_pidfd_getfd, f->p->t->pidfd, f->fd, 0);
	return f->fd >= 0 && f->lfd < 0 && (errno == EMFILE || errno == ENFILE) ? too_many(f->fd, e) : 0;
}

static void free_file(struct dfile *f)
{
	if (!f)
		return;
	if (f->lfd >= 0)
		close(f->lfd);
	free(f->link);
	free(f->info);
	free(f);
}

static int tab_add(struct fdtab *t, struct fdent x, struct err *e)
{
	if (t->n == t->cap) {
		size_t cap = t->cap ? 2 * t->cap : 16;
		struct fdent *v = realloc(t->v, cap * sizeof *v);
		if (!v)
			return err_set(e, EX_FAILED, "out of memory");
		t->v = v;
		t->cap = cap;
	}
	t->v[t->n++] = x;
	return 0;
}

static int cmp_fd(const void *a, const void *b)
{
	return ((const struct fdent *)a)->fd - ((const struct fdent *)b)->fd;
}

static int collect_fd(struct dump *d, struct dproc *p, struct fdtab *t, int dfd, int dinfo, int fd, struct err *e)
{
	struct dfile *f = calloc(1, sizeof *f), **known;
	bool cloexec;

	if (!f)
		return err_set(e, EX_FAILED, "out of memory");
	f->lfd = -1;
	if (look(p, dfd, dinfo, fd, f, &cloexec, e)) {
		free_file(f);
		return -1;
	}
	known = tsearch(f, &d->descriptions, cmp_description);
	if (known && *known != f) {
		free_file(f);
		f = *known;
	} else if (!known || add_file(d, f, e)) {
		if (known)
			tdelete(f, &d->descriptions, cmp_description);
		free_file(f);
		return err_set(e, EX_FAILED, "out of memory");
	}
	if (fd <= 2)
		f->std |= 1u << fd;
	return tab_add(t, (struct fdent){ fd, cloexec, f }, e);
}

/* Where a socket is. */
static int find_net(struct dump *d, struct dfile *f, struct err *e)
{
	int rc = S_ISSOCK(f->st.st_mode) && f->lfd >= 0 ? ns_net_of(d, f->lfd, &f->net, e) : 0;

	if (rc > 0)
		refuse(d, f->p, "fd %d: %s in a network namespace that is neither the job's nor ours", f->fd, f->link);
	return rc < 0 ? -1 : 0;
}

struct dfile *files_adopt(struct dump *d, struct dproc *p, int fd, struct err *e)
{
	AUTO_FD int dfd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_FD int dinfo = open("/proc/self/fdinfo", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dfile *f = calloc(1, sizeof *f), **known;
	bool cloexec;

	if (!f) {
		err_set(e, EX_FAILED, "out of memory");
		close(fd);
		return NULL;
	}
	if (look(p, dfd, dinfo, fd, f, &cloexec, e)) {
		close(fd);
		free_file(f);
		return NULL;
	}
	f->fd = -1;
	f->lfd = fd;
	if (find_net(d, f, e)) {
		free_file(f);
		return NULL;
	}
	known = tsearch(f, &d->descriptions, cmp_description);
	if (known && *known != f) {
		free_file(f);
		return *known;
	}
	if (!known || add_file(d, f, e)) {
		if (known)
			tdelete(f, &d->descriptions, cmp_description);
		free_file(f);
		err_set(e, EX_FAILED, "out of memory");
		return NULL;
	}
	return f;
}

/* In p's own mount namespace, if its mount is one of those; what came from outside lies in the reference. */
static void find_mount(struct dfile *f, const char *mountinfo)
{
	uint64_t id;
	char want[32];

	if (f->link[0] != '/' || fdinfo_num(f->info, "mnt_id", 10, &id))
		return;
	snprintf(want, sizeof want, "\n%llu ", (unsigned long long)id);
	if (!strncmp(mountinfo, want + 1, strlen(want + 1)) || strstr(mountinfo, want))
		f->mnt = f->p->ns[NSK_MNT];
}

static int find_mounts(struct dump *d, struct err *e)
{
	for (size_t i = 0; i < d->nprocs; i++) {
		AUTO_BUF struct buf b = BUF_INIT;

		if (!d->procs[i]->ns[NSK_MNT])
			continue;
		if (proc_read(&b, d->procs[i]->pid, "mountinfo", 64 << 20) || buf_failed(&b))
			return err_sys(e, "pid %d: cannot read its mounts", d->procs[i]->vpid);
		for (size_t k = 0; k < d->nfiles; k++)
			if (d->files[k]->p == d->procs[i])
				find_mount(d->files[k], buf_str(&b));
	}
	return 0;
}

/* What a restart can open in another mount namespace. Sockets look at f->net themselves. */
static void place_check(struct dump *d, struct dfile *f)
{
	static const char *const in_mnt[] = { "reg", "pipe", "dev", "pty_master", "pty_slave", "ext", NULL };
	bool ok = !f->mnt;

	for (size_t i = 0; in_mnt[i] && !ok; i++)
		ok = !strcmp(f->ops->type, in_mnt[i]);
	if (!ok && strcmp(f->ops->type, "refused") && strcmp(f->ops->type, "special"))
		refuse(d, f->p, "fd %d: %s (%s) in a mount namespace of its own", f->fd, f->link, f->ops->type);
	if (!strcmp(f->ops->type, "mqueue") && f->p->ns[NSK_IPC] != d->ns->ipc)
		refuse(d, f->p, "fd %d: POSIX message queue %s in an IPC namespace of its own that not all members share", f->fd, f->link);
}

static int collect_proc(struct dump *d, struct dproc *p, struct fdtab *t, struct err *e)
{
	char path[64];
	AUTO_FD int dfd = -1, dinfo = -1;
	AUTO_DIR DIR *dir = NULL;
	struct dirent *de;

	snprintf(path, sizeof path, "/proc/%d/fd", p->pid);
	dfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dfd < 0)
		return err_sys(e, "cannot open %s", path);
	snprintf(path, sizeof path, "/proc/%d/fdinfo", p->pid);
	dinfo = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dinfo < 0)
		return err_sys(e, "cannot open %s", path);
	dir = fdopendir(fcntl(dfd, F_DUPFD_CLOEXEC, 0));
	if (!dir)
		return err_sys(e, "cannot list %s", path);
	while ((de = readdir(dir))) {
		if (de->d_name[0] < '0' || de->d_name[0] > '9')
			continue;
		if (collect_fd(d, p, t, dfd, dinfo, atoi(de->d_name), e))
			return -1;
	}
	if (t->n)
		qsort(t->v, t->n, sizeof *t->v, cmp_fd);
	return 0;
}

/* What a kind asks the kernel about sockets is asked there. */
static int in_its_net(struct dump *d, struct dfile *f, int (*fn)(struct dump *d, struct dfile *f, struct err *e), struct err *e)
{
	struct sock_where w;
	int rc;

	if (!fn || ns_net_where(d, f->net, &w, e))
		return fn ? -1 : 0;
	sock_go(w);
	rc = fn(d, f, e);
	sock_go(SOCK_HERE);
	return rc;
}

int files_check(struct dump *d, struct err *e)
{
	struct rlimit rl;

	/* Our own duplicates may be many. */
	if (!getrlimit(RLIMIT_NOFILE, &rl) && rl.rlim_cur < rl.rlim_max) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
	/* Root may, up to fs.nr_open. */
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 1 << 20, 1 << 20 });
	d->fdtabs = calloc(d->nprocs ? d->nprocs : 1, sizeof *d->fdtabs);
	if (!d->fdtabs)
		return err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; i < d->nprocs; i++) {
		struct dproc *p = d->procs[i];
		if (!p->zombie && collect_proc(d, p, &d->fdtabs[i], e))
			return err_prefix(e, "pid %d", p->vpid);
	}
	if (find_mounts(d, e))
		return -1;
	for (size_t i = 0; i < d->nfiles; i++)
		if (find_net(d, d->files[i], e))
			return -1;
	for (size_t i = 0; i < d->nfiles; i++) {
		struct dfile *f = d->files[i];

		for (size_t k = 0; fd_table[k] && !f->ops; k++)
			if (fd_table[k]->match(f))
				f->ops = fd_table[k];
		place_check(d, f);
		if (in_its_net(d, f, f->ops->check, e))
			return err_prefix(e, "pid %d: fd %d", f->p->vpid, f->fd);
	}
	return 0;
}

int files_dump(struct dump *d, struct err *e)
{
	for (size_t i = 0; i < d->nfiles; i++) {
		struct dfile *f = d->files[i];
		struct buf *b = &d->files_out;

		rec_begin(b, f->ops->type);
		rec_put_u64(b, "ID", f->id);
		rec_put_hex(b, "FLAGS", f->flags);
		rec_put_i64(b, "POS", f->pos);
		rec_put_str(b, "PATH", f->link);
		if (f->mnt && f->ops != &fd_ext_ops)
			rec_put_u64(b, "MNT", f->mnt->id);
		if (f->net)
			rec_put_u64(b, "NET", f->net->id);
		owner_dump(d, f);
		if (in_its_net(d, f, f->ops->dump, e))
			return err_prefix(e, "pid %d: fd %d", f->p->vpid, f->fd);
		rec_end(b);
	}
	for (size_t i = 0; i < d->nprocs; i++) {
		struct dproc *p = d->procs[i];
		struct fdtab *t = &d->fdtabs[i];

		for (size_t k = 0; k < t->n; k++) {
			rec_begin(&p->out, "fd");
			rec_put_u64(&p->out, "FD", (uint64_t)t->v[k].fd);
			rec_put_u64(&p->out, "FILE", t->v[k].f->id);
			if (t->v[k].cloexec)
				rec_put_u64(&p->out, "CLOEXEC", 1);
			rec_end(&p->out);
		}
		for (size_t k = 0; k < t->n; k++)
			if (locks_dump(d, p, t->v[k].fd, t->v[k].f, e))
				return err_prefix(e, "pid %d: fd %d", p->vpid, t->v[k].fd);
	}
	return 0;
}

struct dfile *files_find_fd(struct dump *d, struct dproc *p, int fd)
{
	for (size_t i = 0; i < d->nprocs; i++) {
		if (d->procs[i] != p)
			continue;
		struct fdent key = { .fd = fd }, *r;
		struct fdtab *t = &d->fdtabs[i];
		r = t->n ? bsearch(&key, t->v, t->n, sizeof *t->v, cmp_fd) : NULL;
		return r ? r->f : NULL;
	}
	return NULL;
}

bool files_holds(struct dump *d, struct dproc *p, const struct dfile *f)
{
	for (size_t i = 0; i < d->nprocs; i++)
		for (size_t k = 0; d->procs[i] == p && k < d->fdtabs[i].n; k++)
			if (d->fdtabs[i].v[k].f == f)
				return true;
	return false;
}

struct dfile *files_find_ghost(struct dump *d, const struct stat *st)
{
	struct dfile *first = NULL;

	for (struct dfile *c = d->hash[hash_of(st)]; c; c = c->next_hash)
		if (c->st.st_ino == st->st_ino && c->st.st_dev == st->st_dev && !(c->flags & O_PATH) &&
		    (!first || c->id < first->id))
			first = c;
	return first;
}

struct dfile *files_find_inode(struct dump *d, const struct stat *st)
{
	for (struct dfile *c = d->hash[hash_of(st)]; c; c = c->next_hash)
		if (c->st.st_ino == st->st_ino && c->st.st_dev == st->st_dev)
			return c;
	return NULL;
}

struct dfile *files_same_inode(struct dump *d, const struct dfile *f, const struct dfile *after)
{
	struct dfile *c = after ? after->next_hash : d->hash[hash_of(&f->st)];

	while (c && (c->st.st_ino != f->st.st_ino || c->st.st_dev != f->st.st_dev))
		c = c->next_hash;
	return c;
}

static void leave(void *node) { }

void files_free(struct dump *d)
{
	unix_world_free(d);
	tcp_world_free(d);
	tty_world_free(d);
	tdestroy(d->descriptions, leave);
	for (size_t i = 0; i < d->nfiles; i++)
		free_file(d->files[i]);
	free(d->files);
	if (d->fdtabs)
		for (size_t i = 0; i < d->nprocs; i++)
			free(d->fdtabs[i].v);
	free(d->fdtabs);
	buf_free(&d->files_out);
}
