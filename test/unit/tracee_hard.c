/* Unit tests of lib/tracee against processes that make it hard: they fork, spawn and make threads all the
 * time, get signals, wait in vfork, have a seccomp filter, are in restartable sequences, catch every signal. */
#include "tracee/internal.h"
#include "tracee/tracee.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

static int bad, rounds = 200;
static struct err e;
extern char **environ;

static void report(const char *name, const char *why)
{
	if (!why)
		printf("ok - %s\n", name);
	else if (strncmp(why, "SKIP", 4) == 0)
		printf("ok - %s # %s\n", name, why);
	else
		printf("not ok - %s: %s%s%s\n", name, why, err_is_set(&e) ? ": " : "", e.msg);
	fflush(stdout);
	bad += why != NULL && strncmp(why, "SKIP", 4);
	err_clear(&e);
}
#define TRY(c) do { if ((c) < 0) return #c; } while (0)
#define CHECK(c) do { if (!(c)) return #c; } while (0)

static void sleep_us(long us)
{
	struct timespec ts = { us / 1000000, us % 1000000 * 1000 };

	nanosleep(&ts, NULL);
}

static volatile struct shared { uint64_t count, other, handled; int fail, step; pid_t child; } *sh;

static pid_t start(void (*body)(void))
{
	pid_t p;

	memset((void *)sh, 0, sizeof(*sh));
	p = fork();
	if (p == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		body();
		_exit(0);
	}
	for (int i = 0; i < 2000 && !sh->step; i++)
		sleep_us(1000);
	return p;
}
static void end(pid_t p)
{
	kill(p, SIGKILL);
	waitpid(p, NULL, 0);
}
static bool moves(volatile uint64_t *c)
{
	uint64_t was = *c;

	for (int i = 0; i < 3000 && *c == was; i++)
		sleep_us(1000);
	return *c != was;
}
static int stop(struct tracee **t, pid_t p, struct pid_list *kids)
{
	if (tracee_attach(t, p, &e) < 0)
		return -1;
	if (tracee_collect(*t, mono_ms() + 3000, kids, &e) == 0)
		return 0;
	tracee_detach(*t, NULL);
	return -1;
}
static int one_call(struct tracee *t, size_t i)
{
	struct remote *r;
	long ret = 0;

	if (remote_begin(&r, t, i, &e) < 0)
		return -1;
	if (remote_one(r, "gettid", &ret, &e, SYS_gettid, 0, 0, 0, 0, 0, 0) < 0) {
		remote_end(r, NULL);
		return -1;
	}
	if (remote_end(r, &e) < 0)
		return -1;
	return ret == t->thr[i].tid ? 0 : err_set(&e, EX_FAILED, "gettid gave %ld", ret);
}

static void spinner(void)
{
	sh->step = 1;
	for (;;)
		sh->count++;
}

/* ---- births of all kinds ---- */
static void *short_thread(void *p) { return p; }
static void *spawner(void *p)
{
	char *const argv[] = { (char *)"true", NULL };

	for (;;) {
		pid_t c;
		int st;

		if (posix_spawn(&c, "/bin/true", NULL, NULL, argv, environ) != 0 || waitpid(c, &st, 0) != c || st != 0)
			sh->fail = 1;
		sh->other++;
	}
	return p;
}
static void churn(void)
{
	pthread_t id;

	if (pthread_create(&id, NULL, spawner, NULL) != 0)
		_exit(1);
	sh->step = 1;
	for (int n = 0;; n++) {
		int st;
		void *res;

		if (n & 1) {
			pid_t c = fork();

			if (c == 0)
				_exit(7);
			if (waitpid(c, &st, 0) != c || !WIFEXITED(st) || WEXITSTATUS(st) != 7)
				sh->fail = 2;
		} else if (pthread_create(&id, NULL, short_thread, (void *)sh) != 0 ||
			   pthread_join(id, &res) != 0 || res != (void *)sh) {
			sh->fail = 3;
		}
		sh->count++;
	}
}

