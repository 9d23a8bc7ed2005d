/* mntns_plan: how each mount of a namespace will be made again; what cannot be is refused by name. */
#include "res/mntns_int.h"
#include "res/ns_obj.h"
#include "res/tty.h"
#include "common/cleanup.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* File systems that can be made anew. late: they show what a PID, IPC, network or cgroup namespace has. */
static const struct { const char *type; bool late; } made[] = {
	{ "tmpfs", false }, { "devpts", false }, { "overlay", false }, { "proc", true }, { "sysfs", true }, { "mqueue", true },
	{ "cgroup", true }, { "cgroup2", true },
};
enum { NMADE = sizeof made / sizeof made[0] };

static int made_index(const char *type)
{
	for (int i = 0; i < NMADE; i++)
		if (!strcmp(made[i].type, type))
			return i;
	return -1;
}

/* Does path, where the job was started, show what is on the machine's mount h? */
static bool shown(const struct mplan *pl, const struct minfo *h, const char *path, mode_t *mode)
{
	AUTO_FD int fd = sys_open_in(pl->hostroot, path, O_PATH | O_NOFOLLOW, RESOLVE_IN_ROOT_);
	int id;

	return fd >= 0 && !sys_mount_id(fd, &id, NULL, mode) && id == h->id;
}

/* The same mount on the machine, below the mount that is this one's parent there. */
static size_t natural(const struct mplan *pl, size_t i)
{
	const struct minfo *m = &pl->m.v[i], *up = m->up == MNTNS_NONE ? NULL : &pl->m.v[m->up];
	const struct mplan1 *pu = up ? &pl->v[m->up] : NULL;
	char path[PATH_MAX];
	const char *rest;

	if (!up || pu->kind != MK_BIND || !(rest = mnt_below(m->point, up->point)) || mnt_join(pu->source, rest, path))
		return MNTNS_NONE;
	for (size_t k = 0; k < pl->host.n; k++) {
		const struct minfo *h = &pl->host.v[k];

		if (h->up == pu->host && h->dev == m->dev && !strcmp(h->root, m->root) && !strcmp(h->point, path))
			return k;
	}
	return MNTNS_NONE;
}

static bool follows(const struct minfo *m, const struct minfo *h)
{
	return !m->master || m->master == h->shared || m->master == h->master;
}

/* Any place of the machine that shows it: best the same path, then the smallest part of the file system. */
static bool anywhere(const struct mplan *pl, size_t i, struct mplan1 *v, mode_t *mode)
{
	const struct minfo *m = &pl->m.v[i];
	size_t best = MNTNS_NONE;
	bool same = false;

	for (size_t k = 0; k < pl->host.n; k++) {
		const struct minfo *h = &pl->host.v[k];
		const char *rest = h->dev == m->dev && !h->deleted ? mnt_below(m->root, h->root) : NULL;
		char path[PATH_MAX];
		mode_t mo;
		bool here, better;

		if (!rest || mnt_join(h->point, rest, path) || !shown(pl, h, path, &mo))
			continue;
		here = !strcmp(path, m->point);
		better = best == MNTNS_NONE;
		if (!better && follows(m, h) != follows(m, &pl->host.v[best]))
			better = follows(m, h);
		else if (!better)
			better = here > same || (here == same && strlen(h->root) > strlen(pl->host.v[best].root));
		if (!better)
			continue;
		best = k;
		same = here;
		*mode = mo;
		strcpy(v->source, path);
	}
	v->host = best;
	return best != MNTNS_NONE;
}

static bool dev_on_host(const struct mplan *pl, uint64_t dev)
{
	for (size_t k = 0; k < pl->host.n; k++)
		if (pl->host.v[k].dev == dev)
			return true;
	return false;
}

