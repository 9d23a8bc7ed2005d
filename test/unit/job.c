/* Unit tests of lib/cgroup's plan on made-up machines, and of lib/job's records, versions and configuration. */
#include "cgroup/cgroup.h"
#include "job/conf.h"
#include "job/job.h"
#include "job/limits.h"
#include "job/start.h"
#include "unit.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char top[64];

/* ---- made-up machines: directories below `top` that look like control group mounts ---- */

static const char *in_top(const char *name)
{
	static char out[4][256];
	static int k;
	char *p = out[k++ % 4];
	snprintf(p, sizeof out[0], "%s/%s", top, name);
	return p;
}

static void put(const char *name, const char *text)
{
	FILE *f = fopen(in_top(name), "w");
	if (!f || fputs(text, f) < 0 || fclose(f) != 0)
		perror(name), exit(2);
}

static void dir(const char *name)
{
	mkdir(in_top(name), 0755);
}

/* A new machine: mountinfo lines have %s where `top` goes. */
static struct cgroup_env machine(const char *mountinfo, const char *self)
{
	static char mi[256], cg[256];
	char cmd[256], text[2048], *o = text;
	snprintf(cmd, sizeof cmd, "rm -rf '%s' && mkdir '%s'", top, top);
	if (system(cmd) != 0)
		exit(2);
	for (const char *p = mountinfo; *p; p++)
		if (p[0] == '%' && p[1] == 's')
			o += sprintf(o, "%s", top), p++;
		else
			*o++ = *p;
	*o = '\0';
	put("mountinfo", text);
	put("cgroup", self);
	snprintf(mi, sizeof mi, "%s", in_top("mountinfo"));
	snprintf(cg, sizeof cg, "%s", in_top("cgroup"));
	return (struct cgroup_env){ mi, cg, true };
}

#define V2 "30 20 0:26 / %s/v2 rw,nosuid - cgroup2 cgroup2 rw\n"

static struct cgroup_env v2_machine(const char *self, const char *controllers)
{
	struct cgroup_env env = machine("1 0 8:1 / / rw - ext4 /dev/sda rw\n" V2, self);
	dir("v2");
	put("v2/cgroup.procs", "1\n");
	put("v2/cgroup.controllers", controllers);
	return env;
}

static void v2_alone(void)
{
	struct cgroup_env env = v2_machine("0::/user.slice\n", "cpuset cpu io memory pids\n");
	struct cgroup_set s;
	struct err e = ERR_INIT;
	CHECK_INT(cgroup_plan_env(&s, &env, "7", JOB_CONF_SUBSYSTEMS, &e), 0);
	CHECK_INT(s.n, 1);
	CHECK(s.h[0].v2);
	CHECK_STR(s.h[0].path, "/xos/7");
	CHECK_STR(s.h[0].controllers, "memory,pids,io");
	CHECK_INT(s.id, 0);
	CHECK_INT(cgroup_plan_env(&s, &env, "7", "cpu,cpuset,io,blkio,disk", &e), 0);
	CHECK_STR(s.h[0].controllers, "cpu,cpuset,io");
	CHECK_INT(cgroup_plan_env(&s, &env, "7", "freezer,cpuacct", &e), 0);
	CHECK_STR(s.h[0].controllers, "");
}

static void v2_missing(void)
{
	struct cgroup_env env = v2_machine("0::/\n", "pids\n");
	struct cgroup_set s;
	struct err e = ERR_INIT;
	CHECK_INT(cgroup_plan_env(&s, &env, "7", "pids,memory?", &e), 0);
	CHECK_STR(s.h[0].controllers, "pids");
	CHECK_INT(cgroup_plan_env(&s, &env, "7", "pids,memory", &e), -1);
	CHECK_INT(e.code, EX_FAILED);
	CHECK_STR(e.msg, "this machine has no control group subsystem memory");
	CHECK_INT(cgroup_plan_env(&s, &env, "7", "devices", &e), -1);
	CHECK_INT(e.code, EX_FAILED);
	CHECK_INT(cgroup_plan_env(&s, &env, "7", "bogus", &e), -1);
	CHECK_INT(e.code, EX_USAGE_);
	CHECK_INT(cgroup_plan_env(&s, &env, "7", "bogus?", &e), -1);
}

static void names_taken(void)
{
	struct cgroup_env env = v2_machine("0::/\n", "\n");
	struct cgroup_set s;
	dir("v2/xos");
	dir("v2/xos/7");
	CHECK_INT(cgroup_plan_env(&s, &env, "7", "", NULL), 0);
	CHECK_STR(s.h[0].path, "/xos/7~2");
	dir("v2/xos/7~2");
	CHECK_INT(cgroup_plan_env(&s, &env, "7", "", NULL), 0);
	CHECK_STR(s.h[0].path, "/xos/7~3");
}

