/* prctl_table: see prctl_table.h. Numbers are the kernel's ABI (include/uapi/linux/prctl.h, asm/prctl.h), spelled out
 * because libc's headers may be older than the kernel. */
#include "res/prctl_table.h"

#include <sys/syscall.h>

enum {
	NR_PRCTL = SYS_prctl, NR_ARCH = SYS_arch_prctl, NR_PERSONALITY = SYS_personality,
	SET_PDEATHSIG = 1, GET_PDEATHSIG = 2, GET_DUMPABLE = 3, SET_DUMPABLE = 4,
	GET_TSC = 25, SET_TSC = 26, SET_TIMERSLACK = 29, GET_TIMERSLACK = 30, MCE_KILL = 33, MCE_KILL_GET = 34,
	SET_SUBREAPER = 36, GET_SUBREAPER = 37, SET_THP_DISABLE = 41, GET_THP_DISABLE = 42,
	GET_SPECULATION = 52, SET_SPECULATION = 53, SET_IO_FLUSHER = 57, GET_IO_FLUSHER = 58,
	SET_MDWE = 65, GET_MDWE = 66, SET_MEMORY_MERGE = 67, GET_MEMORY_MERGE = 68,
	ARCH_GET_CPUID_ = 0x1011, ARCH_SET_CPUID_ = 0x1012,
	ARCH_GET_XCOMP_PERM_ = 0x1022, ARCH_REQ_XCOMP_PERM_ = 0x1023, XFEATURE_TILE = 18,
	SPEC_PRCTL = 1, SPEC_ALL = 0x1f,
	DUMPABLE_MAX = 2,
};

/* Bit 0 says that it can be set for a task, the others are the value. */
static int64_t speculation(int64_t v) { return v & SPEC_PRCTL ? v & ~SPEC_PRCTL : -1; }
/* 2 (only root reads the core) cannot be asked for: it comes by itself where credentials change under
 * fs.suid_dumpable=2. Elsewhere 0 is what that node wants for such a process. */
static int64_t dumpable(int64_t v) { return v == DUMPABLE_MAX ? 0 : v; }
/* 0 is what real-time threads have, and would mean the thread's own default. */
static int64_t timerslack(int64_t v) { return v == 0 ? -1 : v; }

/* The mask of vector state that the process may use: only AMX's has to be asked for. */
static int64_t xcomp(int64_t v) { return v >> XFEATURE_TILE & 1 ? XFEATURE_TILE : -1; }

const struct prctl_value prctl_table[] = {
	{ "PERSONALITY", PRCTL_THREAD, NR_PERSONALITY, { 0xffffffff }, NR_PERSONALITY, { ARG_VALUE }, 0, 0x7fffffff, 0 },
	{ "PDEATHSIG", PRCTL_THREAD, NR_PRCTL, { GET_PDEATHSIG, ARG_PTR }, NR_PRCTL, { SET_PDEATHSIG, ARG_VALUE }, 0, 64, 0 },
	{ "TIMERSLACK", PRCTL_THREAD, NR_PRCTL, { GET_TIMERSLACK }, NR_PRCTL, { SET_TIMERSLACK, ARG_VALUE },
	  0, INT64_MAX, timerslack },
	{ "TSC", PRCTL_THREAD, NR_PRCTL, { GET_TSC, ARG_PTR }, NR_PRCTL, { SET_TSC, ARG_VALUE }, 1, 2, 0 },
	{ "CPUID", PRCTL_THREAD, NR_ARCH, { ARCH_GET_CPUID_ }, NR_ARCH, { ARCH_SET_CPUID_, ARG_VALUE }, 1, 1, 0 },
	{ "MCE_KILL", PRCTL_THREAD, NR_PRCTL, { MCE_KILL_GET }, NR_PRCTL, { MCE_KILL, 1, ARG_VALUE }, 2, 2, 0 },
	{ "IO_FLUSHER", PRCTL_THREAD, NR_PRCTL, { GET_IO_FLUSHER }, NR_PRCTL, { SET_IO_FLUSHER, ARG_VALUE }, 0, 1, 0 },
	{ "SPEC_STORE_BYPASS", PRCTL_THREAD, NR_PRCTL, { GET_SPECULATION, 0 },
	  NR_PRCTL, { SET_SPECULATION, 0, ARG_VALUE }, 0, SPEC_ALL, speculation },
	{ "SPEC_INDIRECT_BRANCH", PRCTL_THREAD, NR_PRCTL, { GET_SPECULATION, 1 },
	  NR_PRCTL, { SET_SPECULATION, 1, ARG_VALUE }, 0, SPEC_ALL, speculation },
	{ "SPEC_L1D_FLUSH", PRCTL_THREAD, NR_PRCTL, { GET_SPECULATION, 2 },
	  NR_PRCTL, { SET_SPECULATION, 2, ARG_VALUE }, 0, SPEC_ALL, speculation },
	{ "CHILD_SUBREAPER", PRCTL_PROCESS, NR_PRCTL, { GET_SUBREAPER, ARG_PTR }, NR_PRCTL, { SET_SUBREAPER, ARG_VALUE }, 0, 1, 0 },
	{ "XCOMP_PERM", PRCTL_PROCESS, NR_ARCH, { ARCH_GET_XCOMP_PERM_, ARG_PTR },
	  NR_ARCH, { ARCH_REQ_XCOMP_PERM_, ARG_VALUE }, 0, INT64_MAX, xcomp },
	{ "THP_DISABLE", PRCTL_PROCESS, NR_PRCTL, { GET_THP_DISABLE },
	  NR_PRCTL, { SET_THP_DISABLE, ARG_BIT0, ARG_FLAGS }, 0, 3, 0 },
	{ "MEMORY_MERGE", PRCTL_PROCESS, NR_PRCTL, { GET_MEMORY_MERGE }, NR_PRCTL, { SET_MEMORY_MERGE, ARG_VALUE }, 0, 1, 0 },
	{ "DUMPABLE", PRCTL_LATE, NR_PRCTL, { GET_DUMPABLE }, NR_PRCTL, { SET_DUMPABLE, ARG_VALUE }, 1, DUMPABLE_MAX, dumpable },
	{ "MDWE", PRCTL_LATE, NR_PRCTL, { GET_MDWE }, NR_PRCTL, { SET_MDWE, ARG_VALUE }, 0, 3, 0 },
};
const unsigned prctl_count = sizeof prctl_table / sizeof prctl_table[0];
