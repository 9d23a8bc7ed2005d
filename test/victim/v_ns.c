/* Namespaces of members: a process with user, PID, UTS, IPC, network and cgroup namespaces of its own, threads and children in it, one of which leads
 * a session; one that only has a user namespace without maps, with threads; as root, one with UTS and IPC namespaces of its own that
 * belong to nobody else's user namespace. Numbers inside and outside, owners, capabilities, host names, limits. */
#include "victim.h"
#include <linux/nsfs.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/msg.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { THREADS = 3, KINDS = 8 };
static const char *const kinds[KINDS] = { "user", "pid", "uts", "ipc", "net", "cgroup", "mnt", "pid_for_children" };

static int ready[2], go[2];
static bool users;             /* no root's job */

static ino_t ns_ino(const char *pid, const char *kind)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof path, "/proc/%s/ns/%s", pid, kind);
	return stat(path, &st) ? 0 : st.st_ino;
}

static void put(const char *pid, const char *name, const char *text)
{
	char path[64];
	int fd;

	snprintf(path, sizeof path, "/proc/%s/%s", pid, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		_exit(60);
	close(fd);
}

static void get(const char *path, char *out, size_t n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, out, n - 1);

	if (fd >= 0)
		close(fd);
	out[len < 0 ? 0 : len] = '\0';
}

static void say_ready(void)
{
	if (write(ready[1], "r", 1) != 1)
		_exit(61);
}

static void await_go(void)
{
	char c;

	close(go[1]);
	while (read(go[0], &c, 1) < 0 && errno == EINTR)
		;
}

struct look {
	pid_t pid, ppid, sid, pgid;
	uid_t uid; gid_t gid;
	char host[65], uid_map[256], gid_map[256], setgroups[16], caps[1024], limit[64];
	bool pid_owned_by_user, net_owned_by_user;
};

static bool owned_by_user(const char *kind)
{
	char path[64];
	struct stat owner, user;
	int fd, u;
	bool same;

	snprintf(path, sizeof path, "/proc/self/ns/%s", kind);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	u = fd < 0 ? -1 : ioctl(fd, NS_GET_USERNS);
	same = u >= 0 && !fstat(u, &owner) && !stat("/proc/self/ns/user", &user) && owner.st_ino == user.st_ino;
	if (fd >= 0)
		close(fd);
	if (u >= 0)
		close(u);
	return same;
}

static void caps(char *out, size_t n)
{
	char text[4096], *s;

	get("/proc/self/status", text, sizeof text);
	s = strstr(text, "CapInh");
	snprintf(out, n, "%.*s", s ? (int)(strstr(s, "Seccomp:") ? strstr(s, "Seccomp:") - s : 0) : 0, s ? s : "");
}

static void look(struct look *l)
{
	memset(l, 0, sizeof *l);
	l->pid = getpid();
	l->ppid = getppid();
	l->sid = getsid(0);
	l->pgid = getpgid(0);
	l->uid = getuid();
	l->gid = getgid();
	gethostname(l->host, sizeof l->host);
	get("/proc/self/uid_map", l->uid_map, sizeof l->uid_map);
	get("/proc/self/gid_map", l->gid_map, sizeof l->gid_map);
	get("/proc/self/setgroups", l->setgroups, sizeof l->setgroups);
	get("/proc/sys/user/max_ipc_namespaces", l->limit, sizeof l->limit);
	caps(l->caps, sizeof l->caps);
	l->pid_owned_by_user = owned_by_user("pid");
	l->net_owned_by_user = owned_by_user("net");
}

static void compare(const struct look *a, const struct look *b, const char *who)
{
	if (a->pid != b->pid || a->ppid != b->ppid)
		victim_fail("%s: pid %d of %d, not %d of %d", who, b->pid, b->ppid, a->pid, a->ppid);
	if (a->sid != b->sid || a->pgid != b->pgid)
		victim_fail("%s: session %d group %d, not %d, %d", who, b->sid, b->pgid, a->sid, a->pgid);
	if (a->uid != b->uid || a->gid != b->gid)
		victim_fail("%s: uid %d gid %d, not %d, %d", who, b->uid, b->gid, a->uid, a->gid);
	if (strcmp(a->host, b->host))
		victim_fail("%s: host name \"%s\", not \"%s\"", who, b->host, a->host);
	if (strcmp(a->uid_map, b->uid_map) || strcmp(a->gid_map, b->gid_map) || strcmp(a->setgroups, b->setgroups))
		victim_fail("%s: map %s%s%s, not %s%s%s", who, b->uid_map, b->gid_map, b->setgroups, a->uid_map, a->gid_map, a->setgroups);
	if (strcmp(a->limit, b->limit))
		victim_fail("%s: limit %s, not %s", who, b->limit, a->limit);
	if (strcmp(a->caps, b->caps))
		victim_fail("%s: capabilities\n%s, not\n%s", who, b->caps, a->caps);
	if (a->pid_owned_by_user != b->pid_owned_by_user || a->net_owned_by_user != b->net_owned_by_user)
		victim_fail("%s: the owner of a namespace is another", who);
}

/* ---- threads ---- */

static pid_t tids[THREADS];
static pthread_barrier_t made, again;
static int wrong;

