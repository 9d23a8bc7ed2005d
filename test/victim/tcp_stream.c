/* tcp_stream: one end of a TCP connection over which both ends send all the time, faster than they read, and check what they receive.
 *
 *     tcp_stream listen|connect ADDRESS PORT PATH [idle]
 *
 * PATH.ready: it is connected. From PATH.stop on it sends no more, reads to the end, and writes PATH.ok ("SENT RECEIVED", bytes) or
 * PATH.fail. idle: the bytes go one line a second or so. With PATH.half it shuts its direction down before PATH.ready. */
#include "victim.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum { PIECE = 1 << 16 };

static unsigned char pattern(uint64_t i) { return (unsigned char)((i * 2654435761u) >> 11 ^ i); }

static bool exists(const char *suffix)
{
	char name[4200];

	victim_name_(name, sizeof name, suffix);
	return access(name, F_OK) == 0;
}

static int endpoint(bool server, const char *address, int port)
{
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	struct sockaddr_in a4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	bool v6 = inet_pton(AF_INET6, address, &a6.sin6_addr) == 1;
	struct sockaddr *a = v6 ? (struct sockaddr *)&a6 : (struct sockaddr *)&a4;
	socklen_t n = v6 ? sizeof a6 : sizeof a4;
	int l, fd, one = 1;

	VICTIM_CHECK(v6 || inet_pton(AF_INET, address, &a4.sin_addr) == 1);
	VICTIM_TRY(l = socket(a->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
	if (!server) {
		for (int i = 0; connect(l, a, n); i++) {
			VICTIM_CHECK(errno == ECONNREFUSED && i < 500);
			victim_pause();
		}
		return l;
	}
	VICTIM_TRY(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
	VICTIM_TRY(bind(l, a, n));
	VICTIM_TRY(listen(l, 5));
	victim_put_("listens", "");
	VICTIM_TRY(fd = accept(l, NULL, NULL));
	return fd;
}

static void take(int fd, uint64_t *got, bool *end)
{
	static unsigned char in[PIECE];
	ssize_t n = recv(fd, in, sizeof in, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n < 0)
		victim_fail("recv after %llu bytes: %s", (unsigned long long)*got, strerror(errno));
	for (ssize_t i = 0; i < n; i++)
		if (in[i] != pattern(*got + (uint64_t)i))
			victim_fail("byte %llu is wrong", (unsigned long long)*got + (unsigned long long)i);
	*got += (uint64_t)n;
	*end = n == 0;
}

static void give(int fd, uint64_t *sent, size_t size)
{
	static unsigned char out[PIECE];
	ssize_t n;

	for (size_t i = 0; i < size; i++)
		out[i] = pattern(*sent + i);
	n = send(fd, out, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN)
		victim_fail("send after %llu bytes: %s", (unsigned long long)*sent, strerror(errno));
	*sent += n > 0 ? (uint64_t)n : 0;
}

int main(int argc, char **argv)
{
	uint64_t sent = 0, got = 0;
	bool end = false, shut, idle = argc > 5;
	char verdict[64], *own[] = { argv[0], argv[4], NULL };
	int fd, rounds = 0;

	if (argc < 5)
		return 2;
	victim_init(2, own);
	fd = endpoint(!strcmp(argv[1], "listen"), argv[2], atoi(argv[3]));
	give(fd, &sent, 1000);
	shut = exists("half");
	if (shut)
		VICTIM_TRY(shutdown(fd, SHUT_WR));
	victim_ready();
	while (!end || !shut) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		bool stop = exists("stop");

		if (!shut && stop) {
			VICTIM_TRY(shutdown(fd, SHUT_WR));
			shut = true;
		}
		if (!shut && !(idle && rounds % 50))
			for (int i = 0; i < 4; i++)
				give(fd, &sent, idle ? 10 : PIECE);
		if (end || rounds++ % 4 == 0 || stop || idle)
			poll(&p, end ? 0 : 1, stop ? 1000 : 20);
		if (!end)
			take(fd, &got, &end);
		if (!stop)
			usleep(1000);
	}
	snprintf(verdict, sizeof verdict, "%llu %llu\n", (unsigned long long)sent, (unsigned long long)got);
	victim_put_("ok", verdict);
	return 0;
}
