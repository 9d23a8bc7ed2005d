/* mntns_int: for the files of mntns only; see mntns.h.
 *
 * Records of namespace NS, in the order in which the mounts can be made: a parent before its children, and of the children of one mount first
 * what another one hides.
 *
 *   TYPE="mount_sb" NS= SB=n FSTYPE= DEVNAME= SUPER="rw,size=..." [CONTENT=raw member] [LAYERS="host"|"ns"] [LATE=1] [PIDNS=n]
 *   TYPE="mount_socket" NS= SB=n PATH= MODE= UID= GID= ATIME= MTIME=     a socket's name in it, which a tar cannot hold
 *   TYPE="mount" NS= ID=n PARENT=n POINT= OPTIONS="ro,nosuid,..." (SOURCE= [FILE=1] [COPY=1] [HIDDEN=1] | SB=n) ROOT= FSTYPE= DEVNAME=
 *                [REC=1] [GROUP=n] [MASTER=n|"host"] [UNBINDABLE=1] [PTY=file | TERMINAL=1]
 *
 * SOURCE: a path where the job was started. COPY: it was mounted there in the same way, so this is a copy of it and no bind that somebody made: when it is
 * not mounted there any more, a copy that followed the machine (MASTER="host") would have gone as well. HIDDEN: that path shows another mount on top of it; it comes with a recursive copy of its parent (REC).
 * PTY, TERMINAL: SOURCE is a terminal: one of the job, by its pty_master, which has another number when that is taken; or the one that the
 * job was started on. */
#ifndef XOS_MNTNS_INT_H
#define XOS_MNTNS_INT_H

#include "res/mntns.h"

#define MNTNS_NONE ((size_t)-1)

/* ---- mntns_table.c: /proc/PID/mountinfo, proc(5) ---- */
struct minfo {
	int id, parent;
	uint64_t dev;                  /* major << 32 | minor */
	char *root, *point, *type, *source, *opts, *super; /* unescaped but super: its commas and equal signs mean something */
	bool deleted;                  /* //deleted was behind root */
	unsigned shared, master; bool unbindable;
	size_t up;                     /* index of its parent, MNTNS_NONE */
};
struct mtab { struct minfo *v; size_t n; char *text; };
/* text (taken, NUL-terminated) is kept and modified. In the order in which the mounts could be made: see above. */
int mtab_parse(struct mtab *t, char *text, struct err *e);
int mtab_read(struct mtab *t, int dirfd, const char *path, struct err *e);
void mtab_free(struct mtab *t);
/* What is behind `dir` in path: "" or "/...". NULL: path is not below it. dir "/": all paths are. */
const char *mnt_below(const char *path, const char *dir);
/* MS_ flags of a mount's own options; *unknown: the first word that is none (not NUL-terminated behind it). */
int mnt_flags(const char *opts, unsigned long *flags, const char **unknown);
/* dir + rest, both absolute or rest empty; -1: too long. */
int mnt_join(const char *dir, const char *rest, char out[PATH_MAX]);

/* ---- mntns_plan.c ---- */
enum mkind { MK_BIND = 1, MK_SB };
struct msb {
	uint64_t dev;
	size_t first;                  /* its first mount */
	bool late;
	uint32_t pidns;                /* of a proc: number of the job's PID namespace that it shows; 0: not known */
	const char *layers;            /* of an overlay */
	char *super;
	uint64_t off, size;            /* of its content in the spool */
};
struct mplan1 {
	enum mkind kind;
	size_t host;                   /* MK_BIND: index of the machine's mount */
	char source[PATH_MAX];
	bool file, copy, hidden, rec, master_host;
	const struct dfile *pty; bool terminal; /* a slave of the job's, another terminal */
	unsigned group, master;        /* in the job, from 1 */
	size_t sb;                     /* MK_SB */
	bool dump;                     /* the content below its root is saved through it */
};
struct mplan {
	struct mtab m, host;
	struct mplan1 *v;              /* parallel to m.v */
	struct msb *sb; size_t nsb;
	int hostroot;                  /* the root of where the job was started */
	int spool;                     /* -1: none */
	pid_t member;                  /* a process in it */
	const struct dns *pidns;       /* its PID namespace, NULL: that of the job's start */
	int pidns_owner;               /* a descriptor of the user namespace that owns that, when it is not that of the mount namespace; -1 */
};
int mplan_make(struct dump *d, const struct dproc *p, int owner_user_fd, struct mplan *pl, struct err *e);
void mplan_free(struct mplan *pl);

/* ---- mntns_look.c: inside the namespace, by a child of ours ---- */
struct mlook {
	int owner_user_fd;
	const struct dproc *p;
};
/* Where it is. The two descriptors are the caller's (mlook_close). */
int mlook_place(const struct mlook *l, struct ns_place *at, struct err *e);
void mlook_close(struct ns_place *at);
/* mntns_proc.c: which PID namespace of the job a proc shows, whose root fd is. 0, *id: its
 * number, MPROC_START for that of the job's start; -1: another, or it cannot be told. */
