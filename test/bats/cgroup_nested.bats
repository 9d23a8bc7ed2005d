#!/usr/bin/env bats
# Control groups below the job's own: checkpointed, restarted, refused by name, gone with the job, whoever is killed when.

bats_require_minimum_version 1.5.0
load helper
load ckpt

# The job's v2 group.
v2() { echo "$(v2_mount)/xos/$JOB"; }
main_of() { field "$JOB" MAIN; }

# nested [JOB]: a counting job whose main process is in a group two below its own, in each hierarchy that it has, with limits
nested()
{
	local job=${1:-$JOB} dir main
	start "$job"
	main=$(field "$job" MAIN)
	for dir in $(groups_of "$job"); do
		mkdir "$dir/a" "$dir/a/b" "$dir/empty"
		echo "$main" >"$dir/a/b/cgroup.procs"
		[ ! -e "$dir/a/cgroup.max.depth" ] || echo 7 >"$dir/a/cgroup.max.depth"
		[ ! -e "$dir/a/memory.limit_in_bytes" ] || echo 64M >"$dir/a/memory.limit_in_bytes"
		[ ! -e "$dir/a/pids.max" ] || echo 50 >"$dir/a/pids.max"
	done
}

# state_of_groups JOB: paths, owners, limits and members of all groups below the job's
state_of_groups()
{
	local dir g
	for dir in $(groups_of "$1"); do
		find "$dir" -mindepth 1 -type d -printf '%p %U %G %m\n' | sort
		for g in a a/b empty; do
			(cd "$dir/$g" && for f in cgroup.max.depth memory.limit_in_bytes pids.max; do
				[ ! -e $f ] || echo "$f $(cat $f)"
			done)
		done
		grep -x "$(field "$1" MAIN)" "$dir/a/b/cgroup.procs"
	done
}

no_groups_at_all() { no_groups "$JOB" && [ -z "$(find /sys/fs/cgroup -path "*/xos/$JOB*" 2>/dev/null)" ]; }

@test "nested groups with limits: checkpoint, kill, restart, twice; xps, xcgfreeze and xcgkill find who is in them" {
	need_cgroup
	nested
	state_of_groups "$JOB" >before
	xcheckpoint -n "$JOB" | grep -q '^control group a/b '
	for i in 1 2; do
		clean xcheckpoint -k -q "$JOB"
		no_groups_at_all
		clean xrestart -d -q "$JOB" >/dev/null
		state_of_groups "$JOB" >after
		diff before after
		goes_on
	done
	[ "$(xps -n -j "$JOB" -o PROCS | tr -d ' ')" -ge 1 ]
	main=$(main_of)
	xcgfreeze "$JOB"
	state_is "$JOB" frozen
	was=$(wc -l <"$JOB.out")
	sleep 0.2
	[ "$(wc -l <"$JOB.out")" -eq "$was" ]
	xcgfreeze -u "$JOB"
	goes_on
	xcgkill -q "$JOB"
	gone "$main"
	no_groups_at_all
}

@test "the end of the job takes the groups away, also when nobody supervises it" {
	need_cgroup
	nested
	touch "$JOB.stop"
	wait_until no_groups_at_all
	JOB=$JOB-2
	nested
	kill -9 "$(supervisor_of "$JOB")"
	touch "$JOB.stop"
	wait_until gone "$(main_of)"
	wait_until eval 'xps -n >/dev/null; no_groups_at_all'
}

@test "xcgexec -w waits for who is in a nested group" {
	need_v2
	clean xcgexec -d -w -j "$JOB" -- sh -c 'sleep 1000 & echo $! >child; mkdir "$0/xos/$XOS_JOBID/below"; echo $! >"$0/xos/$XOS_JOBID/below/cgroup.procs"; touch ready' "$(v2_mount)" >/dev/null
	wait_until test -e ready
	wait_until gone "$(main_of)"
	sleep 0.3
	state_is "$JOB" running
	kill "$(cat child)"
	wait_until no_groups_at_all
	wait_until state_is "$JOB" done
}

