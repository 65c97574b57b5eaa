package reqctx_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/reqctx"
)

// Contexts made from a lifetime, as for each connection that is dialed, end with
// it.
func TestContextsEndWithTheirLifetime(t *testing.T) {
	life, end, _ := reqctx.NewLifetime()
	first, cancelFirst := context.WithCancel(life)
	defer cancelFirst()
	second, cancelSecond := context.WithTimeout(life, time.Hour)
	defer cancelSecond()
	end(errors.New("revoked"))
	late, cancelLate := context.WithCancel(life)
	defer cancelLate()
	for _, ctx := range []context.Context{first, second, late} {
		<-ctx.Done()
		if ctx.Err() != context.Canceled {
			t.Errorf("a context ended with %v", ctx.Err())
		}
	}
}

// A lifetime keeps nothing of contexts that are over.
func TestLifetimeLetsGoOfContexts(t *testing.T) {
	life, end, waiting := reqctx.NewLifetime()
	for range 100 {
		_, cancel := context.WithCancel(life)
		if waiting() != 1 {
			t.Fatalf("%d functions for one context: it does not end by AfterFunc", waiting())
		}
		cancel()
	}
	if waiting() != 0 {
		t.Errorf("%d functions for no context", waiting())
	}

	called := make(chan string, 2)
	stop := context.AfterFunc(life, func() { called <- "stopped" })
	context.AfterFunc(life, func() { called <- "wanted" })
	if !stop() || stop() {
		t.Error("a function can be stopped once, and was not called")
	}
	end(context.Canceled)
	if got := <-called; got != "wanted" {
		t.Errorf("the function that was %s was called", got)
	}
	if context.AfterFunc(life, func() { called <- "late" })() {
		t.Error("a function was stopped after the end")
	}
	if got := <-called; got != "late" {
		t.Errorf("the function that was %s was called", got)
	}
	if waiting() != 0 {
		t.Errorf("%d functions are kept after the end", waiting())
	}
}
