/* tty_guard: who takes what is on its way in the terminals of a job and puts it back: a process of its own, which takes no
 * signal, has a session of its own and does not end with us. The job must not run meanwhile, also when its tracer
 * dies: its group is marked as frozen until the last terminal is as it was. A job without a group runs on then, some
 * microseconds before its terminal is as it was. Should somebody kill exactly that process, we put back what it took. */
#include "res/tty.h"
#include "common/cleanup.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STUCK_S = 5 };
enum phase { UNTOUCHED, TAKEN, DONE };
/* In memory that both processes share. */
struct look {
	const struct dfile *f;
	int m, slave;                  /* ours; slave: some description of the job's, -1: none */
	bool touched;                  /* what follows was looked up, and may have been changed */
	int packet, lock, exclusive;
	struct termios2 job, fixed;    /* its settings; which of them are locked (TIOCSLCKTRMIOS) */
	enum phase phase;
	int error;
	struct tty_queue q;
};
struct tty_world { size_t n; struct look *v; };

static bool any_fixed(const struct look *l)
{
	static const struct termios2 none;

	return memcmp(&l->fixed, &none, sizeof none) != 0;
}

/* Packet mode, locks and exclusive use stand in the way. A new packet mode has no status, as the one before had none. */
static int open_up(struct look *l, struct tty_pair *p)
{
	const struct termios2 none = { 0 };
	int off = 0;

	if (ioctl(l->m, TCGETS2, &l->job) || ioctl(l->m, TIOCGPKT, &l->packet) || ioctl(l->m, TIOCGPTLCK, &l->lock) ||
	    ioctl(l->m, TIOCGLCKTRMIOS, &l->fixed))
		return -1;
	if (l->slave >= 0 && ioctl(l->slave, TIOCGEXCL, &l->exclusive))
		return -1;
	l->touched = true;
	if ((l->lock && ioctl(l->m, TIOCSPTLCK, &off)) || (l->exclusive && ioctl(l->slave, TIOCNXCL)) ||
	    (l->packet && ioctl(l->m, TIOCPKT, &off)) || (any_fixed(l) && ioctl(l->m, TIOCSLCKTRMIOS, &none)))
		return -1;
	*p = (struct tty_pair){ .m = l->m, .s = tty_peer(l->m, O_RDWR | O_NONBLOCK), .job = l->job };
	return p->s < 0 ? -1 : 0;
}

static void close_up(struct look *l)
{
	int on = 1;

	if (!l->touched)
		return;
	ioctl(l->m, TCSETS2, &l->job);
	if (l->lock)
		ioctl(l->m, TIOCSPTLCK, &on);
	if (l->exclusive)
		ioctl(l->slave, TIOCEXCL);
	if (l->packet)
		ioctl(l->m, TIOCPKT, &on);
	if (any_fixed(l))
		ioctl(l->m, TIOCSLCKTRMIOS, &l->fixed);
}

static void look_into(struct look *l)
{
	struct tty_pair p;

	if (open_up(l, &p)) {
		l->error = errno;
	} else {
		l->error = tty_take(&p, &l->q) ? errno : 0;
		l->phase = TAKEN;
		fault("tty-taken");
		if (tty_put(&p, &l->q) && !l->error)
			l->error = errno;
		close(p.s);
	}
	l->phase = DONE;
	close_up(l);
}

static void woken(int sig) { (void)sig; }

/* Nothing blocks for ever, whatever somebody else does to the terminal. */
static void limit_waits(void)
{
	struct sigaction sa = { .sa_handler = woken };
	struct itimerval t = { { 1, 0 }, { STUCK_S, 0 } };
	sigset_t all;

	sigfillset(&all);
	sigdelset(&all, SIGALRM);
	sigaction(SIGALRM, &sa, NULL);
	sigprocmask(SIG_SETMASK, &all, NULL);
	setitimer(ITIMER_REAL, &t, NULL);
}

static bool held(struct dump *d, pid_t tracer)
{
	if (d->hold && d->hold(d->ctx, true))
		return false;
	/* Who dies lets go of its tracees a little before its children see it. */
	usleep(200);
	return getppid() == tracer;
}

