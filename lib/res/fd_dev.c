/* fd_dev: the character devices without state: null, zero, full, random, urandom. mem(4), random(4).
 * Record: TYPE="dev" ... RDEV= */
#include "res/fd_ops.h"

#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>

static bool dev_match(const struct dfile *f)
{
	unsigned mi = minor(f->st.st_rdev);

	return S_ISCHR(f->st.st_mode) && !(f->flags & O_PATH) && major(f->st.st_rdev) == 1 &&
	       (mi == 3 || mi == 5 || mi == 7 || mi == 8 || mi == 9);
}

static int dev_dump(struct dump *d, struct dfile *f, struct err *e)
{
	rec_put_hex(&d->files_out, "RDEV", f->st.st_rdev);
	return 0;
}

static int dev_open(struct restore *r, struct rfile *f, struct err *e)
{
	uint64_t flags, rdev;
	const char *path;
	char to[PATH_MAX];
	struct stat st;

	if (rec_u64(&f->rec, "FLAGS", UINT32_MAX, &flags, e) || rec_u64(&f->rec, "RDEV", UINT32_MAX, &rdev, e) ||
	    rec_str(&f->rec, "PATH", &path, e) || restore_path(r, path, to, e))
		return -1;
	f->fd = open(to, ((int)flags & (O_ACCMODE | O_APPEND | O_NONBLOCK)) | O_CLOEXEC | O_NOCTTY);
	if (f->fd < 0 || fstat(f->fd, &st))
		return err_sys(e, "cannot open %s again", to);
	if (!S_ISCHR(st.st_mode) || st.st_rdev != rdev)
		return err_set(e, EX_MISFIT, "%s is not the device that it was", to);
	return 0;
}

const struct fd_ops fd_dev_ops = { .type = "dev", .match = dev_match, .dump = dev_dump, .open = dev_open };
