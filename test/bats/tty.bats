#!/usr/bin/env bats
# Terminals: what waits in those of a job is not harmed by kill -9 of xcheckpoint, what cannot be saved is refused by name; a
# job on somebody else's terminal.

bats_require_minimum_version 1.5.0
load helper
load ckpt

there() { local f; for f in "$@"; do [ -e "$f" ] && return 0; done; return 1; }
verdict()
{
	touch v.go
	wait_until there v.ok v.fail
	[ -e v.ok ] || { cat v.fail >&2; return 1; }
}
queues()
{
	need_root
	need_victim v_tty_queue
	clean xcgexec -d -q -j "$JOB" -o out -e err -- "$XOS_BUILD/victim/v_tty_queue" "$PWD/v"
	wait_until there v.ready v.fail v.skip
	[ -e v.ready ]
}

# terminal CODE: a job of python with the terminal m, s; it makes the file `ready` and waits for the file `go`
terminal()
{
	need_command python3
	python3 -c '' || skip "python3 does not run"
	cat >job.py <<-END
		import os, fcntl, struct, termios, time
		def wait(f):
		    while not os.path.exists(f): time.sleep(0.01)
		$1
		open("ready", "w").close()
		wait("go")
		$2
		open("done", "w").close()
		time.sleep(1000)
	END
	clean xcgexec -d -q -j "$JOB" -o out -e err -- python3 job.py
	wait_until test -e ready || { cat err >&2; return 1; }
}
# refused TEXT: now, and not any more after the job went on
refused()
{
	run clean xcheckpoint -n "$JOB"
	[ "$status" -eq 5 ] && [[ "$output" == *"$1"* ]] || { echo "$status: $output" >&2; return 1; }
	run clean xcheckpoint "$JOB"
	[ "$status" -eq 5 ] && [[ "$output" == *"$1"* ]] || { echo "$status: $output" >&2; return 1; }
	touch go
	wait_until test -e done
	clean xcheckpoint -q "$JOB"
}

