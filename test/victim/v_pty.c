/* A pty pair: the parent has the master; a child is the leader of a session that it controls, a grandchild is its
 * foreground group. Settings, window size, output that nobody has read yet, input, ^C, hangup. */
#include "victim.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>

static void say(const char *s)
{
	if (write(1, s, strlen(s)) < 0)
		_exit(9);
}

static void on_int(int sig) { say("INT\n"); }

static void on_hup(int sig)
{
	victim_put_("hup", "");
	_exit(0);
}

/* In the foreground: answers each line. */
static void grandchild(void)
{
	char line[256];
	struct sigaction sa = { .sa_handler = on_int, .sa_flags = SA_RESTART };

	sigaction(SIGINT, &sa, NULL);
	say("hello\n");
	for (;;) {
		ssize_t n = read(0, line, sizeof line - 1);
		if (n <= 0)
			_exit(1);
		line[n] = 0;
		say("got:");
		say(line);
	}
}

static void shell(int m, const char *slave)
{
	int fd;
	pid_t pid;

	close(m);
	setsid();
	fd = open(slave, O_RDWR);
	if (fd < 0)
		_exit(8);
	for (int i = 0; i < 3; i++)
		dup2(fd, i);
	if (fd > 2)
		close(fd);
	signal(SIGHUP, on_hup);
	signal(SIGTTOU, SIG_IGN);
	pid = fork();
	if (!pid) {
		setpgid(0, 0);
		tcsetpgrp(0, getpid());
		signal(SIGHUP, SIG_DFL);
		grandchild();
	}
	setpgid(pid, pid);
	for (;;)
		victim_pause();
}

/* Reads from the master until the text has come. */
static void expect(int m, const char *want)
{
	static char have[4096];
	static size_t n;
	char *at;

	for (;;) {
		struct pollfd pf = { .fd = m, .events = POLLIN };
		have[n] = 0;
		at = strstr(have, want);
		if (at)
			break;
		if (poll(&pf, 1, 5000) != 1 || n == sizeof have - 1)
			victim_fail("expected \"%s\", have \"%s\"", want, have);
		ssize_t k = read(m, have + n, sizeof have - 1 - n);
		VICTIM_TRY(k);
		n += (size_t)k;
	}
	at += strlen(want);
	n -= (size_t)(at - have);
	memmove(have, at, n);
}

int main(int argc, char **argv)
{
	int m, pending = 0;
	char name[64], hup[4200];
	struct winsize w = { 33, 99, 1, 2 };
	struct termios t;
	pid_t child, sid = 0, fg;

	victim_init(argc, argv);
	VICTIM_TRY(m = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
	VICTIM_TRY(grantpt(m));
	VICTIM_TRY(unlockpt(m));
	VICTIM_CHECK(!ptsname_r(m, name, sizeof name));
	VICTIM_TRY(tcgetattr(m, &t));
	t.c_lflag &= ~(tcflag_t)ECHO;
	t.c_cc[VINTR] = 'X' & 037;
	VICTIM_TRY(tcsetattr(m, TCSANOW, &t));
	VICTIM_TRY(ioctl(m, TIOCSWINSZ, &w));
	VICTIM_TRY(child = fork());
	if (!child)
		shell(m, name);
	for (int i = 0; i < 250 && pending < 7; i++) {
		victim_pause();
		VICTIM_TRY(ioctl(m, FIONREAD, &pending));
	}
	VICTIM_CHECK(pending == 7); /* "hello\r\n" stays unread */
	VICTIM_TRY(fg = tcgetpgrp(m));
	VICTIM_CHECK(fg != child);
	victim_wait();

	expect(m, "hello\r\n");
	VICTIM_CHECK(!ioctl(m, TIOCGSID, &sid) && sid == child);
	VICTIM_CHECK(tcgetpgrp(m) == fg);
	w = (struct winsize){ 0 };
	VICTIM_TRY(ioctl(m, TIOCGWINSZ, &w));
	VICTIM_CHECK(w.ws_row == 33 && w.ws_col == 99 && w.ws_xpixel == 1 && w.ws_ypixel == 2);
	VICTIM_TRY(tcgetattr(m, &t));
	VICTIM_CHECK(!(t.c_lflag & ECHO) && (t.c_lflag & ICANON) && t.c_cc[VINTR] == ('X' & 037));
	VICTIM_TRY(write(m, "line one\n", 9));
	expect(m, "got:line one\r\n");
	VICTIM_TRY(write(m, "\030", 1)); /* ^X is the interrupt character */
	expect(m, "INT\r\n");
	VICTIM_TRY(write(m, "two\n", 4));
	expect(m, "got:two\r\n");
	close(m);
	VICTIM_CHECK(waitpid(child, NULL, 0) == child);
	snprintf(hup, sizeof hup, "%s.hup", argv[1]);
	VICTIM_CHECK(!access(hup, F_OK)); /* the leader got SIGHUP */
	return victim_ok();
}
