/* Unit tests of the kinds of descriptors in lib/res, without the engine: a process builds descriptors and is asked
 * for their records; an image is made of them; another process opens them from that image; it is asked in its turn:
 * the records must be equal. And: records with any one number changed must be refused or opened, never crash. */
#include "common/log.h"
#include "res/dump_raw.h"
#include "res/fd_ops.h"
#include "res/files.h"
#include "res/ns_obj.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[] = "/tmp/xos-fdkinds.XXXXXX";

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	_exit(1);
}
#define MUST(c) do { if ((c) < 0) die(#c); } while (0)

/* ---- what is built; numbers do not matter, order does ---- */

static void build_counters(void)
{
	sigset_t s;
	int fd;

	MUST(fd = eventfd(7, EFD_NONBLOCK));
	MUST(dup(fd));
	MUST(eventfd(3, EFD_SEMAPHORE));
	sigemptyset(&s);
	sigaddset(&s, SIGHUP);
	sigaddset(&s, SIGRTMAX);
	MUST(signalfd(-1, &s, SFD_NONBLOCK));
}

static void build_zeros(void)
{
	MUST(eventfd(0, 0));
	MUST(eventfd(0, EFD_SEMAPHORE));
	MUST(eventfd(1, 0));
	MUST(eventfd(1, EFD_SEMAPHORE));
}

static void build_timers(void)
{
	struct itimerspec off = { { 5, 6 }, { 0, 0 } }, once = { { 0, 0 }, { 0, 1 } };
	int fd;

	MUST(fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK));
	MUST(timerfd_settime(fd, 0, &off, NULL));
	MUST(fd = timerfd_create(CLOCK_BOOTTIME, 0));
	MUST(timerfd_settime(fd, 0, &once, NULL)); /* one tick, unread */
}

static void add(int ep, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event ev = { .events = events, .data.u64 = data };

	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
}

static void build_epoll(void)
{
	struct epoll_event ev;
	int outer, ep, a, b, twin;

	MUST(outer = epoll_create1(0));
	MUST(ep = epoll_create1(0));
	MUST(a = eventfd(1, 0));
	MUST(b = eventfd(1, 0));
	add(ep, a, EPOLLIN | EPOLLONESHOT, 0x1122334455667788ull);
	MUST(epoll_wait(ep, &ev, 1, 0));
	add(ep, b, EPOLLOUT | EPOLLET, 2);
	MUST(twin = dup(b));
	MUST(dup2(a, b)); /* number b: in the set for what is now only twin */
	add(ep, b, EPOLLIN | EPOLLEXCLUSIVE, 3);
	add(outer, ep, EPOLLIN, 4);
}

static void build_inotify(void)
{
	char room[4096];
	int fd, wd;

	MUST(fd = inotify_init1(IN_NONBLOCK));
	MUST(wd = inotify_add_watch(fd, "/usr", IN_CREATE));
	MUST(inotify_rm_watch(fd, wd));
	MUST(inotify_add_watch(fd, dir, IN_CREATE | IN_ONLYDIR));
	MUST(inotify_add_watch(fd, "/etc/passwd", IN_MODIFY | IN_EXCL_UNLINK));
	MUST(read(fd, room, sizeof room));
}

static void build_memfd(void)
{
	char path[64];
	int fd, ro;

	MUST(fd = memfd_create("a name", MFD_ALLOW_SEALING));
	MUST(write(fd, "content", 7));
	MUST(pwrite(fd, "far", 3, 5 << 20));
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	MUST(ro = open(path, O_RDONLY | O_NONBLOCK));
	MUST(lseek(ro, 3, SEEK_SET));
	MUST(fchmod(fd, 0600));
	MUST(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL));
}

static void build_pty(void)
{
	struct winsize w = { 11, 22, 33, 44 };
	int m, s;

	MUST(m = posix_openpt(O_RDWR | O_NOCTTY));
	MUST(unlockpt(m));
	MUST(s = ioctl(m, TIOCGPTPEER, O_RDWR | O_NOCTTY));
	MUST(ioctl(m, TIOCSWINSZ, &w));
	MUST(write(s, "unread\n", 7));
}

/* ---- asking and opening ---- */

struct taken { struct buf files, task; int img; char refusals[2048]; };

