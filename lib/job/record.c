/* The job record: its fields, reading and writing. */
#include "common/cleanup.h"
#include "common/num.h"
#include "common/rec.h"
#include "common/state.h"
#include "job/internal.h"
#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <pwd.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { RECORD_MAX = 1 << 20 };

static const char *const state_names[] = { "running", "stopped", "done" };
static const char *const kind_names[] = { "cgroup", "tree" };

int job_set_str(char **field, const char *s, struct err *e)
{
	char *copy = s ? strdup(s) : NULL;
	if (s && !copy)
		return err_set(e, EX_FAILED, "out of memory");
	free(*field);
	*field = copy;
	return 0;
}

int job_set_netlock(struct job *j, const char *name, struct err *e) { return job_set_str(&j->netlock, name, e); }

/* ---- the fields, in the order in which they are written ---- */

enum field_type { F_U64, F_I64, F_INT, F_PID, F_ID, F_STR };
struct field { const char *key; enum field_type type; size_t off; };
#define FIELD(key, type, member) { key, type, offsetof(struct job, member) }

static const struct field fields[] = {
	FIELD("OWNER_UID", F_ID, uid), FIELD("OWNER_GID", F_ID, gid),
	FIELD("SUPERVISOR", F_PID, supervisor), FIELD("SUPERVISOR_START", F_U64, supervisor_start),
	FIELD("MAIN", F_PID, main), FIELD("MAIN_START", F_U64, main_start),
	FIELD("SESSION", F_PID, session), FIELD("NSINIT", F_PID, nsinit),
	FIELD("STARTED", F_I64, started), FIELD("ENDED", F_I64, ended),
	FIELD("EXIT", F_INT, exit_code), FIELD("SIGNAL", F_INT, exit_signal),
	FIELD("STDIN", F_STR, in), FIELD("STDOUT", F_STR, out), FIELD("STDERR", F_STR, err),
	FIELD("CWD", F_STR, cwd), FIELD("COMMAND", F_STR, command),
	FIELD("CHECKPOINTER", F_STR, checkpointer),
	FIELD("SUBSYSTEMS", F_STR, subsystems), FIELD("LIMITS", F_STR, limits),
	FIELD("NETLOCK", F_STR, netlock),
	FIELD("TMP", F_STR, tmp), FIELD("TMP_KIND", F_STR, tmp_kind),
	FIELD("CGROUP_ID", F_U64, cg.id),
	FIELD("WALL_MS", F_U64, usage.wall_ms),
	FIELD("CPU_USER_US", F_U64, usage.cpu_user_us), FIELD("CPU_SYS_US", F_U64, usage.cpu_sys_us),
};
/* Written only when the has_ flag is set, and setting it when read. */
static const struct { const char *key; size_t off, has; } usage_fields[] = {
	{ "MEM_PEAK", offsetof(struct job, usage.mem_peak), offsetof(struct job, usage.has_mem) },
	{ "IO_READ", offsetof(struct job, usage.io_read), offsetof(struct job, usage.has_io) },
	{ "IO_WRITE", offsetof(struct job, usage.io_write), offsetof(struct job, usage.has_io) },
	{ "PROCS_PEAK", offsetof(struct job, usage.procs_peak), offsetof(struct job, usage.has_procs) },
};
#define COUNT(a) (sizeof(a) / sizeof *(a))

void job_record_clear(struct job *j)
{
	for (size_t i = 0; i < COUNT(fields); i++) {
		void *p = (char *)j + fields[i].off;
		switch (fields[i].type) {
		case F_U64: case F_I64: *(uint64_t *)p = 0; break;
		case F_INT: *(int *)p = -1; break;
		case F_PID: *(pid_t *)p = 0; break;
		case F_ID: *(uid_t *)p = 0; break;
		case F_STR: free(*(char **)p); *(char **)p = NULL; break;
		}
	}
	j->state = JOB_RUNNING;
	j->kind = JOB_TREE;
	j->mark[0] = '\0';
	memset(&j->cg, 0, sizeof j->cg);
	memset(&j->usage, 0, sizeof j->usage);
}

/* ---- writing ---- */

static void put_u64(struct buf *b, const char *key, uint64_t v)
{
	char t[24];
	snprintf(t, sizeof t, "%" PRIu64, v);
	rec_line(b, key, t);
}

