/* What is on its way in pseudo terminals, and how they stand: lines and bytes that nobody has read, a line that is not
 * complete, end-of-file marks, ^V, output, both directions stopped, packet mode, locks. Each pair has a name for messages,
 * a state that `make` builds, and `test` compares after the restart. */
#include "victim.h"

#include <poll.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <asm/termbits.h>

#define TIOCGPTPEER_ _IO('T', 0x41)

struct pair { int m, s; };

static struct pair pair_new(void)
{
	struct pair p;
	int off = 0;

	VICTIM_TRY(p.m = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK));
	VICTIM_TRY(ioctl(p.m, TIOCSPTLCK, &off));
	VICTIM_TRY(p.s = ioctl(p.m, TIOCGPTPEER_, O_RDWR | O_NOCTTY | O_NONBLOCK));
	return p;
}

static struct pair *pair_make(struct pair *p)
{
	*p = pair_new();
	return p;
}

static void set(const struct pair *p, tcflag_t on, tcflag_t off, tcflag_t ion)
{
	struct termios2 t;

	VICTIM_TRY(ioctl(p->m, TCGETS2, &t));
	t.c_lflag = (t.c_lflag | on) & ~off;
	t.c_iflag |= ion;
	VICTIM_TRY(ioctl(p->m, TCSETS2, &t));
}

static bool is(int fd, short what)
{
	struct pollfd pf = { .fd = fd, .events = what };

	return poll(&pf, 1, 0) == 1 && (pf.revents & what);
}

static void becomes(int fd, short what, bool want, const char *who)
{
	for (int i = 0; i < 250 && is(fd, what) != want; i++)
		victim_pause();
	if (is(fd, what) != want)
		victim_fail("%s: events %#x are %s there", who, what, want ? "not" : "still");
}

static void type_n(const struct pair *p, const char *s, size_t n)
{
	VICTIM_CHECK(write(p->m, s, n) == (ssize_t)n);
}
#define TYPE(p, s) type_n(p, s, sizeof(s) - 1)

/* The next read gives exactly that; n -1: nothing is there. */
static void gives(int fd, const char *want, ssize_t n, const char *who)
{
	char buf[8192];
	ssize_t k;

	if (n > 0)
		becomes(fd, POLLIN, true, who);
	else
		is(fd, POLLIN); /* what is under way arrives */
	errno = 0;
	k = read(fd, buf, sizeof buf - 1);
	if (k != n || (k > 0 && memcmp(buf, want, (size_t)k))) {
		buf[k > 0 ? k : 0] = 0;
		victim_fail("%s: read %zd \"%s\" (errno %d), not %zd \"%s\"", who, k, buf, errno, n, want ? want : "");
	}
}
#define GIVES(fd, s, who) gives(fd, s, sizeof(s) - 1, who)

static void settings(const struct pair *p, void (*change)(struct termios2 *t))
{
	struct termios2 t;

	VICTIM_TRY(ioctl(p->m, TCGETS2, &t));
	change(&t);
	VICTIM_TRY(ioctl(p->m, TCSETS2, &t));
}

/* ---- canonical: lines, ends of file, a line that goes on, a newline in a line ---- */

static struct pair lines_, rest_, lnext_, late_, eof_, eol_, long_;
static char big[2600], literal[2000];
static size_t nliteral;

static void ends(struct termios2 *t)
{
	t->c_cc[VEOL] = ';';
	t->c_cc[VEOL2] = 1;
}

static void lines_make(void)
{
	size_t n = 0;

	lines_ = pair_new();
	TYPE(&lines_, "one\rtwo\nab\004\004a\026\nb\nc\nhal");
	rest_ = pair_new();
	TYPE(&rest_, "no lime\177\177e");
	lnext_ = pair_new();
	TYPE(&lnext_, "x\026");
	late_ = pair_new();
	TYPE(&late_, "whole\ny\026");
	set(pair_make(&eof_), 0, ECHO, 0);
	TYPE(&eof_, "\004");
	settings(pair_make(&eol_), ends);
	TYPE(&eol_, "a;b\001c\026;d;e");
	set(pair_make(&long_), 0, ECHO, 0);
	for (int c = 1; c < 255; c++) {
		big[n++] = 026; /* each one literally */
		big[n++] = literal[nliteral++] = (char)c;
	}
	while (nliteral < 1900)
		big[n++] = literal[nliteral++] = 'y';
	big[n++] = '\n';
	type_n(&long_, big, n);
	literal[nliteral++] = '\n';
}

