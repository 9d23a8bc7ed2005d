/* recall: which call a thread is in that the kernel has restarted with restart_syscall(2).
 *
 * A call with a relative time-out that is interrupted without a handler (by an earlier checkpoint, a freezer, a debugger, job control)
 * goes on as restart_syscall; its own number is then in no register any more, and the kernel's restart block,
 * which knows it, is not in an image: in a new process restart_syscall fails with EINTR. The arguments still stand in their
 * registers, though, and most code has the number in the instruction before `syscall`. */
#ifndef XOS_TRACEE_RECALL_H
#define XOS_TRACEE_RECALL_H

#include "tracee/tracee.h"

/* regs of a stopped thread of t (as in tthread.regs): when they are about to go on with restart_syscall, puts the call itself there.
 * Returns false when they are, and it cannot be told which call it is: EINTR will be seen. */
bool thread_recall(struct tracee *t, struct user_regs_struct *regs);

#endif
