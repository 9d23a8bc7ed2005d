/* tracee_kill [N]: kills tracers at random instants (0-3 ms) while they loop over a process that checks
 * itself, N times (default 20) per victim and way. Tells how often the process was harmed: must be never.
 * Victims: ../victim/ beside this program's directory, or $VICTIMS. */
#include "tracee/internal.h"
#include "tracee/tracee.h"
#include <dirent.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

enum way { SETTLE, REATTACH, SNAPSHOT, STOPPED, WAYS };
static const char *const way_name[] = { "settled", "re-attached at once", "with snapshot", "group-stopped" };
enum { EINTRS = 7 };

struct victim {
	const char *name;
	unsigned counters;
	char path[300], prog[300];
	pid_t pid;
	volatile uint64_t *count;
};

static void sleep_us(long us)
{
	struct timespec ts = { us / 1000000, us % 1000000 * 1000 };

	nanosleep(&ts, NULL);
}

static bool exists(const struct victim *v, const char *suffix)
{
	char name[320];

	snprintf(name, sizeof(name), "%s.%s", v->path, suffix);
	return access(name, F_OK) == 0;
}

static void remove_files(const struct victim *v)
{
	static const char *const suffix[] = { "ready", "go", "ok", "fail", "skip", "count" };

	for (unsigned i = 0; i < sizeof(suffix) / sizeof(*suffix); i++) {
		char name[320];

		snprintf(name, sizeof(name), "%s.%s", v->path, suffix[i]);
		unlink(name);
	}
}

static bool start(struct victim *v)
{
	char counters[320];
	int fd;

	remove_files(v);
	snprintf(counters, sizeof(counters), "%s.count", v->path);
	fd = open(counters, O_RDWR | O_CREAT, 0600);
	if (fd < 0 || ftruncate(fd, 4096) < 0)
		return false;
	v->count = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	v->pid = fork();
	if (v->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(open("/dev/null", O_WRONLY), 1);
		execl(v->prog, v->prog, v->path, counters, (char *)NULL);
		_exit(127);
	}
	for (int i = 0; i < 2000 && !exists(v, "ready") && !exists(v, "skip"); i++)
		sleep_us(1000);
	return exists(v, "ready");
}

static void finish(struct victim *v)
{
	kill(v->pid, SIGKILL);
	waitpid(v->pid, NULL, 0);
	munmap((void *)v->count, 4096);
	remove_files(v);
}

/* Every counter moves. */
static bool lives(const struct victim *v)
{
	uint64_t was[8];
	unsigned moved = 0;

	memcpy(was, (const void *)v->count, sizeof(was));
	for (int i = 0; i < 4000 && moved < v->counters; i++) {
		moved = 0;
		for (unsigned k = 0; k < v->counters; k++)
			moved += v->count[k] != was[k];
		if (moved < v->counters && i % 50 == 49 && (exists(v, "fail") || waitpid(v->pid, NULL, WNOHANG) != 0))
			return false;
		if (moved < v->counters)
			sleep_us(500);
	}
	return moved == v->counters && !exists(v, "fail");
}

static int snapshot(struct remote *r, struct err *e)
{
	size_t i = remote_clone(r, "clone", REMOTE_MUST, 1, SYS_clone,
				CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_FS | CLONE_PARENT_SETTID | SIGCHLD, 0,
				remote_arg_addr(r, 1, 0), 0, 0, 0);

	remote_child(r, SYS_clone, CLONE_FILES | CLONE_FS, 0, 0, 0, 0, 0);
	remote_call(r, "wait4", REMOTE_MUST, SYS_wait4, 0, 0, __WALL, 0, 0, 0);
	(void)i;
	return remote_run(r, e);
}

/* What a checkpoint does, over and over, until killed. */
static void tracer(pid_t pid, enum way w)
{
	for (;;) {
		struct err e = ERR_INIT;
		struct tracee *t;

		if (tracee_attach(&t, pid, &e) < 0) {
			if (e.code == EX_BUSY)
				continue; /* the dead one is not quite gone */
			_exit(e.code == EX_NOSUCH ? 3 : 4);
		}
		if (tracee_collect(t, mono_ms() + 5000, NULL, &e) < 0)
			_exit(5);
		for (size_t i = 0; i < t->nthr; i++) {
			struct remote *r;
			pid_t snap = 0;

			if (t->thr[i].state != THREAD_STOPPED)
				continue;
			if (remote_begin(&r, t, i, &e) < 0)
				_exit(6);
			for (int b = 0; b < 8; b++) { /* more time inside the stub than a checkpoint spends there */
				for (int k = 0; k < 20; k++)
					remote_call(r, "getppid", REMOTE_MUST, SYS_getppid, 0, 0, 0, 0, 0, 0);
				remote_put(r, &e, sizeof(e));
				if (remote_run(r, &e) < 0)
					_exit(7);
			}
			if (w == SNAPSHOT && i == 0) {
				if (snapshot(r, &e) < 0)
					_exit(8);
				snap = remote_born(r)->n ? remote_born(r)->v[0] : 0;
			}
			if (remote_end(r, &e) < 0)
				_exit(9);
			if (snap) {
				struct tracee *s;

				if (tracee_adopt(&s, snap, &e) == 0)
					tracee_kill(s);
			}
		}
		if (tracee_detach(t, &e) < 0)
			_exit(10);
	}
}

static char state_of(pid_t p)
{
	struct proc_stat s;

	return proc_stat_read(&s, p, 0, NULL) < 0 ? '?' : s.state;
}

