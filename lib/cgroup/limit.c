/* Limits of a job's groups: CLI.md's names and raw control files. */
#include "cgroup/internal.h"
#include "common/cleanup.h"
#include "common/num.h"
#include <ctype.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { MAX_CPUS = 8192, PERIOD_US = 100000, MIN_QUOTA_US = 1000 };

static const struct { const char *name, *subsystem; } limit_names[] = {
	{ "memory", "memory" }, { "swap", "memory" }, { "cpus", "cpu" }, { "cpuweight", "cpu" },
	{ "cpuset", "cpuset" }, { "pids", "pids" }, { "iobps", "io" },
};

const char *cgroup_limit_subsystem(const char *name)
{
	for (size_t i = 0; i < sizeof limit_names / sizeof *limit_names; i++)
		if (strcmp(limit_names[i].name, name) == 0)
			return limit_names[i].subsystem;
	/* Raw control files. cpu.stat and its like cannot be written anyway; cgroup.procs and freeze are no limits. */
	static const char *const raw[] = { "memory", "cpu", "cpuset", "pids", "io", "blkio", "devices", "hugetlb" };
	const char *dot = strchr(name, '.');
	if (!dot || strchr(name, '/') || !dot[1])
		return NULL;
	if (strncmp(name, "cgroup.max.", 11) == 0)
		return "";
	for (size_t i = 0; i < sizeof raw / sizeof *raw; i++)
		if (strlen(raw[i]) == (size_t)(dot - name) && strncmp(raw[i], name, (size_t)(dot - name)) == 0)
			return raw[i];
	return NULL;
}

static int bad_value(const char *name, const char *value, const char *what, struct err *e)
{
	return err_set(e, EX_USAGE_, "limit %s=%s: %s", name, value, what);
}

/* Writes the text to a control file of the limit's group; a file that is missing is named. */
static int put(const struct cgroup_hier *h, const char *file, const char *text, const char *name,
	       const char *value, struct err *e)
{
	if (!cg_has_file(h, file))
		return err_set(e, EX_FAILED, "limit %s=%s cannot be enforced: this kernel has no %s in %s (cgroup v%d)", name,
			       value, file, h->mount, h->v2 ? 2 : 1);
	if (cg_write(h, file, text) < 0)
		return err_sys(e, "limit %s=%s: %s%s/%s", name, value, h->mount, h->path, file);
	return 0;
}

static int limit_memory(const struct cgroup_hier *h, const char *name, const char *value, struct err *e)
{
	uint64_t n;
	char text[32];
	if (num_size(value, &n) < 0 || n == 0)
		return bad_value(name, value, "not a size", e);
	snprintf(text, sizeof text, "%llu", (unsigned long long)n);
	return put(h, h->v2 ? "memory.max" : "memory.limit_in_bytes", text, name, value, e);
}

/* v1 knows only memory and swap together. */
static int limit_swap(const struct cgroup_hier *h, const char *name, const char *value, struct err *e)
{
	uint64_t n, mem = 0;
	char text[32];
	if (num_size(value, &n) < 0)
		return bad_value(name, value, "not a size", e);
	if (!h->v2) {
		char t[64];
		if (cg_read(h, "memory.limit_in_bytes", t, sizeof t) == 0)
			mem = strtoull(t, NULL, 10);
		if (mem == 0 || mem > (uint64_t)1 << 60)
			return err_set(e, EX_FAILED, "limit %s=%s cannot be enforced: cgroup v1 limits memory and swap together, "
				       "so it needs memory= too", name, value);
	}
	snprintf(text, sizeof text, "%llu", (unsigned long long)(mem + n));
	return put(h, h->v2 ? "memory.swap.max" : "memory.memsw.limit_in_bytes", text, name, value, e);
}

