/* Control groups below the job's own, in every hierarchy in which it has one: nested ones with limits and other owners, a child with
 * memory in one, a thread in another (threaded on v2), an empty one. On v2 the job's own group gives what controllers it has to those
 * below, so that it may hold no process itself. Everything is written down before and after: settings, owners, modes, members. */
#include "victim.h"

#include <dirent.h>
#include <pthread.h>
#include <stdbool.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { HIER_MAX = 20, MEMORY = 8 << 20, TEXT = 1 << 20 };

static struct hier { bool v2; char controllers[128], dir[1024]; } hier[HIER_MAX];
static int nhier;
static pid_t child, thread_id;
static char before[TEXT], after[TEXT];

static int get(const char *dir, const char *file, char *out, size_t n)
{
	char path[2200];
	int fd;
	ssize_t len = 0, k;

	snprintf(path, sizeof path, "%s/%s", dir, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	while ((k = read(fd, out + len, n - 1 - (size_t)len)) > 0)
		len += k;
	close(fd);
	out[len] = 0;
	return k < 0 ? -1 : 0;
}

static int put(const char *dir, const char *file, const char *text)
{
	char path[2200];
	int fd, rc;

	snprintf(path, sizeof path, "%s/%s", dir, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	rc = write(fd, text, strlen(text)) < 0 ? -1 : 0;
	close(fd);
	return rc;
}

static int put_pid(const char *dir, const char *file, pid_t pid)
{
	char s[16];

	snprintf(s, sizeof s, "%d", pid);
	return put(dir, file, s);
}

static const char *below(const struct hier *h, const char *name)
{
	static char path[4][1200];
	static int n;
	char *p = path[n++ % 4];

	snprintf(p, 1200, "%s/%s", h->dir, name);
	return p;
}

/* ---- where the job has groups ---- */

static int mount_of(const char *controllers, char *out, size_t n)
{
	char line[2048], dir[900], type[64], opts[1024];
	FILE *f = fopen("/proc/self/mounts", "re");
	int found = 0;

	while (f && !found && fgets(line, sizeof line, f)) {
		char word[160];

		if (sscanf(line, "%*s %899s %63s %1023s", dir, type, opts) != 3)
			continue;
		if (!*controllers) {
			found = !strcmp(type, "cgroup2");
			continue;
		}
		snprintf(word, sizeof word, ",%s", controllers);
		size_t k = strlen(opts);
		found = !strcmp(type, "cgroup") && k >= strlen(word) && strstr(opts, word) != NULL;
	}
	if (f)
		fclose(f);
	if (found)
		snprintf(out, n, "%s", dir);
	return found;
}

static void find(void)
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	char line[2048], mount[1000];

	while (f && fgets(line, sizeof line, f) && nhier < HIER_MAX) {
		struct hier *h = &hier[nhier];
		char *c = strchr(line, ':'), *p = c ? strchr(c + 1, ':') : NULL;

		line[strcspn(line, "\n")] = 0;
		if (!p || !strstr(p, "/xos/"))
			continue;
		*p++ = 0;
		if (!mount_of(c + 1, mount, sizeof mount) || strlen(mount) + strlen(p) >= sizeof h->dir)
			continue;
		strcpy(h->dir, mount);
		strcat(h->dir, p);
		snprintf(h->controllers, sizeof h->controllers, "%s", c + 1);
		h->v2 = !c[1];
		if (!access(h->dir, W_OK))
			nhier++;
	}
	if (f)
		fclose(f);
}

/* ---- members ---- */

static void *in_thread(void *arg)
{
	(void)arg;
	__atomic_store_n(&thread_id, (pid_t)syscall(SYS_gettid), __ATOMIC_SEQ_CST);
	for (;;)
		pause();
	return NULL;
}

static void start(void)
{
	pthread_t t;
	int ready[2];
	char c;

	VICTIM_TRY(pipe(ready));
	child = fork();
	VICTIM_TRY(child);
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (write(ready[1], "", 1) != 1)
			_exit(1);
		close(ready[0]);
		close(ready[1]);
		/* It is moved before this: what it touches then counts in its group. */
		raise(SIGSTOP);
		char *m = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		memset(m, 0x5a, MEMORY);
		raise(SIGSTOP);
		for (;;)
			pause();
	}
	VICTIM_CHECK(read(ready[0], &c, 1) == 1);
	close(ready[0]);
	close(ready[1]);
	VICTIM_CHECK(!pthread_create(&t, NULL, in_thread, NULL));
	while (!__atomic_load_n(&thread_id, __ATOMIC_SEQ_CST))
		usleep(1000);
}

