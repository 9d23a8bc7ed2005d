/* fd_tcp_open: TCP sockets on restart. Connections inside the job are made anew, by connect(2) and accept(2), which takes no privilege; both
 * ends have the addresses that they had. All are made with the first one, in this order:
 *
 *   sockets with an address, listening ones among them, are bound: nobody else can take it from here on
 *   connections, also to ends that are closed later; a listening socket made for the moment accepts them, so that no stranger gets into the
 *   job's own ones
 *   listening
 *   connections that wait to be accepted, in their order
 *   content, ends, options (fd_tcp_fill.c)
 *   connections that were on their way */
#include "res/fd_tcp.h"
#include "res/fd_ext.h"
#include "res/fd_ops.h"
#include "res/ns_obj.h"
#include "res/sock_diag.h"
#include "common/cleanup.h"
#include "common/log.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>

enum { ACCEPT_SECONDS = 5 };

struct tsock *tcp_of(struct restore *r, uint32_t id)
{
	struct rfile *f = restore_file(r, id);

	return f && f->ops == &fd_tcp_ops && ns_net_here(r, f) ? f->priv : NULL;
}

/* ---- parsing ---- */

static int parse_links(struct restore *r, const struct rec *rec, struct tsock *u, struct err *e)
{
	uint64_t with, pending, order, shut, flags[8];
	static const char *const names[] = { "ORPHAN", "CONNECTING", "CLOSED", "RESET", "OUTSIDE", "SERVER", "FAR", "ENDED" };

	for (size_t i = 0; i < 8; i++)
		if (rec_u64_or(rec, names[i], 1, 0, &flags[i], e))
			return -1;
	if (rec_u64_or(rec, "WITH", r->nfiles, 0, &with, e) || rec_u64_or(rec, "PENDING", r->nfiles, 0, &pending, e) ||
	    rec_u64_or(rec, "ORDER", UINT32_MAX, 0, &order, e) || rec_u64_or(rec, "SHUTDOWN", 3, 0, &shut, e) ||
	    rec_u64_or(rec, "CONTENT", TCP_MAX_QUEUE, 0, &u->content, e) || rec_u64_or(rec, "SENT", TCP_MAX_QUEUE, 0, &u->sent, e))
		return -1;
	u->orphan = flags[0];
	u->connecting = flags[1];
	u->closed = flags[2];
	u->reset = flags[3];
	u->outside = flags[4];
	u->server = flags[5];
	u->far = flags[6] && u->outside;
	u->ended = flags[7] && u->far;
	u->with = (uint32_t)with;
	u->pending = (uint32_t)pending;
	u->order = (uint32_t)order;
	u->shutdown = (int)shut;
	u->listening = rec_find(rec, "LISTEN");
	if (u->listening && rec_int(rec, "LISTEN", 0, TCP_MAX_BACKLOG, &u->backlog, e))
		return -1;
	if ((u->with != 0) + (u->pending != 0) + u->listening + u->orphan + u->connecting + u->closed + u->outside > 1)
		return err_set(e, EX_BAD_IMAGE, "line %zu: a TCP socket with two connections", rec->line);
	return 0;
}

static int parse(struct restore *r, struct rfile *f, struct tsock *u, struct err *e)
{
	const struct rec *rec = &f->rec;
	bool two_ends;
	const char *family;

	*u = (struct tsock){ .f = f, .tmp = -1 };
	if (rec_str(rec, "FAMILY", &family, e))
		return -1;
	u->family = !strcmp(family, "inet") ? AF_INET : !strcmp(family, "inet6") ? AF_INET6 : -1;
	if (u->family < 0)
		return err_set(e, EX_BAD_IMAGE, "line %zu: FAMILY=\"%s\"", rec->line, family);
	if (parse_links(r, rec, u, e) || sockopt_set(rec, -1, 0, e))
		return -1;
	two_ends = u->with || u->pending || u->orphan || u->outside || u->connecting;
	if (inet_record(rec, "ADDRESS", two_ends || u->listening || rec_find(rec, "ADDRESS") ? u->family : 0, &u->own, e) ||
	    inet_record(rec, "PEER", two_ends ? u->family : 0, &u->peer, e))
		return -1;
	u->bound = u->own.sa.sa_family;
	if (two_ends && (!inet_port(&u->own) || !inet_port(&u->peer)))
		return err_set(e, EX_BAD_IMAGE, "line %zu: a TCP connection without ports", rec->line);
	if ((u->content && !(u->with || u->orphan || u->closed || u->outside)) || (u->sent && !(u->with || u->outside)))
		return err_set(e, EX_BAD_IMAGE, "line %zu: a socket that is not connected holds data", rec->line);
	return 0;
}

