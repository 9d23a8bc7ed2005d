/* limit: what the machine itself can do, for bench/run to compare with. Prints one number, milliseconds unless told.
 *
 *   limit time COMMAND...        from fork to the end of COMMAND; exits with its status
 *   limit spawn K COMMAND...     the same, median of K, COMMAND's stdout thrown away
 *   limit fork K                 fork and wait of a process that ends at once, median of K
 *   limit mkdir K DIR...         mkdir and rmdir of a directory in each DIR, median of K
 *   limit memcpy BYTES           from and to memory that was touched before
 *   limit readv PID              process_vm_readv of all that PID can write, through 256 KiB; `ms bytes`
 *   limit write FILE BYTES       O_DIRECT (where it can be had), 1 MiB at a time, and fsync
 *   limit populate FILE BYTES N  N threads pread FILE into new memory; FILE is read once before
 *   limit warm BYTES             touches memory that no process has touched yet */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
enum { MIB = 1 << 20 };

static void die(const char *what)
{
	fprintf(stderr, "limit: %s: %s\n", what, strerror(errno));
	exit(125);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *v, size_t n)
{
	qsort(v, n, sizeof *v, compare);
	return v[n / 2];
}

/* The child is made by vfork: what this process has mapped costs nothing. */
static double run(char **argv, int quiet, int *status)
{
	posix_spawn_file_actions_t fa;
	double t = now();
	pid_t pid;

	posix_spawn_file_actions_init(&fa);
	if (quiet)
		posix_spawn_file_actions_addopen(&fa, 1, "/dev/null", O_WRONLY, 0);
	if ((errno = posix_spawnp(&pid, argv[0], &fa, NULL, argv, environ)))
		die(argv[0]);
	posix_spawn_file_actions_destroy(&fa);
	if (waitpid(pid, status, 0) < 0)
		die("waitpid");
	return now() - t;
}

static int do_time(char **argv)
{
	int status;
	double t = run(argv, 1, &status);

	printf("%.3f\n", t);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int do_spawn(size_t k, char **argv)
{
	double *v = calloc(k, sizeof *v);
	int status;

	if (!v)
		die("memory");
	for (size_t i = 0; i < k; i++) {
		v[i] = run(argv, 1, &status);
		if (status)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	}
	printf("%.3f\n", median(v, k));
	return 0;
}

static int do_fork(size_t k)
{
	double *v = calloc(k, sizeof *v);

	if (!v)
		die("memory");
	for (size_t i = 0; i < k; i++) {
		double t = now();
		pid_t pid = fork();
		if (!pid)
			_exit(0);
		if (pid < 0 || waitpid(pid, NULL, 0) < 0)
			die("fork");
		v[i] = now() - t;
	}
	printf("%.3f\n", median(v, k));
	return 0;
}

static int do_mkdir(size_t k, int n, char **dirs)
{
	double *v = calloc(k, sizeof *v);
	char path[4096];

	if (!v)
		die("memory");
	for (size_t i = 0; i < k; i++) {
		double t = now();
		for (int j = 0; j < n; j++) {
			snprintf(path, sizeof path, "%s/bench-%d", dirs[j], getpid());
			if (mkdir(path, 0755))
				die(path);
		}
		for (int j = 0; j < n; j++) {
			snprintf(path, sizeof path, "%s/bench-%d", dirs[j], getpid());
			rmdir(path);
		}
		v[i] = now() - t;
	}
	printf("%.3f\n", median(v, k));
	return 0;
}

static char *map(size_t n)
{
	char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	madvise(p, n, MADV_NOHUGEPAGE);
	return p;
}

static int do_memcpy(size_t n)
{
	char *a = map(n), *b = map(n);

	memset(a, 1, n);
	memset(b, 2, n);
	double t = now();
	memcpy(b, a, n);
	printf("%.3f\n", now() - t);
	return b[n / 2] == 1 ? 0 : 1;
}

static int do_readv(const char *pid)
{
	enum { CHUNK = 256 << 10 };
	char path[64], line[512], perm[8];
	char *buf = map(CHUNK);
	unsigned long start, end;
	uint64_t bytes = 0;
	double t = 0;

	snprintf(path, sizeof path, "/proc/%s/maps", pid);
	FILE *f = fopen(path, "r");
	if (!f)
		die(path);
	memset(buf, 1, CHUNK);
	while (fgets(line, sizeof line, f)) {
		if (sscanf(line, "%lx-%lx %7s", &start, &end, perm) != 3 || perm[0] != 'r' || perm[1] != 'w')
			continue;
		double from = now();
		for (unsigned long at = start; at < end; at += CHUNK) {
			size_t n = end - at < CHUNK ? end - at : CHUNK;
			struct iovec l = { buf, n }, r = { (void *)at, n };
			ssize_t got = process_vm_readv(atoi(pid), &l, 1, &r, 1, 0);
			bytes += got > 0 ? (uint64_t)got : 0;
		}
		t += now() - from;
	}
	fclose(f);
	printf("%.3f %llu\n", t, (unsigned long long)bytes);
	return 0;
}

static int do_write(const char *path, size_t bytes)
{
	char *buf = map(MIB);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_DIRECT, 0600);

	if (fd < 0 && errno == EINVAL)
		fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		die(path);
	memset(buf, 0x5a, MIB);
	double t = now();
	for (size_t done = 0; done < bytes; done += MIB)
		if (write(fd, buf, MIB) != MIB)
			die(path);
	if (fsync(fd))
		die(path);
	printf("%.3f\n", now() - t);
	unlink(path);
	return 0;
}

