#!/usr/bin/env bats
# A busy machine: between the end of a job and its restart others have got the ports of its TCP connections, to other ends.

bats_require_minimum_version 1.5.0
load helper
load ckpt

setup()
{
	xos_setup
	need_root
	need_command python3
	ADDR=127.77.$((BATS_TEST_NUMBER)).1
	cat >ports.py <<-'E'
	import os, struct, time
	from socket import *
	addr = os.environ["ADDR"]
	IP_BIND_ADDRESS_NO_PORT, IP_LOCAL_PORT_RANGE = 24, 51
	def note(name, text): open(name + ".new", "w").write(str(text)); os.rename(name + ".new", name)
	def listener(port=0, family=AF_INET, backlog=9):
	    l = socket(family); l.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
	    l.bind((addr if family == AF_INET else "::1", port)); l.listen(backlog); return l
	# what connect(2) does on its own: the port is shared with connections to other ends
	def ranged(port, to, family=AF_INET):
	    s = socket(family); s.setsockopt(SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1); s.bind((addr if family == AF_INET else "::1", 0))
	    s.setsockopt(SOL_IP, IP_LOCAL_PORT_RANGE, struct.pack("I", port | port << 16)); s.connect(to); return s
	def works(a, b):
	    a.sendall(b"there"); assert b.recv(9) == b"there"; b.sendall(b"back"); assert a.recv(9) == b"back"
	def wait():
	    note("ready", "")
	    while not os.path.exists("go"): time.sleep(0.02)
	E
	chmod 644 ports.py
	export ADDR
}

# job CODE: python as job $JOB (RUN: how) until its file `ready`; then it waits for `go`, checks itself and says its verdict
job()
{
	{ cat ports.py && echo "$1" && echo 'note("verdict", "good")'; } >"$DIR/job.py"
	$RUN xcgexec -d -q -j "$JOB" -o out -e err -- python3 job.py
	wait_until [ -e "$DIR/ready" ] || { cat "$DIR/err" >&2; return 1; }
}
DIR=. RUN=clean

# other CODE: python beside the job, until its file `taken`; it sees its own connection working when `asked` is there
other()
{
	{ cat ports.py && echo "$1"; } >other.py
	background env DIR="$DIR" python3 other.py
	wait_until [ -e taken ]
}
TAKE='
port = int(open(os.environ["DIR"] + "/port").read()); far = listener()
'
STAY='
note("taken", "")
while not os.path.exists("asked"): time.sleep(0.02)
works(s, far.accept()[0]); note("fine", ""); time.sleep(60)
'
other_gone() { kill -9 "${XOS_BACKGROUND##* }"; wait "${XOS_BACKGROUND##* }" 2>/dev/null || :; }
other_fine() { touch asked; wait_until [ -e fine ]; }
stop_job() { $RUN xcheckpoint -k -q "$JOB"; }
good() { touch "$DIR/go"; wait_until [ -e "$DIR/verdict" ] || { cat "$DIR/err" >&2; return 1; }; }
in_use()
{
	run --separate-stderr $RUN xrestart -d "$JOB"
	status_is 4
	[ "${#stderr_lines[@]}" -eq 1 ] && [[ "$stderr" =~ ^xrestart:\ .*"the TCP address $ADDR:"[0-9]+" is in use"$ ]] || { echo "$stderr" >&2; return 1; }
	no_processes
}

PAIR='l = listener(); c = create_connection(l.getsockname(), source_address=(addr, 0)); s = l.accept()[0]
c.sendall(b"waits"); own = c.getsockname(); note("port", own[1]); wait()
assert c.getsockname() == own == s.getpeername() and s.recv(9) == b"waits" and c.getsockopt(SOL_SOCKET, SO_REUSEADDR) == 0
assert c.getsockopt(SOL_IP, IP_BIND_ADDRESS_NO_PORT) == 0; works(c, s); works(s, c); d = create_connection(l.getsockname()); works(d, l.accept()[0])'
BY_CONNECT='s = ranged(port, far.getsockname())'
BY_BIND='s = socket(); s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1); s.bind((addr, port)); s.connect(far.getsockname()); s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 0)'
need_ranges() { python3 -c 'from socket import *; socket().setsockopt(SOL_IP, 51, b"\0\0\0\0")' 2>/dev/null || skip "no IP_LOCAL_PORT_RANGE (Linux 6.3)"; }

@test "connect(2) gave somebody the port of a connection, to another end" {
	need_ranges
	job "$PAIR"
	stop_job
	other "$TAKE$BY_CONNECT$STAY"
	clean xrestart -d -q "$JOB"
	good
	other_fine
}

@test "somebody bound the port of a connection and connected it to another end" {
	job "$PAIR"
	stop_job
	other "$TAKE$BY_BIND$STAY"
	clean xrestart -d -q "$JOB"
	good
	other_fine
}

