/* checkpoint: the order of a checkpoint.
 *
 *   stop everybody -> look -> check (all reasons) -> ask each process about itself -> texts -> pages -> end
 *   AFTER=RUN:        let go, then make the version durable (the pause does not wait for fsync)
 *   AFTER=KILL, STOP: make the version durable while everybody stands, then kill or stop: nothing of the job's life
 *                     after the checkpoint is lost or happens twice. */
#include "cr/internal.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "res/creds.h"
#include "res/dump_raw.h"
#include "res/fd_tcp.h"
#include "res/files.h"
#include "res/keyring.h"
#include "res/member_group.h"
#include "res/mm.h"
#include "res/ns_obj.h"
#include "res/sysv.h"

#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

enum { PASSING_TRIES = 30 };             /* what prevents it only for a moment is given about a second */

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* What a first thread that has exited took with it. */
static void headless_check(struct dump *d, struct dproc *p)
{
	int status = p->headless ? p->thr[p->nthr].stat.exit_code : 0;

	if (status & 0xff)
		refuse(d, p, "its first thread was ended by signal %d while others go on", status & 0x7f);
	if (p->t->files_hidden)
		refuse(d, p, "its first thread has exited while others go on (before Linux 6.9 its descriptors cannot be taken)");
}

static int check_all(struct dump *d, struct err *e)
{
	for (size_t i = 0; i < d->nprocs; i++)
		if (!d->procs[i]->zombie)
			headless_check(d, d->procs[i]);
	if (ns_collect(d, e) || files_check(d, e))
		return -1;
	for (size_t i = 0; i < d->nprocs; i++) {
		struct dproc *p = d->procs[i];

		if (p->zombie)
			continue;
		if (mm_classify(d, p, e))
			return err_prefix(e, "pid %d", p->vpid);
		for (size_t k = 0; res_table[k]; k++)
			if (res_table[k]->check && res_table[k]->check(d, p, e))
				return err_prefix(e, "pid %d: %s", p->vpid, res_table[k]->name);
	}
	return 0;
}

static int ask_thread(struct dump *d, struct dproc *p, size_t i, struct err *e)
{
	struct dthread *th = &p->thr[i];
	int rc = thread_record(d, p, th, e);

	if (!rc && i)
		rc = remote_begin(&th->rem, p->t, i, e);
	for (size_t k = 0; !rc && res_table[k]; k++)
		if (res_table[k]->dump_thread && res_table[k]->dump_thread(d, p, th, e))
			rc = err_prefix(e, "%s", res_table[k]->name);
	if (i && th->rem && remote_end(th->rem, rc ? NULL : e))
		rc = -1;
	th->rem = NULL;
	return rc ? err_prefix(e, "thread %d", th->vtid) : 0;
}

/* A first thread that has exited cannot be asked: securebits, which count no more, are those of the thread that is. */
static int ask_for_exited(struct dump *d, struct dproc *p, struct dthread *th, struct err *e)
{
	long securebits;

	rec_begin(&p->out, "thread");
	rec_put_i64(&p->out, "TID", th->vtid);
	rec_put_i64(&p->out, "EXITED", th->stat.exit_code);
	rec_end(&p->out);
	return res_comm.dump_thread(d, p, th, e) || res_sched.dump_thread(d, p, th, e) ||
	       remote_one(p->rem, "prctl(PR_GET_SECUREBITS)", &securebits, e, SYS_prctl, PR_GET_SECUREBITS, 0, 0, 0, 0, 0) ||
	       creds_put_thread(p, th, securebits, e) ? -1 : 0;
}

