/* fd_reg: regular files, directories and O_PATH descriptors of any file that has a name.
 *
 * Record: TYPE="reg" ... MODE= DEV= INO= SIZE= MTIME="sec.nsec" [GHOST=id UID= GID= [MAP=id]]
 * A file without name (deleted, O_TMPFILE) is a ghost: its content is saved as raw member ghost_ID, ID
 * being the first description of it, and on restart it is made anew, nameless again. MAP: somebody maps it too, and
 * its content is that map's (mm_file.c): both must lead to one file again.
 *
 * Files are not part of the image. A file open for writing that has grown since the checkpoint is cut back to
 * the size it had then, so that an append-only log ends as it would have; one that
 * shrank, or one open for reading and writing that was changed, does not fit any more: EX_MISFIT. */
#include "res/fd_ops.h"
#include "res/fd_ext.h"
#include "res/fd_reg.h"
#include "res/member_group.h"
#include "res/mm.h"
#include "common/cleanup.h"
#include "common/log.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>

enum { REG_OPEN_FLAGS = O_ACCMODE | O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME | O_SYNC | O_DSYNC | O_PATH |
			O_DIRECTORY | O_NOFOLLOW | O_LARGEFILE };

static bool link_deleted(const char *link)
{
	size_t n = strlen(link);

	return n > 10 && !strcmp(link + n - 10, " (deleted)");
}

static bool reg_match(const struct dfile *f)
{
	mode_t t = f->st.st_mode & S_IFMT;

	if (f->link[0] != '/' || !strncmp(f->link, "/memfd:", 7))
		return false;
	if (!strncmp(f->link, "/proc/", 6) && f->link[6] >= '0' && f->link[6] <= '9')
		return false;
	return t == S_IFREG || t == S_IFDIR || (f->flags & O_PATH);
}

/* Its mount is none that the process sees. */
static bool on_detached_mount(const struct dfile *f)
{
	AUTO_BUF struct buf b = BUF_INIT;
	uint64_t id;
	char want[32];

	if (fdinfo_num(f->info, "mnt_id", 10, &id) || proc_read(&b, f->p->pid, "mountinfo", 64 << 20) || buf_failed(&b))
		return false;
	snprintf(want, sizeof want, "\n%llu ", (unsigned long long)id);
	return strncmp(buf_str(&b), want + 1, strlen(want + 1)) && !strstr(buf_str(&b), want);
}

/* What was written to such a file (a trigger, cgroup-v2.rst) belongs to the descriptor, and is shown nowhere. */
static bool may_be_trigger(const struct dfile *f)
{
	const char *name = strrchr(f->link, '/');
	size_t n = strlen(name);

	return (f->flags & O_ACCMODE) != O_RDONLY && !(f->flags & O_PATH) &&
	       (!strncmp(f->link, "/proc/pressure/", 15) || (n > 9 && !strcmp(name + n - 9, ".pressure") && strcmp(name, "/cgroup.pressure") &&
								!strncmp(f->link, "/sys/fs/cgroup/", 15)));
}

static int reg_check(struct dump *d, struct dfile *f, struct err *e)
{
	char path[PATH_MAX + 64];
	struct stat st;

	if (may_be_trigger(f))
		refuse(d, f->p, "fd %d: %s, open for writing: a pressure trigger cannot be seen", f->fd, f->link);

	if (S_ISDIR(f->st.st_mode) && (f->st.st_nlink == 0 || link_deleted(f->link)))
		return refuse(d, f->p, "fd %d: directory %s was removed", f->fd, f->link);
	if (f->st.st_nlink == 0 && !S_ISREG(f->st.st_mode))
		return refuse(d, f->p, "fd %d: %s was removed and is no regular file", f->fd, f->link);
	if (f->st.st_nlink == 0) {
		if (f->lfd < 0 || (f->flags & O_PATH))
			return refuse(d, f->p, "fd %d: deleted file %s cannot be read", f->fd, f->link);
		return 0;
	}
	if (dump_path(d, f->p, f->p->ns[NSK_MNT] && !f->mnt, f->link, path, sizeof path) || lstat(path, &st) || st.st_ino != f->st.st_ino ||
	    st.st_dev != f->st.st_dev) {
		if (!dump_path(d, f->p, f->p->ns[NSK_MNT] && !f->mnt, f->link, path, sizeof path) && !stat(path, &st) && st.st_ino == f->st.st_ino)
			return 0;
		if (on_detached_mount(f))
			return refuse(d, f->p, "fd %d: %s on a mount that is nowhere (open_tree, fsmount, lazy umount) is not supported",
				      f->fd, f->link);
		return refuse(d, f->p, "fd %d: file %s has lost its name (renamed over, unlinked with other "
			      "links left, or mounted over)", f->fd, f->link);
	}
	return 0;
}

