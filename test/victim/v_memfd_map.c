/* Memfds that are mapped private, while they are open, while only another process maps them shared, and when nothing else is left of them: pages
 * that the process has written are its own, in all others it sees what is written to the memfd, and what truncation does to it. */
#include "victim.h"

#include <sys/mman.h>
#include <sys/wait.h>

enum { PAGE = 4096, OPEN, SHARED, ALONE, CUT, N };

static char *private_of(int fd, size_t pages)
{
	char *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

	VICTIM_CHECK(p != MAP_FAILED);
	return p;
}

static int made(const char *name, size_t pages)
{
	int fd = memfd_create(name, 0);

	VICTIM_CHECK(fd >= 0 && !ftruncate(fd, (off_t)(pages * PAGE)));
	for (size_t i = 0; i < pages * PAGE; i += PAGE)
		VICTIM_CHECK(pwrite(fd, "f", 1, (off_t)i) == 1);
	return fd;
}

static void is(const char *what, const char *p, char c)
{
	if (*p != c)
		victim_fail("%s: %d, not %d", what, *p, c);
}

int main(int argc, char **argv)
{
	char *p[N], *shared;
	int fd[N], go[2], done[2];
	pid_t child;
	char c = 0;

	victim_init(argc, argv);
	for (int i = OPEN; i < N; i++) {
		fd[i] = made("xos-map", 4);
		p[i] = private_of(fd[i], 4);
		p[i][PAGE] = 'm'; /* its own */
	}
	/* One end behind the end of the file, a page of its own before. */
	VICTIM_CHECK(!ftruncate(fd[CUT], 2 * PAGE));
	close(fd[ALONE]);
	VICTIM_CHECK(!pipe(go) && !pipe(done));
	child = fork();
	VICTIM_TRY(child);
	if (!child) {
		shared = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd[SHARED], 0);
		for (int i = OPEN; i < N; i++)
			if (i != ALONE)
				close(fd[i]);
		close(go[1]);
		(void)!write(done[1], "r", 1);
		if (read(go[0], &c, 1) != 1 || shared == MAP_FAILED)
			_exit(1);
		shared[0] = shared[PAGE] = 's';
		(void)!write(done[1], "d", 1);
		_exit(0);
	}
	close(fd[SHARED]);
	VICTIM_CHECK(read(done[0], &c, 1) == 1);
	victim_wait();
	for (int i = OPEN; i < N; i++) {
		is("a page of the memfd", p[i], 'f');
		is("a page of its own", p[i] + PAGE, 'm');
	}
	VICTIM_CHECK(write(go[1], "g", 1) == 1 && read(done[0], &c, 1) == 1);
	is("what another process wrote", p[SHARED], 's');
	is("a page of its own, written by another process", p[SHARED] + PAGE, 'm');
	VICTIM_CHECK(pwrite(fd[OPEN], "w", 1, 0) == 1 && pwrite(fd[OPEN], "w", 1, PAGE) == 1);
	is("what was written to the memfd", p[OPEN], 'w');
	is("a page of its own, written to the memfd", p[OPEN] + PAGE, 'm');
	/* Truncation takes pages of its own, too. */
	VICTIM_CHECK(!ftruncate(fd[OPEN], PAGE) && !ftruncate(fd[OPEN], 4 * PAGE));
	is("a page that was cut off and came again", p[OPEN] + PAGE, 0);
	VICTIM_CHECK(!ftruncate(fd[CUT], 4 * PAGE));
	is("a page that was cut off before", p[CUT] + 3 * PAGE, 0);
	VICTIM_CHECK(waitpid(child, NULL, 0) == child);
	return victim_ok();
}
