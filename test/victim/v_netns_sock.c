/* netns_sock: sockets of all kinds in a network namespace of the job's own, some held by a process that lives in another one, some of the job's own
 * network in hands of processes that have left it. The same names and ports are in use in two namespaces at once. After the restart each is in the
 * namespace that it was in, holds what waited in it, and works. An ordinary user has a user namespace around it; what waits to be sent can be
 * read where his job has a control group (XOS_VICTIM_UNSENT). */
#include "victim.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif
enum { BIG = 400 << 10, ROOM = 16 << 10 };

struct all {
	int listener, waiting;              /* TCP; connected and not accepted */
	int client, server;                 /* with data in both directions */
	int client6, server6, half;         /* half: its other end has shut down */
	int slow, full;                     /* more is sent than finds room */
	int udp, udp_client, udp6;
	int raw, ping, packet, route;
	int un_listener, un_waiting, un_client, un_server, un_dgram, un_to, pair[2];
};
static struct all a;                        /* of our namespace */
static struct all b;                        /* made in it, held by a process in another */
static int far_listener, far_server, far_dgram; /* by the names of files: their clients are in the other namespace */
static int home_tcp, home_udp, home_un, home_pair[2];
static uint16_t port, udp_port, b_port;
static char name[40];
static char big[BIG];

static void put(const char *file, const char *value)
{
	int fd = open(file, O_WRONLY);

	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		victim_skip("%s: %s", file, strerror(errno));
	close(fd);
}

static void lo_up(void)
{
	struct ifreq i = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	VICTIM_TRY(fd);
	VICTIM_TRY(ioctl(fd, SIOCSIFFLAGS, &i));
	close(fd);
}

static void enter(void)
{
	char map[64];
	uid_t uid = geteuid();
	gid_t gid = getegid();

	if (uid ? unshare(CLONE_NEWUSER | CLONE_NEWNET) : unshare(CLONE_NEWNET))
		victim_skip("no network namespace can be made: %s", strerror(errno));
	if (uid) {
		put("/proc/self/setgroups", "deny");
		snprintf(map, sizeof map, "0 %u 1", uid);
		put("/proc/self/uid_map", map);
		snprintf(map, sizeof map, "0 %u 1", gid);
		put("/proc/self/gid_map", map);
	}
	lo_up();
}

/* 0: this kernel does not tell */
static uint64_t place(int fd)
{
	uint64_t v = 0;
	socklen_t n = sizeof v;

	return getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &v, &n) ? 0 : v;
}

static uint64_t here(void)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	uint64_t v = place(fd);

	close(fd);
	return v;
}

static struct sockaddr_in at4(uint16_t p) { return (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(p) }; }

static int tcp_listener(uint16_t *p)
{
	struct sockaddr_in x = at4(*p);
	socklen_t n = sizeof x;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	VICTIM_TRY(fd);
	VICTIM_TRY(bind(fd, (struct sockaddr *)&x, sizeof x));
	VICTIM_TRY(listen(fd, 8));
	VICTIM_TRY(getsockname(fd, (struct sockaddr *)&x, &n));
	*p = ntohs(x.sin_port);
	return fd;
}

static int tcp_to(uint16_t p, int small)
{
	struct sockaddr_in x = at4(p);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	VICTIM_TRY(fd);
	if (small)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){ BIG }, sizeof(int));
	VICTIM_TRY(connect(fd, (struct sockaddr *)&x, sizeof x));
	return fd;
}

static int udp_at(uint16_t *p)
{
	struct sockaddr_in x = at4(*p);
	socklen_t n = sizeof x;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	VICTIM_TRY(fd);
	VICTIM_TRY(bind(fd, (struct sockaddr *)&x, sizeof x));
	VICTIM_TRY(getsockname(fd, (struct sockaddr *)&x, &n));
	*p = ntohs(x.sin_port);
	return fd;
}

static socklen_t abstract(struct sockaddr_un *x, const char *suffix)
{
	*x = (struct sockaddr_un){ .sun_family = AF_UNIX };
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)snprintf(x->sun_path + 1, sizeof x->sun_path - 1, "%s%s", name, suffix));
}

static int unix_at(int type, const char *suffix)
{
	struct sockaddr_un x;
	socklen_t n = abstract(&x, suffix);
	int fd = socket(AF_UNIX, type, 0);

	VICTIM_TRY(fd);
	VICTIM_TRY(bind(fd, (struct sockaddr *)&x, n));
	if (type == SOCK_STREAM)
		VICTIM_TRY(listen(fd, 5));
	return fd;
}

