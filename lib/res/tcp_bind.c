/* tcp_bind: TCP sockets of a restart get the addresses that they had, also where the port of one that connects has come into other hands
 * meanwhile. connect(2) gives one port to many connections, to different ends; bind(2) refuses a port that has any. So where bind(2) fails:
 *
 *   connect(2) takes the port by itself, as it did for the job: IP_LOCAL_PORT_RANGE (ip(7), Linux 6.3) leaves it that one only. It does so
 *   where no holder of the port has bound it; only the two ends together must be free. No privilege is needed.
 *   A socket in repair mode shares its port with any other (TCP_REPAIR, CAP_NET_ADMIN); we do so with connections only. One that listens
 *   for the moment must stay in repair mode, and what it accepts leaves it.
 *
 * A port that somebody listens at, or has bound for later use, is his. */
#include "res/fd_tcp.h"
#include "res/sock_diag.h"
#include "common/cleanup.h"
#include "common/log.h"

#include <fcntl.h>
#include <linux/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif
#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51
#endif
enum { CONNECT_SECONDS = 5, TIME_WAIT_SECONDS = 65, UNSEEN_SECONDS = 2, TUPLE_TRIES = 12, REPAIR_OFF_NO_WP = -1 };
static const struct timespec moment = { .tv_nsec = 250000000 };

int tcp_address_error(const union inet_addr *a, struct err *e)
{
	char t[INET_TEXT];

	if (errno == EADDRINUSE)
		return err_set(e, EX_BUSY, "the TCP address %s is in use", inet_text(a, t));
	if (errno == EADDRNOTAVAIL || errno == ENODEV)
		return err_set(e, EX_MISFIT, "this node has no address %s", inet_text(a, t));
	return err_sys(e, "cannot bind a socket to %s", inet_text(a, t));
}

/* ---- who has the port ---- */

static bool is_ino(int fd, uint32_t ino)
{
	struct stat st;

	return fd >= 0 && !fstat(fd, &st) && (uint32_t)st.st_ino == ino;
}

static bool ours(const struct tcp_maker *m, uint32_t ino)
{
	for (size_t i = 0; i < m->ntemps; i++)
		if (is_ino(m->temps[i].fd, ino))
			return true;
	for (size_t i = 0; i < m->r->nfiles; i++)
		if (tcp_of(m->r, (uint32_t)i + 1) && is_ino(m->r->files[i].fd, ino))
			return true;
	return false;
}

static bool any_end(const struct inet_end *x)
{
	static const struct inet_end none, four = { .a[10] = 0xff, .a[11] = 0xff };

	return !memcmp(x->a, none.a, sizeof x->a) || !memcmp(x->a, four.a, sizeof x->a);
}

static bool overlap(const struct inet_end *x, const struct inet_end *y)
{
	return x->port == y->port && (any_end(x) || any_end(y) || !memcmp(x->a, y->a, sizeof x->a));
}

/* Who holds the port that bind(2) has just refused? */
enum holder {
	NOBODY,      /* seen: it has gone since, or is bound only, which sock_diag(7) lists since Linux 6.8 */
	LAST_MINUTE, /* only connections that are over: those between two ends of this host are ended, if we may */
	CONNECTED,   /* connections of others */
	SOMEBODY,
};

static enum holder holder_of(const struct tcp_maker *m, const union inet_addr *a)
{
	struct inet_diag t = { 0 };
	enum holder most = NOBODY, h;
	struct inet_end end;

	inet_end_of(a, &end);
	if (inet_diag_tcp(&t, NULL))
		return NOBODY;
	for (size_t i = 0; i < t.n && most != SOMEBODY; i++) {
		const struct inet_entry *x = &t.v[i];

		if (!overlap(&x->src, &end))
			continue;
		h = NOBODY;
		if (x->state == TCPS_TIME_WAIT || (!x->ino && x->state != TCPS_SYN_RECV)) {
			h = LAST_MINUTE;
			inet_diag_end_wait(x);
		} else if (!ours(m, x->ino)) {
			h = x->dst.port ? CONNECTED : SOMEBODY;
		}
		most = h > most ? h : most;
	}
	inet_diag_free(&t);
	return most;
}

/* After a bind(2) that found `a` in use. True: it is worth trying again, after a moment that has passed now. */
static bool wait_for(enum holder h, int tries)
{
	if (h >= CONNECTED || tries >= 4 * (h == NOBODY ? UNSEEN_SECONDS : TIME_WAIT_SECONDS))
		return false;
	/* The kernel ends its last minute at once for those who may. */
	if (tries == 2)
		log_info("a connection of the last minute still holds a TCP port: waiting");
	if (tries)
		nanosleep(&moment, NULL);
	return true;
}

/* ---- binding ---- */

static int reuse(int fd) { return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)); }

static int repair(int fd, int on) { return setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof on); }

void tcp_repair_leave(int fd)
{
	/* It clears the option. */
	if (!repair(fd, REPAIR_OFF_NO_WP))
		reuse(fd);
}

/* Whoever has the port; fd is in repair mode then. */
static bool bind_by_force(int fd, const union inet_addr *a)
{
	if (repair(fd, 1))
		return false;
	if (!bind(fd, &a->sa, inet_size(a)))
		return true;
	tcp_repair_leave(fd);
	return false;
}

