#!/usr/bin/env bats
# Images that are cut off, damaged or forged: a clear refusal with 6 (or 7, 8), at once, and no process is made.
# Damage to the container itself is test/unit/image_bad.c; here it is the whole way through xrestart, and records that are
# well-formed and lie (test/bats/forge.c puts them into images whose checksums are right).

bats_require_minimum_version 1.5.0
load helper
load ckpt

# One image for all tests of this file; its job has two processes, one with threads.
setup_file()
{
	[ "$(id -u)" -eq 0 ] || return 0
	export XOS_BUILD=${XOS_BUILD:-$(cd "$BATS_TEST_DIRNAME/../.." && pwd)/build}
	export XOS_STATE_DIR="$BATS_FILE_TMPDIR/made" BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR
	cd "$BATS_FILE_TMPDIR" || return 1
	PATH="$XOS_BUILD/bin:$PATH"
	[ -x "$XOS_BUILD/victim/v_threads" ] || return 0
	clean xcgexec -d -q -j "bad$$" -o out -e err -- sh -c '"$0" "$1" & wait' "$XOS_BUILD/victim/v_threads" "$PWD/p"
	wait_until [ -e p.ready ]
	clean xcheckpoint -q -k -o image.tar "bad$$"
	clean xcgkill -q "bad$$" 2>/dev/null || :
	forge image.tar >members
	# Another one, with namespaces of all kinds; its main process waits for the first one in the PID namespace.
	clean xcgexec -d -q -j "badns$$" -o ns.out -e ns.err -- unshare -UrpmnuiCf --mount-proc sh -c "$in_namespaces" "$PWD"
	wait_until [ -e ns.ready ] && clean xcheckpoint -q -k -o ns.tar "badns$$" || echo "# no image with namespaces: $(cat ns.err)" >&2
	clean xcgkill -q "badns$$" 2>/dev/null || :
}

in_namespaces='
	mount -t tmpfs -o size=1m stuff /mnt; echo content >/mnt/file
	ip link add va type veth peer name vb; ip link set lo up
	touch "$0/ns.ready"
	exec sleep 1000'

setup()
{
	xos_setup
	need_root
	IMAGE=$BATS_FILE_TMPDIR/image.tar
	[ -e "$IMAGE" ] || skip "no image"
	SH=$(forge "$IMAGE" global | sed -n 's/.* PID="\([0-9]*\)".*MAIN.*/\1/p')
	CHILD=$(forge "$IMAGE" global | sed -n 's/.* PID="\([0-9]*\)" PPID="'"$SH"'".*/\1/p' | head -n 1)
}

# is_refused FILE WHAT [STATUS...]: xrestart says no with one of these (default 6), within 10 s, and leaves nothing
is_refused()
{
	local file=$1 what=$2 s
	shift 2
	XOS_LIMIT=10 run --separate-stderr clean xrestart -d -i "$file" "$JOB"
	[[ "$stderr" == "xrestart: "* ]] || { echo "# $what: status $status, it says: $output $stderr" >&2; return 1; }
	for s in "${@:-6}"; do
		[ "$status" -ne "$s" ] && continue
		if [ -e "/proc/$SH" ] || [ -n "$(in_job "$JOB" 2>/dev/null)" ]; then
			echo "# $what: there are processes" >&2
			return 1
		fi
		return 0
	done
	echo "# $what: status $status, $stderr" >&2
	return 1
}

# lie WHAT MEMBER SED [STATUS...]
lie()
{
	local what=$1 member=$2 how=$3
	shift 3
	edit "$IMAGE" forged.tar "$member" "$how" || { echo "# $what: nothing was changed" >&2; return 1; }
	is_refused forged.tar "$what" "$@"
}