static void lines_test(void)
{
	GIVES(lines_.m, "one\r\ntwo\r\naba^\b^Jb\r\nc\r\nhal", "echo");
	GIVES(lines_.s, "one\n", "line");
	GIVES(lines_.s, "two\n", "line");
	GIVES(lines_.s, "ab", "line ended by ^D");
	gives(lines_.s, NULL, 0, "^D alone");
	GIVES(lines_.s, "a\nb\n", "line with ^J in it");
	GIVES(lines_.s, "c\n", "line");
	gives(lines_.s, NULL, -1, "line that is not complete");
	TYPE(&lines_, "f\n");
	GIVES(lines_.s, "half\n", "the same line, complete");
	GIVES(lines_.m, "f\r\n", "echo again");
	TYPE(&rest_, "\177ne\n");
	GIVES(rest_.s, "no line\n", "edited line");
	TYPE(&lnext_, "\003z\n");
	GIVES(lnext_.s, "x\003z\n", "^V, then ^C");
	GIVES(late_.s, "whole\n", "line before ^V");
	TYPE(&late_, "\003z\n");
	GIVES(late_.s, "y\003z\n", "^V behind a line, then ^C");
	gives(eof_.s, NULL, 0, "^D");
	gives(eof_.s, NULL, -1, "after ^D");
	GIVES(eol_.s, "a;", "VEOL");
	GIVES(eol_.s, "b\001", "VEOL2");
	GIVES(eol_.s, "c;d;", "a VEOL that is none");
	TYPE(&eol_, "\n");
	GIVES(eol_.s, "e\n", "the end");
	gives(long_.s, literal, (ssize_t)nliteral, "all characters");
	gives(long_.s, NULL, -1, "after them");
}

/* ---- not canonical ---- */

static struct pair raw_, min_, cbreak_, extproc_;
static char all[1024];

static void four(struct termios2 *t)
{
	t->c_lflag = 0;
	t->c_cc[VMIN] = 4;
}
static void none(struct termios2 *t)
{
	t->c_lflag = t->c_iflag = t->c_oflag = 0;
	t->c_cc[VMIN] = t->c_cc[VTIME] = 0;
}

static void raw_make(void)
{
	for (size_t i = 0; i < sizeof all; i++)
		all[i] = (char)(i * 7);
	settings(pair_make(&raw_), none);
	type_n(&raw_, all, sizeof all);
	VICTIM_CHECK(write(raw_.s, all, sizeof all) == sizeof all);
	settings(pair_make(&min_), four);
	TYPE(&min_, "\r\003x");
	set(pair_make(&cbreak_), 0, ICANON, 0);
	TYPE(&cbreak_, "q\r\026");
	set(pair_make(&extproc_), EXTPROC, 0, 0);
	TYPE(&extproc_, "p\nq\003");
}

static void raw_test(void)
{
	gives(raw_.s, all, sizeof all, "raw input");
	gives(raw_.m, all, sizeof all, "raw output");
	gives(raw_.s, NULL, 0, "VMIN 0");
	VICTIM_CHECK(!is(min_.s, POLLIN));
	TYPE(&min_, "y");
	GIVES(min_.s, "\n\003xy", "VMIN 4");
	GIVES(cbreak_.m, "q\r\n^V", "echo in cbreak mode");
	GIVES(cbreak_.s, "q\n\026", "cbreak mode");
	GIVES(extproc_.s, "p\nq\003", "EXTPROC");
}

/* ---- stopped ---- */

static struct pair char_, call_, both_, echo_, master_;

