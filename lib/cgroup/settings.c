/* Which control files of a group are carried to another one, how they are read, compared and written: one table. */
#include "cgroup/settings.h"
#include "cgroup/internal.h"
#include "common/cleanup.h"

#include <ctype.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum kind {
	LINE,          /* one value */
	LINES,         /* KEY VALUE lines, one write each */
	DEVICE_LINES,  /* the same; "default N" stands in another file */
	NONZERO_LINES, /* the same; "KEY 0" is nothing */
	MAX_LINES,     /* the same; "KEY max" and "KEY name=max name=max" are nothing */
	WORD,          /* the first word is written: what follows is how the kernel took it */
	OOM_KILL,      /* memory.oom_control */
	DEVICES,       /* devices.list, written through devices.deny and devices.allow */
	FROZEN_V1,     /* freezer.state: what the group itself says is in freezer.self_freezing */
	FROZEN_V2,
	WEIGHT,        /* has no meaning, and cannot be written, while cpu.idle is 1 */
};
enum { V1 = 1, V2 = 2, BOTH = 3 };

/* In the order in which they are written: a quota is measured by its period, cpusets are filled before they are exclusive, memory comes
 * before memory with swap. fresh: of a group that was just made; NULL: it takes that over from the group above. */
static const struct setting { unsigned char v, kind, when; const char *file, *fresh; } settings[] = {
	{ V1, DEVICES, CGROUP_EARLY, "devices.list", NULL },
	{ V1, LINE, CGROUP_EARLY, "cpuset.cpus", NULL },
	{ V1, LINE, CGROUP_EARLY, "cpuset.mems", NULL },
	{ V2, LINE, CGROUP_EARLY, "cpuset.cpus", "" },
	{ V2, LINE, CGROUP_EARLY, "cpuset.mems", "" },
	{ V2, LINE, CGROUP_EARLY, "cpuset.cpus.exclusive", "" },
	{ V1, LINE, CGROUP_EARLY, "cpuset.cpu_exclusive", "0" },
	{ V1, LINE, CGROUP_EARLY, "cpuset.mem_exclusive", "0" },
	{ V1, LINE, CGROUP_EARLY, "cpuset.mem_hardwall", "0" },
	{ V1, LINE, CGROUP_EARLY, "cpu.rt_period_us", "1000000" },
	{ V1, LINE, CGROUP_EARLY, "cpu.rt_runtime_us", "0" },
	{ V1, LINE, CGROUP_EARLY, "memory.use_hierarchy", NULL },
	{ V1, LINE, CGROUP_EARLY, "memory.swappiness", NULL },
	{ V1, LINE, CGROUP_EARLY, "memory.move_charge_at_immigrate", NULL },
	{ V1, LINE, CGROUP_EARLY, "net_cls.classid", NULL },
	{ V1, NONZERO_LINES, CGROUP_EARLY, "net_prio.ifpriomap", "" },

	{ V2, WORD, CGROUP_LATE, "cpuset.cpus.partition", "member" },
	{ V1, LINE, CGROUP_LATE, "cpuset.memory_migrate", NULL },
	{ V1, LINE, CGROUP_LATE, "cpuset.memory_spread_page", NULL },
	{ V1, LINE, CGROUP_LATE, "cpuset.memory_spread_slab", NULL },
	{ V1, LINE, CGROUP_LATE, "cpuset.sched_load_balance", "1" },
	{ V1, LINE, CGROUP_LATE, "cpuset.sched_relax_domain_level", "-1" },
	{ BOTH, LINE, CGROUP_LATE, "cpu.idle", "0" },
	{ V1, WEIGHT, CGROUP_LATE, "cpu.shares", "1024" },
	{ V2, WEIGHT, CGROUP_LATE, "cpu.weight", "100" },
	{ V1, LINE, CGROUP_LATE, "cpu.cfs_period_us", "100000" },
	{ V1, LINE, CGROUP_LATE, "cpu.cfs_quota_us", "-1" },
	{ V1, LINE, CGROUP_LATE, "cpu.cfs_burst_us", "0" },
	{ V2, LINE, CGROUP_LATE, "cpu.max", "max 100000" },
	{ V2, LINE, CGROUP_LATE, "cpu.max.burst", "0" },
	{ BOTH, LINE, CGROUP_LATE, "cpu.uclamp.min", "0.00" },
	{ BOTH, LINE, CGROUP_LATE, "cpu.uclamp.max", "max" },
	{ V2, LINE, CGROUP_LATE, "memory.min", "0" },
	{ V2, LINE, CGROUP_LATE, "memory.low", "0" },
	{ V2, LINE, CGROUP_LATE, "memory.high", "max" },
	{ V2, LINE, CGROUP_LATE, "memory.max", "max" },
	{ V2, LINE, CGROUP_LATE, "memory.swap.high", "max" },
	{ V2, LINE, CGROUP_LATE, "memory.swap.max", "max" },
	{ V2, LINE, CGROUP_LATE, "memory.zswap.max", "max" },
	{ V2, LINE, CGROUP_LATE, "memory.zswap.writeback", "1" },
	{ V2, LINE, CGROUP_LATE, "memory.oom.group", "0" },
	{ V1, LINE, CGROUP_LATE, "memory.soft_limit_in_bytes", "9223372036854771712" },
	{ V1, LINE, CGROUP_LATE, "memory.limit_in_bytes", "9223372036854771712" },
	{ V1, LINE, CGROUP_LATE, "memory.memsw.limit_in_bytes", "9223372036854771712" },
	{ V1, LINE, CGROUP_LATE, "memory.kmem.limit_in_bytes", "9223372036854771712" },
	{ V1, LINE, CGROUP_LATE, "memory.kmem.tcp.limit_in_bytes", "9223372036854771712" },
	{ V1, OOM_KILL, CGROUP_LATE, "memory.oom_control", NULL },
	{ V2, LINES, CGROUP_LATE, "io.weight", "default 100" },
	{ V2, LINES, CGROUP_LATE, "io.bfq.weight", "default 100" },
	{ V2, LINES, CGROUP_LATE, "io.max", "" },
	{ V2, LINES, CGROUP_LATE, "io.latency", "" },
	{ BOTH, LINE, CGROUP_LATE, "*.prio.class", "no-change" },
	{ V1, LINE, CGROUP_LATE, "blkio.weight", "500" },
	{ V1, DEVICE_LINES, CGROUP_LATE, "blkio.weight_device", "" },
	{ V1, LINE, CGROUP_LATE, "blkio.bfq.weight", "100" },
	{ V1, DEVICE_LINES, CGROUP_LATE, "blkio.bfq.weight_device", "" },
	{ V1, LINES, CGROUP_LATE, "blkio.throttle.*_device", "" },
	{ BOTH, LINE, CGROUP_LATE, "pids.max", "max" },
	{ V2, LINE, CGROUP_LATE, "hugetlb.*.max", "9223372036854771712" },
	{ V1, LINE, CGROUP_LATE, "hugetlb.*.limit_in_bytes", "9223372036854771712" },
	{ BOTH, MAX_LINES, CGROUP_LATE, "rdma.max", "" },
	{ BOTH, MAX_LINES, CGROUP_LATE, "misc.max", "" },
	{ V2, NONZERO_LINES, CGROUP_LATE, "dmem.min", "" },
	{ V2, NONZERO_LINES, CGROUP_LATE, "dmem.low", "" },
	{ V2, MAX_LINES, CGROUP_LATE, "dmem.max", "" },
	{ V2, LINE, CGROUP_LATE, "cgroup.pressure", "1" },
	{ V2, LINE, CGROUP_LATE, "cgroup.max.depth", "max" },
	{ V2, LINE, CGROUP_LATE, "cgroup.max.descendants", "max" },
	{ V1, LINE, CGROUP_LATE, "cgroup.clone_children", NULL },
	{ V1, LINE, CGROUP_LATE, "notify_on_release", NULL },
	{ V2, FROZEN_V2, CGROUP_LAST, "cgroup.freeze", "0" },
	{ V1, FROZEN_V1, CGROUP_LAST, "freezer.state", "THAWED" },
};
enum { NSETTINGS = sizeof settings / sizeof *settings };

