# For tests of checkpoint and restart; loaded after helper.bash.
#
#   close_but [FD]   in a subshell: closes what is above 2, but FD
#   clean CMD        the command without bats' and its caller's descriptors, which a job would inherit; 30 s, XOS_LIMIT=N: N
#   start [JOB]      a job that writes 1, 2, 3, ... line by line to $JOB.out until $JOB.stop is there, then `end`; waits until
#                    it has begun. Its working directory is the test's.
#   goes_on [JOB]    it writes further lines, and none is missing or there twice
#   ends_right [JOB] the same until its end
#   versions [JOB]   the versions that are there, in one line
#   forge ARGS       test/bats/forge.c, compiled when first used
#   edit IN OUT MEMBER SED   an image with another text in one text member



close_but()
{
	local fd
	for fd in /proc/"$BASHPID"/fd/*; do
		fd=${fd##*/}
		[ "$fd" -le 2 ] || [ "$fd" = "${1:-}" ] || eval "exec $fd>&-"
	done
}

clean()
{
	(
		close_but
		exec timeout -k 5 "${XOS_LIMIT:-30}" "$@"
	)
}

# for the user's functions of helper.bash: they are no programs for timeout
clean_user() { run_as_user timeout -k 5 "${XOS_LIMIT:-30}" "$@" 3>&- 4>&- 10>&- 251>&-; }

COUNTER='i=0; while [ ! -e "$0.stop" ]; do i=$((i + 1)); echo $i; sleep 0.01; done; echo end'

start()
{
	local job=${1:-$JOB}
	clean xcgexec -d -j "$job" -o "$job.out" -e "$job.err" -- sh -c "$COUNTER" "$PWD/$job" >/dev/null
	wait_until grep -qx 3 "$job.out"
}

whole() { awk '$1 != NR && $1 != "end" { print "line " NR " is " $1; bad = 1 } END { exit bad }' "$1" >&2; }

goes_on()
{
	local job=${1:-$JOB} n
	n=$(wc -l <"$job.out")
	wait_until grep -qx $((n + 3)) "$job.out" && whole "$job.out"
}

ends_right()
{
	local job=${1:-$JOB}
	goes_on "$job" && touch "$job.stop" && wait_until grep -qx end "$job.out" && whole "$job.out"
}

versions() { (cd "$XOS_STATE_DIR/checkpoints/${1:-$JOB}" 2>/dev/null && echo $(ls | sed -n 's/\.tar$//p' | sort -n)); }
image() { echo "$XOS_STATE_DIR/checkpoints/${2:-$JOB}/$1.tar"; }
no_processes() { [ -z "$(in_job "${1:-$JOB}")" ]; }
proc_state() { sed 's/.*) //; s/ .*//' "/proc/$1/stat"; }

forge()
{
	if [ ! -x "$BATS_FILE_TMPDIR/forge" ]; then
		"${CC:-cc}" -std=gnu11 -D_GNU_SOURCE -O1 -I "$BATS_TEST_DIRNAME/../../lib" -o "$BATS_FILE_TMPDIR/forge" \
			"$BATS_TEST_DIRNAME/forge.c" "$XOS_BUILD/libxos.a" -pthread $XOS_FORGE_FLAGS -larchive -lcap || return 1
	fi
	"$BATS_FILE_TMPDIR/forge" "$@"
}

edit()
{
	forge "$1" "$3" >"$BATS_TEST_TMPDIR/member" && sed -E "$4" "$BATS_TEST_TMPDIR/member" >"$BATS_TEST_TMPDIR/edited" &&
		! cmp -s "$BATS_TEST_TMPDIR/member" "$BATS_TEST_TMPDIR/edited" &&
		forge "$1" "$2" -t "$3" "$BATS_TEST_TMPDIR/edited"
}
