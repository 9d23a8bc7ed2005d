/* restart: the order of a restart.
 *
 *   plan, files, checks        with nothing created: most failures end here
 *   tree -> groups -> zombies  processes, nearly empty (those that share pages with a child: with their memory)
 *   memory -> descriptors -> process state -> threads -> thread state
 *   late                       locks, signals, timers, limits, when every process is complete
 *   registers -> disarm all -> release all
 *
 * Until the last line every process dies with us (EXITKILL, PDEATHSIG); after `disarm` of all, none. */
#include "cr/internal.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "res/borrow.h"
#include "res/clocks.h"
#include "res/fd_mqueue.h"
#include "res/fd_ops.h"
#include "res/fd_tcp.h"
#include "res/fd_pidfd.h"
#include "res/files.h"
#include "res/fs.h"
#include "res/proc_ops.h"
#include "res/keyring.h"
#include "res/member_group.h"
#include "res/mm.h"
#include "res/ns_obj.h"
#include "res/sysv.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>

static int check_profile(struct image *im, struct err *e)
{
	const struct image_member *m = image_find(im, "profile");
	AUTO_BUF struct buf why = BUF_INIT;

	if (!m || !m->text)
		return err_set(e, EX_BAD_IMAGE, "the image has no member `profile`");
	if (!profile_check(m->text, &why, e))
		return 0;
	char *nl = strchr(why.p ? why.p : "", '\n');
	if (nl)
		*nl = 0;
	return err_is_set(e) ? -1 : err_set(e, EX_MISFIT, "this node does not fit the image: %s", buf_str(&why));
}

static int verify(struct restore *r, struct err *e)
{
	for (size_t i = 0; i < r->nprocs; i++) {
		struct rproc *p = r->procs[i];

		if (p->zombie || p->helper)
			continue;
		for (size_t k = 0; res_table[k]; k++)
			if (res_table[k]->verify && res_table[k]->verify(r, p, e))
				return err_prefix(e, "process %d: %s", p->pid, res_table[k]->name);
		for (size_t k = 0; k < p->nthr; k++) {
			struct user_regs_struct regs;
			AUTO_BUF struct buf x = BUF_INIT;
			uint64_t mask;
			if (thread_registers(p, &p->thr[k], &regs, &mask, &x, e))
				return err_prefix(e, "process %d", p->pid);
		}
	}
	return 0;
}

/* Files of the image, opened with the rights that its owner has. */
static int open_files(struct restore *r, int (*all)(struct restore *r, struct err *e), struct err *e)
{
	struct borrow b;
	int rc;

	if (borrow_begin(&b, r, e))
		return -1;
	rc = all(r, e);
	return borrow_end(&b, rc ? NULL : e) ? -1 : rc;
}

/* Everything that can fail without a process. */
static int prepare(struct restore *r, struct restart_run *run, struct err *e)
{
	if (check_profile(r->img, e) || plan_make(r, run, e) || member_groups_parse(r, e) || files_parse(r, e) || ns_parse(r, e) || (!r->check_only && member_groups_make(r, e)) || ns_make(r, e) || open_files(r, mfiles_open, e) || shm_parse(r, e) ||
	    sysv_parse(r, e))
		return -1;
	for (size_t i = 0; i < r->nprocs; i++)
		if (!r->procs[i]->zombie && !r->procs[i]->helper && mm_parse(r, r->procs[i], e))
			return -1;
	if (verify(r, e) || (!r->check_only && member_groups_control(r, e)) || open_files(r, files_open_all, e) || mm_find_room(r, e))
		return -1;
	return 0;
}

static struct restore *restore_new(struct image *im, struct restart_run *run, struct err *e)
{
	struct restore *r = calloc(1, sizeof *r);

	if (!r) {
		err_set(e, EX_FAILED, "out of memory");
		return NULL;
	}
	r->img = im;
	r->o = &run->o;
	r->own_ns = run->own_ns;
	r->job_groups = run->groups;
	r->enter = run->enter;
	r->enter_ctx = run->ctx;
	r->img_fd = -1;
	return r;
}

static void restore_free(struct restore *r)
{
	files_restore_free(r);
	mm_restore_free(r);
	sysv_restore_free(r);
	keyring_restore_free(r);
	ns_restore_free(r);
	fs_forget(r);
	member_groups_restore_free(r);
	if (r->img_fd >= 0)
		close(r->img_fd);
	plan_free(r);
	free(r);
}

int cr_restart_check(struct image *im, struct restart_run *run, struct err *e)
{
	struct restore *r = restore_new(im, run, e);
	int rc;

	if (!r)
		return -1;
	r->check_only = true;
	rc = prepare(r, run, e);
	if (!rc && !run->own_ns && !run->force_ns)
		rc = plan_check_pids(r, e) || sysv_verify(r, e) ? -1 : 0;
	restore_free(r);
	return rc;
}