static const char *release_children(struct pid_list *kids, unsigned *n)
{
	for (size_t i = 0; i < kids->n; i++) {
		struct tracee *k;

		if (tracee_attached(&k, kids->v[i], &e) < 0) {
			err_clear(&e); /* it has ended meanwhile */
			continue;
		}
		(*n)++;
		if (tracee_collect(k, mono_ms() + 3000, NULL, &e) < 0) {
			CHECK(e.code == EX_NOSUCH);
			err_clear(&e);
		}
		tracee_detach(k, NULL);
	}
	kids->n = 0;
	return NULL;
}

static const char *test_churn(void)
{
	pid_t p = start(churn);
	unsigned busy = 0, children = 0;
	const char *why;

	for (int i = 0; i < rounds; i++) {
		struct pid_list kids = { 0 };
		struct tracee *t;

		if (stop(&t, p, i & 1 ? &kids : NULL) < 0) {
			CHECK(e.code == EX_BUSY);
			err_clear(&e);
			busy++;
		} else {
			for (size_t k = 0; k < t->nthr; k++)
				if (t->thr[k].state == THREAD_STOPPED)
					TRY(one_call(t, k));
			TRY(tracee_detach(t, &e));
		}
		why = release_children(&kids, &children);
		pid_list_free(&kids);
		if (why)
			return why;
		sleep_us(random() % 2000);
		if (i % 20 == 19)
			CHECK(moves(&sh->count) && moves(&sh->other) && !sh->fail);
	}
	printf("# %u children came along, %u times busy, %llu and %llu rounds\n", children, busy,
	       (unsigned long long)sh->count, (unsigned long long)sh->other);
	end(p);
	return NULL;
}

/* ---- vfork ---- */
static void vforker(void)
{
	pid_t c;

	sh->step = 1;
	c = vfork();
	if (c == 0) {
		sh->child = (pid_t)syscall(SYS_getpid);
		while (!sh->handled)
			sh->other++;
		_exit(0);
	}
	sh->count = 1;
	for (;;)
		pause();
}
static const char *test_vfork(void)
{
	pid_t p = start(vforker);
	struct tracee *t, *c;

	while (!sh->child)
		sleep_us(1000);
	TRY(tracee_attach(&t, p, &e));
	CHECK(tracee_collect(t, mono_ms() + 100, NULL, &e) < 0 && e.code == EX_FAILED);
	err_clear(&e);
	CHECK(tracee_detach(t, NULL) < 0); /* cannot be let go while it waits */
	CHECK(moves(&sh->other));
	sh->handled = 1;
	TRY(stop(&t, p, NULL)); /* still ours: a second attempt finds it so */
	TRY(one_call(t, 0));
	TRY(tracee_detach(t, &e));
	CHECK(sh->count || moves(&sh->count));
	end(p);
	p = start(vforker);
	while (!sh->child)
		sleep_us(1000);
	TRY(tracee_attach(&t, p, &e));
	TRY(tracee_attach(&c, sh->child, &e));
	TRY(tracee_collect(c, mono_ms() + 1000, NULL, &e));
	CHECK(tracee_collect(t, mono_ms() + 5000, NULL, &e) < 0 && e.code == EX_BUSY && strstr(e.msg, "vfork for pid"));
	err_clear(&e);
	TRY(tracee_detach(c, &e));
	sh->handled = 1;
	TRY(tracee_detach(t, &e));
	CHECK(sh->count || moves(&sh->count));
	end(p);
	return NULL;
}

/* ---- signals ---- */
static void count_signal(int s)
{
	__atomic_add_fetch(s >= SIGRTMIN ? &sh->handled : &sh->other, 1, __ATOMIC_RELAXED);
}
static void catcher(void)
{
	struct sigaction sa = { .sa_handler = count_signal, .sa_flags = SA_RESTART };

	for (int s = 1; s <= 64; s++)
		if (s != SIGTERM)
			sigaction(s, &sa, NULL);
	sh->step = 1;
	for (;;)
		sh->count++;
}

