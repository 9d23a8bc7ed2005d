/* umask, oom_score_adj, coredump_filter, the nice value of the session's autogroup, and the parent's share of a zombie's life: no SIGCHLD that was not there. */
#include "status.h"
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char before[2][64], group[64], after[64];
static volatile int children;

static void on_chld(int s) { children++; }

static void put(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY | O_CLOEXEC);

	VICTIM_TRY(fd);
	VICTIM_TRY(write(fd, text, strlen(text)));
	close(fd);
}

int main(int argc, char **argv)
{
	int st;
	pid_t child;

	victim_init(argc, argv);
	umask(0137);
	put("/proc/self/oom_score_adj", "432\n");
	put("/proc/self/coredump_filter", "0x7b\n");
	status_take(before[0], sizeof(before[0]), "/proc/self/oom_score_adj", NULL);
	status_take(before[1], sizeof(before[1]), "/proc/self/coredump_filter", NULL);
	if (getsid(0) == getpid() && access("/proc/self/autogroup", W_OK) == 0)
		put("/proc/self/autogroup", "5");
	status_take(group, sizeof(group), "/proc/self/autogroup", NULL);
	signal(SIGCHLD, on_chld);
	child = fork();
	if (child == 0)
		_exit(42);
	while (!children)
		victim_pause();
	victim_wait();
	VICTIM_CHECK(children == 1);
	VICTIM_CHECK(wait(&st) == child && WIFEXITED(st) && WEXITSTATUS(st) == 42);
	VICTIM_CHECK(umask(0) == 0137);
	status_take(after, sizeof(after), "/proc/self/oom_score_adj", NULL);
	status_same("oom_score_adj", before[0], after);
	status_take(after, sizeof(after), "/proc/self/coredump_filter", NULL);
	status_same("coredump_filter", before[1], after);
	status_take(after, sizeof(after), "/proc/self/autogroup", NULL);
	if (group[0]) /* its number is another one */
		status_same("autogroup", strchr(group, ' '), strchr(after, ' '));
	return victim_ok();
}
