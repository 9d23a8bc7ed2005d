#!/usr/bin/env bats
# Tools at work on files of their own: git, rsync, java, cron; perl with sockets.

load real

setup_file() { wants git=git rsync=rsync perl=perl java=default-jre-headless javac=default-jdk-headless; }

@test "git: a history is written, packed and verified" {
	need_command git
	export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_CONFIG_GLOBAL=/dev/null
	export GIT_AUTHOR_DATE="2020-01-01T00:00:00Z" GIT_COMMITTER_DATE="2020-01-01T00:00:00Z"
	progress() { lines_of log; }
	results() { git -C r rev-parse HEAD; git -C r cat-file --batch-all-objects --batch-check | sort | sha256sum; cat out; }
	survive sh -c 'git init -q r && cd r && n=0; while [ $n -lt $((40 * LENGTH)) ]; do
			n=$((n + 1)); seq $n $((n + 3000)) >file$((n % 7)); git add . && git commit -q -m "commit $n" || exit 1
			[ $((n % 15)) -ne 0 ] || git repack -q -a -d || exit 1
			echo $n >>../log
		done; git gc -q --aggressive --prune=now && git fsck --full --strict && git log --format=%H | sha256sum'
}

@test "rsync of a tree, three processes and their sockets" {
	need_command rsync
	progress() { size_of copy/* copy/.[!.]*; }
	results() { (cd copy && sha256sum *); cat out; }
	mkdir "$BATS_TEST_TMPDIR/tree"
	for i in $(seq 8); do seq "$i" $((150000 * LENGTH)) >"$BATS_TEST_TMPDIR/tree/$i"; done
	survive sh -c 'rsync -a --bwlimit=$((4000 * LENGTH)) ../tree/ copy/ && rsync -anc --itemize-changes ../tree/ copy/ && echo same'
}

@test "Java: NIO selector and pipe, files, without shared class data" {
	need_command java javac
	progress() { lines_of log; }
	results() { cat out; }
	cat >Nio.java <<-'END'
		import java.nio.*; import java.nio.channels.*; import java.nio.file.*; import java.util.*; import java.util.zip.*;
		public class Nio { public static void main(String[] a) throws Exception {
		  int n = 3000 * Integer.parseInt(System.getenv("LENGTH"));
		  Pipe p = Pipe.open(); Selector s = Selector.open();
		  p.source().configureBlocking(false); p.source().register(s, SelectionKey.OP_READ);
		  Thread t = new Thread(() -> { try { CRC32 c = new CRC32(); ByteBuffer b = ByteBuffer.allocate(4096);
		    for (int i = 0; i < n; i++) { b.clear(); while (b.hasRemaining()) b.put((byte) (i * 31 + b.position())); b.flip(); c.update(b.duplicate());
		      while (b.hasRemaining()) p.sink().write(b); if (i % 10 == 0) Thread.sleep(5); }
		    p.sink().close(); System.out.println("sent " + c.getValue()); } catch (Exception e) { e.printStackTrace(); System.exit(3); } });
		  t.start();
		  CRC32 c = new CRC32(); long got = 0; ByteBuffer b = ByteBuffer.allocateDirect(8192);
		  FileChannel log = FileChannel.open(Path.of("log"), StandardOpenOption.CREATE, StandardOpenOption.APPEND);
		  for (int r = 0, k = 0; r >= 0;) { s.select(1000); s.selectedKeys().clear(); b.clear(); r = p.source().read(b); b.flip(); if (r > 0) { got += r; c.update(b); }
		    if (got / 40960 > k) { k = (int) (got / 40960); log.write(ByteBuffer.wrap("x\n".getBytes())); } }
		  t.join(); System.out.println("got " + got + " " + c.getValue()); } }
	END
	javac -d . Nio.java 3>&- || skip "no javac"
	survive java -Xshare:off -Xmx64m -cp "$PWD" Nio
}

@test "perl: unix and TCP sockets, a server that forks for each connection" {
	need_command perl
	progress() { lines_of log; }
	results() { cat out; }
	cat >job.pl <<-'END'
		use strict; use IO::Socket::INET; use IO::Socket::UNIX; use Socket; $| = 1; alarm 300;
		my $n = 1500 * $ENV{LENGTH};
		my @l = (IO::Socket::UNIX->new(Local => "sock", Listen => 4), IO::Socket::INET->new(LocalAddr => "127.0.0.1", Listen => 4));
		my $port = $l[1]->sockport;
		my @pids;
		for my $l (@l) {
			my $pid = fork // die; push @pids, $pid; next if $pid;
			$SIG{CHLD} = "IGNORE";
			for (;;) {
				my $c = $l->accept or next;
				next if fork;
				my $sum = 0;
				while (<$c>) { chomp; $sum = ($sum * 31 + $_) % 1000003; print $c "$sum\n"; }
				exit 0;
			}
		}
		socketpair(my $x, my $y, AF_UNIX, SOCK_DGRAM, PF_UNSPEC) or die;
		open my $log, ">>", "log" or die; $log->autoflush(1);
		my ($u, $t) = (IO::Socket::UNIX->new(Peer => "sock"), IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $port));
		$u && $t or die "connect: $!";
		my $want = 0;
		for my $i (1 .. $n) {
			$want = ($want * 31 + $i) % 1000003;
			for my $s ($u, $t) {
				print $s "$i\n";
				my $r = <$s>; defined $r && $r == $want or die "round $i: got $r, not $want";
			}
			my $d = "";
			send($x, "datagram $i", 0) && defined recv($y, $d, 100, 0) && $d eq "datagram $i" or die "datagram $i";
			if ($i % 100 == 0) { # a connection made after the restart, too
				my $new = IO::Socket::UNIX->new(Peer => "sock") or die "connect: $!";
				print $new "$i\n"; <$new> == $i or die "new connection";
			}
			print $log "$i\n" unless $i % 5;
			select undef, undef, undef, 0.001;
		}
		kill "TERM", @pids; waitpid $_, 0 for @pids;
		print "sum $want\n";
	END
	survive perl "$PWD/job.pl"
}
