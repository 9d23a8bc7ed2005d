/* Unit tests of lib/tracee: attach, remote batches, interrupted calls, healing, the restart side. */
#include "tracee/internal.h"
#include "tracee/tracee.h"
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

static int bad;
static struct err e;

static void report(const char *name, const char *why)
{
	if (why)
		printf("not ok - %s: %s%s%s\n", name, why, err_is_set(&e) ? ": " : "", e.msg);
	else
		printf("ok - %s\n", name);
	fflush(stdout);
	bad += why != NULL;
	err_clear(&e);
}
#define TRY(c) do { if ((c) < 0) return #c; } while (0)
#define CHECK(c) do { if (!(c)) return #c; } while (0)

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}
static void sleep_us(long us)
{
	struct timespec ts = { us / 1000000, us % 1000000 * 1000 };

	nanosleep(&ts, NULL);
}

/* Shared with the children. */
static volatile struct shared { uint64_t count; int result, error; uint64_t took_us; int step; } *sh;

static pid_t start(void (*body)(void))
{
	pid_t p = fork();

	if (p == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		body();
		_exit(0);
	}
	sleep_us(20000);
	return p;
}
static void end(pid_t p)
{
	kill(p, SIGKILL);
	waitpid(p, NULL, 0);
}
static void spinner(void)
{
	for (;;)
		sh->count++;
}
static int stop(struct tracee **t, pid_t p)
{
	if (tracee_attach(t, p, &e) < 0)
		return -1;
	return tracee_collect(*t, mono_ms() + 2000, NULL, &e);
}
static bool runs(void)
{
	uint64_t c = sh->count;

	for (int i = 0; i < 200 && sh->count == c; i++)
		sleep_us(1000);
	return sh->count != c;
}

static const char *test_batch(void)
{
	pid_t p = start(spinner);
	struct tracee *t;
	struct remote *r;
	struct user_regs_struct regs;
	size_t k[70], m;
	uint64_t at;
	char name[16];
	long ret;

	TRY(stop(&t, p));
	TRY(remote_begin(&r, t, 0, &e));
	for (int i = 0; i < 70; i++)
		k[i] = remote_call(r, "getppid", REMOTE_MUST, i & 1 ? SYS_getppid : SYS_getpid, 0, 0, 0, 0, 0, 0);
	at = remote_put(r, NULL, 16);
	m = remote_call(r, "prctl", REMOTE_MUST, SYS_prctl, PR_GET_NAME, at, 0, 0, 0, 0);
	TRY(remote_run(r, &e));
	for (int i = 0; i < 70; i++)
		CHECK(remote_ret(r, k[i]) == (i & 1 ? getpid() : p));
	CHECK(remote_ret(r, m) == 0);
	prctl(PR_GET_NAME, name);
	CHECK(strcmp(remote_data(r, at), name) == 0);
	TRY(remote_one(r, "close", &ret, &e, SYS_close, 999, 0, 0, 0, 0, 0));
	CHECK(ret == -EBADF);
	remote_call(r, "the close", REMOTE_MUST, SYS_close, 999, 0, 0, 0, 0, 0);
	CHECK(remote_run(r, &e) < 0 && strncmp(e.msg, "the close: ", 11) == 0);
	err_clear(&e);
	TRY(remote_end(r, &e));
	CHECK(pt(XPT_GETREGS, p, 0, &regs) == 0 && memcmp(&regs, &t->thr[0].regs, sizeof(regs)) == 0);
	TRY(remote_begin(&r, t, 0, &e)); /* once more in the same stop */
	TRY(remote_end(r, &e));
	CHECK(t->stub_addr);
	at = t->stub_addr;
	TRY(tracee_detach(t, &e));
	CHECK(runs());
	TRY(stop(&t, p)); /* nothing of ours is left */
	char tail[STUB_SIZE], zero[STUB_SIZE] = { 0 };
	TRY(tracee_read(t, at, tail, sizeof(tail), &e));
	CHECK(memcmp(tail, zero, sizeof(tail)) == 0);
	TRY(tracee_detach(t, &e));
	end(p);
	return NULL;
}

