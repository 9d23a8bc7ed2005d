/* Members of a job's groups: list, freeze, kill. */
#include "cgroup/internal.h"
#include "cgroup/settings.h"
#include "common/cleanup.h"
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { FREEZE_MS = 10000, KILL_MS = 10000 };

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int add_procs(const char *dir, void *data)
{
	char p[PATH_MAX + 16];
	snprintf(p, sizeof p, "%s/cgroup.procs", dir);
	AUTO_FILE FILE *f = fopen(p, "re");
	if (!f)
		return 0; /* gone meanwhile */
	long pid;
	/* 0: a process outside our PID namespace. A threaded v2 group refuses the read; its processes are listed
	 * in the group above. A process whose threads are in several v1 groups is listed in all of them. */
	while (fscanf(f, "%ld", &pid) == 1)
		if (pid > 0 && pid_list_add(data, (pid_t)pid) < 0)
			return -1;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;
	return x < y ? -1 : x > y;
}

static void once(struct pid_list *l)
{
	size_t n = 0;
	if (l->n)
		qsort(l->v, l->n, sizeof *l->v, by_number);
	for (size_t i = 0; i < l->n; i++)
		if (!n || l->v[n - 1] != l->v[i])
			l->v[n++] = l->v[i];
	l->n = n;
}

int cgroup_pids(const struct cgroup_set *s, struct pid_list *out, struct err *e)
{
	const struct cgroup_hier *h = cg_main(s);
	char dir[CG_PATH];
	if (!cgroup_exists(s) || cg_path(h, NULL, dir, sizeof dir) < 0)
		return 0;
	if (cg_walk(dir, add_procs, out) != 0)
		return err_sys(e, "cannot list the members of %s", dir);
	once(out);
	return 0;
}

const struct cgroup_hier *cgroup_list_hier(const struct cgroup_set *s) { return cg_main(s); }

bool cgroup_exists(const struct cgroup_set *s)
{
	const struct cgroup_hier *h = cg_main(s);
	return h && s->id && cg_inode(h) == s->id;
}

uid_t cgroup_owner(const struct cgroup_set *s)
{
	char p[CG_PATH];
	struct stat st;
	if (!cgroup_exists(s) || cg_path(cg_main(s), NULL, p, sizeof p) < 0 || lstat(p, &st) < 0)
		return (uid_t)-1;
	return st.st_uid;
}

bool cgroup_empty(const struct cgroup_set *s)
{
	const struct cgroup_hier *h = cg_main(s);
	char t[256];
	if (!cgroup_exists(s))
		return true;
	if (h->v2 && cg_read(h, "cgroup.events", t, sizeof t) == 0)
		return cg_keyed(t, "populated", 0) == 0;
	struct pid_list l = { 0 };
	bool empty = cgroup_pids(s, &l, NULL) == 0 && l.n == 0;
	pid_list_free(&l);
	return empty;
}

static bool state_is(const struct cgroup_hier *h, bool frozen)
{
	char t[256];
	if (h->v2)
		return cg_read(h, "cgroup.events", t, sizeof t) == 0 &&
		       (cg_keyed(t, "frozen", 0) != 0) == frozen;
	return cg_read(h, "freezer.state", t, sizeof t) == 0 &&
	       strncmp(t, frozen ? "FROZEN" : "THAWED", 6) == 0;
}

bool cgroup_frozen(const struct cgroup_set *s)
{
	const struct cgroup_hier *h = cg_main(s);
	return cgroup_exists(s) && state_is(h, true);
}

/* ---- groups that the job itself has frozen, below ---- */

struct below { const struct cgroup_hier *h; const char *top; bool main; char *out; size_t n; };

static bool populated(const char *dir)
{
	struct pid_list l = { 0 };
	cg_walk(dir, add_procs, &l);
	bool some = l.n != 0;
	pid_list_free(&l);
	return some;
}

static int frozen_one(const char *dir, void *data)
{
	struct below *b = data;
	AUTO_BUF struct buf t = BUF_INIT;
	if ((b->main && strcmp(dir, b->top) == 0) ||
	    cgroup_file_read(dir, b->h->v2 ? "cgroup.freeze" : "freezer.self_freezing", &t) < 0 || strcmp(buf_str(&t), "1") != 0 || !populated(dir))
		return 0;
	if (b->out)
		snprintf(b->out, b->n, "%s", dir[strlen(b->top)] ? dir + strlen(b->top) + 1 : "/");
	return 1;
}

bool cgroup_frozen_below(const struct cgroup_set *s, char *out, size_t n)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct cgroup_hier *h = &s->h[i];
		char top[CG_PATH];
		if ((!h->v2 && !cg_word(h->controllers, "freezer")) || cg_path(h, NULL, top, sizeof top) < 0)
			continue;
		struct below b = { h, top, h == cg_main(s), out, n };
		if (cg_walk(top, frozen_one, &b) > 0)
			return true;
	}
	return false;
}

static int set_state(const struct cgroup_hier *h, bool freeze)
{
	return h->v2 ? cg_write(h, "cgroup.freeze", freeze ? "1" : "0")
		     : cg_write(h, "freezer.state", freeze ? "FROZEN" : "THAWED");
}

/* v2 tells a change of cgroup.events by POLLPRI; v1 wants to be asked, and FROZEN written anew while members fork. False at once when
 * the group goes meanwhile: its supervisor removes it when all have died. */
