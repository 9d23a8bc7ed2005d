/* state: where it lives; files that are old or new and never half; locks that hold. */
#include "common/cleanup.h"
#include "common/log.h"
#include "common/state.h"
#include "test/unit/unit.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

static struct err err;
static char top[] = "/tmp/xos-state-XXXXXX";
static int dir = -1;

static const char *state_dir(const char *opt)
{
	static char out[PATH_MAX];

	err_clear(&err);
	return state_default_dir(opt, out, sizeof(out), &err) == 0 ? out : err.msg;
}

static const char *run_dir(const char *opt)
{
	static char out[PATH_MAX];

	err_clear(&err);
	return state_default_run_dir(opt, out, sizeof(out), &err) == 0 ? out : err.msg;
}

static void where_given(void)
{
	char want[PATH_MAX], cwd[PATH_MAX - 8] = "", longname[5000], small[8];

	unsetenv("XOS_STATE_DIR");
	CHECK_STR(state_dir("/x/y//"), "/x/y");
	CHECK_STR(run_dir("/x/y"), "/x/y/run");
	CHECK_STR(state_dir("/"), "/");
	setenv("XOS_STATE_DIR", "/from/env", 1);
	CHECK_STR(state_dir(NULL), "/from/env");
	CHECK_STR(state_dir("/opt"), "/opt");
	CHECK_STR(run_dir(NULL), "/from/env/run");
	setenv("XOS_STATE_DIR", "rel", 1);
	CHECK(getcwd(cwd, sizeof(cwd)) != NULL);
	snprintf(want, sizeof(want), "%s/rel", strcmp(cwd, "/") ? cwd : "");
	CHECK_STR(state_dir(NULL), want);
	unsetenv("XOS_STATE_DIR");
	memset(longname, 'x', sizeof(longname) - 1);
	longname[0] = '/';
	longname[sizeof(longname) - 1] = '\0';
	state_dir(longname);
	CHECK_INT(err.code, EX_USAGE_);
	CHECK_INT(state_default_dir("/longer/than/eight", small, sizeof(small), &err), -1);
}

/* The defaults of root and of others, as a child that may change its user id. */
static void where_by_user(void)
{
	pid_t pid;
	int st;

	unsetenv("XOS_STATE_DIR");
	if (geteuid() == 0) {
		CHECK_STR(state_dir(NULL), "/var/lib/xos");
		CHECK_STR(run_dir(NULL), "/run/xos");
	}
	pid = fork();
	if (pid == 0) {
		if (geteuid() == 0 && seteuid(65534) < 0)
			_exit(77);
		unsetenv("XDG_STATE_HOME");
		unsetenv("XDG_RUNTIME_DIR");
		setenv("HOME", "/home/u", 1);
		CHECK_STR(state_dir(NULL), "/home/u/.local/state/xos");
		CHECK_STR(run_dir(NULL), "/home/u/.local/state/xos/run");
		setenv("XDG_STATE_HOME", "/s", 1);
		setenv("XDG_RUNTIME_DIR", "/r", 1);
		CHECK_STR(state_dir(NULL), "/s/xos");
		CHECK_STR(run_dir(NULL), "/r/xos");
		setenv("XDG_STATE_HOME", "relative", 1); /* to be ignored */
		CHECK_STR(state_dir(NULL), "/home/u/.local/state/xos");
		if (unit_bad_)
			printf("# %s\n", unit_why_);
		fflush(stdout);
		_exit(unit_bad_ ? 1 : 0);
	}
	waitpid(pid, &st, 0);
	CHECK(WIFEXITED(st) && (WEXITSTATUS(st) == 0 || WEXITSTATUS(st) == 77));
}

static unsigned mode_of(const char *name)
{
	struct stat st;

	return fstatat(dir, name, &st, 0) == 0 ? st.st_mode & 07777 : 0;
}

static void directories(void)
{
	char path[PATH_MAX];

	umask(077);
	snprintf(path, sizeof(path), "%s/a//b/c/", top);
	CHECK_INT(state_mkdirs(path, 0755, &err), 0);
	CHECK_INT(mode_of("a"), 0755); /* whatever the umask */
	CHECK_INT(mode_of("a/b/c"), 0755);
	CHECK_INT(fchmodat(dir, "a", 0700, 0), 0);
	CHECK_INT(state_mkdirs(path, 0755, &err), 0);
	CHECK_INT(mode_of("a"), 0700); /* what is there stays */
	CHECK_INT(symlinkat("a/b", dir, "link"), 0);
	snprintf(path, sizeof(path), "%s/link/d", top);
	CHECK_INT(state_mkdirs(path, 0700, &err), 0);
	CHECK_INT(mode_of("a/b/d"), 0700);
	CHECK_INT(state_replace(dir, "file", "x", 1, 0, &err), 0);
	snprintf(path, sizeof(path), "%s/file/d", top);
	CHECK_INT(state_mkdirs(path, 0700, &err), -1);
	CHECK(err.sys == ENOTDIR && strstr(err.msg, "/file: "));
	CHECK_INT(state_mkdirs("/", 0700, &err), 0);
}

