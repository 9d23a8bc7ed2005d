/* mntns_look: what only a process inside the namespace can tell: its mounts from its own root, and what is in its file systems.
 *
 * A tmpfs may be hidden, in part or wholly, by mounts on top of it. So its content is read in a copy of the namespace (unshare(2)), where the mounts are
 * taken away from the last to the first: each is bare when its turn comes. Those that cannot be taken away are
 * locked, mount_namespaces(7): what is below them nobody in the namespace will ever see. */
#include "res/mntns_int.h"
#include "common/cleanup.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

int mlook_place(const struct mlook *l, struct ns_place *at, struct err *e)
{
	char path[64];

	*at = (struct ns_place)NS_HERE;
	if (l->owner_user_fd >= 0) {
		at->fd[NSK_USER] = fcntl(l->owner_user_fd, F_DUPFD_CLOEXEC, 3);
		if (at->fd[NSK_USER] < 0)
			return err_sys(e, "cannot keep a user namespace");
	}
	snprintf(path, sizeof path, "/proc/%d/ns/mnt", l->p->pid);
	at->fd[NSK_MNT] = open(path, O_RDONLY | O_CLOEXEC);
	return at->fd[NSK_MNT] < 0 ? err_sys(e, "cannot open %s", path) : 0;
}

void mlook_close(struct ns_place *at)
{
	cleanup_fd(&at->fd[NSK_USER]);
	cleanup_fd(&at->fd[NSK_MNT]);
	at->fd[NSK_USER] = at->fd[NSK_MNT] = -1;
}

static int own_proc(void *ctx, struct err *e)
{
	int *self = ctx;

	*self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return *self < 0 ? err_sys(e, "cannot open /proc/self") : 0;
}

static int table(void *ctx, struct buf *answer, int *give, struct err *e)
{
	(void)give;
	return buf_read_file(answer, *(int *)ctx, "mountinfo", 60 << 20) ? err_sys(e, "cannot read mountinfo") : 0;
}

int mlook_table(const struct ns_place *at, struct mtab *t, struct err *e)
{
	struct buf b = BUF_INIT;
	int self = -1;
	struct ns_job job = { .fn = table, .before = own_proc, .ctx = &self };

	*t = (struct mtab){ 0 };
	if (ns_run(at, &job, &b, NULL, e)) {
		buf_free(&b);
		return -1;
	}
	if (!b.p)
		buf_adds(&b, "");
	return b.p ? mtab_parse(t, b.p, e) : err_set(e, EX_FAILED, "out of memory");
}

/* ---- content ---- */

struct content { struct mplan *pl; uint32_t id; int self; struct mproc proc; struct buf sockets, refusals; };

static int open_self(void *ctx, struct err *e)
{
	struct content *c = ctx;

	return own_proc(&c->self, e) || mproc_before(&c->proc, c->pl, e) ? -1 : 0;
}

/* mountinfo shows uid= and gid= of tmpfs as the first user namespace has them; whoever mounts it says them as his own has. */
static uint64_t inside_id(const char *map, uint64_t id)
{
	unsigned long long in, out, n;

	for (const char *l = map; l && *l; l = strchr(l, '\n') ? strchr(l, '\n') + 1 : NULL)
		if (sscanf(l, "%llu %llu %llu", &in, &out, &n) == 3 && id >= out && id - out < n)
			return in + (id - out);
	return UINT64_MAX;
}

static void super_put(struct buf *out, const char *super, const char *uids, const char *gids)
{
	size_t words = 0;

	for (const char *w = super; *w;) {
		size_t n = strcspn(w, ",");
		bool uid = !strncmp(w, "uid=", 4), gid = !strncmp(w, "gid=", 4);
		uint64_t id = uid || gid ? strtoull(w + 4, NULL, 10) : 0;

		if (uid || gid)
			id = inside_id(uid ? uids : gids, id);
		if (id != UINT64_MAX) {
			buf_adds(out, words++ ? "," : "");
			if (uid || gid)
				buf_printf(out, "%cid=%llu", uid ? 'u' : 'g', (unsigned long long)id);
			else
				buf_add(out, w, n);
		}
		w += n + (w[n] == ',');
	}
}

