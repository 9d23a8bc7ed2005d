/* mntns_recs: the records of a mount namespace on restart. An image is not trusted: what is not exactly of a form that mntns.c writes is refused. */
#include "res/mntns_int.h"
#include "res/ns_obj.h"
#include "res/tty.h"
#include "common/cleanup.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SUPER_MAX = 64 << 10 };
#define TIME_LIMIT (1LL << 40) /* seconds: 34,000 years */

static const char *const types[] = { "tmpfs", "devpts", "overlay", "proc", "sysfs", "mqueue", "cgroup", "cgroup2" };
enum { NTYPES = sizeof types / sizeof types[0] };

/* "/" or "/a/b": no empty, "." or ".." component, no slash at the end. */
static bool clean_path(const char *p)
{
	if (*p != '/' || strlen(p) >= PATH_MAX)
		return false;
	if (!p[1])
		return true;
	for (const char *w = p; *w; w += 1 + strcspn(w + 1, "/")) {
		size_t n = strcspn(w + 1, "/");

		if (!n || n > NAME_MAX || (n <= 2 && !strncmp(w + 1, "..", n)))
			return false;
	}
	return true;
}

static int path_field(const struct rec *rec, const char *key, const char **out, struct err *e)
{
	if (rec_str(rec, key, out, e))
		return -1;
	return clean_path(*out) ? 0 : err_set(e, EX_BAD_IMAGE, "line %zu: %s \"%s\" is no plain absolute path", rec->line, key, *out);
}

static bool flag_field(const struct rec *rec, const char *key)
{
	const char *s = rec_find(rec, key);

	return s && !strcmp(s, "1");
}

static int sb_parse(struct rmtab *t, const struct rec *rec, struct err *e)
{
	struct rmsb *s = &t->sb[t->nsb];
	const struct image_member *m;
	uint64_t id, pidns;
	size_t i;

	*s = (struct rmsb){ .first = MNTNS_NONE };
	if (rec_u64(rec, "SB", MNTNS_MAX_MOUNTS, &id, e) || rec_str(rec, "FSTYPE", &s->type, e) || rec_str(rec, "DEVNAME", &s->devname, e) ||
	    rec_str(rec, "SUPER", &s->super, e))
		return -1;
	if (id != t->nsb + 1)
		return err_set(e, EX_BAD_IMAGE, "line %zu: SB out of order", rec->line);
	for (i = 0; i < NTYPES && strcmp(types[i], s->type); i++)
		;
	if (i == NTYPES)
		return err_set(e, EX_BAD_IMAGE, "line %zu: file system type \"%s\" is not known", rec->line, s->type);
	if (strlen(s->super) > SUPER_MAX || strlen(s->devname) >= PATH_MAX)
		return err_set(e, EX_BAD_IMAGE, "line %zu: options are too long", rec->line);
	s->late = flag_field(rec, "LATE");
	if (rec_u64_or(rec, "PIDNS", NS_MAX, 0, &pidns, e))
		return -1;
	if (pidns && (!s->late || strcmp(s->type, "proc") || !ns_find(t->r, pidns, NSK_PID)))
		return err_set(e, EX_BAD_IMAGE, "line %zu: PIDNS is not for it", rec->line);
	s->pidns = (uint32_t)pidns;
	s->content = rec_find(rec, "CONTENT");
	s->layers = rec_find(rec, "LAYERS");
	m = s->content ? image_find(t->r->img, s->content) : NULL;
	if (!s->content != (strcmp(s->type, "tmpfs") != 0))
		return err_set(e, EX_BAD_IMAGE, "line %zu: CONTENT is that of a tmpfs", rec->line);
	if (s->content && (!m || m->text))
		return err_set(e, EX_BAD_IMAGE, "line %zu: the image has no raw member %s", rec->line, s->content);
	if (!strcmp(s->type, "overlay") && (!s->layers || (strcmp(s->layers, "host") && strcmp(s->layers, "ns"))))
		return err_set(e, EX_BAD_IMAGE, "line %zu: LAYERS must be host or ns", rec->line);
	t->nsb++;
	return 0;
}

int mnt_time(const char *text, struct timespec *t)
{
	long long s;
	int len = 0;
	long ns;

	if (sscanf(text, "%lld.%9ld%n", &s, &ns, &len) != 2 || text[len] || ns < 0 || s < -TIME_LIMIT || s > TIME_LIMIT)
		return -1;
	*t = (struct timespec){ s, ns };
	return 0;
}

