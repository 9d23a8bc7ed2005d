#!/usr/bin/env bats
# xos on an older stock kernel and a machine with control groups of version 2 alone: Debian 12's own kernel in qemu, emulated
# (no KVM is needed), with an initial file system made from this machine's programs. test/qemu has the parts; what runs
# inside are the project's own tests and test/qemu/inside.bats. Two machines: one with all that qemu can emulate, one whose
# CPU knows neither AVX nor XSAVE.
#
# Slow (ten minutes or more): only with XOS_TEST_LONG=1 or XOS_TEST_QEMU=1; with XOS_TEST_INSTALL=1 it installs qemu and cpio.
# By hand: XOS_TEST_QEMU=1 bats test/bats/kernel.bats (under test/run also XOS_TEST_TIMEOUT=3600).
#   XOS_QEMU_KERNEL=FILE   a kernel of your own        XOS_QEMU_DIR=DIR   where kernel and results are kept

bats_require_minimum_version 1.5.0
load helper

NEW="qemu:inside unit:tracee unit:tracee_hard unit:procstate unit:fdkinds victims:root victims:user bats:xcgkill bats:xcgfreeze bats:descriptors bats:xcgexec bats:cgroup_nested"
OLD="unit:tracee unit:procstate victims:root victims:user"

setup_file()
{
	export XOS_QEMU_DIR=${XOS_QEMU_DIR:-$XOS_BUILD/qemu}
	QEMU=$BATS_TEST_DIRNAME/../qemu
	why_not >"$BATS_FILE_TMPDIR/skip" 2>&1 3>&- || return 0
	rm "$BATS_FILE_TMPDIR/skip"
	machine new max 1800 $NEW
	machine old qemu64 900 $OLD
	rm -f "$XOS_QEMU_DIR/initramfs"
}

# machine DIR CPU SECONDS GROUP...: what went wrong is in DIR/error
machine()
{
	local dir=$XOS_QEMU_DIR/$1 cpu=$2 limit=$3
	shift 3
	rm -rf "$dir"
	"$QEMU/boot" -c "$cpu" -t "$limit" -k "$KERNEL" -i "$XOS_QEMU_DIR/initramfs" -o "$dir" "$@" 2>"$dir.error" 3>&- || :
}

# Prints the reason and fails when this cannot run here.
why_not()
{
	[ -n "$XOS_TEST_LONG$XOS_TEST_QEMU" ] || { echo "slow: XOS_TEST_QEMU=1 runs it"; return 1; }
	[ "$(uname -m)" = x86_64 ] || { echo "needs x86_64"; return 1; }
	mkdir -p "$XOS_QEMU_DIR"
	if [ -n "$XOS_TEST_INSTALL" ] && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
		local want=
		command -v qemu-system-x86_64 >/dev/null || want="$want qemu-system-x86"
		command -v cpio >/dev/null || want="$want cpio"
		[ -z "$want" ] || timeout 600 env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $want \
			</dev/null >"$XOS_QEMU_DIR/apt.log" 2>&1 || { echo "cannot install$want: $(tail -n 1 "$XOS_QEMU_DIR/apt.log")"; return 1; }
	fi
	command -v qemu-system-x86_64 >/dev/null || { echo "needs qemu-system-x86_64"; return 1; }
	command -v cpio >/dev/null || { echo "needs cpio"; return 1; }
	KERNEL=$("$QEMU/kernel" "$XOS_QEMU_DIR") || return 1
	"$QEMU/initramfs" "$XOS_QEMU_DIR/initramfs" || { echo "cannot make the initial file system"; return 1; }
}

# group MACHINE GROUP: the results of that group in that machine are this test's
group()
{
	local dir=$XOS_QEMU_DIR/$1 lines
	[ ! -e "$BATS_FILE_TMPDIR/skip" ] || skip "$(tail -n 1 "$BATS_FILE_TMPDIR/skip")"
	lines=$(awk -v g="$2" '$0 == "# group " g { on = 1 } on { print } index($0, "# group " g " ended:") == 1 { exit }' "$dir/tap")
	echo "$lines" | grep -v '^ok' >&2 || :
	[[ "$lines" == *"# group $2 ended: 0 after "* ]] || { cat "$dir.error" >&2; return 1; }
	grep -q '^ok' <<<"$lines"
	! grep -q '^not ok' <<<"$lines"
}

@test "6.1, cgroup v2: limits, usage, freezing, killing, a python job as root and as a user" { group new qemu:inside; }
@test "6.1: remote control of processes" { group new unit:tracee; }
@test "6.1: remote control under hard conditions" { group new unit:tracee_hard; }
@test "6.1: process state" { group new unit:procstate; }
@test "6.1: kinds of descriptors" { group new unit:fdkinds; }
@test "6.1: all victims" { group new victims:root; }
@test "6.1: all victims as an ordinary user" { group new victims:user; }
@test "6.1, cgroup v2: xcgkill" { group new bats:xcgkill; }
@test "6.1, cgroup v2: xcgfreeze" { group new bats:xcgfreeze; }
@test "6.1: descriptors between checkpoint and restart" { group new bats:descriptors; }
@test "6.1, cgroup v2: xcgexec" { group new bats:xcgexec; }
@test "6.1, cgroup v2: control groups below the job's" { group new bats:cgroup_nested; }
@test "6.1, CPU without XSAVE: remote control of processes" { group old unit:tracee; }
@test "6.1, CPU without XSAVE: process state" { group old unit:procstate; }
@test "6.1, CPU without XSAVE: all victims" { group old victims:root; }
@test "6.1, CPU without XSAVE: all victims as an ordinary user" { group old victims:user; }
