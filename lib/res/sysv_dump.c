/* sysv_dump: the state of the job's System V objects.
 *
 * Member `ipc`, there only when something needs it:
 *   TYPE="ipc" BOOT= NS=                where they were: an object of the same id elsewhere is another
 *   TYPE="sysvshm" ID= KEY= MODE= UID= GID= CUID= CGID= SIZE= COUNT= PID= LAST=
 *   TYPE="sysvruns" RUNS="offset+pages,..."   behind it; content: raw member sysv_shm_N, N counts segments from 1
 *   TYPE="sysvsem" ... VALUES="1,0,..." PIDS="4711,0,..."
 *   TYPE="sysvmsg" ...
 *   TYPE="sysvmessage" MTYPE= DATA=hex        behind it, in the order of the queue
 *
 * Messages are copied by MSG_COPY, which takes nothing (a kernel with CONFIG_CHECKPOINT_RESTORE). */
#include "res/sysv.h"
#include "common/cleanup.h"
#include "res/fd_ops.h"
#include "res/proc_ops.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/shm.h>
#include <sys/syscall.h>

enum { MSG_COPY_ = 040000, FIRST_MESSAGE = 64 << 10 };

static size_t pages_len(const struct sysv_obj *o) { return (o->size + MM_PAGE - 1) / MM_PAGE * MM_PAGE; }

/* ---- content of segments ---- */

struct copy { const struct sysv_obj *o; int fd; };

/* Only what is there, so that the copy has the same holes. */
static int copy_segment(void *arg, struct buf *out, struct err *e)
{
	struct copy *c = arg;
	struct mm_runs runs = { 0 };
	char *p = shmat(c->o->id, NULL, SHM_RDONLY);
	int rc = 0;

	if (p == (char *)-1)
		return err_sys(e, "cannot attach it");
	if (sysv_present(c->o, p, pages_len(c->o), &runs))
		rc = err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; i < runs.n && !rc; i++)
		for (uint64_t at = runs.v[i].start, end = at + runs.v[i].n * MM_PAGE; at < end && !rc;) {
			ssize_t n = pwrite(c->fd, p + at, end - at, (off_t)at);

			if (n <= 0)
				rc = err_sys(e, "cannot copy it");
			at += n > 0 ? (uint64_t)n : 0;
		}
	mm_runs_free(&runs);
	shmdt(p);
	return rc;
}

static int copy_out(struct dump *d, struct sysv_obj *o, struct err *e)
{
	AUTO_FD int fd = (int)syscall(SYS_memfd_create, "sysv", 1u /* MFD_CLOEXEC */);
	AUTO_BUF struct buf none = BUF_INIT;
	struct copy c = { o, fd };

	if (fd < 0 || ftruncate(fd, (off_t)pages_len(o)))
		return err_sys(e, "cannot make a copy");
	if (sysv_run(d, copy_segment, &c, &none, e))
		return -1;
	o->map = mmap(NULL, pages_len(o), PROT_READ, MAP_SHARED, fd, 0);
	if (o->map == MAP_FAILED) {
		o->map = NULL;
		return err_sys(e, "cannot map a copy");
	}
	o->map_own = true;
	return 0;
}

/* The content of a segment that members have attached is read where it is. Of one that nobody has, a copy: for we count as the
 * last to attach it, until a member does (touch). */
static int open_content(struct dump *d, struct sysv_obj *o, struct err *e)
{
	char what[96];

	if (o->map)
		return 0;
	if (d->sysv->other_ns || !o->attached) {
		if (copy_out(d, o, e))
			return err_prefix(e, "%s", sysv_describe(o, what));
	} else {
		o->map = shmat(o->id, NULL, SHM_RDONLY);
		if (o->map == (char *)-1) {
			o->map = NULL;
			return err_sys(e, "cannot attach %s", sysv_describe(o, what));
		}
	}
	o->map_len = pages_len(o);
	return sysv_present(o, o->map, o->map_len, &o->runs) ? err_set(e, EX_FAILED, "out of memory") : 0;
}

/* Room for len bytes that p has free. */
static uint64_t hole(const struct dproc *p, uint64_t len)
{
	uint64_t at = (uint64_t)1 << 32;

	for (size_t i = 0; i < p->maps.n && p->maps.v[i].start < at + len + ((uint64_t)1 << 30); i++)
		if (p->maps.v[i].end + ((uint64_t)1 << 30) > at)
			at = (p->maps.v[i].end >> 30 << 30) + ((uint64_t)2 << 30);
	return at + len < (uint64_t)1 << 46 ? at : 0;
}

/* A segment that nobody has attached is known as the job's by its creator, and after a restart by who attached it
 * last: a member attaches and detaches it. */
static int touch(struct dump *d, struct dproc *p, struct sysv_obj *o, struct err *e)
{
	uint64_t at = hole(p, o->size);

	if (open_content(d, o, e))
		return -1;
	if (!at)
		return 0;
	remote_call(p->rem, "shmat", REMOTE_ANY, SYS_shmat, (uint64_t)o->id, at, SHM_RDONLY, 0, 0, 0);
	remote_call(p->rem, "shmdt", REMOTE_ANY, SYS_shmdt, at, 0, 0, 0, 0, 0);
	return remote_run(p->rem, e);
}

static int dump_proc(struct dump *d, struct dproc *p, struct err *e)
{
	for (size_t i = 0; i < d->sysv->all.n; i++) {
		struct sysv_obj *o = &d->sysv->all.v[i];

		if (o->kind == SYSV_SHM && o->user == p && !o->attached && !d->sysv->own && touch(d, p, o, e))
			return -1;
	}
	return sysv_undo_dump(d, p, e);
}

