/* A family: children, a grandchild, process groups (one whose leader has gone), sessions (one whose leader has gone),
 * a daemon, zombies by exit and by signal, children with other exit signals. Each member knows what it was and looks again after
 * the restart; the first one then signals, waits for and counts all of them. */
#include "victim.h"

#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { MAX = 32 };
enum { PLAIN = 1, PARENT, GRANDCHILD, GROUP_LEADER, GROUP_MEMBER, ORPHANED_GROUP, SESSION, SESSION_CHILD, DAEMON, DEAD_SESSION,
	QUIET, NUMBERED, GREAT, LAST };
/* What a member was before, and whether it found itself the same. */
struct member { pid_t pid, ppid, pgid, sid; int used, built, checked, signals; char why[200]; };
static struct member *board;
static struct member *me;
static volatile sig_atomic_t got, chld;

static void on_usr1(int sig) { got++; }
static void on_chld(int sig) { chld++; }

static void look(struct member *m)
{
	m->pid = getpid();
	m->ppid = getppid();
	m->pgid = getpgrp();
	m->sid = getsid(0);
}

static int same(void)
{
	struct member now;

	look(&now);
	/* The parent of these is the job's supervisor, another one after a restart. */
	if (me - board == ORPHANED_GROUP || me - board == DAEMON || me == board)
		now.ppid = me->ppid;
	if (now.pid != me->pid || now.ppid != me->ppid || now.pgid != me->pgid || now.sid != me->sid ||
	    (pid_t)syscall(SYS_gettid) != now.pid) {
		snprintf(me->why, sizeof me->why, "member %d was %d/%d/%d/%d and is %d/%d/%d/%d (pid/ppid/pgid/sid)", (int)(me - board),
			 me->pid, me->ppid, me->pgid, me->sid, now.pid, now.ppid, now.pgid, now.sid);
		return 0;
	}
	return 1;
}

static void become(int slot)
{
	me = &board[slot];
	me->used = 1;
	got = 0;
	signal(SIGUSR1, on_usr1);
	look(me);
}

/* A member that waits for the restart, looks at itself, and lives on until it gets SIGUSR1 twice. */
static _Noreturn void live(int slot)
{
	become(slot);
	__atomic_store_n(&me->built, 1, __ATOMIC_SEQ_CST);
	while (!victim_go())
		victim_pause();
	same();
	__atomic_store_n(&me->checked, 1, __ATOMIC_SEQ_CST);
	while (got < 2) {
		victim_pause();
		__atomic_store_n(&me->signals, got, __ATOMIC_SEQ_CST);
	}
	_exit(10 + slot);
}

static pid_t fork_(void)
{
	pid_t pid = fork();

	VICTIM_TRY(pid);
	return pid;
}

static void built(int slot)
{
	while (!__atomic_load_n(&board[slot].built, __ATOMIC_SEQ_CST))
		victim_pause();
}


static pid_t clone_with(int sig)
{
	return (pid_t)syscall(SYS_clone, (long)sig, 0L, 0L, 0L, 0L);
}

/* A child with a child in a group of its own and another that has joined it. */
static _Noreturn void parent_of_groups(void)
{
	pid_t leader = fork_();

	if (!leader) {
		setpgid(0, 0);
		live(GROUP_LEADER);
	}
	built(GROUP_LEADER);
	if (!fork_()) {
		VICTIM_TRY(setpgid(0, leader));
		live(GROUP_MEMBER);
	}
	built(GROUP_MEMBER);
	if (!fork_()) {
		if (!fork_())
			live(GREAT);
		built(GREAT);
		live(GRANDCHILD);
	}
	built(GRANDCHILD);
	live(PARENT);
}

/* The leader of a new group ends; its child stays in it, a child of the supervisor then. */
static void orphan_group(void)
{
	int status;
	pid_t p = fork_();

	if (!p) {
		pid_t first = getpid();
		setpgid(0, 0);
		if (!fork_()) {
			while (getppid() == first)
				victim_pause();
			live(ORPHANED_GROUP);
		}
		victim_pause();
		_exit(0);
	}
	VICTIM_CHECK(waitpid(p, &status, 0) == p);
	built(ORPHANED_GROUP);
}

/* The double fork: a session whose leader has gone, a daemon without terminal. */
static void daemons(void)
{
	int status;
	pid_t p = fork_();

	if (!p) {
		pid_t first = getpid();
		setsid();
		if (!fork_()) {
			while (getppid() == first)
				victim_pause();
			if (!fork_())
				live(DEAD_SESSION);
			built(DEAD_SESSION);
			live(DAEMON);
		}
		_exit(0);
	}
	VICTIM_CHECK(waitpid(p, &status, 0) == p);
	built(DAEMON);
}

static pid_t zombie(int status, int sig)
{
	pid_t p = fork_();
	siginfo_t si;

	if (!p) {
		if (sig)
			raise(sig);
		_exit(status);
	}
	VICTIM_TRY(waitid(P_PID, (id_t)p, &si, WEXITED | WNOWAIT));
	return p;
}