@test "a failed restart leaves nothing: faults before, among and after the groups" {
	need_cgroup
	local f
	nested
	clean xcheckpoint -k -q "$JOB"
	for f in restart.groups restart.groups:2 restart.groups:3 restart.memory restart.threads restart.group_limits restart.finish restart.disarm restart.record; do
		XOS_FAULT=$f run clean xrestart -d "$JOB"
		[ "$status" -ne 0 ]
		wait_until no_groups_at_all || { echo "after $f: $(find /sys/fs/cgroup -path "*/xos/$JOB*" -type d)"; false; }
	done
	clean xrestart -d -q "$JOB" >/dev/null
	goes_on
}

@test "xrestart killed: the next command leaves nothing of its groups" {
	need_cgroup
	local f
	nested
	clean xcheckpoint -k -q "$JOB"
	for f in restart.groups:kill restart.memory:kill restart.late:kill restart.group_limits:kill restart.finish:kill; do
		XOS_FAULT=$f run clean xrestart -d "$JOB"
		[ "$status" -ne 0 ]
		wait_until no_processes
		xps -n >/dev/null
		wait_until no_groups_at_all || { echo "after $f: $(find /sys/fs/cgroup -path "*/xos/$JOB*" -type d)"; false; }
	done
	for i in $(seq 8); do
		(close_but; exec setsid xrestart -q "$JOB") &
		pid=$!
		sleep "0.0$((RANDOM % 60 + 10))"
		kill -9 $pid
		wait $pid 2>/dev/null || :
		# it may be back already: then it lives on, whole
		if [ -n "$(for g in $(groups_of "$JOB"); do find "$g" -name cgroup.procs -exec cat {} +; done)" ] && xps -n -j "$JOB" -o STATE | grep -q running; then
			goes_on
			clean xcheckpoint -k -q "$JOB"
		fi
		xps -n >/dev/null
		wait_until no_groups_at_all
	done
	clean xrestart -d -q "$JOB" >/dev/null
	ends_right
}

there() { local f; for f in "$@"; do [ -e "$f" ] && return 0; done; return 1; }

# victim_by WHO: v_cgroup as that user (run_as_user, run_delegated) through two restarts
victim_by()
{
	local at=$XOS_USER_DIR/vc i
	cp "$XOS_BUILD/victim/v_cgroup" "$XOS_USER_DIR/"
	"$1" xcgexec -d -j "$JOB" -- "$XOS_USER_DIR/v_cgroup" "$at" >/dev/null 3>&- 4>&-
	wait_until there "$at.ready" "$at.fail" "$at.skip"
	[ ! -e "$at.skip" ] || skip "$(cat "$at.skip")"
	for i in 1 2; do
		"$1" xcheckpoint -k -q "$JOB" 3>&- 4>&-
		[ ! -e "$XOS_DELEGATED/xos" ]
		"$1" xrestart -d -q "$JOB" >/dev/null 3>&- 4>&-
	done
	touch "$at.go"
	wait_until there "$at.ok" "$at.fail"
	[ -e "$at.ok" ] || { cat "$at.fail"; false; }
	wait_until test ! -e "$XOS_DELEGATED/xos"
}

@test "a user's nested groups below a group that is delegated to him" {
	need_user; need_v2; need_victim v_cgroup; delegate
	victim_by run_delegated
}

@test "a user without a group, or whose groups belonged to somebody else: an error that says so, and nothing is left" {
	need_user; need_v2; delegate
	run_delegated xcgexec -d -j "$JOB" -- sh -c 'sleep 1000 & wait' >/dev/null 3>&- 4>&-
	wait_until test -d "$XOS_DELEGATED/xos/$JOB"
	run_as_user mkdir "$XOS_DELEGATED/xos/$JOB/his"
	run_delegated xcheckpoint -q "$JOB" 3>&- 4>&-
	chown 4711 "$XOS_DELEGATED/xos/$JOB/his"
	run_delegated xcheckpoint -k -q "$JOB" 3>&- 4>&-
	run run_delegated xrestart -d "$JOB" 3>&- 4>&-
	status_is 8
	[[ "$output" == *"control group his below the job's (v2): cannot give"*"to uid 4711"* ]]
	wait_until test ! -e "$XOS_DELEGATED/xos"
	run run_as_user xrestart -d "$JOB" 3>&- 4>&-
	status_is 7
	[[ "$output" == *'control groups of its own in the hierarchy "v2", where it gets none here'* ]]
	run_delegated xrestart -d -q "$JOB" 1 >/dev/null 3>&- 4>&-
	[ -d "$XOS_DELEGATED/xos/$JOB/his" ]
}

