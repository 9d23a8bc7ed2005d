/* ns_collect: which namespaces members have of their own; ioctl_ns(2). */
#include "res/ns_obj.h"
#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int open_ns(pid_t pid, enum ns_kind k, struct stat *st)
{
	char path[64];
	int fd;

	snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, ns_kind_name(k));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && fstat(fd, st)) {
		close(fd);
		return -1;
	}
	return fd;
}

static struct dproc *first_living(const struct dump *d)
{
	for (size_t i = 0; i < d->nprocs; i++)
		if (!d->procs[i]->zombie)
			return d->procs[i];
	return NULL;
}

/* The clocks may be the job's own, as long as all have the same: clocks.c. */
static int reference(struct dump *d, struct err *e)
{
	struct dns_world *w = d->ns;
	struct dproc *first = first_living(d);
	pid_t of = d->own_ns ? (d->nsinit ? d->nsinit : d->procs[0]->pid) : getpid();
	struct stat st, own;

	for (int k = 0; k < NSK_COUNT; k++) {
		w->reference[k] = open_ns(k == NSK_TIME && first ? first->pid : of, k, &st);
		if (w->reference[k] < 0 && errno != ENOENT)
			return err_sys(e, "cannot look at the %s namespace of process %d", ns_kind_name(k), of);
		w->ref_dev[k] = st.st_dev;
		w->ref_ino[k] = w->reference[k] < 0 ? 0 : st.st_ino;
	}
	w->user_is_ours = stat("/proc/self/ns/user", &own) || (own.st_ino == w->ref_ino[NSK_USER] && own.st_dev == w->ref_dev[NSK_USER]);
	return 0;
}

static bool is_reference(const struct dns_world *w, enum ns_kind k, const struct stat *st)
{
	return w->ref_ino[k] == st->st_ino && w->ref_dev[k] == st->st_dev;
}

static struct dns *find(const struct dns_world *w, const struct stat *st)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->v[i]->ino == st->st_ino && w->v[i]->dev == st->st_dev)
			return w->v[i];
	return NULL;
}

static struct dns *obj(struct dump *d, enum ns_kind k, int fd, struct dproc *p, struct err *e);

/* The user namespace behind fd (taken): *out NULL for the reference. */
static int user_of(struct dump *d, int fd, struct dns **out, struct err *e)
{
	struct stat st;

	*out = NULL;
	if (fstat(fd, &st)) {
		close(fd);
		return err_sys(e, "cannot look at a user namespace");
	}
	if (is_reference(d->ns, NSK_USER, &st)) {
		close(fd);
		return 0;
	}
	*out = obj(d, NSK_USER, fd, NULL, e);
	return *out ? 0 : -1;
}

/* Owner and parent of a new object. One outside of our sight is not below the reference. */
static int relations(struct dump *d, struct dns *n, struct dproc *p, struct err *e)
{
	int fd = ioctl(n->fd, NS_GET_USERNS);
	struct stat st;

	if (fd < 0)
		return errno == EPERM ? refuse(d, p, "a %s namespace (%llu) that belongs to a user namespace outside the job's", ns_kind_name(n->kind), (unsigned long long)n->ino)
				      : err_sys(e, "cannot ask a %s namespace for its owner", ns_kind_name(n->kind));
	if (user_of(d, fd, &n->user, e))
		return -1;
	if (n->kind == NSK_USER) {
		n->parent = n->user;
		return ioctl(n->fd, NS_GET_OWNER_UID, &n->owner) ? err_sys(e, "cannot ask a user namespace for its owner") : 0;
	}
	if (n->kind != NSK_PID)
		return 0;
	fd = ioctl(n->fd, NS_GET_PARENT);
	if (fd < 0 || fstat(fd, &st)) {
		refuse(d, p, "a PID namespace (%llu) that is not below the job's", (unsigned long long)n->ino);
		if (fd >= 0)
			close(fd);
		return 0;
	}
	if (is_reference(d->ns, NSK_PID, &st)) {
		close(fd);
		return 0;
	}
	n->parent = obj(d, NSK_PID, fd, NULL, e);
	return n->parent ? 0 : -1;
}

/* Finds or adds; fd is taken. */
static struct dns *obj(struct dump *d, enum ns_kind k, int fd, struct dproc *p, struct err *e)
{
	struct dns_world *w = d->ns;
	struct dns *n, **v;
	struct stat st;

	if (fstat(fd, &st)) {
		close(fd);
		err_sys(e, "cannot look at a namespace");
		return NULL;
	}
	n = find(w, &st);
	if (n) {
		close(fd);
		/* The one deepest in PID namespaces: a proc that is mounted there is most likely of that one. */
		if (!n->p || (p && p->status.nnspid > n->p->status.nnspid))
			n->p = p;
		return n;
	}
	v = w->n == NS_MAX ? NULL : realloc(w->v, (w->n + 1) * sizeof *v);
	if (v)
		w->v = v;
	n = v ? calloc(1, sizeof *n) : NULL;
	if (!n) {
		close(fd);
		if (w->n == NS_MAX)
			err_set(e, EX_CANNOT_CKPT, "the job has more than %d namespaces of its own", NS_MAX);
		else
			err_set(e, EX_FAILED, "out of memory");
		return NULL;
	}
	*n = (struct dns){ .kind = k, .dev = st.st_dev, .ino = st.st_ino, .fd = fd, .p = p, .diag = -1, .root = -1 };
	/* Not listed before its owner and parent are. */
	if (relations(d, n, p, e)) {
		close(n->fd);
		free(n);
		return NULL;
	}
	v = realloc(w->v, (w->n + 1) * sizeof *v);
	if (!v) {
		close(n->fd);
		free(n);
		err_set(e, EX_FAILED, "out of memory");
		return NULL;
	}
	w->v = v;
	w->v[w->n++] = n;
	n->id = (uint32_t)w->n;
	return n;
}

