/* stub: the code that runs inside a process under remote control. See stub.h for the layout and
 * HACKING.md for the reasons. It changes no flag (mov, lea, not, xchg and jrcxz only), uses no stack
 * and no vector register, writes to the scratch area only, and makes no call that would
 * overwrite the thread's restart block. Registers: rbx = next entry, r12 = scratch area. */
#include "stub.h"

#define J(x) (journal + SJ_##x)(%rip)

	.text
	.globl xos_stub, xos_stub_exit, xos_stub_walk, xos_stub_park, xos_stub_end
	.hidden xos_stub, xos_stub_exit, xos_stub_walk, xos_stub_park, xos_stub_end
	.balign 64
xos_stub:
	mov $9, %eax                    /* mmap(scratch, len, RW, PRIVATE|ANON|FIXED_NOREPLACE, -1, 0) */
	mov J(SCRATCH), %rdi
	mov J(LEN), %rsi
	mov $3, %edx
	mov $0x100022, %r10d
	mov $-1, %r8
	mov $0, %r9d
	syscall
	mov %rax, %r12                  /* an error here makes the munmap below a harmless EINVAL */

rendezvous:                             /* tgkill(getpid(), gettid(), sig): stops for a tracer, else nothing */
	mov $39, %eax
	syscall
	mov %rax, %rbx
	mov $186, %eax
	syscall
	mov %rbx, %rdi
	mov %rax, %rsi
	mov J(SIG), %rdx
	mov $234, %eax
	syscall

xos_stub_exit:                          /* whoever is resumed here without more ado leaves */
	mov $11, %eax                   /* munmap(scratch, len) */
	mov %r12, %rdi
	mov J(LEN), %rsi
	syscall
	mov $14, %eax                   /* rt_sigprocmask(SIG_SETMASK, &mask, 0, 8) */
	mov $2, %edi
	lea J(MASK), %rsi
	mov $0, %edx
	mov $8, %r10d
	syscall
	mov J(RAX), %rax
	mov J(RBX), %rbx
	mov J(RCX), %rcx
	mov J(RDX), %rdx
	mov J(RSI), %rsi
	mov J(RDI), %rdi
	mov J(R8), %r8
	mov J(R9), %r9
	mov J(R10), %r10
	mov J(R11), %r11
	mov J(R12), %r12
	jmp *J(RIP)

xos_stub_walk:
	mov (%rbx), %rax
	lea 1(%rax), %rcx
	jrcxz 4f                        /* nr -1: end of the list */
	mov SE_ARG0(%rbx), %rdi
	mov (SE_ARG0 + 8)(%rbx), %rsi
	mov (SE_ARG0 + 16)(%rbx), %rdx
	mov (SE_ARG0 + 24)(%rbx), %r10
	mov (SE_ARG0 + 32)(%rbx), %r8
	mov (SE_ARG0 + 40)(%rbx), %r9
	syscall                         /* the kernel looks at eax only */
	mov SE_CHILD(%rbx), %ecx
	jrcxz 1f
	xchg %rax, %rcx
	jrcxz 2f                        /* returned 0 and has a list for the child: this is the child */
	xchg %rax, %rcx
1:	mov %rax, SE_RET(%rbx)
	lea SE_SIZE(%rbx), %rbx
	jmp xos_stub_walk
2:	lea (%rbx, %rax), %rbx
	jmp xos_stub_walk
4:	jmp rendezvous

xos_stub_park:                          /* restart: until a tracer sees the signal */
	mov $39, %eax
	syscall
	mov %rax, %rbx
	mov $186, %eax
	syscall
	mov %rbx, %rdi
	mov %rax, %rsi
	mov J(SIG), %rdx
	mov $234, %eax
	syscall
	mov $35, %eax                   /* nanosleep(20 us) */
	lea pause_time(%rip), %rdi
	mov $0, %esi
	syscall
	jmp xos_stub_park
	.balign 8
pause_time:
	.quad 0, 20000

	.org xos_stub + STUB_CODE
journal:
	.skip STUB_JOURNAL
xos_stub_end:
	.size xos_stub, . - xos_stub
	.section .note.GNU-stack, "", @progbits
