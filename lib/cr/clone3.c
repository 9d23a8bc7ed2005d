#include "cr/clone3.h"
#include "common/cleanup.h"
#include "res/ns_obj.h"

#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

/* The user namespace that maker is in by now. */
static const struct rns *user_now(struct restore *r, const struct rproc *maker)
{
	return maker->entered ? ns_of(r, maker, NSK_USER) : maker->born;
}

/* All PID namespaces above one belong to the same owner: ns_pid.c. */
static bool rules_over(const struct rns *user, const struct rns *pidns)
{
	const struct rns *owner = pidns ? pidns->user : NULL;

	while (owner && owner != user)
		owner = owner->user;
	return owner == user;
}

void clone3_numbers(struct restore *r, const struct rproc *maker, pid_t pid, const pid_t *nspid, size_t nnspid, struct numbers *out)
{
	const struct rns *user = maker ? user_now(r, maker) : NULL;

	out->n = 0;
	out->pidns = !nnspid ? NULL : maker && maker->pidns_child ? maker->pidns_child : maker ? maker->pidns : NULL;
	for (size_t i = nnspid; i-- > 0;)
		out->v[out->n++] = nspid[i];
	out->v[out->n++] = pid;
	out->may = !user ? out->n : nnspid && rules_over(user, out->pidns) ? nnspid : 0;
}

/* Sets the number that was given last; *before gets what it was. */
static int last_number(pid_t pid, pid_t *before)
{
	char text[16] = "";
	AUTO_FD int fd = open("/proc/sys/kernel/ns_last_pid", O_RDWR | O_CLOEXEC);
	int n;

	if (fd < 0 || pread(fd, text, sizeof text - 1, 0) <= 0)
		return -1;
	*before = (pid_t)atoi(text);
	n = snprintf(text, sizeof text, "%d", pid);
	return pwrite(fd, text, (size_t)n, 0) == n ? 0 : -1;
}

bool clone3_wait_free(const struct numbers *nums)
{
	static const struct timespec ms = { .tv_nsec = 1000000 };
	char path[32];

	if (nums->may == nums->n)
		return true;
	snprintf(path, sizeof path, "/proc/%d", nums->v[nums->n - 1]);
	if (access(path, F_OK))
		return true;
	nanosleep(&ms, NULL);
	return false;
}

/* In the PID namespace; the kernel asks for its owner's rights, which we have from above. */
static int last_inside(void *ctx, struct buf *answer, int *give, struct err *e)
{
	pid_t before;

	(void)answer;
	(void)give;
	return last_number(*(const pid_t *)ctx, &before) ? err_sys(e, "cannot choose a PID in a PID namespace (/proc/sys/kernel/ns_last_pid)") : 0;
}

/* Who does it takes a number there, and has gone when this returns. */
static int choose_below(const struct numbers *nums, struct err *e)
{
	const struct rns *in = nums->pidns;

	for (size_t i = 0; i + 1 < nums->n && in; i++, in = in->parent) {
		struct ns_place at = NS_HERE;
		pid_t last = nums->v[i] - 1;
		struct ns_job job = { .fn = last_inside, .ctx = &last };

		at.fd[NSK_PID] = in->fd;
		if (i >= nums->may && ns_run(&at, &job, NULL, NULL, e))
			return -1;
	}
	return 0;
}

bool clone3_right_below(pid_t pid, const struct numbers *nums)
{
	struct proc_status st;

	if (nums->n == 1 || nums->may + 1 >= nums->n)
		return true;
	if (proc_status_read(&st, pid, pid, NULL) || st.nnspid < nums->n)
		return false;
	for (size_t i = 0; i + 1 < nums->n; i++)
		if (st.nspid[st.nnspid - 1 - i] != nums->v[i])
			return false;
	return true;
}

int clone3_remote(struct rproc *maker, struct clone3_args *a, const struct numbers *nums, long *ret, struct err *e)
{
	pid_t before = 0, ours = nums->v[nums->n - 1];
	uint64_t at;
	int rc;

	a->set_tid = nums->may ? remote_put(maker->rem, nums->v, nums->may * sizeof *nums->v) : 0;
	a->set_tid_size = nums->may;
	at = remote_put(maker->rem, a, sizeof *a);
	if (nums->may + 1 < nums->n && choose_below(nums, e))
		return -1;
	if (nums->may < nums->n && last_number(ours - 1, &before))
		return err_sys(e, "cannot choose PID %d (/proc/sys/kernel/ns_last_pid)", ours);
	rc = remote_one(maker->rem, "clone3", ret, e, SYS_clone3, at, sizeof *a, 0, 0, 0, 0);
	/* Others go on where they were: the next numbers may be wanted by the job as well. */
	if (before)
		last_number(before, &before);
	return rc;
}
