/* table: lists that read well and parse well: aligned columns with a header, -n, -o COLS,
 * -P (KEY="value" pairs), -J (JSON), the same for every list of every tool. */
#ifndef XOS_TABLE_H
#define XOS_TABLE_H

#include "common/err.h"
#include <stdbool.h>
#include <stddef.h>

enum table_mode { TABLE_COLUMNS, TABLE_PAIRS, TABLE_JSON };
struct table_col {
	const char *name;   /* "JOB"; matched case-insensitively by -o; JSON key is the lower case */
	bool right;         /* numbers: aligned right */
	bool number;        /* JSON without quotes */
	const char *help;
};
struct table;
/* select: comma-separated column names ("+NAME,..." adds to the default), NULL: dflt;
 * a NULL dflt means all. -1 EX_USAGE_ on unknown names, with the known ones as the hint. */
int table_new(struct table **t, const char *json_name, const struct table_col *cols, size_t ncols,
	      const char *dflt, const char *select, enum table_mode mode, bool noheadings, struct err *e);
/* One value per column of `cols` in their order (not of the selection); NULL prints "-" (JSON null,
 * pairs ""). Bytes that would upset a terminal are shown as "?" in columns. Copied. 0, or -1 out of memory. */
int table_row(struct table *t, const char *const *vals);
int table_print(struct table *t, int fd, struct err *e);
void table_free(struct table *t);

#endif
