#!/usr/bin/env bats
# Sessions of people: terminals inside the job, editors, logins, copies over the network.

load real

setup_file()
{
	wants tmux=tmux screen=screen script=bsdutils less=less top=procps nano=nano mc=mc vim.tiny=vim-tiny sshd=openssh-server ssh=openssh-client git=git rsync=rsync mariadbd=mariadb-server perl=perl python3=python3
}
setup()
{
	xos_setup
	need_root
	cd "$BATS_TEST_TMPDIR" || return 1
	PLACE=$PWD STATUS=0
	JOB="t$$-$BATS_TEST_NUMBER"
}
teardown()
{
	[ -z "${OUTER:-}" ] || t kill-server || :
	xos_teardown
}
listens() { perl -MIO::Socket::INET -e "exit !IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $1)"; }
more_than() { [ "$(lines_of log)" -gt $(($1 + 2)) ] || job_ended; }

# whose [user]: the job
whose()
{
	if [ "${1:-}" = user ]; then
		ordinary
		STATUS=0
	fi
	unset TMUX STY
	export TERM=xterm SHELL=/bin/bash HOME=$PWD
}

# ---- terminals inside the job ----

tmux_session()
{
	need_command tmux vim.tiny
	whose "$@"
	t() { as tmux -N -S "$PLACE/sock" "$@"; }
	shows() { t capture-pane -p -t "$1" | grep -q "$2"; }
	printf 'set -g exit-empty off\nset -g default-terminal screen\n' >tmux.conf
	as xcgexec -d -j "$JOB" -o out -e err -- tmux -S "$PWD/sock" -f "$PWD/tmux.conf" -D >/dev/null
	wait_until t list-commands >/dev/null
	t new-session -d -s shell -x 80 -y 24 "bash --norc"
	t new-session -d -s edit -x 90 -y 30 "vim.tiny -u NONE '$PWD/text'"
	t send-keys -t shell 'PS1="now> "; x=kept; sleep 1000 &' Enter
	wait_until shows shell '^now>$'
	t send-keys -t edit 'ione line' Enter 'and half a li'
	wait_until shows edit 'half a li'
	for ((i = 0; i < ROUNDS; i++)); do
		t capture-pane -p -t shell >shell.before
		t capture-pane -p -t edit >edit.before
		checkpoint_kill
		restart
		t capture-pane -p -t shell >shell.after
		t capture-pane -p -t edit >edit.after
		cmp shell.before shell.after
		cmp edit.before edit.after
	done
	t send-keys -t edit 'ne' Escape ':wq' Enter
	wait_until test -s text
	[ "$(cat text)" = "$(printf 'one line\nand half a line')" ]
	t send-keys -t shell 'echo $x $(jobs | wc -l) > said' Enter
	wait_until test -s said
	[ "$(cat said)" = "kept 1" ]
	t send-keys -t shell 'fg' Enter
	wait_until shows shell 'sleep 1000$'
	t send-keys -t shell C-c
	wait_until shows shell '^now>$'
	as xcgkill -q "$JOB"
}

@test "tmux with bash and vim: the screen is the same, and typing goes on" { tmux_session; }
@test "the same as an ordinary user" { tmux_session user; }

screen_session()
{
	need_command screen vim.tiny
	whose "$@"
	export SCREENDIR=$PLACE/dir
	as mkdir -m 700 "$SCREENDIR"
	s() { as env SCREENDIR="$SCREENDIR" screen -S work "$@"; }
	hard() { rm -f "$1" && s -X hardcopy "$PLACE/$1" && wait_until test -s "$1"; }
	shows() { hard now && grep -q "$1" now; }
	as env SCREENDIR="$SCREENDIR" xcgexec -d -j "$JOB" -o out -e err -- screen -D -m -S work -c /dev/null bash --norc >/dev/null
	wait_until s -Q select . >/dev/null
	s -X stuff 'PS1="now> "; x=kept; vim.tiny -u NONE text\n'
	wait_until shows '"text"'
	s -X stuff 'ione line\nand half a li'
	wait_until shows 'half a li'
	for ((i = 0; i < ROUNDS; i++)); do
		hard before
		checkpoint_kill
		restart
		hard after
		cmp before after
	done
	s -X stuff 'ne\033:wq\n'
	wait_until test -s text
	[ "$(cat text)" = "$(printf 'one line\nand half a line')" ]
	s -X stuff 'echo \$x >said; exit\n'
	wait_until test -s said
	[ "$(cat said)" = kept ]
	finish 0
}

