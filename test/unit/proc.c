/* proc: the kernel's files as they are, as they may be, and as they must not be. */
#include "common/proc.h"
#include "test/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static struct err err;

/* ---- stat ---- */

#define STAT_TAIL " S 41 42 43 34816 -1 4194304 98 0 0 0 7 8 0 0 20 -5 3 0 94127 3133440 414 " \
	"18446744073709551615 94780978843648 94780978863529 140730069233392 0 0 0 0 0 0 0 0 0 17 1 " \
	"50 1 0 0 0 1001 1002 1003 1004 1005 1006 1007 139\n"

static void stat_fields(void)
{
	struct proc_stat s;

	CHECK_INT(proc_stat_parse(&s, "4262 (cat)" STAT_TAIL, &err), 0);
	CHECK(s.pid == 4262 && s.ppid == 41 && s.pgrp == 42 && s.session == 43 && s.tpgid == -1);
	CHECK_STR(s.comm, "cat");
	CHECK(s.state == 'S' && s.tty_nr == 34816 && s.flags == 4194304);
	CHECK(s.utime == 7 && s.stime == 8 && s.priority == 20 && s.nice == -5 && s.num_threads == 3);
	CHECK(s.starttime == 94127 && s.vsize == 3133440 && s.rss == 414);
	CHECK(s.start_code == 94780978843648 && s.start_stack == 140730069233392);
	CHECK(s.exit_signal == 17 && s.rt_priority == 50 && s.policy == 1);
	CHECK(s.start_data == 1001 && s.end_data == 1002 && s.start_brk == 1003);
	CHECK(s.arg_start == 1004 && s.arg_end == 1005 && s.env_start == 1006 && s.env_end == 1007);
	CHECK_INT(s.exit_code, 139);
}

static void stat_names(void)
{
	static const char *const names[] = { "a b", "a) R 1 1 (b", "(((", ")))", ") S 1 2", "", " ",
		"x\ny", "\\n" };
	char line[1024], what[64];
	struct proc_stat s;
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(line, sizeof(line), "12 (%s)%s", names[i], STAT_TAIL);
		snprintf(what, sizeof(what), "name [%s]", names[i]);
		unit_check_(proc_stat_parse(&s, line, &err) == 0 && strcmp(s.comm, names[i]) == 0 &&
			    s.ppid == 41 && s.exit_code == 139, __LINE__, what);
	}
}

static void stat_malformed(void)
{
	static const char *const bad[] = { "", "12", "12 cat" STAT_TAIL, "12 (cat" , "12 (cat)",
		"12 (cat) ", "12 (cat) S", "12 (cat) S 1 2 3", "x (cat)" STAT_TAIL, "-1 (cat)" STAT_TAIL,
		"99999999 (cat)" STAT_TAIL, "12 (cat)S" STAT_TAIL,
		"12 (0123456789012345678901234567890123456789012345678901234567890123)" STAT_TAIL };
	char line[1024], what[128];
	struct proc_stat s;
	size_t i;
	char *p;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(what, sizeof(what), "refuses [%.100s]", bad[i]);
		err_clear(&err);
		unit_check_(proc_stat_parse(&s, bad[i], &err) == -1 && err.code == EX_FAILED, __LINE__,
			    what);
	}
	/* one field less, one of another kind, one out of range */
	snprintf(line, sizeof(line), "12 (cat)%s", STAT_TAIL);
	*strrchr(line, ' ') = '\0';
	CHECK_INT(proc_stat_parse(&s, line, &err), -1);
	CHECK_STR(err.msg, "stat: malformed field 52");
	snprintf(line, sizeof(line), "12 (cat)%s", STAT_TAIL);
	p = strstr(line, "94127");
	*p = 'x';
	CHECK_INT(proc_stat_parse(&s, line, &err), -1);
	CHECK_STR(err.msg, "stat: malformed field 22");
	CHECK_INT(proc_stat_parse(&s, "12 (c) S 99999999 1 1 0 -1 0 0 0", &err), -1);
	CHECK_STR(err.msg, "stat: malformed field 4");
	CHECK_INT(proc_stat_parse(&s, "12 (c) S 1 1 1 0 -1 4294967296 0", &err), -1);
	CHECK_STR(err.msg, "stat: malformed field 9");
	CHECK_INT(proc_stat_parse(&s, "12 (c) S 1 1 1 0 -1 0 18446744073709551616", &err), -1);
}

