//go:build unix

package main

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

// A question is a request whose answer is known.
type question struct {
	name, path, body, key string
	paced                 bool // slowly
}

const chat = `"messages":[{"role":"user","content":"Why is the sky blue?"}]`

// sse, ndjson and atOnce return questions for n tokens or, if n is 0, for the whole text.
func sse(n int) question {
	return question{name: "a stream of events", path: "/v1/chat/completions", body: `{"model":"` + model + `","stream":true,"max_tokens":` + strconv.Itoa(n) + `,` + chat + `}`}
}

func ndjson(n int) question {
	return question{name: "a stream of lines", path: "/api/chat", body: `{"model":"` + model + `","options":{"num_predict":` + strconv.Itoa(n) + `},` + chat + `}`}
}

func atOnce(n int) question {
	return question{name: "an answer in one piece", path: "/v1/chat/completions", body: `{"model":"` + model + `","max_tokens":` + strconv.Itoa(n) + `,` + chat + `}`}
}

func (q question) slow() question           { q.paced = true; return q }
func (q question) with(key string) question { q.key = key; return q }

func (q question) of(other string) question {
	q.body = strings.Replace(q.body, model, other, 1)
	return q
}

// slowHeader passes through the proxy and makes the stand-in send at the slow pace.
const slowHeader = "X-Slowly"

// to sends the question to an address, and does not wait for the answer.
func (q question) to(address string) *answer {
	a := &answer{q: q, asked: time.Now(), headed: make(chan struct{}), done: make(chan struct{})}
	go a.receive(address)
	return a
}

// through sends the question through HAProxy, which takes turns, until each replica has begun
// to answer one.
func (q question) through() (all []*answer) {
	hit := map[string]bool{}
	for len(hit) < len(replicas) {
		if len(all) == 3*len(replicas) {
			kit.Fatal("HAProxy asks only %d of the replicas", len(hit))
		}
		a := q.to(haproxy)
		<-a.headed
		if a.replica == "" {
			kit.Fatal("through HAProxy there was %s", a.finished())
		}
		hit[a.replica] = true
		all = append(all, a)
	}
	return all
}

// What a 401 says: nothing to outsiders, and the reason to whose key was genuine.
const (
	invalid    = "missing or invalid API key"
	wasRevoked = "the API key has been revoked"
)

// refused ends the program unless the request gets a 401 with the message.
func refused(q question, address, what, message string) {
	a := q.to(address).finished()
	if a.err != nil || a.status != http.StatusUnauthorized || !bytes.Contains(a.body, []byte(message)) {
		kit.Fatal("%s at %s got %s", what, address, a)
	}
}
