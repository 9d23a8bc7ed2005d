/* netns: two network namespaces of the job's own, connected by a pair of interfaces, each with links, addresses, routes, rules, neighbours and sysctls
 * of many kinds. What ip(8) and /proc tell of them after the restart is what they told before, and packets go from one to the other. An
 * ordinary user has a user namespace around them. */
#include "victim.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

enum { TEXT = 1 << 20 };
static char before[TEXT], after[TEXT];

/* In the order in which they can be made; those that begin with ? may fail (no such driver or option here). */
static const char *const first[] = {
	"ip link set lo up", "ip addr add 10.255.0.1/32 dev lo",
	"ip link add v0 index 20 type veth peer name v1 index 30", "ip link add br0 type bridge ageing_time 1000 priority 4096",
	"ip link set v0 address 02:00:00:00:00:01 mtu 1400 txqueuelen 77 alias 'two words' group 5", "?ip link property add dev v0 altname another-name-of-it",
	"ip link set v1 master br0", "?bridge link set dev v1 cost 55 hairpin on", "?ip link add link v0 name mv0 type macvlan mode bridge", "?ip link add d0 type dummy",
	"?ip link add link v0 name v0.7 type vlan id 7", "ip link set v1 multicast off", "ip link set v0 promisc on",
	"ip link set br0 up", "ip link set v0 up", "ip link set v1 up",
	"ip addr add 10.0.0.1/24 brd + dev v0 label v0:x", "ip addr add 10.0.0.2/24 dev v0", "ip addr add 10.5.0.1 peer 10.5.0.2 dev v0",
	"ip addr add 10.7.0.1/16 dev br0 valid_lft 50000 preferred_lft 40000", "ip addr add 2001:db8::1/64 dev v0", "ip addr add 2001:db8:1::1/64 dev v0 nodad",
	"ip addr add 2001:db8:3::1/64 dev v0 noprefixroute",
	"ip route add 10.9.0.0/16 via 10.0.0.3", "ip route add default via 10.0.0.9 dev v0 metric 50 mtu 1300 advmss 1200",
	"ip route add 10.10.0.0/16 nexthop via 10.0.0.4 weight 3 nexthop via 10.7.0.5 weight 1", "ip route add blackhole 10.11.0.0/16",
	"ip route add unreachable 10.12.0.0/16 metric 7", "ip route add 10.13.0.0/16 via 192.0.2.1 dev v0 onlink table 100",
	"ip route add 10.14.0.0/16 via 10.0.0.3 src 10.0.0.2 proto 77", "ip -6 route add 2001:db8:9::/48 via 2001:db8::5",
	"ip -6 route add 2001:db8:a::/48 nexthop via 2001:db8::6 nexthop via 2001:db8::7", "ip -6 route add unreachable 2001:db8:b::/48",
	"ip rule add from 10.0.0.0/24 table 100 priority 1000", "ip rule add fwmark 0x5/0xff table 101", "ip -6 rule add to 2001:db8::/32 table 102", "ip rule del table default",
	"ip neigh add 10.0.0.7 lladdr 02:00:00:00:00:07 dev v0 nud permanent", "ip neigh add 2001:db8::7 lladdr 02:00:00:00:00:07 dev v0 nud permanent",
	"ip neigh add proxy 10.0.0.8 dev v0", "?bridge fdb add 02:11:22:33:44:55 dev v1 master static",
	NULL,
};
static const char *const shown[] = {
	"ip -d -o link", "ip -o addr", "ip -4 route show table all", "ip -6 route show table all | sort", "ip rule", "ip -6 rule", "ip neigh show nud permanent", "ip neigh show proxy",
	"bridge -d link 2>/dev/null", "bridge fdb show 2>/dev/null | grep -E 'static|permanent' | grep -v self",
	"cd /proc/sys/net && grep -rs . ipv4/conf ipv6/conf ipv4/neigh core/somaxconn ipv4/tcp_keepalive_time ipv4/ip_local_port_range unix | sort", NULL,
};
static const struct { const char *name, *value; } settings[] = {
	{ "ipv6/conf/all/accept_dad", "0" }, { "ipv6/conf/default/accept_dad", "0" }, { "ipv4/ip_forward", "1" }, { "ipv4/tcp_keepalive_time", "99" },
	{ "ipv4/ip_local_port_range", "20000\t30000" }, { "core/somaxconn", "111" }, { NULL, NULL },
};
static const struct { const char *name, *value; } settings_late[] = {
	{ "ipv4/conf/v0/forwarding", "0" }, { "ipv4/conf/v0/rp_filter", "2" }, { "ipv4/neigh/v0/base_reachable_time_ms", "12345" }, { "ipv6/conf/br0/hop_limit", "9" }, { NULL, NULL },
};

