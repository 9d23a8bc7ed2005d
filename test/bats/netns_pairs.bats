#!/usr/bin/env bats
# Network namespaces of members: pairs of interfaces whose other end is outside the job, in a namespace that stands for the machine's; many namespaces.

bats_require_minimum_version 1.5.0
load helper
load ckpt

setup()
{
	xos_setup
	need_root
	need_command ip
	NETNS="xn$$-$BATS_TEST_NUMBER"
	ip netns add "$NETNS" 2>/dev/null || skip "no network namespaces"
	ip -n "$NETNS" link add h0 type veth peer name j0 2>/dev/null || skip "no pairs of interfaces (veth)"
}

teardown()
{
	xos_teardown
	ip netns del "$NETNS" 2>/dev/null || :
}

within() { clean nsenter --net="/run/netns/$NETNS" "$@"; }
outside() { ip -n "$NETNS" -o link show dev h0 2>/dev/null; }
no_outside() { ! outside >/dev/null; }

# A job with a network namespace that has j0; h0 is outside.
start_pair()
{
	within xcgexec -d -q -j "$JOB" -- unshare -n sh -c 'touch ready; exec sleep 1000'
	wait_until [ -e ready ]
	PID=$(in_job "$JOB" | tail -n 1)
	ip -n "$NETNS" link set j0 netns "$PID"
	ip -n "$NETNS" addr add 10.66.0.1/24 dev h0
	ip -n "$NETNS" link set h0 up
	nsenter --net="/proc/$PID/ns/net" sh -c 'ip addr add 10.66.0.2/24 dev j0; ip link set j0 up'
}

@test "the end of a pair that is outside comes back, and goes with the job" {
	start_pair
	within xcheckpoint -q -k "$JOB"
	wait_until no_outside
	within xrestart -d -q "$JOB" >/dev/null
	[[ "$(ip -n "$NETNS" -o addr show dev h0)" == *"10.66.0.1/24"* ]]
	within ping -c 1 -W 5 10.66.0.2 >/dev/null 2>&1 || [[ "$(outside)" == *LOWER_UP* ]]
	clean xcgkill -q "$JOB"
	wait_until no_outside
}

@test "a check makes nothing outside, whether the job runs or not" {
	start_pair
	within xcheckpoint -q "$JOB"
	outside >before
	# What is in the way then is its PID alone.
	run --separate-stderr within xrestart -c "$JOB"
	status_is 4
	[[ "$stderr" == *"PID $PID is in use"* ]]
	outside >after
	cmp before after
	within xcheckpoint -q -k "$JOB"
	wait_until no_outside
	ip -n "$NETNS" monitor link >seen 2>/dev/null 3>&- 4>&- &
	XOS_BACKGROUND="$XOS_BACKGROUND $!"
	sleep 0.3
	within xrestart -c -q "$JOB"
	sleep 0.3
	[ ! -s seen ] || { echo "# $(cat seen)" >&2; return 1; }
}

@test "a taken name outside: the restart says so, and leaves nothing" {
	start_pair
	within xcheckpoint -q -k "$JOB"
	wait_until no_outside
	ip -n "$NETNS" link add h0 type veth peer name other
	outside >before
	run --separate-stderr within xrestart -d -q "$JOB"
	status_is 4
	[[ "$stderr" == *"h0"* ]]
	outside >after
	cmp before after
	no_processes
}

@test "many network namespaces" {
	within xcgexec -d -q -j "$JOB" -- sh -c 'for i in $(seq 40); do unshare -n sleep 1000 & done; wait'
	mine() { [ "$(for p in $(in_job "$JOB"); do readlink "/proc/$p/ns/net"; done | sort -u | wc -l)" -ge 41 ]; }
	wait_until mine
	within xcheckpoint -q -k "$JOB"
	within xrestart -d -q "$JOB" >/dev/null
	mine
}
