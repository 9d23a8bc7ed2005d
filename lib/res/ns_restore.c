/* ns_restore: namespaces of members on restart; see ns_obj.h. */
#include "res/mntns.h"
#include "res/netns.h"
#include "res/ns_obj.h"
#include "res/proc_ops.h"
#include "common/cleanup.h"
#include "common/log.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>

static const char *const keys[NSK_COUNT] = {
	[NSK_USER] = "USER", [NSK_PID] = "PID", [NSK_NET] = "NET", [NSK_IPC] = "IPC", [NSK_UTS] = "UTS", [NSK_CGROUP] = "CGROUP",
	[NSK_TIME] = "TIME", [NSK_MNT] = "MNT",
};

const char *ns_key(enum ns_kind k) { return keys[k]; }

/* ---- the records ---- */

static int kind_of(const struct rec *rec, enum ns_kind *out, struct err *e)
{
	const char *s;

	if (rec_str(rec, "KIND", &s, e))
		return -1;
	for (int k = 0; k < NSK_COUNT; k++)
		if (ns_table[k] && !strcmp(s, ns_kind_name(k))) {
			*out = k;
			return 0;
		}
	return err_set(e, EX_BAD_IMAGE, "line %zu: namespaces of kind \"%s\" are not known", rec->line, s);
}

static int parse_one(struct restore *r, const struct rec *rec, struct err *e)
{
	struct restore_ns *w = r->ns;
	struct rns *n = &w->v[w->n];
	uint64_t id, user;

	*n = (struct rns){ .rec = *rec, .fd = -1 };
	if (rec_u64(rec, "ID", NS_MAX, &id, e) || kind_of(rec, &n->kind, e) || rec_u64_or(rec, "USER", NS_MAX, 0, &user, e))
		return -1;
	if (id != w->n + 1)
		return err_set(e, EX_BAD_IMAGE, "line %zu: ID out of order", rec->line);
	n->id = (uint32_t)id;
	n->user = user ? ns_find(r, user, NSK_USER) : NULL;
	if (user && !n->user)
		return err_set(e, EX_BAD_IMAGE, "line %zu: USER names no user namespace before it", rec->line);
	if (!n->user && n->kind != NSK_USER && proc_untrusted(r)) {
		err_set(e, EX_PERM, "a %s namespace that user %u, who wrote the image, could not have made", ns_table[n->kind]->what, r->o->image_owner);
		err_hint(e, "restart with --trust if you know where the image comes from");
		return -1;
	}
	w->n++;
	return 0;
}

static int parse_records(struct restore *r, struct err *e)
{
	struct restore_ns *w = r->ns;
	struct rns *last;
	struct rec rec;
	uint64_t id;
	bool net;

	for (size_t i = 0; i < w->list.n; i++) {
		rec_list_get(&w->list, i, &rec);
		if (!strcmp(rec_type(&rec), "ns")) {
			if (parse_one(r, &rec, e))
				return -1;
			continue;
		}
		/* Content: of the namespace before it, or of ours where a link ends. */
		if (rec_u64(&rec, "NS", NS_MAX, &id, e))
			return -1;
		last = w->n ? &w->v[w->n - 1] : NULL;
		net = netns_record(rec_type(&rec));
		if (!last || (id != last->id && !(net && id == NETNS_HOME)) || last->kind != (net ? NSK_NET : NSK_MNT) ||
		    (!net && strcmp(rec_type(&rec), "mount") && strcmp(rec_type(&rec), "mount_sb") && strcmp(rec_type(&rec), "mount_socket")))
			return err_set(e, EX_BAD_IMAGE, "line %zu: record \"%s\" belongs to no namespace", rec.line, rec_type(&rec));
		if (!last->content.n++)
			last->content.v = w->list.v + i;
	}
	return 0;
}

/* NULL: ours, which all are below. */
static bool is_below(const struct rns *n, const struct rns *above)
{
	while (n && n != above)
		n = n->parent;
	return n == above;
}

struct number { uint32_t ns; pid_t n; };

static int by_number(const void *a, const void *b)
{
	const struct number *x = a, *y = b;

	return x->ns != y->ns ? (x->ns < y->ns ? -1 : 1) : x->n < y->n ? -1 : x->n > y->n;
}

/* One for each PID namespace from that of p upwards. */
static size_t numbers_of(const struct rproc *p, const pid_t *nspid, struct number *v)
{
	size_t n = 0;

	for (const struct rns *at = p->pidns; at; at = at->parent)
		v[n++] = (struct number){ at->id, nspid[at->depth - 1] };
	return n;
}