static void put(const char *name, const char *value)
{
	char path[200];
	int fd;

	snprintf(path, sizeof path, "/proc/%s", name);
	fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		victim_skip("%s: %s", path, strerror(errno));
	close(fd);
}

static void setting(const char *name, const char *value)
{
	char path[200];

	snprintf(path, sizeof path, "sys/net/%s", name);
	put(path, value);
}

static int run(const char *cmd)
{
	char all[400];

	snprintf(all, sizeof all, "PATH=$PATH:/usr/sbin:/sbin; %s%s", cmd + (*cmd == '?'), *cmd == '?' ? " 2>/dev/null" : "");
	return system(all);
}

/* Numbers that count something, or go with time. */
static int passing(const char *word)
{
	static const char *const with_number[] = { "valid_lft", "preferred_lft", "expires", "gc_timer", "hello_timer", "tcn_timer", "topology_change_timer", "forward_delay_timer",
						   "hold_timer", "message_age_timer", NULL };

	for (int i = 0; with_number[i]; i++)
		if (!strcmp(with_number[i], word))
			return 1;
	return 0;
}

static void look(char *out)
{
	size_t n = 0;

	for (int i = 0; shown[i]; i++) {
		char cmd[300], line[8192];
		FILE *f;

		snprintf(cmd, sizeof cmd, "PATH=$PATH:/usr/sbin:/sbin; %s", shown[i]);
		f = popen(cmd, "r");
		VICTIM_CHECK(f);
		while (fgets(line, sizeof line, f)) {
			char *save = NULL, *word = strtok_r(line, " \n", &save);
			int skip = 0;

			for (; word && n + strlen(word) + 3 < TEXT; word = strtok_r(NULL, " \n", &save)) {
				if (!skip)
					n += (size_t)sprintf(out + n, "%s ", word);
				skip = passing(word);
			}
			out[n++] = '\n';
		}
		pclose(f);
	}
	out[n] = '\0';
}

static void compare(const char *who)
{
	char *a = before, *b = after;

	while (*a && *b) {
		size_t x = strcspn(a, "\n"), y = strcspn(b, "\n");

		if (x != y || memcmp(a, b, x))
			victim_fail("%s: was '%.*s', is '%.*s'", who, (int)x, a, (int)y, b);
		a += x + 1;
		b += y + 1;
	}
	if (*a || *b)
		victim_fail("%s: more or fewer lines: '%.200s'", who, *a ? a : b);
}

static void enter(void)
{
	char map[64];
	uid_t uid = geteuid();
	gid_t gid = getegid();

	if (uid ? unshare(CLONE_NEWUSER | CLONE_NEWNET) : unshare(CLONE_NEWNET))
		victim_skip("no network namespace can be made: %s", strerror(errno));
	if (!uid)
		return;
	put("self/setgroups", "deny");
	snprintf(map, sizeof map, "0 %u 1", uid);
	put("self/uid_map", map);
	snprintf(map, sizeof map, "0 %u 1", gid);
	put("self/gid_map", map);
}

static int udp(const char *address)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(5000) };
	struct timeval t = { .tv_sec = 10 };
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	inet_pton(AF_INET, address, &a.sin_addr);
	VICTIM_TRY(s);
	VICTIM_TRY(bind(s, (struct sockaddr *)&a, sizeof a));
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
	return s;
}