/* Where the vDSO has no room the stub goes to the tail of another executable mapping. */
static const char *test_no_vdso(void)
{
	pid_t p = start(spinner);
	struct tracee *t;
	struct remote *r;
	uint64_t vdso = 0;
	long ret;

	TRY(stop(&t, p));
	for (size_t i = 0; i < t->maps.n; i++)
		if (strcmp(t->maps.v[i].path, "[vdso]") == 0) {
			vdso = t->maps.v[i].start;
			t->maps.v[i].x = false;
		}
	t->stub_addr = 0;
	TRY(remote_begin(&r, t, 0, &e));
	CHECK(t->stub_addr && (t->stub_addr < vdso || t->stub_addr > vdso + 65536));
	TRY(remote_one(r, "getpid", &ret, &e, SYS_getpid, 0, 0, 0, 0, 0, 0));
	CHECK(ret == p);
	TRY(remote_end(r, &e));
	TRY(tracee_detach(t, &e));
	CHECK(runs());
	end(p);
	return NULL;
}

static const char *test_refusals(void)
{
	struct tracee *t, *t2;
	pid_t p = start(spinner), z;

	CHECK(tracee_attach(&t, 0x3fffff, &e) < 0 && e.code == EX_NOSUCH);
	err_clear(&e);
	z = fork();
	if (z == 0)
		_exit(0);
	sleep_us(10000);
	CHECK(tracee_attach(&t, z, &e) < 0 && e.code == EX_NOSUCH);
	waitpid(z, NULL, 0);
	err_clear(&e);
	if (tracee_attach(&t, 2, &e) == 0) /* in a pid namespace of our own 2 is nobody special */
		tracee_detach(t, NULL);
	else
		CHECK(e.code == EX_CANNOT_CKPT || e.code == EX_NOSUCH || e.code == EX_PERM);
	err_clear(&e);
	z = fork();
	if (z == 0)
		_exit(tracee_attach(&t, p, NULL) < 0 || (sh->step = 1, pause()));
	while (!sh->step)
		sleep_us(1000);
	CHECK(tracee_attach(&t2, p, &e) < 0 && e.code == EX_BUSY && strstr(e.msg, "traced by pid"));
	err_clear(&e);
	end(z);
	TRY(stop(&t, p));
	TRY(tracee_detach(t, &e));
	CHECK(runs());
	end(p);
	return NULL;
}

/* ---- calls that are interrupted by the stop ---- */
static void in_nanosleep(void)
{
	struct timespec ts = { 0, 150 * 1000 * 1000 };
	uint64_t t0 = now_us();

	sh->result = nanosleep(&ts, NULL);
	sh->error = errno;
	sh->took_us = now_us() - t0;
	sh->step = 1;
	for (;;)
		pause();
}
static int pipe_fd[2];
static void in_read(void)
{
	char c;

	sh->result = (int)read(pipe_fd[0], &c, 1);
	sh->error = errno;
	sh->step = 1;
	for (;;)
		pause();
}
static void in_epoll(void)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int ep = epoll_create1(0);

	epoll_ctl(ep, EPOLL_CTL_ADD, pipe_fd[0], &ev);
	sh->result = epoll_wait(ep, &ev, 1, 5000);
	sh->error = errno;
	sh->step = 1;
	for (;;)
		pause();
}
/* An aio context that waits for the pipe. */
static void in_getevents(void)
{
	struct iocb poll_it = { .aio_fildes = (uint32_t)pipe_fd[0], .aio_lio_opcode = IOCB_CMD_POLL, .aio_buf = POLLIN }, *list = &poll_it;
	struct timespec ts = { 5, 0 };
	aio_context_t ctx = 0;
	struct io_event ev;

	if (syscall(SYS_io_setup, 1, &ctx) < 0 || syscall(SYS_io_submit, ctx, 1, &list) != 1)
		ctx = 0; /* not here */
	sh->result = ctx ? (int)syscall(SYS_io_getevents, ctx, 1, 1, &ev, &ts) : 1;
	sh->error = errno;
	sh->step = 1;
	for (;;)
		pause();
}
/* To a listener with a full queue, for 300 ms. */
static void in_connect(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	socklen_t len = sizeof a.sun_family + 12;
	struct timeval tv = { 0, 300 * 1000 };
	int l = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(a.sun_path + 1, sizeof a.sun_path - 1, "xos-%07d", (int)getpid());
	if (bind(l, (struct sockaddr *)&a, len) < 0 || listen(l, 0) < 0)
		_exit(1);
	for (sh->result = 0; sh->result == 0;) {
		int s = socket(AF_UNIX, SOCK_STREAM, 0);

		setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
		sh->result = connect(s, (struct sockaddr *)&a, len);
	}
	sh->error = errno;
	sh->step = 1;
	for (;;)
		pause();
}
static void on_usr1(int s) { sh->count = (uint64_t)s; }
static void in_read_eintr(void)
{
	struct sigaction sa = { .sa_handler = on_usr1 };

	sigaction(SIGUSR1, &sa, NULL);
	in_read();
}

