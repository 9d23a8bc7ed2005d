/* fd_unix_queue: what waits to be received, read through our duplicate with MSG_PEEK, so that it stays.
 *
 * Of a stream without descriptors one peek sees all. Messages, and streams whose pieces differ in what is attached, are gone through
 * with SO_PEEK_OFF. That is state of the socket, not of our duplicate: it is put back at once, and a tool that is killed in between
 * leaves an offset that only a program which peeks itself could notice. Each look at a message with descriptors
 * installs them in us: those of the job are known by kcmp(2), others become descriptions of the job (files_adopt). */
#include "res/fd_unix.h"
#include "res/fd_pidfd.h"
#include "common/cleanup.h"

#include <linux/sockios.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#ifndef SCM_PIDFD
#define SCM_PIDFD 4
#endif
#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#endif

/* What one look brought. */
struct look {
	ssize_t n;                              /* bytes, or -1 with errno */
	bool truncated;
	int fds[UNIX_MAX_RIGHTS + 3]; size_t nfds;
	struct unix_creds creds;
	struct sockaddr_un from; socklen_t fromlen;
};

static void look_close(struct look *l)
{
	for (size_t i = 0; i < l->nfds; i++)
		if (l->fds[i] >= 0)
			close(l->fds[i]);
	l->nfds = 0;
}

static void take_control(struct look *l, struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t n = c->cmsg_len - CMSG_LEN(0);

		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_RIGHTS) {
			for (size_t i = 0; i + sizeof(int) <= n && l->nfds < UNIX_MAX_RIGHTS; i += sizeof(int))
				memcpy(&l->fds[l->nfds++], CMSG_DATA(c) + i, sizeof(int));
		} else if (c->cmsg_type == SCM_CREDENTIALS && n >= sizeof(struct ucred)) {
			struct ucred u;
			memcpy(&u, CMSG_DATA(c), sizeof u);
			l->creds = (struct unix_creds){ u.pid != 0, u.pid, u.uid, u.gid };
		} else if (c->cmsg_type == SCM_PIDFD && n >= sizeof(int)) {
			int fd;
			memcpy(&fd, CMSG_DATA(c), sizeof fd);
			if (fd >= 0)
				close(fd);
		}
	}
}

static void look_at(int fd, void *mem, size_t size, struct look *l)
{
	char control[4096];
	struct iovec v = { mem, size };
	struct msghdr m = { .msg_name = &l->from, .msg_namelen = sizeof l->from, .msg_iov = &v, .msg_iovlen = 1,
			    .msg_control = control, .msg_controllen = sizeof control };

	l->nfds = 0;
	l->creds = (struct unix_creds){ 0 };
	l->n = recvmsg(fd, &m, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	l->fromlen = l->n < 0 ? 0 : m.msg_namelen;
	l->truncated = l->n >= 0 && (m.msg_flags & MSG_TRUNC);
	if (l->n >= 0)
		take_control(l, &m);
}

static int option(int fd, int nr)
{
	int v = 0;
	socklen_t n = sizeof v;

	return getsockopt(fd, SOL_SOCKET, nr, &v, &n) ? -1 : v;
}

static int peek_from(int fd, int off)
{
	return setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof off);
}

struct unix_message *unix_queue_add(struct unix_queue *q)
{
	if (!(q->n & (q->n - 1))) {
		struct unix_message *v = realloc(q->v, (q->n ? 2 * q->n : 1) * sizeof *v);
		if (!v)
			return NULL;
		q->v = v;
	}
	q->v[q->n] = (struct unix_message){ 0 };
	return &q->v[q->n++];
}

void unix_queue_free(struct unix_queue *q)
{
	for (size_t i = 0; i < q->n; i++)
		free(q->v[i].files);
	free(q->v);
	free(q->why);
	buf_free(&q->data);
	*q = (struct unix_queue){ 0 };
}

__attribute__((format(printf, 2, 3))) static void cannot(struct unix_queue *q, const char *fmt, ...)
{
	va_list ap;

	if (q->why)
		return;
	va_start(ap, fmt);
	if (vasprintf(&q->why, fmt, ap) < 0)
		q->why = NULL;
	va_end(ap);
}

/* Which of the job's sockets has the name that a message came from. */
static uint32_t sender_of(struct dump *d, const struct look *l, int type)
{
	for (size_t i = 0; i < d->nfiles; i++) {
		struct sockaddr_un a;
		socklen_t n = sizeof a;
		const struct dfile *c = d->files[i];

		if (S_ISSOCK(c->st.st_mode) && c->lfd >= 0 && option(c->lfd, SO_DOMAIN) == AF_UNIX &&
		    option(c->lfd, SO_TYPE) == type && !getsockname(c->lfd, (struct sockaddr *)&a, &n) &&
		    n == l->fromlen && n > sizeof(sa_family_t) && !memcmp(&a, &l->from, n))
			return c->id;
	}
	return 0;
}