typedef int step(struct restore *r, struct rproc *p, struct err *e);

static int each(struct restore *r, const char *name, step *s, struct err *e)
{
	for (size_t i = 0; i < r->nprocs; i++) {
		struct rproc *p = r->procs[i];
		if (p->zombie || p->helper)
			continue;
		if (fault(name))
			return err_set(e, EX_FAILED, "fault point %s", name);
		if (s(r, p, e))
			return err_prefix(e, "process %d", p->pid);
	}
	return 0;
}

static int memory(struct restore *r, struct rproc *p, struct err *e)
{
	if (!p->mm_mapped && mm_map(r, p, e))
		return -1;
	return mm_finish(r, p, e);
}

static int state(struct restore *r, struct rproc *p, struct err *e)
{
	for (size_t k = 0; res_table[k]; k++)
		if (res_table[k]->restore && res_table[k]->restore(r, p, e))
			return err_prefix(e, "%s", res_table[k]->name);
	return 0;
}

/* In the reverse order of the table: what the other phases put up first comes last here (proc_ops.h). */
static int late(struct restore *r, struct rproc *p, struct err *e)
{
	size_t n = 0;

	if (mm_late(r, p, e))
		return -1;
	while (res_table[n])
		n++;
	while (n--)
		if (res_table[n]->late && res_table[n]->late(r, p, e))
			return err_prefix(e, "%s", res_table[n]->name);
	return 0;
}

static int disarm(struct restore *r, struct rproc *p, struct err *e)
{
	struct rec rec;

	rec_list_get(&p->recs, p->thr[0].first, &rec);
	if (rec_find(&rec, "STOPPED"))
		kill(p->made, SIGSTOP);
	return tracee_disarm(p->t, e);
}

static int release(struct restore *r, struct rproc *p, struct err *e)
{
	struct tracee *t = p->t;

	p->t = NULL;
	return tracee_release(t, e);
}

static int make(struct restore *r, struct restart_run *run, struct err *e)
{
	r->img_fd = fcntl(image_fd(r->img), F_DUPFD_CLOEXEC, r->fd_base);
	if (r->img_fd < 0)
		return err_sys(e, "cannot keep the image open");
	if (sysv_make(r, e) || mqueue_make(r, e) || shm_make(r, e) || mfiles_link(r, e) || clocks_make(r, e) || fs_prepare(r, e) || tree_make(r, run, e) || tree_groups(r, e) || tree_zombies(r, e) ||
	    each(r, "restart.sessions", tty_session_finish, e) || ns_complete(r, e) || each(r, "restart.namespaces", ns_enter_born, e) ||
	    pidfd_make(r, e))
		return -1;
	if (each(r, "restart.memory", memory, e) || each(r, "restart.files", files_install, e) ||
	    each(r, "restart.state", state, e) || each(r, "restart.threads", threads_make, e) ||
	    each(r, "restart.thread_state", threads_restore, e) || each(r, "restart.late", late, e) || member_groups_finish(r, e) || files_late(r, e) ||
	    sysv_finish(r, e) || mqueue_finish(r, e) || each(r, "restart.finish", threads_finish, e) || tcp_finish(r, e) || ns_pid_finish(r, e) || each(r, "restart.disarm", disarm, e) ||
	    tcp_unlock(r, e))
		return -1;
	return 0;
}

static int note_roots(struct restore *r, struct restart_run *run, struct err *e)
{
	run->foreground = r->foreground;
	run->terminal = r->terminal;
	run->terminal_number = r->terminal_number;
	for (size_t i = 0; i < r->nprocs; i++) {
		struct rproc *p = r->procs[i];
		if (p->helper || p->zombie)
			continue;
		if (p->main)
			run->main = p->made;
		if (!p->parent && pid_list_add(&run->roots, p->made))
			return err_set(e, EX_FAILED, "out of memory");
	}
	return 0;
}

int cr_restart(struct image *im, struct restart_run *run, struct err *e)
{
	struct restore *r = restore_new(im, run, e);
	int rc;

	if (!r)
		return -1;
	rc = prepare(r, run, e);
	if (!rc)
		rc = plan_check_pids(r, e) || sysv_verify(r, e) ? -1 : 0;
	if (!rc)
		rc = make(r, run, e) || note_roots(r, run, e) ? -1 : 0;
	if (rc) {
		tree_kill(r);
		sysv_undo_make(r);
		mqueue_undo(r);
	} else {
		if (run->before_run)
			run->before_run(run->ctx);
		/* All are disarmed: what fails now is at most a process that ended at once. */
		each(r, "", release, NULL);
		r->done = true;
	}
	restore_free(r);
	return rc;
}
