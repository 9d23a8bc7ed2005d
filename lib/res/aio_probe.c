/* aio_probe: how many requests of an aio context are in flight. No call and no file tells. But a context has so many places for
 * requests, and one is taken from io_submit(2) until the event is collected: requests of no effect (reads of nothing) are submitted until
 * there is no place left, and what is missing in the ring then is in flight. After that those events are taken out of it again.
 *
 * The job must see nothing of it, also when we are killed meanwhile:
 *   - The requests come from a process that only shares the job's memory (CLONE_VM; descriptors and CPU are its own). It stands until
 *     everything here is ready, its list of calls begins with an exit until then, and it dies with us.
 *   - The job's group is marked as frozen meanwhile, so that nothing of it runs when we let go of it by dying; that process is in
 *     another group.
 *   - A guard, a process of its own that takes no signal, knows by a socket when we are done, or dead. Then it waits for the end of that
 *     process, mends the ring from outside (its head is the program's to write: moving it is how events are collected), and lets
 *     the group go on.
 *   - Nobody may find a child that he does not know. That of a process with one thread is waited for by the same batch that made it. Another
 *     thread might be quicker, so otherwise the supervisor becomes its parent (CLONE_PARENT), who waits for whoever comes.
 *
 * Then the ring is brought to where it was, by more of them, all the way round.
 *
 * The kernel keeps places for each CPU, and gives them to a CPU in batches: so requests are submitted on every CPU, and what a new context
 * of that size takes is counted first. When the two ways to know it differ, this kernel counts in another way than is known here. */
#include "res/aio.h"
#include "cgroup/cgroup.h"
#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { AT_ONCE = 1024, CPUS_MAX = 128, CALLS_MAX = 400, ARMED = 'a', DONE = 'd', LAPS_MAX = 200 };

struct probe {
	struct dump *d;
	int memfd;                     /* of the process */
	uint64_t addr, request, arm;   /* context; our request; number of the first call of the other process */
	uint64_t mark;                 /* data of our events */
	uint32_t events, taken;        /* places of the ring; how many were full at the end */
	int sock;                      /* to the guard */
	pid_t guard;
	bool ready, counted;
	bool one_cpu;                  /* only where it is */
	bool own_child;                /* its parent is the process, not the supervisor */
};

/* ---- CPUs ---- */

/* "0-3,8" of a file in /sys/devices/system/cpu. -1: unknown. */
static int cpus_read(const char *name, cpu_set_t *set)
{
	AUTO_BUF struct buf b = BUF_INIT;
	char path[64];
	int n = 0;

	CPU_ZERO(set);
	snprintf(path, sizeof path, "/sys/devices/system/cpu/%s", name);
	if (buf_read_file(&b, -1, path, 4096) < 0)
		return -1;
	for (const char *s = buf_str(&b); *s >= '0' && *s <= '9';) {
		char *end;
		long first = strtol(s, &end, 10), last = *end == '-' ? strtol(end + 1, &end, 10) : first;

		for (long c = first; c <= last && c < CPU_SETSIZE; c++, n++)
			CPU_SET((size_t)c, set);
		s = *end == ',' ? end + 1 : end;
	}
	return n ? n : -1;
}

/* ---- a context of our own ---- */

uint32_t aio_wanted(uint32_t events)
{
	/* Twice as many as are asked for and two more, rounded up to pages: the least that comes to this many pages. */
	uint64_t bytes = sizeof(struct aio_head) + (uint64_t)events * sizeof(struct aio_event), less = bytes / MM_PAGE * MM_PAGE - MM_PAGE;
	uint32_t fit = less ? aio_events(less) : 0;

	return fit < 2 ? 1 : (fit - 2) / 2 + 1;
}

uint64_t aio_own(uint32_t events)
{
	uint64_t ctx = 0;

	if (syscall(SYS_io_setup, aio_wanted(events), &ctx) < 0)
		return 0;
	if (((struct aio_head *)(uintptr_t)ctx)->nr == events)
		return ctx;
	syscall(SYS_io_destroy, ctx);
	errno = EINVAL;
	return 0;
}

static uint32_t fill_own(uint64_t ctx, int fd)
{
	struct aio_request r = { .opcode = AIO_PREAD, .fd = (uint32_t)fd }, *list[64];
	uint32_t n = 0;
	long k;

	for (size_t i = 0; i < 64; i++)
		list[i] = &r;
	while ((k = syscall(SYS_io_submit, ctx, 64, list)) > 0)
		n += (uint32_t)k;
	return n;
}

/* How many requests a new context takes on one CPU. 0: it is not known. */
static uint32_t room_of(uint32_t events)
{
	AUTO_FD int fd = memfd_create("xos", MFD_CLOEXEC);
	uint64_t ctx = aio_own(events);
	cpu_set_t was, one, possible;
	int cpus = cpus_read("possible", &possible), cpu = sched_getcpu();
	uint32_t batch, n = 0;

	if (!ctx)
		return 0;
	CPU_ZERO(&one);
	if (cpu >= 0)
		CPU_SET((size_t)cpu, &one);
	/* Places that were given to another CPU would be missing. */
	if (fd >= 0 && cpus > 0 && !sched_getaffinity(0, sizeof was, &was) && !sched_setaffinity(0, sizeof one, &one)) {
		n = fill_own(ctx, fd);
		sched_setaffinity(0, sizeof was, &was);
		batch = (events - 1) / (4 * (uint32_t)cpus);
		batch = batch ? batch : 1;
		if (n != (events - 1) / batch * batch)
			n = 0;
	}
	syscall(SYS_io_destroy, ctx);
	return n;
}

