#!/usr/bin/env bats
# xcgexec: status, groups, detached jobs, leftovers, repair, ordinary users. Limits: xcgexec_limits.bats.

load helper

# ---- status ----

@test "xcgexec: returns the command's status" {
	run xcgexec sh -c 'exit 0'; status_is 0
	run xcgexec sh -c 'exit 3'; status_is 3
	run xcgexec sh -c 'exit 255'; status_is 255
	run xcgexec sh -c 'kill -TERM $$'; status_is 143
	run xcgexec sh -c 'kill -KILL $$'; status_is 137
}

@test "xcgexec: 127 for a command that is not there, 126 for one that cannot run, with the reason" {
	run -127 xcgexec nosuchcommand-xos; status_is 127
	[ "$output" = "xcgexec: nosuchcommand-xos: command not found" ]
	run -127 xcgexec ./nosuch; status_is 127
	echo x >plain; run xcgexec ./plain; status_is 126
	[ "$output" = "xcgexec: ./plain: Permission denied" ]
	run xcgexec /; status_is 126
	printf '#!/no/interpreter\n' >script; chmod +x script
	run -127 xcgexec ./script; status_is 127
	[[ $output == *interpreter* ]]
}

@test "xcgexec: a later PATH entry is used when an earlier one has no such file" {
	mkdir a b; printf '#!/bin/sh\nexit 9\n' >b/cmd-xos; chmod +x b/cmd-xos
	PATH="$PWD/a:$PWD/b:$PATH" run xcgexec cmd-xos; status_is 9
}

@test "xcgexec: usage mistakes are 2 and leave nothing" {
	run xcgexec; status_is 2
	[[ $output == *"no command"*"--help"* ]]
	run xcgexec --bogus true; status_is 2
	run xcgexec -j 'bad/id' true; status_is 2
	run xcgexec -j .hidden true; status_is 2
	run xcgexec -l nonsense true; status_is 2
	run xcgexec -l bogus=1 true; status_is 2
	run xcgexec -l memory=lots true; status_is 2
	run xcgexec -g bogus true; status_is 2
	[ -z "$(ls "$XOS_STATE_DIR/jobs" 2>/dev/null)" ]
}

@test "xcgexec: -D and -C are refused by name" {
	run xcgexec -D /CN=x true; status_is 2
	[[ $output == *"-D"*"not supported"* ]]
	run xcgexec -C cert.pem true; status_is 2
	[[ $output == *"-C"*"not supported"* ]]
}

@test "xcgexec: options of the command are the command's" {
	run xcgexec sh -c 'echo "$1 $2"' sh -d --help; status_is 0
	[ "$output" = "-d --help" ]
	run xcgexec -- echo -n x; status_is 0
	[ "$output" = x ]
}

# ---- ids and the record ----

@test "xcgexec: numbers are taken in turn, and a failed start gives its number back" {
	run xcgexec sh -c 'echo $XOS_JOBID'; [ "$output" = 1 ]
	run -127 xcgexec nosuchcommand-xos
	[ ! -e "$XOS_STATE_DIR/jobs/2" ]
	run xcgexec sh -c 'echo $XOS_JOBID'; [ "$output" = 2 ]
}

@test "xcgexec: the record tells what ran and how it ended" {
	run xcgexec -j "$JOB" sh -c 'exit 7' "a b" 'c"d$e'; status_is 7
	field_is "$JOB" STATE done
	field_is "$JOB" EXIT 7
	field_is "$JOB" USER "$(id -un)"
	field_is "$JOB" CWD "$PWD"
	[ -n "$(field "$JOB" STARTED)" ] && [ "$(field "$JOB" ENDED)" -ge "$(field "$JOB" STARTED)" ]
	# a shell can read it, and the command line taken apart again is the command line
	JOBID=; COMMAND=
	. "$XOS_STATE_DIR/jobs/$JOB/job"
	[ "$JOBID" = "$JOB" ]
	eval "set -- $COMMAND"
	[ "$#" -eq 5 ] && [ "$4" = "a b" ] && [ "$5" = 'c"d$e' ]
	[ "$(stat -c %a "$XOS_STATE_DIR/jobs/$JOB/job")" = 600 ]
	run xcgexec -j "$JOB" sh -c 'kill -USR1 $$'; status_is 138
	field_is "$JOB" SIGNAL 10
	[ -z "$(field "$JOB" EXIT)" ]
}

