/* ns_net: network namespaces among the others; what is in them is netns*.c, with records after the namespace's own. */
#include "res/netns.h"
#include "res/ns_obj.h"
#include "common/cleanup.h"

#include <string.h>

struct looking { const struct dump *d; const struct dns *n; };

/* Records, then what cannot be saved: the answer's first line says how many bytes the records are. */
static int look(void *ctx, struct buf *answer, int *give, struct err *e)
{
	struct looking *l = ctx;
	AUTO_BUF struct buf records = BUF_INIT, refusals = BUF_INIT;
	AUTO_FREE struct netns_known *known = calloc(l->d->ns->n + 1, sizeof *known);
	size_t n = 0;

	(void)give;
	if (!known)
		return err_set(e, EX_FAILED, "out of memory");
	known[n++] = (struct netns_known){ NETNS_HOME, l->d->own_ns && l->d->nsinit ? l->d->nsinit : getppid() };
	for (size_t i = 0; i < l->d->ns->n; i++)
		if (l->d->ns->v[i]->kind == NSK_NET && l->d->ns->v[i]->p)
			known[n++] = (struct netns_known){ l->d->ns->v[i]->id, l->d->ns->v[i]->p->pid };
	if (netns_dump(l->n->id, known, n, &records, &refusals, e))
		return -1;
	buf_printf(answer, "%zu\n", records.len);
	buf_adds(answer, buf_str(&records));
	buf_adds(answer, buf_str(&refusals));
	answer->failed |= buf_failed(&records) || buf_failed(&refusals);
	return 0;
}

static int net_check(struct dump *d, struct dns *n, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	struct looking l = { d, n };
	struct ns_job job = { .fn = look, .ctx = &l };
	struct ns_place at;
	char *end, *save = NULL;
	size_t len;

	if (!n->p)
		return refuse(d, NULL, "a network namespace (%llu) in which no member lives", (unsigned long long)n->ino);
	ns_place_of(d, n, &at);
	if (ns_run(&at, &job, &b, NULL, e))
		return -1;
	len = strtoul(buf_str(&b), &end, 10);
	if (*end != '\n' || b.len - (size_t)(end + 1 - b.p) < len)
		return err_set(e, EX_FAILED, "a helper in a namespace of the job died");
	buf_add(&n->content, end + 1, len);
	for (char *s = strtok_r(end + 1 + len, "\n", &save); s; s = strtok_r(NULL, "\n", &save))
		refuse(d, n->p, "%s", s);
	return 0;
}

/* The last one's content has them. */
int ns_net_ends(struct dump *d, struct err *e)
{
	AUTO_BUF struct buf all = BUF_INIT, refusals = BUF_INIT;
	struct dns *last = NULL;
	char *save = NULL;

	for (size_t i = 0; i < d->ns->n; i++)
		if (d->ns->v[i]->kind == NSK_NET) {
			last = d->ns->v[i];
			buf_adds(&all, buf_str(&last->content));
		}
	if (!last)
		return 0;
	if (buf_failed(&all))
		return err_set(e, EX_FAILED, "out of memory");
	if (netns_dump_ends(&all, &last->content, &refusals, e))
		return -1;
	for (char *s = refusals.p ? strtok_r(refusals.p, "\n", &save) : NULL; s; s = strtok_r(NULL, "\n", &save))
		refuse(d, last->p, "%s", s);
	return 0;
}

static int net_dump(struct dump *d, struct dns *n, struct buf *out, struct err *e)
{
	(void)d;
	(void)e;
	buf_adds(out, buf_str(&n->content));
	out->failed |= buf_failed(&n->content);
	return 0;
}

static int net_verify(struct restore *r, struct rns *n, struct err *e) { return netns_verify(r, &r->ns->list, n->id, e); }
static int net_build(struct restore *r, struct rns *n, struct err *e) { return netns_build(r, &r->ns->list, n->id, e); }

const struct ns_ops ns_net_ops = {
	.kind = NSK_NET, .what = "network", .check = net_check, .dump_content = net_dump, .verify = net_verify, .build = net_build,
};

static int nsfd(void *ctx, uint32_t id)
{
	struct restore *r = ctx;
	const struct rns *n = ns_find(r, id, NSK_NET);

	return n ? n->fd : -1;
}

static int connect_links(void *ctx, struct buf *answer, int *give, struct err *e)
{
	struct restore *r = ctx;

	(void)answer;
	(void)give;
	return netns_connect(r, &r->ns->list, nsfd, r, e);
}

int ns_net_connect(struct restore *r, struct err *e)
{
	struct ns_job job = { .fn = connect_links, .ctx = r };
	struct ns_place here = NS_HERE;
	bool any = false;

	for (size_t i = 0; r->ns && i < r->ns->n; i++)
		any |= r->ns->v[i].kind == NSK_NET;
	return any ? ns_run(&here, &job, NULL, NULL, e) : 0;
}
