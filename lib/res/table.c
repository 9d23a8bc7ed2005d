/* table: which resources there are, and their order. */
#include "res/res.h"
#include "res/fd_ops.h"
#include "res/proc_ops.h"

/* Why this order stands in proc_ops.h. */
const struct res_ops *const res_table[] = {
	&res_unsupported, &res_ns, &res_member_group, &res_clocks,
	&res_ctty,
	&res_umask, &res_fs, &res_sigaction, &res_procfs, &res_rlimit, &res_mlockall,
	&res_comm, &res_sched, &res_seccomp, &res_creds, &res_keyring, &res_prctl, &res_thread,
	&res_locks, &res_sysv,
	&res_sigpending, &res_posix_timer, &res_itimer,
	&res_pidfd, &res_mqueue, &res_uring, &res_tcp_map, &res_aio, &res_ns_enter,
	NULL,
};

/* Memfds and what only looks like a file before regular files; the job's own terminals and sockets before those outside; refusals last. */
const struct fd_ops *const fd_table[] = {
	&fd_memfd_ops, &fd_mqueue_ops, &fd_special_ops, &fd_reg_ops, &fd_pipe_ops, &fd_dev_ops, &fd_ptm_ops, &fd_pts_ops, &fd_unix_ops, &fd_tcp_ops, &fd_inet_ops, &fd_netlink_ops, &fd_packet_ops, &fd_ext_ops,
	&fd_eventfd_ops, &fd_signalfd_ops, &fd_timerfd_ops, &fd_epoll_ops, &fd_inotify_ops,
	&fd_pidfd_ops, &fd_nsfd_ops, &fd_uring_ops, &fd_fanotify_ops, &fd_tun_ops,
	&fd_refuse_ops,
	NULL,
};
