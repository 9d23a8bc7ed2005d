/* fd_tun: /dev/net/tun: network interfaces whose packets a program reads and writes; the kernel's networking/tuntap.
 *
 * Record: TYPE="tun" ... [IFACE= IFFLAGS= HEADER= SNDBUF= ENDIAN= [MTU= QUEUE= [MAC=] [OWNER=] [GROUP=]]]
 *
 * A persistent interface outlives the job: the descriptor is attached to it again, and what it is otherwise (addresses, state) is
 * not the job's. One that vanishes with its last descriptor is made again, but only where it is all the job's: down and without
 * addresses. What was given to it from outside a restart could not give back. Packets that were not read
 * are lost, as they may be on any network. */
#include "res/fd_ops.h"
#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/ethtool.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>

enum {
	TUN_MAJOR = 10, TUN_MINOR = 200, DETACHED = 0x0400, KINDS = IFF_TUN | IFF_TAP | 0x0070 /* NAPI, NAPI_FRAGS, NO_CARRIER */ |
	IFF_NO_PI | IFF_ONE_QUEUE | IFF_VNET_HDR | IFF_MULTI_QUEUE, NONE = 65534, LE = 1, BE = 2,
};
#ifndef TUNGETDEVNETNS
#define TUNGETDEVNETNS _IO('T', 227)
#endif

static bool tun_match(const struct dfile *f)
{
	return S_ISCHR(f->st.st_mode) && !(f->flags & O_PATH) && f->st.st_rdev == makedev(TUN_MAJOR, TUN_MINOR);
}

/* The interface that it is attached to; 0: none, -1: errno. */
static int attached(int fd, struct ifreq *i)
{
	memset(i, 0, sizeof *i);
	if (!ioctl(fd, TUNGETIFF, i))
		return 1;
	return errno == EBADFD ? 0 : -1;
}

static bool here(int fd)
{
	AUTO_FD int ns = ioctl(fd, TUNGETDEVNETNS);
	struct stat a, b;

	/* Who may not ask sees a name only. */
	return ns < 0 || (!fstat(ns, &a) && !stat("/proc/self/ns/net", &b) && a.st_ino == b.st_ino);
}

static bool has_address(const char *name)
{
	struct ifaddrs *list, *a;
	bool found = false;

	if (getifaddrs(&list))
		return true;
	for (a = list; a; a = a->ifa_next)
		found |= a->ifa_addr && a->ifa_addr->sa_family != AF_PACKET && !strcmp(a->ifa_name, name);
	freeifaddrs(list);
	return found;
}

/* Owner, group or flags of the interface; -1: none. */
static int64_t sysfs(const char *name, const char *what)
{
	char path[128];
	AUTO_BUF struct buf b = BUF_INIT;

	snprintf(path, sizeof path, "/sys/class/net/%s/%s", name, what);
	return buf_read_file(&b, AT_FDCWD, path, 4096) || buf_failed(&b) ? -1 : strtoll(buf_str(&b), NULL, 0);
}

static int ask(int s, unsigned long op, const char *name, struct ifreq *out)
{
	memset(out, 0, sizeof *out);
	snprintf(out->ifr_name, sizeof out->ifr_name, "%s", name);
	return ioctl(s, op, out);
}

static bool offloads(int s, const char *name)
{
	struct ethtool_value v = { .cmd = ETHTOOL_GTXCSUM };
	struct ifreq i = { 0 };

	snprintf(i.ifr_name, sizeof i.ifr_name, "%s", name);
	i.ifr_data = (void *)&v;
	return ioctl(s, SIOCETHTOOL, &i) || v.data;
}

/* Why an interface that vanishes cannot be made again; NULL. */
static const char *foreign(int fd, const char *name)
{
	AUTO_FD int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sock_fprog filter = { 0 };
	struct ifreq i;

	if (s < 0 || ask(s, SIOCGIFFLAGS, name, &i))
		return "cannot be looked at";
	if (i.ifr_flags & IFF_UP)
		return "is up, and vanishes with the job: its addresses and routes are not the job's to be given back";
	if (has_address(name))
		return "has addresses, and vanishes with the job: they are not the job's to be given back";
	if (offloads(s, name))
		return "has offloads (TUNSETOFFLOAD), which the kernel does not tell";
	if (!ioctl(fd, TUNGETFILTER, &filter) && filter.len)
		return "has a filter";
	if (ask(s, SIOCGIFHWADDR, name, &i) || (i.ifr_hwaddr.sa_family != ARPHRD_ETHER && i.ifr_hwaddr.sa_family != NONE))
		return "has another link type";
	return NULL;
}

