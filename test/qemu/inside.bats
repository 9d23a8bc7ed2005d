#!/usr/bin/env bats
# Run inside the virtual machine (see init): an older stock kernel with control groups of version 2 only.

bats_require_minimum_version 1.5.0
load ../bats/helper

there() { local f; for f in "$@"; do [ -e "$f" ] && return 0; done; return 1; }

# grows FILE N: it has at least N lines
grows() { [ "$(wc -l <"$1")" -ge "$2" ]; }

@test "the machine: cgroup v2 alone, with its controllers" {
	run grep -c ' cgroup ' /proc/mounts
	[ "$output" = 0 ]
	[ "$(v2_mount)" = /sys/fs/cgroup ]
	for c in memory pids cpu cpuset io; do grep -qw $c /sys/fs/cgroup/cgroup.controllers; done
}

@test "what xos rests on is there" {
	[ -e /proc/$$/task/$$/children ]
	[ -e /proc/$$/map_files ] && [ -e /proc/$$/timers ]
	python3 -c '
import ctypes, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *args):
    r = libc.syscall(*[ctypes.c_long(a) for a in args])
    e = ctypes.get_errno()
    if r < 0: sys.exit("%s: %s" % (name, os.strerror(e)))
    return r
own = os.getpid()
pidfd = call("pidfd_open", 434, own, 0)
call("pidfd_getfd", 438, pidfd, 0, 0)
call("close_range", 436, 900, 1000, 0)
call("kcmp", 312, own, own, 2, 0, 0)
pid = os.fork()
if pid == 0:
    while True: signal.pause()
call("PTRACE_SEIZE", 101, 0x4206, pid, 0, 0)
call("PTRACE_INTERRUPT", 101, 0x4207, pid, 0, 0)
os.waitpid(pid, 0x40000000)
buf = ctypes.create_string_buffer(64)
call("PTRACE_GET_RSEQ_CONFIGURATION", 101, 0x420f, pid, 24, ctypes.addressof(buf))
os.kill(pid, 9)
'
}

@test "memory= and pids= are enforced, usage is recorded" {
	run --separate-stderr timeout 60 xcgexec -j "$JOB" -l memory=64M -- python3 -c 'x = b"x" * (256 << 20)'
	status_is 137
	run --separate-stderr timeout 60 xcgexec -j "$JOB" -l pids=5 -- bash -c 'for i in 1 2 3 4 5 6 7 8; do sleep 5 & done; wait'
	[[ "$stderr" == *fork* ]]
	run --separate-stderr timeout 60 xcgexec -v -j "$JOB" -- python3 -c 'x = b"x" * (32 << 20)'
	status_is 0
	echo "# $stderr" >&2
	[[ "$stderr" == *emory* ]]
	no_groups "$JOB"
}

@test "xcgfreeze stops every process and lets it go on; xcgkill ends them" {
	xcgexec -d -j "$JOB" -- bash -c 'sh -c "while echo x; do sleep 0.05; done >a" & while echo y; do sleep 0.05; done >b' >/dev/null 3>&-
	wait_until grows a 3
	wait_until grows b 3
	xcgfreeze "$JOB"
	grep -q '^frozen 1' "$(groups_of "$JOB" | head -n 1)/cgroup.events"
	local before
	before=$(cat a b | wc -l)
	sleep 2
	[ "$(cat a b | wc -l)" -eq "$before" ]
	xcgfreeze -u "$JOB"
	wait_until grows a 30
	xcgkill "$JOB"
	[ -z "$(in_job "$JOB")" ]
	no_groups "$JOB"
}

# python_job: counts with threads and a child, writes what it got, checkpointed in the middle and killed, three times
python_job()
{
	cat >job.py <<'P'
import hashlib, os, subprocess, sys, threading, time
child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
sums = [0] * 3
def work(n):
    h = b""
    for i in range(400):
        h = hashlib.sha256(h + b"%d %d" % (n, i)).digest()
        time.sleep(float(sys.argv[1]))
        if n == 0: progress.write("x\n"); progress.flush()
    sums[n] = h.hex()
progress = open("progress", "w")
threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
for t in threads: t.start()
for t in threads: t.join()
out = child.communicate(" ".join(sums).encode())[0]
open("result.tmp", "wb").write(out)
os.rename("result.tmp", "result")
P
	python3 job.py 0
	mv result expected
	: >progress
	"$@" xcgexec -d -j "$JOB" -o out -e err -- python3 job.py 0.05 >/dev/null 3>&- 4>&-
	local n
	for n in 10 60 120; do
		wait_until grows progress $n
		"$@" xcheckpoint -k -q "$JOB" 3>&- 4>&-
		[ ! -e result ]
		"$@" xrestart -d -q "$JOB" 3>&- 4>&-
	done
	XOS_WAIT=120 wait_until there result || { cat err >&2; return 1; }
	cmp result expected
}

@test "a python job with threads and a child, three times" {
	need_command python3
	python_job
}

@test "the same as an ordinary user in a user namespace" {
	need_command python3
	need_user
	cd "$XOS_USER_DIR"
	run_as_user sh -c 'touch progress'
	chown $XOS_TEST_UID .
	python_job run_as_user
}
