//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

const (
	holdersFiles = 256
	holders      = 84 // the connections that may carry requests with so few files
	newcomers    = 200
)

// A heldRequest is a connection with a request that does not end.
type heldRequest struct {
	net.Conn
	r *bufio.Reader
}

// beginRequest sends a request whose body is missing some bytes at its end.
func (p *proxy) beginRequest(key, path, body string, missing int) heldRequest {
	c, err := net.Dial("tcp", p.Address)
	kit.Must(err, "a connection")
	c.SetDeadline(time.Now().Add(3 * kit.Timeout))
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", path, key, len(body)+missing, body)
	return heldRequest{c, bufio.NewReader(c)}
}

// answer reads the answer.
func (h heldRequest) answer(when string) (status int, header http.Header, body string) {
	res, err := http.ReadResponse(h.r, nil)
	kit.Must(err, "the answer to %s", when)
	text, err := io.ReadAll(res.Body)
	kit.Must(err, "the answer to %s", when)
	return res.StatusCode, res.Header, string(text)
}

// messages holds a function for each route that returns the message in an error answer.
var messages = map[string]func(body []byte) string{
	"/api/chat": func(body []byte) string {
		var e struct{ Error string }
		json.Unmarshal(body, &e)
		return e.Error
	},
	"/v1/chat/completions": nested,
	"/v1/messages":         nested,
}

func nested(body []byte) string {
	var e struct{ Error struct{ Message string } }
	json.Unmarshal(body, &e)
	return e.Error.Message
}

// expectOverload ends the program unless a new request gets 503 with Retry-After. Its
// connection stays open.
func (p *proxy) expectOverload(key, path string) heldRequest {
	h := p.beginRequest(key, path, `{"model":"tiny","messages":[]}`, 0)
	status, header, body := h.answer("a newcomer")
	if status != http.StatusServiceUnavailable || header.Get("Retry-After") != "1" || messages[path]([]byte(body)) != "too many requests in flight, try again" {
		kit.Fatal("a newcomer on %s: status %d, %v, %s", path, status, header, body)
	}
	return h
}

// checkHolders has a key hold as many connections as the open files allow. Other keys then
// get 503 with Retry-After, revocations still work, and all is as before in the end.
func checkHolders() {
	list := filepath.Join(kit.Dir, "holders.list")
	kit.WriteFile(list, "")
	p := launch("holders", withLimit(fmt.Sprint("-n ", holdersFiles)), "--revocations", list)
	greedy, other, victim := p.mint(), p.mint(), p.mint()
	for _, s := range p.streams(other, 10) {
		if !s.whole() {
			kit.Fatal("a stream before anybody is greedy: %s", s)
		}
	}
	goroutines, files := p.settled()

	waiting, uploading := `ollama_proxy_in_flight_requests{route="/api/chat"}`, `ollama_proxy_in_flight_requests{route="/v1/chat/completions"}`
	var all []heldRequest
	for i := range holders {
		if i%2 == 0 {
			all = append(all, p.beginRequest(greedy, "/api/chat", `{"model":"hang"}`, 0))
		} else {
			all = append(all, p.beginRequest(greedy, "/v1/chat/completions", `{"model":"tiny","messages":[`, 1<<20))
		}
	}
	kit.Await("the holders to be in", func() bool { return p.Metric(waiting) == holders/2 && p.Metric(uploading) == holders/2 })
	said := len(p.Logged())

	// All others get 503, one after the other and several at once.
	from := time.Now()
	for i := range newcomers {
		all = append(all, p.expectOverload(other, []string{"/api/chat", "/v1/chat/completions", "/v1/messages"}[i%3])) // which stays
	}
	var some sync.WaitGroup
	for range 8 {
		some.Go(func() { p.expectOverload(other, "/api/chat").Close() })
	}
	some.Wait()
	took := time.Since(from)
	p.expectMetric(`ollama_proxy_refusals_total{reason="overload"}`, newcomers+8)
	p.expectLog(said, newcomers+8, "level=INFO msg=request", "status=503", "outcome=refused reason=overload")
	if status, _, err := get("http://"+p.Metrics+"/readyz", ""); err != nil || status != http.StatusOK {
		kit.Fatal("amid the holders /readyz gives status %d, %v", status, err)
	}
	open := p.Metric("process_open_fds")

	// A connection that becomes free can be used, and a revoked key's stream is cut.
	all[0].Close()
	kit.Await("a holder to have left", func() bool { return p.Metric(waiting) == holders/2-1 })
	doomed := p.streams(victim, 1)[0]
	kit.Command("revoke", "--revocations", list, victim)
	if !doomed.broken() || !strings.Contains(string(doomed.body), "has been revoked") {
		kit.Fatal("the stream of a key that was revoked amid the holders: %s", doomed)
	}
	p.expectMetric(`ollama_proxy_streams_total{outcome="revoked",route="/api/chat"}`, 1)
	p.expectLog(said, 1, "level=INFO msg=request", "status=401", "outcome=revoked")
	p.expectLog(said, 1, "level=INFO msg=request", "status=499", "outcome=client_gone")

	// All is as before once the holders have left.
	for _, h := range all[1:] {
		h.Close()
	}
	kit.Await("the holders to have left", func() bool { return p.Metric(waiting) == 0 && p.Metric(uploading) == 0 })
	if g, f := p.settled(); g > goroutines+2 || f > files+2 {
		kit.Fatal("after the holders there are %v goroutines where there were %v, and %v open files where there were %v", g, goroutines, f, files)
	}
	for _, s := range p.streams(other, 10) {
		if !s.whole() {
			kit.Fatal("a stream after the holders have left: %s", s)
		}
	}
	p.expectLog(said, holders, "level=INFO msg=request", "status=499", "outcome=client_gone")
	p.expectMetric(`ollama_proxy_upstream_errors_total{kind="dial",upstream="`+ollama+`"}`, 0)
	p.expectMetric(`ollama_proxy_reload_success{source="revocations"}`, 1)
	p.Stop()
	p.expectLog(said, 1, `level=WARN msg="limit of connections that carry requests reached: further requests get 503"`, fmt.Sprint("connections=", holders))
	p.expectLog(0, 1, "level=WARN")
	p.expectLog(0, 0, "level=ERROR")
	p.expectLog(0, 0, "open files")
	kit.Pass("%d holders of keys, where the process may have %d files: %d newcomers get 503 within %s, a free place is taken, a revoked stream cut, %.0f files open, and all is as before once they have left",
		holders, holdersFiles, newcomers+8, kit.Seconds(took), open)
}