static void job_in_job(void)
{
	struct cgroup_env env = v2_machine("0::/xos/9\n", "memory\n");
	struct cgroup_set s;
	dir("v2/xos");
	dir("v2/xos/9");
	put("v2/xos/9/cgroup.procs", "");
	put("v2/xos/9/cgroup.type", "domain\n");
	put("v2/xos/9/cgroup.controllers", "memory\n");
	CHECK_INT(cgroup_plan_env(&s, &env, "7", "memory", NULL), 0);
	CHECK_STR(s.h[0].path, "/xos/9/xos/7");
}

static void internal_processes(void)
{
	struct cgroup_env env = v2_machine("0::/\n", "memory\n");
	struct cgroup_set s;
	struct err e = ERR_INIT;
	put("v2/cgroup.type", "domain\n"); /* a namespace's root is no real one */
	CHECK_INT(cgroup_plan_env(&s, &env, "7", "memory?", &e), 0);
	CHECK_STR(s.h[0].controllers, "");
	CHECK_INT(cgroup_plan_env(&s, &env, "7", "memory", &e), -1);
	CHECK_INT(e.code, EX_PERM);
	CHECK(strstr(e.msg, "has processes of its own") != NULL);
	put("v2/cgroup.procs", "");
	CHECK_INT(cgroup_plan_env(&s, &env, "7", "memory", &e), 0);
	CHECK_STR(s.h[0].controllers, "memory");
}

static void v1_and_hybrid(void)
{
	struct cgroup_env env = machine(
		"31 20 0:27 / %s/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
		"32 20 0:28 / %s/a\\040b rw - cgroup cgroup rw,freezer\n"
		"33 20 0:29 / %s/systemd rw - cgroup cgroup rw,name=systemd\n"
		"34 20 0:30 /docker/abc %s/mem rw - cgroup cgroup rw,memory\n",
		"4:memory:/docker/abc/me\n3:name=systemd:/x\n2:freezer:/\n1:cpu,cpuacct:/y\n0::/\n");
	struct cgroup_set s;
	dir("cpu,cpuacct"); dir("a b"); dir("mem"); dir("systemd");
	put("cpu,cpuacct/cgroup.procs", ""); put("a b/cgroup.procs", ""); put("mem/cgroup.procs", "");
	CHECK_INT(cgroup_plan_env(&s, &env, "j", "cpu,cpuacct,memory?", NULL), 0);
	CHECK_INT(s.n, 3);
	CHECK_STR(s.h[0].controllers, "freezer");
	CHECK_STR(s.h[0].mount, in_top("a b"));
	CHECK_STR(s.h[1].controllers, "cpu,cpuacct");
	CHECK_STR(s.h[1].path, "/xos/j");
	CHECK_STR(s.h[2].controllers, "memory");
	CHECK(!s.h[0].v2 && !s.h[1].v2 && !s.h[2].v2);
	/* hybrid: v2 takes the freezer's place, and CPU times need no group of their own */
	char more[512];
	FILE *f = fopen(env.mountinfo, "a");
	snprintf(more, sizeof more, "30 20 0:26 / %s/v2 rw - cgroup2 cgroup2 rw\n", top);
	fputs(more, f);
	fclose(f);
	dir("v2");
	put("v2/cgroup.procs", "");
	put("v2/cgroup.controllers", "hugetlb\n");
	CHECK_INT(cgroup_plan_env(&s, &env, "j", "cpuacct?,memory?,pids?", NULL), 0);
	CHECK_INT(s.n, 2);
	CHECK(s.h[0].v2);
	CHECK_STR(s.h[1].controllers, "memory");
}

static void no_groups(void)
{
	struct cgroup_env env = machine("1 0 8:1 / / rw - ext4 /dev/sda rw\n", "0::/\n1:cpu:/\n");
	struct cgroup_set s;
	struct err e = ERR_INIT;
	CHECK_INT(cgroup_plan_env(&s, &env, "7", "", &e), -1);
	CHECK_INT(e.code, EX_PERM);
	/* lines that are none */
	env = machine("\nx\n30 20\n30 20 0:26 / - cgroup2\n - cgroup2 a\n", "\n::\n0:\nx\n0::/\n");
	CHECK_INT(cgroup_plan_env(&s, &env, "7", "", &e), -1);
}

