/* keyring_restore: keyrings back, by the threads that have them; see keyring.c.
 *
 * The first thread that had a session keyring joins a new one of its name and fills it. Others that shared it join it by
 * that name, for which its user must be allowed to search it meanwhile; the last one takes that back. Threads
 * inherit the leader's keyrings when they are made, and leave them for their own here. */
#include "res/keyring.h"
#include "common/cleanup.h"
#include "res/proc_ops.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#define KEY_USR_SEARCH 0x080000

struct rkey {
	uint32_t id, in;               /* id 0: a link to the user's keyring */
	const char *type, *desc;       /* NULL: a link */
	uint64_t uid, gid, perm;
	int64_t expires;
	struct rec rec;
	int32_t serial;                /* once it is made, 0 before */
	size_t users;                  /* threads that have it as session keyring and have not come yet */
};
struct restore_keys { struct rkey *v; size_t n; };

static uint64_t arg(long v) { return (uint64_t)(int64_t)v; }

void keyring_restore_free(struct restore *r)
{
	if (r->keys)
		free(r->keys->v);
	free(r->keys);
	r->keys = NULL;
}

static struct rkey *find(struct restore *r, uint64_t id)
{
	for (size_t i = 0; id && i < r->keys->n; i++)
		if (r->keys->v[i].id == id && r->keys->v[i].type)
			return &r->keys->v[i];
	return NULL;
}

static int parse(const struct rec *rec, struct rkey *k, struct err *e)
{
	uint64_t id, in, user;

	k->rec = *rec;
	if (rec_u64_or(rec, "USERRING", 1, 0, &user, e) || rec_u64(rec, "ID", KEY_MAX, &id, e) || rec_u64(rec, "IN", KEY_MAX, &in, e))
		return -1;
	k->id = (uint32_t)id;
	k->in = (uint32_t)in;
	if (!id != !!user || (!id && !in) || id == in)
		return err_set(e, EX_BAD_IMAGE, "line %zu: malformed key", rec->line);
	if (!rec_find(rec, "KEYTYPE"))
		return 0;
	if (rec_str(rec, "KEYTYPE", &k->type, e) || rec_str(rec, "DESC", &k->desc, e) ||
	    rec_u64(rec, "UID", UINT32_MAX, &k->uid, e) || rec_u64(rec, "GID", UINT32_MAX, &k->gid, e) ||
	    rec_u64(rec, "PERM", UINT32_MAX, &k->perm, e) ||
	    (rec_find(rec, "EXPIRES") && rec_i64(rec, "EXPIRES", 1, INT64_MAX, &k->expires, e)))
		return -1;
	if (!id || (strcmp(k->type, "keyring") && strcmp(k->type, "user")) || !*k->desc || strlen(k->desc) > KEY_DESC_MAX)
		return err_set(e, EX_BAD_IMAGE, "line %zu: malformed key", rec->line);
	return 0;
}

/* All keys of the job: a ring may be filled by another thread than the one whose records have it. */
static int collect(struct restore *r, struct err *e)
{
	struct rec rec;

	r->keys = calloc(1, sizeof *r->keys);
	if (!r->keys)
		return err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; i < r->nprocs; i++)
		for (size_t k = 0; k < r->procs[i]->recs.n; k++) {
			struct rkey *v;

			rec_list_get(&r->procs[i]->recs, k, &rec);
			if (strcmp(rec_type(&rec), "key"))
				continue;
			v = r->keys->n < KEY_MAX * 2 ? realloc(r->keys->v, (r->keys->n + 1) * sizeof *v) : NULL;
			if (!v)
				return err_set(e, EX_BAD_IMAGE, "too many keys");
			r->keys->v = v;
			v += r->keys->n++;
			memset(v, 0, sizeof *v);
			if (parse(&rec, v, e))
				return -1;
			if (v->type && find(r, v->id) != v)
				return err_set(e, EX_BAD_IMAGE, "line %zu: key %u is there already", rec.line, v->id);
		}
	return 0;
}

/* *out: the ring that this key of the record names, NULL: none. */
static int ring_of(struct restore *r, const struct rec *rec, const char *key, struct rkey **out, struct err *e)
{
	uint64_t id;

	*out = NULL;
	if (!rec_find(rec, key))
		return 0;
	if (rec_u64(rec, key, KEY_MAX, &id, e))
		return -1;
	*out = find(r, id);
	if (!*out || (*out)->in || strcmp((*out)->type, "keyring"))
		return err_set(e, EX_BAD_IMAGE, "line %zu: %s names no keyring", rec->line, key);
	return 0;
}

