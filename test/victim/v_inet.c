/* UDP, UDP-lite and ping sockets: bound, connected, with datagrams that wait, options, a packet filter, multicast groups; raw ones where
 * we may. IPv4 and IPv6. */
#include "victim.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdint.h>
#include <netinet/udp.h>
#include <sys/socket.h>

union addr { struct sockaddr sa; struct sockaddr_in in; struct sockaddr_in6 in6; };
struct world { int family, rx, tx, con[2], lite, many; union addr rx_at, tx_at, con_at[2]; };

static socklen_t size_of(const union addr *a) { return a->sa.sa_family == AF_INET ? sizeof a->in : sizeof a->in6; }

static void name_of(int fd, union addr *a)
{
	socklen_t n = sizeof *a;

	memset(a, 0, sizeof *a);
	VICTIM_TRY(getsockname(fd, &a->sa, &n));
}

static int bound(int family, int protocol, union addr *at)
{
	union addr a = { .sa.sa_family = (sa_family_t)family };
	int fd = socket(family, SOCK_DGRAM, protocol);

	if (fd < 0 && protocol)
		return -1;
	VICTIM_TRY(fd);
	if (family == AF_INET)
		a.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		a.in6.sin6_addr = in6addr_loopback;
	VICTIM_TRY(bind(fd, &a.sa, size_of(&a)));
	name_of(fd, at);
	return fd;
}

static void say(int fd, const char *text, const union addr *to)
{
	VICTIM_CHECK(sendto(fd, text, strlen(text), 0, &to->sa, size_of(to)) == (ssize_t)strlen(text));
}

static void hear(int fd, const char *text, const union addr *from)
{
	union addr a;
	socklen_t n = sizeof a;
	char got[256];

	memset(&a, 0, sizeof a);
	VICTIM_CHECK(recvfrom(fd, got, sizeof got, MSG_DONTWAIT, &a.sa, &n) == (ssize_t)strlen(text));
	VICTIM_CHECK(!memcmp(got, text, strlen(text)));
	VICTIM_CHECK(n == size_of(from) && !memcmp(&a, from, n));
}

static void empty(int fd)
{
	char c;

	VICTIM_CHECK(recv(fd, &c, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
}

static int option(int fd, int level, int nr)
{
	int v = -1;
	socklen_t n = sizeof v;

	VICTIM_TRY(getsockopt(fd, level, nr, &v, &n));
	return v;
}

static void set(int fd, int level, int nr, int v) { VICTIM_TRY(setsockopt(fd, level, nr, &v, sizeof v)); }

static void build(struct world *w, int family)
{
	union addr tmp;
	int gone;

	w->family = family;
	w->rx = bound(family, 0, &w->rx_at);
	w->tx = bound(family, 0, &w->tx_at);
	gone = bound(family, 0, &tmp);
	say(w->tx, "one", &w->rx_at);
	say(w->tx, "and two", &w->rx_at);
	set(w->rx, SOL_SOCKET, SO_BROADCAST, 1);
	set(w->rx, SOL_SOCKET, SO_RCVBUF, 50000);
	if (family == AF_INET)
		set(w->rx, SOL_IP, IP_TTL, 33);
	else
		set(w->rx, SOL_IPV6, IPV6_UNICAST_HOPS, 33);
	w->con[0] = bound(family, 0, &w->con_at[0]);
	w->con[1] = bound(family, 0, &w->con_at[1]);
	say(gone, "from one that has gone", &w->con_at[1]);
	VICTIM_TRY(close(gone));
	VICTIM_TRY(connect(w->con[0], &w->con_at[1].sa, size_of(&w->con_at[1])));
	VICTIM_TRY(connect(w->con[1], &w->con_at[0].sa, size_of(&w->con_at[0])));
	VICTIM_CHECK(send(w->con[0], "connected", 9, 0) == 9);
	w->lite = bound(family, IPPROTO_UDPLITE, &tmp);
	if (w->lite >= 0)
		set(w->lite, IPPROTO_UDPLITE, 10 /* UDPLITE_SEND_CSCOV */, 20);
}

static void check(struct world *w)
{
	union addr a;
	char got[64];

	name_of(w->rx, &a);
	VICTIM_CHECK(!memcmp(&a, &w->rx_at, size_of(&a)));
	hear(w->rx, "one", &w->tx_at);
	hear(w->rx, "and two", &w->tx_at);
	empty(w->rx);
	say(w->tx, "three", &w->rx_at);
	hear(w->rx, "three", &w->tx_at);
	VICTIM_CHECK(option(w->rx, SOL_SOCKET, SO_BROADCAST) == 1);
	VICTIM_CHECK(option(w->rx, SOL_SOCKET, SO_RCVBUF) == 100000);
	VICTIM_CHECK((w->family == AF_INET ? option(w->rx, SOL_IP, IP_TTL) : option(w->rx, SOL_IPV6, IPV6_UNICAST_HOPS)) == 33);
	VICTIM_CHECK(recv(w->con[1], got, sizeof got, MSG_DONTWAIT) == 22);
	VICTIM_CHECK(recv(w->con[1], got, sizeof got, MSG_DONTWAIT) == 9);
	empty(w->con[1]);
	VICTIM_CHECK(send(w->con[1], "back", 4, 0) == 4);
	hear(w->con[0], "back", &w->con_at[1]);
	if (w->lite >= 0)
		VICTIM_CHECK(option(w->lite, IPPROTO_UDPLITE, 10) == 20);
}

/* Only what begins with "y". */
static struct sock_filter code[] = {
	BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 8),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 'y', 0, 1),
	BPF_STMT(BPF_RET | BPF_K, 0xffff),
	BPF_STMT(BPF_RET | BPF_K, 0),
};