static void stop_make(void)
{
	char_ = pair_new();
	VICTIM_CHECK(write(char_.s, "out\n", 4) == 4);
	set(&char_, 0, ECHO, 0);
	TYPE(&char_, "line\nre\023");
	becomes(char_.s, POLLOUT, false, "^S");
	call_ = pair_new();
	VICTIM_TRY(ioctl(call_.s, TCXONC, TCOOFF));
	both_ = pair_new();
	TYPE(&both_, "in\023");
	becomes(both_.s, POLLOUT, false, "^S");
	VICTIM_TRY(ioctl(both_.s, TCXONC, TCOOFF));
	echo_ = pair_new();
	TYPE(&echo_, "\023");
	becomes(echo_.s, POLLOUT, false, "^S");
	TYPE(&echo_, "typed\n");
	master_ = pair_new();
	TYPE(&master_, "before\n");
	VICTIM_TRY(ioctl(master_.m, TCXONC, TCOOFF));
}

static void stop_test(void)
{
	VICTIM_CHECK(!is(char_.s, POLLOUT) && write(char_.s, "x", 1) < 0 && errno == EAGAIN);
	GIVES(char_.m, "out\r\n", "output before ^S");
	GIVES(char_.s, "line\n", "line before ^S");
	TYPE(&char_, "st\n");
	GIVES(char_.s, "rest\n", "line around ^S");
	VICTIM_CHECK(!is(char_.s, POLLOUT));
	TYPE(&char_, "\021");
	becomes(char_.s, POLLOUT, true, "^Q");
	VICTIM_CHECK(!is(call_.s, POLLOUT));
	TYPE(&call_, "\021");
	victim_pause();
	VICTIM_CHECK(!is(call_.s, POLLOUT));
	VICTIM_TRY(ioctl(call_.s, TCXONC, TCOON));
	VICTIM_CHECK(is(call_.s, POLLOUT));
	TYPE(&both_, "\021\n");
	GIVES(both_.s, "in\n", "line before two stops");
	VICTIM_CHECK(!is(both_.s, POLLOUT));
	VICTIM_TRY(ioctl(both_.s, TCXONC, TCOON));
	VICTIM_CHECK(is(both_.s, POLLOUT));
	VICTIM_CHECK(!is(echo_.s, POLLOUT));
	TYPE(&echo_, "\021");
	GIVES(echo_.m, "typed\r\n", "echo that was held up");
	GIVES(echo_.s, "typed\n", "what was typed");
	VICTIM_CHECK(write(master_.m, "x", 1) < 0 && errno == EAGAIN && !is(master_.m, POLLOUT));
	GIVES(master_.s, "before\n", "line before the stop");
	VICTIM_TRY(ioctl(master_.m, TCXONC, TCOON));
	TYPE(&master_, "after\n");
	GIVES(master_.s, "after\n", "line after the stop");
}

/* ---- modes, locks, ends ---- */

static struct pair packet_, excl_, fixed_, closed_, dead_, size_;
static int fixed;

static void odd(struct termios2 *t)
{
	t->c_cflag = (t->c_cflag & ~(tcflag_t)CBAUD) | BOTHER;
	t->c_ispeed = t->c_ospeed = 12345;
	t->c_iflag ^= ISTRIP | IUTF8 | IXANY;
	t->c_oflag |= OCRNL;
	for (int i = 0; i < 17; i++)
		if (i != VMIN && i != VTIME)
			t->c_cc[i] = (unsigned char)(i + 100);
}

static void modes_make(void)
{
	struct winsize w = { 7, 1234, 5, 65535 };
	struct termios2 lock = { .c_lflag = ECHO | ICANON };
	int on = 1;

	packet_ = pair_new();
	VICTIM_TRY(ioctl(packet_.m, TIOCPKT, &on));
	VICTIM_CHECK(write(packet_.s, "data", 4) == 4);
	set(&packet_, 0, ECHO, 0);
	TYPE(&packet_, "l1\nl2");
	excl_ = pair_new();
	TYPE(&excl_, "e\n");
	VICTIM_TRY(ioctl(excl_.s, TIOCEXCL));
	VICTIM_TRY(ioctl(excl_.m, TIOCEXCL));
	VICTIM_TRY(ioctl(excl_.m, TIOCSPTLCK, &on));
	fixed_ = pair_new();
	TYPE(&fixed_, "f");
	fixed = !ioctl(fixed_.s, TIOCSLCKTRMIOS, &lock); /* root only */
	closed_ = pair_new();
	VICTIM_CHECK(write(closed_.s, "bye", 3) == 3);
	set(&closed_, 0, ECHO, 0);
	VICTIM_TRY(close(closed_.s));
	TYPE(&closed_, "kept\nopen");
	dead_ = pair_new();
	VICTIM_TRY(close(dead_.m));
	settings(pair_make(&size_), odd);
	VICTIM_TRY(ioctl(size_.s, TIOCSWINSZ, &w));
}

