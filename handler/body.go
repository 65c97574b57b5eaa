package handler

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/api"
	"github.com/ollama-proxy/ollama-proxy/handler/body"
	"github.com/ollama-proxy/ollama-proxy/handler/models"
)

// smallBody is the size of the largest body that is read into memory before the request
// is sent to Ollama: 1 MiB. A body in memory is sent in one write with the head, and can
// be sent again where that is safe.
const smallBody = 1 << 20

var (
	errBodyTooLarge = errors.New("request body too large")

	// errNoBodyMemory refuses a body that must be read into memory as a whole, while the
	// bodies of other requests take all memory that bodies may take.
	errNoBodyMemory = &refusal{http.StatusServiceUnavailable, reasonOverload, "too many large requests at once, try again", 1}
)

// endUpload ends the upload, and waits until no goroutine reads the client's body: the
// server uses the connection again when the handler returns.
func (x *exchange) endUpload() {
	if x.Body.Upload == nil {
		return
	}
	if x.unread() {
		x.ctx.Finish()
		x.control.SetReadDeadline(time.Now())
	}
	<-x.Body.Upload.Closed
}

// unread reports whether the request's body has not been read to its end.
func (x *exchange) unread() bool { return !x.bodyRead.Load() }

// answerEarly prepares an answer that is sent before the body has been read to its end.
// Without it net/http would first read on, for as long as the client goes on sending.
// The connection closes after the answer.
func (x *exchange) answerEarly() {
	if !x.unread() || x.r.ProtoMajor != 1 {
		return
	}
	x.control.EnableFullDuplex()
	x.w.Header().Set("Connection", "close")
}

// open reads a small body into memory, and prepares a large one to be relayed while it
// arrives. In both cases the models that it names are checked before Ollama gets its
// end. A body that is too long is refused: before it is read, if its length is announced.
func (p *Proxy) open(next step) step {
	return func(x *exchange) {
		x.client.HoldDeadline()
		defer x.client.ReleaseDeadline()
		if x.key.Admin {
			x.Named = x.r.Header.Get(api.UpstreamHeader)
		}
		x.watchdog.enter(&p.uploading, 0)
		defer x.watchdog.stop()
		err := p.openBody(x)
		defer x.Body.Share.Release()
		if err != nil {
			p.fail(x, err)
			return
		}
		defer x.endUpload()
		next(x)
	}
}

// openBody sets x.Body and checks its models, or arranges for that.
func (p *Proxy) openBody(x *exchange) error {
	r := x.r
	if misstatesLength(r) {
		return models.ErrUnreadable
	}
	if !x.unread() {
		x.watchdog.enter(&p.waiting, 0)
		return p.checkSmall(x)
	}
	limit := p.MaxBody
	if x.Route.Upload {
		limit = -1
	}
	if limit >= 0 && r.ContentLength > limit {
		return errBodyTooLarge
	}
	x.clientBody = clientBody{x: x, p: p, from: r.Body, limit: limit}
	client := &x.clientBody
	x.Body = body.Body{Length: r.ContentLength}

	memory := int64(smallBody)
	whole := x.Route.Models == models.InForm || x.zstd() || !p.pool.Alone && !x.Route.Upload
	if whole { // it cannot be checked as it passes, or has to be sent again
		memory = p.MaxBody
	}
	if r.ContentLength <= memory {
		begin := time.Since(x.arrived)
		start, portion, err := p.bodies.Read(client, memory, r.ContentLength)
		x.Body.Share = portion
		x.readTime = client.last - begin
		switch {
		case err == body.ErrOverBudget && whole:
			return errNoBodyMemory
		case err != nil && err != body.ErrOverBudget:
			return err
		case err == nil && start.Size() <= memory:
			x.Body.Small, x.Body.Length = start, start.Size()
			x.watchdog.advance(&p.uploading, &p.waiting, client.last)
			return p.checkSmall(x)
		}
		begun := body.NewReader(start)
		begun.Share = portion
		x.Body.Large = io.MultiReader(begun, client)
	} else {
		x.Body.Large = client
	}
	return p.checkLarge(x)
}

// misstatesLength reports whether a request over HTTP/2 announces another length than
// the one that net/http has decided on: of several Content-Lengths net/http takes the
// first, for one that is not a number 0, and for a stream without a body 0. RFC 9113
// section 8.1.1 forbids to relay such requests.
func misstatesLength(r *http.Request) bool {
	announced := r.Header["Content-Length"]
	return r.ProtoMajor == 2 && len(announced) > 0 && (len(announced) > 1 || announced[0] != strconv.FormatInt(r.ContentLength, 10))
}

