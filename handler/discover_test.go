package handler_test

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
	"github.com/ollama-proxy/ollama-proxy/handler/upstream"
)

// nodes starts a box on each address, all on the same port.
func nodes(t *testing.T, addresses ...string) (all []*handlertest.Box, port string) {
	t.Helper()
	for _, a := range addresses {
		b := handlertest.NewBox(t, a, standin.Options{Models: []string{"tiny"}})
		b.Close()
		if port == "" {
			_, port, _ = net.SplitHostPort(b.Address)
		}
		b.Address = net.JoinHostPort(a, port)
		b.Reopen()
		all = append(all, b)
	}
	return all, port
}

// TestDiscoveryFollowsDNS: each address of the name is an Ollama. When the addresses change,
// Ollamas are added and removed, and those that stay keep their state.
func TestDiscoveryFollowsDNS(t *testing.T) {
	t.Parallel()
	boxes, port := nodes(t, "127.0.0.2", "127.0.0.3", "127.0.0.4")
	boxes[1].Load("tiny")
	n := &handlertest.NameServer{}
	n.Set(dnsmessage.RCodeSuccess, "127.0.0.3", "127.0.0.2", "::1")
	host := "ollama.internal:" + port
	s := handlertest.Start(t, handlertest.Config{Proxy: func(o *handler.Options) {
		o.Upstreams = []upstream.Upstream{{Name: "gpus", URL: &url.URL{Scheme: "http", Host: host}, Weight: 1, Discover: true}}
		o.Resolver = n.Resolver()
	}})
	known := func() string {
		var all []string
		for _, u := range s.Proxy.UpstreamStates() {
			all = append(all, fmt.Sprint(u.Name, u.Up, u.Loaded))
		}
		return strings.Join(all, " ")
	}
	expect := func(want string) {
		t.Helper()
		handlertest.Eventually(s, t, func() bool { return known() == want })
	}
	expect("gpus@127.0.0.2true [] gpus@127.0.0.3true [tiny:latest]")
	for range 10 {
		if a := s.Ask(t, "POST", "/api/chat", handlertest.ForModel("tiny")); a.Status != 200 {
			t.Fatalf("%v %s", a, a.Body)
		}
	}
	if boxes[1].Requests() != 10 {
		t.Errorf("%d requests where the model is loaded", boxes[1].Requests())
	}
	if seen := boxes[1].Ollama.Seen()[2]; seen.Host != host {
		t.Errorf("the Host is %q", seen.Host)
	}

	n.Set(dnsmessage.RCodeSuccess, "127.0.0.4", "127.0.0.3")
	handler.LookUp(s.Proxy)
	expect("gpus@127.0.0.3true [tiny:latest] gpus@127.0.0.4true []")
	n.Set(dnsmessage.RCodeServerFailure)
	handler.LookUp(s.Proxy)
	expect("gpus@127.0.0.3true [tiny:latest] gpus@127.0.0.4true []")
	n.Set(dnsmessage.RCodeSuccess, "127.0.0.2")
	handler.LookUp(s.Proxy)
	expect("gpus@127.0.0.2true []")
	if a := handlertest.AskAdmin(s, t, "POST", "/api/chat", handlertest.ForModel("tiny"), handlertest.UpstreamHeader+": gpus@127.0.0.2"); a.Status != 200 || a.Header.Get(handlertest.UpstreamHeader) != "gpus@127.0.0.2" {
		t.Errorf("%v %s", a, a.Body)
	}
}

// TestDiscoveryOfANameThatDoesNotExistYet: the proxy starts, answers 502, and uses the
// address once the name has one.
func TestDiscoveryOfANameThatDoesNotExistYet(t *testing.T) {
	t.Parallel()
	boxes, port := nodes(t, "127.0.0.5")
	n := &handlertest.NameServer{}
	n.Set(dnsmessage.RCodeNameError)
	s := handlertest.Start(t, handlertest.Config{Proxy: func(o *handler.Options) {
		o.Upstreams = []upstream.Upstream{{Name: "gpus", URL: &url.URL{Scheme: "http", Host: "ollama.internal:" + port}, Weight: 1, Discover: true}}
		o.Resolver = n.Resolver()
	}})
	if a := s.Ask(t, "POST", "/api/chat", handlertest.ForModel("tiny")); a.Status != 502 {
		t.Errorf("%v %s", a, a.Body)
	}
	n.Set(dnsmessage.RCodeSuccess, "127.0.0.5")
	handler.LookUp(s.Proxy)
	if a := s.Ask(t, "POST", "/api/chat", handlertest.ForModel("tiny")); a.Status != 200 || boxes[0].Requests() != 1 {
		t.Errorf("%v %s", a, a.Body)
	}
}
