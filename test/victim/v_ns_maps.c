/* A user namespace in which its owner is nobody: it maps other ids (as newuidmap(1) gives them to rootless containers). What its members made there
 * is made again by somebody who may: a mount namespace with a tmpfs, a network namespace. */
#include "victim.h"

#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { FIRST = 100000, COUNT = 1000, OTHER = 33 };

static int up[2], down[2];

static int report(char c) { return write(up[1], &c, 1) == 1 ? 0 : -1; }

static int check(void)
{
	char text[64] = "";
	struct stat st;
	int fd = open("/mnt/file", O_RDONLY);

	if (fd < 0 || read(fd, text, sizeof text) != 5 || strcmp(text, "hello"))
		return 'c';
	if (fstat(fd, &st) || st.st_uid != OTHER || st.st_gid != OTHER)
		return 'o';
	close(fd);
	if (getuid() != 0 || getgid() != 0)
		return 'i';
	fd = open("/proc/self/uid_map", O_RDONLY);
	memset(text, 0, sizeof text);
	if (fd < 0 || read(fd, text, sizeof text - 1) <= 0)
		return 'm';
	close(fd);
	unsigned in, out, n;
	return sscanf(text, "%u %u %u", &in, &out, &n) == 3 && in == 0 && out == FIRST && n == COUNT ? 'k' : 'n';
}

static int inside(void)
{
	char c;
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (unshare(CLONE_NEWUSER) || report('u') || read(down[0], &c, 1) != 1)
		return 1;
	if (setgroups(0, NULL) || setresgid(0, 0, 0) || setresuid(0, 0, 0) || unshare(CLONE_NEWNS | CLONE_NEWNET))
		return 2;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount("none", "/mnt", "tmpfs", 0, "size=64k"))
		return 3;
	fd = open("/mnt/file", O_RDWR | O_CREAT, 0644);
	if (fd < 0 || write(fd, "hello", 5) != 5 || fchown(fd, OTHER, OTHER) || close(fd))
		return 4;
	while (report((char)check()) == 0 && read(down[0], &c, 1) == 1)
		;
	return 0;
}

static char next(void)
{
	char c = 0;

	return read(up[0], &c, 1) == 1 ? c : 0;
}

static void put(const char *fmt, pid_t pid)
{
	char path[64], text[64];
	int fd;

	snprintf(path, sizeof path, fmt, pid);
	snprintf(text, sizeof text, "0 %d %d", FIRST, COUNT);
	VICTIM_TRY(fd = open(path, O_WRONLY));
	VICTIM_CHECK(write(fd, text, strlen(text)) > 0);
	close(fd);
}

int main(int argc, char **argv)
{
	char c;
	pid_t pid;

	victim_init(argc, argv);
	if (geteuid() != 0)
		victim_skip("only root may map ids of others");
	VICTIM_CHECK(!pipe(up) && !pipe(down));
	pid = fork();
	if (!pid)
		_exit(inside());
	close(up[1]);
	if (next() != 'u')
		victim_skip("no user namespaces here");
	put("/proc/%d/uid_map", pid);
	put("/proc/%d/gid_map", pid);
	VICTIM_CHECK(write(down[1], "g", 1) == 1);
	c = next();
	if (c != 'k')
		victim_fail("before: %c", c);
	victim_wait();
	VICTIM_CHECK(write(down[1], "g", 1) == 1);
	c = next();
	if (c != 'k')
		victim_fail("after: %c", c ? c : '-');
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return victim_ok();
}
