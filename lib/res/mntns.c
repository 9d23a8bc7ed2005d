/* mntns: the doors; see mntns.h. */
#include "res/mntns_int.h"
#include "res/ns_obj.h"
#include "common/cleanup.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

/* ---- checkpoint ---- */

static int look(struct dump *d, const struct dproc *p, int owner_user_fd, struct mplan *pl, struct ns_place *at, struct err *e)
{
	struct mlook l = { owner_user_fd, p };

	if (mlook_place(&l, at, e))
		return -1;
	if (mlook_table(at, &pl->m, e)) {
		/* Somebody with more rights made it. */
		if (!e || e->code != EX_PERM)
			return -1;
		err_clear(e);
		return refuse(d, p, "a mount namespace that we may not enter");
	}
	return mplan_make(d, p, owner_user_fd, pl, e);
}

static void refuse_lines(struct dump *d, const struct dproc *p, const struct buf *b)
{
	for (const char *l = buf_str(b); *l;) {
		size_t n = strcspn(l, "\n");

		refuse(d, p, "%.*s", (int)n, l);
		l += n + (l[n] == '\n');
	}
}

int mntns_check(struct dump *d, const struct dproc *p, int owner_user_fd, struct err *e)
{
	struct mplan pl = { .hostroot = -1, .spool = -1 };
	AUTO_BUF struct buf out = BUF_INIT, no = BUF_INIT;
	struct ns_place at;
	size_t before = d->nrefusals;
	int rc = look(d, p, owner_user_fd, &pl, &at, e);

	if (!rc && d->nrefusals == before && pl.nsb) {
		rc = mlook_content(&at, &pl, 0, &out, &no, e);
		refuse_lines(d, p, &no);
	}
	mlook_close(&at);
	mplan_free(&pl);
	return rc;
}

/* What is in memory already should not be there twice, when it is much. */
static int spool_new(const struct mplan *pl, const struct dproc *p)
{
	enum { SMALL = 64 << 20 };
	uint64_t used = 0;
	int fd = -1;

	for (size_t i = 0; i < pl->m.n; i++) {
		char path[PATH_MAX + 32];
		struct statfs fs;

		snprintf(path, sizeof path, "/proc/%d/root%s", p->pid, pl->m.v[i].point);
		if (pl->v[i].dump && !statfs(path, &fs))
			used += (uint64_t)(fs.f_blocks - fs.f_bfree) * (uint64_t)fs.f_bsize;
	}
	if (used > SMALL)
		fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	return fd >= 0 ? fd : memfd_create("mounts", MFD_CLOEXEC);
}

static void put_sb(const struct mplan *pl, uint32_t id, size_t k, struct buf *out)
{
	const struct msb *s = &pl->sb[k];
	const struct minfo *m = &pl->m.v[s->first];
	char name[64];

	rec_begin(out, "mount_sb");
	rec_put_u64(out, "NS", id);
	rec_put_u64(out, "SB", k + 1);
	rec_put_str(out, "FSTYPE", m->type);
	rec_put_str(out, "DEVNAME", m->source);
	rec_put_str(out, "SUPER", s->super ? s->super : m->super);
	if (!strcmp(m->type, "tmpfs")) {
		snprintf(name, sizeof name, "mount_%u.%zu", id, k + 1);
		rec_put_str(out, "CONTENT", name);
	}
	if (s->layers)
		rec_put_str(out, "LAYERS", s->layers);
	if (s->late)
		rec_put_u64(out, "LATE", 1);
	if (s->pidns)
		rec_put_u64(out, "PIDNS", s->pidns);
	rec_end(out);
}

static void put_mount(const struct mplan *pl, uint32_t id, size_t i, struct buf *out)
{
	const struct minfo *m = &pl->m.v[i];
	const struct mplan1 *v = &pl->v[i];

	rec_begin(out, "mount");
	rec_put_u64(out, "NS", id);
	rec_put_u64(out, "ID", i + 1);
	rec_put_u64(out, "PARENT", m->up == MNTNS_NONE ? 0 : m->up + 1);
	rec_put_str(out, "POINT", m->point);
	rec_put_str(out, "OPTIONS", m->opts);
	if (v->kind == MK_BIND)
		rec_put_str(out, "SOURCE", v->source);
	else
		rec_put_u64(out, "SB", v->sb + 1);
	rec_put_str(out, "ROOT", m->root);
	rec_put_str(out, "FSTYPE", m->type);
	rec_put_str(out, "DEVNAME", m->source);
	if (v->file)
		rec_put_u64(out, "FILE", 1);
	if (v->pty)
		rec_put_u64(out, "PTY", v->pty->id);
	if (v->terminal)
		rec_put_u64(out, "TERMINAL", 1);
	if (v->copy)
		rec_put_u64(out, "COPY", 1);
	if (v->hidden)
		rec_put_u64(out, "HIDDEN", 1);
	if (v->rec)
		rec_put_u64(out, "REC", 1);
	if (v->group)
		rec_put_u64(out, "GROUP", v->group);
	if (v->master_host)
		rec_put_str(out, "MASTER", "host");
	else if (v->master)
		rec_put_u64(out, "MASTER", v->master);
	if (m->unbindable)
		rec_put_u64(out, "UNBINDABLE", 1);
	rec_end(out);
}

