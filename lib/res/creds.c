/* creds: the credentials of each thread: user and group ids, groups, the five capability sets, securebits,
 * no_new_privs. Restored and then read back: what is not exactly as it was is an error.
 *
 * Who may have what: an image that a user wrote is restarted by root with that user's ids only, his groups as
 * the user database gives them, and no capability (verify(), unless --trust). For the user himself the kernel
 * is the judge.
 *
 * In a user namespace of our own (r->own_ns) setgroups(2) is denied, and the groups of the image cannot be set. They need not
 * be: the processes keep the user's real groups, which such a namespace shows as the overflow gid unless they
 * are mapped. So the list of the image is first translated to what would be seen here, and what is
 * equal then is left alone; anything else is an error like every difference. */
#include "res/creds.h"
#include "res/ns_obj.h"
#include "common/cleanup.h"

#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { OVERFLOW_GID = 65534, SECBIT_MAX = 0xfff };
#define ID_MAX ((uint64_t)UINT32_MAX - 1)

static const char *const uid_keys[] = { "UID", "EUID", "SUID", "FSUID" };
static const char *const gid_keys[] = { "GID", "EGID", "SGID", "FSGID" };

static int gid_order(const void *a, const void *b)
{
	gid_t x = *(const gid_t *)a, y = *(const gid_t *)b;

	return x < y ? -1 : x > y;
}

static void creds_free(struct creds *c) { free(c->groups); }
#define AUTO_CREDS __attribute__((cleanup(creds_free)))

/* ---- checkpoint ---- */

int creds_put_thread(struct dproc *p, const struct dthread *th, long securebits, struct err *e)
{
	const struct proc_status *s = &th->status;
	AUTO_BUF struct buf groups = BUF_INIT;

	if (securebits < 0)
		return err_set(e, EX_FAILED, "prctl(PR_GET_SECUREBITS): %s", strerror((int)-securebits));
	rec_begin(&p->out, "creds");
	for (int i = 0; i < 4; i++)
		rec_put_u64(&p->out, uid_keys[i], s->uid[i]);
	for (int i = 0; i < 4; i++)
		rec_put_u64(&p->out, gid_keys[i], s->gid[i]);
	for (size_t i = 0; i < s->ngroups; i++)
		buf_printf(&groups, i ? " %u" : "%u", s->groups[i]);
	if (buf_failed(&groups))
		return err_set(e, EX_FAILED, "out of memory");
	rec_put_str(&p->out, "GROUPS", buf_str(&groups));
	rec_put_hex(&p->out, "CAPINH", s->capinh);
	rec_put_hex(&p->out, "CAPPRM", s->capprm);
	rec_put_hex(&p->out, "CAPEFF", s->capeff);
	rec_put_hex(&p->out, "CAPBND", s->capbnd);
	rec_put_hex(&p->out, "CAPAMB", s->capamb);
	rec_put_hex(&p->out, "SECUREBITS", (uint64_t)securebits);
	rec_put_i64(&p->out, "NO_NEW_PRIVS", s->no_new_privs);
	rec_end(&p->out);
	return 0;
}

/* ---- the record ---- */

static int groups_parse(const struct rec *rec, struct creds *c, struct err *e)
{
	const char *s;
	char *end;

	if (rec_str(rec, "GROUPS", &s, e) < 0)
		return -1;
	c->groups = malloc((strlen(s) / 2 + 1) * sizeof *c->groups);
	if (!c->groups)
		return err_set(e, EX_FAILED, "out of memory");
	while (*s) {
		unsigned long long g = strtoull(s, &end, 10);

		if (end == s || *s < '0' || *s > '9' || g > ID_MAX || (*end && *end != ' ') || c->ngroups == PROC_MAX_GROUPS)
			return err_set(e, EX_BAD_IMAGE, "line %zu: GROUPS", rec->line);
		c->groups[c->ngroups++] = (gid_t)g;
		s = *end ? end + 1 : end;
	}
	qsort(c->groups, c->ngroups, sizeof *c->groups, gid_order);
	return 0;
}

