/* files_restore: descriptors on restart; see files.c for the idea. */
#include "res/files.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "res/fd_ops.h"
#include "res/fd_tcp.h"
#include "res/fd_unix.h"
#include "res/ns_obj.h"

#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#ifndef CLOSE_RANGE_CLOEXEC
#define SYS_close_range 436
#endif

static const struct fd_ops *ops_by_type(const char *type)
{
	for (size_t i = 0; fd_table[i]; i++)
		if (!strcmp(fd_table[i]->type, type) && fd_table[i]->open)
			return fd_table[i];
	return NULL;
}

static int parse_descriptions(struct restore *r, struct err *e)
{
	const struct image_member *m = image_find(r->img, "files");

	if (!m || !m->text)
		return err_set(e, EX_BAD_IMAGE, "the image has no member `files`");
	if (rec_list_parse(&r->files_list, m->text, m->size, RES_MAX_FILES, e))
		return err_prefix(e, "files");
	r->files = calloc(r->files_list.n ? r->files_list.n : 1, sizeof *r->files);
	if (!r->files)
		return err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; i < r->files_list.n; i++) {
		struct rfile *f = &r->files[i];
		uint64_t id, net;

		rec_list_get(&r->files_list, i, &f->rec);
		f->fd = -1;
		if (rec_u64(&f->rec, "ID", RES_MAX_FILES, &id, e) || rec_u64_or(&f->rec, "NET", NS_MAX, 0, &net, e))
			return err_prefix(e, "files");
		if (id != i + 1)
			return err_set(e, EX_BAD_IMAGE, "files: line %zu: ID is %llu, not %zu", f->rec.line,
				       (unsigned long long)id, i + 1);
		f->id = (uint32_t)id;
		f->net = (uint32_t)net;
		f->ops = ops_by_type(rec_type(&f->rec));
		if (!f->ops)
			return err_set(e, EX_BAD_IMAGE, "files: line %zu: kind \"%s\" is not known", f->rec.line,
				       rec_type(&f->rec));
		r->nfiles = i + 1;
	}
	return 0;
}

static int parse_table(struct restore *r, struct rproc *p, struct err *e)
{
	struct rec rec;
	size_t n = 0;

	for (long i = rproc_rec(p, "fd", 0, &rec); i >= 0; i = rproc_rec(p, "fd", (size_t)i + 1, &rec))
		n++;
	p->fds = calloc(n ? n : 1, sizeof *p->fds);
	if (!p->fds)
		return err_set(e, EX_FAILED, "out of memory");
	for (long i = rproc_rec(p, "fd", 0, &rec); i >= 0; i = rproc_rec(p, "fd", (size_t)i + 1, &rec)) {
		struct rfd *f = &p->fds[p->nfds];
		uint64_t id, cloexec;

		if (rec_int(&rec, "FD", 0, RES_MAX_FD, &f->fd, e) || rec_u64(&rec, "FILE", r->nfiles, &id, e) ||
		    rec_u64_or(&rec, "CLOEXEC", 1, 0, &cloexec, e))
			return -1;
		if (!id || (p->nfds && f->fd <= f[-1].fd))
			return err_set(e, EX_BAD_IMAGE, "line %zu: fd out of order or without file", rec.line);
		f->file = (uint32_t)id;
		f->cloexec = cloexec;
		p->nfds++;
		if (f->fd >= r->fd_base)
			r->fd_base = f->fd + 1;
	}
	return 0;
}

/* Descriptors of the restart itself come above all of the job's. */
static int make_room(struct restore *r, struct err *e)
{
	enum { OURS = 64 };
	rlim_t need = (rlim_t)r->fd_base + OURS, want = need + r->nfiles;
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl))
		return err_sys(e, "RLIMIT_NOFILE");
	rl.rlim_cur = rl.rlim_max;
	setrlimit(RLIMIT_NOFILE, &rl);
	if (want <= rl.rlim_max)
		return 0;
	/* Root may, up to fs.nr_open. Files that have their numbers in the job need no second ones. */
	if (!setrlimit(RLIMIT_NOFILE, &(struct rlimit){ want, want }) || need <= rl.rlim_max)
		return 0;
	err_set(e, EX_MISFIT, "the job has a descriptor of number %d", r->fd_base - 1);
	err_hint(e, "raise RLIMIT_NOFILE (ulimit -n) or fs.nr_open above it");
	return -1;
}

