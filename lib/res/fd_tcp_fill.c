/* fd_tcp_fill: what waited in TCP sockets is sent again by their other ends, which are all the job's or ours. Then ends are shut down, and
 * options set, which would have hindered the sending. */
#include "res/fd_tcp.h"
#include "res/fd_ops.h"
#include "common/cleanup.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif
enum { SETTLE_TRIES = 2000, SPARE = 64 << 10 };

static void moment(void)
{
	static const struct timespec ms = { .tv_nsec = 1000000 };

	nanosleep(&ms, NULL);
}

static int waiting(int fd, int request)
{
	int n = 0;

	return ioctl(fd, (unsigned long)request, &n) ? 0 : n;
}

int tcp_content(struct restore *r, const struct tsock *u, struct buf *b, struct err *e)
{
	uint64_t want = u->content + u->sent;
	const struct image_member *m;
	char name[32], *to;

	snprintf(name, sizeof name, "tcp_%u", u->f->id);
	m = image_find(r->img, name);
	if (!m || m->text || m->size != want)
		return err_set(e, EX_BAD_IMAGE, "the image has no fitting member %s", name);
	to = buf_reserve(b, want);
	if (!to)
		return err_set(e, EX_FAILED, "out of memory");
	for (uint64_t done = 0; done < want;) {
		ssize_t n = pread(image_fd(r->img), to + done, want - done, (off_t)(m->offset + done));
		if (n <= 0)
			return err_sys(e, "cannot read %s", name);
		done += (uint64_t)n;
	}
	buf_commit(b, want);
	return 0;
}

/* More room to receive, if we may. The kernel doubles what it is told. */
static void receive_room(int fd, uint64_t n)
{
	int want = n < INT_MAX / 4 ? (int)n : INT_MAX / 4;

	if (sockopt_int(fd, SO_RCVBUF) / 2 >= want)
		return;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &want, sizeof want))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &want, sizeof want);
}

