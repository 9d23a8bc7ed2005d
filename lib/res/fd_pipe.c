/* fd_pipe: pipes and named fifos, with their content and size. pipe(7), fifo(7).
 *
 * Record: TYPE="pipe" ... GROUP=id (first description of the same pipe) PIPESIZE= [CONTENT=bytes [PACKETS="n n ..."]] or
 * EXTERNAL="1" STD=n. PACKETS: of a writer in packet mode (O_DIRECT), the length of each packet.
 * The content is raw member pipe_GROUP. A pipe whose other end is held by somebody outside the job is external:
 * on restart it becomes the restart's own stdin, stdout or stderr, or what -S names. */
#include "res/fd_ops.h"
#include "res/fd_ext.h"
#include "common/cleanup.h"

#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>

enum { PIPE_OPEN_FLAGS = O_ACCMODE | O_NONBLOCK | O_DIRECT };

static bool pipe_match(const struct dfile *f)
{
	return S_ISFIFO(f->st.st_mode) && !(f->flags & O_PATH);
}

struct ends { struct dfile *first, *reader; bool r, w, packets; };

static struct ends pipe_ends(struct dump *d, const struct dfile *f)
{
	struct ends x = { 0 };

	for (struct dfile *c = files_same_inode(d, f, NULL); c; c = files_same_inode(d, f, c)) {
		int acc = (int)c->flags & O_ACCMODE;

		if (c->flags & O_PATH)
			continue;
		x.first = c;
		if (acc != O_WRONLY) {
			x.r = true;
			x.reader = c;
		}
		if (acc != O_RDONLY) {
			x.w = true;
			x.packets |= (c->flags & O_DIRECT) != 0;
		}
	}
	return x;
}

static bool is_named(const struct dfile *f) { return f->link[0] == '/'; }

/* With only one end in the job, the other may be held outside, or by nobody any more. */
static bool pipe_external(struct dump *d, const struct dfile *f)
{
	struct ends x = pipe_ends(d, f);

	return !is_named(f) && !(x.r && x.w) && ext_held_outside(d, f);
}

static int pipe_check(struct dump *d, struct dfile *f, struct err *e)
{
	struct stat st;
	char path[PATH_MAX + 64];

	if (is_named(f)) {
		if (dump_path(d, f->p, f->p->ns[NSK_MNT] && !f->mnt, f->link, path, sizeof path) || stat(path, &st) || st.st_ino != f->st.st_ino || st.st_dev != f->st.st_dev)
			return refuse(d, f->p, "fd %d: fifo %s was removed", f->fd, f->link);
	}
	if (f->lfd < 0)
		return refuse(d, f->p, "fd %d: %s cannot be duplicated", f->fd, f->link);
	return 0;
}

/* Packets stay packets in the copy: each read gives one. */
static int read_copy(struct dump *d, int in, char *mem, size_t n, bool packets)
{
	AUTO_BUF struct buf lens = BUF_INIT;
	size_t got = 0;

	while (got < n) {
		ssize_t k = read(in, mem + got, n - got);
		if (k <= 0)
			return -1;
		buf_printf(&lens, "%s%zd", got ? " " : "", k);
		got += (size_t)k;
	}
	if (packets)
		rec_put_str(&d->files_out, "PACKETS", buf_str(&lens));
	d->files_out.failed |= buf_failed(&lens);
	return 0;
}

/* tee(2) copies without consuming. The last pages of a pipe may be shared, so sizes fit. */
static int pipe_content(struct dump *d, const struct dfile *rd, uint32_t group, int bytes, bool packets, struct err *e)
{
	AUTO_FREE char *mem = malloc((size_t)bytes);
	AUTO_FD int in = -1, out = -1;
	int p[2], size = fcntl(rd->lfd, F_GETPIPE_SZ);
	char name[32];
	ssize_t n;

	if (!mem)
		return err_set(e, EX_FAILED, "out of memory");
	if (pipe2(p, O_CLOEXEC | O_NONBLOCK))
		return err_sys(e, "cannot make a pipe");
	in = p[0];
	out = p[1];
	if (size > 0 && fcntl(out, F_SETPIPE_SZ, size) < 0 && size > 65536)
		return err_sys(e, "cannot copy a pipe of %d bytes", size);
	n = tee(rd->lfd, out, (size_t)bytes, SPLICE_F_NONBLOCK);
	if (n != bytes)
		return n < 0 ? err_sys(e, "cannot read the content of %s", rd->link)
			     : err_set(e, EX_FAILED, "%s holds %d bytes, only %zd could be copied", rd->link, bytes, n);
	if (read_copy(d, in, mem, (size_t)n, packets))
		return err_sys(e, "cannot read the content of %s", rd->link);
	snprintf(name, sizeof name, "pipe_%u", group);
	return dump_raw_mem(d, name, mem, (size_t)n, e);
}

static int pipe_dump(struct dump *d, struct dfile *f, struct err *e)
{
	struct ends x = pipe_ends(d, f);
	struct buf *b = &d->files_out;
	int bytes = 0;

	rec_put_u64(b, "GROUP", x.first->id);
	if (pipe_external(d, f)) {
		ext_dump(d, f);
		return 0;
	}
	if (x.first != f)
		return 0;
	rec_put_u64(b, "PIPESIZE", (uint64_t)fcntl(f->lfd, F_GETPIPE_SZ));
	if (!x.reader || ioctl(x.reader->lfd, FIONREAD, &bytes) || bytes <= 0)
		return 0;
	rec_put_u64(b, "CONTENT", (uint64_t)bytes);
	return pipe_content(d, x.reader, f->id, bytes, x.packets, e);
}