static int unix_to(int type, const char *suffix)
{
	struct sockaddr_un x;
	socklen_t n = abstract(&x, suffix);
	int fd = socket(AF_UNIX, type, 0);

	VICTIM_TRY(fd);
	VICTIM_TRY(connect(fd, (struct sockaddr *)&x, n));
	return fd;
}

static void say(int fd, const char *text) { VICTIM_CHECK(send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text)); }

static void hear(int fd, const char *text, const char *what)
{
	struct pollfd one = { .fd = fd, .events = POLLIN };
	char got[200];
	size_t want = strlen(text), n = 0;

	while (n < want) {
		ssize_t k = poll(&one, 1, 10000) == 1 ? recv(fd, got + n, want - n, MSG_DONTWAIT) : -1;

		if (k <= 0)
			victim_fail("%s: %zu of %zu bytes, then %s", what, n, want, k ? strerror(errno) : "the end");
		n += (size_t)k;
	}
	if (memcmp(got, text, want))
		victim_fail("%s: '%.*s' is not '%s'", what, (int)n, got, text);
}

static int accepted(int l, const char *what)
{
	struct pollfd one = { .fd = l, .events = POLLIN };
	int fd = poll(&one, 1, 10000) == 1 ? accept(l, NULL, NULL) : -1;

	if (fd < 0)
		victim_fail("%s: nobody waits to be accepted", what);
	return fd;
}

/* ---- build ---- */

static void build_tcp(struct all *x, uint16_t *p)
{
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	socklen_t n = sizeof six;
	int l, c;

	x->listener = tcp_listener(p);
	x->client = tcp_to(*p, 0);
	x->server = accept(x->listener, NULL, NULL);
	say(x->client, "to the server");
	say(x->server, "to the client");
	setsockopt(x->client, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	c = tcp_to(*p, 0);
	x->half = accept(x->listener, NULL, NULL);
	say(c, "last words");
	close(c);
	x->slow = tcp_to(*p, 1);
	x->full = accept(x->listener, NULL, NULL);
	setsockopt(x->full, SOL_SOCKET, SO_RCVBUF, &(int){ ROOM }, sizeof(int));
	for (size_t i = 0; i < BIG; i++)
		big[i] = (char)(i * 7 + i / 251);
	x->waiting = tcp_to(*p, 0);
	VICTIM_TRY(x->server);
	VICTIM_TRY(x->half);
	VICTIM_TRY(x->full);
	l = socket(AF_INET6, SOCK_STREAM, 0);
	x->client6 = x->server6 = -1;
	if (l < 0 || bind(l, (struct sockaddr *)&six, sizeof six)) {
		close(l);
		return;
	}
	VICTIM_TRY(listen(l, 1));
	VICTIM_TRY(getsockname(l, (struct sockaddr *)&six, &n));
	x->client6 = socket(AF_INET6, SOCK_STREAM, 0);
	VICTIM_TRY(connect(x->client6, (struct sockaddr *)&six, sizeof six));
	x->server6 = accept(l, NULL, NULL);
	say(x->server6, "of six");
	close(l);
}

/* Fills the connection; tells how much. */
static size_t fill(const struct all *x)
{
	ssize_t n = send(x->slow, big, BIG, MSG_DONTWAIT);

	VICTIM_CHECK(n > ROOM);
	return (size_t)n;
}

static struct ip_mreqn group(void)
{
	struct ip_mreqn m = { .imr_multiaddr.s_addr = htonl(0xef070707), .imr_ifindex = (int)if_nametoindex("lo") };

	return m;
}

static void build_datagrams(struct all *x, uint16_t *p)
{
	struct sockaddr_in to;
	struct ip_mreqn m = group();

	x->udp = udp_at(p);
	to = at4(*p);
	x->udp_client = socket(AF_INET, SOCK_DGRAM, 0);
	VICTIM_TRY(connect(x->udp_client, (struct sockaddr *)&to, sizeof to));
	say(x->udp_client, "first");
	say(x->udp_client, "second");
	VICTIM_TRY(setsockopt(x->udp, SOL_IP, IP_ADD_MEMBERSHIP, &m, sizeof m));
	x->udp6 = socket(AF_INET6, SOCK_DGRAM, 0);
}

static void build_odd(struct all *x)
{
	static struct sock_filter pass[] = { BPF_STMT(BPF_RET | BPF_K, 64) };
	struct sock_fprog f = { 1, pass };
	struct sockaddr_ll ll = { .sll_family = AF_PACKET, .sll_protocol = htons(0x88b5), .sll_ifindex = (int)if_nametoindex("lo") };
	struct sockaddr_nl nl = { .nl_family = AF_NETLINK, .nl_pid = 4242, .nl_groups = RTMGRP_IPV4_ROUTE };

	/* Rights that an ordinary user has here. */
	VICTIM_TRY(x->raw = socket(AF_INET, SOCK_RAW, 200));
	setsockopt(x->raw, SOL_SOCKET, SO_MARK, &(int){ 77 }, sizeof(int));
	VICTIM_TRY(x->packet = socket(AF_PACKET, SOCK_RAW, 0));
	VICTIM_TRY(setsockopt(x->packet, SOL_SOCKET, SO_ATTACH_FILTER, &f, sizeof f));
	VICTIM_TRY(bind(x->packet, (struct sockaddr *)&ll, sizeof ll));
	VICTIM_TRY(x->route = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	VICTIM_TRY(bind(x->route, (struct sockaddr *)&nl, sizeof nl));
	put("/proc/sys/net/ipv4/ping_group_range", "0 0");
	x->ping = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
	VICTIM_TRY(x->ping);
}

static void send_fd(int s, int fd, const char *text)
{
	union { struct cmsghdr c; char room[CMSG_SPACE(sizeof(int))]; } u = { 0 };
	struct iovec v = { (void *)(uintptr_t)text, strlen(text) };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof u.room };

	u.c = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
	memcpy(CMSG_DATA(&u.c), &fd, sizeof fd);
	VICTIM_CHECK(sendmsg(s, &m, 0) == (ssize_t)strlen(text));
}

static int receive_fd(int s, const char *text)
{
	union { struct cmsghdr c; char room[CMSG_SPACE(sizeof(int))]; } u = { 0 };
	char got[100];
	struct iovec v = { got, sizeof got };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof u.room };
	int fd = -1;

	VICTIM_CHECK(recvmsg(s, &m, MSG_DONTWAIT) == (ssize_t)strlen(text) && !memcmp(got, text, strlen(text)));
	VICTIM_CHECK(m.msg_controllen >= CMSG_LEN(sizeof(int)));
	memcpy(&fd, CMSG_DATA(&u.c), sizeof fd);
	return fd;
}

