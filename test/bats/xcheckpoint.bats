#!/usr/bin/env bats
# xcheckpoint as a user meets it: what it prints, which versions there are, and that the job goes on whatever happens.

bats_require_minimum_version 1.5.0
load helper
load ckpt

setup() { xos_setup; need_root; }

@test "it prints identifier, version, description and date; versions count up; xps lists them" {
	start
	run --separate-stderr clean xcheckpoint -d "after the first step" "$JOB"
	status_is 0
	[ "${lines[0]}" = "Identifier: $JOB" ]
	[ "${lines[1]}" = "Version: 1" ]
	[ "${lines[2]}" = "Description: after the first step" ]
	[[ "${lines[3]}" =~ ^Date:\ [A-Z][a-z]{2}\ [A-Z][a-z]{2}\ [\ 0-9][0-9]\ [0-9:]{8}\ [0-9]{4}$ ]]
	[ ${#lines[@]} -eq 4 ] && [ -z "$stderr" ]
	clean xcheckpoint "$JOB" | grep -qx "Version: 2"
	clean xcheckpoint -q "$JOB" | { ! grep .; }
	[ "$(versions)" = "1 2 3" ]
	[ "$(stat -c %a "$(image 1)" "$(image 3)" | sort -u)" = 600 ]
	[ "$(xps -n -c "$JOB" | wc -l)" -eq 3 ]
	goes_on
}

@test "descriptions: quotes, control characters, long ones; one line is printed, the image keeps all" {
	start
	local odd=$'a "b" $(c) `d` \\e\nsecond\tline\x01 \xc3\xa9'
	clean xcheckpoint -d "$odd" "$JOB" >said
	[ "$(wc -l <said)" -eq 4 ]
	grep -qx 'Description: a "b" $(c) `d` \\e second line  é' said
	clean xcheckpoint -q -d "$(head -c 5000 /dev/zero | tr '\0' x)" "$JOB"
	tar xOf "$(image 1)" description.txt >record
	[ "$(eval "$(grep ^DESCRIPTION= record)"; printf %b "$DESCRIPTION")" = "$(printf %b "$odd")" ]
	clean xcheckpoint -q -k "$JOB"
	clean xrestart -c "$JOB" 1
	clean xrestart -c "$JOB" 2
	clean xrestart -d -q "$JOB" 2
	ends_right
}

@test "-K keeps the newest, with what is noted beside them" {
	start
	for i in 1 2 3 4; do clean xcheckpoint -q "$JOB"; done
	clean xcheckpoint -q -K 2 "$JOB"
	[ "$(versions)" = "4 5" ]
	[ "$(ls -A "$XOS_STATE_DIR/checkpoints/$JOB")" = $'4.stat\n4.tar\n5.stat\n5.tar' ]
	clean xcheckpoint -q "$JOB"
	[ "$(versions)" = "4 5 6" ]
}

@test "-n lists and touches nothing" {
	start
	run --separate-stderr clean xcheckpoint -n "$JOB"
	status_is 0
	[[ "$output" == *"pid "*": sh, 1 thread"* ]]
	[[ "$output" == *"reg $PWD/$JOB.out"* ]]
	[ -z "$(versions)" ] && [ -z "$(ls -A "$XOS_STATE_DIR/checkpoints" 2>/dev/null)" ]
	goes_on
}

@test "-k ends the job, and xps calls it stopped; xcheckpoint then says how to bring it back" {
	start
	local pids=$(in_job "$JOB")
	clean xcheckpoint -q -k "$JOB"
	for pid in $pids; do wait_until gone "$pid"; done
	wait_until state_is "$JOB" stopped
	wait_until no_groups "$JOB"
	run --separate-stderr clean xcheckpoint "$JOB"
	status_is 3
	[[ "$stderr" == *"hint: "*"xrestart $JOB"* ]]
}

@test "-k SIGNAL: the signal, after the version is there" {
	clean xcgexec -d -j "$JOB" -o out -- sh -c 'trap "ls state/checkpoints/*/ ; exit 7" TERM; echo up; while :; do sleep 0.01; done'
	wait_until grep -q up out
	clean xcheckpoint -q -kTERM "$JOB"
	wait_until grep -q 1.tar out
	wait_until state_is "$JOB" stopped
	run --separate-stderr clean xcheckpoint -kNONSENSE "$JOB"
	status_is 2
}

@test "-s leaves every process stopped; xcgfreeze -u or SIGCONT lets them go on" {
	start
	clean xcheckpoint -q -s "$JOB"
	local pids=$(in_job "$JOB") pid
	for pid in $pids; do [ "$(proc_state "$pid")" = T ]; done
	local n=$(wc -l <"$JOB.out")
	sleep 0.2
	[ "$(wc -l <"$JOB.out")" -eq "$n" ]
	clean xcgfreeze -u "$JOB"
	goes_on
	clean xcheckpoint -q -s "$JOB"
	for pid in $(in_job "$JOB"); do kill -CONT "$pid"; done
	ends_right
	[ "$(versions)" = "1 2" ]
}

@test "a job that xcgfreeze holds: 4 at once, with a hint; it stays frozen; afterwards it works" {
	start
	clean xcgfreeze "$JOB"
	XOS_LIMIT=5 run --separate-stderr clean xcheckpoint "$JOB"
	status_is 4
	[[ "$stderr" == *"xcgfreeze -u $JOB"* ]]
	state_is "$JOB" frozen
	clean xcgfreeze -u "$JOB"
	clean xcheckpoint -q "$JOB"
	ends_right
}

@test "-a: all running jobs; one that cannot be checkpointed does not stop the others" {
	start "$JOB-a"
	start "$JOB-z"
	need_command python3
	clean xcgexec -d -q -j "$JOB-m" -o m.out -- python3 -c 'import socket,time
s = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM, 0); print("up", flush=True); time.sleep(60)'
	wait_until grep -q up m.out
	run --separate-stderr clean xcheckpoint -a
	status_is 5
	[[ "$stderr" == *"job $JOB-m: "* ]]
	[ "$(versions "$JOB-a") $(versions "$JOB-m") $(versions "$JOB-z")" = "1  1" ]
	goes_on "$JOB-a"
	goes_on "$JOB-z"
	clean xcgkill -q "$JOB-m"
	run clean xcheckpoint -q -a
	status_is 0
	[ "$(versions "$JOB-a") $(versions "$JOB-z")" = "1 2 1 2" ]
}

@test "-p: a process tree that no job holds" {
	clean setsid sh -c 'echo $$ >"$0.pid"; '"$COUNTER" "$PWD/tree" >tree.out 2>tree.err </dev/null &
	wait_until grep -qx 3 tree.out
	local pid=$(cat tree.pid)
	clean xcheckpoint -p "$pid" >said
	grep -qx "Identifier: $pid" said
	[ "$(versions "$pid")" = 1 ]
	touch tree.stop
	wait_until grep -qx end tree.out
	whole tree.out
}

@test "-o FILE and -o - hold the same kind of image; stdout holds nothing else" {
	start
	clean xcheckpoint -o image.tar "$JOB"
	clean xcheckpoint -o - "$JOB" | cat >stream.tar
	[ -z "$(versions)" ]
	[ "$(stat -c %a image.tar)" = 600 ]
	tar tf image.tar | grep -v task_ >a && tar tf stream.tar | grep -v task_ >b && grep -q global a && cmp a b
	clean xcheckpoint -q -k -o last.tar "$JOB"
	wait_until state_is "$JOB" stopped
	clean xrestart -c -i stream.tar
	clean xrestart -d -q -i last.tar
	ends_right
}

@test "-o to a pipe that is closed: an error, the job goes on" {
	start
	run --separate-stderr bash -c 'timeout 20 xcheckpoint -k -o - "$0" 3>&- 4>&- | true; exit ${PIPESTATUS[0]}' "$JOB"
	status_is 1
	goes_on
}

@test "busy: --nowait fails with 4, without it the second waits" {
	start
	clean xcheckpoint -o - "$JOB" > >(sleep 1; cat >/dev/null) &
	sleep 0.3
	run --separate-stderr clean xcheckpoint --nowait "$JOB"
	status_is 4
	clean xcheckpoint "$JOB" | grep -qx "Version: 1"
	wait
	goes_on
}

@test "no such job 3, usage 2" {
	run -3 clean xcheckpoint no-such-job
	run -2 clean xcheckpoint
	run -2 clean xcheckpoint -a "$JOB"
	run -2 clean xcheckpoint -p 1
	run -2 clean xcheckpoint -p 12x
	run -2 clean xcheckpoint -k -s "$JOB"
	run -2 clean xcheckpoint -K 0 "$JOB"
	run -2 clean xcheckpoint -o x "$JOB" other
	run -2 clean xcheckpoint ../evil
	run -3 clean xcheckpoint -p 4194300
	run -2 clean xcheckpoint --no-such-option
}

@test "several at once: each has a version of its own" {
	start
	local i pids=
	for i in 1 2 3 4; do
		clean xcheckpoint "$JOB" >"said.$i" &
		pids="$pids $!"
	done
	for i in $pids; do wait "$i"; done
	[ "$(sed -n 's/^Version: //p' said.* | sort -n | xargs)" = "1 2 3 4" ]
	[ "$(versions)" = "1 2 3 4" ]
	goes_on
}

@test "a job that ends meanwhile: done or no such job, nothing else, no hang" {
	local i n=10 status
	[ -z "$XOS_TEST_LONG" ] || n=200
	for i in $(seq $n); do
		clean xcgexec -q -j "$JOB" -- sleep "0.0$((RANDOM % 6))" &
		sleep "0.0$((RANDOM % 6))"
		status=0
		clean xcheckpoint -q "$JOB" 2>err || status=$?
		[ $status -eq 0 ] || [ $status -eq 3 ] || { echo "round $i: $status: $(cat err)" >&2; false; }
		wait $!
	done
}

@test "a job of somebody else: 8 for an ordinary user" {
	need_user
	start
	run --separate-stderr clean_user xcheckpoint --state-dir "$XOS_STATE_DIR" "$JOB"
	status_is 8
	run --separate-stderr clean_user xcheckpoint -p "$(in_job "$JOB" | head -n 1)"
	status_is 8
	goes_on
}

@test "a state directory where nothing can be written: 8, the job goes on" {
	need_user
	clean_user xcgexec -d -q -j "$JOB" -o "$XOS_USER_DIR/out" -- sh -c "$COUNTER" "$XOS_USER_DIR/no"
	wait_until grep -qx 3 "$XOS_USER_DIR/out"
	mkdir "$XOS_USER_DIR/state/checkpoints"
	run --separate-stderr clean_user xcheckpoint "$JOB"
	status_is 8
	chown $XOS_TEST_UID "$XOS_USER_DIR/state/checkpoints"
	clean_user xcheckpoint -q "$JOB"
	whole "$XOS_USER_DIR/out"
}

small_state() # SIZE: the state directory on a file system of that size
{
	mkdir -p "$XOS_STATE_DIR"
	mount -t tmpfs -o "size=$1,mode=700" xos-test "$XOS_STATE_DIR" || skip "cannot mount"
}

teardown()
{
	xos_teardown
	umount -l "$BATS_TEST_TMPDIR/state" 2>/dev/null || :
}

@test "a full disk: exit 9, no version, nothing left over, the job goes on; -k does not end it" {
	need_victim v_mem_anon
	local used how
	small_state 400k
	clean xcgexec -d -q -j "$JOB" -o out -e err -- "$XOS_BUILD/victim/v_mem_anon" "$PWD/p"
	wait_until [ -e p.ready ]
	used=$(du -s "$XOS_STATE_DIR" | cut -f 1)
	for how in "" -k -s; do
		run --separate-stderr clean xcheckpoint $how "$JOB"
		status_is 9
		[ -z "$(versions)" ]
		[ -z "$(ls -A "$XOS_STATE_DIR/checkpoints/$JOB")" ]
		[ "$(du -s "$XOS_STATE_DIR" | cut -f 1)" -le $((used + 4)) ]
		state_is "$JOB" running
		for pid in $(in_job "$JOB"); do [ "$(proc_state "$pid")" != T ]; done
	done
	mount -o remount,size=200m "$XOS_STATE_DIR"
	clean xcheckpoint -q -k "$JOB"
	clean xrestart -d -q "$JOB"
	touch p.go
	wait_until [ -e p.ok ]
}

@test "a read-only state directory: an error that says so, the job goes on" {
	small_state 4m
	start
	mount -o remount,ro "$XOS_STATE_DIR"
	run --separate-stderr clean xcheckpoint -k "$JOB"
	status_is 1
	[[ "$stderr" == *"ead-only"* ]]
	mount -o remount,rw "$XOS_STATE_DIR"
	goes_on
	state_is "$JOB" running
}

@test "-k killed between the record and the job's end: the job runs, the next command knows, and a later -k works" {
	start
	XOS_FAULT=ckpt-stopped:kill clean xcheckpoint -q -k "$JOB" || [ $? -eq 137 ]
	state_is "$JOB" running
	goes_on
	run --separate-stderr clean xrestart -d "$JOB"
	status_is 4
	clean xcheckpoint -q -k "$JOB"
	clean xrestart -d -q "$JOB"
	ends_right
}
