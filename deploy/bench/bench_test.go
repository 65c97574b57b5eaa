//go:build linux

package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var testKeys = &keyring{
	Keys:    []string{"OLLAMA-0199c3a1-8f60-7d4e-9c55-2b1f3a8e7d60.fnq3bP2XWlXo7vJQ9Yf7dYwq1TzjzW0v3n0u4j3kq1A", "OLLAMA-0199c3a1-8f60-7d4e-9c55-2b1f3a8e7d61.s9Gv3bP2XWlXo7vJQ9Yf7dYwq1TzjzW0v3n0u4j3kq1"},
	revoked: "OLLAMA-0199c3a1-8f60-7d4e-9c55-2b1f3a8e7d62.Zq2v3bP2XWlXo7vJQ9Yf7dYwq1TzjzW0v3n0u4j3kq1",
}

// meddler is a proxy that can do its job badly.
type meddler struct {
	key    func(key string) bool // nil: those of testKeys are good
	refuse int                   // the status for others; 0: 401
	ask    func(io.Reader) io.Reader
	answer func(io.Reader) io.Reader
}

// One for all tests: it runs to the end.
var testPoller = sync.OnceValues(startPoller)

// behind gives the upstream behind such a proxy.
func (m meddler) behind(t *testing.T) *target {
	t.Helper()
	poll, err := testPoller()
	if err != nil {
		t.Fatal(err)
	}
	u, err := startUpstream(poll)
	if err != nil {
		t.Fatal(err)
	}
	to, _ := url.Parse("http://" + u.address)
	pass := &httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			if m.ask != nil {
				r.Out.Body = io.NopCloser(m.ask(r.Out.Body))
			}
		},
		ModifyResponse: func(r *http.Response) error {
			if m.answer != nil {
				r.Body = io.NopCloser(m.answer(r.Body))
				r.Header.Del("Content-Length")
				r.ContentLength = -1
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	good := m.key
	if good == nil {
		good = func(key string) bool { return slices.Contains(testKeys.Keys, key) }
	}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !good(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")) {
			w.WriteHeader(cmp.Or(m.refuse, http.StatusUnauthorized))
			return
		}
		// Without it a quick answer may close the body before the proxy has
		// seen its end, and then breaks off.
		http.NewResponseController(w).EnableFullDuplex()
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	return &target{
		address: proxy.Listener.Addr().String(), pids: []int{os.Getpid()}, keys: testKeys, upstream: u, poller: poll,
		window: 50 * time.Millisecond,
	}
}

// flip changes one byte, once so many have passed.
func flip(at int) func(io.Reader) io.Reader {
	return func(from io.Reader) io.Reader {
		return &edit{from: from, piece: func(pos int, b []byte) []byte {
			if i := at - pos; 0 <= i && i < len(b) {
				b[i] ^= 1
			}
			return b
		}}
	}
}

// edit passes pieces on as they are changed.
type edit struct {
	from  io.Reader
	pos   int
	piece func(pos int, b []byte) []byte
}

func (e *edit) Read(b []byte) (int, error) {
	n, err := e.from.Read(b)
	left := e.piece(e.pos, b[:n])
	e.pos += n
	return copy(b, left), err
}

func TestGoodProxyIsMeasured(t *testing.T) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			target := meddler{}.behind(t)
			found, err := s.run(target, smokeSize)
			if err != nil {
				t.Fatal(err, target.upstream.error())
			}
			for _, m := range s.measures {
				if v, ok := found[m.figure]; !ok || v == 0 && m.figure != "kib" {
					t.Errorf("%s is %v", m.figure, v)
				}
			}
		})
	}
}

// Whatever a proxy does to a request or an answer makes the run void.
func TestRunWithAnErrorIsVoid(t *testing.T) {
	var first sync.Once
	var kept []byte
	for _, c := range []struct {
		what string
		ask  string
		meddler
	}{
		{"changes the start of an answer", askSmall, meddler{answer: flip(0)}},
		{"changes the end of an answer", askSmall, meddler{answer: flip(len(answer.text) - 1)}},
		{"cuts an answer short", askSmall, meddler{answer: func(r io.Reader) io.Reader { return io.LimitReader(r, 100) }}},
		{"adds to an answer", askSmall, meddler{answer: func(r io.Reader) io.Reader { return io.MultiReader(r, strings.NewReader(" ")) }}},
		{"gives everyone the same answer", askSmall, meddler{answer: func(r io.Reader) io.Reader {
			first.Do(func() { kept, _ = io.ReadAll(r) })
			return bytes.NewReader(kept)
		}}},
		{"changes the start of a question", askSmall, meddler{ask: flip(3)}},
		{"changes the number of a question", askSmall, meddler{ask: flip(len(`{"model":"small","user":"0000000`))}},
		{"changes the end of a question", askSmall, meddler{ask: flip(questionLen(askSmall) - 1)}},
		{"changes the padding of a question", askLarge, meddler{ask: flip(largeBody / 2)}},
		{"changes the first byte of a stream", askFull, meddler{answer: flip(0)}},
		{"changes a byte of a stream", askFull, meddler{answer: flip(3_000_001)}},
		{"changes the last byte of a stream", askFull, meddler{answer: flip(int(streamLen(fullEvents)) - 1)}},
		{"leaves an event out", askFull, meddler{answer: func(r io.Reader) io.Reader {
			return io.MultiReader(io.LimitReader(r, int64(100*eventLen)), &skip{r, eventLen})
		}}},
		{"ends a stream early", askFull, meddler{answer: func(r io.Reader) io.Reader { return io.LimitReader(r, streamLen(fullEvents)-1) }}},
		{"repeats an event", askFull, meddler{answer: func(r io.Reader) io.Reader {
			var event bytes.Buffer
			return io.MultiReader(io.TeeReader(io.LimitReader(r, int64(eventLen)), &event), &event, r)
		}}},
	} {
		t.Run(c.what, func(t *testing.T) {
			target := c.behind(t)
			if _, err := target.closedLoop(c.ask, 2, false); err == nil {
				t.Error("it goes unnoticed")
			}
		})
	}
}

