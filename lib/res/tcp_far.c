/* tcp_far: connections from one network namespace of the job to another, or to that of the restart, over a link between them. Both ends are the
 * job's; still they are saved as those to outside are (fd_tcp_outside.c), because packets between two namespaces may take any way. Nobody need hold them:
 * they are read again until what one end keeps begins where the other has received to, and both come back together. */
#include "res/fd_tcp.h"
#include "res/ns_obj.h"
#include "common/cleanup.h"

static bool in_job(struct dump *d, const struct dfile *f, uint32_t ino, struct dfile **out)
{
	struct stat st = { .st_dev = f->st.st_dev, .st_ino = ino };

	*out = files_find_inode(d, &st);
	return *out;
}

/* The end that has closed may have gone without a trace: its address is left. */
static bool was_there(struct dump *d, const struct dfile *f)
{
	union inet_addr peer;

	if (!f->net || !inet_peer(f->lfd, &peer))
		return false;
	for (size_t i = 1; i < d->tcp->ntables; i++)
		if (d->tcp->tables[i].net != f->net && ns_net_local(d, d->tcp->tables[i].net, &peer))
			return true;
	return false;
}

enum tcp_far tcp_far_find(struct dump *d, const struct dfile *f, const struct inet_entry *x, struct dfile **other)
{
	enum tcp_far found = TCP_NOT_FAR;
	struct dfile *o;

	*other = NULL;
	for (size_t i = 0; i < d->tcp->ntables; i++) {
		const struct tcp_table *t = &d->tcp->tables[i];
		const struct inet_entry *px = t->net == f->net ? NULL : inet_diag_between(&t->diag, &x->dst, &x->src);

		if (!px || (px->ino && !in_job(d, f, px->ino, &o)))
			continue;
		/* Two namespaces with the same addresses. */
		if (found != TCP_NOT_FAR)
			return TCP_FAR_MANY;
		found = px->ino ? TCP_FAR : px->state == TCPS_ESTABLISHED || px->state == TCPS_SYN_RECV ? TCP_FAR_WAITS : TCP_FAR_CLOSED;
		if (px->ino)
			*other = o;
	}
	return found == TCP_NOT_FAR && was_there(d, f) ? TCP_FAR_GONE : found;
}

bool tcp_far_reaches(const struct dfile *f)
{
	union inet_addr own, peer;
	AUTO_FD int fd = -1;

	if (!inet_own(f->lfd, &own) || !inet_peer(f->lfd, &peer))
		return false;
	fd = sock_make(own.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	inet_set_port(&own, 0);
	return fd >= 0 && !bind(fd, &own.sa, inet_size(&own)) && !connect(fd, &peer.sa, inet_size(&peer));
}

bool tcp_far_moved(const struct tcp_repair *from, bool ended, const struct tcp_repair *to)
{
	uint32_t kept = from->snd_seq - ended - (uint32_t)from->out.len;

	return (int32_t)(to->rcv_seq - kept) < 0;
}