/* The guard of an xcheckpoint that was killed a moment ago may still be at work. Such a lock ends with its process. */
static bool alone(const struct tty_world *w)
{
	for (size_t i = 0; i < w->n; i++) {
		struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = tty_master_index(w->v[i].f), .l_len = 1 };

		if (fcntl(w->v[i].m, F_SETLKW, &fl) && errno != EBADF)
			return false;
	}
	return true;
}

static void guard(struct dump *d, pid_t tracer, struct tty_world *w)
{
	bool go;

	limit_waits();
	setsid();
	if (!alone(w))
		_exit(1);
	go = held(d, tracer);
	for (size_t i = 0; go && i < w->n; i++)
		look_into(&w->v[i]);
	if (d->hold)
		d->hold(d->ctx, false);
	_exit(0);
}

/* The guard was killed. */
static void repair(struct dump *d, struct tty_world *w)
{
	for (size_t i = 0; i < w->n; i++) {
		struct look *l = &w->v[i];
		struct tty_pair p = { .m = l->m, .job = l->job };

		if (l->phase == TAKEN && (p.s = tty_peer(l->m, O_RDWR | O_NONBLOCK)) >= 0) {
			tty_put(&p, &l->q);
			close(p.s);
		}
		if (l->phase != DONE)
			close_up(l);
	}
	if (d->hold)
		d->hold(d->ctx, false);
}

static int run(struct dump *d, struct tty_world *w, struct err *e)
{
	pid_t tracer = getpid(), pid = fork();
	int st;

	if (pid < 0)
		return err_sys(e, "cannot make a process");
	if (!pid)
		guard(d, tracer, w);
	fault("tty-reading");
	while (waitpid(pid, &st, 0) < 0)
		if (errno != EINTR)
			return err_sys(e, "waitpid");
	if (WIFEXITED(st))
		return 0;
	repair(d, w);
	return err_set(e, EX_FAILED, "the process that looks into terminals was killed");
}

static int world_make(struct dump *d, struct err *e)
{
	struct tty_world *w = calloc(1, sizeof *w);
	size_t n = 0;

	if (!w)
		return err_set(e, EX_FAILED, "out of memory");
	d->ttys = w;
	for (size_t i = 0; i < d->nfiles; i++)
		n += tty_master_index(d->files[i]) >= 0;
	if (!n)
		return 0;
	w->v = mmap(NULL, n * sizeof *w->v, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (w->v == MAP_FAILED) {
		w->v = NULL;
		return err_set(e, EX_FAILED, "out of memory");
	}
	for (size_t i = 0; i < d->nfiles && w->n < n; i++) {
		int index = tty_master_index(d->files[i]);
		const struct dfile *slave = index < 0 ? NULL : tty_find_slave(d, d->files[i]);
		struct look *l = &w->v[w->n];

		if (index < 0)
			continue;
		l->f = d->files[i];
		l->m = l->f->lfd;
		l->slave = slave ? slave->lfd : -1;
		l->error = ECANCELED;
		w->n++;
	}
	return run(d, w, e);
}

const struct tty_queue *tty_queue_of(struct dump *d, const struct dfile *f, struct err *e)
{
	if (!d->ttys && world_make(d, e))
		return NULL;
	for (size_t i = 0; i < d->ttys->n; i++) {
		struct look *l = &d->ttys->v[i];

		if (l->f != f)
			continue;
		if (l->error == EOVERFLOW || (!l->error && tty_queue_much(&l->q))) {
			err_set(e, EX_CANNOT_CKPT, "terminal: more input waits in it than can be saved");
			return NULL;
		}
		errno = l->error;
		if (!l->error)
			return &l->q;
		err_sys(e, "cannot look into a terminal");
		return NULL;
	}
	err_set(e, EX_FAILED, "a terminal is not known");
	return NULL;
}

void tty_world_free(struct dump *d)
{
	if (d->ttys && d->ttys->v)
		munmap(d->ttys->v, d->ttys->n * sizeof *d->ttys->v);
	free(d->ttys);
	d->ttys = NULL;
}
