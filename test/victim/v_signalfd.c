/* signalfd: mask, and signals that were queued before the checkpoint are read after it. */
#include "victim.h"

#include <signal.h>
#include <sys/signalfd.h>

static void expect(int fd, int sig, int value)
{
	struct signalfd_siginfo si;

	VICTIM_CHECK(read(fd, &si, sizeof si) == sizeof si);
	if ((int)si.ssi_signo != sig || si.ssi_int != value)
		victim_fail("signal %u value %d, not %d value %d", si.ssi_signo, si.ssi_int, sig, value);
}

int main(int argc, char **argv)
{
	sigset_t mask;
	int fd, other;
	struct signalfd_siginfo si;

	victim_init(argc, argv);
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	sigaddset(&mask, SIGRTMIN + 2);
	VICTIM_TRY(fd = signalfd(-1, &mask, SFD_NONBLOCK));
	sigaddset(&mask, SIGUSR2);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR2);
	VICTIM_TRY(other = signalfd(-1, &mask, SFD_NONBLOCK));
	VICTIM_TRY(sigqueue(getpid(), SIGUSR1, (union sigval){ .sival_int = 11 }));
	VICTIM_TRY(sigqueue(getpid(), SIGRTMIN + 2, (union sigval){ .sival_int = 22 }));
	VICTIM_TRY(sigqueue(getpid(), SIGRTMIN + 2, (union sigval){ .sival_int = 33 }));
	victim_wait();

	expect(fd, SIGUSR1, 11);
	expect(fd, SIGRTMIN + 2, 22);
	expect(fd, SIGRTMIN + 2, 33);
	VICTIM_CHECK(read(fd, &si, sizeof si) < 0 && errno == EAGAIN);
	VICTIM_TRY(sigqueue(getpid(), SIGUSR2, (union sigval){ .sival_int = 44 }));
	VICTIM_CHECK(read(fd, &si, sizeof si) < 0 && errno == EAGAIN);
	expect(other, SIGUSR2, 44);
	return victim_ok();
}
