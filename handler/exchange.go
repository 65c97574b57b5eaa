package handler

import (
	"crypto/rand"
	"encoding/hex"
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

// exchange is one request and what becomes of it. Each step fills in what it
// learns, and observe reports the whole at the end.
type exchange struct {
	w       http.ResponseWriter
	control http.ResponseController
	r       *http.Request
	client  *downstream.Conn
	id      string
	arrived time.Time

	api.Match
	dialect       api.Dialect
	keyText       string
	key           signer.Key
	verified      bool
	crowded       bool               // too many connections carry requests
	keyID         int                // what stands for the key in the metrics
	expiredClaims *signer.Unverified // whose key it was, where it holds no more; for the log
	cuts          uint64             // how often revoked keys had been cut when it was verified

	upstream.Request
	life       reqctx.Request
	dog        watchdog
	source     source
	out        http.Request  // as Ollama sees it
	target     url.URL       // what it asks for
	bodyRead   atomic.Bool   // nothing of it is still to come
	asksStream atomic.Bool   // as far as it has been read
	reading    time.Duration // spent on the client's body before Ollama heard of it

	status    int // of the answer; 0 until it begins
	sent      atomic.Int64
	firstByte time.Duration // since it arrived
	lastChunk time.Duration // since it arrived
	stream    api.StreamKind
	outcome   string
	reason    string // why the proxy refused it
	err       error  // for the log: never anything from a body

	number         uint64    // in the order of entering the running set
	next, previous *exchange // in the running set, whose lock guards them

	cutting  sync.Mutex
	cuttable bool // it is being relayed
	ending   bool // it has been cut, and is not over yet
}

func newExchange(w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{w: w, control: *http.NewResponseController(w), r: r, client: downstream.ClientOf(r.Context()), arrived: time.Now()}
	x.bodyRead.Store(r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0)
	x.Match = api.Routes.Find(r.URL)
	if x.Route != nil {
		x.dialect = x.Route.Dialect
	} else {
		x.dialect = api.DialectOf(r.URL.Path)
	}
	return x
}

// routeID is the route's place in RouteNames.
func (x *exchange) routeID() int {
	if x.Route == nil {
		return len(api.Routes.All)
	}
	return x.Route.Id
}

// requestID names the exchange in the log and in error answers. Most requests
// that are never logged nor refused need none.
func (x *exchange) requestID() string {
	if x.id == "" {
		var random [12]byte
		rand.Read(random[:])
		x.id = hex.EncodeToString(random[:])
	}
	return x.id
}

// refusal is an answer that the proxy gives itself.
type refusal struct {
	status     int
	reason     string // for Recorder.Refused; "" when the failure is not the client's
	message    string
	retryAfter int // seconds; 0: none
}

// Error makes a refusal an error, for where one ends a transfer.
func (f *refusal) Error() string { return f.message }

// answer sends the refusal in the route's own dialect.
func (x *exchange) answer(f refusal) {
	x.reason = f.reason
	h := x.w.Header()
	h.Set("X-Request-Id", x.requestID())
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
		// Who sends no body cannot hold the connection.
		defer x.control.SetReadDeadline(time.Now().Add(downstream.Lingering))
	}
	x.status = status
	x.w.WriteHeader(status)
	n, _ := x.w.Write(body)
	x.sent.Add(int64(n))
}

// beCuttable lets others end the exchange through the running set: cancel
// ends what waits for Ollama, and the write deadline what waits for the client.
func (x *exchange) beCuttable() {
	x.cutting.Lock()
	defer x.cutting.Unlock()
	x.cuttable = true
}

// beDone makes the exchange uncuttable: the server may already use its
// connection for another request.
func (x *exchange) beDone() {
	x.cutting.Lock()
	defer x.cutting.Unlock()
	x.cuttable, x.ending = false, false
}

// end cuts the exchange, whoever it is waiting for. If it is over, nothing
// happens.
func (x *exchange) end(cause error) {
	x.cutting.Lock()
	defer x.cutting.Unlock()
	if !x.cuttable {
		return
	}
	x.cuttable, x.ending = false, true // once more would give it more time
	x.life.Cancel(cause)
	// Time enough to tell the client why, in an event of the stream.
	x.control.SetWriteDeadline(time.Now().Add(downstream.CutGrace))
	if x.unread() {
		// Otherwise it would look as if the client had left.
		x.control.SetReadDeadline(time.Now())
	}
	if x.client == nil {
		return
	}
	if x.r.ProtoMajor == 1 {
		x.client.Cut.Store(true)
	} else {
		time.AfterFunc(hangUpAfter, x.hangUp)
	}
}

// hangUp closes the connection of an exchange that has been cut and is still not
// over. Over HTTP/2 the deadline for writing resets the stream, but a connection
// whose client reads slowly, or not at all, takes that in no sooner than what is
// before it.
func (x *exchange) hangUp() {
	x.cutting.Lock()
	defer x.cutting.Unlock()
	if x.ending {
		x.client.TCPConn.Close()
	}
}

// hangUpAfter is how long a stream of HTTP/2 that has been cut has to come to its
// end: cutGrace, the time for parting words, and one second more for a machine that
// is busy, since all streams of the connection end with it.
const hangUpAfter = downstream.CutGrace + errorEventDelay + time.Second