// shorten leaves out the last byte.
type shorten struct {
	from io.Reader
	last []byte
}

func (s *shorten) Read(b []byte) (int, error) {
	n, err := s.from.Read(b[1:])
	if n == 0 {
		return 0, err
	}
	piece := append(s.last, b[1:1+n]...)
	s.last = piece[len(piece)-1:]
	return copy(b, piece[:len(piece)-1]), err
}

func questionLen(ask string) int {
	begin, middle, end := question(ask, false)
	return len(begin.text) + middle + len(end)
}

// skip leaves n bytes out.
type skip struct {
	from io.Reader
	n    int
}

func (s *skip) Read(b []byte) (int, error) {
	if s.n > 0 {
		if _, err := io.CopyN(io.Discard, s.from, int64(s.n)); err != nil {
			return 0, err
		}
		s.n = 0
	}
	return s.from.Read(b)
}

func TestPacedRunWithAnErrorIsVoid(t *testing.T) {
	for what, m := range map[string]meddler{
		"changes an event":      {answer: flip(eventLen + 50)},
		"leaves an event out":   {answer: func(r io.Reader) io.Reader { return &skip{r, eventLen} }},
		"ends the stream early": {answer: func(r io.Reader) io.Reader { return io.LimitReader(r, 10) }},
		"lacks the last byte":   {answer: func(r io.Reader) io.Reader { return &shorten{from: r} }},
		"refuses":               {key: func(string) bool { return false }},
	} {
		t.Run(what, func(t *testing.T) {
			if _, err := m.behind(t).paced(4, time.Millisecond, func() error { return nil }); err == nil {
				t.Error("it goes unnoticed")
			}
		})
	}
}

// hold passes on so many events at a time; what is no stream it leaves alone.
type hold struct {
	from   io.Reader
	events int
}

func (h *hold) Read(b []byte) (int, error) {
	n, err := io.ReadFull(h.from, b[:1])
	if n == 0 || b[0] != 'd' {
		return n, err
	}
	more, err := io.ReadFull(h.from, b[1:h.events*eventLen])
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n + more, err
}

func TestCheck(t *testing.T) {
	for what, c := range map[string]struct {
		meddler
		says string // "" if it is let take part
	}{
		"a good proxy":     {meddler{}, ""},
		"lets everyone in": {meddler{key: func(string) bool { return true }}, "no key is let in"},
		"lets nobody in":   {meddler{key: func(string) bool { return false }}, "a good key"},
		"looks at the id only": {meddler{key: func(k string) bool {
			return len(k) > 43 && slices.ContainsFunc(testKeys.Keys, func(g string) bool { return g[:43] == k[:43] })
		}}, "whose tag is changed is let in"},
		"looks at the tag only": {meddler{key: func(k string) bool {
			return len(k) == 87 && slices.ContainsFunc(testKeys.Keys, func(g string) bool { return g[43:] == k[43:] })
		}}, "whose id is changed is let in"},
		"takes the start of a key": {meddler{key: func(k string) bool {
			return len(k) > 43 && slices.ContainsFunc(testKeys.Keys, func(g string) bool { return strings.HasPrefix(g, k) })
		}}, "lacks its end is let in"},
		"knows no revocations":    {meddler{key: func(k string) bool { return k == testKeys.revoked || slices.Contains(testKeys.Keys, k) }}, "a revoked key is let in"},
		"breaks down on bad keys": {meddler{refuse: 500}, "no key: the answer"},
		"changes answers":         {meddler{answer: flip(9)}, "a good key"},
	} {
		t.Run(what, func(t *testing.T) {
			err := c.behind(t).check(patience)
			if got := fmt.Sprint(err); (err == nil) != (c.says == "") || !strings.Contains(got, c.says) && err != nil {
				t.Errorf("the check says %q", got)
			}
		})
	}
}

func TestCheckFindsWhoHoldsEventsBack(t *testing.T) {
	for events, within := range map[int]time.Duration{1: patience, 2: 300 * time.Millisecond} {
		target := meddler{answer: func(r io.Reader) io.Reader { return &hold{r, events} }}.behind(t)
		if err := target.check(within); (err == nil) != (events == 1) {
			t.Errorf("of who passes %d events at a time it says %v", events, err)
		}
	}
}

// An idle process that is taken for the proxy would make a good figure.
func TestWorkIsDoneByWhoIsMeasured(t *testing.T) {
	idle := exec.Command("sleep", "1000")
	if err := idle.Start(); err != nil {
		t.Fatal(err)
	}
	defer idle.Wait()
	defer idle.Process.Kill()
	idle.Process.Signal(syscall.SIGSTOP)
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(idle.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatal(status, err)
	}
	target := meddler{}.behind(t)
	target.pids = []int{idle.Process.Pid}
	if found, err := target.closedLoop(askSmall, 2, false); err == nil {
		t.Errorf("it gives %v", found)
	}
}
