#!/usr/bin/env bats
# System V IPC and POSIX message queues: ids that are free, taken, left by the killed job, used by others; real programs. What
# the objects hold is checked by the victims v_sysv_*, v_mqueue, v_posix_shm (victims.bats).

bats_require_minimum_version 1.5.0
load helper

there() { local f; for f in "$@"; do [ -e "$f" ] && return 0; done; return 1; }
teardown() { ipc_away; xos_teardown; }

# Objects of a test are found by their owner's mark: a key that begins with 0x7b5, or an id in $MINE.
ipc_away()
{
	local kind x
	for kind in m s q; do
		for x in $(ipcs -$kind | awk '$1 ~ /^0x7b5/ { print $2 }'); do ipcrm -$kind "$x" 2>/dev/null || :; done
	done
	for x in $MINE; do ipcrm -"${x%:*}" "${x#*:}" 2>/dev/null || :; done
}
key() { printf "0x7b5%05x" $((($$ * 16 + $1) & 0xfffff)); }

start()
{
	xcgexec -d -j "$JOB" -o out -e err -- "$@" >/dev/null 3>&- 4>&- 10>&- 251>&-
	wait_until there ready
}
back() { xrestart -d -q "$@" "$JOB" >/dev/null 3>&- 4>&- 10>&- 251>&-; }

# A program of perl's own shmget, semop, msgsnd. It says what it sees after `go`.
owner='
	use strict; $| = 1;
	my ($k1, $k2, $k3) = map { hex } @ARGV;
	my $shm = shmget($k1, 70000, 0600 | 01000) // die; my $sem = semget($k2, 3, 0600 | 01000) // die;
	my $msg = msgget($k3, 0600 | 01000) // die;
	shmwrite($shm, "content", 65000, 7) or die;
	semop($sem, pack("s*", 1, 5, 0)) or die;
	semop($sem, pack("s*", 1, -2, 010000)) or die;
	msgsnd($msg, pack("l! a*", 1, ""), 0) && msgrcv($msg, my $none, 100, 0, 0) // die;
	msgsnd($msg, pack("l! a*", 9, "message"), 0) or die;
	open my $f, ">", "ids"; print $f "$shm $sem $msg\n"; close $f;
	open $f, ">", "ready"; close $f;
	select(undef, undef, undef, 0.02) until -e "go";
	my ($text, $m, $n) = ("", "", 0);
	shmread($shm, $text, 65000, 7) or die "shm: $!";
	$n = semctl($sem, 1, 12, 0) // die "sem: $!";
	msgrcv($msg, $m, 100, 0, 04000) or die "msg: $!";
	my ($type, $body) = unpack("l! a*", $m);
	open $f, ">", "seen.tmp"; print $f "$text $n $type $body\n"; close $f;
	rename "seen.tmp", "seen";
	semctl($sem, 0, 0, 0); shmctl($shm, 0, 0); msgctl($msg, 0, 0);'

start_owner()
{
	need_root
	need_command perl
	need_command ipcs
	start perl -e "$owner" "$(key 1)" "$(key 2)" "$(key 3)"
	read -r SHM SEM MSG <ids
}
sees() { touch go; wait_until there seen && [ "$(cat seen)" = "content 3 9 message" ]; }
has() { ipcs -"$1" -i "$2" 2>/dev/null | grep -qi "id=$2\b"; }
next_id() { echo "$2" >"/proc/sys/kernel/$1_next_id" 2>/dev/null || skip "ids cannot be chosen"; }

@test "what the killed job left is taken again, and holds what it held at the checkpoint" {
	start_owner
	xcheckpoint -k -q "$JOB"
	has m "$SHM"
	perl -e 'shmwrite($ARGV[0], "spoiled", 65000, 7); semop($ARGV[1], pack("s*", 1, 50, 0));
		msgrcv($ARGV[2], my $m, 100, 0, 04000); msgsnd($ARGV[2], pack("l! a*", 9, "other"), 0)' "$SHM" "$SEM" "$MSG"
	back
	sees
}

@test "killing xcheckpoint while it asks for undo values changes nothing" {
	start_owner
	for i in $(seq 40); do
		xcheckpoint -q "$JOB" >/dev/null 2>&1 3>&- &
		sleep "0.00$((RANDOM % 10))$((RANDOM % 10))"
		kill -9 $! 2>/dev/null || :
		wait $! 2>/dev/null || :
	done
	[ "$(perl -e 'print semctl($ARGV[0], 1, 12, 0)' "$SEM")" -eq 3 ]
	xcheckpoint -k -q "$JOB"
	[ "$(tar xOf "$XOS_STATE_DIR/checkpoints/$JOB/$(ls "$XOS_STATE_DIR/checkpoints/$JOB" | sed -n 's/\.tar$//p' | sort -n | tail -1).tar" \
		--wildcards 'task_[0-9]*' | grep 'TYPE="semundo"')" = "TYPE=\"semundo\" SET=\"$SEM\" SEM=\"1\" ADJ=\"2\"" ]
	back
	sees
}

