/* memfd: name, content, seals, mode, offset; shared with a child and mapped; opened anew read-only; sparse. */
#include "victim.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

static int open_anew(int fd, int flags)
{
	char path[64];
	int n;

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	VICTIM_TRY(n = open(path, flags));
	return n;
}

static void child(int fd, volatile char *shared)
{
	char c = 0;

	while (!victim_go())
		victim_pause();
	if (pread(fd, &c, 1, 4096) != 1 || c != 'm' || shared[4096] != 'm')
		_exit(1);
	shared[1] = 'c'; /* the parent looks at it through its own mapping and description */
	_exit(0);
}

int main(int argc, char **argv)
{
	enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL };
	const off_t far = (off_t)1 << 30;
	int plain, sealed, sparse, ro, status;
	char text[256], c = 0, *shared, *priv;
	struct stat a, b;
	pid_t pid;

	victim_init(argc, argv);
	VICTIM_TRY(plain = memfd_create("with a space", 0));
	VICTIM_TRY(ftruncate(plain, 3 * 4096));
	shared = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, plain, 0);
	VICTIM_CHECK(shared != MAP_FAILED);
	VICTIM_TRY(pwrite(plain, "begin", 5, 0));
	shared[4096] = 'm';
	VICTIM_TRY(lseek(plain, 77, SEEK_SET));
	VICTIM_TRY(fchmod(plain, 0640));
	ro = open_anew(plain, O_RDONLY);
	VICTIM_TRY(lseek(ro, 2, SEEK_SET));
	VICTIM_TRY(sealed = memfd_create("sealed", MFD_ALLOW_SEALING | MFD_CLOEXEC));
	VICTIM_TRY(write(sealed, "do not touch", 12));
	VICTIM_TRY(fcntl(sealed, F_ADD_SEALS, SEALS));
	priv = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, sealed, 0);
	VICTIM_CHECK(priv != MAP_FAILED);
	priv[0] = 'D';
	VICTIM_TRY(sparse = memfd_create("sparse", 0));
	VICTIM_TRY(pwrite(sparse, "near", 4, 0));
	VICTIM_TRY(pwrite(sparse, "far", 3, far));
	VICTIM_TRY(pid = fork());
	if (!pid)
		child(plain, shared);
	victim_wait();

	VICTIM_CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	VICTIM_CHECK(shared[1] == 'c' && shared[4096] == 'm');
	VICTIM_CHECK(pread(plain, text, 5, 0) == 5 && !memcmp(text, "bcgin", 5));
	VICTIM_CHECK(lseek(plain, 0, SEEK_CUR) == 77);
	VICTIM_CHECK(read(ro, &c, 1) == 1 && c == 'g');
	VICTIM_CHECK(write(ro, "x", 1) < 0 && errno == EBADF);
	VICTIM_CHECK(!fstat(plain, &a) && !fstat(ro, &b) && a.st_ino == b.st_ino && a.st_dev == b.st_dev);
	VICTIM_CHECK((a.st_mode & 0777) == 0640 && a.st_size == 3 * 4096);
	VICTIM_CHECK(fcntl(plain, F_GET_SEALS) == F_SEAL_SEAL);
	snprintf(text, sizeof text, "/proc/self/fd/%d", plain);
	char link[256] = "";
	VICTIM_TRY(readlink(text, link, sizeof link - 1));
	VICTIM_CHECK(!strcmp(link, "/memfd:with a space (deleted)"));
	VICTIM_CHECK(fcntl(sealed, F_GET_SEALS) == SEALS);
	VICTIM_CHECK(pread(sealed, text, 12, 0) == 12 && !memcmp(text, "do not touch", 12));
	VICTIM_CHECK(pwrite(sealed, "x", 1, 0) < 0 && errno == EPERM);
	VICTIM_CHECK(!memcmp(priv, "Do not touch", 12));
	VICTIM_CHECK(pread(sparse, text, 4, 0) == 4 && !memcmp(text, "near", 4));
	VICTIM_CHECK(pread(sparse, text, 3, far) == 3 && !memcmp(text, "far", 3));
	VICTIM_CHECK(!fstat(sparse, &a) && a.st_size == far + 3);
	if (a.st_blocks > 8192)
		victim_fail("the holes were filled: %lld blocks", (long long)a.st_blocks);
	return victim_ok();
}
