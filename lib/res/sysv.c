/* sysv: what System V objects there are, as /proc/sysvipc and the *ctl calls tell it, as records.
 *
 * The records are those of an image's member `ipc`; see sysv_dump.c. */
#include "res/sysv.h"
#include "common/cleanup.h"

#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <signal.h>
#include <sys/sem.h>
#include <time.h>

const char *const sysv_types[SYSV_KINDS] = { "sysvshm", "sysvsem", "sysvmsg" };
const char *const sysv_names[SYSV_KINDS] = { "shared memory segment", "semaphore set", "message queue" };

union semun_ { int val; struct semid_ds *buf; unsigned short *array; };

static void put_list(struct buf *out, const char *key, const uint16_t *val, const int *num, size_t n)
{
	AUTO_BUF struct buf b = BUF_INIT;

	for (size_t i = 0; i < n; i++)
		buf_printf(&b, "%s%d", i ? "," : "", val ? (int)val[i] : num ? num[i] : 0);
	if (buf_failed(&b))
		out->failed = true;
	rec_put_str(out, key, buf_str(&b));
}

void sysv_put_obj(struct buf *out, const struct sysv_obj *o, int (*pid_of)(void *ctx, int pid), void *ctx)
{
	rec_begin(out, sysv_types[o->kind]);
	rec_put_i64(out, "ID", o->id);
	rec_put_hex(out, "KEY", (unsigned)o->key);
	rec_put_hex(out, "MODE", o->mode);
	rec_put_u64(out, "UID", o->uid);
	rec_put_u64(out, "GID", o->gid);
	rec_put_u64(out, "CUID", o->cuid);
	rec_put_u64(out, "CGID", o->cgid);
	rec_put_u64(out, "SIZE", o->size);
	rec_put_u64(out, "COUNT", o->count);
	rec_put_i64(out, "TIME", o->time);
	if (o->kind != SYSV_SEM) {
		rec_put_i64(out, "PID", pid_of(ctx, o->pid[0]));
		rec_put_i64(out, "LAST", pid_of(ctx, o->pid[1]));
	}
	if (o->val) {
		AUTO_FREE int *last = calloc(o->size + 1, sizeof *last);

		for (size_t i = 0; last && i < o->size; i++)
			last[i] = pid_of(ctx, o->last[i]);
		put_list(out, "VALUES", o->val, NULL, o->size);
		if (last)
			put_list(out, "PIDS", NULL, last, o->size);
		else
			out->failed = true;
	}
	if (o->swapped)
		rec_put_u64(out, "SWAPPED", 1);
	rec_end(out);
}

static int same_pid(void *ctx, int pid) { return pid; }

/* Values, last changers and waiters of a set; o->val stays NULL where it may not be read. */
static int ask_set(struct sysv_obj *o, struct err *e)
{
	o->val = calloc(o->size + 1, sizeof *o->val);
	o->last = calloc(o->size + 1, sizeof *o->last);
	if (!o->val || !o->last)
		return err_set(e, EX_FAILED, "out of memory");
	if (semctl(o->id, 0, GETALL, (union semun_){ .array = o->val }) < 0) {
		free(o->val);
		o->val = NULL;
		return 0;
	}
	for (size_t i = 0; i < o->size; i++) {
		int n = semctl(o->id, (int)i, GETNCNT), z = semctl(o->id, (int)i, GETZCNT);

		o->last[i] = semctl(o->id, (int)i, GETPID);
		o->count += (uint64_t)(n > 0 ? n : 0) + (uint64_t)(z > 0 ? z : 0);
	}
	return 0;
}

/* A line of /proc/sysvipc/KIND. 1, or 0: it is no object. */
static int read_line(enum sysv_kind kind, const char *line, struct sysv_obj *o)
{
	unsigned long long size, n, swap, t[3] = { 0 };

	*o = (struct sysv_obj){ .kind = kind };
	if (kind == SYSV_SHM) {
		if (sscanf(line, "%d %d %o %llu %d %d %llu %u %u %u %u %llu %llu %llu %*u %llu", &o->key, &o->id, &o->mode, &size,
			   &o->pid[0], &o->pid[1], &n, &o->uid, &o->gid, &o->cuid, &o->cgid, &t[0], &t[1], &t[2], &swap) != 15)
			return 0;
		o->swapped = swap > 0;
	} else if (kind == SYSV_SEM) {
		n = 0;
		if (sscanf(line, "%d %d %o %llu %u %u %u %u %llu %llu", &o->key, &o->id, &o->mode, &size, &o->uid, &o->gid, &o->cuid,
			   &o->cgid, &t[0], &t[1]) != 10)
			return 0;
	} else {
		size = 0;
		if (sscanf(line, "%d %d %o %*u %llu %d %d %u %u %u %u %llu %llu %llu", &o->key, &o->id, &o->mode, &n, &o->pid[0], &o->pid[1],
			   &o->uid, &o->gid, &o->cuid, &o->cgid, &t[0], &t[1], &t[2]) != 13)
			return 0;
	}
	o->size = size;
	o->count = n;
	for (int i = 0; i < 3; i++)
		if (o->time < (int64_t)t[i])
			o->time = (int64_t)t[i];
	return 1;
}

