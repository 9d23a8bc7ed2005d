/* Terminals in mount namespaces: three processes have one each, number 0 if they can: one in the machine's devpts, one of a devpts of its own in its
 * mount namespace, one in a PID namespace too and below a root where /dev/tty is not. Each is the controlling terminal of a child that has it as its standard input,
 * with settings, a size, a foreground group and input of its own; after the restart all of that is as it was, and each reads its own line. */
#include "victim.h"
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>

enum kind { PLAIN, OWN_PTS, ROOTED, KINDS };
struct told { volatile int ready; char why[256]; };
static struct told *told;
static char base[4100];
static enum kind mine;

#define MUST(x) do { if ((x) < 0) fail(__LINE__, #x); } while (0)
#define CHECK(x) do { if (!(x)) { errno = 0; fail(__LINE__, #x); } } while (0)

/* A path to a file would not lead there from everywhere. */
static void fail(int line, const char *what)
{
	if (!told[mine].why[0])
		snprintf(told[mine].why, sizeof told[mine].why, "line %d: %.150s: %s", line, what, strerror(errno));
	_exit(1);
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	MUST(fd);
	CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static void enter(int flags)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	char map[64];

	if (!uid) {
		MUST(unshare(flags));
	} else {
		MUST(unshare(flags | CLONE_NEWUSER));
		put("/proc/self/setgroups", "deny");
		snprintf(map, sizeof map, "0 %u 1", uid);
		put("/proc/self/uid_map", map);
		snprintf(map, sizeof map, "0 %u 1", gid);
		put("/proc/self/gid_map", map);
	}
	MUST(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL));
}

/* A tmpfs with dev/pts only, which becomes the root; the program's own file stays below it. */
static void root_here(const char *dir)
{
	MUST(mount("root", dir, "tmpfs", 0, "mode=755"));
	MUST(chdir(dir));
	MUST(mkdir("dev", 0755));
	MUST(mkdir("dev/pts", 0755));
	MUST(mkdir("old", 0755));
	MUST(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620"));
	MUST(symlink("pts/ptmx", "dev/ptmx"));
	MUST(syscall(SYS_pivot_root, ".", "old"));
	MUST(chdir("/"));
}

static void settle(int s, enum kind k)
{
	struct winsize w = { .ws_row = (unsigned short)(20 + k), .ws_col = (unsigned short)(70 + k) };
	struct termios t;

	MUST(tcgetattr(s, &t));
	t.c_cc[VINTR] = (cc_t)(5 + k);
	t.c_lflag &= (tcflag_t)~ECHO;
	MUST(tcsetattr(s, TCSANOW, &t));
	MUST(ioctl(s, TIOCSWINSZ, &w));
}

static void settled(int s, enum kind k)
{
	struct winsize w;
	struct termios t;

	MUST(tcgetattr(s, &t));
	MUST(ioctl(s, TIOCGWINSZ, &w));
	CHECK(t.c_cc[VINTR] == 5 + k && !(t.c_lflag & ECHO) && w.ws_row == 20 + k && w.ws_col == 70 + k);
}

/* The leader of the session. go: a pipe that ends when it is time. */
static void session(const char *slave, enum kind k, int go)
{
	char name[64], line[64] = "", want[64], c;
	struct stat a, b;
	pid_t group;
	int s;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGTTOU, SIG_IGN);
	MUST(setsid());
	MUST(s = open(slave, O_RDWR)); /* its controlling terminal from here on */
	MUST(dup2(s, 0));
	settle(0, k);
	group = fork();
	if (!group) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGHUP, SIG_IGN);
		setpgid(0, 0);
		for (;;)
			pause();
	}
	setpgid(group, group);
	MUST(tcsetpgrp(0, group));
	told[k].ready = 1;
	while (read(go, &c, 1) < 0 && errno == EINTR)
		;
	settled(0, k);
	CHECK(tcgetpgrp(0) == group && tcgetsid(0) == getpid() && getsid(0) == getpid());
	if (ttyname_r(0, name, sizeof name))
		strcpy(name, slave);
	/* That of the machine's devpts gets another number when its own has come to somebody else. */
	CHECK(!strcmp(name, slave) || (k == PLAIN && !strncmp(name, "/dev/pts/", 9)));
	slave = name;
	MUST(fstat(0, &a));
	MUST(stat(slave, &b));
	CHECK(a.st_dev == b.st_dev && a.st_ino == b.st_ino && a.st_rdev == b.st_rdev);
	MUST(tcsetpgrp(0, getpid()));
	snprintf(want, sizeof want, "line of %d\n", k);
	CHECK(read(0, line, sizeof line - 1) == (ssize_t)strlen(want) && !strcmp(line, want));
	CHECK(write(0, "answer", 6) == 6);
	_exit(0);
}