/* Ids that others refer to. */
static int verify(struct restore *r, struct tsock *u, struct err *e)
{
	struct tsock *with = u->with ? tcp_of(r, u->with) : NULL, *at = u->pending ? tcp_of(r, u->pending) : NULL;

	if ((u->with && (!with || with == u || with->with != u->f->id || !inet_same(&with->own, &u->peer) || !inet_same(&with->peer, &u->own))) ||
	    (u->pending && (!at || !at->listening)))
		return err_set(e, EX_BAD_IMAGE, "line %zu: a TCP socket is connected to what it cannot be", u->f->rec.line);
	if (u->outside && !u->far && r->o->tcp_close)
		return 0;
	return u->outside ? tcp_outside_parse(r, u, e) : 0;
}

static int parse_all(struct restore *r, struct err *e)
{
	for (size_t i = 0; i < r->nfiles; i++) {
		struct rfile *f = &r->files[i];

		if (f->ops != &fd_tcp_ops || rec_find(&f->rec, "EXTERNAL") || !ns_net_here(r, f))
			continue;
		f->priv = calloc(1, sizeof(struct tsock));
		if (!f->priv)
			return err_set(e, EX_FAILED, "out of memory");
		if (parse(r, f, f->priv, e))
			return -1;
	}
	for (size_t i = 0; i < r->nfiles; i++)
		if (tcp_of(r, (uint32_t)i + 1) && verify(r, r->files[i].priv, e))
			return -1;
	return 0;
}

/* ---- making ---- */

/* At the number that the job knows it by, where that is free, else above all of the job's: others will ask for theirs. */
static int keep(struct tcp_maker *m, struct tsock *u, int fd, struct err *e)
{
	int to = m->want[u->f->id];

	u->opened = true;
	u->f->fd = fd;
	if (to == fd)
		return 0;
	if (to > 2 && fcntl(to, F_GETFD) < 0 && errno == EBADF && dup3(fd, to, O_CLOEXEC) == to) {
		close(fd);
		u->f->fd = to;
		return 0;
	}
	u->f->fd = restore_high_fd(m->r, fd);
	return u->f->fd < 0 ? err_sys(e, "cannot place a socket above %d (RLIMIT_NOFILE)", m->r->fd_base) : 0;
}

/* Every socket may share its address until all are there: with what is connected to the same one, with what the last ones left in
 * TIME-WAIT. tcp_fill_all puts the option back. */
static int new_socket(const struct tsock *u, const struct rec *rec, struct err *e)
{
	int fd = sock_make(u->family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return err_sys(e, "cannot make a TCP socket");
	if ((rec && sockopt_set(rec, fd, SOCKOPT_EARLY, e)) ||
	    (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)) && err_sys(e, "cannot set a socket option"))) {
		close(fd);
		return -1;
	}
	return fd;
}

static int open_alone(struct tcp_maker *m, struct tsock *u, struct err *e)
{
	int fd = new_socket(u, &u->f->rec, e), rc = 0;

	if (fd < 0)
		return -1;
	/* One that was about to connect may get an address that is in other hands by now, when it does so. */
	if (u->connecting) {
		u->late = bind(fd, &u->own.sa, inet_size(&u->own));
		if (u->late && errno != EADDRINUSE)
			rc = tcp_address_error(&u->own, e);
	} else if (u->bound) {
		rc = tcp_bind(m, fd, &u->own, e);
	}
	if (rc) {
		close(fd);
		return -1;
	}
	return keep(m, u, fd, e);
}