int keyring_verify(struct restore *r, struct rproc *p, struct err *e)
{
	struct rkey *ring;
	struct rec rec;
	uint64_t dflt;

	if (!r->keys && collect(r, e))
		return -1;
	for (size_t i = 0; i < p->nthr; i++) {
		if (rthread_rec(p, &p->thr[i], "keys", 0, &rec) < 0)
			continue;
		if (ring_of(r, &rec, "PROCESS", &ring, e) || ring_of(r, &rec, "THREAD", &ring, e) ||
		    ring_of(r, &rec, "SESSION", &ring, e) || rec_u64_or(&rec, "DEFAULT", 7, 0, &dflt, e))
			return -1;
		if (ring)
			ring->users++;
	}
	return 0;
}

/* ---- calls ---- */

static int keyctl(struct rproc *p, const char *what, long *ret, struct err *e, int op, uint64_t a, uint64_t b, uint64_t c)
{
	if (remote_one(p->rem, "keyctl", ret, e, SYS_keyctl, (uint64_t)op, a, b, c, 0, 0))
		return -1;
	if (*ret >= 0)
		return 0;
	errno = (int)-*ret;
	return err_sys(e, "keys: cannot %s", what);
}

static int put_text(struct rproc *p, const char *s, uint64_t *at, struct err *e)
{
	if (remote_room(p->rem, 1, strlen(s) + 1, e))
		return -1;
	*at = remote_put(p->rem, s, strlen(s) + 1);
	return 0;
}

static int attributes(struct rproc *p, const struct rkey *k, uint64_t perm, struct err *e)
{
	char b[256];
	uint64_t at;
	uint32_t uid, gid;
	int64_t left;
	long n;

	if (remote_room(p->rem, 1, sizeof b, e))
		return -1;
	at = remote_put(p->rem, NULL, sizeof b);
	if (keyctl(p, "describe one", &n, e, KEY_DESCRIBE, arg(k->serial), at, sizeof b))
		return -1;
	memcpy(b, remote_data(p->rem, at), sizeof b);
	b[sizeof b - 1] = 0;
	if (sscanf(b, "%*[^;];%u;%u;", &uid, &gid) != 2)
		return err_set(e, EX_FAILED, "keys: %s is not understood", b);
	if ((uid != k->uid || gid != k->gid) &&
	    keyctl(p, "change the owner of one", &n, e, KEY_CHOWN, arg(k->serial), uid != k->uid ? k->uid : arg(-1),
		   gid != k->gid ? k->gid : arg(-1)))
		return -1;
	left = k->expires - time(NULL);
	if (k->expires && keyctl(p, "set a timeout", &n, e, KEY_SET_TIMEOUT, arg(k->serial),
				 left < 1 ? 1 : left > UINT32_MAX ? UINT32_MAX : (uint64_t)left, 0))
		return -1;
	return keyctl(p, "set permissions", &n, e, KEY_SETPERM, arg(k->serial), perm, 0);
}

/* The user's keyring that the session so far has a link to, else the one that is found by name. In a user
 * namespace the latter is another one. */
static int user_ring(struct rproc *p, int32_t session, long *serial, struct err *e)
{
	int32_t keys[64];
	long n, len;
	uint64_t at;

	*serial = KEY_USER;
	if (session <= 0)
		return 0;
	if (remote_room(p->rem, 1, sizeof keys, e))
		return -1;
	at = remote_put(p->rem, NULL, sizeof keys);
	if (remote_one(p->rem, "keyctl", &n, e, SYS_keyctl, KEY_READ, arg(session), at, sizeof keys, 0, 0))
		return -1;
	if (n <= 0)
		return 0;
	n = n > (long)sizeof keys ? (long)sizeof keys : n;
	memcpy(keys, remote_data(p->rem, at), (size_t)n);
	for (long i = 0; i < n / 4; i++) {
		char desc[128] = "";
		const char *name;

		if (remote_room(p->rem, 1, sizeof desc, e))
			return -1;
		at = remote_put(p->rem, NULL, sizeof desc);
		if (remote_one(p->rem, "keyctl", &len, e, SYS_keyctl, KEY_DESCRIBE, arg(keys[i]), at, sizeof desc, 0, 0))
			return -1;
		if (len > 0 && len <= (long)sizeof desc)
			memcpy(desc, remote_data(p->rem, at), (size_t)len - 1);
		name = strrchr(desc, ';');
		if (name && !strncmp(name + 1, "_uid.", 5))
			*serial = keys[i];
	}
	return 0;
}

/* ---- rings ---- */

static int add_key(struct rproc *p, struct rkey *k, int32_t ring, struct err *e)
{
	AUTO_FREE unsigned char *data = malloc(KEY_DATA_MAX);
	uint64_t type, desc, at = 0;
	size_t n = 0;
	long ret;

	if (!data)
		return err_set(e, EX_FAILED, "out of memory");
	if (!strcmp(k->type, "user") && rec_bin(&k->rec, "DATA", data, 1, KEY_DATA_MAX, &n, e))
		return -1;
	if (remote_room(p->rem, 1, n + strlen(k->desc) + 256, e) || put_text(p, k->type, &type, e) || put_text(p, k->desc, &desc, e))
		return -1;
	if (n)
		at = remote_put(p->rem, data, n);
	memset(data, 0, KEY_DATA_MAX);
	if (remote_one(p->rem, "add_key", &ret, e, SYS_add_key, type, desc, at, n, arg(ring), 0))
		return -1;
	if (ret < 0) {
		errno = (int)-ret;
		return err_sys(e, "cannot add key %s", k->desc);
	}
	k->serial = (int32_t)ret;
	return 0;
}

