/* keyring: the keyrings that threads have of their own: session, process and thread keyring; keyrings(7), keyctl(2).
 *
 * Records of a thread:
 *   TYPE="keys" [SESSION=id] [PROCESS=id] [THREAD=id] [DEFAULT=n]
 *   TYPE="key"  ID= IN=id of the ring it is in, 0 for the above
 *               first: KEYTYPE="keyring|user" DESC= UID= GID= PERM= [EXPIRES=] [DATA=]; elsewhere none: a link to it
 *   TYPE="key"  IN= USERRING="1"   a link to the user's keyring, which is not the job's
 *
 * A session keyring is taken for a login's, and is the restarter's after a restart, when it is the checkpointer's own, or is an
 * anonymous one that holds nothing but a link to its user's keyring. Others are made anew with their keys. Serial
 * numbers cannot be given: the kernel draws them by lot, so keys have new ones after a restart, which a program
 * finds by description, as it found them the first time.
 *
 * What a key holds only a thread that has it may read, so the thread is asked. When a key expires stands in /proc/keys, to
 * the unit that is shown there, and only for who may see the key: a child of ours looks with the thread's user id. */
#include "res/keyring.h"
#include "common/cleanup.h"
#include "res/proc_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct seen { int32_t serial; uint32_t id; bool met[2]; /* by the questions, by the dump */ };
struct dump_keys { struct seen *v; size_t n; bool shown; uid_t uid; struct buf list; };

struct walk {
	struct dump *d;
	struct dproc *p;
	struct dthread *th;
	struct remote *rem;
	bool dry;                     /* only adds refusals */
};
struct desc { char type[KEY_TYPE_MAX + 1]; uint32_t uid, gid, perm; char text[KEY_DESC_MAX + 1]; };

static uint64_t arg(long v) { return (uint64_t)(int64_t)v; }

static int cannot(struct walk *w, struct err *e, const char *fmt, const char *what)
{
	char text[KEY_DESC_MAX + 128];

	snprintf(text, sizeof text, fmt, what);
	if (w->dry)
		return refuse(w->d, w->p, "thread %d: %s", w->th->vtid, text);
	return err_set(e, EX_CANNOT_CKPT, "%s", text);
}

static struct dump_keys *state(struct dump *d, struct err *e)
{
	if (!d->keys && !(d->keys = calloc(1, sizeof *d->keys)))
		err_set(e, EX_FAILED, "out of memory");
	return d->keys;
}

void keyring_dump_free(struct dump *d)
{
	if (d->keys) {
		free(d->keys->v);
		buf_free(&d->keys->list);
	}
	free(d->keys);
	d->keys = NULL;
}

/* ---- when keys expire ---- */

/* In the child: /proc/keys as that user sees it. */
static _Noreturn void show_keys(int to, uid_t uid)
{
	char b[4096];
	ssize_t n;
	int fd;

	if (geteuid() == 0 && uid && (setgroups(0, NULL) || syscall(SYS_setresuid, uid, uid, uid)))
		_exit(1);
	fd = open("/proc/keys", O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && (n = read(fd, b, sizeof b)) > 0)
		if (write(to, b, (size_t)n) != n)
			_exit(1);
	_exit(0);
}

static int read_list(struct dump_keys *k, uid_t uid, struct err *e)
{
	AUTO_FD int from = -1;
	int p[2], status;
	char b[4096];
	ssize_t n;
	pid_t pid;

	if (k->shown && k->uid == uid)
		return 0;
	buf_free(&k->list);
	if (pipe2(p, O_CLOEXEC))
		return err_sys(e, "cannot make a pipe");
	from = p[0];
	pid = fork();
	if (!pid)
		show_keys(p[1], uid);
	close(p[1]);
	if (pid < 0)
		return err_sys(e, "cannot fork");
	while ((n = read(from, b, sizeof b)) > 0)
		buf_add(&k->list, b, (size_t)n);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	k->shown = true;
	k->uid = uid;
	return buf_failed(&k->list) ? err_set(e, EX_FAILED, "out of memory") : 0;
}