/* ---- the ring, from outside ---- */

/* Takes our events out. The number of events that were in it, -1: it cannot be reached. */
static long mend(const struct probe *b)
{
	struct aio_event *v = malloc((size_t)b->events * sizeof *v);
	uint64_t at = b->addr + sizeof(struct aio_head);
	struct aio_head h;
	uint32_t n, kept = 0, head;

	if (!v || pread(b->memfd, &h, sizeof h, (off_t)b->addr) != sizeof h || h.nr != b->events || h.head >= h.nr || h.tail >= h.nr ||
	    pread(b->memfd, v, (size_t)h.nr * sizeof *v, (off_t)at) != (ssize_t)((size_t)h.nr * sizeof *v)) {
		free(v);
		return -1;
	}
	n = aio_unread(&h);
	/* Those that stay move up to the tail, the last one first. */
	for (uint32_t i = n; i-- > 0;) {
		struct aio_event *e = &v[(h.head + i) % h.nr];
		uint32_t to;

		if (e->data == b->mark && e->obj == b->request)
			continue;
		to = (h.tail + h.nr - ++kept) % h.nr;
		if (pwrite(b->memfd, e, sizeof *e, (off_t)(at + to * sizeof *e)) != sizeof *e)
			n = 0;
	}
	free(v);
	head = (h.tail + h.nr - kept) % h.nr;
	if (kept == n)
		return (long)n;
	return pwrite(b->memfd, &head, sizeof head, (off_t)(b->addr + offsetof(struct aio_head, head))) == sizeof head ? (long)n : -1;
}

/* ---- the guard ---- */

static void guard(const struct probe *b, int sock)
{
	struct { int word; pid_t pid; } m;
	struct pollfd end = { .fd = -1, .events = POLLIN };
	sigset_t all;
	ssize_t n;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	setsid();
	close(b->sock);
	while ((n = read(sock, &m, sizeof m)) == sizeof m || (n < 0 && errno == EINTR)) {
		if (n < 0)
			continue;
		if (m.word == DONE)
			_exit(0);
		end.fd = (int)syscall(SYS_pidfd_open, m.pid, 0);
		(void)!write(sock, &m, sizeof m);
	}
	/* We were killed; with us the other process. */
	while (end.fd >= 0 && poll(&end, 1, -1) < 0)
		;
	mend(b);
	b->d->hold(b->d->ctx, false);
	_exit(0);
}

static int guard_start(struct probe *b, struct err *e)
{
	int s[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s))
		return err_sys(e, "cannot make a socket");
	b->sock = s[0];
	b->guard = fork();
	if (!b->guard)
		guard(b, s[1]);
	close(s[1]);
	if (b->guard > 0)
		return 0;
	close(s[0]);
	return err_sys(e, "cannot make a process");
}

static void guard_end(struct probe *b)
{
	struct { int word; pid_t pid; } m = { DONE, 0 };

	send(b->sock, &m, sizeof m, MSG_NOSIGNAL);
	while (waitpid(b->guard, NULL, 0) < 0 && errno == EINTR)
		;
	close(b->sock);
}

/* ---- the other process ---- */

static int born(void *ctx, pid_t child)
{
	struct { int word; pid_t pid; } m = { ARMED, child };
	struct probe *b = ctx;
	const int32_t nr = SYS_getpid;

	b->ready = true;
	if (b->d->hold(b->d->ctx, true) || cgroup_freeze_leave(b->d->job_groups, child) ||
	    send(b->sock, &m, sizeof m, MSG_NOSIGNAL) != sizeof m || read(b->sock, &m, sizeof m) != sizeof m)
		return -1;
	return pwrite(b->memfd, &nr, sizeof nr, (off_t)b->arm) == sizeof nr ? 0 : -1;
}

static void dead(void *ctx)
{
	struct probe *b = ctx;
	long n = mend(b);

	b->counted = n >= 0;
	b->taken = n >= 0 ? (uint32_t)n : 0;
	if (b->ready)
		b->d->hold(b->d->ctx, false);
}