static const char *through_stop(pid_t p, bool with_remote, int sig)
{
	struct tracee *t;
	struct remote *r;
	long ret;

	TRY(stop(&t, p));
	if (with_remote) {
		TRY(remote_begin(&r, t, 0, &e));
		TRY(remote_one(r, "getpid", &ret, &e, SYS_getpid, 0, 0, 0, 0, 0, 0));
		CHECK(ret == p);
		if (sig)
			kill(p, sig);
		TRY(remote_end(r, &e));
	}
	TRY(tracee_detach(t, &e));
	return NULL;
}

static const char *test_interrupted(void (*body)(void), bool remote, int sig, int want, int want_errno)
{
	const char *why;
	pid_t p;

	sh->step = sh->result = sh->error = 0;
	sh->count = 0;
	if (pipe(pipe_fd) < 0)
		return "pipe";
	p = start(body);
	for (int i = 0; i < 5; i++) {
		why = through_stop(p, remote, i == 4 ? sig : 0);
		if (why)
			return why;
	}
	if (body != in_nanosleep && !sig && write(pipe_fd[1], "x", 1) != 1)
		return "write";
	for (int i = 0; i < 1000 && !sh->step; i++)
		sleep_us(1000);
	close(pipe_fd[0]);
	close(pipe_fd[1]);
	end(p);
	CHECK(sh->step == 1);
	CHECK(sh->result == want && (want >= 0 || sh->error == want_errno));
	CHECK(body != in_nanosleep || sh->took_us >= 150000);
	CHECK(!sig || sh->count == (uint64_t)sig);
	return NULL;
}

/* ---- many threads ---- */
enum { THREADS = 200 };
static void *thread_body(void *p)
{
	(void)p;
	for (;;)
		pause();
	return NULL;
}
static void many_threads(void)
{
	pthread_t id;
	pthread_attr_t a;

	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, 65536);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&id, &a, thread_body, NULL);
	sh->step = 1;
	spinner();
}

static const char *test_threads(void)
{
	struct tracee *t;
	struct remote *r;
	uint64_t t0, t1, t2, t3;
	long ret;
	pid_t p;

	sh->step = 0;
	p = start(many_threads);
	while (!sh->step)
		sleep_us(1000);
	t0 = now_us();
	TRY(stop(&t, p));
	t1 = now_us();
	CHECK(t->nthr == THREADS + 1 && t->thr[0].tid == p);
	for (size_t i = 0; i < t->nthr; i++) {
		TRY(remote_begin(&r, t, i, &e));
		TRY(remote_one(r, "gettid", &ret, &e, SYS_gettid, 0, 0, 0, 0, 0, 0));
		CHECK(ret == t->thr[i].tid);
		TRY(remote_end(r, &e));
	}
	t2 = now_us();
	TRY(tracee_detach(t, &e));
	t3 = now_us();
	printf("# %d threads: stop %llu us, inject %.1f us each, detach %llu us\n", THREADS + 1,
	       (unsigned long long)(t1 - t0), (double)(t2 - t1) / (THREADS + 1), (unsigned long long)(t3 - t2));
	CHECK(runs());
	end(p);
	return NULL;
}

static char proc_state(pid_t p)
{
	struct proc_stat s;

	return proc_stat_read(&s, p, 0, NULL) < 0 ? '?' : s.state;
}

static int becomes(pid_t p, char state)
{
	for (int i = 0; i < 2000 && proc_state(p) != state; i++)
		sleep_us(1000);
	return proc_state(p) == state ? 0 : -1;
}

