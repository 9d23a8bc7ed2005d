/* fd_unix_open: records of unix sockets on restart, and the order in which the sockets are made: all with the first one.
 *
 *   connections, also to ends that are closed later: an accepted socket has the name of one that listened; that name must be free still
 *   sockets that are alone: bound, listening
 *   connections that wait to be accepted, in their order
 * Datagram sockets that send to one that does not send back are connected after the queues are filled (fd_unix_fill.c): a connected
 * one takes messages from nobody else. */
#include "res/fd_unix.h"
#include "res/ns_obj.h"
#include "res/fd_ext.h"
#include "res/fd_ops.h"
#include "common/cleanup.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

enum { UNIX_AT_ONCE = 256 };                   /* pairs that one child makes */

struct usock *unix_of(struct restore *r, uint32_t id)
{
	struct rfile *f = restore_file(r, id);

	return f && f->ops == &fd_unix_ops ? f->priv : NULL;
}

/* ---- parsing ---- */

static int parse_name(const struct rec *rec, const char *key, struct unix_name *n, struct err *e)
{
	size_t len;

	n->n = 0;
	if (!rec_find(rec, key))
		return 0;
	if (rec_bin(rec, key, n->v, 1, UNIX_NAME_MAX, &len, e))
		return -1;
	/* sun_path of a file ends at its first NUL. */
	if (n->v[0] && memchr(n->v, 0, len))
		return err_set(e, EX_BAD_IMAGE, "line %zu: %s is no path", rec->line, key);
	n->n = (unsigned)len;
	return 0;
}

static int parse_creds(const struct rec *rec, const char *which, struct unix_creds *c, struct err *e)
{
	char key[16];
	uint64_t pid, uid, gid;

	snprintf(key, sizeof key, "%s_PID", which);
	*c = (struct unix_creds){ 0 };
	if (!rec_find(rec, key))
		return 0;
	if (rec_u64(rec, key, INT32_MAX, &pid, e))
		return -1;
	snprintf(key, sizeof key, "%s_UID", which);
	if (rec_u64(rec, key, UINT32_MAX - 1, &uid, e))
		return -1;
	snprintf(key, sizeof key, "%s_GID", which);
	if (rec_u64(rec, key, UINT32_MAX - 1, &gid, e))
		return -1;
	*c = (struct unix_creds){ true, (pid_t)pid, (uid_t)uid, (gid_t)gid };
	return 0;
}

static int parse_file(struct restore *r, const struct rec *rec, struct usock *u, struct err *e)
{
	uint64_t mode, uid, gid;

	u->base = rec_find(rec, "BASE");
	u->root = rec_find(rec, "ROOT");
	u->has_file = rec_find(rec, "FILE_MODE");
	if (!u->has_file)
		return 0;
	if (rec_u64(rec, "FILE_MODE", 07777, &mode, e) || rec_u64(rec, "FILE_UID", UINT32_MAX, &uid, e) ||
	    rec_u64(rec, "FILE_GID", UINT32_MAX, &gid, e) || rec_u64_or(rec, "FILE_MNT", NS_MAX, 0, &u->file_mnt, e))
		return -1;
	if (u->file_mnt && !ns_find(r, u->file_mnt, NSK_MNT))
		return err_set(e, EX_BAD_IMAGE, "line %zu: FILE_MNT names no mount namespace", rec->line);
	if (!u->name.n || !u->name.v[0] || (u->name.v[0] != '/' && !u->base))
		return err_set(e, EX_BAD_IMAGE, "line %zu: the socket's file has no place", rec->line);
	u->file_mode = (mode_t)mode;
	u->file_uid = (uid_t)uid;
	u->file_gid = (gid_t)gid;
	return 0;
}

