/* tcp_lock: packets of connections to outside are held from before they are read until they are restored (job/netlock.h).
 *
 * Left so while the job goes on it would be harmed. So a process of its own, the guard, puts the lock up and stays: it takes no signal,
 * has a session of its own, and knows by a pipe when we are done, or dead. Then, if the job was ended and its record says so, it leaves
 * the lock, and turns repair mode on in all the connections, which end in silence when nobody has them open any more; otherwise
 * it takes the lock away and all is as before. */
#include "res/fd_tcp.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "job/netlock.h"

#include <fcntl.h>
#include <linux/tcp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { UP = 'u', FAILED = 'f', KEEP = 'k' };

/* Both processes have it. */
struct shared { struct err e; };

static void conn_of(const struct dfile *f, struct netlock_conn *c)
{
	union inet_addr own, peer;
	struct inet_end x, y;

	*c = (struct netlock_conn){ 0 };
	if (!inet_own(f->lfd, &own) || !inet_peer(f->lfd, &peer))
		return;
	inet_end_of(&own, &x);
	inet_end_of(&peer, &y);
	c->own_port = x.port;
	c->peer_port = y.port;
	/* Mapped ones are packets of IPv4. */
	c->v6 = own.sa.sa_family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&own.in6.sin6_addr);
	memcpy(c->own, x.a + (c->v6 ? 0 : 12), c->v6 ? 16 : 4);
	memcpy(c->peer, y.a + (c->v6 ? 0 : 12), c->v6 ? 16 : 4);
}

/* A connection in repair mode ends without a packet. */
static void silence(struct dfile *const *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		setsockopt(v[i]->lfd, IPPROTO_TCP, TCP_REPAIR, &(int){ 1 }, sizeof(int));
}

static void guard(struct dump *d, struct dfile *const *v, size_t n, const struct netlock_conn *c, int from, int to, struct shared *s)
{
	sigset_t all;
	char word = UP;
	ssize_t got;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	setsid();
	if (netlock_up(d->tcp->lock, c, n, &s->e)) {
		word = FAILED;
		(void)!write(to, &word, 1);
		_exit(1);
	}
	(void)!write(to, &word, 1);
	close(to);
	while ((got = read(from, &word, 1)) < 0 && errno == EINTR)
		;
	if (got == 1 && word == KEEP) {
		silence(v, n);
	} else if (d->ended && d->ended(d->ctx)) {
		/* We were killed before the job was. */
		for (size_t i = 0; i < d->nprocs; i++)
			if (d->procs[i]->t)
				syscall(SYS_pidfd_send_signal, d->procs[i]->t->pidfd, SIGKILL, NULL, 0);
		silence(v, n);
	} else {
		netlock_down(d->tcp->lock, NULL);
	}
	_exit(0);
}

/* Waits for its word. */
static int started(struct tcp_world *w, int from, const struct shared *s, struct err *e)
{
	char word = FAILED;
	ssize_t n;

	while ((n = read(from, &word, 1)) < 0 && errno == EINTR)
		;
	if (n == 1 && word == UP)
		return 0;
	waitpid(w->guard, NULL, 0);
	close(w->guard_pipe);
	w->guard = 0;
	if (!err_is_set(&s->e))
		return err_set(e, EX_FAILED, "the packets of TCP connections cannot be held");
	if (e)
		*e = s->e;
	return err_prefix(e, "the packets of TCP connections cannot be held");
}

static int start(struct dump *d, struct dfile *const *v, size_t n, const struct netlock_conn *c, struct shared *s, struct err *e)
{
	struct tcp_world *w = d->tcp;
	int down[2], up[2], rc;

	/* No pipe: writing to a guard that was killed must not end us. */
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, down))
		return err_sys(e, "cannot make a pipe");
	if (pipe2(up, O_CLOEXEC)) {
		close(down[0]);
		close(down[1]);
		return err_sys(e, "cannot make a pipe");
	}
	netlock_name(d->identifier ? d->identifier : "", w->lock);
	w->guard = fork();
	if (!w->guard) {
		close(down[1]);
		close(up[0]);
		guard(d, v, n, c, down[0], up[1], s);
	}
	close(down[0]);
	close(up[1]);
	w->guard_pipe = down[1];
	if (w->guard < 0) {
		close(down[1]);
		w->guard = 0;
		rc = err_sys(e, "cannot make a process");
	} else {
		rc = started(w, up[0], s, e);
	}
	close(up[0]);
	return rc;
}

int tcp_lock_begin(struct dump *d, struct err *e)
{
	struct dfile **v = d->tcp->outside;
	size_t n = d->tcp->noutside;
	AUTO_FREE struct netlock_conn *c = malloc((n + 1) * sizeof *c);
	struct shared *s;
	int rc;

	if (!n)
		return 0;
	s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!c || s == MAP_FAILED)
		return err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; i < n; i++)
		conn_of(v[i], &c[i]);
	rc = start(d, v, n, c, s, e);
	munmap(s, sizeof *s);
	d->tcp->locked = !rc;
	if (!rc)
		fault("tcp-locked");
	return rc;
}

void tcp_lock_end(struct dump *d, bool keep)
{
	struct tcp_world *w = d->tcp;
	char word = KEEP;

	if (!w || !w->guard)
		return;
	if (keep) {
		silence(w->outside, w->noutside);
		send(w->guard_pipe, &word, 1, MSG_NOSIGNAL);
	}
	close(w->guard_pipe);
	while (waitpid(w->guard, NULL, 0) < 0 && errno == EINTR)
		;
	w->guard = 0;
	w->locked = keep;
}
