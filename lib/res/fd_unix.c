/* fd_unix: unix sockets, unix(7): stream, dgram, seqpacket, with names, connections and what waits in them. See fd_unix.h.
 *
 * Record: TYPE="unix" ... KIND= UID= GID= MODE= [ADDRESS= [BASE=] [ROOT=] [FILE_MODE= FILE_UID= FILE_GID= [FILE_MNT=]]] [SHUTDOWN=] [OPTIONS=]
 *   [PEER_PID= PEER_UID= PEER_GID=] [CONTENT= MESSAGES=], and one of
 *   WITH=id [SERVER="1"]              connected to that one, and that one to it
 *   ORPHAN="1" [PEER_ADDRESS=]        its other end was closed
 *   OUTSIDE="1" PEER_ADDRESS= BY_PID= ... connected to somebody outside, and the restart connects it anew (--unix-connect)
 *   LISTEN=backlog                    listening
 *   PENDING=id ORDER=n BY_UID= ...    connected to a listening one, and not accepted yet
 *   TO=id or TO_ADDRESS=              datagrams go there, which does not send back
 *   EXTERNAL="1" [STD=n]              somebody's stdio that leads outside: as fd_ext
 *   nothing of these                  not connected
 *
 * Refused: connections to outside, unless the caller says what is to become of them: what the two have said to each other cannot be
 * repeated, so the program has to be one that takes a new or a lost connection well. Data that was sent over a connection which is not accepted yet (it is in a socket that nobody holds);
 * senders outside; urgent data. */
#include "res/fd_unix.h"
#include "res/ns_obj.h"
#include "res/fd_ext.h"
#include "res/fd_ops.h"
#include "res/sock_diag.h"
#include "common/cleanup.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <sys/socket.h>
#include <sys/un.h>

enum way { ALONE, EXT, PAIR, ORPHAN, OUTSIDE, LISTENING, PENDING, TO, REFUSED };

struct plan {
	enum way way;
	const struct unix_entry *x;
	struct dfile *other;                   /* peer, listener, target */
	size_t order;
	bool later;                            /* may be otherwise in a moment */
	char why[256];
};

static int option(int fd, int nr)
{
	int v = -1;
	socklen_t n = sizeof v;

	return getsockopt(fd, SOL_SOCKET, nr, &v, &n) ? -1 : v;
}

static bool unix_match(const struct dfile *f)
{
	return S_ISSOCK(f->st.st_mode) && !(f->flags & O_PATH) && f->lfd >= 0 && option(f->lfd, SO_DOMAIN) == AF_UNIX;
}

const char *unix_text(const struct unix_name *n, char *out, size_t size)
{
	bool abstract = n->n && !n->v[0];

	if (!n->n)
		snprintf(out, size, "(unnamed)");
	else
		snprintf(out, size, "%s%.*s", abstract ? "@" : "", (int)n->n - abstract, (const char *)n->v + abstract);
	return out;
}

static void name_of(int fd, bool peer, struct unix_name *n)
{
	struct sockaddr_un a;
	socklen_t len = sizeof a;

	n->n = 0;
	memset(&a, 0, sizeof a);
	if ((peer ? getpeername(fd, (struct sockaddr *)&a, &len) : getsockname(fd, (struct sockaddr *)&a, &len)) ||
	    len <= offsetof(struct sockaddr_un, sun_path))
		return;
	len -= (socklen_t)offsetof(struct sockaddr_un, sun_path);
	if (len > UNIX_NAME_MAX)
		len = UNIX_NAME_MAX;
	/* The length that the kernel tells of a path has its NUL in it. */
	if (a.sun_path[0])
		len = (socklen_t)strnlen(a.sun_path, len);
	memcpy(n->v, a.sun_path, len);
	n->n = len;
}

/* ---- the world of this checkpoint ---- */

void unix_world_free(struct dump *d)
{
	struct unix_world *w = d->unixs;

	if (!w)
		return;
	unix_diag_free(&w->diag);
	for (size_t i = 0; i < w->nqueues; i++) {
		if (w->queues[i])
			unix_queue_free(w->queues[i]);
		free(w->queues[i]);
	}
	free(w->queues);
	if (w->peers)
		munmap(w->peers, w->peers_size);
	free(w);
	d->unixs = NULL;
}

