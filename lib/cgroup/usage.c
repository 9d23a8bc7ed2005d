/* What a group has used: CPU from cpu.stat (v2) or cpuacct, memory, I/O, processes. */
#include "cgroup/internal.h"
#include <string.h>
#include <stdlib.h>

enum { USAGE_TEXT = 64 << 10 };

static bool read_u64(const struct cgroup_hier *h, const char *file, uint64_t *out)
{
	char t[64], *end;
	if (cg_read(h, file, t, sizeof t) < 0)
		return false;
	*out = strtoull(t, &end, 10);
	return end != t;
}

static void cpu_usage(const struct cgroup_set *s, struct cgroup_usage *u)
{
	const struct cgroup_hier *h = cg_v2(s);
	char t[4096];
	if (h && cg_read(h, "cpu.stat", t, sizeof t) == 0) {
		u->cpu_user_us = cg_keyed(t, "user_usec", 0);
		u->cpu_sys_us = cg_keyed(t, "system_usec", 0);
		return;
	}
	uint64_t user, sys;
	if ((h = cg_find(s, "cpuacct")) && read_u64(h, "cpuacct.usage_user", &user) &&
	    read_u64(h, "cpuacct.usage_sys", &sys)) {
		u->cpu_user_us = user / 1000;
		u->cpu_sys_us = sys / 1000;
	}
}

static void mem_usage(const struct cgroup_set *s, struct cgroup_usage *u)
{
	const struct cgroup_hier *h = cg_find(s, "memory");
	if (!h)
		return;
	u->has_mem = read_u64(h, h->v2 ? "memory.peak" : "memory.max_usage_in_bytes", &u->mem_peak);
	u->has_mem_now = read_u64(h, h->v2 ? "memory.current" : "memory.usage_in_bytes", &u->mem_now);
}

/* v1: "8:0 Read 4096" a line; v2: "8:0 rbytes=4096 wbytes=0 ..." */
static void io_usage(const struct cgroup_set *s, struct cgroup_usage *u)
{
	const struct cgroup_hier *h = cg_find(s, "io");
	if (!h)
		h = cg_find(s, "blkio");
	char *t = h ? malloc(USAGE_TEXT) : NULL;
	if (!t)
		return;
	if (cg_read(h, h->v2 ? "io.stat" : "blkio.throttle.io_service_bytes_recursive", t, USAGE_TEXT) == 0) {
		static const char *const words[2][2] = { { " Read ", " Write " }, { " rbytes=", " wbytes=" } };
		uint64_t *sum[2] = { &u->io_read, &u->io_write };
		for (int k = 0; k < 2; k++) {
			const char *w = words[h->v2][k];
			*sum[k] = 0;
			for (const char *p = t; (p = strstr(p, w)); p += strlen(w))
				*sum[k] += strtoull(p + strlen(w), NULL, 10);
		}
		u->has_io = true;
	}
	free(t);
}

int cgroup_read_usage(const struct cgroup_set *s, struct cgroup_usage *u, struct err *e)
{
	if (!cgroup_exists(s))
		return err_set(e, EX_NOSUCH, "the control group is gone");
	cpu_usage(s, u);
	mem_usage(s, u);
	io_usage(s, u);
	const struct cgroup_hier *h = cg_find(s, "pids");
	if (h)
		u->has_procs = read_u64(h, "pids.peak", &u->procs_peak);
	return 0;
}
