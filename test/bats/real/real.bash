# Loaded by the tests of real programs. Each program runs undisturbed first, then as a job that is checkpointed, killed and
# restarted in the middle of its work; what it leaves must be the same.
#
#   prepare         makes the input in the current directory (default: nothing)
#   progress        prints how far the work in the current directory is: a number that grows, and is never 0 at the end
#   results         prints what must be the same (default: checksums of all files)
#   survive CMD...  does it all; CMD runs in a directory of its own, once plain and once per variant
#   run_server, rounds   a server and its client, who checks all answers, in one job
#   ordinary        in setup: all of that as an ordinary user
#
#   VARIANTS   kill   xcheckpoint -k, xrestart, as often as ROUNDS says
#              later  xcheckpoint; the job goes on, is killed later, and restarted: files that only grow are cut back
#   ROUNDS     1, or 10 with XOS_TEST_LONG=1; LENGTH: how much work (1, or 6)
#   AS         command prefix: as whom
#   MAY_REFUSE what xcheckpoint may refuse, as it says it: then the test is skipped with that reason
#   SLOW       how long a run may take, seconds
#   XOS_TEST_INSTALL=1: setup_file installs what is missing

load ../helper

ROUNDS=1 LENGTH=1 VARIANTS=kill MAY_REFUSE= SLOW=40 AS=()
[ -z "$XOS_TEST_LONG" ] || ROUNDS=10 LENGTH=6 SLOW=150
export LENGTH LC_ALL=C

setup() { xos_setup; need_root; }

# ---- programs ----

# wants COMMAND=PACKAGE...: in setup_file; one that cannot be had makes its tests skip
wants()
{
	local w missing=
	[ -n "$XOS_TEST_INSTALL" ] && [ "$(id -u)" -eq 0 ] || return 0
	for w in "$@"; do
		command -v "${w%%=*}" >/dev/null || missing="$missing ${w#*=}"
	done
	[ -n "$missing" ] || return 0
	(
		export DEBIAN_FRONTEND=noninteractive
		# shellcheck disable=SC2086 # a list
		timeout 240 apt-get install -y -q --no-install-recommends $missing ||
			{ timeout 120 apt-get update -q && timeout 240 apt-get install -y -q --no-install-recommends $missing; }
	) >"$BATS_FILE_TMPDIR/apt.log" 2>&1 3>&- || echo "# cannot install$missing: $(tail -n 1 "$BATS_FILE_TMPDIR/apt.log")" >&2
	return 0
}

# free_port: prints a TCP port of 127.0.0.1 that nobody has, and that no connection gets by itself (ip_local_port_range) while the job is not there.
free_port()
{
	perl -MIO::Socket::INET -e 'for (1 .. 1000) { my $p = 12000 + int rand 20000; IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1", LocalPort => $p) and print($p), exit } exit 1'
}

# A python that an ordinary user may run too, and no wrapper script.
python3_path()
{
	[ -x /usr/bin/python3 ] && { echo /usr/bin/python3; return; }
	python3 -c 'import sys; print(sys.executable)'
}

# ---- the parts ----

prepare() { :; }
results() { find . -type f ! -name '*.progress' -exec sha256sum {} + | sort -k 2; }
progress() { size_of out.log; }

size_of() { stat -c %s "$@" 2>/dev/null | awk '{ s += $1 } END { print s + 0 }'; }
lines_of() { [ -e "$1" ] && wc -l <"$1" || echo 0; }
tell() { echo "# $*" >&2; }

# With no descriptors but 0, 1, 2: bats has some of its own.
clean()
{
	(
		for fd in /proc/$BASHPID/fd/*; do
			[ "${fd##*/}" -le 2 ] || eval "exec ${fd##*/}>&-" 2>/dev/null
		done
		exec "$@"
	)
}
as() { clean "${AS[@]}" "$@" </dev/null; }

# What is known when something went wrong.
explain()
{
	local pid
	tell "job $JOB: state $(as xps -a -n -j "$JOB" -o STATE,EXIT 2>&1)"
	[ ! -s err ] || tell "its stderr: $(tail -n 3 err)"
	for pid in $(in_job "$JOB"); do
		tell "$(ps -o pid=,stat=,wchan=,args= -p "$pid" | cut -c 1-120)"
	done
}

