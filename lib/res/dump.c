/* dump: what every resource uses while a checkpoint is taken. */
#include "res/res.h"
#include "common/cleanup.h"
#include "res/dump_raw.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

static void add_refusal(struct dump *d, const struct dproc *p, const char *fmt, va_list ap)
{
	char line[1024];

	vsnprintf(line, sizeof line, fmt, ap);
	for (char *c = line; *c; c++)
		if ((unsigned char)*c < 0x20)
			*c = '?';
	if (p)
		buf_printf(&d->refusals, "pid %d: ", p->vpid);
	buf_printf(&d->refusals, "%s\n", line);
	d->nrefusals++;
}

int refuse(struct dump *d, const struct dproc *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_refusal(d, p, fmt, ap);
	va_end(ap);
	return 0;
}

int refuse_for_now(struct dump *d, const struct dproc *p, const char *fmt, ...)
{
	va_list ap;

	d->npassing++;
	va_start(ap, fmt);
	add_refusal(d, p, fmt, ap);
	va_end(ap);
	return 0;
}

struct dproc *dump_find(struct dump *d, pid_t vpid)
{
	for (size_t i = 0; i < d->nprocs; i++)
		if (d->procs[i]->vpid == vpid)
			return d->procs[i];
	return NULL;
}

bool dump_has_pid(struct dump *d, pid_t pid)
{
	for (size_t i = 0; i < d->nprocs; i++)
		if (d->procs[i]->tgid == pid)
			return true;
	return false;
}

static struct raw_pending *raw_add(struct dump *d, const char *name, struct err *e)
{
	struct raw_pending *n = realloc(d->raws, (d->nraws + 1) * sizeof *n);

	if (!n) {
		err_set(e, EX_FAILED, "out of memory");
		return NULL;
	}
	d->raws = n;
	n = &d->raws[d->nraws];
	*n = (struct raw_pending){ .fd = -1 };
	n->name = strdup(name);
	if (!n->name) {
		err_set(e, EX_FAILED, "out of memory");
		return NULL;
	}
	d->nraws++;
	return n;
}

int dump_raw_fd(struct dump *d, const char *name, int fd, uint64_t off, uint64_t size, struct err *e)
{
	struct raw_pending *r = raw_add(d, name, e);

	if (!r)
		return -1;
	r->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (r->fd < 0)
		return err_sys(e, "cannot keep a descriptor for %s", name);
	r->off = off;
	r->size = size;
	return 0;
}

int dump_raw_mem(struct dump *d, const char *name, const void *p, size_t n, struct err *e)
{
	struct raw_pending *r = raw_add(d, name, e);

	if (!r)
		return -1;
	r->mem = malloc(n ? n : 1);
	if (!r->mem)
		return err_set(e, EX_FAILED, "out of memory");
	memcpy(r->mem, p, n);
	r->size = n;
	return 0;
}

/* A file may shrink between stat and here only when somebody outside the job writes it; what is
 * missing then reads as zeros, as it would through a mapping. */
static int raw_copy(struct image_writer *w, const struct raw_pending *r, struct err *e)
{
	uint64_t done = 0;

	while (done < r->size) {
		size_t room;
		void *p = image_raw_reserve(w, &room, e);

		if (!p)
			return -1;
		if (room > r->size - done)
			room = r->size - done;
		ssize_t n = pread(r->fd, p, room, (off_t)(r->off + done));
		if (n < 0)
			return err_sys(e, "cannot read the content for %s", r->name);
		if (n == 0) {
			memset(p, 0, room);
			n = (ssize_t)room;
		}
		if (image_raw_commit(w, (size_t)n, e))
			return -1;
		done += (uint64_t)n;
	}
	return 0;
}

int dump_raws_write(struct dump *d, struct err *e)
{
	for (size_t i = 0; i < d->nraws; i++) {
		struct raw_pending *r = &d->raws[i];

		if (image_raw_begin(d->img, r->name, r->size, e))
			return -1;
		if (r->mem ? image_raw_write(d->img, r->mem, r->size, e) : raw_copy(d->img, r, e))
			return -1;
		if (image_raw_end(d->img, e))
			return -1;
	}
	return 0;
}

void dump_raws_free(struct dump *d)
{
	for (size_t i = 0; i < d->nraws; i++) {
		free(d->raws[i].name);
		free(d->raws[i].mem);
		if (d->raws[i].fd >= 0)
			close(d->raws[i].fd);
	}
	free(d->raws);
	d->raws = NULL;
	d->nraws = 0;
}

int fdinfo_num(const char *info, const char *key, int base, uint64_t *out)
{
	size_t n = strlen(key);

	for (const char *l = info; l && *l; l = strchr(l, '\n') ? strchr(l, '\n') + 1 : NULL) {
		if (strncmp(l, key, n) || l[n] != ':')
			continue;
		char *end;
		errno = 0;
		*out = strtoull(l + n + 1, &end, base);
		return errno || end == l + n + 1 ? -1 : 0;
	}
	return -1;
}
