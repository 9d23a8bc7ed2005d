#!/usr/bin/env bats
# What README.md and HACKING.md say is true as far as a program can tell.
load helper

top() { echo "$BATS_TEST_DIRNAME/../.."; }

# The commands under "A first session", without building and PATH.
session() { sed -n '/^## A first session/,/^## /p' "$(top)/README.md" | sed -n '/^```sh/,/^```/p' | grep -vE '^```|^make|^PATH='; }

# From a directory where nobody else's files are, as a new user has it: the default state directory in a HOME of its own.
first_session()
{
	session >session.sh
	[ "$(wc -l <session.sh)" -ge 8 ]
	"$@" timeout 60 bash -e session.sh >session.out 2>session.err || { cat session.out session.err; return 1; }
	diff <(sed -n '/^1$/,$p' session.out) <(seq 20; echo done) || { cat session.out session.err; return 1; }
}

@test "the README's first session, as root" {
	need_root
	first_session env XOS_STATE_DIR="$BATS_TEST_TMPDIR/state" TMPDIR="$BATS_TEST_TMPDIR"
}

@test "the README's first session, as an ordinary user" {
	need_user
	user_dir
	session >"$XOS_USER_DIR/session.sh"
	run run_as_user env TMPDIR="$XOS_USER_DIR" timeout 60 bash -e session.sh
	status_is 0
	diff <(sed -n '/^1$/,$p' <<<"$output") <(seq 20; echo done)
}

@test "the README's table of kinds names every victim, and only tests that there are" {
	local table f
	table=$(sed -n '/^### Each kind, and its test/,/^Programs tried/p' "$(top)/README.md")
	for f in "$(top)"/test/victim/v_*.c; do
		f=$(basename "$f" .c)
		grep -qE "[ |]$f( |\|)" <<<"$table" || { echo "no row names $f"; false; }
	done
	for f in $(grep '^| [a-zT]' <<<"$table" | awk -F'|' '{ print $5 }' | grep -oE 'v_[a-z_]+|[a-z/_]+\.bats'); do
		[ -e "$(top)/test/victim/$f.c" ] || [ -e "$(top)/test/bats/$f" ] || { echo "there is no $f"; false; }
	done
}

@test "every command stands in the README's table" {
	local t
	for t in "$(top)"/cmd/*/; do
		grep -qE "^\|.*\`$(basename "$t")\`" "$(top)/README.md" || { echo "$t"; false; }
	done
}

@test "every fault point and every debug part stands in HACKING.md, and only those" {
	cd "$(top)"
	grep -rhoE '\bfault\("[^"]+"' lib cmd --include=*.c | cut -d'"' -f2 | sort -u >"$BATS_TEST_TMPDIR/there"
	grep -rhoE '\beach\(r, "[^"]+"' lib/cr --include=*.c | cut -d'"' -f2 | sort -u >>"$BATS_TEST_TMPDIR/there"
	grep -rhoE '\blog_debug\("[^"]+"' lib cmd --include=*.c | cut -d'"' -f2 | sed 's/^/part /' | sort -u >>"$BATS_TEST_TMPDIR/there"
	sed -n '/^### Fault points/,/^#/p' HACKING.md | sed -nE 's/^- `([^`]*)`.*/\1/p' >"$BATS_TEST_TMPDIR/said"
	sed -n '/^### Traces/,/^### Fault/p' HACKING.md | sed -nE 's/^- `([^`]*)`.*/part \1/p' >>"$BATS_TEST_TMPDIR/said"
	diff <(sort "$BATS_TEST_TMPDIR/there") <(sort "$BATS_TEST_TMPDIR/said")
}

@test "every folder of lib stands in HACKING.md's map, every file it names is there" {
	local d f
	cd "$(top)"
	for d in lib/*/ test/*/; do grep -q "^$d" HACKING.md || { echo "not in the map: $d"; false; }; done
	for f in $(grep -oE '`(lib|cmd|test|examples|man|bench)/[A-Za-z0-9_./-]*[a-z]`' HACKING.md README.md -h | tr -d '`' | grep -v NAME); do
		[ -e "$f" ] || { echo "not there: $f"; false; }
	done
}
