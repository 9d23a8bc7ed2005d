/* eventfd: count, EFD_SEMAPHORE, O_NONBLOCK; one dup'ed, one shared with a child. */
#include "victim.h"

#include <sys/eventfd.h>
#include <sys/wait.h>

static void child(int shared)
{
	uint64_t v = 5;

	while (!victim_go())
		victim_pause();
	_exit(write(shared, &v, sizeof v) == sizeof v ? 0 : 1);
}

int main(int argc, char **argv)
{
	int count, twin, sem, shared, status;
	uint64_t v = 0;
	pid_t pid;

	victim_init(argc, argv);
	VICTIM_TRY(count = eventfd(7, EFD_NONBLOCK));
	VICTIM_TRY(twin = dup(count));
	VICTIM_TRY(sem = eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC));
	VICTIM_TRY(shared = eventfd(0, 0));
	VICTIM_TRY(pid = fork());
	if (!pid)
		child(shared);
	victim_wait();

	VICTIM_CHECK(fcntl(count, F_GETFL) & O_NONBLOCK);
	VICTIM_CHECK(!(fcntl(count, F_GETFD) & FD_CLOEXEC));
	VICTIM_CHECK(fcntl(sem, F_GETFD) & FD_CLOEXEC);
	VICTIM_CHECK(!(fcntl(shared, F_GETFL) & O_NONBLOCK));
	VICTIM_CHECK(read(twin, &v, sizeof v) == sizeof v && v == 7);
	VICTIM_CHECK(read(count, &v, sizeof v) < 0 && errno == EAGAIN);
	for (int i = 0; i < 3; i++)
		VICTIM_CHECK(read(sem, &v, sizeof v) == sizeof v && v == 1);
	VICTIM_CHECK(read(sem, &v, sizeof v) < 0 && errno == EAGAIN);
	VICTIM_CHECK(read(shared, &v, sizeof v) == sizeof v && v == 5);
	VICTIM_CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	return victim_ok();
}
