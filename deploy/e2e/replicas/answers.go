//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

// An answer is what a client has got, and when.
type answer struct {
	q      question
	asked  time.Time
	headed chan struct{} // closed when status and replica are set, or the request has failed
	done   chan struct{} // closed at the end
	reads  atomic.Int64  // that have returned a part of the body

	status           int
	replica          string
	body             []byte
	first, at, ended time.Time
	err              error
}

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2 * workers}}

func (a *answer) receive(address string) {
	defer close(a.done)
	defer func() { a.ended = time.Now() }()
	head := sync.OnceFunc(func() { close(a.headed) })
	defer head()
	ctx, cancel := context.WithTimeout(context.Background(), kit.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+a.q.path, strings.NewReader(a.q.body))
	if err != nil {
		a.err = err
		return
	}
	r.GetBody = nil // otherwise the client would retry, and hide a failure
	r.Header.Set("Authorization", "Bearer "+a.q.key)
	if a.q.paced {
		r.Header.Set(slowHeader, "yes")
	}
	res, err := client.Do(r)
	if err != nil {
		a.err = err
		return
	}
	defer res.Body.Close()
	a.status, a.replica = res.StatusCode, res.Header.Get("X-Replica")
	for _, asked := range replicas {
		if address == asked.address {
			a.replica = asked.name
		}
	}
	head()
	buffer := make([]byte, 32<<10)
	for {
		n, err := res.Body.Read(buffer)
		if n > 0 {
			a.at = time.Now()
			if len(a.body) == 0 {
				a.first = a.at
			}
			a.body = append(a.body, buffer[:n]...)
			a.reads.Add(1)
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			a.err = err
			return
		}
	}
}

// finished waits for the end, which the request's deadline bounds.
func (a *answer) finished() *answer {
	<-a.done
	return a
}

func (a *answer) over() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

// overBy waits for the end until a moment, and reports whether it has come.
func (a *answer) overBy(then time.Time) bool {
	select {
	case <-a.done:
	case <-time.After(time.Until(then)):
	}
	return a.over() && !a.ended.After(then)
}

// String is for failures. Nothing else may be called before the end.
func (a *answer) String() string {
	<-a.done
	body := a.body
	if len(body) > 200 {
		body = body[len(body)-200:]
	}
	return fmt.Sprintf("status %d from %q, asked after %s, %s long, error %v, %d bytes to ...%q", a.status, a.replica,
		kit.Seconds(a.asked.Sub(kit.Began)), kit.Seconds(a.ended.Sub(a.asked)), a.err, len(a.body), body)
}

// volatile matches what differs between two answers to the same question.
var volatile = regexp.MustCompile(`,?"(id|created|created_at|[a-z_]*duration)":("[^"]*"|\d+)`)

// whole waits for the end, and returns an error unless the answer equals the stand-in's, byte
// for byte, except for ids and times.
func (a *answer) whole() error {
	<-a.done
	switch {
	case a.err != nil || a.status != http.StatusOK:
		return fmt.Errorf("it is not whole: %s", a)
	case !bytes.Equal(volatile.ReplaceAll(a.body, nil), reference(a.q)):
		return fmt.Errorf("it is not what was sent: %s", a)
	}
	return nil
}

// broken waits for the end, and returns an error unless the answer is visibly incomplete, and
// right up to where it broke off.
func (a *answer) broken() error {
	<-a.done
	text := string(volatile.ReplaceAll(a.body, nil))
	for _, end := range []string{"[DONE]", `"done":true`, `"finish_reason":"`} {
		if strings.Contains(text, end) {
			return fmt.Errorf("it ended as if it were whole: %s", a)
		}
	}
	if a.err == nil {
		return fmt.Errorf("the connection was not aborted: %s", a)
	}
	if errors.Is(a.err, context.DeadlineExceeded) {
		return fmt.Errorf("it did not end: %s", a)
	}
	if i := strings.LastIndex(text, errorEvent(a.q)); i >= 0 {
		text = text[:i]
	}
	if strings.Contains(a.q.body, model) && !strings.HasPrefix(string(reference(a.q)), text) {
		return fmt.Errorf("it was wrong before it broke off: %s", a)
	}
	return nil
}

// told reports whether a broken answer ends with an error event.
func (a *answer) told() bool { return bytes.Contains(a.body, []byte(errorEvent(a.q))) }

func errorEvent(q question) string {
	if q.path == "/api/chat" {
		return `{"error":`
	}
	return `data: {"error":`
}

// spread returns an error unless the chunks arrived one by one, with pauses: chunks that were
// held back arrive faster than they were sent.
func (a *answer) spread(pause time.Duration) error {
	<-a.done
	lines := bytes.Count(a.body, []byte(`"content":"`))
	if took, least := a.at.Sub(a.first), time.Duration(lines-2)*pause*4/5; took < least || int(a.reads.Load()) < lines/2 {
		return fmt.Errorf("its %d chunks came in %d reads, within %s: %s", lines, a.reads.Load(), kit.Seconds(took), a)
	}
	return nil
}

var references sync.Map

// reference returns the stand-in's own answer, without what is volatile.
func reference(q question) []byte {
	if known, ok := references.Load(q.path + q.body); ok {
		return known.([]byte)
	}
	plain := q
	plain.paced, plain.key = false, ""
	a := plain.to(ollama).finished()
	if a.err != nil || a.status != http.StatusOK {
		kit.Fatal("the stand-in itself answers with %s", a)
	}
	known, _ := references.LoadOrStore(q.path+q.body, volatile.ReplaceAll(a.body, nil))
	return known.([]byte)
}
