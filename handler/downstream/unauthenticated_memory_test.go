package downstream

import (
	"bufio"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// newTestListener returns a Listener whose connections need no network.
func newTestListener(max int) *Listener {
	s := &Listener{Max: max, maxBusy: max, log: slog.New(slog.DiscardHandler)}
	s.freed.L = &s.mu
	return s
}

// connect adds a new connection.
func (s *Listener) connect() *Conn {
	c := &Conn{TCPConn: &net.TCPConn{}, listener: s}
	s.add(c)
	return c
}

// streams returns for how many streams of HTTP/2 the connection is charged.
func (c *Conn) streams() int64 {
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	return c.held.streams
}

// isOpen reports whether a connection has not been closed or evicted.
func (c *Conn) isOpen() bool { return c.element != nil }

// TestEvictsConnectionThatHoldsMuchForLong, and none that holds much for a moment, or
// little for long, or no more than its share.
func TestEvictsConnectionThatHoldsMuchForLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newTestListener(100)
		const share = maxHeld / 100 / headFactor
		idle, small, large := s.connect(), s.connect(), s.connect()
		idle.countHead(share / 2)
		small.countHead(2 * share)
		large.countHead(20 * share)
		time.Sleep(time.Second)
		var brief []*Conn
		for range 3 {
			c := s.connect()
			c.countHead(24 * share)
			brief = append(brief, c)
			time.Sleep(time.Millisecond)
		}
		last := s.connect()
		go last.countHead(20 * share) // blocks until the large one has ended
		synctest.Wait()
		if large.isOpen() {
			t.Error("the connection that has held much for a second is still open")
		}
		for i, c := range append(brief, idle, small) {
			if !c.isOpen() {
				t.Errorf("connection %d was evicted", i)
			}
		}
		if s.held > maxHeld || s.evicted == 0 {
			t.Errorf("%d bytes are held, and %d by evicted connections", s.held, s.evicted)
		}
		large.Close()
		if s.evicted != 0 {
			t.Errorf("%d bytes are held by evicted connections that have ended", s.evicted)
		}
	})
}

// TestIdleConnectionsHoldMemory: so over TLS, there can be fewer connections without a
// key than connections in all.
func TestIdleConnectionsHoldMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newTestListener(MaxConnections)
		s.tls = true
		first := s.connect()
		for range maxHeld / tlsCost {
			if !first.isOpen() {
				t.Fatal("the first connection is evicted too early")
			}
			time.Sleep(time.Millisecond)
			s.connect()
		}
		if first.isOpen() {
			t.Error("the first connection is not evicted")
		}
	})
}

// TestReadsWaitForEvictedConnections: a connection that holds much reads on only when
// the evicted one has ended. One that holds little does not wait.
func TestReadsWaitForEvictedConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newTestListener(100)
		large, next, modest := s.connect(), s.connect(), s.connect()
		large.countHead(maxHeld / headFactor / 2)
		time.Sleep(time.Second)
		read := make(chan bool, 1)
		go func() {
			next.countHead(maxHeld / headFactor / 10 * 9)
			read <- true
		}()
		synctest.Wait()
		modest.countHead(100)
		if large.isOpen() || len(read) != 0 {
			t.Errorf("the large one is open: %t, and the next one reads on: %t", large.isOpen(), len(read) != 0)
		}
		large.Close()
		synctest.Wait()
		if len(read) != 1 {
			t.Error("the next one still waits")
		}
	})
}

// TestHTTP2ConnectionDrainsAfterRefusals: nothing more is read until no stream is left,
// but not for ever.
func TestHTTP2ConnectionDrainsAfterRefusals(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		end  func(*Conn)
		left int64 // streams
	}{
		"answered":          {func(c *Conn) { c.listener.charge(c, false, func(*held) { c.listener.endStreams(c) }) }, 0},
		"a valid key":       {func(c *Conn) { c.Enter() }, 0},
		"never answered":    {func(*Conn) { time.Sleep(drainTime) }, MaxStreams},
		"the client leaves": {func(c *Conn) { c.Close() }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newTestListener(100)
				c := s.connect()
				c.beginStreams()
				for i := range maxRefused {
					c.countHead(1)
					c.countRefused()
					if got := c.streams(); got != maxRefused {
						t.Fatalf("after %d requests it is charged for %d streams", i+1, got)
					}
				}
				time.Sleep(firstStreams)
				read := make(chan bool)
				go func() { c.countHead(1); close(read) }()
				synctest.Wait()
				select {
				case <-read:
					t.Error("more is read before they are answered")
				default:
				}
				row.end(c)
				<-read
				if got := c.streams(); got != row.left {
					t.Errorf("it is charged for %d streams, not %d", got, row.left)
				}
				c.Close()
				time.Sleep(time.Minute)
				if s.held != 0 || c.streams() != 0 {
					t.Errorf("left are %d bytes, and %d streams", s.held, c.streams())
				}
			})
		})
	}
}