static void stat_of_ourselves(void)
{
	static const char name[] = "a) R\n\\b (x";
	char old[16];
	struct proc_stat s;

	prctl(PR_GET_NAME, old);
	prctl(PR_SET_NAME, name);
	CHECK_INT(proc_stat_read(&s, getpid(), 0, &err), 0);
	CHECK_STR(s.comm, name);
	CHECK(s.pid == getpid() && s.ppid == getppid() && s.pgrp == getpgrp() && s.state == 'R');
	CHECK(s.exit_signal == SIGCHLD && s.start_stack > s.start_code && s.rss > 0);
	CHECK_INT(proc_stat_read(&s, getpid(), getpid(), &err), 0);
	CHECK(s.pid == getpid());
	prctl(PR_SET_NAME, old);
	CHECK(proc_is_same(getpid(), s.starttime));
	CHECK(!proc_is_same(getpid(), s.starttime + 1));
}

static void gone_process(void)
{
	pid_t pid = fork();
	struct proc_status st;
	struct pid_list l;
	struct proc_maps m;
	struct proc_stat s;

	if (pid == 0)
		_exit(3);
	waitid(P_PID, (id_t)pid, NULL, WEXITED | WNOWAIT);
	CHECK_INT(proc_stat_read(&s, pid, 0, &err), 0);
	CHECK(s.state == 'Z' && s.exit_code == 3 << 8);
	CHECK_INT(proc_status_read(&st, pid, 0, &err), 0);
	CHECK(!st.has_mm && st.state == 'Z');
	proc_status_free(&st);
	CHECK_INT(proc_maps_read(&m, pid, false, &err), 0);
	CHECK_INT(m.n, 0);
	waitpid(pid, NULL, 0);
	err_clear(&err);
	CHECK_INT(proc_stat_read(&s, pid, 0, &err), -1);
	CHECK(err.code == EX_NOSUCH && err.sys == ESRCH);
	CHECK_INT(proc_status_read(&st, pid, 0, &err), -1);
	CHECK(err.code == EX_NOSUCH && err.sys == ESRCH);
	CHECK_INT(proc_maps_read(&m, pid, true, &err), -1);
	CHECK(err.code == EX_NOSUCH && err.sys == ESRCH);
	CHECK_INT(proc_tasks(&l, pid, &err), -1);
	CHECK(err.code == EX_NOSUCH && err.sys == ESRCH);
	CHECK_INT(proc_descendants(&l, pid, &err), -1);
	CHECK(err.code == EX_NOSUCH && err.sys == ESRCH);
	CHECK(!proc_is_same(pid, 0));
}

/* ---- status ---- */

static const char status_text[] =
	"Name:\tState: x\\nPid:\\t1\nUmask:\t0027\nState:\tT (stopped)\nTgid:\t70\nNgid:\t0\nPid:\t71\n"
	"PPid:\t1\nTracerPid:\t99\nUid:\t1\t2\t3\t4294967294\nGid:\t5\t6\t7\t8\nFDSize:\t256\n"
	"Groups:\t4 24 4294967294 \nNStgid:\t70\t7\t1\nNSpid:\t71\t8\t2\nNSpgid:\t70\t7\t1\n"
	"NSsid:\t60\t6\t0\nVmSize:\t    3060 kB\nVmHWM:\t    1784 kB\nVmRSS:\t    1780 kB\n"
	"Threads:\t2\nSigQ:\t0/96365\nSigPnd:\t0000000000000001\nShdPnd:\t8000000000000000\n"
	"SigBlk:\t0000000000000002\nSigIgn:\t0000000000000003\nSigCgt:\tffffffffffffffff\n"
	"CapInh:\t0000000000000004\nCapPrm:\t000001fffeffffff\nCapEff:\t0000000000000005\n"
	"CapBnd:\t0000000000000006\nCapAmb:\t0000000000000007\nNoNewPrivs:\t1\nSeccomp:\t2\n"
	"Seccomp_filters:\t3\nFuture:\tanything at all\n";

