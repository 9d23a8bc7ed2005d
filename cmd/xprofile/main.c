/* xprofile: prints the compatibility profile of this node, or of an image. */
#include "common/cleanup.h"
#include "common/log.h"
#include "common/num.h"
#include "common/opt.h"
#include "common/state.h"
#include "cr/cr.h"
#include "job/job.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>

enum { OPT_STATE_DIR = 256 };

static const struct opt_def defs[] = {
	{ 'i', "image", "FILE", "of this image; - reads one from stdin" },
	{ OPT_STATE_DIR, "state-dir", "DIR", "state directory" },
	{ 0, NULL, NULL, NULL },
};
static const struct opt_tool tool = {
	.name = "xprofile",
	.usage = "[JOBID [VERSION] | -i FILE]",
	.summary = "Prints what this node offers, or what an image needs of a node, as KEY=\"value\" lines.",
	.defs = defs,
	.footer = "VERSION: the newest when it is not given. `xrestart -c` compares the two.\n"
		  "Exit status: 0 done, 1 failed, 2 usage, 3 no such job or version, 6 bad image, 8 not permitted.",
	.usage_status = EX_USAGE_,
};

struct options { const char *image, *state_dir; };

static int handle(int ch, const char *arg, void *data, struct err *e)
{
	struct options *o = data;

	switch (ch) {
	case 'i': o->image = arg; return 0;
	case OPT_STATE_DIR: o->state_dir = arg; return 0;
	}
	return 0;
}

static int print_all(const char *s, size_t n, struct err *e)
{
	if (fwrite(s, 1, n, stdout) != n || fflush(stdout))
		return err_sys(e, "cannot write");
	return 0;
}

static int of_node(struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;

	profile_node(&b);
	if (buf_failed(&b))
		return err_set(e, EX_FAILED, "out of memory");
	return print_all(b.p, b.len, e);
}

/* A pipe has to be read to its end, and then it is checked as a whole. */
static int open_image(struct image **im, int fd, struct err *e)
{
	if (lseek(fd, 0, SEEK_CUR) >= 0)
		return image_open_head(im, fd, e);
	AUTO_FD int spool = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return image_open(im, fd, spool, e);
}

static int of_image(const char *path, struct err *e)
{
	AUTO_FD int opened = -1;
	const struct image_member *m;
	struct image *im = NULL;
	int fd = STDIN_FILENO, rc;

	if (strcmp(path, "-")) {
		fd = opened = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return errno == ENOENT ? err_set(e, EX_NOSUCH, "%s: no such image", path) : err_sys(e, "%s", path);
	}
	if (open_image(&im, fd, e))
		return err_prefix(e, "%s", path);
	m = image_find(im, "profile");
	rc = m && m->text ? print_all(m->text, m->size, e) : err_set(e, EX_BAD_IMAGE, "%s: the image has no member `profile`", path);
	image_free(im);
	return rc;
}

/* *version 0: the newest. */
static int version_path(const char *state, const char *id, uint64_t version, char *out, size_t n, struct err *e)
{
	AUTO_FREE uint64_t *v = NULL;
	size_t count = 0;

	if (job_versions(state, id, &v, &count, e))
		return -1;
	if (!count)
		return err_set(e, EX_NOSUCH, "job %s has no checkpoint", id);
	if (!version)
		version = v[count - 1];
	for (size_t i = 0; i < count; i++)
		if (v[i] == version)
			return job_version_path(state, id, version, out, n) ? err_set(e, EX_FAILED, "path is too long") : 0;
	return err_set(e, EX_NOSUCH, "job %s has no version %llu", id, (unsigned long long)version);
}

int main(int argc, char **argv)
{
	struct options o = { NULL, NULL };
	char state[PATH_MAX], path[PATH_MAX];
	struct err e = ERR_INIT;
	uint64_t version = 0;
	int status = 0;

	log_init(tool.name);
	int first = opt_parse(&tool, argc, argv, handle, &o, &status);
	if (first < 0)
		return status;
	if (argc - first > (o.image ? 0 : 2))
		return opt_usage(&tool, "unexpected operand %s", argv[o.image ? first : first + 2]);
	if (first < argc && !job_id_valid(argv[first]))
		return opt_usage(&tool, "not a job id: %s", argv[first]);
	if (argc - first == 2 && (num_u64(argv[first + 1], UINT64_MAX, &version) || !version))
		return opt_usage(&tool, "not a version: %s", argv[first + 1]);
	if (!o.image && first == argc)
		return of_node(&e) ? log_err(&e) : 0;
	if (!o.image) {
		if (state_default_dir(o.state_dir, state, sizeof state, &e) ||
		    version_path(state, argv[first], version, path, sizeof path, &e))
			return log_err(&e);
		o.image = path;
	}
	return of_image(o.image, &e) ? log_err(&e) : 0;
}