/* All queues are read before anything is checked: they may hold the other ends. d->files may grow meanwhile. */
static int queues_read(struct dump *d, struct unix_world *w, struct err *e)
{
	for (size_t i = 0; i < d->nfiles; i++) {
		struct dfile *f = d->files[i];
		const struct unix_entry *x = unix_match(f) ? unix_diag_find(&w->diag, f->st.st_ino) : NULL;
		struct unix_queue **v = realloc(w->queues, (i + 1) * sizeof(struct unix_queue *));

		if (!v)
			return err_set(e, EX_FAILED, "out of memory");
		w->queues = v;
		v[i] = NULL;
		w->nqueues = i + 1;
		/* What is the starter's as well is not ours to look into. */
		if (!x || (f->std && x->peer && !files_find_inode(d, &(struct stat){ .st_dev = f->st.st_dev, .st_ino = x->peer })))
			continue;
		v[i] = calloc(1, sizeof **v);
		if (!v[i])
			return err_set(e, EX_FAILED, "out of memory");
		if (unix_queue_read(d, f, x, v[i], e))
			return err_prefix(e, "fd %d", f->fd);
	}
	return 0;
}

/* Inodes are unique among all network namespaces: one table holds those of all. */
static int diag_read(struct dump *d, struct unix_diag *t, struct err *e)
{
	struct sock_where before = sock_go(SOCK_HERE), w;
	int rc = unix_diag_read(t, e);

	for (size_t i = 0; d->ns && i < d->ns->n && !rc; i++) {
		t->net = d->ns->v[i];
		if (t->net->kind != NSK_NET)
			continue;
		rc = ns_net_where(d, d->ns->v[i], &w, e);
		if (rc)
			break;
		sock_go(w);
		rc = unix_diag_read(t, e);
	}
	sock_go(before);
	return rc;
}

static int world(struct dump *d, struct err *e)
{
	int rc;

	if (d->unixs)
		return 0;
	d->unixs = calloc(1, sizeof *d->unixs);
	if (!d->unixs)
		return err_set(e, EX_FAILED, "out of memory");
	rc = diag_read(d, &d->unixs->diag, e);
	d->unixs->blind = rc == 1;
	if (rc < 0 || queues_read(d, d->unixs, e))
		return -1;
	unix_peers_read(d, d->unixs);
	return 0;
}

static struct dfile *by_ino(struct dump *d, const struct dfile *f, uint32_t ino)
{
	struct stat st = { .st_dev = f->st.st_dev, .st_ino = ino };

	return ino ? files_find_inode(d, &st) : NULL;
}

/* ---- what it is connected to ---- */

/* The listening socket in whose queue f waits, and its place there. */
static const struct unix_entry *waits_at(const struct unix_world *w, uint32_t ino, size_t *order)
{
	for (size_t i = 0; i < w->diag.n; i++)
		for (size_t k = 0; k < w->diag.v[i].npending; k++)
			if (w->diag.v[i].pending[k] == ino) {
				*order = k;
				return &w->diag.v[i];
			}
	return NULL;
}

static void no(struct plan *p, const struct dfile *f, const char *fmt, const char *name)
{
	p->way = f->std ? EXT : REFUSED;
	snprintf(p->why, sizeof p->why, fmt, name);
}

static void plan_outside(struct dump *d, const struct dfile *f, struct plan *p, const struct unix_entry *peer);

static void plan_listening(struct dump *d, struct dfile *f, struct plan *p)
{
	p->way = LISTENING;
	for (size_t i = 0; i < p->x->npending; i++) {
		struct dfile *c = by_ino(d, f, p->x->pending[i]);
		int sent = 0;

		if (c && !ioctl(c->lfd, SIOCOUTQ, &sent) && !sent)
			continue;
		p->way = REFUSED;
		p->later = true;
		snprintf(p->why, sizeof p->why, "a connection waits to be accepted, %s",
			 c ? "and data was sent over it" : p->x->pending[i] ? "from outside the job" : "whose client has closed it");
		return;
	}
}

static void plan_dead_end(struct dump *d, struct dfile *f, struct plan *p)
{
	const struct unix_entry *l = p->x->type == SOCK_DGRAM || p->x->shutdown == 3 ? NULL : waits_at(d->unixs, p->x->ino, &p->order);

	p->way = ORPHAN;
	if (!l)
		return;
	p->way = PENDING;
	p->other = by_ino(d, f, l->ino);
	if (!p->other)
		plan_outside(d, f, p, l);
}