@test "a machine without that hierarchy, or with less controllers: an error, and nothing is left" {
	need_cgroup pids
	need_command "${CC:-cc}"
	nested
	clean xcheckpoint -k -q "$JOB"
	forge "$(image 1)" groups >groups
	edit "$(image 1)" other.tar groups 's/HIERARCHY="[^"]*"/HIERARCHY="net_cls,net_prio"/'
	run clean xrestart -d -i other.tar
	status_is 7
	[[ "$output" == *'in the hierarchy "net_cls,net_prio", where it gets none here'* ]]
	no_groups_at_all
	if grep -q 'HIERARCHY="v2"' groups; then
		edit "$(image 1)" other.tar groups '/HIERARCHY="v2" PATH="a"/s/$/ CONTROL="perf_event nonsense"/'
		run clean xrestart -d -i other.tar
		[ "$status" -ne 0 ]
		[[ "$output" == *"control group a below the job's (v2): cannot give the controllers perf_event nonsense"* ]]
		no_groups_at_all
	fi
}

# refused TEXT: by name, with -n too; the job goes on
refused()
{
	run xcheckpoint -n "$JOB"
	status_is 5
	[[ "$output" == *"$1"* ]] || { echo "$output"; false; }
	run clean xcheckpoint "$JOB"
	status_is 5
	goes_on
}

@test "refused by name: others in a nested group, a thread outside, a job inside the job; the rest is not" {
	need_cgroup pids
	need_command python3
	local first v1
	start
	first=$(groups_of "$JOB" | head -n 1)
	for v1 in $(groups_of "$JOB"); do [ ! -e "$v1/pids.max" ] || break; done
	[ -e "$v1/tasks" ] || skip "pids is no hierarchy of version 1 here"
	mkdir "$v1/below"
	background sleep 1000
	echo $! >"$v1/below/cgroup.procs"
	refused "control group below below the job's (pids): process $! in it is not one of the job's"
	kill $!
	wait $! || :
	xcheckpoint -n "$JOB"
	rmdir "$v1/below"
	echo "$(main_of)" >"${v1%/xos/*}/cgroup.procs"
	refused "thread $(main_of) is not in the job's control group (pids)"
	echo "$(main_of)" >"$v1/cgroup.procs"
	mkdir "$first/xos"
	mkdir "$first/xos/other"
	refused "control group xos/other below the job's"
	rmdir "$first/xos/other"
	rmdir "$first/xos"
	clean xcheckpoint -k -q "$JOB"
	clean xrestart -d -q "$JOB" >/dev/null
	ends_right
}

@test "a frozen group with processes is told at once; an empty one comes back frozen" {
	need_v2
	start
	mkdir "$(v2)/cold"
	echo 1 >"$(v2)/cold/cgroup.freeze"
	clean xcheckpoint -k -q "$JOB"
	clean xrestart -d -q "$JOB" >/dev/null
	[ "$(cat "$(v2)/cold/cgroup.freeze")" = 1 ]
	background sleep 1000
	echo $! >"$(v2)/cold/cgroup.procs"
	run clean xcheckpoint "$JOB"
	status_is 4
	[[ "$output" == *"control group cold below that of job $JOB is frozen"* ]]
	goes_on
	xcgkill -q "$JOB"
	no_groups_at_all
}