static void build_unix(struct all *x, const char *s)
{
	char dgram[20];

	snprintf(dgram, sizeof dgram, "%sd", s);
	x->un_listener = unix_at(SOCK_STREAM, s);
	x->un_client = unix_to(SOCK_STREAM, s);
	x->un_server = accept(x->un_listener, NULL, NULL);
	VICTIM_TRY(x->un_server);
	say(x->un_client, "unix data");
	x->un_waiting = unix_to(SOCK_STREAM, s);
	x->un_dgram = unix_at(SOCK_DGRAM, dgram);
	x->un_to = unix_to(SOCK_DGRAM, dgram);
	say(x->un_to, "a datagram");
	VICTIM_TRY(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, x->pair));
	/* A descriptor of this namespace on its way. */
	send_fd(x->pair[0], x->udp, "the UDP socket");
	say(x->pair[0], "after it");
}

/* ---- check ---- */

static void echo(int one, int two, const char *what)
{
	say(one, "there");
	hear(two, "there", what);
	say(two, "and back");
	hear(one, "and back", what);
}

static void check_tcp(const struct all *x, uint16_t p, size_t filled)
{
	int v = 0, fd;
	socklen_t n = sizeof v;
	char c;

	hear(x->server, "to the server", "TCP");
	hear(x->client, "to the client", "TCP");
	echo(x->client, x->server, "TCP");
	VICTIM_CHECK(!getsockopt(x->client, IPPROTO_TCP, TCP_NODELAY, &v, &n) && v == 1);
	hear(x->half, "last words", "TCP whose other end was closed");
	VICTIM_CHECK(recv(x->half, &c, 1, MSG_DONTWAIT) == 0);
	if (x->client6 >= 0) {
		hear(x->client6, "of six", "TCP over IPv6");
		echo(x->client6, x->server6, "TCP over IPv6");
	}
	for (size_t i = 0; i < filled; i++) {
		static char got[65536];
		struct pollfd one = { .fd = x->full, .events = POLLIN };
		ssize_t k = poll(&one, 1, 20000) == 1 ? recv(x->full, got, sizeof got, MSG_DONTWAIT) : -1;

		if (k <= 0 || memcmp(got, big + i, (size_t)k))
			victim_fail("TCP: after %zu of %zu bytes that waited: %s", i, filled, k <= 0 ? "nothing" : "other ones");
		i += (size_t)k - 1;
	}
	fd = accepted(x->listener, "TCP");
	echo(x->waiting, fd, "TCP connection that waited");
	close(fd);
	v = tcp_to(p, 0);
	fd = accepted(x->listener, "TCP, new");
	echo(v, fd, "new TCP connection");
	close(v);
	close(fd);
}