@test "xcgexec: a second job of the same id is refused with 4 while the first runs" {
	background xcgexec -j "$JOB" sleep 60
	wait_until state_is "$JOB" running
	run xcgexec -j "$JOB" true; status_is 4
	[[ $output == *"$JOB is running already"* ]]
	xcgkill "$JOB"
	run xcgexec -j "$JOB" true; status_is 0
}

@test "xcgexec: of ten at once with one id exactly one runs at a time" {
	for i in 1 2 3 4 5 6 7 8 9 10; do
		background sh -c "xcgexec -j '$JOB' sleep 1; echo \$? >status.$i"
	done
	wait_until eval '[ "$(cat status.* 2>/dev/null | wc -l)" -eq 10 ]'
	[ "$(grep -lx 0 status.* | wc -l)" -eq 1 ]
	[ "$(grep -lx 4 status.* | wc -l)" -eq 9 ]
	no_groups "$JOB"
}

@test "xcgexec: twenty at once get twenty numbers" {
	for i in $(seq 20); do
		background sh -c "xcgexec sh -c 'echo \$XOS_JOBID' >id.$i"
	done
	wait_until eval '[ "$(cat id.* | wc -l)" -eq 20 ]'
	[ "$(cat id.* | sort -u | wc -l)" -eq 20 ]
}

@test "xcgexec: two state directories may use the same id at the same time" {
	need_cgroup
	background xcgexec -j "$JOB" sleep 60
	wait_until state_is "$JOB" running
	run xcgexec --state-dir "$PWD/other" -j "$JOB" sh -c 'cat /proc/self/cgroup'; status_is 0
	[[ $output == *"/xos/$JOB~2"* ]]
	xcgkill "$JOB"
	no_groups "$JOB"; no_groups "$JOB~2"
}

# ---- environment, stdio, signals ----

@test "xcgexec: the job's environment" {
	export XOS_JOB_TMP=/outer
	run xcgexec -j "$JOB" sh -c 'echo "$XOS_JOBID|$XOS_STATE_DIR|${XOS_JOB_TMP-none}"'
	[ "$output" = "$JOB|$XOS_STATE_DIR|none" ]
}

@test "xcgexec: no descriptor of its own leaks into the command" {
	run xcgexec sh -c 'ls -l /proc/$$/fd'
	status_is 0
	[[ $output != *"$XOS_STATE_DIR"* && $output != *cgroup* && $output != *socket* ]]
}

@test "xcgexec: stdin and stdout pass through, with closed ones too" {
	run sh -c 'echo hello | xcgexec cat'; [ "$output" = hello ]
	run sh -c 'xcgexec sh -c "ls /proc/\$\$/fd" <&- 2>&1'; status_is 0
	run sh -c 'xcgexec sh -c "exit 4" <&- >&- 2>&-'; status_is 4
}

@test "xcgexec: -o and -e name the files" {
	run xcgexec -o out -e err sh -c 'echo a; echo b >&2'
	status_is 0
	[ -z "$output" ] && [ "$(cat out)" = a ] && [ "$(cat err)" = b ]
	run xcgexec -o same -e same sh -c 'echo a; echo b >&2; echo c'
	[ "$(tr -d '\n' <same)" = abc ]
	run xcgexec -o /nosuchdir/x true; status_is 125
	[[ $output == *"/nosuchdir/x: No such file"* ]]
}

