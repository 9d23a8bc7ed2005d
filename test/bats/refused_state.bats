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

@test "what is in an IPC namespace of its own" {
	need_cgroup
	need_command ipcmk
	start sh -c 'unshare --ipc sh -c "ipcmk -Q >/dev/null; exec sleep 1000"; :'
	refused_for "System V IPC objects in an IPC namespace of its own that not all members share"
}

@test "a PID namespace that has no process yet, and what is in an IPC namespace: both are told" {
	need_cgroup
	need_command ipcmk
	start sh -c 'unshare --ipc sh -c "ipcmk -Q >/dev/null; exec unshare --pid sleep 1000"; :'
	refused_for "another pid namespace for its children (made, still empty)"
	refused_for "System V IPC objects in an IPC namespace of its own that not all members share"
}

@test "a PID namespace that was entered from outside" {
	need_cgroup
	start sh -c 'unshare --pid --fork sleep 1000 & until p=$(cat /proc/$!/task/$!/children) && [ -n "$p" ]; do :; done; exec nsenter --pid --target ${p% } sh -c "exec sleep 1000"'
	wait_until has_entered
	refused_for "from outside"
}
has_entered() { run xcheckpoint -n "$JOB"; [[ $output == *"from outside"* ]]; }

@test "a plain process is not refused" {
	need_cgroup
	start sleep 1000
	run xcheckpoint -n "$JOB"
	status_is 0
}
