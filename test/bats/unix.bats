#!/usr/bin/env bats
# Unix sockets and what is outside the job: peers, files, names. The sockets themselves are tested by test/victim/v_unix*.c.

bats_require_minimum_version 1.5.0
load helper
load ckpt

teardown() { [ -z "$APART" ] || rm -rf "$APART"; xos_teardown; }

# job CODE: python as job $JOB until it has made the file `ready`; after the file `go` it goes on and says its verdict
job()
{
	need_root
	need_command python3
	cat >job.py <<-E
	import array, os, socket, sys, time
	from socket import *
	def wait():
	    open("ready", "w").close()
	    while not os.path.exists("go"): time.sleep(0.02)
	$1
	open("verdict", "w").write("good")
	E
	clean xcgexec -d -q -j "$JOB" -o out -e err -- python3 job.py
	wait_until [ -e ready ] || { cat err >&2; return 1; }
}

# outside CODE: python beside the job, until it has made the file `there`
outside()
{
	cat >outside.py <<-E
	import os, time
	from socket import *
	def there(): open("there", "w").close()
	$1
	time.sleep(60)
	E
	background python3 outside.py
	wait_until [ -e there ]
}

stop_job() { clean xcheckpoint -k -q "$JOB" && wait_until no_processes; }
good() { touch go; wait_until [ -e verdict ] || { cat err >&2; return 1; }; }

@test "a stream to outside is refused by name, and goes on" {
	outside 'l = socket(AF_UNIX); l.bind("server"); l.listen(); there(); c, a = l.accept(); c.sendall(c.recv(99))'
	job 's = socket(AF_UNIX); s.connect("server"); wait(); s.sendall(b"echo"); assert s.recv(99) == b"echo"'
	run --separate-stderr clean xcheckpoint "$JOB"
	status_is 5
	[[ "$stderr" == *": fd 3: unix socket (unnamed): it is connected to server outside the job"* ]]
	good
}

# The same service, as often as somebody connects to it.
service='l = socket(AF_UNIX); l.bind(NAME); l.listen(); there()
while True:
    c, a = l.accept(); c.settimeout(20)
    print(int.from_bytes(c.getsockopt(SOL_SOCKET, SO_PEERCRED, 12)[:4], "little"), file=open("by", "a"))
    try:
        while True:
            b = c.recv(99)
            if not b: break
            c.sendall(b.upper())
    except OSError: pass'

