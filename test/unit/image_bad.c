/* image_bad: what is not exactly an image is refused, whatever is wrong with it. */
#include "image_test.h"

#include "image/imgidx.h"

static bool test_flips(void)
{
	static const unsigned char masks[] = { 0, 0x20, 0xff }; /* 0: one bit, another one at each byte */
	AUTO_FD int fd = mem_file();
	struct err e = ERR_INIT;
	struct stat st;

	DOES(small_image(fd, &e));
	CHECK(fstat(fd, &st) == 0 && st.st_size < 50000);
	for (off_t i = 0; i < st.st_size; i++)
		for (size_t k = 0; k < sizeof(masks); k++) {
			unsigned char was, now;

			CHECK(pread(fd, &was, 1, i) == 1);
			now = was ^ (masks[k] ? masks[k] : (unsigned char)(1 << i % 8));
			CHECK(pwrite(fd, &now, 1, i) == 1);
			if (!refused(fd, "")) {
				size_t len = strlen(why);

				snprintf(why + len, sizeof(why) - len, " at byte %lld, %02x for %02x", (long long)i, now, was);
				return false;
			}
			CHECK(pwrite(fd, &was, 1, i) == 1);
		}
	return small_is_right(fd);
}

static bool test_truncation(void)
{
	AUTO_FD int fd = mem_file();
	struct err e = ERR_INIT;
	struct stat st;
	char words[100];

	DOES(small_image(fd, &e));
	CHECK(fstat(fd, &st) == 0);
	for (off_t i = st.st_size - 1; i >= 0; i--) {
		CHECK(ftruncate(fd, i) == 0);
		snprintf(words, sizeof(words), "truncated: it ends at byte %lld, its ", (long long)i);
		if (!refused(fd, words))
			return false;
	}
	return true;
}

static bool test_truncated_pipe(void)
{
	AUTO_FD int fd = mem_file();
	AUTO_BUF struct buf b = BUF_INIT;
	struct err e = ERR_INIT;

	DOES(small_image(fd, &e));
	CHECK(lseek(fd, 0, SEEK_SET) == 0 && buf_read_fd(&b, fd, 1 << 20) == 0);
	for (size_t n = 0; n < b.len; n += n < 2000 ? 100 : 1111) {
		int p[2];
		bool good;

		CHECK(pipe2(p, O_CLOEXEC) == 0 && write(p[1], b.p, n) == (ssize_t)n);
		close(p[1]);
		good = refused(p[0], "truncated: it ends at byte ");
		close(p[0]);
		if (!good)
			return false;
	}
	return true;
}

/* A tar made by hand, with an `end` that agrees with it, so that only what is wrong on purpose is wrong. */
struct forged {
	struct buf b;
	struct imgidx idx;
};

static void forge_sum(char *h)
{
	unsigned sum = 0;

	memset(h + 148, ' ', 8);
	for (int i = 0; i < 512; i++)
		sum += (unsigned char)h[i];
	snprintf(h + 148, 8, "%06o", sum);
}

static void forge_header(struct buf *b, const char *name, unsigned mode, uint64_t size, char type, const char *link)
{
	char h[513] = { 0 };

	snprintf(h, 100, "%s", name);
	snprintf(h + 100, 24, "%07o%c%07o%c%07o", mode, 0, 0, 0, 0);
	snprintf(h + 124, 12, "%011llo", (unsigned long long)size);
	snprintf(h + 136, 12, "%011o", 0);
	h[156] = type;
	snprintf(h + 157, 100, "%s", link);
	memcpy(h + 257, "ustar\00000", 8);
	forge_sum(h);
	buf_add(b, h, 512);
}

static void forge_pad(struct buf *b)
{
	while (b->len % 512)
		buf_addc(b, 0);
}

static void forge(struct forged *f, const char *name, unsigned mode, char type, const char *text)
{
	struct imgidx_member *m;

	forge_header(&f->b, name, mode, strlen(text), type, type == '1' || type == '2' ? "description.txt" : "");
	m = imgidx_add(&f->idx, imgidx_name_ok(name) ? name : "x", strlen(text), mode == 0400, EX_FAILED, NULL);
	m->m.offset = f->b.len;
	m->crc = crc32c(0, text, strlen(text));
	buf_adds(&f->b, text);
	forge_pad(&f->b);
}