@test "the image itself is good" {
	clean xrestart -d -q -i "$IMAGE" "$JOB"
	[ -d "/proc/$SH" ] && [ -d "/proc/$CHILD" ]
	touch "$BATS_FILE_TMPDIR/p.go"
	wait_until [ -e "$BATS_FILE_TMPDIR/p.ok" ]
	rm -f "$BATS_FILE_TMPDIR"/p.go "$BATS_FILE_TMPDIR"/p.ok
}

@test "cut off anywhere" {
	local size n lengths
	size=$(stat -c %s "$IMAGE")
	lengths="0 1 511 512 513 1024 4095 4096 $((size / 3)) $((size - 1024)) $((size - 513)) $((size - 1))"
	n=20
	[ -z "$XOS_TEST_LONG" ] || n=500
	for n in $lengths $(awk -v n=$n -v s="$size" 'BEGIN { srand(); while (n--) print int(rand() * s) }'); do
		head -c "$n" "$IMAGE" >cut.tar
		is_refused cut.tar "cut off at $n" 6
	done
	(cat "$IMAGE"; echo more) >longer.tar
	is_refused longer.tar "longer" 6
}

@test "one bit flipped anywhere" {
	need_command perl
	local size n at
	size=$(stat -c %s "$IMAGE")
	n=40
	[ -z "$XOS_TEST_LONG" ] || n=1000
	for at in $(awk -v n=$n -v s="$size" 'BEGIN { srand(); while (n--) print int(rand() * s * 8) }') $((size * 8 - 1)) $((512 * 8)); do
		cp "$IMAGE" flipped.tar
		perl -e 'open F, "+<", $ARGV[0]; seek F, $ARGV[1] >> 3, 0; read F, $b, 1; seek F, $ARGV[1] >> 3, 0;
			print F chr(ord($b) ^ (1 << ($ARGV[1] & 7)))' flipped.tar "$at"
		is_refused flipped.tar "bit $at" 6
	done
}

@test "no image at all" {
	head -c 100000 /dev/urandom >noise
	is_refused noise "noise" 6
	tar cf other.tar -C "$BATS_TEST_DIRNAME" forge.c
	is_refused other.tar "another tar" 6
	: >empty
	is_refused empty "nothing" 6
	mkdir dir
	run --separate-stderr clean xrestart -d -i dir "$JOB"
	[ "$status" -ne 0 ] && [ "$status" -lt 10 ]
}

@test "another format number, another architecture" {
	lie "format 2" description.txt 's/^FORMAT="1"/FORMAT="2"/'
	[[ "$stderr" == *2*1* || "$stderr" == *1*2* ]]
	lie "architecture" profile 's/^ARCH=".*/ARCH="sparc"/' 7
	lie "page size" profile 's/^PAGE_SIZE=".*/PAGE_SIZE="65536"/' 7
	lie "no arch" profile '/^ARCH=/d'
	lie "no identifier" description.txt '/^IDENTIFIER=/d'
	lie "identifier" description.txt 's/^UID=.*/UID="-1"/'
}

@test "members that are missing or of the wrong kind" {
	local m
	for m in global maps shm files "task_$SH" "task_mm_$SH" "task_$CHILD"; do
		forge "$IMAGE" forged.tar -d "$m"
		is_refused forged.tar "without $m" 6
	done
	: >nothing
	for m in global maps shm files "task_$SH"; do
		forge "$IMAGE" forged.tar -r "$m" nothing
		is_refused forged.tar "$m raw" 6
		forge "$IMAGE" forged.tar -t "$m" nothing
		[ "$m" = shm ] || is_refused forged.tar "$m empty" 6
	done
	forge "$IMAGE" forged.tar -t "task_mm_$SH" nothing
	is_refused forged.tar "pages as text" 6
	head -c 4096 /dev/zero >page
	forge "$IMAGE" forged.tar -r "task_mm_$SH" page
	is_refused forged.tar "too few pages" 6
}

