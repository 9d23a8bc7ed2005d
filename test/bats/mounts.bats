#!/usr/bin/env bats
# What can be mounted in a mount namespace of the job: each test builds it in a shell, which compares its mounts and files after two checkpoints with kill and
# restart. As root and, where the kernel lets him, as an ordinary user in a user namespace. And what must not happen: refused by name, nothing left behind.

load helper
load ckpt

# The shell: `build` and `check` come from the test. Mounts are told without numbers: peers and file systems get the same ones each time.
frame()
{
	cat <<-'END'
		set -E
		trap 'echo "line $LINENO: $BASH_COMMAND" >"$AT/fail"; exit 1' ERR
		look() {
			# an ordinary user's restart has a proc of its own on top of the machine's; network namespaces come and go
			awk '($5 == "/proc" && $4 == "/") || $5 ~ "^/run/netns/" { next } { n = split($0, w, " "); m = w[5] " " w[4] " " w[6]; for (i = 7; w[i] != "-"; i++) m = m " " w[i]
				print m " dev:" w[3] " id:" w[1] " on:" w[2] " " w[i + 1] " " w[i + 2] " " w[i + 3] }' "${1:-/proc/self/mountinfo}" | sort |
			awk 'function num(what, v) { if (!((what, v) in seen)) seen[what, v] = ++n[what]; return seen[what, v] }
				{ for (i = 1; i <= NF; i++) if ($i ~ /^(shared|master|dev|id|on|propagate_from):/) { split($i, p, ":"); v = substr($i, length(p[1]) + 2)
				  k = p[1] ~ /shared|master|prop/ ? "peer" : p[1] == "dev" ? "dev" : "id"; if (k != "dev" || v ~ /^0:/) $i = p[1] ":" num(k, v) } print }'
		}
		files() { (cd "$1" && find . -printf '%p %y %m %U %G %n %s %T@ %l\n' | sort); }
		await() { until [ -e "$AT/go" ]; do sleep 0.02; done; }
		build
		look >"$AT/before"
		: >"$AT/ready"
		await
		look >"$AT/after"
		cmp "$AT/before" "$AT/after"
		check
		: >"$AT/ok"
	END
}

as() { clean "${AS[@]}" "$@" </dev/null; }
clean()
{
	(
		for fd in /proc/$BASHPID/fd/*; do
			[ "${fd##*/}" -le 2 ] || eval "exec ${fd##*/}>&-" 2>/dev/null
		done
		"$@"
	)
}
# What a restart could have left: others mount, too
mounted()
{
	awk -v at="$AT" 'index($5, at) == 1 || $5 ~ "^/((tmp|run|mnt|dev|usr|etc|proc|sys)$|old|new|sb)" || / xos / || $5 == "/"' "/proc/${HOLDER:-self}/mountinfo" | sort
}
there() { local f; for f in "$@"; do [ -e "$f" ] && return 0; done; return 1; }

# start COMMAND...: the script on stdin runs as a job by that; 0 when it is ready
start()
{
	{ echo "AT=$AT"; cat; frame; } >"$AT/script"
	as xcgexec -d -j "$JOB" -o "$AT/out" -e "$AT/err" -- "$@" bash "$AT/script" >/dev/null
	wait_until there "$AT/ready" "$AT/fail"
	[ ! -e "$AT/fail" ] || { echo "# cannot build it: $(cat "$AT/fail" "$AT/err")" >&2; return 1; }
}

# lasts COMMAND...: start, then twice checkpointed, killed and restarted; and checked
lasts()
{
	local i
	machine=$(mounted)
	start "$@"
	as xcheckpoint -q "$JOB"
	for i in 1 2; do
		as xcheckpoint -k -q "$JOB"
		as xrestart -d -q "$JOB" >/dev/null
	done
	as touch "$AT/go"
	wait_until there "$AT/ok" "$AT/fail"
	[ ! -e "$AT/fail" ] || { diff "$AT/before" "$AT/after"; echo "# $(cat "$AT/fail" "$AT/err")"; return 1; } >&2
	[ "$(mounted)" = "$machine" ]
}