static void limit_names(void)
{
	CHECK_STR(cgroup_limit_subsystem("memory"), "memory");
	CHECK_STR(cgroup_limit_subsystem("iobps"), "io");
	CHECK_STR(cgroup_limit_subsystem("memory.high"), "memory");
	CHECK_STR(cgroup_limit_subsystem("cgroup.max.depth"), "");
	CHECK(!cgroup_limit_subsystem("cgroup.procs"));
	CHECK(!cgroup_limit_subsystem("memory."));
	CHECK(!cgroup_limit_subsystem("../memory.x"));
	CHECK(!cgroup_limit_subsystem("memory.x/../../y"));
	CHECK(!cgroup_limit_subsystem("tasks"));
}

/* ---- lib/job ---- */

static void ids(void)
{
	char longest[JOBID_MAX + 2];
	memset(longest, 'a', sizeof longest - 1);
	longest[JOBID_MAX + 1] = '\0';
	CHECK(!job_id_valid(longest));
	CHECK(job_id_valid(longest + 1));
	CHECK(job_id_valid("7") && job_id_valid("a.b_c-d"));
	CHECK(!job_id_valid("") && !job_id_valid(".a") && !job_id_valid("-a") && !job_id_valid("a/b") &&
	      !job_id_valid("a b") && !job_id_valid("a\n") && !job_id_valid("\xc3\xa4") && !job_id_valid(".."));
}

static void quoting(void)
{
	char *argv[] = { "sh", "-c", "echo 'a' \"b\"", "", "x=y,z", NULL };
	char *q = job_quote(argv);
	CHECK_STR(q, "sh -c 'echo '\\''a'\\'' \"b\"' '' x=y,z");
	free(q);
}

static void record_round_trip(void)
{
	struct job *j, *k;
	struct err e = ERR_INIT;
	(void)machine("", "");
	if (!CHECK_INT(job_create_new(&j, in_top("st"), "r", &e), 0))
		return;
	j->command = strdup("a \"b\" $c `d` \\ \n\t'e' \xc3\xa4");
	j->cwd = strdup("/x y");
	j->kind = JOB_CGROUP;
	j->cg.n = 1;
	j->cg.id = 77;
	strcpy(j->cg.h[0].mount, "/sys/fs/cgroup/cpu,cpuacct");
	strcpy(j->cg.h[0].path, "/a:b/xos/r");
	strcpy(j->cg.h[0].controllers, "cpu,cpuacct");
	j->usage.has_mem = true;
	j->usage.mem_peak = UINT64_MAX;
	CHECK_INT(job_save_quick(j, &e), 0);
	CHECK_INT(job_save(j, &e), 0);
	if (CHECK_INT(job_peek(&k, in_top("st"), "r", &e), 0)) {
		CHECK_STR(k->command, j->command);
		CHECK_STR(k->cwd, "/x y");
		CHECK_INT(k->kind, JOB_CGROUP);
		CHECK_INT(k->cg.n, 1);
		CHECK_INT(k->cg.id, 77);
		CHECK_STR(k->cg.h[0].path, "/a:b/xos/r");
		CHECK_STR(k->cg.h[0].mount, "/sys/fs/cgroup/cpu,cpuacct");
		CHECK_STR(k->mark, j->mark);
		CHECK(k->usage.has_mem && k->usage.mem_peak == UINT64_MAX && !k->usage.has_io);
		CHECK_INT(k->exit_code, -1);
		CHECK_INT(k->supervisor, getpid());
		job_free(k);
	}
	/* the lock is held by j, and the job runs as long as this process does */
	job_unlock(j);
	CHECK_INT(job_create_new(&k, in_top("st"), "r", &e), -1);
	CHECK_INT(e.code, EX_BUSY);
	job_free(j);
}

static void create_keeps_the_mark_of_a_stopped_job(void)
{
	struct job *j;
	char mark[sizeof j->mark];
	struct err e = ERR_INIT;
	(void)machine("", "");
	if (!CHECK_INT(job_create(&j, in_top("st"), NULL, &e), 0))
		return;
	CHECK_STR(j->id, "1");
	strcpy(mark, j->mark);
	j->limits = strdup("pids=3");
	CHECK_INT(job_save(j, &e), 0);
	CHECK_INT(job_lock(j, true, &e), 0);
	CHECK_INT(job_finish(j, JOB_STOPPED, &e), 0);
	job_free(j);
	CHECK_INT(job_create_new(&j, in_top("st"), "1", &e), -1);
	CHECK_INT(e.code, EX_BUSY);
	if (!CHECK_INT(job_create(&j, in_top("st"), "1", &e), 0))
		return;
	CHECK_STR(j->mark, mark);
	CHECK_STR(j->limits, "pids=3");
	job_free(j);
}

