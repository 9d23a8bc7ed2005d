/* mntns_proc: which PID namespace a proc file system shows, pid_namespaces(7), proc(5).
 *
 * Its "self" is the number, in that namespace, of whoever reads it. So a process in the member's PID namespace looks, one whose numbers on all levels are
 * told by our own proc (NSpid) and differ. What is in /proc/1 there may be closed to us: it can belong to a user namespace above. */
#include "res/mntns_int.h"
#include "res/ns_obj.h"
#include "common/cleanup.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { TRIES = 8, UNCLEAR = -2, OTHER = -1 };

int mproc_before(struct mproc *m, const struct mplan *pl, struct err *e)
{
	char path[64];

	*m = (struct mproc){ .pidns = -1 };
	m->proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	snprintf(path, sizeof path, "/proc/%d/ns/pid", pl->member);
	m->pidns = open(path, O_RDONLY | O_CLOEXEC);
	if (m->proc < 0 || m->pidns < 0)
		return err_sys(e, "cannot open %s", m->proc < 0 ? "/proc" : path);
	/* Whoever may from outside: the mount namespace may belong to a user namespace below. */
	m->entered = pl->pidns && !setns(m->pidns, CLONE_NEWPID);
	if (pl->pidns && !m->entered && pl->pidns_owner >= 0 && !setns(pl->pidns_owner, CLONE_NEWUSER))
		m->entered = !setns(m->pidns, CLONE_NEWPID);
	return 0;
}

/* How many levels above its own the reader's number is `shown`; the innermost is the last in the line NSpid. */
static int levels_up(int proc, pid_t shown)
{
	AUTO_BUF struct buf b = BUF_INIT;
	pid_t v[PROC_MAX_NSDEPTH];
	size_t n = 0;
	int found = OTHER;
	const char *s;

	if (buf_read_file(&b, proc, "self/status", 1 << 16) || !(s = strstr(buf_str(&b), "\nNSpid:")))
		return OTHER;
	s += strlen("\nNSpid:");
	for (char *end; n < PROC_MAX_NSDEPTH && *s != '\n'; s = end) {
		v[n++] = (pid_t)strtol(s, &end, 10);
		if (end == s)
			return OTHER;
	}
	for (size_t i = 0; i < n; i++)
		if (v[i] == shown) {
			if (found >= 0)
				return UNCLEAR;
			found = (int)(n - 1 - i);
		}
	return found;
}

static int look(int proc, int fd)
{
	char text[16];
	ssize_t n = readlinkat(fd, "self", text, sizeof text - 1);

	if (n <= 0)
		return OTHER;
	text[n] = '\0';
	return levels_up(proc, (pid_t)atoi(text));
}

/* By a child that has its numbers for that alone. */
static int ask(const struct mproc *m, size_t depth, int fd)
{
	pid_t pid = ns_pid_fork(depth);
	int st = 0;

	if (pid < 0 && errno == EPERM)
		pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(look(m->proc, fd) - UNCLEAR);
	}
	while (pid > 0 && waitpid(pid, &st, 0) < 0 && errno == EINTR)
		;
	return pid < 0 || !WIFEXITED(st) ? OTHER : WEXITSTATUS(st) + UNCLEAR;
}

int mproc_shows(struct mproc *m, const struct mplan *pl, int fd, uint32_t *id)
{
	const struct dns *n = pl->pidns;
	size_t depth = ns_pid_depth(n);
	int up = UNCLEAR;

	*id = MPROC_START;
	if (!n) {
		struct stat theirs, st;

		/* All see the same: that it is another one can only be told where we may look. */
		return !fstat(m->pidns, &theirs) && !fstatat(fd, "1/ns/pid", &st, 0) && st.st_ino != theirs.st_ino ? -1 : 0;
	}
	if (!m->entered && setns(m->pidns, CLONE_NEWPID))
		return -1;
	m->entered = true;
	for (int i = 0; i < TRIES && up == UNCLEAR; i++)
		up = ask(m, depth, fd);
	if (up < 0 || (size_t)up > depth)
		return -1;
	while (up-- > 0)
		n = n->parent;
	*id = n ? n->id : MPROC_START;
	return 0;
}
