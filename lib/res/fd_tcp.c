/* fd_tcp: TCP sockets, tcp(7): listening, connected among processes of the job, on their way to be so, closed. See fd_tcp.h.
 *
 * Record: TYPE="tcp" ... FAMILY="inet"|"inet6" UID= GID= MODE= [ADDRESS=] [PEER=] [SHUTDOWN=bits] [OPTIONS=] [FILTER=]
 *   [CONTENT=bytes that wait in it] [SENT=bytes that it has not delivered yet], and one of
 *   LISTEN=backlog             listening
 *   WITH=id [SERVER="1"]       connected to that one of the job, and that one to it
 *   ORPHAN="1" [SERVER="1"]    its other end, on this host, is closed
 *   PENDING=id ORDER=n         connected to a listening one of the job, and not accepted yet
 *   CONNECTING="1"             connect(2) is under way
 *   CLOSED="1"                 was connected, both directions have ended [RESET="1": by a reset]
 *   OUTSIDE="1" [FAR="1"]      connected to somebody outside the job; FAR: to one of the job in another
 *                              network namespace [ENDED="1": which is closed]
 *   EXTERNAL="1" [STD=n]       somebody's stdio that leads outside: as fd_ext
 *   nothing of these           not connected; bound if it has ADDRESS
 *
 * Nothing of a connection inside the job needs privilege but what waits to be sent because its receiver has no room: that only
 * TCP_REPAIR shows. */
#include "res/fd_tcp.h"
#include "res/fd_ext.h"
#include "res/fd_ops.h"
#include "res/ns_obj.h"
#include "common/cleanup.h"

#include <fcntl.h>
#include <linux/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

enum { LOCK_RCVBUF = 2, DRAIN_SOME = 1 << 20 };
enum way { ALONE, LISTENING, PAIR, ORPHAN, PENDING, CONNECTING, CLOSED, OUTSIDE, FAR, EXT, REFUSED };

struct plan {
	enum way way;
	int state;
	const struct tcp_table *table;          /* of its network namespace */
	const struct inet_entry *x;
	struct dfile *other;                    /* peer or listener */
	bool later;                             /* may be otherwise in a moment */
	bool cut;                               /* it is saved as one that was reset */
	bool draining;                          /* as soon as there is room for what is on the way */
	char why[256];
};

static bool tcp_match(const struct dfile *f)
{
	int family;

	if (!S_ISSOCK(f->st.st_mode) || (f->flags & O_PATH) || f->lfd < 0)
		return false;
	family = sockopt_int(f->lfd, SO_DOMAIN);
	return (family == AF_INET || family == AF_INET6) && sockopt_int(f->lfd, SO_TYPE) == SOCK_STREAM &&
	       sockopt_int(f->lfd, SO_PROTOCOL) == IPPROTO_TCP;
}

int tcp_state(int fd)
{
	struct tcp_info t;
	socklen_t n = sizeof t;

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &t, &n) ? -1 : t.tcpi_state;
}

static uint64_t cookie(int fd)
{
	uint64_t v = 0;
	socklen_t n = sizeof v;

	return getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &v, &n) ? 0 : v;
}

/* ---- the world of this checkpoint ---- */

void tcp_world_free(struct dump *d)
{
	if (!d->tcp)
		return;
	tcp_tables_free(d->tcp);
	tcp_lock_end(d, false);
	free(d->tcp->listeners);
	free(d->tcp->outside);
	tcp_repair_free(d->tcp->unsent, d->tcp->nunsent);
	free(d->tcp->unsent);
	free(d->tcp->received);
	free(d->tcp);
	d->tcp = NULL;
}

static int world(struct dump *d, struct err *e)
{
	AUTO_FD int probe = -1;

	d->tcp = calloc(1, sizeof *d->tcp);
	if (!d->tcp)
		return err_set(e, EX_FAILED, "out of memory");
	probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	d->tcp->netns = probe >= 0 ? cookie(probe) : 0;
	d->tcp->capable = tcp_repair_capable();
	return tcp_tables_read(d, e);
}