/* 0: never; -1: cannot be told; -2: it is expired, revoked or has no content. */
static int64_t expires(struct walk *w, int32_t serial, struct err *e)
{
	static const struct { char c; int n; } units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 604800 } };
	struct dump_keys *k = w->d->keys;
	char flags[16], left[16], unit;
	const char *s;
	unsigned nr;
	long long v;

	if (read_list(k, w->th->status.uid[3], e))
		return -1;
	for (s = buf_str(&k->list); s && *s; s = (s = strchr(s, '\n')) ? s + 1 : NULL) {
		if (sscanf(s, "%x %15s %*d %15s", &nr, flags, left) != 3 || nr != (unsigned)serial)
			continue;
		if (flags[0] != 'I' || strpbrk(flags, "RDUNi") || !strcmp(left, "expd"))
			return -2;
		if (!strcmp(left, "perm"))
			return 0;
		for (size_t i = 0; sscanf(left, "%lld%c", &v, &unit) == 2 && i < sizeof units / sizeof *units; i++)
			if (units[i].c == unit)
				return time(NULL) + v * units[i].n;
	}
	return -1;
}

/* ---- what the thread is asked ---- */

static int ask(struct walk *w, int op, int32_t serial, void *out, size_t max, long *n, struct err *e)
{
	uint64_t at;

	if (remote_room(w->rem, 1, max, e))
		return -1;
	at = remote_put(w->rem, NULL, max);
	if (remote_one(w->rem, "keyctl", n, e, SYS_keyctl, (uint64_t)op, arg(serial), at, max, 0, 0))
		return -1;
	if (*n > 0 && (size_t)*n <= max)
		memcpy(out, remote_data(w->rem, at), (size_t)*n);
	return 0;
}

/* 1: *out is filled, 0: it may not be looked at. */
static int describe(struct walk *w, int32_t serial, struct desc *out, struct err *e)
{
	AUTO_FREE char *b = malloc(KEY_DESC_MAX + 128);
	int at = 0;
	long n;

	if (!b)
		return err_set(e, EX_FAILED, "out of memory");
	if (ask(w, KEY_DESCRIBE, serial, b, KEY_DESC_MAX + 127, &n, e))
		return -1;
	if (n <= 0 || n > KEY_DESC_MAX + 127)
		return 0;
	b[n - 1] = 0;
	if (sscanf(b, "%31[^;];%u;%u;%x;%n", out->type, &out->uid, &out->gid, &out->perm, &at) != 4 || !at)
		return 0;
	snprintf(out->text, sizeof out->text, "%s", b + at);
	return 1;
}

/* Serials of the keys of a ring. -1: e. *n -1: it may not be read. */
static int contents(struct walk *w, int32_t ring, int32_t *keys, long *n, struct err *e)
{
	if (ask(w, KEY_READ, ring, keys, KEY_RING_MAX * sizeof *keys, n, e))
		return -1;
	if (*n > (long)(KEY_RING_MAX * sizeof *keys))
		return err_set(e, EX_CANNOT_CKPT, "a keyring with more than %d keys", KEY_RING_MAX);
	*n = *n < 0 ? -1 : *n / (long)sizeof *keys;
	return 0;
}

/* Valid until the next call. NULL: e. */
static struct seen *seen(struct dump_keys *k, int32_t serial, struct err *e)
{
	struct seen *v;

	for (size_t i = 0; i < k->n; i++)
		if (k->v[i].serial == serial)
			return &k->v[i];
	v = k->n < KEY_MAX ? realloc(k->v, (k->n + 1) * sizeof *v) : NULL;
	if (!v) {
		err_set(e, EX_CANNOT_CKPT, "too many keys");
		return NULL;
	}
	k->v = v;
	v[k->n] = (struct seen){ .serial = serial, .id = (uint32_t)k->n + 1 };
	return &v[k->n++];
}

