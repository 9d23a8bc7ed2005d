/* opt: a parser of our own instead of getopt_long(3): an optional argument that may be the
 * next word needs to know what comes next, which permuting libcs (musl) hide; the messages
 * have our form; and nothing of it is static, so a tool may parse twice. */
#include "common/opt.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/num.h"

#include <string.h>

#ifndef XOS_VERSION
#define XOS_VERSION "unknown"
#endif

enum { OPT_HELP_OPTIONS = 1 << 20, MAX_LEFT = 30 };

static const struct opt_def common_opts[] = {
	{ 'q', "quiet", NULL, "say nothing but errors" },
	{ 'v', "verbose", NULL, "say what is done and how" },
	{ 'h', "help", NULL, "show this text and exit" },
	{ 'V', "version", NULL, "show the version and exit" },
	{ 0, NULL, NULL, NULL },
};
static const struct opt_def help_options = { OPT_HELP_OPTIONS, "help-options", NULL, "" };

typedef int opt_handler(int ch, const char *arg, void *data, struct err *e);

struct parse {
	const struct opt_tool *t;
	char **argv;
	int argc, i;      /* i: the word being read */
	opt_handler *handle;
	void *data;
	int status;       /* to leave with, or -1: go on */
};

static int say_usage(const struct opt_tool *t, const char *msg, const char *hint)
{
	AUTO_BUF struct buf b = BUF_INIT;

	buf_printf(&b, "%s: %s\n", t->name, msg);
	if (*hint)
		buf_printf(&b, "%s: hint: %s\n", t->name, hint);
	buf_printf(&b, "Try '%s --help'\n", t->name);
	if (write(STDERR_FILENO, buf_str(&b), b.len) < 0)
		return t->usage_status; /* nobody to tell */
	return t->usage_status;
}