static int socket_parse(struct rmtab *t, const struct rec *rec, struct err *e)
{
	uint64_t sb, n;
	const char *s, *when;
	struct timespec at;

	if (rec_u64(rec, "SB", MNTNS_MAX_MOUNTS, &sb, e) || rec_str(rec, "PATH", &s, e) || rec_u64(rec, "MODE", 07777, &n, e) ||
	    rec_u64(rec, "UID", UINT32_MAX - 1, &n, e) || rec_u64(rec, "GID", UINT32_MAX - 1, &n, e) || rec_str(rec, "MTIME", &when, e))
		return -1;
	if (!sb || sb > t->nsb || !t->sb[sb - 1].content)
		return err_set(e, EX_BAD_IMAGE, "line %zu: SB names no tmpfs before it", rec->line);
	if (mnt_time(when, &at))
		return err_set(e, EX_BAD_IMAGE, "line %zu: MTIME", rec->line);
	return strlen(s) < PATH_MAX && *s && *s != '/' ? 0 : err_set(e, EX_BAD_IMAGE, "line %zu: PATH", rec->line);
}

static int place_parse(struct rmtab *t, struct rmount *m, const struct rec *rec, struct err *e)
{
	const char *opts, *word, *master = rec_find(rec, "MASTER");
	uint64_t id, parent, sb;

	if (rec_u64(rec, "ID", MNTNS_MAX_MOUNTS, &id, e) || rec_u64(rec, "PARENT", MNTNS_MAX_MOUNTS, &parent, e) ||
	    rec_u64_or(rec, "SB", MNTNS_MAX_MOUNTS, 0, &sb, e) || rec_u64_or(rec, "GROUP", MNTNS_MAX_MOUNTS, 0, &m->group, e) ||
	    path_field(rec, "POINT", &m->point, e) || rec_str(rec, "ROOT", &m->root, e) || rec_str(rec, "OPTIONS", &opts, e) ||
	    rec_str(rec, "FSTYPE", &m->type, e) || rec_str(rec, "DEVNAME", &m->devname, e))
		return -1;
	if (id != t->n + 1 || parent >= id || !parent != !t->n)
		return err_set(e, EX_BAD_IMAGE, "line %zu: mounts out of order", rec->line);
	m->parent = parent ? parent - 1 : MNTNS_NONE;
	if (strcmp(m->point, "/") && !parent)
		return err_set(e, EX_BAD_IMAGE, "line %zu: the first mount must be the root", rec->line);
	if (parent && !mnt_below(m->point, t->v[m->parent].point))
		return err_set(e, EX_BAD_IMAGE, "line %zu: \"%s\" is not below the mount that it is on", rec->line, m->point);
	if (mnt_flags(opts, &m->flags, &word))
		return err_set(e, EX_BAD_IMAGE, "line %zu: mount option \"%s\"", rec->line, word);
	if (sb > t->nsb)
		return err_set(e, EX_BAD_IMAGE, "line %zu: SB names no file system before it", rec->line);
	m->sb = sb ? sb - 1 : MNTNS_NONE;
	if (sb && path_field(rec, "ROOT", &m->root, e))
		return -1;
	m->master_host = master && !strcmp(master, "host");
	if (master && !m->master_host && rec_u64(rec, "MASTER", MNTNS_MAX_MOUNTS, &m->master, e))
		return -1;
	m->hidden = flag_field(rec, "HIDDEN");
	m->copy = flag_field(rec, "COPY") && parent && !sb;
	m->recursive = flag_field(rec, "REC");
	m->file = flag_field(rec, "FILE");
	m->terminal = flag_field(rec, "TERMINAL") && m->file && !sb;
	if (rec_u64_or(rec, "PTY", RES_MAX_FILES, 0, &m->pty, e))
		return -1;
	if (m->pty && (sb || !m->file))
		return err_set(e, EX_BAD_IMAGE, "line %zu: PTY of what is no file", rec->line);
	m->unbindable = flag_field(rec, "UNBINDABLE");
	return 0;
}

/* Late: of a late file system, on top of a late mount, or hiding one. */
static bool is_late(const struct rmtab *t, const struct rmount *m)
{
	if ((m->sb != MNTNS_NONE && t->sb[m->sb].late) || (m->parent != MNTNS_NONE && t->v[m->parent].late))
		return true;
	for (size_t i = 1; i < t->n; i++)
		if (t->v[i].late && mnt_below(t->v[i].point, m->point))
			return true;
	return false;
}

static int mount_parse(struct rmtab *t, const struct rec *rec, struct err *e)
{
	struct rmount *m = &t->v[t->n];

	*m = (struct rmount){ 0 };
	if (place_parse(t, m, rec, e))
		return -1;
	if (m->sb == MNTNS_NONE && path_field(rec, "SOURCE", &m->source, e))
		return -1;
	if (m->sb != MNTNS_NONE && t->sb[m->sb].first == MNTNS_NONE)
		t->sb[m->sb].first = t->n;
	if (m->hidden && (m->parent == MNTNS_NONE || m->sb != MNTNS_NONE || !(t->v[m->parent].recursive || t->v[m->parent].hidden)))
		return err_set(e, EX_BAD_IMAGE, "line %zu: a hidden mount comes with its parent", rec->line);
	m->late = t->n && is_late(t, m);
	if (m->hidden && !m->master_host) {
		size_t top = m->parent;

		while (t->v[top].hidden)
			top = t->v[top].parent;
		t->v[top].all_private = true;
	}
	t->n++;
	return 0;
}