/* ---- groups ---- */

static void limits(const char *dir)
{
	static const char *const set[][2] = {
		{ "pids.max", "33" }, { "memory.max", "67108864" }, { "memory.high", "60817408" }, { "memory.low", "1048576" },
		{ "memory.oom.group", "1" }, { "cpu.weight", "250" }, { "cpu.max", "50000 100000" }, { "io.weight", "default 300" },
		{ "cpuset.cpus", "0" }, { "cgroup.max.depth", "7" }, { "cgroup.max.descendants", "9" }, { "cgroup.pressure", "0" },
		{ "memory.limit_in_bytes", "67108864" }, { "memory.soft_limit_in_bytes", "33554432" }, { "memory.swappiness", "13" },
		{ "memory.oom_control", "1" }, { "cpu.shares", "333" }, { "cpu.cfs_period_us", "200000" }, { "cpu.cfs_quota_us", "150000" },
		{ "blkio.bfq.weight", "300" }, { "notify_on_release", "1" }, { "net_cls.classid", "1048577" },
	};

	/* Which of them there are depends on the machine. */
	for (size_t i = 0; i < sizeof set / sizeof *set; i++)
		put(dir, set[i][0], set[i][1]);
}

/* A v1 cpuset takes nobody before it has CPUs and memory. */
static void cpuset(const char *up, const char *dir)
{
	char t[4096];

	for (int i = 0; i < 2; i++)
		if (!get(up, i ? "cpuset.mems" : "cpuset.cpus", t, sizeof t))
			put(dir, i ? "cpuset.mems" : "cpuset.cpus", t);
}

static const char *make(const struct hier *h, const char *name)
{
	const char *dir = below(h, name);
	char up[1200];

	VICTIM_TRY(mkdir(dir, 0755));
	snprintf(up, sizeof up, "%s", dir);
	*strrchr(up, '/') = 0;
	if (!h->v2)
		cpuset(up, dir);
	return dir;
}

static void give_controllers(const char *dir)
{
	char t[512], *save = NULL;

	if (get(dir, "cgroup.controllers", t, sizeof t))
		return;
	for (char *w = strtok_r(t, " \n", &save); w; w = strtok_r(NULL, " \n", &save)) {
		char plus[64];
		snprintf(plus, sizeof plus, "+%s", w);
		put(dir, "cgroup.subtree_control", plus);
	}
}

static void build(const struct hier *h)
{
	const char *dir;

	if (h->v2) {
		dir = make(h, "main");
		VICTIM_TRY(put_pid(dir, "cgroup.procs", getpid()));
		make(h, "outer");
		VICTIM_TRY(put_pid(make(h, "outer/inner"), "cgroup.procs", child));
		give_controllers(h->dir);
		give_controllers(below(h, "outer"));
		VICTIM_TRY(put(make(h, "main/thread"), "cgroup.type", "threaded"));
		put(below(h, "main"), "cgroup.subtree_control", "+cpu");
		VICTIM_TRY(put_pid(below(h, "main/thread"), "cgroup.threads", thread_id));
		put(below(h, "main/thread"), "cpu.weight", "77");
	} else {
		make(h, "outer");
		VICTIM_TRY(put_pid(make(h, "outer/inner"), "cgroup.procs", child));
		VICTIM_TRY(put_pid(make(h, "thread"), "tasks", thread_id));
	}
	limits(below(h, "outer"));
	dir = make(h, "an empty one: \"$x\"");
	limits(dir);
	put(dir, h->v2 ? "cgroup.freeze" : "freezer.state", h->v2 ? "1" : "FROZEN");
	/* Delegated, as far as we may. */
	if (!geteuid()) {
		VICTIM_TRY(chown(dir, 4711, 4712));
		VICTIM_TRY(chmod(dir, 0750));
		snprintf(before, sizeof before, "%s/cgroup.procs", dir);
		VICTIM_TRY(chown(before, 4711, 0));
		VICTIM_TRY(chmod(before, 0660));
	}
}

/* ---- what is there ---- */

static char *add(char *at, char *end, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(at, (size_t)(end - at), fmt, ap);
	va_end(ap);
	return n < 0 || n >= end - at ? end - 1 : at + n;
}

/* Counters, pressure and usage go on. */
static bool moves_on(const char *name)
{
	static const char *const parts[] = { "stat", "usage", "current", "events", "pressure", "peak", "failcnt", "service", "serviced", "swapcached", "slabinfo" };

	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		if (strstr(name, parts[i]) && strcmp(name, "cgroup.pressure"))
			return true;
	return false;
}

