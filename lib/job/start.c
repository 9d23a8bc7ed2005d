#include "job/start.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/num.h"
#include "job/internal.h"
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/sched.h>
#include <pwd.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

/* ---- who ---- */

static int identity_groups(struct job_identity *id, struct err *e)
{
	int n = 64;
	for (;;) {
		gid_t *g = realloc(id->groups, (size_t)n * sizeof *g);
		int had = n;
		if (!g)
			return err_set(e, EX_FAILED, "out of memory");
		id->groups = g;
		if (getgrouplist(id->name, id->gid, g, &n) >= 0) {
			id->ngroups = (size_t)n;
			return 0;
		}
		if (n <= had) /* musl and glibc tell the size needed; be safe */
			n = had * 2;
		if (n > NGROUPS_MAX)
			return err_set(e, EX_FAILED, "user %s: too many groups", id->name);
	}
}

int job_identity_find(struct job_identity *id, const char *user, struct err *e)
{
	uint64_t num;
	memset(id, 0, sizeof *id);
	errno = 0;
	struct passwd *pw = getpwnam(user);
	if (!pw && num_u64(user, UINT32_MAX - 1, &num) == 0)
		pw = getpwuid((uid_t)num);
	if (!pw)
		return err_set(e, EX_NOSUCH, "no such user: %s", user);
	id->uid = pw->pw_uid;
	id->gid = pw->pw_gid;
	id->name = strdup(pw->pw_name);
	id->home = strdup(pw->pw_dir);
	id->shell = strdup(pw->pw_shell && pw->pw_shell[0] ? pw->pw_shell : "/bin/sh");
	if (!id->name || !id->home || !id->shell || identity_groups(id, e) < 0) {
		job_identity_free(id);
		return err_is_set(e) ? -1 : err_set(e, EX_FAILED, "out of memory");
	}
	return 0;
}

void job_identity_free(struct job_identity *id)
{
	free(id->groups);
	free(id->name);
	free(id->home);
	free(id->shell);
	memset(id, 0, sizeof *id);
}

/* ---- environment ---- */

char **job_environ(const struct job *j, char *const *envp, const struct job_identity *id)
{
	const char *const set[][2] = {
		{ "XOS_JOBID", j->id }, { "XOS_JOB_MARK", j->mark }, { "XOS_JOB_TMP", j->tmp },
		{ "HOME", id ? id->home : NULL }, { "USER", id ? id->name : NULL },
		{ "LOGNAME", id ? id->name : NULL }, { "SHELL", id ? id->shell : NULL },
	};
	size_t nset = sizeof set / sizeof *set, n = 0, bytes = 0;
	while (envp && envp[n])
		n++;
	for (size_t i = 0; i < nset; i++)
		bytes += set[i][1] ? strlen(set[i][0]) + strlen(set[i][1]) + 2 : 0;
	char **out = malloc((n + nset + 1) * sizeof *out + bytes);
	if (!out)
		return NULL;
	char *text = (char *)(out + n + nset + 1);
	size_t k = 0;
	for (size_t i = 0; i < n; i++) {
		bool replaced = false;
		for (size_t s = 0; s < nset && !replaced; s++) {
			size_t len = strlen(set[s][0]);
			/* XOS_JOB_TMP of a job around this one must not show here */
			replaced = (set[s][1] || s < 3) && strncmp(envp[i], set[s][0], len) == 0 && envp[i][len] == '=';
		}
		if (!replaced)
			out[k++] = envp[i];
	}
	for (size_t s = 0; s < nset; s++)
		if (set[s][1]) {
			out[k++] = text;
			text += sprintf(text, "%s=%s", set[s][0], set[s][1]) + 1;
		}
	out[k] = NULL;
	return out;
}

/* ---- the child: only async-signal-safe calls from here ... ---- */

enum stage { S_GROUP, S_SESSION, S_STDIO, S_GROUPS, S_GID, S_UID, S_VERIFY, S_TMP, S_EXEC };
static const char *const stage_names[] = {
	"entering the control group", "new session", "stdin, stdout and stderr", "supplementary groups", "group id",
	"user id", "verifying that root's rights are gone", "the scratch directory", "execute",
};
struct report { int stage, sys; };

struct child {
	const struct job_start_opts *o;
	struct cgroup_entry entry;
	const char *tmp;
	char *const *candidates;       /* paths to try */
	int go, report;
};