static void status_fields(void)
{
	struct proc_status s;

	CHECK_INT(proc_status_parse(&s, status_text, &err), 0);
	CHECK(s.umask == 027 && s.state == 'T' && s.tgid == 70 && s.pid == 71 && s.ppid == 1);
	CHECK(s.tracer == 99 && s.uid[0] == 1 && s.uid[3] == 4294967294u && s.gid[2] == 7);
	CHECK(s.ngroups == 3 && s.groups && s.groups[0] == 4 && s.groups[2] == 4294967294u);
	CHECK(s.nnspid == 3 && s.nspid[0] == 71 && s.nspid[2] == 2);
	CHECK(s.nspgid[2] == 1 && s.nssid[1] == 6 && s.nssid[2] == 0 && s.threads == 2);
	CHECK(s.sigpnd == 1 && s.shdpnd == 1ULL << 63 && s.sigblk == 2 && s.sigign == 3);
	CHECK(s.sigcgt == UINT64_MAX && s.capinh == 4 && s.capprm == 0x1fffeffffff);
	CHECK(s.capeff == 5 && s.capbnd == 6 && s.capamb == 7);
	CHECK(s.no_new_privs && s.seccomp == 2 && s.seccomp_filters == 3);
	CHECK(s.has_mm && s.vm_size_kb == 3060 && s.vm_hwm_kb == 1784 && s.vm_rss_kb == 1780);
	proc_status_free(&s);
	CHECK(s.groups == NULL && s.ngroups == 0);
	/* an older kernel says less */
	CHECK_INT(proc_status_parse(&s, "State:\tR (running)\nTgid:\t7\nPid:\t7\nGroups:\t\n", &err), 0);
	CHECK(s.seccomp == -1 && s.seccomp_filters == -1 && !s.has_mm && s.ngroups == 0);
	CHECK(s.nnspid == 1 && s.nspid[0] == 7);
	proc_status_free(&s);
}

static void status_malformed(void)
{
	static const char *const bad[] = { "Pid:\t-1\n", "Pid:\tx\n", "Pid:\t\n", "Pid:\t99999999\n",
		"Uid:\t1\t2\t3\n", "Uid:\t1\t2\t3\t4294967296\n", "SigBlk:\t\n", "SigBlk:\t10000000000000000\n",
		"SigBlk:\txyz\n", "SigBlk:\t12 34\n", "Umask:\t0080\n", "Umask:\t10000\n", "Groups:\t1 x\n",
		"Groups:\t4294967296\n", "Groups:\t4\n", "NSpid:\t\n", "NSpid:\t1 -1\n", "State:\t\n", "VmRSS:\tmany kB\n",
		"NSpid:\t1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n" };
	char text[1024];
	struct proc_status s;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(text, sizeof(text), "State:\tR\nTgid:\t7\nPid:\t7\nGroups:\t1 2 3\n%s", bad[i]);
		err_clear(&err);
		unit_check_(proc_status_parse(&s, text, &err) == -1 && err.code == EX_FAILED &&
			    !s.groups, __LINE__, bad[i]);
	}
	CHECK_INT(proc_status_parse(&s, "", &err), -1);
	CHECK_INT(proc_status_parse(&s, "State:\tR\nTgid:\t7\nGroups:\t1\n", &err), -1);
}

