package e2e_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/local"
	"github.com/ollama-proxy/ollama-proxy/handler/server"
	"github.com/ollama-proxy/ollama-proxy/handler/status"
)

// look asks the private listener as a browser might.
func lookAt(s *handlertest.Site, t *testing.T, target, host string, headers ...string) handlertest.Answer {
	t.Helper()
	w := handlertest.Dial(t, s.Private)
	defer w.Close()
	w.Writef("GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", target, host, strings.Join(append(headers, ""), "\r\n"))
	if target != "/events" {
		return w.Answer("GET")
	}
	res := w.ReadHead("GET")
	return handlertest.Answer{Status: res.StatusCode, Header: res.Header}
}

func TestPageLoadsNothingElse(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{Server: handlertest.WithStatus})
	a := lookAt(s, t, "/", "127.0.0.1:9464")
	if a.Status != 200 || a.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("%s", a)
	}
	policy := a.Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'", "require-trusted-types-for 'script'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy has no %s: %s", want, policy)
		}
	}
	if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") || strings.Contains(policy, "http") {
		t.Errorf("the policy lets in what it should not: %s", policy)
	}
	for _, element := range []string{"script", "style"} {
		parts := regexp.MustCompile(`(?s)<`+element+`>(.*?)</`+element+`>`).FindAllStringSubmatch(a.Body, -1)
		if len(parts) != 1 {
			t.Fatalf("%d elements %s", len(parts), element)
		}
		sum := sha256.Sum256([]byte(parts[0][1]))
		if !strings.Contains(policy, element+"-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") {
			t.Errorf("the policy forbids the page's own %s", element)
		}
	}
	// Nothing comes from elsewhere, and nothing makes markup of text.
	for _, bad := range []string{`(?i)<script[^>]+src`, `<link[^>]+href="(?:[^d]|d[^a])`, `@import`, `url\(`, `innerHTML`, `outerHTML`, `insertAdjacentHTML`, `document\.write`, `\beval\b`, ` style="`, ` on\w+="`} {
		if m := regexp.MustCompile(bad).FindString(a.Body); m != "" {
			t.Errorf("the page has %q", m)
		}
	}
	for _, u := range regexp.MustCompile(`https?://[^'"\s<]+`).FindAllString(a.Body, -1) {
		if u != "http://www.w3.org/2000/svg" { // a name, which nobody asks for
			t.Errorf("the page names %s", u)
		}
	}
}

// A web page of somebody else's gets nothing: not by asking, not by a name of its
// own that leads here, not in a frame. Programs that scrape do, by an address or a
// name that is no stranger's. Who asks whether the proxy is ready may call it what
// they like.
func TestOnlyOwnPagesMayLook(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{Server: func(s *server.Server) {
		handlertest.WithStatus(s)
		s.MetricsHosts = []string{"gpu.example.com"}
	}})
	port := s.Private[strings.LastIndexByte(s.Private, ':'):]
	for _, c := range []struct {
		what, host string
		headers    []string
		page, data int
	}{
		{"by address", s.Private, nil, 200, 200},
		{"by name", "localhost" + port, nil, 200, 200},
		{"by name, as browsers may", "LocalHost." + port, nil, 200, 200},
		{"by IPv6", "[::1]" + port, nil, 200, 200},
		{"in the network", "192.168.1.5" + port, nil, 200, 200},
		{"by the machine's name", "gpu-box:9464", nil, 200, 200},
		{"by mDNS", "gpu-box.local:9464", nil, 200, 200},
		{"in a cluster", "proxy.ollama.svc.cluster.local:9464", nil, 200, 200},
		{"in a cluster, in short", "proxy.ollama.svc:9464", nil, 200, 200},
		{"by a name that is let in", "gpu.example.com:9464", nil, 200, 200},
		{"by it, as others write it", "GPU.Example.com.", nil, 200, 200},
		{"its own page", s.Private, []string{"Origin: http://" + s.Private, "Sec-Fetch-Site: same-origin"}, 200, 200},
		{"typed", s.Private, []string{"Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, 200, 200},
		{"a link to it", s.Private, []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, 200, 403},
		{"a frame around it", s.Private, []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"}, 403, 403},
		{"rebinding", "evil.example" + port, nil, 403, 403},
		{"rebinding, with a dot", "evil.example." + port, nil, 403, 403},
		{"rebinding, dressed up", "127.0.0.1.evil.example" + port, nil, 403, 403},
		{"rebinding, dressed up as local", "local.evil.example" + port, nil, 403, 403},
		{"rebinding, dressed up as a cluster's", "svc.evil.example" + port, nil, 403, 403},
		{"rebinding, below a name that is let in", "evil.gpu.example.com" + port, nil, 403, 403},
		{"rebinding, above it", "example.com" + port, nil, 403, 403},
		{"rebinding, no port", "evil.example", nil, 403, 403},
		{"no host", "", nil, 403, 403},
		{"another origin", s.Private, []string{"Origin: https://evil.example"}, 403, 403},
		{"another port", s.Private, []string{"Origin: http://127.0.0.1:1"}, 403, 403},
		{"a sandbox", s.Private, []string{"Origin: null"}, 403, 403},
		{"two origins", s.Private, []string{"Origin: http://" + s.Private, "Origin: http://evil.example"}, 403, 403},
		{"another site", s.Private, []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"}, 403, 403},
		{"another port's script", s.Private, []string{"Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: cors"}, 403, 403},
	} {
		for target, want := range map[string]int{"/": c.page, "/status": c.data, "/events": c.data, "/metrics": c.page, "/healthz": 200, "/readyz": 200} {
			a := lookAt(s, t, target, c.host, c.headers...)
			if a.Status != want {
				t.Errorf("%s: GET %s is answered with %d", c.what, target, a.Status)
			}
			for name := range a.Header {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%s: %s has %s", c.what, target, name)
				}
			}
			if want == 403 && strings.Count(a.Body, "\n") > 1 {
				t.Errorf("%s: %q", c.what, a.Body)
			}
			if _, open := map[string]bool{"/healthz": true, "/readyz": true}[target]; open {
				continue
			}
			if a.Header.Get("Cross-Origin-Resource-Policy") != "same-origin" || a.Header.Get("X-Frame-Options") != "DENY" || a.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %s goes out with %v", c.what, target, a.Header)
			}
		}
	}
}

func TestThePrivateListenerServesNothingElse(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{Server: handlertest.WithStatus})
	for _, target := range []string{"/index.html", "/status/", "/events/", "/favicon.ico", "/api/tags", "/v1/models"} {
		if a := lookAt(s, t, target, "localhost"); a.Status != 404 {
			t.Errorf("%s: %s", target, a)
		}
	}
	w := handlertest.Dial(t, s.Private)
	w.Writef("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
	if a := w.Answer("POST"); a.Status != 405 {
		t.Errorf("POST: %s", a)
	}
	if a := s.Ask(t, "GET", "/status", ""); a.Status != 404 {
		t.Errorf("on the public listener: %s", a)
	}
	if a := lookAt(handlertest.Start(t, handlertest.Config{}), t, "/status", "localhost"); a.Status != 404 {
		t.Errorf("there is nothing to see, and yet: %s", a)
	}
}

// viewer looks on, and gives each event as it comes.
func openViewer(s *handlertest.Site, t *testing.T) *handlertest.Wire {
	t.Helper()
	w := handlertest.Dial(t, s.Private)
	w.Writef("GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
	if res := w.ReadHead("GET"); res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("status %d, %v", res.StatusCode, res.Header)
	}
	return w
}

// event reads the next event's data.
func nextEvent(w *handlertest.Wire, t *testing.T) (st status.Status) {
	t.Helper()
	for {
		line, err := w.R.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			if err := handlertest.Strict(data, &st); err != nil {
				t.Fatal(err)
			}
			return st
		}
	}
}