@test "what is gone is made again with its ids" {
	start_owner
	xcheckpoint -k -q "$JOB"
	ipcrm -m "$SHM" -s "$SEM" -q "$MSG"
	back
	has m "$SHM" && has s "$SEM" && has q "$MSG"
	sees
}

@test "SEM_UNDO counts after the restart: the dying job gives back what it took" {
	start_owner
	[ "$(perl -e 'print semctl($ARGV[0], 1, 12, 0)' "$SEM")" -eq 3 ]
	xcheckpoint -k -q "$JOB"
	ipcrm -s "$SEM"
	back
	[ "$(perl -e 'print semctl($ARGV[0], 1, 12, 0)' "$SEM")" -eq 3 ]
	xcgkill -q "$JOB"
	wait_until state_is "$JOB" ended || :
	[ "$(perl -e 'print semctl($ARGV[0], 1, 12, 0)' "$SEM")" -eq 5 ]
}

@test "an id or a key that somebody else has by now: exit 4, named, and nothing is made" {
	start_owner
	xcheckpoint -k -q "$JOB"
	ipcrm -m "$SHM" -s "$SEM" -q "$MSG"
	next_id shm "$SHM"
	MINE="m:$SHM"
	ipcmk -M 4096 >/dev/null
	has m "$SHM"
	run back
	status_is 4
	[[ $output == *"shared memory segment $SHM "*"is there and is not the job's"* ]]
	! has s "$SEM" && ! has q "$MSG"
	ipcrm -m "$SHM"
	run perl -e 'semget(hex $ARGV[0], 1, 0600 | 01000) // die' "$(key 2)"
	status_is 0
	run back
	status_is 4
	[[ $output == *"semaphore set"*"has a key of the job"* ]]
	! has m "$SHM"
	ipcrm -S "$(key 2)"
	back
	sees
}

@test "what the job left is not taken from those who use it now" {
	start_owner
	need_command python3
	xcheckpoint -k -q "$JOB"
	background python3 -c "
import ctypes, time
c = ctypes.CDLL(None); c.shmat.restype = ctypes.c_void_p
c.shmat($SHM, None, 0); open('attached', 'w').close(); time.sleep(100)"
	wait_until there attached
	run back
	status_is 4
	[[ $output == *"segment $SHM"*"other processes use it"* ]]
	# In a namespace of its own it does not matter.
	back -N
	sees
	has m "$SHM"
}

@test "objects that processes outside the job use are refused, all of them, by name" {
	start_owner
	need_command python3
	background python3 -c "
import ctypes, struct, time
c = ctypes.CDLL(None); c.shmat.restype = ctypes.c_void_p
c.shmat($SHM, None, 0)
c.semop($SEM, struct.pack('Hhh', 0, 1, 0), ctypes.c_size_t(1))
c.msgsnd($MSG, struct.pack('l4s', 1, b'1234'), ctypes.c_size_t(4), 0)
open('attached', 'w').close(); time.sleep(100)"
	wait_until there attached
	run --separate-stderr xcheckpoint -n "$JOB"
	status_is 5
	[[ $stderr == *"shared memory segment $SHM"*"is attached 1 time outside the job"* ]]
	[[ $stderr == *"semaphore set $SEM"*"is used by process"*"outside the job"* ]]
	[[ $stderr == *"message queue $MSG"*"is used by process"*"outside the job"* ]]
	for pid in $XOS_BACKGROUND; do kill -9 "$pid"; wait "$pid" || :; done
	# The message of the dead one is now the queue's, and the job's.
	xcheckpoint -q "$JOB"
}

@test "a restart that fails leaves no object" {
	start_owner
	xcheckpoint -k -q "$JOB"
	ipcrm -m "$SHM" -s "$SEM" -q "$MSG"
	for at in restart.memory restart.state restart.late restart.finish; do
		XOS_FAULT=$at run back
		status_is 1
		! has m "$SHM" && ! has s "$SEM" && ! has q "$MSG"
	done
	back
	sees
}

@test "what a killed restart left is taken again" {
	start_owner
	xcheckpoint -k -q "$JOB"
	ipcrm -m "$SHM" -s "$SEM" -q "$MSG"
	for at in restart.memory restart.late restart.disarm; do
		XOS_FAULT=$at:kill run back
		[ "$status" -ne 0 ]
		has m "$SHM" && has s "$SEM" && has q "$MSG"
	done
	back
	sees
}

@test "-N: the same ids in a namespace of its own, which can be checkpointed and restarted again" {
	start_owner
	xcheckpoint -k -q "$JOB"
	back -N
	has m "$SHM" # the one that was left
	ipcrm -m "$SHM" -s "$SEM" -q "$MSG"
	xcheckpoint -q "$JOB"
	xcheckpoint -k -q "$JOB"
	back -N
	! has m "$SHM"
	sees
}

