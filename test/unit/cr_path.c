/* restore_path: -L relocation, and which paths of an image are none. */
#include "res/res.h"
#include "unit.h"

#include <string.h>

static struct subst reloc[] = {
	{ (char[]){ "/home/a" }, (char[]){ "/mnt" } },
	{ (char[]){ "/home/a/b/" }, (char[]){ "/deep" } },
};

static bool gives(struct restore *r, const char *path, const char *want)
{
	char out[PATH_MAX];
	struct err e = ERR_INIT;

	return !restore_path(r, path, out, &e) && !strcmp(out, want);
}

static bool refused(struct restore *r, const char *path)
{
	char out[PATH_MAX];
	struct err e = ERR_INIT;

	return restore_path(r, path, out, &e) && e.code == EX_BAD_IMAGE;
}

static void paths_relocated(void)
{
	struct restart_opts o = { .reloc = reloc, .nreloc = 2 }, none = { 0 };
	struct subst root = { (char[]){ "/" }, (char[]){ "/jail" } };
	struct restart_opts all = { .reloc = &root, .nreloc = 1 };
	struct restore r = { .o = &o }, plain = { .o = &none }, jail = { .o = &all };

	CHECK(gives(&plain, "/home/a/x", "/home/a/x"));
	CHECK(gives(&r, "/home/a/x/y", "/mnt/x/y"));
	CHECK(gives(&r, "/home/a", "/mnt"));
	CHECK(gives(&r, "/home/ab", "/home/ab")); /* only whole components */
	CHECK(gives(&r, "/home/a/b/c", "/deep/c")); /* the longest OLD */
	CHECK(gives(&r, "/home/a/b", "/deep"));
	CHECK(gives(&jail, "/etc/passwd", "/jail/etc/passwd"));
}

static void paths_refused(void)
{
	struct restart_opts none = { 0 };
	struct restore plain = { .o = &none };
	char longest[PATH_MAX + 10];

	CHECK(refused(&plain, "etc/passwd") && refused(&plain, ""));
	CHECK(refused(&plain, "/a/../b") && refused(&plain, "/..") && refused(&plain, "/a/.."));
	CHECK(gives(&plain, "/a/..b/c..", "/a/..b/c..") && gives(&plain, "/a/.b", "/a/.b"));
	memset(longest, 'a', sizeof longest - 1);
	longest[0] = '/';
	longest[sizeof longest - 1] = 0;
	CHECK(refused(&plain, longest));
}

int main(void)
{
	RUN(paths_relocated);
	RUN(paths_refused);
	return unit_status();
}
