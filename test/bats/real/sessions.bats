#!/usr/bin/env bats
# Sessions of people: terminals inside the job, editors, logins, copies over the network.

load real

setup_file()
{
	wants tmux=tmux vim.tiny=vim-tiny sshd=openssh-server ssh=openssh-client git=git rsync=rsync mariadbd=mariadb-server perl=perl python3=python3
}
setup()
{
	xos_setup
	need_root
	cd "$BATS_TEST_TMPDIR" || return 1
	PLACE=$PWD STATUS=0
	JOB="t$$-$BATS_TEST_NUMBER"
}
listens() { perl -MIO::Socket::INET -e "exit !IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $1)"; }
more_than() { [ "$(lines_of log)" -gt $(($1 + 2)) ] || job_ended; }

@test "tmux with bash and vim: the screen is the same, and typing goes on" {
	need_command tmux vim.tiny
	t() { clean tmux -N -S "$PWD/sock" "$@"; }
	shows() { t capture-pane -p -t "$1" | grep -q "$2"; }
	unset TMUX
	export TERM=xterm
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

@test "an sshd session: the client inside the job goes on" {
	need_command sshd ssh perl
	local port
	port=$(free_port)
	mkdir -p /run/sshd
	ssh-keygen -q -t ed25519 -N '' -f host >/dev/null
	ssh-keygen -q -t ed25519 -N '' -f user >/dev/null
	cp user.pub keys
	chmod 600 keys
	cat >sshd.conf <<-END
		Port $port
		ListenAddress 127.0.0.1
		HostKey $PWD/host
		AuthorizedKeysFile $PWD/keys
		StrictModes no
		PidFile none
		UsePAM no
		PermitRootLogin yes
	END
	cat >job.sh <<-END
		$(command -v sshd) -D -f $PWD/sshd.conf -E $PWD/sshd.log &
		server=\$!
		until perl -MIO::Socket::INET -e 'exit !IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $port)'; do sleep 0.1; done
		perl -e '\$| = 1; for (my \$i = 1; !-e "stop"; \$i++) { print "\$i\\n"; my \$l = <STDIN>; \$l == \$i or die "got \$l for \$i"; }' <back |
			ssh -p $port -i $PWD/user -o StrictHostKeyChecking=no -o UserKnownHostsFile=$PWD/known -o LogLevel=ERROR root@127.0.0.1 \
				'cd $PWD && exec perl echo.pl' >back
		status=\$?
		kill \$server
		exit \$status
	END
	echo '$| = 1; while (<STDIN>) { print; open(L, ">>", "log"); print L $_; close L }' >echo.pl
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
		job_ended && break
		checkpoint_kill
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
		rsync -a --bwlimit=10000 rsync://127.0.0.1:$port/m/ to/ || exit 1
		kill \$server
	END
	as xcgexec -d -j "$JOB" -o out -e err -- bash job.sh >/dev/null
	wait_until test -d to
	for ((i = 0; i < ROUNDS; i++)); do
		checkpoint_kill
		restart
		sleep 0.2
		job_ended && break
	done
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

@test "bash on somebody's terminal comes back on another terminal, of another size: xrestart -t" {
	need_command tmux
	t() { clean tmux -S "$PWD/sock" "$@"; }
	shows() { t capture-pane -p -t "$1" | grep -q "$2"; }
	unset TMUX
	export TERM=xterm
	printf 'set -g exit-empty off\nset -g default-terminal screen\nset -g remain-on-exit on\n' >tmux.conf
	t -f "$PWD/tmux.conf" new-session -d -s one -x 80 -y 24 "xcgexec -j $JOB -- bash --norc"
	t send-keys -t one 'PS1="now> "; x=kept' Enter
	wait_until shows one '^now>$'
	for ((i = 0; i < ROUNDS; i++)); do
		as xcheckpoint -k -q "$JOB" || { t kill-server; return 1; }
		t new-session -d -s "again$i" -x $((90 + i)) -y 30 "xrestart -t -q $JOB"
		wait_until is_running
		t send-keys -t "again$i" "echo \$x-$i \$(stty size)" Enter
		wait_until shows "again$i" "^kept-$i 30 $((90 + i))\$" || { t capture-pane -p -t "again$i" >&2; t kill-server; return 1; }
		t send-keys -t "again$i" 'sleep 1000' Enter
		sleep 0.2
		t send-keys -t "again$i" C-c
		wait_until shows "again$i" '^now>$' || { t capture-pane -p -t "again$i" >&2; t kill-server; return 1; }
	done
	t send-keys -t "again$((i - 1))" 'exit 7' Enter
	wait_until job_ended
	t kill-server
	[ "$(as xps -a -n -j "$JOB" -o EXIT | tr -d ' ')" = 7 ]
}
is_running() { [ "$(job_state)" = running ]; }
