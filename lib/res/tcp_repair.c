/* tcp_repair: what only TCP_REPAIR shows of a connection: what it has sent without acknowledgement or has still to send, sequence numbers, windows.
 *
 * A socket in repair mode belongs to the job: left so it could neither send nor receive any more. So a process of its own does all of it,
 * in microseconds for each socket: it takes no signal, has a session of its own, and does not end with us. The job must not run
 * meanwhile, also when its tracer dies: its group is marked as frozen until the last socket is back. Should somebody kill exactly that
 * process, we put its sockets and the group back.
 *
 * The kernel asks for CAP_NET_ADMIN over the network namespace of the socket: who has it not enters the user namespace that owns that. */
#include "res/fd_tcp.h"
#include "res/ns_obj.h"
#include "common/cleanup.h"
#include "common/log.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REPAIR_OFF_NO_WP = -1, QUEUE_RECV = 1, QUEUE_SEND = 2, READ_TRIES = 1000 };
#ifndef TCP_REPAIR_WINDOW
#define TCP_REPAIR_WINDOW 29
#endif
struct window { uint32_t snd_wl1, snd_wnd, max_window, rcv_wnd, rcv_wup; };

/* In memory that both processes share. */
struct slot {
	struct tcp_repair got;                  /* without the buffers */
	size_t out_max, in_max, out_len, in_len, at; /* at: where its bytes lie */
};

static int set_int(int fd, int opt, int v)
{
	return setsockopt(fd, IPPROTO_TCP, opt, &v, sizeof v);
}

bool tcp_repair_capable(void)
{
	AUTO_FD int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd >= 0 && !set_int(fd, TCP_REPAIR, 1);
}

/* Its user namespace, where we have no right over all of them; -1: ours. */
static int user_of(const struct dump *d, const struct dfile *f)
{
	struct ns_place at = NS_HERE;

	if (f->net && !d->tcp->capable)
		ns_place_of(d, f->net, &at);
	return at.fd[NSK_USER];
}

bool tcp_repair_allowed(const struct dump *d, const struct dfile *f) { return d->hold && (d->tcp->capable || user_of(d, f) >= 0); }

struct tcp_repair tcp_repair_of(const struct dump *d, const struct dfile *f, bool whole)
{
	return (struct tcp_repair){ .fd = f->lfd, .user = user_of(d, f), .whole = whole };
}

static int queue_read(int fd, int queue, uint32_t *seq, char *to, size_t max, size_t *len)
{
	socklen_t n = sizeof *seq;
	ssize_t got = 0;

	if (set_int(fd, TCP_REPAIR_QUEUE, queue) || getsockopt(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, seq, &n))
		return -1;
	if (max)
		got = recv(fd, to, max, MSG_PEEK | MSG_DONTWAIT);
	if (got < 0 && errno != EAGAIN)
		return -1;
	*len = got > 0 ? (size_t)got : 0;
	return 0;
}

static int rest_read(struct tcp_repair *g, int fd)
{
	struct tcp_info t;
	struct window w;
	socklen_t n = sizeof t;

	memset(&t, 0, sizeof t);
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &t, &n))
		return -1;
	g->wscale = t.tcpi_options & TCPI_OPT_WSCALE ? 1 : 0;
	g->sack = t.tcpi_options & TCPI_OPT_SACK ? 1 : 0;
	g->stamps = t.tcpi_options & TCPI_OPT_TIMESTAMPS ? 1 : 0;
	g->snd_wscale = t.tcpi_snd_wscale;
	g->rcv_wscale = t.tcpi_rcv_wscale;
	n = sizeof g->mss;
	if (getsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &g->mss, &n))
		return -1;
	n = sizeof g->timestamp;
	if (g->stamps && getsockopt(fd, IPPROTO_TCP, TCP_TIMESTAMP, &g->timestamp, &n))
		return -1;
	n = sizeof w;
	if (getsockopt(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &w, &n))
		return -1;
	g->snd_wl1 = w.snd_wl1;
	g->snd_wnd = w.snd_wnd;
	g->max_window = w.max_window;
	g->rcv_wnd = w.rcv_wnd;
	g->rcv_wup = w.rcv_wup;
	return 0;
}