static void check_datagrams(const struct all *x, uint16_t p)
{
	struct sockaddr_in from, to = at4(p);
	socklen_t n = sizeof from;
	struct ip_mreqn m = group();
	char got[100];
	int s;

	hear(x->udp, "first", "UDP");
	hear(x->udp, "second", "UDP");
	say(x->udp_client, "third");
	VICTIM_CHECK(recvfrom(x->udp, got, sizeof got, 0, (struct sockaddr *)&from, &n) == 5);
	VICTIM_CHECK(sendto(x->udp, "back", 4, 0, (struct sockaddr *)&from, n) == 4);
	hear(x->udp_client, "back", "UDP client");
	VICTIM_TRY(s = socket(AF_INET, SOCK_DGRAM, 0));
	VICTIM_CHECK(sendto(s, "new", 3, 0, (struct sockaddr *)&to, sizeof to) == 3);
	hear(x->udp, "new", "UDP from a new socket");
	close(s);
	/* It is in the group, once. */
	VICTIM_CHECK(!setsockopt(x->udp, SOL_IP, IP_DROP_MEMBERSHIP, &m, sizeof m));
	VICTIM_CHECK(setsockopt(x->udp, SOL_IP, IP_DROP_MEMBERSHIP, &m, sizeof m) && errno == EADDRNOTAVAIL);
}

static void check_odd(const struct all *x)
{
	struct sockaddr_ll ll = { .sll_family = AF_PACKET, .sll_protocol = htons(0x88b5), .sll_ifindex = (int)if_nametoindex("lo"), .sll_halen = 6 };
	struct sockaddr_in to = at4(0);
	struct sockaddr_nl nl;
	struct icmphdr echo_request = { .type = ICMP_ECHO };
	struct pollfd one = { .events = POLLIN };
	char got[200], frame[60] = { 0 };
	socklen_t n = sizeof nl;
	int v = 0, s;

	VICTIM_CHECK(sendto(x->raw, "raw data", 8, 0, (struct sockaddr *)&to, sizeof to) == 8);
	one.fd = x->raw;
	VICTIM_CHECK(poll(&one, 1, 5000) == 1 && recv(x->raw, got, sizeof got, 0) == 28 && !memcmp(got + 20, "raw data", 8));
	n = sizeof v;
	VICTIM_CHECK(!getsockopt(x->raw, SOL_SOCKET, SO_MARK, &v, &n) && v == 77);
	VICTIM_CHECK(sendto(x->ping, &echo_request, sizeof echo_request, 0, (struct sockaddr *)&to, sizeof to) == sizeof echo_request);
	one.fd = x->ping;
	VICTIM_CHECK(poll(&one, 1, 5000) == 1 && recv(x->ping, got, sizeof got, 0) == sizeof echo_request && got[0] == ICMP_ECHOREPLY);
	VICTIM_TRY(s = socket(AF_PACKET, SOCK_RAW, 0));
	frame[12] = (char)0x88;
	frame[13] = (char)0xb5;
	VICTIM_CHECK(sendto(s, frame, sizeof frame, 0, (struct sockaddr *)&ll, sizeof ll) == sizeof frame);
	close(s);
	one.fd = x->packet;
	VICTIM_CHECK(poll(&one, 1, 5000) == 1 && recv(x->packet, got, sizeof got, 0) == sizeof frame);
	n = sizeof nl;
	VICTIM_CHECK(!getsockname(x->route, (struct sockaddr *)&nl, &n) && nl.nl_pid == 4242 && nl.nl_groups == RTMGRP_IPV4_ROUTE);
}