static int tun_check(struct dump *d, struct dfile *f, struct err *e)
{
	struct ifreq i;
	const char *why = NULL;
	int rc = f->lfd < 0 ? -1 : attached(f->lfd, &i);

	if (rc < 0)
		return refuse(d, f->p, "fd %d: network tunnel /dev/net/tun: cannot be looked at", f->fd);
	if (!rc)
		return 0;
	if (!here(f->lfd))
		why = "is in another network namespace";
	else if (sysfs(i.ifr_name, "tun_flags") < 0)
		why = "cannot be looked at (/sys/class/net)";
	else if (i.ifr_flags & DETACHED)
		why = "has this queue switched off (IFF_DETACH_QUEUE)";
	else if (!(i.ifr_flags & IFF_PERSIST))
		why = foreign(f->lfd, i.ifr_name);
	return why ? refuse(d, f->p, "fd %d: network tunnel /dev/net/tun: interface %s %s", f->fd, i.ifr_name, why) : 0;
}

static void put_own(struct dump *d, const char *name)
{
	AUTO_FD int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int64_t owner = sysfs(name, "owner"), group = sysfs(name, "group");
	struct ifreq i;

	if (s >= 0 && !ask(s, SIOCGIFMTU, name, &i))
		rec_put_u64(&d->files_out, "MTU", (uint64_t)i.ifr_mtu);
	if (s >= 0 && !ask(s, SIOCGIFTXQLEN, name, &i))
		rec_put_u64(&d->files_out, "QUEUE", (uint64_t)i.ifr_qlen);
	if (s >= 0 && !ask(s, SIOCGIFHWADDR, name, &i) && i.ifr_hwaddr.sa_family == ARPHRD_ETHER)
		rec_put_bin(&d->files_out, "MAC", i.ifr_hwaddr.sa_data, 6);
	if (owner >= 0)
		rec_put_u64(&d->files_out, "OWNER", (uint64_t)owner);
	if (group >= 0)
		rec_put_u64(&d->files_out, "GROUP", (uint64_t)group);
}

static int tun_dump(struct dump *d, struct dfile *f, struct err *e)
{
	/* TUNGETIFF uses the bit of IFF_NO_PI for something else. */
	int64_t flags;
	int header = 0, sndbuf = 0, le = 0, be = 0;
	struct ifreq i;
	int rc = attached(f->lfd, &i);

	if (rc < 0)
		return err_sys(e, "TUNGETIFF");
	if (!rc)
		return 0;
	if (ioctl(f->lfd, TUNGETVNETHDRSZ, &header) || ioctl(f->lfd, TUNGETSNDBUF, &sndbuf))
		return err_sys(e, "cannot look at a tunnel");
	flags = sysfs(i.ifr_name, "tun_flags");
	if (flags < 0)
		return err_set(e, EX_FAILED, "interface %s has gone", i.ifr_name);
	rec_put_str(&d->files_out, "IFACE", i.ifr_name);
	rec_put_hex(&d->files_out, "IFFLAGS", (uint64_t)flags & (KINDS | IFF_PERSIST));
	rec_put_u64(&d->files_out, "HEADER", (uint64_t)header);
	rec_put_u64(&d->files_out, "SNDBUF", (uint64_t)sndbuf);
	if (ioctl(f->lfd, TUNGETVNETLE, &le))
		le = 0;
	if (ioctl(f->lfd, TUNGETVNETBE, &be))
		be = 0;
	rec_put_u64(&d->files_out, "ENDIAN", (uint64_t)((le ? LE : 0) | (be ? BE : 0)));
	if (!(flags & IFF_PERSIST))
		put_own(d, i.ifr_name);
	return 0;
}

/* ---- restart ---- */

/* Another queue of the same interface, which is ours already. */
static bool made_before(struct restore *r, const struct rfile *f, const char *name)
{
	for (const struct rfile *x = r->files; x < f; x++)
		if (x->ops == f->ops && rec_find(&x->rec, "IFACE") && !strcmp(rec_find(&x->rec, "IFACE"), name))
			return true;
	return false;
}