static int fill(struct restore *r, struct rproc *p, struct rkey *ring, long user, int depth, struct err *e)
{
	long n;

	if (depth > KEY_DEPTH)
		return err_set(e, EX_BAD_IMAGE, "line %zu: keyrings too deep in each other", ring->rec.line);
	for (size_t i = 0; i < r->keys->n; i++) {
		struct rkey *k = &r->keys->v[i], *to = k->id ? find(r, k->id) : NULL;

		if (k->in != ring->id)
			continue;
		if (k->id && !to)
			return err_set(e, EX_BAD_IMAGE, "line %zu: a link to an unknown key", k->rec.line);
		if (!to || to->serial) {
			if (keyctl(p, "link one", &n, e, KEY_LINK, to ? arg(to->serial) : arg(user), arg(ring->serial), 0))
				return -1;
			continue;
		}
		if (add_key(p, to, ring->serial, e) || (!strcmp(to->type, "keyring") && fill(r, p, to, user, depth + 1, e)) ||
		    attributes(p, to, to->perm, e))
			return -1;
	}
	return 0;
}

static int make_session(struct restore *r, struct rproc *p, struct rkey *k, struct err *e)
{
	long old, user, n;
	uint64_t name = 0;

	if (keyctl(p, "find its session", &old, e, KEY_GET_ID, arg(KEY_SESSION), 0, 0) || user_ring(p, (int32_t)old, &user, e))
		return -1;
	if (strcmp(k->desc, "_ses") && put_text(p, k->desc, &name, e))
		return -1;
	if (keyctl(p, "join a new session", &n, e, KEY_JOIN, name, 0, 0))
		return -1;
	k->serial = (int32_t)n;
	/* One that others let us search is joined and not made. */
	if (keyctl(p, "read a keyring", &n, e, KEY_READ, arg(k->serial), 0, 0))
		return -1;
	if (n)
		return err_set(e, EX_BUSY, "keys: there is a session keyring %s already", k->desc);
	return fill(r, p, k, user, 0, e) || attributes(p, k, k->users > 1 ? k->perm | KEY_USR_SEARCH : k->perm, e) ? -1 : 0;
}

static int join_session(struct rproc *p, const struct rkey *k, struct err *e)
{
	uint64_t name;
	long n;

	if (keyctl(p, "find its session", &n, e, KEY_GET_ID, arg(KEY_SESSION), 0, 0))
		return -1;
	if (n != k->serial) {
		if (put_text(p, k->desc, &name, e) || keyctl(p, "join a session", &n, e, KEY_JOIN, name, 0, 0))
			return -1;
		if (n != k->serial)
			return err_set(e, EX_FAILED, "keys: session keyring %s was found more than once", k->desc);
	}
	return k->users > 1 ? 0 : keyctl(p, "set permissions", &n, e, KEY_SETPERM, arg(k->serial), k->perm, 0);
}

/* A process or thread keyring: the kernel makes it when it is asked for. */
static int make_own(struct restore *r, struct rproc *p, struct rkey *k, int which, struct err *e)
{
	long n;

	if (keyctl(p, "make a keyring", &n, e, KEY_GET_ID, arg(which), 1, 0))
		return -1;
	k->serial = (int32_t)n;
	return fill(r, p, k, KEY_USER, 0, e) || attributes(p, k, k->perm, e) ? -1 : 0;
}

int keyring_restore_thread(struct restore *r, struct rproc *p, struct rthread *th, struct err *e)
{
	struct rkey *session, *process, *thread;
	struct rec rec;
	uint64_t dflt;
	long n;

	if (rthread_rec(p, th, "keys", 0, &rec) < 0)
		return 0;
	if (ring_of(r, &rec, "SESSION", &session, e) || ring_of(r, &rec, "PROCESS", &process, e) ||
	    ring_of(r, &rec, "THREAD", &thread, e) || rec_u64_or(&rec, "DEFAULT", 7, 0, &dflt, e))
		return -1;
	if (session) {
		if (session->serial ? join_session(p, session, e) : make_session(r, p, session, e))
			return -1;
		session->users--;
	}
	if ((process && make_own(r, p, process, KEY_PROCESS, e)) || (thread && make_own(r, p, thread, KEY_THREAD, e)))
		return -1;
	return dflt ? keyctl(p, "set the default keyring", &n, e, KEY_SET_DEFAULT, dflt, 0, 0) : 0;
}
