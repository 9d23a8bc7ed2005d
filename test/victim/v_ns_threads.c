/* Threads in a user namespace that their PID namespace does not belong to: it was made in the one above (as bubblewrap does it for a new /dev), so
 * no process there may choose the threads' numbers. They and the threads' work must be the same after the restart. And a zombie that was the first process
 * of a PID namespace, and waits for its parent outside of it. */
#include "victim.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { THREADS = 6 };

static struct { pid_t tid; volatile unsigned long count; volatile int wrong; } work[THREADS];
static volatile int stop;
static int ready[2], go[2];

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		_exit(10);
	close(fd);
}

static void map_self(uid_t in, uid_t out, gid_t gout)
{
	char map[64];

	put("/proc/self/setgroups", "deny");
	snprintf(map, sizeof map, "%u %u 1", in, out);
	put("/proc/self/uid_map", map);
	snprintf(map, sizeof map, "%u %u 1", in, gout);
	put("/proc/self/gid_map", map);
}

static void *thread(void *arg)
{
	int i = (int)(intptr_t)arg;

	work[i].tid = (pid_t)syscall(SYS_gettid);
	while (!stop) {
		work[i].wrong |= (pid_t)syscall(SYS_gettid) != work[i].tid || getuid() != 7;
		work[i].count++;
		usleep(1000);
	}
	return NULL;
}

/* Process 1 of the PID namespace, in a user namespace below. 0: all is as it was. */
static int inside(void)
{
	pthread_t t[THREADS];
	pid_t before[THREADS];
	char c;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (unshare(CLONE_NEWUSER))
		return 11;
	map_self(7, 0, 0);
	/* Numbers with gaps: some have gone. */
	for (int i = 0; i < 3; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		waitpid(pid, NULL, 0);
	}
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&t[i], NULL, thread, (void *)(intptr_t)i))
			return 12;
	for (int i = 0; i < THREADS; i++) {
		while (!work[i].count)
			usleep(1000);
		before[i] = work[i].tid;
	}
	if (write(ready[1], "r", 1) != 1)
		return 13;
	close(go[1]);
	while (read(go[0], &c, 1) < 0 && errno == EINTR)
		;
	for (int i = 0; i < THREADS; i++) {
		unsigned long n = work[i].count;

		for (int k = 0; k < 3000 && work[i].count == n; k++)
			usleep(1000);
		if (work[i].count == n || work[i].tid != before[i] || work[i].wrong)
			return 20 + i;
	}
	stop = 1;
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	return getpid() == 1 ? 0 : 30;
}

int main(int argc, char **argv)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	pid_t pid, zombie;
	char c;
	int st;

	victim_init(argc, argv);
	/* A zombie that was the first process of a PID namespace, which has ended with it. */
	zombie = (pid_t)syscall(SYS_clone, SIGCHLD | CLONE_NEWPID | (uid ? CLONE_NEWUSER : 0), NULL, NULL, NULL, NULL);
	if (!zombie)
		_exit(7);
	if (pipe2(ready, O_CLOEXEC) || pipe2(go, O_CLOEXEC))
		victim_fail("pipes");
	pid = fork();
	if (!pid) {
		pid_t inner;

		if (unshare(CLONE_NEWUSER | CLONE_NEWPID))
			_exit(77);
		map_self(0, uid, gid);
		inner = fork();
		if (!inner)
			_exit(inside());
		close(ready[1]);
		close(go[1]);
		while (waitpid(inner, &st, 0) < 0 && errno == EINTR)
			;
		_exit(WIFEXITED(st) ? WEXITSTATUS(st) : 40);
	}
	close(ready[1]);
	if (read(ready[0], &c, 1) != 1) {
		waitpid(pid, &st, 0);
		if (WIFEXITED(st) && WEXITSTATUS(st) == 77)
			victim_skip("no user or PID namespaces here");
		victim_fail("the process in the namespaces cannot be built: %x", (unsigned)st);
	}
	victim_wait();
	if (zombie > 0 && (waitpid(zombie, &st, WNOHANG) != zombie || !WIFEXITED(st) || WEXITSTATUS(st) != 7))
		victim_fail("the zombie of another PID namespace is not what it was: %x", (unsigned)st);
	close(go[0]);
	close(go[1]);
	if (waitpid(pid, &st, 0) != pid || !WIFEXITED(st) || WEXITSTATUS(st))
		victim_fail("the process in the namespaces ended with %x", (unsigned)st);
	return victim_ok();
}