/* Interfaces by the netlink socket: only lo is there. */
static void check_route(int fd)
{
	struct { struct nlmsghdr h; struct ifinfomsg i; } ask = {
		.h = { .nlmsg_len = sizeof ask, .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
	};
	static char got[65536];
	int links = 0;

	VICTIM_CHECK(send(fd, &ask, sizeof ask, 0) == sizeof ask);
	for (;;) {
		struct pollfd one = { .fd = fd, .events = POLLIN };
		ssize_t n = poll(&one, 1, 5000) == 1 ? recv(fd, got, sizeof got, 0) : -1;

		VICTIM_CHECK(n > 0);
		for (struct nlmsghdr *h = (struct nlmsghdr *)got; NLMSG_OK(h, (size_t)n); h = NLMSG_NEXT(h, n)) {
			if (h->nlmsg_type == NLMSG_DONE) {
				VICTIM_CHECK(links >= 1);
				return;
			}
			VICTIM_CHECK(h->nlmsg_type == RTM_NEWLINK);
			links++;
		}
	}
}

static void check_unix(const struct all *x, const char *s, uint64_t place_of)
{
	int c, fd;

	hear(x->un_server, "unix data", "unix");
	echo(x->un_client, x->un_server, "unix");
	fd = accepted(x->un_listener, "unix");
	echo(x->un_waiting, fd, "unix connection that waited");
	close(fd);
	hear(x->un_dgram, "a datagram", "unix datagrams");
	say(x->un_to, "another");
	hear(x->un_dgram, "another", "unix datagrams");
	fd = receive_fd(x->pair[1], "the UDP socket");
	VICTIM_CHECK(place(fd) == place_of);
	close(fd);
	hear(x->pair[1], "after it", "unix pair");
	echo(x->pair[0], x->pair[1], "unix pair");
	if (here() != place_of)
		return;
	c = unix_to(SOCK_STREAM, s);
	fd = accepted(x->un_listener, "unix, new");
	echo(c, fd, "new unix connection");
	close(c);
	close(fd);
}

static void check_place(const struct all *x, uint64_t want)
{
	const int fd[] = { x->listener, x->waiting, x->client, x->server, x->half, x->slow, x->full, x->udp, x->udp_client, x->un_listener, x->un_waiting, x->un_client,
			   x->un_server, x->un_dgram, x->un_to, x->pair[0], x->pair[1] };

	for (size_t i = 0; i < sizeof fd / sizeof *fd; i++)
		if (place(fd[i]) != want)
			victim_fail("socket %zu (fd %d) is in another network namespace than it was", i, fd[i]);
}

/* A name of a file leads from one namespace to another. What is accepted is where its client is. */
static int far(int type, const char *file, int bound)
{
	struct sockaddr_un x = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type, 0);

	snprintf(x.sun_path, sizeof x.sun_path, "%s", file);
	VICTIM_TRY(fd);
	if (bound)
		unlink(file);
	VICTIM_TRY(bound ? bind(fd, (struct sockaddr *)&x, sizeof x) : connect(fd, (struct sockaddr *)&x, sizeof x));
	return fd;
}

/* ---- the one in another namespace; its sockets b are of the first one ---- */

static void other(int in, int out)
{
	uint16_t mine = port;
	struct all own;
	int c1, c2, d;
	char c;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	VICTIM_TRY(unshare(CLONE_NEWNET));
	lo_up();
	build_tcp(&own, &mine);
	mine = udp_port;
	build_datagrams(&own, &mine);
	build_unix(&own, "s");
	c1 = far(SOCK_STREAM, "xos-far-s", 0);
	c2 = far(SOCK_STREAM, "xos-far-s", 0);
	d = far(SOCK_DGRAM, "xos-far-d", 0);
	say(d, "from afar");
	VICTIM_CHECK(write(out, "b", 1) == 1);
	if (read(in, &c, 1) != 1)
		_exit(1);
	check_place(&own, here());
	check_place(&b, place(b.listener));
	VICTIM_CHECK(!here() || here() != place(b.listener));
	hear(b.server, "to the server", "TCP, from another namespace");
	hear(b.client, "to the client", "TCP, from another namespace");
	echo(b.client, b.server, "TCP, from another namespace");
	check_unix(&b, "b", place(b.listener));
	check_tcp(&own, port, 0);
	check_unix(&own, "s", here());
	check_datagrams(&own, udp_port);
	VICTIM_CHECK(place(c1) == here() && place(c2) == here() && place(d) == here());
	hear(c1, "to another namespace", "unix, from another namespace");
	say(c1, "and back");
	hear(c2, "later", "unix connection that waited in another namespace");
	say(d, "again");
	VICTIM_CHECK(write(out, "k", 1) == 1);
	_exit(0);
}

