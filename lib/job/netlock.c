#include "job/netlock.h"
#include "common/buf.h"
#include "common/cleanup.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/wait.h>

enum { OUTPUT_MAX = 4096 };

const char *netlock_nft(void)
{
	static const char *const places[] = { "/usr/sbin/nft", "/sbin/nft", "/usr/local/sbin/nft", "/usr/bin/nft" };

	for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
		if (!access(places[i], X_OK))
			return places[i];
	return NULL;
}

bool netlock_possible(void) { return netlock_nft() != NULL; }

static bool plain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

const char *netlock_name(const char *id, char out[NETLOCK_NAME])
{
	unsigned long long nonce = 0;

	if (getrandom(&nonce, sizeof nonce, 0) != sizeof nonce)
		nonce = (unsigned long long)getpid();
	snprintf(out, NETLOCK_NAME, "xos_%.40s_%08llx", id, nonce & 0xffffffff);
	for (char *c = out; *c; c++)
		if (!plain(*c))
			*c = '_';
	return out;
}

bool netlock_name_valid(const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < n; i++)
		if (!plain(name[i]))
			return false;
	return n < NETLOCK_NAME && !strncmp(name, "xos_", 4);
}

/* The commands come from a file in memory, what nft says goes to another. */
static int child(int script, int output)
{
	static char *const env[] = { (char *)"LC_ALL=C", NULL };
	const char *path = netlock_nft();
	char *argv[] = { (char *)(uintptr_t)path, (char *)"-f", (char *)"-", NULL };

	if (!path || dup2(script, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0)
		return 126;
	execve(path, argv, env);
	return 126;
}

static int run(const struct buf *script, struct err *e)
{
	AUTO_FD int in = memfd_create("nft", MFD_CLOEXEC), out = memfd_create("nft", MFD_CLOEXEC);
	char said[OUTPUT_MAX];
	ssize_t n;
	int status;
	pid_t pid;

	if (buf_failed(script) || in < 0 || out < 0 || write(in, script->p, script->len) != (ssize_t)script->len || lseek(in, 0, SEEK_SET))
		return err_sys(e, "cannot write commands for nft");
	pid = fork();
	if (pid < 0)
		return err_sys(e, "cannot make a process");
	if (!pid)
		_exit(child(in, out));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_sys(e, "waitpid");
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return 0;
	n = pread(out, said, sizeof said - 1, 0);
	said[n > 0 ? n : 0] = 0;
	said[strcspn(said, "\n")] = 0;
	return err_set(e, EX_FAILED, "nft: %s", *said ? said : "failed");
}

static void add_elements(struct buf *b, const struct netlock_conn *v, size_t n, bool v6)
{
	bool first = true;

	for (size_t i = 0; i < n; i++) {
		char own[INET6_ADDRSTRLEN], peer[INET6_ADDRSTRLEN];
		int family = v6 ? AF_INET6 : AF_INET;

		if (v[i].v6 != v6)
			continue;
		inet_ntop(family, v[i].own, own, sizeof own);
		inet_ntop(family, v[i].peer, peer, sizeof peer);
		buf_printf(b, "%s%s . %u . %s . %u", first ? " elements = { " : ", ", peer, v[i].peer_port, own, v[i].own_port);
		first = false;
	}
	buf_adds(b, first ? "" : " }");
}

int netlock_up(const char *name, const struct netlock_conn *v, size_t n, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;

	/* Before connection tracking, which would take note of what nobody gets. */
	buf_printf(&b, "table inet %s {\n", name);
	for (int v6 = 0; v6 < 2; v6++) {
		buf_printf(&b, "set c%d { type %s . inet_service . %s . inet_service;", v6 ? 6 : 4, v6 ? "ipv6_addr" : "ipv4_addr",
			   v6 ? "ipv6_addr" : "ipv4_addr");
		add_elements(&b, v, n, v6);
		buf_adds(&b, " }\n");
	}
	buf_adds(&b, "chain in { type filter hook prerouting priority -400;\n"
		     "ip saddr . tcp sport . ip daddr . tcp dport @c4 drop\n"
		     "ip6 saddr . tcp sport . ip6 daddr . tcp dport @c6 drop\n}\n"
		     "chain out { type filter hook output priority -400;\n"
		     "ip daddr . tcp dport . ip saddr . tcp sport @c4 drop\n"
		     "ip6 daddr . tcp dport . ip6 saddr . tcp sport @c6 drop\n}\n}\n");
	return run(&b, e);
}

int netlock_down(const char *name, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT;

	buf_printf(&b, "add table inet %s\ndelete table inet %s\n", name, name);
	return run(&b, e);
}

bool netlock_there(const char *name)
{
	AUTO_BUF struct buf b = BUF_INIT;

	buf_printf(&b, "list table inet %s\n", name);
	return netlock_possible() && !run(&b, NULL);
}
