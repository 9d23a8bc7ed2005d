/* Records of namespaces, mounts and links: what a checkpoint writes is taken, and each lie is told by name, as a bad image, before anything is made. */
#include "unit.h"

#include "cr/internal.h"
#include "res/member_group.h"
#include "res/ns_obj.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* In the texts ' stands for ". What is NULL is as below. */
struct given { const char *ns, *five, *six, *global; uid_t owner; bool trust; };

#define GLOBAL "TYPE='proc' PID='5' PPID='0' PGID='5' SID='5' EXIT_SIGNAL='17' MAIN='1' COMM='a'\n" \
	"TYPE='proc' PID='6' PPID='5' PGID='5' SID='5' EXIT_SIGNAL='17' COMM='b'\n"
#define GLOBAL_PID "TYPE='proc' PID='5' PPID='0' PGID='5' SID='5' EXIT_SIGNAL='17' MAIN='1' COMM='a'\n" \
	"TYPE='proc' PID='6' PPID='5' PGID='5' SID='5' NSPID='1' EXIT_SIGNAL='17' COMM='b'\n"
#define GROUPS "TYPE='group' ID='1' HIERARCHY='v2' PATH='a' UID='0' GID='0' MODE='0x1ed'\n"
#define USER(id, more) "TYPE='ns' ID='" #id "' KIND='user' OWNER='0' UID_MAP='0 0 1\\0012' GID_MAP='0 0 1\\0012' SETGROUPS='deny'" more "\n"
#define ROOT_MOUNT "TYPE='mount' NS='1' ID='1' PARENT='0' POINT='/' OPTIONS='rw' SOURCE='/' ROOT='/' FSTYPE='x' DEVNAME='x'\n"
#define MNT "TYPE='ns' ID='1' KIND='mnt' MEMBER='5'\n"
#define TMPFS "TYPE='mount_sb' NS='1' SB='1' FSTYPE='tmpfs' DEVNAME='t' SUPER='rw' CONTENT='raw'\n"
#define MOUNT(id, on, point, more) "TYPE='mount' NS='1' ID='" #id "' PARENT='" #on "' POINT='" point "' OPTIONS='rw' ROOT='/' FSTYPE='x' DEVNAME='x' " more "\n"
#define NET "TYPE='ns' ID='1' KIND='net'\n" LINK(1, 1, "lo", "loopback", "")
#define NET2 "TYPE='ns' ID='2' KIND='net'\n"
#define LINK(ns, index, name, kind, more) \
	"TYPE='link' NS='" #ns "' INDEX='" #index "' NAME='" name "' KIND='" kind "' HWTYPE='1' FLAGS='0x1' " more "\n"
#define BRIDGE(ns, index, name) LINK(ns, index, name, "bridge", "") "TYPE='linkdata' NS='" #ns "' INDEX='" #index "'\n"

static int put(struct image_writer *w, const char *name, const char *text)
{
	struct buf b = BUF_INIT;
	int rc;

	for (; *text; text++)
		buf_addc(&b, *text == '\'' ? '"' : *text);
	rc = image_put_text(w, name, &b, NULL);
	buf_free(&b);
	return rc;
}

enum { TASK_MAX = 4096 };
static void task(char out[TASK_MAX], const char *records, const char *thread)
{
	snprintf(out, TASK_MAX, "%s%s", records ? records : "", records && strstr(records, "TYPE='thread'") ? "" : thread);
}

static struct image *image_of(const struct given *g)
{
	int fd = memfd_create("image", MFD_CLOEXEC);
	struct image_writer *w;
	struct image *im = NULL;
	char five[TASK_MAX], six[TASK_MAX];

	task(five, g->five, "TYPE='thread' TID='5'\n");
	task(six, g->six, "TYPE='thread' TID='6'\n");
	if (!image_writer_new(&w, fd, NULL)) {
		if (!put(w, "description.txt", "FORMAT='1'\n") && !put(w, "profile", "ARCH='x86_64'\n") && !put(w, "global", g->global ? g->global : GLOBAL) &&
		    !put(w, "groups", GROUPS) && !put(w, "namespaces", g->ns) && !put(w, "task_5", five) && !put(w, "task_6", six) &&
		    !image_raw_begin(w, "raw", 1, NULL) && !image_raw_write(w, "", 1, NULL) && !image_raw_end(w, NULL) && !image_finish(w, NULL))
			image_open(&im, fd, -1, NULL);
		image_writer_free(w);
	}
	close(fd);
	return im;
}

/* Status and message of reading it. */
static int reads(const struct given *g, char why[1024])
{
	struct restart_run run = { .o = { .image_owner = g->owner, .trust = g->trust } };
	struct restore r = { .o = &run.o, .check_only = true, .img_fd = -1 };
	struct err e = ERR_INIT;
	int rc;

	r.img = image_of(g);
	if (!CHECK(r.img != NULL))
		return -1;
	rc = plan_make(&r, &run, &e) || member_groups_parse(&r, &e) || ns_parse(&r, &e) ? -1 : 0;
	for (size_t i = 0; i < r.nprocs && !rc; i++)
		rc = ns_verify_proc(&r, r.procs[i], &e);
	ns_restore_free(&r);
	member_groups_restore_free(&r);
	plan_free(&r);
	image_free(r.img);
	snprintf(why, 1024, "%s", e.msg);
	return rc ? e.code : 0;
}

