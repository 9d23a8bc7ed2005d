// An HTTP server, four clients of it and a timer, in one program.
package main

import ("crypto/sha256"; "fmt"; "io"; "net"; "net/http"; "os"; "strconv"; "sync"; "time")

func main() {
	n, _ := strconv.Atoi(os.Getenv("LENGTH"))
	n *= 150
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil { panic(err) }
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := sha256.Sum256([]byte(r.URL.Path))
		for i := 0; i < 2000; i++ { s = sha256.Sum256(s[:]) }
		time.Sleep(time.Millisecond)
		fmt.Fprintf(w, "%x", s)
	}))
	log, _ := os.OpenFile("log", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	results := make([]string, 4)
	var wg sync.WaitGroup
	ticks := 0
	t := time.NewTicker(5 * time.Millisecond)
	go func() { for range t.C { ticks++ } }()
	for k := range results {
		wg.Add(1)
		go func(k int) {
			defer wg.Done()
			c := &http.Client{Transport: &http.Transport{}}
			s := "start"
			for i := 0; i < n; i++ {
				r, err := c.Get(fmt.Sprintf("http://%s/%d/%s", l.Addr(), k, s))
				if err != nil { panic(err) }
				b, err := io.ReadAll(r.Body)
				if err != nil { panic(err) }
				r.Body.Close()
				s = string(b)
				log.WriteString("x\n")
			}
			results[k] = s
		}(k)
	}
	wg.Wait()
	fmt.Println(results, ticks > 10)
}