/* Queued signals that arrive at any moment of the stop are all delivered. */
static const char *test_queued(void)
{
	enum { EACH = 4000 };
	pid_t p = start(catcher), sender = fork();
	unsigned stops = 0;
	int st;

	if (sender == 0) {
		for (int i = 0; i < EACH; i++) {
			while (kill(p, SIGRTMIN + i % 5) < 0)
				sleep_us(100);
			sleep_us(1);
		}
		_exit(0);
	}
	while (waitpid(sender, &st, WNOHANG) == 0) {
		struct tracee *t;

		TRY(stop(&t, p, NULL));
		TRY(one_call(t, 0));
		TRY(tracee_detach(t, &e));
		stops++;
	}
	for (int i = 0; i < 2000 && sh->handled < EACH; i++)
		sleep_us(1000);
	printf("# %u stops, %llu signals of %d handled\n", stops, (unsigned long long)sh->handled, EACH);
	CHECK(stops > 20 && sh->handled == EACH && moves(&sh->count));
	end(p);
	return NULL;
}

/* The same while the tracers are killed at random instants. */
static const char *test_queued_killed(void)
{
	enum { EACH = 3000 };
	pid_t p = start(catcher), sender = fork();
	unsigned kills = 0;
	int st;

	if (sender == 0) {
		for (int i = 0; i < EACH; i++) {
			while (kill(p, SIGRTMIN + i % 5) < 0)
				sleep_us(100);
			sleep_us(1);
		}
		_exit(0);
	}
	while (waitpid(sender, &st, WNOHANG) == 0) {
		pid_t z = fork();

		if (z == 0) {
			struct tracee *t;

			while (stop(&t, p, NULL) == 0 && one_call(t, 0) == 0 && tracee_detach(t, &e) == 0)
				;
			_exit(1);
		}
		sleep_us(random() % 1000);
		kill(z, SIGKILL);
		waitpid(z, &st, 0);
		kills++;
	}
	for (int i = 0; i < 2000 && sh->handled < EACH; i++)
		sleep_us(1000);
	/* A program without a free signal sees one SIGURG when a tracer dies that has it in the stub. */
	printf("# %u kills, %llu signals of %d handled, and %llu SIGURG\n", kills, (unsigned long long)sh->handled, EACH,
	       (unsigned long long)sh->other);
	CHECK(kills > 10 && sh->handled == EACH && moves(&sh->count));
	end(p);
	return NULL;
}

/* A program that catches all three candidates (Go does) loses no SIGURG, and sees none of ours. */
static const char *test_caught(void)
{
	pid_t p = start(catcher);
	struct tracee *t;
	struct remote *r;
	long ret;

	for (int i = 0; i < 10; i++) {
		uint64_t was = sh->other;

		TRY(stop(&t, p, NULL));
		if (i & 1)
			kill(p, SIGURG); /* before */
		TRY(remote_begin(&r, t, 0, &e));
		TRY(remote_one(r, "gettid", &ret, &e, SYS_gettid, 0, 0, 0, 0, 0, 0));
		if (i & 2)
			kill(p, SIGURG); /* in the middle */
		TRY(remote_one(r, "gettid", &ret, &e, SYS_gettid, 0, 0, 0, 0, 0, 0));
		TRY(remote_end(r, &e));
		TRY(tracee_detach(t, &e));
		CHECK(moves(&sh->count));
		sleep_us(2000);
		if ((i & 3) == 0)
			CHECK(sh->other == was);
		else
			CHECK(sh->other > was);
	}
	end(p);
	return NULL;
}

/* ---- seccomp ---- */
static void filtered(void)
{
	/* Everything but exit_group and nanosleep kills. */
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clock_nanosleep, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { sizeof(f) / sizeof(*f), f };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0) < 0)
		sh->fail = 1;
	sh->step = 1;
	for (;;)
		sh->count++;
}
static const char *test_seccomp(void)
{
	pid_t p = start(filtered);
	struct tracee *t;

	CHECK(!sh->fail);
	TRY(stop(&t, p, NULL));
	if (t->seccomp_unsuspended) { /* not root: it must be told, and the process left alone */
		TRY(tracee_detach(t, &e));
		CHECK(moves(&sh->count));
		end(p);
		return "SKIP may not suspend seccomp here";
	}
	for (int i = 0; i < 5; i++)
		TRY(one_call(t, 0));
	TRY(tracee_detach(t, &e));
	CHECK(moves(&sh->count));
	end(p);
	return NULL;
}

/* ---- restartable sequences ---- */
struct section { uint32_t version, flags; uint64_t start, post, abort; } __attribute__((aligned(32)));
/* Spins inside a critical section; the abort handler counts and begins anew. The section stores 1 to
 * `where` at its start; a thread that were put back into the middle would leave it without a sign. */