/* Everything that p itself must be asked; its pages are only counted here. */
static int ask(struct dump *d, struct dproc *p, struct err *e)
{
	int rc;

	if (mm_scan(d, p, e) || mm_find_cow(d, p, e) || remote_begin(&p->rem, p->t, 0, e))
		return -1;
	rc = mm_dump(d, p, e) || shm_scan(d, p, e) ? -1 : 0;
	for (size_t k = 0; !rc && res_table[k]; k++)
		if (res_table[k]->dump && res_table[k]->dump(d, p, e))
			rc = err_prefix(e, "%s", res_table[k]->name);
	if (!rc && p->headless)
		rc = ask_for_exited(d, p, &p->thr[p->nthr], e);
	/* The leader is under control already; the others come one by one after it. */
	if (!rc)
		rc = ask_thread(d, p, 0, e);
	if (remote_end(p->rem, rc ? NULL : e))
		rc = -1;
	p->rem = NULL;
	for (size_t i = 1; i < p->nthr && !rc; i++)
		rc = ask_thread(d, p, i, e);
	return rc;
}

/* Parents first: which pages are a parent's is asked of the parent's list. */
static int ask_tree(struct dump *d, pid_t vppid, size_t depth, bool *done, struct err *e)
{
	for (size_t i = 0; i < d->nprocs; i++) {
		struct dproc *p = d->procs[i];

		if (done[i] || p->zombie || p->vppid != vppid)
			continue;
		done[i] = true;
		if (ask(d, p, e))
			return err_prefix(e, "pid %d", p->vpid);
		if (depth == TREE_DEPTH)
			return err_set(e, EX_CANNOT_CKPT, "the process tree is more than %d deep", TREE_DEPTH);
		if (ask_tree(d, p->vpid, depth + 1, done, e))
			return -1;
	}
	return 0;
}

/* What only the processes know and may prevent a checkpoint. One whose filter might answer for it (seccomp) is refused already. */
static int question_all(struct dump *d, struct err *e)
{
	for (size_t i = 0; i < d->nprocs; i++) {
		struct dproc *p = d->procs[i];
		int rc = 0;

		if (p->zombie || p->t->seccomp_unsuspended)
			continue;
		if (remote_begin(&p->rem, p->t, 0, e))
			return err_prefix(e, "pid %d", p->vpid);
		for (size_t k = 0; !rc && res_table[k]; k++)
			if (res_table[k]->ask && res_table[k]->ask(d, p, e))
				rc = err_prefix(e, "%s", res_table[k]->name);
		if (remote_end(p->rem, rc ? NULL : e))
			rc = -1;
		p->rem = NULL;
		if (rc)
			return err_prefix(e, "pid %d", p->vpid);
	}
	return 0;
}

static int ask_all(struct dump *d, struct err *e)
{
	AUTO_FREE bool *done = calloc(d->nprocs, sizeof *done);

	if (!done)
		return err_set(e, EX_FAILED, "out of memory");
	if (files_dump(d, e))
		return -1;
	return ask_tree(d, 0, 0, done, e);
}

static int write_image(struct dump *d, const struct ckpt_opts *o, struct ckpt_result *res, struct err *e)
{
	if (image_writer_new(&d->img, o->fd, e))
		return -1;
	d->progress = o->progress;
	if (o->progress)
		progress_start(o->progress, "checkpoint", mm_bytes(d));
	if (texts_write(d, o, res->date, e) || dump_raws_write(d, e) || shm_write_pages(d, e) ||
	    sysv_write_pages(d, e))
		return -1;
	for (size_t i = 0; i < d->nprocs; i++)
		if (!d->procs[i]->zombie && mm_write_pages(d, d->procs[i], e))
			return -1;
	if (image_finish(d->img, e))
		return -1;
	res->bytes = image_written(d->img);
	return 0;
}

static void report(struct dump *d, struct buf *b)
{
	for (size_t i = 0; i < d->nprocs; i++) {
		struct dproc *p = d->procs[i];
		buf_printf(b, "pid %d: %s%s, %zu thread%s, %llu KiB\n", p->vpid, p->stat.comm, p->zombie ? " (zombie)" : "",
			   p->nthr, p->nthr == 1 ? "" : "s", (unsigned long long)p->status.vm_rss_kb);
	}
	for (size_t i = 0; i < d->nfiles; i++) {
		struct dfile *f = d->files[i];
		buf_printf(b, "file %u: pid %d: fd %d: %s %s\n", f->id, f->p->vpid, f->fd, f->ops->type, f->link);
	}
	member_groups_report(d, b);
}

