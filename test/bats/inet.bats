#!/usr/bin/env bats
# Sockets of IPv4 and IPv6 and what is outside the job: addresses in use or gone at the restart, interfaces that are gone or have another number,
# datagrams from others. Each test has a network namespace of its own, in which the job and all tools run. The sockets themselves are tested by
# test/victim/v_inet.c and v_tcp.c.

bats_require_minimum_version 1.5.0
load helper
load ckpt

setup()
{
	xos_setup
	NETNS= FAR=
	need_root
	need_command ip
	need_command ss
	need_command python3
	ip netns add "xi$$-$BATS_TEST_NUMBER" 2>/dev/null || skip "no network namespaces"
	NETNS=xi$$-$BATS_TEST_NUMBER
	ip -n "$NETNS" link set lo up
	device d0 || skip "no veth"
	cat >inet.py <<-'E'
	import os, struct, time
	from socket import *
	addr, scope = "198.18.7.1", if_nametoindex("d0")
	def link(name="d0"): return ("fe80::77", 0, 0, if_nametoindex(name))
	def wait():
	    open("ready", "w").close()
	    while not os.path.exists("go"): time.sleep(0.02)
	E
}

teardown()
{
	xos_teardown
	[ -z "$NETNS" ] || ip netns del "$NETNS" || :
	[ -z "$FAR" ] || ip netns del "$FAR" || :
}

device()
{
	ip -n "$NETNS" link add "$1" type veth peer name "$1p" && ip -n "$NETNS" link set "$1p" up && ip -n "$NETNS" link set "$1" up && ip -n "$NETNS" addr add 198.18.7.1/24 dev "$1" &&
		ip -n "$NETNS" addr add fe80::77/64 dev "$1" nodad
}
within() { clean nsenter --net="/run/netns/$NETNS" "$@"; }
# the address of all tests goes, and comes back
addr_away() { ip -n "$NETNS" addr del 198.18.7.1/24 dev d0; }
addr_back() { ip -n "$NETNS" addr add 198.18.7.1/24 dev d0; }

# job CODE: python as job $JOB until it has made the file `ready`; after the file `go` it goes on and says its verdict
job()
{
	{ cat inet.py && echo "$1" && echo 'open("verdict", "w").close()'; } >job.py
	within xcgexec -d -q -j "$JOB" -o out -e err -- python3 job.py
	wait_until [ -e ready ] || { cat err >&2; return 1; }
}

# outside CODE: python beside the job, until it has made the file `there`
outside()
{
	{ cat inet.py && echo "$1" && echo 'time.sleep(60)'; } >outside.py
	background nsenter --net="/run/netns/$NETNS" python3 outside.py
	wait_until [ -e there ]
}
THERE='open("there", "w").close()'
outside_gone() { kill -9 "${XOS_BACKGROUND##* }"; wait "${XOS_BACKGROUND##* }" 2>/dev/null || :; }

stop_job() { within xcheckpoint -k -q "$JOB"; wait_until no_processes; }
sockets() { within ss -Htuwan | grep -v '^icmp6' | sort; }
no_sockets() { [ -z "$(sockets)" ]; }

# fails STATUS TEXT: a restart that does not happen, says why in one line (and perhaps a hint), and leaves nothing
fails()
{
	local before after
	before=$(sockets)
	run --separate-stderr within xrestart -d "$JOB"
	status_is "$1"
	[[ "${stderr_lines[0]}" == "xrestart: "*"$2" ]] || { echo "# $stderr" >&2; return 1; }
	[ "${#stderr_lines[@]}" -eq 1 ] || { [ "${#stderr_lines[@]}" -eq 2 ] && [[ "${stderr_lines[1]}" == "xrestart: hint: "* ]]; } || { echo "# $stderr" >&2; return 1; }
	after=$(sockets)
	[ "$before" = "$after" ] || { echo "# left: $after" >&2; return 1; }
	no_processes && no_groups "$JOB" && state_is "$JOB" stopped
}

works() { within xrestart -d -q "$JOB" && touch go && { wait_until [ -e verdict ] || { cat err >&2; return 1; }; }; }

@test "a listening TCP socket: address gone, port in use" {
	job 'l = create_server((addr, 4001)); wait(); c = create_connection((addr, 4001)); s = l.accept()[0]; c.send(b"x"); assert s.recv(9) == b"x"'
	stop_job
	addr_away
	fails 7 'this node has no address 198.18.7.1:4001'
	addr_back
	outside "l = create_server((addr, 4001)); $THERE"
	fails 4 'the TCP address 198.18.7.1:4001 is in use'
	outside_gone
	works
}

