/* ns_net: network namespaces, network_namespaces(7). What is in them is netns.h's; here it is asked for and built at the right places.
 *
 * Records, each with NS=id, stand behind the record of the namespace; those of NS=0, ends of links in the job's reference, behind the last one. */
#include "res/inet.h"
#include "res/netns.h"
#include "res/ns_obj.h"
#include "res/sock_diag.h"
#include "common/cleanup.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* ---- checkpoint ---- */

struct looking { uint32_t id; struct netns_known *known; size_t n; const struct buf *records; };

/* Records and refusals go through one pipe: a NUL byte, which neither has, stands between. */
static int look(void *ctx, struct buf *answer, int *give, struct err *e)
{
	AUTO_BUF struct buf refusals = BUF_INIT;
	struct looking *l = ctx;
	int rc;

	(void)give;
	rc = l->records ? netns_dump_ends(l->records, answer, &refusals, e) : netns_dump(l->id, l->known, l->n, answer, &refusals, e);
	buf_addc(answer, '\0');
	buf_add(answer, refusals.p, refusals.len);
	return rc;
}

static int ask(struct dump *d, const struct ns_place *at, struct looking *l, struct dproc *p, struct buf *out, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	struct ns_job job = { .fn = look, .ctx = l };
	char *save = NULL;
	size_t n;

	if (ns_run(at, &job, &b, NULL, e))
		return -1;
	n = strlen(buf_str(&b));
	buf_reset(out);
	buf_add(out, b.p, n);
	for (char *line = n < b.len ? strtok_r(b.p + n + 1, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save))
		refuse(d, p, "%s", line);
	return buf_failed(out) ? err_set(e, EX_FAILED, "out of memory") : 0;
}

static struct netns_known *known(struct dump *d, size_t *n)
{
	struct netns_known *v = calloc(d->ns->n + 1, sizeof *v);

	*n = 0;
	for (size_t i = 0; v && i < d->ns->n; i++)
		if (d->ns->v[i]->kind == NSK_NET)
			v[(*n)++] = (struct netns_known){ d->ns->v[i]->id, d->ns->v[i]->fd };
	if (v)
		v[(*n)++] = (struct netns_known){ NETNS_HOME, d->ns->reference[NSK_NET] };
	return v;
}

static struct dns *last_net(struct dump *d)
{
	for (size_t i = d->ns ? d->ns->n : 0; i-- > 0;)
		if (d->ns->v[i]->kind == NSK_NET)
			return d->ns->v[i];
	return NULL;
}

/* Those of all namespaces tell which interfaces of the reference belong to the job. The last one's content has them. */
int ns_net_ends(struct dump *d, struct err *e)
{
	struct dns *last = last_net(d);
	AUTO_BUF struct buf all = BUF_INIT;
	AUTO_BUF struct buf found = BUF_INIT;
	struct looking l = { .records = &all };
	struct ns_place at = NS_HERE;
	struct stat st;

	if (!last)
		return 0;
	for (size_t i = 0; i < d->ns->n; i++)
		if (d->ns->v[i]->kind == NSK_NET)
			buf_add(&all, d->ns->v[i]->content.p, d->ns->v[i]->content.len);
	if (buf_failed(&all))
		return err_set(e, EX_FAILED, "out of memory");
	if (!stat("/proc/self/ns/net", &st) && st.st_ino != d->ns->ref_ino[NSK_NET]) {
		at.fd[NSK_USER] = d->ns->user_is_ours ? -1 : d->ns->reference[NSK_USER];
		at.fd[NSK_NET] = d->ns->reference[NSK_NET];
	}
	if (ask(d, &at, &l, last->p, &found, e))
		return -1;
	buf_add(&last->content, found.p, found.len);
	return buf_failed(&last->content) ? err_set(e, EX_FAILED, "out of memory") : 0;
}