/* What moves while packets flow: the job stands, its peers do not. */
struct state { uint32_t rcv_seq; int in, out, unsent; };

static int state_of(int fd, struct state *s)
{
	socklen_t n = sizeof s->rcv_seq;

	memset(s, 0, sizeof *s);
	return set_int(fd, TCP_REPAIR_QUEUE, QUEUE_RECV) || getsockopt(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, &s->rcv_seq, &n) ||
	       ioctl(fd, SIOCINQ, &s->in) || ioctl(fd, SIOCOUTQ, &s->out) || ioctl(fd, SIOCOUTQNSD, &s->unsent) ? -1 : 0;
}

static int read_whole(struct slot *s, char *bytes)
{
	struct state before, after;
	int fd = s->got.fd;

	for (int tries = 0; tries < READ_TRIES; tries++) {
		if (state_of(fd, &before) || queue_read(fd, QUEUE_SEND, &s->got.snd_seq, bytes + s->at, s->out_max, &s->out_len) ||
		    queue_read(fd, QUEUE_RECV, &s->got.rcv_seq, bytes + s->at + s->out_max, s->in_max, &s->in_len) ||
		    rest_read(&s->got, fd) || state_of(fd, &after))
			return -1;
		s->got.unsent = (uint32_t)after.unsent;
		if (!memcmp(&before, &after, sizeof before) && s->in_len == (size_t)after.in)
			return 0;
	}
	errno = EAGAIN;
	return -1;
}

/* Nothing in here may wait or allocate. */
static int read_one(struct slot *s, char *bytes)
{
	int fd = s->got.fd;

	if (s->got.whole)
		return read_whole(s, bytes);
	return queue_read(fd, QUEUE_SEND, &s->got.snd_seq, bytes + s->at, s->out_max, &s->out_len) ||
	       queue_read(fd, QUEUE_RECV, &s->got.rcv_seq, bytes + s->at + s->out_max, s->in_max, &s->in_len) ? -1 : 0;
}

/* From here on the job does not run either when its tracer dies. False: it has died before that. */
static bool held(struct dump *d, pid_t tracer)
{
	if (d->hold(d->ctx, true))
		return false;
	/* Who dies lets go of its tracees a little before its children see it. */
	usleep(200);
	return getppid() == tracer;
}

static void guard(struct dump *d, pid_t tracer, struct slot *s, size_t n, char *bytes)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	setsid();
	/* All of s have the same. What it does not let us do the kernel says of each. */
	if (s->got.user >= 0)
		(void)!setns(s->got.user, CLONE_NEWUSER);
	if (!held(d, tracer)) {
		d->hold(d->ctx, false);
		_exit(0);
	}
	for (size_t i = 0; i < n; i++) {
		if (set_int(s[i].got.fd, TCP_REPAIR, 1)) {
			s[i].got.error = errno;
			continue;
		}
		fault("tcp-repair");
		s[i].got.error = read_one(&s[i], bytes) ? errno : 0;
		set_int(s[i].got.fd, TCP_REPAIR, REPAIR_OFF_NO_WP);
	}
	d->hold(d->ctx, false);
	_exit(0);
}

/* Those of one user namespace. */
static size_t slots_fill(struct slot *s, const struct tcp_repair *v, size_t n, int user)
{
	size_t at = 0, k = 0;

	for (size_t i = 0; i < n; i++) {
		int out = 0, in = 0;

		if (v[i].fd < 0 || v[i].user != user)
			continue;
		if (ioctl(v[i].fd, SIOCOUTQ, &out) || ioctl(v[i].fd, SIOCINQ, &in))
			out = in = 0;
		s[k].got = v[i];
		s[k].got.error = ECANCELED;
		s[k].at = at;
		s[k].out_max = out > 0 ? (size_t)out : 0;
		/* More may come to one that leads outside. */
		s[k].in_max = (in > 0 ? (size_t)in : 0) + (v[i].whole ? 2 * (size_t)sockopt_int(v[i].fd, SO_RCVBUF) : 0);
		at += s[k].out_max + s[k].in_max;
		k++;
	}
	return at;
}

