/* Everything that a checkpoint must refuse by name, in one process and a child of it. P.expect gets the lines that are due,
 * sorted by nothing; what this machine cannot make is not in it. Then it counts in P.count for ever (until P.go): that shows
 * that a refused checkpoint did it no harm. Not run by victims.bats; see refusals.bats. */
#include "victim.h"

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/io_uring.h>
#include <linux/netlink.h>
#include <linux/filter.h>
#include <linux/perf_event.h>
#include <linux/rtnetlink.h>
#include <linux/seccomp.h>
#include <linux/aio_abi.h>
#include <mqueue.h>
#include <poll.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

static char expected[16384];

/* A line that is due for fd; nothing when it could not be made. */
__attribute__((format(printf, 2, 3))) static void due(int fd, const char *fmt, ...)
{
	size_t n = strlen(expected);
	va_list ap;

	if (fd < 0)
		return;
	n += (size_t)snprintf(expected + n, sizeof expected - n, "pid %d: fd %d: ", (int)getpid(), fd);
	va_start(ap, fmt);
	n += (size_t)vsnprintf(expected + n, sizeof expected - n, fmt, ap);
	va_end(ap);
	snprintf(expected + n, sizeof expected - n, "\n");
}

/* An answer that nobody has read, and a group whose number the kernel chose. */
static void netlink(void)
{
	struct { struct nlmsghdr h; struct ifinfomsg i; } ask = {
		.h = { .nlmsg_len = sizeof ask, .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST }, .i = { .ifi_index = 1 },
	};
	int fd, group = 17;

	VICTIM_TRY(fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	VICTIM_CHECK(send(fd, &ask, sizeof ask, 0) == sizeof ask);
	due(fd, "NETLINK_ROUTE socket: messages wait to be read");
	VICTIM_TRY(fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC));
	if (!setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group))
		due(fd, "NETLINK_GENERIC socket: it is in a group whose number changes from boot to boot");
}

static void packet(void)
{
	struct tpacket_req ring = { .tp_block_size = 4096, .tp_block_nr = 1, .tp_frame_size = 2048, .tp_frame_nr = 2 };
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	if (fd < 0)
		return;
	VICTIM_TRY(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &ring, sizeof ring));
	due(fd, "packet socket: it has a ring (PACKET_RX_RING, PACKET_TX_RING)");
}

static void sockets(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd, peer, sv[2];

	fd = socket(AF_VSOCK, SOCK_STREAM, 0);
	due(fd, "socket AF_VSOCK SOCK_STREAM is not supported");
	fd = socket(AF_ALG, SOCK_SEQPACKET, 0);
	due(fd, "socket AF_ALG SOCK_SEQPACKET is not supported");
	fd = socket(AF_INET, SOCK_STREAM, 262 /* IPPROTO_MPTCP */);
	due(fd, "socket AF_INET SOCK_STREAM MPTCP is not supported");
	VICTIM_TRY(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	VICTIM_TRY(send(sv[0], "!", 1, MSG_OOB));
	due(sv[1], "unix socket (unnamed): urgent data (MSG_OOB) waits in it");
	/* Something that was sent to one that is not accepted yet. */
	VICTIM_TRY(fd = socket(AF_UNIX, SOCK_SEQPACKET, 0));
	snprintf(un.sun_path + 1, sizeof un.sun_path - 1, "xos-refused.%d", (int)getpid());
	VICTIM_TRY(bind(fd, (struct sockaddr *)&un, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(un.sun_path + 1))));
	VICTIM_TRY(listen(fd, 1));
	VICTIM_TRY(peer = socket(AF_UNIX, SOCK_SEQPACKET, 0));
	VICTIM_TRY(connect(peer, (struct sockaddr *)&un, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(un.sun_path + 1))));
	VICTIM_TRY(send(peer, "!", 1, 0));
	due(fd, "unix socket @%s: a connection waits to be accepted, and data was sent over it", un.sun_path + 1);
	fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_AUDIT);
	due(fd, "socket AF_NETLINK SOCK_RAW NETLINK_AUDIT is not supported");
	fd = socket(AF_KEY, SOCK_RAW, 2);
	due(fd, "socket AF_KEY SOCK_RAW is not supported");
	fd = socket(AF_XDP, SOCK_RAW, 0);
	due(fd, "socket AF_XDP SOCK_RAW is not supported");
	netlink();
	packet();
}

