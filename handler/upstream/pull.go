package upstream

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/ollama-proxy/ollama-proxy/handler/body"
)

// maxProgressLine bounds one line of a backend's progress: 1 MiB.
const maxProgressLine = 1 << 20

// PullAll has every backend that is up pull the model. The response is a stream of their
// progress lines as they come. In each line, status begins with the backend's name,
// digest ends with @ and the name, so that clients that distinguish lines by either can
// keep them apart, and "upstream" is the name. The last line reports the outcome on all
// backends; a client that wants no stream gets only that one. If every backend is down,
// PullAll returns [ErrAllDown].
func (pl *Pool) PullAll(x *Request, out *http.Request) (*http.Response, error) {
	var ask struct{ Stream *bool }
	json.NewDecoder(body.NewReader(x.Body.Small)).Decode(&ask) // if it is malformed, Ollama reports that
	backends := pl.roster.Load().backends
	if !anyUp(backends) {
		return nil, ErrAllDown
	}
	ctx, cancel := context.WithCancel(out.Context())
	lines, writer := io.Pipe()
	var d outcome
	var all sync.WaitGroup
	w := &lineWriter{to: writer}
	for _, b := range backends {
		r := x.copyFor(ctx, b, out, out.Method) // now, because the exchange releases its body soon
		all.Go(func() {
			err := errDown
			if b.up.Load() {
				err = pl.pullOn(r, b, w)
				b.probeSoon()
			}
			d.add(b.Name, err)
			if err != nil {
				w.write(progress{Status: b.Name + ": failed: " + err.Error(), Upstream: b.Name})
			}
		})
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		all.Wait()
		w.write(d.summary())
		writer.Close()
	}()
	body := &pullBody{Reader: lines, stop: func() {
		cancel()
		lines.Close()
		<-ended
	}}
	if ask.Stream != nil && !*ask.Stream {
		defer body.Close()
		io.Copy(io.Discard, body)
		return d.response(out), nil
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/x-ndjson"}},
		Body: body, ContentLength: -1, Request: out,
	}, nil
}

// pullBody is the stream of a pull. Closing it cancels the pull on all backends.
type pullBody struct {
	io.Reader
	stop func()
}

func (p *pullBody) Close() error {
	p.stop()
	return nil
}

// lineWriter writes lines of JSON. It is safe for concurrent use.
type lineWriter struct {
	mu sync.Mutex
	to io.Writer
}

func (w *lineWriter) write(v any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := w.to.Write(append(encodeLine(v), '\n'))
	return err
}

// pullOn has one backend pull the model, and writes its progress with its name.
func (pl *Pool) pullOn(r *http.Request, b *backend, w *lineWriter) error {
	res, err := pl.askBackend(r, b)
	if err != nil {
		return notAsked(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, maxProgressLine)
	whole := false
	for lines.Scan() {
		var line map[string]json.RawMessage
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			continue
		}
		text := func(key string) (s string) { json.Unmarshal(line[key], &s); return s }
		if message := text("error"); message != "" {
			return errors.New(message)
		}
		status := text("status")
		whole = whole || status == "success"
		line["status"], line["upstream"] = encodeLine(b.Name+": "+status), encodeLine(b.Name)
		if digest := text("digest"); digest != "" {
			line["digest"] = encodeLine(digest + "@" + b.Name)
		}
		if err := w.write(line); err != nil {
			return err
		}
	}
	switch {
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("status %d", res.StatusCode)
	case !whole:
		return errors.New("broke off")
	}
	return nil
}
