/* terminal: the controlling terminal of a supervisor: whose it is, how it was set, and how a job wants it. */
#ifndef XOS_JOB_TERMINAL_H
#define XOS_JOB_TERMINAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* As a job had its terminal, see ioctl_tty(2). */
struct terminal_look {
	bool have;
	unsigned char settings[44];    /* struct termios2 */
	unsigned short rows, cols;
};
/* How the terminal is. False: fd is none. */
bool terminal_look(int fd, struct terminal_look *l);
/* Its number as in the field tty_nr of proc_pid_stat(5), whatever name it was opened by; 0: fd is no terminal. */
unsigned terminal_number(int fd);

/* Our controlling terminal, while we are in its foreground. In the background, and in a command that a shell without job control
 * started with `&` (it ignores SIGINT, XCU 2.11), the terminal is somebody else's to set, and there is none. */
struct terminal {
	int fd;                        /* -1: there is none */
	struct terminal_look was;
};
void terminal_keep(struct terminal *t);
/* Before terminal_keep(), for who must have the foreground: in the background the caller stops until a shell's `fg`, as every
 * program that sets its terminal there. Where nobody could do that, or SIGTTOU is blocked or ignored, it goes on. */
void terminal_await(void);
/* Gives the foreground to that group of our session, if we have it still. */
void terminal_give(const struct terminal *t, pid_t pgid);
/* The settings of l, if we have the foreground still. Only a pseudo terminal takes speed, parity and the like (c_cflag), which are
 * those of a real line's other end. Returns whether the job should hear of it: the size is another one, or it reads keys as they come
 * and so has most likely painted a screen or a prompt, which this terminal does not show. */
bool terminal_apply(const struct terminal *t, const struct terminal_look *l);
/* As the kernel does when a terminal gets another size: SIGWINCH to the group in the foreground. Ignored by default. */
void terminal_changed(const struct terminal *t);
/* Takes back the foreground from a group that has ended, and with `settings` has the terminal as it was. A terminal that is
 * somebody else's by now is left alone. Closes it. */
void terminal_back(struct terminal *t, bool settings);

#endif
