#!/usr/bin/env bats
# Tunnel interfaces that outlive the job: attached again; refused clearly when they have gone, or are the job's no longer.

bats_require_minimum_version 1.5.0
load helper

setup() { xos_setup; IFACE=xosp$$; }
teardown() { ip link del "$IFACE" 2>/dev/null || :; xos_teardown; }

there() { [ -e "$1" ]; }
attached() { grep -q "^iff:[[:space:]]*$IFACE$" "/proc/$(in_job "$JOB" | tail -1)/fdinfo/$(cat number)"; }

start()
{
	need_root
	need_command ip
	need_command perl
	[ -c /dev/net/tun ] || skip "no /dev/net/tun"
	ip tuntap add dev "$IFACE" mode tun 2>/dev/null || skip "no tunnel can be made here"
	ip addr add 192.0.2.1/32 dev "$IFACE"
	ip link set "$IFACE" up
	xcgexec -d -j "$JOB" -o out -e err -- perl -e '
		open(T, "+<", "/dev/net/tun") or die; ioctl(T, 0x400454ca, pack("a16Sx22", $ARGV[0], 0x1001)) or die $!;
		open(F, ">", "number"); print F fileno(T); close F; open(F, ">", "ready"); close F;
		sleep 1 while 1' "$IFACE" >/dev/null 3>&- 4>&-
	wait_until there ready
	attached
}

@test "a persistent interface that is up and has an address: the descriptor is attached to it again" {
	start
	for round in 1 2 3; do
		xcheckpoint -k -q "$JOB"
		run ! attached
		xrestart -d -q "$JOB" >/dev/null 3>&- 4>&-
		wait_until attached
	done
	ip -o addr show dev "$IFACE" | grep -q 192.0.2.1
}

@test "a persistent interface that has gone: exit 7 names it, nothing stays" {
	start
	xcheckpoint -k -q "$JOB"
	ip link del "$IFACE"
	run --separate-stderr xrestart -d "$JOB"
	[[ "$stderr" == *"the tunnel interface $IFACE is not there any more"* ]]
	status_is 7
	[ -z "$(in_job "$JOB")" ]
}
