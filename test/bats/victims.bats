#!/usr/bin/env bats
# Each victim (test/victim/v_*.c, see victim.h) builds a state, is checkpointed and lives on, is checkpointed and killed, is
# restarted, the same again with the restarted one, and then checks itself. Root's are restarted twice, a user's three times: what
# a restart turns round shows after an odd number of them only. A victim without a line of its own here is taken by
# "the other victims": adding a resource's test is adding its file.

bats_require_minimum_version 1.5.0
load helper

there() { local f; for f in "$@"; do [ -e "$f" ] && return 0; done; return 1; }

# What went wrong, for the reader of the log.
tell() { echo "# $*" >&2; }

# checkpoint_and_back NAME: with -k, and restarted
checkpoint_and_back()
{
	local pids
	pids="$(as xps -n -j "$JOB" -o PID) $(in_job "$JOB")"
	as xcheckpoint -k -q "$JOB" || { tell "$1: xcheckpoint -k failed with $?"; return 1; }
	for pid in $pids; do
		wait_until gone "$pid" || { tell "$1: process $pid survived -k"; return 1; }
	done
	as xrestart -d -q "$JOB" >/dev/null || { tell "$1: xrestart failed with $?"; return 1; }
}

# as: the command as who runs the victims; bats' own descriptors are not the job's
as()
{
	(
		for fd in /proc/$BASHPID/fd/*; do
			[ "${fd##*/}" -le 2 ] || eval "exec ${fd##*/}>&-"
		done
		"${AS[@]}" "$@"
	)
}

# victim NAME: 0, or 1 after telling why, or 77 with the reason in $REASON
victim()
{
	local name=$1 at=$PLACE/$1
	rm -f "$at".*
	as xcgexec -d -j "$JOB" -o "$at.out" -e "$at.err" -- "$VICTIMS/$name" "$at" >/dev/null ||
		{ tell "$name: xcgexec failed"; return 1; }
	wait_until there "$at.ready" "$at.fail" "$at.skip" || return 1
	if [ -e "$at.skip" ]; then
		REASON=$(cat "$at.skip")
		return 77
	fi
	[ -e "$at.fail" ] && { tell "$name cannot build its state: $(cat "$at.fail")"; return 1; }
	as xcheckpoint -q "$JOB" || { tell "$name: xcheckpoint failed with $?"; return 1; }
	local n
	for n in $(seq "$ROUNDS"); do
		checkpoint_and_back "$name" || return 1
	done
	as touch "$at.go"
	wait_until there "$at.ok" "$at.fail" || { tell "$name says nothing after its restart: $(cat "$at.err")"; return 1; }
	[ -e "$at.fail" ] && { tell "$name: $(cat "$at.fail")"; return 1; }
	as xcgkill -q "$JOB" 2>/dev/null || :
	return 0
}

as_root()
{
	need_root
	AS=() VICTIMS=$XOS_BUILD/victim PLACE=$PWD ROUNDS=2
}

one()
{
	local status=0
	as_root
	need_victim "$1"
	victim "$1" || status=$?
	[ $status -ne 77 ] || skip "$REASON"
	return $status
}

# all LIST...: every one is tried, whatever the others do
all()
{
	local name status bad=0 n=0
	for name in "$@"; do
		status=0
		JOB="t$$-$BATS_TEST_NUMBER-$n"
		n=$((n + 1))
		victim "$name" || status=$?
		case $status in
		0) ;;
		77) tell "$name skipped: $REASON" ;;
		*) bad=$((bad + 1)); as xcgkill -q "$JOB" 2>/dev/null || : ;;
		esac
	done
	[ $bad -eq 0 ] || { tell "$bad of $n victims failed"; return 1; }
}

every_victim() { (cd "$XOS_BUILD/victim" 2>/dev/null && ls -d v_* | grep -v '\.'); }

@test "signals: handlers, queues, mask, alternate stack" { one v_signals; }
@test "credentials of threads" { one v_creds; }
@test "resource limits" { one v_rlimit; }
@test "scheduling, affinity, I/O priority, names" { one v_sched; }
@test "interval and POSIX timers" { one v_timers; }
@test "timers that fire all the time" { one v_oneshot; }
@test "seccomp filters" { one v_seccomp; }
@test "seccomp filters shared by threads" { one v_seccomp_tsync; }
@test "seccomp strict mode" { one v_seccomp_strict; }
@test "what prctl sets, personality" { one v_prctl; }
@test "threads: TLS, robust lists, signal stacks, queues, rseq" { one v_threads; }
@test "umask, oom_score_adj, coredump_filter, zombie" { one v_misc; }

@test "the other victims" {
	as_root
	local others name
	for name in $(every_victim); do
		grep -q "{ one $name; }" "$BATS_TEST_FILENAME" || others="$others $name"
	done
	all $others
}

@test "all victims as an ordinary user" {
	need_user
	user_dir
	mkdir "$XOS_USER_DIR/victim"
	cp "$XOS_BUILD"/victim/v_* "$XOS_USER_DIR/victim/"
	chmod -R a+rX "$XOS_USER_DIR/victim"
	AS=(run_as_user env -u XOS_PAM_CONF) VICTIMS=$XOS_USER_DIR/victim PLACE=$XOS_USER_DIR ROUNDS=3
	all $(every_victim)
}
