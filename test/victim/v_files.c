/* Open files: offsets, O_APPEND and other flags, duplicates and children that share an offset, deleted files, O_TMPFILE, a
 * directory read halfway, O_PATH, numbers with gaps, close-on-exec; current directory and root of a child. */
#include "victim.h"

#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static char dir[4200];

static int at(const char *name, int flags)
{
	char path[4300];
	int fd;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	fd = open(path, flags, 0640);
	if (fd < 0)
		victim_fail("open %s: %s", path, strerror(errno));
	return fd;
}

static void expect(const char *what, int fd, const char *want)
{
	char got[64] = "";
	ssize_t n = read(fd, got, strlen(want));

	if (n < 0 || strcmp(got, want))
		victim_fail("%s: read \"%s\", not \"%s\"", what, got, want);
}

static void expect_file(const char *name, const char *want)
{
	char got[256] = "";
	int fd = at(name, O_RDONLY);

	if (read(fd, got, sizeof got - 1) < 0 || strcmp(got, want))
		victim_fail("file %s has \"%s\", not \"%s\"", name, got, want);
	close(fd);
}

/* Names of getdents64 until the end, into seen[]: the files are e00 to e99. */
static int entries(int fd, char *seen, size_t size)
{
	char buf[16384];
	long n;
	int count = 0;

	while ((n = syscall(SYS_getdents64, fd, buf, size)) > 0) {
		for (long i = 0; i < n;) {
			struct { uint64_t ino, off; unsigned short len; unsigned char type; char name[]; } *e = (void *)(buf + i);
			if (e->name[0] == 'e')
				seen[atoi(e->name + 1)]++, count++;
			i += e->len;
		}
		if (size < sizeof buf)
			break; /* only a part was asked for */
	}
	return count;
}

static void check_flags(int fd, int want, int cloexec)
{
	int fl = fcntl(fd, F_GETFL) & ~(0100000 /* O_LARGEFILE */), cl = fcntl(fd, F_GETFD);

	if (fl != want || cl != cloexec)
		victim_fail("fd %d: flags 0%o and %d, not 0%o and %d", fd, fl, cl, want, cloexec);
}

static int child(int shared, const char *sub)
{
	char cwd[4300], now[4300];

	if (chdir(sub) || !getcwd(cwd, sizeof cwd))
		return 10;
	while (!victim_go())
		victim_pause();
	if (!getcwd(now, sizeof now) || strcmp(now, cwd))
		return 11;
	if (access("inside", F_OK))
		return 13;
	while (lseek(shared, 0, SEEK_CUR) != 12)
		victim_pause();
	return write(shared, "child", 5) == 5 ? 0 : 12;
}

static struct { int rd, own, rw, dup1, high, app, shared, gone, gone_ro, gone_wo, tmp, dirfd, path, dpath, null; } f;

static void build_dir(char *sub, size_t n)
{
	char name[64];

	snprintf(dir, sizeof dir, "%s.dir", victim_path_);
	snprintf(sub, n, "%s/sub dir\n\"x\"", dir);
	VICTIM_TRY(mkdir(dir, 0755));
	VICTIM_TRY(mkdir(sub, 0755));
	close(at("sub dir\n\"x\"/inside", O_CREAT | O_WRONLY));
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof name, "e%02d", i);
		close(at(name, O_CREAT | O_WRONLY));
	}
	f.rd = at("letters", O_CREAT | O_WRONLY);
	VICTIM_TRY(write(f.rd, "abcdefghijklmnopqrstuvwxyz", 26));
	close(f.rd);
}

