#include "job/terminal.h"
#include "common/cleanup.h"

#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/major.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#ifndef TCGETS2
#define TCGETS2 _IOR('T', 0x2A, struct termios2)
#define TCSETS2 _IOW('T', 0x2B, struct termios2)
#endif

_Static_assert(sizeof(struct termios2) == sizeof(((struct terminal_look *)0)->settings), "struct termios2");

bool terminal_look(int fd, struct terminal_look *l)
{
	struct winsize w = { 0 };

	*l = (struct terminal_look){ 0 };
	if (ioctl(fd, TCGETS2, l->settings))
		return false;
	if (!ioctl(fd, TIOCGWINSZ, &w)) {
		l->rows = w.ws_row;
		l->cols = w.ws_col;
	}
	return l->have = true;
}

unsigned terminal_number(int fd)
{
	unsigned dev = 0;

	return fd >= 0 && !ioctl(fd, TIOCGDEV, &dev) ? dev : 0;
}

static pid_t foreground(int fd)
{
	pid_t pgid = -1;

	return ioctl(fd, TIOCGPGRP, &pgid) ? -1 : pgid;
}

static bool ours(int fd)
{
	return fd >= 0 && foreground(fd) == getpgrp();
}

void terminal_keep(struct terminal *t)
{
	struct sigaction sa;

	*t = (struct terminal){ .fd = -1 };
	if (sigaction(SIGINT, NULL, &sa) || sa.sa_handler == SIG_IGN)
		return;
	t->fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (ours(t->fd) && terminal_look(t->fd, &t->was))
		return;
	cleanup_fd(&t->fd);
	t->fd = -1;
}

void terminal_await(void)
{
	AUTO_FD int fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
	pid_t own = getpgrp();
	struct sigaction sa;
	sigset_t blocked;

	/* The kernel stops us in the call, and makes it again when we go on. */
	if (fd >= 0 && !ours(fd) && !sigaction(SIGTTOU, NULL, &sa) && sa.sa_handler == SIG_DFL &&
	    !sigprocmask(SIG_BLOCK, NULL, &blocked) && !sigismember(&blocked, SIGTTOU))
		ioctl(fd, TIOCSPGRP, &own);
}

/* Calls of somebody in the background would stop him. */
static void undisturbed(int fd, unsigned long req, const void *arg)
{
	sigset_t ttou, old;

	sigemptyset(&ttou);
	sigaddset(&ttou, SIGTTOU);
	sigprocmask(SIG_BLOCK, &ttou, &old);
	ioctl(fd, req, arg);
	sigprocmask(SIG_SETMASK, &old, NULL);
}

void terminal_give(const struct terminal *t, pid_t pgid)
{
	if (ours(t->fd))
		undisturbed(t->fd, TIOCSPGRP, &pgid);
}

bool terminal_apply(const struct terminal *t, const struct terminal_look *l)
{
	unsigned ma = terminal_number(t->fd) >> 8 & 0xfff;
	struct termios2 want, line;
	struct terminal_look now;

	if (!l->have || !ours(t->fd) || !terminal_look(t->fd, &now))
		return false;
	memcpy(&want, l->settings, sizeof want);
	memcpy(&line, now.settings, sizeof line);
	if (ma < UNIX98_PTY_SLAVE_MAJOR || ma >= UNIX98_PTY_SLAVE_MAJOR + UNIX98_PTY_MAJOR_COUNT) {
		want.c_cflag = line.c_cflag;
		want.c_ispeed = line.c_ispeed;
		want.c_ospeed = line.c_ospeed;
	}
	undisturbed(t->fd, TCSETS2, &want);
	return now.rows != l->rows || now.cols != l->cols || !(want.c_lflag & ICANON);
}

void terminal_changed(const struct terminal *t)
{
	pid_t pgid = t->fd >= 0 ? foreground(t->fd) : -1;

	/* 0: a group that was there before the PID namespace in which we are, as our own */
	if (pgid == 0 || pgid > 1)
		kill(-pgid, SIGWINCH);
}

void terminal_back(struct terminal *t, bool settings)
{
	pid_t own = getpgrp(), fg = t->fd >= 0 ? foreground(t->fd) : -1;

	if (fg >= 0 && (fg == own || fg < 2 || (kill(-fg, 0) && errno == ESRCH))) {
		if (fg != own)
			undisturbed(t->fd, TIOCSPGRP, &own);
		if (settings)
			undisturbed(t->fd, TCSETS2, t->was.settings);
	}
	cleanup_fd(&t->fd);
	t->fd = -1;
}
