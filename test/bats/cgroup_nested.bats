#!/usr/bin/env bats
# Control groups below the job's own: checkpointed, restarted, refused by name, gone with the job, whoever is killed when.

bats_require_minimum_version 1.5.0
load helper
load ckpt

# A v2 group of the job's, or one of that v1 controller; below the mount that the record names.
group() { local p; p=$(field "${2:-$JOB}" "CGROUP_$1"); p=${p%:*}; echo "${p%%:*}${p#*:}"; }
v2() { group V2; }
main_of() { field "$JOB" MAIN; }

# nested [JOB]: a counting job whose main process is in a group two below its own, in each hierarchy that it has, with limits
nested()
{
	local job=${1:-$JOB} dir main
	start "$job"
	main=$(field "$job" MAIN)
	for dir in $(groups_of "$job"); do
		mkdir "$dir/a" "$dir/a/b" "$dir/empty"
		echo "$main" >"$dir/a/b/cgroup.procs"
		[ ! -e "$dir/a/cgroup.max.depth" ] || echo 7 >"$dir/a/cgroup.max.depth"
		[ ! -e "$dir/a/memory.limit_in_bytes" ] || echo 64M >"$dir/a/memory.limit_in_bytes"
		[ ! -e "$dir/a/pids.max" ] || echo 50 >"$dir/a/pids.max"
	done
}

# state_of_groups JOB: paths, owners, limits and members of all groups below the job's
state_of_groups()
{
	local dir g
	for dir in $(groups_of "$1"); do
		find "$dir" -mindepth 1 -type d -printf '%p %U %G %m\n' | sort
		for g in a a/b empty; do
			(cd "$dir/$g" && for f in cgroup.max.depth memory.limit_in_bytes pids.max; do
				[ ! -e $f ] || echo "$f $(cat $f)"
			done)
		done
		grep -x "$(field "$1" MAIN)" "$dir/a/b/cgroup.procs"
	done
}

no_groups_at_all() { no_groups "$JOB" && [ -z "$(find /sys/fs/cgroup -path "*/xos/$JOB*" 2>/dev/null)" ]; }

@test "nested groups with limits: checkpoint, kill, restart, twice; xps, xcgfreeze and xcgkill find who is in them" {
	need_cgroup
	nested
	state_of_groups "$JOB" >before
	xcheckpoint -n "$JOB" | grep -q '^control group a/b '
	for i in 1 2; do
		clean xcheckpoint -k -q "$JOB"
		no_groups_at_all
		clean xrestart -d -q "$JOB" >/dev/null
		state_of_groups "$JOB" >after
		diff before after
		goes_on
	done
	[ "$(xps -n -j "$JOB" -o PROCS | tr -d ' ')" -ge 1 ]
	main=$(main_of)
	xcgfreeze "$JOB"
	state_is "$JOB" frozen
	was=$(wc -l <"$JOB.out")
	sleep 0.2
	[ "$(wc -l <"$JOB.out")" -eq "$was" ]
	xcgfreeze -u "$JOB"
	goes_on
	xcgkill -q "$JOB"
	gone "$main"
	no_groups_at_all
}

@test "the end of the job takes the groups away, also when nobody supervises it" {
	need_cgroup
	nested
	touch "$JOB.stop"
	wait_until no_groups_at_all
	JOB=$JOB-2
	nested
	kill -9 "$(supervisor_of "$JOB")"
	touch "$JOB.stop"
	wait_until gone "$(main_of)"
	wait_until eval 'xps -n >/dev/null; no_groups_at_all'
}

@test "xcgexec -w waits for who is in a nested group" {
	need_v2
	clean xcgexec -d -w -j "$JOB" -- sh -c 'sleep 1000 & echo $! >child; mkdir "$0/xos/$XOS_JOBID/below"; echo $! >"$0/xos/$XOS_JOBID/below/cgroup.procs"; touch ready' "$(v2_mount)" >/dev/null
	wait_until test -e ready
	wait_until gone "$(main_of)"
	sleep 0.3
	state_is "$JOB" running
	kill "$(cat child)"
	wait_until no_groups_at_all
	wait_until state_is "$JOB" done
}

@test "a failed restart leaves nothing: faults before, among and after the groups" {
	need_cgroup
	local f
	nested
	clean xcheckpoint -k -q "$JOB"
	for f in restart.groups restart.groups:2 restart.groups:5 restart.memory restart.threads restart.group_limits restart.finish restart.disarm restart.record; do
		XOS_FAULT=$f run clean xrestart -d "$JOB"
		[ "$status" -ne 0 ]
		wait_until no_groups_at_all || { echo "after $f: $(find /sys/fs/cgroup -path "*/xos/$JOB*" -type d)"; false; }
	done
	clean xrestart -d -q "$JOB" >/dev/null
	goes_on
}

@test "xrestart killed: the next command leaves nothing of its groups" {
	need_cgroup
	local f
	nested
	clean xcheckpoint -k -q "$JOB"
	for f in restart.groups:kill restart.memory:kill restart.late:kill restart.group_limits:kill restart.finish:kill; do
		XOS_FAULT=$f run clean xrestart -d "$JOB"
		[ "$status" -ne 0 ]
		wait_until no_processes
		xps -n >/dev/null
		wait_until no_groups_at_all || { echo "after $f: $(find /sys/fs/cgroup -path "*/xos/$JOB*" -type d)"; false; }
	done
	for i in $(seq 8); do
		(close_but; exec setsid xrestart -q "$JOB") &
		pid=$!
		sleep "0.0$((RANDOM % 60 + 10))"
		kill -9 $pid
		wait $pid 2>/dev/null || :
		# it may be back already: then it lives on, whole
		if [ -n "$(for g in $(groups_of "$JOB"); do find "$g" -name cgroup.procs -exec cat {} +; done)" ] && xps -n -j "$JOB" -o STATE | grep -q running; then
			goes_on
			clean xcheckpoint -k -q "$JOB"
		fi
		xps -n >/dev/null
		wait_until no_groups_at_all
	done
	clean xrestart -d -q "$JOB" >/dev/null
	ends_right
}
