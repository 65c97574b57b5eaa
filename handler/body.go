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

// smallBody is the most of a body that is read into memory before Ollama hears
// of the request: 1 MiB. A body in memory leaves in one write with the head,
// and can be sent again where that is safe.
const smallBody = 1 << 20

var (
	errBodyTooLarge = errors.New("request body too large")

	// errTooMany refuses a body that has to be whole, and for which there is no
	// memory.
	errTooMany = &refusal{http.StatusServiceUnavailable, reasonOverload, "too many large requests at once, try again", 1}
)

// endUpload waits until the client's body is no longer being read: the server
// takes the connection back when the handler returns.
func (x *exchange) endUpload() {
	if x.Body.Upload == nil {
		return
	}
	if x.unread() {
		x.life.Finish()
		x.control.SetReadDeadline(time.Now())
	}
	<-x.Body.Upload.Closed
}

// unread reports whether some of the request's body is still to come.
func (x *exchange) unread() bool { return !x.bodyRead.Load() }

// answerEarly makes way for an answer that does not wait for the body's end: left
// to itself the server would first read on, for as long as the client likes.
// The connection cannot be used again.
func (x *exchange) answerEarly() {
	if !x.unread() || x.r.ProtoMajor != 1 {
		return
	}
	x.control.EnableFullDuplex()
	x.w.Header().Set("Connection", "close")
}

// open reads a small body whole, and prepares a large one to be passed on as
// it comes. Either way the models that it names are checked before Ollama has
// seen its end. A body that is too long is refused, at once where the length is
// announced.
func (p *Proxy) open(next step) step {
	return func(x *exchange) {
		x.client.HoldDeadline()
		defer x.client.ReleaseDeadline()
		if x.key.Admin {
			x.Named = x.r.Header.Get(api.UpstreamHeader)
		}
		x.dog.enter(&p.uploading, 0)
		defer x.dog.sleep()
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

func (p *Proxy) openBody(x *exchange) error {
	r := x.r
	if misstated(r) {
		return models.ErrUnreadable
	}
	if !x.unread() {
		x.dog.enter(&p.waiting, 0)
		return p.checkSmall(x)
	}
	limit := p.MaxBody
	if x.Route.Upload {
		limit = -1
	}
	if limit >= 0 && r.ContentLength > limit {
		return errBodyTooLarge
	}
	x.source = source{x: x, p: p, from: r.Body, limit: limit}
	client := &x.source
	x.Body = body.Body{Length: r.ContentLength}

	memory := int64(smallBody)
	whole := x.Route.Models == models.InForm || x.zstd() || !p.pool.Alone && !x.Route.Upload
	if whole { // the model may stand anywhere, and cannot be read in passing
		memory = p.MaxBody
	}
	if r.ContentLength <= memory {
		begin := time.Since(x.arrived)
		start, portion, err := p.bodies.Read(client, memory, r.ContentLength)
		x.Body.Share = portion
		x.reading = client.last - begin
		switch {
		case err == body.ErrOverBudget && whole:
			return errTooMany
		case err != nil && err != body.ErrOverBudget:
			return err
		case err == nil && start.Size() <= memory:
			x.Body.Small, x.Body.Length = start, start.Size()
			x.dog.follow(&p.uploading, &p.waiting, client.last)
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

// misstated reports whether a request over HTTP/2 announces another length than
// the one that net/http goes by: that is the first of several, 0 for one that
// is no number, and none once the stream has ended. RFC 9113 section 8.1.1 wants
// such requests not to be passed on.
func misstated(r *http.Request) bool {
	announced := r.Header["Content-Length"]
	return r.ProtoMajor == 2 && len(announced) > 0 && (len(announced) > 1 || announced[0] != strconv.FormatInt(r.ContentLength, 10))
}

// checkLarge arranges for a body to be checked in passing.
func (p *Proxy) checkLarge(x *exchange) error {
	if x.Route.Models.IsJSON() {
		encoded := x.r.Header.Get("Content-Encoding") != ""
		x.Body.Large = &checked{from: x.Body.Large, client: &x.source, again: x.Body.Length < 0, check: func(n models.Names) error {
			if n.Unreadable && encoded {
				return models.ErrUnreadable // another version of Ollama might decode it
			}
			return p.guardNames(x, n)
		}}
		return nil
	}
	return p.checkSmall(x)
}

// checked reads the models from a JSON body as it passes. The byte that makes
// the JSON complete, without which Ollama cannot begin, is passed on only once
// they have been allowed. Ollama does not look at what follows, but may wait for
// it, and meanwhile a model can become another one. So where something may
// follow, the end of the body is passed on only once they have been allowed again.
type checked struct {
	from   io.Reader
	client *source
	names  models.Scanner
	check  func(models.Names) error

	complete bool // the JSON is
	again    bool // something follows it, or may
	isHeld   bool // the last byte that has come is held, and not passed on yet
	held     byte
}

func (c *checked) Read(p []byte) (int, error) {
	if len(p) < 2 {
		return 0, io.ErrShortBuffer // no room for what is held and more
	}
	if !c.complete {
		return c.readJSON(p)
	}
	begin := 0
	if c.isHeld {
		p[0], begin = c.held, 1
	}
	n, err := c.from.Read(p[begin:])
	n += begin
	switch {
	case err == io.EOF && (c.again || n > begin):
		if refused := c.allow(); refused != nil {
			return 0, refused
		}
		c.again, c.isHeld = false, false
	case err == nil && n > 0:
		n--
		c.isHeld, c.held, c.again = true, p[n], true
	}
	return n, err
}

// readJSON reads on up to the end of the JSON, and what has come with that.
func (c *checked) readJSON(p []byte) (int, error) {
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
		c.isHeld, c.held, c.again = true, p[n], true
	}
	return n, err
}

// allow checks the models. If it returns an error, that is the exchange's too.
func (c *checked) allow() error {
	refused := c.check(c.names.Names)
	if refused != nil {
		c.client.failed.Store(&refused)
	}
	return refused
}

// clientErr is why the client's bytes ended, other than by their proper end.
func (x *exchange) clientErr() error {
	if err := x.source.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// source reads what the client of an exchange sends, and bounds it.
type source struct {
	x      *exchange
	p      *Proxy
	from   io.ReadCloser
	limit  int64 // bytes; negative: none
	count  int64
	last   time.Duration         // when some came, since the exchange arrived
	ended  atomic.Bool           // by their proper end
	failed atomic.Pointer[error] // set by the transport's goroutine, too
}

func (s *source) Read(p []byte) (int, error) {
	if s.ended.Load() {
		// The server may have closed the body meanwhile, to begin the answer:
		// that is no reason to fail an upload that is complete.
		return 0, io.EOF
	}
	n, err := s.from.Read(p)
	now := time.Since(s.x.arrived)
	s.last = now
	if n > 0 {
		s.p.Recorder.Uploaded(s.x.routeID(), n)
		s.x.dog.saw(now)
		if s.count += int64(n); s.limit >= 0 && s.count > s.limit {
			n, err = 0, errBodyTooLarge
		}
	}
	if err == io.EOF {
		s.ended.Store(true)
		s.x.bodyRead.Store(true)
		s.x.dog.follow(&s.p.uploading, &s.p.waiting, now)
	} else if err != nil {
		failure := err // err itself would be in memory of its own each time
		s.failed.Store(&failure)
	}
	return n, err
}

// zstd reports whether Ollama would decode the body: it does so under /v1.
func (x *exchange) zstd() bool {
	return strings.HasPrefix(x.Path, "/v1/") && x.r.Header.Get("Content-Encoding") == "zstd"
}
