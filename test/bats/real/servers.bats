#!/usr/bin/env bats
# Servers under load, with their clients in the same job: every answer over connections that live through all checkpoints is checked.

load real

setup_file()
{
	wants redis-server=redis-server nginx=nginx-light memcached=memcached perl=perl nft=nftables node=nodejs php=php-cli ruby=ruby
	local pg=(/usr/lib/postgresql/*/bin/initdb)
	[ -x "${pg[0]}" ] || wants no-initdb-here=postgresql
}
setup()
{
	xos_setup
	need_root
	cd "$BATS_TEST_TMPDIR" || return 1
	chmod 755 .
	PORT=$(free_port)
	export PORT
}

answers() { perl -MIO::Socket::INET -e 'exit !IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $ENV{PORT})'; }

# A client's frame: connects, asks until there is a file `stop`, writes a line to `log` every few answers.
client_head='
	use IO::Socket::INET; use strict; $| = 1; alarm 300;
	open(my $log, ">>", "log") or die; $log->autoflush(1);
	sub connected { my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $ENV{PORT}) or die "connect: $!"; $s->autoflush(1); $s }
	sub line { my $l = readline($_[0]); defined $l or die "the connection has ended: $!"; $l =~ s/\r?\n$//; $l }
	sub is { $_[0] eq $_[1] or die "got \"" . substr($_[0], 0, 200) . "\", not \"$_[1]\"" }
	sub on { my $n = shift; print $log "$n\n" unless $n % 20; !-e "stop" }
'

# rounds: the job $JOB is checkpointed, killed and restarted while its clients go on; then they are told to stop, and must be content
rounds()
{
	local i seen pids
	for ((i = 0; i < ROUNDS + 1; i++)); do
		seen=$(lines_of log)
		wait_until more_than "$seen" || { explain; return 1; }
		checkpoint_kill && restart || return 1
	done
	seen=$(lines_of log)
	wait_until more_than "$seen" || { explain; return 1; }
	touch stop
	finish 0 || { tail -n 3 out err >&2; return 1; }
	cat out
}
more_than() { [ "$(lines_of log)" -gt $(($1 + 2)) ] || job_ended; }

# run_server SERVER READY CLIENT: the job: the server, and its client when READY succeeds; it ends with the client's status
run_server()
{
	JOB="t$$-$BATS_TEST_NUMBER"
	cat >job.sh <<-END
		$1 &
		server=\$!
		n=0
		until $2; do n=\$((n + 1)); [ \$n -lt 200 ] || exit 9; sleep 0.05; done
		$3
		status=\$?
		kill \$server
		wait \$server
		exit \$status
	END
	export -f answers
	as xcgexec -d -j "$JOB" -o out -e err -- bash job.sh >/dev/null || return 1
	PLACE=$PWD STATUS=0
	XOS_WAIT=30 wait_until more_than 0 || { explain; return 1; }
}

redis_client()
{
	cat >client.pl <<-END
		$client_head
		my (\$a, \$b, \$i) = (connected(), connected(), 0);
		for my \$k (1 .. 100) {
			print \$a join "", map { "SET key:\$_ value:\$_\\r\\n" } (\$k - 1) * 1000 + 1 .. \$k * 1000;
			is(line(\$a), "+OK") for 1 .. 1000;
		}
		do {
			\$i++;
			print \$a "INCR counter\\r\\n";
			is(line(\$a), ":\$i");
			my \$k = \$i * 7919 % 100000 + 1;
			print \$b "GET key:\$k\\r\\n";
			is(line(\$b), "\\\$" . length("value:\$k"));
			is(line(\$b), "value:\$k");
		} while on(\$i);
		print \$b "DBSIZE\\r\\n";
		is(line(\$b), ":100001");
		print "content after \$i\\n" if \$i > 100;
	END
}

@test "redis-server with 100,000 keys and two clients" {
	need_command redis-server perl
	redis_client
	run_server 'redis-server --port $PORT --bind 127.0.0.1 --save "" --dir . >server.log' answers 'perl client.pl'
	rounds
	grep -q "^content" out
}

@test "redis-server, its two clients outside the job: the same TCP connections go on" {
	need_command redis-server perl nft
	redis_client
	JOB="t$$-$BATS_TEST_NUMBER" PLACE=$PWD STATUS=0
	local client status=0 i seen
	as xcgexec -d -j "$JOB" -o out -e err -- redis-server --port "$PORT" --bind 127.0.0.1 --save "" --dir . >/dev/null
	wait_until answers
	clean perl client.pl >client.out 2>client.err &
	client=$!
	for ((i = 0; i < ROUNDS + 1; i++)); do
		seen=$(lines_of log)
		wait_until more_than "$seen"
		checkpoint_kill
		sleep 0.3
		restart
	done
	seen=$(lines_of log)
	wait_until more_than "$seen"
	touch stop
	wait $client || status=$?
	as xcgkill -q "$JOB"
	[ $status -eq 0 ] || { cat client.err >&2; return 1; }
	grep "^content" client.out
}

@test "memcached with four threads" {
	need_command memcached perl
	cat >client.pl <<-END
		$client_head
		my (\$s, \$i) = (connected(), 0);
		print \$s "set c 0 0 1\\r\\n0\\r\\n";
		is(line(\$s), "STORED");
		do {
			\$i++;
			print \$s "incr c 1\\r\\n";
			is(line(\$s), \$i);
			print \$s "set k\$i 0 0 5\\r\\nvalue\\r\\nget k\$i\\r\\n";
			is(line(\$s), "STORED");
			is(line(\$s), "VALUE k\$i 0 5");
			is(line(\$s), "value");
			is(line(\$s), "END");
		} while on(\$i);
		print "content after \$i\\n" if \$i > 100;
	END
	run_server 'memcached -u nobody -l 127.0.0.1 -p $PORT -U 0 -t 4' answers 'perl client.pl'
	rounds
	grep -q "^content" out
}

@test "nginx with two workers and keep-alive connections" {
	need_command nginx perl
	mkdir html tmp
	perl -e 'print "line $_ of a file\n" for 1 .. 20000' >html/file.txt
	cat >nginx.conf <<-END
		daemon off; worker_processes 2; pid $PWD/nginx.pid; error_log $PWD/error.log; user root;
		events { worker_connections 64; }
		http {
			access_log off; keepalive_requests 1000000;
			client_body_temp_path $PWD/tmp; proxy_temp_path $PWD/tmp; fastcgi_temp_path $PWD/tmp; uwsgi_temp_path $PWD/tmp; scgi_temp_path $PWD/tmp;
			server { listen 127.0.0.1:$PORT; root $PWD/html; }
		}
	END
	cat >client.pl <<-END
		$client_head
		open(my \$f, "<", "html/file.txt"); local \$/; my \$want = <\$f>; \$/ = "\\n";
		my (\$i, @s) = (0, map { connected() } 1 .. 8);
		do {
			\$i++;
			my \$s = \$s[\$i % @s];
			print \$s "GET /file.txt HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n";
			is(line(\$s), "HTTP/1.1 200 OK");
			my \$n;
			while ((my \$l = line(\$s)) ne "") { \$n = \$1 if \$l =~ /^Content-Length: (\\d+)/ }
			is(\$n, length \$want);
			read(\$s, my \$got, \$n) == \$n or die "short";
			\$got eq \$want or die "another file";
		} while on(\$i);
		print "content after \$i\\n" if \$i > 100;
	END
	run_server "nginx -c $PWD/nginx.conf -p $PWD" answers 'perl client.pl'
	rounds
	grep -q "^content" out
}

@test "PostgreSQL: transactions over a unix socket and over TCP that stay open" {
	need_command perl psql
	local pg=(/usr/lib/postgresql/*/bin) as_user
	[ -x "${pg[0]}/initdb" ] || skip "PostgreSQL's initdb is not here"
	# PostgreSQL refuses root, and nobody gets to where bats works.
	user_dir
	mkdir "$XOS_USER_DIR/pg" && cd "$XOS_USER_DIR/pg"
	chmod 777 .
	as_user="setpriv --reuid=65534 --regid=65534 --clear-groups"
	export PGDATABASE=postgres PGUSER=nobody
	$as_user "${pg[0]}/initdb" -D data -A trust -N >initdb.log 2>&1
	cat >client.pl <<-'END'
		use strict; use IPC::Open2; alarm 300;
		open(my $log, ">>", "log") or die; $log->autoflush(1);
		my (@in, @out, $i);
		for my $host ($ENV{PWD}, "127.0.0.1") {
			open2(my $o, my $w, "psql", "-h", $host, "-p", $ENV{PORT}, "-qAtX") or die;
			push @in, $w; push @out, $o; $w->autoflush(1);
		}
		sub ask { my ($k, $sql) = @_; my $w = $in[$k]; print $w "$sql;\n"; my $o = $out[$k]; my $l = <$o>; defined $l or die "psql has ended"; chomp $l; $l }
		ask(0, "CREATE TABLE t (id INT PRIMARY KEY, who INT, v TEXT); SELECT 1");
		for my $k (0, 1) { ask($k, "BEGIN; SELECT 1") }
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
		my $n = ask(1, "SELECT count(*) || ' ' || sum(length(v)) FROM t");
		$n eq 2 * $i . " " . 1000 * $i or die "committed: $n";
		print "content after $i\n";
	END
	chmod 644 client.pl
	run_server "$as_user ${pg[0]}/postgres -D data -p \$PORT -k \$PWD -c listen_addresses=127.0.0.1" \
		"${pg[0]}/pg_isready -q -h 127.0.0.1 -p \$PORT" "$as_user perl client.pl"
	rounds
	grep -q "^content" out
	# What is on the disk is whole, too.
	$as_user "${pg[0]}/postgres" -D data -p "$PORT" -k "$PWD" -c listen_addresses= >again.log 2>&1 3>&- &
	local server=$!
	wait_until "${pg[0]}/pg_isready" -q -h "$PWD" -p "$PORT"
	psql -h "$PWD" -p "$PORT" -AtXc 'CREATE EXTENSION amcheck' >/dev/null
	run "${pg[0]}/pg_amcheck" -h "$PWD" -p "$PORT" --heapallindexed postgres
	kill -INT $server
	wait $server || :
	[ "$status" -eq 0 ] || { tell "$output"; return 1; }
}

