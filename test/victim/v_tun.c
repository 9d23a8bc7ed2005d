/* tun: a tap that vanishes with its descriptor, with header, hardware address, MTU, owner, queue length; two queues of a tun; one
 * descriptor that is not attached. All of them down and without addresses. */
#include "victim.h"

#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static const unsigned char mac[6] = { 0x02, 0x11, 0x22, 0x33, 0x44, 0x55 };

static int make(const char *name, int flags)
{
	struct ifreq i = { 0 };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		victim_skip("/dev/net/tun: %s", strerror(errno));
	strcpy(i.ifr_name, name);
	i.ifr_flags = (short)flags;
	if (ioctl(fd, TUNSETIFF, &i))
		victim_skip("no tunnel can be made: %s", strerror(errno));
	return fd;
}

static struct ifreq of(int s, unsigned long op, const char *name)
{
	struct ifreq i = { 0 };

	strcpy(i.ifr_name, name);
	VICTIM_TRY(ioctl(s, op, &i));
	return i;
}

static int number(const char *name, const char *what)
{
	char path[128], b[32] = "";
	int fd;

	snprintf(path, sizeof path, "/sys/class/net/%s/%s", name, what);
	VICTIM_TRY(fd = open(path, O_RDONLY));
	VICTIM_TRY(read(fd, b, sizeof b - 1));
	close(fd);
	return (int)strtol(b, NULL, 0);
}

int main(int argc, char **argv)
{
	char tap[IFNAMSIZ], tun[IFNAMSIZ];
	struct ifreq i;
	int a, q1, q2, loose, s, v;

	victim_init(argc, argv);
	snprintf(tap, sizeof tap, "xa%d", (int)getpid());
	snprintf(tun, sizeof tun, "xu%d", (int)getpid());
	a = make(tap, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
	q1 = make(tun, IFF_TUN | IFF_MULTI_QUEUE);
	q2 = make(tun, IFF_TUN | IFF_MULTI_QUEUE);
	VICTIM_TRY(loose = open("/dev/net/tun", O_RDWR | O_NONBLOCK));
	VICTIM_TRY(s = socket(AF_UNIX, SOCK_DGRAM, 0));
	i = of(s, SIOCGIFHWADDR, tap);
	memcpy(i.ifr_hwaddr.sa_data, mac, 6);
	VICTIM_TRY(ioctl(s, SIOCSIFHWADDR, &i));
	i.ifr_mtu = 1400;
	VICTIM_TRY(ioctl(s, SIOCSIFMTU, &i));
	i.ifr_qlen = 77;
	VICTIM_TRY(ioctl(s, SIOCSIFTXQLEN, &i));
	VICTIM_TRY(ioctl(a, TUNSETOWNER, 1234));
	v = 12;
	VICTIM_TRY(ioctl(a, TUNSETVNETHDRSZ, &v));
	v = 100000;
	VICTIM_TRY(ioctl(a, TUNSETSNDBUF, &v));
	victim_wait();

	VICTIM_TRY(ioctl(a, TUNGETIFF, &i));
	VICTIM_CHECK(!strcmp(i.ifr_name, tap));
	VICTIM_CHECK((i.ifr_flags & (IFF_TAP | IFF_TUN | IFF_NO_PI | IFF_VNET_HDR)) == (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR));
	VICTIM_CHECK(!memcmp(of(s, SIOCGIFHWADDR, tap).ifr_hwaddr.sa_data, mac, 6));
	VICTIM_CHECK(of(s, SIOCGIFMTU, tap).ifr_mtu == 1400);
	VICTIM_CHECK(of(s, SIOCGIFTXQLEN, tap).ifr_qlen == 77);
	VICTIM_CHECK(number(tap, "owner") == 1234 && number(tap, "group") == -1);
	VICTIM_TRY(ioctl(a, TUNGETVNETHDRSZ, &v));
	VICTIM_CHECK(v == 12);
	VICTIM_TRY(ioctl(a, TUNGETSNDBUF, &v));
	VICTIM_CHECK(v == 100000);
	VICTIM_TRY(ioctl(q1, TUNGETIFF, &i));
	VICTIM_CHECK(!strcmp(i.ifr_name, tun) && number(tun, "tun_flags") == (IFF_TUN | IFF_MULTI_QUEUE));
	VICTIM_TRY(ioctl(q2, TUNGETIFF, &i));
	VICTIM_CHECK(!strcmp(i.ifr_name, tun));
	VICTIM_CHECK(ioctl(loose, TUNGETIFF, &i) < 0 && errno == EBADFD);
	VICTIM_CHECK(fcntl(loose, F_GETFL) & O_NONBLOCK && fcntl(a, F_GETFD) & FD_CLOEXEC);
	return victim_ok();
}
