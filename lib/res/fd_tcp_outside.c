/* fd_tcp_outside: connections to somebody outside the job, or in another network namespace of it, on restart, by TCP_REPAIR: the socket is told where it was, and its other end notices
 * nothing. Until the end of the restart it stays in repair mode, in which it ends without a packet whatever happens to us, and
 * the job's table of nftables still drops what comes. Then (tcp_finish) repair mode is left, what was never sent is given to the socket as by its
 * program, and its directions are shut down again; last of all the table goes (tcp_unlock.c).
 *
 * An end that the other side has sent counts as received: the sequence number says so, and shutdown(SHUT_RD) shows it to the program; tcp_info
 * then says ESTABLISHED instead of CLOSE-WAIT. An end of our own is sent once more, which the other side answers if it had it already. */
#include "res/fd_tcp.h"
#include "res/fd_ops.h"
#include "res/ns_obj.h"
#include "common/cleanup.h"
#include "common/log.h"

#include <linux/tcp.h>
#include <string.h>

enum { REPAIR_OFF_NO_WP = -1, QUEUE_RECV = 1, QUEUE_SEND = 2, OPT_MSS = 2, OPT_WINDOW = 3, OPT_SACK = 4, OPT_STAMP = 8, WSCALE_MAX = 14, CHUNK = 1 << 20,
       SPARE = 64 << 10 };
#ifndef TCP_REPAIR_WINDOW
#define TCP_REPAIR_WINDOW 29
#endif
#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif
struct window { uint32_t snd_wl1, snd_wnd, max_window, rcv_wnd, rcv_wup; };
struct option { uint32_t code, value; };

static int number(const struct rec *rec, const char *key, uint64_t max, uint32_t *out, struct err *e)
{
	uint64_t v;

	if (rec_u64(rec, key, max, &v, e))
		return -1;
	*out = (uint32_t)v;
	return 0;
}

static int parse_options(const struct rec *rec, struct tcp_repair *g, struct err *e)
{
	uint32_t snd = 0, rcv = 0;
	uint64_t sack;

	g->wscale = rec_find(rec, "SND_WSCALE") != NULL;
	g->stamps = rec_find(rec, "STAMP") != NULL;
	if (number(rec, "MSS", UINT16_MAX, &g->mss, e) || rec_u64_or(rec, "SACK", 1, 0, &sack, e) ||
	    (g->stamps && number(rec, "STAMP", UINT32_MAX, &g->timestamp, e)) ||
	    (g->wscale && (number(rec, "SND_WSCALE", WSCALE_MAX, &snd, e) || number(rec, "RCV_WSCALE", WSCALE_MAX, &rcv, e))))
		return -1;
	g->sack = (unsigned char)sack;
	g->snd_wscale = (unsigned char)snd;
	g->rcv_wscale = (unsigned char)rcv;
	return 0;
}

int tcp_outside_parse(struct restore *r, struct tsock *u, struct err *e)
{
	const struct rec *rec = &u->f->rec;
	const char *lock = rec_find(rec, "LOCK");
	struct tcp_repair *g = u->repair = calloc(1, sizeof *g);
	uint64_t unsent;

	(void)r;
	if (!g)
		return err_set(e, EX_FAILED, "out of memory");
	g->fd = -1;
	if (number(rec, "SND_SEQ", UINT32_MAX, &g->snd_seq, e) || number(rec, "RCV_SEQ", UINT32_MAX, &g->rcv_seq, e) ||
	    rec_u64_or(rec, "UNSENT", TCP_MAX_QUEUE, 0, &unsent, e) || parse_options(rec, g, e) ||
	    number(rec, "SND_WL1", UINT32_MAX, &g->snd_wl1, e) || number(rec, "SND_WND", UINT32_MAX, &g->snd_wnd, e) ||
	    number(rec, "MAX_WINDOW", UINT32_MAX, &g->max_window, e) || number(rec, "RCV_WND", UINT32_MAX, &g->rcv_wnd, e) ||
	    number(rec, "RCV_WUP", UINT32_MAX, &g->rcv_wup, e))
		return -1;
	if (lock && !netlock_name_valid(lock))
		return err_set(e, EX_BAD_IMAGE, "line %zu: LOCK=\"%s\"", rec->line, lock);
	/* The end that the program has sent stands behind its bytes, unsent as long as one of them is. */
	g->unsent = (uint32_t)unsent - (unsent && (u->shutdown & TCP_SHUT_SEND));
	if (g->unsent > u->sent)
		return err_set(e, EX_BAD_IMAGE, "line %zu: UNSENT is more than SENT", rec->line);
	return 0;
}