// TestStreamsThatReachNoHandlerAreCharged after a moment: a client may have MaxStreams
// of them.
func TestStreamsThatReachNoHandlerAreCharged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTestListener(100).connect()
		c.beginStreams()
		c.listener.charge(c, false, func(*held) { c.listener.endStreams(c) })
		time.Sleep(firstStreams)
		c.beginStreams()
		time.Sleep(firstStreams - time.Nanosecond)
		if got := c.streams(); got != 1 {
			t.Errorf("at first it is charged for %d streams", got)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if got := c.streams(); got != MaxStreams {
			t.Errorf("later it is charged for %d streams", got)
		}
		c.Close()
	})
}

// TestHeldBytesAreReleased: by an answer, by a valid key, and by the connection's end.
func TestHeldBytesAreReleased(t *testing.T) {
	t.Parallel()
	for name, way := range map[string]struct {
		release func(*Conn)
		left    int64
	}{
		"answered":    {(*Conn).releaseRequests, simpleCost + aheadBytes*headFactor},
		"a valid key": {func(c *Conn) { c.Enter() }, 0},
		"the end":     {func(c *Conn) { c.Close() }, 0},
	} {
		s := newTestListener(100)
		c := s.connect()
		c.countHead(40 << 10)
		if want := int64(simpleCost + 40<<10*headFactor); s.held != want {
			t.Errorf("%s: a head of 40 KiB holds %d, not %d", name, s.held, want)
		}
		way.release(c)
		if s.held != way.left || s.held != c.held.sum() {
			t.Errorf("%s: %d bytes are held, %d by the connection, not %d", name, s.held, c.held.sum(), way.left)
		}
		c.Close()
		c.countHead(10 << 10) // a read may still be under way
		if s.held != 0 {
			t.Errorf("%s: %d bytes are held in the end", name, s.held)
		}
	}
}

// TestCompleteClientHelloOfOrdinarySizeHoldsNothing: many clients may reconnect at once.
func TestCompleteClientHelloOfOrdinarySizeHoldsNothing(t *testing.T) {
	t.Parallel()
	for read, left := range map[int]int64{1800: 0, 60 << 10: (60<<10 - smallHead) * headFactor} {
		s := newTestListener(100)
		s.tls = true
		c := s.connect()
		c.countHead(read)
		if _, err := OnClientHello(&tls.ClientHelloInfo{Conn: c}); err != nil {
			t.Error(err)
		}
		if got := s.held - tlsCost; got != left {
			t.Errorf("a ClientHello of %d bytes holds %d, not %d", read, got, left)
		}
	}
}

// TestAuthenticatedConnectionHoldsLongHeadsOnly, until they are complete.
func TestAuthenticatedConnectionHoldsLongHeadsOnly(t *testing.T) {
	t.Parallel()
	s := newTestListener(100)
	c := s.connect()
	c.Enter()
	c.countHead(1 << 20) // the body of a request with a valid key
	c.Leave()
	c.countHead(smallHead)
	if s.held != 0 {
		t.Errorf("a short head holds %d", s.held)
	}
	c.countHead(10 << 10)
	if s.held != 10<<10*headFactor {
		t.Errorf("a long head holds %d", s.held)
	}
	c.releaseRequests()
	if s.held != 0 {
		t.Errorf("a long head whose request is answered holds %d", s.held)
	}
	c.countHead(smallHead + 1)
	c.Enter()
	if s.held != 0 {
		t.Errorf("a long head with a valid key holds %d", s.held)
	}
}

// TestDropRequestsDropsTheHead: net/http may keep the request until its answer is read.
func TestDropRequestsDropsTheHead(t *testing.T) {
	t.Parallel()
	h := DropRequests(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401) }))
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("POST /" + strings.Repeat("a", 1<<10) + " HTTP/1.1\r\nHost: x\r\nX-Long: " + strings.Repeat("b", 1<<10) + "\r\nTrailer: Y\r\nTransfer-Encoding: chunked\r\n\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	h.ServeHTTP(httptest.NewRecorder(), r)
	if r.URL != nil || r.Header != nil || r.Trailer != nil || r.Host != "" || r.RequestURI != "" {
		t.Errorf("the request still holds %+v", r)
	}
}