static void __attribute__((noreturn)) fail(const struct child *c, int stage, int sys)
{
	struct report r = { stage, sys };
	if (write(c->report, &r, sizeof r) < 0)
		_exit(EX_TOOL); /* the parent is gone; nobody to tell */
	_exit(EX_TOOL);
}

/* Groups, gid, uid, in that order, and then a look whether it took. */
static void become(const struct child *c, const struct job_identity *id)
{
	uid_t r, e, s;
	gid_t gr, ge, gs;
	if (setgroups(id->ngroups, id->groups) < 0)
		fail(c, S_GROUPS, errno);
	if (setresgid(id->gid, id->gid, id->gid) < 0)
		fail(c, S_GID, errno);
	if (setresuid(id->uid, id->uid, id->uid) < 0)
		fail(c, S_UID, errno);
	if (getresuid(&r, &e, &s) < 0 || r != id->uid || e != id->uid || s != id->uid || getresgid(&gr, &ge, &gs) < 0 ||
	    gr != id->gid || ge != id->gid || gs != id->gid || (id->uid != 0 && setuid(0) == 0))
		fail(c, S_VERIFY, EPERM);
}

static int put_fd(int fd, int as)
{
	if (fd < 0)
		return 0;
	return fd == as ? fcntl(fd, F_SETFD, 0) : dup2(fd, as);
}

static void __attribute__((noreturn)) child_main(const struct child *c)
{
	const struct job_start_opts *o = c->o;
	char go;
	int r = cgroup_entry_enter(&c->entry);
	if (r)
		fail(c, S_GROUP, r);
	/* End of file: the supervisor died before it had recorded us. */
	while ((r = (int)read(c->go, &go, 1)) < 0 && errno == EINTR)
		;
	if (r != 1)
		_exit(EX_TOOL);
	if (o->new_session && setsid() < 0)
		fail(c, S_SESSION, errno);
	if (put_fd(o->in, 0) < 0 || put_fd(o->out, 1) < 0 || put_fd(o->err, 2) < 0)
		fail(c, S_STDIO, errno);
	/* A detached job has nothing to do with its starter any more: pipes of a batch system or a shell that leak into it
	 * would keep their readers waiting, and lead outside a checkpoint. */
	if (o->new_session)
		syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC);
	if (o->identity)
		become(c, o->identity);
	if (c->tmp && access(c->tmp, W_OK | X_OK) < 0)
		fail(c, S_TMP, errno);
	if (o->signals)
		supervise_child(o->signals);
	int why = ENOENT;
	for (size_t i = 0; c->candidates[i]; i++) {
		execve(c->candidates[i], o->argv, o->envp);
		if (errno != ENOENT && errno != ENOTDIR)
			why = errno; /* as a shell does: a file that is there but cannot run is the better reason */
		if (errno != ENOENT && errno != ENOTDIR && errno != EACCES)
			break;
	}
	fail(c, S_EXEC, why);
}

/* ---- ... to here ---- */

/* The command with each directory of PATH before it; one allocation. */
static char **candidates(const char *cmd, const char *path, struct err *e)
{
	size_t dirs = 1, len = strlen(cmd);
	path = path ? path : "/usr/bin:/bin";
	for (const char *p = path; *p; p++)
		dirs += *p == ':';
	char **v = malloc((dirs + 2) * sizeof *v + strlen(path) + dirs * (len + 3) + len + 1);
	if (!v) {
		err_set(e, EX_TOOL, "out of memory");
		return NULL;
	}
	char *text = (char *)(v + dirs + 2);
	size_t k = 0;
	if (strchr(cmd, '/') || !*cmd) {
		v[k++] = strcpy(text, cmd);
	} else {
		for (const char *p = path;; p++) {
			size_t w = strcspn(p, ":");
			v[k++] = text;
			text += sprintf(text, "%.*s%s%s", (int)w, p, w ? "/" : "./", cmd) + 1;
			p += w;
			if (!*p)
				break;
		}
	}
	v[k] = NULL;
	return v;
}

