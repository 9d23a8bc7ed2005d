/* tty_queue: what is on its way in a pseudo terminal: lines and bytes for the slave's reader, output for the master's.
 *
 * No call looks at it without taking it. So it is taken and put back, see tty_guard.c for who does that.
 *
 * Taken: complete lines by reading them under the settings of the job, which also has the kernel process what still waits
 * before its queue (n_tty reads no more than 4095 bytes ahead). What is left in canonical mode is a line that is not
 * complete: raw mode shows it, and forgets that ^V was typed before (lnext); so a start character is sent
 * beforehand, which only a pending ^V leaves in the queue. It also ends a stop by ^S, while one by tcflow(3) stays.
 *
 * Put back: under settings that echo nothing and send no signal, with special characters that do not occur in it; what cannot
 * be avoided is quoted (LNEXT). The kernel takes input from the master a little later: a stop character after it,
 * whose effect poll(2) shows at the slave, tells that all before it has arrived. */
#include "res/tty.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_MS = 2000, SETTLE_US = 20000 };
struct keys { unsigned char start, stop, lnext, eof; };

/* For taking: never in text of UTF-8. */
static const struct keys rare_keys = { 0xC0, 0xC1, 0xF9, 0xFA };

static bool ready(int fd, short what)
{
	struct pollfd pf = { .fd = fd, .events = what };

	return poll(&pf, 1, 0) == 1 && (pf.revents & what);
}

static void pause_us(long us)
{
	nanosleep(&(struct timespec){ .tv_nsec = us * 1000 }, NULL);
}

static bool becomes_writable(int fd, bool want)
{
	for (int us = 0; us < WAIT_MS * 1000; us += 50) {
		if (ready(fd, POLLOUT) == want)
			return true;
		pause_us(50);
	}
	errno = ETIMEDOUT;
	return false;
}

