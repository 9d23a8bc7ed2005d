#!/usr/bin/env bats
# Who may restart what, and with which rights; and all of it without any privilege.

bats_require_minimum_version 1.5.0
load helper
load ckpt

setup()
{
	xos_setup
	need_user
	U=$XOS_TEST_UID
}

# A job of the ordinary user, checkpointed into $XOS_USER_DIR/state; FILES: what it has open besides
users_image()
{
	clean_user xcgexec -d -q -j "$JOB" -o "$XOS_USER_DIR/out" -- sh -c "$COUNTER" "$XOS_USER_DIR/job"
	wait_until grep -qx 3 "$XOS_USER_DIR/out"
	clean_user xcheckpoint -q -k "$JOB"
	IMAGE=$XOS_USER_DIR/state/checkpoints/$JOB/1.tar
	[ "$(stat -c '%a %u' "$IMAGE")" = "600 $U" ]
	PID=$(forge "$IMAGE" global | sed -n 's/.* PID="\([0-9]*\)".*MAIN.*/\1/p')
	wait_until gone_for_user
}

gone_for_user() { ! pgrep -u $U -f "$XOS_USER_DIR/job" >/dev/null; }

# known_user: from here on the user is one of /etc/passwd, whose own group root believes an image
known_user()
{
	getent passwd 1 >/dev/null || skip "no user 1"
	rm -rf "$XOS_USER_DIR"
	XOS_USER_DIR= XOS_TEST_UID=1 U=1
	need_user
}

# good_image: root restarts the image as it is, so that what refuses a forged one is the forgery
good_image()
{
	clean xrestart -d -q -i "$IMAGE" "$JOB"
	clean xcgkill -q "$JOB"
	wait_until gone_for_user
}

# users_forgery MEMBER SED: forged.tar, owned by him
users_forgery()
{
	edit "$IMAGE" forged.tar "$1" "$2" && chown $U:$U forged.tar && chmod 600 forged.tar
}

@test "an ordinary user: ten checkpoints and restarts, the same PIDs, his own ids" {
	local i pid
	clean_user xcgexec -d -q -j "$JOB" -o "$XOS_USER_DIR/out" -- \
		sh -c 'echo $$ >pid; i=0; while [ ! -e stop ]; do i=$((i + 1)); echo $i; sleep 0.01; done; sh -c "echo \$PPID; id -u; id -g" >after'
	wait_until grep -qx 3 "$XOS_USER_DIR/out"
	pid=$(cat "$XOS_USER_DIR/pid")
	for i in 1 2 3 4 5 6 7 8 9 10; do
		clean_user xcheckpoint -q -k "$JOB"
		clean_user xrestart -d -q "$JOB"
		local n=$(wc -l <"$XOS_USER_DIR/out")
		wait_until grep -qx $((n + 3)) "$XOS_USER_DIR/out"
	done
	touch "$XOS_USER_DIR/stop"
	wait_until [ -s "$XOS_USER_DIR/after" ]
	sleep 0.2
	[ "$(xargs <"$XOS_USER_DIR/after")" = "$pid $U $U" ]
	whole "$XOS_USER_DIR/out"
}

@test "CAP_CHECKPOINT_RESTORE: in the host's own PID namespace, same PIDs" {
	local as pid
	setpriv --list-caps | grep -qw checkpoint_restore || skip "setpriv does not know checkpoint_restore"
	users_image
	as="setpriv --reuid=$U --regid=$U --clear-groups --inh-caps=-all,+checkpoint_restore --ambient-caps=-all,+checkpoint_restore"
	(cd "$XOS_USER_DIR" && XOS_PAM_CONF=$XOS_USER_DIR/none HOME=$XOS_USER_DIR XOS_STATE_DIR=$XOS_USER_DIR/state clean $as "$XOS_USER_DIR/bin/xrestart" -d -q "$JOB")
	[ "$(readlink /proc/"$PID"/ns/pid)" = "$(readlink /proc/self/ns/pid)" ]
	[ "$(stat -c %u /proc/"$PID")" = $U ]
	touch "$XOS_USER_DIR/job.stop"
	wait_until grep -qx end "$XOS_USER_DIR/out"
	whole "$XOS_USER_DIR/out"
}

@test "root restarts a user's image as that user" {
	known_user
	users_image
	clean xrestart -d -q -i "$IMAGE" "$JOB"
	[ "$(awk '/^Uid:/ { print $2, $3, $4, $5 }' /proc/"$PID"/status)" = "$U $U $U $U" ]
	grep -q '^CapEff:.0000000000000000$' /proc/"$PID"/status
	touch "$XOS_USER_DIR/job.stop"
	wait_until grep -qx end "$XOS_USER_DIR/out"
}

@test "an image that others can write: 8 for root, --trust takes it" {
	start
	clean xcheckpoint -q -k "$JOB"
	wait_until no_groups "$JOB"
	local mode
	for mode in 620 602 666; do
		chmod $mode "$(image 1)"
		run --separate-stderr clean xrestart -d "$JOB"
		status_is 8
		[[ "$stderr" == *"can be written by others (mode 0$mode)"* && "$stderr" == *"--trust"* ]]
		no_processes
	done
	clean xrestart -d -q --trust "$JOB"
	ends_right
}

@test "an image that belongs to somebody else than its job: 8 for root, --trust takes it" {
	start
	clean xcheckpoint -q -k "$JOB"
	wait_until no_groups "$JOB"
	chown 4243 "$(image 1)"
	run --separate-stderr clean xrestart -d "$JOB"
	status_is 8
	[[ "$stderr" == *"belongs to uid 4243, its job to uid 0"* ]]
	no_processes
	clean xrestart -d -q --trust "$JOB"
	ends_right
}