static void home(void)
{
	VICTIM_TRY(socketpair(AF_UNIX, SOCK_STREAM, 0, home_pair));
	say(home_pair[0], "from home");
	home_tcp = tcp_listener(&port);
	home_udp = udp_at(&udp_port);
	snprintf(name, sizeof name, "xos-victim-%d-", getpid());
	home_un = unix_at(SOCK_STREAM, "s");
}

static void check_home(void)
{
	uint64_t h = place(home_tcp);
	struct sockaddr_in x;
	socklen_t n = sizeof x;

	VICTIM_CHECK(!h || h != here());
	VICTIM_CHECK(place(home_udp) == h && place(home_un) == h && place(home_pair[0]) == h && place(home_pair[1]) == h);
	hear(home_pair[1], "from home", "the pair of the job's own network");
	echo(home_pair[0], home_pair[1], "the pair of the job's own network");
	VICTIM_CHECK(!getsockname(home_tcp, (struct sockaddr *)&x, &n) && ntohs(x.sin_port) == port);
}

/* Names of sockets are short. */
static void to_directory_of(const char *path)
{
	char dir[4200];

	snprintf(dir, sizeof dir, "%s", path);
	VICTIM_CHECK(strrchr(dir, '/'));
	*strrchr(dir, '/') = '\0';
	VICTIM_TRY(chdir(dir));
}

static void check_far(void)
{
	hear(far_server, "and back", "unix, from another namespace");
	hear(far_dgram, "from afar", "unix datagrams from another namespace");
	hear(far_dgram, "again", "unix datagrams from another namespace");
	unlink("xos-far-s");
	unlink("xos-far-d");
}

int main(int argc, char **argv)
{
	int to[2], from[2], status;
	size_t filled;
	int unsent, later;
	pid_t pid;
	char c;

	victim_init(argc, argv);
	unsent = !geteuid() || getenv("XOS_VICTIM_UNSENT");
	signal(SIGPIPE, SIG_IGN);
	to_directory_of(argv[1]);
	home();
	enter();
	VICTIM_TRY(pipe(to));
	VICTIM_TRY(pipe(from));
	build_tcp(&b, &b_port);
	b.udp = b.udp_client = -1;
	b.udp = socket(AF_INET, SOCK_DGRAM, 0);
	b.udp_client = socket(AF_INET, SOCK_DGRAM, 0);
	build_unix(&b, "b");
	far_listener = far(SOCK_STREAM, "xos-far-s", 1);
	VICTIM_TRY(listen(far_listener, 5));
	far_dgram = far(SOCK_DGRAM, "xos-far-d", 1);
	pid = fork();
	VICTIM_TRY(pid);
	if (!pid)
		other(to[0], from[1]);
	for (int *fd = (int *)&b; fd < (int *)(&b + 1); fd++)
		if (*fd > 2)
			close(*fd);
	build_tcp(&a, &port);
	build_datagrams(&a, &udp_port);
	build_odd(&a);
	build_unix(&a, "s");
	filled = unsent ? fill(&a) : 0;
	VICTIM_CHECK(read(from[0], &c, 1) == 1 && c == 'b');
	far_server = accept(far_listener, NULL, NULL);
	say(far_server, "to another namespace");
	victim_wait();
	check_place(&a, here());
	check_home();
	check_tcp(&a, port, filled);
	check_datagrams(&a, udp_port);
	check_odd(&a);
	check_route(a.route);
	check_unix(&a, "s", here());
	VICTIM_CHECK(!here() || (place(far_listener) == here() && place(far_dgram) == here() && place(far_server) != here() && place(far_server) != place(home_tcp)));
	later = accepted(far_listener, "unix, from another namespace");
	say(later, "later");
	VICTIM_CHECK(write(to[1], "c", 1) == 1);
	if (read(from[0], &c, 1) != 1)
		return 1; /* it has said why */
	VICTIM_CHECK(c == 'k' && waitpid(pid, &status, 0) == pid);
	check_far();
	return victim_ok();
}