@test "xcgexec: signals go to the command" {
	for s in TERM INT HUP QUIT USR1 USR2; do
		rm -f ready got
		# bash ignores INT and QUIT in what it starts with &
		env --default-signal=INT,QUIT xcgexec -j "$JOB" -l time=20 \
			sh -c "trap 'echo $s >got; exit 5' $s; echo >ready; while :; do sleep 0.05; done" \
			</dev/null >/dev/null 2>&1 3>&- &
		pid=$!
		wait_until test -e ready
		kill -"$s" $pid
		r=0; wait $pid || r=$?
		[ "$r" -eq 5 ] && [ "$(cat got)" = $s ]
	done
}

@test "xcgexec: ignored signals stay ignored for the command" {
	run sh -c "trap '' HUP; xcgexec sh -c 'kill -HUP \$\$; echo lives'"
	[ "$output" = lives ]
	run xcgexec grep SigBlk /proc/self/status
	[[ $output == *0000000000000000 ]]
}

@test "xcgexec: a terminal's Ctrl-C reaches the command once, Ctrl-Z stops both and fg goes on" {
	need_command python3
	run timeout 40 python3 - <<-'PY'
		import os, pty, time, select, sys
		rest = b''
		def read_until(fd, text, limit=10):
		    global rest
		    buf = rest; end = time.time() + limit
		    while time.time() < end:
		        if text in buf:
		            at = buf.index(text) + len(text)
		            rest = buf[at:]
		            return buf[:at]
		        r, _, _ = select.select([fd], [], [], 0.1)
		        if r:
		            try: buf += os.read(fd, 4096)
		            except OSError: break
		    sys.exit("no %r in %r" % (text, buf))
		pid, fd = pty.fork()
		if pid == 0:
		    os.environ['PS1'] = 'prompt> '
		    os.execvp('bash', ['bash', '--norc', '--noprofile', '-i'])
		read_until(fd, b'prompt> ')
		# markers are split, because the terminal echoes what is typed
		os.write(fd, b"""xcgexec bash -c 'n=0; trap "n=\\$((n+1))" INT; echo rea""dy; until [ $n -ge 1 ]; do sleep 0.1; done; sleep 1; echo cou""nt=$n'\n""")
		read_until(fd, b'ready')
		os.write(fd, b'\x03')
		read_until(fd, b'count=1')
		read_until(fd, b'prompt> ')
		time.sleep(0.3)
		os.write(fd, b"xcgexec sh -c 'echo go''ing; cat'\n")
		read_until(fd, b'going')
		time.sleep(0.5) # a shell stopped between vfork and exec leaves its parent waiting, with or without us
		os.write(fd, b'\x1a')
		read_until(fd, b'Stopped')
		# readline throws away what is typed before it is ready
		read_until(fd, b'prompt> ')
		time.sleep(0.3)
		os.write(fd, b'fg\n')
		read_until(fd, b'xcgexec')
		time.sleep(0.5)
		os.write(fd, b'hello-cat\n')
		read_until(fd, b'hello-cat\r\nhello-cat')
		os.write(fd, b'\x04')
		time.sleep(0.5)
		os.write(fd, b"echo sta''tus=$?\n")
		read_until(fd, b'status=0')
		print("fine")
	PY
	status_is 0
	[ "$output" = fine ]
}

# ---- groups ----

@test "xcgexec: the command is in the job's groups before it executes, and they are gone afterwards" {
	need_cgroup
	run xcgexec -j "$JOB" cat /proc/self/cgroup
	status_is 0
	[[ $output == *"/xos/$JOB"* ]]
	no_groups "$JOB"
}

@test "xcgexec: -g chooses the subsystems" {
	need_cgroup cpu
	need_cgroup freezer
	run xcgexec -j "$JOB" -g cpu,freezer cat /proc/self/cgroup
	status_is 0
	[[ $output == *":cpu:/xos/$JOB"* && $output == *":freezer:/xos/$JOB"* ]] || [ -f /sys/fs/cgroup/cgroup.controllers ]
	[[ $output != *":memory:/xos/"* ]]
	no_groups "$JOB"
}

