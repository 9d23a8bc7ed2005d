#include "cr/nsinit.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "res/sysv.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#define CAP_BIT(n) (1ULL << (n))
enum { CAP_SYS_ADMIN_ = 21, CAP_CHECKPOINT_RESTORE_ = 40 };

struct report { bool ok; pid_t main; struct err e; };

static uint64_t own_caps(void)
{
	struct proc_status s;
	uint64_t eff;

	if (proc_status_read(&s, getpid(), 0, NULL))
		return 0;
	eff = s.capeff;
	proc_status_free(&s);
	return eff;
}

bool revive_needs_ns(void)
{
	return !(own_caps() & (CAP_BIT(CAP_SYS_ADMIN_) | CAP_BIT(CAP_CHECKPOINT_RESTORE_)));
}

static int put(pid_t pid, const char *name, const char *text)
{
	char path[64];
	AUTO_FD int fd = -1;

	snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) ? -1 : 0;
}

/* The job sees its own user and group as before; all others are nobody's. */
static int map_ids(pid_t pid, struct err *e)
{
	char m[64];

	if (put(pid, "setgroups", "deny") && errno != ENOENT)
		return err_sys(e, "cannot set up the user namespace");
	snprintf(m, sizeof m, "%u %u 1", geteuid(), geteuid());
	if (put(pid, "uid_map", m))
		return err_sys(e, "cannot map the user into the namespace");
	snprintf(m, sizeof m, "%u %u 1", getegid(), getegid());
	if (put(pid, "gid_map", m))
		return err_sys(e, "cannot map the group into the namespace");
	return 0;
}

/* A new IPC namespace has queues of its own; who looks at them there sees those. */
static void own_mqueue(void)
{
	enum { MQUEUE_FS = 0x19800202 };
	struct statfs fs;

	if (!statfs("/dev/mqueue", &fs) && fs.f_type == MQUEUE_FS)
		mount("mqueue", "/dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
}

/* The options of a mount, for another in its place: members may have mounted what they got from there with the same ones. */
static unsigned long flags_of(const char *path)
{
	static const struct { unsigned long st, ms; } flags[] = {
		{ ST_RDONLY, MS_RDONLY }, { ST_NOSUID, MS_NOSUID }, { ST_NODEV, MS_NODEV }, { ST_NOEXEC, MS_NOEXEC }, { ST_NOATIME, MS_NOATIME },
		{ ST_NODIRATIME, MS_NODIRATIME }, { ST_RELATIME, MS_RELATIME },
	};
	struct statvfs s;
	unsigned long out = 0;

	if (statvfs(path, &s))
		return MS_NOSUID | MS_NODEV | MS_NOEXEC;
	for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
		if (s.f_flag & flags[i].st)
			out |= flags[i].ms;
	return out;
}

static int own_proc(bool own_ipc, struct err *e)
{
	/* What is mounted on the machine later comes here, too, as it came to the job before. */
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL))
		return err_sys(e, "cannot take the mounts from the rest of the machine");
	if (own_ipc)
		own_mqueue();
	if (mount("proc", "/proc", "proc", flags_of("/proc"), NULL)) {
		err_sys(e, "cannot mount /proc for the new PID namespace");
		err_hint(e, "in a container whose /proc is partly hidden this needs CAP_SYS_ADMIN");
		return -1;
	}
	return 0;
}

/* What the supervisor sends comes from outside (si_pid 0). What the terminal sends comes to our whole group, and perhaps main is in it
 * and has it; of the rest only what ends a job is passed on, as the supervisor does. What a member sends to its group is not for us. */
static bool for_main(const siginfo_t *si, pid_t main)
{
	if (si->si_code != SI_KERNEL)
		return si->si_pid == 0 && si->si_signo != SIGWINCH;
	return (si->si_signo == SIGINT || si->si_signo == SIGQUIT || si->si_signo == SIGHUP) && getpgid(main) != getpgrp();
}

/* Stops of main's go to the supervisor as the signal's number: an init cannot stop. */
static void forward_and_reap(pid_t main, const sigset_t *set, int stops)
{
	for (;;) {
		siginfo_t si;
		int sig = sigwaitinfo(set, &si), st;
		pid_t pid;

		if (sig > 0 && sig != SIGCHLD && for_main(&si, main))
			kill(main, sig);
		while ((pid = waitpid(-1, &st, WNOHANG | WUNTRACED | __WALL)) > 0) {
			if (pid == main && (WIFEXITED(st) || WIFSIGNALED(st)))
				_exit(WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st));
			if (pid == main && WIFSTOPPED(st)) {
				unsigned char how = (unsigned char)WSTOPSIG(st);

				if (write(stops, &how, 1) < 0)
					log_debug("job", "nobody hears that it is stopped");
			}
		}
		if (pid < 0 && errno == ECHILD)
			_exit(0);
	}
}