/* devpts shows a gid, too. Others have no ids in their options, or none that are translated. */
static void supers(struct content *c, struct buf *answer)
{
	AUTO_BUF struct buf uids = BUF_INIT, gids = BUF_INIT;

	buf_read_file(&uids, c->self, "uid_map", 1 << 20);
	buf_read_file(&gids, c->self, "gid_map", 1 << 20);
	for (size_t i = 0; i < c->pl->nsb; i++) {
		const struct minfo *m = &c->pl->m.v[c->pl->sb[i].first];

		buf_printf(answer, "U %zu ", i);
		if (!strcmp(m->type, "tmpfs") || !strcmp(m->type, "devpts"))
			super_put(answer, m->super, buf_str(&uids), buf_str(&gids));
		else
			buf_adds(answer, m->super);
		buf_addc(answer, '\n');
	}
}

/* Which PID namespace a proc shows. Of one that only shows a directory of it nothing can be told, so it is taken for the member's. */
static void proc_look(struct content *c, size_t i, int fd)
{
	const struct minfo *m = &c->pl->m.v[i];
	struct msb *s = &c->pl->sb[c->pl->v[i].sb];

	if (strcmp(m->type, "proc") || strcmp(m->root, "/") || s->pidns || !s->late)
		return;
	if (mproc_shows(&c->proc, c->pl, fd, &s->pidns))
		buf_printf(&c->refusals, "mount %s: a proc of another PID namespace than those of the job's processes that see it\n", m->point);
	else
		s->late = s->pidns != MPROC_START || !c->pl->pidns;
}

/* Opens those whose content is wanted, each when nothing is mounted on it any more. What is open stays, as it is, when it is unmounted. */
static int bare_all(struct content *c, int *fd, struct err *e)
{
	struct rlimit lim;

	if (!getrlimit(RLIMIT_NOFILE, &lim)) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return err_sys(e, "cannot look below mounts");
	for (size_t i = c->pl->m.n; i-- > 0;) {
		const struct minfo *m = &c->pl->m.v[i];
		struct stat st;

		fd[i] = c->pl->v[i].kind == MK_SB ? open(m->point, O_PATH | O_NOFOLLOW | O_CLOEXEC) : -1;
		if (fd[i] >= 0 && (fstat(fd[i], &st) || ((uint64_t)major(st.st_dev) << 32 | minor(st.st_dev)) != m->dev)) {
			close(fd[i]);
			fd[i] = -1;
		}
		if (fd[i] >= 0)
			proc_look(c, i, fd[i]);
		else if (c->pl->v[i].dump)
			buf_printf(&c->refusals, "mount %s (%s): hidden by another one that cannot be taken away\n", m->point, m->type);
		if (fd[i] >= 0 && !c->pl->v[i].dump) {
			close(fd[i]);
			fd[i] = -1;
		}
		if (i)
			umount2(m->point, MNT_DETACH | UMOUNT_NOFOLLOW);
	}
	return 0;
}

static int content_sb(struct content *c, size_t sb, const int *fd, struct buf *answer, struct err *e)
{
	struct mtar *t = NULL;
	off_t from = c->pl->spool < 0 ? 0 : lseek(c->pl->spool, 0, SEEK_END);
	int rc = mtar_new(&t, c->pl->spool, c->self, c->id, sb + 1, &c->sockets, &c->refusals, e);

	for (size_t i = 0; i < c->pl->m.n && !rc; i++)
		if (fd[i] >= 0 && c->pl->v[i].sb == sb)
			rc = mtar_add(t, fd[i], c->pl->m.v[i].root, c->pl->m.v[i].point, e);
	if (!rc)
		rc = mtar_end(t, e);
	mtar_free(t);
	if (rc)
		return err_prefix(e, "mount %s", c->pl->m.v[c->pl->sb[sb].first].point);
	if (c->pl->spool >= 0)
		buf_printf(answer, "S %zu %lld %lld\n", sb, (long long)from, (long long)(lseek(c->pl->spool, 0, SEEK_END) - from));
	return 0;
}