@test "TCP connections: address gone, either end" {
	job 'l = create_server(("127.0.0.1", 4001)); x = create_server((addr, 4002))
a = create_connection(("127.0.0.1", 4001), source_address=(addr, 0)); b = l.accept()[0]; own = a.getsockname()
c = create_connection((addr, 4002), source_address=("127.0.0.1", 0)); d = x.accept()[0]; x.close(); a.send(b"waits"); wait()
assert a.getsockname() == own and b.recv(9) == b"waits"; d.send(b"x"); assert c.recv(9) == b"x"'
	stop_job
	addr_away
	run --separate-stderr within xrestart -d "$JOB"
	[[ "$stderr" =~ ^"xrestart: ".*"this node has no address 198.18.7.1:"[0-9]+$ ]]
	status_is 7
	no_sockets
	addr_back
	works
}

@test "UDP: address gone, port in use" {
	job 's = socket(AF_INET, SOCK_DGRAM); s.bind((addr, 4001)); t = socket(AF_INET, SOCK_DGRAM); t.bind((addr, 4002)); t.connect((addr, 4001)); t.send(b"waits"); wait()
assert s.recvfrom(9) == (b"waits", (addr, 4002)); s.sendto(b"x", (addr, 4002)); assert t.recv(9) == b"x"'
	stop_job
	addr_away
	run --separate-stderr within xrestart -d "$JOB"
	status_is 7
	[[ "$stderr" =~ ^"xrestart: ".*"this node has no address 198.18.7.1:400"[12]$ ]]
	no_sockets
	addr_back
	outside "s = socket(AF_INET, SOCK_DGRAM); s.bind((\"\", 4001)); $THERE"
	fails 4 'the UDP address 198.18.7.1:4001 is in use'
	outside_gone
	works
}

@test "a raw socket: address gone" {
	job 's = socket(AF_INET, SOCK_RAW, 253); s.bind((addr, 0)); wait(); assert s.getsockname()[0] == addr; s.sendto(b"x", (addr, 0)); assert s.recv(99)[20:] == b"x"'
	stop_job
	addr_away
	fails 7 'this node has no address 198.18.7.1'
	addr_back
	works
}

@test "addresses of one link only: address gone, interface gone, interface with another number" {
	job 'l = socket(AF_INET6); l.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1); l.bind(link()[:1] + (4001,) + link()[2:]); l.listen()
c = socket(AF_INET6); c.connect(l.getsockname()); s = l.accept()[0]
u = socket(AF_INET6, SOCK_DGRAM); u.bind(link()[:1] + (4002,) + link()[2:]); u.connect(u.getsockname()); u.send(b"waits"); wait()
n = if_nametoindex("d0")
for x in l, c, s, u: assert x.getsockname()[3] == n, (x, n)
for x in c, s, u: assert x.getpeername()[3] == n, (x, n)
assert u.recvfrom(9) == (b"waits", u.getsockname()); c.send(b"x"); assert s.recv(9) == b"x"'
	stop_job
	ip -n "$NETNS" addr del fe80::77/64 dev d0
	run --separate-stderr within xrestart -d "$JOB"
	status_is 7
	[[ "$stderr" =~ ^"xrestart: ".*"this node has no address [fe80::77%d0]:"[0-9]+$ ]]
	no_sockets
	ip -n "$NETNS" link del d0
	run --separate-stderr within xrestart -d "$JOB"
	status_is 7
	[[ "$stderr" =~ ^"xrestart: ".*"this node has no network interface of the address [fe80::77%d0]:"[0-9]+$ ]]
	device d1
	device d0
	works
}

# somewhere CODE: python on the other side of d0, to its end
somewhere()
{
	ip netns add "${NETNS}b"
	FAR=${NETNS}b
	ip -n "$NETNS" link set d0p netns "$FAR"
	ip -n "$FAR" link set d0p up
	ip -n "$FAR" addr add 198.18.7.9/24 dev d0p
	ip -n "$FAR" addr add fe80::99/64 dev d0p nodad
	{ cat inet.py && echo "$1"; } | sed 's/"d0"/"d0p"/' >somewhere.py
	clean nsenter --net="/run/netns/$FAR" python3 somewhere.py
}

