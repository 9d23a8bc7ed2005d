#!/usr/bin/env bats
# Sandboxes with a working program inside: bubblewrap, as root and as an ordinary user, and firejail. What lies in a tmpfs of the sandbox is nowhere
# else, so a wrong byte after a restart is seen by the program itself; its results must be those of an undisturbed run.

load real

setup_file() { wants bwrap=bubblewrap firejail=firejail python3=python3 sqlite3=sqlite3 perl=perl tmux=tmux script=bsdutils; }

setup()
{
	xos_setup
	need_root
	VARIANTS=kill
	progress() { lines_of log; }
	results() { cat out; }
}

# Files in /tmp/box that are made, changed, renamed and removed all the time, each known by heart; one mapped; a process that answers over a unix socket there: over a
# connection that stays, and over one that is made anew each time.
box_py()
{
	cat <<-'END'
		import hashlib, mmap, os, random, socket, sys
		n, r = 400 * int(os.environ["LENGTH"]), random.Random(7)
		log = open("log", "a", buffering=1)
		os.mkdir("/tmp/box"); os.chdir("/tmp/box")
		l = socket.socket(socket.AF_UNIX); l.bind("/tmp/box/sock"); l.listen()
		if not (pid := os.fork()):
		    import threading
		    def serve(c):
		        for line in c.makefile():
		            c.sendall((hashlib.sha256(open("/tmp/box/" + line.strip(), "rb").read()).hexdigest() + "\n").encode())
		    while True:
		        threading.Thread(target=serve, args=(l.accept()[0],), daemon=True).start()
		l.close()
		def connected():
		    s = socket.socket(socket.AF_UNIX); s.connect("/tmp/box/sock"); return s, s.makefile()
		def asked(c, name):
		    c[0].sendall((name + "\n").encode()); return c[1].readline().strip()
		open("mapped", "wb").write(bytes(65536)); f = open("mapped", "r+b"); m = mmap.mmap(f.fileno(), 65536)
		stays, known, total = connected(), {}, hashlib.sha256()
		for i in range(n):
		    for _ in range(20):
		        name = "f%d" % r.randrange(60); what = r.randrange(5)
		        if what == 0 and name in known:
		            os.unlink(name); del known[name]
		        elif what == 1 and name in known:
		            to = "f%d" % r.randrange(60); os.rename(name, to); known[to] = known[name]
		            if to != name: del known[name]
		        else:
		            data = r.randbytes(r.randrange(3000))
		            open(name, "ab").write(data); known[name] = known.get(name, b"") + data
		    m[i % 65536] = i % 251
		    assert sorted(x for x in os.listdir(".") if x[0] == "f") == sorted(known), "names"
		    for name in r.sample(sorted(known), min(4, len(known))):
		        assert open(name, "rb").read() == known[name], name
		    name = r.choice(sorted(known)); want = hashlib.sha256(known[name]).hexdigest()
		    once = connected()
		    assert asked(stays, name) == want and asked(once, name) == want, "answer for " + name
		    once[1].close(); once[0].close()
		    total.update(want.encode())
		    log.write("%d\n" % i)
		assert open("mapped", "rb").read() == m[:] and m[5] == 5
		os.kill(pid, 9); os.waitpid(pid, 0)
		print(total.hexdigest(), len(known), os.getuid(), socket.gethostname())
	END
}

