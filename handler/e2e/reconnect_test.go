package e2e_test

import (
	"sync"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/server"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// gates is a verifier that looks at a key only when the gate of that key is open. A key
// without a gate waits until all that are expected have come.
type gates struct {
	handler.KeyVerifier
	all  sync.WaitGroup // those that are expected
	open map[string]chan struct{}
}

func (g *gates) Verify(text string, now time.Time) (signer.Key, error) {
	g.all.Done()
	if gate := g.open[text]; gate != nil {
		<-gate
	} else {
		g.all.Wait()
	}
	return g.KeyVerifier.Verify(text, now)
}

// TestManyReconnectAtOnce: after a restart all clients reconnect together, and none is
// evicted for another.
func TestManyReconnectAtOnce(t *testing.T) {
	t.Parallel()
	const many = 80
	g := &gates{}
	g.all.Add(many)
	s := handlertest.Start(t, handlertest.Config{Certificates: loadCertificate(t), Server: func(s *server.Server) { s.FirstStreams = time.Hour }, Proxy: func(o *handler.Options) {
		g.KeyVerifier, o.Keys = o.Keys, g
	}})
	var clients []*h2
	for range many {
		clients = append(clients, dialH2(s, t))
	}
	for _, c := range clients {
		c.all(1, c.encode(request2{}.fields(s.Key)...))
	}
	for i, c := range clients {
		if got := c.end(1); got != "200" {
			t.Fatalf("client %d: %q", i, got)
		}
	}
}

// TestManyAreRefusedAtOnce: as after a rotation of the secret. Each client gets its 401,
// though all together may hold more memory than the limit for clients without a key.
func TestManyAreRefusedAtOnce(t *testing.T) {
	t.Parallel()
	const many = 80
	early, late := "OLLAMA-early", "OLLAMA-late"
	g := &gates{open: map[string]chan struct{}{early: make(chan struct{}), late: make(chan struct{})}}
	g.all.Add(2 * many)
	s := handlertest.Start(t, handlertest.Config{Certificates: loadCertificate(t), Server: func(s *server.Server) {
		s.FirstStreams, s.DrainTime = time.Hour, time.Hour
	}, Proxy: func(o *handler.Options) {
		g.KeyVerifier, o.Keys = o.Keys, g
	}})
	var clients []*h2
	for range many {
		c := dialH2(s, t)
		c.all(1, c.encode(request2{}.fields(early)...))
		c.all(3, c.encode(request2{}.fields(late)...))
		clients = append(clients, c)
	}
	g.all.Wait()
	for stream, key := range []string{1: early, 3: late} {
		if key == "" {
			continue
		}
		close(g.open[key])
		for i, c := range clients {
			if got := c.end(uint32(stream)); got != "401" {
				t.Fatalf("client %d, stream %d: %q", i, stream, got)
			}
		}
	}
}