static int write_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t k = write(fd, p, n);

		if (k < 0 && errno == EAGAIN) {
			struct pollfd pf = { .fd = fd, .events = POLLOUT };
			if (poll(&pf, 1, WAIT_MS) != 1)
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

static bool line_mode(const struct termios2 *t)
{
	return (t->c_lflag & ICANON) && !(t->c_lflag & EXTPROC);
}

/* Settings that do nothing to what passes but what the keys say. */
static struct termios2 quiet(const struct tty_pair *p, const struct keys *k, bool line, bool flow)
{
	struct termios2 t = p->job;

	t.c_iflag = flow ? IXON : 0;
	t.c_oflag &= ~(tcflag_t)OPOST;
	t.c_lflag = line ? ICANON | IEXTEN : 0;
	memset(t.c_cc, 0, sizeof t.c_cc);
	t.c_cc[VMIN] = 1;
	t.c_cc[VSTART] = k->start;
	t.c_cc[VSTOP] = k->stop;
	if (line) {
		t.c_cc[VLNEXT] = k->lnext;
		t.c_cc[VEOF] = k->eof;
		t.c_cc[VEOL] = p->job.c_cc[VEOL];
		t.c_cc[VEOL2] = p->job.c_cc[VEOL2];
	}
	return t;
}

/* ---- taking ---- */

static int take_output(const struct tty_pair *p, struct tty_queue *q)
{
	while (ready(p->m, POLLIN)) {
		ssize_t k;

		errno = EOVERFLOW;
		if (q->out_len == sizeof q->out)
			return -1;
		k = read(p->m, q->out + q->out_len, sizeof q->out - q->out_len);
		if (k <= 0)
			return -1;
		q->out_len += (size_t)k;
	}
	return 0;
}

/* 1: something came, 0: there is no more. */
static int take_once(const struct tty_pair *p, struct tty_queue *q, size_t *len)
{
	ssize_t k;

	errno = EOVERFLOW;
	if (q->in_len == sizeof q->in)
		return -1;
	k = read(p->s, q->in + q->in_len, sizeof q->in - q->in_len);
	if (k < 0)
		return errno == EAGAIN ? 0 : -1;
	q->in_len += (size_t)k;
	*len = (size_t)k;
	return 1;
}

static bool ends_line(const struct tty_pair *p, unsigned char c)
{
	return c == '\n' || (c && (c == p->job.c_cc[VEOL] || (c == p->job.c_cc[VEOL2] && (p->job.c_lflag & IEXTEN))));
}

static int take_lines(const struct tty_pair *p, struct tty_queue *q)
{
	size_t len;
	int rc;

	while ((rc = take_once(p, q, &len)) > 0) {
		struct tty_line *l = &q->lines[q->nlines];

		errno = EOVERFLOW;
		if (len > UINT16_MAX || ++q->nlines == TTY_MAX_LINE_FLAGS)
			return -1;
		l->len = (uint16_t)len;
		l->eof = !len || !ends_line(p, (unsigned char)q->in[q->in_len - 1]);
	}
	return rc;
}

/* With VMIN and VTIME 0 a read gives 0 when nothing is there. */
static int take_bytes(const struct tty_pair *p, struct tty_queue *q)
{
	size_t len;
	int rc;

	while ((rc = take_once(p, q, &len)) > 0 && len)
		;
	return rc < 0 ? -1 : 0;
}

/* Has what was written to the master arrived? Reading from a queue without complete input makes the kernel hand it over. */
static int arrive(const struct tty_pair *p)
{
	char c;
	ssize_t k = read(p->s, &c, 1);

	if (k < 0 && errno == EAGAIN)
		return 0;
	errno = EIO;
	return -1;
}

static int send_key(const struct tty_pair *p, unsigned char c)
{
	return write(p->m, &c, 1) == 1 ? arrive(p) : -1;
}

/* Output is stopped, and its queue is empty. Has it run. */
static int start_output(const struct tty_pair *p, struct tty_queue *q)
{
	for (int i = 0; i < 2 && !ready(p->s, POLLOUT); i++)
		if (send_key(p, rare_keys.start)) /* the first one may be taken literally */
			return -1;
	q->stop = TTY_STOPPED_BY_CHAR;
	if (ready(p->s, POLLOUT))
		return 0;
	q->stop = TTY_STOPPED_BY_CALL;
	errno = EIO;
	return ioctl(p->s, TCXONC, TCOON) || !ready(p->s, POLLOUT) ? -1 : 0;
}

/* The line that is not complete, and whether ^V came last. */
static int take_rest(const struct tty_pair *p, struct tty_queue *q)
{
	struct termios2 raw = quiet(p, &rare_keys, false, true);
	size_t before = q->in_len;

	if (ioctl(p->s, TCSETS2, &raw) || take_bytes(p, q))
		return -1;
	if (q->in_len > before && (unsigned char)q->in[q->in_len - 1] == rare_keys.start) {
		q->in_len--;
		q->lnext = true;
	}
	return 0;
}

int tty_take(const struct tty_pair *p, struct tty_queue *q)
{
	struct termios2 t;
	bool stopped;

	q->line = line_mode(&p->job);
	t = quiet(p, &rare_keys, q->line, true);
	t.c_oflag = p->job.c_oflag; /* echo that was held up is output as the job has it */
	if ((q->line ? take_lines(p, q) : take_bytes(p, q)) || take_output(p, q))
		return -1;
	q->master_stopped = !ready(p->m, POLLOUT);
	stopped = !ready(p->s, POLLOUT);
	if (!q->line && !stopped && !q->master_stopped)
		return 0;
	if (q->master_stopped && ioctl(p->m, TCXONC, TCOON))
		return -1;
	if (ioctl(p->s, TCSETS2, &t))
		return -1;
	if (stopped) {
		/* A write of nothing has the kernel output what it held up. */
		if (start_output(p, q) || write(p->s, "", 0) < 0 || take_output(p, q))
			return -1;
	} else if (q->line && send_key(p, rare_keys.start)) {
		return -1;
	}
	return q->line ? take_rest(p, q) : 0;
}

/* ---- putting back ---- */

/* Special characters that do not occur in the input, where there are such. */
static struct keys choose_keys(const struct tty_pair *p, const struct tty_queue *q)
{
	unsigned char found[4];
	bool used[256] = { [0] = true, ['\n'] = true, ['\r'] = true, [0xFF] = true };
	size_t n = 0;

	used[p->job.c_cc[VEOL]] = used[p->job.c_cc[VEOL2]] = true;
	for (int c = 1; c < 255 && n < 4; c++)
		if (!used[c] && !memchr(q->in, c, q->in_len))
			found[n++] = (unsigned char)c;
	for (int c = 1; n < 4; c++)
		if (!used[c] && !memchr(found, c, n))
			found[n++] = (unsigned char)c;
	return (struct keys){ found[0], found[1], found[2], found[3] };
}

static void literally(struct buf *b, const struct tty_pair *p, const struct keys *k, unsigned char c)
{
	if (c == k->start || c == k->stop || c == k->lnext || c == k->eof || c == '\n' ||
	    (c && (c == p->job.c_cc[VEOL] || c == p->job.c_cc[VEOL2])))
		buf_add(b, &k->lnext, 1);
	buf_add(b, &c, 1);
}

/* The input as it must be typed. */
static void input_typed(struct buf *b, const struct tty_pair *p, const struct tty_queue *q, const struct keys *k)
{
	const unsigned char *at = (const unsigned char *)q->in, *end = at + q->in_len;

	for (size_t i = 0; i < q->nlines; i++) {
		size_t plain = q->lines[i].eof ? q->lines[i].len : q->lines[i].len - 1u;

		for (size_t n = 0; n < plain; n++)
			literally(b, p, k, *at++);
		buf_add(b, q->lines[i].eof ? &k->eof : at++, 1);
	}
	while (at < end)
		literally(b, p, k, *at++);
}

static int put_lines(const struct tty_pair *p, const struct tty_queue *q, const struct keys *k)
{
	struct termios2 t = quiet(p, k, true, true);
	struct buf b = BUF_INIT;
	int rc;

	input_typed(&b, p, q, k);
	errno = ENOMEM;
	rc = buf_failed(&b) || ioctl(p->s, TCSETS2, &t) || write_all(p->m, b.p, b.len) ? -1 : 0;
	if (!rc && b.len)
		rc = write_all(p->m, (const char *)&k->stop, 1) || !becomes_writable(p->s, false) ||
		     write_all(p->m, (const char *)&k->start, 1) || !becomes_writable(p->s, true) ? -1 : 0;
	buf_free(&b);
	return rc;
}

static int put_bytes(const struct tty_pair *p, const struct tty_queue *q, const struct keys *k)
{
	struct termios2 t = quiet(p, k, false, false);
	int have = 0;

	if (ioctl(p->s, TCSETS2, &t) || write_all(p->m, q->in, q->in_len))
		return -1;
	for (int us = 0; us < WAIT_MS * 1000; us += 50) {
		if (!ioctl(p->s, FIONREAD, &have) && ((size_t)have == q->in_len || have > TTY_MAX_INPUT))
			return 0;
		pause_us(50);
	}
	errno = ETIMEDOUT;
	return -1;
}

static int put_stop(const struct tty_pair *p, const struct tty_queue *q, const struct keys *k)
{
	struct termios2 t = quiet(p, k, q->line, true);

	if (q->stop == TTY_STOPPED_BY_CALL)
		return ioctl(p->s, TCXONC, TCOOFF);
	if (q->stop == TTY_RUNS)
		return 0;
	bool full = !ready(p->s, POLLOUT);
	if (ioctl(p->s, TCSETS2, &t) || write_all(p->m, (const char *)&k->stop, 1))
		return -1;
	if (full)
		pause_us(SETTLE_US);
	return becomes_writable(p->s, false) ? 0 : -1;
}

/* Nothing shows that it has arrived when there are complete lines before it. */
static int put_lnext(const struct tty_pair *p, const struct tty_queue *q, const struct keys *k)
{
	if (!q->lnext)
		return 0;
	if (write_all(p->m, (const char *)&k->lnext, 1))
		return -1;
	if (!q->nlines)
		return arrive(p);
	pause_us(SETTLE_US);
	return 0;
}

int tty_put(const struct tty_pair *p, const struct tty_queue *q)
{
	struct keys k = choose_keys(p, q);

	if (q->line ? put_lines(p, q, &k) : q->in_len || q->out_len || q->stop ? put_bytes(p, q, &k) : 0)
		return -1;
	if (write_all(p->s, q->out, q->out_len) || put_stop(p, q, &k) || put_lnext(p, q, &k) || ioctl(p->s, TCSETS2, &p->job))
		return -1;
	return q->master_stopped ? ioctl(p->m, TCXONC, TCOOFF) : 0;
}

/* ---- records ---- */

bool tty_queue_any(const struct tty_queue *q)
{
	return q->in_len || q->out_len || q->nlines || q->stop || q->lnext || q->master_stopped;
}

static size_t room_taken(const struct tty_queue *q)
{
	size_t n = q->in_len;

	for (size_t i = 0; i < q->nlines; i++)
		n += q->lines[i].eof;
	return n;
}

bool tty_queue_much(const struct tty_queue *q)
{
	return room_taken(q) > TTY_MAX_INPUT;
}

void tty_queue_encode(struct buf *b, const struct tty_queue *q)
{
	struct buf lines = BUF_INIT;

	if (q->in_len)
		rec_put_bin(b, "INPUT", q->in, q->in_len);
	for (size_t i = 0; i < q->nlines; i++)
		buf_printf(&lines, "%s%u%s", i ? " " : "", q->lines[i].len, q->lines[i].eof ? "e" : "");
	if (buf_failed(&lines))
		b->failed = true;
	else if (q->nlines)
		rec_put_str(b, "LINES", lines.p);
	buf_free(&lines);
	if (q->lnext)
		rec_put_u64(b, "LITERAL", 1);
	if (q->out_len)
		rec_put_bin(b, "OUTPUT", q->out, q->out_len);
	if (q->stop)
		rec_put_str(b, "STOPPED", q->stop == TTY_STOPPED_BY_CHAR ? "char" : "call");
	if (q->master_stopped)
		rec_put_u64(b, "INPUT_STOPPED", 1);
}

static int lines_decode(const struct rec *rec, struct tty_queue *q, struct err *e)
{
	const char *s = rec_find(rec, "LINES");
	size_t total = 0;

	while (s && *s) {
		struct tty_line *l = &q->lines[q->nlines];
		char *end = NULL;
		unsigned long len = *s >= '0' && *s <= '9' ? strtoul(s, &end, 10) : TTY_ROOM;

		if (len > TTY_MAX_INPUT || q->nlines++ == TTY_MAX_INPUT)
			goto bad;
		l->len = (uint16_t)len;
		l->eof = *end == 'e';
		total += len;
		s = end + l->eof;
		if (!(l->len || l->eof) || (*s && *s++ != ' '))
			goto bad;
	}
	if (q->line || !q->nlines)
		if (total <= q->in_len && room_taken(q) <= TTY_MAX_INPUT)
			return 0;
bad:
	return err_set(e, EX_BAD_IMAGE, "line %zu: LINES does not fit the input of the terminal", rec->line);
}

int tty_queue_decode(const struct rec *rec, struct tty_queue *q, struct err *e)
{
	const char *stop = rec_find(rec, "STOPPED");
	struct termios2 t;
	uint64_t lnext, master;
	size_t n;

	if (rec_bin(rec, "TERMIOS", &t, sizeof t, sizeof t, &n, e) ||
	    (rec_find(rec, "INPUT") && rec_bin(rec, "INPUT", q->in, 0, TTY_MAX_INPUT, &q->in_len, e)) ||
	    (rec_find(rec, "OUTPUT") && rec_bin(rec, "OUTPUT", q->out, 0, sizeof q->out, &q->out_len, e)) ||
	    rec_u64_or(rec, "LITERAL", 1, 0, &lnext, e) || rec_u64_or(rec, "INPUT_STOPPED", 1, 0, &master, e))
		return -1;
	q->line = line_mode(&t);
	q->lnext = lnext && q->line;
	q->master_stopped = master;
	if (stop && strcmp(stop, "char") && strcmp(stop, "call"))
		return err_set(e, EX_BAD_IMAGE, "line %zu: STOPPED=\"%s\"", rec->line, stop);
	q->stop = !stop ? TTY_RUNS : !strcmp(stop, "char") ? TTY_STOPPED_BY_CHAR : TTY_STOPPED_BY_CALL;
	return lines_decode(rec, q, e);
}