static int take(pid_t pid, struct taken *t, struct err *e)
{
	struct tracee tr = { .pid = pid, .memfd = -1 };
	struct dthread th = { .tid = pid, .vtid = pid };
	struct dproc p = { .pid = pid, .vpid = pid, .t = &tr, .thr = &th, .nthr = 1 }, *procs[] = { &p };
	struct dump *d = calloc(1, sizeof *d);
	struct buf none = BUF_INIT;
	int rc = -1;

	*t = (struct taken){ .img = -1 };
	tr.pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	d->procs = procs;
	d->nprocs = 1;
	if (tr.pidfd < 0 || proc_stat_read(&p.stat, pid, 0, e) || proc_status_read(&p.status, pid, 0, e) ||
	    ns_collect(d, e) || files_check(d, e))
		goto out;
	snprintf(t->refusals, sizeof t->refusals, "%s", buf_str(&d->refusals));
	if (d->nrefusals) {
		rc = 0;
		goto out;
	}
	t->img = memfd_create("image", MFD_CLOEXEC);
	buf_adds(&none, "FORMAT=\"1\"\n");
	if (files_dump(d, e) || image_writer_new(&d->img, t->img, e) ||
	    image_put_text(d->img, "description.txt", &none, e) ||
	    image_put_text(d->img, "files", &d->files_out, e) || image_put_text(d->img, "task", &p.out, e) ||
	    dump_raws_write(d, e) || image_finish(d->img, e))
		goto out;
	buf_add(&t->files, d->files_out.p, d->files_out.len);
	buf_add(&t->task, p.out.p, p.out.len);
	rc = 0;
out:
	if (d->img)
		image_writer_free(d->img);
	dump_raws_free(d);
	ns_dump_free(d);
	files_free(d);
	buf_free(&d->refusals);
	buf_free(&p.out);
	buf_free(&none);
	proc_status_free(&p.status);
	if (tr.pidfd >= 0)
		close(tr.pidfd);
	free(d);
	return rc;
}

static void drop(struct taken *t)
{
	buf_free(&t->files);
	buf_free(&t->task);
	if (t->img >= 0)
		close(t->img);
}

/* In the process that is to be like the first: opens everything and closes what is not the job's. */
static int reopen(int img, const char *files, struct err *e)
{
	struct restart_opts o = { .std = { -1, -1, -1 }, .image_owner = getuid() };
	struct rproc p = { .pid = getpid() }, *procs[] = { &p };
	struct restore r = { .o = &o, .procs = procs, .nprocs = 1, .img_fd = -1 };
	const struct image_member *m;
	int from = 3;

	if (image_open(&r.img, img, -1, e))
		return -1;
	m = image_find(r.img, "task");
	if (rec_list_parse(&p.recs, m->text, m->size, 1000, e))
		return -1;
	p.nown = p.recs.n;
	if (files) { /* an image whose records lie */
		struct image_member *lie = (struct image_member *)(uintptr_t)image_find(r.img, "files");
		lie->text = strdup(files);
		lie->size = strlen(files);
	}
	if (files_parse(&r, e) || files_open_all(&r, e))
		return -1;
	for (size_t i = 0; i < r.nfiles; i++)
		if (r.files[i].ops == &fd_unix_ops && fd_unix_ops.install(&r, &p, r.files[i].fd, &r.files[i], e))
			return -1;
	if (files_late(&r, e))
		return -1;
	for (size_t i = 0; i < p.nfds; i++) {
		int src = r.files[p.fds[i].file - 1].fd;
		if (p.fds[i].fd <= 2)
			continue;
		if (src != p.fds[i].fd && dup2(src, p.fds[i].fd) < 0)
			return err_sys(e, "dup2");
		fcntl(p.fds[i].fd, F_SETFD, 0);
	}
	for (size_t i = 0; i < p.nfds; i++) {
		if (p.fds[i].fd > from)
			syscall(SYS_close_range, from, p.fds[i].fd - 1, 0);
		if (p.fds[i].fd >= from)
			from = p.fds[i].fd + 1;
	}
	syscall(SYS_close_range, from, ~0u, 0);
	return 0;
}

/* A child that runs build (or reopens an image), says so, and stands. */
static pid_t stand(void (*build)(void), int img, const char *files, struct err *e)
{
	int say[2], status;
	char why_not[512] = "";
	pid_t pid;

	if (pipe2(say, O_CLOEXEC))
		return -1;
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (int i = 0; i < 3; i++)
			dup2(open("/dev/null", O_RDWR | O_CLOEXEC), i);
		int out = fcntl(say[1], F_DUPFD_CLOEXEC, 900);
		syscall(SYS_close_range, 3, img >= 0 ? img - 1 : 899, 0);
		if (img >= 0) {
			struct err why = ERR_INIT;
			syscall(SYS_close_range, img + 1, 899, 0);
			if (reopen(img, files, &why)) {
				if (getenv("XOS_TEST_SHOW"))
					dprintf(out, "%s", why.msg);
				_exit(why.code ? why.code : 99);
			}
			raise(SIGSTOP);
		} else {
			build();
			close(out);
			raise(SIGSTOP);
		}
		_exit(0);
	}
	close(say[1]);
	(void)!read(say[0], why_not, sizeof why_not - 1);
	close(say[0]);
	if (pid < 0 || waitpid(pid, &status, WUNTRACED) != pid)
		return err_set(e, EX_FAILED, "no child");
	if (WIFSTOPPED(status))
		return pid;
	return err_set(e, WIFEXITED(status) ? WEXITSTATUS(status) : 200 + WTERMSIG(status), "the child ended with status 0x%x %s",
		       (unsigned)status, why_not);
}

