package e2e_test

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/e2e"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

// serveOn runs a stand-in until stop is called.
func serveOn(t *testing.T, l net.Listener) (stop func()) {
	t.Helper()
	server := &http.Server{Handler: handlertest.AnswerProbes(standin.New(standin.Options{}))}
	go server.Serve(l)
	return func() { server.Close() }
}

// TestHostThatDoesNotResolve: a request fails at once and counts as Ollama's failure,
// until the name resolves.
func TestHostThatDoesNotResolve(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*handlertest.NameServer){
		"no such name":       func(n *handlertest.NameServer) { n.Set(dnsmessage.RCodeNameError) },
		"a server's failure": func(n *handlertest.NameServer) { n.Set(dnsmessage.RCodeServerFailure) },
		"a name of nothing":  func(n *handlertest.NameServer) { n.Set(dnsmessage.RCodeSuccess) },
		"a slow server":      func(n *handlertest.NameServer) { n.Slow = make(chan struct{}) },
		"a deserted address": func(n *handlertest.NameServer) { n.Set(dnsmessage.RCodeSuccess, "127.0.0.2", "::1") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ollama := handlertest.Listen(t)
			_, port, _ := net.SplitHostPort(ollama.Addr().String())
			stop := serveOn(t, ollama)
			defer stop()
			n := &handlertest.NameServer{}
			fault(n)
			want := blame{502, "upstream_error", "dial"}
			if n.Slow != nil {
				want = silent
			}
			s := handlertest.Start(t, handlertest.Config{Address: "ollama.internal:" + port, Proxy: func(o *handler.Options) {
				e2e.UseResolver(o.Transport, n.Resolver())
				if want == silent {
					o.FirstByteTimeout = ample
				}
			}})
			for i, c := range dialects {
				got := s.Ask(t, "POST", c.Path, c.Ask("tiny", true))
				if message, _ := handlertest.ErrorIn(t, c.Path, got.Body); got.Status != want.code || got.Err != nil || message != "Ollama cannot be reached" && message != notInTime {
					t.Errorf("%s: %s %q", c.Path, got, got.Body)
				}
				if i == 0 {
					blames(s, t, want, false)
				}
			}
			n.Set(dnsmessage.RCodeSuccess, "127.0.0.1")
			if n.Slow != nil {
				close(n.Slow)
			}
			for _, c := range dialects {
				got := s.Ask(t, "POST", c.Path, c.Ask("tiny", true))
				for late := time.Now().Add(handlertest.Timeout); (got.Status == 504 || got.Err != nil) && time.Now().Before(late); {
					got = s.Ask(t, "POST", c.Path, c.Ask("tiny", true)) // a busy machine is slow, too
				}
				if got.Status != 200 || got.Err != nil || !strings.Contains(got.Body, c.End) {
					t.Errorf("%s, when it resolves: %s", c.Path, got)
				}
			}
		})
	}
}

// TestHostWithSeveralAddresses: it is enough that Ollama listens on one of them.
func TestHostWithSeveralAddresses(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", at)
		if err != nil && at[0] == '[' {
			t.Skip("this machine has no IPv6: ", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(l.Addr().String())
		defer serveOn(t, l)()
		n := &handlertest.NameServer{}
		n.Set(dnsmessage.RCodeSuccess, "127.0.0.2", "127.0.0.1", "::1")
		s := handlertest.Start(t, handlertest.Config{Address: "ollama.internal:" + port, Proxy: func(o *handler.Options) { e2e.UseResolver(o.Transport, n.Resolver()) }})
		if got := s.Ask(t, "GET", "/api/version", ""); got.Status != 200 {
			t.Errorf("Ollama at %s: %s", at, got)
		}
		if kinds := s.Spy.Texts("UpstreamFailed"); len(kinds) != 0 {
			t.Errorf("Ollama at %s: recorded as %q", at, kinds)
		}
	}
}
