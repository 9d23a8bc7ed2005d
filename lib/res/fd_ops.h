/* fd_ops: the kinds of open file descriptions, one struct fd_ops each, and what they share.
 *
 * Order in fd_table (table.c): memfd and special before regular files, pty_master and pty_slave before other
 * devices, `refuse` last. pty_slave hands terminals whose master is outside the job to fd_ext_ops. */
#ifndef XOS_FD_OPS_H
#define XOS_FD_OPS_H

#include "res/res.h"

extern const struct fd_ops fd_reg_ops, fd_pipe_ops, fd_dev_ops, fd_ext_ops;

extern const struct fd_ops fd_eventfd_ops;   /* fd_eventfd.c   TYPE="eventfd" */
extern const struct fd_ops fd_signalfd_ops;  /* fd_signalfd.c  TYPE="signalfd" */
extern const struct fd_ops fd_timerfd_ops;   /* fd_timerfd.c   TYPE="timerfd" */
extern const struct fd_ops fd_epoll_ops;     /* fd_epoll.c     TYPE="epoll" */
extern const struct fd_ops fd_inotify_ops;   /* fd_inotify.c   TYPE="inotify" */
extern const struct fd_ops fd_memfd_ops;     /* fd_memfd.c     TYPE="memfd" */
extern const struct fd_ops fd_mqueue_ops;    /* fd_mqueue.c    TYPE="mqueue" */
extern const struct fd_ops fd_ptm_ops;       /* fd_tty.c       TYPE="pty_master" */
extern const struct fd_ops fd_pts_ops;       /* fd_tty.c       TYPE="pty_slave" */
extern const struct fd_ops fd_unix_ops;      /* fd_unix.c      TYPE="unix" */
extern const struct fd_ops fd_nsfd_ops;     /* fd_nsfd.c      TYPE="nsfd" */
extern const struct fd_ops fd_pidfd_ops;    /* fd_pidfd.c     TYPE="pidfd" */
extern const struct fd_ops fd_tcp_ops;       /* fd_tcp.c       TYPE="tcp" */
extern const struct fd_ops fd_inet_ops;      /* fd_inet.c      TYPE="inet" */
extern const struct fd_ops fd_uring_ops;    /* fd_uring.c     TYPE="io_uring" */
extern const struct fd_ops fd_fanotify_ops; /* fd_fanotify.c  TYPE="fanotify" */
extern const struct fd_ops fd_netlink_ops;   /* fd_netlink.c   TYPE="netlink" */
extern const struct fd_ops fd_packet_ops;    /* fd_packet.c    TYPE="packet" */
extern const struct fd_ops fd_tun_ops;      /* fd_tun.c       TYPE="tun" */
extern const struct fd_ops fd_special_ops;   /* fd_refuse.c    refused, but looks like a regular file: secret memory */
extern const struct fd_ops fd_refuse_ops;    /* fd_refuse.c    everything else: refused by name */

/* The file is the anonymous inode of that name: "[eventfd]", "inotify". */
bool fd_is_anon(const struct dfile *f, const char *name);
/* Gives the description the F_SETFL flags (O_NONBLOCK, O_APPEND, O_NOATIME, O_DIRECT) of its record's FLAGS.
 * O_ASYNC is left to owner_restore. */
int fd_set_flags(int fd, const struct rec *rec, struct err *e);

/* Before the records are freed: what fd_inet.c keeps besides. */
void inet_forget(struct restore *r);

/* ---- owner.c: F_SETOWN_EX, F_SETSIG and O_ASYNC of a description ---- */
/* Refuses an owner outside the job. Called by res_locks for every description. */
int owner_check(struct dump *d, struct dfile *f, struct err *e);
/* Adds OWNER_TYPE, OWNER, OWNER_UID, OWNER_EUID, SIGNAL to the open record, where they are set. */
void owner_dump(struct dump *d, struct dfile *f);
/* In the restorer, when all processes exist. The owner must be a member of the job. */
int owner_restore(struct restore *r, struct rfile *f, struct err *e);

/* ---- locks.c: flock, POSIX, OFD locks, leases ---- */
/* Writes TYPE="lock" records of p's descriptor fd into p->out. Call it for every descriptor. */
int locks_dump(struct dump *d, struct dproc *p, int fd, struct dfile *f, struct err *e);
extern const struct res_ops res_locks;       /* check: leases that are being broken, owners; late() takes them again */

/* ---- ctty.c: controlling terminals inside the job ---- */
extern const struct res_ops res_ctty;        /* dump: who has one */
/* For the maker of the tree: p (under remote control, p->rem) has just become the leader of its session and
 * has no children yet: gives it its controlling terminal, which children then inherit (there
 * is no other way for them to get it). Nothing happens when it has none. files_open_all comes before. */
int tty_session_start(struct restore *r, struct rproc *p, struct err *e);
/* When all processes and their groups exist, for each process: foreground group, TIOCNOTTY. Still with the descriptors inherited from us. */
int tty_session_finish(struct restore *r, struct rproc *p, struct err *e);

#endif