@test "the process tree" {
	lie "its own parent" global "s/PID=\"$SH\" PPID=\"0\"/PID=\"$SH\" PPID=\"$CHILD\"/"
	lie "a parent that is not there" global "s/PPID=\"$SH\"/PPID=\"4000000\"/"
	lie "PID 1" global "s/PID=\"$CHILD\"/PID=\"1\"/"
	lie "PID 0" global "s/PID=\"$CHILD\"/PID=\"0\"/"
	lie "PID -5" global "s/PID=\"$CHILD\"/PID=\"-5\"/"
	lie "a huge PID" global "s/PID=\"$CHILD\"/PID=\"99999999999999999999\"/"
	lie "the same PID twice" global "s/PID=\"$CHILD\"/PID=\"$SH\"/"
	lie "exit signal" global 's/EXIT_SIGNAL="17"/EXIT_SIGNAL="200"/'
	lie "another kind of record" global 's/TYPE="proc"/TYPE="prock"/'
	lie "no group" global 's/ PGID="[0-9]*"//'
	lie "a living process as zombie of a signal that is none" global "s/PID=\"$CHILD\"/& ZOMBIE=\"99999999\"/"
	awk 'BEGIN { for (i = 2; i < 2000000; i++) print "TYPE=\"proc\" PID=\"" i "\" PPID=\"" (i > 2 ? i - 1 : 0) "\" PGID=\"2\" SID=\"2\" EXIT_SIGNAL=\"17\"" }' >many
	head -n 1000000 many >line
	forge "$IMAGE" forged.tar -t global line
	is_refused forged.tar "a million processes, each below the one before" 6
	forge "$IMAGE" forged.tar -t global many
	is_refused forged.tar "two million processes" 6
}

@test "threads" {
	lie "the first is another" "task_$SH" "s/TYPE=\"thread\" TID=\"$SH\"/TYPE=\"thread\" TID=\"4000\"/"
	lie "TID 0" "task_$CHILD" 's/(TYPE="thread" TID=)"[0-9]*"/\1"0"/'
	lie "no thread" "task_$SH" '/^TYPE="thread"/d'
	lie "registers are missing" "task_$SH" 's/ RIP="[^"]*"//'
	lie "no extended state" "task_$SH" 's/ XSTATE="[^"]*"//'
	lie "short extended state" "task_$SH" 's/ XSTATE="[^"]*"/ XSTATE="00"/'
	lie "odd extended state" "task_$SH" 's/ XSTATE="../ XSTATE="zz/'
	lie "unknown record" "task_$SH" '1s/^/TYPE="wormhole" TO="elsewhere"\n/'
	[[ "$stderr" == *wormhole* ]]
	lie "no creds" "task_$SH" '/^TYPE="creds"/d'
	lie "not a record" "task_$SH" '1s/^/hello\n/'
}

