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

python() { [ -x /usr/bin/python3 ] && echo /usr/bin/python3 || command -v python3; }

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
	$how xcgexec -d -q -j "$JOB" -o out -e err -- "$@" "$(python)" program.py
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

# his_victim: with data that waits to be sent, as an ordinary user whose job has a control group
his_victim()
{
	need_v2
	need_user
	delegate
	cp "$XOS_BUILD/victim/v_netns_sock" "$XOS_USER_DIR/bin"
	delegated env XOS_VICTIM_UNSENT=1 xcgexec -d -q -j "$JOB" -- v_netns_sock "$XOS_USER_DIR/p"
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

@test "what waits to be sent in a namespace of an ordinary user" {
	local i
	his_victim
	for i in 1 2 3; do
		delegated xcheckpoint -k -q "$JOB"
		delegated xrestart -d -q "$JOB" >/dev/null
	done
	his_verdict
}

@test "xcheckpoint killed while it reads that harms nothing" {
	local at
	his_victim
	for at in tcp-reading tcp-repair; do
		run delegated env XOS_FAULT=$at:kill xcheckpoint -k -q "$JOB"
		[ "$status" -ne 0 ]
		wait_until his_state_is running
	done
	delegated xcheckpoint -q "$JOB"
	his_verdict
}
