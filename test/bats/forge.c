/* forge: takes an image apart and puts it together again with other contents, checksums right: for tests of what must be
 * refused though it is whole.
 *
 *     forge IN                          names and kinds of the members
 *     forge IN MEMBER                   its content to stdout
 *     forge IN OUT [EDIT]...            a new image; EDIT: -t NAME FILE  text member: replaced, or added behind the others
 *                                                      -r NAME FILE  the same for a raw member;  -d NAME  left out
 */
#include "common/buf.h"
#include "common/err.h"
#include "image/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct edit { char what; const char *name, *file; bool used; };

static int die(const struct err *e, const char *what)
{
	fprintf(stderr, "forge: %s: %s\n", what, e ? e->msg : strerror(errno));
	exit(1);
}

static char *content(struct image *im, const struct image_member *m)
{
	char *p = malloc(m->size + 1);

	if (!p || (!m->text && pread(image_fd(im), p, m->size, (off_t)m->offset) != (ssize_t)m->size))
		die(NULL, m->name);
	if (m->text)
		memcpy(p, m->text, m->size);
	return p;
}

static void load(const char *file, struct buf *b)
{
	if (buf_read_file(b, AT_FDCWD, file, (size_t)1 << 30))
		die(NULL, file);
}

static void put(struct image_writer *w, const char *name, bool text, const void *p, size_t n)
{
	struct buf b = BUF_INIT;
	struct err e = ERR_INIT;

	buf_add(&b, p, n);
	if (text ? image_put_text(w, name, &b, &e)
		 : image_raw_begin(w, name, n, &e) || (n && image_raw_write(w, p, n, &e)) || image_raw_end(w, &e))
		die(&e, name);
	buf_free(&b);
}

static void put_edit(struct image_writer *w, struct edit *x)
{
	struct buf b = BUF_INIT;

	x->used = true;
	if (x->what == 'd')
		return;
	load(x->file, &b);
	put(w, x->name, x->what == 't', buf_str(&b), b.len);
	buf_free(&b);
}

static int rebuild(struct image *im, const char *out, struct edit *edits, int n)
{
	int fd = open(out, O_RDWR | O_CREAT | O_TRUNC, 0600);
	struct image_writer *w;
	struct err e = ERR_INIT;

	if (fd < 0)
		die(NULL, out);
	if (image_writer_new(&w, fd, &e))
		die(&e, out);
	for (size_t i = 0; i < image_count(im); i++) {
		const struct image_member *m = image_at(im, i);
		struct edit *x = NULL;

		if (!strcmp(m->name, "end"))
			continue;
		for (int k = 0; k < n; k++)
			if (!strcmp(edits[k].name, m->name))
				x = &edits[k];
		if (x) {
			put_edit(w, x);
		} else {
			char *p = content(im, m);
			put(w, m->name, m->text, p, m->size);
			free(p);
		}
	}
	for (int k = 0; k < n; k++)
		if (!edits[k].used)
			put_edit(w, &edits[k]);
	if (image_finish(w, &e))
		die(&e, out);
	image_writer_free(w);
	return close(fd);
}

int main(int argc, char **argv)
{
	struct edit edits[64];
	struct err e = ERR_INIT;
	struct image *im;
	int n = 0, fd = argc > 1 ? open(argv[1], O_RDONLY) : -1, spool = open(".", O_RDONLY | O_DIRECTORY);

	if (fd < 0 || image_open(&im, fd, spool, &e))
		die(fd < 0 ? NULL : &e, argc > 1 ? argv[1] : "usage");
	if (argc == 2)
		for (size_t i = 0; i < image_count(im); i++)
			printf("%s %s %llu\n", image_at(im, i)->name, image_at(im, i)->text ? "text" : "raw",
			       (unsigned long long)image_at(im, i)->size);
	if (argc == 3) {
		const struct image_member *m = image_find(im, argv[2]);

		if (!m)
			die(&e, "no such member");
		fwrite(content(im, m), 1, m->size, stdout);
	}
	for (int i = 3; i < argc && n < 64; n++) {
		bool drop = !strcmp(argv[i], "-d");

		if (i + (drop ? 1 : 2) >= argc)
			die(NULL, argv[i]);
		edits[n] = (struct edit){ argv[i][1], argv[i + 1], drop ? NULL : argv[i + 2], false };
		i += drop ? 2 : 3;
	}
	return argc > 3 ? rebuild(im, argv[2], edits, n) : 0;
}
