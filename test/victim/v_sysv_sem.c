/* System V semaphores: values, key, mode, who was last; what SEM_UNDO gives back at exit, of several processes and of a
 * thread's process, up to the ends of its range; one that waits. */
#include "victim.h"
#include "ipckey.h"

#include <pthread.h>
#include <signal.h>
#include <sys/sem.h>
#include <sys/wait.h>

enum { N = 100 };
union semun { int val; struct semid_ds *buf; unsigned short *array; };

static int set, other;

static void op(int id, int sem, int by, int flags)
{
	struct sembuf b = { (unsigned short)sem, (short)by, (short)flags };

	VICTIM_TRY(semop(id, &b, 1));
}
static int value(int id, int sem) { return semctl(id, sem, GETVAL); }

/* Gives back: semaphore 1 -3, 2 +4, 3 +1000, 4 -32767. Ends when semaphore 0 of `other` goes up. */
static int holder(void)
{
	op(set, 1, 3, SEM_UNDO);
	op(set, 2, -4, SEM_UNDO);
	op(set, 3, -500, SEM_UNDO);
	op(set, 3, -500, SEM_UNDO);
	op(set, 4, 32767, SEM_UNDO);
	op(other, 1, 1, 0);
	struct sembuf b = { 0, -1, 0 };
	if (semop(other, &b, 1)) {
		victim_put_("fail", "the waiting process was interrupted");
		return 1;
	}
	return 0;
}

static void *idle(void *arg)
{
	for (;;)
		victim_pause();
	return arg;
}

int main(int argc, char **argv)
{
	victim_init(argc, argv);
	unsigned short val[N], now[N];
	struct semid_ds ds, was;
	pthread_t t;
	int st;

	set = semget(ipc_key(0), N, 0640 | IPC_CREAT | IPC_EXCL);
	other = semget(ipc_key(1), 2, 0600 | IPC_CREAT | IPC_EXCL);
	VICTIM_CHECK(set >= 0 && other >= 0);
	for (int i = 0; i < N; i++)
		val[i] = (unsigned short)(i * 7);
	val[3] = 2000;
	val[4] = 0;
	val[5] = 32767;
	VICTIM_TRY(semctl(set, 0, SETALL, (union semun){ .array = val }));
	VICTIM_TRY(semctl(other, 0, SETVAL, (union semun){ .val = 0 }));
	VICTIM_TRY(semctl(other, 1, SETVAL, (union semun){ .val = 0 }));
	VICTIM_CHECK(!pthread_create(&t, NULL, idle, NULL));
	op(set, 6, 1, SEM_UNDO);
	op(set, 99, -1, SEM_UNDO);
	pid_t pid = fork();
	VICTIM_TRY(pid);
	if (!pid)
		_exit(holder());
	op(other, 1, -1, 0);
	VICTIM_TRY(semctl(set, 0, IPC_STAT, (union semun){ .buf = &was }));
	VICTIM_TRY(semctl(set, 0, GETALL, (union semun){ .array = val }));

	victim_wait();

	VICTIM_TRY(semctl(set, 0, IPC_STAT, (union semun){ .buf = &ds }));
	VICTIM_CHECK(ds.sem_perm.mode == was.sem_perm.mode && ds.sem_perm.__key == was.sem_perm.__key && ds.sem_nsems == N);
	VICTIM_TRY(semctl(set, 0, GETALL, (union semun){ .array = now }));
	for (int i = 0; i < N; i++)
		if (now[i] != val[i])
			victim_fail("semaphore %d is %u, not %u", i, now[i], val[i]);
	VICTIM_CHECK(semctl(set, 1, GETPID) == pid && semctl(set, 6, GETPID) == getpid());
	op(other, 0, 1, 0);
	VICTIM_TRY(waitpid(pid, &st, 0));
	VICTIM_CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 0);
	if (value(set, 1) != val[1] - 3 || value(set, 2) != val[2] + 4 || value(set, 3) != val[3] + 1000 || value(set, 4) != 0)
		victim_fail("after its exit: %d %d %d %d", value(set, 1), value(set, 2), value(set, 3), value(set, 4));
	/* Our own undo values are there too: a child cannot tell, so they must show in what semop refuses. */
	op(set, 7, 1, 0);
	struct sembuf over = { 6, -32767, SEM_UNDO | IPC_NOWAIT };
	VICTIM_CHECK(semop(set, &over, 1) < 0);
	VICTIM_TRY(semctl(set, 0, IPC_RMID) | semctl(other, 0, IPC_RMID));
	return victim_ok();
}