static int own_numbers(const struct rproc *p, struct number *v, size_t *n, struct err *e)
{
	const struct rthread *first = p->zombie ? NULL : &p->thr[p->headless ? p->nthr : 0];

	if (p->zombie)
		*n += numbers_of(p, p->nspid, v + *n);
	else if (memcmp(first->nspid, p->nspid, p->nnspid * sizeof *p->nspid))
		return err_set(e, EX_BAD_IMAGE, "process %d: its first thread has another NSPID", p->pid);
	for (size_t i = 0; !p->zombie && i < p->nthr + p->headless; i++)
		*n += numbers_of(p, p->thr[i].nspid, v + *n);
	return 0;
}

/* In each PID namespace every number is there once, and 1 is a process that lives in it. */
static int numbers_check(struct restore *r, struct err *e)
{
	AUTO_FREE struct number *v = NULL;
	AUTO_FREE bool *begun = calloc(r->ns->n + 1, sizeof *begun);
	size_t n = 0, room = 0;

	for (size_t i = 0; i < r->nprocs; i++)
		room += (r->procs[i]->nthr + 1) * r->procs[i]->nnspid;
	v = calloc(room + 1, sizeof *v);
	if (!v || !begun)
		return err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; i < r->nprocs; i++) {
		const struct rproc *p = r->procs[i];

		if (!p->pidns)
			continue;
		if (own_numbers(p, v, &n, e))
			return -1;
		begun[p->pidns->id - 1] |= !p->zombie && p->nspid[p->nnspid - 1] == 1;
	}
	qsort(v, n, sizeof *v, by_number);
	for (size_t i = 1; i < n; i++)
		if (!by_number(&v[i - 1], &v[i]))
			return err_set(e, EX_BAD_IMAGE, "PID namespace %u: number %d is there twice", v[i].ns, v[i].n);
	for (size_t i = 0; i < r->ns->n; i++)
		if (r->ns->v[i].kind == NSK_PID && !begun[i])
			return err_set(e, EX_BAD_IMAGE, "PID namespace %u has no first process", r->ns->v[i].id);
	return 0;
}

/* Zombies have no record of their own: they are where their parents are. */
static int assign(struct restore *r, struct err *e)
{
	for (size_t i = 0; i < r->nprocs; i++) {
		struct rproc *p = r->procs[i];

		p->pidns = ns_of(r, p->zombie && p->parent ? p->parent : p, NSK_PID);
		if (p->nnspid != (p->pidns ? p->pidns->depth : 0))
			return err_set(e, EX_BAD_IMAGE, "process %d: NSPID does not fit its PID namespace", p->pid);
	}
	for (size_t i = 0; r->ns && i < r->nprocs; i++)
		if (r->procs[i]->parent && !is_below(r->procs[i]->pidns, r->procs[i]->parent->pidns))
			return err_set(e, EX_BAD_IMAGE, "process %d: its PID namespace is not below that of its parent", r->procs[i]->pid);
	return r->ns ? numbers_check(r, e) : 0;
}

int ns_parse(struct restore *r, struct err *e)
{
	const struct image_member *m = image_find(r->img, "namespaces");
	struct restore_ns *w;

	if (!m)
		return assign(r, e);
	w = r->ns = calloc(1, sizeof *r->ns);
	if (!w)
		return err_set(e, EX_FAILED, "out of memory");
	w->home_ipc = -1;
	if (!m->text)
		return err_set(e, EX_BAD_IMAGE, "namespaces: no text");
	if (rec_list_parse(&w->list, m->text, m->size, NS_RECORDS_MAX, e))
		return err_prefix(e, "namespaces");
	w->v = calloc(w->list.n < NS_MAX ? w->list.n + 1 : NS_MAX + 1, sizeof *w->v);
	if (!w->v)
		return err_set(e, EX_FAILED, "out of memory");
	if (parse_records(r, e))
		return err_prefix(e, "namespaces");
	for (size_t i = 0; i < w->n; i++) {
		const struct ns_ops *o = ns_table[w->v[i].kind];

		if (o->verify && o->verify(r, &w->v[i], e))
			return err_prefix(e, "%s namespace %u", o->what, w->v[i].id);
	}
	return assign(r, e);
}

struct rns *ns_find(struct restore *r, uint64_t id, enum ns_kind kind)
{
	return r->ns && id && id <= r->ns->n && r->ns->v[id - 1].kind == kind ? &r->ns->v[id - 1] : NULL;
}

struct rns *ns_of(struct restore *r, const struct rproc *p, enum ns_kind kind)
{
	struct rec rec;
	uint64_t id;

