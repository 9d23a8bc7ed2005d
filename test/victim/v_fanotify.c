/* fanotify: a group of names (what an ordinary user may have) with marks on a directory and a file, with an ignored mask; as root one
 * more of files with marks of a mount and of a file system. What is marked is compared by fdinfo, and events come. */
#include "victim.h"

#include <stdint.h>
#include <sys/fanotify.h>
#include <sys/stat.h>

static void marks(int fd, char *out, size_t n)
{
	char path[64];
	ssize_t len;
	int f;

	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	VICTIM_TRY(f = open(path, O_RDONLY));
	VICTIM_TRY(len = read(f, out, n - 1));
	close(f);
	out[len] = 0;
	if (strstr(out, "fanotify flags:"))
		memmove(out, strstr(out, "fanotify flags:"), strlen(strstr(out, "fanotify flags:")) + 1);
}

static int lines_differ(char *a, char *b)
{
	/* The order of marks is the kernel's. */
	int n = 0, m = 0;

	for (char *c = b; *c; c++)
		m += *c == '\n';
	for (char *s, *l = strtok_r(a, "\n", &s); l; l = strtok_r(NULL, "\n", &s), n++)
		if (!strstr(b, l)) {
			fprintf(stderr, "missing: %s\nin: %s\n", l, b);
			return 1;
		}
	return n != m;
}

/* A mask of the next event, 0: none. */
static uint64_t event(int fd)
{
	char b[4096] __attribute__((aligned(8)));
	struct fanotify_event_metadata *m = (void *)b;
	ssize_t n = read(fd, b, sizeof b);

	if (n > 0 && m->fd >= 0)
		close(m->fd);
	return n > 0 ? m->mask : 0;
}

int main(int argc, char **argv)
{
	char dir[4200], in[4300], before[8192], after[8192], all_before[8192] = "", all_after[8192];
	int names, files = -1, fd;

	victim_init(argc, argv);
	names = fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_DFID_NAME | FAN_NONBLOCK, 0);
	if (names < 0)
		victim_skip("no fanotify group here: %s", strerror(errno));
	victim_name_(dir, sizeof dir, "dir with blank");
	VICTIM_CHECK(mkdir(dir, 0700) == 0 || errno == EEXIST);
	snprintf(in, sizeof in, "%s/in", dir);
	unlink(in);
	if (fanotify_mark(names, FAN_MARK_ADD, FAN_CREATE | FAN_DELETE | FAN_ONDIR, AT_FDCWD, dir))
		victim_skip("no mark here: %s", strerror(errno));
	VICTIM_TRY(fanotify_mark(names, FAN_MARK_ADD | FAN_MARK_IGNORED_MASK | FAN_MARK_IGNORED_SURV_MODIFY, FAN_ATTRIB, AT_FDCWD, dir));
	if (geteuid() == 0)
		files = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK, O_RDONLY | O_LARGEFILE | O_CLOEXEC);
	if (files >= 0) {
		/* Where nothing happens but what we do. */
		VICTIM_TRY(fanotify_mark(files, FAN_MARK_ADD | FAN_MARK_MOUNT, FAN_OPEN_EXEC, AT_FDCWD, "/dev/shm"));
		VICTIM_TRY(fanotify_mark(files, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FAN_OPEN_EXEC, AT_FDCWD, "/sys/fs/cgroup"));
		VICTIM_TRY(fanotify_mark(files, FAN_MARK_ADD, FAN_OPEN | FAN_EVENT_ON_CHILD, AT_FDCWD, dir));
		marks(files, all_before, sizeof all_before);
	}
	marks(names, before, sizeof before);
	victim_wait();

	marks(names, after, sizeof after);
	if (lines_differ(before, after))
		victim_fail("marks differ: %s", after);
	VICTIM_CHECK(fcntl(names, F_GETFL) & O_NONBLOCK && !(fcntl(names, F_GETFD) & FD_CLOEXEC));
	while (event(names))
		;
	VICTIM_TRY(fd = open(in, O_RDWR | O_CREAT | O_EXCL, 0600));
	VICTIM_CHECK(event(names) == FAN_CREATE);
	close(fd);
	if (files >= 0) {
		marks(files, all_after, sizeof all_after);
		VICTIM_CHECK(!lines_differ(all_before, all_after));
		VICTIM_CHECK(fcntl(files, F_GETFD) & FD_CLOEXEC);
		while (event(files))
			;
		VICTIM_TRY(fd = open(in, O_RDONLY));
		VICTIM_CHECK(event(files) & FAN_OPEN);
		close(fd);
	}
	unlink(in);
	rmdir(dir);
	return victim_ok();
}
