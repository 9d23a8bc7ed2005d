/* fd_memfd: memfd_create(2): name, mode, owner, seals, size and content.
 *
 * Record: TYPE="memfd" ... MEMFD=id, the first description of the same memory (it may have been opened anew by
 * /proc/PID/fd); and for that one NAME= SIZE= SEALS= MODE= UID= GID= [HUGE=bytes] DATA="offset+size=member ..."
 * DATA lists what is not a hole; each piece is a raw member. */
#include "res/fd_ops.h"
#include "res/memfd.h"
#include "common/cleanup.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef MFD_HUGE_SHIFT
#define MFD_HUGE_SHIFT 26
#endif

enum { MEMFD_SEALS = 0x3f, MEMFD_MAX_PIECES = 64 };
#define MEMFD_MAX_HUGE ((uint64_t)16 << 30)
#define MEMFD_WINDOW ((uint64_t)64 << 20)      /* mapped at a time while it is filled */
#define MEMFD_GAP ((uint64_t)1 << 20)          /* smaller holes are not worth a member */

struct piece { uint64_t off, size; };

bool memfd_name(const char *link, char *out)
{
	static const char prefix[] = "/memfd:", suffix[] = " (deleted)";
	size_t n;

	if (strncmp(link, prefix, sizeof prefix - 1))
		return false;
	link += sizeof prefix - 1;
	n = strlen(link);
	if (n >= sizeof suffix - 1 && !strcmp(link + n - (sizeof suffix - 1), suffix))
		n -= sizeof suffix - 1;
	if (n > MEMFD_MAX_NAME)
		return false;
	memcpy(out, link, n);
	out[n] = 0;
	return true;
}

int memfd_make(const char *name, uint64_t huge, struct err *e)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int fd;

	if (huge)
		flags |= MFD_HUGETLB | (unsigned)__builtin_ctzll(huge) << MFD_HUGE_SHIFT;
	/* Named where the kernel knows it: vm.memfd_noexec may make the other kind the default. */
	fd = memfd_create(name, flags | MFD_EXEC);
	if (fd < 0 && errno == EACCES)
		fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);
	else if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, flags);
	return fd < 0 ? err_sys(e, "memfd_create %s", name) : fd;
}

bool memfd_write_sealed(uint32_t seals)
{
	return seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE);
}

