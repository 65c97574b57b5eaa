//go:build unix

package main

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

const chat = `"messages":[{"role":"user","content":"Why is the sky blue?"}]`

// load sends all kinds of requests to both replicas, valid and invalid, again and again.
func load() {
	alice, nameless := mint("--label", "alice"), mint()
	revoked, few, slow := mint("--label", "revoked"), mint("--rpm", "1"), mint("--streams", "1")
	for _, n := range []string{"1", "2"} {
		kit.Command("revoke", "--revocations", path("revocations-"+n), revoked)
	}
	stream := func(model string) string {
		return `{"model":"` + model + `","stream":true,"max_tokens":20,"stream_options":{"include_usage":true},` + chat + `}`
	}
	again(alice, "POST", "/v1/chat/completions", stream("llama3.2"))
	again(nameless, "POST", "/api/chat", `{"model":"qwen3:8b",`+chat+`}`)
	again(alice, "POST", "/v1/messages", `{"model":"llama3.2","max_tokens":20,"stream":true,`+chat+`}`)
	again(nameless, "POST", "/api/embed", `{"model":"nomic-embed-text","input":"Hello"}`)
	again(alice, "GET", "/api/tags", "")

	// What Ollama does wrong: see handler/standin/doc.go.
	for _, fault := range []string{"reset", "garbage", "hang", "hang-mid", "dies-between", "repeat", "error-event", "busy", "broken"} {
		again(alice, "POST", "/v1/chat/completions", stream(fault))
	}

	// What the proxy refuses.
	again("", "GET", "/api/tags", "")
	again("nonsense", "GET", "/api/tags", "")
	again(alice[:len(alice)-43]+strings.Repeat("A", 43), "GET", "/api/tags", "")
	again(mint("--expires-at", "2020-01-01T00:00:00Z"), "GET", "/api/tags", "")
	again(revoked, "GET", "/api/tags", "")
	again(alice+"\n"+nameless, "GET", "/api/tags", "")
	again(mint("--models", "tiny"), "POST", "/api/chat", `{"model":"llama3.2",`+chat+`}`)
	again(mint("--routes", "embed"), "GET", "/api/tags", "")
	again(mint("--from", "192.0.2.0/24"), "GET", "/api/tags", "")
	again(alice, "POST", "/api/chat", `{"model":"`+strings.Repeat("x", 16<<10)+`"}`)
	for range 2 {
		again(few, "GET", "/api/tags", "")
		again(slow, "POST", "/api/chat", `{"model":"hang",`+chat+`}`)
	}
	for range 80 { // more than max-in-flight
		again(alice, "POST", "/api/chat", `{"model":"hang",`+chat+`}`)
	}
}

var client = &http.Client{
	Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: 200},
	Timeout:   3 * time.Second,
}

// again sends requests to each replica in turn, without end. Every fourth client leaves early.
func again(key, method, path, body string) {
	go func() {
		for n := 0; ; n++ {
			if res := ask(n%len(replicas), key, method, path, body); res != nil {
				if n%4 != 3 {
					io.Copy(io.Discard, res.Body)
				}
				res.Body.Close()
			}
			time.Sleep(400 * time.Millisecond)
		}
	}()
}

// ask sends a request, and returns nil if there is no answer. If two keys are given, the
// second is sent in another header.
func ask(replica int, key, method, path, body string) *http.Response {
	key, other, two := strings.Cut(key, "\n")
	r, err := http.NewRequest(method, "https://"+replicas[replica]+path, strings.NewReader(body))
	kit.Must(err, "a request")
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	if two {
		r.Header.Set("x-api-key", other)
	}
	res, err := client.Do(r)
	if err != nil {
		return nil
	}
	return res
}
