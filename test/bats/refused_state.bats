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

@test "control groups below the job's: empty ones, with all members, with one thread; when they are gone nothing is refused" {
	need_root
	need_command python3
	local dir member tid
	JOB="t$$-$BATS_TEST_NUMBER"
	xcgexec -d -j "$JOB" -o out -e err -- python3 -c '
import threading, time
for i in range(2): threading.Thread(target=lambda: time.sleep(1000)).start()
open("ready", "w")' >/dev/null 3>&- 4>&-
	wait_until test -e ready
	dir=$(ls -d /sys/fs/cgroup/*/xos/"$JOB" | head -n 1)
	[ -n "$dir" ] && [ -e "$dir/tasks" ] || skip "no control group of version 1 here"
	mkdir "$dir/below"
	run xcheckpoint "$JOB"
	[ "$status" -eq 5 ] && [[ "$output" == *"control group below below the job's"* ]]
	member=$(head -n 1 "$dir/cgroup.procs")
	echo "$member" >"$dir/below/cgroup.procs"
	run xcheckpoint "$JOB"
	[ "$status" -eq 5 ] && [[ "$output" == *"pid $member: thread $member is not in the job's control group"* ]]
	echo "$member" >"$dir/cgroup.procs"
	tid=$(ls "/proc/$member/task" | tail -n 1)
	echo "$tid" >"$dir/below/tasks"
	run xcheckpoint "$JOB"
	[ "$status" -eq 5 ] && [[ "$output" == *"thread $tid is not in the job's control group"* ]]
	echo "$tid" >"$dir/tasks"
	rmdir "$dir/below"
	xcheckpoint -q "$JOB" 3>&- 4>&-
	xcgkill -q "$JOB"
}