static void good(const struct given *g)
{
	char why[1024];

	if (!CHECK_INT(reads(g, why), 0))
		printf("# %s\n# %s\n", why, g->ns);
}

static void lie(const struct given *g, int code, const char *words)
{
	char why[1024];

	if (!CHECK_INT(reads(g, why), code) || !CHECK(strstr(why, words) != NULL))
		printf("# \"%s\" instead of \"%s\"\n# %.300s\n", why, words, g->ns);
}

struct lie { const char *words; struct given g; };

static void lies(const struct lie *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		lie(&v[i].g, EX_BAD_IMAGE, v[i].words);
}
#define LIES(v) lies(v, sizeof(v) / sizeof(v)[0])

static void trees(void)
{
	static const struct lie v[] = {
		{ "ID out of order", { .ns = USER(2, "") } },
		{ "ID out of order", { .ns = USER(1, "") USER(1, "") } },
		{ "ID out of order", { .ns = USER(0, "") } },
		{ "ID is no number or out of range", { .ns = USER(-1, "") } },
		{ "ID is no number or out of range", { .ns = USER(4097, "") } },
		{ "of kind \"wood\" are not known", { .ns = "TYPE='ns' ID='1' KIND='wood'\n" } },
		{ "KIND is missing", { .ns = "TYPE='ns' ID='1'\n" } },
		{ "USER names no user namespace", { .ns = "TYPE='ns' ID='1' KIND='ipc' USER='7'\n" } },
		{ "USER names no user namespace", { .ns = "TYPE='ns' ID='1' KIND='ipc' USER='2'\n" USER(2, "") } },
		{ "USER names no user namespace", { .ns = USER(1, " USER='1'") } },
		{ "USER names no user namespace", { .ns = USER(1, " USER='2'") USER(2, " USER='1'") } },
		{ "USER names no user namespace", { .ns = "TYPE='ns' ID='1' KIND='ipc'\nTYPE='ns' ID='2' KIND='uts' USER='1' HOSTNAME='' DOMAINNAME=''\n" } },
		{ "USER is no number", { .ns = "TYPE='ns' ID='1' KIND='ipc' USER='-1'\n" } },
		{ "a name is too long", { .ns = "TYPE='ns' ID='1' KIND='uts' HOSTNAME='0123456789012345678901234567890123456789012345678901234567890123x' DOMAINNAME=''\n" } },
		{ "MONOTONIC is no number", { .ns = "TYPE='ns' ID='1' KIND='time' MONOTONIC='-1' BOOTTIME='0'\n" } },
		{ "BOOTTIME is no number", { .ns = "TYPE='ns' ID='1' KIND='time' MONOTONIC='0' BOOTTIME='4611686018427387904'\n" } },
		{ "ROOTS", { .ns = "TYPE='ns' ID='1' KIND='cgroup' ROOTS='2'\n" } },
		{ "ROOTS", { .ns = "TYPE='ns' ID='1' KIND='cgroup' ROOTS='-1'\n" } },
		{ "ROOTS", { .ns = "TYPE='ns' ID='1' KIND='cgroup' ROOTS='1  1'\n" } },
		{ "ROOTS", { .ns = "TYPE='ns' ID='1' KIND='cgroup' ROOTS='1x'\n" } },
		{ "no setting of such a namespace", { .ns = "TYPE='ns' ID='1' KIND='ipc' SETTINGS='kernel/core_pattern 1\\0012'\n" } },
		{ "no setting of such a namespace", { .ns = "TYPE='ns' ID='1' KIND='ipc' SETTINGS='kernel/shmmni /etc\\0012'\n" } },
		{ "SETTINGS", { .ns = "TYPE='ns' ID='1' KIND='ipc' SETTINGS='kernel/shmmni 1'\n" } },
		{ "belongs to no namespace", { .ns = ROOT_MOUNT } },
		{ "belongs to no namespace", { .ns = MNT "TYPE='mountain' NS='1'\n" } },
		{ "belongs to no namespace", { .ns = MNT LINK(1, 1, "lo", "loopback", "") } },
		{ "belongs to no namespace", { .ns = NET ROOT_MOUNT } },
		{ "belongs to no namespace", { .ns = NET LINK(2, 1, "lo", "loopback", "") NET2 } },
		{ "belongs to no namespace", { .ns = USER(1, "") LINK(0, 9, "x", "veth", "") } },
		{ "NS is missing", { .ns = NET "TYPE='link' INDEX='2' NAME='x' KIND='ifb'\n" } },
	};

	good(&(struct given){ .ns = "" });
	good(&(struct given){ .ns = USER(1, "") USER(2, " USER='1'") "TYPE='ns' ID='3' KIND='ipc' USER='2' SETTINGS='kernel/shmmni 7\\0012kernel/sem 1\\00112 3\\0012'\n"
		"TYPE='ns' ID='4' KIND='uts' HOSTNAME='a' DOMAINNAME='(none)'\nTYPE='ns' ID='5' KIND='time' MONOTONIC='1' BOOTTIME='2'\n"
		"TYPE='ns' ID='6' KIND='cgroup' ROOTS='1'\n", .five = "TYPE='namespaces' USER='2' IPC='3' UTS='4' TIME='5' CGROUP='6'\n" });
	LIES(v);
}