static void build(char *seen)
{
	char path[4300];

	f.rd = at("letters", O_RDONLY | O_CLOEXEC);
	f.own = at("letters", O_RDONLY);
	VICTIM_TRY(lseek(f.rd, 5, SEEK_SET));
	f.dup1 = dup(f.rd);
	f.high = fcntl(f.rd, F_DUPFD, 900);
	f.rw = at("letters2", O_CREAT | O_RDWR);
	VICTIM_TRY(write(f.rw, "0123456789", 10));
	VICTIM_TRY(lseek(f.rw, 3, SEEK_SET));
	f.app = at("log", O_CREAT | O_WRONLY | O_APPEND | O_NONBLOCK | O_SYNC);
	VICTIM_TRY(write(f.app, "one,", 4));
	f.shared = at("shared", O_CREAT | O_WRONLY);
	VICTIM_TRY(write(f.shared, "parent", 6));
	f.gone = at("gone", O_CREAT | O_RDWR);
	f.gone_ro = at("gone", O_RDONLY);
	f.gone_wo = at("gone", O_WRONLY | O_APPEND);
	VICTIM_TRY(write(f.gone, "deleted content", 15));
	VICTIM_TRY(ftruncate(f.gone, 1 << 20));
	VICTIM_TRY(lseek(f.gone, 8, SEEK_SET));
	VICTIM_TRY(fchmod(f.gone, 0604));
	snprintf(path, sizeof path, "%s/gone", dir);
	VICTIM_TRY(unlink(path));
	f.tmp = open(dir, O_TMPFILE | O_RDWR, 0600);
	if (f.tmp < 0)
		f.tmp = dup(f.gone); /* this file system has none */
	else
		VICTIM_TRY(write(f.tmp, "deleted ", 8));
	f.dirfd = at(".", O_RDONLY | O_DIRECTORY);
	VICTIM_CHECK(entries(f.dirfd, seen, 1000) > 10);
	f.path = at("letters", O_PATH);
	f.dpath = at(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	VICTIM_TRY(f.null = open("/dev/null", O_RDWR));
}

static void check_offsets(void)
{
	VICTIM_CHECK(lseek(f.rd, 0, SEEK_CUR) == 5);
	expect("reading", f.rd, "fg");
	expect("a duplicate shares the offset", f.dup1, "hi");
	expect("a high duplicate too", f.high, "jk");
	expect("another description has its own", f.own, "abc");
	expect("read and write", f.rw, "3456");
	VICTIM_CHECK(write(f.rw, "x", 1) == 1);
	expect_file("letters2", "0123456x89");
	VICTIM_CHECK(write(f.app, "two", 3) == 3);
	expect_file("log", "one,two");
	VICTIM_CHECK(write(f.rd, "x", 1) < 0 && errno == EBADF);
	check_flags(f.rd, O_RDONLY, FD_CLOEXEC);
	check_flags(f.dup1, O_RDONLY, 0);
	check_flags(f.app, O_WRONLY | O_APPEND | O_NONBLOCK | O_SYNC, 0);
	check_flags(f.dpath, O_PATH | O_DIRECTORY, FD_CLOEXEC);
	check_flags(f.null, O_RDWR, 0);
	VICTIM_CHECK(fcntl(f.null + 1, F_GETFD) < 0 && fcntl(899, F_GETFD) < 0 && fcntl(901, F_GETFD) < 0);
}

static void check_deleted(void)
{
	struct stat st, st2;
	char zero;

	VICTIM_CHECK(!fstat(f.gone, &st) && st.st_nlink == 0 && st.st_size == 1 << 20 && (st.st_mode & 07777) == 0604);
	expect("deleted file, offset", f.gone, "content");
	expect("deleted file, read-only", f.gone_ro, "deleted");
	VICTIM_CHECK(write(f.gone_wo, "end", 3) == 3);
	VICTIM_CHECK(pread(f.gone, &zero, 1, 1000) == 1 && !zero && pread(f.gone, &zero, 1, 1 << 20) == 1 && zero == 'e');
	VICTIM_CHECK(!fstat(f.gone_ro, &st2) && st2.st_ino == st.st_ino && st2.st_size == (1 << 20) + 3);
	VICTIM_CHECK(!fstat(f.tmp, &st2) && st2.st_nlink == 0);
	VICTIM_CHECK(lseek(f.tmp, 0, SEEK_SET) == 0);
	expect("O_TMPFILE", f.tmp, "deleted ");
}

static void check_others(char *seen)
{
	struct stat st, st2;
	char c, proc[64];
	int fd;

	entries(f.dirfd, seen, 16384);
	for (int i = 0; i < 100; i++)
		if (seen[i] != 1)
			victim_fail("directory entry e%02d was seen %d times", i, seen[i]);
	VICTIM_CHECK(read(f.path, &c, 1) < 0 && errno == EBADF);
	VICTIM_CHECK(!fstat(f.path, &st) && !fstat(f.own, &st2) && st.st_ino == st2.st_ino);
	snprintf(proc, sizeof proc, "/proc/self/fd/%d", f.path);
	VICTIM_TRY(fd = open(proc, O_RDONLY));
	expect("O_PATH", fd, "abc");
	VICTIM_TRY(fd = openat(f.dpath, "letters", O_RDONLY));
	expect("O_PATH directory", fd, "abc");
	VICTIM_CHECK(read(f.null, &c, 1) == 0 && write(f.null, "x", 1) == 1);
}

int main(int argc, char **argv)
{
	char seen[100] = "", sub[4300];
	int status;
	pid_t pid;

	victim_init(argc, argv);
	build_dir(sub, sizeof sub);
	build(seen);
	VICTIM_TRY(pid = fork());
	if (!pid)
		_exit(child(f.shared, sub));
	victim_wait();

	check_offsets();
	check_deleted();
	check_others(seen);
	VICTIM_CHECK(lseek(f.shared, 0, SEEK_CUR) == 6);
	VICTIM_CHECK(write(f.shared, "+again", 6) == 6);
	VICTIM_CHECK(waitpid(pid, &status, 0) == pid);
	if (status)
		victim_fail("the child says 0x%x", status);
	VICTIM_CHECK(write(f.shared, "!", 1) == 1);
	expect_file("shared", "parent+againchild!");
	return victim_ok();
}
