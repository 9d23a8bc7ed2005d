/* 64 MiB that three forked children and a grandchild share copy-on-write, each with a tenth of its own: content right, and
 * after the restart still shared, not four copies. */
#include "vmem.h"

#include <sys/wait.h>

enum { N = 64 << 20, KIDS = 3, PAGES = N / VM_PAGE, ENOUGH_KB = 48 << 10 };
static char *mem;

/* Who changed page i, seen by process `me` whose parents are in `line` (-1 ends): 0 is the first one. */
static int owner(const int *line, int i)
{
	for (; *line >= 0; line++)
		if (i % 10 == 2 * *line)
			return *line;
	return 0;
}

static void check_all(const int *line, const char *when)
{
	for (int i = 0; i < PAGES; i++) {
		uint64_t *w = (uint64_t *)(mem + (size_t)i * VM_PAGE), want = vm_word((uint64_t)owner(line, i) + 1, (uint64_t)i);
		if (w[0] != want || w[511] != ~want)
			victim_fail("process %d, %s: page %d is wrong", line[0], when, i);
	}
}

static void change(int me)
{
	for (int i = 0; i < PAGES; i++)
		if (!me || i % 10 == 2 * me) {
			uint64_t *w = (uint64_t *)(mem + (size_t)i * VM_PAGE);
			w[0] = vm_word((uint64_t)me + 1, (uint64_t)i);
			w[511] = ~w[0];
		}
}

static void check_shared(int me)
{
	long kb = vm_shared_kb();

	if (kb < ENOUGH_KB)
		victim_fail("process %d shares only %ld KiB", me, kb);
}

static _Noreturn void run(const int *line, int grandchild, volatile int *ready)
{
	static const int line4[] = { 4, 3, -1 };
	pid_t pid = 0;
	int status;

	change(line[0]);
	if (grandchild) {
		VICTIM_TRY(pid = fork());
		if (!pid) {
			line = line4;
			change(line[0]);
		}
	}
	__atomic_add_fetch(ready, 1, __ATOMIC_SEQ_CST);
	while (!victim_go())
		victim_pause();
	/* The looking itself is safe: only writing would unshare. */
	check_shared(line[0]);
	__atomic_add_fetch(ready, 1, __ATOMIC_SEQ_CST);
	while (*ready < 2 * (KIDS + 1))
		victim_pause();
	check_all(line, "after");
	if (pid)
		VICTIM_CHECK(waitpid(pid, &status, 0) == pid && !status);
	_exit(0);
}

int main(int argc, char **argv)
{
	static const int lines[KIDS + 1][2] = { { 0, -1 }, { 1, -1 }, { 2, -1 }, { 3, -1 } };
	volatile int *ready = vm_map(VM_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
	pid_t pid[KIDS];
	int status;

	victim_init(argc, argv);
	mem = vm_anon(N);
	madvise(mem, N, MADV_NOHUGEPAGE);
	change(0);
	for (int i = 0; i < KIDS; i++) {
		VICTIM_TRY(pid[i] = fork());
		if (!pid[i])
			run(lines[i + 1], i + 1 == KIDS, ready);
	}
	while (*ready < KIDS + 1)
		victim_pause();
	check_shared(0);
	victim_wait();

	check_shared(0);
	for (int i = 0; i < KIDS; i++)
		VICTIM_CHECK(waitpid(pid[i], &status, 0) == pid[i] && !status);
	check_all(lines[0], "after");
	return victim_ok();
}
