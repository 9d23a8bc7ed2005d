#!/usr/bin/env bats
# What happens to descriptors between a checkpoint and a restart: somebody takes the lock, the terminal's number, the watched
# directory. The descriptors themselves are tested by victims.bats and test/unit/fdkinds.c.

bats_require_minimum_version 1.5.0
load helper

there() { [ -e "$1" ]; }

# stopped VICTIM: it runs as job $JOB until it is ready, and is checkpointed and ended
stopped()
{
	need_root
	need_victim "$1"
	xcgexec -d -j "$JOB" -o out -e err -- "$XOS_BUILD/victim/$1" "$PWD/p" >/dev/null 3>&- 4>&-
	wait_until there p.ready
	xcheckpoint -k -q "$JOB"
	wait_until no_processes
}

no_processes() { [ -z "$(in_job "$JOB")" ]; }

ends_well()
{
	touch p.go
	wait_until there p.ok || { cat p.fail err >&2; return 1; }
}

@test "a lock that somebody else has taken: exit 4, the path is named, nothing stays; afterwards it works" {
	need_command flock
	stopped v_locks
	exec 9<p.a
	flock -n 9
	run --separate-stderr xrestart -d "$JOB" 3>&- 4>&- 9>&-
	status_is 4
	[[ "$stderr" == *"the flock lock on $PWD/p.a is held by somebody else"* ]]
	no_processes
	exec 9>&-
	xrestart -d -q "$JOB" 3>&- 4>&-
	ends_well
}

@test "a lease cannot be had while somebody writes the file: exit 4" {
	stopped v_lease
	exec 9>>p.a
	run --separate-stderr xrestart -d "$JOB" 3>&- 4>&- 9>&-
	status_is 4
	[[ "$stderr" == *"the lease lock on $PWD/p.a is held by somebody else"* ]]
	exec 9>&-
	xrestart -d -q "$JOB" 3>&- 4>&-
	ends_well
}

@test "a watched directory that has gone is named" {
	stopped v_inotify
	mkdir elsewhere
	mv "p.dir a" elsewhere/
	run --separate-stderr xrestart -d "$JOB" 3>&- 4>&-
	[ "$status" -ne 0 ]
	[[ "$stderr" == *"inotify watch 1: $PWD/p.dir a"* ]]
	[[ "$stderr" == *"-L OLD=NEW"* ]]
	no_processes
	mv "elsewhere/p.dir a" .
	xrestart -d -q "$JOB" 3>&- 4>&-
	ends_well
}

@test "a terminal whose number is taken gets another one" {
	need_command python3
	stopped v_pty
	# Ten terminals of somebody else, who keeps them.
	background python3 -c 'import os,time; m=[os.openpty() for i in range(10)]; open("taken","w"); time.sleep(60)'
	wait_until there taken
	xrestart -d -q "$JOB" 3>&- 4>&-
	ends_well
}

@test "a job with more open files than xcheckpoint may have: said, and it goes on" {
	need_user
	user_dir
	JOB="t$$-$BATS_TEST_NUMBER"
	run_as_user xcgexec -d -j "$JOB" -o out -e err -- perl -e '
		for (1 .. 300) { open(my $f, "<", "/dev/null") or die; push @f, $f; pipe(my $r, my $w) or die; push @f, $r, $w }
		open(R, ">", "ready"); close R; sleep 1 while 1' >/dev/null 3>&- 4>&-
	wait_until test -e "$XOS_USER_DIR/ready"
	run run_as_user bash -c "ulimit -n 200; xcheckpoint $JOB"
	[ "$status" -eq 5 ] || { echo "# $status: $output" >&2; return 1; }
	[[ "$output" == *"more open files than xcheckpoint itself may have"*"ulimit -Hn"* ]]
	[ "$(run_as_user xps -n -j "$JOB" -o STATE | tr -d ' ')" = running ]
	run_as_user xcheckpoint -q "$JOB" 3>&- 4>&-
	run_as_user xcgkill -q "$JOB"
}