int memfd_seal(int fd, uint32_t seals, bool late, struct err *e)
{
	uint32_t later = seals & (F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
	int now = fcntl(fd, F_GET_SEALS);

	if (now < 0)
		return err_sys(e, "memfd: F_GET_SEALS");
	seals = late ? later : seals & ~later;
	if ((seals & ~(uint32_t)now) && fcntl(fd, F_ADD_SEALS, seals))
		return err_sys(e, "memfd: cannot set the seals 0x%x", seals);
	return 0;
}

static bool memfd_match(const struct dfile *f)
{
	char name[MEMFD_MAX_NAME + 1];

	return S_ISREG(f->st.st_mode) && f->st.st_nlink == 0 && memfd_name(f->link, name);
}

/* A description of our own: seeking in a duplicate would move the job's offset. */
static int reopen(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

static int memfd_check(struct dump *d, struct dfile *f, struct err *e)
{
	AUTO_FD int fd = f->lfd < 0 ? -1 : reopen(f->lfd, O_RDONLY);

	if (fd < 0)
		return refuse(d, f->p, "fd %d: %s cannot be read: %s", f->fd, f->link, strerror(errno));
	if (fcntl(fd, F_GET_SEALS) < 0)
		return refuse(d, f->p, "fd %d: %s is a deleted file, not a memfd, and has a name like one", f->fd,
			      f->link);
	return 0;
}

/* What is not a hole, in at most MEMFD_MAX_PIECES pieces. */
static size_t pieces(int fd, uint64_t size, struct piece *v)
{
	uint64_t gap = MEMFD_GAP;
	size_t n;

again:
	n = 0;
	for (uint64_t at = 0; at < size;) {
		off_t from = lseek(fd, (off_t)at, SEEK_DATA), to;

		if (from < 0 && errno == ENXIO)
			break;
		if (from < 0 || (to = lseek(fd, from, SEEK_HOLE)) <= from) {
			from = (off_t)at;
			to = (off_t)size;
		}
		if ((uint64_t)to > size)
			to = (off_t)size;
		if (n && (uint64_t)from - (v[n - 1].off + v[n - 1].size) < gap) {
			v[n - 1].size = (uint64_t)to - v[n - 1].off;
		} else if (n == MEMFD_MAX_PIECES) {
			gap *= 4;
			goto again;
		} else {
			v[n++] = (struct piece){ (uint64_t)from, (uint64_t)(to - from) };
		}
		at = (uint64_t)to;
	}
	return n;
}

static int content_dump(struct dump *d, struct dfile *f, int fd, struct err *e)
{
	struct piece v[MEMFD_MAX_PIECES];
	size_t n = pieces(fd, (uint64_t)f->st.st_size, v);
	AUTO_BUF struct buf data = BUF_INIT;
	char name[48];

	for (size_t i = 0; i < n; i++) {
		if (i)
			snprintf(name, sizeof name, "memfd_%u.%zu", f->id, i);
		else
			snprintf(name, sizeof name, "memfd_%u", f->id);
		if (dump_raw_fd(d, name, fd, v[i].off, v[i].size, e))
			return -1;
		buf_printf(&data, "%s%llu+%llu=%s", i ? " " : "", (unsigned long long)v[i].off,
			   (unsigned long long)v[i].size, name);
	}
	if (buf_failed(&data))
		return err_set(e, EX_FAILED, "out of memory");
	rec_put_str(&d->files_out, "DATA", buf_str(&data));
	return 0;
}

static struct dfile *first_of(struct dump *d, const struct stat *st)
{
	for (size_t i = 0; i < d->nfiles; i++)
		if (d->files[i]->ops == &fd_memfd_ops && d->files[i]->st.st_ino == st->st_ino &&
		    d->files[i]->st.st_dev == st->st_dev)
			return d->files[i];
	return NULL;
}

static int memfd_dump(struct dump *d, struct dfile *f, struct err *e)
{
	struct dfile *first = first_of(d, &f->st);
	struct buf *b = &d->files_out;
	char name[MEMFD_MAX_NAME + 1];
	struct statfs fs;
	AUTO_FD int fd = -1;
	int seals;

	if (!first)
		first = f;
	rec_put_u64(b, "MEMFD", first->id);
	if (first != f)
		return 0;
	fd = reopen(f->lfd, O_RDONLY);
	if (fd < 0 || fstatfs(fd, &fs) || (seals = fcntl(fd, F_GET_SEALS)) < 0 || !memfd_name(f->link, name))
		return err_sys(e, "cannot read %s", f->link);
	rec_put_str(b, "NAME", name);
	rec_put_u64(b, "SIZE", (uint64_t)f->st.st_size);
	rec_put_hex(b, "SEALS", (uint64_t)seals);
	rec_put_hex(b, "MODE", f->st.st_mode & 07777);
	rec_put_u64(b, "UID", f->st.st_uid);
	rec_put_u64(b, "GID", f->st.st_gid);
	if (fs.f_type == HUGETLBFS_MAGIC)
		rec_put_u64(b, "HUGE", (uint64_t)f->st.st_blksize);
	return content_dump(d, f, fd, e);
}

/* ---- restart ---- */

/* By a mapping: hugetlbfs has no write(2). pread(2) reports a lack of memory as EFAULT, where a store of our
 * own would be SIGBUS. */
static int fill(int fd, uint64_t off, uint64_t size, int img, uint64_t img_off, uint64_t align, struct err *e)
{
	while (size) {
		uint64_t skip = off % align, n = size < MEMFD_WINDOW ? size : MEMFD_WINDOW, done = 0;
		uint64_t len = (skip + n + align - 1) / align * align;
		char *m = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)(off - skip));

		if (m == MAP_FAILED)
			return err_sys(e, "memfd: cannot map it");
		while (done < n) {
			ssize_t k = pread(img, m + skip + done, n - done, (off_t)(img_off + done));
			if (k <= 0) {
				int sys = k ? errno : EIO;
				munmap(m, len);
				errno = sys == EFAULT ? ENOMEM : sys;
				return err_sys(e, "memfd: cannot fill it");
			}
			done += (uint64_t)k;
		}
		munmap(m, len);
		off += n;
		img_off += n;
		size -= n;
	}
	return 0;
}

static int content_restore(struct restore *r, int fd, const struct rec *rec, uint64_t size, uint64_t align, struct err *e)
{
	const char *s;
	unsigned long long off, len;
	char name[IMAGE_MAX_NAME + 1];
	int n;

	if (rec_str(rec, "DATA", &s, e))
		return -1;
	for (; *s; s += n) {
		const struct image_member *m;

		n = 0;
		if (sscanf(s, "%20llu+%20llu=%255[A-Za-z0-9._-]%n", &off, &len, name, &n) != 3 || !n)
			return err_set(e, EX_BAD_IMAGE, "line %zu: DATA is malformed", rec->line);
		m = image_find(r->img, name);
		if (!m || m->text || m->size != len || len > size || off > size - len)
			return err_set(e, EX_BAD_IMAGE, "line %zu: DATA: no raw member %s of %llu bytes within %llu",
				       rec->line, name, len, (unsigned long long)size);
		if (fill(fd, off, len, image_fd(r->img), m->offset, align, e))
			return -1;
		if (s[n] == ' ')
			n++;
	}
	return 0;
}

