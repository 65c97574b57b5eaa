package handler

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/api"
	"github.com/ollama-proxy/ollama-proxy/handler/models"
	"github.com/ollama-proxy/ollama-proxy/handler/socket"
	"github.com/ollama-proxy/ollama-proxy/handler/transport"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// relay sends the request to Ollama and passes the answer back.
func (p *Proxy) relay(x *exchange) {
	if x.Route == statusRoute && !p.AllowCloud {
		p.answerStatus(x)
		return
	}
	if x.checksPull() {
		p.answerPull(x)
		return
	}
	out := p.outgoing(x)
	p.Recorder.Forwarded(time.Since(x.arrived) - x.reading)
	if x.Route.Class == signer.Admin && !x.Route.Upload {
		defer p.pool.ModelsChanged()
	}
	heart := p.startHeartbeat(x)
	res, err := p.roundTrip(x, out)
	heart.stop()
	if err != nil {
		p.fail(x, err)
		return
	}
	defer res.Body.Close()
	if res.StatusCode < 200 || res.StatusCode > 999 {
		p.fail(x, transport.ErrNotHTTP)
		return
	}
	x.Body.Release()
	x.dog.enter(p.answering(res), time.Since(x.arrived))
	if x.status != 0 && (res.StatusCode != http.StatusOK || api.StreamKindOf(res.Header) != api.Sse) {
		p.fail(x, refuseAnswer(res))
		return
	}
	if x.Route.Models == models.InAnswer && x.key.Limits.LimitsModels() {
		if err := filterModels(res, x.key.Limits); err != nil {
			p.fail(x, err)
			return
		}
	}
	p.pass(x, res)
}

// filterModels takes out of a list of models those that the key is not for. If the
// answer is no list, it is not passed on, and filterModels returns an error.
func filterModels(res *http.Response, limits signer.Limits) error {
	if res.StatusCode != http.StatusOK {
		return nil
	}
	res.Header.Del("Content-Length") // of a HEAD's answer, too: it counts what is left out
	if res.Request != nil && res.Request.Method == http.MethodHead {
		res.ContentLength = -1
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, models.MaxList+1))
	if err != nil {
		return err
	}
	if len(body) > models.MaxList {
		return models.ErrBadList
	}
	lists, err := models.ReadLists(body)
	if err != nil {
		return err
	}
	lists.Filter(limits)
	body = lists.JSON()
	res.Body.Close()
	res.Body = io.NopCloser(bytes.NewReader(body))
	res.ContentLength = int64(len(body))
	return nil
}

// outgoing is the request that Ollama sees: our path, its own Host, and of the
// client's headers those that are its business. It gets its body once there is an
// Ollama for it.
func (p *Proxy) outgoing(x *exchange) *http.Request {
	x.target = url.URL{Path: x.Path, RawPath: x.RawPath, RawQuery: x.r.URL.RawQuery}
	if p.pool.Alone {
		x.target.Scheme, x.target.Host = p.Upstream.Scheme, p.Upstream.Host
	}
	x.out = *(&http.Request{
		Method:        x.r.Method,
		URL:           &x.target,
		Header:        x.r.Header, // nobody else reads it from here on
		ContentLength: x.Body.Length,
	}).WithContext(&x.life)
	out := &x.out
	api.StripRequestHeaders(out.Header)
	if x.Route.Models == models.InAnswer {
		delete(out.Header, "Accept-Encoding") // the list may have to be read
	}
	if p.Heartbeat > 0 && x.Route.HasEvents() {
		delete(out.Header, "Accept-Encoding") // the answer may begin without Ollama
	}
	if x.Route.Models == models.InForm {
		out.URL.RawQuery = "" // Ollama would look there first for the model
	}
	return out
}

