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