static struct dfile *by_ino(struct dump *d, const struct dfile *f, uint32_t ino)
{
	struct stat st = { .st_dev = f->st.st_dev, .st_ino = ino };

	return ino ? files_find_inode(d, &st) : NULL;
}

/* ---- what it is connected to ---- */

static void no(struct plan *p, const struct dfile *f, const char *why)
{
	p->way = f->std ? EXT : REFUSED;
	snprintf(p->why, sizeof p->why, "%s", why);
}

static void later(struct plan *p, const char *why)
{
	p->way = REFUSED;
	p->later = true;
	snprintf(p->why, sizeof p->why, "%s", why);
}

static int events(int fd)
{
	struct pollfd one = { .fd = fd, .events = POLLIN | POLLPRI | POLLRDHUP };

	return poll(&one, 1, 0) == 1 ? one.revents : 0;
}

static bool was_connected(int fd)
{
	struct tcp_info t;
	socklen_t n = sizeof t;

	memset(&t, 0, sizeof t);
	/* What the SYN or its answer was acknowledged with, or data: of a connection that never was there is nothing. */
	return !getsockopt(fd, IPPROTO_TCP, TCP_INFO, &t, &n) && (t.tcpi_bytes_acked || t.tcpi_bytes_received || t.tcpi_rcv_mss > 536);
}

static void plan_closed(const struct dfile *f, struct plan *p)
{
	int ev = events(f->lfd);

	if (!(ev & POLLRDHUP))
		return;
	p->way = CLOSED;
	if ((ev & POLLERR) && !was_connected(f->lfd))
		no(p, f, "its connection has failed, and the program does not know it yet");
}

/* Descriptions may be added while others are checked. */
static int listeners_update(struct dump *d)
{
	struct tcp_world *w = d->tcp;

	for (; w->seen < d->nfiles; w->seen++) {
		struct dfile *f = d->files[w->seen], **v;

		if (!tcp_match(f) || tcp_state(f->lfd) != TCPS_LISTEN)
			continue;
		v = realloc(w->listeners, (w->nlisteners + 1) * sizeof(struct dfile *));
		if (!v)
			return -1;
		w->listeners = v;
		v[w->nlisteners++] = f;
	}
	return 0;
}

/* The listening socket of the job that a connection to `to` waits at. */
static struct dfile *listener(struct dump *d, const struct tcp_table *t, const struct dfile *f, const struct inet_end *to)
{
	if (listeners_update(d))
		return NULL;
	for (size_t i = 0; i < d->tcp->nlisteners; i++) {
		struct dfile *l = d->tcp->listeners[i];
		const struct inet_entry *x = l != f ? inet_diag_find(&t->diag, l->st.st_ino) : NULL;
		union inet_addr a;

		if (x && x->src.port == to->port && inet_own(l->lfd, &a) && (inet_any(&a) || !memcmp(x->src.a, to->a, sizeof to->a)))
			return l;
	}
	return NULL;
}

/* Those that wait at l must be the job's. */
static void plan_listening(struct dump *d, struct dfile *f, struct plan *p)
{
	const struct inet_diag *t = &p->table->diag;
	uint32_t ours = 0, waiting = p->x->rqueue;

	p->way = LISTENING;
	for (size_t i = 0; waiting && i < t->n && !t->v[i].ino; i++) {
		const struct inet_entry *x = &t->v[i], *client;

		if (x->src.port != p->x->src.port || x->state == TCPS_TIME_WAIT || x->state == TCPS_SYN_RECV)
			continue;
		client = inet_diag_between(t, &x->dst, &x->src);
		if (client && by_ino(d, f, client->ino) && listener(d, p->table, NULL, &x->src) == f)
			ours++;
	}
	if (ours < waiting && !d->tcp_close)
		later(p, "a connection from outside the job waits to be accepted");
}

