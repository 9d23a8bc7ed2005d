/* opt, table, log, progress: what users type, what they are told, what lists look like. */
#include "common/buf.h"
#include "common/log.h"
#include "common/opt.h"
#include "common/progress.h"
#include "common/table.h"
#include "test/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- what a function prints ---- */

static char out[8192], errs[8192];
static int saved[3], files[3];

static void capture(void)
{
	int fd;

	fflush(NULL);
	for (fd = 1; fd <= 2; fd++) {
		saved[fd] = dup(fd);
		files[fd] = memfd_create("out", 0);
		dup2(files[fd], fd);
	}
}

static void release(void)
{
	char *to[3] = { NULL, out, errs };
	int fd;
	ssize_t n;

	for (fd = 1; fd <= 2; fd++) {
		n = pread(files[fd], to[fd], sizeof(out) - 1, 0);
		to[fd][n > 0 ? n : 0] = '\0';
		dup2(saved[fd], fd);
		close(saved[fd]);
		close(files[fd]);
	}
}

/* ---- options ---- */

static const struct opt_def defs[] = {
	{ 'k', "kill", "[SIGNAL]", "end the job" },
	{ 'K', "keep", "[KEEP]", "prune" },
	{ 'o', "output", "FILE", "write there" },
	{ 'n', "dry-run", NULL, "check only" },
	{ 256, "state-dir", "DIR", "state" },
	{ 257, "state-file", "FILE", "state" },
	{ 'x', NULL, "N", "short only" },
	{ 0, NULL, NULL, NULL },
};
static struct opt_tool tool = { .name = "xtool", .usage = "[-k [SIGNAL]] JOBID...\n-i FILE",
	.summary = "Does this and that.", .defs = defs, .footer = "Exit status: see xtool(1).",
	.usage_status = 2 };

static char seen[512];

static int handle(int ch, const char *arg, void *data, struct err *e)
{
	size_t n = strlen(seen);

	if (ch < 256)
		snprintf(seen + n, sizeof(seen) - n, "%c", ch);
	else
		snprintf(seen + n, sizeof(seen) - n, "#%d", ch);
	n = strlen(seen);
	if (arg)
		snprintf(seen + n, sizeof(seen) - n, "(%s)", arg);
	snprintf(seen + strlen(seen), sizeof(seen) - strlen(seen), " ");
	if (ch == 'x' && strcmp(arg, "bad") == 0) {
		err_set(e, EX_USAGE_, "'bad' is no number");
		err_hint(e, "try 1");
		return -1;
	}
	if (ch == 'x' && strcmp(arg, "gone") == 0)
		return err_set(e, EX_NOSUCH, "no such job");
	CHECK(data == &tool);
	return 0;
}

/* Parses words separated by blanks; `seen` gets options and, behind "|", operands. */
static int opts(const char *line)
{
	static char words[512];
	char *argv[40] = { "argv0" };
	int argc = 1, status = -7, i;
	char *p;

	snprintf(words, sizeof(words), "%s", line);
	for (p = strtok(words, " "); p; p = strtok(NULL, " "))
		argv[argc++] = p;
	seen[0] = '\0';
	capture();
	i = opt_parse(&tool, argc, argv, handle, &tool, &status);
	release();
	if (i < 0)
		return status;
	CHECK(argv[argc] == NULL && strcmp(argv[0], "argv0") == 0);
	strcat(seen, "|");
	for (; i < argc; i++) {
		strcat(seen, " ");
		strcat(seen, argv[i]);
	}
	return -1;
}
#define GOOD(line, want) do { CHECK_INT(opts(line), -1); CHECK_STR(seen, want); CHECK_STR(errs, ""); } while (0)
#define BAD(line, status, msg) do { CHECK_INT(opts(line), status); CHECK_STR(errs, msg); CHECK_STR(out, ""); } while (0)

static void plain_options(void)
{
	GOOD("", "|");
	GOOD("-n 1 2", "n | 1 2");
	GOOD("1 -n 2 -o f 3", "n o(f) | 1 2 3");
	GOOD("-no f", "n o(f) |");
	GOOD("-nof", "n o(f) |");
	GOOD("-o -n", "o(-n) |");
	GOOD("-o --", "o(--) |");
	GOOD("--output f --output=g --output=", "o(f) o(g) o() |");
	GOOD("--dry-run --state-dir=/x --state-file y", "n #256(/x) #257(y) |");
	GOOD("--out f --dry", "o(f) n |");
	GOOD("-n -- -o f --", "n | -o f --");
	GOOD("a -- b -n", "| a b -n");
	GOOD("- -n", "n | -");
	GOOD("-x 5", "x(5) |");
}

