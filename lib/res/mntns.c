#include "res/mntns.h"

#include <stdio.h>

int mntns_check(struct dump *d, const struct dproc *p, int owner_user_fd, struct err *e)
{
	return refuse(d, p, "mount namespace of its own");
}

int mntns_dump(struct dump *d, uint32_t id, const struct dproc *p, int owner_user_fd, struct buf *out, struct err *e)
{
	return err_set(e, EX_CANNOT_CKPT, "mount namespaces are not supported");
}

int mntns_verify(struct restore *r, const struct rec_list *list, uint32_t id, struct err *e)
{
	return err_set(e, EX_BAD_IMAGE, "mount namespaces are not supported");
}

int mntns_build(struct restore *r, const struct rec_list *list, uint32_t id, struct err *e)
{
	return err_set(e, EX_BAD_IMAGE, "mount namespaces are not supported");
}

int mntns_complete(struct restore *r, const struct rec_list *list, uint32_t id, struct err *e)
{
	return err_set(e, EX_BAD_IMAGE, "mount namespaces are not supported");
}

int mntns_path(const char *path, char *out, size_t n)
{
	return (size_t)snprintf(out, n, "%s%s", MNTNS_NEW, path) >= n ? -1 : 0;
}
