/* rec, buf, err: what is written is read back; what is malformed is refused with its line. */
#include "common/rec.h"
#include "test/unit/unit.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

static struct err err;
static char text[1 << 16];

/* Parses a copy of s; the result of the first rec_next(). */
static int parse_n(const char *s, size_t n, struct rec *r)
{
	struct rec_reader rd;

	memcpy(text, s, n);
	rec_reader_init(&rd, text, n);
	err_clear(&err);
	return rec_next(&rd, r, &err);
}
static int parse(const char *s, struct rec *r)
{
	return parse_n(s, strlen(s), r);
}

static void written_form(void)
{
	struct buf b = BUF_INIT;

	rec_begin(&b, "vma");
	rec_put_hex(&b, "START", 0x7f0000001000);
	rec_put_hex(&b, "ZERO", 0);
	rec_put_u64(&b, "MAX", UINT64_MAX);
	rec_put_i64(&b, "MIN", INT64_MIN);
	rec_put_i64(&b, "NEG", -1);
	rec_put_str(&b, "PATH", "/bin/a \"b\" $x `c` \\");
	rec_put_strn(&b, "CTL", "\n\0\x7f\xc3\xa9", 5);
	rec_put_bin(&b, "BIN", "\x00\xff\x5a", 3);
	rec_put_bin(&b, "NONE", "", 0);
	rec_end(&b);
	rec_line(&b, "STATE", "running");
	CHECK_STR(buf_str(&b), "TYPE=\"vma\" START=\"0x7f0000001000\" ZERO=\"0x0\" "
		  "MAX=\"18446744073709551615\" MIN=\"-9223372036854775808\" NEG=\"-1\" "
		  "PATH=\"/bin/a \\\"b\\\" \\$x \\`c\\` \\\\\" CTL=\"\\0012\\0000\\0177\xc3\xa9\" "
		  "BIN=\"00ff5a\" NONE=\"\"\nSTATE=\"running\"\n");
	CHECK(!buf_failed(&b));
	buf_free(&b);
}

/* A shell must see the same value: eval, then printf %b for the octal ones. */
static void shell_reads_it(void)
{
	static const char val[] = "a b'\"$HOME`id`\\ \n\t*~!end";
	struct buf b = BUF_INIT, out = BUF_INIT;
	char path[] = "/tmp/xos-rec-XXXXXX", cmd[128];
	int fd = mkstemp(path);
	FILE *f;

	rec_line(&b, "V", val);
	CHECK(fd >= 0 && write(fd, b.p, b.len) == (ssize_t)b.len);
	close(fd);
	snprintf(cmd, sizeof(cmd), ". %s; printf '%%b' \"$V\"", path);
	f = popen(cmd, "r");
	CHECK(f && buf_read_fd(&out, fileno(f), 4096) == 0);
	if (f)
		pclose(f);
	unlink(path);
	CHECK_STR(buf_str(&out), val);
	buf_free(&b);
	buf_free(&out);
}

static void every_byte_comes_back(void)
{
	unsigned char all[512];
	struct buf b = BUF_INIT;
	struct rec r;
	size_t i, n;

	for (i = 0; i < sizeof(all); i++)
		all[i] = (unsigned char)(i * 7 + i / 256);
	rec_put_strn(&b, "S", all, sizeof(all));
	rec_put_bin(&b, "B", all, sizeof(all));
	rec_end(&b);
	CHECK_INT(parse_n(b.p, b.len, &r), 1);
	CHECK_INT(r.n, 2);
	CHECK(r.f[0].len == sizeof(all) && memcmp(r.f[0].val, all, sizeof(all)) == 0);
	CHECK(r.f[0].val[r.f[0].len] == '\0');
	memset(all, 0, 8);
	CHECK_INT(rec_bin(&r, "B", all, 1, sizeof(all), &n, &err), 0);
	CHECK(n == sizeof(all) && all[1] == 7 && all[511] == (unsigned char)(511 * 7 + 1));
	buf_free(&b);
}

