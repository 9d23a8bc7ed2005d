/* tty: pseudo terminals of a job, see pty(7): what descriptors (fd_tty.c), queues (tty_queue.c, tty_guard.c) and sessions
 * (ctty.c) share. */
#ifndef XOS_TTY_H
#define XOS_TTY_H

#include "res/res.h"
#include <asm/termbits.h>

/* Not in every libc. */
#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif
#ifndef TCGETS2
#define TCGETS2 _IOR('T', 0x2A, struct termios2)
#define TCSETS2 _IOW('T', 0x2B, struct termios2)
#endif

/* Checkpoint. Number of the pty whose master f is, -1 when f is no master. */
int tty_master_index(const struct dfile *f);
/* Numbers are those of a devpts, of which there may be several. */
/* The master of the pty whose slave f is, when a member of the job has it; NULL. */
struct dfile *tty_find_master(struct dump *d, const struct dfile *f);
/* The master of the controlling terminal of session sid (our number), which is number `index`; NULL. */
struct dfile *tty_session_master(struct dump *d, int index, pid_t sid);
/* The master of terminal `number` (as its name is written) in the devpts whose device is dev (major << 32 | minor); NULL. */
struct dfile *tty_on_devpts(struct dump *d, const char *number, uint64_t dev);
/* A slave of that master which lives and that we can look at (lfd); NULL. */
struct dfile *tty_find_slave(struct dump *d, const struct dfile *master);
/* Index of the pts behind a device number (as in stat, or as in tty_nr of /proc/PID/stat); -1: no pts. */
int tty_dev_index(unsigned major, unsigned minor);
/* Number of the pty whose slave f is, -1. */
int tty_slave_index(const struct dfile *f);
/* f is a terminal whose other end is gone, or that was hung up (vhangup(2)): for ever dead. */
bool tty_hung_up(const struct dfile *f);
/* Restart: opens file id, a pty_master in no mount namespace of its own, before the others are. */
int tty_open_early(struct restore *r, uint64_t id, struct err *e);
/* Number of that terminal in its devpts; -1. */
int tty_number(struct restore *r, uint64_t id);
/* A descriptor of the slave (TIOCGPTPEER), O_CLOEXEC, never a controlling terminal. -1 with errno. */
int tty_peer(int master, int flags);

/* ---- what is on its way in a pair: tty_queue.c ---- */

enum {
	TTY_MAX_INPUT = 4000,          /* bytes that can be put back: the kernel's queue takes 4095 */
	TTY_MAX_LINE_FLAGS = 32 << 10,
	TTY_ROOM = 64 << 10,           /* more than the kernel takes in one direction, its buffers before the queue counted in */
};
enum tty_stop { TTY_RUNS, TTY_STOPPED_BY_CHAR, TTY_STOPPED_BY_CALL }; /* ^S; tcflow(3) */
struct tty_line { uint16_t len; bool eof; };   /* eof: ends by an end-of-file character, which is not among its bytes */
struct tty_queue {
	bool line;                     /* the terminal is in canonical mode, without EXTPROC */
	bool lnext;                    /* the next byte is to be taken literally (^V was the last one) */
	bool master_stopped;           /* tcflow(3) on the master: nothing goes to the slave */
	enum tty_stop stop;            /* of what is written to the slave */
	size_t nlines;                 /* complete lines at the beginning of `in` */
	size_t in_len, out_len;
	struct tty_line lines[TTY_MAX_LINE_FLAGS];
	char in[TTY_ROOM];             /* for the slave's reader; after the lines the one that is not complete */
	char out[TTY_ROOM];            /* for the master's reader */
};
/* A pair under work. */
struct tty_pair {
	int m, s;                      /* s is O_NONBLOCK, and a description of our own */
	struct termios2 job;           /* the settings that it has */
};
/* Takes everything out of both queues and has the terminal run; its settings may be others than before afterwards. q is
 * zeroed memory. The processes of the job stand. -1 with errno; what was taken until then is in q. */
int tty_take(const struct tty_pair *p, struct tty_queue *q);
/* Puts all of that into the empty queues, stops what was stopped, gives it p->job. Packet mode is off. -1 with errno. */
int tty_put(const struct tty_pair *p, const struct tty_queue *q);
/* Is there anything but empty queues in q? */
bool tty_queue_any(const struct tty_queue *q);
/* More than can be put back exactly. */
bool tty_queue_much(const struct tty_queue *q);
/* As fields of the record of the master (INPUT, LINES, OUTPUT, ...), and back: ranges are checked. */
void tty_queue_encode(struct buf *b, const struct tty_queue *q);
int tty_queue_decode(const struct rec *rec, struct tty_queue *q, struct err *e);

/* ---- the process that looks into the queues: tty_guard.c ---- */

/* What is on its way in the terminal of master f, which is in the job; all terminals are looked at when the first is asked for.
 * Never NULL without e. It lives as long as d. */
const struct tty_queue *tty_queue_of(struct dump *d, const struct dfile *f, struct err *e);
void tty_world_free(struct dump *d);

#endif
