#!/usr/bin/env bats
# Programs in Go, Rust and Java that use threads, timers and the network of their own run-times.

load real

setup_file() { wants go=golang-go rg=ripgrep java=default-jre-headless javac=default-jdk-headless; }

@test "Go: goroutines, timers, an HTTP server and its clients in one program" {
	need_command go
	progress() { lines_of log; }
	results() { cat out; }
	go_build "$BATS_TEST_TMPDIR/program"
	survive "$BATS_TEST_TMPDIR/program"
}

@test "Rust: ripgrep with threads over many files" {
	need_command rg perl
	progress() { size_of out; }
	results() { sort out | sha256sum; }
	mkdir "$BATS_TEST_TMPDIR/in"
	perl -e 'srand 7; for $f (1 .. 60) { open(F, ">", "$ARGV[0]/f$f"); print F join(" ", map { int rand 1000 } 1 .. 12) . "\n" for 1 .. 4000 }' "$BATS_TEST_TMPDIR/in"
	survive sh -c 'for i in $(seq $((3 * LENGTH))); do rg --no-ignore -j 3 "(\\b[0-9]+ )*77[0-9]?\\b.*1\$" '"$BATS_TEST_TMPDIR/in"' | while read -r l; do echo "$l"; done; done'
}

@test "Java: selectors, virtual connections, a thread pool" {
	need_command java javac
	progress() { lines_of log; }
	results() { cat out; }
	mkdir "$BATS_TEST_TMPDIR/classes"
	cat >"$BATS_TEST_TMPDIR/Net.java" <<-'END'
		import java.io.*; import java.net.*; import java.nio.*; import java.nio.channels.*; import java.nio.file.*; import java.security.*; import java.util.*; import java.util.concurrent.*;
		public class Net {
			static String hash(String s, int n) throws Exception {
				byte[] b = s.getBytes();
				MessageDigest d = MessageDigest.getInstance("SHA-256");
				for (int i = 0; i < n; i++) b = d.digest(b);
				return new java.math.BigInteger(1, b).toString(16);
			}
			public static void main(String[] a) throws Exception {
				int n = 400 * Integer.parseInt(System.getenv("LENGTH"));
				ServerSocketChannel l = ServerSocketChannel.open().bind(new InetSocketAddress("127.0.0.1", 0));
				int port = ((InetSocketAddress) l.getLocalAddress()).getPort();
				l.configureBlocking(false);
				Selector sel = Selector.open();
				l.register(sel, SelectionKey.OP_ACCEPT);
				Thread server = new Thread(() -> {
					try {
						ByteBuffer b = ByteBuffer.allocate(4096);
						while (true) {
							sel.select(50);
							for (Iterator<SelectionKey> i = sel.selectedKeys().iterator(); i.hasNext();) {
								SelectionKey k = i.next(); i.remove();
								if (k.isAcceptable()) { SocketChannel c = l.accept(); c.configureBlocking(false); c.register(sel, SelectionKey.OP_READ); continue; }
								SocketChannel c = (SocketChannel) k.channel();
								b.clear();
								if (c.read(b) < 0) { c.close(); continue; }
								b.flip();
								while (b.hasRemaining()) c.write(b);
							}
						}
					} catch (Exception e) { e.printStackTrace(); System.exit(3); }
				});
				server.setDaemon(true);
				server.start();
				ExecutorService pool = Executors.newFixedThreadPool(3);
				PrintWriter log = new PrintWriter(new FileWriter("log", true), true);
				List<Future<String>> f = new ArrayList<>();
				for (int k = 0; k < 3; k++) {
					int me = k;
					f.add(pool.submit(() -> {
						Socket s = new Socket("127.0.0.1", port);
						BufferedReader in = new BufferedReader(new InputStreamReader(s.getInputStream()));
						OutputStream out = s.getOutputStream();
						String v = "start" + me;
						for (int i = 0; i < n; i++) {
							v = hash(v + i, 1500);
							out.write((v + "\n").getBytes());
							String back = in.readLine();
							if (!v.equals(back)) throw new Exception(back + " instead of " + v);
							log.println(i);
						}
						return v;
					}));
				}
				for (Future<String> x : f) System.out.println(x.get());
				System.exit(0);
			}
		}
	END
	javac -d "$BATS_TEST_TMPDIR/classes" "$BATS_TEST_TMPDIR/Net.java"
	survive java -Xmx128m -cp "$BATS_TEST_TMPDIR/classes" Net
}