/* So many user namespaces, each in the one before. */
static void depth(void)
{
	char deep[34 * 160] = "", line[160];

	for (int i = 1; i <= 34; i++) {
		if (i == 34)
			good(&(struct given){ .ns = deep });
		snprintf(line, sizeof line, i > 1 ? "TYPE='ns' ID='%d' KIND='user' USER='%d' OWNER='0' UID_MAP='' GID_MAP='' SETGROUPS='deny'\n" :
			 "TYPE='ns' ID='%d' KIND='user' OWNER='0' UID_MAP='' GID_MAP='' SETGROUPS='deny'\n", i, i - 1);
		strcat(deep, line);
	}
	lie(&(struct given){ .ns = deep }, EX_BAD_IMAGE, "more than 33 deep");
}

static void say_map(const char *map, const char *words)
{
	char text[341 * 16 + 200];

	snprintf(text, sizeof text, "TYPE='ns' ID='1' KIND='user' OWNER='0' UID_MAP='' GID_MAP='%s' SETGROUPS='deny'\n", map);
	if (words)
		lie(&(struct given){ .ns = text }, EX_BAD_IMAGE, words);
	else
		good(&(struct given){ .ns = text });
}

static void maps(void)
{
	static const char *const fine[] = { "", "0 0 4294967295\\0012", "1 2 3\\00124 5 6\\0012", "10 0 5\\00120 5 5\\00125 100 5\\0012", "4294967294 0 1\\0012" };
	static const char *const bad[] = {
		"0 0 1", "0 0 1\\0012 ", "0 0 1 2\\0012", "0 0\\0012", "0 0 0\\0012", "-1 0 1\\0012", "0 -1 1\\0012", "0 0 -1\\0012", "0 0 4294967296\\0012", "1 0 4294967295\\0012",
		"0 1 4294967295\\0012", "4294967295 0 1\\0012", "99999999999999999999 0 1\\0012", "a 0 1\\0012", "0x0 0 1\\0012", " 0 0 1\\0012", "0  0 1\\0012", "\\0012", "0 0 1\\0012\\0012",
		"0 0 10\\00129 100 1\\0012", "0 0 10\\0012100 9 1\\0012", "0 0 1\\00120 0 1\\0012", "50 50 10\\00120 200 51\\0012",
	};
	static const struct lie v[] = {
		{ "OWNER is no number", { .ns = "TYPE='ns' ID='1' KIND='user' OWNER='-1' UID_MAP='' GID_MAP='' SETGROUPS='deny'\n" } },
		{ "OWNER is no number", { .ns = "TYPE='ns' ID='1' KIND='user' OWNER='4294967295' UID_MAP='' GID_MAP='' SETGROUPS='deny'\n" } },
		{ "UID_MAP is missing", { .ns = "TYPE='ns' ID='1' KIND='user' OWNER='0' GID_MAP='' SETGROUPS='deny'\n" } },
		{ "SETGROUPS", { .ns = "TYPE='ns' ID='1' KIND='user' OWNER='0' UID_MAP='' GID_MAP='' SETGROUPS='perhaps'\n" } },
		{ "no setting of such", { .ns = "TYPE='ns' ID='1' KIND='user' OWNER='0' UID_MAP='' GID_MAP='' SETGROUPS='deny' SETTINGS='kernel/sem 1\\0012'\n" } },
	};
	char many[341 * 16] = "", line[32];

	for (size_t i = 0; i < sizeof fine / sizeof *fine; i++)
		say_map(fine[i], NULL);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		say_map(bad[i], "GID_MAP");
	LIES(v);
	for (int i = 0; i < 341; i++) {
		if (i == 340)
			say_map(many, NULL);
		snprintf(line, sizeof line, "%d %d 1\\0012", i, i);
		strcat(many, line);
	}
	say_map(many, "GID_MAP");
}

