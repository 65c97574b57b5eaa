package reqctx_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/reqctx"
)

// TestDerivedContextsAreCancelled together with their Request, as those of connections
// that are being dialed, whether they were derived before or after.
func TestDerivedContextsAreCancelled(t *testing.T) {
	request, cancel, _ := reqctx.NewRequest()
	first, cancelFirst := context.WithCancel(request)
	defer cancelFirst()
	second, cancelSecond := context.WithTimeout(request, time.Hour)
	defer cancelSecond()
	cancel(errors.New("revoked"))
	late, cancelLate := context.WithCancel(request)
	defer cancelLate()
	for _, ctx := range []context.Context{first, second, late} {
		<-ctx.Done()
		if ctx.Err() != context.Canceled {
			t.Errorf("a context was cancelled with %v", ctx.Err())
		}
	}
}

// TestRequestKeepsNoDerivedContext after it has been cancelled.
func TestRequestKeepsNoDerivedContext(t *testing.T) {
	request, cancel, waiting := reqctx.NewRequest()
	for range 100 {
		_, cancel := context.WithCancel(request)
		if waiting() != 1 {
			t.Fatalf("%d functions for one derived context: package context does not use AfterFunc", waiting())
		}
		cancel()
	}
	if waiting() != 0 {
		t.Errorf("%d functions for no derived context", waiting())
	}

	called := make(chan string, 2)
	stop := context.AfterFunc(request, func() { called <- "stopped" })
	context.AfterFunc(request, func() { called <- "wanted" })
	if !stop() || stop() {
		t.Error("stop does not report that it withdrew the function once")
	}
	cancel(context.Canceled)
	if got := <-called; got != "wanted" {
		t.Errorf("the %s function was called", got)
	}
	if context.AfterFunc(request, func() { called <- "late" })() {
		t.Error("a function was withdrawn after it was called")
	}
	if got := <-called; got != "late" {
		t.Errorf("the %s function was called", got)
	}
	if waiting() != 0 {
		t.Errorf("%d functions are kept after the cancellation", waiting())
	}
}