# refused TEXT COMMAND...: it is, and goes on
refused()
{
	local text=$1
	shift
	start "$@"
	run as xcheckpoint "$JOB"
	status_is 5
	[[ $output == *"$text"* ]] || { echo "# $output" >&2; return 1; }
	as touch "$AT/go"
	wait_until there "$AT/ok" "$AT/fail"
	[ -e "$AT/ok" ]
}

setup()
{
	xos_setup
	AS=() AT=$BATS_TEST_TMPDIR OWN=(unshare -m)
	if [[ $BATS_TEST_DESCRIPTION == "ordinary user:"* ]]; then
		need_user
		user_dir
		AS=(run_as_user) AT=$XOS_USER_DIR/at OWN=(unshare -Urm)
		as mkdir "$AT"
	else
		need_root
	fi
	as "${OWN[@]}" true 2>/dev/null || skip "no mount namespaces here"
}

overlay='
	build() {
		mkdir "$AT/m"; mount -t tmpfs layers "$AT/m"; cd "$AT/m"
		mkdir low low2 up work all
		for i in 1 2 3 4 5 6; do echo "low $i" >low/f$i; done
		mkdir low/dir low/gone low2/deep; echo x >low/dir/x; echo y >low/gone/y; echo deep >low2/deep/d; echo hidden >low2/f1
		mount -t overlay name -o lowerdir=$PWD/low:$PWD/low2,upperdir=$PWD/up,workdir=$PWD/work$MORE $PWD/all
		cd all
		echo changed >f1; rm f2; echo more >>f3; mv f4 f4b; rm -r dir gone; mkdir dir; echo new >dir/new
		chmod 600 f5
		exec 5<>f3 6<f6; read -r line <&5
		files . >"$AT/files"
	}
	check() {
		files . >"$AT/files.now"
		sed "s/ [0-9.]* \([^ ]*\)$/ \1/; s/ [0-9.]* $/ /" "$AT/files" >"$AT/f1"; sed "s/ [0-9.]* \([^ ]*\)$/ \1/; s/ [0-9.]* $/ /" "$AT/files.now" >"$AT/f2"
		diff "$AT/f1" "$AT/f2"
		[ "$(cat f1 f3 f4b f6 dir/new deep/d)" = "$(printf "changed\nlow 3\nmore\nlow 4\nlow 6\nnew\ndeep")" ]
		[ ! -e f2 ] && [ ! -e dir/x ] && [ ! -e gone ] && [ "$(cat ../low/f2)" = "low 2" ]
		read -r line <&5; [ "$line" = more ]; echo last >&5; [ "$(tail -n 1 f3)" = last ]
		read -r line <&6; [ "$line" = "low 6" ]
		echo again >f6; [ "$(cat ../low/f6)" = "low 6" ] && [ "$(cat ../up/f6)" = again ]
		mkdir gone; [ -z "$(ls gone)" ]
	}'

@test "an overlay whose layers are in a tmpfs of the namespace: whiteouts, opaque directories, open files" { lasts "${OWN[@]}" <<<"MORE=;$overlay"; }
@test "ordinary user: an overlay whose layers are in a tmpfs of the namespace" { lasts "${OWN[@]}" <<<"MORE=,userxattr;$overlay"; }

@test "an overlay whose layers are on the machine" {
	# not on an overlay, as /tmp may be
	lasts "${OWN[@]}" <<<"MORE=; ${overlay/mount -t tmpfs layers/: }"
}

propagation='
	build() {
		mkdir "$AT/m"; mount -t tmpfs m "$AT/m"; cd "$AT/m"
		mkdir shared peer slave both below private un
		mount -t tmpfs one shared; mount --make-shared shared; mkdir shared/x
		mount --bind shared peer
		mount --bind shared slave; mount --make-slave slave
		mount --bind slave both; mount --make-shared both
		mount --bind both below; mount --make-slave below
		mount --bind shared private; mount --make-private private
		mount -t tmpfs un un; mount --make-unbindable un; mkdir un/x
	}
	check() {
		mount -t tmpfs x shared/x; : >shared/x/f
		[ -e peer/x/f ] && [ -e slave/x/f ] && [ -e both/x/f ] && [ -e below/x/f ] && [ ! -e private/x/f ]
		umount peer/x; [ ! -e shared/x/f ] && [ ! -e slave/x/f ]
		mount -t tmpfs x both/x; : >both/x/g
		[ -e below/x/g ] && [ -e slave/x/g ] && [ ! -e shared/x/g ]
		umount both/x
		! mount --bind un private 2>/dev/null
	}'