static void processes(void)
{
	static const char two[] = "TYPE='ns' ID='1' KIND='pid'\nTYPE='ns' ID='2' KIND='pid'\n";
	static const char nested[] = "TYPE='ns' ID='1' KIND='pid'\nTYPE='ns' ID='2' KIND='pid' PARENT='1'\n";
#define SIX(ns, nspid) "TYPE='namespaces' PID='" #ns "'\nTYPE='thread' TID='6' NSPID='" nspid "'\n"
#define FIVE(ns, nspid, more) "TYPE='namespaces' PID='" #ns "' " more "\nTYPE='thread' TID='5' NSPID='" nspid "'\n"
#define PROCS(five, six) "TYPE='proc' PID='5' PPID='0' PGID='5' SID='5' NSPID='" five "' EXIT_SIGNAL='17' MAIN='1'\n" \
	"TYPE='proc' PID='6' PPID='5' PGID='5' SID='5' NSPID='" six "' EXIT_SIGNAL='17'\n"
	static const struct lie v[] = {
		{ "UTS names no such namespace", { .ns = "", .five = "TYPE='namespaces' UTS='1'\n" } },
		{ "UTS names no such namespace", { .ns = USER(1, ""), .five = "TYPE='namespaces' UTS='1'\n" } },
		{ "USER names no such namespace", { .ns = USER(1, ""), .five = "TYPE='namespaces' USER='2'\n" } },
		{ "USER is no number", { .ns = USER(1, ""), .five = "TYPE='namespaces' USER='-1'\n" } },
		{ "a second record", { .ns = USER(1, ""), .five = "TYPE='namespaces' USER='1'\nTYPE='namespaces' USER='1'\n" } },
		{ "NSPID does not fit", { .ns = "TYPE='ns' ID='1' KIND='pid'\n", .five = "TYPE='namespaces' PID='1'\n" } },
		{ "NSPID does not fit", { .ns = "", .six = "TYPE='thread' TID='6' NSPID='1'\n", .global = GLOBAL_PID } },
		{ "PARENT", { .ns = "TYPE='ns' ID='1' KIND='pid' PARENT='1'\n" } },
		{ "PARENT", { .ns = "TYPE='ns' ID='1' KIND='pid' PARENT='2'\nTYPE='ns' ID='2' KIND='pid'\n" } },
		{ "PARENT", { .ns = USER(1, "") "TYPE='ns' ID='2' KIND='pid' PARENT='1'\n" } },
		{ "PARENT", { .ns = USER(1, "") "TYPE='ns' ID='2' KIND='pid'\nTYPE='ns' ID='3' KIND='pid' USER='1' PARENT='2'\n" } },
		{ "has no first process", { .ns = "TYPE='ns' ID='1' KIND='pid'\n" } },
		{ "has no first process", { .ns = "TYPE='ns' ID='1' KIND='pid'\n", .six = SIX(1, "2"),
			.global = "TYPE='proc' PID='5' PPID='0' PGID='5' SID='5' EXIT_SIGNAL='17' MAIN='1'\nTYPE='proc' PID='6' PPID='5' PGID='5' SID='5' NSPID='2' EXIT_SIGNAL='17'\n" } },
		{ "has no first process", { .ns = two, .six = SIX(1, "1"), .global = GLOBAL_PID } },
		{ "another NSPID", { .ns = "TYPE='ns' ID='1' KIND='pid'\n", .six = SIX(1, "2"), .global = GLOBAL_PID } },
		{ "number 1 is there twice", { .ns = "TYPE='ns' ID='1' KIND='pid'\n", .six = SIX(1, "1") "TYPE='thread' TID='7' NSPID='1'\n", .global = GLOBAL_PID } },
		{ "not below that of its parent", { .ns = two, .five = FIVE(1, "1", ""), .six = SIX(2, "1"), .global = PROCS("1", "1") } },
		{ "not below that of its parent", { .ns = "TYPE='ns' ID='1' KIND='pid'\n", .five = FIVE(1, "1", ""),
			.global = "TYPE='proc' PID='5' PPID='0' PGID='5' SID='5' NSPID='1' EXIT_SIGNAL='17' MAIN='1'\nTYPE='proc' PID='6' PPID='5' PGID='5' SID='5' EXIT_SIGNAL='17'\n" } },
		{ "PID_CHILDREN names no such", { .ns = "", .five = "TYPE='namespaces' PID_CHILDREN='1'\n" } },
		{ "PID_CHILDREN is not below", { .ns = nested, .five = FIVE(1, "1", ""), .six = "TYPE='namespaces' PID='2' PID_CHILDREN='1'\nTYPE='thread' TID='6' NSPID='2 1'\n",
			.global = PROCS("1", "2 1") } },
		{ "number 1 is there twice", { .ns = nested, .five = FIVE(1, "1", ""), .six = SIX(2, "1 1"), .global = PROCS("1", "1 1") } },
		{ "NSPID does not fit", { .ns = nested, .five = FIVE(1, "1", ""), .six = SIX(2, "2"), .global = PROCS("1", "2") } },
	};

	good(&(struct given){ .ns = nested, .five = FIVE(1, "1", "PID_CHILDREN='2'"), .six = SIX(2, "2 1"), .global = PROCS("1", "2 1") });
	good(&(struct given){ .ns = "TYPE='ns' ID='1' KIND='pid'\n", .six = SIX(1, "1") "TYPE='thread' TID='7' NSPID='2'\n", .global = GLOBAL_PID });
	LIES(v);
}