@test "screen with bash and vim" { screen_session; }
@test "screen with bash and vim of an ordinary user" { XOS_TEST_UID=65534 screen_session user; } # screen wants an entry in passwd

# sshd_here: its settings and keys; $SSH is the client with what it needs
sshd_here()
{
	PORT=$(free_port)
	mkdir -p /run/sshd
	ssh-keygen -q -t ed25519 -N '' -f host >/dev/null
	ssh-keygen -q -t ed25519 -N '' -f user >/dev/null
	cp user.pub keys
	chmod 600 keys
	cat >sshd.conf <<-END
		Port $PORT
		ListenAddress 127.0.0.1
		HostKey $PWD/host
		AuthorizedKeysFile $PWD/keys
		StrictModes no
		PidFile none
		UsePAM no
		PermitRootLogin yes
	END
	SSH="ssh -p $PORT -i $PWD/user -o StrictHostKeyChecking=no -o UserKnownHostsFile=$PWD/known -o LogLevel=ERROR"
}

# sshd_session OPTION BEFORE: of ssh, and what the login does first
sshd_session()
{
	need_command sshd ssh perl
	sshd_here
	cat >job.sh <<-END
		$(command -v sshd) -D -f $PWD/sshd.conf -E $PWD/sshd.log &
		server=\$!
		until perl -MIO::Socket::INET -e 'exit !IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $PORT)'; do sleep 0.1; done
		perl -e '\$| = 1; until (<STDIN> =~ /ready/) {} for (my \$i = 1; !-e "stop"; \$i++) { print "\$i\\n"; my \$l = <STDIN>; \$l == \$i or die "got \$l for \$i"; } print "end\\n"' <back |
			$SSH $1 root@127.0.0.1 'cd $PWD && $2 exec perl echo.pl' >back
		status=\$?
		kill \$server
		exit \$status
	END
	echo '$| = 1; print "ready\n"; while (($_ = <STDIN>) ne "end\n") { print; open(L, ">>", "log"); print L $_; close L }' >echo.pl
	mkfifo back
	as xcgexec -d -j "$JOB" -o out -e err -- bash job.sh >/dev/null
	wait_until more_than 0
	for ((i = 0; i < ROUNDS; i++)); do
		checkpoint_kill
		restart
		seen=$(lines_of log)
		wait_until more_than "$seen"
	done
	touch stop
	finish 0
	[ "$(cat log)" = "$(seq "$(lines_of log)")" ]
}

@test "an sshd session: the client inside the job goes on" { sshd_session '' ''; }
@test "an sshd session with a terminal" { sshd_session -tt 'tty >tty && stty raw -echo &&'; grep -q /dev/pts tty; }

@test "git clone over a git daemon on this machine" {
	need_command git perl
	git daemon --help >/dev/null 2>&1 || [ -x "$(git --exec-path)/git-daemon" ] || skip "git daemon is not here"
	local port
	port=$(free_port)
	export HOME=$PWD GIT_AUTHOR_NAME=x GIT_AUTHOR_EMAIL=x@x GIT_COMMITTER_NAME=x GIT_COMMITTER_EMAIL=x@x
	mkdir repos repos/r
	git init -q repos/r
	perl -e 'srand 7; for $f (1 .. 300) { open(F, ">", "repos/r/f$f"); print F join("", map { rand() . "\n" } 1 .. 3000) }'
	git -C repos/r add . && git -C repos/r commit -qm one
	cat >job.sh <<-END
		git daemon --listen=127.0.0.1 --port=$port --base-path=$PWD/repos --export-all --reuseaddr &
		server=\$!
		until perl -MIO::Socket::INET -e 'exit !IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $port)'; do sleep 0.1; done
		for i in 1 2 3; do
			git clone -q git://127.0.0.1:$port/r copy\$i || exit 1
			echo \$i >>log
			git -C copy\$i fsck --full || exit 2
		done
		kill \$server
	END
	as xcgexec -d -j "$JOB" -o out -e err -- bash job.sh >/dev/null
	for ((i = 0; i < ROUNDS + 2; i++)); do
		sleep 0.4
		checkpoint_kill || { job_ended && break; return 1; }
		restart
	done
	[ "$i" -gt 0 ]
	finish 0
	for i in 1 2 3; do
		[ "$(git -C copy$i rev-parse HEAD:)" = "$(git -C repos/r rev-parse HEAD:)" ]
	done
}

