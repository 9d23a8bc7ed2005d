/* ns_mnt: mount namespaces among the others; what is in them is mntns*.c, with records after the namespace's own. Field: MEMBER=pid of a process
 * that lives in it: its PID, network, IPC and cgroup namespaces are those of the proc, sysfs, mqueue and cgroup file systems there. */
#include "res/mntns.h"
#include "res/ns_obj.h"
#include "common/cleanup.h"

#include <fcntl.h>

static int user_fd(const struct dump *d, const struct dns *n)
{
	struct ns_place at;

	ns_place_of(d, n, &at);
	return at.fd[NSK_USER];
}

static int open_root(void *ctx, struct buf *answer, int *give, struct err *e)
{
	(void)ctx;
	(void)answer;
	*give = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return *give < 0 ? err_sys(e, "cannot open its root") : 0;
}

int ns_mnt_root(const struct dump *d, struct dns *n)
{
	struct ns_job job = { .fn = open_root, .ctx = NULL };
	struct ns_place at;

	if (n->root >= 0)
		return n->root;
	ns_place_of(d, n, &at);
	return ns_run(&at, &job, NULL, &n->root, NULL) ? -1 : n->root;
}

/* Nobody can make a file or directory there: what a restart makes of the mounts it could not. */
static bool nobody_mapped(const struct dproc *p)
{
	AUTO_BUF struct buf u = BUF_INIT, g = BUF_INIT;

	return !proc_read(&u, p->pid, "uid_map", 1 << 16) && !proc_read(&g, p->pid, "gid_map", 1 << 16) && (!u.len || !g.len);
}

static int mnt_check(struct dump *d, struct dns *n, struct err *e)
{
	if (!n->p)
		return refuse(d, NULL, "a mount namespace (%llu) in which no member lives", (unsigned long long)n->ino);
	if (n->user && n->p->ns[NSK_USER] == n->user && nobody_mapped(n->p))
		return refuse(d, n->p, "a mount namespace in a user namespace that maps no user or no group");
	return mntns_check(d, n->p, user_fd(d, n), e);
}

static int mnt_dump(struct dump *d, struct dns *n, struct buf *out, struct err *e)
{
	(void)d;
	(void)e;
	rec_put_i64(out, "MEMBER", n->p->vpid);
	return 0;
}

static int mnt_dump_content(struct dump *d, struct dns *n, struct buf *out, struct err *e)
{
	return mntns_dump(d, n->id, n->p, user_fd(d, n), out, e);
}

static int mnt_verify(struct restore *r, struct rns *n, struct err *e)
{
	int pid;

	if (rec_int(&n->rec, "MEMBER", 1, INT32_MAX, &pid, e))
		return -1;
	n->member = restore_find(r, pid);
	if (!n->member || n->member->zombie)
		return err_set(e, EX_BAD_IMAGE, "line %zu: MEMBER is no process of the job", n->rec.line);
	if (ns_of(r, n->member, NSK_MNT) != n)
		return err_set(e, EX_BAD_IMAGE, "line %zu: MEMBER is not in it", n->rec.line);
	return mntns_verify(r, &n->content, n->id, e);
}

static int mnt_build(struct restore *r, struct rns *n, struct err *e) { return mntns_build(r, &n->content, n->id, e); }

const struct ns_ops ns_mnt_ops = {
	.kind = NSK_MNT, .what = "mount", .check = mnt_check, .dump = mnt_dump, .dump_content = mnt_dump_content, .verify = mnt_verify, .build = mnt_build,
};

struct completing { struct restore *r; struct rns *n; };

static int complete(void *ctx, struct buf *answer, int *give, struct err *e)
{
	struct completing *c = ctx;

	(void)answer;
	(void)give;
	return mntns_complete(c->r, &c->n->content, c->n->id, e);
}

struct proc_making { struct restore *r; struct rns *n; size_t sb; };

static int proc_inside(void *ctx, struct buf *answer, int *give, struct err *e)
{
	struct proc_making *m = ctx;

	(void)answer;
	(void)give;
	return mntns_proc(m->r, &m->n->content, m->n->id, m->sb, e);
}

/* A proc is mounted by who owns its PID namespace: that may be another than who owns the mount namespace, and is not always the member's. */
static int proc_make(void *ctx, uint32_t pidns, size_t sb, struct err *e)
{
	struct completing *c = ctx;
	struct proc_making m = { c->r, c->n, sb };
	struct ns_job job = { .fn = proc_inside, .ctx = &m };
	const struct rns *shown = ns_find(c->r, pidns, NSK_PID);
	struct ns_place at;

	if (!shown || shown->fd < 0)
		return err_set(e, EX_BAD_IMAGE, "a proc of PID namespace %u, in which nobody is", pidns);
	ns_place_owner(shown, &at);
	at.fd[NSK_MNT] = c->n->fd;
	at.fd[NSK_PID] = shown->fd;
	return ns_run(&at, &job, NULL, NULL, e);
}

int ns_mnt_complete(struct restore *r, struct rns *n, struct err *e)
{
	static const enum ns_kind of_member[] = { NSK_NET, NSK_IPC, NSK_CGROUP };
	struct completing c = { r, n };
	struct ns_job job = { .fn = complete, .ctx = &c };
	struct ns_place at;

	if (mntns_procs(r, &n->content, n->id, proc_make, &c, e))
		return -1;
	ns_place_owner(n, &at);
	at.makes = true;
	at.fd[NSK_MNT] = n->fd;
	if (n->member->pidns)
		at.fd[NSK_PID] = n->member->pidns->fd;
	for (size_t i = 0; i < sizeof of_member / sizeof of_member[0]; i++) {
		const struct rns *o = ns_of(r, n->member, of_member[i]);

		if (o)
			at.fd[of_member[i]] = o->fd;
	}
	return ns_run(&at, &job, NULL, NULL, e);
}