static int creds_get(struct rproc *p, const struct rthread *th, struct creds *c, struct err *e)
{
	struct rec rec;
	uint64_t v, nnp, sb;

	if (rthread_rec(p, th, "creds", 0, &rec) < 0)
		return err_set(e, EX_BAD_IMAGE, "thread %d: there is no creds record", th->tid);
	for (int i = 0; i < 4; i++) {
		if (rec_u64(&rec, uid_keys[i], ID_MAX, &v, e) < 0)
			return -1;
		c->uid[i] = (uid_t)v;
		if (rec_u64(&rec, gid_keys[i], ID_MAX, &v, e) < 0)
			return -1;
		c->gid[i] = (gid_t)v;
	}
	if (groups_parse(&rec, c, e) < 0 ||
	    rec_u64(&rec, "CAPINH", UINT64_MAX, &c->inh, e) < 0 || rec_u64(&rec, "CAPPRM", UINT64_MAX, &c->prm, e) < 0 ||
	    rec_u64(&rec, "CAPEFF", UINT64_MAX, &c->eff, e) < 0 || rec_u64(&rec, "CAPBND", UINT64_MAX, &c->bnd, e) < 0 ||
	    rec_u64(&rec, "CAPAMB", UINT64_MAX, &c->amb, e) < 0 || rec_u64(&rec, "SECUREBITS", SECBIT_MAX, &sb, e) < 0 ||
	    rec_u64(&rec, "NO_NEW_PRIVS", 1, &nnp, e) < 0)
		return -1;
	c->securebits = (unsigned)sb;
	c->nnp = nnp;
	return 0;
}

/* ---- who may have what ---- */

struct grant { uid_t uid; gid_t *groups; int ngroups; };

static int grant_read(struct grant *g, uid_t uid, struct err *e)
{
	char text[16384];
	struct passwd pw, *found = NULL;

	*g = (struct grant){ .uid = uid, .ngroups = 1024 };
	g->groups = calloc((size_t)g->ngroups, sizeof *g->groups);
	if (!g->groups)
		return err_set(e, EX_FAILED, "out of memory");
	if (getpwuid_r(uid, &pw, text, sizeof text, &found) != 0 || !found)
		g->ngroups = 0; /* an unknown user has no group */
	else if (getgrouplist(pw.pw_name, pw.pw_gid, g->groups, &g->ngroups) < 0)
		return err_set(e, EX_FAILED, "user %s is in more than 1024 groups", pw.pw_name);
	return 0;
}

static bool grant_has(const struct grant *g, gid_t gid)
{
	for (int i = 0; i < g->ngroups; i++)
		if (g->groups[i] == gid)
			return true;
	return false;
}

static int grant_check(const struct grant *g, const struct creds *c, bool own_user_ns, struct err *e)
{
	for (int i = 0; i < 4; i++)
		if (c->uid[i] != g->uid)
			return err_set(e, EX_PERM, "user id %u, but the image was written by user %u", c->uid[i], g->uid);
	for (int i = 0; i < 4; i++)
		if (!grant_has(g, c->gid[i]))
			return err_set(e, EX_PERM, "group id %u, which user %u, who wrote the image, has not", c->gid[i], g->uid);
	for (size_t i = 0; i < c->ngroups; i++)
		if (!grant_has(g, c->groups[i]))
			return err_set(e, EX_PERM, "group %u, which user %u, who wrote the image, has not",
				       c->groups[i], g->uid);
	/* In a user namespace of the job they are no power over anything else. */
	if (own_user_ns)
		return 0;
	if (c->inh | c->prm | c->eff | c->amb)
		return err_set(e, EX_PERM, "capabilities, but user %u wrote the image", g->uid);
	if (c->securebits & ~(unsigned)SECBIT_KEEP_CAPS_)
		return err_set(e, EX_PERM, "securebits %#x, but user %u wrote the image", c->securebits, g->uid);
	return 0;
}

static int creds_verify(struct restore *r, struct rproc *p, struct err *e)
{
	struct grant grant = { 0 };
	int ret = 0;

	if (proc_untrusted(r) && grant_read(&grant, r->o->image_owner, e) < 0)
		return -1;
	for (size_t i = 0; i < p->nthr + p->headless && ret == 0; i++) {
		AUTO_CREDS struct creds c = { 0 };

		ret = creds_get(p, &p->thr[i], &c, e);
		if (ret == 0 && proc_untrusted(r))
			ret = grant_check(&grant, &c, ns_of(r, p, NSK_USER) != NULL, e);
		if (ret < 0 && e->code == EX_PERM) {
			err_prefix(e, "thread %d: credentials exceed those of the image's owner", p->thr[i].tid);
			err_hint(e, "restart with --trust if you know where the image comes from");
		}
	}
	free(grant.groups);
	return ret;
}

/* ---- restart ---- */