@test "xcgexec: a subsystem that the kernel has not is named" {
	need_cgroup
	grep -q net_cls /proc/mounts && skip "this kernel has net_cls"
	run xcgexec -j "$JOB" -g cpuacct,net true; status_is 125
	[[ $output == *"no control group subsystem net"* ]]
	no_groups "$JOB"
}

@test "xcgexec: v2 controllers are enabled along the way" {
	need_v2
	u=$(v2_mount); c=$(tr ' ' '\n' <"$u/cgroup.controllers" | head -1)
	[ -n "$c" ] || skip "v2 has no controller here"
	case $c in hugetlb|memory|pids|io|cpu|cpuset) ;; *) skip "only $c" ;; esac
	was=$(cat "$u/cgroup.subtree_control")
	run xcgexec -j "$JOB" -g "$c" cat "$u/xos/$JOB/cgroup.controllers"
	[ -n "$was" ] || echo "-$c" >"$u/cgroup.subtree_control" || : # another job may be there at the moment
	status_is 0
	[[ $output == *"$c"* ]]
	no_groups "$JOB"
}

@test "xcgexec: pam_xos.conf: Subsystems, UseCgroups no, unknown keys, bad values" {
	need_cgroup cpu
	printf '# comment\n\nSubsystems = cpu, freezer\n' >"$XOS_PAM_CONF"
	run xcgexec -j "$JOB" sh -c 'cat /proc/self/cgroup'
	[[ $output == *":cpu:/xos/$JOB"* ]] || [ -f /sys/fs/cgroup/cgroup.controllers ]
	printf 'UseCgroups no\nColour blue\n' >"$XOS_PAM_CONF"
	run --separate-stderr xcgexec -j "$JOB" cat /proc/self/cgroup
	status_is 0
	[[ $output != *"/xos/"* ]]
	[[ $stderr == *"pam_xos.conf:2: unknown key Colour"* ]]
	field_is "$JOB" KIND tree
	run xcgexec -j "$JOB" -l pids=10 true; status_is 125
	[[ $output == *"pids=10 needs a control group"*"UseCgroups is no"* ]]
	printf 'UseCgroups maybe\n' >"$XOS_PAM_CONF"
	run xcgexec true; status_is 125
	[[ $output == *"pam_xos.conf:1:"* ]]
}

# ---- leftovers ----

@test "xcgexec: leftovers are killed when the command ends" {
	run xcgexec -j "$JOB" sh -c 'setsid sleep 300 >/dev/null 2>&1 & sleep 300 >/dev/null 2>&1 & echo $! >pid; (sleep 301 >/dev/null 2>&1 & echo $! >pid2); exit 6'
	status_is 6
	gone "$(cat pid)" && gone "$(cat pid2)"
	no_groups "$JOB"
}

@test "xcgexec: -w waits for the daemon that the command left" {
	run xcgexec -w -j "$JOB" sh -c '(setsid sh -c "sleep 1; echo >finished" >/dev/null 2>&1 &); exit 6'
	status_is 6
	[ -e finished ]
	no_groups "$JOB"
}

@test "xcgexec: a daemon stays in the job" {
	need_cgroup
	id=$(xcgexec -d -j "$JOB" sh -c '(setsid sh -c "echo \$\$ >daemon; exec sleep 60" >/dev/null 2>&1 &); sleep 60')
	[ "$id" = "$JOB" ]
	wait_until test -s daemon
	in_job "$JOB" | grep -qx "$(cat daemon)"
	wait_until eval '[ "$(xps -n -j "$JOB" -o PROCS | tr -d " ")" = 3 ]' || [ "$(xps -n -j "$JOB" -o PROCS | tr -d ' ')" = 2 ]
	xcgkill "$JOB"
	gone "$(cat daemon)"
	no_groups "$JOB"
}

@test "xcgexec: a group that the job made below its own is removed too" {
	need_v2
	run xcgexec -j "$JOB" sh -c "mkdir -p $(v2_mount)/xos/\$XOS_JOBID/sub/deep && (echo 0 >$(v2_mount)/xos/\$XOS_JOBID/sub/deep/cgroup.procs; exec setsid sleep 60 >/dev/null 2>&1) & sleep 0.3"
	status_is 0
	no_groups "$JOB"
}

