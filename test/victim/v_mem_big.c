/* So much memory that the restart fills it from two sides (mm_fill.c): whole ranges, ranges that nobody may write,
 * thousands of single pages, and the pages between them, which must stay empty. */
#include "vmem.h"

enum { MB = 1 << 20, WHOLE = 24 * MB, FIXED = 8 * MB, SPARSE = 16 * MB };

static char *area(size_t n)
{
	char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	VICTIM_CHECK(p != MAP_FAILED);
	madvise(p, n, MADV_NOHUGEPAGE);
	return p;
}

int main(int argc, char **argv)
{
	victim_init(argc, argv);
	char *whole = area(WHOLE), *fixed = area(FIXED), *sparse = area(SPARSE);

	vm_fill(whole, WHOLE, 1);
	vm_fill(fixed, FIXED, 2);
	VICTIM_TRY(mprotect(fixed, FIXED, PROT_NONE));
	for (size_t at = 0; at < SPARSE; at += 2 * VM_PAGE)
		vm_fill(sparse + at, VM_PAGE, 3 + at);
	victim_wait();
	vm_check("whole range", whole, WHOLE, 1);
	VICTIM_TRY(mprotect(fixed, FIXED, PROT_READ));
	vm_check("range without access", fixed, FIXED, 2);
	for (size_t at = 0; at < SPARSE; at += 2 * VM_PAGE) {
		vm_check("single page", sparse + at, VM_PAGE, 3 + at);
		vm_zero("page between", sparse + at + VM_PAGE, VM_PAGE);
	}
	return victim_ok();
}
