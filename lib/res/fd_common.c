/* fd_common: what several kinds of descriptions share. */
#include "res/fd_ops.h"

#include <fcntl.h>
#include <string.h>

bool fd_is_anon(const struct dfile *f, const char *name)
{
	static const char prefix[] = "anon_inode:";

	return !strncmp(f->link, prefix, sizeof prefix - 1) && !strcmp(f->link + sizeof prefix - 1, name);
}

int fd_set_flags(int fd, const struct rec *rec, struct err *e)
{
	enum { SETTABLE = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME };
	uint64_t flags;
	int now;

	if (rec_u64(rec, "FLAGS", UINT32_MAX, &flags, e))
		return -1;
	now = fcntl(fd, F_GETFL);
	if (now < 0)
		return err_sys(e, "fcntl F_GETFL");
	if ((now & SETTABLE) == (int)(flags & SETTABLE))
		return 0;
	if (fcntl(fd, F_SETFL, (now & ~SETTABLE) | (int)(flags & SETTABLE)))
		return err_sys(e, "cannot set the flags 0%o", (unsigned)(flags & SETTABLE));
	return 0;
}