/* ---- messages ---- */

static int copy_messages(void *arg, struct buf *out, struct err *e)
{
	const struct sysv_obj *o = arg;
	size_t room = FIRST_MESSAGE;
	struct { long type; char data[]; } *m = malloc(sizeof *m + room);
	int rc = 0;

	for (uint64_t i = 0; m && i < o->count && !rc;) {
		ssize_t n = msgrcv(o->id, m, room, (long)i, MSG_COPY_ | IPC_NOWAIT);

		if (n < 0 && errno == E2BIG && room < SYSV_MAX_MESSAGE) {
			void *bigger = realloc(m, sizeof *m + (room *= 4));

			if (!bigger)
				free(m);
			m = bigger;
			continue;
		}
		if (n < 0) {
			rc = err_sys(e, "cannot copy message %llu", (unsigned long long)i + 1);
			if (errno == ENOSYS || errno == ENOMSG)
				err_hint(e, "copying messages needs a kernel with CONFIG_CHECKPOINT_RESTORE");
			break;
		}
		rec_begin(out, "sysvmessage");
		rec_put_i64(out, "MTYPE", m->type);
		rec_put_bin(out, "DATA", m->data, (size_t)n);
		rec_end(out);
		i++;
	}
	if (!m || buf_failed(out))
		rc = err_set(e, EX_FAILED, "out of memory");
	free(m);
	return rc;
}

static int dump_queue(struct dump *d, struct sysv_obj *o, struct buf *out, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	char what[96];

	if (!o->count)
		return 0;
	if (sysv_run(d, copy_messages, o, &b, e))
		return err_prefix(e, "%s", sysv_describe(o, what));
	buf_add(out, buf_str(&b), b.len);
	return 0;
}

/* ---- */

bool sysv_needed(const struct dump *d)
{
	if (d->sysv && d->sysv->nours)
		return true;
	for (size_t i = 0; i < d->nfiles; i++)
		if (!strcmp(d->files[i]->ops->type, "mqueue"))
			return true;
	return false;
}

static int as_the_job_sees(void *ctx, int pid)
{
	struct dump *d = ctx;

	for (size_t i = 0; i < d->nprocs; i++)
		if (d->procs[i]->tgid == pid)
			return d->procs[i]->vpid;
	return 0;
}

int sysv_origin(pid_t pid, char boot[64], char ns[64], struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	char path[64];
	ssize_t n;

	if (buf_read_file(&b, AT_FDCWD, "/proc/sys/kernel/random/boot_id", 63) || buf_failed(&b))
		return err_sys(e, "cannot read boot_id");
	snprintf(boot, 64, "%.*s", (int)strcspn(buf_str(&b), "\n"), buf_str(&b));
	snprintf(path, sizeof path, "/proc/%d/ns/ipc", pid);
	n = readlink(path, ns, 63);
	if (n < 0)
		return err_sys(e, "cannot read %s", path);
	ns[n] = 0;
	return 0;
}

int sysv_dump(struct dump *d, struct buf *out, struct err *e)
{
	char boot[64], ns[64];

	if (sysv_origin(d->sysv->first->pid, boot, ns, e))
		return -1;
	rec_begin(out, "ipc");
	rec_put_str(out, "BOOT", boot);
	rec_put_str(out, "NS", ns);
	rec_end(out);
	for (size_t i = 0; i < d->sysv->all.n; i++) {
		struct sysv_obj *o = &d->sysv->all.v[i];

		if (!o->user)
			continue;
		if (o->kind == SYSV_SHM && open_content(d, o, e))
			return -1;
		sysv_put_obj(out, o, as_the_job_sees, d);
		if (o->kind == SYSV_SHM)
			mm_runs_dump(out, "sysvruns", &o->runs);
		if (o->kind == SYSV_MSG && dump_queue(d, o, out, e))
			return -1;
	}
	return 0;
}

int sysv_write_pages(struct dump *d, struct err *e)
{
	for (size_t i = 0; d->sysv && i < d->sysv->all.n; i++) {
		struct sysv_obj *o = &d->sysv->all.v[i];
		char name[32];

		if (o->kind != SYSV_SHM || !o->user)
			continue;
		snprintf(name, sizeof name, "sysv_shm_%u", o->number);
		if (image_raw_begin(d->img, name, o->runs.pages * MM_PAGE, e))
			return -1;
		for (size_t k = 0; k < o->runs.n; k++)
			if (image_raw_write(d->img, o->map + o->runs.v[k].start, o->runs.v[k].n * MM_PAGE, e))
				return -1;
		if (image_raw_end(d->img, e))
			return -1;
	}
	return 0;
}

void sysv_free(struct dump *d)
{
	if (!d->sysv)
		return;
	for (size_t i = 0; i < d->sysv->all.n; i++) {
		struct sysv_obj *o = &d->sysv->all.v[i];

		if (o->map && o->map_own)
			munmap(o->map, o->map_len);
		else if (o->map)
			shmdt(o->map);
	}
	sysv_list_free(&d->sysv->all);
	free(d->sysv);
	d->sysv = NULL;
}

const struct res_ops res_sysv = {
	.name = "ipc",
	.check = sysv_check,
	.dump = dump_proc,
	.verify = sysv_undo_verify,
	.restore = sysv_last_restore,
	.late = sysv_last_late,
};
