/* POSIX shared memory and semaphores: named, and unlinked while mapped; a process that waits. */
#include "victim.h"

#include <semaphore.h>
#include <sys/mman.h>
#include <sys/wait.h>

int main(int argc, char **argv)
{
	victim_init(argc, argv);
	char named[64], gone[64], semn[64], semg[64];
	int st;

	snprintf(named, sizeof named, "/xos-%d-named", getpid());
	snprintf(gone, sizeof gone, "/xos-%d-gone", getpid());
	snprintf(semn, sizeof semn, "/xos-%d-n", getpid());
	snprintf(semg, sizeof semg, "/xos-%d-g", getpid());
	int fd = shm_open(named, O_RDWR | O_CREAT | O_EXCL, 0600), gfd = shm_open(gone, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		victim_skip("no /dev/shm: %s", strerror(errno));
	VICTIM_TRY(ftruncate(fd, 3 * 4096) | ftruncate(gfd, 8 * 4096));
	char *n = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0),
	     *g = mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, gfd, 0);
	VICTIM_CHECK(n != MAP_FAILED && g != MAP_FAILED);
	VICTIM_TRY(close(gfd) | shm_unlink(gone));
	strcpy(n + 4096, "named");
	strcpy(g + 5 * 4096, "gone");
	sem_t *a = sem_open(semn, O_CREAT | O_EXCL, 0600, 3), *b = sem_open(semg, O_CREAT | O_EXCL, 0600, 0);
	VICTIM_CHECK(a != SEM_FAILED && b != SEM_FAILED);
	VICTIM_TRY(sem_unlink(semg));
	VICTIM_TRY(sem_wait(a));
	pid_t pid = fork();
	VICTIM_TRY(pid);
	if (!pid) {
		g[0] = 1;
		while (sem_wait(b))
			;
		g[1] = 2;
		_exit(0);
	}
	while (!g[0])
		victim_pause();

	victim_wait();

	int v = -1;
	VICTIM_CHECK(!strcmp(n + 4096, "named") && !strcmp(g + 5 * 4096, "gone"));
	VICTIM_CHECK(!sem_getvalue(a, &v) && v == 2);
	VICTIM_TRY(pwrite(fd, "x", 1, 0));
	VICTIM_CHECK(n[0] == 'x');
	VICTIM_TRY(sem_post(b));
	VICTIM_TRY(waitpid(pid, &st, 0));
	VICTIM_CHECK(g[1] == 2);
	VICTIM_TRY(shm_unlink(named) | sem_unlink(semn));
	return victim_ok();
}
