#include "image/imgout.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	BUF_SIZE = 1 << 20,
	NBUF = 4,
	ALIGN = 4096,
	BEHIND = 8 << 20, /* buffered files: so much may be dirty before the oldest of it is dropped */
};

struct imgout {
	int fd;
	int flags;          /* of fd, as they were; -1: not changed */
	bool direct;        /* fd has O_DIRECT now */
	bool file;          /* regular file */
	uint64_t written;   /* bytes given to the kernel; the io thread's while it runs */
	uint64_t base;      /* offset in the file of our first byte */
	char *mem;          /* NBUF buffers */
	size_t cur, fill;   /* the buffer that is being filled, and how far */
	uint64_t pos;
	/* between the two threads */
	pthread_t thread;
	bool running;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t queued, done; /* whole buffers handed over, and written */
	bool stop, drop;
	int err;               /* errno of the first write that failed */
};

static void drop_direct(struct imgout *o)
{
	int fl = fcntl(o->fd, F_GETFL);

	if (fl >= 0)
		fcntl(o->fd, F_SETFL, fl & ~O_DIRECT);
	o->direct = false;
}

/* Pushes out what was just written and drops what was pushed before it. */
static void clean_behind(struct imgout *o, size_t n)
{
	uint64_t end = o->base + o->written, old = end - n - BEHIND;

	sync_file_range(o->fd, (off_t)(end - n), (off_t)n, SYNC_FILE_RANGE_WRITE);
	if (o->written < n + BEHIND)
		return;
	sync_file_range(o->fd, (off_t)old, (off_t)n,
			SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
	posix_fadvise(o->fd, (off_t)old, (off_t)n, POSIX_FADV_DONTNEED);
}

/* 0 or errno */
static int write_out(struct imgout *o, const char *p, size_t n)
{
	while (n) {
		/* O_DIRECT takes whole blocks; what a short write or the tail leaves goes without it. */
		size_t part = o->direct ? n & ~(size_t)(ALIGN - 1) : n;
		ssize_t w;

		if (!part || (o->direct && (o->written & (ALIGN - 1)))) {
			drop_direct(o);
			continue;
		}
		w = write(o->fd, p, part);
		if (w < 0) {
			if (errno == EINTR)
				continue;
			if (errno == EINVAL && o->direct) {
				drop_direct(o);
				continue;
			}
			return errno;
		}
		p += w;
		n -= (size_t)w;
		o->written += (uint64_t)w;
		if (o->file && !o->direct)
			clean_behind(o, (size_t)w);
	}
	return 0;
}

static void *io_thread(void *arg)
{
	struct imgout *o = arg;

	pthread_mutex_lock(&o->lock);
	for (;;) {
		if (o->done == o->queued || o->drop) {
			if (o->stop)
				break;
			pthread_cond_wait(&o->changed, &o->lock);
			continue;
		}
		if (!o->err) {
			const char *p = o->mem + o->done % NBUF * BUF_SIZE;
			int r;

			pthread_mutex_unlock(&o->lock);
			r = write_out(o, p, BUF_SIZE);
			pthread_mutex_lock(&o->lock);
			o->err = r;
		}
		o->done++;
		pthread_cond_signal(&o->changed);
	}
	pthread_mutex_unlock(&o->lock);
	return NULL;
}

static int start_thread(struct imgout *o, struct err *e)
{
	sigset_t all, old;
	int r;

	/* signals are for the program's own threads */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&o->thread, NULL, io_thread, o);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r) {
		errno = r;
		return err_sys(e, "thread that writes the image");
	}
	o->running = true;
	return 0;
}

static void stop_thread(struct imgout *o, bool drop)
{
	if (!o->running)
		return;
	pthread_mutex_lock(&o->lock);
	o->stop = true;
	o->drop = drop;
	pthread_cond_signal(&o->changed);
	pthread_mutex_unlock(&o->lock);
	pthread_join(o->thread, NULL);
	o->running = false;
}

