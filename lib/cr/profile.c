/* profile: what an image needs of a node. Member `profile` of an image, and what xprofile prints.
 *
 * Memory holds what a program once learned about its machine: which instructions there are (chosen by ifunc and
 * cpuid), how large the extended registers are, where the vDSO's functions lie. So these must fit; the rest informs:
 *
 *   ARCH PAGE_SIZE VDSO_CRC      must be equal
 *   XSAVE_MASK CPU_FLAGS         must be offered here too
 *   XSAVE_SIZE                   must not be larger than here
 *   XSAVE_LAYOUT                 "bit:offset+size ..." of each state component: those of the image must lie at the same
 *                                place here (AMD and Intel differ for AVX-512; the image has the kernel's own layout)
 *   KERNEL CPU_VENDOR CPU_MODEL CONTROLLERS MEMORY   inform only */
#include "cr/cr.h"
#include "common/cleanup.h"
#include "common/num.h"
#include "common/rec.h"
#include "res/mm_flags.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/utsname.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

enum { PROFILE_MAX_RECORDS = 256, PROFILE_MAX_TEXT = 1 << 20, XSAVE_BITS = 63 };

/* ---- this node ---- */

struct xsave { uint64_t mask; uint32_t size; struct { uint32_t off, size; } part[XSAVE_BITS]; };

static void xsave_read(struct xsave *x)
{
	memset(x, 0, sizeof *x);
#if defined(__x86_64__)
	unsigned a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
		return;
	__asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
	x->mask = (uint64_t)d << 32 | a;
	if (!__get_cpuid_count(0xd, 0, &a, &b, &c, &d))
		return;
	x->size = b;
	for (unsigned i = 2; i < XSAVE_BITS; i++)
		if (x->mask >> i & 1 && __get_cpuid_count(0xd, i, &a, &b, &c, &d)) {
			x->part[i].size = a;
			x->part[i].off = b;
		}
#endif
}

/* Flags of /proc/cpuinfo that name what a program in user space may use. The others (pti, smep, constant_tsc ...) are
 * the kernel's own business and differ between machines that are alike for programs. */
static bool user_flag(const char *s, size_t n)
{
	static const char *const prefix[] = { "sse", "avx", "amx", "apx", "sha", "sm3", "sm4", "tbm", "xop", "fma", "bmi", "3dnow", NULL };
	static const char *const exact[] = {
		"abm", "adx", "aes", "cldemote", "clflush", "clflushopt", "clwb", "clzero", "cmov", "cmpccxadd", "cx16", "cx8",
		"enqcmd", "erms", "f16c", "fpu", "fsgsbase", "fsrm", "fxsr", "fxsr_opt", "gfni", "hle", "lahf_lm", "lwp", "misalignsse",
		"mmx", "mmxext", "movbe", "movdir64b", "movdiri", "monitorx", "pclmulqdq", "pku", "ospke", "pni", "popcnt",
		"prefetchiti", "prefetchwt1", "ptwrite", "raoint", "rdpid", "rdpru", "rdrand", "rdseed", "rdtscp", "rtm", "serialize",
		"ssse3", "tsc", "tsxldtrk", "user_shstk", "vaes", "vpclmulqdq", "waitpkg", "wbnoinvd", "xgetbv1", "xsave", "xsavec",
		"xsaveopt", NULL,
	};

	for (size_t i = 0; prefix[i]; i++)
		if (n >= strlen(prefix[i]) && !strncmp(s, prefix[i], strlen(prefix[i])))
			return true;
	for (size_t i = 0; exact[i]; i++)
		if (n == strlen(exact[i]) && !strncmp(s, exact[i], n))
			return true;
	return false;
}