static void end(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* The number of a pty is free again only when its old owner has gone. */
static void round_trip(void (*build)(void))
{
	struct err e = ERR_INIT;
	struct taken a = { .img = -1 }, b = { .img = -1 };
	pid_t pid = stand(build, -1, NULL, &e);

	if (pid < 0 || take(pid, &a, &e))
		CHECK_STR(e.msg, "");
	end(pid);
	CHECK_STR(a.refusals, "");
	if (a.img >= 0) {
		pid = stand(NULL, a.img, NULL, &e);
		if (pid < 0 || take(pid, &b, &e))
			CHECK_STR(e.msg, "");
		end(pid);
		CHECK_STR(buf_str(&b.files), buf_str(&a.files));
		CHECK_STR(buf_str(&b.task), buf_str(&a.task));
		if (getenv("XOS_TEST_SHOW"))
			printf("%s%s---\n%s%s", buf_str(&a.files), buf_str(&a.task), buf_str(&b.files), buf_str(&b.task));
	}
	drop(&a);
	drop(&b);
}

/* As on kernels that have no fdinfo field or ioctl for it. */
static void with_faults(const char *names)
{
	setenv("XOS_FAULT", names, 1);
	log_init("fdkinds");
}

static void older_kernels(void)
{
	with_faults("eventfd-semaphore,inotify-setnextwd,timerfd-ticks");
	round_trip(build_counters);
	round_trip(build_zeros);
	round_trip(build_inotify);
	round_trip(build_timers);
	with_faults("");
}

static void counters(void) { round_trip(build_counters); }
static void timers(void) { round_trip(build_timers); }
static void epoll(void) { round_trip(build_epoll); }
static void inotify(void) { round_trip(build_inotify); }
static void memfd(void) { round_trip(build_memfd); }
static void pty(void) { round_trip(build_pty); }

/* Each run of digits in the records, one after the other, becomes something else. */
static void lies(void (*build)(void), int budget)
{
	static const char *const with[] = { "0", "99999999999999999999", "-1", "2147483647", "", "z" };
	struct err e = ERR_INIT;
	struct taken a = { .img = -1 };
	pid_t pid = stand(build, -1, NULL, &e);
	unsigned turn = 0;

	CHECK(pid > 0 && take(pid, &a, &e) == 0);
	end(pid);
	for (const char *c = buf_str(&a.files); a.img >= 0 && *c && budget > 0; c++) {
		const char *stop = c;
		struct buf lie = BUF_INIT;

		while (*stop >= '0' && *stop <= '9')
			stop++;
		if (stop == c || (c > a.files.p && c[-1] >= '0' && c[-1] <= '9'))
			continue;
		buf_add(&lie, a.files.p, (size_t)(c - a.files.p));
		buf_adds(&lie, with[turn++ % 6]);
		buf_adds(&lie, stop);
		err_clear(&e);
		pid = stand(NULL, a.img, buf_str(&lie), &e);
		if (pid < 0 && e.code >= 99) {
			fprintf(stderr, "# %s\n%s\n", e.msg, buf_str(&lie));
			CHECK(e.code < 99);
		}
		end(pid);
		buf_free(&lie);
		budget--;
	}
	drop(&a);
}

static void lying_records(void)
{
	lies(build_counters, 60);
	lies(build_timers, 60);
	lies(build_epoll, 60);
	lies(build_inotify, 40);
	lies(build_memfd, 60);
	lies(build_pty, 60);
}

/* A pair with a descriptor in a queue, datagrams to a name, one that waits to be accepted, one left alone. */
static void build_unix(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int))]; } c = { .h = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec io = { a.sun_path, 3 };
	struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c };
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 20);
	int sv[2], fd, one = 1;

	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv));
	MUST(send(sv[0], "message", 7, 0));
	memcpy(CMSG_DATA(&c.h), &sv[0], sizeof(int));
	MUST(sendmsg(sv[0], &m, 0));
	MUST(setsockopt(sv[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof one)); /* later: nobody is there who could be named again */
	snprintf(a.sun_path + 1, 19, "xos-%d", getpid());
	for (int i = 0; i < 2; i++) {
		int type = i ? SOCK_STREAM : SOCK_DGRAM;
		MUST(fd = socket(AF_UNIX, type, 0));
		a.sun_path[19] = (char)i;
		MUST(bind(fd, (struct sockaddr *)&a, len));
		if (i)
			MUST(listen(fd, 3));
		MUST(fd = socket(AF_UNIX, type, 0));
		MUST(connect(fd, (struct sockaddr *)&a, len));
		if (!i)
			MUST(send(fd, "gram", 4, 0));
	}
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	MUST(send(sv[1], "rest", 4, 0));
	MUST(shutdown(sv[0], SHUT_WR));
	close(sv[1]);
}

