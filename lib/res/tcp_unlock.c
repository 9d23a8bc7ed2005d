/* tcp_unlock: packets of connections to outside flow again, at the very end of a restart, when the job lives without us; see tcp_lock.c for its
 * beginning. Whenever we are killed, there is either no job, and then the connections end in silence and wait for the next restart, or one, and then
 * its packets flow. A process of its own sees to that: it takes no signal, and has the sockets open, so that nothing ends before it
 * has looked whether the job's processes died with us. */
#include "res/fd_tcp.h"
#include "common/cleanup.h"
#include "common/log.h"

#include <linux/tcp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

enum { GO = 'g', DONE = 'd', FAILED = 'f', NOTICE_MS = 300, DEATH_MS = 10000, EXITING = 0x4, SIGNALED = 0x400 /* PF_EXITING, PF_SIGNALED */ };

static void silence(struct restore *r)
{
	for (size_t i = 0; i < r->nfiles; i++) {
		struct tsock *u = tcp_of(r, (uint32_t)i + 1);

		if (u && u->repair)
			setsockopt(u->f->fd, IPPROTO_TCP, TCP_REPAIR, &(int){ 1 }, sizeof(int));
	}
}

/* Who dies with its tracer begins to at once; it may take long for much memory. */
static bool lives(const struct rproc *p)
{
	struct pollfd one = { .fd = p->t->pidfd, .events = POLLIN };
	struct proc_stat st;

	if (one.fd < 0 || poll(&one, 1, NOTICE_MS) == 1 || proc_stat_read(&st, p->made, 0, NULL))
		return false;
	return !(st.flags & (EXITING | SIGNALED)) || poll(&one, 1, DEATH_MS) != 1;
}

static bool job_lives(struct restore *r)
{
	for (size_t i = 0; i < r->nprocs; i++)
		if (r->procs[i]->t && lives(r->procs[i]))
			return true;
	return false;
}

static void guard(struct restore *r, const char *lock, int fd)
{
	char word = 0;
	sigset_t all;
	ssize_t n;
	bool fine = true;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	setsid();
	while ((n = read(fd, &word, 1)) < 0 && errno == EINTR)
		;
	if (n == 1 || job_lives(r))
		fine = !netlock_down(lock, NULL);
	else
		silence(r);
	if (!fine)
		silence(r);
	word = fine ? DONE : FAILED;
	send(fd, &word, 1, MSG_NOSIGNAL);
	_exit(0);
}

int tcp_unlock_prepare(struct restore *r, const char *lock, struct err *e)
{
	int fd[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd))
		return err_sys(e, "cannot make a pair of sockets");
	r->tcp_guard = fork();
	if (!r->tcp_guard) {
		close(fd[0]);
		guard(r, lock, fd[1]);
	}
	close(fd[1]);
	if (r->tcp_guard < 0) {
		r->tcp_guard = 0;
		close(fd[0]);
		return err_sys(e, "cannot make a process");
	}
	r->tcp_guard_fd = fd[0];
	return 0;
}

void tcp_unlock_end(struct restore *r)
{
	if (!r->tcp_guard)
		return;
	close(r->tcp_guard_fd);
	while (waitpid(r->tcp_guard, NULL, 0) < 0 && errno == EINTR)
		;
	r->tcp_guard = 0;
}

int tcp_unlock(struct restore *r, struct err *e)
{
	char word = GO;
	ssize_t n;

	if (!r->tcp_guard)
		return 0;
	if (fault("tcp-unlock"))
		return err_set(e, EX_FAILED, "fault point tcp-unlock");
	send(r->tcp_guard_fd, &word, 1, MSG_NOSIGNAL);
	while ((n = read(r->tcp_guard_fd, &word, 1)) < 0 && errno == EINTR)
		;
	tcp_unlock_end(r);
	return n == 1 && word == DONE ? 0 : err_set(e, EX_FAILED, "nft does not let the packets of TCP connections flow again");
}
