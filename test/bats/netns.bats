#!/usr/bin/env bats
# Network namespaces of the job with programs at work in them: a web server and redis with clients over connections that stay. The sockets of all
# kinds are test/victim/v_netns_sock.c's, links and addresses v_netns.c's.

bats_require_minimum_version 1.5.0
load helper
load ckpt

setup() { xos_setup; LINK=; }

teardown()
{
	xos_teardown
	[ -z "$LINK" ] || ip link del "$LINK" 2>/dev/null || :
}

there() { local f; for f in "$@"; do [ -e "$f" ] && return 0; done; return 1; }

python() { if [ -x /usr/bin/python3 ]; then echo /usr/bin/python3; else command -v python3; fi; }

# In a namespace where nothing is up yet. The ports may well be in use outside.
program()
{
	cat <<-'END'
		import fcntl, hashlib, http.client, os, random, shutil, socket, struct, subprocess, sys, time
		s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		fcntl.ioctl(s, 0x8914, struct.pack("16sH14x", b"lo", 1)) # up
		s.close()
		def server(*command):
		    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
		def connected(port):
		    for _ in range(400):
		        try: return socket.create_connection(("127.0.0.1", port), 20)
		        except ConnectionRefusedError: time.sleep(0.02)
		    raise SystemExit("nobody listens")
		os.mkdir("web")
		known = {}
		for i in range(20):
		    known["/f%d" % i] = random.randbytes(random.randrange(200000))
		    open("web/f%d" % i, "wb").write(known["/f%d" % i])
		servers = [server(sys.executable, "-m", "http.server", "--protocol", "HTTP/1.1", "--bind", "127.0.0.1", "--directory", "web", "8000")]
		connected(8000).close()
		stays = http.client.HTTPConnection("127.0.0.1", 8000, 20)
		redis = None
		if shutil.which("redis-server"):
		    servers.append(server("redis-server", "--port", "6379", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"))
		    redis = connected(6379).makefile("rwb")
		def fetched(c, path):
		    c.request("GET", path)
		    return c.getresponse().read()
		n, log = 0, open("log", "a", buffering=1)
		while not os.path.exists("stop"):
		    path = random.choice(list(known))
		    once = http.client.HTTPConnection("127.0.0.1", 8000, 20)
		    assert fetched(stays, path) == known[path], path
		    assert fetched(once, path) == known[path], path
		    once.close()
		    n += 1
		    if redis:
		        redis.write(b"INCR n\r\nSET k%d %d\r\nGET k%d\r\n" % (n % 50, n, n % 50)); redis.flush()
		        assert redis.readline() == b":%d\r\n" % n and redis.readline() == b"+OK\r\n"
		        assert redis.readline() == b"$%d\r\n" % len(str(n)) and redis.readline() == b"%d\r\n" % n
		    log.write("%d\n" % n)
		for p in servers: p.kill(); p.wait()
		open("ok", "w").write("%d %s" % (n, os.readlink("/proc/self/ns/net")))
	END
}

lines() { wc -l <log; }
further() { local n=$1; [ "$(lines)" -gt "$n" ] || there fail ok; }

# servers HOW UNSHARE...: under load, with three restarts. HOW: the command that runs the tools
servers()
{
	local how=$1 i
	shift
	program >program.py
	chmod 644 program.py
	$how xcgexec -d -q -j "$JOB" -o out -e err -- "$@" "$(python)" program.py >/dev/null
	wait_until there log
	wait_until further 3
	$how xcheckpoint -q "$JOB"
	for i in 1 2 3; do
		$how xcheckpoint -k -q "$JOB"
		$how xrestart -d -q "$JOB" >/dev/null
		wait_until further "$(lines)"
	done
	touch stop
	XOS_WAIT=40 wait_until there ok || { cat err >&2; return 1; }
	[ "$(lines)" = "$(cut -d' ' -f1 ok)" ]
}

@test "a web server and redis in unshare -n, with clients over connections that stay" {
	need_root
	need_command unshare
	unshare -n true || skip "no network namespaces"
	servers clean unshare -n
}

@test "the same in a network and a user namespace of an ordinary user" {
	need_user
	need_command unshare
	run_as_user unshare -Urn true || skip "an ordinary user can make no namespaces"
	cd "$XOS_USER_DIR"
	umask 022
	servers clean_user unshare -Urn
}

delegated() { run_delegated timeout -k 5 30 "$@" 3>&- 4>&- 10>&- 251>&-; }

# his_victim NAME: with data that waits to be sent, as an ordinary user whose job has a control group
his_victim()
{
	need_victim "$1"
	need_v2
	need_user
	delegate
	cp "$XOS_BUILD/victim/$1" "$XOS_USER_DIR/bin"
	delegated env XOS_VICTIM_UNSENT=1 xcgexec -d -q -j "$JOB" -- "$1" "$XOS_USER_DIR/p"
	wait_until there "$XOS_USER_DIR"/p.{ready,skip,fail}
	[ ! -e "$XOS_USER_DIR/p.skip" ] || skip "$(cat "$XOS_USER_DIR/p.skip")"
}

his_state_is() { [ "$(run_as_user xps -n -j "$JOB" -o STATE | sort -u)" = "$1" ]; }

his_verdict()
{
	run_as_user touch p.go
	XOS_WAIT=40 wait_until there "$XOS_USER_DIR"/p.{ok,fail}
	[ ! -e "$XOS_USER_DIR/p.fail" ] || { cat "$XOS_USER_DIR/p.fail" >&2; return 1; }
}

his_rounds()
{
	local i
	for i in 1 2 3; do
		delegated xcheckpoint -k -q "$JOB"
		delegated xrestart -d -q "$JOB" >/dev/null
	done
	his_verdict
}

@test "what waits to be sent in a namespace of an ordinary user" { his_victim v_netns_sock; his_rounds; }

@test "connections between two namespaces of an ordinary user" { his_victim v_netns_tcp; his_rounds; }

@test "xcheckpoint killed while it reads that harms nothing" {
	local at
	his_victim v_netns_sock
	for at in tcp-reading tcp-repair; do
		run delegated env XOS_FAULT=$at:kill xcheckpoint -k -q "$JOB"
		[ "$status" -ne 0 ]
		wait_until his_state_is running
	done
	delegated xcheckpoint -q "$JOB"
	his_verdict
}

# Two ends that count together, line by line; the server makes the most of its namespace when its interface has come.
far_py()
{
	cat <<-'END'
		import os, socket, subprocess, sys, time
		def count(s, log):
		    f, n = s.makefile("rwb"), 0
		    while True:
		        line = f.readline()
		        if not line: return
		        n += 1
		        assert line == b"%d %s\n" % (n, b"x" * (n % 3000)), line
		        f.write(line); f.flush()
		        log.write("%d\n" % n)
		if sys.argv[1] == "listen":
		    open("there", "w").write(str(os.getpid()))
		    while "far0" not in [name for _, name in socket.if_nameindex()]: time.sleep(0.02)
		    subprocess.check_call("ip link set lo up && ip link set far0 up && ip addr add 198.18.78.2/30 dev far0", shell=True)
		    l = socket.create_server(("198.18.78.2", 7700))
		    open("listens", "w").close()
		    s = l.accept()[0]; l.close()
		    count(s, open("log", "a", buffering=1))
		else:
		    s, n = socket.create_connection(("198.18.78.2", 7700)), 0
		    f = s.makefile("rwb")
		    while not os.path.exists("stop"):
		        n += 1
		        line = b"%d %s\n" % (n, b"x" * (n % 3000))
		        f.write(line); f.flush()
		        assert f.readline() == line
		        if len(sys.argv) > 2: time.sleep(0.01)
		    open("ok", "w").write("%d" % n)
	END
}

# far_job COMMAND: a job with a server in a namespace of its own and an interface to ours; the shell command runs when it listens
far_job()
{
	need_root
	need_command unshare ip
	unshare -n true || skip "no network namespaces"
	ip -4 addr show | grep -q 198.18.78. && skip "198.18.78.0/30 is in use"
	LINK=xf$$
	far_py >far.py
	clean xcgexec -d -q -j "$JOB" -o out -e err -- sh -c '
		unshare -n "$1" far.py listen & while [ ! -s there ]; do sleep 0.02; done
		ip link add "$2" type veth peer name far0 netns "$(cat there)" && ip addr add 198.18.78.1/30 dev "$2" && ip link set "$2" up
		while [ ! -e listens ]; do sleep 0.02; done
		'"$1"'
		wait' far "$(python)" "$LINK" >/dev/null
	wait_until there listens
}

all_seen() { [ "$(lines)" = "$(cat ok)" ]; }

@test "a connection from the job's own network into a namespace of it" {
	local i
	far_job '"$1" far.py connect'
	wait_until there log
	wait_until further 10
	for i in 1 2 3; do
		clean xcheckpoint -k -q "$JOB"
		[ -z "$(nft list tables 2>/dev/null | grep "xos_${JOB//-/_}_")" ]
		clean xrestart -d -q "$JOB" >/dev/null
		wait_until further "$(lines)"
	done
	touch stop
	wait_until there ok || { cat err >&2; return 1; }
	wait_until all_seen
}

within() { nsenter --net="/proc/$(cat there)/ns/net" "$@"; }

@test "a connection between namespaces without a route is refused by name" {
	far_job '"$1" far.py connect'
	wait_until there log
	wait_until further 10
	within ip link set far0 down
	run --separate-stderr clean xcheckpoint -k "$JOB"
	status_is 5
	[[ "$stderr" =~ "TCP socket 198.18.78.2:7700 -> 198.18.78.1:"[0-9]+": no route leads to its other end, in another network namespace, any more" ]]
	within ip link set far0 up
	wait_until further "$(lines)"
	clean xcheckpoint -k -q "$JOB"
	clean xrestart -d -q "$JOB" >/dev/null
	wait_until further "$(lines)"
	touch stop
	wait_until there ok
}

@test "a connection from outside into a namespace of the job is refused by name" {
	far_job :
	background "$(python)" far.py connect slowly
	wait_until there log
	run --separate-stderr clean xcheckpoint -n "$JOB"
	status_is 5
	[[ "$stderr" =~ "pid $(cat there): fd "[0-9]+": TCP socket 198.18.78.2:7700 -> 198.18.78.1:"[0-9]+": it is connected to outside of its network namespace" ]]
	wait_until further "$(lines)"
	touch stop
	wait_until there ok
}

@test "connections in a namespace whose loopback interface is down are refused by name" {
	need_root
	need_command unshare ip
	unshare -n true || skip "no network namespaces"
	clean xcgexec -d -q -j "$JOB" -- unshare -n "$(python)" -c '
import os, socket, subprocess, time
subprocess.check_call("ip link set lo up", shell=True)
l = socket.create_server(("127.0.0.1", 7000)); c = socket.create_connection(("127.0.0.1", 7000)); s = l.accept()[0]
subprocess.check_call("ip link set lo down", shell=True)
open("there", "w").write("%d %d %d\n" % (os.getpid(), c.fileno(), s.fileno()))
while not os.path.exists("up"): time.sleep(0.02)
subprocess.check_call("ip link set lo up", shell=True)
open("ready", "w").close()
while not os.path.exists("stop"): time.sleep(0.02)
c.sendall(b"x"); assert s.recv(1) == b"x"
open("ok", "w").close()' >/dev/null
	wait_until [ -s there ]
	run --separate-stderr clean xcheckpoint -k "$JOB"
	status_is 5
	read -r pid one two <there
	for fd in "$one" "$two"; do
		grep -q "pid $pid: fd $fd: TCP socket .*: the loopback interface of its network namespace is down" <<<"$stderr"
	done
	touch up
	wait_until there ready
	clean xcheckpoint -k -q "$JOB"
	clean xrestart -d -q "$JOB" >/dev/null
	touch stop
	wait_until there ok
}

@test "records that put sockets into namespaces that are not there" {
	local how
	need_root
	need_victim v_netns_sock
	clean xcgexec -d -q -j "$JOB" -- "$XOS_BUILD/victim/v_netns_sock" "$PWD/p" >/dev/null
	wait_until there p.{ready,skip}
	[ ! -e p.skip ] || skip "$(cat p.skip)"
	clean xcheckpoint -k -q "$JOB"
	for how in 's/NET="1"/NET="4097"/' 's/NET="1"/NET="-1"/' 's/NET="1"/NET="77"/' '/TYPE="unix".* NET="1".*WITH/{s/NET="1"/NET="2"/;:a;n;ba;}' \
		'/TYPE="tcp".* NET="1".*WITH/{s/NET="1"/NET="2"/;:a;n;ba;}'; do
		edit "$(image 1)" forged.tar files "$how"
		run --separate-stderr clean xrestart -d -i forged.tar "$JOB"
		status_is 6 || { echo "# $how" >&2; false; }
	done
	clean xrestart -d -q "$JOB" >/dev/null
	touch p.go
	XOS_WAIT=40 wait_until there p.ok p.fail
	[ -e p.ok ]
}

# Two restarts, as victims.bats has them, would hide an order that each restart turns round.
@test "links, addresses and routes after a single restart" {
	need_root
	need_victim v_netns
	clean xcgexec -d -q -j "$JOB" -- "$XOS_BUILD/victim/v_netns" "$PWD/p" >/dev/null
	wait_until there p.{ready,skip,fail}
	[ ! -e p.skip ] || skip "$(cat p.skip)"
	clean xcheckpoint -k -q "$JOB"
	clean xrestart -d -q "$JOB" >/dev/null
	touch p.go
	wait_until there p.ok p.fail
	[ -e p.ok ] || { cat p.fail >&2; false; }
}