static int forge_end(struct forged *f)
{
	struct buf t = BUF_INIT;
	size_t at = f->b.len;
	int fd = mem_file();

	for (size_t i = 0; i < f->idx.n; i++)
		imgidx_put_member(&t, &f->idx.v[i]);
	imgidx_put_end(&t, f->idx.n, at, crc32c(0, f->b.p, at));
	forge_header(&f->b, "end", 0600, t.len + IMGIDX_SELF_LEN, '0', "");
	imgidx_put_self(&t, crc32c(crc32c(0, f->b.p + at, 512), t.p, t.len));
	buf_add(&f->b, t.p, t.len);
	forge_pad(&f->b);
	for (int i = 0; i < 1024; i++)
		buf_addc(&f->b, 0);
	if (write(fd, f->b.p, f->b.len) != (ssize_t)f->b.len)
		abort();
	buf_free(&t);
	buf_free(&f->b);
	imgidx_free(&f->idx);
	return fd;
}

static bool forgery(const char *description, const char *name, unsigned mode, char type, const char *text, const char *words)
{
	struct forged f = { 0 };
	AUTO_FD int fd = -1;
	struct err e = ERR_INIT;
	struct image *im;

	forge(&f, "description.txt", 0600, '0', description);
	if (name)
		forge(&f, name, mode, type, text);
	fd = forge_end(&f);
	if (words)
		return refused(fd, words);
	DOES(image_open(&im, fd, spool_dir, &e));
	image_free(im);
	return true;
}

static bool test_forged(void)
{
	static const char good[] = "FORMAT=\"1\"\n";

	return forgery(good, NULL, 0, 0, NULL, NULL) && forgery(good, "a", 0600, '0', "X=\"1\"\n", NULL) &&
	       forgery("FORMAT=\"7\"\n", NULL, 0, 0, NULL, "image format 7 is not known to this version (it reads 1)") &&
	       forgery("FORMAT=\"\"\n", NULL, 0, 0, NULL, "FORMAT is not a number") &&
	       forgery("FORMAT=\"99999999999999999999\"\n", NULL, 0, 0, NULL, "FORMAT is not a number") &&
	       forgery("NAME=\"1\"\n", NULL, 0, 0, NULL, "names no FORMAT") &&
	       forgery("FORMAT\n", NULL, 0, 0, NULL, "description.txt: line 1") &&
	       forgery(good, "/etc/passwd", 0600, '0', "", "name '/etc/passwd' is not allowed") &&
	       forgery(good, "../x", 0600, '0', "", "is not allowed") && forgery(good, "..", 0600, '0', "", "is not allowed") &&
	       forgery(good, "a\x1b[31m", 0600, '0', "", "is not allowed") &&
	       forgery(good, "a\xff", 0600, '0', "", "") &&
	       forgery(good, "a", 0644, '0', "", "has mode 0644") &&
	       forgery(good, "a", 0400, '0', "x", "is not aligned") &&
	       forgery(good, "l", 0600, '2', "", "l is not a plain file") &&
	       forgery(good, "l", 0600, '1', "", "l is not a plain file") &&
	       forgery(good, "d", 0600, '5', "", "is not a") && forgery(good, "c", 0600, '3', "", "c is not a plain file") &&
	       forgery(good, "b", 0600, '4', "", "b is not a plain file") && forgery(good, "p", 0600, '6', "", "p is not a plain file") &&
	       forgery(good, "description.txt", 0600, '0', good, "member description.txt is there twice");
}

