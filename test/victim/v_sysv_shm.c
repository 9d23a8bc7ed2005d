/* System V shared memory: between processes, read-only and at several places, in parts (munmap, mprotect), removed while
 * attached, locked, with a key, attached by nobody, of odd size, with owner and mode changed. */
#include "victim.h"
#include "ipckey.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>

enum { PG = 4096, BIG = 64 };

static int made(key_t key, size_t n, int mode)
{
	int id = shmget(key, n, mode | IPC_CREAT | IPC_EXCL);

	VICTIM_TRY(id);
	return id;
}

static struct shmid_ds look(int id)
{
	struct shmid_ds ds;

	VICTIM_TRY(shmctl(id, IPC_STAT, &ds));
	return ds;
}

static volatile sig_atomic_t faulted;
static void fault(int sig)
{
	faulted = 1;
	(void)sig;
	_exit(faulted ? 33 : 0);
}

static int writing_faults(char *p)
{
	pid_t pid = fork();
	int st;

	if (!pid) {
		signal(SIGSEGV, fault);
		*(volatile char *)p = 1;
		_exit(0);
	}
	VICTIM_TRY(waitpid(pid, &st, 0));
	return WIFEXITED(st) && WEXITSTATUS(st) == 33;
}

/* The child writes what the parent reads, and the other way round. */
static int child(char *shared)
{
	while (!shared[1])
		victim_pause();
	shared[2] = (char)(shared[1] + 1);
	return 0;
}

int main(int argc, char **argv)
{
	victim_init(argc, argv);
	key_t key = ipc_key(0);
	int shared = made(ipc_key(1), BIG * PG, 0600), keyed = made(key, 3 * PG + 17, 0640), removed = made(IPC_PRIVATE, PG, 0600),
	    loose = made(ipc_key(2), 5 * PG, 0600), parts = made(ipc_key(3), 8 * PG, 0600);
	char *s = shmat(shared, NULL, 0), *ro = shmat(shared, NULL, SHM_RDONLY), *k = shmat(keyed, NULL, 0),
	     *r = shmat(removed, NULL, 0), *l = shmat(loose, NULL, 0), *p = shmat(parts, NULL, 0);
	struct shmid_ds was[5];
	int st, locked;

	VICTIM_CHECK(s != (char *)-1 && ro != (char *)-1 && k != (char *)-1 && r != (char *)-1 && l != (char *)-1 && p != (char *)-1);
	strcpy(s + 40 * PG, "far inside");
	strcpy(k + 3 * PG, "with key");
	strcpy(r, "removed");
	strcpy(l + 2 * PG, "attached by nobody");
	for (int i = 0; i < 8; i++)
		p[i * PG] = (char)('a' + i);
	VICTIM_TRY(mprotect(p + PG, PG, PROT_READ));
	VICTIM_TRY(munmap(p, PG));
	VICTIM_TRY(munmap(p + 4 * PG, PG));
	struct shmid_ds ds = look(keyed);
	ds.shm_perm.mode = 0604;
	VICTIM_TRY(shmctl(keyed, IPC_SET, &ds));
	VICTIM_TRY(shmdt(l));
	VICTIM_TRY(shmctl(removed, IPC_RMID, NULL));
	locked = !shmctl(shared, SHM_LOCK, NULL);
	pid_t pid = fork();
	VICTIM_TRY(pid);
	if (!pid)
		_exit(child(s));
	int ids[] = { shared, keyed, removed, loose, parts };
	for (int i = 0; i < 5; i++)
		was[i] = look(ids[i]);

	victim_wait();

	for (int i = 0; i < 5; i++) {
		struct shmid_ds now = look(ids[i]);
		if (now.shm_nattch != was[i].shm_nattch || now.shm_segsz != was[i].shm_segsz ||
		    now.shm_perm.mode != was[i].shm_perm.mode || now.shm_perm.__key != was[i].shm_perm.__key ||
		    now.shm_perm.uid != was[i].shm_perm.uid || now.shm_perm.cuid != was[i].shm_perm.cuid ||
		    now.shm_perm.cgid != was[i].shm_perm.cgid || now.shm_perm.gid != was[i].shm_perm.gid)
			victim_fail("segment %d: attached %lu (%lu), size %zu (%zu), mode %o (%o), key %x (%x), creator %u (%u)", i,
				    now.shm_nattch, was[i].shm_nattch, now.shm_segsz, was[i].shm_segsz, now.shm_perm.mode,
				    was[i].shm_perm.mode, now.shm_perm.__key, was[i].shm_perm.__key, now.shm_perm.cuid,
				    was[i].shm_perm.cuid);
	}
	VICTIM_CHECK(!locked || look(shared).shm_perm.mode & SHM_LOCKED);
	VICTIM_CHECK(!strcmp(ro + 40 * PG, "far inside"));
	s[PG] = 7;
	VICTIM_CHECK(ro[PG] == 7);
	VICTIM_CHECK(writing_faults(ro) && mprotect(ro, PG, PROT_READ | PROT_WRITE) < 0 && errno == EACCES);
	VICTIM_CHECK(!strcmp(k + 3 * PG, "with key") && shmget(key, 1, 0) == keyed);
	VICTIM_CHECK(!strcmp(r, "removed"));
	for (int i = 1; i < 8; i++)
		VICTIM_CHECK(i == 4 || p[i * PG] == 'a' + i);
	VICTIM_CHECK(writing_faults(p + PG));
	s[1] = 5;
	VICTIM_TRY(waitpid(pid, &st, 0));
	VICTIM_CHECK(s[2] == 6);
	l = shmat(loose, NULL, 0);
	VICTIM_CHECK(l != (char *)-1 && !strcmp(l + 2 * PG, "attached by nobody") && l[0] == 0);
	/* The first page is gone: the rest of the attachment is still found from where it would begin. */
	VICTIM_TRY(shmdt(p));
	VICTIM_CHECK(look(parts).shm_nattch == 0);
	VICTIM_TRY(shmdt(ro));
	VICTIM_TRY(shmdt(r));
	VICTIM_CHECK(shmctl(removed, IPC_STAT, &ds) < 0);
	VICTIM_TRY(shmctl(shared, IPC_RMID, NULL) | shmctl(keyed, IPC_RMID, NULL) | shmctl(loose, IPC_RMID, NULL) |
		   shmctl(parts, IPC_RMID, NULL));
	return victim_ok();
}
