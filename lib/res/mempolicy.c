/* mempolicy: a thread's NUMA memory policy, set_mempolicy(2). Part of thread.c's batch; only what is not the default has a
 * record. Policies of mappings (mbind(2)) belong to memory. */
#include "res/proc_ops.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

enum { NODES_MAX = 1024, MASK_BYTES = NODES_MAX / 8, MODE_MAX = 8, MODE_FLAGS = 0xe000 };

void mempolicy_ask(struct remote *rem, struct mempolicy_read *q)
{
	q->mode = remote_put(rem, NULL, 8);
	q->mask = remote_put(rem, NULL, MASK_BYTES);
	q->call = remote_call(rem, "get_mempolicy", REMOTE_ANY, SYS_get_mempolicy, q->mode, q->mask, NODES_MAX, 0, 0, 0);
}

/* A kernel without NUMA says ENOSYS: there is only the default. */
void mempolicy_put(struct remote *rem, const struct mempolicy_read *q, struct buf *out)
{
	int32_t mode;

	if (remote_ret(rem, q->call) < 0)
		return;
	memcpy(&mode, remote_data(rem, q->mode), sizeof mode);
	if (mode == 0)
		return;
	rec_begin(out, "mempolicy");
	rec_put_hex(out, "MODE", (uint32_t)mode);
	rec_put_bin(out, "NODES", remote_data(rem, q->mask), MASK_BYTES);
	rec_end(out);
}

/* 1: *mode and mask are filled; 0: the default. */
static int mempolicy_get(struct rproc *p, const struct rthread *th, uint64_t *mode, unsigned char *mask, struct err *e)
{
	struct rec rec;
	size_t n;

	if (rthread_rec(p, th, "mempolicy", 0, &rec) < 0)
		return 0;
	if (rec_u64(&rec, "MODE", MODE_FLAGS | MODE_MAX, mode, e) < 0 ||
	    rec_bin(&rec, "NODES", mask, MASK_BYTES, MASK_BYTES, &n, e) < 0)
		return -1;
	return 1;
}

int mempolicy_verify(struct rproc *p, const struct rthread *th, struct err *e)
{
	unsigned char mask[MASK_BYTES];
	uint64_t mode;

	return mempolicy_get(p, th, &mode, mask, e) < 0 ? -1 : 0;
}

int mempolicy_restore(struct rproc *p, const struct rthread *th, struct err *e)
{
	unsigned char mask[MASK_BYTES];
	uint64_t mode;
	long ret;
	int n = mempolicy_get(p, th, &mode, mask, e);

	if (n <= 0)
		return n;
	if (remote_room(p->rem, 1, sizeof mask, e) < 0 ||
	    remote_one(p->rem, "set_mempolicy", &ret, e, SYS_set_mempolicy, mode, remote_put(p->rem, mask, sizeof mask),
		       NODES_MAX, 0, 0, 0) < 0)
		return -1;
	if (ret < 0)
		return err_set(e, EX_MISFIT, "its NUMA memory policy (mode %#llx) cannot be set here: %s",
			       (unsigned long long)mode, strerror((int)-ret));
	return 0;
}
