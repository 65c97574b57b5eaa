package standin_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

func TestSeen(t *testing.T) {
	t.Parallel()
	s := serve(t)
	body := dialects[0].ask("Other:1B", true)
	exchange(t, s.Server, "POST", "/api%2Fchat?a=b", body, "X-One: 1", "X-One: 2", "Host: 127.0.0.1:11434")
	exchange(t, s.Server, "GET", "/nowhere", "")
	all := s.Seen()
	if len(all) != 2 {
		t.Fatalf("%d requests", len(all))
	}
	got := all[0]
	if got.Method != "POST" || got.URI != "/api%2Fchat?a=b" || got.Host != "127.0.0.1:11434" || got.Model != "other:1b" ||
		fmt.Sprint(got.Header["X-One"]) != "[1 2]" || got.RemoteAddr == "" || string(got.Body) != body ||
		got.BodyLen != int64(len(body)) || got.BodySum != sha256.Sum256([]byte(body)) {
		t.Errorf("%+v", got)
	}
	if all[1].URI != "/nowhere" || all[1].Model != "" || s.await(t, 2) != all[1] {
		t.Errorf("%+v", all[1])
	}
	select {
	case <-got.Gone:
		t.Error("gone")
	case <-got.Done:
	}
}

func TestLargeBodiesAreCountedWhole(t *testing.T) {
	t.Parallel()
	s := serve(t)
	body := `{"model":"tiny","prompt":"` + strings.Repeat("x", 5<<18) + `"}`
	if r, text := exchange(t, s.Server, "POST", "/api/generate", body); r.StatusCode != 200 || !strings.Contains(text, `"done":true`) {
		t.Errorf("%s %.200s", r.Status, text)
	}
	got := s.await(t, 1)
	if len(got.Body) != 1<<20 || got.BodyLen != int64(len(body)) || got.BodySum != sha256.Sum256([]byte(body)) || got.Model != "tiny:latest" {
		t.Errorf("%d of %d bytes, %q", len(got.Body), got.BodyLen, got.Model)
	}
}

func TestOldRequestsAreForgotten(t *testing.T) {
	t.Parallel()
	s := serve(t)
	w := dial(t, s.Server)
	for i := range 1010 {
		w.send("HEAD", fmt.Sprintf("/?%d", i+1), "")
		w.head()
	}
	all := s.Seen()
	if len(all) != 1000 || all[0].URI != "/?11" || s.await(t, 11) != all[0] {
		t.Errorf("%d remembered, from %s", len(all), all[0].URI)
	}
	for _, n := range []int{10, 0, -1} {
		if _, err := s.Await(t.Context(), n); err == nil {
			t.Errorf("request %d is remembered", n)
		}
	}
}

func TestAwaitWaits(t *testing.T) {
	t.Parallel()
	s := serve(t)
	arrived := make(chan *standin.Seen)
	go func() {
		seen, _ := s.Await(t.Context(), 2)
		arrived <- seen
	}()
	exchange(t, s.Server, "GET", "/api/version", "")
	exchange(t, s.Server, "GET", "/api/tags", "")
	if seen := <-arrived; seen.URI != "/api/tags" {
		t.Error(seen.URI)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if seen, err := s.Await(ctx, 2); seen == nil || err != nil {
		t.Error(err)
	}
	if _, err := s.Await(ctx, 3); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A request counts from its arrival, and is shown once its body is complete.
func TestUnfinishedUploads(t *testing.T) {
	t.Parallel()
	s := serve(t)
	w := dial(t, s.Server)
	fmt.Fprint(w, "POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16\r\nExpect: 100-continue\r\n\r\n")
	if r := w.head(); r.StatusCode != 100 { // sent when the stand-in begins to read
		t.Fatal(r.Status)
	}
	exchange(t, s.Server, "GET", "/api/version", "")
	if all := s.Seen(); len(all) != 1 || all[0].URI != "/api/version" {
		t.Errorf("%d seen", len(all))
	}
	fmt.Fprint(w, `{"model":"tiny"}`)
	if s.await(t, 1).Model != "tiny:latest" || s.Seen()[0].URI != "/api/chat" {
		t.Error("the upload is not the first request")
	}

	w = dial(t, s.Server)
	fmt.Fprint(w, "POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16\r\n\r\n{\"model\":")
	w.CloseWrite()
	seen := s.await(t, 3)
	<-seen.Gone
	<-seen.Done
	if seen.BodyLen != 9 || seen.Model != "" {
		t.Errorf("%d bytes, %q", seen.BodyLen, seen.Model)
	}
}

// A client that leaves on reading the last byte has not left early.
func TestGoneNeverFollowsACompleteAnswer(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for i := range 42 {
		d := dialects[i%len(dialects)]
		w := dial(t, s.Server)
		w.send("POST", d.path, d.ask("tiny", true))
		w.head()
		for {
			if c, err := w.chunk(); err != nil || strings.Contains(c, d.end) {
				break
			}
		}
		w.SetLinger(0)
		w.Close()
		seen := s.await(t, i+1)
		<-seen.Done
		select {
		case <-seen.Gone:
			t.Fatalf("%s: gone", d.path)
		default:
		}
	}
}

func TestStepReleasesOneChunk(t *testing.T) {
	t.Parallel()
	for _, d := range dialects {
		step := make(chan struct{})
		_, server := start(t, standin.Options{Step: step})
		w := dial(t, server)
		w.send("POST", d.path, d.ask("tiny", true))
		w.head()
		for n := 0; ; n++ {
			c, err := w.chunk()
			if err != nil {
				t.Fatalf("%s: chunk %d: %v", d.path, n, err)
			}
			if strings.Contains(c, d.end) {
				break
			}
			step <- struct{}{} // a send on an unbuffered channel ends when the stand-in has received it
		}
		if _, err := w.chunk(); err != io.EOF {
			t.Errorf("%s: %v", d.path, err)
		}
	}
}

// Nothing ever steps here, and an hour has not passed: only the client's leaving can have ended these.
func TestLeavingEndsAWaitForAStep(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]standin.Options{"step": {Step: make(chan struct{})}, "pace": {Pace: time.Hour}} {
		for _, model := range []string{"tiny", "slow"} {
			for _, stream := range []bool{true, false} {
				if name == "step" && model == "tiny" && !stream {
					continue // a whole answer has no second chunk to wait for
				}
				ollama, server := start(t, o)
				w := dial(t, server)
				w.send("POST", "/api/chat", dialects[0].ask(model, stream))
				seen := await(t, t.Context(), ollama, 1)
				if model == "tiny" && stream {
					w.head()
					if _, err := w.chunk(); err != nil {
						t.Fatal(err)
					}
				}
				w.Close()
				<-seen.Gone
				<-seen.Done
			}
		}
	}
}