static void plan_pending(struct dump *d, struct dfile *f, struct plan *p)
{
	struct tcp_info t;
	socklen_t n = sizeof t;

	p->way = PENDING;
	p->other = listener(d, p->table, f, &p->x->dst);
	memset(&t, 0, sizeof t);
	if (!p->other)
		no(p, f, "it waits to be accepted outside the job");
	else if (getsockopt(f->lfd, IPPROTO_TCP, TCP_INFO, &t, &n) || n < offsetof(struct tcp_info, tcpi_bytes_sent) + 8 || t.tcpi_bytes_sent)
		later(p, "data was sent over it, and it is not accepted yet");
	else if (p->x->shutdown)
		later(p, "it is shut down, and not accepted yet");
}

/* False: no end of it is in another namespace of the job. */
static bool plan_far(struct dump *d, struct dfile *f, struct plan *p)
{
	enum tcp_far far = tcp_far_find(d, f, p->x, &p->other);

	p->way = FAR;
	if (far == TCP_FAR_WAITS)
		later(p, "it waits to be accepted in another network namespace");
	else if (far == TCP_FAR_MANY)
		no(p, f, "several network namespaces of the job have its other end");
	else if (far == TCP_FAR_CLOSED && p->state != TCPS_CLOSE_WAIT && p->state != TCPS_LAST_ACK && p->state != TCPS_CLOSING)
		later(p, "its other end was closed with data on the way");
	return far != TCP_NOT_FAR;
}

static void plan_connected(struct dump *d, struct dfile *f, struct plan *p)
{
	const struct inet_diag *t = &p->table->diag;
	const struct inet_entry *px = inet_diag_between(t, &p->x->dst, &p->x->src);
	union inet_addr peer;

	if (px == p->x) {
		no(p, f, "it is connected to itself");
		return;
	}
	p->other = px ? by_ino(d, f, px->ino) : NULL;
	if (p->other) {
		p->way = PAIR;
		return;
	}
	if (px && !px->ino && px->state == TCPS_ESTABLISHED) {
		plan_pending(d, f, p);
		return;
	}
	if (!px && plan_far(d, f, p))
		return;
	p->way = OUTSIDE;
	if ((px && px->ino) || !inet_peer(f->lfd, &peer) || !ns_net_local(d, f->net, &peer)) {
		if (f->std)
			p->way = EXT;
		else if (d->tcp_close)
			*p = (struct plan){ .way = CLOSED, .state = p->state, .table = p->table, .cut = true };
		else if (f->net)
			no(p, f, "it is connected to outside of its network namespace");
		return;
	}
	p->way = ORPHAN;
	/* What it sent last is in no socket that anybody holds. */
	if (p->state != TCPS_CLOSE_WAIT && p->state != TCPS_LAST_ACK && p->state != TCPS_CLOSING)
		later(p, "its other end was closed with data on the way");
	p->draining = p->way == REFUSED;
}

static void plan_make(struct dump *d, struct dfile *f, struct plan *p)
{
	uint64_t ns = cookie(f->lfd);
	char ulp[16] = "";
	socklen_t n = sizeof ulp;

	*p = (struct plan){ .way = ALONE, .state = tcp_state(f->lfd), .table = tcp_table_of(d, f) };
	if (!f->net && ns && d->tcp->netns && ns != d->tcp->netns) {
		no(p, f, "it belongs to another network namespace");
		return;
	}
	if (!getsockopt(f->lfd, IPPROTO_TCP, 31 /* TCP_ULP */, ulp, &n) && n && *ulp) {
		no(p, f, "an upper layer protocol is on (TCP_ULP)");
		return;
	}
	if (p->state == TCPS_CLOSE) {
		plan_closed(f, p);
		return;
	}
	p->x = inet_diag_find(&p->table->diag, f->st.st_ino);
	if (!p->x) {
		no(p, f, p->table->blind ? "this kernel does not tell what it is connected to (no tcp_diag)" :
		   "the kernel does not tell what it is connected to");
		return;
	}
	if (p->state == TCPS_LISTEN)
		plan_listening(d, f, p);
	else if (p->state == TCPS_SYN_SENT)
		p->way = CONNECTING;
	else
		plan_connected(d, f, p);
}

