/* ns_cgroup: what a process sees as the root of the control groups, cgroup_namespaces(7). Field: ROOTS=the groups below the job's (member_group.h)
 * that are the root, one for each hierarchy in which it is not the job's own group. In hierarchies in which the job has no group, the root must be where
 * its members are. */
#include "res/member_group.h"
#include "res/ns_obj.h"
#include "common/cleanup.h"

#include <stdlib.h>
#include <string.h>

/* Seen from inside, the group of a member whose group is the root is "/" in every hierarchy, one below is a path below that. */
static int groups_seen(void *ctx, struct buf *answer, int *give, struct err *e)
{
	const pid_t *pid = ctx;

	(void)give;
	return proc_read(answer, *pid, "cgroup", 1 << 20) ? err_sys(e, "cannot read control groups") : 0;
}

/* One line of what is seen: the group that is the root there. 1: it is none of ours. */
static int root_of(struct dump *d, const struct dns *n, const char *line, uint32_t *id, struct err *e)
{
	const char *name = strchr(line, ':'), *seen = name ? strchr(name + 1, ':') : NULL, *at;
	char root[GROUP_PATH_MAX];
	size_t k, all;

	*id = 0;
	if (!seen)
		return 0;
	k = (size_t)(seen - name - 1);
	seen++;
	if (member_group_seen(d, n->p->pid, name + 1, k, &at, e))
		return -1;
	seen += *seen == '/';
	all = strlen(at);
	if (all < strlen(seen) || strcmp(at + all - strlen(seen), seen) || (*seen && all > strlen(seen) && at[all - strlen(seen) - 1] != '/'))
		return 1;
	all -= strlen(seen);
	snprintf(root, sizeof root, "%.*s", (int)(all && *seen ? all - 1 : all), at);
	*id = *root ? member_group_find(d, name + 1, k, root) : 0;
	return *root && !*id;
}

/* All roots into ids, with blanks between. refusing: those that cannot be restored are told. */
static int roots(struct dump *d, struct dns *n, bool refusing, struct buf *ids, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	struct ns_place at = NS_HERE;
	struct ns_job job = { .fn = groups_seen, .ctx = &n->p->pid };
	char *save = NULL;

	ns_place_of(d, n, &at);
	if (ns_run(&at, &job, &b, NULL, e))
		return -1;
	for (char *l = b.p ? strtok_r(b.p, "\n", &save) : NULL; l; l = strtok_r(NULL, "\n", &save)) {
		uint32_t id;
		int rc = root_of(d, n, l, &id, e);

		if (rc < 0)
			return -1;
		if (rc && refusing)
			refuse(d, n->p, "a cgroup namespace whose root is neither the job's control group nor one below (its own is seen as %s)", l);
		if (id)
			buf_printf(ids, "%s%u", ids->len ? " " : "", id);
	}
	return buf_failed(ids) ? err_set(e, EX_FAILED, "out of memory") : 0;
}

static int cgroup_check(struct dump *d, struct dns *n, struct err *e)
{
	AUTO_BUF struct buf ids = BUF_INIT;

	if (!n->p)
		return refuse(d, NULL, "a cgroup namespace in which no member lives");
	return roots(d, n, true, &ids, e);
}

static int cgroup_dump(struct dump *d, struct dns *n, struct buf *out, struct err *e)
{
	AUTO_BUF struct buf ids = BUF_INIT;

	if (roots(d, n, false, &ids, e))
		return -1;
	if (ids.len)
		rec_put_str(out, "ROOTS", buf_str(&ids));
	return 0;
}

/* Calls fn for each group of ROOTS; NULL: only looks whether they are sound. */
static int each_root(struct restore *r, const struct rns *n, int (*fn)(struct restore *r, uint32_t id, struct err *e), struct err *e)
{
	const char *s = rec_find(&n->rec, "ROOTS");
	char *end;

	for (; s && *s; s = end + (*end == ' ')) {
		unsigned long id = strtoul(s, &end, 10);

		if (*s < '0' || *s > '9' || (*end && *end != ' ') || id > GROUPS_MAX || !member_group_there(r, (uint32_t)id))
			return err_set(e, EX_BAD_IMAGE, "line %zu: ROOTS", n->rec.line);
		if (fn && fn(r, (uint32_t)id, e))
			return -1;
	}
	return 0;
}

static int cgroup_verify(struct restore *r, struct rns *n, struct err *e) { return each_root(r, n, NULL, e); }

int ns_cgroup_enter(struct restore *r, const struct rns *n, struct err *e)
{
	if (r->check_only)
		return 0;
	if (r->enter && r->enter(r->enter_ctx, false))
		return err_set(e, EX_FAILED, "cannot enter the job's control group");
	return each_root(r, n, member_group_enter, e);
}

const struct ns_ops ns_cgroup_ops = { .kind = NSK_CGROUP, .what = "cgroup", .check = cgroup_check, .dump = cgroup_dump, .verify = cgroup_verify };