/* After unshare(2) or setns(2): only its children are born there. Before the first one is, the link leads nowhere. */
static int for_children(struct dump *d, struct dproc *p, enum ns_kind k, struct dns **out, struct err *e)
{
	char path[64];
	struct stat own, st;
	int fd;

	snprintf(path, sizeof path, "/proc/%d/ns/%s", p->pid, ns_kind_name(k));
	if (d->ns->reference[k] < 0 || stat(path, &own))
		return d->ns->reference[k] < 0 ? 0 : err_sys(e, "%s", path);
	snprintf(path, sizeof path, "/proc/%d/ns/%s_for_children", p->pid, ns_kind_name(k));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : err_sys(e, "%s", path);
	if (fstat(fd, &st) || (st.st_ino == own.st_ino && st.st_dev == own.st_dev) || is_reference(d->ns, k, &st)) {
		close(fd);
		return 0;
	}
	*out = obj(d, k, fd, NULL, e);
	return *out ? 0 : -1;
}

static int collect_proc(struct dump *d, struct dproc *p, struct err *e)
{
	struct stat st;

	for (int k = 0; k < NSK_COUNT; k++) {
		char path[64];
		int fd;

		if (d->ns->reference[k] < 0)
			continue;
		snprintf(path, sizeof path, "/proc/%d/ns/%s", p->pid, ns_kind_name(k));
		if (stat(path, &st))
			return err_sys(e, "%s", path);
		if (is_reference(d->ns, k, &st))
			continue;
		fd = open_ns(p->pid, k, &st);
		if (fd < 0)
			return err_sys(e, "%s", path);
		p->ns[k] = obj(d, k, fd, p, e);
		if (!p->ns[k])
			return -1;
	}
	return for_children(d, p, NSK_PID, &p->pid_children, e) || for_children(d, p, NSK_TIME, &p->time_children, e) ? -1 : 0;
}

int ns_collect(struct dump *d, struct err *e)
{
	d->ns = calloc(1, sizeof *d->ns);
	if (!d->ns)
		return err_set(e, EX_FAILED, "out of memory");
	for (int k = 0; k < NSK_COUNT; k++)
		d->ns->reference[k] = -1;
	if (reference(d, e))
		return -1;
	for (size_t i = 0; i < d->nprocs; i++)
		if (!d->procs[i]->zombie && collect_proc(d, d->procs[i], e))
			return err_prefix(e, "pid %d", d->procs[i]->vpid);
	d->ns->ipc = first_living(d) ? first_living(d)->ns[NSK_IPC] : NULL;
	for (size_t i = 0; i < d->nprocs; i++)
		if (!d->procs[i]->zombie && d->procs[i]->ns[NSK_IPC] != d->ns->ipc)
			d->ns->ipc = NULL;
	return 0;
}

void ns_dump_free(struct dump *d)
{
	if (!d->ns)
		return;
	for (size_t i = 0; i < d->ns->n; i++) {
		close(d->ns->v[i]->fd);
		if (d->ns->v[i]->root >= 0)
			close(d->ns->v[i]->root);
		if (d->ns->v[i]->diag >= 0)
			close(d->ns->v[i]->diag);
		for (size_t k = 0; k < d->ns->v[i]->nmodels; k++)
			close(d->ns->v[i]->models[k].fd);
		free(d->ns->v[i]->models);
		buf_free(&d->ns->v[i]->content);
		free(d->ns->v[i]);
	}
	for (int k = 0; k < NSK_COUNT; k++)
		if (d->ns->reference[k] >= 0)
			close(d->ns->reference[k]);
	buf_free(&d->ns->mounts);
	free(d->ns->v);
	free(d->ns);
	d->ns = NULL;
}

bool ns_needed(const struct dump *d) { return d->ns && d->ns->n; }

void ns_place_of(const struct dump *d, const struct dns *n, struct ns_place *at)
{
	*at = (struct ns_place)NS_HERE;
	at->fd[NSK_USER] = n->kind == NSK_USER ? n->fd : n->user ? n->user->fd : d->ns->user_is_ours ? -1 : d->ns->reference[NSK_USER];
	if (n->kind != NSK_USER)
		at->fd[n->kind] = n->fd;
}

int ns_dump(struct dump *d, struct buf *out, struct err *e)
{
	for (size_t i = 0; i < d->ns->n; i++) {
		struct dns *n = d->ns->v[i];
		const struct ns_ops *o = ns_table[n->kind];

		rec_begin(out, "ns");
		rec_put_u64(out, "ID", n->id);
		rec_put_str(out, "KIND", ns_kind_name(n->kind));
		if (n->user)
			rec_put_u64(out, "USER", n->user->id);
		if (o->dump && o->dump(d, n, out, e))
			return err_prefix(e, "%s namespace", o->what);
		rec_end(out);
		if (o->dump_content && o->dump_content(d, n, out, e))
			return err_prefix(e, "%s namespace", o->what);
	}
	return 0;
}