// checkLists requests merged lists from more Ollamas at once than the open files allow. Each
// list is complete, and no Ollama is marked down.
func checkLists() {
	const boxes, clients, each = 8, 20, 3
	var args, names []string
	for i := range boxes {
		ollama := standin.New(standin.Options{Models: []string{fmt.Sprint("model", i)}})
		address := kit.Listen("127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(pace) // so that many requests overlap
			ollama.ServeHTTP(w, r)
		}))
		names = append(names, fmt.Sprint("box", i))
		args = append(args, "--upstream", names[i]+"=http://"+address)
	}
	p := launch("lists", withLimit(fmt.Sprint("-n ", openFiles)), args...)
	key := p.mint()
	kit.Await("all to be looked at", func() bool { return strings.Count(p.Logged(), `msg="Ollama answers"`) == boxes+1 })
	goroutines, _ := p.settled()
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for range each {
				status, body, err := get("http://"+p.Address+"/api/tags", key)
				if err != nil || status != http.StatusOK || strings.Count(body, `"model`) < boxes {
					kit.Fatal("a list of %d Ollamas: status %d, %s, %v", boxes, status, body, err)
				}
			}
		})
	}
	all.Wait()
	open := p.Metric("process_open_fds")
	for _, name := range names {
		p.expectMetric(`ollama_proxy_upstream_up{upstream="`+name+`"}`, 1)
		p.expectMetric(`ollama_proxy_upstream_errors_total{kind="dial",upstream="`+name+`"}`, 0)
	}
	if g, _ := p.settled(); g > goroutines+2 {
		kit.Fatal("after the lists there are %v goroutines where there were %v", g, goroutines)
	}
	p.expectLog(0, clients*each, "level=INFO msg=request", "route=/api/tags", "status=200", "outcome=complete")
	p.Stop()
	p.expectLog(0, 0, "level=WARN")
	p.expectLog(0, 0, "level=ERROR")
	kit.Pass("%d lists of %d Ollamas, where the process may have %d files: all whole, none taken to be down, %.0f files open", clients*each, boxes+1, openFiles, open)
}
