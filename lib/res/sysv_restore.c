/* sysv_restore: System V objects again, with their ids.
 *
 * An id is chosen by /proc/sys/kernel/{shm,sem,msg}_next_id (CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN over the IPC namespace). Ids
 * outlive processes: an object that the killed job left is taken again when it is the same one (same boot, namespace, id,
 * key, size and creator) and nobody uses it, and gets back what it held. Anything else at that id or key is EX_BUSY. In an IPC
 * namespace of its own (cr/nsinit.c) every id is free.
 *
 * Objects are made and filled before any process is; processes attach segments in mm_map.c. A failed restart removes what it
 * made. One that was killed leaves objects, which the next takes again. A segment that was removed while attached
 * is removed at once here too, and held by our own attachment until the job has it. */
#include "res/sysv.h"
#include "common/cleanup.h"
#include "res/proc_ops.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>

union semun_ { int val; struct semid_ds *buf; unsigned short *array; };

static size_t pages_len(const struct sysv_obj *o) { return (o->size + MM_PAGE - 1) / MM_PAGE * MM_PAGE; }

bool sysv_in_image(const struct image *im) { return image_find(im, "ipc") != NULL; }

/* ---- the records ---- */

static int parse_one(struct restore *r, const struct rec *rec, size_t i, struct err *e)
{
	struct sysv_restore *s = r->sysv;
	struct sysv_obj *prev = s->objs.n ? &s->objs.v[s->objs.n - 1] : NULL, *o = &s->objs.v[s->objs.n];

	if (!strcmp(rec_type(rec), "sysvruns") && prev && prev->kind == SYSV_SHM) {
		const char *runs;
		return rec_str(rec, "RUNS", &runs, e) || mm_runs_parse(&prev->runs, runs, e) ? -1 : 0;
	}
	if (!strcmp(rec_type(rec), "sysvmessage") && prev && prev->kind == SYSV_MSG) {
		int64_t type;
		return rec_i64(rec, "MTYPE", 1, INT64_MAX, &type, e);
	}
	s->objs.n++;
	if (sysv_parse_obj(rec, o, e))
		return -1;
	o->rec = i;
	if (o->kind == SYSV_SEM && !o->val)
		return err_set(e, EX_BAD_IMAGE, "line %zu: no VALUES", rec->line);
	if (o->kind != SYSV_SHM)
		return 0;
	s->shm[s->nshm++] = (uint32_t)s->objs.n - 1;
	if (s->temp_len < pages_len(o))
		s->temp_len = pages_len(o);
	return 0;
}

static int check_content(struct restore *r, uint32_t number, struct err *e)
{
	struct sysv_obj *o = &r->sysv->objs.v[r->sysv->shm[number - 1]];
	const struct image_member *m;
	char name[32];

	snprintf(name, sizeof name, "sysv_shm_%u", number);
	m = image_find(r->img, name);
	if (!m || m->text || m->size != o->runs.pages * MM_PAGE)
		return err_set(e, EX_BAD_IMAGE, "the image has no fitting member %s", name);
	if (o->runs.n && o->runs.v[o->runs.n - 1].start + o->runs.v[o->runs.n - 1].n * MM_PAGE > pages_len(o))
		return err_set(e, EX_BAD_IMAGE, "%s: pages behind its end", name);
	return 0;
}

static int parse_all(struct restore *r, const struct image_member *m, struct err *e)
{
	struct sysv_restore *s = r->sysv;
	char boot[64], ns[64];

	if (!m->text)
		return err_set(e, EX_BAD_IMAGE, "not a text");
	if (rec_list_parse(&s->recs, m->text, m->size, RES_MAX_RECORDS, e) || sysv_origin(getpid(), boot, ns, e))
		return -1;
	s->objs.v = calloc(s->recs.n + 1, sizeof *s->objs.v);
	s->shm = calloc(s->recs.n + 1, sizeof *s->shm);
	if (!s->objs.v || !s->shm)
		return err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; i < s->recs.n; i++) {
		const char *was_boot, *was_ns;
		struct rec rec;

		rec_list_get(&s->recs, i, &rec);
		if (i ? parse_one(r, &rec, i, e) : rec_str(&rec, "BOOT", &was_boot, e) || rec_str(&rec, "NS", &was_ns, e))
			return -1;
		if (!i)
			s->same_boot = !strcmp(boot, was_boot) && !strcmp(ns, was_ns);
	}
	for (uint32_t i = 1; i <= s->nshm; i++)
		if (check_content(r, i, e))
			return -1;
	return 0;
}