	if (!r->ns || rproc_rec(p, "namespaces", 0, &rec) < 0 || rec_u64_or(&rec, keys[kind], NS_MAX, 0, &id, NULL))
		return NULL;
	return ns_find(r, id, kind);
}

struct rns *ns_for_children(struct restore *r, const struct rproc *p, enum ns_kind kind)
{
	struct rec rec;
	uint64_t id;

	if (!r->ns || rproc_rec(p, "namespaces", 0, &rec) < 0 ||
	    rec_u64_or(&rec, kind == NSK_PID ? "PID_CHILDREN" : "TIME_CHILDREN", NS_MAX, 0, &id, NULL))
		return NULL;
	return ns_find(r, id, kind);
}

int ns_verify_proc(struct restore *r, struct rproc *p, struct err *e)
{
	struct rec rec;
	uint64_t id;
	long at = rproc_rec(p, "namespaces", 0, &rec);

	if (at < 0)
		return 0;
	if (rproc_rec(p, "namespaces", (size_t)at + 1, &rec) >= 0)
		return err_set(e, EX_BAD_IMAGE, "line %zu: a second record of its namespaces", rec.line);
	for (int k = 0; k < NSK_COUNT; k++) {
		if (rec_u64_or(&rec, keys[k], NS_MAX, 0, &id, e))
			return -1;
		if (id && !ns_find(r, id, k))
			return err_set(e, EX_BAD_IMAGE, "line %zu: %s names no such namespace", rec.line, keys[k]);
	}
	if (rec_u64_or(&rec, "PID_CHILDREN", NS_MAX, 0, &id, e))
		return -1;
	if (id && !ns_find(r, id, NSK_PID))
		return err_set(e, EX_BAD_IMAGE, "line %zu: PID_CHILDREN names no such namespace", rec.line);
	if (id && !is_below(ns_find(r, id, NSK_PID), p->pidns))
		return err_set(e, EX_BAD_IMAGE, "line %zu: PID_CHILDREN is not below its own PID namespace", rec.line);
	if (rec_u64_or(&rec, "TIME_CHILDREN", NS_MAX, 0, &id, e))
		return -1;
	if (id && (!ns_find(r, id, NSK_TIME) || ns_find(r, id, NSK_TIME)->user || p->pidns))
		return err_set(e, EX_BAD_IMAGE, "line %zu: TIME_CHILDREN names no such namespace", rec.line);
	return 0;
}

/* ---- making ---- */

static uid_t outermost_owner(const struct rns *n)
{
	uint64_t owner;

	while (n->user)
		n = n->user;
	return rec_u64(&n->rec, "OWNER", UINT32_MAX - 1, &owner, NULL) ? (uid_t)-1 : (uid_t)owner;
}

void ns_place_owner(const struct rns *n, struct ns_place *at)
{
	*at = (struct ns_place)NS_HERE;
	if (n->user) {
		at->fd[NSK_USER] = n->user->fd;
		at->as = outermost_owner(n->user);
	}
}

struct building { struct restore *r; struct rns *n; };

static int into_group(void *ctx, struct err *e)
{
	struct building *b = ctx;

	return b->n->kind == NSK_CGROUP ? ns_cgroup_enter(b->r, b->n, e) : 0;
}

static int build(void *ctx, struct buf *answer, int *give, struct err *e)
{
	struct building *b = ctx;
	const struct ns_ops *o = ns_table[b->n->kind];
	char path[64];

	(void)answer;
	if (unshare(ns_kind_flag(b->n->kind)))
		return err_sys(e, "cannot make it");
	/* Before paths lead elsewhere. */
	snprintf(path, sizeof path, "/proc/self/ns/%s%s", ns_kind_name(b->n->kind), b->n->kind == NSK_TIME ? "_for_children" : "");
	*give = open(path, O_RDONLY | O_CLOEXEC);
	if (*give < 0)
		return err_sys(e, "cannot keep it");
	return o->build ? o->build(b->r, b->n, e) : 0;
}

/* Who has that time namespace for its children, NULL: nobody. */
static struct rproc *maker_of(struct restore *r, const struct rns *n)
{
	for (size_t i = 0; i < r->nprocs; i++)
		if (ns_for_children(r, r->procs[i], NSK_TIME) == n)
			return r->procs[i];
	return NULL;
}

