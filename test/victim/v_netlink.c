/* netlink sockets: port, groups, options, still answered by the kernel; packet sockets where we may: protocol, interface, membership. */
#include "victim.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

enum { SOL_NL = 270 };

static uint32_t port_of(int fd)
{
	struct sockaddr_nl a = { 0 };
	socklen_t n = sizeof a;

	VICTIM_TRY(getsockname(fd, (struct sockaddr *)&a, &n));
	return a.nl_pid;
}

/* The kernel answers with the loopback interface. */
static void asks(int fd)
{
	struct { struct nlmsghdr h; struct ifinfomsg i; } q = {
		.h = { .nlmsg_len = sizeof q, .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST, .nlmsg_seq = 7 },
		.i = { .ifi_index = (int)if_nametoindex("lo") },
	};
	struct { struct nlmsghdr h; char room[16384]; } a;

	VICTIM_CHECK(send(fd, &q, sizeof q, 0) == sizeof q);
	VICTIM_CHECK(recv(fd, &a, sizeof a, 0) >= (ssize_t)sizeof a.h);
	VICTIM_CHECK(a.h.nlmsg_type == RTM_NEWLINK && a.h.nlmsg_seq == 7 && a.h.nlmsg_pid == port_of(fd));
}

/* Of the loopback interface: whoever wants all of its packets sets IFF_PROMISC. */
static unsigned flags(void)
{
	FILE *f = fopen("/sys/class/net/lo/flags", "r");
	unsigned v = 0;

	VICTIM_CHECK(f && fscanf(f, "%x", &v) == 1);
	fclose(f);
	return v;
}

int main(int argc, char **argv)
{
	struct sockaddr_nl own = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_IPV4_RULE };
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(0x88b5) }, got;
	struct packet_mreq member = { .mr_type = PACKET_MR_PROMISC };
	int a, b, packet, one = 1;
	uint32_t bits[8] = { 0 }, port;
	socklen_t n = sizeof bits;

	victim_init(argc, argv);
	VICTIM_TRY(a = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_ROUTE));
	VICTIM_TRY(bind(a, (struct sockaddr *)&own, sizeof own));
	port = port_of(a);
	VICTIM_TRY(setsockopt(a, SOL_NL, NETLINK_EXT_ACK, &one, sizeof one));
	VICTIM_TRY(b = socket(AF_NETLINK, SOCK_DGRAM, NETLINK_ROUTE));
	packet = socket(AF_PACKET, SOCK_DGRAM, 0);
	if (packet >= 0) {
		at.sll_ifindex = member.mr_ifindex = (int)if_nametoindex("lo");
		VICTIM_TRY(bind(packet, (struct sockaddr *)&at, sizeof at));
		VICTIM_TRY(setsockopt(packet, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &member, sizeof member));
		VICTIM_TRY(setsockopt(packet, SOL_PACKET, PACKET_AUXDATA, &one, sizeof one));
	}
	victim_wait();

	VICTIM_CHECK(port_of(a) == port);
	VICTIM_TRY(getsockopt(a, SOL_NL, 9 /* NETLINK_LIST_MEMBERSHIPS */, bits, &n));
	VICTIM_CHECK(bits[0] == RTMGRP_IPV4_RULE);
	one = 0;
	n = sizeof one;
	VICTIM_TRY(getsockopt(a, SOL_NL, NETLINK_EXT_ACK, &one, &n));
	VICTIM_CHECK(one == 1 && fcntl(a, F_GETFL) & O_NONBLOCK);
	asks(a);
	asks(b);
	if (packet >= 0) {
		n = sizeof got;
		VICTIM_TRY(getsockname(packet, (struct sockaddr *)&got, &n));
		VICTIM_CHECK(got.sll_protocol == at.sll_protocol && got.sll_ifindex == at.sll_ifindex);
		VICTIM_CHECK(flags() & IFF_PROMISC);
		VICTIM_TRY(setsockopt(packet, SOL_PACKET, PACKET_DROP_MEMBERSHIP, &member, sizeof member));
		one = 0;
		n = sizeof one;
		VICTIM_TRY(getsockopt(packet, SOL_PACKET, PACKET_AUXDATA, &one, &n));
		VICTIM_CHECK(one == 1);
	}
	return victim_ok();
}