@test "xcgkill ends what a freezer of version 1 holds" {
	need_cgroup freezer
	grep -q ' cgroup .*freezer' /proc/mounts || skip "the freezer is no hierarchy of version 1 here"
	clean xcgexec -d -j "$JOB" -g freezer -- sh -c 'sleep 1000 & wait' >/dev/null
	local dir=/sys/fs/cgroup/freezer/xos/$JOB pid
	wait_until test -d "$dir"
	pid=$(main_of)
	mkdir "$dir/cold"
	echo "$pid" >"$dir/cold/cgroup.procs"
	echo FROZEN >"$dir/cold/freezer.state"
	run clean xcheckpoint "$JOB"
	status_is 4
	[[ "$output" == *"control group cold below that of job $JOB is frozen"* ]]
	timeout 5 xcgkill -q "$JOB"
	gone "$pid"
	no_groups_at_all
}

@test "device lists: carried; those that deny single devices refused" {
	need_cgroup devices
	grep -q ' cgroup .*devices' /proc/mounts || skip "devices is no hierarchy of version 1 here"
	clean xcgexec -d -j "$JOB" -g devices -o "$JOB.out" -e "$JOB.err" -- sh -c "$COUNTER" "$PWD/$JOB" >/dev/null
	wait_until grep -qx 3 "$JOB.out"
	local dir=/sys/fs/cgroup/devices/xos/$JOB
	mkdir "$dir/some" "$dir/all"
	echo a >"$dir/some/devices.deny"
	echo 'c 1:* rw' >"$dir/some/devices.allow"
	echo 'b 7:0 r' >"$dir/some/devices.allow"
	mkdir "$dir/some/less"
	echo 'b 7:0 r' >"$dir/some/less/devices.deny"
	main_of >"$dir/some/less/cgroup.procs"
	cat "$dir"/{some,some/less,all}/devices.list >before
	clean xcheckpoint -k -q "$JOB"
	clean xrestart -d -q "$JOB" >/dev/null
	cat "$dir"/{some,some/less,all}/devices.list >after
	diff before after
	grep -qx "$(main_of)" "$dir/some/less/cgroup.procs"
	echo 'c 1:3 w' >"$dir/all/devices.deny"
	refused "control group all below the job's (devices): it denies some devices, and the kernel does not show which"
	[ ! -e "$dir/all/xos.probe" ]
	ends_right
}

@test "hostile records: refused as a bad image, nothing is made" {
	need_cgroup
	need_command "${CC:-cc}"
	local how main
	nested
	main=$(main_of)
	clean xcheckpoint -k -q "$JOB"
	for how in 's/PATH="a\/b"/PATH="a\/.."/' 's/PATH="a"/PATH=".."/' 's/PATH="a"/PATH="\/"/' 's/PATH="a"/PATH="a\/"/' 's/PATH="a"/PATH="a\\012b"/' \
		's/PATH="a"/PATH="z"/' 's/PATH="a\/b"/PATH="a\/\/b"/' "s/PATH=\"empty\"/PATH=\"$(printf '%0256d' 0)\"/" "s/PATH=\"empty\"/PATH=\"$(printf 'x%.0s' {1..3000})\"/" \
		's/ID="1"/ID="2"/' 's/ UID="[0-9]*"//' 's/ UID="0"/ UID="4294967295"/' 's/ MODE="[0-9a-fx]*"/ MODE="0x1000"/' 's/HIERARCHY="[^"]*"/HIERARCHY=""/' \
		's/MODE="0x1ed"/& FILES="x:1:1"/' 's/MODE="0x1ed"/& FILES="..\/x:1:1:644"/' 's/MODE="0x1ed"/& FILES="x:-1:1:644"/' 's/MODE="0x1ed"/& FILES="x:1:1:99999"/' 's/MODE="0x1ed"/& CONTROL="..\/x"/' \
		's/TYPE="group" /TYPE="grope" /' 's/FILE="[^"]*"/FILE="..\/..\/cgroup.procs"/' 's/FILE="[^"]*"/FILE="cgroup.procs"/' 's/FILE="[^"]*"/FILE="memory.force_empty"/'; do
		edit "$(image 1)" other.tar groups "$how" || { echo "nothing changed by $how"; false; }
		run clean xrestart -d -i other.tar
		status_is 6 || { echo "after $how"; false; }
		no_groups_at_all
	done
	for how in 's/(TYPE="in_group" GROUP=").*/\10"/' 's/(TYPE="in_group" GROUP=").*/\165000"/' 's/(TYPE="in_group" GROUP=".*")/\1\n\1/'; do
		edit "$(image 1)" other.tar "task_$main" "$how"
		run clean xrestart -d -i other.tar
		status_is 6 || { echo "after $how"; false; }
	done
	if [ -n "$(v2_mount)" ]; then
		edit "$(image 1)" other.tar groups 's/^(TYPE="group" .* HIERARCHY="v2" PATH="a" .*)$/\1\nTYPE="group_setting" FILE="cgroup.freeze" VALUE="1"/'
		run clean xrestart -d -i other.tar
		status_is 6
		[[ "$output" == *"control group a/b is frozen"* ]]
	fi
	no_groups_at_all
}

