#include "res/ns_sysctl.h"
#include "common/cleanup.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>

enum { VALUE_MAX_ = 256 };

static int value_of(const char *name, char *out, size_t n)
{
	char path[128];
	AUTO_FD int fd = -1;
	ssize_t len;

	snprintf(path, sizeof path, "/proc/sys/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	len = fd < 0 ? -1 : read(fd, out, n - 1);
	if (len < 0)
		return -1;
	while (len && out[len - 1] == '\n')
		len--;
	out[len] = '\0';
	return 0;
}

int ns_sysctl_read(const char *const *names, struct buf *out, struct err *e)
{
	char v[VALUE_MAX_];

	for (; *names; names++) {
		if (!value_of(*names, v, sizeof v))
			buf_printf(out, "%s %s\n", *names, v);
		else if (errno != ENOENT && errno != EACCES)
			return err_sys(e, "cannot read /proc/sys/%s", *names);
	}
	return 0;
}

void ns_sysctl_put(struct buf *rec, const char *key, const char *lines)
{
	if (*lines)
		rec_put_str(rec, key, lines);
}

typedef int line_fn(void *ctx, const char *name, const char *value, struct err *e);

static int each_line(const struct rec *rec, const char *key, line_fn *fn, void *ctx, struct err *e)
{
	const char *s = rec_find(rec, key);

	while (s && *s) {
		size_t n = strcspn(s, "\n"), k = strcspn(s, " ");
		char name[64], value[VALUE_MAX_];

		if (s[n] != '\n' || k >= n || k >= sizeof name || n - k > sizeof value)
			return err_set(e, EX_BAD_IMAGE, "line %zu: %s", rec->line, key);
		snprintf(name, sizeof name, "%.*s", (int)k, s);
		snprintf(value, sizeof value, "%.*s", (int)(n - k - 1), s + k + 1);
		if (fn(ctx, name, value, e))
			return -1;
		s += n + 1;
	}
	return 0;
}

static int known(void *ctx, const char *name, const char *value, struct err *e)
{
	const char *const *names = ctx;

	while (*names && strcmp(*names, name))
		names++;
	if (!*names || strspn(value, "-0123456789 \t") != strlen(value))
		return err_set(e, EX_BAD_IMAGE, "\"%s %s\" is no setting of such a namespace", name, value);
	return 0;
}

int ns_sysctl_verify(const struct rec *rec, const char *key, const char *const *names, struct err *e)
{
	return each_line(rec, key, known, (void *)names, e);
}

static int set(void *ctx, const char *name, const char *value, struct err *e)
{
	char now[VALUE_MAX_], path[128];
	AUTO_FD int fd = -1;

	(void)ctx;
	if (!value_of(name, now, sizeof now) && !strcmp(now, value))
		return 0;
	snprintf(path, sizeof path, "/proc/sys/%s", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, value, strlen(value)) != (ssize_t)strlen(value))
		return err_sys(e, "cannot set %s to \"%s\"", path, value);
	return 0;
}

int ns_sysctl_write(const struct rec *rec, const char *key, struct err *e)
{
	return each_line(rec, key, set, NULL, e);
}
