/* res: kernel resources. One resource is one file with its check, dump, restore and record side by
 * side, and one line in the ordered tables of table.c. To add one, copy the smallest (umask.c, fd_eventfd.c).
 *
 * Two kinds of resources:
 *   - state of a process or of its threads  -> struct res_ops   (res_table)
 *   - what a descriptor can lead to         -> struct fd_ops    (fd_table)
 *
 * Checkpoint: all processes stand. For each process: check() of every resource; nothing is touched, and
 * what is not supported is added by refuse() - all of it, not the first only. Then remote control of the
 * leader begins (p->rem), ask() of every resource of every process may add to them, and dump() of every resource runs in table order; then, for each
 * thread, remote control of that thread (th->rem) and dump_thread(). Records go to p->out.
 *
 * Restart: verify() of every resource before anything is created; then tree, memory, descriptors
 * (cr/restart.c), then restore() in table order per process, under remote control of its
 * leader; threads are made; restore_thread() in table order per thread, the leader included;
 * then late() per process, when every process of the job is complete. */
#ifndef XOS_RES_H
#define XOS_RES_H

#include "cgroup/cgroup.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/proc.h"
#include "common/progress.h"
#include "common/rec.h"
#include "image/image.h"
#include "job/terminal.h"
#include "res/ns_run.h"
#include "tracee/tracee.h"
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/* Named limits for counts that come from an image. */
enum {
	RES_MAX_PROCS = 1 << 20,
	RES_MAX_THREADS = 1 << 20,     /* of one process */
	RES_MAX_FILES = 4 << 20,
	RES_MAX_VMAS = 1 << 20,
	RES_MAX_RECORDS = 8 << 20,     /* of one member */
	RES_MAX_FD = 1 << 24,
	RES_XSTATE_MAX = 64 << 10,
	RES_SIGINFO_MAX = 1 << 16,     /* queued signals of one process */
	RES_PIPE_MAX = 1 << 30,
};
#define RES_TASK_SIZE ((uint64_t)1 << 57)  /* no user address is above (5-level paging) */

/* ------------------------------------------------------------------ checkpoint */

struct dthread {
	struct tthread *t;             /* regs, mask, rseq: lib/tracee */
	pid_t tid, vtid;               /* here; and in the job's reference PID namespace */
	struct proc_status status;
	struct proc_stat stat;
	struct remote *rem;            /* during dump_thread of a thread that is not the leader */
	struct buf queued;             /* records of the signals that are queued for it: sigpending.c */
};
struct dproc {
	/* Here. What /proc/PID, kcmp(2), process_vm_readv(2) and the like are asked under: its own number, or, when its first
	 * thread has exited, that of a thread that lives. */
	pid_t pid;
	pid_t tgid, vpid;              /* its own number here; and in the job's reference PID namespace */
	pid_t vppid, vpgid, vsid;      /* 0: outside the job (vppid, vpgid, vsid) */
	bool zombie;
	struct tracee *t;              /* NULL for zombies */
	struct proc_stat stat;
	struct proc_status status;
	struct proc_maps maps;         /* with smaps' flags */
	struct dthread *thr; size_t nthr; /* [0] is the leader */
	bool headless;                 /* its first thread has exited: that is thr[nthr], thr[0] stands for the leader */
	struct remote *rem;            /* the leader, during dump() */
	struct buf out;                /* records of member task_PID */
	struct dmm *mm;                /* its mappings and which pages are saved: mm.h */
	struct dns *ns[NSK_COUNT];     /* namespaces of its own, NULL: the reference's: ns_obj.h */
	struct dns *pid_children, *time_children; /* PID, time namespace for its next children, NULL: that of its own */
};

/* An open file description, found by kcmp(2); held by at least one process of the job. */
struct dfile {
	uint32_t id;                   /* from 1 */
	struct dproc *p; int fd;       /* where it was found first; fd -1: in a queue of p's only */
	int lfd;                       /* our own duplicate (pidfd_getfd), -1 when refused by the kernel */
	struct stat st;
	unsigned flags;                /* O_ flags as in fdinfo, without O_CLOEXEC */
	int64_t pos;
	char *link;                    /* readlink of /proc/PID/fd/FD, " (deleted)" still on it */
	char *info;                    /* /proc/PID/fdinfo/FD */
	const struct fd_ops *ops;
	unsigned std;                  /* bit 0, 1, 2: somebody has it as that number */
	const struct dns *mnt;         /* the mount namespace of p's own that it is in, NULL: none, or it has no name */
	struct dns *net;               /* a socket: the network namespace of a member's that it is in, NULL: the reference */
	struct dfile *next_hash;
};

