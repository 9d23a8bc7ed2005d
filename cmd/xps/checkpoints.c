/* The list of checkpoints, from description.txt of each version. */
#include "common/buf.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/num.h"
#include "common/rec.h"
#include "image/image.h"
#include "job/job.h"
#include "xps.h"
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { C_JOB, C_VERSION, C_KIND, C_TIME, C_SIZE, C_PAUSE, C_DESCRIPTION, NCOLS, CELL = 32, DESCRIPTION_RECORDS = 64, STAT_MAX = 4096 };

static const struct table_col cols[NCOLS] = {
	[C_JOB] = { "JOB", false, false, "job id" },
	[C_VERSION] = { "VERSION", true, true, "number of the version" },
	[C_KIND] = { "KIND", false, false, "full or incremental" },
	[C_TIME] = { "TIME", false, true, "when it was made" },
	[C_SIZE] = { "SIZE", true, true, "size of the image" },
	[C_PAUSE] = { "PAUSE", true, true, "how long the job stood still" },
	[C_DESCRIPTION] = { "DESCRIPTION", false, false, "the user's text" },
};

struct head { char kind[CELL], date[CELL], pause[CELL]; char *description; };

/* description.txt is one field a line or all in one record; both are read. */
static int head_parse(struct head *h, const char *text, struct err *e)
{
	struct rec_list l;
	if (rec_list_parse(&l, text, strlen(text), DESCRIPTION_RECORDS, e) < 0)
		return -1;
	for (size_t i = 0; i < l.n; i++) {
		struct rec r;
		rec_list_get(&l, i, &r);
		for (size_t k = 0; k < r.n; k++) {
			const struct rec_field *f = &r.f[k];
			if (strcmp(f->key, "KIND") == 0)
				snprintf(h->kind, CELL, "%s", f->val);
			else if (strcmp(f->key, "DATE") == 0)
				snprintf(h->date, CELL, "%s", f->val);
			else if (strcmp(f->key, "PAUSE_US") == 0)
				snprintf(h->pause, CELL, "%s", f->val);
			else if (strcmp(f->key, "DESCRIPTION") == 0 && f->len && !h->description)
				h->description = strdup(f->val);
		}
	}
	rec_list_free(&l);
	return 0;
}

static int head_read(struct head *h, int fd, struct err *e)
{
	struct image *im;
	if (image_open_head(&im, fd, e) < 0)
		return -1;
	const struct image_member *m = image_find(im, "description.txt");
	int r = m && m->text ? head_parse(h, m->text, e) : err_set(e, EX_BAD_IMAGE, "no description.txt");
	image_free(im);
	return r;
}

/* DATE is UTC, 2026-11-20T23:10:30Z; shown in local time. */
static bool date_seconds(const char *s, time_t *out)
{
	struct tm tm = { .tm_isdst = 0 };
	char *end = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);
	if (!end || strcmp(end, "Z") != 0)
		return false;
	*out = timegm(&tm);
	return true;
}

/* The pause is known only when the image is written: xcheckpoint notes it beside the image, N.stat for N.tar. */
static void pause_read(struct head *h, const char *image)
{
	AUTO_BUF struct buf b = BUF_INIT;
	char path[PATH_MAX];
	struct err ignore = ERR_INIT;
	int n = (int)strlen(image) - 4;
	if (h->pause[0] || n < 0)
		return;
	snprintf(path, sizeof path, "%.*s.stat", n, image);
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd >= 0 && buf_read_fd(&b, fd, STAT_MAX) == 0 && b.len)
		head_parse(h, b.p, &ignore);
}

static const char *time_text(char *date, bool human)
{
	time_t when;
	struct tm tm;
	if (!date_seconds(date, &when) || !localtime_r(&when, &tm))
		return NULL;
	if (human)
		strftime(date, CELL, "%Y-%m-%d %H:%M:%S", &tm);
	else
		snprintf(date, CELL, "%lld", (long long)when);
	return date;
}