/* Content of a nameless file. A write-only description cannot be read through our duplicate. */
static int ghost_dump(struct dump *d, struct dfile *f, struct err *e)
{
	struct dfile *first = files_find_ghost(d, &f->st);
	char name[32], path[64];
	AUTO_FD int fd = -1;

	rec_put_u64(&d->files_out, "GHOST", first->id);
	rec_put_u64(&d->files_out, "UID", f->st.st_uid);
	rec_put_u64(&d->files_out, "GID", f->st.st_gid);
	if (first != f)
		return 0;
	for (size_t i = 0; i < d->nmfiles; i++)
		if (d->mfiles[i].deleted && d->mfiles[i].st.st_ino == f->st.st_ino && d->mfiles[i].st.st_dev == f->st.st_dev) {
			rec_put_u64(&d->files_out, "MAP", i + 1);
			return 0;
		}
	snprintf(path, sizeof path, "/proc/self/fd/%d", f->lfd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "cannot read deleted file %s", f->link);
	snprintf(name, sizeof name, "ghost_%u", f->id);
	return dump_raw_fd(d, name, fd, 0, (uint64_t)f->st.st_size, e);
}

static int reg_dump(struct dump *d, struct dfile *f, struct err *e)
{
	struct buf *b = &d->files_out;
	char t[64];

	rec_put_hex(b, "MODE", f->st.st_mode);
	rec_put_hex(b, "DEV", f->st.st_dev);
	rec_put_u64(b, "INO", f->st.st_ino);
	rec_put_u64(b, "SIZE", (uint64_t)f->st.st_size);
	snprintf(t, sizeof t, "%lld.%09ld", (long long)f->st.st_mtim.tv_sec, f->st.st_mtim.tv_nsec);
	rec_put_str(b, "MTIME", t);
	if (f->st.st_nlink && ext_shared_above(d, f)) {
		ext_dump(d, f);
		return 0;
	}
	return f->st.st_nlink == 0 ? ghost_dump(d, f, e) : 0;
}

/* ---- restart ---- */

struct reg_fields {
	const char *path, *mtime;
	uint64_t flags, mode, size, ghost, uid, gid, map;
	int64_t pos;
};

static int reg_fields(const struct rec *rec, struct reg_fields *x, struct err *e)
{
	if (rec_str(rec, "PATH", &x->path, e) || rec_str(rec, "MTIME", &x->mtime, e) ||
	    rec_u64(rec, "FLAGS", UINT32_MAX, &x->flags, e) || rec_u64(rec, "MODE", UINT32_MAX, &x->mode, e) ||
	    rec_u64(rec, "SIZE", INT64_MAX, &x->size, e) || rec_i64(rec, "POS", 0, INT64_MAX, &x->pos, e) ||
	    rec_u64_or(rec, "GHOST", RES_MAX_FILES, 0, &x->ghost, e) ||
	    rec_u64_or(rec, "UID", UINT32_MAX, 0, &x->uid, e) || rec_u64_or(rec, "GID", UINT32_MAX, 0, &x->gid, e) ||
	    rec_u64_or(rec, "MAP", RES_MAX_VMAS, 0, &x->map, e))
		return -1;
	if (x->path[0] != '/')
		return err_set(e, EX_BAD_IMAGE, "line %zu: path \"%s\" is not absolute", rec->line, x->path);
	return 0;
}