static void add_lines(struct buf *answer, char mark, const struct buf *text)
{
	for (const char *l = buf_str(text); *l;) {
		size_t n = strcspn(l, "\n");

		buf_printf(answer, "%c %.*s\n", mark, (int)n, l);
		l += n + (l[n] == '\n');
	}
}

static int content(void *ctx, struct buf *answer, int *give, struct err *e)
{
	struct content *c = ctx;
	AUTO_FREE int *fd = calloc(c->pl->m.n + 1, sizeof *fd);

	(void)give;
	if (!fd)
		return err_set(e, EX_FAILED, "out of memory");
	if (bare_all(c, fd, e))
		return -1;
	supers(c, answer);
	for (size_t sb = 0; sb < c->pl->nsb; sb++) {
		if (!strcmp(c->pl->m.v[c->pl->sb[sb].first].type, "tmpfs") && content_sb(c, sb, fd, answer, e))
			return -1;
		if (!c->pl->sb[sb].late)
			buf_printf(answer, "E %zu\n", sb);
		if (c->pl->sb[sb].pidns)
			buf_printf(answer, "P %zu %u\n", sb, c->pl->sb[sb].pidns);
	}
	add_lines(answer, 'R', &c->refusals);
	add_lines(answer, 'K', &c->sockets);
	return buf_failed(&c->refusals) || buf_failed(&c->sockets) ? err_set(e, EX_FAILED, "out of memory") : 0;
}

static int answer_line(struct mplan *pl, char *l, size_t n, struct buf *out, struct buf *refusals, struct err *e)
{
	size_t sb;
	long long off, size;
	unsigned pidns;
	int at = 0;

	if (!strncmp(l, "R ", 2) || !strncmp(l, "K ", 2)) {
		buf_add(*l == 'R' ? refusals : out, l + 2, n - 2);
		buf_addc(*l == 'R' ? refusals : out, '\n');
	} else if (sscanf(l, "S %zu %lld %lld", &sb, &off, &size) == 3 && sb < pl->nsb) {
		pl->sb[sb].off = (uint64_t)off;
		pl->sb[sb].size = (uint64_t)size;
	} else if (sscanf(l, "E %zu", &sb) == 1 && sb < pl->nsb) {
		pl->sb[sb].late = false;
	} else if (sscanf(l, "P %zu %u", &sb, &pidns) == 2 && sb < pl->nsb) {
		pl->sb[sb].pidns = pidns;
	} else if (sscanf(l, "U %zu %n", &sb, &at) == 1 && at && sb < pl->nsb) {
		free(pl->sb[sb].super);
		pl->sb[sb].super = strndup(l + at, n - (size_t)at);
		if (!pl->sb[sb].super)
			return err_set(e, EX_FAILED, "out of memory");
	} else {
		return err_set(e, EX_FAILED, "a helper in a namespace of the job answers nonsense");
	}
	return 0;
}

int mlook_content(const struct ns_place *at, struct mplan *pl, uint32_t id, struct buf *out, struct buf *refusals, struct err *e)
{
	struct content c = { .pl = pl, .id = id, .self = -1 };
	struct ns_job job = { .fn = content, .before = open_self, .ctx = &c };
	AUTO_BUF struct buf b = BUF_INIT;

	if (ns_run(at, &job, &b, NULL, e))
		return -1;
	for (char *l = b.p; l && *l;) {
		size_t n = strcspn(l, "\n");

		if (answer_line(pl, l, n, out, refusals, e))
			return -1;
		l += n + (l[n] == '\n');
	}
	return 0;
}
