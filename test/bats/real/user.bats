#!/usr/bin/env bats
# Real programs of an ordinary user: no capability, no group, no set-up by root.

load real

setup_file() { wants python3=python3 gzip=gzip perl=perl redis-server=redis-server node=nodejs; }
setup() { xos_setup; ordinary; }

@test "ordinary user: python3 with threads" {
	need_command python3
	progress() { lines_of log; }
	cat >"$XOS_USER_DIR/job.py" <<-'END'
		import hashlib, os, threading
		n, out = 200 * int(os.environ["LENGTH"]), {}
		log = open("log", "a", buffering=1)
		def work(k):
		    h = b"%d" % k
		    for i in range(n):
		        for _ in range(2000):
		            h = hashlib.sha256(h).digest()
		        log.write("x\n")
		    out[k] = h.hex()
		t = [threading.Thread(target=work, args=(k,)) for k in range(4)]
		for x in t: x.start()
		for x in t: x.join()
		print(sorted(out.items()), os.getuid(), os.getgid(), os.getgroups())
	END
	survive "$(python3_path)" "$XOS_USER_DIR/job.py"
}

@test "ordinary user: gzip | tee | sha256sum pipeline" {
	progress() { size_of out.gz; }
	awk 'BEGIN { s = 42; for (i = 0; i < 300000; i++) { s = (s * 1103515245 + 12345) % 2147483648; print s, i % 97 } }' >"$XOS_USER_DIR/in"
	survive sh -c 'for i in $(seq $((2 * LENGTH))); do cat ../../in; done | gzip -7 | tee out.gz | sha256sum >sum'
}

@test "ordinary user: redis-server with clients over a unix socket and TCP" {
	need_command redis-server perl
	progress() { lines_of log; }
	results() { cat out; }
	cat >"$XOS_USER_DIR/job.pl" <<-'END'
		use strict; use IO::Socket::INET; use IO::Socket::UNIX; $| = 1; alarm 300;
		my $port = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport;
		my $server = fork // die;
		if (!$server) {
			open STDOUT, ">", "server.progress";
			exec "redis-server", "--port", $port, "--bind", "127.0.0.1", "--unixsocket", "sock", "--save", "", "--dir", "." or die;
		}
		my (@c, $n, $i);
		until (@c = grep { $_ } IO::Socket::UNIX->new(Peer => "sock"), IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $port) and @c == 2) {
			++$n < 200 or die "no server"; select undef, undef, undef, 0.05;
		}
		open my $log, ">>", "log" or die; $log->autoflush(1);
		for $i (1 .. 1500 * $ENV{LENGTH}) {
			for my $k (0, 1) {
				my $s = $c[$k];
				print $s "INCR counter\r\nSET k$i-$k v$i\r\n";
				my ($a, $b) = (scalar <$s>, scalar <$s>);
				$a eq ":" . (2 * $i - 1 + $k) . "\r\n" && $b eq "+OK\r\n" or die "round $i: $a$b";
			}
			print $log "$i\n" unless $i % 5;
			select undef, undef, undef, 0.001;
		}
		my $s = $c[0];
		print $s "DBSIZE\r\n"; print scalar <$s>;
		kill "TERM", $server; waitpid $server, 0;
		print "server ended with $?, uid $<\n";
	END
	survive perl "$XOS_USER_DIR/job.pl"
}

@test "ordinary user: a node.js server and its client, files and timers" {
	need_command node
	progress() { lines_of log; }
	results() { cat out; }
	cat >"$XOS_USER_DIR/job.js" <<-'END'
		const http = require('http'), fs = require('fs'), crypto = require('crypto');
		const n = 300 * process.env.LENGTH, agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
		let ticks = 0;
		const timer = setInterval(() => ticks++, 5);
		const server = http.createServer((q, s) => s.end(crypto.createHash('sha256').update(q.url).digest('hex')));
		server.listen(0, '127.0.0.1', async () => {
			let v = 'start';
			for (let i = 0; i < n; i++) {
				v = await new Promise((done, failed) => http.get({ agent, port: server.address().port, host: '127.0.0.1', path: '/' + v }, r => {
					let b = ''; r.on('data', d => b += d); r.on('end', () => done(b)); }).on('error', failed));
				fs.appendFileSync('log', i + '\n');
				await new Promise(done => setTimeout(done, 2));
			}
			console.log(v, ticks > 10, process.getuid());
			clearInterval(timer); agent.destroy(); server.close();
		});
	END
	survive node "$XOS_USER_DIR/job.js"
}