int ghost_make(struct restore *r, const char *member, const char *near, uint64_t mode, uint64_t uid, uint64_t gid,
	       struct err *e)
{
	const struct image_member *m = image_find(r->img, member);
	char dir[PATH_MAX];
	AUTO_FD int fd = -1;

	if (!m || m->text)
		return err_set(e, EX_BAD_IMAGE, "the image has no raw member %s", member);
	if (restore_path(r, near, dir, e))
		return -1;
	char *slash = strrchr(dir, '/');
	if (slash)
		slash[slash == dir] = 0;
	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(e, "cannot make a nameless file in %s", dir);
	if (ftruncate(fd, (off_t)m->size))
		return err_sys(e, "cannot restore deleted file %s", near);
	off_t off = (off_t)m->offset, out = 0;
	while ((uint64_t)out < m->size) {
		char buf[65536];
		size_t want = m->size - (uint64_t)out < sizeof buf ? (size_t)(m->size - (uint64_t)out) : sizeof buf;
		ssize_t n = pread(image_fd(r->img), buf, want, off);
		if (n <= 0 || pwrite(fd, buf, (size_t)n, out) != n)
			return err_sys(e, "cannot restore deleted file %s", near);
		off += n;
		out += n;
	}
	if ((geteuid() != uid || getegid() != gid) && fchown(fd, (uid_t)uid, (gid_t)gid) && geteuid() == 0)
		return err_sys(e, "cannot give deleted file %s its owner", near);
	if (fchmod(fd, (mode_t)(mode & 07777)))
		return err_sys(e, "cannot give deleted file %s its mode", near);
	return take_fd(&fd);
}

static int open_ghost(struct restore *r, struct rfile *f, const struct reg_fields *x, struct err *e)
{
	struct rfile *first = restore_file(r, (uint32_t)x->ghost);
	char path[64], name[32];
	AUTO_FD int made = -1;
	int base;

	if (!first || first->id > f->id)
		return err_set(e, EX_BAD_IMAGE, "line %zu: GHOST names no earlier file", f->rec.line);
	if (x->map && (x->map > r->nmfiles || !r->mfiles[x->map - 1].ghost))
		return err_set(e, EX_BAD_IMAGE, "line %zu: MAP names no mapped file without name", f->rec.line);
	if (first == f && !x->map) {
		snprintf(name, sizeof name, "ghost_%u", f->id);
		made = ghost_make(r, name, x->path, x->mode, x->uid, x->gid, e);
		if (made < 0)
			return -1;
	}
	base = x->map ? r->mfiles[x->map - 1].fd : first == f ? made : first->fd;
	snprintf(path, sizeof path, "/proc/self/fd/%d", base);
	f->fd = open(path, ((int)x->flags & REG_OPEN_FLAGS & ~(O_NOFOLLOW | O_DIRECTORY)) | O_CLOEXEC);
	return f->fd < 0 ? err_sys(e, "cannot open deleted file %s again", x->path) : 0;
}