int sysv_parse(struct restore *r, struct err *e)
{
	const struct image_member *m = image_find(r->img, "ipc");

	if (!m)
		return 0;
	r->sysv = calloc(1, sizeof *r->sysv);
	if (!r->sysv)
		return err_set(e, EX_FAILED, "out of memory");
	if (parse_all(r, m, e))
		return err_prefix(e, "ipc");
	r->sysv->temp = (r->temp_len + MM_PAGE - 1) / MM_PAGE * MM_PAGE;
	if (r->sysv->temp_len > RES_TASK_SIZE - r->sysv->temp)
		return err_set(e, EX_BAD_IMAGE, "ipc: a segment of more than the address space");
	r->temp_len = r->sysv->temp + r->sysv->temp_len;
	return 0;
}

const struct sysv_obj *sysv_shm(const struct restore *r, uint32_t number)
{
	return r->sysv && number && number <= r->sysv->nshm ? &r->sysv->objs.v[r->sysv->shm[number - 1]] : NULL;
}

/* ---- what is there already ---- */

static int next_id_open(enum sysv_kind k)
{
	static const char *const names[] = { "shm", "sem", "msg" };
	char path[64];

	snprintf(path, sizeof path, "/proc/sys/kernel/%s_next_id", names[k]);
	return open(path, O_WRONLY | O_CLOEXEC);
}

static int busy(const struct sysv_obj *there, const char *why, struct err *e)
{
	char what[96];

	err_set(e, EX_BUSY, "%s %s", sysv_describe(there, what), why);
	err_hint(e, "xrestart -N restarts the job in an IPC namespace of its own, where every id is free");
	return -1;
}

/* The object at the job's id: is it the one that the job left, and does nobody use it? */
static int check_left(struct restore *r, const struct sysv_obj *o, const struct sysv_obj *there, struct err *e)
{
	int user = 0;

	if (!r->sysv->same_boot || there->key != o->key || there->cuid != o->cuid || there->cgid != o->cgid ||
	    (o->kind != SYSV_MSG && there->size != o->size))
		return busy(there, "is there and is not the job's", e);
	if (proc_untrusted(r) && (there->uid != r->o->image_owner || there->cuid != r->o->image_owner))
		return busy(there, "does not belong to the image's owner", e);
	if (o->kind != SYSV_MSG && there->count)
		return busy(there, "is the job's, but other processes use it", e);
	if (o->kind == SYSV_SEM && !there->val)
		return busy(there, "may not be read", e);
	for (size_t i = 0; o->kind == SYSV_SEM && i < there->size && !user; i++)
		user = there->last[i] != getpid() && sysv_alive(there, there->last[i]) ? there->last[i] : 0;
	/* A segment is used by who has it attached, and nobody has. */
	for (int i = 0; o->kind == SYSV_MSG && i < 2 && !user; i++)
		user = there->pid[i] != getpid() && sysv_alive(there, there->pid[i]) ? there->pid[i] : 0;
	return user ? busy(there, "was the job's, but another process uses it now", e) : 0;
}

static int check_owner(struct restore *r, const struct sysv_obj *o, struct err *e)
{
	char what[96];

	if (proc_untrusted(r) && (o->uid != r->o->image_owner || o->cuid != r->o->image_owner)) {
		err_set(e, EX_PERM, "%s belongs to another user than the image", sysv_describe(o, what));
		err_hint(e, "--trust overrides");
		return -1;
	}
	if (o->cuid != geteuid() && geteuid() != 0)
		return err_set(e, EX_PERM, "%s was made by user %u", sysv_describe(o, what), o->cuid);
	return 0;
}

static int check_one(struct restore *r, const struct sysv_list *there, struct sysv_obj *o, struct err *e)
{
	const struct sysv_obj *t = sysv_find(there, o->kind, o->id);
	AUTO_FD int fd = -1;
	char what[96];

	if (check_owner(r, o, e))
		return -1;
	if (t)
		return check_left(r, o, t, e);
	for (size_t i = 0; o->key && i < there->n; i++)
		if (there->v[i].kind == o->kind && there->v[i].key == o->key)
			return busy(&there->v[i], "has a key of the job", e);
	o->missing = true;
	fd = next_id_open(o->kind);
	if (fd >= 0)
		return 0;
	err_sys(e, "%s is gone, and its id cannot be chosen (/proc/sys/kernel/%s_next_id)", sysv_describe(o, what),
		sysv_types[o->kind] + 4);
	err_hint(e, "that needs CAP_CHECKPOINT_RESTORE; xrestart -N restarts the job in an IPC namespace of its own");
	return -1;
}

