#include "res/borrow.h"
#include "res/proc_ops.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { MAX_GROUPS = 1024, NOBODYS_GROUP = 65534 };

/* The effective ids, not only those for files (setfsuid(2)): /proc/sys asks who the caller is by the effective user id, and
 * setfsuid leaves most capabilities. The real ids stay root's, so nobody else may signal or trace us meanwhile. The kernel
 * takes away two things that a change of ids would, and that must stay: being dumpable (/proc/self) and dying with our parent. */
static int become(uid_t uid, gid_t gid, const gid_t *groups, int n)
{
	int dumpable = prctl(PR_GET_DUMPABLE), death = 0, rc;

	prctl(PR_GET_PDEATHSIG, &death);
	/* Groups can be changed as root only: before, or after. */
	rc = geteuid() && seteuid(uid) ? -1 : 0;
	if (!rc)
		rc = setgroups((size_t)n, groups) || setegid(gid) || (uid != geteuid() && seteuid(uid)) ? -1 : 0;
	prctl(PR_SET_PDEATHSIG, death);
	if (dumpable >= 0 && dumpable < 2)
		prctl(PR_SET_DUMPABLE, dumpable);
	return rc;
}

int borrow_begin(struct borrow *b, const struct restore *r, struct err *e)
{
	char text[16384];
	struct passwd pw, *found = NULL;
	gid_t theirs[MAX_GROUPS], gid = NOBODYS_GROUP;
	int n = MAX_GROUPS;

	*b = (struct borrow){ 0 };
	if (!proc_untrusted(r) || geteuid() != 0)
		return 0;
	b->ngroups = getgroups(0, NULL);
	b->groups = calloc((size_t)b->ngroups + 1, sizeof *b->groups);
	if (!b->groups || getgroups(b->ngroups, b->groups) < 0)
		return err_set(e, EX_FAILED, "out of memory");
	if (getpwuid_r(r->o->image_owner, &pw, text, sizeof text, &found) || !found)
		n = 0; /* an unknown user has no group */
	else if (gid = pw.pw_gid, getgrouplist(pw.pw_name, pw.pw_gid, theirs, &n) < 0)
		return err_set(e, EX_FAILED, "user %s is in more than %d groups", pw.pw_name, MAX_GROUPS);
	b->gid = getegid();
	b->on = true;
	if (!become(r->o->image_owner, gid, theirs, n))
		return 0;
	err_sys(e, "cannot act as user %u", r->o->image_owner);
	borrow_end(b, NULL);
	return -1;
}

int borrow_end(struct borrow *b, struct err *e)
{
	int saved = errno, rc = 0;

	if (b->on)
		rc = become(0, b->gid, b->groups, b->ngroups) ? err_sys(e, "cannot act as root again") : 0;
	free(b->groups);
	*b = (struct borrow){ 0 };
	errno = saved;
	return rc;
}
