/* Mapped files: private with changed pages, shared, read-only, at an offset, over the end, deleted (twice, with and without
 * a descriptor). */
#include "vmem.h"

#include <sys/stat.h>

enum { N = 64 * VM_PAGE };
static struct vm_maps before, after;

static int make_file(const char *suffix, char *name, size_t n, size_t size, uint64_t seed)
{
	static char content[N];
	int fd;

	victim_name_(name, n, suffix);
	fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);
	VICTIM_CHECK(fd >= 0);
	vm_fill(content, size, seed);
	VICTIM_CHECK(write(fd, content, size) == (ssize_t)size);
	return fd;
}

static char *map(int fd, size_t n, int prot, int flags, off_t off)
{
	void *p = mmap(NULL, n, prot, flags, fd, off);

	VICTIM_CHECK(p != MAP_FAILED);
	return p;
}

static void check_pread(int fd, off_t off, const void *want, size_t n)
{
	static char got[N];

	VICTIM_CHECK(pread(fd, got, n, off) == (ssize_t)n && !memcmp(got, want, n));
}

int main(int argc, char **argv)
{
	enum { RW = PROT_READ | PROT_WRITE };
	char name[4200], gone[4200], gone2[4200];
	struct stat st;
	int fd, dfd, dfd2, again;

	victim_init(argc, argv);
	fd = make_file("data", name, sizeof name, N, 1);
	char *priv = map(fd, N, RW, MAP_PRIVATE, 0);
	vm_fill(priv + 10 * VM_PAGE, 3 * VM_PAGE, 2);
	char *hidden = map(fd, N, RW, MAP_PRIVATE, 0);
	vm_fill(hidden + 5 * VM_PAGE, VM_PAGE, 3);
	VICTIM_TRY(mprotect(hidden, N, PROT_NONE));
	char *shared = map(fd, N, RW, MAP_SHARED, 0);
	vm_fill(shared + 20 * VM_PAGE, VM_PAGE, 4);
	char *off = map(fd, 4 * VM_PAGE, PROT_READ, MAP_PRIVATE, 20 * VM_PAGE);
	close(fd);
	VICTIM_TRY(fd = open(name, O_RDONLY));
	char *ro = map(fd, N, PROT_READ, MAP_SHARED, 0);
	char *over = map(fd, 2 * N, PROT_READ, MAP_PRIVATE, 0);
	close(fd);

	dfd = make_file("gone", gone, sizeof gone, 16 * VM_PAGE, 5);
	char *del = map(dfd, 16 * VM_PAGE, RW, MAP_SHARED, 0);
	char *del2 = map(dfd, 8 * VM_PAGE, RW, MAP_SHARED, 8 * VM_PAGE);
	char *delpriv = map(dfd, 16 * VM_PAGE, RW, MAP_PRIVATE, 0);
	vm_fill(delpriv + VM_PAGE, VM_PAGE, 6);
	close(dfd);
	unlink(gone);
	dfd2 = make_file("gone2", gone2, sizeof gone2, 4 * VM_PAGE, 7);
	char *held = map(dfd2, 4 * VM_PAGE, RW, MAP_SHARED, 0);
	unlink(gone2);
	vm_maps(&before);
	victim_wait();
	vm_maps(&after);
	vm_same_maps(&before, &after);

	vm_check("private, changed", priv + 10 * VM_PAGE, 3 * VM_PAGE, 2);
	vm_check("private, untouched", priv, 10 * VM_PAGE, 1);
	VICTIM_TRY(mprotect(hidden, N, PROT_READ));
	vm_check("private PROT_NONE, changed", hidden + 5 * VM_PAGE, VM_PAGE, 3);
	vm_check("private PROT_NONE, untouched", hidden, 5 * VM_PAGE, 1);
	vm_check("shared", shared + 20 * VM_PAGE, VM_PAGE, 4);
	vm_check("at an offset", off, VM_PAGE, 4);
	VICTIM_TRY(again = open(name, O_RDWR));
	check_pread(again, 10 * VM_PAGE, shared + 10 * VM_PAGE, 3 * VM_PAGE);
	vm_fill(shared + 30 * VM_PAGE, VM_PAGE, 8);
	check_pread(again, 30 * VM_PAGE, shared + 30 * VM_PAGE, VM_PAGE);
	vm_check("shared, read-only", ro + 30 * VM_PAGE, VM_PAGE, 8);
	vm_check("shared, read-only, start", ro, 10 * VM_PAGE, 1);
	vm_check("private over the end", over + 30 * VM_PAGE, VM_PAGE, 8);
	VICTIM_CHECK(write(1, over + N, 1) < 0 && errno == EFAULT); /* beyond the end there is no page */

	vm_check("deleted, shared", del, 16 * VM_PAGE, 5);
	vm_check("deleted, private", delpriv + VM_PAGE, VM_PAGE, 6);
	vm_check("deleted, private, untouched", delpriv, VM_PAGE, 5);
	vm_fill(del + 9 * VM_PAGE, VM_PAGE, 9);
	vm_check("deleted, seen by the other mapping", del2 + VM_PAGE, VM_PAGE, 9);
	vm_check("deleted, with descriptor", held, 4 * VM_PAGE, 7);
	vm_fill(held, VM_PAGE, 10);
	check_pread(dfd2, 0, held, VM_PAGE);
	VICTIM_CHECK(!fstat(dfd2, &st) && st.st_nlink == 0 && st.st_size == 4 * VM_PAGE);
	VICTIM_CHECK(access(gone, F_OK) && access(gone2, F_OK));
	return victim_ok();
}