static pid_t job_pid(struct dump *d, pid_t pid)
{
	for (size_t i = 0; i < d->nprocs; i++)
		if (d->procs[i]->tgid == pid)
			return d->procs[i]->vpid;
	return 0;
}

/* Adds the first len bytes at mem as a message with what l brought. Takes l's descriptors. */
static int add(struct dump *d, struct dfile *f, int type, struct unix_queue *q, const char *mem, size_t len, struct look *l,
	       struct err *e)
{
	struct unix_message *m = unix_queue_add(q);

	if (!m || q->n > UNIX_MAX_MESSAGES || q->data.len + len > UNIX_MAX_QUEUE)
		return err_set(e, EX_FAILED, "too much waits in %s", f->link);
	m->len = len;
	buf_add(&q->data, mem, len);
	m->creds = l->creds;
	if (m->creds.known) {
		m->creds.pid = job_pid(d, l->creds.pid);
		if (!m->creds.pid)
			cannot(q, "a message of process %d, which is not in the job, waits in it", l->creds.pid);
	}
	if (type == SOCK_DGRAM && l->fromlen > sizeof(sa_family_t)) {
		m->sender = sender_of(d, l, type);
		if (!m->sender)
			cannot(q, "a message from %s%.*s, which is not in the job, waits in it", l->from.sun_path[0] ? "" : "@",
			       (int)(l->fromlen - sizeof(sa_family_t)) - !l->from.sun_path[0],
			       l->from.sun_path + !l->from.sun_path[0]);
	}
	if (!l->nfds)
		return 0;
	m->files = calloc(l->nfds, sizeof *m->files);
	if (!m->files)
		return err_set(e, EX_FAILED, "out of memory");
	for (; m->nfiles < l->nfds; m->nfiles++) {
		struct dfile *c = files_adopt(d, f->p, l->fds[m->nfiles], e);
		l->fds[m->nfiles] = -1;
		if (!c)
			return -1;
		m->files[m->nfiles] = c->id;
		if (pidfd_of_thread(c))
			cannot(q, "a pidfd of a thread (PIDFD_THREAD) waits in it");
		if (strstr(c->info, "\nlock:"))
			cannot(q, "a descriptor of %s with locks waits in it", c->link);
	}
	return 0;
}

/* Where in [off, off+n) the piece begins that the descriptors belong to. A look goes through pieces until one with descriptors,
 * also when it wants less than that, so smaller looks tell nothing. But the last byte has nowhere to go here:
 * the kernel copies piece by piece, and what came before the one that it could not copy is the answer. */
static int piece_start(int fd, int off, int n, int *start)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), size = ((size_t)n + page - 1) / page * page;
	char *mem = mmap(NULL, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct look l = { .n = -1 };
	int rc;

	if (mem == MAP_FAILED)
		return -1;
	rc = mprotect(mem + size, page, PROT_NONE) || peek_from(fd, off) ? -1 : 0;
	if (!rc) {
		look_at(fd, mem + size - (n - 1), (size_t)n, &l);
		look_close(&l);
		rc = l.n >= n || (l.n < 0 && errno != EFAULT) ? -1 : 0;
		*start = off + (l.n < 0 ? 0 : (int)l.n);
	}
	munmap(mem, size + page);
	return rc;
}

static int read_pieces(struct dump *d, struct dfile *f, struct unix_queue *q, char *mem, int total, struct err *e)
{
	struct look l, none = { 0 };

	for (int off = 0, start; off < total; off += (int)l.n) {
		if (peek_from(f->lfd, off))
			return err_sys(e, "SO_PEEK_OFF");
		look_at(f->lfd, mem, (size_t)(total - off), &l);
		if (l.n <= 0)
			return err_set(e, EX_FAILED, "%s: %d bytes wait in it, %d can be seen", f->link, total, off);
		start = off;
		if (l.nfds && piece_start(f->lfd, off, (int)l.n, &start)) {
			look_close(&l);
			return err_set(e, EX_FAILED, "%s: cannot tell where its descriptors belong", f->link);
		}
		none.creds = l.creds;
		int rc = start > off ? add(d, f, SOCK_STREAM, q, mem, (size_t)(start - off), &none, e) : 0;
		if (!rc)
			rc = add(d, f, SOCK_STREAM, q, mem + (start - off), (size_t)(off + l.n - start), &l, e);
		look_close(&l);
		if (rc)
			return -1;
	}
	return 0;
}