@test "a forged owner in the description does not help" {
	users_image
	users_forgery description.txt 's/^UID=.*/UID="0"/'
	run --separate-stderr clean xrestart -d -i forged.tar
	status_is 8
	gone_for_user
}

@test "credentials beyond its owner's: 8, for root and for himself" {
	known_user
	users_image
	good_image
	local t=task_$PID how
	for how in "s/ UID=\"$U\"/ UID=\"0\"/" "s/EUID=\"$U\"/EUID=\"0\"/" "s/SUID=\"$U\"/SUID=\"0\"/" "s/FSUID=\"$U\"/FSUID=\"0\"/" \
		"s/ GID=\"$U\"/ GID=\"0\"/" "s/EGID=\"$U\"/EGID=\"0\"/" 's/GROUPS="[^"]*"/GROUPS="0"/' 's/CAPPRM="0x0"/CAPPRM="0x1fffeffffff"/' \
		's/CAPEFF="0x0"/CAPEFF="0x200000"/' 's/CAPINH="0x0"/CAPINH="0x80"/' 's/CAPAMB="0x0"/CAPAMB="0x80"/' \
		's/SECUREBITS="0x0"/SECUREBITS="0x2f"/' 's/(TYPE="oom_score_adj" VALUE=)"[^"]*"/\1"-1000"/' 's/ NICE="0"/ NICE="-20"/' \
		's/(TYPE="fs" CWD="[^"]*")/\1 ROOT="\/tmp"/'; do
		users_forgery "$t" "$how" || { echo "# nothing changed: $how" >&2; false; }
		run --separate-stderr clean xrestart -d -i forged.tar
		status_is 8 || { echo "# $how" >&2; false; }
		gone_for_user
		# In a namespace of his own capabilities are no privilege: there the ids count.
		[[ "$how" == *ID=* ]] || continue
		cp -p forged.tar "$XOS_USER_DIR/forged.tar"
		run --separate-stderr clean_user xrestart -d -i forged.tar
		[ "$status" -ne 0 ] || { echo "# he got it himself: $how" >&2; false; }
		gone_for_user
	done
}

@test "files that its owner may not open are not opened for him by root, nor cut, nor directories entered" {
	known_user
	users_image
	good_image
	local t=task_$PID f
	for f in data exe; do echo "root's own, a few bytes that must stay" >"secret.$f"; chmod 600 "secret.$f"; done
	mkdir -m 700 closed
	mkdir -m 755 closed/inner
	chmod 755 .
	users_forgery files 's#PATH="[^"]*/out"#PATH="'"$PWD"'/secret.data"#; s/SIZE="[0-9]*"/SIZE="3"/; s/POS="[0-9]*"/POS="0"/'
	run --separate-stderr clean xrestart -d -i forged.tar
	status_is 8
	[ "$(wc -c <secret.data)" -gt 30 ]
	users_forgery files 's#PATH="[^"]*/out" MODE="[^"]*"#PATH="'"$PWD"'/secret.data" MODE="0x8180"#; s/FLAGS="0x[0-9a-f]*"/FLAGS="0x8000"/; s/SIZE="[0-9]*"/SIZE="3"/'
	run --separate-stderr clean xrestart -d -i forged.tar
	status_is 8
	users_forgery maps '0,/PATH=/s#PATH="[^"]*"#PATH="'"$PWD"'/secret.exe"#'
	run --separate-stderr clean xrestart --accept-changed -d -i forged.tar
	status_is 8
	for f in closed/inner closed; do
		users_forgery "$t" 's#CWD="[^"]*"#CWD="'"$PWD/$f"'"#'
		run --separate-stderr clean xrestart -d -i forged.tar
		status_is 8
	done
	users_forgery files 's#(TYPE="reg" .*)$#\1 GHOST="2" UID="0" GID="0"#; s/MODE="0x[0-9a-f]*"/MODE="0x89ed"/; s/SIZE="[0-9]*"/SIZE="0"/'
	: >nothing
	forge forged.tar forged2.tar -r ghost_2 nothing
	chown $U:$U forged2.tar
	# A nameless file comes back as his own: one of root's with the setuid bit would be a way to root.
	run --separate-stderr clean xrestart -d -i forged2.tar "$JOB"
	status_is 0
	[ "$(stat -L -c %u /proc/"$PID"/fd/1)" = "$U" ]
	clean xcgkill -q "$JOB"
	wait_until gone_for_user
}

@test "a user cannot restart what he cannot read" {
	start
	clean xcheckpoint -q "$JOB"
	run --separate-stderr clean_user xrestart -d --state-dir "$XOS_STATE_DIR" "$JOB"
	status_is 8
	run --separate-stderr clean_user xrestart -d -i "$(image 1)"
	status_is 8
	goes_on
}

# With a user whose ids root's restart accepts, so that it is the file that is refused.
@test "root opens neither files nor system settings for a user that this user could not" {
	known_user
	[ -e /proc/sys/vm/swappiness ] || skip "no /proc/sys"
	users_image
	echo "root's own" >secret
	chmod 600 secret
	chmod 755 .
	local f
	for f in "$PWD/secret" /proc/sys/vm/swappiness; do
		users_forgery files 's#PATH="[^"]*/out"#PATH="'"$f"'"#; s/SIZE="[0-9]*"/SIZE="0"/; s/POS="[0-9]*"/POS="0"/'
		run --separate-stderr clean xrestart -d -i forged.tar
		status_is 8
		[[ $stderr == *"cannot open $f again: Permission denied"* ]]
		gone_for_user
	done
	[ -s secret ]
}
