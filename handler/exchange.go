package handler

import (
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/api"
	"github.com/ollama-proxy/ollama-proxy/handler/downstream"
	"github.com/ollama-proxy/ollama-proxy/handler/reqctx"
	"github.com/ollama-proxy/ollama-proxy/handler/upstream"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// exchange is one request and its answer. Each step fills in its part, and observe
// reports the whole at the end.
type exchange struct {
	w       http.ResponseWriter
	control http.ResponseController
	r       *http.Request
	client  *downstream.Conn
	id      [1]string // the value of X-Request-Id, which the header of the answer shares
	arrived time.Time
	logged  *requestInfo // nil: there is no access log

	api.Match
	dialect       api.Dialect
	keyText       string
	key           signer.Key
	verified      bool
	overConnLimit bool               // too many connections carry requests already
	keyID         int                // of Recorder.KeySeen
	expiredClaims *signer.Unverified // of a key that is expired or revoked; for the log
	cuts          uint64             // Proxy.cuts when the key was verified

	upstream.Request
	ctx         reqctx.Request
	watchdog    watchdog
	clientBody  clientBody
	out         http.Request  // the request to Ollama
	target      url.URL       // of out
	bodyRead    atomic.Bool   // the client's body has been read to its end
	wantsStream atomic.Bool   // the part of the body that has been read asks for a stream
	readTime    time.Duration // spent on reading the body before the request to Ollama

	status    int           // of the answer; 0 until its head is sent
	sent      atomic.Int64  // bytes of the answer's body
	firstByte time.Duration // since it arrived
	lastChunk time.Duration // since it arrived
	stream    api.StreamKind
	outcome   string
	reason    string // why the proxy refused it
	err       error  // for the log; it must not quote a body

	number         uint64    // counts the exchanges in the order in which they entered the running set
	next, previous *exchange // in the running set, whose lock guards them

	cutMu      sync.Mutex
	cuttable   bool // it may be cut, and has not been
	cutPending bool // it has been cut, and is not over yet
}

func newExchange(w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{w: w, control: *http.NewResponseController(w), r: r, client: downstream.ConnOf(r.Context()), arrived: time.Now()}
	x.bodyRead.Store(r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0)
	x.Match = api.Routes.Find(r.URL)
	if x.Route != nil {
		x.dialect = x.Route.Dialect
	} else {
		x.dialect = api.DialectOf(r.URL.Path)
	}
	return x
}

// routeID returns the index of the route in api.RouteNames.
func (x *exchange) routeID() int {
	if x.Route == nil {
		return len(api.Routes.All)
	}
	return x.Route.Id
}

// requestID returns the id of the exchange, which is in the log and in the header of the
// answer.
func (x *exchange) requestID() string { return x.id[0] }

// refusal is an error answer of the proxy itself.
type refusal struct {
	status     int
	reason     string // for Recorder.Refused; "" where the client is not at fault
	message    string
	retryAfter int // seconds; 0: no Retry-After
}

// Error implements error: a refusal can end a transfer.
func (f *refusal) Error() string { return f.message }

// answer sends the refusal in the form of the route's dialect.
func (x *exchange) answer(f refusal) {
	x.reason = f.reason
	h := x.w.Header()
	if f.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	if api.IsFinal(f.status) {
		h.Set(api.RetryHeader, "false")
	}
	if f.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(f.retryAfter))
	}
	x.reply(f.status, "application/json", x.dialect.ErrorBody(f.status, f.message, x.requestID()))
}

// reply sends an answer that is the proxy's own. It does not wait for what is still to
// come of the request.
func (x *exchange) reply(status int, contentType string, body []byte) {
	h := x.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	x.answerEarly()
	if x.unread() {
		// A client that stops sending must not hold the connection.
		defer x.control.SetReadDeadline(time.Now().Add(downstream.Lingering))
	}
	x.status = status
	x.w.WriteHeader(status)
	n, _ := x.w.Write(body)
	x.sent.Add(int64(n))
}

// allowCut lets other goroutines cut the exchange from here on.
func (x *exchange) allowCut() {
	x.cutMu.Lock()
	defer x.cutMu.Unlock()
	x.cuttable = true
}

// forbidCut keeps other goroutines from cutting the exchange from here on: its
// connection may already carry another request.
func (x *exchange) forbidCut() {
	x.cutMu.Lock()
	defer x.cutMu.Unlock()
	x.cuttable, x.cutPending = false, false
}

// cut ends the exchange for the cause. Cancelling its context ends a wait for Ollama, and
// a deadline ends a wait for the client. An exchange that is over, or has been cut, is
// not changed.
func (x *exchange) cut(cause error) {
	x.cutMu.Lock()
	defer x.cutMu.Unlock()
	if !x.cuttable {
		return
	}
	x.cuttable, x.cutPending = false, true // a second cut would extend the deadline
	x.ctx.Cancel(cause)
	// This is enough time to send the client an error event.
	x.control.SetWriteDeadline(time.Now().Add(downstream.CutGrace))
	if x.unread() {
		// Cancelling the context does not end a read of the client's body.
		x.control.SetReadDeadline(time.Now())
	}
	if x.client == nil {
		return
	}
	if x.r.ProtoMajor == 1 {
		x.client.FinalDeadline.Store(true)
	} else {
		time.AfterFunc(hangUpAfter, x.hangUp)
	}
}

// hangUp closes the connection of an exchange that has been cut and is not over yet.
// Over HTTP/2 the write deadline only resets the stream, and the reset waits behind the
// frames that the client does not read.
func (x *exchange) hangUp() {
	x.cutMu.Lock()
	defer x.cutMu.Unlock()
	if x.cutPending {
		x.client.TCPConn.Close()
	}
}

// hangUpAfter is how long a stream of HTTP/2 may take to end once it has been cut, before
// its connection is closed with all other streams: downstream.CutGrace, the time for an
// error event, and one second more for a busy machine.
const hangUpAfter = downstream.CutGrace + errorEventDelay + time.Second
