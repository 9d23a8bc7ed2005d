#!/usr/bin/env bats
# xrestart as a user meets it: the job is back whole, or nothing is there and the reason is told.

bats_require_minimum_version 1.5.0
load helper
load ckpt

setup() { xos_setup; need_root; }

# stopped [JOB]: started, checkpointed and ended
stopped()
{
	start "$@"
	clean xcheckpoint -q -k "${1:-$JOB}"
	wait_until no_processes "${1:-$JOB}"
	wait_until no_groups "${1:-$JOB}"
}

back() { clean xrestart -d -q "${1:-$JOB}" && ends_right "$@"; }

# refused STATUS TEXT ARGS: xrestart fails so, and nothing is there afterwards
refused()
{
	local want=$1 text=$2
	shift 2
	run --separate-stderr clean xrestart "$@"
	status_is "$want" || return 1
	[[ "$stderr" == *"$text"* ]] || { echo "# it says: $stderr" >&2; return 1; }
	no_processes
	wait_until no_groups "$JOB"
}

pids_of_image() { forge "$1" | sed -n 's/^task_\([0-9]*\) .*/\1/p'; }

# hold PID: somebody else gets that process id. 0, or 1 when it cannot be had.
hold()
{
	local i
	for i in 1 2 3 4 5; do
		echo $(($1 - 1)) >/proc/sys/kernel/ns_last_pid || return 1
		sleep 30 </dev/null >/dev/null 2>&1 3>&- &
		XOS_BACKGROUND="$XOS_BACKGROUND $!"
		if [ $! -eq "$1" ]; then
			echo $(($1 + 300)) >/proc/sys/kernel/ns_last_pid # whatever comes now stays away from the job's other PIDs
			return 0
		fi
	done
	return 1
}

@test "it comes back with its PIDs, prints its name with -d, and ends right" {
	stopped
	local pids=$(pids_of_image "$(image 1)")
	run clean xrestart -d "$JOB"
	[ "$output" = "$JOB" ]
	for pid in $pids; do alive "$pid" || ! grep -q MAIN <<<"$(forge "$(image 1)" global | grep "PID=\"$pid\"")"; done
	state_is "$JOB" running
	ends_right
	wait_until state_is "$JOB" done
	wait_until no_groups "$JOB"
}

@test "in the foreground: the job's status, 128+N, 75 when it is checkpointed and stopped again" {
	clean xcgexec -d -q -j "$JOB" -- sh -c 'echo up; while [ ! -e go ]; do sleep 0.02; done; exit $(cat go)'
	sleep 0.2
	clean xcheckpoint -q -k "$JOB"
	wait_until no_groups "$JOB"
	(sleep 0.4; echo 23 >go.new; mv go.new go) 3>&- &
	run clean xrestart "$JOB"
	status_is 23
	rm go
	(sleep 0.4; kill -9 $(field "$JOB" MAIN)) 3>&- &
	run clean xrestart "$JOB"
	status_is 137
	(sleep 0.4; timeout 20 xcheckpoint -q -k "$JOB") 3>&- &
	run clean xrestart "$JOB"
	status_is 75
	[ "$(versions)" = "1 2" ]
	(sleep 0.4; echo 5 >go.new; mv go.new go) 3>&- &
	run clean xrestart "$JOB"
	status_is 5
	wait
}

@test "-d: files for output are written on" {
	clean xcgexec -d -q -j "$JOB" -- sh -c 'echo one; echo uno >&2; while [ ! -e go ]; do sleep 0.02; done; echo two; echo due >&2'
	wait_until grep -q one "$XOS_STATE_DIR/jobs/$JOB/out"
	clean xcheckpoint -q -k "$JOB"
	wait_until no_groups "$JOB"
	clean xrestart -d -q "$JOB"
	touch go
	wait_until state_is "$JOB" done
	[ "$(cat "$XOS_STATE_DIR/jobs/$JOB/out")" = $'one\ntwo' ]
	[ "$(cat "$XOS_STATE_DIR/jobs/$JOB/err")" = $'uno\ndue' ]
}

