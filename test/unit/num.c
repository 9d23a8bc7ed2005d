/* num: what users write for numbers, sizes, durations and signals. */
#include "common/num.h"
#include "test/unit/unit.h"

#include <signal.h>

static void unsigned_numbers(void)
{
	static const char *const bad[] = { "", " ", "-1", "+1", " 1", "1 ", "0x", "0xg", "1x", "x1",
		"18446744073709551616", "0x10000000000000000", "99999999999999999999999999", "1.0", "1e3" };
	uint64_t v = 0;
	size_t i;

	CHECK(num_u64("0", UINT64_MAX, &v) == 0 && v == 0);
	CHECK(num_u64("007", UINT64_MAX, &v) == 0 && v == 7); /* not octal */
	CHECK(num_u64("18446744073709551615", UINT64_MAX, &v) == 0 && v == UINT64_MAX);
	CHECK(num_u64("0xFFFFffffFFFFffff", UINT64_MAX, &v) == 0 && v == UINT64_MAX);
	CHECK(num_u64("100", 100, &v) == 0 && v == 100);
	CHECK(num_u64("101", 100, &v) == -1 && v == 100);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		unit_check_(num_u64(bad[i], UINT64_MAX, &v) == -1, __LINE__, bad[i]);
}

static void signed_numbers(void)
{
	int64_t v = 0;

	CHECK(num_i64("-9223372036854775808", INT64_MIN, INT64_MAX, &v) == 0 && v == INT64_MIN);
	CHECK(num_i64("9223372036854775807", INT64_MIN, INT64_MAX, &v) == 0 && v == INT64_MAX);
	CHECK_INT(num_i64("-9223372036854775809", INT64_MIN, INT64_MAX, &v), -1);
	CHECK_INT(num_i64("9223372036854775808", INT64_MIN, INT64_MAX, &v), -1);
	CHECK_INT(num_i64("-1", 0, 10, &v), -1);
	CHECK_INT(num_i64("11", 0, 10, &v), -1);
	CHECK_INT(num_i64("-", -9, 9, &v), -1);
	CHECK_INT(num_i64("--1", -9, 9, &v), -1);
	CHECK(num_i64("-0", -9, 9, &v) == 0 && v == 0);
}

static void sizes(void)
{
	static const struct { const char *s; uint64_t v; } good[] = {
		{ "0", 0 }, { "10", 10 }, { "10B", 10 }, { "10K", 10240 }, { "10k", 10240 },
		{ "10KB", 10240 }, { "10KiB", 10240 }, { "1.5G", 1610612736 }, { "0.5K", 512 },
		{ "1T", 1ULL << 40 }, { "2m", 2 << 20 }, { "15E", 15ULL << 60 },
		{ "18446744073709551615", UINT64_MAX }, { "0.001K", 1 },
	};
	static const char *const bad[] = { "", "K", "-1K", "1.5", "1.5B", "1.K", ".5K", "1KK", "1iB",
		"1Ki", "1 K", "1Z", "16E", "18446744073709551616", "17179869184G", "1K ", "0x10K",
		"1.0000000000000000000001G" };
	uint64_t v;
	size_t i;

	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		unit_check_(num_size(good[i].s, &v) == 0 && v == good[i].v, __LINE__, good[i].s);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		unit_check_(num_size(bad[i], &v) == -1, __LINE__, bad[i]);
}

static void durations(void)
{
	static const struct { const char *s; uint64_t v; } good[] = {
		{ "10", 10000 }, { "0", 0 }, { "500ms", 500 }, { "10s", 10000 }, { "5m", 300000 },
		{ "2h", 7200000 }, { "1d", 86400000 }, { "1.5h", 5400000 }, { "0.25", 250 },
	};
	static const char *const bad[] = { "", "s", "-1s", "1x", "1hh", "1 s", "1S", "5M",
		"18446744073709551615d", "1w", "inf" };
	uint64_t v;
	size_t i;

	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		unit_check_(num_duration(good[i].s, &v) == 0 && v == good[i].v, __LINE__, good[i].s);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		unit_check_(num_duration(bad[i], &v) == -1, __LINE__, bad[i]);
}

static void signals(void)
{
	static const struct { const char *s; int v; } good[] = {
		{ "15", 15 }, { "TERM", SIGTERM }, { "SIGTERM", SIGTERM }, { "sigkill", SIGKILL },
		{ "Usr1", SIGUSR1 }, { "CLD", SIGCHLD }, { "64", 64 },
	};
	static const char *const bad[] = { "", "0", "65", "-9", "SIG", "TERMX", "SIGSIGTERM", "RTMIN+",
		"RTMIN-1", "RTMAX+1", "RTMIN+99", "RTMIN+-1", "SIG9", "9 " };
	char name[16];
	int v, i, back;
	size_t k;

	for (k = 0; k < sizeof(good) / sizeof(good[0]); k++)
		unit_check_(num_signal(good[k].s, &v) == 0 && v == good[k].v, __LINE__, good[k].s);
	for (k = 0; k < sizeof(bad) / sizeof(bad[0]); k++)
		unit_check_(num_signal(bad[k], &v) == -1, __LINE__, bad[k]);
	CHECK(num_signal("RTMIN+3", &v) == 0 && v == SIGRTMIN + 3);
	CHECK(num_signal("SIGRTMAX-1", &v) == 0 && v == SIGRTMAX - 1);
	CHECK_STR(num_signame(SIGTERM, name, sizeof(name)), "TERM");
	CHECK_STR(num_signame(SIGCHLD, name, sizeof(name)), "CHLD");
	CHECK_STR(num_signame(SIGRTMIN + 3, name, sizeof(name)), "RTMIN+3");
	CHECK_STR(num_signame(32, name, sizeof(name)), "32"); /* libc's own */
	for (i = 1; i <= 64; i++) { /* what we print, we read */
		num_signame(i, name, sizeof(name));
		unit_check_(num_signal(name, &back) == 0 && back == i, __LINE__, name);
	}
}

static const char *size_of(uint64_t v)
{
	static char t[16];

	num_size_human(v, t, sizeof(t));
	return t;
}

static const char *dur_of(uint64_t s)
{
	static char t[24];

	num_duration_human(s * 1000, t, sizeof(t));
	return t;
}

static void for_humans(void)
{
	CHECK_STR(size_of(0), "0");
	CHECK_STR(size_of(1023), "1023");
	CHECK_STR(size_of(1024), "1.0K");
	CHECK_STR(size_of(1025), "1.1K"); /* up, as ls -h does */
	CHECK_STR(size_of(1610612736), "1.5G");
	CHECK_STR(size_of(10 * 1024), "10K");
	CHECK_STR(size_of(10 * 1024 - 1), "10K");
	CHECK_STR(size_of(1023 * 1024), "1023K");
	CHECK_STR(size_of(1024 * 1024 - 1), "1.0M");
	CHECK_STR(size_of(UINT64_MAX), "16E");
	CHECK_STR(dur_of(0), "0s");
	CHECK_STR(dur_of(59), "59s");
	CHECK_STR(dur_of(185), "3m05s");
	CHECK_STR(dur_of(2 * 3600 + 11 * 60 + 5), "2h11m");
	CHECK_STR(dur_of(3 * 86400 + 4 * 3600), "3d04h");
	CHECK_STR(dur_of(UINT64_MAX / 1000), "213503982334d14h");
}

int main(void)
{
	RUN(unsigned_numbers);
	RUN(signed_numbers);
	RUN(sizes);
	RUN(durations);
	RUN(signals);
	RUN(for_humans);
	return unit_status();
}
