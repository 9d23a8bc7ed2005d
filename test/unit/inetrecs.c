/* Addresses, options and multicast groups in records of sockets: what is read back is what was written, and lies are told from it. */
#include "unit.h"

#include "common/rec.h"
#include "res/inet.h"
#include "res/mcast.h"
#include "res/sockopt.h"

#include <stdlib.h>
#include <unistd.h>

static void addresses(void)
{
	static const char *const good[] = { "127.0.0.1:80", "0.0.0.0:0", "255.255.255.255:65535", "[::1]:80", "[::]:0", "[fe80::1%lo]:443", "[::ffff:1.2.3.4]:1" };
	static const char *const bad[] = {
		"", ":", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:1x", "127.0.0.1: 1", "1.2.3:4", "[::1:80", "::1:80", "[::1]", "[]:1", "[:1",
		"[::1%]:1", "[::1%a/b]:1", "[::1%anamethatistoolong]:1", "[127.0.0.1]:1", "[::1]x:1",
		"[1111:2222:3333:4444:5555:6666:7777:8888:9999:1111:2222:3333:4444:5555:6666:7777:8888:9999]:1",
	};
	union inet_addr a, b;
	char t[INET_TEXT];

	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		CHECK_INT(inet_parse(good[i], &a), 0);
		CHECK_STR(inet_text(&a, t), good[i]);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (!CHECK(inet_parse(bad[i], &a) == -1))
			printf("# %s\n", bad[i]);
	CHECK_INT(inet_parse("[fe80::1%nosuch]:1", &a), 1);
	CHECK(!inet_parse("[fe80::1%4000000000]:1", &a) && a.in6.sin6_scope_id == 4000000000u);
	CHECK(!inet_parse("1.2.3.4:5", &a) && !inet_parse("[::ffff:1.2.3.4]:5", &b) && inet_same(&a, &b));
	CHECK(!inet_parse("1.2.3.4:6", &b) && !inet_same(&a, &b));
}

/* One record with that key. */
static int with(struct rec_list *l, struct rec *rec, const char *key, const char *value, struct err *e)
{
	static char text[1 << 17];

	memset(l, 0, sizeof *l);
	snprintf(text, sizeof text, "TYPE=\"x\" %s=\"%s\"\n", key, value);
	if (rec_list_parse(l, text, strlen(text), 10, e))
		return -1;
	rec_list_get(l, 0, rec);
	return 0;
}

static int options_say(const char *key, const char *value, int fd)
{
	struct err e = ERR_INIT;
	struct rec_list l;
	struct rec rec;
	int rc = with(&l, &rec, key, value, &e);

	CHECK_INT(rc, 0);
	rc = sockopt_set(&rec, fd, 0, &e);
	rec_list_free(&l);
	return rc ? e.code : 0;
}

static void options(void)
{
	static const char *const bad[] = {
		"X", "KEEPALIVE", "KEEPALIVE:", "KEEPALIVE:0100", "KEEPALIVE:010000000", "KEEPALIVE:0100000g", "NOSUCH:01000000", ":01000000", " KEEPALIVE:01000000",
		"KEEPALIVE:01000000 ", "KEEPALIVE:01000000  TCP.NODELAY:01000000", "KEEPALIVE:01000000,TCP.NODELAY:01000000", "TCP.CONGESTION:63",
	};
	static char many[(BUFSIZ + 70000)];
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	CHECK_INT(options_say("OPTIONS", "KEEPALIVE:01000000 TCP.NODELAY:01000000", -1), 0);
	CHECK_INT(options_say("OPTIONS", "KEEPALIVE:01000000", fd), 0);
	CHECK_INT(sockopt_int(fd, SO_KEEPALIVE), 1);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (!CHECK_INT(options_say("OPTIONS", bad[i], -1), EX_BAD_IMAGE))
			printf("# %s\n", bad[i]);
	/* No whole instructions; more than there may be. */
	CHECK_INT(options_say("FILTER", "06000000ffff00", -1), EX_BAD_IMAGE);
	CHECK_INT(options_say("FILTER", "06000000ffff0000ff", -1), EX_BAD_IMAGE);
	memset(many, '0', 16 * 4097);
	CHECK_INT(options_say("FILTER", many, -1), EX_BAD_IMAGE);
	/* The kernel looks at what it says: a jump out of the program. */
	CHECK(options_say("FILTER", "05000000ff000000", fd) != 0);
	close(fd);
}

static int groups_say(const char *value, int family)
{
	struct err e = ERR_INIT;
	struct rec_list l;
	struct rec rec;
	int rc = with(&l, &rec, "GROUPS", value, &e);

	CHECK_INT(rc, 0);
	rc = mcast_set(&rec, -1, family, &e);
	rec_list_free(&l);
	return rc ? e.code : 0;
}

static void groups(void)
{
	static const char *const bad[] = {
		"lo", "lo:", "lo:239.1.2.3", "lo:239.1.2.3:some", "lo:239.1.2.300:exclude", "aninterfacewithalongname:239.1.2.3:exclude", "lo:ff02;;1:exclude",
		"lo:239.1.2.3:include:x", "lo:239.1.2.3:include:1.2.3.4,y",
	};

	CHECK_INT(groups_say("lo:239.1.2.3:exclude", AF_INET), 0);
	CHECK_INT(groups_say("lo:239.1.2.3:include:1.2.3.4,5.6.7.8 eth0:224.0.0.251:exclude", AF_INET), 0);
	CHECK_INT(groups_say("lo:ff02;;fb:exclude:fe80;;1", AF_INET6), 0);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (!CHECK_INT(groups_say(bad[i], AF_INET), EX_BAD_IMAGE))
			printf("# %s\n", bad[i]);
}

int main(void)
{
	RUN(addresses);
	RUN(options);
	RUN(groups);
	return unit_status();
}
