/* aio_restore: contexts of io_setup(2) made anew. The kernel chooses their address, and lets the ring be moved from there. Where its
 * events end is the kernel's own knowledge, so requests of no effect bring it there; then the unread events are written into it.
 * As many of those requests as there are unread events stay uncollected for the kernel, which takes the others for theirs. */
#include "res/aio.h"
#include "common/cleanup.h"
#include "res/proc_ops.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { AT_ONCE = 256 };

struct saved { uint64_t start, events, head, tail; uint32_t unread; struct aio_event *v; const struct rvma *vma; };

static const struct rvma *mapping(const struct rproc *p, uint64_t start)
{
	for (size_t i = 0; i < p->mm->n; i++)
		if (p->mm->v[i].kind == VMA_AIO && p->mm->v[i].start == start)
			return &p->mm->v[i];
	return NULL;
}

/* s->v: owned by the caller. */
static int parse(struct rproc *p, const struct rec *rec, struct saved *s, struct err *e)
{
	size_t n = 0;

	*s = (struct saved){ 0 };
	if (rec_u64(rec, "START", RES_TASK_SIZE, &s->start, e) || rec_u64(rec, "EVENTS", AIO_BYTES_MAX / sizeof *s->v, &s->events, e))
		return -1;
	s->vma = mapping(p, s->start);
	if (!s->vma || s->vma->prot != (PROT_READ | PROT_WRITE) || s->vma->end - s->vma->start > AIO_BYTES_MAX ||
	    aio_events(s->vma->end - s->vma->start) != s->events)
		return err_set(e, EX_BAD_IMAGE, "line %zu: no memory of an aio context", rec->line);
	if (rec_u64(rec, "HEAD", s->events - 1, &s->head, e) || rec_u64(rec, "TAIL", s->events - 1, &s->tail, e))
		return -1;
	s->unread = (uint32_t)((s->tail + s->events - s->head) % s->events);
	if (!s->unread)
		return 0;
	s->v = malloc(s->unread * sizeof *s->v);
	if (!s->v)
		return err_set(e, EX_FAILED, "out of memory");
	if (rec_bin(rec, "UNREAD", s->v, s->unread * sizeof *s->v, s->unread * sizeof *s->v, &n, e)) {
		free(s->v);
		s->v = NULL;
		return -1;
	}
	return 0;
}

int aio_verify(struct restore *r, struct rproc *p, struct err *e)
{
	size_t vmas = 0, recs = 0;
	struct rec rec;

	for (size_t i = 0; p->mm && i < p->mm->n; i++)
		vmas += p->mm->v[i].kind == VMA_AIO;
	for (long i = rproc_rec(p, "aio", 0, &rec); i >= 0; i = rproc_rec(p, "aio", (size_t)i + 1, &rec), recs++) {
		struct saved s;
		uint64_t own;

		if (recs == AIO_RINGS_MAX)
			return err_set(e, EX_BAD_IMAGE, "more than %d aio contexts", AIO_RINGS_MAX);
		if (parse(p, &rec, &s, e))
			return -1;
		free(s.v);
		own = aio_own((uint32_t)s.events);
		if (!own) {
			err_set(e, EX_MISFIT, "an aio context with a ring of %llu events cannot be made here: %s", (unsigned long long)s.events,
				strerror(errno));
			err_hint(e, "fs.aio-max-nr must allow it, and the number of CPUs must not be much larger than it was");
			return -1;
		}
		syscall(SYS_io_destroy, own);
	}
	return recs == vmas ? 0 : err_set(e, EX_BAD_IMAGE, "%zu aio contexts, and memory of %zu", recs, vmas);
}

/* n requests of no effect; those before are collected. */
static int submit(struct rproc *p, const struct saved *s, uint32_t n, long fd, struct err *e)
{
	struct aio_request req = { .opcode = AIO_PREAD, .fd = (uint32_t)fd };
	uint64_t at, list[AT_ONCE];
	long done;

	while (n) {
		uint32_t k = n < AT_ONCE ? n : AT_ONCE;

		if (remote_room(p->rem, 1, sizeof req + sizeof list + 64, e))
			return -1;
		at = remote_put(p->rem, &req, sizeof req);
		for (uint32_t i = 0; i < k; i++)
			list[i] = at;
		at = remote_put(p->rem, list, k * sizeof *list);
		if (remote_one(p->rem, "io_submit", &done, e, SYS_io_submit, s->start, k, at, 0, 0, 0))
			return -1;
		if (done <= 0)
			return err_set(e, EX_FAILED, "aio context %llx takes no requests (%ld)", (unsigned long long)s->start, done);
		n -= (uint32_t)done;
	}
	return 0;
}

static int set_head(struct rproc *p, const struct saved *s, uint64_t head, struct err *e)
{
	uint32_t h = (uint32_t)head;

	return tracee_write(p->t, s->start + offsetof(struct aio_head, head), &h, sizeof h, e);
}

