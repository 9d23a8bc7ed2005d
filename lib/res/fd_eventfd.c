/* fd_eventfd: eventfd(2). Record: TYPE="eventfd" ... COUNT= SEMAPHORE=0|1
 *
 * Kernels before 6.6 do not show EFD_SEMAPHORE in fdinfo. There it is found by adding 2, reading once and
 * putting back what was read, while the job stands: in a child of ours, so that a kill of the checkpointer
 * does not come between. */
#include "res/fd_ops.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROBE_COUNTER = 10, PROBE_SEMAPHORE, PROBE_FAILED };
#define EVENTFD_MAX (UINT64_MAX - 1)

static bool eventfd_match(const struct dfile *f)
{
	return fd_is_anon(f, "[eventfd]");
}

/* In the child; async-signal-safe. The description may be O_NONBLOCK or not: nothing here can wait. */
static int probe(int fd, uint64_t count)
{
	uint64_t two = 2, got = 0;

	if (write(fd, &two, sizeof two) != sizeof two || read(fd, &got, sizeof got) != sizeof got)
		return PROBE_FAILED;
	if (got == 1)
		return read(fd, &got, sizeof got) == sizeof got ? PROBE_SEMAPHORE : PROBE_FAILED;
	if (count && write(fd, &count, sizeof count) != sizeof count)
		return PROBE_FAILED;
	return PROBE_COUNTER;
}

/* 1, 0, or -1 when it cannot be found out. */
static int is_semaphore(const struct dfile *f, uint64_t count)
{
	uint64_t v;
	int status;
	pid_t pid;

	if (!fdinfo_num(f->info, "eventfd-semaphore", 10, &v) && !fault("eventfd-semaphore"))
		return v != 0;
	if (f->lfd < 0 || count > EVENTFD_MAX - 2)
		return -1;
	pid = fork();
	if (pid == 0)
		_exit(probe(f->lfd, count));
	if (pid < 0)
		return -1;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	if (!WIFEXITED(status) || WEXITSTATUS(status) == PROBE_FAILED)
		return -1;
	return WEXITSTATUS(status) == PROBE_SEMAPHORE;
}

static int eventfd_check(struct dump *d, struct dfile *f, struct err *e)
{
	uint64_t v;

	if (fdinfo_num(f->info, "eventfd-count", 16, &v))
		return refuse(d, f->p, "fd %d: eventfd: this kernel does not tell its count", f->fd);
	return 0;
}

static int eventfd_dump(struct dump *d, struct dfile *f, struct err *e)
{
	uint64_t count;
	int sem;

	if (fdinfo_num(f->info, "eventfd-count", 16, &count))
		return err_set(e, EX_FAILED, "eventfd without count in fdinfo");
	sem = is_semaphore(f, count);
	if (sem < 0)
		return err_set(e, EX_FAILED, "cannot tell whether the eventfd is a semaphore");
	rec_put_u64(&d->files_out, "COUNT", count);
	rec_put_u64(&d->files_out, "SEMAPHORE", (uint64_t)sem);
	return 0;
}

static int eventfd_open(struct restore *r, struct rfile *f, struct err *e)
{
	uint64_t count, sem;

	if (rec_u64(&f->rec, "COUNT", UINT64_MAX, &count, e) || rec_u64(&f->rec, "SEMAPHORE", 1, &sem, e))
		return -1;
	f->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | (sem ? EFD_SEMAPHORE : 0));
	if (f->fd < 0)
		return err_sys(e, "eventfd");
	/* The largest value can be reached by the kernel only (aio, KVM): write(2) takes one less. */
	if (count > EVENTFD_MAX)
		count = EVENTFD_MAX;
	if (count && write(f->fd, &count, sizeof count) != sizeof count)
		return err_sys(e, "eventfd: cannot set the count");
	return fd_set_flags(f->fd, &f->rec, e);
}

const struct fd_ops fd_eventfd_ops = {
	.type = "eventfd", .match = eventfd_match, .check = eventfd_check, .dump = eventfd_dump, .open = eventfd_open,
};