@test "stdio that led outside is xrestart's own in the foreground" {
	(sleep 20 | clean xcgexec -j "$JOB" -- sh -c 'echo one; read x; echo "got $x"' | cat >first) 3>&- &
	wait_until grep -q one first
	clean xcheckpoint -q -k "$JOB"
	wait_until no_groups "$JOB"
	echo hello | clean xrestart "$JOB" | cat >second
	[ "$(cat second)" = "got hello" ]
	kill $(jobs -p) 2>/dev/null || :
}

@test "a PID in use: 4, naming it and who has it; afterwards it works" {
	stopped
	local pid=$(field "$JOB" MAIN) main
	main=$(forge "$(image 1)" global | sed -n 's/.* PID="\([0-9]*\)".*MAIN.*/\1/p')
	hold "$main" || skip "cannot get a PID of choice here"
	refused 4 "PID $main is in use by \"sleep\"" -d "$JOB"
	refused 4 "PID $main is in use by \"sleep\"" -c "$JOB"
	kill $!
	wait $! 2>/dev/null || :
	back
}

@test "a TID in use: 4" {
	need_victim v_threads
	clean xcgexec -d -q -j "$JOB" -o out -- "$XOS_BUILD/victim/v_threads" "$PWD/p"
	wait_until [ -e p.ready ]
	clean xcheckpoint -q -k "$JOB"
	wait_until no_groups "$JOB"
	local main=$(field "$JOB" MAIN) tid
	main=$(pids_of_image "$(image 1)" | head -n 1)
	tid=$(forge "$(image 1)" "task_$main" | sed -n 's/TYPE="thread" TID="\([0-9]*\)".*/\1/p' | tail -n 1)
	[ "$tid" != "$main" ]
	hold "$tid" || skip "cannot get a PID of choice here"
	refused 4 "PID $tid is in use by \"sleep\"" -d "$JOB"
	kill $!
	wait $! 2>/dev/null || :
	clean xrestart -d -q "$JOB"
	touch p.go
	wait_until [ -e p.ok ]
}

@test "-N: a namespace of its own when the PIDs are taken; checkpointed and restarted from there" {
	stopped
	local main=$(forge "$(image 1)" global | sed -n 's/.* PID="\([0-9]*\)".*MAIN.*/\1/p')
	hold "$main" || skip "cannot get a PID of choice here"
	clean xrestart -d -q -N "$JOB"
	goes_on
	grep -q "NSpid:.*	$main\$" /proc/[0-9]*/status
	clean xcheckpoint -q -k "$JOB"
	wait_until no_groups "$JOB"
	clean xrestart -d -q -N "$JOB"
	ends_right
	wait_until state_is "$JOB" done
}

@test "a job that runs: 4; -r replaces it" {
	start
	clean xcheckpoint -q "$JOB"
	run --separate-stderr clean xrestart -d "$JOB"
	status_is 4
	[[ "$stderr" == *"-r replaces"* ]]
	goes_on
	local n=$(wc -l <"$JOB.out")
	clean xrestart -d -q -r "$JOB"
	ends_right
}

@test "no such job or version 3, usage 2" {
	stopped
	run -3 clean xrestart -d no-such-job
	run -3 clean xrestart -d "$JOB" 7
	run -2 clean xrestart -d "$JOB" 0
	run -2 clean xrestart -d "$JOB" x
	run -2 clean xrestart
	run -2 clean xrestart -d "$JOB" 1 2
	run -2 clean xrestart -d -S nonsense "$JOB"
	run -2 clean xrestart -d ../evil
	run -1 clean xrestart -d -i no-such-file
	back
}

@test "every old version comes back" {
	start
	local i
	for i in 1 2 3; do
		clean xcheckpoint -q "$JOB"
		wc -l <"$JOB.out" >"lines.$i"
		goes_on
	done
	clean xcgkill -q "$JOB"
	wait_until no_groups "$JOB"
	for i in 3 2 1; do
		clean xrestart -d -q "$JOB" $i
		goes_on
		clean xcgkill -q "$JOB"
		wait_until no_groups "$JOB"
	done
	clean xrestart -d -q "$JOB" 1
	ends_right
}