/* Value of the first line "key\t: value" of /proc/cpuinfo; *n its length. */
static const char *cpuinfo(const struct buf *text, const char *key, size_t *n)
{
	size_t k = strlen(key);

	for (const char *p = buf_str(text); p && *p; p = strchr(p, '\n'), p = p ? p + 1 : NULL) {
		const char *v = p + k;
		if (strncmp(p, key, k))
			continue;
		v += strspn(v, "\t ");
		if (*v++ != ':')
			continue;
		v += strspn(v, " ");
		*n = strcspn(v, "\n");
		return v;
	}
	*n = 0;
	return "";
}

static void put_words(struct buf *b, const char *s, size_t n, bool (*wanted)(const char *s, size_t n))
{
	size_t start = b->len;

	for (const char *end = s + n; s < end;) {
		size_t w = strcspn(s, " \n");
		if (s + w > end)
			w = (size_t)(end - s);
		if (w && (!wanted || wanted(s, w))) {
			if (b->len > start)
				buf_addc(b, ' ');
			buf_add(b, s, w);
		}
		s += w + 1;
	}
}

/* Names of the enabled cgroup controllers. */
static void controllers(struct buf *out)
{
	AUTO_BUF struct buf t = BUF_INIT;

	if (buf_read_file(&t, AT_FDCWD, "/proc/cgroups", PROFILE_MAX_TEXT))
		return;
	for (const char *p = buf_str(&t); *p;) {
		char name[64];
		int enabled;
		if (sscanf(p, "%63s %*d %*d %d", name, &enabled) == 2 && *name != '#' && enabled)
			buf_printf(out, "%s%s", out->len ? " " : "", name);
		p += strcspn(p, "\n");
		p += *p == '\n';
	}
}

static bool vdso_crc(uint32_t *crc)
{
	const void *elf = (const void *)getauxval(AT_SYSINFO_EHDR); // NOLINT(performance-no-int-to-ptr)

	*crc = elf ? crc32c(0, elf, mm_vdso_len(elf, SIZE_MAX)) : 0;
	return elf;
}

static void line_u64(struct buf *out, const char *key, uint64_t v)
{
	char s[32];

	snprintf(s, sizeof s, "%llu", (unsigned long long)v);
	rec_line(out, key, s);
}

static void line_hex(struct buf *out, const char *key, uint64_t v)
{
	char s[32];

	snprintf(s, sizeof s, "0x%llx", (unsigned long long)v);
	rec_line(out, key, s);
}

static void line_buf(struct buf *out, const char *key, struct buf *val)
{
	rec_line(out, key, buf_str(val));
	buf_reset(val);
}

static void line_xsave(struct buf *out, struct buf *tmp)
{
	struct xsave x;

	xsave_read(&x);
	line_hex(out, "XSAVE_MASK", x.mask);
	line_u64(out, "XSAVE_SIZE", x.size);
	for (unsigned i = 2; i < XSAVE_BITS; i++)
		if (x.part[i].size)
			buf_printf(tmp, "%s%u:%u+%u", tmp->len ? " " : "", i, x.part[i].off, x.part[i].size);
	line_buf(out, "XSAVE_LAYOUT", tmp);
}

void profile_node(struct buf *out)
{
	AUTO_BUF struct buf cpu = BUF_INIT;
	AUTO_BUF struct buf tmp = BUF_INIT;
	long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
	struct utsname u;
	uint32_t crc;
	const char *v;
	size_t n;

	uname(&u);
	/* What cannot be read stays empty, and then nothing is claimed to be offered. */
	(void)buf_read_file(&cpu, AT_FDCWD, "/proc/cpuinfo", 64 << 20);
	rec_line(out, "ARCH", u.machine);
	rec_line(out, "KERNEL", u.release);
	line_u64(out, "PAGE_SIZE", (uint64_t)page);
	line_xsave(out, &tmp);
	v = cpuinfo(&cpu, "vendor_id", &n);
	buf_add(&tmp, v, n);
	line_buf(out, "CPU_VENDOR", &tmp);
	v = cpuinfo(&cpu, "model name", &n);
	buf_add(&tmp, v, n);
	line_buf(out, "CPU_MODEL", &tmp);
	v = cpuinfo(&cpu, "flags", &n);
	put_words(&tmp, v, n, user_flag);
	line_buf(out, "CPU_FLAGS", &tmp);
	if (vdso_crc(&crc))
		line_hex(out, "VDSO_CRC", crc);
	else
		rec_line(out, "VDSO_CRC", "none");
	controllers(&tmp);
	line_buf(out, "CONTROLLERS", &tmp);
	line_u64(out, "MEMORY", pages > 0 ? (uint64_t)pages * (uint64_t)page : 0);
	if (buf_failed(&cpu) || buf_failed(&tmp))
		out->failed = true;
}

