#include "tracee/arch/x86_64/arch.h"
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

/* Kernel-internal results of interrupted calls (include/linux/errno.h). */
enum { K_RESTARTSYS = 512, K_RESTARTNOINTR = 513, K_RESTARTNOHAND = 514, K_RESTART_RESTARTBLOCK = 516 };

bool arch_is_native(const struct user_regs_struct *r) { return r->cs == 0x33; }
uint64_t arch_ip(const struct user_regs_struct *r) { return r->rip; }
void arch_set_ip(struct user_regs_struct *r, uint64_t ip) { r->rip = ip; }

bool arch_hide_eintr(struct user_regs_struct *r)
{
	/* signal(7), "Interruption of system calls by stop signals", and io_uring_enter. The socket calls,
	 * read and write are there for sockets with SO_RCVTIMEO or SO_SNDTIMEO. */
	static const int calls[] = {
		SYS_epoll_wait, SYS_epoll_pwait, 441 /* epoll_pwait2 */, SYS_semop, SYS_semtimedop,
		SYS_rt_sigtimedwait, SYS_io_getevents, 426 /* io_uring_enter */, SYS_connect, SYS_accept, SYS_accept4, SYS_recvfrom,
		SYS_recvmsg, SYS_recvmmsg, SYS_sendto, SYS_sendmsg, SYS_sendmmsg, SYS_read, SYS_readv,
		SYS_write, SYS_writev,
	};

	if ((long long)r->rax != -EINTR)
		return false;
	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++)
		if ((long long)r->orig_rax == calls[i]) {
			r->rax = (uint64_t)-K_RESTARTNOHAND;
			return true;
		}
	return false;
}

void arch_restart(struct user_regs_struct *r, bool same_thread)
{
	if ((long long)r->orig_rax < 0)
		return;
	switch (-(long long)r->rax) {
	case K_RESTART_RESTARTBLOCK:
		r->rax = same_thread ? SYS_restart_syscall : r->orig_rax;
		r->rip -= 2;
		break;
	case K_RESTARTSYS:
	case K_RESTARTNOINTR:
	case K_RESTARTNOHAND:
		r->rax = r->orig_rax;
		r->rip -= 2;
		break;
	}
	r->orig_rax = (uint64_t)-1;
}

bool arch_is_fork_call(long nr)
{
	return nr == SYS_clone || nr == SYS_vfork || nr == SYS_fork || nr == 435 /* clone3 */;
}

static uint64_t off(const char *label) { return (uint64_t)(label - xos_stub); }

void arch_to_entry(struct user_regs_struct *r, uint64_t stub)
{
	r->rip = stub;
	r->orig_rax = (uint64_t)-1; /* no restart of anything */
}

void arch_to_walk(struct user_regs_struct *r, uint64_t stub, uint64_t scratch, uint64_t entries)
{
	r->rip = stub + off(xos_stub_walk);
	r->rbx = entries;
	r->r12 = scratch;
	r->rax = 0;
	r->orig_rax = (uint64_t)-1;
}

void arch_to_exit(struct user_regs_struct *r, uint64_t stub, uint64_t scratch)
{
	r->rip = stub + off(xos_stub_exit);
	r->r12 = scratch;
	r->rax = 0;
	r->orig_rax = (uint64_t)-1;
}

void arch_to_call(struct user_regs_struct *r, uint64_t insn, long nr, uint64_t a0, uint64_t a1)
{
	r->rip = insn;
	r->rax = (uint64_t)nr;
	r->rdi = a0;
	r->rsi = a1;
	r->orig_rax = (uint64_t)-1;
}

uint64_t arch_to_rest(struct user_regs_struct *r, uint64_t insn)
{
	uint64_t rest;

	if ((long long)r->rax != -K_RESTART_RESTARTBLOCK)
		return 0;
	if ((long long)r->orig_rax == SYS_nanosleep)
		rest = r->rdi = r->rsi;
	else if ((long long)r->orig_rax == SYS_clock_nanosleep && r->rsi == 0 /* TIMER_ABSTIME */)
		rest = r->rdx = r->r10;
	else
		return 0;
	r->rax = r->orig_rax;
	r->orig_rax = (uint64_t)-1;
	r->rip = insn;
	return rest;
}

long arch_result(const struct user_regs_struct *r) { return (long)r->rax; }

void arch_journal(struct stub_journal *j, const struct user_regs_struct *r)
{
	struct user_regs_struct h = *r;

	arch_restart(&h, true);
	j->rax = h.rax;
	j->rbx = h.rbx;
	j->rcx = h.rcx;
	j->rdx = h.rdx;
	j->rsi = h.rsi;
	j->rdi = h.rdi;
	j->r8 = h.r8;
	j->r9 = h.r9;
	j->r10 = h.r10;
	j->r11 = h.r11;
	j->r12 = h.r12;
	j->rip = h.rip;
	j->regs = *r;
}

uint64_t arch_sp(const struct user_regs_struct *r) { return r->rsp; }

/* struct sigcontext, asm/sigcontext.h */
enum { F_R8, F_R9, F_R10, F_R11, F_R12, F_R13, F_R14, F_R15, F_RDI, F_RSI, F_RBP, F_RBX, F_RDX, F_RAX, F_RCX,
       F_RSP, F_RIP, F_SIGMASK = 32 };
_Static_assert(F_SIGMASK + 1 == ARCH_FRAME_WORDS, "signal frame");

bool arch_frame_is(const uint64_t *w, uint64_t stub, const struct stub_journal *j)
{
	return w[F_RIP] - stub < STUB_CODE && w[F_RSP] == j->regs.rsp && w[F_RBP] == j->regs.rbp &&
	       w[F_R13] == j->regs.r13 && w[F_R14] == j->regs.r14 && w[F_R15] == j->regs.r15;
}

void arch_frame_patch(uint64_t *w, const struct stub_journal *j)
{
	w[F_RAX] = j->rax;
	w[F_RBX] = j->rbx;
	w[F_RCX] = j->rcx;
	w[F_RDX] = j->rdx;
	w[F_RSI] = j->rsi;
	w[F_RDI] = j->rdi;
	w[F_R8] = j->r8;
	w[F_R9] = j->r9;
	w[F_R10] = j->r10;
	w[F_R11] = j->r11;
	w[F_R12] = j->r12;
	w[F_RIP] = j->rip;
	w[F_SIGMASK] = j->mask; /* the rendezvous signal has a handler in programs that catch everything */
}

uint64_t arch_rendezvous_off(void) { return off(xos_stub_exit); }
bool arch_in_exit(uint64_t o) { return o >= off(xos_stub_exit) && o < off(xos_stub_walk); }
