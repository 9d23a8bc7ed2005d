/* opt: option tables. One table per tool drives the parser, --help and the check that
 * holds option table, --help and man page together (`TOOL --help-options` prints one
 * option a line: "-k --kill=SIGNAL"; not shown in --help). */
#ifndef XOS_OPT_H
#define XOS_OPT_H

#include "common/err.h"
#include <stdbool.h>

struct opt_def {
	int ch;             /* short option, or a number from 256 on for long only; 0 ends the table */
	const char *name;   /* long name */
	const char *arg;    /* argument's name, NULL: none; in brackets "[SIGNAL]": optional */
	const char *help;   /* one line */
};
struct opt_tool {
	const char *name;       /* "xcheckpoint" */
	const char *usage;      /* "[-k [SIGNAL]] [-n] JOBID..." ; several forms separated by \n */
	const char *summary;    /* one line */
	const struct opt_def *defs;
	const char *footer;     /* printed behind the options in --help, or NULL */
	bool stop_at_operand;   /* options end at the first operand (tools that run a command) */
	int usage_status;       /* exit status of a usage mistake: 2, or 125 for tools that run a program */
};
/* An optional argument is taken from "-k9", "--kill=9", and also from the next word when that
 * word looks like a signal (only for "[SIGNAL]": BLCR and Kerrighed users write `-k TERM`;
 * in capitals and not by number only, because `-k 12` and `-k io` name jobs).
 *
 * Calls handle(ch, arg, data, e) for each option. When that returns -1, "tool: -x: e->msg" is printed,
 * with "Try 'tool --help'" for EX_USAGE_. -h, -V, -q, -v are handled here
 * (printed and exit status 0 / log level) and appended to --help, unless `defs` has that letter or
 * name itself. Long names may be shortened. argv is permuted: operands last, unless stop_at_operand.
 * Returns the index of the first operand, or -1 with *status = exit status to leave with. */
int opt_parse(const struct opt_tool *t, int argc, char **argv,
	      int (*handle)(int ch, const char *arg, void *data, struct err *e), void *data, int *status);
/* "tool: msg\nTry 'tool --help' ...": returns t->usage_status. */
int opt_usage(const struct opt_tool *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
