/* Credentials that differ from thread to thread, as far as the user who runs this may have them: ids, groups, the five
 * capability sets, securebits, no_new_privs. */
#include "status.h"
#include <grp.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static const char *const words[] = { "Uid:", "Gid:", "Groups:", "Cap", "NoNewPrivs:", NULL };
static char before[2][8192], after[8192], path[64];
static volatile int up;

static void capset_(unsigned eff, unsigned prm, unsigned inh)
{
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2] = { { eff, prm, inh }, { 0, 0, 0 } };

	VICTIM_TRY(syscall(SYS_capset, &h, d));
}

/* By system calls: the library's functions would change all threads. */
static void become(void)
{
	unsigned groups[3] = { 12, 34567, 2000000000 };

	VICTIM_TRY(prctl(PR_CAPBSET_DROP, CAP_SYS_CHROOT, 0, 0, 0));
	VICTIM_TRY(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0));
	VICTIM_TRY(syscall(SYS_setgroups, 3, groups));
	VICTIM_TRY(syscall(SYS_setresgid, 1001, 1002, 1003));
	VICTIM_TRY(syscall(SYS_setresuid, 2001, 2002, 2003));
	capset_(1 << CAP_NET_RAW | 1 << CAP_SETPCAP, 1 << CAP_NET_RAW | 1 << CAP_KILL | 1 << CAP_SETPCAP,
		1 << CAP_NET_RAW);
	VICTIM_TRY(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0));
	VICTIM_TRY(prctl(PR_SET_SECUREBITS, 1 << 2 | 1 << 3, 0, 0, 0));
	capset_(1 << CAP_NET_RAW, 1 << CAP_NET_RAW | 1 << CAP_KILL, 1 << CAP_NET_RAW);
}

static void *second(void *arg)
{
	if (geteuid() == 0)
		become();
	VICTIM_TRY(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	snprintf(path, sizeof(path), "/proc/self/task/%d/status", (int)syscall(SYS_gettid));
	status_take(before[1], sizeof(before[1]), path, words);
	up = prctl(PR_GET_SECUREBITS, 0, 0, 0, 0) + 1;
	while (up > 0)
		victim_pause();
	status_take(after, sizeof(after), path, words);
	status_same("second thread", before[1], after);
	VICTIM_CHECK(prctl(PR_GET_SECUREBITS, 0, 0, 0, 0) == -up - 1);
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned groups[2] = { 7, 8 };
	pthread_t t;

	victim_init(argc, argv);
	VICTIM_CHECK(pthread_create(&t, NULL, second, NULL) == 0);
	while (!up)
		victim_pause();
	if (geteuid() == 0)
		VICTIM_TRY(syscall(SYS_setgroups, 2, groups));
	status_take(before[0], sizeof(before[0]), "/proc/self/status", words);
	VICTIM_CHECK(before[0][0] && before[1][0]);
	victim_wait();
	status_take(after, sizeof(after), "/proc/self/status", words);
	status_same("first thread", before[0], after);
	up = -up;
	VICTIM_CHECK(pthread_join(t, NULL) == 0);
	return victim_ok();
}
