#!/usr/bin/env bats
# Servers under load, with their clients in the same job: every answer over connections that live through all checkpoints is checked.

load real

setup_file()
{
	wants redis-server=redis-server nginx=nginx-light caddy=caddy memcached=memcached perl=perl nft=nftables node=nodejs php=php-cli ruby=ruby
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

# A file in html, and a client that gets it over eight connections that stay.
http_client()
{
	mkdir html
	perl -e 'print "line $_ of a file\n" for 1 .. 20000' >html/file.txt
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
}

@test "nginx with two workers and keep-alive connections" {
	need_command nginx perl
	mkdir tmp
	cat >nginx.conf <<-END
		daemon off; worker_processes 2; pid $PWD/nginx.pid; error_log $PWD/error.log; user root;
		events { worker_connections 64; }
		http {
			access_log off; keepalive_requests 1000000;
			client_body_temp_path $PWD/tmp; proxy_temp_path $PWD/tmp; fastcgi_temp_path $PWD/tmp; uwsgi_temp_path $PWD/tmp; scgi_temp_path $PWD/tmp;
			server { listen 127.0.0.1:$PORT; root $PWD/html; }
		}
	END
	http_client
	run_server "nginx -c $PWD/nginx.conf -p $PWD" answers 'perl client.pl'
	rounds
	grep -q "^content" out
}

@test "caddy, a web server in Go, with keep-alive connections" {
	need_command caddy perl
	cat >Caddyfile <<-END
		{
			admin off
			auto_https off
		}
		http://:$PORT {
			bind 127.0.0.1
			root * $PWD/html
			file_server
		}
	END
	http_client
	run_server "env HOME=$PWD caddy run --config Caddyfile" answers 'perl client.pl'
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
	cp "$BATS_TEST_DIRNAME/pg_client.pl" client.pl
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
