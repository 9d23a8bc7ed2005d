/* umask: the file mode creation mask, one per process (its threads share it unless they unshared it, which
 * ns.c refuses). The smallest resource: copy it to add one. */
#include "res/proc_ops.h"

#include <sys/syscall.h>

enum { UMASK_MAX = 0777 };

static int umask_dump(struct dump *d, struct dproc *p, struct err *e)
{
	rec_begin(&p->out, "umask");
	rec_put_hex(&p->out, "MASK", p->status.umask);
	rec_end(&p->out);
	return 0;
}

static int umask_get(struct rproc *p, uint64_t *mask, struct err *e)
{
	struct rec rec;

	if (rproc_rec(p, "umask", 0, &rec) < 0)
		return err_set(e, EX_BAD_IMAGE, "there is no umask record");
	return rec_u64(&rec, "MASK", UMASK_MAX, mask, e);
}

static int umask_verify(struct restore *r, struct rproc *p, struct err *e)
{
	uint64_t mask;

	return umask_get(p, &mask, e);
}

static int umask_restore(struct restore *r, struct rproc *p, struct err *e)
{
	uint64_t mask;
	long old;

	if (umask_get(p, &mask, e) < 0)
		return -1;
	return remote_one(p->rem, "umask", &old, e, SYS_umask, mask, 0, 0, 0, 0, 0);
}

const struct res_ops res_umask = {
	.name = "umask",
	.dump = umask_dump,
	.verify = umask_verify,
	.restore = umask_restore,
};
