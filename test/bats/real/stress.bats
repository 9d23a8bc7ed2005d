#!/usr/bin/env bats
# stress-ng's classes that keep a state and check it (--verify), several at once in one job.

load real

setup_file() { wants stress-ng=stress-ng; }
setup()
{
	xos_setup
	need_root
	need_command stress-ng
	cd "$BATS_TEST_TMPDIR" || return 1
	PLACE=$PWD STATUS=0 JOB="t$$-$BATS_TEST_NUMBER"
}

# stress OPTION...: checkpointed, killed and restarted in the middle; every class must be content with itself at the end
stress()
{
	local i seconds=$((2 + 2 * ROUNDS))
	as xcgexec -d -j "$JOB" -o out -e err -- stress-ng "$@" --verify -t ${seconds}s --temp-path "$PWD" >/dev/null
	for ((i = 0; i < ROUNDS; i++)); do
		sleep 0.7
		! job_ended || break
		checkpoint_kill || { [ ! -e too_fast ] || break; return 1; } # its time was over just then
		restart || return 1
	done
	[ "$i" -gt 0 ]
	SLOW=$((seconds + 30)) finish 0 || return 1
	# --mq gives times of the day to wait until: they pass while the job is not there.
	! grep -h -i "fail:" out err | grep -v "mq_timed[a-z]* failed, errno=110"
}

@test "stress-ng: memory (vm, mmap, shm, memfd, mremap)" { stress --vm 1 --vm-bytes 24M --mmap 1 --mmap-bytes 8M --shm 1 --memfd 1 --mremap 1 --mremap-bytes 8M; }

@test "stress-ng: IPC (pipe, fifo, POSIX and System V semaphores, messages, shared memory)" {
	stress --pipe 1 --fifo 1 --sem 1 --sem-sysv 1 --mq 1 --msg 1 --shm-sysv 1 --shm-sysv-bytes 1M
}

@test "stress-ng: sockets (TCP, UDP, raw, packets of a network of one)" { stress --sock 1 --udp 1 --rawudp 1; }

@test "stress-ng: timers and events (timer, timerfd, itimer, epoll, eventfd, poll, futex, signals)" {
	stress --timer 1 --timerfd 1 --itimer 1 --epoll 1 --poll 1 --futex 1 --sigq 1 --nanosleep 1
}

@test "stress-ng: processes (fork, pthread, clone, switch)" { stress --fork 1 --pthread 1 --switch 1 --context 1; }

@test "stress-ng: files and locks (dentry, flock, lockf, mutex, stack, sigfd)" {
	stress --dentry 1 --dentries 200 --flock 1 --lockf 1 --mutex 1 --stack 1 --sigfd 1
}