int sysv_verify(struct restore *r, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	struct sysv_list there = { 0 };
	int rc;

	if (!r->sysv || !r->sysv->objs.n)
		return 0;
	rc = sysv_scan(&b, e) || sysv_parse_list(&there, buf_str(&b), b.len, e) ? -1 : 0;
	for (size_t i = 0; i < r->sysv->objs.n && !rc; i++)
		rc = check_one(r, &there, &r->sysv->objs.v[i], e);
	sysv_list_free(&there);
	return rc;
}

/* ---- making ---- */

/* For the time of one call: who makes an object is its creator for good. */
static int as_user(unsigned uid, unsigned gid)
{
	int death = 0, dumpable = prctl(PR_GET_DUMPABLE), rc;

	prctl(PR_GET_PDEATHSIG, &death);
	rc = uid == geteuid() && gid == getegid() ? 0
	     : geteuid() == 0 ? (setegid(gid) || seteuid(uid) ? -1 : 0)
			      : (seteuid(uid) || setegid(gid) ? -1 : 0);
	prctl(PR_SET_PDEATHSIG, death);
	if (dumpable >= 0 && dumpable < 2)
		prctl(PR_SET_DUMPABLE, dumpable);
	return rc;
}

static int remove_obj(const struct sysv_obj *o)
{
	return o->kind == SYSV_SHM ? shmctl(o->id, IPC_RMID, NULL)
	       : o->kind == SYSV_SEM ? semctl(o->id, 0, IPC_RMID) : msgctl(o->id, IPC_RMID, NULL);
}

static int create(struct sysv_obj *o, struct err *e)
{
	const unsigned uid = geteuid(), gid = getegid();
	const int flags = (int)(o->mode & 0777) | IPC_CREAT | IPC_EXCL;
	AUTO_FD int fd = next_id_open(o->kind);
	struct sysv_obj other = *o;
	char what[96], num[16];
	int id = -1, saved;

	snprintf(num, sizeof num, "%d", o->id);
	if (fd < 0 || write(fd, num, strlen(num)) < 0)
		return err_sys(e, "cannot choose the id of %s", sysv_describe(o, what));
	if (!as_user(o->cuid, o->cgid))
		id = o->kind == SYSV_SHM ? shmget(o->key, o->size, flags)
		     : o->kind == SYSV_SEM ? semget(o->key, (int)o->size, flags) : msgget(o->key, flags);
	saved = errno;
	if (as_user(uid, gid))
		return err_sys(e, "cannot be user %u again", uid);
	errno = saved;
	if (id < 0) {
		err_sys(e, "cannot make %s", sysv_describe(o, what));
		if (write(fd, "-1", 2) < 0)
			err_hint(e, "the next object will get id %d", o->id);
		return -1;
	}
	if (id == o->id) {
		o->made = true;
		return 0;
	}
	other.id = id;
	remove_obj(&other);
	return err_set(e, EX_BUSY, "%s: another object has its place", sysv_describe(o, what));
}

static int set_owner(struct sysv_obj *o, struct err *e)
{
	struct shmid_ds shm;
	struct semid_ds sem;
	struct msqid_ds msg;
	struct ipc_perm *p = o->kind == SYSV_SHM ? &shm.shm_perm : o->kind == SYSV_SEM ? &sem.sem_perm : &msg.msg_perm;
	union semun_ u = { .buf = &sem };
	uint64_t room = o->size;
	char what[96];
	int rc;

	rc = o->kind == SYSV_SHM ? shmctl(o->id, IPC_STAT, &shm)
	     : o->kind == SYSV_SEM ? semctl(o->id, 0, IPC_STAT, u) : msgctl(o->id, IPC_STAT, &msg);
	if (rc < 0)
		return err_sys(e, "cannot look at %s", sysv_describe(o, what));
	if (p->uid == o->uid && p->gid == o->gid && (p->mode & 0777) == (o->mode & 0777) &&
	    (o->kind != SYSV_MSG || msg.msg_qbytes == room))
		return 0;
	p->uid = o->uid;
	p->gid = o->gid;
	p->mode = (unsigned short)(o->mode & 0777);
	if (o->kind == SYSV_MSG)
		msg.msg_qbytes = room;
	rc = o->kind == SYSV_SHM ? shmctl(o->id, IPC_SET, &shm)
	     : o->kind == SYSV_SEM ? semctl(o->id, 0, IPC_SET, u) : msgctl(o->id, IPC_SET, &msg);
	return rc < 0 ? err_sys(e, "cannot set owner, mode or size of %s", sysv_describe(o, what)) : 0;
}

