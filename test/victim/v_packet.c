/* Packet sockets on lo: bound, unbound, with options, a filter, memberships counted twice, a fanout group; they hear what comes by. */
#include "victim.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdint.h>
#include <sys/socket.h>

enum { KIND = 0x88b5 /* for local experiments, IEEE 802 */, FANS = 2, FANOUT_SHIFT = 16 };

static int lo;

static int make(int type, int protocol)
{
	struct sockaddr_ll a = { .sll_family = AF_PACKET, .sll_protocol = htons((uint16_t)protocol), .sll_ifindex = lo };
	int fd = socket(AF_PACKET, type, 0);

	if (fd < 0 && errno == EPERM)
		victim_skip("packet sockets need CAP_NET_RAW");
	VICTIM_TRY(fd);
	VICTIM_TRY(bind(fd, (struct sockaddr *)&a, sizeof a));
	return fd;
}

static void set(int fd, int nr, int v) { VICTIM_TRY(setsockopt(fd, SOL_PACKET, nr, &v, sizeof v)); }

static int option(int fd, int nr)
{
	int v = -1;
	socklen_t n = sizeof v;

	VICTIM_TRY(getsockopt(fd, SOL_PACKET, nr, &v, &n));
	return v;
}

static void say(int fd, const char *text)
{
	struct sockaddr_ll a = { .sll_family = AF_PACKET, .sll_protocol = htons(KIND), .sll_ifindex = lo, .sll_halen = ETH_ALEN };

	VICTIM_CHECK(sendto(fd, text, strlen(text) + 1, 0, (struct sockaddr *)&a, sizeof a) == (ssize_t)strlen(text) + 1);
}

/* Skips what goes out, and what others send. */
static int heard(int fd, const char *text)
{
	char got[256];

	for (int i = 0; i < 100; i++) {
		ssize_t n = recv(fd, got, sizeof got - 1, MSG_DONTWAIT);
		if (n < 0) {
			victim_pause();
			continue;
		}
		got[n] = 0;
		if (!strcmp(got, text))
			return 1;
	}
	return 0;
}

static int silent(int fd)
{
	char c;

	return recv(fd, &c, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

/* lo listens to that address, as /proc tells. */
static int listens(const struct packet_mreq *m)
{
	char line[256], want[2 * ETH_ALEN + 1], device[32], address[64];
	FILE *f = fopen("/proc/net/dev_mcast", "re");
	int yes = 0;

	VICTIM_CHECK(f);
	for (int i = 0; i < ETH_ALEN; i++)
		snprintf(want + 2 * i, 3, "%02x", m->mr_address[i]);
	while (fgets(line, sizeof line, f))
		yes |= sscanf(line, "%*d %31s %*d %*d %63s", device, address) == 2 && !strcmp(device, "lo") && !strcmp(address, want);
	fclose(f);
	return yes;
}

/* Only what begins with "y". */
static struct sock_filter code[] = {
	BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 'y', 0, 1),
	BPF_STMT(BPF_RET | BPF_K, 0xffff),
	BPF_STMT(BPF_RET | BPF_K, 0),
};

int main(int argc, char **argv)
{
	struct packet_mreq m = { .mr_type = PACKET_MR_MULTICAST, .mr_alen = ETH_ALEN, .mr_address = { 1, 0, 0x5e, 1, 2, 3 } };
	struct sock_fprog filter = { 4, code };
	struct sockaddr_ll a;
	socklen_t n = sizeof a;
	int plain, filtered, fan[FANS], id, idle;
	char text[64];

	victim_init(argc, argv);
	VICTIM_CHECK((lo = (int)if_nametoindex("lo")) > 0);
	m.mr_ifindex = lo;
	m.mr_address[4] = (unsigned char)(getpid() >> 8);
	m.mr_address[5] = (unsigned char)getpid();
	plain = make(SOCK_DGRAM, KIND);
	set(plain, PACKET_AUXDATA, 1);
	set(plain, PACKET_IGNORE_OUTGOING, 1);
	set(plain, PACKET_VERSION, TPACKET_V2);
	VICTIM_TRY(setsockopt(plain, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof m));
	VICTIM_TRY(setsockopt(plain, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof m));
	VICTIM_TRY(idle = socket(AF_PACKET, SOCK_RAW, 0));
	filtered = make(SOCK_DGRAM, KIND);
	set(filtered, PACKET_IGNORE_OUTGOING, 1);
	VICTIM_TRY(setsockopt(filtered, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter));
	for (int i = 0; i < FANS; i++) {
		fan[i] = make(SOCK_RAW, KIND + 1);
		set(fan[i], PACKET_FANOUT, (getpid() & 0xffff) | PACKET_FANOUT_LB << FANOUT_SHIFT);
	}
	id = option(fan[0], PACKET_FANOUT);
	victim_wait();

	VICTIM_CHECK(option(plain, PACKET_AUXDATA) == 1 && option(plain, PACKET_IGNORE_OUTGOING) == 1);
	VICTIM_CHECK(option(plain, PACKET_VERSION) == TPACKET_V2 && option(idle, PACKET_VERSION) == TPACKET_V1);
	VICTIM_CHECK(option(fan[0], PACKET_FANOUT) == id && option(fan[1], PACKET_FANOUT) == id);
	VICTIM_TRY(getsockname(plain, (struct sockaddr *)&a, &n));
	VICTIM_CHECK(a.sll_ifindex == lo && a.sll_protocol == htons(KIND));
	n = sizeof a;
	VICTIM_TRY(getsockname(idle, (struct sockaddr *)&a, &n));
	VICTIM_CHECK(a.sll_ifindex == 0 && a.sll_protocol == 0);
	snprintf(text, sizeof text, "no %d", (int)getpid());
	say(plain, text);
	VICTIM_CHECK(heard(plain, text));
	VICTIM_CHECK(silent(filtered));
	snprintf(text, sizeof text, "yes %d", (int)getpid());
	say(plain, text);
	VICTIM_CHECK(heard(plain, text) && heard(filtered, text));
	VICTIM_CHECK(listens(&m));
	VICTIM_TRY(setsockopt(plain, SOL_PACKET, PACKET_DROP_MEMBERSHIP, &m, sizeof m));
	VICTIM_CHECK(listens(&m));
	VICTIM_TRY(setsockopt(plain, SOL_PACKET, PACKET_DROP_MEMBERSHIP, &m, sizeof m));
	VICTIM_CHECK(!listens(&m));
	return victim_ok();
}