static int write_error(int sys, struct err *e)
{
	errno = sys;
	return err_sys(e, "cannot write the image");
}

/* Hands the full buffer over and waits until the next one is free. */
static int turn(struct imgout *o, struct err *e)
{
	int r;

	if (!o->running && start_thread(o, e) < 0)
		return -1;
	pthread_mutex_lock(&o->lock);
	o->queued++;
	pthread_cond_signal(&o->changed);
	while (o->queued - o->done == NBUF)
		pthread_cond_wait(&o->changed, &o->lock);
	r = o->err;
	pthread_mutex_unlock(&o->lock);
	o->cur = o->queued % NBUF;
	o->fill = 0;
	return r ? write_error(r, e) : 0;
}

int imgout_new(struct imgout **out, int fd, struct err *e)
{
	struct imgout *o = calloc(1, sizeof(*o));
	struct stat st;

	*out = NULL;
	if (!o)
		return err_sys(e, "image");
	o->fd = fd;
	o->flags = -1;
	pthread_mutex_init(&o->lock, NULL);
	pthread_cond_init(&o->changed, NULL);
	o->mem = mmap(NULL, (size_t)NBUF * BUF_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (o->mem == MAP_FAILED) {
		o->mem = NULL;
		err_sys(e, "buffers of the image");
		imgout_free(o);
		return -1;
	}
	if (fstat(fd, &st) < 0) {
		err_sys(e, "cannot write the image");
		imgout_free(o);
		return -1;
	}
	if (S_ISREG(st.st_mode)) {
		off_t at = lseek(fd, 0, SEEK_CUR);
		int fl = fcntl(fd, F_GETFL);

		o->file = true;
		o->base = at > 0 ? (uint64_t)at : 0;
		if (fl >= 0 && at >= 0 && at % ALIGN == 0 && fcntl(fd, F_SETFL, fl | O_DIRECT) == 0) {
			o->direct = true;
			o->flags = fl;
		}
	}
	*out = o;
	return 0;
}

void *imgout_room(struct imgout *o, size_t *n, struct err *e)
{
	if (o->fill == BUF_SIZE && turn(o, e) < 0)
		return NULL;
	*n = BUF_SIZE - o->fill;
	return o->mem + o->cur * BUF_SIZE + o->fill;
}

int imgout_put(struct imgout *o, const void *p, size_t n, struct err *e)
{
	const char *from = p;

	while (n) {
		size_t room, part;
		char *to = imgout_room(o, &room, e);

		if (!to)
			return -1;
		part = n < room ? n : room;
		if (to != from)
			memcpy(to, from, part);
		o->fill += part;
		o->pos += part;
		from += part;
		n -= part;
	}
	return 0;
}

static void restore_flags(struct imgout *o)
{
	if (o->flags >= 0)
		fcntl(o->fd, F_SETFL, o->flags);
	o->flags = -1;
}

int imgout_finish(struct imgout *o, struct err *e)
{
	stop_thread(o, false);
	if (!o->queued) {
		/* All of a small image. The caller's fsync(2) writes it, which the job need not wait for, and one buffer of page
		 * cache is no flood. */
		if (o->direct)
			drop_direct(o);
		o->file = false;
	}
	if (!o->err)
		o->err = write_out(o, o->mem + o->cur * BUF_SIZE, o->fill);
	o->fill = 0;
	restore_flags(o);
	return o->err ? write_error(o->err, e) : 0;
}

uint64_t imgout_pos(const struct imgout *o)
{
	return o->pos;
}

void imgout_free(struct imgout *o)
{
	if (!o)
		return;
	stop_thread(o, true);
	restore_flags(o);
	if (o->mem)
		munmap(o->mem, (size_t)NBUF * BUF_SIZE);
	pthread_cond_destroy(&o->changed);
	pthread_mutex_destroy(&o->lock);
	free(o);
}
