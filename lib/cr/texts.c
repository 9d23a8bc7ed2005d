/* texts: the text members that belong to no single resource: description.txt, global, node_N, and the thread records with
 * their registers. */
#include "cr/internal.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/num.h"
#include "res/member_group.h"
#include "res/mm.h"
#include "res/ns_obj.h"
#include "res/sysv.h"
#include "tracee/recall.h"

#include <string.h>
#include <sys/utsname.h>
#include <time.h>

/* x86_64's registers as ptrace(2) gives them, under their own names. */
#define REG(n) { #n, offsetof(struct user_regs_struct, n) }
static const struct { const char *name; size_t off; } regs_table[] = {
	REG(rax), REG(rbx), REG(rcx), REG(rdx), REG(rsi), REG(rdi), REG(rbp), REG(rsp), REG(r8), REG(r9), REG(r10), REG(r11),
	REG(r12), REG(r13), REG(r14), REG(r15), REG(rip), REG(eflags), REG(orig_rax), REG(cs), REG(ss), REG(ds), REG(es),
	REG(fs), REG(gs), REG(fs_base), REG(gs_base),
};
enum { NREGS = sizeof regs_table / sizeof *regs_table };

static const char *upper(const char *s, char *out)
{
	size_t i;

	for (i = 0; s[i]; i++)
		out[i] = s[i] >= 'a' && s[i] <= 'z' ? (char)(s[i] - 32) : s[i];
	out[i] = 0;
	return out;
}

/* Its numbers in PID namespaces below the reference. */
static void nspid_put(const struct dump *d, struct buf *b, const struct proc_status *s)
{
	AUTO_BUF struct buf v = BUF_INIT;

	for (size_t i = d->level + 1; i < s->nnspid; i++)
		buf_printf(&v, v.len ? " %d" : "%d", s->nspid[i]);
	if (v.len)
		rec_put_str(b, "NSPID", buf_str(&v));
}

int thread_record(struct dump *d, struct dproc *p, struct dthread *th, struct err *e)
{
	struct user_regs_struct regs = th->t->regs;
	struct buf x = BUF_INIT;
	char key[16];

	if (!thread_recall(p->t, &regs))
		log_verbose("pid %d: thread %d: its call with a time-out will end with EINTR after a restart", p->vpid, th->vtid);
	if (thread_get_xstate(th->t, &x, e)) {
		buf_free(&x);
		return -1;
	}
	rec_begin(&p->out, "thread");
	rec_put_i64(&p->out, "TID", th->vtid);
	rec_put_hex(&p->out, "SIGMASK", th->t->sigmask);
	nspid_put(d, &p->out, &th->status);
	if (th->t->group_stopped)
		rec_put_u64(&p->out, "STOPPED", 1);
	for (size_t i = 0; i < NREGS; i++) {
		unsigned long long v;
		memcpy(&v, (const char *)&regs + regs_table[i].off, sizeof v);
		rec_put_hex(&p->out, upper(regs_table[i].name, key), v);
	}
	rec_put_bin(&p->out, "XSTATE", x.p, x.len);
	rec_end(&p->out);
	buf_free(&x);
	return 0;
}

int thread_registers(struct rproc *p, struct rthread *th, struct user_regs_struct *regs, uint64_t *mask, struct buf *xstate,
		     struct err *e)
{
	AUTO_FREE unsigned char *x = malloc(RES_XSTATE_MAX);
	struct rec rec;
	char key[16];
	size_t n;

	if (!x)
		return err_set(e, EX_FAILED, "out of memory");
	rec_list_get(&p->recs, th->first, &rec);
	memset(regs, 0, sizeof *regs);
	for (size_t i = 0; i < NREGS; i++) {
		uint64_t v;
		if (rec_u64(&rec, upper(regs_table[i].name, key), UINT64_MAX, &v, e))
			return -1;
		memcpy((char *)regs + regs_table[i].off, &v, sizeof v);
	}
	if (rec_u64(&rec, "SIGMASK", UINT64_MAX, mask, e) || rec_bin(&rec, "XSTATE", x, 512 /* FXSAVE */, RES_XSTATE_MAX, &n, e))
		return -1;
	buf_add(xstate, x, n);
	return buf_failed(xstate) ? err_set(e, EX_FAILED, "out of memory") : 0;
}

static void description(struct buf *b, struct dump *d, const struct ckpt_opts *o, int64_t date)
{
	char s[64], when[64];
	struct utsname u;
	struct tm tm;
	time_t t = (time_t)date;

	uname(&u);
	gmtime_r(&t, &tm);
	strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
	snprintf(s, sizeof s, "%d", IMAGE_FORMAT);
	rec_line(b, "FORMAT", s);
	rec_line(b, "ARCH", u.machine);
	rec_line(b, "IDENTIFIER", o->identifier);
	snprintf(s, sizeof s, "%llu", (unsigned long long)o->version);
	rec_line(b, "VERSION", s);
	rec_line(b, "DESCRIPTION", o->description ? o->description : "");
	rec_line(b, "DATE", when);
	rec_line(b, "KIND", "full");
	rec_line(b, "HOST", u.nodename);
	snprintf(s, sizeof s, "%zu", d->nprocs);
	rec_line(b, "PROCS", s);
	snprintf(s, sizeof s, "%u", o->uid);
	rec_line(b, "UID", s);
	snprintf(s, sizeof s, "%u", o->gid);
	rec_line(b, "GID", s);
	rec_line(b, "WRITER", "xos " XOS_VERSION);
}