static int take(struct tcp_repair *v, size_t n, int user, const struct slot *s, const char *bytes, struct err *e)
{
	for (size_t i = 0, k = 0; i < n; i++) {
		const struct slot *x = &s[k];

		if (v[i].fd < 0 || v[i].user != user)
			continue;
		k++;
		v[i] = x->got;
		if (v[i].error) {
			errno = v[i].error;
			return err_sys(e, "cannot look into a TCP connection");
		}
		buf_add(&v[i].out, bytes + x->at, x->out_len);
		buf_add(&v[i].in, bytes + x->at + x->out_max, x->in_len);
		if (buf_failed(&v[i].out) || buf_failed(&v[i].in))
			return err_set(e, EX_FAILED, "out of memory");
	}
	return 0;
}

/* The guard was killed. */
static void put_back(const struct slot *s, size_t n)
{
	pid_t pid = s->got.user >= 0 ? fork() : 0;

	if (pid < 0)
		return;
	if (s->got.user >= 0 && !pid)
		(void)!setns(s->got.user, CLONE_NEWUSER);
	for (size_t i = 0; i < n && !pid; i++)
		set_int(s[i].got.fd, TCP_REPAIR, REPAIR_OFF_NO_WP);
	if (s->got.user >= 0 && !pid)
		_exit(0);
	while (pid && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static int run(struct dump *d, struct slot *s, size_t n, char *bytes, struct err *e)
{
	pid_t tracer = getpid(), pid = fork();
	int st;

	if (pid < 0)
		return err_sys(e, "cannot make a process");
	if (!pid)
		guard(d, tracer, s, n, bytes);
	fault("tcp-reading");
	while (waitpid(pid, &st, 0) < 0)
		if (errno != EINTR)
			return err_sys(e, "waitpid");
	if (WIFEXITED(st))
		return 0;
	put_back(s, n);
	d->hold(d->ctx, false);
	return err_set(e, EX_FAILED, "the process that looks into TCP connections was killed");
}

static int read_user(struct dump *d, struct tcp_repair *v, size_t n, int user, struct err *e)
{
	size_t wanted = 0, room, bytes_len;
	struct slot *s;
	char *bytes;
	int rc = -1;

	for (size_t i = 0; i < n; i++)
		wanted += v[i].fd >= 0 && v[i].user == user;
	if (!wanted)
		return 0;
	room = wanted * sizeof *s;
	s = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s == MAP_FAILED)
		return err_set(e, EX_FAILED, "out of memory");
	bytes_len = slots_fill(s, v, n, user) + 1;
	bytes = mmap(NULL, bytes_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (bytes == MAP_FAILED) {
		err_set(e, EX_FAILED, "out of memory");
	} else {
		rc = run(d, s, wanted, bytes, e) || take(v, n, user, s, bytes, e) ? -1 : 0;
		munmap(bytes, bytes_len);
	}
	munmap(s, room);
	return rc;
}

static int cmp_int(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

int tcp_repair_read(struct dump *d, struct tcp_repair *v, size_t n, struct err *e)
{
	AUTO_FREE int *users = malloc((n + 1) * sizeof *users);
	size_t k = 0;

	if (!users)
		return err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; i < n; i++)
		if (v[i].fd >= 0 && (!k || users[k - 1] != v[i].user))
			users[k++] = v[i].user;
	if (k)
		qsort(users, k, sizeof *users, cmp_int);
	for (size_t i = 0; i < k; i++)
		if ((!i || users[i] != users[i - 1]) && read_user(d, v, n, users[i], e))
			return -1;
	return 0;
}

void tcp_repair_free(struct tcp_repair *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		buf_free(&v[i].out);
		buf_free(&v[i].in);
	}
}