/* ---- what is on its way ---- */

/* The bytes that keep f's connection from rest, and who should receive them: those of a sender whom we may not look into, and those of one
 * that has closed its end and so belongs to nobody. */
static int held(struct dump *d, struct dfile *f, struct dfile **receiver)
{
	struct plan p;

	plan_make(d, f, &p);
	if (p.way == PAIR && !tcp_repair_allowed(d, f)) {
		tcp_acknowledge(p.other->lfd);
		*receiver = p.other;
		return tcp_unsent(f, p.state);
	}
	*receiver = f;
	return p.way == REFUSED && p.draining ? DRAIN_SOME : 0;
}

/* They are asked to send it. They notice the room when their timers ask for it: worth a wait of some tenths of a second, but not again and again. */
static void drain_all(struct dump *d)
{
	static const struct timespec moment = { .tv_nsec = 5000000 };
	bool any = true;
	int patience = d->attempt > 2 ? 4 : 120;

	for (int tries = 0; any && tries < patience; tries++) {
		any = false;
		for (size_t i = 0; i < d->nfiles; i++) {
			struct dfile *f = d->files[i], *receiver;
			int n = tcp_match(f) ? held(d, f, &receiver) : 0;

			if (n > 0 && !tries)
				tcp_widen(receiver, n);
			any |= n > 0;
		}
		if (any)
			nanosleep(&moment, NULL);
	}
}

/* ---- check and dump ---- */

static const char *text(const struct dfile *f, char out[2 * INET_TEXT + 32])
{
	union inet_addr a;
	char own[INET_TEXT] = "", peer[INET_TEXT] = "";

	if (inet_own(f->lfd, &a))
		inet_text(&a, own);
	if (inet_peer(f->lfd, &a))
		inet_text(&a, peer);
	snprintf(out, 2 * INET_TEXT + 32, "TCP socket %s%s%s", own, *peer ? " -> " : "", peer);
	return out;
}

static int check_queues(struct dump *d, struct dfile *f, const struct plan *p, const char *what)
{
	if (p->way == LISTENING || p->way == ALONE || p->way == CONNECTING || p->way == PENDING)
		return 0;
	if (events(f->lfd) & POLLPRI)
		return refuse(d, f->p, "fd %d: %s: urgent data waits in it", f->fd, what);
	if (sockopt_int(f->lfd, SO_PEEK_OFF) >= 0 && tcp_waiting(f))
		return refuse(d, f->p, "fd %d: %s: SO_PEEK_OFF is set and data waits in it", f->fd, what);
	if (p->way == PAIR) {
		tcp_acknowledge(p->other->lfd);
		if (tcp_unsent(f, p->state) > 0 && !tcp_repair_allowed(d, f))
			return refuse_for_now(d, f->p, "fd %d: %s: %d bytes wait to be sent, which only CAP_NET_ADMIN can read", f->fd,
					      what, tcp_unsent(f, p->state));
	}
	return 0;
}

static int tcp_check(struct dump *d, struct dfile *f, struct err *e)
{
	char what[2 * INET_TEXT + 32];
	struct plan p;

	if (!d->tcp) {
		if (world(d, e))
			return -1;
		drain_all(d);
	}
	plan_make(d, f, &p);
	text(f, what);
	if (p.way == EXT)
		return 0;
	if (p.way == REFUSED)
		return (p.later ? refuse_for_now : refuse)(d, f->p, "fd %d: %s: %s", f->fd, what, p.why);
	if (!p.table->lo && (p.way == PAIR || p.way == ORPHAN || p.way == PENDING || p.way == CLOSED))
		refuse(d, f->p, "fd %d: %s: the loopback interface of its network namespace is down, so that no restart could connect it", f->fd, what);
	sockopt_check(d, f, what);
	if (p.way == OUTSIDE || p.way == FAR)
		tcp_outside_check(d, f, what, p.state, p.way == FAR);
	return check_queues(d, f, &p, what);
}

