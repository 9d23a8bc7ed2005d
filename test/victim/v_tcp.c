/* TCP inside a job, IPv4, IPv6 and both: listening, connected with data on the way in both directions, shut down ends, an end that is
 * closed, one waiting to be accepted, bound only, options. */
#include "victim.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

union addr { struct sockaddr sa; struct sockaddr_in in; struct sockaddr_in6 in6; };

static socklen_t size_of(const union addr *a) { return a->sa.sa_family == AF_INET ? sizeof a->in : sizeof a->in6; }

static int listening(int family, union addr *a)
{
	socklen_t n = sizeof *a;
	int s;

	memset(a, 0, sizeof *a);
	a->sa.sa_family = (sa_family_t)family;
	if (family == AF_INET)
		a->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		a->in6.sin6_addr = in6addr_loopback;
	VICTIM_TRY(s = socket(family, SOCK_STREAM, 0));
	VICTIM_TRY(bind(s, &a->sa, size_of(a)));
	VICTIM_TRY(listen(s, 7));
	VICTIM_TRY(getsockname(s, &a->sa, &n));
	return s;
}

static int connected(const union addr *to)
{
	int s;

	VICTIM_TRY(s = socket(to->sa.sa_family, SOCK_STREAM, 0));
	VICTIM_TRY(connect(s, &to->sa, size_of(to)));
	return s;
}

static void pair(int l, const union addr *to, int fd[2])
{
	fd[0] = connected(to);
	VICTIM_TRY(fd[1] = accept(l, NULL, NULL));
}

static int option(int fd, int level, int nr)
{
	int v = -1;
	socklen_t n = sizeof v;

	VICTIM_TRY(getsockopt(fd, level, nr, &v, &n));
	return v;
}

static void set(int fd, int level, int nr, int v) { VICTIM_TRY(setsockopt(fd, level, nr, &v, sizeof v)); }

static void say(int fd, const char *text) { VICTIM_CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text)); }

static void hear(int fd, const char *text)
{
	char got[64];
	size_t n = strlen(text);

	VICTIM_CHECK(recv(fd, got, n, MSG_WAITALL) == (ssize_t)n);
	VICTIM_CHECK(!memcmp(got, text, n));
}

