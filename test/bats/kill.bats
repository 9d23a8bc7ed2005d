#!/usr/bin/env bats
# kill -9 of xcheckpoint and of xrestart at random instants: the job is never harmed; a restart is whole or nothing.
# The job: a program that watches all its registers, seven threads in blocking calls, three processes of three threads that
# watch their memory, and python3 where it is. XOS_TEST_LONG: 500 kills each instead of 20.

bats_require_minimum_version 1.5.0
load helper
load ckpt

setup()
{
	xos_setup
	need_root
	need_victim selfcheck
	need_victim regs_victim
	need_victim blocking7
	KILLS=20 HITS=0
	[ -z "$XOS_TEST_LONG" ] || KILLS=500
	PARTS="regs block self"
}

# What python does: big numbers, checked in two ways
PY='import os, sys
p = sys.argv[1]
open(p + ".ready", "w").close()
n = 0
while not os.path.exists(p + ".go"):
    a = 3 ** (500 + n % 100)
    if a % 1000007 != pow(3, 500 + n % 100, 1000007):
        open(p + ".fail", "w").write("a power is wrong")
        sys.exit(1)
    n += 1
    with open(p + ".n", "w") as f: f.write(str(n))
open(p + ".ok", "w").close()'

any() { local f; for f; do [ ! -e "$f" ] || return 0; done; return 1; }

victim_job() # JOB
{
	local v=$XOS_BUILD/victim part
	if command -v python3 >/dev/null; then PARTS="$PARTS py"; fi
	clean xcgexec -d -q -j "$1" -o out -e err -- sh -c '
		cd "$1" || exit 9
		"$0/regs_victim" "$1/regs" "$1/regs.count" &
		"$0/blocking7" "$1/block" "$1/block.count" &
		"$0/selfcheck" "$1/self" "$1/self.count" &
		case "$3" in *py*) python3 -c "$2" "$1/py" & ;; esac
		wait; echo all ended' "$v" "$PWD" "$PY" "$PARTS"
	for part in $PARTS; do wait_until any "$part.ready" "$part.skip"; done
	rm -f ./*.skip
	sleep 0.1
	NPROCS=$(in_job "$1" | wc -l)
}

members() { in_job "$JOB" 2>/dev/null | wc -l; }

unharmed() { ! ls ./*.fail >/dev/null 2>&1 || { head -c 500 ./*.fail >&2; return 1; }; }

# every part of it does something within a while, and finds nothing wrong
works()
{
	local old
	old=$(cksum regs.count block.count self.count)
	sleep 0.25
	unharmed || return 1
	[ "$(paste -d\\n <(echo "$old") <(cksum regs.count block.count self.count) | sort | uniq -d)" = "" ] ||
		{ echo "# something stands still" >&2; return 1; }
}

# no process of it is stopped, traced, or has other signals blocked than at first
sound()
{
	local pid bad=
	for pid in $(in_job "$JOB"); do
		for t in /proc/"$pid"/task/*; do
			grep -q '^State:.[Tt]' "$t/status" 2>/dev/null && bad="$bad $t stopped"
			grep -q '^TracerPid:.0$' "$t/status" || bad="$bad $t traced"
		done
	done
	[ -z "$bad" ] || { echo "#$bad" >&2; return 1; }
}

masks() { for pid in $(in_job "$JOB"); do grep -h SigBlk /proc/"$pid"/task/*/status; done | sort | uniq -c; }

# listed means whole
whole_versions()
{
	local v
	for v in $(versions); do
		forge "$(image "$v")" >/dev/null || { echo "# version $v is listed and not whole" >&2; return 1; }
	done
	rm -f "$XOS_STATE_DIR/checkpoints/$JOB"/*
}

ends_well()
{
	local part
	for part in $PARTS; do touch "$part.go"; done
	for part in $PARTS; do
		wait_until any "$part.ok" "$part.fail" || { echo "# $part does not end" >&2; return 1; }
	done
	unharmed
}

# like clean, but itself becomes the command, so that $! is that one
direct()
{
	for fd in /proc/"$BASHPID"/fd/*; do
		[ "${fd##*/}" -le 2 ] || eval "exec ${fd##*/}>&-"
	done
	exec "$@"
}

# killed_after MAX_MS COMMAND: kill -9 after 0 to MAX_MS ms
killed_after()
{
	local us=$((RANDOM * 32768 + RANDOM)) max=$1 pid
	us=$((us % (max * 1000)))
	shift
	direct "$@" >/dev/null 2>kill.err &
	pid=$!
	sleep "$(printf '%d.%06d' $((us / 1000000)) $((us % 1000000)))"
	! kill -9 "$pid" 2>/dev/null || HITS=$((HITS + 1))
	wait "$pid" 2>/dev/null || :
}

took() # COMMAND: in ms
{
	local a=$(date +%s%N)
	clean "$@" >/dev/null
	echo $((($(date +%s%N) - a) / 1000000 + 5))
}

shortest() # COMMAND: of three times
{
	printf '%s\n' "$(took "$@")" "$(took "$@")" "$(took "$@")" | sort -n | head -n 1
}