static int send_all(int fd, const char *p, size_t n, struct err *e)
{
	int tries = 0;

	while (n) {
		ssize_t k = send(fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (k < 0 && errno == EAGAIN && tries++ < SETTLE_TRIES) {
			moment();
			continue;
		}
		if (k < 0 && errno == EAGAIN) {
			err_set(e, EX_MISFIT, "the %zu bytes that waited in a TCP connection find no room here", n);
			err_hint(e, "net.core.wmem_max and net.core.rmem_max limit it");
			return -1;
		}
		if (k < 0)
			return err_sys(e, "cannot put back what waited in a TCP socket");
		p += k;
		n -= (size_t)k;
	}
	return 0;
}

/* u receives `in`, what waited in it, and then what `from` had still to send. */
static int fill(struct restore *r, const struct tsock *u, int from, const struct tsock *sender, struct err *e)
{
	AUTO_BUF struct buf mine = BUF_INIT, theirs = BUF_INIT;
	uint64_t unsent = sender ? sender->sent : 0;

	if (!u->content && !unsent)
		return 0;
	if ((u->content + u->sent && tcp_content(r, u, &mine, e)) || (unsent && tcp_content(r, sender, &theirs, e)))
		return -1;
	/* Small pieces need more room than they have bytes; what was unsent waits at its sender again. */
	receive_room(u->f->fd, 2 * u->content + SPARE);
	sockopt_room(from, 2 * unsent + SPARE);
	if (send_all(from, mine.p, u->content, e))
		return -1;
	for (int i = 0; (uint64_t)waiting(u->f->fd, SIOCINQ) < u->content && i < SETTLE_TRIES; i++)
		moment();
	return send_all(from, unsent ? theirs.p + sender->content : NULL, unsent, e);
}

static bool readable_end(int fd)
{
	struct pollfd one = { .fd = fd, .events = POLLRDHUP };

	return poll(&one, 1, 0) == 1 && (one.revents & POLLRDHUP);
}

/* The end that the other side sent has arrived, unless data is before it that finds no room. */
static void await_end(const struct tsock *u, int from)
{
	for (int i = 0; !readable_end(u->f->fd) && !waiting(from, SIOCOUTQNSD) && i < SETTLE_TRIES; i++)
		moment();
}

static int end_orphan(const struct tsock *u, struct err *e)
{
	static const struct linger at_once = { 1, 0 };

	bool reset = u->reset || u->outside;

	if (reset && setsockopt(u->tmp, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once))
		return err_sys(e, "cannot set a socket option");
	if (u->closed && !reset && shutdown(u->f->fd, SHUT_WR) && errno != ENOTCONN)
		return err_sys(e, "cannot shut down a socket");
	close(u->tmp);
	for (int i = 0; !readable_end(u->f->fd) && i < SETTLE_TRIES; i++)
		moment();
	/* Nothing of it may wait for anybody: both directions have ended. */
	for (int i = 0; (u->closed || reset) && tcp_state(u->f->fd) != TCPS_CLOSE && i < SETTLE_TRIES; i++)
		moment();
	return 0;
}

static int shut(const struct tsock *u, int which, struct err *e)
{
	/* ENOTCONN: both directions have ended already. */
	if (shutdown(u->f->fd, which) && errno != ENOTCONN)
		return err_sys(e, "cannot shut down a socket");
	return 0;
}

static int each_fill(struct restore *r, struct tsock *u, struct err *e)
{
	struct tsock *other = u->with ? tcp_of(r, u->with) : NULL;

	if (other)
		return fill(r, u, other->f->fd, other, e);
	return u->tmp >= 0 ? fill(r, u, u->tmp, NULL, e) : 0;
}

static int each_end(struct restore *r, struct tsock *u, struct err *e)
{
	struct tsock *other = u->with ? tcp_of(r, u->with) : NULL;

	if (other && (u->shutdown & TCP_SHUT_SEND)) {
		if (shut(u, SHUT_WR, e))
			return -1;
		await_end(other, u->f->fd);
	}
	if (u->tmp < 0)
		return 0;
	int rc = end_orphan(u, e);
	u->tmp = -1;
	if (!rc && u->orphan && (u->shutdown & TCP_SHUT_SEND))
		rc = shut(u, SHUT_WR, e);
	return rc;
}

/* What no arrived end explains was shut by the program itself. */
static int each_receive(struct restore *r, struct tsock *u, struct err *e)
{
	const struct tsock *other = u->with ? tcp_of(r, u->with) : NULL;

	return other && (u->shutdown & TCP_SHUT_RCV) && !(other->shutdown & TCP_SHUT_SEND) ? shut(u, SHUT_RD, e) : 0;
}

/* What made room for the content goes again. The kernel doubles what it is told. */
static int buffer(const struct tsock *u, const char *key, int nr, int force, struct err *e)
{
	uint64_t was;
	int half;

	if (rec_u64_or(&u->f->rec, key, INT_MAX, 0, &was, e))
		return -1;
	if (!was || sockopt_int(u->f->fd, nr) <= (int)was)
		return 0;
	half = (int)was / 2;
	if (setsockopt(u->f->fd, SOL_SOCKET, force, &half, sizeof half))
		setsockopt(u->f->fd, SOL_SOCKET, nr, &half, sizeof half);
	return 0;
}

int tcp_options(const struct tsock *u, struct err *e)
{
	int fd = u->f->fd, locks = 0;
	uint64_t uid, gid, mode;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 0 }, sizeof(int));
	if (buffer(u, "SNDBUF", SO_SNDBUF, SO_SNDBUFFORCE, e) || buffer(u, "RCVBUF", SO_RCVBUF, SO_RCVBUFFORCE, e))
		return -1;
	/* Sizes that nobody had set are the kernel's own affair again. */
	setsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &locks, sizeof locks);
	if (sockopt_set(&u->f->rec, fd, 0, e) || fd_set_flags(fd, &u->f->rec, e))
		return -1;
	if (rec_u64(&u->f->rec, "UID", UINT32_MAX, &uid, e) || rec_u64(&u->f->rec, "GID", UINT32_MAX, &gid, e) ||
	    rec_u64(&u->f->rec, "MODE", 07777, &mode, e))
		return -1;
	if (fchown(fd, (uid_t)uid, (gid_t)gid)) {
		/* only fstat(2) shows it */
	}
	return fchmod(fd, (mode_t)mode) ? err_sys(e, "cannot set the mode of a socket") : 0;
}

static int each_options(struct restore *r, struct tsock *u, struct err *e)
{
	(void)r;
	/* In repair mode its address is shared by force; see tcp_finish. */
	return u->repair ? 0 : tcp_options(u, e);
}

int tcp_fill_all(struct restore *r, struct err *e)
{
	static int (*const steps[])(struct restore *r, struct tsock *u, struct err *e) = {
		each_fill, each_end, each_receive, each_options,
	};

	for (size_t s = 0; s < sizeof steps / sizeof steps[0]; s++)
		for (size_t i = 0; i < r->nfiles; i++) {
			struct tsock *u = tcp_of(r, (uint32_t)i + 1);

			if (u && steps[s](r, u, e))
				return err_prefix(e, "file %u", u->f->id);
		}
	return 0;
}
