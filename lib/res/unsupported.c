/* unsupported: state of processes and threads that no resource restores, refused by name. What is seen from outside is
 * refused in check(); what only the process itself can be asked in ask().
 *
 * Not seen at all: the death signal (PR_SET_PDEATHSIG) of a first thread that has exited; iopl(2). */
#include "res/proc_ops.h"
#include "common/cleanup.h"

#include <cpuid.h>
#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	PT_GETREGSET = 0x4204, PT_GET_USER_DISPATCH = 0x4211, PT_GET_THREAD_AREA = 25, /* ptrace(2) */
	REGSET_IOPERM = 0x201, REGSET_SHSTK = 0x204,
	CS_32 = 0x23,
	TLS_FIRST = 12, TLS_LAST = 14,
	PKRU_FEATURE = 9, PKRU_INIT = 0x55555554,
	SCHED_CORE_ = 62, SCHED_CORE_GET = 0,
};
struct user_desc_ { uint32_t entry, base, limit, flags; };

static bool regset_there(pid_t tid, int type)
{
	char b[16384];
	struct iovec v = { b, sizeof b };

	return syscall(SYS_ptrace, PT_GETREGSET, tid, type, &v) == 0 && v.iov_len > 0;
}

/* Where PKRU stands in the state that ptrace shows, 0: this CPU has no protection keys. */
static unsigned pkru_offset(void)
{
	unsigned a, b, c, d;

	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(c & 1u << 4 /* OSPKE */))
		return 0;
	return __get_cpuid_count(0xd, PKRU_FEATURE, &a, &b, &c, &d) && a >= 4 ? b : 0;
}

/* at: pkru_offset(), asked once: CPUID is slow in virtual machines. */
static void pkeys_check(struct dump *d, struct dproc *p, struct dthread *th, unsigned at)
{
	AUTO_BUF struct buf x = BUF_INIT;
	uint64_t present;
	uint32_t pkru;

	if (!at || thread_get_xstate(th->t, &x, NULL) < 0 || x.len < at + sizeof pkru)
		return;
	memcpy(&present, x.p + 512, sizeof present); /* XSTATE_BV */
	memcpy(&pkru, x.p + at, sizeof pkru);
	if (present >> PKRU_FEATURE & 1 && pkru != PKRU_INIT)
		refuse(d, p, "thread %d: memory protection keys (pkey_alloc)", th->vtid);
}

static void thread_check(struct dump *d, struct dproc *p, struct dthread *th, unsigned pkru_at)
{
	struct { uint64_t mode, selector, offset, len; } sud = { 0 };
	uint64_t cookie = 0;

	if (th->t->regs.cs == CS_32)
		refuse(d, p, "thread %d: 32-bit code", th->vtid);
	if (regset_there(th->tid, REGSET_SHSTK))
		refuse(d, p, "thread %d: shadow stack", th->vtid);
	if (regset_there(th->tid, REGSET_IOPERM))
		refuse(d, p, "thread %d: I/O port permissions (ioperm)", th->vtid);
	if (syscall(SYS_ptrace, PT_GET_USER_DISPATCH, th->tid, sizeof sud, &sud) == 0 && sud.mode)
		refuse(d, p, "thread %d: syscall user dispatch", th->vtid);
	for (int i = TLS_FIRST; i <= TLS_LAST; i++) {
		struct user_desc_ u = { 0 };

		if (syscall(SYS_ptrace, PT_GET_THREAD_AREA, th->tid, i, &u) == 0 && (u.base || u.limit)) {
			refuse(d, p, "thread %d: a segment of set_thread_area", th->vtid);
			break;
		}
	}
	if (syscall(SYS_prctl, SCHED_CORE_, SCHED_CORE_GET, th->tid, 0, &cookie) == 0 && cookie)
		refuse(d, p, "thread %d: core scheduling group (PR_SCHED_CORE)", th->vtid);
	pkeys_check(d, p, th, pkru_at);
}

static int unsupported_check(struct dump *d, struct dproc *p, struct err *e)
{
	unsigned pkru_at;

	if (p->zombie)
		return 0;
	pkru_at = pkru_offset();
	for (size_t i = 0; i < p->nthr; i++)
		thread_check(d, p, &p->thr[i], pkru_at);
	return 0;
}

/* ---- what the process must be asked itself ---- */

static int unsupported_ask(struct dump *d, struct dproc *p, struct err *e)
{
	long n;

	if (remote_room(p->rem, 1, 16, e) ||
	    remote_one(p->rem, "modify_ldt", &n, e, SYS_modify_ldt, 0, remote_put(p->rem, NULL, 16), 16, 0, 0, 0))
		return -1;
	return n > 0 ? refuse(d, p, "a local descriptor table (modify_ldt)") : 0;
}

const struct res_ops res_unsupported = {
	.name = "unsupported",
	.check = unsupported_check,
	.ask = unsupported_ask,
};
