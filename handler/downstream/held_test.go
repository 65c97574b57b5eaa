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

// newHolders are the connections of a listener, without any network.
func newHolders(max int) *Listener {
	s := &Listener{Max: max, maxBusy: max, log: slog.New(slog.DiscardHandler)}
	s.freed.L = &s.mu
	return s
}

func (s *Listener) join() *Conn {
	c := &Conn{TCPConn: &net.TCPConn{}, home: s}
	s.add(c)
	return c
}

// streams returns how many it counts as having.
func (c *Conn) streams() int64 {
	c.home.mu.Lock()
	defer c.home.mu.Unlock()
	return c.held.streams
}

// isThere reports whether a connection has not had to make way.
func (c *Conn) isThere() bool { return c.place != nil }

// TestWhoHoldsMuchForLongMakesWay: neither those who hold much for a moment, nor
// those who hold little for long, nor those who hold no more than their share.
func TestWhoHoldsMuchForLongMakesWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newHolders(100)
		const share = maxHeld / 100 / headFactor
		idle, small, large := s.join(), s.join(), s.join()
		idle.count(share / 2)
		small.count(2 * share)
		large.count(20 * share)
		time.Sleep(time.Second)
		var brief []*Conn
		for range 3 {
			c := s.join()
			c.count(24 * share)
			brief = append(brief, c)
			time.Sleep(time.Millisecond)
		}
		last := s.join()
		go last.count(20 * share) // it waits until the large one has ended
		synctest.Wait()
		if large.isThere() {
			t.Error("whoever has held much for a second is still there")
		}
		for i, c := range append(brief, idle, small) {
			if !c.isThere() {
				t.Errorf("connection %d had to make way", i)
			}
		}
		if s.held > maxHeld || s.ending == 0 {
			t.Errorf("%d bytes are held, and %d by those that end", s.held, s.ending)
		}
		large.Close()
		if s.ending != 0 {
			t.Errorf("%d bytes are held by those that have ended", s.ending)
		}
	})
}

// TestConnectionsAloneHoldSomething, too: over TLS there may be fewer that show no
// key than there may be in all.
func TestConnectionsAloneHoldSomething(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newHolders(MaxConnections)
		s.secure = true
		first := s.join()
		for range maxHeld / secureCost {
			if !first.isThere() {
				t.Fatal("the first makes way too early")
			}
			time.Sleep(time.Millisecond)
			s.join()
		}
		if first.isThere() {
			t.Error("the first does not make way")
		}
	})
}

// TestReadingWaitsForThoseWhoEnd: until they have, more must not be read. Those who
// hold little need not wait.
func TestReadingWaitsForThoseWhoEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newHolders(100)
		large, next, modest := s.join(), s.join(), s.join()
		large.count(maxHeld / headFactor / 2)
		time.Sleep(time.Second)
		read := make(chan bool, 1)
		go func() {
			next.count(maxHeld / headFactor / 10 * 9)
			read <- true
		}()
		synctest.Wait()
		modest.count(100)
		if large.isThere() || len(read) != 0 {
			t.Errorf("the large one is there: %t, and the next one reads on: %t", large.isThere(), len(read) != 0)
		}
		large.Close()
		synctest.Wait()
		if len(read) != 1 {
			t.Error("the next one still waits")
		}
	})
}

