/* fd_uring_restore: io_uring rings back; see fd_uring.c.
 *
 * A new ring counts from 0, and its counters are the kernel's: no-operations are made until they stand where they stood,
 * 75 to 100 ns each. Then what was in the rings is written over. The restorer makes the ring, so all processes inherit one
 * description; each maps it at its places; its process registers the buffers, the restorer at the end the files. */
#include "res/fd_uring.h"
#include "common/cleanup.h"
#include "res/fd_ops.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

enum {
	SYS_uring_setup = 425, SYS_uring_enter, SYS_uring_register, REGISTER_BUFFERS = 0, REGISTER_FILES = 2,
	SETUP_CQSIZE = 1 << 3, SETUP_SUBMIT_ALL = 1 << 7, OFF_SQES = 0x10000000,
};

/* linux/io_uring.h, which an older system may lack. */
struct uring_params {
	uint32_t sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features, wq_fd, resv[3];
	struct { uint32_t head, tail, ring_mask, ring_entries, flags, dropped, array, resv1; uint64_t addr; } sq;
	struct { uint32_t head, tail, ring_mask, ring_entries, overflow, cqes, flags, resv1; uint64_t addr; } cq;
};
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
struct want { uint64_t sq, cq, count, sq_tail, cq_head, dropped, cq_flags; };
struct mapped { char *rings, *sqes; size_t nrings, nsqes; };
struct item { uint64_t index, value, len; };

static int read_record(const struct rec *rec, struct want *w, struct err *e)
{
	if (rec_u64(rec, "SQ", URING_ENTRIES_MAX, &w->sq, e) || rec_u64(rec, "CQ", URING_CQ_MAX, &w->cq, e) ||
	    rec_u64(rec, "COUNT", URING_MAX, &w->count, e) || rec_u64(rec, "SQ_TAIL", UINT32_MAX, &w->sq_tail, e) ||
	    rec_u64(rec, "CQ_HEAD", UINT32_MAX, &w->cq_head, e) || rec_u64_or(rec, "DROPPED", UINT32_MAX, 0, &w->dropped, e) ||
	    rec_u64_or(rec, "CQ_FLAGS", UINT32_MAX, 0, &w->cq_flags, e))
		return -1;
	if (!w->sq || w->sq & (w->sq - 1) || w->cq & (w->cq - 1) || w->cq < w->sq)
		return err_set(e, EX_BAD_IMAGE, "line %zu: malformed sizes of a ring", rec->line);
	return 0;
}

static uint32_t *word(const struct mapped *m, uint32_t off) { return (uint32_t *)(void *)(m->rings + off); }