/* What can be written and is no state of the group: members, orders, counters that can be reset, triggers (they belong to the descriptor that
 * wrote them), other views of a setting above. */
static const char *const no_setting[] = {
	"cgroup.procs", "cgroup.threads", "tasks", "cgroup.type", "cgroup.subtree_control", "cgroup.kill", "cgroup.event_control", "*.pressure",
	"*.failcnt", "*.max_usage_in_bytes", "*.peak", "memory.reclaim", "memory.force_empty", "memory.pressure_level", "devices.allow", "devices.deny",
	"cpu.weight.nice", "blkio.reset_stats", "cpuacct.usage", "cpuset.memory_pressure", "hugetlb.*.rsvd.max_usage_in_bytes",
};

int cgroup_file_read(const char *dir, const char *file, struct buf *out)
{
	char path[CGROUP_DIR_MAX + CGROUP_NAME_MAX + 2];

	snprintf(path, sizeof path, "%s/%s", dir, file);
	buf_reset(out);
	if (buf_read_file(out, -1, path, CGROUP_VALUE_MAX))
		return -1;
	if (out->len && out->p[out->len - 1] == '\n')
		out->p[--out->len] = '\0';
	if (buf_failed(out))
		errno = ENOMEM;
	return buf_failed(out) ? -1 : 0;
}