/* ---- comparison ---- */

static const char *value(const struct rec_list *l, const char *key)
{
	for (size_t i = 0; i < l->n; i++)
		if (!strcmp(l->v[i].f[0].key, key))
			return l->v[i].f[0].val;
	return NULL;
}

/* What is shown to the user must neither begin a line of its own nor steer his terminal. */
static bool printable(const char *s)
{
	while ((unsigned char)*s >= ' ' && *s != 0x7f)
		s++;
	return !*s;
}

/* One field a line, every key once, nothing required missing. */
static int side_parse(struct rec_list *l, const char *text, struct err *e)
{
	static const char *const required[] = { "ARCH", "PAGE_SIZE", "XSAVE_MASK", "XSAVE_SIZE", "XSAVE_LAYOUT", "CPU_FLAGS", "VDSO_CRC", NULL };

	if (strlen(text) > PROFILE_MAX_TEXT)
		return err_set(e, EX_BAD_IMAGE, "it is too long");
	if (rec_list_parse(l, text, strlen(text), PROFILE_MAX_RECORDS, e))
		return -1;
	for (size_t i = 0; i < l->n; i++) {
		if (l->v[i].n != 1)
			return err_set(e, EX_BAD_IMAGE, "line %zu: more than one field", l->v[i].line);
		if (!printable(l->v[i].f[0].val) || strlen(l->v[i].f[0].val) != l->v[i].f[0].len)
			return err_set(e, EX_BAD_IMAGE, "line %zu: control characters", l->v[i].line);
		for (size_t k = 0; k < i; k++)
			if (!strcmp(l->v[i].f[0].key, l->v[k].f[0].key))
				return err_set(e, EX_BAD_IMAGE, "line %zu: %s is there twice", l->v[i].line, l->v[i].f[0].key);
	}
	for (size_t i = 0; required[i]; i++)
		if (!value(l, required[i]))
			return err_set(e, EX_BAD_IMAGE, "%s is missing", required[i]);
	return 0;
}

static int number(const struct rec_list *l, const char *key, uint64_t max, uint64_t *out, struct err *e)
{
	if (num_u64(value(l, key), max, out))
		return err_set(e, EX_BAD_IMAGE, "%s: not a number", key);
	return 0;
}

static bool has_word(const char *list, const char *w, size_t n)
{
	for (const char *p = list; *p; p += strcspn(p, " "), p += strspn(p, " "))
		if (!strncmp(p, w, n) && (p[n] == ' ' || !p[n]))
			return true;
	return false;
}

/* One line with all words of `need` that are not in `here`. */
static void missing_words(struct buf *why, const char *what, const char *need, const char *here)
{
	size_t start = why->len;

	for (const char *p = need; *p;) {
		size_t n = strcspn(p, " ");
		if (n && !has_word(here, p, n)) {
			buf_adds(why, why->len == start ? what : " ");
			buf_add(why, p, n);
		}
		p += n;
		p += strspn(p, " ");
	}
	if (why->len > start)
		buf_addc(why, '\n');
}

/* "bit:offset+size ...", bits ascending; only the form is checked, the words are compared as such. */
static int check_layout(const char *s, struct err *e)
{
	int last = 1;

	while (*s) {
		unsigned bit, off, size;
		int n = 0;
		if (*s < '0' || *s > '9' || sscanf(s, "%2u:%6u+%6u%n", &bit, &off, &size, &n) != 3 || !n || (s[n] && s[n] != ' ') ||
		    bit >= XSAVE_BITS || (int)bit <= last)
			return err_set(e, EX_BAD_IMAGE, "XSAVE_LAYOUT: malformed");
		last = (int)bit;
		s += n + (s[n] == ' ');
	}
	return 0;
}

