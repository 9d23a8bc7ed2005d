/* io_uring: counters, completions that wait, requests prepared and not submitted, registered files and buffers, a worker of the
 * kernel's, a ring shared with a child, a larger one with an array of its own; watched by epoll. */
#include "victim.h"

#include <linux/io_uring.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

struct ring {
	int fd;
	struct io_uring_params p;
	char *m;
	struct io_uring_sqe *sqes;
	uint32_t tail; /* ours, as liburing has it */
};

static uint32_t *at(const struct ring *r, uint32_t off) { return (uint32_t *)(void *)(r->m + off); }
static uint32_t get(const struct ring *r, uint32_t off) { return __atomic_load_n(at(r, off), __ATOMIC_ACQUIRE); }
static void set(const struct ring *r, uint32_t off, uint32_t v) { __atomic_store_n(at(r, off), v, __ATOMIC_RELEASE); }

static size_t size_of(const struct ring *r)
{
	size_t sq = r->p.sq_off.array + r->p.sq_entries * 4, cq = r->p.cq_off.cqes + r->p.cq_entries * sizeof(struct io_uring_cqe);

	return sq > cq ? sq : cq;
}

static void make(struct ring *r, unsigned entries, unsigned flags, bool identity)
{
	memset(r, 0, sizeof *r);
	r->p.flags = flags;
	r->fd = (int)syscall(SYS_io_uring_setup, entries, &r->p);
	if (r->fd < 0)
		victim_skip("no io_uring here: %s", strerror(errno));
	if (syscall(SYS_io_uring_register, r->fd, 27 /* IORING_REGISTER_NAPI */, (void *)8, 1) < 0 && errno == EINVAL)
		victim_skip("before Linux 6.9 nothing tells whether a ring is polled: all are refused");
	r->m = mmap(NULL, size_of(r), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQ_RING);
	r->sqes = mmap(NULL, r->p.sq_entries * sizeof *r->sqes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQES);
	VICTIM_CHECK(r->m != MAP_FAILED && r->sqes != MAP_FAILED);
	for (uint32_t i = 0; identity && i < r->p.sq_entries; i++)
		at(r, r->p.sq_off.array)[i] = i;
}

static struct io_uring_sqe *prepare(struct ring *r, int op, uint64_t data)
{
	struct io_uring_sqe *s = &r->sqes[r->tail++ & (r->p.sq_entries - 1)];

	VICTIM_CHECK(r->tail - get(r, r->p.sq_off.head) <= r->p.sq_entries);
	memset(s, 0, sizeof *s);
	s->opcode = (uint8_t)op;
	s->user_data = data;
	return s;
}

static void submit(struct ring *r, unsigned wait)
{
	uint32_t n = r->tail - get(r, r->p.sq_off.head);

	set(r, r->p.sq_off.tail, r->tail);
	VICTIM_CHECK(syscall(SYS_io_uring_enter, r->fd, n, wait, wait ? IORING_ENTER_GETEVENTS : 0, NULL, 0) == (long)n);
}

static struct io_uring_cqe next(struct ring *r)
{
	uint32_t head = get(r, r->p.cq_off.head);
	struct io_uring_cqe c;

	VICTIM_CHECK(head != get(r, r->p.cq_off.tail));
	memcpy(&c, r->m + r->p.cq_off.cqes + (head & (r->p.cq_entries - 1)) * sizeof c, sizeof c);
	set(r, r->p.cq_off.head, head + 1);
	return c;
}

static void nops(struct ring *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		prepare(r, IORING_OP_NOP, i);
		submit(r, 1);
		VICTIM_CHECK(next(r).user_data == i);
	}
}

static char buffer[8192] __attribute__((aligned(4096)));

static void read_fixed(struct ring *r, const char *want)
{
	struct io_uring_sqe *s = prepare(r, IORING_OP_READ_FIXED, 7);
	struct io_uring_cqe c;

	memset(buffer, 0, sizeof buffer);
	s->fd = 1;
	s->flags = IOSQE_FIXED_FILE;
	s->addr = (uintptr_t)buffer + 4096;
	s->len = 7;
	s->buf_index = 2;
	submit(r, 1);
	c = next(r);
	VICTIM_CHECK(c.user_data == 7 && c.res == 7 && !memcmp(buffer + 4096, want, 7));
}

static void child(struct ring *shared)
{
	while (!victim_go())
		victim_pause();
	VICTIM_CHECK(get(shared, shared->p.sq_off.head) == 3 && shared->tail == 3);
	prepare(shared, IORING_OP_NOP, 4711);
	submit(shared, 1);
	_exit(0);
}

