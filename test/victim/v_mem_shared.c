/* Shared memory of several processes: anonymous, only partly mapped, read-only for one, gone from the one that made it; a memfd
 * mapped without descriptor. What each writes after the restart, the others must see. */
#include "vmem.h"

#include <sys/wait.h>

enum { N = 256 * VM_PAGE, KIDS = 2, STEP = 4 * VM_PAGE };

struct board { volatile int turn, bad, looked; };  /* turn: whose it is to write, -1: nobody's yet */
static struct board *board;
static char *mem, *part, *ro, *fd_mem, *orphan;

static void wait_turn(int t)
{
	while (board->turn < t && !board->bad)
		victim_pause();
	if (board->bad)
		_exit(1);
}

static void look(const char *what, const void *p, size_t n, uint64_t seed)
{
	for (size_t i = 0; i < n / 8; i++)
		if (((const uint64_t *)p)[i] != vm_word(seed, i)) {
			board->bad = 1;
			victim_fail("pid %d: %s: byte %zu is wrong", getpid(), what, i * 8);
		}
}

/* Everybody in turn looks at the slots of those before him and writes his own, in all of them. */
static void play(int me)
{
	wait_turn(me);
	for (int k = 0; k < me; k++) {
		look("shared", mem + k * STEP, STEP, 100 + (uint64_t)k);
		look("read-only view", ro + k * STEP, STEP, 100 + (uint64_t)k);
		look("memfd", fd_mem + k * STEP, STEP, 200 + (uint64_t)k);
		if (k) {
			look("children's", orphan + k * STEP, STEP, 300 + (uint64_t)k);
			look("partly mapped", part + k * STEP, STEP, 400 + (uint64_t)k);
		}
	}
	vm_fill(mem + me * STEP, STEP, 100 + (uint64_t)me);
	vm_fill(fd_mem + me * STEP, STEP, 200 + (uint64_t)me);
	if (me) {
		vm_fill(orphan + me * STEP, STEP, 300 + (uint64_t)me);
		vm_fill(part + me * STEP, STEP, 400 + (uint64_t)me);
	}
	board->turn = me + 1;
}

static void check_old(int me)
{
	look("shared", mem, N, 1);
	look("memfd", fd_mem, N, 2);
	look("read-only view", ro, N, 1);
	if (me) {
		look("children's", orphan, N, 4);
		look("partly mapped", part, N / 2, 5);
	}
}

static void child(int me)
{
	while (!victim_go())
		victim_pause();
	wait_turn(0);
	check_old(me);
	__atomic_add_fetch(&board->looked, 1, __ATOMIC_SEQ_CST);
	play(me);
	_exit(0);
}

int main(int argc, char **argv)
{
	pid_t pid[KIDS];
	int fd, status;

	victim_init(argc, argv);
	board = vm_map(VM_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
	mem = vm_map(N, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
	vm_fill(mem, N, 1);
	ro = mremap(mem, 0, N, MREMAP_MAYMOVE); /* a second mapping of the same object */
	VICTIM_CHECK(ro != MAP_FAILED);
	VICTIM_TRY(mprotect(ro, N, PROT_READ));
	VICTIM_TRY(fd = memfd_create("shared one", 0));
	VICTIM_TRY(ftruncate(fd, N));
	fd_mem = mmap(NULL, N, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	VICTIM_CHECK(fd_mem != MAP_FAILED);
	close(fd);
	vm_fill(fd_mem, N, 2);
	orphan = vm_map(N, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
	vm_fill(orphan, N, 4);
	part = vm_map(N, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
	vm_fill(part + N / 2, N / 2, 5);
	VICTIM_TRY(munmap(part, N / 2)); /* its first half is nowhere mapped any more */
	part += N / 2;
	board->turn = -1;
	for (int i = 0; i < KIDS; i++) {
		VICTIM_TRY(pid[i] = fork());
		if (!pid[i])
			child(i + 1);
	}
	VICTIM_TRY(munmap(orphan, N));
	VICTIM_TRY(munmap(part, N / 2));
	victim_wait();

	check_old(0);
	/* Nobody writes before everybody has looked at the old content. */
	board->turn = 0;
	for (int n = 0; board->looked < KIDS && !board->bad; n++) {
		if (n > 500)
			victim_fail("the children do not see shared memory");
		victim_pause();
	}
	play(0);
	for (int i = 0; i < KIDS; i++)
		VICTIM_CHECK(waitpid(pid[i], &status, 0) == pid[i] && status == 0);
	for (int k = 0; k <= KIDS; k++) {
		vm_check("shared, at the end", mem + k * STEP, STEP, 100 + (uint64_t)k);
		vm_check("memfd, at the end", fd_mem + k * STEP, STEP, 200 + (uint64_t)k);
	}
	return victim_ok();
}