# ---- detached ----

@test "xcgexec: -d prints the id when the record is there and the command executed" {
	run --separate-stderr xcgexec -d -j "$JOB" sh -c 'echo out; echo err >&2; cat; ps -o tty= -p $$; exit 3'
	status_is 0
	[ "$output" = "$JOB" ] && [ -z "$stderr" ]
	wait_until field_is "$JOB" STATE done
	field_is "$JOB" EXIT 3
	[ "$(head -1 "$XOS_STATE_DIR/jobs/$JOB/out")" = out ]
	[ "$(cat "$XOS_STATE_DIR/jobs/$JOB/err")" = err ]
	[ "$(tail -1 "$XOS_STATE_DIR/jobs/$JOB/out")" = "?" ]
	field_is "$JOB" STDIN /dev/null
	field_is "$JOB" STDOUT "$XOS_STATE_DIR/jobs/$JOB/out"
}

@test "xcgexec: -d tells a failed start as the foreground does" {
	run -127 xcgexec -d nosuchcommand-xos; status_is 127
	[ "$output" = "xcgexec: nosuchcommand-xos: command not found" ]
	run xcgexec -d -l memory.bogus=1 true; status_is 125
	background xcgexec -j "$JOB" sleep 60
	wait_until state_is "$JOB" running
	run xcgexec -d -j "$JOB" true; status_is 4
}

@test "xcgexec: -d with -o and -e" {
	xcgexec -d -j "$JOB" -o o -e e sh -c 'echo 1; echo 2 >&2'
	wait_until field_is "$JOB" STATE done
	[ "$(cat o)" = 1 ] && [ "$(cat e)" = 2 ]
	field_is "$JOB" STDOUT "$PWD/o"
}

@test "xcgexec: a detached job lets go of stdin, stdout and stderr" {
	run timeout 5 sh -c 'xcgexec -d sleep 60 | cat; echo after'
	status_is 0
	[[ $output == *after ]]
}

# ---- the tool itself is killed ----

@test "xcgexec: kill -9 of xcgexec: the job lives on, the next command knows, and ends it" {
	xcgexec -d -j "$JOB" sleep 60
	main=$(field "$JOB" MAIN)
	kill -9 "$(supervisor_of "$JOB")"
	wait_until gone "$(supervisor_of "$JOB")"
	state_is "$JOB" running
	alive "$main"
	field_is "$JOB" SUPERVISOR 0
	run xcgexec -j "$JOB" true; status_is 4
	[[ $output == *"supervisor was killed"* ]]
	kill -9 "$main"
	wait_until gone "$main"
	state_is "$JOB" done
	field_is "$JOB" STATE done
	[ -z "$(field "$JOB" EXIT)" ]
	no_groups "$JOB"
	run xcgexec -j "$JOB" true; status_is 0
}

@test "xcgexec: kill -9 at random instants of the start never leaves a group behind" {
	for i in $(seq 15); do
		xcgexec -j "$JOB" sleep 60 </dev/null >/dev/null 2>&1 3>&- &
		pid=$!
		sleep "0.00$((RANDOM % 10))"
		kill -9 $pid
		wait $pid 2>/dev/null || :
		if [ -e "$XOS_STATE_DIR/jobs/$JOB/job" ]; then
			timeout 20 xcgkill "$JOB"
		fi
		wait_until no_groups "$JOB"
	done
}

# ---- users ----

@test "xcgexec: -u runs it as the user, all of his ids, without root's" {
	need_root
	id nobody >/dev/null || skip "no user nobody"
	run xcgexec -j "$JOB" -u nobody sh -c 'id -u; id -g; grep -E "^(Uid|Gid|CapEff|Groups)" /proc/self/status; echo $HOME $USER'
	status_is 0
	[ "${lines[0]}" = "$(id -u nobody)" ] && [ "${lines[1]}" = "$(id -g nobody)" ]
	[[ $output == *"CapEff:	0000000000000000"* ]]
	[[ $output == *" nobody" ]]
	field_is "$JOB" USER nobody
	run xcgexec -u nosuchuser-xos true; status_is 125
	[[ $output == *"no such user: nosuchuser-xos"* ]]
}

