/* Anonymous memory: content under every protection, holes, guard regions, locks, advice, huge pages, names, code, the
 * heap's end, growing stacks; and that the address space has nothing more and nothing less. */
#include "vmem.h"

#include <sys/prctl.h>
#include <sys/uio.h>

enum { MB = 1 << 20, N_ADVICE = 8 };
#define GUARD_INSTALL 102
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

static const struct { int advice; const char *flag; } advice[N_ADVICE] = {
	{ MADV_DONTFORK, "dc" }, { MADV_DONTDUMP, "dd" }, { MADV_WIPEONFORK, "wf" }, { MADV_HUGEPAGE, "hg" },
	{ MADV_NOHUGEPAGE, "nh" }, { MADV_SEQUENTIAL, "sr" }, { MADV_RANDOM, "rr" }, { MADV_MERGEABLE, "mg" },
};
static struct state {
	char *holes, *none, *ro, *guard, *locked, *huge, *named, *code, *norsv, *down, *brk, *adv[N_ADVICE];
	int has_guard, has_lock, has_name, has_huge, has_adv[N_ADVICE];
} s;
static struct vm_maps before, after;

/* Can this page be read? Without dying of it. */
static int readable(const void *p)
{
	char c;
	struct iovec l = { &c, 1 }, r = { (void *)(uintptr_t)p, 1 };

	return process_vm_readv(getpid(), &l, 1, &r, 1, 0) == 1;
}

static void build_protections(void)
{
	static const unsigned char ret42[] = { 0xb8, 42, 0, 0, 0, 0xc3 };

	s.holes = vm_anon(4 * MB);
	for (size_t i = 0; i < 4 * MB; i += 2 * VM_PAGE)
		vm_fill(s.holes + i, VM_PAGE, i);
	s.none = vm_anon(MB);
	vm_fill(s.none, MB, 2);
	VICTIM_TRY(mprotect(s.none, MB, PROT_NONE));
	s.ro = vm_anon(MB);
	vm_fill(s.ro, MB, 3);
	VICTIM_TRY(mprotect(s.ro, MB, PROT_READ));
	s.code = vm_anon(VM_PAGE);
	memcpy(s.code, ret42, sizeof ret42);
	VICTIM_TRY(mprotect(s.code, VM_PAGE, PROT_READ | PROT_EXEC));
	s.norsv = vm_map(64 * MB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
	vm_fill(s.norsv + 32 * MB, VM_PAGE, 4);
}

static void build_advice(void)
{
	struct vm_area a;

	s.guard = vm_anon(MB);
	vm_fill(s.guard, MB, 5);
	s.has_guard = madvise(s.guard + 4 * VM_PAGE, 2 * VM_PAGE, GUARD_INSTALL) == 0;
	s.locked = vm_anon(16 * VM_PAGE);
	vm_fill(s.locked, 16 * VM_PAGE, 6);
	s.has_lock = mlock(s.locked, 16 * VM_PAGE) == 0;
	char *raw = vm_anon(6 * MB);
	s.huge = (char *)(((uintptr_t)raw + 2 * MB - 1) & ~(uintptr_t)(2 * MB - 1));
	madvise(s.huge, 4 * MB, MADV_HUGEPAGE);
	vm_fill(s.huge, 4 * MB, 7);
	VICTIM_TRY(vm_smaps(s.huge, &a));
	s.has_huge = a.huge > 0;
	s.named = vm_anon(4 * VM_PAGE);
	vm_fill(s.named, 4 * VM_PAGE, 8);
	s.has_name = prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, s.named, 4 * VM_PAGE, "fat cat") == 0;
	for (size_t i = 0; i < N_ADVICE; i++) {
		s.adv[i] = vm_anon(8 * VM_PAGE);
		vm_fill(s.adv[i], 8 * VM_PAGE, 20 + i);
		s.has_adv[i] = madvise(s.adv[i], 8 * VM_PAGE, advice[i].advice) == 0;
	}
}

