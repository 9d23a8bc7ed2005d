/* tcp_tables: what the kernel tells of all TCP sockets, once for each network namespace: the same addresses may be in several. */
#include "res/fd_tcp.h"
#include "res/ns_obj.h"
#include "res/sock_diag.h"

#include <stdlib.h>

static int add(struct dump *d, struct dns *net, struct err *e)
{
	struct tcp_table *t = &d->tcp->tables[d->tcp->ntables];
	struct sock_where w;
	int rc;

	if (ns_net_where(d, net, &w, e))
		return -1;
	w = sock_go(w);
	rc = inet_diag_tcp(&t->diag, e);
	t->lo = sock_lo_up();
	sock_go(w);
	t->net = net;
	t->blind = rc == 1;
	d->tcp->ntables++;
	return rc < 0 ? -1 : 0;
}

int tcp_tables_read(struct dump *d, struct err *e)
{
	size_t n = d->ns ? d->ns->n : 0;

	/* Pointers into it are kept. */
	d->tcp->tables = calloc(n + 1, sizeof *d->tcp->tables);
	if (!d->tcp->tables)
		return err_set(e, EX_FAILED, "out of memory");
	if (add(d, NULL, e))
		return -1;
	for (size_t i = 0; i < n; i++)
		if (d->ns->v[i]->kind == NSK_NET && add(d, d->ns->v[i], e))
			return -1;
	return 0;
}

const struct tcp_table *tcp_table_of(const struct dump *d, const struct dfile *f)
{
	const struct tcp_table *t = d->tcp->tables;

	while (t->net != f->net)
		t++;
	return t;
}

void tcp_tables_free(struct tcp_world *w)
{
	for (size_t i = 0; i < w->ntables; i++)
		inet_diag_free(&w->tables[i].diag);
	free(w->tables);
}