void rseq_spin(void *rseq_cs, struct section *cs, volatile uint64_t *aborts, volatile uint64_t *in);
extern const char rseq_start[], rseq_post[], rseq_abort[];
__asm__(".text\n.globl rseq_spin\nrseq_spin:\n"
	"1: mov %rsi, (%rdi)\n"
	".globl rseq_start\nrseq_start:\n"
	"2: incq (%rcx)\n jmp 2b\n"
	".globl rseq_post\nrseq_post:\n ret\n"
	".byte 0x0f, 0xb9, 0x3d\n .long 0x53053053\n"
	".globl rseq_abort\nrseq_abort:\n incq (%rdx)\n jmp 1b\n");
static void in_rseq(void)
{
	extern const ptrdiff_t __rseq_offset __attribute__((weak));
	static struct section cs;
	char *tp;

	if (!&__rseq_offset) {
		sh->fail = 1;
		sh->step = 1;
		pause();
	}
	__asm__("mov %%fs:0, %0" : "=r"(tp));
	cs = (struct section){ 0, 0, (uint64_t)(uintptr_t)rseq_start, (uint64_t)(rseq_post - rseq_start),
			       (uint64_t)(uintptr_t)rseq_abort };
	sh->step = 1;
	rseq_spin(tp + __rseq_offset + 8, &cs, &sh->handled, &sh->count);
}
static const char *test_rseq(void)
{
	pid_t p = start(in_rseq);
	unsigned in = 0;

	if (sh->fail) {
		end(p);
		return "SKIP the C library registers no rseq";
	}
	for (int i = 0; i < 100; i++) {
		struct tracee *t;
		uint64_t was;

		TRY(stop(&t, p, NULL));
		if (!t->thr[0].rseq_ptr) {
			tracee_detach(t, NULL);
			end(p);
			return "SKIP no rseq in this kernel";
		}
		/* collect has put rip on the abort handler */
		was = sh->handled;
		in += t->thr[0].regs.rip == (uint64_t)(uintptr_t)rseq_abort;
		TRY(one_call(t, 0));
		TRY(tracee_detach(t, &e));
		CHECK(moves(&sh->count));
		CHECK(sh->handled > was);
	}
	printf("# %u of 100 stops were inside the section\n", in);
	CHECK(in > 50);
	end(p);
	return NULL;
}

/* ---- no memory, and death in the middle ---- */
static void full(void)
{
	struct rlimit l = { 1 << 20, 1 << 20 };

	setrlimit(RLIMIT_AS, &l); /* less than it has: every mmap fails */
	sh->step = 1;
	for (;;)
		sh->count++;
}
static const char *test_full(void)
{
	pid_t p = start(full);
	struct remote *r;
	struct tracee *t;

	for (int i = 0; i < 3; i++) {
		struct user_regs_struct regs;

		TRY(stop(&t, p, NULL));
		CHECK(remote_begin(&r, t, 0, &e) < 0 && strstr(e.msg, "memory"));
		err_clear(&e);
		CHECK(t->thr[0].state == THREAD_STOPPED);
		CHECK(pt(XPT_GETREGS, p, 0, &regs) == 0 && memcmp(&regs, &t->thr[0].regs, sizeof(regs)) == 0);
		TRY(tracee_detach(t, &e));
		CHECK(moves(&sh->count));
	}
	end(p);
	return NULL;
}

static void locked(void)
{
	struct rlimit l = { 64 << 20, 64 << 20 };

	setrlimit(RLIMIT_MEMLOCK, &l);
	if (mlockall(MCL_CURRENT | MCL_FUTURE) < 0)
		sh->fail = 1;
	sh->step = 1;
	for (;;)
		sh->count++;
}
static const char *test_locked(void)
{
	pid_t p = start(locked);
	struct tracee *t;

	if (sh->fail) {
		end(p);
		return "SKIP may not lock memory here";
	}
	TRY(stop(&t, p, NULL));
	TRY(one_call(t, 0));
	TRY(tracee_detach(t, &e));
	CHECK(moves(&sh->count));
	end(p);
	return NULL;
}

