/* proc_stat: /proc/PID/stat, status, lists of threads and children. proc(5). */
#include "common/proc.h"
#include "common/cleanup.h"
#include "common/num.h"
#include "common/proc_int.h"

#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>

enum {
	MAX_STAT = 64 << 10,
	MAX_STATUS = 1 << 20,     /* PROC_MAX_GROUPS ids of ten digits fit */
	MAX_CHILDREN = 16 << 20,
	STAT_FIELDS = 52,         /* exit_code is the 52nd, since Linux 3.5 */
	MAX_PID = 1 << 22,        /* PID_MAX_LIMIT of 64-bit kernels */
};

static void proc_path(char *out, size_t n, pid_t pid, pid_t tid, const char *name)
{
	if (tid)
		snprintf(out, n, "/proc/%d/task/%d/%s", (int)pid, (int)tid, name);
	else
		snprintf(out, n, "/proc/%d/%s", (int)pid, name);
}

int proc_read(struct buf *b, pid_t pid, const char *name, size_t limit)
{
	char path[PATH_MAX];

	proc_path(path, sizeof(path), pid, 0, name);
	return buf_read_file(b, AT_FDCWD, path, limit);
}

ssize_t proc_readlink(pid_t pid, const char *name, char *out, size_t n)
{
	char path[PATH_MAX];
	ssize_t len;

	proc_path(path, sizeof(path), pid, 0, name);
	len = readlink(path, out, n);
	if (len < 0)
		return -1;
	if ((size_t)len >= n) {
		errno = ENAMETOOLONG;
		return -1;
	}
	out[len] = '\0';
	return len;
}

int proc_fail(struct err *e, pid_t pid, const char *name)
{
	/* A file of /proc vanishes with ENOENT, one already open reads ESRCH. */
	if (errno == ENOENT || errno == ESRCH) {
		err_set(e, EX_NOSUCH, "pid %d: no such process", (int)pid);
		errno = ESRCH;
		if (e)
			e->sys = ESRCH;
		return -1;
	}
	return err_sys(e, "/proc/%d/%s", (int)pid, name);
}

static bool proc_exists(pid_t pid)
{
	char path[64];

	proc_path(path, sizeof(path), pid, 0, "stat");
	return access(path, F_OK) == 0;
}

static int read_of(struct buf *b, pid_t pid, pid_t tid, const char *name, size_t limit,
		   struct err *e)
{
	char path[64];

	proc_path(path, sizeof(path), pid, tid, name);
	if (buf_read_file(b, AT_FDCWD, path, limit) < 0)
		return proc_fail(e, tid ? tid : pid, name);
	return 0;
}

/* ---- stat ---- */

/* Taken as it stands: newer kernels write it raw here, older ones escape newline and
 * backslash; proc_stat_read() asks /proc/PID/comm, which is raw everywhere. */
static int comm_parse(char *out, size_t n, const char *s, const char *end)
{
	size_t len = (size_t)(end - s);

	if (len >= n)
		return -1;
	memcpy(out, s, len);
	out[len] = '\0';
	return 0;
}

static int comm_read(struct proc_stat *s, pid_t pid, pid_t tid, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;

	if (read_of(&b, pid, tid, "comm", MAX_STAT, e) < 0)
		return -1;
	if (b.len && b.p[b.len - 1] == '\n')
		b.len--;
	if (comm_parse(s->comm, sizeof(s->comm), buf_str(&b), buf_str(&b) + b.len) < 0)
		return err_set(e, EX_FAILED, "comm: malformed name");
	return 0;
}

/* A number behind blanks; negative ones as two's complement. *neg tells. */
static int number(const char **sp, uint64_t *out, bool *neg)
{
	const char *s = *sp;
	uint64_t v = 0;

	while (*s == ' ' || *s == '\t')
		s++;
	*neg = *s == '-';
	if (*neg)
		s++;
	if (*s < '0' || *s > '9')
		return -1;
	for (; *s >= '0' && *s <= '9'; s++) {
		unsigned d = (unsigned)(*s - '0');

		if (v > (UINT64_MAX - d) / 10)
			return -1;
		v = v * 10 + d;
	}
	if (*neg && v > (uint64_t)INT64_MAX + 1)
		return -1;
	*out = *neg ? 0 - v : v;
	*sp = s;
	return 0;
}