static void free_obj(struct sysv_obj *o)
{
	free(o->val);
	free(o->last);
	mm_runs_free(&o->runs);
}

int sysv_scan(struct buf *out, struct err *e)
{
	static const char *const files[] = { "/proc/sysvipc/shm", "/proc/sysvipc/sem", "/proc/sysvipc/msg" };
	char line[512];

	for (int k = 0; k < SYSV_KINDS; k++) {
		AUTO_FILE FILE *f = fopen(files[k], "re");

		if (!f && errno == ENOENT)
			continue; /* this kernel has none */
		if (!f)
			return err_sys(e, "cannot read %s", files[k]);
		while (fgets(line, sizeof line, f)) {
			struct msqid_ds ds;
			struct sysv_obj o;
			int rc = 0;

			if (!read_line((enum sysv_kind)k, line, &o))
				continue;
			if (k == SYSV_SEM)
				rc = ask_set(&o, e);
			if (k == SYSV_MSG && !msgctl(o.id, IPC_STAT, &ds))
				o.size = ds.msg_qbytes;
			if (!rc)
				sysv_put_obj(out, &o, same_pid, NULL);
			free_obj(&o);
			if (rc)
				return -1;
		}
	}
	return buf_failed(out) ? err_set(e, EX_FAILED, "out of memory") : 0;
}

/* ---- reading ---- */

/* n numbers of 0..max with commas between them. */
static int parse_numbers(const struct rec *rec, const char *key, size_t n, long max, uint16_t *val, int *num, struct err *e)
{
	const char *s;
	char *end;

	if (rec_str(rec, key, &s, e))
		return -1;
	for (size_t i = 0; i < n; i++) {
		long v = *s >= '0' && *s <= '9' ? strtol(s, &end, 10) : -1;

		if (v < 0 || v > max || *end != (i + 1 < n ? ',' : 0))
			return err_set(e, EX_BAD_IMAGE, "line %zu: %s is no list of %zu numbers", rec->line, key, n);
		if (val)
			val[i] = (uint16_t)v;
		else
			num[i] = (int)v;
		s = end + 1;
	}
	return 0;
}

static int parse_set(const struct rec *rec, struct sysv_obj *o, struct err *e)
{
	if (!rec_find(rec, "VALUES"))
		return 0;
	o->val = calloc(o->size + 1, sizeof *o->val);
	o->last = calloc(o->size + 1, sizeof *o->last);
	if (!o->val || !o->last)
		return err_set(e, EX_FAILED, "out of memory");
	return parse_numbers(rec, "VALUES", o->size, SYSV_VALUE_MAX, o->val, NULL, e) ||
	       parse_numbers(rec, "PIDS", o->size, INT_MAX, NULL, o->last, e) ? -1 : 0;
}