static const char *test_killed(void)
{
	for (int i = 0; i < 40; i++) {
		pid_t p = start(spinner), z;
		struct tracee *t;
		struct remote *r;
		int st;

		TRY(stop(&t, p, NULL));
		TRY(remote_begin(&r, t, 0, &e));
		z = fork();
		if (z == 0) {
			sleep_us(i * 20);
			kill(p, SIGKILL);
			_exit(0);
		}
		for (;;) {
			remote_call(r, "getpid", REMOTE_MUST, SYS_getpid, 0, 0, 0, 0, 0, 0);
			if (remote_run(r, &e) < 0)
				break;
		}
		err_clear(&e);
		remote_end(r, &e);
		tracee_detach(t, NULL);
		waitpid(z, NULL, 0);
		err_clear(&e);
		CHECK(kill(p, 0) == 0 ? waitpid(p, &st, 0) == p && WIFSIGNALED(st) : true);
	}
	return NULL;
}

/* Its threads are zombies of ours until they are reaped: its parent must learn of the end at once. */
static void *idle_thread(void *arg)
{
	for (;;)
		pause();
	return arg;
}
static void seven(void)
{
	pthread_t t;

	for (int i = 0; i < 7; i++)
		if (pthread_create(&t, NULL, idle_thread, NULL) != 0)
			_exit(1);
	sh->step = 1;
	idle_thread(NULL);
}
static const char *test_killed_threads(void)
{
	for (int i = 0; i < 10; i++) {
		pid_t p = start(seven);
		struct tracee *t;
		int st, r = 0;

		TRY(stop(&t, p, NULL));
		CHECK(t->nthr == 8);
		kill(p, SIGKILL);
		sleep_us(i * 50);
		TRY(tracee_detach(t, &e));
		for (int n = 0; n < 1000 && r == 0; n++, sleep_us(2000))
			r = waitpid(p, &st, WNOHANG);
		CHECK(r == p && WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
	}
	return NULL;
}

/* ---- state from outside ---- */
static void blocked(void)
{
	sigset_t s;

	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	sigaddset(&s, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &s, NULL);
	raise(SIGUSR1);
	sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = 77 });
	sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = 78 });
	sh->step = 1;
	for (;;)
		sh->count++;
}
static const char *test_state(void)
{
	pid_t p = start(blocked);
	AUTO_BUF struct buf own = BUF_INIT, all = BUF_INIT, x = BUF_INIT;
	struct tracee *t;
	siginfo_t si;

	TRY(stop(&t, p, NULL));
	CHECK(t->thr[0].sigmask == (1ull << (SIGUSR1 - 1) | 1ull << (SIGRTMIN - 1)));
	TRY(thread_peek_signals(&t->thr[0], false, &own, &e));
	TRY(thread_peek_signals(&t->thr[0], true, &all, &e));
	CHECK(own.len == sizeof(si) && all.len == 2 * sizeof(si));
	memcpy(&si, own.p, sizeof(si));
	CHECK(si.si_signo == SIGUSR1);
	memcpy(&si, all.p + sizeof(si), sizeof(si));
	CHECK(si.si_signo == SIGRTMIN && si.si_value.sival_int == 78);
	TRY(thread_get_xstate(&t->thr[0], &x, &e));
	CHECK(x.len >= 512);
	TRY(thread_set_xstate(&t->thr[0], x.p, x.len, &e));
	TRY(one_call(t, 0));
	TRY(tracee_detach(t, &e));
	CHECK(moves(&sh->count));
	end(p);
	return NULL;
}

/* tracee_hard [N]: N stops (default 200) of the process that forks, spawns and makes threads. */
int main(int argc, char **argv)
{
	if (argc > 1)
		rounds = atoi(argv[1]);
	sh = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	report("masks, queued signals, extended state", test_state());
	report("queued signals all arrive", test_queued());
	report("queued signals all arrive, tracers killed", test_queued_killed());
	report("a program that catches everything", test_caught());
	report("seccomp filter", test_seccomp());
	report("restartable sequences", test_rseq());
	report("no memory for the scratch area", test_full());
	report("locked memory", test_locked());
	report("killed in the middle", test_killed());
	report("killed with its threads", test_killed_threads());
	report("waiting in vfork", test_vfork());
	report("fork, spawn and threads all the time", test_churn());
	return bad != 0;
}
