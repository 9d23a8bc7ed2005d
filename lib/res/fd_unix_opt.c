/* fd_unix_opt: options of unix sockets, socket(7), unix(7).
 *
 * OPTIONS="NAME:VALUE NAME:VALUE ...", the value as bytes in hexadecimal, of those that a new socket of that type does not
 * have by itself. An image may name only what stands in the table here, of that size. */
#include "res/fd_unix.h"
#include "common/cleanup.h"

#include <string.h>
#include <sys/socket.h>

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#endif
#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

enum { OPTION_SIZE = 16 };

/* Buffers first: SO_BUF_LOCK follows what setting them would lock. SO_PEEK_OFF last: it moves. */
static const struct option { const char *name; int nr; unsigned size; int force; } options[] = {
	{ "SNDBUF", SO_SNDBUF, 4, SO_SNDBUFFORCE },
	{ "RCVBUF", SO_RCVBUF, 4, SO_RCVBUFFORCE },
	{ "BUF_LOCK", SO_BUF_LOCK, 4, 0 },
	{ "PASSCRED", SO_PASSCRED, 4, 0 },
	{ "PASSSEC", SO_PASSSEC, 4, 0 },
	{ "PASSPIDFD", SO_PASSPIDFD, 4, 0 },
	{ "PASSRIGHTS", SO_PASSRIGHTS, 4, 0 },
	{ "RCVTIMEO", SO_RCVTIMEO, 16, 0 },
	{ "SNDTIMEO", SO_SNDTIMEO, 16, 0 },
	{ "LINGER", SO_LINGER, 8, 0 },
	{ "RCVLOWAT", SO_RCVLOWAT, 4, 0 },
	{ "KEEPALIVE", SO_KEEPALIVE, 4, 0 },
	{ "OOBINLINE", SO_OOBINLINE, 4, 0 },
	{ "REUSEADDR", SO_REUSEADDR, 4, 0 },
	{ "REUSEPORT", SO_REUSEPORT, 4, 0 },
	{ "BROADCAST", SO_BROADCAST, 4, 0 },
	{ "DONTROUTE", SO_DONTROUTE, 4, 0 },
	{ "TIMESTAMP", SO_TIMESTAMP, 4, 0 },
	{ "TIMESTAMPNS", SO_TIMESTAMPNS, 4, 0 },
	{ "RXQ_OVFL", SO_RXQ_OVFL, 4, 0 },
	{ "PRIORITY", SO_PRIORITY, 4, 0 },
	{ "MARK", SO_MARK, 4, 0 },
	{ "PEEK_OFF", SO_PEEK_OFF, 4, 0 },
	{ NULL, 0, 0, 0 },
};

static bool get(int fd, const struct option *o, unsigned char v[OPTION_SIZE])
{
	socklen_t n = o->size;

	memset(v, 0, OPTION_SIZE);
	return !getsockopt(fd, SOL_SOCKET, o->nr, v, &n) && n == o->size;
}

int unix_options_dump(struct dump *d, const struct dfile *f, int type, struct err *e)
{
	AUTO_FD int fresh = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	AUTO_BUF struct buf text = BUF_INIT;
	unsigned char is[OPTION_SIZE], was[OPTION_SIZE];

	if (fresh < 0)
		return err_sys(e, "cannot make a socket");
	for (const struct option *o = options; o->name; o++) {
		if (!get(f->lfd, o, is) || !get(fresh, o, was) || !memcmp(is, was, o->size))
			continue;
		/* An int of less than 0 is no size; others come back as they were set, buffers doubled. */
		buf_printf(&text, "%s%s:", text.len ? " " : "", o->name);
		for (unsigned i = 0; i < o->size; i++)
			buf_printf(&text, "%02x", is[i]);
	}
	d->files_out.failed |= buf_failed(&text);
	if (text.len)
		rec_put_str(&d->files_out, "OPTIONS", buf_str(&text));
	return 0;
}

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The next one of the list; 0 at its end, -1: malformed. */
static int next(const char **s, const struct option **out, unsigned char v[OPTION_SIZE])
{
	const char *c = strchr(*s, ':');
	size_t n = c ? (size_t)(c - *s) : 0;

	if (!**s)
		return 0;
	for (*out = options; (*out)->name; (*out)++)
		if (strlen((*out)->name) == n && !strncmp((*out)->name, *s, n))
			break;
	if (!c || !(*out)->name)
		return -1;
	c++;
	for (unsigned i = 0; i < (*out)->size; i++, c += 2) {
		if (hex(c[0]) < 0 || hex(c[1]) < 0)
			return -1;
		v[i] = (unsigned char)(hex(c[0]) << 4 | hex(c[1]));
	}
	if (*c && (*c != ' ' || !c[1]))
		return -1;
	*s = *c ? c + 1 : c;
	return 1;
}

static int set(int fd, const struct option *o, const unsigned char *v, struct err *e)
{
	unsigned char now[OPTION_SIZE];
	int n;

	if (get(fd, o, now) && !memcmp(now, v, o->size))
		return 0;
	if (!o->force)
		return setsockopt(fd, SOL_SOCKET, o->nr, v, o->size) ? err_sys(e, "cannot set the socket option %s", o->name) : 0;
	/* The kernel doubles what it is told. */
	memcpy(&n, v, sizeof n);
	n /= 2;
	if (setsockopt(fd, SOL_SOCKET, o->force, &n, sizeof n) && setsockopt(fd, SOL_SOCKET, o->nr, &n, sizeof n))
		return err_sys(e, "cannot set the socket option %s", o->name);
	if (get(fd, o, now) && !memcmp(now, v, o->size))
		return 0;
	err_set(e, EX_MISFIT, "the socket option %s cannot be %d here", o->name, 2 * n);
	err_hint(e, "net.core.wmem_max and net.core.rmem_max limit it");
	return -1;
}

int unix_options_set(const struct rec *rec, int fd, struct err *e)
{
	const char *s = rec_find(rec, "OPTIONS");
	const struct option *o;
	unsigned char v[OPTION_SIZE];
	int rc = 0;

	while (s && (rc = next(&s, &o, v)) > 0)
		if (fd >= 0 && set(fd, o, v, e))
			return -1;
	return rc < 0 ? err_set(e, EX_BAD_IMAGE, "line %zu: malformed OPTIONS", rec->line) : 0;
}

void unix_room(int fd, uint64_t n)
{
	int want = n < INT_MAX / 4 ? (int)n : INT_MAX / 4, now = 0;
	socklen_t len = sizeof now;

	if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &now, &len) || now / 2 >= want)
		return;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &want, sizeof want))
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &want, sizeof want);
}
