#!/usr/bin/env bats
# xps: the lists of jobs and of checkpoints.

load helper

@test "xps: an empty state directory is an empty list" {
	run xps; status_is 0
	[ "${#lines[@]}" -eq 1 ]
	[[ $output == ID*STATE*CHECKPOINTER*PROCS*CPU*MEM*VERSION*AGE ]]
	run xps -n; status_is 0
	[ -z "$output" ]
	run xps -J; status_is 0
	[ "$(tr -d ' \n' <<<"$output")" = '{"jobs":[]}' ]
	[ ! -e "$XOS_STATE_DIR" ]
}

@test "xps: running jobs, and with -a those that are done" {
	xcgexec -j "$JOB-a" true
	xcgexec -d -j "$JOB-b" sh -c 'sleep 60 & wait'
	run xps -n -o ID,STATE; status_is 0
	[ "${#lines[@]}" -eq 1 ]
	[[ $output =~ ^$JOB-b\ +running ]]
	run xps -a -n -o ID,STATE
	[ "${#lines[@]}" -eq 2 ]
	[[ ${lines[0]} =~ ^$JOB-a\ +done ]]
	run xps -n -j "$JOB-a" -o STATE,EXIT; [[ $output =~ done\ +0 ]]
}

@test "xps: processes, command, limits and exit" {
	need_cgroup pids
	xcgexec -d -j "$JOB" -l pids=50 sh -c 'sleep 60 & sleep 60 & wait'
	wait_until eval '[ "$(xps -n -j "$JOB" -o PROCS | tr -d " ")" = 3 ]'
	eval "$(xps -P -j "$JOB" -o ID,PROCS,KIND,USER,PID,LIMITS,COMMAND,AGE,MEM)"
	[ "$ID" = "$JOB" ] && [ "$KIND" = cgroup ] && [ "$LIMITS" = pids=50 ]
	[ "$USER" = "$(id -un)" ] && [ "$PID" = "$(field "$JOB" MAIN)" ]
	[ "$COMMAND" = "sh -c 'sleep 60 & sleep 60 & wait'" ]
	[ "$AGE" -lt 60 ] && [ "$MEM" -gt 0 ]
	xcgkill "$JOB"
	run xps -n -j "$JOB" -o STATE,PROCS,EXIT
	[[ $output =~ ^done\ +0\ +KILL ]]
}

@test "xps: JSON is JSON" {
	need_command python3
	xcgexec -j "$JOB" sh -c 'exit 3' 'a "quoted" \ word' || :
	run python3 -c 'import json, subprocess
d = json.loads(subprocess.check_output(["xps", "-a", "-J", "-o", "+COMMAND,EXIT"]))["jobs"]
assert len([j for j in d if "quoted" in j["command"] and j["exit"] == "3" and j["state"] == "done"]) == 1, d
print("fine")'
	[ "$output" = fine ]
}

@test "xps: no such job is 3, unknown columns and operands are 2" {
	run xps -j nosuch; status_is 3
	[ "$output" = "xps: no such job: nosuch" ]
	run xps -c nosuch; status_is 3
	run xps -o BOGUS; status_is 2
	run xps operand; status_is 2
	run xps -P -J; status_is 2
}

@test "xps: frozen jobs are shown as such" {
	xcgexec -d -j "$JOB" sleep 60
	xcgfreeze "$JOB"
	state_is "$JOB" frozen
	xcgfreeze -u "$JOB"
	state_is "$JOB" running
}

@test "xps: one bad record does not hide the others" {
	xcgexec -j "$JOB" true
	mkdir "$XOS_STATE_DIR/jobs/broken"
	echo 'STATE="sideways"' >"$XOS_STATE_DIR/jobs/broken/job"
	run --separate-stderr xps -a -n -o ID; status_is 0
	[[ $output == "$JOB"* ]]
	[[ $stderr == *"job broken"*'STATE="sideways"'* ]]
	run xps -j broken; status_is 1
}

@test "xps: hostile records are refused, not believed" {
	mkdir -p "$XOS_STATE_DIR/jobs/x"
	r=$XOS_STATE_DIR/jobs/x/job
	for line in 'CGROUP_V2="/sys/fs/cgroup:/../../etc:"' 'CGROUP_V2="relative:/x:"' 'SUPERVISOR="-1"' 'SUPERVISOR="99999999999999"' \
		'MARK="zz"' 'JOBID="other"' 'STATE="running' 'OWNER_UID="x"'; do
		printf 'JOBID="x"\nSTATE="running"\n%s\n' "$line" >"$r"
		run xps -j x
		[ "$status" -ne 0 ] && [ "$status" -lt 126 ]
	done
	: >"$r"; run xps -j x; status_is 3
	rm "$r"; ln -s /etc/passwd "$r"; run xps -j x
	[ "$status" -ne 0 ] && [[ $output != *root:* ]]
}

@test "xps: -c lists versions, and says which image cannot be read" {
	d=$XOS_STATE_DIR/checkpoints/$JOB
	mkdir -p "$d"
	run xps -c; status_is 0
	[ "${#lines[@]}" -eq 1 ]
	[[ $output == JOB*VERSION*KIND*TIME*SIZE*PAUSE*DESCRIPTION ]]
	echo rubbish >"$d/3.tar"; echo x >"$d/.new.4.1"; echo x >"$d/05.tar"; echo x >"$d/note"
	run --separate-stderr xps -c "$JOB" -n -o JOB,VERSION,KIND,SIZE; status_is 6
	[ "${#lines[@]}" -eq 1 ]
	[[ $output =~ ^$JOB\ +3\ +unreadable\ +8 ]]
	[[ $stderr == *"$d/3.tar"* ]]
}

@test "xps: -c of a real checkpoint" {
	[ -x "$XOS_BUILD/bin/xcheckpoint" ] || skip "no xcheckpoint yet"
	xcgexec -d -j "$JOB" sleep 60
	run xcheckpoint -d 'first one' "$JOB"
	status_is 0
	eval "$(xps -P -c "$JOB")"
	[ "$JOB" = "$JOB" ] && [ "$VERSION" = 1 ] && [ "$DESCRIPTION" = "first one" ]
	[ "$SIZE" = "$(stat -c %s "$XOS_STATE_DIR/checkpoints/$JOB/1.tar")" ]
	[ "$TIME" -gt 1600000000 ]
	[ "$(xps -n -j "$JOB" -o VERSION | tr -d ' ')" = 1 ]
}

@test "xps: -a as root shows the jobs of the users, read-only" {
	need_user
	run run_as_user xcgexec -d -j "$JOB" sleep 60; status_is 0
	kill -9 "$(field "$JOB" SUPERVISOR "$XOS_USER_DIR/state")"
	before=$(stat -c '%i %Y' "$XOS_USER_DIR/state/jobs/$JOB/job")
	run xps -a
	status_is 0
	[ "$before" = "$(stat -c '%i %Y' "$XOS_USER_DIR/state/jobs/$JOB/job")" ]
}
