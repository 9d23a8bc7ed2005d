/* Unit tests of the state of processes in lib/res: a process builds a state, is asked for its records, and ends; a second
 * one is given them, and asked again: the records must be equal. Without memory and descriptors, which other rooms test. */
#include "procstate.h"

/* ---- other states ---- */

static void build_other(void)
{
	struct sched_param sp = { .sched_priority = 7 };
	stack_t ss = { .ss_size = 65536, .ss_flags = (int)(1u << 31) };
	FILE *f = fopen("/proc/self/coredump_filter", "w");

	fprintf(f, "0x7f\n");
	fclose(f);
	f = fopen("/proc/self/oom_score_adj", "w");
	fprintf(f, "333\n");
	fclose(f);
	ss.ss_sp = mmap(NULL, ss.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(sigaltstack(&ss, NULL));
	if (geteuid() == 0)
		(void)sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &sp);
	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	MUST(prctl(PR_SET_KEEPCAPS, 1));
}

static void build_creds(void)
{
	gid_t g[3] = { 30, 4, 2000000 };
	cap_t c = cap_from_text("cap_net_raw,cap_chown=eip cap_setuid,cap_setpcap,cap_kill=p");

	MUST(prctl(PR_SET_KEEPCAPS, 1));
	MUST(prctl(PR_CAPBSET_DROP, CAP_SYS_CHROOT));
	MUST(setgroups(3, g));
	MUST(setresgid(1001, 1002, 1003));
	MUST(setresuid(1000, 0, 1000));
	MUST(cap_set_proc(c));
	MUST(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0));
	MUST(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0));
	c = cap_from_text("cap_net_raw,cap_chown=eip cap_setuid,cap_setpcap=ep cap_kill=p");
	MUST(cap_set_proc(c));
	MUST(prctl(PR_SET_SECUREBITS, 1 << 2 | 1 << 3 | 1 << 6));
	MUST(setresuid(1000, 1001, 1000));
	c = cap_from_text("cap_net_raw,cap_chown=eip cap_kill=p");
	MUST(cap_set_proc(c));
}

static void build_seccomp(void)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_uname, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_filter kill_most[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pause, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = { 4, f }, q = { 4, kill_most };

	MUST(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_LOG, &p));
	MUST(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &q));
}

/* ---- giving ---- */

static const char *give(struct rproc *p)
{
	struct restart_opts o = { .trust = true };
	struct restore r = { .o = &o, .procs = &p, .nprocs = 1 };
	struct rthread th = { .tid = p->pid, .recs = &p->recs };

	one_thread(p, &th);
	for (size_t i = 0; ops[i]; i++)
		if (ops[i]->verify)
			TRY(ops[i]->verify(&r, p, &e));
	for (size_t i = 0; ops[i]; i++)
		if (ops[i]->restore)
			TRY(ops[i]->restore(&r, p, &e));
	for (size_t i = 0; ops[i]; i++)
		if (ops[i]->restore_thread)
			TRY(ops[i]->restore_thread(&r, p, &th, &e));
	for (size_t i = 0; ops[i]; i++)
		if (ops[i]->late)
			TRY(ops[i]->late(&r, p, &e));
	p->thr = NULL;
	return NULL;
}

static const char *give_child(struct dproc *second, const struct buf *text)
{
	struct rproc p = { 0 };
	pid_t pid = fork();
	const char *why;
	int st;

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* As a restart does it: what the C library has registered is not there. */
		syscall(SYS_set_robust_list, NULL, 24);
		_exit((int)tracee_boot_self(BOOT));
	}
	TRY(rec_list_parse(&p.recs, text->p, text->len, RES_MAX_RECORDS, &e));
	TRY(tracee_adopt(&p.t, pid, &e));
	TRY(remote_begin_at(&p.rem, p.t, 0, BOOT, &e));
	p.pid = pid;
	/* The C library's own registration has to go first, as in a restart. */
	if (p.t->thr[0].rseq_ptr) {
		long ret;
		TRY(remote_one(p.rem, "rseq", &ret, &e, SYS_rseq, p.t->thr[0].rseq_ptr, p.t->thr[0].rseq_len, 1,
			       p.t->thr[0].rseq_sig, 0, 0));
		CHECK(ret == 0);
	}
	why = give(&p);
	if (!why) {
		second->t = p.t;
		second->rem = p.rem;
		why = look(second);
		if (!why)
			why = ask(second);
	}
	remote_leave(p.rem);
	tracee_kill(p.t);
	waitpid(pid, &st, 0);
	rec_list_free(&p.recs);
	return why;
}

/* Records without what moves on: remaining times. */
static char *steady(const struct buf *b)
{
	char *s = strdup(buf_str(b)), *at = s, *to;

	while ((at = strstr(at, " VALUE_SEC="))) {
		to = strchr(at, '\n');
		memmove(at, to, strlen(to) + 1);
	}
	return s;
}

static const char *round_trip(void (*build)(void))
{
	struct dproc a = { 0 }, b = { 0 };
	const char *why = ask_child(&a, build);
	char *x, *y;

	if (!why)
		why = give_child(&b, &a.out);
	if (!why) {
		x = steady(&a.out);
		y = steady(&b.out);
		if (strcmp(x, y) != 0) {
			why = "the records differ";
			printf("# first:\n%s# second:\n%s", x, y);
		}
		if (getenv("SHOW"))
			printf("%s", x);
		free(x);
		free(y);
	}
	dproc_free(&a);
	dproc_free(&b);
	return why;
}

