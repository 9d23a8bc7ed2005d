/* tty_output: output that is on its way from the slave of a pty to its master. No call looks at it without taking
 * it: so it is read from the master and written to the slave again, unprocessed, while all processes
 * stand. A child of ours does that, so that the death of the checkpointer does not come between. */
#include "res/tty.h"

#include <asm/termbits.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OUTPUT_MAX = 64 << 10 };

struct shared { size_t n; char data[OUTPUT_MAX]; };

static int write_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t k = write(fd, p, n);

		if (k < 0 && (errno == EINTR || errno == EAGAIN)) {
			struct pollfd pf = { .fd = fd, .events = POLLOUT };
			if (poll(&pf, 1, 1000) != 1)
				return -1;
			continue;
		}
		if (k <= 0)
			return -1;
		p += k;
		n -= (size_t)k;
	}
	return 0;
}

int tty_put_output(int slave, const void *p, size_t n)
{
	struct termios2 was, raw;
	int rc;

	if (ioctl(slave, TCGETS2, &was))
		return -1;
	raw = was;
	raw.c_oflag &= ~(tcflag_t)OPOST;
	if (ioctl(slave, TCSETS2, &raw))
		return -1;
	rc = write_all(slave, p, n);
	return ioctl(slave, TCSETS2, &was) ? -1 : rc;
}

/* In the child. What is pending comes in portions; FIONREAD tells the one that is at hand. */
static int turn_over(int master, int slave, struct shared *s)
{
	int now;

	while (!ioctl(master, FIONREAD, &now) && now > 0) {
		ssize_t k;

		if ((size_t)now > OUTPUT_MAX - s->n)
			now = (int)(OUTPUT_MAX - s->n);
		k = now ? read(master, s->data + s->n, (size_t)now) : 0;
		if (k <= 0)
			break;
		s->n += (size_t)k;
	}
	return s->n ? tty_put_output(slave, s->data, s->n) : 0;
}

int tty_peek_output(int master, int slave, struct buf *out, const char **why)
{
	struct pollfd pf = { .fd = slave, .events = POLLOUT };
	struct shared *s;
	sigset_t all, was;
	int packet = 0, status = 0;
	pid_t pid;

	*why = "its pending output cannot be saved in packet mode";
	if (ioctl(master, TIOCGPKT, &packet) || packet)
		return -1;
	*why = "its pending output cannot be saved while output is stopped";
	if (poll(&pf, 1, 0) != 1 || !(pf.revents & POLLOUT))
		return -1;
	*why = "its pending output cannot be saved";
	s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s == MAP_FAILED)
		return -1;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &was);
	pid = fork();
	if (pid == 0)
		_exit(turn_over(master, slave, s) ? 1 : 0);
	sigprocmask(SIG_SETMASK, &was, NULL);
	while (pid > 0 && waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			break;
	if (pid > 0 && WIFEXITED(status) && !WEXITSTATUS(status)) {
		buf_add(out, s->data, s->n);
		*why = NULL;
	}
	munmap(s, sizeof *s);
	return *why ? -1 : 0;
}