static void optional_arguments(void)
{
	GOOD("-k 12", "k | 12");
	GOOD("-k TERM 12", "k(TERM) | 12");
	GOOD("5 -k SIGKILL 12", "k(SIGKILL) | 5 12");
	GOOD("-k RTMIN+3", "k(RTMIN+3) |");
	GOOD("-k io", "k | io");           /* a job's name */
	GOOD("-k Term", "k | Term");
	GOOD("-k9 12", "k(9) | 12");
	GOOD("-kTERM", "k(TERM) |");
	GOOD("--kill", "k |");
	GOOD("--kill=9 TERM", "k(9) | TERM");
	GOOD("--kill HUP 3", "k(HUP) | 3");
	GOOD("-k -- TERM", "k | TERM");
	GOOD("-nk USR1 1", "n k(USR1) | 1");
	GOOD("-K TERM", "K | TERM");       /* not a [SIGNAL] */
	GOOD("-K3 --keep=4", "K(3) K(4) |");
}

static void stops_at_operand(void)
{
	tool.stop_at_operand = true;
	GOOD("-n prog -n --foo", "n | prog -n --foo");
	GOOD("-n -- -prog -n", "n | -prog -n");
	GOOD("- -n", "| - -n");
	tool.stop_at_operand = false;
}

static void mistakes(void)
{
	BAD("-z", 2, "xtool: -z: no such option\nTry 'xtool --help'\n");
	BAD("-nz", 2, "xtool: -z: no such option\nTry 'xtool --help'\n");
	BAD("--zoo=1", 2, "xtool: --zoo: no such option\nTry 'xtool --help'\n");
	BAD("--=1", 2, "xtool: --: could be --kill or --version\nTry 'xtool --help'\n");
	BAD("--state x", 2, "xtool: --state: could be --state-dir or --state-file\nTry 'xtool --help'\n");
	BAD("-o", 2, "xtool: -o: needs an argument: FILE\nTry 'xtool --help'\n");
	BAD("--output", 2, "xtool: --output: needs an argument: FILE\nTry 'xtool --help'\n");
	BAD("--dry-run=1", 2, "xtool: --dry-run: takes no argument\nTry 'xtool --help'\n");
	BAD("--quiet=1", 2, "xtool: --quiet: takes no argument\nTry 'xtool --help'\n");
	BAD("-x bad", 2, "xtool: -x: 'bad' is no number\nxtool: hint: try 1\nTry 'xtool --help'\n");
	BAD("-x gone", EX_NOSUCH, "xtool: -x: no such job\n");
	tool.usage_status = 125;
	BAD("-z", 125, "xtool: -z: no such option\nTry 'xtool --help'\n");
	tool.usage_status = 2;
}

static void common_options(void)
{
	GOOD("-q", "|");
	CHECK_INT(log_level(), LOG_QUIET);
	GOOD("--verb 1", "| 1");
	CHECK_INT(log_level(), LOG_VERBOSE);
	log_set_level(LOG_NORMAL);
	CHECK_INT(opts("-V --zoo"), 0);
	CHECK_STR(out, "xtool (xos) " XOS_VERSION "\n");
	CHECK_INT(opts("-n --help"), 0);
	CHECK_STR(errs, "");
	CHECK_STR(out, "Usage: xtool [-k [SIGNAL]] JOBID...\n       xtool -i FILE\nDoes this and that.\n\n"
		  "Options:\n"
		  "  -k, --kill[=SIGNAL]    end the job\n"
		  "  -K, --keep[=KEEP]      prune\n"
		  "  -o, --output=FILE      write there\n"
		  "  -n, --dry-run          check only\n"
		  "      --state-dir=DIR    state\n"
		  "      --state-file=FILE  state\n"
		  "  -x N                   short only\n"
		  "  -q, --quiet            say nothing but errors\n"
		  "  -v, --verbose          say what is done and how\n"
		  "  -h, --help             show this text and exit\n"
		  "  -V, --version          show the version and exit\n"
		  "\nExit status: see xtool(1).\n");
	CHECK_INT(opts("--help-options"), 0);
	CHECK_STR(out, "-k --kill[=SIGNAL]\n-K --keep[=KEEP]\n-o --output=FILE\n-n --dry-run\n"
		  "--state-dir=DIR\n--state-file=FILE\n-x N\n-q --quiet\n-v --verbose\n-h --help\n"
		  "-V --version\n");
}

/* A tool's own -v wins; --verbose stays. */
static void shadowed_options(void)
{
	static const struct opt_def own[] = { { 'v', "veto", NULL, "own" }, { 'Q', "quiet", NULL, "own" },
		{ 0, NULL, NULL, NULL } };
	const struct opt_def *was = tool.defs;

	tool.defs = own;
	GOOD("-v --quiet --verbose --qui", "v Q Q |");
	CHECK_INT(log_level(), LOG_VERBOSE);
	log_set_level(LOG_NORMAL);
	CHECK_INT(opts("--help-options"), 0);
	CHECK_STR(out, "-v --veto\n-Q --quiet\n--verbose\n-h --help\n-V --version\n");
	tool.defs = was;
}

