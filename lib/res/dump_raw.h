/* dump_raw: raw members that resources have promised by dump_raw_fd and dump_raw_mem. Used by
 * dump.c and by cr, which writes them when all text members are written. */
#ifndef XOS_DUMP_RAW_H
#define XOS_DUMP_RAW_H

#include "res/res.h"

struct raw_pending {
	char *name;
	int fd;            /* -1: content is in mem */
	void *mem;
	uint64_t off, size;
};
int dump_raws_write(struct dump *d, struct err *e);
void dump_raws_free(struct dump *d);

#endif