@test "xcgexec: -u with a scratch directory that belongs to the user" {
	need_root
	id nobody >/dev/null || skip "no user nobody"
	d=$(mktemp -d /tmp/xos-u.XXXXXX); chmod 755 "$d"
	XOS_STATE_DIR=$d/state run xcgexec -u nobody -l disk=1M sh -c 'echo x >"$XOS_JOB_TMP/f" && stat -c %U "$XOS_JOB_TMP/f"'
	rm -rf "$d"
	status_is 0
	[ "$output" = nobody ]
}

@test "xcgexec: -u is for root" {
	need_user
	run run_as_user xcgexec -u root true; status_is 125
	[[ $output == *"only root"* ]]
}

@test "xcgexec: an ordinary user's job is a process tree with its daemons" {
	need_user
	run run_as_user xcgexec -j "$JOB" sh -c '(setsid sleep 60 >/dev/null 2>&1 & echo $! >$HOME/pid); exit 4'
	status_is 4
	gone "$(cat "$XOS_USER_DIR/pid")"
	field_is() { [ "$(field "$1" "$2" "$XOS_USER_DIR/state")" = "$3" ]; }
	field_is "$JOB" KIND tree
	field_is "$JOB" STATE done
	run run_as_user xcgexec -w sh -c '(setsid sh -c "sleep 1; echo >$HOME/finished" >/dev/null 2>&1 &); exit 6'
	status_is 6
	[ -e "$XOS_USER_DIR/finished" ]
}

@test "xcgexec: limits that an ordinary user cannot have name what is missing" {
	need_user
	run run_as_user xcgexec -l memory=10M true; status_is 125
	[[ $output == *"memory=10M needs a control group"*"delegated group"* ]]
	run run_as_user xcgexec -l disk=1M true; status_is 125
	[[ $output == *"disk=1M"*"project quota"*"CAP_SYS_ADMIN"* ]]
	run run_as_user xcgexec -g memory true; status_is 125
	run run_as_user xcgexec -l time=300ms sleep 60; status_is 143
}

@test "xcgexec: kill -9 of the supervisor of a tree job: its members are found, daemon included" {
	need_user
	run run_as_user xcgexec -d -j "$JOB" sh -c '(setsid sh -c "echo \$\$ >$HOME/daemon; exec sleep 60" >/dev/null 2>&1 &) ; setsid env -u XOS_JOB_MARK sh -c "sleep 61 & echo \$! >$HOME/hidden; wait"'
	status_is 0
	wait_until test -s "$XOS_USER_DIR/daemon" -a -s "$XOS_USER_DIR/hidden"
	kill -9 "$(field "$JOB" SUPERVISOR "$XOS_USER_DIR/state")"
	wait_until gone "$(field "$JOB" SUPERVISOR "$XOS_USER_DIR/state")"
	run run_as_user xps -n -j "$JOB" -o STATE,KIND
	[[ $output == running*tree* ]]
	run run_as_user xcgexec -j "$JOB" true; status_is 4
	run run_as_user xcgkill "$JOB"; status_is 0
	gone "$(cat "$XOS_USER_DIR/daemon")"
	gone "$(cat "$XOS_USER_DIR/hidden")"
	run run_as_user xps -n -j "$JOB" -o STATE; [[ $output == done* ]]
}

