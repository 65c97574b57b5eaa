package standin

import (
	"io"
	"net"
	"net/http"
	"strings"
)

// faultHeader selects a misbehaviour on routes without a model, too.
const faultHeader = "X-Standin"

const (
	longTokens = 2000
	bigToken   = 300 << 10
	hugeHeader = 2 << 20
	slowPaces  = 20
	faultAfter = 2 // whole chunks before a stream breaks off
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

// misbehave carries out a fault that comes before the answer. It reports whether the request has been answered.
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
		// Without full duplex, net/http would read the rest of a small body before it sends the head of the answer.
		c := http.NewResponseController(x.w)
		c.EnableFullDuplex()
		x.fail(http.StatusBadRequest, "refused before the body was read")
		c.Flush()
		// In full duplex, net/http panics when it reuses a connection whose body ends after the handler has returned.
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

// hijack writes raw bytes and closes the connection: with a reset if linger is 0, in an orderly way if it is negative.
func (x *exchange) hijack(raw string, linger int) {
	x.seen.answerEnds()
	c, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // with HTTP/2 only the stream can be reset
	}
	defer c.Close()
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(linger)
	}
	c.Write([]byte(raw))
}

// breaksOff reports whether the fault is to break off in the middle of an answer.
func (x *exchange) breaksOff() bool {
	switch x.fault {
	case "hang-mid", "dies-mid-line", "dies-between", "short":
		return true
	}
	return false
}

// breakOff ends an answer midway: it holds the connection until the client leaves, or breaks it off.
func (x *exchange) breakOff() {
	if x.fault == "hang-mid" {
		<-x.r.Context().Done()
	} else {
		x.seen.answerEnds()
	}
	panic(http.ErrAbortHandler)
}