static void rings(void)
{
	struct io_uring_params p = { .flags = 1 << 12 };
	int fd = (int)syscall(SYS_io_uring_setup, 4, &p), pipes[2];
	char *m;

	due(fd, "io_uring: made for one thread only (IORING_SETUP_SINGLE_ISSUER) is not supported");
	p = (struct io_uring_params){ .flags = IORING_SETUP_IOPOLL };
	fd = (int)syscall(SYS_io_uring_setup, 4, &p);
	due(fd, "io_uring: polled for completions (IORING_SETUP_IOPOLL), or this kernel does not tell");
	p = (struct io_uring_params){ .flags = IORING_SETUP_SQPOLL };
	fd = (int)syscall(SYS_io_uring_setup, 4, &p);
	due(fd, "io_uring: a thread of the kernel's that takes requests (IORING_SETUP_SQPOLL) is not supported");
	/* A poll that never completes. */
	p = (struct io_uring_params){ 0 };
	fd = (int)syscall(SYS_io_uring_setup, 4, &p);
	if (fd < 0)
		return;
	VICTIM_TRY(pipe(pipes));
	m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQES);
	VICTIM_CHECK(m != MAP_FAILED);
	*(struct io_uring_sqe *)(void *)m = (struct io_uring_sqe){ .opcode = IORING_OP_POLL_ADD, .fd = pipes[0], .poll32_events = POLLIN };
	m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
	VICTIM_CHECK(m != MAP_FAILED);
	*(uint32_t *)(void *)(m + p.sq_off.tail) = 1;
	VICTIM_CHECK(syscall(SYS_io_uring_enter, fd, 1, 0, 0, NULL, 0) == 1);
	due(fd, "io_uring: requests in flight (1 taken, 0 completed, polls among them), or some that gave no completion or many");
}

static void anonymous(void)
{
	struct perf_event_attr pa = { .type = PERF_TYPE_SOFTWARE, .size = sizeof pa, .config = PERF_COUNT_SW_CPU_CLOCK };
	uint64_t ruleset[2] = { 1 };
	union bpf_attr ba;
	int pid = (int)getppid();

	memset(&ba, 0, sizeof ba);
	ba.map_type = BPF_MAP_TYPE_ARRAY;
	ba.key_size = ba.value_size = 4;
	ba.max_entries = 1;
	due((int)syscall(SYS_bpf, BPF_MAP_CREATE, &ba, sizeof ba), "bpf map is not supported");
	struct bpf_insn insns[] = { { .code = BPF_ALU64 | BPF_MOV | BPF_K }, { .code = BPF_JMP | BPF_EXIT } };
	memset(&ba, 0, sizeof ba);
	ba.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
	ba.insns = (uintptr_t)insns;
	ba.insn_cnt = 2;
	ba.license = (uintptr_t)"GPL";
	due((int)syscall(SYS_bpf, BPF_PROG_LOAD, &ba, sizeof ba), "bpf program is not supported");
	due((int)syscall(SYS_perf_event_open, &pa, 0, -1, -1, 0), "perf_event is not supported");
	due((int)syscall(SYS_userfaultfd, 1), "userfaultfd is not supported");
	int fan = fanotify_init(FAN_CLASS_CONTENT, 0);
	if (fan >= 0 && !fanotify_mark(fan, FAN_MARK_ADD, FAN_ACCESS_PERM, AT_FDCWD, victim_path_))
		due(fan, "fanotify asks for permissions: whether somebody waits for one cannot be seen");
	rings();
	due((int)syscall(SYS_pidfd_open, pid, 0), "pidfd of process %d, which is not in the job", pid);
	due((int)syscall(444, ruleset, 8, 0), "landlock rule set is not supported");
	due((int)syscall(430, "tmpfs", 0), "file system context (fsopen) is not supported");
	due((int)syscall(447, 0), "secret memory (memfd_secret) is not supported");
}

static void device(const char *path, const char *what)
{
	struct stat st;
	int fd = open(path, O_RDWR);

	if (fd < 0)
		return;
	VICTIM_TRY(fstat(fd, &st));
	if (what)
		due(fd, "%s is not supported", what);
	else
		due(fd, "character device %s (%u:%u) is not supported", path, major(st.st_rdev), minor(st.st_rdev));
}

/* A line that is due for the process. */
__attribute__((format(printf, 1, 2))) static void owed(const char *fmt, ...)
{
	size_t n = strlen(expected);
	va_list ap;

	n += (size_t)snprintf(expected + n, sizeof expected - n, "pid %d: ", (int)getpid());
	va_start(ap, fmt);
	n += (size_t)vsnprintf(expected + n, sizeof expected - n, fmt, ap);
	va_end(ap);
	snprintf(expected + n, sizeof expected - n, "\n");
}

static void mapped(void *at, const char *what)
{
	if (at != MAP_FAILED)
		owed("memory %lx-%lx: %s", (unsigned long)at, (unsigned long)at + 4096, what);
}

