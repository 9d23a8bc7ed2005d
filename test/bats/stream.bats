#!/usr/bin/env bats
# Images through pipes: nothing on a disk in between, compressed on the way, cut off, slow; the job is never harmed.

bats_require_minimum_version 1.5.0
load helper
load ckpt

setup() { xos_setup; need_root; }

# BASH's pipelines with all descriptors of bats away
piped() { clean bash -c "set -o pipefail; $1" - "$JOB" "$JOB-b"; }

@test "checkpoint -k into restart: the job goes on elsewhere, no version is left here" {
	start
	piped 'xcheckpoint -q -k -o - "$1" | xrestart -d -q -i - "$1"' || {
		# the old supervisor may still hold the name
		echo "# status $?" >&2
		false
	}
	ends_right
	[ -z "$(versions)" ]
}

@test "ten times in a row" {
	start
	local i
	for i in 1 2 3 4 5 6 7 8 9 10; do
		piped 'xcheckpoint -q -k -o - "$1" | xrestart -d -q -i - "$1"'
		goes_on
	done
	ends_right
}

@test "compressed on the way" {
	local how
	start
	for how in gzip xz zstd lz4 bzip2; do
		command -v $how >/dev/null || continue
		piped "xcheckpoint -q -o - \"\$1\" | $how -c" >image.$how
	done
	clean xcheckpoint -q -k "$JOB"
	wait_until no_groups "$JOB"
	for how in gzip xz zstd lz4; do
		[ -s image.$how ] || continue
		run --separate-stderr clean xrestart -c -i image.$how
		status_is 0 || { echo "# $how" >&2; false; }
	done
	[ -z "$(find "$XOS_STATE_DIR" -maxdepth 1 -type f)" ]
	clean xrestart -d -q "$JOB"
	ends_right
}

@test "a slow reader does not lose anything" {
	start
	piped 'xcheckpoint -q -o - "$1" | while dd bs=20000 count=1 status=none of=part && [ -s part ]; do cat part; sleep 0.02; done' >slow.tar
	clean xrestart -c -i slow.tar -N
	goes_on
}

@test "a stream that is cut off: 6, nothing is made; a stream that was never one: 6" {
	start
	clean xcheckpoint -q -k -o whole.tar "$JOB"
	wait_until no_groups "$JOB"
	run --separate-stderr piped 'head -c 50000 whole.tar | xrestart -d -q -i - "$1"'
	status_is 6
	run --separate-stderr piped 'true | xrestart -d -q -i - "$1"'
	status_is 6
	run --separate-stderr piped 'gzip <whole.tar | head -c 5000 | xrestart -d -q -i - "$1"'
	status_is 6
	no_processes
	clean xrestart -d -q -i whole.tar "$JOB"
	ends_right
}

@test "the reader goes away, the disk of a file is full: the job goes on, -k ends nothing" {
	start
	run piped 'xcheckpoint -q -k -o - "$1" | head -c 1000 >/dev/null'
	[ "$status" -ne 0 ]
	goes_on
	mkdir small
	mount -t tmpfs -o size=64k xos-test small || skip "cannot mount"
	run --separate-stderr clean xcheckpoint -q -k -o small/image.tar "$JOB"
	umount small
	status_is 9
	goes_on
	run --separate-stderr clean xcheckpoint -q -k -o /dev/full "$JOB"
	status_is 9
	ends_right
}