static int object_make(struct restore *r, const struct rec *rec, struct err *e)
{
	uint64_t size, seals, mode, uid, gid, huge;
	const char *name;
	AUTO_FD int fd = -1;

	if (rec_str(rec, "NAME", &name, e) || rec_u64(rec, "SIZE", INT64_MAX, &size, e) ||
	    rec_u64(rec, "SEALS", MEMFD_SEALS, &seals, e) || rec_u64(rec, "MODE", 07777, &mode, e) ||
	    rec_u64(rec, "UID", UINT32_MAX, &uid, e) || rec_u64(rec, "GID", UINT32_MAX, &gid, e) ||
	    rec_u64_or(rec, "HUGE", MEMFD_MAX_HUGE, 0, &huge, e))
		return -1;
	if (strlen(name) > MEMFD_MAX_NAME || (huge && (huge & (huge - 1) || huge < 4096)))
		return err_set(e, EX_BAD_IMAGE, "line %zu: no such memfd can be", rec->line);
	fd = memfd_make(name, huge, e);
	if (fd < 0)
		return -1;
	if (ftruncate(fd, (off_t)size))
		return err_sys(e, "memfd %s: cannot give it %llu bytes", name, (unsigned long long)size);
	if (content_restore(r, fd, rec, size, huge ? huge : 4096, e))
		return -1;
	if ((geteuid() != uid || getegid() != gid) && fchown(fd, (uid_t)uid, (gid_t)gid) && geteuid() == 0)
		return err_sys(e, "memfd %s: cannot give it its owner", name);
	if (fchmod(fd, (mode_t)mode))
		return err_sys(e, "memfd %s: cannot give it its mode", name);
	if (memfd_seal(fd, (uint32_t)seals, false, e))
		return -1;
	return take_fd(&fd);
}

static int memfd_open(struct restore *r, struct rfile *f, struct err *e)
{
	enum { KEEP = O_ACCMODE | O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME | O_PATH | O_LARGEFILE };
	uint64_t id, flags;
	int64_t pos;
	struct rfile *first;
	AUTO_FD int made = -1;

	if (rec_u64(&f->rec, "MEMFD", r->nfiles, &id, e) || rec_u64(&f->rec, "FLAGS", UINT32_MAX, &flags, e) ||
	    rec_i64(&f->rec, "POS", 0, INT64_MAX, &pos, e))
		return -1;
	first = restore_file(r, (uint32_t)id);
	if (!first || first->id > f->id || first->ops != &fd_memfd_ops || (first != f && first->fd < 0))
		return err_set(e, EX_BAD_IMAGE, "line %zu: MEMFD names no earlier memfd", f->rec.line);
	if (first == f) {
		made = object_make(r, &f->rec, e);
		if (made < 0)
			return -1;
	}
	if (made >= 0 && (flags & O_ACCMODE) == O_RDWR && !(flags & O_PATH)) {
		f->fd = take_fd(&made);
		if (fd_set_flags(f->fd, &f->rec, e))
			return -1;
	} else {
		f->fd = reopen(made >= 0 ? made : first->fd, (int)flags & KEEP);
		if (f->fd < 0)
			return err_sys(e, "cannot open a memfd anew");
	}
	if (!(flags & O_PATH) && pos && lseek(f->fd, pos, SEEK_SET) < 0)
		return err_sys(e, "cannot set the offset of a memfd");
	return 0;
}

static int memfd_late(struct restore *r, struct rfile *f, struct err *e)
{
	uint64_t seals;
	AUTO_FD int fd = -1;

	if (!rec_find(&f->rec, "SEALS"))
		return 0;
	if (rec_u64(&f->rec, "SEALS", MEMFD_SEALS, &seals, e))
		return -1;
	if (!(seals & (F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)))
		return 0;
	/* F_ADD_SEALS wants a description open for writing, which the job's own may not be. */
	fd = reopen(f->fd, O_RDWR);
	if (fd < 0)
		return err_sys(e, "memfd: cannot open it for sealing");
	return memfd_seal(fd, (uint32_t)seals, true, e);
}

const struct fd_ops fd_memfd_ops = {
	.type = "memfd", .match = memfd_match, .check = memfd_check, .dump = memfd_dump, .open = memfd_open,
	.late = memfd_late,
};