# Which thread is where, and what is open: /proc/PID as the members see it.
places() { local p t; for p in $(sort -n "$(v2)/dom/cgroup.procs"); do for t in "/proc/$p/task"/*; do echo "$t"; grep "/xos/" "$t/cgroup"; done; readlink "/proc/$p/fd"/*; done; }

@test "a threaded domain: leaders and threads of two processes in groups of their own, control files open and watched" {
	need_v2
	need_command python3
	clean xcgexec -d -j "$JOB" -o out -e err -- python3 -c '
import ctypes, os, select, sys, threading, time
u = sys.argv[1] + "/xos/" + os.environ["XOS_JOBID"]
def put(name, value): open(u + name, "w").write(str(value))
tids = []
def thread():
    tids.append(threading.get_native_id())
    time.sleep(1000)
def threads(n):
    for i in range(n): threading.Thread(target=thread, daemon=True).start()
    while len(tids) < n: time.sleep(0.01)
os.makedirs(u + "/dom/t1/t2")
os.mkdir(u + "/dom/u")
put("/dom/cgroup.procs", os.getpid())
for g in "t1", "t1/t2", "u": put("/dom/%s/cgroup.type" % g, "threaded")
if not os.fork():
    threads(2)
    put("/dom/t1/cgroup.threads", os.getpid())
    put("/dom/u/cgroup.threads", tids[0])
    open("child", "w")
    time.sleep(1000)
threads(3)
while not os.path.exists("child"): time.sleep(0.01)
put("/dom/t1/t2/cgroup.threads", os.getpid())
put("/dom/t1/cgroup.threads", tids[0])
put("/dom/u/cgroup.threads", tids[1])
events = os.open(u + "/dom/cgroup.events", os.O_RDONLY)
keep = [os.open(u + "/dom", os.O_RDONLY | os.O_DIRECTORY), os.open(u + "/dom/u/cgroup.threads", os.O_RDWR)]
libc = ctypes.CDLL(None)
watch = libc.inotify_init1(os.O_NONBLOCK)
libc.inotify_add_watch(watch, (u + "/dom/u").encode(), 0x100)
open("ready", "w")
while not os.path.exists("go"): time.sleep(0.02)
os.mkdir(u + "/dom/u/new")
poll = select.poll()
poll.register(watch, select.POLLIN)
got = poll.poll(5000)
open("verdict", "w").write("%s %s %s" % (os.pread(events, 100, 0).split()[1].decode(), bool(got), os.pread(keep[1], 100, 0).split() != []))
time.sleep(1000)' "$(v2_mount)" >/dev/null
	wait_until test -e ready || { cat err; false; }
	places >before
	grep -q '/dom/t1/t2$' before
	for i in 1 2; do
		clean xcheckpoint -k -q "$JOB"
		clean xrestart -c -q "$JOB"
		clean xrestart -d -q "$JOB" >/dev/null
		places >after
		diff before after
	done
	touch go
	wait_until test -s verdict
	[ "$(cat verdict)" = "1 True True" ]
}

@test "all controllers of this machine at once" {
	need_cgroup
	need_victim v_cgroup
	local list= c at=$PWD/vc
	for c in cpu cpuset memory pids blkio freezer devices hugetlb net; do
		if grep -q " cgroup .*\b${c/net/net_cls}\b" /proc/mounts || grep -qw "${c/blkio/io}" "$(v2_mount)/cgroup.controllers"; then list=$list,$c; fi
	done
	clean xcgexec -d -j "$JOB" -g "${list#,}" -- "$XOS_BUILD/victim/v_cgroup" "$at" >/dev/null
	wait_until there "$at.ready" "$at.fail" "$at.skip"
	[ -e "$at.ready" ] || { cat "$at".*; false; }
	for i in 1 2; do
		clean xcheckpoint -k -q "$JOB"
		no_groups_at_all
		clean xrestart -d -q "$JOB" >/dev/null
	done
	touch "$at.go"
	wait_until there "$at.ok" "$at.fail"
	[ -e "$at.ok" ] || { cat "$at.fail"; false; }
	wait_until no_groups_at_all
}

@test "a cgroup namespace whose root is a nested group, with members below" {
	need_v2
	clean xcgexec -d -j "$JOB" -o out -e err -- bash -c '
		for dir in /sys/fs/cgroup/xos/$XOS_JOBID /sys/fs/cgroup/*/xos/$XOS_JOBID; do
			[ -d "$dir" ] || continue
			mkdir -p "$dir/outer/root/leaf"
			echo $$ >"$dir/outer/root/cgroup.procs"
		done
		exec unshare --cgroup bash -c "$1" bash "$0"' "$(v2_mount)/xos/$JOB" '
			echo $$ >"$1/outer/root/leaf/cgroup.procs"
			touch ready
			n=0
			while :; do
				n=$((n + 1))
				[ ! -e "ask$n" ] && { n=$((n - 1)); sleep 0.05; continue; }
				grep -v name= /proc/self/cgroup | cut -d: -f2- >"told$n.new"
				mv "told$n.new" "told$n"
			done' >/dev/null
	wait_until test -e ready || { cat err; false; }
	touch ask1
	wait_until test -e told1
	grep -qx ':/leaf' told1
	main=$(main_of)
	sort "/proc/$main/cgroup" >before
	for i in 2 3; do
		clean xcheckpoint -k -q "$JOB"
		clean xrestart -d -q "$JOB" >/dev/null
		sort "/proc/$main/cgroup" >after
		diff before after
		touch "ask$i"
		wait_until test -e "told$i"
		diff told1 "told$i"
	done
	clean xcheckpoint -k -q "$JOB"
	need_command "${CC:-cc}"
	for how in 's/ROOTS="[^"]*"/ROOTS="65"/' 's/ROOTS="[^"]*"/ROOTS="1 x"/' 's/ROOTS="[^"]*"/ROOTS="-1"/'; do
		edit "$(image 1)" other.tar namespaces "$how"
		run clean xrestart -d -i other.tar
		status_is 6
		no_groups_at_all
	done
}

