/* comm: the name of a thread, up to 15 bytes of any value but NUL. */
#include "res/proc_ops.h"

#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { COMM_MAX = 15 };

static int comm_dump_thread(struct dump *d, struct dproc *p, struct dthread *th, struct err *e)
{
	rec_begin(&p->out, "comm");
	rec_put_strn(&p->out, "NAME", th->stat.comm, strnlen(th->stat.comm, COMM_MAX));
	rec_end(&p->out);
	return 0;
}

static int comm_get(struct rproc *p, const struct rthread *th, char name[COMM_MAX + 1], struct err *e)
{
	struct rec rec;
	const char *s;

	if (rthread_rec(p, th, "comm", 0, &rec) < 0)
		return err_set(e, EX_BAD_IMAGE, "thread %d: there is no comm record", th->tid);
	if (rec_str(&rec, "NAME", &s, e) < 0)
		return -1;
	if (strlen(s) > COMM_MAX)
		return err_set(e, EX_BAD_IMAGE, "line %zu: NAME is longer than %d bytes", rec.line, COMM_MAX);
	memset(name, 0, COMM_MAX + 1);
	memcpy(name, s, strlen(s));
	return 0;
}

static int comm_verify(struct restore *r, struct rproc *p, struct err *e)
{
	char name[COMM_MAX + 1];

	for (size_t i = 0; i < p->nthr + p->headless; i++)
		if (comm_get(p, &p->thr[i], name, e) < 0)
			return -1;
	return 0;
}

static int comm_restore_thread(struct restore *r, struct rproc *p, struct rthread *th, struct err *e)
{
	char name[COMM_MAX + 1];

	if (comm_get(p, th, name, e) < 0 || remote_room(p->rem, 1, sizeof name, e) < 0)
		return -1;
	remote_call(p->rem, "prctl(PR_SET_NAME)", REMOTE_MUST, SYS_prctl, PR_SET_NAME,
		    remote_put(p->rem, name, sizeof name), 0, 0, 0, 0);
	return remote_run(p->rem, e);
}

const struct res_ops res_comm = {
	.name = "comm",
	.dump_thread = comm_dump_thread,
	.verify = comm_verify,
	.restore_thread = comm_restore_thread,
};
