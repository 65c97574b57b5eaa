package downstream_test

import (
	"io"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/downstream"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
)

// TestWriteBetweenRequestsLeavesNoDeadline: crypto/tls may write between two requests,
// and the deadline of that write must not end the answer to the second one.
func TestWriteBetweenRequestsLeavesNoDeadline(t *testing.T) {
	t.Parallel()
	l := downstream.NewTestListener(handlertest.Listen(t), time.Hour)
	handlertest.Dial(t, l.Addr().String())
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "between requests"); err != nil {
		t.Fatal(err)
	}
	conn := c.(*downstream.Conn)
	conn.TCPConn.SetWriteDeadline(time.Unix(1, 0)) // as if the deadline of that write had passed
	conn.HoldDeadline()
	if _, err := io.WriteString(c, "a stream"); err != nil {
		t.Error(err)
	}
}