@test "memory" {
	local t=task_$SH
	lie "ends before it begins" "$t" '/TYPE="vma"/s/START="0x[0-9a-f]*"/START="0x7fffffff0000"/'
	lie "overlapping" "$t" '0,/TYPE="vma"/{/TYPE="vma"/{p}}'
	lie "not at a page" "$t" '0,/TYPE="vma"/s/(TYPE="vma" START="0x[0-9a-f]*)000"/\1001"/'
	lie "kernel address" "$t" '/growsdown/s/$/\nTYPE="vma" START="0xffff800000000000" END="0xffff800000001000" PROT="rw-" KIND="anon"/'
	lie "no address of user space" "$t" '/growsdown/s/$/\nTYPE="vma" START="0x180000000000000" END="0x180000000001000" PROT="rw-" KIND="anon"/' 6 7
	lie "at the end of user space" "$t" '/growsdown/s/$/\nTYPE="vma" START="0xfffffffffffff000" END="0xfffffffffffffffff" PROT="rw-" KIND="anon"/'
	lie "unknown kind" "$t" 's/KIND="anon"/KIND="wood"/'
	lie "a file that is not there" "$t" '0,/KIND="file"/s/OBJ="[0-9]*"/OBJ="4000"/'
	lie "a file that is none" "$t" '0,/KIND="file"/s/OBJ="[0-9]*"/OBJ="0"/'
	lie "shared memory that is not there" "$t" '0,/KIND="anon"/s/KIND="anon"/KIND="shm" OBJ="1"/'
	lie "odd protection" "$t" '0,/PROT="rw-"/s/PROT="rw-"/PROT="rwxrwx"/'
	lie "unknown flag" "$t" '0,/KIND="anon"/s/KIND="anon"/& FLAGS="floating"/'
	lie "huge pages of 3 KiB" "$t" '0,/KIND="anon"/s/KIND="anon"/& HUGE="3"/'
	lie "pages that lie nowhere" "$t" 's/RUNS="[0-9a-f]*/RUNS="1000/'
	lie "pages beyond" "$t" 's/RUNS="[0-9a-f]*\+[0-9a-f]*/RUNS="1000+ffffffffffffffff/'
	lie "no pages" "$t" 's/RUNS="/RUNS="0+0,/'
	lie "pages in disorder" "$t" 's/RUNS="([0-9a-f]*\+[0-9a-f]*),([0-9a-f]*\+[0-9a-f]*)/RUNS="\2,\1/'
	lie "a parent's pages without parent" "$t" 's/TYPE="pages"/TYPE="cow"/'
	lie "no mm" "$t" '/^TYPE="mm"/d'
	lie "no vdso code" "$t" 's/(TYPE="vdso" START=.* TEXT=)"0x[0-9a-f]*"/\1"0x1000"/'
	lie "another vdso" "$t" 's/(TYPE="vdso" .*CRC=)"0x[0-9a-f]*"/\1"0x1"/' 7
	lie "auxv" "$t" 's/AUXV="../AUXV="/'
	lie "no exe" "$t" 's/EXE="[0-9]*"/EXE="0"/'
	lie "exe is no map" "$t" 's/EXE="[0-9]*"/EXE="5000"/'
	lie "brk" "$t" 's/ BRK="0x[0-9a-f]*"/ BRK="0xffffffffffffffff"/'
}

@test "files" {
	lie "ID out of order" files '2s/ID="2"/ID="7"/'
	lie "unknown kind" files '2s/TYPE="[a-z]*"/TYPE="hole"/'
	lie "no ID" files '2s/ ID="2"//'
	lie "a relative path" files 's#PATH="/[^"]*/out"#PATH="out"#'
	lie "a path with .." files 's#PATH="/[^"]*/out"#PATH="/tmp/../etc/passwd"#'
	lie "a path that ends in .." files 's#PATH="/[^"]*/out"#PATH="/tmp/.."#'
	lie "a relative map" maps '0,/PATH/s#PATH="/#PATH="#'
	lie "a map with .." maps '0,/PATH/s#PATH="/#PATH="/x/../#'
	lie "map ID" maps '1s/ID="1"/ID="2"/'
	lie "a negative size" files '2s/SIZE="[0-9]*"/SIZE="-1"/'
	lie "a ghost of nothing" files '2s/$/ GHOST="2" UID="0" GID="0"/'
	lie "a ghost of a later file" files '2s/$/ GHOST="3" UID="0" GID="0"/'
	lie "fd of no file" "task_$SH" 's/FD="1" FILE="[0-9]*"/FD="1" FILE="77"/'
	lie "fd of file 0" "task_$SH" 's/FD="1" FILE="[0-9]*"/FD="1" FILE="0"/'
	lie "a negative fd" "task_$SH" 's/FD="1" /FD="-1" /'
	lie "fds in disorder" "task_$SH" 's/FD="1" /FD="0" /'
	lie "a huge fd" "task_$SH" 's/FD="2" /FD="99999999999" /'
	lie "a fd above all limits" "task_$SH" 's/FD="2" /FD="16777215" /' 6 7
	lie "working directory" "task_$SH" 's/CWD="\//CWD="/'
	lie "working directory with .." "task_$SH" 's/CWD="\//CWD="\/..\//'
	lie "no working directory" "task_$SH" '/^TYPE="fs"/d'
}

