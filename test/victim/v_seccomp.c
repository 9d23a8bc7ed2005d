/* Two seccomp filters in all threads, a third in one of them: they still do what they did, and no more. A later
 * TSYNC of the leader works, because threads share what they shared. */
#include "victim.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

static volatile int step;

static int deny(int nr, int err, unsigned flags)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = { sizeof(f) / sizeof(*f), f };

	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &p);
}

static int denied(int nr)
{
	return syscall(nr, -1, -1, -1, -1) < 0 ? errno : 0;
}

static void *thread(void *arg)
{
	VICTIM_CHECK(deny(SYS_setns, EXFULL, 0) == 0 || step);
	step = 1;
	while (step == 1)
		victim_pause();
	VICTIM_CHECK(denied(SYS_sysfs) == EXDEV && denied(SYS_acct) == ESTALE && denied(SYS_setns) == EXFULL);
	VICTIM_CHECK(prctl(PR_GET_SECCOMP) == 2);
	return NULL;
}

static void *other(void *arg)
{
	while (step != 2)
		victim_pause();
	VICTIM_CHECK(denied(SYS_sysfs) == EXDEV && denied(SYS_acct) == ESTALE && denied(SYS_setns) != EXFULL);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t t, u;

	victim_init(argc, argv);
	if (geteuid() != 0)
		victim_skip("seccomp filters are shown to CAP_SYS_ADMIN only");
	VICTIM_TRY(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	VICTIM_TRY(deny(SYS_sysfs, EXDEV, SECCOMP_FILTER_FLAG_LOG));
	VICTIM_TRY(deny(SYS_acct, ESTALE, 0));
	VICTIM_CHECK(pthread_create(&t, NULL, thread, NULL) == 0);
	VICTIM_CHECK(pthread_create(&u, NULL, other, NULL) == 0);
	while (!step)
		victim_pause();
	victim_wait();
	VICTIM_CHECK(denied(SYS_sysfs) == EXDEV && denied(SYS_acct) == ESTALE && denied(SYS_setns) != EXFULL);
	step = 2;
	VICTIM_CHECK(pthread_join(t, NULL) == 0 && pthread_join(u, NULL) == 0);
	return victim_ok();
}
