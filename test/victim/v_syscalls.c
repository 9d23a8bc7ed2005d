/* Threads that wait inside system calls: each call must go on as if nothing had been, and return what it would have: no spurious
 * EINTR, no early end, no lost wake-up. Time-outs are long; the wake-ups come from the main thread after the restart. */
#include "victim.h"

#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { LONG_MS = 20000 };
static int pipe_[2], full[2], kids[2], event, epoll, lock_fd, fcntl_fd, ofd_fd;
static volatile int word;
static pid_t child_pid, clone_pid;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static volatile int cond_go, usr1;

static void on_usr1(int sig) { usr1++; }

static struct timespec long_time(void) { return (struct timespec){ LONG_MS / 1000, 0 }; }

static long c_read(void) { char c = 0; return read(pipe_[0], &c, 1) == 1 && c == 'r' ? 0 : -1; }
static long c_write(void) { return write(full[1], "z", 1) == 1 ? 0 : -1; }
static long c_poll(void) { struct pollfd p = { event, POLLIN, 0 }; return poll(&p, 1, LONG_MS) == 1 ? 0 : -1; }
static long c_ppoll(void)
{
	struct pollfd p = { event, POLLIN, 0 };
	struct timespec t = long_time();
	return ppoll(&p, 1, &t, NULL) == 1 ? 0 : -1;
}
static long c_poll_forever(void) { struct pollfd p = { event, POLLIN, 0 }; return poll(&p, 1, -1) == 1 ? 0 : -1; }
static long c_select(void)
{
	struct timeval t = { LONG_MS / 1000, 0 };
	fd_set s;
	FD_ZERO(&s);
	FD_SET(event, &s);
	return select(event + 1, &s, NULL, NULL, &t) == 1 ? 0 : -1;
}
static long c_epoll(void) { struct epoll_event ev; return epoll_wait(epoll, &ev, 1, LONG_MS) == 1 && ev.data.u64 == 77 ? 0 : -1; }
static long c_epoll_forever(void) { struct epoll_event ev; return epoll_wait(epoll, &ev, 1, -1) == 1 ? 0 : -1; }
static long c_futex(void)
{
	struct timespec t = long_time();
	return syscall(SYS_futex, &word, FUTEX_WAIT, 0, &t, NULL, 0);
}
static long c_futex_forever(void) { return syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0); }
static long c_futex_abs(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += LONG_MS / 1000;
	return syscall(SYS_futex, &word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &t, NULL, FUTEX_BITSET_MATCH_ANY);
}
static long c_cond(void)
{
	struct timespec t;
	int rc = 0;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += LONG_MS / 1000;
	pthread_mutex_lock(&mutex);
	while (!cond_go && !rc)
		rc = pthread_cond_timedwait(&cond, &mutex, &t);
	pthread_mutex_unlock(&mutex);
	errno = rc;
	return rc;
}
static long c_flock(void)
{
	long rc = flock(lock_fd, LOCK_EX);
	flock(lock_fd, LOCK_UN);
	return rc;
}
static long c_ofd_lock(void)
{
	struct flock l = { .l_type = F_WRLCK };
	return fcntl(ofd_fd, F_OFD_SETLKW, &l);
}
static long c_waitpid(void) { int st; return waitpid(child_pid, &st, 0) == child_pid && WEXITSTATUS(st) == 9 ? 0 : -1; }
static long c_waitid(void) { siginfo_t s; return waitid(P_PID, (id_t)clone_pid, &s, WEXITED) == 0 && s.si_status == 8 ? 0 : -1; }
static long c_sigsuspend(void)
{
	sigset_t s;
	sigfillset(&s);
	sigdelset(&s, SIGUSR1);
	return sigsuspend(&s) == -1 && errno == EINTR && usr1 >= 1 ? 0 : -1;
}
static long c_sigwait(void)
{
	struct timespec t = long_time();
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGRTMIN + 1);
	return sigtimedwait(&s, NULL, &t) == SIGRTMIN + 1 ? 0 : -1;
}
static long c_pause(void) { return pause() == -1 && errno == EINTR && usr1 >= 1 ? 0 : -1; }
/* Sleeps end by themselves: not earlier than asked for, and without an error. */
static long sleeps(int clock, int absolute)
{
	struct timespec a, b, t = { 1, 500000000 };

	clock_gettime(CLOCK_MONOTONIC, &a);
	if (absolute) {
		clock_gettime(clock, &b);
		t = (struct timespec){ b.tv_sec + 2, b.tv_nsec };
	}
	int rc = clock_nanosleep(clock, absolute ? TIMER_ABSTIME : 0, &t, NULL);
	clock_gettime(CLOCK_MONOTONIC, &b);
	errno = rc;
	return rc ? rc : b.tv_sec * 1000 + b.tv_nsec / 1000000 - a.tv_sec * 1000 - a.tv_nsec / 1000000 < 1490 ? -2 : 0;
}
static long c_nanosleep(void) { return sleeps(CLOCK_MONOTONIC, 0); }
static long c_sleep_until(void) { return sleeps(CLOCK_REALTIME, 1); }
static long c_event_read(void) { uint64_t v; return read(event, &v, 8) == 8 ? 0 : -1; }