// checkLarge arranges for a body of JSON to be checked as it passes. For other bodies the
// models are not in the body, and are checked now.
func (p *Proxy) checkLarge(x *exchange) error {
	if x.Route.Models.IsJSON() {
		encoded := x.r.Header.Get("Content-Encoding") != ""
		x.Body.Large = &modelChecker{from: x.Body.Large, clientBody: &x.clientBody, recheck: x.Body.Length < 0, check: func(n models.Names) error {
			if n.Unreadable && encoded {
				return models.ErrUnreadable // another version of Ollama might decode it
			}
			return p.guardNames(x, n)
		}}
		return nil
	}
	return p.checkSmall(x)
}

// modelChecker reads the models from a JSON body as it passes. It holds back the byte
// that makes the JSON complete, without which Ollama cannot begin, until the models have
// been allowed. Ollama ignores what follows the JSON, but may wait for it, and meanwhile a
// model's name can be given to another model. So if anything may follow, the end of the
// body is held back until the models have been allowed again.
type modelChecker struct {
	from       io.Reader
	clientBody *clientBody
	names      models.Scanner
	check      func(models.Names) error

	complete bool // the JSON is complete
	recheck  bool // something follows the JSON, or may follow
	isHeld   bool // heldByte has been read, and is not passed on yet
	heldByte byte
}

func (c *modelChecker) Read(p []byte) (int, error) {
	if len(p) < 2 {
		return 0, io.ErrShortBuffer // it must fit the held byte and a new one
	}
	if !c.complete {
		return c.readJSON(p)
	}
	start := 0
	if c.isHeld {
		p[0], start = c.heldByte, 1
	}
	n, err := c.from.Read(p[start:])
	n += start
	switch {
	case err == io.EOF && (c.recheck || n > start):
		if refused := c.allow(); refused != nil {
			return 0, refused
		}
		c.recheck, c.isHeld = false, false
	case err == nil && n > 0:
		n--
		c.isHeld, c.heldByte, c.recheck = true, p[n], true
	}
	return n, err
}

// readJSON reads until the JSON is complete, including what follows it in the same read.
func (c *modelChecker) readJSON(p []byte) (int, error) {
	n, err := c.from.Read(p)
	used, done := c.names.Read(p[:n])
	if err != nil && err != io.EOF {
		return 0, err
	}
	if !done && err == nil {
		return n, nil
	}
	c.complete = true
	if !done {
		c.names.Names.Unreadable = true
	}
	if refused := c.allow(); refused != nil {
		return 0, refused
	}
	if used < n && err == nil {
		n--
		c.isHeld, c.heldByte, c.recheck = true, p[n], true
	}
	return n, err
}

// allow checks the models. It also records an error as the reason why the client's body
// ended.
func (c *modelChecker) allow() error {
	refused := c.check(c.names.Names)
	if refused != nil {
		c.clientBody.failed.Store(&refused)
	}
	return refused
}

// clientErr returns why the client's body ended early, or nil if it did not.
func (x *exchange) clientErr() error {
	if err := x.clientBody.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// clientBody reads the body that the client of an exchange sends, up to a limit.
type clientBody struct {
	x        *exchange
	p        *Proxy
	from     io.ReadCloser
	limit    int64 // bytes; negative: none
	count    int64
	last     time.Duration         // when Read last returned, since the exchange arrived
	complete atomic.Bool           // it has been read to its end
	failed   atomic.Pointer[error] // also set by the transport's goroutine
}

func (s *clientBody) Read(p []byte) (int, error) {
	if s.complete.Load() {
		// net/http may have closed the body to begin the answer, and would return an
		// error for an upload that is complete.
		return 0, io.EOF
	}
	n, err := s.from.Read(p)
	now := time.Since(s.x.arrived)
	s.last = now
	if n > 0 {
		s.p.Recorder.Uploaded(s.x.routeID(), n)
		s.x.watchdog.touch(now)
		if s.count += int64(n); s.limit >= 0 && s.count > s.limit {
			n, err = 0, errBodyTooLarge
		}
	}
	if err == io.EOF {
		s.complete.Store(true)
		s.x.bodyRead.Store(true)
		s.x.watchdog.advance(&s.p.uploading, &s.p.waiting, now)
	} else if err != nil {
		failure := err // taking the address of err would allocate in every call
		s.failed.Store(&failure)
	}
	return n, err
}

// zstd reports whether Ollama would decode the body with zstd, which it does under /v1.
func (x *exchange) zstd() bool {
	return strings.HasPrefix(x.Path, "/v1/") && x.r.Header.Get("Content-Encoding") == "zstd"
}