static int net_check(struct dump *d, struct dns *n, struct err *e)
{
	struct looking l = { .id = n->id };
	AUTO_FREE struct netns_known *v = l.known = known(d, &l.n);
	struct ns_place at;

	if (!v)
		return err_set(e, EX_FAILED, "out of memory");
	ns_place_of(d, n, &at);
	return ask(d, &at, &l, n->p, &n->content, e);
}

static int net_content(struct dump *d, struct dns *n, struct buf *out, struct err *e)
{
	(void)d;
	(void)e;
	buf_add(out, n->content.p, n->content.len);
	return 0;
}

/* ---- sockets in them ---- */

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

static uint64_t cookie_of(int fd)
{
	uint64_t v = 0;
	socklen_t n = sizeof v;

	return getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &v, &n) ? 0 : v;
}

int ns_net_where(struct dump *d, struct dns *n, struct sock_where *w, struct err *e)
{
	struct sock_where before;

	*w = SOCK_HERE;
	if (!n)
		return 0;
	if (n->diag < 0) {
		ns_place_of(d, n, &n->place);
		before = sock_go((struct sock_where){ -1, &n->place });
		n->diag = sock_make(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
		sock_go(before);
		if (n->diag < 0)
			return err_sys(e, "cannot make a socket in a network namespace of the job");
		n->cookie = cookie_of(n->diag);
	}
	*w = (struct sock_where){ n->diag, &n->place };
	return 0;
}

int ns_net_model(struct dump *d, struct dns *n, int family, int type, int protocol, struct err *e)
{
	struct sock_where w;
	struct ns_model *v;
	int fd;

	for (size_t i = 0; i < n->nmodels; i++)
		if (n->models[i].family == family && n->models[i].type == type && n->models[i].protocol == protocol)
			return n->models[i].fd;
	v = realloc(n->models, (n->nmodels + 1) * sizeof *v);
	if (!v)
		return err_set(e, EX_FAILED, "out of memory");
	n->models = v;
	if (ns_net_where(d, n, &w, e))
		return -1;
	w = sock_go(w);
	fd = sock_make(family, type | SOCK_CLOEXEC, protocol);
	sock_go(w);
	if (fd < 0)
		return err_sys(e, "cannot make a socket in a network namespace of the job");
	v[n->nmodels++] = (struct ns_model){ family, type, protocol, fd };
	return fd;
}

/* A kernel before 5.14 tells only who has CAP_NET_ADMIN over it. */
static bool is_in(int fd, uint64_t cookie, dev_t dev, ino_t ino, uint64_t cookie_there)
{
	AUTO_FD int ns = cookie ? -1 : ioctl(fd, SIOCGSKNS);
	struct stat st;

	return cookie ? cookie == cookie_there : ns >= 0 && !fstat(ns, &st) && st.st_ino == ino && st.st_dev == dev;
}

int ns_net_of(struct dump *d, int fd, struct dns **out, struct err *e)
{
	uint64_t cookie = cookie_of(fd);
	AUTO_FD int here = -1;
	struct sock_where w;
	struct stat st;

	*out = NULL;
	if (!last_net(d))
		return 0;
	for (size_t i = 0; i < d->ns->n; i++) {
		struct dns *n = d->ns->v[i];

		if (n->kind != NSK_NET)
			continue;
		if (ns_net_where(d, n, &w, e))
			return -1;
		if (is_in(fd, cookie, n->dev, n->ino, n->cookie)) {
			*out = n;
			return 0;
		}
	}
	/* Ours is the reference, but for a job inside namespaces that we are not in. */
	here = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	if (stat("/proc/self/ns/net", &st) || st.st_ino != d->ns->ref_ino[NSK_NET])
		return 1;
	return is_in(fd, cookie, st.st_dev, st.st_ino, cookie_of(here)) ? 0 : 1;
}

bool ns_net_local(struct dump *d, struct dns *n, const union inet_addr *a)
{
	struct sock_where w;
	bool rc;

	if (ns_net_where(d, n, &w, NULL))
		return false;
	w = sock_go(w);
	rc = inet_local(a);
	sock_go(w);
	return rc;
}

/* ---- restart ---- */

/* With the first of them what belongs to the job in the one that we are in. */
static int net_verify(struct restore *r, struct rns *n, struct err *e)
{
	if (!r->ns->net && (netns_recs_new(&r->ns->net, &r->ns->list, e) || netns_verify(r, r->ns->net, NETNS_HOME, e)))
		return -1;
	return netns_verify(r, r->ns->net, n->id, e);
}

static int net_build(struct restore *r, struct rns *n, struct err *e) { return netns_build(r, r->ns->net, n->id, e); }

const struct ns_ops ns_net_ops = {
	.kind = NSK_NET, .what = "network", .check = net_check, .dump_content = net_content, .verify = net_verify, .build = net_build,
};

struct connecting { struct restore *r; int home; };

static int descriptor(void *ctx, uint32_t id)
{
	const struct connecting *c = ctx;
	const struct rns *n = ns_find(c->r, id, NSK_NET);

	return id == NETNS_HOME ? c->home : n ? n->fd : -1;
}

static int connect_all(void *ctx, struct buf *answer, int *give, struct err *e)
{
	struct connecting *c = ctx;

	(void)answer;
	(void)give;
	return netns_connect(c->r, c->r->ns->net, descriptor, c, e);
}

int ns_net_connect(struct restore *r, struct err *e)
{
	AUTO_FD int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	struct connecting c = { r, home };
	struct ns_job job = { .fn = connect_all, .ctx = &c };
	struct ns_place at = NS_HERE;

	/* Where it is only looked, nothing is made in our own; no socket is given an address in them then, so they may stay empty. */
	if (!r->ns || !r->ns->net || (r->check_only && netns_reaches_home(r->ns->net)))
		return 0;
	return ns_run(&at, &job, NULL, NULL, e);
}

/* ---- sockets on restart ---- */

bool ns_net_here(const struct restore *r, const struct rfile *f) { return !r->net_only || f->net == r->net; }

static int go(struct restore *r, uint32_t id, struct err *e)
{
	struct rns *n = id ? ns_find(r, id, NSK_NET) : NULL;

	r->net = id;
	if (!id) {
		sock_go(SOCK_HERE);
		return 0;
	}
	if (!n)
		return err_set(e, EX_BAD_IMAGE, "NET=%u is no network namespace", id);
	if (!n->diag) {
		int fd;

		ns_place_owner(n, &n->place);
		n->place.fd[NSK_NET] = n->fd;
		sock_go((struct sock_where){ -1, &n->place });
		fd = sock_make(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
		fd = fd < 0 ? fd : restore_high_fd(r, fd);
		if (fd < 0)
			return err_sys(e, "cannot make a socket in network namespace %u", id);
		n->diag = fd;
	}
	sock_go((struct sock_where){ n->diag, &n->place });
	return 0;
}

int ns_net_enter(struct restore *r, const struct rfile *f, struct err *e) { return go(r, f->net, e); }
void ns_net_home(struct restore *r) { go(r, 0, NULL); }

int ns_net_each(struct restore *r, const struct fd_ops *ops, int (*fn)(struct restore *r, struct err *e), struct err *e)
{
	AUTO_FREE bool *done = calloc(NS_MAX + 1, sizeof *done);
	int rc = done ? 0 : err_set(e, EX_FAILED, "out of memory");

	r->net_only = true;
	for (size_t i = 0; i < r->nfiles && !rc; i++) {
		struct rfile *f = &r->files[i];

		if (f->ops != ops)
			continue;
		if (!done[f->net])
			rc = go(r, f->net, e) || fn(r, e) ? -1 : 0;
		done[f->net] = true;
	}
	r->net_only = false;
	ns_net_home(r);
	return rc;
}
