/* prctl_table: one line for each value that one system call reads and another one sets, for prctl.c. */
#ifndef XOS_PRCTL_TABLE_H
#define XOS_PRCTL_TABLE_H

#include <stddef.h>
#include <stdint.h>

enum prctl_scope {
	PRCTL_THREAD,   /* restored in restore_thread() */
	PRCTL_PROCESS,  /* of the process or its memory: restored in restore() */
	PRCTL_LATE,     /* of the process, as the last thing */
};
struct prctl_value {
	const char *key;               /* field of the record */
	enum prctl_scope scope;
	int nr_get; uint64_t get[5];   /* arguments; ARG_PTR: address of a 64-bit word that gets the value */
	int nr_set; uint64_t set[5];   /* ARG_VALUE: the value */
	int64_t dflt;                  /* what a kernel without it has */
	uint64_t max;
	/* Value as read -> argument to set, or -1: it cannot be set, only be so already. NULL: itself. */
	int64_t (*to_set)(int64_t read);
};
#define ARG_PTR   0xa5a5a5a500000001ull
#define ARG_VALUE 0xa5a5a5a500000002ull
#define ARG_BIT0  0xa5a5a5a500000003ull /* its lowest bit */
#define ARG_FLAGS 0xa5a5a5a500000004ull /* the value without its lowest bit */

extern const struct prctl_value prctl_table[];
extern const unsigned prctl_count;
enum { PRCTL_MAX = 32 };

struct remote;
struct buf;
/* Where the answers to a batch of readings will be. */
struct prctl_read { size_t call[PRCTL_MAX]; uint64_t ptr[PRCTL_MAX]; };
/* Queues the reading of a thread's values (at most PRCTL_MAX calls), and after the run writes their record. */
void prctl_ask_thread(struct remote *rem, struct prctl_read *q);
void prctl_put_thread(struct remote *rem, const struct prctl_read *q, struct buf *out);

#endif
