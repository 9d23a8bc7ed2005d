#!/usr/bin/env bats
# xprofile: what this node offers, what an image needs; and that xrestart compares the two.

load helper

value() { sed -n "s/^$1=\"\(.*\)\"\$/\1/p"; }

# A job checkpointed once: its image is $IMAGE
checkpointed()
{
	need_root
	xcgexec -d -j "$JOB" -o /dev/null -e /dev/null -- sleep 1000 3>&- >/dev/null
	xcheckpoint -k -q "$JOB"
	IMAGE=$XOS_STATE_DIR/checkpoints/$JOB/1.tar
	[ -e "$IMAGE" ]
}

@test "of this node: every line is a shell assignment, and true" {
	xprofile >out
	! grep -Ev '^[A-Z_]+="[^"]*"$' out
	eval "$(cat out)"
	[ "$ARCH" = "$(uname -m)" ]
	[ "$KERNEL" = "$(uname -r)" ]
	[ "$PAGE_SIZE" = "$(getconf PAGE_SIZE)" ]
	[ "$CPU_VENDOR" = "$(sed -n 's/^vendor_id[[:space:]]*: //p' /proc/cpuinfo | head -n 1)" ]
	for flag in $CPU_FLAGS; do
		grep -qw "$flag" /proc/cpuinfo
	done
	[[ " $CPU_FLAGS " = *" sse2 "* ]]
	# the kernel's own affairs are no property of a job
	[[ " $CPU_FLAGS " != *" smep "* && " $CPU_FLAGS " != *" constant_tsc "* ]]
	[ $((XSAVE_MASK & 3)) -eq 3 ]
	[ "$XSAVE_SIZE" -ge 576 ]
	[ "$MEMORY" -gt 0 ]
	[ "$(xprofile)" = "$(cat out)" ]
}

@test "of an image: by job, by version, by file, through a pipe" {
	checkpointed
	xprofile >node
	xprofile "$JOB" | diff - node
	xprofile "$JOB" 1 | diff - node
	xprofile -i "$IMAGE" | diff - node
	xprofile -i - <"$IMAGE" | diff - node
	cat "$IMAGE" | xprofile -i - | diff - node
	tar -xOf "$IMAGE" profile | diff - node
}

@test "no such job, version, file; no image; usage" {
	run xprofile nosuch
	status_is 3
	run xprofile -i /nonexistent
	status_is 3
	head -c 10000 /dev/urandom >junk
	run xprofile -i junk
	status_is 6
	run xprofile 'no/id'
	status_is 2
	run xprofile x 0
	status_is 2
	run xprofile x 1 2
	status_is 2
	run xprofile -i junk x
	status_is 2
	run xprofile --nosuch
	status_is 2
	[[ "$output" = *"Try 'xprofile --help'"* ]]
}

@test "no version of that number" {
	checkpointed
	run xprofile "$JOB" 7
	status_is 3
}

@test "output that cannot be written is a failure" {
	[ -w /dev/full ] || skip "no /dev/full"
	run sh -c 'xprofile >/dev/full'
	status_is 9
}

@test "an ordinary user sees the same" {
	need_user
	run_as_user xprofile >user
	xprofile | diff - user
}
