#!/usr/bin/env bats
# More programs of an ordinary user, with their clients in the same job; and cron.

load real

setup_file()
{
	wants php=php-cli perl=perl mpirun=openmpi-bin mpicc=libopenmpi-dev go=golang-go redis-server=redis-server psql=postgresql-client cron=cron
	local pg=(/usr/lib/postgresql/*/bin/initdb)
	[ -x "${pg[0]}" ] || wants no-initdb-here=postgresql
}

HOLDER=
setup()
{
	xos_setup
	need_root
	PORT=$(free_port)
	export PORT
	cd "$BATS_TEST_TMPDIR" || return 1
}

teardown()
{
	xos_teardown
	[ -z "$HOLDER" ] || kill -9 "$HOLDER" 2>/dev/null || :
	[ -z "$CRON_PID_FILE" ] || rm -f /run/crond.pid
	return 0
}
CRON_PID_FILE=

@test "ordinary user: PHP's own web server with three workers, an answer on its way all the time" {
	need_command php perl
	ordinary
	cat >site.php <<-'END'
		<?php
		if ($_SERVER["REQUEST_URI"] !== "/slow") { echo hash("sha256", $_SERVER["REQUEST_URI"]), "\n"; return; }
		while (ob_get_level()) ob_end_flush();
		for ($i = 1; $i <= 200; $i++) { echo "line $i\n"; flush(); usleep(20000); }
	END
	cat >client.pl <<-END
		$client_head
		use Digest::SHA "sha256_hex";
		sub ask { my \$s = connected(); print \$s "GET \$_[0] HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"; is(line(\$s), "HTTP/1.1 200 OK"); while (line(\$s) ne "") { } \$s }
		my (\$i, \$answers, \$n, \$slow) = (0, 0, 0, ask("/slow"));
		do {
			\$i++;
			my \$s = ask("/\$i");
			is(line(\$s), sha256_hex("/\$i"));
			defined readline(\$s) and die "more than an answer";
			if (\$i % 2) { \$n++; is(line(\$slow), "line \$n") }
			if (\$n == 200) { defined readline(\$slow) and die "more than 200 lines"; \$slow = ask("/slow"); \$n = 0; \$answers++ }
		} while on(\$i);
		print "content after \$i and \$answers\\n";
	END
	run_server 'PHP_CLI_SERVER_WORKERS=3 php -q -S 127.0.0.1:$PORT site.php >server.log 2>&1' answers 'perl client.pl'
	rounds
	grep -q "^content" out
}

@test "ordinary user: Open MPI, four ranks over shared memory, then over TCP" {
	need_command mpirun mpicc
	ordinary
	# Session directories of its own: in /tmp those of other runs of this user come and go.
	progress() { size_of out; }
	results() { cat out; }
	mpicc -O2 -o "$XOS_USER_DIR/stencil" "$BATS_TEST_DIRNAME/stencil.c"
	survive mpirun --mca orte_tmpdir_base "$XOS_USER_DIR" --oversubscribe -np 4 "$XOS_USER_DIR/stencil" $((15000 * LENGTH))
	PLACE=$PLACE/tcp
	run_as_user mkdir "$PLACE"
	survive mpirun --mca orte_tmpdir_base "$XOS_USER_DIR" --mca btl tcp,self --mca btl_tcp_if_include lo --oversubscribe -np 4 "$XOS_USER_DIR/stencil" $((10000 * LENGTH))
}

@test "ordinary user: Go, goroutines, timers, an HTTP server and its clients in one program" {
	need_command go
	ordinary
	progress() { lines_of log; }
	results() { cat out; }
	go_build "$XOS_USER_DIR/program"
	survive "$XOS_USER_DIR/program"
}

@test "ordinary user: PostgreSQL, transactions over a unix socket and over TCP that stay open" {
	need_command perl psql
	local pg=(/usr/lib/postgresql/*/bin) server
	[ -x "${pg[0]}/initdb" ] || skip "PostgreSQL's initdb is not here"
	# initdb wants a user with a name.
	XOS_TEST_UID=65534
	[ "$(id -un $XOS_TEST_UID 2>/dev/null)" = nobody ] || skip "no user nobody"
	ordinary
	export PGDATABASE=postgres PGUSER=nobody
	as "${pg[0]}/initdb" -D data -A trust -N >initdb.log 2>&1
	cp "$BATS_TEST_DIRNAME/pg_client.pl" client.pl
	run_server "${pg[0]}/postgres -D data -p \$PORT -k \$PWD -c listen_addresses=127.0.0.1 -c autovacuum_naptime=1 -c checkpoint_timeout=30" \
		"${pg[0]}/pg_isready -q -h 127.0.0.1 -p \$PORT" "perl client.pl"
	rounds
	grep -q "^content" out
	# What is on the disk is whole, too.
	as "${pg[0]}/postgres" -D data -p "$PORT" -k "$PWD" -c listen_addresses= >again.log 2>&1 3>&- &
	server=$!
	wait_until "${pg[0]}/pg_isready" -q -h "$PWD" -p "$PORT"
	psql -h "$PWD" -p "$PORT" -AtXc 'CREATE EXTENSION amcheck' >/dev/null
	run "${pg[0]}/pg_amcheck" -h "$PWD" -p "$PORT" --heapallindexed postgres
	kill -INT "$(head -n 1 data/postmaster.pid)"
	wait $server || :
	[ "$status" -eq 0 ] || { tell "$output"; return 1; }
}

