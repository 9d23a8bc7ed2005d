/* netlink sockets: unbound, bound, in groups, connected, with options and a filter; they talk to the kernel and to one another. */
#include "victim.h"

#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdint.h>
#include <sys/socket.h>

/* Groups that others on this machine do not speak to, in the first word of the list and in the second. */
enum { GROUPS = 4, FIRST_GROUP = RTNLGRP_DECnet_IFADDR, SECOND_GROUP = 34 };

static struct sockaddr_nl name_of(int fd, int peer)
{
	struct sockaddr_nl a = { 0 };
	socklen_t n = sizeof a;

	VICTIM_TRY(peer ? getpeername(fd, (struct sockaddr *)&a, &n) : getsockname(fd, (struct sockaddr *)&a, &n));
	return a;
}

static int make(int type, int protocol, int bound)
{
	struct sockaddr_nl a = { .nl_family = AF_NETLINK };
	int fd;

	VICTIM_TRY(fd = socket(AF_NETLINK, type, protocol));
	if (bound)
		VICTIM_TRY(bind(fd, (struct sockaddr *)&a, sizeof a));
	return fd;
}

static int option(int fd, int nr)
{
	int v = -1;
	socklen_t n = sizeof v;

	VICTIM_TRY(getsockopt(fd, SOL_NETLINK, nr, &v, &n));
	return v;
}

static void set(int fd, int nr, int v) { VICTIM_TRY(setsockopt(fd, SOL_NETLINK, nr, &v, sizeof v)); }

/* Asks for the link 1 (lo): one answer, of that link. */
static void ask(int fd)
{
	struct { struct nlmsghdr h; struct ifinfomsg i; } q = {
		.h = { .nlmsg_len = sizeof q, .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST, .nlmsg_seq = 77 },
		.i = { .ifi_index = 1 },
	};
	union { struct nlmsghdr h; char room[16384]; } got;
	ssize_t n;

	VICTIM_CHECK(send(fd, &q, sizeof q, 0) == sizeof q);
	n = recv(fd, &got, sizeof got, 0);
	VICTIM_CHECK(n >= (ssize_t)sizeof got.h && got.h.nlmsg_type == RTM_NEWLINK && got.h.nlmsg_seq == 77);
	VICTIM_CHECK(got.h.nlmsg_pid == name_of(fd, 0).nl_pid);
}

static void groups_of(int fd, uint32_t v[GROUPS])
{
	socklen_t n = GROUPS * sizeof *v;

	memset(v, 0, n);
	VICTIM_TRY(getsockopt(fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, v, &n));
}

static void say(int fd, const char *text, uint32_t port)
{
	struct sockaddr_nl a = { .nl_family = AF_NETLINK, .nl_pid = port };
	struct { struct nlmsghdr h; char text[32]; } m = { .h = { .nlmsg_len = sizeof m } };

	strcpy(m.text, text);
	VICTIM_CHECK(sendto(fd, &m, sizeof m, 0, port ? (struct sockaddr *)&a : NULL, port ? sizeof a : 0) == sizeof m);
}

static int heard(int fd, const char *text)
{
	struct { struct nlmsghdr h; char text[32]; } m;

	return recv(fd, &m, sizeof m, MSG_DONTWAIT) == sizeof m && !strcmp(m.text, text);
}

/* Only messages whose text begins with "y". */
static struct sock_filter code[] = {
	BPF_STMT(BPF_LD | BPF_B | BPF_ABS, sizeof(struct nlmsghdr)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 'y', 0, 1),
	BPF_STMT(BPF_RET | BPF_K, 0xffff),
	BPF_STMT(BPF_RET | BPF_K, 0),
};

int main(int argc, char **argv)
{
	struct sock_fprog filter = { 4, code };
	int route, fresh, listen, user[2], deaf;
	struct sockaddr_nl a, was[5];
	uint32_t g[GROUPS], now[GROUPS];

	victim_init(argc, argv);
	route = make(SOCK_RAW, NETLINK_ROUTE, 1);
	set(route, NETLINK_EXT_ACK, 1);
	set(route, NETLINK_NO_ENOBUFS, 1);
	ask(route);
	fresh = make(SOCK_DGRAM, NETLINK_ROUTE, 0);
	listen = make(SOCK_RAW, NETLINK_ROUTE, 1);
	set(listen, NETLINK_ADD_MEMBERSHIP, FIRST_GROUP);
	set(listen, NETLINK_ADD_MEMBERSHIP, SECOND_GROUP);
	set(listen, NETLINK_PKTINFO, 1);
	groups_of(listen, g);
	VICTIM_CHECK(g[0] == 1u << (FIRST_GROUP - 1) && g[1] == 1u << (SECOND_GROUP - 33));
	user[0] = make(SOCK_DGRAM, NETLINK_USERSOCK, 1);
	user[1] = make(SOCK_DGRAM, NETLINK_USERSOCK, 1);
	a = name_of(user[1], 0);
	VICTIM_TRY(connect(user[0], (struct sockaddr *)&a, sizeof a));
	VICTIM_TRY(setsockopt(user[1], SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter));
	/* Connected to the kernel: takes nothing from others. */
	deaf = make(SOCK_DGRAM, NETLINK_USERSOCK, 1);
	memset(&a, 0, sizeof a);
	a.nl_family = AF_NETLINK;
	VICTIM_TRY(connect(deaf, (struct sockaddr *)&a, sizeof a));
	was[0] = name_of(route, 0);
	was[1] = name_of(listen, 0);
	was[2] = name_of(user[0], 0);
	was[3] = name_of(user[1], 0);
	was[4] = name_of(deaf, 0);
	victim_wait();

	VICTIM_CHECK(name_of(route, 0).nl_pid == was[0].nl_pid && name_of(listen, 0).nl_pid == was[1].nl_pid);
	VICTIM_CHECK(name_of(user[0], 0).nl_pid == was[2].nl_pid && name_of(user[1], 0).nl_pid == was[3].nl_pid);
	VICTIM_CHECK(name_of(fresh, 0).nl_pid == 0 && name_of(user[0], 1).nl_pid == was[3].nl_pid);
	VICTIM_CHECK(option(route, NETLINK_EXT_ACK) == 1 && option(route, NETLINK_NO_ENOBUFS) == 1 && option(route, NETLINK_PKTINFO) == 0);
	VICTIM_CHECK(option(listen, NETLINK_PKTINFO) == 1 && option(listen, NETLINK_EXT_ACK) == 0);
	groups_of(listen, now);
	VICTIM_CHECK(!memcmp(g, now, sizeof g) && name_of(listen, 0).nl_groups == was[1].nl_groups);
	ask(route);
	ask(fresh);
	say(user[0], "no", 0);
	say(user[0], "yes", 0);
	VICTIM_CHECK(heard(user[1], "yes"));
	VICTIM_CHECK(recv(user[1], now, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
	a.nl_pid = was[4].nl_pid;
	VICTIM_CHECK(sendto(user[1], "x", 1, 0, (struct sockaddr *)&a, sizeof a) < 0 && errno == ECONNREFUSED);
	return victim_ok();
}
