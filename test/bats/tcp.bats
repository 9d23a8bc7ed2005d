#!/usr/bin/env bats
# TCP connections to somebody outside the job: what the other end sees, of a checkpoint, a kill, a restart. Those inside the job are tested by
# test/victim/v_tcp.c.

bats_require_minimum_version 1.5.0
load helper
load ckpt

setup()
{
	xos_setup
	PORT=$((20000 + ($$ * 7 + BATS_TEST_NUMBER * 131) % 12000))
	NETNS=
}

teardown()
{
	xos_teardown
	[ -z "$NETNS" ] || ip netns del "$NETNS" 2>/dev/null || :
	locks | while read -r table; do nft delete table inet "$table"; done
	return 0
}

# the tables that hold packets of this test's job
locks() { nft list tables 2>/dev/null | sed -n "s/^table inet \(xos_${JOB//-/_}_[0-9a-f]*\)\$/\1/p"; }
locked() { [ "$(locks | wc -l)" -eq 1 ]; }
unlocked() { [ -z "$(locks)" ]; }
need_nft() { need_root; need_command nft; need_victim tcp_stream; }
there() { local f; for f in "$@"; do [ -e "$f" ] && return 0; done; return 1; }

# the job is one end, a process outside the other: pair listen|connect ADDRESS [ARGS]
pair()
{
	local what=$1 other=connect address=$2
	shift 2
	[ "$what" = connect ] && other=listen
	if [ "$what" = connect ]; then
		background "${BESIDE[@]}" "$XOS_BUILD/victim/tcp_stream" listen "$address" "$PORT" "$PWD/peer" "$@"
		wait_until there peer.listens
		clean xcgexec -d -q -j "$JOB" -o out -e err -- "$XOS_BUILD/victim/tcp_stream" connect "$address" "$PORT" "$PWD/job" "$@"
	else
		clean xcgexec -d -q -j "$JOB" -o out -e err -- "$XOS_BUILD/victim/tcp_stream" listen "$address" "$PORT" "$PWD/job" "$@"
		wait_until there job.listens
		background "${BESIDE[@]}" "$XOS_BUILD/victim/tcp_stream" connect "$address" "$PORT" "$PWD/peer" "$@"
	fi
	wait_until there job.ready && wait_until there peer.ready
}

# nothing was lost, nothing came twice
both_fine()
{
	touch job.stop peer.stop
	XOS_WAIT=30 wait_until there job.ok job.fail && XOS_WAIT=30 wait_until there peer.ok peer.fail
	cat job.fail peer.fail 2>/dev/null && return 1
	read -r sent got <job.ok
	read -r psent pgot <peer.ok
	[ "$sent" = "$pgot" ] && [ "$got" = "$psent" ] || { echo "# job $sent $got, peer $psent $pgot" >&2; return 1; }
}

there_and_back()
{
	local i
	for i in 1 2 3; do
		clean xcheckpoint -q -k "$JOB"
		locked
		sleep 0.$((RANDOM % 4))
		[ ! -e peer.fail ]
		clean xrestart -d -q "$JOB"
		unlocked
		sleep 0.$((RANDOM % 3))
	done
	both_fine
}

@test "an accepted connection goes on, data under way in both directions" { need_nft; pair listen 127.0.0.1; there_and_back; }
@test "a connection that the job made goes on" { need_nft; pair connect 127.0.0.1; there_and_back; }
@test "the same over IPv6" { need_nft; pair listen ::1; there_and_back; }
@test "a connection that rests goes on" { need_nft; pair listen 127.0.0.1 idle; there_and_back; }

@test "a direction that the job has shut down stays so" { need_nft; touch job.half; pair listen 127.0.0.1; there_and_back; }
@test "a direction that the other end has shut down stays so" { need_nft; touch peer.half; pair listen 127.0.0.1; there_and_back; }

@test "a checkpoint of a job that goes on leaves its connection alone" {
	need_nft
	pair listen 127.0.0.1
	for i in 1 2 3 4 5; do clean xcheckpoint -q "$JOB"; done
	unlocked
	both_fine
}

