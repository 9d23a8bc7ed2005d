#!/usr/bin/env bats
# xcgkill: every process of a job ends, none escapes.

load helper

@test "xcgkill: ends all processes, and the job is done when it returns" {
	xcgexec -d -j "$JOB" sh -c 'setsid sleep 60 & setsid sleep 60 & sleep 60'
	sup=$(supervisor_of "$JOB"); main=$(field "$JOB" MAIN)
	run xcgkill "$JOB"; status_is 0
	[ -z "$output" ]
	gone "$main"
	field_is "$JOB" STATE done
	field_is "$JOB" SIGNAL 9
	no_groups "$JOB"
	wait_until gone "$sup"
	run xcgkill "$JOB"; status_is 0
}

@test "xcgkill: xcgexec in the foreground returns 137" {
	xcgexec -j "$JOB" sleep 60 </dev/null >/dev/null 2>&1 3>&- &
	pid=$!
	wait_until state_is "$JOB" running
	xcgkill "$JOB"
	r=0; wait $pid || r=$?
	[ "$r" -eq 137 ]
}

@test "xcgkill: -s sends that signal to every process" {
	xcgexec -d -j "$JOB" bash -c 'for i in 1 2 3; do bash -c "trap \"echo >got.$i; exit\" USR1; echo >ready.$i; while :; do sleep 0.05; done" & done
		trap "echo >got.0" USR1; echo >ready.0; wait; wait; wait; wait'
	wait_until test -e ready.0 -a -e ready.1 -a -e ready.2 -a -e ready.3
	run xcgkill -s USR1 "$JOB"; status_is 0
	wait_until test -e got.0 -a -e got.1 -a -e got.2 -a -e got.3
}

@test "xcgkill: -t sends TERM, and KILL to what does not listen" {
	xcgexec -d -j "$JOB" bash -c 'trap "" TERM; (trap "echo >polite; exit" TERM; echo >ready; while :; do sleep 0.05; done) & while :; do sleep 0.1; done'
	wait_until test -e ready
	start=$(date +%s%N)
	run xcgkill -t 500ms "$JOB"; status_is 0
	took=$((($(date +%s%N) - start) / 1000000))
	[ "$took" -ge 450 ]
	[ -e polite ]
	field_is "$JOB" SIGNAL 9
	# one that listens needs no KILL and no waiting for the whole time
	xcgexec -d -j "$JOB" sleep 60
	start=$(date +%s%N)
	run xcgkill -t 20 "$JOB"; status_is 0
	[ $((($(date +%s%N) - start) / 1000000)) -lt 10000 ]
	field_is "$JOB" SIGNAL 15
}

@test "xcgkill: a frozen job is ended too" {
	xcgexec -d -j "$JOB" sh -c 'sleep 60 & sleep 60'
	xcgfreeze "$JOB"
	run timeout 20 xcgkill "$JOB"; status_is 0
	field_is "$JOB" STATE done
	xcgexec -d -j "$JOB" sh -c 'sleep 60 & sleep 60'
	xcgfreeze "$JOB"
	run timeout 20 xcgkill -t 5 "$JOB"; status_is 0
	field_is "$JOB" SIGNAL 15
}

fork_bomb='f() { while :; do f >/dev/null 2>&1 & sleep 0.05; done; }; f'

@test "xcgkill: what forks all the time does not escape" {
	need_cgroup pids
	xcgexec -d -j "$JOB" -l pids=60 bash -c "$fork_bomb"
	wait_until eval '[ "$(xps -n -j "$JOB" -o PROCS | tr -d " ")" -gt 20 ]'
	run timeout 30 xcgkill "$JOB"; status_is 0
	no_groups "$JOB"
	field_is "$JOB" STATE done
}

@test "xcgkill: nor from a tree job" {
	echo 'UseCgroups no' >"$XOS_PAM_CONF"
	xcgexec -d -j "$JOB" bash -c 'n=0; while [ $n -lt 400 ]; do setsid bash -c "sleep 0.2; sleep 60" & n=$((n+1)); sleep 0.01; done; wait'
	sleep 0.5
	mark=$(field "$JOB" MARK)
	run timeout 30 xcgkill "$JOB"; status_is 0
	field_is "$JOB" STATE done
	! grep -lsz "XOS_JOB_MARK=$mark" /proc/[0-9]*/environ
}

@test "xcgkill: several jobs, one of them unknown" {
	xcgexec -d -j "$JOB-a" sleep 60
	xcgexec -d -j "$JOB-b" sleep 60
	run xcgkill "$JOB-a" nosuch "$JOB-b"; status_is 3
	[ "$output" = "xcgkill: no such job: nosuch" ]
	field_is "$JOB-a" STATE done
	field_is "$JOB-b" STATE done
}

@test "xcgkill: a job that was checkpointed and stopped is given up" {
	xcgexec -j "$JOB" true
	sed -i 's/^STATE=.*/STATE="stopped"/' "$XOS_STATE_DIR/jobs/$JOB/job"
	run xcgexec -j "$JOB" true; status_is 4
	[[ $output == *"checkpointed and stopped"*xrestart* ]]
	run xcgkill "$JOB"; status_is 0
	field_is "$JOB" STATE done
}

@test "xcgkill: usage" {
	run xcgkill; status_is 2
	run xcgkill -s NOSUCHSIGNAL x; status_is 2
	run xcgkill -t soon x; status_is 2
	run xcgkill nosuch; status_is 3
	run xcgkill ../../x; status_is 2
}

@test "xcgkill: another user's job is not his to kill" {
	need_user
	chmod 755 "$BATS_TEST_TMPDIR"
	run xcgexec -d -j "$JOB" sleep 60
	run run_as_user xcgkill --state-dir "$XOS_STATE_DIR" "$JOB"
	[ "$status" -ne 0 ]
	alive "$(field "$JOB" MAIN)"
}

@test "xcgkill: root does not believe a user's record about other people's processes" {
	need_user; need_cgroup
	xcgexec -d -j "$JOB" sleep 60
	main=$(field "$JOB" MAIN)
	mkdir -p "$XOS_USER_DIR/state/jobs"
	cp -r "$XOS_STATE_DIR/jobs/$JOB" "$XOS_USER_DIR/state/jobs/"
	chown -R $XOS_TEST_UID "$XOS_USER_DIR/state"
	sed -i 's/^SUPERVISOR=.*/SUPERVISOR="0"/' "$XOS_USER_DIR/state/jobs/$JOB/job"
	chown $XOS_TEST_UID "$XOS_USER_DIR/state/jobs/$JOB/job"
	run xcgkill --state-dir "$XOS_USER_DIR/state" "$JOB"
	alive "$main"
	[ -n "$(groups_of "$JOB")" ]
	# nor as a tree whose supervisor it names
	sed -i 's/^SUPERVISOR=.*/SUPERVISOR="'$$'"/; s/^SUPERVISOR_START=.*/SUPERVISOR_START="'"$(awk '{ print $22 }' /proc/$$/stat)"'"/
		s/^KIND=.*/KIND="tree"/; s/^STATE=.*/STATE="running"/; /^CGROUP/d' "$XOS_USER_DIR/state/jobs/$JOB/job"
	chown $XOS_TEST_UID "$XOS_USER_DIR/state/jobs/$JOB/job" # sed -i made it root's
	background sleep 60
	run timeout 15 xcgkill --state-dir "$XOS_USER_DIR/state" "$JOB"
	alive "$!"
}