#define IN1 .five = "TYPE='namespaces' MNT='1'\n"
static void mounts(void)
{
	static const struct lie v[] = {
		{ "MEMBER is missing", { .ns = "TYPE='ns' ID='1' KIND='mnt'\n" ROOT_MOUNT, IN1 } },
		{ "MEMBER is no process", { .ns = "TYPE='ns' ID='1' KIND='mnt' MEMBER='7'\n" ROOT_MOUNT, IN1 } },
		{ "MEMBER is no number", { .ns = "TYPE='ns' ID='1' KIND='mnt' MEMBER='-5'\n" ROOT_MOUNT, IN1 } },
		{ "MEMBER is not in it", { .ns = "TYPE='ns' ID='1' KIND='mnt' MEMBER='6'\n" ROOT_MOUNT, IN1 } },
		{ "has no mounts", { .ns = MNT, IN1 } },
		{ "belongs to no namespace", { .ns = MNT "TYPE='mount' NS='2' ID='1' PARENT='0'\n", IN1 } },
		{ "NS is no number", { .ns = MNT "TYPE='mount' NS='-1' ID='1' PARENT='0'\n", IN1 } },
		{ "mounts out of order", { .ns = MNT MOUNT(2, 0, "/", "SOURCE='/'"), IN1 } },
		{ "mounts out of order", { .ns = MNT ROOT_MOUNT ROOT_MOUNT, IN1 } },
		{ "mounts out of order", { .ns = MNT ROOT_MOUNT MOUNT(2, 2, "/a", "SOURCE='/'"), IN1 } },
		{ "mounts out of order", { .ns = MNT ROOT_MOUNT MOUNT(2, 3, "/a", "SOURCE='/'") MOUNT(3, 2, "/a", "SOURCE='/'"), IN1 } },
		{ "mounts out of order", { .ns = MNT ROOT_MOUNT MOUNT(2, 0, "/", "SOURCE='/'"), IN1 } },
		{ "PARENT is no number", { .ns = MNT MOUNT(1, -1, "/", "SOURCE='/'"), IN1 } },
		{ "ID is no number", { .ns = MNT MOUNT(8193, 0, "/", "SOURCE='/'"), IN1 } },
		{ "the first mount must be the root", { .ns = MNT MOUNT(1, 0, "/mnt", "SOURCE='/'"), IN1 } },
		{ "is no plain absolute path", { .ns = MNT ROOT_MOUNT MOUNT(2, 1, "a", "SOURCE='/'"), IN1 } },
		{ "is no plain absolute path", { .ns = MNT ROOT_MOUNT MOUNT(2, 1, "", "SOURCE='/'"), IN1 } },
		{ "is no plain absolute path", { .ns = MNT ROOT_MOUNT MOUNT(2, 1, "/a/../b", "SOURCE='/'"), IN1 } },
		{ "is no plain absolute path", { .ns = MNT ROOT_MOUNT MOUNT(2, 1, "/a/..", "SOURCE='/'"), IN1 } },
		{ "is no plain absolute path", { .ns = MNT ROOT_MOUNT MOUNT(2, 1, "/./a", "SOURCE='/'"), IN1 } },
		{ "is no plain absolute path", { .ns = MNT ROOT_MOUNT MOUNT(2, 1, "/a//b", "SOURCE='/'"), IN1 } },
		{ "is no plain absolute path", { .ns = MNT ROOT_MOUNT MOUNT(2, 1, "/a/", "SOURCE='/'"), IN1 } },
		{ "is no plain absolute path", { .ns = MNT ROOT_MOUNT MOUNT(2, 1, "/a", "SOURCE='/../etc'"), IN1 } },
		{ "is no plain absolute path", { .ns = MNT ROOT_MOUNT MOUNT(2, 1, "/a", "SOURCE='etc'"), IN1 } },
		{ "SOURCE is missing", { .ns = MNT ROOT_MOUNT MOUNT(2, 1, "/a", ""), IN1 } },
		{ "is not below the mount that it is on", { .ns = MNT ROOT_MOUNT MOUNT(2, 1, "/a", "SOURCE='/'") MOUNT(3, 2, "/ab", "SOURCE='/'"), IN1 } },
		{ "mount option \"suid\"", { .ns = MNT "TYPE='mount' NS='1' ID='1' PARENT='0' POINT='/' OPTIONS='suid' SOURCE='/' ROOT='/' FSTYPE='x' DEVNAME='x'\n", IN1 } },
		{ "SB names no file system before it", { .ns = MNT ROOT_MOUNT MOUNT(2, 1, "/a", "SB='1'"), IN1 } },
		{ "SB names no file system before it", { .ns = MNT ROOT_MOUNT MOUNT(2, 1, "/a", "SB='1'") TMPFS, IN1 } },
		{ "SB is no number", { .ns = MNT ROOT_MOUNT MOUNT(2, 1, "/a", "SB='-1'"), IN1 } },
		{ "SB out of order", { .ns = MNT TMPFS TMPFS ROOT_MOUNT, IN1 } },
		{ "file system type \"ext4\" is not known", { .ns = MNT "TYPE='mount_sb' NS='1' SB='1' FSTYPE='ext4' DEVNAME='/dev/vda' SUPER='rw'\n" ROOT_MOUNT, IN1 } },
		{ "no raw member global", { .ns = MNT "TYPE='mount_sb' NS='1' SB='1' FSTYPE='tmpfs' DEVNAME='t' SUPER='rw' CONTENT='global'\n" ROOT_MOUNT, IN1 } },
		{ "no raw member gone", { .ns = MNT "TYPE='mount_sb' NS='1' SB='1' FSTYPE='tmpfs' DEVNAME='t' SUPER='rw' CONTENT='gone'\n" ROOT_MOUNT, IN1 } },
		{ "CONTENT is that of a tmpfs", { .ns = MNT "TYPE='mount_sb' NS='1' SB='1' FSTYPE='tmpfs' DEVNAME='t' SUPER='rw'\n" ROOT_MOUNT, IN1 } },
		{ "CONTENT is that of a tmpfs", { .ns = MNT "TYPE='mount_sb' NS='1' SB='1' FSTYPE='proc' DEVNAME='t' SUPER='rw' CONTENT='raw'\n" ROOT_MOUNT, IN1 } },
		{ "LAYERS must be", { .ns = MNT "TYPE='mount_sb' NS='1' SB='1' FSTYPE='overlay' DEVNAME='t' SUPER='rw' LAYERS='mars'\n" ROOT_MOUNT, IN1 } },
		{ "a hidden mount comes with its parent", { .ns = MNT ROOT_MOUNT MOUNT(2, 1, "/a", "SOURCE='/a' COPY='1' HIDDEN='1'"), IN1 } },
		{ "a hidden mount comes with its parent", { .ns = MNT MOUNT(1, 0, "/", "SOURCE='/' HIDDEN='1'"), IN1 } },
		{ "GROUP or MASTER", { .ns = MNT MOUNT(1, 0, "/", "SOURCE='/' GROUP='2'"), IN1 } },
		{ "GROUP or MASTER", { .ns = MNT MOUNT(1, 0, "/", "SOURCE='/' MASTER='1'"), IN1 } },
		{ "GROUP or MASTER", { .ns = MNT MOUNT(1, 0, "/", "SOURCE='/' GROUP='1' MASTER='1'"), IN1 } },
		{ "GROUP is no number", { .ns = MNT MOUNT(1, 0, "/", "SOURCE='/' GROUP='-1'"), IN1 } },
		{ "MASTER is no number", { .ns = MNT MOUNT(1, 0, "/", "SOURCE='/' MASTER='hosts'"), IN1 } },
		{ "SB names no tmpfs", { .ns = MNT "TYPE='mount_socket' NS='1' SB='1' PATH='s' MODE='0' UID='0' GID='0' MTIME='1.0'\n" ROOT_MOUNT, IN1 } },
		{ "PATH", { .ns = MNT TMPFS "TYPE='mount_socket' NS='1' SB='1' PATH='/s' MODE='0' UID='0' GID='0' MTIME='1.0'\n" ROOT_MOUNT, IN1 } },
		{ "MODE is no number", { .ns = MNT TMPFS "TYPE='mount_socket' NS='1' SB='1' PATH='s' MODE='0xf000' UID='0' GID='0' MTIME='1.0'\n" ROOT_MOUNT, IN1 } },
		{ "MTIME", { .ns = MNT TMPFS "TYPE='mount_socket' NS='1' SB='1' PATH='s' MODE='0' UID='0' GID='0' MTIME='1.-1'\n" ROOT_MOUNT, IN1 } },
		{ "MTIME", { .ns = MNT TMPFS "TYPE='mount_socket' NS='1' SB='1' PATH='s' MODE='0' UID='0' GID='0' MTIME='9223372036854775807.0'\n" ROOT_MOUNT, IN1 } },
		{ "MTIME", { .ns = MNT TMPFS "TYPE='mount_socket' NS='1' SB='1' PATH='s' MODE='0' UID='0' GID='0' MTIME='1.5x'\n" ROOT_MOUNT, IN1 } },
	};

	good(&(struct given){ .ns = MNT TMPFS "TYPE='mount_socket' NS='1' SB='1' PATH='s' MODE='0x1ff' UID='0' GID='0' MTIME='-1.999999999'\n" ROOT_MOUNT
		MOUNT(2, 1, "/mnt", "SB='1' GROUP='2'") MOUNT(3, 2, "/mnt/a", "SB='1' MASTER='2'"), IN1 });
	LIES(v);
	lie(&(struct given){ .ns = MNT ROOT_MOUNT MOUNT(2, 1, "/a", "SOURCE='/no/such/place'"), IN1 }, EX_MISFIT, "/no/such/place");
}