int files_parse(struct restore *r, struct err *e)
{
	if (parse_descriptions(r, e))
		return -1;
	r->fd_base = 64;
	for (size_t i = 0; i < r->nprocs; i++)
		if (parse_table(r, r->procs[i], e))
			return err_prefix(e, "task_%d", r->procs[i]->pid);
	return make_room(r, e);
}

int restore_high_fd(struct restore *r, int fd)
{
	int n = fcntl(fd, F_DUPFD_CLOEXEC, r->fd_base);
	int saved = errno;

	close(fd);
	errno = saved;
	return n;
}

/* Puts description f where it does not stand in the way: at the number that its first holder has, where
 * that is free here, else above fd_base. */
static int place(struct restore *r, struct rfile *f, int want, struct err *e)
{
	if (want == f->fd)
		return 0;
	if (want >= 0 && fcntl(want, F_GETFD) < 0 && errno == EBADF) {
		if (dup3(f->fd, want, O_CLOEXEC) < 0)
			return err_sys(e, "cannot place a descriptor at %d", want);
		close(f->fd);
		f->fd = want;
		return 0;
	}
	if (f->fd >= r->fd_base)
		return 0;
	f->fd = restore_high_fd(r, f->fd);
	return f->fd < 0 ? err_sys(e, "cannot place a descriptor above %d (RLIMIT_NOFILE)", r->fd_base) : 0;
}

struct opening { struct restore *r; struct rfile *f; };

static int open_it(void *ctx, int *fd, struct err *e)
{
	struct opening *o = ctx;

	if (o->f->ops->open(o->r, o->f, e))
		return -1;
	*fd = o->f->fd;
	return 0;
}

/* Where its record says. */
static int open_one(struct restore *r, struct rfile *f, struct err *e)
{
	struct opening o = { r, f };
	uint64_t mnt;
	int rc;

	if (rec_u64_or(&f->rec, "MNT", NS_MAX, 0, &mnt, e))
		return -1;
	if (mnt && !f->ops->goes_itself)
		return ns_open(r, mnt, open_it, &o, &f->fd, e);
	rc = ns_net_enter(r, f, e) || f->ops->open(r, f, e) ? -1 : 0;
	ns_net_home(r);
	return rc;
}

int files_open_all(struct restore *r, struct err *e)
{
	AUTO_FREE int *want = malloc((r->nfiles + 1) * sizeof *want);

	if (!want)
		return err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; i <= r->nfiles; i++)
		want[i] = -1;
	for (size_t i = 0; i < r->nprocs; i++)
		for (size_t k = 0; k < r->procs[i]->nfds; k++) {
			struct rfd *x = &r->procs[i]->fds[k];
			if (want[x->file] < 0 && x->fd > 2)
				want[x->file] = x->fd;
		}
	for (size_t i = 0; i < r->nfiles; i++) {
		struct rfile *f = &r->files[i];

		/* Kinds that are opened all with the first one say themselves which it is. */
		if (f->fd < 0 && open_one(r, f, e))
			return e && !strncmp(e->msg, "file ", 5) ? -1 : err_prefix(e, "file %u", f->id);
		if (place(r, f, want[f->id], e))
			return err_prefix(e, "file %u", f->id);
		log_debug("files", "file %u (%s) opened at %d", f->id, f->ops->type, f->fd);
	}
	return 0;
}

