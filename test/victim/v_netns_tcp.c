/* netns_tcp: TCP connections from one network namespace of the job to another, over a pair of interfaces: at rest, with data in both directions that finds no
 * room, shut down, with a closed end, over IPv6. An ordinary user needs a control group for it (XOS_VICTIM_UNSENT), and has a user namespace around both. */
#include "victim.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { REST, FULL, SHUT, SHUT_BY_OTHER, CLOSED, SIX, N, PORT = 7000, BIG = 1 << 20 };
static const char *const what[N] = { "at rest", "full in both directions", "shut down", "shut down by the other", "closed by the other", "over IPv6" };
static char data[2][BIG];
static size_t sent[2];
static int fd[N];

static void put(const char *file, const char *value)
{
	int f = open(file, O_WRONLY);

	if (f < 0 || write(f, value, strlen(value)) < 0)
		victim_skip("%s: %s", file, strerror(errno));
	close(f);
}

static void enter(void)
{
	char map[64];
	uid_t uid = geteuid();
	gid_t gid = getegid();

	if (uid && !getenv("XOS_VICTIM_UNSENT"))
		victim_skip("looking into TCP connections needs a job with a control group, or root");
	if (uid ? unshare(CLONE_NEWUSER | CLONE_NEWNET) : unshare(CLONE_NEWNET))
		victim_skip("no network namespace can be made: %s", strerror(errno));
	if (!uid)
		return;
	put("/proc/self/setgroups", "deny");
	snprintf(map, sizeof map, "0 %u 1", uid);
	put("/proc/self/uid_map", map);
	snprintf(map, sizeof map, "0 %u 1", gid);
	put("/proc/self/gid_map", map);
}

static void run(const char *fmt, int pid)
{
	char cmd[600], line[500];

	snprintf(line, sizeof line, fmt, pid);
	snprintf(cmd, sizeof cmd, "PATH=$PATH:/usr/sbin:/sbin; %s", line);
	if (system(cmd))
		victim_skip("'%s' does not work here", line);
}

union address { struct sockaddr sa; struct sockaddr_in four; struct sockaddr_in6 six; };

static socklen_t address(int i, union address *a, int any)
{
	memset(a, 0, sizeof *a);
	if (i == SIX) {
		a->six.sin6_family = AF_INET6;
		a->six.sin6_port = htons((uint16_t)(PORT + i));
		inet_pton(AF_INET6, any ? "::" : "fd00:77::2", &a->six.sin6_addr);
		return sizeof a->six;
	}
	a->four.sin_family = AF_INET;
	a->four.sin_port = htons((uint16_t)(PORT + i));
	inet_pton(AF_INET, any ? "0.0.0.0" : "10.77.0.2", &a->four.sin_addr);
	return sizeof a->four;
}

static void say(int s, const char *text) { VICTIM_CHECK(send(s, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text)); }

static ssize_t some(int s, char *to, size_t n)
{
	struct pollfd one = { .fd = s, .events = POLLIN };

	return poll(&one, 1, 20000) == 1 ? recv(s, to, n, MSG_DONTWAIT) : -1;
}

static void hear(int i, const char *text)
{
	char got[100];
	size_t n = 0;

	while (n < strlen(text)) {
		ssize_t k = some(fd[i], got + n, strlen(text) - n);

		if (k <= 0)
			victim_fail("%s: %zu bytes of '%s', then %s", what[i], n, text, k ? strerror(errno) : "the end");
		n += (size_t)k;
	}
	if (memcmp(got, text, n))
		victim_fail("%s: not '%s'", what[i], text);
}

static void hear_end(int i)
{
	char c;
	ssize_t n = some(fd[i], &c, 1);

	if (n)
		victim_fail("%s: no end, %s", what[i], n > 0 ? "a byte" : strerror(errno));
}

/* All that finds no room stays with its sender. */
static size_t stuff(int s, const char *from)
{
	size_t n = 0;
	ssize_t k;

	VICTIM_TRY(setsockopt(s, SOL_SOCKET, SO_SNDBUF, &(int){ 128 << 10 }, sizeof(int)));
	for (int idle = 0; n < BIG && idle < 10; n += k > 0 ? (size_t)k : 0) {
		k = send(s, from + n, BIG - n, MSG_DONTWAIT | MSG_NOSIGNAL);
		idle = k > 0 ? 0 : idle + 1;
		usleep(2000);
	}
	return n;
}

static void drain(int s, const char *expected, size_t n)
{
	static char got[65536];

	for (size_t at = 0; at < n;) {
		ssize_t k = some(s, got, n - at < sizeof got ? n - at : sizeof got);

		if (k <= 0 || memcmp(got, expected + at, (size_t)k))
			victim_fail("%s: after %zu of %zu bytes: %s", what[FULL], at, n, k <= 0 ? "nothing more" : "other bytes");
		at += (size_t)k;
	}
}

