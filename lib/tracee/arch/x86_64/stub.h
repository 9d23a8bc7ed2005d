/* stub: layout of the code and data that xos writes into a process. Shared by stub.S and C.
 *
 *   +0            code (stub.S), padded to STUB_CODE
 *   +STUB_CODE    journal (struct stub_journal)
 *
 * Variant (a), checkpoint: at the very end of the last page of an executable mapping, so that the
 * journal's last 16 bytes (magic, version, size) are found from the end of the page alone. A later
 * version of xos may change everything but those 16 bytes.
 * Variant (b), restart: at the start of the boot area; only the signal of the journal is used. */
#ifndef XOS_STUB_H
#define XOS_STUB_H

#define STUB_CODE 384
#define STUB_JOURNAL 400
#define STUB_SIZE (STUB_CODE + STUB_JOURNAL)

/* Offsets in the journal that the code uses. */
#define SJ_SCRATCH 0
#define SJ_LEN 8
#define SJ_MASK 16
#define SJ_SIG 24
#define SJ_RAX 40
#define SJ_RBX 48
#define SJ_RCX 56
#define SJ_RDX 64
#define SJ_RSI 72
#define SJ_RDI 80
#define SJ_R8 88
#define SJ_R9 96
#define SJ_R10 104
#define SJ_R11 112
#define SJ_R12 120
#define SJ_RIP 128

/* An entry of the array that the walker runs; 64 bytes. The upper half of nr is the distance in
 * bytes to the list that the child of this call runs (0: it goes on behind the call). */
#define SE_CHILD 4
#define SE_ARG0 8
#define SE_RET 56
#define SE_SIZE 64

#ifndef __ASSEMBLER__
#include <stdint.h>
#include <sys/user.h>

#define STUB_MAGIC 0x0162757473534f58ull /* "XOSstub\1" */
enum { STUB_VERSION = 1 };

struct stub_journal {
	uint64_t scratch, len;  /* where the scratch area is (to be) */
	uint64_t mask;          /* signal mask of the thread */
	uint64_t sig;           /* rendezvous signal */
	uint64_t nonce;         /* also in the scratch area's head: tells a leaked one from the job's memory */
	/* The registers the stub changes, with the interrupted system call prepared for restart:
	 * what the thread goes on with when the tracer dies. */
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, r8, r9, r10, r11, r12, rip;
	uint8_t reserved[384 - 136 - sizeof(struct user_regs_struct)];
	struct user_regs_struct regs; /* all, with orig_rax: for the next tracer */
	uint64_t magic;
	uint32_t version, size;
};
_Static_assert(sizeof(struct stub_journal) == STUB_JOURNAL, "journal layout");
_Static_assert(__builtin_offsetof(struct stub_journal, rip) == SJ_RIP, "journal layout");
_Static_assert(__builtin_offsetof(struct stub_journal, magic) == 384, "journal layout");

struct stub_entry {
	int32_t nr;
	uint32_t child;
	uint64_t arg[6];
	int64_t ret;
};
_Static_assert(sizeof(struct stub_entry) == SE_SIZE, "entry layout");

/* Labels of stub.S; subtract xos_stub for offsets. */
extern const char xos_stub[], xos_stub_exit[], xos_stub_walk[], xos_stub_park[], xos_stub_end[];

#endif
#endif