static int make_one(struct restore *r, struct rns *n, struct err *e)
{
	struct building b = { r, n };
	struct ns_job job = { .fn = build, .before = into_group, .ctx = &b };
	struct ns_place at;
	int rc;

	if (n->kind == NSK_PID || (n->kind == NSK_TIME && maker_of(r, n)))
		return 0; /* its first process makes it, cr/tree.c; or the one for whose children it is, ns_complete() */
	ns_place_owner(n, &at);
	at.makes = true;
	rc = n->kind == NSK_USER ? ns_user_make(n, e) : ns_run(&at, &job, NULL, &n->fd, e);
	if (rc)
		return err_prefix(e, "%s namespace %u", ns_table[n->kind]->what, n->id);
	n->fd = restore_high_fd(r, n->fd);
	return n->fd < 0 ? err_sys(e, "cannot keep a %s namespace", ns_table[n->kind]->what) : 0;
}

/* Objects are made, and processes are born, in the IPC namespace that all of them are in. */
static int go_where_ipc_is(struct restore *r, struct err *e)
{
	struct rns *all = NULL;
	bool first = true;

	for (size_t i = 0; r->ns && i < r->nprocs; i++) {
		struct rproc *p = r->procs[i];
		struct rns *n = p->zombie || p->helper ? NULL : ns_of(r, p, NSK_IPC);

		if (p->zombie || p->helper)
			continue;
		if (!first && n != all)
			return 0;
		all = n;
		first = false;
	}
	if (!all)
		return 0;
	r->ns->home_ipc = open("/proc/self/ns/ipc", O_RDONLY | O_CLOEXEC);
	if (r->ns->home_ipc >= 0)
		r->ns->home_ipc = restore_high_fd(r, r->ns->home_ipc);
	return r->ns->home_ipc < 0 || setns(all->fd, CLONE_NEWIPC) ? err_sys(e, "cannot enter IPC namespace %u", all->id) : 0;
}

int ns_make(struct restore *r, struct err *e)
{
	for (size_t i = 0; r->ns && i < r->ns->n; i++)
		if (make_one(r, &r->ns->v[i], e))
			return -1;
	return ns_net_connect(r, e) || go_where_ipc_is(r, e) ? -1 : 0;
}

int ns_complete(struct restore *r, struct err *e)
{
	for (size_t i = 0; r->ns && i < r->ns->n; i++) {
		struct rns *n = &r->ns->v[i];

		struct rproc *maker = n->kind == NSK_TIME ? maker_of(r, n) : NULL;

		if (maker && ns_time_by(r, maker, n, e))
			return err_prefix(e, "time namespace %u", n->id);
		if (n->kind != NSK_MNT)
			continue;
		if (ns_mnt_complete(r, n, e))
			return err_prefix(e, "mount namespace %u", n->id);
		n->complete = true;
	}
	return 0;
}

/* ---- opening files in them ---- */

struct opening { struct restore *r; int (*fn)(void *ctx, int *fd, struct err *e); void *ctx; bool staged, as_owner; };

static int open_there(void *ctx, struct buf *answer, int *give, struct err *e)
{
	struct opening *o = ctx;

	(void)answer;
	if (o->staged && (chroot(MNTNS_NEW) || chdir("/")))
		return err_sys(e, "cannot go to the root of a mount namespace");
	/* We have the rights of whoever made the namespace, and no others to put away (borrow.h). */
	if (o->as_owner)
		o->r->o->trust = true;
	return o->fn(o->ctx, give, e);
}

int ns_open(struct restore *r, uint64_t mnt, int (*fn)(void *ctx, int *fd, struct err *e), void *ctx, int *fd, struct err *e)
{
	struct rns *n = ns_find(r, mnt, NSK_MNT);
	struct opening o = { r, fn, ctx, n && !n->complete, n && n->user };
	struct ns_job job = { .fn = open_there, .ctx = &o };
	struct ns_place at;

	*fd = -1;
	if (!mnt)
		return fn(ctx, fd, e);
	if (!n)
		return err_set(e, EX_BAD_IMAGE, "MNT=%llu is no mount namespace", (unsigned long long)mnt);
	ns_place_owner(n, &at);
	at.fd[NSK_MNT] = n->fd;
	return ns_run(&at, &job, NULL, fd, e);
}

void ns_restore_free(struct restore *r)
{
	for (size_t i = 0; r->ns && i < r->ns->n; i++) {
		if (r->ns->v[i].fd >= 0)
			close(r->ns->v[i].fd);
		if (r->ns->v[i].diag > 0)
			close(r->ns->v[i].diag);
	}
	if (!r->ns)
		return;
	if (r->ns->home_ipc >= 0) {
		if (setns(r->ns->home_ipc, CLONE_NEWIPC))
			log_verbose("cannot leave the job's IPC namespace: %s", strerror(errno));
		close(r->ns->home_ipc);
	}
	netns_recs_free(r->ns->net);
	rec_list_free(&r->ns->list);
	free(r->ns->v);
	free(r->ns);
	r->ns = NULL;
}
