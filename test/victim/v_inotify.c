/* inotify: watches on two directories and a file, with gaps in their numbers. */
#include "victim.h"

#include <sys/inotify.h>
#include <sys/stat.h>

static int fd;

/* One read may bring several events. */
static void expect(int wd, uint32_t mask, const char *name)
{
	static char room[4096] __attribute__((aligned(8)));
	static ssize_t have, at;
	struct inotify_event *ev;

	if (at == have) {
		at = 0;
		have = read(fd, room, sizeof room);
		if (have < 0) {
			have = 0;
			victim_fail("no event, expected watch %d mask 0x%x: %s", wd, mask, strerror(errno));
		}
	}
	ev = (struct inotify_event *)(room + at);
	at += (ssize_t)(sizeof *ev + ev->len);
	if (ev->wd != wd || ev->mask != mask || (ev->len && strcmp(ev->name, name)))
		victim_fail("event: watch %d mask 0x%x name %s, expected %d 0x%x %s", ev->wd, ev->mask,
			    ev->len ? ev->name : "", wd, mask, name);
}

static void touch(const char *path)
{
	int f = open(path, O_WRONLY | O_CREAT, 0600);

	VICTIM_TRY(f);
	VICTIM_TRY(write(f, "x", 1));
	close(f);
}

int main(int argc, char **argv)
{
	char a[4200], b[4200], file[4300], gap[4300], made[4300], room[4096];
	int wd[5];

	victim_init(argc, argv);
	snprintf(a, sizeof a, "%s.dir a", argv[1]);
	snprintf(b, sizeof b, "%s.dir%%b", argv[1]);
	snprintf(file, sizeof file, "%s.file", argv[1]);
	snprintf(gap, sizeof gap, "%s/gap", a);
	VICTIM_TRY(mkdir(a, 0700));
	VICTIM_TRY(mkdir(b, 0700));
	touch(file);
	touch(gap);
	VICTIM_TRY(fd = inotify_init1(IN_NONBLOCK));
	VICTIM_TRY(wd[0] = inotify_add_watch(fd, a, IN_CREATE | IN_ONLYDIR));
	VICTIM_TRY(wd[1] = inotify_add_watch(fd, gap, IN_MODIFY));
	VICTIM_TRY(wd[2] = inotify_add_watch(fd, b, IN_CREATE | IN_DELETE));
	VICTIM_TRY(inotify_rm_watch(fd, wd[1]));
	VICTIM_TRY(wd[1] = inotify_add_watch(fd, gap, IN_MODIFY));
	VICTIM_TRY(inotify_rm_watch(fd, wd[1]));
	VICTIM_TRY(wd[4] = inotify_add_watch(fd, file, IN_MODIFY | IN_ONESHOT));
	VICTIM_CHECK(wd[0] == 1 && wd[2] == 3 && wd[4] == 5);
	VICTIM_TRY(read(fd, room, sizeof room)); /* IN_IGNORED */
	victim_wait();

	VICTIM_CHECK(read(fd, room, sizeof room) < 0 && errno == EAGAIN);
	snprintf(made, sizeof made, "%s/new", a);
	touch(made);
	expect(wd[0], IN_CREATE, "new");
	snprintf(made, sizeof made, "%s/other", b);
	touch(made);
	expect(wd[2], IN_CREATE, "other");
	VICTIM_TRY(unlink(made));
	expect(wd[2], IN_DELETE, "other");
	touch(gap);
	touch(file);
	expect(wd[4], IN_MODIFY, "");
	expect(wd[4], IN_IGNORED, ""); /* one shot */
	VICTIM_CHECK(read(fd, room, sizeof room) < 0 && errno == EAGAIN);
	return victim_ok();
}
