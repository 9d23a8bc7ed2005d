/* member_group: control groups below the job's own. All members must be in the same groups (cgroups(7)): a restart puts all
 * into the job's new group. One that made a group for itself below it is refused by name. No record. */
#include "res/proc_ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The first line in which two /proc/PID/cgroup texts differ, as in a; copied to out. */
static void differing_line(const char *a, const char *b, char *out, size_t n)
{
	while (*a) {
		size_t la = strcspn(a, "\n"), lb = strcspn(b, "\n");

		if (la != lb || strncmp(a, b, la)) {
			snprintf(out, n, "%.*s", (int)la, a);
			return;
		}
		a += la + (a[la] == '\n');
		b += lb + (b[lb] == '\n');
	}
	snprintf(out, n, "?");
}

static int group_check(struct dump *d, struct dproc *p, struct err *e)
{
	struct buf b = BUF_INIT;
	char line[512];

	if (proc_read(&b, p->pid, "cgroup", 1 << 20) || buf_failed(&b)) {
		buf_free(&b);
		return err_sys(e, "cannot read its control groups");
	}
	if (!d->groups) {
		d->groups = b.p;
		return 0;
	}
	if (strcmp(buf_str(&b), d->groups)) {
		differing_line(buf_str(&b), d->groups, line, sizeof line);
		refuse(d, p, "it is in a control group of its own (%s)", line);
	}
	buf_free(&b);
	return 0;
}

const struct res_ops res_member_group = { .name = "control group", .check = group_check };