static int map_ring(int fd, const struct uring_params *p, struct mapped *m, struct err *e)
{
	size_t cq = p->cq.cqes + (size_t)p->cq_entries * URING_CQE, sq = p->sq.array + (size_t)p->sq_entries * 4;

	m->nrings = cq > sq ? cq : sq;
	m->nsqes = (size_t)p->sq_entries * URING_SQE;
	m->rings = mmap(NULL, m->nrings, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	m->sqes = mmap(NULL, m->nsqes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, OFF_SQES);
	return m->rings == MAP_FAILED || m->sqes == MAP_FAILED ? err_sys(e, "cannot map a ring") : 0;
}

static void unmap_ring(struct mapped *m)
{
	if (m->rings != MAP_FAILED)
		munmap(m->rings, m->nrings);
	if (m->sqes != MAP_FAILED)
		munmap(m->sqes, m->nsqes);
}

/* A new ring's requests are all zeros: no-operations. */
static int count_up(int fd, const struct uring_params *p, const struct mapped *m, uint64_t count, struct err *e)
{
	__atomic_store_n(word(m, p->sq.tail), (uint32_t)count, __ATOMIC_RELEASE);
	for (uint64_t done = 0; done < count;) {
		uint64_t left = count - done;
		long n = syscall(SYS_uring_enter, fd, left < p->sq_entries ? left : p->sq_entries, 0, 0, NULL, 0);

		if (n <= 0) {
			errno = n ? errno : EIO;
			return err_sys(e, "io_uring_enter");
		}
		done += (uint64_t)n;
		__atomic_store_n(word(m, p->cq.head), __atomic_load_n(word(m, p->cq.tail), __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
	}
	if (*word(m, p->cq.tail) != (uint32_t)count || *word(m, p->sq.head) != (uint32_t)count)
		return err_set(e, EX_FAILED, "io_uring: the new ring does not count as expected");
	return 0;
}

/* A ring without an array (IORING_SETUP_NO_SQARRAY) takes its requests in order: as one whose array says so. An array of
 * zeros in which no request waits is about to be written, or is none. */
static void put_array(char *to, const char *from, const struct want *w)
{
	bool any = false;

	for (size_t i = 0; i < w->sq * 4; i++)
		any |= from[i];
	for (uint32_t i = 0; i < w->sq; i++)
		memcpy(to + (size_t)i * 4, any ? from + (size_t)i * 4 : (char *)&i, 4);
}

static int fill(struct restore *r, struct rfile *f, const struct uring_params *p, const struct mapped *m, const struct want *w, struct err *e)
{
	size_t n = uring_bytes(w->sq, w->cq), cqes = w->cq * URING_CQE;
	AUTO_FREE char *b = malloc(n);
	const struct image_member *im;
	char name[32];

	snprintf(name, sizeof name, "uring_%u", f->id);
	im = image_find(r->img, name);
	if (!im || im->text || im->size != n)
		return err_set(e, EX_BAD_IMAGE, "%s does not hold the rings", name);
	if (!b || pread(image_fd(r->img), b, n, (off_t)im->offset) != (ssize_t)n)
		return err_sys(e, "cannot read %s", name);
	memcpy(m->rings + p->cq.cqes, b, cqes);
	put_array(m->rings + p->sq.array, b + cqes, w);
	memcpy(m->sqes, b + cqes + w->sq * 4, w->sq * URING_SQE);
	*word(m, p->sq.dropped) = (uint32_t)w->dropped;
	*word(m, p->cq.flags) = (uint32_t)w->cq_flags;
	*word(m, p->cq.head) = (uint32_t)w->cq_head;
	__atomic_store_n(word(m, p->sq.tail), (uint32_t)w->sq_tail, __ATOMIC_RELEASE);
	return 0;
}

int uring_open(struct restore *r, struct rfile *f, struct err *e)
{
	struct uring_params p = { .flags = SETUP_CQSIZE | SETUP_SUBMIT_ALL };
	struct mapped m = { MAP_FAILED, MAP_FAILED, 0, 0 };
	struct want w;
	int rc;

	if (read_record(&f->rec, &w, e))
		return -1;
	p.cq_entries = (uint32_t)w.cq;
	f->fd = (int)syscall(SYS_uring_setup, (uint32_t)w.sq, &p);
	if (f->fd < 0 && errno == EINVAL) { /* before 5.18 */
		p = (struct uring_params){ .flags = SETUP_CQSIZE, .cq_entries = (uint32_t)w.cq };
		f->fd = (int)syscall(SYS_uring_setup, (uint32_t)w.sq, &p);
	}
	if (f->fd < 0)
		return err_sys(e, "io_uring_setup");
	if (p.sq_entries != w.sq || p.cq_entries != w.cq)
		return err_set(e, EX_MISFIT, "this kernel makes rings of other sizes");
	/* While it is only looked whether all would go well, nobody waits for the counting. */
	rc = map_ring(f->fd, &p, &m, e) || count_up(f->fd, &p, &m, r->check_only ? 0 : w.count, e) || fill(r, f, &p, &m, &w, e) ? -1 : 0;
	unmap_ring(&m);
	return rc ? -1 : fd_set_flags(f->fd, &f->rec, e);
}

/* ---- lists: "TOTAL INDEX:VALUE[+LEN] ..." ---- */

static bool number(const char **s, int base, uint64_t max, uint64_t *out)
{
	char *end;

	if (**s < '0' || **s > '9')
		return false;
	errno = 0;
	*out = strtoull(*s, &end, base);
	if (errno || *out > max)
		return false;
	*s = end;
	return true;
}

/* *items is to be freed. 0 with *total 0: there is none. */
static int parse_list(const struct rec *rec, const char *key, bool lens, uint64_t max, uint64_t *total, struct item **items, size_t *n,
		      struct err *e)
{
	const char *s = rec_find(rec, key);
	struct item x = { 0 };

	*total = *n = 0;
	*items = NULL;
	if (!s)
		return 0;
	if (!number(&s, 10, URING_TABLE_MAX, total) || !(*items = calloc((size_t)*total + 1, sizeof x)))
		return err_set(e, EX_BAD_IMAGE, "line %zu: malformed %s", rec->line, key);
	while (*s == ' ') {
		s++;
		if (!number(&s, 10, *total - 1, &x.index) || *s++ != ':' || !number(&s, 0, max, &x.value) || !x.value || *n >= *total ||
		    (lens && (*s++ != '+' || !number(&s, 10, UINT32_MAX, &x.len))))
			return err_set(e, EX_BAD_IMAGE, "line %zu: malformed %s", rec->line, key);
		(*items)[(*n)++] = x;
	}
	return *s ? err_set(e, EX_BAD_IMAGE, "line %zu: malformed %s", rec->line, key) : 0;
}

int uring_late(struct restore *r, struct rfile *f, struct err *e)
{
	AUTO_FREE struct item *v = NULL;
	AUTO_FREE int *fds = NULL;
	uint64_t total;
	size_t n;

	if (parse_list(&f->rec, "FILES", false, r->nfiles, &total, &v, &n, e))
		return -1;
	if (!total)
		return 0;
	fds = malloc((size_t)total * sizeof *fds);
	if (!fds)
		return err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; i < total; i++)
		fds[i] = -1;
	for (size_t i = 0; i < n; i++)
		fds[v[i].index] = r->files[v[i].value - 1].fd;
	if (syscall(SYS_uring_register, f->fd, REGISTER_FILES, fds, (unsigned)total) < 0)
		return err_sys(e, "io_uring: cannot register files");
	return 0;
}

/* ---- in the processes ---- */

static int buffers(struct restore *r, struct rproc *p, int fd, struct rfile *f, struct err *e)
{
	AUTO_FREE struct item *v = NULL;
	AUTO_FREE struct iovec *iov = NULL;
	uint64_t total, at;
	size_t n;
	long ret;

	if (parse_list(&f->rec, "BUFFERS", true, RES_TASK_SIZE, &total, &v, &n, e))
		return -1;
	if (!total || f->priv)
		return 0;
	iov = calloc((size_t)total, sizeof *iov);
	f->priv = malloc(1); /* once, whatever number it has */
	if (!iov || !f->priv)
		return err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; i < n; i++)
		iov[v[i].index] = (struct iovec){ (void *)(uintptr_t)v[i].value, v[i].len };
	if (remote_room(p->rem, 1, (size_t)total * sizeof *iov, e))
		return -1;
	at = remote_put(p->rem, iov, (size_t)total * sizeof *iov);
	if (remote_one(p->rem, "io_uring_register", &ret, e, SYS_uring_register, (uint64_t)fd, REGISTER_BUFFERS, at, total, 0, 0))
		return -1;
	if (ret < 0) {
		errno = (int)-ret;
		return err_sys(e, "fd %d: io_uring: cannot register buffers (RLIMIT_MEMLOCK)", fd);
	}
	return 0;
}

/* The kernel maps a ring where it likes and moves it nowhere. So all that is free is taken for a moment, and only the place
 * where the ring was is left. Fills or frees all gaps between the mappings in m. */
static int gaps(struct rproc *p, const struct proc_maps *m, bool fill_them, struct err *e)
{
	const uint64_t end = ((uint64_t)1 << 47) - MM_PAGE;
	uint64_t at = 1 << 16; /* vm.mmap_min_addr, as it is everywhere */

	for (size_t i = 0; i <= m->n && at < end; i++) {
		uint64_t to = i < m->n && m->v[i].start < end ? m->v[i].start : end;

		if (to > at) {
			if (remote_room(p->rem, 1, 0, e))
				return -1;
			if (fill_them)
				remote_call(p->rem, "mmap", REMOTE_MUST, SYS_mmap, at, to - at, PROT_NONE,
					    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, UINT64_MAX, 0);
			else
				remote_call(p->rem, "munmap", REMOTE_MUST, SYS_munmap, at, to - at, 0, 0, 0, 0);
		}
		if (i < m->n && m->v[i].end > at)
			at = m->v[i].end;
	}
	return remote_run(p->rem, e);
}

static int map_one(struct restore *r, struct rproc *p, const struct rvma *v, struct err *e)
{
	int fd = r->files[v->obj - 1].ops == &fd_uring_ops ? rproc_fd(p, v->obj) : -1;
	uint64_t len = v->end - v->start;
	long at;

	if (fd < 0)
		return err_set(e, EX_BAD_IMAGE, "memory %llx of a ring that it does not have", (unsigned long long)v->start);
	if (remote_one(p->rem, "munmap", &at, e, SYS_munmap, v->start, len, 0, 0, 0, 0) ||
	    remote_one(p->rem, "mmap", &at, e, SYS_mmap, 0, len, (uint64_t)v->prot, MAP_SHARED, (uint64_t)fd, v->offset))
		return -1;
	if (at < 0 && at > -MM_PAGE) {
		errno = (int)-at;
		return err_sys(e, "cannot map a ring");
	}
	if ((uint64_t)at != v->start)
		return err_set(e, EX_FAILED, "a ring was mapped at %llx, not at %llx", (unsigned long long)at, (unsigned long long)v->start);
	if (strstr(v->flags, "dontfork"))
		return remote_one(p->rem, "madvise", &at, e, SYS_madvise, v->start, len, MADV_DONTFORK, 0, 0, 0);
	return 0;
}

static int map_all(struct restore *r, struct rproc *p, struct err *e)
{
	struct proc_maps m = { 0 };
	bool filled = false;
	int rc = 0;

	for (size_t i = 0; i < p->mm->n && !rc; i++) {
		if (p->mm->v[i].kind != VMA_URING)
			continue;
		if (!filled)
			rc = proc_maps_read(&m, p->t->pid, false, e) || gaps(p, &m, true, e) ? -1 : 0;
		filled = true;
		if (!rc)
			rc = map_one(r, p, &p->mm->v[i], e);
	}
	if (filled && !rc)
		rc = gaps(p, &m, false, e);
	proc_maps_free(&m);
	return rc;
}

int uring_restore(struct restore *r, struct rproc *p, struct err *e)
{
	if (map_all(r, p, e))
		return -1;
	for (size_t k = 0; k < p->nfds; k++) {
		struct rfile *f = &r->files[p->fds[k].file - 1];

		if (f->ops == &fd_uring_ops && buffers(r, p, p->fds[k].fd, f, e))
			return -1;
	}
	return 0;
}
