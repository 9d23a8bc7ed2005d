/* keyring: a session keyring with keys, a ring in it, a link, permissions, a timeout; shared with a child; a child with a thread and
 * a process keyring and a default. Found again by description: serial numbers are new. */
#include "victim.h"

#include <sys/syscall.h>
#include <sys/wait.h>

enum {
	THREAD = -1, PROCESS = -2, SESSION = -3, USER = -4, GET_ID = 0, JOIN = 1, SETPERM = 5, DESCRIBE = 6, LINK = 8, SEARCH = 10, READ = 11,
	SET_DEFAULT = 14, SET_TIMEOUT = 15,
};

static long keyctl(int op, long a, long b, long c, long d) { return syscall(SYS_keyctl, op, a, b, c, d); }
static long add(const char *type, const char *desc, const void *data, size_t n, long ring)
{
	return syscall(SYS_add_key, type, desc, data, n, ring);
}

static long find(long ring, const char *type, const char *desc)
{
	return keyctl(SEARCH, ring, (long)type, (long)desc, 0);
}

static int holds(long key, const char *what, size_t n)
{
	char b[64];

	return keyctl(READ, key, (long)b, sizeof b, 0) == (long)n && !memcmp(b, what, n);
}

static int described(long key, const char *as)
{
	char b[256] = "", want[256];

	if (keyctl(DESCRIBE, key, (long)b, sizeof b - 1, 0) < 0)
		return 0;
	snprintf(want, sizeof want, as, (int)geteuid(), (int)getegid());
	if (strcmp(b, want))
		fprintf(stderr, "%s, not %s\n", b, want);
	return !strcmp(b, want);
}

/* Of its own: nobody else sees it. */
static void own_rings(void)
{
	long t, p;

	VICTIM_TRY(add("user", "mine", "thread", 6, THREAD));
	VICTIM_TRY(add("user", "ours", "process", 7, PROCESS));
	VICTIM_TRY(keyctl(SET_DEFAULT, 2, 0, 0, 0));
	while (!victim_go())
		victim_pause();
	VICTIM_TRY(t = find(THREAD, "user", "mine"));
	VICTIM_TRY(p = find(PROCESS, "user", "ours"));
	VICTIM_CHECK(holds(t, "thread", 6) && holds(p, "process", 7));
	VICTIM_CHECK(find(THREAD, "user", "ours") < 0);
	VICTIM_CHECK(keyctl(SET_DEFAULT, -1, 0, 0, 0) == 2);
	VICTIM_CHECK(holds(find(SESSION, "user", "shared"), "secret\0\n", 8));
	_exit(0);
}

int main(int argc, char **argv)
{
	long ring, key, odd, late;
	int status, p[2];
	pid_t pid, with;
	char c;

	victim_init(argc, argv);
	if (keyctl(JOIN, 0, 0, 0, 0) < 0)
		victim_skip("no session keyring can be joined: %s", strerror(errno));
	VICTIM_TRY(key = add("user", "shared", "secret\0\n", 8, SESSION));
	VICTIM_TRY(ring = add("keyring", "inner", NULL, 0, SESSION));
	VICTIM_TRY(odd = add("user", "odd one: 1;2", "x", 1, ring));
	VICTIM_TRY(keyctl(SETPERM, odd, 0x1f030000, 0, 0));
	VICTIM_TRY(keyctl(LINK, key, ring, 0, 0));
	VICTIM_TRY(keyctl(LINK, USER, ring, 0, 0));
	VICTIM_TRY(late = add("user", "late", "gone soon", 9, SESSION));
	VICTIM_TRY(keyctl(SET_TIMEOUT, late, 3000, 0, 0));
	VICTIM_TRY(pid = fork());
	if (!pid)
		own_rings();
	VICTIM_TRY(pipe(p));
	VICTIM_TRY(with = fork());
	if (!with) {
		close(p[1]);
		/* Sees what its parent adds after the restart: the ring is shared. */
		_exit(read(p[0], &c, 1) == 1 && find(SESSION, "user", "new") > 0 ? 0 : 1);
	}
	victim_wait();

	VICTIM_CHECK((key = find(SESSION, "user", "shared")) > 0 && holds(key, "secret\0\n", 8));
	VICTIM_CHECK(described(key, "user;%d;%d;3f010000;shared"));
	VICTIM_CHECK((ring = find(SESSION, "keyring", "inner")) > 0);
	VICTIM_CHECK((odd = find(ring, "user", "odd one: 1;2")) > 0 && holds(odd, "x", 1));
	VICTIM_CHECK(described(odd, "user;%d;%d;1f030000;odd one: 1;2"));
	VICTIM_CHECK(find(ring, "user", "shared") == key);
	VICTIM_CHECK((late = find(SESSION, "user", "late")) > 0);
	VICTIM_CHECK(described(keyctl(GET_ID, SESSION, 0, 0, 0), "keyring;%d;%d;3f030000;_ses"));
	VICTIM_TRY(add("user", "new", "n", 1, SESSION));
	VICTIM_CHECK(write(p[1], "!", 1) == 1);
	VICTIM_CHECK(waitpid(with, &status, 0) == with && status == 0);
	VICTIM_CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	return victim_ok();
}
