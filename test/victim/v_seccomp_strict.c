/* A child in strict seccomp mode: it may only read and write, and goes on doing so; anything else still kills it. */
#include "victim.h"
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

int main(int argc, char **argv)
{
	int to[2], from[2], st;
	char c = 'a';
	pid_t child;

	victim_init(argc, argv);
	if (geteuid() != 0)
		victim_skip("seccomp can be suspended by CAP_SYS_ADMIN only");
	VICTIM_TRY(pipe(to));
	VICTIM_TRY(pipe(from));
	child = fork();
	if (child == 0) {
		VICTIM_TRY(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
		while (read(to[0], &c, 1) == 1) {
			if (c == 'x')
				syscall(SYS_getppid);
			c++;
			if (write(from[1], &c, 1) != 1)
				break;
		}
		syscall(SYS_exit, 0);
	}
	VICTIM_CHECK(write(to[1], &c, 1) == 1 && read(from[0], &c, 1) == 1 && c == 'b');
	victim_wait();
	VICTIM_CHECK(write(to[1], &c, 1) == 1 && read(from[0], &c, 1) == 1 && c == 'c');
	c = 'x';
	VICTIM_CHECK(write(to[1], &c, 1) == 1);
	VICTIM_CHECK(wait(&st) == child && WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
	return victim_ok();
}
