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
type done struct {
	mu     sync.Mutex
	good   []string
	failed []string // with the reason
}

func (d *done) add(name string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.failed = append(d.failed, name+": "+err.Error())
	} else {
		d.good = append(d.good, name)
	}
}

// line is the last one.
func (d *done) line() progress {
	if len(d.failed) == 0 {
		return progress{Status: "success"}
	}
	message := strings.Join(d.failed, "; ")
	if len(d.good) > 0 {
		message += "; done on " + strings.Join(d.good, ", ")
	}
	return progress{Error: message}
}

// errDown is why a backend is not asked.
var errDown = errors.New("cannot be reached")

// unasked is what to say of a backend that could not be asked.
func unasked(err error) error {
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
	members := pl.roster.Load().members
	if !anyUp(members) {
		return nil, ErrNobody
	}
	ctx, cancel := context.WithCancel(out.Context())
	lines, writer := io.Pipe()
	var d done
	var all sync.WaitGroup
	w := &lineWriter{to: writer}
	for _, m := range members {
		r := x.copyFor(ctx, m, out, out.Method) // now: soon the exchange lets go of its body
		all.Go(func() {
			err := errDown
			if m.up.Load() {
				err = pl.pullOn(r, m, w)
				m.probeSoon()
			}
			d.add(m.Name, err)
			if err != nil {
				w.write(progress{Status: m.Name + ": failed: " + err.Error(), Upstream: m.Name})
			}
		})
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		all.Wait()
		w.write(d.line())
		writer.Close()
	}()
	body := &pulling{Reader: lines, stop: func() {
		cancel()
		lines.Close()
		<-ended
	}}
	if ask.Stream != nil && !*ask.Stream {
		defer body.Close()
		io.Copy(io.Discard, body)
		return d.whole(out), nil
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/x-ndjson"}},
		Body: body, ContentLength: -1, Request: out,
	}, nil
}

// whole is the answer for a client that wants no stream. It is called when all
// are done.
func (d *done) whole(out *http.Request) *http.Response {
	status := http.StatusOK
	if len(d.failed) > 0 {
		status = http.StatusInternalServerError
	}
	res := &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}}}
	return inMemory(res, encodeLine(d.line()), out)
}

func anyUp(members []*backend) bool {
	for _, m := range members {
		if m.up.Load() {
			return true
		}
	}
	return false
}

// pulling is the stream of a pull. Closing it ends the pull.
type pulling struct {
	io.Reader
	stop func()
}

func (p *pulling) Close() error {
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
func (pl *Pool) pullOn(r *http.Request, m *backend, w *lineWriter) error {
	res, err := pl.askMember(r, m)
	if err != nil {
		return unasked(err)
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
		line["status"], line["upstream"] = encodeLine(m.Name+": "+status), encodeLine(m.Name)
		if digest := text("digest"); digest != "" {
			line["digest"] = encodeLine(digest + "@" + m.Name)
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
	var d done
	var lines bytes.Buffer
	var missing *http.Response
	status := http.StatusBadGateway
	for _, a := range answers {
		a.member.probeSoon()
		switch {
		case a.err != nil:
			d.add(a.member.Name, unasked(a.err))
		case a.res.StatusCode == http.StatusNotFound:
			if missing == nil {
				missing = a.res
			}
		case a.res.StatusCode >= http.StatusBadRequest:
			status = a.res.StatusCode
			d.add(a.member.Name, errors.New(errorOf(a.body, status)))
		default:
			d.add(a.member.Name, nil)
			lines.Write(append(encodeLine(progress{Status: a.member.Name + ": done", Upstream: a.member.Name}), '\n'))
		}
	}
	switch {
	case len(d.good) == 0 && missing != nil && len(d.failed) == 0:
		return missing, nil
	case len(d.good) == 0 && missing == nil && !anyUp(pl.roster.Load().members):
		return nil, ErrNobody
	case len(d.failed) > 0:
		res := &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}}}
		return inMemory(res, encodeLine(d.line()), out), nil
	}
	lines.Write(append(encodeLine(d.line()), '\n'))
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