/* The kernel's end of the ring to s->tail. */
static int turn(struct rproc *p, const struct saved *s, long fd, struct err *e)
{
	uint32_t n = (uint32_t)s->tail, at = 0;

	/* The unread ones are among those submitted. */
	if (n < s->unread)
		n += (uint32_t)s->events;
	for (n -= s->unread; n;) {
		uint32_t k = n < s->events / 2 ? n : (uint32_t)s->events / 2;

		if (submit(p, s, k, fd, e))
			return -1;
		at = (uint32_t)((at + k) % s->events);
		if (set_head(p, s, at, e))
			return -1;
		n -= k;
	}
	return submit(p, s, s->unread, fd, e);
}

static int fill(struct rproc *p, const struct saved *s, struct err *e)
{
	uint64_t events = s->start + sizeof(struct aio_head);
	struct aio_head h;

	for (uint32_t i = 0; i < s->unread; i++)
		if (tracee_write(p->t, events + (s->head + i) % s->events * sizeof *s->v, &s->v[i], sizeof *s->v, e))
			return -1;
	if (set_head(p, s, s->head, e) || tracee_read(p->t, s->start, &h, sizeof h, e))
		return -1;
	if (h.nr != s->events || h.head != s->head || h.tail != s->tail)
		return err_set(e, EX_FAILED, "aio context %llx has another ring than it had", (unsigned long long)s->start);
	return 0;
}

static int make(struct rproc *p, const struct saved *s, long fd, struct err *e)
{
	uint64_t len = s->vma->end - s->vma->start, zero = 0, at, made;
	long ret;

	if (remote_room(p->rem, 1, sizeof zero + 16, e))
		return -1;
	at = remote_put(p->rem, &zero, sizeof zero);
	if (remote_one(p->rem, "io_setup", &ret, e, SYS_io_setup, aio_wanted((uint32_t)s->events), at, 0, 0, 0, 0))
		return -1;
	if (ret) {
		errno = (int)-ret;
		return err_sys(e, "io_setup (fs.aio-max-nr)");
	}
	memcpy(&made, remote_data(p->rem, at), sizeof made);
	if (remote_one(p->rem, "mremap", &ret, e, SYS_mremap, made, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, s->start, 0))
		return -1;
	if (ret != (long)s->start)
		return err_set(e, EX_FAILED, "aio context %llx cannot be moved there (%ld)", (unsigned long long)s->start, ret);
	if (turn(p, s, fd, e) || fill(p, s, e))
		return -1;
	if (strstr(s->vma->flags, "dontfork"))
		return remote_one(p->rem, "madvise", &ret, e, SYS_madvise, s->start, len, MADV_DONTFORK, 0, 0, 0);
	return 0;
}

/* On one CPU: the kernel keeps places for each, and those of another would be missing. */
static void pin(pid_t pid)
{
	cpu_set_t set;

	if (sched_getaffinity(pid, sizeof set, &set))
		return;
	for (size_t c = 0; c < CPU_SETSIZE; c++)
		if (CPU_ISSET(c, &set)) {
			CPU_ZERO(&set);
			CPU_SET(c, &set);
			sched_setaffinity(pid, sizeof set, &set);
			return;
		}
}

static int make_all(struct rproc *p, struct err *e)
{
	struct rec rec;
	long fd = -1, ret;
	int rc = 0;

	for (long i = rproc_rec(p, "aio", 0, &rec); i >= 0 && !rc; i = rproc_rec(p, "aio", (size_t)i + 1, &rec)) {
		struct saved s;

		if (fd < 0 && (remote_room(p->rem, 1, 32, e) ||
			       remote_one(p->rem, "memfd_create", &fd, e, SYS_memfd_create, remote_put(p->rem, "xos", 4), MFD_CLOEXEC, 0, 0, 0, 0)))
			return -1;
		if (fd < 0)
			return err_set(e, EX_FAILED, "memfd_create: %s", strerror((int)-fd));
		rc = parse(p, &rec, &s, e) || make(p, &s, fd, e) ? -1 : 0;
		free(s.v);
	}
	return fd >= 0 && remote_one(p->rem, "close", &ret, e, SYS_close, (uint64_t)fd, 0, 0, 0, 0, 0) ? -1 : rc;
}

int aio_restore(struct restore *r, struct rproc *p, struct err *e)
{
	cpu_set_t was;
	struct rec rec;
	int rc;

	if (rproc_rec(p, "aio", 0, &rec) < 0)
		return 0;
	if (sched_getaffinity(p->t->pid, sizeof was, &was))
		return err_sys(e, "sched_getaffinity");
	pin(p->t->pid);
	rc = make_all(p, e);
	sched_setaffinity(p->t->pid, sizeof was, &was);
	return rc;
}
