/* fd_signalfd: signalfd(2). What can be read from it are the pending signals of its reader, which are saved
 * with the processes. Record: TYPE="signalfd" ... MASK=0x... (bit n-1: signal n) */
#include "res/fd_ops.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { KERNEL_SIGSET = 8 };

static bool signalfd_match(const struct dfile *f)
{
	return fd_is_anon(f, "[signalfd]");
}

static int signalfd_dump(struct dump *d, struct dfile *f, struct err *e)
{
	uint64_t mask;

	if (fdinfo_num(f->info, "sigmask", 16, &mask))
		return err_set(e, EX_FAILED, "signalfd without sigmask in fdinfo");
	rec_put_hex(&d->files_out, "MASK", mask);
	return 0;
}

/* The system call, not the libc wrapper: a libc may hide its own signals from its sigset_t. */
static int signalfd_open(struct restore *r, struct rfile *f, struct err *e)
{
	uint64_t mask;

	if (rec_u64(&f->rec, "MASK", UINT64_MAX, &mask, e))
		return -1;
	f->fd = (int)syscall(SYS_signalfd4, -1, &mask, KERNEL_SIGSET, SFD_CLOEXEC);
	if (f->fd < 0)
		return err_sys(e, "signalfd");
	return fd_set_flags(f->fd, &f->rec, e);
}

const struct fd_ops fd_signalfd_ops = {
	.type = "signalfd", .match = signalfd_match, .dump = signalfd_dump, .open = signalfd_open,
};