static bool test_more_forgeries(void)
{
	AUTO_FD int a = -1, b = -1, c = -1, d = -1, g = -1, h = -1;
	struct forged f = { 0 };
	struct err e = ERR_INIT;
	struct stat st;

	forge(&f, "profile", 0600, '0', "X=\"1\"\n");
	a = forge_end(&f);
	if (!refused(a, "its first member is not description.txt"))
		return false;

	/* a lying list: another name, another size, one too many, one too few */
	for (int i = 0; i < 4; i++) {
		AUTO_FD int fd = -1;

		forge(&f, "description.txt", 0600, '0', "FORMAT=\"1\"\n");
		forge(&f, "a", 0600, '0', "X=\"1\"\n");
		if (i == 0)
			f.idx.v[1].m.name[0] = 'b';
		else if (i == 1)
			f.idx.v[1].m.size++;
		else if (i == 2)
			imgidx_add(&f.idx, "c", 1, false, EX_FAILED, NULL);
		else
			free(f.idx.v[--f.idx.n].m.name);
		fd = forge_end(&f);
		if (!refused(fd, "`end`"))
			return false;
	}
	/* a wrong checksum in the list */
	forge(&f, "description.txt", 0600, '0', "FORMAT=\"1\"\n");
	forge(&f, "a", 0600, '0', "X=\"1\"\n");
	f.idx.v[1].crc++;
	b = forge_end(&f);
	if (!refused(b, "member a is damaged"))
		return false;

	/* two in one, something behind, and a longer end than a tar has */
	c = mem_file();
	DOES(small_image(c, &e));
	DOES(small_image(c, &e));
	d = mem_file();
	DOES(small_image(d, &e));
	CHECK(write(d, "x", 1) == 1);
	g = mem_file();
	DOES(small_image(g, &e));
	CHECK(fstat(g, &st) == 0 && ftruncate(g, st.st_size + 512) == 0);
	if (!refused(c, "something follows its end") || !refused(d, "something follows its end") ||
	    !refused(g, "something follows its end"))
		return false;

	h = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return refused(h, "is a directory");
}

/* Sizes that are not there, in a pipe, where nobody can know: 300 MiB of text and 1 PiB of pages. */
static bool test_lying_sizes(void)
{
	struct buf x = BUF_INIT;

	for (int raw = 0; raw < 2; raw++) {
		int p[2];
		bool good;

		buf_reset(&x);
		forge_header(&x, "description.txt", 0600, 11, '0', "");
		buf_adds(&x, "FORMAT=\"1\"\n");
		forge_pad(&x);
		if (raw) { /* to be aligned */
			forge_header(&x, "text", 0600, 2048, '0', "");
			for (int i = 0; i < 2048; i++)
				buf_addc(&x, '\n');
			forge_header(&x, "r", 0400, 0, '0', "");
			memcpy(x.p + x.len - 512 + 124, "\x80\0\0\0\0\x04\0\0\0\0\0\0", 12);
			forge_sum(x.p + x.len - 512);
		} else {
			forge_header(&x, "t", 0600, 300 << 20, '0', "");
		}
		CHECK(pipe2(p, O_CLOEXEC) == 0 && write(p[1], x.p, x.len) == (ssize_t)x.len);
		close(p[1]);
		good = refused(p[0], "over the limit");
		close(p[0]);
		if (!good)
			return false;
	}
	buf_free(&x);
	return true;
}

/* A sparse file of GNU tar: libarchive would hand out more bytes than the file holds. */
static bool test_sparse(void)
{
	AUTO_FD int fd = mem_file();
	struct buf b = BUF_INIT;
	char block[512];
	bool good;

	forge_header(&b, "description.txt", 0600, 11, '0', "");
	buf_adds(&b, "FORMAT=\"1\"\n");
	forge_pad(&b);
	forge_header(&b, "s", 0600, 512, 'S', "");
	memcpy(b.p + 1024 + 257, "ustar  ", 8);
	snprintf(b.p + 1024 + 386, 24, "%011o%c%011o", 1 << 20, 0, 512);
	snprintf(b.p + 1024 + 483, 12, "%011o", (1 << 20) + 512);
	forge_sum(b.p + 1024);
	memset(block, 'x', sizeof(block));
	buf_add(&b, block, sizeof(block));
	memset(block, 0, sizeof(block));
	buf_add(&b, block, sizeof(block));
	buf_add(&b, block, sizeof(block));
	CHECK(write(fd, b.p, b.len) == (ssize_t)b.len);
	good = refused(fd, "s is a sparse file");
	buf_free(&b);
	return good;
}

int main(void)
{
	image_test_init();
	run("image: each byte flipped", test_flips);
	run("image: truncated at each byte", test_truncation);
	run("image: truncated in a pipe", test_truncated_pipe);
	run("image: forged members", test_forged);
	run("image: forged lists and ends", test_more_forgeries);
	run("image: lying sizes", test_lying_sizes);
	run("image: sparse member", test_sparse);
	return failures ? 1 : 0;
}
