/* pt: ptrace(2) and waitpid(2) as the engine uses them. Raw, because glibc's and musl's wrappers and
 * headers differ, and because PEEK through libc has an ambiguous result. Private to lib/tracee. */
#ifndef XOS_TRACEE_PT_H
#define XOS_TRACEE_PT_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	XPT_PEEKUSER = 3, XPT_POKEDATA = 5, XPT_CONT = 7, XPT_GETREGS = 12, XPT_SETREGS = 13,
	XPT_DETACH = 17, XPT_SYSCALL = 24, XPT_SETOPTIONS = 0x4200, XPT_GETEVENTMSG = 0x4201,
	XPT_GETSIGINFO = 0x4202, XPT_GETREGSET = 0x4204, XPT_SETREGSET = 0x4205, XPT_SEIZE = 0x4206,
	XPT_INTERRUPT = 0x4207, XPT_PEEKSIGINFO = 0x4209, XPT_GETSIGMASK = 0x420a,
	XPT_SETSIGMASK = 0x420b, XPT_GET_RSEQ = 0x420f, XPT_GET_USER_DISPATCH = 0x4211,
};
enum {
	XPT_O_SYSGOOD = 1, XPT_O_FORK = 2, XPT_O_VFORK = 4, XPT_O_CLONE = 8,
	XPT_O_EXITKILL = 1 << 20, XPT_O_SUSPEND_SECCOMP = 1 << 21,
	XPT_OPTIONS = XPT_O_SYSGOOD | XPT_O_FORK | XPT_O_VFORK | XPT_O_CLONE,
};
enum { XPT_EV_FORK = 1, XPT_EV_VFORK = 2, XPT_EV_CLONE = 3, XPT_EV_STOP = 128 };

static inline long pt(long req, pid_t tid, uint64_t addr, const void *data)
{
	return syscall(SYS_ptrace, req, (long)tid, addr, data);
}
static inline long pt_resume(long req, pid_t tid, int sig)
{
	return syscall(SYS_ptrace, req, (long)tid, 0L, (long)sig);
}
/* The same for a thread that is to come to an event stop next: any other stop has used up the
 * interrupt that was asked for before it ("any trap clears pending STOP trap", kernel/signal.c). */
static inline long pt_interrupt_and_resume(long req, pid_t tid, int sig)
{
	pt(XPT_INTERRUPT, tid, 0, NULL);
	return pt_resume(req, tid, sig);
}
/* Takes the status of a stop away for good: a signal about to be delivered is then lost when we die. */
static inline void pt_consume(pid_t tid)
{
	int st;

	waitpid(tid, &st, __WALL | WNOHANG);
}
/* Waits for exactly this thread: other children of the caller are not ours. 1: a status as waitpid(2)
 * gives it, 0: nothing yet (WNOHANG), -1 with errno. A stop is looked at but not consumed: wait(2) would clear
 * the signal that is about to be delivered, and our death before the resume would lose it. So a
 * thread must not be waited for again before it is resumed. A dead one is reaped. */
static inline int pt_wait(pid_t tid, int *status, int flags)
{
	siginfo_t si;
	int r;

	si.si_pid = 0;
	do
		r = waitid(P_PID, (id_t)tid, &si, WEXITED | WNOWAIT | __WALL | flags);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -1;
	if (si.si_pid == 0)
		return 0;
	if (si.si_code == CLD_TRAPPED) {
		*status = si.si_status << 8 | 0x7f;
		return 1;
	}
	do
		r = waitpid(tid, status, __WALL | flags);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -1 : r > 0;
}

static inline bool st_dead(int st) { return WIFEXITED(st) || WIFSIGNALED(st); }
static inline int st_event(int st) { return st >> 16; }
static inline bool st_is_stop_event(int st) { return WIFSTOPPED(st) && st_event(st) == XPT_EV_STOP; }
static inline bool st_is_syscall(int st) { return WIFSTOPPED(st) && WSTOPSIG(st) == (SIGTRAP | 0x80); }
/* A child or thread was made. */
static inline bool st_is_birth(int st)
{
	int ev = st_event(st);

	return WIFSTOPPED(st) && (ev == XPT_EV_FORK || ev == XPT_EV_VFORK || ev == XPT_EV_CLONE);
}
/* A signal is about to be delivered. */
static inline bool st_is_signal(int st)
{
	return WIFSTOPPED(st) && st_event(st) == 0 && WSTOPSIG(st) != (SIGTRAP | 0x80);
}

#endif