static int set_own(const struct rfile *f, const char *name, struct err *e)
{
	AUTO_FD int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint64_t mtu, queue, id;
	unsigned char mac[6];
	struct ifreq i;
	size_t n;

	if (rec_u64_or(&f->rec, "MTU", 65535, 0, &mtu, e) || rec_u64_or(&f->rec, "QUEUE", INT_MAX, 0, &queue, e) || s < 0)
		return -1;
	if (rec_find(&f->rec, "OWNER") && (rec_u64(&f->rec, "OWNER", UINT32_MAX, &id, e) || ioctl(f->fd, TUNSETOWNER, (unsigned long)id)))
		return err_is_set(e) ? -1 : err_sys(e, "TUNSETOWNER");
	if (rec_find(&f->rec, "GROUP") && (rec_u64(&f->rec, "GROUP", UINT32_MAX, &id, e) || ioctl(f->fd, TUNSETGROUP, (unsigned long)id)))
		return err_is_set(e) ? -1 : err_sys(e, "TUNSETGROUP");
	if (rec_find(&f->rec, "MAC")) {
		if (rec_bin(&f->rec, "MAC", mac, 6, 6, &n, e))
			return -1;
		if (ask(s, SIOCGIFHWADDR, name, &i))
			return err_sys(e, "interface %s", name);
		memcpy(i.ifr_hwaddr.sa_data, mac, 6);
		if (ioctl(s, SIOCSIFHWADDR, &i))
			return err_sys(e, "interface %s: cannot set its hardware address", name);
	}
	if (ask(s, SIOCGIFMTU, name, &i))
		return err_sys(e, "interface %s", name);
	i.ifr_mtu = (int)mtu;
	if (mtu && ioctl(s, SIOCSIFMTU, &i))
		return err_sys(e, "interface %s: cannot set its MTU", name);
	i.ifr_qlen = (int)queue;
	return ioctl(s, SIOCSIFTXQLEN, &i) ? err_sys(e, "interface %s: cannot set its queue length", name) : 0;
}

static int attach(struct restore *r, struct rfile *f, const char *name, struct err *e)
{
	uint64_t flags, header, sndbuf, endian;
	struct ifreq i = { 0 };
	bool there = if_nametoindex(name), again = made_before(r, f, name);
	int v;

	if (rec_u64(&f->rec, "IFFLAGS", UINT16_MAX, &flags, e) || rec_u64(&f->rec, "HEADER", 1024, &header, e) ||
	    rec_u64(&f->rec, "SNDBUF", INT_MAX, &sndbuf, e) || rec_u64(&f->rec, "ENDIAN", LE | BE, &endian, e))
		return -1;
	if (strlen(name) >= IFNAMSIZ || !*name || strpbrk(name, "%/") || flags & ~(uint64_t)(KINDS | IFF_PERSIST))
		return err_set(e, EX_BAD_IMAGE, "line %zu: malformed interface", f->rec.line);
	if (flags & IFF_PERSIST && !there)
		return err_set(e, EX_MISFIT, "the tunnel interface %s is not there any more", name);
	/* While it is only looked whether all would go well, the job may be running still. */
	if (r->check_only)
		return 0;
	if (!(flags & IFF_PERSIST) && there && !again)
		return err_set(e, EX_BUSY, "there is an interface %s already", name);
	strcpy(i.ifr_name, name);
	i.ifr_flags = (short)(flags & KINDS);
	if (ioctl(f->fd, TUNSETIFF, &i))
		return err_sys(e, "cannot attach to interface %s", name);
	v = (int)header;
	if (ioctl(f->fd, TUNSETVNETHDRSZ, &v))
		return err_sys(e, "interface %s: header size", name);
	v = (int)sndbuf;
	if (ioctl(f->fd, TUNSETSNDBUF, &v))
		return err_sys(e, "interface %s: send buffer", name);
	v = 1;
	if ((endian & LE && ioctl(f->fd, TUNSETVNETLE, &v)) || (endian & BE && ioctl(f->fd, TUNSETVNETBE, &v)))
		return err_sys(e, "interface %s: byte order", name);
	return flags & IFF_PERSIST || again ? 0 : set_own(f, name, e);
}

static int tun_open(struct restore *r, struct rfile *f, struct err *e)
{
	const char *path, *name = rec_find(&f->rec, "IFACE");
	uint64_t flags;
	char to[PATH_MAX];
	struct stat st;

	if (rec_u64(&f->rec, "FLAGS", UINT32_MAX, &flags, e) || rec_str(&f->rec, "PATH", &path, e) || restore_path(r, path, to, e))
		return -1;
	f->fd = open(to, ((int)flags & (O_ACCMODE | O_NONBLOCK)) | O_CLOEXEC | O_NOCTTY);
	if (f->fd < 0 || fstat(f->fd, &st))
		return err_sys(e, "cannot open %s again", to);
	if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(TUN_MAJOR, TUN_MINOR))
		return err_set(e, EX_MISFIT, "%s is not the device that it was", to);
	return name ? attach(r, f, name, e) : 0;
}

const struct fd_ops fd_tun_ops = { .type = "tun", .match = tun_match, .check = tun_check, .dump = tun_dump, .open = tun_open };