// pass passes the answer on: its head at once where a body of unknown length
// follows, and each chunk as it arrives.
func (p *Proxy) pass(x *exchange, res *http.Response) {
	word := x.expectEnd(res)
	if word != api.NoLastWord && res.ContentLength >= 0 {
		// By its length it would look whole, whatever its last word is.
		res.ContentLength = -1
		delete(res.Header, "Content-Length")
	}
	if x.status == 0 && res.ContentLength < 0 {
		p.begin(x, res)
		x.control.Flush()
	}
	t := passages.Get().(*api.Passage)
	defer passages.Put(t)
	t.N = 0
	t.Ending.Expect(word)
	defer p.countAnswer(x, &t.Tail)
	for {
		err := p.passChunk(x, res, t)
		if err == io.EOF {
			err = t.Ending.Verdict(&t.Tail)
			if err == nil {
				x.outcome = outcomeComplete
				return
			}
			if err == api.ErrReported {
				p.recordFailure(x, reported, err)
				return
			}
		}
		switch {
		case err != nil && x.status == 0:
			p.fail(x, err)
			return
		case err != nil:
			p.truncate(x, t, err)
		}
	}
}

// passChunk waits for what comes next, and passes it on. Only then does a stream
// have a buffer: most of the time it waits for the next token.
func (p *Proxy) passChunk(x *exchange, res *http.Response, t *api.Passage) error {
	s, chunk, err := nextChunk(res.Body)
	defer s.Release()
	if x.status == 0 && (len(chunk) > 0 || err == io.EOF) {
		p.begin(x, res)
	}
	if len(chunk) > 0 {
		if err := p.send(x, chunk, res.ContentLength); err != nil {
			p.clientGone(x, err)
		}
		t.Add(chunk)
	}
	return err
}

// nextChunk lends what there is of a body.
func nextChunk(body io.Reader) (s *socket.Buffer, chunk []byte, err error) {
	if answer, ok := body.(*transport.Body); ok {
		return answer.Next()
	}
	s = socket.Borrow(socket.ChunkBuffers)
	n, err := body.Read(s.Bytes)
	return s, s.Bytes[:n], err
}

// begin sends the head of Ollama's answer.
func (p *Proxy) begin(x *exchange, res *http.Response) {
	api.CopyResponseHeaders(x.w.Header(), res.Header)
	if !p.pool.Alone {
		x.tellUpstream()
	}
	if kind := api.StreamKindOf(res.Header); kind != api.NoStream {
		p.beginStream(x, kind)
	}
	x.answerEarly()
	x.status = res.StatusCode
	x.w.WriteHeader(res.StatusCode)
	// The rest may take long, and needs no headers.
	x.r.Header, x.out.Header, res.Header = nil, nil, nil
}

// answering is the phase of an exchange whose answer has begun.
func (p *Proxy) answering(res *http.Response) *phase {
	if api.StreamKindOf(res.Header) != api.NoStream {
		return &p.streaming
	}
	return &p.passing
}

// beginStream notes that the answer is a stream, and asks proxies on its way
// not to hold it back.
func (p *Proxy) beginStream(x *exchange, kind api.StreamKind) {
	x.stream = kind
	x.w.Header().Set("X-Accel-Buffering", "no")
	p.Recorder.StreamStarted(x.routeID())
}

// send writes a chunk to the client and flushes it, unless it is the last of a
// known length: then the server does so.
func (p *Proxy) send(x *exchange, chunk []byte, length int64) error {
	now := time.Since(x.arrived)
	var gap time.Duration
	if x.sent.Load() == 0 {
		x.firstByte = now
		p.Recorder.FirstByte(x.routeID(), now)
	} else if x.stream != api.NoStream {
		gap = now - x.lastChunk
	}
	x.lastChunk = now
	x.dog.saw(now)
	if _, err := x.w.Write(chunk); err != nil {
		return err
	}
	if x.sent.Add(int64(len(chunk))) != length {
		if err := x.control.Flush(); err != nil {
			return err
		}
	}
	p.Recorder.Passed(x.routeID(), x.keyID, len(chunk), gap)
	return nil
}

var passages = sync.Pool{New: func() any { return new(api.Passage) }}

// expectEnd is the last word that the answer is to have: none if it is no stream,
// not in the form of its route, or not a success.
func (x *exchange) expectEnd(res *http.Response) api.LastWord {
	if x.Route == nil || res.StatusCode != http.StatusOK {
		return api.NoLastWord
	}
	word := x.Route.LastWord
	if kind := api.StreamKindOf(res.Header); word.Lines() && kind == api.JsonLines || !word.Lines() && kind == api.Sse {
		return word
	}
	return api.NoLastWord
}
