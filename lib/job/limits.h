/* limits: what `-l LIMIT=VALUE` asks for, and a job's groups made accordingly. */
#ifndef XOS_JOB_LIMITS_H
#define XOS_JOB_LIMITS_H

#include "common/err.h"
#include "job/conf.h"
#include "job/job.h"
#include <stdint.h>

enum { JOB_MAX_LIMITS = 32 };

struct job_limits {
	struct { char *name, *value; } v[JOB_MAX_LIMITS]; size_t n; /* those of control groups; owned */
	uint64_t disk, inodes, time_ms;                            /* 0: none */
	char *text;                                                /* all of them, a space between; owned */
};
/* "memory=1G"; EX_USAGE_ for what is no limit. */
int job_limits_add(struct job_limits *l, const char *arg, struct err *e);
/* All words of a record's LIMITS. */
int job_limits_parse(struct job_limits *l, const char *text, struct err *e);
void job_limits_free(struct job_limits *l);

/* Makes j's groups (kind JOB_CGROUP, paths recorded before they exist) with the limits, or leaves it a tree job:
 * because the configuration says UseCgroups no, or the caller can make no group. `subsystems` is what the user asked for, NULL:
 * the configuration's. With subsystems or a limit of a group asked for, no group is an error that says what is missing.
 * Also the scratch directory, owned by j's uid and gid, when disk or inodes are limited or `disk` is a subsystem.
 * On failure groups and directory are gone again. xrestart passes j->subsystems and the parsed j->limits. */
int job_groups_make(struct job *j, const char *subsystems, const struct job_limits *l, const struct job_conf *c,
		    struct err *e);

#endif
