//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

const (
	tokens = 8 // of an answer
	turns  = 4 // of a conversation
)

// A dialect makes requests, and recognises complete answers.
type dialect struct {
	name, path, format string
	whole              func([]byte) bool
}

var dialects = []dialect{
	{"events", "/v1/chat/completions", `{"model":%q,"stream":true,"max_tokens":8,"messages":%s}`, func(b []byte) bool {
		return bytes.HasSuffix(b, []byte("data: [DONE]\n\n")) && bytes.Count(b, []byte(`"content":`)) == tokens
	}},
	{"lines", "/api/chat", `{"model":%q,"options":{"num_predict":8},"messages":%s}`, func(b []byte) bool {
		return bytes.Count(b, []byte("\n")) == tokens+1 && bytes.Count(b, []byte(`"done":true`)) == 1 && bytes.HasSuffix(b, []byte("}\n"))
	}},
	{"at once", "/v1/chat/completions", `{"model":%q,"max_tokens":8,"messages":%s}`, func(b []byte) bool {
		return json.Valid(b) && bytes.Contains(b, []byte(`"finish_reason":"length"`))
	}},
}

var embedding = dialect{"embedding", "/api/embed", `{"model":%q,"input":%s}`, func(b []byte) bool {
	return json.Valid(b) && bytes.Contains(b, []byte(`"embeddings":[[`))
}}

// An answer is what a client has got, and when.
type answer struct {
	what         string
	asked, ended time.Time
	status       int
	body         []byte
	err          error
	whole        bool
}

// begun reports whether the client has read a part of it.
func (a answer) begun() bool { return a.status == http.StatusOK }

// told reports whether a stream that broke off ends with an error of its dialect.
func (a answer) told() bool { return bytes.Contains(a.body, []byte(`"error"`)) }

func (a answer) String() string {
	return fmt.Sprintf("%s: status %d, %v after %s, %.300q", a.what, a.status, a.err, kit.Seconds(a.ended.Sub(a.asked)), a.body)
}

// A load is a number of clients, each of which sends its next request when it has got an
// answer.
type load struct {
	address, key string
	patient      bool // they retry when a box is busy
	client       *http.Client

	stop chan struct{}
	wait sync.WaitGroup

	mu   sync.Mutex
	took []time.Time // whole answers
	cut  []answer    // that broke off
}

// put starts a load. A model that is requested more often is in the list several times.
func put(clients int, address, key string, models []string) *load {
	return (&load{address: address, key: key}).begin(clients, models)
}

func (l *load) begin(clients int, models []string) *load {
	l.stop = make(chan struct{})
	l.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients, DisableCompression: true}, Timeout: kit.Timeout}
	for i := range clients {
		l.wait.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-l.stop:
					return
				default:
					l.add(l.ask(i, n, models[(i+n/turns*7)%len(models)]))
				}
			}
		})
	}
	return l
}

// end stops the load, and waits until no request is in flight.
func (l *load) end() {
	close(l.stop)
	l.wait.Wait()
	l.client.CloseIdleConnections()
}

// ask sends a client's n-th request: the next turn of its conversation, which includes those
// before.
func (l *load) ask(client, n int, model string) (a answer) {
	d := dialects[(client+n)%len(dialects)]
	talk := fmt.Sprintf(`[{"role":"user","content":"I am %d, and this is talk %d"}`, client, n/turns)
	for turn := range n % turns {
		talk += fmt.Sprintf(`,{"role":"assistant","content":"Hello!"},{"role":"user","content":"And %d?"}`, turn)
	}
	talk += "]"
	if strings.Contains(model, "embed") {
		d, talk = embedding, fmt.Sprintf(`"text %d of %d"`, n, client)
	}
	a = answer{what: d.name + " of " + model, asked: time.Now()}
	defer func() { a.ended = time.Now() }()
	r, err := http.NewRequest(http.MethodPost, "http://"+l.address+d.path, strings.NewReader(fmt.Sprintf(d.format, model, talk)))
	kit.Must(err, "a request")
	r.Header.Set("Content-Type", "application/json")
	if l.key != "" {
		r.Header.Set("Authorization", "Bearer "+l.key)
	}
	res, err := l.client.Do(r)
	if err != nil {
		a.err = err
		return a
	}
	defer res.Body.Close()
	a.status = res.StatusCode
	a.body, a.err = io.ReadAll(res.Body)
	a.whole = a.begun() && a.err == nil && d.whole(a.body)
	return a
}

// add counts an answer. No answer may fail before it has begun, and no incomplete answer may
// look complete.
func (l *load) add(a answer) {
	switch {
	case a.status == http.StatusServiceUnavailable && l.patient:
		time.Sleep(10 * time.Millisecond)
		return
	case !a.begun():
		kit.Fatal("a request failed that had not begun to be answered: %s", a)
	case a.err == nil && !a.whole:
		kit.Fatal("an answer looks whole and is not: %s", a)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.whole {
		l.took = append(l.took, time.Now())
	} else {
		l.cut = append(l.cut, a)
	}
}

// broken returns how many answers have broken off so far.
func (l *load) broken() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.cut)
}

// between returns how many complete answers ended in a span of time.
func (l *load) between(from, to time.Time) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.took {
		if t.After(from) && !t.After(to) {
			n++
		}
	}
	return n
}

// rate returns the complete answers a second in a span of the given length, after warming up.
func (l *load) rate(during time.Duration) float64 {
	time.Sleep(warmUp)
	from := time.Now()
	time.Sleep(during)
	to := time.Now()
	return float64(l.between(from, to)) / to.Sub(from).Seconds()
}
