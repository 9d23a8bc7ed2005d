/* ns_ipc: System V IPC and POSIX message queues of a namespace of its own, ipc_namespaces(7). Field: SETTINGS= (limits, ns_sysctl.h).
 *
 * What is in it is saved where all members are in this one (sysv_dump.c, fd_mqueue.c): the restorer goes there to make it anew. Otherwise, with two
 * sets of objects in one job, only an empty one can be saved. */
#include "res/ns_obj.h"
#include "res/ns_sysctl.h"
#include "res/sysv.h"
#include "common/cleanup.h"

#include <sched.h>
#include <string.h>
#include <sys/mount.h>

static const char *const settings[] = {
	"kernel/shmmax", "kernel/shmall", "kernel/shmmni", "kernel/shm_rmid_forced", "kernel/msgmax", "kernel/msgmni", "kernel/msgmnb",
	"kernel/sem", "fs/mqueue/queues_max", "fs/mqueue/msg_max", "fs/mqueue/msgsize_max", "fs/mqueue/msg_default",
	"fs/mqueue/msgsize_default", NULL,
};

#define QUEUE "POSIX message queue "

/* Has somebody the queue of that name? */
static bool is_open(const struct dump *d, const char *name)
{
	for (size_t i = 0; i < d->nfiles; i++)
		if (!strcmp(d->files[i]->ops->type, "mqueue") && !strcmp(d->files[i]->link, name))
			return true;
	return false;
}

/* A name of each thing in it. A mount of its queues is ours alone. */
static int content(void *ctx, struct buf *answer, int *give, struct err *e)
{
	AUTO_BUF struct buf objs = BUF_INIT;
	AUTO_DIR DIR *dir = NULL;

	(void)ctx;
	(void)give;
	if (sysv_scan(&objs, e))
		return -1;
	if (objs.len)
		buf_adds(answer, "System V IPC objects\n");
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return err_sys(e, "cannot make a mount namespace");
	if (mount("mqueue", "/tmp", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL))
		return errno == ENODEV ? 0 : err_sys(e, "cannot look at the POSIX message queues");
	dir = opendir("/tmp");
	for (const struct dirent *x; dir && (x = readdir(dir));)
		if (strcmp(x->d_name, ".") && strcmp(x->d_name, ".."))
			buf_printf(answer, QUEUE "/%s\n", x->d_name);
	return dir ? 0 : err_sys(e, "cannot list the POSIX message queues");
}

static int ipc_check(struct dump *d, struct dns *n, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	struct ns_job job = { .fn = content, .ctx = NULL };
	struct ns_place at;
	char *save = NULL;

	ns_place_of(d, n, &at);
	if (ns_run(&at, &job, &b, NULL, e))
		return -1;
	for (char *l = b.p ? strtok_r(b.p, "\n", &save) : NULL; l; l = strtok_r(NULL, "\n", &save))
		if (n != d->ns->ipc)
			refuse(d, n->p, "%s in an IPC namespace of its own that not all members share", l);
		else if (!strncmp(l, QUEUE, strlen(QUEUE)) && !is_open(d, l + strlen(QUEUE)))
			refuse(d, n->p, "%s, which nobody has open, in an IPC namespace of its own", l);
	return 0;
}

static int read_settings(void *ctx, struct buf *answer, int *give, struct err *e)
{
	(void)give;
	return ns_sysctl_read(ctx, answer, e);
}

static int ipc_dump(struct dump *d, struct dns *n, struct buf *out, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	struct ns_job job = { .fn = read_settings, .ctx = (void *)settings };
	struct ns_place at;

	ns_place_of(d, n, &at);
	if (ns_run(&at, &job, &b, NULL, e))
		return -1;
	ns_sysctl_put(out, "SETTINGS", buf_str(&b));
	return 0;
}

static int ipc_verify(struct restore *r, struct rns *n, struct err *e)
{
	(void)r;
	return ns_sysctl_verify(&n->rec, "SETTINGS", settings, e);
}

static int ipc_build(struct restore *r, struct rns *n, struct err *e)
{
	(void)r;
	return ns_sysctl_write(&n->rec, "SETTINGS", e);
}

const struct ns_ops ns_ipc_ops = { .kind = NSK_IPC, .what = "IPC", .check = ipc_check, .dump = ipc_dump, .verify = ipc_verify, .build = ipc_build };