/* One namespace with its links; a second one; ours. */
static void links(void)
{
#define END(more) LINK(1, 2, "v", "veth", "PEER='9' PEER_NS='0'") LINK(0, 9, "xos-no-such9", "veth", more)
	static const struct lie v[] = {
		{ "INDEX of a link", { .ns = NET LINK(1, 1, "x", "ifb", "") } },
		{ "INDEX of a link", { .ns = NET LINK(1, 0, "x", "ifb", "") } },
		{ "INDEX is no number", { .ns = NET LINK(1, -1, "x", "ifb", "") } },
		{ "INDEX is no number", { .ns = NET LINK(1, 2147483648, "x", "ifb", "") } },
		{ "NAME of a link", { .ns = NET LINK(1, 2, "x", "ifb", "") LINK(1, 3, "x", "ifb", "") } },
		{ "NAME of a link", { .ns = NET LINK(1, 2, "", "ifb", "") } },
		{ "NAME of a link", { .ns = NET LINK(1, 2, "0123456789abcdef", "ifb", "") } },
		{ "NAME of a link", { .ns = NET LINK(1, 2, "..", "ifb", "") } },
		{ "NAME of a link", { .ns = NET LINK(1, 2, "a/b", "ifb", "") } },
		{ "NAME of a link", { .ns = NET LINK(1, 2, "a%d", "ifb", "") } },
		{ "KIND of a link", { .ns = NET LINK(1, 2, "x", "vxlan", "") } },
		{ "KIND of a link", { .ns = NET LINK(1, 2, "x", "loopback", "") } },
		{ "KIND of a link", { .ns = "TYPE='ns' ID='1' KIND='net'\n" LINK(1, 1, "lo", "ifb", "") } },
		{ "ALTNAMES of a link", { .ns = NET LINK(1, 2, "x", "ifb", "ALTNAMES='a/b'") } },
		{ "ALTNAMES of a link", { .ns = NET LINK(1, 2, "x", "ifb",
			"ALTNAMES='0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789'") } },
		{ "ALIAS is too long", { .ns = NET LINK(1, 2, "x", "ifb", "ALIAS='aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
			"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'") } },
		{ "MAC has the wrong length", { .ns = NET LINK(1, 2, "x", "ifb", "MAC='000000000000000000000000000000000000000000000000000000000000000000'") } },
		{ "MTU is no number", { .ns = NET LINK(1, 2, "x", "ifb", "MTU='-1'") } },
		{ "of a record link is not known", { .ns = NET LINK(1, 2, "x", "ifb", "COLOUR='red'") } },
		{ "ADDR_GEN_MODE of a link", { .ns = NET LINK(1, 2, "x", "ifb", "ADDR_GEN_MODE='4'") } },
		{ "MASTER of a link", { .ns = NET LINK(1, 2, "x", "ifb", "MASTER='3'") } },
		{ "MASTER of a link", { .ns = NET LINK(1, 2, "x", "ifb", "MASTER='1'") } },
		{ "linkdata of a link", { .ns = NET LINK(1, 2, "br", "bridge", "") } },
		{ "of a record linkdata is not known", { .ns = NET LINK(1, 2, "br", "bridge", "") "TYPE='linkdata' NS='1' INDEX='2' COLOUR='red'\n" } },
		{ "INDEX of a link", { .ns = NET "TYPE='linkdata' NS='1' INDEX='2'\n" } },
		{ "PEER of a link", { .ns = NET LINK(1, 2, "a", "veth", "") } },
		{ "PEER of a link", { .ns = NET LINK(1, 2, "a", "veth", "PEER='3'") } },
		{ "PEER of a link", { .ns = NET LINK(1, 2, "a", "veth", "PEER='2'") } },
		{ "PEER of a link", { .ns = NET LINK(1, 2, "a", "veth", "PEER='3'") LINK(1, 3, "b", "veth", "PEER='4'") LINK(1, 4, "c", "veth", "PEER='3'") } },
		{ "PEER of a link", { .ns = NET LINK(1, 2, "a", "veth", "PEER='3'") LINK(1, 3, "b", "ifb", "") } },
		{ "PEER of a link", { .ns = NET LINK(1, 2, "a", "veth", "PEER='3' PEER_NS='7'") } },
		{ "PEER of a link", { .ns = NET LINK(1, 2, "a", "veth", "PEER='3' PEER_NS='2'") NET2 LINK(2, 3, "b", "veth", "PEER='2'") } },
		{ "LINK of a link", { .ns = NET LINK(1, 2, "m", "macvlan", "") "TYPE='linkdata' NS='1' INDEX='2'\n" } },
		{ "LINK of a link", { .ns = NET LINK(1, 2, "m", "macvlan", "LINK='2'") "TYPE='linkdata' NS='1' INDEX='2'\n" } },
		{ "LINK of a link", { .ns = NET LINK(1, 2, "m", "macvlan", "LINK='3' LINK_NS='0'") "TYPE='linkdata' NS='1' INDEX='2'\n" } },
		/* What is not connected says so of itself: it would be looked for in ours. */
		{ "PEER or LINK of a link", { .ns = NET LINK(1, 2, "sit0", "sit", "PEER='9' PEER_NS='0'") LINK(0, 9, "lo", "veth", "") } },
		{ "PEER or LINK of a link", { .ns = NET LINK(1, 2, "x", "ifb", "PEER='9' PEER_NS='0'") LINK(0, 9, "lo", "veth", "") } },
		{ "PEER or LINK of a link", { .ns = NET LINK(1, 2, "x", "ifb", "LINK='1' LINK_NS='0'") "TYPE='lower' NS='0' INDEX='1' NAME='lo'\n" } },
		{ "INDEX of a link", { .ns = NET LINK(0, 9, "lo", "veth", "") } },
		{ "INDEX of a link", { .ns = NET END("") LINK(1, 3, "w", "veth", "PEER='9' PEER_NS='0'") } },
		{ "PEER of a link", { .ns = NET LINK(1, 2, "v", "veth", "PEER='9' PEER_NS='0'") } },
		{ "KIND of a link", { .ns = NET LINK(1, 2, "v", "veth", "PEER='9' PEER_NS='0'") LINK(0, 9, "xos-no-such9", "ifb", "") } },
		{ "MASTER of a link", { .ns = NET END("MASTER='1'") } },
		{ "MASTER_NAME of a link", { .ns = NET END("MASTER_NAME='a/b'") } },
		{ "MASTER_NAME of a link", { .ns = NET LINK(1, 2, "x", "ifb", "MASTER_NAME='br0'") } },
		{ "belongs to no link of the job", { .ns = NET END("") "TYPE='addr' NS='0' FAMILY='2' PREFIX='8' SCOPE='0' INDEX='1' LOCAL='10.0.0.1' FLAGS='0x0'\n" } },
		{ "belongs to no link of the job", { .ns = NET END("") "TYPE='netconf' NS='0' PATH='ipv4/ip_forward' VALUE='1'\n" } },
		{ "belongs to no link of the job", { .ns = NET END("") "TYPE='netconf' NS='0' PATH='ipv4/conf/lo/forwarding' VALUE='1'\n" } },
		{ "belongs to no link of the job", { .ns = NET END("") "TYPE='netconf' NS='0' PATH='ipv4/conf/all/forwarding' VALUE='1'\n" } },
		{ "belongs to no link of the job", { .ns = NET END("") "TYPE='rule' NS='0' FAMILY='2' ACTION='1' TOS='0' DST_LEN='0' SRC_LEN='0' FLAGS='0x0' TABLE='1'\n" } },
		{ "malformed PATH", { .ns = NET "TYPE='netconf' NS='1' PATH='ipv4/../../kernel/core_pattern' VALUE='1'\n" } },
		{ "malformed PATH", { .ns = NET "TYPE='netconf' NS='1' PATH='/ipv4' VALUE='1'\n" } },
		{ "malformed PATH", { .ns = NET "TYPE='netconf' NS='1' PATH='' VALUE='1'\n" } },
		{ "is no address", { .ns = NET "TYPE='addr' NS='1' FAMILY='2' PREFIX='8' SCOPE='0' INDEX='1' LOCAL='10.0.0' FLAGS='0x0'\n" } },
		{ "PREFIX is no number", { .ns = NET "TYPE='addr' NS='1' FAMILY='2' PREFIX='-8' SCOPE='0' INDEX='1' LOCAL='10.0.0.1' FLAGS='0x0'\n" } },
	};

	good(&(struct given){ .ns = NET BRIDGE(1, 2, "br") LINK(1, 3, "a", "veth", "PEER='4' MASTER='2'") LINK(1, 4, "b", "veth", "PEER='3' ALTNAMES='x y'")
		"TYPE='portdata' NS='1' INDEX='3' COST='5'\n" LINK(1, 5, "c", "veth", "PEER='2' PEER_NS='2'") NET2 LINK(2, 2, "d", "veth", "PEER='5' PEER_NS='1'") });
	good(&(struct given){ .ns = NET END("") "TYPE='netconf' NS='0' PATH='ipv4/conf/xos-no-such9/forwarding' VALUE='1'\n" });
	LIES(v);
}