static void status_of_ourselves(void)
{
	struct proc_status s;

	CHECK_INT(proc_status_read(&s, getpid(), 0, &err), 0);
	CHECK(s.pid == getpid() && s.tgid == getpid() && s.has_mm && s.vm_rss_kb > 0);
	CHECK(s.uid[1] == geteuid() && s.gid[1] == getegid());
	CHECK_INT(s.ngroups, getgroups(0, NULL));
	CHECK(s.nspid[0] == getpid());
	proc_status_free(&s);
}

/* ---- maps ---- */

static int parse_maps(struct proc_maps *m, const char *s, bool smaps)
{
	static char text[8192];

	snprintf(text, sizeof(text), "%s", s);
	err_clear(&err);
	return proc_maps_parse(m, text, smaps, &err);
}

static void maps_fields(void)
{
	struct proc_maps m;

	CHECK_INT(parse_maps(&m,
		"00400000-00401000 r-xp 00002000 fe:1f 247498                     /usr/bin/a b (c)\n"
		"7f0b8fa1e000-7f0b8fa1f000 rw-s 7fffffffff000 00:00 0 \n"
		"7f0b8fa1f000-7f0b8fa20000 ---p 00000000 00:01 18446744073709551615  /tmp/a\\012b\\c (deleted)\n"
		"7f0b8fa20000-7f0b8fa21000 -w-p 00000000 00:01 9  /tmp/ (deleted)/x \n"
		"7fff2b6f1000-7fff2b712000 rw-p 00000000 00:00 0                          [stack]\n"
		"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]",
		false), 0);
	CHECK_INT(m.n, 6);
	if (m.n == 6) {
		CHECK(m.v[0].start == 0x400000 && m.v[0].end == 0x401000 && m.v[0].offset == 0x2000);
		CHECK(m.v[0].r && !m.v[0].w && m.v[0].x && !m.v[0].shared);
		CHECK(m.v[0].dev_major == 0xfe && m.v[0].dev_minor == 0x1f && m.v[0].inode == 247498);
		CHECK_STR(m.v[0].path, "/usr/bin/a b (c)");
		CHECK_STR(m.v[1].path, "");
		CHECK(m.v[1].shared && m.v[1].offset == 0x7fffffffff000 && !m.v[1].deleted);
		CHECK_STR(m.v[2].path, "/tmp/a\nb\\c");
		CHECK(m.v[2].deleted && m.v[2].inode == UINT64_MAX && !m.v[2].r);
		CHECK_STR(m.v[3].path, "/tmp/ (deleted)/x ");
		CHECK(!m.v[3].deleted && m.v[3].w);
		CHECK_STR(m.v[4].path, "[stack]");
		CHECK(m.v[5].x && m.v[5].end == 0xffffffffff601000);
	}
	proc_maps_free(&m);
	CHECK_INT(parse_maps(&m, "", false), 0);
	CHECK_INT(m.n, 0);
}

static void smaps_fields(void)
{
	struct proc_maps m;

	CHECK_INT(parse_maps(&m,
		"1000-3000 rw-p 00000000 00:00 0 \nSize:                  8 kB\nKernelPageSize:        4 kB\n"
		"MMUPageSize:           4 kB\nRss:                   7 kB\nPss:                   6 kB\n"
		"Private_Dirty:         5 kB\nAnonymous:             3 kB\nAnonHugePages:         9 kB\n"
		"Swap:                  2 kB\nSwapPss:               1 kB\nTHPeligible:           0\n"
		"VmFlags: rd wr mr ac sd \n"
		"3000-4000 rw-p 00000000 00:00 0 [heap]\nRss: 1 kB\nVmFlags: rd\n", true), 0);
	CHECK_INT(m.n, 2);
	if (m.n == 2) {
		CHECK(m.v[0].page_kb == 4 && m.v[0].rss_kb == 7 && m.v[0].private_dirty_kb == 5);
		CHECK(m.v[0].anon_kb == 3 && m.v[0].swap_kb == 2);
		CHECK_STR(m.v[0].vmflags, " rd wr mr ac sd ");
		CHECK(proc_map_flag(&m.v[0], "rd") && proc_map_flag(&m.v[0], "sd"));
		CHECK(!proc_map_flag(&m.v[0], "dc") && !proc_map_flag(&m.v[0], "d "));
		CHECK_STR(m.v[1].vmflags, " rd ");
		CHECK(m.v[1].rss_kb == 1 && m.v[1].swap_kb == 0);
	}
	proc_maps_free(&m);
	CHECK_INT(parse_maps(&m, "Rss: 1 kB\n", true), -1);
	CHECK_INT(parse_maps(&m, "1000-2000 rw-p 0 0:0 0\nRss: x kB\n", true), -1);
	CHECK_INT(parse_maps(&m, "1000-2000 rw-p 0 0:0 0\nVmFlags: 01 23 56 89 ab de 01 23 56 89 ab de "
		"01 23 56 89 ab de 01 23 56 89 ab de 01 23 56 89 ab de 01 23 56 89 ab de 01 23 56 89 "
		"ab de 01 23 \n", true), -1);
}