static void plan_make(struct dump *d, struct dfile *f, struct plan *p)
{
	const struct unix_world *w = d->unixs;
	const struct unix_entry *px;
	struct unix_name n;
	char name[128];

	*p = (struct plan){ .way = ALONE };
	p->x = unix_diag_find(&w->diag, f->st.st_ino);
	if (!p->x) {
		no(p, f, w->blind ? "this kernel does not tell what it is connected to (no unix_diag)%s" :
		   "it belongs to another network namespace%s", "");
		return;
	}
	if (p->x->state == UNIX_LISTENING && p->x->type != SOCK_DGRAM) {
		plan_listening(d, f, p);
		return;
	}
	if (!p->x->has_peer)
		return;
	if (!p->x->peer) {
		plan_dead_end(d, f, p);
		return;
	}
	p->other = by_ino(d, f, p->x->peer);
	px = p->other ? unix_diag_find(&w->diag, p->x->peer) : NULL;
	name_of(f->lfd, true, &n);
	unix_text(&n, name, sizeof name);
	/* Two with names in two network namespaces send to each other by them. */
	if (px && p->other != f && px->peer == p->x->ino && p->other->net == f->net)
		p->way = PAIR;
	else if (f->net && !p->other && p->x->type == SOCK_DGRAM && n.n && !n.v[0])
		no(p, f, "it sends to %s outside the job, an abstract name of its own network namespace", name);
	else if (p->x->type == SOCK_DGRAM && n.n && (p->other || n.v[0] == '/' || !n.v[0]))
		p->way = TO;
	else if (p->other)
		no(p, f, "it is connected to %s, which is not connected to it", name);
	else
		plan_outside(d, f, p, unix_diag_find(&w->diag, p->x->peer));
}

/* ---- the file of its name ---- */

/* unix_diag tells the kernel's own form of a device number. */
static bool is_file(const struct unix_entry *x, const struct stat *st)
{
	uint32_t dev = (uint32_t)(major(st->st_dev) << 20 | minor(st->st_dev));

	return S_ISSOCK(st->st_mode) && (uint32_t)st->st_ino == x->file_ino && dev == x->file_dev;
}

struct place { char base[PATH_MAX], root[PATH_MAX]; struct stat st; bool file; uint32_t mnt; };

/* Looks for the socket's file as p would find it. */
static bool look_from(const struct dproc *p, const struct unix_entry *x, const struct unix_name *n, struct place *at)
{
	char path[3 * PATH_MAX];
	ssize_t len;

	len = proc_readlink(p->pid, "root", at->root, sizeof at->root);
	if (len <= 0)
		return false;
	if (!strcmp(at->root, "/"))
		at->root[0] = 0;
	at->base[0] = 0;
	if (n->v[0] != '/' && proc_readlink(p->pid, "cwd", at->base, sizeof at->base) <= 0)
		return false;
	/* In a mount namespace of its own: only the process itself leads there. */
	at->mnt = p->ns[NSK_MNT] ? p->ns[NSK_MNT]->id : 0;
	if (at->mnt)
		snprintf(path, sizeof path, "/proc/%d/%s/%.*s", p->pid, at->base[0] ? "cwd" : "root", (int)n->n, (const char *)n->v);
	else
		snprintf(path, sizeof path, "%s%s%s%.*s", at->base[0] ? "" : at->root, at->base, at->base[0] ? "/" : "", (int)n->n,
			 (const char *)n->v);
	return !lstat(path, &at->st) && is_file(x, &at->st);
}

static void find_file(struct dump *d, const struct dfile *f, const struct unix_entry *x, const struct unix_name *n, struct place *at)
{
	*at = (struct place){ 0 };
	if (!x->has_file)
		return;
	at->file = look_from(f->p, x, n, at);
	for (size_t i = 0; !at->file && i < d->nprocs; i++)
		at->file = !d->procs[i]->zombie && look_from(d->procs[i], x, n, at);
}

/* Will its name lead a restart to who is at the other end? */
static bool leads_there(const struct dfile *f, const struct unix_entry *peer, const struct unix_name *n)
{
	struct place at;

	if (!peer || !n->n)
		return false;
	return !n->v[0] || (n->v[0] == '/' && peer->has_file && look_from(f->p, peer, n, &at) && !at.root[0] && !at.mnt);
}

