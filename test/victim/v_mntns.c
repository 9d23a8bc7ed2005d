/* Mount namespaces of members. One child has a tmpfs with files of every kind, open ones, a mapped one, a listening socket, its working directory in it,
 * binds of directories and files, mounts on top of others, peers and slaves; another one has a root of its own with a PID namespace and a proc, as sandboxes
 * build it. What each sees of its mounts and files must be the same after the restart. An ordinary user does it in user namespaces. */
#include "victim.h"
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#define MUST(x) must((x) >= 0, __LINE__, #x)
#define CHECK(x) must(x, __LINE__, #x)
enum { WORDS = 512, TEXT = 256 << 10 };

static int ready[2], go[2];
static char dir[4096], why_path[4200];

static void must(bool ok, int line, const char *what)
{
	int fd;

	if (ok)
		return;
	fd = open(why_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	dprintf(fd >= 0 ? fd : 2, "line %d: %s: %s", line, what, strerror(errno));
	_exit(1);
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	MUST(fd);
	CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static void get(const char *path, char *out, size_t n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t k;

	while (fd >= 0 && len < n - 1 && (k = read(fd, out + len, n - 1 - len)) > 0)
		len += (size_t)k;
	if (fd >= 0)
		close(fd);
	out[len] = '\0';
}

static bool has(const char *path, const char *text)
{
	char is[4096];

	get(path, is, sizeof is);
	return !strcmp(is, text);
}

static void enter(int flags)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	char map[64];

	if (uid == 0) {
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

static void say_ready(void)
{
	CHECK(write(ready[1], "r", 1) == 1);
}

static void await_go(void)
{
	char c;

	close(go[1]);
	while (read(go[0], &c, 1) < 0 && errno == EINTR)
		;
}

/* ---- what is mounted at and below a path, without numbers that are new each time ---- */

struct line { int id, parent; char point[4096], rest[4096]; };

static int read_lines(const char *below, struct line **out)
{
	static char text[TEXT];
	struct line *v = calloc(WORDS, sizeof *v);
	int n = 0;
	char *save = NULL;

	get("/proc/self/mountinfo", text, sizeof text);
	for (char *l = strtok_r(text, "\n", &save); l && n < WORDS; l = strtok_r(NULL, "\n", &save)) {
		char root[4096], opts[512], *tail = strstr(l, " - ");
		struct line *x = &v[n];

		if (!tail || sscanf(l, "%d %d %*s %4095s %4095s %511s", &x->id, &x->parent, root, x->point, opts) != 5)
			continue;
		if (strncmp(x->point, below, strlen(below)))
			continue;
		snprintf(x->rest, sizeof x->rest, "%.2000s %s%s%s%s%.1000s", root, opts, strstr(l, " shared:") ? " shared" : "",
			 strstr(l, " master:") ? " master" : "", strstr(l, " unbindable") ? " unbindable" : "", tail);
		n++;
	}
	*out = v;
	return n;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* In one text, sorted, with the point of the mount that each is on. */
static void describe(const char *below, char *out, size_t size)
{
	struct line *v;
	int n = read_lines(below, &v);
	char **s = calloc((size_t)n + 1, sizeof *s);

	for (int i = 0; i < n; i++) {
		const char *on = "-";
		int depth = 0;

		for (int k = 0; k < n; k++)
			if (v[k].id == v[i].parent) {
				on = v[k].point;
				depth++;
			}
		CHECK(asprintf(&s[i], "%s on %s (%d): %s", v[i].point, on, depth, v[i].rest) > 0);
	}
	qsort(s, (size_t)n, sizeof *s, by_text);
	out[0] = '\0';
	for (int i = 0; i < n; i++) {
		CHECK(strlen(out) + strlen(s[i]) + 2 < size);
		strcat(strcat(out, s[i]), "\n");
		free(s[i]);
	}
	free(s);
	free(v);
}

static void same_text(const char *was, const char *is)
{
	int fd;

	if (!strcmp(was, is))
		return;
	fd = open(why_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	dprintf(fd >= 0 ? fd : 2, "the mounts are\n%s, they were\n%s", is, was);
	_exit(1);
}

/* ---- the first child ---- */

struct file { const char *name; struct stat st; };

static void look(struct file *f)
{
	MUST(fstatat(AT_FDCWD, f->name, &f->st, AT_SYMLINK_NOFOLLOW));
}

static void unchanged(struct file *f)
{
	struct stat is;

	MUST(fstatat(AT_FDCWD, f->name, &is, AT_SYMLINK_NOFOLLOW));
	CHECK(is.st_mode == f->st.st_mode && is.st_uid == f->st.st_uid && is.st_gid == f->st.st_gid && is.st_nlink == f->st.st_nlink);
	CHECK(S_ISDIR(is.st_mode) || (is.st_size == f->st.st_size && is.st_blocks == f->st.st_blocks));
	CHECK(is.st_mtim.tv_sec == f->st.st_mtim.tv_sec && is.st_mtim.tv_nsec == f->st.st_mtim.tv_nsec);
	CHECK(!S_ISREG(is.st_mode) || (is.st_atim.tv_sec == f->st.st_atim.tv_sec && is.st_atim.tv_nsec == f->st.st_atim.tv_nsec));
}

static void fill(void)
{
	struct timespec old[2] = { { 1000000000, 111 }, { 1100000000, 222222222 } };
	int fd;

	MUST(mkdir("sub", 0750));
	MUST(mkdir("sub/deep", 02775));
	MUST(mkdir("closed", 0));
	put("sub/file", "some text\n");
	MUST(chmod("sub/file", 04751));
	MUST(link("sub/file", "sub/deep/same"));
	MUST(symlink("../nowhere/at all", "sub/link"));
	MUST(mkfifo("sub/fifo", 0640));
	put("odd \"name\"\n\\ $x \xc3\xa4", "odd");
	put("empty", "");
	fd = open("holes", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK(pwrite(fd, "middle", 6, 3 << 20) == 6);
	MUST(ftruncate(fd, 10 << 20));
	close(fd);
	put("full", "from the first byte to the last");
	if (setxattr("full", "user.note", "kept", 4, 0))
		CHECK(errno == EOPNOTSUPP);
	MUST(utimensat(AT_FDCWD, "full", old, 0));
	MUST(utimensat(AT_FDCWD, "sub/deep", old, 0));
}

static void mounts(void)
{
	MUST(mkdir("bound", 0755));
	put("boundfile", "");
	put("null", "");
	MUST(mkdir("top", 0755));
	MUST(mkdir("usr", 0755));
	MUST(mkdir("peer", 0755));
	MUST(mkdir("slave", 0755));
	MUST(mount("sub", "bound", NULL, MS_BIND, NULL));
	MUST(mount(NULL, "bound", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL));
	MUST(mount("/etc/passwd", "boundfile", NULL, MS_BIND, NULL));
	MUST(mount("/dev/null", "null", NULL, MS_BIND, NULL));
	MUST(mount("/usr", "usr", NULL, MS_BIND | MS_REC, NULL));
	put("top/hidden", "hidden");
	MUST(mount("one", "top", "tmpfs", MS_NOEXEC | MS_NOATIME, "size=1m,mode=711"));
	put("top/one", "one");
	MUST(mkdir("top/in", 0755));
	MUST(mount("in", "top/in", "tmpfs", 0, "size=64k"));
	put("top/in/file", "in");
	MUST(mount("two", "top", "tmpfs", 0, "nr_inodes=100"));
	put("top/two", "two");
	MUST(mount(NULL, "top", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL));
	MUST(mount("p", "peer", "tmpfs", 0, NULL));
	MUST(mount(NULL, "peer", NULL, MS_SHARED, NULL));
	MUST(mount("peer", "slave", NULL, MS_BIND, NULL));
	MUST(mount(NULL, "slave", NULL, MS_SLAVE, NULL));
	MUST(mkdir("peer/x", 0755));
}

static int listener(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "sub/socket" };
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	MUST(bind(s, (struct sockaddr *)&a, sizeof a));
	MUST(listen(s, 5));
	return s;
}

static void connects(int s)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "sub/socket" };
	int c = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), in;

	MUST(connect(c, (struct sockaddr *)&a, sizeof a));
	in = accept(s, NULL, NULL);
	MUST(in);
	CHECK(write(c, "hello", 5) == 5);
	close(in);
	close(c);
}

/* What is mounted at a peer comes to the other ones, and to slaves, and no way back. */
static void propagates(void)
{
	MUST(mount("x", "peer/x", "tmpfs", 0, NULL));
	put("peer/x/f", "x");
	CHECK(has("slave/x/f", "x"));
	MUST(umount("slave/x"));
	CHECK(has("peer/x/f", "x"));
	MUST(umount("peer/x"));
}

static bool same_file(int fd, const char *path)
{
	struct stat a, b;

	return !fstat(fd, &a) && !stat(path, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static void holes_kept(void)
{
	char c[8] = "";
	int fd = open("holes", O_RDONLY | O_NOATIME | O_CLOEXEC);

	CHECK(pread(fd, c, 6, 3 << 20) == 6 && !memcmp(c, "middle", 6));
	CHECK(lseek(fd, 0, SEEK_DATA) == 3 << 20);
	close(fd);
}

static int first(void)
{
	static struct file f[] = { { .name = "sub" }, { .name = "sub/deep" }, { .name = "closed" }, { .name = "sub/file" }, { .name = "sub/deep/same" },
		{ .name = "sub/link" }, { .name = "sub/fifo" }, { .name = "odd \"name\"\n\\ $x \xc3\xa4" }, { .name = "empty" }, { .name = "holes" }, { .name = "full" },
		{ .name = "sub/socket" }, { .name = "top/two" } };
	static char was[TEXT], is[TEXT];
	struct statfs a, b;
	int rw, app, rd, s;
	char *map, note[8] = "", c[64] = "";

	enter(CLONE_NEWNS);
	MUST(mount("stuff", dir, "tmpfs", MS_NOSUID, "size=40m,nr_inodes=4k,mode=1770"));
	MUST(chdir(dir));
	fill();
	mounts();
	s = listener();
	put("log", "before\n");
	app = open("log", O_WRONLY | O_APPEND | O_CLOEXEC);
	put("data", "0123456789");
	rw = open("data", O_RDWR | O_CLOEXEC);
	rd = open("bound/file", O_RDONLY | O_CLOEXEC);
	CHECK(read(rw, c, 3) == 3 && read(rd, c, 4) == 4);
	put("mapped", "mapped ....");
	MUST(s = s);
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, open("mapped", O_RDWR | O_CLOEXEC), 0);
	CHECK(map != MAP_FAILED);
	memcpy(map + 7, "here", 4);
	for (size_t i = 0; i < sizeof f / sizeof f[0]; i++)
		look(&f[i]);
	describe(dir, was, sizeof was);
	MUST(statfs(".", &a));
	CHECK(was[0] && strstr(was, "shared") && strstr(was, "master"));
	say_ready();
	await_go();
	for (size_t i = 0; i < sizeof f / sizeof f[0]; i++)
		unchanged(&f[i]);
	describe(dir, is, sizeof is);
	same_text(was, is);
	MUST(statfs(".", &b));
	CHECK(a.f_blocks == b.f_blocks && a.f_files == b.f_files && a.f_ffree == b.f_ffree && a.f_bfree == b.f_bfree);
	CHECK(has("sub/deep/same", "some text\n") && has("top/two", "two") && has("full", "from the first byte to the last") && has("bound/file", "some text\n"));
	holes_kept();
	if (getxattr("full", "user.note", note, sizeof note) < 0)
		CHECK(errno == EOPNOTSUPP || errno == ENODATA);
	else
		CHECK(!memcmp(note, "kept", 4));
	CHECK(same_file(app, "log") && same_file(rw, "data") && same_file(rd, "sub/file") && lseek(rw, 0, SEEK_CUR) == 3 && lseek(rd, 0, SEEK_CUR) == 4);
	CHECK(write(app, "after\n", 6) == 6 && has("log", "before\nafter\n"));
	CHECK(write(rw, "xy", 2) == 2 && has("data", "012xy56789"));
	CHECK(!strcmp(map, "mapped here"));
	memcpy(map, "MAPPED", 6);
	CHECK(has("mapped", "MAPPED here"));
	CHECK(open("bound/new", O_WRONLY | O_CREAT, 0644) < 0 && errno == EROFS);
	connects(s);
	propagates();
	MUST(umount2("top", MNT_DETACH));
	CHECK(has("top/one", "one") && has("top/in/file", "in"));
	MUST(umount2("top", MNT_DETACH));
	CHECK(has("top/hidden", "hidden"));
	return 0;
}

/* ---- the second child: a root of its own ---- */

static void bind_here(const char *path)
{
	char to[4200];
	struct stat st;

	snprintf(to, sizeof to, ".%s", path);
	for (char *s = strchr(to + 2, '/'); s; s = strchr(s + 1, '/')) {
		*s = '\0';
		if (mkdir(to, 0755))
			CHECK(errno == EEXIST);
		*s = '/';
	}
	MUST(stat(path, &st));
	if (S_ISDIR(st.st_mode))
		CHECK(!mkdir(to, 0755) || errno == EEXIST);
	else
		put(to, "");
	MUST(mount(path, to, NULL, MS_BIND | MS_REC, NULL));
}

static void make_root(void)
{
	static const char *const links[] = { "bin", "lib", "lib64", "sbin" };
	char exe[4096], to[64], old[4096];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);

	MUST(n);
	exe[n] = '\0';
	MUST(mount("root", dir, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755"));
	MUST(chdir(dir));
	bind_here("/usr");
	for (size_t i = 0; i < sizeof links / sizeof links[0]; i++)
		if ((n = readlink((snprintf(to, sizeof to, "/%s", links[i]), to), old, sizeof old - 1)) > 0) {
			old[n] = '\0';
			MUST(symlink(old, links[i]));
		} else if (!access(to, F_OK)) {
			bind_here(to);
		}
	bind_here(exe);
	MUST(mkdir("proc", 0755));
	MUST(mkdir("dev", 0755));
	CHECK(!mkdir("tmp", 01777) || errno == EEXIST); /* this program may lie there */
	MUST(mount("dev", "dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=64k"));
	bind_here("/dev/null");
	bind_here("/dev/zero");
	MUST(mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
	bind_here("/proc/sys");
	MUST(mount(NULL, "proc/sys", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
	MUST(syscall(SYS_pivot_root, ".", "."));
	MUST(umount2(".", MNT_DETACH));
	MUST(chdir("/"));
}

static int rooted(void)
{
	static char was[TEXT], is[TEXT];
	char self[32] = "";
	struct stat a, b;
	int fd;

	make_root();
	put("/tmp/note", "kept");
	fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	describe("/", was, sizeof was);
	CHECK(readlink("/proc/self", self, sizeof self - 1) == 1 && !strcmp(self, "1"));
	say_ready();
	await_go();
	describe("/", is, sizeof is);
	same_text(was, is);
	CHECK(has("/tmp/note", "kept"));
	CHECK(!fstat(fd, &a) && !stat("/tmp", &b) && a.st_ino == b.st_ino && a.st_dev == b.st_dev);
	CHECK(!stat("/dev/null", &a) && S_ISCHR(a.st_mode) && a.st_rdev == makedev(1, 3));
	memset(self, 0, sizeof self);
	CHECK(readlink("/proc/self", self, sizeof self - 1) == 1 && !strcmp(self, "1"));
	CHECK(open("/proc/sys/kernel/hostname", O_WRONLY) < 0);
	CHECK(access("/etc/passwd", F_OK) && access("/old", F_OK) && access("/sb", F_OK));
	return 0;
}

static int second(void)
{
	int st;
	pid_t pid;

	/* pivot_root(2) takes the root along, but no other directory. */
	MUST(chdir("/"));
	enter(CLONE_NEWNS | CLONE_NEWPID);
	pid = fork();
	MUST(pid);
	if (!pid)
		_exit(rooted());
	close(ready[1]);
	close(go[1]);
	while (waitpid(pid, &st, 0) < 0 && errno == EINTR)
		;
	return !(WIFEXITED(st) && WEXITSTATUS(st) == 0);
}

/* ---- */

static pid_t start(int (*fn)(void), const char *what)
{
	char c;
	pid_t pid;

	snprintf(dir, sizeof dir, "%s.%s", victim_path_, what);
	if (mkdir(dir, 0755) && errno != EEXIST)
		victim_fail("cannot make %s: %s", dir, strerror(errno));
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(fn());
	}
	/* Each says it on its own; who dies instead leaves its reason. */
	while (read(ready[0], &c, 1) != 1)
		if (waitpid(pid, NULL, WNOHANG) == pid || errno != EAGAIN)
			break;
		else
			usleep(10000);
	if (!access(why_path, F_OK)) {
		char text[1024];

		get(why_path, text, sizeof text);
		victim_fail("%s: %s", what, text);
	}
	return pid;
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
	static const char *const names[2] = { "first", "second" };
	pid_t pid[2];
	char text[16384];
	int st;

	victim_init(argc, argv);
	snprintf(why_path, sizeof why_path, "%s.why", victim_path_);
	unlink(why_path);
	if (!can_make())
		victim_skip("mount namespaces cannot be made here: %s", strerror(errno));
	if (pipe2(ready, O_CLOEXEC | O_NONBLOCK) || pipe2(go, O_CLOEXEC))
		victim_fail("pipes");
	pid[0] = start(first, names[0]);
	pid[1] = start(second, names[1]);
	close(ready[0]);
	close(ready[1]);
	victim_wait();
	close(go[0]);
	close(go[1]);
	for (int i = 0; i < 2; i++) {
		if (waitpid(pid[i], &st, 0) != pid[i])
			victim_fail("%s: cannot be waited for: %s", names[i], strerror(errno));
		if (!WIFEXITED(st) || WEXITSTATUS(st)) {
			get(why_path, text, sizeof text);
			victim_fail("%s: status %x: %s", names[i], (unsigned)st, text);
		}
	}
	return victim_ok();
}
