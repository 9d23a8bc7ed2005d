#!/usr/bin/env bats
# python3 in the middle of its work.

load real

setup_file() { wants python3=python3; }
setup()
{
	xos_setup
	need_root
	need_command python3
	PYTHON=$(python3_path)
}

@test "python3: big integers" {
	VARIANTS="kill later"
	progress() { lines_of log; }
	cat >job.py <<-'END'
		import os
		n = 12 * int(os.environ["LENGTH"])
		a, b = 3, 7
		with open("log", "a", buffering=1) as log:
		    for i in range(n):
		        for _ in range(60):
		            a, b = (a * a + b) % (1 << 61 * 300), (b * 6364136223846793005 + a) % (1 << 59 * 300)
		        log.write("%d %d\n" % (i, a % 1000003))
		        for _ in range(25):
		            a ^= pow(b % (1 << 521), 65537 << 300, (1 << 521) - 1)
		print(a % (1 << 128), b % (1 << 128))
	END
	survive "$PYTHON" "$PWD/job.py"
}

@test "python3: threads, locks, queues" {
	VARIANTS="kill later"
	progress() { lines_of log; }
	cat >job.py <<-'END'
		import hashlib, os, queue, threading, time
		n = 1500 * int(os.environ["LENGTH"])
		todo, done, lock, seen = queue.Queue(8), queue.Queue(), threading.Condition(), [0]
		local = threading.local()
		log = open("log", "a", buffering=1)
		def work():
		    local.count = 0
		    while True:
		        i = todo.get()
		        if i is None:
		            break
		        h = b"%d" % i
		        for _ in range(2500):
		            h = hashlib.sha256(h).digest()
		        local.count += 1
		        with lock:
		            seen[0] += 1
		            log.write("line\n")
		            lock.notify_all()
		        done.put((i, h.hex()))
		    done.put((-1, local.count))
		def ticker():
		    global ticks
		    while not stop.wait(0.01):
		        ticks += 1
		ticks, stop = 0, threading.Event()
		t = [threading.Thread(target=work) for _ in range(6)]
		tick = threading.Thread(target=ticker)
		for x in t + [tick]:
		    x.start()
		for i in range(n):
		    todo.put(i)
		with lock:
		    lock.wait_for(lambda: seen[0] == n)
		for x in t:
		    todo.put(None)
		for x in t:
		    x.join()
		stop.set()
		tick.join()
		r = [done.get() for _ in range(n + 6)]
		print(sum(c for i, c in r if i < 0), hashlib.sha256(repr(sorted(x for x in r if x[0] >= 0)).encode()).hexdigest(), ticks > 10)
	END
	survive "$PYTHON" "$PWD/job.py"
}

@test "python3: subprocesses and their pipes" {
	progress() { lines_of log; }
	cat >job.py <<-'END'
		import os, subprocess, sys
		n = 150 * int(os.environ["LENGTH"])
		log = open("log", "a", buffering=1)
		cat = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
		total = 0
		for i in range(n):
		    p = subprocess.run(["sh", "-c", "i=0; while [ $i -lt 1500 ]; do i=$((i + 1)); done; echo $((i * $1)); exit $(($1 % 7))", "sh", str(i)],
		                       capture_output=True, text=True)
		    cat.stdin.write(p.stdout.encode())
		    cat.stdin.flush()
		    total += int(cat.stdout.readline()) + 1000 * p.returncode
		    log.write("%d %d\n" % (i, total))
		cat.stdin.close()
		print(total, cat.wait())
	END
	survive "$PYTHON" "$PWD/job.py"
}

@test "python3: multiprocessing pool" {
	progress() { lines_of log; }
	cat >job.py <<-'END'
		import hashlib, multiprocessing, os
		def work(i):
		    h = b"%d" % i
		    for _ in range(20000):
		        h = hashlib.sha256(h).digest()
		    with count.get_lock():
		        count.value += 1
		    return h.hex()
		count = multiprocessing.Value("i", 0)
		if __name__ == "__main__":
		    n = 160 * int(os.environ["LENGTH"])
		    log = open("log", "a", buffering=1)
		    out = []
		    with multiprocessing.Pool(3) as pool:
		        for x in pool.imap(work, range(n)):
		            out.append(x)
		            log.write("%s\n" % x)
		    print(count.value, hashlib.sha256("".join(out).encode()).hexdigest())
	END
	survive "$PYTHON" "$PWD/job.py"
}

@test "python3: asyncio with subprocesses and timers" {
	progress() { lines_of log; }
	results() { cat out; }
	cat >job.py <<-'END'
		import asyncio, os
		n = 12 * int(os.environ["LENGTH"])
		log = open("log", "a", buffering=1)
		async def one(k):
		    total = 0
		    for i in range(n):
		        p = await asyncio.create_subprocess_exec("sh", "-c", "sleep 0.03; echo $1", "sh", str(i * k), stdout=asyncio.subprocess.PIPE)
		        total += int((await p.communicate())[0])
		        await asyncio.sleep(0.02)
		        log.write("%d %d\n" % (k, i))
		    return total
		async def main():
		    print(sum(await asyncio.gather(*(one(k) for k in range(1, 5)))))
		asyncio.run(main())
	END
	survive "$PYTHON" "$PWD/job.py"
}
