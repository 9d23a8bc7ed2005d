#!/usr/bin/env bats
# Data bases and media.

load real

setup_file() { wants sqlite3=sqlite3 convert-im6.q16=imagemagick ffmpeg=ffmpeg; }

@test "sqlite3 in the middle of a bulk transaction" {
	need_command sqlite3
	progress() { size_of t.db; }
	results() { sqlite3 t.db 'PRAGMA integrity_check; SELECT count(*), sum(a), sum(length(b)) FROM t; SELECT * FROM t WHERE id % 5000 = 1'; cat out err; ls; }
	cat >job.sql <<-END
		PRAGMA cache_size = 20; PRAGMA page_size = 4096;
		CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT);
		CREATE INDEX i ON t (a);
		BEGIN;
		WITH RECURSIVE c (n, s) AS (SELECT 1, 42 UNION ALL SELECT n + 1, (s * 1103515245 + 12345) % 2147483648 FROM c WHERE n < $((250000 * LENGTH)))
			INSERT INTO t SELECT n, s, hex(s) || printf('%020d', s * n) FROM c;
		UPDATE t SET a = a + 1 WHERE id % 3 = 0;
		COMMIT;
		SELECT count(*), sum(a) FROM t;
	END
	survive sqlite3 -init "$PWD/job.sql" t.db .quit
}

@test "sqlite3 with a write-ahead log and two connections" {
	need_command python3
	local python
	python=$(python3_path)
	"$python" -c 'import sqlite3' || skip "python3 has no sqlite3"
	progress() { size_of log; }
	results() { cat out err; }
	cat >job.py <<-'END'
		import os, sqlite3, threading
		n = 60000 * int(os.environ["LENGTH"])
		log = open("log", "a", buffering=1)
		w = sqlite3.connect("t.db", isolation_level=None)
		w.execute("PRAGMA journal_mode = WAL")
		w.execute("PRAGMA synchronous = OFF")
		w.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER)")
		bad, stop = [], threading.Event()
		def reader():
		    r = sqlite3.connect("t.db", timeout=20)
		    last = 0
		    while not stop.is_set():
		        c, s = r.execute("SELECT count(*), coalesce(sum(v), 0) FROM t").fetchone()
		        if s != 3 * c * (c - 1) // 2 or c < last or c % 5:
		            bad.append((c, s))
		        last = c
		t = threading.Thread(target=reader)
		t.start()
		for i in range(0, n, 5):
		    w.execute("BEGIN")
		    for k in range(5):
		        w.execute("INSERT INTO t VALUES (?, ?)", (i + k, 3 * (i + k)))
		    w.execute("COMMIT")
		    log.write("x\n")
		stop.set()
		t.join()
		print(bad, w.execute("SELECT count(*), sum(v) FROM t").fetchone(), w.execute("PRAGMA integrity_check").fetchone())
	END
	survive "$python" "$PWD/job.py"
}

# Debian's ImageMagick; `convert` may be something else.
@test "imagemagick: a series of pictures" {
	need_command convert-im6.q16
	progress() { ls ./*.png 2>/dev/null | wc -l; }
	results() { for f in ./*.png; do identify-im6.q16 -format '%f %# %wx%h\n' "$f"; done; cat out err; }
	survive sh -c 'for i in $(seq $((12 * LENGTH))); do
		convert-im6.q16 -size 300x300 -seed $i plasma:fractal -blur 0x6 -rotate $((i * 7)) -resize 240x240! +repage -strip pic$i.png; done'
}

@test "ffmpeg: an encoder with threads" {
	need_command ffmpeg
	progress() { size_of out.mkv; }
	results() { ffmpeg -v error -i out.mkv -f framemd5 - | grep -v '^#'; }
	survive ffmpeg -v error -nostdin -f lavfi -i "testsrc2=size=640x480:rate=25:duration=$((20 * LENGTH))" -c:v mpeg4 -q:v 3 -threads 2 \
		-bitexact -flush_packets 1 out.mkv
}