static const char *content(const char *name)
{
	static struct buf b;

	buf_reset(&b);
	return buf_read_file(&b, dir, name, 1 << 20) == 0 ? buf_str(&b) : NULL;
}

/* Names in the directory, without . and .. */
static int entries(const char *name)
{
	AUTO_DIR DIR *d = fdopendir(openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *de;
	int n = 0;

	while (d && (de = readdir(d)))
		n += strcmp(de->d_name, ".") && strcmp(de->d_name, "..");
	return n;
}

static void replaces(void)
{
	struct stat st;

	CHECK_INT(mkdirat(dir, "r", 0700), 0);
	CHECK_INT(state_replace(dir, "r/job", "STATE=\"a\"\n", 10, 0, &err), 0);
	CHECK_STR(content("r/job"), "STATE=\"a\"\n");
	CHECK_INT(mode_of("r/job"), 0600);
	CHECK_INT(state_replace(dir, "r/job", "b", 1, 0644, &err), 0);
	CHECK_STR(content("r/job"), "b");
	CHECK_INT(mode_of("r/job"), 0644);
	CHECK_INT(state_replace(dir, "r/job", "", 0, 0, &err), 0);
	CHECK_STR(content("r/job"), "");
	/* a symbolic link is replaced, what it points to is not written */
	CHECK_INT(symlinkat("victim", dir, "r/link"), 0);
	CHECK_INT(state_replace(dir, "r/link", "x", 1, 0, &err), 0);
	CHECK(fstatat(dir, "r/victim", &st, 0) < 0 && fstatat(dir, "r/link", &st, AT_SYMLINK_NOFOLLOW) == 0);
	CHECK(S_ISREG(st.st_mode));
	CHECK_INT(entries("r"), 2);
	CHECK_INT(state_replace(dir, "none/job", "x", 1, 0, &err), -1);
	CHECK(err.sys == ENOENT && strstr(err.msg, "write none/job: "));
	CHECK_INT(mkdirat(dir, "r/dir", 0700), 0);
	CHECK_INT(state_replace(dir, "r/dir", "x", 1, 0, &err), -1);
	CHECK_INT(entries("r"), 3);
}

/* Failure, or death, at each step leaves the old content, and at most one hidden file. */
static void replace_fails(void)
{
	static const char *const steps[] = { "state-write", "state-rename", "state-write:kill",
		"state-rename:kill" };
	size_t i;

	CHECK_INT(mkdirat(dir, "f", 0700), 0);
	for (i = 0; i < 4; i++) {
		pid_t pid;
		int st, had;

		CHECK_INT(state_replace(dir, "f/job", "old", 3, 0, &err), 0);
		had = entries("f");
		pid = fork();
		if (pid == 0) {
			setenv("XOS_FAULT", steps[i], 1);
			log_init("state");
			_exit(state_replace(dir, "f/job", "new", 3, 0, &err) == -1 ? err.code : 0);
		}
		waitpid(pid, &st, 0);
		if (i < 2)
			CHECK(WIFEXITED(st) && WEXITSTATUS(st) == (i ? EX_FAILED : EX_NOSPACE));
		else
			CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
		CHECK_STR(content("f/job"), "old");
		CHECK(entries("f") <= had + (i < 2 ? 0 : 1));
	}
}

/* Writers race; a reader sees whole contents only and no name is left. */
static void replaces_at_once(void)
{
	enum { WRITERS = 4, ROUNDS = 60, SIZE = 20000 };
	static char big[SIZE];
	pid_t pids[WRITERS];
	bool whole = true;
	int i, k, left = WRITERS, st, bad = 0, reads = 0;

	CHECK_INT(mkdirat(dir, "c", 0700), 0);
	memset(big, 'a', SIZE);
	CHECK_INT(state_replace(dir, "c/job", big, SIZE, 0, &err), 0);
	for (i = 0; i < WRITERS; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			memset(big, 'a' + i, SIZE);
			for (k = 0; k < ROUNDS; k++)
				if (state_replace(dir, "c/job", big, SIZE - (size_t)i * 100, 0, &err) < 0)
					_exit(1);
			_exit(0);
		}
	}
	while (left > 0) {
		const char *s = content("c/job");
		size_t n = s ? strlen(s) : 0;

		whole &= n && n == SIZE - (size_t)(s[0] - 'a') * 100 &&
			 strspn(s, (char[]){ s[0], 0 }) == n;
		reads++;
		if (waitpid(-1, &st, WNOHANG) > 0) {
			left--;
			bad += st != 0;
		}
	}
	CHECK(whole && reads > 0);
	CHECK_INT(bad, 0);
	CHECK_INT(entries("c"), 1);
}