/* Peers have the number of the first of them; who follows has that of those. */
static int peers_ok(const struct rmtab *t, struct err *e)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct rmount *m = &t->v[i];

		if ((m->group && (m->group > t->n || t->v[m->group - 1].group != m->group)) ||
		    (m->master && (m->master > t->n || t->v[m->master - 1].group != m->master || m->master == m->group)))
			return err_set(e, EX_BAD_IMAGE, "mount %s: GROUP or MASTER names no mounts that share", m->point);
	}
	return 0;
}

static int parse_all(struct rmtab *t, struct err *e)
{
	struct rec rec;
	uint64_t ns;

	for (size_t i = 0; i < t->list->n; i++) {
		const char *type;
		int rc;

		rec_list_get(t->list, i, &rec);
		type = rec_type(&rec);
		if (strncmp(type, "mount", 5))
			continue;
		if (rec_u64(&rec, "NS", UINT32_MAX, &ns, e))
			return -1;
		if (ns != t->ns)
			continue;
		if (t->n >= MNTNS_MAX_MOUNTS || t->nsb >= MNTNS_MAX_MOUNTS)
			return err_set(e, EX_BAD_IMAGE, "line %zu: more than %d mounts", rec.line, MNTNS_MAX_MOUNTS);
		rc = !strcmp(type, "mount") ? mount_parse(t, &rec, e) : !strcmp(type, "mount_sb") ? sb_parse(t, &rec, e) :
		     !strcmp(type, "mount_socket") ? socket_parse(t, &rec, e) :
		     err_set(e, EX_BAD_IMAGE, "line %zu: TYPE \"%s\" is not known", rec.line, type);
		if (rc)
			return -1;
	}
	return t->n ? peers_ok(t, e) : err_set(e, EX_BAD_IMAGE, "mount namespace %u has no mounts", t->ns);
}

int rmtab_parse(struct rmtab *t, struct restore *r, const struct rec_list *list, uint32_t id, struct err *e)
{
	size_t cap = (list->n < MNTNS_MAX_MOUNTS ? list->n : MNTNS_MAX_MOUNTS) + 1;

	*t = (struct rmtab){ .r = r, .ns = id, .list = list };
	t->v = calloc(cap, sizeof *t->v);
	t->sb = calloc(cap, sizeof *t->sb);
	if (!t->v || !t->sb)
		return err_set(e, EX_FAILED, "out of memory");
	return parse_all(t, e);
}

void rmtab_free(struct rmtab *t)
{
	free(t->v);
	free(t->sb);
}

bool rmount_may_go(const struct rmtab *t, const struct rmount *m)
{
	return m->copy && (m->master_host || t->r->o->accept_changed);
}

static int missing(const struct rmtab *t, const struct rmount *m, const char *path, struct err *e)
{
	if (rmount_may_go(t, m))
		return 0;
	if (m->copy)
		err_set(e, EX_MISFIT, "mount %s: nothing is mounted at %s", m->point, path);
	else
		err_set(e, EX_MISFIT, "mount %s: %s: %s", m->point, path, strerror(errno));
	err_hint(e, m->copy ? "mount it again, or restart without it by --accept-changed" : "if it lies elsewhere on this node, say so with -L OLD=NEW");
	return -1;
}

/* What is bound must be here, and be a directory where it was one. */
static int sources_here(struct rmtab *t, struct err *e)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct rmount *m = &t->v[i];
		char path[PATH_MAX];
		AUTO_FD int fd = -1;
		bool root;
		mode_t mode;
		int id;

		if (m->pty && tty_open_early(t->r, m->pty, e))
			return err_prefix(e, "mount %s", m->point);
		if (m->sb != MNTNS_NONE || m->hidden || m->pty || m->terminal)
			continue;
		if (restore_path(t->r, m->source, path, e))
			return -1;
		fd = open(path, O_PATH | O_CLOEXEC);
		/* A user may have been given what he cannot reach himself: it comes with a copy of what is above it. */
		if (fd < 0 && errno == EACCES)
			continue;
		if (fd < 0 || sys_mount_id(fd, &id, &root, &mode) || (m->copy && !root)) {
			if (missing(t, m, path, e))
				return -1;
			continue;
		}
		if (!S_ISDIR(mode) != m->file)
			return err_set(e, EX_MISFIT, "mount %s: %s is%s a directory, unlike at the checkpoint", m->point, path, m->file ? "" : " not");
	}
	return 0;
}

int mntns_verify(struct restore *r, const struct rec_list *list, uint32_t id, struct err *e)
{
	struct rmtab t;
	int rc = rmtab_parse(&t, r, list, id, e);

	if (!rc)
		rc = sources_here(&t, e);
	rmtab_free(&t);
	return rc;
}
