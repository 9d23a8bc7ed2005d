/* proc_util: what the files of proc_ops.h have in common. */
#include "res/proc_ops.h"
#include "common/cleanup.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>

const char *const res_proc_types[] = {
	"umask", "fs", "sigaction", "sigpending", "oom_score_adj", "coredump_filter", "autogroup", "rlimit",
	"prctl", "comm", "sched", "seccomp", "seccomp_filter", "creds", "robust_list", "tid_address",
	"altstack", "mempolicy", "rseq", "posix_timer", "itimer", "semundo", "keys", "key", "clocks", "namespaces", "mlockall", "in_group", "aio", NULL
};

struct remote *thread_rem(const struct dproc *p, const struct dthread *th)
{
	return th->rem ? th->rem : p->rem;
}

int proc_write(pid_t pid, const char *name, const char *text)
{
	char path[128];
	AUTO_FD int fd = -1;
	size_t n = strlen(text);
	ssize_t w;

	snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	w = write(fd, text, n);
	if (w >= 0 && (size_t)w != n)
		errno = EIO;
	return w == (ssize_t)n ? 0 : -1;
}

int proc_read_num(pid_t pid, const char *name, int base, int64_t *out)
{
	AUTO_BUF struct buf b = BUF_INIT;
	char *end;

	if (proc_read(&b, pid, name, 4096) < 0)
		return -1;
	errno = 0;
	*out = strtoll(buf_str(&b), &end, base);
	if (errno || end == buf_str(&b) || (*end && !isspace((unsigned char)*end))) {
		errno = EINVAL;
		return -1;
	}
	return 0;
}

bool proc_capable(const struct restore *r, int cap)
{
	cap_t c;
	cap_flag_value_t v = CAP_CLEAR;

	/* In a user namespace of its own a process has every capability, but none that the machine asks for. */
	if (r->own_ns)
		return false;
	c = cap_get_proc();
	if (!c)
		return false;
	if (cap_get_flag(c, cap, CAP_EFFECTIVE, &v) < 0)
		v = CAP_CLEAR;
	cap_free(c);
	return v == CAP_SET;
}

bool proc_untrusted(const struct restore *r)
{
	return !r->o->trust && r->o->image_owner != 0 && r->o->image_owner != geteuid();
}