static bool wait_state(const struct cgroup_hier *h, bool freeze)
{
	char p[CG_PATH];
	AUTO_FD int fd = -1;
	int64_t end = now_ms() + FREEZE_MS;
	if (h->v2 && cg_path(h, "cgroup.events", p, sizeof p) == 0)
		fd = open(p, O_RDONLY | O_CLOEXEC);
	for (;;) {
		char t[256];
		if (fd >= 0 && pread(fd, t, sizeof t, 0) < 0)
			return false;
		if (state_is(h, freeze))
			return true;
		if (now_ms() >= end)
			return false;
		if (fd >= 0) {
			struct pollfd pf = { .fd = fd, .events = POLLPRI };
			poll(&pf, 1, 50);
		} else {
			cg_sleep_ms(1);
			if (set_state(h, freeze) < 0 && errno == ENOENT)
				return false;
		}
	}
}

int cgroup_freeze(const struct cgroup_set *s, bool freeze, struct err *e)
{
	const struct cgroup_hier *h = cg_main(s);
	if (!cgroup_exists(s))
		return err_set(e, EX_FAILED, "the job has no control group");
	if (set_state(h, freeze) < 0)
		return err_sys(e, "cannot %s %s%s", freeze ? "freeze" : "thaw", h->mount, h->path);
	if (wait_state(h, freeze))
		return 0;
	if (freeze)
		set_state(h, false);
	return err_set(e, EX_FAILED, "the group %s%s did not %s within %d s", h->mount, h->path,
		       freeze ? "freeze" : "thaw", FREEZE_MS / 1000);
}

int cgroup_freeze_leave(const struct cgroup_set *s, pid_t pid)
{
	struct cgroup_hier root = *cg_main(s);
	char text[16];

	strcpy(root.path, "/");
	snprintf(text, sizeof text, "%d", pid);
	return cg_write(&root, "cgroup.procs", text);
}

int cgroup_freeze_mark(const struct cgroup_set *s, bool freeze) { return set_state(cg_main(s), freeze); }

static int thaw_one(const char *dir, void *data)
{
	(void)data;
	cgroup_file_write(dir, "freezer.state", "THAWED");
	return 0;
}

/* What a v1 freezer holds does not die, also when it is a group below that is frozen, or one of a v1 hierarchy beside v2. */
static void thaw_v1(const struct cgroup_set *s)
{
	for (size_t i = 0; i < s->n; i++) {
		char top[CG_PATH];
		if (!s->h[i].v2 && cg_word(s->h[i].controllers, "freezer") && cg_path(&s->h[i], NULL, top, sizeof top) == 0)
			cg_walk(top, thaw_one, NULL);
	}
}

static int signal_all(const struct cgroup_set *s, int sig, struct err *e)
{
	struct pid_list l = { 0 };
	int r = cgroup_pids(s, &l, e);
	for (size_t i = 0; i < l.n && r == 0; i++)
		if (kill(l.v[i], sig) < 0 && errno != ESRCH)
			r = err_sys(e, "pid %ld", (long)l.v[i]);
	pid_list_free(&l);
	return r;
}

/* Without cgroup.kill (before 5.14, or v1): nobody forks while frozen, so one round gets all of them. A v1 frozen
 * process dies only when thawed. */
static int kill_rounds(const struct cgroup_set *s, const struct cgroup_hier *h, struct err *e)
{
	int64_t end = now_ms() + KILL_MS;
	while (!cgroup_empty(s)) {
		set_state(h, true);
		wait_state(h, true); /* one that does not freeze (vfork, D state) is killed all the same */
		int r = signal_all(s, SIGKILL, e);
		set_state(h, false);
		thaw_v1(s);
		if (r < 0)
			return -1;
		if (now_ms() >= end && !cgroup_empty(s))
			return err_set(e, EX_FAILED, "processes in %s%s do not die", h->mount, h->path);
		cg_sleep_ms(1);
	}
	return 0;
}

/* After cgroup.kill, which passes over a process whose leader has exited while other threads live. */
static int wait_empty(const struct cgroup_set *s, const struct cgroup_hier *h, struct err *e)
{
	int64_t end = now_ms() + KILL_MS;
	for (unsigned step = 0; !cgroup_empty(s); step++) {
		if (step >= 20)
			signal_all(s, SIGKILL, NULL);
		if (now_ms() >= end)
			return err_set(e, EX_FAILED, "processes in %s%s do not die", h->mount, h->path);
		cg_sleep_ms(step < 20 ? 1 : 10);
	}
	return 0;
}

int cgroup_kill(const struct cgroup_set *s, int sig, struct err *e)
{
	const struct cgroup_hier *h = cg_main(s);
	if (!cgroup_exists(s))
		return 0;
	if (sig == SIGKILL) {
		if (h->v2 && cg_write(h, "cgroup.kill", "1") == 0) {
			thaw_v1(s);
			return wait_empty(s, h, e);
		}
		return kill_rounds(s, h, e);
	}
	bool was = cgroup_frozen(s), froze = !was && set_state(h, true) == 0;
	if (froze)
		wait_state(h, true);
	int r = signal_all(s, sig, e);
	if (froze)
		set_state(h, false);
	return r;
}
