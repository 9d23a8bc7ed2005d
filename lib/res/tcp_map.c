/* tcp_map: TCP sockets that are mapped to receive without copying, TCP_ZEROCOPY_RECEIVE of tcp(7). What getsockopt(2) puts there are pages of
 * packets, which nobody else can put there: a mapping is restored without them, so it is saved only while it holds none.
 *
 * Records: TYPE="vma" KIND="socket" OBJ=id of the socket in `files`. */
#include "res/fd_ops.h"
#include "res/fd_tcp.h"
#include "res/mm.h"
#include "res/mm_flags.h"
#include "res/proc_ops.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

bool tcp_vma(struct dump *d, struct dproc *p, const struct proc_map *m, uint32_t *id)
{
	for (size_t i = 0; i < d->nfiles; i++) {
		struct dfile *f = d->files[i];

		if (!S_ISSOCK(f->st.st_mode) || f->st.st_ino != m->inode)
			continue;
		if (f->ops != &fd_tcp_ops)
			refuse(d, p, "memory %llx-%llx: a mapped socket that is no TCP socket", (unsigned long long)m->start, (unsigned long long)m->end);
		else if (!files_holds(d, p, f))
			break;
		else if (m->rss_kb)
			refuse_for_now(d, p, "memory %llx-%llx: what a TCP socket received without copying is there", (unsigned long long)m->start,
				       (unsigned long long)m->end);
		*id = f->id;
		return f->ops == &fd_tcp_ops && !m->rss_kb;
	}
	refuse_for_now(d, p, "memory %llx-%llx: a mapped socket that it has no descriptor of", (unsigned long long)m->start,
		       (unsigned long long)m->end);
	return false;
}

static int map_one(struct restore *r, struct rproc *p, const struct rvma *v, struct err *e)
{
	int fd = r->files[v->obj - 1].ops == &fd_tcp_ops ? rproc_fd(p, v->obj) : -1;
	uint64_t len = v->end - v->start;
	long at;

	if (fd < 0)
		return err_set(e, EX_BAD_IMAGE, "memory %llx of a socket that it does not have", (unsigned long long)v->start);
	if (remote_one(p->rem, "mmap", &at, e, SYS_mmap, v->start, len, (uint64_t)v->prot,
		       (v->shared ? MAP_SHARED : MAP_PRIVATE) | MAP_FIXED, (uint64_t)fd, v->offset))
		return -1;
	if (at < 0 && at > -MM_PAGE) {
		errno = (int)-at;
		return err_sys(e, "cannot map a TCP socket");
	}
	for (const struct mm_flag *f = mm_flags; f->smaps; f++)
		if (f->advice >= 0 && mm_has_flag(v, f->name) &&
		    remote_one(p->rem, "madvise", &at, e, SYS_madvise, v->start, len, (uint64_t)f->advice, 0, 0, 0))
			return -1;
	return 0;
}

static int tcp_map_restore(struct restore *r, struct rproc *p, struct err *e)
{
	for (size_t i = 0; i < p->mm->n; i++)
		if (p->mm->v[i].kind == VMA_SOCKET && map_one(r, p, &p->mm->v[i], e))
			return -1;
	return 0;
}

const struct res_ops res_tcp_map = { .name = "tcp_map", .restore = tcp_map_restore };