static const char *test_group_stop(void)
{
	pid_t p = start(spinner);
	struct tracee *t;
	struct remote *r;
	uint64_t c;
	long ret;

	kill(p, SIGSTOP);
	TRY(becomes(p, 'T'));
	c = sh->count;
	TRY(stop(&t, p));
	CHECK(t->thr[0].group_stopped);
	TRY(remote_begin(&r, t, 0, &e));
	TRY(remote_one(r, "getpid", &ret, &e, SYS_getpid, 0, 0, 0, 0, 0, 0));
	TRY(remote_end(r, &e));
	TRY(tracee_detach(t, &e));
	TRY(becomes(p, 'T'));
	CHECK(sh->count == c);
	kill(p, SIGCONT);
	CHECK(runs());
	/* and the other way: stopped by us */
	TRY(stop(&t, p));
	c = sh->count;
	TRY(tracee_detach_stopped(t, &e));
	TRY(becomes(p, 'T'));
	CHECK(sh->count == c);
	/* SIGSTOP while it is under remote control */
	kill(p, SIGCONT);
	TRY(stop(&t, p));
	TRY(remote_begin(&r, t, 0, &e));
	kill(p, SIGSTOP);
	TRY(remote_one(r, "getpid", &ret, &e, SYS_getpid, 0, 0, 0, 0, 0, 0));
	CHECK(ret == p);
	TRY(remote_end(r, &e));
	TRY(tracee_detach(t, &e));
	TRY(becomes(p, 'T'));
	kill(p, SIGCONT);
	CHECK(runs());
	end(p);
	return NULL;
}

/* ---- a snapshot: intermediary with its own list ---- */
static const char *test_snapshot(void)
{
	pid_t p = start(spinner), snap;
	struct tracee *t, *s;
	struct remote *r;
	uint64_t c, copy, waits;
	size_t i, w;

	TRY(stop(&t, p));
	c = sh->count;
	TRY(remote_begin(&r, t, 0, &e));
	/* indices are known beforehand: the clone is 0, the wait4 is 1 */
	waits = remote_arg_addr(r, 1, 0);
	i = remote_clone(r, "clone", REMOTE_MUST, 1, SYS_clone,
			 CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_FS | CLONE_PARENT_SETTID | SIGCHLD, 0, waits, 0, 0, 0);
	remote_child(r, SYS_clone, CLONE_FILES | CLONE_FS, 0, 0, 0, 0, 0);
	w = remote_call(r, "wait4", REMOTE_MUST, SYS_wait4, 0, 0, __WALL, 0, 0, 0);
	TRY(remote_run(r, &e));
	CHECK(remote_ret(r, i) > 0 && remote_ret(r, w) == remote_ret(r, i));
	CHECK(remote_born(r)->n == 1);
	snap = remote_born(r)->v[0];
	TRY(remote_end(r, &e));
	TRY(tracee_detach(t, &e));
	CHECK(runs());
	TRY(tracee_adopt(&s, snap, &e));
	TRY(tracee_read(s, (uint64_t)(uintptr_t)&sh, &copy, 8, &e));
	CHECK(copy == (uint64_t)(uintptr_t)sh);
	(void)c;
	tracee_kill(s);
	for (int n = 0; n < 500 && proc_state(snap) != '?' && proc_state(snap) != 'Z'; n++)
		sleep_us(1000);
	CHECK(proc_state(snap) == '?' || proc_state(snap) == 'Z'); /* init reaps it when it likes */
	CHECK(runs());
	end(p);
	return NULL;
}

/* ---- healing by a new tracer: a tracer dies with the thread inside the stub ---- */
static void dead_tracer(pid_t p, bool in_batch)
{
	pid_t z = fork();

	if (z == 0) {
		struct tracee *t;
		struct remote *r;

		if (stop(&t, p) < 0 || remote_begin(&r, t, 0, &e) < 0)
			_exit(1);
		kill(p, SIGSTOP); /* keeps it inside when we are gone */
		if (in_batch) {
			remote_call(r, "getpid", REMOTE_MUST, SYS_getpid, 0, 0, 0, 0, 0, 0);
			remote_call(r, "prctl", REMOTE_MUST, SYS_prctl, PR_SET_NAME, remote_put(r, "batch", 6), 0, 0, 0, 0);
			remote_start(r, &e);
		}
		raise(SIGKILL);
	}
	waitpid(z, NULL, 0);
}