@test "limits on everything that is counted" {
	yes 'TYPE="umask" MASK="0x12"' | head -n 9000000 >many
	forge "$IMAGE" forged.tar -t "task_$SH" many
	is_refused forged.tar "nine million records" 6
	yes 'TYPE="reg" ID="1"' | head -n 5000000 >many
	forge "$IMAGE" forged.tar -t files many
	is_refused forged.tar "five million files" 6
	yes 'TYPE="map" ID="1"' | head -n 2000000 >many
	forge "$IMAGE" forged.tar -t maps many
	is_refused forged.tar "two million maps" 6
	head -c 20000000 /dev/zero | tr '\0' a | sed 's/^/TYPE="umask" MASK="/; s/$/"/' >many
	forge "$IMAGE" forged.tar -t "task_$SH" many
	is_refused forged.tar "a line of 20 MB" 6
}

@test "other state of processes and threads" {
	local t=task_$SH
	lie "umask" "$t" 's/(TYPE="umask" MASK=)"[^"]*"/\1"0xffff"/'
	lie "limit" "$t" '0,/TYPE="rlimit"/s/TYPE="rlimit" NAME="[A-Z]*"/TYPE="rlimit" NAME="NONE"/'
	lie "oom_score_adj" "$t" 's/(TYPE="oom_score_adj" VALUE=)"[^"]*"/\1"5000"/'
	lie "policy" "$t" 's/(TYPE="sched" POLICY=)"[^"]*"/\1"99"/'
	lie "nice" "$t" 's/ NICE="0"/ NICE="-99"/'
	lie "uid" "$t" 's/(TYPE="creds" UID=)"0"/\1"4294967295"/'
	lie "groups" "$t" 's/ GROUPS="[^"]*"/ GROUPS="1 x"/'
}

# with_namespaces: the tests below are about that image
with_namespaces()
{
	IMAGE=$BATS_FILE_TMPDIR/ns.tar
	[ -e "$IMAGE" ] || skip "no namespaces here: $(cat "$BATS_FILE_TMPDIR/ns.err")"
	SH=$(forge "$IMAGE" global | sed -n 's/.* PID="\([0-9]*\)".*MAIN.*/\1/p')
	CHILD=$(forge "$IMAGE" global | sed -n 's/.* PID="\([0-9]*\)" PPID="'"$SH"'".*/\1/p' | head -n 1)
}

@test "the image with namespaces is good" {
	with_namespaces
	clean xrestart -c -q -i "$IMAGE" "$JOB"
	clean xrestart -d -q -i "$IMAGE" "$JOB"
	[ -d "/proc/$SH" ] && [ "$(readlink "/proc/$CHILD/ns/net")" != "$(readlink /proc/self/ns/net)" ]
	[ "$(cat "/proc/$CHILD/root/mnt/file")" = content ]
}

