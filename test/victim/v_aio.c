/* aio contexts (io_setup(2)): a new one, one with events that wait to be collected, one whose ring has come round, a large one, one that a
 * thread waits at. Ids, events and room are as they were. */
#include "victim.h"

#include <linux/aio_abi.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <sys/syscall.h>

enum { NEW, WAITING, ROUND, LARGE, THREAD, N };
enum { UNREAD = 5, LARGE_NR = 700 };

struct ring { unsigned id, nr, head, tail, magic; };
static aio_context_t ctx[N];
static struct ring before[N];
static char name[4300], text[64];
static int file;

static struct ring *ring(int i) { return (struct ring *)(uintptr_t)ctx[i]; }

/* Reads byte `number` % 26 of the file; its event has that number. */
static void request(int i, uint64_t number)
{
	struct iocb r = { .aio_data = number, .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = (uint32_t)file,
			  .aio_buf = (uint64_t)(uintptr_t)text, .aio_nbytes = number % 7 + 1, .aio_offset = (int64_t)(number % 26) }, *list = &r;

	VICTIM_CHECK(syscall(SYS_io_submit, ctx[i], 1, &list) == 1);
}

static void collect(int i, uint64_t number)
{
	struct timespec now = { 0, 0 };
	struct io_event e = { 0 };
	long n = syscall(SYS_io_getevents, ctx[i], 1, 1, &e, &now);

	if (n != 1 || e.data != number || e.res != (int64_t)(number % 7 + 1))
		victim_fail("context %d: event %llu was expected, %ld came: %llu, result %lld", i, (unsigned long long)number, n,
			    (unsigned long long)e.data, (long long)e.res);
}

static void empty(int i)
{
	struct timespec now = { 0, 0 };
	struct io_event e;

	VICTIM_CHECK(syscall(SYS_io_getevents, ctx[i], 0, 1, &e, &now) == 0);
}

static volatile int waits;
static void *waiter(void *arg)
{
	struct timespec t = { 1000, 0 };
	struct io_event e;

	waits = 1;
	VICTIM_CHECK(syscall(SYS_io_getevents, ctx[THREAD], 1, 1, &e, &t) == 1 && e.data == 77);
	return NULL;
}

/* As many requests as were asked for, and nothing else comes. */
static void room(int i, unsigned n)
{
	for (unsigned k = 0; k < n; k++)
		request(i, k);
	for (unsigned k = 0; k < n; k++)
		collect(i, k);
	empty(i);
}

int main(int argc, char **argv)
{
	static const unsigned nr[N] = { 10, 20, 30, LARGE_NR, 1 };
	pthread_t t;

	victim_init(argc, argv);
	if (geteuid() != 0)
		victim_skip("only root can find out whether requests are in flight");
	snprintf(name, sizeof name, "%s.file", victim_path_);
	VICTIM_TRY(file = open(name, O_RDWR | O_CREAT, 0600));
	VICTIM_CHECK(write(file, "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz", 52) == 52);
	for (int i = 0; i < N; i++)
		if (syscall(SYS_io_setup, nr[i], &ctx[i]))
			victim_skip("no aio: %s", strerror(errno));
	for (unsigned k = 0; k < 100; k++) {
		request(WAITING, k);
		collect(WAITING, k);
	}
	for (unsigned k = 0; k < UNREAD; k++)
		request(WAITING, 1000 + k);
	/* Until three of its unread events are behind the end, and two at the beginning. */
	for (unsigned k = 0; ring(ROUND)->tail != ring(ROUND)->nr - 3; k++) {
		request(ROUND, k);
		collect(ROUND, k);
	}
	for (unsigned k = 0; k < UNREAD; k++)
		request(ROUND, 2000 + k);
	VICTIM_CHECK(ring(ROUND)->tail == 2);
	room(LARGE, 300);
	VICTIM_CHECK(pthread_create(&t, NULL, waiter, NULL) == 0);
	while (!waits)
		victim_pause();
	for (int i = 0; i < N; i++)
		before[i] = *ring(i);
	victim_wait();
	for (int i = 0; i < N; i++)
		if (ring(i)->nr != before[i].nr || ring(i)->head != before[i].head || ring(i)->tail != before[i].tail || ring(i)->id != before[i].id)
			victim_fail("context %d: ring %u of %u: %u..%u, it was ring %u of %u: %u..%u", i, ring(i)->id, ring(i)->nr, ring(i)->head,
				    ring(i)->tail, before[i].id, before[i].nr, before[i].head, before[i].tail);
	request(THREAD, 77);
	VICTIM_CHECK(pthread_join(t, NULL) == 0);
	for (unsigned k = 0; k < UNREAD; k++)
		collect(WAITING, 1000 + k);
	empty(WAITING);
	request(ROUND, 2999);
	for (unsigned k = 0; k < UNREAD; k++)
		collect(ROUND, 2000 + k);
	collect(ROUND, 2999);
	for (int i = 0; i < N; i++) {
		for (int again = 0; again < 3; again++)
			room(i, nr[i]);
		VICTIM_TRY(syscall(SYS_io_destroy, ctx[i]));
	}
	return victim_ok();
}
