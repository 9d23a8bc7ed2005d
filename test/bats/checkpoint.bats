#!/usr/bin/env bats
# checkpoint and restart: Kerrighed's names and manners over the same engine (LinuxSSI D2.2.7).

bats_require_minimum_version 1.5.0
load helper
load ckpt

setup() { xos_setup; need_root; }

# A program that nobody supervises; its PID in $PID
program()
{
	# Output files of its own: what somebody above it has open too would be connected to the restart's.
	clean setsid sh -c 'exec >"$0.out" 2>"$0.err"; echo $$ >"$0.pid"; '"$COUNTER" "$PWD/$JOB" </dev/null >/dev/null 2>&1 &
	XOS_BACKGROUND="$XOS_BACKGROUND $!"
	wait_until grep -qx 3 "$JOB.out"
	PID=$(cat "$JOB.pid")
}

@test "versions lie under DIR/PID, counted from 1; what it prints" {
	program
	run --separate-stderr clean checkpoint --dir "$PWD/chkpt" -d "first of all" "$PID"
	status_is 0
	[ "${lines[0]}" = "Identifier: $PID" ]
	[ "${lines[1]}" = "Version: 1" ]
	[ "${lines[2]}" = "Description: first of all" ]
	[[ "${lines[3]}" == "Date: "* ]]
	clean checkpoint -c --dir "$PWD/chkpt" "$PID" | grep -qx "Version: 2"
	[ -s "chkpt/$PID/1.tar" ] && [ -s "chkpt/$PID/2.tar" ]
	[ "$(stat -c %a "chkpt/$PID/1.tar")" = 600 ]
	goes_on
}

@test "-k ends it, restart brings it back" {
	program
	clean checkpoint -q -k --dir "$PWD/chkpt" "$PID"
	wait_until gone "$PID"
	wait_until [ ! -e "/proc/$PID" ]
	run clean restart --dir "$PWD/chkpt" "$PID" 1
	status_is 0
	[ "$output" = "$PID" ]
	state_is "$PID" running
	alive "$PID"
	ends_right
}

@test "restart -f stays and ends as it does" {
	clean setsid sh -c 'echo $$ >pid; while [ ! -e go ]; do sleep 0.02; done; exit 9' </dev/null >/dev/null 2>&1 &
	wait_until [ -s pid ]
	PID=$(cat pid)
	clean checkpoint -q -k --dir "$PWD/chkpt" "$PID"
	wait_until [ ! -e "/proc/$PID" ]
	touch go
	run clean restart -f --dir "$PWD/chkpt" "$PID" 1
	status_is 9
}

@test "-f leaves it stopped, -u lets it go on, with a signal if wanted" {
	program
	clean checkpoint -q -f --dir "$PWD/chkpt" "$PID"
	[ "$(proc_state "$PID")" = T ]
	clean checkpoint -u "$PID"
	goes_on
	clean checkpoint -q -f --dir "$PWD/chkpt" "$PID"
	clean checkpoint -uTERM "$PID"
	wait_until gone "$PID"
}

@test "-a: any process of the application will do" {
	clean setsid sh -c 'echo $$ >pid; sleep 30 & echo $! >child; wait' </dev/null >/dev/null 2>&1 &
	wait_until [ -s child ]
	clean checkpoint -a --dir "$PWD/chkpt" "$(cat child)" >said
	# the topmost of its session: `timeout`, or what setsid ran
	id=$(sed -n 's/^Identifier: //p' said)
	[ "$id" != "$(cat child)" ]
	[ -s "chkpt/$id/1.tar" ]
	kill -9 "$(cat pid)" "$(cat child)"
}

@test "no such process 3, usage 2, no such version 3" {
	run -2 clean checkpoint
	run -2 clean checkpoint 1
	run -2 clean checkpoint nonsense
	run -3 clean checkpoint --dir "$PWD/chkpt" 4194300
	run -2 clean restart 77
	run -2 clean restart x 1
	run -3 clean restart --dir "$PWD/chkpt" 77 1
}