@test "rsync from a daemon on this machine" {
	need_command rsync perl
	local port
	port=$(free_port)
	mkdir from
	perl -e 'srand 7; for $f (1 .. 200) { open(F, ">", "from/f$f"); print F join("", map { rand() . "\n" } 1 .. 5000) }'
	cat >rsyncd.conf <<-END
		use chroot = no
		pid file = $PWD/rsyncd.pid
		log file = $PWD/rsyncd.log
		address = 127.0.0.1
		port = $port
		[m]
		path = $PWD/from
	END
	cat >job.sh <<-END
		rsync --daemon --no-detach --config=$PWD/rsyncd.conf &
		server=\$!
		until perl -MIO::Socket::INET -e 'exit !IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $port)'; do sleep 0.1; done
		rsync -a --bwlimit=$((ROUNDS > 1 ? 3000 : 10000)) rsync://127.0.0.1:$port/m/ to/ || exit 1
		kill \$server
	END
	as xcgexec -d -j "$JOB" -o out -e err -- bash job.sh >/dev/null
	wait_until test -d to
	for ((i = 0; i < ROUNDS; i++)); do
		checkpoint_kill || { job_ended && break; return 1; }
		restart
		sleep 0.2
	done
	[ "$i" -gt 0 ]
	finish 0
	diff -r from to
}

@test "MariaDB: a transaction over a unix socket and one over TCP that stay open" {
	need_command mariadbd perl
	command -v mariadb-install-db >/dev/null || skip "mariadb-install-db is not here"
	local port
	port=$(free_port)
	mariadb-install-db --no-defaults --datadir="$PWD/data" --user=root --auth-root-authentication-method=normal >install.log 2>&1
	cat >client.pl <<-'END'
		use strict; use IPC::Open2; alarm 300;
		open(my $log, ">>", "log") or die; $log->autoflush(1);
		my (@in, @out, $i);
		for my $how (["--socket=$ENV{PWD}/db.sock"], ["--host=127.0.0.1", "--port=$ENV{PORT}"]) {
			open2(my $o, my $w, "mariadb", "--no-defaults", "-uroot", @$how, "-nNBq") or die;
			push @in, $w; push @out, $o; $w->autoflush(1);
		}
		sub ask { my ($k, $sql) = @_; my $w = $in[$k]; print $w "$sql;\n"; my $o = $out[$k]; my $l = <$o>; defined $l or die "the client has ended"; chomp $l; $l }
		ask(0, "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, who INT, v TEXT) ENGINE=InnoDB; SELECT 1");
		for my $k (0, 1) { ask($k, "USE d; BEGIN; SELECT 1") }
		do {
			$i++;
			for my $k (0, 1) {
				my $id = 2 * $i + $k;
				my $n = ask($k, "INSERT INTO t VALUES ($id, $k, repeat('x', 500)); SELECT count(*) FROM t WHERE who = $k");
				$n == $i or die "$n rows, not $i";
			}
			print $log "$i\n" unless $i % 5;
		} until -e "stop";
		for my $k (0, 1) { ask($k, "COMMIT; SELECT 1") }
		my $n = ask(1, "SELECT concat(count(*), ' ', sum(length(v))) FROM t");
		$n eq 2 * $i . " " . 1000 * $i or die "committed: $n";
		$n = ask(1, "CHECK TABLE t EXTENDED");
		$n =~ /OK$/ or die "check: $n";
		print "content after $i\n";
	END
	cat >job.sh <<-END
		export PORT=$port
		mariadbd --no-defaults --datadir=$PWD/data --user=root --socket=$PWD/db.sock --port=$port --bind-address=127.0.0.1 --pid-file=$PWD/db.pid >db.log 2>&1 &
		server=\$!
		n=0
		until mariadb --no-defaults -uroot --socket=$PWD/db.sock -e 'SELECT 1' >/dev/null 2>&1; do n=\$((n + 1)); [ \$n -lt 200 ] || exit 9; sleep 0.1; done
		perl client.pl
		status=\$?
		kill \$server
		wait \$server
		exit \$status
	END
	as xcgexec -d -j "$JOB" -o out -e err -- bash job.sh >/dev/null
	XOS_WAIT=60 wait_until more_than 0
	for ((i = 0; i < ROUNDS + 1; i++)); do
		checkpoint_kill
		restart
		seen=$(lines_of log)
		wait_until more_than "$seen"
	done
	touch stop
	finish 0
	grep -q "^content" out
}

