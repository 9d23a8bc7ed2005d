/* Mapped TCP sockets (TCP_ZEROCOPY_RECEIVE): a connected one, with data that waits, one with advice given to its mapping, a listening one
 * (private). After the restart data is received through the mapping as before, and none of it is lost. */
#include "victim.h"

#include <arpa/inet.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum { LEN = 16 * 4096, WAITING = 3 * 4096 + 17 };

static int listener, a, b;
static char *map_b, *map_listener;

static void *map(int fd, int flags)
{
	void *p = mmap(NULL, LEN, PROT_READ, flags, fd, 0);

	if (p == MAP_FAILED)
		victim_skip("TCP sockets cannot be mapped: %s", strerror(errno));
	return p;
}

static unsigned char at(size_t i) { return (unsigned char)(i * 7 + i / 4096); }

static void send_some(size_t from, size_t n)
{
	static unsigned char buf[LEN];

	for (size_t i = 0; i < n; i++)
		buf[i] = at(from + i);
	VICTIM_CHECK(send(a, buf, n, 0) == (ssize_t)n);
}

/* Receives n bytes as the kernel likes: pages in the mapping, or what it says has to be copied. */
static void receive(size_t from, size_t n)
{
	static unsigned char buf[LEN];
	size_t got = 0;

	while (got < n) {
		struct tcp_zerocopy_receive z = { .address = (uintptr_t)map_b, .length = LEN };
		socklen_t len = sizeof z;

		if (getsockopt(b, IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, &z, &len))
			victim_fail("TCP_ZEROCOPY_RECEIVE: %s", strerror(errno));
		for (size_t i = 0; i < z.length; i++)
			if ((unsigned char)map_b[i] != at(from + got + i))
				victim_fail("byte %zu is wrong in the mapping", got + i);
		got += z.length;
		if (z.length)
			VICTIM_CHECK(madvise(map_b, LEN, MADV_DONTNEED) == 0);
		if (!z.recv_skip_hint) {
			usleep(1000);
			continue;
		}
		size_t want = z.recv_skip_hint < n - got ? z.recv_skip_hint : n - got;
		ssize_t k = recv(b, buf, want, MSG_DONTWAIT);
		for (ssize_t i = 0; i < k; i++)
			if (buf[i] != at(from + got + (size_t)i))
				victim_fail("byte %zu is wrong", got + (size_t)i);
		got += k > 0 ? (size_t)k : 0;
	}
}

/* The line of smaps' VmFlags of a mapping. */
static void flags_of(const void *p, char *out, size_t n)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[512], want[32];
	int here = 0;

	*out = 0;
	snprintf(want, sizeof want, "%lx-", (unsigned long)(uintptr_t)p);
	while (f && fgets(line, sizeof line, f)) {
		if (strstr(line, " 00:") && strchr(line, '-') && (line[0] < 'A' || line[0] > 'Z'))
			here = !strncmp(line, want, strlen(want));
		if (here && strstr(line, "socket:["))
			snprintf(out, n, "socket ");
		if (here && !strncmp(line, "VmFlags:", 8))
			snprintf(out + strlen(out), n - strlen(out), "%s", line);
	}
	if (f)
		fclose(f);
}

int main(int argc, char **argv)
{
	struct sockaddr_in s = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof s;
	char was[2][512], is[512];

	victim_init(argc, argv);
	VICTIM_TRY(listener = socket(AF_INET, SOCK_STREAM, 0));
	VICTIM_CHECK(!bind(listener, (struct sockaddr *)&s, sizeof s) && !listen(listener, 5) && !getsockname(listener, (struct sockaddr *)&s, &n));
	VICTIM_TRY(a = socket(AF_INET, SOCK_STREAM, 0));
	VICTIM_CHECK(!connect(a, (struct sockaddr *)&s, sizeof s));
	VICTIM_TRY(b = accept(listener, NULL, NULL));
	map_listener = map(listener, MAP_PRIVATE);
	map_b = map(b, MAP_SHARED);
	VICTIM_CHECK(madvise(map_b, LEN, MADV_DONTFORK) == 0);
	send_some(0, LEN);
	receive(0, LEN);
	send_some(LEN, WAITING);
	flags_of(map_b, was[0], sizeof was[0]);
	flags_of(map_listener, was[1], sizeof was[1]);
	VICTIM_CHECK(!strncmp(was[0], "socket ", 7) && !strncmp(was[1], "socket ", 7));
	victim_wait();
	for (int i = 0; i < 2; i++) {
		flags_of(i ? map_listener : map_b, is, sizeof is);
		if (strcmp(is, was[i]))
			victim_fail("mapping %d was %s and is %s", i, was[i], is);
	}
	receive(LEN, WAITING);
	send_some(0, LEN);
	receive(0, LEN);
	return victim_ok();
}