/* ---- what is refused ---- */

static const char *refused(void (*build)(void), const char *name);

static void build_dispatch(void)
{
	static char selector;

	MUST(prctl(59 /* PR_SET_SYSCALL_USER_DISPATCH */, 1, 0, 0, &selector));
}

/* Before Linux 6.4 nobody can see it from outside. */
static bool dispatch_is_told(void)
{
	uint64_t config[4];
	pid_t pid = fork();
	long r;

	if (pid == 0) {
		syscall(SYS_ptrace, 0 /* TRACEME */, 0, 0, 0);
		raise(SIGSTOP);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	r = syscall(SYS_ptrace, 0x4211 /* PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG */, pid, sizeof config, config);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return r == 0;
}

static void build_pid(void) { MUST(unshare(CLONE_NEWPID)); }
static void build_ioperm(void) { MUST(ioperm(0x80, 1, 1)); }

static void build_ldt(void)
{
	struct user_desc u = { .entry_number = 1, .base_addr = 4096, .limit = 1, .seg_32bit = 1 };

	MUST(syscall(SYS_modify_ldt, 1, &u, sizeof u));
}

static void build_sigurg(void)
{
	sigset_t s;

	sigfillset(&s);
	MUST(sigprocmask(SIG_BLOCK, &s, NULL));
	MUST(raise(SIGURG));
}

static void build_notify(void)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_acct, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = { 4, f };

	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	MUST(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &p));
}

static const char *refused(void (*build)(void), const char *name)
{
	struct dproc a = { 0 };
	const char *why = ask_child(&a, build);

	dproc_free(&a);
	if (!why)
		return "it was not refused";
	if (!strstr(e.msg, name))
		return "refused for another reason";
	err_clear(&e);
	return NULL;
}

static int sharing_child(void *arg)
{
	for (;;)
		pause();
	return 0;
}

/* Two processes that share something, and two others between them. */
static const char *shared(int flags, const char *name)
{
	struct dproc p[4] = { 0 }, *v[4];
	struct dump d = { .procs = v, .nprocs = 4 };
	static char stack[4][65536] __attribute__((aligned(16)));
	const char *why = NULL;
	pid_t twin = 0;

	for (int i = 0; i < 4; i++) {
		if (i == 3) /* a twin of this process itself, which stands in for a member */
			twin = clone(sharing_child, stack[i] + sizeof stack[i], flags | SIGCHLD, NULL);
		p[i].pid = p[i].vpid = i == 0 ? getpid() : i == 3 ? twin : fork();
		if (p[i].pid == 0)
			sharing_child(NULL);
		v[i] = &p[i];
	}
	if (ns_collect(&d, &e))
		why = "ns_collect";
	for (int i = 0; i < 4 && !why; i++)
		if (res_ns.check(&d, &p[i], &e) < 0)
			why = "check";
	if (!why && (d.nrefusals != (name != NULL) || (name && !strstr(buf_str(&d.refusals), name)))) {
		err_set(&e, 1, "%s", buf_str(&d.refusals));
		why = "what was refused";
	}
	for (int i = 1; i < 4; i++) {
		kill(p[i].pid, SIGKILL);
		waitpid(p[i].pid, NULL, 0);
	}
	ns_dump_free(&d);
	buf_free(&d.refusals);
	return why;
}

static void refusals(void)
{
	if (dispatch_is_told())
		report("refused: syscall user dispatch", refused(build_dispatch, "syscall user dispatch"));
	else
		printf("ok - refused: syscall user dispatch # skip this kernel does not tell of it\n");
	report("refused: LDT", refused(build_ldt, "modify_ldt"));
	report("refused: queued SIGURG", refused(build_sigurg, "SIGURG"));
	report("not refused: plain fork", shared(0, NULL));
	report("refused: shared memory", shared(CLONE_VM, "CLONE_VM"));
	report("refused: shared descriptor table", shared(CLONE_FILES, "CLONE_FILES"));
	report("refused: shared fs state", shared(CLONE_FS, "CLONE_FS"));
	if (geteuid() != 0)
		return;
	report("refused: PID namespace of children", refused(build_pid, "another pid namespace for its children"));
	if (ioperm(0x80, 1, 0) == 0) /* this kernel has it */
		report("refused: ioperm", refused(build_ioperm, "ioperm"));
	report("refused: seccomp notification", refused(build_notify, "user notification"));
}

int main(void)
{
	report("signals, timers, limits, scheduling, prctl come back", round_trip(build_plain));
	report("files of /proc, real-time policy, no_new_privs come back", round_trip(build_other));
	if (geteuid() != 0) {
		printf("ok - credentials # SKIP needs root\nok - seccomp filters # SKIP needs root\n");
	} else {
		report("credentials come back", round_trip(build_creds));
		report("seccomp filters come back", round_trip(build_seccomp));
	}
	setenv("XOS_FAULT", "timer_restore_ids", 1);
	log_init("procstate");
	report("POSIX timers come back on older kernels", round_trip(build_plain));
	unsetenv("XOS_FAULT");
	log_init("procstate");
	refusals();
	return bad != 0;
}
