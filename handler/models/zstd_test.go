package models_test

import (
	"net/http"
	"runtime"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/models"
)

// TestSmallCompressedBodiesTakeLittleMemory, whatever window they ask for.
func TestSmallCompressedBodiesTakeLittleMemory(t *testing.T) { // not parallel: it measures the memory of the whole process
	s := handlertest.Start(t, handlertest.Config{Upstream: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
	body := handlertest.CompressWideWindow(t, `{"model":"tiny"}`)
	const n = 200
	w := s.Dial(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n {
		w.Send("POST", "/v1/chat/completions", body, handlertest.Bearer(s.Key), handlertest.Compressed)
		if got := w.Answer("POST"); got.Status != 200 || got.Err != nil {
			t.Fatal(got)
		}
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / n; each > 1<<20 {
		t.Errorf("%d KiB for a body of %d bytes", each>>10, len(body))
	}
}

// TestBodiesWaitForADecoder until their client leaves.
func TestBodiesWaitForADecoder(t *testing.T) {
	s := handlertest.Start(t, handlertest.Config{Upstream: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
	body := handlertest.CompressWideWindow(t, `{"model":"tiny"}`)
	release := models.HoldDecoders()
	leaves, stays := s.Dial(t), s.Dial(t)
	for _, w := range []*handlertest.Wire{leaves, stays} {
		w.Send("POST", "/v1/chat/completions", body, handlertest.Bearer(s.Key), handlertest.Compressed)
	}
	s.Spy.Await(t, "Uploaded", 2)
	if got := s.Ask(t, "POST", "/v1/chat/completions", `{"model":"tiny"}`); got.Status != 200 {
		t.Errorf("a body that is not compressed waits as well: %s", got)
	}
	leaves.Close()
	if code := s.Spy.Ended(t, 2); code != 499 {
		t.Errorf("the request whose client left is recorded as %d", code)
	}
	release()
	if got := stays.Answer("POST"); got.Status != 200 || got.Err != nil {
		t.Errorf("the request whose client stayed: %s", got)
	}
}

// TestFewerDecodersThanProcessors: a body of a few KiB may keep a decoder busy for long,
// and requests that are not compressed need a processor meanwhile.
func TestFewerDecodersThanProcessors(t *testing.T) {
	if n, processors := models.Decoders(), runtime.GOMAXPROCS(0); n > max(1, processors-1) {
		t.Errorf("%d bodies are decoded at once, by %d processors", n, processors)
	}
}
