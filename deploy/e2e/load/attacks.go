//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/time/rate"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

// An attacker describes one kind of slow or greedy clients.
type attacker struct {
	name   string
	secure bool          // over TLS
	conns  int           // at once
	rate   rate.Limit    // of new connections, in a second
	least  time.Duration // how long it has to last to be one
	run    func(*attackConn) error

	// The statuses that the proxy may answer; 0: it closes the connection.
	statuses []int

	// most is how long a connection may last; 0: any time.
	most time.Duration
}

// many is a high rate of new connections, in a second.
const many rate.Limit = 2_000

// attacks are those of the table in README.md. They are without a key unless a comment says
// otherwise.
var attacks = []attacker{
	{name: "idle", conns: 10_000, rate: many, run: (*attackConn).wait, statuses: []int{0}},
	{name: "heads", conns: 2_000, rate: many, least: 12 * time.Second, run: slowHead, statuses: []int{0, 408}, most: 20 * time.Second},
	{name: "long heads", conns: 2_000, rate: many, least: 12 * time.Second, run: longHead, statuses: []int{0, 408, 431}, most: 20 * time.Second},
	{name: "forged", conns: 64, rate: many, run: forged, statuses: []int{401}},
	{name: "uploads", conns: 500, rate: many, run: strangersUpload, statuses: []int{0, 401}, most: 25 * time.Second},
	{name: "bodies", conns: 1_000, rate: many, run: slowBody, statuses: []int{0, 502}}, // with a key, as all that follow
	{name: "readers", conns: 1_000, rate: many, run: unread, statuses: []int{0}},
	{name: "held bodies", conns: 3_000, rate: many, run: heldBody, statuses: []int{0, 400, 503, 504}},
	{name: "held forms", conns: 400, rate: many, run: heldForm, statuses: []int{0, 400, 503, 504}},
	{name: "too large", conns: 8, rate: many, run: tooLarge, statuses: []int{0, 413}},
	{name: "chunks", conns: 4, rate: many, run: endlessChunks, statuses: []int{0, 413}},
	{name: "bombs", conns: 16, rate: many, run: bomb, statuses: []int{400, 413, 503}},
}

// line is how much an attacker sends in a second: 1 Gbit. An attacker with more bandwidth
// than the proxy's processors can handle needs no slow clients.
var line = rate.NewLimiter(125e6, 1<<20)

// flood lifts the limits on both rates.
var flood = os.Getenv("FLOOD") != ""

// attackConn is one connection of an attacker's.
type attackConn struct {
	net.Conn
	key   string
	over  context.Context // ends with the attack
	ready func()          // reports that the attack is under way
}

// attack runs one kind of attack until standard input ends, and prints the result.
func attack(args []string) {
	kinds := slices.Concat(attacks, holders)
	i := slices.IndexFunc(kinds, func(a attacker) bool { return a.name == args[0] })
	a, address, key := kinds[i], args[1], os.Getenv("ATTACK_KEY")
	a.conns = kit.Atoi(os.Getenv("ATTACK_CONNS"))
	begin := rate.NewLimiter(a.rate, 20)
	if flood {
		begin.SetLimit(rate.Inf)
		line.SetLimit(rate.Inf)
	}
	attacking, end := context.WithCancel(context.Background())
	var all, started sync.WaitGroup
	var conns, longest atomic.Int64
	var mu sync.Mutex
	answers := map[int]int{}
	started.Add(a.conns)
	for range a.conns {
		all.Go(func() {
			ready := sync.OnceFunc(started.Done)
			for {
				if begin.Wait(attacking) != nil {
					return
				}
				c, err := net.DialTimeout("tcp", address, kit.Timeout)
				if err != nil {
					time.Sleep(100 * time.Millisecond)
					continue
				}
				conns.Add(1)
				from := time.Now()
				conn := &attackConn{c, key, attacking, ready}
				go func() {
					<-attacking.Done()
					c.Close()
				}()
				err = a.run(conn)
				ready()
				status := 0
				if err == nil {
					status = conn.status()
				}
				c.Close()
				if attacking.Err() != nil {
					return
				}
				mu.Lock()
				answers[status]++
				mu.Unlock()
				longest.Store(max(longest.Load(), int64(time.Since(from))))
			}
		})
	}
	started.Wait()
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	end()
	all.Wait()
	text := fmt.Sprintf("%d connections", conns.Load())
	for status, n := range answers {
		if !slices.Contains(a.statuses, status) {
			kit.Fatal("%s are answered %d, %d times", a.name, status, n)
		}
		if status != 0 {
			text += fmt.Sprintf(", %d times %d", n, status)
		} else {
			text += fmt.Sprintf(", %d ended", n)
		}
	}
	if most := time.Duration(longest.Load()); a.most > 0 {
		if most > a.most {
			kit.Fatal("a connection of %s lasts %s", a.name, kit.Seconds(most))
		}
		text += ", at most for " + kit.Seconds(most)
	}
	fmt.Println("done", text)
}

// status reads an answer and returns its status; 0: there is none.
func (c *attackConn) status() int {
	c.SetReadDeadline(time.Now().Add(kit.Timeout))
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	return res.StatusCode
}