int cgroup_file_write(const char *dir, const char *file, const char *text)
{
	char path[CGROUP_DIR_MAX + CGROUP_NAME_MAX + 2];
	AUTO_FD int fd = -1;
	ssize_t n;

	snprintf(path, sizeof path, "%s/%s", dir, file);
	fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -1;
	do
		n = write(fd, text, strlen(text));
	while (n < 0 && errno == EINTR);
	return n < 0 ? -1 : 0;
}

static const struct setting *find(bool v2, const char *file)
{
	for (size_t i = 0; i < NSETTINGS; i++)
		if (settings[i].v & (v2 ? V2 : V1) && !strchr(file, '/') && !fnmatch(settings[i].file, file, FNM_PATHNAME | FNM_PERIOD))
			return &settings[i];
	return NULL;
}

int cgroup_setting_when(bool v2, const char *file)
{
	const struct setting *s = find(v2, file);

	return s ? s->when : -1;
}

bool cgroup_setting_freezes(const char *file, const char *value)
{
	return (!strcmp(file, "cgroup.freeze") && strcmp(value, "0")) || (!strcmp(file, "freezer.state") && strcmp(value, "THAWED"));
}

/* ---- reading ---- */

static bool says_nothing(const struct setting *s, const char *line)
{
	size_t n = strlen(line);

	if (s->kind == DEVICE_LINES)
		return !strncmp(line, "default ", 8);
	if (s->kind == MAX_LINES) {
		for (const char *w = strchr(line, ' '); w; w = strchr(w + 1, ' ')) {
			size_t k = strcspn(w + 1, " ");
			if (k < 3 || strncmp(w + 1 + k - 3, "max", 3))
				return false;
		}
		return true;
	}
	return s->kind == NONZERO_LINES && n > 2 && !strcmp(line + n - 2, " 0");
}

/* The lines of a list that say something, in the kernel's order. */
static void lines_of(const struct setting *s, struct buf *text)
{
	AUTO_BUF struct buf kept = BUF_INIT;
	char *save = NULL;

	for (char *l = text->p ? strtok_r(text->p, "\n", &save) : NULL; l; l = strtok_r(NULL, "\n", &save)) {
		if (says_nothing(s, l))
			continue;
		if (kept.len)
			buf_addc(&kept, '\n');
		buf_adds(&kept, l);
	}
	buf_reset(text);
	buf_adds(text, buf_str(&kept));
	text->failed |= kept.failed;
}

/* The value of a setting now; -1 with errno. */
static int value_of(const struct setting *s, const char *dir, const char *file, struct buf *out)
{
	if (s->kind == FROZEN_V1) {
		if (cgroup_file_read(dir, "freezer.self_freezing", out))
			return -1;
		bool frozen = !strcmp(buf_str(out), "1");
		buf_reset(out);
		buf_adds(out, frozen ? "FROZEN" : "THAWED");
		return 0;
	}
	if (cgroup_file_read(dir, file, out))
		return -1;
	if (s->kind == OOM_KILL) {
		bool disabled = cg_keyed(buf_str(out), "oom_kill_disable", 0) != 0;
		buf_reset(out);
		buf_adds(out, disabled ? "1" : "0");
	}
	if (s->kind >= LINES && s->kind <= MAX_LINES)
		lines_of(s, out);
	if (buf_failed(out))
		errno = ENOMEM;
	return buf_failed(out) ? -1 : 0;
}