static int limit_cpus(const struct cgroup_hier *h, const char *name, const char *value, struct err *e)
{
	char *end, text[64];
	double c = strtod(value, &end);
	if (end == value || *end || !isdigit((unsigned char)value[0]) || !(c > 0) || c > MAX_CPUS)
		return bad_value(name, value, "not a number of CPUs", e);
	long quota = (long)(c * PERIOD_US + 0.5);
	if (quota < MIN_QUOTA_US)
		return bad_value(name, value, "the least is 0.01", e);
	if (h->v2) {
		snprintf(text, sizeof text, "%ld %d", quota, PERIOD_US);
		return put(h, "cpu.max", text, name, value, e);
	}
	snprintf(text, sizeof text, "%d", PERIOD_US);
	if (put(h, "cpu.cfs_period_us", text, name, value, e) < 0)
		return -1;
	snprintf(text, sizeof text, "%ld", quota);
	return put(h, "cpu.cfs_quota_us", text, name, value, e);
}

/* 1..10000 as v2 counts it, 100 is everybody's share; v1 counts in shares of 1024. */
static int limit_cpuweight(const struct cgroup_hier *h, const char *name, const char *value, struct err *e)
{
	uint64_t w;
	char text[32];
	if (num_u64(value, 10000, &w) < 0 || w == 0)
		return bad_value(name, value, "not a weight (1 to 10000, 100 is the default)", e);
	if (!h->v2)
		w = w * 1024 / 100 < 2 ? 2 : w * 1024 / 100;
	snprintf(text, sizeof text, "%llu", (unsigned long long)w);
	return put(h, h->v2 ? "cpu.weight" : "cpu.shares", text, name, value, e);
}

/* "0-3,7" into a set of bits; false when it is no such list. */
static bool cpu_list(const char *s, unsigned char *bits)
{
	memset(bits, 0, MAX_CPUS / 8);
	while (*s && *s != '\n') {
		char *end;
		if (!isdigit((unsigned char)*s))
			return false;
		unsigned long a = strtoul(s, &end, 10), b = a;
		if (*end == '-') {
			if (!isdigit((unsigned char)end[1]))
				return false;
			b = strtoul(end + 1, &end, 10);
		}
		if (b < a || b >= MAX_CPUS || (*end && *end != ',' && *end != '\n'))
			return false;
		for (; a <= b; a++)
			bits[a / 8] |= (unsigned char)(1 << a % 8);
		s = *end == ',' ? end + 1 : end;
	}
	return true;
}

/* v2 takes CPUs that the group above has not, and ignores them: so the result is compared. */
static int limit_cpuset(const struct cgroup_hier *h, const char *name, const char *value, struct err *e)
{
	unsigned char want[MAX_CPUS / 8], have[MAX_CPUS / 8];
	char t[4096];
	if (!value[0] || !cpu_list(value, want))
		return bad_value(name, value, "not a list of CPUs such as 0-3,7", e);
	const char *eff = h->v2 ? "cpuset.cpus.effective" : "cpuset.effective_cpus";
	if (cg_read(h, eff, t, sizeof t) == 0 && cpu_list(t, have)) {
		t[strcspn(t, "\n")] = '\0';
		for (size_t i = 0; i < sizeof want; i++)
			if (want[i] & ~have[i])
				return err_set(e, EX_FAILED, "limit %s=%s cannot be enforced: the job may only have the CPUs %s",
					       name, value, t);
	}
	return put(h, "cpuset.cpus", value, name, value, e);
}

/* One disk: reads and writes each to bps. */
static int limit_disk_bps(const struct cgroup_hier *h, unsigned maj, unsigned min, uint64_t bps)
{
	char text[128];
	if (h->v2) {
		snprintf(text, sizeof text, "%u:%u rbps=%llu wbps=%llu", maj, min, (unsigned long long)bps,
			 (unsigned long long)bps);
		return cg_write(h, "io.max", text);
	}
	snprintf(text, sizeof text, "%u:%u %llu", maj, min, (unsigned long long)bps);
	if (cg_write(h, "blkio.throttle.read_bps_device", text) < 0)
		return -1;
	return cg_write(h, "blkio.throttle.write_bps_device", text);
}