/* Range of the fields of stat that are kept in less than 64 bits, see proc(5). */
static bool stat_field_ok(int i, uint64_t v, bool neg)
{
	int64_t sv = (int64_t)v;

	switch (i) {
	case 4: case 5: case 6: /* ppid, pgrp, session */
		return !neg && v <= MAX_PID;
	case 8: /* tpgid: -1 without a terminal */
		return sv >= -1 && sv <= MAX_PID;
	case 9: case 40: case 41: /* flags, rt_priority, policy */
		return !neg && v <= UINT32_MAX;
	case 7: case 18: case 19: case 20: case 38: case 52:
		return sv >= INT_MIN && sv <= INT_MAX;
	case 24: /* rss */
		return !neg ? v <= INT64_MAX : true;
	default:
		return true;
	}
}

static void stat_fill(struct proc_stat *s, const uint64_t *f)
{
	s->ppid = (pid_t)f[4];
	s->pgrp = (pid_t)f[5];
	s->session = (pid_t)f[6];
	s->tty_nr = (int)f[7];
	s->tpgid = (pid_t)f[8];
	s->flags = (uint32_t)f[9];
	s->utime = f[14];
	s->stime = f[15];
	s->priority = (int)f[18];
	s->nice = (int)f[19];
	s->num_threads = (int)f[20];
	s->starttime = f[22];
	s->vsize = f[23];
	s->rss = (int64_t)f[24];
	s->start_code = f[26];
	s->end_code = f[27];
	s->start_stack = f[28];
	s->exit_signal = (int)f[38];
	s->rt_priority = (uint32_t)f[40];
	s->policy = (uint32_t)f[41];
	s->start_data = f[45];
	s->end_data = f[46];
	s->start_brk = f[47];
	s->arg_start = f[48];
	s->arg_end = f[49];
	s->env_start = f[50];
	s->env_end = f[51];
	s->exit_code = (int)f[52];
}

int proc_stat_parse(struct proc_stat *s, const char *text, struct err *e)
{
	uint64_t f[STAT_FIELDS + 1] = { 0 };
	const char *p = text, *open, *close;
	bool neg;
	int i;

	*s = (struct proc_stat){ 0 };
	if (number(&p, &f[1], &neg) < 0 || neg || f[1] > MAX_PID || p[0] != ' ' || p[1] != '(')
		return err_set(e, EX_FAILED, "stat: malformed pid");
	/* A comm may hold blanks and parentheses; no field behind it does. */
	open = p + 1;
	close = strrchr(open, ')');
	if (!close || comm_parse(s->comm, sizeof(s->comm), open + 1, close) < 0)
		return err_set(e, EX_FAILED, "stat: malformed name");
	if (close[1] != ' ' || close[2] < 'A' || close[2] > 'z' || close[3] != ' ')
		return err_set(e, EX_FAILED, "stat: malformed state");
	s->pid = (pid_t)f[1];
	s->state = close[2];
	p = close + 3;
	for (i = 4; i <= STAT_FIELDS; i++)
		if (number(&p, &f[i], &neg) < 0 || !stat_field_ok(i, f[i], neg))
			return err_set(e, EX_FAILED, "stat: malformed field %d", i);
	if (*p && *p != ' ' && *p != '\n')
		return err_set(e, EX_FAILED, "stat: malformed field %d", i - 1);
	stat_fill(s, f);
	return 0;
}

int proc_stat_read(struct proc_stat *s, pid_t pid, pid_t tid, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;

	if (read_of(&b, pid, tid, "stat", MAX_STAT, e) < 0)
		return -1;
	if (proc_stat_parse(s, buf_str(&b), e) < 0 ||
	    (strchr(s->comm, '\\') && comm_read(s, pid, tid, e) < 0))
		return err_prefix(e, "pid %d", (int)(tid ? tid : pid));
	return 0;
}

bool proc_stat_ended(const struct proc_stat *s)
{
	return (s->state == 'Z' || s->state == 'X') && s->num_threads <= 1;
}

bool proc_is_same(pid_t pid, uint64_t starttime)
{
	struct proc_stat s;

	return proc_stat_read(&s, pid, 0, NULL) == 0 && s.starttime == starttime;
}

/* ---- status ---- */

