#!/usr/bin/env bats
# The clocks of a job on a machine that was booted later, or earlier: imitated by time namespaces around xrestart.

bats_require_minimum_version 1.5.0
load helper

setup()
{
	xos_setup
	need_root
	need_command unshare
	need_victim v_clocks
	unshare -T --monotonic 10 true 2>/dev/null || skip "no time namespaces here"
	JOB="t$$-$BATS_TEST_NUMBER"
}

there() { [ -e "$1" ] || [ -e "$2" ]; }

# round OFFSET COMMAND...: checkpointed, killed, restarted on a machine whose clocks differ by OFFSET seconds
round()
{
	local offset=$1
	shift
	"$@" xcheckpoint -q -k "$JOB" 3>&- 4>&-
	unshare -T --monotonic "$offset" --boottime "$offset" "$@" xrestart -q -d "$JOB" >/dev/null 3>&- 4>&-
	sleep 0.2
}

@test "clocks behind, ahead, and behind again: they never go back, timers keep what remained" {
	local offset
	xcgexec -d -j "$JOB" -o out -e err -- "$XOS_BUILD/victim/v_clocks" "$PWD/v" >/dev/null 3>&- 4>&-
	wait_until there v.ready v.fail
	for offset in -800 -100 50000 -900 0; do
		round $offset
	done
	touch v.go
	wait_until there v.ok v.fail
	[ ! -e v.fail ] || { cat v.fail >&2; return 1; }
}

@test "the same for an ordinary user" {
	need_user
	user_dir
	cp "$XOS_BUILD/victim/v_clocks" "$XOS_USER_DIR/bin/"
	run_as_user xcgexec -d -j "$JOB" -o out -e err -- "$XOS_USER_DIR/bin/v_clocks" "$XOS_USER_DIR/v" >/dev/null 3>&- 4>&-
	wait_until there "$XOS_USER_DIR/v.ready" "$XOS_USER_DIR/v.fail"
	run_as_user xcheckpoint -q -k "$JOB" 3>&- 4>&-
	unshare -T --monotonic -700 --boottime -700 setpriv --reuid=$XOS_TEST_UID --regid=$XOS_TEST_UID --clear-groups --inh-caps=-all \
		env HOME="$XOS_USER_DIR" XOS_STATE_DIR="$XOS_USER_DIR/state" XOS_PAM_CONF="$XOS_USER_DIR/pam_xos.conf" PATH="$XOS_USER_DIR/bin:$PATH" \
		sh -c "cd '$XOS_USER_DIR' && exec xrestart -q -d '$JOB'" >/dev/null 3>&- 4>&-
	sleep 0.2
	run_as_user touch "$XOS_USER_DIR/v.go"
	wait_until there "$XOS_USER_DIR/v.ok" "$XOS_USER_DIR/v.fail"
	[ ! -e "$XOS_USER_DIR/v.fail" ] || { cat "$XOS_USER_DIR/v.fail" >&2; return 1; }
}
