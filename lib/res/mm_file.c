/* mm_file: files that are mapped, executables and libraries among them.
 *
 * Member `maps`: TYPE="map" ID= PATH= DEV= INO= SIZE= MTIME= MODE= [WRITE="1"] [MEMFD=id | SHM=id | GHOST="1" UID= GID=]
 * MEMFD, SHM: a memfd mapped private that is in `files`, in `shm`: what others write to it shows in pages that the process has not written itself.
 * WRITE: somebody maps it shared and may write it. A deleted file's content is raw member mapghost_ID.
 * On restart a file that is mapped must be the file that it was (size and time of change), else nothing is restarted:
 * code pages are not in the image. */
#include "res/mm.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "res/fd_ops.h"
#include "res/fd_reg.h"
#include "res/mm_flags.h"
#include "res/ns_obj.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

/* Does the path lead to that inode, in p's own mount namespace (*mnt) or in the reference, where p may have begun? */
static bool leads_to(struct dump *d, struct dproc *p, const char *name, uint64_t ino, struct stat *st, const struct dns **mnt)
{
	char path[PATH_MAX + 64];

	*mnt = p->ns[NSK_MNT];
	if (!dump_path(d, p, false, name, path, sizeof path) && !stat(path, st) && st->st_ino == ino)
		return true;
	*mnt = NULL;
	return p->ns[NSK_MNT] && !dump_path(d, p, true, name, path, sizeof path) && !stat(path, st) && st->st_ino == ino;
}

static int stat_of(struct dump *d, struct dproc *p, const struct proc_map *m, struct stat *st, const struct dns **mnt)
{
	char path[PATH_MAX + 64];

	*mnt = NULL;
	if (m->path[0] == '/' && !m->deleted && leads_to(d, p, m->path, m->inode, st, mnt))
		return 0;
	/* Needs CAP_CHECKPOINT_RESTORE; works for files without name too. */
	snprintf(path, sizeof path, "/proc/%d/map_files/%llx-%llx", p->pid, (unsigned long long)m->start,
		 (unsigned long long)m->end);
	return stat(path, st);
}