/* The connections that have data on the way, and what waits at the other ends now. */
static void find_unsent(struct dump *d)
{
	struct tcp_world *w = d->tcp;

	for (size_t i = 0; i < d->nfiles; i++)
		w->unsent[i] = (struct tcp_repair){ .fd = -1 };
	for (size_t i = 0; i < d->nfiles; i++) {
		struct dfile *f = d->files[i];
		struct plan p;

		if (f->ops != &fd_tcp_ops)
			continue;
		plan_make(d, f, &p);
		if (p.way == OUTSIDE || p.way == FAR)
			w->unsent[i] = tcp_repair_of(d, f, true);
		if (p.way != PAIR)
			continue;
		tcp_acknowledge(p.other->lfd);
		w->received[i] = tcp_waiting(p.other);
		if (tcp_unsent(f, p.state) > 0) {
			w->unsent[i] = tcp_repair_of(d, f, false);
			w->unsent[p.other->id - 1] = tcp_repair_of(d, p.other, false);
		}
	}
}

static bool moved(struct dump *d)
{
	for (size_t i = 0; i < d->tcp->nunsent; i++) {
		struct plan p;

		if (d->tcp->unsent[i].fd < 0)
			continue;
		plan_make(d, d->files[i], &p);
		if (p.way == FAR && p.other && tcp_far_moved(&d->tcp->unsent[i], p.x->shutdown & TCP_SHUT_SEND, &d->tcp->unsent[p.other->id - 1]))
			return true;
		if (d->tcp->unsent[i].whole)
			continue;
		if (p.way != PAIR || tcp_waiting(p.other) != d->tcp->received[i] ||
		    d->tcp->unsent[p.other->id - 1].in.len != (size_t)d->tcp->received[i])
			return true;
	}
	return false;
}

/* When the job is to end, nothing may change in its connections to outside from before they are read. */
static int hold_outside(struct dump *d, struct err *e)
{
	for (size_t i = 0; i < d->nfiles; i++) {
		struct dfile *f = d->files[i];
		struct plan p;

		if (f->ops != &fd_tcp_ops)
			continue;
		plan_make(d, f, &p);
		if (p.way == OUTSIDE && tcp_outside_add(d, f, e))
			return -1;
	}
	return d->kills ? tcp_lock_begin(d, e) : 0;
}

/* All unsent data of the job is read at once. What its timers send meanwhile would be counted at both ends: then once more. */
static int read_unsent(struct dump *d, struct err *e)
{
	static const struct timespec moment = { .tv_nsec = 2000000 };
	struct tcp_world *w = d->tcp;

	if (w->unsent)
		return 0;
	w->unsent = calloc(d->nfiles + 1, sizeof *w->unsent);
	w->received = calloc(d->nfiles + 1, sizeof *w->received);
	if (!w->unsent || !w->received)
		return err_set(e, EX_FAILED, "out of memory");
	w->nunsent = d->nfiles;
	if (hold_outside(d, e))
		return -1;
	for (int tries = 0; tries < 100; tries++) {
		find_unsent(d);
		if (tcp_repair_read(d, w->unsent, w->nunsent, e))
			return -1;
		if (!moved(d))
			return 0;
		tcp_repair_free(w->unsent, w->nunsent);
		nanosleep(&moment, NULL);
	}
	return err_set(e, EX_CANNOT_CKPT, "data of its TCP connections does not come to rest");
}

/* The bytes of f that its other end has not received: the last ones of those that are not acknowledged. */
static size_t undelivered(struct dump *d, const struct dfile *f, const struct plan *p)
{
	const struct tcp_repair *mine = &d->tcp->unsent[f->id - 1], *other;
	uint32_t n;

	if (mine->whole)
		return mine->out.len;
	if (p->way != PAIR || mine->fd < 0)
		return 0;
	other = &d->tcp->unsent[p->other->id - 1];
	n = mine->snd_seq - other->rcv_seq;
	/* An end that has not arrived has a number too. */
	if (n && (p->x->shutdown & TCP_SHUT_SEND))
		n--;
	return n < mine->out.len ? n : mine->out.len;
}

