/* profile: what an image needs, against what this node has. */
#include "cr/cr.h"
#include "test/unit/unit.h"

#include <stdlib.h>

static struct err err;
static struct buf why;

/* This node's own profile with the line KEY replaced (val NULL: left out), checked. */
static int check_with(const char *key, const char *val)
{
	struct buf own = BUF_INIT, b = BUF_INIT;
	size_t n = strlen(key);
	int rc;

	profile_node(&own);
	for (char *p = own.p, *nl; p && *p; p = nl + 1) {
		nl = strchr(p, '\n');
		if (!nl)
			break;
		if (strncmp(p, key, n) || p[n] != '=')
			buf_add(&b, p, (size_t)(nl - p) + 1);
		else if (val)
			buf_printf(&b, "%s=\"%s\"\n", key, val);
	}
	err_clear(&err);
	buf_reset(&why);
	rc = profile_check(buf_str(&b), &why, &err);
	buf_free(&own);
	buf_free(&b);
	return rc ? err.code : 0;
}

static void own_profile_fits(void)
{
	CHECK_INT(check_with("NONE", NULL), 0);
	CHECK_INT(why.len, 0);
}

static void what_informs_may_differ(void)
{
	CHECK_INT(check_with("KERNEL", "1.0"), 0);
	CHECK_INT(check_with("CPU_MODEL", "abacus"), 0);
	CHECK_INT(check_with("MEMORY", "1"), 0);
	CHECK_INT(check_with("MEMORY", NULL), 0);
}

static void other_machines(void)
{
	CHECK_INT(check_with("ARCH", "sparc"), EX_MISFIT);
	CHECK(strstr(buf_str(&why), "sparc") != NULL);
	CHECK_INT(check_with("PAGE_SIZE", "65536"), EX_MISFIT);
	CHECK_INT(check_with("XSAVE_MASK", "0x8000000000000007"), EX_MISFIT);
	CHECK_INT(check_with("XSAVE_SIZE", "1000000"), EX_MISFIT);
	CHECK_INT(check_with("XSAVE_LAYOUT", "2:577+256"), EX_MISFIT);
	CHECK_INT(check_with("VDSO_CRC", "0x1"), EX_MISFIT);
	CHECK_STR(buf_str(&why), "VDSO_CRC: the kernel's vDSO differs: restart under the same kernel build\n");
}

static void smaller_machines_fit(void)
{
	CHECK_INT(check_with("XSAVE_MASK", "0x0"), 0);
	CHECK_INT(check_with("XSAVE_LAYOUT", ""), 0);
	CHECK_INT(check_with("CPU_FLAGS", ""), 0);
}

static void missing_flags_in_one_line(void)
{
	CHECK_INT(check_with("CPU_FLAGS", "avx9999 tsc amx_nothing"), EX_MISFIT);
	CHECK_STR(buf_str(&why), "CPU_FLAGS: this CPU has not: avx9999 amx_nothing\n");
}

static void malformed(void)
{
	static const char *const required[] = { "ARCH", "PAGE_SIZE", "XSAVE_MASK", "XSAVE_SIZE", "XSAVE_LAYOUT", "CPU_FLAGS", "VDSO_CRC" };
	static const char *const layouts[] = { "2", "2:", "2:576+256x", "5:1+1 2:1+1", "2:1+1 2:1+1", "99:1+1", "2:576+256  5:1+1", "-2:1+1" };

	for (size_t i = 0; i < sizeof required / sizeof *required; i++)
		CHECK_INT(check_with(required[i], NULL), EX_BAD_IMAGE);
	for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
		CHECK_INT(check_with("XSAVE_LAYOUT", layouts[i]), EX_BAD_IMAGE);
	CHECK_INT(check_with("PAGE_SIZE", "many"), EX_BAD_IMAGE);
	CHECK_INT(check_with("XSAVE_SIZE", "-1"), EX_BAD_IMAGE);
	CHECK_INT(check_with("VDSO_CRC", "0x100000000"), EX_BAD_IMAGE);
	CHECK_INT(check_with("ARCH", "x\\0033[2J"), EX_BAD_IMAGE);
	CHECK_INT(check_with("MEMORY", "1\"\nARCH=\"x86_64"), EX_BAD_IMAGE);
	CHECK_INT(check_with("MEMORY", "1\" ARCH2=\"x"), EX_BAD_IMAGE);
	err_clear(&err);
	CHECK_INT(profile_check("", &why, &err), -1);
	CHECK_INT(err.code, EX_BAD_IMAGE);
}

int main(void)
{
	RUN(own_profile_fits);
	RUN(what_informs_may_differ);
	RUN(other_machines);
	RUN(smaller_machines_fit);
	RUN(missing_flags_in_one_line);
	RUN(malformed);
	buf_free(&why);
	return unit_status();
}