@test "namespaces: who owns them, who is in them" {
	with_namespaces
	local t=task_$CHILD
	lie "an owner that is not there" namespaces 's/(KIND="uts") USER="1"/\1 USER="77"/'
	lie "an owner that comes later" namespaces 's/(ID="1" KIND="user")/\1 USER="2"/'
	lie "owned by itself" namespaces 's/(ID="1" KIND="user")/\1 USER="1"/'
	lie "an owner that is no user namespace" namespaces 's/(KIND="uts") USER="1"/\1 USER="2"/'
	lie "one ID twice" namespaces 's/ID="2" KIND/ID="1" KIND/'
	lie "a negative ID" namespaces 's/ID="1" KIND/ID="-1" KIND/'
	lie "a huge ID" namespaces 's/ID="1" KIND/ID="99999999999999999999" KIND/'
	lie "unknown kind" namespaces 's/KIND="uts"/KIND="stu"/'
	lie "unknown record" namespaces '1s/$/\nTYPE="wormhole" NS="1"/'
	lie "ids mapped twice" namespaces 's/UID_MAP="[^"]*"/UID_MAP="0 0 10\\00125 100 10\\0012"/'
	lie "more ids than there are" namespaces 's/GID_MAP="[^"]*"/GID_MAP="1 0 4294967295\\0012"/'
	lie "negative ids" namespaces 's/GID_MAP="[^"]*"/GID_MAP="0 -1 1\\0012"/'
	lie "a map without an end" namespaces 's/UID_MAP="[^"]*"/UID_MAP="0 0 1"/'
	lie "a limit of elsewhere" namespaces 's#user/max_ipc_namespaces#kernel/core_pattern#'
	lie "a name too long" namespaces 's/HOSTNAME="[^"]*"/HOSTNAME="0123456789012345678901234567890123456789012345678901234567890123456789"/'
	lie "a group of the job that is not there" namespaces 's/KIND="cgroup"/& ROOTS="5"/'
	lie "in none that is there" "$t" 's/(TYPE="namespaces".*) UTS="[0-9]*"/\1 UTS="99"/'
	lie "in one of another kind" "$t" 's/(TYPE="namespaces".*) UTS="[0-9]*"/\1 UTS="1"/'
	lie "twice" "$t" 's/^TYPE="namespaces".*/&\n&/'
	lie "not as deep as its PID namespace" global 's/ NSPID="1"//'
	lie "nobody begins the PID namespace" "$t" 's/ NSPID="1"/ NSPID="2"/'
	forge "$IMAGE" forged.tar -d namespaces
	is_refused forged.tar "without namespaces" 6
	: >nothing
	forge "$IMAGE" forged.tar -t namespaces nothing
	is_refused forged.tar "no namespaces" 6
	forge "$IMAGE" forged.tar -r namespaces nothing
	is_refused forged.tar "namespaces raw" 6
}