static int put_bytes(struct dump *d, const struct dfile *f, struct buf *data, size_t waits, const char *out, size_t sent, struct err *e)
{
	char name[32];

	if (waits)
		rec_put_u64(&d->files_out, "CONTENT", waits);
	if (sent) {
		rec_put_u64(&d->files_out, "SENT", sent);
		buf_add(data, out, sent);
	}
	if (buf_failed(data))
		return err_set(e, EX_FAILED, "out of memory");
	snprintf(name, sizeof name, "tcp_%u", f->id);
	return waits + sent ? dump_raw_mem(d, name, buf_str(data), data->len, e) : 0;
}

static int put_content(struct dump *d, const struct dfile *f, const struct plan *p, struct err *e)
{
	AUTO_BUF struct buf data = BUF_INIT;
	const struct tcp_repair *seen = &d->tcp->unsent[f->id - 1];
	size_t sent = undelivered(d, f, p);
	int n = tcp_waiting(f), got;
	char *to;

	if (p->way == PENDING || p->way == CONNECTING || p->way == LISTENING)
		return 0;
	/* What was read together with what its sender has, or with its numbers. */
	if (seen->fd >= 0) {
		buf_add(&data, seen->in.p, seen->in.len);
		return put_bytes(d, f, &data, seen->in.len, seen->out.p + seen->out.len - sent, sent, e);
	}
	if (n <= 0)
		return 0;
	to = buf_reserve(&data, (size_t)n);
	if (!to)
		return err_set(e, EX_FAILED, "out of memory");
	got = (int)recv(f->lfd, to, (size_t)n, MSG_PEEK | MSG_DONTWAIT);
	if (got < n)
		return got < 0 ? err_sys(e, "cannot look into a TCP socket") :
				 err_set(e, EX_CANNOT_CKPT, "fd %d: of %d bytes in a TCP socket only %d can be seen", f->fd, n, got);
	buf_commit(&data, (size_t)got);
	return put_bytes(d, f, &data, (size_t)got, NULL, 0, e);
}