static int compare_cpu(const struct rec_list *im, const struct rec_list *here, struct buf *why, struct err *e)
{
	uint64_t im_mask, im_size, mask, size;

	if (number(im, "XSAVE_MASK", UINT64_MAX, &im_mask, e) || number(im, "XSAVE_SIZE", UINT32_MAX, &im_size, e) ||
	    check_layout(value(im, "XSAVE_LAYOUT"), e) || number(here, "XSAVE_MASK", UINT64_MAX, &mask, e) ||
	    number(here, "XSAVE_SIZE", UINT32_MAX, &size, e))
		return -1;
	if (im_mask & ~mask)
		buf_printf(why, "XSAVE_MASK: the image needs register sets 0x%llx that are not here\n",
			   (unsigned long long)(im_mask & ~mask));
	if (im_size > size)
		buf_printf(why, "XSAVE_SIZE: the image needs %llu bytes, here are %llu\n", (unsigned long long)im_size,
			   (unsigned long long)size);
	/* A set that is not here at all was named above. */
	if (!(im_mask & ~mask))
		missing_words(why, "XSAVE_LAYOUT: register sets lie elsewhere on this CPU: ", value(im, "XSAVE_LAYOUT"),
			      value(here, "XSAVE_LAYOUT"));
	missing_words(why, "CPU_FLAGS: this CPU has not: ", value(im, "CPU_FLAGS"), value(here, "CPU_FLAGS"));
	return 0;
}

static int compare(const struct rec_list *im, const struct rec_list *here, struct buf *why, struct err *e)
{
	uint64_t im_page, page, im_crc = 0, crc = 0;
	bool none = !strcmp(value(im, "VDSO_CRC"), "none"), none_here = !strcmp(value(here, "VDSO_CRC"), "none");

	if (number(im, "PAGE_SIZE", 1 << 30, &im_page, e) || number(here, "PAGE_SIZE", 1 << 30, &page, e) ||
	    (!none && number(im, "VDSO_CRC", UINT32_MAX, &im_crc, e)) || (!none_here && number(here, "VDSO_CRC", UINT32_MAX, &crc, e)))
		return -1;
	if (strcmp(value(im, "ARCH"), value(here, "ARCH"))) {
		/* The rest means something else there. */
		buf_printf(why, "ARCH: the image is of %.64s, this is %s\n", value(im, "ARCH"), value(here, "ARCH"));
		return 0;
	}
	if (im_page != page)
		buf_printf(why, "PAGE_SIZE: the image has %llu, here is %llu\n", (unsigned long long)im_page, (unsigned long long)page);
	if (compare_cpu(im, here, why, e))
		return -1;
	if (none != none_here || im_crc != crc)
		buf_adds(why, "VDSO_CRC: the kernel's vDSO differs: restart under the same kernel build\n");
	return 0;
}

int profile_check(const char *image_profile, struct buf *why, struct err *e)
{
	struct rec_list im = { 0 }, here = { 0 };
	AUTO_BUF struct buf own = BUF_INIT;
	size_t before = why->len;
	int rc;

	profile_node(&own);
	if (buf_failed(&own))
		return err_set(e, EX_FAILED, "out of memory");
	rc = side_parse(&im, image_profile, e) || side_parse(&here, buf_str(&own), e) || compare(&im, &here, why, e) ? -1 : 0;
	if (rc)
		err_prefix(e, "profile");
	else if (why->len > before) {
		const char *first = buf_str(why) + before;
		rc = err_set(e, EX_MISFIT, "this node does not fit the image: %.*s", (int)strcspn(first, "\n"), first);
	}
	rec_list_free(&im);
	rec_list_free(&here);
	return rc;
}