static void put_field(struct buf *b, const struct field *f, const struct job *j)
{
	const void *p = (const char *)j + f->off;
	char t[24];
	switch (f->type) {
	case F_U64: put_u64(b, f->key, *(const uint64_t *)p); return;
	case F_I64: snprintf(t, sizeof t, "%" PRId64, *(const int64_t *)p); break;
	case F_INT:
		if (*(const int *)p < 0)
			return;
		snprintf(t, sizeof t, "%d", *(const int *)p);
		break;
	case F_PID: snprintf(t, sizeof t, "%ld", (long)*(const pid_t *)p); break;
	case F_ID: put_u64(b, f->key, *(const uid_t *)p); return;
	case F_STR:
		if (*(char *const *)p)
			rec_line(b, f->key, *(char *const *)p);
		return;
	}
	rec_line(b, f->key, t);
}

/* CGROUP_V2 or CGROUP_ and the first controller: MOUNT:PATH:CONTROLLERS */
static void put_groups(struct buf *b, const struct cgroup_set *s)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct cgroup_hier *h = &s->h[i];
		char key[64] = "CGROUP_V2", val[sizeof h->mount + sizeof h->path + sizeof h->controllers + 4];
		size_t k = 7;
		if (!h->v2) {
			for (const char *c = h->controllers; *c && *c != ',' && k < sizeof key - 1; c++)
				key[k++] = isalnum((unsigned char)*c) ? (char)toupper((unsigned char)*c) : '_';
			key[k] = '\0';
		}
		snprintf(val, sizeof val, "%s:%s:%s", h->mount, h->path, h->controllers);
		rec_line(b, key, val);
	}
}

static int record_text(struct buf *b, const struct job *j, struct err *e)
{
	char user[64];
	struct passwd *pw = getpwuid(j->uid);
	if (pw)
		snprintf(user, sizeof user, "%s", pw->pw_name);
	else
		snprintf(user, sizeof user, "%u", (unsigned)j->uid);
	rec_line(b, "JOBID", j->id);
	rec_line(b, "STATE", state_names[j->state]);
	rec_line(b, "KIND", kind_names[j->kind]);
	rec_line(b, "USER", user);
	for (size_t i = 0; i < COUNT(fields); i++)
		put_field(b, &fields[i], j);
	for (size_t i = 0; i < COUNT(usage_fields); i++)
		if (*(const bool *)((const char *)j + usage_fields[i].has))
			put_u64(b, usage_fields[i].key, *(const uint64_t *)((const char *)j + usage_fields[i].off));
	rec_line(b, "MARK", j->mark);
	put_groups(b, &j->cg);
	return buf_failed(b) ? err_set(e, EX_FAILED, "out of memory") : 0;
}

int job_save(struct job *j, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	if (record_text(&b, j, e) < 0 || state_replace(j->dir, "job", b.p, b.len, 0600, e) < 0)
		return err_prefix(e, "job %s: record", j->id);
	return 0;
}

int job_rename(int dir, const char *from, const char *to, unsigned flags)
{
	return (int)syscall(SYS_renameat2, dir, from, dir, to, flags);
}

/* Renames over the record. By exchange where it can, because ext4 flushes a new file that replaces another by rename
 * (auto_da_alloc), which takes longer than the start of a program. */
static int swap_in(int dir, const char *tmp)
{
	if (job_rename(dir, tmp, "job", RENAME_EXCHANGE) == 0) {
		unlinkat(dir, tmp, 0); /* the old record */
		return 0;
	}
	return renameat(dir, tmp, dir, "job");
}

int job_save_quick(struct job *j, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	char tmp[32];
	if (record_text(&b, j, e) < 0)
		return -1;
	snprintf(tmp, sizeof tmp, ".job.%ld", (long)getpid());
	unlinkat(j->dir, tmp, 0); /* left by a killed process of that pid */
	AUTO_FD int fd = openat(j->dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_sys(e, "job %s: record", j->id);
	ssize_t w = write(fd, b.p, b.len);
	if (w >= 0 && (size_t)w != b.len)
		errno = ENOSPC;
	if (w < 0 || (size_t)w != b.len || swap_in(j->dir, tmp) < 0) {
		err_sys(e, "job %s: record", j->id);
		unlinkat(j->dir, tmp, 0);
		return -1;
	}
	return 0;
}

/* ---- reading ---- */

static int bad(const struct job *j, const struct rec_field *f, struct err *e)
{
	return err_set(e, EX_FAILED, "job %s: its record has a bad %s=\"%s\"", j->id, f->key, f->val);
}

static int get_name(const char *const *names, size_t n, const char *val)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(names[i], val) == 0)
			return (int)i;
	return -1;
}

