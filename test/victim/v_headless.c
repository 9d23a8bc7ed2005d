/* A process whose first thread has exited while others go on, and a child of it of the same kind: ids, descriptors, mappings,
 * queued signals, timers, credentials of the zombie, the status that it leaves. */
#include "victim.h"
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { MARK = 4711 };

static pthread_barrier_t built, go;
static int event = -1, child_pipe[2];
static char *shared;
static pid_t first, child;
static __thread int mine;
static timer_t timer;

/* State, name and status of the first thread, as /proc shows them: the last thread's is that of the process. */
static void leader_is(pid_t pid, const char *name, int status)
{
	char path[64], text[512], *end;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, pid);
	f = fopen(path, "r");
	if (!f)
		victim_fail("%s: %s", path, strerror(errno));
	VICTIM_CHECK(fgets(text, sizeof text, f) != NULL);
	fclose(f);
	end = strrchr(text, ')');
	VICTIM_CHECK(end && end[1] == ' ');
	if (end[2] != 'Z')
		victim_fail("the first thread of %d is in state %c", pid, end[2]);
	VICTIM_CHECK(atoi(strrchr(end, ' ') + 1) == status << 8);
	*end = '\0';
	VICTIM_CHECK(strcmp(strchr(text, '(') + 1, name) == 0);
}

static void wait_for_zombie(pid_t pid)
{
	char path[64], text[512];

	snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, pid);
	for (int i = 0; i < 500; i++) {
		FILE *f = fopen(path, "r");
		bool zombie = f && fgets(text, sizeof text, f) && strstr(text, ") Z ");

		if (f)
			fclose(f);
		if (zombie)
			return;
		victim_pause();
	}
	victim_fail("the first thread of %d does not end", pid);
}

/* ---- the child: its last thread ends when a byte comes, its status is that of the first ---- */

static void *child_body(void *arg)
{
	char c;

	if (read(child_pipe[0], &c, 1) != 1)
		_exit(98);
	syscall(SYS_exit, 43);
	return NULL;
}

static void child_main(void)
{
	pthread_t t;

	close(child_pipe[1]);
	if (pthread_create(&t, NULL, child_body, NULL))
		_exit(99);
	prctl(PR_SET_NAME, "childhead");
	syscall(SYS_exit, 42);
}

/* ---- the threads ---- */

static void *other(void *arg)
{
	pid_t tid = (pid_t)syscall(SYS_gettid);

	mine = 7;
	pthread_barrier_wait(&built);
	pthread_barrier_wait(&go);
	VICTIM_CHECK(mine == 7 && tid == syscall(SYS_gettid));
	return NULL;
}

static void check(pid_t tid)
{
	struct itimerspec it;
	siginfo_t si;
	sigset_t set;
	uint64_t n;
	int status;

	VICTIM_CHECK(getpid() == first && syscall(SYS_gettid) == tid && tid != first && mine == 1);
	leader_is(first, "headless", 0);
	leader_is(child, "childhead", 42);
	VICTIM_CHECK(read(event, &n, sizeof n) == sizeof n && n == MARK);
	VICTIM_CHECK(strcmp(shared, "shared") == 0);
	sigfillset(&set);
	for (int i = 0; i < 2; i++) {
		int sig = sigwaitinfo(&set, &si);

		VICTIM_CHECK(sig == SIGUSR1 ? si.si_code == SI_USER && si.si_pid == first :
			     sig == SIGRTMIN && si.si_code == SI_QUEUE && si.si_value.sival_int == MARK);
	}
	VICTIM_TRY(timer_gettime(timer, &it));
	VICTIM_CHECK(it.it_value.tv_sec > 80000 && it.it_interval.tv_sec == 5);
	VICTIM_CHECK(waitpid(child, &status, WNOHANG) == 0);
	VICTIM_CHECK(write(child_pipe[1], "x", 1) == 1);
	VICTIM_CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
	if (WEXITSTATUS(status) != 42 /* before Linux 5.17 */ && WEXITSTATUS(status) != 43)
		victim_fail("the child ended with status %d", WEXITSTATUS(status));
}

/* Before Linux 6.9 nobody gets at the descriptors of such a process. */
static bool descriptors_can_be_had(pid_t thread)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		int of = (int)syscall(SYS_pidfd_open, thread, O_EXCL /* PIDFD_THREAD */);

		_exit(of < 0 || syscall(SYS_pidfd_getfd, of, event, 0) < 0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return false;
	sigset_t chld;
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigtimedwait(&chld, NULL, &(struct timespec){ 0, 0 }); /* all are blocked */
	return !status;
}

static void *worker(void *arg)
{
	struct sigevent none = { .sigev_notify = SIGEV_NONE };
	struct itimerspec it = { { 5, 0 }, { 86400, 0 } };
	pid_t tid = (pid_t)syscall(SYS_gettid);
	uint64_t n = MARK;
	pthread_t t;

	mine = 1;
	wait_for_zombie(first);
	if (!descriptors_can_be_had(tid))
		victim_skip("this kernel gives nobody the descriptors of a process whose first thread has exited");
	VICTIM_CHECK(write(event, &n, sizeof n) == sizeof n);
	VICTIM_TRY(timer_create(CLOCK_MONOTONIC, &none, &timer));
	VICTIM_TRY(timer_settime(timer, 0, &it, NULL));
	VICTIM_TRY(kill(first, SIGUSR1));
	VICTIM_TRY(sigqueue(first, SIGRTMIN, (union sigval){ .sival_int = MARK }));
	VICTIM_TRY(pipe(child_pipe));
	child = fork();
	VICTIM_TRY(child);
	if (child == 0)
		child_main();
	close(child_pipe[0]);
	wait_for_zombie(child);
	VICTIM_CHECK(pthread_create(&t, NULL, other, NULL) == 0);
	pthread_barrier_wait(&built);
	victim_wait();
	pthread_barrier_wait(&go);
	VICTIM_CHECK(pthread_join(t, NULL) == 0);
	check(tid);
	victim_ok();
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t t;
	sigset_t all;

	victim_init(argc, argv);
	first = getpid();
	event = eventfd(0, EFD_CLOEXEC);
	VICTIM_TRY(event);
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	VICTIM_CHECK(shared != MAP_FAILED);
	strcpy(shared, "shared");
	sigfillset(&all);
	VICTIM_CHECK(pthread_sigmask(SIG_SETMASK, &all, NULL) == 0);
	pthread_barrier_init(&built, NULL, 2);
	pthread_barrier_init(&go, NULL, 2);
	prctl(PR_SET_NAME, "headless");
	VICTIM_CHECK(pthread_create(&t, NULL, worker, NULL) == 0);
	prctl(PR_SET_NAME, "headless");
	pthread_exit(NULL);
}