@test "a job that gdb holds is refused by name" {
	need_command gdb
	as xcgexec -d -j "$JOB" -o out -e err -- gdb -q -batch -ex run -ex 'shell sleep 1000' --args sleep 1000 >/dev/null
	# What gdb tries out before the program runs is traced only for a moment.
	traced()
	{
		local p
		for p in $(in_job "$JOB"); do
			awk '/^Name:\tsleep$/ { s = 1 } /^TracerPid/ && $2 { t = 1 } END { exit !(s && t) }' "/proc/$p/status" && return 0
		done
		return 1
	}
	wait_until traced
	run as xcheckpoint "$JOB"
	[ "$status" -eq 4 ] || { tell "$status: $output"; return 1; }
	[[ "$output" == *"already traced by pid"*"(gdb)"* ]]
	traced
	as xcgkill -q "$JOB"
}

# ---- somebody else's terminal ----

# The windows of a tmux that is not in the job are the terminals. `first COMMAND` runs it as a job in the first one.
outer()
{
	need_command tmux
	as sh -c "printf 'set -g exit-empty off\\nset -g default-terminal screen\\nset -g remain-on-exit on\\n' >tmux.conf; seq 200 >numbers"
	OUTER=$PLACE/outer VIA=
}
t() { as tmux -S "$OUTER" -f "$PLACE/tmux.conf" "$@"; }
shows() { t capture-pane -p -t "$1" | grep -q -- "$2"; }
window() { rm -f ended; W=$1; t new-session -d -s "$W" -x "$2" -y 24 "$VIA$3; echo \$? >ended"; }
first() { window w 80 "xcgexec -j $JOB -- $*" && wait_until is_running; }
is_running() { [ "$(job_state)" = running ]; }
# painted PATTERN: the newest terminal shows it
painted() { XOS_WAIT=$SLOW wait_until shows "$W" "$1" || { t capture-pane -p -t "$W" >&2; return 1; }; }
has_ended() { [ "$(cat ended)" = "$1" ]; }
# moves COMMAND: the job goes to a new terminal, again and again, of the same and of another size; then COMMAND ROUND COLUMNS must succeed
moves()
{
	for ((i = 0; i < ROUNDS + 1; i++)); do
		as xcheckpoint -k -q "$JOB" || return 1
		XOS_WAIT=$SLOW wait_until has_ended 75
		t kill-session -t "$W"
		window "w$i" $((80 + i % 4)) "xrestart -t -q $JOB"
		"$1" "$i" $((80 + i % 4)) || { tell "round $i"; t capture-pane -p -t "$W" >&2; return 1; }
	done
}
keys() { t send-keys -t "$W" "$@"; }
ends() { XOS_WAIT=$SLOW wait_until has_ended "$1" && [ "$(as xps -a -n -j "$JOB" -o EXIT | tr -d ' ')" = "$1" ]; }