static const char *test_heal(void)
{
	struct proc_status s;
	pid_t p = start(spinner);
	struct tracee *t;
	int healed = 0;

	for (int i = 0; i < 40; i++) {
		dead_tracer(p, i & 1);
		TRY(stop(&t, p));
		healed += t->healed;
		TRY(tracee_detach(t, &e));
		kill(p, SIGCONT);
		CHECK(runs());
		TRY(proc_status_read(&s, p, 0, &e));
		CHECK(s.sigblk == 0);
		proc_status_free(&s);
	}
	printf("# healed %d of 40\n", healed);
	CHECK(healed > 0);
	struct proc_maps m;
	TRY(proc_maps_read(&m, p, false, &e));
	for (size_t i = 0; i < m.n; i++)
		CHECK(m.v[i].end - m.v[i].start != SCRATCH_SIZE || m.v[i].path[0]);
	proc_maps_free(&m);
	end(p);
	return NULL;
}

/* ---- the restart side ---- */
static void payload(void)
{
	sh->result = 1;
	syscall(SYS_exit_group, 42);
}
static char *payload_stack;

static pid_t boot_child(uint64_t boot)
{
	pid_t p = fork();

	if (p == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit((int)-tracee_boot_self(boot) & 127);
	}
	return p;
}

static int run_payload(struct tracee *t, size_t i)
{
	struct user_regs_struct regs = t->thr[i].regs;

	regs.rip = (uint64_t)(uintptr_t)payload;
	regs.rsp = (uint64_t)(uintptr_t)(payload_stack + 65536 - 8);
	regs.orig_rax = (uint64_t)-1;
	return thread_set_regs(&t->thr[i], &regs, &e);
}

static const char *test_boot(void)
{
	const uint64_t boot = 0x200000000000;
	struct proc_maps m;
	struct tracee *t, *c;
	struct remote *r, *rc;
	struct clone_args ca = { .exit_signal = SIGCHLD }, ct = { .flags = CLONE_THREAD | CLONE_VM | CLONE_SIGHAND | CLONE_FS | CLONE_FILES };
	size_t k[3], kc;
	uint64_t insn = 0;
	pid_t p = boot_child(boot);
	int st;

	TRY(tracee_adopt(&t, p, &e));
	TRY(remote_begin_at(&r, t, 0, boot, &e));
	k[0] = remote_call(r, "getpid", REMOTE_MUST, SYS_getpid, 0, 0, 0, 0, 0, 0);
	k[1] = remote_call(r, "clone3", REMOTE_MUST, 435, remote_put(r, &ca, sizeof(ca)), sizeof(ca), 0, 0, 0, 0);
	k[2] = remote_call(r, "clone3", REMOTE_MUST, 435, remote_put(r, &ct, sizeof(ct)), sizeof(ct), 0, 0, 0, 0);
	TRY(remote_run(r, &e));
	CHECK(remote_ret(r, k[0]) == p && remote_born(r)->n == 2);
	CHECK(remote_born(r)->v[0] == remote_ret(r, k[1]) && remote_born(r)->v[1] == remote_ret(r, k[2]));
	TRY(tracee_adopt(&c, (pid_t)remote_ret(r, k[1]), &e));
	TRY(tracee_adopt_thread(t, (pid_t)remote_ret(r, k[2]), &e));
	/* two at the same time */
	TRY(remote_begin_at(&rc, c, 0, boot, &e));
	k[0] = remote_call(r, "getpid", REMOTE_MUST, SYS_getpid, 0, 0, 0, 0, 0, 0);
	kc = remote_call(rc, "getppid", REMOTE_MUST, SYS_getppid, 0, 0, 0, 0, 0, 0);
	TRY(remote_start(r, &e));
	TRY(remote_start(rc, &e));
	TRY(remote_finish(rc, &e));
	TRY(remote_finish(r, &e));
	CHECK(remote_ret(r, k[0]) == p && remote_ret(rc, kc) == p);
	remote_leave(r);
	remote_leave(rc);
	tracee_kill(c);
	/* the thread */
	TRY(remote_begin_at(&r, t, 1, boot, &e));
	k[0] = remote_call(r, "gettid", REMOTE_MUST, SYS_gettid, 0, 0, 0, 0, 0, 0);
	TRY(remote_run(r, &e));
	CHECK(remote_ret(r, k[0]) == t->thr[1].tid);
	remote_leave(r);
	/* the end: boot area away by the vDSO's own instruction */
	TRY(proc_maps_read(&m, p, false, &e));
	for (size_t i = 0; i < m.n; i++)
		if (strcmp(m.v[i].path, "[vdso]") == 0)
			insn = tracee_find_syscall(t, m.v[i].start, m.v[i].end);
	proc_maps_free(&m);
	CHECK(insn);
	TRY(tracee_munmap_by(t, 0, insn, boot, TRACEE_BOOT_SIZE, &e));
	TRY(tracee_event_stop(t, 1, &e));
	TRY(proc_maps_read(&m, p, false, &e));
	for (size_t i = 0; i < m.n; i++)
		CHECK(m.v[i].start < boot || m.v[i].start >= boot + TRACEE_BOOT_SIZE);
	proc_maps_free(&m);
	sh->result = 0;
	TRY(run_payload(t, 0));
	TRY(run_payload(t, 1));
	TRY(tracee_disarm(t, &e));
	CHECK(sh->result == 0);
	TRY(tracee_release(t, &e));
	CHECK(waitpid(p, &st, 0) == p && WIFEXITED(st) && WEXITSTATUS(st) == 42 && sh->result == 1);
	return NULL;
}