@test "ordinary user: redis-server that writes a log and rewrites it, two clients; its log holds all of it" {
	need_command redis-server perl
	ordinary
	local server got
	cat >client.pl <<-END
		$client_head
		my (\$a, \$b, \$i) = (connected(), connected(), 0);
		do {
			\$i++;
			print \$a "INCR counter\\r\\nRPUSH list \$i\\r\\n";
			is(line(\$a), ":\$i");
			is(line(\$a), ":\$i");
			if (\$i % 300 == 0) { print \$b "BGREWRITEAOF\\r\\n"; line(\$b) =~ /^\\+|already|progress/ or die "BGREWRITEAOF" }
			print \$b "SET key:\$i value:\$i\\r\\n";
			is(line(\$b), "+OK");
		} while on(\$i);
		print "content after \$i\\n";
	END
	run_server 'redis-server --port $PORT --bind 127.0.0.1 --save "" --appendonly yes --appendfsync everysec --dir . >server.log' answers 'perl client.pl'
	rounds
	got=$(sed -n 's/^content after //p' out)
	as redis-server --port "$PORT" --bind 127.0.0.1 --save "" --appendonly yes --dir . >again.log 2>&1 3>&- &
	server=$!
	wait_until answers
	wait_until grep -q 'Ready to accept\|ready to accept' again.log
	run perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $ENV{PORT});
		print $s "GET counter\r\nLLEN list\r\nDBSIZE\r\n"; <$s>; print join " ", map { s/\D//gr } scalar(<$s>), scalar(<$s>), scalar(<$s>);
		print $s "SHUTDOWN NOSAVE\r\n"; <$s>'
	wait $server || :
	[ "$output" = "$got $got $((got + 2))" ] || { tell "$output after $got"; return 1; }
}

# cron in namespaces of its own, where its tables are ours: it runs nothing of this machine's. The tools run there, too.
within() { clean nsenter --mount="/proc/$HOLDER/ns/mnt" --wd="$PWD" "$@" </dev/null; }

@test "cron: shells that it starts each minute" {
	need_command cron nsenter unshare
	local i minutes n
	mkdir tables
	if [ ! -e /run/crond.pid ]; then
		CRON_PID_FILE=1
		: >/run/crond.pid
	fi
	: >crontab
	: >crond.pid
	background unshare --mount --propagation private sh -c "
		mount -t tmpfs none /etc/cron.d && mount --bind $PWD/crontab /etc/crontab && mount --bind $PWD/tables /var/spool/cron/crontabs &&
		mount --bind $PWD/crond.pid /run/crond.pid && touch mounted && exec sleep 600"
	HOLDER=$!
	wait_until [ -e mounted ] || skip "no mounts of our own"
	cat >tick.sh <<-END
		cd $PWD
		minute=\$(date +%H%M) i=0
		until [ -e stop ]; do
			i=\$((i + 1))
			echo "\$minute \$i" >>log
			[ \$i -lt 300 ] || break
			sleep 0.1
		done
		echo "\$minute end" >>log
	END
	echo "* * * * * sh $PWD/tick.sh >>$PWD/ticks 2>&1" >tables/root
	chmod 600 tables/root
	JOB="t$$-$BATS_TEST_NUMBER" PLACE=$PWD STATUS=0 AS=(nsenter --mount="/proc/$HOLDER/ns/mnt" --wd="$PWD")
	as xcgexec -d -j "$JOB" -o out -e err -- cron -f >/dev/null
	sleep 0.3
	# once while cron sleeps, then while what it has started is at work
	checkpoint_kill
	restart
	for ((i = 0; i < ROUNDS; i++)); do
		n=$(lines_of log)
		XOS_WAIT=70 wait_until more_than "$n"
		checkpoint_kill
		restart
	done
	n=$(lines_of log)
	XOS_WAIT=70 wait_until more_than "$n"
	touch stop
	minutes=$(cut -d ' ' -f 1 log | sort -u | wc -l)
	wait_until eval '[ $(grep -c end log) -eq '"$minutes"' ]' || { tail -n 5 log >&2; false; }
	as xcgkill -q "$JOB"
	# No line is missing or there twice, and no shell ran twice.
	awk '$2 == "end" { ended[$1]++; next } ended[$1] || $2 != ++n[$1] { print; bad = 1 } END { exit bad }' log >&2
	[ "$(grep -c 'end$' log)" -eq "$minutes" ]
	[ ! -s ticks ]
}
