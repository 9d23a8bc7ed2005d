/* Pipes: content, size, non-blocking ends, packets, several readers, ends that nobody has any more; a fifo with a name; the same
 * pipe in a child, in both directions. */
#include "victim.h"

#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { BIG = 300000 };
static struct { int plain[2], big[2], pkt[2], nb[2], twin, no_reader[2], no_writer[2], up[2], down[2], fifo_r, fifo_w, fifo_rw, empty[2]; } p;
static char content[BIG], got[BIG + 1];

static int pending(int fd)
{
	int n = -1;

	VICTIM_TRY(ioctl(fd, FIONREAD, &n));
	return n;
}

static void expect(const char *what, int fd, const void *want, size_t n)
{
	ssize_t k, sum = 0;

	while ((size_t)sum < n && (k = read(fd, got + sum, n - (size_t)sum)) > 0)
		sum += k;
	if ((size_t)sum != n || memcmp(got, want, n))
		victim_fail("%s: %zd bytes, or wrong ones", what, sum);
}

/* One read of a packet pipe gives one packet. */
static void packet(const char *want)
{
	ssize_t n = read(p.pkt[0], got, 1000);

	if (n != (ssize_t)strlen(want) || memcmp(got, want, (size_t)n))
		victim_fail("packet: %zd bytes instead of \"%s\"", n, want);
}

static void build(void)
{
	char name[4300];

	for (int i = 0; i < BIG; i++)
		content[i] = (char)(i * 7 ^ i >> 8);
	VICTIM_TRY(pipe(p.plain));
	VICTIM_TRY(write(p.plain[1], content, 5000));
	VICTIM_TRY(read(p.plain[0], got, 1234)); /* begins in the middle of a buffer */
	VICTIM_TRY(pipe(p.big));
	VICTIM_TRY(fcntl(p.big[1], F_SETPIPE_SZ, 1 << 19));
	VICTIM_CHECK(write(p.big[1], content, BIG) == BIG);
	VICTIM_TRY(pipe2(p.pkt, O_DIRECT));
	VICTIM_TRY(write(p.pkt[1], "one", 3));
	VICTIM_TRY(write(p.pkt[1], "two2", 4));
	VICTIM_TRY(write(p.pkt[1], "3", 1));
	VICTIM_TRY(pipe2(p.nb, O_NONBLOCK | O_CLOEXEC));
	VICTIM_TRY(fcntl(p.nb[1], F_SETPIPE_SZ, 4096));
	while (write(p.nb[1], "x", 1) == 1)
		;
	p.twin = dup(p.nb[0]);
	VICTIM_TRY(pipe(p.no_reader));
	close(p.no_reader[0]);
	VICTIM_TRY(pipe(p.no_writer));
	VICTIM_TRY(write(p.no_writer[1], "last words", 10));
	close(p.no_writer[1]);
	VICTIM_TRY(pipe(p.empty));
	VICTIM_TRY(pipe(p.up));
	VICTIM_TRY(pipe(p.down));
	snprintf(name, sizeof name, "%s.fifo", victim_path_);
	VICTIM_TRY(mkfifo(name, 0600));
	VICTIM_TRY(p.fifo_r = open(name, O_RDONLY | O_NONBLOCK));
	VICTIM_TRY(p.fifo_w = open(name, O_WRONLY));
	VICTIM_TRY(p.fifo_rw = open(name, O_RDWR));
	VICTIM_TRY(write(p.fifo_w, "through the fifo", 16));
}

static void child(void)
{
	char c;

	close(p.up[0]);
	close(p.down[1]);
	close(p.fifo_w);
	close(p.fifo_rw);
	/* Blocked in read all the while. */
	while (read(p.down[0], &c, 1) == 1) {
		c++;
		if (write(p.up[1], &c, 1) != 1)
			_exit(2);
	}
	_exit(write(p.plain[1], "child", 5) == 5 ? 0 : 1);
}

static void check_content(void)
{
	struct stat a, b;

	VICTIM_CHECK(pending(p.plain[0]) == 5000 - 1234);
	expect("plain", p.plain[0], content + 1234, 5000 - 1234);
	VICTIM_CHECK(fcntl(p.big[0], F_GETPIPE_SZ) == 1 << 19);
	VICTIM_CHECK(pending(p.big[0]) == BIG);
	expect("big", p.big[0], content, BIG);
	VICTIM_CHECK((fcntl(p.pkt[1], F_GETFL) & O_DIRECT) && !(fcntl(p.plain[1], F_GETFL) & O_DIRECT));
	packet("one");
	packet("two2");
	packet("3");
	VICTIM_TRY(write(p.pkt[1], "ab", 2));
	VICTIM_TRY(write(p.pkt[1], "cd", 2));
	packet("ab");
	packet("cd");
	VICTIM_CHECK(!fstat(p.plain[0], &a) && !fstat(p.plain[1], &b) && a.st_ino == b.st_ino);
}

static void check_ends(void)
{
	VICTIM_CHECK((fcntl(p.nb[1], F_GETFL) & O_NONBLOCK) && fcntl(p.nb[1], F_GETFD) == FD_CLOEXEC && fcntl(p.twin, F_GETFD) == 0);
	VICTIM_CHECK(fcntl(p.nb[0], F_GETPIPE_SZ) == 4096);
	VICTIM_CHECK(write(p.nb[1], "x", 1) < 0 && errno == EAGAIN);
	VICTIM_CHECK(read(p.twin, got, 4096) == 4096 && read(p.nb[0], got, 1) < 0 && errno == EAGAIN);
	VICTIM_CHECK(write(p.no_reader[1], "x", 1) < 0 && errno == EPIPE);
	expect("of a writer that has gone", p.no_writer[0], "last words", 10);
	VICTIM_CHECK(read(p.no_writer[0], got, 1) == 0);
	VICTIM_CHECK(pending(p.empty[0]) == 0 && fcntl(p.empty[0], F_GETPIPE_SZ) == fcntl(p.plain[0], F_GETPIPE_SZ));
	VICTIM_CHECK(pending(p.fifo_r) == 16);
	expect("fifo", p.fifo_r, "through the", 11);
	expect("fifo, the other reader", p.fifo_rw, " fifo", 5);
	VICTIM_CHECK(write(p.fifo_w, "x", 1) == 1);
	expect("fifo", p.fifo_r, "x", 1);
	close(p.fifo_w);
	close(p.fifo_rw);
	VICTIM_CHECK(read(p.fifo_r, got, 1) == 0);
}

int main(int argc, char **argv)
{
	int status;
	pid_t pid;

	victim_init(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	build();
	VICTIM_TRY(pid = fork());
	if (!pid)
		child();
	close(p.up[1]);
	close(p.down[0]);
	victim_wait();

	check_content();
	check_ends();
	VICTIM_CHECK(write(p.down[1], "abc", 3) == 3);
	expect("the child's answer", p.up[0], "bcd", 3);
	close(p.down[1]); /* the child has no write end of it: end of file */
	expect("the child's last word", p.plain[0], "child", 5);
	VICTIM_CHECK(waitpid(pid, &status, 0) == pid);
	if (status)
		victim_fail("the child ends with 0x%x", status);
	VICTIM_CHECK(read(p.up[0], got, 1) == 0); /* and that was its last writer */
	return victim_ok();
}