static void routes(void)
{
#define ROUTE(more) .ns = NET "TYPE='route' NS='1' FAMILY='2' KIND='1' SCOPE='0' PROTOCOL='3' TOS='0' DST_LEN='0' SRC_LEN='0' FLAGS='0x0' TABLE='254' " more "\n"
	static const struct lie v[] = {
		{ "malformed HOPS", { ROUTE("HOPS='1'") } },
		{ "malformed HOPS", { ROUTE("HOPS='1 0 0 - 0'") } },
		{ "malformed HOPS", { ROUTE("HOPS='1 257 0 - 0'") } },
		{ "malformed HOPS", { ROUTE("HOPS='-1 1 0 - 0'") } },
		{ "malformed HOPS", { ROUTE("HOPS='1 1 1 - 0'") } },
		{ "malformed HOPS", { ROUTE("HOPS='1 1 0 nowhere 0'") } },
		{ "malformed HOPS", { ROUTE("HOPS='1 1 0 - 0 0'") } },
		{ "malformed METRICS", { ROUTE("METRICS='mtu'") } },
		{ "malformed METRICS", { ROUTE("METRICS='mtu=-1'") } },
		{ "malformed METRICS", { ROUTE("METRICS='speed=1'") } },
		{ "malformed METRICS", { ROUTE("METRICS='congctl=0123456789abcdef'") } },
		{ "malformed VIA", { ROUTE("VIA='x'") } },
		{ "OIF is no number", { ROUTE("OIF='-1'") } },
		{ "FLAGS is out of range", { .ns = NET "TYPE='route' NS='1' FAMILY='2' KIND='1' SCOPE='0' PROTOCOL='3' TOS='0' DST_LEN='0' SRC_LEN='0' FLAGS='0x100' TABLE='254'\n" } },
		{ "malformed route", { .ns = NET "TYPE='route' NS='1' FAMILY='7' KIND='1' SCOPE='0' PROTOCOL='3' TOS='0' DST_LEN='0' SRC_LEN='0' FLAGS='0x0' TABLE='254'\n" } },
	};
	char many[32000] = NET "TYPE='route' NS='1' FAMILY='2' KIND='1' SCOPE='0' PROTOCOL='3' TOS='0' DST_LEN='0' SRC_LEN='0' FLAGS='0x0' TABLE='254' HOPS='1 1 0 - 0";

	good(&(struct given){ ROUTE("HOPS='1 256 4 10.0.0.1 7,2 1 0 fe80::1 0' METRICS='mtu=1300 lock=4 congctl=reno'") });
	LIES(v);
	for (int i = 0; i < 1024; i++)
		strcat(many, ",1 1 0 - 0");
	strcat(many, "'\n");
	lie(&(struct given){ .ns = many }, EX_BAD_IMAGE, "malformed HOPS");
}

