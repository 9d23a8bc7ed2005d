/* fd_refuse: last in fd_table. What got here is not supported, and is named so that the user knows what it is. */
#include "res/fd_ops.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

enum { SECRETMEM_FS = 0x5345434d };

struct name { int nr; const char *name; };

static const struct name families[] = {
	{ AF_UNIX, "AF_UNIX" }, { AF_INET, "AF_INET" }, { AF_INET6, "AF_INET6" }, { AF_NETLINK, "AF_NETLINK" },
	{ AF_PACKET, "AF_PACKET" }, { AF_VSOCK, "AF_VSOCK" }, { AF_ALG, "AF_ALG" }, { AF_BLUETOOTH, "AF_BLUETOOTH" },
	{ AF_CAN, "AF_CAN" }, { AF_KEY, "AF_KEY" }, { AF_TIPC, "AF_TIPC" }, { 21, "AF_RDS" }, { 24, "AF_PPPOX" },
	{ 33, "AF_RXRPC" }, { 41, "AF_KCM" }, { 42, "AF_QIPCRTR" }, { 43, "AF_SMC" }, { 44, "AF_XDP" }, { 0, NULL },
};
static const struct name types[] = {
	{ SOCK_STREAM, "SOCK_STREAM" }, { SOCK_DGRAM, "SOCK_DGRAM" }, { SOCK_RAW, "SOCK_RAW" },
	{ SOCK_SEQPACKET, "SOCK_SEQPACKET" }, { SOCK_RDM, "SOCK_RDM" }, { 6, "SOCK_DCCP" }, { 10, "SOCK_PACKET" }, { 0, NULL },
};
static const struct name netlinks[] = {
	{ 0, "NETLINK_ROUTE" }, { 2, "NETLINK_USERSOCK" }, { 4, "NETLINK_SOCK_DIAG" }, { 9, "NETLINK_AUDIT" },
	{ 12, "NETLINK_NETFILTER" }, { 15, "NETLINK_KOBJECT_UEVENT" }, { 16, "NETLINK_GENERIC" }, { 0, NULL },
};
static const struct name protocols[] = {
	{ 6, "TCP" }, { 17, "UDP" }, { 33, "DCCP" }, { 132, "SCTP" }, { 256, "SMC" }, { 262, "MPTCP" }, { 0, NULL },
};
/* By the start of the link. */
static const struct { const char *link, *name; } kinds[] = {
	{ "anon_inode:[userfaultfd]", "userfaultfd" },
	{ "anon_inode:[perf_event]", "perf_event" },
	{ "anon_inode:bpf-prog", "bpf program" },
	{ "anon_inode:bpf-map", "bpf map" },
	{ "anon_inode:bpf_link", "bpf link" },
	{ "anon_inode:bpf-link", "bpf link" },
	{ "anon_inode:btf", "bpf type information" },
	{ "anon_inode:bpf_iter", "bpf iterator" },
	{ "anon_inode:kvm-", "kvm" },
	{ "anon_inode:[landlock-ruleset]", "landlock rule set" },
	{ "anon_inode:[fscontext]", "file system context (fsopen)" },
	{ "anon_inode:seccomp notify", "seccomp notification" },
	{ "anon_inode:sync_file", "sync_file" },
	{ "anon_inode:[vfio", "vfio" },
	{ "anon_inode:iommufd", "iommufd" },
	{ "/secretmem", "secret memory (memfd_secret)" },
	{ "/dmabuf:", "dma-buf" },
	{ "/dev/fuse", "fuse connection /dev/fuse" },
	{ "/dev/kvm", "kvm device /dev/kvm" },
	{ NULL, NULL },
};
static const char *const namespaces[] = {
	"net:", "mnt:", "pid:", "user:", "uts:", "ipc:", "cgroup:", "time:", NULL,
};

static const char *name_of(const struct name *t, int nr, char *out, size_t n)
{
	for (; t->name; t++)
		if (t->nr == nr)
			return t->name;
	snprintf(out, n, "%d", nr);
	return out;
}

