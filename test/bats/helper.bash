# Loaded by every .bats file. Each test has a state directory of its own in $BATS_TEST_TMPDIR;
# what it started is killed by job afterwards, and its groups are gone then.
#
#   XOS_BUILD       directory with bin/ and victim/ (default: build of this tree)
#   JOB             a job id that no other test uses at the same time
#   run_as_user CMD the command as an ordinary user (uid 4242, no capability, no group) with a state directory of his own,
#                   $XOS_USER_DIR/state; after need_user
#   run_delegated   the same from a leaf of a v2 group that is delegated to him; after need_user and delegate
#   wait_until CMD  up to 10 s (XOS_WAIT=N: N s) until the command succeeds
#   background CMD  in the background, with stdio and bats' fd 3 away from it; its pid in $!
#   status_is N     after `run`: like [ "$status" -eq N ], but shows the output when not
#   field JOB KEY   of the job's record;  in_job JOB: its living members' pids
#   need_root, need_user, need_cgroup [CONTROLLER], need_v2, need_command CMD, need_victim NAME: skip with the reason

bats_require_minimum_version 1.5.0

XOS_BUILD=${XOS_BUILD:-$(cd "$BATS_TEST_DIRNAME" && while [ ! -e Makefile ] && [ "$PWD" != / ]; do cd ..; done; echo "$PWD/build")}
export XOS_BUILD PATH="$XOS_BUILD/bin:$PATH"
XOS_TEST_UID=4242
# Of an ASan build: the tracer of its leak check is a child of the supervisor, and xcgkill ends it as one of a tree job.
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=0}

setup() { xos_setup; }
teardown() { xos_teardown; }

xos_setup()
{
	export XOS_STATE_DIR="$BATS_TEST_TMPDIR/state"
	export XOS_PAM_CONF="$BATS_TEST_TMPDIR/pam_xos.conf"
	unset XOS_JOBID XOS_JOB_MARK XOS_JOB_TMP XOS_FAULT XOS_DEBUG
	JOB="t$$-$BATS_TEST_NUMBER"
	XOS_USER_DIR= XOS_DELEGATED= XOS_BACKGROUND=
	cd "$BATS_TEST_TMPDIR" || return 1
}

# Ends all jobs of a state directory; also those whose supervisor the test killed.
xos_end_jobs()
{
	local dir=$1 id
	for id in $(ls "$dir/jobs" 2>/dev/null); do
		timeout 30 xcgkill --state-dir "$dir" -q "$id" >/dev/null 2>&1 || :
	done
}