static int parse_links(struct restore *r, const struct rec *rec, struct usock *u, struct err *e)
{
	uint64_t with, pending, order, to, shut, server, orphan, reset, outside;

	if (rec_u64_or(rec, "WITH", r->nfiles, 0, &with, e) || rec_u64_or(rec, "PENDING", r->nfiles, 0, &pending, e) ||
	    rec_u64_or(rec, "ORDER", UINT32_MAX, 0, &order, e) || rec_u64_or(rec, "TO", r->nfiles, 0, &to, e) ||
	    rec_u64_or(rec, "SHUTDOWN", 3, 0, &shut, e) || rec_u64_or(rec, "SERVER", 1, 0, &server, e) ||
	    rec_u64_or(rec, "ORPHAN", 1, 0, &orphan, e) || rec_u64_or(rec, "RESET", 1, 0, &reset, e) ||
	    rec_u64_or(rec, "OUTSIDE", 1, 0, &outside, e) ||
	    rec_u64_or(rec, "CONTENT", UNIX_MAX_QUEUE, 0, &u->content, e))
		return -1;
	u->with = (uint32_t)with;
	u->pending = (uint32_t)pending;
	u->order = (uint32_t)order;
	u->to = (uint32_t)to;
	u->shutdown = (int)shut;
	u->server = server;
	u->orphan = orphan;
	u->reset = reset;
	u->outside = outside;
	u->listening = rec_find(rec, "LISTEN");
	if (u->listening && rec_int(rec, "LISTEN", 0, INT_MAX, &u->backlog, e))
		return -1;
	if ((u->with != 0) + (u->pending != 0) + (u->to != 0 || u->to_name.n) + u->listening + u->orphan + u->outside > 1)
		return err_set(e, EX_BAD_IMAGE, "line %zu: a unix socket with two connections", rec->line);
	if (u->type == SOCK_DGRAM ? u->listening || u->pending : u->to || u->to_name.n)
		return err_set(e, EX_BAD_IMAGE, "line %zu: such a unix socket cannot be", rec->line);
	return 0;
}

int unix_parse(struct restore *r, struct rfile *f, struct usock *u, struct err *e)
{
	const struct rec *rec = &f->rec;
	const char *kind;

	*u = (struct usock){ .f = f, .path_fd = -1, .tmp = -1 };
	if (rec_str(rec, "KIND", &kind, e))
		return -1;
	u->type = !strcmp(kind, "stream") ? SOCK_STREAM : !strcmp(kind, "dgram") ? SOCK_DGRAM :
		  !strcmp(kind, "seqpacket") ? SOCK_SEQPACKET : -1;
	if (u->type < 0)
		return err_set(e, EX_BAD_IMAGE, "line %zu: KIND=\"%s\"", rec->line, kind);
	if (parse_name(rec, "ADDRESS", &u->name, e) || parse_name(rec, "PEER_ADDRESS", &u->peer_name, e) ||
	    parse_name(rec, "TO_ADDRESS", &u->to_name, e) || parse_creds(rec, "PEER", &u->peer, e) ||
	    parse_creds(rec, "BY", &u->by, e) || parse_file(r, rec, u, e) || parse_links(r, rec, u, e) ||
	    sockopt_set(rec, -1, 0, e))
		return -1;
	return u->outside ? unix_outside_parse(r, u, e) : 0;
}

/* Ids that others refer to. */
static int verify(struct restore *r, struct usock *u, struct err *e)
{
	struct usock *with = u->with ? unix_of(r, u->with) : NULL;
	struct usock *at = u->pending ? unix_of(r, u->pending) : NULL, *to = u->to ? unix_of(r, u->to) : NULL;
	struct unix_queue q = { 0 };
	int rc;

	if ((u->with && (!with || with == u || with->with != u->f->id || with->type != u->type || with->f->net != u->f->net)) ||
	    (u->pending && (!at || !at->listening || at->type != u->type)) ||
	    (u->to && (!to || to->type != SOCK_DGRAM || !to->name.n)))
		return err_set(e, EX_BAD_IMAGE, "line %zu: a unix socket is connected to what it cannot be", u->f->rec.line);
	rc = unix_messages_parse(r, u, &q, e);
	unix_queue_free(&q);
	return rc;
}

static int parse_all(struct restore *r, struct err *e)
{
	for (size_t i = 0; i < r->nfiles; i++) {
		struct rfile *f = &r->files[i];

		if (f->ops != &fd_unix_ops || rec_find(&f->rec, "EXTERNAL"))
			continue;
		f->priv = calloc(1, sizeof(struct usock));
		if (!f->priv)
			return err_set(e, EX_FAILED, "out of memory");
		if (unix_parse(r, f, f->priv, e))
			return -1;
	}
	for (size_t i = 0; i < r->nfiles; i++)
		if (unix_of(r, (uint32_t)i + 1) && verify(r, r->files[i].priv, e))
			return -1;
	return 0;
}

