/* The list of jobs. */
#include "common/cleanup.h"
#include "common/log.h"
#include "common/num.h"
#include "job/job.h"
#include "xps.h"
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { C_ID, C_STATE, C_CKPT, C_PROCS, C_CPU, C_MEM, C_VERSION, C_AGE, C_USER, C_KIND, C_PID, C_STARTED, C_ENDED,
       C_EXIT, C_LIMITS, C_COMMAND, NCOLS, CELL = 32 };

static const struct table_col cols[NCOLS] = {
	[C_ID] = { "ID", false, false, "job id" },
	[C_STATE] = { "STATE", false, false, "running, frozen, stopped (checkpointed, waits for its restart) or done" },
	[C_CKPT] = { "CHECKPOINTER", false, false, "what checkpoints it" },
	[C_PROCS] = { "PROCS", true, true, "processes" },
	[C_CPU] = { "CPU", true, true, "CPU time used" },
	[C_MEM] = { "MEM", true, true, "memory in use, of a job that is done its peak" },
	[C_VERSION] = { "VERSION", true, true, "last checkpoint" },
	[C_AGE] = { "AGE", true, true, "time since it started" },
	[C_USER] = { "USER", false, false, "user" },
	[C_KIND] = { "KIND", false, false, "cgroup or tree" },
	[C_PID] = { "PID", true, true, "process of the command" },
	[C_STARTED] = { "STARTED", false, true, "when it started" },
	[C_ENDED] = { "ENDED", false, true, "when it ended" },
	[C_EXIT] = { "EXIT", true, false, "exit status, or the signal's name" },
	[C_LIMITS] = { "LIMITS", false, false, "limits" },
	[C_COMMAND] = { "COMMAND", false, false, "command line" },
};

struct row { char text[NCOLS][CELL]; const char *val[NCOLS]; };

static void set(struct row *r, int col, const char *s)
{
	snprintf(r->text[col], CELL, "%s", s);
	r->val[col] = r->text[col];
}

static void set_num(struct row *r, int col, uint64_t v)
{
	snprintf(r->text[col], CELL, "%" PRIu64, v);
	r->val[col] = r->text[col];
}

static void set_size(struct row *r, int col, uint64_t bytes, bool human)
{
	if (!human) {
		set_num(r, col, bytes);
		return;
	}
	num_size_human(bytes, r->text[col], CELL);
	r->val[col] = r->text[col];
}

static void set_time(struct row *r, int col, int64_t t, bool human)
{
	struct tm tm;
	time_t tt = (time_t)t;
	if (!t)
		return;
	if (human && localtime_r(&tt, &tm)) {
		strftime(r->text[col], CELL, "%Y-%m-%d %H:%M:%S", &tm);
		r->val[col] = r->text[col];
	} else {
		set_num(r, col, (uint64_t)t);
	}
}

static void set_exit(struct row *r, const struct job *j)
{
	char name[16];
	if (j->exit_code >= 0)
		set_num(r, C_EXIT, (uint64_t)j->exit_code);
	else if (j->exit_signal > 0)
		set(r, C_EXIT, num_signame(j->exit_signal, name, sizeof name));
}

static void set_usage(struct row *r, struct job *j, bool human)
{
	struct cgroup_usage u;
	if (job_usage(j, &u, NULL) < 0)
		u = j->usage;
	uint64_t us = u.cpu_user_us + u.cpu_sys_us;
	if (human && us >= 10000000) {
		num_duration_human(us / 1000, r->text[C_CPU], CELL);
	} else {
		snprintf(r->text[C_CPU], CELL, "%" PRIu64 ".%02u%s", us / 1000000, (unsigned)(us % 1000000 / 10000),
			 human ? "s" : "");
	}
	r->val[C_CPU] = r->text[C_CPU];
	if (j->state == JOB_RUNNING ? u.has_mem_now : u.has_mem)
		set_size(r, C_MEM, j->state == JOB_RUNNING ? u.mem_now : u.mem_peak, human);
}

static const char *state_name(struct job *j)
{
	if (j->state == JOB_RUNNING)
		return job_frozen(j) ? "frozen" : "running";
	return j->state == JOB_STOPPED ? "stopped" : "done";
}

static void set_user(struct row *r, uid_t uid)
{
	struct passwd *pw = getpwuid(uid);
	if (pw)
		set(r, C_USER, pw->pw_name);
	else
		set_num(r, C_USER, uid);
}

