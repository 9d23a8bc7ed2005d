/* ns_pid: PID namespaces below the job's, pid_namespaces(7). Field: [PARENT=id]. A task's numbers in them: NSPID= in its records.
 *
 * Its first process makes it (cr/tree_ns.c), so that one must be in the job. What a restart could not rebuild is refused by name. */
#include "res/ns_obj.h"

static struct dproc *first_of(struct dump *d, const struct dns *n)
{
	for (size_t i = 0; i < d->nprocs; i++) {
		struct dproc *p = d->procs[i];

		if (!p->zombie && p->ns[NSK_PID] == n && p->status.nspid[p->status.nnspid - 1] == 1)
			return p;
	}
	return NULL;
}

static bool is_below(const struct dns *user, const struct dns *owner)
{
	while (user && user != owner)
		user = user->user;
	return user == owner;
}

/* A process that is born in the user namespace of its PID namespace cannot enter what others own. */
static void owners_check(struct dump *d, struct dproc *p, const struct dns *owner, const struct dproc *first)
{
	if (!is_below(p->ns[NSK_USER], owner))
		refuse(d, p, "a PID namespace that belongs to a user namespace in which it is not");
	for (int k = 0; k < NSK_COUNT; k++) {
		const struct dns *n = p->ns[k];

		if (k == NSK_USER || k == NSK_PID || !n || is_below(n->user, owner) || (k != NSK_MNT && n == first->ns[k]))
			continue;
		refuse(d, p, "a %s namespace that does not belong to the user namespace of its PID namespace", ns_kind_name((enum ns_kind)k));
	}
}

static void member_check(struct dump *d, struct dproc *p, const struct dns *n, const struct dproc *first)
{
	struct dproc *parent = p->vppid ? dump_find(d, p->vppid) : NULL;

	if (n->user)
		owners_check(d, p, n->user, first);
	if (p != first && (!parent || (parent->ns[NSK_PID] != n && p->vppid != first->vppid)))
		refuse(d, p, "it has entered a PID namespace (%llu) from outside", (unsigned long long)n->ino);
	if (p->vpgid && !dump_find(d, p->vpgid))
		refuse(d, p, "in a PID namespace of its own: the leader of its process group %d has gone", p->vpgid);
	if (p->vsid && !dump_find(d, p->vsid))
		refuse(d, p, "in a PID namespace of its own: the leader of its session %d has gone", p->vsid);
}

static int pid_check(struct dump *d, struct dns *n, struct err *e)
{
	struct dproc *first = first_of(d, n);

	(void)e;
	if (n->parent && n->parent->user != n->user)
		refuse(d, n->p, "a PID namespace (%llu) of another user namespace than the one it is in", (unsigned long long)n->ino);
	if (!first)
		return refuse(d, n->p, "a PID namespace (%llu) whose first process is not in the job", (unsigned long long)n->ino);
	for (size_t i = 0; i < d->nprocs; i++) {
		struct dproc *p = d->procs[i], *parent;

		if (!p->zombie && p->ns[NSK_PID] == n)
			member_check(d, p, n, first);
		parent = p->zombie ? dump_find(d, p->vppid) : NULL;
		if (parent && parent->ns[NSK_PID] == n && p->status.nnspid != parent->status.nnspid)
			refuse(d, p, "a zombie in a PID namespace that has ended");
	}
	return 0;
}

static int pid_dump(struct dump *d, struct dns *n, struct buf *out, struct err *e)
{
	(void)d;
	(void)e;
	if (n->parent)
		rec_put_u64(out, "PARENT", n->parent->id);
	return 0;
}

static int pid_verify(struct restore *r, struct rns *n, struct err *e)
{
	uint64_t parent;

	if (rec_u64_or(&n->rec, "PARENT", NS_MAX, 0, &parent, e))
		return -1;
	n->depth = 1;
	if (!parent)
		return 0;
	n->parent = parent < n->id ? ns_find(r, parent, NSK_PID) : NULL;
	if (!n->parent || n->parent->user != n->user)
		return err_set(e, EX_BAD_IMAGE, "line %zu: PARENT", n->rec.line);
	n->depth = n->parent->depth + 1;
	return n->depth < PROC_MAX_NSDEPTH - 1 ? 0 : err_set(e, EX_BAD_IMAGE, "line %zu: too deep", n->rec.line);
}

const struct ns_ops ns_pid_ops = { .kind = NSK_PID, .what = "PID", .check = pid_check, .dump = pid_dump, .verify = pid_verify };