static void *thread(void *arg)
{
	int i = (int)(intptr_t)arg;

	tids[i] = (pid_t)syscall(SYS_gettid);
	pthread_barrier_wait(&made);
	pthread_barrier_wait(&again);
	if (tids[i] != (pid_t)syscall(SYS_gettid))
		__atomic_fetch_add(&wrong, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static void threads(pthread_t *t)
{
	pthread_barrier_init(&made, NULL, THREADS + 1);
	pthread_barrier_init(&again, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&t[i], NULL, thread, (void *)(intptr_t)i))
			_exit(62);
	pthread_barrier_wait(&made);
}

static void threads_again(pthread_t *t, const char *who)
{
	pthread_barrier_wait(&again);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	if (wrong)
		victim_fail("%s: %d threads have other numbers", who, wrong);
}

/* ---- the processes ---- */

static void grandchild(void)
{
	struct look before, after;

	if (setsid() < 0)
		_exit(63);
	look(&before);
	say_ready();
	await_go();
	look(&after);
	compare(&before, &after, "child inside");
	if (ns_ino("self", "user") == 0)
		victim_fail("child inside: no /proc");
	_exit(0);
}

static void inside(void)
{
	struct look before, after;
	pthread_t t[THREADS];
	pid_t child;
	int st;
	char c;

	/* Until the maps are written. */
	while (read(go[0], &c, 1) < 0 && errno == EINTR)
		;
	if (sethostname("victim-inside", 13))
		_exit(64);
	put("sys/user", "max_ipc_namespaces", "77");
	child = fork();
	if (!child)
		grandchild();
	threads(t);
	look(&before);
	say_ready();
	await_go();
	look(&after);
	compare(&before, &after, "first process inside");
	threads_again(t, "first process inside");
	if (after.pid != 1)
		victim_fail("first process inside: pid %d", after.pid);
	if (waitpid(child, &st, 0) == child && WIFEXITED(st) && WEXITSTATUS(st) == 1)
		_exit(1); /* it has said why */
	if (st)
		victim_fail("first process inside: child %d: status %d, %s", child, st, strerror(errno));
	/* It can still do what it could. */
	if (sethostname("again", 5))
		victim_fail("first process inside: sethostname: %s", strerror(errno));
	if (unshare(CLONE_NEWUTS))
		victim_fail("first process inside: unshare: %s", strerror(errno));
	_exit(0);
}

static void unmapped(void)
{
	struct look before, after;
	pthread_t t[THREADS];

	if (unshare(CLONE_NEWUSER))
		_exit(65);
	threads(t);
	look(&before);
	say_ready();
	await_go();
	look(&after);
	/* A user's job comes back in a user namespace where it is denied: ns_user.c. */
	if (users)
		memcpy(before.setgroups, after.setgroups, sizeof before.setgroups);
	compare(&before, &after, "unmapped");
	threads_again(t, "unmapped");
	_exit(0);
}

static void roots(void)
{
	struct look before, after;

	if (unshare(CLONE_NEWUTS | CLONE_NEWIPC) || sethostname("of-root", 7) || setdomainname("domain", 6))
		_exit(66);
	put("sys/kernel", "msgmni", "123");
	look(&before);
	say_ready();
	await_go();
	look(&after);
	compare(&before, &after, "root's");
	get("/proc/sys/kernel/msgmni", after.host, sizeof after.host);
	if (strcmp(after.host, "123\n"))
		victim_fail("root's: msgmni is %s", after.host);
	_exit(0);
}

static pid_t start(void (*fn)(void), int flags)
{
	long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);

	if (!pid) {
		close(ready[0]);
		fn();
		_exit(67);
	}
	return (pid_t)pid;
}

static void await_ready(int n)
{
	char c;

	for (int i = 0; i < n; i++)
		if (read(ready[0], &c, 1) != 1)
			victim_fail("a process ended too early");
}

static void end_of(pid_t pid, const char *who)
{
	int st = -1;

	if (waitpid(pid, &st, 0) == pid && WIFEXITED(st) && WEXITSTATUS(st) == 1)
		exit(1); /* it has said why */
	if (st)
		victim_fail("%s (process %d): status %#x, %s", who, pid, st, strerror(errno));
}

int main(int argc, char **argv)
{
	char pid[16], map[64];
	pid_t in, plain, root = 0;

	victim_init(argc, argv);
	if (pipe2(ready, O_CLOEXEC) || pipe2(go, O_CLOEXEC))
		victim_fail("pipe: %s", strerror(errno));
	users = getuid() != 0;
	in = start(inside, CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWCGROUP);
	if (in < 0)
		victim_skip("no user namespaces here: %s", strerror(errno));
	snprintf(pid, sizeof pid, "%d", in);
	put(pid, "setgroups", "deny");
	snprintf(map, sizeof map, "0 %u 1\n", getuid());
	put(pid, "uid_map", map);
	snprintf(map, sizeof map, "0 %u 1\n", getgid());
	put(pid, "gid_map", map);
	if (write(go[1], "m", 1) != 1)
		victim_fail("write: %s", strerror(errno));
	await_ready(2);
	plain = start(unmapped, 0);
	await_ready(1);
	if (!getuid()) {
		root = start(roots, 0);
		await_ready(1);
	}
	victim_wait();
	for (int k = 0; k < KINDS; k++)
		if ((ns_ino(pid, kinds[k]) == ns_ino("self", kinds[k])) != !strcmp(kinds[k], "mnt"))
			victim_fail("%s namespace of process %d: is it ours?", kinds[k], in);
	close(go[1]);
	end_of(in, "first process inside");
	end_of(plain, "unmapped");
	if (root)
		end_of(root, "root's");
	return victim_ok();
}
