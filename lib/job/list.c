/* Lists of job ids, and a command line as one shell-quoted line. */
#include "common/buf.h"
#include "common/cleanup.h"
#include "job/internal.h"
#include <ctype.h>
#include <fcntl.h>
#include <string.h>

enum { LIST_MAX = 1 << 20 };

struct ids { char **v; size_t n, cap; };

static int add_id(struct ids *l, const char *id)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;
		char **v = cap > LIST_MAX ? NULL : realloc(l->v, cap * sizeof *v);
		if (!v)
			return -1;
		l->v = v;
		l->cap = cap;
	}
	if (!(l->v[l->n] = strdup(id)))
		return -1;
	l->n++;
	return 0;
}

static int add_dir(struct ids *l, const char *state_dir, const char *sub, struct err *e)
{
	char path[4096];
	snprintf(path, sizeof path, "%s/%s", state_dir, sub);
	AUTO_DIR DIR *d = opendir(path);
	if (!d)
		return errno == ENOENT ? 0 : err_sys(e, "%s", path);
	for (struct dirent *de; (de = readdir(d));)
		if (job_id_valid(de->d_name) && add_id(l, de->d_name) < 0)
			return err_set(e, EX_FAILED, "too many jobs");
	return 0;
}

static bool is_number(const char *s)
{
	return strspn(s, "0123456789") == strlen(s);
}

/* Numbers by value, then names. */
static int compare(const void *a, const void *b)
{
	const char *x = *(char *const *)a, *y = *(char *const *)b;
	bool nx = is_number(x), ny = is_number(y);
	if (nx != ny)
		return nx ? -1 : 1;
	if (nx && strlen(x) != strlen(y))
		return strlen(x) < strlen(y) ? -1 : 1;
	return strcmp(x, y);
}

int job_list(char ***ids, size_t *n, const char *state_dir, struct err *e)
{
	struct ids l = { 0 };
	if (add_dir(&l, state_dir, "jobs", e) < 0 || add_dir(&l, state_dir, "checkpoints", e) < 0) {
		job_list_free(l.v, l.n);
		return -1;
	}
	if (l.n)
		qsort(l.v, l.n, sizeof *l.v, compare);
	size_t k = 0;
	for (size_t i = 0; i < l.n; i++) {
		if (k && strcmp(l.v[k - 1], l.v[i]) == 0)
			free(l.v[i]);
		else
			l.v[k++] = l.v[i];
	}
	*ids = l.v;
	*n = k;
	return 0;
}

void job_list_free(char **ids, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(ids[i]);
	free(ids);
}

static bool plain(const char *s)
{
	if (!*s)
		return false;
	for (; *s; s++)
		if (!isascii((unsigned char)*s) || (!isalnum((unsigned char)*s) && !strchr("%+,-./:=@_", *s)))
			return false;
	return true;
}

char *job_quote(char *const *argv)
{
	struct buf b = BUF_INIT;
	for (size_t i = 0; argv[i]; i++) {
		if (i)
			buf_addc(&b, ' ');
		if (plain(argv[i])) {
			buf_adds(&b, argv[i]);
			continue;
		}
		buf_addc(&b, '\'');
		for (const char *p = argv[i]; *p; p++) {
			if (*p == '\'')
				buf_adds(&b, "'\\''");
			else
				buf_addc(&b, *p);
		}
		buf_addc(&b, '\'');
	}
	if (buf_failed(&b)) {
		buf_free(&b);
		return NULL;
	}
	return b.p ? b.p : strdup("");
}
