/* ns_table: which kinds of namespaces members may have. */
#include "res/ns_obj.h"

extern const struct ns_ops ns_user_ops, ns_ipc_ops, ns_uts_ops, ns_cgroup_ops, ns_time_ops, ns_pid_ops, ns_mnt_ops, ns_net_ops;

const struct ns_ops *const ns_table[NSK_COUNT] = {
	[NSK_USER] = &ns_user_ops, [NSK_IPC] = &ns_ipc_ops, [NSK_UTS] = &ns_uts_ops, [NSK_CGROUP] = &ns_cgroup_ops, [NSK_TIME] = &ns_time_ops, [NSK_PID] = &ns_pid_ops, [NSK_MNT] = &ns_mnt_ops, [NSK_NET] = &ns_net_ops,
};
