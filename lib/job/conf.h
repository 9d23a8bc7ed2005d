/* conf: pam_xos.conf, as XtreemOS has it: one `Key value` (or `Key = value`) a line, # begins a comment.
 *
 *     UseCgroups  yes
 *     Subsystems  cpuacct,memory,pids
 */
#ifndef XOS_JOB_CONF_H
#define XOS_JOB_CONF_H

#include "common/buf.h"
#include "common/err.h"
#include <stdbool.h>

#define JOB_CONF_PATH "/etc/xos/nss_pam/pam_xos.conf"
/* Without a Subsystems line: what accounting needs, as far as this machine has it. */
#define JOB_CONF_SUBSYSTEMS "cpuacct?,memory?,pids?,blkio?"

struct job_conf {
	bool use_cgroups;          /* yes when not said */
	char subsystems[512];      /* comma-separated */
	struct buf warnings;       /* one line each, of keys that are not known; owned */
};
/* A file that is not there is the defaults. EX_FAILED with file and line for a value that makes no sense. */
int job_conf_read(struct job_conf *c, const char *path, struct err *e);
void job_conf_free(struct job_conf *c);

#endif