@test "datagrams from others, gone, still there, and far away, are there again" {
	job 's = socket(AF_INET, SOCK_DGRAM); s.bind(("", 4001)); s.setsockopt(SOL_IP, 8, 1); six = socket(AF_INET6, SOCK_DGRAM); six.setsockopt(IPPROTO_IPV6, 26, 1); six.bind(("::", 4001)); wait()
m, c, f, a = s.recvmsg(9, 99); assert (m, a) == (b"one", (addr, 4002)) and c[0][2][8:12] == inet_aton(addr), (m, a, c)
assert s.recvfrom(9) == (b"two", ("127.0.0.9", 4003))
assert s.recvfrom(9) == (b"stays", (addr, 4004))
assert s.recvfrom(70000) == (b"far" * 400, ("198.18.7.9", 4005))
assert six.recvfrom(9)[0] == b"three"
m, a = six.recvfrom(9); assert m == b"far6" and a[:2] == ("fe80::99", 4006), (m, a)
for x in s, six:
    try: x.recv(9, MSG_DONTWAIT); assert False
    except BlockingIOError: pass'
	outside 'a = socket(AF_INET, SOCK_DGRAM); a.bind((addr, 4002)); a.sendto(b"one", (addr, 4001)); a.close()
b = socket(AF_INET, SOCK_DGRAM); b.bind(("127.0.0.9", 4003)); b.sendto(b"two", ("127.0.0.1", 4001)); b.close()
c = socket(AF_INET6, SOCK_DGRAM); c.sendto(b"three", ("::1", 4001)); c.close()
d = socket(AF_INET, SOCK_DGRAM); d.bind((addr, 4004)); d.sendto(b"stays", (addr, 4001)); '"$THERE"
	somewhere 'e = socket(AF_INET, SOCK_DGRAM); e.bind(("", 4005)); e.sendto(b"far" * 400, (addr, 4001))
f = socket(AF_INET6, SOCK_DGRAM); f.bind(("", 4006)); f.sendto(b"far6", ("fe80::77", 4001, 0, if_nametoindex("d0")))'
	sleep 0.2
	stop_job
	run --separate-stderr within xrestart -d "$JOB"
	status_is 0
	[ -z "$stderr" ] || { echo "# $stderr" >&2; false; }
	touch go
	wait_until [ -e verdict ] || { cat err >&2; false; }
}

@test "datagrams to a group are lost, and it is said: others would hear them again" {
	job 's = socket(AF_INET, SOCK_DGRAM); s.bind(("239.1.2.3", 4001)); s.setsockopt(SOL_IP, 35, inet_aton("239.1.2.3") + inet_aton(addr)); t = socket(AF_INET, SOCK_DGRAM)
t.setsockopt(SOL_IP, 32, inet_aton(addr)); t.sendto(b"all", ("239.1.2.3", 4001)); wait()
t.sendto(b"again", ("239.1.2.3", 4001)); assert s.recv(9) == b"again"'
	stop_job
	run --separate-stderr within xrestart -d "$JOB"
	status_is 0
	[[ "$stderr" == *": 1 of 1 datagrams that waited in a socket are lost: their senders cannot be imitated" ]]
	touch go
	wait_until [ -e verdict ] || { cat err >&2; false; }
}

@test "an ordinary user imitates who is gone, and says what is lost" {
	need_user
	user_within()
	{
		(cd "$XOS_USER_DIR" && within setpriv --reuid=$XOS_TEST_UID --regid=$XOS_TEST_UID --clear-groups --inh-caps=-all env -u XOS_PAM_CONF \
			HOME="$XOS_USER_DIR" XOS_STATE_DIR="$XOS_USER_DIR/state" PATH="$XOS_USER_DIR/bin:$PATH" "$@")
	}
	{
		cat inet.py
		echo 's = socket(AF_INET, SOCK_DGRAM); s.bind((addr, 4001)); wait()
assert s.recvfrom(9) == (b"one", (addr, 4002)); s.settimeout(10); assert s.recv(9) == b"new"; open("verdict", "w").close()'
	} >"$XOS_USER_DIR/job.py"
	user_within xcgexec -d -q -j "$JOB" -o out -e err -- python3 job.py
	wait_until [ -e "$XOS_USER_DIR/ready" ]
	outside 'a = socket(AF_INET, SOCK_DGRAM); a.bind((addr, 4002)); a.sendto(b"one", (addr, 4001)); a.close()
d = socket(AF_INET, SOCK_DGRAM); d.bind((addr, 4004)); d.sendto(b"stays", (addr, 4001)); '"$THERE"'
while not os.path.exists("asked"): time.sleep(0.02)
d.sendto(b"new", (addr, 4001))'
	user_within xcheckpoint -k -q "$JOB"
	run --separate-stderr user_within xrestart -d "$JOB"
	status_is 0
	[[ "$stderr" == *": 1 of 2 datagrams that waited in a socket are lost: their senders cannot be imitated" ]]
	touch "$XOS_USER_DIR/go"
	sleep 0.3
	touch asked
	wait_until [ -e "$XOS_USER_DIR/verdict" ] || { cat "$XOS_USER_DIR/err" >&2; false; }
}