int main(int argc, char **argv)
{
	struct iovec iov[3] = { { buffer, 4096 }, { NULL, 0 }, { buffer + 4096, 4096 } };
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 5 };
	struct ring a, b, big, pending;
	struct io_uring_cqe c;
	char name[4200];
	int file, fds[3], status, ep;
	uint32_t head, tail;
	pid_t pid;

	victim_init(argc, argv);
	victim_name_(name, sizeof name, "data");
	VICTIM_TRY(file = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600));
	VICTIM_CHECK(write(file, "content", 7) == 7);
	make(&b, 4, IORING_SETUP_CLAMP, true);
	nops(&b, 3);
	VICTIM_TRY(pid = fork());
	if (!pid)
		child(&b);
	make(&a, 8, 0, true);
	make(&big, 256, 0, false);
	make(&pending, 4, 0, true);
	VICTIM_TRY(fcntl(b.fd, F_SETFD, 0));
	nops(&a, 100);
	fds[0] = fds[2] = -1;
	fds[1] = file;
	VICTIM_TRY(syscall(SYS_io_uring_register, a.fd, IORING_REGISTER_FILES, fds, 3));
	iov[1] = iov[0]; /* the kernel has empty slots since 5.13 */
	VICTIM_TRY(syscall(SYS_io_uring_register, a.fd, IORING_REGISTER_BUFFERS, iov, 3));
	read_fixed(&a, "content");
	/* A worker of the kernel's, which is no thread of ours. */
	prepare(&a, IORING_OP_FSYNC, 8)->fd = file;
	a.sqes[(a.tail - 1) & 7].flags = IOSQE_ASYNC;
	submit(&a, 1);
	c = next(&a);
	VICTIM_CHECK(c.user_data == 8 && c.res == 0);
	/* Two completions wait, one is an error; one request is prepared and told, one only prepared. */
	prepare(&a, IORING_OP_NOP, 0x1122334455667788);
	prepare(&a, IORING_OP_CLOSE, 9)->fd = 12345;
	submit(&a, 2);
	prepare(&a, IORING_OP_NOP, 10);
	set(&a, a.p.sq_off.tail, a.tail);
	prepare(&a, IORING_OP_NOP, 11);
	/* Indices in an order of its own. */
	for (uint32_t i = 0; i < 256; i++) {
		at(&big, big.p.sq_off.array)[i] = 255 - i;
		big.sqes[i].user_data = i;
	}
	set(&big, big.p.sq_off.tail, 200);
	VICTIM_CHECK(syscall(SYS_io_uring_enter, big.fd, 150, 0, 0, NULL, 0) == 150);
	VICTIM_TRY(ep = epoll_create1(0));
	VICTIM_TRY(epoll_ctl(ep, EPOLL_CTL_ADD, b.fd, &ev));
	/* This one completes only now and then: it must be waited for. */
	prepare(&pending, IORING_OP_TIMEOUT, 12)->addr = (uintptr_t)&(struct __kernel_timespec){ .tv_nsec = 1000 };
	pending.sqes[0].len = 1;
	submit(&pending, 0);
	head = get(&a, a.p.cq_off.head);
	tail = get(&a, a.p.cq_off.tail);
	victim_wait();

	VICTIM_CHECK(get(&a, a.p.cq_off.head) == head && get(&a, a.p.cq_off.tail) == tail && tail - head == 2);
	VICTIM_CHECK(get(&a, a.p.sq_off.head) == 104 && get(&a, a.p.sq_off.tail) == 105);
	c = next(&a);
	VICTIM_CHECK(c.user_data == 0x1122334455667788 && c.res == 0);
	c = next(&a);
	VICTIM_CHECK(c.user_data == 9 && c.res == -EBADF);
	submit(&a, 2);
	VICTIM_CHECK(next(&a).user_data == 10 && next(&a).user_data == 11);
	read_fixed(&a, "content");
	VICTIM_CHECK(fcntl(a.fd, F_GETFD) & FD_CLOEXEC && !(fcntl(b.fd, F_GETFD) & FD_CLOEXEC));
	VICTIM_CHECK(syscall(SYS_io_uring_enter, big.fd, 50, 50, IORING_ENTER_GETEVENTS, NULL, 0) == 50);
	for (uint32_t i = 0; i < 200; i++)
		VICTIM_CHECK(next(&big).user_data == 255 - i);
	c = next(&pending);
	VICTIM_CHECK(c.user_data == 12 && c.res == -ETIME);
	VICTIM_CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	VICTIM_CHECK(epoll_wait(ep, &ev, 1, 0) == 1 && ev.data.u64 == 5);
	VICTIM_CHECK(next(&b).user_data == 4711);
	nops(&a, 1000);
	return victim_ok();
}
