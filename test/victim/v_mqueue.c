/* POSIX message queues: order by priority and age, empty messages, several descriptions of one queue with other flags, a queue
 * without name, an empty one at which a process waits, limits and mode, a process that is to be notified of a message without a signal. */
#include "victim.h"

#include <mqueue.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void expect(mqd_t q, const char *text, unsigned prio)
{
	char b[64];
	unsigned p = 0;
	ssize_t n = mq_receive(q, b, sizeof b, &p);

	if (n != (ssize_t)strlen(text) || p != prio || memcmp(b, text, (size_t)n))
		victim_fail("expected \"%s\" of priority %u, got \"%.*s\" of %u (errno %d)", text, prio, (int)(n > 0 ? n : 0), b, p, errno);
}

/* Who is to be notified, as the queue's file tells; how: SIGEV_. */
static int notified(mqd_t q, int *how)
{
	char text[128] = "";
	int pid = -1;
	size_t bytes;

	VICTIM_CHECK(pread(q, text, sizeof text - 1, 0) > 0);
	VICTIM_CHECK(sscanf(text, "QSIZE:%zu NOTIFY:%d SIGNO:%*d NOTIFY_PID:%d", &bytes, how, &pid) == 3);
	return pid;
}

int main(int argc, char **argv)
{
	victim_init(argc, argv);
	struct mq_attr a = { .mq_maxmsg = 6, .mq_msgsize = 64 }, now;
	char name[64], gone[64], empty[64], told[64], text[128];
	struct stat st;
	int status, how;

	snprintf(name, sizeof name, "/xos-victim-%d", getpid());
	snprintf(gone, sizeof gone, "/xos-victim-%d-gone", getpid());
	snprintf(empty, sizeof empty, "/xos-victim-%d-empty", getpid());
	snprintf(told, sizeof told, "/xos-victim-%d-told", getpid());
	mqd_t w = mq_open(name, O_WRONLY | O_CREAT | O_EXCL, 0640, &a);
	if (w < 0)
		victim_skip("no POSIX message queues: %s", strerror(errno));
	mqd_t r = mq_open(name, O_RDONLY | O_NONBLOCK), copy = fcntl(r, F_DUPFD, 0),
	      g = mq_open(gone, O_RDWR | O_CREAT | O_EXCL, 0600, &a), e = mq_open(empty, O_RDWR | O_CREAT | O_EXCL, 0600, &a);
	mqd_t n = mq_open(told, O_RDWR | O_CREAT | O_EXCL, 0600, &a);
	VICTIM_CHECK(r >= 0 && copy >= 0 && g >= 0 && e >= 0 && n >= 0);
	VICTIM_TRY(mq_unlink(told));
	VICTIM_TRY(mq_notify(n, &(struct sigevent){ .sigev_notify = SIGEV_NONE }));
	VICTIM_CHECK(notified(n, &how) == getpid() && how == SIGEV_NONE);
	VICTIM_TRY(mq_unlink(gone));
	/* Full: six messages. */
	VICTIM_TRY(mq_send(w, "low 1", 5, 0) | mq_send(w, "high 1", 6, 32767) | mq_send(w, "low 2", 5, 0) | mq_send(w, "", 0, 7) |
		   mq_send(w, "high 2", 6, 32767) | mq_send(w, "low 3", 5, 0));
	VICTIM_TRY(mq_send(g, "nameless", 8, 1));
	pid_t pid = fork();
	VICTIM_TRY(pid);
	if (!pid) {
		unsigned p;
		_exit(mq_receive(e, text, 64, &p) == 4 && p == 3 && !memcmp(text, "wake", 4) ? 0 : 1);
	}

	victim_wait();

	VICTIM_CHECK(notified(n, &how) == getpid() && how == SIGEV_NONE);
	VICTIM_CHECK(mq_notify(n, &(struct sigevent){ .sigev_notify = SIGEV_NONE }) < 0 && errno == EBUSY);
	VICTIM_TRY(mq_send(n, "told", 4, 0));
	VICTIM_CHECK(notified(n, &how) == 0);
	VICTIM_TRY(mq_getattr(r, &now));
	VICTIM_CHECK(now.mq_maxmsg == 6 && now.mq_msgsize == 64 && now.mq_curmsgs == 6 && now.mq_flags == O_NONBLOCK);
	VICTIM_TRY(mq_getattr(w, &now));
	VICTIM_CHECK(now.mq_flags == 0);
	VICTIM_CHECK(!fstat(r, &st) && (st.st_mode & 07777) == 0640 && st.st_uid == geteuid());
	if (fcntl(r, F_GETFD) != FD_CLOEXEC || fcntl(copy, F_GETFD) != 0)
		victim_fail("close-on-exec of %d is %d, of %d %d", r, fcntl(r, F_GETFD), copy, fcntl(copy, F_GETFD));
	expect(r, "high 1", 32767);
	expect(copy, "high 2", 32767);
	expect(r, "", 7);
	expect(r, "low 1", 0);
	expect(r, "low 2", 0);
	expect(r, "low 3", 0);
	VICTIM_CHECK(mq_receive(r, text, 64, NULL) < 0 && errno == EAGAIN);
	VICTIM_CHECK(mq_send(r, "x", 1, 0) < 0 && errno == EBADF);
	VICTIM_TRY(mq_send(w, "new", 3, 0));
	expect(copy, "new", 0);
	expect(g, "nameless", 1);
	VICTIM_TRY(mq_send(e, "wake", 4, 3));
	VICTIM_TRY(waitpid(pid, &status, 0));
	VICTIM_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	VICTIM_TRY(mq_unlink(name) | mq_unlink(empty));
	return victim_ok();
}