@test "datagrams of a wildcard socket keep the address that they came from" {
	job 's = socket(AF_INET, SOCK_DGRAM); s.bind((addr, 4001)); t = socket(AF_INET, SOCK_DGRAM); t.bind(("", 4002))
t.sendto(b"one", (addr, 4001)); t.setsockopt(SOL_IP, IP_TTL, 9)
t.sendmsg([b"two"], [(SOL_IP, 8, struct.pack("I4s4s", 0, inet_aton("127.0.0.8"), b""))], 0, (addr, 4001)); wait()
assert s.recvfrom(9) == (b"one", (addr, 4002)); assert s.recvfrom(9) == (b"two", ("127.0.0.8", 4002))'
	stop_job
	works
}

@test "sockets with one address, whatever became of SO_REUSEADDR" {
	job 'def udp(to):
    s = socket(AF_INET, SOCK_DGRAM); s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1); s.bind((addr, 4001))
    s.connect((addr, to)); return s
x = udp(4002); y = udp(4003); x.setsockopt(SOL_SOCKET, SO_REUSEADDR, 0); wait()
assert x.getsockopt(SOL_SOCKET, SO_REUSEADDR) == 0 and y.getsockopt(SOL_SOCKET, SO_REUSEADDR) == 1
for s, port in (x, 4002), (y, 4003):
    p = socket(AF_INET, SOCK_DGRAM); p.bind((addr, port)); p.sendto(b"%d" % port, (addr, 4001)); assert s.recv(9) == b"%d" % port'
	stop_job
	works
}

@test "a multicast group on an interface that is gone" {
	job 's = socket(AF_INET, SOCK_DGRAM); s.bind(("", 4001)); s.setsockopt(SOL_IP, 42, struct.pack("i4x", scope) + struct.pack("HH4s", AF_INET, 0, inet_aton("239.1.2.3")).ljust(128, b"\0"))
six = socket(AF_INET6, SOCK_DGRAM); six.setsockopt(IPPROTO_IPV6, 17, scope); six.setsockopt(SOL_IP if False else IPPROTO_IPV6, 76, struct.pack("!i", scope))
s.setsockopt(SOL_IP, 50, struct.pack("!i", scope)); wait()
n = if_nametoindex("d0"); assert six.getsockopt(IPPROTO_IPV6, 17) == n
assert struct.unpack("!i", six.getsockopt(IPPROTO_IPV6, 76, 4))[0] == n and struct.unpack("!i", s.getsockopt(SOL_IP, 50, 4))[0] == n
assert "030201EF" in open("/proc/net/igmp").read().split("\td0 ")[1]'
	stop_job
	ip -n "$NETNS" link del d0
	run --separate-stderr within xrestart -d "$JOB"
	status_is 7
	[[ "$stderr" =~ ^"xrestart: ".*"this node has no network interface d0, on which a socket was in a multicast group"$ ]]
	no_sockets
	device d1
	device d0
	works
}

@test "a socket that may send by one interface only, which is gone" {
	job 'six = socket(AF_INET6, SOCK_DGRAM); six.setsockopt(IPPROTO_IPV6, 17, scope); wait(); assert six.getsockopt(IPPROTO_IPV6, 17) == if_nametoindex("d0")'
	stop_job
	ip -n "$NETNS" link del d0
	fails 7 'this node has no network interface d0, which a socket was bound to'
	device d1
	device d0
	works
}