static void settings_test(void)
{
	struct termios2 t, was;
	struct winsize w[2];

	VICTIM_TRY(ioctl(packet_.m, TCGETS2, &was));
	odd(&was);
	was.c_lflag |= ECHO;
	VICTIM_TRY(ioctl(size_.s, TCGETS2, &t));
	if (t.c_iflag != was.c_iflag || t.c_oflag != was.c_oflag || t.c_cflag != was.c_cflag || t.c_lflag != was.c_lflag)
		victim_fail("settings %x %x %x %x, not %x %x %x %x", t.c_iflag, t.c_oflag, t.c_cflag, t.c_lflag, was.c_iflag,
			    was.c_oflag, was.c_cflag, was.c_lflag);
	VICTIM_CHECK(t.c_ispeed == 12345 && t.c_ospeed == 12345 && !memcmp(t.c_cc, was.c_cc, sizeof t.c_cc));
	VICTIM_TRY(ioctl(size_.s, TIOCGWINSZ, &w[0]));
	VICTIM_TRY(ioctl(size_.m, TIOCGWINSZ, &w[1]));
	for (int i = 0; i < 2; i++)
		VICTIM_CHECK(w[i].ws_row == 7 && w[i].ws_col == 1234 && w[i].ws_xpixel == 5 && w[i].ws_ypixel == 65535);
}

static void modes_test(void)
{
	struct termios2 lock = { 0 };
	int v = 0;

	VICTIM_CHECK(!is(packet_.m, POLLPRI));
	GIVES(packet_.m, "\0data", "packet");
	VICTIM_TRY(ioctl(packet_.s, TCFLSH, TCOFLUSH));
	gives(packet_.m, (char[]){ TIOCPKT_FLUSHWRITE }, 1, "status");
	GIVES(packet_.s, "l1\n", "line in packet mode");
	TYPE(&packet_, "\n");
	GIVES(packet_.s, "l2\n", "the next one");
	VICTIM_CHECK(!ioctl(excl_.s, TIOCGEXCL, &v) && v && !ioctl(excl_.m, TIOCGEXCL, &v) && v);
	VICTIM_CHECK(!ioctl(excl_.m, TIOCGPTLCK, &v) && v);
	GIVES(excl_.s, "e\n", "line of an exclusive terminal");
	VICTIM_TRY(ioctl(fixed_.m, TIOCGLCKTRMIOS, &lock));
	VICTIM_CHECK(lock.c_lflag == (fixed ? ECHO | ICANON : 0) && !lock.c_iflag && !lock.c_cflag);
	set(&fixed_, 0, ECHO, 0);
	TYPE(&fixed_, "g\n");
	GIVES(fixed_.s, "fg\n", "line under locked settings");
	gives(fixed_.m, "fg\r\n", fixed ? 4 : 1, "echo");
	VICTIM_CHECK(is(closed_.m, POLLHUP));
	GIVES(closed_.m, "bye", "last output");
	VICTIM_CHECK(read(closed_.m, &v, 1) < 0 && errno == EIO);
	VICTIM_TRY(closed_.s = ioctl(closed_.m, TIOCGPTPEER_, O_RDWR | O_NOCTTY | O_NONBLOCK));
	GIVES(closed_.s, "kept\n", "line for a slave that was closed");
	TYPE(&closed_, "\n");
	GIVES(closed_.s, "open\n", "the next one");
	VICTIM_CHECK(!read(dead_.s, &v, 1) && write(dead_.s, "x", 1) < 0 && errno == EIO && is(dead_.s, POLLHUP));
	settings_test();
}

int main(int argc, char **argv)
{
	victim_init(argc, argv);
	lines_make();
	raw_make();
	stop_make();
	modes_make();
	victim_pause();
	victim_pause(); /* all has arrived, whoever is asked */
	victim_wait();
	lines_test();
	raw_test();
	stop_test();
	modes_test();
	return victim_ok();
}