@test "xcgexec: a user with a delegated v2 group gets a group job in it" {
	need_user; need_v2; delegate
	run run_delegated xcgexec -j "$JOB" cat /proc/self/cgroup
	status_is 0
	[[ $output == *"0::/${XOS_DELEGATED##*/}/xos/$JOB"* ]]
	[ "$(field "$JOB" KIND "$XOS_USER_DIR/state")" = cgroup ]
	[ ! -e "$XOS_DELEGATED/xos" ]
	# freeze and kill work there as well
	run run_delegated xcgexec -d -j "$JOB" sh -c 'sleep 60 & sleep 61'; status_is 0
	run run_as_user xcgfreeze "$JOB"; status_is 0
	run run_as_user xps -n -j "$JOB" -o STATE; [[ $output == frozen* ]]
	run run_as_user xcgkill "$JOB"; status_is 0
	[ ! -e "$XOS_DELEGATED/xos" ]
}

@test "xcgexec: no internal processes: a delegated group that holds the shell itself" {
	need_user; need_v2; delegate
	XOS_LEAF= run run_delegated xcgexec true; status_is 0
	c=$(tr ' ' '\n' <"$(v2_mount)/cgroup.controllers" | head -1)
	[ "$c" = hugetlb ] || skip "only tried with hugetlb on v2"
	was=$(cat "$(v2_mount)/cgroup.subtree_control")
	echo "+$c" >"$(v2_mount)/cgroup.subtree_control"
	XOS_LEAF= run run_delegated xcgexec -g "$c" true
	s=$status o=$output
	run run_delegated xcgexec -g "$c" cat "$XOS_DELEGATED/xos/1/cgroup.controllers"
	echo "-$c" >"$XOS_DELEGATED/cgroup.subtree_control"
	[ -n "$was" ] || echo "-$c" >"$(v2_mount)/cgroup.subtree_control" || :
	[ "$s" -eq 125 ]
	[[ $o == *"has processes of its own"* ]]
}

# ---- machines with v1 or v2 alone, jobs in jobs, faults ----

# Runs the command where only those control group mounts are visible: cgroup or cgroup2.
with_only()
{
	local keep=$1
	shift
	unshare -m sh -c 'for m in $(awk -v k="'"$keep"'" "\$3 ~ /^cgroup/ && \$3 != k { print \$2 }" /proc/mounts); do
		umount -l "$m" || exit 99; done; exec "$@"' sh "$@"
}

@test "xcgexec: cgroup v1 alone: freezer, kill in rounds, usage" {
	need_cgroup freezer
	need_cgroup memory
	run with_only cgroup xcgexec -j "$JOB" cat /proc/self/cgroup
	status_is 0
	[[ $output == *":freezer:/xos/$JOB"* && $output == *":memory:/xos/$JOB"* && $output == *":cpuacct:/xos/$JOB"* ]]
	[[ $output != *"0::/xos"* ]]
	run with_only cgroup xcgexec -j "$JOB" sh -c 'setsid sleep 60 >/dev/null 2>&1 & i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; exit 3'
	status_is 3
	[ "$(field "$JOB" CPU_USER_US)" -gt 10000 ]
	no_groups "$JOB"
	with_only cgroup xcgexec -d -j "$JOB" sh -c 'sleep 60 & sleep 60'
	main=$(field "$JOB" MAIN)
	run with_only cgroup xcgfreeze "$JOB"; status_is 0
	[ "$(cat "/sys/fs/cgroup/freezer/xos/$JOB/freezer.state")" = FROZEN ]
	run with_only cgroup xps -n -o STATE -j "$JOB"; [[ $output == frozen* ]]
	run timeout 20 xcgkill "$JOB"; status_is 0
	gone "$main"
	no_groups "$JOB"
}

@test "xcgexec: cgroup v2 alone" {
	need_v2
	u=$(v2_mount)
	run with_only cgroup2 xcgexec -j "$JOB" cat /proc/self/cgroup
	status_is 0
	[[ $output == *"0::/xos/$JOB"* ]]
	grep -qw memory "$u/cgroup.controllers" || {
		run with_only cgroup2 xcgexec -j "$JOB" -l memory=10M true
		status_is 125
		[[ $output == *"no control group subsystem memory"* ]]
	}
	run with_only cgroup2 xcgexec -j "$JOB" sh -c 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done'
	[ "$(field "$JOB" CPU_USER_US)" -gt 10000 ]
	no_groups "$JOB"
}