static void nothing(int fd)
{
	char c;

	VICTIM_CHECK(recv(fd, &c, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
}

static void ended(int fd)
{
	char c;

	VICTIM_CHECK(recv(fd, &c, 1, MSG_DONTWAIT) == 0);
}

/* What waits is a pattern, n bytes of it. */
static size_t flood(int fd, size_t max)
{
	unsigned char block[1000];
	size_t sum = 0;
	ssize_t n;

	do {
		for (size_t i = 0; i < sizeof block; i++)
			block[i] = (unsigned char)((sum + i) * 7 % 251);
		n = send(fd, block, sizeof block, MSG_DONTWAIT);
		sum += n > 0 ? (size_t)n : 0;
	} while (n == (ssize_t)sizeof block && sum < max);
	return sum;
}

static void drain(int fd, size_t n)
{
	unsigned char block[4096];
	size_t sum = 0;
	ssize_t k;

	while (sum < n && (k = recv(fd, block, n - sum < sizeof block ? n - sum : sizeof block, 0)) > 0) {
		for (ssize_t i = 0; i < k; i++)
			VICTIM_CHECK(block[i] == (unsigned char)((sum + (size_t)i) * 7 % 251));
		sum += (size_t)k;
	}
	VICTIM_CHECK(sum == n);
}

static void same_name(int fd, const union addr *was, int (*get)(int, struct sockaddr *restrict, socklen_t *restrict))
{
	union addr a;
	socklen_t n = sizeof a;

	memset(&a, 0, sizeof a);
	VICTIM_TRY(get(fd, &a.sa, &n));
	VICTIM_CHECK(n == size_of(was) && !memcmp(&a, was, n));
}

struct world {
	int l, talk[2], big[2], half[2], both[2], gone, wait, bound, reset;
	union addr at, talk_at[2], bound_at;
	size_t sent;
};

static void get_name(int fd, union addr *a, int (*get)(int, struct sockaddr *restrict, socklen_t *restrict))
{
	socklen_t n = sizeof *a;

	memset(a, 0, sizeof *a);
	VICTIM_TRY(get(fd, &a->sa, &n));
}

static void build(struct world *w, int family)
{
	int tmp[2];

	w->l = listening(family, &w->at);
	pair(w->l, &w->at, w->talk);
	get_name(w->talk[0], &w->talk_at[0], getsockname);
	get_name(w->talk[1], &w->talk_at[1], getsockname);
	say(w->talk[0], "to the server");
	say(w->talk[1], "to the client, ");
	say(w->talk[1], "twice");
	set(w->talk[0], IPPROTO_TCP, TCP_NODELAY, 1);
	set(w->talk[0], SOL_SOCKET, SO_KEEPALIVE, 1);
	set(w->talk[0], IPPROTO_TCP, TCP_KEEPIDLE, 77);
	set(w->talk[1], IPPROTO_TCP, TCP_USER_TIMEOUT, 54321);
	VICTIM_TRY(fcntl(w->talk[1], F_SETFL, O_NONBLOCK));

	pair(w->l, &w->at, w->big);
	w->sent = flood(w->big[0], 60000);

	pair(w->l, &w->at, w->half);
	say(w->half[0], "the last");
	VICTIM_TRY(shutdown(w->half[0], SHUT_WR));

	pair(w->l, &w->at, w->both);
	say(w->both[0], "over");
	VICTIM_TRY(shutdown(w->both[0], SHUT_WR));
	VICTIM_TRY(shutdown(w->both[1], SHUT_WR));

	pair(w->l, &w->at, tmp);
	say(tmp[0], "left behind");
	w->gone = tmp[1];
	VICTIM_TRY(close(tmp[0]));

	pair(w->l, &w->at, tmp);
	say(tmp[0], "unread");
	w->reset = tmp[0];
	hear(tmp[1], "unre");
	VICTIM_TRY(close(tmp[1]));

	w->wait = connected(&w->at);

	VICTIM_TRY(w->bound = socket(family, SOCK_STREAM, 0));
	w->bound_at = w->at;
	if (family == AF_INET)
		w->bound_at.in.sin_port = 0;
	else
		w->bound_at.in6.sin6_port = 0;
	VICTIM_TRY(bind(w->bound, &w->bound_at.sa, size_of(&w->bound_at)));
	get_name(w->bound, &w->bound_at, getsockname);
}

static void check(struct world *w)
{
	struct pollfd one = { .fd = w->reset };
	int s;

	same_name(w->l, &w->at, getsockname);
	same_name(w->talk[0], &w->talk_at[0], getsockname);
	same_name(w->talk[0], &w->at, getpeername);
	same_name(w->talk[1], &w->talk_at[1], getsockname);
	same_name(w->talk[1], &w->talk_at[0], getpeername);
	hear(w->talk[1], "to the server");
	nothing(w->talk[1]);
	hear(w->talk[0], "to the client, twice");
	nothing(w->talk[0]);
	say(w->talk[0], "more");
	VICTIM_TRY(poll(&(struct pollfd){ .fd = w->talk[1], .events = POLLIN }, 1, 5000));
	hear(w->talk[1], "more");
	VICTIM_CHECK(option(w->talk[0], IPPROTO_TCP, TCP_NODELAY) == 1);
	VICTIM_CHECK(option(w->talk[0], SOL_SOCKET, SO_KEEPALIVE) == 1);
	VICTIM_CHECK(option(w->talk[0], SOL_SOCKET, SO_REUSEADDR) == 0);
	VICTIM_CHECK(option(w->talk[0], IPPROTO_TCP, TCP_KEEPIDLE) == 77);
	VICTIM_CHECK(option(w->talk[1], IPPROTO_TCP, TCP_USER_TIMEOUT) == 54321);
	VICTIM_CHECK(fcntl(w->talk[1], F_GETFL) & O_NONBLOCK);
	VICTIM_CHECK(!(fcntl(w->talk[0], F_GETFL) & O_NONBLOCK));
	drain(w->big[1], w->sent);
	nothing(w->big[1]);
	hear(w->half[1], "the last");
	ended(w->half[1]);
	say(w->half[1], "back");
	hear(w->half[0], "back");
	VICTIM_CHECK(send(w->half[0], "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE);
	hear(w->both[1], "over");
	ended(w->both[1]);
	ended(w->both[0]);
	hear(w->gone, "left behind");
	ended(w->gone);
	VICTIM_CHECK(poll(&one, 1, 0) == 1 && (one.revents & POLLERR));
	VICTIM_TRY(s = accept(w->l, NULL, NULL));
	say(w->wait, "accepted");
	hear(s, "accepted");
	same_name(w->bound, &w->bound_at, getsockname);
	close(s);
	pair(w->l, &w->at, w->both);
	say(w->both[0], "new");
	hear(w->both[1], "new");
}

int main(int argc, char **argv)
{
	struct world w[2];
	union addr any = { .in6 = { .sin6_family = AF_INET6 } }, to;
	socklen_t n = sizeof any;
	int dual, mixed[2], six;

	victim_init(argc, argv);
	six = socket(AF_INET6, SOCK_STREAM, 0);
	if (six >= 0 && bind(six, &(union addr){ .in6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT } }.sa, sizeof any.in6) < 0) {
		close(six);
		six = -1;
	}
	build(&w[0], AF_INET);
	if (six >= 0)
		build(&w[1], AF_INET6);

	/* An IPv4 client of an IPv6 socket. */
	if (six >= 0) {
		VICTIM_TRY(dual = socket(AF_INET6, SOCK_STREAM, 0));
		VICTIM_TRY(bind(dual, &any.sa, sizeof any.in6));
		VICTIM_TRY(listen(dual, 3));
		VICTIM_TRY(getsockname(dual, &any.sa, &n));
		to = (union addr){ .in = { .sin_family = AF_INET, .sin_port = any.in6.sin6_port, .sin_addr = { htonl(INADDR_LOOPBACK) } } };
		pair(dual, &to, mixed);
		say(mixed[0], "4 to 6");
	}
	victim_wait();

	check(&w[0]);
	if (six >= 0) {
		check(&w[1]);
		hear(mixed[1], "4 to 6");
		say(mixed[1], "6 to 4");
		hear(mixed[0], "6 to 4");
	}
	return victim_ok();
}