/* ---- making ---- */

/* At the number that the job knows it by, where that is free, else above all of the job's: others will ask for theirs. */
static int keep(struct restore *r, const int *want, struct usock *u, int fd, struct err *e)
{
	int to = want[u->f->id];

	u->opened = true;
	u->f->fd = fd;
	if (to == fd)
		return 0;
	if (to > 2 && fcntl(to, F_GETFD) < 0 && errno == EBADF && dup3(fd, to, O_CLOEXEC) == to) {
		close(fd);
		u->f->fd = to;
		return 0;
	}
	u->f->fd = restore_high_fd(r, fd);
	return u->f->fd < 0 ? err_sys(e, "cannot place a socket above %d (RLIMIT_NOFILE)", r->fd_base) : 0;
}

static int keep_pair(struct restore *r, const int *want, struct usock *u, const int fd[2], struct err *e)
{
	/* The second number must not be in the way of the first. */
	int second = restore_high_fd(r, fd[1]);

	if (second < 0)
		return err_sys(e, "cannot place a socket above %d (RLIMIT_NOFILE)", r->fd_base);
	if (keep(r, want, u, fd[0], e))
		return -1;
	if (!u->orphan)
		return keep(r, want, unix_of(r, u->with), second, e);
	u->tmp = second;
	return 0;
}

static bool unnamed(struct restore *r, const struct usock *u)
{
	return !u->name.n && !u->peer_name.n && (u->orphan || !unix_of(r, u->with)->name.n);
}

static bool same_makers(const struct usock *u, const struct usock *v)
{
	const struct unix_creds *a = &u->peer, *b = &v->peer;

	return u->f->net == v->f->net && a->known == b->known && a->pid == b->pid && a->uid == b->uid && a->gid == b->gid;
}

/* u[0..n) have the same credentials and network namespace. */
static int open_unnamed(struct restore *r, const int *want, struct usock **u, size_t n, struct err *e)
{
	int fd[UNIX_AT_ONCE][2], types[UNIX_AT_ONCE];

	for (size_t i = 0; i < n; i++)
		types[i] = u[i]->type;
	if (n && (ns_net_enter(r, u[0]->f, e) || unix_make_unnamed(fd, types, n, &u[0]->peer, e)))
		return -1;
	for (size_t i = 0; i < n; i++)
		if (keep_pair(r, want, u[i], fd[i], e))
			return err_prefix(e, "file %u", u[i]->f->id);
	return 0;
}

static int open_all_unnamed(struct restore *r, const int *want, struct err *e)
{
	struct usock *group[UNIX_AT_ONCE];
	size_t n = 0;

	for (size_t i = 0; i < r->nfiles; i++) {
		struct usock *u = unix_of(r, (uint32_t)i + 1);

		if (!u || !(u->orphan || u->with > u->f->id) || !unnamed(r, u))
			continue;
		if (n == UNIX_AT_ONCE || (n && !same_makers(u, group[0]))) {
			if (open_unnamed(r, want, group, n, e))
				return -1;
			n = 0;
		}
		group[n++] = u;
	}
	return open_unnamed(r, want, group, n, e);
}

static int open_connection(struct restore *r, const int *want, struct usock *u, struct err *e)
{
	struct usock gone = { .type = u->type, .name = u->peer_name, .peer = u->peer, .path_fd = -1, .tmp = -1 };
	int fd[2];

	if (ns_net_enter(r, u->f, e))
		return -1;
	if (u->outside)
		return unix_outside_open(r, u, fd, e) ? -1 : keep(r, want, u, fd[0], e);
	if (unix_make_pair(r, u, u->orphan ? &gone : unix_of(r, u->with), fd, e))
		return -1;
	if (gone.path_fd >= 0)
		close(gone.path_fd);
	return keep_pair(r, want, u, fd, e);
}