static void close_all_but(int keep)
{
	if (keep > 0)
		syscall(SYS_close_range, 0, (unsigned)keep - 1, 0);
	syscall(SYS_close_range, (unsigned)keep + 1, ~0u, 0);
}

static void init_main(struct image *im, struct restart_run *run, int sync, int out)
{
	struct report rep = { 0 };
	sigset_t set;
	char c;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigfillset(&set);
	sigprocmask(SIG_SETMASK, &set, NULL);
	signal(SIGCHLD, SIG_DFL);
	if (read(sync, &c, 1) != 1)
		_exit(EX_FAILED);
	close(sync);
	run->own_ns = true;
	if (own_proc(sysv_in_image(im), &rep.e) || cr_restart(im, run, &rep.e)) {
		if (write(out, &rep, sizeof rep) < 0)
			_exit(EX_FAILED);
		_exit(EX_FAILED);
	}
	rep.ok = true;
	rep.main = run->main ? run->main : (run->roots.n ? run->roots.v[0] : 0);
	/* The job may outlive its supervisor, as one outside a namespace does. */
	prctl(PR_SET_PDEATHSIG, 0);
	if (write(out, &rep, sizeof rep) != (ssize_t)sizeof rep)
		_exit(EX_FAILED);
	close_all_but(out);
	fcntl(out, F_SETFL, O_NONBLOCK);
	forward_and_reap(rep.main, &set, out);
}

static int start_init(struct image *im, struct restart_run *run, int sync[2], int out[2], bool user, pid_t *init, struct err *e)
{
	unsigned long flags = CLONE_NEWPID | CLONE_NEWNS | (user ? CLONE_NEWUSER : 0) |
			      (sysv_in_image(im) ? CLONE_NEWIPC : 0) | SIGCHLD;
	long pid = syscall(SYS_clone, flags, 0, 0, 0, 0);

	if (pid < 0) {
		err_sys(e, "cannot make new namespaces");
		if (user)
			err_hint(e, "users cannot make namespaces here (user.max_user_namespaces, or a chroot); CAP_CHECKPOINT_RESTORE "
				    "would do as well");
		return -1;
	}
	if (!pid) {
		close(sync[1]);
		close(out[0]);
		init_main(im, run, sync[0], out[1]);
		_exit(EX_FAILED);
	}
	*init = (pid_t)pid;
	return 0;
}

static int drive(struct image *im, struct restart_run *run, int sync[2], int out[2], pid_t *init, struct err *e)
{
	bool user = !(own_caps() & CAP_BIT(CAP_SYS_ADMIN_));
	struct report rep;
	ssize_t n;

	if (start_init(im, run, sync, out, user, init, e))
		return -1;
	cleanup_fd(&sync[0]);
	cleanup_fd(&out[1]);
	sync[0] = out[1] = -1;
	if (user && map_ids(*init, e))
		return -1;
	if (write(sync[1], "", 1) != 1)
		return err_set(e, EX_FAILED, "the namespaces' init died");
	while ((n = read(out[0], &rep, sizeof rep)) < 0 && errno == EINTR)
		;
	if (n != (ssize_t)sizeof rep)
		return err_set(e, EX_FAILED, "the namespaces' init was killed before the job ran");
	if (rep.ok)
		return 0;
	if (e)
		*e = rep.e;
	return -1;
}

/* Like the stop of a child: SIGCHLD. */
static int hear_stops(int fd, struct err *e)
{
	if (fcntl(fd, F_SETOWN, getpid()) || fcntl(fd, F_SETSIG, SIGCHLD) || fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK))
		return err_sys(e, "cannot watch the namespaces' init");
	return 0;
}

int nsinit_restart(struct image *im, struct restart_run *run, struct job *j, struct err *e)
{
	int sync[2] = { -1, -1 }, out[2] = { -1, -1 }, rc;
	pid_t init = 0;

	if (pipe2(sync, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
		rc = err_sys(e, "cannot make a pipe");
	else
		rc = drive(im, run, sync, out, &init, e) || hear_stops(out[0], e) ? -1 : 0;
	if (!rc) {
		run->stops = out[0];
		out[0] = -1;
	}
	for (int i = 0; i < 2; i++) {
		cleanup_fd(&sync[i]);
		cleanup_fd(&out[i]);
	}
	if (rc && init) {
		kill(init, SIGKILL);
		waitpid(init, NULL, __WALL);
	}
	if (rc)
		return -1;
	j->nsinit = init;
	run->main = init;
	return pid_list_add(&run->roots, init) ? err_set(e, EX_FAILED, "out of memory") : 0;
}