@test "a node.js HTTP server" {
	need_command node perl
	cat >server.js <<-'END'
		let n = 0;
		require('http').createServer((q, s) => { n++; s.setHeader('Content-Type', 'text/plain'); s.end(`${n} ${q.url}\n`); })
			.listen(+process.env.PORT, '127.0.0.1');
		setInterval(() => {}, 10);
	END
	cat >client.pl <<-END
		$client_head
		my (\$s, \$i) = (connected(), 0);
		do {
			\$i++;
			print \$s "GET /\$i HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n";
			my \$n = 0;
			while ((my \$l = line(\$s)) ne "") { \$n = \$1 if \$l =~ /^Content-Length: (\\d+)/i }
			read(\$s, my \$got, \$n) == \$n or die "short";
			is(\$got, "\$i /\$i\\n");
		} while on(\$i);
		print "content after \$i\\n" if \$i > 100;
	END
	run_server 'node server.js' answers 'perl client.pl'
	rounds
	grep -q "^content" out
}

@test "php, ruby and perl talk to one another over TCP" {
	need_command php ruby perl
	cat >server.php <<-'END'
		<?php $s = stream_socket_server("tcp://127.0.0.1:" . getenv("PORT")); $sum = 0; $c = [];
		for (;;) {
			$r = array_merge([$s], $c); $w = $e = null;
			stream_select($r, $w, $e, null);
			foreach ($r as $x) {
				if ($x === $s) { $c[] = stream_socket_accept($s); continue; }
				$l = fgets($x);
				if ($l === false) { $c = array_filter($c, fn($y) => $y !== $x); continue; }
				$sum += (int)$l; fwrite($x, "$sum\n");
			}
		}
	END
	cat >client.rb <<-'END'
		require 'socket'
		s = TCPSocket.new('127.0.0.1', ENV['PORT'].to_i)
		log = File.open('log', 'a'); log.sync = true
		i = 0
		loop do
			i += 1
			s.puts i
			got = s.gets.to_i
			abort "#{got} instead of #{i * (i + 1) / 2}" unless got == i * (i + 1) / 2
			log.puts i if i % 20 == 0
			break if File.exist?('stop')
		end
		puts "content after #{i}"
	END
	run_server 'php server.php' answers 'ruby client.rb'
	rounds
	grep -q "^content" out
}