static void lines_and_comments(void)
{
	static const char s[] = "# a comment\n\n  \t\nA=\"1\"\n  B=\"2\"\t C=\"3\"  \n#D=\"4\"\nE=\"5\"";
	struct rec_reader rd;
	struct rec r;

	memcpy(text, s, sizeof(s));
	rec_reader_init(&rd, text, sizeof(s) - 1);
	CHECK_INT(rec_next(&rd, &r, &err), 1);
	CHECK(r.line == 4 && r.n == 1);
	CHECK_STR(rec_find(&r, "A"), "1");
	CHECK(rec_find(&r, "B") == NULL);
	CHECK_STR(rec_type(&r), "");
	CHECK_INT(rec_next(&rd, &r, &err), 1);
	CHECK(r.line == 5 && r.n == 2);
	CHECK_STR(rec_find(&r, "C"), "3");
	CHECK_INT(rec_next(&rd, &r, &err), 1);
	CHECK_INT(r.line, 7);
	CHECK_STR(rec_find(&r, "E"), "5");
	CHECK_INT(rec_next(&rd, &r, &err), 0);
	CHECK_INT(rec_next(&rd, &r, &err), 0);
}

static void malformed_is_refused(void)
{
	static const char *const bad[] = {
		"A=\"1", "A=\"1\nB=\"2\"\n", "A=\"", "A=", "A", "A=1", "A='1'", "=\"1\"", "a=\"1\"",
		"1A=\"1\"", "_A=\"1\"", "A =\"1\"", "A= \"1\"", "A-B=\"1\"", "A=\"1\"B=\"2\"",
		"A=\"1\" B", "A=\"1\" # no", "A=\"1\";", "A=\"1\"\r\n", "export A=\"1\"",
		"A=\"\\\"", "A=\"\\n\"", "A=\"\\x41\"", "A=\"\\01\"", "A=\"\\012\"", "A=\"\\0400\"",
		"A=\"\\0018\"", "A=\"\\0\"", "A=\"\\", "A=\"\\00", "A=\"\t\"", "A=\"\x01\"", "A=\"\x7f\"",
		"A=\"$HOME\"", "A=\"`id`\"", "A=\"1\" A=\"2\"", "A=\"1\" B=\"\" A=\"1\"",
	};
	char what[128];
	struct rec r;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int rc = parse(bad[i], &r);

		snprintf(what, sizeof(what), "refuses [%.80s]", bad[i]);
		unit_check_(rc == -1 && err.code == EX_BAD_IMAGE && strstr(err.msg, "line 1"),
			    __LINE__, what);
	}
	/* zero bytes: outside and inside the quotes, in a key */
	CHECK_INT(parse_n("A=\"1\"\0", 6, &r), -1);
	CHECK_INT(parse_n("A=\"\0\"", 5, &r), -1);
	CHECK_INT(parse_n("A\0B=\"1\"", 7, &r), -1);
	CHECK_INT(parse_n("\0", 1, &r), -1);
	CHECK_INT(parse_n("", 0, &r), 0);
	/* the message names the line where it is */
	CHECK_INT(parse("# x\n\n", &r), 0);
	{
		struct rec_reader rd;
		char t[] = "A=\"1\"\n\nB=\"\n";

		rec_reader_init(&rd, t, sizeof(t) - 1);
		CHECK_INT(rec_next(&rd, &r, &err), 1);
		CHECK_INT(rec_next(&rd, &r, &err), -1);
		CHECK_STR(err.msg, "line 3: a quote that is not closed");
	}
}

static void field_limit(void)
{
	struct buf b = BUF_INIT;
	struct rec r;
	char key[16];
	int i;

	for (i = 0; i < REC_MAX_FIELDS; i++) {
		snprintf(key, sizeof(key), "K%d", i);
		rec_put_i64(&b, key, i);
	}
	CHECK_INT(parse_n(b.p, b.len, &r), 1);
	CHECK_INT(r.n, REC_MAX_FIELDS);
	CHECK_STR(rec_find(&r, "K63"), "63");
	rec_put_i64(&b, "MORE", 1);
	CHECK_INT(parse_n(b.p, b.len, &r), -1);
	CHECK_STR(err.msg, "line 1: too many fields");
	buf_free(&b);
}

static void line_limit(void)
{
	size_t n = REC_MAX_LINE + 16;
	char *p = malloc(n);
	struct rec_reader rd;
	struct rec r;

	CHECK(p != NULL);
	if (!p)
		return;
	memset(p, 'x', n);
	memcpy(p, "A=\"", 3);
	p[REC_MAX_LINE - 1] = '"';
	p[REC_MAX_LINE] = '\n';
	rec_reader_init(&rd, p, REC_MAX_LINE + 1);
	CHECK_INT(rec_next(&rd, &r, &err), 1);
	CHECK_INT(r.f[0].len, REC_MAX_LINE - 4);
	memset(p, 'x', n);
	memcpy(p, "A=\"", 3);
	p[REC_MAX_LINE] = '"';
	rec_reader_init(&rd, p, REC_MAX_LINE + 1);
	CHECK_INT(rec_next(&rd, &r, &err), -1);
	CHECK(strstr(err.msg, "longer than") != NULL);
	free(p);
}