static const struct call { const char *name; long (*fn)(void); int signal; } calls[] = {
	{ "read of a pipe", c_read, 0 }, { "write to a full pipe", c_write, 0 }, { "poll", c_poll, 0 }, { "ppoll", c_ppoll, 0 },
	{ "poll without end", c_poll_forever, 0 }, { "select", c_select, 0 }, { "epoll_wait", c_epoll, 0 },
	{ "epoll_wait without end", c_epoll_forever, 0 }, { "futex", c_futex, 0 }, { "futex without end", c_futex_forever, 0 },
	{ "futex until", c_futex_abs, 0 }, { "condition variable", c_cond, 0 }, { "flock", c_flock, 0 },
	{ "fcntl F_OFD_SETLKW", c_ofd_lock, 0 }, { "waitpid", c_waitpid, 0 }, { "waitid", c_waitid, 0 },
	{ "sigsuspend", c_sigsuspend, SIGUSR1 }, { "sigtimedwait", c_sigwait, -1 }, { "pause", c_pause, SIGUSR1 },
	{ "nanosleep", c_nanosleep, 0 }, { "clock_nanosleep until", c_sleep_until, 0 }, { "read of an eventfd", c_event_read, 0 },
};
enum { N = sizeof calls / sizeof *calls };
static struct { pthread_t t; volatile int tid, done; long ret; int error; } run_[N];

static void *run(void *arg)
{
	size_t i = (size_t)(uintptr_t)arg;

	run_[i].tid = (int)syscall(SYS_gettid);
	run_[i].ret = calls[i].fn();
	run_[i].error = errno;
	run_[i].done = 1;
	return NULL;
}

/* In its system call: asleep by /proc, in something that is not the start-up. */
static void wait_asleep(int tid)
{
	char name[64], text[256], *state;
	int fd, n = 0;

	for (;;) {
		snprintf(name, sizeof name, "/proc/self/task/%d/stat", tid);
		VICTIM_TRY(fd = open(name, O_RDONLY));
		n = (int)read(fd, text, sizeof text - 1);
		close(fd);
		text[n > 0 ? n : 0] = 0;
		state = strrchr(text, ')');
		if (state && state[2] == 'S')
			return;
		victim_pause();
	}
}

static pid_t child(int status)
{
	pid_t pid = fork();
	char c;

	VICTIM_TRY(pid);
	if (pid)
		return pid;
	_exit(read(kids[0], &c, 1) == 1 ? status : 1);
}

