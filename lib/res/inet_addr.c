#include "res/inet.h"
#include "common/cleanup.h"
#include "res/sock_diag.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

socklen_t inet_size(const union inet_addr *a)
{
	return a->sa.sa_family == AF_INET ? sizeof a->in : a->sa.sa_family == AF_INET6 ? sizeof a->in6 : 0;
}

bool inet_own(int fd, union inet_addr *a)
{
	socklen_t n = sizeof *a;

	memset(a, 0, sizeof *a);
	return !getsockname(fd, &a->sa, &n) && inet_size(a);
}

bool inet_peer(int fd, union inet_addr *a)
{
	socklen_t n = sizeof *a;

	memset(a, 0, sizeof *a);
	return !getpeername(fd, &a->sa, &n) && inet_size(a);
}

const char *inet_text(const union inet_addr *a, char out[INET_TEXT])
{
	char ip[INET6_ADDRSTRLEN], name[IF_NAMESIZE];
	uint32_t index = a->sa.sa_family == AF_INET6 ? a->in6.sin6_scope_id : 0;

	if (a->sa.sa_family == AF_INET)
		snprintf(out, INET_TEXT, "%s:%u", inet_ntop(AF_INET, &a->in.sin_addr, ip, sizeof ip), ntohs(a->in.sin_port));
	else if (a->sa.sa_family != AF_INET6)
		snprintf(out, INET_TEXT, "?");
	else if (index && sock_diag_name(index, name) && !strpbrk(name, "%]>@,"))
		snprintf(out, INET_TEXT, "[%s%%%s]:%u", inet_ntop(AF_INET6, &a->in6.sin6_addr, ip, sizeof ip), name, ntohs(a->in6.sin6_port));
	else if (index)
		snprintf(out, INET_TEXT, "[%s%%%u]:%u", inet_ntop(AF_INET6, &a->in6.sin6_addr, ip, sizeof ip), index, ntohs(a->in6.sin6_port));
	else
		snprintf(out, INET_TEXT, "[%s]:%u", inet_ntop(AF_INET6, &a->in6.sin6_addr, ip, sizeof ip), ntohs(a->in6.sin6_port));
	return out;
}

/* The whole of s is a decimal number. */
static int number(const char *s, unsigned long max, unsigned long *out)
{
	char *end;

	if (*s < '0' || *s > '9')
		return -1;
	errno = 0;
	*out = strtoul(s, &end, 10);
	return *end || errno || *out > max ? -1 : 0;
}

/* The index of an interface: by its name, or of one that had none by the number. 0: there is none of that name here; -1: it is no name. */
static int64_t interface(const char *name)
{
	unsigned long index;

	if (!*name || strlen(name) >= IF_NAMESIZE || strpbrk(name, "/: "))
		return -1;
	index = sock_diag_index(name);
	return index || !number(name, UINT32_MAX, &index) ? (int64_t)index : 0;
}

int inet_parse(const char *text, union inet_addr *a)
{
	bool six = text[0] == '[';
	const char *colon = strrchr(text, ':');
	char ip[INET_TEXT], *scope;
	unsigned long port;
	int64_t index = 0;
	size_t n;

	memset(a, 0, sizeof *a);
	if (!colon || number(colon + 1, UINT16_MAX, &port))
		return -1;
	n = (size_t)(colon - text);
	if (n >= sizeof ip || (six && (n < 2 || text[n - 1] != ']')))
		return -1;
	snprintf(ip, sizeof ip, "%.*s", (int)n - 2 * six, text + six);
	if (!six) {
		a->in.sin_family = AF_INET;
		a->in.sin_port = htons((uint16_t)port);
		return inet_pton(AF_INET, ip, &a->in.sin_addr) == 1 ? 0 : -1;
	}
	scope = strchr(ip, '%');
	if (scope) {
		*scope++ = 0;
		index = interface(scope);
		if (index < 0)
			return -1;
	}
	a->in6.sin6_family = AF_INET6;
	a->in6.sin6_port = htons((uint16_t)port);
	a->in6.sin6_scope_id = (uint32_t)index;
	return inet_pton(AF_INET6, ip, &a->in6.sin6_addr) != 1 ? -1 : scope && !index;
}

int inet_record(const struct rec *rec, const char *key, int family, union inet_addr *a, struct err *e)
{
	const char *text = rec_find(rec, key);
	int rc;

	memset(a, 0, sizeof *a);
	if (!text && !family)
		return 0;
	if (rec_str(rec, key, &text, e))
		return -1;
	rc = inet_parse(text, a);
	if (rc < 0 || (family && a->sa.sa_family != family))
		return err_set(e, EX_BAD_IMAGE, "line %zu: %s=\"%s\" is no such address", rec->line, key, text);
	return rc ? err_set(e, EX_MISFIT, "this node has no network interface of the address %s", text) : 0;
}

bool inet_any(const union inet_addr *a)
{
	return a->sa.sa_family == AF_INET ? a->in.sin_addr.s_addr == INADDR_ANY : IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr);
}

uint16_t inet_port(const union inet_addr *a)
{
	return ntohs(a->sa.sa_family == AF_INET ? a->in.sin_port : a->in6.sin6_port);
}

void inet_set_port(union inet_addr *a, uint16_t port)
{
	if (a->sa.sa_family == AF_INET)
		a->in.sin_port = htons(port);
	else
		a->in6.sin6_port = htons(port);
}

void inet_end_of(const union inet_addr *a, struct inet_end *end)
{
	memset(end, 0, sizeof *end);
	if (a->sa.sa_family == AF_INET) {
		end->a[10] = end->a[11] = 0xff;
		memcpy(end->a + 12, &a->in.sin_addr, 4);
	} else {
		memcpy(end->a, &a->in6.sin6_addr, 16);
	}
	end->port = inet_port(a);
}

bool inet_same(const union inet_addr *a, const union inet_addr *b)
{
	struct inet_end x, y;

	inet_end_of(a, &x);
	inet_end_of(b, &y);
	return !memcmp(&x, &y, sizeof x);
}

bool inet_local(const union inet_addr *a)
{
	AUTO_FD int fd = sock_make(a->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	union inet_addr any_port = *a;

	inet_set_port(&any_port, 0);
	return fd >= 0 && !bind(fd, &any_port.sa, inet_size(&any_port));
}
