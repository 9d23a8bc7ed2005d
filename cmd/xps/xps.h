/* The two lists of xps. */
#ifndef XOS_XPS_H
#define XOS_XPS_H

#include "common/err.h"
#include "common/table.h"
#include <stdbool.h>

struct xps_opts {
	const char *state_dir;    /* absolute */
	const char *id;           /* only this job; NULL: all */
	const char *columns;      /* -o */
	bool all, noheadings;
	enum table_mode mode;
};
int xps_jobs(const struct xps_opts *o, struct err *e);
int xps_checkpoints(const struct xps_opts *o, struct err *e);

#endif
