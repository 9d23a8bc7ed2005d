#!/usr/bin/env bats
# xcgfreeze: stops every process of a job, and lets them go on.

load helper

# A job whose processes count in files of their own; a counter that stands still is a stopped process.
counters='for i in 1 2 3; do (n=0; while :; do n=$((n+1)); echo $n >count.$i; sleep 0.02; done) & done; wait'

sum() { cat count.1 count.2 count.3 | tr '\n' ' '; }
stands() { local a; a=$(sum); sleep 0.3; [ "$a" = "$(sum)" ]; }
moves() { local a; a=$(sum); sleep 0.5; [ "$a" != "$(sum)" ]; }

check()
{
	wait_until test -s count.1 -a -s count.2 -a -s count.3
	moves
	run xcgfreeze "$JOB"; status_is 0
	stands
	state_is "$JOB" frozen
	run xcgfreeze "$JOB"; status_is 0
	run xcgfreeze -u "$JOB"; status_is 0
	wait_until moves
	state_is "$JOB" running
	run xcgfreeze -u "$JOB"; status_is 0
}

@test "xcgfreeze: a job in a control group" {
	need_cgroup
	xcgexec -d -j "$JOB" bash -c "$counters"
	check
}

@test "xcgfreeze: a tree job" {
	echo 'UseCgroups no' >"$XOS_PAM_CONF"
	xcgexec -d -j "$JOB" bash -c "$counters"
	check
	field_is "$JOB" KIND tree
}

@test "xcgfreeze: frozen jobs are not ended, and end when they go on" {
	xcgexec -d -j "$JOB" sleep 1
	xcgfreeze "$JOB"
	sleep 1.3
	state_is "$JOB" frozen
	xcgfreeze -u "$JOB"
	wait_until field_is "$JOB" STATE done
	field_is "$JOB" EXIT 0
}

@test "xcgfreeze: several jobs at once" {
	xcgexec -d -j "$JOB-a" sleep 60
	xcgexec -d -j "$JOB-b" sleep 60
	run xcgfreeze "$JOB-a" "$JOB-b"; status_is 0
	state_is "$JOB-a" frozen && state_is "$JOB-b" frozen
	run xcgfreeze -u "$JOB-a"; status_is 0
	state_is "$JOB-a" running && state_is "$JOB-b" frozen
}

@test "xcgfreeze: not a running job, no such job, usage" {
	xcgexec -j "$JOB" true
	run xcgfreeze "$JOB"; status_is 1
	[[ $output == *"$JOB is not running"* ]]
	run xcgfreeze nosuch; status_is 3
	run xcgfreeze; status_is 2
}

@test "xcgfreeze: --nowait fails with 4 while another command holds the job" {
	need_command python3
	xcgexec -d -j "$JOB" sleep 60
	python3 -c 'import fcntl, struct, os, sys, time
f = open(sys.argv[1] + "/lock", "r+b")
fcntl.fcntl(f, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)) # F_OFD_SETLK
open("locked", "w").close()
time.sleep(30)' "$XOS_STATE_DIR/jobs/$JOB" </dev/null >/dev/null 2>&1 3>&- &
	XOS_BACKGROUND="$XOS_BACKGROUND $!"
	holder=$!
	wait_until test -e locked
	run xcgfreeze --nowait "$JOB"; status_is 4
	state_is "$JOB" running
	kill $holder
	run xcgfreeze "$JOB"; status_is 0
}
