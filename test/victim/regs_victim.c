/* regs_victim: checks continuously all general registers but rsp, ymm0-15 and the red zone.
 *
 *     regs_victim P             the protocol of victim.h: ready, spins until P.go, then ok
 *     regs_victim P COUNTER     also counts its rounds in the file COUNTER (8 bytes, shared): for kill tests
 *
 * Whatever differs is a failure at once: P.fail. */
#include "victim.h"
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>

/* Some 200,000 rounds or so between two looks at the go file. rdi: pattern of 16 words, rsi: 16 ymm (512
 * bytes), rdx: the counter. Returns 0, or which check failed. */
uint64_t spin(const uint64_t *words, const void *ymm, volatile uint64_t *counter);
__asm__(
	".text\n.globl spin\n.type spin,@function\nspin:\n"
	"push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
	"movq %rdx, %mm0\n movq %rdi, %mm1\n movq %rsi, %mm2\n"
	/* vectors */
	".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n vmovdqu (\\n*32)(%rsi), %ymm\\n\n .endr\n"
	/* red zone */
	"mov 0(%rdi), %rax\n mov %rax, -8(%rsp)\n mov %rax, -64(%rsp)\n mov %rax, -128(%rsp)\n"
	/* general registers */
	"mov 8(%rdi), %rbx\n mov 16(%rdi), %rcx\n mov 24(%rdi), %rdx\n mov 32(%rdi), %rsi\n"
	"mov 40(%rdi), %rbp\n mov 48(%rdi), %r8\n mov 56(%rdi), %r9\n mov 64(%rdi), %r10\n"
	"mov 72(%rdi), %r11\n mov 80(%rdi), %r12\n mov 88(%rdi), %r13\n mov 96(%rdi), %r14\n"
	"mov 104(%rdi), %r15\n"
	"movq $200000, %rax\n movq %rax, %mm3\n"
	"1:\n"
	"movq %mm1, %rdi\n movq 0(%rdi), %rax\n"
	"cmp %rax, -8(%rsp)\n jne 8f\n cmp %rax, -64(%rsp)\n jne 8f\n cmp %rax, -128(%rsp)\n jne 8f\n"
	"cmp 8(%rdi), %rbx\n jne 9f\n cmp 16(%rdi), %rcx\n jne 9f\n cmp 24(%rdi), %rdx\n jne 9f\n"
	"cmp 32(%rdi), %rsi\n jne 9f\n cmp 40(%rdi), %rbp\n jne 9f\n cmp 48(%rdi), %r8\n jne 9f\n"
	"cmp 56(%rdi), %r9\n jne 9f\n cmp 64(%rdi), %r10\n jne 9f\n cmp 72(%rdi), %r11\n jne 9f\n"
	"cmp 80(%rdi), %r12\n jne 9f\n cmp 88(%rdi), %r13\n jne 9f\n cmp 96(%rdi), %r14\n jne 9f\n"
	"cmp 104(%rdi), %r15\n jne 9f\n"
	"movq %mm0, %rax\n lock incq (%rax)\n"
	"movq %mm3, %rax\n dec %rax\n movq %rax, %mm3\n jnz 1b\n"
	/* vectors: xor with the pattern, gather */
	"movq %mm2, %rsi\n"
	".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"vpxor (\\n*32)(%rsi), %ymm\\n, %ymm\\n\n vptest %ymm\\n, %ymm\\n\n jnz 7f\n .endr\n"
	"xor %eax, %eax\n jmp 10f\n"
	"7: mov $1, %eax\n jmp 10f\n 8: mov $2, %eax\n jmp 10f\n 9: mov $3, %eax\n"
	"10: emms\n vzeroupper\n"
	"pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret\n"
	".size spin, .-spin\n");

static const char *const what[] = { "", "vector register", "red zone", "general register" };

int main(int argc, char **argv)
{
	static uint64_t words[16], own;
	static unsigned char ymm[512];
	uint64_t *counter = &own;
	sigset_t m;

	if (argc == 3) {
		int fd = open(argv[2], O_RDWR | O_CREAT, 0600);

		if (fd < 0 || ftruncate(fd, 4096) < 0)
			return 2;
		counter = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (counter == MAP_FAILED)
			return 2;
		argc = 2;
	}
	victim_init(argc, argv);
	if (!__builtin_cpu_supports("avx2"))
		victim_skip("no AVX2");
	for (unsigned i = 0; i < 16; i++)
		words[i] = 0x9e3779b97f4a7c15ull * (i + 3);
	for (unsigned i = 0; i < sizeof(ymm); i++)
		ymm[i] = (unsigned char)(i * 37 + 11);
	victim_ready();
	while (!victim_go()) {
		uint64_t bad = spin(words, ymm, counter);

		if (bad)
			victim_fail("%s changed", what[bad]);
		if (sigprocmask(SIG_BLOCK, NULL, &m) < 0 || !sigisemptyset(&m))
			victim_fail("signal mask changed");
	}
	return victim_ok();
}