static int open_alone(struct restore *r, const int *want, struct usock *u, struct err *e)
{
	int fd;

	return ns_net_enter(r, u->f, e) || unix_make(r, u, &fd, e) ? -1 : keep(r, want, u, fd, e);
}

static int open_pending(struct restore *r, const int *want, struct usock *u, struct err *e)
{
	const struct unix_creds *by = u->by.known ? &u->by : NULL;

	if (open_alone(r, want, u, e))
		return -1;
	/* With less room than there was it would wait for ever. */
	if (fcntl(u->f->fd, F_SETFL, O_NONBLOCK))
		return err_sys(e, "cannot set the flags of a socket");
	return unix_connect(u->f->fd, unix_of(r, u->pending), by, e);
}

enum phase { CONNECTED, ALONE, WAITING };

static enum phase phase_of(const struct usock *u)
{
	return u->with || u->orphan || u->outside ? CONNECTED : u->pending ? WAITING : ALONE;
}

static int cmp_order(const void *a, const void *b)
{
	const struct usock *x = *(struct usock *const *)a, *y = *(struct usock *const *)b;

	return x->order < y->order ? -1 : x->order > y->order;
}

/* The numbers that the job's descriptions have, by id; -1: above 2 none. */
static int *wanted(struct restore *r)
{
	int *want = malloc((r->nfiles + 1) * sizeof *want);

	for (size_t i = 0; want && i <= r->nfiles; i++)
		want[i] = -1;
	for (size_t i = 0; want && i < r->nprocs; i++)
		for (size_t k = 0; k < r->procs[i]->nfds; k++)
			if (r->procs[i]->fds[k].fd > 2 && want[r->procs[i]->fds[k].file] < 0)
				want[r->procs[i]->fds[k].file] = r->procs[i]->fds[k].fd;
	return want;
}

/* Nothing is bound: the job may run still. Where it led outside there must be somebody. */
static int open_for_check(struct restore *r, const int *want, struct err *e)
{
	for (size_t i = 0; i < r->nfiles; i++) {
		struct usock *u = unix_of(r, (uint32_t)i + 1);
		int fd;

		if (!u)
			continue;
		if (ns_net_enter(r, u->f, e) || (u->outside && open_connection(r, want, u, e)))
			return err_prefix(e, "file %u", u->f->id);
		if (u->outside)
			continue;
		fd = sock_make(AF_UNIX, u->type | SOCK_CLOEXEC, 0);
		if (fd < 0)
			return err_sys(e, "cannot make a unix socket");
		if (keep(r, want, u, fd, e))
			return -1;
	}
	return 0;
}

static int open_all(struct restore *r, struct err *e)
{
	AUTO_FREE int *want = wanted(r);
	AUTO_FREE struct usock **waiting = malloc((r->nfiles + 1) * sizeof(struct usock *));
	size_t n = 0;

	if (!waiting || !want)
		return err_set(e, EX_FAILED, "out of memory");
	if (parse_all(r, e))
		return -1;
	if (r->check_only)
		return open_for_check(r, want, e);
	if (open_all_unnamed(r, want, e))
		return -1;
	for (enum phase phase = CONNECTED; phase <= WAITING; phase++)
		for (size_t i = 0; i < r->nfiles; i++) {
			struct usock *u = unix_of(r, (uint32_t)i + 1);

			if (!u || u->opened || phase_of(u) != phase)
				continue;
			if (phase == WAITING)
				waiting[n++] = u;
			else if (phase == CONNECTED ? open_connection(r, want, u, e) : open_alone(r, want, u, e))
				return err_prefix(e, "file %u", u->f->id);
		}
	if (n)
		qsort(waiting, n, sizeof(struct usock *), cmp_order);
	for (size_t i = 0; i < n; i++)
		if (open_pending(r, want, waiting[i], e))
			return err_prefix(e, "file %u", waiting[i]->f->id);
	return 0;
}

int unix_open(struct restore *r, struct rfile *f, struct err *e)
{
	int rc;

	if (rec_find(&f->rec, "EXTERNAL"))
		return ext_open(r, f, e);
	rc = open_all(r, e);
	ns_net_home(r);
	unix_make_end();
	return rc;
}
