/* Fuzzes image_open and image_open_head: with the bytes as they come, and once more with the checksums of
 * their tar headers made right, so that what lies behind libarchive's first look is reached too. */
#include "image/image.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(struct image *im)
{
	for (size_t i = 0; i < image_count(im); i++) {
		const struct image_member *m = image_at(im, i);

		if (image_find(im, m->name) != m || (m->text && strlen(m->text) != m->size))
			abort();
	}
	image_free(im);
}

/* Whatever is refused is refused with a message and an exit status. */
static void try(int fd, int dir)
{
	struct err e = { 0 };
	struct image *im;

	if (image_open(&im, fd, dir, &e) == 0)
		use(im);
	else if (!e.code || !e.msg[0] || im)
		abort();
	memset(&e, 0, sizeof(e));
	if (image_open_head(&im, fd, &e) == 0)
		use(im);
	else if (!e.code || !e.msg[0] || im)
		abort();
}

static void repair(uint8_t *b, size_t size)
{
	for (size_t at = 0; at + 512 <= size; at += 512) {
		unsigned sum = 8 * ' ';
		char text[8];

		if (memcmp(b + at + 257, "ustar", 5))
			continue;
		for (size_t i = 0; i < 512; i++)
			sum += i < 148 || i >= 156 ? b[at + i] : 0;
		snprintf(text, sizeof(text), "%06o", sum);
		memcpy(b + at + 148, text, 7);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int dir = -1;
	int fd = memfd_create("image", MFD_CLOEXEC);
	uint8_t *copy;

	if (dir < 0)
		dir = open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || size > 1 << 20 || write(fd, data, size) != (ssize_t)size)
		goto out;
	try(fd, dir);
	copy = malloc(size + 1);
	if (!copy)
		goto out;
	memcpy(copy, data, size);
	repair(copy, size);
	if (memcmp(copy, data, size) && pwrite(fd, copy, size, 0) == (ssize_t)size)
		try(fd, dir);
	free(copy);
out:
	if (fd >= 0)
		close(fd);
	return 0;
}