enum status_kind { S_PID, S_INT, S_IDS, S_HEX, S_KB, S_OCTAL, S_BOOL };
#define F(name, kind, field) { name, sizeof(name) - 1, kind, offsetof(struct proc_status, field) }
static const struct status_line {
	const char *key;
	size_t len;
	enum status_kind kind;
	size_t at;
} status_lines[] = {
	F("Umask", S_OCTAL, umask), F("Tgid", S_PID, tgid), F("Pid", S_PID, pid),
	F("PPid", S_PID, ppid), F("TracerPid", S_PID, tracer), F("Uid", S_IDS, uid),
	F("Gid", S_IDS, gid), F("VmSize", S_KB, vm_size_kb), F("VmHWM", S_KB, vm_hwm_kb),
	F("VmRSS", S_KB, vm_rss_kb), F("VmLck", S_KB, vm_lck_kb), F("Threads", S_INT, threads), F("SigPnd", S_HEX, sigpnd),
	F("ShdPnd", S_HEX, shdpnd), F("SigBlk", S_HEX, sigblk), F("SigIgn", S_HEX, sigign),
	F("SigCgt", S_HEX, sigcgt), F("CapInh", S_HEX, capinh), F("CapPrm", S_HEX, capprm),
	F("CapEff", S_HEX, capeff), F("CapBnd", S_HEX, capbnd), F("CapAmb", S_HEX, capamb),
	F("NoNewPrivs", S_BOOL, no_new_privs), F("Seccomp", S_INT, seccomp),
	F("Seccomp_filters", S_INT, seccomp_filters),
};
#undef F

static int radix(const char *s, unsigned base, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;
	size_t n;

	for (n = 0;; n++, s++) {
		unsigned d = *s >= '0' && *s <= '9' ? (unsigned)(*s - '0') :
			     *s >= 'a' && *s <= 'f' ? (unsigned)(*s - 'a' + 10) : 99;

		if (d >= base)
			break;
		if (v > (UINT64_MAX - d) / base)
			return -1;
		v = v * base + d;
	}
	if (n == 0 || v > max || (*s && *s != '\n'))
		return -1;
	*out = v;
	return 0;
}

static int status_value(struct proc_status *s, const struct status_line *l, const char *v)
{
	char *at = (char *)s + l->at;
	uint64_t u;
	bool neg;
	int i;

	if (l->kind == S_OCTAL || l->kind == S_HEX) {
		if (radix(v, l->kind == S_HEX ? 16 : 8, l->kind == S_HEX ? UINT64_MAX : 07777, &u) < 0)
			return -1;
		if (l->kind == S_HEX)
			memcpy(at, &u, sizeof(u));
		else
			*(mode_t *)at = (mode_t)u;
		return 0;
	}
	if (l->kind == S_IDS) {
		for (i = 0; i < 4; i++) {
			if (number(&v, &u, &neg) < 0 || neg || u > UINT32_MAX)
				return -1;
			((uint32_t *)at)[i] = (uint32_t)u;
		}
		return 0;
	}
	if (number(&v, &u, &neg) < 0 || neg)
		return -1;
	if (l->kind == S_KB)
		*(uint64_t *)at = u;
	else if (l->kind == S_BOOL)
		*(bool *)at = u != 0;
	else if (u > (l->kind == S_PID ? MAX_PID : INT_MAX))
		return -1;
	else
		*(int *)at = (int)u;
	return 0;
}

static int status_groups(struct proc_status *s, const char *v)
{
	size_t cap = 0;
	uint64_t u;
	bool neg;

	if (s->groups)
		return -1; /* the line a second time */
	for (;;) {
		while (*v == ' ' || *v == '\t')
			v++;
		if (!*v || *v == '\n')
			return 0;
		if (number(&v, &u, &neg) < 0 || neg || u > UINT32_MAX ||
		    s->ngroups == PROC_MAX_GROUPS)
			return -1;
		if (s->ngroups == cap) {
			gid_t *g = realloc(s->groups, (cap = cap ? 2 * cap : 32) * sizeof(*g));

			if (!g)
				return -1;
			s->groups = g;
		}
		s->groups[s->ngroups++] = (gid_t)u;
	}
}

/* A line of ids, outermost namespace first. Returns their number or -1. */
static int status_ns(pid_t *ids, size_t max, const char *v)
{
	size_t n = 0;
	uint64_t u;
	bool neg;

	for (;;) {
		while (*v == ' ' || *v == '\t')
			v++;
		if (!*v || *v == '\n')
			return (int)n;
		if (n == max || number(&v, &u, &neg) < 0 || neg || u > MAX_PID)
			return -1;
		ids[n++] = (pid_t)u;
	}
}