static void build(void)
{
	struct flock l = { .l_type = F_WRLCK };
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 77 };
	char name[4300];
	int holder;

	VICTIM_TRY(pipe(pipe_));
	VICTIM_TRY(pipe(full));
	VICTIM_TRY(pipe(kids));
	VICTIM_TRY(fcntl(full[1], F_SETFL, O_NONBLOCK));
	while (write(full[1], "y", 1) == 1)
		;
	VICTIM_TRY(fcntl(full[1], F_SETFL, 0));
	VICTIM_TRY(event = eventfd(0, EFD_SEMAPHORE));
	VICTIM_TRY(epoll = epoll_create1(0));
	VICTIM_TRY(epoll_ctl(epoll, EPOLL_CTL_ADD, event, &ev));
	snprintf(name, sizeof name, "%s.lock", victim_path_);
	VICTIM_TRY(holder = open(name, O_CREAT | O_RDWR, 0600));
	VICTIM_TRY(lock_fd = open(name, O_RDWR));
	VICTIM_TRY(ofd_fd = open(name, O_RDWR));
	VICTIM_TRY(flock(holder, LOCK_EX));
	VICTIM_TRY(fcntl(holder, F_OFD_SETLK, &l));
	fcntl_fd = holder;
	signal(SIGUSR1, on_usr1);
}

static void check_waiting(void)
{
	for (int i = 0; i < 5; i++)
		victim_pause();
	for (size_t i = 0; i < N; i++)
		if (run_[i].done && calls[i].fn != c_nanosleep && calls[i].fn != c_sleep_until)
			victim_fail("%s came back by itself: %ld, %s", calls[i].name, run_[i].ret, strerror(run_[i].error));
}

static void wake(void)
{
	struct flock l = { .l_type = F_UNLCK };
	static char rest[1 << 20];
	uint64_t many = 100;

	VICTIM_CHECK(write(pipe_[1], "r", 1) == 1);
	VICTIM_CHECK(write(kids[1], "12", 2) == 2);
	VICTIM_TRY(read(full[0], rest, 5000));
	VICTIM_CHECK(write(event, &many, 8) == 8);
	word = 1;
	syscall(SYS_futex, &word, FUTEX_WAKE, 100, NULL, NULL, 0);
	syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0);
	pthread_mutex_lock(&mutex);
	cond_go = 1;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&mutex);
	VICTIM_TRY(flock(fcntl_fd, LOCK_UN));
	VICTIM_TRY(fcntl(fcntl_fd, F_OFD_SETLK, &l));
	for (size_t i = 0; i < N; i++)
		if (calls[i].signal)
			VICTIM_TRY(syscall(SYS_tgkill, getpid(), run_[i].tid, calls[i].signal == SIGUSR1 ? SIGUSR1 : SIGRTMIN + 1));
}

int main(int argc, char **argv)
{
	sigset_t s;

	victim_init(argc, argv);
	sigemptyset(&s);
	sigaddset(&s, SIGRTMIN + 1);
	pthread_sigmask(SIG_BLOCK, &s, NULL);
	build();
	child_pid = child(9);
	clone_pid = child(8);
	for (size_t i = 0; i < N; i++) {
		VICTIM_CHECK(pthread_create(&run_[i].t, NULL, run, (void *)(uintptr_t)i) == 0);
		while (!run_[i].tid)
			victim_pause();
		wait_asleep(run_[i].tid);
	}
	victim_wait();
	check_waiting();
	wake();
	for (int n = 0; n < 300; n++) {
		size_t done = 0;
		for (size_t i = 0; i < N; i++)
			done += (size_t)run_[i].done;
		if (done == N)
			break;
		victim_pause();
	}
	for (size_t i = 0; i < N; i++) {
		if (!run_[i].done)
			victim_fail("%s was not woken", calls[i].name);
		if (run_[i].ret)
			victim_fail("%s returned %ld: %s", calls[i].name, run_[i].ret, strerror(run_[i].error));
	}
	return victim_ok();
}
