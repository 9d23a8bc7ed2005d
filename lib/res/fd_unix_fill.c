/* fd_unix_fill: what waited in the queues of unix sockets is sent again, as soon as all processes exist (credentials name them) and all
 * files are open (messages hold them): with the first socket that is installed. Then come connections of datagram
 * sockets, closed and shut down ends, and options, which would all have hindered the sending. */
#include "res/fd_unix.h"
#include "res/borrow.h"
#include "res/fd_ops.h"
#include "res/proc_ops.h"
#include "res/ns_obj.h"
#include "res/sock_diag.h"
#include "common/cleanup.h"

#include <fcntl.h>
#include <pwd.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { MESSAGE_ROOM = 1024 };                  /* what the kernel adds to a message, and more */

/* ---- MESSAGES ---- */

static bool number(const char **s, uint64_t max, uint64_t *out)
{
	char *end;

	if (**s < '0' || **s > '9')
		return false;
	errno = 0;
	*out = strtoull(*s, &end, 10);
	*s = end;
	return !errno && *out <= max;
}

static bool colon(const char **s)
{
	return *(*s)++ == ':';
}

static int message_files(struct restore *r, const char **s, struct unix_message *m)
{
	uint64_t ids[UNIX_MAX_RIGHTS], id;

	for (; **s != ':'; m->nfiles++) {
		if (m->nfiles == UNIX_MAX_RIGHTS || (m->nfiles && *(*s)++ != ',') || !number(s, r->nfiles, &id) || !id)
			return -1;
		ids[m->nfiles] = id;
	}
	m->files = m->nfiles ? calloc(m->nfiles, sizeof *m->files) : NULL;
	if (m->nfiles && !m->files)
		return -1;
	for (size_t i = 0; i < m->nfiles; i++)
		m->files[i] = (uint32_t)ids[i];
	return 0;
}

static int message(struct restore *r, const char **s, struct unix_message *m)
{
	uint64_t v, pid, uid, gid;

	if (!number(s, UNIX_MAX_QUEUE, &v) || !colon(s))
		return -1;
	m->len = (size_t)v;
	if (message_files(r, s, m) || !colon(s))
		return -1;
	if (**s != ':') {
		if (!number(s, INT32_MAX, &pid) || *(*s)++ != ',' || !number(s, UINT32_MAX, &uid) || *(*s)++ != ',' ||
		    !number(s, UINT32_MAX, &gid))
			return -1;
		m->creds = (struct unix_creds){ true, (pid_t)pid, (uid_t)uid, (gid_t)gid };
	}
	if (!colon(s))
		return -1;
	if (**s && **s != ' ') {
		if (!number(s, r->nfiles, &v) || !unix_of(r, (uint32_t)v) || unix_of(r, (uint32_t)v)->type != SOCK_DGRAM)
			return -1;
		m->sender = (uint32_t)v;
	}
	if (**s && (**s != ' ' || !(*s)[1]))
		return -1;
	*s += **s == ' ';
	return 0;
}

int unix_messages_parse(struct restore *r, const struct usock *u, struct unix_queue *q, struct err *e)
{
	const char *s = rec_find(&u->f->rec, "MESSAGES");
	uint64_t sum = 0;

	while (s && *s) {
		struct unix_message *m = q->n < UNIX_MAX_MESSAGES ? unix_queue_add(q) : NULL;

		if (!m)
			return err_set(e, EX_BAD_IMAGE, "line %zu: too many MESSAGES", u->f->rec.line);
		if (message(r, &s, m))
			return err_set(e, EX_BAD_IMAGE, "line %zu: malformed MESSAGES", u->f->rec.line);
		sum += m->len;
		if (sum > u->content)
			break;
	}
	if (sum != u->content)
		return err_set(e, EX_BAD_IMAGE, "line %zu: MESSAGES have not CONTENT bytes together", u->f->rec.line);
	if (q->n && (u->listening || u->pending || (u->type != SOCK_DGRAM && !u->with && !u->orphan)))
		return err_set(e, EX_BAD_IMAGE, "line %zu: a socket that is not connected holds data", u->f->rec.line);
	return 0;
}

/* ---- sending ---- */

static int content(struct restore *r, const struct usock *u, struct buf *b, struct err *e)
{
	const struct image_member *m;
	char name[32], *to;

	snprintf(name, sizeof name, "unix_%u", u->f->id);
	m = image_find(r->img, name);
	if (!m || m->text || m->size != u->content)
		return err_set(e, EX_BAD_IMAGE, "the image has no fitting member %s", name);
	to = buf_reserve(b, u->content);
	if (!to)
		return err_set(e, EX_FAILED, "out of memory");
	for (uint64_t done = 0; done < u->content;) {
		ssize_t n = pread(image_fd(r->img), to + done, u->content - done, (off_t)(m->offset + done));
		if (n <= 0)
			return err_sys(e, "cannot read %s", name);
		done += (uint64_t)n;
	}
	buf_commit(b, u->content);
	return 0;
}