static struct tcp_temp *temp_listener(struct tcp_maker *m, const struct tsock *server, const union inet_addr *a, struct err *e)
{
	struct tcp_temp *v;
	bool repaired;
	int fd;

	for (size_t i = m->ntemps; i-- > 0;)
		if (!memcmp(&m->temps[i].a, a, sizeof *a))
			return &m->temps[i];
	fd = new_socket(server, &server->f->rec, e);
	if (fd < 0)
		return NULL;
	if (tcp_listen(m, fd, a, 16, &repaired, e)) {
		close(fd);
		return NULL;
	}
	v = realloc(m->temps, (m->ntemps + 1) * sizeof *v);
	if (v)
		m->temps = v;
	fd = v ? restore_high_fd(m->r, fd) : fd;
	if (!v || fd < 0) {
		if (fd >= 0)
			close(fd);
		err_set(e, EX_FAILED, "no room for another socket");
		return NULL;
	}
	v += m->ntemps++;
	*v = (struct tcp_temp){ *a, fd, repaired };
	return v;
}

/* The connection of `from`; a stranger's that came first is closed again. */
static int accept_from(const struct tcp_temp *l, const union inet_addr *from, struct err *e)
{
	struct pollfd one = { .fd = l->fd, .events = POLLIN };
	union inet_addr peer;

	while (poll(&one, 1, ACCEPT_SECONDS * 1000) == 1) {
		int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			return err_sys(e, "cannot accept a connection");
		if (l->repaired)
			tcp_repair_leave(fd);
		if (inet_peer(fd, &peer) && inet_same(&peer, from))
			return fd;
		close(fd);
	}
	return err_set(e, EX_FAILED, "a connection inside the job cannot be made");
}

/* fd[0] is u's, fd[1] that of its other end, which has `server`'s record or none. */
static int connection(struct tcp_maker *m, struct tsock *u, struct tsock *other, int fd[2], struct err *e)
{
	bool u_serves = u->server && !other->server;
	struct tsock *client = u_serves ? other : u, *server = u_serves ? u : other;
	const struct tcp_temp *l = temp_listener(m, server, &server->own, e);
	union inet_addr own;
	int c = l ? new_socket(client, client->f ? &client->f->rec : NULL, e) : -1, s = -1;

	if (c < 0)
		return -1;
	if (!tcp_connect(m, c, &client->own, &client->peer, true, e) && inet_own(c, &own))
		s = accept_from(l, &own, e);
	if (s < 0) {
		close(c);
		return -1;
	}
	fd[0] = u_serves ? s : c;
	fd[1] = u_serves ? c : s;
	return 0;
}

static int open_pair(struct tcp_maker *m, struct tsock *u, struct err *e)
{
	struct tsock *other = tcp_of(m->r, u->with);
	int fd[2];

	if (connection(m, u, other, fd, e))
		return -1;
	/* The second number must not be in the way of the first. */
	fd[1] = restore_high_fd(m->r, fd[1]);
	if (fd[1] < 0)
		return err_sys(e, "cannot place a socket above %d (RLIMIT_NOFILE)", m->r->fd_base);
	return keep(m, u, fd[0], e) || keep(m, other, fd[1], e) ? -1 : 0;
}

/* Its other end lives until the content is there. */
static int open_orphan(struct tcp_maker *m, struct tsock *u, struct err *e)
{
	struct tsock gone = { .f = u->f, .family = u->family, .own = u->peer, .peer = u->own, .server = !u->server, .tmp = -1 };
	int fd[2];

	if (connection(m, u, &gone, fd, e))
		return -1;
	u->tmp = restore_high_fd(m->r, fd[1]);
	if (u->tmp < 0)
		return err_sys(e, "cannot place a socket above %d (RLIMIT_NOFILE)", m->r->fd_base);
	return keep(m, u, fd[0], e);
}

