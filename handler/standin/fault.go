package standin

import (
	"io"
	"net"
	"net/http"
	"strings"
)

// faultHeader chooses a misbehaviour where no model can.
const faultHeader = "X-Standin"

const (
	longTokens = 2000
	bigToken   = 300 << 10
	hugeHeader = 2 << 20
	slowPaces  = 20
	faultAfter = 2 // whole chunks, before a stream fails midway
)

var faults = map[string]bool{
	"slow": true, "hang": true, "hang-mid": true, "reset": true, "close": true, "garbage": true, "huge-header": true,
	"switch": true, "early": true, "busy": true, "broken": true, "dies-mid-line": true, "dies-between": true,
	"short": true, "repeat": true, "runner-killed": true, "error-event": true, "long": true, "big": true,
}

const (
	killedMessage = "an error was encountered while running the model: unexpected EOF"
	busyMessage   = "server busy, please try again.  maximum pending requests exceeded"
	brokenMessage = "llama runner process has terminated: exit status 2"
)

// misbehave does what has to be done before the route answers and reports whether nothing is left to answer.
func (x *exchange) misbehave() bool {
	switch x.fault {
	case "slow":
		if x.o.step != nil {
			return !x.wait(x.o.step)
		}
		return !x.pause(slowPaces)
	case "huge-header":
		x.w.Header().Set("X-Huge", strings.Repeat("a", hugeHeader))
		return false
	case "hang":
		<-x.r.Context().Done()
		panic(http.ErrAbortHandler)
	case "reset":
		x.hijack("", 0)
	case "close":
		x.hijack("", -1)
	case "garbage":
		x.hijack("\x16\x03\x01\x00\x05no HTTP at all\r\n\r\n", -1)
	case "switch":
		x.hijack("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: standin\r\n\r\n", -1)
	case "early":
		// Without it net/http would read the rest of a small body before it sends the answer's header.
		c := http.NewResponseController(x.w)
		c.EnableFullDuplex()
		x.fail(http.StatusBadRequest, "refused before the body was read")
		c.Flush()
		// In full duplex net/http cannot reuse a connection, and panics, if the body ends after the handler.
		io.Copy(io.Discard, x.r.Body)
	case "busy":
		x.fail(http.StatusServiceUnavailable, busyMessage)
	case "broken":
		x.fail(http.StatusInternalServerError, brokenMessage)
	default:
		return false
	}
	return true
}

// hijack writes raw bytes and closes the connection: with a reset if linger is 0, as usual if it is negative.
func (x *exchange) hijack(raw string, linger int) {
	x.seen.finish()
	c, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // the nearest that other servers offer
	}
	defer c.Close()
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(linger)
	}
	c.Write([]byte(raw))
}

// halves reports whether the misbehaviour breaks off in the middle of a whole answer.
func (x *exchange) halves() bool {
	switch x.fault {
	case "hang-mid", "dies-mid-line", "dies-between", "short":
		return true
	}
	return false
}

// stop ends an answer that has been broken off: it holds the connection until the client leaves, or kills it.
func (x *exchange) stop() {
	if x.fault == "hang-mid" {
		<-x.r.Context().Done()
	} else {
		x.seen.finish()
	}
	panic(http.ErrAbortHandler)
}