/* At an event stop the kernel applies its restart rules to registers that we set: a read that was never
 * made is made. */
static const char *test_event_stop(void)
{
	const uint64_t boot = 0x200000000000;
	struct user_regs_struct regs;
	struct tracee *t;
	struct remote *r;
	uint64_t insn, t0;
	char state = 0;
	pid_t p = boot_child(boot);

	TRY(tracee_adopt(&t, p, &e));
	TRY(remote_begin_at(&r, t, 0, boot, &e));
	remote_call(r, "getpid", REMOTE_MUST, SYS_getpid, 0, 0, 0, 0, 0, 0);
	TRY(remote_run(r, &e));
	remote_leave(r);
	insn = tracee_find_syscall(t, boot, boot + STUB_CODE);
	CHECK(insn);
	TRY(tracee_event_stop(t, 0, &e));
	regs = t->thr[0].regs;
	regs.rip = insn + 2;
	regs.orig_rax = SYS_pause;
	regs.rax = (uint64_t)-514; /* ERESTARTNOHAND */
	TRY(thread_set_regs(&t->thr[0], &regs, &e));
	TRY(tracee_disarm(t, &e));
	TRY(tracee_release(t, &e));
	for (t0 = now_us(); now_us() - t0 < 500000; sleep_us(1000)) {
		AUTO_BUF struct buf b = BUF_INIT;

		state = proc_state(p);
		if (state == 'S' && proc_read(&b, p, "syscall", 4096) == 0 && atoi(buf_str(&b)) == SYS_pause)
			break;
	}
	CHECK(now_us() - t0 < 500000);
	end(p);
	return NULL;
}

int main(void)
{
	sh = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	payload_stack = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	report("remote batch", test_batch());
	report("no room in the vDSO", test_no_vdso());
	report("refusals", test_refusals());
	report("nanosleep goes on, plain stop", test_interrupted(in_nanosleep, false, 0, 0, 0));
	report("nanosleep goes on, remote calls", test_interrupted(in_nanosleep, true, 0, 0, 0));
	report("read goes on", test_interrupted(in_read, true, 0, 1, 0));
	report("epoll_wait is not disturbed", test_interrupted(in_epoll, true, 0, 1, 0));
	report("epoll_wait is not disturbed, plain stop", test_interrupted(in_epoll, false, 0, 1, 0));
	report("io_getevents is not disturbed", test_interrupted(in_getevents, true, 0, 1, 0));
	report("connect with a time-out is not disturbed", test_interrupted(in_connect, true, 0, -1, EAGAIN));
	report("a signal meanwhile interrupts read", test_interrupted(in_read_eintr, true, SIGUSR1, -1, EINTR));
	report("200 threads", test_threads());
	report("group stop", test_group_stop());
	report("snapshot with intermediary", test_snapshot());
	report("healing what a dead tracer left", test_heal());
	report("boot, fork, thread, release", test_boot());
	report("event stop restarts a call", test_event_stop());
	return bad != 0;
}