job_state() { as xps -a -n -j "$JOB" -o STATE | tr -d ' '; }
job_ended() { [ "$(job_state)" = done ]; }

# reach N: until the work is so far; fails when it ended before
reach()
{
	local deadline=$((SECONDS + SLOW))
	while [ "$(progress)" -lt "$1" ]; do
		[ $SECONDS -lt $deadline ] || { tell "progress is $(progress) of $1 after $SLOW s"; explain; return 1; }
		sleep 0.01
	done
	! job_ended || { too_fast "at $1"; return 1; }
}

# The job was done, rightly, before we came: nothing was tried, survive does it again. A job that ended wrongly is a failure.
too_fast()
{
	local got
	got=$(as xps -a -n -j "$JOB" -o EXIT | tr -d ' ')
	if [ "$got" = "$STATUS" ]; then
		: >"$PLACE/too_fast"
	else
		tell "it ended before it could be checkpointed $1"
		explain
	fi
}

# checkpoint OPTION...
checkpoint()
{
	local status=0
	as xcheckpoint -q "$@" "$JOB" 2>"$PLACE/checkpoint.err" || status=$?
	[ $status -ne 0 ] || return 0
	[ $status -ne 5 ] || [ -z "$MAY_REFUSE" ] || ! grep -q "$MAY_REFUSE" "$PLACE/checkpoint.err" ||
		skip "$(sed -n "s/.*: \(.*$MAY_REFUSE.*\)/\1/p" "$PLACE/checkpoint.err" | head -n 1)"
	[ $status -ne 3 ] || ! job_ended || { too_fast "by xcheckpoint $*"; return 1; }
	tell "xcheckpoint $* failed with $status: $(cat "$PLACE/checkpoint.err")"
	explain
	return 1
}

checkpoint_kill()
{
	checkpoint -k || return 1
	[ "$(job_state)" = stopped ] || { tell "after -k it is $(job_state)"; return 1; }
	[ -z "$(in_job "$JOB")" ] || { tell "after -k there live: $(in_job "$JOB")"; return 1; }
}

checkpoint_kill_later()
{
	checkpoint || return 1
	reach "$1" || return 1
	as xcgkill -q -s KILL "$JOB" || { tell "xcgkill failed with $?"; return 1; }
	wait_until job_ended || { tell "after xcgkill it is $(job_state)"; return 1; }
}

restart()
{
	as xrestart -d -q "$JOB" >/dev/null || { tell "xrestart failed with $?"; return 1; }
}

# finish: until it ends, with the status that it should
finish()
{
	XOS_WAIT=$SLOW wait_until job_ended || { explain; return 1; }
	local got
	got=$(as xps -a -n -j "$JOB" -o EXIT | tr -d ' ')
	[ "$got" = "$1" ] || { tell "it ended with $got instead of $1: $(tail -n 5 err)"; return 1; }
}

one_variant()
{
	# The last third is left alone: a loaded machine may finish it between a look and the checkpoint.
	local variant=$1 i parts=$((ROUNDS * 13 / 5 + 2))
	shift
	JOB="t$$-$BATS_TEST_NUMBER-$variant"
	as mkdir "$PLACE/$variant" && cd "$PLACE/$variant" && prepare || return 1
	as xcgexec -d -j "$JOB" -o out -e err -- "$@" >/dev/null || { tell "xcgexec failed with $?"; return 1; }
	for ((i = 1; i <= ROUNDS; i++)); do
		reach $((TOTAL * (2 * i - 1) / parts)) || return 1
		case $variant in
		kill) checkpoint_kill || return 1 ;;
		later) checkpoint_kill_later $((TOTAL * 2 * i / parts)) || return 1 ;;
		esac
		restart || return 1
	done
	finish "$STATUS" || return 1
	results >"$PLACE/$variant.results"
	diff "$PLACE/plain.results" "$PLACE/$variant.results" >"$PLACE/diff" ||
		{ tell "variant $variant: the result differs"; head -n 6 "$PLACE/diff" >&2; return 1; }
}

