/* aio: contexts of io_setup(2): a ring of events that is mapped into the process, and what the kernel keeps for it.
 *
 * Record: TYPE="aio" START= EVENTS= HEAD= TAIL= UNREAD=bytes (the events between HEAD and TAIL, in order); the mapping is a vma of KIND="aio".
 *
 * Only an idle context is saved: what came of its requests may wait to be collected. The ring of a context that was
 * inherited by fork(2) leads to none, and is refused. */
#include "res/aio.h"
#include "common/cleanup.h"
#include "res/proc_ops.h"

#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int unfit(struct dump *d, const struct dproc *p, const struct proc_map *m, const char *why)
{
	return refuse(d, p, "memory %llx-%llx: an aio context (io_setup): %s", (unsigned long long)m->start, (unsigned long long)m->end, why);
}

static bool head_read(const struct dproc *p, const struct proc_map *m, struct aio_head *h)
{
	if (tracee_read(p->t, m->start, h, sizeof *h, NULL) < 0)
		return false;
	return h->magic == (uint32_t)AIO_MAGIC && h->incompat == 0 && h->header_length == sizeof *h &&
	       h->nr == aio_events(m->end - m->start) && h->head < h->nr && h->tail < h->nr;
}

/* Why it cannot be asked; NULL: it can. */
static const char *why_not(struct dump *d, const struct dproc *p, const struct proc_map *m)
{
	struct aio_head h;

	if (!m->r || !m->w || m->x || m->offset || m->end - m->start > AIO_BYTES_MAX || !head_read(p, m, &h))
		return "its ring is not as the kernel makes it";
	if (!d->hold || geteuid() != 0)
		return "whether requests are in flight is found out only by root, in a job with a control group";
	if (p->nthr > 1 && p->stat.ppid != d->supervisor && p->stat.ppid != d->nsinit && p->stat.ppid != 1)
		return "whether requests are in flight is not found out when there are several threads, and the parent is in the job";
	return NULL;
}

static int aio_check(struct dump *d, struct dproc *p, struct err *e)
{
	for (size_t i = 0; p->mm && i < p->mm->n; i++) {
		const struct proc_map *m = p->mm->v[i].m;

		const char *why = p->mm->v[i].kind == VMA_AIO ? why_not(d, p, m) : NULL;

		if (why)
			unfit(d, p, m, why);
	}
	return 0;
}

static int aio_ask(struct dump *d, struct dproc *p, struct err *e)
{
	for (size_t i = 0; p->mm && i < p->mm->n; i++) {
		const struct proc_map *m = p->mm->v[i].m;
		uint32_t n;
		long ret;

		/* What check() has refused is not touched. */
		if (p->mm->v[i].kind != VMA_AIO || why_not(d, p, m))
			continue;
		if (remote_room(p->rem, 1, 0, e) ||
		    remote_one(p->rem, "io_submit", &ret, e, SYS_io_submit, m->start, 0, 0, 0, 0, 0))
			return -1;
		if (ret) {
			unfit(d, p, m, "it was inherited by fork, and leads to none");
			continue;
		}
		if (aio_in_flight(d, p, m->start, aio_events(m->end - m->start), &n, e))
			return err_prefix(e, "aio context %llx", (unsigned long long)m->start);
		if (n)
			refuse_for_now(d, p, "memory %llx-%llx: an aio context (io_setup): %u requests are in flight", (unsigned long long)m->start,
				       (unsigned long long)m->end, n);
	}
	return 0;
}

static int put(struct dproc *p, const struct proc_map *m, const struct aio_head *h, struct err *e)
{
	uint32_t n = aio_unread(h), first = n < h->nr - h->head ? n : h->nr - h->head;
	AUTO_FREE struct aio_event *unread = malloc((n + 1) * sizeof *unread);
	uint64_t events = m->start + sizeof *h;

	if (!unread)
		return err_set(e, EX_FAILED, "out of memory");
	if ((first && tracee_read(p->t, events + h->head * sizeof *unread, unread, first * sizeof *unread, e)) ||
	    (n > first && tracee_read(p->t, events, unread + first, (n - first) * sizeof *unread, e)))
		return -1;
	rec_begin(&p->out, "aio");
	rec_put_hex(&p->out, "START", m->start);
	rec_put_u64(&p->out, "EVENTS", h->nr);
	rec_put_u64(&p->out, "HEAD", h->head);
	rec_put_u64(&p->out, "TAIL", h->tail);
	if (n)
		rec_put_bin(&p->out, "UNREAD", unread, n * sizeof *unread);
	rec_end(&p->out);
	return 0;
}

struct found { const struct proc_map *m; struct aio_head h; };

static int by_id(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	return x->h.id < y->h.id ? -1 : x->h.id > y->h.id;
}

/* In the order of the kernel's numbers for them, which new ones get by age. */
static int aio_dump(struct dump *d, struct dproc *p, struct err *e)
{
	AUTO_FREE struct found *v = calloc(p->mm->n + 1, sizeof *v);
	size_t n = 0;

	if (!v)
		return err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; i < p->mm->n; i++) {
		if (p->mm->v[i].kind != VMA_AIO)
			continue;
		v[n].m = p->mm->v[i].m;
		if (!head_read(p, v[n].m, &v[n].h))
			return err_set(e, EX_FAILED, "aio context %llx: cannot read its ring", (unsigned long long)v[n].m->start);
		n++;
	}
	qsort(v, n, sizeof *v, by_id);
	for (size_t i = 0; i < n; i++)
		if (put(p, v[i].m, &v[i].h, e))
			return -1;
	return 0;
}

const struct res_ops res_aio = {
	.name = "aio", .check = aio_check, .ask = aio_ask, .dump = aio_dump, .verify = aio_verify, .restore = aio_restore,
};