struct dump {
	struct dproc **procs; size_t nprocs;
	struct dfile **files; size_t nfiles, capfiles;
	struct dfile *hash[4096];      /* by inode */
	void *descriptions;            /* the same as a search tree: files.c */
	struct fdtab *fdtabs;          /* parallel to procs: files.c */
	struct image_writer *img;      /* NULL during the check */
	struct buf refusals;           /* lines "pid 12: fd 7: socket AF_NETLINK is not supported" */
	size_t nrefusals, npassing;    /* all; of those: refuse_for_now */
	struct buf files_out;          /* records of member `files` (in order of id) */
	struct mfile *mfiles; size_t nmfiles;   /* files that are mapped: mm_file.c */
	struct dshm *shm; size_t nshm;          /* shared memory objects: mm_shm.c */
	struct sysv_dump *sysv;                 /* System V objects: sysv.h */
	struct raw_pending *raws; size_t nraws; /* raw members, written after the texts: dump_raw_fd */
	struct progress *progress;     /* NULL: none */
	bool own_ns;                   /* members live in PID (and user) namespaces that xrestart made */
	size_t level;                  /* of the reference PID namespace below ours: index in proc_status.nspid */
	char *groups;                  /* control groups of the first member, where the job has none: member_group.c */
	struct dump_groups *mgroups;   /* those below the job's own: member_group.h */
	const struct cgroup_set *job_groups; /* those of the job, NULL: it has none */
	pid_t supervisor;              /* of the job, 0: none */
	pid_t above;                   /* who started the job's supervisor, 0: not known */
	pid_t nsinit;                  /* its first process, not a member; 0 */
	struct dns_world *ns;          /* namespaces of members: ns_obj.h */
	struct dump_keys *keys;        /* those met so far: keyring.c */
	struct unix_world *unixs;      /* what is known of unix sockets: fd_unix.c */
	struct tcp_world *tcp;         /* of TCP sockets: fd_tcp.c */
	struct tty_world *ttys;        /* what waits in terminals: tty_guard.c */
	int attempt;                   /* from 1; more: only passing reasons prevented those before */
	const char *identifier;        /* of the job */
	bool kills;                    /* it will be killed when it is saved */
	bool tcp_close;                /* TCP connections to outside are saved as reset ones */
	bool unix_connect;             /* unix connections to outside are to be made anew, where they have a name, */
	bool unix_close;               /* and the others saved as closed ones */
	bool (*ended)(void *ctx);      /* its record says that it was saved and ended; NULL: it has none */
	int (*hold)(void *ctx, bool on); /* it stands also when we die; NULL: it has no control group, which that needs */
	void *ctx;                     /* of these two */
};
/* Adds a line to the list of what prevents the checkpoint. Never fails; returns 0 so that checks read well. */
int refuse(struct dump *d, const struct dproc *p, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* A name by which we find the file that /proc calls `link` for p. Such links are told from our root when p only has a root
 * of its own (chroot), and from its own root when it is in another mount namespace. outside: the file is one of the reference mount namespace,
 * where p is not. -1: too long. */
int dump_path(const struct dump *d, const struct dproc *p, bool outside, const char *link, char *out, size_t n);
/* The same for what may be gone in a moment: when there are only such reasons, the job goes on for that moment, and the checkpoint
 * is tried again. */
int refuse_for_now(struct dump *d, const struct dproc *p, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
struct dproc *dump_find(struct dump *d, pid_t vpid);   /* NULL when not a member */
bool dump_has_pid(struct dump *d, pid_t pid);          /* by the PID as seen here */

/* A raw member whose content is written after all text members, by reading `size` bytes at `off` of fd
 * (a duplicate is kept). name is copied. Holes are written as zeros. */
int dump_raw_fd(struct dump *d, const char *name, int fd, uint64_t off, uint64_t size, struct err *e);
/* The same for a small content in memory (copied). */
int dump_raw_mem(struct dump *d, const char *name, const void *p, size_t n, struct err *e);

/* ------------------------------------------------------------------ restart */

struct rthread {
	pid_t tid;
	pid_t nspid[PROC_MAX_NSDEPTH]; size_t nnspid; /* in the PID namespaces below ours, outermost first */
	struct rec_list *recs; size_t first, last; /* its records in the process' list: [first, last) */
	size_t index;                  /* in tracee.thr */
};
struct rfd { int fd; uint32_t file; bool cloexec; };
struct rproc {
	pid_t pid, ppid, pgid, sid;    /* as the job sees them; 0: outside the job */
	int exit_signal;
	pid_t nspid[PROC_MAX_NSDEPTH]; size_t nnspid; /* in the PID namespaces below ours, outermost first */
	struct rns *pidns;             /* that it is in, NULL: ours */
	struct rns *pidns_child;       /* where the next child is made, while that is another one */
	struct rns *born;              /* the user namespace that it was born in, NULL: ours */
	bool entered;                  /* it is in all its namespaces: ns_enter.c */
	int cwd_fd, root_fd;           /* fs_prepare(); 0: none */
	bool zombie; int exit_status;
	struct rproc *parent;          /* NULL: child of the supervisor */
	struct rproc **children; size_t nchildren;
	struct rec_list recs;          /* of task_PID; its own first, then each thread's */
	struct rthread *thr; size_t nthr; /* [0] is the leader */
	bool headless; int leader_status; /* as in dproc: thr[nthr] is to exit with that wait(2) status; others stand for it then */
	size_t nown;                   /* how many of recs are its own */
	struct rfd *fds; size_t nfds;
	struct rmm *mm;                /* mm_restore.c */
	struct tracee *t;
	struct remote *rem;            /* remote control of the thread at work */
	bool helper;                   /* not in the image: a session or group leader that has gone, made for a moment */
	struct rproc *base;            /* whose mappings it has from birth, until its own are made; NULL: none */
	bool mm_mapped;                /* its memory is mapped and filled */
	bool mm_finished, main;
	pid_t birth;                   /* the session that it must be born in, 0: the restorer's, -1: any */
	pid_t cur_sid;                 /* its session at the moment, while the tree is made */
	pid_t made;                    /* its PID once it exists, 0 before */
	uint32_t groups[CGROUP_MAX_HIER]; /* where it is below the job's control groups: member_group_restore.c */
};
struct rfile {
	uint32_t id;
	const struct fd_ops *ops;
	struct rec rec;                /* its record, pointers into restore.files_list */
	int fd;                        /* in the restorer, -1: not open */
	uint32_t net;                  /* NET: the network namespace that it is in, 0: ours */
	void *priv;                    /* of its ops */
};
struct subst { char *id; char *target; };  /* -S ID=TARGET, -L OLD=NEW */
struct restart_opts {
	struct subst *subst; size_t nsubst;
	struct subst *reloc; size_t nreloc;
	bool trust;                    /* credentials may exceed what the image's owner has */
	bool accept_changed;           /* files changed since the checkpoint are taken as they are */
	bool tty;                      /* -t */
	bool tcp_close;                /* TCP connections to outside come back as closed ones */
	bool unix_close;               /* and unix ones */
	int std[3];                    /* what outside stdin, stdout, stderr are connected to */
	uid_t image_owner;
};
struct restore {
	struct image *img;
	struct restart_opts *o;
	struct rproc **procs; size_t nprocs;
	struct rproc **bypid; size_t nbypid;    /* the same, by PID */
	pid_t foreground;                       /* the group that was in the foreground of a terminal outside, 0 */
	struct terminal_look terminal;          /* how the job had that terminal, */
	unsigned terminal_number;               /* and which one it is now; 0: none */
	pid_t next_passing;                     /* where the search for an unused PID goes on */
	bool done;                              /* the job runs: what was made for it stays */
	bool check_only;                        /* nothing outside may be changed, files neither */
	struct rfile *files; size_t nfiles;     /* [id-1] */
	struct rec_list files_list, shm_list, global_list;
	struct rmfile *mfiles; size_t nmfiles;  /* [id-1]; mm_file.c */
	struct rshm *shm; size_t nshm;          /* [id-1]; mm_shm.c */
	struct restore_keys *keys;              /* keyring_restore.c */
	struct restore_ns *ns;                  /* namespaces of members: ns_obj.h; NULL: none */
	int (*enter)(void *ctx, bool born_inside); void *enter_ctx; /* a child of ours goes into the job's control groups (cr.h) */
	const struct cgroup_set *job_groups;    /* those of the new job, NULL: it has none */
	struct restore_groups *groups;          /* those below: member_group.h; NULL: none */
	struct sysv_restore *sysv;              /* System V objects: sysv.h; NULL: none */
	uint64_t boot;                 /* address of the boot area in every process */
	uint64_t temp, temp_len;       /* where shared memory objects wait at, in every new process */
	int fd_base;                   /* descriptors of the restart itself are at this number and above; no process of the job uses one */
	int img_fd;                    /* the image, at or above fd_base, for pread in the target */
	struct file_key { dev_t dev; ino_t ino; } *cut; size_t ncut; /* files that the restart itself has cut back */
	bool own_ns;                   /* we are init of new PID and user namespaces */
	bool net_only; uint32_t net;   /* only sockets of that network namespace are made now: ns_net_each */
	pid_t tcp_guard; int tcp_guard_fd; /* tcp_unlock.c; 0: none */
};
/* The number by which a process knows its own thread, or itself. */
static inline pid_t thread_own_number(const struct rthread *th) { return th->nnspid ? th->nspid[th->nnspid - 1] : th->tid; }
struct rproc *restore_find(struct restore *r, pid_t pid);
/* p's first descriptor of that description; -1: none. */
int rproc_fd(const struct rproc *p, uint32_t file);
struct rfile *restore_file(struct restore *r, uint32_t id); /* NULL when there is none */
/* The first record of that type of a process, from index `from` on, before its thread records. Returns its
 * index, or -1. *out is filled. */
long rproc_rec(const struct rproc *p, const char *type, size_t from, struct rec *out);
/* The same among the records of one thread. */
long rthread_rec(const struct rproc *p, const struct rthread *th, const char *type, size_t from, struct rec *out);
/* A path of the image after -L relocation; result in out[PATH_MAX]. */
int restore_path(struct restore *r, const char *path, char *out, struct err *e);
const char *restore_subst(struct restore *r, const char *id);  /* -S target for this id, or NULL */

/* ------------------------------------------------------------------ the tables */

struct res_ops {
	const char *name;
	int (*check)(struct dump *d, struct dproc *p, struct err *e);
	/* After all checks, under remote control of the leader: adds refusals that only the process itself can tell. */
	int (*ask)(struct dump *d, struct dproc *p, struct err *e);
	int (*dump)(struct dump *d, struct dproc *p, struct err *e);
	int (*dump_thread)(struct dump *d, struct dproc *p, struct dthread *th, struct err *e);
	int (*verify)(struct restore *r, struct rproc *p, struct err *e);
	int (*restore)(struct restore *r, struct rproc *p, struct err *e);
	int (*restore_thread)(struct restore *r, struct rproc *p, struct rthread *th, struct err *e);
	int (*late)(struct restore *r, struct rproc *p, struct err *e);
};
extern const struct res_ops *const res_table[];   /* NULL-terminated, order explained in table.c */

/* Descriptors. The first entry whose match() says yes takes the file; the last entries refuse by name. */
struct fd_ops {
	const char *type;              /* TYPE of its record in member `files` */
	bool (*match)(const struct dfile *f);
	/* Adds refusals. NULL: always supported. */
	int (*check)(struct dump *d, struct dfile *f, struct err *e);
	/* Puts fields into the record that is open in d->files_out (TYPE, ID, FLAGS, POS, PATH are there already). May
	 * look at f->lfd, f->info, and use f->p->t->... but not run remote calls. */
	int (*dump)(struct dump *d, struct dfile *f, struct err *e);
	/* Opens it in the restorer: sets f->fd (any number). Runs before any process is made: check here. In a child of it, which only the
	 * descriptor comes back from, when the record names a mount namespace, unless goes_itself. */
	int (*open)(struct restore *r, struct rfile *f, struct err *e);
	bool goes_itself;
	/* Optional: when it sits at number fd in process p, under remote control of p's leader (epoll, owners).
	 * Called for each process and number that has it; the ops decide which call does the work. */
	int (*install)(struct restore *r, struct rproc *p, int fd, struct rfile *f, struct err *e);
	/* Optional: at the very end, in the restorer, when everything else is done (timerfd). */
	int (*late)(struct restore *r, struct rfile *f, struct err *e);
};
extern const struct fd_ops *const fd_table[];     /* NULL-terminated */

/* What a kind of descriptor may ask of the tables (the rest is in files.h). */
struct dfile *files_find_fd(struct dump *d, struct dproc *p, int fd); /* description behind p's fd, NULL */
/* Does p have a descriptor of f? */
bool files_holds(struct dump *d, struct dproc *p, const struct dfile *f);
/* The description of the job that is the same file (st_dev, st_ino) as st, any flags; NULL. */
struct dfile *files_find_inode(struct dump *d, const struct stat *st);
/* A descriptor of our own that was received from a queue of p's (SCM_RIGHTS; taken): the description of the job that it
 * is, else a new one, which nobody holds: its fd is -1. NULL: e is filled. */
struct dfile *files_adopt(struct dump *d, struct dproc *p, int fd, struct err *e);
/* All descriptions of f's inode, f too, the newest id first: after NULL the first, then the one behind `after`; NULL at the end. */
struct dfile *files_same_inode(struct dump *d, const struct dfile *f, const struct dfile *after);
/* Moves a descriptor of the restorer out of the job's numbers (closes the old one). -1 with errno. */
int restore_high_fd(struct restore *r, int fd);
/* Value of "key:" in fdinfo text as a number (base 0/8/16), -1 when absent. */
int fdinfo_num(const char *info, const char *key, int base, uint64_t *out);
#endif
