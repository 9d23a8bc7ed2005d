/* tcp_outside: connections to somebody outside the job, or in another network namespace of it, at the checkpoint: whether they can be saved, and their record.
 *   SND_SEQ= RCV_SEQ= [UNSENT=] MSS= [SND_WSCALE= RCV_WSCALE=] [SACK="1"] [STAMP=] SND_WL1= SND_WND= MAX_WINDOW= RCV_WND= RCV_WUP= [LOCK=table] */
#include "res/fd_tcp.h"
#include "common/cleanup.h"

#include <poll.h>
#include <string.h>

int tcp_outside_check(struct dump *d, struct dfile *f, const char *what, int state, bool far)
{
	struct pollfd one = { .fd = f->lfd };

	if (state == TCPS_SYN_RECV)
		return refuse_for_now(d, f->p, "fd %d: %s: its connection is not complete", f->fd, what);
	if (far && !tcp_repair_allowed(d, f))
		return refuse(d, f->p, "fd %d: %s: its other end is in another network namespace, which needs CAP_NET_ADMIN and a control group", f->fd, what);
	if (far && !tcp_far_reaches(f))
		return refuse(d, f->p, "fd %d: %s: no route leads to its other end, in another network namespace, any more", f->fd, what);
	if (!far && !d->hold && d->tcp->capable)
		return refuse(d, f->p, "fd %d: %s: the other end is outside the job, which needs a control group, or --tcp-close", f->fd, what);
	if (!far && !tcp_repair_allowed(d, f))
		return refuse(d, f->p, "fd %d: %s: the other end is outside the job, which needs CAP_NET_ADMIN, or --tcp-close", f->fd, what);
	if (!far && d->kills && !netlock_possible())
		return refuse(d, f->p, "fd %d: %s: the other end is outside the job: to hold its packets until the restart needs nft "
			      "(nftables), or --tcp-close", f->fd, what);
	if (poll(&one, 1, 0) == 1 && (one.revents & POLLERR))
		return refuse(d, f->p, "fd %d: %s: an error or a time stamp waits in it", f->fd, what);
	return 0;
}

int tcp_outside_add(struct dump *d, struct dfile *f, struct err *e)
{
	struct tcp_world *w = d->tcp;
	struct dfile **v;

	/* Doubling at powers of two spares a capacity. */
	if (!(w->noutside & (w->noutside - 1))) {
		v = realloc(w->outside, (w->noutside ? 2 * w->noutside : 1) * sizeof(struct dfile *));
		if (!v)
			return err_set(e, EX_FAILED, "out of memory");
		w->outside = v;
	}
	w->outside[w->noutside++] = f;
	return 0;
}

void tcp_outside_put(struct dump *d, const struct tcp_repair *g)
{
	struct buf *b = &d->files_out;

	rec_put_u64(b, "SND_SEQ", g->snd_seq);
	rec_put_u64(b, "RCV_SEQ", g->rcv_seq);
	if (g->unsent)
		rec_put_u64(b, "UNSENT", g->unsent);
	rec_put_u64(b, "MSS", g->mss);
	if (g->wscale) {
		rec_put_u64(b, "SND_WSCALE", g->snd_wscale);
		rec_put_u64(b, "RCV_WSCALE", g->rcv_wscale);
	}
	if (g->sack)
		rec_put_u64(b, "SACK", 1);
	if (g->stamps)
		rec_put_u64(b, "STAMP", g->timestamp);
	rec_put_u64(b, "SND_WL1", g->snd_wl1);
	rec_put_u64(b, "SND_WND", g->snd_wnd);
	rec_put_u64(b, "MAX_WINDOW", g->max_window);
	rec_put_u64(b, "RCV_WND", g->rcv_wnd);
	rec_put_u64(b, "RCV_WUP", g->rcv_wup);
}