static int fill(struct restore *r, struct sysv_obj *o, uint32_t number, struct err *e)
{
	char name[32];

	snprintf(name, sizeof name, "sysv_shm_%u", number);
	uint64_t at = image_find(r->img, name)->offset;
	for (size_t i = 0; i < o->runs.n; i++)
		for (uint64_t off = o->runs.v[i].start, end = off + o->runs.v[i].n * MM_PAGE; off < end;) {
			size_t want = end - off < 64 << 20 ? (size_t)(end - off) : 64 << 20;
			ssize_t n = pread(image_fd(r->img), o->map + off, want, (off_t)at);

			if (n <= 0)
				return err_sys(e, "cannot fill it");
			off += (uint64_t)n;
			at += (uint64_t)n;
		}
	return 0;
}

static int make_segment(struct restore *r, struct sysv_obj *o, uint32_t number, struct err *e)
{
	o->map = shmat(o->id, NULL, 0);
	if (o->map == (char *)-1) {
		o->map = NULL;
		return err_sys(e, "cannot attach it");
	}
	if (o->mode & SYSV_SHM_DEST) {
		if (remove_obj(o))
			return err_sys(e, "cannot remove it");
		o->made = false;
	} else if (!o->made && madvise(o->map, pages_len(o), MADV_REMOVE)) {
		return err_sys(e, "cannot empty it");
	}
	if (fill(r, o, number, e))
		return -1;
	if (o->mode & SYSV_SHM_LOCKED && shmctl(o->id, SHM_LOCK, NULL))
		return err_sys(e, "cannot lock it");
	if (!(o->mode & SYSV_SHM_DEST)) {
		shmdt(o->map);
		o->map = NULL;
	}
	return 0;
}

static int make_one(struct restore *r, struct sysv_obj *o, uint32_t number, struct err *e)
{
	struct { long type; char text[1]; } m;
	char what[96];

	if ((o->missing && create(o, e)) || set_owner(o, e))
		return -1;
	if (o->kind == SYSV_SHM)
		return make_segment(r, o, number, e) ? err_prefix(e, "%s", sysv_describe(o, what)) : 0;
	if (o->kind == SYSV_SEM)
		return semctl(o->id, 0, SETALL, (union semun_){ .array = o->val }) ? err_sys(e, "cannot set %s", sysv_describe(o, what)) : 0;
	while (!o->made && msgrcv(o->id, &m, sizeof m.text, 0, IPC_NOWAIT | MSG_NOERROR) >= 0)
		;
	return 0;
}

int sysv_make(struct restore *r, struct err *e)
{
	uint32_t number = 0;

	for (size_t i = 0; r->sysv && i < r->sysv->objs.n; i++) {
		struct sysv_obj *o = &r->sysv->objs.v[i];

		if (o->kind == SYSV_SHM)
			number++;
		if (make_one(r, o, number, e))
			return -1;
	}
	return 0;
}

int sysv_finish(struct restore *r, struct err *e)
{
	for (size_t i = 0; r->sysv && i < r->sysv->objs.n; i++) {
		struct sysv_obj *o = &r->sysv->objs.v[i];

		if (o->kind == SYSV_MSG && !o->filled && sysv_send(r, o, e))
			return -1;
		if (o->map)
			shmdt(o->map);
		o->map = NULL;
	}
	return 0;
}

void sysv_undo_make(struct restore *r)
{
	for (size_t i = 0; r->sysv && i < r->sysv->objs.n; i++)
		if (r->sysv->objs.v[i].made)
			remove_obj(&r->sysv->objs.v[i]);
}

void sysv_restore_free(struct restore *r)
{
	if (!r->sysv)
		return;
	for (size_t i = 0; i < r->sysv->objs.n; i++)
		if (r->sysv->objs.v[i].map)
			shmdt(r->sysv->objs.v[i].map);
	sysv_list_free(&r->sysv->objs);
	rec_list_free(&r->sysv->recs);
	free(r->sysv->shm);
	free(r->sysv);
	r->sysv = NULL;
}