static int run(struct dump *d, const struct ckpt_opts *o, struct ckpt_result *res, struct err *e)
{
	if (members_stop(d, o, e) || members_look(d, o, e) || check_all(d, e) || question_all(d, e))
		return -1;
	res->nprocs = d->nprocs;
	for (size_t i = 0; i < d->nprocs; i++)
		res->nthreads += d->procs[i]->nthr;
	if (o->check_only)
		report(d, &res->report);
	if (d->nrefusals) {
		res->refusals = d->refusals;
		memset(&d->refusals, 0, sizeof d->refusals);
		return err_set(e, EX_CANNOT_CKPT, "cannot be checkpointed: %zu reason%s", d->nrefusals,
			       d->nrefusals == 1 ? "" : "s");
	}
	if (o->check_only)
		return 0;
	return ask_all(d, e) || write_image(d, o, res, e) ? -1 : 0;
}

static void dump_free(struct dump *d)
{
	image_writer_free(d->img);
	dump_raws_free(d);
	mm_free(d);
	sysv_free(d);
	keyring_dump_free(d);
	ns_dump_free(d);
	files_free(d);
	members_free(d);
	buf_free(&d->refusals);
	member_groups_dump_free(d);
	free(d->groups);
	free(d);
}

/* again: what prevents it may be gone in a moment. */
static int attempt(const struct ckpt_opts *o, int number, struct ckpt_result *res, bool *again, struct err *e)
{
	struct dump *d = calloc(1, sizeof *d);
	enum ckpt_after after = CKPT_RUN;
	uint64_t start = now_us();
	int rc;

	if (!d)
		return err_set(e, EX_FAILED, "out of memory");
	res->date = time(NULL);
	d->attempt = number;
	d->identifier = o->identifier;
	d->kills = o->after == CKPT_KILL;
	d->tcp_close = o->tcp_close;
	d->unix_connect = o->unix_connect;
	d->unix_close = o->unix_close;
	d->ended = o->ended;
	d->hold = o->hold;
	d->ctx = o->ctx;
	rc = run(d, o, res, e);
	if (d->tcp && d->tcp->locked)
		snprintf(res->netlock, sizeof res->netlock, "%s", d->tcp->lock);
	*again = rc && d->nrefusals && d->nrefusals == d->npassing;
	if (!rc && !o->check_only && o->after != CKPT_RUN) {
		rc = o->commit ? o->commit(o->ctx, e) : 0;
		if (!rc)
			after = o->after;
		if (after == CKPT_KILL)
			tcp_before_kill(d);
	}
	members_release(d, after, o->kill_signal);
	tcp_lock_end(d, after == CKPT_KILL);
	res->pause_us = now_us() - start;
	dump_free(d);
	return rc;
}

int cr_checkpoint(const struct ckpt_opts *o, struct ckpt_result *res, struct err *e)
{
	uint64_t start = now_us();
	bool again = true;
	int rc = -1;

	for (int tries = 1; again; tries++) {
		/* It goes on for longer and longer in between. */
		struct timespec moment = { .tv_nsec = tries * 2000000 };

		memset(res, 0, sizeof *res);
		rc = attempt(o, tries, res, &again, e);
		if (!again || tries == PASSING_TRIES)
			break;
		ckpt_result_free(res);
		err_clear(e);
		nanosleep(&moment, NULL);
	}
	if (!rc && !o->check_only && o->after == CKPT_RUN && o->commit)
		rc = o->commit(o->ctx, e);
	res->total_us = now_us() - start;
	if (o->progress)
		progress_end(o->progress);
	return rc;
}

void ckpt_result_free(struct ckpt_result *res)
{
	buf_free(&res->refusals);
	buf_free(&res->report);
}