static int host_bind(struct dump *d, const struct dproc *p, struct mplan *pl, size_t i, bool *yes)
{
	struct minfo *m = &pl->m.v[i];
	struct mplan1 *v = &pl->v[i];
	unsigned long mine, theirs;
	const char *word;
	mode_t mode = 0;
	size_t h = natural(pl, i);

	*yes = true;
	if (h != MNTNS_NONE) {
		v->host = h;
		v->copy = true;
		strcpy(v->source, pl->host.v[h].point);
		v->hidden = !shown(pl, &pl->host.v[h], v->source, &mode);
	} else if (!anywhere(pl, i, v, &mode)) {
		*yes = false;
		return 0;
	}
	v->kind = MK_BIND;
	v->file = mode && !S_ISDIR(mode);
	if (v->file && !strcmp(m->type, "devpts") && !v->copy)
		v->terminal = !(v->pty = tty_on_devpts(d, m->root + 1, m->dev));
	if (v->hidden) {
		pl->v[m->up].rec = true;
		if (!mnt_flags(m->opts, &mine, &word) && !mnt_flags(pl->host.v[h].opts, &theirs, &word) && mine != theirs)
			refuse(d, p, "mount %s (%s): hidden by another one, and with other options (%s) than where the job was started", m->point,
			       m->type, m->opts);
	}
	return 0;
}

/* Whether the layers of an overlay are paths of the job's start or of the namespace cannot be asked: where they are. */
static const char *layers_of(const struct mplan *pl, const struct dproc *p, const char *super)
{
	char text[PATH_MAX], root[64];
	AUTO_FD int in = -1, here = -1, there = -1;
	const char *up = strstr(super, ",upperdir="), *low = strstr(super, "lowerdir=");
	const char *from = up ? up + 10 : low ? strchr(low, '=') + 1 : NULL;
	struct stat a, b;
	size_t n = from ? strcspn(from, ",:") : 0;

	if (!n || n >= sizeof text || from[0] != '/' || memchr(from, '\\', n))
		return NULL;
	memcpy(text, from, n);
	text[n] = '\0';
	snprintf(root, sizeof root, "/proc/%d/root", p->pid);
	in = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	here = sys_open_in(pl->hostroot, text, O_PATH, RESOLVE_IN_ROOT_);
	there = in < 0 ? -1 : sys_open_in(in, text, O_PATH, RESOLVE_IN_ROOT_);
	if (here >= 0 && there >= 0)
		return fstat(here, &a) || fstat(there, &b) || a.st_dev != b.st_dev || a.st_ino != b.st_ino ? NULL : "host";
	return here >= 0 ? "host" : there >= 0 ? "ns" : NULL;
}

static int sb_add(struct dump *d, const struct dproc *p, struct mplan *pl, size_t i, struct err *e)
{
	const struct minfo *m = &pl->m.v[i];
	struct msb *n;
	size_t k;

	for (k = 0; k < pl->nsb; k++)
		if (pl->sb[k].dev == m->dev)
			break;
	pl->v[i].kind = MK_SB;
	pl->v[i].sb = k;
	if (k < pl->nsb)
		return 0;
	n = realloc(pl->sb, (pl->nsb + 1) * sizeof *n);
	if (!n)
		return err_set(e, EX_FAILED, "out of memory");
	pl->sb = n;
	n = &n[pl->nsb++];
	*n = (struct msb){ .dev = m->dev, .first = i, .late = made[made_index(m->type)].late };
	if (!strcmp(m->type, "overlay")) {
		n->layers = layers_of(pl, p, m->super);
		if (!n->layers)
			refuse(d, p, "mount %s: where the layers of this overlay are cannot be told (%s)", m->point, m->super);
	}
	return 0;
}