static int put_all(struct dump *d, const struct mplan *pl, uint32_t id, struct buf *sockets, struct buf *out, struct err *e)
{
	for (size_t k = 0; k < pl->nsb; k++) {
		char name[64];

		put_sb(pl, id, k, out);
		snprintf(name, sizeof name, "mount_%u.%zu", id, k + 1);
		if (!strcmp(pl->m.v[pl->sb[k].first].type, "tmpfs") && dump_raw_fd(d, name, pl->spool, pl->sb[k].off, pl->sb[k].size, e))
			return -1;
	}
	buf_add(out, buf_str(sockets), sockets->len);
	for (size_t i = 0; i < pl->m.n; i++)
		put_mount(pl, id, i, out);
	return buf_failed(out) ? err_set(e, EX_FAILED, "out of memory") : 0;
}

int mntns_dump(struct dump *d, uint32_t id, const struct dproc *p, int owner_user_fd, struct buf *out, struct err *e)
{
	struct mplan pl = { .hostroot = -1, .spool = -1 };
	AUTO_BUF struct buf sockets = BUF_INIT, no = BUF_INIT;
	struct ns_place at;
	size_t before = d->nrefusals;
	int rc = look(d, p, owner_user_fd, &pl, &at, e);

	if (!rc) {
		pl.spool = spool_new(&pl, p);
		rc = pl.spool < 0 ? err_sys(e, "cannot make a file for the content of mounts") : mlook_content(&at, &pl, id, &sockets, &no, e);
	}
	refuse_lines(d, p, &no);
	if (!rc && d->nrefusals != before)
		rc = err_set(e, EX_CANNOT_CKPT, "mounts changed while they were saved");
	if (!rc)
		rc = put_all(d, &pl, id, &sockets, out, e);
	mlook_close(&at);
	mplan_free(&pl);
	return rc;
}

/* ---- restart ---- */

int mntns_path(const char *path, char *out, size_t n)
{
	return (size_t)snprintf(out, n, "%s%s", MNTNS_NEW, path) >= n ? -1 : 0;
}

/* Our own tree: a tmpfs that is the root, with the copy of the restorer's mounts at MNTNS_OLD. */
static int stage(struct err *e)
{
	static const char *const places[] = { "/tmp", "/run", "/mnt", "/dev", "/usr", "/etc" };
	size_t i;

	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL))
		return err_sys(e, "cannot take the mounts from the rest of the machine");
	for (i = 0; i < sizeof places / sizeof places[0]; i++)
		if (!mount("xos", places[i], "tmpfs", MS_NOSUID | MS_NODEV, "mode=755"))
			break;
	if (i == sizeof places / sizeof places[0])
		return err_sys(e, "cannot mount a tmpfs");
	if (chdir(places[i]) || mkdir("." MNTNS_OLD, 0755) || mkdir("." MNTNS_NEW, 0755) || mkdir("." MNTNS_SB, 0755) ||
	    syscall(SYS_pivot_root, ".", "." MNTNS_OLD) || chdir("/"))
		return err_sys(e, "cannot change the root");
	return access(MNTNS_PROC "/fd", F_OK) ? err_sys(e, "no /proc where the job is restarted") : 0;
}

int mntns_build(struct restore *r, const struct rec_list *list, uint32_t id, struct err *e)
{
	struct rmtab t;
	int rc = rmtab_parse(&t, r, list, id, e);

	umask(0);
	rc = rc || stage(e) || rmtab_make(&t, false, e) || rmtab_compare(&t, false, e) || rmtab_note(&t, e) ? -1 : 0;
	rmtab_free(&t);
	return rc;
}

int mntns_procs(struct restore *r, const struct rec_list *list, uint32_t id, int (*make)(void *ctx, uint32_t pidns, size_t sb, struct err *e), void *ctx,
		struct err *e)
{
	struct rmtab t;
	int rc = rmtab_parse(&t, r, list, id, e);

	for (size_t k = 0; k < t.nsb && !rc; k++)
		if (t.sb[k].pidns)
			rc = make(ctx, t.sb[k].pidns, k, e);
	rmtab_free(&t);
	return rc;
}

int mntns_proc(struct restore *r, const struct rec_list *list, uint32_t id, size_t sb, struct err *e)
{
	struct rmtab t;
	int rc = rmtab_parse(&t, r, list, id, e);

	umask(0);
	rc = rc || mnt_sb_make(&t, sb, e) ? -1 : 0;
	rmtab_free(&t);
	return rc;
}

int mntns_complete(struct restore *r, const struct rec_list *list, uint32_t id, struct err *e)
{
	struct rmtab t;
	int rc = rmtab_parse(&t, r, list, id, e);

	umask(0);
	rc = rc || rmtab_find(&t, e) || rmtab_make(&t, true, e) || rmtab_compare(&t, true, e) || rmtab_propagation(&t, e) ? -1 : 0;
	rmtab_free(&t);
	if (rc)
		return -1;
	if (chdir(MNTNS_NEW) || syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/"))
		return err_sys(e, "cannot take the restorer's mounts away");
	return 0;
}