@test "from another network namespace" {
	need_nft
	need_command ip
	NETNS=xt$$
	ip netns add "$NETNS"
	ip -n "$NETNS" link add x0 type veth peer name "xt$$" netns 1 2>/dev/null || ip link add "xt$$" type veth peer name x0 netns "$NETNS"
	ip addr add 198.18.77.1/30 dev "xt$$"
	ip link set "xt$$" up
	ip -n "$NETNS" addr add 198.18.77.2/30 dev x0
	ip -n "$NETNS" link set x0 up
	BESIDE=(nsenter --net="/run/netns/$NETNS")
	pair listen 198.18.77.1
	there_and_back
	# the address goes
	rm -f ./*.stop ./*.ok ./*.ready ./*.listens
	PORT=$((PORT + 1))
	clean xcgkill -q "$JOB" || :
	pair listen 198.18.77.1
	clean xcheckpoint -q -k "$JOB"
	ip addr del 198.18.77.1/30 dev "xt$$"
	run clean xrestart -d "$JOB"
	status_is 7
	[[ $output == *198.18.77.1* ]]
	locked
	ip addr add 198.18.77.1/30 dev "xt$$"
	clean xrestart -d -q "$JOB"
	both_fine
}

@test "xcheckpoint killed anywhere harms no connection" {
	need_nft
	pair listen 127.0.0.1
	for at in tcp-reading tcp-repair tcp-locked; do
		XOS_FAULT=$at:kill clean xcheckpoint -q -k "$JOB" || :
		wait_until unlocked
		state_is "$JOB" running
		sleep 0.2
		[ ! -e peer.fail ] && [ ! -e job.fail ]
	done
	both_fine
}

@test "xcheckpoint -k killed at any instant: the connection goes on, in the job or after its restart" {
	need_nft
	local i pid stopped=0 ran=0
	pair listen 127.0.0.1
	for i in $(seq 20); do
		(close_but; exec xcheckpoint -q -k "$JOB" >/dev/null 2>&1) &
		pid=$!
		sleep "0.0$((RANDOM % 9))$((RANDOM % 10))"
		kill -9 "$pid" 2>/dev/null || :
		wait "$pid" 2>/dev/null || :
		# whoever ends what it began is done when the lock of the job is free
		if clean xcheckpoint -n "$JOB" >/dev/null 2>&1; then
			ran=$((ran + 1))
			wait_until unlocked
		else
			stopped=$((stopped + 1))
			clean xrestart -d -q "$JOB"
			unlocked
		fi
		sleep 0.1
		[ ! -e peer.fail ] && [ ! -e job.fail ]
	done
	echo "# 20 kills: $ran times the job ran, $stopped times it was restarted" >&2
	both_fine
}

@test "xcheckpoint killed when the record says stopped: the restart has the connection" {
	need_nft
	pair listen 127.0.0.1
	XOS_FAULT=ckpt-stopped:kill clean xcheckpoint -q -k "$JOB" || :
	sleep 0.2
	[ ! -e job.fail ]
	clean xrestart -d -q "$JOB"
	unlocked
	both_fine
}

@test "a restart that fails loses no connection" {
	need_nft
	pair listen 127.0.0.1
	clean xcheckpoint -q -k "$JOB"
	for at in restart.memory restart.files:kill restart.late restart.finish:kill restart.disarm:kill restart.disarm; do
		! XOS_FAULT=$at clean xrestart -d -q "$JOB" || false
		locked
		[ ! -e peer.fail ]
	done
	clean xrestart -d -q "$JOB"
	both_fine
}

@test "a restart killed when the job lives without it: packets flow" {
	need_nft
	pair listen 127.0.0.1
	clean xcheckpoint -q -k "$JOB"
	! XOS_FAULT=tcp-unlock clean xrestart -d -q "$JOB" || false
	locked
	[ ! -e peer.fail ]
	! XOS_FAULT=tcp-unlock:kill clean xrestart -d -q "$JOB" || false
	wait_until unlocked
	both_fine
	wait_until state_is "$JOB" done
}

@test "a stopped job that is given up lets go of its packets" {
	need_nft
	pair listen 127.0.0.1
	clean xcheckpoint -q -k "$JOB"
	locked
	clean xcgkill -q "$JOB"
	unlocked
}

@test "--tcp-close: at the checkpoint, at the restart" {
	need_nft
	pair listen 127.0.0.1
	clean xcheckpoint -q -k "$JOB"
	clean xrestart -d -q --tcp-close "$JOB"
	unlocked
	wait_until there job.fail
	grep -q 'reset' job.fail
	wait_until there peer.fail

	rm -f ./*.fail ./*.ready ./*.listens
	PORT=$((PORT + 1))
	xcgkill -q "$JOB" || :
	pair listen 127.0.0.1
	clean xcheckpoint -q -k --tcp-close "$JOB"
	unlocked
	clean xrestart -d -q "$JOB"
	wait_until there job.fail
	grep -q 'reset' job.fail
}

@test "an ordinary user's connection to outside is refused by name" {
	need_nft
	need_user
	cp "$XOS_BUILD/victim/tcp_stream" "$XOS_USER_DIR/"
	run_as_user env -u XOS_PAM_CONF xcgexec -d -q -j "$JOB" -o out -e err -- ./tcp_stream listen 127.0.0.1 "$PORT" "$XOS_USER_DIR/job"
	wait_until there "$XOS_USER_DIR/job.listens"
	background "$XOS_BUILD/victim/tcp_stream" connect 127.0.0.1 "$PORT" "$PWD/peer"
	wait_until there peer.ready && wait_until there "$XOS_USER_DIR/job.ready"
	for how in -n -k ""; do
		run run_as_user xcheckpoint $how "$JOB"
		status_is 5
		[[ $output =~ pid\ [0-9]+:\ fd\ [0-9]+:.*127.0.0.1:$PORT\ -\>\ 127.0.0.1:[0-9]+.*CAP_NET_ADMIN ]]
	done
	run_as_user xcheckpoint -q --tcp-close "$JOB"
	[ ! -e peer.fail ]
}
