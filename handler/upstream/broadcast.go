package upstream

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/body"
	"github.com/ollama-proxy/ollama-proxy/handler/transport"
)

// maxProgressLine bounds one line of a pull's progress: 1 MiB.
const maxProgressLine = 1 << 20

// changeTimeout is how long copying or deleting a model may take: neither moves
// its data.
const changeTimeout = time.Minute

// progress is a line of what several Ollamas do at once. Clients of Ollama read
// it as they read its own: status "success" ends it well, error ends it badly.
type progress struct {
	Status   string `json:"status,omitempty"`
	Error    string `json:"error,omitempty"`
	Upstream string `json:"upstream,omitempty"`
}

// done says how it went on all of them: who failed, and why.
type outcome struct {
	mu        sync.Mutex
	succeeded []string
	failed    []string // with the reason
}

func (d *outcome) add(name string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.failed = append(d.failed, name+": "+err.Error())
	} else {
		d.succeeded = append(d.succeeded, name)
	}
}

// line is the last one.
func (d *outcome) summary() progress {
	if len(d.failed) == 0 {
		return progress{Status: "success"}
	}
	message := strings.Join(d.failed, "; ")
	if len(d.succeeded) > 0 {
		message += "; done on " + strings.Join(d.succeeded, ", ")
	}
	return progress{Error: message}
}

// errDown is why a backend is not asked.
var errDown = errors.New("cannot be reached")

// unasked is what to say of a backend that could not be asked.
func notAsked(err error) error {
	if errors.Is(err, transport.ErrNoConnection) {
		return err
	}
	return errDown
}

// PullAll has every backend pull the model. The answer is a stream of their progress
// as it comes: each line's status begins with the backend's name, its digest ends
// with @ and the name, so that clients that go by either keep them apart, and its
// "upstream" is the name. The last line says how it went on all of them together.
// A client that wants no stream gets that alone.
func (pl *Pool) PullAll(x *Request, out *http.Request) (*http.Response, error) {
	var ask struct{ Stream *bool }
	json.NewDecoder(body.NewReader(x.Body.Small)).Decode(&ask) // what is wrong with it, Ollama says
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
		r := x.copyFor(ctx, b, out, out.Method) // now: soon the exchange lets go of its body
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

// whole is the answer for a client that wants no stream. It is called when all
// are done.
func (d *outcome) response(out *http.Request) *http.Response {
	status := http.StatusOK
	if len(d.failed) > 0 {
		status = http.StatusInternalServerError
	}
	res := &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}}}
	return inMemory(res, encodeLine(d.summary()), out)
}

func anyUp(backends []*backend) bool {
	for _, b := range backends {
		if b.up.Load() {
			return true
		}
	}
	return false
}

// pulling is the stream of a pull. Closing it ends the pull.
type pullBody struct {
	io.Reader
	stop func()
}

func (p *pullBody) Close() error {
	p.stop()
	return nil
}

// lineWriter writes lines of JSON, from several goroutines.
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

// pullOn has one backend pull, and passes its progress on with its name.
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

// ChangeAll has every backend copy or delete a model, and waits for all. Those that
// do not have it are content; if none has it, the client gets what the first
// says. If it went well on all others, the answer is a line for each, and one
// for the whole; otherwise a status and an error that names who failed, and who
// did not.
func (pl *Pool) ChangeAll(x *Request, out *http.Request) (*http.Response, error) {
	answers := pl.askAll(x, out, out.Method, changeTimeout)
	var d outcome
	var lines bytes.Buffer
	var missing *http.Response
	status := http.StatusBadGateway
	for _, a := range answers {
		a.backend.probeSoon()
		switch {
		case a.err != nil:
			d.add(a.backend.Name, notAsked(a.err))
		case a.res.StatusCode == http.StatusNotFound:
			if missing == nil {
				missing = a.res
			}
		case a.res.StatusCode >= http.StatusBadRequest:
			status = a.res.StatusCode
			d.add(a.backend.Name, errors.New(errorOf(a.body, status)))
		default:
			d.add(a.backend.Name, nil)
			lines.Write(append(encodeLine(progress{Status: a.backend.Name + ": done", Upstream: a.backend.Name}), '\n'))
		}
	}
	switch {
	case len(d.succeeded) == 0 && missing != nil && len(d.failed) == 0:
		return missing, nil
	case len(d.succeeded) == 0 && missing == nil && !anyUp(pl.roster.Load().backends):
		return nil, ErrAllDown
	case len(d.failed) > 0:
		res := &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}}}
		return inMemory(res, encodeLine(d.summary()), out), nil
	}
	lines.Write(append(encodeLine(d.summary()), '\n'))
	res := &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/x-ndjson"}}}
	return inMemory(res, lines.Bytes(), out), nil
}

// encodeLine writes JSON. What it is given always encodes.
func encodeLine(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

// errorOf is what an error answer of Ollama's native routes says.
func errorOf(body []byte, status int) string {
	var e struct{ Error string }
	if json.Unmarshal(body, &e) != nil || e.Error == "" {
		return fmt.Sprintf("status %d", status)
	}
	return e.Error
}