static int read_stream(struct dump *d, struct dfile *f, struct unix_queue *q, int at, struct err *e)
{
	AUTO_FREE char *mem = NULL;
	struct look l;
	int total = 0, rc;

	if (ioctl(f->lfd, SIOCINQ, &total))
		return err_sys(e, "SIOCINQ");
	if (total <= 0) /* a look at an empty one could take an error away that waits in it */
		return 0;
	mem = malloc((size_t)total);
	if (!mem)
		return err_set(e, EX_FAILED, "out of memory");
	if (at < 0) {
		look_at(f->lfd, mem, (size_t)total, &l);
		if (l.n == total && !l.nfds)
			return add(d, f, SOCK_STREAM, q, mem, (size_t)total, &l, e);
		look_close(&l);
	}
	rc = read_pieces(d, f, q, mem, total, e);
	if (peek_from(f->lfd, at) && !rc)
		rc = err_sys(e, "SO_PEEK_OFF");
	return rc;
}

/* Messages one by one. An empty one is seen once only: the kernel marks it, and then passes over it (unix_queue_complete). */
static int read_messages(struct dump *d, struct dfile *f, const struct unix_entry *x, struct unix_queue *q, struct err *e)
{
	size_t size = 64 << 10;
	AUTO_FREE char *mem = malloc(size);
	struct look l;
	int rc = 0, total = 0;

	if (!mem || ioctl(f->lfd, SIOCINQ, &total))
		return err_sys(e, "cannot look into a socket");
	if (peek_from(f->lfd, 0))
		return err_sys(e, "SO_PEEK_OFF");
	while (!rc) {
		look_at(f->lfd, mem, size, &l);
		if (l.n < 0 && (errno == EAGAIN || errno == EINVAL || errno == ENOTCONN))
			return 0;
		if (l.n < 0)
			return err_sys(e, "%s: cannot look at what waits in it", f->link);
		if (l.truncated) {
			look_close(&l);
			free(mem);
			size *= 4;
			mem = size <= UNIX_MAX_QUEUE ? malloc(size) : NULL;
			if (!mem || peek_from(f->lfd, (int)q->data.len))
				return err_sys(e, "%s: cannot look at what waits in it", f->link);
			continue;
		}
		/* The end of a connection looks like an empty message; of a connection SIOCINQ counts all. */
		if (!l.n && x->type == SOCK_SEQPACKET && (x->shutdown & 1) && q->data.len >= (size_t)total)
			return 0;
		rc = add(d, f, x->type, q, mem, (size_t)l.n, &l, e);
		look_close(&l);
	}
	return rc;
}

/* What the messages take of a sender's buffer; -1: cannot be told. */
static int weigh(const struct unix_queue *q, int type)
{
	AUTO_FD int a = -1, b = -1;
	int p[2], n = 0;
	AUTO_FREE char *zeros = calloc(1, q->data.len + 1);

	if (!zeros || socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, p))
		return -1;
	a = p[0];
	b = p[1];
	sockopt_room(a, 2 * q->data.len + q->n * 1024);
	for (size_t i = 0; i < q->n; i++)
		if (send(a, zeros, q->v[i].len, MSG_DONTWAIT) < 0)
			return -1;
	return ioctl(a, SIOCOUTQ, &n) ? -1 : n;
}

void unix_queue_complete(struct unix_queue *q, int type, int peer)
{
	int sent = 0;

	if (q->why || ioctl(peer, SIOCOUTQ, &sent) || (!sent && !q->n))
		return;
	if (sent > weigh(q, type))
		cannot(q, "more messages wait in it than can be seen (empty ones, that were looked at before, or sent elsewhere)");
}

int unix_queue_read(struct dump *d, struct dfile *f, const struct unix_entry *x, struct unix_queue *q, struct err *e)
{
	struct pollfd p = { .fd = f->lfd, .events = POLLIN | POLLPRI };
	int at = option(f->lfd, SO_PEEK_OFF), rc;

	if (poll(&p, 1, 0) < 0)
		return err_sys(e, "poll");
	if (option(f->lfd, SO_ACCEPTCONN) == 1 || !(p.revents & (POLLIN | POLLPRI)))
		return 0;
	if (p.revents & POLLPRI)
		cannot(q, "urgent data (MSG_OOB) waits in it");
	if ((p.revents & POLLERR) && x->type != SOCK_STREAM)
		cannot(q, "an error waits in it");
	if (option(f->lfd, SO_PASSPIDFD) == 1 && option(f->lfd, SO_PASSCRED) != 1)
		cannot(q, "it passes pidfds (SO_PASSPIDFD) without credentials, and something waits in it");
	if (q->why)
		return 0;
	if (x->type == SOCK_STREAM)
		return read_stream(d, f, q, at, e);
	rc = read_messages(d, f, x, q, e);
	if (peek_from(f->lfd, at) && !rc)
		rc = err_sys(e, "SO_PEEK_OFF");
	return rc || !buf_failed(&q->data) ? rc : err_set(e, EX_FAILED, "out of memory");
}
