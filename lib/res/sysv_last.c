/* sysv_last: what a restarted process itself does to System V objects: messages that it sent last it sends again, semaphores
 * that it changed last it changes, segments that nobody has attached it attaches for a moment. So the kernel names it as the
 * last user (semctl(2) GETPID, msg_lspid, shm_lpid), and the next checkpoint finds out whose the objects are.
 * Times are those of the restart. What a process may not do any more, the restorer does. */
#include "res/sysv.h"
#include "common/cleanup.h"

#include <string.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>

/* Message records stand behind their queue's. *i: index of the record before. 1, 0: no more, -1. buf: type and data. */
static int next_message(struct restore *r, size_t *i, struct buf *b, struct err *e)
{
	struct rec rec;
	const char *hex;
	int64_t type;
	size_t n, len;
	char *p;

	if (++*i >= r->sysv->recs.n)
		return 0;
	rec_list_get(&r->sysv->recs, *i, &rec);
	if (strcmp(rec_type(&rec), "sysvmessage"))
		return 0;
	if (rec_i64(&rec, "MTYPE", 1, INT64_MAX, &type, e) || rec_str(&rec, "DATA", &hex, e))
		return -1;
	len = strlen(hex) / 2;
	buf_reset(b);
	buf_add(b, &type, sizeof type);
	p = buf_reserve(b, len + 1);
	if (!p)
		return err_set(e, EX_FAILED, "out of memory");
	if (rec_bin(&rec, "DATA", p, 0, SYSV_MAX_MESSAGE < len ? SYSV_MAX_MESSAGE : len, &n, e))
		return -1;
	buf_commit(b, n);
	return 1;
}

int sysv_send(struct restore *r, struct sysv_obj *o, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	size_t i = o->rec;
	char what[96];
	int rc;

	while ((rc = next_message(r, &i, &b, e)) > 0)
		if (msgsnd(o->id, b.p, b.len - sizeof(long), IPC_NOWAIT))
			return err_sys(e, "cannot put a message of %zu bytes into %s", b.len - sizeof(long), sysv_describe(o, what));
	o->filled = rc == 0;
	return rc;
}

static void drain(int id)
{
	struct { long type; char text[1]; } m;

	while (msgrcv(id, &m, sizeof m.text, 0, IPC_NOWAIT | MSG_NOERROR) >= 0)
		;
}

/* All messages, by the process. Where one cannot be sent by it, all are left to the restorer. */
static int send_by(struct restore *r, struct rproc *p, struct sysv_obj *o, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	size_t i = o->rec;
	int rc;

	while ((rc = next_message(r, &i, &b, e)) > 0) {
		long ret;

		if (b.len + 256 > remote_capacity(p->rem))
			break;
		if (remote_room(p->rem, 1, b.len + 16, e) ||
		    remote_one(p->rem, "msgsnd", &ret, e, SYS_msgsnd, (uint64_t)o->id, remote_put(p->rem, b.p, b.len),
			       b.len - sizeof(long), IPC_NOWAIT, 0, 0))
			return -1;
		if (ret < 0)
			break;
	}
	if (rc > 0)
		drain(o->id);
	o->filled = rc == 0;
	return rc < 0 ? -1 : 0;
}

/* The queue is still empty. */
static int receive_by(struct rproc *p, const struct sysv_obj *o, struct err *e)
{
	struct { long type; char text[8]; } m = { .type = 1 };
	uint64_t at;

	if (remote_room(p->rem, 2, sizeof m + 16, e))
		return -1;
	at = remote_put(p->rem, &m, sizeof m);
	remote_call(p->rem, "msgsnd", REMOTE_ANY, SYS_msgsnd, (uint64_t)o->id, at, 0, IPC_NOWAIT, 0, 0);
	remote_call(p->rem, "msgrcv", REMOTE_ANY, SYS_msgrcv, (uint64_t)o->id, at, sizeof m.text, 0, IPC_NOWAIT, 0);
	return remote_run(p->rem, e);
}

static int attach_by(struct restore *r, struct rproc *p, const struct sysv_obj *o, struct err *e)
{
	uint64_t at = r->temp + r->sysv->temp;

	if (remote_room(p->rem, 2, 0, e))
		return -1;
	remote_call(p->rem, "shmat", REMOTE_ANY, SYS_shmat, (uint64_t)o->id, at, SHM_RDONLY, 0, 0, 0);
	remote_call(p->rem, "shmdt", REMOTE_ANY, SYS_shmdt, at, 0, 0, 0, 0, 0);
	return remote_run(p->rem, e);
}

int sysv_last_restore(struct restore *r, struct rproc *p, struct err *e)
{
	for (size_t i = 0; r->sysv && i < r->sysv->objs.n; i++) {
		struct sysv_obj *o = &r->sysv->objs.v[i];

		if (o->kind == SYSV_MSG && o->pid[1] == p->pid && receive_by(p, o, e))
			return -1;
		if (o->kind == SYSV_SHM && !o->count && (o->pid[1] ? o->pid[1] : o->pid[0]) == p->pid && attach_by(r, p, o, e))
			return -1;
	}
	return sysv_undo_restore(r, p, e);
}

/* One up and one down at once: nothing changes but who was the last. */
static int change_by(struct rproc *p, const struct sysv_obj *o, struct err *e)
{
	for (size_t i = 0; i < o->size; i++) {
		short first = o->val[i] < SYSV_VALUE_MAX ? 1 : -1;
		struct sembuf op[2] = { { (unsigned short)i, first, 0 }, { (unsigned short)i, (short)-first, 0 } };

		if (o->last[i] != p->pid)
			continue;
		if (remote_room(p->rem, 1, sizeof op + 16, e))
			return -1;
		remote_call(p->rem, "semop", REMOTE_ANY, SYS_semop, (uint64_t)o->id, remote_put(p->rem, op, sizeof op), 2, 0, 0, 0);
	}
	return remote_run(p->rem, e);
}

int sysv_last_late(struct restore *r, struct rproc *p, struct err *e)
{
	for (size_t i = 0; r->sysv && i < r->sysv->objs.n; i++) {
		struct sysv_obj *o = &r->sysv->objs.v[i];

		if (o->kind == SYSV_SEM && change_by(p, o, e))
			return -1;
		if (o->kind == SYSV_MSG && o->pid[0] == p->pid && !o->filled && send_by(r, p, o, e))
			return -1;
	}
	return 0;
}