static void full_file_system(void)
{
	static char big[300000];
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/small", top);
	CHECK_INT(mkdir(path, 0700), 0);
	if (mount("none", path, "tmpfs", 0, "size=128k") < 0) {
		printf("# full_file_system: no mount here: %s\n", strerror(errno));
		return;
	}
	CHECK_INT(state_replace(dir, "small/job", "old", 3, 0, &err), 0);
	memset(big, 'x', sizeof(big));
	CHECK_INT(state_replace(dir, "small/job", big, sizeof(big), 0, &err), -1);
	CHECK(err.code == EX_NOSPACE && err.sys == ENOSPC);
	CHECK_STR(content("small/job"), "old");
	CHECK_INT(entries("small"), 1);
	umount(path);
}

static void locks(void)
{
	int a, b, c;

	CHECK_INT(mkdirat(dir, "l", 0700), 0);
	a = state_lock(dir, "l/lock", false, false, &err);
	CHECK(a >= 0 && (fcntl(a, F_GETFD) & FD_CLOEXEC));
	CHECK_INT(mode_of("l/lock"), 0600);
	b = state_lock(dir, "l/lock", false, false, &err);
	CHECK(b == -1 && err.code == EX_BUSY);
	b = state_lock(dir, "l/lock", true, false, &err);
	CHECK(b == -1 && err.code == EX_BUSY);
	close(a);
	a = state_lock(dir, "l/lock", true, false, &err);
	b = state_lock(dir, "l/lock", true, false, &err);
	CHECK(a >= 0 && b >= 0);
	c = state_lock(dir, "l/lock", false, false, &err);
	CHECK(c == -1 && err.code == EX_BUSY);
	close(a);
	close(b);
	err_clear(&err);
	CHECK_INT(state_lock(dir, "none/lock", false, true, &err), -1);
	CHECK_INT(err.code, EX_NOSUCH);
	CHECK_INT(symlinkat("lock", dir, "l/sym"), 0);
	CHECK_INT(state_lock(dir, "l/sym", false, false, &err), -1); /* links are not followed */
}

static void nap(int ms)
{
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	nanosleep(&ts, NULL);
}

/* A waiter gets the lock of the file that has the name when it gets it. */
static void lock_waits(void)
{
	int a = state_lock(dir, "l/lock", false, false, &err), st;
	pid_t pid = fork();

	if (pid == 0) {
		struct stat x, y;
		int fd;

		close(a); /* else we would wait for ourselves: a forked child holds the lock too */
		fd = state_lock(dir, "l/lock", false, true, &err);
		_exit(fd >= 0 && fstat(fd, &x) == 0 && fstatat(dir, "l/lock", &y, 0) == 0 &&
		      x.st_ino == y.st_ino ? 0 : 1);
	}
	nap(100);
	CHECK_INT(waitpid(pid, &st, WNOHANG), 0); /* still waiting */
	unlinkat(dir, "l/lock", 0);
	close(a);
	waitpid(pid, &st, 0);
	CHECK_INT(st, 0);

	a = state_lock(dir, "l/lock", false, false, &err);
	CHECK(a >= 0);
	pid = fork();
	if (pid == 0) {
		close(a);
		_exit(state_lock(dir, "l/lock", false, true, &err) < 0 ? err.code : 0);
	}
	nap(100);
	CHECK_INT(waitpid(pid, &st, WNOHANG), 0);
	unlinkat(dir, "l/lock", 0);
	unlinkat(dir, "l/sym", 0);
	CHECK_INT(unlinkat(dir, "l", AT_REMOVEDIR), 0); /* the job is removed meanwhile */
	close(a);
	waitpid(pid, &st, 0);
	CHECK(WIFEXITED(st) && WEXITSTATUS(st) == EX_NOSUCH);
}

int main(void)
{
	char cmd[64];

	alarm(50);
	unsetenv("XOS_FAULT");
	log_init("state");
	if (!mkdtemp(top) || (dir = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0) {
		printf("not ok - setup: %s\n", strerror(errno));
		return 1;
	}
	RUN(where_given);
	RUN(where_by_user);
	RUN(directories);
	RUN(replaces);
	RUN(replace_fails);
	RUN(replaces_at_once);
	RUN(full_file_system);
	RUN(locks);
	RUN(lock_waits);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", top);
	if (system(cmd) != 0)
		printf("# %s is left\n", top);
	return unit_status();
}
