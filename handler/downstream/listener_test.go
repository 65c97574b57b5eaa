package downstream_test

import (
	"io"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/downstream"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
)

// TestWhatIsSaidBetweenRequestsSetsNoDeadline for what comes later: TLS may have
// something to say at any time.
func TestWhatIsSaidBetweenRequestsSetsNoDeadline(t *testing.T) {
	t.Parallel()
	const brief = 30 * time.Millisecond
	l := downstream.ClientsOn(handlertest.Listen(t), brief)
	handlertest.Dial(t, l.Addr().String())
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "between requests"); err != nil {
		t.Fatal(err)
	}
	downstream.Watched(c)
	<-time.After(2 * brief)
	if _, err := io.WriteString(c, "a stream"); err != nil {
		t.Error(err)
	}
}
