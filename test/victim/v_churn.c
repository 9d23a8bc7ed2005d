/* A process that never stands still: threads that make and join threads, a thread that forks and one that vforks, each waiting for
 * what it made; pipes between; signals all the time. Every birth and death must be seen by its maker exactly once. */
#include "victim.h"

#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <sys/wait.h>

extern char **environ;
static volatile int stop, alarms;
static volatile unsigned made[4];

static void on_alarm(int sig) { alarms++; }
static void *give_back(void *arg) { return (void *)((uintptr_t)arg * 3 + 1); }

static void *make_threads(void *arg)
{
	for (uintptr_t i = 0; !stop; i++) {
		pthread_t t[3];
		void *ret;

		for (uintptr_t k = 0; k < 3; k++)
			VICTIM_CHECK(pthread_create(&t[k], NULL, give_back, (void *)(i + k)) == 0);
		for (uintptr_t k = 0; k < 3; k++) {
			VICTIM_CHECK(pthread_join(t[k], &ret) == 0);
			VICTIM_CHECK((uintptr_t)ret == (i + k) * 3 + 1);
		}
		made[0]++;
	}
	return NULL;
}

static void *make_forks(void *arg)
{
	for (int i = 0; !stop; i++) {
		int p[2], status;
		char c = 0;
		pid_t pid;

		VICTIM_TRY(pipe(p));
		VICTIM_TRY(pid = fork());
		if (!pid) {
			c = (char)i;
			_exit(write(p[1], &c, 1) == 1 ? i & 63 : 99);
		}
		VICTIM_CHECK(read(p[0], &c, 1) == 1 && c == (char)i);
		VICTIM_CHECK(waitpid(pid, &status, 0) == pid);
		VICTIM_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == (i & 63));
		close(p[0]);
		close(p[1]);
		made[1]++;
	}
	return NULL;
}

/* posix_spawn(3) is vfork: the maker stands in the kernel until the child has executed or failed to. */
static void *make_spawns(void *arg)
{
	char *good[] = { (char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c", (char *)(uintptr_t) "exit 5", NULL };
	char *bad[] = { (char *)(uintptr_t) "nothing", NULL };

	while (!stop) {
		int status;
		pid_t pid;

		VICTIM_CHECK(posix_spawn(&pid, "/bin/sh", NULL, NULL, good, environ) == 0);
		VICTIM_CHECK(waitpid(pid, &status, 0) == pid);
		VICTIM_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 5);
		VICTIM_CHECK(posix_spawn(&pid, "/nonexistent/nothing", NULL, NULL, bad, environ) == ENOENT);
		made[2]++;
	}
	return NULL;
}

static void *send_signals(void *arg)
{
	struct timespec ts = { 0, 300000 };

	while (!stop) {
		kill(getpid(), SIGALRM);
		nanosleep(&ts, NULL);
		made[3]++;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	void *(*const jobs[])(void *) = { make_threads, make_threads, make_forks, make_spawns, send_signals };
	enum { N = sizeof jobs / sizeof *jobs };
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	pthread_t t[N];
	unsigned before[4];
	int status;

	victim_init(argc, argv);
	sigaction(SIGALRM, &sa, NULL);
	for (int i = 0; i < N; i++)
		VICTIM_CHECK(pthread_create(&t[i], NULL, jobs[i], NULL) == 0);
	while (!made[0] || !made[1] || !made[2] || !made[3])
		victim_pause();
	victim_wait();

	memcpy(before, (const void *)(uintptr_t)made, sizeof before);
	for (int i = 0; i < 4; i++)
		for (int n = 0; made[i] == before[i]; n++) {
			if (n > 250)
				victim_fail("maker %d makes nothing any more", i);
			victim_pause();
		}
	stop = 1;
	for (int i = 0; i < N; i++)
		VICTIM_CHECK(pthread_join(t[i], NULL) == 0);
	VICTIM_CHECK(alarms > 0);
	VICTIM_CHECK(waitpid(-1, &status, WNOHANG) < 0 && errno == ECHILD);
	return victim_ok();
}
