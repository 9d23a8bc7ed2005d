/* What prctl(2) sets, for the process and for each of two threads, and personality(2). */
#include "victim.h"
#include <pthread.h>
#include <signal.h>
#include <sys/personality.h>
#include <sys/prctl.h>

enum { MDWE_SET = 65, MDWE_GET = 66 };
struct state { int persona, death, slack, mce, tsc, dumpable, reaper, thp, mdwe, store_bypass, keepcaps; };
static struct state st[2];
static volatile int step;

static void take(struct state *s)
{
	memset(s, 0, sizeof(*s));
	s->persona = personality(0xffffffff);
	VICTIM_TRY(prctl(PR_GET_PDEATHSIG, &s->death));
	s->slack = prctl(PR_GET_TIMERSLACK);
	s->mce = prctl(PR_MCE_KILL_GET, 0, 0, 0, 0);
	VICTIM_TRY(prctl(PR_GET_TSC, &s->tsc));
	s->dumpable = prctl(PR_GET_DUMPABLE);
	VICTIM_TRY(prctl(PR_GET_CHILD_SUBREAPER, &s->reaper));
	s->thp = prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0);
	s->mdwe = prctl(MDWE_GET, 0, 0, 0, 0);
	s->store_bypass = prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 0, 0, 0);
	s->keepcaps = prctl(PR_GET_KEEPCAPS);
}

static void check(int i)
{
	struct state now;

	take(&now);
#define SAME(f) do { if (now.f != st[i].f) victim_fail("thread %d: " #f " was %d, is %d", i, st[i].f, now.f); } while (0)
	SAME(persona);
	SAME(death);
	SAME(slack);
	SAME(mce);
	SAME(tsc);
	SAME(dumpable);
	SAME(reaper);
	SAME(thp);
	SAME(mdwe);
	SAME(store_bypass);
	SAME(keepcaps);
}

static void *second(void *arg)
{
	VICTIM_TRY(prctl(PR_SET_PDEATHSIG, SIGUSR2));
	VICTIM_TRY(prctl(PR_SET_TIMERSLACK, 777));
	VICTIM_TRY(prctl(PR_SET_KEEPCAPS, 1));
	(void)prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, PR_SPEC_DISABLE, 0, 0);
	step = 1;
	while (step < 2)
		victim_pause();
	take(&st[1]);
	step = 3;
	while (step < 4)
		victim_pause();
	check(1);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t t;

	victim_init(argc, argv);
	VICTIM_CHECK(pthread_create(&t, NULL, second, NULL) == 0);
	while (step < 1)
		victim_pause();
	VICTIM_TRY(prctl(PR_SET_CHILD_SUBREAPER, 1));
	VICTIM_TRY(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
	VICTIM_TRY(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_LATE, 0, 0));
	VICTIM_TRY(personality(ADDR_NO_RANDOMIZE | UNAME26));
	VICTIM_TRY(prctl(PR_SET_PDEATHSIG, SIGWINCH));
	if (geteuid() == 0) /* to others such a process is closed, to xcheckpoint too */
		VICTIM_TRY(prctl(PR_SET_DUMPABLE, 0));
	(void)prctl(MDWE_SET, 1, 0, 0, 0); /* from Linux 6.3 on */
	take(&st[0]);
	step = 2;
	while (step < 3)
		victim_pause();
	victim_wait();
	check(0);
	step = 4;
	VICTIM_CHECK(pthread_join(t, NULL) == 0);
	return victim_ok();
}