/* ---- restart ---- */

/* The next length of PACKETS, 0 when it makes no sense. */
static size_t next_packet(const char **s)
{
	char *end;
	unsigned long n = **s >= '0' && **s <= '9' ? strtoul(*s, &end, 10) : 0;

	if (!n || n > PIPE_BUF || (*end && *end != ' '))
		return 0;
	*s = end + (*end == ' ');
	return n;
}

static int fill(struct restore *r, struct rfile *f, uint64_t bytes, int wfd, struct err *e)
{
	const char *packets = rec_find(&f->rec, "PACKETS");
	const struct image_member *m;
	char name[32], buf[65536];
	uint64_t done = 0;

	snprintf(name, sizeof name, "pipe_%u", f->id);
	m = image_find(r->img, name);
	if (!m || m->text || m->size != bytes)
		return err_set(e, EX_BAD_IMAGE, "the image has no fitting member %s", name);
	if (packets && fcntl(wfd, F_SETFL, O_NONBLOCK | O_DIRECT))
		return err_sys(e, "cannot fill a pipe with packets");
	while (done < bytes) {
		size_t want = bytes - done < sizeof buf ? (size_t)(bytes - done) : sizeof buf;
		size_t packet = packets ? next_packet(&packets) : want;

		if (!packet || packet > want)
			return err_set(e, EX_BAD_IMAGE, "line %zu: malformed PACKETS", f->rec.line);
		want = packet;
		ssize_t n = pread(image_fd(r->img), buf, want, (off_t)(m->offset + done));
		if (n != (ssize_t)want)
			return err_sys(e, "cannot read %s", name);
		if (write(wfd, buf, (size_t)n) != n)
			return err_sys(e, "cannot fill a pipe with its %llu bytes", (unsigned long long)bytes);
		done += (uint64_t)n;
	}
	return 0;
}

/* Opens one more description of the pipe behind fd. */
static int reopen(int fd, uint64_t flags, struct err *e)
{
	char path[64];
	AUTO_FD int both = -1, n = -1;
	int acc = (int)flags & O_ACCMODE;

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	/* Without O_NONBLOCK the open could wait for the other end; with it, a writer wants a reader to be there. */
	both = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (both < 0 || (n = open(path, acc | O_NONBLOCK | O_CLOEXEC)) < 0)
		return err_sys(e, "cannot open a pipe again");
	if (fcntl(n, F_SETFL, (int)flags & PIPE_OPEN_FLAGS & ~O_ACCMODE) < 0)
		return err_sys(e, "cannot set the flags of a pipe");
	return take_fd(&n);
}

/* The first description of its group: a new pipe with its content, or the fifo. Returns a descriptor of either end. */
static int make(struct restore *r, struct rfile *f, const char *path, struct err *e)
{
	uint64_t size, bytes;
	AUTO_FD int rd = -1, wr = -1;
	int p[2];

	if (rec_u64(&f->rec, "PIPESIZE", RES_PIPE_MAX, &size, e) || rec_u64_or(&f->rec, "CONTENT", RES_PIPE_MAX, 0, &bytes, e))
		return -1;
	if (path[0] == '/') {
		char to[PATH_MAX];
		struct stat st;

		if (restore_path(r, path, to, e))
			return -1;
		wr = open(to, O_RDWR | O_NONBLOCK | O_CLOEXEC);
		if (wr < 0 || fstat(wr, &st))
			return err_sys(e, "cannot open fifo %s again", to);
		if (!S_ISFIFO(st.st_mode))
			return err_set(e, EX_MISFIT, "%s is no fifo any more", to);
	} else {
		if (pipe2(p, O_CLOEXEC | O_NONBLOCK))
			return err_sys(e, "cannot make a pipe");
		rd = p[0];
		wr = p[1];
	}
	if (fcntl(wr, F_SETPIPE_SZ, (int)size) < 0 && size > 65536)
		return err_sys(e, "cannot make a pipe of %llu bytes", (unsigned long long)size);
	return bytes && fill(r, f, bytes, wr, e) ? -1 : take_fd(&wr);
}

static int pipe_open(struct restore *r, struct rfile *f, struct err *e)
{
	uint64_t group, flags;
	const char *path;
	AUTO_FD int made = -1;
	struct rfile *first;

	if (rec_find(&f->rec, "EXTERNAL"))
		return ext_open(r, f, e);
	if (rec_u64(&f->rec, "GROUP", r->nfiles, &group, e) || rec_str(&f->rec, "PATH", &path, e) ||
	    rec_u64(&f->rec, "FLAGS", UINT32_MAX, &flags, e))
		return -1;
	first = restore_file(r, (uint32_t)group);
	if (!first || first->id > f->id || first->ops != f->ops || (first != f && rec_find(&first->rec, "EXTERNAL")))
		return err_set(e, EX_BAD_IMAGE, "line %zu: pipe of an unknown group", f->rec.line);
	if (first == f && (made = make(r, f, path, e)) < 0)
		return -1;
	f->fd = reopen(first == f ? made : first->fd, flags, e);
	return f->fd < 0 ? -1 : 0;
}

const struct fd_ops fd_pipe_ops = {
	.type = "pipe", .match = pipe_match, .check = pipe_check, .dump = pipe_dump, .open = pipe_open,
};
