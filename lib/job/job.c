/* A job's life in the state directory: made, found, locked, repaired, ended, listed. */
#include "job/job.h"
#include "common/cleanup.h"
#include "common/num.h"
#include "common/state.h"
#include "job/internal.h"
#include "job/netlock.h"
#include "job/scratch.h"
#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

enum { CREATE_RETRIES = 1000 };

int64_t job_now(void)
{
	return (int64_t)time(NULL);
}

int64_t job_now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

bool job_alive(pid_t pid, uint64_t start)
{
	struct proc_stat st;
	return pid > 0 && proc_stat_read(&st, pid, 0, NULL) == 0 && st.starttime == start && st.state != 'Z' &&
	       st.state != 'X';
}

bool job_supervised(const struct job *j)
{
	return job_alive(j->supervisor, j->supervisor_start);
}

bool job_id_valid(const char *id)
{
	size_t n = strlen(id);
	if (n == 0 || n > JOBID_MAX || !isalnum((unsigned char)id[0]))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isascii((unsigned char)id[i]) || (!isalnum((unsigned char)id[i]) && !strchr("._-", id[i])))
			return false;
	return true;
}

void job_free(struct job *j)
{
	if (!j)
		return;
	job_record_clear(j);
	cleanup_fd(&j->lock);
	cleanup_fd(&j->dir);
	cleanup_fd(&j->statedir);
	free(j->state_path);
	free(j);
}

static struct job *job_new(const char *state_dir, const char *id, struct err *e)
{
	struct job *j = calloc(1, sizeof *j);
	if (!j || !(j->state_path = strdup(state_dir))) {
		free(j);
		err_set(e, EX_FAILED, "out of memory");
		return NULL;
	}
	j->statedir = j->dir = j->lock = -1;
	job_record_clear(j);
	if (id)
		strcpy(j->id, id);
	return j;
}

static int check_id(const char *id, struct err *e)
{
	if (id && !job_id_valid(id)) {
		err_set(e, EX_USAGE_, "not a job id: %s", id);
		err_hint(e, "a letter or digit, then up to 63 letters, digits, dots, underscores and dashes");
		return -1;
	}
	return 0;
}

