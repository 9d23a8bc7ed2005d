/* unix_outside: unix sockets that were connected to somebody outside the job, on restart. The connection is a new one: to who is found by the
 * name of the old one's other end, or to what -S says; or there is none any more (--unix-close), and programs see that their other end has
 * closed it. */
#include "res/fd_unix.h"
#include "common/num.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int unix_outside_parse(struct restore *r, struct usock *u, struct err *e)
{
	char id[16], name[UNIX_NAME_MAX + 2];

	if (!u->peer_name.n || (u->peer_name.v[0] && u->peer_name.v[0] != '/') || u->content || !u->by.known)
		return err_set(e, EX_BAD_IMAGE, "line %zu: such a connection to outside cannot be", u->f->rec.line);
	snprintf(id, sizeof id, "%u", u->f->id);
	u->target = restore_subst(r, id);
	if (!u->target)
		u->target = restore_subst(r, unix_text(&u->peer_name, name, sizeof name));
	if (u->target || !r->o->unix_close)
		return 0;
	u->outside = false;
	u->orphan = true;
	/* The owner of an abstract name is probably there still. */
	if (!u->peer_name.v[0])
		u->peer_name.n = 0;
	return 0;
}

static int take_descriptor(const struct usock *u, int *fd, struct err *e)
{
	uint64_t n;

	if (num_u64(u->target + 3, INT_MAX, &n))
		return err_set(e, EX_USAGE_, "-S %u=%s: not a descriptor number", u->f->id, u->target);
	*fd = fcntl((int)n, F_DUPFD_CLOEXEC, 3);
	return *fd < 0 ? err_sys(e, "-S %u=%s", u->f->id, u->target) : 0;
}

/* Where it leads now: a path after -L, or the abstract name. -1 without e: errno tells why nothing is there. */
static int place(struct restore *r, const struct usock *u, struct usock *out, char path[PATH_MAX], struct err *e)
{
	char name[UNIX_NAME_MAX + 1];

	out->name = u->peer_name;
	if (u->target && u->target[0] == '@') {
		out->name.n = (unsigned)strnlen(u->target, UNIX_NAME_MAX);
		memcpy(out->name.v, u->target, out->name.n);
		out->name.v[0] = 0;
	}
	if (!out->name.v[0])
		return 0;
	memcpy(name, out->name.v, out->name.n);
	name[out->name.n] = 0;
	if (u->target)
		snprintf(path, PATH_MAX, "%s", u->target);
	else if (restore_path(r, name, path, e))
		return -1;
	out->path_fd = open(path, O_PATH | O_CLOEXEC);
	return out->path_fd < 0 ? -1 : 0;
}

static int fail(const struct usock *u, const char *to, struct err *e)
{
	int why = errno;

	err_set(e, why == EAGAIN ? EX_BUSY : EX_MISFIT, "a unix socket was connected to %s outside the job: %s", to,
		why == ECONNREFUSED ? "nobody listens there" : why == EAGAIN ? "too many wait there" : strerror(why));
	err_hint(e, "-S %u=PATH connects it to another one, --unix-close restores it as closed", u->f->id);
	return -1;
}

int unix_outside_open(struct restore *r, struct usock *u, int *fd, struct err *e)
{
	struct usock out = { .type = u->type, .path_fd = -1, .tmp = -1 };
	char path[PATH_MAX], text[UNIX_NAME_MAX + 2];
	struct err why = ERR_INIT;
	int rc;

	if (u->target && !strncmp(u->target, "fd:", 3))
		return take_descriptor(u, fd, e);
	if (place(r, u, &out, path, e))
		return err_is_set(e) ? -1 : fail(u, unix_text(&u->peer_name, text, sizeof text), e);
	unix_text(&out.name, text, sizeof text);
	rc = unix_make(r, u, fd, e);
	/* With no room there it would wait for ever. */
	if (!rc && (fcntl(*fd, F_SETFL, O_NONBLOCK) || unix_connect(*fd, &out, &u->by, &why))) {
		rc = fail(u, out.path_fd >= 0 ? path : text, e);
		close(*fd);
	}
	if (out.path_fd >= 0)
		close(out.path_fd);
	return rc;
}
