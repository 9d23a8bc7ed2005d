/* nsinit: restart in new PID, mount and (for an ordinary user) user namespaces, where PIDs are free and may be chosen
 * without privilege. user_namespaces(7), pid_namespaces(7).
 *
 *   caller (supervisor) -- init of the namespaces (restorer, reaper) -- the job's processes
 *
 * init ends with the job's main process, with its status, so that the supervisor waits for init as it would for it. */
#ifndef XOS_CR_NSINIT_H
#define XOS_CR_NSINIT_H

#include "cr/cr.h"
#include "job/job.h"

/* The caller may not choose PIDs here (no CAP_CHECKPOINT_RESTORE, no CAP_SYS_ADMIN). */
bool revive_needs_ns(void);
/* As cr_restart; sets j->nsinit, run->main (init's PID) and run->roots. */
int nsinit_restart(struct image *im, struct restart_run *run, struct job *j, struct err *e);

#endif