static int set(int fd, int opt, const void *v, socklen_t n) { return setsockopt(fd, IPPROTO_TCP, opt, v, n); }

static int set_int(int fd, int opt, int v) { return set(fd, opt, &v, sizeof v); }

static int sequence(int fd, int queue, uint32_t seq)
{
	return set_int(fd, TCP_REPAIR_QUEUE, queue) || set(fd, TCP_QUEUE_SEQ, &seq, sizeof seq) ? -1 : 0;
}

static int negotiated(int fd, const struct tcp_repair *g, struct err *e)
{
	struct option o[4];
	socklen_t n = 0;

	o[n++] = (struct option){ OPT_MSS, g->mss };
	if (g->wscale)
		o[n++] = (struct option){ OPT_WINDOW, (uint32_t)g->snd_wscale | (uint32_t)g->rcv_wscale << 16 };
	if (g->sack)
		o[n++] = (struct option){ OPT_SACK, 0 };
	if (g->stamps)
		o[n++] = (struct option){ OPT_STAMP, 0 };
	if (set(fd, TCP_REPAIR_OPTIONS, o, n * (socklen_t)sizeof *o) || (g->stamps && set(fd, TCP_TIMESTAMP, &g->timestamp, sizeof g->timestamp)))
		return err_sys(e, "cannot set what a TCP connection has agreed on");
	return 0;
}

static int put(int fd, int queue, const char *p, uint64_t n, struct err *e)
{
	if (n && set_int(fd, TCP_REPAIR_QUEUE, queue))
		return err_sys(e, "cannot restore a TCP queue");
	while (n) {
		ssize_t k = send(fd, p, n < CHUNK ? n : CHUNK, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (k <= 0) {
			err_sys(e, "the %llu bytes that waited in a TCP connection find no room here", (unsigned long long)n);
			return -1;
		}
		p += k;
		n -= (uint64_t)k;
	}
	return 0;
}

static int windows(int fd, const struct tcp_repair *g, struct err *e)
{
	struct window w = { g->snd_wl1, g->snd_wnd, g->max_window, g->rcv_wnd, g->rcv_wup };

	return set(fd, TCP_REPAIR_WINDOW, &w, sizeof w) ? err_sys(e, "cannot restore the windows of a TCP connection") : 0;
}

/* Room as a right: SO_RCVBUFFORCE. The kernel doubles it; tcp_finish lets go of it again. */
static void room(int fd, uint64_t n)
{
	int want = n < INT_MAX / 4 ? (int)n : INT_MAX / 4;

	if (sockopt_int(fd, SO_RCVBUF) / 2 < want)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &want, sizeof want);
}

static int content(struct restore *r, const struct tsock *u, int fd, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;

	if (!u->content && !u->sent)
		return 0;
	if (tcp_content(r, u, &b, e))
		return -1;
	room(fd, 2 * u->content + SPARE);
	sockopt_room(fd, 2 * u->sent + SPARE);
	return put(fd, QUEUE_RECV, b.p, u->content, e) || put(fd, QUEUE_SEND, b.p + u->content, u->sent - u->repair->unsent, e) ? -1 : 0;
}