static int plan_one(struct dump *d, const struct dproc *p, struct mplan *pl, size_t i, struct err *e)
{
	struct minfo *m = &pl->m.v[i];
	unsigned long flags;
	const char *word;
	bool bound = false;

	if (mnt_flags(m->opts, &flags, &word))
		refuse(d, p, "mount %s: option %.*s", m->point, (int)strcspn(word, ","), word);
	if (m->deleted)
		return refuse(d, p, "mount %s: %s (%s), which is mounted there, was removed", m->point, m->root, m->type);
	/* What a cgroup namespace calls the root of its hierarchy is a path that no restarted job has. */
	if (!(p->ns[NSK_CGROUP] && !strncmp(m->type, "cgroup", 6) && strcmp(m->root, "/")) && host_bind(d, p, pl, i, &bound))
		return -1;
	if (bound)
		return 0;
	if (made_index(m->type) >= 0 && !dev_on_host(pl, m->dev))
		return sb_add(d, p, pl, i, e);
	if (!strncmp(m->type, "cgroup", 6) && p->ns[NSK_CGROUP])
		return sb_add(d, p, pl, i, e);
	if (dev_on_host(pl, m->dev))
		return refuse(d, p, "mount %s: %s of %s (%s) is not to be seen where the job was started", m->point, m->root, m->source, m->type);
	return refuse(d, p, "mount %s: file system of type %s (%s) that is only mounted there is not supported", m->point, m->type, m->source);
}

/* The mount through which the content of a file system is saved: all of it, or several parts, when nobody sees more. */
static void choose_dumps(struct mplan *pl)
{
	for (size_t i = 0; i < pl->m.n; i++) {
		pl->v[i].dump = pl->v[i].kind == MK_SB && !strcmp(pl->m.v[i].type, "tmpfs");
		for (size_t k = 0; pl->v[i].dump && k < pl->m.n; k++) {
			const char *rest;

			if (k == i || pl->v[k].kind != MK_SB || pl->v[k].sb != pl->v[i].sb)
				continue;
			rest = mnt_below(pl->m.v[i].root, pl->m.v[k].root);
			if (rest && (*rest || k < i))
				pl->v[i].dump = false;
		}
	}
}

static bool on_host(const struct mplan *pl, unsigned peers)
{
	for (size_t k = 0; k < pl->host.n; k++)
		if (pl->host.v[k].shared == peers)
			return true;
	return false;
}

static unsigned group_in_job(const struct mplan *pl, unsigned peers)
{
	for (size_t i = 0; i < pl->m.n; i++)
		if (pl->m.v[i].shared == peers)
			return (unsigned)i + 1;
	return 0;
}

static void plan_propagation(struct dump *d, const struct dproc *p, struct mplan *pl)
{
	for (size_t i = 0; i < pl->m.n; i++) {
		const struct minfo *m = &pl->m.v[i];
		struct mplan1 *v = &pl->v[i];

		if (m->shared && on_host(pl, m->shared))
			refuse(d, p, "mount %s: shares what is mounted there with the rest of the machine (peer group %u)", m->point, m->shared);
		else if (m->shared)
			v->group = group_in_job(pl, m->shared);
		if (!m->master)
			continue;
		v->master = group_in_job(pl, m->master);
		v->master_host = !v->master && v->kind == MK_BIND && follows(m, &pl->host.v[v->host]);
		if (!v->master && !v->master_host)
			refuse(d, p, "mount %s: follows mounts that are made in another mount namespace (peer group %u)", m->point, m->master);
	}
}

/* A mount below another one cannot be named: it stays as the copy brings it, or is made private with all of that. */
static void hidden_propagation(struct dump *d, const struct dproc *p, const struct mplan *pl)
{
	for (size_t i = 0; i < pl->m.n; i++) {
		size_t top = i;

		while (pl->v[top].hidden)
			top = pl->m.v[top].up;
		if (top != i && (pl->v[i].group || pl->v[i].master))
			refuse(d, p, "mount %s (%s): hidden by another one, and shared", pl->m.v[i].point, pl->m.v[i].type);
		for (size_t k = top + 1; k < i; k++) {
			size_t up = k;

			while (pl->v[up].hidden)
				up = pl->m.v[up].up;
			if (up == top && k != up && pl->v[k].master_host != pl->v[i].master_host)
				refuse(d, p, "mounts %s and %s: both hidden by others, and only one follows the machine's", pl->m.v[k].point, pl->m.v[i].point);
		}
	}
}

