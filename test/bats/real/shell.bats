#!/usr/bin/env bats
# What a shell user starts: scripts, pipelines, filters.

load real

setup_file() { wants bash=bash perl=perl gzip=gzip xz=xz-utils bc=bc busybox=busybox zstd=zstd; }

# numbers N: N lines that a compressor has work with, the same each time
numbers() { awk -v n="$1" 'BEGIN { s = 42; for (i = 0; i < n; i++) { s = (s * 1103515245 + 12345) % 2147483648; print s, i % 97 } }'; }

@test "gzip | tee | sha256sum pipeline" {
	VARIANTS="kill later"
	progress() { size_of out.gz; }
	numbers 200000 >"$BATS_TEST_TMPDIR/in"
	survive sh -c 'for i in $(seq $((2 * LENGTH))); do cat ../in; done | gzip -7 | tee out.gz | sha256sum >sum'
}

@test "a bash script with background jobs, traps and a pipe" {
	need_command bash
	progress() { lines_of log; }
	cat >job.bash <<-'END'
		trap 'usr=$((usr + 1))' USR1
		trap 'echo "exit trap, $usr signals"' EXIT
		trap 'chld=1' CHLD
		usr=0 n=$((30 * LENGTH))
		worker() { for ((k = 0; k < n; k++)); do sleep 0.02; echo "$1 $k"; done; }
		worker a >a.out & worker b >b.out & worker c | tr c-z C-Z >c.out &
		(trap '' TERM; read -r -t 600 <&8; echo got "$REPLY" >d.out) 8< <(worker d | tail -n 1) &
		for ((i = 0; i < n; i++)); do
			kill -USR1 $$
			x=$(sleep 0.02; echo $((i * i)))
			echo "$i $x" >>log
			read -r line <<<"here $i"
			cat <<-HERE
				$line
			HERE
		done
		wait
		echo "jobs: $(jobs -p | wc -l)"
		(exit 3) & wait $! ; echo "status $?"
		exit 7
	END
	survive bash "$PWD/job.bash"
}

# sort_progress N: first the temporary files, up to 1/N of the input, then the result; the last merge is the shorter part.
sort_progress()
{
	local t n done
	t=$(size_of tmp/*) n=$(($(stat -c %s ../in) / $1)) done=$(size_of sorted)
	[ "$done" -eq 0 ] && [ "$t" -lt $n ] || t=$n
	echo $((t * 2 + done / $1))
}

@test "sort of a large file with temporary files" {
	progress() { sort_progress 1; }
	prepare() { mkdir tmp; }
	results() { sha256sum sorted; ls tmp; }
	numbers $((1500000 * LENGTH)) >"$BATS_TEST_TMPDIR/in"
	survive sort -S 2M -T tmp --parallel=2 -k 1,1 -o sorted ../in
}

@test "sort with compressed temporary files" {
	progress() { sort_progress 3; }
	prepare() { mkdir tmp; }
	results() { sha256sum sorted; ls tmp; }
	numbers $((250000 * LENGTH)) >"$BATS_TEST_TMPDIR/in"
	survive sort -S 1M -T tmp --compress-program=gzip -n -o sorted ../in
}

@test "perl: forked worker, pipe, hashes, regular expressions" {
	need_command perl
	VARIANTS="kill later"
	progress() { lines_of log; }
	cat >job.pl <<-'END'
		use strict; use IO::Handle;
		my $n = 200 * $ENV{LENGTH};
		pipe(my $r, my $w) or die;
		my $pid = fork // die;
		if (!$pid) {
			close $w;
			my %seen;
			while (<$r>) { $seen{$1} += $2 while /(\w)(\d+)/g; }
			open my $o, ">", "child.out"; print $o "$_ $seen{$_}\n" for sort keys %seen;
			exit 5;
		}
		close $r; $w->autoflush(1);
		open my $log, ">>", "log" or die; $log->autoflush(1);
		my ($s, %h) = (1);
		$SIG{ALRM} = sub { $main::alarms++; alarm 1 }; alarm 1;
		for my $i (1 .. $n) {
			for (1 .. 4000) { $s = ($s * 1103515245 + 12345) % 2147483648; my $k = $s % 5000; $h{$k} = substr(($h{$k} // "") . chr(97 + $s % 26), -200); }
			my $k = (sort keys %h)[$s % 100];
			print $w substr($h{$k}, 0, 1) . ($s % 1000) . " x$i\n";
			(my $t = $h{$k}) =~ s/([aeiou]+)/<$1>/g;
			print $log "$i $k " . length($t) . "\n";
		}
		close $w; waitpid $pid, 0;
		print "child ", $? >> 8, " last $s\n";
	END
	survive perl "$PWD/job.pl"
}

@test "awk writing an append-only log" {
	VARIANTS="kill later"
	progress() { lines_of log; }
	survive awk 'BEGIN {
		n = 300 * ENVIRON["LENGTH"]; s = 1
		for (i = 0; i < n; i++) {
			for (k = 0; k < 8000; k++) { s = (s * 16807) % 2147483647; c[s % 1000]++ }
			print i, s, c[s % 1000] >>"log"; fflush("log")
		}
		for (k = 0; k < 1000; k++) print k, c[k] | "sort -n | sha256sum"
	}'
}

@test "tar | xz with threads" {
	need_command xz
	progress() { size_of out.xz; }
	results() { cat out; }
	mkdir "$BATS_TEST_TMPDIR/tree"
	for i in $(seq 12); do numbers $((20000 * LENGTH + i)) >"$BATS_TEST_TMPDIR/tree/$i"; done
	survive sh -c 'tar -C .. -cf - tree | xz -T2 -1 --block-size=256KiB >out.xz; xz -dc out.xz | tar -tvf - --full-time | awk "{ print \$3, \$6 }"; xz -dc out.xz | tar -xOf - | sha256sum'
}

@test "zstd with threads" {
	need_command zstd
	progress() { size_of out.zst; }
	results() { zstd -dcq out.zst | sha256sum; cat out; }
	numbers $((800000 * LENGTH)) >"$BATS_TEST_TMPDIR/in"
	survive sh -c 'cat ../in | zstd -q -T2 -11 -o out.zst'
}

@test "bc: many digits" {
	need_command bc
	progress() { lines_of out; }
	survive sh -c 'for i in $(seq $((60 * LENGTH))); do echo "scale=$((100 + i % 50)); a(1) * 4 + e($i) / l($i + 1)"; done | BC_LINE_LENGTH=0 bc -l | while read -r x; do echo "$x"; done'
}

@test "dd, split, cat and cmp over fifos" {
	progress() { size_of out.bin; }
	prepare() { mkfifo fifo back; }
	results() { sha256sum out.bin; cat out; ls; }
	numbers $((200000 * LENGTH)) >"$BATS_TEST_TMPDIR/in"
	survive sh -c 'cat ../in >fifo & dd if=fifo bs=777 2>/dev/null | tr 0-9 a-j >back & while read -r x; do echo "$x"; done <back >out.bin; wait; tr a-j 0-9 <out.bin | cmp - ../in && echo same'
}

@test "busybox: ash, awk, sort, gzip, md5sum" {
	need_command busybox
	progress() { size_of log; }
	survive busybox sh -c '
		n=$((30 * LENGTH)) i=0
		while [ $i -lt $n ]; do
			busybox awk -v s=$i "BEGIN { for (k = 0; k < 4000; k++) { s = (s * 16807 + 7) % 2147483647; print s } }" |
				busybox sort -n | busybox gzip | busybox md5sum >>log
			i=$((i + 1))
		done; busybox md5sum log'
}