static int status_special(struct proc_status *s, const char *key, size_t len, const char *v)
{
	int n;

	if (len == 5 && memcmp(key, "State", 5) == 0) {
		s->state = *v;
		return *v >= 'A' && *v <= 'z' ? 0 : -1;
	}
	if (len == 6 && memcmp(key, "Groups", 6) == 0)
		return status_groups(s, v);
	if (len == 5 && memcmp(key, "NSpid", 5) == 0) {
		n = status_ns(s->nspid, PROC_MAX_NSDEPTH, v);
		s->nnspid = n > 0 ? (size_t)n : 0;
		return n > 0 ? 0 : -1;
	}
	if ((len == 6 && memcmp(key, "NSpgid", 6) == 0) ||
	    (len == 5 && memcmp(key, "NSsid", 5) == 0)) {
		n = status_ns(len == 6 ? s->nspgid : s->nssid, PROC_MAX_NSDEPTH, v);
		if (n <= 0)
			return -1;
	}
	return 0;
}

static int status_one(struct proc_status *s, const char *key, size_t len, const char *v)
{
	size_t i;

	for (i = 0; i < sizeof(status_lines) / sizeof(status_lines[0]); i++) {
		const struct status_line *l = &status_lines[i];

		if (l->len == len && memcmp(l->key, key, len) == 0) {
			if (l->at == offsetof(struct proc_status, vm_size_kb))
				s->has_mm = true;
			return status_value(s, l, v);
		}
	}
	return status_special(s, key, len, v);
}

int proc_status_parse(struct proc_status *s, const char *text, struct err *e)
{
	const char *p = text;

	*s = (struct proc_status){ .seccomp = -1, .seccomp_filters = -1 };
	while (*p) {
		size_t line = strcspn(p, "\n"), len = strcspn(p, ":\n");
		const char *v = p + len;

		if (*v == ':') {
			v++;
			while (*v == ' ' || *v == '\t')
				v++;
			if (status_one(s, p, len, v) < 0) {
				err_set(e, EX_FAILED, "status: malformed %.*s", (int)len, p);
				proc_status_free(s);
				return -1;
			}
		}
		p += line;
		if (*p)
			p++;
	}
	if (!s->pid || !s->tgid || !s->state) {
		proc_status_free(s);
		return err_set(e, EX_FAILED, "status: incomplete");
	}
	if (!s->nnspid) { /* a kernel without PID namespaces */
		s->nspid[0] = s->pid;
		s->nnspid = 1;
	}
	return 0;
}

int proc_status_read(struct proc_status *s, pid_t pid, pid_t tid, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;

	*s = (struct proc_status){ 0 };
	if (read_of(&b, pid, tid, "status", MAX_STATUS, e) < 0)
		return -1;
	if (proc_status_parse(s, buf_str(&b), e) < 0)
		return err_prefix(e, "pid %d", (int)(tid ? tid : pid));
	return 0;
}

void proc_status_free(struct proc_status *s)
{
	free(s->groups);
	s->groups = NULL;
	s->ngroups = 0;
}

/* ---- lists ---- */

int pid_list_add(struct pid_list *l, pid_t p)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 32;
		pid_t *v = realloc(l->v, cap * sizeof(*v));

		if (!v) {
			errno = ENOMEM;
			return -1;
		}
		l->v = v;
		l->cap = cap;
	}
	l->v[l->n++] = p;
	return 0;
}

bool pid_list_has(const struct pid_list *l, pid_t p)
{
	size_t i;

	for (i = 0; i < l->n; i++)
		if (l->v[i] == p)
			return true;
	return false;
}

void pid_list_free(struct pid_list *l)
{
	free(l->v);
	*l = (struct pid_list){ 0 };
}

static int pid_cmp(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return (x > y) - (x < y);
}

/* The numbers among the names of a directory, ascending. -1 with errno. */
static int dir_numbers(struct pid_list *l, const char *path)
{
	AUTO_DIR DIR *d = opendir(path);
	struct dirent *de;
	size_t from = l->n;
	uint64_t v;

	if (!d)
		return -1;
	while (errno = 0, (de = readdir(d))) {
		if (de->d_name[0] < '1' || de->d_name[0] > '9' ||
		    num_u64(de->d_name, MAX_PID, &v) < 0)
			continue;
		if (pid_list_add(l, (pid_t)v) < 0)
			return -1;
	}
	if (errno)
		return -1;
	if (l->n > from)
		qsort(l->v + from, l->n - from, sizeof(*l->v), pid_cmp);
	return 0;
}