# A database in the tmpfs, fed through pipes by awk; a sandbox's shell around it starts processes all the time.
box_sh()
{
	cat <<-'END'
		set -e -o pipefail
		rows=$((2400 * LENGTH))
		mkdir /tmp/box
		awk -v n=$rows 'BEGIN {
			print "PRAGMA journal_mode=WAL; CREATE TABLE t(i INTEGER PRIMARY KEY, v TEXT, k INTEGER); CREATE INDEX x ON t(k);"
			for (i = s = 1; i <= n; i++) {
				s = (s * 16807) % 2147483647
				print "INSERT INTO t VALUES(" i ", hex(" s " * 7), " s % 100 ");"
				if (i % 7 == 0) print "UPDATE t SET v = v || " i " WHERE k = " s % 100 ";"
				if (i % 10 == 0) print "SELECT count(*), sum(length(v)), sum(k) FROM t;"
			}
		}' | sqlite3 /tmp/box/db | tee /tmp/box/answers | while read -r line; do
			echo "$line" | tr 0-9 a-j | sha256sum >>/tmp/box/sums
			echo "$line" >>log
		done
		sqlite3 /tmp/box/db 'PRAGMA integrity_check; SELECT count(*), sum(length(v)) FROM t'
		sha256sum </tmp/box/answers; sort /tmp/box/sums | sha256sum
		wc -l <log
		ls /tmp/box
	END
}

# in_box SCRIPT OPTION...: the script in a sandbox of bwrap with a tmpfs at /tmp, where only the directory of these runs is what it is outside
in_box()
{
	local program=(bash) script=$1
	shift
	need_command bwrap sqlite3
	PLACE=${PLACE:-$BATS_TEST_TMPDIR}
	# bwrap needs a user namespace when it is an ordinary user's
	as bwrap "$@" --bind "$PLACE" "$PLACE" true 2>"$PLACE/why" || skip "bwrap cannot make this sandbox here: $(tail -n 1 "$PLACE/why")"
	[ "$script" != box_py ] || program=("$(python3_path)")
	$script >"$PLACE/script"
	survive bwrap "$@" --tmpfs /tmp --bind "$PLACE" "$PLACE" "${program[@]}" "$PLACE/script"
}
all_of=(--unshare-all --bind / / --dev-bind /dev /dev)
small=(--unshare-pid --unshare-ipc --unshare-uts --hostname box --ro-bind /usr /usr --ro-bind /etc /etc --proc /proc --dev /dev)
for link in bin lib lib64 sbin; do [ ! -L "/$link" ] || small+=(--symlink "$(readlink "/$link")" "/$link"); done

@test "bwrap: all of the machine in namespaces of its own; files in a tmpfs and a unix socket there" { in_box box_py "${all_of[@]}"; }

@test "bwrap: all of the machine, a session of its own; a shell, awk and sqlite3 in a tmpfs" { in_box box_sh "${all_of[@]}" --new-session; }

@test "bwrap: only /usr, read-only, a new /dev and /proc; files in a tmpfs and a unix socket there" { in_box box_py "${small[@]}"; }

@test "bwrap: only /usr, ends with its parent, is process 1; a shell, awk and sqlite3 in a tmpfs" {
	in_box box_sh "${small[@]}" --die-with-parent --as-pid-1 --cap-drop ALL
}

@test "ordinary user: bwrap: all of the machine; files in a tmpfs and a unix socket there" {
	ordinary
	in_box box_py "${all_of[@]}"
}

@test "ordinary user: bwrap: all of the machine, a session of its own; a shell, awk and sqlite3 in a tmpfs" {
	ordinary
	in_box box_sh "${all_of[@]}" --new-session
}

@test "ordinary user: bwrap: only /usr, read-only, a new /dev and /proc; files in a tmpfs and a unix socket there" {
	ordinary
	in_box box_py "${small[@]}"
}

@test "ordinary user: bwrap: only /usr, ends with its parent; a shell, awk and sqlite3 in a tmpfs" {
	ordinary
	in_box box_sh "${small[@]}" --die-with-parent --unshare-user --uid 1000 --gid 1000
}

