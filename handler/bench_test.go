package handler_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/server"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// fixedOllama serves an Ollama that costs almost nothing: it sends the same bytes to every
// request, except for the list of its models.
func fixedOllama(b *testing.B, answer string) *url.URL {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := make([]byte, 64<<10)
				for {
					if n, err := c.Read(in); err != nil || n == 0 {
						return
					}
					reply := answer
					if bytes.HasPrefix(in, []byte("GET /api/tags ")) {
						reply = "HTTP/1.1 200 OK\r\nContent-Length: 36\r\n\r\n" + `{"models":[{"name":"tiny:latest"}]} `
					}
					if _, err := io.WriteString(c, reply); err != nil {
						return
					}
				}
			}()
		}
	}()
	return &url.URL{Scheme: "http", Host: l.Addr().String()}
}

// BenchmarkRelay relays a small chat through a whole server, over two TCP connections. The
// time includes the client's and Ollama's, but these allocate nothing.
func BenchmarkRelay(b *testing.B) {
	b.Run("plain", func(b *testing.B) { benchmarkRelay(b) })
	b.Run("four caveats", func(b *testing.B) {
		benchmarkRelay(b, "label=alice", "exp=4102444800", "models=tiny,qwen3:*", "rpm=1000000000")
	})
}

func benchmarkRelay(b *testing.B, caveats ...string) {
	const message = `{"model":"tiny","created_at":"2026-11-25T00:00:00Z","message":{"role":"assistant","content":"hello"},"done":true,"prompt_eval_count":3,"eval_count":5}`
	answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nDate: Wed, 25 Nov 2026 00:00:00 GMT\r\nContent-Length: %d\r\n\r\n%s", len(message), message)
	secret, _ := signer.NewSecret()
	var narrow []signer.Caveat
	for _, text := range caveats {
		name, value, _ := strings.Cut(text, "=")
		narrow = append(narrow, signer.Caveat{Name: name, Value: value})
	}
	key, err := signer.Mint(secret, false, narrow...)
	if err != nil {
		b.Fatal(err)
	}
	proxy := handler.New(handler.Options{
		Upstream: fixedOllama(b, answer), Keys: signer.NewVerifier(secret), Recorder: handlertest.NopRecorder{}, Log: slog.New(slog.DiscardHandler),
	})
	b.Cleanup(proxy.Transport.(interface{ CloseIdleConnections() }).CloseIdleConnections)
	server := &server.Server{Proxy: proxy, Metrics: http.NotFoundHandler()}
	public, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	private, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- server.Serve(ctx, public, private) }()
	b.Cleanup(func() { stop(); <-served })

	const ask = `{"model":"tiny","stream":false,"messages":[{"role":"user","content":"hi"}]}`
	request := fmt.Sprintf("POST /api/chat HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nAccept: */*\r\nUser-Agent: bench\r\nContent-Length: %d\r\n\r\n%s", key, len(ask), ask)
	c, err := net.Dial("tcp", public.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	in := bufio.NewReader(c)
	whole := make([]byte, 4<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := io.WriteString(c, request); err != nil {
			b.Fatal(err)
		}
		for n := 0; !strings.HasSuffix(string(whole[:n]), `"eval_count":5}`); {
			more, err := in.Read(whole[n:])
			if err != nil {
				b.Fatal(err)
			}
			n += more
		}
	}
}