/* The one in the other namespace: 'b': build the rest, 'l': look, 'c': compare and answer a packet. */
static void other(int in, int out)
{
	char c;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	VICTIM_TRY(unshare(CLONE_NEWNET));
	setting("ipv6/conf/all/accept_dad", "0");
	setting("ipv6/conf/default/accept_dad", "0");
	VICTIM_CHECK(write(out, "m", 1) == 1);
	while (read(in, &c, 1) == 1) {
		if (c == 'b') {
			VICTIM_CHECK(!run("ip link set lo up && ip link set b0 up && ip addr add 10.1.0.2/24 dev b0 && ip route add default via 10.1.0.1 && ip addr add fd00::2/64 dev b0 nodad"));
		} else if (c == 'l') {
			look(before);
		} else {
			struct sockaddr_in from;
			socklen_t n = sizeof from;
			int s;

			look(after);
			compare("the other namespace");
			s = udp("10.1.0.2");
			VICTIM_CHECK(write(out, "r", 1) == 1);
			VICTIM_CHECK(recvfrom(s, &c, 1, 0, (struct sockaddr *)&from, &n) == 1);
			VICTIM_CHECK(sendto(s, "y", 1, 0, (struct sockaddr *)&from, n) == 1);
		}
		VICTIM_CHECK(write(out, "k", 1) == 1);
	}
	_exit(0);
}

static void tell(int to, int from, char what, char answer)
{
	char c = 0;
	ssize_t n;

	if (what)
		VICTIM_CHECK(write(to, &what, 1) == 1);
	n = read(from, &c, 1);
	if (!n)
		_exit(1); /* it has said why */
	VICTIM_CHECK(n == 1 && c == answer);
}

static void build(int to, int from, pid_t pid)
{
	char cmd[200];

	for (int i = 0; settings[i].name; i++)
		setting(settings[i].name, settings[i].value);
	for (int i = 0; first[i]; i++)
		if (run(first[i]) && *first[i] != '?')
			victim_skip("'%s' does not work here", first[i]);
	for (int i = 0; settings_late[i].name; i++)
		setting(settings_late[i].name, settings_late[i].value);
	snprintf(cmd, sizeof cmd, "ip link add a0 type veth peer name b0 netns %d && ip link set a0 up && ip addr add 10.1.0.1/24 dev a0 && ip addr add fd00::1/64 dev a0", (int)pid);
	if (run(cmd))
		victim_skip("no pair of interfaces between two namespaces can be made");
	tell(to, from, 'b', 'k');
	/* Until the kernel has told itself of every carrier. */
	usleep(1500 * 1000);
}

int main(int argc, char **argv)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(5000) };
	int to[2], from[2], s;
	char c = 0;
	pid_t pid;

	victim_init(argc, argv);
	if (system("PATH=$PATH:/usr/sbin:/sbin; ip -V >/dev/null 2>&1"))
		victim_skip("ip (iproute2) is not installed");
	enter();
	VICTIM_TRY(pipe(to));
	VICTIM_TRY(pipe(from));
	pid = fork();
	VICTIM_TRY(pid);
	if (!pid) {
		close(to[1]);
		close(from[0]);
		other(to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	tell(to[1], from[0], 0, 'm');
	build(to[1], from[0], pid);
	look(before);
	tell(to[1], from[0], 'l', 'k');
	victim_wait();
	look(after);
	compare("the first namespace");
	tell(to[1], from[0], 'c', 'r');
	s = udp("10.1.0.1");
	inet_pton(AF_INET, "10.1.0.2", &a.sin_addr);
	VICTIM_CHECK(sendto(s, "x", 1, 0, (struct sockaddr *)&a, sizeof a) == 1);
	VICTIM_CHECK(recv(s, &c, 1, 0) == 1 && c == 'y');
	tell(to[1], from[0], 0, 'k');
	close(to[1]);
	VICTIM_CHECK(waitpid(pid, NULL, 0) == pid);
	return victim_ok();
}