@test "xcheckpoint is killed: the job is unharmed, no partial version is listed" {
	local i max before
	victim_job "$JOB"
	before=$(masks)
	max=$(shortest xcheckpoint -q "$JOB")
	for i in $(seq $KILLS); do
		killed_after "$max" xcheckpoint -q "$JOB"
		unharmed || { echo "# kill $i" >&2; false; }
		[ $((i % 50)) -ne 0 ] || whole_versions
	done
	echo "# $i kills ($HITS before it ended) within $max ms; $(versions | wc -w) versions whole" >&3
	works
	sound
	[ "$(members)" -eq "$NPROCS" ]
	[ "$(masks)" = "$before" ] || { diff <(echo "$before") <(masks) >&2; false; }
	whole_versions
	clean xcheckpoint -q -k "$JOB"
	wait_until no_groups "$JOB"
	clean xrestart -d -q --accept-changed "$JOB"
	works
	[ "$(masks)" = "$before" ]
	ends_well
}

@test "xcheckpoint -k is killed: the job runs on, or has ended and comes back" {
	local i max n
	victim_job "$JOB"
	max=$(shortest xcheckpoint -q "$JOB")
	for i in $(seq $((KILLS / 2))); do
		killed_after $((max + 20)) xcheckpoint -q -k "$JOB"
		unharmed
		# the supervisor, or the next command, ends what is ended in part
		for n in $(seq 100); do
			xps -j "$JOB" >/dev/null || :
			n=$(members)
			[ "$n" -ne 0 ] && [ "$n" -ne "$NPROCS" ] || break
			sleep 0.05
		done
		if [ "$n" -eq 0 ]; then
			wait_until no_groups "$JOB"
			clean xrestart -d -q --accept-changed "$JOB" || { echo "# round $i" >&2; false; }
		fi
		[ "$(members)" -eq "$NPROCS" ] || { echo "# kill $i: $(members) of $NPROCS processes; $(xps -n -j "$JOB"); $(tail -n 3 out err)" >&2; false; }
	done
	works
	sound
	ends_well
}

# xrestart ARGS is killed again and again
restarts_killed()
{
	local i max n last= whole=0
	victim_job "$JOB"
	clean xcheckpoint -q -k "$JOB"
	wait_until no_groups "$JOB"
	max=$(($(took xrestart -d -q --accept-changed "$JOB") * 3 / 2))
	works
	clean xcgkill -q "$JOB"
	for i in $(seq $KILLS); do
		wait_until no_groups "$JOB" || { echo "# before kill $i: $last"; ls -la "$XOS_STATE_DIR/jobs/$JOB"; cat "$XOS_STATE_DIR/jobs/$JOB/job"; return 1; } >&2
		last=$(date +%s.%N)
		killed_after "$max" xrestart -q --accept-changed "$@" "$JOB"
		n=$(members)
		# what dies with its tracer needs a moment
		[ "$n" -eq "$NPROCS" ] || sleep 0.1
		n=$(members)
		if [ "$n" -eq "$NPROCS" ]; then
			whole=$((whole + 1))
			works && sound || { echo "# kill $i" >&2; return 1; }
			clean xcgkill -q "$JOB" || :
		else
			[ "$n" -eq 0 ] || sleep 0.5
			n=$(members)
			[ "$n" -eq 0 ] || { echo "# kill $i: $n of $NPROCS processes are there" >&2; return 1; }
			xps -j "$JOB" >/dev/null || :
		fi
		unharmed || { echo "# kill $i" >&2; return 1; }
	done
	echo "# $i kills ($HITS before it ended) within $max ms; $whole times the job ran" >&3
	wait_until no_groups "$JOB"
	clean xrestart -d -q --accept-changed "$JOB"
	works
	sound
	ends_well
}

@test "xrestart is killed: the whole job runs, or nothing is there; the next xrestart works" {
	restarts_killed
}

@test "xrestart fails at every step: nothing is left, and the job comes back afterwards" {
	local point how
	victim_job "$JOB"
	clean xcheckpoint -q -k "$JOB"
	wait_until no_groups "$JOB"
	for point in memory files state threads thread_state late finish disarm; do
		for how in "" :2 :4 :kill; do
			XOS_FAULT=restart.$point$how run --separate-stderr clean xrestart -d --accept-changed "$JOB"
			if [ "$how" = :kill ]; then
				[ "$status" -ne 0 ]
			else
				status_is 1 || { echo "# at $point$how" >&2; false; }
				[[ "$stderr" == *"fault point restart.$point"* ]]
			fi
			wait_until no_processes || { echo "# at $point$how" >&2; false; }
			xps -j "$JOB" >/dev/null || :
			wait_until no_groups "$JOB" || { echo "# at $point$how" >&2; false; }
		done
	done
	unharmed
	# Killed when it runs, and nothing is recorded but that it was to run: the next command sees it.
	XOS_FAULT=restart.record:kill run --separate-stderr clean xrestart --accept-changed "$JOB"
	status_is 137
	state_is "$JOB" running
	works
	clean xcgkill -q "$JOB"
	wait_until no_groups "$JOB"
	XOS_FAULT=restart.record run --separate-stderr clean xrestart -d --accept-changed "$JOB"
	status_is 1
	wait_until no_groups "$JOB"
	clean xrestart -d -q --accept-changed "$JOB"
	works
	sound
	ends_well
}