static int failed(const struct tsock *u, struct err *e)
{
	char own[INET_TEXT], peer[INET_TEXT];
	int was = errno;

	inet_text(&u->own, own);
	inet_text(&u->peer, peer);
	if (was == EADDRINUSE || (was == EADDRNOTAVAIL && inet_local(&u->own)))
		err_set(e, EX_BUSY, "the TCP connection %s -> %s is in use", own, peer);
	else if (was == EADDRNOTAVAIL || was == ENODEV)
		err_set(e, EX_MISFIT, "this node has no address %s", own);
	else if (was == ENETUNREACH || was == EHOSTUNREACH)
		err_set(e, EX_MISFIT, "no route leads from %s to %s", own, peer);
	else
		err_sys(e, "cannot restore the TCP connection %s -> %s", own, peer);
	if (!u->far)
		err_hint(e, "--tcp-close restores it as one that was reset");
	return -1;
}

static int make(struct restore *r, struct tsock *u, int fd, struct err *e)
{
	const struct tcp_repair *g = u->repair;
	uint32_t end = g->snd_seq - (u->shutdown & TCP_SHUT_SEND ? 1 : 0);

	if (set_int(fd, TCP_REPAIR, 1)) {
		err_sys(e, "a TCP connection to outside the job needs CAP_NET_ADMIN");
		err_hint(e, "--tcp-close restores it as one that was reset");
		return -1;
	}
	if (sockopt_set(&u->f->rec, fd, SOCKOPT_EARLY, e))
		return -1;
	if (sequence(fd, QUEUE_SEND, end - (uint32_t)u->sent) || sequence(fd, QUEUE_RECV, g->rcv_seq - (uint32_t)u->content) ||
	    bind(fd, &u->own.sa, inet_size(&u->own)) || connect(fd, &u->peer.sa, inet_size(&u->peer)))
		return failed(u, e);
	return negotiated(fd, g, e) || content(r, u, fd, e) || windows(fd, g, e) ? -1 : 0;
}

int tcp_outside_open(struct restore *r, struct tsock *u, int *fd, struct err *e)
{
	*fd = sock_make(u->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*fd < 0)
		return err_sys(e, "cannot make a TCP socket");
	if (!make(r, u, *fd, e))
		return 0;
	close(*fd);
	*fd = -1;
	return -1;
}

static int finish_one(struct restore *r, const struct tsock *u, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	uint32_t unsent = u->repair->unsent;
	int fd = u->f->fd;

	if (unsent && tcp_content(r, u, &b, e))
		return -1;
	/* Nobody is there to answer a probe but by a reset. */
	if (set_int(fd, TCP_REPAIR, u->ended ? REPAIR_OFF_NO_WP : 0))
		return err_sys(e, "cannot leave repair mode");
	if (unsent && send(fd, b.p + b.len - unsent, unsent, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)unsent)
		return err_sys(e, "what was not sent yet finds no room");
	if (((u->shutdown & TCP_SHUT_SEND) && shutdown(fd, SHUT_WR)) || ((u->shutdown & TCP_SHUT_RCV) && shutdown(fd, SHUT_RD))) {
		/* ENOTCONN: its other end was quicker, and it shows. */
		if (errno != ENOTCONN)
			return err_sys(e, "cannot shut down a socket");
	}
	/* Leaving repair mode has set some of them. */
	return tcp_options(u, e);
}

int tcp_finish(struct restore *r, struct err *e)
{
	const char *lock = NULL;
	int rc;

	for (size_t i = 0; !lock && i < r->nfiles; i++) {
		struct tsock *u = tcp_of(r, (uint32_t)i + 1);

		/* All have the same one. */
		lock = u && u->outside ? rec_find(&u->f->rec, "LOCK") : NULL;
	}
	if (lock && netlock_possible() && tcp_unlock_prepare(r, lock, e))
		return -1;
	for (size_t i = 0; i < r->nfiles; i++) {
		struct tsock *u = tcp_of(r, (uint32_t)i + 1);

		if (!u || !u->repair)
			continue;
		rc = ns_net_enter(r, u->f, e) || finish_one(r, u, e) ? -1 : 0;
		ns_net_home(r);
		if (rc)
			return err_prefix(e, "file %u", u->f->id);
	}
	return 0;
}