static void typed_fields(void)
{
	const char *s = NULL;
	uint64_t u = 7;
	int64_t v;
	int i;
	struct rec r;

	CHECK_INT(parse("TYPE=\"fd\" U=\"18446744073709551615\" H=\"0xff\" N=\"-5\" E=\"\" "
			"O=\"18446744073709551616\" P=\"+1\" W=\" 1\" T=\"1 \" Z=\"a\\0000b\"\n", &r), 1);
	CHECK_STR(rec_type(&r), "fd");
	CHECK(rec_u64(&r, "U", UINT64_MAX, &u, &err) == 0 && u == UINT64_MAX);
	CHECK(rec_u64(&r, "H", 255, &u, &err) == 0 && u == 255);
	CHECK_INT(rec_u64(&r, "H", 254, &u, &err), -1);
	CHECK_STR(err.msg, "line 1: fd H is no number or out of range");
	CHECK_INT(err.code, EX_BAD_IMAGE);
	CHECK(rec_i64(&r, "N", -5, 0, &v, &err) == 0 && v == -5);
	CHECK_INT(rec_i64(&r, "N", -4, 0, &v, &err), -1);
	CHECK(rec_int(&r, "N", -10, 10, &i, &err) == 0 && i == -5);
	CHECK_INT(rec_int(&r, "H", 0, 254, &i, &err), -1);
	CHECK_INT(rec_u64(&r, "N", UINT64_MAX, &u, &err), -1);
	CHECK_INT(rec_u64(&r, "E", UINT64_MAX, &u, &err), -1);
	CHECK_INT(rec_u64(&r, "O", UINT64_MAX, &u, &err), -1);
	CHECK_INT(rec_u64(&r, "P", UINT64_MAX, &u, &err), -1);
	CHECK_INT(rec_u64(&r, "W", UINT64_MAX, &u, &err), -1);
	CHECK_INT(rec_u64(&r, "T", UINT64_MAX, &u, &err), -1);
	CHECK_INT(rec_str(&r, "GONE", &s, &err), -1);
	CHECK_STR(err.msg, "line 1: fd GONE is missing");
	CHECK_INT(rec_str(&r, "Z", &s, &err), -1); /* a path must not end early */
	CHECK(rec_str(&r, "E", &s, &err) == 0 && s && !*s);
	CHECK(rec_u64_or(&r, "GONE", 10, 3, &u, &err) == 0 && u == 3);
	CHECK(rec_u64_or(&r, "H", 255, 3, &u, &err) == 0 && u == 255);
	CHECK_INT(rec_u64_or(&r, "H", 10, 3, &u, &err), -1);
}

static void binary_fields(void)
{
	unsigned char out[4] = { 9, 9, 9, 9 };
	size_t n = 77;
	struct rec r;

	CHECK_INT(parse("OK=\"00fFa0\" ODD=\"000\" BAD=\"0g\" X=\"0x00\" NONE=\"\"", &r), 1);
	CHECK(rec_bin(&r, "OK", out, 3, 3, &n, &err) == 0 && n == 3);
	CHECK(out[0] == 0 && out[1] == 0xff && out[2] == 0xa0 && out[3] == 9);
	CHECK_INT(rec_bin(&r, "OK", out, 0, 2, &n, &err), -1);
	CHECK_INT(rec_bin(&r, "OK", out, 4, 4, &n, &err), -1);
	CHECK(out[3] == 9);
	CHECK_INT(rec_bin(&r, "ODD", out, 0, 4, &n, &err), -1);
	CHECK_INT(rec_bin(&r, "BAD", out, 0, 4, &n, &err), -1);
	CHECK_INT(rec_bin(&r, "X", out, 0, 4, &n, &err), -1);
	CHECK_INT(rec_bin(&r, "GONE", out, 0, 4, &n, &err), -1);
	CHECK(rec_bin(&r, "NONE", out, 0, 4, &n, &err) == 0 && n == 0);
}

