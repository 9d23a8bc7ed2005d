/* tcp_flow: what is on its way between two ends of a connection. */
#include "res/fd_tcp.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <sys/ioctl.h>

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif
enum { LOCK_RCVBUF = 2 };

/* What was sent and has arrived is acknowledged now, not in a moment: then SIOCOUTQ tells what has not. */
void tcp_acknowledge(int fd)
{
	setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &(int){ 1 }, sizeof(int));
}

/* Bytes of its program that f's other end has not received. */
int tcp_unsent(const struct dfile *f, int state)
{
	int n = 0;

	if (ioctl(f->lfd, SIOCOUTQ, &n))
		return -1;
	/* A FIN that is not acknowledged counts as one. */
	if (n && (state == TCPS_FIN_WAIT1 || state == TCPS_CLOSING || state == TCPS_LAST_ACK))
		n--;
	return n;
}

int tcp_waiting(const struct dfile *f)
{
	int n = 0;

	return ioctl(f->lfd, SIOCINQ, &n) ? 0 : n;
}

/* More room at a receiver that has set no size itself, so that what its sender still holds gets to where we can see it. */
void tcp_widen(const struct dfile *f, int more)
{
	int locks = sockopt_int(f->lfd, SO_BUF_LOCK), now = sockopt_int(f->lfd, SO_RCVBUF), want;

	if (locks < 0 || (locks & LOCK_RCVBUF) || now < 0 || more > INT_MAX / 4)
		return;
	/* The kernel doubles it, up to net.core.rmem_max. */
	want = now / 2 + 2 * more;
	setsockopt(f->lfd, SOL_SOCKET, SO_RCVBUF, &want, sizeof want);
	setsockopt(f->lfd, SOL_SOCKET, SO_BUF_LOCK, &locks, sizeof locks);
	if (sockopt_int(f->lfd, SO_RCVBUF) < now)
		setsockopt(f->lfd, SOL_SOCKET, SO_RCVBUF, &(int){ now / 2 }, sizeof now);
}
