/* Locked memory: mlock(2), also of what cannot be read and of more than is touched, mlock2(2) on fault, mlockall(2) for what
 * is mapped later, in three processes: all of it, on fault, none. */
#include "vmem.h"

#include <stdbool.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { PART = 64 << 10 };
#define ANY SIZE_MAX
#ifndef MCL_ONFAULT
#define MCL_ONFAULT 4
#endif

static char *whole, *none, *fault;
static int ask[2], answer[2];

/* VmFlags and the resident part of the mapping at p. */
static size_t look(const void *p, char flags[512])
{
	FILE *f = fopen("/proc/self/smaps", "r");
	unsigned long at = (unsigned long)p, start, end;
	bool in = false;
	size_t rss = 0;
	char line[512];

	VICTIM_CHECK(f);
	strcpy(flags, " ");
	while (fgets(line, sizeof line, f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2 && strchr(line, '-') < strchr(line, ' '))
			in = at >= start && at < end;
		else if (in && !strncmp(line, "Rss:", 4))
			rss = strtoul(line + 4, NULL, 10) * 1024;
		else if (in && !strncmp(line, "VmFlags:", 8))
			strcpy(flags, line + 8);
	}
	fclose(f);
	return rss;
}

static void is(const char *what, const void *p, bool locked, bool on_fault, size_t rss)
{
	char flags[512];
	size_t got = look(p, flags);

	if (!!strstr(flags, " lo ") != locked || !!strstr(flags, " lf ") != on_fault || (rss != ANY && got != rss))
		victim_fail("pid %d: %s: %zu of %zu bytes are there, flags%s", getpid(), what, got, rss, flags);
}

/* What is mapped now: with how = MCL_FUTURE..., 0. */
static void future_is(int how)
{
	char *p = vm_anon(PART);

	is("a new mapping", p, how, how & MCL_ONFAULT, how == MCL_FUTURE ? PART : 0);
	VICTIM_TRY(munmap(p, PART));
}

static void child(int how)
{
	char c;

	/* What the parent has locked is not locked in a child, and so with the wish for later. */
	future_is(0);
	if (how)
		VICTIM_TRY(mlockall(how));
	future_is(how);
	VICTIM_CHECK(write(answer[1], "r", 1) == 1);
	VICTIM_CHECK(read(ask[0], &c, 1) == 1);
	future_is(how);
	is("the parent's", whole, false, false, ANY);
	_exit(0);
}

int main(int argc, char **argv)
{
	static const int how[] = { MCL_FUTURE, MCL_FUTURE | MCL_ONFAULT, 0 };
	struct rlimit l;
	int status;
	char c;

	victim_init(argc, argv);
	if (getrlimit(RLIMIT_MEMLOCK, &l) || (l.rlim_cur < 1 << 20))
		victim_skip("RLIMIT_MEMLOCK is %llu", (unsigned long long)l.rlim_cur);
	whole = vm_anon(PART);
	none = vm_map(PART, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
	fault = vm_anon(PART);
	/* So that they stay three mappings. */
	VICTIM_TRY(madvise(whole, PART, MADV_DONTDUMP));
	VICTIM_TRY(madvise(fault, PART, MADV_SEQUENTIAL));
	VICTIM_TRY(mlock(whole, PART));
	VICTIM_CHECK(mlock(none, PART) < 0 && errno == ENOMEM);
	VICTIM_TRY(mlock2(fault, PART, MLOCK_ONFAULT));
	fault[VM_PAGE] = 1;
	char flags[512];
	look(fault, flags);
	if (!strstr(flags, " lf "))
		victim_skip("this kernel does not show what is locked on fault");
	VICTIM_TRY(pipe(ask) | pipe(answer));
	for (int i = 0; i < 3; i++) {
		pid_t pid = fork();

		VICTIM_TRY(pid);
		if (!pid)
			child(how[i]);
		VICTIM_CHECK(read(answer[0], &c, 1) == 1);
	}
	VICTIM_TRY(mlockall(MCL_FUTURE));
	victim_wait();
	is("mlock", whole, true, false, PART);
	is("mlock of PROT_NONE", none, true, false, 0);
	is("mlock2", fault, true, true, VM_PAGE);
	future_is(MCL_FUTURE);
	VICTIM_CHECK(write(ask[1], "xxx", 3) == 3);
	for (int i = 0; i < 3; i++)
		VICTIM_CHECK(wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	return victim_ok();
}