static bool starts(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

/* "" for what has no address or one that would not tell the user anything. */
static void address_text(int fd, bool peer, char *out, size_t n)
{
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_storage st;
	} a;
	socklen_t len = sizeof a;
	char ip[INET6_ADDRSTRLEN];

	out[0] = 0;
	if (peer ? getpeername(fd, &a.sa, &len) : getsockname(fd, &a.sa, &len))
		return;
	if (a.sa.sa_family == AF_INET && a.in.sin_port)
		snprintf(out, n, "%s:%u", inet_ntop(AF_INET, &a.in.sin_addr, ip, sizeof ip), ntohs(a.in.sin_port));
	else if (a.sa.sa_family == AF_INET6 && a.in6.sin6_port)
		snprintf(out, n, "[%s]:%u", inet_ntop(AF_INET6, &a.in6.sin6_addr, ip, sizeof ip),
			 ntohs(a.in6.sin6_port));
}

static int option(int fd, int opt)
{
	int v = -1;
	socklen_t len = sizeof v;

	return getsockopt(fd, SOL_SOCKET, opt, &v, &len) ? -1 : v;
}

static int refuse_socket(struct dump *d, struct dfile *f)
{
	char fam[16], type[16], proto[32] = "", local[160], peer[160], num[16];
	int family, protocol;

	if (f->lfd < 0)
		return refuse(d, f->p, "fd %d: socket %s is not supported", f->fd, f->link);
	family = option(f->lfd, SO_DOMAIN);
	protocol = option(f->lfd, SO_PROTOCOL);
	if (family == AF_NETLINK)
		snprintf(proto, sizeof proto, " %s", name_of(netlinks, protocol, num, sizeof num));
	else if (family == AF_INET || family == AF_INET6)
		snprintf(proto, sizeof proto, " %s", name_of(protocols, protocol, num, sizeof num));
	address_text(f->lfd, false, local, sizeof local);
	address_text(f->lfd, true, peer, sizeof peer);
	return refuse(d, f->p, "fd %d: socket %s %s%s%s%s%s%s%s is not supported", f->fd,
		      name_of(families, family, fam, sizeof fam),
		      name_of(types, option(f->lfd, SO_TYPE), type, sizeof type), proto,
		      *local ? " " : "", local, *peer ? " -> " : "", peer,
		      option(f->lfd, SO_ACCEPTCONN) == 1 ? " (listening)" : "");
}

static long fs_magic(const struct dfile *f)
{
	struct statfs fs;

	return f->lfd >= 0 && !fstatfs(f->lfd, &fs) ? (long)fs.f_type : 0;
}

/* /proc/PID/...: the files of a member would lead to another process, or to none, after a restart; most programs have them open
 * for a moment only. */
static int refuse_path(struct dump *d, struct dfile *f)
{
	unsigned ma = major(f->st.st_rdev), mi = minor(f->st.st_rdev);

	if (starts(f->link, "/proc/"))
		return refuse_for_now(d, f->p, "fd %d: process file %s is not supported", f->fd, f->link);
	if (S_ISCHR(f->st.st_mode))
		return refuse(d, f->p, "fd %d: character device %s (%u:%u) is not supported", f->fd, f->link, ma, mi);
	if (S_ISBLK(f->st.st_mode))
		return refuse(d, f->p, "fd %d: block device %s (%u:%u) is not supported", f->fd, f->link, ma, mi);
	return refuse(d, f->p, "fd %d: file %s is not supported", f->fd, f->link);
}

static int refuse_check(struct dump *d, struct dfile *f, struct err *e)
{
	if (S_ISSOCK(f->st.st_mode) && starts(f->link, "socket:"))
		return refuse_socket(d, f);
	for (size_t i = 0; kinds[i].link; i++) {
		if (!starts(f->link, kinds[i].link))
			continue;
		return refuse(d, f->p, "fd %d: %s is not supported", f->fd, kinds[i].name);
	}
	for (size_t i = 0; namespaces[i]; i++)
		if (starts(f->link, namespaces[i]))
			return refuse(d, f->p, "fd %d: namespace descriptor %s is not supported", f->fd, f->link);
	if (f->link[0] == '/')
		return refuse_path(d, f);
	return refuse(d, f->p, "fd %d: %s is not supported", f->fd, f->link);
}

static bool refuse_match(const struct dfile *f)
{
	return true;
}

static bool special_match(const struct dfile *f)
{
	return S_ISREG(f->st.st_mode) && fs_magic(f) == SECRETMEM_FS;
}

const struct fd_ops fd_special_ops = { .type = "special", .match = special_match, .check = refuse_check };
const struct fd_ops fd_refuse_ops = { .type = "refused", .match = refuse_match, .check = refuse_check };
