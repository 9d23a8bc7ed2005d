/* A seccomp filter that all threads share, in a process of several threads: another one by TSYNC must still be possible. */
#include "victim.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

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

static void *thread(void *arg)
{
	while (!step)
		victim_pause();
	VICTIM_CHECK(syscall(SYS_sysfs, -1) < 0 && errno == EXDEV);
	VICTIM_CHECK(syscall(SYS_acct, -1) < 0 && errno == ESTALE);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t t[3];

	victim_init(argc, argv);
	if (geteuid() != 0)
		victim_skip("seccomp filters are shown to CAP_SYS_ADMIN only");
	VICTIM_TRY(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	VICTIM_TRY(deny(SYS_sysfs, EXDEV, 0));
	for (int i = 0; i < 3; i++)
		VICTIM_CHECK(pthread_create(&t[i], NULL, thread, NULL) == 0);
	victim_wait();
	VICTIM_CHECK(deny(SYS_acct, ESTALE, SECCOMP_FILTER_FLAG_TSYNC) == 0);
	step = 1;
	for (int i = 0; i < 3; i++)
		VICTIM_CHECK(pthread_join(t[i], NULL) == 0);
	return victim_ok();
}