// wait waits for an answer or for the end of the connection.
func (c *attackConn) wait() error {
	c.ready()
	_, err := c.Read(make([]byte, 1))
	if err == nil {
		err = io.EOF
	}
	return err
}

// drip sends a byte at intervals, until the connection ends.
func (c *attackConn) drip(text string, pause time.Duration) error {
	c.ready()
	for {
		if _, err := io.WriteString(c, text); err != nil {
			return err
		}
		select {
		case <-c.over.Done():
			return io.EOF
		case <-time.After(pause):
		}
	}
}

func (c *attackConn) say(format string, a ...any) error {
	_, err := fmt.Fprintf(c, format, a...)
	return err
}

// head sends the head of a request with the key.
func (c *attackConn) head(path, more string) error {
	return c.say("POST %s HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer %s\r\n%s\r\n", path, c.key, more)
}

func slowHead(c *attackConn) error {
	if err := c.say("POST %s HTTP/1.1\r\nHost: proxy\r\nX-Slow: ", chatRoute); err != nil {
		return err
	}
	return c.drip("x", 500*time.Millisecond)
}

func longHead(c *attackConn) error {
	line.WaitN(c.over, 60<<10)
	if err := c.say("POST %s HTTP/1.1\r\nHost: proxy\r\nX-Long: %s", chatRoute, strings.Repeat("x", 60<<10)); err != nil {
		c.ready()
		return err
	}
	return c.drip("x", 500*time.Millisecond)
}

func forged(c *attackConn) error {
	c.ready()
	head, tag, _ := strings.Cut(c.key, ".")
	return c.say("GET /api/tags HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer %s.%s\r\n\r\n", head, tag[1:]+tag[:1])
}

// strangersUpload sends a large body without a key, and does not read the refusal.
func strangersUpload(c *attackConn) error {
	if err := c.say("POST %s HTTP/1.1\r\nHost: proxy\r\nContent-Length: %d\r\n\r\n", chatRoute, 60<<20); err != nil {
		return err
	}
	return c.drip(strings.Repeat("x", 16<<10), 100*time.Millisecond)
}

func slowBody(c *attackConn) error {
	if err := c.head(chatRoute, "Content-Length: 60000\r\n"); err != nil {
		return err
	}
	return c.drip(" ", 500*time.Millisecond)
}

// unread requests an endless stream, and reads nothing of it.
func unread(c *attackConn) error {
	text := ask{Path: chatRoute, N: numbers.Add(1), Size: 4000}.body()
	if err := c.head(chatRoute, fmt.Sprintf("Content-Length: %d\r\n", len(text))); err != nil {
		return err
	}
	if _, err := c.Write(text); err != nil {
		return err
	}
	time.Sleep(3 * time.Second) // until all buffers are full
	c.ready()
	<-c.over.Done()
	return io.EOF
}

// heldBody sends a body that the proxy reads into memory, without its end.
func heldBody(c *attackConn) error { return c.hold(chatRoute, "", 1<<20) }

// heldForm sends a form without its end: of all bodies that are read into memory, forms may
// be the largest.
func heldForm(c *attackConn) error {
	return c.hold("/v1/audio/transcriptions", "Content-Type: multipart/form-data; boundary=x\r\n", 64<<20)
}

func (c *attackConn) hold(path, more string, size int) error {
	if err := c.head(path, fmt.Sprintf("%sContent-Length: %d\r\n", more, size)); err != nil {
		return err
	}
	for left := size - 1; left > 0; {
		n := min(left, len(text))
		line.WaitN(c.over, n)
		if _, err := io.WriteString(c, text[:n]); err != nil {
			c.ready()
			return nil // there may be an answer
		}
		left -= n
	}
	c.ready()
	select {
	case <-c.over.Done():
		return io.EOF
	case <-time.After(5 * time.Second):
		return nil
	}
}

// tooLarge announces a body larger than the limit.
func tooLarge(c *attackConn) error {
	c.ready()
	return c.head(chatRoute, fmt.Sprintf("Content-Length: %d\r\n", 64<<20+1))
}

// endlessChunks sends 20 MB a second, until the proxy answers that the body is too large.
func endlessChunks(c *attackConn) error {
	if err := c.head(chatRoute, "Transfer-Encoding: chunked\r\n"); err != nil {
		return err
	}
	c.ready()
	chunk := fmt.Sprintf("%x\r\n%s\r\n", 20_000, strings.Repeat(" ", 20_000))
	for range 80 << 20 / 20_000 {
		if _, err := io.WriteString(c, chunk); err != nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

// bombBody returns a few KiB of zstd that decode to 30 MiB.
var bombBody = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b)
	kit.Must(err, "zstd")
	io.WriteString(w, `{"model":"tiny","messages":[{"role":"user","content":"`)
	for range 30 << 20 / len(text) {
		io.WriteString(w, strings.Repeat("x", len(text)))
	}
	kit.Must(w.Close(), "zstd")
	return b.Bytes()
})

func bomb(c *attackConn) error {
	body := bombBody()
	if err := c.head(chatRoute, fmt.Sprintf("Content-Encoding: zstd\r\nContent-Length: %d\r\n", len(body))); err != nil {
		return err
	}
	c.ready()
	_, err := c.Write(body)
	return err
}