/* Reasons that have an address, without a descriptor. */
static void memory(void)
{
	struct perf_event_attr pa = { .type = PERF_TYPE_SOFTWARE, .size = sizeof pa, .config = PERF_COUNT_SW_CPU_CLOCK };
	unsigned long aio = 0;
	int fd = (int)syscall(447, 0);

	if (fd >= 0) {
		VICTIM_TRY(ftruncate(fd, 4096));
		mapped(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0), "secret memory (memfd_secret) is not supported");
		close(fd);
	}
	if (!syscall(SYS_io_setup, 1, &aio)) {
		int never[2];
		struct iocb r = { .aio_lio_opcode = IOCB_CMD_POLL, .aio_buf = POLLIN }, *list = &r;

		VICTIM_TRY(pipe(never));
		r.aio_fildes = (unsigned)never[0];
		VICTIM_CHECK(syscall(SYS_io_submit, aio, 1, &list) == 1);
		mapped((void *)aio, geteuid() ? "an aio context (io_setup): whether requests are in flight is found out only by root, in a job with a control group" :
						"an aio context (io_setup): 1 requests are in flight");
	}
	fd = (int)syscall(SYS_perf_event_open, &pa, 0, -1, -1, 0);
	if (fd >= 0) {
		mapped(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0), "mapping of anon_inode:[perf_event] is not supported");
		close(fd);
	}
}

static void process(void)
{
	struct { unsigned entry, base, limit, flags; } segment = { 0, 0, 10, 1 | 1 << 6 };

	if (!syscall(SYS_modify_ldt, 1, &segment, sizeof segment))
		owed("a local descriptor table (modify_ldt)");
	/* An ordinary user's programs with filters are refused as such. */
	if (geteuid() == 0) {
		struct sock_filter allow = { .code = BPF_RET | BPF_K, .k = SECCOMP_RET_ALLOW };
		struct sock_fprog all = { 1, &allow };
		due((int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &all),
		    "seccomp notification is not supported");
	}
	segment.entry = ~0u;
	if (!syscall(SYS_set_thread_area, &segment))
		owed("thread %d: a segment of set_thread_area", (int)getpid());
}

/* What only the process itself can tell: asked for when nothing else is wrong, too. */
static void keys(void)
{
	size_t n = strlen(expected);

	if (syscall(SYS_keyctl, 1 /* JOIN_SESSION_KEYRING */, NULL) < 0 || syscall(SYS_add_key, "logon", "xos:refused", "x", 1, -3) < 0)
		return;
	snprintf(expected + n, sizeof expected - n, "pid %d: thread %d: a key of type logon is not supported\n", (int)getpid(), (int)getpid());
}

static void tunnel(void)
{
	struct ifreq i = { .ifr_flags = IFF_TUN };
	int fd = open("/dev/net/tun", O_RDWR), s = socket(AF_UNIX, SOCK_DGRAM, 0);

	snprintf(i.ifr_name, sizeof i.ifr_name, "xr%d", (int)getpid());
	if (fd < 0 || ioctl(fd, TUNSETIFF, &i))
		return;
	i.ifr_flags = IFF_UP;
	VICTIM_TRY(ioctl(s, SIOCSIFFLAGS, &i));
	close(s);
	due(fd, "network tunnel /dev/net/tun: interface %s is up, and vanishes with the job: its addresses and routes are not the job's to be given back",
	    i.ifr_name);
}

/* A namespace that is kept by a descriptor alone. -1: there are none here. */
static int abandoned_ns(char *link, size_t n)
{
	char path[64], c;
	int ready[2], fd = -1;
	pid_t pid;

	VICTIM_CHECK(!pipe(ready));
	pid = fork();
	if (!pid) {
		if (!unshare(CLONE_NEWUSER | CLONE_NEWUTS))
			(void)!write(ready[1], "r", 1);
		close(ready[1]);
		for (;;)
			pause();
	}
	close(ready[1]);
	snprintf(path, sizeof path, "/proc/%d/ns/uts", pid);
	if (read(ready[0], &c, 1) == 1) {
		VICTIM_TRY(fd = open(path, O_RDONLY));
		VICTIM_TRY(readlink(path, link, n - 1));
	}
	close(ready[0]);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return fd;
}