static int terminal(enum kind k, int go)
{
	char path[64], text[64], back[64] = "";
	int m, number, unlock = 0, st, n;
	pid_t pid;

	MUST(m = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC));
	MUST(ioctl(m, TIOCGPTN, &number));
	MUST(ioctl(m, TIOCSPTLCK, &unlock));
	CHECK(k == PLAIN || number == 0);
	snprintf(path, sizeof path, "/dev/pts/%d", number);
	pid = fork();
	MUST(pid);
	if (!pid) {
		close(m);
		session(path, k, go);
	}
	while (!told[k].ready)
		usleep(1000);
	n = snprintf(text, sizeof text, "line of %d\n", k);
	CHECK(write(m, text, (size_t)n) == n);
	told[k].ready = 2;
	while (read(go, back, 1) < 0 && errno == EINTR)
		;
	settled(m, k);
	for (n = 0; n < 6 && (st = (int)read(m, back + n, sizeof back - 1 - (size_t)n)) > 0;)
		n += st;
	back[n] = '\0';
	CHECK(!strcmp(back, "answer"));
	CHECK(waitpid(pid, &st, 0) == pid && WIFEXITED(st) && !WEXITSTATUS(st));
	return 0;
}

static int owner(enum kind k, int go)
{
	char dir[4200];
	pid_t pid;
	int st;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	mine = k;
	if (k == PLAIN)
		return terminal(k, go);
	snprintf(dir, sizeof dir, "%s.%d", base, k);
	if (mkdir(dir, 0755))
		CHECK(errno == EEXIST);
	/* pivot_root(2) takes the root along, but no other directory. */
	if (k == ROOTED)
		MUST(chdir("/"));
	enter(CLONE_NEWNS | (k == ROOTED ? CLONE_NEWPID : 0));
	if (k == OWN_PTS) {
		MUST(mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620"));
		return terminal(k, go);
	}
	pid = fork();
	MUST(pid);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		root_here(dir);
		MUST(umount2("/old", MNT_DETACH));
		_exit(terminal(k, go));
	}
	while (waitpid(pid, &st, 0) < 0 && errno == EINTR)
		;
	return !(WIFEXITED(st) && !WEXITSTATUS(st));
}

static bool can_make(void)
{
	pid_t pid = fork();
	int st;

	if (!pid)
		_exit(unshare(CLONE_NEWNS | (geteuid() ? CLONE_NEWUSER : 0)) != 0);
	return pid > 0 && waitpid(pid, &st, 0) == pid && st == 0;
}

int main(int argc, char **argv)
{
	pid_t pid[KINDS];
	int go[2], st;

	victim_init(argc, argv);
	snprintf(base, sizeof base, "%s", victim_path_);
	if (!can_make())
		victim_skip("mount namespaces cannot be made here: %s", strerror(errno));
	told = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (told == MAP_FAILED || pipe2(go, O_CLOEXEC))
		victim_fail("pipe or memory");
	for (int k = 0; k < KINDS; k++) {
		pid[k] = fork();
		if (!pid[k]) {
			close(go[1]);
			_exit(owner((enum kind)k, go[0]));
		}
		while (told[k].ready < 2 && !told[k].why[0] && waitpid(pid[k], &st, WNOHANG) != pid[k])
			usleep(1000);
		if (told[k].ready < 2)
			victim_fail("terminal %d: %s", k, told[k].why[0] ? told[k].why : "its process ended");
	}
	victim_wait();
	close(go[1]);
	for (int k = 0; k < KINDS; k++) {
		if (waitpid(pid[k], &st, 0) != pid[k])
			victim_fail("process %d cannot be waited for", k);
		if (!WIFEXITED(st) || WEXITSTATUS(st))
			victim_fail("terminal %d: status %x: %s", k, (unsigned)st, told[k].why);
	}
	return victim_ok();
}
