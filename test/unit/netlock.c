/* Names of nftables' tables: what a record or an image says must not become a command. */
#include "unit.h"
#include "job/netlock.h"

#include <string.h>

static void names(void)
{
	char a[NETLOCK_NAME], b[NETLOCK_NAME], longid[80];

	CHECK(netlock_name_valid(netlock_name("job-1.x", a)));
	CHECK(!strncmp(a, "xos_job_1_x_", 12));
	CHECK(strcmp(a, netlock_name("job-1.x", b)));
	memset(longid, 'a', sizeof longid - 1);
	longid[sizeof longid - 1] = 0;
	CHECK(netlock_name_valid(netlock_name(longid, a)));
	CHECK(netlock_name_valid(netlock_name("a}\nflush ruleset", a)));
}

static void refused(void)
{
	char longname[NETLOCK_NAME + 2] = "xos_";

	CHECK(!netlock_name_valid(""));
	CHECK(!netlock_name_valid("xos"));
	CHECK(!netlock_name_valid("filter"));
	CHECK(!netlock_name_valid("xos_a b"));
	CHECK(!netlock_name_valid("xos_a\nflush"));
	CHECK(!netlock_name_valid("xos_a;flush"));
	CHECK(!netlock_name_valid("xos_a{"));
	memset(longname + 4, 'a', NETLOCK_NAME - 4);
	CHECK(!netlock_name_valid(longname));
	longname[NETLOCK_NAME - 1] = 0;
	CHECK(netlock_name_valid(longname));
}

int main(void)
{
	RUN(names);
	RUN(refused);
	return unit_status();
}