@test "shared, slave, shared and slave, private, unbindable mounts" { lasts "${OWN[@]}" <<<"$propagation"; }
@test "ordinary user: shared, slave, shared and slave, private, unbindable mounts" { lasts "${OWN[@]}" <<<"$propagation"; }

# what comes to a mount of the machine after the restart is seen by who followed it, and by nobody else
follows()
{
	mount -t tmpfs host host
	mkdir host/at
	mount --make-shared host
	start unshare -m --propagation "$1" <<-END
		H=$PWD/host
		build() { ls \$H/at; }
		check() { :; }
	END
	as xcheckpoint -k -q "$JOB"
	as xrestart -d -q "$JOB" >/dev/null
	mount -t tmpfs later host/at
	: >host/at/file
	pid=$(pgrep -f "^bash $AT/script")
	ls "/proc/$pid/root$PWD/host/at" >seen
}

@test "a namespace that follows the machine's mounts still does after its restart" {
	mkdir host
	follows slave || { umount -R host; false; }
	umount -R host
	[ "$(cat seen)" = file ]
}

@test "a namespace that does not follow the machine's mounts does not after its restart either" {
	mkdir host
	follows private || { umount -R host; false; }
	umount -R host
	[ -z "$(cat seen)" ]
}

binds='
	build() {
		mkdir "$AT/m"; mount -t tmpfs -o mode=755 m "$AT/m"; cd "$AT/m"
		mkdir dir ro over "sp ace" usr; : >file; : >passwd; : >null; echo text >dir/text
		mount --bind dir/text file
		mount --bind /etc/passwd passwd; mount -o remount,bind,ro,nosuid,nodev,noexec passwd
		mount --bind /dev/null null
		mount --bind dir ro; mount -o remount,bind,ro,nodev,noatime ro
		mount --rbind /usr usr
		for i in 1 2 3; do mount -t tmpfs "o $i" over; echo $i >over/$i; done
		mount --bind over "sp ace"
		mount -t tmpfs none "sp ace"; mkdir -p "sp ace/a/b/c"; mount --bind dir "sp ace/a/b/c"
		exec 5<over/3 6>>dir/text
	}
	check() {
		[ "$(cat file ro/text "sp ace/a/b/c/text")" = "$(printf "text\ntext\ntext")" ]
		echo more >&6; [ "$(tail -n 1 file)" = more ]
		! : 2>/dev/null >>ro/text
		cmp passwd /etc/passwd
		echo x >null; [ -z "$(cat null)" ]
		read -r line <&5; [ "$line" = 3 ]
		umount "sp ace/a/b/c"; umount "sp ace"; [ "$(cat "sp ace/3")" = 3 ]
		exec 5<&-; umount over; [ "$(cat over/2)" = 2 ]; umount over; [ "$(cat over/1)" = 1 ]; umount over; [ -z "$(ls over)" ]
		[ "$(cat "sp ace/3")" = 3 ]
	}'

@test "binds of files, devices, directories, read-only ones; mounts over mounts; names with spaces" { lasts "${OWN[@]}" <<<"$binds"; }
@test "ordinary user: binds of files, devices, directories, read-only ones; mounts over mounts; names with spaces" { lasts "${OWN[@]}" <<<"$binds"; }

rooted='
	tree() {
		mount -t tmpfs root "$AT/m"; cd "$AT/m"
		mkdir usr proc dev tmp etc; mount --rbind /usr usr; mount --rbind /etc etc; mount --rbind /dev dev; mount --rbind /proc proc
		for l in bin lib lib64 sbin; do [ ! -L /$l ] || cp -P /$l $l; done
		mkdir -p ".$AT"; mount --bind "$AT" ".$AT"
	}
	build() { mkdir "$AT/m"; tree; mkdir tmp/sub; enter; cd /tmp/sub; echo here >note; exec 5<note; mkdir gone; }
	check() {
		[ "$(pwd -P)" = /tmp/sub ] && [ "$(cat note)" = here ] && [ "$(cat /tmp/sub/note)" = here ]
		[ ! -e /var ] && [ ! -e /root ] && [ ! -e /old ]
		read -r line <&5; [ "$line" = here ]
		[ "$(stat -c %d:%i /proc/$$/cwd/.)" = "$(stat -c %d:%i /tmp/sub)" ]
	}'