static void untrusted(void)
{
	static const struct given v[] = {
		{ .ns = "TYPE='ns' ID='1' KIND='ipc'\n" }, { .ns = NET }, { .ns = MNT ROOT_MOUNT }, { .ns = USER(1, "") },
		{ .ns = "TYPE='ns' ID='1' KIND='user' OWNER='65534' UID_MAP='0 0 1\\0012' GID_MAP='' SETGROUPS='deny'\n" },
		{ .ns = "TYPE='ns' ID='1' KIND='user' OWNER='65534' UID_MAP='0 65534 2\\0012' GID_MAP='' SETGROUPS='deny'\n" },
		{ .ns = "TYPE='ns' ID='1' KIND='user' OWNER='65534' UID_MAP='' GID_MAP='0 0 1\\0012' SETGROUPS='deny'\n" },
		{ .ns = "TYPE='ns' ID='1' KIND='user' OWNER='65534' UID_MAP='' GID_MAP='' SETGROUPS='allow'\n" },
	};
	struct given own = { .ns = "TYPE='ns' ID='1' KIND='user' OWNER='65534' UID_MAP='5 65534 1\\0012' GID_MAP='' SETGROUPS='deny'\nTYPE='ns' ID='2' KIND='ipc' USER='1'\n",
		.owner = 65534 };

	if (geteuid() == 65534)
		return;
	good(&own);
	for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
		struct given g = v[i];

		g.owner = 65534;
		lie(&g, EX_PERM, "65534");
	}
}

int main(void)
{
	RUN(trees);
	RUN(depth);
	RUN(maps);
	RUN(processes);
	RUN(mounts);
	RUN(links);
	RUN(routes);
	RUN(untrusted);
	return unit_status();
}