/* What is only in mount namespaces of the job is made anew for each: it must not be in two. */
struct only_here { uint32_t ns; uint64_t dev; unsigned peers; };

static int shared_with_others(struct dump *d, const struct dproc *p, const struct mplan *pl, struct err *e)
{
	struct buf *all = &d->ns->mounts;
	size_t before = all->len / sizeof(struct only_here);

	for (size_t i = 0; i < pl->m.n; i++) {
		const struct minfo *m = &pl->m.v[i];
		bool own = pl->v[i].kind == MK_SB && !pl->sb[pl->v[i].sb].late;
		struct only_here x = { p->ns[NSK_MNT]->id, own ? m->dev : 0, pl->v[i].group ? m->shared : 0 };

		for (size_t k = 0; k < before; k++) {
			struct only_here y;

			memcpy(&y, all->p + k * sizeof y, sizeof y);
			if (x.ns == y.ns)
				continue;
			if (x.dev && x.dev == y.dev) {
				refuse(d, p, "mount %s: file system %s is in two mount namespaces of the job, and in none of the machine's", m->point, m->type);
				break;
			}
			if (x.peers && x.peers == y.peers) {
				refuse(d, p, "mount %s: shares what is mounted there with another mount namespace of the job (peer group %u)", m->point, m->shared);
				break;
			}
		}
		if (x.dev || x.peers)
			buf_add(all, &x, sizeof x);
	}
	return buf_failed(all) ? err_set(e, EX_FAILED, "out of memory") : 0;
}

static int root_of(struct dump *d, const struct dproc *p, struct mplan *pl)
{
	AUTO_FD int fd = -1;
	char path[64];
	int id;

	snprintf(path, sizeof path, "/proc/%d/root", p->pid);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || sys_mount_id(fd, &id, NULL, NULL))
		return 0;
	for (size_t i = 0; i < pl->m.n; i++)
		if (pl->m.v[i].id == id)
			return 0;
	return refuse(d, p, "a root directory on a mount that its mount namespace does not show");
}

int mplan_make(struct dump *d, const struct dproc *p, int owner_user_fd, struct mplan *pl, struct err *e)
{
	pid_t host = d->own_ns ? (d->nsinit ? d->nsinit : d->procs[0]->pid) : getpid();
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/root", host);
	pl->hostroot = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (pl->hostroot < 0)
		return err_sys(e, "cannot open %s", path);
	snprintf(path, sizeof path, "/proc/%d/mountinfo", host);
	if (mtab_read(&pl->host, AT_FDCWD, path, e))
		return -1;
	pl->v = calloc(pl->m.n + 1, sizeof *pl->v);
	if (!pl->v)
		return err_set(e, EX_FAILED, "out of memory");
	if (!pl->m.n || strcmp(pl->m.v[0].point, "/"))
		return refuse(d, p, "a mount namespace without a root");
	for (size_t i = 0; i < pl->m.n; i++) {
		if (i && pl->m.v[i].up == MNTNS_NONE)
			refuse(d, p, "mount %s: is not below the root of its namespace", pl->m.v[i].point);
		if (plan_one(d, p, pl, i, e))
			return -1;
	}
	pl->member = p->pid;
	pl->pidns = p->ns[NSK_PID];
	pl->pidns_owner = pl->pidns && pl->pidns->user && pl->pidns->user->fd != owner_user_fd ? pl->pidns->user->fd : -1;
	choose_dumps(pl);
	plan_propagation(d, p, pl);
	hidden_propagation(d, p, pl);
	if (shared_with_others(d, p, pl, e))
		return -1;
	return root_of(d, p, pl);
}

void mplan_free(struct mplan *pl)
{
	for (size_t i = 0; i < pl->nsb; i++)
		free(pl->sb[i].super);
	free(pl->sb);
	free(pl->v);
	mtab_free(&pl->m);
	mtab_free(&pl->host);
	if (pl->hostroot >= 0)
		close(pl->hostroot);
	if (pl->spool >= 0)
		close(pl->spool);
}