/* devices.list shows "a *:* rwm" also when single devices are denied. Whether some are is found out by what a group below may allow. */
static bool denies_some(const char *dir)
{
	char probe[CGROUP_DIR_MAX + 16];
	bool some;

	snprintf(probe, sizeof probe, "%s/xos.probe", dir);
	rmdir(probe); /* of a checkpoint that was killed */
	if (mkdir(probe, 0700))
		return true;
	some = cgroup_file_write(probe, "devices.deny", "a") || cgroup_file_write(probe, "devices.allow", "c *:* rwm") ||
	       cgroup_file_write(probe, "devices.allow", "b *:* rwm");
	rmdir(probe);
	return some;
}

static int read_one(const struct setting *s, const char *dir, const char *file, bool populated, const struct cgroup_settings_found *f, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT, idle = BUF_INIT;
	char what[CGROUP_NAME_MAX + 64];

	if (s->kind == WEIGHT && !cgroup_file_read(dir, "cpu.idle", &idle) && !strcmp(buf_str(&idle), "1"))
		return 0;
	if (value_of(s, dir, file, &b)) {
		if (errno == ENOENT || errno == EOPNOTSUPP || errno == EINVAL) /* not in this group, or compiled out */
			return 0;
		return err_sys(e, "cannot read %s/%s", dir, file);
	}
	if (cgroup_setting_freezes(file, buf_str(&b)) && populated)
		f->cannot(f->ctx, "processes are frozen in it");
	if (s->kind == DEVICES && !strcmp(buf_str(&b), "a *:* rwm") && denies_some(dir))
		f->cannot(f->ctx, "it denies some devices, and the kernel does not show which");
	if (b.len && strlen(b.p) != b.len) {
		snprintf(what, sizeof what, "the setting %s holds a NUL byte", file);
		f->cannot(f->ctx, what);
		return 0;
	}
	return s->fresh && !strcmp(buf_str(&b), s->fresh) ? 0 : f->setting(f->ctx, file, buf_str(&b));
}

static bool listed_no_setting(const char *file)
{
	for (size_t i = 0; i < sizeof no_setting / sizeof *no_setting; i++)
		if (!fnmatch(no_setting[i], file, 0))
			return true;
	return false;
}

