#!/usr/bin/env bats
# What cannot be checkpointed is refused by name, all of it at once, before anything is touched, and the job goes on.
# test/victim/refused.c makes the resources and says which lines are due.

bats_require_minimum_version 1.5.0
load helper

there() { [ -e "$1" ]; }

# start VICTIM: as job $JOB, until it is ready. Without bats' own descriptors, which would be the job's.
start()
{
	need_victim "$1"
	xcgexec -d -j "$JOB" -o out -e err -- "$XOS_BUILD/victim/$1" "$PWD/p" >/dev/null 3>&- 4>&-
	wait_until there p.ready
}

# The lines of $stderr that name a pid, without the tool's name.
reasons() { sed -n 's/^[a-z]*: \(pid [0-9]*: .*\)/\1/p' <<<"$stderr" | sort; }

count() { tr -dc 0-9 <p.count; }
counts_on() { local n; n=$(count); wait_until moved "$n"; }
moved() { [ "$(count)" != "$1" ]; }

# due_lines: $stderr names exactly what p.expect has
due_lines()
{
	diff <(sort p.expect) <(reasons) >&2
}

@test "dry run: everything unsupported is named in one run, with pid, fd or address, exit 5" {
	need_root
	start refused
	[ "$(wc -l <p.expect)" -ge 30 ]
	[ "$(sed 's/:.*//' p.expect | sort -u | wc -l)" -ge 2 ]
	[ "$(grep -c ': fd ' p.expect)" -ge 20 ]
	grep -q ': memory ' p.expect
	run --separate-stderr xcheckpoint -n "$JOB"
	status_is 5
	due_lines
	counts_on
}

@test "a real checkpoint refuses the same, leaves no version, and the job goes on to its end" {
	need_root
	start refused
	for try in 1 2 3; do
		run --separate-stderr xcheckpoint "$JOB"
		status_is 5
		due_lines
	done
	run --separate-stderr xcheckpoint -k "$JOB"
	status_is 5
	[ "$(xps -n -c "$JOB" | wc -l)" -eq 0 ]
	[ -z "$(find "$XOS_STATE_DIR/checkpoints" -type f 2>/dev/null)" ]
	counts_on
	[ "$(awk '/^TracerPid/ { print $2 }' "/proc/$(head -1 p.expect | sed 's/pid \([0-9]*\).*/\1/')/status")" = 0 ]
	touch p.go
	wait_until there p.ok
}

@test "the same for an ordinary user" {
	need_user
	user_dir
	need_victim refused
	cp "$XOS_BUILD/victim/refused" "$XOS_USER_DIR/"
	cd "$XOS_USER_DIR"
	run_as_user env -u XOS_PAM_CONF xcgexec -d -j "$JOB" -o out -e err -- "$XOS_USER_DIR/refused" "$XOS_USER_DIR/p" >/dev/null 3>&- 4>&-
	wait_until there p.ready
	run --separate-stderr run_as_user xcheckpoint -n "$JOB"
	status_is 5
	due_lines
	counts_on
	touch p.go
	wait_until there p.ok
}

@test "nothing is refused any more when the reason has gone" {
	need_root
	need_command perl
	xcgexec -d -j "$JOB" -o out -e err -- perl -e '
		use Socket; socket(my $s, 16, SOCK_RAW, 9) or die; open(F, ">", "ready"); close F;
		select(undef, undef, undef, 0.02) until -e "drop"; close($s); open(F, ">", "dropped"); close F;
		sleep 1 while 1' >/dev/null 3>&- 4>&-
	wait_until there ready
	run --separate-stderr xcheckpoint "$JOB"
	status_is 5
	[[ "$stderr" == *": fd 3: socket AF_NETLINK SOCK_RAW NETLINK_AUDIT is not supported"* ]]
	touch drop
	wait_until there dropped
	run --separate-stderr xcheckpoint -n "$JOB"
	status_is 0
	run --separate-stderr xcheckpoint "$JOB"
	status_is 0
}