int tcp_bind(const struct tcp_maker *m, int fd, const union inet_addr *a, struct err *e)
{
	for (int tries = 0; bind(fd, &a->sa, inet_size(a)); tries++) {
		int saved = errno;

		if (saved != EADDRINUSE || !wait_for(holder_of(m, a), tries)) {
			errno = saved;
			return tcp_address_error(a, e);
		}
	}
	return 0;
}

int tcp_listen(const struct tcp_maker *m, int fd, const union inet_addr *a, int backlog, bool *repaired, struct err *e)
{
	*repaired = false;
	for (int tries = 0; bind(fd, &a->sa, inet_size(a)); tries++) {
		int saved = errno;
		enum holder h = saved == EADDRINUSE ? holder_of(m, a) : SOMEBODY;

		if ((h == CONNECTED || h == LAST_MINUTE) && bind_by_force(fd, a)) {
			*repaired = true;
			break;
		}
		if (saved != EADDRINUSE || !wait_for(h, tries)) {
			errno = saved;
			return tcp_address_error(a, e);
		}
	}
	if (listen(fd, backlog))
		return errno == EADDRINUSE ? tcp_address_error(a, e) : err_sys(e, "cannot listen");
	return 0;
}

/* ---- connecting ---- */

/* What connect(2) says when it does not wait: that it is under way, or what the program will hear when it asks. */
static bool under_way(void)
{
	return errno == EINPROGRESS || errno == ECONNREFUSED || errno == ENETUNREACH || errno == EHOSTUNREACH;
}

static int connect_once(int fd, const union inet_addr *to, bool wait)
{
	static const struct timeval patience = { CONNECT_SECONDS, 0 }, none;
	int rc, saved;

	if (!wait)
		return connect(fd, &to->sa, inet_size(to)) && !under_way() ? -1 : 0;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience))
		return -1;
	rc = connect(fd, &to->sa, inet_size(to));
	saved = errno;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof none);
	errno = saved;
	return rc;
}

int tcp_connect_bound(int fd, const union inet_addr *own, const union inet_addr *to, bool wait, struct err *e)
{
	char from[INET_TEXT], t[INET_TEXT];
	int rc = -1;

	/* One between the same ends that is in TIME-WAIT gives way after a second. */
	for (int tries = 0; tries < TUPLE_TRIES && (rc = connect_once(fd, to, wait)) && errno == EADDRNOTAVAIL; tries++)
		nanosleep(&moment, NULL);
	if (!rc)
		return 0;
	if (errno == EADDRNOTAVAIL || errno == EADDRINUSE)
		return err_set(e, EX_BUSY, "the TCP connection %s -> %s is in use", inet_text(own, from), inet_text(to, t));
	return err_sys(e, "cannot connect to %s", inet_text(to, t));
}

/* Only to those does IP_LOCAL_PORT_RANGE apply; for others connect(2) takes any. */
static bool ephemeral(uint16_t port)
{
	AUTO_BUF struct buf b = BUF_INIT;
	unsigned lo, hi;

	return !sock_proc("/proc/sys/net/ipv4/ip_local_port_range", &b, 64) && sscanf(buf_str(&b), "%u %u", &lo, &hi) == 2 &&
	       port >= lo && port <= hi;
}

/* connect(2) takes the port. 1: it does not, and fd is as before. */
static int connect_by_range(int fd, const union inet_addr *own, const union inet_addr *to, bool wait)
{
	uint16_t port = inet_port(own);
	uint32_t range = (uint32_t)port << 16 | port;
	union inet_addr a = *own, got;
	int rc = 1;

	inet_set_port(&a, 0);
	if (!ephemeral(port) || setsockopt(fd, SOL_IP, IP_LOCAL_PORT_RANGE, &range, sizeof range))
		return 1;
	if (!setsockopt(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &(int){ 1 }, sizeof(int)) && !bind(fd, &a.sa, inet_size(&a)))
		rc = !connect_once(fd, to, wait) ? 0 : errno == EADDRNOTAVAIL ? 1 : -1;
	if (!rc && !(inet_own(fd, &got) && inet_port(&got) == port)) {
		errno = EADDRINUSE;
		rc = -1;
	}
	int saved = errno;
	/* As those of a new socket again. */
	setsockopt(fd, SOL_IP, IP_LOCAL_PORT_RANGE, &(uint32_t){ 0 }, sizeof range);
	setsockopt(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &(int){ 0 }, sizeof(int));
	errno = saved;
	return rc;
}

int tcp_connect(const struct tcp_maker *m, int fd, const union inet_addr *own, const union inet_addr *to, bool wait, struct err *e)
{
	char t[INET_TEXT];

	for (int tries = 0; bind(fd, &own->sa, inet_size(own)); tries++) {
		enum holder h;
		int rc;

		if (errno != EADDRINUSE)
			return tcp_address_error(own, e);
		rc = connect_by_range(fd, own, to, wait);
		if (rc <= 0)
			return rc ? err_sys(e, "cannot connect to %s", inet_text(to, t)) : 0;
		h = holder_of(m, own);
		if ((h == CONNECTED || h == LAST_MINUTE) && bind_by_force(fd, own)) {
			tcp_repair_leave(fd);
			break;
		}
		if (!wait_for(h, tries)) {
			errno = EADDRINUSE;
			return tcp_address_error(own, e);
		}
	}
	return tcp_connect_bound(fd, own, to, wait, e);
}