less_moves() { need_command less; first less numbers; painted '^22$'; keys 30g; painted '^52$'; sees() { painted '^52$'; }; moves sees; keys q; ends 0; }
top_moves() { need_command top; first top; painted 'PID USER'; sees() { painted 'PID USER'; }; moves sees; keys q; ends 0; }
nano_moves()
{
	need_command nano
	first nano -I text
	painted 'Write Out'
	keys 'half a li'
	painted 'half a li'
	sees() { painted 'half a li' && painted 'Write Out'; }
	moves sees
	keys ne C-s C-x
	ends 0
	[ "$(cat text)" = "half a line" ]
}
vim_moves()
{
	need_command vim.tiny
	first vim.tiny -u NONE text
	painted '^~$'
	keys 'ihalf a li'
	painted 'half a li'
	sees() { painted 'half a li' && painted '^~$'; }
	moves sees
	keys ne Escape ':wq' Enter
	ends 0
	[ "$(cat text)" = "half a line" ]
}
mc_moves()
{
	need_command mc
	first mc --nomouse
	painted '10Quit'
	sees() { painted '10Quit' && painted numbers; }
	moves sees
	keys F10
	ends 0
}

@test "less on a terminal, back on others" { whose; outer; less_moves; }
@test "top on a terminal, back on others" { whose; outer; top_moves; }
@test "nano on a terminal, back on others" { whose; outer; nano_moves; }
@test "vim on a terminal, back on others" { whose; outer; vim_moves; }
@test "mc on a terminal, back on others" { whose; outer; mc_moves; }
@test "less of an ordinary user on a terminal, back on others" { whose user; outer; less_moves; }
@test "nano of an ordinary user on a terminal, back on others" { whose user; outer; nano_moves; }
@test "vim of an ordinary user on a terminal, back on others" { whose user; outer; vim_moves; }

recorded()
{
	need_command script
	whose "$@"
	outer
	first "script -q -e -f record -c 'bash --norc'"
	keys 'PS1="now> "; x=kept' Enter
	painted '^now>$'
	# script may take keys before it has heard of the size.
	says() { keys Enter && painted '^now>$' && keys "echo \$x-$1 \$(stty size)" Enter && painted "^kept-$1 24 $2\$"; }
	moves says
	keys 'exit 7' Enter
	ends 7
	for ((i = 0; i < ROUNDS + 1; i++)); do
		grep -q "kept-$i 24 $((80 + i % 4))" record || { tell "round $i is not in the record"; return 1; }
	done
	grep -q '^Script done' record
}

@test "script records a session that goes from terminal to terminal" { recorded; }
@test "script records the same of an ordinary user" { recorded user; }

@test "a job in an ssh -t login goes on in the next login" {
	need_command sshd ssh perl vim.tiny
	whose
	outer
	sshd_here
	background "$(command -v sshd)" -D -f "$PWD/sshd.conf" -E "$PWD/sshd.log"
	export PORT
	wait_until answers
	echo "exec $SSH -t root@127.0.0.1 \"cd $PWD && exec env XOS_STATE_DIR=$XOS_STATE_DIR XOS_PAM_CONF=$XOS_PAM_CONF $XOS_BUILD/bin/\$*\"" >login
	VIA="sh login "
	first "bash --norc"
	keys 'PS1="now> "; x=kept; vim.tiny -u NONE text' Enter
	painted '^~$'
	keys 'ihalf a li'
	painted 'half a li'
	sees() { painted 'half a li' && painted '^~$'; }
	moves sees
	keys ne Escape ':wq' Enter
	wait_until test -s text
	[ "$(cat text)" = "half a line" ]
	keys "echo \$x \$(stty size)" Enter
	painted "^kept 24 $((80 + (i - 1) % 4))\$"
	keys 'exit 7' Enter
	ends 7
}

@test "bash on a terminal, back on others: it has the foreground" {
	whose
	outer
	first bash --norc
	keys 'PS1="now> "; x=kept' Enter
	painted '^now>$'
	says()
	{
		keys "echo \$x-$1 \$(stty size)" Enter && painted "^kept-$1 24 $2\$" && keys 'clear; sleep 1000' Enter || return 1
		sleep 0.5
		keys C-c
		painted '^now>$'
	}
	moves says
	keys 'exit 7' Enter
	ends 7
}
