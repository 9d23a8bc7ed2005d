/* Registers of threads: general ones, flags, x87, MXCSR, SSE, AVX, AVX-512 with its masks, and what lies below the stack pointer
 * (the red zone); of one that never enters the kernel and of one that sleeps in it. */
#include "victim.h"

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

enum { FLAGS = 0x400 | 0x800 | 0x80 | 0x10 | 0x4 | 0x1, NGEN = 12, FLAGS_SEEN = 0xcd5 }; /* DF OF SF AF PF CF */
struct area {
	volatile int stop;             /* at offset 0 */
	volatile int there;
	uint64_t bad;
	struct timespec ts;
	uint64_t gin[NGEN], gout[NGEN], flags_in, flags_out, red_in[3], red_out[3];
	uint64_t kin[8], kout[8];
	double st_in[4], st_out[4];
	uint32_t mxcsr_in, mxcsr_out;
	uint16_t cw_in, cw_out;
	uint8_t vin[32][64] __attribute__((aligned(64))), vout[32][64] __attribute__((aligned(64)));
	int level, sleeping;           /* level 0: SSE, 1: AVX, 2: AVX-512 */
};

#define AT(name, field) [name] "i"(offsetof(struct area, field))
#define EACH16(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define UPPER16(X) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31)
#define MASKS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define LOAD_SSE(n) "movaps %c[vin]+" #n "*64(%%rdi), %%xmm" #n "\n"
#define SAVE_SSE(n) "movaps %%xmm" #n ", %c[vout]+" #n "*64(%%rdi)\n"
#define LOAD_AVX(n) "vmovaps %c[vin]+" #n "*64(%%rdi), %%ymm" #n "\n"
#define SAVE_AVX(n) "vmovaps %%ymm" #n ", %c[vout]+" #n "*64(%%rdi)\n"
#define LOAD_512(n) "vmovaps %c[vin]+" #n "*64(%%rdi), %%zmm" #n "\n"
#define SAVE_512(n) "vmovaps %%zmm" #n ", %c[vout]+" #n "*64(%%rdi)\n"
#define LOAD_K(n) "kmovq %c[kin]+" #n "*8(%%rdi), %%k" #n "\n"
#define SAVE_K(n) "kmovq %%k" #n ", %c[kout]+" #n "*8(%%rdi)\n"
#define CLOBBER(n) "xmm" #n,
#define LOAD_FPU "fninit\n fldcw %c[cwin](%%rdi)\n ldmxcsr %c[mxin](%%rdi)\n" \
	"fldl %c[stin]+24(%%rdi)\n fldl %c[stin]+16(%%rdi)\n fldl %c[stin]+8(%%rdi)\n fldl %c[stin](%%rdi)\n"
#define SAVE_FPU "fnstcw %c[cwout](%%rdi)\n stmxcsr %c[mxout](%%rdi)\n" \
	"fstpl %c[stout](%%rdi)\n fstpl %c[stout]+8(%%rdi)\n fstpl %c[stout]+16(%%rdi)\n fstpl %c[stout]+24(%%rdi)\n fninit\n ldmxcsr %c[mxold](%%rdi)\n"
/* Until stop: spins, or sleeps 20 ms at a time (any result but 0 is noted). */
#define SPIN "movl $1, %c[there](%%rdi)\n 1: cmpl $0, (%%rdi)\n je 1b\n"
#define SLEEP "movl $1, %c[there](%%rdi)\n 1: mov $35, %%eax\n push %%rdi\n lea %c[ts](%%rdi), %%rdi\n xor %%esi, %%esi\n syscall\n pop %%rdi\n" \
	"or %%rax, %c[bad](%%rdi)\n cmpl $0, (%%rdi)\n je 1b\n"
