# Loaded by the tests of real programs. Each program runs undisturbed first, then as a job that is checkpointed, killed and
# restarted in the middle of its work; what it leaves must be the same.
#
#   prepare         makes the input in the current directory (default: nothing)
#   progress        prints how far the work in the current directory is: a number that grows, and is never 0 at the end
#   results         prints what must be the same (default: checksums of all files)
#   survive CMD...  does it all; CMD runs in a directory of its own, once plain and once per variant
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
