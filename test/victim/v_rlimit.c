/* All resource limits, small ones too: a file size of 64 KiB, 8 descriptors, little address space. */
#include "status.h"
#include <sys/resource.h>

static char before[8192], after[8192];

static void limit(int what, rlim_t soft, rlim_t hard)
{
	struct rlimit l;

	VICTIM_TRY(getrlimit(what, &l));
	l.rlim_max = l.rlim_max < hard ? l.rlim_max : hard;
	l.rlim_cur = l.rlim_max < soft ? l.rlim_max : soft;
	VICTIM_TRY(setrlimit(what, &l));
}

int main(int argc, char **argv)
{
	victim_init(argc, argv);
	limit(RLIMIT_CPU, 1000, 2000);
	limit(RLIMIT_FSIZE, 65536, 131072);
	limit(RLIMIT_DATA, 64 << 20, 128 << 20);
	limit(RLIMIT_STACK, 1 << 20, 2 << 20);
	limit(RLIMIT_CORE, 1, 2);
	limit(RLIMIT_NOFILE, 8, 9);
	limit(RLIMIT_MEMLOCK, 4096, 8192);
	limit(RLIMIT_AS, 100 << 20, 200 << 20);
	limit(RLIMIT_SIGPENDING, 5, 6);
	limit(RLIMIT_MSGQUEUE, 1000, 2000);
	limit(RLIMIT_RTTIME, 1000000, 2000000);
	status_take(before, sizeof(before), "/proc/self/limits", NULL);
	VICTIM_CHECK(strstr(before, "Max open files            8                    9"));
	victim_wait();
	status_take(after, sizeof(after), "/proc/self/limits", NULL);
	status_same("limits", before, after);
	return victim_ok();
}