@test "--unix-connect: a stream to a name outside is made anew, as the process that had it; -S leads it elsewhere; without anybody there exit 7" {
	outside "$(printf '%s' "${service//NAME/\"$PWD/server\"}")"
	job 's = socket(AF_UNIX); s.connect("'"$PWD"'/server"); s.sendall(b"a"); assert s.recv(9) == b"A"; wait(); s.sendall(b"b"); assert s.recv(9) == b"B"; import struct; p = struct.unpack("3i", s.getsockopt(SOL_SOCKET, SO_PEERCRED, 12)); assert p[0] > 1'
	run --separate-stderr clean xcheckpoint -n "$JOB"
	[[ "$stderr" == *"connected to $PWD/server outside the job (see --unix-connect, --unix-close)"* ]]
	clean xcheckpoint -k -q --unix-connect "$JOB"
	wait_until no_processes
	mv server elsewhere
	run --separate-stderr clean xrestart -d "$JOB"
	status_is 7
	[[ "$stderr" == *"connected to $PWD/server outside the job: No such file"* && "$stderr" == *"-S "*"=PATH"* ]]
	wait_until no_processes
	clean xrestart -d -q -S "$PWD/server=$PWD/elsewhere" "$JOB"
	run --separate-stderr clean xcheckpoint --unix-connect "$JOB" # its name leads nowhere now
	status_is 5
	mv elsewhere server
	clean xcheckpoint -k -q --unix-connect "$JOB"
	wait_until no_processes
	mkdir moved
	mv server moved
	clean xrestart -d -q -L "$PWD/server=$PWD/moved/server" "$JOB"
	mv moved/server .
	clean xcheckpoint -k -q --unix-connect "$JOB"
	wait_until no_processes
	clean xrestart -d -q "$JOB"
	good
	[ "$(wc -l <by)" -eq 4 ]
	[ "$(sort -u by | wc -l)" -eq 1 ]
}

@test "--unix-connect: an abstract name; what is not read yet is waited for, then refused; --unix-close at the restart" {
	outside "${service//NAME/\"\\0xos-$JOB\"}"
	job 's = socket(AF_UNIX); s.connect("\0xos-'"$JOB"'"); s.sendall(b"a"); wait(); assert s.recv(9) == b"A"; open("read", "w").close()
while not os.path.exists("on"): time.sleep(0.02)
assert s.recv(9) == b""
try: s.sendall(b"x"); assert 0
except BrokenPipeError: pass'
	run --separate-stderr clean xcheckpoint --unix-connect "$JOB"
	status_is 5
	[[ "$stderr" == *"what @xos-$JOB sent it is not read yet"* ]]
	touch go
	wait_until [ -e read ]
	clean xcheckpoint -k -q --unix-connect "$JOB"
	wait_until no_processes
	clean xrestart -d -q --unix-close "$JOB"
	touch on
	good
}

@test "--unix-close: a server comes back with its clients outside gone, and what they had said; a pair that somebody outside holds" {
	job 'l = socket(AF_UNIX); l.bind("server"); l.listen(); c, a = l.accept(); wait(); assert c.recv(99) == b"last words"; assert c.recv(9) == b""; c, a = l.accept(); assert c.recv(9) == b"new"' &
	local starter=$!
	wait_until [ -e server ]
	outside 'c = socket(AF_UNIX); c.connect("server"); c.sendall(b"last words"); there()'
	wait "$starter"
	run --separate-stderr clean xcheckpoint --unix-connect "$JOB"
	status_is 5
	[[ "$stderr" == *"connected to (unnamed) outside the job (see --unix-close)"* ]]
	clean xcheckpoint -k -q --unix-connect --unix-close "$JOB"
	wait_until no_processes
	clean xrestart -d -q "$JOB"
	touch go
	clean python3 -c 'from socket import *; s = socket(AF_UNIX); s.connect("server"); s.sendall(b"new")'
	good
}

@test "a pair whose other end is outside is refused as well, unless it is stdio: that is connected to the restart's" {
	need_root
	need_command python3
	cat >start.py <<-'E'
	import socket, subprocess, sys, time
	a, b = socket.socketpair()
	p = subprocess.Popen(["xcgexec", "-q", "-j", sys.argv[2], "--", "sh", "-c", sys.argv[3]], stdin=subprocess.DEVNULL, stdout=b)
	b.close()
	p.wait()
	time.sleep(60)
	E
	background python3 start.py 9 "$JOB-9" 'exec 9>&1 >/dev/null; touch moved; exec sleep 60'
	background python3 start.py 1 "$JOB-1" 'touch there1; while [ ! -e go ]; do sleep 0.1; done; echo said'
	wait_until [ -e there1 ]
	wait_until [ -e moved ]
	run --separate-stderr clean xcheckpoint "$JOB-9"
	status_is 5
	[[ "$stderr" == *": fd 9: unix socket (unnamed): it is connected to (unnamed) outside the job"* ]]
	clean xcheckpoint -k -q "$JOB-1"
	XOS_LIMIT=10 clean xrestart "$JOB-1" >said &
	sleep 0.5
	touch go
	wait $!
	[ "$(cat said)" = said ]
}

@test "a pair that is stdio inside the job stays a pair" {
	need_root
	need_command python3
	cat >pair.py <<-'E'
	import socket, subprocess, time, os
	a, b = socket.socketpair()
	p = subprocess.Popen(["cat"], stdin=b, stdout=b); b.close()
	open("ready", "w").close()
	while not os.path.exists("go"): time.sleep(0.02)
	a.sendall(b"through cat"); assert a.recv(99) == b"through cat"
	a.shutdown(socket.SHUT_WR); assert a.recv(99) == b"" and p.wait() == 0
	open("verdict", "w").write("good")
	E
	clean xcgexec -d -q -j "$JOB" -o out -e err -- python3 pair.py
	wait_until [ -e ready ]
	stop_job
	clean xrestart -d -q "$JOB"
	good
}

@test "datagrams to outside go there again; without it exit 7 and the name; -L finds it elsewhere" {
	mkdir log
	outside 's = socket(AF_UNIX, SOCK_DGRAM); s.bind("'"$PWD"'/log/dev"); there()
for i in range(2): open("got", "ab").write(s.recv(99) + b"\n")'
	job 's = socket(AF_UNIX, SOCK_DGRAM); s.connect("'"$PWD"'/log/dev"); s.send(b"before"); wait(); s.send(b"after")'
	stop_job
	mv log elsewhere
	run --separate-stderr clean xrestart -d -q "$JOB"
	status_is 7
	[[ "$stderr" == *"cannot connect to $PWD/log/dev"* ]]
	no_processes
	clean xrestart -d -q -L "$PWD/log=$PWD/elsewhere" "$JOB"
	good
	wait_until grep -q after got
	[ "$(cat got)" = $'before\nafter' ]
}

@test "a connection that waits to be accepted: refused when data was sent over it, or when its client is outside" {
	job 'l = socket(AF_UNIX); l.bind("server"); l.listen(); c = socket(AF_UNIX); c.connect("server"); c.send(b"early"); wait()
s, a = l.accept(); assert s.recv(99) == b"early"'
	run --separate-stderr clean xcheckpoint "$JOB"
	status_is 5
	[[ "$stderr" == *": unix socket server: a connection waits to be accepted, and data was sent over it"* ]]
	good
}

@test "a client outside that waits to be accepted is refused" {
	job 'l = socket(AF_UNIX); l.bind("server"); l.listen(); wait(); l.accept()'
	outside 'c = socket(AF_UNIX); c.connect("server"); there()'
	run --separate-stderr clean xcheckpoint -k "$JOB"
	status_is 5
	[[ "$stderr" == *": unix socket server: a connection waits to be accepted, from outside the job"* ]]
	good
}

SERVER='l = socket(AF_UNIX); l.bind("server"); os.chmod("server", 0o640); l.listen(); wait()
c = socket(AF_UNIX); c.connect("server"); s, a = l.accept(); s.send(b"x"); assert c.recv(9) == b"x"'

@test "the name of a listening socket that somebody else uses now: exit 4, he is left alone; later it works" {
	job "$SERVER"
	stop_job
	rm server
	outside 'l = socket(AF_UNIX); l.bind("server"); l.listen(); there(); c, a = l.accept(); open("called", "w").close()'
	run --separate-stderr clean xrestart -d -q "$JOB"
	status_is 4
	[[ "$stderr" == *"unix socket server: Address already in use"* ]]
	no_processes
	[ -S server ] && [ ! -e called ]
	kill -9 $XOS_BACKGROUND
	wait $XOS_BACKGROUND || :
	clean xrestart -d -q "$JOB"
	[ "$(stat -c %a server)" = 640 ]
	good
}

@test "a file that is no socket is not replaced, a missing one is made, another user's socket stays" {
	job "$SERVER"
	stop_job
	rm server
	echo precious >server
	run --separate-stderr clean xrestart -d -q "$JOB"
	status_is 4
	[ "$(cat server)" = precious ]
	rm server
	python3 -c 'from socket import *; socket(AF_UNIX).bind("server")'
	chown 4242 server
	run --separate-stderr clean xrestart -d -q "$JOB"
	status_is 4
	[ "$(stat -c %u server)" = 4242 ]
	rm server
	clean xrestart -d -q "$JOB"
	good
}

@test "a restart that fails leaves no file of a socket; a check leaves everything as it is" {
	job "$SERVER"
	stop_job
	local was
	was=$(stat -c %i:%a server)
	clean xrestart -c "$JOB"
	[ "$(stat -c %i:%a server)" = "$was" ]
	rm server
	XOS_FAULT=restart.finish run --separate-stderr clean xrestart -d -q "$JOB"
	status_is 1
	[ ! -e server ]
	clean xrestart -d -q "$JOB"
	[ -S server ]
	good
}

@test "in a new PID namespace, and again from there" {
	need_root
	need_victim v_unix
	clean xcgexec -d -q -j "$JOB" -o out -e err -- "$XOS_BUILD/victim/v_unix" "$PWD/p"
	wait_until [ -e p.ready ]
	stop_job
	clean xrestart -d -q -N "$JOB"
	stop_job
	clean xrestart -d -q -N "$JOB"
	touch p.go
	wait_until [ -e p.ok ] || { cat p.fail >&2; return 1; }
}

@test "the directory of a socket may have moved: -L" {
	mkdir a
	job 'l = socket(AF_UNIX); l.bind("'"$PWD"'/a/server"); l.listen(); c = socket(AF_UNIX); c.connect("'"$PWD"'/a/server"); wait()
assert l.getsockname() == "'"$PWD"'/b/server"; d = socket(AF_UNIX); d.connect("'"$PWD"'/b/server"); l.accept(); l.accept()'
	stop_job
	mv a b
	run --separate-stderr clean xrestart -d -q "$JOB"
	status_is 7
	[[ "$stderr" == *"-L OLD=NEW"* ]]
	clean xrestart -d -q -L "$PWD/a=$PWD/b" "$JOB"
	good
}

@test "urgent data is refused; a dry run changes nothing of a queue" {
	job 'a, b = socketpair(AF_UNIX, SOCK_DGRAM); a.send(b"1"); a.send(b"22"); c, d = socketpair(); c.send(b"!", MSG_OOB); wait()
assert b.getsockopt(SOL_SOCKET, 42) == -1 and b.recv(9) == b"1" and b.recv(9) == b"22"'
	run --separate-stderr clean xcheckpoint -n "$JOB"
	status_is 5
	[[ "$stderr" == *"unix socket (unnamed): urgent data (MSG_OOB) waits in it"* ]]
	good
}

@test "an empty message is saved once; when it cannot be seen again it is refused, not lost" {
	job 'a, b = socketpair(AF_UNIX, SOCK_DGRAM); a.send(b"1"); a.send(b""); a.send(b"3"); wait()
assert [b.recv(9) for i in range(3)] == [b"1", b"", b"3"]'
	clean xcheckpoint -q "$JOB"
	run --separate-stderr clean xcheckpoint -k "$JOB"
	status_is 5
	[[ "$stderr" == *"more messages wait in it than can be seen"* ]]
	clean xcgkill -q "$JOB"
	wait_until no_processes
	clean xrestart -d -q "$JOB"
	good
}

@test "as on a kernel that does not tell who is connected: refused by name" {
	job 'a, b = socketpair(); wait()'
	XOS_FAULT=unix-diag run --separate-stderr clean xcheckpoint "$JOB"
	status_is 5
	[[ "$stderr" == *"this kernel does not tell what it is connected to (no unix_diag)"* ]]
	good
}

@test "root restarts a user's sockets with the user's rights, at their places" {
	need_root
	need_victim v_unix
	[ "$(id -u daemon 2>/dev/null)" = 1 ] || skip "no user daemon"
	local dir
	APART=$(mktemp -d /tmp/xos-unix.XXXXXX)
	dir=$APART
	cp "$XOS_BUILD"/bin/xcgexec "$XOS_BUILD"/bin/xcheckpoint "$XOS_BUILD"/victim/v_unix "$XOS_BUILD"/victim/v_unix_rights "$dir"
	chown -R daemon "$dir"
	as_daemon() { (cd "$dir" && clean setpriv --reuid=daemon --regid=daemon --clear-groups --inh-caps=-all env -u XOS_PAM_CONF XOS_STATE_DIR="$dir/state" "$@"); }
	for v in v_unix v_unix_rights; do
		as_daemon ./xcgexec -d -q -j "$JOB" -o "$dir/out" -e "$dir/err" -- "./$v" "$dir/$v"
		wait_until [ -e "$dir/$v.ready" ]
		as_daemon ./xcheckpoint -k -q "$JOB"
		clean xrestart -d -q -i "$dir/state/checkpoints/$JOB/1.tar"
		touch "$dir/$v.go"
		wait_until [ -e "$dir/$v.ok" ] || { cat "$dir/$v.fail" >&2; false; }
		JOB=$JOB-2
	done
}
