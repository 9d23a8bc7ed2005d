# Two open transactions, over a unix socket and over TCP, until there is a file `stop`.
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