survive()
{
	local variant
	PLACE=${PLACE:-$BATS_TEST_TMPDIR} STATUS=0
	as mkdir "$PLACE/plain" && cd "$PLACE/plain" && prepare || return 1
	as timeout "$SLOW" sh -c 'exec "$@" >out 2>err' sh "$@" || STATUS=$?
	[ "$STATUS" -eq 0 ] || tell "the undisturbed run ended with $STATUS: $(tail -n 3 err)"
	TOTAL=$(progress)
	results >"$PLACE/plain.results"
	[ "$TOTAL" -gt $((2 * ROUNDS)) ] || { tell "progress of the undisturbed run: $TOTAL; status $STATUS: $(tail -n 3 err)"; return 1; }
	for variant in $VARIANTS; do
		again "$variant" "$@" || return 1
	done
}

# again VARIANT COMMAND: up to five times, as long as the job was only too fast
again()
{
	local try
	for try in 1 2 3 4 5; do
		rm -f "$PLACE/too_fast"
		one_variant "$@" && return 0
		[ -e "$PLACE/too_fast" ] || return 1
		cd "$PLACE" && as rm -rf "$PLACE/$1" || return 1
	done
	tell "it always ended before it could be checkpointed"
	return 1
}

# ---- servers with clients in the same job ----

answers() { perl -MIO::Socket::INET -e 'exit !IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $ENV{PORT})'; }

# A client's frame: connects, asks until there is a file `stop`, writes a line to `log` every few answers.
client_head='
	use IO::Socket::INET; use strict; $| = 1; alarm 300;
	open(my $log, ">>", "log") or die; $log->autoflush(1);
	sub connected { my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $ENV{PORT}) or die "connect: $!"; $s->autoflush(1); $s }
	sub line { my $l = readline($_[0]); defined $l or die "the connection has ended: $!"; $l =~ s/\r?\n$//; $l }
	sub is { $_[0] eq $_[1] or die "got \"" . substr($_[0], 0, 200) . "\", not \"$_[1]\"" }
	sub on { my $n = shift; print $log "$n\n" unless $n % 20; !-e "stop" }
'

# rounds: the job $JOB is checkpointed, killed and restarted while its clients go on; then they are told to stop, and must be content
rounds()
{
	local i seen pids
	for ((i = 0; i < ROUNDS + 1; i++)); do
		seen=$(lines_of log)
		wait_until more_than "$seen" || { explain; return 1; }
		checkpoint_kill && restart || return 1
	done
	seen=$(lines_of log)
	wait_until more_than "$seen" || { explain; return 1; }
	touch stop
	finish 0 || { tail -n 3 out err >&2; return 1; }
	cat out
}
more_than() { [ "$(lines_of log)" -gt $(($1 + 2)) ] || job_ended; }

# run_server SERVER READY CLIENT: the job: the server, and its client when READY succeeds; it ends with the client's status
run_server()
{
	JOB="t$$-$BATS_TEST_NUMBER"
	declare -f answers >job.sh
	cat >>job.sh <<-END
		$1 &
		server=\$!
		n=0
		until $2; do n=\$((n + 1)); [ \$n -lt 200 ] || exit 9; sleep 0.05; done
		$3
		status=\$?
		kill \$server
		wait \$server
		exit \$status
	END
	as xcgexec -d -j "$JOB" -o out -e err -- bash job.sh >/dev/null || return 1
	PLACE=$PWD STATUS=0
	XOS_WAIT=30 wait_until more_than 0 || { explain; return 1; }
}

# ---- an ordinary user ----

# ordinary: from here on all is his: no capability, no group, no set-up by root; the work is done below $PLACE
ordinary()
{
	need_user
	user_dir
	AS=(run_as_user in_place)
	PLACE=$XOS_USER_DIR/work
	run_as_user mkdir "$PLACE"
	cd "$PLACE" || return 1
	# run_as_user has a directory of its own
	cat >"$XOS_USER_DIR/bin/in_place" <<-'END'
		#!/bin/sh
		[ -z "$IN" ] || cd "$IN" || exit 1
		exec "$@"
	END
	chmod 755 "$XOS_USER_DIR/bin/in_place"
	# as it is above, from the directory where we are
	as()
	(
		for fd in /proc/$BASHPID/fd/*; do
			[ "${fd##*/}" -le 2 ] || eval "exec ${fd##*/}>&-" 2>/dev/null
		done
		export IN=$PWD
		"${AS[@]}" "$@" </dev/null
	)
}

# ---- programs of this directory ----

go_build() { HOME=$BATS_TEST_TMPDIR GO111MODULE=off GOCACHE=$BATS_TEST_TMPDIR/cache go build -o "$1" "$BATS_TEST_DIRNAME/fetch.go"; }
