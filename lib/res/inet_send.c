/* inet_send: datagrams on restart, which come from whom they came from. See inet.h. */
#include "res/inet.h"
#include "res/sock_diag.h"
#include "common/cleanup.h"

#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>

enum { HOPS = 64, DATAGRAM_MAX = 65535 };
struct v4 { struct iphdr ip; struct udphdr udp; };
struct v6 { struct ip6_hdr ip; struct udphdr udp; };

bool inet_here(const union inet_addr *a)
{
	AUTO_FD int fd = sock_make(a->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (a->sa.sa_family == AF_INET ? IN_MULTICAST(ntohl(a->in.sin_addr.s_addr)) : IN6_IS_ADDR_MULTICAST(&a->in6.sin6_addr))
		return false;
	/* Without SO_BROADCAST it goes to no broadcast address. */
	return fd >= 0 && !connect(fd, &a->sa, inet_size(a)) && inet_local(a);
}

bool inet_send_from(int fd, const union inet_addr *from, const union inet_addr *to, const char *p, size_t n)
{
	union { struct cmsghdr c; char room[CMSG_SPACE(sizeof(struct in6_pktinfo))]; } control = { .c.cmsg_len = 0 };
	struct iovec v = { (void *)(uintptr_t)p, n };
	union inet_addr dest = *to;
	struct msghdr m = { .msg_name = &dest, .msg_namelen = inet_size(to), .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control };

	if (from->sa.sa_family == AF_INET) {
		struct in_pktinfo i = { .ipi_spec_dst = from->in.sin_addr };

		m.msg_controllen = CMSG_SPACE(sizeof i);
		control.c = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof i), .cmsg_level = SOL_IP, .cmsg_type = IP_PKTINFO };
		memcpy(CMSG_DATA(&control.c), &i, sizeof i);
	} else {
		struct in6_pktinfo i = { .ipi6_addr = from->in6.sin6_addr, .ipi6_ifindex = from->in6.sin6_scope_id };

		m.msg_controllen = CMSG_SPACE(sizeof i);
		control.c = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof i), .cmsg_level = SOL_IPV6, .cmsg_type = IPV6_PKTINFO };
		memcpy(CMSG_DATA(&control.c), &i, sizeof i);
	}
	return sendmsg(fd, &m, MSG_DONTWAIT) == (ssize_t)n;
}

/* The Internet checksum, RFC 1071, of n bytes, over what is summed up already. */
static uint32_t sum_up(uint32_t sum, const void *data, size_t n)
{
	const unsigned char *p = data;

	for (size_t i = 0; i < n; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* IPv4 needs no checksum of UDP; that of its header, its id and its length the kernel puts in, raw(7). */
static size_t packet_four(char *out, const union inet_addr *from, const union inet_addr *to, const char *p, size_t n)
{
	struct v4 h = { .ip = { .version = 4, .ihl = 5, .ttl = HOPS, .protocol = IPPROTO_UDP, .saddr = from->in.sin_addr.s_addr,
				.daddr = to->in.sin_addr.s_addr },
			.udp = { .source = from->in.sin_port, .dest = to->in.sin_port, .len = htons((uint16_t)(sizeof h.udp + n)) } };

	memcpy(out, &h, sizeof h);
	memcpy(out + sizeof h, p, n);
	return sizeof h + n;
}

static size_t packet_six(char *out, const union inet_addr *from, const union inet_addr *to, const char *p, size_t n)
{
	uint16_t len = (uint16_t)(sizeof(struct udphdr) + n);
	struct v6 h = { .ip = { .ip6_src = from->in6.sin6_addr, .ip6_dst = to->in6.sin6_addr },
			.udp = { .source = from->in6.sin6_port, .dest = to->in6.sin6_port, .len = htons(len) } };
	uint32_t sum = (uint32_t)len + IPPROTO_UDP;

	h.ip.ip6_flow = htonl(6u << 28);
	h.ip.ip6_plen = htons(len);
	h.ip.ip6_nxt = IPPROTO_UDP;
	h.ip.ip6_hlim = HOPS;
	sum = sum_up(sum, &h.ip.ip6_src, 2 * sizeof h.ip.ip6_src);
	sum = sum_up(sum_up(sum, &h.udp, sizeof h.udp), p, n);
	h.udp.check = htons((uint16_t)~sum ? (uint16_t)~sum : 0xffff);
	memcpy(out, &h, sizeof h);
	memcpy(out + sizeof h, p, n);
	return sizeof h + n;
}

/* A packet that we write ourselves may come from anybody: CAP_NET_RAW. */
static bool forge(const union inet_addr *from, const union inet_addr *to, const char *p, size_t n)
{
	bool four = from->sa.sa_family == AF_INET;
	AUTO_FD int fd = sock_make(from->sa.sa_family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	AUTO_FREE char *out = NULL;
	union inet_addr dest = *to;
	size_t len;

	if (fd < 0 || n > DATAGRAM_MAX - sizeof(struct v6))
		return false;
	out = malloc(sizeof(struct v6) + n);
	if (!out)
		return false;
	len = four ? packet_four(out, from, to, p, n) : packet_six(out, from, to, p, n);
	inet_set_port(&dest, 0);
	return sendto(fd, out, len, MSG_DONTWAIT, &dest.sa, inet_size(&dest)) == (ssize_t)len;
}

bool inet_imitate(int protocol, const union inet_addr *from, const union inet_addr *to, const char *p, size_t n)
{
	AUTO_FD int fd = sock_make(from->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, protocol);

	if (fd >= 0 && !bind(fd, &from->sa, inet_size(from)) && sendto(fd, p, n, MSG_DONTWAIT, &to->sa, inet_size(to)) == (ssize_t)n)
		return true;
	return protocol == IPPROTO_UDP && forge(from, to, p, n);
}
