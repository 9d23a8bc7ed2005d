#include "job/conf.h"
#include "common/cleanup.h"
#include <ctype.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>

enum { CONF_MAX = 1 << 20 };

static int get_bool(const char *v, bool *out)
{
	static const char *const names[2][4] = { { "no", "false", "off", "0" }, { "yes", "true", "on", "1" } };
	for (int b = 0; b < 2; b++)
		for (int i = 0; i < 4; i++)
			if (strcasecmp(v, names[b][i]) == 0) {
				*out = b;
				return 0;
			}
	return -1;
}

/* Blanks and commas separate; one comma each is kept. */
static int get_list(const char *v, char *out, size_t n)
{
	size_t k = 0;
	for (const char *p = v + strspn(v, ", \t"); *p; p += strspn(p, ", \t")) {
		size_t w = strcspn(p, ", \t");
		if (k + w + 2 > n)
			return -1;
		if (k)
			out[k++] = ',';
		memcpy(out + k, p, w);
		k += w;
		p += w;
	}
	out[k] = '\0';
	return 0;
}

static char *trim(char *s)
{
	s += strspn(s, " \t\r");
	for (char *end = s + strlen(s); end > s && strchr(" \t\r", end[-1]);)
		*--end = '\0';
	return s;
}

static int conf_line(struct job_conf *c, char *line, const char *path, unsigned no, struct err *e)
{
	line[strcspn(line, "#")] = '\0';
	char *key = trim(line), *val = key + strcspn(key, " \t=");
	if (!*key)
		return 0;
	if (*val) {
		bool equals = *val == '=';
		*val++ = '\0';
		val += strspn(val, " \t");
		if (!equals && *val == '=')
			val++;
		val = trim(val);
	}
	if (strcasecmp(key, "UseCgroups") == 0) {
		if (get_bool(val, &c->use_cgroups) < 0)
			return err_set(e, EX_FAILED, "%s:%u: UseCgroups is yes or no, not \"%s\"", path, no, val);
	} else if (strcasecmp(key, "Subsystems") == 0) {
		if (get_list(val, c->subsystems, sizeof c->subsystems) < 0)
			return err_set(e, EX_FAILED, "%s:%u: Subsystems: too long", path, no);
	} else {
		buf_printf(&c->warnings, "%s:%u: unknown key %s\n", path, no, key);
	}
	return 0;
}

int job_conf_read(struct job_conf *c, const char *path, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;
	memset(c, 0, sizeof *c);
	c->use_cgroups = true;
	strcpy(c->subsystems, JOB_CONF_SUBSYSTEMS);
	if (buf_read_file(&b, AT_FDCWD, path, CONF_MAX) < 0)
		return errno == ENOENT ? 0 : err_sys(e, "%s", path);
	unsigned no = 0;
	for (char *l = b.p; l && *l;) {
		char *nl = strchr(l, '\n');
		if (nl)
			*nl = '\0';
		if (conf_line(c, l, path, ++no, e) < 0) {
			job_conf_free(c);
			return -1;
		}
		l = nl ? nl + 1 : NULL;
	}
	return 0;
}

void job_conf_free(struct job_conf *c)
{
	buf_free(&c->warnings);
}