/* A control file that can be written and that the table does not know. */
static void read_unknown(const char *dir, const char *ref, const char *file, const struct cgroup_settings_found *f)
{
	AUTO_BUF struct buf own = BUF_INIT, other = BUF_INIT;
	char path[CGROUP_DIR_MAX + CGROUP_NAME_MAX + 2], what[CGROUP_NAME_MAX + 64];
	struct stat st;

	snprintf(path, sizeof path, "%s/%s", dir, file);
	if (lstat(path, &st) || !S_ISREG(st.st_mode) || !(st.st_mode & 0222) || !(st.st_mode & 0444) || listed_no_setting(file))
		return;
	if (cgroup_file_read(dir, file, &own))
		return; /* an order, not a value */
	if (!cgroup_file_read(ref, file, &other) && !strcmp(buf_str(&own), buf_str(&other)))
		return;
	snprintf(what, sizeof what, "its setting %s is not known to this version", file);
	f->cannot(f->ctx, what);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static int names_of(const char *dir, char ***out, size_t *n, struct err *e)
{
	AUTO_DIR DIR *d = opendir(dir);

	*out = NULL;
	*n = 0;
	if (!d)
		return err_sys(e, "cannot read %s", dir);
	for (struct dirent *de; (de = readdir(d));) {
		char **more;

		if (de->d_type == DT_DIR)
			continue;
		more = (*n & (*n - 1)) == 0 ? realloc(*out, (*n ? 2 * *n : 1) * sizeof **out) : *out;
		if (!more)
			return err_set(e, EX_FAILED, "out of memory");
		*out = more;
		more[*n] = strdup(de->d_name);
		if (!more[*n])
			return err_set(e, EX_FAILED, "out of memory");
		++*n;
	}
	if (*n)
		qsort(*out, *n, sizeof **out, by_name);
	return 0;
}

int cgroup_settings_read(const char *dir, const char *ref, bool v2, bool populated, const struct cgroup_settings_found *f, struct err *e)
{
	char **names;
	size_t n;
	int rc = names_of(dir, &names, &n, e);

	for (size_t k = 0; k < NSETTINGS && !rc; k++)
		for (size_t i = 0; i < n && !rc; i++)
			if (find(v2, names[i]) == &settings[k])
				rc = read_one(&settings[k], dir, names[i], populated, f, e);
	for (size_t i = 0; i < n && !rc; i++)
		if (!find(v2, names[i]))
			read_unknown(dir, ref, names[i], f);
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	free(names);
	return rc;
}

/* ---- writing ---- */

static int write_lines(const char *dir, const char *file, const char *value)
{
	char line[CGROUP_LINE_MAX + 1];

	for (const char *p = value; *p; p += *p == '\n') {
		size_t n = strcspn(p, "\n");

		if (n >= sizeof line) {
			errno = EINVAL;
			return -1;
		}
		memcpy(line, p, n);
		line[n] = '\0';
		p += n;
		if (n && cgroup_file_write(dir, file, line))
			return -1;
	}
	return 0;
}

static int write_kind(const struct setting *s, const char *dir, const char *file, const char *value)
{
	char word[64];

	switch (s->kind) {
	case LINES:
	case DEVICE_LINES:
	case NONZERO_LINES:
	case MAX_LINES:
		return write_lines(dir, file, value);
	case DEVICES:
		if (!strcmp(value, "a *:* rwm"))
			return cgroup_file_write(dir, "devices.allow", "a");
		return cgroup_file_write(dir, "devices.deny", "a") || write_lines(dir, "devices.allow", value) ? -1 : 0;
	case WORD:
		snprintf(word, sizeof word, "%.*s", (int)strcspn(value, " "), value);
		return cgroup_file_write(dir, file, word);
	case LINE:
		/* An empty write(2) never reaches the kernel's file: a newline does. */
		return cgroup_file_write(dir, file, *value ? value : "\n");
	default:
		return cgroup_file_write(dir, file, value);
	}
}

int cgroup_setting_write(const char *dir, bool v2, const char *file, const char *value, struct err *e)
{
	const struct setting *s = find(v2, file);
	AUTO_BUF struct buf now = BUF_INIT;

	if (!s)
		return err_set(e, EX_BAD_IMAGE, "control file %s is not known to this version", file);
	if (value_of(s, dir, file, &now)) {
		if (errno == ENOENT)
			return err_set(e, EX_MISFIT, "this kernel, or the group above, gives it no %s", file);
		return err_sys(e, "cannot read %s", file);
	}
	if (!strcmp(buf_str(&now), value))
		return 0;
	if (write_kind(s, dir, file, value))
		return err_sys(e, "cannot set %s to \"%.200s\"", file, value);
	if (value_of(s, dir, file, &now))
		return err_sys(e, "cannot read %s", file);
	if (strcmp(buf_str(&now), value))
		return err_set(e, EX_MISFIT, "%s became \"%.200s\" instead of \"%.200s\"", file, buf_str(&now), value);
	return 0;
}

/* ---- programs ---- */

unsigned cgroup_bpf_programs(const char *dir)
{
	/* bpf_attach_type: those that mean a control group, up to 6.18; a kernel that does not know one says so. */
	static const unsigned char types[] = { 0, 1, 2, 3, 6, 8, 9, 10, 11, 12, 13, 14, 15, 18, 19, 20, 21, 22, 29, 30, 31, 32, 34, 43, 49, 50, 51, 52, 53 };
	AUTO_FD int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	unsigned n = 0;

	for (size_t i = 0; fd >= 0 && i < sizeof types; i++) {
		union bpf_attr a = { .query = { .target_fd = (uint32_t)fd, .attach_type = types[i] } };

		if (!syscall(SYS_bpf, BPF_PROG_QUERY, &a, sizeof a))
			n += a.query.prog_cnt;
	}
	return n;
}
