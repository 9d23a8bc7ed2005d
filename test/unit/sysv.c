/* Records of System V objects: what is there as the kernel tells it and back, and what a hostile image may say. */
#include "res/sysv.h"
#include "unit.h"

#include <string.h>
#include <unistd.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/shm.h>

#define OWNER " UID=\"0\" GID=\"0\" CUID=\"0\" CGID=\"0\""
#define HEAD "ID=\"3\" KEY=\"0x1\" MODE=\"0x180\"" OWNER

static bool takes(const char *line, struct err *e)
{
	struct sysv_list l = { 0 };
	bool ok;

	err_clear(e);
	ok = !sysv_parse_list(&l, line, strlen(line), e);
	sysv_list_free(&l);
	return ok;
}

static void good(void)
{
	struct err e = ERR_INIT;

	CHECK(takes("TYPE=\"sysvshm\" " HEAD " SIZE=\"4096\" COUNT=\"0\" TIME=\"0\" PID=\"1\" LAST=\"0\"\n", &e));
	CHECK(takes("TYPE=\"sysvsem\" " HEAD " SIZE=\"3\" COUNT=\"0\" TIME=\"0\" VALUES=\"0,32767,5\" PIDS=\"0,1,2147483647\"\n", &e));
	CHECK(takes("TYPE=\"sysvmsg\" " HEAD " SIZE=\"0\" COUNT=\"0\" TIME=\"0\" PID=\"1\" LAST=\"0\"\n", &e));
}

static void bad(void)
{
	static const char *const lines[] = {
		"TYPE=\"sysvshm\" " HEAD " SIZE=\"0\" COUNT=\"0\" TIME=\"0\" PID=\"1\" LAST=\"0\"\n",
		"TYPE=\"sysvshm\" " HEAD " SIZE=\"0xffffffffffffffff\" COUNT=\"0\" TIME=\"0\" PID=\"1\" LAST=\"0\"\n",
		"TYPE=\"sysvshm\" ID=\"-1\" KEY=\"0x1\" MODE=\"0x180\"" OWNER " SIZE=\"1\" COUNT=\"0\" TIME=\"0\" PID=\"1\" LAST=\"0\"\n",
		"TYPE=\"sysvshm\" ID=\"1\" KEY=\"0x1\" MODE=\"0x18000\"" OWNER " SIZE=\"1\" COUNT=\"0\" TIME=\"0\" PID=\"1\" LAST=\"0\"\n",
		"TYPE=\"sysvshm\" " HEAD " SIZE=\"1\" COUNT=\"0\" TIME=\"0\" PID=\"-1\" LAST=\"0\"\n",
		"TYPE=\"sysvsem\" " HEAD " SIZE=\"0\" COUNT=\"0\" TIME=\"0\" VALUES=\"\" PIDS=\"\"\n",
		"TYPE=\"sysvsem\" " HEAD " SIZE=\"65537\" COUNT=\"0\" TIME=\"0\" VALUES=\"\" PIDS=\"\"\n",
		"TYPE=\"sysvsem\" " HEAD " SIZE=\"2\" COUNT=\"0\" TIME=\"0\" VALUES=\"1\" PIDS=\"1,1\"\n",
		"TYPE=\"sysvsem\" " HEAD " SIZE=\"2\" COUNT=\"0\" TIME=\"0\" VALUES=\"1,\" PIDS=\"1,1\"\n",
		"TYPE=\"sysvsem\" " HEAD " SIZE=\"2\" COUNT=\"0\" TIME=\"0\" VALUES=\"1,2,3\" PIDS=\"1,1\"\n",
		"TYPE=\"sysvsem\" " HEAD " SIZE=\"2\" COUNT=\"0\" TIME=\"0\" VALUES=\"1,32768\" PIDS=\"1,1\"\n",
		"TYPE=\"sysvsem\" " HEAD " SIZE=\"2\" COUNT=\"0\" TIME=\"0\" VALUES=\"1,-1\" PIDS=\"1,1\"\n",
		"TYPE=\"sysvsem\" " HEAD " SIZE=\"2\" COUNT=\"0\" TIME=\"0\" VALUES=\"1,1\" PIDS=\"1,99999999999999999999\"\n",
		"TYPE=\"sysvsem\" " HEAD " SIZE=\"2\" COUNT=\"0\" TIME=\"0\" VALUES=\"1,1\"\n",
		"TYPE=\"sysvmsg\" " HEAD " COUNT=\"0\" TIME=\"0\" PID=\"1\" LAST=\"0\"\n",
		"TYPE=\"sysvother\" " HEAD " SIZE=\"1\" COUNT=\"0\" TIME=\"0\" PID=\"1\" LAST=\"0\"\n",
	};
	struct err e = ERR_INIT;

	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
		if (takes(lines[i], &e) || e.code != EX_BAD_IMAGE)
			CHECK_STR(lines[i], "refused as malformed");
}

static void scan(void)
{
	unsigned short v[2] = { 7, 8 };
	struct buf b = BUF_INIT;
	struct sysv_list l = { 0 };
	struct sysv_obj *o;
	struct err e = ERR_INIT;
	int set = semget(IPC_PRIVATE, 2, 0640), seg = shmget(IPC_PRIVATE, 5000, 0600);

	CHECK(set >= 0 && seg >= 0 && !semctl(set, 0, SETALL, v));
	CHECK(!sysv_scan(&b, &e) && !sysv_parse_list(&l, buf_str(&b), b.len, &e));
	o = sysv_find(&l, SYSV_SEM, set);
	CHECK(o && o->size == 2 && o->val && o->val[0] == 7 && o->val[1] == 8 && o->last[1] == getpid() && o->mode == 0640);
	o = sysv_find(&l, SYSV_SHM, seg);
	CHECK(o && o->size == 5000 && o->pid[0] == getpid() && o->count == 0 && o->uid == geteuid());
	CHECK(sysv_alive(o, getpid()) && !sysv_alive(o, 0));
	o->time -= 1000000000;
	CHECK(!sysv_alive(o, getpid())); /* used long before this process was */
	CHECK(!sysv_find(&l, SYSV_MSG, 0x7fffffff));
	sysv_list_free(&l);
	buf_free(&b);
	semctl(set, 0, IPC_RMID);
	shmctl(seg, IPC_RMID, NULL);
}

int main(void)
{
	RUN(good);
	RUN(bad);
	RUN(scan);
	return unit_status();
}
