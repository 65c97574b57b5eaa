package upstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/transport"
)

// changeTimeout bounds copying or deleting a model on all backends: neither moves the
// model's data.
const changeTimeout = time.Minute

// progress is one line of a streamed response about all backends. Clients read it as
// they read Ollama's own: status "success" means that all went well, error that it did
// not.
type progress struct {
	Status   string `json:"status,omitempty"`
	Error    string `json:"error,omitempty"`
	Upstream string `json:"upstream,omitempty"`
}

// outcome collects on which backends a request has succeeded, and on which it has
// failed.
type outcome struct {
	mu        sync.Mutex
	succeeded []string // names
	failed    []string // names, each with the error
}

// add adds the result of one backend.
func (d *outcome) add(name string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.failed = append(d.failed, name+": "+err.Error())
	} else {
		d.succeeded = append(d.succeeded, name)
	}
}

// summary returns the last line of the response. All results must have been added.
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

// errDown is the error of a backend that was not asked because it is down, or could not
// be reached.
var errDown = errors.New("cannot be reached")

// notAsked returns the error to report for a backend that could not be asked.
func notAsked(err error) error {
	if errors.Is(err, transport.ErrNoConnection) {
		return err
	}
	return errDown
}

// response returns the summary for a client that wants no stream. All results must have
// been added.
func (d *outcome) response(out *http.Request) *http.Response {
	status := http.StatusOK
	if len(d.failed) > 0 {
		status = http.StatusInternalServerError
	}
	res := &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}}}
	return inMemory(res, encodeLine(d.summary()), out)
}

// anyUp reports whether any of the backends is up.
func anyUp(backends []*backend) bool {
	for _, b := range backends {
		if b.up.Load() {
			return true
		}
	}
	return false
}

// ChangeAll copies or deletes a model on every backend that is up, and waits up to 1
// minute for all responses. If all backends that have the model succeed, the response is
// a line for each, and one for the whole. If some fail, it is an error that names those
// that failed and those that succeeded. If none has the model, it is the first backend's
// 404. If every backend is down, ChangeAll returns [ErrAllDown].
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

// encodeLine encodes v, which can always be encoded, as JSON.
func encodeLine(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

// errorOf returns the text of an error response of Ollama's native routes.
func errorOf(body []byte, status int) string {
	var e struct{ Error string }
	if json.Unmarshal(body, &e) != nil || e.Error == "" {
		return fmt.Sprintf("status %d", status)
	}
	return e.Error
}
