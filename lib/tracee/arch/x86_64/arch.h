/* arch: everything in the engine that names registers or system call numbers of the architecture. */
#ifndef XOS_TRACEE_ARCH_H
#define XOS_TRACEE_ARCH_H

#include "tracee/arch/x86_64/stub.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

/* NT_X86_XSTATE; NT_PRFPREG is all there is on a CPU without XSAVE (-ENODEV then): the 512 bytes of FXSAVE. */
enum { ARCH_NT_XSTATE = 0x202, ARCH_NT_FPREGS = 2, ARCH_FPREGS_SIZE = 512 };

/* The thread runs 64-bit code (cs), which the stub is. */
bool arch_is_native(const struct user_regs_struct *r);
uint64_t arch_ip(const struct user_regs_struct *r);
void arch_set_ip(struct user_regs_struct *r, uint64_t ip);
/* PTRACE_PEEKUSER offsets. */
enum { ARCH_OFF_IP = __builtin_offsetof(struct user_regs_struct, rip),
       ARCH_OFF_BASE = __builtin_offsetof(struct user_regs_struct, r12) };

/* epoll_wait, semop and a few more return EINTR after any ptrace stop, handler or not. Turns that into
 * ERESTARTNOHAND, so that the kernel runs the call again unless a handler runs first. True: changed. */
bool arch_hide_eintr(struct user_regs_struct *r);
/* Prepares an interrupted call so that it goes on without the kernel's restart rules, in the same
 * thread (same_thread: restart_syscall(2) for a call with a time-out) or in a new process (the call itself). */
void arch_restart(struct user_regs_struct *r, bool same_thread);
/* The call that thread is in may wait for a vfork child. */
bool arch_is_fork_call(long nr);

/* Registers for the stub: enter it from its beginning, run the list at `entries`, leave by its exit. */
void arch_to_entry(struct user_regs_struct *r, uint64_t stub);
void arch_to_walk(struct user_regs_struct *r, uint64_t stub, uint64_t scratch, uint64_t entries);
void arch_to_exit(struct user_regs_struct *r, uint64_t stub, uint64_t scratch);
/* One call by the syscall instruction at insn. */
void arch_to_call(struct user_regs_struct *r, uint64_t insn, long nr, uint64_t a0, uint64_t a1);
/* r: of a nanosleep or clock_nanosleep that was interrupted, with a place for what remains of it. Makes them a call of the same, by
 * the instruction at insn, that sleeps for what remains and writes it there again. Returns the address of that place, 0: r is no such call. */
uint64_t arch_to_rest(struct user_regs_struct *r, uint64_t insn);
long arch_result(const struct user_regs_struct *r);
/* Fills the journal's registers. */
void arch_journal(struct stub_journal *j, const struct user_regs_struct *r);
/* Registers and mask as a signal frame holds them (struct sigcontext and uc_sigmask). Is this the
 * frame of a handler that interrupted the stub of journal j? Then _patch lets it return where j leads. */
enum { ARCH_FRAME_WORDS = 33 };
bool arch_frame_is(const uint64_t *w, uint64_t stub, const struct stub_journal *j);
void arch_frame_patch(uint64_t *w, const struct stub_journal *j);
uint64_t arch_sp(const struct user_regs_struct *r);
/* Offset of the address where a thread stands at the rendezvous. */
uint64_t arch_rendezvous_off(void);
/* The thread is on its way out of the stub. */
bool arch_in_exit(uint64_t off);

/* Raw system call of this process: for code that must not touch libc's state. */
static inline long arch_syscall(long nr, long a0, long a1, long a2, long a3, long a4, long a5)
{
	long ret;
	register long r10 __asm__("r10") = a3;
	register long r8 __asm__("r8") = a4;
	register long r9 __asm__("r9") = a5;

	__asm__ volatile("syscall" : "=a"(ret)
			 : "a"(nr), "D"(a0), "S"(a1), "d"(a2), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

#endif
