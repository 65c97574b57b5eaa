package handler

import (
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

// relay sends the request to Ollama, and relays the answer to the client.
func (p *Proxy) relay(x *exchange) {
	if x.Route == cloudStatusRoute && !p.AllowCloud {
		p.answerCloudStatus(x)
		return
	}
	if x.checksPull() {
		p.answerPull(x)
		return
	}
	out := p.outgoing(x)
	p.Recorder.Forwarded(time.Since(x.arrived) - x.readTime)
	if x.Route.Class == signer.Admin && !x.Route.Upload {
		defer p.pool.ModelsChanged()
	}
	heart := p.startHeartbeat(x)
	res, err := p.roundTrip(x, out)
	heart.pause()
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
	x.watchdog.enter(p.answering(res), time.Since(x.arrived))
	if x.status != 0 && (res.StatusCode != http.StatusOK || api.StreamKindOf(res.Header) != api.Sse) {
		p.fail(x, api.ReadErrorAnswer(res))
		return
	}
	if x.Route.Models == models.InAnswer && x.key.Limits.LimitsModels() {
		if err := models.FilterAnswer(res, x.key.Limits); err != nil {
			p.fail(x, err)
			return
		}
	}
	p.relayAnswer(x, res, heart)
}

// outgoing returns the request to send to Ollama, with the path of the route, and without
// the client's Host and the headers that must not pass. It has no body yet: roundTrip
// sets that once an Ollama is selected.
func (p *Proxy) outgoing(x *exchange) *http.Request {
	x.target = url.URL{Path: x.Path, RawPath: x.RawPath, RawQuery: api.WithoutKeys(x.r.URL.RawQuery)}
	if p.pool.Alone {
		x.target.Scheme, x.target.Host = p.Upstream.Scheme, p.Upstream.Host
	}
	x.out = *(&http.Request{
		Method:        x.r.Method,
		URL:           &x.target,
		Header:        x.r.Header, // not copied: no step reads it after this one
		ContentLength: x.Body.Length,
	}).WithContext(&x.ctx)
	out := &x.out
	api.StripRequestHeaders(out.Header)
	if x.Route.Models == models.InAnswer {
		delete(out.Header, "Accept-Encoding") // the proxy may have to read the list
	}
	if p.Heartbeat > 0 && x.Route.HasEvents() {
		delete(out.Header, "Accept-Encoding") // a heartbeat may begin the answer, uncompressed
	}
	if x.Route.Models == models.InForm {
		out.URL.RawQuery = "" // Ollama would prefer a model there to the one in the form
	}
	return out
}

// relayAnswer relays the answer: its head at once if the length of the body is unknown,
// otherwise with the first chunk, and each chunk when it arrives.
func (p *Proxy) relayAnswer(x *exchange, res *http.Response, heart *heartbeat) {
	word := x.expectedLastWord(res)
	if word != api.NoLastWord && res.ContentLength >= 0 {
		// A body of this length would look complete without its last word.
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
	if x.stream == api.Sse {
		heart.follow(t)
		defer heart.pause()
	}
	for {
		err := p.relayChunk(x, res, t, heart)
		if err != nil {
			heart.pause()
		}
		if err == io.EOF {
			err = t.Ending.Verdict(&t.Tail)
			if err == nil {
				x.outcome = outcomeComplete
				return
			}
			if err == api.ErrReported {
				p.recordFailure(x, failureReported, err)
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

// relayChunk waits for the next chunk and relays it. The buffer is borrowed only once
// bytes have arrived: most of the time a stream waits for the next token.
func (p *Proxy) relayChunk(x *exchange, res *http.Response, t *api.Passage, heart *heartbeat) error {
	s, chunk, err := nextChunk(res.Body)
	defer s.Release()
	if x.status == 0 && (len(chunk) > 0 || err == io.EOF) {
		p.begin(x, res)
	}
	if len(chunk) > 0 {
		heart.lock()
		err := p.send(x, chunk, res.ContentLength)
		t.Add(chunk)
		heart.unlock()
		if err != nil {
			p.clientGone(x, err)
		}
	}
	return err
}

// nextChunk waits for bytes of the body. The chunk is valid until s is released.
func nextChunk(body io.Reader) (s *socket.Buffer, chunk []byte, err error) {
	if answer, ok := body.(*transport.Body); ok {
		return answer.Next()
	}
	s = socket.Borrow(socket.ChunkBuffers)
	n, err := body.Read(s.Bytes)
	return s, s.Bytes[:n], err
}

// begin sends the head of Ollama's answer to the client.
func (p *Proxy) begin(x *exchange, res *http.Response) {
	api.CopyResponseHeaders(x.w.Header(), res.Header)
	if !p.pool.Alone {
		x.setUpstreamHeader()
	}
	if kind := api.StreamKindOf(res.Header); kind != api.NoStream {
		p.beginStream(x, kind)
	}
	x.answerEarly()
	x.status = res.StatusCode
	x.w.WriteHeader(res.StatusCode)
	// Relaying the body may take long: the headers' memory can be freed meanwhile.
	x.r.Header, x.out.Header, res.Header = nil, nil, nil
}

// answering returns the phase of an exchange whose answer has begun.
func (p *Proxy) answering(res *http.Response) *phase {
	if api.StreamKindOf(res.Header) != api.NoStream {
		return &p.streaming
	}
	return &p.passing
}

// beginStream records that the answer is a stream, and sets the header that tells nginx
// and other proxies not to buffer it.
func (p *Proxy) beginStream(x *exchange, kind api.StreamKind) {
	x.stream = kind
	x.w.Header().Set("X-Accel-Buffering", "no")
	p.Recorder.StreamStarted(x.routeID())
}

// send writes a chunk to the client and flushes it. The last chunk of a body of known
// length is flushed by the server.
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
	x.watchdog.touch(now)
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

// expectedLastWord returns the last word without which the answer is incomplete:
// NoLastWord if the answer is not a success, or not a stream in the form of its route.
func (x *exchange) expectedLastWord(res *http.Response) api.LastWord {
	if x.Route == nil || res.StatusCode != http.StatusOK {
		return api.NoLastWord
	}
	word := x.Route.LastWord
	if kind := api.StreamKindOf(res.Header); word.Lines() && kind == api.JsonLines || !word.Lines() && kind == api.Sse {
		return word
	}
	return api.NoLastWord
}