static void maps_malformed(void)
{
	static const char *const bad[] = { "\n", "x", "1000", "1000-", "1000-2000", "1000-2000 ",
		"1000-2000 rw-", "1000-2000 rwxq 0 0:0 0", "1000-2000 rwzp 0 0:0 0", "1000-2000 rwxp",
		"1000-2000 rwxp 0", "1000-2000 rwxp 0 0:0", "1000-2000 rwxp 0 0:0 ", "1000-2000 rwxp 0 0:0 x",
		"1000-2000 rwxp 0 00 0", "2000-1000 rwxp 0 0:0 0", "1000-1000 rwxp 0 0:0 0",
		"-2000 rwxp 0 0:0 0", "10000000000000000-20000000000000000 rwxp 0 0:0 0",
		"1000-2000 rwxp 0 100000000:0 0", "1000-2000 rwxp 0 0:0 18446744073709551616",
		"1000-2000 rwxp 0 0:0 0x", "1000-2000 RWXP 0 0:0 0", "1000-2000 rwxp 0 0:0 0\n\n",
		"1000-2000 rwxp  0 0:0 0", "A000-B000 rwxp 0 0:0 0" };
	struct proc_maps m;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		unit_check_(parse_maps(&m, bad[i], false) == -1 && err.code == EX_FAILED && !m.v,
			    __LINE__, bad[i]);
	CHECK_INT(parse_maps(&m, "1000-2000 rwxp 0 0:0 0\n1000-2000 bad", false), -1);
	CHECK_STR(err.msg, "maps: line 2 is malformed");
}

static const struct proc_map *map_at(const struct proc_maps *m, void *p)
{
	size_t i;

	for (i = 0; i < m->n; i++)
		if (m->v[i].start == (uintptr_t)p)
			return &m->v[i];
	return NULL;
}

/* The kernel's own spelling of a name with everything in it. */
static void maps_of_ourselves(void)
{
	static const char name[] = "/tmp/xos-unit a\nb\\c (deleted)";
	int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600), smaps;
	const struct proc_map *f, *a;
	struct proc_maps m;
	char *file, *anon;

	CHECK(fd >= 0 && ftruncate(fd, 4096) == 0);
	file = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	anon = mmap(NULL, 12288, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(file != MAP_FAILED && anon != MAP_FAILED);
	mprotect(anon + 4096, 4096, PROT_READ | PROT_WRITE);
	anon[4096] = 1;
	unlink(name);
	for (smaps = 0; smaps < 2; smaps++) {
		CHECK_INT(proc_maps_read(&m, getpid(), smaps, &err), 0);
		f = map_at(&m, file);
		a = map_at(&m, anon + 4096);
		CHECK(f && f->shared && f->r && !f->w && f->deleted && f->inode);
		CHECK_STR(f ? f->path : NULL, name);
		CHECK(a && !a->shared && a->w && a->path[0] == '\0');
		if (a && smaps)
			CHECK(a->rss_kb == 4 && a->anon_kb == 4 && a->page_kb == 4 &&
			      proc_map_flag(a, "wr"));
		proc_maps_free(&m);
	}
	munmap(file, 4096);
	munmap(anon, 12288);
	close(fd);
}