# System V objects outlive their makers: those of victims that are no more go (test/victim/ipckey.h).
xos_ipc_away()
{
	local kind key id
	for kind in m s q; do
		ipcs -$kind 2>/dev/null | while read -r key id _; do
			[[ $key =~ ^0x5[89a-f]([0-9a-f]{6})$ ]] && ! alive $((16#${BASH_REMATCH[1]})) && ipcrm -$kind "$id" 2>/dev/null
		done
	done
	return 0
}

xos_teardown()
{
	local pid
	xos_end_jobs "$XOS_STATE_DIR"
	if [ -n "$XOS_USER_DIR" ]; then
		xos_end_jobs "$XOS_USER_DIR/state"
		xos_user_groups_away
		rm -rf "$XOS_USER_DIR"
	fi
	for pid in $XOS_BACKGROUND; do
		kill -9 "$pid" 2>/dev/null || :
		wait "$pid" 2>/dev/null || :
	done
	xos_ipc_away
	cd /
}

# ---- waiting, looking ----

wait_until()
{
	local n=$((${XOS_WAIT:-10} * 50))
	while [ $n -gt 0 ]; do
		if "$@" >/dev/null 2>&1; then return 0; fi
		sleep 0.02
		n=$((n - 1))
	done
	echo "# not within ${XOS_WAIT:-10} s: $*" >&2
	return 1
}

background()
{
	"$@" </dev/null >/dev/null 2>&1 3>&- &
	XOS_BACKGROUND="$XOS_BACKGROUND $!"
}

status_is()
{
	[ "$status" -eq "$1" ] && return 0
	echo "# status $status instead of $1: $output ${stderr:-}" >&2
	return 1
}

# Values in tests are plain; the record's escapes are not undone.
field() { sed -n "s/^$2=\"\(.*\)\"\$/\1/p" "${3:-$XOS_STATE_DIR}/jobs/$1/job"; }
field_is() { [ "$(field "$1" "$2")" = "$3" ]; }
state_of() { xps -n -j "$1" -o STATE | tr -d ' '; }
state_is() { [ "$(state_of "$1")" = "$2" ]; }

# A zombie that PID 1 did not reap is no living process.
alive() { [ -e "/proc/$1" ] && ! grep -q '^State:[[:space:]]*[ZX]' "/proc/$1/status" 2>/dev/null; }
gone() { ! alive "$1"; }

groups_of() { ls -d /sys/fs/cgroup/xos/"$1" /sys/fs/cgroup/*/xos/"$1" 2>/dev/null; }
no_groups() { [ -z "$(groups_of "$1")" ]; }
in_job() { local f; for f in $(groups_of "$1"); do cat "$f/cgroup.procs"; done | sort -un; }
supervisor_of() { field "$1" SUPERVISOR; }

# ---- an ordinary user ----

user_dir()
{
	[ -n "$XOS_USER_DIR" ] && return 0
	XOS_USER_DIR=$(mktemp -d /tmp/xos-user.XXXXXX)
	mkdir "$XOS_USER_DIR/bin" "$XOS_USER_DIR/state"
	cp "$XOS_BUILD"/bin/* "$XOS_USER_DIR/bin/" # the build may lie where he cannot go
	chown -R $XOS_TEST_UID:$XOS_TEST_UID "$XOS_USER_DIR"
	chmod 755 "$XOS_USER_DIR"
}

run_as_user()
{
	(cd "$XOS_USER_DIR" && exec setpriv --reuid=$XOS_TEST_UID --regid=$XOS_TEST_UID --clear-groups \
		--inh-caps=-all env HOME="$XOS_USER_DIR" XOS_STATE_DIR="$XOS_USER_DIR/state" \
		XOS_PAM_CONF="$XOS_USER_DIR/pam_xos.conf" \
		PATH="$XOS_USER_DIR/bin:$PATH" "$@")
}

# A delegated v2 group of that user, with a leaf for his shell.
delegate()
{
	XOS_DELEGATED=$(v2_mount)/xostest-$$-$BATS_TEST_NUMBER
	mkdir "$XOS_DELEGATED" "$XOS_DELEGATED/leaf"
	chown $XOS_TEST_UID "$XOS_DELEGATED" "$XOS_DELEGATED"/cgroup.{procs,subtree_control} \
		"$XOS_DELEGATED/leaf" "$XOS_DELEGATED/leaf/cgroup.procs"
}

run_delegated()
{
	run_as_user_from "$XOS_DELEGATED/${XOS_LEAF-leaf}" "$@"
}

run_as_user_from()
{
	local group=$1
	shift
	(echo $BASHPID >"$group/cgroup.procs" && run_as_user "$@")
}

xos_user_groups_away()
{
	[ -n "$XOS_DELEGATED" ] || return 0
	local n=0
	while [ -d "$XOS_DELEGATED" ] && [ $n -lt 100 ]; do
		find "$XOS_DELEGATED" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.05
		n=$((n + 1))
	done
}

# ---- skipping ----

need_root() { [ "$(id -u)" -eq 0 ] || skip "needs root"; }
# also sets up his directory, which `run run_as_user ...` alone would do in a subshell only
need_user() { need_root; command -v setpriv >/dev/null || skip "needs setpriv"; user_dir; }
need_command() { command -v "$1" >/dev/null || skip "needs $1"; }
need_victim() { [ -x "$XOS_BUILD/victim/$1" ] || skip "no victim $1"; }
v2_mount() { awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts; }
need_v2() { need_root; [ -n "$(v2_mount)" ] || skip "no cgroup v2 mount"; }

# need_cgroup: some group can be made; need_cgroup memory: with that controller, v1 or v2
need_cgroup()
{
	need_root
	[ -n "$(v2_mount)" ] || grep -q ' cgroup .*freezer' /proc/mounts || skip "no control groups"
	[ $# -eq 0 ] && return 0
	awk -v c="$1" '$3 == "cgroup" && $4 ~ "(^|,)" c "(,|$)" { f = 1 } END { exit !f }' /proc/mounts && return 0
	local c=$1
	[ "$c" = blkio ] && c=io
	grep -qw "$c" "$(v2_mount)/cgroup.controllers" 2>/dev/null || skip "no $1 controller"
}