int opt_usage(const struct opt_tool *t, const char *fmt, ...)
{
	char msg[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	return say_usage(t, msg, "");
}

/* ---- --help, --version ---- */

static const struct opt_def *find_short(const struct opt_def *d, int ch)
{
	for (; d->ch; d++)
		if (d->ch < 256 && d->ch == ch)
			return d;
	return NULL;
}

static bool has_name(const struct opt_def *d, const char *name)
{
	for (; d->ch; d++)
		if (d->name && strcmp(d->name, name) == 0)
			return true;
	return false;
}

/* A tool may use a short or long name of the common options for itself. */
static bool shadowed_short(const struct opt_tool *t, const struct opt_def *d)
{
	return d->ch >= 256 || find_short(t->defs, d->ch);
}

static void put_arg(struct buf *b, const struct opt_def *d)
{
	if (!d->arg)
		return;
	if (d->arg[0] == '[')
		buf_printf(b, d->name ? "[=%s" : "[%s", d->arg + 1);
	else
		buf_printf(b, d->name ? "=%s" : " %s", d->arg);
}

static void put_left(struct buf *b, const struct opt_def *d, bool with_short)
{
	buf_adds(b, "  ");
	if (with_short)
		buf_printf(b, "-%c%s", d->ch, d->name ? ", " : "");
	else
		buf_adds(b, "    ");
	if (d->name)
		buf_printf(b, "--%s", d->name);
	put_arg(b, d);
}

static size_t left_width(const struct opt_def *d)
{
	AUTO_BUF struct buf b = BUF_INIT;

	put_left(&b, d, d->ch < 256);
	return b.len;
}

static void put_option(struct buf *b, const struct opt_def *d, bool with_short, size_t width)
{
	size_t from = b->len, n;

	put_left(b, d, with_short);
	n = b->len - from;
	if (n > width) {
		buf_addc(b, '\n');
		n = 0;
	}
	for (; n < width + 2; n++)
		buf_addc(b, ' ');
	buf_adds(b, d->help);
	buf_addc(b, '\n');
}

static void put_usage_lines(struct buf *b, const struct opt_tool *t)
{
	const char *p = t->usage, *head = "Usage: ";

	for (;;) {
		size_t n = strcspn(p, "\n");

		buf_printf(b, "%s%s%s", head, t->name, n ? " " : "");
		buf_add(b, p, n);
		buf_addc(b, '\n');
		if (!p[n])
			return;
		p += n + 1;
		head = "       ";
	}
}

static void put_help(struct buf *b, const struct opt_tool *t)
{
	const struct opt_def *d;
	size_t width = 0, n;

	for (d = t->defs; d->ch; d++)
		if ((n = left_width(d)) > width && n <= MAX_LEFT)
			width = n;
	for (d = common_opts; d->ch; d++)
		if ((n = left_width(d)) > width)
			width = n;
	put_usage_lines(b, t);
	buf_printf(b, "%s\n\nOptions:\n", t->summary);
	for (d = t->defs; d->ch; d++)
		put_option(b, d, d->ch < 256, width);
	for (d = common_opts; d->ch; d++)
		if (!has_name(t->defs, d->name))
			put_option(b, d, !shadowed_short(t, d), width);
	if (t->footer) {
		n = strlen(t->footer);
		buf_printf(b, "\n%s%s", t->footer, n && t->footer[n - 1] == '\n' ? "" : "\n");
	}
}

static void put_option_list(struct buf *b, const struct opt_tool *t)
{
	const struct opt_def *d;
	int common;

	for (common = 0; common < 2; common++) {
		for (d = common ? common_opts : t->defs; d->ch; d++) {
			bool with_short = common ? !shadowed_short(t, d) : d->ch < 256;

			if (common && has_name(t->defs, d->name))
				continue;
			if (with_short)
				buf_printf(b, "-%c%s", d->ch, d->name ? " " : "");
			if (d->name)
				buf_printf(b, "--%s", d->name);
			put_arg(b, d);
			buf_addc(b, '\n');
		}
	}
}

/* Shows a text on stdout: the status to leave with. */
static int show(const struct buf *b)
{
	const char *p = buf_str(b);
	size_t n = b->len;

	while (n) {
		ssize_t w = write(STDOUT_FILENO, p, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0) {
			log_error("standard output: %s", strerror(errno));
			return EX_FAILED;
		}
		p += w;
		n -= (size_t)w;
	}
	return EX_OK_;
}

/* ---- parsing ---- */

/* Does one option; `spelled` is how the user wrote it. Returns 0, or -1 with ps->status. */
static int dispatch(struct parse *ps, const struct opt_def *d, bool common, const char *spelled,
		    const char *arg)
{
	AUTO_BUF struct buf b = BUF_INIT;
	struct err e = ERR_INIT;

	if (!common) {
		if (ps->handle(d->ch, arg, ps->data, &e) >= 0)
			return 0;
		err_prefix(&e, "%s", spelled);
		ps->status = e.code == EX_USAGE_ ? say_usage(ps->t, e.msg, e.hint) : log_err(&e);
		return -1;
	}
	switch (d->ch) {
	case 'q':
		log_set_level(LOG_QUIET);
		return 0;
	case 'v':
		log_set_level(LOG_VERBOSE);
		return 0;
	case 'h':
		put_help(&b, ps->t);
		break;
	case 'V':
		buf_printf(&b, "%s (xos) %s\n", ps->t->name, XOS_VERSION);
		break;
	default:
		put_option_list(&b, ps->t);
		break;
	}
	ps->status = show(&b);
	return -1;
}

/* `-k TERM`, but not `-k 12` or `-k io`: a number or a name in small letters is a job. */
static bool is_signal_word(const char *s)
{
	const char *p;
	int sig;

	for (p = s; *p; p++)
		if (*p >= 'a' && *p <= 'z')
			return false;
	return s[0] >= 'A' && s[0] <= 'Z' && num_signal(s, &sig) == 0;
}

/* The argument of an option: what is attached to it, or the next word. 0 or -1 with status. */
static int take_arg(struct parse *ps, const struct opt_def *d, const char *spelled,
		    const char *attached, const char **arg)
{
	const char *next = ps->i + 1 < ps->argc ? ps->argv[ps->i + 1] : NULL;

	*arg = attached;
	if (attached || !d->arg)
		return 0;
	if (d->arg[0] == '[') {
		if (next && strcmp(d->arg, "[SIGNAL]") == 0 && is_signal_word(next)) {
			*arg = next;
			ps->i++;
		}
		return 0;
	}
	if (!next) {
		ps->status = opt_usage(ps->t, "%s: needs an argument: %s", spelled, d->arg);
		return -1;
	}
	*arg = next;
	ps->i++;
	return 0;
}

/* -abc, -ofile, -o file */
static int parse_short(struct parse *ps, const char *word)
{
	const char *p, *arg;
	char spelled[3] = "-";

	for (p = word + 1; *p; p++) {
		const struct opt_def *d = find_short(ps->t->defs, (unsigned char)*p);
		bool common = !d;

		spelled[1] = *p;
		if (common)
			d = find_short(common_opts, (unsigned char)*p);
		if (!d) {
			ps->status = opt_usage(ps->t, "%s: no such option", spelled);
			return -1;
		}
		if (take_arg(ps, d, spelled, d->arg && p[1] ? p + 1 : NULL, &arg) < 0 ||
		    dispatch(ps, d, common, spelled, arg) < 0)
			return -1;
		if (d->arg)
			return 0;
	}
	return 0;
}

struct match { const struct opt_def *d; bool common, exact; int n; const char *other; };

static void match_in(struct match *m, const struct opt_def *d, bool common, const char *name,
		     size_t n)
{
	for (; d->ch && !m->exact; d++) {
		if (!d->name || strncmp(d->name, name, n) != 0)
			continue;
		m->exact = d->name[n] == '\0';
		if (m->exact)
			m->n = 0;
		else if (m->n == 1 && strcmp(m->d->name, d->name) == 0)
			continue; /* a common option that the tool has itself */
		if (m->n++ == 0 || m->exact) {
			m->d = d;
			m->common = common;
		} else {
			m->other = d->name;
		}
	}
}

/* --name, --name=arg, and any beginning of a name that means only one */
static int parse_long(struct parse *ps, const char *word)
{
	size_t n = strcspn(word + 2, "=");
	const char *attached = word[2 + n] ? word + 2 + n + 1 : NULL, *arg;
	struct match m = { 0 };
	char spelled[64];

	match_in(&m, ps->t->defs, false, word + 2, n);
	match_in(&m, common_opts, true, word + 2, n);
	if (!m.exact && n == strlen(help_options.name) &&
	    strncmp(word + 2, help_options.name, n) == 0)
		m = (struct match){ .d = &help_options, .common = true, .n = 1 };
	if (m.n == 0) {
		ps->status = opt_usage(ps->t, "%.*s: no such option", (int)n + 2, word);
		return -1;
	}
	if (m.n > 1) {
		ps->status = opt_usage(ps->t, "%.*s: could be --%s or --%s", (int)n + 2, word,
				       m.d->name, m.other);
		return -1;
	}
	snprintf(spelled, sizeof(spelled), "--%s", m.d->name);
	if (attached && !m.d->arg) {
		ps->status = opt_usage(ps->t, "%s: takes no argument", spelled);
		return -1;
	}
	if (take_arg(ps, m.d, spelled, attached, &arg) < 0)
		return -1;
	return dispatch(ps, m.d, m.common, spelled, arg);
}

/* Options to the front of `order`, operands behind, as getopt_long(3) permutes them. */
static int parse_words(struct parse *ps, char **order)
{
	AUTO_FREE char **operands = calloc((size_t)ps->argc + 1, sizeof(*operands));
	int nopts = 0, nops = 0, from;

	if (!operands) {
		log_error("out of memory");
		ps->status = EX_FAILED;
		return -1;
	}
	for (ps->i = 1; ps->i < ps->argc; ps->i++) {
		char *w = ps->argv[ps->i];

		if (w[0] != '-' || !w[1]) {
			if (ps->t->stop_at_operand)
				break;
			operands[nops++] = w;
			continue;
		}
		from = ps->i;
		if (strcmp(w, "--") == 0) {
			order[nopts++] = w;
			ps->i++;
			break;
		}
		if ((w[1] == '-' ? parse_long(ps, w) : parse_short(ps, w)) < 0)
			return -1;
		while (from <= ps->i)
			order[nopts++] = ps->argv[from++];
	}
	while (ps->i < ps->argc)
		operands[nops++] = ps->argv[ps->i++];
	memcpy(order + nopts, operands, (size_t)nops * sizeof(*operands));
	return nopts;
}

int opt_parse(const struct opt_tool *t, int argc, char **argv,
	      int (*handle)(int ch, const char *arg, void *data, struct err *e), void *data,
	      int *status)
{
	struct parse ps = { .t = t, .argv = argv, .argc = argc, .handle = handle, .data = data,
			    .status = EX_FAILED };
	AUTO_FREE char **order = calloc((size_t)argc + 1, sizeof(*order));
	int n;

	if (!order) {
		log_error("out of memory");
		*status = EX_FAILED;
		return -1;
	}
	n = parse_words(&ps, order);
	if (n < 0) {
		*status = ps.status;
		return -1;
	}
	if (argc > 1)
		memcpy(argv + 1, order, (size_t)(argc - 1) * sizeof(*argv));
	return argc > 0 ? n + 1 : 0;
}