static void tell(int out, int in, char c)
{
	char got = 0;
	ssize_t n;

	VICTIM_CHECK(write(out, &c, 1) == 1);
	n = read(in, &got, 1);
	if (!n)
		_exit(1); /* it has said why */
	VICTIM_CHECK(n == 1 && got == c);
}

static void await(int in, int out, char c)
{
	char got = 0;

	if (read(in, &got, 1) != 1)
		_exit(1);
	VICTIM_CHECK(got == c && write(out, &c, 1) == 1);
}

/* ---- the one that listens ---- */

static void server(int in, int out)
{
	int l[N];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	VICTIM_TRY(unshare(CLONE_NEWNET));
	await(in, out, 'n');
	await(in, out, 'u');
	run("ip link set lo up && ip link set b0 up && ip addr add 10.77.0.2/24 dev b0 && ip addr add fd00:77::2/64 dev b0 nodad", 0);
	for (int i = 0; i < N; i++) {
		union address a;
		socklen_t n = address(i, &a, 1);

		l[i] = socket(i == SIX ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
		VICTIM_TRY(l[i]);
		VICTIM_TRY(bind(l[i], &a.sa, n));
		VICTIM_TRY(listen(l[i], 1));
	}
	await(in, out, 'l');
	for (int i = 0; i < N; i++) {
		VICTIM_TRY(fd[i] = accept(l[i], NULL, NULL));
		if (i != REST)
			close(l[i]);
	}
	say(fd[SHUT_BY_OTHER], "the server's last words");
	VICTIM_TRY(shutdown(fd[SHUT_BY_OTHER], SHUT_WR));
	say(fd[CLOSED], "closed after this");
	close(fd[CLOSED]);
	say(fd[SIX], "of six");
	say(fd[REST], "for the client");
	sent[1] = stuff(fd[FULL], data[1]);
	VICTIM_CHECK(write(out, &sent[1], sizeof sent[1]) == sizeof sent[1] && read(in, &sent[0], sizeof sent[0]) == sizeof sent[0]);
	await(in, out, 'c');
	hear(REST, "for the server");
	say(fd[REST], "new");
	hear(SHUT, "the client's last words");
	hear_end(SHUT);
	say(fd[SHUT], "still");
	hear(SHUT_BY_OTHER, "go on");
	hear(SIX, "six again");
	drain(fd[FULL], data[0], sent[0]);
	say(fd[FULL], "empty");
	await(in, out, 'e');
	_exit(0);
}

static void connect_all(void)
{
	for (int i = 0; i < N; i++) {
		union address a;
		socklen_t n = address(i, &a, 0);

		VICTIM_TRY(fd[i] = socket(i == SIX ? AF_INET6 : AF_INET, SOCK_STREAM, 0));
		VICTIM_TRY(connect(fd[i], &a.sa, n));
	}
	say(fd[REST], "for the server");
	say(fd[SHUT], "the client's last words");
	VICTIM_TRY(shutdown(fd[SHUT], SHUT_WR));
	sent[0] = stuff(fd[FULL], data[0]);
}

int main(int argc, char **argv)
{
	int to[2], from[2], status;
	pid_t pid;

	victim_init(argc, argv);
	if (system("PATH=$PATH:/usr/sbin:/sbin; ip -V >/dev/null 2>&1"))
		victim_skip("ip (iproute2) is not installed");
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < BIG; i++) {
		data[0][i] = (char)(i * 11 + i / 253);
		data[1][i] = (char)(i * 5 + i / 241);
	}
	enter();
	VICTIM_TRY(pipe(to));
	VICTIM_TRY(pipe(from));
	pid = fork();
	VICTIM_TRY(pid);
	if (!pid) {
		close(to[1]);
		close(from[0]);
		server(to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	tell(to[1], from[0], 'n');
	run("ip link add a0 type veth peer name b0 netns %d && ip link set lo up && ip link set a0 up && ip addr add 10.77.0.1/24 dev a0 && ip addr add fd00:77::1/64 dev a0 nodad", pid);
	tell(to[1], from[0], 'u');
	tell(to[1], from[0], 'l');
	connect_all();
	VICTIM_CHECK(read(from[0], &sent[1], sizeof sent[1]) == sizeof sent[1] && write(to[1], &sent[0], sizeof sent[0]) == sizeof sent[0]);
	victim_wait();
	VICTIM_CHECK(write(to[1], "c", 1) == 1);
	hear(REST, "for the client");
	hear(REST, "new");
	hear(SHUT, "still");
	hear(SHUT_BY_OTHER, "the server's last words");
	hear_end(SHUT_BY_OTHER);
	say(fd[SHUT_BY_OTHER], "go on");
	hear(CLOSED, "closed after this");
	hear_end(CLOSED);
	hear(SIX, "of six");
	say(fd[SIX], "six again");
	drain(fd[FULL], data[1], sent[1]);
	hear(FULL, "empty");
	VICTIM_CHECK(read(from[0], data[0], 1) == 1 && data[0][0] == 'c');
	tell(to[1], from[0], 'e');
	VICTIM_CHECK(waitpid(pid, &status, 0) == pid);
	return victim_ok();
}