@test "a log that has grown is cut back; one that shrank: 7" {
	start
	clean xcheckpoint -q "$JOB"
	goes_on
	clean xcgkill -q "$JOB"
	wait_until no_groups "$JOB"
	echo "not of the job" >>"$JOB.out"
	clean xrestart -d -q "$JOB"
	goes_on
	clean xcgkill -q "$JOB"
	wait_until no_groups "$JOB"
	: >"$JOB.out"
	refused 7 "$PWD/$JOB.out has 0 bytes" -d "$JOB"
	[ ! -s "$JOB.out" ]
	clean xrestart -d -q --accept-changed "$JOB"
	wait_until test -s "$JOB.out"
}

@test "-c changes nothing: a grown log stays as it is" {
	stopped
	echo more >>"$JOB.out"
	clean xrestart -c "$JOB"
	[ "$(tail -n 1 "$JOB.out")" = more ]
	back
}

@test "a file open for reading and writing that was changed: 7; --accept-changed takes it" {
	echo content >data
	clean xcgexec -d -q -j "$JOB" -- sh -c 'exec 5<>data; echo up; while [ ! -e go ]; do sleep 0.02; done; cat <&5 >got'
	sleep 0.2
	clean xcheckpoint -q -k "$JOB"
	wait_until no_groups "$JOB"
	sleep 0.02
	echo CHANGED >data
	refused 7 "$PWD/data was changed after the checkpoint" -d "$JOB"
	clean xrestart -d -q --accept-changed "$JOB"
	touch go
	wait_until grep -qx CHANGED got
}

@test "a missing open file, a missing working directory: 7, named, -L helps" {
	mkdir -p here/wd
	echo content >here/data
	(cd here/wd && clean xcgexec -d -q -j "$JOB" -o "$BATS_TEST_TMPDIR/out" -e "$BATS_TEST_TMPDIR/err" -- \
		sh -c 'exec 5<../data; echo up; while [ ! -e ../../go ]; do sleep 0.02; done; pwd -P >../../where; cat <&5 >../../got')
	wait_until grep -q up out
	clean xcheckpoint -q -k "$JOB"
	wait_until no_groups "$JOB"
	mv here/data moved
	refused 7 "$PWD/here/data" -d "$JOB"
	[[ "$stderr" == *"-L OLD=NEW"* ]]
	mv moved here/data
	mv here there
	refused 7 "$PWD/here" -d "$JOB"
	clean xrestart -d -q -L "$PWD/here=$PWD/there" "$JOB"
	touch go
	wait_until grep -qx content got
	[ "$(cat where)" = "$PWD/there/wd" ]
}

@test "an executable or mapped file that was changed or has gone: 7, named" {
	cp /bin/sleep own-sleep
	clean xcgexec -d -q -j "$JOB" -- "$PWD/own-sleep" 60
	sleep 0.2
	clean xcheckpoint -q -k "$JOB"
	wait_until no_groups "$JOB"
	mv own-sleep kept
	refused 7 "$PWD/own-sleep" -d "$JOB"
	cp kept own-sleep
	echo more >>own-sleep
	refused 7 "$PWD/own-sleep, which the job has mapped, is not the file that it was" -d "$JOB"
	rm own-sleep
	mv kept own-sleep
	clean xrestart -d -q "$JOB"
}

@test "a pipe to somebody outside: named; -S connects a file or a descriptor" {
	(exec 5> >(exec sleep 20 >/dev/null 2>&1); close_but 5; exec timeout 20 xcgexec -q -j "$JOB" -- \
		sh -c 'while [ ! -e go ]; do sleep 0.02; done; echo result >&5' </dev/null >/dev/null 2>&1) &
	wait_until state_is "$JOB" running
	sleep 0.2
	run --separate-stderr clean xcheckpoint -q -k "$JOB"
	status_is 0
	wait_until no_groups "$JOB"
	refused 7 "led outside the job" -d "$JOB"
	local id=$(grep -o '\-S [0-9]*=PATH' <<<"$stderr" | tr -dc 0-9)
	: >target
	touch go
	clean xrestart -d -q -S "$id=$PWD/target" "$JOB"
	wait_until grep -qx result target
	wait_until no_groups "$JOB"
	exec 7>other
	(close_but 7; timeout 20 xrestart -q -S "$id=fd:7" "$JOB")
	exec 7>&-
	[ "$(cat other)" = result ]
}