/* Every disk of the machine that has a size. */
static int limit_all_disks(const struct cgroup_hier *h, uint64_t bps, const char *name, const char *value,
			   struct err *e)
{
	AUTO_DIR DIR *d = opendir("/sys/block");
	unsigned done = 0;
	if (!d)
		return err_sys(e, "limit %s=%s cannot be enforced: /sys/block", name, value);
	for (struct dirent *de; (de = readdir(d));) {
		char p[600];
		unsigned maj, min;
		unsigned long long size = 0;
		if (de->d_name[0] == '.')
			continue;
		snprintf(p, sizeof p, "/sys/block/%s/size", de->d_name);
		FILE *f = fopen(p, "re");
		if (!f || fscanf(f, "%llu", &size) != 1)
			size = 0;
		if (f)
			fclose(f);
		snprintf(p, sizeof p, "/sys/block/%s/dev", de->d_name);
		f = size ? fopen(p, "re") : NULL;
		if (!f)
			continue;
		int k = fscanf(f, "%u:%u", &maj, &min);
		fclose(f);
		if (k != 2)
			continue;
		if (limit_disk_bps(h, maj, min, bps) < 0)
			return err_sys(e, "limit %s=%s: disk %s", name, value, de->d_name);
		done++;
	}
	return done ? 0 : err_set(e, EX_FAILED, "limit %s=%s cannot be enforced: no disk found", name, value);
}

/* SIZE (every disk), MAJOR:MINOR:SIZE or /dev/NAME:SIZE */
static int limit_iobps(const struct cgroup_hier *h, const char *name, const char *value, struct err *e)
{
	const char *file = h->v2 ? "io.max" : "blkio.throttle.read_bps_device", *colon = strrchr(value, ':');
	uint64_t bps;
	if (!cg_has_file(h, file))
		return err_set(e, EX_FAILED, "limit %s=%s cannot be enforced: this kernel has no %s (block throttling)", name,
			       value, file);
	if (num_size(colon ? colon + 1 : value, &bps) < 0 || bps == 0)
		return bad_value(name, value, "not a size (bytes per second)", e);
	if (!colon)
		return limit_all_disks(h, bps, name, value, e);
	char dev[256];
	unsigned maj, min;
	struct stat st;
	snprintf(dev, sizeof dev, "%.*s", (int)(colon - value), value);
	if (dev[0] == '/') {
		if (stat(dev, &st) < 0)
			return err_sys(e, "limit %s=%s: %s", name, value, dev);
		if (!S_ISBLK(st.st_mode))
			return bad_value(name, value, "not a block device", e);
		maj = major(st.st_rdev);
		min = minor(st.st_rdev);
	} else if (sscanf(dev, "%u:%u", &maj, &min) != 2)
		return bad_value(name, value, "not MAJOR:MINOR:SIZE or /dev/NAME:SIZE", e);
	if (limit_disk_bps(h, maj, min, bps) < 0)
		return err_sys(e, "limit %s=%s: disk %u:%u", name, value, maj, min);
	return 0;
}

static int limit_pids(const struct cgroup_hier *h, const char *name, const char *value, struct err *e)
{
	uint64_t n;
	char text[32];
	if (num_u64(value, 4 << 20, &n) < 0 || n == 0)
		return bad_value(name, value, "not a number of processes", e);
	snprintf(text, sizeof text, "%llu", (unsigned long long)n);
	return put(h, "pids.max", text, name, value, e);
}

int cgroup_limit(struct cgroup_set *s, const char *name, const char *value, struct err *e)
{
	static const struct {
		const char *name;
		int (*set)(const struct cgroup_hier *h, const char *name, const char *value, struct err *e);
	} setters[] = {
		{ "memory", limit_memory }, { "swap", limit_swap }, { "cpus", limit_cpus },
		{ "cpuweight", limit_cpuweight }, { "cpuset", limit_cpuset }, { "pids", limit_pids },
		{ "iobps", limit_iobps },
	};
	const char *sub = cgroup_limit_subsystem(name);
	if (!sub)
		return err_set(e, EX_USAGE_, "unknown limit %s", name);
	const struct cgroup_hier *h = sub[0] ? cg_find(s, sub) : cg_v2(s);
	if (!h && strcmp(sub, "io") == 0)
		h = cg_find(s, "blkio");
	if (!h)
		return err_set(e, EX_FAILED, "limit %s=%s cannot be enforced: the job has no %s group", name, value,
			       sub[0] ? sub : "cgroup v2");
	for (size_t i = 0; i < sizeof setters / sizeof *setters; i++)
		if (strcmp(setters[i].name, name) == 0)
			return setters[i].set(h, name, value, e);
	return put(h, name, value, name, value, e);
}