struct part { int fd; char *to; size_t n; off_t off; };

static void *read_part(void *arg)
{
	struct part *p = arg;

	for (size_t done = 0; done < p->n;) {
		ssize_t r = pread(p->fd, p->to + done, p->n - done, p->off + (off_t)done);
		if (r <= 0)
			die("pread");
		done += (size_t)r;
	}
	return NULL;
}

static int do_populate(const char *path, size_t bytes, size_t n)
{
	enum { MOST = 16 };
	struct part p[MOST];
	pthread_t t[MOST];
	char *buf = map(MIB), *to = map(bytes);
	int fd = open(path, O_RDONLY);

	if (fd < 0 || n < 1 || n > MOST)
		die(path);
	for (size_t at = 0; at < bytes; at += MIB)
		if (pread(fd, buf, MIB, (off_t)at) <= 0)
			die(path);
	double from = now();
	for (size_t i = 0; i < n; i++) {
		p[i] = (struct part){ fd, to + bytes / n * i, bytes / n, (off_t)(bytes / n * i) };
		if (i && (errno = pthread_create(&t[i], NULL, read_part, &p[i])))
			die("pthread_create");
	}
	read_part(&p[0]);
	for (size_t i = 1; i < n; i++)
		pthread_join(t[i], NULL);
	printf("%.3f\n", now() - from);
	return 0;
}

static int do_warm(size_t bytes)
{
	char *p = map(bytes);

	for (size_t at = 0; at < bytes; at += 4096)
		p[at] = 1;
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "";
	size_t n = argc > 2 ? strtoull(argv[2], NULL, 0) : 0;

	if (!strcmp(what, "time"))
		return do_time(argv + 2);
	if (!strcmp(what, "spawn") && argc > 3 && n)
		return do_spawn(n, argv + 3);
	if (!strcmp(what, "fork") && n)
		return do_fork(n);
	if (!strcmp(what, "mkdir") && argc > 3 && n)
		return do_mkdir(n, argc - 3, argv + 3);
	if (!strcmp(what, "memcpy") && n)
		return do_memcpy(n);
	if (!strcmp(what, "readv"))
		return do_readv(argv[2]);
	if (!strcmp(what, "write") && argc > 3)
		return do_write(argv[2], strtoull(argv[3], NULL, 0));
	if (!strcmp(what, "populate") && argc > 4)
		return do_populate(argv[2], strtoull(argv[3], NULL, 0), strtoull(argv[4], NULL, 0));
	if (!strcmp(what, "warm"))
		return do_warm(n);
	fprintf(stderr, "limit: see bench/limit.c\n");
	return 2;
}
