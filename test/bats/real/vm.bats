#!/usr/bin/env bats
# Language run-times with compilers and many threads of their own.

load real

setup_file() { wants node=nodejs lua5.4=lua5.4 ruby=ruby tclsh=tcl; }

@test "node: event loop, worker threads, zlib, files" {
	need_command node
	MAY_REFUSE="not supported"
	progress() { lines_of log; }
	results() { cat out; }
	cat >job.js <<-'END'
		const { Worker, isMainThread, parentPort, workerData } = require("worker_threads");
		const fs = require("fs"), zlib = require("zlib"), crypto = require("crypto"), util = require("util");
		const N = 40 * Number(process.env.LENGTH);
		const hash = (s, n) => { for (let i = 0; i < n; i++) s = crypto.createHash("sha256").update(s).digest("hex"); return s; };
		if (!isMainThread) {
		  parentPort.on("message", i => parentPort.postMessage([i, hash("w" + workerData + i, 400)]));
		} else (async () => {
		  const log = fs.openSync("log", "a");
		  const workers = [0, 1, 2].map(k => new Worker(__filename, { workerData: k }));
		  const ask = (w, i) => new Promise(done => { w.once("message", done); w.postMessage(i); });
		  let s = "start", ticks = 0;
		  const timer = setInterval(() => ticks++, 5);
		  for (let i = 0; i < N; i++) {
		    const r = await Promise.all(workers.map(w => ask(w, i)));
		    s = hash(s + r.map(x => x[1]).join(""), 300);
		    const z = await util.promisify(zlib.gzip)(Buffer.alloc(60000, s));
		    s = hash(s + (await util.promisify(zlib.gunzip)(z)).length, 10);
		    await fs.promises.writeFile("tmp" + i % 3, s);
		    s = hash(s + await fs.promises.readFile("tmp" + i % 3), 1);
		    await new Promise(d => setTimeout(d, 3));
		    fs.writeSync(log, i + "\n");
		  }
		  clearInterval(timer);
		  for (const w of workers) await w.terminate();
		  console.log(s, ticks > 10);
		})();
	END
	survive node "$PWD/job.js"
}

@test "java: just-in-time compiler, garbage collector, threads" {
	need_command java
	MAY_REFUSE="not supported"
	progress() { lines_of log; }
	results() { cat out; }
	cat >Job.java <<-'END'
		import java.io.*; import java.util.*; import java.util.concurrent.*; import java.util.concurrent.atomic.*;
		public class Job {
		  static long work(int i) { long s = i + 1; HashMap<Long, String> m = new HashMap<>();
		    for (int k = 0; k < 20000; k++) { s = (s * 6364136223846793005L + 1442695040888963407L); m.put(s % 3000, "v" + (s & 1023)); }
		    long t = 0; for (var e : m.entrySet()) t = t * 31 + e.getKey() * e.getValue().hashCode(); return t ^ s; }
		  public static void main(String[] a) throws Exception {
		    int n = 120 * Integer.parseInt(System.getenv("LENGTH"));
		    var log = new FileWriter("log", true); var lock = new Object();
		    var pool = Executors.newFixedThreadPool(4); var timer = Executors.newScheduledThreadPool(1); var ticks = new AtomicInteger();
		    timer.scheduleAtFixedRate(ticks::incrementAndGet, 5, 5, TimeUnit.MILLISECONDS);
		    var l = new ArrayList<Future<Long>>();
		    for (int i = 0; i < n; i++) { int k = i; l.add(pool.submit(() -> { long r = work(k); synchronized (lock) { log.write("x\n"); log.flush(); } return r; })); }
		    long s = 0; for (var f : l) s = s * 31 + f.get();
		    pool.shutdown(); timer.shutdown();
		    System.out.println(s + " " + (ticks.get() > 10)); } }
	END
	javac -d . Job.java 3>&- || skip "no javac"
	survive java -Xmx128m -cp "$PWD" Job
}

@test "lua: coroutines and files" {
	need_command lua5.4
	VARIANTS="kill later"
	progress() { lines_of log; }
	cat >job.lua <<-'END'
		local n, s, t = 200 * tonumber(os.getenv("LENGTH")), 1, {}
		local log = io.open("log", "a"); log:setvbuf("line")
		local gen = coroutine.wrap(function() while true do s = (s * 16807) % 2147483647; coroutine.yield(s) end end)
		for i = 1, n do
		  for _ = 1, 20000 do local x = gen(); t[x % 1000] = (t[x % 1000] or "") .. string.char(97 + x % 26); if #t[x % 1000] > 200 then t[x % 1000] = nil end end
		  log:write(i, " ", s, "\n")
		end
		local k = {}; for i = 0, 999 do k[#k + 1] = t[i] or "-" end
		print(s, #table.concat(k), table.concat(k):sub(1, 200))
	END
	survive lua5.4 "$PWD/job.lua"
}

@test "ruby: threads and processes" {
	need_command ruby
	progress() { lines_of log; }
	results() { cat out; }
	cat >job.rb <<-'END'
		require "digest"
		n = 60 * ENV["LENGTH"].to_i
		log = File.open("log", "a"); log.sync = true
		Digest::SHA256 # is loaded by its first use: not by three threads at once
		q, out = SizedQueue.new(4), Queue.new
		t = 3.times.map { Thread.new { while (i = q.pop) != :end; h = i.to_s; 3000.times { h = Digest::SHA256.hexdigest(h) }; out << [i, h]; log.puts i; end } }
		n.times { |i| q << i; raise "child" unless `echo #{i * 3}`.to_i == i * 3 }
		3.times { q << :end }
		t.each(&:join)
		puts Digest::SHA256.hexdigest(n.times.map { out.pop }.sort.inspect)
	END
	survive ruby "$PWD/job.rb"
}

@test "tcl: event loop, timers, pipes" {
	need_command tclsh
	progress() { lines_of log; }
	cat >job.tcl <<-'END'
		set n [expr {60 * $env(LENGTH)}]
		set log [open log a]; fconfigure $log -buffering line
		set s 1; set i 0; set got 0
		set p [open "| cat" r+]; fconfigure $p -blocking 0 -buffering line
		fileevent $p readable { if {[gets $p line] >= 0} { incr got $line } }
		proc step {} {
			global i n s log p done
			for {set k 0} {$k < 4000} {incr k} { set s [expr {($s * 16807) % 2147483647}] }
			puts $log "$i $s"; puts $p $i
			if {[incr i] < $n} { after 5 step } else { after 200 {set done 1} }
		}
		step; vwait done
		puts "$s $got"
	END
	survive tclsh "$PWD/job.tcl"
}