// TestRequestsAreAnsweredFirst: once many have come over HTTP/2, none with a valid key,
// no more are read until no stream is left; but not for ever.
func TestRequestsAreAnsweredFirst(t *testing.T) {
	t.Parallel()
	for name, way := range map[string]struct {
		end  func(*Conn)
		left int64 // streams
	}{
		"answered":        {func(c *Conn) { c.home.charge(c, false, func(*held) { c.home.endStreams(c) }) }, 0},
		"a valid key":     {func(c *Conn) { c.Enter() }, 0},
		"never answered":  {func(*Conn) { time.Sleep(drainTime) }, MaxStreams},
		"the client left": {func(c *Conn) { c.Close() }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newHolders(100)
				c := s.join()
				c.beginStreams()
				for i := range maxRequests {
					c.count(1)
					c.countRefused()
					if got := c.streams(); got != maxRequests {
						t.Fatalf("after %d requests it has %d streams", i+1, got)
					}
				}
				time.Sleep(firstStreams)
				read := make(chan bool)
				go func() { c.count(1); close(read) }()
				synctest.Wait()
				select {
				case <-read:
					t.Error("more is read before they are answered")
				default:
				}
				way.end(c)
				<-read
				if got := c.streams(); got != way.left {
					t.Errorf("it has %d streams, not %d", got, way.left)
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

// TestStreamsThatComeToNoHandler count after a moment: a client may have all that it
// may have.
func TestStreamsThatComeToNoHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newHolders(100).join()
		c.beginStreams()
		c.home.charge(c, false, func(*held) { c.home.endStreams(c) })
		time.Sleep(firstStreams)
		c.beginStreams()
		time.Sleep(firstStreams - 1)
		if got := c.streams(); got != 1 {
			t.Errorf("at first it has %d streams", got)
		}
		time.Sleep(1)
		synctest.Wait()
		if got := c.streams(); got != MaxStreams {
			t.Errorf("later it has %d streams", got)
		}
		c.Close()
	})
}

// TestWhatIsHeldIsGivenBack, in each of the ways in which that comes about.
func TestWhatIsHeldIsGivenBack(t *testing.T) {
	t.Parallel()
	for name, way := range map[string]struct {
		give func(*Conn)
		left int64
	}{
		"answered":    {(*Conn).letGo, simpleCost + aheadBytes*headFactor},
		"a valid key": {func(c *Conn) { c.Enter() }, 0},
		"the end":     {func(c *Conn) { c.Close() }, 0},
	} {
		s := newHolders(100)
		c := s.join()
		c.count(40 << 10)
		if want := int64(simpleCost + 40<<10*headFactor); s.held != want {
			t.Errorf("%s: a head of 40 KiB holds %d, not %d", name, s.held, want)
		}
		way.give(c)
		if s.held != way.left || s.held != c.held.sum() {
			t.Errorf("%s: %d is left, and %d of the connection", name, s.held, c.held.sum())
		}
		c.Close()
		c.count(10 << 10) // it may still be reading
		if s.held != 0 {
			t.Errorf("%s: %d is left in the end", name, s.held)
		}
	}
}

// TestAnOrdinaryGreetingHoldsNothing of its own once it is complete: many clients
// may come back at once.
func TestAnOrdinaryGreetingHoldsNothing(t *testing.T) {
	t.Parallel()
	for read, left := range map[int]int64{1800: 0, 60 << 10: (60<<10 - smallHead) * headFactor} {
		s := newHolders(100)
		s.secure = true
		c := s.join()
		c.count(read)
		if _, err := NoteGreeting(&tls.ClientHelloInfo{Conn: c}); err != nil {
			t.Error(err)
		}
		if got := s.held - secureCost; got != left {
			t.Errorf("a greeting of %d bytes holds %d, not %d", read, got, left)
		}
	}
}

// TestOfTheKnownOnlyLongHeadsCount, until they are complete.
func TestOfTheKnownOnlyLongHeadsCount(t *testing.T) {
	t.Parallel()
	s := newHolders(100)
	c := s.join()
	c.Enter()
	c.count(1 << 20) // the body of a request with a valid key
	c.Leave()
	c.count(smallHead)
	if s.held != 0 {
		t.Errorf("a short head holds %d", s.held)
	}
	c.count(10 << 10)
	if s.held != 10<<10*headFactor {
		t.Errorf("a long one holds %d", s.held)
	}
	c.letGo()
	if s.held != 0 {
		t.Errorf("a long one that is answered holds %d", s.held)
	}
	c.count(smallHead + 1)
	c.Enter()
	if s.held != 0 {
		t.Errorf("a long one with a valid key holds %d", s.held)
	}
}

// TestNothingIsLeftOfARefusedRequest but its answer, for as long as net/http keeps
// it.
func TestNothingIsLeftOfARefusedRequest(t *testing.T) {
	t.Parallel()
	h := DropRequests(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401) }))
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("POST /" + strings.Repeat("a", 1<<10) + " HTTP/1.1\r\nHost: x\r\nX-Long: " + strings.Repeat("b", 1<<10) + "\r\nTrailer: Y\r\nTransfer-Encoding: chunked\r\n\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	h.ServeHTTP(httptest.NewRecorder(), r)
	if r.URL != nil || r.Header != nil || r.Trailer != nil || r.Host != "" || r.RequestURI != "" {
		t.Errorf("left is %+v", r)
	}
}
