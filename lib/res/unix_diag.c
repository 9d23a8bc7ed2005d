/* unix_diag: what sock_diag(7) tells of unix sockets: who is connected to whom, which name leads to which file, who waits to
 * be accepted. One dump of all sockets, whatever their number. */
#include "res/fd_unix.h"
#include "res/sock_diag.h"
#include "common/cleanup.h"
#include "common/log.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <string.h>
#include <sys/socket.h>

enum { MAX_SOCKETS = 1 << 22, ANSWER = 64 << 10 };

static int entry_fill(struct unix_entry *x, const struct nlmsghdr *h, const struct dns *net)
{
	const struct unix_diag_msg *m = NLMSG_DATA(h);
	struct rtattr *a = (struct rtattr *)(m + 1);
	long left = (long)h->nlmsg_len - (long)NLMSG_LENGTH(sizeof *m);

	*x = (struct unix_entry){ .ino = m->udiag_ino, .type = m->udiag_type, .state = m->udiag_state, .net = net };
	for (; RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		size_t n = RTA_PAYLOAD(a);
		const void *p = RTA_DATA(a);

		if (a->rta_type == UNIX_DIAG_NAME && n <= sizeof x->name.v) {
			memcpy(x->name.v, p, n);
			x->name.n = (unsigned)n;
		} else if (a->rta_type == UNIX_DIAG_PEER && n >= 4) {
			x->has_peer = true;
			memcpy(&x->peer, p, 4);
		} else if (a->rta_type == UNIX_DIAG_VFS && n >= sizeof(struct unix_diag_vfs)) {
			struct unix_diag_vfs v;
			memcpy(&v, p, sizeof v);
			x->has_file = true;
			x->file_ino = v.udiag_vfs_ino;
			x->file_dev = v.udiag_vfs_dev;
		} else if (a->rta_type == UNIX_DIAG_RQLEN && n >= sizeof(struct unix_diag_rqlen)) {
			struct unix_diag_rqlen q;
			memcpy(&q, p, sizeof q);
			x->backlog = q.udiag_wqueue;
		} else if (a->rta_type == UNIX_DIAG_SHUTDOWN && n >= 1) {
			memcpy(&x->shutdown, p, 1);
		} else if (a->rta_type == UNIX_DIAG_ICONS && n >= 4) {
			x->pending = malloc(n);
			if (!x->pending)
				return -1;
			memcpy(x->pending, p, n);
			x->npending = n / 4;
		}
	}
	return 0;
}

static struct unix_entry *room(struct unix_diag *t)
{
	/* Doubling at powers of two spares a capacity. */
	if (!(t->n & (t->n - 1))) {
		struct unix_entry *v = t->n < MAX_SOCKETS ? realloc(t->v, (t->n ? 2 * t->n : 1) * sizeof *v) : NULL;
		if (!v)
			return NULL;
		t->v = v;
	}
	return &t->v[t->n];
}

/* One datagram of the answer. 1: the last one. */
static int take(struct unix_diag *t, struct nlmsghdr *h, size_t n, bool *none, struct err *e)
{
	for (; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
		if (h->nlmsg_type == NLMSG_DONE)
			return 1;
		if (h->nlmsg_type == NLMSG_ERROR) {
			const struct nlmsgerr *r = NLMSG_DATA(h);
			/* ENOENT: no handler for the family; EINVAL: of an older kernel. */
			*none = r->error == -ENOENT || r->error == -EINVAL || r->error == -EOPNOTSUPP;
			errno = -r->error;
			return *none ? 1 : err_sys(e, "sock_diag");
		}
		if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY || h->nlmsg_len < NLMSG_LENGTH(sizeof(struct unix_diag_msg)))
			continue;
		struct unix_entry *x = room(t);
		if (!x || entry_fill(x, h, t->net))
			return err_set(e, EX_FAILED, "out of memory");
		t->n++;
	}
	return 0;
}

static int cmp_ino(const void *a, const void *b)
{
	uint32_t x = ((const struct unix_entry *)a)->ino, y = ((const struct unix_entry *)b)->ino;

	return x < y ? -1 : x > y;
}

int unix_diag_read(struct unix_diag *t, struct err *e)
{
	struct {
		struct nlmsghdr h;
		struct unix_diag_req r;
	} ask = {
		.h = { .nlmsg_len = sizeof ask, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.r = { .sdiag_family = AF_UNIX, .udiag_states = UINT32_MAX,
		       .udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_PEER | UDIAG_SHOW_ICONS | UDIAG_SHOW_RQLEN },
	};
	AUTO_FD int fd = sock_diag_open();
	AUTO_FREE char *mem = malloc(ANSWER);
	bool none = false;
	int rc = 0;

	if (!mem)
		return err_set(e, EX_FAILED, "out of memory");
	if (fd < 0 || fault("unix-diag") || send(fd, &ask, sizeof ask, 0) < 0)
		return 1;
	while (!rc) {
		ssize_t n = recv(fd, mem, ANSWER, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_sys(e, "sock_diag");
		rc = take(t, (struct nlmsghdr *)mem, (size_t)n, &none, e);
	}
	if (t->n)
		qsort(t->v, t->n, sizeof *t->v, cmp_ino);
	return rc < 0 ? -1 : none;
}

const struct unix_entry *unix_diag_find(const struct unix_diag *t, uint64_t ino)
{
	struct unix_entry key = { .ino = (uint32_t)ino };

	return t->n ? bsearch(&key, t->v, t->n, sizeof *t->v, cmp_ino) : NULL;
}

void unix_diag_free(struct unix_diag *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->v[i].pending);
	free(t->v);
	*t = (struct unix_diag){ 0 };
}
