/* Unit tests of verify() of the state of processes: hostile records, and what a user's image may not ask of root. */
#include "procstate.h"

/* ---- hostile records ---- */

static const char *hostile(const char *type, const char *key, const char *value)
{
	AUTO_BUF struct buf all = BUF_INIT;
	struct dproc a = { 0 };
	struct rproc p = { .pid = 1 };
	struct restart_opts o = { .trust = true };
	struct rproc *v = &p;
	struct restore r = { .o = &o, .procs = &v, .nprocs = 1 };
	const char *why = ask_child(&a, build_plain);
	struct rthread th = { .tid = 1, .recs = &p.recs };
	struct rec rec;
	int rc = 0, n = 0;

	if (why)
		return why;
	TRY(rec_list_parse(&p.recs, a.out.p, a.out.len, RES_MAX_RECORDS, &e));
	for (size_t i = 0; i < p.recs.n; i++) {
		rec_list_get(&p.recs, i, &rec);
		rec_begin(&all, rec_type(&rec));
		for (size_t k = 1; k < rec.n; k++) {
			int hit = strcmp(rec_type(&rec), type) == 0 && strcmp(rec.f[k].key, key) == 0;

			n += hit;
			rec_put_str(&all, rec.f[k].key, hit ? value : rec.f[k].val);
		}
		rec_end(&all);
	}
	rec_list_free(&p.recs);
	CHECK(n > 0);
	TRY(rec_list_parse(&p.recs, all.p, all.len, RES_MAX_RECORDS, &e));
	one_thread(&p, &th);
	for (size_t i = 0; ops[i] && rc == 0; i++)
		if (ops[i]->verify)
			rc = ops[i]->verify(&r, &p, &e);
	rec_list_free(&p.recs);
	dproc_free(&a);
	if (rc == 0)
		return "it was accepted";
	if (e.code != EX_BAD_IMAGE)
		return "not called a bad image";
	err_clear(&e);
	return NULL;
}

static void hostiles(void)
{
	static const char *const lies[][3] = {
		{ "umask", "MASK", "512" }, { "sigaction", "SIGNAL", "9" }, { "sigaction", "SIGNAL", "65" },
		{ "sigaction", "SIGNAL", "1" }, { "sigaction", "HANDLER", "0xffffffffffffffff" },
		{ "oom_score_adj", "VALUE", "1001" }, { "sigpending", "SIGNAL", "0" }, { "sigpending", "INFO", "00" },
		{ "sigpending", "SIGNAL", "19" }, { "posix_timer", "ID", "-1" }, { "posix_timer", "ID", "7" },
		{ "posix_timer", "NOTIFY", "3" }, { "posix_timer", "NOTIFY", "4" }, { "posix_timer", "INTERVAL_NSEC", "1000000000" },
		{ "itimer", "WHICH", "virtual" }, { "itimer", "WHICH", "other" }, { "itimer", "VALUE_USEC", "-1" },
		{ "prctl", "PDEATHSIG", "65" }, { "prctl", "DUMPABLE", "3" }, { "rlimit", "NAME", "CPU" },
		{ "rlimit", "SOFT", "18446744073709551616" }, { "rlimit", "HARD", "0" }, { "comm", "NAME", "0123456789abcdef" },
		{ "sched", "NICE", "20" }, { "sched", "CPUS", "9999999999" }, { "sched", "CPUS", "" }, { "sched", "CPUS", "1-0" },
		{ "creds", "UID", "4294967295" }, { "creds", "GROUPS", "1 -2" }, { "creds", "GROUPS", "1  2" },
		{ "creds", "SECUREBITS", "0x1000" }, { "tid_address", "ADDRESS", "0xffffffffffffffff" }, { "rseq", "LENGTH", "1" },
		{ "altstack", "SIZE", "x" },
	};
	char name[128];

	for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
		snprintf(name, sizeof name, "hostile: %s %s=%s", lies[i][0], lies[i][1], lies[i][2]);
		report(name, hostile(lies[i][0], lies[i][1], lies[i][2]));
	}
}

/* ---- images of users ---- */

enum { NOBODY = 65534 };

static void become_nobody(void)
{
	MUST(setresgid(NOBODY, NOBODY, NOBODY));
	MUST(setresuid(NOBODY, NOBODY, NOBODY));
}

static void build_nobody(void)
{
	MUST(setgroups(0, NULL));
	become_nobody();
}

static void build_group(void)
{
	gid_t g = 0;

	MUST(setgroups(1, &g));
	become_nobody();
}

static void build_nice(void)
{
	MUST(setpriority(PRIO_PROCESS, 0, -5));
	build_nobody();
}

static void build_caps(void)
{
	MUST(prctl(PR_SET_KEEPCAPS, 1));
	build_nobody();
}

/* Restarted by root, written by `owner`. name NULL: must be accepted. */
static const char *owned(void (*build)(void), uid_t owner, bool trust, const char *name)
{
	struct dproc a = { 0 };
	struct rproc p = { .pid = 1 }, *v = &p;
	struct restart_opts o = { .trust = trust, .image_owner = owner };
	struct restore r = { .o = &o, .procs = &v, .nprocs = 1 };
	struct rthread th = { .tid = 1, .recs = &p.recs };
	const char *why = ask_child(&a, build);
	int rc = 0;

	if (why)
		return why;
	TRY(rec_list_parse(&p.recs, a.out.p, a.out.len, RES_MAX_RECORDS, &e));
	one_thread(&p, &th);
	for (size_t i = 0; ops[i] && rc == 0; i++)
		if (ops[i]->verify)
			rc = ops[i]->verify(&r, &p, &e);
	rec_list_free(&p.recs);
	dproc_free(&a);
	if ((rc == 0) != (name == NULL))
		return rc ? "refused" : "accepted";
	if (name && (e.code != EX_PERM || !strstr(e.msg, name)))
		return "refused for another reason";
	err_clear(&e);
	return NULL;
}

static void owners(void)
{
	report("a user's image with root's ids", owned(build_plain, NOBODY, false, "user id 0"));
	report("the same, trusted", owned(build_plain, NOBODY, true, NULL));
	report("the same, root's", owned(build_plain, 0, false, NULL));
	report("a user's image with his ids", owned(build_nobody, NOBODY, false, NULL));
	report("another user's image with them", owned(build_nobody, 4242, false, "user id 65534"));
	report("a user's image with root's group", owned(build_group, NOBODY, false, "group 0"));
	report("a user's image with a negative nice value", owned(build_nice, NOBODY, false, "nice value -5"));
	report("a user's image with capabilities", owned(build_caps, NOBODY, false, "capabilities"));
}

int main(void)
{
	hostiles();
	if (geteuid() == 0)
		owners();
	else
		printf("ok - images of users # SKIP needs root\n");
	return bad != 0;
}