static int cmp_int(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

int rproc_fd(const struct rproc *p, uint32_t file)
{
	for (size_t k = 0; k < p->nfds; k++)
		if (p->fds[k].file == file)
			return p->fds[k].fd;
	return -1;
}

/* A source number that some other file wants as its place in p is copied out of the way first. */
static int save_sources(struct restore *r, struct rproc *p, int *src, struct err *e)
{
	AUTO_FREE int *targets = malloc((p->nfds + 1) * sizeof *targets);
	AUTO_FREE size_t *idx = malloc((p->nfds + 1) * sizeof *idx);
	size_t moved = 0, first = 0;

	if (!targets || !idx)
		return err_set(e, EX_FAILED, "out of memory");
	for (size_t k = 0; k < p->nfds; k++)
		targets[k] = p->fds[k].fd;
	for (size_t k = 0; k < p->nfds; k++) {
		if (src[k] == p->fds[k].fd || src[k] >= r->fd_base ||
		    !bsearch(&src[k], targets, p->nfds, sizeof *targets, cmp_int))
			continue;
		if (remote_room(p->rem, 1, 0, e))
			return -1;
		/* A run in between starts the indices anew: collect what is queued before. */
		idx[moved] = k;
		remote_call(p->rem, "fcntl F_DUPFD", REMOTE_MUST, SYS_fcntl, (uint64_t)src[k], F_DUPFD_CLOEXEC,
			    (uint64_t)r->fd_base, 0, 0, 0);
		moved++;
		if (moved - first == 64 || k + 1 == p->nfds) {
			if (remote_run(p->rem, e))
				return -1;
			for (size_t i = first; i < moved; i++)
				src[idx[i]] = (int)remote_ret(p->rem, i - first);
			first = moved;
		}
	}
	if (moved > first) {
		if (remote_run(p->rem, e))
			return -1;
		for (size_t i = first; i < moved; i++)
			src[idx[i]] = (int)remote_ret(p->rem, i - first);
	}
	return 0;
}

static int close_gaps(struct rproc *p, struct err *e)
{
	int from = 0;

	for (size_t k = 0; k <= p->nfds; k++) {
		bool last = k == p->nfds;
		int to = last ? INT_MAX : p->fds[k].fd - 1;

		if (to >= from) {
			if (remote_room(p->rem, 1, 0, e))
				return -1;
			remote_call(p->rem, "close_range", REMOTE_MUST, SYS_close_range, (uint64_t)from, (uint64_t)to, 0, 0, 0, 0);
		}
		if (!last)
			from = p->fds[k].fd + 1;
	}
	return remote_run(p->rem, e);
}

int files_install(struct restore *r, struct rproc *p, struct err *e)
{
	AUTO_FREE int *src = malloc((p->nfds + 1) * sizeof *src);

	if (!src)
		return err_set(e, EX_FAILED, "out of memory");
	for (size_t k = 0; k < p->nfds; k++)
		src[k] = r->files[p->fds[k].file - 1].fd;
	if (save_sources(r, p, src, e))
		return -1;
	for (size_t k = 0; k < p->nfds; k++) {
		struct rfd *x = &p->fds[k];

		if (remote_room(p->rem, 1, 0, e))
			return -1;
		if (src[k] == x->fd)
			remote_call(p->rem, "fcntl F_SETFD", REMOTE_MUST, SYS_fcntl, (uint64_t)x->fd, F_SETFD,
				    x->cloexec ? FD_CLOEXEC : 0, 0, 0, 0);
		else
			remote_call(p->rem, "dup3", REMOTE_MUST, SYS_dup3, (uint64_t)src[k], (uint64_t)x->fd,
				    x->cloexec ? O_CLOEXEC : 0, 0, 0, 0);
	}
	if (remote_run(p->rem, e) || close_gaps(p, e))
		return -1;
	for (size_t k = 0; k < p->nfds; k++) {
		struct rfile *f = &r->files[p->fds[k].file - 1];
		if (f->ops->install && f->ops->install(r, p, p->fds[k].fd, f, e))
			return err_prefix(e, "fd %d", p->fds[k].fd);
	}
	return 0;
}

int files_late(struct restore *r, struct err *e)
{
	for (size_t i = 0; i < r->nfiles; i++) {
		struct rfile *f = &r->files[i];
		if (owner_restore(r, f, e) || (f->ops->late && f->ops->late(r, f, e)))
			return err_prefix(e, "file %u", f->id);
	}
	return 0;
}

void files_restore_free(struct restore *r)
{
	unix_forget(r);
	tcp_forget(r);
	inet_forget(r);
	for (size_t i = 0; i < r->nfiles; i++) {
		if (r->files[i].fd >= 0)
			close(r->files[i].fd);
		free(r->files[i].priv);
	}
	free(r->files);
	r->files = NULL;
	r->nfiles = 0;
	rec_list_free(&r->files_list);
}
