/* leases (fcntl F_SETLEASE): a write and a read lease, broken by a child after the restart, with the chosen signal. */
#include "victim.h"

#include <signal.h>
#include <sys/wait.h>

static int try_open(const char *name, int flags)
{
	pid_t pid = fork();
	int status;

	VICTIM_TRY(pid);
	if (!pid)
		_exit(open(name, flags | O_NONBLOCK) < 0 ? errno : 0);
	VICTIM_CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void expect(int sig, int fd)
{
	sigset_t set;
	siginfo_t si;
	struct timespec ts = { 5, 0 };

	sigemptyset(&set);
	sigaddset(&set, sig);
	VICTIM_CHECK(sigtimedwait(&set, &si, &ts) == sig);
	if (sig != SIGIO && si.si_fd != fd)
		victim_fail("signal %d for fd %d, not %d", sig, si.si_fd, fd);
}

int main(int argc, char **argv)
{
	char a[4200], b[4200];
	sigset_t set;
	int w, r;

	victim_init(argc, argv);
	snprintf(a, sizeof a, "%s.a", argv[1]);
	snprintf(b, sizeof b, "%s.b", argv[1]);
	sigemptyset(&set);
	sigaddset(&set, SIGIO);
	sigaddset(&set, SIGRTMIN + 3);
	sigprocmask(SIG_BLOCK, &set, NULL);
	VICTIM_TRY(w = open(a, O_RDWR | O_CREAT, 0600));
	close(open(b, O_RDWR | O_CREAT, 0600));
	VICTIM_TRY(r = open(b, O_RDONLY));
	if (fcntl(w, F_SETLEASE, F_WRLCK))
		victim_skip("no leases on this file system: %s", strerror(errno));
	VICTIM_TRY(fcntl(r, F_SETLEASE, F_RDLCK));
	VICTIM_TRY(fcntl(w, F_SETSIG, SIGRTMIN + 3));
	victim_wait();

	VICTIM_CHECK(fcntl(w, F_GETLEASE) == F_WRLCK);
	VICTIM_CHECK(fcntl(r, F_GETLEASE) == F_RDLCK);
	VICTIM_CHECK(try_open(b, O_RDONLY) == 0);
	VICTIM_CHECK(try_open(b, O_WRONLY) == EWOULDBLOCK);
	expect(SIGIO, r);
	VICTIM_TRY(fcntl(r, F_SETLEASE, F_UNLCK));
	VICTIM_CHECK(try_open(b, O_WRONLY) == 0);
	VICTIM_CHECK(try_open(a, O_RDONLY) == EWOULDBLOCK);
	expect(SIGRTMIN + 3, w);
	VICTIM_TRY(fcntl(w, F_SETLEASE, F_UNLCK));
	VICTIM_CHECK(try_open(a, O_RDWR) == 0);
	return victim_ok();
}
