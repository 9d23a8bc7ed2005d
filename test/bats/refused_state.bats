#!/usr/bin/env bats
# State of processes that is not restored is refused by name, with exit 5, by -n and by a checkpoint itself; no version
# is made and the job goes on.

bats_require_minimum_version 1.5.0
load helper

start() { xcgexec -d -j "$JOB" -- "$@" >/dev/null 3>&- 4>&- && wait_until in_sleep; }
in_sleep() { grep -qx sleep "/proc/$(pid_of)/comm"; }
pid_of() { in_job "$JOB" | tail -1; }

# refused_for TEXT
refused_for()
{
	run xcheckpoint -n "$JOB"
	status_is 5
	[[ $output == *"pid "*"$1"* ]]
	run xcheckpoint "$JOB"
	status_is 5
	[[ $output == *"$1"* ]]
	[ -z "$(xps -n -c "$JOB")" ]
	in_sleep
	grep -q '^State:[[:space:]]*S' "/proc/$(pid_of)/status"
}

@test "a UTS namespace" {
	need_cgroup
	start unshare --uts sleep 1000
	refused_for "UTS namespace"
}

@test "network and IPC namespaces: both are told" {
	need_cgroup
	start unshare --net --ipc sleep 1000
	refused_for "network namespace"
	refused_for "IPC namespace"
}

@test "a mount namespace" {
	need_cgroup
	start unshare --mount sleep 1000
	refused_for "mount namespace"
}

@test "a user namespace" {
	need_cgroup
	start unshare --user sleep 1000
	refused_for "user namespace"
}

@test "a plain process is not refused" {
	need_cgroup
	start sleep 1000
	run xcheckpoint -n "$JOB"
	status_is 0
}