static void plan_outside(struct dump *d, const struct dfile *f, struct plan *p, const struct unix_entry *peer)
{
	const struct unix_queue *q = d->unixs->queues[f->id - 1];
	struct unix_name n;
	char name[128];
	bool leads;

	name_of(f->lfd, true, &n);
	unix_text(&n, name, sizeof name);
	/* An abstract name of a member's network namespace is nobody's after the restart. */
	leads = (!f->net || n.v[0]) && leads_there(f, peer, &n);
	no(p, f, leads ? "it is connected to %s outside the job (see --unix-connect, --unix-close)" :
	   "it is connected to %s outside the job (see --unix-close)", name);
	if (p->way == EXT)
		return;
	if (!leads || !d->unix_connect) {
		p->way = d->unix_close ? ORPHAN : REFUSED;
	} else if (q && q->n) {
		p->later = true;
		snprintf(p->why, sizeof p->why, "what %s sent it is not read yet, and would not be in a new connection", name);
	} else {
		p->way = OUTSIDE;
	}
}

/* ---- check and dump ---- */

static int unix_check(struct dump *d, struct dfile *f, struct err *e)
{
	struct plan p;
	struct unix_name n;
	struct unix_queue *q;
	char name[128];

	if (world(d, e))
		return -1;
	plan_make(d, f, &p);
	name_of(f->lfd, false, &n);
	q = d->unixs->queues[f->id - 1];
	if (p.way == REFUSED)
		return (p.later ? refuse_for_now : refuse)(d, f->p, "fd %d: unix socket %s: %s", f->fd, unix_text(&n, name, sizeof name), p.why);
	if (q && p.way == PAIR && p.x->type != SOCK_STREAM)
		unix_queue_complete(q, p.x->type, p.other->lfd);
	if (p.way != EXT && q && q->why)
		return refuse(d, f->p, "fd %d: unix socket %s: %s", f->fd, unix_text(&n, name, sizeof name), q->why);
	return 0;
}

static void put_creds(struct dump *d, const struct dfile *f, const struct plan *p)
{
	struct buf *b = &d->files_out;
	struct ucred u;
	socklen_t n = sizeof u;
	pid_t pid = 0;

	if (p->way == PENDING || p->way == OUTSIDE) {
		rec_put_u64(b, "BY_PID", (uint64_t)f->p->vpid);
		rec_put_u64(b, "BY_UID", f->p->status.uid[1]);
		rec_put_u64(b, "BY_GID", f->p->status.gid[1]);
	}
	if (p->way == OUTSIDE || getsockopt(f->lfd, SOL_SOCKET, SO_PEERCRED, &u, &n) || u.uid == (uid_t)-1)
		return;
	for (size_t i = 0; i < d->nprocs && !pid; i++)
		if (d->procs[i]->tgid == u.pid)
			pid = d->procs[i]->vpid;
	/* Of a process that has gone: its number here is that in the job, unless the job has numbers of its own. */
	if (!pid)
		pid = d->unixs->peers ? d->unixs->peers[f->id - 1] : d->own_ns ? 0 : u.pid;
	rec_put_u64(b, "PEER_PID", (uint64_t)pid);
	rec_put_u64(b, "PEER_UID", u.uid);
	rec_put_u64(b, "PEER_GID", u.gid);
}

/* Several have the name of the one that listened. */
static bool is_server(const struct unix_world *w, const struct unix_entry *x)
{
	for (size_t i = 0; i < w->diag.n; i++) {
		const struct unix_entry *o = &w->diag.v[i];

		if (o->ino != x->ino && o->type == x->type && o->name.n == x->name.n && !memcmp(o->name.v, x->name.v, x->name.n) &&
		    (x->name.v[0] || o->net == x->net))
			return true;
	}
	return false;
}

static void put_connection(struct dump *d, const struct dfile *f, const struct plan *p)
{
	struct buf *b = &d->files_out;
	struct unix_name n, mine;

	name_of(f->lfd, true, &n);
	name_of(f->lfd, false, &mine);
	if (p->way == PAIR)
		rec_put_u64(b, "WITH", p->other->id);
	if ((p->way == PAIR || p->way == ORPHAN) && p->x->type != SOCK_DGRAM && mine.n && n.n && is_server(d->unixs, p->x))
		rec_put_u64(b, "SERVER", 1);
	if (p->way == ORPHAN) {
		struct pollfd poll_one = { .fd = f->lfd };

		rec_put_u64(b, "ORPHAN", 1);
		if (n.n)
			rec_put_bin(b, "PEER_ADDRESS", n.v, n.n);
		/* The other end was closed with data unread. */
		if (p->x->type == SOCK_STREAM && poll(&poll_one, 1, 0) == 1 && (poll_one.revents & POLLERR))
			rec_put_u64(b, "RESET", 1);
	}
	if (p->way == OUTSIDE) {
		rec_put_u64(b, "OUTSIDE", 1);
		rec_put_bin(b, "PEER_ADDRESS", n.v, n.n);
	}
	if (p->way == LISTENING)
		rec_put_u64(b, "LISTEN", p->x->backlog);
	if (p->way == PENDING) {
		rec_put_u64(b, "PENDING", p->other->id);
		rec_put_u64(b, "ORDER", p->order);
	}
	if (p->way == TO && p->other)
		rec_put_u64(b, "TO", p->other->id);
	else if (p->way == TO)
		rec_put_bin(b, "TO_ADDRESS", n.v, n.n);
}