@test "xcgexec: no control groups at all: a tree job, and limits name what is missing" {
	need_cgroup
	run with_only none xcgexec -j "$JOB" sh -c 'exit 5'
	status_is 5
	field_is "$JOB" KIND tree
	run with_only none xcgexec -j "$JOB" -l pids=5 true
	status_is 125
	[[ $output == *"pids=5 needs a control group"*"mounted"* ]]
}

@test "xcgexec: a job started by a job ends with it" {
	need_v2
	xcgexec -d -j "$JOB" sh -c "xcgexec -d -j $JOB-inner sleep 60; sleep 61"
	wait_until state_is "$JOB-inner" running
	main=$(field "$JOB-inner" MAIN)
	grep -q "0::/xos/$JOB/xos/$JOB-inner" "/proc/$main/cgroup"
	xcgkill "$JOB"
	gone "$main"
	state_is "$JOB-inner" done
	no_groups "$JOB"
}

@test "xcgexec: a fault or a kill at each step of the start leaves no group and a record that is repaired" {
	for f in job-planned job-made job-forked job-recorded; do
		XOS_FAULT=$f run xcgexec -j "$JOB" touch "$PWD/ran"
		status_is 125
		no_groups "$JOB"
		field_is "$JOB" STATE done
		XOS_FAULT=$f:kill run xcgexec -j "$JOB" touch "$PWD/ran"
		status_is 137
		wait_until state_is "$JOB" done
		no_groups "$JOB"
		[ ! -e ran ]
	done
	XOS_FAULT=job-ended:kill run xcgexec -j "$JOB" true; status_is 137
	state_is "$JOB" done
	no_groups "$JOB"
	run xcgexec -j "$JOB" true; status_is 0
}

@test "xcgexec: a recorded path that is another job's by now is left alone" {
	need_cgroup
	xcgexec -d -j "$JOB" sleep 60
	mkdir -p other/jobs; cp -r "$XOS_STATE_DIR/jobs/$JOB" other/jobs/
	sed -i 's/^CGROUP_ID=.*/CGROUP_ID="4"/; s/^SUPERVISOR=.*/SUPERVISOR="0"/' "other/jobs/$JOB/job"
	run xcgkill --state-dir "$PWD/other" "$JOB"; status_is 0
	alive "$(field "$JOB" MAIN)"
	[ -n "$(groups_of "$JOB")" ]
}

@test "xcgexec: 75 when the job was checkpointed and stopped; its scratch directory waits for the restart" {
	need_command python3
	xcgexec -j "$JOB" -g disk sh -c 'echo x >"$XOS_JOB_TMP/kept"; exec sleep 60' </dev/null >/dev/null 2>&1 3>&- &
	pid=$!
	wait_until test -e "$XOS_STATE_DIR/jobs/$JOB/tmp/kept"
	# what xcheckpoint -k does: lock, record, kill, unlock
	python3 -c 'import fcntl, struct, os, re, sys, time, signal
d = sys.argv[1]
f = open(d + "/lock", "r+b")
fcntl.fcntl(f, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)) # F_OFD_SETLK
r = open(d + "/job").read()
open(d + "/new", "w").write(r.replace("STATE=\"running\"", "STATE=\"stopped\""))
os.rename(d + "/new", d + "/job")
os.kill(int(re.search("MAIN=\"(\\d+)\"", r)[1]), signal.SIGKILL)
time.sleep(0.3)' "$XOS_STATE_DIR/jobs/$JOB"
	r=0; wait $pid || r=$?
	[ "$r" -eq 75 ]
	state_is "$JOB" stopped
	no_groups "$JOB"
	[ -e "$XOS_STATE_DIR/jobs/$JOB/tmp/kept" ]
	run xcgexec -j "$JOB" true; status_is 4
	xcgkill "$JOB"
	[ ! -e "$XOS_STATE_DIR/jobs/$JOB/tmp" ]
}