/* What its addresses were nobody can tell any more: any do. */
static int open_closed(struct tcp_maker *m, struct tsock *u, struct err *e)
{
	struct tsock any = *u;
	struct tcp_temp l = { .fd = sock_make(u->family, SOCK_STREAM | SOCK_CLOEXEC, 0) };
	int c = -1, s = -1;

	memset(&any.own, 0, sizeof any.own);
	any.own.sa.sa_family = (sa_family_t)u->family;
	if (u->family == AF_INET)
		any.own.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		any.own.in6.sin6_addr = (struct in6_addr)IN6ADDR_LOOPBACK_INIT;
	if (l.fd < 0 || bind(l.fd, &any.own.sa, inet_size(&any.own)) || listen(l.fd, 1) || !inet_own(l.fd, &any.peer)) {
		err_sys(e, "cannot make a TCP socket");
	} else if ((c = new_socket(u, &u->f->rec, e)) >= 0 && !tcp_connect_bound(c, &any.own, &any.peer, true, e) && inet_own(c, &any.own)) {
		s = accept_from(&l, &any.own, e);
	}
	if (l.fd >= 0)
		close(l.fd);
	if (s < 0) {
		if (c >= 0)
			close(c);
		return -1;
	}
	u->tmp = restore_high_fd(m->r, s);
	if (u->tmp < 0)
		return err_sys(e, "cannot place a socket above %d (RLIMIT_NOFILE)", m->r->fd_base);
	return keep(m, u, c, e);
}

static int open_outside(struct tcp_maker *m, struct tsock *u, struct err *e)
{
	int fd;

	return tcp_outside_open(m->r, u, &fd, e) || keep(m, u, fd, e) ? -1 : 0;
}

static int open_pending(struct tcp_maker *m, struct tsock *u, struct err *e)
{
	int fd = new_socket(u, &u->f->rec, e);

	if (fd < 0)
		return -1;
	if (tcp_connect(m, fd, &u->own, &u->peer, true, e)) {
		close(fd);
		return -1;
	}
	return keep(m, u, fd, e);
}

/* As a program does that does not wait for it. */
static int connect_on(const struct tcp_maker *m, struct tsock *u, struct err *e)
{
	int fd = u->f->fd;

	if (fcntl(fd, F_SETFL, O_NONBLOCK))
		return err_sys(e, "cannot set the flags of a socket");
	if (!u->late)
		return tcp_connect_bound(fd, &u->own, &u->peer, false, e) ? -1 : fd_set_flags(fd, &u->f->rec, e);
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)))
		return err_sys(e, "cannot set a socket option");
	/* Options were set: some of them again. */
	return tcp_connect(m, fd, &u->own, &u->peer, false, e) ? -1 : tcp_options(u, e);
}

enum phase { BOUND, CONNECTED, WAITING };

static enum phase phase_of(const struct tsock *u)
{
	return u->with || u->orphan || u->closed || u->outside ? CONNECTED : u->pending ? WAITING : BOUND;
}

static int open_one(struct tcp_maker *m, struct tsock *u, struct err *e)
{
	switch (phase_of(u)) {
	case CONNECTED:
		return u->with ? open_pair(m, u, e) : u->orphan ? open_orphan(m, u, e) :
		       u->repair ? open_outside(m, u, e) : open_closed(m, u, e);
	case WAITING:
		return open_pending(m, u, e);
	default:
		return open_alone(m, u, e);
	}
}

static int cmp_order(const void *a, const void *b)
{
	const struct tsock *x = *(struct tsock *const *)a, *y = *(struct tsock *const *)b;

	return x->order < y->order ? -1 : x->order > y->order;
}