/* ---- lists ---- */

static const struct table_col cols[] = {
	{ "JOB", false, false, "job" }, { "STATE", false, false, "state" },
	{ "CPU%", true, true, "cpu" }, { "Text", false, false, "text" },
};
static const char *const row1[] = { "1", "running", "3.5", "say \"hi\"\\" };
static const char *const row2[] = { "build-long", NULL, "1.5G", "" };
static const char *const row3[] = { "\xc3\xa9t\xc3\xa9", "a\nb\033[2J", "-7", "\xff\xc3(\xed\xa0\x80\xc2\x9b\x7f" };

static const char *list(const char *select, enum table_mode mode, bool noheadings, int rows)
{
	const char *const *all[] = { row1, row2, row3 };
	struct err e = ERR_INIT;
	struct table *t;
	int i;

	if (table_new(&t, "jobs", cols, 4, "JOB,STATE,CPU%", select, mode, noheadings, &e) < 0) {
		CHECK(t == NULL && e.code == EX_USAGE_);
		snprintf(out, sizeof(out), "%s / %s", e.msg, e.hint);
		return out;
	}
	for (i = 0; i < rows; i++)
		CHECK_INT(table_row(t, all[i]), 0);
	capture();
	i = table_print(t, 1, &e);
	release();
	CHECK_INT(i, 0);
	table_free(t);
	return out;
}

static void aligned_columns(void)
{
	CHECK_STR(list(NULL, TABLE_COLUMNS, false, 3),
		  "JOB         STATE    CPU%\n"
		  "1           running   3.5\n"
		  "build-long  -        1.5G\n"
		  "\xc3\xa9t\xc3\xa9         a?b?[2J    -7\n");
	CHECK_STR(list("cpu%,JOB", TABLE_COLUMNS, true, 2), " 3.5  1\n1.5G  build-long\n");
	CHECK_STR(list("text", TABLE_COLUMNS, true, 3), "say \"hi\"\\\n-\n\?\?(?????\n");
	CHECK_STR(list(NULL, TABLE_COLUMNS, false, 0), "JOB  STATE  CPU%\n");
	CHECK_STR(list(NULL, TABLE_COLUMNS, true, 0), "");
}

static void selections(void)
{
	CHECK_STR(list("+TEXT,job", TABLE_COLUMNS, false, 0), "JOB  STATE  CPU%  Text\n");
	CHECK_STR(list("job,JOB,Job", TABLE_COLUMNS, false, 0), "JOB\n");
	CHECK_STR(list("JO", TABLE_COLUMNS, false, 0), "no column 'JO' / columns: JOB,STATE,CPU%,Text");
	CHECK_STR(list("JOB,,STATE", TABLE_COLUMNS, false, 0), "no column '' / columns: JOB,STATE,CPU%,Text");
	CHECK_STR(list("", TABLE_COLUMNS, false, 0), "no column '' / columns: JOB,STATE,CPU%,Text");
	CHECK_STR(list("+", TABLE_COLUMNS, false, 0), "no column '' / columns: JOB,STATE,CPU%,Text");
}

static void pairs(void)
{
	CHECK_STR(list("+text", TABLE_PAIRS, false, 2),
		  "JOB=\"1\" STATE=\"running\" CPU_=\"3.5\" TEXT=\"say \\\"hi\\\"\\\\\"\n"
		  "JOB=\"build-long\" STATE=\"\" CPU_=\"1.5G\" TEXT=\"\"\n");
	CHECK_STR(list(NULL, TABLE_PAIRS, false, 0), "");
}

static void json(void)
{
	CHECK_STR(list("+text", TABLE_JSON, false, 3),
		  "{\n  \"jobs\": [\n"
		  "    {\"job\": \"1\", \"state\": \"running\", \"cpu%\": 3.5, \"text\": \"say \\\"hi\\\"\\\\\"},\n"
		  "    {\"job\": \"build-long\", \"state\": null, \"cpu%\": \"1.5G\", \"text\": \"\"},\n"
		  "    {\"job\": \"\xc3\xa9t\xc3\xa9\", \"state\": \"a\\u000ab\\u001b[2J\", \"cpu%\": -7, "
		  "\"text\": \"\xef\xbf\xbd\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xc2\x9b\\u007f\"}\n"
		  "  ]\n}\n");
	CHECK_STR(list(NULL, TABLE_JSON, false, 0), "{\n  \"jobs\": []\n}\n");
}

