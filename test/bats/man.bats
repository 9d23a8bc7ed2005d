#!/usr/bin/env bats
# Option table, --help and man page of every tool agree; what all tools have in common is the same in all.
load helper

tools() { (cd "$XOS_BUILD/bin" && ls); }
page() { echo "$BATS_TEST_DIRNAME/../../man/$1.1"; }
wrong() { echo "$*" >>"$BATS_TEST_TMPDIR/wrong"; }
verdict()
{
	[ -n "$(tools)" ]
	[ ! -e "$BATS_TEST_TMPDIR/wrong" ] || { cat "$BATS_TEST_TMPDIR/wrong"; return 1; }
}

# The options of a page, as --help-options prints them: ".It Fl k , Fl -kill Ns Op = Ns Ar SIGNAL" is "-k --kill[=SIGNAL]"
page_options()
{
	awk '/^\.Sh / { on = /^\.Sh OPTIONS/ }
		on && /^\.It Fl/ {
			out = ""; close_ = ""
			for (i = 2; i <= NF; i++) {
				if ($i == "Fl") { out = out (out == "" ? "" : " ") "-" $(++i) }
				else if ($i == "Op") { out = out "["; close_ = "]" }
				else if ($i != "," && $i != "Ns" && $i != "Ar") out = out $i
			}
			print out close_
		}' "$1"
}

# The options that --help shows, in the same form: "  -k, --kill[=SIGNAL]  text"
help_options() { "$1" --help | sed -nE 's/^ {2,6}(-[A-Za-z], )?(--[a-z-]+[^ ]*).*/\1\2/p' | sed 's/^\(-.\), /\1 /'; }

@test "every tool has a man page, and every man page a tool" {
	local t p
	for t in $(tools); do [ -s "$(page "$t")" ] || wrong "no man page: $t"; done
	for p in "$BATS_TEST_DIRNAME"/../../man/*.1; do
		t=$(basename "$p" .1)
		[ -x "$XOS_BUILD/bin/$t" ] || wrong "a man page without tool: $t"
	done
	verdict
}

@test "man page and option table agree" {
	local t
	for t in $(tools); do
		[ -s "$(page "$t")" ] || continue
		diff <("$t" --help-options | sort) <(page_options "$(page "$t")" | sort) >diff.out || wrong "$t (< tool, > man page):
$(cat diff.out)"
	done
	verdict
}

@test "--help and option table agree" {
	local t
	for t in $(tools); do
		diff <("$t" --help-options) <(help_options "$t") >diff.out || wrong "$t (< table, > --help):
$(cat diff.out)"
	done
	verdict
}

@test "the options of SYNOPSIS in --help are all in the table, and the other way round" {
	local t o
	for t in $(tools); do
		"$t" --help | sed -n '/^Usage:/,/^[^ U]/p' | grep -E '^(Usage|  )' | grep -oE '(^|[[ |])-[A-Za-z]' | grep -oE '[A-Za-z]$' | sort -u >usage.out
		"$t" --help-options | grep -oE '^-[A-Za-z] ' | tr -d ' -' | grep -v '[qvhV]' | sort -u >table.out
		diff table.out usage.out >diff.out || wrong "$t (< table, > usage line):
$(cat diff.out)"
	done
	verdict
}

@test "every man page has the sections, in order, and its own name" {
	local t want
	want='NAME SYNOPSIS DESCRIPTION OPTIONS FILES EXIT STATUS EXAMPLES SEE ALSO'
	for t in $(tools); do
		[ -s "$(page "$t")" ] || continue
		[ "$(sed -n 's/^\.Sh //p' "$(page "$t")" | grep -vE '^(LIMITS|ENVIRONMENT)$' | tr '\n' ' ')" = "$want " ] || wrong "$t: sections"
		grep -qx "\.Nm $t" "$(page "$t")" || wrong "$t: .Nm"
		grep -qix "\.Dt $t 1" "$(page "$t")" || wrong "$t: .Dt"
	done
	verdict
}

@test "pages that SEE ALSO names exist" {
	local t n
	for t in $(tools); do
		for n in $(sed -n 's/^\.Xr \([^ ]*\) 1.*/\1/p' "$(page "$t")" 2>/dev/null); do
			case $n in sh | awk | tar) continue ;; esac
			[ -s "$(page "$n")" ] || wrong "$t: $n(1)"
		done
	done
	verdict
}

@test "mandoc finds no fault with the man pages" {
	need_command mandoc
	run mandoc -T lint -W warning "$BATS_TEST_DIRNAME"/../../man/*.1
	status_is 0
	[ -z "$output" ] || { echo "$output"; false; }
}

@test "--help goes to stdout, ends with 0, and fits a terminal" {
	local t
	for t in $(tools); do
		"$t" --help >out 2>err || wrong "$t --help: status $?"
		[ ! -s err ] || wrong "$t --help: stderr: $(cat err)"
		head -n 1 out | grep -q "^Usage: $t" || wrong "$t --help: first line: $(head -n 1 out)"
		[ "$(wc -l <out)" -le 26 ] || wrong "$t --help: $(wc -l <out) lines"
		awk 'length > 116 { exit 1 }' out || wrong "$t --help: a line of more than 116 columns"
		cmp -s out <("$t" -h) || wrong "$t -h is not --help"
	done
	verdict
}

@test "--version prints name and version, the same in all" {
	local t v
	v=$(sed -n 's/^VERSION := //p' "$BATS_TEST_DIRNAME/../../Makefile")
	for t in $(tools); do
		"$t" --version >out 2>err || wrong "$t --version: status $?"
		[ ! -s err ] || wrong "$t --version: stderr: $(cat err)"
		grep -q "^$t .*$v" out || wrong "$t --version: $(cat out)"
		cmp -s out <("$t" -V) || wrong "$t -V is not --version"
	done
	verdict
}

@test "an option that is not there: status 2, said on stderr, with the line that helps" {
	local t o s
	for t in $(tools); do
		for o in --no-such-option -@; do
			s=0
			"$t" $o x >out 2>err || s=$?
			[ $s -eq 2 ] || wrong "$t $o: status $s"
			[ ! -s out ] || wrong "$t $o: stdout: $(cat out)"
			head -n 1 err | grep -q "^$t: $o: " || wrong "$t $o: $(head -n 1 err)"
			[ "$(tail -n 1 err)" = "Try '$t --help'" ] || wrong "$t $o: $(tail -n 1 err)"
		done
	done
	verdict
}

@test "--help on a full device is a failure" {
	local t
	[ -c /dev/full ] || skip "no /dev/full"
	for t in $(tools); do
		if "$t" --help >/dev/full 2>err; then wrong "$t --help"; fi
		[ -s err ] || wrong "$t --help: nothing said"
	done
	verdict
}
