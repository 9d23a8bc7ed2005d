/* Descriptors of namespaces, setns(2): of those that the process itself is in, all kinds, and of those of a child that made its own. They lead to
 * the same ones after the restart, and can be entered. */
#include "victim.h"

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>

static const char *const kinds[] = { "user", "pid", "net", "ipc", "uts", "cgroup", "time", "mnt" };
static const struct { const char *name; int flag; } its[] = {
	{ "user", CLONE_NEWUSER }, { "uts", CLONE_NEWUTS }, { "net", CLONE_NEWNET }, { "mnt", CLONE_NEWNS }, { "ipc", CLONE_NEWIPC },
};
enum { KINDS = sizeof kinds / sizeof *kinds, ITS = sizeof its / sizeof *its };

static int own[KINDS], of_child[ITS];

static int open_ns(const char *pid, const char *kind)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%s/ns/%s", pid, kind);
	return open(path, O_RDONLY);
}

static void same(int fd, const char *pid, const char *kind)
{
	struct stat a, b;
	int now = open_ns(pid, kind);

	VICTIM_CHECK(!fstat(fd, &a));
	VICTIM_CHECK(now >= 0 && !fstat(now, &b));
	if (a.st_dev != b.st_dev || a.st_ino != b.st_ino)
		victim_fail("the descriptor of %s's %s namespace leads to another one", pid, kind);
	if (fcntl(fd, F_GETFL) != fcntl(now, F_GETFL))
		victim_fail("the flags are %x", fcntl(fd, F_GETFL));
	close(now);
}

/* A new child enters the namespaces of the first one: the user namespace allows the others. */
static int enter(void)
{
	struct utsname u;

	for (int i = 0; i < ITS; i++)
		if (setns(of_child[i], its[i].flag))
			return 10 + i;
	return uname(&u) || strcmp(u.nodename, "nsfd-victim") ? 20 : 0;
}

static void map_self(uid_t uid, gid_t gid)
{
	static const char *const files[] = { "/proc/self/setgroups", "/proc/self/uid_map", "/proc/self/gid_map" };
	char text[3][32] = { "deny" };

	snprintf(text[1], sizeof text[1], "0 %u 1", uid);
	snprintf(text[2], sizeof text[2], "0 %u 1", gid);
	for (int i = 0; i < 3; i++) {
		int fd = open(files[i], O_WRONLY);

		if (fd < 0 || write(fd, text[i], strlen(text[i])) < 0)
			_exit(3);
		close(fd);
	}
}

static void try_entering(void)
{
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(enter());
	VICTIM_CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
	if (status)
		victim_fail("entering the child's namespaces ended with %x", (unsigned)status);
}

int main(int argc, char **argv)
{
	char pid[16], c;
	int ready[2];
	pid_t child;

	victim_init(argc, argv);
	VICTIM_CHECK(!pipe(ready));
	child = fork();
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		uid_t uid = geteuid();
		gid_t gid = getegid();

		if (unshare(CLONE_NEWUSER))
			_exit(1);
		map_self(uid, gid);
		if (unshare(CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWIPC))
			_exit(1);
		if (sethostname("nsfd-victim", 11))
			_exit(2);
		(void)!write(ready[1], "r", 1);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (read(ready[0], &c, 1) != 1)
		victim_skip("no namespaces can be made here");
	snprintf(pid, sizeof pid, "%d", child);
	for (int i = 0; i < KINDS; i++)
		own[i] = open_ns("self", kinds[i]);
	for (int i = 0; i < ITS; i++)
		VICTIM_TRY(of_child[i] = open_ns(pid, its[i].name));
	try_entering();
	victim_wait();
	for (int i = 0; i < KINDS; i++)
		if (own[i] >= 0)
			same(own[i], "self", kinds[i]);
	for (int i = 0; i < ITS; i++)
		same(of_child[i], pid, its[i].name);
	try_entering();
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	return victim_ok();
}