static void full_output(void)
{
	struct err e = ERR_INIT;
	struct table *t;
	int fds[2];

	CHECK_INT(table_new(&t, "jobs", cols, 4, NULL, NULL, TABLE_PAIRS, false, &e), 0);
	CHECK_INT(table_row(t, row1), 0);
	CHECK_INT(pipe(fds), 0);
	close(fds[0]);
	signal(SIGPIPE, SIG_IGN);
	CHECK_INT(table_print(t, fds[1], &e), -1);
	CHECK_INT(e.sys, EPIPE);
	signal(SIGPIPE, SIG_DFL);
	close(fds[1]);
	table_free(t);
}

/* ---- messages and fault points ---- */

static void messages(void)
{
	struct err e = ERR_INIT;

	err_set(&e, EX_BUSY, "job 1: locked");
	err_hint(&e, "wait");
	capture();
	log_error("%d", 1);
	log_info("%d", 2);
	log_verbose("no");
	log_debug("mem", "no");
	log_set_level(LOG_QUIET);
	log_info("no");
	CHECK_INT(log_err(&e), EX_BUSY);
	log_set_level(LOG_VERBOSE);
	log_verbose("%d", 3);
	log_set_level(LOG_NORMAL);
	release();
	CHECK_STR(errs, "xtool: 1\nxtool: 2\nxtool: job 1: locked\nxtool: hint: wait\nxtool: 3\n");
	setenv("XOS_DEBUG", "pipe,mem", 1);
	log_init("xtool");
	capture();
	log_debug("mem", "page %d", 7);
	log_debug("me", "no");
	log_debug("memory", "no");
	release();
	CHECK(strstr(errs, "mem: page 7\n") && !strstr(errs, "no"));
	unsetenv("XOS_DEBUG");
	log_init("xtool");
}

static void fault_points(void)
{
	pid_t pid;
	int st = 0;

	CHECK(!fault("a"));
	setenv("XOS_FAULT", "a,bb:3,die:kill", 1);
	log_init("xtool");
	CHECK(fault("a") && fault("a") && !fault("b") && !fault("aa") && !fault(""));
	CHECK(!fault("bb") && !fault("bb") && fault("bb") && fault("bb"));
	pid = fork();
	if (pid == 0) {
		fault("die");
		_exit(0);
	}
	waitpid(pid, &st, 0);
	CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
	setenv("XOS_FAULT", "a:soon", 1);
	capture();
	log_init("xtool");
	release();
	CHECK(strstr(errs, "XOS_FAULT") != NULL);
	unsetenv("XOS_FAULT");
	log_init("xtool");
	CHECK(!fault("a"));
}

/* 512 MiB of 1 GiB, begun `age_ms` ago: what stderr got, without the blanks at the end of lines. */
static const char *progress_line(int fd, int read_from, int64_t age_ms, bool end)
{
	static char line[512];
	int was = dup(2);
	struct progress p;
	size_t n;
	ssize_t got;

	fflush(NULL);
	dup2(fd, 2);
	progress_start(&p, "save", 1 << 30);
	p.start_ns -= age_ms * 1000000;
	progress_add(&p, 512 << 20);
	if (end)
		progress_end(&p);
	dup2(was, 2);
	close(was);
	got = read(read_from, line, sizeof(line) - 1);
	for (n = got > 0 ? (size_t)got : 0; n && (line[n - 1] == ' ' || line[n - 1] == '\r'); n--)
		;
	line[n] = '\0';
	return line;
}

static void progress_lines(void)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC), slave = -1, fds[2];

	if (master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0)
		slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0) {
		printf("# progress_lines: no pseudoterminal here: %s\n", strerror(errno));
		return;
	}
	CHECK_STR(progress_line(slave, master, 2000, false),
		  "\rsave: 512M of 1.0G (50%), 256M/s, 2s left");
	CHECK_STR(progress_line(slave, master, 100, false), ""); /* too early */
	CHECK_STR(progress_line(slave, master, 100, true), "");
	CHECK(strstr(progress_line(slave, master, 2000, true), "save") != NULL);
	log_set_level(LOG_QUIET);
	CHECK_STR(progress_line(slave, master, 2000, true), "");
	log_set_level(LOG_NORMAL);
	CHECK_INT(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
	CHECK_STR(progress_line(fds[1], fds[0], 2000, true), ""); /* no terminal */
	close(fds[0]);
	close(fds[1]);
	close(slave);
	close(master);
}

int main(void)
{
	unsetenv("XOS_DEBUG");
	unsetenv("XOS_FAULT");
	log_init("xtool");
	RUN(plain_options);
	RUN(optional_arguments);
	RUN(stops_at_operand);
	RUN(mistakes);
	RUN(common_options);
	RUN(shadowed_options);
	RUN(aligned_columns);
	RUN(selections);
	RUN(pairs);
	RUN(json);
	RUN(full_output);
	RUN(messages);
	RUN(fault_points);
	RUN(progress_lines);
	return unit_status();
}