struct mproc { int proc, pidns; bool entered; };               /* of a child that looks */
enum { MPROC_START = 0 };
int mproc_before(struct mproc *m, const struct mplan *pl, struct err *e); /* where we are */
int mproc_shows(struct mproc *m, const struct mplan *pl, int fd, uint32_t *id);
/* Its mountinfo, told from its own root, into t. */
int mlook_table(const struct ns_place *at, struct mtab *t, struct err *e);
/* Goes through the content of all file systems that are saved: lines "R text" (what prevents it), and when pl->spool is there: sets off and size of the
 * plan's, appends records of sockets. */
int mlook_content(const struct ns_place *at, struct mplan *pl, uint32_t id, struct buf *out, struct buf *refusals, struct err *e);

/* ---- mntns_tar.c, mntns_untar.c ---- */
struct mtar;
/* Of one file system. spool -1: only looks. self: our /proc/self, where ids are told. sockets: records; refusals: lines. */
int mtar_new(struct mtar **t, int spool, int self, uint32_t ns, size_t sb, struct buf *sockets, struct buf *refusals, struct err *e);
/* fd: O_PATH of a directory or file whose path in the file system is root. */
int mtar_add(struct mtar *t, int fd, const char *root, const char *point, struct err *e);
int mtar_end(struct mtar *t, struct err *e);
void mtar_free(struct mtar *t);
/* Unpacks raw member m into the directory root (an empty file system). */
int mtar_unpack(struct restore *r, const struct image_member *m, int root, struct err *e);
/* Parent directory of path inside root, never outside of it; *base: the last name. -1 with errno. */
int mtar_parent(int root, const char *path, bool make, const char **base);

/* ---- mntns_recs.c ---- */
struct rmsb {
	const char *type, *devname, *super, *content, *layers;
	bool late;
	bool made;
	uint32_t pidns;                /* of a proc; 0: the member's or, not late, that of the job's start */
	size_t first;                  /* its first mount */
};
struct rmount {
	size_t parent;                 /* index, MNTNS_NONE */
	const char *point, *source, *root, *type, *devname;
	unsigned long flags;
	bool file, copy, hidden, recursive, unbindable, master_host, late, terminal;
	bool all_private;              /* recursive: what is hidden below it is private */
	uint64_t pty;                  /* id of the master whose slave is mounted, 0: none */
	size_t sb;                     /* index, MNTNS_NONE */
	uint64_t group, master;
	bool gone;                     /* no longer on this machine, and need not be */
	int id, on;                    /* the mount's, and of that which it is mounted on, once it is made; 0 before */
};
struct rmtab {
	struct restore *r; uint32_t ns;
	const struct rec_list *list;
	struct rmount *v; size_t n;
	struct rmsb *sb; size_t nsb;
};
int rmtab_parse(struct rmtab *t, struct restore *r, const struct rec_list *list, uint32_t id, struct err *e);
void rmtab_free(struct rmtab *t);
/* "SECONDS.NANOSECONDS" */
int mnt_time(const char *text, struct timespec *t);
/* A copy of what the machine had mounted: may it be missing? */
bool rmount_may_go(const struct rmtab *t, const struct rmount *m);

/* ---- mntns_make.c: in the namespace that is being built ---- */
int rmtab_make(struct rmtab *t, bool late, struct err *e);   /* all mounts that are (not) late */
int rmtab_note(const struct rmtab *t, struct err *e);        /* leaves the ids for rmtab_find */
int rmtab_find(struct rmtab *t, struct err *e);              /* ids of those that are made already */
int rmtab_propagation(struct rmtab *t, struct err *e);
int rmtab_compare(struct rmtab *t, bool all, struct err *e); /* is it as it was? */
int mnt_sb_make(struct rmtab *t, size_t sb, struct err *e);  /* mntns_sb.c: at MNTNS_SB/n */
#define MNTNS_OLD "/old"
#define MNTNS_SB "/sb"
#define MNTNS_PROC MNTNS_OLD "/proc/self"

/* ---- system calls that not every libc has: fsopen(2), open_tree(2), move_mount(2), openat2(2) ---- */
int sys_open_tree(int dir, const char *path, unsigned flags);
int sys_move_mount(int from, int to, unsigned flags);        /* both: the descriptor's own file */
int sys_fsopen(const char *type);
int sys_fsconfig(int fs, unsigned cmd, const char *key, const char *val);
int sys_fsmount(int fs, unsigned attr);
int sys_open_in(int root, const char *path, int flags, unsigned resolve); /* an O_CLOEXEC is added */
/* Mount id, whether it is a mount's root, and type of what fd is. -1 with errno. */
int sys_mount_id(int fd, int *id, bool *mount_root, mode_t *mode);
enum { OPEN_TREE_CLONE_ = 1, AT_RECURSIVE_ = 0x8000, MOVE_SET_GROUP_ = 0x100, RESOLVE_NO_XDEV_ = 1, RESOLVE_NO_MAGICLINKS_ = 2, RESOLVE_NO_SYMLINKS_ = 4,
       RESOLVE_BENEATH_ = 8, RESOLVE_IN_ROOT_ = 16, FSCONFIG_FLAG_ = 0, FSCONFIG_STRING_ = 1, FSCONFIG_CREATE_ = 6, FSCONFIG_RECONFIGURE_ = 7 };

#endif
