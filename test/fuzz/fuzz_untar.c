/* fuzz_untar: any bytes as the content of a file system of the job's (mtar_unpack()), into an empty directory. Whatever they are, what lies beside that
 * directory stays as it is. */
#include "res/mntns_int.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* in: what is unpacked; keep: what must stay. */
static char root[] = "/tmp/xos-untar.XXXXXX";
static struct stat kept[3];
static const char *const beside[3] = { ".", "keep", "keep/file" };

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "%s\n", what);
	abort();
}

static int away(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)at;
	return type == FTW_DP ? rmdir(path) : unlink(path);
}

/* Who is no superuser must be able to enter all of it. */
static int enter(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)at;
	return type == FTW_D || type == FTW_DNR ? chmod(path, 0700) : 0;
}

static void remove_in(void)
{
	if (geteuid())
		nftw("in", enter, 64, FTW_PHYS);
	nftw("in", away, 64, FTW_PHYS | FTW_DEPTH);
}

static void remove_root(void)
{
	if (chdir(root))
		return;
	remove_in();
	if (unlink("keep/file") || rmdir("keep") || chdir("/") || rmdir(root))
		fprintf(stderr, "%s is left\n", root);
}

static void make_root(void)
{
	int fd;

	must(!chdir(root), "no directory");
	must(!mkdir("keep", 0755), "keep");
	fd = open("keep/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	must(fd >= 0 && write(fd, "kept", 4) == 4, "keep/file");
	close(fd);
	must(!mkdir("in", 0700), "in");
	for (int i = 0; i < 3; i++)
		must(!stat(beside[i], &kept[i]), beside[i]);
}

static void look(void)
{
	struct stat st;

	/* The root's own times change with each new `in`. */
	for (int i = 0; i < 3; i++) {
		must(!lstat(beside[i], &st) && st.st_ino == kept[i].st_ino && st.st_mode == kept[i].st_mode && st.st_uid == kept[i].st_uid &&
		     st.st_gid == kept[i].st_gid && st.st_nlink == kept[i].st_nlink && st.st_size == kept[i].st_size, beside[i]);
		must(!i || (st.st_mtim.tv_sec == kept[i].st_mtim.tv_sec && st.st_mtim.tv_nsec == kept[i].st_mtim.tv_nsec), "a time of change");
	}
}

static struct image *image_of(const uint8_t *data, size_t size, int fd)
{
	struct image_writer *w;
	struct image *im = NULL;
	struct buf b = BUF_INIT;
	bool ok;

	must(!image_writer_new(&w, fd, NULL), "no writer");
	buf_adds(&b, "FORMAT=\"1\"\n");
	ok = !image_put_text(w, "description.txt", &b, NULL) && !image_put_text(w, "profile", &b, NULL) && !image_raw_begin(w, "content", size, NULL) &&
	     !image_raw_write(w, data, size, NULL) && !image_raw_end(w, NULL) && !image_finish(w, NULL);
	image_writer_free(w);
	buf_free(&b);
	must(ok && !image_open(&im, fd, -1, NULL), "no image");
	return im;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool made;
	int fd = memfd_create("image", MFD_CLOEXEC), home = open(".", O_PATH | O_CLOEXEC), in;
	struct restore r = { 0 };
	struct err e = ERR_INIT;

	if (!made) {
		must(mkdtemp(root) != NULL, "no directory");
		atexit(remove_root);
		make_root();
	}
	made = true;
	must(home >= 0 && !chdir(root), "no directory");
	umask(0);
	must(!mkdir("in", 0700) || errno == EEXIST, "in");
	r.img = image_of(data, size, fd);
	in = open("in", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(in >= 0, "in");
	/* Its own working directory changes. */
	if (mtar_unpack(&r, image_find(r.img, "content"), in, &e))
		must(e.code && e.msg[0], "no reason");
	must(!chdir(root), "the root is gone");
	look();
	close(in);
	image_free(r.img);
	close(fd);
	remove_in();
	must(access("in", F_OK) != 0, "cannot clean up");
	must(!fchdir(home), "cannot go home");
	close(home);
	return 0;
}
