/* ns_cgroup: what a process sees as the root of the control groups, cgroup_namespaces(7). No fields: the root is the job's group; members are
 * in that or below. Any other root is refused by name. */
#include "res/member_group.h"
#include "res/ns_obj.h"
#include "common/cleanup.h"

#include <string.h>

/* Seen from inside, the group of a member whose group is the root is "/" in every hierarchy, one below is a path below that. */
static int groups_seen(void *ctx, struct buf *answer, int *give, struct err *e)
{
	const pid_t *pid = ctx;

	(void)give;
	return proc_read(answer, *pid, "cgroup", 1 << 20) ? err_sys(e, "cannot read control groups") : 0;
}

static int cgroup_check(struct dump *d, struct dns *n, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	struct ns_place at = NS_HERE;
	struct ns_job job;
	char *save = NULL;

	if (!n->p)
		return refuse(d, NULL, "a cgroup namespace in which no member lives");
	job = (struct ns_job){ .fn = groups_seen, .ctx = &n->p->pid };
	ns_place_of(d, n, &at);
	if (ns_run(&at, &job, &b, NULL, e))
		return -1;
	for (char *l = b.p ? strtok_r(b.p, "\n", &save) : NULL; l; l = strtok_r(NULL, "\n", &save)) {
		const char *name = strchr(l, ':'), *path = name ? strchr(name + 1, ':') : NULL, *below;

		if (!path)
			continue;
		if (member_group_seen(d, n->p->pid, name + 1, (size_t)(path - name - 1), &below, e))
			return -1;
		if (path[1] != '/' || strcmp(path + 2, below))
			refuse(d, n->p, "a cgroup namespace whose root is not the job's control group (its own is %s there)", path + 1);
	}
	return 0;
}

const struct ns_ops ns_cgroup_ops = { .kind = NSK_CGROUP, .what = "cgroup", .check = cgroup_check };