static const char *pause_text(char *pause, bool human)
{
	uint64_t us;
	if (!pause[0] || num_u64(pause, UINT64_MAX / 2, &us) < 0)
		return NULL;
	if (human && us < 1000000)
		snprintf(pause, CELL, "%" PRIu64 ".%" PRIu64 "ms", us / 1000, us % 1000 / 100);
	else if (human)
		num_duration_human(us / 1000, pause, CELL);
	else
		snprintf(pause, CELL, "%" PRIu64 ".%06u", us / 1000000, (unsigned)(us % 1000000));
	return pause;
}

static int add_version(struct table *t, const char *id, uint64_t version, const char *path, bool human, struct err *bad)
{
	char num[CELL], size[CELL];
	struct head h = { .description = NULL };
	struct stat st;
	const char *val[NCOLS] = { [C_JOB] = id, [C_VERSION] = num, [C_SIZE] = size };
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0) {
		if (errno != ENOENT) { /* pruned meanwhile otherwise */
			err_sys(bad, "%s", path);
			log_err(bad);
		}
		return 0;
	}
	snprintf(num, sizeof num, "%" PRIu64, version);
	if (human)
		num_size_human((uint64_t)st.st_size, size, sizeof size);
	else
		snprintf(size, sizeof size, "%" PRIu64, (uint64_t)st.st_size);
	if (head_read(&h, fd, bad) < 0) {
		err_prefix(bad, "%s", path);
		log_err(bad);
		snprintf(h.kind, CELL, "unreadable");
	} else {
		pause_read(&h, path);
	}
	val[C_KIND] = h.kind[0] ? h.kind : NULL;
	val[C_TIME] = time_text(h.date, human);
	val[C_PAUSE] = pause_text(h.pause, human);
	val[C_DESCRIPTION] = h.description;
	int r = table_row(t, val);
	free(h.description);
	return r;
}

static int add_job(struct table *t, const struct xps_opts *o, const char *id, size_t *found, struct err *bad,
		   struct err *e)
{
	uint64_t *v;
	size_t n;
	int r = 0;
	if (job_versions(o->state_dir, id, &v, &n, e) < 0)
		return -1;
	for (size_t i = 0; i < n && r == 0; i++) {
		char path[PATH_MAX];
		if (job_version_path(o->state_dir, id, v[i], path, sizeof path) < 0)
			continue;
		r = add_version(t, id, v[i], path, o->mode == TABLE_COLUMNS, bad);
	}
	*found += n;
	free(v);
	return r < 0 ? err_set(e, EX_FAILED, "out of memory") : 0;
}

static int add_all(struct table *t, const struct xps_opts *o, struct err *bad, struct err *e)
{
	char **ids;
	size_t n, found = 0;
	bool known = false;
	if (job_list(&ids, &n, o->state_dir, e) < 0)
		return -1;
	int r = 0;
	for (size_t i = 0; i < n && r == 0; i++) {
		if (o->id && strcmp(o->id, ids[i]) != 0)
			continue;
		known = true;
		r = add_job(t, o, ids[i], &found, bad, e);
	}
	job_list_free(ids, n);
	if (r == 0 && o->id && !known)
		return err_set(e, EX_NOSUCH, "no such job: %s", o->id);
	return r;
}

int xps_checkpoints(const struct xps_opts *o, struct err *e)
{
	struct table *t;
	struct err bad = ERR_INIT;
	if (table_new(&t, "checkpoints", cols, NCOLS, NULL, o->columns, o->mode, o->noheadings, e) < 0)
		return -1;
	int r = add_all(t, o, &bad, e);
	if (r == 0)
		r = table_print(t, STDOUT_FILENO, e);
	table_free(t);
	if (r == 0 && bad.code)
		return err_set(e, bad.code, "not every image could be read");
	return r;
}
