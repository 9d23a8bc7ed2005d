/* load: what bench/run checkpoints. Builds its state, makes the file READY, and sleeps.
 *
 *   load READY mem BYTES     one process; memory that does not compress, every page touched
 *   load READY procs N       a parent and N-1 children, forked without exec
 *   load READY threads N     one process of N threads
 *   load READY files N DIR   one process with N files of its own open, which it makes in DIR */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

static void die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void mem(size_t bytes)
{
	uint64_t x = 88172645463325252u;
	uint64_t *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	/* 4 KiB pages: huge ones would make the figures depend on the system's setting */
	madvise(p, bytes, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < bytes / sizeof *p; i++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		p[i] = x;
	}
}

static void procs(long n)
{
	for (long i = 1; i < n; i++) {
		pid_t pid = fork();
		if (pid < 0)
			die("fork");
		while (!pid)
			pause();
	}
}

static void *thread(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void threads(long n)
{
	pthread_attr_t a;
	pthread_t t;

	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, 64 << 10);
	for (long i = 1; i < n; i++)
		if ((errno = pthread_create(&t, &a, thread, NULL)))
			die("pthread_create");
}

static void files(long n, const char *dir)
{
	struct rlimit l;
	char path[4096];

	getrlimit(RLIMIT_NOFILE, &l);
	l.rlim_cur = l.rlim_max;
	setrlimit(RLIMIT_NOFILE, &l);
	for (long i = 0; i < n; i++) {
		snprintf(path, sizeof path, "%s/%ld", dir, i);
		if (open(path, O_RDWR | O_CREAT, 0600) < 0)
			die(path);
	}
}

/* As many descriptors as it may have. */
static void room(void)
{
	struct rlimit r;

	if (!getrlimit(RLIMIT_NOFILE, &r)) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

static void pairs(long n)
{
	int fd[2];

	room();
	for (long i = 0; i < n; i++)
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) || write(fd[0], "x", 1) != 1)
			die("socketpair");
}

static void pipes(long n)
{
	int fd[2];

	room();
	for (long i = 0; i < n; i++)
		if (pipe(fd) || write(fd[1], "x", 1) != 1)
			die("pipe");
}

/* Established connections of one server. */
static void tcp(long n)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof a;
	int l = socket(AF_INET, SOCK_STREAM, 0);

	room();
	if (l < 0 || bind(l, (struct sockaddr *)&a, sizeof a) || listen(l, 100) || getsockname(l, (struct sockaddr *)&a, &len))
		die("listen");
	for (long i = 0; i < n; i++) {
		int c = socket(AF_INET, SOCK_STREAM, 0);
		if (c < 0 || connect(c, (struct sockaddr *)&a, sizeof a) || write(c, "x", 1) != 1 || accept(l, NULL, NULL) < 0)
			die("connect");
	}
}

/* System V segments of one page, attached; they go with their last user. */
static void segments(long n)
{
	for (long i = 0; i < n; i++) {
		int id = shmget(IPC_PRIVATE, 4096, 0600);
		char *p = id < 0 ? (void *)-1 : shmat(id, NULL, 0);
		if (p == (void *)-1)
			die("shmat");
		*p = 1;
		shmctl(id, IPC_RMID, NULL);
	}
}

int main(int argc, char **argv)
{
	const char *what = argc > 3 ? argv[2] : "";

	if (!strcmp(what, "mem"))
		mem(strtoull(argv[3], NULL, 0));
	else if (!strcmp(what, "procs"))
		procs(strtol(argv[3], NULL, 0));
	else if (!strcmp(what, "threads"))
		threads(strtol(argv[3], NULL, 0));
	else if (!strcmp(what, "pairs"))
		pairs(strtol(argv[3], NULL, 0));
	else if (!strcmp(what, "pipes"))
		pipes(strtol(argv[3], NULL, 0));
	else if (!strcmp(what, "tcp"))
		tcp(strtol(argv[3], NULL, 0));
	else if (!strcmp(what, "segments"))
		segments(strtol(argv[3], NULL, 0));
	else if (!strcmp(what, "files") && argc > 4)
		files(strtol(argv[3], NULL, 0), argv[4]);
	else
		return 2;
	int fd = open(argv[1], O_WRONLY | O_CREAT, 0600);
	if (fd < 0)
		die(argv[1]);
	close(fd);
	for (;;)
		pause();
}