static int open_phase(struct tcp_maker *m, enum phase phase, struct err *e)
{
	AUTO_FREE struct tsock **v = malloc((m->r->nfiles + 1) * sizeof(struct tsock *));
	size_t n = 0;

	if (!v)
		return err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; i < m->r->nfiles; i++) {
		struct tsock *u = tcp_of(m->r, (uint32_t)i + 1);

		if (u && phase_of(u) == phase)
			v[n++] = u;
	}
	if (phase == WAITING && n)
		qsort(v, n, sizeof(struct tsock *), cmp_order);
	for (size_t i = 0; i < n; i++)
		if (!v[i]->opened && open_one(m, v[i], e))
			return err_prefix(e, "file %u", v[i]->f->id);
	return 0;
}

static int listen_all(struct restore *r, struct err *e)
{
	for (size_t i = 0; i < r->nfiles; i++) {
		struct tsock *u = tcp_of(r, (uint32_t)i + 1);

		if (u && u->listening && listen(u->f->fd, u->backlog))
			return tcp_address_error(&u->own, e);
	}
	return 0;
}

static int connect_rest(const struct tcp_maker *m, struct err *e)
{
	struct restore *r = m->r;

	for (size_t i = 0; i < r->nfiles; i++) {
		struct tsock *u = tcp_of(r, (uint32_t)i + 1);

		if (u && u->connecting && connect_on(m, u, e))
			return err_prefix(e, "file %u", u->f->id);
	}
	return 0;
}

static void temps_close(struct tcp_maker *m)
{
	for (size_t i = 0; i < m->ntemps; i++)
		close(m->temps[i].fd);
	free(m->temps);
	m->temps = NULL;
	m->ntemps = 0;
}

static int *wanted(struct restore *r)
{
	int *want = malloc((r->nfiles + 1) * sizeof *want);

	for (size_t i = 0; want && i <= r->nfiles; i++)
		want[i] = -1;
	for (size_t i = 0; want && i < r->nprocs; i++)
		for (size_t k = 0; k < r->procs[i]->nfds; k++)
			if (r->procs[i]->fds[k].fd > 2 && want[r->procs[i]->fds[k].file] < 0)
				want[r->procs[i]->fds[k].file] = r->procs[i]->fds[k].fd;
	return want;
}

/* Nothing is bound: the job may run still. */
static int open_for_check(struct restore *r, struct err *e)
{
	for (size_t i = 0; i < r->nfiles; i++) {
		struct tsock *u = tcp_of(r, (uint32_t)i + 1);

		if (!u)
			continue;
		u->f->fd = socket(u->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (u->f->fd < 0)
			return err_sys(e, "cannot make a TCP socket");
	}
	return 0;
}

static int open_all(struct restore *r, struct err *e)
{
	struct tcp_maker m = { .r = r };
	int rc;

	if (parse_all(r, e))
		return -1;
	if (r->check_only)
		return open_for_check(r, e);
	m.want = wanted(r);
	if (!m.want)
		return err_set(e, EX_FAILED, "out of memory");
	rc = open_phase(&m, BOUND, e) || open_phase(&m, CONNECTED, e) ? -1 : 0;
	temps_close(&m);
	if (!rc)
		rc = listen_all(r, e) || open_phase(&m, WAITING, e) || tcp_fill_all(r, e) || connect_rest(&m, e) ? -1 : 0;
	free(m.want);
	return rc;
}

int tcp_open(struct restore *r, struct rfile *f, struct err *e)
{
	return rec_find(&f->rec, "EXTERNAL") ? ext_open(r, f, e) : ns_net_each(r, &fd_tcp_ops, open_all, e);
}

void tcp_forget(struct restore *r)
{
	static const struct linger at_once = { 1, 0 };

	tcp_unlock_end(r);
	for (size_t i = 0; i < r->nfiles; i++) {
		struct tsock *u = tcp_of(r, (uint32_t)i + 1);

		if (u)
			free(u->repair);
		if (!u || r->done)
			continue;
		if (u->tmp >= 0)
			close(u->tmp);
		if (u->f->fd >= 0 && !u->listening)
			setsockopt(u->f->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
	}
}