/* The one record that has KEY="..." gets another value there. NULL: no record has it. */
static bool with_value(const char *text, const char *key, const char *value, struct buf *out)
{
	char begin[64];
	const char *at, *stop;

	snprintf(begin, sizeof begin, " %s=\"", key);
	at = strstr(text, begin);
	if (!at || !(stop = strchr(at + strlen(begin), '"')))
		return false;
	buf_add(out, text, (size_t)(at - text));
	buf_printf(out, "%s%s%s", begin, value, stop);
	return true;
}

static void unix_lies(void)
{
	static const char *const wrong[][2] = {
		{ "MESSAGES", "" }, { "MESSAGES", "7::" }, { "MESSAGES", "7::: 4:::" }, { "MESSAGES", "7::: 3:1,:1,0,0:" },
		{ "MESSAGES", "7::: 3:999::" }, { "MESSAGES", "7::: 3:0::" }, { "MESSAGES", "7::: 3::1,2:" }, { "MESSAGES", "7::: 3:::99" },
		{ "MESSAGES", "7::: 3:::1 " }, { "MESSAGES", "18446744073709551613::: 7:::" }, { "MESSAGES", "x" },
		{ "OPTIONS", "PASSCRED:0100000" }, { "OPTIONS", "PASSCRED" }, { "OPTIONS", "ERROR:01000000" }, { "OPTIONS", "PASSCRED:01000000 " },
		{ "KIND", "raw" }, { "WITH", "1" }, { "WITH", "3" }, { "WITH", "99" }, { "TO", "1" }, { "TO", "5" }, { "PENDING", "3" },
		{ "PENDING", "1" }, { "ADDRESS", "" }, { "ADDRESS", "2f6100" }, { "ADDRESS", "0" }, { "SHUTDOWN", "4" }, { "LISTEN", "-1" },
		{ "CONTENT", "11" }, { "PEER_UID", "4294967295" },
	};
	struct err e = ERR_INIT;
	struct taken a = { .img = -1 };
	pid_t pid = stand(build_unix, -1, NULL, &e);

	CHECK(pid > 0 && take(pid, &a, &e) == 0);
	CHECK_STR(a.refusals, "");
	end(pid);
	pid = stand(NULL, a.img, NULL, &e);
	CHECK_STR(e.msg, "");
	end(pid);
	for (size_t i = 0; a.img >= 0 && i < sizeof wrong / sizeof *wrong; i++) {
		struct buf lie = BUF_INIT;

		err_clear(&e);
		CHECK(with_value(buf_str(&a.files), wrong[i][0], wrong[i][1], &lie));
		pid = stand(NULL, a.img, buf_str(&lie), &e);
		if (pid >= 0 || e.code != EX_BAD_IMAGE)
			fprintf(stderr, "# %s=\"%s\": %d %s\n", wrong[i][0], wrong[i][1], e.code, e.msg);
		CHECK(pid < 0 && e.code == EX_BAD_IMAGE);
		end(pid);
		buf_free(&lie);
	}
	drop(&a);
	lies(build_unix, 300);
}

static void build_refused(void)
{
	if (socket(AF_VSOCK, SOCK_STREAM, 0) < 0) /* not every kernel has it, */
		MUST(open("/proc/self/status", O_RDONLY));
	if (socket(AF_NETLINK, SOCK_RAW, 12 /* NETLINK_NETFILTER */) < 0) /* nor this */
		MUST(open("/proc/self/status", O_RDONLY));
	MUST(open("/proc/self/maps", O_RDONLY));
	MUST(syscall(SYS_pidfd_open, getpid(), 0));
}

static void refused(void)
{
	static const char *const want[] = {
		"fd 3: ", "fd 4: ",
		"fd 5: process file /proc/",
	};
	struct err e = ERR_INIT;
	struct taken a = { .img = -1 };
	pid_t pid = stand(build_refused, -1, NULL, &e);

	CHECK(pid > 0 && take(pid, &a, &e) == 0);
	end(pid);
	for (size_t i = 0; i < sizeof want / sizeof *want; i++)
		if (!strstr(a.refusals, want[i]))
			CHECK_STR(a.refusals, want[i]);
	drop(&a);
}

int main(void)
{
	if (!mkdtemp(dir))
		die(dir);
	RUN(counters);
	RUN(timers);
	RUN(epoll);
	RUN(inotify);
	RUN(memfd);
	RUN(pty);
	RUN(older_kernels);
	RUN(refused);
	RUN(lying_records);
	RUN(unix_lies);
	rmdir(dir);
	return unit_status();
}
