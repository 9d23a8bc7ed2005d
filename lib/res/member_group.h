/* member_group: control groups below the job's own, with their settings, and which thread is in which. cgroups(7).
 *
 * member_group.c: what is there, as records; member_group_restore.c: the same below the restarted job's group. The control files that
 * count as settings are those of cgroup/settings.h.
 *
 * Member `groups` (absent: there are none): TYPE="group" ID= HIERARCHY= PATH= ..., parents before children, each followed by its
 * TYPE="group_setting" FILE= VALUE=. In task_PID, of a thread: TYPE="in_group" GROUP=id for each hierarchy in which it is below the job's group.
 *
 * Restart: groups are made, with what members must find (cpusets, threaded groups, enabled controllers), before any process is, because a v2
 * group that gives controllers to groups below holds no process itself: a process without parent inside the job is born in its
 * own v2 group. All others are moved there as soon as they are made, so that their memory counts where it did. Limits come when all are complete. */
#ifndef XOS_MEMBER_GROUP_H
#define XOS_MEMBER_GROUP_H

#include "res/res.h"

enum {
	GROUPS_MAX = 65536,            /* below the job's, in all hierarchies */
	GROUPS_RECORDS_MAX = 4 << 20,  /* of member `groups` */
	GROUP_PATH_MAX = 2048,         /* below the job's group */
	GROUP_FILES_MAX = 512,         /* whose owner or mode is told */
};

/* ---- checkpoint ---- */
bool member_groups_needed(const struct dump *d);
int member_groups_dump(struct dump *d, struct buf *out, struct err *e); /* text of member `groups` */
void member_groups_report(struct dump *d, struct buf *out);              /* a line for each */
void member_groups_dump_free(struct dump *d);
/* Where a member's thread is below the job's group, in the hierarchy with these controllers (as /proc/PID/cgroup names them; n bytes): "a/b"; "" for
 * the job's own, and where the job has none. */
int member_group_seen(struct dump *d, pid_t tid, const char *controllers, size_t n, const char **path, struct err *e);

/* The number of the group of that path there; 0: none. */
uint32_t member_group_find(struct dump *d, const char *controllers, size_t n, const char *path);

/* ---- restart ---- */
int member_groups_parse(struct restore *r, struct err *e);  /* after the plan; nothing is made */
int member_groups_make(struct restore *r, struct err *e);   /* before namespaces, whose roots they may be, and before files are opened, which may be theirs */
bool member_group_there(const struct restore *r, uint32_t id);            /* is that the number of a group below the job's? */
int member_group_enter(struct restore *r, uint32_t id, struct err *e);   /* of the caller, a child of ours */
/* Before any process of the job is made: v2 groups give their controllers to those below, and hold no process from then on. */
int member_groups_control(struct restore *r, struct err *e);
/* A path that is not there, but may be that of a group or control file that a restart makes. */
bool member_group_to_be(const char *path);
/* The directory of the v2 group that p, a process without parent inside, is to be born in; `job`, the one of the job's group (or -1), where it is that.
 * The restorer's own descriptor. */
int member_groups_birth(struct restore *r, struct rproc *p, int job);
/* Moves p, which has just been made and is where its maker is (p->groups), to its groups. */
int member_groups_put(struct restore *r, struct rproc *p, struct err *e);
int member_groups_finish(struct restore *r, struct err *e); /* limits, owners; all processes are complete, and stand */
void member_groups_restore_free(struct restore *r);
/* For the table's entry in member_group.c. */
int member_group_verify(struct restore *r, struct rproc *p, struct err *e);
int member_group_restore_thread(struct restore *r, struct rproc *p, struct rthread *th, struct err *e);

#endif