/* The content of a file without name: through map_files, else through a descriptor of the job that has it. */
static int open_nameless(struct dump *d, struct dproc *p, const struct proc_map *m)
{
	char path[64];
	struct stat st = { .st_dev = makedev(m->dev_major, m->dev_minor), .st_ino = m->inode };
	struct dfile *f;
	int fd;

	snprintf(path, sizeof path, "/proc/%d/map_files/%llx-%llx", p->pid, (unsigned long long)m->start,
		 (unsigned long long)m->end);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	f = files_find_inode(d, &st);
	if (!f || f->lfd < 0)
		return -1;
	snprintf(path, sizeof path, "/proc/self/fd/%d", f->lfd);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* Last resort for a file that has no name and that we may not open: what the process sees of it, gathered in a
 * nameless file of ours. Only mapped parts are known; others read as zeros, and nobody in the job can look at them. */
static int gather_nameless(struct dump *d, const struct proc_map *m, struct err *e)
{
	AUTO_FD int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	AUTO_FREE char *page = malloc(MM_PAGE);

	if (fd < 0 || !page)
		return err_sys(e, "cannot make a temporary file in /tmp");
	for (size_t i = 0; i < d->nprocs; i++) {
		struct dproc *p = d->procs[i];
		for (size_t k = 0; k < p->maps.n; k++) {
			struct proc_map *o = &p->maps.v[k];
			if (o->inode != m->inode || o->dev_major != m->dev_major || o->dev_minor != m->dev_minor)
				continue;
			for (uint64_t a = o->start; a < o->end; a += MM_PAGE) {
				struct err ignore = ERR_INIT; /* behind the end of the file: nothing to save */
				if (!mm_read(p, a, page, MM_PAGE, &ignore) &&
				    pwrite(fd, page, MM_PAGE, (off_t)(o->offset + a - o->start)) != MM_PAGE)
					return err_sys(e, "cannot write a temporary file in /tmp");
			}
		}
	}
	return take_fd(&fd);
}

static struct mfile *mfile_new(struct dump *d, struct err *e)
{
	struct mfile *n = realloc(d->mfiles, (d->nmfiles + 1) * sizeof *n);

	if (!n) {
		err_set(e, EX_FAILED, "out of memory");
		return NULL;
	}
	d->mfiles = n;
	n += d->nmfiles++;
	*n = (struct mfile){ .fd = -1 };
	return n;
}

int mfile_get(struct dump *d, struct dproc *p, struct proc_map *m, uint32_t *id, struct err *e)
{
	uint64_t dev = makedev(m->dev_major, m->dev_minor);
	bool write = m->shared && proc_map_flag(m, "mw");

	for (size_t i = d->nmfiles; i-- > 0;)
		if (d->mfiles[i].ino == m->inode && d->mfiles[i].dev == dev) {
			d->mfiles[i].write |= write;
			*id = (uint32_t)i + 1;
			return 0;
		}
	struct mfile *f = mfile_new(d, e);
	if (!f)
		return -1;
	f->dev = dev;
	f->ino = m->inode;
	f->p = p;
	f->m = m;
	f->write = write;
	f->path = strdup(m->path);
	if (!f->path)
		return err_set(e, EX_FAILED, "out of memory");
	*id = (uint32_t)d->nmfiles;
	if (stat_of(d, p, m, &f->st, &f->mnt)) {
		memset(&f->st, 0, sizeof f->st);
		f->st.st_mode = S_IFREG | 0600;
		f->st.st_uid = geteuid();
		f->st.st_gid = getegid();
	}
	f->deleted = m->deleted || f->st.st_nlink == 0;
	if (!f->deleted && !S_ISREG(f->st.st_mode) && !S_ISCHR(f->st.st_mode))
		refuse(d, p, "memory %llx-%llx: %s is mapped but has lost its name", (unsigned long long)m->start,
		       (unsigned long long)m->end, m->path);
	else if (f->deleted) {
		f->fd = open_nameless(d, p, m);
		if (f->fd < 0)
			f->fd = gather_nameless(d, m, e);
		if (f->fd < 0)
			return -1;
		if (!f->st.st_size && !fstat(f->fd, &f->st))
			f->st.st_nlink = 0;
	}
	return 0;
}

/* The executable (/proc/PID/exe), which need not be mapped. */
int mfile_exe(struct dump *d, struct dproc *p, uint32_t *id, struct err *e)
{
	char path[PATH_MAX], link[64];
	struct stat st, named;

	snprintf(link, sizeof link, "/proc/%d/exe", p->pid);
	if (stat(link, &st) || proc_readlink(p->pid, "exe", path, sizeof path) < 0)
		return err_sys(e, "cannot look at %s", link);
	for (size_t i = 0; i < d->nmfiles; i++)
		if (d->mfiles[i].ino == st.st_ino && (d->mfiles[i].st.st_dev == st.st_dev || d->mfiles[i].dev == st.st_dev)) {
			d->mfiles[i].exe = true;
			*id = (uint32_t)i + 1;
			return 0;
		}
	struct mfile *f = mfile_new(d, e);
	if (!f)
		return -1;
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	f->st = st;
	f->p = p;
	f->exe = true;
	f->path = strdup(path);
	*id = (uint32_t)d->nmfiles;
	f->deleted = st.st_nlink == 0 || !leads_to(d, p, path, st.st_ino, &named, &f->mnt);
	if (f->deleted) {
		f->fd = open(link, O_RDONLY | O_CLOEXEC);
		if (f->fd < 0)
			return err_sys(e, "cannot read %s", link);
	}
	return f->path ? 0 : err_set(e, EX_FAILED, "out of memory");
}

static int ghost_dump(struct dump *d, const struct mfile *f, size_t id, struct buf *out, struct err *e)
{
	char name[32];

	rec_put_u64(out, "GHOST", 1);
	rec_put_u64(out, "UID", f->st.st_uid);
	rec_put_u64(out, "GID", f->st.st_gid);
	snprintf(name, sizeof name, "mapghost_%zu", id);
	return dump_raw_fd(d, name, f->fd, 0, (uint64_t)f->st.st_size, e);
}

/* Where else the content of a memfd is. Not of an executable: what is open for writing, as that is, cannot be one. */
static bool memfd_link(struct dump *d, const struct mfile *f, struct buf *out)
{
	struct dfile *open = files_find_inode(d, &(struct stat){ .st_dev = f->st.st_dev, .st_ino = f->ino });

	if (f->exe || strncmp(f->path, "/memfd:", 7))
		return false;
	if (open && open->ops == &fd_memfd_ops) {
		rec_put_u64(out, "MEMFD", open->id);
		return true;
	}
	for (size_t i = 0; i < d->nshm; i++)
		if (d->shm[i].ino == f->ino && d->shm[i].dev == f->dev) {
			rec_put_u64(out, "SHM", i + 1);
			return true;
		}
	return false;
}

int mfiles_dump(struct dump *d, struct buf *out, struct err *e)
{
	for (size_t i = 0; i < d->nmfiles; i++) {
		struct mfile *f = &d->mfiles[i];
		char t[64];

		rec_begin(out, "map");
		rec_put_u64(out, "ID", i + 1);
		rec_put_str(out, "PATH", f->path);
		if (f->mnt)
			rec_put_u64(out, "MNT", f->mnt->id);
		rec_put_hex(out, "DEV", f->dev);
		rec_put_u64(out, "INO", f->ino);
		rec_put_u64(out, "SIZE", (uint64_t)f->st.st_size);
		snprintf(t, sizeof t, "%lld.%09ld", (long long)f->st.st_mtim.tv_sec, f->st.st_mtim.tv_nsec);
		rec_put_str(out, "MTIME", t);
		rec_put_hex(out, "MODE", f->st.st_mode);
		if (f->write)
			rec_put_u64(out, "WRITE", 1);
		if (f->deleted && !memfd_link(d, f, out) && ghost_dump(d, f, i + 1, out, e))
			return -1;
		rec_end(out);
	}
	return 0;
}

/* ---- restart ---- */

static int check_same(struct restore *r, const struct rec *rec, const char *path, int fd, bool write, struct err *e)
{
	const char *mtime;
	uint64_t size, mode;
	struct stat st;
	char t[64];

	if (rec_str(rec, "MTIME", &mtime, e) || rec_u64(rec, "SIZE", INT64_MAX, &size, e) ||
	    rec_u64(rec, "MODE", UINT32_MAX, &mode, e))
		return -1;
	if (fstat(fd, &st))
		return err_sys(e, "cannot stat %s", path);
	if ((st.st_mode & S_IFMT) != (mode & S_IFMT))
		return err_set(e, EX_MISFIT, "%s is not the kind of file that it was", path);
	if (S_ISCHR(st.st_mode) || r->o->accept_changed)
		return 0;
	snprintf(t, sizeof t, "%lld.%09ld", (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	/* A file that the job itself writes through the mapping changes its time whenever the kernel writes it back. */
	if ((uint64_t)st.st_size < size || (!write && ((uint64_t)st.st_size != size || strcmp(t, mtime)))) {
		err_set(e, EX_MISFIT, "%s, which the job has mapped, is not the file that it was (size %lld, time %s; at the "
			"checkpoint %llu, %s)", path, (long long)st.st_size, t, (unsigned long long)size, mtime);
		err_hint(e, "put the same file there, or relocate with -L OLD=NEW");
		return -1;
	}
	return 0;
}

struct named { const char *path; bool write; };

static int open_named(void *ctx, int *fd, struct err *e)
{
	struct named *n = ctx;

	*fd = open(n->path, (n->write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY);
	if (*fd < 0 && n->write && (errno == EACCES || errno == EPERM || errno == EROFS))
		*fd = open(n->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (*fd >= 0)
		return 0;
	err_sys(e, "cannot open %s, which the job has mapped", n->path);
	if (e->sys == ENOENT) {
		e->code = EX_MISFIT;
		err_hint(e, "if it lies elsewhere on this node, say so with -L OLD=NEW");
	}
	return -1;
}

static int open_one(struct restore *r, const struct rec *rec, size_t i, struct err *e)
{
	const char *path;
	char to[PATH_MAX], name[32];
	uint64_t write, ghost, mode, uid, gid, mnt, memfd, shm;
	int fd;

	if (rec_str(rec, "PATH", &path, e) || rec_u64_or(rec, "WRITE", 1, 0, &write, e) ||
	    rec_u64_or(rec, "GHOST", 1, 0, &ghost, e) || rec_u64(rec, "MODE", UINT32_MAX, &mode, e) ||
	    rec_u64_or(rec, "UID", UINT32_MAX, 0, &uid, e) || rec_u64_or(rec, "GID", UINT32_MAX, 0, &gid, e) ||
	    rec_u64_or(rec, "MNT", NS_MAX, 0, &mnt, e) || rec_u64_or(rec, "MEMFD", r->nfiles, 0, &memfd, e) ||
	    rec_u64_or(rec, "SHM", RES_MAX_VMAS, 0, &shm, e))
		return -1;
	r->mfiles[i].memfd = (uint32_t)memfd;
	r->mfiles[i].shm = (uint32_t)shm;
	if (memfd || shm)
		return 0;
	if (path[0] != '/')
		return err_set(e, EX_BAD_IMAGE, "path \"%s\" is not absolute", path);
	if (ghost) {
		char proc[64];
		int rw;

		snprintf(name, sizeof name, "mapghost_%zu", i + 1);
		rw = ghost_make(r, name, path, mode, uid, gid, e);
		if (rw < 0)
			return -1;
		/* An executable that is open for writing cannot become /proc/PID/exe (ETXTBSY rules). */
		snprintf(proc, sizeof proc, "/proc/self/fd/%d", rw);
		fd = open(proc, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC);
		close(rw);
	} else {
		struct named n = { to, write };

		if (restore_path(r, path, to, e) || ns_open(r, mnt, open_named, &n, &fd, e))
			return -1;
	}
	if (fd < 0)
		return err_sys(e, "cannot open %s again", path);
	r->mfiles[i].ghost = ghost;
	r->mfiles[i].fd = restore_high_fd(r, fd);
	if (r->mfiles[i].fd < 0)
		return err_sys(e, "cannot keep a descriptor for %s", path);
	return ghost ? 0 : check_same(r, rec, to, r->mfiles[i].fd, write, e);
}

int mfiles_open(struct restore *r, struct err *e)
{
	const struct image_member *m = image_find(r->img, "maps");
	struct rec_list l = { 0 };
	int rc = 0;

	if (!m || !m->text)
		return err_set(e, EX_BAD_IMAGE, "the image has no member `maps`");
	if (rec_list_parse(&l, m->text, m->size, RES_MAX_VMAS, e))
		return err_prefix(e, "maps");
	r->mfiles = calloc(l.n ? l.n : 1, sizeof *r->mfiles);
	if (!r->mfiles)
		rc = err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; i < l.n && !rc; i++) {
		struct rec rec;
		uint64_t id;

		r->mfiles[i].fd = -1;
		r->nmfiles = i + 1;
		rec_list_get(&l, i, &rec);
		rc = rec_u64(&rec, "ID", RES_MAX_VMAS, &id, e);
		if (!rc && id != i + 1)
			rc = err_set(e, EX_BAD_IMAGE, "maps: line %zu: ID out of order", rec.line);
		if (!rc)
			rc = open_one(r, &rec, i, e);
	}
	rec_list_free(&l);
	return rc;
}

/* A description of its own that writes nothing: it is mapped private. */
static int link_one(struct restore *r, const struct rmfile *f)
{
	char path[64];
	int from = f->memfd ? r->files[f->memfd - 1].fd : r->shm[f->shm - 1].fd;

	snprintf(path, sizeof path, "/proc/self/fd/%d", from);
	return open(path, O_RDONLY | O_CLOEXEC);
}

int mfiles_link(struct restore *r, struct err *e)
{
	for (size_t i = 0; i < r->nmfiles; i++) {
		struct rmfile *f = &r->mfiles[i];

		if (!f->memfd && !f->shm)
			continue;
		if (f->memfd ? r->files[f->memfd - 1].ops != &fd_memfd_ops : f->shm > r->nshm || !r->shm[f->shm - 1].memfd)
			return err_set(e, EX_BAD_IMAGE, "maps: %zu is no memfd", i + 1);
		f->fd = link_one(r, f);
		if (f->fd >= 0)
			f->fd = restore_high_fd(r, f->fd);
		if (f->fd < 0)
			return err_sys(e, "cannot open a memfd again");
	}
	return 0;
}