in_chroot='enter() { [ -n "$IN" ] || IN=1 exec chroot . bash "$AT/script"; }; build() { [ -n "$IN" ] || { mkdir "$AT/m"; tree; mkdir tmp/sub; enter; }
	cd /tmp/sub; echo here >note; exec 5<note; }'
pivot='enter() { mkdir old; pivot_root . old; cd /; umount -l /old; rmdir /old; }'

@test "pivot_root: a root of its own, the working directory and files below it" { lasts "${OWN[@]}" <<<"$rooted;$pivot"; }
@test "ordinary user: pivot_root: a root of its own, the working directory and files below it" { lasts "${OWN[@]}" <<<"$rooted;$pivot"; }
@test "chroot: the root of the process is a mount below that of its namespace" { lasts "${OWN[@]}" <<<"$rooted;$in_chroot"; }
@test "ordinary user: chroot: the root of the process is a mount below that of its namespace" { lasts "${OWN[@]}" <<<"$rooted;$in_chroot"; }

@test "a namespace in a namespace: the inner one has mounts of its own" {
	lasts "${OWN[@]}" <<-'END'
		# all that the outer one has of its own is bound from the machine, so both see it
		build() {
			mkdir "$AT/m" "$AT/n" "$AT/m/x" "$AT/n/y"; mount --bind "$AT/n" "$AT/m"; echo outer >"$AT/n/file"
			unshare -m sh -c 'mount -t tmpfs inner "$0/m/y" && echo inner >"$0/m/y/file" && : >"$0/in" && until [ -e "$0/go" ]; do sleep 0.02; done
				cat "$0/m/y/file" "$0/m/file" >"$0/said"; : >"$0/done"' "$AT" &
			until [ -e "$AT/in" ]; do sleep 0.02; done
		}
		check() { wait; [ "$(cat "$AT/said")" = "$(printf 'inner\nouter')" ] && [ ! -e "$AT/m/y/file" ]; }
	END
}

@test "cgroup, mqueue, sysfs, proc and devpts of its own, each with options" {
	lasts unshare -m --pid --fork --ipc --net <<-'END'
		build() {
			mkdir "$AT/m"; mount -t tmpfs m "$AT/m"; cd "$AT/m"; mkdir proc sys mq pts
			mount -t proc -o hidepid=2,gid=7,nosuid,nodev proc proc
			mount -t proc -o subset=pid proc proc
			mount -t sysfs -o ro sys sys
			mount -t mqueue mq mq
			mount -t devpts -o newinstance,ptmxmode=0666,mode=620,max=40,gid=5 devpts pts
			mkdir cg1; mount -t cgroup2 cgroup2 cg1
		}
		check() {
			[ -d proc/1 ] && [ ! -e proc/cpuinfo ] && [ "$(readlink proc/self)" -gt 1 ]
			[ "$(ls sys/class/net)" = lo ]
			umount proc; [ -e proc/cpuinfo ] && [ -d proc/1 ]
			[ "$(stat -c %t:%T pts/ptmx)" = 5:2 ] && [ -e cg1/cgroup.procs ]
		}
	END
}

# a machine where all mounts are shared, and one is below another
shared_machine()
{
	mkdir "$AT/h"
	background unshare -m --propagation shared sh -c "mount --make-rshared / && mount -t tmpfs below '$AT/h' && mkdir '$AT/h/in' && mount -t tmpfs top '$AT/h' &&
		mkdir '$AT/h/sub' && mount -t tmpfs sub '$AT/h/sub' && : >'$AT/holds' && exec sleep 600"
	HOLDER=$!
	wait_until there "$AT/holds"
	AS=(nsenter --mount="/proc/$HOLDER/ns/mnt" --wd="$PWD")
}

@test "where all mounts are shared, one below another: a private namespace" {
	need_command nsenter
	shared_machine
	lasts unshare -m <<<'build() { :; }; check() { umount "$AT/h/sub"; umount "$AT/h"; [ -d "$AT/h/in" ]; }'
}

