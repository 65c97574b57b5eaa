package local_test

import (
	"net"
	"net/url"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/local"
)

func TestLeadsTo(t *testing.T) {
	own := "192.0.2.1"
	addresses, err := net.InterfaceAddrs()
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && err == nil && n.IP.To4() != nil && !n.IP.IsLoopback() {
			own = n.IP.String()
		}
	}
	for _, c := range []struct {
		u, listener string
		port        int
		want        bool
	}{
		{"http://127.0.0.1:8080", "127.0.0.1", 8080, true},
		{"http://localhost:8080", "127.0.0.1", 8080, true},
		{"http://LOCALHOST:8080", "::", 8080, true},
		{"http://[::1]:8080", "::1", 8080, true},
		{"http://127.0.0.1:8080", "::", 8080, true},
		{"http://127.0.0.1:8080", "0.0.0.0", 8080, true},
		{"http://127.0.0.1:80", "0.0.0.0", 80, true},
		{"http://127.0.0.1", "0.0.0.0", 80, true},
		{"https://127.0.0.1", "0.0.0.0", 443, true},
		{"http://" + own + ":8080", "::", 8080, own != "192.0.2.1"},
		{"http://" + own + ":8080", own, 8080, true},

		{"http://127.0.0.1:11434", "127.0.0.1", 8080, false},
		{"http://127.0.0.2:8080", "127.0.0.1", 8080, false},
		{"http://" + own + ":8080", "127.0.0.1", 8080, false},
		{"http://localhost:8080", own, 8080, false},
		{"http://198.51.100.9:8080", "::", 8080, false},
		{"http://gpu.example.com:8080", "::", 8080, false},
		{"https://127.0.0.1", "127.0.0.1", 80, false},
	} {
		u, err := url.Parse(c.u)
		if err != nil {
			t.Fatal(err)
		}
		if got := local.LeadsTo(u, &net.TCPAddr{IP: net.ParseIP(c.listener), Port: c.port}); got != c.want {
			t.Errorf("%s leads to %s port %d: %t", c.u, c.listener, c.port, got)
		}
	}
	if local.LeadsTo(&url.URL{Scheme: "http", Host: "127.0.0.1:1"}, &net.UnixAddr{Name: "/run/x"}) {
		t.Error("a URL leads to a socket in the file system")
	}
}