/* ---- lists ---- */

static void *sleeper(void *arg)
{
	pause();
	return arg;
}

static void threads(void)
{
	struct pid_list l;
	pthread_t t[3];
	size_t i;

	for (i = 0; i < 3; i++)
		CHECK_INT(pthread_create(&t[i], NULL, sleeper, NULL), 0);
	CHECK_INT(proc_tasks(&l, getpid(), &err), 0);
	CHECK(l.n >= 4 && pid_list_has(&l, getpid()) && !pid_list_has(&l, 0));
	for (i = 1; i < l.n; i++)
		CHECK(l.v[i - 1] < l.v[i]);
	pid_list_free(&l);
	for (i = 0; i < 3; i++) {
		pthread_cancel(t[i]);
		pthread_join(t[i], NULL);
	}
}

/* A grandchild that is the child of a second thread, and a plain child. */
static void *forker(void *arg)
{
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	*(pid_t *)arg = pid;
	pause();
	return NULL;
}

static void descendants(void)
{
	volatile pid_t *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct pid_list a, b;
	pid_t child, plain;
	pthread_t t;
	int i;

	child = fork();
	if (child == 0) {
		pthread_create(&t, NULL, forker, (void *)shared);
		for (;;)
			pause();
	}
	plain = fork();
	if (plain == 0)
		for (;;)
			pause();
	for (i = 0; i < 500 && !shared[0]; i++)
		usleep(10000);
	CHECK_INT(proc_descendants(&a, getpid(), &err), 0);
	CHECK_INT(proc_descendants_scan(&b, getpid(), &err), 0);
	CHECK_INT(a.n, 3);
	CHECK_INT(b.n, 3);
	CHECK(pid_list_has(&a, child) && pid_list_has(&a, plain) && pid_list_has(&a, shared[0]));
	CHECK(pid_list_has(&b, child) && pid_list_has(&b, plain) && pid_list_has(&b, shared[0]));
	CHECK(!pid_list_has(&a, getpid()) && !pid_list_has(&b, getpid()));
	if (shared[0] > 0)
		kill(shared[0], SIGKILL);
	kill(child, SIGKILL);
	kill(plain, SIGKILL);
	waitpid(child, NULL, 0);
	waitpid(plain, NULL, 0);
	pid_list_free(&a);
	pid_list_free(&b);
	munmap((void *)shared, 4096);
}

static void links_and_files(void)
{
	char out[4096], self[4096] = "";
	struct buf b = BUF_INIT;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	CHECK(n > 0 && proc_readlink(getpid(), "exe", out, sizeof(out)) == n);
	CHECK_STR(out, self);
	CHECK_INT(proc_readlink(getpid(), "exe", out, (size_t)n), -1); /* no room for the NUL */
	CHECK_INT(errno, ENAMETOOLONG);
	CHECK_INT(proc_readlink(getpid(), "nothing", out, sizeof(out)), -1);
	CHECK_INT(proc_read(&b, getpid(), "cmdline", 1 << 20), 0);
	CHECK(b.len > 0);
	buf_reset(&b);
	CHECK_INT(proc_read(&b, getpid(), "maps", 10), -1);
	CHECK_INT(errno, EFBIG);
	buf_free(&b);
}

int main(void)
{
	alarm(60);
	RUN(stat_fields);
	RUN(stat_names);
	RUN(stat_malformed);
	RUN(stat_of_ourselves);
	RUN(gone_process);
	RUN(status_fields);
	RUN(status_malformed);
	RUN(status_of_ourselves);
	RUN(maps_fields);
	RUN(smaps_fields);
	RUN(maps_malformed);
	RUN(maps_of_ourselves);
	RUN(threads);
	RUN(descendants);
	RUN(links_and_files);
	return unit_status();
}