@test "a socket of one interface, which is gone" {
	job 's = socket(AF_INET, SOCK_DGRAM); s.setsockopt(SOL_SOCKET, SO_BINDTODEVICE, b"d0"); s.bind(("", 4001)); l = socket(); l.setsockopt(SOL_SOCKET, SO_BINDTODEVICE, b"d0")
l.bind((addr, 4001)); l.listen(); wait()
for x in s, l: assert x.getsockopt(SOL_SOCKET, SO_BINDTODEVICE, 16) == b"d0\0"'
	stop_job
	ip -n "$NETNS" link del d0
	fails 7 'this node has no network interface d0, which a socket was bound to'
	device d1
	device d0
	works
}

@test "sockets of an interface that is gone already are refused by name" {
	job 's = socket(AF_INET, SOCK_DGRAM); s.bind(("", 4001)); s.setsockopt(SOL_SOCKET, SO_BINDTODEVICE, b"d0"); t = socket(AF_INET6, SOCK_DGRAM)
t.setsockopt(IPPROTO_IPV6, 17, scope); t.setsockopt(IPPROTO_IPV6, 76, struct.pack("!i", scope)); wait()'
	ip -n "$NETNS" link del d0
	run --separate-stderr within xcheckpoint "$JOB"
	status_is 5
	[[ "$stderr" =~ "pid "[0-9]+": fd 3: UDP socket 0.0.0.0:4001: it is bound to an interface that is gone (SO_BINDTODEVICE)" ]]
	[[ "$stderr" =~ "pid "[0-9]+": fd 4: UDP socket "[^\n]*": its option IPV6.MULTICAST_IF names an interface that is gone" ]]
	[[ "$stderr" =~ "pid "[0-9]+": fd 4: UDP socket "[^\n]*": its option IPV6.UNICAST_IF names an interface that is gone" ]]
	touch go
	wait_until [ -e verdict ]
}

@test "xcheckpoint -n names all that prevents it in one run, with pid, descriptor and address, and touches nothing" {
	job 'import sys
c = socket(AF_INET, SOCK_DGRAM); c.bind((addr, 4001)); c.connect((addr, 9)); c.setsockopt(17, 1, 1); c.send(b"corked")
o = socket(AF_INET, SOCK_DGRAM); o.bind((addr, 4002)); o.setsockopt(SOL_IP, 4, b"\1\1\1\0")
t = socket(); t.bind((addr, 4003)); t.connect((addr, 4003))
l = create_server((addr, 4004)); a = create_connection((addr, 4004)); b = l.accept()[0]; a.send(b"!", MSG_OOB)
try: m = socket(AF_INET, SOCK_STREAM, 262); m.bind((addr, 4005))
except OSError: m = None
pid = os.fork(); n = socket(AF_INET, SOCK_DGRAM) if not pid else None
if not pid: n.bind((addr, 4006)); n.setsockopt(SOL_IP, 4, b"\1\1\1\0")
def is_child(): return pid == 0
def say(): open("child" if is_child() else "leader", "w").write(" ".join("%d:%d" % (os.getpid(), x.fileno()) for x in ([n] if is_child() else [c, o, t, b] + ([m] if m else []))))
say()
if is_child(): time.sleep(60); os._exit(0)
while not os.path.getsize("child") if os.path.exists("child") else True: time.sleep(0.02)
wait(); c.setsockopt(17, 1, 0); assert b.recv(1, MSG_OOB) == b"!"; os.kill(pid, 9); os.wait()'
	local how at=() text=("UDP socket 198.18.7.1:4001 -> 198.18.7.1:9: data waits to be sent" "UDP socket 198.18.7.1:4002: IP options are set"
		"TCP socket 198.18.7.1:4003 -> 198.18.7.1:4003: it is connected to itself" "TCP socket 198.18.7.1:4004 -> 198.18.7.1:"
		"MPTCP")
	read -ra at < <(cat leader; echo)
	for how in -n -k ""; do
		run --separate-stderr within xcheckpoint $how "$JOB"
		status_is 5
		for i in "${!at[@]}"; do
			grep -F "pid ${at[i]%:*}: fd ${at[i]#*:}: " <<<"$stderr" | grep -F "${text[i]}" || { echo "# no ${text[i]} in $stderr" >&2; false; }
		done
		grep -F "pid $(sed 's/:.*//' child): fd $(sed 's/.*://' child): UDP socket 198.18.7.1:4006: IP options are set" <<<"$stderr"
		[ -z "$(versions)" ]
	done
	touch go
	wait_until [ -e verdict ] || { cat err >&2; false; }
}