/* fork, into the v2 group where the kernel can (5.7); *into tells whether it did. */
static pid_t clone_into(int cgroup, bool *into)
{
	struct clone_args a = { .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (uint64_t)cgroup };
	*into = false;
	if (cgroup >= 0) {
		pid_t p = (pid_t)syscall(SYS_clone3, &a, sizeof a);
		*into = p >= 0;
		if (p >= 0 || (errno != ENOSYS && errno != EINVAL && errno != E2BIG && errno != EPERM))
			return p;
	}
	return fork();
}

static pid_t make_child(struct job *j, struct child *c, int go[2], int rep[2], struct err *e)
{
	AUTO_FD int cg = j->kind == JOB_CGROUP ? cgroup_v2_fd(&j->cg) : -1;
	struct cgroup_entry all = { .n = 0 }, v1 = { .n = 0 };
	pid_t p = -1;
	bool into;
	if (j->kind == JOB_CGROUP && (cgroup_entry_open(&v1, &j->cg, true, e) < 0 ||
				      cgroup_entry_open(&all, &j->cg, false, e) < 0))
		goto out;
	c->go = go[0];
	c->report = rep[1];
	p = clone_into(cg, &into);
	if (p == 0) {
		/* our ends, or we would keep ourselves waiting */
		close(go[1]);
		close(rep[0]);
		c->entry = into ? v1 : all;
		child_main(c);
	}
	if (p < 0)
		err_sys(e, "fork");
out:
	cgroup_entry_close(&v1);
	cgroup_entry_close(&all);
	return p;
}

static int not_started(const struct report *r, const char *cmd, struct err *e)
{
	errno = r->sys;
	if (r->stage == S_EXEC) {
		int code = r->sys == ENOENT || r->sys == ENOTDIR ? EX_NOTFOUND : EX_NOEXEC_;
		if (r->sys == ENOENT && !strchr(cmd, '/'))
			return err_set(e, code, "%s: command not found", cmd);
		if (r->sys == ENOENT && access(cmd, F_OK) == 0) {
			err_set(e, code, "%s: its interpreter is not there", cmd);
			return -1;
		}
		err_set(e, code, "%s: %s", cmd, strerror(r->sys));
		return -1;
	}
	const char *name = r->stage >= 0 && r->stage < S_EXEC ? stage_names[r->stage] : "start";
	err_sys(e, "%s", name);
	if (r->stage == S_TMP)
		err_hint(e, "the state directory must be reachable by the user of the job");
	return -1;
}

int job_start(struct job *j, const struct job_start_opts *o, struct err *e)
{
	AUTO_FREE char **cand = candidates(o->argv[0], o->path, e);
	struct child c = { .o = o, .tmp = o->identity ? j->tmp : NULL, .candidates = cand };
	int go[2] = { -1, -1 }, rep[2] = { -1, -1 }, result = -1;
	struct proc_stat st;
	struct report r;
	pid_t pid = -1;
	if (!cand)
		return -1;
	/* a socket, because writing to a pipe whose child was killed would raise SIGPIPE */
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, go) < 0 || pipe2(rep, O_CLOEXEC) < 0) {
		err_sys(e, "pipe");
		goto out;
	}
	pid = make_child(j, &c, go, rep, e);
	if (pid < 0)
		goto out;
	close(take_fd(&go[0]));
	close(take_fd(&rep[1]));
	if (proc_stat_read(&st, pid, 0, e) < 0)
		goto out;
	if (fault("job-forked")) {
		err_set(e, EX_FAILED, "fault job-forked");
		goto out;
	}
	j->main = pid;
	j->main_start = st.starttime;
	if (o->new_session)
		j->session = 0;
	if (job_save_quick(j, e) < 0)
		goto out;
	if (fault("job-recorded")) {
		err_set(e, EX_FAILED, "fault job-recorded");
		goto out;
	}
	if (send(go[1], "", 1, MSG_NOSIGNAL) != 1) {
		err_sys(e, "start");
		goto out;
	}
	ssize_t n;
	while ((n = read(rep[0], &r, sizeof r)) < 0 && errno == EINTR)
		;
	if (n == 0)
		result = 0; /* closed by the exec */
	else if (n == (ssize_t)sizeof r)
		not_started(&r, o->argv[0], e);
	else
		err_sys(e, "start");
out:
	for (int i = 0; i < 2; i++) {
		cleanup_fd(&go[i]);
		cleanup_fd(&rep[i]);
	}
	if (result < 0 && pid > 0) {
		kill(pid, SIGKILL);
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	return result;
}
