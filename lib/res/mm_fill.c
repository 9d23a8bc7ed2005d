/* mm_fill: the pages of a process, from the image into its memory.
 *
 * The process reads them itself (remote pread: one copy, from the page cache). While it does, the restorer has nothing else
 * to do: with much to fill a thread of it takes its share of the same list and writes it with process_vm_writev(2), which
 * costs one more copy, out of the cache of the CPU, and halves the time all the same. What that thread cannot write is left
 * to the process. */
#include "res/mm.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	TWO = 8 << 20,        /* from so many bytes on a thread pays */
	OWN = 8 << 20,        /* bytes that the process takes at a time, in one batch */
	OWN_PIECES = 256,
	SIDE = 256 << 10,     /* bytes that the thread takes: they stay in the second-level cache between read and write */
	SIDE_PIECES = 64,
};

struct piece { uint64_t at, n, off; };       /* n bytes of the image from off on belong at address `at` */

struct fill {
	const struct mm_runs *runs;
	int fd;
	pid_t pid;
	/* between the two */
	pthread_mutex_t lock;
	size_t run;                          /* the first that is not wholly taken */
	uint64_t taken;                      /* bytes of it */
	uint64_t off;
	/* the thread's, for the process when it has ended */
	struct piece rest[SIDE_PIECES];
	size_t nrest;
};

/* The next pieces, at most max of them and bytes in all; they lie in the image one behind another. 0: there are none. */
static size_t take(struct fill *f, struct piece *v, size_t max, uint64_t bytes)
{
	size_t k = 0;

	pthread_mutex_lock(&f->lock);
	while (f->run < f->runs->n && k < max && bytes) {
		const struct mm_run *r = &f->runs->v[f->run];
		uint64_t left = r->n * MM_PAGE - f->taken, n = left < bytes ? left : bytes;

		v[k++] = (struct piece){ r->start + f->taken, n, f->off };
		f->off += n;
		f->taken += n;
		bytes -= n;
		if (n == left) {
			f->run++;
			f->taken = 0;
		}
	}
	pthread_mutex_unlock(&f->lock);
	return k;
}

static bool write_side(const struct fill *f, char *buf, const struct piece *v, size_t k)
{
	struct iovec l = { .iov_base = buf }, to[SIDE_PIECES];

	for (size_t i = 0; i < k; i++) {
		to[i] = (struct iovec){ (void *)(uintptr_t)v[i].at, v[i].n };
		l.iov_len += v[i].n;
	}
	return pread(f->fd, buf, l.iov_len, (off_t)v[0].off) == (ssize_t)l.iov_len &&
	       process_vm_writev(f->pid, &l, 1, to, k, 0) == (ssize_t)l.iov_len;
}

static void *side(void *arg)
{
	struct fill *f = arg;
	char *buf = malloc(SIDE);

	while (buf && (f->nrest = take(f, f->rest, SIDE_PIECES, SIDE)) && write_side(f, buf, f->rest, f->nrest))
		;
	free(buf);
	return NULL;
}

static bool start_side(struct fill *f, pthread_t *t)
{
	sigset_t all, old;
	bool ok;

	if (f->runs->pages * MM_PAGE < TWO || sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return false;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ok = pthread_create(t, NULL, side, f) == 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ok;
}

static int read_own(struct rproc *p, int fd, const struct piece *v, size_t k, struct err *e)
{
	if (remote_room(p->rem, k, 0, e))
		return -1;
	for (size_t i = 0; i < k; i++)
		remote_call(p->rem, "pread", REMOTE_MUST, SYS_pread64, (uint64_t)fd, v[i].at, v[i].n, v[i].off, 0, 0);
	if (remote_run(p->rem, e))
		return err_prefix(e, "filling memory");
	for (size_t i = 0; i < k; i++)
		if ((uint64_t)remote_ret(p->rem, i) != v[i].n)
			return err_set(e, EX_FAILED, "filling memory: the image ends or memory is short");
	return 0;
}

int mm_fill(struct restore *r, struct rproc *p, struct err *e)
{
	struct fill f = { .runs = &p->mm->data, .fd = r->img_fd, .pid = p->t->pid, .off = p->mm->off };
	struct piece v[OWN_PIECES];
	pthread_t t;
	bool two;
	size_t k;
	int rc;

	/* Nothing of ours may be queued before the first batch: its results are counted from 0. */
	if (remote_run(p->rem, e))
		return -1;
	pthread_mutex_init(&f.lock, NULL);
	two = start_side(&f, &t);
	for (rc = 0; !rc && (k = take(&f, v, OWN_PIECES, OWN));)
		rc = read_own(p, f.fd, v, k, e);
	if (two) {
		/* after a failure there is nothing to wait for but its last piece */
		while (rc && take(&f, v, OWN_PIECES, UINT64_MAX))
			;
		pthread_join(t, NULL);
	}
	pthread_mutex_destroy(&f.lock);
	return !rc && f.nrest ? read_own(p, f.fd, f.rest, f.nrest, e) : rc;
}