#define VECTORS(name, load, wait, save) \
	static __attribute__((noinline)) void name(struct area *a) \
	{ \
		__asm__ volatile("sub $256, %%rsp\n" LOAD_FPU load wait save SAVE_FPU "add $256, %%rsp\n" \
			:: "D"(a), AT(vin, vin), AT(vout, vout), AT(kin, kin), AT(kout, kout), AT(there, there), AT(ts, ts), AT(bad, bad), \
			   AT(cwin, cw_in), AT(cwout, cw_out), AT(mxin, mxcsr_in), AT(mxout, mxcsr_out), AT(stin, st_in), AT(stout, st_out), \
			   AT(mxold, flags_out) \
			: EACH16(CLOBBER) "rax", "rcx", "rsi", "r11", "memory", "cc"); \
	}
VECTORS(sse_spin, EACH16(LOAD_SSE), SPIN, EACH16(SAVE_SSE))
VECTORS(sse_sleep, EACH16(LOAD_SSE), SLEEP, EACH16(SAVE_SSE))
VECTORS(avx_spin, EACH16(LOAD_AVX), SPIN, EACH16(SAVE_AVX) "vzeroupper\n")
VECTORS(avx_sleep, EACH16(LOAD_AVX), SLEEP, EACH16(SAVE_AVX) "vzeroupper\n")
VECTORS(avx512_spin, EACH16(LOAD_512) UPPER16(LOAD_512) MASKS(LOAD_K), SPIN, EACH16(SAVE_512) UPPER16(SAVE_512) MASKS(SAVE_K) "vzeroupper\n")
VECTORS(avx512_sleep, EACH16(LOAD_512) UPPER16(LOAD_512) MASKS(LOAD_K), SLEEP, EACH16(SAVE_512) UPPER16(SAVE_512) MASKS(SAVE_K) "vzeroupper\n")