/* The calls: on each CPU so many requests, as long as there are places. */
static int plan(struct probe *b, struct remote *rem, uint32_t room, struct err *e)
{
	struct aio_request req = { .data = b->mark, .opcode = AIO_PREAD };
	uint32_t calls = (room + AT_ONCE - 1) / AT_ONCE;
	size_t ncpu, clone, wait, one = 0;
	uint64_t ptrs[AT_ONCE], name, ptr_at, at;
	cpu_set_t online;

	if (cpus_read("online", &online) < 0)
		return err_set(e, EX_FAILED, "the CPUs of this machine are not known");
	ncpu = (size_t)CPU_COUNT(&online);
	if (ncpu > CPUS_MAX || calls * ncpu + ncpu > CALLS_MAX)
		return err_set(e, EX_CANNOT_CKPT, "its ring is too large, or there are too many CPUs, to find out whether requests are in flight");
	if (remote_room(rem, 4, sizeof ptrs + ncpu * 128 + (calls * ncpu + ncpu + 8) * 80, e))
		return -1;
	b->request = remote_put(rem, &req, sizeof req);
	for (size_t i = 0; i < AT_ONCE; i++)
		ptrs[i] = b->request;
	ptr_at = remote_put(rem, ptrs, sizeof ptrs);
	name = remote_put(rem, "xos", 4);
	/* Its number becomes the argument of the wait behind it. */
	at = remote_arg_addr(rem, remote_queued(rem) + 1, 0);
	clone = remote_clone(rem, "clone", REMOTE_MUST, calls * ncpu + ncpu + 4, SYS_clone,
			     CLONE_VM | CLONE_VFORK | CLONE_FS | (b->own_child ? CLONE_PARENT_SETTID : CLONE_PARENT), 0, at, 0, 0, 0);
	b->arm = remote_child_addr(rem);
	remote_child(rem, SYS_exit_group, 0, 0, 0, 0, 0, 0);
	/* The lowest number, so that its own is known: the process has its own descriptors. */
	remote_child(rem, SYS_close, 0, 0, 0, 0, 0, 0);
	remote_child(rem, SYS_memfd_create, name, 0, 0, 0, 0, 0);
	for (int c = 0; c < CPU_SETSIZE; c++) {
		unsigned char mask[128] = { 0 };

		if (!CPU_ISSET((size_t)c, &online) || (b->one_cpu && one++))
			continue;
		mask[c / 8] = (unsigned char)(1 << c % 8);
		at = remote_put(rem, mask, sizeof mask);
		remote_child(rem, SYS_sched_setaffinity, 0, sizeof mask, at, 0, 0, 0);
		for (uint32_t k = 0; k < calls; k++)
			remote_child(rem, SYS_io_submit, b->addr, k + 1 < calls ? AT_ONCE : room - k * AT_ONCE, ptr_at, 0, 0, 0);
	}
	remote_child(rem, SYS_exit_group, 0, 0, 0, 0, 0, 0);
	if (!b->own_child)
		return 0;
	wait = remote_call(rem, "wait4", REMOTE_MUST, SYS_wait4, 0, 0, (uint64_t)__WALL, 0, 0, 0);
	return wait == clone + 1 ? 0 : err_set(e, EX_FAILED, "a remote batch overflowed");
}

/* Submits up to `count` on each CPU, and takes them out again. */
static int probe(struct probe *b, struct remote *rem, uint32_t count, struct err *e)
{
	struct remote_watch w = { born, dead, b };
	int rc;

	b->ready = b->counted = false;
	if (plan(b, rem, count, e) || guard_start(b, e))
		return -1;
	remote_watch(rem, &w);
	rc = remote_run(rem, e);
	remote_watch(rem, NULL);
	guard_end(b);
	if (rc)
		return -1;
	return b->ready && b->counted ? 0 : err_set(e, EX_CANNOT_CKPT, "whether requests are in flight cannot be found out here");
}

static int head_of(const struct probe *b, struct aio_head *h)
{
	return pread(b->memfd, h, sizeof *h, (off_t)b->addr) == sizeof *h && h->nr == b->events && h->head < h->nr && h->tail < h->nr ? 0 : -1;
}

/* The rest of the way round. With hardly a place in the ring that would take long: it may stand elsewhere, too. */
static int back_to(struct probe *b, struct remote *rem, uint32_t tail, struct err *e)
{
	struct aio_head h;

	for (int laps = 0; laps < LAPS_MAX; laps++) {
		uint32_t left;

		if (head_of(b, &h))
			return err_set(e, EX_FAILED, "cannot read its ring");
		left = (tail + h.nr - h.tail) % h.nr;
		if (!left)
			return 0;
		b->one_cpu = true;
		if (probe(b, rem, left, e))
			return -1;
	}
	return 0;
}

int aio_in_flight(struct dump *d, struct dproc *p, uint64_t addr, uint32_t events, uint32_t *n, struct err *e)
{
	struct probe b = { .d = d, .memfd = p->t->memfd, .addr = addr, .events = events, .mark = 0x786f73u ^ addr << 8,
			   .own_child = p->nthr == 1 };
	uint32_t room = room_of(events);
	struct aio_head h;

	if (!room)
		return err_set(e, EX_CANNOT_CKPT, "whether requests are in flight cannot be found out on this kernel");
	if (head_of(&b, &h))
		return err_set(e, EX_FAILED, "cannot read its ring");
	if (probe(&b, p->rem, room, e))
		return -1;
	if (b.taken > room)
		return err_set(e, EX_CANNOT_CKPT, "whether requests are in flight cannot be found out here");
	*n = room - b.taken;
	return *n ? 0 : back_to(&b, p->rem, h.tail, e);
}
