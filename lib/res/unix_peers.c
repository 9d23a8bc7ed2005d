/* unix_peers: SO_PEERCRED of a job in a PID namespace of its own. The number that we are told is ours, and that of who has gone cannot
 * be translated any more: a process that enters the namespace for a moment asks instead. */
#include "res/fd_unix.h"
#include "common/cleanup.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

static int open_ns(pid_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* In a process of the namespace. */
static void ask(struct dump *d, pid_t *pids)
{
	for (size_t i = 0; i < d->nfiles; i++) {
		struct ucred u;
		socklen_t n = sizeof u;
		const struct dfile *f = d->files[i];

		if (S_ISSOCK(f->st.st_mode) && f->lfd >= 0 && !getsockopt(f->lfd, SOL_SOCKET, SO_PEERCRED, &u, &n))
			pids[i] = u.pid;
	}
}

static int status_of(pid_t pid)
{
	int status;

	while (pid > 0 && waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return pid > 0 && WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -1;
}

/* A namespace for PIDs counts for children only. */
static int enter(struct dump *d, pid_t *pids, int user, int pidns)
{
	pid_t pid;

	if ((user >= 0 && setns(user, CLONE_NEWUSER)) || setns(pidns, CLONE_NEWPID))
		return -1;
	pid = fork();
	if (!pid) {
		ask(d, pids);
		_exit(0);
	}
	return status_of(pid);
}

void unix_peers_read(struct dump *d, struct unix_world *w)
{
	size_t size = (d->nfiles + 1) * sizeof *w->peers, i = 0;
	AUTO_FD int user = -1, pidns = -1;
	struct stat theirs, ours;
	pid_t pid;

	while (i < d->nprocs && d->procs[i]->zombie)
		i++;
	if (!d->own_ns || i == d->nprocs)
		return;
	user = open_ns(d->procs[i]->pid, "user");
	pidns = open_ns(d->procs[i]->pid, "pid");
	w->peers = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (w->peers == MAP_FAILED) {
		w->peers = NULL;
		return;
	}
	w->peers_size = size;
	/* One's own cannot be entered. */
	if (user >= 0 && !fstat(user, &theirs) && !stat("/proc/self/ns/user", &ours) && theirs.st_ino == ours.st_ino) {
		close(user);
		user = -1;
	}
	pid = fork();
	if (!pid)
		_exit(enter(d, w->peers, user, pidns) ? 1 : 0);
	if (status_of(pid))
		for (size_t k = 0; k < d->nfiles; k++)
			w->peers[k] = 0;
}