/* rcx is the loop's own; the loop changes no flag. */
static __attribute__((noinline)) void general(struct area *a)
{
#define IN(n, reg) "mov %c[gin]+" #n "*8(%%rdi), %%" reg "\n"
#define OUT(n, reg) "mov %%" reg ", %c[gout]+" #n "*8(%%rdi)\n"
#define ALL(op) op(0, "rax") op(1, "rbx") op(2, "rdx") op(3, "rsi") op(4, "r8") op(5, "r9") op(6, "r10") op(7, "r11") op(8, "r12") \
	op(9, "r13") op(10, "r14") op(11, "r15")
	__asm__ volatile("push %%rbx\n push %%rbp\n sub $256, %%rsp\n"
		"mov %c[red](%%rdi), %%rax\n mov %%rax, -8(%%rsp)\n mov %c[red]+8(%%rdi), %%rax\n mov %%rax, -64(%%rsp)\n"
		"mov %c[red]+16(%%rdi), %%rax\n mov %%rax, -128(%%rsp)\n"
		"lea -16(%%rsp), %%rsp\n push %c[flags](%%rdi)\n popf\n lea 16(%%rsp), %%rsp\n" /* the push is below the red words' top */
		"mov %c[red](%%rdi), %%rax\n mov %%rax, -8(%%rsp)\n"
		ALL(IN) "mov %%rdi, %%rbp\n not %%rbp\n movl $1, %c[there](%%rdi)\n"
		"1: mov (%%rdi), %%ecx\n jrcxz 1b\n"
		ALL(OUT) "mov -8(%%rsp), %%rax\n mov %%rax, %c[redout](%%rdi)\n mov -64(%%rsp), %%rax\n mov %%rax, %c[redout]+8(%%rdi)\n"
		"mov -128(%%rsp), %%rax\n mov %%rax, %c[redout]+16(%%rdi)\n"
		"pushf\n pop %c[flagsout](%%rdi)\n cld\n not %%rbp\n xor %%rdi, %%rbp\n or %%rbp, %c[bad](%%rdi)\n"
		"add $256, %%rsp\n pop %%rbp\n pop %%rbx\n"
		:: "D"(a), AT(gin, gin), AT(gout, gout), AT(flags, flags_in), AT(flagsout, flags_out), AT(red, red_in), AT(redout, red_out),
		   AT(there, there), AT(bad, bad)
		: "rax", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
}

static void fill(struct area *a, unsigned seed)
{
	uint8_t *v = &a->vin[0][0];

	for (size_t i = 0; i < sizeof a->vin; i++)
		v[i] = (uint8_t)((i * 167 + seed * 31) ^ i >> 3);
	for (unsigned i = 0; i < NGEN; i++)
		a->gin[i] = 0x0123456789abcdefull * (i + seed + 1);
	for (unsigned i = 0; i < 8; i++)
		a->kin[i] = 0xfedcba9876543210ull ^ (i + seed) * 0x1111111111111111ull;
	for (unsigned i = 0; i < 4; i++)
		a->st_in[i] = 1.25 * (i + 1) + seed;
	for (unsigned i = 0; i < 3; i++)
		a->red_in[i] = 0xabcdef0000000000ull + seed * 16 + i;
	a->flags_in = FLAGS | 2;
	a->mxcsr_in = 0x1f80 | 0x6000 | 0x8000; /* round to zero, flush to zero */
	a->cw_in = 0x037f | 0x0400;             /* round down */
	a->flags_out = 0x1f80;                  /* what MXCSR is put back to */
	a->ts.tv_nsec = 20 * 1000 * 1000;
}

static void *run(void *arg)
{
	struct area *a = arg;

	switch (a->level * 2 + a->sleeping) {
	case 0: sse_spin(a); break;
	case 1: sse_sleep(a); break;
	case 2: avx_spin(a); break;
	case 3: avx_sleep(a); break;
	case 4: avx512_spin(a); break;
	case 5: avx512_sleep(a); break;
	default: general(a);
	}
	return NULL;
}

static void check_vectors(const struct area *a)
{
	static const size_t width[] = { 16, 32, 64 }, count[] = { 16, 16, 32 };
	const char *how = a->sleeping ? "asleep" : "running";

	for (size_t i = 0; i < count[a->level]; i++)
		if (memcmp(a->vin[i], a->vout[i], width[a->level]))
			victim_fail("level %d, %s: vector register %zu is wrong", a->level, how, i);
	if (a->level == 2 && memcmp(a->kin, a->kout, sizeof a->kin))
		victim_fail("%s: mask registers are wrong", how);
	if (memcmp(a->st_in, a->st_out, sizeof a->st_in) || a->cw_in != a->cw_out)
		victim_fail("level %d, %s: x87 is wrong, control word 0x%x", a->level, how, a->cw_out);
	if (a->mxcsr_out != a->mxcsr_in)
		victim_fail("level %d, %s: MXCSR is 0x%x", a->level, how, a->mxcsr_out);
	if (a->bad)
		victim_fail("level %d, %s: nanosleep returned something", a->level, how);
}

static void check_general(const struct area *a)
{
	for (int i = 0; i < NGEN; i++)
		if (a->gin[i] != a->gout[i])
			victim_fail("general register %d is 0x%llx", i, (unsigned long long)a->gout[i]);
	if (memcmp(a->red_in, a->red_out, sizeof a->red_in))
		victim_fail("the red zone is wrong");
	if ((a->flags_out & FLAGS_SEEN) != (FLAGS & FLAGS_SEEN))
		victim_fail("flags are 0x%llx", (unsigned long long)a->flags_out);
	VICTIM_CHECK(!a->bad);
}

int main(int argc, char **argv)
{
	static struct area area[7];
	pthread_t t[7];
	int n = 2;

	victim_init(argc, argv);
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx"))
		n = 4;
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw"))
		n = 6;
	for (int i = 0; i <= n; i++) {
		area[i].level = i < n ? i / 2 : 9;
		area[i].sleeping = i < n ? i % 2 : 0;
		fill(&area[i], (unsigned)i);
		VICTIM_CHECK(pthread_create(&t[i], NULL, run, &area[i]) == 0);
		while (!area[i].there)
			victim_pause();
	}
	victim_wait();
	for (int i = 0; i <= n; i++) {
		area[i].stop = 1;
		VICTIM_CHECK(pthread_join(t[i], NULL) == 0);
		if (i < n)
			check_vectors(&area[i]);
		else
			check_general(&area[i]);
	}
	return victim_ok();
}