/* See the head of this file. */
static int fit_content(struct restore *r, struct rfile *f, const struct reg_fields *x, const char *path, struct err *e)
{
	int acc = (int)x->flags & O_ACCMODE;
	struct stat st;
	struct statfs fs;
	char t[64];

	if (fstat(f->fd, &st))
		return err_sys(e, "cannot stat %s", path);
	if ((st.st_mode & S_IFMT) != (x->mode & S_IFMT))
		return err_set(e, EX_MISFIT, "%s is not the kind of file that it was", path);
	if (!S_ISREG(st.st_mode) || (x->flags & O_PATH))
		return 0;
	/* Files of proc, sysfs and control groups have no size and no meaningful times. */
	if (!fstatfs(f->fd, &fs) && (fs.f_type == PROC_SUPER_MAGIC || fs.f_type == SYSFS_MAGIC || fs.f_type == CGROUP_SUPER_MAGIC ||
				     fs.f_type == CGROUP2_SUPER_MAGIC))
		return 0;
	if ((uint64_t)st.st_size < x->size && !r->o->accept_changed) {
		err_set(e, EX_MISFIT, "%s has %lld bytes, it had %llu at the checkpoint", path, (long long)st.st_size,
			(unsigned long long)x->size);
		err_hint(e, "put the file back as it was, or take it as it is with --accept-changed");
		return -1;
	}
	snprintf(t, sizeof t, "%lld.%09ld", (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	if (acc == O_RDWR && strcmp(t, x->mtime) && !r->o->accept_changed && !reg_changed_by_restart(r, &st)) {
		err_set(e, EX_MISFIT, "%s was changed after the checkpoint", path);
		err_hint(e, "checkpoint with -k to keep files and memory together; --accept-changed takes it as it is");
		return -1;
	}
	if (acc != O_RDONLY && (uint64_t)st.st_size > x->size && !r->o->accept_changed) {
		if (r->check_only)
			return 0;
		if (ext_inode_in_use(&st)) {
			log_verbose("%s: has grown, and somebody else has it open: left as it is", path);
			return 0;
		}
		log_verbose("%s: cut back from %lld to %llu bytes, its size at the checkpoint", path,
			    (long long)st.st_size, (unsigned long long)x->size);
		if (ftruncate(f->fd, (off_t)x->size))
			return err_sys(e, "cannot cut %s back to its size at the checkpoint", path);
		reg_note_changed(r, &st);
	}
	return 0;
}

/* Files that this restart itself cut back: their mtime changed by our own hand. */
void reg_note_changed(struct restore *r, const struct stat *st)
{
	struct file_key *n = realloc(r->cut, (r->ncut + 1) * sizeof *n);

	if (!n)
		return;
	r->cut = n;
	n[r->ncut++] = (struct file_key){ st->st_dev, st->st_ino };
}

bool reg_changed_by_restart(const struct restore *r, const struct stat *st)
{
	for (size_t i = 0; i < r->ncut; i++)
		if (r->cut[i].dev == st->st_dev && r->cut[i].ino == st->st_ino)
			return true;
	return false;
}

static int reg_open(struct restore *r, struct rfile *f, struct err *e)
{
	struct reg_fields x;
	char path[PATH_MAX], id[16];
	const char *to;
	int flags;

	if (reg_fields(&f->rec, &x, e))
		return -1;
	if (rec_find(&f->rec, "EXTERNAL"))
		return ext_open(r, f, e);
	flags = ((int)x.flags & REG_OPEN_FLAGS) | O_CLOEXEC | O_NOCTTY;
	snprintf(id, sizeof id, "%u", f->id);
	to = restore_subst(r, id);
	if (x.ghost && !to) {
		if (open_ghost(r, f, &x, e))
			return -1;
	} else {
		if (to ? (size_t)snprintf(path, sizeof path, "%s", to) >= sizeof path : restore_path(r, x.path, path, e))
			return to ? err_set(e, EX_FAILED, "substitute path is too long") : -1;
		f->fd = open(path, flags);
		if (f->fd < 0 && errno == ENOENT && r->check_only && member_group_to_be(path)) {
			f->fd = open("/", O_PATH | O_CLOEXEC);
			return f->fd < 0 ? err_sys(e, "cannot open /") : 0;
		}
		if (f->fd < 0) {
			err_sys(e, "cannot open %s again", path);
			if (e && e->sys == ENOENT) {
				e->code = EX_MISFIT;
				err_hint(e, "if it lies elsewhere on this node, say so with -L OLD=NEW");
			}
			return -1;
		}
		if (!to && fit_content(r, f, &x, path, e))
			return -1;
	}
	if (S_ISREG(x.mode) && !(x.flags & O_PATH) && lseek(f->fd, x.pos, SEEK_SET) < 0)
		return err_sys(e, "cannot set the offset of %s", x.path);
	if (S_ISDIR(x.mode) && !(x.flags & O_PATH) && x.pos && lseek(f->fd, x.pos, SEEK_SET) < 0)
		return err_sys(e, "cannot set the offset of directory %s", x.path);
	return 0;
}

const struct fd_ops fd_reg_ops = {
	.type = "reg", .match = reg_match, .check = reg_check, .dump = reg_dump, .open = reg_open,
};
