/* creds_apply: from one set of credentials to another, in the order that the kernel's rules leave. A call that would change
 * nothing is not made: an ordinary user may not even make it. */
#include "res/creds.h"

#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static void apply_prctl(struct rproc *p, const char *what, int flags, uint64_t op, uint64_t a, uint64_t b)
{
	remote_call(p->rem, what, flags, SYS_prctl, op, a, b, 0, 0, 0);
}

static void apply_capset(struct rproc *p, uint64_t prm, uint64_t eff, uint64_t inh)
{
	static const uint32_t header[2] = { 0x20080522 /* version 3 */, 0 };
	const uint32_t data[6] = {
		(uint32_t)eff, (uint32_t)prm, (uint32_t)inh,
		(uint32_t)(eff >> 32), (uint32_t)(prm >> 32), (uint32_t)(inh >> 32)
	};
	uint64_t h = remote_put(p->rem, header, sizeof header);
	uint64_t d = remote_put(p->rem, data, sizeof data);

	remote_call(p->rem, "capset", REMOTE_MUST, SYS_capset, h, d, 0, 0, 0, 0);
}

static bool same_groups(const struct creds *a, const struct creds *b)
{
	return a->ngroups == b->ngroups &&
	       (a->ngroups == 0 || memcmp(a->groups, b->groups, a->ngroups * sizeof *a->groups) == 0);
}

/* Group ids before user ids. setfsuid comes behind setresuid, which sets it too. */
static void apply_ids(struct rproc *p, const struct creds *now, const struct creds *want)
{
	const gid_t *g = want->gid;
	const uid_t *u = want->uid;

	if (!same_groups(now, want))
		remote_call(p->rem, "setgroups", REMOTE_MUST, SYS_setgroups, want->ngroups,
			    remote_put(p->rem, want->groups, want->ngroups * sizeof *want->groups), 0, 0, 0, 0);
	if (memcmp(now->gid, g, sizeof now->gid) != 0) {
		remote_call(p->rem, "setresgid", REMOTE_MUST, SYS_setresgid, g[0], g[1], g[2], 0, 0, 0);
		remote_call(p->rem, "setfsgid", REMOTE_ANY, SYS_setfsgid, g[3], 0, 0, 0, 0, 0);
	}
	if (memcmp(now->uid, u, sizeof now->uid) != 0) {
		remote_call(p->rem, "setresuid", REMOTE_MUST, SYS_setresuid, u[0], u[1], u[2], 0, 0, 0);
		remote_call(p->rem, "setfsuid", REMOTE_ANY, SYS_setfsuid, u[3], 0, 0, 0, 0, 0);
	}
}

/* Inheritable before the bounding set shrinks: a capability outside of it cannot be added there. Ambient needs both
 * permitted and inheritable. */
static void apply_sets(struct rproc *p, const struct creds *now, const struct creds *want)
{
	if (now->inh != want->inh)
		apply_capset(p, now->prm, now->prm, want->inh);
	for (int c = 0; c < CAP_BITS; c++)
		if ((now->bnd & ~want->bnd) >> c & 1)
			apply_prctl(p, "prctl(PR_CAPBSET_DROP)", REMOTE_MUST, PR_CAPBSET_DROP, c, 0);
	for (int c = 0; c < CAP_BITS; c++) {
		if ((now->amb & ~want->amb) >> c & 1)
			apply_prctl(p, "prctl(PR_CAP_AMBIENT_LOWER)", REMOTE_MUST, PR_CAP_AMBIENT, PR_CAP_AMBIENT_LOWER, c);
		if ((want->amb & ~now->amb) >> c & 1)
			apply_prctl(p, "prctl(PR_CAP_AMBIENT_RAISE)", REMOTE_MUST, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, c);
	}
}

int creds_apply(struct rproc *p, const struct creds *now, const struct creds *want, struct err *e)
{
	bool fixup_off = memcmp(now->uid, want->uid, sizeof now->uid) != 0;
	unsigned sb = now->securebits;

	if (want->bnd & ~now->bnd)
		return err_set(e, EX_PERM, "the capability bounding set would have to grow from %llx to %llx",
			       (unsigned long long)now->bnd, (unsigned long long)want->bnd);
	if (now->nnp && !want->nnp)
		return err_set(e, EX_PERM, "xrestart runs with no_new_privs, which the job has not");
	if (remote_room(p->rem, 3 * CAP_BITS, want->ngroups * sizeof *want->groups + 256, e) < 0)
		return -1;
	/* A change of user ids must not touch the capability sets meanwhile. Where this is not allowed the
	 * comparison at the end tells what it led to. */
	if (fixup_off)
		apply_prctl(p, "prctl(PR_SET_SECUREBITS)", REMOTE_ANY, PR_SET_SECUREBITS, sb | SECBIT_NO_SETUID_FIXUP_, 0);
	apply_ids(p, now, want);
	apply_sets(p, now, want);
	if ((sb ^ want->securebits) == SECBIT_KEEP_CAPS_ && !fixup_off) /* the one bit that needs no capability */
		apply_prctl(p, "prctl(PR_SET_KEEPCAPS)", REMOTE_MUST, PR_SET_KEEPCAPS,
			    (want->securebits & SECBIT_KEEP_CAPS_) != 0, 0);
	else if (sb != want->securebits || fixup_off)
		apply_prctl(p, "prctl(PR_SET_SECUREBITS)", REMOTE_ANY, PR_SET_SECUREBITS, want->securebits, 0);
	if (fixup_off || now->prm != want->prm || now->eff != want->eff || now->inh != want->inh)
		apply_capset(p, want->prm, want->eff, want->inh);
	if (want->nnp && !now->nnp)
		apply_prctl(p, "prctl(PR_SET_NO_NEW_PRIVS)", REMOTE_MUST, PR_SET_NO_NEW_PRIVS, 1, 0);
	return remote_run(p->rem, e);
}

const char *creds_diff(const struct creds *a, const struct creds *b)
{
	static const struct { const char *name; size_t off; } sets[] = {
		{ "inheritable capabilities", offsetof(struct creds, inh) },
		{ "permitted capabilities", offsetof(struct creds, prm) },
		{ "effective capabilities", offsetof(struct creds, eff) },
		{ "capability bounding set", offsetof(struct creds, bnd) },
		{ "ambient capabilities", offsetof(struct creds, amb) },
	};

	if (memcmp(a->uid, b->uid, sizeof a->uid) != 0)
		return "user ids";
	if (memcmp(a->gid, b->gid, sizeof a->gid) != 0)
		return "group ids";
	if (!same_groups(a, b))
		return "supplementary groups";
	for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++)
		if (memcmp((const char *)a + sets[i].off, (const char *)b + sets[i].off, sizeof(uint64_t)) != 0)
			return sets[i].name;
	if (a->securebits != b->securebits)
		return "securebits";
	return a->nnp != b->nnp ? "no_new_privs" : NULL;
}
