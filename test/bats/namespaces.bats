#!/usr/bin/env bats
# Jobs whose members live in namespaces of their own, as unshare(1) makes them: numbers, clocks, IPC objects, host names after a restart; nothing left
# when xcheckpoint or xrestart dies; others who fork meanwhile; an ordinary user; PIDs in use.

bats_require_minimum_version 1.5.0
load helper
load ckpt

setup()
{
	xos_setup
	need_root
	need_command unshare
	need_command nsenter
	unshare -mpiunC --fork true 2>/dev/null || skip "no namespaces here"
	unshare -Urpf true 2>/dev/null || skip "no user namespaces here"
	place "$PWD"
	# A mount and a network namespace of the test's own: what others mount on the machine meanwhile is not the job's affair.
	background unshare -mn sh -c 'ip link set lo up 2>/dev/null; : >"$0/world"; exec sleep 1000' "$PWD"
	WORLD=$!
	RUN=inside
	wait_until test -e world
}

# place DIR: where the loops write. Each line of DIR/NAME is a count, $$, what /proc calls it ("-": nothing), and the number of a child forked for this line.
place()
{
	PLACE=$1 LOOP=$1/loop.sh
	cat >"$LOOP" <<-'SH'
		n=0
		until [ -e "$1/stop" ]; do
			n=$((n + 1)) self=-
			[ ! -e /proc/self/stat ] || read -r self rest </proc/self/stat
			sleep 0.02 &
			echo $n $$ $self $! >>"$1/$2"
			wait $!
		done
		touch "$1/$2.ended"
	SH
}

inside() { (close_but; exec timeout -k 5 "${XOS_LIMIT:-30}" nsenter --mount --net -t "$WORLD" "$@"); }

as_user()
{
	need_user
	need_command setpriv
	RUN=inside_user
	place "$XOS_USER_DIR"
}
inside_user()
{
	inside setpriv --reuid=$XOS_TEST_UID --regid=$XOS_TEST_UID --clear-groups --inh-caps=-all env HOME="$XOS_USER_DIR" \
		XOS_STATE_DIR="$XOS_USER_DIR/state" XOS_PAM_CONF="$XOS_USER_DIR/pam_xos.conf" PATH="$XOS_USER_DIR/bin:$PATH" "$@"
}

job() { $RUN xcgexec -d -q -j "$JOB" -o "$PLACE/out" -e "$PLACE/err" -- "$@"; }
away() { $RUN xcheckpoint -q -k "$JOB"; }
back() { $RUN xrestart -q -d "$JOB" >/dev/null; }

lines() { if [ -e "$PLACE/$1" ]; then wc -l <"$PLACE/$1"; else echo 0; fi; }
reaches() { [ "$(lines "$1")" -ge "$2" ]; }

# works NAME...: these loops go on
works()
{
	local name n
	for name; do
		n=$(lines "$name")
		wait_until reaches "$name" $((n + 5)) || { cat "$PLACE/err" >&2; return 1; }
	done
}

ends()
{
	local name
	touch "$PLACE/stop"
	for name; do wait_until test -e "$PLACE/$name.ended" || return 1; done
}

# numbers NAME PID [loose]: no line is missing, it was always PID ("-": the same) to itself and in its /proc, and its children's numbers came one after the other, none
# twice; loose: others forked there too
numbers()
{
	awk -v pid="$2" -v loose="${3:-}" '
		NR == 1 && pid == "-" { pid = $2 }
		$1 != NR || $2 != pid || ($3 != pid && $3 != "-") { print "line " NR " is " $0; bad = 1 }
		NR > 1 && (loose ? $4 <= last : $4 != last + 1) { print "line " NR ": child " $4 " after " last; bad = 1 }
		{ last = $4 }
		END { exit bad || NR < 10 }' "$PLACE/$1" >&2
}