static int add_job(struct table *t, struct job *j, const char *state_dir, bool human)
{
	struct row r = { .val = { NULL } };
	struct pid_list pids = { 0 };
	uint64_t *v = NULL;
	size_t nv = 0;
	r.val[C_ID] = j->id;
	set(&r, C_STATE, state_name(j));
	set(&r, C_CKPT, j->checkpointer ? j->checkpointer : "engine");
	if (job_pids(j, &pids, NULL) == 0)
		set_num(&r, C_PROCS, pids.n);
	pid_list_free(&pids);
	set_usage(&r, j, human);
	if (job_versions(state_dir, j->id, &v, &nv, NULL) == 0 && nv)
		set_num(&r, C_VERSION, v[nv - 1]);
	free(v);
	if (j->started) {
		int64_t age = (int64_t)time(NULL) - j->started;
		age = age < 0 ? 0 : age;
		if (human) {
			num_duration_human((uint64_t)age * 1000, r.text[C_AGE], CELL);
			r.val[C_AGE] = r.text[C_AGE];
		} else {
			set_num(&r, C_AGE, (uint64_t)age);
		}
	}
	set_user(&r, j->uid);
	set(&r, C_KIND, j->kind == JOB_CGROUP ? "cgroup" : "tree");
	if (j->main)
		set_num(&r, C_PID, (uint64_t)j->main);
	set_time(&r, C_STARTED, j->started, human);
	set_time(&r, C_ENDED, j->ended, human);
	set_exit(&r, j);
	r.val[C_LIMITS] = j->limits;
	r.val[C_COMMAND] = j->command;
	return table_row(t, r.val);
}

/* All jobs of one state directory. Another user's is read, never repaired. */
static int add_dir(struct table *t, const struct xps_opts *o, const char *dir, bool own, struct err *e)
{
	char **ids;
	size_t n;
	int r = 0;
	if (job_list(&ids, &n, dir, e) < 0)
		return -1;
	for (size_t i = 0; i < n && r == 0; i++) {
		struct job *j;
		struct err je = ERR_INIT;
		if (o->id && strcmp(o->id, ids[i]) != 0)
			continue;
		if ((own ? job_open(&j, dir, ids[i], &je) : job_peek(&j, dir, ids[i], &je)) < 0) {
			if (je.code != EX_NOSUCH) /* one bad record does not hide the others */
				log_err(&je);
			continue;
		}
		if (o->all || o->id || j->state != JOB_DONE)
			r = add_job(t, j, dir, o->mode == TABLE_COLUMNS);
		job_free(j);
	}
	job_list_free(ids, n);
	return r < 0 ? err_set(e, EX_FAILED, "out of memory") : 0;
}

/* The default state directories of the users that have one of their own. */
static int add_users(struct table *t, const struct xps_opts *o, struct err *e)
{
	int r = 0;
	setpwent();
	for (struct passwd *pw; r == 0 && (pw = getpwent());) {
		char dir[PATH_MAX];
		struct stat st;
		struct err ue = ERR_INIT;
		if (pw->pw_uid == 0 || !pw->pw_dir || pw->pw_dir[0] != '/')
			continue;
		snprintf(dir, sizeof dir, "%s/.local/state/xos", pw->pw_dir);
		if (lstat(dir, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_uid != pw->pw_uid || strcmp(dir, o->state_dir) == 0)
			continue;
		if (add_dir(t, o, dir, false, &ue) < 0)
			log_err(&ue);
	}
	endpwent();
	return r;
}

int xps_jobs(const struct xps_opts *o, struct err *e)
{
	struct table *t;
	const char *dflt = "ID,STATE,CHECKPOINTER,PROCS,CPU,MEM,VERSION,AGE";
	bool users = o->all && !o->id && geteuid() == 0;
	if (o->id) { /* a job that is not there is an error, and not an empty list */
		struct job *j;
		if (job_open(&j, o->state_dir, o->id, e) < 0)
			return -1;
		job_free(j);
	}
	if (users)
		dflt = "ID,USER,STATE,CHECKPOINTER,PROCS,CPU,MEM,VERSION,AGE";
	if (table_new(&t, "jobs", cols, NCOLS, dflt, o->columns, o->mode, o->noheadings, e) < 0)
		return -1;
	int r = add_dir(t, o, o->state_dir, true, e);
	if (r == 0 && users)
		r = add_users(t, o, e);
	if (r == 0)
		r = table_print(t, STDOUT_FILENO, e);
	table_free(t);
	return r;
}