/* What gid is called in our user namespace. */
static gid_t gid_seen(const char *map, gid_t gid)
{
	unsigned in, out, n;
	int len;

	while (sscanf(map, " %u %u %u%n", &in, &out, &n, &len) == 3) {
		if (gid >= in && gid - in < n)
			return gid;
		map += len;
	}
	return OVERFLOW_GID;
}

static int groups_as_seen(struct creds *c, struct err *e)
{
	AUTO_BUF struct buf map = BUF_INIT;

	if (proc_read(&map, getpid(), "gid_map", 1 << 20) < 0)
		return err_sys(e, "/proc/self/gid_map");
	for (size_t i = 0; i < c->ngroups; i++)
		c->groups[i] = gid_seen(buf_str(&map), c->groups[i]);
	qsort(c->groups, c->ngroups, sizeof *c->groups, gid_order);
	return 0;
}

/* As it is now; securebits are given: /proc does not tell them. */
static int creds_read(struct creds *c, pid_t pid, pid_t tid, unsigned securebits, struct err *e)
{
	struct proc_status s;

	if (proc_status_read(&s, pid, tid, e) < 0)
		return -1;
	memcpy(c->uid, s.uid, sizeof c->uid);
	memcpy(c->gid, s.gid, sizeof c->gid);
	free(c->groups);
	c->groups = s.groups;
	c->ngroups = s.ngroups;
	s.groups = NULL;
	s.ngroups = 0;
	proc_status_free(&s);
	if (c->ngroups)
		qsort(c->groups, c->ngroups, sizeof *c->groups, gid_order);
	c->inh = s.capinh;
	c->prm = s.capprm;
	c->eff = s.capeff;
	c->bnd = s.capbnd;
	c->amb = s.capamb;
	c->nnp = s.no_new_privs;
	c->securebits = securebits;
	return 0;
}

int creds_take_ids(struct restore *r, struct rproc *p, struct rproc *who, struct err *e)
{
	AUTO_CREDS struct creds want = { 0 }, now = { 0 };
	unsigned sb = (unsigned)prctl(PR_GET_SECUREBITS, 0, 0, 0, 0);
	gid_t *groups;

	if (creds_get(p, &p->thr[0], &want, e) < 0 || (r->own_ns && groups_as_seen(&want, e) < 0) ||
	    creds_read(&now, who->t->pid, who->t->thr[0].tid, sb, e) < 0)
		return -1;
	/* All but the ids as it is now. */
	groups = now.groups;
	memcpy(now.uid, want.uid, sizeof now.uid);
	memcpy(now.gid, want.gid, sizeof now.gid);
	now.groups = want.groups;
	now.ngroups = want.ngroups;
	want = now;
	now.groups = NULL;
	free(groups);
	if (creds_read(&now, who->t->pid, who->t->thr[0].tid, sb, e) < 0)
		return -1;
	return creds_diff(&want, &now) ? creds_apply(who, &now, &want, e) : 0;
}

static int creds_restore_thread(struct restore *r, struct rproc *p, struct rthread *th, struct err *e)
{
	AUTO_CREDS struct creds want = { 0 }, now = { 0 };
	pid_t pid = p->t->pid, tid = p->t->thr[th->index].tid;
	const char *diff;
	/* The thread's are still those of its maker: ours, or those that a user namespace begins with. */
	long sb = ns_of(r, p, NSK_USER) ? 0 : prctl(PR_GET_SECUREBITS, 0, 0, 0, 0);

	if (creds_get(p, th, &want, e) < 0 || (r->own_ns && groups_as_seen(&want, e) < 0) ||
	    creds_read(&now, pid, tid, (unsigned)sb, e) < 0)
		return -1;
	if (!creds_diff(&want, &now))
		return 0;
	if (creds_apply(p, &now, &want, e) < 0)
		return err_prefix(e, "thread %d: credentials", th->tid);
	if (remote_one(p->rem, "prctl(PR_GET_SECUREBITS)", &sb, e, SYS_prctl, PR_GET_SECUREBITS, 0, 0, 0, 0, 0) < 0 ||
	    creds_read(&now, pid, tid, (unsigned)sb, e) < 0)
		return -1;
	diff = creds_diff(&want, &now);
	if (diff)
		return err_set(e, EX_PERM, "thread %d: credentials: the %s cannot be restored", th->tid, diff);
	return 0;
}

const struct res_ops res_creds = {
	.name = "creds",
	.verify = creds_verify,
	.restore_thread = creds_restore_thread,
};