static int numbers(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

/* Members are listed in any order. */
static char *add_sorted(char *at, char *end, char *text)
{
	int v[256], n = 0;

	for (char *p = strtok(text, "\n"); p && n < 256; p = strtok(NULL, "\n"))
		v[n++] = atoi(p);
	qsort(v, (size_t)n, sizeof *v, numbers);
	for (int i = 0; i < n; i++)
		at = add(at, end, " %d", v[i]);
	return add(at, end, "\n");
}

static char *group(char *at, char *end, const char *dir, const char *name)
{
	struct dirent **list;
	struct stat st;
	char text[4096], path[2400];
	int n = scandir(dir, &list, NULL, alphasort);

	VICTIM_TRY(n);
	VICTIM_TRY(stat(dir, &st));
	at = add(at, end, "group %s %o %u %u\n", name, st.st_mode, st.st_uid, st.st_gid);
	for (int i = 0; i < n; i++) {
		const char *f = list[i]->d_name;

		snprintf(path, sizeof path, "%s/%s", dir, f);
		/* of the job's own group the limits are not ours */
		if (list[i]->d_type == DT_REG && !moves_on(f) && (*name || !strcmp(f, "cgroup.subtree_control"))) {
			VICTIM_TRY(stat(path, &st));
			at = add(at, end, "%s %o %u %u ", f, st.st_mode, st.st_uid, st.st_gid);
			if (get(dir, f, text, sizeof text))
				at = add(at, end, "cannot be read\n");
			else if (!strcmp(f, "cgroup.procs") || !strcmp(f, "cgroup.threads") || !strcmp(f, "tasks"))
				at = add_sorted(at, end, text);
			else
				at = add(at, end, "%s\n", text);
		}
	}
	for (int i = 0; i < n; i++) {
		if (list[i]->d_type == DT_DIR && list[i]->d_name[0] != '.') {
			char sub[600], sub_dir[1200];
			snprintf(sub, sizeof sub, "%.300s/%.255s", name, list[i]->d_name);
			snprintf(sub_dir, sizeof sub_dir, "%.900s/%.255s", dir, list[i]->d_name);
			at = group(at, end, sub_dir, sub);
		}
		free(list[i]);
	}
	free(list);
	return at;
}

static void snapshot(char *out)
{
	char *at = out, *end = out + TEXT;

	for (int i = 0; i < nhier; i++) {
		at = add(at, end, "hierarchy %s\n", hier[i].controllers);
		at = group(at, end, hier[i].dir, "");
	}
	VICTIM_CHECK(at < end - 1);
}

static void compare(void)
{
	const char *a = before, *b = after;
	char where[200] = "";

	while (*a || *b) {
		size_t na = strcspn(a, "\n"), nb = strcspn(b, "\n");

		if (!strncmp(a, "group ", 6) || !strncmp(a, "hierarchy ", 10))
			snprintf(where, sizeof where, "%.*s", (int)na, a);
		if (na != nb || strncmp(a, b, na))
			victim_fail("%s: \"%.*s\" became \"%.*s\"", where, (int)(na > 300 ? 300 : na), a, (int)(nb > 300 ? 300 : nb), b);
		a += na + (a[na] == '\n');
		b += nb + (b[nb] == '\n');
	}
}

/* The child's pages are its group's, also after the restart. */
static void memory_counts(void)
{
	for (int i = 0; i < nhier; i++) {
		char t[64];

		if (!get(below(&hier[i], "outer/inner"), hier[i].v2 ? "memory.current" : "memory.usage_in_bytes", t, sizeof t) && atoll(t) < MEMORY)
			victim_fail("the child's %d bytes do not count in its group: %s", MEMORY, t);
	}
}

int main(int argc, char **argv)
{
	int status;

	victim_init(argc, argv);
	find();
	if (!nhier)
		victim_skip("the job has no control group that it may write to");
	start();
	for (int i = 0; i < nhier; i++)
		build(&hier[i]);
	for (int i = 0; i < 2; i++) {
		VICTIM_TRY(waitpid(child, &status, WUNTRACED));
		VICTIM_CHECK(WIFSTOPPED(status));
		VICTIM_TRY(kill(child, SIGCONT));
	}
	memory_counts();
	snapshot(before);
	victim_wait();
	snapshot(after);
	compare();
	memory_counts();
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	return victim_ok();
}
