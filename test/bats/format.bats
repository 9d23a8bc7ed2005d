#!/usr/bin/env bats
# lib/image/FORMAT.md is enough to read an image: format_reader.py knows nothing else, and finds every record and key of real
# images in its tables, with the forms and ranges that stand there, and the checksums, ids, runs and sizes right.

bats_require_minimum_version 1.5.0
load helper

setup() { xos_setup; TREE=$(cd "$BATS_TEST_DIRNAME/../.." && pwd) DOC=$TREE/lib/image/FORMAT.md; }

need_python() { need_command python3; python3 -c '' 2>/dev/null || skip "python3 does not run"; }
reader() { timeout 120 python3 "$BATS_TEST_DIRNAME/format_reader.py" "$@"; }
there() { local f; for f in "$@"; do [ -e "$f" ] && return 0; done; return 1; }

# image_of COMMAND...: checkpointed when $PWD/ready is there; the image is $IMAGE
image_of()
{
	xcgexec -d -j "$JOB" -- "$@" >/dev/null 3>&- 4>&-
	wait_until there ready
	xcheckpoint -q "$JOB"
	IMAGE=$XOS_STATE_DIR/checkpoints/$JOB/1.tar
}

# victims NAME...: an image of each; what they read is not of interest here
victims()
{
	local v
	for v in "$@"; do
		JOB="t$$-$v"
		xcgexec -d -j "$JOB" -- "$XOS_BUILD/victim/$v" "$PWD/$v" >/dev/null 3>&- 4>&-
		wait_until there "$v.ready" "$v.fail" "$v.skip" || return 1
		[ ! -e "$v.ready" ] || xcheckpoint -q "$JOB" || return 1
		xcgkill -q "$JOB" || :
	done
}

# A shell with a pipeline, a fifo, a deleted file, an append-only log, a zombie, a background job, stopped.
pipeline='
	mkfifo fifo; exec 3<>fifo 4>>log 5<>gone; rm gone
	echo content >&5; echo waiting >&3
	trap : USR1
	(sleep 1000; :) | cat >&4 &
	(kill -STOP $BASHPID) &
	bash -c "true & exec sleep 1000" &
	sleep 0.3
	touch ready
	while :; do read -t 1000 x </dev/zero; done'

threads='
import mmap, os, select, signal, threading, time
signal.signal(signal.SIGTERM, lambda *a: None)
signal.setitimer(signal.ITIMER_REAL, 1000)
shared = mmap.mmap(-1, 1 << 20)
shared[4096:8192] = b"x" * 4096
r, w = os.pipe()
os.write(w, b"in the pipe")
e = select.epoll()
e.register(r, select.EPOLLIN)
for i in range(3):
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
if not os.fork():
    time.sleep(1000)
open("ready", "w").close()
time.sleep(1000)'

@test "an image of python3 with threads, a child, shared memory" {
	need_python
	image_of python3 -c "$threads"
	run reader "$DOC" "$IMAGE"
	status_is 0
	[[ $output == *" 2 processes"* ]]
}

@test "an image of a shell with a pipeline" {
	need_python
	image_of bash -c "$pipeline"
	run reader "$DOC" "$IMAGE"
	status_is 0
}

@test "an image of an ordinary user's restarted job" {
	need_python
	need_user
	run_as_user xcgexec -d -j "$JOB" -- bash -c 'sleep 1000 | sleep 1000; :' >/dev/null 3>&- 4>&-
	sleep 0.3
	run_as_user xcheckpoint -k -q "$JOB"
	run_as_user xrestart -d -q "$JOB" >/dev/null 3>&- 4>&- || skip "no restart as an ordinary user"
	run_as_user xcheckpoint -q "$JOB"
	cp "$XOS_USER_DIR/state/checkpoints/$JOB/"[12].tar .
	run reader "$DOC" 1.tar 2.tar
	status_is 0
	[ "${#lines[@]}" -eq 2 ]
}

@test "images of the victims: together they have nearly every record type" {
	need_python
	need_cgroup
	local all
	all=$(cd "$XOS_BUILD/victim" && ls -d v_* | grep -v '\.\|v_mem_cow\|v_mem_anon')
	victims $all
	run reader "$DOC" "$XOS_STATE_DIR"/checkpoints/*/1.tar
	status_is 0
	run reader "$DOC" --types "$XOS_STATE_DIR"/checkpoints/*/1.tar
	for type in proc node task map shm shmruns reg pipe dev eventfd signalfd timerfd epoll inotify memfd pty_master pty_slave \
		fd lock mm vdso vma pages umask fs sigaction oom_score_adj coredump_filter rlimit posix_timer itimer thread comm sched \
		creds tid_address robust_list altstack rseq sigpending prctl ipc sysvshm sysvruns sysvsem sysvmsg sysvmessage semundo mqueue pidfd nsfd io_uring fanotify keys key group group_setting in_group; do
		[[ $'\n'$output$'\n' == *$'\n'$type$'\n'* ]] || { echo "# no record $type in any image"; return 1; }
	done
}

@test "every key that the sources write is in the tables" {
	need_python
	run reader "$DOC" --sources "$TREE/lib/res" "$TREE/lib/cr"
	status_is 0
}

@test "the reader sees what the tables lack, and what an image must not have" {
	need_python
	image_of bash -c "$pipeline"
	reader "$DOC" "$IMAGE"

	grep -v '`SIGMASK`' "$DOC" >less.md
	run reader less.md "$IMAGE"
	status_is 1
	[[ $output == *"key SIGMASK is not in FORMAT.md"* ]]

	grep -v '`umask`' "$DOC" >less.md
	run reader less.md "$IMAGE"
	status_is 1
	[[ $output == *"TYPE umask is not in FORMAT.md"* ]]

	sed 's/| `umask` | `MASK` | hex 9 bits/| `umask` | `MASK` | hex 1 bits/' "$DOC" >less.md
	run reader less.md "$IMAGE"
	status_is 1
	[[ $output == *'MASK="0x'*'" is not hex'* ]]

	cp "$IMAGE" flipped.tar
	printf X | dd of=flipped.tar bs=1 seek=$(($(stat -c %s flipped.tar) / 2)) conv=notrunc status=none
	run reader "$DOC" flipped.tar
	status_is 1

	head -c 100000 "$IMAGE" >cut.tar
	run reader "$DOC" cut.tar
	status_is 1
	[[ $output == *"ends too early"* ]]
}