@test "where all mounts are shared, one below another: a namespace that follows" {
	need_command nsenter
	shared_machine
	lasts unshare -m --propagation slave <<<'build() { :; }; check() { :; }'
}

@test "where all mounts are shared, one below another: a namespace that follows in parts" {
	need_command nsenter
	shared_machine
	lasts unshare -m <<-'END'
		build() { mount --make-private /; mount --make-slave "$AT/h"; }
		check() { :; }
	END
	as xcgkill -q "$JOB" || :
	rm -f "$AT"/{go,ok,ready}
	JOB=$JOB-2
	lasts unshare -m --propagation slave <<-'END'
		build() { mount --make-private "$AT/h"; mount --make-private /dev; }
		check() { :; }
	END
}

@test "a terminal of the job that is mounted on a file, as bubblewrap's /dev/console is" {
	need_command script
	lasts sh -c 'exec script -qfc "unshare -m bash \"$1/script\"" /dev/null' sh "$AT" <<-'END'
		build() { T=$(tty); : >"$AT/console"; mount --bind "$T" "$AT/console"; }
		check() {
			[ "$(stat -c %t:%T:%d:%i "$AT/console")" = "$(stat -c %t:%T:%d:%i "$(tty)")" ]
			echo said >"$AT/console"
		}
	END
	wait_until grep -q said "$AT/out"
}

@test "a terminal of somebody else that is mounted on a file: /dev/null without a terminal to put in its place" {
	need_command script
	background script -qfc "tty >'$AT/tty'; exec sleep 600" /dev/null
	wait_until grep -q pts "$AT/tty"
	start "${OWN[@]}" <<-'END'
		build() { : >"$AT/console"; mount --bind "$(cat "$AT/tty")" "$AT/console"; }
		check() { :; }
	END
	as xcheckpoint -k -q "$JOB"
	as xrestart -d -q "$JOB" >/dev/null
	pid=$(pgrep -f "^bash $AT/script")
	[ "$(stat -c %t:%T "/proc/$pid/root$AT/console")" = 1:3 ]
}

# ---- refused ----

@test "refused: a tmpfs that two namespaces of the job share, and the job goes on" {
	refused "is in two mount namespaces of the job" "${OWN[@]}" <<-'END'
		build() {
			mkdir "$AT/m"; mount -t tmpfs m "$AT/m"; : >"$AT/m/a"
			unshare -m sh -c ': >"$0/in"; until [ -e "$0/go" ]; do sleep 0.02; done; : >"$0/m/b"' "$AT" &
			until [ -e "$AT/in" ]; do sleep 0.02; done
		}
		check() { wait; [ -e "$AT/m/b" ]; }
	END
}

@test "refused: a bind of a file that was removed, of a directory that was removed" {
	refused "was removed" "${OWN[@]}" <<-'END'
		build() { cd "$AT"; mkdir d e; : >f; : >g; mount --bind d e; mount --bind f g; rmdir d; rm f; }
		check() { [ -e g ]; }
	END
	[[ $output == *"/g: "* && $output == *"/e: "* ]]
}

@test "refused: a file system on a loop device that only the namespace has" {
	need_command mkfs.ext4
	truncate -s 8M "$AT/image"
	mkfs.ext4 -q "$AT/image"
	mkdir "$AT/d"
	unshare -m mount -o loop "$AT/image" "$AT/d" || skip "no loop devices here"
	refused "file system of type ext4" "${OWN[@]}" <<-'END'
		build() { mount -o loop "$AT/image" "$AT/d"; echo x >"$AT/d/x"; }
		check() { [ "$(cat "$AT/d/x")" = x ]; }
	END
}

@test "refused: an open file in a mount that was taken away, a working directory there" {
	refused "working directory" "${OWN[@]}" <<-'END'
		build() { mkdir "$AT/m"; mount -t tmpfs m "$AT/m"; cd "$AT/m"; echo x >f; exec 5<f; umount -l "$AT/m"; }
		check() { read -r line <&5; [ "$line" = x ]; }
	END
}

@test "refused: mounts shared with the rest of the machine" {
	mkdir host
	mount -t tmpfs host host
	mount --make-shared host
	refused "shares what is mounted there with the rest of the machine" unshare -m --propagation unchanged <<-END || { umount host; false; }
		build() { :; }
		check() { :; }
	END
	umount host
}

