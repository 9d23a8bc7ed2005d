/* flock, POSIX and OFD locks: held by a parent, tried and waited for by a child; one POSIX lock of the child's. */
#include "victim.h"

#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>

static struct flock range(int type, off_t start, off_t len)
{
	return (struct flock){ .l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };
}

static int open_it(char *name)
{
	int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	VICTIM_TRY(fd);
	return fd;
}

/* Waits in fcntl(F_SETLKW) for bytes 100.. that the parent has, across the checkpoint. */
static void waiter(char *name)
{
	struct flock fl = range(F_WRLCK, 120, 1);
	int fd = open_it(name);

	while (fcntl(fd, F_SETLKW, &fl))
		if (errno != EINTR)
			_exit(2);
	_exit(0);
}

static void holder(char *name)
{
	struct flock fl = range(F_WRLCK, 500, 10);
	int fd = open_it(name);

	if (fcntl(fd, F_SETLK, &fl))
		_exit(2);
	for (;;)
		victim_pause();
}

/* What fd would meet: the type of a lock in the way, or F_UNLCK. */
static int meets(int fd, int cmd, int type, off_t start, off_t len, pid_t *pid)
{
	struct flock fl = range(type, start, len);

	VICTIM_TRY(fcntl(fd, cmd, &fl));
	if (pid)
		*pid = fl.l_pid;
	return fl.l_type;
}

int main(int argc, char **argv)
{
	char a[4200], b[4200], c[4200];
	int fa, fb, fc, other, twin, status;
	pid_t wait_pid, hold_pid, who = 0;
	struct flock fl;

	victim_init(argc, argv);
	snprintf(a, sizeof a, "%s.a", argv[1]);
	snprintf(b, sizeof b, "%s.b", argv[1]);
	snprintf(c, sizeof c, "%s.c", argv[1]);
	fa = open_it(a);
	fb = open_it(b);
	fc = open_it(c);
	VICTIM_TRY(twin = dup(fa));
	VICTIM_TRY(flock(fa, LOCK_EX));
	fl = range(F_RDLCK, 10, 5);
	VICTIM_TRY(fcntl(fb, F_SETLK, &fl));
	fl = range(F_WRLCK, 100, 50);
	VICTIM_TRY(fcntl(fb, F_SETLK, &fl));
	fl = range(F_WRLCK, 1000, 0);
	VICTIM_TRY(fcntl(fc, F_OFD_SETLK, &fl));
	VICTIM_TRY(wait_pid = fork());
	if (!wait_pid)
		waiter(b);
	VICTIM_TRY(hold_pid = fork());
	if (!hold_pid)
		holder(c);
	for (int i = 0; i < 5; i++)
		victim_pause();
	victim_wait();

	VICTIM_TRY(other = open(a, O_RDWR | O_CLOEXEC));
	VICTIM_CHECK(flock(other, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK);
	VICTIM_TRY(flock(twin, LOCK_EX | LOCK_NB)); /* the same description */
	VICTIM_TRY(flock(twin, LOCK_UN));
	VICTIM_TRY(flock(other, LOCK_EX | LOCK_NB));
	VICTIM_TRY(other = open(c, O_RDWR | O_CLOEXEC));
	VICTIM_CHECK(meets(other, F_OFD_GETLK, F_RDLCK, 2000, 1, NULL) == F_WRLCK);
	VICTIM_CHECK(meets(other, F_OFD_GETLK, F_WRLCK, 0, 400, NULL) == F_UNLCK);
	VICTIM_CHECK(meets(fc, F_GETLK, F_WRLCK, 505, 1, &who) == F_WRLCK && who == hold_pid);
	VICTIM_TRY(kill(hold_pid, SIGKILL));
	VICTIM_CHECK(waitpid(hold_pid, &status, 0) == hold_pid && WIFSIGNALED(status));
	VICTIM_CHECK(meets(fc, F_GETLK, F_WRLCK, 505, 1, NULL) == F_UNLCK);
	/* A child sees the parent's POSIX locks in its way, each with its own type and range. */
	VICTIM_CHECK(waitpid(wait_pid, &status, WNOHANG) == 0);
	pid_t pid = fork();
	VICTIM_TRY(pid);
	if (!pid)
		_exit(meets(fb, F_GETLK, F_WRLCK, 14, 1, &who) != F_RDLCK || who != getppid() ||
		      meets(fb, F_GETLK, F_RDLCK, 10, 5, NULL) != F_UNLCK ||
		      meets(fb, F_GETLK, F_RDLCK, 149, 1, NULL) != F_WRLCK ||
		      meets(fb, F_GETLK, F_WRLCK, 150, 0, NULL) != F_UNLCK);
	VICTIM_CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	fl = range(F_UNLCK, 0, 0);
	VICTIM_TRY(fcntl(fb, F_SETLK, &fl));
	VICTIM_CHECK(waitpid(wait_pid, &status, 0) == wait_pid && status == 0);
	return victim_ok();
}
