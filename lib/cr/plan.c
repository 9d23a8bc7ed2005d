/* plan: the image's records into processes and threads, checked before anything is created. */
#include "cr/internal.h"
#include "common/cleanup.h"
#include "res/files.h"
#include "res/mm.h"
#include "res/proc_ops.h"

#include <signal.h>
#include <string.h>
#include <time.h>

enum { PID_LIMIT = 1 << 22, ZOMBIE_WAIT_MS = 5000 };

struct rproc *restore_find(struct restore *r, pid_t pid)
{
	size_t lo = 0, hi = r->nbypid;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (r->bypid[mid]->pid == pid)
			return r->bypid[mid];
		if (r->bypid[mid]->pid < pid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

struct rfile *restore_file(struct restore *r, uint32_t id)
{
	return id && id <= r->nfiles ? &r->files[id - 1] : NULL;
}

static long find_rec(const struct rec_list *l, const char *type, size_t from, size_t end, struct rec *out)
{
	for (size_t i = from; i < end; i++) {
		const struct rec_item *it = &l->v[i];
		if (it->n && !strcmp(it->f[0].key, "TYPE") && !strcmp(it->f[0].val, type)) {
			rec_list_get(l, i, out);
			return (long)i;
		}
	}
	return -1;
}

long rproc_rec(const struct rproc *p, const char *type, size_t from, struct rec *out)
{
	return find_rec(&p->recs, type, from, p->nown, out);
}

long rthread_rec(const struct rproc *p, const struct rthread *th, const char *type, size_t from, struct rec *out)
{
	return find_rec(&p->recs, type, from > th->first ? from : th->first, th->last, out);
}

int restore_path(struct restore *r, const char *path, char *out, struct err *e)
{
	const char *best = NULL, *to = NULL;

	/* The kernel's names of files are absolute and have no dots: others were not written by a checkpoint. */
	if (path[0] != '/' || strstr(path, "/../") || (strlen(path) >= 3 && !strcmp(path + strlen(path) - 3, "/..")))
		return err_set(e, EX_BAD_IMAGE, "\"%s\" is no path that a checkpoint writes", path);
	for (size_t i = 0; i < r->o->nreloc; i++) {
		const char *old = r->o->reloc[i].id;
		size_t n = strlen(old);

		while (n && old[n - 1] == '/')
			n--;
		if (!strncmp(path, old, n) && (!path[n] || path[n] == '/') && (!best || n > strlen(best))) {
			best = old;
			to = r->o->reloc[i].target;
		}
	}
	size_t skip = best ? strlen(best) : 0;
	while (skip && best[skip - 1] == '/')
		skip--;
	if ((size_t)snprintf(out, PATH_MAX, "%s%s", to ? to : "", path + skip) >= PATH_MAX)
		return err_set(e, EX_BAD_IMAGE, "path is too long");
	return 0;
}

const char *restore_subst(struct restore *r, const char *id)
{
	for (size_t i = 0; i < r->o->nsubst; i++)
		if (!strcmp(r->o->subst[i].id, id))
			return r->o->subst[i].target;
	return NULL;
}

/* ---- */

static struct rproc *proc_add(struct restore *r, struct err *e)
{
	struct rproc *p = calloc(1, sizeof *p), **v;

	if (p && (r->nprocs & (r->nprocs - 1)) == 0) {
		v = realloc(r->procs, (r->nprocs ? 2 * r->nprocs : 1) * sizeof *v);
		if (!v) {
			free(p);
			p = NULL;
		} else {
			r->procs = v;
		}
	}
	if (!p) {
		err_set(e, EX_FAILED, "out of memory");
		return NULL;
	}
	r->procs[r->nprocs++] = p;
	return p;
}

static int parse_nspid(const struct rec *rec, pid_t *out, size_t *n, struct err *e)
{
	const char *s = rec_find(rec, "NSPID");
	char *end;

	for (*n = 0; s && *s; s = *end ? end + 1 : end) {
		long v = strtol(s, &end, 10);

		if (end == s || v < 1 || v > PID_LIMIT || (*end && *end != ' ') || *n == PROC_MAX_NSDEPTH - 1)
			return err_set(e, EX_BAD_IMAGE, "line %zu: NSPID", rec->line);
		out[(*n)++] = (pid_t)v;
	}
	return 0;
}

static int parse_proc(struct restore *r, const struct rec *rec, struct err *e)
{
	struct rproc *p = proc_add(r, e);
	uint64_t main;

	if (!p || rec_int(rec, "PID", 2, PID_LIMIT, &p->pid, e) || rec_int(rec, "PPID", 0, PID_LIMIT, &p->ppid, e) ||
	    rec_int(rec, "PGID", 0, PID_LIMIT, &p->pgid, e) || rec_int(rec, "SID", 0, PID_LIMIT, &p->sid, e) ||
	    rec_int(rec, "EXIT_SIGNAL", 0, 64, &p->exit_signal, e) || rec_u64_or(rec, "MAIN", 1, 0, &main, e))
		return -1;
	p->main = main;
	if (parse_nspid(rec, p->nspid, &p->nnspid, e))
		return -1;
	if (rec_find(rec, "FOREGROUND") && rec_int(rec, "FOREGROUND", 0, PID_LIMIT, &r->foreground, e))
		return -1;
	if (rec_find(rec, "ZOMBIE")) {
		p->zombie = true;
		if (rec_int(rec, "ZOMBIE", 0, 0xffff, &p->exit_status, e))
			return -1;
	}
	return 0;
}

static int cmp_pid(const void *a, const void *b)
{
	return (*(struct rproc *const *)a)->pid - (*(struct rproc *const *)b)->pid;
}

static int index_pids(struct restore *r, struct err *e)
{
	free(r->bypid);
	r->bypid = malloc(r->nprocs * sizeof *r->bypid);
	if (!r->bypid)
		return err_set(e, EX_FAILED, "out of memory");
	memcpy(r->bypid, r->procs, r->nprocs * sizeof *r->bypid);
	r->nbypid = r->nprocs;
	qsort(r->bypid, r->nbypid, sizeof *r->bypid, cmp_pid);
	for (size_t i = 1; i < r->nbypid; i++)
		if (r->bypid[i]->pid == r->bypid[i - 1]->pid)
			return err_set(e, EX_BAD_IMAGE, "global: process %d is there twice", r->bypid[i]->pid);
	return 0;
}

static int add_child(struct rproc *p, struct rproc *c, struct err *e)
{
	struct rproc **v = realloc(p->children, (p->nchildren + 1) * sizeof *v);

	if (!v)
		return err_set(e, EX_FAILED, "out of memory");
	p->children = v;
	v[p->nchildren++] = c;
	c->parent = p;
	return 0;
}

/* From those without parent downwards: whoever is not reached is below himself. */
static int check_tree(struct restore *r, struct err *e)
{
	AUTO_FREE struct rproc **v = malloc(r->nprocs * sizeof *v);
	size_t n = 0, depth = 0;

	if (!v)
		return err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; i < r->nprocs; i++)
		if (!r->procs[i]->parent)
			v[n++] = r->procs[i];
	for (size_t at = 0, level_end = n; at < n; at++) {
		if (at == level_end) {
			level_end = n;
			depth++;
		}
		for (size_t i = 0; i < v[at]->nchildren; i++)
			v[n++] = v[at]->children[i];
	}
	if (n < r->nprocs)
		return err_set(e, EX_BAD_IMAGE, "global: %zu processes are their own ancestors", r->nprocs - n);
	return depth > TREE_DEPTH ? err_set(e, EX_BAD_IMAGE, "global: the process tree is more than %d deep", TREE_DEPTH) : 0;
}

static int link_tree(struct restore *r, struct err *e)
{
	for (size_t i = 0; i < r->nprocs; i++) {
		struct rproc *p = r->procs[i], *q;

		if (!p->ppid)
			continue;
		q = restore_find(r, p->ppid);
		if (!q || q->zombie)
			return err_set(e, EX_BAD_IMAGE, "global: process %d has no living parent %d", p->pid, p->ppid);
		if (add_child(q, p, e))
			return -1;
	}
	return check_tree(r, e);
}

/* A first thread that has exited goes behind those that live. */
static int take_exited(struct rproc *p, struct err *e)
{
	struct rthread exited = p->thr[0];
	struct rec rec;

	for (size_t i = 0; i < p->nthr; i++) {
		rec_list_get(&p->recs, p->thr[i].first, &rec);
		if (rec_find(&rec, "EXITED") && (i || p->nthr == 1))
			return err_set(e, EX_BAD_IMAGE, "task_%d: thread %d has exited", p->pid, p->thr[i].tid);
	}
	rec_list_get(&p->recs, exited.first, &rec);
	if (!rec_find(&rec, "EXITED"))
		return 0;
	if (rec_int(&rec, "EXITED", 0, 0xffff, &p->leader_status, e))
		return -1;
	if (p->leader_status & 0xff)
		return err_set(e, EX_BAD_IMAGE, "line %zu: EXITED", rec.line);
	p->headless = true;
	p->nthr--;
	memmove(p->thr, p->thr + 1, p->nthr * sizeof *p->thr);
	p->thr[p->nthr] = exited;
	return 0;
}

static int parse_threads(struct rproc *p, struct err *e)
{
	struct rec rec;
	size_t n = 0, k = 0;

	for (long i = find_rec(&p->recs, "thread", 0, p->recs.n, &rec); i >= 0;
	     i = find_rec(&p->recs, "thread", (size_t)i + 1, p->recs.n, &rec))
		n++;
	if (!n || n > RES_MAX_THREADS)
		return err_set(e, EX_BAD_IMAGE, "task_%d: %zu threads", p->pid, n);
	p->thr = calloc(n, sizeof *p->thr);
	if (!p->thr)
		return err_set(e, EX_FAILED, "out of memory");
	for (long i = find_rec(&p->recs, "thread", 0, p->recs.n, &rec); i >= 0;
	     i = find_rec(&p->recs, "thread", (size_t)i + 1, p->recs.n, &rec), k++) {
		struct rthread *th = &p->thr[k];

		if (rec_int(&rec, "TID", 2, PID_LIMIT, &th->tid, e) || parse_nspid(&rec, th->nspid, &th->nnspid, e))
			return -1;
		if (th->nnspid != p->nnspid)
			return err_set(e, EX_BAD_IMAGE, "task_%d: thread %d has another number of PID namespaces", p->pid, th->tid);
		th->first = (size_t)i;
		th->index = k;
		if (k)
			p->thr[k - 1].last = (size_t)i;
	}
	p->nthr = n;
	p->thr[n - 1].last = p->recs.n;
	p->nown = p->thr[0].first;
	if (p->thr[0].tid != p->pid)
		return err_set(e, EX_BAD_IMAGE, "task_%d: its first thread is %d", p->pid, p->thr[0].tid);
	return take_exited(p, e);
}

static int check_types(struct rproc *p, struct err *e)
{
	static const char *const own[] = { "fd", "lock", "mm", "vma", "vdso", "pages", "cow", "guard", "thread", "ctty", NULL };

	for (size_t i = 0; i < p->recs.n; i++) {
		struct rec rec;
		bool known = false;

		rec_list_get(&p->recs, i, &rec);
		for (size_t k = 0; own[k] && !known; k++)
			known = !strcmp(own[k], rec_type(&rec));
		for (size_t k = 0; res_proc_types[k] && !known; k++)
			known = !strcmp(res_proc_types[k], rec_type(&rec));
		if (!known)
			return err_set(e, EX_BAD_IMAGE, "task_%d: line %zu: record \"%s\" is not known to this version", p->pid,
				       rec.line, rec_type(&rec));
	}
	return 0;
}

static int parse_task(struct restore *r, struct rproc *p, struct err *e)
{
	const struct image_member *m;
	char name[32];

	if (p->zombie)
		return 0;
	snprintf(name, sizeof name, "task_%d", p->pid);
	m = image_find(r->img, name);
	if (!m || !m->text)
		return err_set(e, EX_BAD_IMAGE, "the image has no member %s", name);
	if (rec_list_parse(&p->recs, m->text, m->size, RES_MAX_RECORDS, e))
		return err_prefix(e, "%s", name);
	return parse_threads(p, e) || check_types(p, e) ? -1 : 0;
}

/* The session that p must be born in: its own, or, when it starts one itself, that of its children who are older than that.
 * -1: any. */
static pid_t birth_sid(const struct rproc *p)
{
	if (p->sid != p->pid)
		return p->sid;
	for (size_t i = 0; i < p->nchildren; i++) {
		pid_t s = p->children[i]->sid;
		if (s != p->pid && s != p->children[i]->pid)
			return s;
	}
	return -1;
}

static int cmp_number(const void *a, const void *b) { return *(const pid_t *)a - *(const pid_t *)b; }

/* Sessions whose leader has gone need one for the time of the restart. */
static int add_helpers(struct restore *r, struct err *e)
{
	AUTO_FREE pid_t *lost = malloc(r->nprocs * sizeof *lost);
	size_t n = 0;

	if (!lost)
		return err_set(e, EX_FAILED, "out of memory");
	for (size_t i = 0; i < r->nprocs; i++) {
		struct rproc *p = r->procs[i];

		p->birth = birth_sid(p);
		if (!p->parent && p->birth > 0 && !restore_find(r, p->birth))
			lost[n++] = p->birth;
	}
	if (!n)
		return 0;
	qsort(lost, n, sizeof *lost, cmp_number);
	for (size_t i = 0; i < n; i++) {
		struct rproc *h;

		if (i && lost[i] == lost[i - 1])
			continue;
		h = proc_add(r, e);
		if (!h)
			return -1;
		h->pid = h->pgid = h->sid = lost[i];
		h->birth = -1;
		h->helper = true;
		h->exit_signal = SIGCHLD;
	}
	return index_pids(r, e);
}

int plan_make(struct restore *r, struct restart_run *run, struct err *e)
{
	const struct image_member *m = image_find(r->img, "global");

	if (!m || !m->text)
		return err_set(e, EX_BAD_IMAGE, "the image has no member `global`");
	if (rec_list_parse(&r->global_list, m->text, m->size, RES_MAX_PROCS, e))
		return err_prefix(e, "global");
	for (size_t i = 0; i < r->global_list.n; i++) {
		struct rec rec;

		rec_list_get(&r->global_list, i, &rec);
		if (strcmp(rec_type(&rec), "proc"))
			return err_set(e, EX_BAD_IMAGE, "global: line %zu: record \"%s\" is not known", rec.line, rec_type(&rec));
		if (parse_proc(r, &rec, e))
			return err_prefix(e, "global");
	}
	if (!r->nprocs)
		return err_set(e, EX_BAD_IMAGE, "global: no process");
	if (index_pids(r, e) || link_tree(r, e))
		return -1;
	for (size_t i = 0; i < r->nprocs; i++)
		if (parse_task(r, r->procs[i], e))
			return -1;
	return add_helpers(r, e);
}

/* Of the job that was just ended, somebody else (init, when its supervisor was killed) may have yet to collect processes: they
 * are waited for, `left` ms in all. */
static int pid_free(pid_t pid, int *left, struct err *e)
{
	static const struct timespec ms = { .tv_nsec = 1000000 };
	struct proc_stat st;
	char path[32];

	snprintf(path, sizeof path, "/proc/%d", pid);
	for (; !access(path, F_OK); (*left)--) {
		if (*left <= 0 || proc_stat_read(&st, pid, 0, NULL) || (st.state != 'Z' && st.state != 'X'))
			break;
		nanosleep(&ms, NULL);
	}
	if (access(path, F_OK))
		return 0;
	if (proc_stat_read(&st, pid, 0, NULL))
		return err_set(e, EX_BUSY, "PID %d is in use", pid);
	err_set(e, EX_BUSY, "PID %d is in use by \"%s\"", pid, st.comm);
	err_hint(e, "-N restarts the job in a PID namespace of its own; -r replaces a job that still runs");
	return -1;
}

int plan_check_pids(struct restore *r, struct err *e)
{
	int left = ZOMBIE_WAIT_MS;

	for (size_t i = 0; i < r->nprocs; i++) {
		struct rproc *p = r->procs[i];

		if (pid_free(p->pid, &left, e) || (p->pgid && !restore_find(r, p->pgid) && pid_free(p->pgid, &left, e)))
			return -1;
		for (size_t k = !p->headless; k < p->nthr; k++)
			if (pid_free(p->thr[k].tid, &left, e))
				return -1;
	}
	return 0;
}

void plan_free(struct restore *r)
{
	for (size_t i = 0; i < r->nprocs; i++) {
		struct rproc *p = r->procs[i];
		rec_list_free(&p->recs);
		free(p->thr);
		free(p->fds);
		free(p->children);
		free(p);
	}
	free(r->procs);
	free(r->bypid);
	free(r->cut);
	rec_list_free(&r->global_list);
	r->procs = r->bypid = NULL;
	r->nprocs = 0;
}