line_of() { tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline"; }
# with_line TEXT PATTERN: processes in whose command line TEXT is, and that is like PATTERN; no children that have not executed yet
with_line()
{
	local f pid parent line
	for f in $(grep -lsF "$1" /proc/[0-9]*/cmdline); do
		f=${f#/proc/} pid=${f%/*}
		line=$(line_of "$pid") parent=$(sed -n 's/^PPid:.//p' "/proc/$pid/status" 2>/dev/null)
		# shellcheck disable=SC2053 # a pattern
		[[ $line != $2 ]] || [ "$line" = "$(line_of "${parent:-0}")" ] || echo "$pid"
	done
}
# The loops' shells, as the machine numbers them.
shells() { with_line "$LOOP" "sh $LOOP*"; }
shell_of() { with_line "$LOOP" "sh $LOOP $PLACE $1 "; }

# levels N: name and numbers of the loops' shells on the innermost N levels
levels()
{
	local p
	for p in $(shells); do
		echo "$(tr '\0' '\n' <"/proc/$p/cmdline" | tail -n 1)" "$(awk -v n="$1" '$1 == "NSpid:" { for (i = NF - n + 1; i <= NF; i++) printf " %s", $i }' "/proc/$p/status")"
	done | sort
}

# rounds N LEVELS NAME...: checkpointed, killed and restarted N times
rounds()
{
	local n=$1 levels=$2 before i
	shift 2
	works "$@"
	before=$(levels "$levels")
	[ "$(wc -l <<<"$before")" -eq $# ] || { echo "# loops: $before" >&2; return 1; }
	for ((i = 0; i < n; i++)); do
		$RUN xcheckpoint -q "$JOB" || return 1
		works "$@" || return 1
		away || return 1
		wait_until none_left || return 1
		back || return 1
		works "$@" || return 1
		[ "$(levels "$levels")" = "$before" ] || { echo "# were: $before, are: $(levels "$levels")" >&2; return 1; }
	done
}
# of the job, and of an xrestart that was making it
none_left() { [ -z "$(shells)$(with_line "$JOB" "xrestart *")" ]; }

# ---- numbers ----

@test "a PID namespace with its own /proc: numbers inside and outside, children get the next ones" {
	job unshare -pf --mount-proc sh "$LOOP" "$PLACE" a
	rounds 3 2 a
	ends a
	numbers a 1
}

@test "a PID namespace without its own /proc" {
	job unshare -pf sh -c 'exec sh "$0" "$1" a' "$LOOP" "$PLACE"
	rounds 2 2 a
	ends a
	awk '$2 != 1 || (NR > 1 && ($3 != self || $4 != last + 1)) { bad = 1 } { self = $3; last = $4 } END { exit bad }' "$PLACE/a"
}

@test "PID namespaces one in the other" {
	job unshare -pf --mount-proc sh -c 'unshare -pf --mount-proc sh "$0" "$1" b & sh "$0" "$1" a & wait' "$LOOP" "$PLACE"
	rounds 3 3 a b
	ends a b
	numbers a - loose
	numbers b 1
}

@test "a member looks through a mount namespace below at the /proc of the one above" {
	job unshare -Urpf --mount-proc sh -c 'unshare -Urm sh "$0" "$1" b & sh "$0" "$1" a & wait' "$LOOP" "$PLACE"
	rounds 2 2 a b
	ends a b
	numbers a - loose
	numbers b - loose
}

# ---- clocks ----

CLOCKS='import os, sys, time
clocks = [time.CLOCK_BOOTTIME, time.CLOCK_MONOTONIC]
last = [time.clock_gettime(c) for c in clocks]
with open(sys.argv[1] + "/first", "w") as f: print(*last, file=f)
n = 0
while not os.path.exists(sys.argv[1] + "/stop"):
    now = [time.clock_gettime(c) for c in clocks]
    for a, b in zip(last, now):
        if b < a or b - a > 30:
            with open(sys.argv[1] + "/clocks.bad", "a") as f: print("from", a, "to", b, file=f)
    last = now
    n += 1
    with open(sys.argv[1] + "/clocks", "a") as f: print(n, *now, file=f)
    time.sleep(0.02)
open(sys.argv[1] + "/clocks.ended", "w")'

@test "a time namespace: its clocks neither go back nor leap, also on a machine with other clocks" {
	need_command python3
	local offset
	unshare -T --boottime 1000 true 2>/dev/null || skip "no time namespaces here"
	job unshare --time --boottime 1000000 --monotonic 500000 --fork python3 -c "$CLOCKS" "$PLACE"
	works clocks
	awk '$1 < 1000000 || $2 < 500000 { exit 1 }' first
	for offset in 0 -300 40000 -200 0; do
		away
		unshare -T --monotonic $offset --boottime $offset true || skip "no such clocks here"
		inside unshare -T --monotonic $offset --boottime $offset xrestart -q -d "$JOB" >/dev/null
		works clocks
	done
	ends clocks
	[ ! -e clocks.bad ] || { cat clocks.bad >&2; false; }
	awk '{ exit $2 < 1000000 || $3 < 500000 }' <(tail -n 1 clocks)
}

# ---- IPC ----

# victim_in VICTIM COMMAND...: a victim below that command, twice killed and restarted, then it looks itself
victim_in()
{
	local v=$1 at=$PLACE/$1
	shift
	need_victim "$v"
	job "$@" "$at" || return 1
	wait_until any "$at.ready" "$at.fail" "$at.skip" || { cat "$PLACE/err" >&2; return 1; }
	[ -e "$at.ready" ] || { cat "$at".[fs]* >&2; return 1; }
	for i in 1 2; do
		away && back || return 1
	done
	touch "$at.go"
	wait_until any "$at.ok" "$at.fail" || { echo "# $v says nothing" >&2; return 1; }
	[ -e "$at.ok" ] || { cat "$at.fail" >&2; return 1; }
}
any() { local f; for f; do [ ! -e "$f" ] || return 0; done; return 1; }

@test "System V objects and message queues of an IPC namespace that all members share" {
	local v own=$JOB id
	id=$(ipcmk -Q | grep -o '[0-9]*$')
	for v in v_sysv_msg v_sysv_shm v_sysv_sem v_mqueue; do
		JOB=$own-$v
		victim_in $v unshare -i "$XOS_BUILD/victim/$v"
		JOB=$own-$v-user
		rm -f "$PLACE/$v".*
		victim_in $v unshare -Uri "$XOS_BUILD/victim/$v"
	done
	# the machine's own, which may have the same id, is as it was
	ipcs -q -i "$id" | grep -q 'qnum=0'
	ipcrm -q "$id"
}

# ---- host names ----

@test "host names: inside kept, the machine's own never touched" {
	local machine p
	machine=$(uname -n)
	job unshare -u sh -c 'hostname inside-of-it && exec sh "$0" "$1" a' "$LOOP" "$PLACE"
	works a
	for i in 1 2; do
		[ "$(nsenter -u -t "$(shell_of a)" uname -n)" = inside-of-it ]
		away
		[ "$(uname -n)" = "$machine" ]
		back
		works a
		[ "$(nsenter -u -t "$(shell_of a)" uname -n)" = inside-of-it ]
		[ "$(uname -n)" = "$machine" ]
	done
	ends a
}

# ---- who dies in between ----

# What is on the machine of the world, besides the job.
machine()
{
	{
		cat "/proc/$WORLD/mountinfo"
		sed 's/:.*//' "/proc/$WORLD/net/dev"
		uname -n
		find /sys/fs/cgroup -path "*$JOB*" -type d
		ls "$PLACE" | grep -v '^[ab]$\|\.ended$'
	} | sort
}

# Processes that live in one of these namespaces (inode numbers) and are none of the job's.
strangers()
{
	local p mine
	mine=" $(in_job "$JOB" | tr '\n' ' ') "
	for p in /proc/[0-9]*; do
		[[ "$mine" == *" ${p#/proc/} "* ]] || ! readlink "$p"/ns/* 2>/dev/null | grep -qxF "$1" || echo "${p#/proc/}: $(cat "$p/comm")"
	done
}

everything()
{
	job unshare -mpiunC --fork --mount-proc sh -c '
		hostname everything; mount -t tmpfs none /mnt; echo content >/mnt/file; ip link add dum0 type dummy 2>/dev/null
		unshare -Uriun sh "$0" "$1" b & sh "$0" "$1" a & wait' "$LOOP" "$PLACE"
}
still_everything()
{
	local p
	works a
	p=$(shell_of a)
	[ "$(nsenter -u -t "$p" uname -n)" = everything ] && [ "$(cat "/proc/$p/root/mnt/file")" = content ]
}

@test "xcheckpoint killed at any moment: the job goes on, nothing of ours is left in its namespaces" {
	local before spaces i
	job unshare -mpiunC --fork --mount-proc sh "$LOOP" "$PLACE" a
	works a
	spaces=$(readlink "/proc/$(shell_of a)"/ns/*)
	spaces=$(grep -vxFf <(readlink "/proc/$WORLD"/ns/*) <<<"$spaces" | sort -u)
	[ "$(wc -l <<<"$spaces")" -ge 6 ]
	before=$(machine)
	for ((i = 0; i < ${#XOS_TEST_LONG} * 190 + 10; i++)); do
		inside xcheckpoint -q "$JOB" >/dev/null 2>&1 &
		sleep "0.0$((RANDOM % 10))$((RANDOM % 10))"
		killed xcheckpoint
		wait $! || :
		works a
		wait_until no_strangers "$spaces" || { strangers "$spaces" >&2; false; }
	done
	XOS_FAULT=ckpt-stopped:kill inside xcheckpoint -q "$JOB" >/dev/null 2>&1 || :
	rm -rf "$XOS_STATE_DIR/checkpoints/$JOB"
	same_machine "$before" || { comm -13 <(echo "$before") <(machine) >&2; false; }
	works a
	away
	back
	works a
	ends a
	numbers a 1
}
no_strangers() { [ -z "$(strangers "$1")" ]; }
# That of this job, by its number.
killed() { local p; for p in $(with_line "$JOB" "$1 *"); do kill -9 "$p" 2>/dev/null || :; done; }

@test "xrestart fails or is killed at any step: nothing is left, and the job comes back afterwards" {
	local before point how
	everything
	still_everything
	works b
	away
	wait_until no_groups "$JOB"
	before=$(machine)
	for point in namespaces memory files state threads thread_state late finish disarm record; do
		for how in "" :2 :4 :kill; do
			# that it is recorded fails when it has run already, and then it is ended: kill.bats
			[ "$point$how" != "record${how#:kill}" ] || continue
			XOS_FAULT=restart.$point$how run inside xrestart -d "$JOB"
			[ "$status" -ne 0 ] || { echo "# restart.$point$how did not fail" >&2; false; }
			if [ "$point" = record ]; then # it runs, and the next command sees it
				still_everything
				away
			fi
			wait_until none_left || { echo "# after restart.$point$how: $(shells)" >&2; false; }
			inside xps >/dev/null || :
			wait_until same_machine "$before" || { echo "# after restart.$point$how:" >&2; comm -13 <(echo "$before") <(machine) >&2; false; }
		done
	done
	back
	still_everything
	works b
	ends a b
	numbers a - loose
}
# What was mounted from the machine may go when others remove it there.
same_machine() { [ -z "$(comm -13 <(echo "$1") <(machine))" ]; }

@test "xrestart killed at random: the whole job, or nothing" {
	local before i
	everything
	still_everything
	works b
	away
	wait_until no_groups "$JOB"
	before=$(machine)
	for ((i = 0; i < ${#XOS_TEST_LONG} * 190 + 10; i++)); do
		inside xrestart -q -d "$JOB" >/dev/null 2>&1 &
		sleep "0.$((RANDOM % 2))$((RANDOM % 10))$((RANDOM % 10))"
		killed xrestart
		wait $! || :
		inside xps >/dev/null || :
		if [ "$(state_of "$JOB")" = running ]; then
			works a b
			away
		fi
		wait_until none_left
		wait_until same_machine "$before" || { comm -13 <(echo "$before") <(machine) >&2; false; }
	done
	back
	still_everything
	works b
	ends a b
	numbers a - loose
}

# ---- others who fork ----

@test "while others fork: the right numbers, or a refusal that says who has them" {
	local before ok=0 i try
	job unshare -Urpf --mount-proc sh -c 'sh "$0" "$1" b & sh "$0" "$1" a & wait' "$LOOP" "$PLACE"
	works a b
	before=$(levels 2)
	touch storm # its end, even if nobody kills it: teardown removes the directory
	background sh -c 'while [ -e storm ]; do /bin/true; done'
	for ((i = 0; i < 3; i++)); do
		away
		wait_until none_left
		for ((try = 0; try < 20; try++)); do
			run --separate-stderr inside xrestart -d "$JOB"
			[ "$status" -ne 0 ] || break
			status_is 4
			[[ "$stderr" == *"in use"* ]] || { echo "# $stderr" >&2; false; }
			wait_until none_left
		done
		if [ "$status" -ne 0 ]; then # the number has come to somebody who keeps it
			alive "$(sed -n 's/.*PID \([0-9]*\) is in use.*/\1/p' <<<"$stderr")"
			break
		fi
		ok=$((ok + 1))
		works a b
		[ "$(levels 2)" = "$before" ] || { echo "# were: $before, are: $(levels 2)" >&2; false; }
	done
	[ $ok -gt 0 ] || skip "a number of the job was in use all the time"
	[ $ok -eq 3 ] || return 0
	ends a b
	numbers a - loose
}

@test "the machine's counter of PIDs goes on where it was" {
	# The machine is a PID namespace here, so that nobody else forks.
	XOS_LIMIT=60 inside unshare -pf --mount-proc --kill-child sh -c '
		xcgexec -d -q -j "$2" -o "$1/out" -e "$1/err" -- unshare -Urpf --mount-proc sh "$0" "$1" a
		until [ -s "$1/a" ]; do sleep 0.02; done
		echo 20000 >/proc/sys/kernel/ns_last_pid
		for i in 1 2; do
			xcheckpoint -q -k "$2" || exit
			before=$(cat /proc/sys/kernel/ns_last_pid)
			xrestart -q -d "$2" >/dev/null || exit
			after=$(cat /proc/sys/kernel/ns_last_pid)
			echo $before $after >>"$1/counter"
			sleep 0.3
		done
		touch "$1/stop"
		until [ -e "$1/a.ended" ]; do sleep 0.02; done' "$LOOP" "$PLACE" "$JOB"
	numbers a 1
	awk '$1 < 20000 || $2 <= $1 || $2 > $1 + 200 { print "the counter was " $1 ", is " $2; bad = 1 } END { exit bad || NR != 2 }' counter >&2
}

# ---- an ordinary user ----

@test "an ordinary user: PID namespaces, network namespaces" {
	as_user
	job unshare -Urpf --mount-proc sh "$LOOP" "$PLACE" a
	rounds 3 2 a
	ends a
	numbers a 1
	rm "$PLACE/stop"
	JOB=$JOB-2
	job unshare -Urpf sh "$LOOP" "$PLACE" b
	rounds 2 2 b
	ends b
	rm "$PLACE/stop"
	JOB=$JOB-3
	job unshare -Urn sh -c 'ip link set lo up 2>/dev/null; exec sh "$0" "$1" c' "$LOOP" "$PLACE"
	rounds 2 1 c
	ends c
}

@test "an ordinary user: all kinds at once" {
	as_user
	job unshare -UrmpiunCf --mount-proc sh -c 'hostname all-of-them; exec sh "$0" "$1" a' "$LOOP" "$PLACE"
	rounds 3 2 a
	[ "$(nsenter -u -t "$(shell_of a)" uname -n)" = all-of-them ]
	ends a
	numbers a 1
}

@test "an ordinary user who may make no user namespace: refused with the reason, nothing is left" {
	as_user
	need_command setpriv
	job sh "$LOOP" "$PLACE" a
	works a
	away
	wait_until none_left
	run inside_user unshare -U --map-current-user --keep-caps sh -c 'echo 0 >/proc/sys/user/max_user_namespaces &&
		exec setpriv --ambient-caps=-all --inh-caps=-all xrestart -d "$0"' "$JOB"
	[ "$status" -ne 0 ]
	[[ "$output" == *"user.max_user_namespaces"* ]] || { echo "# $output" >&2; false; }
	none_left
	back
	works a
	ends a
	numbers a - loose
}

# ---- a PID in use ----

# hold PID: a process of the machine has it
hold()
{
	local i
	for i in $(seq 50); do
		echo $(($1 - 1)) >/proc/sys/kernel/ns_last_pid || return 1
		background sleep 1000
		if [ $! -eq "$1" ]; then
			echo $(($1 + 300)) >/proc/sys/kernel/ns_last_pid # whatever comes now stays away from the job's other PIDs
			return 0
		fi
	done
	return 1
}

@test "the outer number of a process in a PID namespace is in use: refused by name, -N brings it back all the same" {
	local p before
	job unshare -pf --mount-proc sh "$LOOP" "$PLACE" a
	works a
	p=$(shell_of a)
	before=$(levels 2)
	away
	wait_until gone "$p"
	hold "$p" || skip "cannot get a PID of choice here"
	run inside xrestart -d "$JOB"
	status_is 4
	[[ "$output" == *"PID $p is in use by \"sleep\""* ]] || { echo "# $output" >&2; false; }
	none_left
	for i in 1 2; do
		inside xrestart -q -d -N "$JOB" >/dev/null
		works a
		[ "$(levels 2)" = "$before" ]
		away
		wait_until none_left
	done
	inside xrestart -q -d -N "$JOB" >/dev/null
	works a
	ends a
	numbers a 1
}
