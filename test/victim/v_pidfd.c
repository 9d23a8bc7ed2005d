/* pidfd: of itself, of a child, of a zombie, of reaped ones (exit and signal), of a thread; flags, shared descriptions, watched by
 * epoll, one in a socket's queue. */
#include "victim.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { PIDFD_NONBLOCK_ = O_NONBLOCK, PIDFD_THREAD_ = O_EXCL, P_PIDFD_ = 3 };
struct exit_info { uint64_t mask, cgroup; uint32_t ids[11]; int32_t status; };

static volatile pid_t tid;

static int pidfd(pid_t pid, int flags) { return (int)syscall(SYS_pidfd_open, pid, flags); }
static long signal_by(int fd, int sig) { return syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0); }

static void *idle(void *arg)
{
	tid = (pid_t)syscall(SYS_gettid);
	for (;;)
		pause();
	return arg;
}

static pid_t child(int status)
{
	pid_t pid = fork();

	VICTIM_TRY(pid);
	if (pid)
		return pid;
	if (status >= 0)
		_exit(status);
	for (;;)
		pause();
}

static int pid_of(int fd)
{
	char path[64], b[1024];
	const char *s;
	ssize_t n;
	int f;

	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	VICTIM_TRY(f = open(path, O_RDONLY));
	VICTIM_TRY(n = read(f, b, sizeof b - 1));
	close(f);
	b[n] = 0;
	s = strstr(b, "\nPid:");
	return s ? atoi(s + 5) : -2;
}

/* -1: this kernel does not tell. */
static int exit_of(int fd)
{
	struct exit_info x = { .mask = 8 };

	return ioctl(fd, _IOWR(0xff, 11, struct exit_info), &x) || !(x.mask & 8) ? -1 : x.status;
}

static bool readable(int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };

	return poll(&p, 1, 0) == 1;
}

static ino_t ino_of(int fd)
{
	struct stat st;

	VICTIM_TRY(fstat(fd, &st));
	return st.st_ino;
}

static void send_fd(int to, int fd)
{
	char c = 'x';
	struct iovec v = { &c, 1 };
	union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int))]; } u = { .h = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof u };

	memcpy(CMSG_DATA(&u.h), &fd, sizeof fd);
	VICTIM_TRY(sendmsg(to, &m, 0));
}

static int receive_fd(int from)
{
	char c;
	struct iovec v = { &c, 1 };
	union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int))]; } u;
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof u };
	int fd;

	VICTIM_CHECK(recvmsg(from, &m, 0) == 1 && u.h.cmsg_len == CMSG_LEN(sizeof(int)));
	memcpy(&fd, CMSG_DATA(&u.h), sizeof fd);
	return fd;
}