static void build(pid_t *quiet, pid_t *numbered)
{
	if (!fork_())
		live(PLAIN);
	built(PLAIN);
	if (!fork_())
		parent_of_groups();
	built(PARENT);
	orphan_group();
	if (!fork_()) {
		setsid();
		if (!fork_())
			live(SESSION_CHILD);
		built(SESSION_CHILD);
		live(SESSION);
	}
	built(SESSION);
	daemons();
	VICTIM_TRY(*quiet = clone_with(0));
	if (!*quiet)
		live(QUIET);
	built(QUIET);
	VICTIM_TRY(*numbered = clone_with(SIGUSR2));
	if (!*numbered)
		live(NUMBERED);
	built(NUMBERED);
}

static void check_everybody(void)
{
	for (int i = 0; i < LAST; i++) {
		for (int n = 0; board[i].used && !__atomic_load_n(&board[i].checked, __ATOMIC_SEQ_CST); n++) {
			if (n > 250)
				victim_fail("member %d (pid %d) says nothing", i, board[i].pid);
			victim_pause();
		}
		if (board[i].why[0])
			victim_fail("%s", board[i].why);
		if (i && board[i].used && (getpgid(board[i].pid) != board[i].pgid || getsid(board[i].pid) != board[i].sid))
			victim_fail("member %d has another group or session seen from outside", i);
	}
}

static void wait_signals(int slot, int n)
{
	for (int k = 0; __atomic_load_n(&board[slot].signals, __ATOMIC_SEQ_CST) != n; k++) {
		if (k > 250)
			victim_fail("member %d has got %d signals, not %d", slot, board[slot].signals, n);
		victim_pause();
	}
}

static int in_group(int i)
{
	return i == GROUP_LEADER || i == GROUP_MEMBER || i == ORPHANED_GROUP || i == SESSION || i == SESSION_CHILD || i == DAEMON ||
	       i == DEAD_SESSION;
}

/* Signals to processes and to groups arrive at whom they should; the dead are waited for by whom they should. */
static void signal_everybody(void)
{
	int status;

	VICTIM_TRY(kill(-board[GROUP_LEADER].pid, SIGUSR1));
	VICTIM_TRY(kill(-board[ORPHANED_GROUP].pgid, SIGUSR1));
	VICTIM_TRY(kill(-board[SESSION].pid, SIGUSR1));
	VICTIM_TRY(kill(-board[DAEMON].pgid, SIGUSR1));
	for (int i = 1; i < LAST; i++)
		wait_signals(i, in_group(i));
	for (int i = 1; i < LAST; i++)
		if (!in_group(i))
			VICTIM_TRY(kill(board[i].pid, SIGUSR1));
	for (int i = 1; i < LAST; i++)
		wait_signals(i, 1);
	for (int i = 1; i < LAST; i++) {
		if (board[i].ppid != getpid() || i == QUIET || i == NUMBERED)
			continue;
		VICTIM_TRY(kill(board[i].pid, SIGUSR1)); /* the second */
		VICTIM_CHECK(waitpid(board[i].pid, &status, 0) == board[i].pid);
		VICTIM_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 10 + i);
	}
}

static void end_the_others(pid_t quiet, pid_t numbered)
{
	int status;

	/* Children with another exit signal than SIGCHLD are __WCLONE's. */
	VICTIM_CHECK(waitpid(-1, &status, WNOHANG) < 0 && errno == ECHILD);
	kill(quiet, SIGUSR1);
	kill(numbered, SIGUSR1);
	VICTIM_CHECK(waitpid(quiet, &status, __WCLONE) == quiet && WEXITSTATUS(status) == 10 + QUIET);
	VICTIM_CHECK(waitpid(numbered, &status, __WCLONE) == numbered && WEXITSTATUS(status) == 10 + NUMBERED);
	for (int i = 1; i < LAST; i++)
		kill(board[i].pid, SIGKILL);
}

static void on_usr2(int sig) { chld += 1000; }

int main(int argc, char **argv)
{
	pid_t z_exit, z_signal, quiet, numbered;
	int status;

	victim_init(argc, argv);
	board = mmap(NULL, sizeof *board * MAX, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	VICTIM_CHECK(board != MAP_FAILED);
	signal(SIGUSR2, on_usr2);
	build(&quiet, &numbered);
	z_exit = zombie(42, 0);
	z_signal = zombie(0, SIGTERM);
	become(0);
	signal(SIGCHLD, on_chld);
	chld = 0;
	victim_wait();

	if (chld)
		victim_fail("a SIGCHLD or exit signal too much: %d", (int)chld);
	same();
	board[0].checked = 1;
	check_everybody();
	VICTIM_CHECK(waitpid(z_exit, &status, WNOHANG) == z_exit && WIFEXITED(status) && WEXITSTATUS(status) == 42);
	VICTIM_CHECK(waitpid(z_signal, &status, WNOHANG) == z_signal && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	VICTIM_CHECK(waitpid(-1, &status, WNOHANG) == 0); /* the others live */
	signal_everybody();
	end_the_others(quiet, numbered);
	VICTIM_CHECK(chld >= 1000); /* the exit signal of NUMBERED */
	return victim_ok();
}