@test "an ordinary user's job, whose objects are gone" {
	need_user
	need_command perl
	cd "$XOS_USER_DIR"
	run_as_user xcgexec -d -j "$JOB" -- perl -e "$owner" "$(key 1)" "$(key 2)" "$(key 3)" >/dev/null 3>&- 4>&- 10>&- 251>&-
	wait_until there ready
	read -r SHM SEM MSG <ids
	run_as_user xcheckpoint -k -q "$JOB"
	ipcrm -m "$SHM" -s "$SEM" -q "$MSG"
	for round in 1 2; do
		run_as_user xrestart -d -q "$JOB" >/dev/null 3>&- 4>&- 10>&- 251>&- || skip "no restart as an ordinary user"
		run_as_user xcheckpoint -k -q "$JOB"
	done
	run_as_user xrestart -d -q "$JOB" >/dev/null 3>&- 4>&- 10>&- 251>&-
	sees
}

@test "killing xcheckpoint while it looks at a POSIX message queue loses no message" {
	need_root
	need_victim v_mqueue
	xcgexec -d -j "$JOB" -o out -e err -- "$XOS_BUILD/victim/v_mqueue" "$PWD/v" >/dev/null 3>&- 4>&- 10>&- 251>&-
	wait_until there v.ready v.skip
	[ ! -e v.skip ] || skip "$(cat v.skip)"
	for i in $(seq 40); do
		xcheckpoint -q "$JOB" >/dev/null 2>&1 3>&- &
		sleep "0.00$((RANDOM % 10))$((RANDOM % 10))"
		kill -9 $! 2>/dev/null || :
		wait $! 2>/dev/null || :
	done
	touch v.go
	wait_until there v.ok v.fail
	[ -e v.ok ] || { cat v.fail; return 1; }
}

@test "a POSIX message queue that somebody has: exit 4, and -N does not mind" {
	need_root
	need_victim v_mqueue
	xcgexec -d -j "$JOB" -o out -e err -- "$XOS_BUILD/victim/v_mqueue" "$PWD/v" >/dev/null 3>&- 4>&- 10>&- 251>&-
	wait_until there v.ready v.skip
	[ ! -e v.skip ] || skip "$(cat v.skip)"
	need_command python3
	pid=$(xps -n -j "$JOB" -o PID | tr -d ' ')
	hold="
import ctypes, time
q = ctypes.CDLL(None).mq_open(b'/xos-victim-$pid', 2)
open('held' if q >= 0 else 'nohold', 'w').close(); time.sleep(100)"
	background python3 -c "$hold"
	wait_until there held nohold
	[ -e held ]
	run xcheckpoint -n "$JOB"
	status_is 5
	[[ $output == *"message queue /xos-victim-$pid is used by process"* ]]
	kill -9 $XOS_BACKGROUND
	wait $XOS_BACKGROUND || :
	rm held
	xcheckpoint -k -q "$JOB"
	background python3 -c "$hold"
	wait_until there held nohold
	run back
	status_is 4
	[[ $output == *"message queue /xos-victim-$pid is there already, and another process has it open"* ]]
	back -N
	touch v.go
	wait_until there v.ok v.fail
	[ -e v.ok ] || { cat v.fail; return 1; }
	python3 -c "
import ctypes
for n in (b'', b'-empty'): ctypes.CDLL(None).mq_unlink(b'/xos-victim-$pid' + n)"
}

@test "python3 multiprocessing: shared memory, locks and a queue between workers" {
	need_root
	need_command python3
	cat >work.py <<-'EOF'
	import multiprocessing as mp, os, time
	from multiprocessing import shared_memory
	def work(name, n, lock, turn):
	    m = shared_memory.SharedMemory(name)
	    for i in range(100):
	        with lock:
	            v = int.from_bytes(m.buf[:8], "little")
	            m.buf[:8] = (v + 1).to_bytes(8, "little")
	            turn.value += 1
	        time.sleep(0.01)
	    m.close()
	if __name__ == "__main__":
	    mp.set_start_method("fork")
	    m = shared_memory.SharedMemory(create=True, size=100000)
	    lock, turn = mp.Lock(), mp.Value("i", 0)
	    ps = [mp.Process(target=work, args=(m.name, i, lock, turn)) for i in range(3)]
	    for p in ps: p.start()
	    open("ready", "w").close()
	    for p in ps: p.join()
	    with open("seen.tmp", "w") as f: f.write("%d %d\n" % (int.from_bytes(m.buf[:8], "little"), turn.value))
	    m.unlink()
	    os.rename("seen.tmp", "seen")
	EOF
	start python3 work.py
	for round in 1 2; do
		sleep 0.2
		xcheckpoint -k "$JOB" || return 1
		back
	done
	XOS_WAIT=30 wait_until there seen
	[ "$(cat seen)" = "300 300" ]
}

@test "a shell that made its objects with ipcmk finds them by id" {
	need_root
	need_command ipcmk
	start bash -c 'ipcmk -M 8192 >ids; ipcmk -S 2 >>ids; ipcmk -Q >>ids; touch ready; until [ -e go ]; do sleep 0.1; done
		set -- $(sed "s/.* //" ids); ipcs -m -i $1 && ipcs -s -i $2 && ipcs -q -i $3 && ipcrm -m $1 -s $2 -q $3 && touch seen'
	# Nothing tells that they are the job's: they stay as they are.
	xcheckpoint -k -q "$JOB"
	back
	touch go
	wait_until there seen
}