/* The first process may have ended while daemons live on, or be known only as the namespaces' init: then the oldest
 * without parent inside stands for it. */
static struct dproc *main_of(struct dump *d, pid_t pid)
{
	struct dproc *main = NULL;

	for (size_t i = 0; i < d->nprocs; i++) {
		struct dproc *p = d->procs[i];

		if (p->tgid == pid)
			return p;
		if (p->vppid)
			continue;
		if (!main || p->stat.starttime < main->stat.starttime ||
		    (p->stat.starttime == main->stat.starttime && p->vpid < main->vpid))
			main = p;
	}
	return main;
}

/* The group of the job that is in the foreground of a terminal outside; 0: none. */
static pid_t foreground(struct dump *d, const struct dproc *main)
{
	for (size_t i = 0; i < d->nprocs && main->stat.tpgid > 0; i++)
		if (d->procs[i]->stat.pgrp == main->stat.tpgid)
			return d->procs[i]->vpgid;
	return 0;
}

static void global(struct buf *b, struct dump *d, const struct ckpt_opts *o)
{
	struct dproc *main = main_of(d, o->main);

	for (size_t i = 0; i < d->nprocs; i++) {
		struct dproc *p = d->procs[i];
		const struct dproc *parent = p->zombie ? dump_find(d, p->vppid) : NULL;
		struct proc_status s = p->status;

		rec_begin(b, "proc");
		rec_put_i64(b, "PID", p->vpid);
		rec_put_i64(b, "PPID", p->vppid);
		rec_put_i64(b, "PGID", p->vpgid);
		rec_put_i64(b, "SID", p->vsid);
		/* The namespace of one that was process 1 has ended: nobody sees its number there (ns.c). */
		if (parent && s.nnspid > parent->status.nnspid)
			s.nnspid = parent->status.nnspid;
		nspid_put(d, b, &s);
		rec_put_i64(b, "EXIT_SIGNAL", p->stat.exit_signal);
		if (p->zombie)
			rec_put_i64(b, "ZOMBIE", p->stat.exit_code);
		if (p == main)
			rec_put_u64(b, "MAIN", 1);
		if (p == main && !p->vsid && foreground(d, p))
			rec_put_i64(b, "FOREGROUND", foreground(d, p));
		rec_put_str(b, "COMM", p->stat.comm);
		rec_end(b);
	}
}

static void node(struct buf *b, struct dump *d)
{
	struct utsname u;

	uname(&u);
	rec_begin(b, "node");
	rec_put_u64(b, "ID", 0);
	rec_put_str(b, "HOST", u.nodename);
	rec_put_str(b, "KERNEL", u.release);
	rec_end(b);
	for (size_t i = 0; i < d->nprocs; i++) {
		struct dproc *p = d->procs[i];
		rec_begin(b, "task");
		rec_put_i64(b, "PID", p->vpid);
		rec_put_str(b, "COMM", p->stat.comm);
		rec_put_u64(b, "THREADS", p->nthr);
		rec_put_u64(b, "PAGES", p->mm ? p->mm->data.pages : 0);
		rec_end(b);
	}
}

static int put(struct dump *d, const char *name, struct buf *b, struct err *e)
{
	int rc = buf_failed(b) ? err_set(e, EX_FAILED, "out of memory") : image_put_text(d->img, name, b, e);

	buf_free(b);
	return rc;
}

int texts_write(struct dump *d, const struct ckpt_opts *o, int64_t date, struct err *e)
{
	struct buf b = BUF_INIT;
	char name[32];

	description(&b, d, o, date);
	if (put(d, "description.txt", &b, e))
		return -1;
	profile_node(&b);
	if (put(d, "profile", &b, e))
		return -1;
	global(&b, d, o);
	if (put(d, "global", &b, e))
		return -1;
	node(&b, d);
	if (put(d, "node_0", &b, e))
		return -1;
	if (mfiles_dump(d, &b, e) || put(d, "maps", &b, e) || shm_dump(d, &b, e) || put(d, "shm", &b, e)) {
		buf_free(&b);
		return -1;
	}
	if (ns_needed(d) && (ns_dump(d, &b, e) || put(d, "namespaces", &b, e))) {
		buf_free(&b);
		return -1;
	}
	if (member_groups_needed(d) && (member_groups_dump(d, &b, e) || put(d, "groups", &b, e))) {
		buf_free(&b);
		return -1;
	}
	if (sysv_needed(d) && (sysv_dump(d, &b, e) || put(d, "ipc", &b, e))) {
		buf_free(&b);
		return -1;
	}
	if (put(d, "files", &d->files_out, e))
		return -1;
	for (size_t i = 0; i < d->nprocs; i++) {
		snprintf(name, sizeof name, "task_%d", d->procs[i]->vpid);
		if (!d->procs[i]->zombie && put(d, name, &d->procs[i]->out, e))
			return -1;
	}
	return 0;
}
