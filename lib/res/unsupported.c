/* unsupported: state of processes and threads that no resource restores, refused by name. What is seen from outside is
 * refused in check(); what only the process itself can be asked is found in dump(), before
 * anything of the version is visible.
 *
 * Not seen at all: mlockall(MCL_FUTURE) (locked mappings are restored, the wish for future ones is not), iopl(2), and the
 * joined session keyring's name. */
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
	KEY_THREAD = -1, KEY_PROCESS = -2, KEY_SESSION = -3, KEY_USER = -4,
	KEY_GET_ID = 0, KEY_DESCRIBE = 6, KEY_READ = 11, KEYS_MAX = 64,
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

/* A login session's keyring holds nothing but a link to its user's keyring: one session is as good as the
 * next. Any other key would be missing after a restart. */
static int session_keys(struct dproc *p, long ring, struct err *e)
{
	int32_t keys[KEYS_MAX];
	uint64_t a, text;
	long n, len;

	if (remote_room(p->rem, 1, sizeof keys, e) < 0)
		return -1;
	a = remote_put(p->rem, NULL, sizeof keys);
	if (remote_one(p->rem, "keyctl", &n, e, SYS_keyctl, KEY_READ, (uint64_t)ring, a, sizeof keys, 0, 0) < 0)
		return -1;
	if (n <= 0)
		return 0;
	if ((size_t)n > sizeof keys)
		return err_set(e, EX_CANNOT_CKPT, "keys in its session keyring");
	memcpy(keys, remote_data(p->rem, a), (size_t)n);
	for (long i = 0; i < n / 4; i++) {
		char desc[128] = "";
		const char *name;

		if (remote_room(p->rem, 1, sizeof desc, e) < 0)
			return -1;
		text = remote_put(p->rem, NULL, sizeof desc);
		if (remote_one(p->rem, "keyctl", &len, e, SYS_keyctl, KEY_DESCRIBE, (uint64_t)(int64_t)keys[i], text,
			       sizeof desc, 0, 0) < 0)
			return -1;
		if (len > 0 && (size_t)len <= sizeof desc)
			memcpy(desc, remote_data(p->rem, text), (size_t)len - 1);
		name = strrchr(desc, ';');
		if (!name || strncmp(name + 1, "_uid.", 5) != 0)
			return err_set(e, EX_CANNOT_CKPT, "a key in its session keyring (%s)", name ? name + 1 : "hidden");
	}
	return 0;
}

static int unsupported_dump(struct dump *d, struct dproc *p, struct err *e)
{
	long own = syscall(SYS_keyctl, KEY_GET_ID, KEY_SESSION, 0), ring;
	size_t ldt, session, process;

	if (remote_room(p->rem, 3, 64, e) < 0)
		return -1;
	ldt = remote_call(p->rem, "modify_ldt", REMOTE_ANY, SYS_modify_ldt, 0, remote_put(p->rem, NULL, 16), 16, 0, 0, 0);
	session = remote_call(p->rem, "keyctl", REMOTE_ANY, SYS_keyctl, KEY_GET_ID, (uint64_t)(int64_t)KEY_SESSION, 0, 0, 0, 0);
	process = remote_call(p->rem, "keyctl", REMOTE_ANY, SYS_keyctl, KEY_GET_ID, (uint64_t)(int64_t)KEY_PROCESS, 0, 0, 0, 0);
	if (remote_run(p->rem, e) < 0)
		return -1;
	ring = remote_ret(p->rem, session);
	if (remote_ret(p->rem, ldt) > 0)
		return err_set(e, EX_CANNOT_CKPT, "a local descriptor table (modify_ldt)");
	if (remote_ret(p->rem, process) > 0)
		return err_set(e, EX_CANNOT_CKPT, "a process keyring");
	return ring > 0 && ring != own ? session_keys(p, ring, e) : 0;
}

const struct res_ops res_unsupported = {
	.name = "unsupported",
	.check = unsupported_check,
	.dump = unsupported_dump,
};