static void named(void)
{
	char name[64], link[64] = "";
	int fd;

	snprintf(name, sizeof name, "/xos-refused.%d", (int)getpid());
	fd = (int)mq_open(name, O_RDWR | O_CREAT, 0600, NULL);
	mq_unlink(name);
	VICTIM_TRY(mq_notify((mqd_t)fd, &(struct sigevent){ .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2 }));
	due(fd, "POSIX message queue %s (deleted): process %d is to be notified by signal %d (mq_notify), and what that carries is shown nowhere",
	    name, getpid(), SIGUSR2);
	fd = abandoned_ns(link, sizeof link);
	if (fd >= 0)
		due(fd, "%s, a namespace that no member of the job is in", link);
	VICTIM_TRY(fd = open("/proc/self/maps", O_RDONLY));
	due(fd, "process file /proc/%d/maps is not supported", (int)getpid());
	device("/dev/kvm", "kvm device /dev/kvm");
	device("/dev/fuse", "fuse connection /dev/fuse");
	tunnel();
	device("/dev/loop-control", NULL);
	device("/dev/userfaultfd", NULL);
	device("/dev/cpu_dma_latency", NULL);
	device("/dev/kmsg", NULL);
	device("/dev/vhost-net", NULL);
	device("/dev/btrfs-control", NULL);
	device("/dev/vsock", NULL);
	if ((fd = open("/dev/loop0", O_RDONLY)) >= 0)
		due(fd, "block device /dev/loop0 (7:0) is not supported");
	due((int)syscall(428, AT_FDCWD, "/tmp", 1), "/ on a mount that is nowhere (open_tree, fsmount, lazy umount) is not supported");
}

/* Supported kinds in a state that is not. */
static void states(void)
{
	char at[4200];
	struct epoll_event ev = { .events = EPOLLIN };
	struct f_owner_ex init = { F_OWNER_PID, 1 };
	struct stat st;
	int fd, p[2], status, sv[2];
	pid_t pid;

	VICTIM_TRY(fd = inotify_init());
	VICTIM_TRY(inotify_rm_watch(fd, inotify_add_watch(fd, "/", IN_CREATE)));
	due(fd, "inotify has 16 bytes of events that the job has not read yet");

	snprintf(at, sizeof at, "%s.leased", victim_path_);
	VICTIM_TRY(fd = open(at, O_RDONLY | O_CREAT, 0600));
	if (!fcntl(fd, F_SETLEASE, F_RDLCK)) {
		VICTIM_TRY(pid = fork());
		if (!pid)
			_exit(open(at, O_WRONLY | O_NONBLOCK) < 0 ? 0 : 1);
		VICTIM_CHECK(waitpid(pid, &status, 0) == pid && status == 0);
		due(fd, "lock \"LEASE BREAKING UNLCK\" on %s is not supported", at);
	}

	VICTIM_TRY(pipe(p));
	VICTIM_TRY(fcntl(p[0], F_SETOWN_EX, &init));
	due(p[0], "its signals go to pid 1, which is not in the job (F_SETOWN)");

	/* A description that lives in a socket's queue only. */
	VICTIM_TRY(fd = epoll_create1(0));
	VICTIM_TRY(pipe(p));
	VICTIM_TRY(epoll_ctl(fd, EPOLL_CTL_ADD, p[0], &ev));
	VICTIM_TRY(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv));
	union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int))]; } c = { .h = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec io = { at, 1 };
	struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c };
	memcpy(CMSG_DATA(&c.h), &p[0], sizeof(int));
	VICTIM_TRY(sendmsg(sv[0], &m, 0));
	close(p[0]);
	VICTIM_TRY(fstat(fd, &st));
	due(fd, "epoll watches something added as fd %d that no process of the job has open any more", p[0]);
	VICTIM_TRY(open("/dev/null", O_RDONLY)); /* p[0]'s number again */
}

int main(int argc, char **argv)
{
	sigset_t block;
	char name[4200];
	int back[2], count;

	victim_init(argc, argv);
	sigemptyset(&block);
	sigaddset(&block, SIGIO);
	sigprocmask(SIG_BLOCK, &block, NULL);
	VICTIM_TRY(pipe(back));
	pid_t pid = fork();
	VICTIM_TRY(pid);
	if (!pid) {
		/* Another process of the job, with a reason of its own. */
		int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
		due(fd, "socket AF_NETLINK SOCK_RAW NETLINK_NETFILTER is not supported");
		memory();
		process();
		if (write(back[1], expected, sizeof expected) < 0)
			_exit(1);
		for (;;)
			pause();
	}
	VICTIM_TRY(read(back[0], expected, sizeof expected));
	sockets();
	anonymous();
	named();
	keys();
	states();
	victim_put_("expect", expected);
	victim_name_(name, sizeof name, "count");
	VICTIM_TRY(count = open(name, O_WRONLY | O_CREAT, 0600));
	victim_ready();
	for (long n = 1; !victim_go(); n++) {
		char line[32];
		VICTIM_TRY(pwrite(count, line, (size_t)snprintf(line, sizeof line, "%ld\n", n), 0));
		victim_pause();
	}
	kill(pid, SIGKILL);
	VICTIM_CHECK(waitpid(pid, NULL, 0) == pid);
	return victim_ok();
}
