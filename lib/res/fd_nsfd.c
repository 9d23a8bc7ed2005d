/* fd_nsfd: descriptors of namespaces, setns(2), ioctl_ns(2): of those that all of the job or that members are in.
 *
 * Record: TYPE="nsfd" ... KIND="net|..." [NS=id in `namespaces`; absent: the one that the job is restarted in]
 *
 * Refused: namespaces that only a descriptor keeps, and PID and time namespaces of members, which exist only when their members do. */
#include "res/fd_ops.h"
#include "res/ns_obj.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

/* "net:[4026531840]", time_for_children is "time" as well. */
static int kind_of(const struct dfile *f)
{
	for (int k = 0; k < NSK_COUNT; k++) {
		size_t n = strlen(ns_kind_name(k));

		if (!strncmp(f->link, ns_kind_name(k), n) && !strncmp(f->link + n, ":[", 2))
			return k;
	}
	return -1;
}

static bool nsfd_match(const struct dfile *f)
{
	struct statfs fs;

	return kind_of(f) >= 0 && f->lfd >= 0 && !fstatfs(f->lfd, &fs) && fs.f_type == NSFS_MAGIC;
}

/* *n NULL: the reference. False: neither that nor one of a member. */
static bool find(const struct dump *d, const struct dfile *f, struct dns **n)
{
	int k = kind_of(f);

	*n = NULL;
	if (d->ns->ref_ino[k] == f->st.st_ino && d->ns->ref_dev[k] == f->st.st_dev)
		return true;
	for (size_t i = 0; i < d->ns->n && !*n; i++)
		if (d->ns->v[i]->ino == f->st.st_ino && d->ns->v[i]->dev == f->st.st_dev && d->ns->v[i]->p)
			*n = d->ns->v[i];
	return *n;
}

static int nsfd_check(struct dump *d, struct dfile *f, struct err *e)
{
	struct dns *n;

	(void)e;
	if (!find(d, f, &n))
		return refuse(d, f->p, "fd %d: %s, a namespace that no member of the job is in", f->fd, f->link);
	if (n && (n->kind == NSK_PID || n->kind == NSK_TIME))
		return refuse(d, f->p, "fd %d: %s, a PID or time namespace of members", f->fd, f->link);
	return 0;
}

static int nsfd_dump(struct dump *d, struct dfile *f, struct err *e)
{
	struct dns *n;

	if (!find(d, f, &n))
		return err_set(e, EX_FAILED, "%s has gone", f->link);
	rec_put_str(&d->files_out, "KIND", ns_kind_name(kind_of(f)));
	if (n)
		rec_put_u64(&d->files_out, "NS", n->id);
	return 0;
}

/* The restorer may be in the IPC namespace of all members meanwhile. */
static int open_reference(struct restore *r, enum ns_kind k)
{
	char path[64];

	if (k == NSK_IPC && r->ns && r->ns->home_ipc >= 0)
		snprintf(path, sizeof path, "/proc/self/fd/%d", r->ns->home_ipc);
	else
		snprintf(path, sizeof path, "/proc/self/ns/%s", ns_kind_name(k));
	return open(path, O_RDONLY | O_CLOEXEC);
}

static int nsfd_open(struct restore *r, struct rfile *f, struct err *e)
{
	const char *kind;
	struct rns *n = NULL;
	char path[64];
	uint64_t id;
	int k = 0;

	if (rec_str(&f->rec, "KIND", &kind, e) || rec_u64_or(&f->rec, "NS", NS_MAX, 0, &id, e))
		return -1;
	while (k < NSK_COUNT && strcmp(kind, ns_kind_name(k)))
		k++;
	if (k < NSK_COUNT && id)
		n = ns_find(r, id, k);
	if (k == NSK_COUNT || (id && (!n || k == NSK_PID || k == NSK_TIME)))
		return err_set(e, EX_BAD_IMAGE, "line %zu: a descriptor of no namespace", f->rec.line);
	snprintf(path, sizeof path, "/proc/self/fd/%d", n ? n->fd : -1);
	f->fd = n ? open(path, O_RDONLY | O_CLOEXEC) : open_reference(r, k);
	if (f->fd < 0)
		return err_sys(e, "cannot open a %s namespace", kind);
	return fd_set_flags(f->fd, &f->rec, e);
}

const struct fd_ops fd_nsfd_ops = {
	.type = "nsfd", .match = nsfd_match, .check = nsfd_check, .dump = nsfd_dump, .open = nsfd_open,
};