/* Several sockets have the address of the one that listened. */
static bool is_server(struct dump *d, const struct plan *p)
{
	const struct inet_diag *t = &p->table->diag;
	size_t lo = 0, hi = t->n;

	/* The first one by ends with this address. */
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (memcmp(&t->v[t->by_ends[mid]].src, &p->x->src, sizeof p->x->src) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return (lo + 1 < t->n && !memcmp(&t->v[t->by_ends[lo + 1]].src, &p->x->src, sizeof p->x->src)) ||
	       listener(d, p->table, NULL, &p->x->src);
}

static void put_links(struct dump *d, const struct dfile *f, const struct plan *p)
{
	struct buf *b = &d->files_out;
	struct tcp_info t;
	socklen_t n = sizeof t;

	switch (p->way) {
	case LISTENING:
		rec_put_u64(b, "LISTEN", p->x->wqueue);
		break;
	case PAIR:
		rec_put_u64(b, "WITH", p->other->id);
		if (is_server(d, p))
			rec_put_u64(b, "SERVER", 1);
		break;
	case ORPHAN:
		rec_put_u64(b, "ORPHAN", 1);
		if (is_server(d, p))
			rec_put_u64(b, "SERVER", 1);
		break;
	case PENDING:
		rec_put_u64(b, "PENDING", p->other->id);
		/* The kernel does not show the order of those that wait: the one connected longest ago is first. */
		memset(&t, 0, sizeof t);
		if (!getsockopt(f->lfd, IPPROTO_TCP, TCP_INFO, &t, &n))
			rec_put_u64(b, "ORDER", UINT32_MAX - t.tcpi_last_ack_recv);
		break;
	case CONNECTING:
		rec_put_u64(b, "CONNECTING", 1);
		break;
	case CLOSED:
		rec_put_u64(b, "CLOSED", 1);
		if (p->cut || (events(f->lfd) & POLLERR))
			rec_put_u64(b, "RESET", 1);
		break;
	case OUTSIDE:
	case FAR:
		rec_put_u64(b, "OUTSIDE", 1);
		tcp_outside_put(d, &d->tcp->unsent[f->id - 1]);
		if (p->way == FAR)
			rec_put_u64(b, "FAR", 1);
		else if (d->tcp->locked)
			rec_put_str(b, "LOCK", d->tcp->lock);
		if (p->way == FAR && !p->other)
			rec_put_u64(b, "ENDED", 1);
		break;
	default:
		break;
	}
}

static int tcp_dump(struct dump *d, struct dfile *f, struct err *e)
{
	struct buf *b = &d->files_out;
	union inet_addr a;
	char addr[INET_TEXT];
	struct plan p;
	int family = sockopt_int(f->lfd, SO_DOMAIN);

	plan_make(d, f, &p);
	if (p.way == EXT) {
		ext_dump(d, f);
		return 0;
	}
	if (read_unsent(d, e))
		return -1;
	rec_put_str(b, "FAMILY", family == AF_INET ? "inet" : "inet6");
	rec_put_u64(b, "UID", f->st.st_uid);
	rec_put_u64(b, "GID", f->st.st_gid);
	rec_put_hex(b, "MODE", f->st.st_mode & 07777);
	if (p.way != CLOSED && inet_own(f->lfd, &a) && (inet_port(&a) || !inet_any(&a)))
		rec_put_str(b, "ADDRESS", inet_text(&a, addr));
	if (p.way == CONNECTING && p.x) {
		/* getpeername(2) does not tell yet. */
		memset(&a, 0, sizeof a);
		a.sa.sa_family = (sa_family_t)family;
		if (family == AF_INET)
			memcpy(&a.in.sin_addr, p.x->dst.a + 12, 4);
		else
			memcpy(&a.in6.sin6_addr, p.x->dst.a, 16);
		inet_set_port(&a, p.x->dst.port);
		rec_put_str(b, "PEER", inet_text(&a, addr));
	} else if (p.way != CLOSED && inet_peer(f->lfd, &a)) {
		rec_put_str(b, "PEER", inet_text(&a, addr));
	}
	put_links(d, f, &p);
	if (p.x && p.x->shutdown && p.way != LISTENING)
		rec_put_u64(b, "SHUTDOWN", p.x->shutdown);
	/* As the kernel has let them grow: what waits must find room, and they are not to grow with each restart. */
	if (p.way == PAIR || p.way == OUTSIDE || p.way == FAR) {
		rec_put_u64(b, "SNDBUF", (uint64_t)sockopt_int(f->lfd, SO_SNDBUF));
		rec_put_u64(b, "RCVBUF", (uint64_t)sockopt_int(f->lfd, SO_RCVBUF));
	}
	if (sockopt_dump(d, f, family, SOCK_STREAM, IPPROTO_TCP, e))
		return -1;
	return put_content(d, f, &p, e);
}

void tcp_before_kill(struct dump *d)
{
	static const struct linger at_once = { 1, 0 };

	if (!d->tcp)
		return;
	for (size_t i = 0; i < d->nfiles; i++) {
		struct dfile *f = d->files[i];
		struct plan p;

		if (f->ops != &fd_tcp_ops)
			continue;
		plan_make(d, f, &p);
		if (p.way == PAIR || p.way == ORPHAN || p.way == PENDING || p.way == FAR)
			setsockopt(f->lfd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
	}
}

const struct fd_ops fd_tcp_ops = { .type = "tcp", .match = tcp_match, .check = tcp_check, .dump = tcp_dump, .open = tcp_open };