int main(int argc, char **argv)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 42 };
	int self, shared, of_child, of_zombie, gone, gone2, killed, queued, sv[2], ep, thread = -1, was_gone, was_killed, n;
	bool pidfs;
	siginfo_t si;
	pthread_t t;
	pid_t c, z, g, k, sharer;

	victim_init(argc, argv);
	if ((self = pidfd(getpid(), 0)) < 0 && errno == ENOSYS)
		victim_skip("this kernel has no pidfd_open(2)");
	VICTIM_TRY(self);
	c = child(-1);
	z = child(7);
	g = child(3);
	k = child(-1);
	VICTIM_TRY(of_child = pidfd(c, PIDFD_NONBLOCK_));
	VICTIM_TRY(fcntl(of_child, F_SETFD, 0));
	VICTIM_TRY(of_zombie = pidfd(z, 0));
	VICTIM_TRY(gone = pidfd(g, 0));
	VICTIM_TRY(gone2 = pidfd(g, PIDFD_NONBLOCK_));
	VICTIM_TRY(killed = pidfd(k, 0));
	VICTIM_TRY(queued = pidfd(c, 0));
	pidfs = ino_of(self) != ino_of(of_child);
	VICTIM_TRY(kill(k, SIGTERM));
	VICTIM_CHECK(waitpid(g, NULL, 0) == g && waitpid(k, NULL, 0) == k);
	VICTIM_TRY(waitid(P_PID, (id_t)z, &si, WEXITED | WNOWAIT));
	was_gone = exit_of(gone);
	was_killed = exit_of(killed);
	VICTIM_CHECK(pthread_create(&t, NULL, idle, NULL) == 0);
	while (!tid)
		victim_pause();
	thread = pidfd(tid, PIDFD_THREAD_); /* since 6.9 */
	VICTIM_TRY(shared = pidfd(getpid(), 0));
	VICTIM_TRY(sharer = fork());
	if (!sharer) {
		while (!victim_go())
			victim_pause();
		VICTIM_TRY(fcntl(shared, F_SETFL, O_NONBLOCK));
		_exit(pid_of(shared) == getppid() && signal_by(shared, 0) == 0 && readable(gone) ? 0 : 1);
	}
	VICTIM_TRY(ep = epoll_create1(0));
	VICTIM_TRY(epoll_ctl(ep, EPOLL_CTL_ADD, of_child, &ev));
	VICTIM_TRY(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	send_fd(sv[0], queued);
	close(queued);
	victim_wait();

	VICTIM_CHECK(pid_of(self) == getpid() && pid_of(of_child) == c && pid_of(of_zombie) == z);
	VICTIM_CHECK(pid_of(gone) == -1 && pid_of(gone2) == -1 && pid_of(killed) == -1);
	VICTIM_CHECK(exit_of(gone) == was_gone && exit_of(gone2) == was_gone && exit_of(killed) == was_killed);
	VICTIM_CHECK(!readable(self) && !readable(of_child) && readable(of_zombie) && readable(gone) && readable(killed));
	VICTIM_CHECK(signal_by(gone, 0) < 0 && errno == ESRCH);
	VICTIM_CHECK(fcntl(of_child, F_GETFL) & O_NONBLOCK && fcntl(gone2, F_GETFL) & O_NONBLOCK);
	VICTIM_CHECK(!(fcntl(gone, F_GETFL) & O_NONBLOCK) && !(fcntl(of_zombie, F_GETFL) & O_NONBLOCK));
	VICTIM_CHECK(!(fcntl(of_child, F_GETFD) & FD_CLOEXEC) && fcntl(self, F_GETFD) & FD_CLOEXEC);
	if (pidfs)
		VICTIM_CHECK(ino_of(gone) == ino_of(gone2) && ino_of(gone) != ino_of(killed) && ino_of(self) == ino_of(shared));
	if (thread >= 0) {
		VICTIM_CHECK(fcntl(thread, F_GETFL) & PIDFD_THREAD_);
		VICTIM_CHECK(pid_of(thread) == tid && signal_by(thread, 0) == 0);
	}
	VICTIM_TRY(n = receive_fd(sv[1]));
	VICTIM_CHECK(pid_of(n) == c);
	VICTIM_CHECK(waitpid(sharer, &n, 0) == sharer && n == 0);
	VICTIM_CHECK(fcntl(shared, F_GETFL) & O_NONBLOCK);
	VICTIM_CHECK(epoll_wait(ep, &ev, 1, 0) == 0);
	VICTIM_TRY(signal_by(of_child, SIGKILL));
	VICTIM_CHECK(epoll_wait(ep, &ev, 1, 10000) == 1 && ev.data.u64 == 42);
	VICTIM_TRY(waitid((idtype_t)P_PIDFD_, (id_t)of_child, &si, WEXITED));
	VICTIM_CHECK(si.si_pid == c && si.si_status == SIGKILL);
	VICTIM_TRY(waitid((idtype_t)P_PIDFD_, (id_t)of_zombie, &si, WEXITED));
	VICTIM_CHECK(si.si_pid == z && si.si_status == 7);
	return victim_ok();
}