@test "the same over IPv6" {
	job 'l = listener(family=AF_INET6); c = socket(AF_INET6); c.connect(l.getsockname()); s = l.accept()[0]
own = c.getsockname(); note("port", own[1]); wait()
assert c.getsockname() == own == s.getpeername() and c.getsockopt(SOL_SOCKET, SO_REUSEADDR) == 0; works(c, s); works(s, c)'
	stop_job
	other 'port = int(open("port").read()); far = listener(family=AF_INET6); s = socket(AF_INET6); s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
s.bind(("::1", port)); s.connect(far.getsockname()); s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 0)'"$STAY"
	clean xrestart -d -q "$JOB"
	good
	other_fine
}

@test "the port of the accepted end, whose listening socket is gone" {
	job 'l = listener(); c = create_connection(l.getsockname()); s = l.accept()[0]; l.close()
own = s.getsockname(); note("port", own[1]); s.sendall(b"waits"); wait()
assert s.getsockname() == own == c.getpeername() and c.recv(9) == b"waits"; works(c, s); works(s, c)
assert s.getsockopt(SOL_SOCKET, SO_REUSEADDR) == 1 and s.getsockopt(IPPROTO_TCP, 19) == 0
c.close(); assert s.recv(9) == b""'
	stop_job
	other "$TAKE$BY_BIND$STAY"
	clean xrestart -d -q "$JOB"
	good
	other_fine
}

@test "a connection that waits to be accepted" {
	job 'l = listener(); c = create_connection(l.getsockname()); own = c.getsockname(); note("port", own[1]); wait()
s = l.accept()[0]; assert c.getsockname() == own == s.getpeername(); works(c, s)'
	stop_job
	other "$TAKE$BY_BIND$STAY"
	clean xrestart -d -q "$JOB"
	good
	other_fine
}

@test "a connection that is not there yet" {
	job 'l = listener(backlog=0); a = create_connection(l.getsockname()); c = socket(); c.setblocking(False)
r = c.connect_ex(l.getsockname()); own = c.getsockname(); note("port", own[1]); c.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1); wait()
x = l.accept()[0]; y = l.accept()[0]; c.setblocking(True); works(a, x); works(c, y)
assert c.getsockname() == own and c.getsockopt(SOL_SOCKET, SO_REUSEADDR) == 0 and c.getsockopt(SOL_SOCKET, SO_KEEPALIVE) == 1'
	clean xcheckpoint -v "$JOB"
	forge "$(image 1)" files | grep -q 'CONNECTING="1"'
	stop_job
	other "$TAKE$BY_BIND$STAY"
	clean xrestart -d -q "$JOB"
	good
	other_fine
}

@test "a hundred connections, ten of each port, all in other hands" {
	need_ranges
	job 'l = [listener() for i in range(10)]; p = [(c, l[i].accept()[0]) for i in range(10) for c in [ranged(40000 + k, l[i].getsockname()) for k in range(10)]]
wait()
for i in range(100):
    c, s = p[i]; assert c.getsockname() == s.getpeername() == (addr, 40000 + i % 10), i; works(c, s)'
	stop_job
	other 'far = listener(); all = [ranged(40000 + k, far.getsockname()) for k in range(10)]; s = all[0]'"$STAY"
	clean xrestart -d -q "$JOB"
	good
	other_fine
}

@test "a port that somebody listens at is in use, until he has gone" {
	job "$PAIR"
	stop_job
	other 'port = int(open("port").read()); far = listener(port)
note("taken", ""); time.sleep(60)'
	in_use
	other_gone
	clean xrestart -d -q "$JOB"
	good
}

@test "a port that somebody has bound is in use, until he has gone" {
	job "$PAIR"
	stop_job
	other 'port = int(open("port").read()); s = socket(); s.bind((addr, port)); note("taken", ""); time.sleep(60)'
	in_use
	other_gone
	clean xrestart -d -q "$JOB"
	good
}

@test "the port that the job listens at, used by a connection of somebody else" {
	job 'l = listener(); own = l.getsockname(); note("port", own[1]); wait()
assert l.getsockname() == own; c = create_connection(own); works(c, l.accept()[0])'
	stop_job
	other "$TAKE$BY_BIND$STAY"
	in_use
	other_fine
	other_gone
	clean xrestart -d -q "$JOB"
	good
}

user_job()
{
	need_user
	DIR=$XOS_USER_DIR RUN=clean_user
	job "$PAIR"
	stop_job
}

@test "an ordinary user: connect(2) gave somebody the port" {
	need_ranges
	user_job
	other "$TAKE$BY_CONNECT$STAY"
	clean_user xrestart -d -q "$JOB"
	good
	other_fine
}

@test "an ordinary user: a port that was bound is in use, until it is given back" {
	user_job
	other "$TAKE$BY_BIND$STAY"
	in_use
	other_fine
	other_gone
	clean_user xrestart -d -q "$JOB"
	good
}