static bool is_user_ring(const struct desc *x)
{
	return !strcmp(x->type, "keyring") && !strncmp(x->text, "_uid.", 5);
}

static int payload(struct walk *w, int32_t serial, const struct desc *x, struct err *e)
{
	AUTO_FREE char *b = malloc(KEY_DATA_MAX + 1);
	long n;

	if (!b)
		return err_set(e, EX_FAILED, "out of memory");
	if (ask(w, KEY_READ, serial, b, KEY_DATA_MAX, &n, e))
		return -1;
	if (n < 0 || n > KEY_DATA_MAX)
		return cannot(w, e, "key %s: cannot be read", x->text);
	if (!w->dry)
		rec_put_bin(&w->p->out, "DATA", b, (size_t)n);
	memset(b, 0, KEY_DATA_MAX);
	return 0;
}

static int walk(struct walk *w, int32_t serial, uint32_t in, int depth, struct err *e);

static int walk_ring(struct walk *w, int32_t serial, uint32_t id, int depth, struct err *e)
{
	AUTO_FREE int32_t *keys = malloc(KEY_RING_MAX * sizeof *keys);
	long n;

	if (!keys)
		return err_set(e, EX_FAILED, "out of memory");
	if (contents(w, serial, keys, &n, e))
		return -1;
	if (n < 0)
		return cannot(w, e, "a keyring that cannot be read%s", "");
	for (long i = 0; i < n; i++)
		if (walk(w, keys[i], id, depth + 1, e))
			return -1;
	return 0;
}

static void begin(struct walk *w, uint32_t id, uint32_t in)
{
	rec_begin(&w->p->out, "key");
	rec_put_u64(&w->p->out, "ID", id);
	rec_put_u64(&w->p->out, "IN", in);
}

/* Writes the record of a key and of what is in it. */
static int walk(struct walk *w, int32_t serial, uint32_t in, int depth, struct err *e)
{
	struct buf *out = &w->p->out;
	struct desc x;
	struct seen *s;
	uint32_t id;
	bool known, ring;
	int64_t when;
	int rc = describe(w, serial, &x, e);

	if (rc <= 0)
		return rc < 0 ? -1 : cannot(w, e, "a key that cannot be looked at%s", "");
	if (in && is_user_ring(&x)) {
		if (w->dry)
			return 0;
		begin(w, 0, in);
		rec_put_u64(out, "USERRING", 1);
		rec_end(out);
		return 0;
	}
	s = seen(w->d->keys, serial, e);
	if (!s)
		return -1;
	id = s->id;
	known = s->met[!w->dry];
	s->met[!w->dry] = true;
	if (known) {
		if (!w->dry && in) {
			begin(w, id, in);
			rec_end(out);
		}
		/* Only who finds a ring by its name can join it. */
		if (!in && x.uid != w->th->status.uid[3])
			return cannot(w, e, "a session keyring (%s) that it shares, but that belongs to another user", x.text);
		return 0;
	}
	ring = !strcmp(x.type, "keyring");
	if (!ring && strcmp(x.type, "user"))
		return cannot(w, e, "a key of type %s is not supported", x.type);
	if (depth >= KEY_DEPTH)
		return cannot(w, e, "keyrings too deep in each other (%s)", x.text);
	when = expires(w, serial, e);
	if (when == -2)
		return cannot(w, e, "key %s is expired, revoked or without content", x.text);
	if (when < 0)
		return cannot(w, e, "key %s: whether it expires cannot be seen (/proc/keys)", x.text);
	if (w->dry)
		return ring ? walk_ring(w, serial, id, depth, e) : payload(w, serial, &x, e);
	begin(w, id, in);
	rec_put_str(out, "KEYTYPE", x.type);
	rec_put_str(out, "DESC", x.text);
	rec_put_u64(out, "UID", x.uid);
	rec_put_u64(out, "GID", x.gid);
	rec_put_hex(out, "PERM", x.perm);
	if (when)
		rec_put_i64(out, "EXPIRES", when);
	if (!ring && payload(w, serial, &x, e))
		return -1;
	rec_end(out);
	return ring ? walk_ring(w, serial, id, depth, e) : 0;
}