static void add_control(struct msghdr *h, int type, const void *p, size_t n)
{
	struct cmsghdr *c = (struct cmsghdr *)((char *)h->msg_control + h->msg_controllen);

	*c = (struct cmsghdr){ .cmsg_len = CMSG_LEN(n), .cmsg_level = SOL_SOCKET, .cmsg_type = type };
	memcpy(CMSG_DATA(c), p, n);
	h->msg_controllen += CMSG_SPACE(n);
}

/* to: NULL along the connection. */
static int send_one(struct restore *r, int fd, const struct usock *to, const struct unix_message *m, const char *data, struct err *e)
{
	union { struct cmsghdr align; char room[CMSG_SPACE(UNIX_MAX_RIGHTS * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))]; } control;
	struct sockaddr_un a;
	struct iovec v = { (void *)(uintptr_t)data, m->len };
	struct msghdr h = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control.room };
	int fds[UNIX_MAX_RIGHTS];

	memset(&control, 0, sizeof control);
	for (size_t i = 0; i < m->nfiles; i++)
		fds[i] = r->files[m->files[i] - 1].fd;
	if (m->nfiles)
		add_control(&h, SCM_RIGHTS, fds, m->nfiles * sizeof(int));
	if (m->creds.known) {
		struct ucred u = { m->creds.pid, m->creds.uid, m->creds.gid };
		add_control(&h, SCM_CREDENTIALS, &u, sizeof u);
	}
	if (!h.msg_controllen)
		h.msg_control = NULL;
	if (to) {
		h.msg_namelen = unix_address(to, &a);
		h.msg_name = &a;
	}
	for (size_t done = 0; done < m->len || !done;) {
		ssize_t n = sendmsg(fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0)
			return err_sys(e, "cannot put back what waited in a unix socket");
		done += (size_t)n;
		v = (struct iovec){ (void *)(uintptr_t)(data + done), m->len - done };
		h.msg_controllen = 0;
		if (!m->len)
			break;
	}
	return 0;
}

/* Who sends m to u: the other end; one that has a name; somebody. */
static int sender(struct restore *r, const struct usock *u, const struct unix_message *m, int *temp)
{
	if (m->sender)
		return r->files[m->sender - 1].fd;
	if (u->with)
		return r->files[u->with - 1].fd;
	if (u->tmp >= 0)
		return u->tmp;
	if (*temp < 0)
		*temp = sock_make(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return *temp;
}

/* All of it goes to sockets of the job itself, so nobody else is deceived; still a user's image says only what he could have sent. */
static int creds_check(struct restore *r, const struct unix_creds *c, struct err *e)
{
	char text[16384];
	struct passwd pw, *found = NULL;

	if (!c->known || !proc_untrusted(r))
		return 0;
	if (restore_find(r, c->pid) && c->uid == r->o->image_owner && !getpwuid_r(c->uid, &pw, text, sizeof text, &found) &&
	    found && pw.pw_gid == c->gid)
		return 0;
	err_set(e, EX_PERM, "a message with the credentials of process %d, user %u, group %u waits in a unix socket", c->pid, c->uid, c->gid);
	err_hint(e, "restart with --trust if you know where the image comes from");
	return -1;
}

static int fill(struct restore *r, const struct usock *u, struct err *e)
{
	AUTO_BUF struct buf data = BUF_INIT;
	struct unix_queue q = { 0 };
	AUTO_FD int temp = -1;
	const char *at;
	int rc;

	if (!rec_find(&u->f->rec, "MESSAGES"))
		return 0;
	rc = unix_messages_parse(r, u, &q, e) || content(r, u, &data, e) ? -1 : 0;
	at = buf_str(&data);
	for (size_t i = 0; !rc && i < q.n; i++) {
		int fd = sender(r, u, &q.v[i], &temp);
		bool along = (u->with || u->orphan) && (!q.v[i].sender || q.v[i].sender == u->with);

		if (!i)
			sockopt_room(fd, 2 * u->content + q.n * MESSAGE_ROOM);
		if (!along && !u->name.n)
			rc = err_set(e, EX_BAD_IMAGE, "line %zu: messages to a socket without name", u->f->rec.line);
		else
			rc = creds_check(r, &q.v[i].creds, e) ? -1 : send_one(r, fd, along ? NULL : u, &q.v[i], at, e);
		at += q.v[i].len;
	}
	unix_queue_free(&q);
	return rc;
}

/* ---- and the rest ---- */

static int connect_out(struct restore *r, const struct usock *u, struct err *e)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	char path[UNIX_NAME_MAX + 1], to[PATH_MAX], text[UNIX_NAME_MAX + 2];
	struct usock out = { .name = u->to_name, .path_fd = -1 };
	AUTO_FD int opened = -1;
	unsigned n;

	if (!u->to_name.n)
		return 0;
	if (u->to_name.v[0]) {
		memcpy(path, u->to_name.v, u->to_name.n);
		path[u->to_name.n] = 0;
		if (restore_path(r, path, to, e))
			return -1;
		opened = out.path_fd = open(to, O_PATH | O_CLOEXEC);
	}
	n = unix_address(&out, &a);
	if ((u->to_name.v[0] && opened < 0) || connect(u->f->fd, (struct sockaddr *)&a, n)) {
		err_sys(e, "cannot connect to %s", unix_text(&u->to_name, text, sizeof text));
		if (e)
			e->code = EX_MISFIT;
		err_hint(e, "it was connected to that; if it is elsewhere on this node, say so with -L OLD=NEW");
		return -1;
	}
	return 0;
}

