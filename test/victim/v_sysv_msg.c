/* System V message queues: order, types, empty and long messages, limits, mode, who was last; a process that waits for one. */
#include "victim.h"
#include "ipckey.h"

#include <sys/msg.h>
#include <sys/wait.h>

struct m { long type; char text[8000]; };

static void put(int q, long type, const char *text, size_t n)
{
	struct m m = { .type = type };

	memcpy(m.text, text, n);
	VICTIM_TRY(msgsnd(q, &m, n, IPC_NOWAIT));
}

static void expect(int q, long want, long type, const char *text, size_t n)
{
	struct m m;
	ssize_t k = msgrcv(q, &m, sizeof m.text, want, IPC_NOWAIT);

	if (k != (ssize_t)n || m.type != type || memcmp(m.text, text, n))
		victim_fail("message of type %ld: %zd bytes of type %ld, errno %d", want, k, k < 0 ? 0 : m.type, errno);
}

int main(int argc, char **argv)
{
	victim_init(argc, argv);
	int q = msgget(ipc_key(0), 0620 | IPC_CREAT | IPC_EXCL), wait = msgget(ipc_key(1), 0600 | IPC_CREAT | IPC_EXCL), st;
	struct msqid_ds was, ds;
	char big[7000];

	VICTIM_CHECK(q >= 0 && wait >= 0);
	memset(big, 'x', sizeof big);
	big[6999] = 'y';
	put(q, 9, "gone", 4);
	expect(q, 0, 9, "gone", 4);
	put(q, 5, "first", 5);
	put(q, 0x7fffffffffffffff, "", 0);
	put(q, 1, big, sizeof big);
	put(q, 5, "a\0b\n\"", 5);
	VICTIM_TRY(msgctl(q, IPC_STAT, &ds));
	ds.msg_qbytes = 9999;
	VICTIM_TRY(msgctl(q, IPC_SET, &ds));
	pid_t pid = fork();
	VICTIM_TRY(pid);
	if (!pid) {
		struct m m;
		ssize_t n = msgrcv(wait, &m, sizeof m.text, 3, 0);
		_exit(n == 4 && !memcmp(m.text, "come", 4) ? 0 : 1);
	}
	VICTIM_TRY(msgctl(q, IPC_STAT, &was));

	victim_wait();

	VICTIM_TRY(msgctl(q, IPC_STAT, &ds));
	VICTIM_CHECK(ds.msg_qnum == was.msg_qnum && ds.msg_qbytes == 9999 && ds.msg_perm.mode == was.msg_perm.mode &&
		     ds.msg_perm.__key == was.msg_perm.__key && ds.msg_perm.cuid == was.msg_perm.cuid);
	VICTIM_CHECK(ds.msg_lspid == getpid() && ds.msg_lrpid == getpid());
	expect(q, 5, 5, "first", 5);
	expect(q, 0, 0x7fffffffffffffff, "", 0);
	expect(q, 0, 1, big, sizeof big);
	expect(q, 0, 5, "a\0b\n\"", 5);
	put(wait, 3, "come", 4);
	VICTIM_TRY(waitpid(pid, &st, 0));
	VICTIM_CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 0);
	VICTIM_TRY(msgctl(q, IPC_RMID, NULL) | msgctl(wait, IPC_RMID, NULL));
	return victim_ok();
}