int proc_tasks(struct pid_list *l, pid_t pid, struct err *e)
{
	char path[64];

	*l = (struct pid_list){ 0 };
	proc_path(path, sizeof(path), pid, 0, "task");
	if (dir_numbers(l, path) == 0 && l->n > 0)
		return 0;
	if (l->n == 0 && errno == 0)
		errno = ESRCH;
	proc_fail(e, pid, "task");
	pid_list_free(l);
	return -1;
}

static int add_once(struct pid_list *l, pid_t root, pid_t p)
{
	/* A child whose parent ends meanwhile may be met again below another. */
	if (p == root || pid_list_has(l, p))
		return 0;
	return pid_list_add(l, p);
}

/* Children of one process by its threads' children files. A thread that goes meanwhile
 * has handed its children to another one of the process or to a reaper. */
static int add_children(struct pid_list *l, pid_t root, pid_t pid, struct buf *b)
{
	struct pid_list tids = { 0 };
	const char *p;
	uint64_t v;
	bool neg;
	size_t i;
	int rc = 0;

	if (proc_tasks(&tids, pid, NULL) < 0)
		return errno == ESRCH ? 0 : -1;
	for (i = 0; i < tids.n && rc == 0; i++) {
		char path[64];

		proc_path(path, sizeof(path), pid, tids.v[i], "children");
		buf_reset(b);
		if (buf_read_file(b, AT_FDCWD, path, MAX_CHILDREN) < 0) {
			rc = errno == ENOENT || errno == ESRCH ? 0 : -1;
			continue;
		}
		for (p = buf_str(b); rc == 0 && number(&p, &v, &neg) == 0;)
			rc = add_once(l, root, (pid_t)v);
	}
	pid_list_free(&tids);
	return rc;
}

static int descend(struct pid_list *l, pid_t root)
{
	AUTO_BUF struct buf b = BUF_INIT;
	size_t i;

	if (add_children(l, root, root, &b) < 0)
		return -1;
	for (i = 0; i < l->n; i++)
		if (add_children(l, root, l->v[i], &b) < 0)
			return -1;
	return 0;
}

/* The same from the parents of all processes. */
static int descend_scan(struct pid_list *l, pid_t root)
{
	struct pid_list all = { 0 };
	AUTO_FREE pid_t *parent = NULL;
	struct proc_stat s;
	size_t i, k;
	int rc = dir_numbers(&all, "/proc");

	if (rc == 0 && all.n) {
		parent = calloc(all.n, sizeof(*parent));
		rc = parent ? 0 : -1;
	}
	for (i = 0; rc == 0 && i < all.n; i++)
		parent[i] = proc_stat_read(&s, all.v[i], 0, NULL) == 0 ? s.ppid : 0;
	/* k == 0 looks for children of root, later k for those of entry k - 1. */
	for (k = 0; rc == 0 && k <= l->n; k++) {
		pid_t p = k == 0 ? root : l->v[k - 1];

		for (i = 0; rc == 0 && i < all.n; i++)
			if (parent[i] == p)
				rc = add_once(l, root, all.v[i]);
	}
	pid_list_free(&all);
	return rc;
}

int proc_descendants_scan(struct pid_list *l, pid_t root, struct err *e)
{
	*l = (struct pid_list){ 0 };
	if (!proc_exists(root)) {
		errno = ESRCH;
		return proc_fail(e, root, "stat");
	}
	if (descend_scan(l, root) == 0)
		return 0;
	err_sys(e, "pid %d: list of its descendants", (int)root);
	pid_list_free(l);
	return -1;
}

int proc_descendants(struct pid_list *l, pid_t root, struct err *e)
{
	char path[64];

	*l = (struct pid_list){ 0 };
	/* CONFIG_PROC_CHILDREN: asked of ourselves, who cannot be gone. */
	proc_path(path, sizeof(path), getpid(), getpid(), "children");
	if (access(path, F_OK) < 0 || !proc_exists(root))
		return proc_descendants_scan(l, root, e);
	if (descend(l, root) == 0)
		return 0;
	err_sys(e, "pid %d: list of its descendants", (int)root);
	pid_list_free(l);
	return -1;
}
