/* tree_groups: process groups, zombies, and the end of helpers; when all processes are there.
 *
 * setpgid(2) joins only a group that exists in the same session: leaders first. A group whose leader has gone gets
 * one for the moment, made by a member. */
#include "cr/tree_ns.h"

#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* By p itself, or, where it cannot see the group from its PID namespace, by its parent, who may until it executes a program. */
static int setpgid_remote(struct restore *r, struct rproc *p, pid_t pgid, struct err *e)
{
	struct rproc *who = p;
	pid_t seen = pgid ? tree_number_in(r, p, pgid) : 0;

	if (pgid && !seen && p->parent) {
		who = p->parent;
		seen = tree_number_in(r, who, pgid);
	}
	if (pgid && !seen)
		return err_set(e, EX_FAILED, "process %d: process group %d cannot be joined from its PID namespace", p->pid, pgid);
	remote_call(who->rem, "setpgid", REMOTE_MUST, SYS_setpgid, who == p ? 0 : (uint64_t)tree_number_in(r, who, p->pid), (uint64_t)seen, 0, 0, 0, 0);
	return remote_run(who->rem, e) ? err_prefix(e, "process %d", p->pid) : 0;
}

/* Who was born in the right group stays: it may be one that it cannot even see from its PID namespace. */
static bool is_there(const struct rproc *p)
{
	struct proc_stat st;

	return !proc_stat_read(&st, p->made, 0, NULL) && st.pgrp == p->pgid;
}

static bool joins(const struct rproc *p) { return p->pgid && p->sid != p->pid && !p->helper && !is_there(p); }

int tree_join_now(struct restore *r, struct rproc *p, struct err *e)
{
	struct rproc *lead = p->pgid ? restore_find(r, p->pgid) : NULL;

	if (!lead || !lead->made || (lead->sid != lead->pid && !is_there(lead) && setpgid_remote(r, lead, 0, e)))
		return lead && lead->made ? -1 : 0;
	return p == lead || !joins(p) ? 0 : setpgid_remote(r, p, p->pgid, e);
}

/* All members of a group whose leader is not there. */
static int lost_group(struct restore *r, struct rproc *first, bool *done, struct err *e)
{
	struct rproc lead = { .pid = first->pgid, .helper = true };
	int rc;

	if (tree_fork(r, first, &lead, e))
		return -1;
	rc = setpgid_remote(r, &lead, 0, e);
	for (size_t i = 0; i < r->nprocs && !rc; i++)
		if (joins(r->procs[i]) && r->procs[i]->pgid == first->pgid) {
			rc = setpgid_remote(r, r->procs[i], first->pgid, e);
			done[i] = true;
		}
	if (tree_end(r, &lead, 0, first, rc ? NULL : e))
		rc = -1;
	if (lead.t) {
		remote_leave(lead.rem);
		tracee_kill(lead.t);
	}
	return rc;
}

int tree_groups(struct restore *r, struct err *e)
{
	bool *done = calloc(r->nprocs, sizeof *done);
	int rc = done ? 0 : err_set(e, EX_FAILED, "out of memory");

	for (size_t i = 0; i < r->nprocs && !rc; i++)
		if (joins(r->procs[i]) && r->procs[i]->pgid == r->procs[i]->pid) {
			rc = setpgid_remote(r, r->procs[i], 0, e);
			done[i] = true;
		}
	for (size_t i = 0; i < r->nprocs && !rc; i++) {
		if (!joins(r->procs[i]) || done[i])
			continue;
		rc = restore_find(r, r->procs[i]->pgid) ? setpgid_remote(r, r->procs[i], r->procs[i]->pgid, e)
							: lost_group(r, r->procs[i], done, e);
	}
	free(done);
	return rc;
}

int tree_zombies(struct restore *r, struct err *e)
{
	for (size_t i = 0; i < r->nprocs; i++) {
		struct rproc *p = r->procs[i];

		if (p->zombie && tree_end(r, p, p->exit_status & ~0x80, NULL, e))
			return -1;
		if (p->helper && tree_end(r, p, 0, NULL, e))
			return -1;
		if (p->helper)
			p->made = 0; /* it was our own child: reaped */
	}
	return 0;
}