@test "-c: 0 when it fits; 7 and every mismatch when not" {
	stopped
	clean xrestart -c "$JOB"
	edit "$(image 1)" forged.tar profile 's/^CPU_FLAGS="/&no_such_flag /; s/^(VDSO_CRC=").*"/\10x1"/; s/^(PAGE_SIZE=").*"/\165536"/'
	run --separate-stderr clean xrestart -c -i forged.tar
	status_is 7
	[[ "$stderr" == *"PAGE_SIZE: "* && "$stderr" == *"no_such_flag"* && "$stderr" == *"VDSO_CRC: "* ]]
	refused 7 "this node does not fit" -d -i forged.tar
	edit "$(image 1)" forged.tar profile 's/^(ARCH=").*"/\1riscv64"/'
	refused 7 "ARCH: the image is of riscv64" -d -i forged.tar
	back
}

@test "ten checkpoints and restarts in one life" {
	start
	local i
	for i in 1 2 3 4 5 6 7 8 9 10; do
		clean xcheckpoint -q -k "$JOB"
		clean xrestart -d -q "$JOB"
		goes_on
	done
	[ "$(versions)" = "1 2 3 4 5 6 7 8 9 10" ]
	ends_right
	wait_until state_is "$JOB" done
}

@test "after xcgkill" {
	start
	clean xcheckpoint -q "$JOB"
	clean xcgkill -q "$JOB"
	wait_until no_groups "$JOB"
	back
}

@test "after its supervisor was killed, and after the restarted one's was" {
	start
	kill -9 "$(supervisor_of "$JOB")"
	clean xcheckpoint -q -k "$JOB"
	wait_until no_processes
	clean xrestart -d -q "$JOB"
	goes_on
	kill -9 "$(supervisor_of "$JOB")"
	goes_on
	clean xcheckpoint -q -k "$JOB"
	wait_until no_processes
	back
}

@test "its limits are there again" {
	need_cgroup memory
	need_cgroup pids
	clean xcgexec -d -q -j "$JOB" -l memory=64M -l pids=20 -o "$JOB.out" -- sh -c "$COUNTER" "$PWD/$JOB"
	wait_until grep -qx 3 "$JOB.out"
	clean xcheckpoint -q -k "$JOB"
	wait_until no_groups "$JOB"
	clean xrestart -d -q "$JOB"
	goes_on
	local f
	for f in $(groups_of "$JOB"); do cat "$f"/pids.max "$f"/memory.max "$f"/memory.limit_in_bytes 2>/dev/null || :; done >limits
	grep -qx 20 limits
	grep -qx $((64 << 20)) limits
	ends_right
}

@test "-i -: through a pipe, under another name" {
	start
	clean xcheckpoint -q -k -o - "$JOB" | clean xrestart -d -q -i - "$JOB-b"
	goes_on
	state_is "$JOB-b" running
	ends_right
	clean xcgkill -q "$JOB-b" || :
}

@test "the directory of a job's root and working directory" {
	need_command chroot
	mkdir -p jail/bin jail/in
	[ -x /bin/busybox ] || command -v ldd >/dev/null || skip "no way to fill a root directory"
	cp /bin/sh /bin/sleep jail/bin/
	for f in $(ldd /bin/sh /bin/sleep | grep -o '/[^ ]*' | grep -v ':$' | sort -u); do mkdir -p "jail${f%/*}" && cp "$f" "jail$f"; done
	clean xcgexec -d -q -j "$JOB" -o out -e err -- chroot jail /bin/sh -c \
		'cd /in; i=0; while [ ! -e /stop ]; do i=$((i+1)); echo $i; echo $i >rel; sleep 0.02; done; pwd'
	wait_until grep -qx 3 out
	clean xcheckpoint -q -k "$JOB"
	wait_until no_groups "$JOB"
	rm jail/in/rel
	clean xrestart -d -q "$JOB"
	wait_until [ -e jail/in/rel ]
	touch jail/stop
	wait_until grep -qx /in out
}
