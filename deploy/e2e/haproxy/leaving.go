//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

// checkLeaving: a client that leaves before the first byte cancels the request at Ollama.
func checkLeaving() {
	key := mint()
	ctx, leave := context.WithCancel(context.Background())
	go func() {
		ollama.await(1)
		leave()
	}()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+front+"/api/chat", strings.NewReader(strings.Replace(chat, "llama3.2", "hang", 1)))
	kit.Must(err, "a request")
	r.Header.Set("Authorization", "Bearer "+key)
	if _, err := plain.Do(r); !errors.Is(err, context.Canceled) {
		kit.Fatal("a request that hangs ended with %v", err)
	}
	left := time.Now()
	ollama.await(0)
	kit.Pass("a client that leaves before the first byte stops Ollama (%v)", time.Since(left).Round(time.Millisecond))
}

// checkDrain: a replica that is stopped finishes its requests, and new ones go to the others.
func checkDrain() {
	key := mint()
	ctx, cancel := context.WithTimeout(context.Background(), kit.Timeout)
	defer cancel()
	res := ask(ctx, plain, "http://"+front+"/api/chat", key, nil)
	stream := bufio.NewReader(res.Body)
	first, err := stream.ReadString('\n')
	kit.Must(err, "a stream")
	var home *replica
	for _, r := range replicas {
		if r.metric("active_streams") == 1 {
			home = r
		}
	}
	if home == nil {
		kit.Fatal("the stream is nowhere: %s", first)
	}
	home.Terminate()
	kit.Await("a drain", func() bool {
		code, _ := kit.Fetch("http://" + home.metrics + "/readyz")
		return code == http.StatusServiceUnavailable
	})
	began, refused := time.Now(), 0
	for status(key, "/v1/models", nil) != http.StatusOK {
		if refused++; time.Since(began) > 5*time.Second {
			kit.Fatal("five seconds later a replica that drains is still asked")
		}
		time.Sleep(10 * time.Millisecond)
	}
	noticed, before := time.Since(began), home.metric("requests_total")
	for range 100 {
		if got := status(key, "/v1/models", nil); got != http.StatusOK {
			kit.Fatal("%v after it was told to stop: %d", time.Since(began), got)
		}
	}
	if home.metric("requests_total") != before {
		kit.Fatal("a replica that drains is asked again")
	}
	rest, err := io.ReadAll(stream)
	if err != nil || !bytes.Contains(rest, []byte(`"done":true`)) {
		kit.Fatal("a stream was cut while its replica drained: %v", err)
	}
	home.AwaitEnd()
	kit.Pass("a replica that drains is asked no more after %v (%d got 503), and its stream came to its end", noticed.Round(time.Millisecond), refused)
	home.start()
	kit.Await("HAProxy to see it again", func() bool {
		return status(key, "/v1/models", nil) == http.StatusOK && home.metric("requests_total") > 0
	})
}

// checkDeath: a replica that cannot be reached gets no requests, and no request fails.
func checkDeath() {
	key := mint()
	at := log.count()
	if got := status(key, "/v1/models", nil); got != http.StatusOK {
		kit.Fatal("before a death: %d", got)
	}
	line := log.after(at)
	i := slices.IndexFunc(replicas, func(r *replica) bool { return strings.Contains(line, "replica="+r.name) })
	if i < 0 {
		kit.Fatal("HAProxy logs something else: %s", line)
	}
	replicas[i].Kill()
	for n := range 100 {
		if got := status(key, "/v1/models", nil); got != http.StatusOK {
			kit.Fatal("request %d after the death of its replica got %d", n+1, got)
		}
	}
	kit.Pass("100 requests of a key whose replica had just died got 200")
}
