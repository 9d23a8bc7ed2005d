#!/usr/bin/env bats
# xcgexec: limits, the scratch directory, usage.

load helper

# ---- limits ----

@test "xcgexec: memory= is enforced" {
	need_cgroup memory
	run xcgexec -j "$JOB" -l memory=32M sh -c 'head -c 200M /dev/zero | tail -c 200M | wc -c'
	[[ $output != *209715200* ]]
	run xcgexec -j "$JOB" -l memory=512M sh -c 'head -c 200M /dev/zero | tail -c 200M | wc -c'
	[[ $output == *209715200* ]]
}

@test "xcgexec: pids= is enforced, and the peak recorded" {
	need_cgroup pids
	run xcgexec -j "$JOB" -l pids=4 bash -c 'for i in 1 2 3 4 5 6; do sleep 1 & done; wait'
	[[ $output == *[Rr]esource*unavailable* || $output == *fork* ]]
	field_is "$JOB" PROCS_PEAK 4 || [ "$(field "$JOB" PROCS_PEAK)" = 5 ]
	field_is "$JOB" LIMITS pids=4
}

@test "xcgexec: cpuset= is enforced, and impossible CPUs refused" {
	need_cgroup cpuset
	run xcgexec -j "$JOB" -l cpuset=0 grep Cpus_allowed_list /proc/self/status
	status_is 0
	[ "${output##*[[:space:]]}" = 0 ]
	run xcgexec -j "$JOB" -l cpuset=4000 true; status_is 125
	[[ $output == *"cpuset=4000 cannot be enforced: the job may only have the CPUs"* ]]
	run xcgexec -l cpuset=a-b true; status_is 2
	no_groups "$JOB"
}

@test "xcgexec: cpus= is enforced" {
	need_cgroup cpu
	run xcgexec -j "$JOB" -l cpus=0.1 sh -c 'end=$(($(date +%s%N) + 1500000000)); while [ $(date +%s%N) -lt $end ]; do :; done'
	status_is 0
	used=$(($(field "$JOB" CPU_USER_US) + $(field "$JOB" CPU_SYS_US)))
	[ "$used" -gt 50000 ] && [ "$used" -lt 400000 ]
}

@test "xcgexec: cpuweight=, a raw control file, and one that is not there" {
	need_cgroup cpu
	need_cgroup memory
	run xcgexec -j "$JOB" -l cpuweight=200 sh -c 'cat /sys/fs/cgroup/cpu/xos/$XOS_JOBID/cpu.shares 2>/dev/null ||
		cat /sys/fs/cgroup/xos/$XOS_JOBID/cpu.weight'
	[ "$output" = 2048 ] || [ "$output" = 200 ]
	run xcgexec -l memory.nosuchfile=1 true; status_is 125
	[[ $output == *"no memory.nosuchfile"* ]]
	run xcgexec -l cgroup.procs=1 true; status_is 2
	run xcgexec -l ../../evil.x=1 true; status_is 2
	if grep -q ' cgroup .*memory' /proc/mounts; then
		run xcgexec -j "$JOB" -l memory.soft_limit_in_bytes=8M cat "/sys/fs/cgroup/memory/xos/$JOB/memory.soft_limit_in_bytes"
		[ "$output" = 8388608 ]
	fi
}

@test "xcgexec: iobps= is enforced" {
	need_cgroup blkio
	[ "$(stat -f -c %T .)" != tmpfs ] || skip "a tmpfs is on no device"
	dd if=/dev/zero of=file bs=1M count=4 oflag=direct 2>/dev/null || skip "no direct I/O here"
	run xcgexec -j "$JOB" -l iobps=1M dd if=file of=/dev/null bs=256k count=8 iflag=direct
	status_is 0
	[ "$(field "$JOB" WALL_MS)" -gt 900 ]
}

@test "xcgexec: time= ends the job, TERM first" {
	run xcgexec -j "$JOB" -l time=300ms sh -c 'trap "exit 9" TERM; while :; do sleep 0.05; done'
	status_is 9
	[[ $output == *"time limit"* ]]
	run xcgexec -j "$JOB" -l time=300ms sleep 60; status_is 143
	field_is "$JOB" SIGNAL 15
}

@test "xcgexec: a limit that one cannot have leaves nothing behind" {
	need_cgroup memory
	run xcgexec -j "$JOB" -l memory=64M -l memory.bogus=1 -l disk=1M true; status_is 125
	no_groups "$JOB"
	! grep -q "$XOS_STATE_DIR" /proc/mounts
}

# ---- scratch directory ----

@test "xcgexec: disk= ends writes with ENOSPC or EDQUOT, in a private directory that goes away" {
	need_root
	run xcgexec -j "$JOB" -l disk=1M sh -c 'cd "$XOS_JOB_TMP" && stat -c %a . && dd if=/dev/zero of=f bs=64k count=64; stat -c %s f'
	[[ $output == *700* ]]
	[[ $output == *"No space left"* || $output == *"quota exceeded"* ]]
	[ "${lines[-1]}" -le 1048576 ] && [ "${lines[-1]}" -gt 500000 ]
	[ ! -e "$XOS_STATE_DIR/jobs/$JOB/tmp" ]
	! grep -q "$XOS_STATE_DIR" /proc/mounts
}

@test "xcgexec: inodes= limits the number of files" {
	need_root
	run xcgexec -j "$JOB" -l inodes=5 sh -c 'cd "$XOS_JOB_TMP"; touch 1 2 3 4 5 6 7; ls | wc -l'
	[[ $output == *"touch:"* ]]
	[ "${lines[-1]}" = 5 ]
	[ ! -e "$XOS_STATE_DIR/jobs/$JOB/tmp" ]
}

@test "xcgexec: -g disk gives a scratch directory without a limit, also with links in it" {
	run xcgexec -j "$JOB" -g disk sh -c 'cd "$XOS_JOB_TMP" && mkdir -p a/b && echo x >a/b/c && ln -s / a/root && chmod 0 a/b; pwd'
	status_is 0
	[ "$output" = "$XOS_STATE_DIR/jobs/$JOB/tmp" ]
	[ ! -e "$XOS_STATE_DIR/jobs/$JOB/tmp" ] && [ -e /bin ]
}

@test "xcgexec: the scratch directory is unmounted when the supervisor was killed" {
	need_root
	id=$(xcgexec -d -j "$JOB" -l disk=1M sleep 60)
	grep -q "$XOS_STATE_DIR/jobs/$JOB/tmp" /proc/mounts || skip "project quota instead of a mount"
	kill -9 "$(supervisor_of "$JOB")"
	wait_until gone "$(supervisor_of "$JOB")"
	xcgkill "$JOB"
	! grep -q "$XOS_STATE_DIR" /proc/mounts
	[ ! -e "$XOS_STATE_DIR/jobs/$JOB/tmp" ]
}

# ---- usage ----

@test "xcgexec: usage is recorded, and -v reports it" {
	need_cgroup memory
	run --separate-stderr xcgexec -v -j "$JOB" sh -c 'head -c 30M /dev/zero | tail -c 30M >/dev/null; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'
	status_is 0
	[ "$(field "$JOB" MEM_PEAK)" -gt 30000000 ]
	[ "$(field "$JOB" CPU_USER_US)" -gt 20000 ]
	[ "$(field "$JOB" WALL_MS)" -gt 20 ]
	[[ $stderr == *"job $JOB (control group): wall"*CPU*memory*read*written* ]]
	[ -z "$output" ]
}