/* A login session's keyring holds nothing but a link to its user's keyring: one session is as good as the next. */
static int is_login(struct walk *w, int32_t ring, bool *yes, struct err *e)
{
	AUTO_FREE int32_t *keys = malloc(KEY_RING_MAX * sizeof *keys);
	struct desc x;
	int rc;
	long n;

	*yes = false;
	if (!keys)
		return err_set(e, EX_FAILED, "out of memory");
	rc = describe(w, ring, &x, e);
	if (rc <= 0)
		return rc;
	if (!strncmp(x.text, "_uid_ses.", 9)) {
		*yes = true;
		return 0;
	}
	if (strcmp(x.text, "_ses") != 0)
		return 0;
	if (contents(w, ring, keys, &n, e))
		return -1;
	for (long i = 0; i < n; i++) {
		rc = describe(w, keys[i], &x, e);
		if (rc < 0)
			return -1;
		if (!rc || !is_user_ring(&x))
			return 0;
	}
	*yes = n >= 0;
	return 0;
}

static int ring_id(struct walk *w, int which, long *serial, struct err *e)
{
	return remote_one(w->rem, "keyctl", serial, e, SYS_keyctl, KEY_GET_ID, arg(which), 0, 0, 0, 0);
}

static int thread_keys(struct walk *w, struct err *e)
{
	static const struct { int nr; const char *key; } kinds[] = {
		{ KEY_SESSION, "SESSION" }, { KEY_PROCESS, "PROCESS" }, { KEY_THREAD, "THREAD" },
	};
	long own = syscall(SYS_keyctl, KEY_GET_ID, KEY_SESSION, 0), s[3], dflt;
	struct dump_keys *k = state(w->d, e);
	bool login = false;

	if (!k || remote_one(w->rem, "keyctl", &dflt, e, SYS_keyctl, KEY_SET_DEFAULT, arg(-1), 0, 0, 0, 0))
		return -1;
	for (int i = 0; i < 3; i++)
		if (ring_id(w, kinds[i].nr, &s[i], e))
			return -1;
	if (s[0] > 0 && s[0] != own && is_login(w, (int32_t)s[0], &login, e))
		return -1;
	if (s[0] == own || login)
		s[0] = 0;
	if (s[1] > 0 && w->p->nthr > 1)
		return cannot(w, e, "a process keyring of a process with threads%s is not supported", "");
	if (s[0] <= 0 && s[1] <= 0 && s[2] <= 0 && dflt <= 0)
		return 0;
	if (!w->dry) {
		struct buf *out = &w->p->out;

		rec_begin(out, "keys");
		for (int i = 0; i < 3; i++) {
			struct seen *x = s[i] > 0 ? seen(k, (int32_t)s[i], e) : NULL;

			if (s[i] > 0 && !x)
				return -1;
			if (x)
				rec_put_u64(out, kinds[i].key, x->id);
		}
		if (dflt > 0)
			rec_put_u64(out, "DEFAULT", (uint64_t)dflt);
		rec_end(out);
	}
	for (int i = 0; i < 3; i++)
		if (s[i] > 0 && walk(w, (int32_t)s[i], 0, 0, e))
			return -1;
	return 0;
}

static int keyring_ask(struct dump *d, struct dproc *p, struct err *e)
{
	struct walk w = { d, p, &p->thr[0], p->rem, true };

	return thread_keys(&w, e);
}

static int keyring_dump_thread(struct dump *d, struct dproc *p, struct dthread *th, struct err *e)
{
	struct walk w = { d, p, th, thread_rem(p, th), false };

	return thread_keys(&w, e);
}

const struct res_ops res_keyring = {
	.name = "keyring", .ask = keyring_ask, .dump_thread = keyring_dump_thread,
	.verify = keyring_verify, .restore_thread = keyring_restore_thread,
};