/* Buffers were made larger, options not set yet: a new socket's are what OPTIONS leaves out. */
struct usual { int v, type; uint32_t net; }; /* size of a new socket's send buffer; v 0: not known yet */

static int buffers_back(const struct usock *u, struct usual *s, struct err *e)
{
	int v, lock = 0;

	if (!s->v || s->type != u->type || s->net != u->f->net) {
		AUTO_FD int fresh = sock_make(AF_UNIX, u->type | SOCK_CLOEXEC, 0);
		socklen_t n = sizeof s->v;

		*s = (struct usual){ 0, u->type, u->f->net };
		if (fresh < 0 || getsockopt(fresh, SOL_SOCKET, SO_SNDBUF, &s->v, &n))
			return err_sys(e, "cannot ask for a socket's buffer");
	}
	v = s->v / 2;
	if (setsockopt(u->f->fd, SOL_SOCKET, SO_SNDBUFFORCE, &v, sizeof v))
		setsockopt(u->f->fd, SOL_SOCKET, SO_SNDBUF, &v, sizeof v);
	setsockopt(u->f->fd, SOL_SOCKET, 72 /* SO_BUF_LOCK */, &lock, sizeof lock);
	return 0;
}

static int finish(struct restore *r, struct usock *u, struct usual *s, struct err *e)
{
	uint64_t uid, gid, mode;
	struct stat st;
	int fd = u->f->fd;

	if (u->to && unix_connect(fd, unix_of(r, u->to), NULL, e))
		return -1;
	if (connect_out(r, u, e))
		return -1;
	if (u->tmp >= 0) {
		/* An end that is closed with data unread resets the other. */
		if (u->reset && send(fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1)
			return err_sys(e, "cannot reset a connection");
		close(u->tmp);
		u->tmp = -1;
	}
	if (u->shutdown && shutdown(fd, u->shutdown - 1) && errno != ENOTCONN)
		return err_sys(e, "cannot shut a socket down");
	if (buffers_back(u, s, e) || sockopt_set(&u->f->rec, fd, 0, e) || fd_set_flags(fd, &u->f->rec, e))
		return -1;
	if (rec_u64(&u->f->rec, "UID", UINT32_MAX, &uid, e) || rec_u64(&u->f->rec, "GID", UINT32_MAX, &gid, e) ||
	    rec_u64(&u->f->rec, "MODE", 07777, &mode, e))
		return -1;
	if (!fstat(fd, &st) && (st.st_uid != uid || st.st_gid != gid))
		(void)!fchown(fd, (uid_t)uid, (gid_t)gid); /* only fstat(2) shows it */
	return fchmod(fd, (mode_t)mode) ? err_sys(e, "cannot set the mode of a socket") : 0;
}

static struct usock *at(struct restore *r, size_t i)
{
	return r->files[i].ops == &fd_unix_ops ? r->files[i].priv : NULL;
}

static int finish_all(struct restore *r, struct err *e)
{
	struct usual s = { 0 };

	for (size_t i = 0; i < r->nfiles; i++)
		if (at(r, i) && (ns_net_enter(r, at(r, i)->f, e) || finish(r, at(r, i), &s, e)))
			return err_prefix(e, "file %zu", i + 1);
	return 0;
}

/* Abstract names, and those who send to them, are of one network namespace. */
static int fill_all(struct restore *r, struct err *e)
{
	for (size_t i = 0; i < r->nfiles; i++)
		if (at(r, i) && (ns_net_enter(r, at(r, i)->f, e) || fill(r, at(r, i), e)))
			return err_prefix(e, "file %zu", i + 1);
	return 0;
}

int unix_install(struct restore *r, struct rproc *p, int fd, struct rfile *f, struct err *e)
{
	struct usock *u = f->priv;
	struct borrow b;
	int rc;

	if (!u || u->settled)
		return 0;
	rc = fill_all(r, e);
	ns_net_home(r);
	if (rc || borrow_begin(&b, r, e))
		return -1;
	rc = finish_all(r, e);
	ns_net_home(r);
	if (borrow_end(&b, rc ? NULL : e) || rc)
		return -1;
	for (size_t i = 0; i < r->nfiles; i++) {
		u = at(r, i);
		if (!u)
			continue;
		if (u->path_fd >= 0)
			close(u->path_fd);
		u->path_fd = -1;
		u->settled = true;
	}
	return 0;
}
