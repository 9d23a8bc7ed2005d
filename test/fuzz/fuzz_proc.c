/* fuzz_proc: any bytes as files of /proc/PID, and as numbers of users. The first byte chooses. */
#include "common/num.h"
#include "common/proc.h"
#include "res/mntns_int.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void maps(char *text, bool smaps)
{
	struct err e = ERR_INIT;
	struct proc_maps m;
	size_t i;

	if (proc_maps_parse(&m, text, smaps, &e) < 0) {
		must(e.code == EX_FAILED && e.msg[0] && !m.v);
		return;
	}
	for (i = 0; i < m.n; i++) {
		must(m.v[i].start < m.v[i].end && m.v[i].path);
		must(strlen(m.v[i].vmflags) < sizeof(m.v[i].vmflags));
		proc_map_flag(&m.v[i], "dc");
	}
	proc_maps_free(&m);
}

static void status(const char *text)
{
	struct err e = ERR_INIT;
	struct proc_status s;

	if (proc_status_parse(&s, text, &e) < 0)
		return;
	must(s.nnspid >= 1 && s.nnspid <= PROC_MAX_NSDEPTH && s.ngroups <= PROC_MAX_GROUPS);
	proc_status_free(&s);
}

/* text is taken. */
static void mounts(char *text)
{
	struct err e = ERR_INIT;
	struct mtab t;

	if (mtab_parse(&t, text, &e) < 0)
		must(e.code && e.msg[0]);
	else
		for (size_t i = 0; i < t.n; i++) {
			const struct minfo *m = &t.v[i];

			must(m->root && m->point[0] == '/' && m->type && m->source && m->opts && m->super);
			must(m->up == MNTNS_NONE || (m->up < i && t.v[m->up].id == m->parent));
		}
	mtab_free(&t);
}

static void numbers(const char *text)
{
	char name[16];
	uint64_t u;
	int64_t v;
	int sig, back;

	if (num_u64(text, 99, &u) == 0)
		must(u <= 99);
	if (num_i64(text, -9, 9, &v) == 0)
		must(v >= -9 && v <= 9);
	num_size(text, &u);
	num_duration(text, &u);
	if (num_signal(text, &sig) == 0)
		must(num_signal(num_signame(sig, name, sizeof(name)), &back) == 0 && back == sig);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	struct proc_stat st;
	char *text;

	if (size < 1)
		return 0;
	text = malloc(size); /* exact, so that ASan sees reads past the end */
	if (!text)
		return 0;
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	switch (data[0]) {
	case 's':
		if (proc_stat_parse(&st, text, &e) == 0)
			must(strlen(st.comm) < sizeof(st.comm) && st.pid >= 0);
		break;
	case 't':
		status(text);
		break;
	case 'i':
		mounts(text);
		return 0;
	case 'm':
	case 'M':
		maps(text, data[0] == 'M');
		break;
	default:
		numbers(text);
		break;
	}
	free(text);
	return 0;
}