int main(int argc, char **argv)
{
	struct sock_fprog filter = { 4, code };
	struct group_req req = { .gr_interface = if_nametoindex("lo") };
	struct group_source_req sreq = { .gsr_interface = req.gr_interface };
	struct { uint32_t data; } icmp = { 0x1234 };
	struct world w[2];
	union addr filtered_at, tx_at, group;
	int filtered, tx, many, ping, raw, six, fresh;
	socklen_t n = sizeof icmp;

	victim_init(argc, argv);
	six = socket(AF_INET6, SOCK_DGRAM, 0);
	if (six >= 0 && bind(six, &(union addr){ .in6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT } }.sa, sizeof(struct sockaddr_in6)) < 0) {
		close(six);
		six = -1;
	}
	build(&w[0], AF_INET);
	if (six >= 0)
		build(&w[1], AF_INET6);
	filtered = bound(AF_INET, 0, &filtered_at);
	tx = bound(AF_INET, 0, &tx_at);
	VICTIM_TRY(setsockopt(filtered, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter));

	VICTIM_TRY(many = socket(AF_INET, SOCK_DGRAM, 0));
	memset(&group, 0, sizeof group);
	group.in.sin_family = AF_INET;
	group.in.sin_addr.s_addr = inet_addr("239.1.2.3");
	memcpy(&req.gr_group, &group.in, sizeof group.in);
	VICTIM_TRY(setsockopt(many, SOL_IP, MCAST_JOIN_GROUP, &req, sizeof req));
	group.in.sin_addr.s_addr = inet_addr("239.1.2.4");
	memcpy(&sreq.gsr_group, &group.in, sizeof group.in);
	group.in.sin_addr.s_addr = inet_addr("127.0.0.7");
	memcpy(&sreq.gsr_source, &group.in, sizeof group.in);
	VICTIM_TRY(setsockopt(many, SOL_IP, MCAST_JOIN_SOURCE_GROUP, &sreq, sizeof sreq));
	ping = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
	if (ping >= 0)
		set(ping, SOL_IP, IP_TTL, 9);
	raw = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	if (raw >= 0) {
		VICTIM_TRY(setsockopt(raw, SOL_RAW, 1, &icmp, sizeof icmp));
		set(raw, SOL_IP, IP_HDRINCL, 1);
	}
	victim_wait();

	check(&w[0]);
	if (six >= 0)
		check(&w[1]);
	say(tx, "no", &filtered_at);
	say(tx, "yes", &filtered_at);
	hear(filtered, "yes", &tx_at);
	empty(filtered);
	VICTIM_CHECK(setsockopt(many, SOL_IP, MCAST_JOIN_GROUP, &req, sizeof req) < 0 && errno == EADDRINUSE);
	VICTIM_CHECK(setsockopt(many, SOL_IP, MCAST_JOIN_SOURCE_GROUP, &sreq, sizeof sreq) < 0 && errno == EADDRNOTAVAIL);
	VICTIM_TRY(setsockopt(many, SOL_IP, MCAST_LEAVE_SOURCE_GROUP, &sreq, sizeof sreq));
	VICTIM_TRY(fresh = socket(AF_INET, SOCK_DGRAM, 0));
	VICTIM_CHECK(setsockopt(fresh, SOL_IP, MCAST_LEAVE_SOURCE_GROUP, &sreq, sizeof sreq) < 0);
	if (ping >= 0)
		VICTIM_CHECK(option(ping, SOL_IP, IP_TTL) == 9 && option(ping, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_ICMP);
	if (raw >= 0) {
		memset(&icmp, 0, sizeof icmp);
		VICTIM_TRY(getsockopt(raw, SOL_RAW, 1, &icmp, &n));
		VICTIM_CHECK(icmp.data == 0x1234 && option(raw, SOL_IP, IP_HDRINCL) == 1);
	}
	return victim_ok();
}