static void whole_texts(void)
{
	struct buf b = BUF_INIT;
	struct rec_list l;
	struct rec r;
	size_t i;
	uint64_t u;
	bool same = true;

	for (i = 0; i < 5000; i++) {
		rec_begin(&b, "page");
		rec_put_u64(&b, "I", i);
		if (i % 3 == 0)
			rec_put_str(&b, "X", "\"");
		rec_end(&b);
	}
	CHECK_INT(rec_list_parse(&l, b.p, b.len, 5000, &err), 0);
	CHECK_INT(l.n, 5000);
	for (i = 0; i < l.n; i++) {
		rec_list_get(&l, i, &r);
		same &= rec_u64(&r, "I", 5000, &u, &err) == 0 && u == i && r.line == i + 1 &&
			r.n == (i % 3 ? 2u : 3u);
	}
	CHECK(same);
	rec_list_free(&l);
	CHECK_INT(rec_list_parse(&l, b.p, b.len, 4999, &err), -1);
	CHECK_STR(err.msg, "line 5000: more than 4999 records");
	CHECK(l.v == NULL && l.text == NULL);
	CHECK_INT(rec_list_parse(&l, "", 0, 1, &err), 0);
	CHECK_INT(l.n, 0);
	rec_list_free(&l);
	CHECK_INT(rec_list_parse(&l, "A=\"1\"\nB\n", 8, 10, &err), -1);
	rec_list_free(&l);
	buf_free(&b);
}

static void buffers(void)
{
	struct buf b = BUF_INIT;
	char big[1000];
	int fds[2];

	CHECK_STR(buf_str(&b), "");
	memset(big, 'y', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	buf_printf(&b, "%d:%s", 42, big);
	CHECK(b.len == 3 + 999 && memcmp(b.p, "42:yyy", 6) == 0 && b.p[b.len] == '\0');
	buf_reset(&b);
	buf_addc(&b, 'a');
	buf_adds(&b, "bc");
	buf_add(&b, "\0d", 2);
	CHECK(b.len == 5 && memcmp(b.p, "abc\0d", 6) == 0);
	CHECK(pipe(fds) == 0 && write(fds[1], big, 999) == 999);
	close(fds[1]);
	CHECK_INT(buf_read_fd(&b, fds[0], 998), -1);
	CHECK_INT(errno, EFBIG);
	close(fds[0]);
	buf_reset(&b);
	CHECK(pipe(fds) == 0 && write(fds[1], big, 999) == 999);
	close(fds[1]);
	CHECK_INT(buf_read_fd(&b, fds[0], 999), 0);
	CHECK_STR(buf_str(&b), big);
	close(fds[0]);
	/* out of memory sticks and drops what follows */
	CHECK(buf_reserve(&b, SIZE_MAX / 2) == NULL && buf_failed(&b));
	buf_adds(&b, "more");
	CHECK_INT(b.len, 999);
	buf_free(&b);
	CHECK(!buf_failed(&b));
}

static void errors(void)
{
	struct err e = ERR_INIT;
	char big[3000];

	CHECK(!err_is_set(&e));
	CHECK_INT(err_set(&e, EX_BUSY, "fd %d: a\nb\033[2J", 7), -1);
	CHECK_STR(e.msg, "fd 7: a?b?[2J");
	err_hint(&e, "first");
	err_hint(&e, "second");
	err_prefix(&e, "pid %d", 345);
	err_prefix(&e, "job %d", 12);
	CHECK_STR(e.msg, "job 12: pid 345: fd 7: a?b?[2J");
	CHECK_STR(e.hint, "first");
	CHECK_INT(e.code, EX_BUSY);
	errno = ENOSPC;
	err_sys(&e, "write %s", "x");
	CHECK_STR(e.msg, "write x: No space left on device");
	CHECK(e.code == EX_NOSPACE && e.sys == ENOSPC && errno == ENOSPC && !e.hint[0]);
	errno = EACCES;
	err_sys(&e, "x");
	CHECK_INT(e.code, EX_PERM);
	memset(big, 'p', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	errno = ENOENT;
	err_sys(&e, "%s", big); /* the reason survives a name that fills the message */
	CHECK(strlen(e.msg) == sizeof(e.msg) - 1 && strstr(e.msg, ": No such file"));
	err_prefix(&e, "%s", big);
	CHECK(strlen(e.msg) == sizeof(e.msg) - 1);
	err_prefix(NULL, "x");
	CHECK_INT(err_set(NULL, EX_BUSY, "x"), -1);
	err_clear(&e);
	CHECK(!err_is_set(&e) && !e.msg[0]);
}

int main(void)
{
	RUN(written_form);
	RUN(shell_reads_it);
	RUN(every_byte_comes_back);
	RUN(lines_and_comments);
	RUN(malformed_is_refused);
	RUN(field_limit);
	RUN(line_limit);
	RUN(typed_fields);
	RUN(binary_fields);
	RUN(whole_texts);
	RUN(buffers);
	RUN(errors);
	return unit_status();
}
