/* ns_user: user namespaces, user_namespaces(7).
 *
 * Fields: OWNER=uid UID_MAP= GID_MAP= ("inside outside count" a line, outside as the parent namespace calls it) SETGROUPS="allow|deny"
 * [SETTINGS= limits, ns_sysctl.h].
 *
 * In a user namespace that xrestart made for a user's job setgroups(2) is denied, and so it is in all below: "allow" of one that has no
 * group mapped yet becomes "deny" there.
 *
 * Restart: a child of the restorer in the parent namespace forks one that becomes the owner and makes the namespace; the first writes its maps, which
 * takes the capabilities over the parent that an owner may not have. An image that an ordinary user wrote may map nobody but that user. */
#include "res/ns_obj.h"
#include "res/ns_sysctl.h"
#include "res/proc_ops.h"
#include "common/cleanup.h"
#include "common/num.h"

#include <fcntl.h>
#include <pwd.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { MAP_MAX = 340 /* extents: UID_GID_MAP_MAX_EXTENTS */, MAP_TEXT_MAX = MAP_MAX * 36, DEPTH_MAX = 33 /* the kernel's */ };

static const char *const settings[] = {
	"user/max_user_namespaces", "user/max_pid_namespaces", "user/max_uts_namespaces", "user/max_ipc_namespaces", "user/max_net_namespaces",
	"user/max_mnt_namespaces", "user/max_cgroup_namespaces", "user/max_time_namespaces", "user/max_inotify_instances",
	"user/max_inotify_watches", "user/max_fanotify_groups", "user/max_fanotify_marks", NULL,
};

static int user_check(struct dump *d, struct dns *n, struct err *e)
{
	const struct dns *top = n;

	(void)e;
	while (top->user)
		top = top->user;
	if (top->owner != n->owner)
		refuse(d, n->p, "a user namespace of user %u in one of user %u", n->owner, top->owner);
	return 0;
}

/* ---- checkpoint: from inside, where the outer ids are the parent's ---- */

static int field(struct buf *answer, const char *key, const char *path, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	AUTO_BUF struct buf lines = BUF_INIT;
	char *save = NULL;

	if (buf_read_file(&b, -1, path, MAP_TEXT_MAX) || buf_failed(&b))
		return err_sys(e, "cannot read %s", path);
	for (char *l = b.p ? strtok_r(b.p, "\n", &save) : NULL; l; l = strtok_r(NULL, "\n", &save)) {
		unsigned in, out, n;

		if (sscanf(l, "%u %u %u", &in, &out, &n) == 3)
			buf_printf(&lines, "%u %u %u\n", in, out, n);
		else
			buf_printf(&lines, "%s", l);
	}
	rec_put_str(answer, key, buf_str(&lines));
	return 0;
}

static int inside(void *ctx, struct buf *answer, int *give, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;

	(void)ctx;
	(void)give;
	if (field(answer, "UID_MAP", "/proc/self/uid_map", e) || field(answer, "GID_MAP", "/proc/self/gid_map", e) ||
	    field(answer, "SETGROUPS", "/proc/self/setgroups", e) || ns_sysctl_read(settings, &b, e))
		return -1;
	ns_sysctl_put(answer, "SETTINGS", buf_str(&b));
	return 0;
}

static int user_dump(struct dump *d, struct dns *n, struct buf *out, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	struct ns_job job = { .fn = inside, .ctx = NULL };
	struct ns_place at;

	ns_place_of(d, n, &at);
	if (ns_run(&at, &job, &b, NULL, e))
		return -1;
	rec_put_u64(out, "OWNER", n->owner);
	buf_addc(out, ' ');
	buf_adds(out, buf_str(&b));
	return 0;
}

/* ---- restart ---- */

struct extent { uint64_t in, out, n; };

/* "INSIDE OUTSIDE COUNT" and a newline; *s behind it. */
static bool extent_parse(const char **s, struct extent *x)
{
	uint64_t *v[3] = { &x->in, &x->out, &x->n };
	char word[16];

	for (size_t i = 0; i < 3; i++) {
		size_t n = strspn(*s, "0123456789");

		if (n >= sizeof word || (*s)[n] != (i < 2 ? ' ' : '\n'))
			return false;
		snprintf(word, sizeof word, "%.*s", (int)n, *s);
		if (num_u64(word, UINT32_MAX, v[i]))
			return false;
		*s += n + 1;
	}
	return x->n && x->in + x->n <= UINT32_MAX && x->out + x->n <= UINT32_MAX;
}

static bool overlap(uint64_t a, uint64_t an, uint64_t b, uint64_t bn) { return a < b + bn && b < a + an; }

/* single: nobody but this id may be mapped. */
static int map_verify(const struct rec *rec, const char *key, bool untrusted, unsigned single, struct err *e)
{
	struct extent v[MAP_MAX];
	const char *s;

	if (rec_str(rec, key, &s, e))
		return -1;
	for (size_t n = 0; *s; n++) {
		bool good = n < MAP_MAX && extent_parse(&s, &v[n]);

		for (size_t i = 0; good && i < n; i++)
			good = !overlap(v[i].in, v[i].n, v[n].in, v[n].n) && !overlap(v[i].out, v[i].n, v[n].out, v[n].n);
		if (!good)
			return err_set(e, EX_BAD_IMAGE, "line %zu: %s", rec->line, key);
		if (untrusted && (v[n].n != 1 || v[n].out != single)) {
			err_set(e, EX_PERM, "a user namespace with ids that user %u, who wrote the image, may not map", single);
			err_hint(e, "restart with --trust if you know where the image comes from");
			return -1;
		}
	}
	return 0;
}

