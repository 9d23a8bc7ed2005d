/* Handlers, ignored signals, the blocked mask, queued signals with their siginfo in order, an alternate stack - seen from
 * inside a handler that runs on it while the checkpoint is taken. */
#include "victim.h"
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static char *stack;
enum { STACK = 65536, SA_RESTORER_ = 0x04000000 /* the C library's own */ };
static volatile int seen, child_seen;

static void on_chld(int s) { child_seen++; }

static void on_usr1(int s, siginfo_t *si, void *ctx)
{
	char here;
	stack_t ss;

	VICTIM_CHECK(&here >= stack && &here < stack + STACK);
	victim_wait();
	VICTIM_CHECK(si->si_value.sival_int == 77 && si->si_pid == getpid());
	VICTIM_TRY(sigaltstack(NULL, &ss));
	VICTIM_CHECK(ss.ss_flags == SS_ONSTACK && ss.ss_sp == stack && ss.ss_size == STACK);
	seen = 1;
}

static void check_actions(void)
{
	struct sigaction sa;

	VICTIM_TRY(sigaction(SIGUSR1, NULL, &sa));
	VICTIM_CHECK(sa.sa_sigaction == on_usr1 && (sa.sa_flags & ~SA_RESTORER_) == (SA_SIGINFO | SA_ONSTACK));
	VICTIM_CHECK(sigismember(&sa.sa_mask, SIGHUP) == 1 && sigismember(&sa.sa_mask, SIGINT) == 0);
	VICTIM_TRY(sigaction(SIGPIPE, NULL, &sa));
	VICTIM_CHECK(sa.sa_handler == SIG_IGN);
	VICTIM_TRY(sigaction(SIGCHLD, NULL, &sa));
	VICTIM_CHECK(sa.sa_handler == on_chld && (sa.sa_flags & ~SA_RESTORER_) == SA_RESTART);
	VICTIM_TRY(sigaction(SIGUSR2, NULL, &sa));
	VICTIM_CHECK(sa.sa_handler == SIG_DFL);
}

/* Without the C library, which shows SI_TKILL as SI_USER. */
static int next(sigset_t *set, siginfo_t *si)
{
	static const struct timespec zero;

	return (int)syscall(SYS_rt_sigtimedwait, set, si, &zero, 8);
}

static void check_queue(sigset_t *set)
{
	siginfo_t si;

	for (int i = 0; i < 20; i++) {
		sigset_t one;

		sigemptyset(&one);
		sigaddset(&one, SIGRTMIN + 4);
		VICTIM_CHECK(next(&one, &si) == SIGRTMIN + 4);
		VICTIM_CHECK(si.si_code == SI_QUEUE && si.si_value.sival_int == 1000 + i && si.si_pid == getpid());
	}
	VICTIM_CHECK(next(set, &si) == SIGUSR2); /* the thread's own first */
	VICTIM_CHECK(si.si_code == SI_TKILL);
	VICTIM_CHECK(next(set, &si) == SIGTERM && si.si_code == SI_USER && si.si_pid == getpid());
	VICTIM_CHECK(next(set, &si) < 0 && errno == EAGAIN);
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_sigaction = on_usr1, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	struct sigaction chld = { .sa_handler = on_chld, .sa_flags = SA_RESTART };
	stack_t ss = { .ss_size = STACK };
	sigset_t set, now;
	union sigval v = { .sival_int = 77 };

	victim_init(argc, argv);
	stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	VICTIM_CHECK(stack != MAP_FAILED);
	ss.ss_sp = stack;
	VICTIM_TRY(sigaltstack(&ss, NULL));
	sigaddset(&sa.sa_mask, SIGHUP);
	VICTIM_TRY(sigaction(SIGUSR1, &sa, NULL));
	VICTIM_TRY(sigaction(SIGCHLD, &chld, NULL));
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 4);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGUSR2);
	VICTIM_TRY(sigprocmask(SIG_BLOCK, &set, NULL));
	for (int i = 0; i < 20; i++) {
		union sigval n = { .sival_int = 1000 + i };

		VICTIM_TRY(sigqueue(getpid(), SIGRTMIN + 4, n));
	}
	VICTIM_TRY(kill(getpid(), SIGTERM));
	VICTIM_TRY(syscall(SYS_tgkill, getpid(), getpid(), SIGUSR2));
	VICTIM_TRY(sigqueue(getpid(), SIGUSR1, v));
	VICTIM_CHECK(seen);
	VICTIM_TRY(sigprocmask(SIG_BLOCK, NULL, &now));
	for (int s = 1; s <= SIGRTMAX; s++)
		if (s < 32 || s >= SIGRTMIN)
			VICTIM_CHECK(sigismember(&set, s) == sigismember(&now, s));
	VICTIM_CHECK(child_seen == 0); /* the restart's own children are no business of ours */
	check_actions();
	check_queue(&set);
	if (fork() == 0)
		_exit(3);
	VICTIM_TRY(wait(NULL));
	VICTIM_CHECK(child_seen == 1);
	return victim_ok();
}