@test "records of mounts that are wrong are refused before anything is made" {
	local how
	need_command "${CC:-cc}"
	start "${OWN[@]}" <<<'build() { mkdir "$AT/m" "$AT/d"; mount -t tmpfs m "$AT/m"; : >"$AT/f"; mount --bind /etc/passwd "$AT/f"; mount --bind /usr "$AT/d"; }; check() { :; }'
	as xcheckpoint -k -q "$JOB"
	for how in 's/^(.*POINT="[^"]*\/f".*)/\1 PTY="1"/' 's/^(.*POINT="[^"]*\/f".*)/\1 PTY="99999999"/' 's/^(.*POINT="[^"]*\/d".*)/\1 PTY="1"/' \
		's/^(.*POINT="[^"]*)\/d"/\1\/..\/d"/' 's/^(.*POINT="[^"]*\/m".*) SB="1"/\1 SB="2"/' 's/PARENT="1"( POINT="[^"]*\/d")/PARENT="99"\1/' \
		's/PARENT="1"/PARENT="0"/' 's/FSTYPE="tmpfs" DEVNAME="m" SUPER/FSTYPE="ext4" DEVNAME="m" SUPER/' 's/^(.*POINT="[^"]*\/d".*)/\1 HIDDEN="1"/' \
		's/CONTENT="[^"]*"/CONTENT="files"/' 's/^(.*POINT="[^"]*\/d" OPTIONS=")rw/\1what/' 's/^(.*POINT="[^"]*\/d".*)/\1 MASTER="nobody"/' \
		's/^(TYPE="mount" .*POINT="\/".*)$/\1 GROUP="99999"/'; do
		edit "$(image 1)" other.tar namespaces "$how"
		run as xrestart -d -i other.tar
		[ "$status" -eq 6 ] || { echo "# $how: $status: $output" >&2; false; }
		[ -z "$(pgrep -f "^bash $AT/script")" ]
	done
	as xrestart -d -q "$JOB" >/dev/null
	as touch "$AT/go"
	wait_until there "$AT/ok" "$AT/fail"
	[ -e "$AT/ok" ]
}

# ---- killed ----

script_runs() { pgrep -f "^bash $AT/script" >/dev/null; }
script_gone() { ! script_runs; }

kill_it()
{
	local p
	for p in $(pgrep -f "^([^ ]*/)?xrestart -q $JOB\$"); do kill -9 "$p" 2>/dev/null || :; done
	gone "$1"
}

# killed SCRIPT: xrestart is, at random instants, while it makes the mounts of the script
killed()
{
	local i n=12 before p shots=0
	[ -z "$XOS_TEST_LONG" ] || n=250
	start "${OWN[@]}" <<<"$1"
	as xcheckpoint -k -q "$JOB"
	before=$(mounted)
	for ((i = 0; i < n; i++)); do
		background as xrestart -q "$JOB"
		sleep "0.$(printf %03d $((RANDOM % 120)))"
		# it may still be one of those that start it
		XOS_WAIT=30 wait_until kill_it $!
		wait $! || :
		# whoever was under its control goes with it; a job that was whole already lives
		XOS_WAIT=2 wait_until script_gone 2>/dev/null && shots=$((shots + 1)) || as xcheckpoint -k -q "$JOB"
		wait_until script_gone
		[ "$(mounted)" = "$before" ] || { diff <(mounted) <(echo "$before") >&2; return 1; }
	done
	echo "# killed in the middle: $shots of $i" >&3
	[ $shots -gt 2 ]
	as xrestart -d -q "$JOB" >/dev/null
	as touch "$AT/go"
	wait_until there "$AT/ok" "$AT/fail"
	[ ! -e "$AT/fail" ] || { diff "$AT/before" "$AT/after"; echo "# $(cat "$AT/fail" "$AT/err")"; return 1; } >&2
	[ "$(mounted)" = "$before" ]
}

@test "xrestart killed at any instant where all mounts are shared: none is left, no process either, and the next restart is right" {
	need_command nsenter
	# whatever is mounted too early, or in the wrong place, would be seen by all
	shared_machine
	killed "MORE=; $overlay"
}

@test "ordinary user: xrestart killed at any instant: no mount and no process is left, and the next restart is right" { killed "$propagation"; }