static int group_of(uid_t uid, gid_t *gid)
{
	char text[16384];
	struct passwd pw, *found = NULL;

	if (getpwuid_r(uid, &pw, text, sizeof text, &found) || !found)
		return -1;
	*gid = pw.pw_gid;
	return 0;
}

static int user_verify(struct restore *r, struct rns *n, struct err *e)
{
	bool untrusted = proc_untrusted(r) && !n->user;
	const char *setgroups;
	uint64_t owner;
	unsigned gid = 0;

	n->depth = n->user ? n->user->depth + 1 : 1;
	if (n->depth > DEPTH_MAX)
		return err_set(e, EX_BAD_IMAGE, "line %zu: user namespaces more than %d deep", n->rec.line, DEPTH_MAX);
	if (rec_u64(&n->rec, "OWNER", UINT32_MAX - 1, &owner, e) || rec_str(&n->rec, "SETGROUPS", &setgroups, e))
		return -1;
	if (strcmp(setgroups, "allow") && strcmp(setgroups, "deny"))
		return err_set(e, EX_BAD_IMAGE, "line %zu: SETGROUPS", n->rec.line);
	if (untrusted && (owner != r->o->image_owner || strcmp(setgroups, "deny")))
		return err_set(e, EX_PERM, "a user namespace that user %u, who wrote the image, could not have made", r->o->image_owner);
	if (untrusted && group_of(r->o->image_owner, &gid))
		return err_set(e, EX_PERM, "user %u, who wrote the image, is not known", r->o->image_owner);
	return map_verify(&n->rec, "UID_MAP", untrusted, r->o->image_owner, e) || map_verify(&n->rec, "GID_MAP", untrusted, gid, e) ||
	       ns_sysctl_verify(&n->rec, "SETTINGS", settings, e) ? -1 : 0;
}

struct maker { const struct rns *n; int go[2], done[2]; };

/* Alone in the new namespace. Its files in /proc are the owner's, as a dumpable process' are. */
static void owner_main(struct maker *m, uid_t owner)
{
	struct err why = ERR_INIT;
	char c = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (ns_become(owner, &why))
		_exit(1);
	prctl(PR_SET_DUMPABLE, 1);
	if (unshare(CLONE_NEWUSER) || write(m->done[1], &c, 1) != 1 || read(m->go[0], &c, 1) != 1)
		_exit(1);
	if (ns_sysctl_write(&m->n->rec, "SETTINGS", &why))
		_exit(2);
	if (write(m->done[1], &c, 1) != 1 || read(m->go[0], &c, 1) != 1)
		_exit(1);
	_exit(0);
}

static int put(pid_t pid, const char *name, const char *text, struct err *e)
{
	if (*text && proc_write(pid, name, text))
		return err_sys(e, "cannot set %s of a user namespace", name);
	return 0;
}

static int maps(const struct rns *n, pid_t pid, struct err *e)
{
	const char *setgroups = rec_find(&n->rec, "SETGROUPS");

	if ((!strcmp(setgroups, "deny") && put(pid, "setgroups", "deny", e)) || put(pid, "gid_map", rec_find(&n->rec, "GID_MAP"), e) ||
	    put(pid, "uid_map", rec_find(&n->rec, "UID_MAP"), e)) {
		if (e && e->sys == EPERM)
			err_hint(e, "ids other than your own can be mapped by root only");
		return -1;
	}
	return 0;
}

/* In the parent namespace. */
static int make(void *ctx, struct buf *answer, int *give, struct err *e)
{
	struct maker m = { .n = ctx };
	char path[64], c = 0;
	uint64_t owner;
	pid_t pid;
	int rc;

	(void)answer;
	if (rec_u64(&m.n->rec, "OWNER", UINT32_MAX - 1, &owner, e))
		return -1;
	if (pipe2(m.go, O_CLOEXEC) || pipe2(m.done, O_CLOEXEC))
		return err_sys(e, "cannot make a pipe");
	pid = fork();
	if (!pid) {
		close(m.go[1]);
		close(m.done[0]);
		owner_main(&m, m.n->user ? (uid_t)-1 : (uid_t)owner); /* in another's namespace we are its owner already */
	}
	close(m.go[0]);
	close(m.done[1]);
	if (pid < 0 || read(m.done[0], &c, 1) != 1)
		rc = err_set(e, EX_PERM, "cannot make a user namespace (user.max_user_namespaces, or a chroot)");
	else
		rc = maps(m.n, pid, e);
	if (!rc && (write(m.go[1], &c, 1) != 1 || read(m.done[0], &c, 1) != 1))
		rc = err_set(e, EX_FAILED, "cannot set the limits of a user namespace");
	snprintf(path, sizeof path, "/proc/%d/ns/user", pid);
	if (!rc && (*give = open(path, O_RDONLY | O_CLOEXEC)) < 0)
		rc = err_sys(e, "cannot keep a user namespace");
	close(m.go[1]);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return rc;
}

int ns_user_make(struct rns *n, struct err *e)
{
	struct ns_job job = { .fn = make, .ctx = n };
	struct ns_place at;

	ns_place_owner(n, &at);
	return ns_run(&at, &job, NULL, &n->fd, e);
}

const struct ns_ops ns_user_ops = { .kind = NSK_USER, .what = "user", .check = user_check, .dump = user_dump, .verify = user_verify };