@test "groups nested as deep as a path can tell: members are found, the end takes them all away; deeper than an image can tell is refused" {
	need_v2
	local dir i name
	start
	name=$(printf 'n%.0s' {1..100})
	dir=$(v2)
	for i in $(seq 30); do
		dir=$dir/$name
		mkdir "$dir"
	done
	main_of >"$dir/cgroup.procs"
	[ "$(xps -n -j "$JOB" -o PROCS | tr -d ' ')" -ge 1 ]
	refused "its path is too long"
	[[ "$output" != *"is not in the job's control group"* ]] || { echo "# what follows from the depth is told as a reason of its own" >&2; false; }
	background sleep 1000
	echo $! >"$dir/cgroup.procs"
	xcgfreeze "$JOB"
	state_is "$JOB" frozen
	xcgkill -q "$JOB"
	gone $!
	no_groups_at_all
}

@test "an eBPF program that is attached to a nested group: refused" {
	need_v2
	need_command python3
	start
	mkdir "$(v2)/guarded"
	clean python3 -c '
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
code = ctypes.create_string_buffer(bytes.fromhex("b700000001000000" "9500000000000000"))
licence = ctypes.create_string_buffer(b"GPL")
def bpf(cmd, attr):
    a = ctypes.create_string_buffer(attr.ljust(128, b"\0"))
    return libc.syscall(321, cmd, a, 128)
prog = bpf(5, struct.pack("IIQQ", 8, 2, ctypes.addressof(code), ctypes.addressof(licence)))
if prog < 0: sys.exit(77)
fd = os.open(sys.argv[1], os.O_RDONLY)
sys.exit(0 if bpf(8, struct.pack("IIII", fd, prog, 0, 0)) == 0 else 77)' "$(v2)/guarded" || skip "no such programs here"
	refused "control group guarded below the job's (v2): 1 eBPF program is attached to it"
	rmdir "$(v2)/guarded"
	xcheckpoint -n "$JOB" >/dev/null
	ends_right
}

