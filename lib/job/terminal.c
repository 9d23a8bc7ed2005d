#include "job/terminal.h"
#include "common/cleanup.h"

#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
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

void terminal_keep(struct terminal *t)
{
	*t = (struct terminal){ .fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC) };
	if (t->fd >= 0 && terminal_ours(t))
		terminal_look(t->fd, &t->was);
}

bool terminal_ours(const struct terminal *t)
{
	return t->fd >= 0 && foreground(t->fd) == getpgrp();
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
	if (t->fd >= 0)
		undisturbed(t->fd, TIOCSPGRP, &pgid);
}

bool terminal_apply(const struct terminal *t, const struct terminal_look *l)
{
	struct terminal_look now;

	if (!l->have || !terminal_ours(t) || !terminal_look(t->fd, &now))
		return false;
	if (memcmp(now.settings, l->settings, sizeof now.settings))
		ioctl(t->fd, TCSETS2, l->settings);
	return now.rows != l->rows || now.cols != l->cols;
}

void terminal_resized(const struct terminal *t)
{
	pid_t pgid = t->fd >= 0 ? foreground(t->fd) : -1;

	if (pgid > 1)
		kill(-pgid, SIGWINCH);
}

void terminal_back(struct terminal *t, bool settings)
{
	pid_t fg = t->fd >= 0 ? foreground(t->fd) : -1;

	if (t->was.have && fg >= 0 && (fg == getpgrp() || fg < 2 || (kill(-fg, 0) && errno == ESRCH))) {
		if (fg != getpgrp())
			terminal_give(t, getpgrp());
		if (settings)
			undisturbed(t->fd, TCSETS2, t->was.settings);
	}
	cleanup_fd(&t->fd);
	t->fd = -1;
}