@test "mounts" {
	with_namespaces
	lie "of nobody" namespaces 's/MEMBER="[0-9]*"/MEMBER="4000000"/'
	lie "a relative point" namespaces 's#POINT="/mnt"#POINT="mnt"#'
	lie "a point with .." namespaces 's#POINT="/mnt"#POINT="/mnt/../etc"#'
	lie "on itself" namespaces 's#PARENT="[0-9]*" POINT="/mnt"#PARENT="8000" POINT="/mnt"#'
	lie "no root" namespaces 's#PARENT="0" POINT="/"#PARENT="0" POINT="/mnt"#'
	lie "a relative source" namespaces 's#SOURCE="/"#SOURCE="."#'
	lie "a source that is not there" namespaces 's#SOURCE="/"#SOURCE="/no/such/place"#' 7
	lie "unknown options" namespaces 's#(POINT="/mnt" OPTIONS=)"[^"]*"#\1"suid"#'
	lie "a file system that is none of its own" namespaces 's/FSTYPE="tmpfs" DEVNAME="stuff" SUPER/FSTYPE="ext4" DEVNAME="stuff" SUPER/'
	lie "content that is not there" namespaces 's/CONTENT="mount_[^"]*"/CONTENT="mount_none"/'
	lie "content that is a text" namespaces 's/CONTENT="mount_[^"]*"/CONTENT="global"/'
	lie "an option that no tmpfs has" namespaces 's/(DEVNAME="stuff" SUPER=)"/\1"colour=red,/' 1
	head -c 20000 /dev/urandom >noise
	forge "$IMAGE" forged.tar -r "$(forge "$IMAGE" namespaces | sed -n 's/.*CONTENT="\(mount_[^"]*\)".*/\1/p' | head -n 1)" noise
	is_refused forged.tar "noise in a file system" 6
	mkdir -p out/in && echo evil >out/evil && tar cf out.tar -C out/in -P ../evil
	forge "$IMAGE" forged.tar -r "$(forge "$IMAGE" namespaces | sed -n 's/.*CONTENT="\(mount_[^"]*\)".*/\1/p' | head -n 1)" out.tar
	is_refused forged.tar "a file outside of its file system" 6
}

@test "links" {
	with_namespaces
	lie "one number twice" namespaces 's/^TYPE="link" .* NAME="va".*/&\n&/'
	lie "one name twice" namespaces 's/NAME="va"/NAME="vb"/'
	lie "a name too long" namespaces 's/NAME="va"/NAME="0123456789abcdef"/'
	lie "a name with a slash" namespaces 's#NAME="va"#NAME="v/a"#'
	lie "number 0" namespaces 's/INDEX="[0-9]*" NAME="va"/INDEX="0" NAME="va"/'
	lie "unknown kind" namespaces 's/NAME="va" KIND="veth"/NAME="va" KIND="moebius"/'
	lie "one end only" namespaces '/^TYPE="link" .* NAME="vb"/d'
	lie "its own other end" namespaces 's/INDEX="([0-9]*)" (NAME="va".*) PEER="[0-9]*"/INDEX="\1" \2 PEER="\1"/'
	lie "an end in a namespace that is not there" namespaces 's/(NAME="va".*) PEER="([0-9]*)"/\1 PEER="\2" PEER_NS="99"/'
	lie "an end with us that does not say so" namespaces 's/(NAME="va".*) PEER="([0-9]*)"/\1 PEER="\2" PEER_NS="0"/'
	lie "an interface of ours" namespaces 's/(NAME="lo" KIND="loopback")/\1 PEER="1" PEER_NS="0"/'
	lie "a path with .." namespaces '0,/TYPE="netconf"/s#(TYPE="netconf" NS="[0-9]*" PATH=")[^"]*"#\1ipv4/../../kernel/core_pattern"#'
	lie "an address that is none" namespaces '0,/TYPE="addr"/s#ADDRESS="[^"]*"#ADDRESS="1.2.3"#'
	lie "a setting of nothing" namespaces '0,/TYPE="netconf"/s#(TYPE="netconf" NS="[0-9]*" PATH=")[^"]*"#\1ipv4/nothing"#; s/ ASNEW="1"//' 7
	[ ! -e /sys/class/net/va ] && [ ! -e /sys/class/net/vb ]
}

@test "limits on namespaces, mounts, links" {
	with_namespaces
	awk 'BEGIN { for (i = 1; i < 5000; i++) print "TYPE=\"ns\" ID=\"" i "\" KIND=\"ipc\"" }' >many
	forge "$IMAGE" forged.tar -t namespaces many
	is_refused forged.tar "5000 namespaces" 6
	yes 'TYPE="ns" ID="1" KIND="ipc"' | head -n 2000000 >many
	forge "$IMAGE" forged.tar -t namespaces many
	is_refused forged.tar "two million records" 6
	awk 'BEGIN { print "TYPE=\"ns\" ID=\"1\" KIND=\"net\""
		for (i = 2; i < 70000; i++) print "TYPE=\"link\" NS=\"1\" INDEX=\"" i "\" NAME=\"x" i "\" KIND=\"ifb\" HWTYPE=\"1\" FLAGS=\"0x0\"" }' >many
	forge "$IMAGE" forged.tar -t namespaces many
	is_refused forged.tar "70,000 links" 6
	awk -v pid="$CHILD" 'BEGIN { print "TYPE=\"ns\" ID=\"1\" KIND=\"mnt\" MEMBER=\"" pid "\""
		for (i = 1; i < 9000; i++) print "TYPE=\"mount\" NS=\"1\" ID=\"" i "\" PARENT=\"" i - 1 "\" POINT=\"/\" OPTIONS=\"rw\" SOURCE=\"/\" ROOT=\"/\" FSTYPE=\"x\" DEVNAME=\"x\"" }' >many
	forge "$IMAGE" forged.tar -t namespaces many
	is_refused forged.tar "9000 mounts" 6
}