int sysv_parse_obj(const struct rec *rec, struct sysv_obj *o, struct err *e)
{
	uint64_t key, mode, uid, gid, cuid, cgid, swapped;

	*o = (struct sysv_obj){ 0 };
	while (o->kind < SYSV_KINDS && strcmp(rec_type(rec), sysv_types[o->kind]))
		o->kind++;
	if (o->kind == SYSV_KINDS)
		return err_set(e, EX_BAD_IMAGE, "line %zu: \"%s\" is not known", rec->line, rec_type(rec));
	if (rec_int(rec, "ID", 0, INT_MAX, &o->id, e) || rec_u64(rec, "KEY", UINT32_MAX, &key, e) ||
	    rec_u64(rec, "MODE", 07777, &mode, e) || rec_u64(rec, "UID", UINT32_MAX, &uid, e) ||
	    rec_u64(rec, "GID", UINT32_MAX, &gid, e) || rec_u64(rec, "CUID", UINT32_MAX, &cuid, e) ||
	    rec_u64(rec, "CGID", UINT32_MAX, &cgid, e) || rec_u64(rec, "COUNT", UINT64_MAX, &o->count, e) ||
	    rec_u64(rec, "SIZE", o->kind == SYSV_SEM ? SYSV_MAX_SEMS : RES_TASK_SIZE, &o->size, e) ||
	    rec_i64(rec, "TIME", INT64_MIN, INT64_MAX, &o->time, e) || rec_u64_or(rec, "SWAPPED", 1, 0, &swapped, e))
		return -1;
	o->key = (int)(uint32_t)key;
	o->mode = (unsigned)mode;
	o->uid = (unsigned)uid;
	o->gid = (unsigned)gid;
	o->cuid = (unsigned)cuid;
	o->cgid = (unsigned)cgid;
	o->swapped = swapped;
	if (o->kind != SYSV_MSG && !o->size)
		return err_set(e, EX_BAD_IMAGE, "line %zu: a %s of nothing", rec->line, sysv_names[o->kind]);
	if (o->kind == SYSV_SEM)
		return parse_set(rec, o, e);
	return rec_int(rec, "PID", 0, INT_MAX, &o->pid[0], e) || rec_int(rec, "LAST", 0, INT_MAX, &o->pid[1], e) ? -1 : 0;
}

static int by_kind_and_id(const void *a, const void *b)
{
	const struct sysv_obj *x = a, *y = b;

	return x->kind != y->kind ? (int)x->kind - (int)y->kind : x->id < y->id ? -1 : x->id > y->id;
}

int sysv_parse_list(struct sysv_list *l, const char *text, size_t len, struct err *e)
{
	struct rec_list recs = { 0 };
	int rc = rec_list_parse(&recs, text, len, SYSV_MAX_OBJECTS, e);

	l->v = calloc(recs.n + 1, sizeof *l->v);
	if (!rc && !l->v)
		rc = err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; i < recs.n && !rc; i++) {
		struct rec rec;

		rec_list_get(&recs, i, &rec);
		rc = sysv_parse_obj(&rec, &l->v[l->n++], e);
	}
	rec_list_free(&recs);
	if (!rc && l->n)
		qsort(l->v, l->n, sizeof *l->v, by_kind_and_id);
	return rc;
}

void sysv_list_free(struct sysv_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free_obj(&l->v[i]);
	free(l->v);
	*l = (struct sysv_list){ 0 };
}

struct sysv_obj *sysv_find(const struct sysv_list *l, enum sysv_kind kind, int id)
{
	struct sysv_obj key = { .kind = kind, .id = id };

	return l->n ? bsearch(&key, l->v, l->n, sizeof *l->v, by_kind_and_id) : NULL;
}

bool sysv_alive(const struct sysv_obj *o, int pid)
{
	enum { SLACK = 2 }; /* seconds: clocks are read one after the other, and in whole seconds */
	struct timespec up;
	struct proc_stat st;

	if (pid <= 0 || (kill(pid, 0) && errno == ESRCH))
		return false;
	if (proc_stat_read(&st, pid, 0, NULL) || clock_gettime(CLOCK_BOOTTIME, &up))
		return true;
	if (proc_stat_ended(&st))
		return false;
	return time(NULL) - up.tv_sec + (int64_t)(st.starttime / (uint64_t)sysconf(_SC_CLK_TCK)) <= o->time + SLACK;
}

const char *sysv_describe(const struct sysv_obj *o, char out[96])
{
	if (o->key)
		snprintf(out, 96, "System V %s %d (key 0x%08x)", sysv_names[o->kind], o->id, (unsigned)o->key);
	else
		snprintf(out, 96, "System V %s %d", sysv_names[o->kind], o->id);
	return out;
}

int sysv_present(const struct sysv_obj *o, const char *map, size_t len, struct mm_runs *runs)
{
	enum { CHUNK = 65536 };
	AUTO_FREE unsigned char *vec = malloc(CHUNK);

	if (!vec)
		return -1;
	for (size_t at = 0; at < len;) {
		size_t n = len - at < (size_t)CHUNK * MM_PAGE ? len - at : (size_t)CHUNK * MM_PAGE;

		if (o->swapped || mincore((void *)(uintptr_t)(map + at), n, vec))
			memset(vec, 1, CHUNK); /* all of it: right, if slow */
		for (size_t i = 0, k; i < n / MM_PAGE; i = k) {
			for (k = i; k < n / MM_PAGE && (vec[k] & 1) == (vec[i] & 1); k++)
				;
			if ((vec[i] & 1) && mm_runs_add(runs, at + i * MM_PAGE, k - i))
				return -1;
		}
		at += n;
	}
	return 0;
}