static int open_dir(int at, const char *name)
{
	return openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

int job_lock(struct job *j, bool wait, struct err *e)
{
	if (j->lock >= 0)
		return 0;
	j->lock = state_lock(j->dir, "lock", false, wait, e);
	if (j->lock < 0)
		return err_prefix(e, "job %s", j->id);
	struct err le = ERR_INIT;
	if (job_record_load(j, &le) < 0 && le.code != EX_NOSUCH) {
		job_unlock(j);
		if (e)
			*e = le;
		return -1;
	}
	return 0;
}

void job_unlock(struct job *j)
{
	cleanup_fd(&j->lock);
	j->lock = -1;
}

/* ---- the end, and repairing it ---- */

int job_finish(struct job *j, enum job_state state, struct err *e)
{
	struct err first = ERR_INIT;
	/* A restart that was killed before the job ran: it waits for the next one, as it did before. */
	if (state == JOB_DONE && j->state == JOB_RUNNING && j->netlock && netlock_name_valid(j->netlock) && netlock_there(j->netlock))
		state = JOB_STOPPED;
	bool foreign = geteuid() == 0 && j->owner != 0; /* see members.c */
	if (j->kind == JOB_CGROUP && j->cg.n && (!foreign || cgroup_owner(&j->cg) == j->owner)) {
		cgroup_read_usage(&j->cg, &j->usage, NULL);
		cgroup_remove(&j->cg, &first); /* a group that stays is named in the record still */
	}
	if (state != JOB_STOPPED && !first.code && !foreign)
		job_scratch_remove(j, &first);
	if (j->usage.wall_ms == 0 && j->started)
		j->usage.wall_ms = (uint64_t)(job_now() - j->started) * 1000;
	/* Packets of connections that nobody will restore need not be held. */
	if (state == JOB_DONE && j->netlock && !foreign && netlock_name_valid(j->netlock)) {
		netlock_down(j->netlock, first.code ? NULL : &first);
		job_set_netlock(j, NULL, NULL);
	}
	j->state = state;
	j->ended = job_now();
	j->supervisor = j->main = j->nsinit = 0;
	/* what can be restarted must survive a crash of the machine; that a job ended need not */
	if ((state == JOB_STOPPED ? job_save(j, e) : job_save_quick(j, e)) < 0)
		return -1;
	if (first.code && e)
		*e = first;
	return first.code ? -1 : 0;
}

static bool has_members(struct job *j)
{
	struct pid_list l = { 0 };
	bool some = job_pids(j, &l, NULL) < 0 || l.n;
	pid_list_free(&l);
	return some;
}

void job_wait_unsupervised(const char *state_dir, const char *id)
{
	static const struct timespec pause = { .tv_nsec = 2000000 };

	for (int64_t end = job_now_ms() + 10000; job_now_ms() < end; nanosleep(&pause, NULL)) {
		struct job *j;
		if (job_peek(&j, state_dir, id, NULL) < 0)
			return;
		bool busy = j->state == JOB_STOPPED && job_supervised(j);
		job_free(j);
		if (!busy)
			return;
	}
}

/* The supervisor was killed. Best effort: whoever holds the lock at the moment is at it already. */
static void repair(struct job *j)
{
	/* xcheckpoint -k was killed after it had written STOPPED and before it ended the job: the job runs. */
	if (j->state == JOB_STOPPED && (j->supervisor || j->cg.n) && has_members(j) && job_lock(j, false, NULL) == 0) {
		if (j->state == JOB_STOPPED && has_members(j)) {
			j->state = JOB_RUNNING;
			job_save(j, NULL);
		}
		job_unlock(j);
	}
	bool left = j->state == JOB_STOPPED && j->cg.n;
	if ((j->state != JOB_RUNNING && !left) || job_supervised(j))
		return;
	if (j->state == JOB_RUNNING && j->supervisor == 0 && has_members(j))
		return; /* found out before */
	if (job_lock(j, false, NULL) < 0)
		return;
	left = j->state == JOB_STOPPED && j->cg.n;
	if ((j->state == JOB_RUNNING || left) && !job_supervised(j)) {
		if (!has_members(j)) {
			job_finish(j, j->state == JOB_RUNNING ? JOB_DONE : JOB_STOPPED, NULL);
		} else if (j->supervisor) {
			j->supervisor = 0;
			job_save_quick(j, NULL);
		}
	}
	job_unlock(j);
}

/* ---- open ---- */

static int open_job(struct job **out, const char *state_dir, const char *id, struct err *e)
{
	if (check_id(id, e) < 0)
		return -1;
	struct job *j = job_new(state_dir, id, e);
	char path[JOBID_MAX + 8];
	if (!j)
		return -1;
	snprintf(path, sizeof path, "jobs/%s", id);
	j->statedir = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (j->statedir >= 0)
		j->dir = open_dir(j->statedir, path);
	if (j->dir < 0) {
		if (errno == ENOENT)
			err_set(e, EX_NOSUCH, "no such job: %s", id);
		else
			err_sys(e, "%s/%s", state_dir, path);
		job_free(j);
		return -1;
	}
	if (job_record_load(j, e) < 0) {
		job_free(j);
		return -1;
	}
	*out = j;
	return 0;
}

int job_peek(struct job **j, const char *state_dir, const char *id, struct err *e)
{
	return open_job(j, state_dir, id, e);
}

int job_open(struct job **j, const char *state_dir, const char *id, struct err *e)
{
	if (open_job(j, state_dir, id, e) < 0)
		return -1;
	repair(*j);
	return 0;
}

/* ---- create ---- */

/* The highest number that is a job or has checkpoints, plus one. */
static int next_number(int statedir, uint64_t *next, struct err *e)
{
	static const char *const dirs[] = { "jobs", "checkpoints" };
	*next = 1;
	for (size_t i = 0; i < 2; i++) {
		int fd = open_dir(statedir, dirs[i]);
		AUTO_DIR DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
		if (!d) {
			if (fd < 0 && errno == ENOENT)
				continue;
			err_sys(e, "%s", dirs[i]);
			cleanup_fd(&fd);
			return -1;
		}
		for (struct dirent *de; (de = readdir(d));) {
			uint64_t v;
			if (isdigit((unsigned char)de->d_name[0]) && strspn(de->d_name, "0123456789") == strlen(de->d_name) &&
			    num_u64(de->d_name, INT64_MAX, &v) == 0 && v >= *next)
				*next = v + 1;
		}
	}
	return 0;
}

/* Makes jobs/ID, for id NULL under the first number that nobody else takes at the same time. */
static int make_dir(struct job *j, const char *id, struct err *e)
{
	char path[JOBID_MAX + 8];
	if (id) {
		snprintf(path, sizeof path, "jobs/%s", id);
		if (mkdirat(j->statedir, path, 0700) < 0 && errno != EEXIST)
			return err_sys(e, "%s/%s", j->state_path, path);
	} else {
		uint64_t n;
		if (next_number(j->statedir, &n, e) < 0)
			return -1;
		for (int i = 0;; i++, n++) {
			snprintf(j->id, sizeof j->id, "%llu", (unsigned long long)n);
			snprintf(path, sizeof path, "jobs/%s", j->id);
			if (mkdirat(j->statedir, path, 0700) == 0)
				break;
			if (errno != EEXIST || i == CREATE_RETRIES)
				return err_sys(e, "%s/%s", j->state_path, path);
		}
	}
	j->dir = open_dir(j->statedir, path);
	return j->dir < 0 ? err_sys(e, "%s/%s", j->state_path, path) : 0;
}

static int busy(const struct job *j, struct err *e)
{
	if (j->state == JOB_STOPPED) {
		err_set(e, EX_BUSY, "job %s was checkpointed and stopped", j->id);
		err_hint(e, "'xrestart %s' continues it, 'xcgkill %s' gives it up", j->id, j->id);
		return -1;
	}
	err_set(e, EX_BUSY, "job %s is running already", j->id);
	if (!job_supervised(j))
		err_hint(e, "its supervisor was killed, processes of it live on: 'xcgkill %s' ends them", j->id);
	return -1;
}

static int new_mark(char *out, struct err *e)
{
	unsigned char r[JOB_MARK_LEN / 2];
	if (getrandom(r, sizeof r, 0) != (ssize_t)sizeof r)
		return err_sys(e, "random numbers");
	for (size_t i = 0; i < sizeof r; i++)
		snprintf(out + 2 * i, 3, "%02x", r[i]);
	return 0;
}

/* What the restart of a stopped job goes on with. */
struct kept { char mark[JOB_MARK_LEN + 1]; char *tmp, *tmp_kind, *limits, *subsystems; };

static int fill_new(struct job *j, struct err *e)
{
	struct kept k = { 0 };
	if (j->state == JOB_STOPPED) {
		strcpy(k.mark, j->mark);
		k.tmp = take_ptr(&j->tmp);
		k.tmp_kind = take_ptr(&j->tmp_kind);
		k.limits = take_ptr(&j->limits);
		k.subsystems = take_ptr(&j->subsystems);
	}
	job_record_clear(j);
	memcpy(j->mark, k.mark, sizeof j->mark);
	j->tmp = k.tmp;
	j->tmp_kind = k.tmp_kind;
	j->limits = k.limits;
	j->subsystems = k.subsystems;
	struct proc_stat st;
	if (!j->mark[0] && new_mark(j->mark, e) < 0)
		return -1;
	if (proc_stat_read(&st, getpid(), 0, e) < 0)
		return -1;
	j->uid = j->owner = geteuid();
	j->gid = getegid();
	j->supervisor = getpid();
	j->supervisor_start = st.starttime;
	j->session = st.session;
	j->started = job_now();
	return 0;
}

static int create(struct job **out, const char *state_dir, const char *id, bool fresh, struct err *e)
{
	char path[PATH_MAX];
	struct err old = ERR_INIT;
	if (check_id(id, e) < 0)
		return -1;
	struct job *j = job_new(state_dir, id, e);
	if (!j)
		return -1;
	snprintf(path, sizeof path, "%s/jobs", state_dir);
	if ((j->statedir = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0 ||
	    faccessat(j->statedir, "jobs", F_OK, 0) < 0) {
		cleanup_fd(&j->statedir);
		if (state_mkdirs(path, 0700, e) < 0)
			goto fail;
		if ((j->statedir = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0) {
			err_sys(e, "%s", state_dir);
			goto fail;
		}
	}
	if (make_dir(j, id, e) < 0 || (j->lock = state_lock(j->dir, "lock", false, true, e)) < 0)
		goto fail;
	if (job_record_load(j, &old) < 0) {
		if (old.code != EX_NOSUCH) { /* unreadable: nothing says that it runs, but somebody should look */
			if (e)
				*e = old;
			goto fail;
		}
		j->state = JOB_DONE;
	} else {
		/* under the lock already, so repair() sees it as held by us */
		if (j->state == JOB_STOPPED && (j->supervisor || j->cg.n) && has_members(j))
			j->state = JOB_RUNNING;
		if (j->state == JOB_RUNNING && !job_supervised(j) && !has_members(j) &&
		    job_finish(j, JOB_DONE, e) < 0)
			goto fail;
		if (j->state == JOB_RUNNING || (fresh && j->state == JOB_STOPPED)) {
			busy(j, e);
			goto fail;
		}
	}
	if (fill_new(j, e) < 0 || (!fresh && job_save_quick(j, e) < 0))
		goto fail;
	if (!fresh)
		job_unlock(j);
	*out = j;
	return 0;
fail:
	job_free(j);
	return -1;
}

int job_create(struct job **j, const char *state_dir, const char *id, struct err *e)
{
	return create(j, state_dir, id, false, e);
}

int job_create_new(struct job **j, const char *state_dir, const char *id, struct err *e)
{
	return create(j, state_dir, id, true, e);
}