static void put_name(struct dump *d, const struct dfile *f, const struct plan *p)
{
	struct buf *b = &d->files_out;
	struct unix_name n;
	struct place at;

	name_of(f->lfd, false, &n);
	if (!n.n)
		return;
	rec_put_bin(b, "ADDRESS", n.v, n.n);
	/* The name of what is connected is only shown: nobody finds it by that. */
	if (!n.v[0] || (p->x->type != SOCK_DGRAM && p->way != ALONE && p->way != LISTENING))
		return;
	find_file(d, f, p->x, &n, &at);
	if (!at.file)
		return;
	if (at.base[0])
		rec_put_str(b, "BASE", at.base);
	else if (at.root[0])
		rec_put_str(b, "ROOT", at.root);
	if (at.mnt)
		rec_put_u64(b, "FILE_MNT", at.mnt);
	rec_put_hex(b, "FILE_MODE", at.st.st_mode & 07777);
	rec_put_u64(b, "FILE_UID", at.st.st_uid);
	rec_put_u64(b, "FILE_GID", at.st.st_gid);
}

/* "LENGTH:FILES:CREDENTIALS:SENDER" each. */
static int put_queue(struct dump *d, const struct dfile *f, const struct unix_queue *q, struct err *e)
{
	AUTO_BUF struct buf t = BUF_INIT;
	char name[32];

	if (!q || !q->n)
		return 0;
	for (size_t i = 0; i < q->n; i++) {
		const struct unix_message *m = &q->v[i];

		buf_printf(&t, "%s%zu:", i ? " " : "", m->len);
		for (size_t k = 0; k < m->nfiles; k++)
			buf_printf(&t, "%s%u", k ? "," : "", m->files[k]);
		buf_addc(&t, ':');
		if (m->creds.known)
			buf_printf(&t, "%d,%u,%u", m->creds.pid, m->creds.uid, m->creds.gid);
		buf_addc(&t, ':');
		if (m->sender)
			buf_printf(&t, "%u", m->sender);
	}
	rec_put_u64(&d->files_out, "CONTENT", q->data.len);
	rec_put_str(&d->files_out, "MESSAGES", buf_str(&t));
	if (buf_failed(&t) || buf_failed(&q->data))
		return err_set(e, EX_FAILED, "out of memory");
	snprintf(name, sizeof name, "unix_%u", f->id);
	return dump_raw_mem(d, name, buf_str(&q->data), q->data.len, e);
}

static int unix_dump(struct dump *d, struct dfile *f, struct err *e)
{
	static const char *const kinds[] = { [SOCK_STREAM] = "stream", [SOCK_DGRAM] = "dgram", [SOCK_SEQPACKET] = "seqpacket" };
	struct buf *b = &d->files_out;
	struct plan p;

	plan_make(d, f, &p);
	if (p.way == EXT) {
		ext_dump(d, f);
		return 0;
	}
	rec_put_str(b, "KIND", kinds[p.x->type]);
	rec_put_u64(b, "UID", f->st.st_uid);
	rec_put_u64(b, "GID", f->st.st_gid);
	rec_put_hex(b, "MODE", f->st.st_mode & 07777);
	put_name(d, f, &p);
	put_connection(d, f, &p);
	put_creds(d, f, &p);
	if (p.x->shutdown)
		rec_put_u64(b, "SHUTDOWN", p.x->shutdown);
	if (sockopt_dump(d, f, AF_UNIX, p.x->type, 0, e))
		return -1;
	return put_queue(d, f, d->unixs->queues[f->id - 1], e);
}

const struct fd_ops fd_unix_ops = {
	.type = "unix", .match = unix_match, .check = unix_check, .dump = unix_dump, .open = unix_open, .install = unix_install,
};