@test "kill -9 of xcheckpoint while what waits in terminals is taken out and put back" {
	queues
	for fault in tty-reading:kill tty-taken:kill; do
		run env XOS_FAULT=$fault timeout 30 xcheckpoint -q "$JOB" 3>&- 4>&-
		[ "$status" -ne 0 ]
	done
	clean xcheckpoint -q -k "$JOB"
	clean xrestart -d -q "$JOB" >/dev/null
	for ((i = 0; i < (${#XOS_TEST_LONG} ? 300 : 30); i++)); do
		env timeout -s KILL 0.0$((RANDOM % 40 + 10)) xcheckpoint -q "$JOB" >/dev/null 2>&1 3>&- 4>&- || :
	done
	clean xcheckpoint -q "$JOB"
	verdict
}

@test "the same for a job without a control group" {
	need_user
	need_victim v_tty_queue
	cp "$XOS_BUILD/victim/v_tty_queue" "$XOS_USER_DIR/"
	clean_user xcgexec -d -q -j "$JOB" -- ./v_tty_queue "$XOS_USER_DIR/v"
	cd "$XOS_USER_DIR"
	wait_until there v.ready v.fail v.skip
	[ -e v.ready ]
	for fault in tty-reading:kill tty-taken:kill; do
		run run_as_user env XOS_FAULT=$fault timeout 30 xcheckpoint -q "$JOB" 3>&- 4>&-
		[ "$status" -ne 0 ]
	done
	clean_user xcheckpoint -q "$JOB"
	verdict
}

@test "a status of packet mode is refused until it is read" {
	terminal 'm, s = os.openpty(); fcntl.ioctl(m, 0x5420, struct.pack("i", 1)); termios.tcflush(s, termios.TCOFLUSH)' 'os.read(m, 1)'
	refused "fd 3: terminal /dev/pts/"
	[[ "$output" == *"has a status of packet mode that was not read yet"* ]]
}

@test "a terminal that nobody has opened yet is refused until somebody does" {
	terminal 'm = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)' 'fcntl.ioctl(m, 0x40045431, struct.pack("i", 0)); s = fcntl.ioctl(m, 0x5441, os.O_RDWR | os.O_NOCTTY)'
	refused "nobody has opened terminal /dev/pts/"
}

@test "more input than can be saved is refused until it is read" {
	terminal 'm, s = os.openpty(); a = termios.tcgetattr(s); a[3] &= ~(termios.ECHO | termios.ICANON); termios.tcsetattr(s, 0, a); os.write(m, b"x" * 3900); time.sleep(0.1)' \
		'os.read(s, 3000)'
	refused "3900 bytes of input that were not read yet: 3071 can be saved"
}

# ---- somebody else's terminal ----

# A job on the terminal of its starter, in raw mode with settings of its own. It writes the size and the settings that it sees to
# `look` when told to (`again`), and at a SIGWINCH to `winch`; it leaves the terminal as it has set it. With `group` it has a process
# group of its own in the foreground, as a shell has.
write_job()
{
	cat >"$1/raw.py" <<-'END'
		import os, signal, sys, termios, time, tty
		t = os.open("/dev/tty", os.O_RDWR)
		def look(f):
		    s = os.get_terminal_size(t)
		    a = termios.tcgetattr(t)
		    with open(f + ".new", "w") as o:
		        o.write("%d %d %r %s %d\n" % (s.lines, s.columns, a, os.tcgetpgrp(t) == os.getpgrp(), heard))
		    os.rename(f + ".new", f)
		heard = told = 0
		def winch(*a): # another one may come in the middle of a look
		    global heard
		    heard += 1
		signal.signal(signal.SIGWINCH, winch)
		if "group" in sys.argv:
		    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
		    os.setpgid(0, 0)
		    os.tcsetpgrp(t, os.getpgrp())
		if "quiet" not in sys.argv:
		    tty.setraw(t)
		    a = termios.tcgetattr(t)
		    a[6][termios.VTIME], a[6][termios.VMIN] = 3, 7
		    termios.tcsetattr(t, termios.TCSANOW, a)
		look("look")
		while not os.path.exists("end"):
		    if told != heard:
		        told = heard
		        look("winch")
		    if os.path.exists("again"):
		        os.unlink("again")
		        look("look")
		    time.sleep(0.01)
		sys.exit(5)
	END
	# ROWS COLS COMMAND: on a new terminal of that size
	cat >"$1/term.py" <<-'END'
		import fcntl, os, pty, signal, struct, sys, termios
		pid, m = pty.fork()
		if not pid:
		    signal.signal(signal.SIGINT, signal.SIG_DFL)
		    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("4H", int(sys.argv[1]), int(sys.argv[2]), 0, 0))
		    os.execvp("bash", ["bash", "--norc", "-c", sys.argv[3]])
		try:
		    while os.write(1, os.read(m, 4096)):
		        pass
		except OSError:
		    pass
		os.waitpid(pid, 0)
	END
}

# someone [user]: whose the job is
someone()
{
	need_command python3
	need_command stty
	PY=/usr/bin/python3 DIR=$PWD AS=
	[ -x $PY ] || PY=$(command -v python3)
	if [ -n "${1:-}" ]; then
		need_user
		DIR=$XOS_USER_DIR AS=run_as_user
		$AS "$PY" -c '' || skip "python3 does not run"
		cd "$DIR"
	else
		python3 -c '' || skip "python3 does not run"
	fi
	write_job "$DIR"
}

# on_terminal ROWS COLS COMMAND: goes on in the background; its end is the file `over`; `before` and `after` are the settings of the terminal,
# `status` what the command ended with, `front` whether the shell is in the foreground again
on_terminal()
{
	rm -f over
	(
		close_but
		$AS timeout -k 5 120 "$PY" term.py "$1" "$2" "stty erase ^H; ${4:-}
			stty -g >before; $3; echo \$? >status; stty -g >after
			set -- \$(sed 's/.*) //' /proc/\$\$/stat); [ \$3 = \$6 ]; echo \$? >front; touch over"
	) </dev/null >screen 2>&1 &
	XOS_BACKGROUND="$XOS_BACKGROUND $!"
}
raw_at() { grep -q "^$1 .*3, 7," look; }
# looks PATTERN: what the job sees now
looks()
{
	rm -f look
	touch again
	wait_until test -e look || return 1
	grep -q -- "$1" look || { echo "it sees $(cat look), not $1" >&2; return 1; }
}
# over STATUS: the command has ended so, and the terminal is as it was
over()
{
	wait_until test -e over || { cat screen >&2; return 1; }
	[ "$(cat status)" = "$1" ] || { echo "status $(cat status), not $1: $(cat screen)" >&2; return 1; }
	cmp before after && [ "$(cat front)" = 0 ]
}
begin() { on_terminal 24 80 "xcgexec -j $JOB -- $PY raw.py $*" && wait_until raw_at '24 80'; }
clean_as() { if [ -n "$AS" ]; then clean_user "$@"; else clean "$@"; fi; }

raw_session()
{
	local n=0
	someone "$@"
	begin
	for size in "30 90" "20 70"; do
		clean_as xcheckpoint -q -k "$JOB"
		over 75
		rm -f winch look
		# shellcheck disable=SC2086 # two words
		on_terminal $size "xrestart -q $JOB"
		wait_until test -e winch
		grep -q "^$size .*3, 7,.*True" winch
		sleep 0.2
		looks "^$size .*3, 7,.*True $((++n))\$"
	done
	clean_as xcheckpoint -q -k "$JOB"
	over 75
	rm -f winch
	on_terminal 20 70 "xrestart -q $JOB"
	wait_until test -e winch # it has painted a screen that is not here
	touch end
	over 5
}

@test "the starter's terminal: settings and SIGWINCH after a restart, the old settings after its end" { raw_session; }
@test "the same as an ordinary user" { raw_session user; }

@test "a job that reads lines hears of another size only" {
	someone
	on_terminal 24 80 "xcgexec -j $JOB -- $PY raw.py quiet"
	wait_until test -e look
	clean xcheckpoint -q -k "$JOB"
	over 75
	on_terminal 24 80 "xrestart -q $JOB"
	looks "^24 80"
	clean xcheckpoint -q -k "$JOB"
	over 75
	[ ! -e winch ]
	on_terminal 24 81 "xrestart -q $JOB"
	wait_until test -e winch
	grep "^24 81" winch
	touch end
	over 5
}

# The script's bash has the terminal afterwards as it was when the job stopped.
ended_with() { wait_until test -e over && [ "$(cat status)" = "$1" ]; }
stop_session()
{
	local pid n=0
	someone "$@"
	begin
	for i in 1 2; do
		clean_as xcheckpoint -q -k "$JOB"
		ended_with 75
		rm -f winch look halted
		on_terminal 24 80 "xrestart -q $JOB; touch halted; fg" "set -m"
		wait_until test -e winch
		pid=$(field "$JOB" MAIN "${1:+$XOS_USER_DIR/state}")
		[ -z "${1:-}" ] || pid=$(cat "/proc/$pid/task/$pid/children") # of the PID namespace's init
		kill -TSTP $pid
		wait_until test -e halted
		looks "^24 80 .*True $((++n))\$"
	done
	touch end
	ended_with 5
}

@test "a job that stops in the foreground: xrestart stops with it, and fg lets both go on" { stop_session; }
@test "the same for a user's job in a new PID namespace" { stop_session user; }

group_session()
{
	someone "$@"
	begin group
	for i in 1 2; do
		clean_as xcheckpoint -q -k "$JOB"
		over 75
		on_terminal 24 80 "xrestart -q $JOB"
		looks "^24 80 .*3, 7,.*True"
	done
	touch end
	over 5
}

@test "a process group of the job in the foreground of the starter's terminal" { group_session; }
@test "the same as an ordinary user in a new PID namespace" { group_session user; }

@test "a job that is killed leaves the terminal as it was, one that ends as the job set it" {
	someone
	begin
	clean xcgkill -q -s KILL "$JOB"
	over 137
	on_terminal 24 80 "xcgexec -l time=1s -j $JOB-2 -- sh -c 'stty raw; sleep 100'"
	over 143
	on_terminal 24 80 "xcgexec -j $JOB-3 -- stty -echo"
	wait_until test -e over
	run ! cmp before after
}

# Says its terminal's name when asked to.
names='until [ -e end ]; do if [ -e again ]; then rm -f again; tty >new; stty size >>new; mv -f new name; fi; sleep 0.02; done; stty -a <&3 >third'
# named_as ROWS: it has the terminal that `ttyname` says the shell has
named_as()
{
	rm -f name
	touch again
	wait_until test -e name || { cat screen >&2; return 1; }
	[ "$(cat name)" = "$(cat ttyname; echo "$1 80")" ] || { cat name ttyname >&2; return 1; }
}
OWN='tty >ttyname.new; mv ttyname.new ttyname'

@test "xrestart -t: the terminal has its own name, wherever stdin and stdout lead" {
	someone
	on_terminal 24 80 "xcgexec -j $JOB -- sh -c '$names' 3</dev/tty" "$OWN"
	wait_until test -e ttyname
	named_as 24
	clean xcheckpoint -q -k "$JOB"
	over 75
	on_terminal 30 80 "xrestart -t -q $JOB </dev/null >/dev/null 2>&1" "$OWN"
	named_as 30
	clean xcheckpoint -q -k "$JOB"
	over 75
	on_terminal 31 80 "xrestart -q $JOB" "$OWN"
	named_as 31
	touch end
	over 0
	grep -q "rows 31" third
}

@test "the same for a user on another one's terminal" {
	someone user
	local su="setpriv --reuid=$XOS_TEST_UID --regid=$XOS_TEST_UID --clear-groups --inh-caps=-all"
	su="$su env XOS_STATE_DIR=$XOS_USER_DIR/state XOS_PAM_CONF=$XOS_USER_DIR/pam_xos.conf $XOS_USER_DIR/bin"
	chmod 1777 . # root writes here, too
	names=${names/<&3/}
	AS=
	on_terminal 24 80 "$su/xcgexec -j $JOB -- sh -c '$names'" "$OWN"
	wait_until test -e ttyname
	named_as 24
	clean_user xcheckpoint -q -k "$JOB"
	over 75
	on_terminal 30 80 "$su/xrestart -t -q $JOB" "$OWN"
	named_as 30
	touch end
	over 0
}

@test "a restart that fails leaves the terminal as it was" {
	someone
	begin group
	clean xcheckpoint -q -k "$JOB"
	over 75
	on_terminal 24 80 "XOS_FAULT=restart.record xrestart -q $JOB"
	over 1
}

@test "xrestart -d touches no terminal" {
	someone
	on_terminal 24 80 "xcgexec -q -j $JOB -- bash -c 'trap \"touch winch\" WINCH; stty raw; touch ready; until [ -e end ]; do sleep 0.1; done; touch done'"
	wait_until test -e ready
	clean xcheckpoint -q -k "$JOB"
	over 75
	forge "$(image 1)" files | grep -q TERMIOS
	on_terminal 30 90 "xrestart -d -q $JOB"
	over 0
	touch end
	wait_until test -e done
	[ ! -e winch ]
}

@test "a terminal that was no stdio cannot come back with xrestart -d" {
	someone
	begin
	clean xcheckpoint -q -k "$JOB"
	over 75
	on_terminal 24 80 "xrestart -d -q $JOB"
	over 7
	grep -q "fd 3: /dev/.* was a terminal, and the restart has none" screen
}

@test "a restart in the background touches no terminal, and is not stopped" {
	someone
	begin
	clean xcheckpoint -q -k "$JOB"
	over 75
	rm -f winch look
	on_terminal 30 90 "xrestart -q $JOB & wait \$!" "set -m"
	looks "^30 90 .*False"
	run ! grep -q "3, 7" look
	[ ! -e winch ]
	touch end
	over 5
}

@test "in the background xrestart of a shell stops before it makes anything, until fg" {
	someone
	begin group
	clean xcheckpoint -q -k "$JOB"
	over 75
	rm -f look winch
	on_terminal 24 80 "xrestart -q $JOB & until jobs -s | grep -q xrestart; do sleep 0.05; done; touch halted; until [ -e go ]; do sleep 0.05; done; fg" "set -m"
	wait_until test -e halted
	[ "$(field "$JOB" STATE)" = stopped ] && no_processes
	touch go
	wait_until test -e winch
	looks "^24 80 .*3, 7,.*True"
	touch end
	over 5
}

@test "a command that a script started with & touches no terminal" {
	someone
	on_terminal 24 80 "xcgexec -q -j $JOB -- $PY raw.py quiet & stty -echo; stty -g >during; wait"
	wait_until test -s during
	wait_until test -e look
	clean xcheckpoint -q -k "$JOB"
	wait_until test -e over
	cmp during after
	rm -f during
	on_terminal 30 90 "xrestart -q $JOB & stty -icanon -echo; stty -g >during; wait"
	looks "^30 90"
	touch end
	wait_until test -e over
	cmp during after
}

@test "settings that somebody else made while the job was in the background are not saved" {
	someone
	on_terminal 24 80 "xcgexec -q -j $JOB -- $PY raw.py quiet & stty -echo; wait" "set -m"
	wait_until test -e look
	clean xcheckpoint -q "$JOB"
	forge "$(image 1)" files >files
	grep -q 'TYPE="ext"' files
	run ! grep -q TERMIOS files
	touch end
}

@test "settings and sizes in an image that lie" {
	someone
	begin
	clean xcheckpoint -q -k "$JOB"
	over 75
	timeout 60 "$PY" "$BATS_TEST_DIRNAME/format_reader.py" "$BATS_TEST_DIRNAME/../../lib/image/FORMAT.md" "$(image 1)"
	edit "$(image 1)" short.tar files 's/TERMIOS="../TERMIOS="/'
	edit "$(image 1)" long.tar files 's/TERMIOS="/TERMIOS="00/'
	edit "$(image 1)" rows.tar files 's/ROWS="24"/ROWS="65536"/'
	edit "$(image 1)" cols.tar files 's/ COLS="80"//'
	for i in short long rows cols; do
		on_terminal 24 80 "xrestart -q -i $i.tar $JOB"
		over 6
	done
	edit "$(image 1)" all.tar files 's/TERMIOS="[0-9a-f]*"/TERMIOS="'"$(printf 'ff%.0s' {1..44})"'"/'
	rm -f look
	on_terminal 24 80 "xrestart -q -i all.tar $JOB"
	looks "^24 80"
	touch end
	over 5
}