# Runs the command where only control groups of version 1 are visible.
with_v1()
{
	unshare -m sh -c 'umount "$0" && exec "$@"' "$(v2_mount)" "$@"
}

@test "version 1 alone: a process with threads in several groups counts once, is frozen, restarted and killed" {
	need_v2
	need_cgroup freezer
	need_command python3
	grep -q ' cgroup .*freezer' /proc/mounts || skip "the freezer is no hierarchy of version 1 here"
	with_v1_job
	local dir=/sys/fs/cgroup/freezer/xos/$JOB main tid
	wait_until test -e ready
	main=$(main_of)
	mkdir "$dir/a" "$dir/a/b"
	echo "$main" >"$dir/a/cgroup.procs"
	for tid in $(ls "/proc/$main/task" | tail -n 2); do echo "$tid" >"$dir/a/b/tasks"; done
	[ "$(with_v1 xps -n -j "$JOB" -o PROCS | tr -d ' ')" -eq 1 ]
	for i in 1 2; do
		sort "/proc/$main/task"/*/cgroup >before
		clean_v1 xcheckpoint -k -q "$JOB"
		[ ! -e "$dir" ]
		clean_v1 xrestart -d -q "$JOB" >/dev/null
		sort "/proc/$main/task"/*/cgroup >after
		diff before after
	done
	with_v1 xcgfreeze "$JOB"
	[ "$(cat "$dir/a/b/freezer.state")" = FROZEN ]
	with_v1 xcgfreeze -u "$JOB"
	with_v1 xcgkill -q "$JOB"
	gone "$main"
	[ ! -e "$dir" ]
}

clean_v1() { (close_but; with_v1 timeout -k 5 30 "$@"); }

with_v1_job()
{
	clean_v1 xcgexec -d -j "$JOB" -- python3 -c '
import threading, time
for i in range(3): threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
open("ready", "w")
time.sleep(1000)' >/dev/null
}

@test "version 1 alone: xcgkill does not wait for a group that its supervisor has removed meanwhile" {
	need_v2
	need_cgroup freezer
	need_command python3
	grep -q ' cgroup .*freezer' /proc/mounts || skip "the freezer is no hierarchy of version 1 here"
	local own=$JOB main dir i
	for i in $(seq 12); do
		JOB=$own-$i
		rm -f ready
		with_v1_job
		wait_until test -e ready
		main=$(main_of)
		dir=/sys/fs/cgroup/freezer/xos/$JOB
		mkdir "$dir/a" "$dir/a/b"
		ls "/proc/$main/task" | tail -n 2 | while read -r tid; do echo "$tid" >"$dir/a/b/tasks"; done
		with_v1 xcgfreeze "$JOB"
		with_v1 xcgfreeze -u "$JOB"
		with_v1 timeout 5 xcgkill -q "$JOB"
		[ ! -e "$dir" ]
	done
}