static void build_growing(void)
{
	/* Room below it, for it to grow into and for the gap of 1 MiB that the kernel wants there. */
	char *room = vm_anon(8 * MB);

	VICTIM_TRY(munmap(room, 8 * MB));
	s.down = mmap(room + 8 * MB - 4 * VM_PAGE, 4 * VM_PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
	VICTIM_CHECK(s.down != MAP_FAILED);
	vm_fill(s.down, 4 * VM_PAGE, 9);
	VICTIM_CHECK(sbrk(MB) != (void *)-1);
	s.brk = sbrk(0);
	vm_fill(s.brk - MB, MB, 10);
}

static void check_protections(void)
{
	struct vm_area a;

	for (size_t i = 0; i < 4 * MB; i += 2 * VM_PAGE) {
		vm_check("anonymous", s.holes + i, VM_PAGE, i);
		vm_zero("hole", s.holes + i + VM_PAGE, VM_PAGE);
	}
	VICTIM_CHECK(!readable(s.none));
	VICTIM_TRY(mprotect(s.none, MB, PROT_READ | PROT_WRITE));
	vm_check("PROT_NONE", s.none, MB, 2);
	vm_check("read-only", s.ro, MB, 3);
	VICTIM_CHECK(((int (*)(void))(uintptr_t)s.code)() == 42);
	vm_check("MAP_NORESERVE", s.norsv + 32 * MB, VM_PAGE, 4);
	VICTIM_TRY(vm_smaps(s.norsv, &a));
	VICTIM_CHECK(vm_flag(&a, "nr"));
}

/* Before anything is touched. One page had been: that is a huge one where transparent huge pages are for everybody. */
static void check_lazy(void)
{
	struct vm_area a;

	VICTIM_TRY(vm_smaps(s.norsv, &a));
	VICTIM_CHECK(a.rss <= (a.huge > 0 ? 2 * MB / 1024 : 64));
}

static void check_advice(void)
{
	struct vm_area a;

	for (size_t i = 0; s.has_guard && i < MB; i += VM_PAGE)
		VICTIM_CHECK(readable(s.guard + i) == (i != 4 * VM_PAGE && i != 5 * VM_PAGE));
	vm_check("before the guard", s.guard, 4 * VM_PAGE, 5);
	VICTIM_TRY(vm_smaps(s.locked, &a));
	VICTIM_CHECK(!s.has_lock || (vm_flag(&a, "lo") && a.rss == 64));
	vm_check("locked", s.locked, 16 * VM_PAGE, 6);
	VICTIM_TRY(vm_smaps(s.huge, &a));
	VICTIM_CHECK(!s.has_huge || a.huge > 0);
	vm_check("huge", s.huge, 4 * MB, 7);
	VICTIM_TRY(vm_smaps(s.named, &a));
	VICTIM_CHECK(!s.has_name || strstr(a.head, "[anon:fat cat]"));
	vm_check("named", s.named, 4 * VM_PAGE, 8);
	for (size_t i = 0; i < N_ADVICE; i++) {
		VICTIM_TRY(vm_smaps(s.adv[i], &a));
		if (s.has_adv[i] && !vm_flag(&a, advice[i].flag))
			victim_fail("flag %s is lost:%s", advice[i].flag, a.flags);
		vm_check(advice[i].flag, s.adv[i], 8 * VM_PAGE, 20 + i);
	}
}

static long deep(int n)
{
	volatile char frame[16384];

	frame[0] = (char)n;
	frame[sizeof frame - 1] = (char)n;
	return n ? deep(n - 1) + frame[0] + frame[sizeof frame - 1] - 2 * (char)n : 0;
}

static void check_growing(void)
{
	struct vm_area a;

	VICTIM_CHECK(sbrk(0) == s.brk);
	vm_check("heap", s.brk - MB, MB, 10);
	VICTIM_CHECK(sbrk(MB) == s.brk);
	s.brk[MB - 1] = 1;
	VICTIM_TRY(vm_smaps(s.down, &a));
	VICTIM_CHECK(vm_flag(&a, "gd"));
	vm_check("growing down", s.down, 4 * VM_PAGE, 9);
	s.down[-8] = 1;
	VICTIM_CHECK(deep(200) == 0); /* 3 MiB of stack */
}

int main(int argc, char **argv)
{
	char local[65536];

	victim_init(argc, argv);
	build_protections();
	build_advice();
	build_growing();
	vm_fill(local, sizeof local, 11);
	deep(20);
	vm_maps(&before);
	victim_wait();
	vm_maps(&after);
	vm_same_maps(&before, &after);
	check_lazy();
	check_advice();
	check_growing();
	check_protections();
	vm_check("stack", local, sizeof local, 11);
	return victim_ok();
}
