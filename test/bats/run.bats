#!/usr/bin/env bats
# The runner itself: a test that fails, hangs, dies or says nothing must never look like success.
load helper

setup()
{
	xos_setup
	mkdir -p tree/test/bats tree/test/unit tree/build/unit
	cp "$BATS_TEST_DIRNAME/../run" tree/test/run
	cd tree || return 1
	unset FUZZ_SECONDS XOS_TEST_TIMEOUT XOS_TEST_DEADLINE XOS_TEST_LONG XOS_TEST_SANITIZED
	export XOS_BUILD=$PWD/build
}

unit() # NAME SCRIPT
{
	echo 'int main(void) { }' >"test/unit/$1.c"
	printf '#!/bin/sh\n%s\n' "$2" >"build/unit/$1"
	chmod +x "build/unit/$1"
}
last() { [ "${lines[${#lines[@]}-1]}" = "$1" ] || { echo "$output"; return 1; }; }
# Their own bats must not think that it is this one.
runs() { run env -u BATS_TEST_FILENAME -u BATS_ROOT_PID -u BATS_RUN_TMPDIR -u BATS_TMPDIR test/run "$@"; }

@test "all pass: status 0, and the line" {
	unit a 'echo "ok - one"; echo "ok - two"'
	unit b 'echo "ok - three # SKIP no reason"; echo "ok - four"'
	runs unit
	status_is 0
	last "3 passed, 0 failed, 1 skipped"
}

@test "one fails: status 1, and its reason at the end" {
	unit a 'echo "ok - one"; echo "not ok - two: because"; echo "detail"; exit 1'
	unit b 'echo "ok - three"'
	runs unit
	status_is 1
	last "2 passed, 1 failed, 0 skipped"
	sed -n '/^Failed:/,$p' <<<"$output" | grep -q 'not ok - two: because'
	sed -n '/^Failed:/,$p' <<<"$output" | grep -q '^detail'
}

@test "no test is no success" {
	runs unit
	status_is 1
	last "0 passed, 0 failed, 0 skipped"
	unit a 'echo "ok - one # skip not here"'
	runs unit
	status_is 1
	last "0 passed, 0 failed, 1 skipped"
}

@test "a file that dies, or says nothing, or ends badly, failed" {
	unit dies 'echo "ok - one"; kill -SEGV $$'
	unit mute 'exit 0'
	unit bad 'echo "ok - one"; exit 3'
	runs unit
	status_is 1
	last "2 passed, 3 failed, 0 skipped"
	grep -q 'unit-mute: no result' <<<"$output"
	grep -q 'unit-bad: ended with status 3' <<<"$output"
}

@test "a file that hangs failed, is named, and the others run" {
	unit hangs 'echo "ok - one"; exec sleep 60'
	unit z 'echo "ok - two"'
	XOS_TEST_TIMEOUT=1 runs unit
	status_is 1
	last "2 passed, 1 failed, 0 skipped"
	grep -q 'unit-hangs: not done within its time' <<<"$output"
}

@test "what the deadline leaves over failed" {
	unit a 'echo "ok - one"; sleep 5'
	unit b 'echo "ok - two"'
	XOS_TEST_DEADLINE=3 runs unit
	status_is 1
	last "1 passed, 2 failed, 0 skipped"
	grep -q 'unit-b: not run' <<<"$output"
}

@test "bats files: passed, failed, skipped; a file that cannot be read failed" {
	printf '%s\n' '@test "one" { true; }' '@test "two" { echo why; false; }' '@test "three" { skip "no reason"; }' >test/bats/a.bats
	printf '%s\n' '@test "one" { true' >test/bats/b.bats
	runs bats
	status_is 1
	last "1 passed, 2 failed, 1 skipped"
	sed -n '/^Failed:/,$p' <<<"$output" | grep -q why
}

@test "a word that is no kind of test is a failure" {
	unit a 'echo "ok - one"'
	runs unit unti
	status_is 1
	last "1 passed, 1 failed, 0 skipped"
}

@test "the runner is ended: it ends what runs, and says so" {
	unit hangs 'echo "ok - one"; echo $$ >pid; exec sleep 60'
	test/run unit >out 2>&1 3>&- &
	wait_until test -s pid
	kill -TERM $!
	wait $! && return 1
	wait_until gone "$(cat pid)"
	[ "$(tail -n 1 out)" = "0 passed, 1 failed, 0 skipped" ] || { cat out; return 1; }
}