static void versions(void)
{
	struct job_newversion nv;
	struct err e = ERR_INIT;
	uint64_t *v;
	size_t n;
	(void)machine("", "");
	const char *st = in_top("st");
	CHECK_INT(job_versions(st, "x", &v, &n, &e), 0);
	CHECK_INT(n, 0);
	for (int i = 1; i <= 12; i++) {
		if (!CHECK_INT(job_version_begin(&nv, st, "x", &e), 0))
			return;
		CHECK_INT(nv.version, i);
		CHECK_INT(write(nv.fd, "x", 1), 1);
		CHECK_INT(job_version_commit(&nv, &e), 0);
	}
	CHECK_INT(job_version_begin(&nv, st, "x", &e), 0);
	CHECK_INT(write(nv.fd, "x", 1), 1);
	job_version_abort(&nv);
	CHECK_INT(job_versions(st, "x", &v, &n, &e), 0);
	CHECK_INT(n, 12);
	CHECK(n == 12 && v[0] == 1 && v[9] == 10 && v[11] == 12);
	free(v);
	CHECK_INT(job_version_prune(st, "x", 3, &e), 0);
	CHECK_INT(job_versions(st, "x", &v, &n, &e), 0);
	CHECK(n == 3 && v[0] == 10 && v[2] == 12);
	free(v);
	CHECK_INT(job_version_begin(&nv, st, "../x", &e), -1);
	CHECK_INT(e.code, EX_USAGE_);
}

static void configuration(void)
{
	struct job_conf c;
	struct err e = ERR_INIT;
	(void)machine("", "");
	CHECK_INT(job_conf_read(&c, in_top("none"), &e), 0);
	CHECK(c.use_cgroups);
	CHECK_STR(c.subsystems, JOB_CONF_SUBSYSTEMS);
	put("conf", "  # x\r\nUSECGROUPS=off # y\nSubsystems \t cpu , memory,,pids \nOther thing\n");
	CHECK_INT(job_conf_read(&c, in_top("conf"), &e), 0);
	CHECK(!c.use_cgroups);
	CHECK_STR(c.subsystems, "cpu,memory,pids");
	CHECK(strstr(buf_str(&c.warnings), "conf:4: unknown key Other\n") != NULL);
	job_conf_free(&c);
	put("conf", "UseCgroups\n");
	CHECK_INT(job_conf_read(&c, in_top("conf"), &e), -1);
	CHECK_INT(e.code, EX_FAILED);
}

static void limits(void)
{
	struct job_limits l = { 0 };
	struct err e = ERR_INIT;
	CHECK_INT(job_limits_parse(&l, "memory=1G disk=10M inodes=5 time=2m cpu.weight=7", &e), 0);
	CHECK_INT(l.n, 2);
	CHECK(l.disk == 10 << 20 && l.inodes == 5 && l.time_ms == 120000);
	CHECK_STR(l.text, "memory=1G disk=10M inodes=5 time=2m cpu.weight=7");
	job_limits_free(&l);
	static const char *const bad[] = { "", "=", "memory", "memory=", "=1", "bogus=1", "disk=0", "time=soon", "cgroup.kill=1" };
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		CHECK_INT(job_limits_add(&l, bad[i], &e), -1);
	CHECK_INT(e.code, EX_USAGE_);
	job_limits_free(&l);
}

static void environment(void)
{
	struct job j = { .id = "5", .mark = "abc" };
	char *envp[] = { "A=1", "XOS_JOB_TMP=/old", "XOS_JOBID=old", "XOS_JOBIDX=2", "HOME=/h", NULL };
	char **v = job_environ(&j, envp, NULL);
	CHECK_STR(v[0], "A=1");
	CHECK_STR(v[1], "XOS_JOBIDX=2");
	CHECK_STR(v[2], "HOME=/h");
	CHECK_STR(v[3], "XOS_JOBID=5");
	CHECK_STR(v[4], "XOS_JOB_MARK=abc");
	CHECK(v[5] == NULL);
	free(v);
}

int main(void)
{
	snprintf(top, sizeof top, "/tmp/xos-unit-job.XXXXXX");
	if (!mkdtemp(top))
		return 2;
	RUN(v2_alone);
	RUN(v2_missing);
	RUN(names_taken);
	RUN(job_in_job);
	RUN(internal_processes);
	RUN(v1_and_hybrid);
	RUN(no_groups);
	RUN(limit_names);
	RUN(ids);
	RUN(quoting);
	RUN(record_round_trip);
	RUN(create_keeps_the_mark_of_a_stopped_job);
	RUN(versions);
	RUN(configuration);
	RUN(limits);
	RUN(environment);
	char cmd[128];
	snprintf(cmd, sizeof cmd, "rm -rf '%s'", top);
	return system(cmd) != 0 ? 2 : unit_status();
}