# in_jail SCRIPT OPTION...: the same with firejail, which needs root: it is a setuid program, so an ordinary user's job holds processes that are not his
in_jail()
{
	local program=(/bin/bash) script=$1
	shift
	need_command firejail sqlite3
	PLACE=$BATS_TEST_TMPDIR
	timeout 20 firejail --quiet --noprofile true </dev/null >/dev/null 2>"$PLACE/why" 3>&- || skip "firejail makes no sandbox here: $(tail -n 1 "$PLACE/why")"
	[ "$script" != box_py ] || program=("$(python3_path)")
	$script >"$PLACE/script"
	survive firejail --quiet "$@" "${program[@]}" "$PLACE/script"
}

@test "firejail without a profile; files in its tmpfs and a unix socket there" { in_jail box_py --noprofile --whitelist="$BATS_TEST_TMPDIR"; }

@test "firejail with its default profile, seccomp filters, no network; a shell, awk and sqlite3 in its tmpfs" {
	in_jail box_sh --net=none --whitelist="$BATS_TEST_TMPDIR"
}

@test "ordinary user: firejail is refused by name, and goes on" {
	local pid
	need_command firejail
	ordinary
	as timeout 20 firejail --quiet --noprofile true >/dev/null 2>why || skip "firejail does not let an ordinary user: $(grep -m 1 . why)"
	as xcgexec -d -j "$JOB" -o out -e err -- firejail --quiet --noprofile sleep 100 >/dev/null
	wait_until eval '[ "$(as xps -n -j "$JOB" -o PID | wc -l)" -gt 1 ]'
	run as xcheckpoint "$JOB"
	status_is 5
	state=$(as xps -n -j "$JOB" -o STATE | tr -d ' ')
	[ "$state" = running ]
}

# tmux in a sandbox with a devpts of its own; its socket lies in the directory that both sides see
tmux_in()
{
	need_command bwrap tmux
	PLACE=${PLACE:-$BATS_TEST_TMPDIR} STATUS=0
	cd "$PLACE"
	t() { as tmux -N -S "$PLACE/sock" "$@"; }
	shows() { t capture-pane -p -t box | grep -q "$1"; }
	export TERM=xterm
	unset TMUX
	as bwrap "$@" --bind "$PLACE" "$PLACE" true 2>why || skip "bwrap cannot make this sandbox here: $(tail -n 1 why)"
	printf 'set -g exit-empty off\nset -g default-terminal screen\n' >tmux.conf
	JOB="t$$-$BATS_TEST_NUMBER"
	as xcgexec -d -j "$JOB" -o out -e err -- bwrap "$@" --bind "$PLACE" "$PLACE" tmux -S "$PLACE/sock" -f "$PLACE/tmux.conf" -D >/dev/null
	# -N: the first one would start a server of its own
	wait_until t list-commands || { explain; return 1; }
	t new-session -d -s box -x 80 -y 24 "bash --norc"
	t send-keys -t box 'PS1="now> "; x=kept; tty; sleep 1000 &' Enter
	wait_until shows '^now>$'
	wait_until shows '^/dev/pts/[0-9]*$'
	for ((i = 0; i < ROUNDS + 1; i++)); do
		t send-keys -t box "echo round $i" Enter
		wait_until shows "^round $i\$"
		t capture-pane -p -t box >before
		checkpoint_kill
		restart
		t capture-pane -p -t box >after
		cmp before after
	done
	t send-keys -t box 'fg' Enter
	wait_until shows 'sleep 1000$'
	t send-keys -t box C-c
	t send-keys -t box 'clear; echo $x $(tty) $(jobs | wc -l); exec 5</dev/tty; stty size <&5' Enter
	wait_until shows '^kept /dev/pts/[0-9]* 0$'
	wait_until shows '^2[0-9] 80$'
	as xcgkill -q "$JOB"
}

@test "bwrap with a new /dev: tmux inside, with bash on its terminal" { tmux_in "${small[@]}"; }

@test "bwrap with the machine's /dev: tmux inside" { tmux_in --unshare-pid --dev-bind / / --proc /proc; }

@test "ordinary user: bwrap with a new /dev: tmux inside, with bash on its terminal" {
	ordinary
	tmux_in "${small[@]}"
}
