/* recall: see recall.h. Calls that have a restart block: poll, nanosleep, clock_nanosleep, futex (FUTEX_WAIT, FUTEX_WAIT_BITSET). */
#include "tracee/recall.h"
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

enum { K_RESTART_RESTARTBLOCK = 516, CODE_BACK = 96, MAX_CLOCK = 16, MAX_NFDS = 1 << 20 };

static bool readable(struct tracee *t, uint64_t addr, void *p, size_t n)
{
	struct err ignore = ERR_INIT;

	return addr >= 4096 && addr < (uint64_t)1 << 57 && tracee_read(t, addr, p, n, &ignore) == 0;
}

static bool is_timespec(struct tracee *t, uint64_t addr)
{
	struct timespec ts;

	return readable(t, addr, &ts, sizeof ts) && ts.tv_sec >= 0 && ts.tv_nsec >= 0 && ts.tv_nsec < 1000000000;
}

static bool may_poll(struct tracee *t, const struct user_regs_struct *r)
{
	char c;

	return r->rsi < MAX_NFDS && (int)r->rdx != 0 && (!r->rsi || readable(t, r->rdi, &c, 1));
}

static bool may_nanosleep(struct tracee *t, const struct user_regs_struct *r)
{
	char c;

	return is_timespec(t, r->rdi) && (!r->rsi || readable(t, r->rsi, &c, 1));
}

/* With TIMER_ABSTIME it has no restart block. Negative numbers are CPU clocks. */
static bool may_clock_nanosleep(struct tracee *t, const struct user_regs_struct *r)
{
	return (int)r->rdi < MAX_CLOCK && (r->rdi >> 32 == 0 || r->rdi >> 32 == 0xffffffff) && r->rsi == 0 && is_timespec(t, r->rdx);
}

static bool may_futex(struct tracee *t, const struct user_regs_struct *r)
{
	int cmd = (int)r->rsi & FUTEX_CMD_MASK;
	char c[4];

	return r->rsi <= 0x1ff && (cmd == FUTEX_WAIT || cmd == FUTEX_WAIT_BITSET) && r->rdi % 4 == 0 && readable(t, r->rdi, c, 4) &&
	       is_timespec(t, r->r10);
}

static const struct { int nr; bool (*may)(struct tracee *t, const struct user_regs_struct *r); } calls[] = {
	{ SYS_futex, may_futex }, { SYS_clock_nanosleep, may_clock_nanosleep }, { SYS_poll, may_poll }, { SYS_nanosleep, may_nanosleep },
};
enum { NCALLS = sizeof calls / sizeof *calls };

/* `mov $nr, %eax` (b8 nr) before the syscall instruction at insn, the nearest that names one of them. */
static int by_code(struct tracee *t, const struct user_regs_struct *r, uint64_t insn)
{
	unsigned char code[CODE_BACK];

	if (!readable(t, insn - sizeof code, code, sizeof code))
		return -1;
	for (size_t i = sizeof code - 4; i-- > 0;) {
		uint32_t nr;

		memcpy(&nr, code + i + 1, 4);
		for (size_t k = 0; code[i] == 0xb8 && k < NCALLS; k++)
			if (nr == (uint32_t)calls[k].nr && calls[k].may(t, r))
				return calls[k].nr;
	}
	return -1;
}

/* By the arguments alone, as in syscall(3). */
static int by_arguments(struct tracee *t, const struct user_regs_struct *r)
{
	int found = -1;
	uint32_t word;

	/* What the futex is waited for to change from: hardly by chance. */
	if (may_futex(t, r) && readable(t, r->rdi, &word, 4) && word == (uint32_t)r->rdx)
		return SYS_futex;
	for (size_t k = 0; k < NCALLS; k++)
		if (calls[k].may(t, r)) {
			if (found >= 0)
				return -1;
			found = calls[k].nr;
		}
	return found;
}

bool thread_recall(struct tracee *t, struct user_regs_struct *regs)
{
	/* In the call; or before it, at the syscall instruction where the kernel has put it back. */
	bool in = (long)regs->orig_rax == SYS_restart_syscall && (long)regs->rax == -K_RESTART_RESTARTBLOCK;
	bool before = (long)regs->orig_rax < 0 && (long)regs->rax == SYS_restart_syscall;
	uint64_t insn = in ? regs->rip - 2 : regs->rip;
	unsigned char code[2];
	int nr;

	if (!in && (!before || !readable(t, insn, code, 2) || code[0] != 0x0f || code[1] != 0x05))
		return true;
	nr = by_code(t, regs, insn);
	if (nr < 0)
		nr = by_arguments(t, regs);
	if (nr < 0)
		return false;
	if (in)
		regs->orig_rax = (unsigned long long)nr;
	else
		regs->rax = (unsigned long long)nr;
	return true;
}