/* 1: taken, 0: no field of the table, -1: bad value. */
static int get_field(struct job *j, const struct rec_field *in, struct err *e)
{
	for (size_t i = 0; i < COUNT(fields); i++) {
		const struct field *f = &fields[i];
		void *p = (char *)j + f->off;
		uint64_t u = 0;
		if (strcmp(f->key, in->key) != 0)
			continue;
		if (f->type == F_STR)
			return job_set_str(p, in->val, e) < 0 ? -1 : 1;
		uint64_t max = f->type == F_U64 ? UINT64_MAX : f->type == F_I64 ? INT64_MAX :
			       f->type == F_ID ? UINT32_MAX : INT_MAX;
		if (num_u64(in->val, max, &u) < 0)
			return bad(j, in, e);
		switch (f->type) {
		case F_U64: *(uint64_t *)p = u; break;
		case F_I64: *(int64_t *)p = (int64_t)u; break;
		case F_INT: *(int *)p = (int)u; break;
		case F_PID: *(pid_t *)p = (pid_t)u; break;
		case F_ID: *(uid_t *)p = (uid_t)u; break;
		case F_STR: break;
		}
		return 1;
	}
	for (size_t i = 0; i < COUNT(usage_fields); i++)
		if (strcmp(usage_fields[i].key, in->key) == 0) {
			if (num_u64(in->val, UINT64_MAX, (uint64_t *)((char *)j + usage_fields[i].off)) < 0)
				return bad(j, in, e);
			*(bool *)((char *)j + usage_fields[i].has) = true;
			return 1;
		}
	return 0;
}

static int get_group(struct job *j, const struct rec_field *f, struct err *e)
{
	char *path = strchr(f->val, ':'), *ctl = path ? strrchr(path + 1, ':') : NULL;
	struct cgroup_hier *h = &j->cg.h[j->cg.n];
	if (!ctl || j->cg.n == CGROUP_MAX_HIER)
		return bad(j, f, e);
	size_t lm = (size_t)(path - f->val), lp = (size_t)(ctl - path - 1);
	if (lm >= sizeof h->mount || lp >= sizeof h->path || strlen(ctl + 1) >= sizeof h->controllers ||
	    f->val[0] != '/' || path[1] != '/' || strstr(path, "/../"))
		return bad(j, f, e);
	memset(h, 0, sizeof *h);
	memcpy(h->mount, f->val, lm);
	memcpy(h->path, path + 1, lp);
	strcpy(h->controllers, ctl + 1);
	h->v2 = strcmp(f->key, "CGROUP_V2") == 0;
	j->cg.n++;
	return 0;
}

static int get_line(struct job *j, const struct rec_field *f, struct err *e)
{
	int k;
	if (strcmp(f->key, "JOBID") == 0)
		return strcmp(f->val, j->id) == 0 ? 0 : bad(j, f, e);
	if (strcmp(f->key, "STATE") == 0) {
		if ((k = get_name(state_names, COUNT(state_names), f->val)) < 0)
			return bad(j, f, e);
		j->state = (enum job_state)k;
		return 0;
	}
	if (strcmp(f->key, "KIND") == 0) {
		if ((k = get_name(kind_names, COUNT(kind_names), f->val)) < 0)
			return bad(j, f, e);
		j->kind = (enum job_kind)k;
		return 0;
	}
	if (strcmp(f->key, "MARK") == 0) {
		if (f->len >= sizeof j->mark || strspn(f->val, "0123456789abcdef") != f->len)
			return bad(j, f, e);
		strcpy(j->mark, f->val);
		return 0;
	}
	if (strncmp(f->key, "CGROUP_", 7) == 0 && strcmp(f->key, "CGROUP_ID") != 0)
		return get_group(j, f, e);
	return get_field(j, f, e) < 0 ? -1 : 0; /* keys of a newer version are passed over */
}

int job_record_load(struct job *j, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	struct rec_reader r;
	struct rec rec;
	int k;
	AUTO_FD int fd = openat(j->dir, "job", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;
	if (fd < 0 && errno == ENOENT)
		return err_set(e, EX_NOSUCH, "no such job: %s", j->id);
	if (fd < 0 || fstat(fd, &st) < 0 || buf_read_fd(&b, fd, RECORD_MAX) < 0)
		return err_sys(e, "job %s: record", j->id);
	job_record_clear(j);
	if (b.len == 0) /* the machine crashed just behind job_save_quick(): whatever ran is gone */
		return err_set(e, EX_NOSUCH, "no such job: %s (its record was lost)", j->id);
	rec_reader_init(&r, b.p, b.len);
	while ((k = rec_next(&r, &rec, e)) > 0)
		for (size_t i = 0; i < rec.n; i++)
			if (get_line(j, &rec.f[i], e) < 0)
				return -1;
	if (k < 0)
		return err_prefix(e, "job %s: record", j->id);
	j->owner = st.st_uid;
	return 0;
}
