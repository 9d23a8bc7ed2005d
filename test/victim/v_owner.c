/* F_SETOWN_EX, F_SETSIG, O_ASYNC: a pipe that signals this thread, another whose owner is the group. */
#include "victim.h"

#include <signal.h>
#include <sys/syscall.h>

int main(int argc, char **argv)
{
	struct f_owner_ex o;
	sigset_t set;
	siginfo_t si;
	struct timespec ts = { 5, 0 };
	int p[2], q[2], sig;

	victim_init(argc, argv);
	sig = SIGRTMIN + 4;
	sigemptyset(&set);
	sigaddset(&set, sig);
	sigaddset(&set, SIGIO);
	sigprocmask(SIG_BLOCK, &set, NULL);
	VICTIM_TRY(pipe(p));
	VICTIM_TRY(pipe(q));
	o = (struct f_owner_ex){ F_OWNER_TID, (pid_t)syscall(SYS_gettid) };
	VICTIM_TRY(fcntl(p[0], F_SETOWN_EX, &o));
	VICTIM_TRY(fcntl(p[0], F_SETSIG, sig));
	VICTIM_TRY(fcntl(p[0], F_SETFL, O_ASYNC | O_NONBLOCK));
	o = (struct f_owner_ex){ F_OWNER_PGRP, getpgrp() };
	VICTIM_TRY(fcntl(q[0], F_SETOWN_EX, &o));
	victim_wait();

	VICTIM_TRY(fcntl(p[0], F_GETOWN_EX, &o));
	VICTIM_CHECK(o.type == F_OWNER_TID && o.pid == (pid_t)syscall(SYS_gettid));
	VICTIM_TRY(fcntl(q[0], F_GETOWN_EX, &o));
	VICTIM_CHECK(o.type == F_OWNER_PGRP && o.pid == getpgrp());
	VICTIM_CHECK(fcntl(p[0], F_GETSIG) == sig && fcntl(q[0], F_GETSIG) == 0);
	VICTIM_CHECK(fcntl(p[0], F_GETFL) & O_ASYNC);
	VICTIM_CHECK(!(fcntl(q[0], F_GETFL) & O_ASYNC));
	VICTIM_TRY(write(p[1], "x", 1));
	VICTIM_CHECK(sigtimedwait(&set, &si, &ts) == sig);
	if (si.si_fd != p[0])
		victim_fail("the signal is for fd %d, not %d", si.si_fd, p[0]);
	VICTIM_TRY(write(q[1], "x", 1));
	ts = (struct timespec){ 0, 1000000 };
	VICTIM_CHECK(sigtimedwait(&set, &si, &ts) < 0 && errno == EAGAIN);
	return victim_ok();
}