static bool becomes(pid_t p, char state)
{
	for (int i = 0; i < 500 && state_of(p) != state; i++)
		sleep_us(1000);
	return state_of(p) == state;
}

/* One kill; true: harmed. */
static bool kill_one(struct victim *v, enum way w, int round, unsigned *failed)
{
	uint64_t was;
	pid_t z;
	int st;

	if (w == STOPPED) {
		kill(v->pid, SIGSTOP);
		if (round % 2 == 0 && !becomes(v->pid, 'T')) { /* else it comes while we attach */
			printf("# not even stopped\n");
			return true;
		}
	}
	was = v->count[0];
	z = fork();
	if (z == 0) {
		tracer(v->pid, w);
		_exit(0);
	}
	sleep_us(random() % 3000);
	kill(z, SIGKILL);
	if (waitpid(z, &st, 0) == z && WIFEXITED(st)) {
		printf("# tracer failed at step %d\n", WEXITSTATUS(st));
		(*failed)++;
	}
	if (w == STOPPED) {
		if (!becomes(v->pid, 'T') || (round % 2 == 0 && v->count[0] != was)) {
			printf("# state %c, %llu rounds while stopped\n", state_of(v->pid),
			       (unsigned long long)(v->count[0] - was));
			return true;
		}
		kill(v->pid, SIGCONT);
	}
	if (w == REATTACH && round % 50 != 49)
		return exists(v, "fail");
	return !lives(v);
}

static bool clean(pid_t pid)
{
	struct err e = ERR_INIT;
	struct proc_maps m;
	bool ok = true;

	if (proc_maps_read(&m, pid, false, &e) < 0)
		return false;
	for (size_t i = 0; i < m.n; i++)
		if (m.v[i].end - m.v[i].start == SCRATCH_SIZE && !m.v[i].path[0] && m.v[i].w)
			ok = false;
	proc_maps_free(&m);
	return ok;
}

/* Snapshots and intermediaries that are still there: processes of the same program. */
static unsigned left_over(const struct victim *v)
{
	unsigned n = 0;

	for (int i = 0; i < 1000; i++) {
		DIR *d = opendir("/proc");
		struct dirent *de;
		char exe[400], want[400];
		pid_t p;

		n = 0;
		if (!d || !realpath(v->prog, want))
			return 1;
		while ((de = readdir(d)) != NULL) {
			p = (pid_t)atoi(de->d_name);
			struct proc_status s = { 0 };

			if (p <= 0 || p == v->pid || proc_readlink(p, "exe", exe, sizeof(exe)) < 0 || strcmp(exe, want))
				continue;
			if (proc_status_read(&s, p, 0, NULL) < 0)
				continue;
			n += s.has_mm;
			proc_status_free(&s);
		}
		closedir(d);
		if (n == 0)
			return 0;
		sleep_us(1000);
	}
	return n;
}

static unsigned run(struct victim *v, enum way w, int n)
{
	unsigned harmed = 0, failed = 0, leaked = 0, left = 0;
	uint64_t eintr;

	if (!start(v)) {
		printf("ok - %s %s # SKIP cannot run %s\n", v->name, way_name[w], v->prog);
		finish(v);
		return 0;
	}
	for (int i = 0; i < n; i++) {
		if (!kill_one(v, w, i, &failed))
			continue;
		harmed++;
		printf("# kill %d harmed %s, state %c\n", i, v->name, state_of(v->pid));
		finish(v);
		if (harmed > 5 || !start(v)) {
			printf("not ok - %s, %s: %u of %d kills harmed it\n", v->name, way_name[w], harmed, i + 1);
			if (harmed <= 5)
				finish(v);
			return harmed;
		}
	}
	if (!lives(v))
		harmed++;
	leaked = !clean(v->pid);
	left = left_over(v);
	eintr = v->counters > 1 ? v->count[EINTRS] : 0;
	printf("%s - %s, %s: %d kills, %u harmed, %u tracers failed, %u scratch areas and %u processes left",
	       harmed || failed || left || leaked ? "not ok" : "ok",
	       v->name, way_name[w], n, harmed, failed, leaked, left);
	if (v->counters > 1)
		printf(", %llu spurious EINTR", (unsigned long long)eintr);
	printf("\n");
	fflush(stdout);
	finish(v);
	return harmed + failed + left + leaked;
}

int main(int argc, char **argv)
{
	static struct victim victims[] = { { .name = "regs_victim", .counters = 1 }, { .name = "blocking7", .counters = 7 } };
	int n = argc > 1 ? atoi(argv[1]) : 20, only = argc > 2 ? atoi(argv[2]) : -1;
	const char *dir = getenv("VICTIMS");
	unsigned bad = 0;
	char self[300];

	snprintf(self, sizeof(self), "%s", argv[0]);
	srandom((unsigned)time(NULL));
	for (unsigned i = 0; i < 2; i++) {
		struct victim *v = &victims[i];

		if (dir)
			snprintf(v->prog, sizeof(v->prog), "%.200s/%s", dir, v->name);
		else
			snprintf(v->prog, sizeof(v->prog), "%.200s/../victim/%s", dirname(strdupa(self)), v->name);
		snprintf(v->path, sizeof(v->path), "/tmp/xos-kill.%d.%u", (int)getpid(), i);
		for (enum way w = 0; w < WAYS; w++)
			if (only < 0 || only == (int)w)
				bad += run(v, w, n);
	}
	return bad != 0;
}