func TestEventsComeAtOnceAndRepeat(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{Server: handlertest.WithStatus})
	w := openViewer(s, t)
	first := nextEvent(w, t)
	hanging := s.Dial(t)
	hanging.Send("POST", "/api/chat", handlertest.Chats[0].Ask("hang", true), handlertest.Bearer(s.Key))
	s.AwaitRequest(t, 1)
	next := nextEvent(w, t)
	for n := 0; next.Requests != 1 && n < 5; n++ {
		next = nextEvent(w, t)
	}
	if first.Requests != 0 || next.Requests != 1 || !next.Now.After(first.Now) {
		t.Errorf("%d requests at %v, and then %d at %v", first.Requests, first.Now, next.Requests, next.Now)
	}
	hanging.Close()
	s.Stop() // it drains, and ends
	handlertest.Await(t, s.Served, "Serve to return")
	w.ReadToEnd()
}

// Who looks and does not read holds up nobody: not the clients, not those who
// look, too, and not the end.
func TestAViewerThatDoesNotRead(t *testing.T) {
	t.Parallel()
	var reads atomic.Int32
	s := handlertest.Start(t, handlertest.Config{Server: func(s *server.Server) {
		handlertest.WithStatus(s)
		s.Totals = func() status.Totals {
			now := handlertest.Totals()
			if reads.Add(1) == 2 { // at the first look: more than fits between two sockets
				now.ModelBytes = map[string]uint64{strings.Repeat("m", 8<<20): 1}
			}
			return now
		}
	}})
	deaf := handlertest.Dial(t, s.Private)
	deaf.SetReadBuffer(1)
	deaf.Writef("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if res := deaf.ReadHead("GET"); res.StatusCode != 200 {
		t.Fatalf("status %d", res.StatusCode)
	}
	w := openViewer(s, t)
	for n := range 3 {
		if st := nextEvent(w, t); n == 2 && len(st.Models) != 0 {
			t.Error("the long event is still there")
		}
		if a := s.Ask(t, "POST", "/api/chat", handlertest.Chats[0].Ask("tiny", true)); a.Status != 200 || a.Err != nil {
			t.Errorf("%s", a)
		}
	}
	s.Stop()
	if err := handlertest.Await(t, s.Served, "Serve to return"); err != nil {
		t.Error(err)
	}
}

func TestViewersAreLimited(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{Server: handlertest.WithStatus})
	var all []*handlertest.Wire
	for range 32 {
		all = append(all, openViewer(s, t))
	}
	a := lookAt(s, t, "/status", "localhost")
	w := handlertest.Dial(t, s.Private)
	w.Writef("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if more := w.Answer("GET"); more.Status != http.StatusServiceUnavailable || a.Status != 200 {
		t.Errorf("one more viewer: %s; who looks once: %s", more, a)
	}
	all[0].Close()
	for n := 0; ; n++ {
		w := handlertest.Dial(t, s.Private)
		w.Writef("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
		res := w.ReadHead("GET")
		w.Close()
		if res.StatusCode == 200 {
			break
		}
		if n == 1000 {
			t.Fatal("one has left, and there is still no room")
		}
	}
}

func TestParseHosts(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"gpu", "gpu.example.com", "gpu.example.com.", "10.0.0.1", "xn--bcher-kva.example"} {
		if got, err := local.ParseHosts([]string{"localhost", good}); err != nil || len(got) != 2 {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "*", "*.example.com", "gpu.example.com:9464", "http://gpu.example.com", "gpu/metrics", "a b", "user@gpu", "gpu?", "[::1]"} {
		if _, err := local.ParseHosts([]string{"localhost", bad}); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
